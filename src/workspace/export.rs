//! Trees on disk, one for each tree id, to be shared by all that starts from the same commit.

use super::entries::{BLOB_MAX, Kind, hostile, kind, with_blob};
use super::error::WorkspaceError;
use super::files::{self, Owner, io_error, remove_tree};
use super::names;
use super::repository::{Repository, object_id, read};
use super::snapshot::Snapshot;
use crate::durable::{Removal, Removed, crash_point, is_older, tree_bytes};
use crate::types::{Bytes, ObjectId};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The most entries in a tree. A few objects of git can describe more files than any disk holds.
const ENTRIES_MAX: u64 = 2_000_000;
/// The most bytes in the files of a tree.
const TREE_MAX: Bytes = Bytes(64 << 30);
/// Marks a tree that is being written.
const PART: &str = ".part";
/// Marks a tree that is complete. While a tree is written or removed, its marker is locked by one; while it is used, it is
/// locked by all who do. It was last written when the tree was last asked for.
const MARKER: &str = ".ok";

/// A directory of exported trees, each named by its tree id.
///
/// A tree is complete when its marker holds the id of the running boot. Files are not synced one by one, so after a power
/// cut a tree may have lost some of its content without a trace; a new boot therefore writes each tree anew when it is
/// next asked for. Within a boot nothing is lost: not even `kill -9` takes back what was written.
#[derive(Debug)]
pub struct TreeCache {
    dir: PathBuf,
    top: OwnedFd,
    boot: String,
}

