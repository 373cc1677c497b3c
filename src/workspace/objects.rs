//! Writing to the object database, and the one ref that moves. Only `promote` has a use for it.

use super::changes::{self, Becomes, Content};
use super::entries::{Found, Kind};
use super::error::WorkspaceError;
use super::repository::{Repository, branch_text, object_id, oid, read};
use super::snapshot::Snapshot;
use crate::change::ChangeSet;
use crate::durable::crash_point;
use crate::types::ObjectId;
use git2::{ErrorCode, ObjectType, Oid, ReferenceType, Signature};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long to wait for another writer of the same ref, which holds its lock for moments. After a crash the lock stays.
const REF_LOCK_PATIENCE: Duration = Duration::from_secs(1);
const REF_LOCK_POLL: Duration = Duration::from_millis(10);

/// Objects that were written, into whatever the handle writes to.
#[derive(Debug)]
#[must_use = "what is only in memory goes with it"]
pub(crate) struct Written {
    /// The tree with the changes.
    pub(crate) tree: ObjectId,
    objects: BTreeSet<ObjectId>,
}

impl Written {
    pub(super) fn objects(&self) -> &BTreeSet<ObjectId> {
        &self.objects
    }
}

/// How an attempt to move a branch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BranchSwap {
    /// The branch has the new value, and it is on disk.
    Done,
    /// The branch did not have the expected value, and was left alone.
    Moved,
    /// Somebody holds the lock of the ref.
    Locked(PathBuf),
}

impl Repository {
    /// Writes the blobs and trees of a change set on top of a snapshot.
    ///
    /// Only the change set's bytes enter: no index, no filter, no file on disk. Entries that are not changed keep their
    /// names byte for byte.
    pub(crate) fn write_changes(
        &self,
        snapshot: &Snapshot<'_>,
        change_set: &ChangeSet,
    ) -> Result<Written, WorkspaceError> {
        let mut objects = BTreeSet::new();
        // The entries of each directory that change; a directory is known by its components, none for the top.
        let mut dirs: BTreeMap<Vec<&str>, Vec<NewEntry<'_>>> = BTreeMap::from([(Vec::new(), Vec::new())]);
        for file in changes::plan(snapshot, change_set)? {
            let becomes = match file.becomes {
                Becomes::File { content, executable } => {
                    let blob = match content {
                        Content::Bytes(bytes) => self.write_object(ObjectType::Blob, bytes)?,
                        // It is in the base, and what a repository has is not written again.
                        Content::Blob(id) => oid(id),
                    };
                    if let Content::Bytes(_) = content {
                        objects.insert(object_id(blob));
                    }
                    Some((blob, if executable { MODE_EXECUTABLE } else { MODE_FILE }))
                }
                Becomes::Gone => None,
            };
            let mut dir: Vec<&str> = file.path.components().collect();
            let name = dir.pop().expect("a path has a component");
            dirs.entry(dir.clone()).or_default().push((name, becomes));
            while dir.pop().is_some() {
                dirs.entry(dir.clone()).or_default();
            }
        }
        // Deepest first, because a directory's id is an entry of its parent.
        let mut order: Vec<Vec<&str>> = dirs.keys().cloned().collect();
        order.sort_by_key(|dir| std::cmp::Reverse(dir.len()));
        for mut dir in order {
            let entries = dirs.remove(&dir).unwrap_or_default();
            let tree = self.write_tree(snapshot, &dir, entries)?;
            if let Some(tree) = tree {
                objects.insert(object_id(tree));
            }
            match (dir.pop(), tree) {
                (Some(name), tree) => {
                    let becomes = tree.map(|tree| (tree, MODE_DIRECTORY));
                    dirs.entry(dir).or_default().push((name, becomes));
                }
                (None, Some(tree)) => {
                    return Ok(Written {
                        tree: object_id(tree),
                        objects,
                    });
                }
                (None, None) => break,
            }
        }
        unreachable!("the top directory is among the directories, comes last, and is written also when it is empty")
    }

