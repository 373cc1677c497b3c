//! A directory of files that appears whole.

use super::{Aside, DurableError, Removal, Removed, ensure_dir, on_disk, parent, remove_tree, sync_dir, tree_bytes};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What ends the name of what has not got its own yet.
const SUFFIX: &str = ".aside";

/// Writes files, by name, and gives the directory that holds them the name `path` only when all of them are on disk. What
/// has the name before may be an empty directory, or one of which `is_replaced` says of every name that it may go; both are
/// replaced at once.
///
/// Everybody may read what is written, and only its owner change it.
///
/// # Errors
/// [`DurableError::Exists`] when the directory holds something else, and nothing was changed then; `Host` when the file
/// system refuses, or cannot exchange two directories.
pub fn publish_dir(
    path: &Path,
    files: &[(String, Vec<u8>)],
    is_replaced: &dyn Fn(&str) -> bool,
) -> Result<(), DurableError> {
    let failed = |what, error| DurableError::io(what, path, error);
    ensure_dir(parent(path))?;
    let (staged, _in_use) = stage(path)?;
    for (name, bytes) in files {
        let mut aside = Aside::create(&staged.path().join(name))?;
        aside.write(bytes, 0o644)?;
        aside.publish_new()?;
    }
    if holds_other(path, is_replaced).map_err(|error| failed("read the directory", error))? {
        return Err(DurableError::exists(path));
    }
    super::crash_point("the new directory is written, under another name");
    match renameat_with(CWD, staged.path(), CWD, path, RenameFlags::NOREPLACE) {
        // The name it had is gone, and with it all that would have to be cleared away.
        Ok(()) => drop(staged.keep()),
        Err(Errno::EXIST) => {
            renameat_with(CWD, staged.path(), CWD, path, RenameFlags::EXCHANGE)
                .map_err(|errno| failed("replace the directory", errno.into()))?;
            sync_dir(parent(path))?;
            // What was there before, under our name. It is in the way of nobody should that fail.
            let _ = remove_tree(&staged.keep());
        }
        Err(errno) => return Err(failed("create the directory", errno.into())),
    }
    sync_dir(parent(path))
}

/// A directory beside `path`, locked as long as somebody writes it: one that is not locked was left by a process that was
/// killed.
fn stage(path: &Path) -> Result<(TempDir, File), DurableError> {
    let failed = |error| DurableError::io("write beside", path, error);
    loop {
        let staged = tempfile::Builder::new()
            .prefix(&prefix(path))
            .suffix(SUFFIX)
            .permissions(Permissions::from_mode(0o755))
            .tempdir_in(parent(path))
            .map_err(failed)?;
        let directory = File::open(staged.path()).map_err(failed)?;
        // Somebody who clears away may have been faster than our lock. A file system without locks has nobody who is.
        let _ = directory.try_lock_shared();
        if staged.path().exists() {
            return Ok((staged, directory));
        }
    }
}

fn prefix(path: &Path) -> String {
    format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy())
}

/// Removes what processes that were killed left of a directory that they were publishing as `path`: directories beside it
/// that hold nothing but files of which `is_ours` says so, and such files in it that never got their name. What is still being
/// written is locked, and stays.
///
/// # Errors
/// `Host` when a directory cannot be read, or something not removed.
pub fn clear_unpublished(
    path: &Path,
    is_ours: &dyn Fn(&str) -> bool,
    removal: Removal,
) -> Result<Removed, DurableError> {
    let failed = |error| DurableError::io("clear away what was left of", path, error);
    let mut removed = Removed::default();
    let is_aside = |name: &str, prefix: &str| name.starts_with(prefix) && name.ends_with(SUFFIX);
    for (name, beside) in entries(parent(path)).map_err(failed)? {
        let is_directory = beside.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
        if !is_aside(&name, &prefix(path)) || !is_directory || is_in_use(&beside) {
            continue;
        }
        if holds_other(&beside, &|name| is_ours(name) || aside_of(name).is_some_and(is_ours)).map_err(failed)? {
            continue;
        }
        removed.add(tree_bytes(&beside));
        if removal == Removal::Done {
            remove_tree(&beside).map_err(failed)?;
        }
    }
    for (name, inside) in entries(path).map_err(failed)? {
        let Ok(metadata) = inside.symlink_metadata() else {
            continue;
        };
        if metadata.is_file() && aside_of(&name).is_some_and(is_ours) && !is_in_use(&inside) {
            removed.add(on_disk(&metadata));
            if removal == Removal::Done {
                fs::remove_file(&inside).map_err(failed)?;
            }
        }
    }
    Ok(removed)
}

