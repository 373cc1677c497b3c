//! Survives a power cut: files that are whole or absent, directories that exist once, locks that name their holder.
//!
//! - A file appears under its name whole or not at all: it is written aside in the same directory, synced, and only then
//!   given its name; the directory is synced before success is reported.
//! - What is created exclusively never replaces anything, not even a dangling symlink.
//! - A lock is the kernel's (`flock(2)`): it ends with the process that holds it, however that ends.
//!
//! A new file has no name at all until it is whole, so that a kill in the middle leaves nothing. Where that cannot be had, and
//! when a file is replaced, it may leave one named `.NAME.*.aside`; it carries nothing that anybody was told about, and
//! [`Aside::remove_abandoned`], [`clear_unpublished`] and [`remove_asides`] remove it. Deliberately unknown here: what the bytes mean, and where a
//! program keeps its state.

mod aside;
mod crash;
mod error;
mod lock;
mod nameless;
mod process;
mod publish;
mod remains;
mod remove;

pub use aside::Aside;
#[cfg(debug_assertions)]
pub use crash::arm_crash_points;
pub use crash::crash_point;
pub use error::DurableError;
pub use lock::Lock;
pub use process::{Fate, ProcessMark, boot_id};
pub use publish::{clear_unpublished, publish_dir};
pub use remains::{Removal, Removed, is_older, on_disk, remove_asides, tree_bytes};
pub use remove::remove_tree;

use nameless::Nameless;

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Replaces the file at `path` by `bytes`, or creates it, with exactly the permission bits `mode` (no umask).
///
/// A reader sees the old bytes or the new ones. A symlink at `path` is replaced, not followed.
///
/// # Errors
/// `Host` when the file system refuses.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DurableError> {
    let mut aside = Aside::create(path)?;
    aside.write(bytes, mode)?;
    aside.replace()
}

/// Creates the file at `path` with `bytes`, readable and writable by its owner alone.
///
/// # Errors
/// [`DurableError::Exists`] when anything has that name already; `Host` when the file system refuses.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), DurableError> {
    match Nameless::create(path) {
        Some(file) => file.publish_new(bytes),
        None => {
            let mut aside = Aside::create(path)?;
            aside.write(bytes, 0o600)?;
            aside.publish_new()
        }
    }
}

/// Creates the directory at `path`, for its owner alone; its parent must exist.
///
/// # Errors
/// [`DurableError::Exists`] when anything has that name already; `Host` when the file system refuses.
pub fn create_exclusive_dir(path: &Path) -> Result<(), DurableError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_dir(parent(path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(DurableError::exists(path)),
        Err(error) => Err(DurableError::io("create the directory", path, error)),
    }
}

/// Makes sure that `path` is a directory, creating it and its missing parents for their owner alone.
///
/// # Errors
/// `Host` when the file system refuses, or when something else has the name.
pub fn ensure_dir(path: &Path) -> Result<(), DurableError> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    ensure_dir(parent(path))?;
    match create_exclusive_dir(path) {
        // Somebody else was faster; whoever created it also syncs it, but may not have come to that yet.
        Err(DurableError::Exists { .. }) if path.is_dir() => sync_dir(parent(path)),
        Err(DurableError::Exists { .. }) => {
            let error = io::ErrorKind::NotADirectory.into();
            Err(DurableError::io("create the directory", path, error))
        }
        other => other,
    }
}

/// Makes the names in the directory at `path` durable.
///
/// # Errors
/// `Host` when the directory cannot be opened or synced.
pub fn sync_dir(path: &Path) -> Result<(), DurableError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| DurableError::io("sync the directory", path, error))
}

/// The directory that holds the name of `path`; `.` for a bare name.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{FailureClass, Problem as _};
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_replaced_file_has_the_new_bytes_the_asked_mode_and_no_companion() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write_atomic(&path, b"old", 0o600).unwrap();
        write_atomic(&path, b"new", 0o666).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(mode(&path), 0o666, "the umask has no say");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn replacing_a_symlink_leaves_its_target_alone() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        fs::write(&target, "mine").unwrap();
        symlink(&target, dir.path().join("link")).unwrap();
        write_atomic(&dir.path().join("link"), b"new", 0o600).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"mine");
    }

    #[test]
    fn a_new_file_replaces_nothing_not_even_a_dangling_symlink() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("evidence");
        write_new(&path, b"first").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(matches!(write_new(&path, b"second"), Err(DurableError::Exists { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"first");

        let link = dir.path().join("link");
        symlink("nowhere", &link).unwrap();
        assert!(matches!(write_new(&link, b"x"), Err(DurableError::Exists { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no file stays aside");
    }

    #[test]
    fn a_directory_is_created_once_and_for_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        create_exclusive_dir(&run).unwrap();
        assert_eq!(mode(&run), 0o700);
        assert!(matches!(create_exclusive_dir(&run), Err(DurableError::Exists { .. })));

        let deep = dir.path().join("a/b/c");
        ensure_dir(&deep).unwrap();
        ensure_dir(&deep).unwrap();
        assert_eq!(mode(&dir.path().join("a/b")), 0o700);
    }

    #[test]
    fn a_path_below_a_file_is_a_host_problem_that_names_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        for error in [
            write_atomic(&file.join("x"), b"", 0o600).unwrap_err(),
            write_new(&file.join("x"), b"").unwrap_err(),
            ensure_dir(&file.join("x")).unwrap_err(),
            write_atomic(Path::new("/"), b"", 0o600).unwrap_err(),
        ] {
            assert_eq!(error.class(), FailureClass::Host);
            assert!(error.to_string().contains('/'), "{error}");
        }
        assert!(matches!(ensure_dir(&file), Err(DurableError::Io { .. })));
    }
}
