//! The supervisor of a slot: answers, for all runs of the slot, the calls whose true answer tells of the host.
//!
//! - A process of its own, which only waits for such calls: it writes to memory of hostile processes, and each write can
//!   take as long as they manage to make it. Who makes it slow waits for it; the helper and other slots do not.
//! - It is not in the control groups of its runs, so that it is no victim of their want of memory, and not below their
//!   filters and namespaces, in which nothing sees or reaches it. It ends with the slot, and the slot with it: without a
//!   listener the calls answer `ENOSYS`, and a command could have a listener of its own.
//! - What it answers comes from constants, its own age and the caller's limit on memory. It decides about nothing: there
//!   is no call that it lets through.
//!
//! Source: seccomp_unotify(2).

use crate::sandbox::helper::{receive_message, send_bytes};
use crate::sandbox::init::Step;
use crate::sandbox::setup::{HOST_NAME, LayerFailure};
use crate::sandbox::sys::{self, Cloned, Forked, unotify};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::uio::{RemoteIoVec, process_vm_writev};
use nix::unistd::{Pid, getppid};
use std::io::IoSlice;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

/// The release that commands see: that of the oldest kernel that has every call a sandbox is built with, so that whoever
/// goes by it expects nothing that is missing. Source: mount_setattr(2), Linux 5.12.
pub(in crate::sandbox) const RELEASE: &str = "5.12.0";

/// The version that commands see: as every kernel's begins, without when and by whom it was built.
const VERSION: &str = "#1 SMP";

/// The memory of a process without a limit of its own, in bytes. In a run each has one.
const UNLIMITED_MEMORY: u64 = 4 << 30;

/// The length of one name. Source: uname(2), `_UTSNAME_LENGTH`.
const NAME: usize = 65;

/// A supervisor that has no listener yet.
#[derive(Debug)]
#[must_use]
pub(super) struct Supervisor {
    process: Cloned,
    /// Where it waits for one.
    socket: OwnedFd,
}

impl Supervisor {
    /// Starts it, below no filter yet. Called where the slot is in no control group of its runs.
    pub(super) fn start() -> Result<Self, LayerFailure> {
        let (socket, inside) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).step("make a socket")?;
        match sys::fork().step("start the supervisor of calls")? {
            Forked::Child => {
                // When it ends, the slot does.
                let _ = supervise(inside);
                sys::exit_now(1)
            }
            Forked::Parent(process) => Ok(Supervisor { process, socket }),
        }
    }

    /// Whether the host lets it answer.
    pub(super) fn is_able(&self) -> Result<bool, LayerFailure> {
        let mut word = [0];
        match nix::unistd::read(&self.socket, &mut word).step("hear of the supervisor of calls")? {
            0 => Err(Errno::ECHILD).step("hear of the supervisor of calls"),
            _ => Ok(word == ABLE),
        }
    }

    /// Hands the listener over, and tries what comes of it below the filter: what is answered to this process is answered
    /// to all that it starts. Without one, the supervisor ends.
    ///
    /// Whatever comes of it, the socket does not stay: runs would see it in their network namespace.
    pub(super) fn take_up(self, listener: Option<OwnedFd>) -> Result<Option<Cloned>, LayerFailure> {
        let Some(listener) = listener else {
            drop(self.socket);
            let _ = sys::wait_for(self.process.pid);
            return Ok(None);
        };
        send_bytes(&self.socket, b"null", &[listener.as_raw_fd()]).step("hand over the listener")?;
        // Ours would keep calls waiting for ever if the supervisor ended.
        drop(listener);
        let release = nix::sys::utsname::uname().step("ask for the release")?;
        let processes = nix::sys::sysinfo::sysinfo().step("ask for the memory")?.process_count();
        match release.release() == RELEASE && processes == PROCESSES {
            true => Ok(Some(self.process)),
            false => Err(Errno::EPERM).step("find every layer in force: uname and sysinfo are not answered"),
        }
    }
}

const ABLE: [u8; 1] = [b'1'];

