//! The parent's side: starts the helper, sends it setups, collects what comes back.

use super::compile::compile;
use super::error::SandboxError;
use super::helper::{LONGEST_REQUEST, Request, SUBCOMMAND};
use super::output::Capture;
use super::policy::{Command, Policy, Tree};
use super::report::{Captured, Enforced, LimitKind, Metering, Outcome, Report, SetupFailure, Stream};
use super::setup::{HOST_ID_FOR_ROOT, LayerFailure, ReportLine, Setup};
use super::sys;
use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair};
use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt};
use tokio::net::unix::pipe::Receiver;

/// How much longer than its wall-clock limit a run may take to report, before the helper counts as gone.
const GRACE: Duration = Duration::from_secs(20);

/// The most that the report of one run can be; it is written by this project's own code.
const REPORT_CAP: u64 = 1 << 20;

/// A running sandbox helper, through which commands are run. Dropping it ends the helper and every command under it.
#[derive(Debug)]
pub struct Sandbox {
    /// Closed on drop, before the helper is waited for: that is what ends it.
    socket: Option<OwnedFd>,
    helper: Mutex<Child>,
    next_run: AtomicU64,
    landlock_abi: u32,
}

/// Receives the output of a command while it runs, as it arrives, up to the policy's cap for each stream.
pub type Sink<'a> = &'a mut (dyn FnMut(Stream, &[u8]) + Send);

impl Sandbox {
    /// Starts the helper: `program` re-executed by the hidden subcommand. `program` is this project's own binary.
    ///
    /// It inherits no environment, so that no key of the caller can be found in it.
    ///
    /// # Errors
    /// `Host` when the program cannot be started.
    pub fn start(program: &Path) -> Result<Self, SandboxError> {
        let failed = |source| SandboxError::Helper {
            program: program.to_owned(),
            source,
        };
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .map_err(|errno| failed(errno.into()))?;
        let helper = std::process::Command::new(program)
            .arg(SUBCOMMAND)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        Ok(Sandbox {
            socket: Some(ours),
            helper: Mutex::new(helper),
            next_run: AtomicU64::new(1),
            landlock_abi: sys::landlock_abi(),
        })
    }

    /// The host's user id that has to own the files of a tree, when it is not the caller's own: set when the caller is
    /// root, because a sandbox never maps host root.
    pub fn tree_owner() -> Option<u32> {
        nix::unistd::geteuid().is_root().then_some(HOST_ID_FOR_ROOT)
    }

    /// Runs `command` on `tree` under `policy` and waits until its last process is gone.
    ///
    /// What the command writes, to the tree as well, is kept in memory and dropped with it. Dropping the future kills
    /// the command.
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
        let setup = compile(policy, tree, command, self.landlock_abi)?;
        let (run, channels) = self.send(setup.clone())?;
        let kill = KillOnDrop { sandbox: self, run };
        let deadline = setup.limits.wall + GRACE;
        let collected = tokio::time::timeout(deadline, collect(channels, policy.limits.output.0, sink)).await;
        let collected = collected.map_err(|_| SandboxError::HelperGone)?.map_err(channel)?;
        kill.disarm();
        collected.into_report(&setup, started.elapsed())
    }

    /// Sends a setup with the far ends of three pipes; answers the run's number and the near ends.
    fn send(&self, setup: Setup) -> Result<(u64, Channels), SandboxError> {
        let (stdout, stdout_far) = pipe()?;
        let (stderr, stderr_far) = pipe()?;
        let (report, report_far) = pipe()?;
        let run = self.next_run.fetch_add(1, Ordering::Relaxed);
        let far = [stdout_far.as_raw_fd(), stderr_far.as_raw_fd(), report_far.as_raw_fd()];
        self.request(&Request::Run(run, Box::new(setup)), &far)?;
        Ok((run, Channels { stdout, stderr, report }))
    }

    fn request(&self, request: &Request, descriptors: &[RawFd]) -> Result<(), SandboxError> {
        let socket = self.socket.as_ref().ok_or(SandboxError::HelperGone)?;
        let bytes = serde_json::to_vec(request).map_err(|error| channel(error.into()))?;
        if bytes.len() > LONGEST_REQUEST {
            let reason = format!("with its environment it is longer than {LONGEST_REQUEST} bytes");
            return Err(SandboxError::Command { reason });
        }
        let rights = [ControlMessage::ScmRights(descriptors)];
        let rights = if descriptors.is_empty() { &[][..] } else { &rights[..] };
        sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(&bytes)],
            rights,
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .map(drop)
        .map_err(|_| SandboxError::HelperGone)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        drop(self.socket.take());
        let helper = self.helper.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        // It kills and waits for what still runs, then ends. One that does not is killed, which takes its sandboxes
        // along, since their first processes follow it into death.
        let patience = Instant::now() + Duration::from_secs(5);
        while let Ok(None) = helper.try_wait() {
            if Instant::now() > patience {
                let _ = helper.kill();
                let _ = helper.wait();
                return;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Has the helper kill a run that nobody waits for any more.
struct KillOnDrop<'a> {
    sandbox: &'a Sandbox,
    run: u64,
}

impl KillOnDrop<'_> {
    fn disarm(self) {
        std::mem::forget(self);
    }
}

