//! The dialects of model servers: what each server can do and how each can fail, against real servers on loopback.

use crate::support::{Authority, Reply, Server, Wire, block_on, http, sending};
use factory::llm::{
    Answer, Dialect, Finish, LlmError, MAX_ANSWER_BYTES, Provider, Proxies, Request, Schema, ServerSettings, Timeouts,
    Wait,
};
use factory::types::{FailureClass, Problem as _};
use serde_json::{Value, json};
use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

const DIALECTS: [Dialect; 3] = [Dialect::Chat, Dialect::Responses, Dialect::Messages];

const KEY: &str = "sk-planted-4f1d0e9c8b7a";

const JSON: &str = "Content-Type: application/json\r\n";

fn request() -> Request {
    Request {
        system: "Be brief.".into(),
        user: "What is \u{1f980}?".into(),
        model: Some("m-1".into()),
        max_output_tokens: Some(100),
        key: "001".into(),
        schema: None,
    }
}

fn settings(dialect: Dialect, base: &str) -> ServerSettings {
    ServerSettings {
        api_key: Some(KEY.to_owned().into()),
        ..ServerSettings::new(dialect, base)
    }
}

fn ask_with(settings: ServerSettings) -> Result<Answer, LlmError> {
    let result = block_on(Provider::server(settings).unwrap().ask(&request()));
    if let Err(error) = &result {
        let causes: Vec<String> = std::iter::successors(std::error::Error::source(error), |cause| cause.source())
            .map(ToString::to_string)
            .collect();
        let shown = format!("{error} | {causes:?} | {:?} | {error:?}", error.hint());
        assert!(!shown.contains(KEY), "{shown}");
    }
    result
}

/// Asks a server that gives one reply; the answer, and what was sent.
fn ask(dialect: Dialect, reply: Reply) -> (Result<Answer, LlmError>, String) {
    let server = Server::start(vec![reply]);
    let result = ask_with(settings(dialect, &server.base()));
    (result, server.requests().remove(0))
}

