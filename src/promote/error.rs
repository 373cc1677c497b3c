//! Why nothing was promoted.

use crate::types::{FailureClass, ObjectId, Problem};
use crate::workspace::WorkspaceError;
use std::path::PathBuf;

/// Why a branch cannot be promoted to, or was not.
#[derive(Debug, thiserror::Error)]
pub enum PromoteError {
    /// Git would not take it for the name of a branch.
    #[error("`{branch}` is not the name of a branch")]
    InvalidBranch {
        /// The text, made safe to show.
        branch: String,
    },
    /// The id of an order or a plan cannot be part of a branch name.
    #[error("no branch can be named after the id `{id}`")]
    UnusableId {
        /// The id, made safe to show.
        id: String,
    },
    /// People work on this branch, and only they move it.
    #[error("branch `{branch}` is protected")]
    Protected {
        /// The branch.
        branch: String,
    },
    /// Moving the branch would change what a work tree stands on.
    #[error("branch `{branch}` is checked out in {work_dir}")]
    CheckedOut {
        /// The branch.
        branch: String,
        /// The work tree.
        work_dir: PathBuf,
    },
    /// The branch is another name of a ref, which we would move or cut off.
    #[error("branch `{branch}` is a symbolic ref")]
    Symbolic {
        /// The branch.
        branch: String,
    },
    /// One branch's name is a directory of the other's.
    #[error("branch `{branch}` cannot exist beside branch `{other}`")]
    Excluded {
        /// The branch.
        branch: String,
        /// The one that exists.
        other: String,
    },
    /// A new branch was asked for.
    #[error("branch `{branch}` exists already")]
    Exists {
        /// The branch.
        branch: String,
    },
    /// An existing branch was asked for.
    #[error("there is no branch `{branch}`")]
    Missing {
        /// The branch.
        branch: String,
    },
    /// The branch is not where the changes were verified.
    #[error("branch `{branch}` is {}, and {} was expected", tip(found), tip(expected))]
    Moved {
        /// The branch.
        branch: String,
        /// The value that was expected.
        expected: Option<ObjectId>,
        /// The value that it has.
        found: Option<ObjectId>,
    },
    /// The ref's lock is held, for longer than a ref is ever written.
    #[error("branch `{branch}` is locked by {lock}")]
    Locked {
        /// The branch.
        branch: String,
        /// The lock file.
        lock: PathBuf,
    },
    /// The branch cannot be examined.
    #[error("cannot examine branch `{branch}`")]
    CannotExamine {
        /// The branch.
        branch: String,
        /// What the repository said.
        source: WorkspaceError,
    },
    /// The commit cannot be made.
    #[error("cannot make a commit on top of {base}")]
    CannotPrepare {
        /// The parent.
        base: ObjectId,
        /// What the repository said.
        source: WorkspaceError,
    },
    /// The branch cannot be moved. It is where it was.
    #[error("cannot move branch `{branch}`")]
    CannotMove {
        /// The branch.
        branch: String,
        /// What the repository said.
        source: WorkspaceError,
    },
    /// The branch has moved, and a power cut may take that back.
    #[error("branch `{branch}` is at {}, and whether that is on disk is not known", commit.short())]
    NotSynced {
        /// The branch.
        branch: String,
        /// Its new commit.
        commit: ObjectId,
        /// What the repository said.
        source: WorkspaceError,
    },
    /// The trailers do not belong to the verdict.
    #[error("the commit's trailers name other evidence than the verdict's")]
    OtherEvidence,
}

fn tip(commit: &Option<ObjectId>) -> String {
    commit.map_or_else(|| "absent".to_owned(), |commit| format!("at {}", commit.short()))
}

impl PromoteError {
    /// Whether it was the disk that refused.
    pub fn is_storage(&self) -> bool {
        match self {
            PromoteError::CannotExamine { source, .. }
            | PromoteError::CannotPrepare { source, .. }
            | PromoteError::CannotMove { source, .. }
            | PromoteError::NotSynced { source, .. } => source.is_storage(),
            PromoteError::InvalidBranch { .. }
            | PromoteError::UnusableId { .. }
            | PromoteError::Protected { .. }
            | PromoteError::CheckedOut { .. }
            | PromoteError::Symbolic { .. }
            | PromoteError::Excluded { .. }
            | PromoteError::Exists { .. }
            | PromoteError::Missing { .. }
            | PromoteError::Moved { .. }
            | PromoteError::Locked { .. }
            | PromoteError::OtherEvidence => false,
        }
    }
}

impl Problem for PromoteError {
    fn class(&self) -> FailureClass {
        match self {
            PromoteError::InvalidBranch { .. }
            | PromoteError::Protected { .. }
            | PromoteError::Symbolic { .. }
            | PromoteError::Excluded { .. }
            | PromoteError::Exists { .. }
            | PromoteError::Missing { .. }
            | PromoteError::Locked { .. } => FailureClass::Host,
            PromoteError::UnusableId { .. } => FailureClass::Order,
            PromoteError::CheckedOut { .. } | PromoteError::Moved { .. } => FailureClass::Conflict,
            PromoteError::CannotExamine { source, .. }
            | PromoteError::CannotPrepare { source, .. }
            | PromoteError::CannotMove { source, .. }
            | PromoteError::NotSynced { source, .. } => source.class(),
            PromoteError::OtherEvidence => FailureClass::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            PromoteError::InvalidBranch { .. } => "see `git check-ref-format --branch NAME`".to_owned(),
            PromoteError::UnusableId { .. } => "name a branch with --branch, or change the id".to_owned(),
            PromoteError::Protected { branch } => format!(
                "name another with --branch, and merge it when you have looked at it: git switch {branch} && git merge OTHER"
            ),
            PromoteError::CheckedOut { branch, work_dir } => {
                let work_dir = work_dir.display();
                format!(
                    "name another with --branch and merge it afterwards: git -C {work_dir} merge OTHER; or free {branch}: \
                     git -C {work_dir} switch --detach"
                )
            }
            PromoteError::Symbolic { .. } | PromoteError::Exists { .. } => "name another with --branch".to_owned(),
            PromoteError::Excluded { other, .. } => {
                format!("name another with --branch, or rename `{other}`: git branch -m {other} NEW")
            }
            PromoteError::Missing { branch } => format!("create it: git branch {branch} COMMIT"),
            PromoteError::Moved { .. } => "run the order again on the branch as it is now".to_owned(),
            PromoteError::Locked { lock, .. } => {
                format!("when no git program is running, remove {}", lock.display())
            }
            PromoteError::CannotExamine { source, .. }
            | PromoteError::CannotPrepare { source, .. }
            | PromoteError::CannotMove { source, .. }
            | PromoteError::NotSynced { source, .. } => return source.hint(),
            PromoteError::OtherEvidence => return None,
        };
        Some(hint)
    }
}
