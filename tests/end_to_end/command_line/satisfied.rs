//! Orders that need no change, told by the base or by the model; and orders that the model cannot fulfil.

use super::{Ended, Place};
use crate::support::place::order;
use serde_json::json;
use std::fs;

/// An order about a file that the base has.
fn about_a(place: &Place, acceptance: &[&str]) {
    let mut order = order();
    order["allowed_files"] = json!(["a.txt"]);
    order["postconditions"] = json!([{ "kind": "file_exists", "path": "a.txt" }]);
    order["acceptance_commands"] = json!(acceptance);
    place.write("order.json", order.to_string());
}

/// Runs the order with one answer, and says how often it was asked for.
fn run(place: &Place, answer: &str, options: &[&str]) -> (Ended, usize) {
    place.write("answer", answer);
    let provider = format!(
        "--provider=command:sh -c 'echo asked >> {}; cat {}'",
        place.word("asked"),
        place.word("answer")
    );
    let fixed = ["run", "--json", "--repo=repository", &provider];
    let once: &[&str] = if options.contains(&"--max-attempts=5") {
        &[]
    } else {
        &["--max-attempts=1"]
    };
    let ended = place.call(&[&fixed, once, options, &["order.json"]].concat());
    let asked = fs::read_to_string(place.path("asked")).map_or(0, |text| text.lines().count());
    (ended, asked)
}

#[test]
fn an_order_whose_acceptance_holds_on_the_base_costs_nothing() {
    let place = Place::new();
    about_a(&place, &["grep --quiet base a.txt"]);
    let (ended, asked) = place.untouched_by(|| run(&place, "{}", &[]));
    let ended = ended.succeeded();
    assert_eq!(
        (ended.json()["verdict"].as_str(), asked),
        (Some("ALREADY_SATISFIED"), 0)
    );
    let shown = place.call(&["status"]).succeeded();
    assert!(shown.text().contains("ALREADY_SATISFIED"), "{shown:#?}");
    // The second time not even a sandbox is started.
    let (again, asked) = place.untouched_by(|| run(&place, "{}", &[]));
    assert_eq!((again.json()["verdict"].as_str(), asked), (Some("SKIPPED"), 0));
    // Who wants the model asked all the same can have that.
    let (fresh, asked) = place.untouched_by(|| run(&place, "{}", &["--fresh"]));
    assert_eq!((fresh.code, asked), (Some(4), 1), "{fresh:#?}");
}

#[test]
fn nothing_is_satisfied_by_a_command_that_cannot_fail_or_where_a_file_is_missing_or_something_else_broke() {
    let place = Place::new();
    for (number, acceptance) in [&["true"][..], &["echo fine", "printf x"]].into_iter().enumerate() {
        about_a(&place, acceptance);
        let (ended, asked) = run(&place, "{}", &[]);
        assert_eq!((ended.code, asked), (Some(4), number + 1), "{acceptance:?}: {ended:#?}");
    }
    let place = Place::new();
    let mut order = order();
    order["allowed_files"] = json!(["a.txt", "b.txt"]);
    order["postconditions"] = json!([]);
    order["acceptance_commands"] = json!(["grep --quiet base a.txt"]);
    place.write("order.json", order.to_string());
    assert_eq!(run(&place, "{}", &[]).1, 1, "b.txt is not there");
    // What held before does not hold: that the acceptance does is not all.
    let place = Place::new();
    place.write("repository/broken", "");
    place.git(&["add", "--all"]);
    place.git(&["commit", "--quiet", "--message=broken"]);
    about_a(&place, &["grep --quiet base a.txt"]);
    assert_eq!(run(&place, "{}", &[]).1, 1);
}

#[test]
fn a_model_that_says_nothing_is_to_be_done_is_believed_only_when_that_is_so() {
    let claim = json!({ "kind": "no_change", "summary": "it is there" }).to_string();
    let place = Place::new();
    about_a(&place, &["grep --quiet base a.txt"]);
    let (ended, asked) = place.untouched_by(|| run(&place, &claim, &["--fresh"]));
    let ended = ended.succeeded();
    assert_eq!(
        (ended.json()["verdict"].as_str(), asked),
        (Some("ALREADY_SATISFIED"), 1)
    );

    let place = Place::new();
    about_a(&place, &["grep --quiet absent a.txt"]);
    let (ended, asked) = place.untouched_by(|| run(&place, &claim, &[]));
    assert_eq!((ended.code, asked), (Some(1), 1), "{ended:#?}");
    let attempt = &ended.json()["summary"]["attempts"][0];
    assert_eq!(attempt["stage"], "acceptance_failed", "{attempt}");
    assert!(attempt["reason"].as_str().unwrap().contains("grep"), "{attempt}");
}

#[test]
fn a_model_that_is_blocked_stops_the_order_with_its_reason() {
    let place = Place::new();
    let blocked = json!({ "kind": "blocked", "summary": "x.txt is \u{1b}[2J not allowed" }).to_string();
    let (ended, asked) = place.untouched_by(|| run(&place, &blocked, &["--max-attempts=5"]));
    assert_eq!(asked, 1, "it is not asked again");
    ended.explains_in_json(10, "order", &["cannot be fulfilled", "\\u{1b}", "correct the order"]);
}
