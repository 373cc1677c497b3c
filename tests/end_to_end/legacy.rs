//! The rung without namespaces, as the profile `legacy-kernel`: what is refused on it, each act with its control, and that
//! nothing of a run is left.

use crate::support::{Act, Ground, alive, descendants, holding, is_root, program, unique, vanishes};
use factory::sandbox::{Command, LimitKind, Network, Operator, Outcome, Policy, Report, SandboxError, load_profile};
use factory::types::{Bytes, RepoPath};
use nix::sys::signal::Signal;
use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

fn legacy() -> Policy {
    let operator = Operator {
        profiles: None,
        own: &[],
        search_path: "/usr/bin:/bin",
        variable: &|_| None,
    };
    let mut policy = load_profile("legacy-kernel", &operator).unwrap();
    policy.limits.wall = Duration::from_secs(60);
    policy.limits.output = Bytes(1 << 20);
    policy
}

fn probe(ground: &Ground, policy: &Policy, words: &[&str]) -> Report {
    ground.run(policy, &Command::new(["./probe"].iter().chain(words).copied()))
}

/// The control must succeed, and the same act on this rung must be refused with one of the errors named.
#[track_caller]
fn only_outside(ground: &Ground, words: &[&str], errors: &[&str]) {
    let control = ground.outside(words);
    assert!(control.succeeded(), "control of {words:?}: {control:?}");
    refused(ground, words, errors);
}

#[track_caller]
fn refused(ground: &Ground, words: &[&str], errors: &[&str]) {
    let act = Act::from(&probe(ground, &legacy(), words));
    let right = act.code == Some(1) && act.errno().is_some_and(|errno| errors.contains(&errno));
    assert!(right, "{words:?}: {act:?}, expected {errors:?}");
}

fn stdout(report: &Report) -> String {
    String::from_utf8(report.stdout.to_bytes())
        .unwrap()
        .trim_end()
        .to_owned()
}

/// The private directory of a run that printed where its tree is.
fn scratch(report: &Report) -> PathBuf {
    let tree = PathBuf::from(stdout(report).lines().next().unwrap());
    let scratch = tree.parent().unwrap().to_owned();
    assert!(scratch.display().to_string().contains("/factory-bare-"), "{tree:?}");
    scratch
}

#[test]
fn the_receipt_says_what_is_true_without_namespaces() {
    let ground = Ground::new();
    let script = "pwd; echo \"$HOME $TMPDIR\"; id -u; readlink /proc/self/ns/net; touch new \"$HOME/x\" \"$TMPDIR/y\"";
    let report = ground.shell(&legacy(), script);
    assert!(report.outcome.is_success(), "{report:?}");
    let scratch = scratch(&report);
    let seen = stdout(&report);
    let place = scratch.display();
    assert!(seen.contains(&format!("{place}/home {place}/tmp")), "{seen}");
    let id = factory::sandbox::Sandbox::tree_owner().unwrap_or_else(|| nix::unistd::geteuid().as_raw());
    assert_ne!(id, 0);
    assert_eq!(seen.lines().nth(2), Some(id.to_string().as_str()));
    let host = fs::read_link("/proc/self/ns/net").unwrap();
    assert!(seen.contains(&*host.to_string_lossy()), "the namespaces are the host's");
    assert!(!scratch.exists(), "{place} is left");
    assert!(!ground.path("tree/new").exists(), "the tree itself is never written");

    let receipt = report.receipt.unwrap();
    assert_eq!(receipt.differences(), Vec::<String>::new());
    assert!(!receipt.promised.require.userns);
    let enforced = &receipt.enforced;
    assert!(enforced.namespaces.is_empty() && enforced.no_new_privs);
    assert_eq!((enforced.tree.as_str(), enforced.capabilities), ("copy", 0));
    assert!(enforced.landlock_abi >= 6 && enforced.seccomp_mode == 2);
    for (act, errno) in [
        ("mount", "EPERM"),
        ("new user namespace", "EPERM"),
        ("session keyring", "EPERM"),
        ("bpf", "EPERM"),
        ("connect to loopback", "EPERM"),
        ("signal the parent", "EPERM"),
        ("trace the parent", "EPERM"),
        ("list / (Landlock)", "EACCES"),
        ("read /proc (Landlock)", "EACCES"),
    ] {
        assert_eq!(enforced.refused.get(act).map(String::as_str), Some(errno), "{act}");
        let mut less = receipt.clone();
        less.enforced.refused.remove(act);
        assert!(less.differences().iter().any(|found| found.contains(act)), "{act}");
    }
    let mut stronger = receipt.clone();
    stronger.promised.require.userns = true;
    assert!(stronger.differences().iter().any(|found| found.contains("namespace")));
}

