//! Runs the commands that judge, one after the other.

use super::baseline::{Known, why_invalid};
use super::check::Check;
use super::evidence::{CommandRecord, Phase};
use super::finding::Finding;
use super::{Bench, Progress, VerifyError, shown};
use crate::order::Baseline;
use crate::sandbox::{LimitKind, Outcome, Policy, Report, SetupFailure, Tree};
use serde::Serialize;

/// What is told while commands run.
pub(super) type Tell<'t> = dyn FnMut(Progress<'_>) + Send + 't;

/// What came of all runs of one command.
pub(super) enum Came {
    /// Each showed what it had to show.
    Shown,
    /// None did.
    Unmet(Finding),
    /// A limit ended one of them before it could answer.
    Limited(LimitKind, Finding),
    /// Some did, and some did not.
    Disagreed(Finding),
}

/// Runs a command as often as it has to be run. That it failed once is not the end: whether it fails each time says whether
/// the candidate is at fault.
pub(super) async fn run(
    bench: Bench<'_>,
    tree: &Tree,
    (phase, index): (Phase, usize),
    check: &Check,
    records: &mut Vec<CommandRecord>,
    tell: &mut Tell<'_>,
) -> Result<Came, VerifyError> {
    let (mut shown_once, mut unmet) = (false, None);
    for run in 1..=check.runs {
        let report = start(bench, tree, phase, check, run, tell).await?;
        let record = CommandRecord::new((phase, index), check, run, &report);
        tell(Progress::Finished {
            record: &record,
            report: &report,
        });
        records.push(record);
        match check.unmet(&report) {
            None => shown_once = true,
            Some(reason) => {
                let finding = Finding::of(phase, check, &report, reason);
                if let Outcome::Limit { limit } = report.outcome {
                    return Ok(Came::Limited(limit, finding));
                }
                unmet.get_or_insert(finding);
            }
        }
        if let Some(finding) = unmet.as_ref().filter(|_| shown_once) {
            return Ok(Came::Disagreed(finding.clone().of_runs(run)));
        }
    }
    Ok(unmet.map_or(Came::Shown, Came::Unmet))
}

async fn start(
    bench: Bench<'_>,
    tree: &Tree,
    phase: Phase,
    check: &Check,
    run: u32,
    tell: &mut Tell<'_>,
) -> Result<Report, VerifyError> {
    let argv = check.argv.as_slice();
    tell(Progress::Started { phase, argv });
    let command = check.command(run, bench.timeout);
    let ran = bench.sandbox.run(bench.policy, tree, &command, None).await;
    let report = ran.map_err(|source| VerifyError::Sandbox {
        command: shown(argv),
        source,
    })?;
    refuse_missing_tools(bench.policy, &report.outcome)?;
    Ok(report)
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

/// What a command does on the base, before there is a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BaseRecord {
    /// Its program and arguments.
    pub argv: Vec<String>,
    /// What the order says that it does.
    pub expected: Baseline,
    /// What it does.
    pub found: BaseState,
    /// Why it did not show what it has to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a command does on the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BaseState {
    /// It shows what it has to show.
    Green,
    /// It does not, for want of something that the order may make.
    Red,
    /// It does not, for a reason that the order cannot take away.
    Invalid,
    /// Its runs disagree.
    Disagreed,
}

/// What is known of the order's commands besides what they say.
pub struct Given<'a> {
    /// The Python modules that a command needs and that are not in the tree, before or after the order.
    pub modules: &'a dyn Fn(&[String]) -> Vec<String>,
    /// Whether a path of the tree is there only once the order is done.
    pub is_made: &'a dyn Fn(&str) -> bool,
}

/// Has the commands of an order judge the base of which it says what they do there. The model is not told of it.
///
/// # Errors
/// As for [`super::verify`].
pub async fn judge_base(
    bench: Bench<'_>,
    tree: &Tree,
    checks: &super::Checks,
    given: &Given<'_>,
) -> Result<Vec<BaseRecord>, VerifyError> {
    let mut judged = Vec::new();
    let said = |check: &&Check| check.baseline != Baseline::Any;
    for (index, check) in checks.acceptance.iter().filter(said).enumerate() {
        let mut records = Vec::new();
        let place = (Phase::Acceptance, index);
        let came = run(bench, tree, place, check, &mut records, &mut |_| ()).await?;
        let (found, reason) = match came {
            Came::Shown => (BaseState::Green, None),
            Came::Disagreed(finding) => (BaseState::Disagreed, Some(finding.reason)),
            Came::Limited(_, finding) => (BaseState::Invalid, Some(finding.reason)),
            Came::Unmet(finding) => {
                let modules = (given.modules)(&check.argv);
                let known = Known {
                    modules: &modules,
                    is_made: given.is_made,
                    patience: bench.policy.limits.wall,
                };
                let asked = check.command(1, bench.timeout);
                let outcome = records
                    .first()
                    .map_or(&Outcome::Exit { code: 0 }, |record| &record.outcome);
                match why_invalid(bench, tree, &asked, outcome, known).await? {
                    Some(reason) => (BaseState::Invalid, Some(reason)),
                    None => (BaseState::Red, Some(finding.reason)),
                }
            }
        };
        judged.push(BaseRecord {
            argv: check.argv.clone(),
            expected: check.baseline,
            found,
            reason,
        });
    }
    Ok(judged)
}
