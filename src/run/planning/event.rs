//! What a planner's run tells: while it is under way, and about itself when it is over.

use super::super::failure::Failure;
use super::super::summary::UsageSummary;
use crate::plan::{Complaint, Complaints};
use crate::types::{ObjectId, RunId, Sha256};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What is told while a plan is made. The last event is [`PlanEvent::Completed`], and there is one of it.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event")]
pub enum PlanEvent<'a> {
    /// The run exists.
    #[serde(rename = "plan.opened")]
    Opened {
        /// The run.
        plan: RunId,
        /// The spec, as it was named.
        spec: &'a str,
        /// The commit whose files the plan builds on.
        base: ObjectId,
        /// How many files that are.
        files: usize,
        /// The provider that is asked.
        provider: &'a str,
        /// Attempts that it may take.
        max_attempts: u32,
        /// The directory with everything that is recorded.
        artifacts: &'a Path,
    },
    /// The model is asked.
    #[serde(rename = "plan.requested")]
    Requested {
        /// The attempt.
        attempt: u32,
        /// The digest of the request.
        request: Sha256,
    },
    /// The provider failed in passing and is asked again later.
    #[serde(rename = "plan.delayed")]
    Delayed {
        /// The attempt.
        attempt: u32,
        /// The time until then, in milliseconds.
        wait_ms: u64,
        /// Why.
        reason: &'a str,
    },
    /// The provider limits requests for longer than this waits; it goes on by itself then.
    #[serde(rename = "run.parked")]
    Parked {
        /// The attempt.
        attempt: u32,
        /// Until when, in milliseconds since 1970-01-01 UTC.
        until_ms: u64,
        /// Why.
        reason: &'a str,
    },
    /// It goes on.
    #[serde(rename = "run.resumed")]
    Resumed {
        /// The attempt.
        attempt: u32,
    },
    /// An earlier run asked this and has the answer; nothing is sent.
    #[serde(rename = "plan.recalled")]
    Recalled {
        /// The attempt.
        attempt: u32,
        /// The digest of the request.
        request: Sha256,
        /// The run that asked.
        from: RunId,
    },
    /// The model answered.
    #[serde(rename = "plan.answered")]
    Answered {
        /// The attempt.
        attempt: u32,
        /// The length of the answer.
        bytes: usize,
        /// Its digest.
        sha256: Sha256,
    },
    /// The answer was checked.
    #[serde(rename = "plan.judged")]
    Judged {
        /// The attempt.
        attempt: u32,
        /// What is wrong with it.
        #[serde(flatten)]
        complaints: &'a Complaints,
    },
    /// It is over.
    #[serde(rename = "plan.completed")]
    Completed {
        /// The run, unless it was refused before there was one.
        plan: Option<RunId>,
        /// The exit code of the command that ran it.
        exit_code: u8,
        /// Why there is no plan.
        problem: Option<&'a Failure>,
        /// Everything else, unless it was refused before there was a run.
        summary: Option<&'a PlanSummary>,
    },
}

/// Is told what happens.
pub type PlanObserver<'a> = dyn FnMut(&PlanEvent<'_>) + Send + 'a;

/// What a finished planner's run says about itself: the file `summary.json` and the last entry of its journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanSummary {
    /// The layout.
    pub schema: u32,
    /// The run.
    pub plan: RunId,
    /// The exit code of the command that ran it.
    pub exit_code: u8,
    /// Why there is no plan.
    pub problem: Option<Failure>,
    /// The commit whose files the plan builds on.
    pub base: ObjectId,
    /// The digest of the spec.
    pub spec_sha256: Sha256,
    /// Each answer and what is wrong with it.
    pub attempts: Vec<PlanAttempt>,
    /// The orders that were written.
    pub orders: Vec<OrderSummary>,
    /// The title of the bootstrap order that was left out.
    pub dropped: Option<String>,
    /// What it cost.
    pub usage: UsageSummary,
    /// The directory of the plan.
    pub output: PathBuf,
    /// The directory with everything that is recorded.
    pub artifacts: PathBuf,
    /// When it began, in milliseconds since 1970-01-01 UTC.
    pub started_ms: u64,
    /// When it ended.
    pub ended_ms: u64,
}

/// One answer of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanAttempt {
    /// Which, from one.
    pub n: u32,
    /// What keeps it from being used.
    pub errors: Vec<Complaint>,
    /// What may turn out to be wrong.
    pub warnings: Vec<Complaint>,
}

/// One order that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderSummary {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its file in the directory of the plan.
    pub file: String,
    /// The digest of that file.
    pub sha256: Sha256,
    /// Whether the repository's verification cannot succeed yet after it.
    pub exempt: bool,
    /// Whether it makes that verification.
    pub bootstrap: bool,
}
