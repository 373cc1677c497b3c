//! A slot: a process that waits inside the finished root of a view and clones one run at a time from there.
//!
//! - A run inherits what is the same for all runs of the view: the root, the empty network namespace, most of the system
//!   call filter. What tells runs apart is new in each: user, mount, pid, ipc, uts and cgroup namespaces, `/proc`,
//!   everything that can be written, the keyring.
//! - The network namespace has no interface that is up and belongs to the slot's user namespace, in which no run has a
//!   capability; it is used again only after the last process of a run is gone. A run with a loopback gets one of its own.
//! - The slot keeps the limits that the kernel does not. It never reads what a command wrote and decides nothing on a
//!   command's behalf. Its supervisor answers two calls, which tell of the host, with constants.
//! - It is the first process of a pid namespace: its end is the end of everything in it.

pub(super) mod root;
mod supervisor;

use self::root::Shown;
use self::supervisor::Supervisor;
use super::cgroup::Groups;
use super::helper::{Open, receive_message};
use super::init::mounts::{OF_SLOT, lower_counts};
use super::init::{self, Step, landlock::Rules, seccomp::Filters};
use super::meter::Meter;
use super::policy::{Limits, Network};
use super::report::LimitKind;
use super::setup::{HOST_NAME, INSIDE_ID, Job, LayerFailure, Peak, ReportLine, View};
use super::sys::{self, Cloned, Forked};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// How often a running command is looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// What a slot is cloned into: everything that its runs inherit is its own.
pub(super) const NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// What a run is cloned into, besides a network namespace where it may have a loopback.
pub(super) const RUN_NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// What the parent asks a slot for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// Run this job. Sent along are the descriptors of standard output, standard error and the report.
    Run(Box<Job>),
    /// End the run at hand.
    Kill,
}

/// The descriptors of one run.
pub(super) struct Streams {
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) report: OwnedFd,
}

impl Streams {
    /// In the order in which they are sent.
    pub(super) fn from_message(descriptors: Vec<OwnedFd>) -> Option<Self> {
        let [stdout, stderr, report] = descriptors.try_into().ok()?;
        Some(Streams { stdout, stderr, report })
    }
}

/// What a slot needs to begin with.
pub(super) struct Beginning {
    /// Where it gets its view.
    pub(super) door: OwnedFd,
    pub(super) groups: Groups,
    /// One byte arrives when the helper has written the id maps; its end, when the helper is gone.
    pub(super) helper: OwnedFd,
}

/// Runs as the first process of the slot's namespaces and never returns.
pub(super) fn run(Beginning { door, groups, helper }: Beginning) -> ! {
    // What is the same for every view, while nobody waits.
    let begun = begin(&groups, File::from(helper));
    let Some((view, socket)) = receive_view(door) else {
        sys::exit_now(1)
    };
    let socket_for_refusals = socket.try_clone();
    match begun.and_then(|begun| enter(view, socket, groups, begun)) {
        Ok(mut slot) => {
            drop(socket_for_refusals);
            slot.serve();
        }
        Err(failure) => {
            if let Ok(socket) = socket_for_refusals {
                refuse(&socket, &failure);
            }
        }
    }
    sys::exit_now(0)
}

/// Waits for a view. Nothing when the helper has gone away or speaks another language.
fn receive_view(door: OwnedFd) -> Option<(View, OwnedFd)> {
    let (Open { view }, descriptors): (Open, _) = receive_message(&door).ok()?;
    let [socket] = <[OwnedFd; 1]>::try_from(descriptors).ok()?;
    Some((view, socket))
}

/// Answers every request with the reason why nothing can be run here, until the socket closes.
fn refuse(socket: &OwnedFd, failure: &LayerFailure) {
    while let Ok((request, descriptors)) = receive_message(socket) {
        if let (Request::Run(_), Some(streams)) = (request, Streams::from_message(descriptors)) {
            let mut report = File::from(streams.report);
            tell(&mut report, &ReportLine::Layer(failure.clone()));
            tell(&mut report, &ReportLine::Gone { limit: None });
        }
    }
}

