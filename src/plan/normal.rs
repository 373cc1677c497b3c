//! One spelling for what means the same: blanks around texts, paths, things named twice.

use super::commands::is_second;
use serde_json::{Map, Value};

/// Lists of texts in which nothing has to stand twice, and whether these are paths.
const LISTS: [(&str, bool); 4] = [
    ("allowed_files", true),
    ("context_files", true),
    ("forbidden", false),
    ("acceptance_commands", false),
];

/// Such lists of version 2.
const MORE_LISTS: [(&str, bool); 6] = [
    ("depends_on", false),
    ("requirements", false),
    ("allowed_deletes", true),
    ("executable_files", true),
    ("protected_files", true),
    ("forbidden_paths", true),
];

/// What version 2 says word by word: blanks in it mean something.
const VERBATIM: [&str; 2] = ["acceptance", "tools"];

/// A whole plan with each of its orders in normal form.
pub fn normalize(manifest: &Value) -> Value {
    let mut manifest = stripped(manifest);
    if let Some(orders) = manifest.get_mut("work_orders").and_then(Value::as_array_mut) {
        orders.iter_mut().for_each(settle);
    }
    let requires = manifest
        .get_mut("verify_contract")
        .and_then(|contract| contract.get_mut("requires"));
    if let Some(requires) = requires {
        settle_conditions(requires);
    }
    manifest
}

/// An order in normal form: texts without blanks around them, paths in their shortest spelling, lists without doubles. What
/// is of another kind than it should be stays as it is.
pub fn normalize_order(order: &Value) -> Value {
    let mut order = stripped(order);
    settle(&mut order);
    order
}

/// Nothing recurses deeper than the reader of the document allows.
fn stripped(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.trim().to_owned()),
        Value::Array(values) => values.iter().map(stripped).collect(),
        Value::Object(members) => {
            let is_verbatim = |key: &str| is_second(value) && VERBATIM.contains(&key);
            let members = members.iter().map(|(key, value)| match is_verbatim(key) {
                true => (key.clone(), value.clone()),
                false => (key.clone(), stripped(value)),
            });
            Value::Object(members.collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

fn settle(order: &mut Value) {
    let more: &[_] = if is_second(order) { &MORE_LISTS } else { &[] };
    for (name, are_paths) in LISTS.iter().chain(more).copied() {
        let Some(list) = order.get_mut(name).and_then(Value::as_array_mut) else {
            continue;
        };
        if are_paths {
            list.iter_mut().for_each(respell);
        }
        remove_doubles(list);
    }
    let renames = is_second(order).then(|| order.get_mut("allowed_renames")).flatten();
    for rename in renames.and_then(Value::as_array_mut).into_iter().flatten() {
        for side in ["from", "to"] {
            if let Some(path) = rename.get_mut(side) {
                respell(path);
            }
        }
    }
    for name in ["preconditions", "postconditions"] {
        if let Some(conditions) = order.get_mut(name) {
            settle_conditions(conditions);
        }
    }
}

fn settle_conditions(conditions: &mut Value) {
    for condition in conditions.as_array_mut().into_iter().flatten() {
        if let Some(path) = condition.get_mut("path") {
            respell(path);
        }
    }
}

fn respell(path: &mut Value) {
    if let Value::String(text) = path {
        *text = normal_path(text);
    }
}

fn remove_doubles(list: &mut Vec<Value>) {
    let mut seen: Vec<Value> = Vec::new();
    list.retain(|value| {
        let is_new = !value.is_string() || !seen.contains(value);
        if is_new {
            seen.push(value.clone());
        }
        is_new
    });
}

/// The shortest spelling of a path, without asking whether it may be used. Source: path resolution, IEEE Std 1003.1, section
/// 4.13, for two slashes at the beginning, which mean something else than one.
pub(super) fn normal_path(path: &str) -> String {
    if path.is_empty() {
        return String::new();
    }
    let slashes = path.len() - path.trim_start_matches('/').len();
    let root = match slashes {
        0 => "",
        2 => "//",
        _ => "/",
    };
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." if names.last().is_some_and(|last| *last != "..") => drop(names.pop()),
            ".." if !root.is_empty() => {}
            other => names.push(other),
        }
    }
    match (root, names.join("/")) {
        ("", names) if names.is_empty() => ".".to_owned(),
        (root, names) => format!("{root}{names}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_has_one_spelling_also_when_it_cannot_be_used() {
        for (path, expected) in [
            ("./a//b/../c", "a/c"),
            ("../a", "../a"),
            ("a/../../b", "../b"),
            ("/../a", "/a"),
            ("//a", "//a"),
            ("///a", "/a"),
            ("", ""),
            ("a/..", "."),
            ("a*/./b", "a*/b"),
        ] {
            assert_eq!(normal_path(path), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_a_fixed_point(path in "[./a* ]{0,12}") {
            let normal = normal_path(&path);
            prop_assert_eq!(normal_path(&normal), normal);
        }
    }
}
