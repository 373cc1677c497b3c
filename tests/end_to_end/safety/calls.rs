//! System calls that must not be answered.

use crate::support::{Ground, has, policy};
use factory::sandbox::Outcome;

/// Acts that any user may do outside, and how they are refused inside.
const FOR_EVERYBODY: [(&str, &str); 20] = [
    ("unshare-user", "EPERM"),
    ("unshare-all", "EPERM"),
    ("clone-user", "EPERM"),
    ("clone-pid", "EPERM"),
    ("clone3", "ENOSYS"),
    ("clone3-user", "ENOSYS"),
    ("ptrace", "EPERM"),
    ("traceme", "EPERM"),
    ("process_vm_readv", "EPERM"),
    ("process_vm_writev", "EPERM"),
    ("pidfd_getfd", "EPERM"),
    ("kcmp", "EPERM"),
    ("io_uring_setup", "ENOSYS"),
    ("keyctl", "EPERM"),
    ("add_key", "EPERM"),
    ("userfaultfd", "EPERM"),
    ("memfd_create", "ENOSYS"),
    ("modify_ldt", "EPERM"),
    ("personality", "EPERM"),
    ("personality-wide", "EPERM"),
];

#[test]
fn calls_that_any_user_may_make_are_refused_inside() {
    let ground = Ground::new();
    for (call, errno) in FOR_EVERYBODY {
        let control = ground.outside(&["call", call]);
        if has(call, control.succeeded()) {
            ground.refused_inside(&["call", call], &[errno]);
        }
    }
}

#[test]
fn calls_that_need_rights_are_refused_by_the_filter_and_not_for_want_of_rights() {
    let ground = Ground::new();
    for call in [
        "mount",
        "bind-mount",
        "umount",
        "remount",
        "fsopen",
        "open_tree",
        "chroot",
        "unshare-mount",
        "setns",
        "sethostname",
    ] {
        let prepare = match call {
            "umount" | "remount" => "mount -t tmpfs none /mnt",
            _ => "true",
        };
        let control = ground.outside_as_root(prepare, &["call", call, "/mnt"]);
        assert!(control.succeeded(), "{call}: {control:?}");
        ground.refused_inside(&["call", call, "/tmp"], &["EPERM"]);
    }
    // The only id inside is not root's, and there is no way to become it.
    assert!(ground.outside_as_root("true", &["call", "setuid-root"]).succeeded());
    ground.refused_inside(&["call", "setuid-root"], &["EINVAL", "EPERM"]);
}

#[test]
fn invalid_arguments_show_that_the_filter_answers_before_the_kernel_looks() {
    let ground = Ground::new();
    // Outside, the kernel complains about the arguments, so the call was reached. Inside, it never is.
    for (call, outside, inside) in [
        ("bpf", "E2BIG", "EPERM"),
        ("perf_event_open", "EFAULT", "EPERM"),
        ("quotactl", "EINVAL", "EPERM"),
        ("memfd_secret", "EINVAL", "EPERM"),
        ("shmget", "EINVAL", "EPERM"),
        ("semget", "EINVAL", "EPERM"),
        ("msgget", "ENOENT", "EPERM"),
        ("request_key", "ENOKEY", "EPERM"),
        ("name_to_handle_at", "EFAULT", "EPERM"),
        ("open_by_handle_at", "EFAULT", "EPERM"),
        ("fanotify_mark", "EINVAL", "EPERM"),
        ("io_uring_enter", "EBADF", "ENOSYS"),
        ("tiocsti", "ENOTTY", "EPERM"),
        ("tiocsti-wide", "ENOTTY", "EPERM"),
        ("tioclinux", "ENOTTY", "EPERM"),
        ("speculation", "ENODEV", "EPERM"),
    ] {
        let control = ground.outside(&["call", call]);
        if has(call, control.errno() == Some(outside)) {
            ground.refused_inside(&["call", call], &[inside]);
        }
    }
    let control = ground.outside_as_root("true", &["call", "pivot_root"]);
    assert_eq!(control.errno(), Some("ENOENT"));
    ground.refused_inside(&["call", "pivot_root"], &["EPERM"]);
}

#[test]
fn a_call_that_nobody_knows_does_not_exist() {
    Ground::new().refused_inside(&["call", "unknown"], &["ENOSYS"]);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn numbers_of_the_x32_interface_do_not_exist_and_kill_nobody() {
    let ground = Ground::new();
    // Most kernels are built without x32 and say the same; the unit tests of the filter cover its numbers.
    for call in ["x32", "x32-ptrace"] {
        let control = ground.outside(&["call", call]);
        assert!(control.succeeded() || control.errno() == Some("ENOSYS"), "{control:?}");
        ground.refused_inside(&["call", call], &["ENOSYS"]);
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_32_bit_entry_ends_the_process() {
    let ground = Ground::new();
    if has("ia32", ground.outside(&["call", "int80"]).succeeded()) {
        let report = ground.report(&policy(), &["call", "int80"]);
        assert_eq!(report.outcome, Outcome::Signal { signal: libc::SIGSYS });
    }
}
