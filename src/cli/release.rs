//! `factory release`: lets an order run again that crashed too often.

use super::{exit, output, problem, words};
use crate::config::Settings;
use crate::journal::Journal;
use crate::run::{CRASHES, Failure, Situation, is_known, release as release_order};
use std::path::PathBuf;

/// Lets an order run again that is in quarantine, because its last runs were all killed or crashed.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The order's id.
    #[arg(value_name = "ORDER")]
    order_id: String,
    /// Where runs are recorded [default: $XDG_STATE_HOME/factory, or ~/.local/state/factory].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

pub(super) fn release(arguments: &Arguments, settings: &Settings) -> Result<u8, Failure> {
    let state_dir = settings
        .state_dir(arguments.state_dir.as_deref())
        .map_err(|error| Failure::new(&error, Situation::Plain))?
        .value;
    let storage = |error| Failure::new(&error, Situation::Storage);
    let id = &arguments.order_id;
    let known = match Journal::open_read_only(&state_dir).map_err(storage)? {
        Some(journal) => is_known(&journal, id)?,
        None => false,
    };
    if !known {
        let shown = words::line(id);
        return Err(problem::usage(format!("no run of an order `{shown}` is recorded"))
            .with_hint("see `factory status` for the orders there are"));
    }
    let mut journal = Journal::open(&state_dir).map_err(storage)?;
    release_order(&mut journal, id)?;
    output::text(&format!(
        "{} may run again; after {CRASHES} more crashes in a row it is set aside again\n",
        words::line(id)
    ))?;
    Ok(exit::code(None))
}
