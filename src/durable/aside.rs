//! A file that is written beside the name it will get.

use super::{DurableError, parent, sync_dir};
use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A file under a name of its own in the directory where it will be published; removed when dropped unpublished.
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
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        let file = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(".aside")
            // Not by `tempfile_in`, whose errors have a path instead of the kernel's number.
            .make_in(parent(target), |path| {
                let mut options = OpenOptions::new();
                options.read(true).write(true).create_new(true).mode(0o600).open(path)
            })
            .map_err(refused)?;
        Ok(Aside {
            file,
            target: target.to_owned(),
        })
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