impl TreeCache {
    /// Opens the cache, creating it for the caller alone where it does not exist, and removes what an export that was
    /// killed has left.
    ///
    /// # Errors
    /// `Host` when the directory cannot be created or read, or others may write to it.
    pub fn open(dir: &Path) -> Result<Self, WorkspaceError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|source| io_error("create", dir, source))?;
        let cache = TreeCache::existing(dir)?;
        cache.sweep()?;
        Ok(cache)
    }

    /// Opens a cache that is there, and leaves it as it is.
    ///
    /// # Errors
    /// `Host` when the directory cannot be read, or others may write to it.
    pub fn existing(dir: &Path) -> Result<Self, WorkspaceError> {
        let dir = dir.canonicalize().map_err(|source| io_error("open", dir, source))?;
        let top = files::open_top(&dir)?;
        let stat = rustix::fs::fstat(&top).map_err(|errno| io_error("examine", &dir, errno))?;
        if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o022 != 0 {
            return Err(WorkspaceError::SharedCache { dir });
        }
        Ok(TreeCache {
            boot: crate::durable::boot_id().map_err(|source| WorkspaceError::Boot { source })?,
            dir,
            top,
        })
    }

    /// The directory that holds the tree of a snapshot, written on first use. It is shared: its users mount it read-only.
    ///
    /// Files have mode 0644 or 0755, directories 0755; all belong to user and group `owner`, or to whoever runs. Symbolic
    /// links are kept as they are; a submodule is an empty directory. When several processes want the same tree, one writes
    /// it and the others wait.
    ///
    /// # Errors
    /// `Host` when an object is missing, an entry must not reach a disk, the tree is beyond a limit, or the disk is full.
    /// Nothing of an incomplete tree is left.
    pub fn export(&self, snapshot: &Snapshot<'_>, owner: Option<u32>) -> Result<CachedTree, WorkspaceError> {
        let name = match owner {
            None => snapshot.tree().to_string(),
            Some(id) => format!("{}-uid{id}", snapshot.tree()),
        };
        self.complete(&name, owner, |top, dir| {
            refuse_countless(snapshot.repository(), snapshot.tree())?;
            Export {
                repository: snapshot.repository(),
                odb: snapshot
                    .repository()
                    .git
                    .odb()
                    .map_err(|source| read("the object database", source))?,
                top,
                dir,
                owner,
                bytes: 0,
            }
            .run(snapshot.tree())
        })
    }

    /// The directory of that name, filled by `fill` where it is not complete.
    pub(super) fn complete(
        &self,
        name: &str,
        owner: Owner,
        fill: impl Fn(&OwnedFd, &Path) -> Result<(), WorkspaceError>,
    ) -> Result<CachedTree, WorkspaceError> {
        loop {
            if let Some(tree) = self.take(name)? {
                return Ok(tree);
            }
            self.write_unless_complete(name, owner, &fill)?;
        }
    }

    /// The tree of that name, if it is complete: from now on it stays, as long as the answer is held.
    fn take(&self, name: &str) -> Result<Option<CachedTree>, WorkspaceError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let marker = match rustix::fs::openat(&self.top, format!("{name}{MARKER}"), flags, Mode::empty()) {
            Ok(marker) => Marker(File::from(marker)),
            Err(_) => return Ok(None),
        };
        marker
            .0
            .lock_shared()
            .map_err(|source| self.fail_to_lock(name, source))?;
        // Whoever removes a tree removes its marker too, while it has the lock to itself.
        if !self.is_named(name, &marker) || !self.is_complete(name) {
            return Ok(None);
        }
        // A cache that cannot be written is as good to read from, and nobody can remove anything from it.
        if let Err(error) = marker.0.set_modified(SystemTime::now()) {
            tracing::debug!(%error, "that a tree was used could not be noted");
        }
        Ok(Some(CachedTree {
            dir: self.dir.join(name),
            _marker: Arc::new(marker),
        }))
    }

    fn write_unless_complete(
        &self,
        name: &str,
        owner: Owner,
        fill: &impl Fn(&OwnedFd, &Path) -> Result<(), WorkspaceError>,
    ) -> Result<(), WorkspaceError> {
        let mut marker = self.marker(name)?;
        let fail = |source| self.fail_to_lock(name, source);
        marker.0.lock().map_err(fail)?;
        // Somebody may have written it while we waited, or removed the marker.
        if self.is_named(name, &marker) && !self.is_complete(name) {
            marker.0.set_len(0).map_err(fail)?;
            self.write(name, owner, fill)?;
            crash_point("a tree is in its place, not marked as complete");
            marker.0.rewind().map_err(fail)?;
            marker.0.write_all(self.boot.as_bytes()).map_err(fail)?;
        }
        Ok(())
    }

    fn fail_to_lock(&self, name: &str, source: std::io::Error) -> WorkspaceError {
        io_error("lock", self.dir.join(format!("{name}{MARKER}")), source)
    }

    /// Whether the marker is still the one that the others find.
    fn is_named(&self, name: &str, marker: &Marker) -> bool {
        let named = rustix::fs::statat(&self.top, format!("{name}{MARKER}"), AtFlags::SYMLINK_NOFOLLOW);
        let held = rustix::fs::fstat(&marker.0);
        matches!((named, held), (Ok(named), Ok(held)) if (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino))
    }

    /// Removes the trees that nobody has used for `keep`, and tells what that was. One that is in use stays.
    ///
    /// # Errors
    /// `Host` when the directory cannot be read or something in it cannot be removed.
    pub fn collect(&self, keep: Duration, removal: Removal) -> Result<Removed, WorkspaceError> {
        let mut removed = Removed::default();
        let fail = |source| io_error("list", &self.dir, source);
        for entry in std::fs::read_dir(&self.dir).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name();
            let Some(name) = name.to_str().and_then(|name| name.strip_suffix(MARKER)) else {
                continue;
            };
            // Looked at first without the lock, which those who want the tree would have to wait for.
            let marker = self.marker(name)?;
            if is_unused(&marker, keep) && marker.0.try_lock().is_ok() && is_unused(&marker, keep) {
                removed.add(self.remove(name, removal)?);
            }
        }
        Ok(removed)
    }

    /// Removes a tree and then its marker. The caller has the lock to itself.
    fn remove(&self, name: &str, removal: Removal) -> Result<u64, WorkspaceError> {
        let tree = self.dir.join(name);
        let bytes = tree_bytes(&tree);
        if removal == Removal::Done {
            remove_tree(&tree)?;
            let marker = format!("{name}{MARKER}");
            rustix::fs::unlinkat(&self.top, &marker, AtFlags::empty())
                .map_err(|errno| io_error("remove", self.dir.join(&marker), errno))?;
        }
        Ok(bytes)
    }

    /// Whether the tree is there and was finished in this boot.
    fn is_complete(&self, name: &str) -> bool {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let marked =
            rustix::fs::openat(&self.top, format!("{name}{MARKER}"), flags, Mode::empty()).is_ok_and(|marker| {
                let mut text = String::new();
                File::from(marker).take(128).read_to_string(&mut text).is_ok() && text == self.boot
            });
        marked
            && rustix::fs::statat(&self.top, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    fn marker(&self, name: &str) -> Result<Marker, WorkspaceError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = format!("{name}{MARKER}");
        rustix::fs::openat(&self.top, &name, flags, Mode::from_raw_mode(0o600))
            .map(|marker| Marker(File::from(marker)))
            .map_err(|errno| io_error("create", self.dir.join(&name), errno))
    }

    /// Writes the tree aside and renames it into place. The caller holds the lock, so whatever has one of the two names is
    /// the remains of somebody who was killed, or of an earlier boot.
    fn write(
        &self,
        name: &str,
        owner: Owner,
        fill: &impl Fn(&OwnedFd, &Path) -> Result<(), WorkspaceError>,
    ) -> Result<(), WorkspaceError> {
        let tree = self.dir.join(name);
        let part = Part(self.dir.join(format!("{name}{PART}")));
        remove_tree(&part.0)?;
        remove_tree(&tree)?;
        let part_name = format!("{name}{PART}");
        let top = files::create_dir(&self.top, part_name.as_bytes(), owner)
            .map_err(|errno| io_error("create", &part.0, errno))?;
        fill(&top, &part.0)?;
        crash_point("a tree is written aside");
        rustix::fs::renameat(&self.top, &part_name, &self.top, name)
            .map_err(|errno| io_error("rename into place", &tree, errno))
    }

    /// Removes unfinished trees that nobody is writing any more.
    fn sweep(&self) -> Result<(), WorkspaceError> {
        let fail = |source| io_error("list", &self.dir, source);
        for entry in std::fs::read_dir(&self.dir).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name();
            let Some(name) = name.to_str().and_then(|name| name.strip_suffix(PART)) else {
                continue;
            };
            let marker = self.marker(name)?;
            if marker.0.try_lock().is_ok() {
                remove_tree(&self.dir.join(format!("{name}{PART}")))?;
            }
        }
        Ok(())
    }
}

