//! The resident helper: one thread, started once, which makes a sandbox per request and watches over all of them.
//!
//! - The socket on its standard input is its only master: when that closes, every sandbox dies and it ends.
//! - It keeps the limits that the kernel does not: time from start to end, and memory of all processes together.
//! - It never reads what a command wrote and decides nothing on a command's behalf.

use super::init::{self, seccomp};
use super::meter;
use super::report::LimitKind;
use super::setup::{HOST_ID_FOR_ROOT, INSIDE_ID, LayerFailure, ReportLine, Setup};
use super::sys::{self, Cloned, Forked};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{IoSliceMut, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// The hidden subcommand by which this project's binary becomes the helper.
pub(super) const SUBCOMMAND: &str = "sandbox-init";

/// How often the memory of a running sandbox is looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// What the parent asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// Run the setup in the first descriptor sent along; the others are standard output, standard error and the report.
    Run(u64),
    /// End that run.
    Kill(u64),
}

/// All seven kinds that a process can be given at birth.
const NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// A sandbox that has not ended.
struct Running {
    id: u64,
    process: Cloned,
    /// Closes when the helper dies, by which a sandbox that is still being built knows.
    _lifeline: OwnedFd,
    report: File,
    deadline: Instant,
    memory: u64,
    next_sample: Instant,
    limit: Option<LimitKind>,
}

impl Running {
    fn kill(&self) {
        // It may have ended in between; then there is nothing to kill.
        let _ = rustix::process::pidfd_send_signal(&self.process.pidfd, rustix::process::Signal::KILL);
    }

    /// Ends the sandbox when it is over one of the limits that are kept here.
    fn keep_limits(&mut self, now: Instant) {
        if self.limit.is_some() {
            return;
        }
        if now >= self.deadline {
            self.limit = Some(LimitKind::Wall);
        } else if now >= self.next_sample {
            self.next_sample = now + SAMPLE_EVERY;
            if meter::exceeds(self.process.pid, self.memory) {
                self.limit = Some(LimitKind::Memory);
            }
        }
        if self.limit.is_some() {
            self.kill();
        }
    }

    fn next_look(&self) -> Instant {
        if self.limit.is_some() {
            self.deadline + Duration::from_secs(3600)
        } else {
            self.deadline.min(self.next_sample)
        }
    }
}

/// Serves until the socket closes. Never returns.
pub(super) fn serve() -> ! {
    let socket = sys::take_stdin();
    if nix::unistd::geteuid().is_root() {
        // Membership in groups such as `docker` would follow into every sandbox: it cannot be dropped in there.
        // Without the right to do so, root inside a container, there is nothing to be dropped that it could use.
        let _ = nix::unistd::setgroups(&[]);
    }
    let mut helper = Helper {
        socket,
        running: Vec::new(),
        filters: Vec::new(),
    };
    helper.serve();
    // The namespaces die with their first processes; waiting makes sure that nothing outlives us.
    helper.running.iter().for_each(Running::kill);
    for run in &helper.running {
        let _ = sys::wait_for(run.process.pid);
    }
    sys::exit_now(0)
}

struct Helper {
    socket: OwnedFd,
    running: Vec<Running>,
    /// Compiled once for each choice that profiles have.
    filters: Vec<(bool, seccomp::Filters)>,
}

