//! Makes room: removes what is kept for convenience and has not been needed for long.
//!
//! - No repository is touched, and nothing of a run that is open: whatever it is about to do, it finds what it left.
//! - What a promoted run recorded stays for good: it tells why the branch is what it is.
//! - The journal's entries stay. A blob that is removed was named in an entry before, so that its absence is no damage; an
//!   answer that is gone is asked for again.
//! - Whatever is in use is locked by whoever uses it, and stays, also when its run is recorded elsewhere.

use super::failure::{Failure, Situation};
use super::fold::{Overview, overviews};
use super::ground::{CANDIDATES, Places, TREES, workspace_failure};
use super::past::unreadable;
use super::planning::{self, PLANS};
use crate::durable::{Removal, Removed, is_older, remove_asides, remove_tree, tree_bytes};
use crate::journal::{Journal, Recorded};
use crate::types::{FailureClass, RunId};
use crate::workspace::TreeCache;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long what a kill may have left is taken for something that is being written.
const UNFINISHED: Duration = Duration::from_secs(3600);

/// What is to be removed.
#[derive(Debug)]
pub struct Collection<'a> {
    /// Where things are kept.
    pub places: &'a Places,
    /// What was needed within this time stays.
    pub keep: Duration,
    /// Whether it is removed, or only told.
    pub removal: Removal,
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Exported trees that no run or command has used for that long.
    pub trees: Removed,
    /// Directories of candidates, of runs that are over.
    pub candidates: Removed,
    /// Directories of runs that ended that long ago and promoted nothing, and of planners of whose orders none was promoted.
    pub artifacts: Removed,
    /// Payloads of the journal that are that old, and that no promoted run refers to.
    pub blobs: Removed,
    /// Files that were being written when somebody was killed.
    pub asides: Removed,
}

/// Removes what has not been needed for long.
///
/// # Errors
/// `Host` when something cannot be read or removed; what was removed until then is gone.
pub fn gc(collection: &Collection<'_>) -> Result<Collected, Failure> {
    let Collection { places, keep, removal } = *collection;
    let known = Known::read(places, removal)?;
    let mut collected = Collected {
        asides: collection.asides(&known)?,
        artifacts: collection.artifacts(&known)?,
        candidates: collection.candidates(&known)?,
        ..Collected::default()
    };
    let trees = places.cache_dir.join(TREES);
    if trees.is_dir() {
        let cache = TreeCache::existing(&trees).map_err(|error| workspace_failure(&error))?;
        let removed = cache.collect(keep, removal);
        collected.trees = removed.map_err(|error| workspace_failure(&error))?;
    }
    collected.blobs = collection.blobs(known)?;
    Ok(collected)
}

/// What the journal knows.
struct Known {
    journal: Option<Journal>,
    entries: Vec<Recorded>,
    runs: BTreeMap<RunId, Overview>,
    /// The runs of planners.
    plans: BTreeMap<RunId, Planned>,
}

/// A planner's run.
#[derive(Debug, Default)]
struct Planned {
    last_ms: u64,
    output: Option<PathBuf>,
    /// Whether an order of the plan is on a branch.
    is_promoted: bool,
}

fn plans(entries: &[Recorded]) -> BTreeMap<RunId, Planned> {
    let mut plans: BTreeMap<RunId, Planned> = BTreeMap::new();
    let mut plan_of: BTreeMap<RunId, RunId> = BTreeMap::new();
    for entry in entries {
        if entry.kind == "plan.opened" {
            let output = entry.body["output"].as_str().map(PathBuf::from);
            plans.entry(entry.run).or_default().output = output;
        }
        if let Some(plan) = plans.get_mut(&entry.run) {
            plan.last_ms = entry.at_ms;
        }
        let named = entry.body["plan"].as_str().and_then(|plan| plan.parse().ok());
        if let Some(plan) = named.filter(|_| entry.kind == "run.opened") {
            plan_of.insert(entry.run, plan);
        }
        if entry.kind == "promotion.committed"
            && let Some(plan) = plan_of.get(&entry.run).and_then(|plan| plans.get_mut(plan))
        {
            plan.is_promoted = true;
        }
    }
    plans
}

impl Known {
    fn read(places: &Places, removal: Removal) -> Result<Self, Failure> {
        let mut journal = Journal::open_read_only(&places.state_dir).map_err(unreadable)?;
        if journal.is_some() && removal == Removal::Done {
            journal = Some(Journal::open(&places.state_dir).map_err(unreadable)?);
        }
        let entries = journal.as_ref().map(Journal::entries).transpose().map_err(unreadable)?;
        let entries = entries.unwrap_or_default();
        let runs = overviews(&entries).map_err(|error| Failure::new(&error, Situation::Storage))?;
        Ok(Known {
            journal,
            plans: plans(&entries),
            entries,
            runs: runs.into_iter().map(|overview| (overview.run, overview)).collect(),
        })
    }

    fn is_open(&self, run: RunId) -> bool {
        self.runs.get(&run).is_some_and(|overview| overview.summary.is_none())
    }

    fn is_promoted(&self, run: RunId) -> bool {
        let summary = self.runs.get(&run).and_then(|overview| overview.summary.as_ref());
        summary.is_some_and(|summary| summary.commit.is_some())
    }
}

