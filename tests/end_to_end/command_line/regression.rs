//! The repository's own verification on the base: what cannot be run or does not hold there is found before a model is paid.

use super::{Ended, Place};
use factory::types::Sha256;
use serde_json::{Value, json};
use std::fs;

const PROVIDER: &str = "--provider=command:sh provider.sh";

/// A repository with a file and this script.
fn place(script: &str) -> Place {
    let place = Place::empty();
    place.write("repository/a.txt", "base\n");
    place.write("repository/scripts/verify.sh", script);
    place.git(&["add", "--all"]);
    place.git(&["commit", "--quiet", "--message=base"]);
    place.write("provider.sh", "cat > prompt; echo asked >> asked; cat answer.json\n");
    place
}

fn order(place: &Place, fields: &Value) {
    let mut order = json!({
        "schema_version": 2, "id": "WO-02", "title": "Say hello", "kind": "modify", "intent": "Say hello in a.txt.",
        "depends_on": [], "allowed_files": ["a.txt"], "acceptance": [{ "argv": ["grep", "--quiet", "hello", "a.txt"] }]
    });
    for (name, value) in fields.as_object().unwrap() {
        order[name] = value.clone();
    }
    place.write("order.json", order.to_string());
}

/// Runs the order with an answer that writes these files, and says how often the model was asked.
fn run(place: &Place, files: &[(&str, &str, &str)], options: &[&str]) -> (Ended, usize) {
    let operations: Vec<_> = files
        .iter()
        .map(|(path, before, content)| {
            json!({ "op": "write", "path": path, "base_sha256": Sha256::of(before.as_bytes()), "content": content })
        })
        .collect();
    let answer = json!({ "schema_version": 2, "result": "changes", "summary": "s", "operations": operations });
    answered(place, &answer, options)
}

fn answered(place: &Place, answer: &Value, options: &[&str]) -> (Ended, usize) {
    place.write("answer.json", answer.to_string());
    let fixed = ["run", "--json", "--repo=repository", PROVIDER, "--max-attempts=1"];
    let ended = place.call(&[&fixed, options, &["order.json"]].concat());
    let asked = fs::read_to_string(place.path("asked")).map_or(0, |text| text.lines().count());
    (ended, asked)
}

const HELLO: [(&str, &str, &str); 1] = [("a.txt", "base\n", "hello\n")];

fn blocked(place: &Place, why: &str) {
    let (ended, asked) = place.untouched_by(|| run(place, &HELLO, &[]));
    assert_eq!((ended.code, asked), (Some(10), 0), "{ended:#?}");
    let problem = ended.json()["problem"].to_string();
    assert!(problem.contains(why), "{why}: {problem}");
}

#[test]
fn a_script_that_no_shell_can_read_is_found_before_a_model_is_asked() {
    let place = place("if true\nthen\n");
    order(&place, &json!({}));
    blocked(&place, "bash cannot read `scripts/verify.sh`");
    order(&place, &json!({ "kind": "fix" }));
    blocked(&place, "syntax error");
    // An order that may write it is not stopped by it.
    order(
        &place,
        &json!({ "kind": "fix", "allowed_files": ["a.txt", "scripts/verify.sh"] }),
    );
    let mended = ("scripts/verify.sh", "if true\nthen\n", "test -e a.txt\n");
    let (ended, asked) = run(&place, &[HELLO[0], mended], &[]);
    assert_eq!((ended.code, asked), (Some(0), 1), "{ended:#?}");
}

#[test]
fn the_script_is_read_for_orders_of_version_1_as_well() {
    let place = place("case x in\n");
    place.write("order.json", crate::support::place::order().to_string());
    blocked(&place, "bash cannot read `scripts/verify.sh`");
}

