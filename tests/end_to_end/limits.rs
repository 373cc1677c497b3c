//! Each limit when it is reached: what ended the command, and what the report says of the limit. And the two outcomes that
//! are decided by the policy alone, `denied` and `tampered`.

use crate::support::{Ground, has, is_root, policy};
use factory::sandbox::{Command, Enforcer, LimitKind, LimitReport, Outcome, Policy, Report, limit_keepers};
use factory::types::{Bytes, RepoPath};
use std::time::Duration;

const MIB: u64 = 1 << 20;

#[track_caller]
fn limit(report: &Report, kind: LimitKind) -> LimitReport {
    let found = report.limits.iter().find(|limit| limit.limit == kind);
    *found.unwrap_or_else(|| panic!("{kind:?} in {:?}", report.limits))
}

/// The command was ended by the limit, which was asked for and kept as told. Answers the peak.
#[track_caller]
fn reached(report: &Report, kind: LimitKind, requested: u64, by: Enforcer) -> u64 {
    let found = limit(report, kind);
    assert_eq!(
        report.outcome,
        Outcome::Limit { limit: kind },
        "{found:?} {:?}",
        report.metering
    );
    assert_eq!(
        (found.requested, found.enforced_by, found.hit),
        (requested, by, Some(true))
    );
    // No other is said to have been reached.
    let others = report
        .limits
        .iter()
        .filter(|other| other.limit != kind && other.hit == Some(true));
    assert_eq!(others.count(), 0, "{:?}", report.limits);
    found.peak.unwrap_or(0)
}

/// A command that stays within every limit says so of each.
#[track_caller]
fn within(report: &Report) {
    assert!(report.outcome.is_success(), "{report:?}");
    let hit: Vec<_> = report.limits.iter().filter(|limit| limit.hit == Some(true)).collect();
    assert!(hit.is_empty(), "{hit:?}");
}

#[test]
fn root_has_control_groups_for_what_processes_share_and_others_a_sampler() {
    let keepers = limit_keepers();
    let by_group = [keepers.memory, keepers.pids, keepers.cpu]
        .map(|enforcer| matches!(enforcer, Enforcer::CgroupV1 | Enforcer::CgroupV2));
    if is_root() {
        has("cgroups", by_group == [true; 3]);
    } else if by_group == [false; 3] {
        let keepers = [keepers.memory, keepers.pids, keepers.cpu];
        assert_eq!(keepers, [Enforcer::Sampler, Enforcer::Rlimit, Enforcer::Sampler]);
    }
    let report = Ground::new().report(&policy(), &["env", "HOME"]);
    assert_eq!(report.receipt.unwrap().enforced.keepers, keepers);
}

#[test]
fn the_limit_on_time_is_a_timers() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.limits.wall = Duration::from_millis(300);
    let report = ground.report(&policy, &["pause", "20", "x"]);
    let peak = reached(&report, LimitKind::Wall, 300, Enforcer::Timer);
    assert!((300..2000).contains(&peak), "{peak}");
}

#[test]
fn processor_time_is_counted_for_all_processes_together() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.limits.cpu = Duration::from_secs(2);
    // None of them reaches the limit of a process by itself before they do together.
    let together = "for i in 1 2 3 4; do /src/probe spin 20 & done; wait";
    let report = ground.shell(&policy, together);
    let peak = reached(&report, LimitKind::Cpu, 2000, limit_keepers().cpu);
    assert!((1500..6000).contains(&peak), "{peak}");
    within(&ground.shell(&policy, "/src/probe spin 1 > /dev/null"));
}

#[test]
fn processor_time_of_a_fraction_of_a_second_more_is_not_taken_off() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.limits.cpu = Duration::from_millis(1500);
    let report = ground.report(&policy, &["spin", "20"]);
    let peak = reached(&report, LimitKind::Cpu, 1500, limit_keepers().cpu);
    assert!(peak >= 1400, "{peak}");
}

