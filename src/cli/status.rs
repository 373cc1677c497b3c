//! `factory status`: what ran.

use super::{output, problem, words};
use crate::config::Settings;
use crate::journal::Journal;
use crate::run::{Failure, FoldError, Overview, PlanOverview, Situation, VerdictName, overviews, plan_overviews};
use crate::types::RunId;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Lists the runs of orders and of planners, the latest last.
///
/// A run without a verdict is under way, or was killed.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where runs are recorded [default: $XDG_STATE_HOME/factory, or ~/.local/state/factory].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) fn status(arguments: &Arguments, settings: &Settings) -> Result<u8, Failure> {
    let state_dir = settings
        .state_dir(arguments.state_dir.as_deref())
        .map_err(|error| Failure::new(&error, Situation::Plain))?
        .value;
    let Recorded { runs, plans } = recorded(&state_dir)?;
    if arguments.json {
        output::json(&json!({ "schema": 1, "runs": runs, "plans": plans }))?;
    } else if runs.is_empty() && plans.is_empty() {
        output::text(&format!(
            "no runs are recorded in {}\n",
            words::line(&state_dir.to_string_lossy())
        ))?;
    } else {
        let runs = runs.iter().map(|run| (run.progress.opened_ms, row(run)));
        let plans = plans.iter().map(|plan| (plan.progress.opened_ms, plan_row(plan)));
        let mut rows: Vec<_> = runs.chain(plans).collect();
        rows.sort_by_key(|(opened_ms, _)| *opened_ms);
        output::text(&rows.into_iter().map(|(_, row)| row).collect::<String>())?;
    }
    Ok(super::exit::code(None))
}

/// All runs that a state directory knows.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// Those of orders.
    pub(super) runs: Vec<Overview>,
    /// Those of planners.
    pub(super) plans: Vec<PlanOverview>,
}

pub(super) fn recorded(state_dir: &Path) -> Result<Recorded, Failure> {
    let read = || -> Result<Recorded, FoldError> {
        let journal = Journal::open_read_only(state_dir).map_err(|source| FoldError::Journal { source })?;
        let Some(journal) = journal else {
            return Ok(Recorded::default());
        };
        let entries = journal.entries().map_err(|source| FoldError::Journal { source })?;
        Ok(Recorded {
            runs: overviews(&entries)?,
            plans: plan_overviews(&entries)?,
        })
    };
    read().map_err(|error| Failure::new(&error, Situation::Storage))
}

fn plan_row(plan: &PlanOverview) -> String {
    let (verdict, end) = match &plan.summary {
        Some(summary) => match &summary.problem {
            None => ("PLANNED", format!("orders {}", summary.orders.len())),
            Some(failure) => (VerdictName::of(failure.class).as_str(), failure.sentence()),
        },
        None => words::standing(&plan.progress),
    };
    format!(
        "{}  {}  {verdict:<13}  plan of {}  attempts {}  {}\n",
        plan.plan,
        words::time(plan.progress.opened_ms),
        words::line(&plan.spec),
        plan.progress.attempts,
        words::line(&end)
    )
}

fn row(overview: &Overview) -> String {
    let opened = &overview.opened;
    let (verdict, end) = match &overview.summary {
        Some(summary) => (
            summary.verdict.as_str(),
            summary.problem.as_ref().map(Failure::sentence).unwrap_or_default(),
        ),
        None => words::standing(&overview.progress),
    };
    format!(
        "{}  {}  {:<13}  {}  {}  attempts {}  {}\n",
        overview.run,
        words::time(overview.progress.opened_ms),
        verdict,
        words::line(&opened.order_id),
        words::line(&opened.branch),
        overview.progress.attempts,
        words::line(&end)
    )
    .trim_end()
    .to_owned()
        + "\n"
}

/// A run of either kind.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found<'a> {
    Run(&'a Overview),
    Plan(&'a PlanOverview),
}

/// The one run whose id starts with `prefix`.
pub(super) fn find<'a>(recorded: &'a Recorded, prefix: &str) -> Result<Found<'a>, Failure> {
    let wanted = prefix.to_ascii_uppercase();
    let is_wanted = |id: RunId| id.to_string().starts_with(&wanted);
    let runs = recorded.runs.iter().filter(|run| is_wanted(run.run)).map(Found::Run);
    let plans = recorded
        .plans
        .iter()
        .filter(|plan| is_wanted(plan.plan))
        .map(Found::Plan);
    let matching: Vec<_> = runs.chain(plans).collect();
    match matching.as_slice() {
        [one] => Ok(*one),
        [] => Err(problem::usage(format!("no run is called `{prefix}`"))
            .with_hint("see `factory status` for the runs there are")),
        several => {
            Err(problem::usage(format!("`{prefix}` names {} runs", several.len()))
                .with_hint("write more of the run's id"))
        }
    }
}
