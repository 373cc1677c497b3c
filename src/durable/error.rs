//! What can go wrong with files, and whose turn it is then.

use crate::types::{FailureClass, Problem};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A file, a directory or a lock that could not be had. Always of class `Host`.
#[derive(Debug, thiserror::Error)]
pub enum DurableError {
    /// The file system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried, as the words between "cannot" and the path.
        action: &'static str,
        /// The path it was tried on.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Something has the name that was to be created.
    #[error("`{}` exists already", path.display())]
    Exists {
        /// The name that is taken.
        path: PathBuf,
    },
    /// Another process holds the lock.
    #[error("`{}` is held by {holder}", path.display())]
    Held {
        /// The file that stands for the lock.
        path: PathBuf,
        /// What the holder wrote about itself, escaped.
        holder: String,
    },
}

impl DurableError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        DurableError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn exists(path: &Path) -> Self {
        DurableError::Exists { path: path.to_owned() }
    }
}

impl Problem for DurableError {
    fn class(&self) -> FailureClass {
        FailureClass::Host
    }

    fn hint(&self) -> Option<String> {
        match self {
            DurableError::Io { path, source, .. } => {
                let file_system = mount_point(path);
                let file_system = file_system.display();
                match source.kind() {
                    ErrorKind::StorageFull => Some(format!(
                        "free some space (or inodes) on the file system mounted at `{file_system}`"
                    )),
                    ErrorKind::QuotaExceeded => Some(format!(
                        "free some of your quota on the file system mounted at `{file_system}`"
                    )),
                    ErrorKind::ReadOnlyFilesystem => Some(format!(
                        "the file system mounted at `{file_system}` is read-only; name a writable directory"
                    )),
                    ErrorKind::PermissionDenied => Some("check who owns the directory and its mode".to_owned()),
                    ErrorKind::NotADirectory => Some("a part of the path is a file; name another directory".to_owned()),
                    _ if source.raw_os_error() == Some(libc::EIO) => Some(format!(
                        "the device under the file system mounted at `{file_system}` fails; read the kernel's log (dmesg)"
                    )),
                    _ => None,
                }
            }
            DurableError::Exists { .. } => Some("name another place, or move what is there out of the way".to_owned()),
            DurableError::Held { .. } => Some("wait for the holder to finish, or end it".to_owned()),
        }
    }
}

/// The directory where the file system that holds `path` is mounted: the last one upwards on the same device.
fn mount_point(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut known = absolute
        .ancestors()
        .filter_map(|ancestor| Some((ancestor, ancestor.metadata().ok()?.dev())));
    let Some((mut top, device)) = known.next() else {
        return absolute;
    };
    for (ancestor, _) in known.take_while(|(_, other)| *other == device) {
        top = ancestor;
    }
    top.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_reported_with_its_file_system() {
        for (errno, word) in [
            (libc::ENOSPC, "space"),
            (libc::EDQUOT, "quota"),
            (libc::EROFS, "read-only"),
            (libc::EIO, "device"),
        ] {
            let error = DurableError::io(
                "write",
                Path::new("/proc/self/absent"),
                io::Error::from_raw_os_error(errno),
            );
            let hint = error.hint().unwrap();
            assert!(hint.contains(word) && hint.contains("`/proc`"), "{hint}");
            assert_eq!(error.class(), FailureClass::Host);
        }
    }
}
