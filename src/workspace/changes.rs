//! A change set against a commit: what each write becomes, decided once for the tree on disk and the tree in git.

use super::entries::{Found, Kind};
use super::error::WorkspaceError;
use super::names;
use super::snapshot::Snapshot;
use crate::change::ChangeSet;
use crate::types::RepoPath;
use std::collections::BTreeMap;

/// A file to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planned<'a> {
    pub(super) path: &'a RepoPath,
    pub(super) content: &'a [u8],
    /// As in the base; a new file is not executable.
    pub(super) executable: bool,
}

/// What each write becomes, sorted by path.
///
/// Scope and base digests were checked before; what is checked here is what the two kinds of tree rely on.
pub(super) fn plan<'a>(snapshot: &Snapshot<'_>, change_set: &'a ChangeSet) -> Result<Vec<Planned<'a>>, WorkspaceError> {
    let mut planned: BTreeMap<&str, Planned<'a>> = BTreeMap::new();
    for write in &change_set.writes {
        let refuse = |why: &str| WorkspaceError::NotWritable {
            path: write.path.clone(),
            why: why.to_owned(),
        };
        if write.path.as_str().len() > names::PATH_MAX {
            return Err(refuse("the path is longer than 4095 bytes"));
        }
        if let Some(why) = write.path.components().find_map(|name| names::defect(name.as_bytes())) {
            return Err(refuse(why));
        }
        let executable = match snapshot.find(&write.path)? {
            Found::Absent => false,
            Found::Entry(Kind::File { executable }, _) => executable,
            Found::Entry(Kind::Symlink, _) => return Err(refuse("it is a symbolic link")),
            Found::Entry(Kind::Directory, _) => return Err(refuse("it is a directory")),
            Found::Entry(Kind::Submodule, _) => return Err(refuse("it is a submodule")),
            Found::BelowFile => return Err(refuse("a parent is a regular file")),
            Found::BelowSymlink => return Err(refuse("a parent is a symbolic link")),
            Found::BelowSubmodule => return Err(refuse("it is inside a submodule")),
        };
        let this = Planned {
            path: &write.path,
            content: write.content.as_bytes(),
            executable,
        };
        if planned.insert(write.path.as_str(), this).is_some() {
            return Err(refuse("it is written twice"));
        }
    }
    for Planned { path, .. } in planned.values() {
        let parents = path.as_str().match_indices('/').map(|(end, _)| &path.as_str()[..end]);
        if let Some(parent) = parents.into_iter().find(|parent| planned.contains_key(parent)) {
            return Err(WorkspaceError::NotWritable {
                path: (*path).clone(),
                why: format!("its parent `{parent}` is written as a file"),
            });
        }
    }
    Ok(planned.into_values().collect())
}
