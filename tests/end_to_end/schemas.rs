//! The committed JSON Schemas against the program that they describe, and against documents of real runs. Beside this every
//! event that another test reads is judged by its schema.

use crate::support::place::answer;
use crate::support::schema::{committed, follows, violations};
use crate::support::{Place, project, shared};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;

#[test]
fn the_committed_schemas_are_those_of_this_version() {
    let place = Place::new();
    let committed: BTreeSet<String> = fs::read_dir(project().join("docs/schema"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    // What can be asked for is what the refusal of a word lists.
    let refused = place.call(&["schema", "none"]).stderr;
    let listed = refused
        .split_once("[possible values: ")
        .unwrap()
        .1
        .split_once(']')
        .unwrap()
        .0;
    let printed: BTreeSet<String> = listed.split(", ").map(|name| format!("{name}.schema.json")).collect();
    assert_eq!(committed, printed, "committed, and printed by `factory schema NAME`");
    for name in listed.split(", ") {
        let printed = place.call(&["schema", name]).succeeded().text();
        let path = project().join(format!("docs/schema/{name}.schema.json"));
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == printed,
            "docs/schema/{name}.schema.json differs from what `factory schema {name}` prints; look at the difference, and \
             commit that"
        );
    }
}

/// The examples of a page that are marked as documents of a kind.
fn examples(page: &str, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(project().join("docs").join(page)).unwrap();
    let mark = format!("```json {kind}\n");
    let examples = text.split(&mark).skip(1);
    examples
        .map(|rest| serde_json::from_str(rest.split("```").next().unwrap()).unwrap())
        .collect()
}

fn schema_of(order: &Value) -> &'static str {
    match order["schema_version"] == 2 {
        true => "order-v2",
        false => "order-v1",
    }
}

#[test]
fn orders_that_are_read_follow_their_schema() {
    let orders = examples("orders.md", "order");
    assert_eq!(orders.len(), 3);
    for order in &orders {
        follows(schema_of(order), order);
    }
    let Some(corpus) = shared("corpus", "FACTORY_CORPUS") else {
        return;
    };
    let plans = fs::read_dir(corpus.join("planner/plans")).unwrap();
    let mut looked_at = 0;
    for plan in plans {
        let manifest: Value =
            serde_json::from_slice(&fs::read(plan.unwrap().path().join("manifest.json")).unwrap()).unwrap();
        for order in manifest["work_orders"].as_array().into_iter().flatten() {
            let is_read = factory::order::parse(order.to_string().as_bytes()).is_ok();
            let fits = violations(&committed("order-v1"), order);
            assert!(!is_read || fits.is_empty(), "{fits:#?}\n{order:#}");
            looked_at += 1;
        }
    }
    assert!(looked_at > 10, "{looked_at}");
}

#[test]
fn what_is_no_order_does_not_follow_the_schema() {
    let order = examples("orders.md", "order").remove(1);
    for (pointer, value) in [
        ("/schema_version", json!(3)),
        ("/id", json!("a b")),
        ("/kind", json!("improve")),
        ("/golden", json!([{ "name": "a/b", "sha256": "2".repeat(64) }])),
        ("/depends_on", json!(["x", 1])),
        ("/preconditions/0/kind", json!("file_there")),
        ("/preconditions/0/sha256", json!("x")),
        ("/allowed_renames/0/mode", json!(1)),
        ("/acceptance", json!([])),
        ("/acceptance/0/argv", json!([])),
        ("/acceptance/0/shell", json!(true)),
        ("/acceptance/1/timeout", json!("soon")),
        ("/acceptance/0/runs", json!(11)),
        ("/resources/memory", json!("1GB")),
        ("/budget", json!({})),
        ("/budget/usd", json!(0.5)),
        ("/context_files", json!(vec!["a"; 11])),
    ] {
        let mut changed = order.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        changed.pointer_mut(parent).unwrap()[key] = value.clone();
        assert!(
            factory::order::parse(changed.to_string().as_bytes()).is_err(),
            "{pointer}"
        );
        let found = violations(&committed("order-v2"), &changed);
        assert!(!found.is_empty(), "{pointer} {value} is refused by the reader alone");
    }
}

