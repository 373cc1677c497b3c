//! The sandbox by itself: what a command finds in it, how its end is told, and what is left of it.

use crate::support::{Act, Ground, alive, alone, ancestors, holding, policy, unique, vanishes};
use factory::sandbox::{
    Command, LimitKind, Network, Operator, Outcome, Policy, SandboxError, SetupFailure, Tree, find_program,
    load_profile,
};
use factory::types::{Bytes, FailureClass, Problem, RepoPath};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn exit(code: i32) -> Outcome {
    Outcome::Exit { code }
}

/// The process of a command that holds `word`, once it is there.
fn appears(word: &str) -> i32 {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        if let [pid, ..] = holding(word)[..] {
            return pid;
        }
        assert!(Instant::now() < end, "{word} never appeared");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a command until a process with `word` is there, looks at its process id, and goes on with the command.
fn while_running<T>(
    ground: &Ground,
    policy: &Policy,
    script: &str,
    word: &str,
    look: impl FnOnce(i32) -> T + Send + 'static,
) -> (T, Result<factory::sandbox::Report, SandboxError>)
where
    T: Send + 'static,
{
    let word = word.to_owned();
    let watcher = std::thread::spawn(move || look(appears(&word)));
    let (tree, command) = (ground.tree(), Command::new(["sh", "-c", script]));
    let report = ground.block_on(ground.sandbox.run(policy, &tree, &command, None));
    (watcher.join().unwrap(), report)
}

// What was enforced.

#[test]
fn the_receipt_says_what_the_kernel_confirmed() {
    let ground = Ground::new();
    let report = ground.shell(
        &policy(),
        "cat /proc/self/status; readlink /proc/self/ns/net; wc -l < /proc/self/mountinfo",
    );
    let receipt = report.receipt.unwrap();
    assert_eq!(receipt.differences(), Vec::<String>::new());
    let enforced = receipt.enforced;
    let seen = String::from_utf8(report.stdout.to_bytes()).unwrap();
    assert_eq!(enforced.namespaces.len(), 7);
    for (name, identity) in &enforced.namespaces {
        let host = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_ne!(host.to_string_lossy(), *identity, "{name}");
    }
    assert!(enforced.no_new_privs && seen.contains("NoNewPrivs:\t1"));
    assert_eq!((enforced.seccomp_mode, enforced.seccomp_filters), (2, 3));
    assert!(seen.contains("Seccomp:\t2"));
    assert_eq!(enforced.capabilities, 0);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(seen.contains(&format!("{set}:\t0000000000000000")), "{seen}");
    }
    assert!(enforced.landlock_abi >= policy().require.landlock_abi);
    assert!(seen.contains(&enforced.namespaces["net"]));
    assert_eq!(seen.lines().last(), Some(enforced.mounts.to_string().as_str()));
    assert!(
        ["overlay", "copy"].contains(&enforced.tree.as_str()),
        "{}",
        enforced.tree
    );
}

#[test]
fn two_commands_share_no_namespace() {
    let ground = Ground::new();
    let [first, second] = [0, 1].map(|_| {
        let (command, tree) = (Command::new(["sleep", "0.2"]), ground.tree());
        (command, tree)
    });
    let (policy, sandbox) = (policy(), &ground.sandbox);
    let reports = ground.block_on(async {
        futures_util::future::join(
            sandbox.run(&policy, &first.1, &first.0, None),
            sandbox.run(&policy, &second.1, &second.0, None),
        )
        .await
    });
    let (first, second) = (
        reports.0.unwrap().receipt.unwrap().enforced,
        reports.1.unwrap().receipt.unwrap().enforced,
    );
    for (name, identity) in &first.namespaces {
        assert_ne!(Some(identity), second.namespaces.get(name), "{name}");
    }
}

#[test]
fn a_floor_above_the_kernel_is_refused_before_anything_starts() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.require.landlock_abi = 1000;
    let error = ground.try_run(&policy, &Command::new(["true"])).unwrap_err();
    assert!(matches!(error, SandboxError::BelowFloor { .. }), "{error:?}");
    assert_eq!((error.class(), error.is_missing_layer()), (FailureClass::Host, true));
}

// What a command finds.

