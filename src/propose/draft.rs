//! What a model proposes, as it wrote it: operations, before they are held against the order and the base.

use crate::order::Version;
use crate::types::RepoPath;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

/// Changes as they were proposed. What they come to is known once they are checked: [`super::check`].
///
/// It serialises to the form of the answer that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The model's own words; shown, never believed.
    pub summary: String,
    /// How the answer was written.
    pub form: Form,
    /// The operations, in the order proposed.
    pub operations: Vec<Operation>,
}

/// The forms of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Form {
    /// Version 1: a list of full writes.
    Writes,
    /// Version 2: a list of operations.
    Operations,
}

impl From<Version> for Form {
    /// The form that is asked for when an order of this version is to be fulfilled.
    fn from(version: Version) -> Self {
        match version {
            Version::V1 => Form::Writes,
            Version::V2 => Form::Operations,
        }
    }
}

impl Form {
    /// The name of the list in the answer.
    pub const fn list(self) -> &'static str {
        match self {
            Form::Writes => "writes",
            Form::Operations => "operations",
        }
    }
}

/// One operation. The digests are kept as the model wrote them, and compared as text: one that is shortened or in upper case
/// is stale, not malformed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Operation {
    /// A file is written whole.
    Write {
        /// The file.
        path: RepoPath,
        /// The digest of the bytes that are replaced; that of no bytes for a new file.
        base_sha256: String,
        /// The final content.
        content: String,
        /// Whether the file will be executable, as far as the model said so.
        #[serde(skip_serializing_if = "Option::is_none")]
        executable: Option<bool>,
    },
    /// Texts in a file are replaced.
    Replace {
        /// The file.
        path: RepoPath,
        /// The digest of the bytes that are edited.
        base_sha256: String,
        /// What is replaced by what, each found in the file as it is on the base.
        edits: Vec<Edit>,
    },
    /// A file goes.
    Delete {
        /// The file.
        path: RepoPath,
        /// The digest of the bytes that go.
        base_sha256: String,
    },
    /// A file gets another name, and keeps its bytes.
    Rename {
        /// Where it is.
        from: RepoPath,
        /// Where it will be.
        to: RepoPath,
        /// The digest of its bytes.
        base_sha256: String,
    },
}

/// One text in place of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Edit {
    /// What has to be found, exactly once.
    pub find: String,
    /// What is put in its place.
    pub replace: String,
}

impl Operation {
    /// The paths that it touches.
    pub fn paths(&self) -> impl Iterator<Item = &RepoPath> {
        let (first, second) = match self {
            Operation::Write { path, .. } | Operation::Replace { path, .. } | Operation::Delete { path, .. } => {
                (path, None)
            }
            Operation::Rename { from, to, .. } => (from, Some(to)),
        };
        std::iter::once(first).chain(second)
    }

    /// The path at which it leaves a file.
    pub fn made(&self) -> Option<&RepoPath> {
        match self {
            Operation::Write { path, .. } | Operation::Replace { path, .. } => Some(path),
            Operation::Rename { to, .. } => Some(to),
            Operation::Delete { .. } => None,
        }
    }

    /// The path at which it leaves nothing.
    pub fn gone(&self) -> Option<&RepoPath> {
        match self {
            Operation::Delete { path, .. } => Some(path),
            Operation::Rename { from, .. } => Some(from),
            Operation::Write { .. } | Operation::Replace { .. } => None,
        }
    }

    /// The digest of the bytes that it starts from, and the path at which they have to be.
    pub fn base(&self) -> (&RepoPath, &str) {
        match self {
            Operation::Write { path, base_sha256, .. }
            | Operation::Replace { path, base_sha256, .. }
            | Operation::Delete { path, base_sha256 } => (path, base_sha256),
            Operation::Rename { from, base_sha256, .. } => (from, base_sha256),
        }
    }

    /// Whether it needs a file on the base.
    pub const fn needs_file(&self) -> bool {
        match self {
            Operation::Write { .. } => false,
            Operation::Replace { .. } | Operation::Delete { .. } | Operation::Rename { .. } => true,
        }
    }
}

impl Serialize for Draft {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if self.form == Form::Operations {
            map.serialize_entry("schema_version", &2)?;
            map.serialize_entry("result", "changes")?;
        }
        map.serialize_entry("summary", &self.summary)?;
        match self.form {
            Form::Writes => {
                let writes: Vec<_> = self.operations.iter().filter_map(FullWrite::of).collect();
                map.serialize_entry("writes", &writes)?;
            }
            Form::Operations => map.serialize_entry("operations", &self.operations)?,
        }
        map.end()
    }
}

/// A write as version 1 has it.
#[derive(Serialize)]
struct FullWrite<'a> {
    path: &'a RepoPath,
    base_sha256: &'a str,
    content: &'a str,
}

impl<'a> FullWrite<'a> {
    fn of(operation: &'a Operation) -> Option<Self> {
        match operation {
            Operation::Write {
                path,
                base_sha256,
                content,
                ..
            } => Some(FullWrite {
                path,
                base_sha256,
                content,
            }),
            // Version 1 has no other operation.
            Operation::Replace { .. } | Operation::Delete { .. } | Operation::Rename { .. } => None,
        }
    }
}
