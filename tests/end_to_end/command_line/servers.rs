//! Runs whose model is behind HTTP.

use super::Place;
use crate::support::place::answer;
use crate::support::{Server, http, sending};
use serde_json::{Value, json};

#[test]
fn a_run_is_carried_by_a_server_and_again_by_its_recording() {
    let place = Place::new();
    let text = answer("x.txt", "hello\n");
    let (head, tail) = text.split_at(text.len() / 2);
    let piece = |text: &str| {
        let event =
            json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": text } });
        format!("event: content_block_delta\ndata: {event}\n\n")
    };
    let end = json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": { "input_tokens": 40, "output_tokens": 2 } });
    let events = format!(
        "{}{}data: {end}\n\ndata: {}\n\n",
        piece(head),
        piece(tail),
        json!({ "type": "message_stop" })
    );
    let busy = http("529 Overloaded", "retry-after: 0\r\n", "");
    let server = Server::start(vec![
        sending(busy),
        sending(http("200 OK", "Content-Type: text/event-stream\r\n", events)),
    ]);
    let provider = format!(
        "--provider=record:{}:anthropic:{}",
        place.word("recording"),
        server.base()
    );
    let run = |provider: &str, branch: &str| {
        let branch = format!("--branch={branch}");
        place.call(&[
            "run",
            "--json",
            "--repo=repository",
            "--model=m",
            "--fresh",
            provider,
            &branch,
            "order.json",
        ])
    };
    run(&provider, "one").succeeded();
    assert_eq!(server.requests().len(), 2, "what is busy is asked again");
    assert_eq!(place.git(&["show", "one:x.txt"]), "hello");
    run(&format!("--provider=replay:{}", place.word("recording")), "two").succeeded();
    assert_eq!(
        place.git(&["rev-parse", "two^{tree}"]),
        place.git(&["rev-parse", "one^{tree}"])
    );
}

#[test]
fn a_server_that_can_be_told_gets_the_schema_of_what_is_asked_for() {
    let place = Place::new();
    place.write("spec.md", "A product.\n");
    let body = |text: &str| {
        let choice = json!({ "message": { "content": text }, "finish_reason": "stop" });
        let body = json!({ "choices": [choice] }).to_string();
        sending(http("200 OK", "Content-Type: application/json\r\n", body))
    };
    let server = Server::start(vec![body(&answer("x.txt", "hello\n")), body("prose")]);
    let provider = format!("--provider=openai:{}", server.base());
    let told = [
        "--repo=repository",
        "--model=m",
        "--provider-option=json=schema",
        &provider,
    ];
    place.call(&[&["run", "order.json"][..], &told].concat()).succeeded();
    let plan = ["plan", "--spec=spec.md", "--out=out", "--max-attempts=1"];
    place
        .call(&[&plan[..], &told].concat())
        .explains(4, &["not one JSON object"]);
    let formats: Vec<Value> = (server.requests().iter())
        .map(|request| request.split_once("\r\n\r\n").unwrap().1)
        .map(|body| serde_json::from_str::<Value>(body).unwrap()["response_format"]["json_schema"].take())
        .collect();
    assert_eq!(
        (&formats[0]["name"], &formats[1]["name"]),
        (&json!("proposal"), &json!("plan"))
    );
    let proposal: Value = serde_json::from_str(include_str!("../../../docs/schema/proposal-v1.schema.json")).unwrap();
    assert_eq!(formats[0]["schema"], proposal);
    let orders = formats[1].pointer("/schema/oneOf/0/properties/work_orders/items");
    assert!(
        orders.is_some_and(Value::is_object),
        "no orders in the schema of a plan"
    );
}
