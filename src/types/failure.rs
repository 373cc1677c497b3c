//! Failure classes: whose turn it is when something went wrong.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Says whose turn it is after a failure. Retry, waiting, alerts and exit codes follow from the class alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The order cannot be worked on as written: invalid, precondition unmet, command that cannot be split.
    Order,
    /// The model's answer cannot be used: unparseable, out of scope, stale, truncated.
    Proposal,
    /// The proposal was applied and judged: acceptance or regression failed.
    Rejected,
    /// The profile does not grant what the order needs.
    Policy,
    /// This host cannot do it: tool or sandbox layer missing, disk full, repository unusable.
    Host,
    /// The provider may answer later: 408, 409, 429, 5xx, reset.
    ProviderTransient,
    /// The provider will not answer as asked: 401, 403, unknown model, quota.
    ProviderPermanent,
    /// A resource limit ended a command: wall clock, memory, processes, output.
    Limit,
    /// Runs of the same bytes disagree.
    Flaky,
    /// A spending cap was reached.
    Budget,
    /// The branch moved while the run worked.
    Conflict,
    /// The operator interrupted.
    Cancelled,
    /// A bug of ours.
    Internal,
}

impl FailureClass {
    /// The class as written in journals and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            FailureClass::Order => "order",
            FailureClass::Proposal => "proposal",
            FailureClass::Rejected => "rejected",
            FailureClass::Policy => "policy",
            FailureClass::Host => "host",
            FailureClass::ProviderTransient => "provider_transient",
            FailureClass::ProviderPermanent => "provider_permanent",
            FailureClass::Limit => "limit",
            FailureClass::Flaky => "flaky",
            FailureClass::Budget => "budget",
            FailureClass::Conflict => "conflict",
            FailureClass::Cancelled => "cancelled",
            FailureClass::Internal => "internal",
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What every module's error can say about itself beyond its text: whose turn it is, and what to do next.
///
/// The text (`Display`) says what could not be done; the causes are the `source()` chain.
pub trait Problem: std::error::Error {
    /// Whose turn it is.
    fn class(&self) -> FailureClass;

    /// What the reader can do about it: one sentence, without a full stop, or nothing when there is no advice.
    fn hint(&self) -> Option<String>;
}
