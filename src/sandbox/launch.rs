//! The parent's side: starts the helper, sends it setups, collects what comes back.

use super::cgroup::Parents;
use super::compile::{Host, compile, refuse_sockets, view_of};
use super::error::SandboxError;
use super::helper::{DeathNote, LONGEST_REQUEST, Open, send_bytes};
use super::identity::host_ids;
use super::output::Capture;
use super::policy::{Command, Limits, Policy, Tree};
use super::receipt::Receipt;
use super::report::{
    Captured, Enforced, Keepers, LimitKind, LimitReport, Metering, Outcome, Report, SetupFailure, Stream,
};
use super::resident::{Resident, pair};
use super::setup::{Ended, LayerFailure, Peak, ReportLine, Rung, Setup, View};
use super::{guard, limits, probe, slot};
use serde::Serialize;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;

/// How much longer than its wall-clock limit a run may take to report, before the helper counts as gone.
const GRACE: Duration = Duration::from_secs(20);

/// Who keeps, on this host and for this caller, the limits that count all processes of a run together.
pub fn limit_keepers() -> Keepers {
    Parents::find().keepers()
}

/// How long the helper may take to notice that a slot is gone.
const PATIENCE_WITH_HELPER: Duration = Duration::from_secs(2);

/// How long the kernel takes, more or less, to tear down the namespaces of a run that is over.
const REST: Duration = Duration::from_millis(1);

/// Slots kept for later runs. Each holds a root, a process and an empty network.
const MOST_IDLE: usize = 8;

/// The most that the report of one run can be; it is written by this project's own code.
const REPORT_CAP: u64 = 1 << 20;

/// A running sandbox helper, through which commands are run. Dropping it ends the helper and every command under it.
///
/// Any number of commands can run at once, from any number of threads. There is no global state: two of these know nothing
/// of each other.
#[derive(Debug)]
pub struct Sandbox {
    /// What is started again for each run without namespaces.
    program: PathBuf,
    helper: Resident,
    /// Slots without a run, the one used last at the end.
    idle: Mutex<Vec<Slot>>,
    host: Host,
    /// Who will keep which limit, once anybody wants to know.
    keepers: OnceLock<Keepers>,
}

/// Receives the output of a command while it runs, as it arrives, up to the policy's cap for each stream.
pub type Sink<'a> = &'a mut (dyn FnMut(Stream, &[u8]) + Send);

impl Sandbox {
    /// Starts the helper: `program` executed by a hidden subcommand. `program` is this project's own binary.
    ///
    /// It inherits no environment, so that no key of the caller can be found in it.
    ///
    /// # Errors
    /// `Host` when the program cannot be started.
    pub fn start(program: &Path) -> Result<Self, SandboxError> {
        let helper = Resident::start(program).map_err(|source| SandboxError::Helper {
            program: program.to_owned(),
            source,
        })?;
        Self::with_helper(program, helper)
    }

    /// Takes over a helper that is running already.
    pub(crate) fn with_helper(program: &Path, helper: Resident) -> Result<Self, SandboxError> {
        let host = Host::look(probe::landlock().abi).map_err(|source| SandboxError::Helper {
            program: program.to_owned(),
            source,
        })?;
        Ok(Sandbox {
            program: program.to_owned(),
            helper,
            idle: Mutex::new(Vec::new()),
            host,
            keepers: OnceLock::new(),
        })
    }

    /// The host's user id that has to own the files of a tree, when it is not the caller's own: set when the caller is
    /// root, because a sandbox never maps host root.
    pub fn tree_owner() -> Option<u32> {
        let (uid, _) = host_ids().filter(|(uid, _)| *uid != nix::unistd::geteuid().as_raw())?;
        Some(uid)
    }

    /// Makes ready for commands under a policy while the caller is busy with something else. What is in the way is told by
    /// [`Sandbox::run`]. Needs a runtime around it.
    ///
    /// # Errors
    /// As [`Sandbox::run`], for what can be known without a command.
    pub fn prepare(&self, policy: &Policy) -> Result<(), SandboxError> {
        let view = view_of(policy, &self.host)?;
        if matches!(view.rung, Rung::Bare { .. }) {
            // Without namespaces there is nothing to inherit.
            return Ok(());
        }
        let mut slot = self.open(&view)?;
        // It is as good as rested: nothing has run in it.
        slot.resting_since -= REST;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
        Ok(())
    }