impl Helper {
    fn serve(&mut self) {
        loop {
            let now = Instant::now();
            let timeout = self
                .running
                .iter()
                .map(Running::next_look)
                .min()
                .map(|look| look.saturating_duration_since(now));
            let mut fds = vec![PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            fds.extend(
                self.running
                    .iter()
                    .map(|run| PollFd::new(run.process.pidfd.as_fd(), PollFlags::POLLIN)),
            );
            match poll(&mut fds, poll_timeout(timeout)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return,
            }
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
            let now = Instant::now();
            self.running.iter_mut().for_each(|run| run.keep_limits(now));
            self.collect(&ready[1..]);
            if ready[0] && self.receive().is_err() {
                return;
            }
        }
    }

    /// Reports the sandboxes that ended and forgets them.
    fn collect(&mut self, ended: &[bool]) {
        let mut ended = ended.iter();
        self.running.retain_mut(|run| {
            if !ended.next().copied().unwrap_or(false) {
                return true;
            }
            // The first process is gone, so the kernel has killed all others of its namespace.
            let _ = sys::wait_for(run.process.pid);
            report(&mut run.report, &ReportLine::Gone { limit: run.limit });
            false
        });
    }

    /// Takes one request. An error means that the parent is gone or speaks another language.
    fn receive(&mut self) -> Result<(), Errno> {
        let (request, descriptors) = receive_message(&self.socket)?;
        match (request, <[OwnedFd; 4]>::try_from(descriptors)) {
            (Request::Run(id), Ok(descriptors)) => self.run(id, descriptors),
            (Request::Kill(id), _) => {
                self.running.iter().filter(|run| run.id == id).for_each(Running::kill);
                Ok(())
            }
            (Request::Run(_), Err(_)) => Err(Errno::EPROTO),
        }
    }

    fn run(&mut self, id: u64, [setup, stdout, stderr, report_to]: [OwnedFd; 4]) -> Result<(), Errno> {
        let setup = read_setup(setup)?;
        let mut report_to = File::from(report_to);
        match self.start(&setup, stdout, stderr, &report_to) {
            Ok((process, lifeline)) => {
                let now = Instant::now();
                self.running.push(Running {
                    id,
                    process,
                    _lifeline: lifeline,
                    report: report_to,
                    deadline: now + setup.limits.wall,
                    memory: setup.limits.memory.0,
                    next_sample: now + SAMPLE_EVERY,
                    limit: None,
                });
            }
            Err(failure) => {
                report(&mut report_to, &ReportLine::Layer(failure));
                report(&mut report_to, &ReportLine::Gone { limit: None });
            }
        }
        Ok(())
    }

    fn start(
        &mut self,
        setup: &Setup,
        stdout: OwnedFd,
        stderr: OwnedFd,
        report: &File,
    ) -> Result<(Cloned, OwnedFd), LayerFailure> {
        let refused = |step: &str| {
            let step = step.to_owned();
            move |errno: Errno| LayerFailure {
                step,
                errno: errno as i32,
            }
        };
        let position = match self.filters.iter().position(|(memfd, _)| *memfd == setup.memfd) {
            Some(position) => position,
            None => {
                self.filters
                    .push((setup.memfd, seccomp::Filters::compile(setup.memfd)?));
                self.filters.len() - 1
            }
        };
        let filters = &self.filters[position].1;
        let report = report
            .try_clone()
            .map_err(|_| refused("copy the report channel")(Errno::EMFILE))?;
        let (mapped, map) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(refused("make a pipe"))?;
        match sys::clone3(NAMESPACES).map_err(refused("create namespaces"))? {
            Forked::Child => {
                // Our copy of the writing end would keep the pipe open after the helper's death.
                drop(map);
                init::run(
                    setup,
                    filters,
                    init::Channels {
                        stdout,
                        stderr,
                        report: report.into(),
                        mapped,
                    },
                )
            }
            Forked::Parent(process) => {
                if let Err(failure) = map_ids(process.pid, setup) {
                    // Nothing runs in it yet: it waits for the byte, sees end of file and ends.
                    drop(map);
                    let _ = sys::wait_for(process.pid);
                    return Err(failure);
                }
                let _ = nix::unistd::write(&map, b"1");
                Ok((process, map))
            }
        }
    }
}

/// Maps the one id inside to the one outside. Source: user_namespaces(7), "User and group ID mappings".
fn map_ids(pid: i32, setup: &Setup) -> Result<(), LayerFailure> {
    let write = |file: &str, content: String| {
        std::fs::write(format!("/proc/{pid}/{file}"), content).map_err(|error| LayerFailure {
            step: format!("write the sandbox's {file}"),
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        })
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("{INSIDE_ID} {} 1", setup.host_uid))?;
    write("gid_map", format!("{INSIDE_ID} {} 1", setup.host_gid))
}

/// The host's ids behind the one inside: the caller's own, but never root's.
pub(super) fn host_ids() -> (u32, u32) {
    match (nix::unistd::geteuid(), nix::unistd::getegid()) {
        (uid, _) if uid.is_root() => (HOST_ID_FOR_ROOT, HOST_ID_FOR_ROOT),
        (uid, gid) => (uid.as_raw(), gid.as_raw()),
    }
}

fn report(to: &mut File, line: &ReportLine) {
    if let Ok(mut bytes) = serde_json::to_vec(line) {
        bytes.push(b'\n');
        // A parent that has gone away does not read; its runs are about to be killed.
        let _ = to.write_all(&bytes);
    }
}

fn read_setup(descriptor: OwnedFd) -> Result<Setup, Errno> {
    let mut file = File::from(descriptor);
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .map_err(|_| Errno::EIO)?;
    serde_json::from_slice(&bytes).map_err(|_| Errno::EPROTO)
}

fn receive_message(socket: &OwnedFd) -> Result<(Request, Vec<OwnedFd>), Errno> {
    let mut buffer = [0; 256];
    let mut control = nix::cmsg_space!([RawFd; 4]);
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

fn poll_timeout(wait: Option<Duration>) -> PollTimeout {
    let Some(wait) = wait else { return PollTimeout::NONE };
    // Rounded up: waking a moment early would only mean to sleep again.
    let milliseconds = wait.as_millis().saturating_add(1).min(60_000);
    PollTimeout::try_from(milliseconds as i32).unwrap_or(PollTimeout::MAX)
}
