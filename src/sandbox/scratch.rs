//! The private directory of a run without namespaces: its tree, its home and its temporary files, on the host's own disk.
//!
//! - Its guard holds a lock on it, and so does the first process of the run: one that nobody holds is nobody's any more.
//! - It has its name only when it is locked.

use super::identity::host_ids;
use super::init::Step;
use super::init::mounts::{Provided, copy_tree};
use super::setup::{Job, LayerFailure, View};
use super::slot::root;
use crate::durable::remove_tree;
use nix::unistd::geteuid;
use rustix::fs::{CWD, Dir, FlockOperation, Mode as FileMode, OFlags, RenameFlags, ResolveFlags, flock, renameat_with};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, DirEntry};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, lchown, symlink};
use std::path::{Path, PathBuf};

/// What the name of every private directory begins with. A UUID follows.
pub(super) const PREFIX: &str = "factory-bare-";

/// Removes the private directories beside `path` whose guard and first process were killed, if they are of this user or of
/// the one that its commands run as. What cannot be removed is left for the next run.
pub(super) fn remove_abandoned(path: &Path) {
    let beside = path.parent().and_then(|parent| fs::read_dir(parent).ok());
    let is_named = |entry: &DirEntry| {
        let name = entry.file_name();
        let uuid = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        uuid.is_some_and(|uuid| uuid.len() == 36 && !uuid.contains('.'))
    };
    for entry in beside.into_iter().flatten().flatten().filter(is_named) {
        let path = entry.path();
        // Held until it is removed: of two that find it, one does it.
        let Some(directory) = open(&path).ok().filter(is_ours) else {
            continue;
        };
        if flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = remove_tree(&path);
        }
    }
}

fn is_ours(directory: &OwnedFd) -> bool {
    let own = geteuid().as_raw();
    let owner = rustix::fs::fstat(directory).map(|stat| stat.st_uid);
    owner.is_ok_and(|owner| owner == own || (own == 0 && host_ids().is_some_and(|(uid, _)| uid == owner)))
}

/// Opens a private directory, whatever the command made of its mode.
fn open(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags | OFlags::RDONLY, FileMode::empty()) {
        Err(Errno::ACCESS) => {
            let found = rustix::fs::open(path, flags | OFlags::PATH, FileMode::empty())?;
            // By its entry in /proc: chmod(2) by name could be led astray.
            let itself = format!("/proc/self/fd/{}", found.as_raw_fd());
            rustix::fs::chmod(itself, FileMode::RWXU)?;
            rustix::fs::open(path, flags | OFlags::RDONLY, FileMode::empty())
        }
        opened => opened,
    }
}

/// What is in a directory.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Used {
    pub(super) bytes: u64,
    pub(super) files: u64,
}

impl Used {
    pub(super) fn since(self, before: Used) -> Used {
        Used {
            bytes: self.bytes.saturating_sub(before.bytes),
            files: self.files.saturating_sub(before.files),
        }
    }
}

/// The private directory of the run. Removed when this is dropped at the latest.
pub(super) struct Scratch {
    path: PathBuf,
    directory: OwnedFd,
    /// Entries above which the rest is not looked at.
    most: u64,
    is_there: bool,
}

impl Scratch {
    pub(super) fn make(path: &Path) -> Result<Self, LayerFailure> {
        let step = || format!("make the private directory `{}`", path.display());
        // Never one that is there already.
        let unnamed = path.with_extension("new");
        DirBuilder::new().mode(0o700).create(&unnamed).step(step())?;
        let directory = open(&unnamed).step(step())?;
        flock(&directory, FlockOperation::NonBlockingLockExclusive).step(step())?;
        renameat_with(CWD, &unnamed, CWD, path, RenameFlags::NOREPLACE).step(step())?;
        Ok(Scratch {
            path: path.to_owned(),
            directory,
            most: u64::MAX,
            is_there: true,
        })
    }

    /// Puts the tree and what else is the run's own into it.
    pub(super) fn fill(
        &mut self,
        view: &View,
        job: &Job,
        identity: Option<(u32, u32)>,
    ) -> Result<Provided, LayerFailure> {
        let places = view.rung.places();
        for place in [&places.tree, &places.home, &places.tmp, &places.aliases] {
            fs::create_dir(place).step(format!("make `{}`", place.display()))?;
        }
        // Those of the host are there already.
        for (place, text) in view.links.iter().filter(|(place, _)| place.starts_with(&self.path)) {
            symlink(text, place).step(format!("link `{}`", place.display()))?;
        }
        for layer in job.layers.iter().rev() {
            let layer = root::open_pinned(layer)?;
            copy_tree(Path::new(&format!("/proc/self/fd/{}", layer.as_raw_fd())), &places.tree)?;
        }
        if let Some((uid, gid)) = identity {
            for own in [&places.tree, &places.home, &places.tmp] {
                give(own, uid, gid).step("hand the tree over")?;
            }
            lchown(&self.path, Some(uid), Some(gid)).step("hand the private directory over")?;
        }
        // Much more than that is over the limit, however much.
        self.most = self.used().files.saturating_add(job.tmp.inodes).saturating_add(1);
        Ok(if job.layers.is_empty() {
            Provided::Empty
        } else {
            Provided::Copy
        })
    }

    /// What is in it. The command may change it at the same time, so nothing is opened that is not below it.
    pub(super) fn used(&self) -> Used {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let below = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let mut used = Used::default();
        let mut pending = vec![PathBuf::from(".")];
        while let Some(path) = pending.pop() {
            let Ok(directory) = rustix::fs::openat2(&self.directory, &path, flags, FileMode::empty(), below) else {
                continue;
            };
            for entry in Dir::read_from(&directory).into_iter().flatten().flatten() {
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                let look = rustix::fs::statat(&directory, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
                let Ok(stat) = look else { continue };
                used.files += 1;
                // In units of 512 bytes. Source: stat(3type).
                used.bytes += stat.st_blocks as u64 * 512;
                if used.files > self.most {
                    return used;
                }
                if rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory {
                    let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(name.to_bytes());
                    pending.push(path.join(name));
                }
            }
        }
        used
    }

    pub(super) fn remove(mut self) -> Result<(), LayerFailure> {
        self.is_there = false;
        remove_tree(&self.path).step(format!("remove `{}`", self.path.display()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.is_there {
            // The failure that made it unwanted is the one to tell.
            let _ = remove_tree(&self.path);
        }
    }
}

/// Hands a tree of ours over to another user. Nothing of it runs yet. Iterative: a tree may be deep.
fn give(top: &Path, uid: u32, gid: u32) -> std::io::Result<()> {
    let mut pending = vec![top.to_owned()];
    while let Some(path) = pending.pop() {
        if fs::symlink_metadata(&path)?.is_dir() {
            for entry in fs::read_dir(&path)? {
                pending.push(entry?.path());
            }
        }
        lchown(&path, Some(uid), Some(gid))?;
    }
    Ok(())
}