/// The whole answer of a server, in one piece.
fn document(dialect: Dialect, text: &str) -> Value {
    match dialect {
        Dialect::Chat => json!({ "model": "m-1-large",
            "choices": [{ "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 12, "completion_tokens": 3 } }),
        Dialect::Responses => json!({ "id": "resp_1", "model": "m-1-large", "status": "completed",
            "output": [{ "type": "message", "content": [{ "type": "output_text", "text": text }] }],
            "usage": { "input_tokens": 12, "output_tokens": 3 } }),
        Dialect::Messages => json!({ "type": "message", "model": "m-1-large", "stop_reason": "end_turn",
            "content": [{ "type": "text", "text": text }], "usage": { "input_tokens": 12, "output_tokens": 3 } }),
    }
}

/// The events of a stream: those with the text, and those that end it.
fn events(dialect: Dialect, texts: &[&str]) -> (Vec<Value>, Vec<Value>) {
    let pieces = texts.iter().map(|text| piece(dialect, text));
    match dialect {
        Dialect::Chat => (
            pieces.collect(),
            vec![
                json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] }),
                json!({ "choices": [], "usage": { "prompt_tokens": 12, "completion_tokens": 3 } }),
                json!("[DONE]"),
            ],
        ),
        Dialect::Responses => {
            let start = json!({ "type": "response.created", "response": { "status": "in_progress" } });
            let whole = document(dialect, &texts.concat());
            (
                [start].into_iter().chain(pieces).collect(),
                vec![json!({ "type": "response.completed", "response": whole })],
            )
        }
        Dialect::Messages => {
            let start = json!({ "type": "message_start",
                "message": { "model": "m-1-large", "usage": { "input_tokens": 12, "output_tokens": 1 } } });
            (
                [start, json!({ "type": "ping" })].into_iter().chain(pieces).collect(),
                vec![
                    json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": { "output_tokens": 3 } }),
                    json!({ "type": "message_stop" }),
                ],
            )
        }
    }
}

fn piece(dialect: Dialect, text: &str) -> Value {
    match dialect {
        Dialect::Chat => {
            json!({ "model": "m-1-large", "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }] })
        }
        Dialect::Responses => json!({ "type": "response.output_text.delta", "delta": text }),
        Dialect::Messages => {
            json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": text } })
        }
    }
}

/// Events as they travel.
fn stream_of(events: &[Value]) -> Vec<u8> {
    let lines = events.iter().map(|event| {
        let data = event.as_str().map_or_else(|| event.to_string(), str::to_owned);
        let kind = event["type"].as_str().map(|kind| format!("event: {kind}\n"));
        format!("{}data: {data}\n\n", kind.unwrap_or_default())
    });
    lines.collect::<String>().into_bytes()
}

const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n";

/// A stream that ends when the connection does.
fn streaming(events: &[Value]) -> Vec<u8> {
    [STREAM.as_bytes(), &stream_of(events)].concat()
}

fn whole_stream(dialect: Dialect, texts: &[&str]) -> Vec<u8> {
    let (start, end) = events(dialect, texts);
    streaming(&[start, end].concat())
}

/// An error as the makers' servers send it.
fn error_body(dialect: Dialect, word: &str, message: &str) -> Value {
    match dialect {
        Dialect::Chat | Dialect::Responses => json!({ "error": { "message": message, "type": word, "code": word } }),
        Dialect::Messages => json!({ "type": "error", "error": { "type": word, "message": message } }),
    }
}

#[test]
fn what_an_answer_has_to_look_like_is_told_in_the_way_of_the_server() {
    let schema = json!({ "type": "object", "required": ["summary"] });
    let named = json!({ "type": "json_schema", "name": "proposal", "strict": false, "schema": schema });
    let nested = json!({ "name": "proposal", "strict": false, "schema": schema });
    let nothing = Value::Null;
    for (dialect, option, place, told) in [
        (Dialect::Chat, "off", "/response_format", nothing.clone()),
        (
            Dialect::Chat,
            "object",
            "/response_format",
            json!({ "type": "json_object" }),
        ),
        (
            Dialect::Chat,
            "object-schema",
            "/response_format",
            json!({ "type": "json_object", "schema": schema }),
        ),
        (
            Dialect::Chat,
            "schema",
            "/response_format",
            json!({ "type": "json_schema", "json_schema": nested }),
        ),
        (Dialect::Responses, "off", "/text", nothing.clone()),
        (
            Dialect::Responses,
            "object",
            "/text/format",
            json!({ "type": "json_object" }),
        ),
        (Dialect::Responses, "schema", "/text/format", named),
        (Dialect::Messages, "off", "/output_config", nothing),
        (
            Dialect::Messages,
            "schema",
            "/output_config/format",
            json!({ "type": "json_schema", "schema": schema }),
        ),
    ] {
        let reply = sending(http("200 OK", JSON, document(dialect, "{}").to_string()));
        let server = Server::start(vec![reply]);
        let mut settings = settings(dialect, &server.base());
        settings.capabilities.set(dialect, "json", option).unwrap();
        let wanted = Schema {
            name: "proposal",
            schema: schema.clone(),
        };
        let request = Request {
            schema: Some(wanted),
            ..request()
        };
        block_on(Provider::server(settings).unwrap().ask(&request)).unwrap();
        let sent = server.requests().remove(0);
        let body: Value = serde_json::from_str(sent.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(body.pointer(place).unwrap_or(&Value::Null), &told, "{dialect} {option}");
    }
}

#[test]
fn every_dialect_is_asked_in_its_own_way_and_its_stream_is_taken_whole() {
    for dialect in DIALECTS {
        let (result, request) = ask(dialect, sending(whole_stream(dialect, &["a ", "cr", "ab \u{1f980}"])));
        let answer = result.unwrap();
        assert_eq!(
            (answer.text.as_str(), answer.finish),
            ("a crab \u{1f980}", Finish::Complete),
            "{dialect}"
        );
        assert_eq!(answer.model.as_deref(), Some("m-1-large"), "{dialect}");
        let usage = answer.usage.unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (12, 3), "{dialect}");

        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        let (path, key, limit, prompt) = match dialect {
            Dialect::Chat => (
                "chat/completions",
                "authorization: bearer ",
                "max_completion_tokens",
                "/messages/1/content",
            ),
            Dialect::Responses => ("responses", "authorization: bearer ", "max_output_tokens", "/input"),
            Dialect::Messages => ("messages", "x-api-key: ", "max_tokens", "/messages/0/content"),
        };
        assert!(head.starts_with(&format!("POST /v1/{path} HTTP/1.1\r\n")), "{head}");
        assert!(
            head.to_lowercase().contains(&format!("{key}{KEY}")),
            "control: the key is sent"
        );
        assert_eq!(
            head.to_lowercase().contains("anthropic-version: 2023-06-01"),
            dialect == Dialect::Messages
        );
        assert_eq!(
            (&body["model"], &body[limit], body.pointer(prompt), &body["stream"]),
            (
                &json!("m-1"),
                &json!(100),
                Some(&json!("What is \u{1f980}?")),
                &json!(true)
            ),
            "{body}"
        );
    }
}

#[test]
fn a_server_that_does_not_stream_is_understood() {
    for dialect in DIALECTS {
        let whole = document(dialect, "a crab");
        let (result, _) = ask(dialect, sending(http("200 OK", JSON, whole.to_string())));
        let answer = result.unwrap();
        assert_eq!(answer.text, "a crab", "{dialect}");
        assert_eq!(answer.raw, whole.to_string().into_bytes());
        assert_eq!(answer.usage.map(|usage| usage.input_tokens), Some(12));

        let server = Server::start(vec![sending(http("200 OK", JSON, whole.to_string()))]);
        let mut settings = settings(dialect, &server.base());
        settings.capabilities.set(dialect, "delivery", "whole").unwrap();
        assert_eq!(ask_with(settings).unwrap().text, "a crab");
        assert!(server.requests()[0].contains("\"stream\":false"), "{dialect}");
    }
}

#[test]
fn an_error_status_decides_the_class_in_every_dialect() {
    use FailureClass::{ProviderPermanent, ProviderTransient};
    for dialect in DIALECTS {
        for (status, class) in [
            (400, ProviderPermanent),
            (401, ProviderPermanent),
            (403, ProviderPermanent),
            (404, ProviderPermanent),
            (408, ProviderTransient),
            (409, ProviderTransient),
            (413, ProviderPermanent),
            (422, ProviderPermanent),
            (429, ProviderTransient),
            (500, ProviderTransient),
            (501, ProviderTransient),
            (502, ProviderTransient),
            (503, ProviderTransient),
            (504, ProviderTransient),
            (529, ProviderTransient),
        ] {
            let body = error_body(dialect, "x", &format!("wrong key {KEY} \u{1b}[2J"));
            let (result, _) = ask(
                dialect,
                sending(http(&format!("{status} Status"), JSON, body.to_string())),
            );
            let error = result.unwrap_err();
            assert_eq!(error.class(), class, "{dialect}: {status}");
            assert_eq!(error.is_auth(), matches!(status, 401 | 403), "{dialect}: {status}");
            assert_eq!(error.retry_after(), None, "{dialect}: {status}");
            assert!(error.to_string().contains("wrong key [api key] \\u{1b}[2J"), "{error}");
        }
        // Proxies and gateways answer with pages of their own.
        let page = http("502 Bad Gateway", "Content-Type: text/html\r\n", "<h1>Bad gateway</h1>");
        let error = ask(dialect, sending(page)).0.unwrap_err();
        assert!(matches!(error, LlmError::Status { status: 502, .. }), "{error}");
        assert!(error.to_string().contains("<h1>Bad gateway</h1>"), "{error}");
    }
}

#[test]
fn every_header_by_which_a_server_asks_for_time_is_heard() {
    for (dialect, headers, wait) in [
        (Dialect::Chat, "Retry-After: 10\r\n", 10.0),
        (Dialect::Responses, "Retry-After: 10\r\n", 10.0),
        (Dialect::Messages, "Retry-After: 10\r\n", 10.0),
        (
            Dialect::Messages,
            "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:50:07 GMT\r\n",
            30.0,
        ),
        (Dialect::Responses, "retry-after-ms: 1500\r\nretry-after: 2\r\n", 1.5),
        (
            Dialect::Chat,
            "x-ratelimit-remaining-requests: 59\r\nx-ratelimit-reset-requests: 1s\r\n\
             x-ratelimit-remaining-tokens: 0\r\nx-ratelimit-reset-tokens: 1m30s\r\n",
            90.0,
        ),
        (
            Dialect::Messages,
            "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nanthropic-ratelimit-requests-reset: 1994-11-06T08:49:47Z\r\n",
            10.0,
        ),
    ] {
        let body = error_body(dialect, "rate_limit_error", "slow down").to_string();
        let reply = http("429 Too Many Requests", &format!("{JSON}{headers}"), body);
        let error = ask(dialect, sending(reply)).0.unwrap_err();
        assert_eq!(error.retry_after(), Some(Duration::from_secs_f64(wait)), "{headers}");
        assert_eq!(error.class(), FailureClass::ProviderTransient, "{headers}");
    }
}

#[test]
fn a_stream_that_is_cut_is_no_answer_and_may_be_asked_for_again() {
    for dialect in DIALECTS {
        let (start, end) = events(dialect, &["a ", "crab"]);
        let whole = stream_of(&start);
        for cut in [whole.len(), whole.len() - 5, 20, 0] {
            let reply = [STREAM.as_bytes(), &whole[..cut]].concat();
            let error = ask(dialect, sending(reply)).0.unwrap_err();
            assert!(matches!(error, LlmError::Cut { .. }), "{dialect}: {error}");
            assert_eq!(error.class(), FailureClass::ProviderTransient);
        }
        // A body that is shorter than it said breaks off in the middle as well.
        let mut reply = http(
            "200 OK",
            "Content-Type: text/event-stream\r\n",
            stream_of(&[start, end].concat()),
        );
        reply.truncate(reply.len() / 2);
        let error = ask(dialect, sending(reply)).0.unwrap_err();
        assert!(
            matches!(error, LlmError::Transport { .. } | LlmError::Cut { .. }),
            "{error}"
        );
        assert_eq!(error.class(), FailureClass::ProviderTransient);
    }
    // A count that came before the end is no price.
    let start = events(Dialect::Messages, &["a"]).0;
    let error = ask(Dialect::Messages, sending(streaming(&start))).0.unwrap_err();
    assert_eq!((error.usage(), error.is_free()), (None, false));
}

#[test]
fn an_answer_that_is_whole_does_not_need_the_end_of_its_stream() {
    // No last line, no usage, or a connection that stays open.
    let (start, end) = events(Dialect::Chat, &["a crab"]);
    for (held, kept) in [(false, 1), (false, 2), (true, 1)] {
        let reply = streaming(&[start.clone(), end[..kept].to_vec()].concat());
        let server = Server::start(vec![Box::new(move |wire: &mut dyn Wire| {
            let _ = wire.write_all(&reply);
            let _ = wire.flush();
            std::thread::sleep(Duration::from_millis(if held { 1500 } else { 0 }));
        })]);
        let settings = ServerSettings {
            timeouts: Timeouts {
                silence: Duration::from_millis(300),
                ..Timeouts::default()
            },
            ..settings(Dialect::Chat, &server.base())
        };
        let answer = ask_with(settings).unwrap();
        assert_eq!((answer.text.as_str(), answer.usage.is_some()), ("a crab", kept == 2));
    }
}

#[test]
fn how_an_answer_ended_is_told_in_every_dialect() {
    for dialect in DIALECTS {
        let end = |finish: Finish| match (dialect, finish) {
            (Dialect::Chat, Finish::Truncated) => {
                json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "length" }] })
            }
            (Dialect::Chat, _) => {
                json!({ "choices": [{ "index": 0, "delta": { "refusal": "no" }, "finish_reason": "stop" }] })
            }
            (Dialect::Responses, Finish::Truncated) => json!({ "type": "response.incomplete", "response":
                { "status": "incomplete", "incomplete_details": { "reason": "max_output_tokens" } } }),
            (Dialect::Responses, _) => json!({ "type": "response.completed", "response": { "status": "completed",
                "output": [{ "type": "message", "content": [{ "type": "refusal", "refusal": "no" }] }] } }),
            (Dialect::Messages, Finish::Truncated) => {
                json!({ "type": "message_delta", "delta": { "stop_reason": "max_tokens" } })
            }
            (Dialect::Messages, _) => json!({ "type": "message_delta", "delta": { "stop_reason": "refusal" } }),
        };
        let truncated = ask(
            dialect,
            sending(streaming(&[piece(dialect, "a cr"), end(Finish::Truncated)])),
        )
        .0;
        let truncated = truncated.unwrap();
        assert_eq!(
            (truncated.text.as_str(), truncated.finish),
            ("a cr", Finish::Truncated),
            "{dialect}"
        );
        let refused = ask(dialect, sending(streaming(&[end(Finish::Refused)]))).0.unwrap();
        assert_eq!(refused.finish, Finish::Refused, "{dialect}");

        let empty = ask(dialect, sending(whole_stream(dialect, &[" ", "\n"])))
            .0
            .unwrap_err();
        assert!(matches!(empty, LlmError::Empty { .. }), "{dialect}: {empty}");
        assert_eq!(empty.class(), FailureClass::Proposal);
        assert_eq!(
            empty.usage().map(|usage| usage.output_tokens),
            Some(3),
            "it is paid all the same"
        );
    }
}

