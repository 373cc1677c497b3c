//! `uname` and `sysinfo`, which the slot's supervisor answers: what commands get to hear, and what hostile ones can make of
//! it.

use crate::support::{Ground, alive, alone, ancestors, descendants, has, holding, policy, program, unique, vanishes};
use factory::sandbox::{Command, Outcome, Report};
use factory::types::Bytes;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const MEMORY: u64 = 512 << 20;

fn text(report: &Report) -> String {
    let both = [report.stdout.to_bytes(), report.stderr.to_bytes()].concat();
    String::from_utf8_lossy(&both).trim_end().to_owned()
}

/// What a shell script prints outside of every sandbox.
fn outside(script: &str) -> String {
    let output = std::process::Command::new("sh").args(["-c", script]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Compiles a C program into the tree.
fn compile(ground: &Ground, name: &str, source: &str) {
    let file = ground.file(&format!("{name}.c"), source);
    let built = ground.path(name);
    let status = std::process::Command::new("cc")
        .args(["-O1", "-pthread", "-o"])
        .args([&built, &file])
        .status();
    assert!(status.unwrap().success(), "cc cannot compile {name}");
    ground.program(&format!("tree/{name}"), &fs::read(built).unwrap());
}

/// The supervisor of the slot in which a process runs: the slot's child that has no child, beside the run.
fn supervisor_of(command: i32) -> i32 {
    let line = ancestors(command);
    let (first, slot) = (line[0], line[1]);
    let children = fs::read_to_string(format!("/proc/{slot}/task/{slot}/children")).unwrap();
    let mut children = children.split_ascii_whitespace().map(|pid| pid.parse().unwrap());
    children.find(|pid| *pid != first).unwrap()
}

#[test]
fn programs_hear_of_the_sandbox_and_not_of_the_host() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.limits.memory = Bytes(MEMORY);
    let pages = (MEMORY / 4096).to_string();
    let machine = outside("uname -m");
    for (script, told) in [
        ("uname -r", "5.12.0"),
        ("uname -v", "#1 SMP"),
        ("uname -s -n -m", &format!("Linux factory {machine}")),
        ("getconf _PHYS_PAGES", &pages),
        ("getconf _AVPHYS_PAGES", &pages),
        ("python3 -c 'import os; print(os.uname().release)'", "5.12.0"),
        ("python3 -c 'import os; print(os.sysconf(\"SC_PHYS_PAGES\"))'", &pages),
    ] {
        assert_eq!(ground.prints(&policy, script), told, "{script}");
    }
    // The controls: what tells of the host outside is none of it.
    for script in ["uname -r", "uname -v", "getconf _PHYS_PAGES"] {
        assert_ne!(outside(script), ground.prints(&policy, script), "{script}");
    }
    let report = ground.shell(&policy, "true");
    assert_eq!(report.receipt.unwrap().enforced.answered, ["sysinfo", "uname"]);
    if has("node", !outside("command -v node").is_empty()) {
        let script = "node -p 'os.release() + \" \" + os.totalmem() + \" \" + os.loadavg()'";
        assert_eq!(ground.prints(&policy, script), format!("5.12.0 {MEMORY} 0,0,0"));
    }
}

#[test]
fn a_limit_that_a_command_lowers_for_itself_changes_its_own_memory_only() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.limits.memory = Bytes(MEMORY);
    let pages = MEMORY / 4096;
    let told = ground.prints(
        &policy,
        "getconf _PHYS_PAGES; (ulimit -d 262144; getconf _PHYS_PAGES); getconf _PHYS_PAGES",
    );
    assert_eq!(told, format!("{pages}\n65536\n{pages}"));
}

#[test]
fn a_place_that_cannot_be_written_to_answers_as_the_kernel_does() {
    let ground = Ground::new();
    compile(
        &ground,
        "places",
        r#"
        #define _GNU_SOURCE
        #include <errno.h>
        #include <stdio.h>
        #include <sys/mman.h>
        #include <sys/prctl.h>
        #include <sys/syscall.h>
        #include <sys/utsname.h>
        #include <unistd.h>
        #define TRY(call, place) (errno = 0, syscall(call, place), printf("%d ", errno))
        int main(void) {
            char *pages = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            munmap(pages + 4096, 4096);
            char *constant = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            for (int call = 0; call < 2; call++) {
                long number = call ? SYS_sysinfo : SYS_uname;
                TRY(number, 0);
                TRY(number, -1L);
                TRY(number, constant);
                TRY(number, pages + 4096 - 16);
                TRY(number, pages + 4096 - sizeof(struct utsname));
                // Whom others of its user may not look into is answered like everybody.
                prctl(PR_SET_DUMPABLE, call, 0, 0, 0);
                TRY(number, pages);
            }
        }"#,
    );
    let expected = "14 14 14 14 0 0 14 14 14 14 0 0 ";
    let control = std::process::Command::new(ground.path("tree/places")).output().unwrap();
    assert_eq!(String::from_utf8(control.stdout).unwrap(), expected, "control");
    let report = ground.run(&policy(), &Command::new(["/src/places"]));
    assert_eq!(report.stdout.to_bytes(), expected.as_bytes(), "{}", text(&report));
}

