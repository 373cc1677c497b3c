//! The guard of one run without namespaces: makes its private directory, starts it, watches over it, and lets nothing of
//! it remain.
//!
//! - One process for each run. It stays outside of every layer, so that no signal of the command reaches it.
//! - The socket on its standard input is its only master: when that closes, the run is ended.
//! - It adopts what the command leaves behind when its first process is gone, and is done only when it has no child any
//!   more.
//! - It never runs as a part of a threaded process: it is the hidden subcommand of this project's binary.

use super::cgroup::{Groups, Parents};
use super::helper::receive_message;
use super::identity::host_ids;
use super::init::landlock::Rules;
use super::init::mounts::Provided;
use super::init::protect::{Protected, digests};
use super::init::seccomp::Filters;
use super::init::{Step, bare, limits};
use super::meter::{Meter, descendants, parent_of};
use super::report::{Enforcer, Keepers, LimitKind};
use super::scratch::{Scratch, Used, remove_abandoned};
use super::setup::{Ended, Job, LayerFailure, ReportLine, Rung, View};
use super::slot::{Request, Running, Streams, poll_timeout, tell};
use super::sys::{self, Ending, Forked};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::Mode;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// The hidden subcommand by which this project's binary becomes the guard.
pub(super) const SUBCOMMAND: &str = "sandbox-guard";

/// How often the private directory is measured: unlike a file system of its own it has no size.
const MEASURE_EVERY: Duration = Duration::from_millis(250);

/// What the parent asks a guard for: this job in this view. Sent along are the descriptors of the run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Guarded {
    pub(super) view: View,
    pub(super) job: Job,
}

/// Serves one run. Never returns.
pub(super) fn serve() -> ! {
    let socket = sys::take_stdin();
    // Whoever asked is gone when this fails.
    let _ = guard(&socket);
    sys::exit_now(0)
}

fn guard(socket: &OwnedFd) -> Result<(), Errno> {
    let (Guarded { view, job }, descriptors) = receive_message(socket)?;
    let streams = Streams::from_message(descriptors).ok_or(Errno::EPROTO)?;
    let report = |streams: &Streams| streams.report.try_clone().map(File::from).map_err(|_| Errno::EMFILE);
    let mut last = report(&streams)?;
    let line = match run(socket, &view, &job, streams) {
        Ok(line) => line,
        Err(failure) => {
            tell(&mut last, &ReportLine::Layer(failure));
            ReportLine::Gone { limit: None }
        }
    };
    tell(&mut last, &line);
    Ok(())
}

/// Runs the job to its end and answers the last line of the report. When it returns nothing of the run is left.
fn run(socket: &OwnedFd, view: &View, job: &Job, streams: Streams) -> Result<ReportLine, LayerFailure> {
    let Rung::Bare { scratch } = &view.rung else {
        return Err(Errno::EPROTO).step("find the rung without namespaces");
    };
    let children = begin()?;
    let is_root = nix::unistd::geteuid().is_root();
    let identity = host_ids().ok_or(Errno::EPERM).step("find an id for the command")?;
    let identity = Some(identity).filter(|_| is_root);
    remove_abandoned(scratch);
    let mut scratch = Scratch::make(scratch)?;
    let tree = scratch.fill(view, job, identity)?;
    let rules = Rules::open(view)?;
    let mut filters = Filters::compile(view.memfd, true)?;
    filters.count_outer()?;
    let places = view.rung.places();
    let protected = Protected::note(&places.tree, &job.protect)?;
    let mut groups = Own(Parents::find().make(1));
    groups.0.prepare(&job.limits)?;
    let before = scratch.used();
    let started = start(view, job, &rules, &filters, &groups.0, tree, identity, streams)?;
    let mut watch = Watch {
        socket,
        children: &children,
        job,
        groups: &groups.0,
        scratch: &scratch,
        before,
        next_measure: Instant::now() + MEASURE_EVERY,
        ended: started.ended,
    };
    let mut running = started.running;
    let (ending, limit) = watch.until_over(&mut running);
    end_all(&groups.0);
    let ran = File::from(started.failed)
        .read(&mut [0])
        .is_ok_and(|length| length == 0);
    let line = match ending {
        Some(ending) if ran => ReportLine::Ended(ended(
            ending,
            &scratch,
            before,
            &groups.0,
            (&protected, &places.tree),
            job,
        )?),
        _ => ReportLine::Gone { limit },
    };
    scratch.remove()?;
    Ok(line)
}

