//! The work order: schema, parsing, validation. Text becomes a [`WorkOrder`] that cannot be wrong in ways we can check.
//!
//! - [`parse`] is the only way to make one from text; it reports every problem at once, each with its place.
//! - Paths are literal and inside the repository, commands split into words, and both are kept in parsed form.
//! - `verify_exempt` and `provenance` are what the file claims; [`verify_exempt_allowed`] says what the claim is worth.
//! - Nothing here looks at a repository: whether a precondition holds is asked where the tree is.

mod canonical;
pub mod json;
mod parse;
mod protected;
mod words;

pub use canonical::canonical_json;
pub use parse::{OrderError, parse};
pub use protected::runs_unasked;
pub use words::{SplitError, split_command};

use crate::types::RepoPath;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// The largest work order that is read, in bytes.
pub const MAX_ORDER_BYTES: usize = 1 << 20;

/// How many context files an order may name.
pub const MAX_CONTEXT_FILES: usize = 10;

/// One piece of work for the model, as somebody wrote it down: version 1 of the schema.
///
/// It serialises to the form that [`parse`] reads.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkOrder {
    /// Its name; a plan numbers its orders `WO-01`, `WO-02`, a single order may have any.
    pub id: String,
    /// One line for people.
    pub title: String,
    /// What is wanted, for the model.
    pub intent: String,
    /// What has to hold on the base before the model is asked.
    pub preconditions: Vec<Condition>,
    /// What has to hold in the candidate.
    pub postconditions: Vec<Condition>,
    /// The files that may be written, literally; at least one.
    pub allowed_files: Vec<RepoPath>,
    /// What the model is told not to do; prose, not enforced.
    pub forbidden: Vec<String>,
    /// The commands that judge the candidate; at least one.
    pub acceptance_commands: Vec<AcceptanceCommand>,
    /// The files that are shown to the model; at most [`MAX_CONTEXT_FILES`].
    pub context_files: Vec<RepoPath>,
    /// More for the model.
    pub notes: Option<String>,
    /// Whether the order claims to be excused from the global verification; read, never trusted.
    pub verify_exempt: bool,
    /// What the planner wrote down about itself; any JSON, not part of the order's meaning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Value>,
}

/// A command that has to succeed in the candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptanceCommand {
    /// The command as written.
    pub text: String,
    /// Its words; no shell is involved. At least one, and the first is not empty.
    pub argv: Vec<String>,
}

impl Serialize for AcceptanceCommand {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// Something that has to hold in a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// What is asked of the path.
    pub kind: ConditionKind,
    /// The path.
    pub path: RepoPath,
}

/// What a condition asks of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConditionKind {
    /// A regular file is there.
    FileExists,
    /// No regular file is there.
    FileAbsent,
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
    use serde_json::json;

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
