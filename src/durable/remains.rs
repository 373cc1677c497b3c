//! What is no longer needed: counted, and removed where that is wanted.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

/// Whether something is removed, or only told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It is removed.
    Done,
    /// It stays, and what would have been removed is told.
    Rehearsed,
}

/// How much was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Removed {
    /// How many things.
    pub count: u64,
    /// The bytes on disk that they had.
    pub bytes: u64,
}

impl Removed {
    /// Counts one more thing.
    pub fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }

    /// Counts what somebody else removed as well.
    pub fn join(&mut self, other: Removed) {
        self.count += other.count;
        self.bytes += other.bytes;
    }
}

/// Removes the files in `dir`, not in directories below it, that were written aside at least `age` ago and never got their
/// name: what a kill left. A directory that is not there has none.
///
/// # Errors
/// What the kernel answered.
pub fn remove_asides(dir: &Path, age: Duration, removal: Removal) -> io::Result<Removed> {
    let mut removed = Removed::default();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(removed),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        // The journal of a database that was being made has a suffix of its own.
        let is_aside = name.to_str().is_some_and(|name| {
            name.starts_with('.') && (name.ends_with(".aside") || name.ends_with(".aside-journal"))
        });
        let Ok(metadata) = entry.metadata() else { continue };
        if !is_aside || !metadata.is_file() || !is_older(&metadata, age) {
            continue;
        }
        if removal == Removal::Done {
            fs::remove_file(entry.path())?;
        }
        removed.add(on_disk(&metadata));
    }
    Ok(removed)
}

/// Whether something was last written at least `age` ago. A time in the future is that of a clock that was set back since.
pub fn is_older(metadata: &Metadata, age: Duration) -> bool {
    let elapsed = metadata.modified().map(|modified| modified.elapsed());
    elapsed.is_ok_and(|elapsed| elapsed.is_ok_and(|elapsed| elapsed >= age))
}

/// The bytes on disk of a directory tree, as far as it can be looked at. No link is followed.
pub fn tree_bytes(dir: &Path) -> u64 {
    let mut bytes = 0;
    let mut pending = vec![dir.to_owned()];
    while let Some(path) = pending.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        bytes += on_disk(&metadata);
        if metadata.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            pending.extend(entries.map(|entry| entry.path()));
        }
    }
    bytes
}

/// The bytes that a file has on disk. Source: inode(7): blocks are counted in units of 512 bytes.
pub fn on_disk(metadata: &Metadata) -> u64 {
    metadata.blocks() * 512
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn only_old_files_that_never_got_their_name_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let hour = Duration::from_secs(3600);
        for (name, age) in [
            (".journal.db.a.aside", hour * 2),
            (".journal.db.a.aside-journal", hour * 2),
            (".journal.db.b.aside", hour / 2),
            ("journal.db.aside", hour * 2),
            (".journal.db", hour * 2),
        ] {
            let path = dir.path().join(name);
            fs::write(&path, "x").unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        }
        fs::create_dir(dir.path().join(".directory.aside")).unwrap();
        let told = remove_asides(dir.path(), hour, Removal::Rehearsed).unwrap();
        assert_eq!((told.count, fs::read_dir(dir.path()).unwrap().count()), (2, 6));
        assert_eq!(remove_asides(dir.path(), hour, Removal::Done).unwrap(), told);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
        let absent = dir.path().join("absent");
        assert_eq!(remove_asides(&absent, hour, Removal::Done).unwrap(), Removed::default());
    }
}
