//! What became of a promotion that was announced and never reported, because the process that made it was killed.

use super::{PromoteError, Promotion, branch, stopped};
use crate::durable::crash_point;
use crate::types::ObjectId;
use crate::workspace::{BranchSwap, Repository};
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

/// A promotion as it was announced, before the branch moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// The branch that was to move.
    pub branch: String,
    /// The commit on which the changes were verified.
    pub base: ObjectId,
    /// The value that the branch was to have still; nothing when it was not to exist.
    pub expected: Option<ObjectId>,
    /// The commit that the branch was to move to.
    pub commit: ObjectId,
    /// That commit's tree.
    pub tree: ObjectId,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// The branch has the commit, and both are on disk.
    Committed(Promotion),
    /// The branch is where it was, and the commit cannot be had any more, or the branch must not be moved now.
    Undone,
    /// Somebody else moved the branch meanwhile. It was left alone.
    Moved {
        /// Where it is now.
        found: Option<ObjectId>,
    },
}

/// Finishes a promotion that was announced at `since`, if that can be done.
///
/// It can be called again at any time, and after a crash of its own.
///
/// # Errors
/// `Host` when the repository cannot be read or written, or somebody holds the lock of the branch.
pub fn settle(repo: &Repository, announced: &Announced, since: SystemTime) -> Result<Settled, PromoteError> {
    let Announced {
        branch,
        expected,
        commit,
        tree,
        ..
    } = announced;
    let fail = |source| PromoteError::CannotMove {
        branch: branch.clone(),
        source,
    };
    let done = || {
        Settled::Committed(Promotion {
            branch: branch.clone(),
            commit: *commit,
            tree: *tree,
        })
    };
    repo.remove_stale_lock(branch, *commit, since).map_err(fail)?;
    crash_point("a stale lock is out of the way");
    let found = repo.branch_tip(branch).map_err(fail)?;
    // Somebody may have gone on from our commit; then it arrived.
    if let Some(tip) = found
        && repo.leads_to(*commit, tip).map_err(fail)?
    {
        repo.sync_branch(branch)
            .map_err(|source| stopped(repo, branch, *commit, source))?;
        return Ok(done());
    }
    if found != *expected {
        return Ok(Settled::Moved { found });
    }
    if !repo.is_whole(*commit) || branch::refuse_checked_out(repo, branch).is_err() {
        return Ok(Settled::Undone);
    }
    let log_message = format!("factory: promote {}", commit.short());
    match repo
        .swap_branch(branch, *expected, *commit, &log_message)
        .map_err(|source| stopped(repo, branch, *commit, source))?
    {
        BranchSwap::Done => Ok(done()),
        BranchSwap::Moved => Ok(Settled::Moved {
            found: repo.branch_tip(branch).map_err(fail)?,
        }),
        BranchSwap::Locked(lock) => Err(PromoteError::Locked {
            branch: branch.clone(),
            lock,
        }),
    }
}