#[test]
fn an_error_in_the_middle_of_a_stream_is_the_servers_word() {
    for (dialect, error, class) in [
        (
            Dialect::Chat,
            json!({ "error": { "message": "m", "code": 503 } }),
            FailureClass::ProviderTransient,
        ),
        (
            Dialect::Responses,
            json!({ "type": "error", "code": "rate_limit_exceeded", "message": "m" }),
            FailureClass::ProviderTransient,
        ),
        (
            Dialect::Responses,
            json!({ "type": "response.failed", "response": { "status": "failed",
                "error": { "code": "server_error", "message": "m" } } }),
            FailureClass::ProviderTransient,
        ),
        (
            Dialect::Responses,
            json!({ "type": "response.failed", "response": { "status": "failed",
                "error": { "code": "invalid_prompt", "message": "m" } } }),
            FailureClass::ProviderPermanent,
        ),
        (
            Dialect::Messages,
            error_body(Dialect::Messages, "overloaded_error", "m"),
            FailureClass::ProviderTransient,
        ),
        (
            Dialect::Messages,
            error_body(Dialect::Messages, "billing_error", "m"),
            FailureClass::ProviderPermanent,
        ),
    ] {
        let failed = ask(dialect, sending(streaming(&[piece(dialect, "a"), error.clone()])))
            .0
            .unwrap_err();
        assert!(
            matches!(failed, LlmError::Reported { .. }) && !failed.is_free(),
            "{error}: {failed}"
        );
        assert_eq!(failed.class(), class, "{error}");
    }
}

