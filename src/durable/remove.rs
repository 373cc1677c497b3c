//! Removes a directory tree, whatever a command left in it.

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

/// Removes the directory and everything in it; a directory that is not there is no error.
///
/// No link is followed and no mount point is entered. Names and modes may be hostile: a directory without permissions is
/// opened up first. The depth does not matter, because a directory found in another one is moved to the top before it is
/// looked into: neither the stack, nor the number of open files, nor the length of a path grows with the depth.
///
/// # Errors
/// What the kernel answered when something could not be removed; what could be is gone by then.
pub fn remove_tree(dir: &Path) -> io::Result<()> {
    let name = dir.file_name().ok_or(Errno::INVAL)?;
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let parent = match rustix::fs::open(
        parent,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Ok(parent) => parent,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    let name = CString::new(name.as_encoded_bytes()).map_err(|_| Errno::INVAL)?;
    match open_for_removal(parent.as_fd(), &name) {
        Ok(top) => {
            Removal { top, moved: 0 }.empty()?;
            Ok(rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR)?)
        }
        Err(Errno::NOENT) => Ok(()),
        // What is not a directory is not what we were asked to remove.
        Err(errno) => Err(errno.into()),
    }
}

struct Removal {
    top: OwnedFd,
    /// How many directories were moved to the top so far; it makes their new names.
    moved: u64,
}

impl Removal {
    /// Removes what is in the top directory, until nothing is.
    fn empty(&mut self) -> Result<(), Errno> {
        loop {
            let entries = entries(self.top.as_fd())?;
            if entries.is_empty() {
                return Ok(());
            }
            for (name, is_dir) in entries {
                if is_dir {
                    self.remove_dir(&name)?;
                } else {
                    rustix::fs::unlinkat(&self.top, &name, AtFlags::empty())?;
                }
            }
        }
    }

    /// Removes a directory of the top directory; those in it become directories of the top directory.
    fn remove_dir(&mut self, name: &CStr) -> Result<(), Errno> {
        let dir = open_for_removal(self.top.as_fd(), name)?;
        for (name, is_dir) in entries(dir.as_fd())? {
            if is_dir {
                self.move_to_top(dir.as_fd(), &name)?;
            } else {
                rustix::fs::unlinkat(&dir, &name, AtFlags::empty())?;
            }
        }
        rustix::fs::unlinkat(&self.top, name, AtFlags::REMOVEDIR)
    }

    fn move_to_top(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        // Most directories of a tree are worth moving, empty ones are not.
        if rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR).is_ok() {
            return Ok(());
        }
        loop {
            self.moved += 1;
            let new_name = format!("{}.removing", self.moved);
            match rustix::fs::renameat_with(parent, name, &self.top, &new_name, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(()),
                // The tree has an entry of that name, by chance or by malice.
                Err(Errno::EXIST) => {}
                // Moving a directory rewrites its `..`, which takes the permission to write to it.
                Err(Errno::ACCESS) => {
                    open_for_removal(parent, name)?;
                    rustix::fs::renameat_with(parent, name, &self.top, &new_name, RenameFlags::NOREPLACE)?;
                    return Ok(());
                }
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// Opens a directory and makes sure that its owner may read, write and search it.
fn open_for_removal(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let wanted = Mode::RWXU;
    let path = open_dir(parent, name, OFlags::PATH)?;
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&path)?.st_mode);
    if !mode.contains(wanted) {
        // An O_PATH descriptor cannot be handed to fchmod(2), and chmod(2) by name could be led astray; its entry in
        // /proc is the directory itself. Source: open(2), O_PATH.
        rustix::fs::chmod(format!("/proc/self/fd/{}", path.as_raw_fd()), wanted)?;
    }
    open_dir(path.as_fd(), c".", OFlags::RDONLY)
}

/// Opens a directory itself, and none that is mounted there or that a link leads to. Source: openat2(2).
fn open_dir(parent: BorrowedFd<'_>, name: &CStr, access: OFlags) -> Result<OwnedFd, Errno> {
    let flags = access | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let confined =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(parent, name, flags, Mode::empty(), confined)
}

/// The entries of a directory, and whether each is a directory. Read whole before anything is removed, because a
/// directory that changes while it is read may skip entries.
fn entries(dir: BorrowedFd<'_>) -> Result<Vec<(CString, bool)>, Errno> {
    let mut found = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let file_type = match entry.file_type() {
            // Some file systems leave the type out.
            FileType::Unknown => {
                FileType::from_raw_mode(rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode)
            }
            known => known,
        };
        found.push((name.to_owned(), file_type == FileType::Directory));
    }
    Ok(found)
}