impl Drop for KillOnDrop<'_> {
    fn drop(&mut self) {
        // When this fails the helper is gone, and the run with it.
        let _ = self.sandbox.request(&Request::Kill(self.run), &[]);
    }
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
}

/// Reads both streams to their ends, which come when the last process that could write to them is gone, and the report.
async fn collect(channels: Channels, cap: u64, sink: Option<Sink<'_>>) -> std::io::Result<Collected> {
    let Channels {
        mut stdout,
        mut stderr,
        report,
    } = channels;
    // Both streams feed one sink. A lock rather than a cell, so that the future may move between threads.
    let sink = Mutex::new(sink);
    let (stdout, stderr, lines) = tokio::try_join!(
        drain(&mut stdout, Stream::Stdout, cap, &sink),
        drain(&mut stderr, Stream::Stderr, cap, &sink),
        read_report(report),
    )?;
    Ok(Collected { stdout, stderr, lines })
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
        lines.push(serde_json::from_slice(&text)?);
        if matches!(lines.last(), Some(ReportLine::Ended { .. })) {
            return Ok(lines);
        }
    }
}

async fn drain(
    pipe: &mut Receiver,
    stream: Stream,
    cap: u64,
    sink: &Mutex<Option<Sink<'_>>>,
) -> std::io::Result<Captured> {
    let mut capture = Capture::new(cap);
    let mut passed = 0u64;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = pipe.read(&mut buffer).await?;
        if length == 0 {
            return Ok(capture.finish());
        }
        capture.push(&buffer[..length]);
        let room = usize::try_from(cap.saturating_sub(passed)).unwrap_or(usize::MAX);
        let shown = &buffer[..length.min(room)];
        passed += shown.len() as u64;
        let mut sink = sink.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(sink) = sink.as_mut().filter(|_| !shown.is_empty()) {
            sink(stream, shown);
        }
    }
}

/// How a command ended, as `init` saw it.
struct Ending {
    code: Option<i32>,
    signal: Option<i32>,
    cpu_ms: u64,
    peak_rss_bytes: u64,
}

impl Collected {
    fn into_report(self, setup: &Setup, wall: Duration) -> Result<Report, SandboxError> {
        let (mut enforced, mut not_started, mut ending, mut gone): (Option<Enforced>, Option<SetupFailure>, _, _) =
            (None, None, None, None);
        for line in self.lines {
            match line {
                ReportLine::Receipt(receipt) => enforced = Some(receipt),
                ReportLine::Layer(failure) => return Err(LayerFailure::into(failure)),
                ReportLine::NotStarted(failure) => not_started = Some(failure),
                ReportLine::Ended {
                    code,
                    signal,
                    cpu_ms,
                    peak_rss_bytes,
                } => {
                    ending = Some(Ending {
                        code,
                        signal,
                        cpu_ms,
                        peak_rss_bytes,
                    });
                }
                ReportLine::Gone { limit } => gone = Some(limit),
            }
        }
        // Without either nobody knows whether something is left.
        let limit = match (&ending, gone) {
            (Some(_), _) => None,
            (None, Some(limit)) => limit,
            (None, None) => return Err(SandboxError::HelperGone),
        };
        let outcome = outcome(setup, limit, not_started, ending.as_ref())?;
        let (cpu_ms, peak_rss_bytes) = ending.map_or((0, 0), |ending| (ending.cpu_ms, ending.peak_rss_bytes));
        let metering = Metering {
            wall_ms: wall.as_millis() as u64,
            cpu_ms,
            peak_rss_bytes,
            output_bytes: self.stdout.total() + self.stderr.total(),
            ..Metering::default()
        };
        Ok(Report {
            outcome,
            stdout: self.stdout,
            stderr: self.stderr,
            metering,
            limits: Vec::new(),
            enforced,
        })
    }
}

fn outcome(
    setup: &Setup,
    limit: Option<LimitKind>,
    not_started: Option<SetupFailure>,
    ending: Option<&Ending>,
) -> Result<Outcome, SandboxError> {
    if let Some(limit) = limit {
        return Ok(Outcome::Limit { limit });
    }
    if let Some(failure) = not_started {
        return Ok(Outcome::Setup { failure });
    }
    // The first process vanished without a word and without the helper having killed it.
    let ending = ending.ok_or(SandboxError::HelperGone)?;
    Ok(match (ending.signal, ending.code) {
        // The first at the limit, the second a moment later if it caught that one. The time used tells them from signals
        // that were sent by hand; with a margin, because the limit counts by ticks and the usage does not.
        (Some(libc::SIGXCPU | libc::SIGKILL), _)
            if u128::from(ending.cpu_ms) * 4 >= setup.limits.cpu.as_millis() * 3 =>
        {
            Outcome::Limit { limit: LimitKind::Cpu }
        }
        (Some(signal), _) => Outcome::Signal { signal },
        (None, Some(code)) => Outcome::Exit { code },
        (None, None) => return Err(SandboxError::HelperGone),
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
