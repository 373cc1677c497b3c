//! What a candidate is judged by: pure data made from the order, the base and the proposal.

use super::check::Check;
use super::commands::{VERIFY_SCRIPT, global_commands};
use super::evidence::{Around, ConditionRecord, RungState};
use super::golden::Suite;
use crate::change::{BaseEntry, ChangeSet, Effect};
use crate::order::{Baseline, Condition, Golden, Version, WorkOrder};
use crate::sandbox::Policy;
use crate::types::{RepoPath, Sha256};
use serde::Serialize;
use std::path::PathBuf;

/// What a candidate is judged by.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Checks {
    pub(super) verify: Vec<Check>,
    pub(super) postconditions: Vec<ConditionRecord>,
    pub(super) acceptance: Vec<Check>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) golden: Vec<GoldenCheck>,
    /// What a pass says about the rungs that only some orders have something to be judged by. Made of the above, and so no
    /// part of what names the checks.
    #[serde(skip)]
    pub(super) around: Around,
}

impl Checks {
    /// Makes the checks of `order` for the candidate that `change_set` makes of a base. `exempt` is the recomputed
    /// exemption from the repository's own verification, not the order's claim.
    ///
    /// # Errors
    /// What `base` answers when it cannot say what stands at a path.
    pub fn new<E>(
        order: &WorkOrder,
        exempt: bool,
        change_set: &ChangeSet,
        base: impl Fn(&RepoPath) -> Result<BaseEntry, E>,
    ) -> Result<Self, E> {
        let script = verify_script();
        let has_script = match change_set.effect(&script) {
            Some(Effect::File(_)) => true,
            Some(Effect::Gone) => false,
            None => matches!(base(&script)?, BaseEntry::File { .. }),
        };
        let mut postconditions = Vec::new();
        for condition in &order.postconditions {
            // What is not about a file is no postcondition; the reader of orders sees to that.
            let Some(path) = condition.path() else { continue };
            let standing = match change_set.effect(path) {
                Some(Effect::File(sha256)) => Standing::File(sha256),
                Some(Effect::Gone) => Standing::Nothing,
                None => Standing::of(&base(path)?),
            };
            let holds = standing.fulfils(condition);
            postconditions.push(ConditionRecord {
                kind: condition.kind(),
                path: path.clone(),
                holds,
            });
        }
        Ok(Checks {
            verify: global_commands(has_script, exempt)
                .into_iter()
                .map(Check::plain)
                .collect(),
            postconditions,
            acceptance: order.acceptance_commands.iter().map(Check::of).collect(),
            golden: Vec::new(),
            around: around(order),
        })
    }

    /// The same with golden suites, each with the directory on this host where a copy of it is.
    #[must_use]
    pub fn with_golden<'s>(mut self, suites: impl IntoIterator<Item = (&'s Suite, PathBuf)>) -> Self {
        self.golden.extend(suites.into_iter().map(|(suite, place)| GoldenCheck {
            suite: suite.golden.clone(),
            place,
            commands: suite.commands.iter().map(Check::of).collect(),
        }));
        if !self.golden.is_empty() {
            self.around.golden = RungState::Passed;
        }
        self
    }

    /// The same without the repository's own verification and golden suites.
    #[must_use]
    pub fn acceptance_only(&self) -> Self {
        Checks {
            verify: Vec::new(),
            golden: Vec::new(),
            ..self.clone()
        }
    }

    /// The repository's own verification alone.
    #[must_use]
    pub fn regression_only(&self) -> Self {
        Checks {
            postconditions: Vec::new(),
            acceptance: Vec::new(),
            golden: Vec::new(),
            ..self.clone()
        }
    }

    /// The programs that judge, as the commands name them.
    pub fn programs(&self) -> Vec<&str> {
        let golden = self.golden.iter().flat_map(|golden| &golden.commands);
        let commands = self.verify.iter().chain(&self.acceptance).chain(golden);
        let mut programs: Vec<_> = commands
            .filter_map(|check| check.argv.first())
            .map(String::as_str)
            .collect();
        programs.sort_unstable();
        programs.dedup();
        programs
    }

    /// The postconditions that do not hold.
    pub(super) fn unmet(&self) -> impl Iterator<Item = &ConditionRecord> {
        self.postconditions.iter().filter(|condition| !condition.holds)
    }
}

/// A golden suite that judges.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct GoldenCheck {
    /// Its name and digest.
    pub(super) suite: Golden,
    /// Where its files are on this host, which says nothing of what they are.
    #[serde(skip)]
    pub(super) place: PathBuf,
    pub(super) commands: Vec<Check>,
}

