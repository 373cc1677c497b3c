//! A candidate: the base with a change set on top, as directories to be stacked.

use super::changes::{self, Becomes, Content, Planned};
use super::entries::BLOB_MAX;
use super::error::WorkspaceError;
use super::files::{self, Owner, io_error, open_top, remove_tree};
use super::snapshot::Snapshot;
use super::synthetic::{self, Base};
use crate::change::ChangeSet;
use crate::durable::crash_point;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The base tree and, above it, a directory that holds nothing but the files of a change set, and a whiteout for each file
/// or directory that goes.
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
    /// A file keeps its executable bit, also under another name, unless the change set says otherwise; a new one is not
    /// executable. A directory in which nothing is left goes with its last file, as in git. Everything belongs to user and group `owner`, or to
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
        changes.fill(snapshot, &planned, owner)?;
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

    fn fill(&self, snapshot: &Snapshot<'_>, planned: &[Planned<'_>], owner: Owner) -> Result<(), WorkspaceError> {
        let top = open_top(&self.dir)?;
        let mut dirs = BTreeSet::new();
        for Planned { path, becomes } in planned {
            let Becomes::File { content, executable } = *becomes else {
                continue;
            };
            let mut write = |bytes: &[u8]| {
                let (dir, name) = enter(&top, path.as_str(), &mut dirs, owner)?;
                files::create_file(&dir, name, bytes, executable, owner)
            };
            let written = match content {
                Content::Bytes(bytes) => write(bytes),
                Content::Blob(id) => snapshot.repository().with_blob(id, BLOB_MAX, |bytes| write(bytes))?,
            };
            written.map_err(|source| io_error("write", self.dir.join(path.as_str()), source))?;
        }
        for path in changes::vanishing(snapshot, planned)? {
            let mut hide = || {
                let (dir, name) = enter(&top, &path, &mut dirs, owner)?;
                files::create_whiteout(&dir, name)
            };
            hide().map_err(|source| io_error("make a whiteout at", self.dir.join(&path), source))?;
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

/// Opens the directory in which `path` is, and makes it where it is not there yet; `dirs` are those that are. Gives the last
/// name of the path as well.
fn enter<'p>(
    top: &OwnedFd,
    path: &'p str,
    dirs: &mut BTreeSet<String>,
    owner: Owner,
) -> std::io::Result<(OwnedFd, &'p [u8])> {
    let mut dir = top.try_clone()?;
    let mut start = 0;
    for (end, _) in path.match_indices('/') {
        let name = path.as_bytes().get(start..end).unwrap_or_default();
        dir = if dirs.insert(path[..end].to_owned()) {
            files::create_dir(&dir, name, owner)?
        } else {
            files::open_dir(&dir, name)?
        };
        start = end + 1;
    }
    Ok((dir, &path.as_bytes()[start..]))
}
