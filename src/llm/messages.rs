//! Anthropic's Messages: the body of a request, and what a response or a stream says.
//!
//! Source: Anthropic's API reference, "Create a Message", "Streaming Messages" and "Handling stop reasons".

use super::capability::{Capabilities, StructuredOutput, SystemPlace};
use super::chat::messages;
use super::reading::{Progress, Reading, Reported, Unusable, json_of, model_of, put_common, text_at};
use super::sse::Event;
use super::{Delivery, Finish, Request, Usage};
use serde_json::{Map, Value, json};

pub(super) const PATH: &str = "messages";

/// The version of the dialect. Source: Anthropic's API reference, "Versions".
pub(super) const VERSION: &str = "2023-06-01";

/// The most blocks of an answer; it has one, or two with its thinking.
const MAX_BLOCKS: usize = 1000;

pub(super) fn body(request: &Request, capabilities: &Capabilities) -> Value {
    let mut body = json!({
        "messages": messages(request, capabilities.system),
        "stream": capabilities.delivery == Delivery::Stream,
    });
    if capabilities.system == SystemPlace::Field && !request.system.is_empty() {
        body["system"] = json!(request.system);
    }
    if let (StructuredOutput::JsonSchema, Some(wanted)) = (capabilities.structured_output, &request.schema) {
        body["output_config"] = json!({ "format": { "type": "json_schema", "schema": wanted.schema } });
    }
    let limit = capabilities.output_limit(request.max_output_tokens);
    put_common(&mut body, capabilities, request.model.as_deref(), limit);
    body
}

pub(super) fn read(response: &Value) -> Result<Reading, Unusable> {
    if let Some(reported) = Reported::in_response(response) {
        return Err(Unusable::Reported(reported));
    }
    let blocks = response.get("content").and_then(Value::as_array);
    let blocks = blocks.ok_or(Unusable::Shape("it has no content"))?;
    let texts = blocks.iter().filter(|block| block["type"] == "text");
    Ok(Reading {
        text: texts.filter_map(|block| block["text"].as_str()).collect(),
        finish: match text_at(response, "/stop_reason") {
            // A turn that was paused would go on if it were sent back; here it is half an answer.
            "max_tokens" | "model_context_window_exceeded" | "pause_turn" => Finish::Truncated,
            "refusal" => Finish::Refused,
            _ => Finish::Complete,
        },
        model: model_of(response),
        usage: usage_of(response),
    })
}

/// The cost. What was read from the cache and written to it comes beside the other tokens of the prompt.
fn usage_of(response: &Value) -> Option<Usage> {
    let count = |field: &str| response.pointer(&format!("/usage/{field}"))?.as_u64();
    let cached_input_tokens = count("cache_read_input_tokens").unwrap_or(0);
    let written = count("cache_creation_input_tokens").unwrap_or(0);
    Some(Usage {
        input_tokens: count("input_tokens")?
            .saturating_add(cached_input_tokens)
            .saturating_add(written),
        output_tokens: count("output_tokens")?,
        cached_input_tokens,
        reasoning_tokens: 0,
    })
}

/// A response put together from its events.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    model: Value,
    texts: Vec<String>,
    stop_reason: Value,
    usage: Map<String, Value>,
}

impl Assembly {
    pub(super) fn take(&mut self, event: &Event) -> Result<Progress, Unusable> {
        let data = json_of(event)?;
        match data.get("type").and_then(Value::as_str).unwrap_or(&event.kind) {
            "message_start" => {
                self.model = data.pointer("/message/model").cloned().unwrap_or_default();
                self.count(data.pointer("/message/usage"));
            }
            "content_block_start" => self.write(&data, text_at(&data, "/content_block/text"))?,
            "content_block_delta" if text_at(&data, "/delta/type") == "text_delta" => {
                self.write(&data, text_at(&data, "/delta/text"))?;
            }
            "message_delta" => {
                if let Some(reason) = data.pointer("/delta/stop_reason").filter(|reason| reason.is_string()) {
                    self.stop_reason = reason.clone();
                }
                self.count(data.get("usage"));
            }
            "message_stop" => return Ok(Progress::Done),
            "error" => return Err(Unusable::Reported(Reported::of(data.get("error").unwrap_or(&data)))),
            _ => {}
        }
        Ok(match self.stop_reason {
            Value::Null => Progress::Going,
            _ => Progress::Answered,
        })
    }

    /// Puts text where its block is. Blocks may come in turns.
    fn write(&mut self, data: &Value, text: &str) -> Result<(), Unusable> {
        let index = data.get("index").and_then(Value::as_u64).unwrap_or(0);
        let index = usize::try_from(index).ok().filter(|index| *index < MAX_BLOCKS);
        let index = index.ok_or(Unusable::Shape("it has too many blocks"))?;
        if self.texts.len() <= index {
            self.texts.resize(index + 1, String::new());
        }
        self.texts[index].push_str(text);
        Ok(())
    }

