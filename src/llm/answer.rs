//! What is asked and what is answered.

use crate::types::Sha256;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The standing instructions.
    pub system: String,
    /// The task.
    pub user: String,
    /// The model to ask, for providers that have several.
    pub model: Option<String>,
    /// The most tokens that the answer may cost, reasoning included, for providers that can be told.
    pub max_output_tokens: Option<u32>,
    /// What the request is for, such as the id of an order. Chooses among recorded answers and is sent to nobody.
    pub key: String,
    /// What the answer has to look like, for servers that can be told. The prompt says it too, and whoever takes the answer
    /// checks it: this only spares attempts.
    pub schema: Option<Schema>,
}

/// A JSON Schema for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// What such an answer is called: letters, digits, `_` and `-`.
    pub name: &'static str,
    /// The schema.
    pub schema: Value,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The text of the answer: hostile until parsed.
    pub text: String,
    /// The bytes that the text was taken from, for the record.
    pub raw: Vec<u8>,
    /// The model that answered, by its own account.
    pub model: Option<String>,
    /// What it cost, by the provider's account; `None` when it does not say.
    pub usage: Option<Usage>,
    /// How the answer ended.
    pub finish: Finish,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model said all it wanted to say.
    Complete,
    /// A token limit cut it off; the text, if any, is a fragment.
    Truncated,
    /// The model or a filter refused; the text, if any, is the refusal.
    Refused,
}

/// Tokens as counted by the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub input_tokens: u64,
    /// Tokens of the answer, reasoning included.
    pub output_tokens: u64,
    /// Those of the prompt that came from the provider's cache.
    pub cached_input_tokens: u64,
    /// Those of the answer that were reasoning.
    pub reasoning_tokens: u64,
}

/// Names a request by what it asks, so that a recorded answer can be recognised as the answer to it.
///
/// The key counts: recorded answers are chosen by it.
pub fn request_digest(request: &Request) -> Sha256 {
    let Request {
        system,
        user,
        model,
        max_output_tokens,
        key,
        // The same is asked with it and without.
        schema: _,
    } = request;
    // A JSON list keeps the parts apart whatever they contain; its head tells digests of later formats from these.
    let parts = serde_json::json!(["factory request 1", system, user, model, max_output_tokens, key]);
    Sha256::of(parts.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_request_counts_in_its_digest() {
        let request = Request {
            system: "a".into(),
            user: "b".into(),
            model: None,
            max_output_tokens: None,
            key: "001".into(),
            schema: None,
        };
        let others = [
            Request {
                system: "ab".into(),
                user: String::new(),
                ..request.clone()
            },
            Request {
                user: "c".into(),
                ..request.clone()
            },
            Request {
                model: Some(String::new()),
                ..request.clone()
            },
            Request {
                max_output_tokens: Some(0),
                ..request.clone()
            },
            Request {
                key: "002".into(),
                ..request.clone()
            },
        ];
        assert_eq!(request_digest(&request), request_digest(&request.clone()));
        assert!(
            others
                .iter()
                .all(|other| request_digest(other) != request_digest(&request))
        );
    }

    #[test]
    fn the_digest_of_a_request_stays_the_same_for_ever() {
        let request = Request {
            system: "s".into(),
            user: "u\n\u{1f980}".into(),
            model: Some("m".into()),
            max_output_tokens: Some(1),
            key: "k".into(),
            schema: None,
        };
        assert_eq!(
            request_digest(&request).to_string(),
            "4cb99e7404e80227fff8bac0816a0cdb29964031dfad47b3c17aaa4affe92f39"
        );
    }
}
