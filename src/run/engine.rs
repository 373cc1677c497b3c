//! One run: opens it, does what each state asks for, closes it.

use super::artifacts::{Artifacts, json};
use super::event::{Event as Told, Observer};
use super::failure::{Failure, Situation, Stage, interrupted};
use super::fault::Fault;
use super::finished::{Done, finished};
use super::fold::Opened;
use super::ground::{CANDIDATES, Cancel, Setup, aim, refuse_places, workspace_failure};
use super::hold::{Lease, hold};
use super::key::order_key;
use super::past::{Past, unreadable};
use super::recover::recover;
use super::room;
use super::state::{End, Event, Rest, State, next};
use super::steps::{Ground, Hand};
use super::summary::{AttemptSummary, SCHEMA, Summary, UsageSummary, VerdictName};
use crate::durable::{Lock, crash_point, remove_tree};
use crate::journal::{Entry, Journal, JournalError, MAX_BODY_BYTES, Phase};
use crate::llm::Provider;
use crate::promote::Target;
use crate::propose::{FailureBrief, without_credentials};
use crate::types::{FailureClass, ObjectId, RunId, Sha256};
use crate::verify::{Finding, Rung, RungState, rungs};
use crate::workspace::{Repository, Snapshot};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How a run ended that was not refused.
#[derive(Debug)]
pub enum Ended {
    /// It took its course.
    Ran(Box<Summary>),
    /// There was nothing to run: the order is done.
    Skipped(Done),
}

/// Runs one order.
///
/// First of all the repository is taken, and what dead runs left in it is brought to an end. A run that was opened gives a
/// summary, whatever became of it.
///
/// # Errors
/// When no run could be opened, or its end could not be recorded.
pub async fn run(
    setup: &Setup,
    provider: &mut Provider,
    mut cancel: Cancel,
    observe: &mut Observer<'_>,
) -> Result<Ended, Failure> {
    let setup = &setup.for_order();
    let repository = Repository::open(&setup.repository).map_err(|error| workspace_failure(&error))?;
    refuse_places(setup, &repository)?;
    check_room(setup, &repository)?;
    // What is wrong with the order's branch is said before anybody waits for anything.
    aim(setup, &repository)?;
    let mut journal = Journal::open(&setup.places.state_dir).map_err(unreadable)?;
    let purpose = format!("order {}", setup.order.id);
    let lock = hold(&repository, &purpose, setup.patience, &mut cancel).await?;
    crash_point("the repository is taken");
    for recovered in recover(&mut journal, &repository, setup.exit_code)? {
        observe(&Told::Recovered(&recovered));
    }
    // Again: the branch may have moved while we waited, or by what was recovered.
    let aim = aim(setup, &repository)?;
    let snapshot = repository
        .snapshot(aim.base)
        .map_err(|error| workspace_failure(&error))?;
    if !setup.fresh
        && let Some(done) = finished(setup, &repository, &journal, (&aim.target.branch, aim.base))?
    {
        // The run that did it may have failed to make sure of that.
        let branch = &aim.target.branch;
        repository
            .sync_branch(branch)
            .map_err(|error| workspace_failure(&error))?;
        tell_skipped(&done, observe);
        return Ok(Ended::Skipped(done));
    }
    // Whoever builds on a record that was altered makes it look whole.
    journal.check_chain().map_err(unreadable)?;
    let order_key = order_key(setup, |path| snapshot.entry(path)).map_err(|error| workspace_failure(&error))?;
    let past = Past::of(&journal, &repository, &setup.order.id, order_key)?;
    past.refuse_quarantined(&setup.order.id)?;
    setup.budget.require_price(setup.model.as_deref())?;
    let ground = Given {
        repository: &repository,
        snapshot: &snapshot,
        target: aim.target,
        order_key,
        past,
        journal,
        lock,
    };
    let run = Run::open(setup, provider, cancel, observe, ground)?;
    run.drive().await.map(|summary| Ended::Ran(Box::new(summary)))
}

fn tell_skipped(done: &Done, observe: &mut Observer<'_>) {
    observe(&Told::Skipped(done));
    observe(&Told::Completed {
        run: done.run,
        verdict: VerdictName::Skipped,
        exit_code: 0,
        problem: None,
        summary: None,
    });
}

