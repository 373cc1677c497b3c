//! One spec from text to a directory of work orders.
//!
//! - Nothing is paid before everything that can be known without the model is known: the spec, the repository, the place of
//!   the plan.
//! - Each request is journaled before it is sent, each answer stored before it is used and found again by what was asked.
//! - The repository is read, from the commit that is checked out, and nothing in it is written. So it is not taken: plans
//!   and runs may go on beside each other.
//! - A plan that was killed left nothing that has to be put right: the next start asks again and is answered from the record.
//!
//! It does not know what a good plan is, or how it is asked for.

mod dry_run;
mod event;
mod fold;
mod output;
mod spec;

pub use dry_run::{DryRun, Showing, Trial, TriedCommand, TriedOut};
pub(super) use dry_run::{foreign_modules, is_made, is_of_tree};
pub use event::{OrderSummary, PlanAttempt, PlanEvent, PlanObserver, PlanSummary};
pub use fold::{PlanOverview, plan_overviews};
pub(super) use output::clear;
pub use output::{PlanFiles, read_plan};

use super::answers::{self, PLAN, Said};
use super::artifacts::{ArtifactError, Artifacts, json};
use super::asking::{Asked, Asking, Later, Question};
use super::budget::{Budget, Limit, Scope};
use super::engine::{milliseconds, now_ms};
use super::failure::{Failure, Situation};
use super::ground::{Cancel, refuse_place, workspace_failure};
use super::past::unreadable;
use super::room;
use super::state::{Patience, Rest, Rules, rest};
use super::summary::{SCHEMA, UsageSummary};
use crate::journal::{Entry, Journal, MAX_BODY_BYTES, Phase};
use crate::llm::{Provider, Request};
use crate::order::{OrderBudget, Resources, WorkOrder};
use crate::plan::{
    self, Bounds, Code, Complaint, Complaints, Files, MANIFEST, Plan, Provenance, Revision, compile_hash,
};
use crate::sandbox::Policy;
use crate::types::{Bytes, FailureClass, ObjectId, Problem as _, RunId, Sha256, escape_control, truncate};
use crate::workspace::{Repository, Snapshot};
use output::Replacing;
use serde_json::{Value, json};
use spec::read_spec;
use std::fs::File;
use std::path::PathBuf;

/// How many files and directories of a repository are looked at.
pub const MAX_FILES: usize = 500_000;

/// The directory of the directories of planners' runs, below the state directory.
pub(super) const PLANS: &str = "plans";

/// How many complaints are told as the reason of a failure; all of them are in the artifacts.
const MAX_TOLD: usize = 20;

/// How much is told of a model's reason, in characters.
const MAX_REASON: usize = 2000;

/// What the operator asked for.
#[derive(Debug)]
pub struct PlanSetup {
    /// The spec, as it was read.
    pub spec: Vec<u8>,
    /// What it is called.
    pub spec_name: String,
    /// A directory of the repository.
    pub repository: PathBuf,
    /// The directory of the plan.
    pub output: PathBuf,
    /// Whether a plan in it may be replaced.
    pub overwrite: bool,
    /// Whether the spec is shown to the model although it looks as if it held credentials.
    pub allow_spec: bool,
    /// The model that is asked, for providers that have several.
    pub model: Option<String>,
    /// Bounds.
    pub rules: Rules,
    /// What may be spent.
    pub budget: Budget,
    /// How the commands of a plan are tried before it is used; nothing when they are not.
    pub dry_run: Option<DryRun>,
    /// Where runs are recorded.
    pub state_dir: PathBuf,
    /// Whether the model is asked anew whatever is recorded.
    pub fresh: bool,
    /// What has to be left on each disk that is written to.
    pub disk_floor: Bytes,
    /// The exit code that the caller will return, for the record.
    pub exit_code: fn(Option<&Failure>) -> u8,
}