struct Slot {
    view: View,
    socket: OwnedFd,
    groups: Groups,
    filters_of_runs: Filters,
    rules: Rules,
    /// The mount namespace in which the host's paths are found, for the layers of trees. No run can enter it.
    host: OwnedFd,
    /// The one that has the finished root.
    inside: OwnedFd,
    /// Who answers calls in the kernel's place, where this kernel lets anybody.
    supervisor: Option<Cloned>,
    running: Option<Running>,
}

/// What a slot has without a view.
struct Begun {
    host: OwnedFd,
    supervisor: Supervisor,
}

/// The run at hand.
pub(super) struct Running {
    pub(super) process: Cloned,
    report: File,
    deadline: Instant,
    next_sample: Instant,
    memory: u64,
    cpu_ms: u64,
    meter: Meter,
    /// The most that was seen.
    pub(super) peak: Peak,
    /// The limit for which it has to end.
    pub(super) limit: Option<LimitKind>,
}

/// Cuts what a process inherits, and finds its place. Keeps hold of the mount namespace that has the host's mounts.
fn begin(groups: &Groups, mut helper: File) -> Result<Begun, LayerFailure> {
    sys::set_parent_death_signal(Signal::SIGKILL).step("follow the helper into death")?;
    // End of file instead of a byte: the helper died before it could map us.
    helper.read_exact(&mut [0]).step("wait for the id maps")?;
    find_helper_alive(&helper)?;
    drop(helper);
    nix::unistd::setsid().step("start a session without a terminal")?;
    sys::reset_signals();
    // The usual mask, whatever the caller's was: files in the tree have the modes that git would give them.
    nix::sys::stat::umask(Mode::from_bits_truncate(0o022));
    nix::unistd::sethostname(HOST_NAME).step("set the host name")?;
    lower_counts(OF_SLOT)?;
    let supervisor = Supervisor::start()?;
    // Before any run: moving a process takes milliseconds, being born in its parent's place takes nothing.
    groups.join()?;
    let host = mount_namespace()?;
    unshare(CloneFlags::CLONE_NEWNS).step("copy the mounts")?;
    Ok(Begun { host, supervisor })
}

/// Builds the view and everything that its runs inherit. The order is the program.
fn enter(view: View, socket: OwnedFd, groups: Groups, begun: Begun) -> Result<Slot, LayerFailure> {
    let Begun { host, supervisor } = begun;
    let shown = root::build(&view)?;
    let inside = mount_namespace()?;
    // In place of the helper's streams, and from the new root: whoever reads gets the end at once.
    let null = File::options()
        .read(true)
        .write(true)
        .open("/view/dev/null")
        .step("open /dev/null")?;
    for number in 0..3 {
        sys::dup_onto(null.as_fd(), number).step("attach the standard streams")?;
    }
    drop(null);
    let rules = Rules::open(&view)?;
    let mut filters_of_runs = Filters::compile(view.memfd, shown == Shown::Apart)?;
    init::limits::no_core()?;
    nix::sys::prctl::set_no_new_privs().step("set no_new_privs")?;
    filters_of_runs.count_outer()?;
    let listener = filters_of_runs.install_on_slot(supervisor.is_able()?)?;
    let supervisor = supervisor.take_up(listener)?;
    Ok(Slot {
        view,
        socket,
        groups,
        filters_of_runs,
        rules,
        host,
        inside,
        supervisor,
        running: None,
    })
}

/// The signal at its death may have been asked for too late. It holds the other end of this pipe for as long as it lives.
fn find_helper_alive(helper: &File) -> Result<(), LayerFailure> {
    let mut pipe = [PollFd::new(helper.as_fd(), PollFlags::POLLIN)];
    match poll(&mut pipe, PollTimeout::ZERO).step("look for the helper")? {
        0 => Ok(()),
        _ => Err(Errno::ESRCH).step("find the helper alive"),
    }
}

