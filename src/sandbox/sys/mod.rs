//! System calls that neither nix nor rustix offers: one safe function each, under the call's own name.
//!
//! - `unsafe` is in this module, those below it, and the module of attacks that has the same name; the lint keeps it out
//!   of every other.
//! - Each function is single-purpose, passes no pointer that outlives the call and checks every return value.
#![expect(
    unsafe_code,
    reason = "the system calls below have no safe wrapper in nix, rustix or caps"
)]

pub(super) mod probe;
pub(super) mod unotify;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Who returned from [`clone3`].
pub(super) enum Forked {
    /// The new process.
    Child,
    /// The caller.
    Parent(Cloned),
}

/// A process made by [`clone3`].
#[derive(Debug)]
pub(super) struct Cloned {
    /// Its id in the caller's pid namespace.
    pub(super) pid: i32,
    /// A descriptor that becomes readable when it ends. Source: pidfd_open(2).
    pub(super) pidfd: OwnedFd,
}

impl Cloned {
    /// Takes hold of a child that nobody has waited for, so that its number is still its own.
    pub(super) fn of(pid: i32) -> Result<Self, Errno> {
        let raw = rustix::process::Pid::from_raw(pid).ok_or(Errno::ESRCH)?;
        let pidfd = rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty())
            .map_err(|errno| Errno::from_raw(errno.raw_os_error()))?;
        Ok(Cloned { pid, pidfd })
    }
}

/// Creates a process in new namespaces, given as `CLONE_NEW*` flags, and in a control group of version 2 if one is given,
/// with a pidfd for the caller.
///
/// Must be called by a single-threaded process: the child is a copy of it and may then use everything.
/// Source: clone(2), `clone3()`.
pub(super) fn clone3(namespaces: libc::c_int, group: Option<BorrowedFd<'_>>) -> Result<Forked, Errno> {
    /// Source: `linux/sched.h`; beyond the range of the flags that libc has.
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut pidfd: RawFd = -1;
    let args = libc::clone_args {
        flags: (namespaces | libc::CLONE_PIDFD) as u64 | group.map_or(0, |_| CLONE_INTO_CGROUP),
        pidfd: &raw mut pidfd as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: group.map_or(0, |group| group.as_raw_fd() as u64),
    };
    // SAFETY: without CLONE_VM the child gets a copy of our memory and no stack of its own is needed. `args` and
    // `pidfd` live until the call returns, and the size given is that of the struct given. Our caller has one thread,
    // so no lock of the allocator or of std can be held by a thread that the child lacks.
    let rc = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    match Errno::result(rc)? {
        0 => Ok(Forked::Child),
        pid => {
            // SAFETY: the kernel stored a new descriptor there, which nobody else knows, because CLONE_PIDFD was set
            // and the call succeeded.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Forked::Parent(Cloned { pid: pid as i32, pidfd }))
        }
    }
}

/// Creates a process by the oldest call that does, which no filter around this process refuses, with a descriptor that
/// becomes readable when it ends. Must be called by a single-threaded process. Source: fork(2), pidfd_open(2).
pub(super) fn fork() -> Result<Forked, Errno> {
    // SAFETY: our caller has one thread, so the copy may use everything.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Child => Ok(Forked::Child),
        nix::unistd::ForkResult::Parent { child } => {
            // It is not waited for yet.
            Cloned::of(child.as_raw()).map(Forked::Parent)
        }
    }
}

/// Asks to trace a process, without stopping it. Source: ptrace(2), `PTRACE_SEIZE`.
pub(super) fn seize(pid: i32) -> Result<(), Errno> {
    // SAFETY: the request takes no memory of ours.
    Errno::result(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) }).map(drop)
}

/// Has orphans below this process become its children. Source: PR_SET_CHILD_SUBREAPER(2const).
pub(super) fn become_subreaper() -> Result<(), Errno> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// Ends the process at once, without running destructors or flushing what the parent's copy will flush.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) takes an integer and does not return.
    unsafe { libc::_exit(code) }
}

