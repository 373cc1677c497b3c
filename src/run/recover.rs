//! Dead runs: found, and finished or rolled back, before anything else happens to their repository.
//!
//! - A run is dead when it has no last entry and whoever could still be on it does not hold the repository's lock: the
//!   caller does.
//! - What was announced is settled first (see [`settle`]), and only then is the run closed. Each step can be done twice, so
//!   that a crash in the middle of recovery is recovered from in the same way.
//! - A run that was not about to promote changed nothing: it is closed as crashed. What it paid for stays in the journal,
//!   and the next run of the order uses it.
//! - A person is needed only where it cannot be known whether the run is dead, or what became of its branch.

use super::artifacts::{Artifacts, json};
use super::budget::Settled as CallSettled;
use super::failure::{Failure, Situation, Stage};
use super::fold::{Opened, body};
use super::ground::{Cancel, promote_failure, workspace_failure};
use super::hold::hold;
use super::park::PARKED;
use super::past::{is_on, unreadable};
use super::summary::{AttemptSummary, SCHEMA, Summary, UsageSummary, VerdictName};
use crate::durable::{Fate, crash_point, remove_tree};
use crate::journal::{Entry, Journal, Phase, Recorded};
use crate::llm::Usage;
use crate::promote::{Announced, Settled, settle};
use crate::types::{FailureClass, ObjectId, RunId};
use crate::verify::{Kept, RungState, rungs};
use crate::workspace::{Repository, WorkspaceError};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A dead run, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recovered {
    /// The run.
    pub run: RunId,
    /// Its order.
    pub order_id: String,
    /// The branch that it worked for.
    pub branch: String,
    /// What was done.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What was done about a dead run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It had passed, and its commit is on the branch.
    Finished {
        /// The commit.
        commit: ObjectId,
    },
    /// It changed nothing, and was closed.
    RolledBack,
    /// Somebody moved the branch before it could; its commit was not put anywhere.
    Conflict,
    /// The operator said to close it without looking.
    Abandoned,
}

/// How a run is closed by somebody else than itself.
pub type ExitCode = fn(Option<&Failure>) -> u8;

/// Closes the dead runs of a repository that the caller holds.
///
/// # Errors
/// `Host` when a person is needed, or when the journal or the repository refuse.
pub(super) fn recover(
    journal: &mut Journal,
    repository: &Repository,
    exit_code: ExitCode,
) -> Result<Vec<Recovered>, Failure> {
    let mut recovered = Vec::new();
    for dead in dead(journal)? {
        if is_on(&dead.opened, repository) {
            refuse_alive(&dead)?;
            recovered.push(close(journal, &dead, Some(repository), exit_code)?);
        }
    }
    Ok(recovered)
}

/// What a rescue is about: all dead runs of a state directory, or some of them.
#[derive(Debug)]
pub struct Rescue<'a> {
    /// Where runs are recorded.
    pub state_dir: &'a Path,
    /// The repository to look in: for its own runs, and for those whose repository is not where it was.
    pub repository: Option<&'a Path>,
    /// A run to close without looking at any repository.
    pub abandon: Option<RunId>,
    /// How long to wait for a repository that a run holds.
    pub patience: Duration,
    /// The exit code that a failure stands for, for the record.
    pub exit_code: ExitCode,
}

/// What came of a rescue.
#[derive(Debug, Default)]
pub struct Rescued {
    /// Runs that were brought to an end.
    pub recovered: Vec<Recovered>,
    /// Why others were not.
    pub failures: Vec<Failure>,
}

/// Brings dead runs to an end, and does nothing else.
///
/// # Errors
/// `Host` when the journal cannot be opened or read, or the run to give up is unknown or under way.
pub async fn rescue(rescue: &Rescue<'_>, cancel: &mut Cancel) -> Result<Rescued, Failure> {
    let mut rescued = Rescued::default();
    if Journal::open_read_only(rescue.state_dir).map_err(unreadable)?.is_none() {
        return Ok(rescued);
    }
    let mut journal = Journal::open(rescue.state_dir).map_err(unreadable)?;
    if let Some(run) = rescue.abandon {
        rescued.recovered.push(abandon(&mut journal, run, rescue.exit_code)?);
        return Ok(rescued);
    }
    for dead in dead(&journal)? {
        match rescue_one(rescue, &mut journal, &dead, cancel).await {
            Ok(recovered) => rescued.recovered.extend(recovered),
            Err(failure) => rescued.failures.push(failure),
        }
    }
    Ok(rescued)
}