fn mount_namespace() -> Result<OwnedFd, LayerFailure> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    nix::fcntl::open(Path::new("/proc/self/ns/mnt"), flags, Mode::empty()).step("keep hold of a mount namespace")
}

impl Slot {
    /// Serves until the socket closes.
    fn serve(&mut self) {
        loop {
            let timeout = self.running.as_ref().map(Running::next_look);
            let running = self.running.as_ref().map(|running| running.process.pidfd.as_fd());
            let supervisor = self.supervisor.as_ref().map(|process| process.pidfd.as_fd());
            let waited_for = [Some(self.socket.as_fd()), running, supervisor];
            let Ok([asked, ended, unsupervised]) = hear(waited_for, timeout) else {
                return;
            };
            // Before the limits: one that has ended by itself was not ended by a limit.
            if ended {
                self.collect();
            }
            if let Some(running) = &mut self.running
                && running.keep_limits(Instant::now(), &self.groups)
            {
                running.kill();
            }
            // Where nobody answers any more, a command could have a listener of its own.
            if unsupervised || asked && self.receive().is_err() {
                return;
            }
        }
    }

    /// Forgets a run whose first process is gone; the kernel has killed all others of its namespace before.
    fn collect(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        let _ = sys::wait_for(running.process.pid);
        // The first process may have been a victim itself, before it could tell.
        let counts = self.groups.counts();
        let starved = counts.oom_kills.unwrap_or(0) > 0;
        let limit = running.limit.or(starved.then_some(LimitKind::Memory));
        // What the group counted since the last look, which a run that was killed did not tell.
        let peak = Peak {
            memory_bytes: running.peak.memory_bytes.max(counts.memory_peak_bytes.unwrap_or(0)),
            cpu_ms: running.peak.cpu_ms.max(counts.cpu_ms.unwrap_or(0)),
            ..running.peak
        };
        if peak != running.peak {
            tell(&mut running.report, &ReportLine::Peak(peak));
        }
        tell(&mut running.report, &ReportLine::Gone { limit });
    }

    /// Takes one request. An error means that the parent is gone or speaks another language.
    fn receive(&mut self) -> Result<(), Errno> {
        let (request, descriptors) = receive_message(&self.socket)?;
        match request {
            Request::Run(job) => {
                let streams = Streams::from_message(descriptors).ok_or(Errno::EPROTO)?;
                // The report of the run before says that nothing of its command is left; here its first process has to be
                // gone as well, since what follows inherits the same network namespace and the same groups.
                if let Some(running) = &self.running {
                    let mut ended = [PollFd::new(running.process.pidfd.as_fd(), PollFlags::POLLIN)];
                    poll(&mut ended, PollTimeout::NONE)?;
                    self.collect();
                }
                self.start(&job, streams);
            }
            Request::Kill => {
                if let Some(running) = &self.running {
                    running.kill();
                }
            }
        }
        Ok(())
    }

    fn start(&mut self, job: &Job, streams: Streams) {
        let report = streams.report.try_clone().map(File::from);
        let Ok(mut report) = report else { return };
        match self.clone_run(job, streams) {
            Ok(process) => {
                let meter = Meter::new(process.pid);
                self.running = Some(Running::new(process, meter, report, &job.limits));
            }
            Err(failure) => {
                tell(&mut report, &ReportLine::Layer(failure));
                tell(&mut report, &ReportLine::Gone { limit: None });
            }
        }
    }

