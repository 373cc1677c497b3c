//! `factory exec`: the command's bytes and exit code, and how they are told from the sandbox's own.

use super::{Ended, Place};
use crate::support::{descendants, unique, vanishes};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

fn sh(script: &str) -> [&str; 4] {
    ["--", "sh", "-c", script]
}

/// The document of a command, whose exit code has to be `code`.
#[track_caller]
fn document(place: &Place, flags: &[&str], code: i32) -> Value {
    let ended = place.exec(&[&["--json"], flags].concat());
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(code), ""), "{ended:#?}");
    let document = ended.json();
    assert_eq!(document["exit_code"], code, "{document:#}");
    document
}

#[test]
fn both_streams_pass_as_they_are_into_pipes_and_files() {
    let place = Place::new();
    let script = r"printf 'out\033[2J\377\r\n'; printf 'err\033]0;t\007\376' >&2; exit 3";
    let (out, err) = (b"out\x1b[2J\xff\r\n".as_slice(), b"err\x1b]0;t\x07\xfe".as_slice());
    let command = [&["exec", "--repo=repository"], &sh(script)[..]].concat();

    let output = place.factory(&command).output().unwrap();
    assert_eq!(
        (output.status.code(), &*output.stdout, &*output.stderr),
        (Some(3), out, err)
    );

    let files = ["out", "err"].map(|name| File::create(place.path(name)).unwrap());
    let [to_out, to_err] = files;
    let status = place.factory(&command).stdout(to_out).stderr(to_err).status().unwrap();
    assert_eq!(status.code(), Some(3));
    assert_eq!(std::fs::read(place.path("out")).unwrap(), out);
    assert_eq!(std::fs::read(place.path("err")).unwrap(), err);

    let document = document(&place, &sh(script), 3);
    // Base64 of the bytes above. Source: RFC 4648, section 4.
    assert_eq!(document["stdout"]["head"]["base64"], "b3V0G1sySv8NCg==");
    assert_eq!(document["stdout"]["head"]["text"], "out\\u{1b}[2J\u{fffd}\\r\n");
    assert_eq!(document["stderr"]["head"]["text"], "err\\u{1b}]0;t\\u{7}\u{fffd}");
}

/// What another process has in memory that it can write to, as far as it can be read.
fn memory_of(pid: i32) -> Vec<u8> {
    use std::os::unix::fs::FileExt as _;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let mut found = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (range, modes) = (words.next().unwrap(), words.next().unwrap());
        if !modes.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut bytes = vec![0; (end - start) as usize];
        let read = File::open(format!("/proc/{pid}/mem")).and_then(|memory| memory.read_exact_at(&mut bytes, start));
        if read.is_ok() {
            found.extend(bytes);
        }
    }
    found
}

