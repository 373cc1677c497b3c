//! Files and directories below a descriptor, without following a link.

use super::error::WorkspaceError;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Resolution may not leave the directory it starts in, neither upwards, nor through a link, nor onto another file
/// system. Source: openat2(2).
const CONFINED: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Who owns what is created: the id of both user and group, or, with `None`, whoever creates it.
pub(super) type Owner = Option<u32>;

/// Opens the directory that `path` names itself, for a start. Links above its last component are the operator's.
pub(super) fn open_top(path: &Path) -> Result<OwnedFd, WorkspaceError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|source| io_error("open", path, source))
}

/// Opens a directory below another one. `path` may have several components.
pub(super) fn open_dir(parent: impl AsFd, path: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(parent, path, flags, Mode::empty(), CONFINED)
}

/// Removes the directory and everything in it, whatever a command left there; one that is not there is no error.
///
/// # Errors
/// `Host` when something cannot be removed; what could be is gone by then.
pub fn remove_tree(dir: &Path) -> Result<(), WorkspaceError> {
    crate::durable::remove_tree(dir).map_err(|source| io_error("remove", dir, source))
}

/// Opens a regular file in a directory, to change its mode and owner.
pub(super) fn open_file(parent: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat2(parent, name, flags, Mode::empty(), CONFINED)
}

/// Creates a directory that must not exist yet, mode 0755.
pub(super) fn create_dir(parent: impl AsFd, name: &[u8], owner: Owner) -> Result<OwnedFd, Errno> {
    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700))?;
    let dir = open_dir(&parent, name)?;
    settle(&dir, 0o755, owner)?;
    Ok(dir)
}

/// Creates a regular file that must not exist yet, mode 0644 or 0755.
pub(super) fn create_file(
    parent: impl AsFd,
    name: &[u8],
    content: &[u8],
    executable: bool,
    owner: Owner,
) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = if executable { 0o755 } else { 0o644 };
    let mut file = File::from(rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(mode))?);
    file.write_all(content)?;
    settle(&file, mode, owner)?;
    Ok(())
}

/// Creates a symbolic link that must not exist yet. The target is text, and nothing here looks where it leads.
pub(super) fn create_symlink(parent: impl AsFd, name: &[u8], target: &[u8], owner: Owner) -> Result<(), Errno> {
    rustix::fs::symlinkat(target, &parent, name)?;
    if let Some(id) = owner {
        let (user, group) = ids(id);
        rustix::fs::chownat(&parent, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// Creates what hides the file or directory of this name in the layers below, which an overlay shows as nothing.
///
/// It is a character device without a driver, which anybody may make: mknod(2) needs no privilege for the number 0/0 since
/// Linux 5.8. Source: Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".
pub(super) fn create_whiteout(parent: impl AsFd, name: &[u8]) -> io::Result<()> {
    let mode = Mode::from_raw_mode(0);
    rustix::fs::mknodat(parent, name, rustix::fs::FileType::CharacterDevice, mode, 0)?;
    Ok(())
}

/// Gives a fresh file or directory its mode, whatever the umask, and its owner.
pub(super) fn settle(file: impl AsFd, mode: u32, owner: Owner) -> Result<(), Errno> {
    if let Some(id) = owner {
        let (user, group) = ids(id);
        rustix::fs::fchown(&file, Some(user), Some(group))?;
    }
    // Looking is much cheaper than changing, and most often the umask took nothing away.
    if rustix::fs::fstat(&file)?.st_mode & 0o7777 == mode {
        return Ok(());
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))
}

fn ids(id: u32) -> (rustix::fs::Uid, rustix::fs::Gid) {
    (rustix::fs::Uid::from_raw(id), rustix::fs::Gid::from_raw(id))
}

/// Names what was tried and on what.
pub(super) fn io_error(act: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> WorkspaceError {
    WorkspaceError::Io {
        act,
        path: path.into(),
        source: source.into(),
    }
}