#[test]
fn memory_is_counted_for_all_processes_together() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.limits.memory = Bytes(64 * MIB);
    let report = ground.report(&policy, &["hog-many", "5", "24", "20"]);
    let peak = reached(&report, LimitKind::Memory, 64 * MIB, limit_keepers().memory);
    // A sampler comes late, and counts pages of the program for each process.
    assert!((48 * MIB..200 * MIB).contains(&peak), "{peak}");
    within(&ground.report(&policy, &["hog-many", "3", "8", "1"]));
}

#[test]
fn processes_beyond_the_limit_are_refused_and_counted() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.limits.pids = 20;
    // The inner shell fails for want of a process; what it started lives on until the outer one has failed, too.
    let script = |count| {
        format!(
            "sh -c 'i=0; while [ $i -lt {count} ]; do /src/probe pause 3 x & i=$((i+1)); done'; e=$?; sleep 0.4; exit $e"
        )
    };
    let report = ground.shell(&policy, &script(60));
    let peak = reached(&report, LimitKind::Pids, 20, limit_keepers().pids);
    assert!((18..=20).contains(&peak), "{peak}");
    within(&ground.shell(&policy, &script(5)));
}

#[test]
fn a_full_disk_is_named_as_the_limit_that_failed_the_command() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.tmp.size = Bytes(4 * MIB);
    let report = ground.report(&policy, &["fill", "/tmp", "20"]);
    let peak = reached(&report, LimitKind::Disk, 4 * MIB, Enforcer::Tmpfs);
    assert_eq!((peak, report.metering.written_bytes), (4 * MIB, 4 * MIB));
    within(&ground.report(&policy, &["fill", "/tmp", "2"]));
}

#[test]
fn too_many_files_are_named_as_the_limit_that_failed_the_command() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.tmp.inodes = 300;
    let report = ground.report(&policy, &["inodes", "/src", "1000"]);
    assert_eq!(reached(&report, LimitKind::Inodes, 300, Enforcer::Tmpfs), 300);
    within(&ground.report(&policy, &["inodes", "/src", "100"]));
}

#[test]
fn a_file_too_large_is_named_when_its_signal_ends_the_command() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.limits.file_size = Bytes(MIB);
    let script = "exec head -c 3000000 /dev/zero > /tmp/large";
    reached(
        &ground.shell(&policy, script),
        LimitKind::FileSize,
        MIB,
        Enforcer::Rlimit,
    );
    within(&ground.shell(&policy, "exec head -c 1000000 /dev/zero > /tmp/large"));
}

#[test]
fn a_command_that_is_silent_for_too_long_is_ended() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.limits.silence = Some(Duration::from_millis(400));
    let report = ground.shell(&policy, "echo begun; exec sleep 20");
    reached(&report, LimitKind::Silence, 400, Enforcer::Collector);
    assert_eq!(report.stdout.head, b"begun\n");
    assert!(report.metering.wall_ms < 3000, "{:?}", report.metering);
    // Whichever stream it is that is not silent.
    within(&ground.shell(&policy, "for i in 1 2 3 4 5 6 7 8; do sleep 0.1; echo >&2; done"));
    // Silence that nobody asked for is no limit, and not in the report.
    policy.limits.silence = None;
    let report = ground.shell(&policy, "sleep 0.6");
    within(&report);
    assert!(report.limits.iter().all(|limit| limit.limit != LimitKind::Silence));
}

#[test]
fn output_beyond_the_limit_is_said_and_ends_nothing() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.limits.output = Bytes(1000);
    let report = ground.report(&policy, &["flood", "1"]);
    assert_eq!(report.outcome, Outcome::Exit { code: 0 });
    let found = limit(&report, LimitKind::Output);
    assert_eq!(
        (found.requested, found.enforced_by, found.hit),
        (1000, Enforcer::Collector, Some(true))
    );
    assert_eq!(found.peak, Some(report.stdout.total()));
    within(&ground.shell(&policy, "echo short"));
}

#[test]
fn a_command_that_copes_with_a_limit_has_succeeded_and_the_report_says_both() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.tmp.size = Bytes(4 * MIB);
    let report = ground.shell(&policy, "/src/probe fill /tmp 20; exit 0");
    assert_eq!(report.outcome, Outcome::Exit { code: 0 });
    assert_eq!(limit(&report, LimitKind::Disk).hit, Some(true));
}

