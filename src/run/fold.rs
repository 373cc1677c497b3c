//! Journal entries → what each run is, for people. The same entries give the same answer.

use super::hold::Lease;
use super::progress::Progress;
use super::summary::Summary;
use crate::journal::{JournalError, Recorded};
use crate::sandbox::Layer;
use crate::types::{FailureClass, ObjectId, Problem, RepoPath, RunId, Sha256};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The body of the entry `run.opened`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The order's id.
    pub order_id: String,
    /// The order's title.
    pub title: String,
    /// What of the spec it fulfils.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requirements: Vec<String>,
    /// The digest of the order's bytes.
    pub order_sha256: Sha256,
    /// Recognises the same order on the same inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_key: Option<Sha256>,
    /// Whether the model was to be asked anew, whatever was recorded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fresh: bool,
    /// The run that it goes on from: the last one of the same order that ended without a judgement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<RunId>,
    /// Who runs it, and on what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// The directory of its candidates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch: Option<PathBuf>,
    /// The commit that the run starts from.
    pub base: ObjectId,
    /// The branch that it works for.
    pub branch: String,
    /// The repository.
    pub repository: PathBuf,
    /// The profile under which commands run.
    pub profile: String,
    /// Layers of the profile's floor that the operator did without.
    #[serde(default)]
    pub waived: BTreeSet<Layer>,
    /// Files that the operator let the order change although they are run without being called.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub allowed_protected: BTreeSet<RepoPath>,
    /// Context files that the operator let be shown although they look as if they held credentials.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub allowed_context: BTreeSet<RepoPath>,
    /// Whether the operator let the order's own text be shown, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allowed_order_text: bool,
    /// The plan that the order belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// The provider that is asked.
    pub provider: String,
    /// The model that is asked.
    pub model: String,
    /// Attempts that it may take.
    pub max_attempts: u32,
    /// The directory with everything that is recorded.
    pub artifacts: PathBuf,
}

/// What is known about one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overview {
    /// The run.
    pub run: RunId,
    /// What it was opened with.
    #[serde(flatten)]
    pub opened: Opened,
    /// How far it has come.
    #[serde(flatten)]
    pub progress: Progress,
    /// How it ended; absent while it is under way, and for ever when it was killed.
    pub summary: Option<Summary>,
}

/// Folds entries into runs, in the order in which these were opened.
///
/// # Errors
/// `Host` when an entry of ours does not hold what entries of its kind hold.
pub fn overviews(entries: &[Recorded]) -> Result<Vec<Overview>, FoldError> {
    let mut runs: BTreeMap<RunId, Overview> = BTreeMap::new();
    let mut order = Vec::new();
    for entry in entries {
        if entry.kind == "run.opened" {
            order.push(entry.run);
            runs.insert(entry.run, open(entry)?);
        } else if let Some(overview) = runs.get_mut(&entry.run) {
            advance(overview, entry)?;
        }
    }
    Ok(order.into_iter().filter_map(|run| runs.remove(&run)).collect())
}

fn open(entry: &Recorded) -> Result<Overview, FoldError> {
    Ok(Overview {
        run: entry.run,
        opened: body(entry)?,
        progress: Progress::begin(entry),
        summary: None,
    })
}

fn advance(overview: &mut Overview, entry: &Recorded) -> Result<(), FoldError> {
    overview.progress.follow(entry)?;
    if entry.kind == "run.completed" {
        overview.summary = Some(body(entry)?);
    }
    Ok(())
}

pub(super) fn body<T: serde::de::DeserializeOwned>(entry: &Recorded) -> Result<T, FoldError> {
    T::deserialize(&entry.body).map_err(|source| FoldError::Body {
        seq: entry.seq,
        kind: entry.kind.clone(),
        source,
    })
}

/// A journal that does not tell what it should.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// It cannot be read.
    #[error("cannot read what was recorded")]
    Journal {
        /// Why not.
        source: JournalError,
    },
    /// An entry does not hold what entries of its kind hold.
    #[error("journal entry {seq} (`{kind}`) has another layout than this version writes")]
    Body {
        /// Its place in the journal.
        seq: u64,
        /// Its kind.
        kind: String,
        /// What is missing or odd.
        source: serde_json::Error,
    },
}