#[test]
fn a_command_cannot_answer_in_the_supervisors_place() {
    let ground = Ground::new();
    compile(
        &ground,
        "listen",
        r#"
        #define _GNU_SOURCE
        #include <errno.h>
        #include <linux/filter.h>
        #include <linux/seccomp.h>
        #include <stdio.h>
        #include <sys/prctl.h>
        #include <sys/syscall.h>
        #include <sys/utsname.h>
        #include <unistd.h>
        int main(void) {
            struct sock_filter ask[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_uname, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
            };
            struct sock_fprog program = {4, ask};
            struct utsname name;
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            long listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
            printf("%s ", listener < 0 && errno == EBUSY ? "busy" : "heard");
            printf("%d ", uname(&name));
            // One without a listener only takes the call away.
            syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
            printf("%d\n", uname(&name) < 0 ? errno : 0);
        }"#,
    );
    // The control: outside, the same program gets a listener. It then waits for its own answer, so it is ended.
    let control = outside(&format!("timeout 2 {} | head -c 5", ground.word("tree/listen")));
    assert_ne!(control, "busy ", "control");
    let report = ground.run(&policy(), &Command::new(["/src/listen"]));
    assert_eq!(text(&report), "busy 0 38");
}

/// Has a process of the given words call `uname`, over and over again.
const STORM: &str = r#"
    #include <pthread.h>
    #include <signal.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/sysinfo.h>
    #include <sys/utsname.h>
    #include <sys/wait.h>
    #include <unistd.h>
    static void *loop(void *unused) {
        struct utsname name;
        struct sysinfo info;
        for (;;) uname(&name), sysinfo(&info);
        return unused;
    }
    static int is_well(void) {
        struct utsname name;
        return uname(&name) == 0 && !strcmp(name.release, "5.12.0");
    }
    int main(int count, char **words) {
        int processes = atoi(words[1]), milliseconds = atoi(words[2]);
        pid_t children[512];
        for (int i = 0; i < processes; i++)
            if ((children[i] = fork()) == 0) {
                pthread_t thread;
                pthread_create(&thread, 0, loop, 0);
                loop(0);
            }
        usleep(milliseconds * 1000);
        // In the middle of their calls, each by itself.
        for (int i = 0; i < processes; i++) kill(children[i], SIGKILL), usleep(100);
        while (wait(0) > 0) {}
        puts(is_well() ? "well" : "unwell");
    }"#;

#[test]
fn callers_that_are_killed_in_the_middle_leave_the_supervisor_at_work() {
    let ground = Ground::new();
    compile(&ground, "storm", STORM);
    for _ in 0..10 {
        let report = ground.run(&policy(), &Command::new(["/src/storm", "16", "20"]));
        assert_eq!(text(&report), "well");
    }
    // The same slot, the same supervisor, after a run that was killed as a whole.
    let mut command = Command::new(["/src/storm", "16", "60000"]);
    command.timeout = Some(Duration::from_millis(200));
    let report = ground.run(&policy(), &command);
    assert!(matches!(report.outcome, Outcome::Limit { .. }), "{:?}", report.outcome);
    assert_eq!(ground.prints(&policy(), "uname -r"), "5.12.0");
}

#[test]
fn a_storm_of_calls_keeps_no_other_sandbox_from_starting() {
    alone("answers::a_storm_of_calls_keeps_no_other_sandbox_from_starting", || {
        let ground = Ground::new();
        compile(&ground, "storm", STORM);
        let mut policy = policy();
        policy.limits.pids = 1000;
        let (tree, storm) = (ground.tree(), Command::new(["/src/storm", "200", "60000"]));
        let word = "/src/storm";
        let longest = ground.block_on(async {
            let mut storm = std::pin::pin!(ground.sandbox.run(&policy, &tree, &storm, None));
            let others = async {
                while holding(word).len() < 200 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                let mut longest = Duration::ZERO;
                for _ in 0..10 {
                    let started = Instant::now();
                    let command = Command::new(["uname", "-r"]);
                    let report = ground.sandbox.run(&policy, &tree, &command, None).await.unwrap();
                    assert_eq!(text(&report), "5.12.0");
                    longest = longest.max(started.elapsed());
                }
                longest
            };
            tokio::select! {
                report = &mut storm => panic!("the storm is over: {report:?}"),
                longest = others => longest,
            }
        });
        // Two hundred processes, each of two threads, share the processors with it.
        assert!(longest < Duration::from_secs(5), "{longest:?}");
        assert!(vanishes(word, Duration::from_secs(5)));
    });
}