// What the policy alone decides.

fn protecting(path: &str) -> Policy {
    Policy {
        protect: vec![RepoPath::parse(path).unwrap()],
        ..policy()
    }
}

#[test]
fn whoever_changes_a_protected_path_has_tampered_however_it_was_done_and_whatever_it_returns() {
    let ground = Ground::new();
    for (name, content) in [
        ("tests/a", "as it was"),
        ("tests/inner/b", "this too"),
        ("free", "anything"),
    ] {
        ground.file(&format!("tree/{name}"), content);
    }
    for directory in ["tree/tests", "tree/tests/inner"] {
        ground.give(directory);
    }
    for (script, path) in [
        ("echo x >> tests/a", "tests/a"),
        ("printf 'as it wos' > tests/a", "tests/a"),
        ("rm tests/a", "tests/a"),
        ("chmod +x tests/a", "tests/a"),
        ("mv free tests/a", "tests/a"),
        ("ln -sf ../free tests/a", "tests/a"),
        ("echo x > tests/new", "tests/new"),
        ("mkfifo tests/new", "tests/new"),
        ("rm -r tests", "tests/a"),
        (
            "mv tests gone; mkdir -p tests/inner; cp free tests/a; cp gone/inner/b tests/inner",
            "tests/a",
        ),
        ("mv tests gone; ln -s gone tests", "tests"),
        ("chmod 0 tests", "tests"),
        ("echo x > tests/inner/b; exit 1", "tests/inner/b"),
        ("echo x > tests/inner/b; kill -9 $$", "tests/inner/b"),
    ] {
        let report = ground.shell(&protecting("tests"), script);
        let path = path.to_owned();
        assert_eq!(report.outcome, Outcome::Tampered { path }, "{script}");
        let control = ground.shell(&policy(), script).outcome;
        assert!(!matches!(control, Outcome::Tampered { .. }), "{script}: {control:?}");
    }
    // What puts everything back has changed nothing, and beside it anything goes.
    for script in [
        "touch tests/a; cat tests/a",
        "mv tests away; mv away tests",
        "cp -p tests/a keep; echo x > tests/a; cat keep > tests/a",
        "echo x > free; mkdir other",
    ] {
        let outcome = ground.shell(&protecting("tests"), script).outcome;
        assert_eq!(outcome, Outcome::Exit { code: 0 }, "{script}");
    }
    // A path that is not there is protected from being made.
    let outcome = ground.shell(&protecting("absent"), "echo x > absent").outcome;
    let path = "absent".to_owned();
    assert_eq!(outcome, Outcome::Tampered { path });
    assert!(ground.shell(&protecting("absent"), "true").outcome.is_success());
}

#[test]
fn a_program_for_another_architecture_is_denied_before_it_starts() {
    let ground = Ground::new();
    // Fields of an ELF header: class at 4 (1 for 32 bits), machine at 18. Source: elf(5).
    for (name, class, machine, rule) in [
        ("i386", 1, 3, "i386"),
        ("arm", 1, 40, "arm"),
        ("riscv", 2, 243, "riscv"),
        ("sparc", 2, 43, "unknown"),
    ] {
        let mut header = vec![0; 64];
        header[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, 1, 1]);
        header[18] = machine;
        ground.program(&format!("tree/{name}"), &header);
        let report = ground.run(&policy(), &Command::new([format!("/src/{name}")]));
        let rule = format!("seccomp: a program for another architecture ({rule})");
        assert_eq!(report.outcome, Outcome::Denied { rule });
        assert!(report.receipt.is_some() && report.stdout.head.is_empty());
    }
    // The control: what no ELF file is at all is no program, and our own is one.
    ground.program("tree/short", b"\x7fELF");
    let report = ground.run(&policy(), &Command::new(["/src/short"]));
    assert!(matches!(report.outcome, Outcome::Setup { .. }), "{:?}", report.outcome);
    within(&ground.report(&policy(), &["env", "HOME"]));
}