fn check_room(setup: &Setup, repository: &Repository) -> Result<(), Failure> {
    let [state, artifacts, cache] = setup.places.named();
    let temporary = std::env::temp_dir();
    let others = [
        ("the repository", repository.common_dir()),
        ("temporary files", temporary.as_path()),
    ];
    room::check(&[state, artifacts, cache, others[0], others[1]], setup.disk_floor)
}

/// What a run is given: the repository, taken, and what is known of the order.
struct Given<'a> {
    repository: &'a Repository,
    snapshot: &'a Snapshot<'a>,
    target: Target,
    order_key: Sha256,
    past: Past,
    journal: Journal,
    lock: Lock,
}

/// Whether the checkout has changes that are not committed; nothing when it cannot be read.
type Look = JoinHandle<Option<bool>>;

/// How long the end of a run waits for the look at the checkout.
const LAST_LOOK: Duration = Duration::from_millis(20);

/// Looks at every file of the checkout, beside the run: nothing in it depends on the answer, which people are told, and in a
/// large repository it takes longer than everything else that the run itself does.
fn look_at_checkout(repository: &Repository) -> Look {
    let work_dir = repository.work_dir().to_owned();
    std::thread::spawn(move || Repository::open(&work_dir).and_then(|own| own.is_dirty()).ok())
}

/// An open run.
#[must_use = "an open run has to be driven to its end"]
pub(super) struct Run<'a> {
    pub(super) id: RunId,
    pub(super) setup: &'a Setup,
    pub(super) provider: &'a mut Provider,
    pub(super) cancel: Cancel,
    pub(super) observe: &'a mut Observer<'a>,
    pub(super) repository: &'a Repository,
    pub(super) snapshot: &'a Snapshot<'a>,
    pub(super) target: Target,
    pub(super) order_key: Sha256,
    pub(super) past: Past,
    /// Entries before this place are not used again: the operator asked for everything anew.
    pub(super) since: u64,
    pub(super) journal: Journal,
    /// Keeps other runs away from the repository until this one is over.
    _lock: Lock,
    pub(super) artifacts: Artifacts,
    pub(super) ground: Option<Ground>,
    pub(super) hand: Hand,
    pub(super) attempts: Vec<AttemptSummary>,
    /// Why the attempt before was refused.
    pub(super) previous: Option<FailureBrief>,
    /// Where the latest fault struck.
    stage: Option<Stage>,
    /// The latest failure, which is why the run ends when it does.
    pub(super) last: Option<Failure>,
    pub(super) rungs: Vec<Rung>,
    pub(super) usage: UsageSummary,
    pub(super) promoted: Option<Promoted>,
    /// Why the repository's verification does not hold on the base, once that was looked at.
    pub(super) base_regression: Option<Option<Finding>>,
    /// Until it has been told.
    look: Option<Look>,
    started_ms: u64,
}

/// What the branch has after a pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Promoted {
    pub(super) commit: ObjectId,
    pub(super) tree: ObjectId,
    pub(super) unchanged: bool,
}

impl<'a> Run<'a> {
    fn open(
        setup: &'a Setup,
        provider: &'a mut Provider,
        cancel: Cancel,
        observe: &'a mut Observer<'a>,
        given: Given<'a>,
    ) -> Result<Self, Failure> {
        let started_ms = now_ms();
        let id = RunId::new(ulid::Ulid::generate());
        let Given {
            repository,
            snapshot,
            target,
            order_key,
            past,
            journal,
            lock,
        } = given;
        let look = look_at_checkout(repository);
        let lease = Lease::own(repository)?;
        let since = match (setup.fresh, past.fresh_since) {
            (false, _) => 0,
            // A run that was to ask anew and did not come to an end asked some of it: that is not asked again.
            (true, Some(since)) => since,
            (true, None) => journal.newest().map_err(unreadable)? + 1,
        };
        let artifacts = Artifacts::of(&setup.places.artifacts, id);
        let mut run = Run {
            id,
            setup,
            provider,
            cancel,
            observe,
            repository,
            snapshot,
            target,
            order_key,
            past,
            since,
            journal,
            _lock: lock,
            artifacts,
            ground: None,
            hand: Hand::Empty,
            attempts: Vec::new(),
            previous: None,
            stage: None,
            last: None,
            rungs: rungs(RungState::NotReached, RungState::NotReached, RungState::NotReached),
            usage: UsageSummary::default(),
            promoted: None,
            base_regression: None,
            look: Some(look),
            started_ms,
        };
        match run.record_opening(lease) {
            Ok(()) => Ok(run),
            Err(fault) => {
                run.give_up(&fault);
                Err(*fault.failure)
            }
        }
    }

