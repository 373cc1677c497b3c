//! Runs whose model is behind HTTP.

use super::Place;
use crate::support::place::answer;
use crate::support::{Server, http, sending};
use serde_json::json;

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
