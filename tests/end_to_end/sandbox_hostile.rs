//! Hostile trees, grants and commands against the sandbox: each was an escape or a wrong answer once.

use crate::support::Watched;
use factory::sandbox::{
    Command, LimitKind, Network, Operator, Outcome, Policy, ReadGrant, Report, Sandbox, SandboxError, SetupFailure,
    Tree, load_profile,
};
use factory::types::Bytes;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

fn policy() -> Policy {
    let operator = Operator {
        profiles: None,
        own: &[],
        search_path: "/usr/bin:/bin",
        variable: &|_| None,
    };
    load_profile("strict", &operator).unwrap()
}

fn start() -> Watched {
    Watched::start()
}

fn run_in(sandbox: &Sandbox, policy: &Policy, layers: Vec<PathBuf>, argv: &[&str]) -> Result<Report, SandboxError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let command = Command::new(argv.iter().copied());
    runtime.block_on(sandbox.run(policy, &Tree { layers }, &command, None))
}

fn run(policy: &Policy, argv: &[&str]) -> Result<Report, SandboxError> {
    run_in(&start(), policy, Vec::new(), argv)
}

/// A directory that is not below `/tmp`, which every sandbox hides, and that any user may enter.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    directory
}

/// A file that anybody may write to.
fn victim(directory: &Path) -> PathBuf {
    let outside = directory.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o777)).unwrap();
    let victim = outside.join("victim");
    fs::write(&victim, "precious").unwrap();
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o666)).unwrap();
    victim
}

fn grant(path: PathBuf) -> ReadGrant {
    ReadGrant { path, optional: false }
}

#[test]
fn a_grant_behind_a_link_of_a_granted_directory_is_refused_and_touches_nothing() {
    let directory = directory();
    let victim = victim(directory.path());
    let granted = directory.path().join("granted");
    fs::create_dir(&granted).unwrap();
    symlink(victim.parent().unwrap(), granted.join("link")).unwrap();
    let mut policy = policy();
    policy
        .read
        .extend([grant(granted.clone()), grant(granted.join("link/victim"))]);
    let refused = run(&policy, &["true"]);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert!(
        matches!(
            refused,
            Err(SandboxError::Layer {
                errno: nix::errno::Errno::ELOOP,
                ..
            })
        ),
        "{refused:?}"
    );
}

#[test]
fn a_program_that_cannot_be_executed_is_told_from_one_that_failed() {
    for program in ["/nonexistent/program", "/etc/passwd"] {
        let outcome = run(&policy(), &[program]).unwrap().outcome;
        let unusable = matches!(
            &outcome,
            Outcome::Setup { failure: SetupFailure::ProgramUnusable { program: named, .. } } if named == program
        );
        assert!(unusable, "{outcome:?}");
    }
    let outcome = run(&policy(), &["sh", "-c", "exit 127"]).unwrap().outcome;
    assert_eq!(outcome, Outcome::Exit { code: 127 }, "control");
}

#[test]
fn a_command_does_not_outlive_a_killed_helper() {
    let sandbox = start();
    // A length that names this test's own process among all of the host.
    let seconds = format!("{}.5", 100_000 + std::process::id());
    let running = || {
        let cmdline = format!("sleep\0{seconds}\0");
        fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .find(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == cmdline.as_bytes()))
            .map(|entry| entry.path())
    };
    let parent = |process: &Path| {
        let status = fs::read_to_string(process.join("status")).unwrap();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t"));
        PathBuf::from("/proc").join(parent.unwrap())
    };
    std::thread::scope(|scope| {
        let ended = scope.spawn(|| run_in(&sandbox, &policy(), Vec::new(), &["sleep", &seconds]));
        let command = wait_for(running);
        let helper = parent(&parent(&command));
        let helper = helper.file_name().unwrap().to_str().unwrap().parse().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(helper), nix::sys::signal::SIGKILL).unwrap();
        wait_for(|| running().is_none().then_some(()));
        assert!(matches!(ended.join().unwrap(), Err(SandboxError::HelperGone)));
    });
}

