//! Odd places, full disks and company.

use super::{Ended, Place};
use crate::support::place::names;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Stdio;

/// A name with all that a careless program trips over.
const ODD: &str = "a  b\n'\"$(touch x);*\u{1b}[2J é";

#[test]
fn a_repository_may_have_any_name_that_is_text() {
    let place = Place::new();
    let odd = place.path(ODD);
    fs::rename(place.path("repository"), &odd).unwrap();
    let repo = format!("--repo={ODD}");
    let ended = place.call(&["exec", &repo, "--", "cat", "a.txt"]).succeeded();
    assert_eq!(ended.text(), "base\n");
    fs::rename(place.path("order.json"), place.path("-\u{1b}é order.json")).unwrap();
    let state = format!("--state-dir=state {ODD}");
    let run = [
        "run",
        &repo,
        &state,
        "--provider=replay:answers",
        "--",
        "-\u{1b}é order.json",
    ];
    let ended = place.call(&run).succeeded();
    assert!(!(ended.text() + &ended.stderr).contains('\u{1b}'), "{ended:#?}");
    let status = place.call(&["status", &state]).succeeded();
    assert_eq!(status.text().lines().count(), 1, "{status:#?}");
}

#[test]
fn a_symlink_to_a_repository_is_as_good_as_the_repository() {
    let place = Place::new();
    symlink("repository", place.path("link")).unwrap();
    symlink("repository/scripts", place.path("below")).unwrap();
    for repo in ["--repo=link", "--repo=below"] {
        let ended = place.call(&["exec", repo, "--", "ls"]).succeeded();
        assert_eq!(ended.text(), "a.txt\nscripts\n", "{repo}");
    }
    place
        .call(&["run", "--repo=link", "--provider=replay:answers", "order.json"])
        .succeeded();
    place.leaves_nothing();
}

#[test]
fn a_path_that_is_no_text_is_refused_where_it_would_be_recorded() {
    let place = Place::new();
    let name = OsStr::from_bytes(b"odd\xff");
    fs::rename(place.path("repository"), place.path(name)).unwrap();
    let call = |arguments: &[&OsStr]| Ended::of(place.factory(&[]).args(arguments).output().unwrap());
    let [run, exec, repo, provider, order] =
        ["run", "exec", "--repo", "--provider=replay:answers", "order.json"].map(OsStr::new);
    call(&[run, repo, name, provider, order]).explains(23, &["the repository", "is not UTF-8", "rename"]);
    assert!(!place.path("home/.local/state/factory/runs").exists());
    // Nothing is recorded of a command.
    let ended = call(&[
        exec,
        repo,
        name,
        OsStr::new("--"),
        OsStr::new("cat"),
        OsStr::new("a.txt"),
    ])
    .succeeded();
    assert_eq!(ended.text(), "base\n");
    fs::rename(place.path(name), place.path("repository")).unwrap();

    place.untouched_by(|| {
        let repository = OsStr::new("repository");
        let state = OsStr::new("--state-dir");
        call(&[run, repo, repository, state, name, provider, order])
            .explains(64, &["the state directory", "is not UTF-8"]);
        let mut with_cache = place.factory(&["exec", "--repo=repository", "--", "true"]);
        with_cache.env("XDG_CACHE_HOME", place.path(name));
        Ended::of(with_cache.output().unwrap()).explains(64, &["the cache directory", "is not UTF-8"]);
        let ended = call(&[exec, OsStr::new("--"), name]);
        assert_eq!(ended.code, Some(64), "{ended:#?}");
    });
    // An order's own name is shown, not recorded.
    fs::rename(place.path("order.json"), place.path(name)).unwrap();
    call(&[OsStr::new("check"), name]).succeeded();
    call(&[run, repo, OsStr::new("repository"), provider, name]).succeeded();
}

#[test]
fn closed_standard_streams_disturb_nothing() {
    let place = Place::new();
    for (number, closed) in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"].into_iter().enumerate() {
        let branch = format!("--branch=factory/b{number}");
        for arguments in [
            &[
                "run",
                "--repo=repository",
                "--provider=replay:answers",
                &branch,
                "order.json",
            ][..],
            &["exec", "--repo=repository", "--", "sh", "-c", "echo out; echo err >&2"],
            &["status"],
        ] {
            let mut shell = place.command("sh");
            shell
                .args(["-c", &format!("exec \"$@\" {closed}"), "sh"])
                .arg(crate::support::program())
                .args(arguments);
            Ended::of(shell.output().unwrap()).succeeded();
        }
        assert_ne!(place.git(&["rev-parse", &branch["--branch=".len()..]]), "");
    }
    place.leaves_nothing();
}

/// Runs the arguments with a small file system mounted on `small` of the place, in a mount namespace of their own.
pub(super) fn on_a_small_disk(place: &Place, options: &str, arguments: &[&str]) -> Ended {
    fs::create_dir_all(place.path("small")).unwrap();
    let script = format!("mount -t tmpfs -o {options} none small; exec \"$@\"");
    let mut unshare = place.command("unshare");
    // As an ordinary user of the namespace, who is the one that owns everything here.
    unshare
        .args([
            "--user",
            "--map-user=1000",
            "--map-group=1000",
            "--keep-caps",
            "--mount",
        ])
        .args(["sh", "-e", "-c", &script, "sh"])
        .args(["setpriv", "--ambient-caps=-all", "--inh-caps=-all", "--"])
        .arg(crate::support::program())
        .args(arguments);
    Ended::of(unshare.output().unwrap())
}