#[test]
fn the_environment_is_what_the_policy_says_and_nothing_else() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.env = BTreeMap::from([
        ("OWN".to_owned(), "policy".to_owned()),
        ("BOTH".to_owned(), "policy".to_owned()),
    ]);
    let mut command = Command::new(["env"]);
    command.env = BTreeMap::from([
        ("BOTH".to_owned(), "command".to_owned()),
        ("MORE".to_owned(), "a b\nc=d".to_owned()),
    ]);
    let report = ground.run(&policy, &command);
    let mut seen: Vec<String> = String::from_utf8(report.stdout.to_bytes())
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    seen.sort();
    assert_eq!(
        seen,
        [
            "BOTH=command",
            "HOME=/home/factory",
            "LOGNAME=factory",
            "MORE=a b",
            "OWN=policy",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "SHELL=/bin/sh",
            "TMPDIR=/tmp",
            "USER=factory",
            "c=d",
        ]
    );
}

#[test]
fn a_command_has_three_descriptors_and_an_empty_input() {
    let ground = Ground::new();
    // Inherited ones would show: this one is not closed on exec.
    let leaked = fs::File::open("/etc/hostname").unwrap();
    let leaked = rustix::io::dup(&leaked).unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    // The third is that of the directory being listed.
    assert_eq!(
        ground
            .prints(&policy(), "ls /proc/self/fd | tr '\\n' ' '; wc -c")
            .replace('\n', ""),
        "0 1 2 3 0"
    );
    assert_eq!(ground.prints(&policy(), "readlink /proc/self/fd/0"), "/dev/null");
    assert_eq!(ground.prints(&policy(), "tty; true"), "not a tty");
    let refused = ground.shell(&policy(), "true > /dev/tty");
    assert!(!refused.outcome.is_success());
}

#[test]
fn signals_the_umask_and_the_session_are_those_of_a_fresh_login() {
    let ground = Ground::new();
    let status = ground.prints(&policy(), "cat /proc/self/status | grep -E '^Sig(Ign|Blk|Cgt)'; umask");
    // Signals 32 and 33 are glibc's own: its posix_spawn(3) always leaves them ignored, and no program can use them.
    assert_eq!(
        status,
        "SigBlk:\t0000000000000000\nSigIgn:\t0000000180000000\nSigCgt:\t0000000000000000\n0022"
    );
    // And a broken pipe ends a writer, which it would not if the signal were ignored as in most Rust programs.
    assert_eq!(
        ground.prints(&policy(), "(yes; echo $? >&2) 2>/tmp/code | head -n 1; cat /tmp/code"),
        "y\n141"
    );
}

#[test]
fn the_identity_is_ordinary_and_the_host_is_nameless() {
    let ground = Ground::new();
    assert_eq!(
        ground.prints(&policy(), "id -un; id -u; id -g; id -G; hostname; pwd"),
        "factory\n1000\n1000\n1000\nfactory\n/src"
    );
    let outside = ground.prints(&policy(), "cat /proc/self/uid_map");
    let host: u32 = outside.split_ascii_whitespace().nth(1).unwrap().parse().unwrap();
    assert_ne!(host, 0, "host root is never mapped");
}

#[test]
fn a_command_starts_where_it_is_told_to() {
    let ground = Ground::new();
    ground.file("tree/some/where/file", "here");
    ground.give("tree/some");
    ground.give("tree/some/where");
    let mut command = Command::new(["cat", "file"]);
    command.cwd = Some(RepoPath::parse("some/where").unwrap());
    assert_eq!(ground.run(&policy(), &command).stdout.to_bytes(), b"here");
    command.cwd = Some(RepoPath::parse("no/where").unwrap());
    let report = ground.run(&policy(), &command);
    let failure = SetupFailure::DirectoryMissing {
        directory: "/src/no/where".to_owned(),
    };
    assert_eq!(report.outcome, Outcome::Setup { failure });
}

#[test]
fn an_alias_leads_to_the_program_granted() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.aliases = BTreeMap::from([("python".to_owned(), PathBuf::from("/usr/bin/env"))]);
    policy.path.insert(0, PathBuf::from("/opt/factory/bin"));
    assert_eq!(find_program(&policy, "python"), Some(PathBuf::from("/usr/bin/env")));
    let report = ground.run(&policy, &Command::new(["python", "--version"]));
    assert!(
        report.outcome.is_success() && !report.stdout.head.is_empty(),
        "{report:?}"
    );
    assert_eq!(ground.prints(&policy, "command -v python"), "/opt/factory/bin/python");
}

