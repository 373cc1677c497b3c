//! `factory show`: why a run passed or failed.

use super::status::Found;
use super::{output, problem, status, words};
use crate::config::Settings;
use crate::run::{Failure, Overview, PlanOverview, Progress, Situation};
use crate::types::RunId;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Shows one run of an order or a planner: its attempts, its commands, why it passed or failed, and where everything is.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The run, or the beginning of its id.
    run: String,
    /// Where runs are recorded [default: $XDG_STATE_HOME/factory, or ~/.local/state/factory].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) fn show(arguments: &Arguments, settings: &Settings) -> Result<u8, Failure> {
    let state_dir = settings
        .state_dir(arguments.state_dir.as_deref())
        .map_err(|error| Failure::new(&error, Situation::Plain))?
        .value;
    let recorded = status::recorded(&state_dir)?;
    match (status::find(&recorded, &arguments.run)?, arguments.json) {
        (Found::Run(overview), true) => {
            let removed = words::are_removed(&overview.opened.artifacts);
            output::json(&json!({ "schema": 1, "run": overview, "artifacts_removed": removed }))?;
        }
        (Found::Run(overview), false) => output::text(&page(overview))?,
        (Found::Plan(overview), true) => {
            let removed = words::are_removed(&overview.artifacts);
            output::json(&json!({ "schema": 1, "plan": overview, "artifacts_removed": removed }))?;
        }
        (Found::Plan(overview), false) => output::text(&plan_page(overview))?,
    }
    Ok(super::exit::code(None))
}

/// What is known of a run that has not ended.
fn unfinished(what: &str, run: RunId, progress: &Progress, artifacts: &Path) -> String {
    format!(
        "  run       {run}\n  attempts  {}\n  last      {} at {}\n  artifacts {}\nThe {what} is {}.",
        progress.attempts,
        progress.last,
        words::time(progress.last_ms),
        words::records(artifacts),
        match progress.parked_until_ms {
            Some(until) => format!("parked {}", words::parked(until)),
            None => "under way, or it was killed: it has no last entry".to_owned(),
        },
    )
}

fn plan_page(overview: &PlanOverview) -> String {
    let Some(summary) = &overview.summary else {
        return format!(
            "open  plan of {}\n{} The same command again does not pay twice.\n",
            words::line(&overview.spec),
            unfinished("planner", overview.plan, &overview.progress, &overview.artifacts),
        );
    };
    let mut page = format!(
        "plan {} of {}\n  opened    {}\n",
        overview.plan,
        words::line(&overview.spec),
        words::time(summary.started_ms)
    );
    page.push_str(&super::plan::page(summary));
    for attempt in summary.attempts.iter().filter(|attempt| !attempt.errors.is_empty()) {
        page.push_str(&format!("\nattempt {}\n", attempt.n));
        for error in &attempt.errors {
            page.push_str(&format!("  {}\n", words::line(&error.to_string())));
        }
    }
    if let Some(failure) = &summary.problem {
        page.push('\n');
        page.push_str(&problem::text(failure));
    }
    page
}

fn page(overview: &Overview) -> String {
    let Some(summary) = &overview.summary else {
        return format!(
            "open  {}  {}\n{}\n",
            words::line(&overview.opened.order_id),
            words::line(&overview.opened.title),
            unfinished("run", overview.run, &overview.progress, &overview.opened.artifacts),
        );
    };
    let mut page = words::summary(summary);
    page.push_str(&format!("  opened    {}\n", words::time(summary.started_ms)));
    if !overview.opened.waived.is_empty() {
        page.push_str(&format!("  {}\n", words::waived(&overview.opened.waived)));
    }
    for attempt in &summary.attempts {
        page.push('\n');
        page.push_str(&words::attempt(attempt));
    }
    if let Some(failure) = &summary.problem {
        page.push('\n');
        page.push_str(&problem::text(failure));
    }
    page
}
