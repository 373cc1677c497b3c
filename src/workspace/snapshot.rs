//! What one commit contains.

use super::entries::{BLOB_MAX, Found, Kind};
use super::error::WorkspaceError;
use super::ignored::IgnoreRules;
use super::repository::{Repository, object_id};
use crate::change::BaseEntry;
use crate::types::{ObjectId, RepoPath, fold_path as fold};
use git2::Tree;

/// A view of what a commit contains, read from the object database.
pub struct Snapshot<'repo> {
    repository: &'repo Repository,
    commit: ObjectId,
    root: Tree<'repo>,
    rules: IgnoreRules,
}

impl<'repo> Snapshot<'repo> {
    pub(super) fn new(repository: &'repo Repository, commit: ObjectId, root: Tree<'repo>) -> Self {
        Snapshot {
            repository,
            commit,
            root,
            rules: IgnoreRules::default(),
        }
    }

    /// The commit.
    pub fn commit(&self) -> ObjectId {
        self.commit
    }

    /// The commit's tree.
    pub fn tree(&self) -> ObjectId {
        object_id(self.root.id())
    }

    pub(super) fn repository(&self) -> &'repo Repository {
        self.repository
    }

    pub(super) fn root(&self) -> &Tree<'repo> {
        &self.root
    }

    pub(super) fn find(&self, path: &RepoPath) -> Result<Found, WorkspaceError> {
        self.repository.lookup(&self.root, path.components())
    }

    /// What the commit has at a path. No link is followed; what is below one is named as such.
    ///
    /// # Errors
    /// `Host` when an object cannot be read, or a file is larger than 1 GiB.
    pub fn entry(&self, path: &RepoPath) -> Result<BaseEntry, WorkspaceError> {
        Ok(match self.find(path)? {
            Found::Absent => BaseEntry::Absent,
            Found::BelowFile => BaseEntry::BelowFile,
            Found::BelowSymlink => BaseEntry::BelowSymlink,
            Found::BelowSubmodule | Found::Entry(Kind::Submodule, _) => BaseEntry::Submodule,
            Found::Entry(Kind::Symlink, _) => BaseEntry::Symlink,
            Found::Entry(Kind::Directory, _) => BaseEntry::Directory,
            Found::Entry(Kind::File { executable }, id) => BaseEntry::File {
                content: self.repository.blob(id, BLOB_MAX)?,
                executable,
            },
        })
    }

    /// The paths of the commit's regular files. One that is no text is left out: nothing of ours can name it.
    ///
    /// # Errors
    /// `Host` when a tree cannot be read, or there are more than `max` entries in all trees together: a tree can name
    /// another many times, and so have more files than there are bytes on the disk.
    pub fn file_paths(&self, max: usize) -> Result<Vec<String>, WorkspaceError> {
        let mut paths = Vec::new();
        let mut pending = vec![(String::new(), self.root.clone())];
        let mut seen = 0;
        while let Some((parent, tree)) = pending.pop() {
            for entry in &tree {
                seen += 1;
                if seen > max {
                    return Err(WorkspaceError::TooLarge {
                        what: format!("the tree of commit {}", self.commit.short()),
                        limit: format!("{max} files and directories"),
                    });
                }
                let Ok(name) = std::str::from_utf8(entry.name_bytes()) else {
                    continue;
                };
                let path = format!("{parent}{name}");
                match Kind::of_mode(entry.filemode_raw()) {
                    Some(Kind::File { .. }) => paths.push(path),
                    Some(Kind::Directory) => {
                        pending.push((format!("{path}/"), self.repository.tree(object_id(entry.id()))?));
                    }
                    Some(Kind::Symlink | Kind::Submodule) | None => {}
                }
            }
        }
        Ok(paths)
    }

    /// Whether the `.gitignore` files of this commit ignore the path. What is tracked is never ignored.
    ///
    /// Neither the work tree nor `info/exclude` nor the operator's own ignore file has a say, so that the answer is the
    /// same on every machine. Source: gitignore(5).
    ///
    /// # Errors
    /// `Host` when an object cannot be read, or a `.gitignore` file is beyond its limit.
    pub fn is_ignored(&self, path: &RepoPath) -> Result<bool, WorkspaceError> {
        match self.find(path)? {
            Found::Entry(..) | Found::BelowSubmodule => Ok(false),
            Found::Absent | Found::BelowFile | Found::BelowSymlink => self.rules.ignore(self, path),
        }
    }

    /// A tracked path that differs from this one, or from one of its parents, only by case or Unicode form: one file
    /// where the commit would have two, on file systems that take them for the same.
    ///
    /// A path that is tracked itself collides with nothing new.
    ///
    /// # Errors
    /// `Host` when an object cannot be read.
    pub fn case_collision(&self, path: &RepoPath) -> Result<Option<String>, WorkspaceError> {
        // The tree on the path itself, and those that such a file system would merge into it.
        let mut exact = Some(self.root.clone());
        let mut aliases: Vec<(String, Tree<'repo>)> = Vec::new();
        let mut parent = String::new();
        for component in path.components() {
            let mut lookalikes = Vec::new();
            for (prefix, tree) in &aliases {
                collect_lookalikes(tree, prefix, component, true, &mut lookalikes);
            }
            if let Some(tree) = &exact {
                collect_lookalikes(tree, &parent, component, false, &mut lookalikes);
            }
            let entry = exact
                .as_ref()
                .and_then(|tree| tree.get_name_bytes(component.as_bytes()).map(|e| e.to_owned()));
            if entry.is_none()
                && let Some((lookalike, _)) = lookalikes.first()
            {
                return Ok(Some(lookalike.clone()));
            }
            exact = self.subtree(entry.as_ref())?;
            aliases.clear();
            for (prefix, entry) in lookalikes {
                if let Some(tree) = self.subtree(Some(&entry))? {
                    aliases.push((format!("{prefix}/"), tree));
                }
            }
            parent = format!("{parent}{component}/");
        }
        Ok(None)
    }

    fn subtree(&self, entry: Option<&git2::TreeEntry<'_>>) -> Result<Option<Tree<'repo>>, WorkspaceError> {
        match entry {
            Some(entry) if Kind::of_mode(entry.filemode_raw()) == Some(Kind::Directory) => {
                self.repository.tree(object_id(entry.id())).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// Adds the entries of `tree` whose names fold to the same as `name`; the name itself only `with_itself`.
fn collect_lookalikes(
    tree: &Tree<'_>,
    prefix: &str,
    name: &str,
    with_itself: bool,
    found: &mut Vec<(String, git2::TreeEntry<'static>)>,
) {
    let folded = fold(name);
    for entry in tree {
        // A name that is not UTF-8 looks like no path of ours.
        if let Ok(other) = std::str::from_utf8(entry.name_bytes())
            && (with_itself || other != name)
            && looks_like(other, name, &folded)
        {
            found.push((format!("{prefix}{other}"), entry.to_owned()));
        }
    }
}

fn looks_like(other: &str, name: &str, folded: &str) -> bool {
    if other.is_ascii() && name.is_ascii() {
        return other.eq_ignore_ascii_case(name);
    }
    fold(other) == folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_some_file_system_merges_fold_to_one() {
        for (one, other) in [
            ("README", "readme"),
            ("caf\u{e9}", "cafe\u{301}"),
            ("Stra\u{df}e", "STRASSE"),
            ("\u{17f}et", "Set"),
            ("\u{212a}elvin", "kelvin"),
        ] {
            assert_eq!(fold(one), fold(other), "{one} {other}");
        }
        assert_ne!(fold("a"), fold("b"));
    }
}
