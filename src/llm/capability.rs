//! What a server can do and by which names: a table for each dialect, and settings for servers that differ.
//!
//! Nothing here or elsewhere asks for the brand of a server.

use std::borrow::Cow;
use std::fmt;

/// The language that a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI's Chat Completions, which many servers speak.
    Chat,
    /// OpenAI's Responses.
    Responses,
    /// Anthropic's Messages.
    Messages,
}

/// How the answer travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// In pieces, as it is made.
    Stream,
    /// In one piece, when it is whole.
    Whole,
    /// Made while nobody is connected, and asked for until it is there.
    Background,
}

/// Where the standing instructions go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemPlace {
    /// A message with the role `system`.
    System,
    /// A message with the role `developer`.
    Developer,
    /// In front of the task, for models that know no such role.
    User,
    /// The field of the request that the dialect has for them.
    Field,
}

/// The field of a request that limits the tokens of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputLimitField {
    /// `max_completion_tokens`: counts reasoning. Source: OpenAI's API reference, "Create chat completion".
    MaxCompletionTokens,
    /// `max_tokens`: the older name, the only one that some local servers know, and that of Messages.
    MaxTokens,
    /// `max_output_tokens`: that of Responses; counts reasoning.
    MaxOutputTokens,
    /// The server cannot be told.
    None,
}

/// How the server is told to answer with one JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StructuredOutput {
    /// By the prompt alone.
    Off,
    /// `response_format: {"type": "json_object"}`; in Responses `text.format`.
    JsonObject,
    /// `{"type": "json_object", "schema": …}`, as servers made of llama.cpp take it, and only in Chat Completions.
    JsonObjectSchema,
    /// `{"type": "json_schema", …}` in the same places; in Messages `output_config.format`. Not strictly: that mode takes only
    /// some schemas. Sources: OpenAI's guide to structured outputs; Anthropic's "Structured outputs".
    JsonSchema,
}

/// The field that says how much a model is to reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasoningField {
    /// `reasoning_effort`, a word.
    ReasoningEffort,
    /// `reasoning.effort`, a word.
    Reasoning,
    /// `thinking.budget_tokens`, a number.
    Thinking,
}

/// What a server can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// How the answer travels.
    pub delivery: Delivery,
    /// Whether a stream is asked to report usage (`stream_options.include_usage`). It is taken from wherever it comes.
    pub ask_for_usage: bool,
    /// Where the standing instructions go.
    pub system: SystemPlace,
    /// How the server is told the most that an answer may cost.
    pub output_limit_field: OutputLimitField,
    /// The most tokens that may be asked for; a larger request is an error for servers that know their models' limits.
    pub most_output_tokens: Option<u32>,
    /// How the server is told to answer in JSON.
    pub structured_output: StructuredOutput,
    /// The field that says how much to reason.
    pub reasoning_field: ReasoningField,
    /// What it says; nothing leaves it out.
    pub reasoning: Option<String>,
    /// The header that carries the key; in `authorization` it is a bearer token.
    pub key_header: Cow<'static, str>,
}

/// What each dialect is like on its maker's own server.
///
/// Sources: OpenAI's API reference, "Create chat completion" and "Create a model response"; Anthropic's API reference,
/// "Create a Message", which demands `max_tokens`. 32 000 is what its smaller current models can be asked for.
const TABLE: [(Dialect, Capabilities); 3] = [
    (
        Dialect::Chat,
        Capabilities {
            delivery: Delivery::Stream,
            ask_for_usage: true,
            system: SystemPlace::System,
            output_limit_field: OutputLimitField::MaxCompletionTokens,
            most_output_tokens: None,
            structured_output: StructuredOutput::Off,
            reasoning_field: ReasoningField::ReasoningEffort,
            reasoning: None,
            key_header: Cow::Borrowed("authorization"),
        },
    ),
    (
        Dialect::Responses,
        Capabilities {
            delivery: Delivery::Stream,
            ask_for_usage: false,
            system: SystemPlace::Field,
            output_limit_field: OutputLimitField::MaxOutputTokens,
            most_output_tokens: None,
            structured_output: StructuredOutput::Off,
            reasoning_field: ReasoningField::Reasoning,
            reasoning: None,
            key_header: Cow::Borrowed("authorization"),
        },
    ),
    (
        Dialect::Messages,
        Capabilities {
            delivery: Delivery::Stream,
            ask_for_usage: false,
            system: SystemPlace::Field,
            output_limit_field: OutputLimitField::MaxTokens,
            most_output_tokens: Some(32_000),
            structured_output: StructuredOutput::Off,
            reasoning_field: ReasoningField::Thinking,
            reasoning: None,
            key_header: Cow::Borrowed("x-api-key"),
        },
    ),
];

