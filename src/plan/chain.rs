//! Does each order find what it needs, given the repository and the orders before it? Codes E101 to E108 and W101.

use super::VERIFY_SCRIPT;
use super::commands::{commands, is_second};
use super::complaint::{Code, Complaint, Complaints};
use super::deps::{own_modules, places, python_text};
use super::names::Names;
use super::normal::normal_path;
use super::relation::{Relation, Says};
use super::structure::texts;
use super::{apart, conflicts};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// The files that are there, by their path.
pub type Files = BTreeSet<String>;

/// Directories that hold no files of the product, wherever they are.
const LEFT_OUT: [&str; 10] = [
    ".git",
    ".llmch_venv",
    "__pycache__",
    "node_modules",
    ".venv",
    "venv",
    ".tox",
    ".mypy_cache",
    ".pytest_cache",
    ".eggs",
];

/// The files that a plan may build on: those of a commit, without what tools leave behind.
pub fn listing<S: AsRef<str>>(paths: impl IntoIterator<Item = S>) -> Files {
    let is_left_out = |path: &str| {
        let (directories, _) = path.rsplit_once('/').unwrap_or_default();
        directories.split('/').any(|name| LEFT_OUT.contains(&name))
    };
    let paths = paths.into_iter().map(|path| path.as_ref().to_owned());
    paths.filter(|path| !is_left_out(path)).collect()
}

/// A condition as far as it can be read.
pub(super) struct Condition<'o> {
    pub(super) kind: &'o str,
    pub(super) path: &'o str,
}

pub(super) fn conditions<'o>(owner: &'o Value, name: &str) -> Vec<Condition<'o>> {
    let list = owner.get(name).and_then(Value::as_array);
    let read = |value: &'o Value| {
        Some(Condition {
            kind: value.get("kind")?.as_str()?,
            path: value.get("path")?.as_str()?,
        })
    };
    list.into_iter().flatten().filter_map(read).collect()
}

/// The files that exist after an order because it says so.
pub(super) fn promised(order: &Value) -> impl Iterator<Item = String> {
    let made = conditions(order, "postconditions").into_iter();
    made.filter(|condition| ["file_exists", "file_sha256"].contains(&condition.kind))
        .map(|condition| normal_path(condition.path))
}

/// The files that are gone after an order because it says so.
fn removed(order: &Value) -> impl Iterator<Item = String> {
    let gone = conditions(order, "postconditions").into_iter();
    gone.filter(|condition| condition.kind == "file_absent")
        .map(|condition| normal_path(condition.path))
}

/// What an order does to the files, by its own words. Found once, because every order that comes after it asks.
pub(super) struct Effects {
    removed: Vec<String>,
    promised: Vec<String>,
    /// The files that may be there because of it.
    pub(super) made: HashSet<String>,
}

impl Effects {
    fn of(order: &Value) -> Self {
        Effects {
            removed: removed(order).collect(),
            promised: promised(order).collect(),
            made: conflicts::made(order),
        }
    }
}

/// The files that are there in an order's turn: those of the repository, and what orders before it changed of them.
pub(super) struct There<'c> {
    base: &'c Files,
    changes: BTreeMap<&'c str, bool>,
}

impl There<'_> {
    pub(super) fn contains(&self, path: &str) -> bool {
        let changed = self.changes.get(path).copied();
        changed.unwrap_or_else(|| self.base.contains(path))
    }
}

/// The orders of a plan, each with the name that complaints call it by, and which of them come before which.
pub(super) struct Chain<'o> {
    pub(super) orders: Vec<(Value, &'o Value)>,
    pub(super) relation: Relation,
    /// What each order does.
    pub(super) effects: Vec<Effects>,
    files: &'o Files,
}

impl<'o> Chain<'o> {
    pub(super) fn of(orders: Vec<(Value, &'o Value)>, files: &'o Files) -> Self {
        let said: Vec<_> = orders
            .iter()
            .map(|(_, order)| {
                (
                    order.get("id").and_then(Value::as_str).unwrap_or_default(),
                    Says::of(order),
                )
            })
            .collect();
        Chain {
            relation: Relation::of(&said),
            effects: orders.iter().map(|(_, order)| Effects::of(order)).collect(),
            orders,
            files,
        }
    }

    /// The files that are there when all orders are done which come before one.
    pub(super) fn there_before(&self, place: usize) -> There<'_> {
        self.there_after(|earlier| self.relation.before[place].contains(&earlier))
    }

    fn there_after(&self, is_done: impl Fn(usize) -> bool) -> There<'_> {
        let mut changes = BTreeMap::new();
        for place in self.relation.sequence.iter().filter(|place| is_done(**place)) {
            let Effects { removed, promised, .. } = &self.effects[*place];
            changes.extend(removed.iter().map(|path| (path.as_str(), false)));
            changes.extend(promised.iter().map(|path| (path.as_str(), true)));
        }
        There {
            base: self.files,
            changes,
        }
    }
}

/// Checks orders in normal form. `left_out` is the id of an order that is done as it were.
pub(super) fn check(chain: &Chain<'_>, contract: Option<&Value>, left_out: Option<&str>, complaints: &mut Complaints) {
    check_relation(chain, left_out, complaints);
    let takers = conflicts::takers(chain);
    let names = Names::of(chain, chain.files);
    for (place, (name, order)) in chain.orders.iter().enumerate() {
        // Of an order in a circle cannot be said what comes before it.
        if !chain.relation.sequence.contains(&place) {
            continue;
        }
        let there = chain.there_before(place);
        let mut add = |code, message: String| complaints.add(Complaint::new(code, name, message));
        check_preconditions(order, &there, &mut add);
        check_postconditions(order, &there, &mut add);
        check_commands(order, &there, &chain.effects[place].promised, &mut add);
        conflicts::check_order(chain, place, (&there, &takers, &names), &mut add);
    }
    apart::check(chain, complaints);
    let there = chain.there_after(|_| true);
    for path in required(contract).filter(|path| !there.contains(path)) {
        let message = format!("the verification requires `{path}`, which the repository lacks and no order makes");
        complaints.add(Complaint::of_plan(Code::E106, message));
    }
}

