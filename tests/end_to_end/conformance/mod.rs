//! Runs the conformance cases: one JSON object a line, input → expected output, one file per area.
//!
//! - `FACTORY_CONFORMANCE` names the directory; without it, `../shared/conformance` beside the package, and without that
//!   the test says so and passes.
//! - Whatever files are there are read, so further cases need no code. An area that stands in no table is a failure.
//! - Every `must` and `should` passes. A `may` case that we answer otherwise stands in [`MAY_DIFFER`] with the reason.
//! - Cases on which the design decides otherwise are judged by that decision; see `program` and `models`.

mod case;
mod documents;
mod models;
mod planner;
mod program;
mod proposals;

use crate::support::{in_parallel, project, shared};
use case::{Case, Level};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Answers one case: the result as far as it can be had, or why the case could not be run at all.
type Handler = fn(&Case) -> Result<Value, String>;

/// Who answers which area; [`program::run`] and [`planner::compile`] answer their own.
const HANDLERS: &[(&str, Handler)] = &[
    ("command.split", documents::command_split),
    ("context.read", proposals::context_read),
    ("exempt.policy", documents::exempt_policy),
    ("hash.canonical", documents::hash_canonical),
    ("hash.compile", planner::hash),
    ("hash.file", proposals::hash_file),
    ("hash.run_id", documents::hash_run_id),
    ("model.generate", models::generate),
    ("model.retry_after", models::retry_after),
    ("model.text", models::text),
    ("model.transport", models::transport),
    ("order.load", documents::order_load),
    ("orders.sort", documents::orders_sort),
    ("out.overwrite", planner::overwrite),
    ("path", documents::path),
    ("plan.deps", planner::deps),
    ("plan.exempt", planner::exempt),
    ("plan.listing", planner::listing),
    ("plan.normalize", planner::normalize),
    ("plan.parse", planner::parse),
    ("plan.validate", planner::validate),
    ("proposal.apply", proposals::proposal_apply),
    ("proposal.parse", proposals::proposal_parse),
    ("route", program::route),
    ("stage", program::stage),
    ("template.render", documents::template_render),
    ("text.truncate", documents::text_truncate),
    ("verify.commands", documents::verify_commands),
];

/// Areas whose subject does not exist yet, and what they wait for.
const NOT_YET: &[(&str, &str)] = &[
    (
        "git.status_z",
        "changes are never found by `git status`, and the planner lists a commit",
    ),
    (
        "harness.path",
        "no interpreter directory of ours lies in a repository; the planner leaves out such directories wherever they are",
    ),
];

/// Cases of level `may` that are answered otherwise on purpose: id and reason.
const MAY_DIFFER: &[(&str, &str)] = &[
    (
        "plan.compile-016",
        "an order that only makes the verification which the repository has is left out before its precondition is asked",
    ),
    (
        "plan.compile-019",
        "a directory that holds another plan is refused before the model is paid",
    ),
];

#[derive(Debug, Default)]
struct Count {
    passed: usize,
    /// Judged by a decision instead of the case's own expectation.
    decided: usize,
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
    let mut cases = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            match serde_json::from_str::<Case>(line) {
                Ok(case) => cases.push(case),
                Err(error) => outcome
                    .failures
                    .push(format!("{}:{}: no case: {error}", file.display(), number + 1)),
            }
        }
    }
    let bench = program::Bench::default();
    let answers = in_parallel(&cases, |case| answer(case, &bench));
    for (case, answer) in cases.iter().zip(answers) {
        judge(case, answer, &mut outcome);
    }
    outcome
}

/// The answer to a case; nothing when nobody handles its area.
fn answer(case: &Case, bench: &program::Bench) -> Option<Result<Value, String>> {
    if case.area == program::AREA {
        return Some(program::run(case, bench));
    }
    if case.area == planner::AREA {
        return Some(planner::compile(case, bench));
    }
    let handler = HANDLERS.iter().find(|(handled, _)| *handled == case.area);
    handler.map(|(_, handler)| handler(case))
}

/// Compares the answer to a case with what is expected of it.
fn judge(case: &Case, answer: Option<Result<Value, String>>, outcome: &mut Outcome) {
    let Case {
        id, area, title, level, ..
    } = case;
    let count = outcome.counts.entry(area.clone()).or_default();
    let listed_in = |table: &[(&str, &str)], name: &str| table.iter().any(|(listed, _)| *listed == name);
    let Some(answer) = answer else {
        count.not_run += 1;
        if !listed_in(NOT_YET, area) {
            let failure = format!("{id}: unknown area `{area}`: give it a handler, or list why it has none");
            outcome.failures.push(failure);
        }
        return;
    };
    let (expect, decisions) = match case.area.starts_with("model.") {
        true => models::decided(case),
        false => program::decided(case),
    };
    let differences = match answer {
        Ok(actual) if !decisions.is_empty() && case::differences(&case.expect, &actual).is_empty() => {
            vec![format!(
                "it is as the case expects, and not as decided: {}",
                decisions.join("; ")
            )]
        }
        Ok(actual) => case::differences(&expect, &actual),
        Err(reason) => vec![format!("cannot be run: {reason}")],
    };
    match (differences.is_empty(), level, listed_in(MAY_DIFFER, id)) {
        (true, _, false) if decisions.is_empty() => count.passed += 1,
        (true, _, false) => {
            count.decided += 1;
            println!("{id} ({title}) is judged by decision: {}", decisions.join("; "));
        }
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
    let start = Instant::now();
    let outcome = run_directory(&directory);
    println!("answered in {:.1} s", start.elapsed().as_secs_f64());
    println!(
        "{:<20} {:>6} {:>7} {:>6} {:>7}",
        "area", "passed", "decided", "differ", "not run"
    );
    for (area, count) in &outcome.counts {
        let Count {
            passed,
            decided,
            differ,
            not_run,
        } = count;
        println!("{area:<20} {passed:>6} {decided:>7} {differ:>6} {not_run:>7}");
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
    let count = |of: fn(&Count) -> usize| outcome.counts.values().map(of).sum::<usize>();
    assert_eq!((count(|count| count.passed), count(|count| count.decided)), (14, 3));
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