#[test]
fn files_outside_of_the_grants_are_not_read_written_or_changed() {
    let ground = Ground::new();
    let secret = ground.file("outside/secret", "s3cret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(ground.path("outside"), fs::Permissions::from_mode(0o777)).unwrap();
    let (secret, new) = (ground.word("outside/secret"), ground.word("outside/new"));
    only_outside(&ground, &["read", &secret], &["EACCES"]);
    only_outside(&ground, &["list", &ground.word("outside")], &["EACCES"]);
    only_outside(&ground, &["write", &new], &["EACCES"]);
    only_outside(&ground, &["truncate", &secret], &["EACCES"]);
    ground.file("outside/secret", "s3cret");
    // Landlock does not look at modes: for an ordinary user, whose files these are, the filter is what refuses.
    only_outside(&ground, &["chmod", &secret], &["EPERM"]);
    refused(&ground, &["unlink", &secret], &["EACCES"]);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "s3cret");
    assert!(ground.outside(&["unlink", &new]).succeeded(), "control");
    // A link in the tree leads nowhere else.
    std::os::unix::fs::symlink(&secret, ground.path("tree/link")).unwrap();
    refused(&ground, &["read", "link"], &["EACCES"]);
    ground.file("tree/own", "own");
    assert!(Act::from(&probe(&ground, &legacy(), &["read", "own"])).succeeded());
}

#[test]
fn no_socket_reaches_anybody() {
    let ground = Ground::new();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port().to_string();
    only_outside(&ground, &["tcp", "127.0.0.1", &port], &["EPERM"]);
    let name = unique("factory-abstract");
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    only_outside(&ground, &["unix", &format!("@{name}")], &["EPERM"]);
    let log = UnixDatagram::bind(ground.path("log")).unwrap();
    log.set_nonblocking(true).unwrap();
    fs::set_permissions(ground.path("log"), fs::Permissions::from_mode(0o777)).unwrap();
    only_outside(&ground, &["unix-pair", &ground.word("log")], &["EPERM"]);
    let mut heard = [0; 8];
    assert_eq!(log.recv(&mut heard).unwrap(), 1, "the control's");
    assert!(log.recv(&mut heard).is_err(), "nothing came from inside");
    for family in ["1", "2", "10", "16", "17"] {
        refused(&ground, &["socket", family, "1", "0"], &["EPERM"]);
    }
    // What programs use among themselves is there.
    let pair = "import socket; a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1).decode())";
    if Path::new("/usr/bin/python3").exists() {
        let report = ground.run(&legacy(), &Command::new(["python3", "-c", pair]));
        assert_eq!(stdout(&report), "x", "{report:?}");
    }
}

#[test]
fn processes_of_the_same_user_are_out_of_reach() {
    let ground = Ground::new();
    // One that belongs to whom the command runs as, so that it is no user id that keeps it away.
    let mut victim = sleeper(60);
    let pid = victim.id().to_string();
    only_outside(&ground, &["signal", &pid], &["EPERM"]);
    // The control is that user too: this root may lack the capability for others' limits.
    let mut control = std::process::Command::new(ground.path("tree/probe"));
    control.args(["limit-of", &pid]);
    if let Some(owner) = factory::sandbox::Sandbox::tree_owner() {
        control.gid(owner).uid(owner);
    }
    assert!(control.status().unwrap().success(), "control");
    refused(&ground, &["limit-of", &pid], &["EPERM"]);
    for call in [
        "ptrace",
        "process_vm_readv",
        "keyctl",
        "bpf",
        "unshare-user",
        "clone-user",
    ] {
        refused(&ground, &["call", call], &["EPERM"]);
    }
    refused(&ground, &["read", &format!("/proc/{pid}/environ")], &["EACCES"]);
    refused(&ground, &["signal", &std::process::id().to_string()], &["EPERM"]);
    // Its own it can signal.
    assert!(ground.shell(&legacy(), "sleep 9 & kill $!").outcome.is_success());
    assert!(victim.try_wait().unwrap().is_none());
    victim.kill().unwrap();
    victim.wait().unwrap();
}

