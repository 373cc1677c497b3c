//! OpenAI's Responses: the body of a request, and what a response or a stream says.
//!
//! Source: OpenAI's API reference, "Create a model response", "The response object" and "Streaming events"; the guide to
//! background mode.

use super::capability::{Capabilities, StructuredOutput, SystemPlace};
use super::chat::messages;
use super::reading::{Progress, Reading, Reported, Unusable, json_of, model_of, put_common, text_at, usage_of};
use super::sse::Event;
use super::{Delivery, Finish, Request};
use serde_json::{Value, json};

pub(super) const PATH: &str = "responses";

/// The states of a response that is still being made.
const UNFINISHED: [&str; 2] = ["queued", "in_progress"];

/// The longest id of a response that we put into an address.
const MAX_ID_BYTES: usize = 200;

pub(super) fn body(request: &Request, capabilities: &Capabilities) -> Value {
    let background = capabilities.delivery == Delivery::Background;
    // What is made in the background has to be kept until it is fetched; nothing else is.
    let mut body = json!({ "stream": capabilities.delivery == Delivery::Stream, "store": background });
    if background {
        body["background"] = json!(true);
    }
    match capabilities.system {
        SystemPlace::Field => {
            body["input"] = json!(request.user);
            if !request.system.is_empty() {
                body["instructions"] = json!(request.system);
            }
        }
        place => body["input"] = messages(request, place),
    }
    match (capabilities.structured_output, &request.schema) {
        (StructuredOutput::JsonObject, _) => body["text"] = json!({ "format": { "type": "json_object" } }),
        (StructuredOutput::JsonSchema, Some(wanted)) => {
            let format = json!({
                "type": "json_schema", "name": wanted.name, "strict": false, "schema": wanted.schema,
            });
            body["text"] = json!({ "format": format });
        }
        (StructuredOutput::Off | StructuredOutput::JsonObjectSchema | StructuredOutput::JsonSchema, _) => {}
    }
    let limit = capabilities.output_limit(request.max_output_tokens);
    put_common(&mut body, capabilities, request.model.as_deref(), limit);
    body
}

/// What a response says in words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResponseText {
    /// The text of its first message, without blanks around it.
    pub text: String,
    /// The summaries of its reasoning, a paragraph each.
    pub reasoning: String,
}

/// Takes the words out of a response of the Responses dialect. What is not as it should be is skipped.
pub fn response_text(response: &Value) -> ResponseText {
    let direct = text_at(response, "/output_text").trim();
    let text = match direct {
        "" => parts(response, "output_text", "text"),
        direct => direct.to_owned(),
    };
    ResponseText {
        text: text.trim().to_owned(),
        reasoning: reasoning(response),
    }
}

/// The parts of one type in the first message.
fn parts(response: &Value, kind: &str, field: &str) -> String {
    let message = items(response, "message").next();
    let content = message.and_then(|message| message.get("content")?.as_array());
    let of_kind = content.into_iter().flatten().filter(|part| part["type"] == kind);
    of_kind.filter_map(|part| part[field].as_str()).collect()
}

fn reasoning(response: &Value) -> String {
    let summaries = items(response, "reasoning").filter_map(|item| item.get("summary")?.as_array());
    let texts = summaries.flatten().map(|summary| text_at(summary, "/text").trim());
    texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n\n")
}

fn items<'v>(response: &'v Value, kind: &'static str) -> impl Iterator<Item = &'v Value> {
    let items = response.get("output").and_then(Value::as_array).into_iter().flatten();
    items.filter(move |item| item["type"] == kind)
}

/// Whether a response is still being made.
pub(super) fn is_unfinished(response: &Value) -> bool {
    UNFINISHED.contains(&text_at(response, "/status"))
}

/// The id of a response, if it can be part of an address.
pub(super) fn id_of(response: &Value) -> Option<&str> {
    let is_plain = |id: &&str| {
        (1..=MAX_ID_BYTES).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    response.get("id").and_then(Value::as_str).filter(is_plain)
}

pub(super) fn read(response: &Value) -> Result<Reading, Unusable> {
    if let Some(reported) = Reported::in_response(response) {
        return Err(Unusable::Reported(reported));
    }
    let text = response_text(response).text;
    let refusal = parts(response, "refusal", "refusal");
    let finish = match text_at(response, "/status") {
        "completed" if text.is_empty() && !refusal.is_empty() => Finish::Refused,
        "completed" => Finish::Complete,
        "incomplete" if text_at(response, "/incomplete_details/reason") == "content_filter" => Finish::Refused,
        "incomplete" => Finish::Truncated,
        "failed" => return Err(Unusable::Shape("it failed without a reason")),
        "cancelled" => return Err(Unusable::Shape("it was cancelled")),
        status if UNFINISHED.contains(&status) => return Err(Unusable::Shape("it is not finished")),
        // Some servers leave the status out.
        "" if !text.is_empty() => Finish::Complete,
        _ => return Err(Unusable::Shape("it has no known status")),
    };
    Ok(Reading {
        text: if text.is_empty() { refusal } else { text },
        finish,
        model: model_of(response),
        usage: usage_of(response),
    })
}

/// A response put together from its events.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    text: String,
    response: Value,
}

