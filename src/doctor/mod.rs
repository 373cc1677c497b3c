//! Can this host do what a profile asks for? Facts → checks, each with its remedy.
//!
//! - The facts are those of the sandbox's own probes, and the last check runs a real command, so that what is said here is
//!   what a run finds.
//! - Every check is always there: what could not be found out is `unknown`, not left out.
//! - A check names the profiles that it touches; whether one profile can run follows from that alone.
//!
//! It changes nothing. It knows no exit codes, and nothing of how its answer is shown.

mod apparmor;
mod host;
mod provider;
mod sandbox;

pub use provider::{ProviderExamination, examine_provider};

use crate::sandbox::{Facts, Policy, SandboxError};
use crate::types::{FailureClass, Problem as _};
use serde::Serialize;
use std::path::PathBuf;

/// The error numbers that matter here, the same on every architecture of Linux that this program runs on.
/// Source: errno(3) and `asm-generic/errno.h`.
mod errno {
    pub(super) const EPERM: i32 = 1;
    pub(super) const ENOENT: i32 = 2;
    pub(super) const EACCES: i32 = 13;
    pub(super) const ENODEV: i32 = 19;
    pub(super) const EBUSY: i32 = 16;
    pub(super) const EINVAL: i32 = 22;
    pub(super) const ENOSPC: i32 = 28;
    pub(super) const ENOSYS: i32 = 38;
    pub(super) const EOPNOTSUPP: i32 = 95;
    pub(super) const EDQUOT: i32 = 122;
}

/// A profile by name, as it was read or could not be.
pub type Loaded = (String, Result<Policy, SandboxError>);

/// What is asked.
#[derive(Debug)]
pub struct Question {
    /// The profile that is to run.
    pub profile: String,
    /// Every profile that there is, that one included.
    pub profiles: Vec<Loaded>,
    /// A directory of the repository whose verification is to run.
    pub repository: PathBuf,
    /// This project's own binary.
    pub program: PathBuf,
    /// Where git is looked for.
    pub search_path: String,
    /// The directories that runs write to, by name.
    pub places: Vec<(&'static str, PathBuf)>,
}

impl Question {
    /// The policy of the profile that is to run, when it can be read.
    fn policy(&self) -> Option<&Policy> {
        let (_, policy) = self.profiles.iter().find(|(name, _)| *name == self.profile)?;
        policy.as_ref().ok()
    }

    /// The repository by its absolute path, as file systems are asked about it.
    fn repository(&self) -> PathBuf {
        std::path::absolute(&self.repository).unwrap_or_else(|_| self.repository.clone())
    }

    /// Every place whose file system matters, the most telling first: a few that hang end the asking.
    fn all_places(&self) -> Vec<PathBuf> {
        let named = self.places.iter().map(|(_, place)| place.clone());
        let granted = self.policy().into_iter().flat_map(|policy| &policy.read);
        named
            .chain([self.repository()])
            .chain(granted.map(|grant| grant.path.clone()))
            .collect()
    }
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing is in the way.
    Ok,
    /// It works, with something lost or slower.
    Warn,
    /// Something does not work.
    Fail,
    /// It could not be found out.
    Unknown,
}

impl Status {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "fail",
            Status::Unknown => "unknown",
        }
    }
}

/// What kind of thing a check looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The profile as it is written.
    Profile,
    /// A layer of the sandbox.
    Layer,
    /// The host besides that: tools, room, the repository.
    Host,
    /// A stage of the way to a provider's answer.
    Provider,
}

/// What a finding means for one profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Consequence {
    /// Nothing runs under it.
    Refused,
    /// It runs, and something holds less firmly.
    Weaker,
    /// It runs, and takes longer.
    Slower,
}

impl Consequence {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Consequence::Refused => "refused",
            Consequence::Weaker => "weaker",
            Consequence::Slower => "slower",
        }
    }
}

/// What a finding means for one profile, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Effect {
    /// The profile.
    pub profile: String,
    /// What it means.
    pub consequence: Consequence,
    /// How, as a fragment.
    pub how: String,
}

/// Something that was tried or read, and what was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The call or the file.
    pub tried: String,
    /// The answer, or the content.
    pub answer: String,
}

/// Who can apply a remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// Whoever reads this, without further rights.
    You,
    /// Root on this system.
    Root,
    /// Whoever runs the machine, or made the container around this process.
    Administrator,
    /// Nobody: it takes another kernel or another machine.
    Nobody,
}

impl Who {
    /// The words for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Who::You => "you",
            Who::Root => "root",
            Who::Administrator => "the machine's administrator",
            Who::Nobody => "nobody on this machine",
        }
    }
}