#[test]
fn a_daemon_ends_with_its_command() {
    let ground = Ground::new();
    let word = unique("legacy-daemon");
    let outside = ground.word(&word);
    assert!(ground.outside(&["daemon", &outside, "5"]).succeeded());
    assert!(!holding(&word).is_empty(), "the control leaves one behind");
    let word = unique("legacy-daemon-inside");
    let report = probe(&ground, &legacy(), &["daemon", &word, "20"]);
    assert!(Act::from(&report).succeeded(), "{report:?}");
    assert_eq!(holding(&word), Vec::<i32>::new());
}

#[test]
fn a_fork_bomb_ends_and_leaves_nothing() {
    let ground = Ground::new();
    let word = unique("legacy-bomb");
    let mut policy = legacy();
    policy.limits.pids = 40;
    policy.limits.wall = Duration::from_secs(3);
    // Each starts two and ends, for as long as it can: bounded by the limits and by the time.
    let script = "b() { b & b & wait; }; b 2>/dev/null; sleep 30";
    let command = Command::new(["sh", "-c", script, &word]);
    let started = Instant::now();
    let report = ground.run(&policy, &command);
    assert!(!report.outcome.is_success(), "{report:?}");
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(holding(&word), Vec::<i32>::new());
    let control = std::process::Command::new("sh").args(["-c", CROWD]).status();
    assert!(control.unwrap().success(), "control");
    is_over_its_limit(&ground, &policy);
}

/// Has a hundred processes at once, for long enough to be seen by whoever looks now and then.
const CROWD: &str = "i=0; while [ $i -lt 100 ]; do sleep 1 & i=$((i+1)); done; wait";

/// The kernel refuses the run more processes where a group counts them; elsewhere the guard ends it.
#[track_caller]
fn is_over_its_limit(ground: &Ground, policy: &Policy) {
    let report = ground.shell(policy, CROWD);
    let limit = LimitKind::Pids;
    assert_eq!(report.outcome, Outcome::Limit { limit }, "{report:?}");
}

/// Sleeps so many seconds, as the user that commands run as.
fn sleeper(seconds: u64) -> Child {
    let mut command = std::process::Command::new("sleep");
    command.arg(seconds.to_string());
    if let Some(owner) = factory::sandbox::Sandbox::tree_owner() {
        command.gid(owner).uid(owner);
    }
    command.spawn().unwrap()
}

#[test]
fn what_the_user_starts_elsewhere_takes_nothing_from_a_run() {
    let ground = Ground::new();
    let mut policy = legacy();
    policy.limits.pids = 20;
    let (word, go) = (unique("legacy-elsewhere"), ground.word("go"));
    let script = format!("until [ -e {go} ]; do sleep 0.05; done; ./probe fork 10 20; : {word}");
    let report = std::thread::scope(|scope| {
        let run = scope.spawn(|| ground.shell(&policy, &script));
        let end = Instant::now() + Duration::from_secs(20);
        // Once the command is there, the others have been counted.
        while holding(&word).is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut others: Vec<Child> = (0..60).map(|_| sleeper(60)).collect();
        ground.file("go", "");
        let report = run.join().unwrap();
        for other in &mut others {
            other.kill().unwrap();
            other.wait().unwrap();
        }
        report
    });
    assert_eq!(stdout(&report), "ok 10", "{report:?}");
    // Its own are still counted.
    is_over_its_limit(&ground, &policy);
}