/// Cuts what this process inherits, and has orphans come to it. Answers what becomes readable when one has ended: a zombie
/// counts as a process until it is taken.
fn begin() -> Result<SignalFd, LayerFailure> {
    nix::unistd::setsid().step("start a session without a terminal")?;
    sys::reset_signals();
    nix::sys::stat::umask(Mode::from_bits_truncate(0o022));
    if nix::unistd::geteuid().is_root() {
        // As in the helper.
        let _ = nix::unistd::setgroups(&[]);
    }
    limits::no_core()?;
    sys::become_subreaper().step("adopt what a command leaves behind")?;
    // Without it what a command leaves could not be found. Source: proc_pid_task(5), `CONFIG_PROC_CHILDREN`.
    File::open("/proc/thread-self/children").step("find the children of a process in /proc")?;
    let mut ended = SigSet::empty();
    ended.add(nix::sys::signal::Signal::SIGCHLD);
    ended.thread_block().step("hold back the signals of children")?;
    SignalFd::with_flags(&ended, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).step("hear of children that end")
}

/// Control groups that are removed when they are not needed any more.
struct Own(Groups);

impl Drop for Own {
    fn drop(&mut self) {
        self.0.remove();
    }
}

/// A run that was started.
struct Started {
    running: Running,
    /// Holds a byte when the command could not be started.
    failed: OwnedFd,
    /// Holds how the command ended, once its first process has.
    ended: File,
}

#[expect(clippy::too_many_arguments, reason = "each is one part of what a run begins with")]
fn start(
    view: &View,
    job: &Job,
    rules: &Rules,
    filters: &Filters,
    groups: &Groups,
    tree: Provided,
    identity: Option<(u32, u32)>,
    streams: Streams,
) -> Result<Started, LayerFailure> {
    for stream in [&streams.stdout, &streams.stderr] {
        if let Some((uid, gid)) = identity {
            nix::unistd::fchown(stream, Some(uid.into()), Some(gid.into())).step("hand over an output stream")?;
        }
    }
    let user = identity.map_or_else(|| nix::unistd::geteuid().as_raw(), |(uid, _)| uid);
    let others = processes_of(user);
    let pipe = || nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).step("make a pipe");
    let ((admitted, admit), (failed, fail), (ended, end)) = (pipe()?, pipe()?, pipe()?);
    let report = streams.report.try_clone().step("keep the report")?;
    match sys::fork().step("start a process")? {
        Forked::Child => {
            drop((admit, failed, ended));
            bare::run(bare::Start {
                view,
                job,
                rules,
                filters,
                keepers: keepers_here(groups),
                tree,
                identity,
                others,
                streams,
                admitted,
                ended: end,
                failed: fail,
            })
        }
        Forked::Parent(process) => {
            // Our copies would keep the streams from ending.
            drop((streams, fail, admitted, end));
            // After the fork: the command's process writes to files that a process which is not dumpable does not own.
            let let_in = sys::set_dumpable(false)
                .step("make the guard undumpable")
                .and_then(|()| groups.admit(process.pid))
                .and_then(|()| nix::unistd::write(&admit, b"1").step("let the run begin"));
            if let Err(failure) = let_in {
                // It waits for the byte, sees the end instead, and ends.
                drop(admit);
                let _ = sys::wait_for(process.pid);
                return Err(failure);
            }
            let meter = Meter::new(process.pid);
            let running = Running::new(process, meter, File::from(report), &job.limits);
            let ended = File::from(ended);
            Ok(Started { running, failed, ended })
        }
    }
}

/// Who keeps limits where ids are the host's: the kernel counts the user's other processes too, so that its limit is set far
/// above the run's own.
fn keepers_here(groups: &Groups) -> Keepers {
    let keepers = groups.keepers();
    match keepers.pids {
        Enforcer::Rlimit => Keepers {
            pids: Enforcer::Sampler,
            ..keepers
        },
        _ => keepers,
    }
}

/// What is watched while a command runs.
struct Watch<'a> {
    socket: &'a OwnedFd,
    children: &'a SignalFd,
    job: &'a Job,
    groups: &'a Groups,
    scratch: &'a Scratch,
    before: Used,
    next_measure: Instant,
    ended: File,
}