    fn clone_run(&mut self, job: &Job, streams: Streams) -> Result<Cloned, LayerFailure> {
        let layers = self.layers(job)?;
        self.groups.prepare(&job.limits)?;
        // The mapped id owns its streams, as it would own a terminal: otherwise `/dev/stdout` cannot be opened for a
        // caller that is root, whose own id the pipes have.
        for stream in [&streams.stdout, &streams.stderr] {
            let id = INSIDE_ID;
            nix::unistd::fchown(stream, Some(id.into()), Some(id.into())).step("hand over an output stream")?;
        }
        let (mapped, map) = nix::unistd::pipe2(OFlag::O_CLOEXEC).step("make a pipe")?;
        let namespaces = match job.network {
            Network::None => RUN_NAMESPACES,
            Network::Loopback => RUN_NAMESPACES | libc::CLONE_NEWNET,
        };
        match sys::clone3(namespaces, self.groups.birthplace()).step("create namespaces")? {
            Forked::Child => {
                drop(map);
                init::run(init::Start {
                    view: &self.view,
                    job,
                    rules: &self.rules,
                    filters: &self.filters_of_runs,
                    groups: &self.groups,
                    layers,
                    streams,
                    mapped,
                    not_ours: [&self.socket, &self.host, &self.inside]
                        .into_iter()
                        .chain(self.supervisor.as_ref().map(|process| &process.pidfd))
                        .map(AsFd::as_fd)
                        .collect(),
                })
            }
            Forked::Parent(process) => {
                let admitted = map_ids(process.pid, &[(); 2].map(|()| format!("{INSIDE_ID} {INSIDE_ID} 1")))
                    .and_then(|()| nix::unistd::write(&map, b"1").step("let the run begin"));
                if let Err(failure) = admitted {
                    // Nothing runs in it yet: it waits for the byte, sees end of file and ends.
                    drop(map);
                    let _ = sys::wait_for(process.pid);
                    return Err(failure);
                }
                Ok(process)
            }
        }
    }

    /// Detached mounts of the layers of a tree, taken from the host's mounts.
    fn layers(&self, job: &Job) -> Result<Vec<OwnedFd>, LayerFailure> {
        if job.layers.is_empty() {
            return Ok(Vec::new());
        }
        setns(&self.host, CloneFlags::CLONE_NEWNS).step("look for the tree")?;
        let attributes = sys::MOUNT_RDONLY | sys::MOUNT_NOSUID | sys::MOUNT_NODEV;
        let taken = job.layers.iter().map(|layer| {
            let fd = root::open_pinned(layer)?;
            root::copy_of_mount(fd.as_fd(), attributes, false).step("take a layer of the tree")
        });
        let layers: Result<Vec<OwnedFd>, LayerFailure> = taken.collect();
        // Whatever came of it: nothing may be cloned from anywhere else than the finished root.
        setns(&self.inside, CloneFlags::CLONE_NEWNS).step("come back from the host's mounts")?;
        layers
    }
}

impl Running {
    pub(super) fn new(process: Cloned, meter: Meter, report: File, limits: &Limits) -> Self {
        let now = Instant::now();
        Running {
            process,
            report,
            deadline: now + limits.wall,
            next_sample: now + SAMPLE_EVERY,
            memory: limits.memory.0,
            cpu_ms: limits.cpu.as_millis() as u64,
            meter,
            peak: Peak::default(),
            limit: None,
        }
    }

    fn kill(&self) {
        // It may have ended in between; then there is nothing to kill.
        let _ = rustix::process::pidfd_send_signal(&self.process.pidfd, rustix::process::Signal::KILL);
    }

    /// Looks at what the run uses. Answers whether it has come to be over a limit that is kept here, and has to be ended.
    pub(super) fn keep_limits(&mut self, now: Instant, groups: &Groups) -> bool {
        if self.limit.is_some() {
            return false;
        }
        if now >= self.deadline {
            self.limit = Some(LimitKind::Wall);
        } else if now >= self.next_sample {
            self.next_sample = now + SAMPLE_EVERY;
            self.limit = self.sample(groups);
        }
        self.limit.is_some()
    }

