//! The change set: edits to repository paths, the one payload that travels from model to branch.
//!
//! - Every edit names the bytes it replaces.
//! - Contents are final bytes, never a patch.
//! - A change set knows nothing of orders; whether an edit is in scope is decided in `propose`.

use crate::types::{RepoPath, Sha256};

/// One file written whole.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Write {
    /// The file that is created or replaced.
    pub path: RepoPath,
    /// The SHA-256, as the model wrote it, of the bytes that are replaced; that of no bytes for a new file. It is
    /// compared as text: a shortened or upper-case digest is stale, not malformed.
    pub base_sha256: String,
    /// The final content.
    pub content: String,
}

/// What a model proposes: a summary for people and the files to write.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ChangeSet {
    /// The model's own words; shown, never believed.
    pub summary: String,
    /// The files, in the order proposed. That each path is written once is checked in `propose`, with the scope.
    pub writes: Vec<Write>,
}

impl ChangeSet {
    /// The digest of the write's content.
    pub fn digests(&self) -> impl Iterator<Item = (&RepoPath, Sha256)> {
        self.writes
            .iter()
            .map(|write| (&write.path, Sha256::of(write.content.as_bytes())))
    }
}

/// What the base commit has at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseEntry {
    /// Nothing, and nothing stands in the way of creating it.
    Absent,
    /// A regular file.
    File {
        /// Its bytes.
        content: Vec<u8>,
        /// Whether it is executable.
        executable: bool,
    },
    /// A symbolic link.
    Symlink,
    /// A directory.
    Directory,
    /// A submodule.
    Submodule,
    /// Nothing can be there: a parent of the path is a regular file.
    BelowFile,
    /// A parent of the path is a symbolic link.
    BelowSymlink,
}

impl BaseEntry {
    /// The digest that a change to this path has to name: of the file's bytes, or of nothing when there is no file.
    pub fn base_sha256(&self) -> Sha256 {
        match self {
            BaseEntry::File { content, .. } => Sha256::of(content),
            _ => Sha256::EMPTY,
        }
    }
}