    /// Runs `command` on `tree` under `policy` and waits until its last process is gone.
    ///
    /// What the command writes, to the tree as well, is kept in memory and dropped with it; where the policy does without
    /// namespaces, in a private directory that is removed before this returns. Dropping the future kills the command.
    ///
    /// # Errors
    /// `Host` when a layer that the policy requires is missing or a grant cannot be shown. A command that fails is no
    /// error but an [`Outcome`].
    pub async fn run(
        &self,
        policy: &Policy,
        tree: &Tree,
        command: &Command,
        sink: Option<Sink<'_>>,
    ) -> Result<Report, SandboxError> {
        let started = Instant::now();
        let setup = compile(policy, tree, command, &self.host)?;
        let floor = policy.floor();
        if !floor.limits.is_empty() {
            let keepers = self.keepers.get_or_init(limit_keepers);
            limits::check_floor(&policy.profile, &floor, keepers)?;
        }
        if let Rung::Bare { .. } = setup.view.rung {
            return self.run_guarded(policy, setup, sink, started).await;
        }
        let (slot, channels) = self.send(&setup)?;
        let mut occupied = Occupied {
            sandbox: self,
            slot: Some(slot),
            over: false,
        };
        let limits = &setup.job.limits;
        let collecting = collect(channels, limits, sink, || occupied.kill());
        let collected = tokio::time::timeout(limits.wall + GRACE, collecting).await;
        let mut collected = collected.map_err(|_| SandboxError::HelperGone)?.map_err(channel)?;
        occupied.over = true;
        if !is_told(&collected.lines) {
            collected.lines.extend(occupied.last_words().await);
        }
        collected.into_report(policy, &setup, started.elapsed())
    }

    /// Runs a setup without namespaces, under a guard of its own.
    async fn run_guarded(
        &self,
        policy: &Policy,
        setup: Setup,
        sink: Option<Sink<'_>>,
        started: Instant,
    ) -> Result<Report, SandboxError> {
        let (stdout, stdout_far) = pipe()?;
        let (stderr, stderr_far) = pipe()?;
        let (report, report_far) = pipe()?;
        refuse_sockets(&setup.view)?;
        let guard = Guard::start(&self.program)?;
        let far = [stdout_far.as_raw_fd(), stderr_far.as_raw_fd(), report_far.as_raw_fd()];
        let Setup { view, job } = setup.clone();
        guard.send(&guard::Guarded { view, job }, &far)?;
        drop((stdout_far, stderr_far, report_far));
        let limits = &setup.job.limits;
        let kill = || drop(guard.send(&slot::Request::Kill, &[]));
        let collecting = collect(Channels { stdout, stderr, report }, limits, sink, kill);
        let collected = tokio::time::timeout(limits.wall + GRACE, collecting).await;
        let collected = collected.map_err(|_| SandboxError::HelperGone)?.map_err(channel)?;
        drop(guard);
        collected.into_report(policy, &setup, started.elapsed())
    }

    /// Hands a job to an idle slot of its view, or has the helper make one; answers the slot and the near ends of the run's
    /// pipes.
    fn send(&self, Setup { view, job }: &Setup) -> Result<(Slot, Channels), SandboxError> {
        let (stdout, stdout_far) = pipe()?;
        let (stderr, stderr_far) = pipe()?;
        let (report, report_far) = pipe()?;
        let channels = Channels { stdout, stderr, report };
        let far = [stdout_far.as_raw_fd(), stderr_far.as_raw_fd(), report_far.as_raw_fd()];
        let run = slot::Request::Run(Box::new(job.clone()));
        while let Some(slot) = self.take_idle(view) {
            // One that has ended in the meantime takes nothing; then there is another, or a new one.
            match send_message(&slot.socket, &run, &far) {
                Ok(()) => return Ok((slot, channels)),
                Err(SandboxError::HelperGone) => {}
                Err(error) => return Err(error),
            }
        }
        let slot = self.open(view)?;
        match send_message(&slot.socket, &run, &far) {
            // One that could not be made takes nothing either: its note says why.
            Ok(()) | Err(SandboxError::HelperGone) => Ok((slot, channels)),
            Err(error) => Err(error),
        }
    }

