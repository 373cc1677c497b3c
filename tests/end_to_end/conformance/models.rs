//! Areas about answers of model servers. Requests go to a real server on loopback that gives the replies of the case.
//!
//! One call of the provider sends one request. Whether and when to ask again is decided by whoever calls it, as here, from
//! the error's class, the wait that the server wants, and `backoff`.

use super::case::Case;
use crate::support::{Reply, Server, Wire, block_on, http, sending};
use factory::llm::{
    Answer, Dialect, Finish, LlmError, Provider, Request, ServerSettings, Timeouts, backoff, parse_retry_after,
    response_text,
};
use factory::types::{FailureClass, Problem as _};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// How often the cases ask, the first time included.
const TRIES: usize = 3;

/// The limit that the cases ask with first.
const FIRST_BUDGET: u32 = 64_000;

/// How long the server of a case may take; one that hangs takes longer.
const PATIENCE: Duration = Duration::from_millis(400);

pub(super) fn text(case: &Case) -> Result<Value, String> {
    let said = response_text(case.field("response")?);
    Ok(json!({"text": said.text, "reasoning": said.reasoning}))
}

pub(super) fn retry_after(case: &Case) -> Result<Value, String> {
    // No advice is no wait.
    let value = case.input["value"].as_str();
    let wait = value.and_then(|value| parse_retry_after(value, SystemTime::now()));
    Ok(json!({"seconds": wait.unwrap_or_default().as_secs_f64()}))
}

pub(super) fn transport(case: &Case) -> Result<Value, String> {
    let replies = case.field("replies")?.as_array().ok_or("`replies` is not a list")?;
    let headers: String = case.input["headers"]
        .as_object()
        .into_iter()
        .flatten()
        .map(header)
        .collect();
    let mut waits = Vec::new();
    for (index, reply) in replies.iter().enumerate() {
        let requests = index + 1;
        let told = |ok: bool, waits: &[Value]| Ok(json!({"ok": ok, "requests": requests, "waits": waits}));
        match ask(reply, &headers)? {
            Ok(_) => return told(true, &waits),
            Err(error) if error.class() == FailureClass::ProviderTransient && requests < TRIES => {
                waits.push(wait_before(u32::try_from(requests).unwrap_or(u32::MAX), &error));
            }
            Err(_) => return told(false, &waits),
        }
    }
    Err("the replies end before the requests do".to_owned())
}

fn header((name, value): (&String, &Value)) -> String {
    format!("{name}: {}\r\n", value.as_str().unwrap_or_default())
}

/// The wait after the `failed`-th failure: a number where it is certain, else the least and the most of it.
fn wait_before(failed: u32, error: &LlmError) -> Value {
    let bound = |random| backoff(failed, error.retry_after(), random).as_secs_f64();
    let (least, most) = (bound(0), bound(u64::MAX));
    if least == most {
        json!(least)
    } else {
        json!([least, most])
    }
}

/// One request, answered as the case says.
fn ask(reply: &Value, headers: &str) -> Result<Result<Answer, LlmError>, String> {
    let completed = json!({"status": "completed", "output_text": "t"}).to_string();
    let reply: Reply = match (reply.as_str(), reply.as_u64()) {
        (Some("connect_error"), _) => {
            // The server is gone before it is asked.
            let base = Server::start(Vec::new()).base();
            return Ok(ask_at(&base, None));
        }
        (Some("read_timeout"), _) => Box::new(|_: &mut dyn Wire| std::thread::sleep(PATIENCE * 2)),
        (None, Some(200)) => sending(http("200 OK", "Content-Type: application/json\r\n", completed)),
        (None, Some(status)) => sending(http(&format!("{status} Status"), headers, "")),
        _ => return Err(format!("nobody knows how to reply {reply}")),
    };
    let server = Server::start(vec![reply]);
    let answer = ask_at(&server.base(), None);
    match server.requests().len() {
        1 => Ok(answer),
        count => Err(format!("{count} requests were sent instead of one")),
    }
}

fn ask_at(base: &str, max_output_tokens: Option<u32>) -> Result<Answer, LlmError> {
    let settings = ServerSettings {
        timeouts: Timeouts {
            first_byte: PATIENCE,
            ..Timeouts::default()
        },
        ..ServerSettings::new(Dialect::Responses, base)
    };
    let request = Request {
        system: "s".into(),
        user: "u".into(),
        model: Some("m".into()),
        max_output_tokens,
        key: "k".into(),
        schema: None,
    };
    block_on(Provider::server(settings)?.ask(&request))
}

/// One call: what comes of the first response, whatever would have followed.
pub(super) fn generate(case: &Case) -> Result<Value, String> {
    let responses = case.field("responses")?.as_array().ok_or("`responses` is not a list")?;
    let replies = responses.iter().map(|response| {
        let body = response.to_string();
        sending(http("200 OK", "Content-Type: application/json\r\n", body))
    });
    let server = Server::start(replies.collect());
    let answer = ask_at(&server.base(), Some(FIRST_BUDGET));
    let requests = server.requests();
    let budget = |request: &String| -> Option<Value> {
        let (_, body) = request.split_once("\r\n\r\n")?;
        let body: Value = serde_json::from_str(body).ok()?;
        body.get("max_output_tokens").cloned()
    };
    let budgets: Vec<Value> = requests.iter().filter_map(budget).collect();
    let text = answer
        .ok()
        .filter(|answer| answer.finish == Finish::Complete)
        .map(|answer| answer.text);
    Ok(json!({"ok": text.is_some(), "text": text, "requests": requests.len(), "budgets": budgets}))
}

/// Waits are drawn, and never shorter than the server asks for.
const JITTER: &str = "waits are drawn with full jitter from a bound of 2 s that doubles (DESIGN 9: back off with jitter, \
                      honour Retry-After)";

/// An answer that was cut off is a failed attempt.
const ONE_REQUEST: &str = "one call sends one request: an answer that was cut off is a failed attempt, and its reason goes \
                           into the next prompt (DESIGN 9, `Proposal`: truncated)";

/// What is expected of a case after the decisions on it, and which they are.
pub(super) fn decided(case: &Case) -> (Value, Vec<&'static str>) {
    let mut expect = case.expect.clone();
    let mut decisions = Vec::new();
    let waits = expect["waits"].as_array().cloned().unwrap_or_default();
    if case.area == "model.transport" && waits.iter().any(|wait| drawn(wait).is_some()) {
        expect["waits"] = waits
            .iter()
            .map(|wait| drawn(wait).unwrap_or_else(|| wait.clone()))
            .collect();
        decisions.push(JITTER);
    }
    if case.area == "model.generate" && expect["requests"].as_u64() > Some(1) {
        expect["requests"] = json!(1);
        expect["budgets"] = json!([FIRST_BUDGET]);
        expect["ok"] = json!(false);
        expect
            .as_object_mut()
            .expect("an expectation is an object")
            .remove("text");
        decisions.push(ONE_REQUEST);
    }
    (expect, decisions)
}

/// The bounds of the wait that takes the place of one of the cases' own, which are 3 s and double.
fn drawn(wait: &Value) -> Option<Value> {
    let most = match wait.as_f64()? {
        3.0 => 1.999,
        6.0 => 3.999,
        _ => return None,
    };
    Some(json!([0.0, most]))
}
