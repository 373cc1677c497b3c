//! Providers as named on the command line.

use crate::llm::Dialect;
use crate::order::split_command;
use crate::types::{FailureClass, Problem, escape_control};
use std::path::PathBuf;

/// The servers that are named by a word, with the dialect that they speak, and where that leads without another address.
/// Sources: the API references of OpenAI, "Introduction", and of Anthropic, "Getting started".
const SERVERS: [(&str, Dialect, &str); 3] = [
    ("openai", Dialect::Chat, "https://api.openai.com/v1"),
    ("responses", Dialect::Responses, "https://api.openai.com/v1"),
    ("anthropic", Dialect::Messages, "https://api.anthropic.com/v1"),
];

/// The words with which a provider that is built in can begin, each with how it is written in full.
pub(super) const KINDS: [(&str, &str); 6] = [
    ("openai", "openai"),
    ("responses", "responses"),
    ("anthropic", "anthropic"),
    ("replay", "replay:DIR"),
    ("command", "command:PROGRAM ARGUMENTS"),
    ("record", "record:DIR:PROVIDER"),
];

/// How to write what begins with a word: the word itself, where it is no kind of provider but the name of a table.
pub(super) fn spelling(word: &str) -> &str {
    let kind = KINDS.into_iter().find(|(name, _)| *name == word);
    kind.map_or(word, |(_, spelling)| spelling)
}

/// How deep recordings may be of recordings; one is enough.
const MAX_DEPTH: usize = 1;

/// A provider as named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderSpec {
    /// A directory of recorded answers.
    Replay(PathBuf),
    /// A program that reads the prompt and prints the answer.
    Command(Vec<String>),
    /// A server.
    Server {
        /// The language that it speaks.
        dialect: Dialect,
        /// The address below which its paths are.
        base_url: String,
    },
    /// Another provider, and the directory in which its answers are kept.
    Record {
        /// The directory.
        dir: PathBuf,
        /// The other provider.
        of: Box<ProviderSpec>,
    },
}

impl ProviderSpec {
    /// Reads `replay:DIR`, `command:PROGRAM ARGUMENT…`, `record:DIR:PROVIDER`, or one of `openai`, `responses` and
    /// `anthropic`, with `:BASE_URL` or without, which leads to `base_url` if there is one.
    ///
    /// # Errors
    /// When the text is none of them.
    pub fn parse(text: &str, base_url: Option<&str>) -> Result<Self, SpecError> {
        ProviderSpec::parse_within(text, base_url, MAX_DEPTH)
    }

    fn parse_within(text: &str, base_url: Option<&str>, depth: usize) -> Result<Self, SpecError> {
        let unknown = || SpecError::Unknown {
            text: escape_control(text),
        };
        let (word, rest) = match text.split_once(':') {
            Some((_, "")) => return Err(unknown()),
            Some((word, rest)) => (word, Some(rest)),
            None => (text, None),
        };
        if let Some((_, dialect, usual)) = SERVERS.into_iter().find(|(name, ..)| *name == word) {
            let base_url = rest.or(base_url).unwrap_or(usual).to_owned();
            return Ok(ProviderSpec::Server { dialect, base_url });
        }
        match (word, rest.ok_or_else(unknown)?) {
            ("replay", directory) => Ok(ProviderSpec::Replay(directory.into())),
            ("command", command) => Ok(ProviderSpec::Command(words(command)?.ok_or_else(unknown)?)),
            ("record", rest) if depth > 0 => {
                let (dir, of) = rest
                    .split_once(':')
                    .filter(|(dir, _)| !dir.is_empty())
                    .ok_or_else(unknown)?;
                let of = ProviderSpec::parse_within(of, base_url, depth - 1)?;
                Ok(ProviderSpec::Record {
                    dir: dir.into(),
                    of: Box::new(of),
                })
            }
            _ => Err(unknown()),
        }
    }

    /// The provider that is asked: the recorded one of a recording.
    pub fn asked(&self) -> &ProviderSpec {
        match self {
            ProviderSpec::Record { of, .. } => of.asked(),
            spec => spec,
        }
    }
}

