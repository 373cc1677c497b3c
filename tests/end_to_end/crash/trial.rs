//! One place in which an order is started, killed and started again, and what must hold of it at any time.

use super::Scenario;
use super::scenario::BRANCH;
use crate::support::place::Snapshot;
use crate::support::{Ended, Place};
use factory::journal::{Journal, Phase, Recorded};
use factory::types::Sha256;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SIGKILL: i32 = 9;

/// A place, and what it was like before the first start.
pub(super) struct Trial {
    pub(super) place: Place,
    arguments: Vec<String>,
    checkout: Snapshot,
    refs: Refs,
}

/// Every ref with its commit, that commit's tree and its parents.
type Refs = BTreeMap<String, Tip>;

/// What a ref leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tip {
    pub(super) commit: String,
    pub(super) tree: String,
    pub(super) parents: String,
}

/// What a start came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Came {
    pub(super) code: Option<i32>,
    pub(super) verdict: String,
}

/// What is known before a start, to be held against what is known after it.
pub(super) struct Known {
    /// Whether there is nothing left to do but what recovery does.
    pub(super) is_done: bool,
    /// Prompts whose answer is in the journal.
    answered: BTreeSet<String>,
    /// Prompts that were sent, in order.
    pub(super) asked: Vec<String>,
}

impl Trial {
    pub(super) fn new(place: Place, arguments: Vec<String>) -> Self {
        Trial {
            checkout: place.checkout(),
            refs: refs(&place),
            arguments,
            place,
        }
    }

    pub(super) fn of(scenario: &Scenario) -> Self {
        Trial::new(scenario.place(), scenario.arguments())
    }

    /// The same once more, in a place of its own.
    pub(super) fn copy(&self) -> Self {
        Trial::new(self.place.copy(), self.arguments.clone())
    }

    /// With other arguments from now on.
    pub(super) fn with(mut self, arguments: Vec<String>) -> Self {
        self.arguments = arguments;
        self
    }

    pub(super) fn command(&self) -> Command {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        self.place.factory(&arguments)
    }

    /// Starts it and lets it come to its end.
    #[track_caller]
    pub(super) fn start(&self) -> Came {
        came(self.command())
    }

    /// The same, and the names of the crash points that it passed.
    pub(super) fn points(&self) -> (Came, Vec<String>) {
        let log = self.place.path("points");
        let mut command = self.command();
        command.env("FACTORY_CRASH_LOG", &log);
        let came = came(command);
        let points = fs::read_to_string(log).unwrap();
        (came, points.lines().map(str::to_owned).collect())
    }

    /// Starts it and kills it at the crash point of this number, from one, or this name.
    #[track_caller]
    pub(super) fn kill_at(&self, point: impl ToString) {
        let mut command = self.command();
        let ended = Ended::of(command.env("FACTORY_CRASH_AT", point.to_string()).output().unwrap());
        assert_eq!(ended.signal, Some(SIGKILL), "{ended:#?}");
    }

    /// What the branch leads to now.
    pub(super) fn tip(&self) -> Option<Tip> {
        refs(&self.place).remove(BRANCH)
    }

    /// What the branch led to before the first start.
    pub(super) fn old_tip(&self) -> Option<Tip> {
        self.refs.get(BRANCH).cloned()
    }

    /// What must hold at any time, also right after a kill: nobody else's ref moved, the repository is sound, the checkout is
    /// as it was, and nothing runs.
    #[track_caller]
    pub(super) fn is_sound(&self) {
        let mut now = refs(&self.place);
        let mut before = self.refs.clone();
        now.remove(BRANCH);
        before.remove(BRANCH);
        assert_eq!(now, before, "another ref");
        self.place.git(&["fsck", "--strict", "--no-dangling"]);
        assert_same(&self.checkout, &self.place.checkout());
        self.place.is_quiet();
    }

    /// What must hold after a start that came to its end: besides, nothing of any start is left, and every run has its end.
    #[track_caller]
    pub(super) fn is_settled(&self) {
        self.is_sound();
        self.place.leaves_nothing();
        let entries = self.entries();
        let of = |kind: &str| -> Vec<_> {
            entries
                .iter()
                .filter(|entry| entry.kind == kind)
                .map(|entry| entry.run)
                .collect()
        };
        let (mut opened, mut completed) = (of("run.opened"), of("run.completed"));
        opened.sort();
        completed.sort();
        assert_eq!(opened, completed, "every run has exactly one end");
        let named: Vec<_> = opened.iter().map(ToString::to_string).collect();
        for directory in crate::support::place::names(&self.place.path("home/.local/state/factory/runs")) {
            assert!(named.contains(&directory), "{directory} is in no entry of the journal");
        }
        for name in crate::support::place::names(&self.place.path("home/.cache/factory/trees")) {
            assert!(!name.ends_with(".part"), "{name}");
        }
        self.place.call(&["journal", "check"]).succeeded();
    }

