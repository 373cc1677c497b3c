//! What may be spent, and what was.

use super::Ended;
use crate::support::place::{Place, answer};
use serde_json::Value;
use std::fs;

const PRICES: &str = "schema = 1\nversion = \"test\"\n[[model]]\nname = \"m\"\ninput = \"1\"\noutput = \"10\"\n";

/// A place whose program answers wrongly the first time and rightly the second, and writes down that it was asked.
fn place() -> Place {
    let place = Place::new();
    place.write("prices.toml", PRICES);
    place.write("answers/1.json", answer("x.txt", "bye\n"));
    place.write("answers/2.json", answer("x.txt", "hello\n"));
    place
}

fn run(place: &Place, options: &[&str]) -> Ended {
    let (asked, answers) = (place.word("asked"), place.word("answers"));
    let script = format!("echo asked >> {asked}; cat {answers}/$(wc -l < {asked}).json");
    let provider = format!("--provider=command:sh -c '{script}'");
    let fixed = ["run", "--json", "--repo=repository", "--model=m", &provider];
    place.call(&[&fixed, options, &["order.json"]].concat())
}

fn asked(place: &Place) -> usize {
    fs::read_to_string(place.path("asked")).map_or(0, |text| text.lines().count())
}

fn cost(place: &Place, by: &str) -> Value {
    place.call(&["cost", "--json", "--by", by]).succeeded().json()
}

#[test]
fn what_a_run_cost_is_told_by_order_model_and_day_and_in_its_summary() {
    let place = place();
    let ran = run(
        &place,
        &["--prices=prices.toml", "--budget=order=10", "--budget=day=10000000tok"],
    )
    .succeeded();
    assert_eq!(asked(&place), 2);
    let usage = ran.json()["summary"]["usage"].clone();
    let total = cost(&place, "order")["total"].clone();
    assert_eq!(
        (&total["requests"], &total["estimated"], &total["unpriced"]),
        (&2.into(), &2.into(), &0.into())
    );
    assert_eq!(usage["usd"], total["usd"], "the summary and the journal agree");
    assert!(
        total["usd"].as_u64() > Some(0) && usage["estimated"] == true,
        "{usage} {total}"
    );
    assert_eq!(cost(&place, "order")["by"]["WO-01"], total);
    assert_eq!(cost(&place, "model")["by"]["m"], total);
    assert_eq!(cost(&place, "day")["by"].as_object().unwrap().len(), 1);
    let shown = place.call(&["cost"]).succeeded().text();
    assert!(shown.contains("WO-01") && shown.contains("2 estimated"), "{shown}");
    // Asking again costs nothing, because nothing is asked.
    run(&place, &["--prices=prices.toml", "--budget=order=0"]).succeeded();
    assert_eq!(cost(&place, "order")["total"], total);
}