#[test]
fn the_verify_profile_has_the_python_of_the_operators_path() {
    let ground = Ground::new();
    let path = std::env::var("PATH").unwrap();
    let operator = Operator {
        profiles: None,
        own: &[],
        search_path: &path,
        variable: &|name| std::env::var(name).ok(),
    };
    let policy = load_profile("verify", &operator).unwrap();
    let wanted = |program: &str| {
        std::process::Command::new(program)
            .args(["-c", "import sys; print(sys.version)"])
            .output()
    };
    let Ok(outside) = wanted("python3") else {
        assert!(find_program(&policy, "python3").is_none());
        return;
    };
    for program in ["python3", "python"] {
        let report = ground.run(
            &policy,
            &Command::new([program, "-c", "import sys, json, ssl; print(sys.version)"]),
        );
        assert_eq!(
            report.stdout.to_bytes(),
            outside.stdout,
            "{program}: {:?} {}",
            report.outcome,
            String::from_utf8_lossy(&report.stderr.to_bytes())
        );
    }
}

#[test]
fn what_find_program_promises_is_what_a_command_finds() {
    let ground = Ground::new();
    for program in ["sh", "env", "git", "cc", "ldconfig", "no-such-program", "..", ""] {
        let promised = find_program(&policy(), program);
        let command = Command::new(["sh", "-c", "command -v -- \"$1\"", "sh", program]);
        let report = ground.run(&policy(), &command);
        let found = String::from_utf8(report.stdout.to_bytes()).unwrap();
        let found = Some(PathBuf::from(found.trim_end())).filter(|path| path.is_absolute());
        assert_eq!(promised, found, "{program}");
    }
}

// How the end of a command is told.

#[test]
fn every_exit_code_arrives_as_it_is() {
    let ground = Ground::new();
    for code in [0, 1, 2, 42, 126, 127, 128, 130, 137, 143, 255] {
        assert_eq!(ground.shell(&policy(), &format!("exit {code}")).outcome, exit(code));
    }
}

#[test]
fn a_signal_is_told_from_the_exit_code_that_shells_make_of_it() {
    let ground = Ground::new();
    for signal in [1, 6, 9, 11, 15, 24, 34, 64] {
        assert_eq!(
            ground.shell(&policy(), &format!("kill -{signal} $$")).outcome,
            Outcome::Signal { signal }
        );
    }
    assert_eq!(
        ground.shell(&policy(), "sh -c 'kill -9 $$'; exit $?").outcome,
        exit(137)
    );
}

#[test]
fn a_program_that_is_not_there_is_no_exit_code() {
    let ground = Ground::new();
    let outcome = |words: &[&str]| ground.run(&policy(), &Command::new(words.iter().copied())).outcome;
    let missing = SetupFailure::ToolMissing {
        program: "no-such-program".to_owned(),
    };
    assert_eq!(outcome(&["no-such-program", "x"]), Outcome::Setup { failure: missing });
    ground.file("tree/text", "not a program");
    ground.program("tree/odd", b"#!/no/such/interpreter\n");
    for (program, wanted) in [
        ("./absent", "No such file"),
        ("./text", "ermission denied"),
        ("/src", "ermission denied"),
        ("./odd", "No such file"),
    ] {
        match outcome(&[program]) {
            Outcome::Setup {
                failure: SetupFailure::ProgramUnusable { program: named, reason },
            } => assert!(named == program && reason.contains(wanted), "{program}: {reason}"),
            other => panic!("{program}: {other:?}"),
        }
    }
}

#[test]
fn a_command_without_a_program_is_the_orders_fault() {
    let ground = Ground::new();
    for words in [&[][..], &[""], &["echo", "a\0b"]] {
        let command = Command::new(words.iter().copied());
        let error = ground.try_run(&policy(), &command).unwrap_err();
        assert_eq!(error.class(), FailureClass::Order, "{words:?}");
    }
}

