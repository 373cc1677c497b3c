//! Disks that are full, fill up or cannot be written to, and that are mended afterwards.

use super::Ended;
use super::odd::on_a_small_disk;
use crate::support::place::{Place, answer};
use std::fs;

/// How often the model was asked that notes it.
fn asked(place: &Place) -> usize {
    fs::read_to_string(place.path("asked")).map_or(0, |asked| asked.lines().count())
}

#[test]
fn a_floor_that_is_reached_between_two_attempts_ends_the_run_before_the_model_is_asked_again() {
    let place = Place::new();
    place.write("answers/1.json", answer("x.txt", "good-bye\n"));
    let provider = |fill: &str| {
        let (asked, answer) = (place.word("asked"), place.word("answers/1.json"));
        format!("--provider=command:sh -c 'echo >> {asked}; {fill}; cat {answer}'")
    };
    let run = |provider: &str| {
        let flags = [
            "--state-dir=small/state",
            "--disk-floor=4MiB",
            "--max-attempts=2",
            provider,
            "order.json",
        ];
        on_a_small_disk(
            &place,
            "mode=777,size=8m",
            &[&["run", "--repo=repository"], &flags[..]].concat(),
        )
    };
    // The control: with room, it is asked twice, and fails for what it said.
    run(&provider("true")).explains(1, &["attempt 2 of 2"]);
    assert_eq!(asked(&place), 2);
    let fill = provider("head --bytes=5M /dev/zero > small/fill");
    place.untouched_by(|| run(&fill).explains(74, &["nearly full", "4MiB wanted", "--disk-floor", "factory gc"]));
    assert_eq!(asked(&place), 3, "it was asked once in the second run");
}

/// Does something with a small file system mounted on `small`, which stays as long as this is done. In a mount namespace of
/// its own, as [`on_a_small_disk`].
fn in_turn(place: &Place, options: &str, script: &str) -> Ended {
    fs::create_dir_all(place.path("small")).unwrap();
    let script = format!("mount -t tmpfs -o {options} none small\n{script}");
    let mut unshare = place.command("unshare");
    unshare
        .args([
            "--user",
            "--map-user=1000",
            "--map-group=1000",
            "--keep-caps",
            "--mount",
        ])
        .args(["sh", "-e", "-c", &script, "sh"])
        .arg(crate::support::program());
    Ended::of(unshare.output().unwrap())
}

/// Runs, with what is said in the way; then without it. Prints how the first ended, then what the second said.
const STUCK_AND_FREED: &str = r#"
run() { setpriv --ambient-caps=-all --inh-caps=-all -- "$1" run --repo="$2" --state-dir="$3" --disk-floor=0 "$4" order.json; }
code=0; run "$1" "$REPO" "$STATE" "$PROVIDER" 2> first || code=$?
eval "$FREE"
echo "first ended with $code"
run "$1" "$REPO" "$STATE" "$PROVIDER"
git -C "$REPO" fsck --strict --no-dangling
git -C "$REPO" show factory/WO-01:x.txt
"$1" journal check --state-dir="$STATE"
"#;

/// A disk that is in the way of a run, and what becomes of it.
struct Disk<'a> {
    repository: &'a str,
    state: String,
    /// What is done before the run, in shell.
    prepare: &'a str,
    /// What the model does when it is first asked.
    meanwhile: &'a str,
    /// What frees the disk.
    free: &'a str,
}

/// What becomes of the disk of a repository that is only filled when there is something to promote.
const REPOSITORY: &str = "cp --recursive repository small/repository";
const FILL: &str = "cat /dev/zero > small/fill 2> /dev/null";
const FREE: &str = "rm small/fill";