#[test]
fn a_response_of_another_kind_is_named_for_what_it_is() {
    for dialect in DIALECTS {
        let page = http("200 OK", "Content-Type: text/html\r\n", "<html>Log in\x1b[2J</html>");
        let error = ask(dialect, sending(page)).0.unwrap_err();
        assert!(matches!(error, LlmError::ContentType { .. }), "{dialect}: {error}");
        assert!(
            error.to_string().contains("Log in") && !error.to_string().contains('\u{1b}'),
            "{error}"
        );

        let moved = http(
            "307 Temporary Redirect",
            &format!("Location: http://127.0.0.1:9/{KEY}\r\n"),
            "",
        );
        let error = ask(dialect, sending(moved)).0.unwrap_err();
        assert!(matches!(error, LlmError::Redirect { .. }), "{dialect}: {error}");

        for body in ["{}", "[]", "null", "5"] {
            let error = ask(dialect, sending(http("200 OK", JSON, body))).0.unwrap_err();
            assert!(matches!(error, LlmError::Shape { .. }), "{dialect}: {body}: {error}");
        }
        let error = ask(dialect, sending(http("200 OK", JSON, "{\"a\": ["))).0.unwrap_err();
        assert!(matches!(error, LlmError::NotJson { .. }), "{dialect}: {error}");
        let broken = [STREAM.as_bytes(), b"data: {\"a\": [\n\n"].concat();
        let error = ask(dialect, sending(broken)).0.unwrap_err();
        assert!(matches!(error, LlmError::NotJson { .. }), "{dialect}: {error}");
        assert_eq!(error.class(), FailureClass::ProviderPermanent);

        let mut invalid = whole_stream(dialect, &["a@b"]);
        let at = invalid.iter().position(|byte| *byte == b'@').unwrap();
        invalid[at] = 0xff;
        let error = ask(dialect, sending(invalid)).0.unwrap_err();
        assert!(matches!(error, LlmError::NotText { .. }), "{dialect}: {error}");
        assert_eq!(error.class(), FailureClass::Proposal);
    }
}

