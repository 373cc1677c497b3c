//! How far a run has come, be it of an order or of a plan.

use super::fold::{FoldError, body};
use super::park::{PARKED, Parked};
use crate::journal::Recorded;
use serde::Serialize;

/// What the journal tells of any run, whether or not it has ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Progress {
    /// When it was opened, in milliseconds since 1970-01-01 UTC.
    pub opened_ms: u64,
    /// When something was last recorded of it.
    pub last_ms: u64,
    /// What was last recorded of it.
    pub last: String,
    /// Attempts that were begun.
    pub attempts: u32,
    /// Until when it waits for the provider's limit, in milliseconds since 1970-01-01 UTC, unless it goes on by now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parked_until_ms: Option<u64>,
}

impl Progress {
    pub(super) fn begin(entry: &Recorded) -> Self {
        Progress {
            opened_ms: entry.at_ms,
            last_ms: entry.at_ms,
            last: entry.kind.clone(),
            attempts: 0,
            parked_until_ms: None,
        }
    }

    pub(super) fn follow(&mut self, entry: &Recorded) -> Result<(), FoldError> {
        self.last_ms = entry.at_ms;
        self.last.clone_from(&entry.kind);
        self.attempts = self.attempts.max(entry.attempt.unwrap_or(0));
        self.parked_until_ms = match entry.kind.as_str() {
            PARKED => Some(body::<Parked>(entry)?.until_ms),
            _ => None,
        };
        Ok(())
    }
}
