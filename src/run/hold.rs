//! One writer per repository: the lock that a run holds, and what it says about itself in the journal.

use super::failure::{Failure, Situation, interrupted};
use super::ground::Cancel;
use crate::durable::{DurableError, Lock, ProcessMark};
use crate::types::FailureClass;
use crate::workspace::Repository;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The lock's name in the common git directory, where every work tree and every spelling of the path leads to the same one.
const LOCK: &str = "factory-lock";
/// How often a lock that is held is tried again.
const POLL: Duration = Duration::from_millis(50);

/// Who runs, and on what: enough to tell later whether the run is still under way, and whether this is still the repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The process.
    pub process: ProcessMark,
    /// The common git directory.
    pub common_dir: PathBuf,
    /// Its device and inode, which a move within a file system keeps and a new clone does not.
    pub identity: (u64, u64),
}

impl Lease {
    /// That of the calling process on a repository.
    ///
    /// # Errors
    /// `Host` when the kernel does not say.
    pub(super) fn own(repository: &Repository) -> Result<Self, Failure> {
        Ok(Lease {
            process: ProcessMark::own().map_err(|error| Failure::new(&error, Situation::Plain))?,
            common_dir: common_dir(repository),
            identity: identity(repository),
        })
    }

    /// Whether it is one on this repository.
    pub(super) fn is_on(&self, repository: &Repository) -> bool {
        self.common_dir == common_dir(repository) || self.identity == identity(repository)
    }
}

fn common_dir(repository: &Repository) -> PathBuf {
    let common_dir = repository.common_dir();
    common_dir.canonicalize().unwrap_or_else(|_| common_dir.to_owned())
}

fn identity(repository: &Repository) -> (u64, u64) {
    let metadata = repository.common_dir().metadata();
    metadata.map_or((0, 0), |metadata| (metadata.dev(), metadata.ino()))
}

/// Takes the repository for the calling process, and waits for it as long as `patience`. `purpose` is shown to whoever finds
/// it taken.
///
/// # Errors
/// `Host` when another process has it until then, or the git directory refuses; `Cancelled` when a signal arrives meanwhile.
pub(super) async fn hold(
    repository: &Repository,
    purpose: &str,
    patience: Duration,
    cancel: &mut Cancel,
) -> Result<Lock, Failure> {
    let path = repository.common_dir().join(LOCK);
    let holder = format!("process {} ({purpose})", std::process::id());
    let deadline = Instant::now() + patience;
    loop {
        match Lock::acquire(&path, &holder) {
            Ok(lock) => return Ok(lock),
            Err(DurableError::Held { holder, .. }) if Instant::now() >= deadline => {
                return Err(held(repository, holder));
            }
            Err(DurableError::Held { .. }) => {}
            Err(error) => return Err(Failure::new(&error, Situation::Storage)),
        }
        tokio::select! {
            biased;
            signal = cancel.wait() => return Err(interrupted(signal)),
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

fn held(repository: &Repository, holder: String) -> Failure {
    let message = format!("another run holds the repository {}", repository.work_dir().display());
    Failure::plain(FailureClass::Host, message)
        .because(holder)
        .in_situation(Situation::Locked)
        .with_hint("wait until it has ended, such as with --wait 1h, or run in a clone of the repository")
}
