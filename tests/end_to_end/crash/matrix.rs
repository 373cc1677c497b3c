//! One kill at every place between two effects, of a run and of its recovery.

use super::Trial;
use super::scenario::{SCENARIOS, Scenario};
use super::trial::{Came, Known, abandoned_groups};
use crate::support::in_parallel;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Points that some run has to pass: one that vanishes from the program is noticed here.
const POINTS: [&str; 48] = [
    "the journal is built, and has no name yet",
    "the repository is taken",
    "before the entry run.opened (intent)",
    "after the entry run.opened (intent)",
    "the directory of the run is there, and empty",
    "a tree is written aside",
    "a tree is in its place, not marked as complete",
    "the ground is prepared",
    "before the entry baseline.judged (fact)",
    "after the entry baseline.judged (fact)",
    "before the entry regression.held (fact)",
    "after the entry regression.held (fact)",
    "the directory of the attempt is there, and empty",
    "before the entry proposal.request (intent)",
    "after the entry proposal.request (intent)",
    "the model has answered, nothing is stored",
    "a file is written, and has no name yet",
    "a blob is there, no entry names it",
    "before the entry proposal.answer (fact)",
    "after the entry proposal.answer (fact)",
    "before the entry proposal.recalled (fact)",
    "after the entry proposal.recalled (fact)",
    "the directory of the changes is there, and empty",
    "the files of the changes are written",
    "before the entry candidate.built (fact)",
    "after the entry candidate.built (fact)",
    "before the entry verify.started (intent)",
    "after the entry verify.started (intent)",
    "the artifacts of the verdict are written, the verdict not recorded",
    "before the entry verify.finished (fact)",
    "after the entry verify.finished (fact)",
    "before the entry verify.recalled (fact)",
    "after the entry verify.recalled (fact)",
    "before the entry attempt.failed (fact)",
    "after the entry attempt.failed (fact)",
    "the trees are made, the commit not",
    "the commit is made, nothing is written",
    "the objects are written aside, not synced",
    "the objects have their names, their directories are not synced",
    "before the entry promotion.prepare (intent)",
    "after the entry promotion.prepare (intent)",
    "the ref is moved, its directory not synced",
    "before the entry promotion.committed (fact)",
    "after the entry promotion.committed (fact)",
    "the changes are removed, the run is not closed",
    "before the entry run.completed (fact)",
    "after the entry run.completed (fact)",
    "the run is closed, its summary not written",
];

/// Points that only recovery passes.
const POINTS_OF_RECOVERY: [&str; 4] = [
    "a stale lock is out of the way",
    "a dead run is settled, what it left is still there",
    "what a dead run left is removed",
    "a dead run is closed, its summary not written",
];

/// How a scenario goes when nobody kills anything.
struct Unkilled {
    name: &'static str,
    from: &'static str,
    /// The place before the first start.
    before: Trial,
    came: Came,
    points: Vec<String>,
    requests: usize,
    /// The tree of the branch afterwards, when it moved.
    tree: Option<String>,
}

impl Unkilled {
    fn of(scenario: &Scenario) -> Self {
        let before = Trial::new(scenario.place(), scenario.arguments());
        let trial = before.copy();
        let (came, points) = trial.points();
        trial.is_settled();
        let moved = trial.tip().filter(|tip| Some(tip) != trial.old_tip().as_ref());
        Unkilled {
            name: scenario.name,
            from: scenario.from,
            before,
            came,
            points,
            requests: trial.asked().len(),
            tree: moved.map(|tip| tip.tree),
        }
    }

    /// The number of a point's first occurrence, from one.
    fn number(&self, point: &str) -> usize {
        let found = self.points.iter().position(|name| name == point);
        found.unwrap_or_else(|| panic!("`{point}` in {:#?}", self.points)) + 1
    }

    /// The numbers of the points at which it is to be killed.
    fn numbers(&self, every: bool) -> impl Iterator<Item = usize> + use<> {
        let first = if every { 1 } else { self.number(self.from) };
        first..=self.points.len()
    }

    /// Kills a first start at a point and looks at what that leaves.
    fn killed_at(&self, number: usize) -> Trial {
        let trial = self.before.copy();
        trial.kill_at(number);
        self.holds(&trial);
        trial
    }

    fn holds(&self, trial: &Trial) {
        trial.is_sound();
        trial.is_old_or(self.tree.as_deref());
    }

    /// Starts the order again: it comes to the end that it would have come to.
    fn carries_on(&self, trial: &Trial) {
        let known = trial.known();
        let came = trial.start();
        self.is_end(&came, &known);
        assert_eq!(trial.is_old_or(self.tree.as_deref()), self.tree.is_some(), "{came:?}");
        trial.is_settled();
        trial.paid_once(&known);
        let asked = trial.asked().len();
        assert!(
            asked <= self.requests + 1,
            "asked {asked} times, and {} without a kill",
            self.requests
        );
    }

    /// Starts it once more: nothing happens.
    fn stays(&self, trial: &Trial) {
        let (known, tip) = (trial.known(), trial.tip());
        let again = trial.start();
        self.is_end(&again, &known);
        assert!(self.came.code != Some(0) || again.verdict == "SKIPPED", "{again:?}");
        assert_eq!((trial.tip(), trial.asked()), (tip, known.asked), "once more");
        trial.is_settled();
    }

    /// Whether a start came to the end that one without a kill comes to.
    fn is_end(&self, came: &Came, known: &Known) {
        let skipped = Came {
            code: Some(0),
            verdict: "SKIPPED".to_owned(),
        };
        match self.came.code == Some(0) && known.is_done {
            true => assert_eq!(came, &skipped),
            false => assert_eq!(came, &self.came),
        }
    }
}

