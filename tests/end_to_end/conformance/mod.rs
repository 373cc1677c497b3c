//! Runs the conformance cases: one JSON object a line, input → expected output, one file per area.
//!
//! - `FACTORY_CONFORMANCE` names the directory; without it, `../shared/conformance` beside the package, and without that
//!   the test says so and passes.
//! - Whatever files are there are read, so further cases need no code. An area that stands in no table is a failure.
//! - Every `must` and `should` passes. A `may` case that we answer otherwise stands in [`MAY_DIFFER`] with the reason.

mod case;
mod documents;
mod proposals;

use crate::support::{project, shared};
use case::{Case, Level};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Answers one case: the result as far as it can be had, or why the case could not be run at all.
type Handler = fn(&Case) -> Result<Value, String>;

/// Who answers which area.
const HANDLERS: &[(&str, Handler)] = &[
    ("command.split", documents::command_split),
    ("context.read", proposals::context_read),
    ("exempt.policy", documents::exempt_policy),
    ("hash.canonical", documents::hash_canonical),
    ("hash.file", proposals::hash_file),
    ("hash.run_id", documents::hash_run_id),
    ("order.load", documents::order_load),
    ("orders.sort", documents::orders_sort),
    ("path", documents::path),
    ("proposal.apply", proposals::proposal_apply),
    ("proposal.parse", proposals::proposal_parse),
    ("template.render", documents::template_render),
    ("text.truncate", documents::text_truncate),
    ("verify.commands", documents::verify_commands),
];

/// Areas that need the whole program: orders are run in a repository, with recorded answers.
const NEEDS_THE_PROGRAM: &[(&str, &str)] = &[
    (
        "route",
        "which failure is tried again is decided by the engine that takes an order through its stages",
    ),
    ("run", "takes an order from file to commit"),
    ("stage", "the names of the stages belong to the record of a run"),
];

/// Areas whose subject does not exist yet, and what they wait for.
const NOT_YET: &[(&str, &str)] = &[
    (
        "git.status_z",
        "changes are never found by `git status`; waits for a planner that lists a working tree, if it does",
    ),
    (
        "harness.path",
        "no interpreter directory of ours lies in a repository; waits for the listing of the planner",
    ),
    ("hash.compile", "the key of a planner run"),
    ("model.generate", "answers of the provider that the planner uses"),
    ("model.retry_after", "answers of the provider that the planner uses"),
    ("model.text", "answers of the provider that the planner uses"),
    ("model.transport", "answers of the provider that the planner uses"),
    ("out.overwrite", "the planner writes orders into a directory"),
    ("plan.compile", "the planner"),
    ("plan.deps", "the planner"),
    ("plan.exempt", "the planner"),
    ("plan.listing", "the planner"),
    ("plan.normalize", "the planner"),
    ("plan.parse", "the planner"),
    ("plan.validate", "the planner"),
];

/// Cases of level `may` that are answered otherwise on purpose: id and reason.
const MAY_DIFFER: &[(&str, &str)] = &[];

#[derive(Debug, Default)]
struct Count {
    passed: usize,
    differ: usize,
    not_run: usize,
}

#[derive(Debug, Default)]
struct Outcome {
    counts: BTreeMap<String, Count>,
    failures: Vec<String>,
}

/// Runs every case of every `.jsonl` file in a directory.
fn run_directory(directory: &Path) -> Outcome {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("cannot list the conformance cases in {}: {error}", directory.display()))
        .map(|entry| entry.expect("the directory can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    let mut outcome = Outcome::default();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            match serde_json::from_str::<Case>(line) {
                Ok(case) => run_case(&case, &mut outcome),
                Err(error) => outcome
                    .failures
                    .push(format!("{}:{}: no case: {error}", file.display(), number + 1)),
            }
        }
    }
    outcome
}

fn run_case(case: &Case, outcome: &mut Outcome) {
    let Case {
        id, area, title, level, ..
    } = case;
    let count = outcome.counts.entry(area.clone()).or_default();
    let listed_in = |table: &[(&str, &str)], name: &str| table.iter().any(|(listed, _)| *listed == name);
    let Some((_, handler)) = HANDLERS.iter().find(|(handled, _)| handled == area) else {
        count.not_run += 1;
        if !listed_in(NEEDS_THE_PROGRAM, area) && !listed_in(NOT_YET, area) {
            let failure = format!("{id}: unknown area `{area}`: give it a handler, or list why it has none");
            outcome.failures.push(failure);
        }
        return;
    };
    let differences = match handler(case) {
        Ok(actual) => case::differences(&case.expect, &actual),
        Err(reason) => vec![format!("cannot be run: {reason}")],
    };
    match (differences.is_empty(), level, listed_in(MAY_DIFFER, id)) {
        (true, _, false) => count.passed += 1,
        (false, Level::May, true) => count.differ += 1,
        (true, _, true) => outcome
            .failures
            .push(format!("{id}: listed in MAY_DIFFER, but agrees; take it out")),
        (false, _, listed) => {
            let remark = match (level, listed) {
                (Level::May, _) => "; if that is deliberate, list it in MAY_DIFFER with the reason",
                (_, true) => "; MAY_DIFFER is for `may` cases only",
                (_, false) => "",
            };
            outcome
                .failures
                .push(format!("{id} ({level:?}: {title}): {}{remark}", differences.join("; ")));
        }
    }
}

#[test]
fn every_conformance_case_is_met() {
    let Some(directory) = shared("conformance", "FACTORY_CONFORMANCE") else {
        return;
    };
    let outcome = run_directory(&directory);
    println!("{:<20} {:>6} {:>6} {:>7}", "area", "passed", "differ", "not run");
    for (
        area,
        Count {
            passed,
            differ,
            not_run,
        },
    ) in &outcome.counts
    {
        println!("{area:<20} {passed:>6} {differ:>6} {not_run:>7}");
    }
    assert!(!outcome.counts.is_empty(), "{} has no cases", directory.display());
    assert!(
        outcome.failures.is_empty(),
        "{} cases fail:\n{}",
        outcome.failures.len(),
        outcome.failures.join("\n")
    );
}

fn fixture(name: &str) -> Outcome {
    run_directory(&project().join("tests/fixtures/conformance").join(name))
}

#[test]
fn the_projects_own_cases_are_met() {
    let outcome = fixture("good");
    assert_eq!(outcome.failures, Vec::<String>::new());
    assert_eq!(outcome.counts.values().map(|count| count.passed).sum::<usize>(), 8);
}

#[test]
fn an_unknown_area_and_a_wrong_answer_are_failures() {
    let outcome = fixture("unknown-area");
    let expected = [
        "path-wrong (Must: a case that we do not meet): ok: expected false, got true",
        "unheard-001: unknown area `unheard`: give it a handler, or list why it has none",
    ];
    assert_eq!(outcome.failures, expected);
}