#[test]
fn a_key_that_is_repeated_in_pieces_goes_no_further() {
    for dialect in DIALECTS {
        let (half, rest) = KEY.split_at(7);
        let error = ask(dialect, sending(whole_stream(dialect, &["it is ", half, rest])))
            .0
            .unwrap_err();
        assert!(matches!(error, LlmError::KeyRepeated { .. }), "{dialect}: {error}");
    }
}

#[test]
fn large_answers_are_read_up_to_the_limit_and_no_further() {
    for dialect in DIALECTS {
        let large = "x".repeat(10 << 20);
        let reply = http("200 OK", JSON, document(dialect, &large).to_string());
        assert_eq!(
            ask(dialect, sending(reply)).0.unwrap().text.len(),
            large.len(),
            "{dialect}"
        );
        let (start, end) = events(dialect, &[&large]);
        assert_eq!(
            ask(dialect, sending(streaming(&[start, end].concat())))
                .0
                .unwrap()
                .text
                .len(),
            large.len()
        );

        let error = ask(dialect, sending(http("200 OK", JSON, vec![b' '; MAX_ANSWER_BYTES + 1])))
            .0
            .unwrap_err();
        assert!(matches!(error, LlmError::TooLarge { .. }), "{dialect}: {error}");
        let line = [STREAM.as_bytes(), b"data: ", &vec![b'x'; MAX_ANSWER_BYTES + 1]].concat();
        let error = ask(dialect, sending(line)).0.unwrap_err();
        assert!(matches!(error, LlmError::TooLarge { .. }), "{dialect}: {error}");
    }
}

