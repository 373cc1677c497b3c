//! What judges a candidate: commands, and what each of them has to show.
//!
//! In an order of version 1 a command is a text that has to end with code 0. All else is its default.

use crate::types::{RepoPath, Sha256, format_duration};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often a command may be asked to be repeated.
pub const MAX_RUNS: u32 = 10;

/// A command that has to succeed in the candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct AcceptanceCommand {
    /// The command as written, or as it would be written: it splits into `argv`.
    pub text: String,
    /// Its words; no shell is involved. At least one, and the first is not empty.
    pub argv: Vec<String>,
    /// The directory in which it is run; the top of the tree when there is none.
    pub cwd: Option<RepoPath>,
    /// What its environment has besides that of the profile. Whether a name may be set is the profile's to say.
    pub env: BTreeMap<String, String>,
    /// What it is given to read.
    pub stdin: Option<String>,
    /// How long it may run; never longer than the profile allows.
    pub timeout: Option<Duration>,
    /// What it has to show.
    pub expect: Expect,
    /// What it has to do before there is a candidate.
    pub expect_baseline: Baseline,
    /// What the model is told of it.
    pub visibility: Visibility,
    /// How often it is run; all runs have to agree.
    pub runs: u32,
}

impl AcceptanceCommand {
    /// A command of version 1.
    pub(super) fn plain(text: &str, argv: Vec<String>) -> Self {
        AcceptanceCommand {
            text: text.to_owned(),
            argv,
            cwd: None,
            env: BTreeMap::new(),
            stdin: None,
            timeout: None,
            expect: Expect::default(),
            expect_baseline: Baseline::Any,
            visibility: Visibility::Full,
            runs: 1,
        }
    }

    /// As an element of `acceptance`: what is as it is by default is left out, but for the baseline, whose default
    /// depends on the order.
    pub(super) fn serialize_object<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("argv", &self.argv)?;
        if let Some(cwd) = &self.cwd {
            map.serialize_entry("cwd", cwd)?;
        }
        if !self.env.is_empty() {
            map.serialize_entry("env", &self.env)?;
        }
        if let Some(stdin) = &self.stdin {
            map.serialize_entry("stdin", stdin)?;
        }
        if let Some(timeout) = self.timeout {
            map.serialize_entry("timeout", &format_duration(timeout))?;
        }
        if self.expect != Expect::default() {
            map.serialize_entry("expect", &self.expect)?;
        }
        map.serialize_entry("expect_baseline", &self.expect_baseline)?;
        if self.visibility != Visibility::Full {
            map.serialize_entry("visibility", &self.visibility)?;
        }
        if self.runs != 1 {
            map.serialize_entry("runs", &self.runs)?;
        }
        map.end()
    }
}

/// What a command has to show. Everything that is said has to hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Expect {
    /// Its exit code.
    pub exit: u8,
    /// Its standard output, taken as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout: Option<TextMatch>,
    /// Values in its standard output, taken as one JSON document, by their JSON pointer (RFC 6901).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub json: BTreeMap<String, Value>,
    /// Files in the tree that the command leaves behind, by the digest of their bytes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<RepoPath, Sha256>,
}

/// What is asked of a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TextMatch {
    /// It is this text; line breaks at the end of either are no difference.
    Equals(String),
    /// This text stands in it.
    Contains(String),
}

impl TextMatch {
    /// Whether a text is as asked.
    pub fn holds(&self, text: &str) -> bool {
        let without_end = |text: &str| text.trim_end_matches(['\r', '\n']).len();
        match self {
            TextMatch::Equals(wanted) => text[..without_end(text)] == wanted[..without_end(wanted)],
            TextMatch::Contains(wanted) => text.contains(wanted.as_str()),
        }
    }
}

/// What a command has to do on the base, before there is a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    /// Not show what it has to show: that it does afterwards is the work of the order.
    Fail,
    /// Show it already: the order must not break it.
    Pass,
    /// Either.
    Any,
}

/// What the model is told of a command, before its attempt and after one that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// The command, what it has to show, and the end of what it wrote.
    Full,
    /// The command, and that it failed.
    Summary,
    /// Nothing but that a check failed that is not shown.
    None,
}