/// Tries every case and tells of all that fell.
fn all_hold<T: Sync>(cases: &[T], name: impl Fn(&T) -> String + Sync, holds: impl Fn(&T) + Sync) {
    let fallen = in_parallel(cases, |case| {
        let fallen = catch_unwind(AssertUnwindSafe(|| holds(case))).is_err();
        fallen.then(|| name(case))
    });
    let fallen: Vec<_> = fallen.into_iter().flatten().collect();
    assert!(fallen.is_empty(), "{} of {}: {fallen:#?}", fallen.len(), cases.len());
    let end = Instant::now() + Duration::from_secs(10);
    while !abandoned_groups().is_empty() {
        assert!(Instant::now() < end, "control groups: {:#?}", abandoned_groups());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn at(unkilled: &Unkilled, number: usize) -> String {
    format!("{}, killed at {number}: {}", unkilled.name, unkilled.points[number - 1])
}

/// With `FACTORY_TEST_EVERY_POINT` set, also where the course is still like that of another scenario.
#[test]
fn a_run_that_is_killed_anywhere_is_carried_on_by_the_next_start() {
    let every = std::env::var_os("FACTORY_TEST_EVERY_POINT").is_some();
    let unkilled = in_parallel(&SCENARIOS, Unkilled::of);
    let cases: Vec<_> = unkilled
        .iter()
        .flat_map(|one| one.numbers(every).map(move |number| (one, number)))
        .collect();
    println!("{} kills", cases.len());
    all_hold(
        &cases,
        |(one, number)| at(one, *number),
        |(one, number)| {
            let trial = one.killed_at(*number);
            one.carries_on(&trial);
            one.stays(&trial);
        },
    );
}

#[test]
fn every_place_between_two_effects_is_a_crash_point() {
    let unkilled = in_parallel(&SCENARIOS, Unkilled::of);
    let mut passed: BTreeSet<String> = unkilled.iter().flat_map(|one| one.points.clone()).collect();
    for point in [
        "after the entry verify.finished (fact)",
        "after the entry promotion.prepare (intent)",
    ] {
        let trial = unkilled[0].killed_at(unkilled[0].number(point));
        passed.extend(trial.points().1);
    }
    let missing: Vec<_> = POINTS
        .iter()
        .chain(&POINTS_OF_RECOVERY)
        .filter(|point| !passed.contains(**point))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn recovery_that_is_killed_anywhere_is_carried_on_by_the_next_start() {
    const BEFORE: [&str; 2] = [
        "the files of the changes are written",
        "after the entry verify.finished (fact)",
    ];
    const AROUND: [&str; 4] = [
        "the objects are written aside, not synced",
        "after the entry promotion.prepare (intent)",
        "the ref is moved, its directory not synced",
        "after the entry promotion.committed (fact)",
    ];
    let [new, existing] = [&SCENARIOS[0], &SCENARIOS[3]].map(Unkilled::of);
    let kills: Vec<_> = (BEFORE.iter().chain(&AROUND).map(|point| (&new, point)))
        .chain(AROUND.iter().map(|point| (&existing, point)))
        .map(|(one, point)| (one, one.number(point)))
        .collect();
    let points = in_parallel(&kills, |(one, number)| one.killed_at(*number).points().1);
    let mut cases = Vec::new();
    for ((one, number), points) in kills.iter().zip(&points) {
        // What comes after that is a run like any other.
        let opened = points
            .iter()
            .position(|point| point.starts_with("before the entry run.opened"));
        for second in 1..=opened.unwrap_or(points.len()) {
            cases.push((*one, *number, second, &points[second - 1]));
        }
    }
    println!("{} kills of recovery", cases.len());
    all_hold(
        &cases,
        |(one, number, _, point)| format!("{}, and then: {point}", at(one, *number)),
        |(one, number, second, _)| {
            let trial = one.killed_at(*number);
            trial.kill_at(*second);
            one.holds(&trial);
            one.carries_on(&trial);
        },
    );
}

#[test]
fn what_git_holds_at_the_moment_of_a_kill_is_cleared_away_or_left_to_whoever_holds_it() {
    let unkilled = Unkilled::of(&SCENARIOS[0]);
    let prepared = unkilled.number("after the entry promotion.prepare (intent)");
    let lock = |trial: &Trial, text: &str| {
        let prepare = trial
            .entries()
            .into_iter()
            .rfind(|entry| entry.kind == "promotion.prepare")
            .unwrap();
        let commit = prepare.body["commit"].as_str().unwrap().to_owned();
        let lock = format!("repository/.git/{}.lock", super::scenario::BRANCH);
        trial.place.write(&lock, text.replace("COMMIT", &commit))
    };
    // As libgit2 leaves it: nothing written yet, and the commit. Objects that have no names yet are in a directory.
    for text in ["", "COMMIT\n"] {
        let trial = unkilled.killed_at(prepared);
        lock(&trial, text);
        let aside = "repository/.git/objects/tmp_objdir-factory-a1b2c3/objects/half";
        trial.place.write(aside, "half an object");
        unkilled.carries_on(&trial);
    }
    // That of another program, which is at work.
    let trial = unkilled.killed_at(prepared);
    let held = lock(&trial, "0123456789012345678901234567890123456789\n");
    let refused = trial.place.call(&["recover"]);
    refused.explains(23, &["is locked by", "work.lock"]);
    assert!(held.exists() && trial.tip().is_none());
    std::fs::remove_file(held).unwrap();
    unkilled.carries_on(&trial);
}