#[test]
fn a_slot_ends_with_its_supervisor_and_the_next_run_has_another() {
    let ground = Ground::new();
    let word = unique("factory-unsupervised");
    let looked = word.clone();
    let killer = std::thread::spawn(move || {
        let patience = Instant::now() + Duration::from_secs(5);
        let command = loop {
            if let [pid, ..] = holding(&looked)[..] {
                break pid;
            }
            assert!(Instant::now() < patience);
            std::thread::sleep(Duration::from_millis(5));
        };
        let supervisor = supervisor_of(command);
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(supervisor),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        (supervisor, vanishes(&looked, Duration::from_secs(2)))
    });
    let command = Command::new(["/src/probe", "pause", "50", &word]);
    let report = ground.try_run(&policy(), &command);
    let (supervisor, vanished) = killer.join().unwrap();
    assert!(vanished && !alive(supervisor), "the command outlives its supervisor");
    assert!(report.is_err(), "{report:?}");
    assert_eq!(ground.prints(&policy(), "uname -r"), "5.12.0");
}

#[test]
fn three_hundred_runs_that_ask_leave_no_descriptor() {
    alone("answers::three_hundred_runs_that_ask_leave_no_descriptor", || {
        let ground = Ground::new();
        let policy = policy();
        let held = || {
            // A second run hardly ever waits for the end of the first; an idle helper makes a spare slot.
            std::thread::sleep(Duration::from_millis(300));
            let processes = [vec![ground.helper()], descendants(ground.helper())].concat();
            let descriptors = |pid: &i32| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
            (processes.len(), processes.iter().map(descriptors).sum::<usize>())
        };
        for _ in 0..20 {
            ground.prints(&policy, "uname -r");
        }
        let before = held();
        for _ in 0..300 {
            assert_eq!(
                ground.prints(&policy, "uname -r; getconf _PHYS_PAGES | head -c 0"),
                "5.12.0"
            );
        }
        assert_eq!(held(), before);
    });
}

/// Puts a filter with a listener around a command, as some container managers do.
const AROUND: &str = r#"
    #define _GNU_SOURCE
    #include <fcntl.h>
    #include <linux/filter.h>
    #include <linux/seccomp.h>
    #include <stdio.h>
    #include <sys/prctl.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    int main(int count, char **words) {
        struct sock_filter allow[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
        struct sock_fprog program = {1, allow};
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        long listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
        if (listener < 0) return perror("seccomp"), 1;
        fcntl(listener, F_SETFD, 0);
        execv(words[1], words + 1);
        return perror("execv"), 1;
    }"#;

#[test]
fn where_somebody_around_listens_already_the_host_is_told_and_the_receipt_says_so() {
    let ground = Ground::new();
    compile(&ground, "around", AROUND);
    let repository = ground.path("repository");
    let git = |words: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.arg("-C").arg(&repository).args(words);
        for who in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{who}_NAME"), "nobody")
                .env(format!("GIT_{who}_EMAIL"), "nobody@example.com");
        }
        assert!(command.output().unwrap().status.success(), "{words:?}");
    };
    fs::create_dir(&repository).unwrap();
    git(&["init"]);
    git(&["commit", "--allow-empty", "--message", "nothing"]);
    let ran = |around: Option<&Path>| {
        let program = program();
        let mut command = std::process::Command::new(around.unwrap_or(&program));
        if around.is_some() {
            command.arg(&program);
        }
        command
            .args(["exec", "--json", "--profile", "strict", "--repo"])
            .arg(&repository);
        let output = command.args(["--", "uname", "-r"]).output().unwrap();
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    };
    let answered = |document: &serde_json::Value| document["receipt"]["enforced"]["answered"].clone();
    let said = |document: &serde_json::Value| {
        document["stdout"]["head"]["text"]
            .as_str()
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let supervised = ran(None);
    assert_eq!(
        answered(&supervised),
        serde_json::json!(["sysinfo", "uname"]),
        "{supervised}"
    );
    let told = ran(Some(&ground.path("tree/around")));
    assert_eq!(answered(&told), serde_json::json!([]), "{told}");
    assert_eq!(
        (said(&supervised), said(&told)),
        ("5.12.0".to_owned(), outside("uname -r"))
    );
}