/// Makes a plan. One that was begun gives a summary, whatever became of it.
///
/// # Errors
/// When it could not be begun, or its end could not be recorded.
pub async fn make_plan(
    setup: &PlanSetup,
    provider: &mut Provider,
    cancel: Cancel,
    observe: &mut PlanObserver<'_>,
) -> Result<PlanSummary, Failure> {
    let spec = read_spec(setup)?;
    setup.budget.require_price(setup.model.as_deref())?;
    let repository = Repository::open(&setup.repository).map_err(|error| workspace_failure(&error))?;
    refuse_place(&repository, "the state directory", &setup.state_dir)?;
    let replacing = if setup.overwrite {
        Replacing::Allowed
    } else {
        Replacing::Refused
    };
    output::check(&setup.output, repository.common_dir(), replacing)?;
    let places = [
        ("the state directory", setup.state_dir.as_path()),
        ("the plan", &setup.output),
    ];
    room::check(&places, setup.disk_floor)?;
    let head = repository.head().map_err(|error| workspace_failure(&error))?;
    let snapshot = repository
        .snapshot(head.commit)
        .map_err(|error| workspace_failure(&error))?;
    let files = files_of(&snapshot)?;
    let trial = match &setup.dry_run {
        Some(dry_run) => Some(Trial::prepare(dry_run, &snapshot, cancel.clone()).await?),
        None => None,
    };
    let journal = Journal::open(&setup.state_dir).map_err(unreadable)?;
    // Whoever builds on a record that was altered makes it look whole.
    journal.check_chain().map_err(unreadable)?;
    let ground = (head.commit, files, trial);
    let planning = Planning::open(setup, spec, ground, provider, (cancel, observe), journal)?;
    planning.finish().await
}

/// The files of a commit that a plan may build on.
///
/// # Errors
/// `Host` when they cannot be read, or are more than [`MAX_FILES`].
pub fn files_of(snapshot: &Snapshot<'_>) -> Result<Files, Failure> {
    let paths = snapshot
        .file_paths(MAX_FILES)
        .map_err(|error| workspace_failure(&error))?;
    Ok(plan::listing(paths))
}

/// What orders may ask for: what the operator lets be spent, and the limits of the profile.
pub fn bounds(budget: &Budget, policy: Option<&Policy>) -> Bounds {
    let lowest = |scopes: &[Scope]| {
        let caps = || budget.caps.iter().filter(|cap| scopes.contains(&cap.scope));
        let usd = caps().filter_map(|cap| match cap.limit {
            Limit::Usd(usd) => Some(usd),
            Limit::Tokens(_) => None,
        });
        let tokens = caps().filter_map(|cap| match cap.limit {
            Limit::Tokens(tokens) => Some(tokens),
            Limit::Usd(_) => None,
        });
        OrderBudget {
            usd: usd.min(),
            tokens: tokens.min(),
        }
    };
    let resources = policy.map(|policy| {
        let limits = &policy.limits;
        Resources {
            wall: Some(limits.wall),
            cpu: Some(limits.cpu),
            memory: Some(limits.memory),
            pids: Some(limits.pids),
            file_size: Some(limits.file_size),
            output: Some(limits.output),
        }
    });
    Bounds {
        order: lowest(&[Scope::Order]),
        plan: lowest(&[Scope::Plan, Scope::Day]),
        resources: resources.unwrap_or_default(),
    }
}

/// A planner's run.
struct Planning<'a> {
    id: RunId,
    setup: &'a PlanSetup,
    spec: &'a str,
    base: ObjectId,
    files: Files,
    trial: Option<Trial>,
    bounds: Bounds,
    provider: &'a mut Provider,
    cancel: Cancel,
    observe: &'a mut PlanObserver<'a>,
    journal: Journal,
    /// Entries before this place are not used again.
    since: u64,
    artifacts: Artifacts,
    /// Keeps `factory gc` from taking them.
    _held: Option<File>,
    attempts: Vec<PlanAttempt>,
    usage: UsageSummary,
    started_ms: u64,
}

/// What was written.
#[derive(Default)]
struct Written {
    orders: Vec<OrderSummary>,
    dropped: Option<String>,
}

/// What came of one attempt.
enum Judged {
    Plan(Box<Plan>, Value, Vec<Complaint>),
    Refused(Revision, Failure),
}