/// The options by which a capability is set, each with its values.
pub const OPTIONS: [(&str, &str); 9] = [
    ("delivery", "stream, whole, or background (responses only)"),
    ("usage", "ask, or given"),
    ("system", "system, developer, user, or field (not chat)"),
    (
        "output-limit",
        "max_completion_tokens, max_tokens, max_output_tokens, or none",
    ),
    ("max-output-tokens", "a number, or none"),
    (
        "json",
        "off, object (not messages), object-schema (chat only), or schema",
    ),
    ("reasoning-field", "reasoning_effort, reasoning, or thinking"),
    ("reasoning", "off, or what goes into that field"),
    ("key-header", "authorization, or the name of another header"),
];

/// An option of a provider that is not understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OptionError {
    /// It has no value, or a name that nobody knows.
    #[error("there is no provider option `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The value is none of those that it can have with this dialect.
    #[error("`{value}` is no value of the provider option `{name}` for {dialect}: it is {values}")]
    Value {
        /// The name.
        name: &'static str,
        /// The value.
        value: String,
        /// The dialect.
        dialect: Dialect,
        /// What it can be.
        values: &'static str,
    },
}

impl Dialect {
    /// What a server of this dialect can do unless the operator says otherwise.
    pub fn capabilities(self) -> Capabilities {
        let (_, capabilities) = TABLE
            .into_iter()
            .find(|(dialect, _)| *dialect == self)
            .expect("every dialect is in the table");
        capabilities
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dialect::Chat => "chat completions",
            Dialect::Responses => "the responses API",
            Dialect::Messages => "the messages API",
        })
    }
}

impl Capabilities {
    /// Sets one capability by the name and a value of [`OPTIONS`].
    ///
    /// # Errors
    /// When the name is none of them, or the value none that the dialect has a field for.
    pub fn set(&mut self, dialect: Dialect, name: &str, value: &str) -> Result<(), OptionError> {
        let (name, values) = *OPTIONS
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| OptionError::Unknown { name: name.to_owned() })?;
        self.assign(dialect, name, value).ok_or_else(|| OptionError::Value {
            name,
            value: value.to_owned(),
            dialect,
            values,
        })
    }

    fn assign(&mut self, dialect: Dialect, name: &str, value: &str) -> Option<()> {
        match (name, value) {
            ("delivery", "stream") => self.delivery = Delivery::Stream,
            ("delivery", "whole") => self.delivery = Delivery::Whole,
            ("delivery", "background") if dialect == Dialect::Responses => self.delivery = Delivery::Background,
            ("usage", "ask") => self.ask_for_usage = true,
            ("usage", "given") => self.ask_for_usage = false,
            // Messages has no such roles.
            ("system", "system") if dialect != Dialect::Messages => self.system = SystemPlace::System,
            ("system", "developer") if dialect != Dialect::Messages => self.system = SystemPlace::Developer,
            ("system", "user") => self.system = SystemPlace::User,
            ("system", "field") if dialect != Dialect::Chat => self.system = SystemPlace::Field,
            ("output-limit", "max_completion_tokens") => {
                self.output_limit_field = OutputLimitField::MaxCompletionTokens;
            }
            ("output-limit", "max_tokens") => self.output_limit_field = OutputLimitField::MaxTokens,
            ("output-limit", "max_output_tokens") => self.output_limit_field = OutputLimitField::MaxOutputTokens,
            ("output-limit", "none") => self.output_limit_field = OutputLimitField::None,
            ("max-output-tokens", "none") => self.most_output_tokens = None,
            ("max-output-tokens", number) => self.most_output_tokens = Some(positive(number)?),
            ("json", "off") => self.structured_output = StructuredOutput::Off,
            ("json", "object") if dialect != Dialect::Messages => {
                self.structured_output = StructuredOutput::JsonObject;
            }
            ("json", "object-schema") if dialect == Dialect::Chat => {
                self.structured_output = StructuredOutput::JsonObjectSchema;
            }
            ("json", "schema") => self.structured_output = StructuredOutput::JsonSchema,
            ("reasoning-field", "reasoning_effort") => self.reasoning_field = ReasoningField::ReasoningEffort,
            ("reasoning-field", "reasoning") => self.reasoning_field = ReasoningField::Reasoning,
            ("reasoning-field", "thinking") => self.reasoning_field = ReasoningField::Thinking,
            ("reasoning", "off") => self.reasoning = None,
            ("reasoning", "") => return None,
            ("reasoning", value) => self.reasoning = Some(value.to_owned()),
            ("key-header", "") => return None,
            ("key-header", name) => self.key_header = Cow::Owned(name.to_ascii_lowercase()),
            _ => return None,
        }
        Some(())
    }

    /// The limit to ask for: the caller's, as far as the server can be asked for it.
    pub(super) fn output_limit(&self, wanted: Option<u32>) -> Option<u32> {
        match (wanted, self.most_output_tokens) {
            (Some(wanted), Some(most)) => Some(wanted.min(most)),
            (wanted, most) => wanted.or(most),
        }
    }
}