#[test]
fn limits_hold() {
    let ground = Ground::new();
    let limited = |change: &dyn Fn(&mut Policy), script: &str| {
        let mut policy = legacy();
        change(&mut policy);
        let report = ground.shell(&policy, &format!("pwd; {script}"));
        assert!(!scratch(&report).exists());
        report
    };
    let limit = |limit| Outcome::Limit { limit };
    let wall = limited(
        &|policy| policy.limits.wall = Duration::from_secs(1),
        "sleep 30 & sleep 30",
    );
    assert_eq!(wall.outcome, limit(LimitKind::Wall));
    let silent = limited(
        &|policy| policy.limits.silence = Some(Duration::from_secs(1)),
        "setsid sleep 30",
    );
    assert_eq!(silent.outcome, limit(LimitKind::Silence));
    let disk = limited(&|policy| policy.tmp.size = Bytes(8 << 20), "./probe fill . 64; sleep 5");
    assert_eq!(disk.outcome, limit(LimitKind::Disk), "{disk:?}");
    let memory = limited(&|policy| policy.limits.memory = Bytes(64 << 20), "./probe hog 512");
    assert!(!memory.outcome.is_success(), "{memory:?}");
    let flood = limited(&|policy| policy.limits.output = Bytes(4096), "./probe flood 4");
    assert!(flood.stdout.dropped > 1 << 20, "{}", flood.stdout.dropped);
    let all = limited(&|_| {}, "exit 7");
    assert_eq!(all.outcome, Outcome::Exit { code: 7 });
}

#[test]
fn hostile_leftovers_are_removed_and_tampering_is_told() {
    let ground = Ground::new();
    ground.file("tree/tests/kept", "1");
    let mut policy = legacy();
    policy.protect = vec![RepoPath::parse("tests").unwrap()];
    let report = ground.shell(
        &policy,
        "pwd; umask 777; mkdir closed; mkfifo pipe; ln -s / root; umask 22; i=0; while [ $i -lt 300 ]; do mkdir d; cd d; i=$((i+1)); done",
    );
    assert!(report.outcome.is_success(), "{report:?}");
    assert!(!scratch(&report).exists());
    let report = ground.shell(&policy, "pwd; mv tests old; ln -s /usr tests");
    assert!(matches!(report.outcome, Outcome::Tampered { .. }), "{report:?}");
    assert!(!scratch(&report).exists());
}

#[test]
fn what_needs_namespaces_is_refused_before_anything_runs() {
    let ground = Ground::new();
    let mut loopback = legacy();
    loopback.network = Network::Loopback;
    let mut snapshot = legacy();
    snapshot.snapshots = vec![ground.path("tree")];
    for policy in [loopback, snapshot] {
        let error = ground.try_run(&policy, &Command::new(["true"])).unwrap_err();
        assert!(matches!(error, SandboxError::NeedsNamespaces { .. }), "{error}");
    }
}