impl<'a> Planning<'a> {
    fn open(
        setup: &'a PlanSetup,
        spec: &'a str,
        (base, files, trial): (ObjectId, Files, Option<Trial>),
        provider: &'a mut Provider,
        (cancel, observe): (Cancel, &'a mut PlanObserver<'a>),
        journal: Journal,
    ) -> Result<Self, Failure> {
        let id = RunId::new(ulid::Ulid::generate());
        let since = match setup.fresh {
            true => journal.newest().map_err(unreadable)? + 1,
            false => 0,
        };
        let mut planning = Planning {
            id,
            setup,
            spec,
            base,
            files,
            trial,
            bounds: bounds(&setup.budget, setup.dry_run.as_ref().map(|dry_run| &dry_run.policy)),
            provider,
            cancel,
            observe,
            journal,
            since,
            artifacts: Artifacts::of(&setup.state_dir.join(PLANS), id),
            _held: None,
            attempts: Vec::new(),
            usage: UsageSummary::default(),
            started_ms: now_ms(),
        };
        planning.record_opening()?;
        Ok(planning)
    }

    fn record_opening(&mut self) -> Result<(), Failure> {
        let setup = self.setup;
        let provider = self.provider.describe();
        let opened = json!({
            "plan": self.id,
            "version": env!("CARGO_PKG_VERSION"),
            "spec": setup.spec_name,
            "spec_sha256": Sha256::of(&setup.spec),
            "template": plan::template_digest(),
            "repository": setup.repository.to_string_lossy(),
            "base": self.base,
            "files": self.files.len(),
            "provider": provider,
            "model": setup.model,
            "max_attempts": setup.rules.max_attempts,
            "fresh": setup.fresh,
            "allowed_spec": setup.allow_spec,
            "output": setup.output.to_string_lossy(),
            "artifacts": self.artifacts.dir().to_string_lossy(),
        });
        // First the entry: a directory that no entry leads to would never be cleared away.
        self.record(Phase::Intent, "plan.opened", None, opened.clone())?;
        self.artifacts.create().map_err(unwritten)?;
        self._held = self.artifacts.hold();
        self.write("plan.json", &json(&opened))?;
        self.write("spec.txt", &setup.spec)?;
        (self.observe)(&PlanEvent::Opened {
            plan: self.id,
            spec: &setup.spec_name,
            base: self.base,
            files: self.files.len(),
            provider: &provider,
            max_attempts: setup.rules.max_attempts,
            artifacts: self.artifacts.dir(),
        });
        Ok(())
    }

    /// Takes it to its end, and records that.
    async fn finish(mut self) -> Result<PlanSummary, Failure> {
        let done = self.attempt_all().await;
        let (written, problem) = match done {
            Ok(written) => (written, None),
            Err(failure) => (Written::default(), Some(failure)),
        };
        let summary = PlanSummary {
            schema: SCHEMA,
            plan: self.id,
            exit_code: (self.setup.exit_code)(problem.as_ref()),
            problem,
            base: self.base,
            spec_sha256: Sha256::of(&self.setup.spec),
            attempts: std::mem::take(&mut self.attempts),
            orders: written.orders,
            dropped: written.dropped,
            usage: self.usage,
            output: self.setup.output.clone(),
            artifacts: self.artifacts.dir().to_owned(),
            started_ms: self.started_ms,
            ended_ms: now_ms(),
        };
        self.record(Phase::Fact, "plan.completed", None, bounded(&summary))?;
        self.artifacts
            .seal("summary.json", &json(&summary))
            .map_err(unwritten)?;
        (self.observe)(&PlanEvent::Completed {
            plan: Some(self.id),
            exit_code: summary.exit_code,
            problem: summary.problem.as_ref(),
            summary: Some(&summary),
        });
        Ok(summary)
    }

    async fn attempt_all(&mut self) -> Result<Written, Failure> {
        let attempts = self.setup.rules.max_attempts;
        let mut previous = None;
        for attempt in 1..=attempts {
            self.artifacts.begin_attempt(attempt).map_err(unwritten)?;
            let request = plan::prompt(self.spec, &self.files, previous.as_ref(), self.setup.model.clone());
            let said = self.ask(attempt, request).await?;
            match self.judge(attempt, said).await? {
                Judged::Plan(plan, manifest, warnings) => return self.write_plan(&plan, &manifest, &warnings),
                Judged::Refused(_, failure) if attempt == attempts => return Err(self.exhausted(failure)),
                Judged::Refused(revision, _) => previous = Some(revision),
            }
        }
        Err(self.exhausted(Failure::plain(FailureClass::Proposal, "the model was not asked")))
    }