#[test]
fn a_script_that_holds_is_not_refused_for_what_only_running_it_tells() {
    for script in [
        "shopt -s extglob\nfor file in !(*.md); do test -e \"$file\" || exit 1; done\n",
        "test -e a.txt\nexit\n((( this is (no script\n",
        "shopt -s expand_aliases\nalias begin='if true; then'\nbegin\n  test -e a.txt\nfi\n",
    ] {
        let place = place(script);
        order(&place, &json!({}));
        let (ended, asked) = run(&place, &HELLO, &[]);
        assert_eq!((ended.code, asked), (Some(0), 1), "{script}: {ended:#?}");
    }
    // One that fails for another reason may be mended.
    let place = place("shopt -s extglob\nls !(*.md) > /dev/null\ngrep --quiet hello a.txt\n");
    order(&place, &json!({ "kind": "fix" }));
    let (ended, asked) = run(&place, &HELLO, &[]);
    assert_eq!((ended.code, asked), (Some(0), 1), "{ended:#?}");
}

#[test]
fn an_order_that_takes_away_what_the_script_cannot_bear_is_not_refused() {
    let place = place("test ! -e a.txt\n");
    let fields = json!({
        "kind": "remove", "allowed_files": [], "allowed_deletes": ["a.txt"],
        "acceptance": [{ "argv": ["sh", "-c", "test ! -e a.txt"] }]
    });
    order(&place, &fields);
    let delete = json!({ "op": "delete", "path": "a.txt", "base_sha256": Sha256::of(b"base\n") });
    let answer = json!({ "schema_version": 2, "result": "changes", "summary": "s", "operations": [delete] });
    let (ended, asked) = answered(&place, &answer, &[]);
    assert_eq!((ended.code, asked), (Some(0), 1), "{ended:#?}");
}

#[test]
fn where_nothing_holds_nothing_can_be_kept_but_it_can_be_mended() {
    let red = "echo why-it-fails; grep --quiet hello a.txt\n";
    let first = place(red);
    order(&first, &json!({}));
    blocked(&first, "does not hold on the base");
    blocked(&first, "why-it-fails");
    for fields in [
        json!({ "kind": "fix" }),
        json!({ "allowed_files": ["a.txt", "new.txt"] }),
    ] {
        let place = place(red);
        order(&place, &fields);
        let (ended, asked) = run(&place, &HELLO, &[]);
        assert_eq!((ended.code, asked), (Some(0), 1), "{fields}: {ended:#?}");
    }
    // The same order on a base where it holds.
    let place = place("true\n");
    order(&place, &json!({}));
    let (ended, asked) = run(&place, &HELLO, &[]);
    assert_eq!((ended.code, asked), (Some(0), 1), "{ended:#?}");
}

#[test]
fn a_script_that_does_not_end_holds_as_little() {
    let place = place("sleep 60\n");
    order(&place, &json!({}));
    let (ended, asked) = place.untouched_by(|| run(&place, &HELLO, &["--timeout=1s"]));
    assert_eq!((ended.code, asked), (Some(10), 0), "{ended:#?}");
    assert!(ended.json()["problem"].to_string().contains("wall-clock"), "{ended:#?}");
}

#[test]
fn a_candidate_that_fails_as_the_base_does_is_told_from_one_that_breaks_something() {
    let hint = |script: &str| {
        let place = place(script);
        order(&place, &json!({ "kind": "fix" }));
        let (ended, asked) = run(&place, &[("a.txt", "base\n", "hello and more\n")], &[]);
        assert_eq!((ended.code, asked), (Some(1), 1), "{ended:#?}");
        ended.json()["problem"]["hint"].as_str().unwrap().to_owned()
    };
    assert!(hint("exit 1\n").contains("the base fails in the same way"));
    assert!(!hint("! grep --quiet more a.txt\n").contains("the base fails"));
}

#[test]
fn what_was_seen_to_hold_on_a_tree_is_not_looked_at_again() {
    let place = place("true\n");
    let held = || {
        let exported = place.call(&["journal", "export"]).succeeded().text();
        exported.matches("regression.held").count()
    };
    order(&place, &json!({}));
    run(&place, &HELLO, &["--branch=factory/x"]).0.succeeded();
    assert_eq!(held(), 2, "the base, and what was made of it");
    order(
        &place,
        &json!({ "id": "WO-03", "acceptance": [{ "argv": ["grep", "--quiet", "again", "a.txt"] }] }),
    );
    run(
        &place,
        &[("a.txt", "hello\n", "hello again\n")],
        &["--branch=factory/x"],
    )
    .0
    .succeeded();
    assert_eq!(held(), 3, "what was made of that");
    place.leaves_nothing();
}
