//! What a finished run says about itself: the file `summary.json` and the last entry of its journal.

use super::budget::{Budget, Settled};
use super::failure::{Failure, Stage};
use crate::llm::{LlmError, Usage};
use crate::sandbox::Outcome;
use crate::types::{FailureClass, NanoUsd, ObjectId, RunId, Sha256};
use crate::verify::{CommandRecord, Rung};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// The layout of [`Summary`].
pub const SCHEMA: u32 = 1;

/// The word for how a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum VerdictName {
    /// Every check holds, but not every rung of the ladder was judged: that the checks would have caught a wrong change
    /// is not proven.
    PassUnproven,
    /// What the order asks for was there before anything was done.
    AlreadySatisfied,
    /// The order was done by an earlier run.
    Skipped,
    /// The proposals were judged and found wanting.
    Fail,
    /// It cannot go on without a person.
    Blocked,
    /// Nothing can be said about the order: the run was interrupted or broke.
    Inconclusive,
}

impl VerdictName {
    /// The verdict as written in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            VerdictName::PassUnproven => "PASS_UNPROVEN",
            VerdictName::AlreadySatisfied => "ALREADY_SATISFIED",
            VerdictName::Skipped => "SKIPPED",
            VerdictName::Fail => "FAIL",
            VerdictName::Blocked => "BLOCKED",
            VerdictName::Inconclusive => "INCONCLUSIVE",
        }
    }

    /// The verdict of a run that a failure of `class` ended.
    pub const fn of(class: FailureClass) -> Self {
        use FailureClass as Class;
        match class {
            Class::Proposal | Class::Rejected | Class::Limit | Class::Conflict => VerdictName::Fail,
            Class::Order
            | Class::Policy
            | Class::Host
            | Class::ProviderTransient
            | Class::ProviderPermanent
            | Class::Budget => VerdictName::Blocked,
            Class::Flaky | Class::Cancelled | Class::Internal => VerdictName::Inconclusive,
        }
    }
}

impl fmt::Display for VerdictName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a finished run says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The layout: [`SCHEMA`].
    pub schema: u32,
    /// The run.
    pub run: RunId,
    /// The order's id.
    pub order_id: String,
    /// Recognises the same order on the same inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_key: Option<Sha256>,
    /// The order's title.
    pub title: String,
    /// How it ended.
    pub verdict: VerdictName,
    /// Where it ended, unless it passed; `preflight` when no model was asked.
    pub stage: Option<Stage>,
    /// Whose turn it is, unless it passed.
    pub class: Option<FailureClass>,
    /// The exit code of the command that ran it.
    pub exit_code: u8,
    /// The commit that it started from.
    pub base: ObjectId,
    /// The branch that it works for.
    pub branch: String,
    /// The branch's commit with the change; absent unless it passed.
    pub commit: Option<ObjectId>,
    /// That commit's tree.
    pub tree: Option<ObjectId>,
    /// Whether the change was on the base already, so that no commit was made.
    pub unchanged: bool,
    /// The attempts, in their order.
    pub attempts: Vec<AttemptSummary>,
    /// The rungs of the ladder, as they stand for the last candidate that was judged.
    pub rungs: Vec<Rung>,
    /// What the model was asked for and what it reported to have used.
    pub usage: UsageSummary,
    /// Why it did not pass.
    pub problem: Option<Failure>,
    /// The directory with everything that was recorded.
    pub artifacts: PathBuf,
    /// When it was opened, in milliseconds since 1970-01-01 UTC.
    pub started_ms: u64,
    /// When it was over.
    pub ended_ms: u64,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptSummary {
    /// Its number, from one.
    pub n: u32,
    /// Where it failed; absent when it passed.
    pub stage: Option<Stage>,
    /// Whose turn it was then.
    pub class: Option<FailureClass>,
    /// What happened, in a sentence.
    pub reason: Option<String>,
    /// The files of its proposal.
    pub files: Vec<String>,
    /// The commands that were run, in their order.
    pub commands: Vec<CommandSummary>,
}

/// One command of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandSummary {
    /// `verify` or `acceptance`.
    pub phase: String,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Its exit code, when it exited by itself.
    pub exit_code: Option<i32>,
    /// From its start to the end of its last process.
    pub wall_ms: u64,
}

impl From<&CommandRecord> for CommandSummary {
    fn from(record: &CommandRecord) -> Self {
        CommandSummary {
            phase: record.phase.as_str().to_owned(),
            argv: record.argv.clone(),
            outcome: record.outcome.clone(),
            exit_code: record.exit_code,
            wall_ms: record.metering.wall_ms,
        }
    }
}

/// What the model was asked for and what it reported to have used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageSummary {
    /// Answers received.
    pub answers: u32,
    /// Answers taken from the journal instead: an earlier run paid for them.
    #[serde(default)]
    pub recalled: u32,
    /// Requests that were sent and of whose answer nothing is known, because the process was killed. They may have cost
    /// as much as an answer.
    #[serde(default)]
    pub unsettled: u32,
    /// Tokens of the prompts, as far as reported.
    pub input_tokens: u64,
    /// Tokens of the answers, as far as reported.
    pub output_tokens: u64,
    /// Tokens that count against budgets: those that were reported, and those counted here where a provider does not say.
    #[serde(default)]
    pub tokens: u64,
    /// What was spent, where the price is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<NanoUsd>,
    /// Whether a part of it was counted here, because the provider did not say.
    #[serde(default)]
    pub estimated: bool,
}

impl UsageSummary {
    /// Counts a request that came to nothing, and gives what it used and what it cost, as far as that is known. Whatever was
    /// sent may have been paid for: what was reserved for it stays when nothing is known.
    pub(super) fn count_failed(
        &mut self,
        budget: &Budget,
        model: Option<&str>,
        error: &LlmError,
    ) -> (Usage, Option<Settled>) {
        let usage = error.usage().unwrap_or_default();
        self.input_tokens += usage.input_tokens;
        self.output_tokens += usage.output_tokens;
        let known = error.is_free().then(Usage::default).or(error.usage());
        let settled = known.map(|usage| budget.settle(model, Some(&usage), (0, 0), 0));
        match &settled {
            Some(settled) => self.count(settled),
            None => self.unsettled += 1,
        }
        (usage, settled)
    }

    /// Adds what a call cost.
    pub(super) fn count(&mut self, settled: &Settled) {
        self.estimated |= settled.estimated;
        self.tokens = self.tokens.saturating_add(settled.spent.tokens);
        if let Some(usd) = settled.spent.usd {
            self.usd = Some(self.usd.unwrap_or_default().plus(usd));
        }
    }
}
