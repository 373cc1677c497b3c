//! A candidate: the base with a change set on top, as directories to be stacked.

use super::changes::{self, Planned};
use super::error::WorkspaceError;
use super::files::{self, Owner, io_error, open_top, remove_tree};
use super::snapshot::Snapshot;
use super::synthetic::{self, Base};
use crate::change::ChangeSet;
use crate::durable::crash_point;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The base tree and, above it, a directory that holds nothing but the files of a change set.
///
/// Stacked by an overlay the two are the tree to be verified; what it costs is what was changed. The directory of the
/// changes is removed when the candidate is dropped.
#[derive(Debug)]
#[must_use = "the directory of the changes is gone when this is dropped"]
pub struct Candidate {
    base: Base,
    changes: Layer,
}

impl Candidate {
    /// Writes the files of a change set into a fresh directory in `scratch`, which must exist.
    ///
    /// A file keeps its executable bit; a new one is not executable. Everything belongs to user and group `owner`, or to
    /// whoever runs. On a base with a disposable repository, the candidate's tree becomes the one commit.
    ///
    /// # Errors
    /// `Proposal` when no regular file can be at a path, as when a parent is a symbolic link; `Host` when a file cannot be
    /// written. Nothing is left behind.
    pub fn new(
        base: &Base,
        snapshot: &Snapshot<'_>,
        change_set: &ChangeSet,
        scratch: &Path,
        owner: Option<u32>,
    ) -> Result<Self, WorkspaceError> {
        let planned = changes::plan(snapshot, change_set)?;
        let changes = Layer::create(scratch)?;
        crash_point("the directory of the changes is there, and empty");
        changes.fill(&planned, owner)?;
        crash_point("the files of the changes are written");
        if base.has_repository() {
            let top = open_top(&changes.dir)?;
            synthetic::add_candidate(snapshot, change_set, base, (&top, &changes.dir), owner)?;
        }
        Ok(Candidate {
            base: base.clone(),
            changes,
        })
    }

    /// The directories, uppermost first: the changes, then the base.
    pub fn layers(&self) -> Vec<PathBuf> {
        let mut layers = vec![self.changes.dir.clone()];
        layers.extend(self.base.layers());
        layers
    }
}

/// A directory of ours, removed on drop.
#[derive(Debug)]
struct Layer {
    dir: PathBuf,
}

impl Layer {
    fn create(scratch: &Path) -> Result<Self, WorkspaceError> {
        let dir = tempfile::Builder::new()
            .prefix("changes-")
            .tempdir_in(scratch)
            .map_err(|source| io_error("create a directory in", scratch, source))?;
        // From here on our own removal applies, which copes with more than that of tempfile.
        Ok(Layer { dir: dir.keep() })
    }

    fn fill(&self, planned: &[Planned<'_>], owner: Owner) -> Result<(), WorkspaceError> {
        let top = open_top(&self.dir)?;
        let mut dirs = BTreeSet::new();
        for file in planned {
            write(&top, file, &mut dirs, owner)
                .map_err(|source| io_error("write", self.dir.join(file.path.as_str()), source))?;
        }
        files::settle(&top, 0o755, owner).map_err(|errno| io_error("set the mode of", &self.dir, errno))
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.dir) {
            tracing::warn!(%error, "a directory of changes is left behind");
        }
    }
}

/// Writes one file and the directories it needs; `dirs` are those that exist already.
fn write<'a>(top: &OwnedFd, file: &Planned<'a>, dirs: &mut BTreeSet<&'a str>, owner: Owner) -> std::io::Result<()> {
    let path = file.path.as_str();
    let mut dir = top.try_clone()?;
    let mut start = 0;
    for (end, _) in path.match_indices('/') {
        let name = path.as_bytes().get(start..end).unwrap_or_default();
        dir = if dirs.insert(&path[..end]) {
            files::create_dir(&dir, name, owner)?
        } else {
            files::open_dir(&dir, name)?
        };
        start = end + 1;
    }
    files::create_file(&dir, &path.as_bytes()[start..], file.content, file.executable, owner)
}
