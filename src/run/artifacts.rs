//! The directory of one run: everything that was asked, answered, run and decided, for people to read.
//!
//! - It is created exclusively and never used again.
//! - Files are created, never replaced.
//! - Nothing is decided by what is in it: the journal is the record that survives a power cut, and this is a copy that a
//!   person can open. That is why only the last file, `summary.json`, waits for the disk.

use crate::durable::{DurableError, create_exclusive_dir, ensure_dir, write_new};
use crate::types::{FailureClass, Problem, RunId};
use serde::Serialize;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The directory of one run.
#[derive(Debug)]
pub(super) struct Artifacts {
    dir: PathBuf,
}

impl Artifacts {
    /// The directory of `run` below `parent`, which is not created yet.
    pub(super) fn of(parent: &Path, run: RunId) -> Self {
        Artifacts {
            dir: parent.join(run.to_string()),
        }
    }

    /// Creates it, and what is above it if need be.
    ///
    /// # Errors
    /// `Host` when the file system refuses or the directory exists.
    pub(super) fn create(&self) -> Result<(), ArtifactError> {
        let parent = self.dir.parent().unwrap_or(Path::new("."));
        ensure_dir(parent)
            .and_then(|()| create_exclusive_dir(&self.dir))
            .map_err(|source| ArtifactError::Directory {
                path: self.dir.clone(),
                source,
            })
    }

    /// Says to whoever makes room that the directory is in use, until the file is closed, as it is when this process is killed.
    ///
    /// A file system without locks is no reason to refuse: then only the age of the entries speaks for it.
    pub(super) fn hold(&self) -> Option<File> {
        let directory = File::open(&self.dir).ok()?;
        directory.try_lock().ok().map(|()| directory)
    }

    /// The directory of a run that was opened by somebody else.
    pub(super) fn existing(dir: &Path) -> Self {
        Artifacts { dir: dir.to_owned() }
    }

    /// Removes the directory of a run that could not be opened: there is nothing in it to read.
    pub(super) fn discard(self) {
        // It is in the way of nobody, and why the run could not be opened is the news.
        let _ = std::fs::remove_dir_all(&self.dir);
    }

    /// Where it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Creates the directory of an attempt.
    ///
    /// # Errors
    /// `Host` when the file system refuses.
    pub(super) fn begin_attempt(&self, attempt: u32) -> Result<(), ArtifactError> {
        self.create_dir(&format!("attempt-{attempt}"))
    }

    /// Creates a directory of the run.
    ///
    /// # Errors
    /// `Host` when the file system refuses.
    pub(super) fn create_dir(&self, name: &str) -> Result<(), ArtifactError> {
        let path = self.dir.join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|source| ArtifactError::Io { path, source })
    }

    /// Creates the file `name` of the run.
    ///
    /// # Errors
    /// `Host` when the file system refuses or the file exists.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ArtifactError> {
        create(self.dir.join(name), bytes)
    }

    /// Creates the file `name` of an attempt.
    ///
    /// # Errors
    /// `Host` when the file system refuses or the file exists.
    pub(super) fn write_of(&self, attempt: u32, name: &str, bytes: &[u8]) -> Result<(), ArtifactError> {
        create(self.attempt_dir(attempt).join(name), bytes)
    }

    /// Creates the last file of the run and waits until it is on disk.
    ///
    /// # Errors
    /// `Host` when the file system refuses or the file exists.
    pub(super) fn seal(&self, name: &str, bytes: &[u8]) -> Result<(), ArtifactError> {
        let path = self.dir.join(name);
        write_new(&path, bytes).map_err(|source| ArtifactError::Directory { path, source })
    }

    fn attempt_dir(&self, attempt: u32) -> PathBuf {
        self.dir.join(format!("attempt-{attempt}"))
    }
}

/// A document as written to artifacts: readable, and ended by a newline.
pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("records have text keys and finite numbers only");
    bytes.push(b'\n');
    bytes
}

fn create(path: PathBuf, bytes: &[u8]) -> Result<(), ArtifactError> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(bytes));
    written.map_err(|source| ArtifactError::Io { path, source })
}

/// An artifact that could not be written. Always of class `Host`.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The directory of a run, or its last file, could not be created.
    #[error("cannot record the run in `{}`", path.display())]
    Directory {
        /// The directory or file.
        path: PathBuf,
        /// What was refused.
        source: DurableError,
    },
    /// A file could not be written.
    #[error("cannot write the artifact `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
}

impl Problem for ArtifactError {
    fn class(&self) -> FailureClass {
        FailureClass::Host
    }

    fn hint(&self) -> Option<String> {
        match self {
            ArtifactError::Directory { source, .. } => source.hint(),
            ArtifactError::Io { .. } => {
                Some("see whether the disk is full, or name another directory with --artifacts".to_owned())
            }
        }
    }
}
