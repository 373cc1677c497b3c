//! What holds a command inside of its view: filters of system calls, Landlock, keyrings; and AppArmor, which may be in the way.

use super::{APPARMOR_RESTRICTS, CONTAINER_FILTER, Judge, LSM, PTRACE_SCOPE};
use crate::doctor::errno::{EBUSY, EDQUOT, ENOSYS, EOPNOTSUPP};
use crate::doctor::{Check, Consequence, Effect, Evidence, Status, Who};
use crate::sandbox::Answer;

impl Judge<'_> {
    pub(super) fn outer_filter(&self) -> Check {
        let id = "seccomp.outer";
        let refused = self.refused_calls();
        let names: Vec<&str> = refused.iter().map(|attempt| attempt.call.as_str()).collect();
        let mut evidence = vec![Evidence {
            tried: "Seccomp in /proc/self/status".to_owned(),
            answer: self
                .facts
                .outer_seccomp()
                .map_or_else(|| "not told".to_owned(), |mode| mode.to_string()),
        }];
        evidence.extend(refused.iter().map(|attempt| super::evidence(attempt)));
        if self.facts.of("call.").next().is_none() {
            return Check::new(
                id,
                Status::Unknown,
                "the calls that building a sandbox takes could not be tried",
            )
            .evidence([evidence, self.tried(&["start"])].concat());
        }
        match (self.facts.outer_seccomp(), names.is_empty()) {
            (Some(0), true) => Check::new(id, Status::Ok, "no filter is around this process").evidence(evidence),
            (Some(_), true) => Check::new(
                id,
                Status::Ok,
                "a filter is around this process and lets through what we need",
            )
            .evidence(evidence),
            (None, true) => Check::new(id, Status::Ok, "every call that we need gets through").evidence(evidence),
            (Some(0), false) => Check::new(
                id,
                Status::Warn,
                format!("no filter is around this process, yet refused are {}", names.join(", ")),
            )
            .evidence(evidence),
            (Some(_) | None, false) => {
                let found = format!("a filter around this process refuses {}", names.join(", "));
                // Landlock has a floor of its own.
                let only_landlock = names.iter().all(|name| name.starts_with("landlock_"));
                let check = if only_landlock {
                    Check::new(id, Status::Warn, found).affects(self.profiles.all(
                        Consequence::Weaker,
                        "Landlock cannot be applied; see the check `landlock`",
                    ))
                } else {
                    Check::new(id, Status::Fail, found).affects(self.refused("the calls build the sandbox"))
                };
                check.evidence(evidence).remedy(Who::Administrator, CONTAINER_FILTER)
            }
        }
    }

    pub(super) fn filter(&self) -> Check {
        let id = "seccomp.filter";
        const ACTIONS: [&str; 3] = ["action.kill_process", "action.errno", "action.allow"];
        let evidence = [
            self.tried(
                &[
                    &ACTIONS[..],
                    &[
                        "view.filter",
                        "view.listener",
                        "action.user_notif",
                        "action.log",
                        "action.trace",
                    ],
                ]
                .concat(),
            ),
            self.read(&["/proc/sys/kernel/seccomp/actions_avail", PTRACE_SCOPE]),
        ]
        .concat();
        let missing: Vec<&str> = ACTIONS
            .iter()
            .filter(|action| matches!(self.answer(action), Answer::Refused(_) | Answer::Killed(_)))
            .map(|action| action.trim_start_matches("action."))
            .collect();
        if !missing.is_empty() {
            let check = Check::new(
                id,
                Status::Fail,
                format!("filters lack the actions {}", missing.join(", ")),
            )
            .evidence(evidence)
            .affects(self.unfiltered());
            return if self.filter_refuses("seccomp") {
                check.remedy(Who::Administrator, CONTAINER_FILTER)
            } else {
                check.remedy(Who::Nobody, "run a kernel that is built with CONFIG_SECCOMP_FILTER")
            };
        }
        match self.answer("view.filter") {
            Answer::Done(_) => match self.unanswered() {
                None => Check::new(id, Status::Ok, "a filter of system calls can be installed").evidence(evidence),
                Some((reason, who, remedy)) => Check::new(
                    id,
                    Status::Warn,
                    format!("a filter can be installed, but nobody can answer calls: {reason}"),
                )
                .evidence(evidence)
                .affects(
                    self.profiles
                        .all(Consequence::Weaker, "uname and sysinfo tell commands of the host"),
                )
                .remedy(who, remedy),
            },
            Answer::NotTried | Answer::Silent => Check::new(
                id,
                Status::Unknown,
                "filters have the actions that we need; installing one could not be tried",
            )
            .evidence(evidence),
            Answer::Refused(_) | Answer::Killed(_) => {
                let check = Check::new(id, Status::Fail, "a filter of system calls cannot be installed")
                    .evidence(evidence)
                    .affects(self.unfiltered());
                check.remedy(Who::Administrator, CONTAINER_FILTER)
            }
        }
    }

    /// Why no process can answer calls of commands in the kernel's place, and what helps.
    fn unanswered(&self) -> Option<(String, Who, &'static str)> {
        match self.answer("view.listener") {
            Answer::Refused(EBUSY) => Some((
                "somebody around this process does already".to_owned(),
                Who::Administrator,
                "run outside of what answers system calls of this process: a filter can have one listener",
            )),
            refused @ (Answer::Refused(_) | Answer::Killed(_)) => {
                let remedy = "run on Linux 5.0 or newer";
                Some((refused.to_string(), Who::Nobody, remedy))
            }
            // No process may write to another's memory. Source: ptrace(2), "/proc/sys/kernel/yama/ptrace_scope".
            Answer::Done(_) if self.facts.setting(PTRACE_SCOPE) == Some("3") => Some((
                "Yama forbids all tracing".to_owned(),
                Who::Root,
                "boot with kernel.yama.ptrace_scope below 3, which cannot be lowered again",
            )),
            Answer::Done(_) | Answer::Silent | Answer::NotTried => None,
        }
    }

    pub(super) fn landlock(&self) -> Check {
        let id = "landlock";
        let landlock = &self.facts.landlock;
        let applied = self.answer("view.landlock");
        let mut evidence = [
            self.tried(&[
                "landlock.version",
                "landlock.errata",
                "call.landlock_restrict_self",
                "view.landlock",
            ]),
            self.read(&[LSM]),
        ]
        .concat();
        evidence.retain(|one| one.answer != "not tried");
        // The ABI says that it is there; only applying it says that it works.
        if landlock.abi > 0 && matches!(applied, Answer::Refused(_) | Answer::Killed(_)) {
            return Check::new(
                id,
                Status::Fail,
                format!("Landlock has ABI {} but cannot be applied: {applied}", landlock.abi),
            )
            .evidence(evidence)
            .affects(
                self.profiles
                    .all(Consequence::Refused, "what the kernel says that it has must work"),
            )
            .remedy(Who::Administrator, CONTAINER_FILTER);
        }
        let below = self.profiles.effects(|policy| {
            let floor = policy.floor().landlock_abi;
            let missing = landlock.abi < floor;
            missing.then(|| (Consequence::Refused, format!("it requires ABI {floor}")))
        });
        let without = self.without_landlock(&below);
        let known_errata = landlock
            .errata
            .map_or(String::new(), |bits| format!(", errata fixed: {bits:#x}"));
        if landlock.abi > 0 {
            let found = format!("ABI {}{known_errata}", landlock.abi);
            let status = if below.is_empty() { Status::Ok } else { Status::Fail };
            let check = Check::new(id, status, found).evidence(evidence);
            return if below.is_empty() {
                check
            } else {
                check
                    .affects(below)
                    .remedy(Who::Nobody, format!("run a newer kernel{without}"))
            };
        }
        let weaker = self.profiles.effects(|policy| {
            let optional = policy.floor().landlock_abi == 0;
            optional.then(|| (Consequence::Weaker, "the second lock on files is missing".to_owned()))
        });
        let check = |found: &str| {
            Check::new(id, Status::Fail, found)
                .evidence(evidence.clone())
                .affects([below.clone(), weaker.clone()].concat())
        };
        match &landlock.answer {
            Answer::Refused(EOPNOTSUPP) => check("Landlock is built into this kernel and was not switched on at boot")
                .remedy(
                    self.root(),
                    format!(
                        "add `landlock` to the list in the kernel's parameter lsm= and boot again (now: {}){without}",
                        self.facts.setting(LSM).unwrap_or("unknown")
                    ),
                ),
            Answer::Refused(ENOSYS) if self.facts.outer_seccomp() == Some(2) => {
                check("this kernel has no Landlock, or the filter around this process says so")
                    .remedy(Who::Administrator, format!("{CONTAINER_FILTER}{without}"))
            }
            Answer::Refused(ENOSYS) => check("this kernel is built without Landlock").remedy(
                Who::Nobody,
                format!("run Linux 6.2 or newer, built with CONFIG_SECURITY_LANDLOCK{without}"),
            ),
            Answer::Refused(_) | Answer::Killed(_) => check("the filter around this process refuses Landlock")
                .remedy(Who::Administrator, format!("{CONTAINER_FILTER}{without}")),
            Answer::Done(_) | Answer::Silent | Answer::NotTried => Check {
                status: Status::Unknown,
                affects: Vec::new(),
                ..check("whether there is Landlock could not be tried")
            },
        }
    }

    /// What is left beside the remedy: to waive it, under those of the refused profiles that have something else.
    fn without_landlock(&self, refused: &[Effect]) -> String {
        let waivable = self
            .profiles
            .effects(|policy| policy.floor().userns.then(|| (Consequence::Weaker, String::new())));
        let can_waive = |effect: &&Effect| waivable.iter().any(|one| one.profile == effect.profile);
        let (can, cannot): (Vec<_>, Vec<_>) = refused.iter().partition(can_waive);
        let name = |effect: &&Effect| format!("`{}`", effect.profile);
        let cannot: Vec<String> = cannot.iter().map(name).collect();
        match (can.is_empty(), cannot.is_empty()) {
            (true, _) => String::new(),
            (false, true) => "; or waive it for one run: --waive landlock".to_owned(),
            (false, false) => format!(
                "; or waive it for one run: --waive landlock, except under {}, which has nothing else",
                cannot.join(", ")
            ),
        }
    }

    pub(super) fn keyrings(&self) -> Check {
        let id = "keyrings";
        let answer = self.answer("view.keyring");
        let evidence = self.tried(&["view.keyring", "call.keyctl"]);
        let fail = |found: &str| {
            Check::new(id, Status::Fail, found)
                .evidence(evidence.clone())
                .affects(self.refused("commands would have the operator's keyring"))
        };
        match answer {
            Answer::Done(_) => Check::new(id, Status::Ok, "commands get a keyring of their own").evidence(evidence),
            Answer::Refused(EDQUOT) => fail("the caller has used up its quota of keys").remedy(
                self.root(),
                "raise the quota: sysctl kernel.keys.maxkeys=2000, or remove keys (keyctl show)",
            ),
            Answer::Refused(ENOSYS) if self.facts.outer_seccomp() != Some(2) => {
                fail("this kernel is built without keyrings")
                    .remedy(Who::Nobody, "run a kernel that is built with CONFIG_KEYS")
            }
            Answer::Refused(_) | Answer::Killed(_) => {
                fail("a filter around this process refuses keyctl").remedy(Who::Administrator, CONTAINER_FILTER)
            }
            Answer::Silent | Answer::NotTried => {
                Check::new(id, Status::Unknown, "not tried: no sandbox could be built so far").evidence(evidence)
            }
        }
    }

    pub(super) fn apparmor(&self) -> Check {
        let id = "apparmor";
        let evidence = self.read(&[
            "/sys/module/apparmor/parameters/enabled",
            "/proc/self/attr/current",
            APPARMOR_RESTRICTS,
            LSM,
        ]);
        let enabled = self.facts.setting("/sys/module/apparmor/parameters/enabled") == Some("Y");
        if !enabled {
            return Check::new(id, Status::Ok, "AppArmor is not in force").evidence(evidence);
        }
        let label = self
            .facts
            .setting("/proc/self/attr/current")
            .unwrap_or("unknown")
            .trim();
        let restricts = self.facts.setting(APPARMOR_RESTRICTS) == Some("1");
        let found = match restricts {
            true => format!("in force, restricts user namespaces; this process is `{label}`"),
            false => format!("in force; this process is `{label}`"),
        };
        Check::new(id, Status::Ok, found).evidence(evidence)
    }
}
