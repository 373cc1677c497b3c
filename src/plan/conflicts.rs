//! Do the orders of a plan get in each other's way? Codes E109 and E110.
//!
//! Version 1 can only write, and each of its orders comes after the one before it: neither code can meet it.

use super::chain::{Chain, There, conditions, promised};
use super::commands::commands;
use super::complaint::{Code, Complaint, Complaints};
use super::deps::dependencies;
use super::structure::texts;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap, HashSet};

/// How many files a complaint names; the others are counted.
const MAX_NAMED: usize = 5;

/// The files that may be gone after an order: deleted, or called something else.
pub(super) fn gone(order: &Value) -> impl Iterator<Item = &str> {
    texts(order, "allowed_deletes").chain(renames(order, "from"))
}

/// The names that files may get by an order.
pub(super) fn named(order: &Value) -> impl Iterator<Item = &str> {
    renames(order, "to")
}

fn renames<'o>(order: &'o Value, side: &'static str) -> impl Iterator<Item = &'o str> {
    let list = order.get("allowed_renames").and_then(Value::as_array);
    let renames = list.into_iter().flatten();
    renames.filter_map(move |rename| rename.get(side)?.as_str())
}

/// The files that may be other ones after an order.
fn touched(order: &Value) -> BTreeSet<&str> {
    texts(order, "allowed_files")
        .chain(gone(order))
        .chain(named(order))
        .collect()
}

/// The files that may be there after an order because of it.
pub(super) fn made(order: &Value) -> HashSet<String> {
    let written = texts(order, "allowed_files").chain(named(order)).map(str::to_owned);
    written.chain(promised(order)).collect()
}

/// The orders that may take each file away, the first in the list first.
pub(super) type Takers<'o> = HashMap<&'o str, Vec<usize>>;

pub(super) fn takers<'o>(chain: &Chain<'o>) -> Takers<'o> {
    let mut takers = Takers::new();
    for (place, (_, order)) in chain.orders.iter().enumerate() {
        for path in gone(order) {
            takers.entry(path).or_default().push(place);
        }
    }
    takers
}

/// Whether an order finds what it deletes and renames, and what it uses.
pub(super) fn check_order(
    chain: &Chain<'_>,
    place: usize,
    (there, takers): (&There<'_>, &Takers<'_>),
    add: &mut impl FnMut(Code, String),
) {
    let order = chain.orders[place].1;
    for path in gone(order).filter(|path| !there.contains(path)) {
        let why = "the repository lacks it and no order that comes before promises it";
        add(
            Code::E110,
            format!("`{path}` is to be deleted or renamed, and is not there when the order's turn comes: {why}"),
        );
    }
    let goes: BTreeSet<_> = gone(order).collect();
    for path in named(order).filter(|path| there.contains(path) && !goes.contains(path)) {
        add(
            Code::E110,
            format!("a file is to be renamed to `{path}`, which exists when the order's turn comes"),
        );
    }
    let preconditions = conditions(order, "preconditions");
    let needed: HashSet<_> = preconditions.iter().map(|condition| condition.path).collect();
    for (path, how) in uses(order) {
        // What it makes itself it need not find; what is not there is complained about as such where it is needed.
        let is_missing = needed.contains(path.as_str()) && !there.contains(&path);
        if is_missing || chain.effects[place].made.contains(&path) {
            continue;
        }
        if let Some(earlier) = taken_away(chain, place, &path, takers) {
            let id = &chain.orders[earlier].1["id"];
            let id = id.as_str().unwrap_or_default();
            add(
                Code::E110,
                format!(
                    "it {how} `{path}`, which {id} may delete or rename before, and no order in between makes again"
                ),
            );
        }
    }
}

/// The files that an order uses and how, each once.
fn uses(order: &Value) -> Vec<(String, &'static str)> {
    let needs = conditions(order, "preconditions").into_iter();
    let needs = needs.filter(|condition| ["file_exists", "file_sha256"].contains(&condition.kind));
    let needs = needs.map(|condition| (condition.path.to_owned(), "needs"));
    let commands = commands(order).into_iter();
    let runs = commands
        .flat_map(|command| dependencies(&command.text))
        .map(|path| (path, "runs"));
    let reads = texts(order, "context_files").map(|path| (path.to_owned(), "is shown"));
    let mut seen = BTreeSet::new();
    let uses = needs.chain(runs).chain(reads);
    uses.filter(|(path, _)| seen.insert(path.clone())).collect()
}

/// The order that may take a file away before another finds it.
fn taken_away(chain: &Chain<'_>, place: usize, path: &str, takers: &Takers<'_>) -> Option<usize> {
    let before = &chain.relation.before;
    let takers = takers.get(path).into_iter().flatten().copied();
    let mut takers = takers.filter(|taker| before[place].contains(taker)).peekable();
    takers.peek()?;
    let makes = |earlier: &&usize| chain.effects[**earlier].made.contains(path);
    let makers: Vec<_> = before[place].iter().filter(makes).collect();
    takers.find(|taker| !makers.iter().any(|maker| before[**maker].contains(taker)))
}

/// Orders that change the same files, and of which neither comes after the other.
pub(super) fn check_plan(chain: &Chain<'_>, complaints: &mut Complaints) {
    let sequence = &chain.relation.sequence;
    let touched: Vec<_> = chain.orders.iter().map(|(_, order)| touched(order)).collect();
    for later in 0..chain.orders.len() {
        for earlier in 0..later {
            let are_sorted = sequence.contains(&earlier) && sequence.contains(&later);
            if !are_sorted || !chain.relation.are_apart(earlier, later) {
                continue;
            }
            let both: Vec<_> = touched[earlier].intersection(&touched[later]).collect();
            if both.is_empty() {
                continue;
            }
            let (name, order) = &chain.orders[earlier];
            let id = order["id"].as_str().map_or_else(|| name.to_string(), str::to_owned);
            let shown: Vec<_> = both.iter().take(MAX_NAMED).map(|path| format!("`{path}`")).collect();
            let more = match both.len().saturating_sub(MAX_NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let files = shown.join(", ");
            let message = format!(
                "it and {id} both change {files}{more}, and neither depends on the other; let one of them come after the other"
            );
            complaints.add(Complaint::new(Code::E109, &chain.orders[later].0, message));
        }
    }
}