/// Closes one run, if it is dead and within what was asked for.
async fn rescue_one(
    rescue: &Rescue<'_>,
    journal: &mut Journal,
    dead: &Dead,
    cancel: &mut Cancel,
) -> Result<Option<Recovered>, Failure> {
    let own = Repository::open(&dead.opened.repository);
    let repository = match (rescue.repository, own) {
        (Some(dir), own) => {
            let named = Repository::open(dir).map_err(|error| workspace_failure(&error))?;
            if own.is_ok() && !is_on(&dead.opened, &named) {
                return Ok(None);
            }
            named
        }
        (None, Ok(own)) => own,
        (None, Err(_)) if dead.announced()?.is_none() => {
            refuse_alive(dead)?;
            return close(journal, dead, None, rescue.exit_code).map(Some);
        }
        (None, Err(error)) => return Err(repository_gone(dead, &error)),
    };
    let _lock = hold(&repository, "recovery", rescue.patience, cancel).await?;
    // It may have ended by itself while we waited.
    let entries = journal.entries_of(dead.run).map_err(unreadable)?;
    if entries.iter().any(|entry| entry.kind == "run.completed") {
        return Ok(None);
    }
    refuse_alive(dead)?;
    close(journal, dead, Some(&repository), rescue.exit_code).map(Some)
}

/// It announced a promotion, and what became of that is only known where the repository is.
fn repository_gone(dead: &Dead, error: &WorkspaceError) -> Failure {
    let (run, repository) = (dead.run, dead.opened.repository.display());
    Failure {
        situation: Situation::Recovery,
        class: FailureClass::Host,
        ..workspace_failure(error)
    }
    .with_message(format!(
        "run {run} was killed while it promoted, and its repository {repository} cannot be opened"
    ))
    .because(error.to_string())
    .with_hint(format!(
        "where it was moved to: factory recover --repo DIR; when it is gone for good: factory recover --abandon {run}"
    ))
}

fn abandon(journal: &mut Journal, run: RunId, exit_code: ExitCode) -> Result<Recovered, Failure> {
    let found = dead(journal)?.into_iter().find(|dead| dead.run == run);
    let dead = found.ok_or_else(|| {
        Failure::plain(FailureClass::Order, format!("no run {run} is open"))
            .in_situation(Situation::Usage)
            .with_hint("see `factory status` for the runs there are")
    })?;
    let lease = dead.opened.lease.as_ref();
    let fate = lease.map(|lease| lease.process.fate()).transpose();
    if fate.map_err(|error| Failure::new(&error, Situation::Plain))? == Some(Fate::Alive) {
        refuse_alive(&dead)?;
    }
    close(journal, &dead, None, exit_code)
}

/// A run without a last entry.
#[derive(Debug)]
pub(super) struct Dead {
    pub(super) run: RunId,
    pub(super) opened: Opened,
    opened_ms: u64,
    entries: Vec<Recorded>,
}

impl Dead {
    /// The promotion that was announced, with the time, unless it was reported as well.
    pub(super) fn announced(&self) -> Result<Option<(Announced, SystemTime)>, Failure> {
        let Some(entry) = self.last("promotion.prepare") else {
            return Ok(None);
        };
        let announced = body(entry).map_err(|error| Failure::new(&error, Situation::Storage))?;
        Ok(Some((announced, UNIX_EPOCH + Duration::from_millis(entry.at_ms))))
    }

    fn last(&self, kind: &str) -> Option<&Recorded> {
        self.entries.iter().rev().find(|entry| entry.kind == kind)
    }
}

/// The runs without a last entry, in the order in which they were opened.
pub(super) fn dead(journal: &Journal) -> Result<Vec<Dead>, Failure> {
    let runs = journal.unclosed("run.opened", "run.completed").map_err(unreadable)?;
    runs.into_iter()
        .map(|run| {
            let entries = journal.entries_of(run).map_err(unreadable)?;
            let opening = entries
                .iter()
                .find(|entry| entry.kind == "run.opened")
                .expect("it was found by this entry");
            Ok(Dead {
                run,
                opened: body(opening).map_err(|error| Failure::new(&error, Situation::Storage))?,
                opened_ms: opening.at_ms,
                entries,
            })
        })
        .collect()
}

/// Refuses to touch a run that may still be under way.
pub(super) fn refuse_alive(dead: &Dead) -> Result<(), Failure> {
    let Some(lease) = &dead.opened.lease else {
        return Ok(());
    };
    let run = dead.run;
    match lease.process.fate().map_err(|error| Failure::new(&error, Situation::Plain))? {
        Fate::Gone => Ok(()),
        // It does not hold the lock that we hold: somebody removed the file from under it.
        Fate::Alive => Err(Failure::plain(
            FailureClass::Host,
            format!("run {run} is still under way in process {}", lease.process.pid),
        )
        .in_situation(Situation::Locked)
        .with_hint("wait until it has ended, or end it")),
        Fate::Elsewhere => Err(Failure::plain(
            FailureClass::Host,
            format!("run {run} was opened on another machine, and whether it is still under way cannot be seen from here"),
        )
        .in_situation(Situation::Recovery)
        .with_hint(format!(
            "when it is not running there any more: factory recover --abandon {run}; or name another state directory with \
             --state-dir"
        ))),
    }
}