#[test]
fn a_full_disk_for_the_records_ends_the_run_and_moves_no_branch() {
    let place = Place::new();
    let answer = place.word("answers/1.json");
    // Fills what is left once the run is open.
    let fill = format!("--provider=command:sh -c 'cat /dev/zero > small/fill 2> /dev/null; cat {answer}'");
    for (options, provider) in [
        ("mode=777,size=16k", "--provider=replay:answers"),
        ("mode=777,size=96k", "--provider=replay:answers"),
        ("mode=777,size=400k", &fill),
    ] {
        place.untouched_by(|| {
            let run = [
                "run",
                "--repo=repository",
                "--state-dir=small/state",
                "--disk-floor=0",
                provider,
                "order.json",
            ];
            on_a_small_disk(&place, options, &run).explains(74, &["cannot"]);
        });
    }
    let run = [
        "run",
        "--repo=repository",
        "--state-dir=small/state",
        "--disk-floor=1MiB",
        "--provider=replay:answers",
        "order.json",
    ];
    let floor = ["nearly full", "1MiB wanted", "--disk-floor"];
    place.untouched_by(|| on_a_small_disk(&place, "mode=777,size=900k", &run).explains(74, &floor));
    place.untouched_by(|| on_a_small_disk(&place, "mode=777,size=8m,nr_inodes=100", &run).explains(74, &["100"]));
    on_a_small_disk(&place, "mode=777,size=8m", &run).succeeded();
}

#[test]
fn a_place_that_cannot_be_written_to_is_named() {
    let place = Place::new();
    for flag in ["--state-dir=small/state", "--artifacts=small/artifacts"] {
        place.untouched_by(|| {
            let run = [
                "run",
                "--repo=repository",
                flag,
                "--provider=replay:answers",
                "order.json",
            ];
            on_a_small_disk(&place, "ro,mode=777", &run).explains(74, &["Read-only file system", "read-only"]);
        });
    }
    // Reading what is not there needs no directory.
    let status = on_a_small_disk(&place, "ro,mode=777", &["status", "--state-dir=small/state"]).succeeded();
    assert!(status.text().contains("no runs are recorded"), "{status:#?}");
    place.write("file", "in the way");
    for flag in [
        "--state-dir=file",
        "--state-dir=file/state",
        "--artifacts=file/artifacts",
    ] {
        let words = &["not a directory", "a part of the path is a file"];
        place.untouched_by(|| place.run(&[flag, "order.json"]).explains(74, words));
    }
    if !crate::support::is_root() {
        fs::create_dir(place.path("closed")).unwrap();
        fs::set_permissions(place.path("closed"), fs::Permissions::from_mode(0o500)).unwrap();
        let ended = place.run(&["--state-dir=closed/state", "order.json"]);
        ended.explains(74, &["Permission denied"]);
    }
}

#[test]
fn a_second_run_on_a_repository_is_refused_with_the_name_of_the_first() {
    let place = Place::new();
    let provider = format!(
        "--provider=command:sh -c 'touch {}; while test ! -e {}; do sleep 0.01; done; cat {}'",
        place.word("asked"),
        place.word("go"),
        place.word("answers/1.json"),
    );
    let first = place
        .factory(&[
            "run",
            "--repo=repository",
            &provider,
            "--branch=factory/first",
            "order.json",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !place.path("asked").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let holder = format!("process {} (order WO-01)", first.id());
    let before = place.snapshot("repository");
    symlink("repository", place.path("link")).unwrap();
    for repo in ["--repo=repository", "--repo=link", "--repo=repository/scripts"] {
        let arguments = [repo, "--provider=replay:answers", "order.json"];
        place
            .call(&[&["run"], &arguments[..]].concat())
            .explains(22, &["another run holds the repository", &holder]);
        place
            .call(&[&["run", "--json"], &arguments[..]].concat())
            .explains_in_json(22, "host", &[&holder]);
    }
    assert!(place.snapshot("repository") == before);
    // A command needs nothing that a run holds.
    place.exec(&["--", "true"]).succeeded();
    place.write("go", "");
    Ended::of(first.wait_with_output().unwrap()).succeeded();
    assert_eq!(
        names(&place.path("home/.local/state/factory/runs")).len(),
        1,
        "the refused left nothing"
    );
    place.run(&["--branch=factory/second", "order.json"]).succeeded();
    place.leaves_nothing();
}

#[test]
fn runs_with_records_of_their_own_race_for_a_branch_and_one_wins() {
    let place = Place::new();
    let runs: Vec<_> = ["--state-dir=one", "--state-dir=two", "--state-dir=three"]
        .iter()
        .map(|state| {
            place
                .factory(&[
                    "run",
                    "--repo=repository",
                    state,
                    "--provider=replay:answers",
                    "order.json",
                ])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let ended: Vec<_> = runs
        .into_iter()
        .map(|run| Ended::of(run.wait_with_output().unwrap()))
        .collect();
    // Who comes while it is under way is refused, and who comes after that finds the order done.
    let passed = ended
        .iter()
        .filter(|ended| ended.text().contains("PASS_UNPROVEN"))
        .count();
    assert_eq!(passed, 1, "{ended:#?}");
    let others = |ended: &Ended| ended.code == Some(22) || ended.text().contains("SKIPPED");
    assert_eq!(ended.iter().filter(|ended| others(ended)).count(), 2, "{ended:#?}");
    assert_eq!(place.git(&["rev-list", "--count", "work..factory/WO-01"]), "1");
}