    /// Has the helper make a slot for a view.
    fn open(&self, view: &View) -> Result<Slot, SandboxError> {
        refuse_sockets(view)?;
        let (ours, theirs) = pair().map_err(channel)?;
        let (note, note_far) = pipe()?;
        let socket = self.helper.socket().ok_or(SandboxError::HelperGone)?;
        let open = Open { view: view.clone() };
        send_message(socket, &open, &[theirs.as_raw_fd(), note_far.as_raw_fd()])?;
        Ok(Slot {
            view: view.clone(),
            socket: ours,
            note,
            resting_since: Instant::now(),
        })
    }

    fn take_idle(&self, view: &View) -> Option<Slot> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fitting = (0..idle.len()).filter(|position| idle[*position].view == *view);
        // The one that has rested for longest. Where it is the only one and hardly had time to, a second is worth having:
        // whoever runs one command after the other then never waits for the end of the last.
        let position = fitting.next()?;
        if fitting.next().is_none() && idle[position].resting_since.elapsed() < REST {
            return None;
        }
        Some(idle.remove(position))
    }

    fn give_back(&self, mut slot: Slot) {
        slot.resting_since = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(slot);
        if idle.len() > MOST_IDLE {
            // The one that has been idle for longest ends when its socket closes.
            idle.remove(0);
        }
    }
}

/// The guard of one run without namespaces. Dropping it ends the run and waits until nothing of it is left.
#[derive(Debug)]
struct Guard {
    /// Closed on drop, before the guard is waited for: that is what ends it.
    socket: Option<OwnedFd>,
    process: Child,
}

impl Guard {
    fn start(program: &Path) -> Result<Self, SandboxError> {
        let (ours, theirs) = pair().map_err(channel)?;
        let mut command = std::process::Command::new(program);
        command
            .arg(guard::SUBCOMMAND)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = probe::spawn(&mut command).map_err(|source| SandboxError::Helper {
            program: program.to_owned(),
            source,
        })?;
        Ok(Guard {
            socket: Some(ours),
            process,
        })
    }

    fn send(&self, message: &impl Serialize, descriptors: &[RawFd]) -> Result<(), SandboxError> {
        let socket = self.socket.as_ref().ok_or(SandboxError::HelperGone)?;
        send_message(socket, message, descriptors)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.socket.take());
        // Not killed: then what it guards would be left. It has nothing to do but to end that.
        let patience = Instant::now() + GRACE;
        while let Ok(None) = self.process.try_wait() {
            if Instant::now() > patience {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A slot of the helper, without a run unless it is [`Occupied`].
#[derive(Debug)]
struct Slot {
    view: View,
    socket: OwnedFd,
    /// Where the helper says how it died.
    note: Receiver,
    /// When its last run was over.
    resting_since: Instant,
}

/// A slot with a run. Dropped before the run is over, it has that killed. Either way the slot is given back: it takes up
/// the next job only when nothing of this one is left.
struct Occupied<'a> {
    sandbox: &'a Sandbox,
    slot: Option<Slot>,
    over: bool,
}

impl Occupied<'_> {
    fn kill(&self) {
        if let Some(slot) = &self.slot {
            // When this fails the slot is gone, and the run with it.
            let _ = send_message(&slot.socket, &slot::Request::Kill, &[]);
        }
    }
}

impl Occupied<'_> {
    /// What is known of a run whose slot is gone.
    async fn last_words(&mut self) -> Option<ReportLine> {
        // It is not given back.
        let mut slot = self.slot.take()?;
        let mut text = Vec::new();
        let reading = slot.note.read_to_end(&mut text);
        tokio::time::timeout(PATIENCE_WITH_HELPER, reading).await.ok()?.ok()?;
        let DeathNote { starved, failure } = serde_json::from_slice(&text).ok()?;
        let starved = starved.then_some(ReportLine::Gone {
            limit: Some(LimitKind::Memory),
        });
        failure.map(ReportLine::Layer).or(starved)
    }
}

