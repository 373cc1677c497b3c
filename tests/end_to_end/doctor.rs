//! `factory doctor` where something is missing for real, and beside it what a run says there.
//!
//! Every restriction is the kernel's own: a limit on user namespaces, a system call filter around the process, a covered
//! `/proc`. Each lives in namespaces or in a thread of its own and ends with it. The control is the same program without
//! the restriction.

use crate::support::{has, holding, is_root, program};
use factory::doctor::{CHECKS, LAST};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A copy of the program that every user can start, a home, and a repository.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("factory-doctor-")
            .tempdir_in("/var/tmp")
            .unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let place = Place { directory };
        // By another process: see `Ground::program`.
        let copied = Command::new("cp").arg(program()).arg(place.path("factory")).status();
        assert!(copied.unwrap().success());
        let repository = place.path("repository");
        fs::create_dir_all(repository.join("scripts")).unwrap();
        fs::write(repository.join("scripts/verify.sh"), "true\n").unwrap();
        let script =
            "git init --quiet . && git add . && git -c user.name=a -c user.email=a@localhost commit --quiet -m base";
        let made = Command::new("sh")
            .args(["-c", script])
            .current_dir(&repository)
            .status();
        assert!(made.unwrap().success());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The command that starts `factory` with `words`, after the words of `prefix`.
    fn command(&self, prefix: &[&str], words: &[&str]) -> Command {
        let program = self.path("factory");
        let mut all: Vec<String> = prefix.iter().map(|word| (*word).to_owned()).collect();
        all.push(program.display().to_string());
        all.extend(words.iter().map(|word| (*word).to_owned()));
        let mut command = Command::new(&all[0]);
        command
            .args(&all[1..])
            .current_dir(self.path("repository"))
            .env("HOME", self.path("home"))
            .env_remove("XDG_STATE_HOME")
            .env_remove("XDG_CACHE_HOME")
            .env_remove("XDG_CONFIG_HOME");
        command
    }

    /// Runs a shell script that ends in `exec "$0" "$@"` as root of a user and a mount namespace of its own, the
    /// arguments being `factory` and `words`.
    fn inside(&self, script: &str, words: &[&str]) -> Output {
        let prefix = [
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-e",
            "-c",
            script,
        ];
        self.command(&prefix, words).output().unwrap()
    }

    /// Runs `factory` behind a filter that answers the calls named by `action`.
    fn behind(&self, calls: &[i64], action: SeccompAction, words: &[&str]) -> Output {
        let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
        let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
        let filter: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, action, arch)
            .unwrap()
            .try_into()
            .unwrap();
        let mut command = self.command(&[], words);
        // An id to set makes std fork: posix_spawn would need the clone3 that the filter may refuse.
        command.gid(nix::unistd::getegid().as_raw());
        // A filter is of one thread and what it starts.
        std::thread::spawn(move || {
            seccompiler::apply_filter(&filter).unwrap();
            command.output().unwrap()
        })
        .join()
        .unwrap()
    }
}

/// What makes the caller an ordinary user again, with ids that mean something.
const ORDINARY: &str = "exec unshare --user --map-user=1000 --map-group=1000 \"$0\" \"$@\"";
const DOCTOR: [&str; 2] = ["doctor", "--json"];
const EXEC: [&str; 3] = ["exec", "--", "true"];

struct Answer(Value);

impl Answer {
    fn of(output: &Output) -> Self {
        let document = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let answer = Answer(document);
        assert_eq!(answer.0["exit_code"], output.status.code().unwrap(), "{output:?}");
        answer
    }

    fn check(&self, id: &str) -> &Value {
        let checks = self.0["checks"].as_array().unwrap();
        checks.iter().find(|check| check["id"] == id).unwrap()
    }

    fn status(&self, id: &str) -> &str {
        self.check(id)["status"].as_str().unwrap()
    }

    fn text(&self, id: &str) -> String {
        self.check(id).to_string()
    }

