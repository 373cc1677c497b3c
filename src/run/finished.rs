//! Is the order done already? Told by the journal or, where that is gone, by the commits of the branch.
//!
//! An order is done when the branch's history holds the point at which it was verified, and the order means the same there
//! as it does now. What later commits changed makes no difference: they had their own verification.

use super::failure::Failure;
use super::fold::body;
use super::ground::{Setup, workspace_failure};
use super::key::order_key;
use super::past::unreadable;
use super::summary::{Summary, VerdictName};
use crate::journal::Journal;
use crate::promote::{ORDER_KEY_TRAILER, ORDER_TRAILER, RUN_TRAILER};
use crate::types::{ObjectId, RunId, Sha256};
use crate::workspace::{Commit, Repository};
use serde::Serialize;

/// Commits of the branch that are looked at where the journal knows nothing.
const HISTORY: usize = 2000;

/// An order that is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Done {
    /// The order.
    pub order_id: String,
    /// The run that did it, as far as that is known.
    pub run: Option<RunId>,
    /// The commit that it became; nothing when it was satisfied without one.
    pub commit: Option<ObjectId>,
    /// The branch whose history holds it.
    pub branch: String,
    /// What recognised it.
    pub known_from: Source,
}

/// What recognised an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The journal.
    Journal,
    /// The trailers of a commit.
    History,
}

/// Whether the order is done in the history of `tip`, the commit that a run would start from.
pub(super) fn finished(
    setup: &Setup,
    repository: &Repository,
    journal: &Journal,
    (branch, tip): (&str, ObjectId),
) -> Result<Option<Done>, Failure> {
    let look = Look { setup, repository, tip };
    let done = |run, commit, known_from| Done {
        order_id: setup.order.id.clone(),
        run,
        commit,
        branch: branch.to_owned(),
        known_from,
    };
    if let Some(summary) = look.in_journal(journal)? {
        let commit = summary.commit.filter(|_| !summary.unchanged);
        return Ok(Some(done(Some(summary.run), commit, Source::Journal)));
    }
    Ok(look.in_history()?.map(|commit| {
        let run = commit.trailer(RUN_TRAILER).and_then(|run| run.parse().ok());
        done(run, Some(commit.id), Source::History)
    }))
}

struct Look<'a> {
    setup: &'a Setup,
    repository: &'a Repository,
    tip: ObjectId,
}

impl Look<'_> {
    fn in_journal(&self, journal: &Journal) -> Result<Option<Summary>, Failure> {
        let completed = journal
            .entries_about("run.completed", &self.setup.order.id)
            .map_err(unreadable)?;
        for entry in completed.iter().rev() {
            // A summary of another layout was written by a version that knew no order keys.
            let Ok(summary) = body::<Summary>(entry) else { continue };
            let Some(key) = summary.order_key.filter(|_| is_done(summary.verdict)) else {
                continue;
            };
            if self.holds(summary.commit.unwrap_or(summary.base))? && self.has_key(summary.base, key)? {
                return Ok(Some(summary));
            }
        }
        Ok(None)
    }

    fn in_history(&self) -> Result<Option<Commit>, Failure> {
        let history = self.repository.history(self.tip, HISTORY);
        for commit in history.map_err(|error| workspace_failure(&error))? {
            let is_ours = commit.trailer(ORDER_TRAILER) == Some(self.setup.order.id.as_str());
            let key = commit.trailer(ORDER_KEY_TRAILER).and_then(|key| key.parse().ok());
            if let (true, Some(parent), Some(key)) = (is_ours, commit.parent, key)
                && self.has_key(parent, key)?
            {
                return Ok(Some(commit));
            }
        }
        Ok(None)
    }

    /// Whether the branch's history holds a commit.
    fn holds(&self, commit: ObjectId) -> Result<bool, Failure> {
        let leads = self.repository.leads_to(commit, self.tip);
        leads.map_err(|error| workspace_failure(&error))
    }

    /// Whether the order, as it is now, has this key on a base.
    fn has_key(&self, base: ObjectId, key: Sha256) -> Result<bool, Failure> {
        let look = || {
            let snapshot = self.repository.snapshot(base)?;
            order_key(self.setup, |path| snapshot.entry(path))
        };
        Ok(look().map_err(|error| workspace_failure(&error))? == key)
    }
}

/// Whether an order of this id is done in the history of `tip`, whatever it said then: for those that come after it.
pub(super) fn is_done_before(
    repository: &Repository,
    journal: &Journal,
    order_id: &str,
    tip: ObjectId,
) -> Result<bool, Failure> {
    let completed = journal.entries_about("run.completed", order_id).map_err(unreadable)?;
    for entry in completed.iter().rev() {
        let Ok(summary) = body::<Summary>(entry) else { continue };
        let verified = summary.commit.unwrap_or(summary.base);
        let leads = || {
            repository
                .leads_to(verified, tip)
                .map_err(|error| workspace_failure(&error))
        };
        if is_done(summary.verdict) && leads()? {
            return Ok(true);
        }
    }
    let history = repository
        .history(tip, HISTORY)
        .map_err(|error| workspace_failure(&error))?;
    Ok(history
        .iter()
        .any(|commit| commit.trailer(ORDER_TRAILER) == Some(order_id)))
}

fn is_done(verdict: VerdictName) -> bool {
    match verdict {
        VerdictName::PassUnproven | VerdictName::AlreadySatisfied => true,
        VerdictName::Fail | VerdictName::Blocked | VerdictName::Inconclusive | VerdictName::Skipped => false,
    }
}
