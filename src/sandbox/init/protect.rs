//! Notices when a command changes what the policy protects.
//!
//! Contents and execute bits are compared before and after, in the view of the command: whatever way it took (a write, a
//! rename, a directory put in the place of another), what counts is what is there in the end.

use super::Step;
use crate::sandbox::setup::LayerFailure;
use crate::types::{RepoPath, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What the protected paths held before the command started.
#[derive(Debug)]
pub(in crate::sandbox) struct Protected<'a> {
    tree: &'a Path,
    paths: &'a [RepoPath],
    before: BTreeMap<PathBuf, Entry>,
}

/// What of a file counts.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    File {
        digest: Sha256,
        executable: bool,
    },
    Link(PathBuf),
    /// A pipe, a socket, a device: never opened.
    Other,
}

impl<'a> Protected<'a> {
    /// Reads what is there now. A path that is not there is protected from being made.
    pub(in crate::sandbox) fn note(tree: &'a Path, paths: &'a [RepoPath]) -> Result<Self, LayerFailure> {
        let before = read_all(tree, paths).step("read the protected paths")?;
        Ok(Protected { tree, paths, before })
    }

    /// The first path that is not as it was.
    pub(in crate::sandbox) fn changed(&self) -> Option<String> {
        if self.paths.is_empty() {
            return None;
        }
        let Ok(after) = read_all(self.tree, self.paths) else {
            // Made unreadable: the command had the right to do so, and that is a change.
            return self.paths.first().map(|path| path.as_str().to_owned());
        };
        let differs = |path: &&PathBuf| self.before.get(*path) != after.get(*path);
        let path = self.before.keys().chain(after.keys()).filter(differs).min()?;
        let path = path.strip_prefix(self.tree).unwrap_or(path);
        Some(path.to_string_lossy().into_owned())
    }
}

/// The digests of the paths that are regular files. What cannot be read is none, and no link is followed.
pub(in crate::sandbox) fn digests(tree: &Path, paths: &[RepoPath]) -> BTreeMap<RepoPath, Sha256> {
    let digest = |path: &RepoPath| {
        let place = tree.join(path.as_str());
        if leads_out(tree, &place) || !fs::symlink_metadata(&place).ok()?.is_file() {
            return None;
        }
        let mut file = fs::File::options()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&place)
            .ok()?;
        Sha256::of_reader(&mut file).ok()
    };
    paths
        .iter()
        .filter_map(|path| Some((path.clone(), digest(path)?)))
        .collect()
}

/// Whether a directory on the way is a link out of the tree: what it leads to is none of the command's, and where the root is
/// the host's, not ours to open.
fn leads_out(tree: &Path, path: &Path) -> bool {
    let parent = path.parent().and_then(|parent| fs::canonicalize(parent).ok());
    parent.is_some_and(|parent| !parent.starts_with(tree))
}

/// Everything at and below the paths. Iterative: what a command made may be deep.
fn read_all(tree: &Path, paths: &[RepoPath]) -> std::io::Result<BTreeMap<PathBuf, Entry>> {
    let mut found = BTreeMap::new();
    let mut pending: Vec<PathBuf> = paths.iter().map(|path| tree.join(path.as_str())).collect();
    pending.retain(|path| {
        let leads_out = leads_out(tree, path);
        if leads_out {
            found.insert(path.clone(), Entry::Other);
        }
        !leads_out
    });
    while let Some(path) = pending.pop() {
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => continue,
            Err(error) => return Err(error),
        };
        if metadata.is_dir() {
            for entry in fs::read_dir(&path)? {
                pending.push(entry?.path());
            }
            continue;
        }
        let entry = if metadata.is_symlink() {
            Entry::Link(fs::read_link(&path)?)
        } else if metadata.is_file() {
            let mut file = fs::File::options()
                .read(true)
                .custom_flags(libc::O_NOFOLLOW)
                .open(&path)?;
            Entry::File {
                digest: Sha256::of_reader(&mut file)?,
                executable: metadata.mode() & 0o111 != 0,
            }
        } else {
            Entry::Other
        };
        found.insert(path, entry);
    }
    Ok(found)
}
