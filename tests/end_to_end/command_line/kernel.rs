//! A kernel without what the sandbox needs: refused with the remedy, before a model is asked.

use super::{Ended, Place};
use std::process::Command;

/// `factory` in a user namespace of its own, as an ordinary user there without any rights, after a line of shell that may
/// take something away.
fn without(place: &Place, take_away: &str, arguments: &[&str]) -> Ended {
    let script = format!("{take_away}\nexec setpriv --ambient-caps=-all --inh-caps=-all -- \"$@\"");
    let mut unshare: Command = place.command("unshare");
    unshare
        .args([
            "--user",
            "--map-user=1000",
            "--map-group=1000",
            "--keep-caps",
            "--mount",
        ])
        .args(["sh", "-e", "-c", &script, "sh"])
        .arg(crate::support::program())
        .args(arguments);
    Ended::of(unshare.output().unwrap())
}

const NO_USER_NAMESPACES: &str = "echo 0 > /proc/sys/user/max_user_namespaces";

#[test]
fn without_user_namespaces_nothing_is_run_and_no_model_is_asked() {
    let place = Place::new();
    let provider = format!("--provider=command:touch {}", place.word("asked"));
    let run = ["run", "--repo=repository", &provider, "order.json"];
    let exec = ["exec", "--repo=repository", "--", "true"];
    let words = &["create namespaces", "sysctl user.max_user_namespaces"];
    for arguments in [&run[..], &exec] {
        place.untouched_by(|| {
            without(&place, NO_USER_NAMESPACES, arguments).explains(21, words);
            let (subcommand, rest) = arguments.split_first().unwrap();
            let in_json = [&[*subcommand, "--json"], rest].concat();
            let ended = without(&place, NO_USER_NAMESPACES, &in_json);
            ended.explains_in_json(21, "host", words);
            assert!(
                ended.json()["outcome"].is_null(),
                "there was no sandbox to start it in: {ended:#?}"
            );
        });
    }
    assert!(!place.path("asked").exists(), "a model was asked");
    assert_eq!(place.git(&["for-each-ref", "refs/heads/factory"]), "");
    // What needs no sandbox works.
    without(&place, NO_USER_NAMESPACES, &["check", "order.json"]).succeeded();
    let status = without(&place, NO_USER_NAMESPACES, &["status"]).succeeded();
    assert_eq!(status.text().matches("BLOCKED").count(), 2, "{status:#?}");

    // The control: the same user, with user namespaces.
    without(&place, ":", &exec).succeeded();
    let run = ["run", "--repo=repository", "--provider=replay:answers", "order.json"];
    without(&place, ":", &run).succeeded();
}

#[test]
fn each_namespace_that_is_missing_is_refused() {
    let place = Place::new();
    let exec = ["exec", "--repo=repository", "--", "true"];
    for kind in ["pid", "net", "ipc", "uts", "cgroup", "mnt"] {
        let take_away = format!("echo 0 > /proc/sys/user/max_{kind}_namespaces");
        place.untouched_by(|| without(&place, &take_away, &exec).explains(21, &["namespaces"]));
    }
}

#[test]
fn a_floor_that_this_kernel_does_not_reach_is_refused_and_not_lowered() {
    let place = Place::new();
    place.profile("future", "landlock_abi = 3", "landlock_abi = 4000");
    let words = &["`future` requires", "Landlock", "4000"];
    let run = [
        "run",
        "--repo=repository",
        "--provider=replay:answers",
        "--profile=future",
        "order.json",
    ];
    let exec = ["exec", "--repo=repository", "--profile=future", "--", "true"];
    for arguments in [&run[..], &exec] {
        place.untouched_by(|| {
            place.call(arguments).explains(21, words);
            let (subcommand, rest) = arguments.split_first().unwrap();
            place
                .call(&[&[*subcommand, "--json"], rest].concat())
                .explains_in_json(21, "host", words);
        });
    }
    // The control: the same profile with a floor that this kernel reaches.
    place.profile("future", "landlock_abi = 3", "landlock_abi = 3");
    place.call(&exec).succeeded();
}