/// The directory of a recording, if a provider is one, and the provider that is asked.
pub(super) fn split_record(text: &str) -> (Option<&str>, &str) {
    let recorded = text.strip_prefix("record:").and_then(|rest| rest.split_once(':'));
    match recorded {
        Some((dir, asked)) => (Some(dir), asked),
        None => (None, text),
    }
}

/// The words of a command, if there are any.
fn words(command: &str) -> Result<Option<Vec<String>>, SpecError> {
    let argv = split_command(command).map_err(|_| SpecError::Command {
        text: escape_control(command),
    })?;
    Ok(Some(argv).filter(|argv| !argv.is_empty()))
}

/// A provider that the command line does not name well.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    /// None is named.
    #[error("no provider is named")]
    Missing,
    /// It is neither the name of a table of the settings nor a provider that is built in.
    #[error("`{text}` is not a provider{}", no_table(text, *is_name))]
    NotThere {
        /// The text, escaped.
        text: String,
        /// Whether it could have been the name of a table.
        is_name: bool,
        /// The one that may have been meant.
        nearest: Option<String>,
        /// The names of all tables.
        tables: Vec<String>,
    },
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

/// What else a name is not.
fn no_table(name: &str, is_name: bool) -> String {
    if is_name {
        format!(", and the settings have no `[providers.{name}]`")
    } else {
        String::new()
    }
}

/// The kinds of providers that are built in, and how each is written.
const BUILT_IN: &str = "replay:DIR, command:PROGRAM ARGUMENTS, openai, responses or anthropic, each of them with :BASE_URL or \
                        without, or record:DIR:PROVIDER";

impl Problem for SpecError {
    fn class(&self) -> FailureClass {
        FailureClass::Order
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            SpecError::NotThere { nearest, tables, .. } => {
                let nearest = nearest.iter().map(|nearest| format!("did you mean `{nearest}`? "));
                let tables: Vec<_> = tables.iter().map(|name| format!("`{name}`")).collect();
                let tables = match tables.is_empty() {
                    true => "the settings name no providers".to_owned(),
                    false => format!("the settings name {}", tables.join(", ")),
                };
                format!("{}{tables}; built in are {BUILT_IN}", nearest.collect::<String>())
            }
            SpecError::Missing | SpecError::Unknown { .. } => {
                format!("give --provider {BUILT_IN}, or set FACTORY_PROVIDER, or `provider` in the settings file")
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
        let server = |dialect, base_url: &str| {
            let base_url = base_url.to_owned();
            Ok(ProviderSpec::Server { dialect, base_url })
        };
        assert_eq!(
            parse("openai:http://127.0.0.1:8080/v1"),
            server(Dialect::Chat, "http://127.0.0.1:8080/v1")
        );
        assert_eq!(
            ProviderSpec::parse("openai", Some("http://local")),
            server(Dialect::Chat, "http://local")
        );
        assert_eq!(
            parse("responses"),
            server(Dialect::Responses, "https://api.openai.com/v1")
        );
        assert_eq!(
            parse("anthropic"),
            server(Dialect::Messages, "https://api.anthropic.com/v1")
        );
        assert_eq!(
            parse("anthropic:http://[::1]:1"),
            server(Dialect::Messages, "http://[::1]:1")
        );
    }

    #[test]
    fn a_recording_names_a_directory_and_what_is_recorded() {
        let recording = parse("record:a/b:command:ask x:y").unwrap();
        assert_eq!(
            recording.asked(),
            &ProviderSpec::Command(vec!["ask".into(), "x:y".into()])
        );
        assert!(matches!(recording, ProviderSpec::Record { dir, .. } if dir == std::path::Path::new("a/b")));
        for text in [
            "record:a",
            "record:a:",
            "record::openai",
            "record:a:claude",
            "record:a:record:b:openai",
        ] {
            assert!(matches!(parse(text), Err(SpecError::Unknown { .. })), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "replay", "replay:", "command: ", "claude:x", "openai:"] {
            assert!(matches!(parse(text), Err(SpecError::Unknown { .. })), "{text}");
        }
        assert!(matches!(parse("command:a 'b"), Err(SpecError::Command { .. })));
    }
}
