//! Payloads beside the database, one file each, named by their SHA-256: `blobs/ab/cdef…`.

use super::{JournalError, Recorded};
use crate::durable::{self, DurableError, Removal, Removed, ensure_dir, is_older, on_disk, sync_dir, write_new};
use crate::types::Sha256;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The largest payload, in bytes.
pub const MAX_BLOB_BYTES: usize = 64 << 20;

/// The fields of bodies that name blobs.
const NAMES: [&str; 3] = ["answer", "text", "evidence"];

/// The entry that says which blobs were removed because their time was over: a list under `blobs`.
pub const BLOBS_REMOVED: &str = "blob.removed";

/// The blobs that entries name.
pub(super) fn named<'a>(entries: impl IntoIterator<Item = &'a Recorded>) -> BTreeSet<Sha256> {
    // Version 1 said `answer` and `evidence` too, but kept no evidence of rejected candidates.
    let of_this_version = entries.into_iter().filter(|entry| entry.version > 1);
    of_this_version
        .flat_map(|entry| NAMES.iter().filter_map(|name| entry.body.get(name)?.as_str()))
        .filter_map(|digest| digest.parse().ok())
        .collect()
}

/// The blobs that were removed.
pub(super) fn removed(entries: &[Recorded]) -> BTreeSet<Sha256> {
    let removals = entries.iter().filter(|entry| entry.kind == BLOBS_REMOVED);
    removals
        .filter_map(|entry| entry.body.get("blobs")?.as_array())
        .flatten()
        .filter_map(|digest| digest.as_str()?.parse().ok())
        .collect()
}

/// The blobs that entries name and none that `is_needed` does, with their bytes on disk, as far as they are there and nobody
/// stored them anew within `age`.
pub(super) fn unneeded(
    blobs: &Path,
    entries: &[Recorded],
    is_needed: impl Fn(&Recorded) -> bool,
    age: Duration,
) -> Vec<(Sha256, u64)> {
    let needed = named(entries.iter().filter(|entry| is_needed(entry)));
    let unneeded = named(entries).into_iter().filter(|digest| !needed.contains(digest));
    unneeded
        .filter_map(|digest| {
            let metadata = fs::symlink_metadata(place(blobs, digest).1).ok()?;
            is_older(&metadata, age).then(|| (digest, on_disk(&metadata)))
        })
        .collect()
}

/// Removes a blob, unless somebody stored it anew within `age`. Tells whether it did.
pub(super) fn remove(blobs: &Path, digest: Sha256, age: Duration) -> Result<bool, JournalError> {
    let (_, path) = place(blobs, digest);
    let fail = |source| JournalError::Unreadable {
        path: path.clone(),
        source,
    };
    let directory = File::open(blobs).map_err(fail)?;
    directory.lock().map_err(fail)?;
    match fs::symlink_metadata(&path) {
        Ok(metadata) if is_older(&metadata, age) => fs::remove_file(&path).map(|()| true).map_err(fail),
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(fail(error)),
    }
}

/// Removes what a kill left beside blobs that were being stored.
pub(super) fn remove_asides(blobs: &Path, age: Duration, removal: Removal) -> Result<Removed, JournalError> {
    let fail = |source| JournalError::Unreadable {
        path: blobs.to_owned(),
        source,
    };
    let mut removed = Removed::default();
    let directories = match fs::read_dir(blobs) {
        Ok(directories) => directories,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(removed),
        Err(error) => return Err(fail(error)),
    };
    for directory in directories {
        let path = directory.map_err(fail)?.path();
        if path.is_dir() {
            removed.join(durable::remove_asides(&path, age, removal).map_err(fail)?);
        }
    }
    Ok(removed)
}

pub(super) fn put(blobs: &Path, bytes: &[u8]) -> Result<Sha256, JournalError> {
    if bytes.len() > MAX_BLOB_BYTES {
        return Err(JournalError::TooLarge {
            what: "blob",
            bytes: bytes.len(),
            max: MAX_BLOB_BYTES,
        });
    }
    let digest = Sha256::of(bytes);
    let (directory, path) = place(blobs, digest);
    let refused = |source| JournalError::Storage {
        path: path.clone(),
        source,
    };
    ensure_dir(&directory).map_err(refused)?;
    // As long as it is held, no blob is removed.
    let lock = File::open(blobs).and_then(|blobs| blobs.lock_shared().map(|()| blobs));
    let _lock = lock.map_err(|source| JournalError::Unreadable {
        path: blobs.to_owned(),
        source,
    })?;
    match write_new(&path, bytes) {
        Ok(()) => Ok(digest),
        Err(DurableError::Exists { .. }) => {
            // Files appear here whole, so this one is the payload or it is damaged. Its name may not be on disk yet, when
            // another process is between giving it and syncing the directory.
            get(blobs, digest)?;
            // So that it is not removed as an old one before an entry names it again.
            if let Err(error) = File::open(&path).and_then(|file| file.set_modified(SystemTime::now())) {
                tracing::debug!(%error, "that a blob was stored again could not be noted");
            }
            sync_dir(&directory).map_err(refused)?;
            Ok(digest)
        }
        Err(error) => Err(refused(error)),
    }
}

pub(super) fn get(blobs: &Path, digest: Sha256) -> Result<Vec<u8>, JournalError> {
    let (_, path) = place(blobs, digest);
    match read_bounded(&path) {
        Ok(bytes) if Sha256::of(&bytes) == digest => Ok(bytes),
        Ok(_) => Err(JournalError::BlobDamaged { path, digest }),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Err(JournalError::BlobMissing { path, digest }),
        Err(source) => Err(JournalError::Unreadable { path, source }),
    }
}

fn place(blobs: &Path, digest: Sha256) -> (PathBuf, PathBuf) {
    let digits = digest.to_string();
    let (first, rest) = digits.split_at(2);
    let directory = blobs.join(first);
    let path = directory.join(rest);
    (directory, path)
}

/// Reads at most one byte more than a payload may have: enough to get the digest wrong.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_BLOB_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}