/// `factory exec` leaves a copy of itself behind as the helper, of which slots and the first processes of runs are copies
/// again. What the caller's environment and descriptors hold must not come along.
#[test]
fn the_helper_has_nothing_of_the_callers() {
    let place = Place::new();
    let (secret, word) = (unique("a-key-of-the-caller"), unique("factory-exec-helper"));
    let open = File::create(place.path("open")).unwrap();
    // Without close-on-exec, as careless programs leave descriptors.
    let mut running = rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty())
        .map(|()| {
            place.factory(&[
                "exec",
                "--repo=repository",
                "--",
                "sh",
                "-c",
                &format!("sleep 20; : {word}"),
            ])
        })
        .unwrap()
        .env("A_KEY", &secret)
        // The C library makes a copy of this one, and forgets where it was.
        .env("GLIBC_TUNABLES", format!("glibc.malloc.check=0:{secret}=1"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let patience = Instant::now() + Duration::from_secs(20);
    let (factory, sandboxed) = loop {
        let below = descendants(running.id() as i32);
        let by_name = |name: &str| {
            let is =
                |pid: &&i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name);
            below.iter().filter(is).copied().collect::<Vec<_>>()
        };
        if !by_name("sleep").is_empty() {
            break (running.id() as i32, by_name("sandbox-init"));
        }
        assert!(Instant::now() < patience, "no command: {below:?}");
        std::thread::sleep(Duration::from_millis(10));
    };
    // The helper, the slot, its supervisor and the first process of the run at least.
    assert!(sandboxed.len() >= 4, "{sandboxed:?}");
    let sockets = |pid: i32| -> BTreeSet<PathBuf> {
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .flatten();
        let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        targets
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .collect()
    };
    let helper = *sandboxed.iter().min().unwrap();
    assert!(!sockets(helper).is_empty());
    let holds = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
    assert!(holds(&memory_of(factory)), "the control: it would be found");
    let mut readable = 0;
    for pid in sandboxed {
        for words in ["environ", "cmdline"] {
            let words = std::fs::read(format!("/proc/{pid}/{words}")).unwrap_or_default();
            assert!(words.iter().all(|byte| *byte == 0), "{pid}: {words:?}");
        }
        let shared = sockets(pid).intersection(&sockets(helper)).count();
        assert!(pid == helper || shared == 0, "{pid} has {shared} sockets of the helper");
        let memory = memory_of(pid);
        readable += usize::from(!memory.is_empty());
        assert!(!holds(&memory), "the memory of {pid}");
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .flatten();
        let targets: Vec<_> = descriptors
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .collect();
        assert!(!targets.contains(&place.path("open")), "{pid}: {targets:?}");
    }
    // The first process of a run, which cannot be looked into by its own user, is at most one of them.
    assert!(readable >= 3, "{readable} could be looked into");
    running.kill().unwrap();
    running.wait().unwrap();
    assert!(vanishes(&word, Duration::from_secs(5)));
    place.leaves_nothing();
}

#[test]
fn who_does_not_read_holds_up_neither_a_signal_nor_a_limit() {
    use std::io::Read as _;
    let place = Place::new();
    let start = |timeout: &str| {
        let mut running = place
            .factory(&["exec", "--repo=repository", timeout, "--", "yes"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 1];
        running.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        running
    };
    let mut running = start("--timeout=60s");
    // Long enough for the pipe to be full, which holds 64 KiB.
    std::thread::sleep(Duration::from_millis(300));
    let asked = Instant::now();
    let pid = nix::unistd::Pid::from_raw(running.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(143));
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());

    let mut running = start("--timeout=1s");
    let patience = Instant::now() + Duration::from_secs(20);
    let runs = |pid: u32| {
        let command =
            |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "yes\n");
        descendants(pid as i32).iter().any(command)
    };
    while runs(running.id()) {
        assert!(Instant::now() < patience, "the limit is kept although nobody reads");
        std::thread::sleep(Duration::from_millis(20));
    }
    let (mut out, mut err) = (Vec::new(), String::new());
    running.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    running.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(1), "{err}");
    assert!(err.contains("wall"), "{err}");
    assert!(
        out.len() > 64 << 10,
        "what was written before is not lost: {}",
        out.len()
    );
    place.leaves_nothing();
}

#[test]
fn pending_signals_are_few_because_the_kernel_counts_them_for_the_operator() {
    let ended = Place::new().exec(&["--", "bash", "-c", "ulimit -i; ulimit -Hi"]);
    assert_eq!(
        (ended.code, ended.stdout.as_slice()),
        (Some(0), b"1024\n1024\n".as_slice()),
        "{ended:#?}"
    );
}

