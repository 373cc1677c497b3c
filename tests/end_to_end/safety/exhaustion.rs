//! What must not run out.

use crate::support::{Ground, alone, policy};
use factory::sandbox::{LimitKind, Outcome, Policy};
use factory::types::Bytes;
use std::time::Duration;

const MIB: u64 = 1 << 20;

fn small() -> Policy {
    let mut policy = policy();
    policy.limits.memory = Bytes(64 * MIB);
    policy.limits.file_size = Bytes(12 * MIB);
    policy.tmp.size = Bytes(16 * MIB);
    policy.tmp.inodes = 500;
    policy
}

const TOO_MUCH_MEMORY: Outcome = Outcome::Limit {
    limit: LimitKind::Memory,
};

#[test]
fn one_process_gets_no_more_memory_than_the_limit() {
    let ground = Ground::new();
    assert!(ground.outside(&["hog", "96"]).succeeded());
    let report = ground.report(&small(), &["hog", "96"]);
    let act = crate::support::Act::from(&report);
    assert!(
        report.outcome == TOO_MUCH_MEMORY || act.errno() == Some("ENOMEM"),
        "{report:?}"
    );
    assert!(report.metering.peak_rss_bytes < 80 * MIB, "{:?}", report.metering);
}

#[test]
fn processes_that_are_each_below_the_limit_are_ended_together() {
    let ground = Ground::new();
    assert!(ground.outside(&["hog-many", "5", "24", "1"]).succeeded());
    let report = ground.report(&small(), &["hog-many", "5", "24", "20"]);
    assert_eq!(report.outcome, TOO_MUCH_MEMORY);
    assert!(report.metering.wall_ms < 10_000, "{:?}", report.metering);
}

#[test]
fn shared_memory_without_a_name_counts() {
    let ground = Ground::new();
    assert!(ground.outside(&["hog-shared", "96", "0"]).succeeded());
    let report = ground.report(&small(), &["hog-shared", "96", "20"]);
    assert_eq!(report.outcome, TOO_MUCH_MEMORY);
    assert!(report.metering.wall_ms < 10_000, "{:?}", report.metering);
}

#[test]
fn memory_below_the_limit_is_nobodys_business() {
    let ground = Ground::new();
    assert!(ground.inside(&small(), &["hog", "32"]).succeeded());
    assert!(ground.inside(&small(), &["hog-many", "4", "8", "1"]).succeeded());
    assert!(ground.inside(&small(), &["hog-shared", "32", "1"]).succeeded());
}

#[test]
fn a_flood_of_output_is_counted_and_not_kept() {
    alone("safety::exhaustion::a_flood_of_output_is_counted_and_not_kept", || {
        let ground = Ground::new();
        let control = std::process::Command::new(ground.path("tree/probe"))
            .args(["flood", "200"])
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(control.success());
        let before = resident();
        let report = ground.report(&policy(), &["flood", "200"]);
        assert!(report.outcome.is_success(), "{:?}", report.outcome);
        assert_eq!(report.stdout.total(), 200 * MIB);
        assert_eq!((report.stdout.head.len() + report.stdout.tail.len()) as u64, MIB);
        assert_eq!(report.stdout.dropped, 199 * MIB);
        let peak = status("VmHWM");
        assert!(peak < before + 24 * MIB, "{before} to {peak}");
    });
}

fn resident() -> u64 {
    status("VmRSS")
}

/// A size in bytes from this process's status. Source: proc_pid_status(5).
fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn a_sink_gets_no_more_of_a_flood_than_the_cap() {
    let ground = Ground::new();
    let mut seen = 0;
    let mut sink = |_, bytes: &[u8]| seen += bytes.len();
    let command = factory::sandbox::Command::new(["/src/probe", "flood", "20"]);
    let tree = ground.tree();
    let report = ground.block_on(ground.sandbox.run(&policy(), &tree, &command, Some(&mut sink)));
    assert!(report.unwrap().outcome.is_success());
    assert_eq!(seen as u64, MIB);
}

#[test]
fn a_full_disk_is_the_sandboxes_own() {
    let ground = Ground::new();
    std::fs::create_dir(ground.path("full")).unwrap();
    assert!(ground.outside(&["fill", &ground.word("full"), "40"]).succeeded());
    for place in ["/src", "/tmp", "/dev/shm", "/home/factory"] {
        let act = ground.inside(&small(), &["fill", place, "40"]);
        assert_eq!(act.errno(), Some("ENOSPC"), "{place}: {act:?}");
        assert!((14..=16).contains(&act.count()), "{place}: {act:?}");
    }
    // All of them together have that room once, not each.
    let script = "for d in /src /tmp /dev/shm ~; do /src/probe fill $d 40 | tr -dc 0-9; echo; done";
    let counts = ground.prints(&small(), script);
    let sum: u64 = counts.lines().filter_map(|line| line.parse::<u64>().ok()).sum();
    assert!((14..=16).contains(&sum), "{counts}");
}

#[test]
fn files_without_content_run_out_too() {
    let ground = Ground::new();
    std::fs::create_dir(ground.path("many")).unwrap();
    assert!(ground.outside(&["inodes", &ground.word("many"), "1000"]).succeeded());
    for place in ["/src", "/tmp", "/dev/shm", "/home/factory"] {
        let act = ground.inside(&small(), &["inodes", place, "1000"]);
        assert_eq!(act.errno(), Some("ENOSPC"), "{place}: {act:?}");
        assert!((400..=500).contains(&act.count()), "{place}: {act:?}");
    }
}

#[test]
fn one_file_has_a_size_limit() {
    let ground = Ground::new();
    assert!(ground.outside(&["one-file", &ground.word("large"), "14"]).succeeded());
    let act = ground.inside(&small(), &["one-file", "/tmp/large", "14"]);
    assert_eq!((act.errno(), act.count()), (Some("EFBIG"), 12), "{act:?}");
}

#[test]
fn descriptors_have_a_limit() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.limits.files = 100;
    assert!(ground.outside(&["descriptors", "200"]).succeeded());
    let act = ground.inside(&policy, &["descriptors", "200"]);
    assert_eq!((act.errno(), act.count()), (Some("EMFILE"), 97), "{act:?}");
}

#[test]
fn processor_time_has_a_limit_of_its_own() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.limits.cpu = Duration::from_secs(1);
    assert!(ground.outside(&["spin", "2"]).succeeded());
    let report = ground.report(&policy, &["spin", "20"]);
    assert_eq!(
        report.outcome,
        Outcome::Limit { limit: LimitKind::Cpu },
        "{:?}",
        report.metering
    );
    assert!(report.metering.wall_ms < 15_000, "{:?}", report.metering);
}