impl OutputLimitField {
    pub(super) const fn as_str(self) -> Option<&'static str> {
        match self {
            OutputLimitField::MaxCompletionTokens => Some("max_completion_tokens"),
            OutputLimitField::MaxTokens => Some("max_tokens"),
            OutputLimitField::MaxOutputTokens => Some("max_output_tokens"),
            OutputLimitField::None => None,
        }
    }
}

fn positive(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIALECTS: [Dialect; 3] = [Dialect::Chat, Dialect::Responses, Dialect::Messages];

    #[test]
    fn every_option_is_set_by_its_values_and_by_no_others() {
        for dialect in DIALECTS {
            let mut capabilities = dialect.capabilities();
            for (name, values) in OPTIONS {
                let words = values.split(", ").map(|word| word.trim_start_matches("or "));
                let settable = words.filter(|word| capabilities.set(dialect, name, word).is_ok());
                assert!(settable.count() >= 1, "{dialect}: {name}");
                assert!(matches!(
                    capabilities.set(dialect, name, ""),
                    Err(OptionError::Value { .. })
                ));
            }
            assert!(matches!(
                capabilities.set(dialect, "brand", "x"),
                Err(OptionError::Unknown { .. })
            ));
        }
    }

    #[test]
    fn what_a_dialect_has_no_field_for_cannot_be_set() {
        for (dialect, name, value) in [
            (Dialect::Chat, "delivery", "background"),
            (Dialect::Messages, "delivery", "background"),
            (Dialect::Messages, "system", "developer"),
            (Dialect::Messages, "json", "object"),
            (Dialect::Chat, "system", "field"),
            (Dialect::Chat, "max-output-tokens", "0"),
            (Dialect::Chat, "max-output-tokens", "-1"),
        ] {
            assert!(
                dialect.capabilities().set(dialect, name, value).is_err(),
                "{name}={value}"
            );
        }
    }

    #[test]
    fn the_servers_own_limit_goes_before_the_callers() {
        let mut capabilities = Dialect::Messages.capabilities();
        assert_eq!(capabilities.output_limit(Some(128_000)), Some(32_000));
        assert_eq!(capabilities.output_limit(Some(9)), Some(9));
        assert_eq!(capabilities.output_limit(None), Some(32_000));
        capabilities.most_output_tokens = None;
        assert_eq!(capabilities.output_limit(Some(128_000)), Some(128_000));
    }
}
