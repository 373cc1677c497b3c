//! OpenAI's Chat Completions, as many servers speak it: the body of a request, and what a response or a stream says.
//!
//! Source: OpenAI's API reference, "Create chat completion", "The chat completion object" and "The chat completion chunk
//! object". Usage comes on the last chunk with no choices there, on the chunk with the reason, or on a late one with an empty
//! choice elsewhere; some servers never send any.

use super::capability::{Capabilities, StructuredOutput, SystemPlace};
use super::reading::{Progress, Reading, Reported, Unusable, json_of, model_of, put_common, text_at, usage_of};
use super::sse::Event;
use super::{Delivery, Finish, Request};
use serde_json::{Value, json};

pub(super) const PATH: &str = "chat/completions";

pub(super) fn body(request: &Request, capabilities: &Capabilities) -> Value {
    let streams = capabilities.delivery == Delivery::Stream;
    let mut body = json!({ "messages": messages(request, capabilities.system), "stream": streams });
    if streams && capabilities.ask_for_usage {
        body["stream_options"] = json!({ "include_usage": true });
    }
    match (capabilities.structured_output, &request.schema) {
        (StructuredOutput::JsonObject, _) => body["response_format"] = json!({ "type": "json_object" }),
        (StructuredOutput::JsonObjectSchema, Some(wanted)) => {
            body["response_format"] = json!({ "type": "json_object", "schema": wanted.schema });
        }
        (StructuredOutput::JsonSchema, Some(wanted)) => {
            let schema = json!({ "name": wanted.name, "strict": false, "schema": wanted.schema });
            body["response_format"] = json!({ "type": "json_schema", "json_schema": schema });
        }
        (StructuredOutput::Off | StructuredOutput::JsonObjectSchema | StructuredOutput::JsonSchema, _) => {}
    }
    let limit = capabilities.output_limit(request.max_output_tokens);
    put_common(&mut body, capabilities, request.model.as_deref(), limit);
    body
}

/// The prompt as messages.
pub(super) fn messages(request: &Request, place: SystemPlace) -> Value {
    let message = |role: &str, content: &str| json!({ "role": role, "content": content });
    let role = match place {
        _ if request.system.is_empty() => return json!([message("user", &request.user)]),
        SystemPlace::User => {
            return json!([message("user", &format!("{}\n\n{}", request.system, request.user))]);
        }
        // A field is somebody else's to fill.
        SystemPlace::Field => return json!([message("user", &request.user)]),
        SystemPlace::System => "system",
        SystemPlace::Developer => "developer",
    };
    json!([message(role, &request.system), message("user", &request.user)])
}

pub(super) fn read(response: &Value) -> Result<Reading, Unusable> {
    if let Some(reported) = Reported::in_response(response) {
        return Err(Unusable::Reported(reported));
    }
    let choice = response.pointer("/choices/0").filter(|choice| choice.is_object());
    let choice = choice.ok_or(Unusable::Shape("it has no choices"))?;
    let refusal = text_at(choice, "/message/refusal");
    let content = content(choice.pointer("/message/content").unwrap_or(&Value::Null));
    let finish = match choice.get("finish_reason").and_then(Value::as_str) {
        Some("length" | "max_tokens") => Finish::Truncated,
        Some("content_filter") => Finish::Refused,
        _ if !refusal.is_empty() => Finish::Refused,
        _ => Finish::Complete,
    };
    let text = if content.is_empty() {
        refusal.to_owned()
    } else {
        content
    };
    Ok(Reading {
        text,
        finish,
        model: model_of(response),
        usage: usage_of(response),
    })
}

/// The text of a message: a string, or the texts of a list of parts.
fn content(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter(|part| part.get("type").is_none_or(|kind| kind == "text"))
            .filter_map(|part| part.get("text")?.as_str())
            .collect(),
        _ => String::new(),
    }
}

/// A response put together from its chunks.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    seen_choice: bool,
    model: Value,
    content: String,
    refusal: String,
    finish_reason: Value,
    usage: Value,
}