    /// Closes a run that could not be opened in full. Where even that is refused, it stays open as if it had been killed, and
    /// the next start closes it.
    fn give_up(mut self, fault: &Fault) {
        self.last = Some((*fault.failure).clone());
        self.stage = Some(fault.stage);
        let class = fault.failure.class;
        let summary = self.summary(End::Stopped(class));
        let closed = self.journal(Phase::Fact, "run.completed", None, bounded(&summary));
        if let Err(error) = closed {
            tracing::debug!(%error, "a run that could not be opened stays open in the journal");
        }
        self.artifacts.discard();
    }

    fn record_opening(&mut self, lease: Lease) -> Result<(), Fault> {
        let setup = self.setup;
        let opened = Opened {
            order_id: setup.order.id.clone(),
            title: setup.order.title.clone(),
            requirements: setup.order.requirements.clone(),
            order_sha256: Sha256::of(&setup.order_bytes),
            order_key: Some(self.order_key),
            fresh: setup.fresh,
            continues: self.past.continued.first().copied(),
            lease: Some(lease),
            scratch: Some(self.scratch()),
            base: self.snapshot.commit(),
            branch: self.target.branch.clone(),
            repository: self.repository.work_dir().to_owned(),
            profile: setup.policy.profile.clone(),
            waived: setup.policy.waive.clone(),
            allowed_protected: setup.allow_protected.clone(),
            allowed_context: setup.allow_context.clone(),
            allowed_order_text: setup.allow_order_text,
            plan: setup.plan().map(str::to_owned),
            provider: self.provider.describe(),
            model: setup.model.clone().unwrap_or_default(),
            max_attempts: setup.rules.max_attempts,
            artifacts: self.artifacts.dir().to_owned(),
        };
        // First the entry: a directory that no entry leads to would never be cleared away.
        self.journal(Phase::Intent, "run.opened", None, json!(opened))?;
        self.artifacts.create()?;
        crash_point("the directory of the run is there, and empty");
        self.artifacts.write("order.json", &setup.order_bytes)?;
        let options = json!({
            "schema": SCHEMA,
            "run": self.id,
            "version": env!("CARGO_PKG_VERSION"),
            "opened": opened,
            "expected": self.target.expected,
            "policy": setup.policy,
            "provider_tries": setup.rules.provider_tries,
            "park_ms": milliseconds(setup.rules.park),
            "timeout_ms": setup.timeout.map(|timeout| timeout.as_millis()),
            "allow_verify_exempt": setup.allow_verify_exempt,
            "budget": setup.budget.all_caps().collect::<Vec<_>>(),
            "prices": setup.budget.prices.version(),
            "started_ms": self.started_ms,
        });
        self.artifacts.write("run.json", &json(&options))?;
        (self.observe)(&Told::Opened {
            run: self.id,
            order_id: &opened.order_id,
            title: &opened.title,
            base: opened.base,
            branch: &opened.branch,
            profile: &opened.profile,
            waived: &opened.waived,
            provider: &opened.provider,
            model: &opened.model,
            max_attempts: opened.max_attempts,
            artifacts: &opened.artifacts,
        });
        Ok(())
    }

    /// Where the changes of candidates are put: a directory of this run alone, so that nobody else's is ever removed.
    pub(super) fn scratch(&self) -> PathBuf {
        self.setup.places.cache_dir.join(CANDIDATES).join(self.id.to_string())
    }

