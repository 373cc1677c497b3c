//! The layers of the sandbox: what the probes found, and what can be done about it. Pure: facts in, checks out.

mod locks;
mod namespaces;
mod resources;
#[cfg(test)]
mod tests;

use super::errno::{EACCES, ENOSYS, EPERM};
use super::{Check, Consequence, Effect, Evidence, Profiles, Who};
use crate::sandbox::{Answer, Attempt, Facts, LimitKind};
use std::path::Path;

const MAX_USER_NAMESPACES: &str = "/proc/sys/user/max_user_namespaces";
const USERNS_CLONE: &str = "/proc/sys/kernel/unprivileged_userns_clone";
const APPARMOR_RESTRICTS: &str = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
const LSM: &str = "/sys/kernel/security/lsm";
const PTRACE_SCOPE: &str = "/proc/sys/kernel/yama/ptrace_scope";

/// What a container has to be told so that its filter lets us through.
const CONTAINER_FILTER: &str = "the filter belongs to whoever started this process: in a container, give it one that lets \
    the calls through (docker and podman: --security-opt seccomp=FILE; Kubernetes: seccompProfile), in a service look at \
    SystemCallFilter= and RestrictNamespaces=";

/// Every check of a layer.
pub(super) fn checks(facts: &Facts, profiles: Profiles<'_>, program: &Path) -> Vec<Check> {
    let judge = Judge {
        facts,
        profiles,
        program,
    };
    vec![
        judge.create(),
        judge.rights(),
        judge.namespaces(),
        judge.proc(),
        judge.outer_filter(),
        judge.filter(),
        judge.landlock(),
        judge.keyrings(),
        judge.overlay(),
        judge.limit(
            "limits.memory",
            LimitKind::Memory,
            "memory is counted by a sampler, several times a second",
        ),
        judge.limit(
            "limits.pids",
            LimitKind::Pids,
            "processes are counted by RLIMIT_NPROC, for one user namespace",
        ),
        judge.limit(
            "limits.cpu",
            LimitKind::Cpu,
            "processor time is counted by a sampler, several times a second",
        ),
        judge.kill(),
        judge.apparmor(),
    ]
}

struct Judge<'a> {
    facts: &'a Facts,
    profiles: Profiles<'a>,
    program: &'a Path,
}

impl Judge<'_> {
    fn answer(&self, id: &str) -> &Answer {
        self.facts.answer(id)
    }

    fn tried(&self, ids: &[&str]) -> Vec<Evidence> {
        let attempts = self.facts.attempts.iter();
        attempts
            .filter(|attempt| ids.contains(&attempt.id.as_str()))
            .map(evidence)
            .collect()
    }

    fn read(&self, paths: &[&str]) -> Vec<Evidence> {
        let settings = self.facts.settings.iter();
        settings
            .filter(|setting| paths.contains(&setting.path))
            .map(|setting| Evidence {
                tried: setting.path.to_owned(),
                answer: match (&setting.text, &setting.error) {
                    (Some(text), _) => text.trim().to_owned(),
                    (None, error) => error.clone().unwrap_or_default(),
                },
            })
            .collect()
    }

    /// What a missing layer means that belongs to namespaces, for the profiles that have these.
    fn refused(&self, how: &str) -> Vec<Effect> {
        self.profiles
            .effects(|policy| policy.floor().userns.then(|| (Consequence::Refused, how.to_owned())))
    }

    /// What a missing filter of system calls means.
    fn unfiltered(&self) -> Vec<Effect> {
        let how = "a filter of system calls is needed";
        self.profiles
            .effects(|policy| policy.floor().seccomp.then(|| (Consequence::Refused, how.to_owned())))
    }

    /// The calls that something in front of the kernel, or a kernel that lacks them, refuses.
    fn refused_calls(&self) -> Vec<&Attempt> {
        let calls = self.facts.of("call.");
        calls
            .filter(|attempt| {
                matches!(
                    attempt.answer,
                    Answer::Refused(EPERM | EACCES | ENOSYS) | Answer::Killed(_)
                )
            })
            .collect()
    }

    /// Whether a filter is around this process, and refuses the call.
    fn filter_refuses(&self, call: &str) -> bool {
        self.facts.outer_seccomp() == Some(2) && self.refused_calls().iter().any(|attempt| attempt.call == call)
    }

    /// Whether this process is in a user namespace made by somebody else: then switches of the host are not within reach.
    fn is_nested(&self) -> bool {
        let map = self.facts.setting("/proc/self/uid_map").unwrap_or_default();
        let words: Vec<&str> = map.split_whitespace().collect();
        words != ["0", "0", "4294967295"]
    }

    /// Whether an id of the caller is one of the namespace that it is in. Source: user_namespaces(7), "User and group ID
    /// mappings"; without that, clone(2) answers `EPERM`.
    fn is_mapped(&self, map: &str, id: u32) -> bool {
        let Some(map) = self.facts.setting(map) else {
            return true;
        };
        map.lines().any(|line| {
            let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            matches!(numbers[..], [first, _, count] if (first..first + count).contains(&u64::from(id)))
        })
    }

    /// Root where that means anything, else whoever made the namespace that we are in.
    fn root(&self) -> Who {
        if self.is_nested() {
            Who::Administrator
        } else {
            Who::Root
        }
    }
}

pub(super) fn evidence(attempt: &Attempt) -> Evidence {
    Evidence {
        tried: attempt.call.clone(),
        answer: attempt.answer.to_string(),
    }
}
