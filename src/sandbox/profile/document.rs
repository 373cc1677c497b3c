//! A profile as it is written: TOML of which every key is known, each value with its place in the text.

use crate::sandbox::error::SandboxError;
use crate::sandbox::expect::Act;
use crate::sandbox::policy::{Network, TreeSource};
use crate::sandbox::report::LimitKind;
use crate::types::{Bytes, RepoPath, format_duration, nearest_in_message, parse_duration};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use toml::Spanned;

/// The one version of the format.
const SCHEMA: u32 = 1;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Origin {
    /// The profile.
    pub profile: String,
    /// The line in its text; zero for a default, which no line says.
    pub line: usize,
}

/// The text of a profile and what to call it.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) name: String,
    /// Its file, or that it is built in.
    pub(super) label: String,
    pub(super) text: String,
}

impl Source {
    pub(super) fn line(&self, span: std::ops::Range<usize>) -> usize {
        1 + self.text[..span.start].matches('\n').count()
    }

    pub(super) fn origin(&self, span: std::ops::Range<usize>) -> Origin {
        Origin {
            profile: self.name.clone(),
            line: self.line(span),
        }
    }

    pub(super) fn invalid(&self, line: usize, reason: impl fmt::Display, remedy: Option<String>) -> SandboxError {
        SandboxError::ProfileInvalid {
            origin: self.label.clone(),
            reason: format!("line {line}: {reason}"),
            remedy,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) schema: Spanned<u32>,
    pub(super) name: Spanned<String>,
    #[serde(default)]
    pub(super) summary: String,
    #[serde(default)]
    pub(super) extends: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) open: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) require: RequireTable,
    #[serde(default)]
    pub(super) tree: TreeTable,
    #[serde(default)]
    pub(super) fs: FsTable,
    #[serde(default)]
    pub(super) exec: ExecTable,
    #[serde(default)]
    pub(super) net: NetTable,
    #[serde(default)]
    pub(super) limits: LimitsTable,
    #[serde(default)]
    pub(super) env: EnvTable,
    #[serde(default)]
    pub(super) expect: Vec<Spanned<ExpectTable>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequireTable {
    pub(super) userns: Option<Spanned<bool>>,
    pub(super) landlock_abi: Option<Spanned<u32>>,
    pub(super) seccomp: Option<Spanned<bool>>,
    #[serde(default)]
    pub(super) limits: Vec<Spanned<LimitKind>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TreeTable {
    pub(super) source: Option<Spanned<TreeSource>>,
    #[serde(default)]
    pub(super) protect: Vec<Spanned<RepoPath>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FsTable {
    pub(super) read: Option<Vec<Spanned<Entry>>>,
    pub(super) snapshot: Option<Vec<Spanned<Entry>>>,
    #[serde(default)]
    pub(super) tmp: TmpTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TmpTable {
    pub(super) size: Option<Spanned<Bytes>>,
    pub(super) inodes: Option<Spanned<u64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExecTable {
    pub(super) memfd: Option<Spanned<bool>>,
    #[serde(default)]
    pub(super) why: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NetTable {
    pub(super) mode: Option<Spanned<Network>>,
    #[serde(default)]
    pub(super) why: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsTable {
    pub(super) wall: Option<Spanned<Span>>,
    pub(super) cpu: Option<Spanned<Span>>,
    pub(super) silence: Option<Spanned<Span>>,
    pub(super) memory: Option<Spanned<Bytes>>,
    pub(super) pids: Option<Spanned<u64>>,
    pub(super) file_size: Option<Spanned<Bytes>>,
    pub(super) files: Option<Spanned<u64>>,
    pub(super) output: Option<Spanned<Bytes>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnvTable {
    #[serde(default)]
    pub(super) set: BTreeMap<String, Spanned<String>>,
    pub(super) pass: Option<Vec<Spanned<Variable>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectTable {
    pub(super) allow: Option<Act>,
    pub(super) deny: Option<Act>,
    #[serde(default)]
    pub(super) why: String,
}

/// A span of time; the longest one stands for no limit at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span(pub(super) Duration);

impl Span {
    /// Longer than anything.
    pub(super) const ENDLESS: Span = Span(Duration::MAX);
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Span::ENDLESS => f.write_str("none"),
            Span(duration) => f.write_str(&format_duration(duration)),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_duration(&String::deserialize(deserializer)?)
            .map(Span)
            .map_err(D::Error::custom)
    }
}

/// One entry of a list of grants: a bundle or a path, alone or with its reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryTable {
    path: String,
    #[serde(default)]
    why: String,
    #[serde(default)]
    optional: bool,
}

/// One variable to pass, alone or with its reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VariableTable {
    name: String,
    #[serde(default)]
    why: String,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) why: String,
    pub(super) optional: bool,
}

#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) why: String,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOrTable {
            expected: "a path or bundle, or a table with `path`, `why` and `optional`",
            word: |name| Entry {
                name,
                why: String::new(),
                optional: false,
            },
            table: |table: EntryTable| Entry {
                name: table.path,
                why: table.why,
                optional: table.optional,
            },
        })
    }
}

impl<'de> Deserialize<'de> for Variable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOrTable {
            expected: "the name of a variable, or a table with `name` and `why`",
            word: |name| Variable {
                name,
                why: String::new(),
            },
            table: |table: VariableTable| Variable {
                name: table.name,
                why: table.why,
            },
        })
    }
}

/// Reads either form. Not `untagged`, which would forget which key was the unknown one, and where.
struct WordOrTable<V, T> {
    expected: &'static str,
    word: fn(String) -> V,
    table: fn(T) -> V,
}

impl<'de, V, T: Deserialize<'de>> Visitor<'de> for WordOrTable<V, T> {
    type Value = V;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<V, E> {
        Ok((self.word)(word.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(self.table)
    }
}

/// Reads the text.
///
/// # Errors
/// `Policy` with the line and, for an unknown key, the nearest known one.
pub(super) fn parse(source: &Source) -> Result<Document, SandboxError> {
    let document: Document = toml::from_str(&source.text).map_err(|error| {
        let line = source.line(error.span().unwrap_or(0..0));
        source.invalid(line, error.message(), nearest_in_message(error.message()))
    })?;
    let schema = document.schema.get_ref();
    if *schema != SCHEMA {
        let reason = format!("schema {schema} is not known; this version reads schema {SCHEMA}");
        return Err(source.invalid(source.line(document.schema.span()), reason, None));
    }
    let name = document.name.get_ref();
    if *name != source.name {
        let remedy = format!(
            "the name of a profile is that of its file: rename the file to `{name}.toml`, or write `name = \"{}\"`",
            source.name
        );
        let reason = format!("it calls itself `{name}`");
        return Err(source.invalid(source.line(document.name.span()), reason, Some(remedy)));
    }
    Ok(document)
}
