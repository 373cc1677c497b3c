//! User namespaces, the rights in them, the other namespaces, and a private `/proc`.

use super::{APPARMOR_RESTRICTS, CONTAINER_FILTER, Judge, MAX_USER_NAMESPACES, USERNS_CLONE};
use crate::doctor::errno::{EACCES, EINVAL, ENOENT, ENOSPC, ENOSYS, EPERM};
use crate::doctor::{Check, Consequence, Evidence, Status, Who, apparmor};
use crate::sandbox::Answer;

/// The namespaces of a sandbox besides that of users.
const KINDS: [&str; 6] = ["mnt", "pid", "net", "ipc", "uts", "cgroup"];

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

    pub(super) fn create(&self) -> Check {
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

    pub(super) fn rights(&self) -> Check {
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

    pub(super) fn namespaces(&self) -> Check {
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

    pub(super) fn proc(&self) -> Check {
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
}
