//! Candidate → verdict: runs commands under a policy and judges.
//!
//! - A failing test is a verdict; a sandbox that would not start is an error.
//! - Only this module can make a [`Passed`].
//! - Every command starts from the untouched candidate. What one command writes is dropped with its sandbox and seen by
//!   no later one, so the bytes that were judged are the bytes of the change set, whatever the commands did.
//! - First what held before (the repository's own verification), then the postconditions, then what the order asks for
//!   (its acceptance commands), then what the operator keeps to judge by (golden suites). The first failure ends it: what follows would judge a candidate that is refused anyway.
//! - It knows nothing of attempts: what a verdict leads to is decided in `run`.

mod baseline;
mod check;
mod checks;
mod climb;
mod commands;
mod evidence;
mod finding;
mod golden;
mod passed;
mod recall;

pub use baseline::{Known, Shown, on_base};
pub use check::Check;
pub use checks::{Checks, holds, needed_programs, shows_nothing};
pub use climb::{BaseRecord, BaseState, Given, judge_base};
pub use commands::{VERIFY_SCRIPT, global_commands};
pub use evidence::{CommandRecord, ConditionRecord, Evidence, OutputRecord, Phase, Rung, RungState, rungs};
pub use finding::{Finding, Hidden, describe, limit_name};
pub use golden::{GoldenError, SUITE_FILE, Suite, suite_names};
pub use passed::Passed;
pub use recall::{Kept, Recalled, recall};

use crate::change::ChangeSet;
use crate::order::Golden;
use crate::sandbox::{LimitKind, Policy, Report, Sandbox, SandboxError, Tree};
use crate::types::{FailureClass, ObjectId, Problem, Sha256, escape_control};
use climb::{Came, Tell};
use evidence::{Around, ladder};
use std::time::Duration;

/// The version of the rules by which a candidate is judged.
pub const RULES: u32 = 1;

/// What is judged.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// The candidate's files, as a stack of plain directories.
    pub tree: &'a Tree,
    /// The edits that make it of the base.
    pub change_set: ChangeSet,
    /// The base.
    pub base: ObjectId,
}

/// The conditions under which commands run.
#[derive(Debug, Clone, Copy)]
pub struct Bench<'a> {
    /// Where commands run.
    pub sandbox: &'a Sandbox,
    /// What must hold meanwhile.
    pub policy: &'a Policy,
    /// A shorter wall-clock limit for each command than the policy's.
    pub timeout: Option<Duration>,
}

/// What is told while a verification is under way.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A command is about to start.
    Started {
        /// The gate that it belongs to.
        phase: Phase,
        /// Its program and arguments.
        argv: &'a [String],
    },
    /// A command ended.
    Finished {
        /// The record of it.
        record: &'a CommandRecord,
        /// The output that it left.
        report: &'a Report,
    },
}

/// What a candidate is worth.
#[derive(Debug)]
#[must_use = "a verdict that nobody looks at judged nothing"]
pub enum Verdict {
    /// Every check holds.
    Passed(Passed, Evidence),
    /// A check failed.
    Rejected(Finding, Evidence),
    /// A resource limit ended a command before it could answer.
    Limited(LimitKind, Finding, Evidence),
    /// Runs of one command on the same bytes disagree, so that nothing is known.
    Flaky(Finding, Evidence),
}

