//! The operator's settings file: where it is, and whether it can be trusted.
//!
//! - It is outside of every repository unless somebody names one that is not; nothing looks for it there.
//! - What is judged is the file that was opened, not its name: whoever can write it decides what is run with whose keys.
//! - What it says wrongly is told with its line, and never with its value, which may be a key in the wrong place.

use crate::propose::credential_in;
use crate::types::{Bytes, FailureClass, Problem, nearest_in_message};
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The longest settings file, in bytes.
const MAX_FILE_BYTES: u64 = 256 << 10;

/// The permission bits by which others than the owner could write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The bit by which everybody can write a directory. A group is often the owner's own.
const WRITABLE_BY_ALL: u32 = 0o002;

/// The bit by which only the owner of a file in a directory can replace it. Source: inode(7), `S_ISVTX`.
const STICKY: u32 = 0o1000;

/// Words in the names of keys that somebody makes up for a secret.
const SECRET_WORDS: [&str; 5] = ["key", "token", "secret", "password", "auth"];

/// Who said what a setting is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag.
    Flag(&'static str),
    /// A variable of the environment.
    Variable(String),
    /// A line of the settings file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from one.
        line: usize,
    },
    /// Nobody.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(name) => write!(f, "--{name}"),
            Origin::Variable(name) => write!(f, "${name}"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// A setting and who said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set<T> {
    /// What it is.
    pub value: T,
    /// Who said so.
    pub origin: Origin,
}

impl<T> Set<T> {
    pub(super) fn map<U>(self, to: impl FnOnce(T) -> U) -> Set<U> {
        Set {
            value: to(self.value),
            origin: self.origin,
        }
    }
}

/// Whether the directory of a file lets others put another one there that belongs to the same owner, such as one from a
/// checkout. In a directory with the sticky bit they cannot.
fn others_can_replace(path: &Path) -> bool {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let metadata = std::fs::metadata(parent.unwrap_or(Path::new(".")));
    metadata.is_ok_and(|parent| parent.mode() & (WRITABLE_BY_ALL | STICKY) == WRITABLE_BY_ALL)
}

/// A settings file as it was read.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl Source {
    /// Reads a settings file; nothing when there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, FileError> {
        let unreadable = |source| FileError::Read {
            path: path.to_owned(),
            source,
        };
        // Opening a FIFO for reading would wait for somebody who writes.
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits();
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(nonblocking.cast_signed())
            .open(path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let metadata = file.metadata().map_err(unreadable)?;
        let owners = [0, rustix::process::geteuid().as_raw()];
        let refused = match () {
            () if !metadata.is_file() => Some("it is not a regular file"),
            () if !owners.contains(&metadata.uid()) => Some("it belongs to somebody else"),
            () if metadata.mode() & WRITABLE_BY_OTHERS != 0 => Some("others than its owner can write it"),
            () => None,
        };
        let refused =
            refused.or_else(|| others_can_replace(path).then_some("others can put another file in its place"));
        if let Some(what) = refused {
            let path = path.to_owned();
            return Err(FileError::Untrusted { path, what });
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            let path = path.to_owned();
            return Err(FileError::TooLarge { path });
        }
        let path = path.to_owned();
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(Source { path, text })),
            Err(error) => {
                let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
                Err(FileError::NotText { path, line })
            }
        }
    }

    pub(super) fn line(&self, span: Range<usize>) -> usize {
        // A span of the parser may begin within a character.
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    pub(super) fn origin(&self, span: Range<usize>) -> Origin {
        Origin::File {
            path: self.path.clone(),
            line: self.line(span),
        }
    }

    pub(super) fn invalid(&self, span: Range<usize>, what: impl fmt::Display, remedy: impl Into<String>) -> FileError {
        FileError::Invalid {
            path: self.path.clone(),
            line: self.line(span),
            what: what.to_string(),
            remedy: remedy.into(),
        }
    }

    /// Refuses a key in the wrong place before anything can quote it.
    pub(super) fn refuse_credentials(&self) -> Result<(), FileError> {
        match credential_in(&self.text) {
            None => Ok(()),
            Some(found) => Err(FileError::Credential {
                path: self.path.clone(),
                line: found.line,
                what: found.what,
            }),
        }
    }

    /// The key that is set where a value is wrong.
    fn key_at(&self, span: &Range<usize>) -> String {
        let line = self.text.lines().nth(self.line(span.clone()) - 1).unwrap_or_default();
        let key = line.split('=').next().unwrap_or_default().trim();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        match !key.is_empty() && key.bytes().all(is_plain) {
            true => format!("`{key}`"),
            false => "it".to_owned(),
        }
    }

    /// What a message of the parser comes to, without the value that it quotes.
    pub(super) fn malformed(&self, error: &toml::de::Error) -> FileError {
        let message = error.message();
        let unknown = message
            .strip_prefix("unknown field `")
            .and_then(|rest| rest.split('`').next());
        let wrong = ["invalid type: ", "invalid value: "];
        let wrong = wrong.iter().find_map(|start| message.strip_prefix(start));
        let wrong = wrong.and_then(|rest| Some((rest.split([' ', ',']).next()?, rest.rsplit_once(", expected ")?.1)));
        let span = error.span().unwrap_or(0..0);
        let (what, remedy) = match (unknown, wrong) {
            (Some(key), _) if SECRET_WORDS.iter().any(|word| key.to_lowercase().contains(word)) => (
                "there is no such setting, and a secret has no place in this file".to_owned(),
                "name where it is, with `api_key_file` or `api_key_env`, or for a header with `env` or `file`"
                    .to_owned(),
            ),
            (Some(key), _) => (
                format!("there is no setting `{}`", crate::types::escape_control(key)),
                nearest_in_message(message).unwrap_or_else(|| "remove it".to_owned()),
            ),
            (None, Some((kind, expected))) => (
                format!("this {kind} is no value for {}", self.key_at(&span)),
                format!("write {}", in_words(expected)),
            ),
            (None, None) => (
                format!("it cannot be read: {}", message.lines().next().unwrap_or_default()),
                "see docs/configuration.md for the settings that there are".to_owned(),
            ),
        };
        self.invalid(span, what, remedy)
    }
}