#[test]
fn what_a_planner_writes_follows_its_schemas() {
    let place = Place::new();
    place.write("spec.md", "A product.\n");
    let first = json!({
        "id": "WO-01", "title": "t", "intent": "i", "allowed_files": ["b.sh"], "forbidden": [], "context_files": [],
        "acceptance_commands": ["bash b.sh"]
    });
    let mut second = examples("orders.md", "order").remove(0);
    second["acceptance"] = json!([{"argv": ["bash", "b.sh"]}]);
    second["context_files"] = json!([]);
    place.write("answer", json!({ "work_orders": [first, second] }).to_string());
    let provider = format!("--provider=command:cat {}", place.word("answer"));
    let ended = place.call(&[
        "plan",
        "--spec=spec.md",
        "--repo=repository",
        "--out=out",
        "--json",
        &provider,
    ]);
    let told = ended.succeeded().json();
    assert_eq!(told["event"], "plan.completed");
    let read = |name: &str| -> Value { serde_json::from_slice(&fs::read(place.path(name)).unwrap()).unwrap() };
    follows("manifest", &read("out/manifest.json"));
    follows("order-v1", &read("out/WO-01.json"));
    follows("order-v2", &read("out/WO-02.json"));
    let mut manifest = read("out/manifest.json");
    manifest["more"] = json!(1);
    assert!(!violations(&committed("manifest"), &manifest).is_empty(), "control");
}

#[test]
fn every_event_of_a_run_follows_the_schema_and_no_other_document_does() {
    let place = Place::new();
    let mut seen = BTreeSet::new();
    let mut events = Vec::new();
    for more in [&[][..], &[], &["--fresh", "--max-attempts=1", "--branch=factory/other"]] {
        if !more.is_empty() {
            place.write("answers/1.json", answer("x.txt", "bye\n"));
        }
        let ended = place.run(&[&["order.json", "--json"], more].concat());
        ended.json();
        for line in ended.text().lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            seen.insert(
                event["event"]
                    .as_str()
                    .unwrap_or_else(|| panic!("{ended:#?}"))
                    .to_owned(),
            );
            events.push(event);
        }
    }
    for name in [
        "run.opened",
        "candidate.built",
        "command.finished",
        "promotion.committed",
        "order.skipped",
        "attempt.failed",
        "run.completed",
    ] {
        assert!(seen.contains(name), "{name}: {seen:?}");
    }
    let schema = committed("event");
    for event in events {
        for key in event.as_object().unwrap().keys() {
            let mut less = event.clone();
            less.as_object_mut().unwrap().remove(key);
            let optional = ["gone", "unmet"].contains(&key.as_str());
            assert_eq!(
                violations(&schema, &less).is_empty(),
                optional,
                "without {key}: {event}"
            );
        }
        let mut more = event.clone();
        more["another"] = json!(1);
        assert!(!violations(&schema, &more).is_empty(), "{event}");
    }
}

#[test]
fn proposals_that_are_read_follow_their_schema() {
    let digest = "0".repeat(64);
    let first = json!({"summary": "s", "writes": [{"path": "a", "base_sha256": digest, "content": "x", "more": 1}]});
    follows("proposal-v1", &first);
    follows("proposal-v1", &json!({"kind": "blocked", "summary": "s"}));
    let second = json!({"schema_version": 2, "result": "changes", "summary": "s", "operations": [
        {"op": "write", "path": "a", "base_sha256": digest, "content": "x", "executable": true},
        {"op": "replace", "path": "b", "base_sha256": digest, "edits": [{"find": "x", "replace": ""}]},
        {"op": "delete", "path": "c", "base_sha256": digest},
        {"op": "rename", "from": "d", "to": "e", "base_sha256": digest},
    ]});
    follows("proposal-v2", &second);
    follows(
        "proposal-v2",
        &json!({"schema_version": 2, "result": "no_change", "reason": "r"}),
    );
    for (pointer, value) in [
        ("/operations", json!([])),
        ("/operations/0/op", json!("append")),
        ("/operations/1/edits", json!([])),
        ("/operations/2/content", json!("x")),
        ("/result", json!("blocked")),
        ("/more", json!(1)),
    ] {
        let mut changed = second.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        changed.pointer_mut(parent).unwrap()[key] = value;
        assert!(!violations(&committed("proposal-v2"), &changed).is_empty(), "{pointer}");
    }
}
