//! The helper as its parent holds it: how it comes to be, and how it ends.
//!
//! - A program that embeds the sandbox has threads, and no usable copy can be made of it: there the helper is this
//!   project's program, started anew.
//! - This project's own `main` can leave a copy of itself behind before it does anything else. That spares a second start of
//!   the program, and the helper makes its first slot while the command line is still being read.

use super::helper;
use super::probe;
use super::sys::{self, Cloned, Forked};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use rustix::process::{Signal, pidfd_send_signal};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

/// How long the helper may take to begin, and to end, in milliseconds.
const PATIENCE: u16 = 5000;

/// A running helper. Dropping it ends the helper, and with it every slot and every command.
#[derive(Debug)]
pub(crate) struct Resident {
    /// Closed before the helper is waited for: that is what ends it.
    socket: Option<OwnedFd>,
    process: Cloned,
}

impl Resident {
    /// Starts `program`, which is this project's own, by the hidden subcommand.
    ///
    /// It inherits no environment, so that no key of the caller can be found in it.
    pub(super) fn start(program: &Path) -> io::Result<Self> {
        let (ours, theirs) = pair()?;
        let mut command = Command::new(program);
        command
            .arg(helper::SUBCOMMAND)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = probe::spawn(&mut command)?;
        let process = Cloned::of(child.id() as i32).inspect_err(|_| {
            drop(child.kill());
            drop(child.wait());
        })?;
        Ok(Resident {
            socket: Some(ours),
            process,
        })
    }

    /// Leaves a copy of this process behind that becomes the helper, and waits until it has overwritten and closed all that
    /// it had of the caller. Nothing where it could not, and in a process that has several threads.
    pub(crate) fn fork() -> Option<Self> {
        if std::fs::read_dir("/proc/self/task").ok()?.count() != 1 {
            return None;
        }
        let (ours, theirs) = pair().ok()?;
        let process = match sys::fork().ok()? {
            Forked::Child => {
                drop(ours);
                helper::serve_in_copy(theirs)
            }
            Forked::Parent(process) => process,
        };
        drop(theirs);
        // To wait also gives it a processor: a kernel may leave a copy on the one that its parent goes on using.
        let mut said = [PollFd::new(ours.as_fd(), PollFlags::POLLIN)];
        let is_said = poll(&mut said, PollTimeout::from(PATIENCE)).is_ok_and(|count| count > 0);
        let has_let_go = is_said && helper::receive_bytes(&ours).is_ok();
        let resident = Resident {
            socket: Some(ours),
            process,
        };
        has_let_go.then_some(resident)
    }

    /// Where it is asked for slots.
    pub(super) fn socket(&self) -> Option<&OwnedFd> {
        self.socket.as_ref()
    }

    /// Waits for its end, but not for ever.
    fn ends_soon(&self) -> bool {
        let mut ended = [PollFd::new(self.process.pidfd.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut ended, PollTimeout::from(PATIENCE)) {
                Err(Errno::EINTR) => {}
                answer => return answer.is_ok_and(|count| count > 0),
            }
        }
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        drop(self.socket.take());
        // It kills and waits for what still runs, then ends. One that does not is killed, which takes its slots along,
        // since their first processes follow it into death.
        if !self.ends_soon() {
            // It may have ended in between; then there is nothing to kill.
            let _ = pidfd_send_signal(&self.process.pidfd, Signal::KILL);
        }
        let _ = sys::wait_for(self.process.pid);
    }
}

/// The two ends of a socket that keeps messages apart.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?)
}
