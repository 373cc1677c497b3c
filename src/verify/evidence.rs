//! The record of one verification: what was run, what was enforced, what came out.

use super::check::Check;
use crate::order::{Golden, canonical_json};
use crate::sandbox::{Captured, LimitReport, Metering, Outcome, Receipt, Report};
use crate::types::{ObjectId, RepoPath, Sha256};
use serde::{Deserialize, Serialize};

/// Which gate a command belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// What held before must still hold: the repository's own verification.
    Verify,
    /// What the order asks for.
    Acceptance,
    /// What the operator keeps to judge by.
    Golden,
}

impl Phase {
    /// The phase as written in records and file names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Verify => "verify",
            Phase::Acceptance => "acceptance",
            Phase::Golden => "golden",
        }
    }
}

/// One command that was run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CommandRecord {
    /// The gate that it belongs to.
    pub phase: Phase,
    /// Its place among the commands of its phase, from zero.
    pub index: usize,
    /// Which of several runs it was, from one; nothing for a command that is run once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<u32>,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Its exit code, when it exited by itself.
    pub exit_code: Option<i32>,
    /// Why it did not show what it had to show, where that is not how it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmet: Option<String>,
    /// What it used.
    pub metering: Metering,
    /// Its standard output.
    pub stdout: OutputRecord,
    /// Its standard error.
    pub stderr: OutputRecord,
    /// Its limits, and what came of each.
    pub limits: Vec<LimitReport>,
    /// What was promised, and what the kernel confirmed before it was started.
    pub receipt: Option<Receipt>,
}

/// One output stream of a command that was run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct OutputRecord {
    /// Bytes that the command wrote.
    pub bytes: u64,
    /// The digest of what was kept of them.
    pub sha256: Sha256,
}

impl OutputRecord {
    fn of(captured: &Captured) -> Self {
        OutputRecord {
            bytes: captured.total(),
            sha256: Sha256::of(&captured.to_bytes()),
        }
    }
}

impl CommandRecord {
    pub(super) fn new((phase, index): (Phase, usize), check: &Check, run: u32, report: &Report) -> Self {
        let ending = super::describe(&report.outcome);
        CommandRecord {
            phase,
            index,
            run: (check.runs > 1).then_some(run),
            argv: check.argv.clone(),
            unmet: check.unmet(report).filter(|unmet| *unmet != ending),
            exit_code: match report.outcome {
                Outcome::Exit { code } => Some(code),
                Outcome::Signal { .. }
                | Outcome::Limit { .. }
                | Outcome::Denied { .. }
                | Outcome::Tampered { .. }
                | Outcome::Setup { .. } => None,
            },
            outcome: report.outcome.clone(),
            metering: report.metering,
            stdout: OutputRecord::of(&report.stdout),
            stderr: OutputRecord::of(&report.stderr),
            limits: report.limits.clone(),
            receipt: report.receipt.clone(),
        }
    }
}

/// One postcondition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConditionRecord {
    /// `file_exists` or `file_absent`.
    pub kind: &'static str,
    /// The path it is about.
    pub path: RepoPath,
    /// Whether it holds on the candidate.
    pub holds: bool,
}

/// How far one rung of the ladder was climbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RungState {
    /// It was climbed.
    Passed,
    /// The candidate fell here.
    Failed,
    /// The candidate fell before.
    NotReached,
    /// The order gives nothing to judge by.
    NotApplicable,
    /// This version does not judge it.
    NotJudged,
}

impl RungState {
    /// Whether a pass leaves it open what this rung would have shown.
    pub const fn is_open(self) -> bool {
        match self {
            RungState::NotJudged | RungState::NotApplicable => true,
            RungState::Passed | RungState::Failed | RungState::NotReached => false,
        }
    }
}

/// One rung of the ladder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// Its number.
    pub rung: u8,
    /// Its name.
    pub name: String,
    /// How far it was climbed.
    pub state: RungState,
}

/// The rungs of the ladder in their order, as they stand for a candidate that was judged on `hygiene`, `regression`
/// and `acceptance`.
pub fn rungs(hygiene: RungState, regression: RungState, acceptance: RungState) -> Vec<Rung> {
    let around = Around {
        baseline: RungState::NotJudged,
        repeat: RungState::NotJudged,
        golden: RungState::NotJudged,
    };
    ladder(hygiene, regression, acceptance, around)
}

/// The rungs that only some orders have something to be judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Around {
    /// Whether the commands that had to fail on the base did.
    pub(super) baseline: RungState,
    /// Whether the runs of a command that is repeated agree.
    pub(super) repeat: RungState,
    /// Whether the golden suites hold.
    pub(super) golden: RungState,
}

/// The rungs in their order.
pub(super) fn ladder(hygiene: RungState, regression: RungState, acceptance: RungState, around: Around) -> Vec<Rung> {
    use RungState::NotJudged;
    [
        (0, "hygiene", hygiene),
        (1, "baseline red", around.baseline),
        (2, "candidate green", acceptance),
        (3, "regression", regression),
        (4, "stub probe", NotJudged),
        (5, "mutation", NotJudged),
        (6, "golden tests", around.golden),
        (7, "repeat", around.repeat),
    ]
    .into_iter()
    .map(|(rung, name, state)| Rung {
        rung,
        name: name.to_owned(),
        state,
    })
    .collect()
}

/// The record of one verification.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// The layout of this record.
    pub schema: u32,
    /// The commit that the candidate stands on.
    pub base: ObjectId,
    /// Each file that was proposed to be changed, by the digest of its bytes; none for one that is gone.
    pub files: Vec<(RepoPath, Option<Sha256>)>,
    /// Where the mode of a file comes from, when it is not the one that its path has on the base.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modes: Vec<(RepoPath, String)>,
    /// The profile under which the commands ran.
    pub profile: String,
    /// What was judged, and how far.
    pub rungs: Vec<Rung>,
    /// The golden suites that the order names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub golden: Vec<Golden>,
    /// The commands that were run, in their order.
    pub commands: Vec<CommandRecord>,
    /// The postconditions, once they were looked at.
    pub postconditions: Vec<ConditionRecord>,
}

impl Evidence {
    /// The record as the bytes whose digest names it.
    pub fn canonical(&self) -> Vec<u8> {
        let value = serde_json::to_value(self).expect("evidence has text keys and finite numbers only");
        canonical_json(&value)
    }
}
