//! What must not survive, and what must not be gained.

use crate::support::{Act, Ground, alive, holding, is_root, policy, unique, vanishes};
use factory::sandbox::{Enforcer, LimitKind, Outcome};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::time::Duration;

#[test]
fn a_daemon_dies_with_its_command() {
    let ground = Ground::new();
    let word = unique("factory-daemon");
    let outside = ground.word(&word);
    assert!(ground.outside(&["daemon", &outside, "5"]).succeeded());
    let left = holding(&word);
    assert_eq!(left.len(), 1, "the control outlives its command");
    std::thread::sleep(Duration::from_millis(300));
    assert!(alive(left[0]) && fs::metadata(&outside).unwrap().len() > 0);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(left[0]), nix::sys::signal::Signal::SIGKILL).unwrap();
    let word = unique("factory-daemon");
    let inside = ground.inside(&policy(), &["daemon", &format!("/tmp/{word}"), "20"]);
    assert!(inside.succeeded(), "it can be started: {inside:?}");
    assert!(holding(&word).is_empty(), "nothing is left when the report is there");
}

#[test]
fn the_first_process_cannot_be_killed_or_stopped_from_inside() {
    let ground = Ground::new();
    let act = ground.inside(&policy(), &["signal-all"]);
    // kill(-1) spares the caller; the first process is out of reach, so there was nobody to signal.
    assert!(act.succeeded() || act.errno() == Some("ESRCH"), "{act:?}");
    let word = unique("factory-sleeper");
    let report = ground.shell(
        &policy(),
        &format!("/src/probe pause 50 {word} & kill -9 -1; kill -9 1; exit 3"),
    );
    assert_eq!(report.outcome, Outcome::Exit { code: 3 });
    assert!(holding(&word).is_empty());
}

#[test]
fn a_set_user_id_program_gains_nothing() {
    let ground = Ground::new();
    let program = ["/usr/bin/su", "/usr/bin/mount", "/usr/bin/passwd"]
        .into_iter()
        .find(|path| fs::metadata(path).is_ok_and(|metadata| metadata.uid() == 0 && metadata.mode() & 0o4000 != 0));
    let program = program.expect("a set-user-id program of the system");
    let control = if is_root() {
        ordinary(&ground, &["setuid-program", program])
    } else {
        ground.outside(&["setuid-program", program])
    };
    assert!(control.succeeded(), "{control:?}");
    let act = ground.inside(&policy(), &["setuid-program", program]);
    assert_eq!((act.errno(), act.count()), (Some("EPERM"), 1000), "{act:?}");
    // A copy that root left in the tree with the bit set.
    let inside = "/src/owned";
    let copy = ground.program("tree/owned", &fs::read(program).unwrap());
    if is_root() {
        std::os::unix::fs::chown(&copy, Some(0), Some(0)).unwrap();
    }
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)).unwrap();
    if is_root() {
        let copy = copy.display().to_string();
        assert!(ordinary(&ground, &["setuid-program", &copy]).succeeded());
    }
    let act = ground.inside(&policy(), &["setuid-program", inside]);
    assert_eq!((act.errno(), act.count()), (Some("EPERM"), 1000), "{act:?}");
}

/// The probe run by root as a user with no rights.
fn ordinary(ground: &Ground, words: &[&str]) -> Act {
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(ground.path("tree/probe"))
        .args(words)
        .output()
        .unwrap();
    Act {
        code: output.status.code(),
        signal: None,
        line: String::from_utf8_lossy(&output.stdout).trim_end().to_owned(),
    }
}

#[test]
fn a_fork_bomb_stops_at_the_process_limit() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.limits.pids = 64;
    let control = ground.outside(&["fork", "300", "20"]);
    assert!(control.succeeded(), "{control:?}");
    for count in ["300", "3000"] {
        let act = ground.inside(&policy, &["fork", count, "20"]);
        assert_eq!(act.errno(), Some("EAGAIN"), "{act:?}");
        assert!((32..=64).contains(&act.count()), "{act:?}");
    }
    let report = ground.run(
        &policy,
        &factory::sandbox::Command::new(["/src/probe", "fork", "300", "20"]),
    );
    let pids = report
        .limits
        .iter()
        .find(|limit| limit.limit == LimitKind::Pids)
        .unwrap();
    // A group tells that it refused; a limit of the process does not, and its processes may be gone between two looks.
    let by_group = matches!(pids.enforced_by, Enforcer::CgroupV1 | Enforcer::CgroupV2);
    assert!(pids.hit == Some(true) || !by_group, "{pids:?}");
    // The limit is this sandbox's own: another one is not affected, and nor is the next.
    assert!(ground.inside(&policy, &["fork", "20", "5"]).succeeded());
}

#[test]
fn a_fork_bomb_that_grows_by_itself_ends_with_its_command() {
    let ground = Ground::new();
    let word = unique("factory-bomb");
    let mut policy = policy();
    policy.limits.pids = 48;
    policy.limits.wall = Duration::from_secs(2);
    let control = ground.outside(&["fork-tree", "5", "1", &word]);
    assert!(control.succeeded(), "{control:?}");
    assert!(vanishes(&word, Duration::from_secs(5)));
    let report = ground.shell(
        &policy,
        &format!("for i in 1 2 3 4 5 6; do /src/probe fork-tree 11 20 {word} & done; wait"),
    );
    assert!(holding(&word).is_empty(), "{:?}", report.outcome);
    assert!(report.metering.wall_ms < 15_000, "{:?}", report.metering);
}