impl Watch<'_> {
    /// Waits until the command has ended or has to be: how it ended by itself, or the limit for which it has to.
    fn until_over(&mut self, running: &mut Running) -> (Option<Ending>, Option<LimitKind>) {
        loop {
            let measure = self.next_measure.saturating_duration_since(Instant::now());
            let timeout = running.next_look().min(measure);
            let mut fds = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
            ];
            if !matches!(poll(&mut fds, poll_timeout(Some(timeout))), Ok(_) | Err(Errno::EINTR)) {
                return (None, None);
            }
            let heard = fds[0].any().unwrap_or(false);
            // Only that there is something matters: several ends may be one signal.
            let _ = self.children.read_signal();
            while let Ok(Some((pid, _))) = sys::wait_ended() {
                if pid == running.process.pid {
                    return (self.ending(), None);
                }
            }
            let now = Instant::now();
            running.keep_limits(now, self.groups);
            if let Some(limit) = running.limit.or_else(|| self.over(running, now)) {
                return (None, Some(limit));
            }
            if heard {
                // Asked to end it, or nobody is there to ask.
                let _: Result<(Request, _), Errno> = receive_message(self.socket);
                return (None, None);
            }
        }
    }

    /// How the command ended; nothing when its first process did without having told.
    fn ending(&mut self) -> Option<Ending> {
        let mut text = Vec::new();
        self.ended.read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// A limit that is kept by a control group or a file system of its own elsewhere.
    fn over(&mut self, running: &Running, now: Instant) -> Option<LimitKind> {
        if running.peak.processes > self.job.limits.pids {
            return Some(LimitKind::Pids);
        }
        if now < self.next_measure {
            return None;
        }
        let used = self.scratch.used().since(self.before);
        self.next_measure = Instant::now() + MEASURE_EVERY;
        if used.bytes > self.job.tmp.size.0 {
            Some(LimitKind::Disk)
        } else if used.files > self.job.tmp.inodes {
            Some(LimitKind::Inodes)
        } else {
            None
        }
    }
}

fn ended(
    ending: Ending,
    scratch: &Scratch,
    before: Used,
    groups: &Groups,
    (protected, tree): (&Protected<'_>, &Path),
    job: &Job,
) -> Result<Ended, LayerFailure> {
    let (code, signal) = match ending {
        Ending::Exited(code) => (Some(code), None),
        Ending::Signaled(signal) => (None, Some(signal)),
    };
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).step("read what was used")?;
    let milliseconds = |time: nix::sys::time::TimeVal| (time.tv_sec() * 1000 + time.tv_usec() / 1000) as u64;
    let used = scratch.used().since(before);
    Ok(Ended {
        code,
        signal,
        cpu_ms: milliseconds(usage.user_time()) + milliseconds(usage.system_time()),
        // ru_maxrss is in kibibytes. Source: getrusage(2).
        peak_rss_bytes: usage.max_rss() as u64 * 1024,
        written_bytes: used.bytes,
        written_files: used.files,
        disk_full: used.bytes > job.tmp.size.0,
        inodes_full: used.files > job.tmp.inodes,
        groups: groups.counts(),
        tampered: protected.changed(),
        files: digests(tree, &job.watch),
    })
}

/// Ends every process below this one and waits for it. Returns when there is none any more.
///
/// Stopped before they are killed: what is stopped starts no other, but still counts as a process, so that a command that
/// forks faster than it can be killed runs into its limit.
fn end_all(groups: &Groups) {
    groups.kill();
    end_descendants();
}

/// The same, for the first process of a run whose guard was killed. The groups, which hold that process too, are killed
/// by nobody; they are removed by whoever makes the next.
pub(super) fn end_descendants() {
    let own = std::process::id() as i32;
    loop {
        let mut stopped = BTreeSet::from([own]);
        loop {
            let new: Vec<i32> = descendants(own)
                .into_iter()
                .filter(|pid| !stopped.contains(pid))
                .collect();
            if new.is_empty() {
                break;
            }
            stopped.extend(&new);
            new.iter().for_each(|pid| signal(*pid, Signal::STOP, &stopped));
            while let Ok(Some(_)) = sys::wait_ended() {}
        }
        stopped
            .iter()
            .filter(|pid| **pid != own)
            .for_each(|pid| signal(*pid, Signal::KILL, &stopped));
        loop {
            match sys::wait_ended() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sends a signal to a process below this one. Its number may have become somebody else's since it was read: looked at
/// once more when a descriptor keeps it from changing again.
fn signal(pid: i32, signal: Signal, family: &BTreeSet<i32>) {
    let Some(raw) = rustix::process::Pid::from_raw(pid) else {
        return;
    };
    let Ok(pidfd) = pidfd_open(raw, PidfdFlags::empty()) else {
        return;
    };
    if parent_of(pid).is_some_and(|parent| family.contains(&parent)) {
        let _ = pidfd_send_signal(&pidfd, signal);
    }
}

/// Processes and threads of a user at this moment, which the kernel counts together.
fn processes_of(user: u32) -> u64 {
    let threads = |status: String| {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        (field("Uid:") == Some(u64::from(user)))
            .then(|| field("Threads:"))
            .flatten()
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| fs::read_to_string(entry.path().join("status")).ok())
        .filter_map(threads)
        .sum()
}
