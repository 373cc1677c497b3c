//! `factory show`: why a run passed or failed.

use super::status::Found;
use super::{output, problem, status, words};
use crate::config::Settings;
use crate::run::{Failure, Overview, PlanOverview, Situation};
use serde_json::json;
use std::path::PathBuf;

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

fn plan_page(overview: &PlanOverview) -> String {
    let Some(summary) = &overview.summary else {
        return format!(
            "open  plan of {}\n  run       {}\n  attempts  {}\n  last      {} at {}\n  artifacts {}\n\
             {} The same command again does not pay twice.\n",
            words::line(&overview.spec),
            overview.plan,
            overview.attempts,
            overview.last,
            words::time(overview.last_ms),
            words::records(&overview.artifacts),
            match overview.parked_until_ms {
                Some(until) => format!("The planner is parked {}.", words::parked(until)),
                None => "The planner is at work, or it was killed: it has no last entry.".to_owned(),
            },
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
            "open  {}  {}\n  run       {}\n  attempts  {}\n  last      {} at {}\n  artifacts {}\n\
             {}\n",
            words::line(&overview.opened.order_id),
            words::line(&overview.opened.title),
            overview.run,
            overview.attempts,
            overview.last,
            words::time(overview.last_ms),
            words::records(&overview.opened.artifacts),
            match overview.parked_until_ms {
                Some(until) => format!("The run is parked {}.", words::parked(until)),
                None => "The run is under way, or it was killed: it has no last entry.".to_owned(),
            },
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