impl Assembly {
    pub(super) fn take(&mut self, event: &Event) -> Result<Progress, Unusable> {
        if event.data.trim() == "[DONE]" {
            return Ok(Progress::Done);
        }
        let chunk = json_of(event)?;
        if let Some(reported) = Reported::in_response(&chunk) {
            return Err(Unusable::Reported(reported));
        }
        if let Some(model) = chunk.get("model").filter(|model| model.is_string()) {
            self.model = model.clone();
        }
        // Some servers count on every chunk: the last one has the total.
        if let Some(usage) = chunk.get("usage").filter(|usage| usage.is_object()) {
            self.usage = usage.clone();
        }
        if let Some(choice) = first_choice(&chunk) {
            self.take_choice(choice);
        }
        Ok(match self.finish_reason {
            Value::Null => Progress::Going,
            _ => Progress::Answered,
        })
    }

    fn take_choice(&mut self, choice: &Value) {
        self.seen_choice = true;
        // Servers that do not stream really send the whole message in one chunk.
        let piece = choice
            .get("delta")
            .or_else(|| choice.get("message"))
            .unwrap_or(&Value::Null);
        self.content
            .push_str(&content(piece.get("content").unwrap_or(&Value::Null)));
        self.refusal.push_str(text_at(piece, "/refusal"));
        if let Some(reason) = choice.get("finish_reason").filter(|reason| reason.is_string()) {
            self.finish_reason = reason.clone();
        }
    }

    /// The response as it would have come in one piece.
    pub(super) fn response(self) -> Value {
        let Assembly {
            seen_choice,
            model,
            content,
            refusal,
            finish_reason,
            usage,
        } = self;
        let message = json!({ "role": "assistant", "content": content, "refusal": refusal });
        let choice = json!({ "index": 0, "message": message, "finish_reason": finish_reason });
        let choices: Vec<Value> = seen_choice.then_some(choice).into_iter().collect();
        json!({ "object": "chat.completion", "model": model, "choices": choices, "usage": usage })
    }
}