/// Sends some bytes, and then others again and again, with pauses.
fn dribbling(first: Vec<u8>, again: &'static [u8], times: usize) -> Reply {
    Box::new(move |wire| {
        let mut sent = wire.write_all(&first).and_then(|()| wire.flush());
        for _ in 0..times {
            std::thread::sleep(Duration::from_millis(50));
            sent = sent.and_then(|()| wire.write_all(again)).and_then(|()| wire.flush());
        }
    })
}

#[test]
fn each_wait_has_its_own_end_and_its_own_words() {
    let short = Duration::from_millis(250);
    let long = Duration::from_secs(60);
    let of = |wait: Wait| Timeouts {
        connect: if wait == Wait::Connect { short } else { long },
        first_byte: if wait == Wait::FirstByte { short } else { long },
        silence: if wait == Wait::Silence { short } else { long },
        total: if wait == Wait::Total { short } else { long },
    };
    for dialect in DIALECTS {
        let started = [STREAM.as_bytes(), &stream_of(&events(dialect, &["a"]).0)].concat();
        for (wait, first, again, words) in [
            (
                Wait::FirstByte,
                Vec::new(),
                &b""[..],
                "did not begin to answer within 250ms",
            ),
            (Wait::Silence, started.clone(), b"", "fell silent for 250ms"),
            // A server that keeps the connection open and says nothing is not silent: only the whole time ends it.
            (
                Wait::Total,
                started,
                b": still there\n\n",
                "did not answer within 250ms",
            ),
        ] {
            let server = Server::start(vec![dribbling(first, again, 20)]);
            let begin = Instant::now();
            let error = ask_with(ServerSettings {
                timeouts: of(wait),
                ..settings(dialect, &server.base())
            })
            .unwrap_err();
            assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
            assert!(
                matches!(error, LlmError::Timeout { wait: waited, .. } if waited == wait),
                "{dialect}: {error}"
            );
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.class(), FailureClass::ProviderTransient);
        }
    }
    // Nobody answers the greeting of TLS.
    let server = Server::start(vec![Box::new(|_: &mut dyn Wire| {}), Box::new(|_: &mut dyn Wire| {})]);
    let base = format!("https://{}/v1", server.address());
    let hold = TcpStream::connect(server.address()).unwrap();
    let error = ask_with(ServerSettings {
        timeouts: of(Wait::Connect),
        ..settings(Dialect::Chat, &base)
    })
    .unwrap_err();
    drop(hold);
    assert!(
        matches!(
            error,
            LlmError::Timeout {
                wait: Wait::Connect,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("cannot connect to"), "{error}");
}

#[test]
fn a_certificate_is_trusted_only_if_its_issuer_is_and_the_name_is_right() {
    let scratch = tempfile::tempdir().unwrap();
    let ca_file = scratch.path().join("ca.pem");
    let authority = Authority::new(&["localhost"]);
    std::fs::write(&ca_file, &authority.pem).unwrap();
    for (host, trusts, is_good) in [
        ("localhost", true, true),
        ("localhost", false, false),
        ("127.0.0.1", true, false),
    ] {
        let reply = sending(whole_stream(Dialect::Responses, &["a crab"]));
        let server = Server::start_tls(vec![reply], authority.server.clone());
        let base = format!("https://{host}:{}/v1", server.address().port());
        let result = ask_with(ServerSettings {
            ca_files: if trusts { vec![ca_file.clone()] } else { Vec::new() },
            ..settings(Dialect::Responses, &base)
        });
        match result {
            Ok(answer) => assert!(is_good && answer.text == "a crab"),
            Err(error) => {
                assert!(
                    !is_good && matches!(error, LlmError::Tls { .. }),
                    "{host} {trusts}: {error:?}"
                );
                assert_eq!(error.class(), FailureClass::ProviderPermanent);
                assert!(
                    !server.requests().concat().contains("What is"),
                    "nothing is sent before"
                );
            }
        }
    }
    std::fs::write(&ca_file, "no certificate").unwrap();
    let broken = ServerSettings {
        ca_files: vec![ca_file],
        ..ServerSettings::new(Dialect::Chat, "https://localhost/v1")
    };
    assert!(matches!(Provider::server(broken), Err(LlmError::CaFile { .. })));
}

/// Leads through to a server, as a proxy does.
fn tunnel(to: std::net::SocketAddr) -> Reply {
    Box::new(move |wire| {
        let mut server = TcpStream::connect(to).unwrap();
        server.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        wire.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
        let mut chunk = [0; 16 << 10];
        // The test's side is read only when the other is silent, so that one thread is enough.
        for _ in 0..200 {
            let mut is_over = false;
            while let Ok(read) = std::io::Read::read(&mut server, &mut chunk) {
                is_over = read == 0;
                if is_over || wire.write_all(&chunk[..read]).is_err() {
                    break;
                }
            }
            if is_over {
                return;
            }
            match std::io::Read::read(wire, &mut chunk) {
                Ok(read) if read > 0 => server.write_all(&chunk[..read]).unwrap(),
                _ => return,
            }
        }
    })
}

#[test]
fn a_proxy_is_asked_for_a_way_and_may_refuse_it() {
    let through = |proxy: &str, base: &str| {
        ask_with(ServerSettings {
            proxies: Proxies {
                https: Some(proxy.to_owned().into()),
                ..Proxies::default()
            },
            ..settings(Dialect::Messages, base)
        })
    };
    for (status, class) in [
        ("403 Forbidden", FailureClass::ProviderTransient),
        ("502 Bad Gateway", FailureClass::ProviderTransient),
        ("407 Proxy Authentication Required", FailureClass::ProviderPermanent),
    ] {
        let proxy = Server::start(vec![sending(http(status, "", ""))]);
        let error = through(
            &format!("http://me:{KEY}@{}", proxy.address()),
            "https://model.invalid/v1",
        )
        .unwrap_err();
        assert!(matches!(error, LlmError::Proxy { .. }), "{status}: {error:?}");
        assert_eq!(error.class(), class, "{status}");
        assert!(error.to_string().contains(&proxy.address().to_string()), "{error}");
        let asked = proxy.requests().concat();
        assert!(asked.starts_with("CONNECT model.invalid:443 HTTP/1.1\r\n"), "{asked}");
        assert!(asked.to_lowercase().contains("proxy-authorization: basic "), "{asked}");
    }
    let nobody = through("http://127.0.0.1:9", "https://model.invalid/v1").unwrap_err();
    assert!(
        matches!(
            nobody,
            LlmError::Proxy {
                authorization: false,
                ..
            }
        ),
        "{nobody:?}"
    );
}

#[test]
fn an_answer_comes_through_a_proxy_and_the_proxy_learns_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let ca_file = scratch.path().join("ca.pem");
    let authority = Authority::new(&["model.invalid"]);
    std::fs::write(&ca_file, &authority.pem).unwrap();
    let reply = sending(whole_stream(Dialect::Messages, &["a crab"]));
    let server = Server::start_tls(vec![reply], authority.server.clone());
    let proxy = Server::start(vec![tunnel(server.address())]);
    let answer = ask_with(ServerSettings {
        proxies: Proxies {
            all: Some(proxy.address().to_string().into()),
            except: Some("other.invalid".to_owned()),
            ..Proxies::default()
        },
        ca_files: vec![ca_file],
        ..settings(Dialect::Messages, "https://model.invalid/v1")
    });
    assert_eq!(answer.unwrap().text, "a crab");
    assert!(server.requests()[0].contains("What is"), "control");
    let seen = proxy.requests().concat();
    assert!(!seen.contains("What is") && !seen.contains(KEY), "{seen}");
}