impl GoldenCheck {
    /// The policy with the suite in view.
    pub(super) fn shown_by(&self, policy: &Policy) -> Policy {
        Policy {
            suites: [(self.suite.name.clone(), self.place.clone())].into(),
            ..policy.clone()
        }
    }
}

/// How the rungs stand when nothing spoke against them: the base is judged before a model is asked.
fn around(order: &WorkOrder) -> Around {
    let is_climbed = |has_any: bool| match (order.version, has_any) {
        (Version::V1, _) => RungState::NotJudged,
        (Version::V2, true) => RungState::Passed,
        (Version::V2, false) => RungState::NotApplicable,
    };
    let mut commands = order.acceptance_commands.iter();
    let is_red = commands
        .clone()
        .any(|command| command.expect_baseline == Baseline::Fail);
    Around {
        baseline: is_climbed(is_red),
        repeat: is_climbed(commands.any(|command| command.runs > 1)),
        golden: is_climbed(false),
    }
}

/// The programs named without a slash that judging `order` will need: what must be in the view of a command before a
/// model is paid.
///
/// Whether the verify script will be there depends on the proposal when the order allows to write it; its presence is
/// assumed then, because the order was made to create it.
///
/// # Errors
/// What `base` answers when it cannot say what stands at a path.
pub fn needed_programs<E>(
    order: &WorkOrder,
    exempt: bool,
    suites: &[Suite],
    base: impl Fn(&RepoPath) -> Result<BaseEntry, E>,
) -> Result<Vec<String>, E> {
    let script = verify_script();
    let has_script = order.allowed_files.contains(&script) || matches!(base(&script)?, BaseEntry::File { .. });
    let verify = global_commands(has_script, exempt);
    let acceptance = order.acceptance_commands.iter().map(|command| &command.argv);
    let golden = suites
        .iter()
        .flat_map(|suite| &suite.commands)
        .map(|command| &command.argv);
    let commands = verify.iter().chain(acceptance).chain(golden);
    let judging = commands
        .filter_map(|argv| argv.first())
        .filter(|program| !program.contains('/'));
    let conditions = order.preconditions.iter().filter_map(|condition| match condition {
        Condition::Tool { name } => Some(name),
        Condition::FileExists { .. }
        | Condition::FileAbsent { .. }
        | Condition::FileSha256 { .. }
        | Condition::OrderDone { .. } => None,
    });
    let tools = order.tools.iter().map(|tool| &tool.name);
    let mut programs: Vec<String> = judging.chain(conditions).chain(tools).cloned().collect();
    programs.sort();
    programs.dedup();
    Ok(programs)
}

/// Whether a command succeeds whatever the tree holds, so that its success shows nothing.
pub fn shows_nothing(argv: &[String]) -> bool {
    let program = argv.first().and_then(|program| program.rsplit('/').next());
    matches!(program, Some("true" | ":" | "echo" | "printf"))
}

/// What of an entry of a tree conditions ask about.
enum Standing {
    File(Sha256),
    Symlink,
    Nothing,
}

impl Standing {
    fn of(entry: &BaseEntry) -> Self {
        match entry {
            BaseEntry::File { .. } => Standing::File(entry.base_sha256()),
            BaseEntry::Symlink => Standing::Symlink,
            BaseEntry::Absent
            | BaseEntry::Directory
            | BaseEntry::Submodule
            | BaseEntry::BelowFile
            | BaseEntry::BelowSymlink => Standing::Nothing,
        }
    }

    fn fulfils(&self, condition: &Condition) -> bool {
        match condition {
            Condition::FileExists { .. } => matches!(self, Standing::File(_)),
            Condition::FileAbsent { .. } => matches!(self, Standing::Nothing),
            Condition::FileSha256 { sha256, .. } => matches!(self, Standing::File(found) if found == sha256),
            // Neither is about an entry of a tree.
            Condition::OrderDone { .. } | Condition::Tool { .. } => false,
        }
    }
}

/// Whether a condition about a file holds where `entry` is what stands at its path.
///
/// A directory is not a file: it neither fulfils `file_exists` nor breaks `file_absent`. A symbolic link stands in the
/// way of a file without being one that we would follow.
pub fn holds(condition: &Condition, entry: &BaseEntry) -> bool {
    Standing::of(entry).fulfils(condition)
}

fn verify_script() -> RepoPath {
    RepoPath::parse(VERIFY_SCRIPT).expect("the constant is a path inside a repository")
}
