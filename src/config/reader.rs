//! Values of the settings file, one by one: text, numbers and paths, each checked and with the line that says it.

use super::file::{FileError, Origin, Set, Source};
use super::operator::Place;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// The most attempts and tries, as for the flags.
const MOST_TRIES: u32 = 1000;

/// The longest name of a variable.
const MAX_VARIABLE: usize = 64;

/// Reads values out of a source. `home` is what `~/` stands for.
pub(super) struct Reader<'a> {
    pub(super) source: &'a Source,
    pub(super) home: Option<&'a Path>,
}

pub(super) type Read<T> = Result<T, FileError>;

impl Reader<'_> {
    pub(super) fn tries(&self, key: &str, number: Option<Spanned<u32>>) -> Read<Option<Set<u32>>> {
        let Some(number) = number else { return Ok(None) };
        let (span, number) = (number.span(), number.into_inner());
        match (1..=MOST_TRIES).contains(&number) {
            true => Ok(Some(Set {
                value: number,
                origin: self.source.origin(span),
            })),
            false => {
                let what = format!("`{key}` is out of range");
                Err(self
                    .source
                    .invalid(span, what, format!("write a number from 1 to {MOST_TRIES}")))
            }
        }
    }

    /// A text of one line with something in it.
    pub(super) fn word(&self, key: &str, text: Option<Spanned<String>>) -> Read<Option<Set<String>>> {
        self.parsed(key, text, |text| {
            let is_plain = !text.trim().is_empty() && !text.contains(char::is_control);
            is_plain
                .then(|| text.to_owned())
                .ok_or("it is empty, or has control characters")
        })
    }

    /// An address without a user. Where it has one, it is not repeated.
    pub(super) fn address(&self, key: &str, text: Option<Spanned<String>>) -> Read<Option<Set<String>>> {
        self.parsed(key, text, |text| match () {
            () if text.trim().is_empty() || text.contains(char::is_control) => Err("it is no address"),
            () if has_user(text) => Err("a user name or password has no place in this file"),
            () if text.contains(['?', '#']) => Err("an address ends with its path: what comes behind could be a key"),
            () => Ok(text.to_owned()),
        })
    }

    pub(super) fn path(&self, key: &str, text: Option<Spanned<String>>) -> Read<Option<Set<PathBuf>>> {
        self.parsed(key, text, |text| match (text.strip_prefix("~/"), self.home) {
            (Some(rest), Some(home)) if !text.contains('\0') => Ok(home.join(rest)),
            (None, _) if text.starts_with('/') && !text.contains('\0') => Ok(PathBuf::from(text)),
            _ => Err("it is not an absolute path, which begins with `/` or `~/`"),
        })
    }

    /// The name of a variable. A text that could be a key instead is refused, and not repeated.
    pub(super) fn variable(&self, key: &str, text: Option<Spanned<String>>) -> Read<Option<Set<Place>>> {
        self.parsed(key, text, |text| {
            let is_part = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
            let begins = text.starts_with(|first: char| first.is_ascii_uppercase() || first == '_');
            let looks_random = text.len() >= 16 && !text.contains('_') && text.contains(|c: char| c.is_ascii_digit());
            match begins && text.bytes().all(is_part) && text.len() <= MAX_VARIABLE && !looks_random {
                true => Ok(Place::Variable(text.to_owned())),
                false => Err("it is not the name of a variable, in capital letters; the key itself has no place here"),
            }
        })
    }

    pub(super) fn parsed<T, E: Display>(
        &self,
        key: &str,
        text: Option<Spanned<String>>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Read<Option<Set<T>>> {
        let Some(text) = text else { return Ok(None) };
        let value = parse(text.get_ref()).map_err(|why| {
            // A key may have been put in the wrong place: no value is repeated.
            let why = why.to_string().replace(&format!("`{}`", text.get_ref()), "this");
            let what = format!("`{key}`: {why}");
            self.source
                .invalid(text.span(), what, "correct it; docs/configuration.md has every setting")
        })?;
        Ok(Some(Set {
            value,
            origin: self.source.origin(text.span()),
        }))
    }

    pub(super) fn each<T, E: Display>(
        &self,
        key: &str,
        texts: Vec<Spanned<String>>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Read<Vec<Set<T>>> {
        let sets = texts.into_iter().map(|text| self.parsed(key, Some(text), &parse));
        sets.filter_map(Result::transpose).collect()
    }
}

/// Whether a path within a provider means the same wherever somebody stands.
pub(super) fn is_settled(path: &str) -> bool {
    path.starts_with('/')
}

/// Whether an address has a user name, or a password.
pub(super) fn has_user(address: &str) -> bool {
    let host = address.split_once("://").map_or(address, |(_, rest)| rest);
    host.split(['/', '?', '#'])
        .next()
        .is_some_and(|host| host.contains('@'))
}

/// The line that says it.
pub(super) fn line_of(origin: &Origin) -> usize {
    match origin {
        Origin::File { line, .. } => *line,
        _ => 0,
    }
}