#[test]
fn a_command_that_takes_too_long_is_ended_with_all_that_it_started() {
    let ground = Ground::new();
    let word = unique("factory-slow");
    let script = format!(
        "trap '' TERM INT HUP; /src/probe pause 50 {word} & (setsid /src/probe pause 50 {word} &); wait; sleep 50"
    );
    let mut command = Command::new(["sh", "-c", &script]);
    command.timeout = Some(Duration::from_millis(700));
    let started = Instant::now();
    let report = ground.run(&policy(), &command);
    assert_eq!(report.outcome, Outcome::Limit { limit: LimitKind::Wall });
    assert!(
        (700..1700).contains(&started.elapsed().as_millis()),
        "{:?}",
        started.elapsed()
    );
    assert!(holding(&word).is_empty());
    assert!(
        String::from_utf8_lossy(&report.stdout.head).contains("ok pausing"),
        "what it had written is kept"
    );
}

#[test]
fn a_commands_timeout_can_only_shorten_the_policys() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.limits.wall = Duration::from_millis(400);
    let mut command = Command::new(["sleep", "20"]);
    command.timeout = Some(Duration::from_secs(30));
    assert_eq!(
        ground.run(&policy, &command).outcome,
        Outcome::Limit { limit: LimitKind::Wall }
    );
}

#[test]
fn a_command_over_its_memory_is_told_so() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.limits.memory = Bytes(48 << 20);
    let report = ground.report(&policy, &["hog-shared", "80", "20"]);
    assert_eq!(
        report.outcome,
        Outcome::Limit {
            limit: LimitKind::Memory
        }
    );
    assert!(report.metering.wall_ms < 5000, "{:?}", report.metering);
}

#[test]
fn of_long_output_both_ends_are_kept_for_each_stream_by_itself() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.limits.output = Bytes(1000);
    let report = ground.shell(&policy, "seq 1 100000; echo problem >&2");
    assert_eq!(report.stdout.total(), 588_895);
    assert_eq!((report.stdout.head.len(), report.stdout.tail.len()), (500, 500));
    assert!(report.stdout.head.starts_with(b"1\n2\n3\n") && report.stdout.tail.ends_with(b"99999\n100000\n"));
    assert_eq!(
        (report.stderr.to_bytes(), report.stderr.dropped),
        (b"problem\n".to_vec(), 0)
    );
}

#[test]
fn output_is_passed_on_while_the_command_runs() {
    let ground = Ground::new();
    let started = Instant::now();
    let mut first = None;
    let mut sink = |_, _: &[u8]| {
        first.get_or_insert_with(|| started.elapsed());
    };
    let (tree, command) = (ground.tree(), Command::new(["sh", "-c", "echo a; sleep 2; echo b"]));
    ground
        .block_on(ground.sandbox.run(&policy(), &tree, &command, Some(&mut sink)))
        .unwrap();
    let whole = started.elapsed();
    assert!(
        first.unwrap() + Duration::from_secs(1) < whole,
        "{first:?} of {whole:?}"
    );
}

// The tree.

#[test]
fn each_command_starts_from_the_untouched_tree() {
    let ground = Ground::new();
    ground.file("tree/kept", "as it was");
    let script = "cat kept; ls -A | tr '\\n' ' '; ls -A /tmp ~ /dev/shm | wc -l; echo x > kept; rm probe; mkdir new; touch /tmp/x ~/x /dev/shm/x";
    let first = ground.prints(&policy(), script);
    assert!(first.starts_with("as it waskept probe"), "{first}");
    assert_eq!(ground.prints(&policy(), script), first);
}

#[test]
fn links_and_modes_of_the_tree_are_as_they_are_in_the_directory() {
    let ground = Ground::new();
    ground.program("tree/tool", b"#!/bin/sh\necho ran\n");
    ground.file("tree/data", "plain");
    fs::set_permissions(ground.path("tree/data"), fs::Permissions::from_mode(0o644)).unwrap();
    symlink("tool", ground.path("tree/link")).unwrap();
    symlink("nowhere/at all", ground.path("tree/dangling")).unwrap();
    ground.file("tree/odd\u{1b}[31m\nname", "odd");
    let seen = ground.prints(
        &policy(),
        "./tool; ./link; stat -c %a tool data; readlink link dangling; cat odd*; test -x data || echo not",
    );
    assert_eq!(seen, "ran\nran\n755\n644\ntool\nnowhere/at all\noddnot");
}

