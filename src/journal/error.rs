//! What can be wrong with a journal, and whose turn it is then.

use crate::durable::DurableError;
use crate::types::{FailureClass, Problem, Sha256};
use rusqlite::ErrorCode;
use std::io;
use std::path::{Path, PathBuf};

/// A journal that cannot be opened, read, believed or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A directory or file of the journal cannot be created.
    #[error("cannot keep the journal in `{}`", path.display())]
    Storage {
        /// The directory or file.
        path: PathBuf,
        /// What the file system refused.
        source: DurableError,
    },
    /// A file of the journal cannot be looked at.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// SQLite refused.
    #[error("cannot {action} the journal `{}`", path.display())]
    Sql {
        /// What was tried.
        action: &'static str,
        /// The database.
        path: PathBuf,
        /// What SQLite answered.
        source: rusqlite::Error,
    },
    /// The file is something else.
    #[error("`{}` is not a journal of this program", path.display())]
    NotAJournal {
        /// The file.
        path: PathBuf,
        /// What SQLite answered, when it could not read the file at all.
        source: Option<rusqlite::Error>,
    },
    /// A newer version of this program wrote it.
    #[error("the journal `{}` has format {found}, and this program knows formats up to {known}", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i32,
        /// Ours.
        known: i32,
    },
    /// It has our mark, but not our tables.
    #[error("the journal `{}` lacks tables of its format", path.display())]
    Tables {
        /// The database.
        path: PathBuf,
        /// What SQLite missed.
        source: rusqlite::Error,
    },
    /// SQLite finds its own pages inconsistent.
    #[error("the journal `{}` is damaged: {problem}", path.display())]
    Pages {
        /// The database.
        path: PathBuf,
        /// What SQLite found.
        problem: String,
    },
    /// An entry does not continue the chain.
    #[error("the journal `{}` is damaged at entry {seq}: {what}", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// The first entry that cannot be believed.
        seq: u64,
        /// Why not.
        what: &'static str,
    },
    /// A payload that an entry names is not there.
    #[error("the journal's blob {digest} is missing")]
    BlobMissing {
        /// Where it should be.
        path: PathBuf,
        /// Its name.
        digest: Sha256,
    },
    /// A payload is not what its name says.
    #[error("the journal's blob {digest} is damaged: its bytes have another digest")]
    BlobDamaged {
        /// The file.
        path: PathBuf,
        /// The digest that it should have.
        digest: Sha256,
    },
    /// A kind of entry that is not `noun.verb`.
    #[error("`{kind}` is no kind of journal entry: two lower-case words joined by a dot are wanted")]
    Kind {
        /// The name that was given.
        kind: &'static str,
    },
    /// A body that could not be read back.
    #[error("the body of the journal entry `{kind}` cannot be read back")]
    Body {
        /// The kind of entry.
        kind: &'static str,
        /// What the reader would say.
        source: serde_json::Error,
    },
    /// More than an entry or a blob may hold.
    #[error("a journal payload ({what}) of {bytes} bytes is above the limit of {max}")]
    TooLarge {
        /// The kind of entry, or `blob`.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The journal was opened for reading.
    #[error("the journal `{}` was opened for reading and cannot be written", path.display())]
    ReadOnly {
        /// The database.
        path: PathBuf,
    },
}

impl JournalError {
    /// Says what was tried when SQLite refused.
    pub(super) fn sql(action: &'static str, path: &Path) -> impl Fn(rusqlite::Error) -> JournalError {
        let path = path.to_owned();
        move |source| JournalError::Sql {
            action,
            path: path.clone(),
            source,
        }
    }

    pub(super) fn damaged(path: &Path, seq: u64, what: &'static str) -> Self {
        JournalError::Damaged {
            path: path.to_owned(),
            seq,
            what,
        }
    }
}

impl Problem for JournalError {
    fn class(&self) -> FailureClass {
        match self {
            JournalError::Kind { .. }
            | JournalError::Body { .. }
            | JournalError::TooLarge { .. }
            | JournalError::ReadOnly { .. } => FailureClass::Internal,
            _ => FailureClass::Host,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            JournalError::Storage { source, .. } => source.hint(),
            JournalError::Unreadable { .. } => Some("check who owns the state directory and its mode".to_owned()),
            JournalError::Sql { source, path, .. } => match source.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => Some(format!(
                    "free some space on the file system that holds `{}`",
                    path.display()
                )),
                Some(ErrorCode::SystemIoFailure) => Some(format!(
                    "see whether the file system that holds `{}` is full or its device fails (dmesg)",
                    path.display()
                )),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                    Some("another process has been writing the journal for too long; find and end it".to_owned())
                }
                Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Some(
                    "check who owns the state directory and its mode, and that its file system is writable".to_owned(),
                ),
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Some(set_aside(path)),
                _ => None,
            },
            JournalError::NotAJournal { .. } => Some("name another state directory".to_owned()),
            JournalError::Newer { .. } => {
                Some("use the newer version of this program, or name another state directory".to_owned())
            }
            JournalError::Tables { path, .. }
            | JournalError::Pages { path, .. }
            | JournalError::Damaged { path, .. } => Some(set_aside(path)),
            JournalError::BlobMissing { path, .. } | JournalError::BlobDamaged { path, .. } => {
                Some(format!("restore `{}` from a backup", path.display()))
            }
            JournalError::Kind { .. }
            | JournalError::Body { .. }
            | JournalError::TooLarge { .. }
            | JournalError::ReadOnly { .. } => None,
        }
    }
}

fn set_aside(path: &Path) -> String {
    let directory = path.parent().unwrap_or(path).display();
    format!("restore `{directory}` from a backup, or move it aside to start without history")
}
