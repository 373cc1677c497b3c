//! What the fields of a version 2 order have in common: keys that are known, and lists and texts with a limit.

use super::super::json::{Document, Pointer, Want, quote};
use super::read_path;
use crate::types::RepoPath;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::hash::Hash;

/// An object with keys of which each means something.
pub(in crate::order) struct Keys {
    /// What the object is, as in `an order of version 2`.
    pub(in crate::order) of: &'static str,
    /// Its keys.
    pub(in crate::order) known: &'static [&'static str],
}

/// Refuses the keys that are not known, each with the known one that is nearest.
pub(super) fn refuse_unknown(document: &mut Document<'_>, at: &Pointer, object: &Map<String, Value>, keys: &Keys) {
    for key in object.keys().filter(|key| !keys.known.contains(&key.as_str())) {
        let distance = |known: &&&str| strsim::damerau_levenshtein(known, key);
        let nearest = keys.known.iter().min_by_key(distance);
        let advice = match nearest.filter(|known| distance(known) <= 1 + known.len() / 4) {
            Some(known) => format!("`{known}` is the nearest that there is"),
            None => format!("there are `{}`", keys.known.join("`, `")),
        };
        document.add(&at.key(key), format!("{} has no such key; {advice}", keys.of));
    }
}

/// Reads a list that may be missing and has at most `max` elements; gives nothing when one of them is wrong.
pub(super) fn list<T>(
    document: &mut Document<'_>,
    at: &Pointer,
    object: &Map<String, Value>,
    (key, want, max): (&str, Want, usize),
    mut read: impl FnMut(&mut Document<'_>, &Pointer, &Value) -> Option<T>,
) -> Option<Vec<T>> {
    let Some(value) = object.get(key) else {
        return Some(Vec::new());
    };
    let at = at.key(key);
    let elements = document.as_list(&at, value, want)?;
    if elements.len() > max {
        document.add(&at, format!("{} are too many; at most {max} are read", elements.len()));
        return None;
    }
    let read: Vec<_> = elements
        .into_iter()
        .map(|(at, value)| read(document, &at, value))
        .collect();
    read.into_iter().collect()
}

/// Reads a list of paths, each of which stands in it once.
pub(super) fn paths(
    document: &mut Document<'_>,
    at: &Pointer,
    object: &Map<String, Value>,
    (key, want, max): (&str, Want, usize),
) -> Option<Vec<RepoPath>> {
    let paths = list(document, at, object, (key, want, max), read_path)?;
    refuse_doubles(document, &at.key(key), &paths)?;
    Some(paths)
}

/// Refuses elements that stand twice.
pub(super) fn refuse_doubles<T: Hash + Eq>(document: &mut Document<'_>, at: &Pointer, values: &[T]) -> Option<()> {
    let mut seen = HashSet::new();
    let mut doubles = values.iter().enumerate().filter(|(_, value)| !seen.insert(*value));
    let (index, _) = match doubles.next() {
        None => return Some(()),
        Some(double) => double,
    };
    document.add(
        &at.index(index),
        "it stands in the list already; name it once".to_owned(),
    );
    None
}

/// The value, when it is a text that says something and is not too long.
pub(super) fn text(
    document: &mut Document<'_>,
    at: &Pointer,
    value: &Value,
    (want, max): (Want, usize),
) -> Option<String> {
    let text = document.as_text(at, value, want)?;
    let complaint = if text.trim().is_empty() {
        format!("it is blank; write {}, for example {}", want.what, want.example)
    } else if text.len() > max {
        format!("it has {} bytes; at most {max} are read", text.len())
    } else if text.contains('\0') {
        "it has a NUL character; leave it out".to_owned()
    } else {
        return Some(text.to_owned());
    };
    document.add(at, complaint);
    None
}

/// A text that has to be there.
pub(super) fn needed_text(
    document: &mut Document<'_>,
    at: &Pointer,
    object: &Map<String, Value>,
    (key, want, max): (&str, Want, usize),
) -> Option<String> {
    let (at, value) = document.member(at, object, key, want)?;
    text(document, &at, value, (want, max))
}

/// A member that may be missing.
pub(super) fn optional<T>(
    document: &mut Document<'_>,
    at: &Pointer,
    object: &Map<String, Value>,
    key: &str,
    read: impl FnOnce(&mut Document<'_>, &Pointer, &Value) -> Option<T>,
) -> Option<Option<T>> {
    match object.get(key) {
        None => Some(None),
        Some(value) => read(document, &at.key(key), value).map(Some),
    }
}

/// A whole number within bounds.
pub(super) fn number(
    document: &mut Document<'_>,
    at: &Pointer,
    value: &Value,
    (want, least, most): (Want, u64, u64),
) -> Option<u64> {
    match value.as_u64() {
        Some(number) if (least..=most).contains(&number) => Some(number),
        Some(number) => {
            document.add(at, format!("{number} is not between {least} and {most}"));
            None
        }
        None => {
            document.add_wrong(at, value, want);
            None
        }
    }
}

/// A text that is read by its type, which says what is wrong with it.
pub(super) fn parsed<T, E: std::fmt::Display>(
    document: &mut Document<'_>,
    at: &Pointer,
    value: &Value,
    want: Want,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    let text = document.as_text(at, value, want)?;
    // What is longer than any value of these types is not repeated in a message.
    let short: String = text.chars().take(100).collect();
    match parse(&short) {
        Ok(parsed) if short.len() == text.len() => Some(parsed),
        Ok(_) => {
            document.add(at, format!("{} is too long", quote(text)));
            None
        }
        Err(error) => {
            document.add(at, error.to_string());
            None
        }
    }
}

/// One of a few words.
pub(super) fn word<T: Copy>(
    document: &mut Document<'_>,
    at: &Pointer,
    value: &Value,
    (want, words): (Want, &[(&'static str, T)]),
) -> Option<T> {
    let text = document.as_text(at, value, want)?;
    let found = words.iter().find(|(word, _)| *word == text);
    if found.is_none() {
        let known: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        document.add(at, format!("{} is none of {}", quote(text), known.join(", ")));
    }
    found.map(|(_, meaning)| *meaning)
}
