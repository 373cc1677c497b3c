//! A run where no namespace can be made: its first process, and the one that applies every layer that is left, in order, and
//! becomes the command.
//!
//! - Nothing is decided here, as in the first process of a run with namespaces.
//! - Whoever waits for the command and reports on it is outside of these layers, where no signal of the command reaches it.
//! - The first process is in the command's session and groups, among which processors are shared out. The guard would wait
//!   longer for one than a command takes to leave as many orphans as it may have processes.
//!   Source: sched(7), "The autogroup feature".

use super::landlock::{self, Rules};
use super::mounts::Provided;
use super::receipt::{self, Sources};
use super::seccomp::Filters;
use super::{Step, capabilities, command, limits, send};
use crate::durable::remove_tree;
use crate::sandbox::guard::end_descendants;
use crate::sandbox::report::Keepers;
use crate::sandbox::setup::{Job, LayerFailure, ReportLine, Rung, View};
use crate::sandbox::slot::{Streams, tell};
use crate::sandbox::sys::{self, Forked};
use caps::{CapSet, Capability};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Gid, Pid, Uid};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

/// How many processes the user may start elsewhere while a run lasts, in other runs for one, before the kernel refuses it
/// new ones. It counts them all together; a run's own are counted by its group, or by the guard.
const ROOM_FOR_OTHERS: u64 = 1024;

/// What a run begins with.
pub(in crate::sandbox) struct Start<'a> {
    pub(in crate::sandbox) view: &'a View,
    pub(in crate::sandbox) job: &'a Job,
    pub(in crate::sandbox) rules: &'a Rules,
    pub(in crate::sandbox) filters: &'a Filters,
    pub(in crate::sandbox) keepers: Keepers,
    pub(in crate::sandbox) tree: Provided,
    /// The user and group to become, for a caller that is root.
    pub(in crate::sandbox) identity: Option<(u32, u32)>,
    /// Processes of that user that are not of this run.
    pub(in crate::sandbox) others: u64,
    pub(in crate::sandbox) streams: Streams,
    /// One byte arrives when the guard has put this process into its groups; its end, when the guard is gone.
    pub(in crate::sandbox) admitted: OwnedFd,
    /// Gets how the command ended.
    pub(in crate::sandbox) ended: OwnedFd,
    /// Gets a byte when the command could not be started, and closes when it was.
    pub(in crate::sandbox) failed: OwnedFd,
}

/// Is the first process of the run, and starts the command or says why not. Never returns.
pub(in crate::sandbox) fn run(start: Start<'_>) -> ! {
    let Start { streams, .. } = &start;
    let (Ok(report), Ok(failed)) = (streams.report.try_clone(), start.failed.try_clone()) else {
        sys::exit_now(1)
    };
    let (mut report, mut failed) = (File::from(report), File::from(failed));
    let line = match begin(&start.admitted) {
        Ok(Forked::Child) => enter(start, &mut report),
        Ok(Forked::Parent(command)) => {
            let Start {
                view, ended, streams, ..
            } = start;
            // Our copies would keep the streams from ending.
            drop((streams, report, failed));
            reap(command.pid, File::from(ended), &view.rung)
        }
        Err(failure) => Err(failure),
    };
    let line = line.unwrap_or_else(ReportLine::Layer);
    // Whom this does not reach sees that the process is gone.
    let _ = send(&mut report, &line);
    let _ = failed.write_all(b"1");
    sys::exit_now(1)
}

/// What the first process waits for: the end of a child, and of the guard.
const CHILD: Signal = Signal::SIGCHLD;
const GUARD: Signal = Signal::SIGTERM;

/// Waits to be let in, and starts the process that becomes the command.
fn begin(admitted: &OwnedFd) -> Result<Forked, LayerFailure> {
    heard()
        .thread_block()
        .step("hold back the signals of children and the guard")?;
    sys::set_parent_death_signal(GUARD).step("hear of the death of the guard")?;
    // Its end instead of a byte: the guard died before it could hear of us.
    match nix::unistd::read(admitted, &mut [0]).step("wait for the groups")? {
        0 => return Err(Errno::ESRCH).step("find the guard alive"),
        _ => sys::become_subreaper().step("adopt what a command leaves behind")?,
    }
    nix::unistd::setsid().step("start a session without a terminal")?;
    sys::fork().step("start a process")
}

fn heard() -> SigSet {
    [CHILD, GUARD].into_iter().collect()
}

/// Takes whatever ends, until it is the command. What is left then goes to the guard; where that was killed, everything is
/// ended and removed here.
fn reap(command: i32, mut ended: File, rung: &Rung) -> ! {
    if sys::set_dumpable(false).is_err() {
        // The command follows.
        sys::exit_now(1)
    }
    loop {
        match heard().wait() {
            Ok(GUARD) => {
                end_descendants();
                if let Rung::Bare { scratch } = rung {
                    let _ = remove_tree(scratch);
                }
                sys::exit_now(1)
            }
            // Only that there is something matters: several ends may be one signal.
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => sys::exit_now(1),
        }
        while let Ok(Some((pid, ending))) = sys::wait_ended() {
            if pid == command {
                tell(&mut ended, &ending);
                sys::exit_now(0)
            }
        }
    }
}

/// Applies the layers and becomes the command. The order is the program.
fn enter(start: Start<'_>, report: &mut File) -> Result<ReportLine, LayerFailure> {
    let Start {
        view,
        job,
        rules,
        filters,
        keepers,
        tree,
        identity,
        others,
        streams,
        admitted: _,
        ended: _,
        failed: _,
    } = start;
    // As the caller, to whom these files belong.
    let sources = Sources::open()?;
    // Some are held back.
    sys::reset_signals();
    limits::go_first()?;
    command::attach_input(job)?;
    sys::dup_onto(streams.stdout.as_fd(), 1).step("attach standard output")?;
    sys::dup_onto(streams.stderr.as_fd(), 2).step("attach standard error")?;
    let own = Pid::from_raw(0);
    nix::unistd::setpgid(own, own).step("start a process group")?;
    match sys::join_new_session_keyring() {
        // Somebody around us refuses it, as most containers do: then the command cannot reach the old one either.
        Err(Errno::EPERM | Errno::ENOSYS) => {}
        joined => joined.step("join a new session keyring")?,
    }
    let room = others.saturating_add(ROOM_FOR_OTHERS);
    limits::apply(&job.limits, keepers.nproc(job.limits.pids).saturating_add(room))?;
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap_or(false) {
        capabilities::lock()?;
    }
    if let Some((uid, gid)) = identity {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        nix::unistd::setresgid(gid, gid, gid).step("take the group id of commands")?;
        nix::unistd::setresuid(uid, uid, uid).step("take the user id of commands")?;
    }
    // A change of the user id takes this back.
    sys::set_parent_death_signal(Signal::SIGKILL).step("follow the first process into death")?;
    nix::sys::prctl::set_no_new_privs().step("set no_new_privs")?;
    capabilities::empty()?;
    landlock::restrict(rules, job.network)?;
    // Last: the filter forbids the calls made above.
    filters.install_without_namespaces()?;
    let receipt = receipt::take(view, job, sources, tree, keepers, filters)?;
    send(report, &ReportLine::Receipt(Box::new(receipt))).step("send the receipt")?;
    command::become_it(job)
}