impl Drop for Occupied<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.kill();
        }
        if let Some(slot) = self.slot.take() {
            self.sandbox.give_back(slot);
        }
    }
}

fn send_message(socket: &OwnedFd, message: &impl Serialize, descriptors: &[RawFd]) -> Result<(), SandboxError> {
    let bytes = serde_json::to_vec(message).map_err(|error| channel(error.into()))?;
    if bytes.len() > LONGEST_REQUEST {
        let reason = format!("with its environment it is longer than {LONGEST_REQUEST} bytes");
        return Err(SandboxError::Command { reason });
    }
    send_bytes(socket, &bytes, descriptors).map_err(|_| SandboxError::HelperGone)
}

/// The near ends of a run's pipes.
struct Channels {
    stdout: Receiver,
    stderr: Receiver,
    report: Receiver,
}

/// Everything that came back from a run.
struct Collected {
    stdout: Captured,
    stderr: Captured,
    lines: Vec<ReportLine>,
    /// Whether it was ended for having been silent.
    silent: bool,
}

/// Reads both streams to their ends, which come when the last process that could write to them is gone, and the report.
async fn collect(
    channels: Channels,
    limits: &Limits,
    sink: Option<Sink<'_>>,
    kill: impl Fn(),
) -> std::io::Result<Collected> {
    let Channels {
        mut stdout,
        mut stderr,
        report,
    } = channels;
    let cap = limits.output.0;
    // Both streams feed one sink. A lock rather than a cell, so that the future may move between threads.
    let sink = Mutex::new(sink);
    let heard = AtomicU64::new(0);
    let (say_over, over) = watch::channel(false);
    let reading = async {
        tokio::try_join!(
            drain(&mut stdout, Stream::Stdout, cap, &sink, &heard, over.clone()),
            drain(&mut stderr, Stream::Stderr, cap, &sink, &heard, over.clone()),
            async {
                let lines = read_report(report).await?;
                say_over.send_replace(is_told(&lines));
                Ok(lines)
            },
        )
    };
    tokio::pin!(reading);
    let mut silent = false;
    let (stdout, stderr, lines) = loop {
        let patience = limits.silence.filter(|_| !silent);
        let before = heard.load(Ordering::Relaxed);
        tokio::select! {
            biased;
            done = &mut reading => break done?,
            () = tokio::time::sleep(patience.unwrap_or(Duration::MAX)), if patience.is_some() => {
                if heard.load(Ordering::Relaxed) == before {
                    silent = true;
                    kill();
                }
            }
        }
    };
    Ok(Collected {
        stdout,
        stderr,
        lines,
        silent,
    })
}

/// Reads lines up to the one that says that nothing of the command is left. What comes after it is only the end of the
/// first process itself, whose namespaces the kernel takes a while to tear down.
async fn read_report(report: Receiver) -> std::io::Result<Vec<ReportLine>> {
    let mut reader = tokio::io::BufReader::new(report.take(REPORT_CAP));
    let (mut lines, mut text) = (Vec::new(), Vec::new());
    loop {
        text.clear();
        if reader.read_until(b'\n', &mut text).await? == 0 {
            return Ok(lines);
        }
        let line = serde_json::from_slice(&text)?;
        if let (ReportLine::Peak(_), Some(ReportLine::Peak(_))) = (&line, lines.last()) {
            // Only the latest counts, and a long run has many.
            lines.pop();
        }
        lines.push(line);
        if is_told(&lines) {
            return Ok(lines);
        }
    }
}

/// Whether the report says how the run ended, so that nothing of the command is left.
fn is_told(lines: &[ReportLine]) -> bool {
    matches!(lines.last(), Some(ReportLine::Ended(_) | ReportLine::Gone { .. }))
}