/// What can be done about a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// Who can do it.
    pub who: Who,
    /// What is to be done.
    pub text: String,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name, one of [`CHECKS`].
    pub id: &'static str,
    /// What kind of thing it looks at.
    pub kind: Kind,
    /// What came of it.
    pub status: Status,
    /// What was found, in a sentence without a full stop.
    pub found: String,
    /// What was tried and read.
    pub evidence: Vec<Evidence>,
    /// The profiles that are touched.
    pub affects: Vec<Effect>,
    /// What can be done, where something is to be done.
    pub remedy: Option<Remedy>,
}

/// Every check in the order of reports.
pub const CHECKS: [(&str, Kind); 30] = [
    ("profile", Kind::Profile),
    ("userns.create", Kind::Layer),
    ("userns.rights", Kind::Layer),
    ("namespaces", Kind::Layer),
    ("proc", Kind::Layer),
    ("seccomp.outer", Kind::Layer),
    ("seccomp.filter", Kind::Layer),
    ("landlock", Kind::Layer),
    ("keyrings", Kind::Layer),
    ("overlay", Kind::Layer),
    ("limits.memory", Kind::Layer),
    ("limits.pids", Kind::Layer),
    ("limits.cpu", Kind::Layer),
    ("cgroup.kill", Kind::Layer),
    ("apparmor", Kind::Layer),
    ("groups", Kind::Host),
    ("core_pattern", Kind::Host),
    ("tiocsti", Kind::Host),
    ("io_uring", Kind::Host),
    ("x32", Kind::Host),
    ("time_namespace", Kind::Host),
    ("memfd_noexec", Kind::Host),
    ("ptrace_scope", Kind::Host),
    ("disk.state", Kind::Host),
    ("disk.cache", Kind::Host),
    ("disk.temp", Kind::Host),
    ("memory", Kind::Host),
    ("grants", Kind::Host),
    ("git", Kind::Host),
    ("tools", Kind::Host),
];

/// The check that runs a real command; it is made last and by itself, because it waits.
pub const LAST: (&str, Kind) = ("sandbox", Kind::Layer);

/// Every check of a provider in the order of reports.
pub const PROVIDER_CHECKS: [(&str, Kind); 7] = [
    ("provider.dns", Kind::Provider),
    ("provider.tcp", Kind::Provider),
    ("provider.proxy", Kind::Provider),
    ("provider.tls", Kind::Provider),
    ("provider.auth", Kind::Provider),
    ("provider.model", Kind::Provider),
    ("provider.completion", Kind::Provider),
];

impl Check {
    fn new(id: &'static str, status: Status, found: impl Into<String>) -> Self {
        let mut all = CHECKS.iter().chain([&LAST]).chain(&PROVIDER_CHECKS);
        let known = all.find(|(known, _)| *known == id);
        Check {
            id,
            kind: known.expect("every check is in the table").1,
            status,
            found: found.into(),
            evidence: Vec::new(),
            affects: Vec::new(),
            remedy: None,
        }
    }

    fn remedy(self, who: Who, text: impl Into<String>) -> Self {
        Check {
            remedy: Some(Remedy { who, text: text.into() }),
            ..self
        }
    }

    /// With an error's hint as the remedy, if it has one.
    fn hint(self, hint: Option<String>) -> Self {
        match hint {
            Some(hint) => self.remedy(Who::You, hint),
            None => self,
        }
    }

    fn evidence(self, evidence: Vec<Evidence>) -> Self {
        Check { evidence, ..self }
    }

    fn affects(self, affects: Vec<Effect>) -> Self {
        Check { affects, ..self }
    }
}

/// Whether a profile can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Nothing is in the way.
    Ready,
    /// Something is: what kind of thing, and the checks that say so.
    Refused(Kind, Vec<&'static str>),
}

/// What an examination found.
#[derive(Debug)]
pub struct Examination {
    /// The profile that was asked about.
    pub profile: String,
    /// What the probes found.
    pub facts: Facts,
    /// The checks, in the order of [`CHECKS`] and then [`LAST`].
    pub checks: Vec<Check>,
}

impl Examination {
    /// Whether the profile that was asked about can run. Of several reasons the first kind of [`Kind`] is named.
    pub fn readiness(&self) -> Readiness {
        let refusing: Vec<&Check> = self
            .checks
            .iter()
            .filter(|check| check.status == Status::Fail)
            .filter(|check| {
                let mut effects = check.affects.iter();
                effects.any(|effect| effect.profile == self.profile && effect.consequence == Consequence::Refused)
            })
            .collect();
        let Some(kind) = refusing.iter().map(|check| check.kind).min() else {
            return Readiness::Ready;
        };
        let of_kind = refusing.iter().filter(|check| check.kind == kind);
        Readiness::Refused(kind, of_kind.map(|check| check.id).collect())
    }
}

