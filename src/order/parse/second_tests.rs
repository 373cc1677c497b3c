//! Orders of version 2.

use super::*;
use crate::order::{Baseline, Kind, TextMatch, Visibility, canonical_json};
use proptest::prelude::*;
use serde_json::json;
use std::time::Duration;

fn minimal() -> Value {
    json!({
        "schema_version": 2, "id": "WO-02", "title": "t", "kind": "modify", "intent": "i", "depends_on": [],
        "allowed_files": ["a.py"], "acceptance": [{"argv": ["python", "-c", "import a"]}]
    })
}

fn full() -> Value {
    json!({
        "schema_version": 2, "id": "WO-02", "title": "t", "kind": "fix", "intent": "i", "depends_on": ["WO-01"],
        "requirements": ["R-1"],
        "preconditions": [
            {"kind": "file_exists", "path": "a.py"}, {"kind": "file_absent", "path": "n.py"},
            {"kind": "file_sha256", "path": "a.py", "sha256": "0".repeat(64)},
            {"kind": "order_done", "order": "WO-01"}, {"kind": "tool", "name": "python"}
        ],
        "postconditions": [{"kind": "file_absent", "path": "old.py"}],
        "allowed_files": ["a.py", "bin/x"], "allowed_deletes": ["old.py"],
        "allowed_renames": [{"from": "b.py", "to": "c.py"}], "executable_files": ["bin/x"],
        "protected_files": ["tests/test_a.py"], "forbidden_paths": ["vendor"], "forbidden": ["No new names."],
        "acceptance": [{
            "argv": ["python", "a b.py"], "cwd": "src", "env": {"LANG": "C"}, "stdin": "1\n", "timeout": "30s",
            "expect": {"exit": 3, "stdout": {"contains": "ok"}, "json": {"/a": [1]}, "files": {"o.txt": "1".repeat(64)}},
            "expect_baseline": "fail", "visibility": "summary", "runs": 3
        }],
        "golden": [{"name": "api", "sha256": "2".repeat(64)}],
        "tools": [{"name": "python", "argv": ["python", "-V"], "min_version": "3.10"}],
        "resources": {"wall": "2m", "cpu": "1m", "memory": "512MiB", "pids": 64, "file_size": "1MiB", "output": "64KiB"},
        "budget": {"usd": "0.50", "tokens": 1000},
        "context_files": ["a.py"], "notes": "n", "verify_exempt": true, "provenance": {"bootstrap": false}
    })
}

fn read(value: &Value) -> Result<WorkOrder, OrderError> {
    parse(value.to_string().as_bytes())
}

/// The order with one field changed.
fn with(pointer: &str, field: Value) -> Value {
    let mut value = full();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    let parent = value.pointer_mut(parent).expect(pointer);
    match parent.as_array_mut() {
        Some(list) => list[key.parse::<usize>().expect("an index")] = field,
        None => parent[key] = field,
    }
    value
}

#[test]
fn what_a_version_2_order_does_not_say_has_its_default() {
    let order = read(&minimal()).expect("a valid order");
    assert_eq!((order.version, order.kind), (Version::V2, Some(Kind::Modify)));
    assert_eq!(order.depends_on.as_deref(), Some(&[][..]));
    let command = &order.acceptance_commands[0];
    assert_eq!(command.text, "python -c 'import a'");
    assert_eq!((command.expect.exit, command.runs), (0, 1));
    assert_eq!(
        (command.expect_baseline, command.visibility),
        (Baseline::Fail, Visibility::Full)
    );
}

#[test]
fn every_field_of_version_2_is_read_and_written_as_it_was() {
    let order = read(&full()).expect("a valid order");
    let command = &order.acceptance_commands[0];
    assert_eq!(command.timeout, Some(Duration::from_secs(30)));
    assert_eq!(command.expect.stdout, Some(TextMatch::Contains("ok".to_owned())));
    assert_eq!(order.budget.tokens, Some(1000));
    assert_eq!(json!(order), full(), "nothing is lost and nothing added");
    assert_eq!(read(&json!(order)), Ok(order));
}

#[test]
fn the_digest_of_an_order_leaves_out_where_it_comes_from() {
    let order = read(&full()).expect("a valid order");
    let other = read(&with("/provenance", json!({"bootstrap": true}))).expect("a valid order");
    assert_eq!(order.digest(), other.digest());
    let other = read(&with("/acceptance/0/runs", json!(2))).expect("a valid order");
    assert_ne!(order.digest(), other.digest());
}