/// Closes descriptors of which the owners are never used again in this process, which does not return to them.
pub(super) fn close_for_good(descriptors: &[BorrowedFd<'_>]) {
    for descriptor in descriptors {
        // SAFETY: close(2) takes an integer. Our caller runs in a copy of the process that owns the descriptor and ends
        // without dropping that owner, so the number is not closed a second time.
        unsafe { libc::close(descriptor.as_raw_fd()) };
    }
}

/// Closes every descriptor behind the standard streams but one. Source: close_range(2), Linux 5.9.
pub(super) fn keep_only(kept: BorrowedFd<'_>) -> Result<(), Errno> {
    let kept = kept.as_raw_fd() as libc::c_uint;
    for (first, last) in [(3, kept.saturating_sub(1)), (3.max(kept + 1), libc::c_uint::MAX)] {
        if first <= last {
            // SAFETY: close_range(2) takes three integers. Our caller runs in a copy of the process that owns these
            // descriptors and ends without dropping any owner, so no number is closed a second time.
            Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
        }
    }
    Ok(())
}

/// Overwrites the arguments and the environment that this process was started with, and forgets them: they can be read
/// neither from its memory nor from `/proc/PID/cmdline` and `/proc/PID/environ` any more. Must be called by a
/// single-threaded process that does not look at them again. Source: environ(7); proc_pid_stat(5), fields 48 to 51.
pub(super) fn forget_words() -> Result<(), Errno> {
    const FIRST: usize = 48;
    let stat = std::fs::read_to_string("/proc/self/stat").map_err(|_| Errno::ESRCH)?;
    // Behind the name, which may hold anything, comes the third field.
    let (_, fields) = stat.rsplit_once(") ").ok_or(Errno::EPROTO)?;
    let places = fields
        .split(' ')
        .skip(FIRST - 3)
        .map(|field| field.trim().parse::<usize>());
    let places: Vec<usize> = places.collect::<Result<_, _>>().map_err(|_| Errno::EPROTO)?;
    let [words, words_end, environment, environment_end, ..] = places[..] else {
        return Err(Errno::EPROTO);
    };
    // SAFETY: our caller has one thread, so nobody changes the list meanwhile.
    let mut entry = unsafe { libc::environ };
    while !entry.is_null() {
        // SAFETY: the list ends with a null pointer, up to which each entry can be read.
        let text = unsafe { entry.read() };
        if text.is_null() {
            break;
        }
        // SAFETY: each entry is a string with an end. Some are copies that the C library made before `main`.
        let length = unsafe { libc::strlen(text) };
        // SAFETY: as above, in memory of this process that can be written; the byte at the end stays.
        unsafe { libc::explicit_bzero(text.cast(), length) };
        // SAFETY: this entry was not the last.
        entry = unsafe { entry.add(1) };
    }
    // SAFETY: our caller has one thread. It cannot fail: it only lets go of the list.
    unsafe { libc::clearenv() };
    for (start, end) in [(words, words_end), (environment, environment_end)] {
        let place = std::ptr::with_exposed_provenance_mut::<libc::c_void>(start);
        // SAFETY: the kernel put these strings between these two addresses of our stack, which can be written; nothing
        // but the lists of pointers refers to them, and our caller does not follow those again.
        unsafe { libc::explicit_bzero(place, end.saturating_sub(start)) };
    }
    Ok(())
}

/// Has this process ignore a signal. Source: signal(2).
pub(super) fn ignore(signal: Signal) {
    let ignored = nix::sys::signal::SigHandler::SigIgn;
    // SAFETY: no handler is installed. It fails only for SIGKILL and SIGSTOP.
    let _ = unsafe { nix::sys::signal::signal(signal, ignored) };
}

/// Makes `fd` refer to the same file as `source`, without close-on-exec.
pub(super) fn dup_onto(source: BorrowedFd<'_>, fd: RawFd) -> Result<(), Errno> {
    // SAFETY: dup2(2) takes two integers. The target numbers are the standard streams, or one that our caller has
    // just freed; no `OwnedFd` of the process stands for them.
    Errno::result(unsafe { libc::dup2(source.as_raw_fd(), fd) }).map(drop)
}

/// Takes over standard input, on which the parent left a socket.
pub(super) fn take_stdin() -> OwnedFd {
    // SAFETY: descriptor 0 is open when the helper starts, std's handle for it is never used or closed, and this is
    // called once.
    unsafe { OwnedFd::from_raw_fd(0) }
}

/// Takes over a descriptor that came with a message.
pub(super) fn take_received(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just installed this descriptor for us, and nix hands out only its number.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Attributes of a mount that can be set at once for a whole tree of mounts.
pub(super) const MOUNT_RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
/// Set-user-id bits have no effect.
pub(super) const MOUNT_NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
/// Device nodes cannot be opened.
pub(super) const MOUNT_NODEV: u64 = libc::MOUNT_ATTR_NODEV;
/// Programs cannot be executed.
pub(super) const MOUNT_NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;

/// Sets attributes on the mount that `mount` refers to; with `recursive` also on every mount below it.
/// Source: mount_setattr(2), Linux 5.12.
pub(super) fn mount_setattr(mount: BorrowedFd<'_>, set: u64, recursive: bool) -> Result<(), Errno> {
    let attr = libc::mount_attr {
        attr_set: set,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a static empty string, `attr` lives until the call returns and its size is given.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(rc).map(drop)
}

/// Replaces the session keyring by a new, empty one. Source: keyctl(2), `KEYCTL_JOIN_SESSION_KEYRING`.
pub(super) fn join_new_session_keyring() -> Result<(), Errno> {
    // SAFETY: a null name asks for an anonymous keyring; no memory is read.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<u8>(),
        )
    };
    Errno::result(rc).map(drop)
}

/// Calls that no sandbox lets through, and that do nothing with the arguments of [`answer_to`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// bpf(2): no attributes to make a map of.
    Bpf,
    /// perf_event_open(2): no description of an event.
    PerfEvent,
    /// io_uring_setup(2): no room for an answer.
    IoUring,
    /// prlimit64(2): nothing to set, and no room for an answer.
    FirstLimits,
    /// getpid(2) by its x32 number; elsewhere, a number that no call has.
    X32,
}

