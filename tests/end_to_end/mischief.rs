//! Commands that try to spoil the report, the clean-up or the reader of their files: the right outcome, in time, and
//! nothing left (the ground looks after each).

use crate::support::{Ground, Operator, holding, policy, unique};
use factory::sandbox::{Command, LimitKind, Outcome, Policy, Report};
use factory::types::{Bytes, RepoPath};
use std::time::{Duration, Instant};

fn exit(code: i32) -> Outcome {
    Outcome::Exit { code }
}

/// Runs the probe and says how long it took until the report was there.
fn timed(ground: &Ground, policy: &Policy, words: &[&str]) -> (Report, Duration) {
    let started = Instant::now();
    let report = ground.report(policy, words);
    (report, started.elapsed())
}

#[test]
fn a_command_that_closes_every_descriptor_is_waited_for_and_its_end_is_told() {
    let ground = Ground::new();
    let (report, took) = timed(&ground, &policy(), &["close-all", "400", "5"]);
    assert_eq!(report.outcome, exit(5));
    assert!(took >= Duration::from_millis(400), "it was still running: {took:?}");
    // Nor does it get away from its limits.
    let mut policy = policy();
    policy.limits.wall = Duration::from_millis(300);
    let (report, took) = timed(&ground, &policy, &["close-all", "20000", "5"]);
    assert_eq!(report.outcome, Outcome::Limit { limit: LimitKind::Wall });
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_result_line_that_a_command_writes_anywhere_is_output_and_nothing_else() {
    let ground = Ground::new();
    let forged = "\n{\"ended\":{\"code\":0,\"signal\":null}}\n{\"gone\":{\"limit\":null}}\n";
    // It reaches the two streams that are its own, and no third: its input cannot be written to.
    let report = ground.shell(&policy(), &format!("/src/probe forge '{forged}'; exit 3"));
    assert_eq!(report.outcome, exit(3));
    let printed = String::from_utf8(report.stdout.to_bytes()).unwrap();
    assert!(printed.contains(forged) && printed.ends_with("ok 2\n"), "{printed}");
    assert_eq!(report.stderr.to_bytes(), forged.as_bytes());
    // Nor is there another way to a descriptor of ours: by name, or of the first process.
    let script = format!(
        "for f in /proc/[0-9]*/fd/* /proc/*/task/*/fd/* /dev/fd/*; do printf %s '{forged}' > $f; done 2> /dev/null; exit 4"
    );
    let report = ground.shell(&policy(), &script);
    assert_eq!(report.outcome, exit(4));
    assert!(report.receipt.unwrap().differences().is_empty());
}

#[test]
fn a_command_that_stops_itself_is_ended_by_its_time_and_one_that_leaves_stopped_ones_at_once() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.limits.wall = Duration::from_millis(500);
    let started = Instant::now();
    let report = ground.shell(&policy, "kill -STOP $$; exit 0");
    assert_eq!(report.outcome, Outcome::Limit { limit: LimitKind::Wall });
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    policy.limits.wall = Duration::from_secs(30);
    let word = unique("factory-stopped");
    let started = Instant::now();
    let script = format!("/src/probe pause 25 {word} & p=$!; sleep 0.1; kill -STOP $p; exit 6");
    assert_eq!(ground.shell(&policy, &script).outcome, exit(6));
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert!(holding(&word).is_empty());
}

