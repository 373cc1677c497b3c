//! Does each order find what it needs, given the repository and the orders before it? Codes E101 to E106 and W101.

use super::VERIFY_SCRIPT;
use super::complaint::{Code, Complaint, Complaints};
use super::deps::{own_modules, places, python_text};
use super::normal::normal_path;
use super::structure::texts;
use crate::order::split_command;
use serde_json::Value;
use std::collections::BTreeSet;

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
struct Condition<'o> {
    kind: &'o str,
    path: &'o str,
}

fn conditions<'o>(owner: &'o Value, name: &str) -> Vec<Condition<'o>> {
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
fn promised(order: &Value) -> impl Iterator<Item = String> {
    let made = conditions(order, "postconditions").into_iter();
    made.filter(|condition| condition.kind == "file_exists")
        .map(|condition| normal_path(condition.path))
}

/// Checks orders in normal form, each with the name that complaints call it by.
pub(super) fn check(orders: &[(Value, &Value)], contract: Option<&Value>, files: &Files, complaints: &mut Complaints) {
    let mut there = files.clone();
    for (name, order) in orders {
        let mut add = |code, message: String| complaints.add(Complaint::new(code, name, message));
        check_preconditions(order, &there, &mut add);
        check_postconditions(order, &mut add);
        let made: Vec<_> = promised(order).collect();
        check_commands(order, &there, &made, &mut add);
        there.extend(made);
    }
    for path in required(contract).filter(|path| !there.contains(path)) {
        let message = format!("the verification requires `{path}`, which the repository lacks and no order makes");
        complaints.add(Complaint::of_plan(Code::E106, message));
    }
}

fn check_preconditions(order: &Value, there: &Files, add: &mut impl FnMut(Code, String)) {
    let conditions = conditions(order, "preconditions");
    let paths_of = |kind: &str| -> BTreeSet<&str> {
        let of_kind = conditions.iter().filter(|condition| condition.kind == kind);
        of_kind.map(|condition| condition.path).collect()
    };
    for path in paths_of("file_exists").intersection(&paths_of("file_absent")) {
        add(Code::E102, format!("`{path}` is to exist and to be absent"));
    }
    for Condition { kind, path } in &conditions {
        let message = match (*kind, there.contains(*path)) {
            ("file_exists", false) => format!(
                "`{path}` does not exist when the order's turn comes: the repository lacks it and no earlier order has it \
                 among its postconditions"
            ),
            ("file_absent", true) => format!(
                "`{path}` exists when the order's turn comes: the repository has it or an earlier order makes it"
            ),
            _ => continue,
        };
        add(Code::E101, message);
    }
}

fn check_postconditions(order: &Value, add: &mut impl FnMut(Code, String)) {
    let conditions = conditions(order, "postconditions");
    let allowed: BTreeSet<_> = texts(order, "allowed_files").collect();
    let promised: BTreeSet<_> = conditions.iter().map(|condition| condition.path).collect();
    for path in conditions
        .iter()
        .map(|condition| condition.path)
        .filter(|path| !allowed.contains(path))
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

fn check_commands(order: &Value, there: &Files, made: &[String], add: &mut impl FnMut(Code, String)) {
    let split = |command| Some((command, split_command(command).ok()?));
    let commands: Vec<_> = texts(order, "acceptance_commands").filter_map(split).collect();
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
    let mut there = files.clone();
    let is_exempt = |order: &Value| {
        there.extend(promised(order));
        !required.iter().all(|path| there.contains(path))
    };
    orders.iter().map(is_exempt).collect()
}
