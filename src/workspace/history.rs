//! What commits say about themselves, and which of them lead to which.

use super::error::WorkspaceError;
use super::repository::{Repository, object_id, oid, read};
use crate::types::ObjectId;
use git2::Sort;

/// A commit and what its message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub id: ObjectId,
    /// Its first parent; nothing for the first commit of all.
    pub parent: Option<ObjectId>,
    /// Its message: anybody's text.
    pub message: String,
}

impl Commit {
    /// The value of the trailer `key` in the last paragraph of the message, the last one if there are several.
    /// Source: git-interpret-trailers(1).
    pub fn trailer(&self, key: &str) -> Option<&str> {
        let last_paragraph = self.message.trim_end().rsplit("\n\n").next()?;
        let mut values = last_paragraph
            .lines()
            .filter_map(|line| Some(line.strip_prefix(key)?.strip_prefix(": ")?.trim()));
        values.next_back()
    }
}

impl Repository {
    /// The commits that lead to `tip`, itself among them, the latest first; at most `limit`.
    ///
    /// # Errors
    /// `Host` when a commit cannot be read.
    pub fn history(&self, tip: ObjectId, limit: usize) -> Result<Vec<Commit>, WorkspaceError> {
        let fail = |source| read(format!("the history of {tip}"), source);
        let mut walk = self.git.revwalk().map_err(fail)?;
        walk.set_sorting(Sort::TIME).map_err(fail)?;
        walk.push(oid(tip)).map_err(fail)?;
        walk.take(limit)
            .map(|id| {
                let commit = self.git.find_commit(id.map_err(fail)?).map_err(fail)?;
                Ok(Commit {
                    id: object_id(commit.id()),
                    parent: commit.parent_id(0).ok().map(object_id),
                    message: String::from_utf8_lossy(commit.message_bytes()).into_owned(),
                })
            })
            .collect()
    }

    /// Whether `commit` is `tip` or leads to it. A commit that is not there leads nowhere.
    ///
    /// # Errors
    /// `Host` when a commit between them cannot be read.
    pub fn leads_to(&self, commit: ObjectId, tip: ObjectId) -> Result<bool, WorkspaceError> {
        if commit == tip {
            return Ok(true);
        }
        let fail = |source| read(format!("the history of {tip}"), source);
        if !self.git.odb().map_err(fail)?.exists(oid(commit)) {
            return Ok(false);
        }
        self.git.graph_descendant_of(oid(tip), oid(commit)).map_err(fail)
    }

    /// Whether a commit is there with everything in it that its parent lacks.
    ///
    /// What a commit brings can be missing when it was never reachable: `git gc --prune=now` takes it away.
    pub(crate) fn is_whole(&self, commit: ObjectId) -> bool {
        let look = || -> Result<bool, git2::Error> {
            let commit = self.git.find_commit(oid(commit))?;
            let parent = commit.parents().next().map(|parent| parent.tree()).transpose()?;
            let changes = self
                .git
                .diff_tree_to_tree(parent.as_ref(), Some(&commit.tree()?), None)?;
            let odb = self.git.odb()?;
            Ok(changes
                .deltas()
                .filter(|change| change.new_file().exists())
                .all(|change| odb.exists(change.new_file().id())))
        };
        look().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(message: &str) -> Commit {
        Commit {
            id: ObjectId::from_bytes([0; 20]),
            parent: None,
            message: message.to_owned(),
        }
    }

    #[test]
    fn a_trailer_stands_in_the_last_paragraph() {
        let message = "WO-1: title\n\nFactory-Order: forged\n\nFactory-Order: WO-1\nFactory-Run: X\n";
        assert_eq!(commit(message).trailer("Factory-Order"), Some("WO-1"));
        assert_eq!(commit(message).trailer("Factory-Run"), Some("X"));
        assert_eq!(commit(message).trailer("Factory"), None);
        assert_eq!(commit("").trailer("Factory-Order"), None);
        assert_eq!(
            commit("title\n\nFactory-Order: WO-1\n\nbody").trailer("Factory-Order"),
            None
        );
    }
}