/// A tree in the cache. It stays as long as this or a copy of it is held.
#[derive(Debug, Clone)]
pub struct CachedTree {
    dir: PathBuf,
    _marker: Arc<Marker>,
}

impl std::ops::Deref for CachedTree {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.dir
    }
}

fn is_unused(marker: &Marker, keep: Duration) -> bool {
    marker.0.metadata().is_ok_and(|metadata| is_older(&metadata, keep))
}

/// A marker, whose lock is given up on drop. Closing it would not do: a process that was just forked elsewhere in the program
/// shares the lock until it has started its own program.
#[derive(Debug)]
struct Marker(File);

impl Drop for Marker {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "a lock in the tree cache is held longer than needed");
        }
    }
}

/// An unfinished tree; renamed away on success, removed otherwise.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.0) {
            tracing::warn!(%error, "an unfinished tree is left behind");
        }
    }
}

/// One export under way.
struct Export<'a> {
    repository: &'a Repository,
    odb: git2::Odb<'a>,
    top: &'a OwnedFd,
    /// The top's path, for messages.
    dir: &'a Path,
    owner: Owner,
    bytes: u64,
}

impl Export<'_> {
    /// Writes directory after directory, each opened once by its path below the top. A descriptor per level would run out
    /// in a deep tree.
    fn run(&mut self, root: ObjectId) -> Result<(), WorkspaceError> {
        let mut pending = vec![(Vec::new(), root)];
        while let Some((path, tree)) = pending.pop() {
            let dir = if path.is_empty() {
                self.top.try_clone().map_err(|source| self.fail(&path, source))?
            } else {
                files::open_dir(self.top, path.as_slice()).map_err(|errno| self.fail(&path, errno))?
            };
            self.fill(&dir, &path, tree, &mut pending)?;
        }
        Ok(())
    }

    fn fill(
        &mut self,
        dir: &OwnedFd,
        path: &[u8],
        tree_id: ObjectId,
        pending: &mut Vec<(Vec<u8>, ObjectId)>,
    ) -> Result<(), WorkspaceError> {
        let tree = self.repository.tree(tree_id)?;
        for entry in &tree {
            let name = entry.name_bytes();
            let full = if path.is_empty() {
                name.to_vec()
            } else {
                [path, b"/", name].concat()
            };
            self.admit(tree_id, name, &full)?;
            let written = match kind(tree_id, name, entry.filemode_raw())? {
                Kind::Directory => {
                    let created = files::create_dir(dir, name, self.owner);
                    pending.push((full.clone(), object_id(entry.id())));
                    created.map(drop)
                }
                Kind::Submodule => files::create_dir(dir, name, self.owner).map(drop),
                Kind::Symlink => self.symlink(dir, tree_id, &full, name, entry.id())?,
                Kind::File { executable } => self.file(dir, name, entry.id(), executable)?,
            };
            written.map_err(|errno| match errno {
                Errno::EXIST => hostile(tree_id, &full, "its name is taken by another entry"),
                errno => self.fail(&full, errno),
            })?;
        }
        Ok(())
    }

    /// Checks an entry before anything is created for it.
    fn admit(&self, tree: ObjectId, name: &[u8], path: &[u8]) -> Result<(), WorkspaceError> {
        if let Some(why) = names::defect(name) {
            return Err(hostile(tree, path, why));
        }
        if path.len() > names::PATH_MAX {
            return Err(hostile(tree, path, "its path is longer than 4095 bytes"));
        }
        Ok(())
    }

    fn file(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        blob: git2::Oid,
        executable: bool,
    ) -> Result<Result<(), Errno>, WorkspaceError> {
        let owner = self.owner;
        let left = Bytes(TREE_MAX.0.saturating_sub(self.bytes).min(BLOB_MAX.0));
        let (size, created) = with_blob(&self.odb, blob, left, |content| {
            let created = files::create_file(dir.as_fd(), name, content, executable, owner);
            (content.len(), created)
        })?;
        self.bytes += size as u64;
        Ok(created.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)))
    }

    fn symlink(
        &self,
        dir: &OwnedFd,
        tree: ObjectId,
        path: &[u8],
        name: &[u8],
        blob: git2::Oid,
    ) -> Result<Result<(), Errno>, WorkspaceError> {
        let target = with_blob(&self.odb, blob, Bytes(names::PATH_MAX as u64), <[u8]>::to_vec)?;
        if target.is_empty() || target.contains(&0) {
            return Err(hostile(tree, path, "its target is no path"));
        }
        Ok(files::create_symlink(dir, name, &target, self.owner))
    }

    fn fail(&self, path: &[u8], source: impl Into<std::io::Error>) -> WorkspaceError {
        let path = String::from_utf8_lossy(path);
        io_error("write", self.dir.join(&*path), source)
    }
}

/// Counts the entries of a tree before any is written, each distinct directory once however often it occurs.
fn refuse_countless(repository: &Repository, root: ObjectId) -> Result<(), WorkspaceError> {
    let mut counts: HashMap<ObjectId, u64> = HashMap::new();
    let mut pending = vec![root];
    while let Some(&id) = pending.last() {
        if counts.contains_key(&id) {
            pending.pop();
            continue;
        }
        let mut count: u64 = 0;
        let known = pending.len();
        for entry in &repository.tree(id)? {
            count += 1;
            if Kind::of_mode(entry.filemode_raw()) == Some(Kind::Directory) {
                match counts.get(&object_id(entry.id())) {
                    Some(below) => count += below,
                    None => pending.push(object_id(entry.id())),
                }
            }
            if count > ENTRIES_MAX {
                return Err(WorkspaceError::TooLarge {
                    what: format!("tree {root}"),
                    limit: format!("{ENTRIES_MAX} entries"),
                });
            }
        }
        // Otherwise it comes up again, once the directories in it are counted.
        if pending.len() == known {
            counts.insert(id, count);
        }
    }
    Ok(())
}
