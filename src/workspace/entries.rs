//! Entries of trees in the object database, by path, following no link.

use super::error::WorkspaceError;
use super::repository::{Repository, object_id, oid, read};
use crate::types::{Bytes, ObjectId, escape_control};
use git2::{ObjectType, Oid, Tree};

/// The largest blob that is read into memory.
pub(super) const BLOB_MAX: Bytes = Bytes(1 << 30);

/// What kind of thing a tree entry is. Source: gitformat-index(5), "32-bit mode", which trees share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File { executable: bool },
    Symlink,
    Directory,
    Submodule,
}

impl Kind {
    /// Nothing when git knows no such mode.
    pub(super) fn of_mode(mode: i32) -> Option<Kind> {
        match mode & 0o170_000 {
            0o100_000 => Some(Kind::File {
                // Old trees have other permissions, and git looks at this bit alone.
                executable: mode & 0o100 != 0,
            }),
            0o120_000 => Some(Kind::Symlink),
            0o040_000 => Some(Kind::Directory),
            0o160_000 => Some(Kind::Submodule),
            _ => None,
        }
    }
}

/// What is found at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Absent,
    Entry(Kind, ObjectId),
    /// A parent is a regular file or a submodule's directory.
    BelowFile,
    BelowSubmodule,
    BelowSymlink,
}

impl Repository {
    /// Looks a path up, component by component.
    pub(super) fn lookup<'a>(
        &self,
        root: &Tree<'_>,
        components: impl Iterator<Item = &'a str>,
    ) -> Result<Found, WorkspaceError> {
        let top = object_id(root.id());
        let mut found = Found::Entry(Kind::Directory, top);
        for component in components {
            let tree = match found {
                // What is at hand is not read again: libgit2 keeps no tree of more than 4096 bytes in its cache.
                Found::Entry(Kind::Directory, id) if id == top => root.clone(),
                Found::Entry(Kind::Directory, id) => self.tree(id)?,
                Found::Entry(Kind::File { .. }, _) => return Ok(Found::BelowFile),
                Found::Entry(Kind::Symlink, _) => return Ok(Found::BelowSymlink),
                Found::Entry(Kind::Submodule, _) => return Ok(Found::BelowSubmodule),
                // Once absent, all below is.
                Found::Absent | Found::BelowFile | Found::BelowSubmodule | Found::BelowSymlink => return Ok(found),
            };
            found = match tree.get_name_bytes(component.as_bytes()) {
                None => Found::Absent,
                Some(entry) => Found::Entry(
                    kind(object_id(tree.id()), entry.name_bytes(), entry.filemode_raw())?,
                    object_id(entry.id()),
                ),
            };
        }
        Ok(found)
    }

    /// Reads a tree.
    pub(super) fn tree(&self, id: ObjectId) -> Result<Tree<'_>, WorkspaceError> {
        self.git
            .find_tree(oid(id))
            .map_err(|source| read(format!("tree {id}"), source))
    }

    /// Reads a blob of at most `max` bytes.
    pub(super) fn blob(&self, id: ObjectId, max: Bytes) -> Result<Vec<u8>, WorkspaceError> {
        self.with_blob(id, max, <[u8]>::to_vec)
    }

    /// Reads a blob of at most `max` bytes and hands it on without a copy.
    pub(super) fn with_blob<T>(
        &self,
        id: ObjectId,
        max: Bytes,
        use_it: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, WorkspaceError> {
        let odb = self.git.odb().map_err(|source| read("the object database", source))?;
        with_blob(&odb, oid(id), max, use_it)
    }
}

/// Reads a blob of at most `max` bytes and hands it on without a copy.
pub(super) fn with_blob<T>(
    odb: &git2::Odb<'_>,
    id: Oid,
    max: Bytes,
    use_it: impl FnOnce(&[u8]) -> T,
) -> Result<T, WorkspaceError> {
    let fail = |source| read(format!("blob {id}"), source);
    // The header says how large the content is, before anything of that size is allocated.
    let (size, kind) = odb.read_header(id).map_err(fail)?;
    if size as u64 > max.0 {
        return Err(WorkspaceError::TooLarge {
            what: format!("blob {id}"),
            limit: max.to_string(),
        });
    }
    if kind != ObjectType::Blob {
        return Err(fail(git2::Error::from_str("the object is no blob")));
    }
    let object = odb.read(id).map_err(fail)?;
    Ok(use_it(object.data()))
}

/// The kind of an entry, or an error that names it.
pub(super) fn kind(tree: ObjectId, name: &[u8], mode: i32) -> Result<Kind, WorkspaceError> {
    Kind::of_mode(mode).ok_or_else(|| hostile(tree, name, "its mode is none of git's"))
}

/// Names an entry that must not reach a disk.
pub(super) fn hostile(tree: ObjectId, path: &[u8], why: &'static str) -> WorkspaceError {
    let shown: String = String::from_utf8_lossy(path).chars().take(512).collect();
    WorkspaceError::HostileEntry {
        tree,
        entry: escape_control(&shown),
        why,
    }
}
