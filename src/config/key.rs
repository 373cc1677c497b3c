//! API keys out of files and descriptors.
//!
//! - A file that others can read is refused: whoever wrote it there meant it to be secret.
//! - A key is one line of text; what is around it is cut off. It is shown nowhere.

use crate::types::{FailureClass, Problem};
use secrecy::SecretString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The longest key, in bytes. Tokens of identity providers have a few thousand.
const MAX_KEY_BYTES: u64 = 16 << 10;

/// The permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// A key that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("cannot read the API key from {place}")]
    Read {
        /// The file or the descriptor.
        place: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The file is not one that only we can read.
    #[error("the file `{}` is refused as the place of an API key: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        what: &'static str,
    },
    /// What was read is no key.
    #[error("what {place} has is no API key: {what}")]
    Malformed {
        /// The file or the descriptor.
        place: String,
        /// Why.
        what: &'static str,
    },
}

impl Problem for KeyError {
    fn class(&self) -> FailureClass {
        FailureClass::Policy
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            KeyError::Read { .. } => "name a file, or a descriptor that is open for reading".to_owned(),
            KeyError::File { path, .. } => format!("make it a regular file of your own: chmod 600 {}", path.display()),
            KeyError::Malformed { .. } => "it should be the key and nothing else, in one line".to_owned(),
        })
    }
}

/// Reads the key that is in a file.
///
/// # Errors
/// `Policy` when the file is not regular, not ours, open to others, or holds no key.
pub fn read_key_file(path: &Path) -> Result<SecretString, KeyError> {
    let place = || format!("the file `{}`", path.display());
    let unreadable = |source| KeyError::Read { place: place(), source };
    // Opening a FIFO for reading would wait for somebody who writes. What is judged is what was opened, not the name.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking.cast_signed())
        .open(path);
    let file = file.map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let refused = match () {
        () if !metadata.is_file() => Some("it is not a regular file"),
        () if metadata.uid() != rustix::process::geteuid().as_raw() => Some("it belongs to somebody else"),
        () if metadata.mode() & OTHERS != 0 => Some("its permissions let others at it"),
        () => None,
    };
    if let Some(what) = refused {
        let path = path.to_owned();
        return Err(KeyError::File { path, what });
    }
    read_key(file, place())
}

/// Reads the key that an inherited descriptor has, to its end.
///
/// # Errors
/// `Policy` when nothing can be read from it, or it has no key.
pub fn read_key_fd(fd: u32) -> Result<SecretString, KeyError> {
    let place = format!("descriptor {fd}");
    // Opened anew, for a number alone is nothing that safe code can own: a pipe goes on, a file starts again.
    match File::open(format!("/proc/self/fd/{fd}")) {
        Ok(file) => read_key(file, place),
        Err(source) => Err(KeyError::Read { place, source }),
    }
}

fn read_key(file: File, place: String) -> Result<SecretString, KeyError> {
    let mut bytes = Vec::new();
    if let Err(source) = file.take(MAX_KEY_BYTES + 1).read_to_end(&mut bytes) {
        return Err(KeyError::Read { place, source });
    }
    let malformed = |what| KeyError::Malformed {
        place: place.clone(),
        what,
    };
    if bytes.len() as u64 > MAX_KEY_BYTES {
        return Err(malformed("it is too long"));
    }
    let text = String::from_utf8(bytes).map_err(|_| malformed("it is not text"))?;
    match text.trim() {
        "" => Err(malformed("it is empty")),
        key if key.lines().count() > 1 => Err(malformed("it has several lines")),
        key => Ok(key.to_owned().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    fn key_file(directory: &Path, content: &str, mode: u32) -> PathBuf {
        let path = directory.join("key");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_key_is_the_one_line_of_a_file_that_only_we_can_read() {
        let directory = tempfile::tempdir().unwrap();
        for mode in [0o600, 0o400] {
            let path = key_file(directory.path(), " planted-key \n", mode);
            assert_eq!(read_key_file(&path).unwrap().expose_secret(), "planted-key");
            fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn a_file_that_others_can_read_or_write_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601] {
            let path = key_file(directory.path(), "planted-key", mode);
            let error = read_key_file(&path).unwrap_err();
            assert!(matches!(error, KeyError::File { .. }), "{mode:o}: {error}");
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for path in [fifo.as_path(), directory.path(), Path::new("/dev/null")] {
            assert!(
                matches!(read_key_file(path), Err(KeyError::File { .. })),
                "{}",
                path.display()
            );
        }
        assert!(matches!(
            read_key_file(&directory.path().join("absent")),
            Err(KeyError::Read { .. })
        ));
    }

    #[test]
    fn what_is_no_key_is_refused_without_showing_it() {
        let directory = tempfile::tempdir().unwrap();
        for content in ["", " \n", "planted\nlines", &"planted".repeat(10_000)] {
            let path = key_file(directory.path(), content, 0o600);
            let error = read_key_file(&path).unwrap_err();
            assert!(matches!(error, KeyError::Malformed { .. }), "{error}");
            assert!(!format!("{error:?} {error}").contains("planted"));
        }
    }
}
