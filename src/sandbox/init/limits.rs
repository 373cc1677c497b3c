//! Resource limits of the process and all that it starts.
//!
//! Each is set soft and hard alike. A hard limit that the caller already has below ours stays: raising it needs
//! `CAP_SYS_RESOURCE` outside.

use super::Step;
use crate::sandbox::policy::Limits;
use crate::sandbox::setup::LayerFailure;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// One more than what makes the kernel skip a core file but start a core-dump program of the host: with exactly one byte
/// it aborts the dump in both cases. Source: core(5), "Piping core dumps to a program", and `fs/coredump.c`.
const CORE: u64 = 1;

/// Memory that a process may lock, enough for what libraries lock for keys.
const MEMLOCK: u64 = 8 << 20;

/// Signals and timers that may be pending: the kernel counts them for the operator's own programs as well.
const SIGPENDING: u64 = 1024;

/// Keeps core dumps from being made. For a slot: the filter that it puts on lets nobody change this limit afterwards.
pub(in crate::sandbox) fn no_core() -> Result<(), LayerFailure> {
    set(Resource::RLIMIT_CORE, CORE, CORE)
}

/// When memory runs out, here or on the whole host, the kernel is to end a command and not what watches over it.
/// Source: proc_pid_oom_score_adj(5): raising it takes no right.
pub(super) fn go_first() -> Result<(), LayerFailure> {
    std::fs::write("/proc/self/oom_score_adj", "900").step("go first when memory runs out")
}

/// Sets the limits that the kernel keeps by itself; time and total memory are kept by the helper.
///
/// `processes` is how many the kernel is to let there be, ours and others included where it counts them together.
pub(super) fn apply(limits: &Limits, processes: u64) -> Result<(), LayerFailure> {
    // Whole seconds, rounded up: a process that ended before its time would not have reached the limit.
    let cpu = limits.cpu.as_millis().div_ceil(1000).max(1) as u64;
    // The soft limit ends the process with SIGXCPU, the hard one a second later with SIGKILL if it caught that.
    set(Resource::RLIMIT_CPU, cpu, cpu + 1)?;
    // Counted in this user namespace since Linux 5.14, never for host root.
    set(Resource::RLIMIT_NPROC, processes, processes)?;
    // Not RLIMIT_AS: runtimes reserve address space far beyond what they use.
    set(Resource::RLIMIT_DATA, limits.memory.0, limits.memory.0)?;
    set(Resource::RLIMIT_FSIZE, limits.file_size.0, limits.file_size.0)?;
    set(Resource::RLIMIT_NOFILE, limits.files, limits.files)?;
    set(Resource::RLIMIT_MEMLOCK, MEMLOCK, MEMLOCK)?;
    set(Resource::RLIMIT_SIGPENDING, SIGPENDING, SIGPENDING)?;
    set(Resource::RLIMIT_RTPRIO, 0, 0)?;
    set(Resource::RLIMIT_MSGQUEUE, 0, 0)
}

fn set(resource: Resource, soft: u64, hard: u64) -> Result<(), LayerFailure> {
    let step = || format!("set {resource:?}");
    let (_, inherited) = getrlimit(resource).step(step())?;
    setrlimit(resource, soft.min(inherited), hard.min(inherited)).step(step())
}
