//! The operator's repository, read and written through its object database, and trees of its commits on disk.
//!
//! - What a commit contains is read from the object database, never from the work tree or the index.
//! - Nothing that a repository configures is executed: no hook, filter, file system monitor or command-line git.
//! - The work tree, the index, the configuration and HEAD are never written.
//! - On disk, names from a tree are created one component at a time below a descriptor, and no symbolic link is followed.
//! - A tree handed out is complete, and whatever a [`Candidate`] made is gone when it is dropped.
//!
//! It does not know orders, verdicts or sandboxes: what may be changed is decided in `propose`, what may be committed in
//! `verify`, and which branch may move in `promote`.

mod candidate;
mod changes;
mod entries;
mod error;
mod export;
mod files;
mod history;
mod ignored;
mod leftovers;
mod names;
mod objects;
mod repository;
mod snapshot;
mod store;
mod synthetic;

pub use candidate::Candidate;
pub use error::WorkspaceError;
pub use export::{CachedTree, TreeCache};
pub use files::remove_tree;
pub use history::Commit;
pub(crate) use objects::BranchSwap;
pub use repository::{Head, Repository, libgit2_version};
pub use snapshot::Snapshot;
pub(crate) use store::InMemory;
pub use synthetic::Base;