#[test]
fn an_upper_layer_goes_before_a_lower_one() {
    let ground = Ground::new();
    ground.file("upper/both", "upper");
    ground.file("lower/both", "lower");
    ground.file("lower/only", "lower");
    for directory in ["upper", "lower"] {
        ground.give(directory);
    }
    let tree = Tree {
        layers: vec![ground.path("upper"), ground.path("lower")],
    };
    let command = Command::new([
        "sh",
        "-c",
        "cat both only; echo x > both && echo y > only && rm both && cat only",
    ]);
    let report = ground
        .block_on(ground.sandbox.run(&policy(), &tree, &command, None))
        .unwrap();
    assert_eq!(report.stdout.to_bytes(), b"upperlowery\n");
    assert_eq!(fs::read_to_string(ground.path("lower/only")).unwrap(), "lower");
}

#[test]
fn without_layers_the_tree_is_empty_and_writable() {
    let ground = Ground::new();
    let tree = Tree { layers: Vec::new() };
    let command = Command::new(["sh", "-c", "ls -A | wc -l; echo x > y && cat y"]);
    let report = ground
        .block_on(ground.sandbox.run(&policy(), &tree, &command, None))
        .unwrap();
    assert_eq!(report.stdout.to_bytes(), b"0\nx\n");
}

#[test]
fn a_grant_that_leads_to_live_state_is_refused() {
    let ground = Ground::new();
    for place in [
        "/",
        "/proc",
        "/proc/1",
        "/sys/kernel",
        "/dev",
        "/run",
        "/run/user",
        "/tmp",
        "/src",
        "/home/factory/x",
        "/usr/../run",
        "relative",
        "/no/such/place",
    ] {
        let mut policy = policy();
        policy.read.push(factory::sandbox::ReadGrant {
            path: place.into(),
            optional: false,
        });
        let error = ground.try_run(&policy, &Command::new(["true"])).unwrap_err();
        assert!(
            matches!(&error, SandboxError::Grant { path, .. } if path == Path::new(place)),
            "{place}: {error:?}"
        );
    }
}

// Many of them, and what is left.

#[test]
fn fifty_commands_at_once_know_nothing_of_each_other() {
    let ground = Ground::new();
    let (sandbox, policy, tree) = (
        &ground.sandbox,
        Policy {
            network: Network::Loopback,
            ..policy()
        },
        ground.tree(),
    );
    let runs = (0..50).map(|number| {
        let script = format!("ls -A /tmp ~ /dev/shm | wc -l; for f in /tmp/x ~/x /dev/shm/x x; do test -e $f || echo {number} > $f; done; sleep 0.3; cat /tmp/x ~/x /dev/shm/x x; ls -d /proc/[0-9]* | wc -l; exit {number}");
        let (policy, tree) = (&policy, &tree);
        async move {
            let report = sandbox.run(policy, tree, &Command::new(["sh", "-c", &script]), None).await.unwrap();
            (number, report)
        }
    });
    for (number, report) in ground.block_on(futures_util::future::join_all(runs)) {
        assert_eq!(report.outcome, exit(number));
        let text = String::from_utf8(report.stdout.to_bytes()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        // Three names of directories, two blank lines between them, and no file.
        assert_eq!(lines[0], "5", "{text}");
        assert_eq!(lines[1..5], [number.to_string().as_str(); 4], "{text}");
        assert!(lines[5].parse::<u32>().unwrap() <= 4, "{text}");
    }
}

#[test]
fn dropping_the_future_kills_the_command() {
    let ground = Ground::new();
    let word = unique("factory-dropped");
    let (tree, command, policy) = (
        ground.tree(),
        Command::new(["/src/probe", "pause", "50", &word]),
        policy(),
    );
    ground.block_on(async {
        let run = ground.sandbox.run(&policy, &tree, &command, None);
        tokio::time::timeout(Duration::from_millis(500), run).await.unwrap_err();
    });
    assert!(vanishes(&word, Duration::from_secs(1)));
    assert!(
        ground.inside(&policy, &["fork", "1", "1"]).succeeded(),
        "the next command is not affected"
    );
}

#[test]
fn everything_dies_with_a_killed_helper() {
    let ground = Ground::new();
    let word = unique("factory-orphan");
    let script = format!("(setsid /src/probe pause 50 {word} &) ; /src/probe pause 50 {word}");
    let looked = word.clone();
    let (vanished, report) = while_running(&ground, &policy(), &script, &word, move |pid| {
        std::thread::sleep(Duration::from_millis(200));
        let helper = *ancestors(pid).last().unwrap();
        let words = fs::read(format!("/proc/{helper}/cmdline")).unwrap();
        assert!(String::from_utf8_lossy(&words).contains("sandbox-init"));
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(helper), nix::sys::signal::Signal::SIGKILL).unwrap();
        let vanished = vanishes(&looked, Duration::from_secs(1));
        for left in holding(&looked) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(left), nix::sys::signal::Signal::SIGKILL);
        }
        vanished
    });
    assert!(vanished, "commands outlive their helper");
    assert!(matches!(report, Err(SandboxError::HelperGone)), "{report:?}");
}

