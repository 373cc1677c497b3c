//! The directory of a plan: refused before anything is paid, written whole, and read again.

use super::super::failure::{Failure, Situation};
use crate::durable::{DurableError, Removal, Removed, clear_unpublished, publish_dir, sync_dir, write_atomic};
use crate::plan::{MANIFEST, in_the_way, is_order_file};
use crate::types::{FailureClass, escape_control};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The largest manifest that is read, in bytes.
const MAX_MANIFEST_BYTES: u64 = 16 << 20;

/// Whether the files of an earlier plan may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replacing {
    Refused,
    Allowed,
}

/// Finds out whether a plan could be written to `output`.
pub(super) fn check(output: &Path, git_dir: &Path, replacing: Replacing) -> Result<(), Failure> {
    let shown = shown(output);
    let refused = |message: String, hint: &str| {
        Err(Failure::plain(FailureClass::Order, message)
            .in_situation(Situation::Usage)
            .with_hint(hint))
    };
    if output.to_str().is_none() || output.file_name().is_none() {
        return refused(
            format!("`{shown}` cannot be the directory of a plan"),
            "name a directory whose path is UTF-8",
        );
    }
    let existing = output
        .ancestors()
        .find(|place| place.exists())
        .unwrap_or(Path::new("/"));
    let real = existing.canonicalize().unwrap_or_else(|_| existing.to_owned());
    if git_dir.canonicalize().is_ok_and(|git_dir| real.starts_with(git_dir)) {
        return refused(
            format!("`{shown}` is inside the git directory"),
            "name a directory outside of it",
        );
    }
    if !existing.is_dir() {
        return refused(
            format!("`{}` is not a directory", self::shown(existing)),
            "name another directory with --out",
        );
    }
    let writable = rustix::fs::access(existing, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
    writable.map_err(|errno| {
        storage(format!("cannot write to `{}`", self::shown(existing)), errno.into())
            .with_hint("name another directory with --out")
    })?;
    let names = names_in(output)?;
    let obstacles = in_the_way(&names);
    if obstacles.is_empty() || replacing == Replacing::Allowed {
        return Ok(());
    }
    let message = format!("`{shown}` holds the plan that it would overwrite");
    let failure = Failure::plain(FailureClass::Order, message).because(obstacles.join(", "));
    Err(failure
        .in_situation(Situation::Usage)
        .with_hint("name another directory, or replace that plan with --overwrite"))
}

/// Writes the files of a plan, the manifest last.
///
/// A directory that holds nothing else is replaced at once. Beside other files the manifest decides: it is removed before
/// anything else is touched and written when all is there, so that a plan that is cut off in between is none.
pub(super) fn write(output: &Path, files: &[(String, Vec<u8>)]) -> Result<(), Failure> {
    let failed = |error: DurableError| Failure::new(&error, Situation::Storage);
    let output = output.canonicalize().unwrap_or_else(|_| output.to_owned());
    clear(&output, Removal::Done)?;
    match publish_dir(&output, files, &is_plan_file) {
        Ok(()) => return Ok(()),
        Err(DurableError::Exists { .. }) => {}
        // A file system that cannot exchange directories.
        Err(error) if output.exists() => tracing::debug!(%error, "the directory is written file by file"),
        Err(error) => return Err(failed(error)),
    }
    for name in in_the_way(names_in(&output)?) {
        let path = output.join(&name);
        fs::remove_file(&path).map_err(|error| storage(format!("cannot remove `{}`", shown(&path)), error))?;
        sync_dir(&output).map_err(failed)?;
    }
    let mut written: Vec<PathBuf> = Vec::new();
    for (name, bytes) in files {
        let path = output.join(name);
        if let Err(error) = write_atomic(&path, bytes, 0o644) {
            // All or nothing, as far as the file system lets us.
            written.iter().for_each(|path| drop(fs::remove_file(path)));
            return Err(failed(error));
        }
        written.push(path);
    }
    Ok(())
}

/// Whether a file of this name belongs to a plan.
fn is_plan_file(name: &str) -> bool {
    name == MANIFEST || is_order_file(name)
}

/// Removes what planners that were killed while they wrote a plan to `output` left in and beside it.
///
/// # Errors
/// `Host` when it cannot be read or removed.
pub(in crate::run) fn clear(output: &Path, removal: Removal) -> Result<Removed, Failure> {
    clear_unpublished(output, &is_plan_file, removal).map_err(|error| Failure::new(&error, Situation::Storage))
}

/// What is in the directory of a plan: its manifest, if it has one, and its order files by name, in their order.
#[derive(Debug)]
pub struct PlanFiles {
    /// The text of the manifest.
    pub manifest: Option<Vec<u8>>,
    /// The names of the order files.
    pub orders: Vec<String>,
}

/// Reads the directory of a plan.
///
/// # Errors
/// `Host` when it cannot be read.
pub fn read_plan(dir: &Path) -> Result<PlanFiles, Failure> {
    let names = names_in(dir)?;
    let orders = crate::order::sort_files(names.iter().cloned());
    let manifest = match names.iter().any(|name| name == MANIFEST) {
        true => Some(read_manifest(&dir.join(MANIFEST))?),
        false => None,
    };
    Ok(PlanFiles { manifest, orders })
}

fn read_manifest(path: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |error| storage(format!("cannot read `{}`", shown(path)), error);
    let other = |what: &str| unreadable(std::io::Error::other(what.to_owned()));
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_MANIFEST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(other("it is larger than a manifest may be"));
    }
    Ok(bytes)
}

/// The names in a directory; none when it is not there. Those that are no text are of no concern.
fn names_in(dir: &Path) -> Result<Vec<String>, Failure> {
    let unreadable = |error| storage(format!("cannot list `{}`", shown(dir)), error);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(unreadable)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn storage(message: String, error: std::io::Error) -> Failure {
    Failure::plain(FailureClass::Host, message)
        .because(error.to_string())
        .in_situation(Situation::Storage)
}

fn shown(path: &Path) -> String {
    escape_control(&path.to_string_lossy())
}