/// The one choice that was asked for; others would be somebody's mistake.
fn first_choice(chunk: &Value) -> Option<&Value> {
    let choices = chunk.get("choices")?.as_array()?;
    let is_first = |choice: &&Value| choice.get("index").is_none_or(|index| index == 0);
    choices.iter().filter(|choice| choice.is_object()).find(is_first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::Dialect;

    fn message(message: Value, finish_reason: Value) -> Value {
        json!({ "choices": [{ "message": message, "finish_reason": finish_reason }] })
    }

    #[test]
    fn the_text_is_found_as_a_string_or_in_parts() {
        let parts = json!([{ "type": "text", "text": "a" }, 5, null, { "type": "image" }, { "text": "b" }, { "type": "refusal", "text": "c" }]);
        for (content, text) in [(json!(" a \n"), " a \n"), (parts, "ab")] {
            let reading = read(&message(json!({ "content": content }), json!("stop"))).unwrap();
            assert_eq!((reading.text.as_str(), reading.finish), (text, Finish::Complete));
        }
    }

    #[test]
    fn how_the_answer_ended_is_told() {
        for (content, refusal, reason, finish, text) in [
            (json!("a"), json!(null), json!("stop"), Finish::Complete, "a"),
            (json!("a"), json!(null), json!(null), Finish::Complete, "a"),
            (json!("a"), json!(null), json!("length"), Finish::Truncated, "a"),
            (json!(null), json!(null), json!("length"), Finish::Truncated, ""),
            (json!(""), json!(null), json!("content_filter"), Finish::Refused, ""),
            (json!(null), json!("no"), json!("stop"), Finish::Refused, "no"),
        ] {
            let reading = read(&message(json!({ "content": content, "refusal": refusal }), reason)).unwrap();
            assert_eq!((reading.finish, reading.text.as_str()), (finish, text));
        }
    }

    #[test]
    fn what_is_no_completion_is_the_servers_failure() {
        for response in [
            json!(null),
            json!([]),
            json!({}),
            json!({ "choices": [] }),
            json!({ "choices": [5] }),
        ] {
            assert_eq!(read(&response), Err(Unusable::Shape("it has no choices")), "{response}");
        }
        assert!(matches!(
            read(&json!({ "error": "broken" })),
            Err(Unusable::Reported(Reported { status: None, .. }))
        ));
    }

    #[test]
    fn requests_carry_what_was_asked_and_nothing_else() {
        let request = Request {
            system: String::new(),
            user: "u".into(),
            model: None,
            max_output_tokens: None,
            key: "secret".into(),
            schema: None,
        };
        let mut capabilities = Dialect::Chat.capabilities();
        assert_eq!(
            body(&request, &capabilities),
            json!({ "messages": [{ "role": "user", "content": "u" }], "stream": true,
                "stream_options": { "include_usage": true } })
        );
        let request = Request {
            system: "s".into(),
            model: Some("m".into()),
            max_output_tokens: Some(9),
            ..request
        };
        for (option, value) in [("delivery", "whole"), ("json", "object"), ("reasoning", "low")] {
            capabilities.set(Dialect::Chat, option, value).unwrap();
        }
        let whole = json!({ "messages": [{ "role": "system", "content": "s" }, { "role": "user", "content": "u" }],
            "stream": false, "model": "m", "max_completion_tokens": 9, "response_format": { "type": "json_object" },
            "reasoning_effort": "low" });
        assert_eq!(body(&request, &capabilities), whole);
        for (option, value) in [("output-limit", "max_tokens"), ("system", "user"), ("reasoning", "off")] {
            capabilities.set(Dialect::Chat, option, value).unwrap();
        }
        let other = body(&request, &capabilities);
        assert_eq!((&other["max_tokens"], other.get("reasoning_effort")), (&json!(9), None));
        assert_eq!(other["messages"], json!([{ "role": "user", "content": "s\n\nu" }]));
    }

    fn assembled(chunks: &[Value]) -> (Progress, Value) {
        let mut assembly = Assembly::default();
        let mut progress = Progress::Going;
        for chunk in chunks {
            let data = chunk.as_str().map_or_else(|| chunk.to_string(), str::to_owned);
            let kind = String::new();
            progress = assembly.take(&Event { kind, data }).unwrap();
        }
        (progress, assembly.response())
    }

    #[test]
    fn usage_is_taken_from_wherever_a_stream_has_it() {
        let text = |text: &str| json!({ "model": "m", "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }] });
        let end = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
        let usage = json!({ "prompt_tokens": 1, "completion_tokens": 2 });
        let with_usage = |mut chunk: Value| {
            chunk["usage"] = usage.clone();
            chunk
        };
        let late = json!({ "choices": [{ "index": 0, "delta": { "content": "" } }] });
        for (tail, has_usage) in [
            (
                vec![end.clone(), with_usage(json!({ "choices": [] })), json!("[DONE]")],
                true,
            ),
            (vec![with_usage(end.clone()), json!("[DONE]")], true),
            (vec![end.clone(), with_usage(late)], true),
            (vec![end.clone(), json!("[DONE]")], false),
            (vec![end], false),
        ] {
            let chunks: Vec<Value> = [text("a "), text("crab")].into_iter().chain(tail).collect();
            let (progress, response) = assembled(&chunks);
            let reading = read(&response).unwrap();
            assert_ne!(progress, Progress::Going);
            assert_eq!((reading.text.as_str(), reading.finish), ("a crab", Finish::Complete));
            assert_eq!(
                (reading.usage.is_some(), reading.model.as_deref()),
                (has_usage, Some("m"))
            );
        }
    }

    #[test]
    fn a_stream_without_an_end_is_still_going() {
        assert_eq!(
            assembled(&[json!({ "choices": [{ "delta": { "content": "a" } }] })]).0,
            Progress::Going
        );
        let (progress, response) = assembled(&[json!("[DONE]")]);
        assert_eq!(progress, Progress::Done);
        assert_eq!(read(&response), Err(Unusable::Shape("it has no choices")));
    }
}