#[test]
fn what_is_excepted_is_asked_without_the_proxy() {
    let proxy = Server::start(vec![sending(http("403 Forbidden", "", ""))]);
    let error = ask_with(ServerSettings {
        proxies: Proxies {
            all: Some(proxy.address().to_string().into()),
            except: Some(".invalid".to_owned()),
            ..Proxies::default()
        },
        ..settings(Dialect::Chat, "https://model.invalid/v1")
    })
    .unwrap_err();
    assert!(
        matches!(error, LlmError::Transport { .. }),
        "there is no such host: {error:?}"
    );
    assert!(proxy.requests().is_empty());
}

/// A response in the making, and replies that tell of it.
fn state(status: &str) -> Reply {
    let body = json!({ "id": "resp_7", "status": status, "output": [] });
    sending(http("200 OK", JSON, body.to_string()))
}

fn in_background(base: &str) -> ServerSettings {
    let mut settings = settings(Dialect::Responses, base);
    settings
        .capabilities
        .set(Dialect::Responses, "delivery", "background")
        .unwrap();
    settings
}

#[test]
fn a_response_made_in_the_background_is_asked_for_until_it_is_there() {
    let server = Server::start(vec![
        state("queued"),
        state("in_progress"),
        // What fails in passing does not lose an answer that is being paid for.
        sending(http("503 Service Unavailable", "", "")),
        sending(http("200 OK", JSON, document(Dialect::Responses, "a crab").to_string())),
    ]);
    assert_eq!(ask_with(in_background(&server.base())).unwrap().text, "a crab");
    let requests = server.requests();
    assert!(requests[0].contains("\"background\":true"), "{}", requests[0]);
    let polls = requests[1..]
        .iter()
        .filter(|poll| poll.starts_with("GET /v1/responses/resp_7 HTTP/1.1\r\n"));
    assert_eq!(polls.count(), 3);
    assert!(requests[1].contains(KEY), "the key is sent with each");
}

