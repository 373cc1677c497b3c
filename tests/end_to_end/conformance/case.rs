//! One case: its input in whatever form it is given, and the comparison of what came out.

use crate::support::File;
use base64::Engine as _;
use factory::types::Sha256;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How much a case weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// Correctness or safety.
    Must,
    /// Hardening that is wanted.
    Should,
    /// A detail: either answer is tolerable when it is deliberate.
    May,
}

/// One line of a case file.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Case {
    pub(super) id: String,
    pub(super) area: String,
    pub(super) title: String,
    pub(super) level: Level,
    pub(super) input: Value,
    pub(super) expect: Value,
}

impl Case {
    /// A field of the input that has to be there.
    pub(super) fn field(&self, name: &str) -> Result<&Value, String> {
        self.input.get(name).ok_or_else(|| format!("the input has no `{name}`"))
    }

    /// A text of the input that has to be there.
    pub(super) fn text(&self, name: &str) -> Result<&str, String> {
        self.field(name)?
            .as_str()
            .ok_or_else(|| format!("`{name}` is not a text"))
    }

    /// A list of texts of the input that has to be there.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<&str>, String> {
        let list = self
            .field(name)?
            .as_array()
            .ok_or_else(|| format!("`{name}` is not a list"))?;
        list.iter()
            .map(|value| value.as_str().ok_or_else(|| format!("`{name}` is not a list of texts")))
            .collect()
    }

    /// A boolean of the input; false when it is not there.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.input.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// The bytes of a document, given as `text`, `b64` or `parts`.
    pub(super) fn document(&self) -> Result<Vec<u8>, String> {
        if let Some(text) = self.input.get("text").and_then(Value::as_str) {
            return Ok(text.as_bytes().to_vec());
        }
        if let Some(encoded) = self.input.get("b64").and_then(Value::as_str) {
            return decode(encoded);
        }
        let parts = self.input.get("parts").and_then(Value::as_array);
        let parts = parts.ok_or_else(|| "the input has none of `text`, `b64` and `parts`".to_owned())?;
        parts
            .iter()
            .map(repeated)
            .collect::<Result<String, _>>()
            .map(String::into_bytes)
    }

    /// The files of the input, by path.
    pub(super) fn files(&self) -> Result<Files, String> {
        let files = self
            .field("files")?
            .as_object()
            .ok_or_else(|| "`files` is not an object".to_owned())?;
        files
            .iter()
            .map(|(path, value)| Ok((path.clone(), read_file(value)?)))
            .collect()
    }
}

fn decode(encoded: &str) -> Result<Vec<u8>, String> {
    base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .map_err(|error| error.to_string())
}

fn repeated(part: &Value) -> Result<String, String> {
    match (part[0].as_str(), part[1].as_u64()) {
        (Some(text), Some(count)) => Ok(text.repeat(count as usize)),
        _ => Err(format!("{part} is not a text and a count")),
    }
}

/// The files of a tree, by path.
pub(super) type Files = BTreeMap<String, File>;

/// A file as a case gives it.
fn read_file(value: &Value) -> Result<File, String> {
    let executable = value["exec"].as_bool().unwrap_or(false);
    let regular = |content: Vec<u8>| File::Regular { content, executable };
    if let Some(text) = value.as_str().or(value["text"].as_str()) {
        return Ok(regular(text.into()));
    }
    if let Some(encoded) = value["b64"].as_str() {
        return decode(encoded).map(regular);
    }
    if let Some(target) = value["symlink"].as_str() {
        return Ok(File::Symlink(target.to_owned()));
    }
    repeated(&json!([value["repeat"], value["count"]])).map(|text| regular(text.into()))
}

/// Files as a case expects them.
pub(super) fn files_value(files: &Files) -> Value {
    files
        .iter()
        .map(|(path, file)| (path.clone(), file_value(file)))
        .collect()
}

/// A file as a case expects it: a long one stands by its digest.
fn file_value(file: &File) -> Value {
    match file {
        File::Symlink(target) => json!({"symlink": target}),
        File::Regular { content, .. } => match std::str::from_utf8(content) {
            Ok(text) if text.chars().count() <= 400 => json!(text),
            Ok(_) => json!({"sha256": Sha256::of(content), "bytes": content.len()}),
            Err(_) => json!({"b64": base64::engine::general_purpose::STANDARD.encode(content)}),
        },
    }
}

/// How `actual` differs from `expect`; only keys that `expect` has are compared, and those of a loaded `order` likewise.
pub(super) fn differences(expect: &Value, actual: &Value) -> Vec<String> {
    let Some(expected) = expect.as_object() else {
        return if expect == actual {
            Vec::new()
        } else {
            vec![format!("expected {expect}, got {actual}")]
        };
    };
    let mut differences = Vec::new();
    for (key, expected) in expected {
        match actual.get(key) {
            None => differences.push(format!("{key}: expected {expected}, got nothing")),
            Some(actual) if key == "order" && expected.is_object() => {
                let inner = self::differences(expected, actual);
                differences.extend(inner.into_iter().map(|difference| format!("{key}.{difference}")));
            }
            Some(actual) if expected != actual => differences.push(format!("{key}: expected {expected}, got {actual}")),
            Some(_) => {}
        }
    }
    differences
}
