//! Disposable repositories: the git directory of one commit, as a layer above the plain files of its tree.
//!
//! - It holds copies of objects, in a pack of its own: nothing is linked to or borrowed from the operator's repository.
//! - It has one commit on one branch, made by nobody at a fixed time, so that a tree has one commit id everywhere; no other
//!   ref, no remote, no hook, and settings that say only how the files lie.
//! - The operator's repository is read. What a candidate adds to it is built in memory and reaches the layer alone.

use super::error::WorkspaceError;
use super::export::{CachedTree, TreeCache};
use super::files::{self, Owner, io_error};
use super::repository::{object_id, oid};
use super::snapshot::Snapshot;
use super::store::InMemory;
use crate::change::ChangeSet;
use crate::types::ObjectId;
use git2::{Index, IndexEntry, IndexTime, ObjectType, Signature, Time};
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The one branch.
const BRANCH: &str = "main";
/// When every commit was made, in seconds since the epoch: the year 2000. All formats of archives can hold it, which is not
/// so of the epoch.
const TIME: i64 = 946_684_800;
/// Files are compared by size and time of change alone: in the view of a command they have other inodes and owners than here.
/// Source: git-config(1), `core.checkStat` and `core.trustctime`.
const SETTINGS: &[u8] = b"[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\
    \tlogallrefupdates = true\n\tcheckStat = minimal\n\ttrustctime = false\n";

/// The base tree on disk, to be the lowest layers of what is stacked on it.
/// The trees stay in the cache as long as this or a copy of it is held.
#[derive(Debug, Clone)]
pub struct Base {
    export: CachedTree,
    repository: Option<CachedTree>,
}

impl Base {
    /// Plain files, as [`TreeCache::export`] wrote them.
    pub fn files(export: CachedTree) -> Self {
        Base {
            export,
            repository: None,
        }
    }

    /// The directories, uppermost first.
    pub fn layers(&self) -> Vec<PathBuf> {
        let trees = self.repository.iter().chain([&self.export]);
        trees.map(|tree| tree.to_path_buf()).collect()
    }

    /// Whether there is a disposable repository.
    pub(super) fn has_repository(&self) -> bool {
        self.repository.is_some()
    }
}

impl TreeCache {
    /// The tree of a snapshot in a disposable repository of one commit, written on first use and shared as exports are.
    ///
    /// # Errors
    /// As for [`TreeCache::export`], and `Host` when the repository cannot be made.
    pub fn repository(&self, snapshot: &Snapshot<'_>, owner: Option<u32>) -> Result<Base, WorkspaceError> {
        // First, because it refuses what must not reach a disk.
        let export = self.export(snapshot, owner)?;
        let name = match owner {
            None => format!("{}-git", snapshot.tree()),
            Some(id) => format!("{}-git-uid{id}", snapshot.tree()),
        };
        let repository = self.complete(&name, owner, |top, dir| {
            let source = InMemory::open(snapshot.repository())?;
            let commit = source.commit(snapshot.tree())?;
            let layers = [&*export];
            GitDirectory::create(top, dir, owner)?.fill(&source, snapshot.tree(), commit, Packed::Tree, &layers)
        })?;
        Ok(Base {
            export,
            repository: Some(repository),
        })
    }
}

/// Writes, into the directory of a candidate's changes, what makes its tree the one commit of the disposable repository below.
pub(super) fn add_candidate(
    snapshot: &Snapshot<'_>,
    change_set: &ChangeSet,
    base: &Base,
    (top, dir): (&OwnedFd, &Path),
    owner: Owner,
) -> Result<(), WorkspaceError> {
    let source = InMemory::open(snapshot.repository())?;
    let written = source.0.write_changes(snapshot, change_set)?;
    let commit = source.commit(written.tree)?;
    let layers = [dir, &*base.export];
    GitDirectory::create(top, dir, owner)?.fill(
        &source,
        written.tree,
        commit,
        Packed::Objects(written.objects()),
        &layers,
    )
}

impl InMemory {
    fn commit(&self, tree: ObjectId) -> Result<ObjectId, WorkspaceError> {
        let tree = self.0.tree(tree)?;
        let git = &self.0.git;
        let write = || {
            let author = Signature::new("factory", "factory@localhost", &Time::new(TIME, 0))?;
            let commit = git.commit_create_buffer(&author, &author, "the tree under test\n", &tree, &[])?;
            git.odb()?.write(ObjectType::Commit, &commit)
        };
        write().map(object_id).map_err(|source| failed("a commit", source))
    }
}

/// Which objects a layer brings.
enum Packed<'a> {
    /// All of the tree.
    Tree,
    /// Those that the layer below lacks.
    Objects(&'a BTreeSet<ObjectId>),
}

/// The git directory of a layer.
struct GitDirectory {
    dir: PathBuf,
    top: OwnedFd,
    objects: OwnedFd,
    owner: Owner,
}