#[test]
fn everything_dies_with_a_killed_parent() {
    const NAME: &str = "sandbox::everything_dies_with_a_killed_parent";
    if let Ok(word) = std::env::var("FACTORY_TEST_VICTIM") {
        let ground = Ground::new();
        println!("scratch={}", ground.scratch.path().display());
        ground.report(&policy(), &["pause", "50", &word]);
        return;
    }
    let word = unique("factory-victim");
    let mut parent = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env("FACTORY_TEST_VICTIM", &word)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let helper = *ancestors(appears(&word))
        .iter()
        .rev()
        .find(|pid| **pid != parent.id() as i32)
        .unwrap();
    parent.kill().unwrap();
    let output = parent.wait_with_output().unwrap();
    assert!(vanishes(&word, Duration::from_secs(1)));
    assert!(gone(helper));
    // A process that is killed cannot clean up its own scratch directory.
    let text = String::from_utf8_lossy(&output.stdout);
    let scratch = text.lines().find_map(|line| line.split_once("scratch=")).unwrap().1;
    assert!(scratch.starts_with("/var/tmp/factory-test-"));
    fs::remove_dir_all(scratch).unwrap();
}

fn gone(pid: i32) -> bool {
    let end = Instant::now() + Duration::from_secs(2);
    while alive(pid) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    !alive(pid)
}

#[test]
fn a_dropped_sandbox_leaves_no_helper_and_no_zombie() {
    let ground = Ground::new();
    let word = unique("factory-helper");
    let (helper, _) = while_running(
        &ground,
        &policy(),
        &format!("/src/probe pause 1 {word}"),
        &word,
        |pid| *ancestors(pid).last().unwrap(),
    );
    assert!(alive(helper));
    drop(ground);
    assert!(!alive(helper), "not even a zombie is left");
}

#[test]
fn two_hundred_commands_leave_no_descriptor_no_process_and_no_mount() {
    alone(
        "sandbox::two_hundred_commands_leave_no_descriptor_no_process_and_no_mount",
        || {
            let ground = Ground::new();
            let word = unique("factory-count");
            let (helper, _) = while_running(
                &ground,
                &policy(),
                &format!("/src/probe pause 1 {word}"),
                &word,
                |pid| *ancestors(pid).last().unwrap(),
            );
            let count = |path: String| fs::read_dir(path).unwrap().count();
            let state = || {
                let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
                let children = fs::read_to_string(format!("/proc/{helper}/task/{helper}/children")).unwrap();
                (
                    count("/proc/self/fd".to_owned()),
                    count(format!("/proc/{helper}/fd")),
                    mounts,
                    children,
                )
            };
            // A report comes when nothing of the command is left; the first process of its namespace ends a moment later.
            let settled = || {
                let deadline = Instant::now() + Duration::from_secs(5);
                loop {
                    let now = state();
                    if now.3.is_empty() || Instant::now() > deadline {
                        return now;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            };
            let before = settled();
            for number in 0..200 {
                let command = match number % 4 {
                    0 => Command::new(["true"]),
                    1 => Command::new(["no-such-program"]),
                    2 => Command::new(["sh", "-c", "sleep 50 & kill -9 $$"]),
                    _ => Command::new(["/src"]),
                };
                ground.run(&policy(), &command);
            }
            assert_eq!(settled(), before);
        },
    );
}

#[test]
fn the_probe_tells_success_from_refusal() {
    let ground = Ground::new();
    let done = ground.outside(&["read", "/proc/self/comm"]);
    assert_eq!((done.succeeded(), done.line.as_str()), (true, "ok probe"));
    let refused = ground.outside(&["read", "/no/such/file"]);
    assert_eq!((refused.succeeded(), refused.errno()), (false, Some("ENOENT")));
    let nothing = ground.outside(&["no-such-act"]);
    assert_eq!(
        nothing,
        Act {
            code: Some(2),
            signal: None,
            line: String::new()
        }
    );
}
