//! The private directory of a run without namespaces: its tree, its home and its temporary files, on the host's own disk.

use super::init::Step;
use super::init::mounts::{Provided, copy_tree};
use super::setup::{Job, LayerFailure, View};
use super::slot::root;
use crate::durable::remove_tree;
use rustix::fs::{Dir, Mode as FileMode, OFlags, ResolveFlags};
use std::fs::{self, DirBuilder};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, lchown, symlink};
use std::path::{Path, PathBuf};

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
        DirBuilder::new().mode(0o700).create(path).step(step())?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, FileMode::empty()).step(step())?;
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
