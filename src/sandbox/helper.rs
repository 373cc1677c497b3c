//! The resident helper: one thread, started once, which makes slots and watches over them.
//!
//! - The socket on its standard input is its only master: when that closes, every slot dies, with all that runs in it,
//!   and the helper ends.
//! - It keeps one spare slot, made while nobody waits: a network namespace and, with cgroup version 1, a move into groups
//!   are the slowest steps of all.
//! - It is outside of every sandbox: only it makes and removes control groups and maps ids.
//! - Runs do not pass through it: each slot has a socket of its own to the parent.

use super::cgroup::{Groups, Parents};
use super::identity::host_ids;
use super::init::Step;
use super::setup::{LayerFailure, View};
use super::slot::{self, tell};
use super::sys::{self, Cloned, Forked};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recv, recvmsg, sendmsg,
    socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

/// The hidden subcommand by which this project's binary becomes the helper.
pub(super) const SUBCOMMAND: &str = "sandbox-init";

/// The longest request: well below what a message on a socket with default buffers may hold.
/// Source: socket(7), `wmem_default` (212,992), half of which the kernel counts for itself.
pub(super) const LONGEST_REQUEST: usize = 100_000;

/// The most descriptors that come with a request.
const MOST_DESCRIPTORS: usize = 3;

/// What the parent asks for: a slot for this view. The helper passes it on as it is. Sent along are the slot's end of a
/// socket to the parent, on which runs are asked for, and the writing end of a pipe for the [`DeathNote`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) view: View,
}

/// What the helper says of a slot that is gone: a slot can be killed for what its run used, and then says nothing itself.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct DeathNote {
    /// Whether the kernel killed processes in its control group for want of memory.
    pub(super) starved: bool,
    /// Why there never was a slot.
    pub(super) failure: Option<LayerFailure>,
}

/// A slot that has not ended.
struct Slot {
    process: Cloned,
    /// Never used again, only closed by our death: from it the slot knows that we live.
    _life: OwnedFd,
    groups: Groups,
    /// Where its death is noted, once somebody has it.
    note: Option<File>,
}

/// A slot that nobody has yet. What is the same for every view is done while nobody waits for it.
struct Spare {
    slot: Slot,
    /// Where it waits for its view.
    door: OwnedFd,
}

/// How long the helper has to be idle before it makes a spare slot: a program that runs one command pays for one.
const IDLE: Duration = Duration::from_millis(20);

/// Serves the socket on standard input until it closes. Never returns.
pub(super) fn serve() -> ! {
    serve_on(sys::take_stdin())
}

/// Becomes the helper in a copy of a program that has hardly begun. Says so with one message, without which the caller has
/// to do with a helper that is started as a program.
pub(super) fn serve_in_copy(socket: OwnedFd) -> ! {
    match let_go_of_caller(&socket).and_then(|()| send_bytes(&socket, b"1", &[])) {
        Ok(()) => serve_on(socket),
        Err(_) => sys::exit_now(1),
    }
}

/// What a start as a program does: no words, no streams, no other descriptor and no directory of the caller's.
fn let_go_of_caller(socket: &OwnedFd) -> Result<(), Errno> {
    sys::forget_words()?;
    let null = nix::fcntl::open("/dev/null", nix::fcntl::OFlag::O_RDWR, nix::sys::stat::Mode::empty())?;
    for number in 0..3 {
        sys::dup_onto(null.as_fd(), number)?;
    }
    // Among them the one just opened, for whose owner this is the end of the process.
    std::mem::forget(null);
    sys::keep_only(socket.as_fd())?;
    nix::unistd::chdir("/")
}

fn serve_on(socket: OwnedFd) -> ! {
    // By this name it is found among the processes, and so are its slots: they are copies of it.
    let _ = nix::sys::prctl::set_name(c"sandbox-init");
    // What is meant for a group of processes is heard by the caller, who ends us in order: its socket is our only master.
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        sys::ignore(signal);
    }
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
        spare: None,
        wants_spare: false,
    };
    // The first is wanted soon, or nobody would have started us. What is in its way is told when it is asked for.
    helper.spare = helper.make_slot(&[]).ok();
    helper.serve();
    helper.end()
}

