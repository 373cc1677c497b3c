//! What the journal knows of an order from earlier runs: how often it crashed, and what of it can still be used.

use super::failure::{Failure, Situation};
use super::fold::{Opened, body};
use super::hold::Lease;
use super::summary::Summary;
use crate::journal::{Journal, JournalError, Recorded};
use crate::types::{FailureClass, RunId, Sha256, escape_control};
use crate::workspace::Repository;
use serde_json::json;

/// Crashes in a row after which an order is set aside.
pub const CRASHES: u32 = 3;

/// Earlier runs of one order that are looked at, the latest first.
const DEPTH: usize = 100;

/// The entry by which the operator lets a quarantined order run again.
pub(super) const RELEASED: &str = "order.released";

/// What is known of an order from earlier runs on the same repository.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// Its latest runs that crashed, without one between them that ended by itself.
    pub(super) crashes: Vec<RunId>,
    /// Its latest runs that ended without a judgement on the order: what they learned is used again.
    pub(super) continued: Vec<RunId>,
    /// Where the earliest of these that was to ask anew stands in the journal.
    pub(super) fresh_since: Option<u64>,
}

/// One earlier run.
struct Earlier {
    run: RunId,
    seq: u64,
    opened: Opened,
    summary: Option<Summary>,
}

impl Past {
    /// Looks up what is known of `order_id`, which has the key `order_key` now.
    pub(super) fn of(
        journal: &Journal,
        repository: &Repository,
        order_id: &str,
        order_key: Sha256,
    ) -> Result<Self, Failure> {
        let released = released(journal, order_id)?;
        let earlier = earlier(journal, repository, order_id)?;
        let crashes = earlier
            .iter()
            .take_while(|earlier| earlier.seq > released && earlier.crashed())
            .map(|earlier| earlier.run)
            .collect();
        let continued: Vec<_> = earlier
            .iter()
            .take_while(|earlier| earlier.opened.order_key == Some(order_key) && earlier.is_unfinished())
            .collect();
        Ok(Past {
            crashes,
            fresh_since: continued
                .iter()
                .filter(|earlier| earlier.opened.fresh)
                .map(|earlier| earlier.seq)
                .min(),
            continued: continued.iter().map(|earlier| earlier.run).collect(),
        })
    }

    /// Refuses an order that crashed [`CRASHES`] times in a row: what ends this process every time is not mended by
    /// trying again, and each time may cost a model's answer.
    pub(super) fn refuse_quarantined(&self, order_id: &str) -> Result<(), Failure> {
        let crashes = u32::try_from(self.crashes.len()).unwrap_or(u32::MAX);
        if crashes < CRASHES {
            return Ok(());
        }
        let shown = escape_control(order_id);
        let failure = Failure::plain(
            FailureClass::Order,
            format!("the order {shown} is in quarantine: its last {crashes} runs were killed or crashed"),
        );
        let runs = self.crashes.iter().rev().map(|run| format!("run {run}"));
        Err(Failure {
            causes: runs.collect(),
            ..failure.with_hint(format!(
                "find out what ended them (`factory show RUN`, the kernel's log), then let it run again: factory release {shown}"
            ))
        })
    }
}

impl Earlier {
    fn crashed(&self) -> bool {
        let problem = self.summary.as_ref().and_then(|summary| summary.problem.as_ref());
        problem.is_some_and(|problem| problem.situation == Situation::Crashed)
    }

    /// Whether it ended for a reason that says nothing about the order.
    fn is_unfinished(&self) -> bool {
        use FailureClass as Class;
        match self.summary.as_ref().map(|summary| summary.class) {
            // Closed by nobody: another process may be on it. The caller holds the repository, so it is a dead one that
            // could not be closed, and what it learned is as good.
            None => true,
            Some(Some(
                Class::Cancelled | Class::Host | Class::ProviderTransient | Class::ProviderPermanent | Class::Budget,
            )) => true,
            Some(_) => false,
        }
    }
}

/// The place of the latest release; zero when there was none.
fn released(journal: &Journal, order_id: &str) -> Result<u64, Failure> {
    let releases = journal.entries_about(RELEASED, order_id).map_err(unreadable)?;
    Ok(releases.last().map_or(0, |entry| entry.seq))
}

fn earlier(journal: &Journal, repository: &Repository, order_id: &str) -> Result<Vec<Earlier>, Failure> {
    let opened = journal.entries_about("run.opened", order_id).map_err(unreadable)?;
    let here = opened
        .iter()
        .rev()
        .filter_map(|entry| Some((entry, body::<Opened>(entry).ok()?)))
        .filter(|(_, opened)| is_on(opened, repository));
    here.take(DEPTH)
        .map(|(entry, opened)| {
            Ok(Earlier {
                run: entry.run,
                seq: entry.seq,
                opened,
                summary: summary(journal, entry.run)?,
            })
        })
        .collect()
}

/// Whether a run was on this repository.
pub(super) fn is_on(opened: &Opened, repository: &Repository) -> bool {
    opened.lease.as_ref().map_or_else(
        || opened.repository == repository.work_dir(),
        |lease: &Lease| lease.is_on(repository),
    )
}

fn summary(journal: &Journal, run: RunId) -> Result<Option<Summary>, Failure> {
    let entries = journal.entries_of(run).map_err(unreadable)?;
    let completed = entries.iter().find(|entry| entry.kind == "run.completed");
    Ok(completed.and_then(|entry| body(entry).ok()))
}

/// Lets an order run again.
///
/// # Errors
/// `Host` when the journal cannot be written.
pub fn release(journal: &mut Journal, order_id: &str) -> Result<(), Failure> {
    let entry = crate::journal::Entry {
        run: RunId::new(ulid::Ulid::generate()),
        phase: crate::journal::Phase::Fact,
        kind: RELEASED,
        attempt: None,
        body: json!({ "order_id": order_id }),
    };
    journal.append(&entry).map(drop).map_err(unreadable)
}

/// Whether the journal knows an order of this id.
///
/// # Errors
/// `Host` when the journal cannot be read.
pub fn is_known(journal: &Journal, order_id: &str) -> Result<bool, Failure> {
    Ok(!journal
        .entries_about("run.opened", order_id)
        .map_err(unreadable)?
        .is_empty())
}

/// The last entry of a kind about `key` that stands at or after `since`.
pub(super) fn latest(journal: &Journal, kind: &str, key: Sha256, since: u64) -> Result<Option<Recorded>, JournalError> {
    let mut entries = journal.entries_about(kind, &key.to_string())?;
    Ok(entries.pop().filter(|entry| entry.seq >= since))
}

pub(super) fn unreadable(error: JournalError) -> Failure {
    Failure::new(&error, Situation::Storage)
}
