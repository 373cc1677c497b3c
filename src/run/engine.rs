//! One run: opens it, does what each state asks for, closes it.

use super::artifacts::{ArtifactError, Artifacts, json};
use super::event::{Event as Told, Observer};
use super::failure::{Failure, Situation, Stage, interrupted};
use super::fold::Opened;
use super::ground::{Aim, Cancel, Setup, TREES, aim, promote_failure, workspace_failure};
use super::state::{End, Event, State, next};
use super::summary::{AttemptSummary, CommandSummary, SCHEMA, Summary, UsageSummary, VerdictName};
use crate::change::ChangeSet;
use crate::journal::{self, Entry, Journal, JournalError, MAX_BODY_BYTES};
use crate::llm::{Answer, Finish, LlmError, Provider, Request, backoff, request_digest};
use crate::order::verify_exempt_allowed;
use crate::promote::{self, Outcome as Prepared, Target, Trailers};
use crate::propose::{self, CheckError, FailureBrief};
use crate::sandbox::{Command, Outcome, Sandbox, SandboxError, SetupFailure, Tree, find_program};
use crate::types::{FailureClass, ObjectId, Problem, RunId, Sha256};
use crate::verify::{
    self, Bench, Candidate as Judged, Checks, Evidence, Finding, Passed, Phase, Progress, Rung, RungState, Verdict,
    VerifyError,
};
use crate::workspace::{Candidate, Repository, Snapshot, TreeCache, WorkspaceError};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Runs one order.
///
/// A run that was opened always gives a summary, whatever became of it.
///
/// # Errors
/// When no run could be opened, or its end could not be recorded.
pub async fn run(
    setup: &Setup,
    provider: &mut Provider,
    cancel: Cancel,
    observe: &mut Observer<'_>,
) -> Result<Summary, Failure> {
    let repository = Repository::open(&setup.repository).map_err(|error| workspace_failure(&error))?;
    let aim = aim(setup, &repository)?;
    let snapshot = repository.snapshot(aim.base).map_err(|error| workspace_failure(&error))?;
    let run = Run::open(setup, provider, cancel, observe, &repository, &snapshot, aim)?;
    run.drive().await
}

/// A failed step: where, whose turn it is, and what the next attempt is to be told.
#[derive(Debug)]
struct Fault {
    stage: Stage,
    failure: Failure,
    fingerprint: Sha256,
    brief: Brief,
}

/// What the next attempt is to be told, besides where it failed.
#[derive(Debug, Default)]
struct Brief {
    command: Option<String>,
    exit_code: Option<i32>,
    excerpt: Option<String>,
    hint: Option<String>,
}

impl Fault {
    fn new(stage: Stage, failure: Failure) -> Self {
        Fault {
            stage,
            fingerprint: failure.fingerprint(),
            failure,
            brief: Brief::default(),
        }
    }
}

impl From<JournalError> for Fault {
    fn from(error: JournalError) -> Self {
        Fault::new(Stage::Exception, Failure::new(&error, Situation::Storage))
    }
}

impl From<ArtifactError> for Fault {
    fn from(error: ArtifactError) -> Self {
        Fault::new(Stage::Exception, Failure::new(&error, Situation::Storage))
    }
}

/// What one state hands to the next.
#[derive(Debug, Default)]
enum Hand {
    #[default]
    Empty,
    Answer(Answer),
    Candidate(Candidate, ChangeSet),
    Passed(Passed),
}

/// Where commands run. Made before the model is asked.
#[derive(Debug)]
struct Ground {
    sandbox: Sandbox,
    /// The directory with the base tree.
    export: PathBuf,
    scratch: PathBuf,
    exempt: bool,
}

/// An open run.
#[must_use = "an open run has to be driven to its end"]
struct Run<'a> {
    id: RunId,
    setup: &'a Setup,
    provider: &'a mut Provider,
    cancel: Cancel,
    observe: &'a mut Observer<'a>,
    repository: &'a Repository,
    snapshot: &'a Snapshot<'a>,
    target: Target,
    base: ObjectId,
    journal: Journal,
    artifacts: Artifacts,
    started_ms: u64,
    ground: Option<Ground>,
    hand: Hand,
    attempts: Vec<AttemptSummary>,
    previous: Option<FailureBrief>,
    last: Option<Failure>,
    rungs: Vec<Rung>,
    usage: UsageSummary,
    promoted: Option<Promoted>,
}

/// What the branch has after a pass.
#[derive(Debug, Clone, Copy)]
struct Promoted {
    commit: ObjectId,
    tree: ObjectId,
    unchanged: bool,
}