/// The name that a file written aside was to get.
fn aside_of(name: &str) -> Option<&str> {
    let named = name.strip_prefix('.')?.strip_suffix(SUFFIX)?;
    named.rsplit_once('.').map(|(target, _)| target)
}

/// Whether somebody writes it. What cannot be asked may be in use.
fn is_in_use(path: &Path) -> bool {
    !File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

/// What a directory holds, by names that are text; nothing when it is not there.
fn entries(dir: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let found = match fs::read_dir(dir) {
        Ok(found) => found,
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut entries = Vec::new();
    for entry in found {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string() {
            entries.push((name, entry.path()));
        }
    }
    entries.sort();
    Ok(entries)
}

fn holds_other(path: &Path, is_replaced: &dyn Fn(&str) -> bool) -> std::io::Result<bool> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let replaced = entry.file_name().to_str().is_some_and(is_replaced);
        if !replaced || entry.file_type()?.is_dir() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<(String, Vec<u8>)> {
        names
            .iter()
            .map(|name| ((*name).to_owned(), name.as_bytes().to_vec()))
            .collect()
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_kill_left_is_cleared_away_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan");
        let put = |name: &str| {
            let file = dir.path().join(name);
            fs::create_dir_all(parent(&file)).unwrap();
            fs::write(file, "x").unwrap();
        };
        for name in [
            ".plan.aaaaaa.aside/WO-01.json",
            ".plan.aaaaaa.aside/.WO-02.json.cccccc.aside",
            ".plan.bbbbbb.aside/mine.txt",
            ".other.aaaaaa.aside/WO-01.json",
            "plan/WO-01.json",
            "plan/.WO-02.json.dddddd.aside",
            "plan/.mine.txt.dddddd.aside",
        ] {
            put(name);
        }
        let (held, _lock) = stage(&path).unwrap();
        let is_ours = |name: &str| name.starts_with("WO-");
        let told = clear_unpublished(&path, &is_ours, Removal::Rehearsed).unwrap();
        assert_eq!((told.count, names(&path).len()), (2, 3));
        assert_eq!(clear_unpublished(&path, &is_ours, Removal::Done).unwrap(), told);
        assert_eq!(names(&path), [".mine.txt.dddddd.aside", "WO-01.json"]);
        let held = held.path().file_name().unwrap().to_string_lossy().into_owned();
        let mut expected = vec![
            ".other.aaaaaa.aside".to_owned(),
            ".plan.bbbbbb.aside".to_owned(),
            held,
            "plan".to_owned(),
        ];
        expected.sort();
        assert_eq!(names(dir.path()), expected);
        assert_eq!(
            clear_unpublished(&dir.path().join("absent/plan"), &is_ours, Removal::Done)
                .unwrap()
                .count,
            0
        );
    }

    #[test]
    fn a_directory_appears_whole_and_replaces_only_what_may_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/plan");
        let nothing = |_: &str| false;
        publish_dir(&path, &files(&["a", "b"]), &nothing).unwrap();
        assert_eq!(names(&path), ["a", "b"]);
        assert_eq!(
            fs::metadata(path.join("a")).unwrap().permissions().mode() & 0o777,
            0o644
        );
        assert!(matches!(
            publish_dir(&path, &files(&["c"]), &nothing),
            Err(DurableError::Exists { .. })
        ));
        assert_eq!(names(&path), ["a", "b"]);
        publish_dir(&path, &files(&["c"]), &|name| name < "c").unwrap();
        assert_eq!(names(&path), ["c"]);
        assert_eq!(names(path.parent().unwrap()), ["plan"], "nothing stays aside");
        fs::create_dir(dir.path().join("empty")).unwrap();
        publish_dir(&dir.path().join("empty"), &files(&["d"]), &nothing).unwrap();
        assert_eq!(names(&dir.path().join("empty")), ["d"]);
    }
}
