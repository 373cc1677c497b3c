//! The layers of the sandbox: what the probes found, and what can be done about it. Pure: facts in, checks out.

use super::errno::{EACCES, EBUSY, EDQUOT, EINVAL, ENODEV, ENOENT, ENOSPC, ENOSYS, EOPNOTSUPP, EPERM};
use super::{Check, Consequence, Effect, Evidence, Profiles, Status, Who, apparmor};
use crate::sandbox::{Answer, Attempt, CgroupFlavour, CgroupVersion, Facts, LimitKind};
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

/// The namespaces of a sandbox besides that of users.
const KINDS: [&str; 6] = ["mnt", "pid", "net", "ipc", "uts", "cgroup"];

struct Judge<'a> {
    facts: &'a Facts,
    profiles: Profiles<'a>,
    program: &'a Path,
}

/// Which way a user namespace, or its rights, is withheld.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Withheld {
    /// A filter around this process refuses calls.
    Filter,
    /// Debian's switch.
    Switch,
    /// AppArmor.
    AppArmor,
    /// The caller's ids mean nothing in the namespace that it is in.
    Unmapped,
    /// Something that cannot be seen from here.
    Unseen,
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

    fn withheld(&self) -> Withheld {
        let is = |path, value| self.facts.setting(path) == Some(value);
        let root = self.facts.uid == 0;
        if !self.is_mapped("/proc/self/uid_map", self.facts.uid)
            || !self.is_mapped("/proc/self/gid_map", self.facts.gid)
        {
            Withheld::Unmapped
        } else if ["clone3", "mount"].iter().any(|call| self.filter_refuses(call)) {
            Withheld::Filter
        } else if is(USERNS_CLONE, "0") {
            // Root of the host may create one all the same, and is nobody special inside of it, where each run needs another.
            Withheld::Switch
        } else if is(APPARMOR_RESTRICTS, "1") && !root {
            Withheld::AppArmor
        } else if self.facts.outer_seccomp() == Some(2) {
            // Filters look at the flags of clone as well, which the harmless calls do not have.
            Withheld::Filter
        } else {
            Withheld::Unseen
        }
    }

    /// The remedy for what withholds namespaces or their rights.
    fn give(&self, check: Check) -> Check {
        match self.withheld() {
            Withheld::Filter => check.remedy(Who::Administrator, CONTAINER_FILTER),
            Withheld::Switch => check.remedy(
                self.root(),
                "switch them on: sysctl kernel.unprivileged_userns_clone=1, and keep it in a file in /etc/sysctl.d",
            ),
            Withheld::AppArmor => check.remedy(
                self.root(),
                format!(
                    "write this to {}, then run: apparmor_parser --replace {}\n{}",
                    apparmor::FILE,
                    apparmor::FILE,
                    apparmor::profile(self.program)
                ),
            ),
            Withheld::Unmapped => check.remedy(
                Who::You,
                "the user or the group of this process has no id in the user namespace around it: map both, as \
                 unshare --map-user and --map-group do",
            ),
            Withheld::Unseen => check.remedy(
                Who::Administrator,
                "a security module, a chroot or the program that started this one withholds them: allow them, or run outside of it",
            ),
        }
    }

    /// What creating user namespaces comes to: a view is made in one, and each run in another inside of that.
    ///
    /// A limit on their number can let the first attempt through and refuse those after it, because the kernel takes a while
    /// to let go of one. Where only some of the other kinds are refused, it is these that are missing.
    fn creation(&self) -> &Answer {
        let alone = self.answer("namespace.user");
        let refused = KINDS
            .iter()
            .filter(|kind| !self.answer(&format!("namespace.{kind}")).is_done())
            .count();
        if !alone.is_done() || (refused > 0 && refused < KINDS.len()) {
            return alone;
        }
        let together = ["view.create", "view.run"].map(|id| self.answer(id));
        let withheld =
            |answer: &&&Answer| matches!(answer, Answer::Refused(ENOSPC | EPERM | EACCES) | Answer::Killed(_));
        together.iter().find(withheld).copied().unwrap_or(alone)
    }

    fn create(&self) -> Check {
        let id = "userns.create";
        let answer = self.creation();
        let evidence = [
            self.tried(&["namespace.user", "view.create", "view.run", "call.clone3", "start"]),
            self.read(&[
                MAX_USER_NAMESPACES,
                USERNS_CLONE,
                APPARMOR_RESTRICTS,
                "/proc/self/uid_map",
                "/proc/self/gid_map",
            ]),
        ]
        .concat();
        let fail = |found: &str| {
            Check::new(id, Status::Fail, found)
                .evidence(evidence.clone())
                .affects(self.refused("without a user namespace there is no sandbox"))
        };
        match answer {
            Answer::Done(_) => Check::new(id, Status::Ok, "a user namespace can be created").evidence(evidence),
            Answer::Refused(ENOSPC) => {
                let limit = self.facts.setting(MAX_USER_NAMESPACES).unwrap_or("unknown");
                let check = fail(&format!(
                    "no user namespace can be created: the limit on their number is reached, in this namespace \
                     (user.max_user_namespaces is {limit}) or in one around it"
                ));
                if self.is_nested() {
                    check.remedy(
                        Who::Administrator,
                        "whoever made the user namespace around this process has to raise user.max_user_namespaces in it, \
                         or run factory outside",
                    )
                } else {
                    check.remedy(
                        Who::Root,
                        "raise the limit: sysctl user.max_user_namespaces=15000, and keep it in a file in /etc/sysctl.d",
                    )
                }
            }
            Answer::Refused(EPERM | EACCES) => self.give(fail("no user namespace can be created: it is not permitted")),
            Answer::Refused(ENOSYS) if self.facts.outer_seccomp() == Some(2) => {
                fail("no user namespace can be created: clone3 does not exist, or a filter says so")
                    .remedy(Who::Administrator, CONTAINER_FILTER)
            }
            Answer::Refused(ENOSYS) => fail("no user namespace can be created: this kernel has no clone3")
                .remedy(Who::Nobody, "run on Linux 5.12 or newer"),
            Answer::Refused(EINVAL) => fail("no user namespace can be created: this kernel is built without them")
                .remedy(Who::Nobody, "run a kernel that is built with CONFIG_USER_NS"),
            Answer::Killed(_) => fail("no user namespace can be created: a filter kills whoever tries")
                .remedy(Who::Administrator, CONTAINER_FILTER),
            Answer::Refused(_) => self.give(fail("no user namespace can be created")),
            Answer::Silent | Answer::NotTried => Check::new(
                id,
                Status::Unknown,
                "whether a user namespace can be created could not be tried",
            )
            .evidence(evidence),
        }
    }

    fn rights(&self) -> Check {
        let id = "userns.rights";
        const STEPS: [&str; 11] = [
            "view.setgroups",
            "view.uid_map",
            "view.gid_map",
            "view.hostname",
            "view.unshare",
            "view.private",
            "view.tmpfs",
            "view.run_setgroups",
            "view.run_uid_map",
            "view.run_gid_map",
            "view.identity",
        ];
        let evidence = [
            self.tried(&[&["view.create"], &STEPS[..], &["call.mount"]].concat()),
            self.read(&[APPARMOR_RESTRICTS, "/proc/self/uid_map"]),
        ]
        .concat();
        if !self.answer("view.create").is_done() || matches!(self.answer("view.run"), Answer::Refused(_)) {
            return Check::new(
                id,
                Status::Unknown,
                "not tried: there are not the user namespaces to have rights in",
            )
            .evidence(evidence);
        }
        let Some(step) = STEPS.iter().find(|step| !self.answer(step).is_done()) else {
            return Check::new(
                id,
                Status::Ok,
                "a user namespace carries the rights to mount and to name",
            )
            .evidence(evidence);
        };
        let call = self
            .facts
            .of(step)
            .next()
            .map_or_else(|| (*step).to_owned(), |attempt| attempt.call.clone());
        if matches!(self.answer(step), Answer::Silent | Answer::NotTried) {
            return Check::new(id, Status::Unknown, format!("could not be tried: {call}")).evidence(evidence);
        }
        let found = format!(
            "a user namespace can be created, and carries no rights: {call}: {}",
            self.answer(step)
        );
        let check = Check::new(id, Status::Fail, found)
            .evidence(evidence)
            .affects(self.refused("the view cannot be built"));
        if self.answer(step) == &Answer::Refused(ENOENT) {
            return Check {
                found: "ids cannot be mapped: /proc is not mounted here".to_owned(),
                ..check
            }
            .remedy(self.root(), "mount it: mount -t proc proc /proc");
        }
        if step.ends_with("_map") && self.facts.uid == 0 {
            return check.remedy(
                Who::You,
                "this root is root of a user namespace that lacks the id which sandboxes use for root; run as an ordinary \
                 user of it, or outside",
            );
        }
        self.give(check)
    }

    fn namespaces(&self) -> Check {
        let id = "namespaces";
        let ids = KINDS.map(|kind| format!("namespace.{kind}"));
        let all: Vec<&str> = ids.iter().map(String::as_str).chain(["view.create"]).collect();
        let evidence = self.tried(&all);
        if !self.creation().is_done() {
            return Check::new(id, Status::Unknown, "not known: the others need a user namespace").evidence(evidence);
        }
        let refused: Vec<&str> = KINDS
            .iter()
            .zip(&ids)
            .filter(|(_, id)| !self.answer(id).is_done())
            .map(|(kind, _)| *kind)
            .collect();
        if refused.is_empty() {
            return Check::new(id, Status::Ok, "mnt, pid, net, ipc, uts and cgroup can be created").evidence(evidence);
        }
        let first = self.answer(&format!("namespace.{}", refused[0])).clone();
        let check = Check::new(id, Status::Fail, format!("cannot be created: {}", refused.join(", ")))
            .evidence(evidence)
            .affects(self.refused("all seven namespaces are needed"));
        match first {
            Answer::Refused(ENOSPC) => check.remedy(
                self.root(),
                format!(
                    "raise the limit on their number: sysctl {}",
                    refused
                        .iter()
                        .map(|kind| format!("user.max_{kind}_namespaces=15000"))
                        .collect::<Vec<_>>()
                        .join(" ")
                ),
            ),
            Answer::Refused(EINVAL) => check.remedy(Who::Nobody, "run a kernel that is built with these namespaces"),
            Answer::Silent | Answer::NotTried => Check {
                status: Status::Unknown,
                ..check
            },
            Answer::Done(_) | Answer::Refused(_) | Answer::Killed(_) => self.give(check),
        }
    }

    fn proc(&self) -> Check {
        let id = "proc";
        let mut evidence = self.tried(&["view.proc", "view.proc_subset", "view.proc_hidepid"]);
        let (subset, hidepid) = (self.answer("view.proc_subset"), self.answer("view.proc_hidepid"));
        let plain = match self.answer("view.proc") {
            Answer::Done(_) => hidepid,
            other => other,
        };
        if subset.is_done() {
            return Check::new(
                id,
                Status::Ok,
                "a private /proc can be mounted, with nothing but own processes",
            )
            .evidence(evidence);
        }
        if plain.is_done() {
            return Check::new(
                id,
                Status::Warn,
                "a private /proc can be mounted, but not without its files about the host",
            )
            .evidence(evidence)
            .affects(
                self.profiles
                    .all(Consequence::Weaker, "commands can read what /proc tells of the host"),
            )
            .remedy(Who::Nobody, "run on Linux 5.8 or newer");
        }
        if matches!(plain, Answer::NotTried | Answer::Silent) {
            return Check::new(id, Status::Unknown, "not tried: there is no place to mount it on").evidence(evidence);
        }
        let masked = &self.facts.masked_proc;
        evidence.push(Evidence {
            tried: "mounts below /proc in /proc/self/mountinfo".to_owned(),
            answer: if masked.is_empty() {
                "none".to_owned()
            } else {
                masked.join(" ")
            },
        });
        let check = |found: String| {
            Check::new(id, Status::Fail, found)
                .evidence(evidence.clone())
                .affects(self.refused("a sandbox has a /proc of its own"))
        };
        if masked.is_empty() {
            return self.give(check(format!("a private /proc cannot be mounted: {plain}")));
        }
        check(format!(
            "a private /proc cannot be mounted, because parts of the one here are covered: {}",
            masked.join(", ")
        ))
        .remedy(
            Who::Administrator,
            "uncover it: docker --security-opt systempaths=unconfined, podman --security-opt unmask=ALL, Kubernetes \
             procMount: Unmasked; elsewhere unmount what covers it, or run outside",
        )
    }

    fn outer_filter(&self) -> Check {
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
        evidence.extend(refused.iter().map(|attempt| super::sandbox::evidence(attempt)));
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

    fn filter(&self) -> Check {
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

    fn landlock(&self) -> Check {
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
                check.affects(below).remedy(
                    Who::Nobody,
                    "run a newer kernel, or do without: factory run --waive landlock",
                )
            };
        }
        let without = "waive it for one run: --waive landlock";
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
            Answer::Refused(EOPNOTSUPP) => check("Landlock is built into this kernel and was not switched on at boot").remedy(
                self.root(),
                format!(
                    "add `landlock` to the list in the kernel's parameter lsm= and boot again (now: {}); or {without}",
                    self.facts.setting(LSM).unwrap_or("unknown")
                ),
            ),
            Answer::Refused(ENOSYS) if self.facts.outer_seccomp() == Some(2) => {
                check("this kernel has no Landlock, or the filter around this process says so")
                    .remedy(Who::Administrator, format!("{CONTAINER_FILTER}; or {without}"))
            }
            Answer::Refused(ENOSYS) => check("this kernel is built without Landlock").remedy(
                Who::Nobody,
                format!("run Linux 6.2 or newer, built with CONFIG_SECURITY_LANDLOCK; or {without}"),
            ),
            Answer::Refused(_) | Answer::Killed(_) => check("the filter around this process refuses Landlock")
                .remedy(Who::Administrator, format!("{CONTAINER_FILTER}; or {without}")),
            Answer::Done(_) | Answer::Silent | Answer::NotTried => Check {
                status: Status::Unknown,
                affects: Vec::new(),
                ..check("whether there is Landlock could not be tried")
            },
        }
    }

    fn keyrings(&self) -> Check {
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

    fn overlay(&self) -> Check {
        let id = "overlay";
        let (mounted, xattr) = (self.answer("view.overlay"), self.answer("view.xattr"));
        let evidence = self.tried(&["view.xattr", "view.overlay"]);
        let slower = |found: String| {
            Check::new(id, Status::Warn, found)
                .evidence(evidence.clone())
                .affects(self.profiles.all(
                    Consequence::Slower,
                    "each command gets a copy of the tree, which takes time and memory as the tree grows",
                ))
        };
        match (mounted, xattr) {
            (Answer::Done(_), Answer::Done(_)) => {
                Check::new(id, Status::Ok, "trees are layered by overlayfs in a user namespace").evidence(evidence)
            }
            (Answer::Silent | Answer::NotTried, _) | (Answer::Done(_), Answer::Silent | Answer::NotTried) => {
                Check::new(id, Status::Unknown, "not tried: there is no private mount namespace").evidence(evidence)
            }
            (Answer::Refused(ENODEV), _) => {
                slower("this kernel has no overlayfs, or its module is not loaded".to_owned()).remedy(
                    self.root(),
                    "load it: modprobe overlay, and name it in a file in /etc/modules-load.d",
                )
            }
            (Answer::Refused(EPERM), _) => slower("overlayfs is not permitted in a user namespace".to_owned())
                .remedy(Who::Nobody, "run Linux 5.11 or newer"),
            (Answer::Done(_), _) => {
                slower("files on a tmpfs cannot hold the attributes that overlayfs needs".to_owned())
                    .remedy(Who::Nobody, "run Linux 6.6 or newer, built with CONFIG_TMPFS_XATTR")
            }
            (other, _) => {
                slower(format!("overlayfs cannot be mounted: {other}")).remedy(Who::Nobody, "run a newer kernel")
            }
        }
    }

    fn limit(&self, id: &'static str, limit: LimitKind, otherwise: &str) -> Check {
        let cgroups = &self.facts.cgroups;
        let controller = id.trim_start_matches("limits.");
        let attempts = cgroups.attempts.iter();
        let evidence: Vec<Evidence> = cgroups
            .own
            .iter()
            .filter(|(controllers, _)| controllers.is_empty() || controllers.split(',').any(|name| name == controller))
            .map(|(controllers, path)| Evidence {
                tried: format!(
                    "/proc/self/cgroup, {}",
                    if controllers.is_empty() { "v2" } else { controllers }
                ),
                answer: path.clone(),
            })
            .chain(
                attempts
                    .filter(|attempt| attempt.id.strip_prefix("cgroup.") == Some(controller))
                    .map(evidence),
            )
            .collect();
        if let Some(group) = cgroups.group(limit) {
            let version = match group.version {
                CgroupVersion::V2 => "version 2",
                CgroupVersion::V1 => "version 1",
            };
            let found = format!("a control group of {version} can be made in {}", group.parent.display());
            return Check::new(id, Status::Ok, found).evidence(evidence);
        }
        let affects = self.profiles.effects(|policy| {
            Some(if policy.floor().limits.contains(&limit) {
                (
                    Consequence::Refused,
                    "it requires a control group for this limit".to_owned(),
                )
            } else {
                (Consequence::Weaker, otherwise.to_owned())
            })
        });
        let refuses = affects.iter().any(|effect| effect.consequence == Consequence::Refused);
        let status = if refuses { Status::Fail } else { Status::Warn };
        let own = "start factory in a group of its own: systemd-run --user --scope --property=Delegate=yes factory …";
        let (found, who, remedy) = match (cgroups.flavour, &cgroups.occupied) {
            (_, Some(occupied)) => (
                format!(
                    "the group {} is delegated, but this process is in it",
                    occupied.display()
                ),
                Who::You,
                own,
            ),
            (CgroupFlavour::V2, None) => (
                "control groups are of version 2, and none is delegated to this process".to_owned(),
                Who::You,
                own,
            ),
            (CgroupFlavour::Hybrid | CgroupFlavour::V1, None) if self.facts.uid == 0 => (
                "the control groups of version 1 cannot be written".to_owned(),
                Who::Administrator,
                "mount them writable, as a container's --privileged does, or run outside",
            ),
            (CgroupFlavour::Hybrid | CgroupFlavour::V1, None) => (
                "control groups are of version 1, which only root can use".to_owned(),
                Who::Root,
                "boot with systemd.unified_cgroup_hierarchy=1, or run factory as root",
            ),
            (CgroupFlavour::None, _) => (
                "no control groups are mounted".to_owned(),
                self.root(),
                "mount them: mount -t cgroup2 none /sys/fs/cgroup",
            ),
        };
        Check::new(id, status, found)
            .evidence(evidence)
            .affects(affects)
            .remedy(
                who,
                format!("{remedy}; or, where a profile requires it, waive it for one run: --waive {id}"),
            )
    }

    fn kill(&self) -> Check {
        let attempts = self.facts.cgroups.attempts.iter();
        let evidence = attempts
            .filter(|attempt| attempt.id == "cgroup.kill")
            .map(evidence)
            .collect();
        let check = match &self.facts.cgroups.kill {
            Some(parent) => Check::new(
                "cgroup.kill",
                Status::Ok,
                format!("groups made in {} can be killed as a whole", parent.display()),
            ),
            None => Check::new(
                "cgroup.kill",
                Status::Ok,
                "not to be had; commands are killed by the end of their pid namespace",
            ),
        };
        check.evidence(evidence)
    }

    fn apparmor(&self) -> Check {
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

pub(super) fn evidence(attempt: &Attempt) -> Evidence {
    Evidence {
        tried: attempt.call.clone(),
        answer: attempt.answer.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{Operator, Setting, load_profile};

    /// What the probes find where nothing is in the way, changed by `change`: for answers that no kernel at hand gives.
    fn check_of(id: &str, change: impl FnOnce(&mut Facts)) -> Check {
        let mut facts = Facts::collect("/nonexistent".as_ref(), &[]);
        facts.attempts.clear();
        (facts.uid, facts.gid) = (1000, 1000);
        for attempt in [
            "namespace.user",
            "view.create",
            "view.setgroups",
            "view.uid_map",
            "view.gid_map",
            "view.identity",
        ] {
            answer(&mut facts, attempt, Answer::Done(0));
        }
        for (path, text) in [
            ("/proc/self/uid_map", "0 0 4294967295"),
            ("/proc/self/gid_map", "0 0 4294967295"),
            ("/proc/self/status", "Seccomp:\t0"),
            (USERNS_CLONE, "1"),
            (APPARMOR_RESTRICTS, "0"),
        ] {
            set(&mut facts, path, text);
        }
        change(&mut facts);
        let operator = Operator {
            profiles: None,
            own: &[],
            search_path: "/usr/bin:/bin",
            variable: &|_| None,
        };
        let profiles = vec![("strict".to_owned(), load_profile("strict", &operator))];
        let program = Path::new("/opt/factory");
        let mut checks = checks(&facts, Profiles(&profiles), program).into_iter();
        checks.find(|check| check.id == id).expect("every check is there")
    }

    fn answer(facts: &mut Facts, id: &str, answer: Answer) {
        facts.attempts.retain(|attempt| attempt.id != id);
        facts.attempts.push(Attempt {
            id: id.to_owned(),
            call: id.to_owned(),
            answer,
        });
    }

    fn set(facts: &mut Facts, path: &str, text: &str) {
        for setting in facts.settings.iter_mut().filter(|setting| setting.path == path) {
            setting.text = Some(text.to_owned());
        }
    }

    fn remedy(check: &Check) -> (Who, &str) {
        let remedy = check.remedy.as_ref().expect("there is a remedy");
        (remedy.who, &remedy.text)
    }

    #[test]
    fn ubuntus_restriction_is_answered_with_the_profile_of_this_binary() {
        for (id, step) in [
            ("userns.rights", "view.private"),
            ("userns.rights", "view.hostname"),
            ("userns.rights", "view.unshare"),
            ("userns.create", "namespace.user"),
        ] {
            let check = check_of(id, |facts| {
                for done in ["view.hostname", "view.unshare", "view.private", "view.tmpfs"] {
                    answer(facts, done, Answer::Done(0));
                }
                answer(facts, step, Answer::Refused(EACCES));
                set(facts, APPARMOR_RESTRICTS, "1");
            });
            let (who, text) = remedy(&check);
            assert_eq!((check.status, who), (Status::Fail, Who::Root), "{step}");
            assert!(
                text.contains("profile factory \"/opt/factory\"") && text.contains("userns,"),
                "{text}"
            );
            assert!(
                text.contains("apparmor_parser --replace /etc/apparmor.d/factory"),
                "{text}"
            );
        }
    }

    #[test]
    fn the_ways_to_lose_user_namespaces_have_different_remedies() {
        let create = |errno, path: &str, text: &str| {
            let check = check_of("userns.create", |facts| {
                answer(facts, "namespace.user", Answer::Refused(errno));
                set(facts, path, text);
            });
            let (who, text) = remedy(&check);
            (who, text.to_owned())
        };
        let (who, text) = create(ENOSPC, MAX_USER_NAMESPACES, "0");
        assert!(
            who == Who::Root && text.contains("user.max_user_namespaces=15000"),
            "{text}"
        );
        let (who, text) = create(EPERM, USERNS_CLONE, "0");
        assert!(
            who == Who::Root && text.contains("unprivileged_userns_clone=1"),
            "{text}"
        );
        // Root may create the first and not the one inside of it.
        let check = check_of("userns.create", |facts| {
            (facts.uid, facts.gid) = (0, 0);
            answer(facts, "view.run", Answer::Refused(EPERM));
            set(facts, USERNS_CLONE, "0");
        });
        assert!(remedy(&check).1.contains("unprivileged_userns_clone=1"), "{check:?}");
        let (who, text) = create(EPERM, "/proc/self/status", "Seccomp:\t2");
        assert!(who == Who::Administrator && text.contains("seccomp="), "{text}");
        let (who, text) = create(EINVAL, "", "");
        assert!(who == Who::Nobody && text.contains("CONFIG_USER_NS"), "{text}");
        let (who, text) = create(EPERM, "/proc/self/gid_map", "0 0 1");
        assert!(who == Who::You && text.contains("--map-group"), "{text}");
    }

    #[test]
    fn what_keeps_calls_from_being_answered_is_a_warning_with_a_remedy_of_its_own() {
        type Lack = fn(&mut Facts);
        let lacks: [(Lack, Who, &str); 3] = [
            (
                |facts| answer(facts, "view.listener", Answer::Refused(EBUSY)),
                Who::Administrator,
                "one listener",
            ),
            (
                |facts| answer(facts, "view.listener", Answer::Refused(EINVAL)),
                Who::Nobody,
                "Linux 5.0",
            ),
            (|facts| set(facts, PTRACE_SCOPE, "3"), Who::Root, "ptrace_scope"),
        ];
        for (lack, who, word) in lacks {
            let check = check_of("seccomp.filter", |facts| {
                answer(facts, "view.filter", Answer::Done(0));
                answer(facts, "view.listener", Answer::Done(0));
                facts.settings.retain(|setting| setting.path != PTRACE_SCOPE);
                facts.settings.push(Setting {
                    path: PTRACE_SCOPE,
                    text: Some("1".to_owned()),
                    error: None,
                });
                lack(facts);
            });
            assert_eq!(check.status, Status::Warn, "{check:?}");
            assert_eq!(check.affects[0].consequence, Consequence::Weaker);
            let (whose, text) = remedy(&check);
            assert!(whose == who && text.contains(word), "{text}");
        }
    }

    #[test]
    fn the_ways_to_lack_landlock_have_different_remedies() {
        let landlock = |errno| {
            let check = check_of("landlock", |facts| {
                facts.landlock.abi = 0;
                facts.landlock.answer = Answer::Refused(errno);
            });
            let (who, text) = remedy(&check);
            assert_eq!(check.status, Status::Fail);
            assert_eq!(check.affects[0].consequence, Consequence::Refused);
            assert!(text.contains("--waive landlock"), "{text}");
            (who, text.to_owned())
        };
        let (who, text) = landlock(EOPNOTSUPP);
        assert!(who == Who::Root && text.contains("lsm="), "{text}");
        let (who, text) = landlock(ENOSYS);
        assert!(
            who == Who::Nobody && text.contains("CONFIG_SECURITY_LANDLOCK"),
            "{text}"
        );
        assert_eq!(landlock(EPERM).0, Who::Administrator);
    }

    #[test]
    fn without_overlayfs_profiles_are_slower_and_not_refused() {
        for errno in [ENODEV, EPERM, EINVAL] {
            let check = check_of("overlay", |facts| {
                answer(facts, "view.xattr", Answer::Done(0));
                answer(facts, "view.overlay", Answer::Refused(errno));
            });
            assert_eq!(check.status, Status::Warn);
            assert!(
                check
                    .affects
                    .iter()
                    .all(|effect| effect.consequence == Consequence::Slower)
            );
        }
    }

    #[test]
    fn a_delegated_group_that_is_occupied_needs_one_of_its_own() {
        let check = check_of("limits.memory", |facts| {
            let cgroups = &mut facts.cgroups;
            (cgroups.memory, cgroups.flavour) = (None, CgroupFlavour::V2);
            cgroups.occupied = Some("/sys/fs/cgroup/user.slice/run.scope".into());
        });
        let (who, text) = remedy(&check);
        assert!(who == Who::You && text.contains("Delegate=yes"), "{text}");
        assert_eq!(check.status, Status::Warn);
    }
}