impl Assembly {
    pub(super) fn take(&mut self, event: &Event) -> Result<Progress, Unusable> {
        if event.data.trim() == "[DONE]" {
            return Ok(Progress::Done);
        }
        let data = json_of(event)?;
        // The type stands in the data too, and some servers leave out the other one.
        match data.get("type").and_then(Value::as_str).unwrap_or(&event.kind) {
            "response.output_text.delta" => self.text.push_str(text_at(&data, "/delta")),
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                self.response = data.get("response").cloned().unwrap_or_default();
                return Ok(Progress::Done);
            }
            "error" => {
                let error = data.get("error").filter(|error| error.is_object()).unwrap_or(&data);
                return Err(Unusable::Reported(Reported::of(error)));
            }
            _ => {}
        }
        Ok(Progress::Going)
    }

    /// The response as it came with the last event. Some servers leave the text out there.
    pub(super) fn response(self) -> Value {
        let mut response = self.response;
        if response.is_object() && response_text(&response).text.is_empty() && !self.text.is_empty() {
            response["output_text"] = json!(self.text);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::Dialect;

    fn message(parts: Value) -> Value {
        json!({ "status": "completed", "output": [{ "type": "reasoning", "summary": [] }, { "type": "message", "content": parts }] })
    }

    #[test]
    fn how_the_answer_ended_is_told() {
        let text = json!([{ "type": "output_text", "text": "a" }]);
        let incomplete = |reason: &str| {
            let mut response = message(text.clone());
            response["status"] = json!("incomplete");
            response["incomplete_details"] = json!({ "reason": reason });
            response
        };
        for (response, finish, said) in [
            (message(text.clone()), Finish::Complete, "a"),
            (
                message(json!([{ "type": "refusal", "refusal": "no" }])),
                Finish::Refused,
                "no",
            ),
            (incomplete("max_output_tokens"), Finish::Truncated, "a"),
            (incomplete("content_filter"), Finish::Refused, "a"),
            (json!({ "status": "incomplete" }), Finish::Truncated, ""),
            (json!({ "output_text": "a" }), Finish::Complete, "a"),
        ] {
            let reading = read(&response).unwrap();
            assert_eq!((reading.finish, reading.text.as_str()), (finish, said), "{response}");
        }
    }

    #[test]
    fn what_is_no_response_is_the_servers_failure() {
        for response in [
            json!(null),
            json!([]),
            json!({}),
            json!({ "status": "failed" }),
            json!({ "status": "cancelled" }),
            json!({ "status": "queued" }),
            json!({ "status": "in_progress", "output_text": "half" }),
            json!({ "status": 5 }),
        ] {
            assert!(matches!(read(&response), Err(Unusable::Shape(_))), "{response}");
        }
        let failed = json!({ "status": "failed", "error": { "code": "server_error", "message": "m" } });
        assert!(matches!(
            read(&failed),
            Err(Unusable::Reported(Reported { status: Some(500), .. }))
        ));
    }

    #[test]
    fn requests_carry_what_was_asked_and_nothing_else() {
        let request = Request {
            system: "s".into(),
            user: "u".into(),
            model: Some("m".into()),
            max_output_tokens: Some(9),
            key: "secret".into(),
            schema: None,
        };
        let mut capabilities = Dialect::Responses.capabilities();
        assert_eq!(
            body(&request, &capabilities),
            json!({ "stream": true, "store": false, "instructions": "s", "input": "u", "model": "m", "max_output_tokens": 9 })
        );
        for (option, value) in [
            ("delivery", "background"),
            ("system", "developer"),
            ("json", "object"),
            ("reasoning", "high"),
            ("output-limit", "none"),
        ] {
            capabilities.set(Dialect::Responses, option, value).unwrap();
        }
        assert_eq!(
            body(&request, &capabilities),
            json!({ "stream": false, "store": true, "background": true, "model": "m",
                "input": [{ "role": "developer", "content": "s" }, { "role": "user", "content": "u" }],
                "text": { "format": { "type": "json_object" } }, "reasoning": { "effort": "high" } })
        );
    }

    fn assembled(events: &[Value]) -> (Progress, Value) {
        let mut assembly = Assembly::default();
        let mut progress = Progress::Going;
        for event in events {
            let (kind, data) = (String::new(), event.to_string());
            progress = assembly.take(&Event { kind, data }).unwrap();
        }
        (progress, assembly.response())
    }

    #[test]
    fn the_last_event_has_the_response_and_pieces_fill_in_a_text_that_it_lacks() {
        let piece = |text: &str| json!({ "type": "response.output_text.delta", "delta": text });
        let end = |response: Value| json!({ "type": "response.completed", "response": response });
        let whole = message(json!([{ "type": "output_text", "text": "whole" }]));
        for (last, text) in [
            (end(whole), "whole"),
            (end(json!({ "status": "completed", "output": [] })), "a crab"),
        ] {
            let (progress, response) = assembled(&[piece("a "), piece("crab"), last]);
            assert_eq!(
                (progress, read(&response).unwrap().text.as_str()),
                (Progress::Done, text)
            );
        }
        let (progress, response) = assembled(&[piece("a "), piece("crab")]);
        assert_eq!((progress, response), (Progress::Going, Value::Null));
    }

    #[test]
    fn an_id_that_could_change_the_address_is_none() {
        for id in ["", "../files", "a/b", "a?b", "a b", "a%2f", &"x".repeat(201)] {
            assert_eq!(id_of(&json!({ "id": id })), None, "{id}");
        }
        assert_eq!(id_of(&json!({ "id": "resp_0-A" })), Some("resp_0-A"));
    }
}