impl Problem for FoldError {
    fn class(&self) -> FailureClass {
        match self {
            FoldError::Journal { source } => source.class(),
            FoldError::Body { .. } => FailureClass::Host,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            FoldError::Journal { source } => source.hint(),
            FoldError::Body { .. } => Some("use the version that wrote it, or another --state-dir".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Phase;
    use crate::run::{AttemptSummary, CommandSummary, Stage};
    use crate::run::{UsageSummary, VerdictName};
    use crate::sandbox::Outcome;

    fn run(n: u128) -> RunId {
        RunId::new(ulid::Ulid(n))
    }

    fn opened() -> Opened {
        Opened {
            order_id: "WO-01".to_owned(),
            requirements: Vec::new(),
            title: "A title".to_owned(),
            order_sha256: Sha256::EMPTY,
            order_key: None,
            fresh: false,
            continues: None,
            lease: None,
            scratch: None,
            base: ObjectId::from_bytes([7; 20]),
            branch: "factory/WO-01".to_owned(),
            repository: "/repository".into(),
            profile: "verify".to_owned(),
            waived: BTreeSet::new(),
            allowed_protected: BTreeSet::new(),
            allowed_context: BTreeSet::new(),
            allowed_order_text: false,
            plan: None,
            provider: "replay".to_owned(),
            model: "recorded".to_owned(),
            max_attempts: 5,
            artifacts: "/artifacts".into(),
        }
    }

    fn summary(run: RunId) -> Summary {
        Summary {
            schema: 1,
            run,
            order_id: "WO-01".to_owned(),
            order_key: None,
            requirements: Vec::new(),
            title: "A title".to_owned(),
            verdict: VerdictName::Fail,
            stage: Some(Stage::VerifyFailed),
            class: Some(FailureClass::Rejected),
            exit_code: 1,
            base: ObjectId::from_bytes([7; 20]),
            branch: "factory/WO-01".to_owned(),
            commit: None,
            tree: None,
            unchanged: false,
            attempts: vec![AttemptSummary {
                n: 1,
                stage: Some(Stage::VerifyFailed),
                class: Some(FailureClass::Rejected),
                reason: Some("it failed".to_owned()),
                gone: Vec::new(),
                files: vec!["a.py".to_owned()],
                commands: vec![CommandSummary {
                    phase: "verify".to_owned(),
                    argv: vec!["true".to_owned()],
                    outcome: Outcome::Exit { code: 1 },
                    exit_code: Some(1),
                    unmet: None,
                    wall_ms: 3,
                }],
            }],
            rungs: Vec::new(),
            usage: UsageSummary::default(),
            problem: None,
            artifacts: "/artifacts".into(),
            started_ms: 1,
            ended_ms: 2,
        }
    }

    fn entry(run: RunId, kind: &str, attempt: Option<u32>, body: serde_json::Value) -> Recorded {
        Recorded {
            seq: 1,
            version: 2,
            at_ms: 1000 + u64::from(attempt.unwrap_or(0)),
            run,
            phase: Phase::Fact,
            kind: kind.to_owned(),
            attempt,
            body,
            hash: Sha256::EMPTY,
        }
    }

    fn json(value: impl Serialize) -> serde_json::Value {
        serde_json::to_value(value).unwrap()
    }

    #[test]
    fn a_run_that_was_killed_stays_open_and_says_how_far_it_came() {
        let entries = [
            entry(run(2), "run.opened", None, json(opened())),
            entry(run(1), "run.opened", None, json(opened())),
            entry(run(2), "proposal.request", Some(3), json(())),
        ];
        let runs = overviews(&entries).unwrap();
        assert_eq!(runs.iter().map(|run| run.run).collect::<Vec<_>>(), [run(2), run(1)]);
        let progress = &runs[0].progress;
        assert_eq!((progress.attempts, progress.last.as_str()), (3, "proposal.request"));
        assert_eq!((progress.opened_ms, progress.last_ms), (1000, 1003));
        assert_eq!(runs[0].summary, None);
    }

    #[test]
    fn a_finished_run_carries_its_summary_as_it_was_written() {
        let entries = [
            entry(run(1), "run.opened", None, json(opened())),
            entry(run(1), "run.completed", None, json(summary(run(1)))),
        ];
        assert_eq!(overviews(&entries).unwrap()[0].summary, Some(summary(run(1))));
    }

    #[test]
    fn an_entry_with_another_layout_is_named() {
        let entries = [entry(run(1), "run.opened", None, json([1]))];
        let error = overviews(&entries).unwrap_err();
        assert_eq!(
            error.to_string(),
            "journal entry 1 (`run.opened`) has another layout than this version writes"
        );
    }
}
