//! What a run does in each state.

use super::answers::{self, PROPOSAL, Said};
use super::artifacts::json;
use super::asking::{Asked, Asking, Later, Question};
use super::engine::{Promoted, Run, milliseconds};
use super::event::Event as Told;
use super::failure::{Failure, Situation, Stage, interrupted};
use super::fault::Fault;
use super::ground::{promote_failure, sandbox_failure, workspace_failure};
use super::key::verification_key;
use super::past::latest;
use super::recover::{Reported, kept};
use super::room;
use super::state::{Event, Patience};
use super::summary::{AttemptSummary, CommandSummary, VerdictName};
use crate::change::ChangeSet;
use crate::durable::crash_point;
use crate::journal::{JournalError, Phase as Framed};
use crate::llm::{Answer, Request, Schema};
use crate::order::Version;
use crate::promote::{self, Outcome as Preparation, PromoteError, Trailers};
use crate::propose::{self, CheckError, Draft, Form, Operation, Proposal};
use crate::sandbox::{Sandbox, Tree};
use crate::types::{FailureClass, Problem, RepoPath, Sha256, escape_control, truncate};
use crate::verify::{
    self, Bench, Candidate as Judged, Checks, Evidence, Kept, Passed, Phase, Progress, Recalled, RungState, Suite,
    Verdict, VerifyError, rungs,
};
use crate::workspace::{Base, Candidate, WorkspaceError};
use serde_json::json;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

/// Where commands run. Made before the model is asked.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) sandbox: Sandbox,
    pub(super) base: Base,
    /// Where the changes of candidates are put.
    pub(super) scratch: PathBuf,
    /// The golden suites that the order names, each with where a copy of it is.
    pub(super) golden: Vec<(Suite, PathBuf)>,
    /// That directory, locked: what is locked is not removed by `factory gc`, whichever journal knows this run.
    pub(super) _in_use: File,
}

/// What one state hands to the next.
#[derive(Debug, Default)]
pub(super) enum Hand {
    #[default]
    Empty,
    Answer(Answer),
    /// The model says that the base needs no change.
    NoChange,
    Candidate(Candidate, ChangeSet),
    Passed(Passed),
}

/// What a step leads to.
pub(super) type Step = Result<Event, Fault>;

/// How many tokens an answer may cost when the provider can be told: the largest proposal, with room for reasoning.
const MAX_OUTPUT_TOKENS: u32 = 128_000;