    /// Does what each state asks for, until none asks for anything.
    async fn drive(mut self) -> Result<Summary, Failure> {
        let mut state = State::Preflight;
        loop {
            if self.look.as_ref().is_some_and(JoinHandle::is_finished) {
                self.tell_checkout().await;
            }
            let done = match (state, self.cancel.arrived()) {
                (State::Closed(end), _) => return self.close(end).await,
                (_, Some(signal)) => Err(Fault::exception(interrupted(signal))),
                (State::Preflight, None) => self.preflight().await,
                (State::Asking(course, patience), None) => self.ask(course.attempt, patience).await,
                (State::Waiting(course, _, Rest::Wait(delay)), None) => self.wait(course.attempt, delay).await,
                (State::Waiting(course, _, Rest::Park(delay)), None) => self.park(course.attempt, delay).await,
                (State::Building(course), None) => self.build(course.attempt),
                (State::Verifying(course), None) => self.judge(course.attempt).await,
                (State::Promoting(course), None) => self.promote(course.attempt),
            };
            let event = done.unwrap_or_else(|fault| self.fail(fault));
            state = next(&self.setup.rules, state, event);
        }
    }

    /// Tells what the checkout is like, once. Waits for that, but not for long: a run that is over is not held up by a
    /// repository with very many files.
    async fn tell_checkout(&mut self) {
        let Some(look) = self.look.take() else { return };
        let end = Instant::now() + LAST_LOOK;
        while !look.is_finished() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let dirty = match look.is_finished() {
            true => look.join().ok().flatten(),
            // It only reads, and ends with the process.
            false => None,
        };
        (self.observe)(&Told::Checkout {
            base: self.snapshot.commit(),
            dirty,
        });
    }

    /// Records a fault, and gives the event that it is. A fault in recording it is the worse one.
    fn fail(&mut self, fault: Fault) -> Event {
        let fault = match self.record_fault(&fault) {
            Ok(()) => fault,
            Err(worse) => worse,
        };
        let event = Event::Failed(fault.failure.class, fault.fingerprint);
        self.stage = Some(fault.stage);
        self.last = Some(*fault.failure);
        event
    }

    fn record_fault(&mut self, fault: &Fault) -> Result<(), Fault> {
        let Fault {
            stage, failure, brief, ..
        } = fault;
        let Some(attempt) = self.attempts.last_mut().filter(|attempt| attempt.stage.is_none()) else {
            return Ok(());
        };
        let reason = failure.sentence();
        attempt.stage = Some(*stage);
        attempt.class = Some(failure.class);
        attempt.reason = Some(reason.clone());
        let n = attempt.n;
        (self.observe)(&Told::AttemptFailed {
            attempt: n,
            stage: *stage,
            class: failure.class,
            reason: &reason,
        });
        let brief = FailureBrief {
            attempt: n,
            stage: stage.to_string(),
            command: brief.command.clone(),
            exit_code: brief.exit_code,
            // A command may have printed what stands in the tree, and this is shown to the model.
            excerpt: without_credentials(&brief.excerpt),
            hint: brief.hint.clone(),
        };
        let fact = json!({ "stage": stage, "class": failure.class, "reason": reason });
        self.artifacts.write_of(n, "problem.json", &json(failure))?;
        self.artifacts.write_of(n, "brief.json", &json(&brief))?;
        self.previous = Some(brief);
        self.journal(Phase::Fact, "attempt.failed", Some(n), fact)?;
        Ok(())
    }

    /// What the run comes down to.
    fn summary(&mut self, end: End) -> Summary {
        let problem = self.why(end);
        if let Some(problem) = &problem {
            // Only a provider that gave no answer leaves an attempt without its failure.
            for attempt in self.attempts.iter_mut().filter(|attempt| attempt.stage.is_none()) {
                attempt.stage = Some(Stage::Exception);
                attempt.class = Some(problem.class);
                attempt.reason = Some(problem.sentence());
            }
        }
        let class = problem.as_ref().map(|problem| problem.class);
        Summary {
            schema: SCHEMA,
            run: self.id,
            order_id: self.setup.order.id.clone(),
            order_key: Some(self.order_key),
            title: self.setup.order.title.clone(),
            requirements: self.setup.order.requirements.clone(),
            verdict: match class {
                Some(class) => VerdictName::of(class),
                None if end == End::Satisfied => VerdictName::AlreadySatisfied,
                None => VerdictName::PassUnproven,
            },
            stage: class.and(self.stage).or(class.map(|_| Stage::Exception)),
            class,
            exit_code: (self.setup.exit_code)(problem.as_ref()),
            base: self.snapshot.commit(),
            branch: self.target.branch.clone(),
            commit: self.promoted.map(|promoted| promoted.commit),
            tree: self.promoted.map(|promoted| promoted.tree),
            unchanged: self.promoted.is_some_and(|promoted| promoted.unchanged),
            attempts: std::mem::take(&mut self.attempts),
            rungs: std::mem::take(&mut self.rungs),
            usage: self.usage,
            problem,
            artifacts: self.artifacts.dir().to_owned(),
            started_ms: self.started_ms,
            ended_ms: now_ms(),
        }
    }