fn check_relation(chain: &Chain<'_>, left_out: Option<&str>, complaints: &mut Complaints) {
    let id = |place: usize| chain.orders[place].1["id"].as_str().unwrap_or_default();
    for cycle in &chain.relation.cycles {
        let mut way: Vec<_> = cycle.iter().map(|place| id(*place)).collect();
        way.push(id(cycle[0]));
        let message = format!(
            "the orders wait for each other: {}; let one of them go without",
            way.join(" before ")
        );
        complaints.add(Complaint::new(Code::E107, &chain.orders[cycle[0]].0, message));
    }
    for (name, order) in chain.orders.iter().filter(|(_, order)| is_second(order)) {
        let is_known =
            |wanted: &&str| Some(*wanted) == left_out || chain.orders.iter().any(|(_, other)| other["id"] == **wanted);
        for wanted in texts(order, "depends_on").filter(|wanted| !is_known(wanted)) {
            let message = format!("it depends on `{wanted}`, which the plan does not have");
            complaints.add(Complaint::new(Code::E108, name, message));
        }
    }
}

fn check_preconditions(order: &Value, there: &There<'_>, add: &mut impl FnMut(Code, String)) {
    let conditions = conditions(order, "preconditions");
    let paths_of = |kind: &str| -> BTreeSet<&str> {
        let of_kind = conditions.iter().filter(|condition| condition.kind == kind);
        of_kind.map(|condition| condition.path).collect()
    };
    for path in paths_of("file_exists").intersection(&paths_of("file_absent")) {
        add(Code::E102, format!("`{path}` is to exist and to be absent"));
    }
    for Condition { kind, path } in &conditions {
        let message = match (*kind, there.contains(path)) {
            ("file_exists" | "file_sha256", false) => format!(
                "`{path}` does not exist when the order's turn comes: the repository lacks it and no order that comes \
                 before has it among its postconditions"
            ),
            ("file_absent", true) => format!(
                "`{path}` exists when the order's turn comes: the repository has it or an order that comes before makes it"
            ),
            _ => continue,
        };
        add(Code::E101, message);
    }
}

fn check_postconditions(order: &Value, there: &There<'_>, add: &mut impl FnMut(Code, String)) {
    let conditions = conditions(order, "postconditions");
    let mut allowed: BTreeSet<_> = texts(order, "allowed_files").collect();
    if is_second(order) {
        allowed.extend(conflicts::gone(order));
        allowed.extend(conflicts::named(order));
    }
    let promised: BTreeSet<_> = conditions.iter().map(|condition| condition.path).collect();
    // That a file stays which is there is a promise as well, but one that version 1 did not know.
    let stays = |path: &str| is_second(order) && there.contains(path);
    for path in conditions
        .iter()
        .map(|condition| condition.path)
        .filter(|path| !allowed.contains(path) && !stays(path))
    {
        add(
            Code::E103,
            format!("`{path}` is a postcondition and not among the allowed files"),
        );
    }
    // An order without postconditions promises nothing, which is its right.
    if conditions.is_empty() {
        return;
    }
    for path in texts(order, "allowed_files").filter(|path| !promised.contains(path)) {
        add(
            Code::E104,
            format!("`{path}` is an allowed file and no postcondition says that it exists"),
        );
    }
}

fn check_commands(order: &Value, there: &There<'_>, made: &[String], add: &mut impl FnMut(Code, String)) {
    let commands: Vec<_> = commands(order)
        .into_iter()
        .filter_map(|command| Some((command.text, command.words.ok()?)))
        .collect();
    for (command, words) in &commands {
        if let [program, script] = words.as_slice()
            && program == "bash"
            && normal_path(script) == VERIFY_SCRIPT
        {
            let why = "it is run before the acceptance commands of every order; write what shows this order's own work";
            add(
                Code::E105,
                format!("`{command}` is the repository's verification: {why}"),
            );
        }
    }
    for (command, words) in &commands {
        let modules = python_text(words).map(own_modules).unwrap_or_default();
        for module in modules {
            let is_there = |place: &String| there.contains(place) || made.contains(place);
            if !places(&module).iter().any(is_there) {
                let message =
                    format!("`{command}` imports `{module}`, which neither the repository nor an order so far has");
                add(Code::W101, message);
            }
        }
    }
}

/// The files that the verification requires.
fn required(contract: Option<&Value>) -> impl Iterator<Item = String> {
    let requires = contract
        .map(|contract| conditions(contract, "requires"))
        .unwrap_or_default();
    let requires = requires.into_iter().filter(|condition| condition.kind == "file_exists");
    requires.map(|condition| normal_path(condition.path))
}

/// Which orders come before everything is there that the verification requires, and so are excused from it: it could not
/// succeed after them, whatever they did.
pub fn exemptions(orders: &[Value], contract: Option<&Value>, files: &Files) -> Vec<bool> {
    let required: Vec<_> = required(contract).collect();
    let named = orders.iter().map(|order| (Value::Null, order)).collect();
    let chain = Chain::of(named, files);
    let is_exempt = |place: usize| {
        let there = chain.there_after(|other| other == place || chain.relation.before[place].contains(&other));
        !required.iter().all(|path| there.contains(path))
    };
    (0..orders.len()).map(is_exempt).collect()
}