#[test]
fn a_command_that_ignores_every_signal_ends_in_time() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.limits.wall = Duration::from_millis(500);
    let ignore = "trap '' HUP INT QUIT TERM USR1 USR2 ALRM PIPE CHLD XCPU TSTP TTIN TTOU";
    let started = Instant::now();
    let report = ground.shell(&policy, &format!("{ignore}; while true; do sleep 1; done"));
    assert_eq!(report.outcome, Outcome::Limit { limit: LimitKind::Wall });
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn a_hundred_thousand_files_are_counted_and_dropped() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.tmp.inodes = 150_000;
    policy.tmp.size = Bytes(1 << 30);
    for place in ["/tmp", "/src"] {
        let (report, took) = timed(&ground, &policy, &["inodes", place, "100000"]);
        assert_eq!(report.outcome, exit(0), "{:?}", report.limits);
        let inodes = report
            .limits
            .iter()
            .find(|limit| limit.limit == LimitKind::Inodes)
            .unwrap();
        assert!((100_000..100_100).contains(&inodes.peak.unwrap()), "{inodes:?}");
        assert!(took < Duration::from_secs(30), "{took:?}");
        // The next one finds none of them.
        assert_eq!(
            ground.prints(&policy, &format!("ls -A {place} | grep -c inode; true")),
            "0"
        );
    }
}

#[test]
fn a_directory_five_thousand_deep_is_dropped_and_does_not_stop_who_compares() {
    let ground = Ground::new();
    for (place, protect) in [("/src", None), ("/tmp", None), ("/src", Some("d"))] {
        let policy = Policy {
            protect: protect.map(|path| RepoPath::parse(path).unwrap()).into_iter().collect(),
            ..policy()
        };
        let (report, took) = timed(&ground, &policy, &["deep", place, "5000"]);
        // What is protected counts by its files: directories alone are none.
        let tampered = |path: &str| Outcome::Tampered { path: path.to_owned() };
        let expected = protect.map_or(exit(0), tampered);
        assert_eq!(report.outcome, expected, "{place}");
        assert!(took < Duration::from_secs(20), "{took:?}");
    }
}

#[test]
fn files_that_trip_up_a_reader_are_dropped_and_do_not_stop_who_compares() {
    let ground = Ground::new();
    std::fs::create_dir(ground.path("tree/odd")).unwrap();
    ground.give("tree/odd");
    for place in ["/src/odd", "/tmp", "/home/factory"] {
        let (report, took) = timed(&ground, &policy(), &["odd-files", place]);
        assert_eq!(report.outcome, exit(0), "{report:?}");
        assert!(took < Duration::from_secs(15), "{took:?}");
        assert_eq!(ground.prints(&policy(), &format!("ls -A {place}")), "");
    }
    // Nobody opens the pipe, follows the links or needs to look into what is closed.
    let mut policy = policy();
    policy.protect = vec![RepoPath::parse("odd").unwrap()];
    let (report, took) = timed(&ground, &policy, &["odd-files", "/src/odd"]);
    assert!(
        matches!(report.outcome, Outcome::Tampered { .. }),
        "{:?}",
        report.outcome
    );
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[test]
fn a_repository_is_as_it_was_after_a_command_that_left_odd_files() {
    let operator = Operator::new();
    let place = operator.place("odd");
    let git = |arguments: &[&str]| {
        let status = std::process::Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.invalid"])
            .args(arguments)
            .current_dir(&place)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .status();
        assert!(status.unwrap().success());
    };
    git(&["init", "--quiet"]);
    git(&["commit", "--quiet", "--allow-empty", "--message=base"]);
    let script = "mkfifo pipe; mkdir -p a/b; touch a/b/c; chmod 0 a/b a; ln -s / root; exit 9";
    let output = operator
        .factory(&place)
        .args(["exec", "--", "sh", "-c", script])
        .current_dir(&place)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(9), "{output:?}");
    let left: Vec<_> = std::fs::read_dir(&place)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, [".git"]);
}

#[test]
fn a_death_by_the_signal_of_the_filter_is_told_from_an_exit_code_that_looks_like_it() {
    let ground = Ground::new();
    let signal = nix::sys::signal::Signal::SIGSYS as i32;
    let report = ground.run(&policy(), &Command::new(["sh", "-c", &format!("kill -{signal} $$")]));
    assert_eq!(report.outcome, Outcome::Signal { signal });
    let report = ground.shell(&policy(), &format!("exit {}", 128 + signal));
    assert_eq!(report.outcome, exit(128 + signal));
}