#[test]
fn the_form_of_version_1_stays_as_it_was() {
    let text = json!({
        "id": "WO-01", "title": "t", "intent": "i", "allowed_files": ["./a.py"], "forbidden": [],
        "acceptance_commands": ["python  -c 'import a'"], "context_files": [], "kind": "fix", "depends_on": 5,
        "preconditions": [{"kind": "file_absent", "path": "a.py"}]
    });
    let order = read(&text).expect("a valid order");
    let expected = r#"{"acceptance_commands":["python  -c 'import a'"],"allowed_files":["a.py"],"context_files":[],"forbidden":[],"id":"WO-01","intent":"i","notes":null,"postconditions":[],"preconditions":[{"kind":"file_absent","path":"a.py"}],"title":"t","verify_exempt":false}"#;
    assert_eq!(
        String::from_utf8(canonical_json(&json!(order))).expect("ASCII"),
        expected
    );
    assert_eq!(order.depends_on, None, "version 1 knows no such field");
}

#[test]
fn the_baseline_that_is_usual_depends_on_the_kind_of_work() {
    for (kind, expected) in [
        ("create", Baseline::Fail),
        ("remove", Baseline::Fail),
        ("test", Baseline::Fail),
        ("refactor", Baseline::Pass),
        ("docs", Baseline::Any),
    ] {
        let mut value = minimal();
        value["kind"] = json!(kind);
        let order = read(&value).expect("a valid order");
        assert_eq!(order.acceptance_commands[0].expect_baseline, expected, "{kind}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_where_it_stands() {
    for (pointer, value, complaint) in [
        ("/golden", json!(["api"]), "a golden suite"),
        ("/golden/0/name", json!("../api"), "no name of a suite"),
        ("/golden/0/sha256", json!("9f86"), "64"),
        ("/golden/0/select", json!("a"), "a golden suite has no such key"),
        (
            "/golden",
            json!([{"name": "api", "sha256": "2".repeat(64)}, {"name": "API", "sha256": "2".repeat(64)}]),
            "it stands in the list already",
        ),
        ("/acceptance_commands", json!(["true"]), "`acceptance`"),
        ("/alowed_files", json!([]), "`allowed_files` is the nearest"),
        ("/kind", json!("improve"), "none of `create`"),
        ("/id", json!("a b"), "no id of an order"),
        ("/id", json!("-x"), "no id of an order"),
        ("/title", json!(" "), "blank"),
        ("/depends_on", json!(["WO-02"]), "after itself"),
        ("/depends_on", json!(["WO-01", "WO-01"]), "in the list already"),
        (
            "/allowed_files/0",
            json!("old.py"),
            "the order may write this file as well",
        ),
        ("/allowed_files/0", json!("vendor/a.py"), "forbidden by"),
        ("/allowed_deletes/0", json!("tests/test_a.py"), "forbidden by"),
        ("/allowed_renames/0/to", json!("vendor/x/y"), "forbidden by"),
        ("/allowed_renames/0/to", json!("b.py"), "keeps its name"),
        (
            "/allowed_renames/0/to",
            json!("old.py"),
            "may delete the file of the new name",
        ),
        ("/allowed_renames/0/to", json!("B.py"), "take the two names for one"),
        (
            "/allowed_renames",
            json!([{"from": "d/a", "to": "d/b"}, {"from": "d/b", "to": "d/a"}]),
            "is renamed itself",
        ),
        (
            "/allowed_deletes/0",
            json!("a.py/y"),
            "lies in `a.py`, which the order makes a file",
        ),
        ("/allowed_files/1", json!("A.py/x"), "which the order makes a file"),
        ("/allowed_renames/0/mode", json!(1), "a rename has no such key"),
        ("/executable_files/0", json!("d.py"), "neither write"),
        ("/preconditions/0/kind", json!("file_there"), "not a kind of condition"),
        ("/preconditions/0/sha256", json!("x"), "has no such key"),
        ("/preconditions/2/sha256", json!("ABC"), "not a SHA-256"),
        ("/preconditions/4/name", json!("bin/python"), "no name of a program"),
        ("/postconditions/0/path", json!("a.py"), "neither delete this file"),
        (
            "/postconditions/0",
            json!({"kind": "tool", "name": "x"}),
            "precondition",
        ),
        ("/acceptance/0/argv", json!([]), "no program is named"),
        ("/acceptance/0/argv/1", json!("a\u{0}"), "NUL"),
        ("/acceptance/0/cwd", json!("../x"), "leaves the repository"),
        ("/acceptance/0/env/1A", json!("x"), "no name of a variable"),
        ("/acceptance/0/timeout", json!("0s"), "too short"),
        ("/acceptance/0/timeout", json!(30), "not a duration"),
        ("/acceptance/0/expect/exit", json!(256), "between 0 and 255"),
        ("/acceptance/0/expect/stderr", json!({}), "no such key"),
        ("/acceptance/0/expect/stdout/equals", json!("x"), "one of `equals`"),
        ("/acceptance/0/expect/json/a", json!(1), "no JSON pointer"),
        ("/acceptance/0/expect/files/o.txt", json!("x"), "not a SHA-256"),
        (
            "/acceptance/0/expect_baseline",
            json!("any"),
            "no command has to fail before",
        ),
        ("/acceptance/0/visibility", json!("hidden"), "none of `full`"),
        ("/acceptance/0/runs", json!(11), "between 1 and 10"),
        ("/acceptance", json!([]), "the list is empty"),
        ("/tools/0/argv", json!(["python3", "-V"]), "not with the tool's name"),
        ("/tools/0/min_version", json!("v3"), "no version"),
        ("/resources/memory", json!("1GB"), "not a size"),
        ("/resources/disk", json!("1GiB"), "`resources` has no such key"),
        ("/budget", json!({}), "not an object with `usd`"),
        ("/budget/usd", json!(0.5), "not an amount of dollars"),
        ("/budget/tokens", json!(0), "between 1"),
        ("/context_files", json!(vec!["a"; 11]), "at most 10"),
    ] {
        let error = read(&with(pointer, value.clone())).expect_err(pointer);
        // Where two fields exclude each other, the place is that of the one that has to give way.
        let told =
            |place: &str| place.starts_with(pointer) || pointer.starts_with(place) || place == "/allowed_deletes/0";
        let mut defects = error.defects().listed.iter();
        let found = defects.any(|defect| defect.text.contains(complaint) && told(&defect.pointer));
        assert!(found, "{pointer} {value}: {error}");
    }
}

#[test]
fn nothing_that_can_grow_is_without_a_limit() {
    let many: Vec<_> = (0..501).map(|number| json!(format!("f{number}.py"))).collect();
    let commands = vec![json!({"argv": ["a"]}); 51];
    for (pointer, value) in [
        ("/allowed_files", json!(many)),
        ("/acceptance", json!(commands)),
        ("/acceptance/0/argv", json!(vec!["a"; 201])),
        ("/acceptance/0/argv/1", json!("x".repeat((32 << 10) + 1))),
        ("/acceptance/0/stdin", json!("x".repeat((64 << 10) + 1))),
        ("/intent", json!("x".repeat((64 << 10) + 1))),
        ("/requirements", json!(vec!["x"; 101])),
    ] {
        let error = read(&with(pointer, value)).expect_err(pointer);
        assert!(error.to_string().contains("at most"), "{pointer}: {error}");
    }
}

#[test]
fn an_order_that_may_change_nothing_is_refused() {
    let mut value = minimal();
    value["allowed_files"] = json!([]);
    let error = read(&value).expect_err("nothing to do");
    assert!(error.to_string().contains("all empty"), "{error}");
    value["allowed_deletes"] = json!(["a.py"]);
    assert!(read(&value).is_ok());
}

#[test]
fn the_orders_in_the_documentation_are_orders() {
    let page = include_str!("../../../docs/orders.md");
    let examples: Vec<_> = page
        .split("```json order\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```"))
        .collect();
    assert_eq!(examples.len(), 3);
    for (example, _) in examples {
        if let Err(error) = parse(example.as_bytes()) {
            panic!("{error}\n{example}");
        }
    }
}

#[test]
fn every_field_is_in_the_documentation() {
    let page = include_str!("../../../docs/orders.md");
    let known = second::KEYS.known.iter().chain(command::COMMAND_KEYS.known);
    for key in known.chain(command::EXPECT_KEYS.known) {
        assert!(page.contains(&format!("`{key}`")), "{key}");
    }
}

proptest! {
    /// Whatever stands in a field, it is read as it is written, or refused with a place; and what is read fits the schema's
    /// keys, since it is written in no others.
    #[test]
    fn any_value_of_any_field_is_read_or_refused(
        field in proptest::sample::select(second::KEYS.known.to_vec()),
        value in super::tests::any_json(),
        within in any::<bool>(),
    ) {
        let mut order = full();
        match within {
            true => order["acceptance"][0]["expect"]["json"]["/x"] = value,
            false => order[field] = value,
        }
        match read(&order) {
            Ok(order) => prop_assert_eq!(read(&json!(order)), Ok(order)),
            Err(error) => prop_assert!(!error.defects().listed.is_empty()),
        }
    }

    #[test]
    fn any_value_of_a_command_is_read_or_refused(
        field in proptest::sample::select(command::COMMAND_KEYS.known.to_vec()),
        value in super::tests::any_json(),
    ) {
        let mut order = full();
        order["acceptance"][0][field] = value;
        match read(&order) {
            Ok(order) => prop_assert_eq!(read(&json!(order)), Ok(order)),
            Err(error) => prop_assert!(!error.defects().listed.is_empty()),
        }
    }
}
