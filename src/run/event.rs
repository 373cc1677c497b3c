//! What a run tells while it is under way: a closed list of `noun.verb` events.

use super::failure::{Failure, Stage};
use super::finished::Done;
use super::recover::Recovered;
use super::summary::{CommandSummary, Summary, VerdictName};
use crate::sandbox::Layer;
use crate::types::{FailureClass, ObjectId, RunId, Sha256};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;

/// What a run tells while it is under way. Each run ends with exactly one [`Event::Completed`].
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event")]
pub enum Event<'a> {
    /// A dead run of the repository was brought to an end.
    #[serde(rename = "run.recovered")]
    Recovered(&'a Recovered),
    /// The order is done; no run is opened.
    #[serde(rename = "order.skipped")]
    Skipped(&'a Done),
    /// The run exists.
    #[serde(rename = "run.opened")]
    Opened {
        /// The run.
        run: RunId,
        /// The order's id.
        order_id: &'a str,
        /// The order's title.
        title: &'a str,
        /// The commit that it starts from.
        base: ObjectId,
        /// The branch that it works for.
        branch: &'a str,
        /// The profile under which commands run.
        profile: &'a str,
        /// Layers of the profile's floor that the operator does without.
        waived: &'a BTreeSet<Layer>,
        /// The provider that is asked.
        provider: &'a str,
        /// The model that is asked.
        model: &'a str,
        /// Attempts that it may take.
        max_attempts: u32,
        /// The directory with everything that is recorded.
        artifacts: &'a Path,
    },
    /// Every file of the checkout was looked at, while the run went on: before its end, at no particular moment.
    #[serde(rename = "checkout.seen")]
    Checkout {
        /// The commit that the run starts from.
        base: ObjectId,
        /// Whether the checkout has changes that are not committed, and so not part of the run; nothing when it cannot be
        /// read, or the run was over before every file was looked at.
        dirty: Option<bool>,
    },
    /// The model is asked.
    #[serde(rename = "proposal.requested")]
    Requested {
        /// The attempt.
        attempt: u32,
        /// The digest of the request.
        request: Sha256,
    },
    /// The provider failed in passing and is asked again later.
    #[serde(rename = "proposal.delayed")]
    Delayed {
        /// The attempt.
        attempt: u32,
        /// The time until then, in milliseconds.
        wait_ms: u64,
        /// Why.
        reason: &'a str,
    },
    /// The provider limits requests for longer than a run waits; the run goes on by itself then.
    #[serde(rename = "run.parked")]
    Parked {
        /// The attempt.
        attempt: u32,
        /// Until when, in milliseconds since 1970-01-01 UTC.
        until_ms: u64,
        /// Why.
        reason: &'a str,
    },
    /// A parked run goes on.
    #[serde(rename = "run.resumed")]
    Resumed {
        /// The attempt.
        attempt: u32,
    },
    /// An earlier run asked this and has the answer; nothing is sent.
    #[serde(rename = "proposal.recalled")]
    Recalled {
        /// The attempt.
        attempt: u32,
        /// The digest of the request.
        request: Sha256,
        /// The run that asked.
        from: RunId,
    },
    /// The model answered.
    #[serde(rename = "proposal.answered")]
    Answered {
        /// The attempt.
        attempt: u32,
        /// The length of the answer.
        bytes: usize,
        /// Its digest.
        sha256: Sha256,
    },
    /// The proposal is in scope and there is a candidate.
    #[serde(rename = "candidate.built")]
    Built {
        /// The attempt.
        attempt: u32,
        /// The files that it changes.
        files: &'a [String],
        /// Those of them that it takes away, or gives another name.
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        gone: &'a [String],
    },
    /// A command starts.
    #[serde(rename = "command.started")]
    CommandStarted {
        /// The attempt.
        attempt: u32,
        /// `verify` or `acceptance`.
        phase: &'a str,
        /// The program and its arguments.
        argv: &'a [String],
    },
    /// A command ended.
    #[serde(rename = "command.finished")]
    CommandFinished {
        /// The attempt.
        attempt: u32,
        /// What it was and how it ended.
        #[serde(flatten)]
        command: &'a CommandSummary,
    },
    /// An attempt failed.
    #[serde(rename = "attempt.failed")]
    AttemptFailed {
        /// The attempt.
        attempt: u32,
        /// Where.
        stage: Stage,
        /// Whose turn it is.
        class: FailureClass,
        /// What happened, in a sentence.
        reason: &'a str,
    },
    /// The candidate passed.
    #[serde(rename = "candidate.passed")]
    CandidatePassed {
        /// The attempt.
        attempt: u32,
        /// The digest of the record of its verification.
        evidence: Sha256,
    },
    /// The branch has the change.
    #[serde(rename = "promotion.committed")]
    Promoted {
        /// The attempt.
        attempt: u32,
        /// The branch.
        branch: &'a str,
        /// Its commit.
        commit: ObjectId,
        /// The commit's tree.
        tree: ObjectId,
        /// Whether the change was there already, so that no commit was made.
        unchanged: bool,
    },
    /// The run is over.
    #[serde(rename = "run.completed")]
    Completed {
        /// The run, unless it was refused before there was one.
        run: Option<RunId>,
        /// How it ended.
        verdict: VerdictName,
        /// The exit code of the command that ran it.
        exit_code: u8,
        /// Why it did not pass.
        problem: Option<&'a Failure>,
        /// Everything else, unless it was refused before there was a run.
        summary: Option<&'a Summary>,
    },
}

/// Is told what happens.
pub type Observer<'a> = dyn FnMut(&Event<'_>) + Send + 'a;
