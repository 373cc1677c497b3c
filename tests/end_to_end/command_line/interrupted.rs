//! Interrupted at any time: the code of the signal, one problem, and nothing behind.

use super::{Ended, Place};
use crate::support::place::order;
use crate::support::{Reply, Server, http};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const SIGNALS: [(Signal, i32); 3] = [(Signal::SIGHUP, 129), (Signal::SIGINT, 130), (Signal::SIGTERM, 143)];

/// An operator's process as a terminal would start it: background jobs and nohup(1) ignore signals, which a child inherits,
/// and these tests may be run by either.
fn start(command: Command) -> Child {
    let mut fresh = Command::new("env");
    fresh
        .arg("--default-signal=HUP,INT,TERM")
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        fresh.current_dir(directory);
    }
    fresh.env_clear();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            fresh.env(name, value);
        }
    }
    let fresh = fresh.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    fresh.spawn().unwrap()
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether somebody sleeps for so long, in a sandbox or out of it.
fn is_asleep(seconds: &str) -> bool {
    let words = format!("sleep\0{seconds}\0");
    let is_it = |pid: &i32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == words.as_bytes());
    crate::support::holding(&words).iter().any(is_it)
}

/// A number of seconds that no other test sleeps for, to find the process by.
fn long() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("61.{:06}{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

#[test]
fn a_command_ends_with_factory_exec() {
    for (signal, code) in SIGNALS {
        let place = Place::new();
        let seconds = long();
        let exec = start(place.factory(&["exec", "--repo=repository", "--", "sleep", &seconds]));
        wait_until("the command is running", || is_asleep(&seconds));
        place.untouched_by(|| {
            send(&exec, signal);
            let ended = Ended::of(exec.wait_with_output().unwrap());
            ended.explains(code, &["interrupted by signal"]);
        });
        wait_until("the command is gone", || !is_asleep(&seconds));
    }
}

#[test]
fn a_run_ends_in_the_middle_of_a_command_and_is_recorded_as_interrupted() {
    for (signal, code) in SIGNALS {
        let place = Place::new();
        let seconds = long();
        let mut order = order();
        order["acceptance_commands"] = serde_json::json!([format!("sleep {seconds}")]);
        place.write("order.json", order.to_string());
        let run = ["run", "--repo=repository", "--provider=replay:answers", "order.json"];
        let run = start(place.factory(&run));
        wait_until("the command is running", || is_asleep(&seconds));
        place.untouched_by(|| {
            send(&run, signal);
            let ended = Ended::of(run.wait_with_output().unwrap());
            ended.explains(code, &["interrupted by signal", "run it again"]);
        });
        wait_until("the command is gone", || !is_asleep(&seconds));
        let status = place.call(&["status"]).succeeded();
        assert!(status.text().contains("INCONCLUSIVE"), "{status:#?}");
    }
}

#[test]
fn a_provider_that_runs_ends_with_the_run() {
    for (signal, code) in SIGNALS {
        let place = Place::new();
        let seconds = long();
        let provider = format!("--provider=command:sleep {seconds}");
        let run = start(place.factory(&["run", "--repo=repository", &provider, "order.json"]));
        wait_until("the model is asked", || is_asleep(&seconds));
        place.untouched_by(|| {
            send(&run, signal);
            let ended = Ended::of(run.wait_with_output().unwrap());
            ended.explains(code, &["interrupted by signal"]);
        });
        wait_until("the provider is gone", || !is_asleep(&seconds));
    }
}

#[test]
fn whenever_an_interrupt_comes_the_branch_is_old_or_new_and_nothing_stays() {
    let place = Place::new();
    let base = place.git(&["rev-parse", "HEAD"]);
    // In steps that are shorter than any phase of a run this small.
    for step in 0..24 {
        let branch = format!("factory/b{step}");
        let before = place.checkout();
        let run = start(place.factory(&[
            "run",
            "--repo=repository",
            "--provider=replay:answers",
            "--branch",
            &branch,
            "order.json",
        ]));
        std::thread::sleep(Duration::from_millis(step * 3));
        send(&run, Signal::SIGINT);
        let ended = Ended::of(run.wait_with_output().unwrap());
        let tip = place.git(&[
            "for-each-ref",
            "--format=%(objectname)",
            &format!("refs/heads/{branch}"),
        ]);
        match (ended.code, ended.signal) {
            (Some(0), _) => assert_eq!(place.git(&["rev-parse", &format!("{tip}^")]), base),
            // Before it listens, it has nothing to bring to an end.
            (Some(130), _) | (None, Some(2)) => assert_eq!(tip, "", "{ended:#?}"),
            _ => panic!("{ended:#?}"),
        }
        assert!(place.checkout() == before, "the checkout was changed");
        place.leaves_nothing();
    }
    let runs = place.call(&["status", "--json"]).succeeded().json();
    for run in runs["runs"].as_array().unwrap() {
        assert!(run["summary"].is_object(), "every run has its end: {run:#}");
    }
}

#[test]
fn a_hang_up_that_is_ignored_does_not_end_a_run() {
    let place = Place::new();
    let asked = place.word("asked");
    let answer = place.word("answers/1.json");
    let provider = format!("--provider=command:sh -c 'touch {asked}; sleep 0.5; cat {answer}'");
    let mut nohup = place.command("sh");
    nohup
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh"])
        .arg(crate::support::program())
        .args(["run", "--repo=repository", &provider, "order.json"]);
    let run = start(nohup);
    wait_until("the model is asked", || place.path("asked").exists());
    send(&run, Signal::SIGHUP);
    Ended::of(run.wait_with_output().unwrap()).succeeded();
    place.leaves_nothing();
}

#[test]
fn a_run_that_was_killed_is_shown_as_open_and_stands_in_nobodys_way() {
    let place = Place::new();
    let asked = place.word("asked");
    let provider = format!("--provider=command:sh -c 'touch {asked}; sleep 60'");
    let mut run = start(place.factory(&["run", "--repo=repository", &provider, "order.json"]));
    wait_until("the model is asked", || place.path("asked").exists());
    let before = place.snapshot("repository");
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(place.snapshot("repository") == before, "the repository was changed");
    let status = place.call(&["status"]).succeeded().text();
    assert!(
        status.contains("  open  ") && status.contains("last recorded: proposal.request"),
        "{status}"
    );
    let shown = place.call(&["show", &status[..26]]).succeeded().text();
    assert!(shown.contains("it was killed"), "{shown}");
    place.run(&["order.json"]).succeeded();
    place.leaves_nothing();
}

#[test]
fn a_response_in_the_making_is_called_off() {
    let place = Place::new();
    let asked = Arc::new(AtomicU32::new(0));
    let state = |status: &str| {
        let (asked, status) = (Arc::clone(&asked), status.to_owned());
        let reply: Reply = Box::new(move |wire| {
            let body = json!({ "id": "resp_7", "status": status }).to_string();
            let _ = wire.write_all(&http("200 OK", "Content-Type: application/json\r\n", body));
            asked.fetch_add(1, Ordering::SeqCst);
        });
        reply
    };
    let server = Server::start(["queued", "in_progress", "cancelled"].map(state).into());
    let provider = format!("--provider=responses:{}", server.base());
    let words = [
        "run",
        "--repo=repository",
        "--model=m",
        "--provider-option=delivery=background",
        &provider,
        "order.json",
    ];
    let run = start(place.factory(&words));
    // Between the first poll, after half a second, and the second, after one more.
    wait_until("the response is polled for", || asked.load(Ordering::SeqCst) == 2);
    send(&run, Signal::SIGINT);
    Ended::of(run.wait_with_output().unwrap()).explains(130, &["interrupted by signal"]);
    let requests = server.requests();
    assert!(
        requests[2].starts_with("POST /v1/responses/resp_7/cancel HTTP/1.1\r\n"),
        "{requests:#?}"
    );
}
