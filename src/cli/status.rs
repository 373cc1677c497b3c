//! `factory status`: what ran.

use super::{output, problem, words};
use crate::config::Settings;
use crate::journal::Journal;
use crate::run::{Failure, FoldError, Overview, Situation, overviews};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Lists the runs, the latest last.
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
    let runs = recorded(&state_dir)?;
    if arguments.json {
        output::json(&json!({ "schema": 1, "runs": runs }))?;
    } else if runs.is_empty() {
        output::text(&format!(
            "no runs are recorded in {}\n",
            words::line(&state_dir.to_string_lossy())
        ))?;
    } else {
        output::text(&runs.iter().map(row).collect::<String>())?;
    }
    Ok(super::exit::code(None))
}

/// All runs that a state directory knows.
pub(super) fn recorded(state_dir: &Path) -> Result<Vec<Overview>, Failure> {
    let read = || -> Result<Vec<Overview>, FoldError> {
        let journal = Journal::open_read_only(state_dir).map_err(|source| FoldError::Journal { source })?;
        let Some(journal) = journal else {
            return Ok(Vec::new());
        };
        overviews(&journal.entries().map_err(|source| FoldError::Journal { source })?)
    };
    read().map_err(|error| Failure::new(&error, Situation::Storage))
}

fn row(overview: &Overview) -> String {
    let opened = &overview.opened;
    let (verdict, end) = match &overview.summary {
        Some(summary) => (
            summary.verdict.as_str(),
            summary.problem.as_ref().map(Failure::sentence).unwrap_or_default(),
        ),
        None if let Some(until) = overview.parked_until_ms => (
            "parked",
            format!("until {}: the provider limits requests", words::time(until)),
        ),
        None => (
            "open",
            format!("last recorded: {} at {}", overview.last, words::time(overview.last_ms)),
        ),
    };
    format!(
        "{}  {}  {:<13}  {}  {}  attempts {}  {}\n",
        overview.run,
        words::time(overview.opened_ms),
        verdict,
        words::line(&opened.order_id),
        words::line(&opened.branch),
        overview.attempts,
        words::line(&end)
    )
    .trim_end()
    .to_owned()
        + "\n"
}

/// The one run whose id starts with `prefix`.
pub(super) fn find<'a>(runs: &'a [Overview], prefix: &str) -> Result<&'a Overview, Failure> {
    let wanted = prefix.to_ascii_uppercase();
    let matching: Vec<_> = runs
        .iter()
        .filter(|run| run.run.to_string().starts_with(&wanted))
        .collect();
    match matching.as_slice() {
        [one] => Ok(one),
        [] => Err(problem::usage(format!("no run is called `{prefix}`"))
            .with_hint("see `factory status` for the runs there are")),
        several => {
            Err(problem::usage(format!("`{prefix}` names {} runs", several.len()))
                .with_hint("write more of the run's id"))
        }
    }
}