    /// The branch has at most the one commit more that a run may put there, with the tree that it is to have.
    #[track_caller]
    pub(super) fn is_old_or(&self, tree: Option<&str>) -> bool {
        let (old, now) = (self.old_tip(), self.tip());
        if old == now {
            return false;
        }
        let now = now.expect("the branch is not removed");
        assert_eq!(Some(now.tree.as_str()), tree, "the branch is old or new");
        let base = old.map_or_else(|| self.refs["refs/heads/work"].commit.clone(), |old| old.commit);
        assert_eq!(now.parents, base, "there is one commit more");
        true
    }

    pub(super) fn entries(&self) -> Vec<Recorded> {
        let state = self.place.path("home/.local/state/factory");
        let journal = Journal::open_read_only(&state).unwrap();
        journal.map_or_else(Vec::new, |journal| journal.entries().unwrap())
    }

    /// Prompts that were sent, in order, each by its digest.
    pub(super) fn asked(&self) -> Vec<String> {
        let asked = fs::read_to_string(self.place.path("asked")).unwrap_or_default();
        asked.lines().map(str::to_owned).collect()
    }

    pub(super) fn known(&self) -> Known {
        let is_answer = |entry: &&Recorded| entry.kind == "proposal.answer" && entry.phase == Phase::Fact;
        let entries = self.entries();
        // A promotion that was announced is finished by whoever comes next.
        let is_end = |entry: &Recorded| match entry.kind.as_str() {
            "promotion.prepare" | "promotion.committed" => true,
            "run.completed" => entry.body["exit_code"] == 0,
            _ => false,
        };
        let answered = entries.iter().filter(is_answer).map(|entry| {
            let attempt = entry.attempt.unwrap();
            let prompt = format!(
                "home/.local/state/factory/runs/{}/attempt-{attempt}/prompt.txt",
                entry.run
            );
            let prompt = fs::read(self.place.path(prompt)).unwrap();
            // A program is given the prompt as lines.
            Sha256::of(&[prompt.as_slice(), b"\n"].concat()).to_string()
        });
        Known {
            is_done: self.tip() != self.old_tip() || entries.iter().any(is_end),
            answered: answered.collect(),
            asked: self.asked(),
        }
    }

    /// Nothing was asked again whose answer is recorded.
    #[track_caller]
    pub(super) fn paid_once(&self, known: &Known) {
        for prompt in &self.asked()[known.asked.len()..] {
            assert!(!known.answered.contains(prompt), "an answer was paid for twice");
        }
    }
}

#[track_caller]
fn came(mut command: Command) -> Came {
    let ended = Ended::of(command.output().unwrap());
    assert!(ended.code.is_some() && !ended.stdout.is_empty(), "{ended:#?}");
    let last = ended.json();
    Came {
        verdict: last["verdict"]
            .as_str()
            .unwrap_or_else(|| panic!("no verdict: {ended:#?}"))
            .to_owned(),
        code: ended.code,
    }
}

fn refs(place: &Place) -> Refs {
    let refs = place.git(&["for-each-ref", "--format=%(refname) %(objectname) %(tree) %(parent)"]);
    let of = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        let name = word();
        let (commit, tree, parents) = (word(), word(), word());
        (name, Tip { commit, tree, parents })
    };
    refs.lines().map(of).collect()
}

#[track_caller]
pub(super) fn assert_same(before: &Snapshot, after: &Snapshot) {
    if before == after {
        return;
    }
    let changed = |path: &&PathBuf| before.get(*path) != after.get(*path);
    let changed: BTreeSet<_> = before.keys().chain(after.keys()).filter(changed).collect();
    panic!("changed: {changed:?}");
}

/// The control groups of this process, in each hierarchy of version 1 and that of version 2.
fn own_groups() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = text.lines().filter_map(|line| {
        let (_, line) = line.split_once(':')?;
        let (controllers, path) = line.split_once(':')?;
        let top = Path::new("/sys/fs/cgroup").join(controllers.trim_start_matches("name="));
        // The separator at the end of a path is no part of it.
        Some(top.join(path.trim_start_matches('/')).components().collect())
    });
    own.collect()
}

/// Control groups whose helper is no more, where processes of ours make them: other places are other users' of this host.
/// Source: cgroups(7), `/proc/PID/cgroup`.
pub(super) fn abandoned_groups() -> Vec<PathBuf> {
    let own = own_groups();
    let is_ours = |place: &Path| own.iter().any(|own| place == own);
    let mut found = Vec::new();
    let mut pending = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            let helper = name
                .strip_prefix("factory-")
                .and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
            match helper {
                Some(helper) if is_ours(&directory) && !Path::new(&format!("/proc/{helper}")).exists() => {
                    found.push(entry.path());
                }
                Some(_) => {}
                None => pending.push(entry.path()),
            }
        }
    }
    found
}