    /// Later counts replace earlier ones: they are totals.
    fn count(&mut self, usage: Option<&Value>) {
        let counts = usage.and_then(Value::as_object).into_iter().flatten();
        let numbers = counts.filter(|(_, count)| count.is_u64());
        self.usage
            .extend(numbers.map(|(name, count)| (name.clone(), count.clone())));
    }

    /// The response as it would have come in one piece, without its thinking.
    pub(super) fn response(self) -> Value {
        let blocks: Vec<Value> = self
            .texts
            .iter()
            .map(|text| json!({ "type": "text", "text": text }))
            .collect();
        json!({ "type": "message", "model": self.model, "content": blocks, "stop_reason": self.stop_reason, "usage": self.usage })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::Dialect;

    #[test]
    fn how_the_answer_ended_is_told() {
        let content = json!([{ "type": "thinking", "thinking": "hm" }, { "type": "text", "text": "a" }, 5, { "type": "text", "text": "b" }]);
        for (reason, finish) in [
            ("end_turn", Finish::Complete),
            ("stop_sequence", Finish::Complete),
            ("max_tokens", Finish::Truncated),
            ("model_context_window_exceeded", Finish::Truncated),
            ("pause_turn", Finish::Truncated),
            ("refusal", Finish::Refused),
        ] {
            let response = json!({ "content": content, "stop_reason": reason });
            let reading = read(&response).unwrap();
            assert_eq!((reading.finish, reading.text.as_str()), (finish, "ab"), "{reason}");
        }
        assert_eq!(read(&json!({})), Err(Unusable::Shape("it has no content")));
        let error = json!({ "type": "error", "error": { "type": "overloaded_error", "message": "m" } });
        assert!(matches!(
            read(&error),
            Err(Unusable::Reported(Reported { status: Some(529), .. }))
        ));
    }

    #[test]
    fn cached_tokens_count_as_tokens_of_the_prompt() {
        let usage = json!({ "usage": { "input_tokens": 1, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 100, "output_tokens": 7 } });
        let usage = usage_of(&usage).unwrap();
        assert_eq!(
            (usage.input_tokens, usage.cached_input_tokens, usage.output_tokens),
            (111, 10, 7)
        );
    }

    #[test]
    fn requests_carry_what_was_asked_and_always_a_limit() {
        let request = Request {
            system: "s".into(),
            user: "u".into(),
            model: Some("m".into()),
            max_output_tokens: None,
            key: "secret".into(),
            schema: None,
        };
        let mut capabilities = Dialect::Messages.capabilities();
        capabilities.set(Dialect::Messages, "reasoning", "1024").unwrap();
        assert_eq!(
            body(&request, &capabilities),
            json!({ "system": "s", "messages": [{ "role": "user", "content": "u" }], "model": "m", "max_tokens": 32_000,
                "stream": true, "thinking": { "type": "enabled", "budget_tokens": 1024 } })
        );
    }

    fn event(data: Value) -> Event {
        Event {
            kind: text_at(&data, "/type").to_owned(),
            data: data.to_string(),
        }
    }

    #[test]
    fn a_stream_is_put_together_from_its_blocks() {
        let mut assembly = Assembly::default();
        let block = |index: u64, text: &str| json!({ "type": "content_block_delta", "index": index, "delta": { "type": "text_delta", "text": text } });
        let events = [
            json!({ "type": "message_start", "message": { "model": "m", "usage": { "input_tokens": 5, "output_tokens": 1 } } }),
            json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "thinking", "thinking": "" } }),
            json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "thinking_delta", "thinking": "hm" } }),
            json!({ "type": "content_block_start", "index": 1, "content_block": { "type": "text", "text": "" } }),
            json!({ "type": "ping" }),
            block(1, "a "),
            block(2, "!"),
            block(1, "crab"),
        ];
        for data in events {
            assert_eq!(assembly.take(&event(data)), Ok(Progress::Going));
        }
        let end =
            json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": { "output_tokens": 9 } });
        assert_eq!(assembly.take(&event(end)), Ok(Progress::Answered));
        assert_eq!(
            assembly.take(&event(json!({ "type": "message_stop" }))),
            Ok(Progress::Done)
        );
        let reading = read(&assembly.response()).unwrap();
        assert_eq!((reading.text.as_str(), reading.finish), ("a crab!", Finish::Complete));
        let usage = reading.usage.unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (5, 9));
    }

    #[test]
    fn a_block_far_away_and_an_error_in_the_middle_end_the_stream() {
        let far = json!({ "type": "content_block_delta", "index": 1_000_000_000_000_u64, "delta": { "type": "text_delta", "text": "a" } });
        assert!(matches!(Assembly::default().take(&event(far)), Err(Unusable::Shape(_))));
        let error = json!({ "type": "error", "error": { "type": "overloaded_error", "message": "m" } });
        assert!(matches!(
            Assembly::default().take(&event(error)),
            Err(Unusable::Reported(Reported { status: Some(529), .. }))
        ));
    }
}
