//! Does a plan have the right shape, order by order? Codes E000 to E007.

use super::MAX_ORDERS;
use super::commands::{Command, commands, is_second};
use super::complaint::{Code, Complaint, Complaints};
use super::deps::python_text;
use super::python;
use crate::order::{self, split_command};
use serde_json::{Map, Value, json};

/// Words by which a shell joins or redirects commands. A single `&` is none: as an argument it is too common.
const OPERATORS: [&str; 12] = ["|", "||", "&&", ";", ">", "<", ">>", "<<", "2>", "2>&1", "&>", "|&"];

/// The lists of literal paths; version 1 knows the first two.
const PATHS: [&str; 6] = [
    "allowed_files",
    "context_files",
    "allowed_deletes",
    "executable_files",
    "protected_files",
    "forbidden_paths",
];

/// The orders of a plan in normal form, or nothing when it has none.
pub(super) fn orders(manifest: &Value) -> Option<&[Value]> {
    let orders = manifest.get("work_orders").and_then(Value::as_array)?;
    Some(orders.as_slice()).filter(|orders| !orders.is_empty())
}

/// What an order is called in complaints.
pub(super) fn name(index: usize, order: &Value) -> Value {
    match order.get("id") {
        Some(Value::String(id)) if !id.is_empty() => json!(id),
        Some(number @ (Value::Number(_) | Value::Bool(_))) => number.clone(),
        _ => json!(format!("index-{index}")),
    }
}

/// The texts of a list, whatever else is in it.
pub(super) fn texts<'o>(order: &'o Value, name: &str) -> impl Iterator<Item = &'o str> {
    let list = order.get(name).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

/// Looks at the plan as a whole and then at each order; false when there is none to look at.
pub(super) fn check(manifest: &Value, complaints: &mut Complaints) -> bool {
    let mut refuse = |message: &str| complaints.add(Complaint::of_plan(Code::E000, message));
    if !manifest.is_object() {
        refuse("the plan is not an object; answer {\"work_orders\": […], \"verify_contract\": {…}}");
        return false;
    }
    let Some(orders) = orders(manifest) else {
        refuse("`work_orders` is not a list of at least one order");
        return false;
    };
    for message in contract_defects(manifest) {
        refuse(&message);
    }
    for (index, order) in orders.iter().enumerate() {
        let name = name(index, order);
        match order.as_object() {
            Some(members) => check_order(index, &name, order, members, complaints),
            None => complaints.add(Complaint::new(Code::E000, &name, "the order is not an object")),
        }
    }
    true
}

fn contract_defects(manifest: &Value) -> Vec<String> {
    let contract = match manifest.get("verify_contract") {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Object(contract)) => contract,
        Some(_) => return vec!["`verify_contract` is not an object".to_owned()],
    };
    let Some(requires) = contract.get("requires") else {
        return Vec::new();
    };
    let Some(requires) = requires.as_array() else {
        return vec!["`verify_contract.requires` is not a list".to_owned()];
    };
    let is_condition = |value: &Value| value["kind"].is_string() && value["path"].is_string();
    let wrong = requires.iter().enumerate().filter(|(_, value)| !is_condition(value));
    wrong
        .map(|(index, _)| {
            format!("`verify_contract.requires[{index}]` is not an object such as {{\"kind\": \"file_exists\", \"path\": \"…\"}}")
        })
        .collect()
}

fn check_order(index: usize, name: &Value, order: &Value, members: &Map<String, Value>, complaints: &mut Complaints) {
    let mut add = |code, message: String| complaints.add(Complaint::new(code, name, message));
    if let Some(message) = wrong_id(index, members.get("id")) {
        add(Code::E001, message);
    }
    for Command { text: command, words } in commands(order) {
        match words {
            Err(error) => add(Code::E007, format!("`{command}` does not split into words: {error}")),
            Ok(words) => {
                if let Some(operator) = words.iter().find(|word| OPERATORS.contains(&word.as_str())) {
                    let why =
                        "no shell reads the command, so it would be an argument; use separate commands, or bash -c";
                    add(
                        Code::E003,
                        format!("`{command}` has the shell operator `{operator}`: {why}"),
                    );
                }
            }
        }
    }
    let lists: &[&str] = match is_second(order) {
        true => &PATHS,
        false => &PATHS[..2],
    };
    for list in lists {
        for path in texts(order, list).filter(|path| path.contains(['*', '?', '['])) {
            add(Code::E004, format!("`{path}` in {list} has a wildcard; name each file"));
        }
    }
    if let Some(message) = schema_defects(members) {
        add(Code::E005, message);
    }
    for Command { text: command, words } in commands(order) {
        // Said once more for this rule, which could not be asked either.
        match words {
            Err(error) => add(
                Code::E007,
                format!("whether `{command}` has Python in it cannot be told: {error}"),
            ),
            Ok(words) => {
                if let Some(Err(problem)) = python_text(&words).map(python::imports) {
                    add(
                        Code::E006,
                        format!("the Python text of `{command}` is not valid: {problem}"),
                    );
                }
            }
        }
    }
}

fn wrong_id(index: usize, id: Option<&Value>) -> Option<String> {
    let number = index + 1;
    if number > MAX_ORDERS {
        return Some(format!(
            "a plan has at most {MAX_ORDERS} orders; this is number {number}"
        ));
    }
    let expected = format!("WO-{number:02}");
    let is_right = id.and_then(Value::as_str) == Some(&expected);
    (!is_right)
        .then(|| format!("the id of order number {number} has to be \"{expected}\"; orders are numbered without gaps"))
}

/// What the schema of an order says, but for what other codes say already.
fn schema_defects(members: &Map<String, Value>) -> Option<String> {
    let mut order = members.clone();
    // Computed, never read.
    order.remove("verify_exempt");
    order.remove("provenance");
    if order.contains_key("id") {
        // Not one that an order of the plan may have: that an order comes after itself is another complaint.
        order.insert("id".to_owned(), json!("WO-00"));
    }
    for command in order
        .get_mut("acceptance_commands")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if command.as_str().is_some_and(|text| split_command(text).is_err()) {
            *command = json!("true");
        }
    }
    let error = order::parse(Value::Object(order).to_string().as_bytes()).err()?;
    let defects = error.defects();
    // Places are those in a text that nobody wrote, but which value it is says the pointer.
    let listed = defects
        .listed
        .iter()
        .map(|defect| format!("{}: {}", defect.pointer, defect.text));
    Some(listed.collect::<Vec<_>>().join("; "))
}
