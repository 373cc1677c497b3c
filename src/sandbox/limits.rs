//! What came of each limit of a run.
//!
//! Nothing is guessed from exit codes: a limit counts as reached when the kernel counted a refusal, when the private file
//! system is full, or when the sandbox itself ended the run for it.

use super::error::SandboxError;
use super::launch::Told;
use super::policy::Require;
use super::report::{Enforcer, Keepers, LimitKind, LimitReport, Metering};
use super::setup::{Ended, Rung, Setup};

/// Every limit of a run: what was asked for, who kept it, how close it came.
pub(super) fn report(
    setup: &Setup,
    told: &Told,
    metering: &Metering,
    killed_for: Option<LimitKind>,
    output_dropped: bool,
) -> Vec<LimitReport> {
    let judge = Judge {
        setup,
        ended: told.ended.as_ref(),
        keepers: told.enforced.as_ref().map(|enforced| enforced.keepers),
        metering,
        killed_for,
        output_dropped,
    };
    LimitKind::ALL
        .into_iter()
        .filter_map(|limit| judge.limit(limit))
        .collect()
}

struct Judge<'a> {
    setup: &'a Setup,
    ended: Option<&'a Ended>,
    keepers: Option<Keepers>,
    metering: &'a Metering,
    killed_for: Option<LimitKind>,
    output_dropped: bool,
}

impl Judge<'_> {
    /// The report on one limit; nothing for one that the policy does not set.
    fn limit(&self, limit: LimitKind) -> Option<LimitReport> {
        let limits = &self.setup.job.limits;
        let tmp = &self.setup.job.tmp;
        let metering = self.metering;
        let milliseconds = |time: std::time::Duration| time.as_millis() as u64;
        let disk = match self.setup.view.rung {
            Rung::Namespaces => Enforcer::Tmpfs,
            Rung::Bare { .. } => Enforcer::Sampler,
        };
        let keeper = |pick: fn(&Keepers) -> Enforcer, otherwise| self.keepers.as_ref().map_or(otherwise, pick);
        let (requested, enforced_by, peak) = match limit {
            LimitKind::Wall => (milliseconds(limits.wall), Enforcer::Timer, Some(metering.wall_ms)),
            LimitKind::Cpu => (
                milliseconds(limits.cpu),
                keeper(|keepers| keepers.cpu, Enforcer::Sampler),
                Some(metering.cpu_ms),
            ),
            LimitKind::Memory => (
                limits.memory.0,
                keeper(|keepers| keepers.memory, Enforcer::Sampler),
                Some(metering.peak_memory_bytes),
            ),
            LimitKind::Pids => (
                limits.pids,
                keeper(|keepers| keepers.pids, Enforcer::Rlimit),
                Some(metering.processes),
            ),
            LimitKind::FileSize => (limits.file_size.0, Enforcer::Rlimit, None),
            LimitKind::Files => (limits.files, Enforcer::Rlimit, None),
            LimitKind::Disk => (tmp.size.0, disk, self.ended.map(|ended| ended.written_bytes)),
            LimitKind::Inodes => (tmp.inodes, disk, self.ended.map(|ended| ended.written_files)),
            LimitKind::Output => (limits.output.0, Enforcer::Collector, Some(metering.output_bytes)),
            LimitKind::Silence => (milliseconds(limits.silence?), Enforcer::Collector, None),
        };
        Some(LimitReport {
            limit,
            requested,
            enforced_by,
            peak,
            hit: self.hit(limit),
        })
    }

    /// Whether a limit was reached, where anybody can tell.
    fn hit(&self, limit: LimitKind) -> Option<bool> {
        if self.killed_for == Some(limit) {
            return Some(true);
        }
        let groups = self.ended.map(|ended| ended.groups).unwrap_or_default();
        let signal = self.ended.and_then(|ended| ended.signal);
        match limit {
            LimitKind::Wall | LimitKind::Silence => Some(false),
            // The first at the limit of one process, the second a moment later if it caught that one. The time used tells
            // them from signals sent by hand; with a margin, because the limit counts by ticks and the usage does not.
            LimitKind::Cpu => {
                let used = self.ended.map_or(0, |ended| ended.cpu_ms).max(self.metering.cpu_ms);
                let near = u128::from(used) * 4 >= self.setup.job.limits.cpu.as_millis() * 3;
                Some(near && matches!(signal, Some(libc::SIGXCPU | libc::SIGKILL)))
            }
            // Without a group the kernel refuses a single process its share, which the process sees and nobody else.
            LimitKind::Memory => groups.oom_kills.map(|kills| kills > 0),
            LimitKind::Pids => groups
                .pids_refused
                .map(|refused| refused > 0)
                .or((self.metering.processes >= self.setup.job.limits.pids).then_some(true)),
            LimitKind::FileSize => (signal == Some(libc::SIGXFSZ)).then_some(true),
            LimitKind::Files => None,
            LimitKind::Disk => self.ended.map(|ended| ended.disk_full),
            LimitKind::Inodes => self.ended.map(|ended| ended.inodes_full),
            LimitKind::Output => Some(self.output_dropped),
        }
    }
}

/// Refuses a policy that wants a limit kept by the kernel where no control group keeps it.
pub(super) fn check_floor(profile: &str, require: &Require, keepers: &Keepers) -> Result<(), SandboxError> {
    match keepers.unkept(&require.limits) {
        None => Ok(()),
        Some(limit) => Err(SandboxError::BelowFloor {
            profile: profile.to_owned(),
            wanted: format!("a control group for the limit `{}`", limit.as_str()),
            found: "none that we may use".to_owned(),
            waivable: true,
        }),
    }
}
