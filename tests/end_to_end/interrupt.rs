//! A run that is interrupted ends by itself, says so once, and leaves the repository alone.

use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@localhost"])
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Starts a run whose model takes longer than anybody waits, sends `signal` once it is asked, and returns the exit code
/// and the events.
fn interrupted_by(signal: nix::sys::signal::Signal) -> (Option<i32>, Vec<Value>) {
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("repository");
    std::fs::create_dir(&repository).unwrap();
    git(&repository, &["init", "--quiet", "--initial-branch=work", "."]);
    git(&repository, &["commit", "--quiet", "--allow-empty", "--message=base"]);
    let order = json!({
        "id": "WO-01", "title": "t", "intent": "i", "allowed_files": ["a.txt"], "forbidden": [],
        "acceptance_commands": ["test -f a.txt"], "context_files": [],
        "verify_exempt": false,
    });
    std::fs::write(dir.path().join("order.json"), order.to_string()).unwrap();
    let asked = dir.path().join("asked");
    let mut run = Command::new(crate::support::program())
        .args(["run", "--json", "--repo"])
        .arg(&repository)
        .arg("--provider")
        .arg(format!("command:sh -c 'touch {}; sleep 60'", asked.display()))
        .arg(dir.path().join("order.json"))
        .env("XDG_STATE_HOME", dir.path().join("state"))
        .env("XDG_CACHE_HOME", dir.path().join("cache"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !asked.exists() {
        assert!(Instant::now() < deadline, "the model is never asked");
        std::thread::sleep(Duration::from_millis(10));
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(run.id()).unwrap()), signal).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while run.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            run.kill().unwrap();
            panic!("the run does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = run.wait_with_output().unwrap();
    let events = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        git(&repository, &["for-each-ref", "--format=%(refname)"]),
        "refs/heads/work\n"
    );
    (
        output.status.code(),
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
    )
}

#[test]
fn an_interrupted_run_ends_with_the_code_of_its_signal_and_one_last_event() {
    use nix::sys::signal::Signal;
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let (exit_code, events) = interrupted_by(signal);
        assert_eq!(exit_code, Some(code));
        let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
        // At no particular moment.
        let (seen, names): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| *name == "checkout.seen");
        assert_eq!(
            (seen.len(), names),
            (
                1,
                vec!["run.opened", "proposal.requested", "attempt.failed", "run.completed"]
            )
        );
        let numbers: Vec<_> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5]);
        assert_eq!(events[4]["problem"]["class"], "cancelled");
        assert_eq!(events[4]["summary"]["verdict"], "INCONCLUSIVE");
    }
}