    fn sample(&mut self, groups: &Groups) -> Option<LimitKind> {
        let counts = groups.counts();
        let now = match (groups.memory(), groups.processes(), counts.cpu_ms) {
            (Some(memory_bytes), Some(processes), Some(cpu_ms)) => Peak {
                memory_bytes,
                processes,
                cpu_ms,
            },
            // To look at each process takes long when there are many, and meanwhile nothing is reaped.
            (memory_bytes, processes, cpu_ms) => {
                let seen = self.meter.sample();
                Peak {
                    memory_bytes: memory_bytes.unwrap_or(seen.memory_bytes),
                    processes: processes.unwrap_or(seen.processes),
                    cpu_ms: cpu_ms.unwrap_or(seen.cpu_ms),
                }
            }
        };
        let peak = Peak {
            memory_bytes: self.peak.memory_bytes.max(now.memory_bytes),
            processes: self.peak.processes.max(now.processes),
            cpu_ms: self.peak.cpu_ms.max(now.cpu_ms),
        };
        if peak != self.peak {
            self.peak = peak;
            tell(&mut self.report, &ReportLine::Peak(peak));
        }
        // A group ends one process of several; the command as a whole is over its limit.
        let starved = counts.oom_kills.unwrap_or(0) > 0;
        // Reserved by a sum that counts shared pages more than once, so what it finds is looked at again.
        let over = groups.memory().is_none() && {
            let room = self.memory.saturating_sub(self.meter.socket_bytes());
            now.memory_bytes > room && self.meter.exceeds(room)
        };
        if starved || over {
            Some(LimitKind::Memory)
        } else if peak.cpu_ms > self.cpu_ms {
            Some(LimitKind::Cpu)
        } else {
            None
        }
    }

    /// How long nothing needs to be looked at.
    pub(super) fn next_look(&self) -> Duration {
        let look = match self.limit {
            // It has been killed; its end wakes us.
            Some(_) => return Duration::from_secs(60),
            None => self.deadline.min(self.next_sample),
        };
        look.saturating_duration_since(Instant::now())
    }
}

/// The maps of user and group ids for a slot: one id for its runs, and that of root besides when the caller is root. With
/// it a slot reaches root's directories; its runs never have it. Source: user_namespaces(7), "User and group ID mappings".
pub(super) fn id_maps(uid: u32, gid: u32) -> [String; 2] {
    let is_root = nix::unistd::geteuid().is_root();
    [uid, gid].map(|id| {
        // Not twice, where root is the only id that there is.
        let root = if is_root && id != 0 { "0 0 1\n" } else { "" };
        format!("{root}{INSIDE_ID} {id} 1")
    })
}

/// Maps the ids of a process that was cloned into a user namespace.
pub(super) fn map_ids(pid: i32, [uid_map, gid_map]: &[String; 2]) -> Result<(), LayerFailure> {
    let write = |file: &str, content: &str| {
        std::fs::write(format!("/proc/{pid}/{file}"), content).step(format!("write the sandbox's {file}"))
    };
    write("setgroups", "deny")?;
    write("uid_map", uid_map)?;
    write("gid_map", gid_map)
}

/// Writes one line of a report.
pub(super) fn tell(to: &mut File, line: &impl Serialize) {
    if let Ok(mut bytes) = serde_json::to_vec(line) {
        bytes.push(b'\n');
        // A parent that has gone away does not read; its runs are about to be killed.
        let _ = to.write_all(&bytes);
    }
}

/// Waits until one of those that are there has something to tell, or the time is over. Says who has.
fn hear<const N: usize>(from: [Option<BorrowedFd<'_>>; N], timeout: Option<Duration>) -> Result<[bool; N], Errno> {
    let there = from.iter().flatten();
    let mut fds: Vec<PollFd<'_>> = there.map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    match poll(&mut fds, poll_timeout(timeout)) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno),
    }
    let mut heard = fds.iter().map(|fd| fd.any().unwrap_or(false));
    Ok(from.map(|fd| fd.is_some() && heard.next().unwrap_or(false)))
}

pub(super) fn poll_timeout(wait: Option<Duration>) -> PollTimeout {
    let Some(wait) = wait else { return PollTimeout::NONE };
    // Rounded up: waking a moment early would only mean to sleep again.
    let milliseconds = wait.as_millis().saturating_add(1).min(60_000);
    PollTimeout::try_from(milliseconds as i32).unwrap_or(PollTimeout::MAX)
}
