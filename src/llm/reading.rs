//! What the dialects have in common: what a response says, the price it names, and the errors that it reports.

use super::capability::{Capabilities, ReasoningField};
use super::sse::Event;
use super::{Finish, Usage};
use serde_json::{Value, json};

/// What a response says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) text: String,
    pub(super) finish: Finish,
    pub(super) model: Option<String>,
    pub(super) usage: Option<Usage>,
}

/// Why a response is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It reports an error.
    Reported(Reported),
    /// It is JSON of another kind.
    Shape(&'static str),
    /// It is a piece of a stream that is no JSON.
    NotJson(String),
}

/// An error that a server reports, in a response or in the middle of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reported {
    /// What it says for people.
    pub(super) message: String,
    /// The HTTP status that it stands for, when it names one or a word that has one.
    pub(super) status: Option<u16>,
    /// Whether it is about money rather than speed.
    pub(super) quota: bool,
}

/// How far a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The answer goes on.
    Going,
    /// The answer is whole; its price may follow.
    Answered,
    /// Nothing follows that matters.
    Done,
}

/// Words by which servers name an error, and the status that it would have had.
///
/// Sources: OpenAI's guide to error codes and the `error` of a response; Anthropic's API reference, "Errors", where the
/// same words come in the middle of a stream.
const WORDS: [(&str, u16); 15] = [
    ("invalid_request_error", 400),
    ("invalid_prompt", 400),
    ("authentication_error", 401),
    ("billing_error", 402),
    ("permission_error", 403),
    ("not_found_error", 404),
    ("model_not_found", 404),
    ("request_too_large", 413),
    ("rate_limit_error", 429),
    ("rate_limit_exceeded", 429),
    ("insufficient_quota", 429),
    ("api_error", 500),
    ("server_error", 500),
    ("timeout_error", 504),
    ("overloaded_error", 529),
];

/// Words for a quota that waiting does not fill. Source: OpenAI's guide to error codes, "429 - You exceeded your current
/// quota"; Anthropic's API reference, "Errors".
const QUOTA_WORDS: [&str; 3] = ["insufficient_quota", "billing_hard_limit_reached", "billing_error"];

impl Reported {
    /// Reads an `error`. Most servers send an object, some a text.
    pub(super) fn of(error: &Value) -> Self {
        let message = error.get("message").unwrap_or(error).as_str();
        let words: Vec<&str> = ["code", "type"]
            .iter()
            .filter_map(|field| error.get(field)?.as_str())
            .collect();
        let number = ["code", "status"].iter().find_map(|field| error.get(field)?.as_u64());
        let number = number.and_then(|number| u16::try_from(number).ok());
        let of_word = || {
            words
                .iter()
                .find_map(|word| WORDS.iter().find(|(known, _)| known == word))
        };
        Reported {
            message: message.unwrap_or_default().to_owned(),
            status: number
                .filter(|status| (400..600).contains(status))
                .or_else(|| of_word().map(|(_, status)| *status)),
            quota: words.iter().any(|word| QUOTA_WORDS.contains(word)),
        }
    }

    /// The error that a response has in place of an answer. Routers in front of several providers hand such errors on with
    /// status 200.
    pub(super) fn in_response(response: &Value) -> Option<Self> {
        response.get("error").filter(|error| !error.is_null()).map(Reported::of)
    }
}

/// The data of an event.
pub(super) fn json_of(event: &Event) -> Result<Value, Unusable> {
    serde_json::from_str(&event.data).map_err(|error| Unusable::NotJson(error.to_string()))
}

/// A text of a response, by pointer; empty when there is none.
pub(super) fn text_at<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn model_of(response: &Value) -> Option<String> {
    response.get("model").and_then(Value::as_str).map(str::to_owned)
}

/// The cost, wherever this server puts it; `None` unless both totals are there.
pub(super) fn usage_of(response: &Value) -> Option<Usage> {
    let usage = response.get("usage")?;
    let count = |places: &[&str]| places.iter().find_map(|place| usage.pointer(place)?.as_u64());
    Some(Usage {
        input_tokens: count(&["/prompt_tokens", "/input_tokens"])?,
        output_tokens: count(&["/completion_tokens", "/output_tokens"])?,
        cached_input_tokens: count(&[
            "/prompt_tokens_details/cached_tokens",
            "/input_tokens_details/cached_tokens",
            "/prompt_cache_hit_tokens",
        ])
        .unwrap_or(0),
        reasoning_tokens: count(&[
            "/completion_tokens_details/reasoning_tokens",
            "/output_tokens_details/reasoning_tokens",
            "/reasoning_tokens",
        ])
        .unwrap_or(0),
    })
}

/// Writes what is the same in every dialect: the model, the limit of the answer, and how much to reason.
pub(super) fn put_common(
    body: &mut Value,
    capabilities: &Capabilities,
    model: Option<&str>,
    output_limit: Option<u32>,
) {
    if let Some(model) = model {
        body["model"] = json!(model);
    }
    if let (Some(limit), Some(field)) = (output_limit, capabilities.output_limit_field.as_str()) {
        body[field] = json!(limit);
    }
    let Some(reasoning) = &capabilities.reasoning else {
        return;
    };
    // A budget is a number, an effort a word; a server that wants it otherwise says so.
    let value = reasoning.parse::<u64>().map_or_else(|_| json!(reasoning), Value::from);
    match capabilities.reasoning_field {
        ReasoningField::ReasoningEffort => body["reasoning_effort"] = value,
        ReasoningField::Reasoning => body["reasoning"] = json!({ "effort": value }),
        ReasoningField::Thinking => body["thinking"] = json!({ "type": "enabled", "budget_tokens": value }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_stands_for_a_status_by_its_number_or_its_word() {
        for (error, status, quota) in [
            (json!({ "message": "m", "code": 429 }), Some(429), false),
            (json!({ "message": "m", "type": "overloaded_error" }), Some(529), false),
            (
                json!({ "message": "m", "code": "rate_limit_exceeded" }),
                Some(429),
                false,
            ),
            (json!({ "message": "m", "code": "insufficient_quota" }), Some(429), true),
            (json!({ "message": "m", "code": 7, "type": "unheard_of" }), None, false),
            (json!("m"), None, false),
        ] {
            let reported = Reported::of(&error);
            assert_eq!(
                (reported.message.as_str(), reported.status, reported.quota),
                ("m", status, quota),
                "{error}"
            );
        }
        assert_eq!(Reported::in_response(&json!({ "error": null })), None);
    }

    #[test]
    fn usage_is_found_in_each_of_its_places() {
        let expected = Usage {
            input_tokens: 7,
            output_tokens: 5,
            cached_input_tokens: 3,
            reasoning_tokens: 2,
        };
        for usage in [
            json!({ "prompt_tokens": 7, "completion_tokens": 5, "prompt_tokens_details": { "cached_tokens": 3 },
                "completion_tokens_details": { "reasoning_tokens": 2 } }),
            json!({ "input_tokens": 7, "output_tokens": 5, "input_tokens_details": { "cached_tokens": 3 },
                "output_tokens_details": { "reasoning_tokens": 2 } }),
            json!({ "prompt_tokens": 7, "completion_tokens": 5, "prompt_cache_hit_tokens": 3, "reasoning_tokens": 2 }),
        ] {
            assert_eq!(usage_of(&json!({ "usage": usage })), Some(expected));
        }
        for usage in [
            json!(null),
            json!({}),
            json!({ "prompt_tokens": -1, "completion_tokens": 5 }),
            json!("7"),
        ] {
            assert_eq!(usage_of(&json!({ "usage": usage })), None);
        }
    }
}
