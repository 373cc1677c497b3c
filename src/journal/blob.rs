//! Payloads beside the database, one file each, named by their SHA-256: `blobs/ab/cdef…`.

use super::{JournalError, Recorded};
use crate::durable::{DurableError, ensure_dir, sync_dir, write_new};
use crate::types::Sha256;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// The largest payload, in bytes.
pub const MAX_BLOB_BYTES: usize = 64 << 20;

/// The fields of bodies that name blobs.
const NAMES: [&str; 3] = ["answer", "text", "evidence"];

/// The entry that says which blobs were removed because their time was over: a list under `blobs`.
pub const BLOBS_REMOVED: &str = "blob.removed";

/// The blobs that entries name.
pub(super) fn named(entries: &[Recorded]) -> BTreeSet<Sha256> {
    // Version 1 said `answer` and `evidence` too, but kept no evidence of rejected candidates.
    let of_this_version = entries.iter().filter(|entry| entry.version > 1);
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
    match write_new(&path, bytes) {
        Ok(()) => Ok(digest),
        Err(DurableError::Exists { .. }) => {
            // Files appear here whole, so this one is the payload or it is damaged. Its name may not be on disk yet, when
            // another process is between giving it and syncing the directory.
            get(blobs, digest)?;
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
