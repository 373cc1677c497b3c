//! `factory journal`: looks at the record itself.

use super::{exit, output};
use crate::config::Settings;
use crate::journal::{Journal, JournalError};
use crate::run::{Failure, Situation};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Checks the record of all runs, or hands it out.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Checks every entry against the one before it, and every blob that an entry names against its digest.
    Check(Place),
    /// Prints every entry, one JSON document a line, each checked against the one before it.
    Export(Place),
}

#[derive(Debug, clap::Args)]
struct Place {
    /// Where runs are recorded [default: $XDG_STATE_HOME/factory, or ~/.local/state/factory].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) fn journal(arguments: &Arguments, settings: &Settings) -> Result<u8, Failure> {
    let (Action::Check(place) | Action::Export(place)) = &arguments.action;
    let state_dir = settings
        .state_dir(place.state_dir.as_deref())
        .map_err(|error| Failure::new(&error, Situation::Plain))?
        .value;
    let done = match &arguments.action {
        Action::Check(_) => check(&state_dir, place.json),
        Action::Export(_) => export(&state_dir),
    };
    done.map(|()| exit::code(None))
}

fn storage(error: JournalError) -> Failure {
    Failure::new(&error, Situation::Storage)
}

fn check(state_dir: &Path, as_json: bool) -> Result<(), Failure> {
    let journal = Journal::open_read_only(state_dir).map_err(storage)?;
    let checked = journal.map(|journal| journal.check()).transpose().map_err(storage)?;
    let checked = checked.unwrap_or_default();
    if as_json {
        return output::json(
            &json!({ "schema": 1, "entries": checked.entries, "blobs": checked.blobs, "removed": checked.removed }),
        );
    }
    output::text(&format!(
        "{} entries and {} blobs are as they were written; {} blobs were removed by `factory gc`\n",
        checked.entries, checked.blobs, checked.removed
    ))
}

fn export(state_dir: &Path) -> Result<(), Failure> {
    let Some(journal) = Journal::open_read_only(state_dir).map_err(storage)? else {
        return Ok(());
    };
    for entry in journal.entries().map_err(storage)? {
        output::json(&json!(entry))?;
    }
    Ok(())
}
