//! What the journal tells of planners' runs.

use super::super::fold::{FoldError, body};
use super::super::park::{PARKED, Parked};
use super::event::PlanSummary;
use crate::journal::Recorded;
use crate::types::RunId;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A planner's run, as far as it came.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanOverview {
    /// The run.
    pub plan: RunId,
    /// The spec, as it was named.
    pub spec: String,
    /// The directory with everything that is recorded.
    pub artifacts: PathBuf,
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
    /// How it ended; absent while it is under way, and for ever when it was killed.
    pub summary: Option<PlanSummary>,
}

/// Folds entries into planners' runs, in the order in which these were opened.
///
/// # Errors
/// `Host` when an entry of ours does not hold what entries of its kind hold.
pub fn plan_overviews(entries: &[Recorded]) -> Result<Vec<PlanOverview>, FoldError> {
    let mut plans: BTreeMap<RunId, PlanOverview> = BTreeMap::new();
    for entry in entries {
        if entry.kind == "plan.opened" {
            let text = |key: &str| entry.body[key].as_str().unwrap_or_default().to_owned();
            let plan = PlanOverview {
                plan: entry.run,
                spec: text("spec"),
                artifacts: text("artifacts").into(),
                opened_ms: entry.at_ms,
                last_ms: entry.at_ms,
                last: entry.kind.clone(),
                attempts: 0,
                parked_until_ms: None,
                summary: None,
            };
            plans.insert(entry.run, plan);
        } else if let Some(plan) = plans.get_mut(&entry.run) {
            plan.last_ms = entry.at_ms;
            plan.last.clone_from(&entry.kind);
            plan.attempts = plan.attempts.max(entry.attempt.unwrap_or(0));
            plan.parked_until_ms = match entry.kind.as_str() {
                PARKED => Some(body::<Parked>(entry)?.until_ms),
                _ => None,
            };
            if entry.kind == "plan.completed" {
                plan.summary = Some(body(entry)?);
            }
        }
    }
    let mut plans: Vec<_> = plans.into_values().collect();
    plans.sort_by_key(|plan| (plan.opened_ms, plan.plan));
    Ok(plans)
}
