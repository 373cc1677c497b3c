//! Candidate → verdict: runs commands under a policy and judges.
//!
//! - A failing test is a verdict; a sandbox that would not start is an error.
//! - Only this module can make a [`Passed`].
//! - Every command starts from the untouched candidate. What one command writes is dropped with its sandbox and seen by
//!   no later one, so the bytes that were judged are the bytes of the change set, whatever the commands did.
//! - First what held before (the repository's own verification), then the postconditions, then what the order asks for
//!   (its acceptance commands). The first failure ends it: what follows would judge a candidate that is refused anyway.
//! - It knows nothing of attempts: what a verdict leads to is decided in `run`.

mod baseline;
mod checks;
mod commands;
mod evidence;
mod finding;
mod passed;
mod recall;

pub use baseline::{Known, Shown, on_base};
pub use checks::{Checks, holds, needed_programs, shows_nothing};
pub use commands::{VERIFY_SCRIPT, global_commands};
pub use evidence::{CommandRecord, ConditionRecord, Evidence, OutputRecord, Phase, Rung, RungState, rungs};
pub use finding::{Finding, describe, limit_name};
pub use passed::Passed;
pub use recall::{Kept, Recalled, recall};

use crate::change::ChangeSet;
use crate::sandbox::{Command, LimitKind, Outcome, Policy, Report, Sandbox, SandboxError, SetupFailure, Tree};
use crate::types::{FailureClass, ObjectId, Problem, Sha256, escape_control};
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
    tell: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<Verdict, VerifyError> {
    let mut commands = Vec::new();
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
        let evidence = evidence(&candidate, bench.policy, Fell::Regression, commands, Vec::new());
        return Ok(fall.verdict(evidence));
    }
    let conditions = checks.postconditions.clone();
    let unmet: Vec<_> = checks.unmet().collect();
    if !unmet.is_empty() {
        let finding = Finding::unmet(&unmet);
        let evidence = evidence(&candidate, bench.policy, Fell::Acceptance, commands, conditions);
        return Ok(Verdict::Rejected(finding, evidence));
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
        let evidence = evidence(&candidate, bench.policy, Fell::Acceptance, commands, conditions);
        return Ok(fall.verdict(evidence));
    }
    let nothing_asked = checks.acceptance.is_empty() && conditions.is_empty();
    let fell = if nothing_asked {
        Fell::NothingAsked
    } else {
        Fell::Nowhere
    };
    let evidence = evidence(&candidate, bench.policy, fell, commands, conditions);
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
    NothingAsked,
    Nowhere,
}

/// A command that did not succeed.
struct Fall {
    finding: Finding,
    limit: Option<LimitKind>,
}

impl Fall {
    fn verdict(self, evidence: Evidence) -> Verdict {
        match self.limit {
            Some(limit) => Verdict::Limited(limit, self.finding, evidence),
            None => Verdict::Rejected(self.finding, evidence),
        }
    }
}

/// Runs the commands of one phase up to the first that does not succeed.
async fn climb(
    bench: Bench<'_>,
    tree: &Tree,
    phase: Phase,
    argvs: &[Vec<String>],
    records: &mut Vec<CommandRecord>,
    tell: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<Option<Fall>, VerifyError> {
    for (index, argv) in argvs.iter().enumerate() {
        tell(Progress::Started { phase, argv });
        let command = Command {
            timeout: bench.timeout,
            ..Command::new(argv.iter().cloned())
        };
        let report = bench
            .sandbox
            .run(bench.policy, tree, &command, None)
            .await
            .map_err(|source| VerifyError::Sandbox {
                command: shown(argv),
                source,
            })?;
        refuse_missing_tools(bench.policy, &report.outcome)?;
        let record = CommandRecord::new(phase, index, argv.clone(), &report);
        tell(Progress::Finished {
            record: &record,
            report: &report,
        });
        records.push(record);
        if !report.outcome.is_success() {
            let limit = match report.outcome {
                Outcome::Limit { limit } => Some(limit),
                Outcome::Exit { .. }
                | Outcome::Signal { .. }
                | Outcome::Denied { .. }
                | Outcome::Tampered { .. }
                | Outcome::Setup { .. } => None,
            };
            let finding = Finding::of(phase, argv, &report);
            return Ok(Some(Fall { finding, limit }));
        }
    }
    Ok(None)
}

/// Tells failures of this host from those of the candidate. A program named without a slash comes from the host's view;
/// one named by a path comes from the tree, and that it is not there or cannot be executed is the candidate's fault.
fn refuse_missing_tools(policy: &Policy, outcome: &Outcome) -> Result<(), VerifyError> {
    match outcome {
        Outcome::Setup {
            failure: SetupFailure::ToolMissing { program },
        } => Err(VerifyError::ToolMissing {
            programs: vec![program.clone()],
            profile: policy.profile.clone(),
        }),
        Outcome::Setup {
            failure: SetupFailure::ProgramUnusable { .. } | SetupFailure::DirectoryMissing { .. },
        }
        | Outcome::Exit { .. }
        | Outcome::Signal { .. }
        | Outcome::Limit { .. }
        | Outcome::Denied { .. }
        | Outcome::Tampered { .. } => Ok(()),
    }
}

fn evidence(
    candidate: &Candidate<'_>,
    policy: &Policy,
    fell: Fell,
    commands: Vec<CommandRecord>,
    postconditions: Vec<ConditionRecord>,
) -> Evidence {
    use RungState::{Failed, NotApplicable, NotReached, Passed as Climbed};
    let (regression, acceptance) = match fell {
        Fell::Regression => (Failed, NotReached),
        Fell::Acceptance => (Climbed, Failed),
        Fell::NothingAsked => (Climbed, NotApplicable),
        Fell::Nowhere => (Climbed, Climbed),
    };
    let digests = candidate.change_set.digests();
    let modes = candidate.change_set.modes().into_iter();
    Evidence {
        schema: 1,
        base: candidate.base,
        files: digests.map(|(path, digest)| (path.clone(), digest)).collect(),
        modes: modes.map(|(path, mode)| (path.clone(), mode)).collect(),
        profile: policy.profile.clone(),
        rungs: rungs(Climbed, regression, acceptance),
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
