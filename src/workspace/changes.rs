//! A change set against a commit: what becomes of each path, decided once for the tree on disk and the tree in git.

use super::entries::{Found, Kind};
use super::error::WorkspaceError;
use super::names;
use super::snapshot::Snapshot;
use crate::change::ChangeSet;
use crate::types::{ObjectId, RepoPath};
use std::collections::{BTreeMap, BTreeSet};

/// What becomes of a path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planned<'a> {
    pub(super) path: &'a RepoPath,
    pub(super) becomes: Becomes<'a>,
}

/// What is at a path afterwards.
#[derive(Debug, Clone, Copy)]
pub(super) enum Becomes<'a> {
    /// A file with this content.
    File { content: Content<'a>, executable: bool },
    /// Nothing.
    Gone,
}

/// The bytes of a file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content<'a> {
    /// New ones.
    Bytes(&'a [u8]),
    /// Those of a file of the base.
    Blob(ObjectId),
}

/// What becomes of each path, sorted by path.
///
/// Scope and base digests were checked before; what is checked here is what the two kinds of tree rely on.
pub(super) fn plan<'a>(snapshot: &Snapshot<'_>, change_set: &'a ChangeSet) -> Result<Vec<Planned<'a>>, WorkspaceError> {
    let mut planned = Plan::default();
    for write in &change_set.writes {
        let old = match present(snapshot, &write.path)? {
            Some((executable, _)) => executable,
            None => false,
        };
        let executable = write.executable.unwrap_or(old);
        let content = Content::Bytes(write.content.as_bytes());
        planned.add(&write.path, Becomes::File { content, executable })?;
    }
    for delete in &change_set.deletes {
        old_file(snapshot, &delete.path)?;
        planned.add(&delete.path, Becomes::Gone)?;
    }
    for rename in &change_set.renames {
        let (old, blob) = old_file(snapshot, &rename.from)?;
        let executable = rename.executable.unwrap_or(old);
        if present(snapshot, &rename.to)?.is_some() {
            return Err(refuse(&rename.to, "a file is there already"));
        }
        planned.add(&rename.from, Becomes::Gone)?;
        let content = Content::Blob(blob);
        planned.add(&rename.to, Becomes::File { content, executable })?;
    }
    planned.finish()
}

/// The paths that are nowhere any more, uppermost only: files that go, and directories that nothing is left in, which git
/// does not keep.
pub(super) fn vanishing(snapshot: &Snapshot<'_>, planned: &[Planned<'_>]) -> Result<BTreeSet<String>, WorkspaceError> {
    let mut gone = BTreeSet::new();
    let (mut emptier, mut kept) = (BTreeSet::new(), BTreeSet::new());
    for Planned { path, becomes } in planned {
        let parents = path.as_str().match_indices('/').map(|(end, _)| &path.as_str()[..end]);
        match becomes {
            Becomes::Gone => {
                gone.insert(path.as_str().to_owned());
                emptier.extend(parents);
            }
            Becomes::File { .. } => kept.extend(parents),
        }
    }
    // Deepest first, because a directory that goes is missing in its parent.
    let mut directories: Vec<&str> = emptier.difference(&kept).copied().collect();
    directories.sort_by_key(|directory| std::cmp::Reverse(directory.matches('/').count()));
    for directory in directories {
        let repository = snapshot.repository();
        let Found::Entry(Kind::Directory, id) = repository.lookup(snapshot.root(), directory.split('/'))? else {
            continue;
        };
        let is_gone = |entry: git2::TreeEntry<'_>| {
            let name = std::str::from_utf8(entry.name_bytes());
            name.is_ok_and(|name| gone.contains(&format!("{directory}/{name}")))
        };
        if repository.tree(id)?.iter().all(is_gone) {
            gone.insert(directory.to_owned());
        }
    }
    let is_uppermost = |path: &String| !path.match_indices('/').any(|(end, _)| gone.contains(&path[..end]));
    Ok(gone.iter().filter(|path| is_uppermost(path)).cloned().collect())
}

#[derive(Default)]
struct Plan<'a>(BTreeMap<&'a str, Planned<'a>>);

impl<'a> Plan<'a> {
    fn add(&mut self, path: &'a RepoPath, becomes: Becomes<'a>) -> Result<(), WorkspaceError> {
        match self.0.insert(path.as_str(), Planned { path, becomes }) {
            None => Ok(()),
            Some(_) => Err(refuse(path, "it is changed twice")),
        }
    }

    fn finish(self) -> Result<Vec<Planned<'a>>, WorkspaceError> {
        for Planned { path, becomes } in self.0.values() {
            if matches!(becomes, Becomes::Gone) {
                continue;
            }
            let mut parents = path.as_str().match_indices('/').map(|(end, _)| &path.as_str()[..end]);
            if let Some(parent) = parents.find(|parent| self.0.contains_key(parent)) {
                return Err(refuse(
                    path,
                    &format!("its parent `{parent}` is a file before or afterwards"),
                ));
            }
        }
        Ok(self.0.into_values().collect())
    }
}

fn refuse(path: &RepoPath, why: &str) -> WorkspaceError {
    WorkspaceError::NotWritable {
        path: path.clone(),
        why: why.to_owned(),
    }
}

/// The file that has to be at a path: whether it is executable, and its blob.
fn old_file(snapshot: &Snapshot<'_>, path: &RepoPath) -> Result<(bool, ObjectId), WorkspaceError> {
    present(snapshot, path)?.ok_or_else(|| refuse(path, "there is no such file"))
}

/// The file at a path; nothing when nothing is there, and an error when a file cannot be.
fn present(snapshot: &Snapshot<'_>, path: &RepoPath) -> Result<Option<(bool, ObjectId)>, WorkspaceError> {
    if path.as_str().len() > names::PATH_MAX {
        return Err(refuse(path, "the path is longer than 4095 bytes"));
    }
    if let Some(why) = path.components().find_map(|name| names::defect(name.as_bytes())) {
        return Err(refuse(path, why));
    }
    match snapshot.find(path)? {
        Found::Absent => Ok(None),
        Found::Entry(Kind::File { executable }, blob) => Ok(Some((executable, blob))),
        Found::Entry(Kind::Symlink, _) => Err(refuse(path, "it is a symbolic link")),
        Found::Entry(Kind::Directory, _) => Err(refuse(path, "it is a directory")),
        Found::Entry(Kind::Submodule, _) => Err(refuse(path, "it is a submodule")),
        Found::BelowFile => Err(refuse(path, "a parent is a regular file")),
        Found::BelowSymlink => Err(refuse(path, "a parent is a symbolic link")),
        Found::BelowSubmodule => Err(refuse(path, "it is inside a submodule")),
    }
}