    fn exit_code(&self) -> i64 {
        self.0["exit_code"].as_i64().unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

// Where nothing is missing.

#[test]
fn where_nothing_is_missing_the_profile_can_run_and_runs() {
    let place = Place::new();
    let answer = Answer::of(&place.command(&[], &DOCTOR).output().unwrap());
    assert_eq!(answer.exit_code(), 0, "{}", answer.0);
    let ids: Vec<&str> = answer.0["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["id"].as_str().unwrap())
        .collect();
    let known: Vec<&str> = CHECKS.iter().chain([&LAST]).map(|(id, _)| *id).collect();
    assert_eq!(ids, known);
    for id in [
        "userns.create",
        "userns.rights",
        "namespaces",
        "proc",
        "seccomp.filter",
        "landlock",
        "keyrings",
        "sandbox",
    ] {
        assert_eq!(answer.status(id), "ok", "{}", answer.text(id));
    }
    assert_eq!(place.command(&[], &EXEC).status().unwrap().code(), Some(0));
    let page = place.command(&[], &["doctor"]).output().unwrap();
    let page = String::from_utf8(page.stdout).unwrap();
    assert!(page.contains("profile `verify` can run on this host"), "{page}");
    for id in known {
        assert!(
            page.lines().any(|line| line.split_whitespace().nth(1) == Some(id)),
            "{id}: {page}"
        );
    }
}

#[test]
fn an_ordinary_user_gets_the_same_answer() {
    if !has("root", is_root()) {
        return;
    }
    let place = Place::new();
    let ordinary = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=-all",
    ];
    fs::create_dir(place.path("home")).unwrap();
    fs::set_permissions(place.path("home"), fs::Permissions::from_mode(0o777)).unwrap();
    let answer = Answer::of(&place.command(&ordinary, &DOCTOR).output().unwrap());
    assert_eq!(
        (answer.exit_code(), answer.0["facts"]["uid"].as_i64()),
        (0, Some(65534))
    );
    assert_eq!(answer.status("sandbox"), "ok", "{}", answer.text("sandbox"));
}

#[test]
fn nothing_stays_behind() {
    let place = Place::new();
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    Answer::of(&place.command(&[], &DOCTOR).output().unwrap());
    assert_eq!(mounts(), before);
    let found = Command::new("find")
        .args(["/sys/fs/cgroup", "-maxdepth", "6", "-name", "factory-probe-*"])
        .output()
        .unwrap();
    // Another test may be at it; a group that is left over stays.
    let left = String::from_utf8(found.stdout).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    for group in left.lines() {
        assert!(!fs::exists(group).unwrap(), "{group}");
    }
}

// Where user namespaces are withheld.

#[test]
fn a_limit_of_no_user_namespaces_is_named_with_its_remedy() {
    let place = Place::new();
    let script = "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$0\" \"$@\"";
    let answer = Answer::of(&place.inside(script, &DOCTOR));
    assert_eq!(answer.exit_code(), 21, "{}", answer.0);
    let text = answer.text("userns.create");
    assert!(
        text.contains("user.max_user_namespaces is 0") && text.contains("ENOSPC"),
        "{text}"
    );
    assert_eq!(answer.check("userns.create")["remedy"]["who"], "administrator");
    assert_eq!(answer.status("sandbox"), "fail");
}

#[test]
fn a_limit_in_a_namespace_further_out_is_a_limit_too() {
    let place = Place::new();
    // One is for the namespace that makes the caller an ordinary user.
    let script = format!("echo 1 > /proc/sys/user/max_user_namespaces; {ORDINARY}");
    // A view fits, a run inside of it does not.
    let nearly = format!("echo 2 > /proc/sys/user/max_user_namespaces; {ORDINARY}");
    let control = format!("echo 100 > /proc/sys/user/max_user_namespaces; {ORDINARY}");
    let answer = Answer::of(&place.inside(&script, &DOCTOR));
    assert_eq!(answer.exit_code(), 21, "{}", answer.0);
    assert!(answer.text("userns.create").contains("one around it"));
    let run = place.inside(&script, &EXEC);
    assert_eq!(run.status.code(), Some(21));
    assert!(stderr(&run).contains("create namespaces"), "{}", stderr(&run));
    let answer = Answer::of(&place.inside(&nearly, &DOCTOR));
    assert_eq!(
        (answer.exit_code(), answer.status("userns.create")),
        (21, "fail"),
        "{}",
        answer.0
    );
    assert_eq!(place.inside(&nearly, &EXEC).status.code(), Some(21));
    assert_eq!(Answer::of(&place.inside(&control, &DOCTOR)).exit_code(), 0);
    assert_eq!(place.inside(&control, &EXEC).status.code(), Some(0));
}

#[test]
fn a_limit_on_one_kind_of_namespace_names_that_kind() {
    let place = Place::new();
    let script = format!("echo 0 > /proc/sys/user/max_net_namespaces; {ORDINARY}");
    let answer = Answer::of(&place.inside(&script, &DOCTOR));
    assert_eq!(
        (answer.exit_code(), answer.status("namespaces")),
        (21, "fail"),
        "{}",
        answer.0
    );
    let found = answer.check("namespaces")["found"].as_str().unwrap();
    assert_eq!(found, "cannot be created: net");
    assert!(answer.text("namespaces").contains("user.max_net_namespaces=15000"));
    assert_eq!(answer.status("userns.create"), "ok", "{}", answer.text("userns.create"));
    assert_eq!(place.inside(&script, &EXEC).status.code(), Some(21));
}

#[test]
fn ids_that_mean_nothing_are_named() {
    let place = Place::new();
    // A user without its group.
    let script = "exec unshare --user --map-user=1000 \"$0\" \"$@\"";
    let answer = Answer::of(&place.inside(script, &DOCTOR));
    assert_eq!(answer.exit_code(), 21, "{}", answer.0);
    let check = answer.check("userns.create");
    assert_eq!(
        (check["status"].as_str(), check["remedy"]["who"].as_str()),
        (Some("fail"), Some("you"))
    );
    assert!(answer.text("userns.create").contains("--map-group"));
    // Root of a namespace in which there is no other id. Where that one is the host's root, it is not used.
    let answer = Answer::of(&place.inside("exec \"$0\" \"$@\"", &DOCTOR));
    let exec = place.inside("exec \"$0\" \"$@\"", &EXEC);
    if is_root() {
        assert_eq!(answer.exit_code(), 21, "{}", answer.0);
        assert_eq!(answer.status("userns.rights"), "fail");
        assert!(answer.text("userns.rights").contains("ordinary user of it"));
        assert_eq!(answer.status("sandbox"), "fail");
        assert!(!exec.status.success());
    } else {
        // An ordinary user's own id by another name.
        assert_eq!(answer.exit_code(), 0, "{}", answer.0);
        assert!(exec.status.success(), "{exec:?}");
    }
}

// Where /proc is covered or missing.

#[test]
fn a_covered_proc_is_named_with_what_covers_it() {
    let place = Place::new();
    let script = format!("mount --bind /dev/null /proc/keys; {ORDINARY}");
    let answer = Answer::of(&place.inside(&script, &DOCTOR));
    assert_eq!(answer.exit_code(), 21, "{}", answer.0);
    let text = answer.text("proc");
    assert!(text.contains("/proc/keys") && text.contains("EPERM"), "{text}");
    assert!(text.contains("systempaths=unconfined"), "{text}");
    let run = place.inside(&script, &EXEC);
    assert_eq!(run.status.code(), Some(21));
    assert!(stderr(&run).contains("private /proc"), "{}", stderr(&run));
    assert_eq!(Answer::of(&place.inside(ORDINARY, &DOCTOR)).exit_code(), 0, "control");
    if has("root", is_root()) {
        let prefix = [
            "unshare",
            "--mount",
            "sh",
            "-e",
            "-c",
            "mount --bind /dev/null /proc/keys; exec \"$0\" \"$@\"",
        ];
        let answer = Answer::of(&place.command(&prefix, &DOCTOR).output().unwrap());
        assert_eq!(
            (answer.exit_code(), answer.status("proc")),
            (21, "fail"),
            "{}",
            answer.0
        );
    }
}

#[test]
fn without_any_proc_there_is_still_an_answer() {
    let place = Place::new();
    let answer = Answer::of(&place.inside("mount -t tmpfs none /proc; exec \"$0\" \"$@\"", &DOCTOR));
    assert_eq!(answer.exit_code(), 21, "{}", answer.0);
    assert_eq!(answer.0["checks"].as_array().unwrap().len(), CHECKS.len() + 1);
    assert!(answer.text("userns.rights").contains("/proc is not mounted here"));
}

#[test]
fn a_probe_that_hangs_costs_a_moment_and_is_not_left_behind() {
    let place = Place::new();
    // A time that no other process of this host sleeps for.
    let word = format!("600.{}", std::process::id());
    let script = format!("#!/bin/sh\necho '{{\"begin\":{{\"id\":\"slow\",\"call\":\"wait\"}}}}'\nexec sleep {word}\n");
    let program = place.path("hangs");
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(&program)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut writer.stdin.take().unwrap(), script.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
    let started = std::time::Instant::now();
    let facts = factory::sandbox::Facts::collect(&program, &[]);
    assert!(facts.of("slow").count() > 1);
    assert!(
        facts
            .of("slow")
            .all(|attempt| attempt.answer == factory::sandbox::Answer::Silent)
    );
    // Four topics, each taken up once again.
    let most = std::time::Duration::from_secs(15);
    assert!(started.elapsed() < most, "{:?}", started.elapsed());
    assert!(holding(&word).is_empty());
}

// Behind a filter.

#[test]
fn a_call_that_a_filter_refuses_is_named_and_what_a_run_says_there_agrees() {
    let place = Place::new();
    let landlock = [
        libc::SYS_landlock_create_ruleset,
        libc::SYS_landlock_add_rule,
        libc::SYS_landlock_restrict_self,
    ];
    for (calls, name, check) in [
        (&[libc::SYS_clone3][..], "clone3", "userns.create"),
        (&[libc::SYS_mount], "mount", "userns.rights"),
        (&[libc::SYS_unshare], "unshare", "userns.rights"),
        (&[libc::SYS_setns], "setns", "seccomp.outer"),
        (&[libc::SYS_chroot], "chroot", "seccomp.outer"),
        (&[libc::SYS_pivot_root], "pivot_root", "seccomp.outer"),
        (&[libc::SYS_move_mount], "move_mount", "seccomp.outer"),
        (&[libc::SYS_keyctl], "keyctl", "keyrings"),
        (&[libc::SYS_seccomp], "seccomp", "seccomp.filter"),
        (&landlock, "landlock_create_ruleset", "landlock"),
        (&landlock[2..], "landlock_restrict_self", "landlock"),
    ] {
        for (errno, word) in [(libc::EPERM, "EPERM"), (libc::ENOSYS, "ENOSYS")] {
            let refuse = || SeccompAction::Errno(errno as u32);
            let answer = Answer::of(&place.behind(calls, refuse(), &DOCTOR));
            let told = answer.text("seccomp.outer");
            assert_eq!(answer.exit_code(), 21, "{name} {word}: {}", answer.0["problem"]);
            assert!(told.contains(name) && told.contains(word), "{name} {word}: {told}");
            assert_eq!(answer.status(check), "fail", "{name} {word}: {}", answer.text(check));
            assert_eq!(answer.check(check)["remedy"]["who"], "administrator", "{name} {word}");
            assert_eq!(answer.status("sandbox"), "fail", "{name} {word}");
            let run = place.behind(calls, refuse(), &EXEC);
            assert_eq!(run.status.code(), Some(21), "{name} {word}: {}", stderr(&run));
        }
    }
}

#[test]
fn a_filter_that_lets_us_through_is_in_nobodys_way() {
    let place = Place::new();
    let refuse = || SeccompAction::Errno(libc::EPERM as u32);
    let answer = Answer::of(&place.behind(&[libc::SYS_io_uring_setup, libc::SYS_swapon], refuse(), &DOCTOR));
    assert_eq!(answer.exit_code(), 0, "{}", answer.0);
    assert_eq!(answer.status("seccomp.outer"), "ok");
    assert!(answer.text("seccomp.outer").contains("lets through"));
    assert!(answer.text("io_uring").contains("switched off"));
    let run = place.behind(&[libc::SYS_io_uring_setup, libc::SYS_swapon], refuse(), &EXEC);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
}

#[test]
fn a_filter_that_kills_costs_one_answer_and_not_the_examination() {
    let place = Place::new();
    for (calls, id) in [
        (&[libc::SYS_keyctl][..], "keyrings"),
        (&[libc::SYS_mount], "userns.rights"),
    ] {
        let answer = Answer::of(&place.behind(calls, SeccompAction::KillProcess, &DOCTOR));
        assert_eq!(answer.exit_code(), 21, "{}", answer.0);
        assert!(
            answer.text("seccomp.outer").contains("killed by signal 31"),
            "{}",
            answer.text("seccomp.outer")
        );
        assert_eq!(answer.status(id), "fail", "{}", answer.text(id));
        // What was asked after it was still answered.
        assert_eq!(answer.status("x32"), "ok");
        assert!(answer.0["facts"]["landlock"]["abi"].as_i64().unwrap() > 0);
    }
}

#[test]
fn where_nothing_works_everything_is_still_answered() {
    let place = Place::new();
    let all = [
        libc::SYS_clone3,
        libc::SYS_unshare,
        libc::SYS_mount,
        libc::SYS_landlock_create_ruleset,
        libc::SYS_landlock_add_rule,
        libc::SYS_landlock_restrict_self,
        libc::SYS_seccomp,
        libc::SYS_keyctl,
        libc::SYS_statfs,
        libc::SYS_mkdir,
    ];
    for errno in [libc::EPERM, libc::ENOSYS] {
        let answer = Answer::of(&place.behind(&all, SeccompAction::Errno(errno as u32), &DOCTOR));
        assert_eq!(answer.exit_code(), 21, "{}", answer.0);
        assert_eq!(answer.0["checks"].as_array().unwrap().len(), CHECKS.len() + 1);
        for id in [
            "userns.create",
            "seccomp.outer",
            "seccomp.filter",
            "landlock",
            "sandbox",
        ] {
            assert_eq!(answer.status(id), "fail", "{}", answer.text(id));
        }
        assert_eq!(answer.status("disk.cache"), "unknown");
        // Each failure says what is to be done, and by whom.
        for check in answer.0["checks"].as_array().unwrap() {
            if check["status"] == "fail" {
                assert!(
                    check["remedy"]["text"].as_str().is_some_and(|text| !text.is_empty()),
                    "{check}"
                );
                assert!(!check["affects"].as_array().unwrap().is_empty(), "{check}");
            }
        }
    }
}

// The host, and the profile itself.

#[test]
fn a_cache_without_room_is_a_matter_of_the_host() {
    let place = Place::new();
    fs::create_dir_all(place.path("home/.cache")).unwrap();
    let cache = place.path("home/.cache");
    let script = |size: &str| {
        format!(
            "mount -t tmpfs -o mode=0777,size={size} none {}; {ORDINARY}",
            cache.display()
        )
    };
    let answer = Answer::of(&place.inside(&script("1m"), &DOCTOR));
    assert_eq!(
        (answer.exit_code(), answer.status("disk.cache")),
        (20, "fail"),
        "{}",
        answer.0
    );
    assert!(answer.text("disk.cache").contains("XDG_CACHE_HOME"));
    let answer = Answer::of(&place.inside(&script("2g"), &DOCTOR));
    assert_eq!(
        (answer.exit_code(), answer.status("disk.cache")),
        (0, "ok"),
        "control: {}",
        answer.0
    );
}

#[test]
fn a_profile_that_cannot_be_read_is_a_matter_of_configuration() {
    let place = Place::new();
    let profiles = place.path("home/.config/factory/profiles");
    fs::create_dir_all(&profiles).unwrap();
    let strict = include_str!("../../sandbox-profiles/strict.toml").replace("name = \"strict\"", "name = \"mine\"");
    for (text, code, says) in [
        (strict.clone(), 0, "is valid"),
        (strict.replace("memory = ", "memry = "), 78, "memry"),
        (
            strict.replace("landlock_abi = 3 ", "landlock_abi = 99 "),
            21,
            "is valid",
        ),
    ] {
        fs::write(profiles.join("mine.toml"), text).unwrap();
        let answer = Answer::of(
            &place
                .command(&[], &["doctor", "--json", "--profile", "mine"])
                .output()
                .unwrap(),
        );
        assert_eq!(answer.exit_code(), code, "{}", answer.0);
        assert!(answer.text("profile").contains(says), "{}", answer.text("profile"));
        // Another profile does not suffer from it.
        assert_eq!(
            Answer::of(&place.command(&[], &DOCTOR).output().unwrap()).exit_code(),
            0
        );
    }
    let unknown = place
        .command(&[], &["doctor", "--json", "--profile", "none"])
        .output()
        .unwrap();
    assert_eq!(Answer::of(&unknown).exit_code(), 78);
}

#[test]
fn an_abi_beyond_the_kernel_names_the_profile_that_asks_for_it() {
    let place = Place::new();
    let profiles = place.path("home/.config/factory/profiles");
    fs::create_dir_all(&profiles).unwrap();
    let future = include_str!("../../sandbox-profiles/strict.toml")
        .replace("name = \"strict\"", "name = \"future\"")
        .replace("landlock_abi = 3 ", "landlock_abi = 99 ");
    fs::write(profiles.join("future.toml"), future).unwrap();
    let answer = Answer::of(&place.command(&[], &DOCTOR).output().unwrap());
    // `verify` can run; that another profile cannot is said all the same.
    assert_eq!(
        (answer.exit_code(), answer.status("landlock")),
        (0, "fail"),
        "{}",
        answer.0
    );
    let affects = answer.check("landlock")["affects"].to_string();
    assert!(affects.contains("future") && !affects.contains("verify"), "{affects}");
}

#[test]
fn a_program_of_the_verify_script_that_is_only_outside_is_named() {
    let place = Place::new();
    let bin = place.path("bin");
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join("mytool"), "").unwrap();
    fs::set_permissions(bin.join("mytool"), fs::Permissions::from_mode(0o755)).unwrap();
    let repository = place.path("repository");
    fs::write(repository.join("scripts/verify.sh"), "set -e\nmytool --check | cat\n").unwrap();
    let commit = "git -c user.name=a -c user.email=a@localhost commit --quiet --all -m tool";
    let made = Command::new("sh")
        .args(["-c", commit])
        .current_dir(&repository)
        .status();
    assert!(made.unwrap().success());
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let answer = Answer::of(&place.command(&[], &DOCTOR).env("PATH", path).output().unwrap());
    assert_eq!(
        (answer.exit_code(), answer.status("tools")),
        (0, "warn"),
        "{}",
        answer.text("tools")
    );
    assert!(answer.text("tools").contains("mytool"));
    let answer = Answer::of(
        &place
            .command(&[], &DOCTOR)
            .env("PATH", "/usr/bin:/bin")
            .output()
            .unwrap(),
    );
    assert_eq!(answer.status("tools"), "ok", "control: {}", answer.text("tools"));
}

#[test]
fn a_delegated_group_is_found_and_one_that_is_not_is_not() {
    const UNIFIED: &str = "/sys/fs/cgroup/unified";
    let root = [UNIFIED, "/sys/fs/cgroup"]
        .into_iter()
        .find(|root| fs::exists(format!("{root}/cgroup.procs")).unwrap());
    let writable =
        root.is_some_and(|root| is_root() && nix::unistd::access(root, nix::unistd::AccessFlags::W_OK).is_ok());
    if !has("root", writable) {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.path("home")).unwrap();
    fs::set_permissions(place.path("home"), fs::Permissions::from_mode(0o777)).unwrap();
    let group = PathBuf::from(root.unwrap()).join(format!("factory-test-{}", std::process::id()));
    fs::create_dir(&group).unwrap();
    // As a service manager delegates: the directory and the file that moves processes. Source: cgroups(7), "Delegation".
    let script = "if [ \"$DELEGATE\" ]; then chown 65534 \"$GROUP\" \"$GROUP/cgroup.procs\"; fi; \
        echo $$ > \"$GROUP/cgroup.procs\"; \
        exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all \"$0\" \"$@\"";
    let kill = |delegate: &str| {
        let mut command = place.command(&["sh", "-e", "-c", script], &DOCTOR);
        let output = command.env("GROUP", &group).env("DELEGATE", delegate).output().unwrap();
        Answer::of(&output).0["facts"]["cgroups"]["kill"].clone()
    };
    let (without, with) = (kill(""), kill("yes"));
    let left = fs::read_dir(&group)
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .count();
    fs::remove_dir(&group).unwrap();
    assert_eq!(without, Value::Null);
    assert_eq!(with, group.display().to_string());
    assert_eq!(left, 0);
}

// The documentation.

#[test]
fn every_check_is_documented_and_nothing_else() {
    let page = include_str!("../../docs/doctor.md");
    let documented: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|word| !["id", "kind", "status", "found", "evidence", "affects", "remedy"].contains(word))
        .collect();
    let known: Vec<&str> = CHECKS.iter().chain([&LAST]).map(|(id, _)| *id).collect();
    assert_eq!(documented, known);
}

#[test]
fn the_document_has_the_fields_that_are_documented() {
    let page = include_str!("../../docs/doctor.md");
    let place = Place::new();
    let answer = Answer::of(&place.command(&[], &DOCTOR).output().unwrap());
    let keys = |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    for key in keys(&answer.0)
        .into_iter()
        .chain(keys(&answer.0["checks"][0]))
        .chain(keys(&answer.0["facts"]))
    {
        assert!(page.contains(&format!("`{key}`")), "{key} is not in docs/doctor.md");
    }
}