    fn exhausted(&self, failure: Failure) -> Failure {
        let attempts = self.setup.rules.max_attempts;
        let artifacts = self.artifacts.dir().display();
        Failure {
            message: format!("attempt {attempts} of {attempts} gave no plan: {}", failure.message),
            hint: Some(format!(
                "look at the answers in {artifacts}; a more capable model, a clearer spec or --fresh may do better"
            )),
            ..failure
        }
    }

    /// Asks the model, unless the answer is recorded, and waits as long as the provider fails in passing.
    async fn ask(&mut self, attempt: u32, request: Request) -> Result<Said, Failure> {
        let places = [("the state directory", self.setup.state_dir.as_path())];
        room::check(&places, self.setup.disk_floor)?;
        let text = format!("{}\n\n{}", request.system, request.user);
        self.write_of(attempt, "prompt.txt", text.as_bytes())?;
        let question = Question::new(request, self.provider);
        let digest = question.digest;
        if let Some((from, said)) = self.asking(attempt).recall(&question)? {
            (self.observe)(&PlanEvent::Recalled {
                attempt,
                request: digest,
                from,
            });
            return Ok(said);
        }
        let mut patience = Patience::default();
        loop {
            if let Some(later) = self.asking(attempt).still_limited()? {
                patience = self.wait(attempt, patience, later).await?;
                continue;
            }
            let request = self.asking(attempt).reserve(&question, patience)?;
            (self.observe)(&PlanEvent::Requested {
                attempt,
                request: digest,
            });
            let answered = self.asking(attempt).send(&request).await?;
            let asked = self.asking(attempt).settle(&question, &request, patience, answered);
            match asked? {
                Asked::Later(later) => patience = self.wait(attempt, patience, later).await?,
                Asked::Said(said) => {
                    if let Said::Answer(answer) = &said {
                        (self.observe)(&PlanEvent::Answered {
                            attempt,
                            bytes: answer.text.len(),
                            sha256: Sha256::of(&answer.raw),
                        });
                    }
                    return Ok(said);
                }
            }
        }
    }