/// Settles what a dead run announced, and writes its last entry.
pub(super) fn close(
    journal: &mut Journal,
    dead: &Dead,
    repository: Option<&Repository>,
    exit_code: ExitCode,
) -> Result<Recovered, Failure> {
    let outcome = match repository {
        Some(repository) => settle_run(journal, dead, repository)?,
        // Without its repository it is either one that changed nothing, or the operator said so.
        None if dead.announced()?.is_none() => Outcome::RolledBack,
        None => Outcome::Abandoned,
    };
    crash_point("a dead run is settled, what it left is still there");
    if let Some(repository) = repository {
        let since = UNIX_EPOCH + Duration::from_millis(dead.opened_ms);
        let removed = repository.remove_unfinished_objects(since);
        removed.map_err(|error| workspace_failure(&error))?;
    }
    remove_scratch(dead);
    crash_point("what a dead run left is removed");
    complete(journal, dead, &outcome, exit_code)?;
    Ok(Recovered {
        run: dead.run,
        order_id: dead.opened.order_id.clone(),
        branch: dead.opened.branch.clone(),
        outcome,
    })
}

fn settle_run(journal: &mut Journal, dead: &Dead, repository: &Repository) -> Result<Outcome, Failure> {
    if let Some(entry) = dead.last("promotion.committed") {
        let reported: Reported = body(entry).map_err(|error| Failure::new(&error, Situation::Storage))?;
        return Ok(Outcome::Finished {
            commit: reported.commit,
        });
    }
    let Some((announced, since)) = dead.announced()? else {
        return Ok(Outcome::RolledBack);
    };
    match settle(repository, &announced, since).map_err(|error| promote_failure(&error))? {
        Settled::Committed(promotion) => {
            let fact = Reported {
                branch: promotion.branch,
                commit: promotion.commit,
                tree: promotion.tree,
                unchanged: false,
            };
            append(journal, dead.run, "promotion.committed", json!(fact))?;
            Ok(Outcome::Finished {
                commit: promotion.commit,
            })
        }
        Settled::Undone => Ok(Outcome::RolledBack),
        Settled::Moved { .. } => Ok(Outcome::Conflict),
    }
}

/// The body of the entry `promotion.committed`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reported {
    pub(super) branch: String,
    pub(super) commit: ObjectId,
    pub(super) tree: ObjectId,
    pub(super) unchanged: bool,
}

/// Removes the directory in which the run put its candidates. Its name must say so: the journal may come from anywhere.
fn remove_scratch(dead: &Dead) {
    let Some(scratch) = &dead.opened.scratch else { return };
    if scratch.ends_with(Path::new("candidates").join(dead.run.to_string()))
        && let Err(error) = remove_tree(scratch)
    {
        tracing::warn!(%error, "a directory of changes is left behind");
    }
}

fn complete(journal: &mut Journal, dead: &Dead, outcome: &Outcome, exit_code: ExitCode) -> Result<(), Failure> {
    let summary = summary(dead, outcome, exit_code)?;
    append(journal, dead.run, "run.completed", super::engine::bounded(&summary))?;
    crash_point("a dead run is closed, its summary not written");
    // The journal has it; the file beside it is a copy for people, and its directory may be gone.
    if let Err(error) = Artifacts::existing(&dead.opened.artifacts).seal("summary.json", &json(&summary)) {
        tracing::debug!(%error, "a dead run has no summary.json");
    }
    Ok(())
}

fn append(journal: &mut Journal, run: RunId, kind: &'static str, body: serde_json::Value) -> Result<(), Failure> {
    let entry = Entry {
        run,
        phase: Phase::Fact,
        kind,
        attempt: None,
        body,
    };
    journal.append(&entry).map(drop).map_err(unreadable)
}