impl GitDirectory {
    fn create(layer: &OwnedFd, dir: &Path, owner: Owner) -> Result<Self, WorkspaceError> {
        let dir = dir.join(".git");
        let fail = |errno| io_error("create", &dir, errno);
        let top = files::create_dir(layer, b".git", owner).map_err(fail)?;
        let objects = files::create_dir(&top, b"objects", owner).map_err(fail)?;
        Ok(GitDirectory {
            top,
            objects,
            owner,
            dir,
        })
    }

    fn fill(
        &self,
        source: &InMemory,
        tree: ObjectId,
        commit: ObjectId,
        packed: Packed<'_>,
        layers: &[&Path],
    ) -> Result<(), WorkspaceError> {
        self.pack(source, tree, commit, packed)?;
        self.index(source, tree, layers)?;
        self.refs(commit).map_err(|source| io_error("write", &self.dir, source))
    }

    fn pack(
        &self,
        source: &InMemory,
        tree: ObjectId,
        commit: ObjectId,
        packed: Packed<'_>,
    ) -> Result<(), WorkspaceError> {
        let dir = self.dir.join("objects/pack");
        let pack =
            files::create_dir(&self.objects, b"pack", self.owner).map_err(|errno| io_error("create", &dir, errno))?;
        let write = || {
            let mut builder = source.0.git.packbuilder()?;
            // As many threads as there are processors; by default it is one.
            builder.set_threads(0);
            match packed {
                Packed::Tree => builder.insert_tree(oid(tree))?,
                Packed::Objects(objects) => objects
                    .iter()
                    .try_for_each(|object| builder.insert_object(oid(*object), None))?,
            }
            builder.insert_object(oid(commit), None)?;
            builder.write(&dir, 0o644)
        };
        write().map_err(|source| failed("the objects", source))?;
        let fail = |source| io_error("list", &dir, source);
        for entry in std::fs::read_dir(&dir).map_err(fail)? {
            self.settle(&pack, &dir, entry.map_err(fail)?.file_name().as_bytes())?;
        }
        Ok(())
    }

    /// The index of the tree, with sizes and times as the files have them, so that git need not read each to see that it is
    /// unchanged.
    fn index(&self, source: &InMemory, tree: ObjectId, layers: &[&Path]) -> Result<(), WorkspaceError> {
        let tree = source.0.tree(tree)?;
        let write = || {
            let mut index = Index::open(&self.dir.join("index"))?;
            index.read_tree(&tree)?;
            let entries: Vec<_> = index.iter().collect();
            for mut entry in entries {
                note(&mut entry, layers);
                index.add(&entry)?;
            }
            index.write()
        };
        write().map_err(|source| failed("the index", source))?;
        self.settle(&self.top, &self.dir, b"index")
    }

    fn refs(&self, commit: ObjectId) -> std::io::Result<()> {
        let file = |dir: &OwnedFd, name: &str, content: &[u8]| {
            files::create_file(dir, name.as_bytes(), content, false, self.owner)
        };
        file(&self.top, "config", SETTINGS)?;
        file(&self.top, "HEAD", format!("ref: refs/heads/{BRANCH}\n").as_bytes())?;
        let refs = files::create_dir(&self.top, b"refs", self.owner)?;
        files::create_dir(&refs, b"tags", self.owner)?;
        let heads = files::create_dir(&refs, b"heads", self.owner)?;
        file(&heads, BRANCH, format!("{commit}\n").as_bytes())
    }

    /// Hands over a file that libgit2 has written.
    fn settle(&self, parent: &OwnedFd, dir: &Path, name: &[u8]) -> Result<(), WorkspaceError> {
        files::open_file(parent, name)
            .and_then(|file| files::settle(&file, 0o644, self.owner))
            .map_err(|errno| io_error("hand over a file in", dir, errno))
    }
}

/// Notes the size and time of a file, taken from the uppermost layer that has it. Without them git reads the file.
fn note(entry: &mut IndexEntry, layers: &[&Path]) {
    let path = Path::new(std::ffi::OsStr::from_bytes(&entry.path));
    let found = layers.iter().find_map(|layer| layer.join(path).symlink_metadata().ok());
    if let Some(metadata) = found.filter(|metadata| !metadata.is_dir()) {
        // The format has 32 bits of each. Source: gitformat-index(5).
        entry.file_size = u32::try_from(metadata.size() & 0xffff_ffff).unwrap_or_default();
        let seconds = i32::try_from(metadata.mtime()).unwrap_or_default();
        let nanoseconds = u32::try_from(metadata.mtime_nsec()).unwrap_or_default();
        entry.mtime = IndexTime::new(seconds, nanoseconds);
    }
}

fn failed(what: &'static str, source: git2::Error) -> WorkspaceError {
    WorkspaceError::Disposable { what, source }
}