/// Reads a stream to its end, or until the run is over.
///
/// What a command wrote is in the pipe when it is over, but the end of the pipe may come late: a command can leave its own
/// end in a socket's queue that nobody but the kernel's collector of such garbage closes. Source: unix(7), "Ancillary
/// messages"; `net/unix/garbage.c`.
async fn drain(
    pipe: &mut Receiver,
    stream: Stream,
    cap: u64,
    sink: &Mutex<Option<Sink<'_>>>,
    heard: &AtomicU64,
    mut over: watch::Receiver<bool>,
) -> std::io::Result<Captured> {
    let mut capture = Capture::new(cap);
    let mut passed = 0u64;
    let mut buffer = vec![0; 64 << 10];
    let mut is_over = false;
    loop {
        let read = match is_over {
            true => read_rest(pipe, &mut buffer),
            false => tokio::select! {
                biased;
                read = pipe.read(&mut buffer) => read,
                said = over.wait_for(|over| *over) => {
                    is_over = said.is_ok();
                    continue;
                }
            },
        };
        let length = read?;
        if length == 0 {
            return Ok(capture.finish());
        }
        heard.fetch_add(1, Ordering::Relaxed);
        capture.push(&buffer[..length]);
        let room = usize::try_from(cap.saturating_sub(passed)).unwrap_or(usize::MAX);
        let shown = &buffer[..length.min(room)];
        passed += shown.len() as u64;
        let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sink) = sink.as_mut().filter(|_| !shown.is_empty()) {
            sink(stream, shown);
        }
    }
}

