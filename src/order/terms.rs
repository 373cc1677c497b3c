//! What an order says besides its texts: conditions, and the terms of version 2.

use crate::types::{Bytes, NanoUsd, RepoPath, Sha256, format_duration};
use serde::{Serialize, Serializer};
use std::time::Duration;

/// The version of the schema that an order is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// The schema without `schema_version`, or with 1.
    V1,
    /// The schema with `schema_version` 2.
    V2,
}

/// What kind of work an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Makes something new.
    Create,
    /// Changes what something does.
    Modify,
    /// Mends what is wrong.
    Fix,
    /// Changes how something is made, and nothing that it does.
    Refactor,
    /// Takes something away.
    Remove,
    /// Adds tests for what is there.
    Test,
    /// Writes for people.
    Docs,
    /// Makes the repository's own verification.
    Bootstrap,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 8] = [
        Kind::Create,
        Kind::Modify,
        Kind::Fix,
        Kind::Refactor,
        Kind::Remove,
        Kind::Test,
        Kind::Docs,
        Kind::Bootstrap,
    ];

    /// The kind as a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Create => "create",
            Kind::Modify => "modify",
            Kind::Fix => "fix",
            Kind::Refactor => "refactor",
            Kind::Remove => "remove",
            Kind::Test => "test",
            Kind::Docs => "docs",
            Kind::Bootstrap => "bootstrap",
        }
    }

    /// Whether commands may all succeed before the work is done: what is kept, or written for people, no command shows.
    pub const fn may_be_green_before(self) -> bool {
        match self {
            Kind::Refactor | Kind::Docs => true,
            Kind::Create | Kind::Modify | Kind::Fix | Kind::Remove | Kind::Test | Kind::Bootstrap => false,
        }
    }
}

/// Something that has to hold before an order, or after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Condition {
    /// A regular file is there.
    FileExists {
        /// Its path.
        path: RepoPath,
    },
    /// No regular file is there.
    FileAbsent {
        /// The path.
        path: RepoPath,
    },
    /// A regular file with these bytes is there.
    FileSha256 {
        /// Its path.
        path: RepoPath,
        /// The digest of its bytes.
        sha256: Sha256,
    },
    /// Another order is done.
    OrderDone {
        /// Its id.
        order: String,
    },
    /// A program can be started by its name.
    Tool {
        /// The name.
        name: String,
    },
}

impl Condition {
    /// Its kind as orders write it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Condition::FileExists { .. } => "file_exists",
            Condition::FileAbsent { .. } => "file_absent",
            Condition::FileSha256 { .. } => "file_sha256",
            Condition::OrderDone { .. } => "order_done",
            Condition::Tool { .. } => "tool",
        }
    }

    /// The file that it is about; nothing when it is about something else.
    pub const fn path(&self) -> Option<&RepoPath> {
        match self {
            Condition::FileExists { path } | Condition::FileAbsent { path } | Condition::FileSha256 { path, .. } => {
                Some(path)
            }
            Condition::OrderDone { .. } | Condition::Tool { .. } => None,
        }
    }
}

/// A file that may get another name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Rename {
    /// Its name on the base.
    pub from: RepoPath,
    /// The name that it may get.
    pub to: RepoPath,
}

/// A program without which the order cannot be judged, and how its version is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tool {
    /// Its name, without a slash.
    pub name: String,
    /// The command that tells its version; it has to end with code 0.
    pub argv: Vec<String>,
    /// The lowest version that will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<VersionNumber>,
}

/// A version: numbers between points, compared one by one, as many as there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionNumber(Vec<u64>);

impl VersionNumber {
    /// Reads `3`, `3.11` or `3.11.2`, with at most six numbers.
    pub fn parse(text: &str) -> Option<Self> {
        let numbers: Option<Vec<_>> = text
            .split('.')
            .map(|digits| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
                true => digits.parse().ok(),
                false => None,
            })
            .collect();
        numbers.filter(|numbers| numbers.len() <= 6).map(VersionNumber)
    }

    /// The first version in what a program writes about itself: numbers with points between them. A lone number is more
    /// often a year or a count than a version.
    pub fn find(text: &str) -> Option<Self> {
        let runs = text.split(|character: char| !(character.is_ascii_digit() || character == '.'));
        let mut versions = runs.map(|run| run.trim_matches('.')).filter(|run| run.contains('.'));
        versions.find_map(VersionNumber::parse)
    }

    /// Whether this version is `least` or later; numbers that are not given count as zero.
    pub fn is_at_least(&self, least: &VersionNumber) -> bool {
        let places = self.0.len().max(least.0.len());
        let numbers = |version: &VersionNumber| -> Vec<u64> {
            (0..places)
                .map(|place| version.0.get(place).copied().unwrap_or(0))
                .collect()
        };
        numbers(self) >= numbers(least)
    }
}

impl std::fmt::Display for VersionNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let numbers: Vec<_> = self.0.iter().map(u64::to_string).collect();
        f.write_str(&numbers.join("."))
    }
}

impl Serialize for VersionNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Limits of each command that are lower than the profile's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// Time from start to end.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "duration")]
    pub wall: Option<Duration>,
    /// Processor time of all processes together.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "duration")]
    pub cpu: Option<Duration>,
    /// Memory of all processes together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Processes and threads together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
    /// Size of one file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_size: Option<Bytes>,
    /// Bytes kept of each output stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Bytes>,
}

fn duration<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(format_duration).serialize(serializer)
}

/// The most that may be spent on an order. It can only tighten what the operator allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct OrderBudget {
    /// Dollars.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "dollars")]
    pub usd: Option<NanoUsd>,
    /// Tokens, of requests and answers together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
}

/// A suite of tests that the operator keeps where no model sees it, by its name and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Golden {
    /// Its name.
    pub name: String,
    /// The digest of all that is in it.
    pub sha256: Sha256,
}

fn dollars<S: Serializer>(amount: &Option<NanoUsd>, serializer: S) -> Result<S::Ok, S::Error> {
    let text = amount.map(|amount| amount.to_string());
    text.as_deref()
        .map(|text| text.trim_start_matches('$'))
        .serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_what_programs_write_about_themselves() {
        for (text, expected) in [
            ("Python 3.11.2", Some("3.11.2")),
            ("git version 2.39.5 (Debian)", Some("2.39.5")),
            ("v18.20.4\n", Some("18.20.4")),
            ("cargo 1.80.0-nightly (2024-05-01)", Some("1.80.0")),
            ("GNU bash, version 5.2.15(1)-release", Some("5.2.15")),
            ("go version go1.22 linux/amd64", Some("1.22")),
            ("Copyright 2024", None),
            ("", None),
        ] {
            let found = VersionNumber::find(text).map(|version| version.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn versions_are_compared_number_by_number() {
        let version = |text| VersionNumber::parse(text).expect(text);
        assert!(version("3.10").is_at_least(&version("3.9.7")));
        assert!(version("3").is_at_least(&version("3.0")));
        assert!(!version("2.99").is_at_least(&version("3")));
        for text in ["", "3.", "v3", "3.x", "1.2.3.4.5.6.7", "-1", "99999999999999999999"] {
            assert_eq!(VersionNumber::parse(text), None, "{text}");
        }
    }
}