#[test]
fn what_has_no_order_or_no_model_is_in_a_row_with_a_name() {
    let place = place();
    place.write("spec.md", "A product.\n");
    let planned = place.call(&[
        "plan",
        "--repo=repository",
        "--spec=spec.md",
        "--out=out",
        "--max-attempts=1",
        "--provider=command:echo none",
    ]);
    assert_ne!(planned.code, Some(0), "{planned:#?}");
    run(&place, &[]).succeeded();
    let rows = |by: &str| {
        let text = place.call(&["cost", "--by", by]).succeeded().text();
        let names = text
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().next().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(rows("order"), ["WO-01", "(plan)", "total"]);
    assert_eq!(rows("model"), ["m", "(unknown)", "total"]);
    let by_order = cost(&place, "order");
    assert_eq!(
        (&by_order["plan"]["requests"], &by_order["unknown"]),
        (&1.into(), &Value::Null)
    );
    assert_eq!(by_order["by"].as_object().unwrap().len(), 1, "{by_order}");
    let by_model = cost(&place, "model");
    assert_eq!(
        (&by_model["unknown"]["requests"], &by_model["plan"]),
        (&1.into(), &Value::Null)
    );
    assert_eq!(by_model["by"].as_object().unwrap().len(), 1, "{by_model}");
}

#[test]
fn no_request_is_sent_that_a_budget_does_not_pay_for() {
    for (budget, words) in [
        ("--budget=order=0", "$0.00 for the order"),
        ("--budget=call=0.001", "$0.001 for the call"),
        ("--budget=day=0tok", "0 tokens for the day"),
        ("--budget=attempt=100tok", "100 tokens for the attempt"),
    ] {
        let place = place();
        let ended = place.untouched_by(|| run(&place, &["--prices=prices.toml", budget]));
        ended.explains_in_json(11, "budget", &[words, "factory cost", "--budget"]);
        assert_eq!(
            (asked(&place), ended.json()["verdict"].as_str()),
            (0, Some("BLOCKED")),
            "{budget}"
        );
        assert_eq!(cost(&place, "order")["total"]["requests"], 0, "{budget}");
    }
}

#[test]
fn a_budget_that_is_used_up_between_two_attempts_ends_the_run_and_is_counted_in_the_next() {
    let place = place();
    // Enough for one request with a short answer; what it costs leaves too little for another.
    let options = ["--prices=prices.toml", "--budget=order=4400tok"];
    let first = place.untouched_by(|| run(&place, &options));
    if first.code == Some(11) && asked(&place) == 0 {
        panic!("the prompt is longer than the budget: {first:#?}");
    }
    first.explains_in_json(11, "budget", &["4400 tokens for the order"]);
    assert_eq!(asked(&place), 1);
    // Whoever starts it again meets the same budget with the same sum.
    run(&place, &options).explains_in_json(11, "budget", &["spent or reserved"]);
    assert_eq!(asked(&place), 1);
    run(&place, &["--prices=prices.toml", "--budget=order=100000tok"]).succeeded();
    assert_eq!(asked(&place), 2, "the first answer is in the journal");
}

#[test]
fn an_answer_that_came_to_nothing_keeps_its_reservation() {
    let place = place();
    let provider = "--provider=command:sh -c 'exit 75'";
    let fixed = [
        "run",
        "--json",
        "--repo=repository",
        "--model=m",
        provider,
        "--provider-tries=1",
    ];
    let lost = place.call(&[&fixed[..], &["--prices=prices.toml", "order.json"]].concat());
    lost.explains_in_json(75, "provider_transient", &[]);
    let total = cost(&place, "order")["total"].clone();
    assert_eq!((&total["requests"], &total["unsettled"]), (&1.into(), &1.into()));
    assert!(
        total["tokens"].as_u64() > Some(128_000),
        "the whole answer that was allowed: {total}"
    );
    assert_eq!(lost.json()["summary"]["usage"]["unsettled"], 1);
}

#[test]
fn dollars_cannot_be_limited_where_the_price_is_unknown_and_a_table_with_a_typo_is_refused() {
    let place = place();
    place.untouched_by(|| {
        let unknown = run(&place, &["--budget=order=5"]);
        unknown.explains_in_json(78, "policy", &["\"m\"", "not known", "--prices", "tok"]);
    });
    for (text, word) in [
        (PRICES.replace("output", "ouput"), "ouput"),
        (PRICES.replace("\"10\"", "\"ten\""), "`ten`"),
        ("\u{0}".to_owned(), "line 1"),
    ] {
        place.write("typo.toml", text);
        place.untouched_by(|| run(&place, &["--prices=typo.toml"]).explains_in_json(78, "policy", &[word]));
    }
    run(&place, &["--prices=absent.toml"]).explains_in_json(78, "policy", &["absent.toml"]);
    assert_eq!(run(&place, &["--budget=order=cheap"]).code, Some(64));
    assert_eq!(asked(&place), 0);
}
