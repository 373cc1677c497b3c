//! `factory cost`: what was spent.

use super::{exit, output, words};
use crate::config::Settings;
use crate::journal::Journal;
use crate::run::{Call, Failure, Situation, calls};
use crate::types::NanoUsd;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Says what was spent, as the journal tells it.
///
/// A request of whose end nothing is known, because the process was killed, counts for the most that it can have cost.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What the sums are for.
    #[arg(long, value_enum, default_value_t = By::Order)]
    by: By,
    /// Where runs are recorded [default: $XDG_STATE_HOME/factory, or ~/.local/state/factory].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum By {
    Order,
    Model,
    Day,
}

/// What a sum is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    /// An order, a model or a day.
    Named(String),
    /// No order: requests by which plans were made.
    Plan,
    /// What was not said: a model that nobody named.
    Unknown,
}

impl Name {
    fn of(by: By, call: &Call) -> Self {
        let name = match by {
            By::Order => call.order_id.clone(),
            By::Model => call.model.clone(),
            By::Day => words::time(call.at_ms).chars().take(10).collect(),
        };
        match (by, name.is_empty()) {
            (_, false) => Name::Named(name),
            (By::Order, true) if call.plan.is_some() => Name::Plan,
            _ => Name::Unknown,
        }
    }

    /// As shown to people. No identifier of an order has parentheses.
    fn shown(&self) -> String {
        match self {
            Name::Named(name) => words::line(name),
            Name::Plan => "(plan)".to_owned(),
            Name::Unknown => "(unknown)".to_owned(),
        }
    }
}

/// A sum.
#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Serialize)]
struct Sum {
    requests: u64,
    /// Requests of whose end nothing is known, at the most that they can have cost.
    unsettled: u64,
    tokens: u64,
    /// Dollars of the requests whose price is known.
    usd: NanoUsd,
    /// Requests whose price is not known.
    unpriced: u64,
    /// Requests that were counted here, because the provider did not say.
    estimated: u64,
}

impl Sum {
    fn add(&mut self, call: &Call) {
        let counts = call.counts();
        self.requests += 1;
        self.unsettled += u64::from(call.settled.is_none());
        self.estimated += u64::from(call.settled.is_some_and(|settled| settled.estimated));
        self.tokens = self.tokens.saturating_add(counts.tokens);
        match counts.usd {
            Some(usd) => self.usd = self.usd.plus(usd),
            None => self.unpriced += 1,
        }
    }
}

pub(super) fn cost(arguments: &Arguments, settings: &Settings) -> Result<u8, Failure> {
    let state_dir = settings
        .state_dir(arguments.state_dir.as_deref())
        .map_err(|error| Failure::new(&error, Situation::Plain))?
        .value;
    let storage = |error| Failure::new(&error, Situation::Storage);
    let entries = match Journal::open_read_only(&state_dir).map_err(storage)? {
        Some(journal) => journal.entries().map_err(storage)?,
        None => Vec::new(),
    };
    let (mut sums, mut total) = (BTreeMap::<Name, Sum>::new(), Sum::default());
    for call in calls(&entries) {
        sums.entry(Name::of(arguments.by, &call)).or_default().add(&call);
        total.add(&call);
    }
    if arguments.json {
        output::json(&document(&sums, &total))?;
    } else {
        output::text(&table(&sums, &total))?;
    }
    Ok(exit::code(None))
}

/// The sums of what has a name by it, and beside them the two that have none, which are null when there is nothing to add up.
fn document(sums: &BTreeMap<Name, Sum>, total: &Sum) -> Value {
    let named = sums.iter().filter_map(|(name, sum)| match name {
        Name::Named(name) => Some((name.as_str(), sum)),
        Name::Plan | Name::Unknown => None,
    });
    json!({
        "schema": 1,
        "by": named.collect::<BTreeMap<_, _>>(),
        "plan": sums.get(&Name::Plan),
        "unknown": sums.get(&Name::Unknown),
        "total": total,
    })
}

fn table(sums: &BTreeMap<Name, Sum>, total: &Sum) -> String {
    let mut lines = format!("{:<24} {:>8} {:>12}  {}\n", "", "requests", "tokens", "dollars");
    let rows = sums.iter().map(|(name, sum)| (name.shown(), sum));
    for (name, sum) in rows.chain([("total".to_owned(), total)]) {
        let mut notes = Vec::new();
        for (count, what) in [
            (sum.unpriced, "without a price"),
            (sum.estimated, "estimated"),
            (sum.unsettled, "of which nothing is known, at the most"),
        ] {
            if count > 0 {
                notes.push(format!("{count} {what}"));
            }
        }
        let notes = if notes.is_empty() {
            String::new()
        } else {
            format!("  ({})", notes.join(", "))
        };
        lines.push_str(&format!(
            "{:<24} {:>8} {:>12}  {}{notes}\n",
            name, sum.requests, sum.tokens, sum.usd
        ));
    }
    lines
}