    /// Writes the summary, and the last entry.
    async fn close(mut self, end: End) -> Result<Summary, Failure> {
        self.tell_checkout().await;
        let summary = self.summary(end);
        self.ground = None;
        if let Err(error) = remove_tree(&self.scratch()) {
            tracing::warn!(%error, "a directory of changes is left behind");
        }
        crash_point("the changes are removed, the run is not closed");
        // The journal's entry first: it is the record, and the file beside it the copy.
        self.journal(Phase::Fact, "run.completed", None, bounded(&summary))
            .map_err(|error| Failure::new(&error, Situation::Storage))?;
        crash_point("the run is closed, its summary not written");
        if let Err(error) = self.artifacts.seal("summary.json", &json(&summary)) {
            tracing::warn!(%error, "the run has no summary.json; `factory show` has what would be in it");
        }
        crash_point("the summary is written, the repository still taken");
        (self.observe)(&Told::Completed {
            run: Some(self.id),
            verdict: summary.verdict,
            exit_code: summary.exit_code,
            problem: summary.problem.as_ref(),
            summary: Some(&summary),
        });
        Ok(summary)
    }

    /// Why the run did not pass.
    fn why(&mut self, end: End) -> Option<Failure> {
        let last = self.last.take();
        match end {
            End::Passed | End::Satisfied => None,
            End::Stopped(class) => Some(last.filter(|failure| failure.class == class).unwrap_or_else(|| {
                Failure::plain(
                    class,
                    "the run came to a state that does not follow from the one before",
                )
            })),
            End::Exhausted(class) => {
                let attempts = self.setup.rules.max_attempts;
                let last = last.unwrap_or_else(|| Failure::plain(class, "no attempt passed"));
                Some(Failure {
                    message: format!("attempt {attempts} of {attempts} failed: {}", last.message),
                    ..last
                })
            }
            End::Repeating => {
                let last = last.unwrap_or_else(|| Failure::plain(FailureClass::Rejected, "no attempt passed"));
                Some(Failure {
                    message: format!("the same failure came back again and again: {}", last.message),
                    ..last
                })
            }
        }
    }

    /// Appends an entry of this run.
    pub(super) fn journal(
        &mut self,
        phase: Phase,
        kind: &'static str,
        attempt: Option<u32>,
        body: Value,
    ) -> Result<(), JournalError> {
        let run = self.id;
        self.journal
            .append(&Entry {
                run,
                phase,
                kind,
                attempt,
                body,
            })
            .map(|_| ())
    }
}

/// The summary as an entry's body. One that is larger than an entry may be leaves out the commands, whose output is in
/// the artifacts, and then the reasons.
pub(super) fn bounded(summary: &Summary) -> Value {
    let fits = |value: &Value| value.to_string().len() <= MAX_BODY_BYTES;
    let whole = json!(summary);
    if fits(&whole) {
        return whole;
    }
    let mut short = summary.clone();
    for attempt in &mut short.attempts {
        attempt.commands.clear();
        attempt.files.clear();
    }
    let shorter = json!(short);
    if fits(&shorter) {
        return shorter;
    }
    for attempt in &mut short.attempts {
        attempt.reason = None;
    }
    short.title.clear();
    if let Some(problem) = &mut short.problem {
        problem.causes.clear();
        problem.message = crate::types::truncate(&problem.message, 10_000);
    }
    json!(short)
}

/// The host's clock, in milliseconds since 1970-01-01 UTC.
pub(super) fn now_ms() -> u64 {
    milliseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// A length of time as it is recorded and told.
pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
