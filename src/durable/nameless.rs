//! A file without a name, which it gets when it is whole. Source: open(2), `O_TMPFILE`.

use super::{DurableError, crash_point, parent, sync_dir};
use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;
use std::fs::{File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// A file that nobody else can find yet, and that is gone with this process.
#[derive(Debug)]
pub(super) struct Nameless<'a> {
    file: File,
    target: &'a Path,
}

impl<'a> Nameless<'a> {
    /// An empty file in the directory of `target`, for its owner alone; nothing where the file system has no such files, or
    /// the directory cannot be had.
    pub(super) fn create(target: &'a Path) -> Option<Self> {
        target.file_name()?;
        let file = OpenOptions::new()
            .write(true)
            .mode(0o600)
            .custom_flags(libc::O_TMPFILE)
            .open(parent(target))
            .ok()?;
        Some(Nameless { file, target })
    }

    /// Writes the bytes and gives the file its name, unless anything has that name already.
    pub(super) fn publish_new(self, bytes: &[u8]) -> Result<(), DurableError> {
        let Nameless { mut file, target } = self;
        file.set_permissions(Permissions::from_mode(0o600))
            .and_then(|()| file.write_all(bytes))
            .and_then(|()| file.sync_all())
            .map_err(|error| DurableError::io("write", target, error))?;
        crash_point("a file is written, and has no name yet");
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        match rustix::fs::linkat(CWD, path, CWD, target, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => sync_dir(parent(target)),
            Err(Errno::EXIST) => Err(DurableError::exists(target)),
            Err(errno) => Err(DurableError::io("create", target, errno.into())),
        }
    }
}