    fn asking(&mut self, attempt: u32) -> Asking<'_> {
        let setup = self.setup;
        Asking {
            journal: &mut self.journal,
            provider: self.provider,
            cancel: &mut self.cancel,
            usage: &mut self.usage,
            budget: &setup.budget,
            rules: &setup.rules,
            kinds: &PLAN,
            run: self.id,
            attempt,
            order_id: "",
            plan: Some(self.id.to_string()),
            model: setup.model.as_deref(),
            since: self.since,
            fresh: setup.fresh,
        }
    }

    /// Lets the provider recover, if there is patience left.
    async fn wait(&mut self, attempt: u32, patience: Patience, later: Later) -> Result<Patience, Failure> {
        let Some((patience, rest)) = rest(&self.setup.rules, patience, later.delay, later.is_limit) else {
            return Err(later.failure);
        };
        match rest {
            Rest::Wait(delay) => {
                (self.observe)(&PlanEvent::Delayed {
                    attempt,
                    wait_ms: milliseconds(delay),
                    reason: &later.failure.sentence(),
                });
                self.asking(attempt).pause(delay).await?;
            }
            Rest::Park(delay) => {
                let parked = self.asking(attempt).park(delay, &later.failure)?;
                (self.observe)(&PlanEvent::Parked {
                    attempt,
                    until_ms: parked.until_ms,
                    reason: &parked.reason,
                });
                self.asking(attempt).resume(&parked).await?;
                (self.observe)(&PlanEvent::Resumed { attempt });
            }
        }
        Ok(patience)
    }

    /// Makes a plan of an answer, or the reason for the next attempt.
    async fn judge(&mut self, attempt: u32, said: Said) -> Result<Judged, Failure> {
        let (text, unusable) = match said {
            Said::Answer(answer) => {
                let unfinished = answers::unfinished(&answer);
                (answer.text, unfinished)
            }
            Said::NoText(failure) => (String::new(), Some(failure)),
        };
        self.write_of(attempt, "answer.txt", text.as_bytes())?;
        let parsed = match unusable {
            Some(failure) => Err((Complaint::of_plan(Code::E000, failure.sentence()), failure)),
            None => {
                plan::parse_answer(&text).map_err(|error| (error.complaint(), Failure::new(&error, Situation::Plain)))
            }
        };
        let (complaints, judged) = match parsed {
            Err((complaint, failure)) => {
                let complaints = Complaints {
                    errors: vec![complaint],
                    ..Complaints::default()
                };
                (complaints, Err(failure))
            }
            Ok(manifest) => {
                self.write_of(attempt, "manifest.json", &json(&manifest))?;
                if let Some(reason) = plan::blocked(&manifest) {
                    return Err(blocked(reason));
                }
                match self.compile(&manifest).await? {
                    Err(complaints) => {
                        let failure = invalid(&complaints);
                        (complaints, Err(failure))
                    }
                    Ok((plan, warnings)) => {
                        let complaints = Complaints {
                            warnings,
                            ..Complaints::default()
                        };
                        (complaints, Ok((plan, manifest)))
                    }
                }
            }
        };
        self.record_judgement(attempt, &complaints)?;
        Ok(match judged {
            Ok((plan, manifest)) => Judged::Plan(Box::new(plan), manifest, complaints.warnings),
            Err(failure) => Judged::Refused(
                Revision {
                    attempt,
                    answer: text,
                    complaints: complaints.errors,
                },
                failure,
            ),
        })
    }

    /// Makes a plan of a manifest. Its commands are tried only when nothing else is wrong: that costs time, and tells little
    /// of orders that are about to change.
    async fn compile(&mut self, manifest: &Value) -> Result<Result<(Plan, Vec<Complaint>), Complaints>, Failure> {
        let (plan, mut warnings) = match plan::compile(manifest, &self.files, &self.bounds) {
            Ok(compiled) => compiled,
            Err(complaints) => return Ok(Err(complaints)),
        };
        let Some(trial) = &mut self.trial else {
            return Ok(Ok((plan, warnings)));
        };
        let orders: Vec<_> = plan.orders.iter().map(|planned| &planned.order).collect();
        let tried = trial.try_orders(&orders, &self.files).await?.complaints;
        warnings.extend(tried.warnings);
        Ok(match tried.errors.is_empty() {
            true => Ok((plan, warnings)),
            false => Err(Complaints {
                errors: tried.errors,
                warnings,
            }),
        })
    }

    fn record_judgement(&mut self, attempt: u32, complaints: &Complaints) -> Result<(), Failure> {
        self.write_of(attempt, "errors.json", &json(complaints))?;
        let named = |complaints: &[Complaint]| -> Value {
            let pairs = complaints.iter().take(1000);
            pairs
                .map(|complaint| json!([complaint.code, complaint.order]))
                .collect()
        };
        let fact = json!({ "errors": named(&complaints.errors), "warnings": named(&complaints.warnings) });
        self.record(Phase::Fact, "plan.judged", Some(attempt), fact)?;
        (self.observe)(&PlanEvent::Judged { attempt, complaints });
        self.attempts.push(PlanAttempt {
            n: attempt,
            errors: complaints.errors.clone(),
            warnings: complaints.warnings.clone(),
        });
        Ok(())
    }

    fn write_plan(&mut self, plan: &Plan, manifest: &Value, warnings: &[Complaint]) -> Result<Written, Failure> {
        self.write("manifest.json", &json(&plan::normalize(manifest)))?;
        let provenance = Provenance {
            planner_run_id: self.id,
            compile_hash: compile_hash(
                self.spec,
                &plan::template_digest().to_string(),
                self.setup.model.as_deref().unwrap_or_default(),
                "",
            ),
            spec_sha256: Sha256::of(&self.setup.spec),
        };
        let orders: Vec<_> = plan
            .orders
            .iter()
            .map(|planned| planned.with_provenance(&provenance))
            .collect();
        let mut files: Vec<_> = orders
            .iter()
            .map(|order| (format!("{}.json", order.id), json(order)))
            .collect();
        let summaries: Vec<_> = (plan.orders.iter().zip(&files))
            .map(|(planned, (file, bytes))| OrderSummary {
                id: planned.order.id.clone(),
                title: planned.order.title.clone(),
                file: file.clone(),
                sha256: Sha256::of(bytes),
                exempt: planned.order.verify_exempt,
                bootstrap: planned.bootstrap,
            })
            .collect();
        files.push((
            MANIFEST.to_owned(),
            self.manifest(plan, (&orders, &summaries), &provenance, warnings),
        ));
        self.artifacts.create_dir("output").map_err(unwritten)?;
        for (name, bytes) in &files {
            self.write(&format!("output/{name}"), bytes)?;
        }
        let digests: Vec<_> = files
            .iter()
            .map(|(name, bytes)| json!([name, Sha256::of(bytes)]))
            .collect();
        let intent = json!({ "output": self.setup.output.to_string_lossy(), "files": digests });
        self.record(Phase::Intent, "plan.write", None, intent)?;
        // Again: somebody else may have been here while the model was asked.
        let replacing = if self.setup.overwrite {
            Replacing::Allowed
        } else {
            Replacing::Refused
        };
        output::check(&self.setup.output, std::path::Path::new(""), replacing)?;
        output::write(&self.setup.output, &files)?;
        self.record(Phase::Fact, "plan.written", None, json!({ "orders": orders.len() }))?;
        Ok(Written {
            orders: summaries,
            dropped: plan.dropped.clone(),
        })
    }

    fn manifest(
        &self,
        plan: &Plan,
        (orders, files): (&[WorkOrder], &[OrderSummary]),
        provenance: &Provenance,
        warnings: &[Complaint],
    ) -> Vec<u8> {
        json(&json!({
            "schema": SCHEMA,
            "plan": self.id,
            "base": self.base,
            "spec": self.setup.spec_name,
            "spec_sha256": provenance.spec_sha256,
            "compile_hash": provenance.compile_hash,
            "provider": self.provider.describe(),
            "model": self.setup.model,
            "system_overview": plan.system_overview,
            "verify_contract": plan.verify_contract,
            "dropped": plan.dropped,
            "warnings": warnings,
            "files": files,
            "work_orders": orders,
        }))
    }

    fn record(&mut self, phase: Phase, kind: &'static str, attempt: Option<u32>, body: Value) -> Result<(), Failure> {
        let run = self.id;
        let entry = Entry {
            run,
            phase,
            kind,
            attempt,
            body,
        };
        self.journal.append(&entry).map(drop).map_err(unreadable)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.artifacts.write(name, bytes).map_err(unwritten)
    }

    fn write_of(&self, attempt: u32, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.artifacts.write_of(attempt, name, bytes).map_err(unwritten)
    }
}

