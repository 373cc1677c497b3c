//! The change set: edits to repository paths, the one payload that travels from model to branch.
//!
//! - Every edit names the bytes it replaces.
//! - Contents are final bytes, never a patch.
//! - Each path is named once, and nothing is moved onto a file that is there.
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
    /// Whether the file is to be executable; when nothing is said, it stays as it is, and a new file is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<bool>,
}

/// One file that goes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Delete {
    /// The file.
    pub path: RepoPath,
    /// The SHA-256 of the bytes that go.
    pub base_sha256: Sha256,
}

/// One file that gets another name. Its bytes are those of the base.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rename {
    /// Where it is on the base.
    pub from: RepoPath,
    /// Where it will be; nothing is there on the base.
    pub to: RepoPath,
    /// The SHA-256 of its bytes.
    pub base_sha256: Sha256,
    /// Whether it is to be executable; when nothing is said, it is what it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<bool>,
}

/// What is to become of a base: a summary for people, the files to write, and those that go or get another name.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ChangeSet {
    /// The model's own words; shown, never believed.
    pub summary: String,
    /// The files, in the order proposed. That each path is named once is checked in `propose`, with the scope.
    pub writes: Vec<Write>,
    /// The files that go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deletes: Vec<Delete>,
    /// The files that get another name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub renames: Vec<Rename>,
}

/// What a change set makes of a path that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// A regular file with bytes of this digest is there afterwards.
    File(Sha256),
    /// Nothing is there afterwards.
    Gone,
}

impl ChangeSet {
    /// Every path that is named, with the digest of the bytes that are there afterwards; nothing for a file that is gone.
    pub fn digests(&self) -> impl Iterator<Item = (&RepoPath, Option<Sha256>)> {
        let written = self
            .writes
            .iter()
            .map(|write| (&write.path, Some(Sha256::of(write.content.as_bytes()))));
        let gone = self.deletes.iter().map(|delete| (&delete.path, None));
        let renamed = self
            .renames
            .iter()
            .flat_map(|rename| [(&rename.from, None), (&rename.to, Some(rename.base_sha256))]);
        written.chain(gone).chain(renamed)
    }

    /// What digests do not tell: where the mode of a file comes from, when it is not the one that the path has on the base.
    pub fn modes(&self) -> Vec<(&RepoPath, String)> {
        let name = |executable| if executable { "executable" } else { "plain" }.to_owned();
        let set = self
            .writes
            .iter()
            .filter_map(|write| Some((&write.path, name(write.executable?))));
        let kept = self.renames.iter().map(|rename| {
            let mode = rename.executable.map_or_else(|| format!("as {}", rename.from), name);
            (&rename.to, mode)
        });
        set.chain(kept).collect()
    }

    /// What becomes of `path`; nothing when it is not named, and so stays as it is.
    pub fn effect(&self, path: &RepoPath) -> Option<Effect> {
        let found = self.digests().find(|(named, _)| *named == path)?;
        Some(found.1.map_or(Effect::Gone, Effect::File))
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