    /// Writes the tree of a directory; nothing when it is not the top and nothing is left in it, because git keeps no empty
    /// directories.
    fn write_tree(
        &self,
        snapshot: &Snapshot<'_>,
        dir: &[&str],
        entries: Vec<NewEntry<'_>>,
    ) -> Result<Option<Oid>, WorkspaceError> {
        let base = match self.lookup(snapshot.root(), dir.iter().copied())? {
            Found::Entry(Kind::Directory, id) => Some(self.tree(id)?),
            // The change set brings the directory; that nothing else is there was checked for each write.
            _ => None,
        };
        let build = || {
            let mut builder = self.git.treebuilder(base.as_ref())?;
            for (name, becomes) in entries {
                let old = builder.get(name)?.map(|old| (old.id(), old.filemode_raw()));
                match (becomes, old) {
                    // What stays the same is not replaced, so that an old tree's odd mode makes no difference.
                    (Some((id, mode)), Some((old, old_mode))) if old == id && same_kind(old_mode, mode) => {}
                    (Some((id, mode)), _) => drop(builder.insert(name, id, mode)?),
                    (None, Some(_)) => builder.remove(name)?,
                    (None, None) => {}
                }
            }
            if builder.is_empty() && !dir.is_empty() {
                return Ok(None);
            }
            builder.write().map(Some)
        };
        build().map_err(|source| write("a tree", source))
    }

    fn write_object(&self, kind: ObjectType, bytes: &[u8]) -> Result<Oid, WorkspaceError> {
        let what = || format!("a {}", kind.str());
        let odb = self.git.odb().map_err(|source| write(what(), source))?;
        let id = odb.write(kind, bytes).map_err(|source| write(what(), source))?;
        // One that exists is not written again. It may be what a crash has left of it.
        odb.read_header(id)
            .map_err(|source| read(format!("{} {id}", kind.str()), source))?;
        Ok(id)
    }

    /// Writes a commit of the changes on top of `parent`. No ref leads to it yet.
    pub(crate) fn write_commit(
        &self,
        written: &mut Written,
        parent: ObjectId,
        message: &str,
    ) -> Result<ObjectId, WorkspaceError> {
        let author = self.author()?;
        let parent = self
            .git
            .find_commit(oid(parent))
            .map_err(|source| read(format!("commit {parent}"), source))?;
        let tree = self.tree(written.tree)?;
        let commit = self
            .git
            .commit(None, &author, &author, message, &tree, &[&parent])
            .map_err(|source| write("a commit", source))?;
        written.objects.insert(object_id(commit));
        Ok(object_id(commit))
    }

