//! The `.gitignore` files of a commit.

use super::entries::{Found, Kind};
use super::error::WorkspaceError;
use super::snapshot::Snapshot;
use crate::types::{Bytes, RepoPath};
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// The largest `.gitignore` that is read: each line becomes an automaton, and the file is somebody else's.
const FILE_MAX: Bytes = Bytes(512 << 10);

/// Remembers the rules of the directories that were asked about.
#[derive(Default)]
pub(super) struct IgnoreRules {
    of_dir: RefCell<HashMap<String, Rc<Gitignore>>>,
}

impl IgnoreRules {
    /// Whether an untracked path is ignored.
    pub(super) fn ignore(&self, snapshot: &Snapshot<'_>, path: &RepoPath) -> Result<bool, WorkspaceError> {
        let components: Vec<&str> = path.components().collect();
        // From the top down, because nothing below an ignored directory can be included again.
        for depth in 1..=components.len() {
            if self.decide(snapshot, &components[..depth], depth < components.len())? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the rules say of one path alone: the nearest directory with an opinion decides.
    fn decide(&self, snapshot: &Snapshot<'_>, components: &[&str], is_dir: bool) -> Result<bool, WorkspaceError> {
        for depth in (0..components.len()).rev() {
            let rules = self.of_dir(snapshot, &components[..depth])?;
            match rules.matched(components[depth..].join("/"), is_dir) {
                Match::Ignore(_) => return Ok(true),
                Match::Whitelist(_) => return Ok(false),
                Match::None => {}
            }
        }
        Ok(false)
    }

    fn of_dir(&self, snapshot: &Snapshot<'_>, dir: &[&str]) -> Result<Rc<Gitignore>, WorkspaceError> {
        let key = dir.join("/");
        if let Some(rules) = self.of_dir.borrow().get(&key) {
            return Ok(Rc::clone(rules));
        }
        let rules = Rc::new(read_rules(snapshot, dir, &key)?);
        self.of_dir.borrow_mut().insert(key, Rc::clone(&rules));
        Ok(rules)
    }
}

fn read_rules(snapshot: &Snapshot<'_>, dir: &[&str], shown: &str) -> Result<Gitignore, WorkspaceError> {
    let repository = snapshot.repository();
    let path = dir.iter().copied().chain([".gitignore"]);
    let Found::Entry(Kind::File { .. }, id) = repository.lookup(snapshot.root(), path)? else {
        // Git does not follow a `.gitignore` that is a link either.
        return Ok(Gitignore::empty());
    };
    let too_large = || WorkspaceError::TooLarge {
        what: format!("`.gitignore` in `{}`", crate::types::escape_control(shown)),
        limit: FILE_MAX.to_string(),
    };
    let text = repository.blob(id, FILE_MAX).map_err(|error| match error {
        WorkspaceError::TooLarge { .. } => too_large(),
        other => other,
    })?;
    let text = String::from_utf8_lossy(&text);
    let mut builder = GitignoreBuilder::new("");
    for line in text.trim_start_matches('\u{feff}').lines() {
        // Git skips a line that is no pattern, and so do we.
        let _ = builder.add_line(None, line);
    }
    // Each pattern is sound by now; together they can still be more than the automaton may take.
    builder.build().map_err(|_| too_large())
}
