//! A directory of files that appears whole.

use super::{Aside, DurableError, ensure_dir, parent, remove_tree, sync_dir};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

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
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let staged = tempfile::Builder::new()
        .prefix(&format!(".{name}."))
        .suffix(".aside")
        .permissions(Permissions::from_mode(0o755))
        .tempdir_in(parent(path))
        .map_err(|error| failed("write beside", error))?;
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
