//! What a run stands on: what the operator asked for, and the repository as it was found.

use super::budget::Budget;
use super::failure::{Failure, Situation};
use super::state::Rules;
use super::terms;
use crate::order::WorkOrder;
use crate::promote::{BranchMode, PromoteError, Target, default_branch, target};
use crate::sandbox::{Policy, Sandbox, SandboxError, TreeSource};
use crate::types::{Bytes, FailureClass, ObjectId, Problem as _, RepoPath};
use crate::workspace::{Base, Repository, Snapshot, TreeCache, WorkspaceError};
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;

/// The directory of exported trees below the cache directory.
pub(super) const TREES: &str = "trees";
/// The directory of the directories in which runs put the changes of candidates, below the cache directory.
pub(super) const CANDIDATES: &str = "candidates";

/// The tree of a commit on disk, as a policy wants it: written on first use, and shared.
///
/// # Errors
/// `Host` when it cannot be written.
pub fn base(cache_dir: &Path, snapshot: &Snapshot<'_>, source: TreeSource) -> Result<Base, WorkspaceError> {
    let (cache, owner) = (TreeCache::open(&cache_dir.join(TREES))?, Sandbox::tree_owner());
    match source {
        TreeSource::Export => cache.export(snapshot, owner).map(Base::files),
        TreeSource::SyntheticGit => cache.repository(snapshot, owner),
    }
}

/// What the operator asked for.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The order.
    pub order: WorkOrder,
    /// The bytes that it was read from.
    pub order_bytes: Vec<u8>,
    /// A directory of the repository.
    pub repository: PathBuf,
    /// The branch to promote to.
    pub branch: BranchWish,
    /// The revision to start from, when it is not the branch's tip or HEAD.
    pub base: Option<String>,
    /// What must hold while commands run.
    pub policy: Policy,
    /// The model that is asked, for providers that have several.
    pub model: Option<String>,
    /// Bounds.
    pub rules: Rules,
    /// A shorter wall-clock limit for each command than the policy's.
    pub timeout: Option<Duration>,
    /// Whether the order may excuse itself from the repository's own verification.
    pub allow_verify_exempt: bool,
    /// Files that the order may change although they are run outside of the sandbox without being called.
    pub allow_protected: BTreeSet<RepoPath>,
    /// Context files that are shown to the model although they look as if they held credentials.
    pub allow_context: BTreeSet<RepoPath>,
    /// Whether the order's own text is, too.
    pub allow_order_text: bool,
    /// Branches that no run may promote to, beside those that are refused always.
    pub protected_branches: Vec<String>,
    /// Where things are kept.
    pub places: Places,
    /// This project's own binary, which is started again as the sandbox's helper.
    pub program: PathBuf,
    /// What may be spent.
    pub budget: Budget,
    /// How long to wait for a repository that another run holds.
    pub patience: Duration,
    /// Whether to work as if nothing were recorded: an order that is done is done again, and the model is asked anew.
    pub fresh: bool,
    /// Where the operator keeps golden suites.
    pub golden_dir: Option<PathBuf>,
    /// What has to be left on each disk that is written to.
    pub disk_floor: Bytes,
    /// The exit code that the caller will return, for the record.
    pub exit_code: fn(Option<&Failure>) -> u8,
}

/// Where things are kept. All outside of the repository.
#[derive(Debug, Clone)]
pub struct Places {
    /// The journal.
    pub state_dir: PathBuf,
    /// Exported trees.
    pub cache_dir: PathBuf,
    /// The directories of runs.
    pub artifacts: PathBuf,
}

impl Setup {
    /// The same with what the order asks for besides, which can only be less than what the operator allows.
    #[must_use]
    pub(super) fn for_order(&self) -> Self {
        let mut narrowed = self.clone();
        terms::narrow(&self.order, &mut narrowed.policy, &mut narrowed.budget);
        narrowed
    }

    /// The plan that the order belongs to, by the planner's own account.
    pub(super) fn plan(&self) -> Option<&str> {
        let provenance = self.order.provenance.as_ref()?;
        provenance.get("planner_run_id")?.as_str()
    }
}

