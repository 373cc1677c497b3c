//! What can go wrong with a repository or a tree on disk.

use crate::durable::DurableError;
use crate::types::{FailureClass, ObjectId, Problem, RepoPath};
use std::io;
use std::path::PathBuf;

/// Why a repository cannot be used, or a tree cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// The directory itself cannot be read.
    #[error("cannot read the directory {dir}")]
    Unreadable {
        /// The directory that was named.
        dir: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Neither the directory nor one above it is a work tree.
    #[error("{dir} is not inside a git repository")]
    NotARepository {
        /// The directory that was named.
        dir: PathBuf,
    },
    /// There is a repository, and it cannot be opened.
    #[error("cannot open the git repository at {dir}")]
    Unusable {
        /// The directory that was named.
        dir: PathBuf,
        /// What libgit2 said.
        source: git2::Error,
    },
    /// The repository has no work tree.
    #[error("the git repository at {dir} is bare")]
    Bare {
        /// The directory that was named.
        dir: PathBuf,
    },
    /// The repository stores objects or refs in a format that libgit2 does not read.
    #[error("the git repository at {dir} uses {what}, which is not supported")]
    Format {
        /// The directory that was named.
        dir: PathBuf,
        /// The format.
        what: String,
    },
    /// Objects may be missing: git fetches them on demand, and we never do.
    #[error("the git repository at {dir} is a partial clone")]
    PartialClone {
        /// The directory that was named.
        dir: PathBuf,
    },
    /// Another user owns the repository.
    #[error("the git repository at {dir} belongs to another user")]
    NotOwned {
        /// The directory that was named.
        dir: PathBuf,
    },
    /// The repository has no commit yet.
    #[error("the git repository at {dir} has no commits")]
    NoCommits {
        /// The work tree.
        dir: PathBuf,
    },
    /// The text cannot be a revision.
    #[error("`{rev}` is not a revision")]
    MalformedRevision {
        /// The text, made safe to show.
        rev: String,
    },
    /// Nothing has this name.
    #[error("no commit is called `{rev}`")]
    NoSuchRevision {
        /// The text, made safe to show.
        rev: String,
        /// What libgit2 said.
        source: git2::Error,
    },
    /// Several objects have this abbreviation.
    #[error("`{rev}` names more than one object")]
    AmbiguousRevision {
        /// The text, made safe to show.
        rev: String,
    },
    /// The name is taken, by something that is no commit.
    #[error("`{rev}` does not name a commit")]
    NotACommit {
        /// The text, made safe to show.
        rev: String,
    },
    /// An object cannot be read from the repository.
    #[error("cannot read {what} from the git repository")]
    Read {
        /// The object and where it is used.
        what: String,
        /// What libgit2 said.
        source: git2::Error,
    },
    /// An object or a ref cannot be written to the repository.
    #[error("cannot write {what} to the git repository")]
    Write {
        /// The object or ref.
        what: String,
        /// What libgit2 said.
        source: git2::Error,
    },
    /// A disposable repository cannot be made.
    #[error("cannot write {what} of a disposable repository")]
    Disposable {
        /// The part of it.
        what: &'static str,
        /// What libgit2 said.
        source: git2::Error,
    },
    /// A tree of the repository has an entry that must not reach a disk.
    #[error("tree {tree} has an unusable entry `{entry}`: {why}")]
    HostileEntry {
        /// The tree that holds the entry.
        tree: ObjectId,
        /// The entry's path, made safe to show.
        entry: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A commit is larger than what we handle.
    #[error("{what} exceeds the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The limit with its unit.
        limit: String,
    },
    /// A change set wants to write where no regular file can be.
    #[error("cannot write `{path}`: {why}")]
    NotWritable {
        /// The path in the change set.
        path: RepoPath,
        /// What stands in the way.
        why: String,
    },
    /// A file or directory of ours cannot be handled.
    #[error("cannot {act} {path}")]
    Io {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The cache depends on which boot this is.
    #[error("cannot tell which boot this is")]
    Boot {
        /// What the kernel said.
        source: DurableError,
    },
    /// Somebody else could plant files in the cache.
    #[error("the tree cache {dir} can be written by others")]
    SharedCache {
        /// The cache.
        dir: PathBuf,
    },
}

impl WorkspaceError {
    /// Whether it was the disk that refused, and not what is on it: whoever mends that can go on as before.
    pub fn is_storage(&self) -> bool {
        match self {
            WorkspaceError::Write { .. }
            | WorkspaceError::Disposable { .. }
            | WorkspaceError::Io { .. }
            | WorkspaceError::SharedCache { .. } => true,
            // What is not there is a matter of the repository.
            WorkspaceError::Read { source, .. } => {
                source.class() == git2::ErrorClass::Os && source.code() != git2::ErrorCode::NotFound
            }
            WorkspaceError::Unreadable { .. }
            | WorkspaceError::NotARepository { .. }
            | WorkspaceError::Unusable { .. }
            | WorkspaceError::Bare { .. }
            | WorkspaceError::Format { .. }
            | WorkspaceError::PartialClone { .. }
            | WorkspaceError::NotOwned { .. }
            | WorkspaceError::NoCommits { .. }
            | WorkspaceError::MalformedRevision { .. }
            | WorkspaceError::NoSuchRevision { .. }
            | WorkspaceError::AmbiguousRevision { .. }
            | WorkspaceError::NotACommit { .. }
            | WorkspaceError::HostileEntry { .. }
            | WorkspaceError::TooLarge { .. }
            | WorkspaceError::NotWritable { .. }
            | WorkspaceError::Boot { .. } => false,
        }
    }
}

impl Problem for WorkspaceError {
    fn class(&self) -> FailureClass {
        match self {
            WorkspaceError::Unreadable { .. }
            | WorkspaceError::NotARepository { .. }
            | WorkspaceError::Unusable { .. }
            | WorkspaceError::Bare { .. }
            | WorkspaceError::Format { .. }
            | WorkspaceError::PartialClone { .. }
            | WorkspaceError::NotOwned { .. }
            | WorkspaceError::NoCommits { .. }
            | WorkspaceError::MalformedRevision { .. }
            | WorkspaceError::NoSuchRevision { .. }
            | WorkspaceError::AmbiguousRevision { .. }
            | WorkspaceError::NotACommit { .. }
            | WorkspaceError::Read { .. }
            | WorkspaceError::Write { .. }
            | WorkspaceError::Disposable { .. }
            | WorkspaceError::HostileEntry { .. }
            | WorkspaceError::TooLarge { .. }
            | WorkspaceError::Io { .. }
            | WorkspaceError::Boot { .. }
            | WorkspaceError::SharedCache { .. } => FailureClass::Host,
            WorkspaceError::NotWritable { .. } => FailureClass::Proposal,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            WorkspaceError::Unreadable { .. } => "name a directory that exists and that you may read".to_owned(),
            WorkspaceError::NotARepository { .. } => {
                "run inside a repository, name one with --repo DIR, or start one with `git init` and a first commit"
                    .to_owned()
            }
            WorkspaceError::Unusable { dir, .. } => {
                format!("see whether `git -C {} status` works", dir.display())
            }
            WorkspaceError::Bare { .. } => "clone it and name the clone".to_owned(),
            WorkspaceError::Format { .. } => {
                "convert it: `git init --object-format=sha1 --ref-format=files NEW`, then fetch or import into NEW"
                    .to_owned()
            }
            WorkspaceError::PartialClone { .. } => {
                "objects may be missing and nothing is fetched in a run; use a clone made without --filter".to_owned()
            }
            WorkspaceError::NotOwned { dir } => format!(
                "if you trust it: git config --global --add safe.directory {}",
                dir.display()
            ),
            WorkspaceError::NoCommits { dir } => {
                format!("make a first commit: git -C {} commit", dir.display())
            }
            WorkspaceError::MalformedRevision { .. } => {
                "write a branch, a tag or a commit id; it cannot start with `-`".to_owned()
            }
            WorkspaceError::NoSuchRevision { .. } => {
                "see `git log --all --oneline` for the commits there are".to_owned()
            }
            WorkspaceError::AmbiguousRevision { .. } => "write more digits of the commit id".to_owned(),
            WorkspaceError::NotACommit { .. } => "name a commit, or a branch or tag that leads to one".to_owned(),
            WorkspaceError::Read { .. } => "see what `git fsck` says about the repository".to_owned(),
            WorkspaceError::Write { .. } | WorkspaceError::Disposable { .. } | WorkspaceError::Io { .. } => {
                "see whether the disk is full or the directory is not yours".to_owned()
            }
            WorkspaceError::HostileEntry { .. } => {
                "no well-meant tool makes such a commit; see `git fsck --strict`, and do not use this history"
                    .to_owned()
            }
            WorkspaceError::Boot { source } => return source.hint(),
            WorkspaceError::TooLarge { .. } => return None,
            WorkspaceError::NotWritable { .. } => "only regular files can be written, in directories".to_owned(),
            WorkspaceError::SharedCache { dir } => format!("chmod go-w {}, or name another cache", dir.display()),
        };
        Some(hint)
    }
}
