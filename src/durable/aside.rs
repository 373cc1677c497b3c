//! A file that is written beside the name it will get.

use super::{DurableError, parent, sync_dir};
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// What ends the present name of such a file.
const SUFFIX: &str = ".aside";

/// A file under a name of its own in the directory where it will be published; removed when dropped unpublished.
///
/// It is locked as long as somebody writes it: one that is not locked was left by a process that was killed.
#[derive(Debug)]
#[must_use = "the file is removed unless it is published"]
pub struct Aside {
    file: NamedTempFile,
    target: PathBuf,
}

impl Aside {
    /// Creates an empty file beside `target`, for its owner alone.
    ///
    /// # Errors
    /// `Host` when the file system refuses, or when `target` names no file.
    pub fn create(target: &Path) -> Result<Self, DurableError> {
        let refused = |error| DurableError::io("write beside", target, error);
        let name = target
            .file_name()
            .ok_or_else(|| refused(std::io::ErrorKind::InvalidFilename.into()))?;
        loop {
            let file = tempfile::Builder::new()
                .prefix(&prefix(name))
                .suffix(SUFFIX)
                // Not by `tempfile_in`, whose errors have a path instead of the kernel's number.
                .make_in(parent(target), |path| {
                    let mut options = OpenOptions::new();
                    options.read(true).write(true).create_new(true).mode(0o600).open(path)
                })
                .map_err(refused)?;
            // Somebody who clears away may have been faster than our lock.
            if !is_unlocked(file.as_file()) || !file.path().exists() {
                continue;
            }
            return Ok(Aside {
                file,
                target: target.to_owned(),
            });
        }
    }

    /// Removes what processes that were killed left beside `target`, and what other programs put beside that.
    ///
    /// # Errors
    /// `Host` when the directory cannot be read, or a file not removed.
    pub fn remove_abandoned(target: &Path) -> Result<(), DurableError> {
        let directory = parent(target);
        let refused = |error| DurableError::io("clear away what was left beside", target, error);
        let prefix = prefix(target.file_name().unwrap_or_default());
        let names = std::fs::read_dir(directory).map_err(refused)?;
        let names: Result<Vec<_>, _> = names.map(|entry| entry.map(|entry| entry.file_name())).collect();
        let mut names = names.map_err(refused)?;
        names.retain(|name| name.as_encoded_bytes().starts_with(prefix.as_encoded_bytes()));
        for name in &names {
            let name = name.to_string_lossy();
            let Some((own, _)) = name.split_once(SUFFIX) else {
                continue;
            };
            let aside = directory.join(format!("{own}{SUFFIX}"));
            // What lies beside an aside file, as a database's own journal does, goes when that is gone.
            let held = File::open(&aside).ok();
            if held.as_ref().is_none_or(is_unlocked) {
                remove(&directory.join(&*name)).map_err(refused)?;
            }
        }
        Ok(())
    }

    /// The present name of the file, for programs that insist on writing it themselves.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Writes the bytes and sets exactly the permission bits `mode`. They are synced when the file gets its name.
    ///
    /// # Errors
    /// `Host` when the file system refuses.
    pub fn write(&mut self, bytes: &[u8], mode: u32) -> Result<(), DurableError> {
        let file = self.file.as_file_mut();
        file.set_permissions(Permissions::from_mode(mode))
            .and_then(|()| file.write_all(bytes))
            .map_err(|error| DurableError::io("write beside", &self.target, error))
    }

    /// Gives the file its name, in place of whatever had it.
    ///
    /// # Errors
    /// `Host` when the file system refuses.
    pub fn replace(self) -> Result<(), DurableError> {
        let Aside { file, target } = self.synced()?;
        file.persist(&target)
            .map_err(|error| DurableError::io("replace", &target, error.error))?;
        sync_dir(parent(&target))
    }

    /// Gives the file its name, unless anything has that name already.
    ///
    /// # Errors
    /// [`DurableError::Exists`] when the name is taken; `Host` when the file system refuses.
    pub fn publish_new(self) -> Result<(), DurableError> {
        let Aside { file, target } = self.synced()?;
        match file.persist_noclobber(&target) {
            Ok(_) => sync_dir(parent(&target)),
            Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Err(DurableError::exists(&target)),
            Err(error) => Err(DurableError::io("create", &target, error.error)),
        }
    }

    fn synced(self) -> Result<Self, DurableError> {
        // By name, not by our descriptor: a program that was given the path may have put another file there.
        File::open(self.path())
            .and_then(|file| file.sync_all())
            .map_err(|error| DurableError::io("sync the file beside", &self.target, error))?;
        Ok(self)
    }
}

/// What begins the present name of a file that will get the name `name`.
fn prefix(name: &OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    prefix
}

/// Takes the lock of a file, and says whether nobody else has it. A file system without locks has nobody who holds one.
fn is_unlocked(file: &File) -> bool {
    !matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_abandoned_is_removed_and_what_is_being_written_stays() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("journal.db");
        let aside = Aside::create(&target).unwrap();
        for name in [".journal.db.abc.aside", ".journal.db.abc.aside-journal"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        for other in [".other.abc.aside", ".journal.db.mine", "journal.db.aside"] {
            std::fs::write(dir.path().join(other), "").unwrap();
        }
        Aside::remove_abandoned(&target).unwrap();
        let left = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 4, "the one that is being written, and three of somebody else");
        aside.publish_new().unwrap();
    }
}
