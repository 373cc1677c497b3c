//! A lock that names its holder.

use super::DurableError;
use crate::types::{escape_control, truncate};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// How much of a holder's text is read, in bytes, and how many characters are shown.
const MAX_HOLDER_BYTES: u64 = 4096;
const MAX_HOLDER_CHARS: usize = 200;

/// A held lock; dropping it lets go and removes its file.
///
/// The lock is advisory and belongs to the open file (`flock(2)`), so it ends with the process at the latest.
#[derive(Debug)]
#[must_use = "the lock is let go when this is dropped"]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock that the file at `path` stands for, without waiting, and writes `holder` into it for others to read.
    ///
    /// # Errors
    /// [`DurableError::Held`] when somebody has it; `Host` when the file system refuses.
    pub fn acquire(path: &Path, holder: &str) -> Result<Self, DurableError> {
        let refused = |error| DurableError::io("lock", path, error);
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(path)
                .map_err(refused)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(DurableError::Held {
                        path: path.to_owned(),
                        holder: read_holder(file),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(refused(error)),
            }
            // The last holder removes the file while it holds the lock. Whoever opened it before that now has a lock on a
            // file that nobody else will find. Each turn of this loop means that somebody else let go just now.
            if !is_still_named(&file, path).map_err(refused)? {
                continue;
            }
            write_holder(&file, holder).map_err(refused)?;
            return Ok(Lock {
                file,
                path: path.to_owned(),
            });
        }
    }

    /// The file that stands for the lock.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Best effort: the lock itself ends with the descriptor, and a file left behind is taken over by the next holder.
        if is_still_named(&self.file, &self.path).unwrap_or(false) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn is_still_named(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn write_holder(mut file: &File, holder: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(holder.as_bytes())
}

fn read_holder(file: File) -> String {
    let mut bytes = Vec::new();
    // What cannot be read is not worth an error of its own: that the lock is held is the news.
    let _ = file.take(MAX_HOLDER_BYTES).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    match text.lines().next().map(str::trim) {
        None | Some("") => "another process".to_owned(),
        Some(line) => truncate(&escape_control(line), MAX_HOLDER_CHARS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("repository.lock");
        let lock = Lock::acquire(&path, "process 42\u{1b}[2J (factory run)").unwrap();
        match Lock::acquire(&path, "process 43") {
            Err(DurableError::Held { holder, .. }) => assert_eq!(holder, "process 42\\u{1b}[2J (factory run)"),
            other => panic!("{other:?}"),
        }
        drop(lock);
        assert!(!path.exists(), "nothing stays behind");
        drop(Lock::acquire(&path, "process 43").unwrap());
    }

    #[test]
    fn a_file_left_by_a_killed_holder_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        fs::write(&path, "process 1, a very long time ago").unwrap();
        let lock = Lock::acquire(&path, "me").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "me");
        drop(lock);
    }

    #[test]
    fn a_lock_is_never_held_twice_under_contention() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let (holders, taken) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        if let Ok(lock) = Lock::acquire(&path, "somebody") {
                            assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                            taken.fetch_add(1, Ordering::SeqCst);
                            std::thread::yield_now();
                            holders.fetch_sub(1, Ordering::SeqCst);
                            drop(lock);
                        }
                    }
                });
            }
        });
        assert!(taken.load(Ordering::SeqCst) > 0);
    }

    #[test]
    fn a_symlink_is_not_followed_to_a_lock() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join("lock")).unwrap();
        assert!(matches!(
            Lock::acquire(&dir.path().join("lock"), "me"),
            Err(DurableError::Io { .. })
        ));
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }
}