#[test]
fn a_response_that_nobody_waits_for_any_more_is_called_off() {
    let replies = [state("queued"), state("queued"), state("queued"), state("cancelled")];
    let server = Server::start(replies.into_iter().collect());
    let mut settings = in_background(&server.base());
    settings.timeouts.total = Duration::from_millis(800);
    let error = ask_with(settings).unwrap_err();
    assert!(matches!(error, LlmError::Timeout { wait: Wait::Total, .. }), "{error}");
    let requests = server.requests();
    let last = requests.last().unwrap();
    assert!(
        last.starts_with("POST /v1/responses/resp_7/cancel HTTP/1.1\r\n"),
        "{last}"
    );
}

#[test]
fn an_id_that_leads_elsewhere_is_not_followed() {
    let body = json!({ "id": "../files", "status": "queued" }).to_string();
    let server = Server::start(vec![sending(http("200 OK", JSON, body))]);
    let error = ask_with(in_background(&server.base())).unwrap_err();
    assert!(matches!(error, LlmError::Shape { .. }), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn what_is_recorded_is_replayed() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("new/recording");
    let truncated = json!({ "choices": [{ "message": { "content": "a cr" }, "finish_reason": "length" }] });
    let server = Server::start(vec![
        sending(whole_stream(Dialect::Chat, &["a ", "crab"])),
        sending(http("500 Internal Server Error", "", "")),
        sending(http("200 OK", JSON, truncated.to_string())),
    ]);
    let inner = Provider::server(settings(Dialect::Chat, &server.base())).unwrap();
    let identity = inner.identity();
    let mut recording = Provider::record(&directory, inner).unwrap();
    assert_eq!(
        recording.identity(),
        identity,
        "what was answered before is still known"
    );
    let first = block_on(recording.ask(&request())).unwrap();
    assert!(block_on(recording.ask(&request())).is_err());
    let odd = Request {
        key: "../odd".into(),
        ..request()
    };
    let second = block_on(recording.ask(&odd)).unwrap();

    let mut replay = Provider::replay(&directory).unwrap();
    for (asked, recorded) in [(&request(), first), (&odd, second)] {
        let replayed = block_on(replay.ask(asked)).unwrap();
        assert_eq!(
            (replayed.text, replayed.model, replayed.usage, replayed.finish),
            (recorded.text, recorded.model, recorded.usage, recorded.finish)
        );
    }
    assert!(directory.join("001/1.txt").exists() && directory.join("1.txt").exists());
    assert!(!scratch.path().join("new/odd").exists());
    // A second recording goes on after the first.
    let mut more = Provider::record(&directory, Provider::command(["echo", "more"]).unwrap()).unwrap();
    block_on(more.ask(&request())).unwrap();
    assert_eq!(std::fs::read_to_string(directory.join("001/1.txt")).unwrap(), "a crab");
    assert_eq!(std::fs::read_to_string(directory.join("001/2.txt")).unwrap(), "more\n");
    let files = crate::support::files_of(&directory);
    let notes = files.iter().filter(|(path, _)| path.ends_with(".notes.json"));
    assert_eq!(notes.count(), 3);
    for path in files.keys() {
        let text = std::fs::read_to_string(directory.join(path)).unwrap();
        assert!(!text.contains(KEY), "{path}");
    }
}
