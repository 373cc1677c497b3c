//! Does an order find what it takes away and uses, and room for what it makes? Code E110.
//!
//! Version 1 can only write, and each of its orders comes after the one before it: no such order can meet it.

use super::chain::{Chain, There, conditions, promised};
use super::commands::commands;
use super::commands::is_second;
use super::complaint::Code;
use super::deps::dependencies;
use super::names::Names;
use super::structure::texts;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap, HashSet};

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
    (there, takers, names): (&There<'_>, &Takers<'_>, &Names<'_>),
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
    if is_second(order) {
        check_room(chain, place, (takers, names), add);
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

/// Whether there can be the files that an order may make: none of them is a directory by then, or in a file.
fn check_room(
    chain: &Chain<'_>,
    place: usize,
    (takers, names): (&Takers<'_>, &Names<'_>),
    add: &mut impl FnMut(Code, String),
) {
    let order = chain.orders[place].1;
    let before = &chain.relation.before[place];
    let is_taken = |path: &str| {
        let mut takers = takers.get(path).into_iter().flatten();
        takers.any(|taker| *taker == place || before.contains(taker))
    };
    let is_there = |path: &str, maker: Option<usize>| {
        maker.is_none_or(|maker| maker != place && before.contains(&maker)) && !is_taken(path)
    };
    for path in texts(order, "allowed_files").chain(named(order)) {
        if let Some(file) = names.above(path, is_there) {
            let message = format!("`{path}` cannot be made, because `{file}` is a file when the order's turn comes");
            add(Code::E110, message);
        }
        if let Some(file) = names.below(path, is_there) {
            let message = format!("`{path}` is a directory when the order's turn comes, and `{file}` lies in it");
            add(Code::E110, message);
        }
        if let Some(file) = names.lookalike(path, is_there) {
            let why = "some file systems take the two for one";
            add(
                Code::E110,
                format!("`{path}` cannot be made, because `{file}` is there when the order's turn comes: {why}"),
            );
        }
    }
}

/// The files that an order uses and how, each once.
pub(super) fn uses(order: &Value) -> Vec<(String, &'static str)> {
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
