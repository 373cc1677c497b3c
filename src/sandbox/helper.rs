//! The resident helper: one thread, started once, which makes slots and watches over them.
//!
//! - The socket on its standard input is its only master: when that closes, every slot dies, with all that runs in it,
//!   and the helper ends.
//! - It is outside of every sandbox: only it makes and removes control groups and maps ids.
//! - Runs do not pass through it: each slot has a socket of its own to the parent.

use super::cgroup::{Groups, Parents};
use super::init::Step;
use super::setup::{Job, LayerFailure, ReportLine, View};
use super::slot::{self, Beginning, Streams, tell};
use super::sys::{self, Cloned, Forked};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// The hidden subcommand by which this project's binary becomes the helper.
pub(super) const SUBCOMMAND: &str = "sandbox-init";

/// The longest request: well below what a message on a socket with default buffers may hold.
/// Source: socket(7), `wmem_default` (212,992), half of which the kernel counts for itself.
pub(super) const LONGEST_REQUEST: usize = 100_000;

/// The most descriptors that come with a request.
const MOST_DESCRIPTORS: usize = 4;

/// What the parent asks the helper for: a slot for this view, and this job as its first run. Sent along are the slot's end
/// of a socket to the parent and the descriptors of the run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) view: View,
    pub(super) job: Job,
}

/// A slot that has not ended.
struct Slot {
    process: Cloned,
    /// Never used again, only closed by our death: from it the slot knows that we live.
    _life: OwnedFd,
    groups: Groups,
}

/// Serves until the socket closes. Never returns.
pub(super) fn serve() -> ! {
    let socket = sys::take_stdin();
    if nix::unistd::geteuid().is_root() {
        // Membership in groups such as `docker` would follow into every sandbox: it cannot be dropped in there.
        // Without the right to do so, root inside a container, there is nothing to be dropped that it could use.
        let _ = nix::unistd::setgroups(&[]);
    }
    // A message whose descriptors find no room would end everything.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
    let mut helper = Helper {
        socket,
        parents: Parents::find(),
        made: 0,
        slots: Vec::new(),
    };
    helper.serve();
    // Everything in a slot dies with its first process; waiting makes sure that nothing outlives us.
    for slot in &helper.slots {
        let _ = rustix::process::pidfd_send_signal(&slot.process.pidfd, rustix::process::Signal::KILL);
    }
    for slot in &helper.slots {
        let _ = sys::wait_for(slot.process.pid);
        slot.groups.remove();
    }
    sys::exit_now(0)
}

struct Helper {
    socket: OwnedFd,
    parents: Parents,
    made: u64,
    slots: Vec<Slot>,
}

impl Helper {
    fn serve(&mut self) {
        loop {
            let mut fds = vec![PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            fds.extend(
                self.slots
                    .iter()
                    .map(|slot| PollFd::new(slot.process.pidfd.as_fd(), PollFlags::POLLIN)),
            );
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return,
            }
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
            self.collect(&ready[1..]);
            if ready[0] && self.receive().is_err() {
                return;
            }
        }
    }

    /// Forgets the slots that ended, and removes what was made for them.
    fn collect(&mut self, ended: &[bool]) {
        let mut ended = ended.iter();
        self.slots.retain(|slot| {
            if !ended.next().copied().unwrap_or(false) {
                return true;
            }
            let _ = sys::wait_for(slot.process.pid);
            slot.groups.remove();
            false
        });
    }

    /// Takes one request. An error means that the parent is gone or speaks another language.
    fn receive(&mut self) -> Result<(), Errno> {
        let (Open { view, job }, mut descriptors) = receive_message(&self.socket)?;
        if descriptors.is_empty() {
            return Err(Errno::EPROTO);
        }
        let socket = descriptors.remove(0);
        let streams = Streams::from_message(descriptors).ok_or(Errno::EPROTO)?;
        self.open(view, job, socket, streams);
        Ok(())
    }

    /// Makes a slot and has it start its first run; what is in the way is told on the report of that run.
    fn open(&mut self, view: View, job: Job, socket: OwnedFd, streams: Streams) {
        self.made += 1;
        let groups = self.parents.make(self.made);
        let (helper, life, cloned) = match clone_slot() {
            Ok(made) => made,
            Err(failure) => {
                groups.remove();
                return refuse(streams, failure);
            }
        };
        match cloned {
            Forked::Child => {
                // Our copy of the writing end would keep the pipe open after the helper's death. What belongs to other slots
                // is not for this one.
                drop(life);
                self.slots.clear();
                slot::run(Beginning {
                    view,
                    socket,
                    groups,
                    helper,
                    first: (job, streams),
                })
            }
            Forked::Parent(process) => {
                match slot::map_ids(process.pid, &slot::id_maps(view.host_uid, view.host_gid)) {
                    Ok(()) => drop(nix::unistd::write(&life, b"1")),
                    Err(failure) => {
                        // Nothing runs in it yet: it waits for the byte.
                        let _ = rustix::process::pidfd_send_signal(&process.pidfd, rustix::process::Signal::KILL);
                        refuse(streams, failure);
                    }
                }
                self.slots.push(Slot {
                    process,
                    _life: life,
                    groups,
                });
            }
        }
    }
}

/// Clones a slot, with a pipe from which it knows that we live: its end, then ours.
fn clone_slot() -> Result<(OwnedFd, OwnedFd, Forked), LayerFailure> {
    let (helper, life) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).step("make a pipe")?;
    let cloned = sys::clone3(slot::NAMESPACES, None).step("create namespaces")?;
    Ok((helper, life, cloned))
}

/// Says on the report of a run that it cannot be had.
fn refuse(streams: Streams, failure: LayerFailure) {
    let mut report = File::from(streams.report);
    tell(&mut report, &ReportLine::Layer(failure));
    tell(&mut report, &ReportLine::Gone { limit: None });
}

/// Takes one message with the descriptors that came along. One without a byte says that the other side is gone.
pub(super) fn receive_message<T: DeserializeOwned>(socket: &OwnedFd) -> Result<(T, Vec<OwnedFd>), Errno> {
    let mut buffer = vec![0; LONGEST_REQUEST];
    let mut control = nix::cmsg_space!([RawFd; MOST_DESCRIPTORS]);
    let mut vectors = [IoSliceMut::new(&mut buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut vectors, Some(&mut control), flags)?;
    let length = message.bytes;
    let descriptors = message
        .cmsgs()?
        .filter_map(|control| match control {
            ControlMessageOwned::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .map(sys::take_received)
        .collect();
    if length == 0 {
        return Err(Errno::ECONNRESET);
    }
    let request = serde_json::from_slice(&buffer[..length]).map_err(|_| Errno::EPROTO)?;
    Ok((request, descriptors))
}