struct Helper {
    socket: OwnedFd,
    parents: Parents,
    made: u64,
    slots: Vec<Slot>,
    spare: Option<Spare>,
    wants_spare: bool,
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
            let patience = self.wants_spare.then_some(IDLE);
            let heard = match poll(&mut fds, slot::poll_timeout(patience)) {
                Ok(heard) => heard > 0,
                Err(Errno::EINTR) => true,
                Err(_) => return,
            };
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
            if !heard && self.wants_spare {
                // Where none can be made, the next that is asked for will say why.
                self.spare = self.make_slot(&[]).ok();
                self.wants_spare = false;
            }
            self.collect(&ready[1..]);
            if ready[0] && self.receive().is_err() {
                return;
            }
        }
    }

    /// Everything in a slot dies with its first process; waiting makes sure that nothing outlives us.
    fn end(mut self) -> ! {
        let spare = self.spare.take().map(|spare| spare.slot);
        let slots: Vec<Slot> = self.slots.drain(..).chain(spare).collect();
        slots.iter().for_each(Slot::kill);
        slots.iter().for_each(Slot::end);
        sys::exit_now(0)
    }

    /// Forgets the slots that ended, and removes what was made for them.
    fn collect(&mut self, ended: &[bool]) {
        let mut ended = ended.iter();
        self.slots.retain_mut(|slot| {
            if !ended.next().copied().unwrap_or(false) {
                return true;
            }
            let _ = sys::wait_for(slot.process.pid);
            if let Some(note) = &mut slot.note {
                let starved = slot.groups.counts().oom_kills.unwrap_or(0) > 0;
                tell(note, &DeathNote { starved, failure: None });
            }
            slot.groups.remove();
            false
        });
    }

    /// Takes one request. An error means that the parent is gone or speaks another language.
    fn receive(&mut self) -> Result<(), Errno> {
        let (request, mut descriptors) = receive_bytes(&self.socket)?;
        let note = descriptors.pop().ok_or(Errno::EPROTO)?;
        let mut note = File::from(note);
        self.wants_spare = true;
        let spare = self.spare.take();
        let handed_over = spare.and_then(|spare| hand_over(spare, &request, &descriptors).ok());
        let handed_over = match handed_over {
            Some(slot) => Ok(slot),
            // There was none, or it has been killed in the meantime.
            None => {
                let open: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).chain([note.as_fd()]).collect();
                self.make_slot(&open)
                    .and_then(|spare| hand_over(spare, &request, &descriptors))
            }
        };
        match handed_over {
            Ok(slot) => self.slots.push(Slot {
                note: Some(note),
                ..slot
            }),
            Err(failure) => tell(
                &mut note,
                &DeathNote {
                    failure: Some(failure),
                    ..DeathNote::default()
                },
            ),
        }
        Ok(())
    }

    /// Clones a slot, which does what needs no view and then waits at its door. What else this process has open at the
    /// moment is closed in it: a copy of a stream would keep the stream from ever ending.
    fn make_slot(&mut self, open: &[BorrowedFd<'_>]) -> Result<Spare, LayerFailure> {
        self.made += 1;
        let groups = self.parents.make(self.made);
        let maps = host_ids().map(|(uid, gid)| slot::id_maps(uid, gid));
        let maps = maps.ok_or(Errno::EPERM).step("find an id for the sandbox")?;
        let (helper, life) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).step("make a pipe")?;
        let (door, inside) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).step("make a socket")?;
        match sys::clone3(slot::NAMESPACES, None)
            .inspect_err(|_| groups.remove())
            .step("create namespaces")?
        {
            Forked::Child => {
                // Our copy of the writing end would keep the pipe open after the helper's death. What belongs to other slots
                // is not for this one.
                drop((life, door));
                sys::close_for_good(open);
                if self.socket.as_raw_fd() > 2 {
                    // The way to the parent is not for slots. As standard input it is replaced when the view is entered.
                    sys::close_for_good(&[self.socket.as_fd()]);
                }
                self.slots.clear();
                self.spare = None;
                slot::run(slot::Beginning {
                    door: inside,
                    groups,
                    helper,
                })
            }
            Forked::Parent(process) => {
                let mapped = slot::map_ids(process.pid, &maps);
                let slot = Slot {
                    process,
                    _life: life,
                    groups,
                    note: None,
                };
                match mapped.and_then(|()| nix::unistd::write(&slot._life, b"1").step("let the slot begin")) {
                    Ok(_) => Ok(Spare { slot, door }),
                    Err(failure) => {
                        // Nothing runs in it yet: it waits for the byte.
                        slot.end();
                        Err(failure)
                    }
                }
            }
        }
    }
}

impl Slot {
    /// Kills it, waits for it, and removes what was made for it.
    fn end(&self) {
        self.kill();
        let _ = sys::wait_for(self.process.pid);
        self.groups.remove();
    }

    fn kill(&self) {
        // It may have ended in between; then there is nothing to kill.
        let _ = rustix::process::pidfd_send_signal(&self.process.pidfd, rustix::process::Signal::KILL);
    }
}

/// Gives a spare slot its view and its first run.
fn hand_over(Spare { slot, door }: Spare, request: &[u8], descriptors: &[OwnedFd]) -> Result<Slot, LayerFailure> {
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    match send_bytes(&door, request, &numbers) {
        Ok(()) => Ok(slot),
        Err(errno) => {
            slot.end();
            Err(errno).step("reach a slot")
        }
    }
}

/// Sends the bytes of one message, and descriptors along.
pub(super) fn send_bytes(socket: &OwnedFd, bytes: &[u8], descriptors: &[RawFd]) -> Result<(), Errno> {
    let rights = [ControlMessage::ScmRights(descriptors)];
    let rights = if descriptors.is_empty() { &[][..] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], rights, flags, None).map(drop)
}

/// Takes one message with the descriptors that came along.
pub(super) fn receive_message<T: DeserializeOwned>(socket: &OwnedFd) -> Result<(T, Vec<OwnedFd>), Errno> {
    let (bytes, descriptors) = receive_bytes(socket)?;
    let message = serde_json::from_slice(&bytes).map_err(|_| Errno::EPROTO)?;
    Ok((message, descriptors))
}

/// Takes the bytes of one message. One without a byte says that the other side is gone.
pub(super) fn receive_bytes(socket: &OwnedFd) -> Result<(Vec<u8>, Vec<OwnedFd>), Errno> {
    // Its length first: a buffer for the longest is a hundred kilobytes to be cleared. Source: recv(2), `MSG_TRUNC`.
    let length = recv(socket.as_raw_fd(), &mut [], MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC)?;
    let mut buffer = vec![0; length.min(LONGEST_REQUEST)];
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
    buffer.truncate(length);
    Ok((buffer, descriptors))
}