/// Waits for the listener, and then for calls. Returns when it cannot go on.
fn supervise(socket: OwnedFd) -> Result<(), Errno> {
    let answers = Answers::new()?;
    // The streams are empty; the first still is the helper's socket.
    sys::dup_onto(std::io::stdout().as_fd(), 0)?;
    sys::keep_only(socket.as_fd())?;
    let word = if may_write(getppid()) { ABLE } else { [b'0'] };
    nix::unistd::write(&socket, &word)?;
    let ((), descriptors) = receive_message(&socket)?;
    drop(socket);
    let [listener] = <[OwnedFd; 1]>::try_from(descriptors).map_err(|_| Errno::EPROTO)?;
    // An older kernel only takes longer.
    let _ = unotify::take_turns(listener.as_fd());
    loop {
        match unotify::receive(listener.as_fd()) {
            Ok(call) => answer(listener.as_fd(), &call, &answers),
            // Who made it was killed, or nobody is left who could make one.
            Err(Errno::ENOENT) if has_callers(listener.as_fd())? => {}
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Whether any process is still below the filter. When the last one is gone, asking for calls would return at once, for
/// ever, on the processor on which the slot is taken down. Source: Linux, `seccomp_notify_poll`, `EPOLLHUP`.
fn has_callers(listener: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut listener = [PollFd::new(listener, PollFlags::empty())];
    poll(&mut listener, PollTimeout::ZERO)?;
    let [listener] = listener;
    Ok(!listener
        .revents()
        .unwrap_or(PollFlags::empty())
        .contains(PollFlags::POLLHUP))
}

/// Whether this process may write to the memory of another, tried with what is there already. Where the place cannot be
/// written to the right comes first, so that `EFAULT` is a yes. Source: process_vm_readv(2); ptrace(2), "Ptrace access
/// mode checking".
fn may_write(to: Pid) -> bool {
    let (place, same) = (RELEASE.as_ptr() as usize, RELEASE.as_bytes());
    matches!(write_to(to, place, same), Ok(_) | Err(Errno::EFAULT))
}

fn write_to(process: Pid, base: usize, bytes: &[u8]) -> Result<usize, Errno> {
    let len = bytes.len();
    process_vm_writev(process, &[IoSlice::new(bytes)], &[RemoteIoVec { base, len }])
}

/// Answers one call. Whoever is killed meanwhile gets none.
fn answer(listener: BorrowedFd<'_>, call: &unotify::Notification, answers: &Answers) {
    let result = match answers.to(call) {
        // That the caller waits says that its number still is its own; until it is used again, thousands of processes have
        // to be started. Those of this slot alone have numbers here.
        Some(_) if !unotify::is_waiting(listener, call) => return,
        Some(bytes) => match write_to(Pid::from_raw(call.thread), call.first as usize, &bytes) {
            Ok(length) if length == bytes.len() => Ok(()),
            // As the kernel says of a place that cannot be written to. The same where a program may not be read, only run:
            // the host's memory of it is not ours to write.
            _ => Err(Errno::EFAULT),
        },
        None => Err(Errno::ENOSYS),
    };
    // It may have been killed.
    let _ = unotify::respond(listener, call, result);
}

/// How many processes `sysinfo` tells of.
const PROCESSES: u16 = 1;

/// What is answered.
struct Answers {
    started: Instant,
    uname: Vec<u8>,
}

impl Answers {
    fn new() -> Result<Self, Errno> {
        let host = nix::sys::utsname::uname()?;
        Ok(Answers {
            started: Instant::now(),
            uname: utsname(host.machine().as_encoded_bytes()),
        })
    }

    fn to(&self, call: &unotify::Notification) -> Option<Vec<u8>> {
        match call.call {
            libc::SYS_uname => Some(self.uname.clone()),
            libc::SYS_sysinfo => {
                let limit = unotify::data_limit(call.thread).unwrap_or(libc::RLIM_INFINITY);
                Some(sysinfo(self.started.elapsed().as_secs(), limit))
            }
            _ => None,
        }
    }
}

/// The bytes of `struct utsname`, in the order of its names. Source: uname(2).
fn utsname(machine: &[u8]) -> Vec<u8> {
    let names = ["Linux", HOST_NAME, RELEASE, VERSION].map(str::as_bytes);
    let names = names.into_iter().chain([machine, b"(none)"]);
    let mut bytes = vec![0; size_of::<libc::utsname>()];
    for (place, name) in bytes.chunks_mut(NAME).zip(names) {
        // The last byte stays zero.
        let length = name.len().min(place.len() - 1);
        place[..length].copy_from_slice(&name[..length]);
    }
    bytes
}

/// The bytes of `struct sysinfo`: all of the memory that a process may have is there and free. Source: sysinfo(2).
fn sysinfo(uptime: u64, limit: u64) -> Vec<u8> {
    let memory = if limit == libc::RLIM_INFINITY {
        UNLIMITED_MEMORY
    } else {
        limit
    };
    let mut bytes = vec![0; size_of::<libc::sysinfo>()];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(offset_of!(libc::sysinfo, uptime), &uptime.to_ne_bytes());
    put(offset_of!(libc::sysinfo, totalram), &memory.to_ne_bytes());
    put(offset_of!(libc::sysinfo, freeram), &memory.to_ne_bytes());
    put(offset_of!(libc::sysinfo, procs), &PROCESSES.to_ne_bytes());
    put(offset_of!(libc::sysinfo, mem_unit), &1_u32.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_where_programs_look_for_them() {
        let long = [b'x'; 100];
        for (machine, seen) in [(&b"x86_64"[..], &b"x86_64"[..]), (&long, &long[..64])] {
            let bytes = utsname(machine);
            let name = |at: usize| bytes[at..at + NAME].split(|byte| *byte == 0).next().unwrap();
            assert_eq!(name(offset_of!(libc::utsname, sysname)), b"Linux");
            assert_eq!(name(offset_of!(libc::utsname, nodename)), HOST_NAME.as_bytes());
            assert_eq!(name(offset_of!(libc::utsname, release)), RELEASE.as_bytes());
            assert_eq!(name(offset_of!(libc::utsname, version)), VERSION.as_bytes());
            assert_eq!(name(offset_of!(libc::utsname, machine)), seen);
            assert_eq!(name(offset_of!(libc::utsname, domainname)), b"(none)");
            assert_eq!(bytes.len(), 6 * NAME);
        }
    }

    #[test]
    fn the_memory_is_the_limit_or_a_constant() {
        let word = |bytes: &[u8], at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
        for (limit, told) in [(1 << 20, 1 << 20), (0, 0), (libc::RLIM_INFINITY, UNLIMITED_MEMORY)] {
            let bytes = sysinfo(7, limit);
            assert_eq!(word(&bytes, offset_of!(libc::sysinfo, uptime)), 7);
            assert_eq!(word(&bytes, offset_of!(libc::sysinfo, totalram)), told);
            assert_eq!(word(&bytes, offset_of!(libc::sysinfo, freeram)), told);
            assert_eq!(bytes.len(), size_of::<libc::sysinfo>());
        }
    }
}