impl Run<'_> {
    /// Asks the model, and stores what it answers before anything is made of it.
    pub(super) async fn ask(&mut self, attempt: u32, patience: Patience) -> Step {
        let is_first_try = patience == Patience::default();
        if is_first_try {
            self.begin_attempt(attempt)?;
        }
        let floor = self.setup.disk_floor;
        room::check(&self.setup.places.named(), floor).map_err(Fault::exception)?;
        let question = Question::new(self.request()?, self.provider);
        let digest = question.digest;
        if is_first_try {
            let text = format!("{}\n\n{}", question.request.system, question.request.user);
            self.artifacts.write_of(attempt, "prompt.txt", text.as_bytes())?;
            let recalled = self.asking(attempt).recall(&question);
            if let Some((from, said)) = recalled.map_err(Fault::exception)? {
                (self.observe)(&Told::Recalled {
                    attempt,
                    request: digest,
                    from,
                });
                return self.hear(attempt, said);
            }
        }
        let limited = self.asking(attempt).still_limited();
        if let Some(later) = limited.map_err(Fault::exception)? {
            return Ok(self.later(later));
        }
        let reserved = self.asking(attempt).reserve(&question, patience);
        let request = reserved.map_err(Fault::exception)?;
        (self.observe)(&Told::Requested {
            attempt,
            request: digest,
        });
        let answered = self.asking(attempt).send(&request).await.map_err(Fault::exception)?;
        crash_point("the model has answered, nothing is stored");
        let asked = self.asking(attempt).settle(&question, &request, patience, answered);
        match asked.map_err(Fault::exception)? {
            Asked::Later(later) => Ok(self.later(later)),
            Asked::Said(said) => {
                let event = self.hear(attempt, said)?;
                if let Hand::Answer(answer) = &self.hand {
                    (self.observe)(&Told::Answered {
                        attempt,
                        bytes: answer.text.len(),
                        sha256: Sha256::of(&answer.raw),
                    });
                }
                Ok(event)
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
            kinds: &PROPOSAL,
            run: self.id,
            attempt,
            order_id: &setup.order.id,
            plan: setup.plan().map(str::to_owned),
            model: setup.model.as_deref(),
            since: self.since,
            fresh: setup.fresh,
        }
    }

    /// Goes on with what was said, which is stored.
    fn hear(&mut self, attempt: u32, said: Said) -> Step {
        match said {
            Said::Answer(answer) => {
                self.artifacts.write_of(attempt, "answer.txt", answer.text.as_bytes())?;
                self.hand = Hand::Answer(answer);
                Ok(Event::Answered)
            }
            Said::NoText(failure) => Err(Fault::new(Stage::LlmOutputInvalid, failure)),
        }
    }

    fn later(&mut self, later: Later) -> Event {
        self.last = Some(later.failure);
        match later.is_limit {
            true => Event::Limited(later.delay),
            false => Event::Unanswered(later.delay),
        }
    }

    fn begin_attempt(&mut self, attempt: u32) -> Result<(), Fault> {
        self.artifacts.begin_attempt(attempt)?;
        crash_point("the directory of the attempt is there, and empty");
        self.attempts.push(AttemptSummary {
            n: attempt,
            stage: None,
            class: None,
            reason: None,
            files: Vec::new(),
            gone: Vec::new(),
            commands: Vec::new(),
        });
        Ok(())
    }

    fn request(&self) -> Result<Request, Fault> {
        let order = &self.setup.order;
        let context = propose::read_context(order, |path| self.snapshot.entry(path))
            .map_err(|error| Fault::exception(workspace_failure(&error)))?;
        let prompt = propose::prompt(order, &context, self.previous.as_ref());
        Ok(Request {
            system: prompt.system,
            user: prompt.user,
            model: self.setup.model.clone(),
            max_output_tokens: Some(MAX_OUTPUT_TOKENS),
            key: order.id.clone(),
            schema: Some(Schema {
                name: "proposal",
                schema: match order.version {
                    Version::V1 => propose::schema::first(),
                    Version::V2 => propose::schema::second(),
                },
            }),
        })
    }

    /// Lets the provider recover for longer than a run usually waits: the time is recorded, so that nobody asks before.
    pub(super) async fn park(&mut self, attempt: u32, delay: Duration) -> Step {
        let Some(reason) = self.last.clone() else {
            return Err(out_of_order("a reason to wait"));
        };
        let parked = self.asking(attempt).park(delay, &reason).map_err(Fault::exception)?;
        crash_point("the run is parked");
        (self.observe)(&Told::Parked {
            attempt,
            until_ms: parked.until_ms,
            reason: &parked.reason,
        });
        let resumed = self.asking(attempt).resume(&parked).await;
        resumed.map_err(Fault::exception)?;
        (self.observe)(&Told::Resumed { attempt });
        Ok(Event::Waited)
    }

    /// Lets the provider recover.
    pub(super) async fn wait(&mut self, attempt: u32, delay: Duration) -> Step {
        (self.observe)(&Told::Delayed {
            attempt,
            wait_ms: milliseconds(delay),
            reason: &self.last.as_ref().map(Failure::sentence).unwrap_or_default(),
        });
        let paused = self.asking(attempt).pause(delay).await;
        paused.map_err(Fault::exception).map(|()| Event::Waited)
    }

    /// Makes a candidate of the answer, if it is a proposal within the order's scope.
    pub(super) fn build(&mut self, attempt: u32) -> Step {
        let Hand::Answer(answer) = std::mem::take(&mut self.hand) else {
            return Err(out_of_order("an answer"));
        };
        self.rungs = rungs(RungState::Failed, RungState::NotReached, RungState::NotReached);
        refuse_unfinished(&answer)?;
        let proposal = propose::parse_answer(&answer.text, self.setup.order.version.into())
            .map_err(|error| Fault::refused(error.stage(), &error))?;
        let draft = match proposal {
            Proposal::Changes(draft) => draft,
            Proposal::NoChange { .. } => {
                self.artifacts.write_of(attempt, "proposal.json", &json(&proposal))?;
                self.hand = Hand::NoChange;
                return Ok(Event::Built);
            }
            Proposal::Blocked { summary } => return Err(Fault::new(Stage::LlmOutputInvalid, blocked(&summary))),
        };
        self.artifacts.write_of(attempt, "proposal.json", &json(&draft))?;
        let paths = draft.operations.iter().flat_map(Operation::paths);
        let files: Vec<_> = paths.map(ToString::to_string).collect();
        let gone: Vec<_> = draft
            .operations
            .iter()
            .filter_map(Operation::gone)
            .map(ToString::to_string)
            .collect();
        if let Some(current) = self.attempts.last_mut() {
            current.files.clone_from(&files);
            current.gone.clone_from(&gone);
        }
        let change_set = self.check_scope(&draft)?;
        if draft.form == Form::Operations {
            // What the operations come to, with final bytes; a list of writes says that by itself.
            self.artifacts.write_of(attempt, "changes.json", &json(&change_set))?;
        }
        let Some(ground) = &self.ground else {
            return Err(out_of_order("a sandbox"));
        };
        let owner = Sandbox::tree_owner();
        let candidate =
            Candidate::new(&ground.base, self.snapshot, &change_set, &ground.scratch, owner).map_err(|error| {
                match error.class() {
                    FailureClass::Proposal => Fault::refused(propose::Stage::Unwritable, &error),
                    _ => Fault::exception(workspace_failure(&error)),
                }
            })?;
        let digests: Vec<_> = change_set.digests().collect();
        let fact = json!({ "files": digests });
        self.journal(Framed::Fact, "candidate.built", Some(attempt), fact)?;
        (self.observe)(&Told::Built {
            attempt,
            files: &files,
            gone: &gone,
        });
        self.hand = Hand::Candidate(candidate, change_set);
        Ok(Event::Built)
    }

    /// What the proposal comes to, if the order allows that.
    fn check_scope(&self, draft: &Draft) -> Result<ChangeSet, Fault> {
        let order = &self.setup.order;
        let checked = propose::check(draft, order, |path| self.snapshot.entry(path));
        let change_set = checked.map_err(|error| match error {
            CheckError::Base { ref source, .. } => Fault::exception(workspace_failure(source)),
            CheckError::Refused { ref refusals } => Fault::refused(refusals.stage, &error),
        })?;
        // What goes is on the base, where everybody sees it.
        for path in draft.operations.iter().filter_map(Operation::made) {
            self.refuse_hidden(path)?;
        }
        Ok(change_set)
    }

    /// Refuses a file that git would not show, or that is another spelling of one that it has.
    fn refuse_hidden(&self, path: &RepoPath) -> Result<(), Fault> {
        let unreadable = |error: WorkspaceError| Fault::exception(workspace_failure(&error));
        let shown = escape_control(path.as_str());
        let why = if self.snapshot.is_ignored(path).map_err(unreadable)? {
            "the repository's .gitignore ignores it".to_owned()
        } else if let Some(other) = self.snapshot.case_collision(path).map_err(unreadable)? {
            format!(
                "the base has `{}`, which is the same file on some systems",
                escape_control(&other)
            )
        } else {
            return Ok(());
        };
        let failure = Failure::plain(FailureClass::Proposal, format!("`{shown}` cannot be written: {why}"));
        Err(Fault::new(Stage::WriteScopeViolation, failure))
    }

    /// Has the candidate judged.
    pub(super) async fn judge(&mut self, attempt: u32) -> Step {
        let (candidate, change_set) = match std::mem::take(&mut self.hand) {
            Hand::Candidate(candidate, change_set) => (candidate, change_set),
            Hand::NoChange => return self.judge_claim().await,
            Hand::Empty | Hand::Answer(_) | Hand::Passed(_) => return Err(out_of_order("a candidate")),
        };
        let checks = self.checks(&change_set)?;
        let base = self.snapshot.commit();
        let key = verification_key(self.setup, base, &change_set, &checks);
        if let Some((kept, recalled)) = self.recall_verdict(key, &change_set)? {
            return self.conclude_again(attempt, kept, recalled);
        }
        self.journal(Framed::Intent, "verify.started", Some(attempt), json!({ "key": key }))?;
        let tree = Tree {
            layers: candidate.layers(),
        };
        let judged = Judged {
            tree: &tree,
            change_set,
            base: self.snapshot.commit(),
        };
        let verdict = self.run_checks(attempt, judged, &checks).await;
        // The directory of the changes goes only when no command can look at it any more.
        drop(candidate);
        match self.conclude(attempt, key, verdict?) {
            Err(fault) if fault.stage == Stage::VerifyFailed => Err(self.compared_with_base(fault).await),
            concluded => concluded,
        }
    }

    /// What a change set is judged by.
    pub(super) fn checks(&self, change_set: &ChangeSet) -> Result<Checks, Fault> {
        let order = &self.setup.order;
        let checks = Checks::new(order, order.verify_exempt, change_set, |path| self.snapshot.entry(path))
            .map_err(|error| Fault::exception(workspace_failure(&error)))?;
        let golden = self.ground.iter().flat_map(|ground| &ground.golden);
        Ok(checks.with_golden(golden.map(|(suite, place)| (suite, place.clone()))))
    }

    /// Judges the claim that the base needs no change.
    async fn judge_claim(&mut self) -> Step {
        match self.judge_base(false).await? {
            Verdict::Passed(..) => Ok(Event::Satisfied),
            Verdict::Rejected(finding, _) => Err(Fault::judged(FailureClass::Rejected, finding)),
            Verdict::Limited(_, finding, _) => Err(Fault::judged(FailureClass::Limit, finding)),
            Verdict::Flaky(finding, _) => Err(Fault::judged(FailureClass::Flaky, finding)),
        }
    }

    /// The verdict on the same bytes that a run reached which this one goes on from.
    fn recall_verdict(&self, key: Sha256, change_set: &ChangeSet) -> Result<Option<(Kept, Recalled)>, Fault> {
        let Some(entry) = latest(&self.journal, "verify.finished", key, self.since)? else {
            return Ok(None);
        };
        // Whoever starts an order again after a judgement wants another one: the host may have been mended since.
        let kept = kept(&entry).filter(|_| self.past.continued.contains(&entry.run));
        let Some(kept) = kept else { return Ok(None) };
        let evidence = match self.journal.blob(kept.evidence) {
            Ok(evidence) => evidence,
            Err(JournalError::BlobMissing { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let base = self.snapshot.commit();
        Ok(verify::recall(&kept, &evidence, change_set.clone(), base).map(|recalled| (kept, recalled)))
    }

    /// Goes on from a verdict that was reached before.
    fn conclude_again(&mut self, attempt: u32, kept: Kept, recalled: Recalled) -> Step {
        let evidence = self.journal.blob(kept.evidence)?;
        self.artifacts.write_of(attempt, "evidence.json", &evidence)?;
        self.rungs = kept.rungs;
        let fact = json!({ "evidence": kept.evidence });
        self.journal(Framed::Fact, "verify.recalled", Some(attempt), fact)?;
        match recalled {
            Recalled::Passed(passed) => Ok(self.passed(attempt, passed)),
            Recalled::Rejected(finding) => Err(Fault::judged(FailureClass::Rejected, finding)),
        }
    }

    fn passed(&mut self, attempt: u32, passed: Passed) -> Event {
        (self.observe)(&Told::CandidatePassed {
            attempt,
            evidence: passed.evidence(),
        });
        self.hand = Hand::Passed(passed);
        Event::Passed
    }

    async fn run_checks(&mut self, attempt: u32, judged: Judged<'_>, checks: &Checks) -> Result<Verdict, Fault> {
        let Some(ground) = &self.ground else {
            return Err(out_of_order("a sandbox"));
        };
        let bench = Bench {
            sandbox: &ground.sandbox,
            policy: &self.setup.policy,
            timeout: self.setup.timeout,
        };
        let artifacts = &self.artifacts;
        let observe = &mut *self.observe;
        let mut commands = Vec::new();
        let mut written = Ok(());
        let mut tell = |progress: Progress<'_>| match progress {
            Progress::Started { phase, argv } => observe(&Told::CommandStarted {
                attempt,
                phase: phase.as_str(),
                argv,
            }),
            Progress::Finished { record, report } => {
                let run = record
                    .run
                    .filter(|run| *run > 1)
                    .map_or_else(String::new, |run| format!("-run-{run}"));
                let name = |stream| format!("{}-{}{run}.{stream}", record.phase.as_str(), record.index);
                for (stream, captured) in [("stdout", &report.stdout), ("stderr", &report.stderr)] {
                    if written.is_ok() {
                        written = artifacts.write_of(attempt, &name(stream), &captured.to_bytes());
                    }
                }
                let command = CommandSummary::from(record);
                observe(&Told::CommandFinished {
                    attempt,
                    command: &command,
                });
                commands.push(command);
            }
        };
        let verdict = tokio::select! {
            biased;
            signal = self.cancel.wait() => Err(Fault::exception(interrupted(signal))),
            verdict = verify::verify(bench, judged, checks, &mut tell) => {
                verdict.map(presentable).map_err(|error| unjudged(&error))
            }
        };
        if let Some(current) = self.attempts.last_mut() {
            current.commands = commands;
        }
        written?;
        verdict
    }

    /// Records a verdict.
    fn conclude(&mut self, attempt: u32, key: Sha256, verdict: Verdict) -> Step {
        let (word, finding, evidence) = match &verdict {
            Verdict::Passed(_, evidence) => ("passed", None, evidence),
            Verdict::Rejected(finding, evidence) => ("rejected", Some(finding), evidence),
            Verdict::Limited(_, finding, evidence) => ("limited", Some(finding), evidence),
            Verdict::Flaky(finding, evidence) => ("flaky", Some(finding), evidence),
        };
        self.write_evidence(attempt, evidence)?;
        crash_point("the artifacts of the verdict are written, the verdict not recorded");
        self.rungs.clone_from(&evidence.rungs);
        let canonical = evidence.canonical();
        // A commit may name it, so it has to outlive the artifacts.
        let digest = self.journal.put_blob(&canonical)?;
        let kept = Kept {
            evidence: digest,
            rungs: evidence.rungs.clone(),
            finding: finding.cloned(),
        };
        let mut fact = json!({ "verdict": word, "evidence": digest });
        // A limit may have been the host's bad hour, and runs that disagree say nothing: that is judged again, and so not
        // found again.
        if matches!(verdict, Verdict::Passed(..) | Verdict::Rejected(..)) {
            fact["key"] = json!(key);
            fact["kept"] = json!(kept);
        }
        self.journal(Framed::Fact, "verify.finished", Some(attempt), fact)?;
        match verdict {
            Verdict::Passed(passed, _) => Ok(self.passed(attempt, passed)),
            Verdict::Rejected(finding, _) => Err(Fault::judged(FailureClass::Rejected, finding)),
            Verdict::Limited(_, finding, _) => Err(Fault::judged(FailureClass::Limit, finding)),
            Verdict::Flaky(finding, _) => Err(Fault::judged(FailureClass::Flaky, finding)),
        }
    }

    fn write_evidence(&self, attempt: u32, evidence: &Evidence) -> Result<(), Fault> {
        let of = |phase: Phase| -> Vec<_> { evidence.commands.iter().filter(|one| one.phase == phase).collect() };
        let acceptance = json!({
            "postconditions": evidence.postconditions,
            "commands": of(Phase::Acceptance),
        });
        if !evidence.golden.is_empty() {
            let golden = json!({ "suites": evidence.golden, "commands": of(Phase::Golden) });
            self.artifacts.write_of(attempt, "golden.json", &json(&golden))?;
        }
        let verify = json!({ "commands": of(Phase::Verify) });
        self.artifacts.write_of(attempt, "verify.json", &json(&verify))?;
        self.artifacts
            .write_of(attempt, "acceptance.json", &json(&acceptance))?;
        self.artifacts
            .write_of(attempt, "evidence.json", &evidence.canonical())?;
        Ok(())
    }

    /// Puts the change on the branch.
    pub(super) fn promote(&mut self, attempt: u32) -> Step {
        let Hand::Passed(passed) = std::mem::take(&mut self.hand) else {
            return Err(out_of_order("a verdict"));
        };
        let refused = |error| Fault::new(Stage::WriteFailed, promote_failure(&error));
        let trailers = Trailers {
            order_id: self.setup.order.id.clone(),
            order_key: Some(self.order_key),
            run: self.id,
            verdict: VerdictName::PassUnproven.to_string(),
            evidence: passed.evidence(),
            profile: self.setup.policy.profile.clone(),
            waived: self.setup.policy.went_without(),
        };
        let title = &self.setup.order.title;
        let promoted =
            match promote::prepare(self.repository, passed, self.target.clone(), title, &trailers).map_err(refused)? {
                Preparation::Unchanged => Promoted {
                    commit: self.snapshot.commit(),
                    tree: self.snapshot.tree(),
                    unchanged: true,
                },
                Preparation::Prepared(prepared) => {
                    self.remember_regression(attempt, prepared.tree_id())?;
                    let intent = json!(prepared.announce());
                    self.journal(Framed::Intent, "promotion.prepare", Some(attempt), intent)?;
                    let tree = prepared.tree_id();
                    let promotion = promote::commit(self.repository, prepared).map_err(|error| {
                        if let PromoteError::NotSynced { commit, .. } = error {
                            self.promoted = Some(Promoted {
                                commit,
                                tree,
                                unchanged: false,
                            });
                        }
                        refused(error)
                    })?;
                    Promoted {
                        commit: promotion.commit,
                        tree: promotion.tree,
                        unchanged: false,
                    }
                }
            };
        // From here on the branch has the change, whatever becomes of the record.
        self.promoted = Some(promoted);
        let Promoted {
            commit,
            tree,
            unchanged,
        } = promoted;
        let fact = json!(Reported {
            branch: self.target.branch.clone(),
            commit,
            tree,
            unchanged,
        });
        self.journal(Framed::Fact, "promotion.committed", Some(attempt), fact)?;
        (self.observe)(&Told::Promoted {
            attempt,
            branch: &self.target.branch,
            commit,
            tree,
            unchanged,
        });
        Ok(Event::Promoted)
    }
}

/// An answer that a token limit cut off, or that is a refusal, is no proposal even if it should read like one.
fn refuse_unfinished(answer: &Answer) -> Result<(), Fault> {
    match answers::unfinished(answer) {
        None => Ok(()),
        Some(failure) => Err(Fault::new(Stage::LlmOutputInvalid, failure)),
    }
}

/// The model says that the order cannot be fulfilled.
fn blocked(summary: &str) -> Failure {
    let summary = truncate(&escape_control(summary), 500);
    Failure::plain(
        FailureClass::Order,
        "the model says that the order cannot be fulfilled as it is written",
    )
    .because(summary)
    .with_hint("correct the order, or ask anew with --fresh")
}

/// The verdict without the credentials that a command printed.
fn presentable(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Passed(passed, evidence) => Verdict::Passed(passed, evidence),
        Verdict::Rejected(finding, evidence) => Verdict::Rejected(finding.without_credentials(), evidence),
        Verdict::Limited(limit, finding, evidence) => Verdict::Limited(limit, finding.without_credentials(), evidence),
        Verdict::Flaky(finding, evidence) => Verdict::Flaky(finding.without_credentials(), evidence),
    }
}

/// A candidate that could not be judged.
pub(super) fn unjudged(error: &VerifyError) -> Fault {
    let situation = match error {
        VerifyError::Sandbox { source, .. } => sandbox_failure(source).situation,
        VerifyError::ToolMissing { .. } => Situation::Plain,
    };
    Fault::exception(Failure::new(error, situation))
}

/// The states follow one another in such a way that this is never needed.
pub(super) fn out_of_order(what: &str) -> Fault {
    Fault::exception(Failure::plain(
        FailureClass::Internal,
        format!("{what} was to be there and is not"),
    ))
}