/// Judges `candidate` by `checks`.
///
/// Dropping the future kills the command that is running.
///
/// # Errors
/// `Host` when a command could not be run at all: the sandbox cannot be built on this host, or a program named without
/// a slash is not in the view. The class of the sandbox's own error otherwise.
pub async fn verify(
    bench: Bench<'_>,
    candidate: Candidate<'_>,
    checks: &Checks,
    tell: &mut Tell<'_>,
) -> Result<Verdict, VerifyError> {
    let mut commands = Vec::new();
    let record = |fell, commands, conditions| {
        let golden = checks.golden.iter().map(|check| check.suite.clone()).collect();
        evidence(
            &candidate,
            bench.policy,
            (fell, checks.around),
            golden,
            (commands, conditions),
        )
    };
    if let Some(fall) = climb(
        bench,
        candidate.tree,
        Phase::Verify,
        &checks.verify,
        &mut commands,
        tell,
    )
    .await?
    {
        return Ok(fall.verdict(Phase::Verify, |fell| record(fell, commands, Vec::new())));
    }
    let conditions = checks.postconditions.clone();
    let unmet: Vec<_> = checks.unmet().collect();
    if !unmet.is_empty() {
        let finding = Finding::unmet(&unmet);
        return Ok(Verdict::Rejected(
            finding,
            record(Fell::Acceptance, commands, conditions),
        ));
    }
    let acceptance = &checks.acceptance;
    if let Some(fall) = climb(
        bench,
        candidate.tree,
        Phase::Acceptance,
        acceptance,
        &mut commands,
        tell,
    )
    .await?
    {
        return Ok(fall.verdict(Phase::Acceptance, |fell| record(fell, commands, conditions)));
    }
    for golden in &checks.golden {
        // For its own commands and no others.
        let policy = golden.shown_by(bench.policy);
        let with_suite = Bench {
            policy: &policy,
            ..bench
        };
        let judging = &golden.commands;
        if let Some(fall) = climb(with_suite, candidate.tree, Phase::Golden, judging, &mut commands, tell).await? {
            return Ok(fall.verdict(Phase::Golden, |fell| record(fell, commands, conditions)));
        }
    }
    let nothing_asked = checks.acceptance.is_empty() && conditions.is_empty() && checks.golden.is_empty();
    let fell = if nothing_asked {
        Fell::NothingAsked
    } else {
        Fell::Nowhere
    };
    let evidence = record(fell, commands, conditions);
    Ok(Verdict::Passed(
        Passed {
            evidence: Sha256::of(&evidence.canonical()),
            change_set: candidate.change_set,
            base: candidate.base,
        },
        evidence,
    ))
}

/// Where a candidate fell.
#[derive(Debug, Clone, Copy)]
enum Fell {
    Regression,
    Acceptance,
    Repeat,
    Golden,
    NothingAsked,
    Nowhere,
}

/// A command that did not show what it has to.
enum Fall {
    Rejected(Finding),
    Limited(LimitKind, Finding),
    Flaky(Finding),
}

impl Fall {
    /// Where that leaves a candidate whose commands of `phase` were run.
    fn place(&self, phase: Phase) -> Fell {
        match (self, phase) {
            (_, Phase::Golden) => Fell::Golden,
            (Fall::Flaky(_), Phase::Verify | Phase::Acceptance) => Fell::Repeat,
            (Fall::Rejected(_) | Fall::Limited(..), Phase::Verify) => Fell::Regression,
            (Fall::Rejected(_) | Fall::Limited(..), Phase::Acceptance) => Fell::Acceptance,
        }
    }

    /// The verdict on a candidate that fell at `phase`, with the record of it.
    fn verdict(self, phase: Phase, record: impl FnOnce(Fell) -> Evidence) -> Verdict {
        let evidence = record(self.place(phase));
        match self {
            Fall::Limited(limit, finding) => Verdict::Limited(limit, finding, evidence),
            Fall::Rejected(finding) => Verdict::Rejected(finding, evidence),
            Fall::Flaky(finding) => Verdict::Flaky(finding, evidence),
        }
    }
}