/// Asks again until there is an answer, for ten seconds.
fn wait_for<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1000 {
        if let Some(answer) = ask() {
            return answer;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("waited for nothing");
}

/// Compiles and runs a C program in a sandbox and answers what it printed.
fn run_c(policy: &Policy, source: &str) -> String {
    let script = "cd /tmp && printf %s \"$1\" > p.c && cc -o p p.c && ./p";
    let report = run(policy, &["sh", "-c", script, "sh", source]).unwrap();
    let printed = [report.stdout.to_bytes(), report.stderr.to_bytes()].concat();
    String::from_utf8(printed).unwrap()
}

#[test]
fn limits_that_the_report_and_the_host_rely_on_cannot_be_changed() {
    let printed = run_c(
        &policy(),
        r#"
        #define _GNU_SOURCE
        #include <sys/resource.h>
        #include <errno.h>
        #include <stdio.h>
        #include <unistd.h>
        #define TRY(call) (errno = 0, (void)(call), printf("%d ", errno))
        int main(void) {
            struct rlimit limit = {0, 1};
            TRY(prlimit(1, RLIMIT_CPU, &limit, 0));
            TRY(prlimit(0, RLIMIT_CORE, &limit, 0));
            TRY(prlimit(getpid(), RLIMIT_CORE, &limit, 0));
            TRY(setrlimit(RLIMIT_CORE, &limit));
            TRY(getrlimit(RLIMIT_CORE, &limit));
            printf("core %d ", (int)limit.rlim_cur);
            limit.rlim_max = limit.rlim_cur = 64;
            TRY(setrlimit(RLIMIT_NOFILE, &limit));
        }"#,
    );
    assert_eq!(printed, "1 1 1 1 0 core 1 0 ");
}

#[test]
fn no_socket_is_made_but_of_the_known_families_kinds_and_protocols() {
    let mut policy = policy();
    policy.network = Network::Loopback;
    let printed = run_c(
        &policy,
        r#"
        #include <sys/socket.h>
        #include <errno.h>
        #include <stdio.h>
        #define TRY(call) printf("%d ", (call) < 0 ? errno : 0)
        int main(void) {
            int pair[2];
            TRY(socket(AF_UNIX, SOCK_STREAM, 0));
            TRY(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
            TRY(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
            TRY(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 6));
            TRY(socket(AF_INET6, SOCK_DGRAM, 17));
            printf("| ");
            TRY(socketpair(AF_INET, SOCK_STREAM, 0, pair));
            TRY(socketpair(30, SOCK_STREAM, 0, pair));
            TRY(socket(AF_NETLINK, SOCK_DGRAM, 0));
            TRY(socket(AF_INET, SOCK_SEQPACKET, 132));
            TRY(socket(AF_INET, SOCK_STREAM, 132));
            TRY(socket(AF_INET, SOCK_STREAM, 262));
            TRY(socket(AF_INET6, SOCK_STREAM, 256));
            TRY(socket(AF_INET, 6, 33));
            TRY(socket(AF_INET, SOCK_RAW, 1));
            TRY(socket(AF_INET6, SOCK_DGRAM, 136));
        }"#,
    );
    assert_eq!(printed, "0 0 0 0 0 | 1 1 1 1 1 1 1 1 1 1 ");
}

#[test]
fn the_output_streams_can_be_opened_by_name() {
    let report = run(
        &policy(),
        &["sh", "-c", "echo out > /dev/stdout; echo err > /dev/stderr"],
    )
    .unwrap();
    assert_eq!(
        (&*report.stdout.head, &*report.stderr.head),
        (&b"out\n"[..], &b"err\n"[..])
    );
}

#[test]
fn a_word_that_no_program_can_be_given_is_the_orders_fault() {
    let refused = run(&policy(), &[&"\u{1}".repeat(200_000)]);
    assert!(matches!(refused, Err(SandboxError::Command { .. })));
}

#[test]
fn page_tables_count_as_memory() {
    let mut policy = policy();
    policy.limits.memory = Bytes(64 << 20);
    let printed = r#"
        #include <sys/mman.h>
        #include <unistd.h>
        int main(void) {
            unsigned long size = 60UL << 30, sum = 0;
            volatile char *start = mmap(0, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            for (unsigned long at = 0; at < size; at += 2UL << 20) sum += start[at];
            sleep(20);
            return sum;
        }"#;
    let script = "cd /tmp && printf %s \"$1\" > p.c && cc -o p p.c && exec ./p";
    let outcome = run(&policy, &["sh", "-c", script, "sh", printed]).unwrap().outcome;
    assert_eq!(
        outcome,
        Outcome::Limit {
            limit: LimitKind::Memory
        }
    );
}

#[test]
fn inotify_instances_of_the_caller_cannot_be_used_up() {
    let printed = run_c(
        &policy(),
        r#"
        #include <sys/inotify.h>
        #include <stdio.h>
        int main(void) {
            int made = 0;
            while (made < 1000 && inotify_init1(0) >= 0) made++;
            printf("%d", made);
        }"#,
    );
    assert_eq!(printed, "32");
}

#[test]
fn a_grant_with_a_socket_in_it_is_refused() {
    let directory = directory();
    let mut policy = policy();
    policy.read.push(grant(directory.path().to_owned()));
    assert!(run(&policy, &["true"]).is_ok(), "control");
    let _daemon = std::os::unix::net::UnixListener::bind(directory.path().join("socket")).unwrap();
    let refused = run(&policy, &["true"]);
    assert!(matches!(refused, Err(SandboxError::Grant { .. })), "{refused:?}");
}
