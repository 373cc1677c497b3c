//! Objects on their way to the object database: made in memory, written aside, synced, and only then given their names.
//!
//! A name without content is worse than no name. Whoever writes the object next finds it there and does not write it: git
//! makes commits that lead to an empty file, and a promotion of the same bytes is never possible again. After a power cut
//! a file that was named before it was synced can be such a one.

use super::error::WorkspaceError;
use super::files::io_error;
use super::objects::{Written, sync_together};
use super::repository::{Repository, oid, read};
use crate::durable::crash_point;
use crate::types::ObjectId;
use git2::RepositoryOpenFlags;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// How many object stores may borrow from the next one. Source: `link_alt_odb_entry` of git.
const ALTERNATES_DEPTH: u32 = 5;
/// The beginning of the name of a directory of objects that have no names yet. After a crash git removes what begins so
/// when it removes what nothing leads to. Source: `remove_temporary_files` in builtin/prune.c of git.
pub(super) const ASIDE: &str = "tmp_objdir-factory-";

/// The operator's repository through a handle that keeps in memory what is written to it.
pub(crate) struct InMemory(pub(super) Repository);

impl InMemory {
    /// Opens the same repository once more. Nothing that is written through it reaches a disk.
    pub(crate) fn open(repository: &Repository) -> Result<Self, WorkspaceError> {
        let handle = repository.another_handle()?;
        let fail = |source| read("the object database", source);
        // Before all others, so that it takes what is written.
        let odb = handle.git.odb().map_err(fail)?;
        odb.add_new_mempack_backend(i32::MAX).map_err(fail)?;
        drop(odb);
        Ok(InMemory(handle))
    }

    /// The handle.
    pub(crate) fn repository(&self) -> &Repository {
        &self.0
    }
}

impl Repository {
    /// Puts objects that were made in memory into the object database, each whole or not at all, and syncs them and the
    /// directories that lead to them.
    ///
    /// An object that exists already is read, and synced too: it may be from a program that does neither. One that is not
    /// loose is in a pack, and git syncs packs. Source: git-config(1), `core.fsync`.
    ///
    /// # Errors
    /// `Host` when one cannot be written, or when one that exists is damaged.
    pub(crate) fn store_objects(&self, made: &InMemory, written: &Written) -> Result<(), WorkspaceError> {
        let fail = |source| read("the object database", source);
        let (odb, memory) = (self.git.odb().map_err(fail)?, made.0.git.odb().map_err(fail)?);
        let objects = self.common_dir().join("objects");
        let mut stores = Vec::new();
        object_stores(&objects, 0, &mut stores);
        let aside = Aside::create(&objects)?;
        let (mut files, mut dirs, mut fresh) = (Vec::new(), BTreeSet::new(), Vec::new());
        for id in written.objects() {
            // Its bytes are compared with its id, wherever they are.
            let object = memory
                .read(oid(*id))
                .map_err(|source| read(format!("object {id}"), source))?;
            if let Some(store) = stores.iter().find(|store| loose(store, *id).exists()) {
                files.push(loose(store, *id));
                dirs.extend(leading_to(store, *id));
            } else if !odb.exists(oid(*id)) {
                files.push(aside.write(&object)?);
                dirs.extend(leading_to(&objects, *id));
                fresh.push(*id);
            }
        }
        crash_point("the objects are written aside, not synced");
        sync_together(&files)?;
        fresh.into_iter().try_for_each(|id| aside.name(id, &objects))?;
        crash_point("the objects have their names, their directories are not synced");
        sync_together(&Vec::from_iter(dirs))
    }
}

/// Objects without names: a repository of nothing else, in the store whose objects they will be.
struct Aside {
    git: git2::Repository,
    dir: TempDir,
    /// Says to whoever looks for what the dead have left that this one is alive.
    _open: File,
}

impl Aside {
    fn create(objects: &Path) -> Result<Self, WorkspaceError> {
        let fail = |source| io_error("create a directory in", objects, source);
        let dir = tempfile::Builder::new()
            .prefix(ASIDE)
            .tempdir_in(objects)
            .map_err(fail)?;
        // What makes a directory a repository. Source: `is_git_directory` in setup.c of git.
        for name in ["objects", "refs"] {
            std::fs::create_dir(dir.path().join(name)).map_err(fail)?;
        }
        std::fs::write(dir.path().join("HEAD"), "ref: refs/heads/none\n").map_err(fail)?;
        let flags = RepositoryOpenFlags::NO_SEARCH | RepositoryOpenFlags::BARE | RepositoryOpenFlags::NO_DOTGIT;
        let git = git2::Repository::open_ext(dir.path(), flags, None::<&Path>)
            .map_err(|source| read("the objects written aside", source))?;
        let open = File::open(dir.path()).map_err(fail)?;
        Ok(Aside { git, dir, _open: open })
    }

    /// Writes an object and gives the file that it is in.
    fn write(&self, object: &git2::OdbObject<'_>) -> Result<PathBuf, WorkspaceError> {
        self.git
            .odb()
            .and_then(|odb| odb.write(object.kind(), object.data()))
            .map_err(|source| WorkspaceError::Write {
                what: format!("a {}", object.kind().str()),
                source,
            })?;
        Ok(loose(&self.objects(), super::repository::object_id(object.id())))
    }

    /// Gives an object its name in a store.
    fn name(&self, id: ObjectId, store: &Path) -> Result<(), WorkspaceError> {
        let [dir, _] = leading_to(store, id);
        match std::fs::create_dir(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io_error("create", dir, error)),
            _ => {}
        }
        let path = loose(store, id);
        // Whatever got the name meanwhile is the same object.
        std::fs::rename(loose(&self.objects(), id), &path).map_err(|source| io_error("create", path, source))
    }

    fn objects(&self) -> PathBuf {
        self.dir.path().join("objects")
    }
}

/// The file of a loose object. Source: gitrepository-layout(5).
fn loose(store: &Path, id: ObjectId) -> PathBuf {
    let id = id.to_string();
    store.join(&id[..2]).join(&id[2..])
}

/// The directories that lead to a loose object.
fn leading_to(store: &Path, id: ObjectId) -> [PathBuf; 2] {
    [store.join(&id.to_string()[..2]), store.to_owned()]
}

/// A store and those it borrows from. Source: gitrepository-layout(5), `objects/info/alternates`.
fn object_stores(store: &Path, depth: u32, found: &mut Vec<PathBuf>) {
    if depth > ALTERNATES_DEPTH || found.iter().any(|known| known == store) {
        return;
    }
    found.push(store.to_owned());
    let Ok(text) = std::fs::read_to_string(store.join("info/alternates")) else {
        return;
    };
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        object_stores(&store.join(line), depth + 1, found);
    }
}
