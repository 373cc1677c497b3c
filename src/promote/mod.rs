//! Passing verdict → branch: builds the commit from the verified bytes and moves one ref.
//!
//! - Only a [`Passed`] is promoted, and promoting consumes it.
//! - The commit is made of the change set's bytes and the base commit: nothing that a command could have touched enters.
//! - Objects are on disk before the ref moves, and the ref is on disk before success is reported.
//! - The ref moves by compare-and-swap: another writer's commit is never overwritten.
//! - No work tree, index, HEAD, configuration or hook is touched.
//!
//! It comes in two halves, so that the caller can note what is about to happen: [`prepare`] writes a commit that nothing
//! leads to, [`commit`] moves the branch. [`settle`] finishes what was announced and never reported. It does not know how the verdict came about, nor what to do when the branch moved.

mod branch;
mod error;
mod message;
mod settle;
#[cfg(test)]
mod tests;

pub use branch::{BranchMode, Target, default_branch, target};
pub use error::PromoteError;
pub use message::{ORDER_KEY_TRAILER, ORDER_TRAILER, RUN_TRAILER, Trailers};
pub use settle::{Announced, Settled, settle};

use crate::durable::crash_point;
use crate::types::ObjectId;
use crate::verify::Passed;
use crate::workspace::{BranchSwap, InMemory, Repository, WorkspaceError};

/// What came of preparing.
#[derive(Debug)]
#[must_use = "a prepared promotion has a second half"]
pub enum Outcome {
    /// The changes leave the base as it is: a pass without a commit.
    Unchanged,
    /// There is a commit for the branch to move to.
    Prepared(Prepared),
}

/// A commit on disk that no ref leads to yet.
#[derive(Debug)]
#[must_use = "the branch has not moved yet; `commit` moves it"]
pub struct Prepared {
    target: Target,
    base: ObjectId,
    tree: ObjectId,
    commit: ObjectId,
}

impl Prepared {
    /// The commit.
    pub fn commit_id(&self) -> ObjectId {
        self.commit
    }

    /// The commit's tree.
    pub fn tree_id(&self) -> ObjectId {
        self.tree
    }

    /// The commit's parent, on which the changes were verified.
    pub fn base(&self) -> ObjectId {
        self.base
    }

    /// The branch that is to move.
    pub fn branch(&self) -> &str {
        &self.target.branch
    }

    /// The value that the branch must still have; nothing when it must not exist.
    pub fn expected(&self) -> Option<ObjectId> {
        self.target.expected
    }

    /// What has to be known to finish it after a crash.
    pub fn announce(&self) -> Announced {
        Announced {
            branch: self.target.branch.clone(),
            base: self.base,
            expected: self.target.expected,
            commit: self.commit,
            tree: self.tree,
        }
    }
}

/// A branch that moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promotion {
    /// The branch.
    pub branch: String,
    /// Its new tip.
    pub commit: ObjectId,
    /// The tip's tree.
    pub tree: ObjectId,
}

/// Writes the commit for a verified change set, and syncs it to disk. No ref moves.
///
/// The commit's author is the repository's `user.name` and `user.email`, or `factory <factory@localhost>`.
///
/// # Errors
/// `Conflict` when the branch exists and its tip is not the commit on which the changes were verified; `Host` when the
/// repository cannot be read or written; `Internal` when the trailers name other evidence than the verdict's.
pub fn prepare(
    repo: &Repository,
    passed: Passed,
    target: Target,
    title: &str,
    trailers: &Trailers,
) -> Result<Outcome, PromoteError> {
    let base = passed.base();
    if trailers.evidence != passed.evidence() {
        return Err(PromoteError::OtherEvidence);
    }
    // A commit on top of another base would take the branch's own commits away.
    if target.expected.is_some_and(|tip| tip != base) {
        return Err(PromoteError::Moved {
            branch: target.branch,
            expected: Some(base),
            found: target.expected,
        });
    }
    let fail = |source| PromoteError::CannotPrepare { base, source };
    let snapshot = repo.snapshot(base).map_err(fail)?;
    let made = InMemory::open(repo).map_err(fail)?;
    let mut written = made
        .repository()
        .write_changes(&snapshot, passed.change_set())
        .map_err(fail)?;
    if written.tree == snapshot.tree() {
        return Ok(Outcome::Unchanged);
    }
    let message = message::render(title, trailers);
    crash_point("the trees are made, the commit not");
    let commit = made
        .repository()
        .write_commit(&mut written, base, &message)
        .map_err(fail)?;
    crash_point("the commit is made, nothing is written");
    repo.store_objects(&made, &written).map_err(fail)?;
    Ok(Outcome::Prepared(Prepared {
        target,
        base,
        tree: written.tree,
        commit,
    }))
}

/// Moves the branch to the prepared commit, when it still has the value that was expected.
///
/// After an error the branch is where its other writers left it, and the commit is still in the object database; only
/// [`PromoteError::NotSynced`] says that the branch has moved.
///
/// # Errors
/// `Conflict` when the branch moved, appeared, vanished, or was checked out since; `Host` when another program holds its
/// lock, or it cannot be written.
pub fn commit(repo: &Repository, prepared: Prepared) -> Result<Promotion, PromoteError> {
    let Prepared {
        target: Target { branch, expected, .. },
        tree,
        commit,
        ..
    } = prepared;
    branch::refuse_checked_out(repo, &branch)?;
    let fail = |source| PromoteError::CannotMove {
        branch: branch.clone(),
        source,
    };
    let log_message = format!("factory: promote {}", commit.short());
    match repo
        .swap_branch(&branch, expected, commit, &log_message)
        .map_err(|source| stopped(repo, &branch, commit, source))?
    {
        BranchSwap::Done => Ok(Promotion { branch, commit, tree }),
        BranchSwap::Moved => Err(PromoteError::Moved {
            found: repo.branch_tip(&branch).map_err(fail)?,
            branch,
            expected,
        }),
        BranchSwap::Locked(lock) => Err(PromoteError::Locked { branch, lock }),
    }
}

/// An attempt to move a branch that broke: before the ref was renamed into place, or after, when its directories are synced.
fn stopped(repo: &Repository, branch: &str, commit: ObjectId, source: WorkspaceError) -> PromoteError {
    let branch = branch.to_owned();
    match repo.branch_tip(&branch) {
        Ok(Some(tip)) if tip == commit => PromoteError::NotSynced { branch, commit, source },
        _ => PromoteError::CannotMove { branch, source },
    }
}