/// What the kernel says to a call whose first argument is the first process or zero, and all others zero.
pub(super) fn answer_to(call: Refused) -> Result<(), Errno> {
    /// Source: `__X32_SYSCALL_BIT`, `arch/x86/include/uapi/asm/unistd.h`.
    const X32: libc::c_long = 0x4000_0000;
    let (number, first) = match call {
        Refused::Bpf => (libc::SYS_bpf, 0),
        Refused::PerfEvent => (libc::SYS_perf_event_open, 0),
        Refused::IoUring => (libc::SYS_io_uring_setup, 0),
        Refused::FirstLimits => (libc::SYS_prlimit64, 1),
        Refused::X32 => (X32 | libc::SYS_getpid, 0),
    };
    // SAFETY: each of these calls takes zero for "nothing": they read no memory of ours and write none.
    Errno::result(unsafe { libc::syscall(number, first, 0, 0, 0, 0, 0) }).map(drop)
}

/// Sets and locks the secure bits. Source: capabilities(7), "The securebits flags".
pub(super) fn set_securebits(bits: libc::c_ulong) -> Result<(), Errno> {
    prctl(libc::PR_SET_SECUREBITS, bits)
}

/// Has the kernel send `signal` to this process when its parent ends. Source: PR_SET_PDEATHSIG(2const).
pub(super) fn set_parent_death_signal(signal: Signal) -> Result<(), Errno> {
    prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong)
}

/// Decides whether other processes of the same user may look into this one. Source: PR_SET_DUMPABLE(2const).
pub(super) fn set_dumpable(dumpable: bool) -> Result<(), Errno> {
    prctl(libc::PR_SET_DUMPABLE, dumpable.into())
}