/// What a dead run comes down to, as far as it is recorded.
fn summary(dead: &Dead, outcome: &Outcome, exit_code: ExitCode) -> Result<Summary, Failure> {
    let opened = &dead.opened;
    let problem = problem(dead, outcome);
    let class = problem.as_ref().map(|problem| problem.class);
    let (commit, tree) = match outcome {
        Outcome::Finished { commit } => (Some(*commit), dead.announced()?.map(|(announced, _)| announced.tree)),
        Outcome::RolledBack | Outcome::Conflict | Outcome::Abandoned => (None, None),
    };
    let mut attempts = attempts(&dead.entries);
    for attempt in attempts.iter_mut().filter(|attempt| attempt.stage.is_none()) {
        attempt.stage = class.map(|_| Stage::Exception);
        attempt.class = class;
        attempt.reason = problem.as_ref().map(Failure::sentence);
    }
    let reached = dead.last("verify.finished").and_then(kept);
    Ok(Summary {
        schema: SCHEMA,
        run: dead.run,
        order_id: opened.order_id.clone(),
        order_key: opened.order_key,
        title: opened.title.clone(),
        verdict: class.map_or(VerdictName::PassUnproven, VerdictName::of),
        stage: class.map(|_| Stage::Exception),
        class,
        exit_code: exit_code(problem.as_ref()),
        base: opened.base,
        branch: opened.branch.clone(),
        commit,
        tree,
        unchanged: commit == Some(opened.base),
        attempts,
        rungs: reached.map_or_else(
            || rungs(RungState::NotReached, RungState::NotReached, RungState::NotReached),
            |kept| kept.rungs,
        ),
        usage: usage(&dead.entries),
        problem,
        artifacts: opened.artifacts.clone(),
        started_ms: dead.opened_ms,
        ended_ms: dead.entries.last().map_or(dead.opened_ms, |entry| entry.at_ms),
    })
}

fn problem(dead: &Dead, outcome: &Outcome) -> Option<Failure> {
    let was_parked = dead.entries.last().is_some_and(|entry| entry.kind == PARKED);
    match outcome {
        Outcome::Finished { .. } => None,
        // Waiting ends no process: whoever ends one that waits does not do it because of the order.
        Outcome::RolledBack if was_parked => Some(
            Failure::plain(
                FailureClass::Cancelled,
                "the process that ran it was killed, or the host went down, while it waited for the provider's limit",
            )
            .with_hint("run the order again: it goes on when the time has come"),
        ),
        Outcome::RolledBack => Some(
            Failure::plain(
                FailureClass::Cancelled,
                "the process that ran it was killed, or the host went down",
            )
            .in_situation(Situation::Crashed)
            .with_hint("run the order again: it goes on from what is recorded"),
        ),
        Outcome::Abandoned => Some(
            Failure::plain(
                FailureClass::Cancelled,
                "it was given up by the operator without a look at the repository",
            )
            .in_situation(Situation::Crashed)
            .with_hint("run the order again: it goes on from what is recorded"),
        ),
        Outcome::Conflict => Some(
            Failure::plain(
                FailureClass::Conflict,
                "it was killed while it promoted, and somebody else moved the branch since",
            )
            .with_hint("run the order again on the branch as it is now"),
        ),
    }
}

pub(super) fn kept(entry: &Recorded) -> Option<Kept> {
    Kept::deserialize(entry.body.get("kept")?).ok()
}

/// The attempts that were begun, as far as the journal tells.
fn attempts(entries: &[Recorded]) -> Vec<AttemptSummary> {
    let begun = entries.iter().filter_map(|entry| entry.attempt).max().unwrap_or(0);
    (1..=begun)
        .map(|n| {
            let of = |kind: &str| {
                entries
                    .iter()
                    .rev()
                    .find(|entry| entry.attempt == Some(n) && entry.kind == kind)
            };
            let field = |kind: &str, name: &str| {
                of(kind)
                    .and_then(|entry| entry.body.get(name))
                    .cloned()
                    .unwrap_or_default()
            };
            let files: Vec<(String, String)> =
                serde_json::from_value(field("candidate.built", "files")).unwrap_or_default();
            AttemptSummary {
                n,
                stage: serde_json::from_value(field("attempt.failed", "stage")).ok(),
                class: serde_json::from_value(field("attempt.failed", "class")).ok(),
                reason: serde_json::from_value(field("attempt.failed", "reason")).ok(),
                files: files.into_iter().map(|(path, _)| path).collect(),
                commands: Vec::new(),
            }
        })
        .collect()
}

/// What the model was asked for. A request without an answer may have been answered and paid for all the same.
fn usage(entries: &[Recorded]) -> UsageSummary {
    let mut usage = UsageSummary::default();
    for entry in entries {
        match entry.kind.as_str() {
            "proposal.request" => usage.unsettled += 1,
            "proposal.answer" | "proposal.unanswered" => {
                usage.unsettled = usage.unsettled.saturating_sub(1);
                let reported = entry.body.get("usage").and_then(|usage| Usage::deserialize(usage).ok());
                let reported = reported.unwrap_or_default();
                if let Some(settled) = entry
                    .body
                    .get("settled")
                    .and_then(|settled| CallSettled::deserialize(settled).ok())
                {
                    usage.count(&settled);
                }
                usage.answers += u32::from(entry.kind == "proposal.answer");
                usage.input_tokens += reported.input_tokens;
                usage.output_tokens += reported.output_tokens;
            }
            "proposal.recalled" => usage.recalled += 1,
            _ => {}
        }
    }
    usage
}