/// Runs the commands of one phase, or of one suite, up to the first that does not show what it has to.
async fn climb(
    bench: Bench<'_>,
    tree: &Tree,
    phase: Phase,
    checks: &[Check],
    records: &mut Vec<CommandRecord>,
    tell: &mut Tell<'_>,
) -> Result<Option<Fall>, VerifyError> {
    // Suites come one after the other, and their commands are counted through.
    let is_first_run = |record: &&CommandRecord| record.phase == phase && record.run.is_none_or(|run| run == 1);
    let before = records.iter().filter(is_first_run).count();
    for (index, check) in checks.iter().enumerate() {
        let index = before + index;
        let fall = match climb::run(bench, tree, (phase, index), check, records, tell).await? {
            Came::Shown => continue,
            Came::Unmet(finding) => Fall::Rejected(finding),
            Came::Limited(limit, finding) => Fall::Limited(limit, finding),
            Came::Disagreed(finding) => Fall::Flaky(finding),
        };
        return Ok(Some(fall));
    }
    Ok(None)
}

fn evidence(
    candidate: &Candidate<'_>,
    policy: &Policy,
    (fell, around): (Fell, Around),
    golden: Vec<Golden>,
    (commands, postconditions): (Vec<CommandRecord>, Vec<ConditionRecord>),
) -> Evidence {
    use RungState::{Failed, NotApplicable, NotReached, Passed as Climbed};
    let (regression, acceptance) = match fell {
        Fell::Regression => (Failed, NotReached),
        Fell::Acceptance | Fell::Repeat => (Climbed, Failed),
        Fell::NothingAsked => (Climbed, NotApplicable),
        Fell::Golden | Fell::Nowhere => (Climbed, Climbed),
    };
    let golden_tests = match (fell, around.golden) {
        (Fell::Golden, _) => Failed,
        (Fell::Regression | Fell::Acceptance | Fell::Repeat, Climbed) => NotReached,
        (_, golden) => golden,
    };
    let repeat = match (fell, around.repeat) {
        (Fell::Repeat, _) => Failed,
        (Fell::Regression | Fell::Acceptance, Climbed) => NotReached,
        (_, repeat) => repeat,
    };
    let digests = candidate.change_set.digests();
    let modes = candidate.change_set.modes().into_iter();
    Evidence {
        schema: 1,
        base: candidate.base,
        files: digests.map(|(path, digest)| (path.clone(), digest)).collect(),
        modes: modes.map(|(path, mode)| (path.clone(), mode)).collect(),
        profile: policy.profile.clone(),
        rungs: ladder(
            Climbed,
            regression,
            acceptance,
            Around {
                repeat,
                golden: golden_tests,
                ..around
            },
        ),
        golden,
        commands,
        postconditions,
    }
}

/// A command as shown in messages.
fn shown(argv: &[String]) -> String {
    escape_control(&argv.join(" "))
}

/// Why a candidate could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The sandbox did not run a command.
    #[error("cannot run `{command}` in the sandbox")]
    Sandbox {
        /// The command.
        command: String,
        /// Why not.
        source: SandboxError,
    },
    /// Programs named without a slash are not in the view of commands.
    #[error("{} not in the sandbox of profile `{profile}`", named(programs))]
    ToolMissing {
        /// The programs, at least one.
        programs: Vec<String>,
        /// The profile.
        profile: String,
    },
}

/// The programs as the subject of a sentence, with its verb.
fn named(programs: &[String]) -> String {
    let names: Vec<_> = programs
        .iter()
        .map(|name| format!("`{}`", escape_control(name)))
        .collect();
    match names.as_slice() {
        [one] => format!("the program {one} is"),
        several => format!("the programs {} are", several.join(", ")),
    }
}

impl Problem for VerifyError {
    fn class(&self) -> FailureClass {
        match self {
            VerifyError::Sandbox { source, .. } => source.class(),
            VerifyError::ToolMissing { .. } => FailureClass::Host,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            VerifyError::Sandbox { source, .. } => source.hint(),
            VerifyError::ToolMissing { profile, .. } => Some(format!(
                "install what is missing, and grant the directory that holds it under `[fs] read` in profile `{profile}`; \
                 or name a profile that grants it with --profile"
            )),
        }
    }
}