/// What the parser expects, in words for people.
fn in_words(expected: &str) -> &str {
    match expected {
        "u32" | "u64" => "a whole number",
        "a string" => "a text in quotation marks",
        "a sequence" => "a list, as in [\"one\", \"two\"]",
        "a map" => "a table",
        other => other,
    }
}

/// A settings file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It was named and is not there.
    #[error("there is no settings file `{}`, which {named_by} names", path.display())]
    Absent {
        /// The file.
        path: PathBuf,
        /// Who names it.
        named_by: Origin,
    },
    /// It cannot be read.
    #[error("cannot read the settings file `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Somebody else could have written it.
    #[error("the settings file `{}` is refused: {what}", path.display())]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// Why.
        what: &'static str,
    },
    /// It is longer than any settings are.
    #[error("the settings file `{}` is longer than {}", path.display(), Bytes(MAX_FILE_BYTES))]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is no text.
    #[error("the settings file `{}`, line {line}: it is not UTF-8", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The line, from one.
        line: usize,
    },
    /// It has what nobody should keep there. What that is, is not repeated.
    #[error("the settings file `{}`, line {line}: it has what looks like {what}", path.display())]
    Credential {
        /// The file.
        path: PathBuf,
        /// The line, from one.
        line: usize,
        /// What it looks like.
        what: &'static str,
    },
    /// A setting is wrong.
    #[error("the settings file `{}`, line {line}: {what}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from one.
        line: usize,
        /// What is wrong.
        what: String,
        /// What to write.
        remedy: String,
    },
}

impl Problem for FileError {
    fn class(&self) -> FailureClass {
        FailureClass::Policy
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            FileError::Absent { .. } => "name a file that is there, or none to use the usual one".to_owned(),
            FileError::Read { .. } => "make it a file that you may read".to_owned(),
            FileError::Untrusted { path, .. } => {
                let path = path.display();
                format!("make it a regular file of your own that only you can write: chmod 644 {path}")
            }
            FileError::TooLarge { .. } => "see whether it is the right file".to_owned(),
            FileError::NotText { .. } => "save it as plain text".to_owned(),
            FileError::Credential { .. } => {
                "take it out, and name where it is with `api_key_file` or `api_key_env`; others may have read it here"
                    .to_owned()
            }
            FileError::Invalid { remedy, .. } => remedy.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_that_others_can_write_is_refused_and_one_that_they_can_read_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("factory.toml");
        fs::write(&path, "").unwrap();
        for mode in [0o600, 0o644, 0o444] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert!(Source::read(&path).unwrap().is_some(), "{mode:o}");
        }
        for mode in [0o664, 0o646, 0o622] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = Source::read(&path).unwrap_err();
            assert!(matches!(error, FileError::Untrusted { .. }), "{mode:o}: {error}");
            assert!(error.hint().unwrap().contains("chmod"), "{mode:o}");
        }
        assert!(Source::read(&directory.path().join("absent")).unwrap().is_none());
    }

    #[test]
    fn what_is_no_text_of_a_sensible_length_is_refused_without_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, b"a = 1\nb = '\xff'\n").unwrap();
        assert!(matches!(Source::read(&path), Err(FileError::NotText { line: 2, .. })));
        fs::write(&path, "#".repeat(300 << 10)).unwrap();
        assert!(matches!(Source::read(&path), Err(FileError::TooLarge { .. })));
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for path in [fifo.as_path(), directory.path()] {
            assert!(
                matches!(Source::read(path), Err(FileError::Untrusted { .. })),
                "{}",
                path.display()
            );
        }
    }

    #[test]
    fn a_file_where_others_can_put_another_is_not_believed() {
        use std::os::unix::fs::PermissionsExt as _;
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("factory.toml");
        std::fs::write(&file, "").unwrap();
        for (mode, is_trusted) in [
            (0o700, true),
            (0o775, true),
            (0o1777, true),
            (0o777, false),
            (0o703, false),
        ] {
            std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let read = Source::read(&file);
            assert_eq!(read.is_ok(), is_trusted, "{mode:o}: {read:?}");
        }
    }
}
