//! `factory recover`: brings dead runs to an end, and does nothing else.

use super::{exit, output, run, words};
use crate::config::Settings;
use crate::run::{Failure, Rescue, Rescued, Situation, rescue};
use crate::types::RunId;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// Brings runs to an end that were killed: finishes what had passed, closes what had changed nothing.
///
/// Every `factory run` does this by itself for its own repository before anything else.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A repository to look in: for its own runs, and for those whose repository is not where it was. Without it, every
    /// run is looked for in its own repository.
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
    /// Close this run without looking at its repository.
    #[arg(long, value_name = "RUN", conflicts_with = "repo")]
    abandon: Option<RunId>,
    /// How long to wait for a repository that a run holds [default: not at all].
    #[arg(long, value_name = "DURATION", value_parser = words::positive_duration)]
    wait: Option<Duration>,
    /// Where runs are recorded [default: $XDG_STATE_HOME/factory, or ~/.local/state/factory].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) fn recover(arguments: &Arguments, settings: &Settings) -> Result<u8, Failure> {
    let state_dir = settings
        .state_dir(arguments.state_dir.as_deref())
        .map_err(|error| Failure::new(&error, Situation::Plain))?
        .value;
    let what = Rescue {
        state_dir: &state_dir,
        repository: arguments.repo.as_deref(),
        abandon: arguments.abandon,
        patience: arguments.wait.unwrap_or_default(),
        exit_code: exit::code,
    };
    let mut cancel = run::hear_signals()?;
    let Rescued { recovered, failures } = run::runtime()?.block_on(rescue(&what, &mut cancel))?;
    if arguments.json {
        let problems: Vec<_> = failures.iter().map(super::problem::json).collect();
        output::json(&json!({
            "schema": 1,
            "recovered": recovered,
            "problem": problems.first(),
            "problems": problems,
        }))?;
    } else {
        show(&Rescued {
            recovered,
            failures: failures.clone(),
        })?;
    }
    Ok(exit::code(failures.first()))
}

fn show(rescued: &Rescued) -> Result<(), Failure> {
    let lines: Vec<_> = rescued.recovered.iter().map(words::recovered).collect();
    match lines.as_slice() {
        [] if rescued.failures.is_empty() => output::text("nothing to recover\n")?,
        [] => {}
        lines => output::text(&(lines.join("\n") + "\n"))?,
    }
    for failure in &rescued.failures {
        output::problem(failure, false);
    }
    Ok(())
}