/// Examines this host. Nothing is changed by it.
pub async fn examine(question: Question) -> Examination {
    let facts = Facts::collect(&question.program, &question.all_places());
    let profiles = Profiles(&question.profiles);
    let mut checks = vec![profile(&question)];
    checks.extend(sandbox::checks(&facts, profiles, &question.program));
    checks.extend(host::checks(&facts, profiles, &question));
    checks.push(host::real_command(&question).await);
    Examination {
        profile: question.profile,
        facts,
        checks,
    }
}

/// The profiles that can be read.
#[derive(Clone, Copy)]
struct Profiles<'a>(&'a [Loaded]);

impl Profiles<'_> {
    /// What a finding means for those profiles for which `consequence` answers something.
    fn effects(self, consequence: impl Fn(&Policy) -> Option<(Consequence, String)>) -> Vec<Effect> {
        let readable = self
            .0
            .iter()
            .filter_map(|(name, policy)| Some((name, policy.as_ref().ok()?)));
        readable
            .filter_map(|(name, policy)| {
                let (consequence, how) = consequence(policy)?;
                Some(Effect {
                    profile: name.clone(),
                    consequence,
                    how,
                })
            })
            .collect()
    }

    /// The same for all of them.
    fn all(self, consequence: Consequence, how: &str) -> Vec<Effect> {
        self.effects(|_| Some((consequence, how.to_owned())))
    }
}

fn profile(question: &Question) -> Check {
    let name = &question.profile;
    let broken = |check: Check, error: &SandboxError| {
        let effect = Effect {
            profile: name.clone(),
            consequence: Consequence::Refused,
            how: "it cannot be read as it is".to_owned(),
        };
        check.affects(vec![effect]).hint(error.hint())
    };
    match question.profiles.iter().find(|(known, _)| known == name) {
        Some((_, Ok(_))) => Check::new("profile", Status::Ok, format!("`{name}` is valid")),
        Some((_, Err(error))) => {
            let mut found = error.to_string();
            let cause = std::error::Error::source(error);
            if let Some(cause) = cause {
                found.push_str(&format!(": {cause}"));
            }
            let check = broken(Check::new("profile", Status::Fail, found), error);
            match error.class() {
                FailureClass::Policy => check,
                // It is valid, and something that it names is not on this host.
                _ => Check {
                    kind: Kind::Host,
                    ..check
                },
            }
        }
        None => Check::new("profile", Status::Unknown, format!("nobody looked for `{name}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examination(checks: Vec<Check>) -> Examination {
        Examination {
            profile: "verify".to_owned(),
            facts: Facts::collect("/nonexistent".as_ref(), &[]),
            checks,
        }
    }

    fn failing(id: &'static str, profile: &str, consequence: Consequence) -> Check {
        Check::new(id, Status::Fail, "").affects(vec![Effect {
            profile: profile.to_owned(),
            consequence,
            how: String::new(),
        }])
    }

    #[test]
    fn only_what_refuses_the_profile_itself_is_in_its_way() {
        let others = vec![
            failing("landlock", "strict", Consequence::Refused),
            failing("limits.pids", "verify", Consequence::Weaker),
            Check::new("git", Status::Unknown, ""),
        ];
        assert_eq!(examination(others).readiness(), Readiness::Ready);
    }

    #[test]
    fn an_invalid_profile_goes_before_a_layer_and_a_layer_before_the_host() {
        let all = ["disk.state", "landlock", "proc", "profile"].map(|id| failing(id, "verify", Consequence::Refused));
        let readiness = |from: usize, to: usize| examination(all[from..to].to_vec()).readiness();
        assert_eq!(readiness(0, 4), Readiness::Refused(Kind::Profile, vec!["profile"]));
        assert_eq!(
            readiness(0, 3),
            Readiness::Refused(Kind::Layer, vec!["landlock", "proc"])
        );
        assert_eq!(readiness(0, 1), Readiness::Refused(Kind::Host, vec!["disk.state"]));
    }

    #[test]
    fn a_host_that_nothing_is_known_of_still_gets_an_answer() {
        let facts = Facts::collect("/nonexistent".as_ref(), &["/nonexistent".into()]);
        assert!(facts.of("start").count() > 0);
        assert!(facts.spaces.is_empty());
    }
}
