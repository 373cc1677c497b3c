//! What a provider's program has started when `factory` is killed.

use super::scenario::{SCENARIOS, Scenario};
use crate::support::{Ended, Place, unique, vanishes};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Starts a run whose provider runs this script, in a process group of its own, and waits until the provider says that it
/// is ready.
fn start(place: &Place, script: &str) -> Child {
    place.write("provider.sh", format!("{script}\n"));
    let arguments = Scenario::arguments(&SCENARIOS[0]);
    let mut command = place.factory(&[]);
    command
        .args(arguments)
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while !place.path("ready").exists() {
        assert!(Instant::now() < end, "the model is asked");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

/// A child that waits for one of its own, which both have this word among their arguments.
fn family(word: &str) -> String {
    format!(
        "sh -c 'sleep 60 & wait' {word} & sh -c 'trap \"\" HUP TERM; touch ready; while :; do sleep 1; done' {word}"
    )
}

#[test]
fn a_provider_dies_with_a_run_that_is_killed_and_so_do_its_children() {
    for whole_group in [false, true] {
        let place = SCENARIOS[0].place();
        let word = unique("provider");
        let mut run = start(&place, &family(&word));
        match whole_group {
            true => killpg(pid(&run), Signal::SIGKILL).unwrap(),
            false => kill(pid(&run), Signal::SIGKILL).unwrap(),
        }
        run.wait().unwrap();
        assert!(vanishes(&word, Duration::from_secs(5)));
        // Also those whose arguments do not tell: they have the environment of the run.
        place.is_quiet();
    }
}

#[test]
fn what_leaves_the_group_on_purpose_or_outlives_its_answer_is_left_alone() {
    let place = SCENARIOS[0].place();
    let word = unique("daemon");
    // The control: nothing but the group is what ends it.
    let mut run = start(
        &place,
        &format!("setsid sh -c 'touch ready; sleep 60; :' {word} & sleep 60"),
    );
    kill(pid(&run), Signal::SIGKILL).unwrap();
    run.wait().unwrap();
    assert!(!vanishes(&word, Duration::from_millis(500)));
    end(&word);

    let word = unique("server");
    let run = start(
        &place,
        &format!("sh -c 'touch ready; sleep 60; :' {word} > /dev/null 2>&1 & cat answers/1.json"),
    );
    let ended = Ended::of(run.wait_with_output().unwrap());
    ended.succeeded();
    assert!(!vanishes(&word, Duration::from_millis(500)));
    end(&word);
}

/// Ends the processes that have this word, which were started here, and those that they wait for.
fn end(word: &str) {
    for pid in crate::support::holding(word) {
        for child in crate::support::descendants(pid).into_iter().chain([pid]) {
            kill(Pid::from_raw(child), Signal::SIGKILL).unwrap();
        }
    }
    assert!(vanishes(word, Duration::from_secs(5)));
}
