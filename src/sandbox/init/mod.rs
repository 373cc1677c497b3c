//! The first process of a run: applies every layer that the view does not bring, in order, starts the command, reaps what
//! it leaves.
//!
//! - The order below is the program: each step relies on those before it and would be refused after those behind it.
//! - Nothing is decided here: the job says what to do, and any failure ends the run before the command exists.
//! - One thread until `execve(2)`; ordinary Rust is allowed throughout.

pub(super) mod bare;
mod capabilities;
mod command;
pub(super) mod landlock;
pub(super) mod limits;
pub(super) mod mounts;
pub(super) mod protect;
pub(super) mod receipt;
pub(super) mod seccomp;

use super::cgroup::Groups;
use super::setup::{INSIDE_ID, Job, LayerFailure, ReportLine, TREE, View};
use super::slot::Streams;
use super::sys;
use nix::errno::Errno;
use nix::unistd::{Gid, Uid};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// What a run begins with.
pub(super) struct Start<'a> {
    pub(super) view: &'a View,
    pub(super) job: &'a Job,
    pub(super) rules: &'a landlock::Rules,
    pub(super) filters: &'a seccomp::Filters,
    pub(super) groups: &'a Groups,
    /// Detached mounts of the layers of the tree, the uppermost first.
    pub(super) layers: Vec<OwnedFd>,
    pub(super) streams: Streams,
    /// One byte arrives when the slot has written the id maps; its end, when the slot is gone.
    pub(super) mapped: OwnedFd,
    /// Descriptors of the slot that no run is to have.
    pub(super) not_ours: Vec<BorrowedFd<'a>>,
}

/// The first descriptor behind the standard streams.
const FIRST_OF_OURS: i32 = 3;

/// Names the step for which the kernel refused.
pub(super) trait Step<T> {
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
pub(super) fn run(start: Start<'_>) -> ! {
    sys::close_for_good(&start.not_ours);
    let (mut report, run) = match prepare(start) {
        Ok(prepared) => prepared,
        // Without a report channel there is nobody to tell; the slot reports that the process is gone.
        Err(_) => sys::exit_now(1),
    };
    let line = match enter(&run, &mut report) {
        Ok(ending) => ending,
        Err(failure) => ReportLine::Layer(failure),
    };
    let told = send(&mut report, &line);
    sys::exit_now(if told.is_ok() { 0 } else { 1 })
}

/// A run whose streams are attached.
struct Run<'a> {
    view: &'a View,
    job: &'a Job,
    rules: &'a landlock::Rules,
    filters: &'a seccomp::Filters,
    groups: &'a Groups,
    layers: Vec<OwnedFd>,
}

/// Attaches the streams and waits until the ids are mapped.
fn prepare(start: Start<'_>) -> Result<(File, Run<'_>), LayerFailure> {
    let Start {
        view,
        job,
        rules,
        filters,
        groups,
        layers,
        streams,
        mapped,
        not_ours: _,
    } = start;
    sys::dup_onto(streams.stdout.as_fd(), 1).step("attach standard output")?;
    sys::dup_onto(streams.stderr.as_fd(), 2).step("attach standard error")?;
    let report = File::from(streams.report);
    // End of file instead of a byte: the slot died before it could map us.
    File::from(mapped).read_exact(&mut [0]).step("wait for the id maps")?;
    nix::unistd::setsid().step("start a session without a terminal")?;
    let run = Run {
        view,
        job,
        rules,
        filters,
        groups,
        layers,
    };
    Ok((report, run))
}

/// Applies the layers, starts the command and waits for it. The order is the program.
fn enter(run: &Run<'_>, report: &mut File) -> Result<ReportLine, LayerFailure> {
    let Run { view, job, .. } = run;
    // A change of the user id hands this file to host root.
    limits::go_first()?;
    // From here on with the mapped id: whatever is created below belongs to it, also when the caller is root.
    take_identity()?;
    mounts::lower_counts(mounts::OF_RUN)?;
    mounts::go_backstage()?;
    mounts::own_proc()?;
    let tree = mounts::put_on_top(job, view, &run.layers)?;
    mounts::enter_view()?;
    // In place of the slot's, which is an open file of another mount namespace.
    command::attach_input(job)?;
    if job.network == super::policy::Network::Loopback {
        sys::loopback_up().step("bring the private loopback up")?;
    }
    // Session keyrings cross user namespaces; a new one cuts the way to the operator's keys.
    sys::join_new_session_keyring().step("join a new session keyring")?;
    limits::apply(&job.limits, run.groups.keepers().nproc(job.limits.pids))?;
    // After the mounts, which need CAP_SYS_ADMIN inside.
    capabilities::drop_all()?;
    // Other processes in the sandbox have our id; they must not look into the process that reports on them.
    sys::set_dumpable(false).step("make the first process undumpable")?;
    landlock::restrict(run.rules, job.network)?;
    // Last: the filter forbids the calls made above.
    run.filters.install_on_run()?;
    let sources = receipt::Sources::open()?;
    let receipt = receipt::take(view, job, sources, tree, run.groups.keepers(), run.filters)?;
    send(report, &ReportLine::Receipt(Box::new(receipt))).step("send the receipt")?;
    let protected = protect::Protected::note(Path::new(TREE), &job.protect)?;
    command::run(job, run.groups, &protected)
}

/// Takes the one mapped id, which for an ordinary caller is its own already.
fn take_identity() -> Result<(), LayerFailure> {
    let (gid, uid) = (Gid::from_raw(INSIDE_ID), Uid::from_raw(INSIDE_ID));
    nix::unistd::setresgid(gid, gid, gid).step("take the mapped group id")?;
    nix::unistd::setresuid(uid, uid, uid).step("take the mapped user id")
}

fn send(report: &mut File, line: &ReportLine) -> std::io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    report.write_all(&bytes)
}
