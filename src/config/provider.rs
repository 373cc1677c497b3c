//! Providers as named on the command line.

use crate::order::split_command;
use crate::types::{FailureClass, Problem, escape_control};
use std::path::PathBuf;

/// Where `openai` leads without another address. Source: the API reference of OpenAI, "Introduction".
const OPENAI: &str = "https://api.openai.com/v1";

/// A provider as named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderSpec {
    /// A directory of recorded answers.
    Replay(PathBuf),
    /// A program that reads the prompt and prints the answer.
    Command(Vec<String>),
    /// A server that speaks OpenAI's Chat Completions.
    Chat {
        /// The address below which its paths are.
        base_url: String,
    },
}

impl ProviderSpec {
    /// Reads `replay:DIR`, `command:PROGRAM ARGUMENT…`, `openai:BASE_URL` or `openai`, which leads to `base_url` if
    /// there is one.
    ///
    /// # Errors
    /// When the text is none of them.
    pub fn parse(text: &str, base_url: Option<&str>) -> Result<Self, SpecError> {
        let unknown = || SpecError::Unknown {
            text: escape_control(text),
        };
        if text == "openai" {
            let base_url = base_url.unwrap_or(OPENAI).to_owned();
            return Ok(ProviderSpec::Chat { base_url });
        }
        match text.split_once(':').ok_or_else(unknown)? {
            (_, "") => Err(unknown()),
            ("replay", directory) => Ok(ProviderSpec::Replay(directory.into())),
            ("command", command) => {
                let argv = split_command(command).map_err(|_| SpecError::Command {
                    text: escape_control(command),
                })?;
                if argv.is_empty() {
                    return Err(unknown());
                }
                Ok(ProviderSpec::Command(argv))
            }
            ("openai", base_url) => Ok(ProviderSpec::Chat {
                base_url: base_url.to_owned(),
            }),
            _ => Err(unknown()),
        }
    }

    /// The provider in one word.
    pub fn kind(&self) -> &'static str {
        match self {
            ProviderSpec::Replay(_) => "replay",
            ProviderSpec::Command(_) => "command",
            ProviderSpec::Chat { .. } => "openai",
        }
    }
}

/// A provider that the command line does not name well.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    /// None is named.
    #[error("no provider is named")]
    Missing,
    /// The text is no provider.
    #[error("`{text}` is not a provider")]
    Unknown {
        /// The text, escaped.
        text: String,
    },
    /// The command cannot be split into words.
    #[error("the provider's command `{text}` cannot be split into words")]
    Command {
        /// The command, escaped.
        text: String,
    },
}

impl Problem for SpecError {
    fn class(&self) -> FailureClass {
        FailureClass::Order
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            SpecError::Missing | SpecError::Unknown { .. } => {
                "give --provider replay:DIR, command:PROGRAM ARGUMENTS, openai:BASE_URL or openai, or set FACTORY_PROVIDER"
                    .to_owned()
            }
            SpecError::Command { .. } => "close every quotation mark".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ProviderSpec, SpecError> {
        ProviderSpec::parse(text, None)
    }

    #[test]
    fn each_kind_of_provider_has_its_spelling() {
        assert_eq!(parse("replay:a/b"), Ok(ProviderSpec::Replay("a/b".into())));
        assert_eq!(
            parse("command:ask 'two words' x:y"),
            Ok(ProviderSpec::Command(vec![
                "ask".into(),
                "two words".into(),
                "x:y".into()
            ]))
        );
        assert_eq!(
            parse("openai:http://127.0.0.1:8080/v1"),
            Ok(ProviderSpec::Chat {
                base_url: "http://127.0.0.1:8080/v1".into()
            })
        );
        assert_eq!(
            ProviderSpec::parse("openai", Some("http://local")),
            Ok(ProviderSpec::Chat {
                base_url: "http://local".into()
            })
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "replay", "replay:", "command: ", "claude:x", "openai:"] {
            assert!(matches!(parse(text), Err(SpecError::Unknown { .. })), "{text}");
        }
        assert!(matches!(parse("command:a 'b"), Err(SpecError::Command { .. })));
    }
}