impl Places {
    pub(super) fn named(&self) -> [(&'static str, &Path); 3] {
        [
            ("the state directory", &self.state_dir),
            ("the artifacts directory", &self.artifacts),
            ("the cache directory", &self.cache_dir),
        ]
    }
}

/// The branch to promote to.
#[derive(Debug, Clone)]
pub struct BranchWish {
    /// Its name; the default is made from the order or its plan.
    pub name: Option<String>,
    /// Whether it has to exist.
    pub mode: BranchMode,
}

/// Tells a run that a signal arrived.
#[derive(Debug, Clone)]
pub struct Cancel(watch::Receiver<Option<i32>>);

impl Cancel {
    /// Listens to `signals`, which becomes the number of the signal once it arrives.
    pub fn new(signals: watch::Receiver<Option<i32>>) -> Self {
        Cancel(signals)
    }

    /// The signal, if one arrived.
    pub(super) fn arrived(&self) -> Option<i32> {
        *self.0.borrow()
    }

    /// The same as [`Cancel::wait`], for who cannot lend it out.
    pub(super) async fn wait_owned(mut self) -> i32 {
        self.wait().await
    }

    /// Waits for a signal; for ever when nobody can send one any more.
    pub(super) async fn wait(&mut self) -> i32 {
        match self.0.wait_for(Option::is_some).await.map(|signal| *signal) {
            Ok(Some(signal)) => signal,
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

/// Where the run starts and where it wants to go.
#[derive(Debug)]
pub(super) struct Aim {
    pub(super) target: Target,
    pub(super) base: ObjectId,
}

/// Finds the branch and the base, and refuses what could not be promoted later.
pub(super) fn aim(setup: &Setup, repository: &Repository) -> Result<Aim, Failure> {
    let name = match &setup.branch.name {
        Some(name) => name.clone(),
        None => default_branch(&setup.order.id, setup.plan()).map_err(|error| promote_failure(&error))?,
    };
    let target = target(repository, &name, setup.branch.mode, &setup.protected_branches)
        .map_err(|error| promote_failure(&error))?;
    let base = match (&setup.base, target.expected) {
        (Some(rev), expected) => {
            let base = repository.resolve(rev).map_err(|error| workspace_failure(&error))?;
            if let Some(tip) = expected.filter(|tip| *tip != base) {
                return Err(other_base(&name, tip, base));
            }
            base
        }
        (None, Some(tip)) => tip,
        (None, None) => repository.head().map_err(|error| workspace_failure(&error))?.commit,
    };
    Ok(Aim { target, base })
}

/// Refuses places that cannot be recorded, or that the repository would take for its own.
pub(super) fn refuse_places(setup: &Setup, repository: &Repository) -> Result<(), Failure> {
    refuse_unspellable(repository)?;
    let places = setup.places.named();
    places
        .into_iter()
        .try_for_each(|(what, place)| refuse_place(repository, what, place))
}

/// A commit on another base than the branch's tip would take the branch's own commits away.
fn other_base(branch: &str, tip: ObjectId, base: ObjectId) -> Failure {
    Failure::plain(
        FailureClass::Conflict,
        format!(
            "branch `{branch}` is at {}, not at the base {} that was asked for",
            tip.short(),
            base.short()
        ),
    )
    .in_situation(Situation::Repository)
    .with_hint("leave --base away to start from the branch's tip, or name another branch")
}

/// The repository's path is recorded, and has to be text: what is written down differently cannot be found again.
fn refuse_unspellable(repository: &Repository) -> Result<(), Failure> {
    let work_dir = repository.work_dir();
    if work_dir.to_str().is_some() {
        return Ok(());
    }
    let message = format!("the path of the repository `{}` is not UTF-8", work_dir.display());
    Err(Failure::plain(FailureClass::Order, message)
        .in_situation(Situation::Repository)
        .with_hint("rename the directory, or name a clone of it"))
}

/// Refuses a directory of ours whose path cannot be recorded or handed to the sandbox, or that lies in the work tree or
/// in the git directory, also through symbolic links: what is recorded must not become part of what it is about.
///
/// # Errors
/// `Order` in the sense of a wrong command line.
pub fn refuse_place(repository: &Repository, what: &str, place: &Path) -> Result<(), Failure> {
    let shown = place.display();
    let refused = |message, hint: &str| {
        let failure = Failure::plain(FailureClass::Order, message);
        Err(failure.in_situation(Situation::Usage).with_hint(hint))
    };
    if place.to_str().is_none() {
        let message = format!("the path of {what} `{shown}` is not UTF-8");
        return refused(message, "name a directory whose path is UTF-8");
    }
    if is_inside(place, repository.work_dir()) || is_inside(place, repository.common_dir()) {
        let message = format!("{what} `{shown}` is inside the repository");
        return refused(message, "name a directory outside of the repository");
    }
    Ok(())
}

/// Refuses a golden suite that lies, also through symbolic links, where all commands see it: in one of `shown`, or around it.
pub(super) fn refuse_shown<'p>(
    suite: &str,
    place: &Path,
    shown: impl IntoIterator<Item = &'p Path>,
) -> Result<(), Failure> {
    let mut shown = shown.into_iter();
    let Some(shown) = shown.find(|shown| is_inside(place, shown) || is_inside(shown, place)) else {
        return Ok(());
    };
    let message = format!("the golden suite `{suite}` is in view of the code that it judges");
    Err(Failure::plain(FailureClass::Host, message)
        .because(format!(
            "`{}` and `{}` are not apart",
            real(place).display(),
            shown.display()
        ))
        .with_hint("keep the suite where neither the repository nor what the profile grants has it"))
}

fn is_inside(place: &Path, top: &Path) -> bool {
    real(place).starts_with(real(top))
}

/// The path without symbolic links as far as it exists, and without `..` after that.
fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut real = PathBuf::new();
    for component in absolute.components() {
        match component {
            Component::ParentDir => {
                real.pop();
            }
            other => real.push(other),
        }
        // What does not exist has no links in it.
        real = real.canonicalize().unwrap_or(real);
    }
    real
}

/// A failure of the repository, or of the cache beside it.
pub fn workspace_failure(error: &WorkspaceError) -> Failure {
    let situation = match error.is_storage() {
        true => Situation::Storage,
        false => Situation::Repository,
    };
    Failure::new(error, situation)
}

/// A command that could not be run under its policy.
pub fn sandbox_failure(error: &SandboxError) -> Failure {
    let situation = match error.class() {
        FailureClass::Policy => Situation::Document,
        _ if error.is_missing_layer() => Situation::Sandbox,
        _ => Situation::Plain,
    };
    Failure::new(error, situation)
}

/// A branch that cannot be promoted to.
pub(super) fn promote_failure(error: &PromoteError) -> Failure {
    match error {
        PromoteError::UnusableId { .. } | PromoteError::OtherEvidence | PromoteError::Moved { .. } => {
            Failure::new(error, Situation::Plain)
        }
        error if error.is_storage() => Failure::new(error, Situation::Storage),
        _ => Failure::new(error, Situation::Repository),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_is_apart_from_what_all_commands_see() {
        let dir = tempfile::tempdir().unwrap();
        let (granted, suites) = (dir.path().join("granted"), dir.path().join("suites"));
        for made in [granted.join("api"), suites.join("api/data")] {
            std::fs::create_dir_all(made).unwrap();
        }
        std::os::unix::fs::symlink(granted.join("api"), suites.join("linked")).unwrap();
        let refused = |name: &str, shown: &Path| refuse_shown(name, &suites.join(name), [shown]).is_err();
        assert!(refused("linked", &granted) && refused("linked", &granted.join("api")));
        assert!(refused("api", &suites) && refused("api", &suites.join("api/data")));
        assert!(!refused("api", &granted) && !refused("linked", &suites.join("api")));
    }

    #[test]
    fn a_place_inside_the_repository_is_recognised_also_through_a_symlink() {
        let dir = tempfile::tempdir().unwrap();
        let repository = dir.path().join("repository");
        std::fs::create_dir(&repository).unwrap();
        std::os::unix::fs::symlink(&repository, dir.path().join("link")).unwrap();
        for inside in ["repository", "repository/a/b", "link/a", "other/../repository/a"] {
            assert!(is_inside(&dir.path().join(inside), &repository), "{inside}");
            assert!(
                is_inside(&dir.path().join(inside), &dir.path().join("link")),
                "{inside}"
            );
        }
        for outside in ["a", "repository-2"] {
            assert!(!is_inside(&dir.path().join(outside), &repository), "{outside}");
        }
    }
}