#[test]
fn a_launcher_that_is_killed_leaves_nothing() {
    let ground = Ground::new();
    let word = unique("legacy-orphan");
    ground.file("repository/scripts/x", "");
    let repository = ground.path("repository");
    let script =
        "git init --quiet . && git add . && git -c user.name=a -c user.email=a@localhost commit --quiet -m base";
    let made = std::process::Command::new("sh")
        .args(["-c", script])
        .current_dir(&repository)
        .status();
    assert!(made.unwrap().success());
    let run = format!("pwd; sleep 60 & exec sh -c 'sleep 60; true' {word}");
    let out = fs::File::create(ground.path("out")).unwrap();
    let mut launcher = std::process::Command::new(program())
        .args(["exec", "--profile", "legacy-kernel", "--", "sh", "-c", &run])
        .current_dir(&repository)
        .env("HOME", ground.path("home"))
        .env("XDG_CACHE_HOME", ground.path("cache"))
        .stdout(out)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    let tree = loop {
        let text = fs::read_to_string(ground.path("out")).unwrap();
        if let Some(line) = text.lines().next().filter(|_| text.ends_with('\n')) {
            break PathBuf::from(line);
        }
        assert!(Instant::now() < end && launcher.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(is_root() || tree.exists());
    launcher.kill().unwrap();
    launcher.wait().unwrap();
    assert!(vanishes(&word, Duration::from_secs(10)));
    while tree.parent().unwrap().exists() {
        assert!(Instant::now() < end, "{} is left", tree.display());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!alive(launcher.id() as i32));
}

/// A run that has a daemon and tells where its tree is, with the processes that watch over it: the guard, then the first
/// process of the run.
struct Watched {
    launcher: Child,
    word: String,
    scratch: PathBuf,
    watchers: [i32; 2],
}

fn watched(ground: &Ground) -> Watched {
    let repository = ground.path("repository");
    fs::create_dir(&repository).unwrap();
    fs::write(repository.join("file"), "x").unwrap();
    let script =
        "git init --quiet . && git add . && git -c user.name=a -c user.email=a@localhost commit --quiet -m base";
    let made = std::process::Command::new("sh")
        .args(["-c", script])
        .current_dir(&repository)
        .status();
    assert!(made.unwrap().success());
    let word = unique("legacy-watched");
    let out = ground.path("out");
    let run = format!("pwd; setsid sh -c 'sleep 50; : {word}' & exec sh -c 'sleep 60; true' {word}");
    let mut launcher = std::process::Command::new(program())
        .args(["exec", "--profile", "legacy-kernel", "--", "sh", "-c", &run])
        .current_dir(&repository)
        .env("HOME", ground.path("home"))
        .env("XDG_CACHE_HOME", ground.path("cache"))
        .stdout(fs::File::create(&out).unwrap())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while holding(&word).len() < 3 || !fs::read_to_string(&out).unwrap().ends_with('\n') {
        assert!(Instant::now() < end && launcher.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(10));
    }
    let is_guard = |pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.ends_with(b"\0sandbox-guard\0")
    };
    let below = descendants(launcher.id() as i32);
    let watchers: Vec<i32> = below.into_iter().filter(is_guard).collect();
    Watched {
        scratch: Path::new(fs::read_to_string(&out).unwrap().trim())
            .parent()
            .unwrap()
            .to_owned(),
        watchers: watchers.try_into().unwrap(),
        launcher,
        word,
    }
}

fn send(pid: i32, signal: Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
}

#[track_caller]
fn is_gone(scratch: &Path) {
    let end = Instant::now() + Duration::from_secs(10);
    while scratch.exists() {
        assert!(Instant::now() < end, "{} is left", scratch.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn either_of_the_two_that_watch_over_a_run_leaves_nothing_when_the_other_is_killed() {
    for killed in [0, 1] {
        let ground = Ground::new();
        let mut run = watched(&ground);
        send(run.watchers[killed], Signal::SIGKILL);
        assert_ne!(run.launcher.wait().unwrap().code(), Some(0));
        assert!(vanishes(&run.word, Duration::from_secs(10)), "watcher {killed}");
        is_gone(&run.scratch);
    }
}

/// A directory beside those of runs, removed with this.
struct Beside(PathBuf);

impl Beside {
    fn new(place: &Path, name: &str) -> Self {
        let path = place.join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("file"), "x").unwrap();
        Beside(path)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_private_directory_that_nobody_holds_is_removed_by_the_next_run_and_no_other_is() {
    let ground = Ground::new();
    let report = ground.shell(&legacy(), "pwd");
    let place = scratch(&report).parent().unwrap().to_owned();
    let uuid = || {
        fs::read_to_string("/proc/sys/kernel/random/uuid")
            .unwrap()
            .trim()
            .to_owned()
    };
    let name = || format!("factory-bare-{}", uuid());
    // What the death of both that watch over a run leaves.
    let abandoned = Beside::new(&place, &name());
    fs::set_permissions(&abandoned.0, fs::Permissions::from_mode(0o000)).unwrap();
    let held = Beside::new(&place, &name());
    let holder = fs::File::open(&held.0).unwrap();
    holder.lock().unwrap();
    let named_otherwise = Beside::new(&place, &format!("factory-bare-of-{}", uuid()));
    let linked = place.join(name());
    std::os::unix::fs::symlink(&named_otherwise.0, &linked).unwrap();
    let of_others = is_root().then(|| Beside::new(&place, &name()));
    if let Some(Beside(path)) = &of_others {
        std::os::unix::fs::chown(path, Some(54_321), None).unwrap();
    }
    assert!(ground.shell(&legacy(), "true").outcome.is_success());
    assert!(!abandoned.0.exists());
    for kept in [Some(&held), Some(&named_otherwise), of_others.as_ref()]
        .into_iter()
        .flatten()
    {
        assert!(kept.0.join("file").exists(), "{}", kept.0.display());
    }
    assert!(linked.is_symlink());
    fs::remove_file(linked).unwrap();
    drop(holder);
    assert!(ground.shell(&legacy(), "true").outcome.is_success());
    assert!(!held.0.exists(), "nobody holds it any more");
}