#[test]
fn the_first_process_is_hidden_also_from_members_of_group_0() {
    let shown = Place::new().exec(&["--", "sh", "-c", "grep ^proc /proc/self/mounts; echo /proc/[0-9]*"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    // Of the values of this option, the one that makes no exception for a group.
    assert!(shown.contains("hidepid=ptraceable,subset=pid"), "{shown}");
    assert!(!shown.split_whitespace().any(|word| word == "/proc/1"), "{shown}");
}

#[test]
fn output_arrives_while_the_command_runs() {
    use std::io::Read as _;
    let place = Place::new();
    let mut running = place
        .factory(&[
            "exec",
            "--repo=repository",
            "--timeout=20s",
            "--",
            "sh",
            "-c",
            "echo early; sleep 30",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut early = [0; 6];
    running.stdout.take().unwrap().read_exact(&mut early).unwrap();
    assert_eq!(&early, b"early\n");
    assert!(running.try_wait().unwrap().is_none(), "it has not ended yet");
    running.kill().unwrap();
    running.wait().unwrap();
    place.leaves_nothing();
}

#[test]
fn the_profile_caps_what_passes_and_what_is_left_out_is_counted() {
    let place = Place::new();
    place.profile("small", "output = \"8MiB\"", "output = \"64KiB\"");
    let flood = [&["--profile=small"], &sh("head -c 300000 /dev/zero; exit 7")[..]].concat();
    let ended = place.exec(&flood);
    assert_eq!((ended.code, ended.stdout.len()), (Some(7), 65536));
    assert!(
        ended
            .stderr
            .contains("note: 234464 bytes of standard output were left out"),
        "{}",
        ended.stderr
    );
    let stdout = &document(&place, &flood, 7)["stdout"];
    assert_eq!(stdout["bytes"], 300_000, "{stdout:#}");
    assert!(stdout["dropped"].as_u64().unwrap() >= 234_464, "{stdout:#}");
    // The control: the whole of it under the built-in profile.
    let ended = place.exec(&sh("head -c 300000 /dev/zero; exit 7"));
    assert_eq!((ended.code, ended.stdout.len(), &*ended.stderr), (Some(7), 300_000, ""));
}

#[test]
fn the_exit_code_is_the_commands_own_whatever_it_means_to_others() {
    let place = Place::new();
    for code in [
        0, 1, 2, 20, 21, 22, 64, 74, 78, 124, 125, 126, 127, 128, 129, 130, 137, 139, 143, 255,
    ] {
        let script = format!("exit {code}");
        let ended = place.exec(&sh(&script));
        assert_eq!((ended.code, &*ended.stderr), (Some(code), ""), "{ended:#?}");
    }
    let document = document(&place, &sh("exit 137"), 137);
    assert_eq!(document["outcome"], json!({ "kind": "exit", "code": 137 }));
    assert_eq!(document["problem"], Value::Null);
}

#[test]
fn a_signal_is_128_and_its_number_and_told_from_an_exit_code_in_json() {
    let place = Place::new();
    for signal in [1, 2, 6, 9, 11, 15, 31] {
        let script = format!("kill -{signal} $$");
        // It is the shell itself that dies: a parent shell would make an exit code of it.
        let document = document(&place, &sh(&script), 128 + signal);
        assert_eq!(document["outcome"], json!({ "kind": "signal", "signal": signal }));
        assert_eq!(document["problem"], Value::Null);
    }
    assert_eq!(place.exec(&sh("kill -9 $$")).code, Some(137));
}

#[test]
fn a_reason_of_the_sandbox_has_a_code_of_ours_and_another_outcome_than_the_command_could_have() {
    let place = Place::new();
    let missing = &["--", "frobnicate"][..];
    let directory = &["--", "/src"][..];
    let plain = &["--", "./a.txt"][..];
    let slow = &["--timeout=200ms", "--", "sleep", "30"][..];
    for (command, code, class, kind, words) in [
        (missing, 20, "host", "setup", &["frobnicate", "install it"][..]),
        (directory, 20, "host", "setup", &["/src cannot be executed"]),
        (
            plain,
            20,
            "host",
            "setup",
            &["./a.txt cannot be executed", "make it executable"],
        ),
        (slow, 1, "limit", "limit", &["wall", "--timeout"]),
    ] {
        place.untouched_by(|| {
            place.exec(command).explains(code, words);
            let ended = place.exec(&[&["--json"], command].concat());
            ended.explains_in_json(code, class, words);
            assert_eq!(ended.json()["outcome"]["kind"], kind, "{ended:#?}");
        });
        // The control: a command that returns the same.
        let script = format!("exit {code}");
        let document = document(&place, &sh(&script), code);
        assert_eq!(document["outcome"]["kind"], "exit");
        assert_eq!(document["problem"], Value::Null);
    }
}

#[test]
fn a_timeout_ends_the_command_in_time_and_with_all_that_it_started() {
    let place = Place::new();
    let begun = Instant::now();
    let script = "sleep 31 & setsid sleep 31 & sleep 31";
    let ended = place.exec(&[&["--timeout=300ms"], &sh(script)[..]].concat());
    ended.explains(1, &["wall-clock time"]);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    place.leaves_nothing();
    let document = document(&place, &[&["--timeout=300ms"], &sh(script)[..]].concat(), 1);
    assert_eq!(document["outcome"], json!({ "kind": "limit", "limit": "wall" }));
}

#[test]
fn the_current_directory_is_the_tree_and_nothing_that_is_written_stays() {
    let place = Place::new();
    let ended = place.exec(&sh("pwd; ls -A; cat a.txt")).succeeded();
    assert_eq!(ended.text(), "/src\na.txt\nscripts\nbase\n");
    place.untouched_by(|| {
        place
            .exec(&sh(
                "echo changed > a.txt; rm -r scripts; echo new > new; cat a.txt new",
            ))
            .succeeded()
    });
    let ended = place.exec(&sh("ls -A; cat a.txt")).succeeded();
    assert_eq!(
        ended.text(),
        "a.txt\nscripts\nbase\n",
        "each command starts from the commit"
    );
    // A directory below the top of the repository leads to the same tree.
    let ended = place
        .call(&["exec", "--repo=repository/scripts", "--", "pwd"])
        .succeeded();
    assert_eq!(ended.text(), "/src\n");
}

#[test]
fn a_revision_chooses_the_tree() {
    let place = Place::new();
    let first = place.git(&["rev-parse", "HEAD"]);
    place.git(&["tag", "--annotate", "--message=x", "v1"]);
    place.write("repository/a.txt", "second\n");
    place.git(&["commit", "--quiet", "--all", "--message=second"]);
    for (rev, content) in [
        ("HEAD", "second\n"),
        ("work", "second\n"),
        ("HEAD~1", "base\n"),
        ("v1", "base\n"),
        (&first, "base\n"),
        (&first[..10], "base\n"),
    ] {
        let ended = place.exec(&["--rev", rev, "--", "cat", "a.txt"]).succeeded();
        assert_eq!(ended.text(), content, "{rev}");
    }
    let document = document(&place, &["--rev=v1", "--", "true"], 0);
    assert_eq!((&document["commit"], &document["dirty"]), (&json!(first), &Value::Null));
}

#[test]
fn standard_input_is_empty_and_the_callers_is_not_read() {
    let place = Place::new();
    let mut exec = place
        .factory(&["exec", "--repo=repository", "--", "wc", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = exec.stdin.take().unwrap();
    input.write_all(b"secret").unwrap();
    // It ends although its input stays open.
    let ended = Ended::of(exec.wait_with_output().unwrap()).succeeded();
    assert_eq!(ended.text(), "0\n");
    drop(input);
}

#[test]
fn a_reader_that_goes_away_ends_the_command() {
    let place = Place::new();
    let mut exec = place
        .factory(&["exec", "--repo=repository", "--", "yes"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(exec.stdout.take());
    let ended = Ended::of(exec.wait_with_output().unwrap());
    ended.explains(74, &["its output cannot be written", "went away"]);
    place.leaves_nothing();
}

#[test]
fn output_that_cannot_be_written_is_told_by_the_exit_code() {
    let place = Place::new();
    for arguments in [
        &["exec", "--repo=repository", "--", "echo", "x"][..],
        &["exec", "--repo=repository", "--json", "--", "true"],
        &["check", "order.json"],
        &["status"],
        &["run", "--repo=repository", "--provider=replay:answers", "order.json"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = place.factory(arguments).stdout(full).output().unwrap();
        Ended::of(output).explains(74, &["cannot", "disk is full"]);
    }
    // The run itself was fine, and says so afterwards.
    let status = place.call(&["status"]).succeeded();
    assert!(status.text().contains("PASS_UNPROVEN"), "{status:#?}");
    place.leaves_nothing();
}