/// How two runs ended, the first of them with the disk in its way, and what the first said. In the end the branch has the change,
/// and repository and journal are whole.
fn stuck_and_freed(place: &Place, disk: &Disk<'_>) -> (Ended, String) {
    let Disk {
        repository,
        state,
        prepare,
        meanwhile,
        free,
    } = disk;
    place.write(
        "model",
        format!(
            "echo >> {}\ncat {}\n",
            place.word("asked"),
            place.word("answers/1.json")
        ),
    );
    let provider = format!("--provider=command:sh -c 'test -e asked || {meanwhile}; sh model'");
    let script = format!(
        "export REPO={repository} STATE={state} PROVIDER=\"{provider}\" FREE='{free}'\n{prepare}\n{STUCK_AND_FREED}"
    );
    let _ = fs::remove_file(place.path("asked"));
    place.git(&["update-ref", "-d", "refs/heads/factory/WO-01"]);
    let ended = in_turn(place, "mode=777,size=4m", &script).succeeded();
    let text = ended.text();
    assert!(text.contains("hello\n"), "{ended:#?}");
    assert!(text.contains("are as they were written"), "{ended:#?}");
    assert!(asked(place) <= 2, "{ended:#?}");
    (ended, fs::read_to_string(place.path("first")).unwrap())
}

/// The first ended with a problem that says why, and the second passed.
#[track_caller]
fn carries_on(place: &Place, disk: &Disk<'_>, why: &str) {
    let (ended, first) = stuck_and_freed(place, disk);
    let text = ended.text();
    assert!(text.contains("first ended with 74\nPASS_UNPROVEN"), "{ended:#?}");
    let labelled = |label: &str| first.lines().filter(|line| line.starts_with(label)).count();
    assert_eq!((labelled("error: "), labelled("help: ")), (1, 1), "{first}");
    assert!(first.contains(why), "{first}");
}

#[test]
fn a_disk_in_the_way_is_one_clear_problem_and_the_next_start_carries_on() {
    let place = Place::new();
    let of_state = |number: u32, prepare, meanwhile, free| Disk {
        repository: "repository",
        state: format!("small/state{number}"),
        prepare,
        meanwhile,
        free,
    };
    let full = "head --bytes=16M /dev/zero > small/fill || true";
    carries_on(&place, &of_state(1, full, "true", FREE), "disk is full");
    carries_on(&place, &of_state(2, "true", FILL, FREE), "disk is full");
    let read_only = "mount -o remount,bind,ro small";
    let writable = "mount -o remount,bind,rw small";
    carries_on(
        &place,
        &of_state(3, read_only, "true", writable),
        "Read-only file system",
    );
    let prepare = format!("{REPOSITORY}; {read_only}");
    let disk = Disk {
        repository: "small/repository",
        state: "state".to_owned(),
        prepare: &prepare,
        meanwhile: "true",
        free: writable,
    };
    carries_on(&place, &disk, "Read-only file system");
}

#[test]
fn however_little_room_is_left_in_the_repository_the_branch_is_old_or_new() {
    let place = Place::new();
    let mut ends = Vec::new();
    for pages in 0..16 {
        // A page is the least that a file takes here.
        let meanwhile = format!("{{ {FILL}; truncate --size=-{} small/fill; }}", pages * 4096);
        let disk = Disk {
            repository: "small/repository",
            state: format!("state{pages}"),
            prepare: REPOSITORY,
            meanwhile: &meanwhile,
            free: FREE,
        };
        let (ended, first) = stuck_and_freed(&place, &disk);
        let text = ended.text();
        let is_full = text.contains("first ended with 74\n");
        assert!(is_full || text.contains("first ended with 0\n"), "{pages}: {ended:#?}");
        assert_eq!(is_full, first.contains("No space left"), "{pages}: {first}");
        ends.push(is_full);
    }
    println!("no room with so many pages left: {ends:?}");
    // Blob, tree, commit, ref and log each take one.
    assert!(ends[..4].iter().all(|is_full| *is_full), "{ends:?}");
    assert!(ends.last() == Some(&false), "{ends:?}");
}
