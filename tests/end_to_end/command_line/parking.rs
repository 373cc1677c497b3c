//! A provider that limits requests: the run waits for it, over crashes too, or leaves it to whoever starts it next.

use super::{Ended, Place};
use crate::support::place::answer;
use crate::support::{Server, http, sending};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const JSON: &str = "Content-Type: application/json\r\n";

/// One that wants this many seconds, and then answers.
fn limiting(seconds: u32) -> Server {
    let text = answer("x.txt", "hello\n");
    let body = json!({
        "choices": [{ "message": { "content": text }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 40, "completion_tokens": 2 },
    });
    let busy = http(
        "429 Too Many Requests",
        &format!("retry-after: {seconds}\r\n"),
        "slow down",
    );
    Server::start(vec![sending(busy), sending(http("200 OK", JSON, body.to_string()))])
}

fn words(server: &Server, more: &[&str]) -> Vec<String> {
    let provider = format!("--provider=openai:{}", server.base());
    let words = [
        "run",
        "--json",
        "--repo=repository",
        "--model=m",
        "--provider-tries=1",
        &provider,
    ];
    let words = words.iter().chain(more).chain(&["order.json"]);
    words.map(|word| (*word).to_owned()).collect()
}

fn run(place: &Place, server: &Server, more: &[&str]) -> Ended {
    let words = words(server, more);
    place.call(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The names of the events, in order.
fn told(ended: &Ended) -> Vec<String> {
    let events = ended.text();
    let events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events
        .map(|event| event["event"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_run_is_parked_until_the_limit_is_over_and_goes_on_by_itself() {
    let (place, server) = (Place::new(), limiting(2));
    let started = Instant::now();
    let ended = run(&place, &server, &[]).succeeded();
    assert!(started.elapsed() >= Duration::from_secs(2));
    let events = told(&ended);
    let at = |name: &str| events.iter().position(|event| event == name);
    let (parked, resumed) = (at("run.parked").unwrap(), at("run.resumed").unwrap());
    assert!(
        parked < resumed && resumed < at("promotion.committed").unwrap(),
        "{events:?}"
    );
    assert_eq!(events.iter().filter(|event| *event == "proposal.requested").count(), 2);
    assert_eq!(place.git(&["show", "factory/WO-01:x.txt"]), "hello");
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn one_shot_ends_with_the_code_for_later() {
    let (place, server) = (Place::new(), limiting(3600));
    let ended = run(&place, &server, &["--one-shot"]);
    ended.explains_in_json(
        75,
        "provider_transient",
        &["429", "slow down", "run the order again after 2"],
    );
    assert!(!told(&ended).contains(&"run.parked".to_owned()));
    // Whoever comes before the time is told so, and nothing is asked.
    let again = run(&place, &server, &["--one-shot"]);
    again.explains_in_json(75, "provider_transient", &["wait until", "run the order again then"]);
    assert!(!told(&again).contains(&"proposal.requested".to_owned()));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_run_that_is_killed_while_it_is_parked_is_waited_for_by_the_next() {
    let (place, server) = (Place::new(), limiting(10));
    let started = Instant::now();
    let words = words(&server, &[]);
    let mut first = place.factory(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let killed = Ended::of(first.env("FACTORY_CRASH_AT", "the run is parked").output().unwrap());
    assert_eq!(killed.signal, Some(9), "{killed:#?}");
    let status = place.call(&["status"]).succeeded().text();
    assert!(status.contains("parked") && status.contains("until "), "{status}");
    // Asking before would be in vain, so nobody does.
    let ended = run(&place, &server, &["--one-shot"]);
    ended.explains_in_json(75, "provider_transient", &["wait until", "--fresh"]);
    assert!(!told(&ended).contains(&"proposal.requested".to_owned()));
    assert!(started.elapsed() < Duration::from_secs(10), "the time was not over yet");
    // Who was killed while waiting was not killed by the order: this is not a crash that counts.
    let shown = place.call(&["status"]).succeeded().text();
    assert!(shown.contains("while it waited for the provider's limit"), "{shown}");
    run(&place, &server, &[]).succeeded();
    assert!(started.elapsed() >= Duration::from_secs(10));
    assert_eq!(
        server.requests().len(),
        2,
        "one that was refused and one that was answered"
    );
    assert_eq!(place.git(&["show", "factory/WO-01:x.txt"]), "hello");
}

#[test]
fn asking_anew_does_not_wait_for_what_an_earlier_run_was_told() {
    let (place, server) = (Place::new(), limiting(3600));
    let words = words(&server, &[]);
    let mut first = place.factory(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let killed = Ended::of(first.env("FACTORY_CRASH_AT", "the run is parked").output().unwrap());
    assert_eq!(killed.signal, Some(9), "{killed:#?}");
    run(&place, &server, &["--one-shot", "--fresh"]).succeeded();
    assert_eq!(server.requests().len(), 2);
}
