//! The work order: schema, parsing, validation. Text becomes a [`WorkOrder`] that cannot be wrong in ways we can check.
//!
//! - [`parse`] is the only way to make one from text; it reports every problem at once, each with its place.
//! - Paths are literal and inside the repository, commands split into words, and both are kept in parsed form.
//! - `verify_exempt` and `provenance` are what the file claims; [`verify_exempt_allowed`] says what the claim is worth.
//! - Nothing here looks at a repository: whether a precondition holds is asked where the tree is.

mod acceptance;
mod canonical;
mod exposed;
pub mod json;
mod parse;
mod protected;
pub mod schema;
mod serial;
mod terms;
mod words;

pub use acceptance::{AcceptanceCommand, Baseline, Expect, MAX_RUNS, TextMatch, Visibility};
pub use canonical::canonical_json;
pub use exposed::exposed_fields;
pub use parse::{OrderError, is_plain_id, parse, parse_suite};
pub use protected::runs_unasked;
pub use terms::{Condition, Golden, Kind, OrderBudget, Rename, Resources, Tool, Version, VersionNumber};
pub use words::{SplitError, join_command, split_command};

use crate::types::{RepoPath, Sha256};
use serde_json::{Value, json};

/// The largest work order that is read, in bytes.
pub const MAX_ORDER_BYTES: usize = 1 << 20;

/// How many context files an order may name.
pub const MAX_CONTEXT_FILES: usize = 10;

/// One piece of work for the model, as somebody wrote it down.
///
/// Version 1 of the schema says less than version 2; what it cannot say has its default here, so that whoever acts on an
/// order sees one type. It serialises to the form of its version that [`parse`] reads.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkOrder {
    /// The schema that it is written in.
    pub version: Version,
    /// Its name; a plan numbers its orders `WO-01`, `WO-02`, a single order may have any.
    pub id: String,
    /// One line for people.
    pub title: String,
    /// What kind of work it is; version 1 does not say.
    pub kind: Option<Kind>,
    /// What is wanted, for the model.
    pub intent: String,
    /// What of the spec it fulfils, by the names that the spec has for it; for people and reports.
    pub requirements: Vec<String>,
    /// The orders that have to be done before; nothing in version 1, which means whatever order its plan has before it.
    pub depends_on: Option<Vec<String>>,
    /// What has to hold on the base before the model is asked.
    pub preconditions: Vec<Condition>,
    /// What has to hold in the candidate.
    pub postconditions: Vec<Condition>,
    /// The files that may be written, literally.
    pub allowed_files: Vec<RepoPath>,
    /// The files that may be deleted, literally.
    pub allowed_deletes: Vec<RepoPath>,
    /// The files that may get another name, and which.
    pub allowed_renames: Vec<Rename>,
    /// The files that are executable when this order writes them or gives them their name. Others keep what they are.
    pub executable_files: Vec<RepoPath>,
    /// The files that nothing may change: no proposal, and no command while it judges.
    pub protected_files: Vec<RepoPath>,
    /// Files, and directories with all that is below them, that no proposal may touch.
    pub forbidden_paths: Vec<RepoPath>,
    /// What the model is told not to do; prose, not enforced.
    pub forbidden: Vec<String>,
    /// The commands that judge the candidate; at least one.
    pub acceptance_commands: Vec<AcceptanceCommand>,
    /// The operator's own suites that judge the candidate when all else has. Only their names and digests stand in an order.
    pub golden: Vec<Golden>,
    /// The programs without which it cannot be judged.
    pub tools: Vec<Tool>,
    /// Limits of each command that are lower than the profile's.
    pub resources: Resources,
    /// The most that may be spent on it.
    pub budget: OrderBudget,
    /// The files that are shown to the model; at most [`MAX_CONTEXT_FILES`].
    pub context_files: Vec<RepoPath>,
    /// More for the model.
    pub notes: Option<String>,
    /// Whether the order claims to be excused from the global verification; read, never trusted.
    pub verify_exempt: bool,
    /// What the planner wrote down about itself; any JSON, not part of the order's meaning.
    pub provenance: Option<Value>,
}

impl WorkOrder {
    /// Names the order by what it means: its canonical form without what the planner wrote down about itself.
    pub fn digest(&self) -> Sha256 {
        let meaning = WorkOrder {
            provenance: None,
            ..self.clone()
        };
        Sha256::of(&canonical_json(&json!(meaning)))
    }

    /// Whether a proposal may not touch `path` whatever else the order says: it is protected, or lies in what is forbidden.
    pub fn forbids(&self, path: &RepoPath) -> bool {
        let is_within = |place: &RepoPath| path == place || below(path, place);
        self.protected_files.contains(path) || self.forbidden_paths.iter().any(is_within)
    }
}

/// Whether a path lies below a directory.
fn below(path: &RepoPath, directory: &RepoPath) -> bool {
    let rest = path.as_str().strip_prefix(directory.as_str());
    rest.is_some_and(|rest| rest.starts_with('/'))
}

/// Whether an order may be excused from the global verification: when the operator says so, or when it is the bootstrap
/// order of a planner run, before which no verification can exist.
pub fn verify_exempt_allowed(allow_flag: bool, provenance: Option<&Value>) -> bool {
    let is_bootstrap = |provenance: &Value| {
        let planner_run = provenance.get("planner_run_id").and_then(Value::as_str);
        provenance.get("bootstrap") == Some(&Value::Bool(true)) && planner_run.is_some_and(|id| !id.is_empty())
    };
    allow_flag || provenance.is_some_and(is_bootstrap)
}

/// Keeps the names of work order files, `WO-01.json` and the like, and sorts them by their number.
pub fn sort_files<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Vec<S> {
    let mut numbered: Vec<_> = names
        .into_iter()
        .filter_map(|name| Some((number_of(name.as_ref())?, name)))
        .collect();
    // The name decides between `WO-1.json` and `WO-01.json`, so that the result does not depend on the directory.
    numbered.sort_by(|(a, a_name), (b, b_name)| (a, a_name.as_ref()).cmp(&(b, b_name.as_ref())));
    numbered.into_iter().map(|(_, name)| name).collect()
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("WO-")?.strip_suffix(".json")?;
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_operator_or_a_planned_bootstrap_excuses_from_verification() {
        assert!(verify_exempt_allowed(true, None));
        assert!(verify_exempt_allowed(
            false,
            Some(&json!({"bootstrap": true, "planner_run_id": "R1"}))
        ));
        for provenance in [
            json!({}),
            json!("bootstrap"),
            json!({"bootstrap": "true", "planner_run_id": "R1"}),
            json!({"bootstrap": true, "planner_run_id": ""}),
            json!({"bootstrap": true, "planner_run_id": 1}),
        ] {
            assert!(!verify_exempt_allowed(false, Some(&provenance)), "{provenance}");
        }
        assert!(!verify_exempt_allowed(false, None));
    }

    #[test]
    fn order_files_sort_by_number() {
        let names = [
            "WO-100.json",
            "WO-99.json",
            "WO-.json",
            "WO-+1.json",
            "notes.json",
            "WO-02.txt",
            "WO-02.json",
        ];
        assert_eq!(sort_files(names), ["WO-02.json", "WO-99.json", "WO-100.json"]);
    }
}