fn prctl(option: libc::c_int, argument: libc::c_ulong) -> Result<(), Errno> {
    let none: libc::c_ulong = 0;
    // SAFETY: the options used above take one integer and read no memory.
    Errno::result(unsafe { libc::prctl(option, argument, none, none, none) }).map(drop)
}

/// Brings the loopback interface of the current network namespace up. Source: netdevice(7), `SIOCSIFFLAGS`.
pub(super) fn loopback_up() -> Result<(), Errno> {
    let socket = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Inet,
        nix::sys::socket::SockType::Datagram,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short,
        },
    };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    // SAFETY: `request` is a whole ifreq with a terminated name and lives until the call returns.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) }).map(drop)
}

/// Resets every signal that a program may inherit as ignored to its default action, and unblocks all.
///
/// By the plain call and not by glibc's function, which refuses the two signals that glibc keeps for itself; a parent may
/// have left those ignored as well. Source: signal(7), "Execution": ignored signals stay ignored.
pub(super) fn reset_signals() {
    /// `struct sigaction` of the kernel, whose all-zero value is the default action without flags.
    const DEFAULT_ACTION: [u64; 4] = [0; 4];
    /// Bytes of the kernel's signal set.
    const SET_SIZE: usize = 8;
    for number in 1..=64 {
        // SAFETY: the action given is as large as the kernel's struct and lives until the call returns; the old action is
        // not asked for. SIGKILL and SIGSTOP answer EINVAL, which changes nothing.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                DEFAULT_ACTION.as_ptr(),
                std::ptr::null::<u64>(),
                SET_SIZE,
            )
        };
    }
    let none = nix::sys::signal::SigSet::empty();
    // Unblocking cannot fail: the set and the operation are valid.
    let _ = nix::sys::signal::sigprocmask(nix::sys::signal::SigmaskHow::SIG_SETMASK, Some(&none), None);
}

/// Marks every descriptor from `first` on to be closed by `execve(2)`. Source: close_range(2), Linux 5.11.
pub(super) fn close_on_exec_from(first: RawFd) -> Result<(), Errno> {
    // SAFETY: close_range(2) takes three integers and reads no memory of ours. With CLOSE_RANGE_CLOEXEC it only marks
    // descriptors, so every `OwnedFd` stays valid until exec.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    Errno::result(rc).map(drop)
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum Ending {
    /// By itself, with an exit code.
    Exited(i32),
    /// By a signal; real-time signals included, which nix cannot name.
    Signaled(i32),
}

/// Waits for any child. Source: wait(2).
pub(super) fn wait_any() -> Result<(i32, Ending), Errno> {
    wait(-1, 0)
}

/// Waits for one child.
pub(super) fn wait_for(pid: i32) -> Result<Ending, Errno> {
    wait(pid, 0).map(|(_, ending)| ending)
}

/// Takes any child that has ended; nothing when all others still live. Source: wait(2), `WNOHANG`.
pub(super) fn wait_ended() -> Result<Option<(i32, Ending)>, Errno> {
    // Without a child that has ended the answer is process 0.
    wait(-1, libc::WNOHANG).map(|(pid, ending)| (pid != 0).then_some((pid, ending)))
}

fn wait(pid: i32, options: libc::c_int) -> Result<(i32, Ending), Errno> {
    let mut status = 0;
    // SAFETY: `status` lives until the call returns.
    let pid = Errno::result(unsafe { libc::waitpid(pid, &raw mut status, options) })?;
    if libc::WIFSIGNALED(status) {
        Ok((pid, Ending::Signaled(libc::WTERMSIG(status))))
    } else {
        Ok((pid, Ending::Exited(libc::WEXITSTATUS(status))))
    }
}

/// Closes standard output and standard error.
pub(super) fn close_streams() {
    for number in [1, 2] {
        // SAFETY: close(2) takes an integer. Nothing in this process writes to the standard streams any more, and no
        // `OwnedFd` stands for them.
        unsafe { libc::close(number) };
    }
}
