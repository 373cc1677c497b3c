//! The first process of a sandbox: applies every layer in order, starts the command, reaps what it leaves.
//!
//! - The order below is the program: each step relies on those before it and would be refused after those behind it.
//! - Nothing is decided here: `Setup` says what to do, and any failure ends the sandbox before the command exists.
//! - One thread until `execve(2)`; ordinary Rust is allowed throughout.

mod capabilities;
mod command;
mod landlock;
mod limits;
pub(super) mod mounts;
mod receipt;
pub(super) mod seccomp;

use super::setup::{INSIDE_ID, LayerFailure, ReportLine, Setup};
use super::sys;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

/// The descriptors of a new sandbox.
pub(super) struct Channels {
    /// Becomes the command's standard output.
    pub(super) stdout: OwnedFd,
    /// Becomes its standard error.
    pub(super) stderr: OwnedFd,
    /// Where report lines go; the command never has it.
    pub(super) report: OwnedFd,
    /// One byte arrives when the helper has written the id maps; its end, when the helper is gone.
    pub(super) mapped: OwnedFd,
}

/// Number of the report channel in `init`: the first behind the standard streams.
const REPORT_FD: i32 = 3;

/// Number of the pipe whose other end the helper holds, until the layers are applied.
const HELPER_FD: i32 = 4;

/// Names the step for which the kernel refused.
trait Step<T> {
    fn step(self, step: impl Into<String>) -> Result<T, LayerFailure>;
}

impl<T> Step<T> for Result<T, Errno> {
    fn step(self, step: impl Into<String>) -> Result<T, LayerFailure> {
        self.map_err(|errno| LayerFailure {
            step: step.into(),
            errno: errno as i32,
        })
    }
}

impl<T> Step<T> for Result<T, rustix::io::Errno> {
    fn step(self, step: impl Into<String>) -> Result<T, LayerFailure> {
        self.map_err(|errno| LayerFailure {
            step: step.into(),
            errno: errno.raw_os_error(),
        })
    }
}

impl<T> Step<T> for std::io::Result<T> {
    fn step(self, step: impl Into<String>) -> Result<T, LayerFailure> {
        self.map_err(|error| LayerFailure {
            step: step.into(),
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        })
    }
}

/// Runs as process 1 of the new namespaces and never returns.
pub(super) fn run(setup: &Setup, filters: &seccomp::Filters, channels: Channels) -> ! {
    let (mut report, helper) = match prepare(channels) {
        Ok(channels) => channels,
        // Without a report channel there is nobody to tell; the helper reports that the process is gone.
        Err(_) => sys::exit_now(1),
    };
    let line = match enter(setup, filters, &mut report, helper) {
        Ok(ending) => ending,
        Err(failure) => ReportLine::Layer(failure),
    };
    let told = send(&mut report, &line);
    sys::exit_now(if told.is_ok() { 0 } else { 1 })
}

/// Cuts what a process inherits: the parent's life, the session, signals, the umask, descriptors.
fn prepare(channels: Channels) -> Result<(File, File), LayerFailure> {
    sys::set_parent_death_signal(Signal::SIGKILL).step("follow the helper into death")?;
    let Channels {
        stdout,
        stderr,
        report,
        mapped,
    } = channels;
    let mut mapped = File::from(mapped);
    // End of file instead of a byte: the helper died before it could map us.
    mapped.read_exact(&mut [0]).step("wait for the id maps")?;
    nix::unistd::setsid().step("start a session without a terminal")?;
    sys::reset_signals();
    // The usual mask, whatever the caller's was: files in the tree have the modes that git would give them.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    // Moved up first: one of these may have a number that another is about to take.
    let high = |fd: OwnedFd| {
        let moved = sys::dup_above(fd.as_fd(), 16).step("move a channel out of the way");
        drop(fd);
        moved
    };
    let moved = [high(stdout)?, high(stderr)?, high(report)?, high(mapped.into())?];
    for (fd, number) in moved.iter().zip([1, 2, REPORT_FD, HELPER_FD]) {
        sys::dup_onto(fd.as_fd(), number).step("attach a channel")?;
    }
    drop(moved);
    sys::close_range(HELPER_FD + 1).step("close inherited descriptors")?;
    let [report, helper] = [REPORT_FD, HELPER_FD].map(|number| File::from(sys::take_received(number)));
    Ok((report, helper))
}

/// Applies the layers, starts the command and waits for it. The order is the program.
fn enter(
    setup: &Setup,
    filters: &seccomp::Filters,
    report: &mut File,
    helper: File,
) -> Result<ReportLine, LayerFailure> {
    // Still with the caller's own host id, which can reach the caller's directories.
    let sources = mounts::open_sources(setup)?;
    // From here on with the mapped id: whatever is created below belongs to it, also when the caller is root.
    take_identity()?;
    follow_helper(&helper)?;
    drop(helper);
    mounts::lower_counts()?;
    let tree = mounts::build_root(setup, sources)?;
    // In place of the helper's socket, and from the new root: whoever reads gets the end at once.
    let null = File::open("/dev/null").step("open /dev/null")?;
    sys::dup_onto(null.as_fd(), 0).step("attach standard input")?;
    drop(null);
    nix::unistd::sethostname("factory").step("set the host name")?;
    if setup.network == super::policy::Network::Loopback {
        sys::loopback_up().step("bring the private loopback up")?;
    }
    // Session keyrings cross user namespaces; a new one cuts the way to the operator's keys.
    sys::join_new_session_keyring().step("join a new session keyring")?;
    limits::apply(setup)?;
    // After the mounts, which need CAP_SYS_ADMIN inside.
    capabilities::drop_all()?;
    nix::sys::prctl::set_no_new_privs().step("set no_new_privs")?;
    // Other processes in the sandbox have our id; they must not look into the process that reports on them.
    sys::set_dumpable(false).step("make the first process undumpable")?;
    landlock::restrict(setup)?;
    // Last: the filter forbids the calls made above.
    filters.install()?;
    let receipt = receipt::take(setup, tree)?;
    send(report, &ReportLine::Receipt(receipt)).step("send the receipt")?;
    command::run(setup)
}

/// Takes the one mapped id, which for an ordinary caller is its own already.
fn take_identity() -> Result<(), LayerFailure> {
    let (gid, uid) = (Gid::from_raw(INSIDE_ID), Uid::from_raw(INSIDE_ID));
    nix::unistd::setresgid(gid, gid, gid).step("take the mapped group id")?;
    nix::unistd::setresuid(uid, uid, uid).step("take the mapped user id")
}

/// Asks once more for the signal at the helper's death: a change of the user id, which a caller that is root needs,
/// cancels the request. Source: PR_SET_PDEATHSIG(2const).
fn follow_helper(helper: &File) -> Result<(), LayerFailure> {
    sys::set_parent_death_signal(Signal::SIGKILL).step("follow the helper into death")?;
    // It may have died before that. It holds the other end of this pipe for as long as it lives.
    let mut pipe = [PollFd::new(helper.as_fd(), PollFlags::POLLIN)];
    match poll(&mut pipe, PollTimeout::ZERO).step("look for the helper")? {
        0 => Ok(()),
        _ => Err(Errno::ESRCH).step("find the helper alive"),
    }
}

fn send(report: &mut File, line: &ReportLine) -> std::io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    report.write_all(&bytes)
}
