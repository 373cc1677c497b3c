//! Calls by which one process answers system calls of others. Source: seccomp_unotify(2).

use nix::errno::Errno;
use seccompiler::sock_filter;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A system call that a process waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sandbox) struct Notification {
    id: u64,
    /// The thread that waits, by its number in the caller's pid namespace.
    pub(in crate::sandbox) thread: i32,
    /// The number of the call.
    pub(in crate::sandbox) call: i64,
    /// Its first argument.
    pub(in crate::sandbox) first: u64,
}

/// Applies a filter for good and answers the descriptor on which the calls are heard of that it asks about.
///
/// Where the kernel can, who waits for an answer is woken by nothing but its death: otherwise a signal has the call begin
/// anew. `EBUSY` when a filter around this process has such a descriptor already, `EINVAL` before Linux 5.0.
/// Source: seccomp(2), `SECCOMP_FILTER_FLAG_NEW_LISTENER`; `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`, Linux 5.19.
pub(in crate::sandbox) fn install_with_listener(program: &[sock_filter]) -> Result<OwnedFd, Errno> {
    let listener = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    match install(program, listener | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) {
        Err(Errno::EINVAL) => install(program, listener),
        answer => answer,
    }
}

fn install(program: &[sock_filter], flags: libc::c_ulong) -> Result<OwnedFd, Errno> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `program` names as many instructions as there are, in the kernel's own layout, which it only reads, and
    // lives until the call returns.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    let fd = Errno::result(fd)?;
    // SAFETY: with this flag the answer is a new descriptor, which nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Has whoever calls and whoever answers take turns on one processor: faster by the time that it takes to wake another.
/// `EINVAL` before Linux 6.6. Source: `linux/seccomp.h`, `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`.
pub(in crate::sandbox) fn take_turns(listener: BorrowedFd<'_>) -> Result<(), Errno> {
    const SYNC_WAKE_UP: u64 = 1;
    let request = libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS;
    // SAFETY: the flags are given by value.
    Errno::result(unsafe { libc::ioctl(listener.as_raw_fd(), request, SYNC_WAKE_UP) }).map(drop)
}

/// Waits for a call. `ENOENT` when who made it was killed in between.
pub(in crate::sandbox) fn receive(listener: BorrowedFd<'_>) -> Result<Notification, Errno> {
    // The kernel wants it zeroed.
    let mut notification = libc::seccomp_notif {
        id: 0,
        pid: 0,
        flags: 0,
        data: libc::seccomp_data {
            nr: 0,
            arch: 0,
            instruction_pointer: 0,
            args: [0; 6],
        },
    };
    let request = libc::SECCOMP_IOCTL_NOTIF_RECV;
    // SAFETY: the kernel writes no more than the struct that belongs to this request, which lives until the call returns.
    Errno::result(unsafe { libc::ioctl(listener.as_raw_fd(), request, &raw mut notification) })?;
    Ok(Notification {
        id: notification.id,
        thread: notification.pid as i32,
        call: notification.data.nr.into(),
        first: notification.data.args[0],
    })
}

/// Whether who made the call still waits for an answer.
pub(in crate::sandbox) fn is_waiting(listener: BorrowedFd<'_>, of: &Notification) -> bool {
    let request = libc::SECCOMP_IOCTL_NOTIF_ID_VALID;
    // SAFETY: the kernel reads one integer, which lives until the call returns.
    unsafe { libc::ioctl(listener.as_raw_fd(), request, &raw const of.id) == 0 }
}

/// Has the call end with this result. `ENOENT` when nobody waits for it any more.
pub(in crate::sandbox) fn respond(
    listener: BorrowedFd<'_>,
    to: &Notification,
    result: Result<(), Errno>,
) -> Result<(), Errno> {
    let mut response = libc::seccomp_notif_resp {
        id: to.id,
        val: 0,
        error: result.map_or_else(|errno| -(errno as i32), |()| 0),
        flags: 0,
    };
    let request = libc::SECCOMP_IOCTL_NOTIF_SEND;
    // SAFETY: the struct belongs to this request and lives until the call returns.
    Errno::result(unsafe { libc::ioctl(listener.as_raw_fd(), request, &raw mut response) }).map(drop)
}

/// The most memory of its own that a process may have, in bytes, and may not raise. Source: prlimit(2), `RLIMIT_DATA`.
pub(in crate::sandbox) fn data_limit(pid: i32) -> Result<u64, Errno> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: nothing is to be set, and the kernel writes a struct that lives until the call returns.
    Errno::result(unsafe { libc::prlimit(pid, libc::RLIMIT_DATA, std::ptr::null(), &raw mut limit) })?;
    Ok(limit.rlim_max)
}
