//! What the journal tells of planners' runs.

use super::super::fold::{FoldError, body};
use super::super::progress::Progress;
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
    /// How far it has come.
    #[serde(flatten)]
    pub progress: Progress,
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
                progress: Progress::begin(entry),
                summary: None,
            };
            plans.insert(entry.run, plan);
        } else if let Some(plan) = plans.get_mut(&entry.run) {
            plan.progress.follow(entry)?;
            if entry.kind == "plan.completed" {
                plan.summary = Some(body(entry)?);
            }
        }
    }
    let mut plans: Vec<_> = plans.into_values().collect();
    plans.sort_by_key(|plan| (plan.progress.opened_ms, plan.plan));
    Ok(plans)
}
