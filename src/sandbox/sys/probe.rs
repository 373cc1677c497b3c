//! Calls that ask the kernel what it can do and change nothing.

use nix::errno::Errno;

/// A system call with arguments that cannot do anything: null pointers, descriptors that do not exist, sizes of zero.
///
/// Without a filter in the way each of them answers something other than `EPERM`; `ENOSYS` means that the kernel lacks the
/// call or that a filter says so.
#[derive(Debug)]
pub(in crate::sandbox) struct Harmless {
    /// The call's own name.
    pub(in crate::sandbox) name: &'static str,
    number: libc::c_long,
    arguments: [usize; 5],
    /// Whether the kernel itself answers `EPERM` without `CAP_SYS_ADMIN` in the current user namespace.
    pub(in crate::sandbox) wants_rights: bool,
}

/// A descriptor that does not exist.
const NONE: usize = usize::MAX;

const fn harmless(name: &'static str, number: libc::c_long, arguments: [usize; 5]) -> Harmless {
    Harmless {
        name,
        number,
        arguments,
        wants_rights: false,
    }
}

const fn with_rights(name: &'static str, number: libc::c_long, arguments: [usize; 5]) -> Harmless {
    Harmless {
        wants_rights: true,
        ..harmless(name, number, arguments)
    }
}

/// The calls by which the launcher builds a sandbox, besides those that every program makes.
///
/// Source of what each answers: the `SYSCALL_DEFINE`s of the kernel, which look at these arguments before they act; the
/// manual page of each call lists the errors.
pub(in crate::sandbox) const NEEDED: [Harmless; 18] = [
    harmless("clone3", libc::SYS_clone3, [0; 5]),
    harmless("unshare", libc::SYS_unshare, [0; 5]),
    harmless("setns", libc::SYS_setns, [NONE, 0, 0, 0, 0]),
    harmless("chroot", libc::SYS_chroot, [0; 5]),
    harmless("mount", libc::SYS_mount, [0; 5]),
    harmless("umount2", libc::SYS_umount2, [0; 5]),
    harmless("open_tree", libc::SYS_open_tree, [NONE, 0, 0, 0, 0]),
    with_rights("move_mount", libc::SYS_move_mount, [NONE, 0, NONE, 0, 0]),
    harmless("mount_setattr", libc::SYS_mount_setattr, [NONE, 0, 0, 0, 0]),
    with_rights("pivot_root", libc::SYS_pivot_root, [0; 5]),
    with_rights("sethostname", libc::SYS_sethostname, [0, NONE, 0, 0, 0]),
    harmless(
        "close_range",
        libc::SYS_close_range,
        [u32::MAX as usize, u32::MAX as usize, 0, 0, 0],
    ),
    harmless("pidfd_send_signal", libc::SYS_pidfd_send_signal, [NONE, 0, 0, 0, 0]),
    // KEYCTL_GET_KEYRING_ID of the session keyring, without making one. Source: keyctl(2).
    harmless("keyctl", libc::SYS_keyctl, [0, -3i32 as u32 as usize, 0, 0, 0]),
    harmless(
        "landlock_create_ruleset",
        libc::SYS_landlock_create_ruleset,
        [0, 0, 1, 0, 0],
    ),
    harmless("landlock_add_rule", libc::SYS_landlock_add_rule, [NONE, 0, 0, 0, 0]),
    with_rights(
        "landlock_restrict_self",
        libc::SYS_landlock_restrict_self,
        [NONE, 0, 0, 0, 0],
    ),
    // SECCOMP_SET_MODE_FILTER without a filter. Source: seccomp(2).
    harmless("seccomp", libc::SYS_seccomp, [1, 0, 0, 0, 0]),
];

/// Asked for although nothing of ours needs it: whether a command could use it if the filter were not there.
pub(in crate::sandbox) const IO_URING: Harmless = harmless("io_uring_setup", libc::SYS_io_uring_setup, [0; 5]);

/// `getpid` by its x32 number, which only a kernel with that ABI knows.
/// Source: `__X32_SYSCALL_BIT`, `arch/x86/include/uapi/asm/unistd.h`.
#[cfg(target_arch = "x86_64")]
pub(in crate::sandbox) const X32: Harmless = harmless("getpid (x32)", 0x4000_0000 | libc::SYS_getpid, [0; 5]);

impl Harmless {
    /// Makes the call. Answers what it returned.
    pub(in crate::sandbox) fn call(&self) -> Result<i64, Errno> {
        let [a, b, c, d, e] = self.arguments;
        // SAFETY: only the constants above are calls of this kind. Their pointers are null, their descriptors do not exist
        // and their sizes are zero, so that the kernel reads and writes no memory of ours and changes no state.
        Errno::result(unsafe { libc::syscall(self.number, a, b, c, d, e) })
    }
}

/// The version of Landlock's interface. `ENOSYS` when it is not built, `EOPNOTSUPP` when it was not switched on at boot.
/// Source: landlock_create_ruleset(2), `LANDLOCK_CREATE_RULESET_VERSION`.
pub(in crate::sandbox) fn landlock_version() -> Result<i64, Errno> {
    landlock_query(1)
}

/// The errata that this kernel has fixed, one bit each. `EINVAL` before ABI 7 and the stable kernels that learned it.
/// Source: the kernel's `Documentation/userspace-api/landlock.rst`, `LANDLOCK_CREATE_RULESET_ERRATA`.
pub(in crate::sandbox) fn landlock_errata() -> Result<i64, Errno> {
    landlock_query(2)
}

fn landlock_query(flag: libc::c_uint) -> Result<i64, Errno> {
    // SAFETY: with one of these flags the kernel wants a null pointer and size zero, and makes no descriptor.
    Errno::result(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, flag) })
}

/// Whether a filter may answer with `action`; `EOPNOTSUPP` when the kernel does not know it.
/// Source: seccomp(2), `SECCOMP_GET_ACTION_AVAIL`.
pub(in crate::sandbox) fn seccomp_action(action: u32) -> Result<i64, Errno> {
    const GET_ACTION_AVAIL: libc::c_uint = 2;
    // SAFETY: the kernel reads one integer from a pointer that lives until the call returns.
    Errno::result(unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0u32, &raw const action) })
}
