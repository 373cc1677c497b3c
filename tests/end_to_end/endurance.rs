//! A thousand sandboxes in a row and a hundred at once leave nothing behind: no descriptor, mount, memory, control group,
//! process or key, in this process, the helper or its slots.

use crate::support::{Ground, alone, control_groups_of, descendants, policy};
use factory::sandbox::{Command, LimitKind, Outcome, Policy, SetupFailure};
use factory::types::RepoPath;
use futures_util::future::join_all;
use std::fs;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// What this process, the helper and its slots hold.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    processes: usize,
    /// Of this process, and of the helper with its slots.
    descriptors: (usize, usize),
    /// The same; those of a slot can be counted by root only.
    mounts: (usize, usize),
    threads: usize,
    groups: usize,
}

impl Held {
    fn now(helper: i32) -> Self {
        let entries = |pid: i32, of: &str| fs::read_dir(format!("/proc/{pid}/{of}")).map_or(0, Iterator::count);
        let mounts = |pid: i32| {
            let text = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
            text.lines().count()
        };
        let own = std::process::id() as i32;
        let others = [vec![helper], descendants(helper)].concat();
        Held {
            processes: others.len(),
            descriptors: (entries(own, "fd"), others.iter().map(|pid| entries(*pid, "fd")).sum()),
            mounts: (mounts(own), others.iter().map(|pid| mounts(*pid)).sum()),
            threads: entries(own, "task"),
            groups: control_groups_of(helper).len(),
        }
    }

    /// What is held once it is `expected`, or after a while: the first process of a run and a slot that nobody needs end
    /// a moment after the report, and an idle helper makes a spare slot.
    fn settled(helper: i32, expected: Option<&Held>) -> Self {
        let patience = Instant::now() + Duration::from_secs(10);
        loop {
            std::thread::sleep(Duration::from_millis(100));
            let now = Held::now(helper);
            let is_settled = match expected {
                Some(expected) => now == *expected,
                None => now == Held::now(helper) && now.processes > 1,
            };
            if is_settled || Instant::now() > patience {
                return now;
            }
        }
    }
}

/// Resident bytes that are a process's own. Source: proc_pid_status(5).
fn resident(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kibibytes = anonymous.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

fn memory(helper: i32) -> u64 {
    let all = [vec![std::process::id() as i32, helper], descendants(helper)].concat();
    all.into_iter().map(resident).sum()
}

/// Keys of all users together. Source: proc_keys(5), `/proc/key-users`.
fn keys() -> i64 {
    let users = fs::read_to_string("/proc/key-users").unwrap_or_default();
    let count = |line: &str| {
        line.split_ascii_whitespace()
            .nth(2)?
            .split('/')
            .next()?
            .parse::<i64>()
            .ok()
    };
    users.lines().filter_map(count).sum()
}

/// Two views and all kinds of ends: the number chooses.
fn mixed(ground: &Ground, number: usize) -> (Policy, Command, Outcome) {
    let mut policy = policy();
    if number.is_multiple_of(7) {
        policy.memfd = true;
    }
    let probe = |words: &[&str]| Command::new(["/src/probe"].iter().chain(words).copied());
    let exit = |code| Outcome::Exit { code };
    let (command, outcome) = match number % 10 {
        0 => (probe(&["env", "HOME"]), exit(0)),
        1 => (probe(&["read", "/nowhere"]), exit(1)),
        2 => (probe(&["signal-all"]), exit(1)),
        3 => (
            Command::new(["no-such-program"]),
            Outcome::Setup {
                failure: SetupFailure::ToolMissing {
                    program: "no-such-program".to_owned(),
                },
            },
        ),
        4 => (probe(&["daemon", "/tmp/beat", "20"]), exit(0)),
        5 => (probe(&["flood", "2"]), exit(0)),
        6 => (probe(&["inodes", "/src", "50"]), exit(0)),
        7 => {
            policy.protect = vec![RepoPath::parse("kept").unwrap()];
            let tampered = Outcome::Tampered {
                path: "kept".to_owned(),
            };
            (probe(&["unlink", "/src/kept"]), tampered)
        }
        8 => (
            Command::new(["/src/foreign"]),
            Outcome::Denied {
                rule: "seccomp: a program for another architecture (unknown)".to_owned(),
            },
        ),
        _ => {
            let limit = Outcome::Limit { limit: LimitKind::Wall };
            let mut command = probe(&["pause", "50", "forever"]);
            command.timeout = Some(Duration::from_millis(20));
            (command, limit)
        }
    };
    debug_assert!(ground.path("tree/kept").exists());
    (policy, command, outcome)
}

fn ground() -> Ground {
    let ground = Ground::new();
    ground.file("tree/kept", "as it was");
    // The header of an ELF program for a machine that this is not (43, SPARC). Source: elf(5).
    let mut header = vec![0; 64];
    header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    header[18] = 43;
    ground.program("tree/foreign", &header);
    ground
}

#[test]
fn a_thousand_sandboxes_in_a_row_leave_nothing_behind() {
    alone("endurance::a_thousand_sandboxes_in_a_row_leave_nothing_behind", || {
        let ground = ground();
        let helper = ground.helper();
        let turn = |count: usize| {
            for number in 0..count {
                let (policy, command, outcome) = mixed(&ground, number);
                let report = ground.run(&policy, &command);
                assert_eq!(report.outcome, outcome, "{number}: {command:?}");
            }
        };
        // What is made once and kept: slots for both views, buffers.
        turn(100);
        let (before, memory_before, keys_before) = (Held::settled(helper, None), memory(helper), keys());
        turn(1000);
        assert_eq!(Held::settled(helper, Some(&before)), before);
        let grown = memory(helper).saturating_sub(memory_before);
        assert!(grown < 4 * MIB, "{grown} bytes more for a thousand sandboxes");
        // Others on this host have keys as well, but not hundreds that come and go.
        let grown = keys() - keys_before;
        assert!(grown < 200, "{grown} keys more for a thousand sandboxes");
    });
}

#[test]
fn a_hundred_sandboxes_at_once_leave_nothing_behind() {
    alone("endurance::a_hundred_sandboxes_at_once_leave_nothing_behind", || {
        let ground = ground();
        let helper = ground.helper();
        let (policy, tree) = (policy(), ground.tree());
        let turn = || {
            let runs = (0..100).map(|number| {
                let script = format!("/src/probe pause 1 at-once; exit {number}");
                let (policy, tree, sandbox) = (&policy, &tree, &ground.sandbox);
                async move {
                    let command = Command::new(["sh", "-c", &script]);
                    let report = sandbox.run(policy, tree, &command, None).await.unwrap();
                    assert_eq!(report.outcome, Outcome::Exit { code: number });
                }
            });
            ground.block_on(join_all(runs));
        };
        // As many idle slots as are kept at most, and as much of the heap as it takes.
        turn();
        turn();
        let (before, memory_before, keys_before) = (Held::settled(helper, None), memory(helper), keys());
        turn();
        turn();
        assert_eq!(Held::settled(helper, Some(&before)), before);
        let grown = memory(helper).saturating_sub(memory_before);
        assert!(grown < 4 * MIB, "{grown} bytes more for two hundred sandboxes");
        let grown = keys() - keys_before;
        assert!(grown < 100, "{grown} keys more for two hundred sandboxes");
    });
}
