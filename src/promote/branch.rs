//! Which branch may move.

use super::error::PromoteError;
use crate::types::{ObjectId, escape_control};
use crate::workspace::Repository;

/// The longest branch name, in bytes: a ref and its lock are files, and a file's name has at most 255.
const NAME_MAX: usize = 200;

/// Branches that people stand on in most repositories, refused whatever the settings say.
const PROTECTED: [&str; 10] = [
    "main",
    "master",
    "trunk",
    "develop",
    "development",
    "default",
    "stable",
    "release",
    "production",
    "gh-pages",
];

/// A branch that may move, and the value from which it may. Only [`target`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Target {
    /// The branch, without `refs/heads/`.
    pub branch: String,
    /// Its tip now; nothing when it does not exist.
    pub expected: Option<ObjectId>,
}

/// Whether the branch has to exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BranchMode {
    /// It may or may not.
    CreateOrReuse,
    /// It must not.
    Create,
    /// It must.
    Reuse,
}

/// The branch to promote to, checked.
///
/// `protected` adds to the names that are always refused; case makes no difference.
///
/// # Errors
/// `Host` when the name is invalid or protected, excludes an existing branch, or is not as `mode` wants it; `Conflict` when a
/// work tree has the branch checked out.
pub fn target(repo: &Repository, branch: &str, mode: BranchMode, protected: &[String]) -> Result<Target, PromoteError> {
    if !is_valid(branch) {
        return Err(PromoteError::InvalidBranch { branch: shown(branch) });
    }
    if is_protected(branch, protected) {
        return Err(PromoteError::Protected { branch: shown(branch) });
    }
    let examine = |source| PromoteError::CannotExamine {
        branch: shown(branch),
        source,
    };
    refuse_checked_out(repo, branch)?;
    if repo.is_symbolic_branch(branch) {
        return Err(PromoteError::Symbolic { branch: shown(branch) });
    }
    if let Some(other) = repo.excluding_branch(branch).map_err(examine)? {
        return Err(PromoteError::Excluded {
            branch: shown(branch),
            other: shown(&other),
        });
    }
    let expected = repo.branch_tip(branch).map_err(examine)?;
    match (mode, expected) {
        (BranchMode::Create, Some(_)) => Err(PromoteError::Exists { branch: shown(branch) }),
        (BranchMode::Reuse, None) => Err(PromoteError::Missing { branch: shown(branch) }),
        (BranchMode::CreateOrReuse | BranchMode::Create | BranchMode::Reuse, expected) => Ok(Target {
            branch: branch.to_owned(),
            expected,
        }),
    }
}

/// The branch that an order is promoted to when none is named: `factory/<plan>`, or `factory/<order>` without a plan.
///
/// # Errors
/// `Order` when the id cannot be the last part of a branch name.
pub fn default_branch(order_id: &str, plan_id: Option<&str>) -> Result<String, PromoteError> {
    let id = plan_id.unwrap_or(order_id);
    let branch = format!("factory/{id}");
    // One part only: an id with a slash could take the place of another order's directory.
    if id.contains('/') || id.starts_with('-') || !is_valid(&branch) {
        return Err(PromoteError::UnusableId { id: shown(id) });
    }
    Ok(branch)
}

/// Refuses a branch that a work tree stands on: its files and index would no longer match.
pub(super) fn refuse_checked_out(repo: &Repository, branch: &str) -> Result<(), PromoteError> {
    match repo.checked_out_in(branch) {
        Ok(None) => Ok(()),
        Ok(Some(work_dir)) => Err(PromoteError::CheckedOut {
            branch: shown(branch),
            work_dir,
        }),
        Err(source) => Err(PromoteError::CannotExamine {
            branch: shown(branch),
            source,
        }),
    }
}

/// Git's rules, and a few names that git takes and that are surely meant otherwise.
fn is_valid(branch: &str) -> bool {
    branch.len() <= NAME_MAX
        && !branch.starts_with("refs/")
        // Invisible characters make two branches look like one.
        && escape_control(branch) == branch
        && Repository::is_branch_name(branch)
}

fn is_protected(branch: &str, protected: &[String]) -> bool {
    let branch = branch.to_lowercase();
    PROTECTED.contains(&branch.as_str()) || protected.iter().any(|name| name.to_lowercase() == branch)
}

fn shown(text: &str) -> String {
    escape_control(&text.chars().take(NAME_MAX).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_branch_is_named_after_the_plan_or_the_order() {
        assert_eq!(default_branch("WO-1", None).ok().as_deref(), Some("factory/WO-1"));
        assert_eq!(default_branch("WO-1", Some("app")).ok().as_deref(), Some("factory/app"));
    }

    #[test]
    fn ids_that_are_no_part_of_a_branch_name_are_refused() {
        for id in [
            "",
            ".",
            "..",
            "a/b",
            "../main",
            "-x",
            ".hidden",
            "a..b",
            "a.lock",
            "a b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[",
            "a\\b",
            "a@{1}",
            "a\n",
            "a\0",
            "a\u{7f}",
            "a\u{202e}b",
            "a.",
            "/",
        ] {
            assert!(default_branch(id, None).is_err(), "{id:?}");
        }
        assert!(default_branch(&"a".repeat(300), None).is_err());
    }

    #[test]
    fn protected_names_are_compared_without_case() {
        assert!(is_protected("Main", &[]));
        assert!(is_protected("MASTER", &[]));
        assert!(is_protected("Ship", &["shiP".to_owned()]));
        assert!(!is_protected("factory/main", &[]));
    }
}
