//! `factory show`: why a run passed or failed.

use super::{output, problem, status, words};
use crate::config::Settings;
use crate::run::{Failure, Overview, Situation};
use serde_json::json;
use std::path::PathBuf;

/// Shows one run: its attempts, its commands, why it passed or failed, and where everything is.
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
    let runs = status::recorded(&state_dir)?;
    let overview = status::find(&runs, &arguments.run)?;
    if arguments.json {
        output::json(&json!({ "schema": 1, "run": overview }))?;
    } else {
        output::text(&page(overview))?;
    }
    Ok(super::exit::code(None))
}

fn page(overview: &Overview) -> String {
    let Some(summary) = &overview.summary else {
        return format!(
            "open  {}  {}\n  run       {}\n  attempts  {}\n  last      {} at {}\n  artifacts {}\n\
             The run is under way, or it was killed: it has no last entry.\n",
            words::line(&overview.opened.order_id),
            words::line(&overview.opened.title),
            overview.run,
            overview.attempts,
            overview.last,
            words::time(overview.last_ms),
            words::line(&overview.opened.artifacts.to_string_lossy()),
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
