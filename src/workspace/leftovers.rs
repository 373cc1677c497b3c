//! What a process of ours that was killed may have left in a repository, told apart from what belongs to others.
//!
//! Two things only: the lock of the ref that it was about to move, and objects that were being written. Whatever somebody
//! has open is left alone, and so is a lock that says something else than ours would.

use super::error::WorkspaceError;
use super::files::{io_error, remove_tree};
use super::repository::Repository;
use super::store::ASIDE;
use crate::types::ObjectId;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

impl Repository {
    /// Removes the lock of a branch that a dead process of ours left when it was moving the branch to `commit`, and
    /// returns its path. `since` is when that process said that it would.
    ///
    /// Ours holds the id of the commit, or nothing yet. Any other lock is somebody else's and stays.
    ///
    /// # Errors
    /// `Host` when the lock cannot be examined or removed.
    pub(crate) fn remove_stale_lock(
        &self,
        branch: &str,
        commit: ObjectId,
        since: SystemTime,
    ) -> Result<Option<PathBuf>, WorkspaceError> {
        let lock = self.common_dir().join(format!("refs/heads/{branch}.lock"));
        let fail = |source| io_error("examine", &lock, source);
        let text = match fs::read(&lock) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(error) => return Err(fail(error)),
        };
        let is_ours = match text.trim_ascii() {
            b"" => is_since(&lock, since).map_err(fail)?,
            text => text == commit.to_string().as_bytes(),
        };
        if !is_ours || is_open_somewhere(&lock) {
            return Ok(None);
        }
        fs::remove_file(&lock).map_err(|source| io_error("remove", &lock, source))?;
        Ok(Some(lock))
    }

    /// Removes the directories of objects that were being written since `since` by processes that are no more, and returns
    /// how many.
    ///
    /// # Errors
    /// `Host` when the object directory cannot be read, or one of them cannot be removed.
    pub(crate) fn remove_unfinished_objects(&self, since: SystemTime) -> Result<u32, WorkspaceError> {
        let objects = self.common_dir().join("objects");
        let mut removed = 0;
        for entry in fs::read_dir(&objects).map_err(|source| io_error("list", &objects, source))? {
            let path = entry.map_err(|source| io_error("list", &objects, source))?.path();
            let is_unfinished = path
                .file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with(ASIDE));
            if is_unfinished && is_since(&path, since).unwrap_or(false) && !is_open_somewhere(&path) {
                remove_tree(&path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Whether a file was last written at or after a time, less the second that file systems may round off.
fn is_since(path: &Path, since: SystemTime) -> std::io::Result<bool> {
    let written = fs::symlink_metadata(path)?.modified()?;
    Ok(written + std::time::Duration::from_secs(1) >= since)
}

/// Whether a process that we can look at has the file open. Processes of others cannot be looked at; they do not write to a
/// repository that is ours.
fn is_open_somewhere(path: &Path) -> bool {
    let Ok(wanted) = fs::metadata(path).map(|file| (file.dev(), file.ino())) else {
        return false;
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|process| process.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit))
        .flat_map(|process| fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten())
        .any(|fd| fs::metadata(fd.path()).is_ok_and(|file| (file.dev(), file.ino()) == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const BRANCH: &str = "factory/a";

    fn repository() -> (tempfile::TempDir, Repository, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        git2::Repository::init(dir.path()).unwrap();
        let repository = Repository::open(dir.path()).unwrap();
        let lock = dir.path().join(".git/refs/heads/factory/a.lock");
        fs::create_dir_all(lock.parent().unwrap()).unwrap();
        (dir, repository, lock)
    }

    #[test]
    fn a_lock_with_the_commit_or_nothing_in_it_is_ours() {
        let (_dir, repository, lock) = repository();
        let commit = ObjectId::from_bytes([7; 20]);
        let before = SystemTime::now() - Duration::from_secs(10);
        for text in [format!("{commit}\n"), String::new()] {
            fs::write(&lock, text).unwrap();
            let removed = repository.remove_stale_lock(BRANCH, commit, before).unwrap();
            assert_eq!(removed.as_deref().and_then(Path::file_name), lock.file_name());
            assert!(!lock.exists());
        }
        assert_eq!(repository.remove_stale_lock(BRANCH, commit, before).unwrap(), None);
    }

    #[test]
    fn a_lock_of_somebody_else_stays() {
        let (_dir, repository, lock) = repository();
        let (ours, theirs) = (ObjectId::from_bytes([7; 20]), ObjectId::from_bytes([8; 20]));
        let later = SystemTime::now() + Duration::from_secs(60);
        for (text, since) in [(format!("{theirs}\n"), SystemTime::UNIX_EPOCH), (String::new(), later)] {
            fs::write(&lock, &text).unwrap();
            assert_eq!(repository.remove_stale_lock(BRANCH, ours, since).unwrap(), None);
            assert_eq!(fs::read_to_string(&lock).unwrap(), text);
        }
        // One that is open belongs to whoever has it open, whatever it says.
        fs::write(&lock, format!("{ours}\n")).unwrap();
        let held = fs::File::open(&lock).unwrap();
        assert_eq!(
            repository
                .remove_stale_lock(BRANCH, ours, SystemTime::UNIX_EPOCH)
                .unwrap(),
            None
        );
        drop(held);
        assert!(lock.exists());
    }

    #[test]
    fn only_unfinished_objects_of_the_time_in_question_are_removed() {
        let (dir, repository, _) = repository();
        let objects = dir.path().join(".git/objects");
        for name in ["tmp_objdir-factory-a/objects/ab", "tmp_objdir-incoming-b", "other"] {
            fs::create_dir_all(objects.join(name)).unwrap();
        }
        let later = SystemTime::now() + Duration::from_secs(60);
        assert_eq!(repository.remove_unfinished_objects(later).unwrap(), 0);
        let before = SystemTime::now() - Duration::from_secs(60);
        // One that is open belongs to a process that is alive.
        let open = fs::File::open(objects.join("tmp_objdir-factory-a")).unwrap();
        assert_eq!(repository.remove_unfinished_objects(before).unwrap(), 0);
        drop(open);
        assert_eq!(repository.remove_unfinished_objects(before).unwrap(), 1);
        assert!(objects.join("tmp_objdir-incoming-b").exists() && objects.join("other").exists());
    }
}