/// What is in a pipe at this moment; zero for nothing as for the end. Past the runtime, which may not have heard of it yet.
fn read_rest(pipe: &Receiver, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match rustix::io::read(pipe, &mut *buffer) {
            Ok(length) => return Ok(length),
            Err(rustix::io::Errno::AGAIN) => return Ok(0),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// What the lines of a report say, sorted.
#[derive(Default)]
pub(super) struct Told {
    pub(super) enforced: Option<Enforced>,
    not_started: Option<SetupFailure>,
    denied: Option<String>,
    peak: Peak,
    pub(super) ended: Option<Ended>,
    /// Whether the first process is known to be gone, and for which limit it was killed.
    gone: Option<Option<LimitKind>>,
}

impl Told {
    fn sort(lines: Vec<ReportLine>) -> Result<Self, SandboxError> {
        let mut told = Told::default();
        for line in lines {
            match line {
                ReportLine::Receipt(receipt) => told.enforced = Some(*receipt),
                ReportLine::Layer(failure) => return Err(LayerFailure::into(failure)),
                ReportLine::NotStarted(failure) => told.not_started = Some(failure),
                ReportLine::Denied { rule } => told.denied = Some(rule),
                ReportLine::Peak(peak) => told.peak = peak,
                ReportLine::Ended(ended) => told.ended = Some(ended),
                ReportLine::Gone { limit } => told.gone = Some(limit),
            }
        }
        Ok(told)
    }
}

impl Collected {
    fn into_report(self, policy: &Policy, setup: &Setup, wall: Duration) -> Result<Report, SandboxError> {
        let Collected {
            stdout,
            stderr,
            lines,
            silent,
        } = self;
        let told = Told::sort(lines)?;
        // Without either nobody knows whether something is left.
        let killed_for = match (&told.ended, told.gone) {
            (Some(_), _) => None,
            (None, Some(_)) if silent => Some(LimitKind::Silence),
            (None, Some(limit)) => limit,
            (None, None) => return Err(SandboxError::HelperGone),
        };
        let metering = metering(&told, wall, stdout.total() + stderr.total());
        let limits = limits::report(setup, &told, &metering, killed_for, stdout.dropped + stderr.dropped > 0);
        let outcome = outcome(told.denied, told.not_started, told.ended.as_ref(), killed_for, &limits)?;
        Ok(Report {
            outcome,
            stdout,
            stderr,
            metering,
            limits,
            receipt: told.enforced.map(|enforced| Receipt::new(policy, enforced)),
            files: told.ended.map(|ended| ended.files).unwrap_or_default(),
        })
    }
}

fn metering(told: &Told, wall: Duration, output_bytes: u64) -> Metering {
    let ended = told.ended.as_ref();
    let groups = ended.map(|ended| ended.groups).unwrap_or_default();
    Metering {
        wall_ms: wall.as_millis() as u64,
        cpu_ms: groups
            .cpu_ms
            .or(ended.map(|ended| ended.cpu_ms))
            .unwrap_or(told.peak.cpu_ms),
        peak_rss_bytes: ended.map_or(0, |ended| ended.peak_rss_bytes),
        peak_memory_bytes: [
            groups.memory_peak_bytes.unwrap_or(0),
            told.peak.memory_bytes,
            ended.map_or(0, |ended| ended.peak_rss_bytes),
        ]
        .into_iter()
        .max()
        .unwrap_or(0),
        // A command that ended between two looks was one process at least.
        processes: told.peak.processes.max(u64::from(ended.is_some())),
        written_bytes: ended.map_or(0, |ended| ended.written_bytes),
        output_bytes,
    }
}

fn outcome(
    denied: Option<String>,
    not_started: Option<SetupFailure>,
    ended: Option<&Ended>,
    killed_for: Option<LimitKind>,
    limits: &[LimitReport],
) -> Result<Outcome, SandboxError> {
    if let Some(limit) = killed_for {
        return Ok(Outcome::Limit { limit });
    }
    if let Some(rule) = denied {
        return Ok(Outcome::Denied { rule });
    }
    if let Some(failure) = not_started {
        return Ok(Outcome::Setup { failure });
    }
    // The first process vanished without a word and without the slot having killed it.
    let ended = ended.ok_or(SandboxError::HelperGone)?;
    if let Some(path) = ended.tampered.clone() {
        return Ok(Outcome::Tampered { path });
    }
    // A command that coped with what it was refused has succeeded; one that failed proves nothing but the limit.
    let hit = limits
        .iter()
        .find(|limit| limit.hit == Some(true) && limit.limit != LimitKind::Output);
    Ok(match (ended.code, ended.signal, hit) {
        (Some(0), _, _) => Outcome::Exit { code: 0 },
        (_, _, Some(limit)) => Outcome::Limit { limit: limit.limit },
        (Some(code), _, None) => Outcome::Exit { code },
        (None, Some(signal), None) => Outcome::Signal { signal },
        (None, None, None) => return Err(SandboxError::HelperGone),
    })
}

fn pipe() -> Result<(Receiver, OwnedFd), SandboxError> {
    let (near, far) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|errno| channel(errno.into()))?;
    // Only the near end: a command that finds its output non-blocking may lose some of it.
    rustix::io::ioctl_fionbio(&near, true).map_err(|errno| channel(errno.into()))?;
    Ok((Receiver::from_owned_fd(near).map_err(channel)?, far))
}

fn channel(source: std::io::Error) -> SandboxError {
    SandboxError::Channel { source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of a stream whose other end stays open, within a moment.
    async fn read_of_one_that_stays_open(is_over: bool) -> Option<Captured> {
        let (mut near, far) = pipe().unwrap();
        rustix::io::write(&far, b"all of it").unwrap();
        let (_say_over, over) = watch::channel(is_over);
        let (sink, heard) = (Mutex::new(None), AtomicU64::new(0));
        let reading = drain(&mut near, Stream::Stdout, 1 << 20, &sink, &heard, over);
        let read = tokio::time::timeout(Duration::from_millis(200), reading).await;
        drop(far);
        read.ok().map(Result::unwrap)
    }

    #[tokio::test]
    async fn a_stream_is_read_to_the_end_of_the_run_and_not_of_the_pipe() {
        let read = read_of_one_that_stays_open(true).await;
        assert_eq!(read.map(|captured| captured.to_bytes()), Some(b"all of it".to_vec()));
        // The control: as long as the run is not over, its stream is not either.
        assert!(read_of_one_that_stays_open(false).await.is_none());
    }
}