fn unwritten(error: ArtifactError) -> Failure {
    debug_assert_eq!(error.class(), FailureClass::Host);
    Failure::new(&error, Situation::Storage)
}

/// A spec of which the model says that nobody can plan it. Asking again would cost as much, and end alike.
fn blocked(reason: &str) -> Failure {
    Failure::plain(
        FailureClass::Order,
        "the model says that the spec cannot be planned as it is",
    )
    .because(escape_control(&truncate(reason, MAX_REASON)))
    .in_situation(Situation::Document)
    .with_hint("clear up what it names in the spec and plan again; or ask anew with --fresh")
}

/// A plan that breaks rules. It is the document that is wrong, whoever wrote it.
fn invalid(complaints: &Complaints) -> Failure {
    let errors = &complaints.errors;
    let mut causes: Vec<_> = errors.iter().take(MAX_TOLD).map(ToString::to_string).collect();
    if errors.len() > MAX_TOLD {
        causes.push(format!("and {} more", errors.len() - MAX_TOLD));
    }
    let failure = Failure::plain(FailureClass::Order, "the plan is not valid").in_situation(Situation::Document);
    Failure { causes, ..failure }
}

/// The summary as an entry's body: one that is larger than an entry may be leaves out what the artifacts have as well.
fn bounded(summary: &PlanSummary) -> Value {
    let whole = json!(summary);
    if whole.to_string().len() <= MAX_BODY_BYTES {
        return whole;
    }
    let mut short = summary.clone();
    short.attempts.clear();
    short.orders.iter_mut().for_each(|order| order.title.clear());
    json!(short)
}
