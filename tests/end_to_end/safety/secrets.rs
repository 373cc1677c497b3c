//! What must not be read.

use crate::support::{Ground, policy};
use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

const SECRET: &str = "planted-secret-7f3a";

#[test]
fn a_private_key_in_the_home_directory_cannot_be_read() {
    let ground = Ground::new();
    ground.file("home/.ssh/id_rsa", SECRET);
    let key = ground.word("home/.ssh/id_rsa");
    let control = ground.outside(&["read", &key]);
    assert_eq!(control.line, format!("ok {SECRET}"));
    let act = ground.inside(&policy(), &["read", &key]);
    assert_eq!(act.errno(), Some("ENOENT"), "{act:?}");
    // The home that the command knows is empty.
    assert_eq!(
        ground
            .prints(&policy(), "cd && ls -A | wc -l && cat ~/.ssh/id_rsa 2>&1 || echo $?")
            .lines()
            .next(),
        Some("0")
    );
}

#[test]
fn the_operators_real_home_is_not_in_the_view() {
    let ground = Ground::new();
    let home = std::env::var("HOME").unwrap();
    assert!(ground.outside(&["list", &home]).succeeded());
    for place in [
        home.as_str(),
        "/root",
        "/home/plain",
        "/mnt",
        "/opt/other",
        "/var",
        "/boot",
        "/sys",
        "/etc/shadow",
    ] {
        ground.refused_inside(&["list", place], &["ENOENT"]);
    }
}

#[test]
fn a_symlink_in_the_tree_does_not_lead_to_the_hosts_file() {
    let ground = Ground::new();
    let key = ground.file("home/.ssh/id_rsa", SECRET);
    symlink(&key, ground.path("tree/innocent")).unwrap();
    symlink("/", ground.path("tree/root")).unwrap();
    let through_root = format!("tree/root{}", key.display());
    for (outside, inside) in [
        (ground.word("tree/innocent"), "/src/innocent".to_owned()),
        (ground.word(&through_root), format!("/src/root{}", key.display())),
        (
            format!("/proc/{}/root{}", std::process::id(), key.display()),
            format!("/proc/1/root{}", key.display()),
        ),
    ] {
        assert_eq!(ground.outside(&["read", &outside]).line, format!("ok {SECRET}"));
        // The first process is there, and not for those inside.
        ground.refused_inside(&["read", &inside], &["ENOENT", "EACCES", "EPERM"]);
    }
}

#[test]
fn a_variable_of_the_parent_is_not_in_the_environment() {
    // A process with the secret in its environment, as an operator's shell has one: it starts the whole test again.
    const NAME: &str = "FACTORY_TEST_PLANTED_SECRET";
    if std::env::var_os(NAME).is_none() {
        let status = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "safety::secrets::a_variable_of_the_parent_is_not_in_the_environment",
            ])
            .env(NAME, SECRET)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let ground = Ground::new();
    assert_eq!(ground.outside(&["env", NAME]).line, format!("ok {SECRET}"));
    ground.refused_inside(&["env", NAME], &["ENOENT"]);
    let environ = format!("/proc/{}/environ", std::process::id());
    assert!(ground.outside(&["read", &environ]).line.contains(SECRET));
    ground.refused_inside(&["read", &environ], &["ENOENT"]);
    // Nor that of anything that can be seen in there, the first process included.
    let seen = ground.prints(&policy(), "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'; true");
    assert!(seen.contains("HOME=/home/factory") && !seen.contains(SECRET), "{seen}");
}

#[test]
fn no_process_of_the_host_can_be_seen() {
    let ground = Ground::new();
    let pid = std::process::id().to_string();
    assert!(ground.outside(&["read", &format!("/proc/{pid}/status")]).succeeded());
    ground.refused_inside(&["read", &format!("/proc/{pid}/status")], &["ENOENT"]);
    let seen = ground.prints(&policy(), "cd /proc; ls -d [0-9]* | wc -l");
    assert!(seen.parse::<u32>().unwrap() <= 3, "{seen}");
    // The first process holds the report channel; the command must not get at it.
    for file in ["environ", "maps", "mem", "fd/3", "root/etc", "cwd"] {
        ground.refused_inside(&["read", &format!("/proc/1/{file}")], &["ENOENT", "EACCES", "EPERM"]);
    }
}

#[test]
fn what_proc_and_sys_tell_about_the_host_is_absent() {
    let ground = Ground::new();
    for file in [
        "/proc/cmdline",
        "/proc/keys",
        "/proc/net/tcp",
        "/proc/mounts",
        "/proc/sys/kernel/core_pattern",
        "/proc/kallsyms",
    ] {
        if fs::exists(file).unwrap() {
            assert!(ground.outside(&["read", file]).succeeded(), "{file}");
        }
    }
    for file in [
        "/proc/cmdline",
        "/proc/keys",
        "/proc/sys/kernel/core_pattern",
        "/proc/sysrq-trigger",
        "/sys/kernel",
        "/proc/kallsyms",
    ] {
        ground.refused_inside(&["read", file], &["ENOENT", "EACCES"]);
    }
    let mounts = ground.prints(&policy(), "cat /proc/self/mountinfo");
    assert!(!mounts.contains(&ground.word("tree")), "{mounts}");
}