    /// Who the repository says works in it, or else ourselves.
    fn author(&self) -> Result<Signature<'static>, WorkspaceError> {
        let config = self
            .git
            .config()
            .and_then(|mut config| config.snapshot())
            .map_err(|source| read("the settings", source))?;
        let name = config.get_string("user.name").unwrap_or_default();
        let email = config.get_string("user.email").unwrap_or_default();
        // Signatures refuse what git would have to strip, such as an empty name.
        Signature::now(&name, &email)
            .or_else(|_| Signature::now("factory", "factory@localhost"))
            .map_err(|source| write("a signature", source))
    }

    /// Moves a branch from an expected value to a new one, or creates it where none is expected, and syncs it to disk.
    ///
    /// The comparison happens under the lock of the ref that git itself takes. HEAD, the index and work trees are not
    /// involved.
    pub(crate) fn swap_branch(
        &self,
        branch: &str,
        expected: Option<ObjectId>,
        new: ObjectId,
        log_message: &str,
    ) -> Result<BranchSwap, WorkspaceError> {
        let name = format!("refs/heads/{branch}");
        let durable = super::repository::Durable::open(&self.git)?;
        // The zero id as the expected value stands for a ref that does not exist.
        let old = expected.map_or(Oid::ZERO_SHA1, oid);
        let patience = Instant::now() + REF_LOCK_PATIENCE;
        loop {
            // Forced, because the check for existence that force turns off is made before the lock is taken; the
            // comparison with the expected value is made after.
            match durable.git.reference_matching(&name, oid(new), true, old, log_message) {
                Ok(_) => break,
                Err(error) => match error.code() {
                    // Not found: the branch was deleted. Exists or directory: one that excludes it was created.
                    ErrorCode::Modified | ErrorCode::NotFound | ErrorCode::Exists | ErrorCode::Directory => {
                        return Ok(BranchSwap::Moved);
                    }
                    ErrorCode::Locked if Instant::now() < patience => std::thread::sleep(REF_LOCK_POLL),
                    ErrorCode::Locked => {
                        return Ok(BranchSwap::Locked(self.common_dir().join(format!("{name}.lock"))));
                    }
                    _ => return Err(write(branch_text(branch), error)),
                },
            }
        }
        crash_point("the ref is moved, its directory not synced");
        self.sync_ref(&name)?;
        Ok(BranchSwap::Done)
    }

    /// Makes sure that the present value of a branch is on disk.
    pub(crate) fn sync_branch(&self, branch: &str) -> Result<(), WorkspaceError> {
        let name = format!("refs/heads/{branch}");
        let path = self.common_dir().join(&name);
        match sync(&path) {
            Ok(()) => self.sync_ref(&name),
            // It is among the packed refs, which git syncs.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(super::files::io_error("sync", &path, source)),
        }
    }

    /// libgit2 synced the ref and renamed it; the directories it may have made are left to us.
    fn sync_ref(&self, name: &str) -> Result<(), WorkspaceError> {
        let refs = self.common_dir().join("refs");
        let path = self.common_dir().join(name);
        for dir in path.ancestors().skip(1).take_while(|dir| dir.starts_with(&refs)) {
            sync(dir).map_err(|source| super::files::io_error("sync", dir, source))?;
        }
        Ok(())
    }

    /// Whether git takes the text for the name of a branch.
    pub(crate) fn is_branch_name(name: &str) -> bool {
        git2::Branch::name_is_valid(name).unwrap_or(false)
    }

    /// Whether the branch is only another name of a ref.
    pub(crate) fn is_symbolic_branch(&self, branch: &str) -> bool {
        self.git
            .find_reference(&format!("refs/heads/{branch}"))
            .is_ok_and(|reference| reference.kind() == Some(ReferenceType::Symbolic))
    }

    /// A branch that cannot exist together with this one, because one's name is a directory of the other's.
    pub(crate) fn excluding_branch(&self, branch: &str) -> Result<Option<String>, WorkspaceError> {
        for (end, _) in branch.match_indices('/') {
            let parent = &branch[..end];
            if self.git.find_reference(&format!("refs/heads/{parent}")).is_ok() {
                return Ok(Some(parent.to_owned()));
            }
        }
        // A branch name contains no character that is special in a pattern.
        let mut below = self
            .git
            .references_glob(&format!("refs/heads/{branch}/*"))
            .map_err(|source| read("the branches", source))?;
        match below.next() {
            None => Ok(None),
            Some(Err(source)) => Err(read("the branches", source)),
            Some(Ok(reference)) => {
                let name = reference.name_bytes().strip_prefix(b"refs/heads/").unwrap_or_default();
                Ok(Some(String::from_utf8_lossy(name).into_owned()))
            }
        }
    }
}

/// A name in a directory, and what is to be there with its mode, if anything.
type NewEntry<'a> = (&'a str, Option<(Oid, i32)>);

const MODE_FILE: i32 = 0o100_644;
const MODE_EXECUTABLE: i32 = 0o100_755;
const MODE_DIRECTORY: i32 = 0o040_000;

fn same_kind(old: i32, new: i32) -> bool {
    Kind::of_mode(old) == Kind::of_mode(new)
}

/// How many files are synced at the same time.
const SYNCED_TOGETHER: usize = 16;

/// Syncs files or directories side by side: each sync is a wait for the disk, and the waits of several overlap.
pub(super) fn sync_together(paths: &[PathBuf]) -> Result<(), WorkspaceError> {
    let one = |path: &PathBuf| sync(path).map_err(|source| super::files::io_error("sync", path, source));
    paths.chunks(SYNCED_TOGETHER).try_for_each(|chunk| {
        std::thread::scope(|scope| {
            let waits: Vec<_> = chunk.iter().map(|path| scope.spawn(move || one(path))).collect();
            waits
                .into_iter()
                .try_for_each(|wait| wait.join().expect("a sync does not panic"))
        })
    })
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn write(what: impl Into<String>, source: git2::Error) -> WorkspaceError {
    WorkspaceError::Write {
        what: what.into(),
        source,
    }
}
