//! `factory gc`: makes room.

use super::{exit, output};
use crate::config::Settings;
use crate::durable::{Removal, Removed};
use crate::run::{Collected, Collection, Failure, Places, Situation, gc as collect};
use crate::types::parse_duration;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// Removes what has not been needed for long: exported trees, records of runs that promoted nothing, stored answers, and
/// what killed runs left.
///
/// Repositories, open runs and what promoted runs recorded stay. An answer that was removed is asked for again.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What was needed within this time stays [default: 30d].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    keep: Option<Duration>,
    /// Tell what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,
    /// Where runs are recorded [default: $XDG_STATE_HOME/factory, or ~/.local/state/factory].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Where the directories of runs are [default: `runs` in the state directory].
    #[arg(long, value_name = "DIR")]
    artifacts: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

pub(super) fn gc(arguments: &Arguments, settings: &Settings) -> Result<u8, Failure> {
    let plain = |error| Failure::new(&error, Situation::Plain);
    let state_dir = settings.state_dir(arguments.state_dir.as_deref()).map_err(plain)?.value;
    let places = Places {
        cache_dir: settings.cache_dir().map_err(plain)?.value,
        artifacts: settings.artifacts(arguments.artifacts.as_deref(), &state_dir).value,
        state_dir,
    };
    let removal = match arguments.dry_run {
        true => Removal::Rehearsed,
        false => Removal::Done,
    };
    let collected = collect(&Collection {
        places: &places,
        keep: settings.keep(arguments.keep).value,
        removal,
    })?;
    if arguments.json {
        output::json(&json!({ "schema": 1, "dry_run": arguments.dry_run, "removed": collected }))?;
    } else {
        output::text(&page(&collected, removal))?;
    }
    Ok(exit::code(None))
}

/// One line for each kind.
fn page(collected: &Collected, removal: Removal) -> String {
    let verb = match removal {
        Removal::Done => "removed",
        Removal::Rehearsed => "would remove",
    };
    let Collected {
        trees,
        candidates,
        artifacts,
        blobs,
        asides,
    } = collected;
    [
        ("exported trees", trees),
        ("directories of candidates", candidates),
        ("directories of runs", artifacts),
        ("blobs of the journal", blobs),
        ("unfinished files", asides),
    ]
    .map(|(what, Removed { count, bytes })| format!("{verb} {count} {what}, {bytes} bytes\n"))
    .concat()
}