impl Collection<'_> {
    /// Directories of runs. Only those that the journal knows: others may be anybody's.
    fn artifacts(&self, known: &Known) -> Result<Removed, Failure> {
        let is_over = |run, _: &Path| {
            let overview = known.runs.get(&run);
            overview.is_some_and(|overview| {
                !known.is_open(run) && !known.is_promoted(run) && self.is_past(overview.progress.last_ms)
            })
        };
        let mut removed = self.directories(&self.places.artifacts, is_over)?;
        let plans = self.places.state_dir.join(PLANS);
        // A planner that was killed is not brought to an end by anybody; the next one asks anew.
        // One that is at work holds a lock, which a kill takes from it.
        let is_past = |run, directory: &Path| {
            let plan = known.plans.get(&run);
            plan.is_some_and(|plan| !plan.is_promoted && self.is_past(plan.last_ms)) && !is_locked(directory)
        };
        removed.join(self.directories(&plans, is_past)?);
        Ok(removed)
    }

    /// Directories of candidates. Another journal may know their runs; then they are locked, or about to be.
    fn candidates(&self, known: &Known) -> Result<Removed, Failure> {
        let is_over = |run, directory: &Path| match known.runs.contains_key(&run) {
            true => !known.is_open(run) && !is_locked(directory),
            false => {
                let metadata = directory.symlink_metadata();
                metadata.is_ok_and(|metadata| is_older(&metadata, UNFINISHED)) && !is_locked(directory)
            }
        };
        self.directories(&self.places.cache_dir.join(CANDIDATES), is_over)
    }

    /// Removes the directories in `parent` that are named after a run that `is_over`.
    fn directories(&self, parent: &Path, is_over: impl Fn(RunId, &Path) -> bool) -> Result<Removed, Failure> {
        let mut removed = Removed::default();
        for path in entries(parent)? {
            let run = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            let Some(run) = run.filter(|run| path.is_dir() && !path.is_symlink() && is_over(*run, &path)) else {
                continue;
            };
            tracing::debug!(%run, path = %path.display(), "collected");
            let bytes = tree_bytes(&path);
            if self.removal == Removal::Done {
                remove_tree(&path).map_err(|error| refused("remove", &path, &error))?;
            }
            removed.add(bytes);
        }
        Ok(removed)
    }

    /// What was being written aside: in the state directory, beside blobs, in the directories of runs and in the cache, but
    /// not in trees, whose files are not ours.
    fn asides(&self, known: &Known) -> Result<Removed, Failure> {
        let Places {
            state_dir,
            cache_dir,
            artifacts,
        } = self.places;
        let of_runs = entries(artifacts)?
            .into_iter()
            .filter(|path| path.is_dir() && !path.is_symlink());
        let others = [cache_dir.clone(), cache_dir.join(TREES), cache_dir.join(CANDIDATES)];
        let mut removed = Removed::default();
        for directory in [state_dir.clone()].into_iter().chain(of_runs).chain(others) {
            let some = remove_asides(&directory, UNFINISHED, self.removal);
            removed.join(some.map_err(|error| refused("look through", &directory, &error))?);
        }
        let outputs: BTreeSet<_> = known.plans.values().filter_map(|plan| plan.output.as_ref()).collect();
        for output in outputs {
            removed.join(planning::clear(output, self.removal)?);
        }
        if let Some(journal) = &known.journal {
            removed.join(journal.remove_asides(UNFINISHED, self.removal).map_err(unreadable)?);
        }
        Ok(removed)
    }

    fn blobs(&self, known: Known) -> Result<Removed, Failure> {
        let is_needed =
            |entry: &Recorded| !self.is_past(entry.at_ms) || known.is_open(entry.run) || known.is_promoted(entry.run);
        let Some(journal) = &known.journal else {
            return Ok(Removed::default());
        };
        let unneeded = journal.unneeded_blobs(&known.entries, is_needed, self.keep);
        match (self.removal, known.journal) {
            (Removal::Done, Some(mut journal)) => {
                let run = RunId::new(ulid::Ulid::generate());
                journal.remove_blobs(run, &unneeded, self.keep).map_err(unreadable)
            }
            _ => {
                let mut told = Removed::default();
                unneeded.iter().for_each(|(_, bytes)| told.add(*bytes));
                Ok(told)
            }
        }
    }

    fn is_past(&self, ms: u64) -> bool {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_millis(ms));
        // A time in the future is that of a clock that was set back since.
        elapsed.is_ok_and(|elapsed| elapsed >= self.keep)
    }
}

/// Whether a run is using the directory. One that cannot be asked may be in use.
fn is_locked(directory: &Path) -> bool {
    !File::open(directory).is_ok_and(|directory| directory.try_lock().is_ok())
}

/// The paths in a directory; none when it is not there.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let found = fs::read_dir(directory).and_then(|entries| {
        let paths = entries.map(|entry| Ok(entry?.path()));
        paths.collect::<io::Result<Vec<_>>>()
    });
    match found {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|error| refused("list", directory, &error)),
    }
}

fn refused(act: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::plain(FailureClass::Host, format!("cannot {act} `{}`", path.display()))
        .because(error.to_string())
        .in_situation(Situation::Storage)
        .with_hint("see who owns it, and whether its file system is writable")
}
