//! Asking a model, for proposals and for plans: the only place where a request is paid for.
//!
//! - A request is announced together with the most that it can cost, in one step of the journal, before it is sent.
//! - What is answered is stored and settled before anybody makes anything of it, and so is that nothing was.
//! - What was answered before is not asked again, and nobody asks before a limit of the provider is over.
//!
//! It does not know what is asked for, what is told of it, or what follows from it.

use super::answers::{Kinds, Said, recorded};
use super::budget::{self, About, Budget};
use super::engine::now_ms;
use super::failure::{Failure, Situation, interrupted};
use super::ground::Cancel;
use super::park::{self, Limit, PARKED, Parked, RESUMED};
use super::past::unreadable;
use super::state::{Patience, Rules, rest};
use super::summary::UsageSummary;
use crate::journal::{Entry, Journal, Phase};
use crate::llm::{Answer, LlmError, Provider, Request, backoff, request_digest};
use crate::types::{FailureClass, RunId, Sha256};
use serde_json::{Value, json};
use std::time::Duration;

/// An attempt of a run as it asks: what it has, lent for one step.
pub(super) struct Asking<'a> {
    pub(super) journal: &'a mut Journal,
    pub(super) provider: &'a mut Provider,
    pub(super) cancel: &'a mut Cancel,
    pub(super) usage: &'a mut UsageSummary,
    pub(super) budget: &'a Budget,
    pub(super) rules: &'a Rules,
    pub(super) kinds: &'static Kinds,
    pub(super) run: RunId,
    pub(super) attempt: u32,
    /// Empty when it is asked for a plan.
    pub(super) order_id: &'a str,
    /// The plan that the order belongs to, or that is made.
    pub(super) plan: Option<String>,
    pub(super) model: Option<&'a str>,
    /// Entries before this place are not used again.
    pub(super) since: u64,
    /// Whether to ask whatever is recorded.
    pub(super) fresh: bool,
}

/// A request, and what recognises it.
pub(super) struct Question {
    pub(super) request: Request,
    pub(super) digest: Sha256,
    /// The request and who is asked.
    key: Sha256,
}

/// The provider is to be asked again, but not yet.
pub(super) struct Later {
    /// Why, as it is told when nobody waits for that.
    pub(super) failure: Failure,
    pub(super) delay: Duration,
    /// Whether it limits requests, or else fails in passing.
    pub(super) is_limit: bool,
}

/// What came of a request.
pub(super) enum Asked {
    Said(Said),
    Later(Later),
}

impl Question {
    pub(super) fn new(request: Request, provider: &Provider) -> Self {
        let digest = request_digest(&request);
        let key = Sha256::of(format!("{}\u{0}{digest}", provider.identity()).as_bytes());
        Question { request, digest, key }
    }
}

impl Asking<'_> {
    /// What was answered to the same request before, and to which run; nothing when it has to be sent.
    pub(super) fn recall(&mut self, question: &Question) -> Result<Option<(RunId, Said)>, Failure> {
        let found = recorded(self.journal, self.kinds, question.key, self.since);
        let Some((from, said)) = found.map_err(unreadable)? else {
            return Ok(None);
        };
        self.provider.pass_over(&question.request);
        self.usage.recalled += 1;
        let fact = json!({ "key": question.key, "request": question.digest, "from": from });
        self.record(self.kinds.recalled, fact)?;
        Ok(Some((from, said)))
    }

    /// What is left of the time that an earlier run was told to wait: asking before is in vain.
    pub(super) fn still_limited(&self) -> Result<Option<Later>, Failure> {
        if self.fresh {
            return Ok(None);
        }
        let left = self.limit().left(self.journal).map_err(unreadable)?;
        Ok(left.map(|(delay, failure)| Later {
            failure,
            delay,
            is_limit: true,
        }))
    }

    /// Announces a request together with the most that it can cost, and shortens its answer to what is affordable.
    pub(super) fn reserve(&mut self, question: &Question, patience: Patience) -> Result<Request, Failure> {
        let request = &question.request;
        let about = About {
            run: self.run,
            attempt: self.attempt,
            order_id: self.order_id,
            plan: self.plan.as_deref(),
            at_ms: now_ms(),
        };
        let bytes = u64::try_from(request.system.len() + request.user.len()).unwrap_or(u64::MAX);
        let wanted = request.max_output_tokens.unwrap_or(u32::MAX);
        let mut longest = wanted;
        let appended = self.journal.append_after(&budget::KINDS, |entries| {
            let calls = budget::calls(entries);
            let reservation = self
                .budget
                .reserve(&calls, &about, self.model, (bytes, wanted.into()))?;
            longest = u32::try_from(reservation.max_output_tokens).unwrap_or(wanted);
            Ok(Entry {
                run: self.run,
                phase: Phase::Intent,
                kind: self.kinds.request,
                attempt: Some(self.attempt),
                body: json!({
                    "key": question.key,
                    "request": question.digest,
                    "try": patience.failed + 1,
                    "reserved": reservation.ceiling,
                }),
            })
        });
        appended.map_err(unreadable)??;
        Ok(Request {
            max_output_tokens: Some(longest),
            ..request.clone()
        })
    }

    /// Sends a request that was announced, and waits for what comes of it, or for the operator's signal.
    pub(super) async fn send(&mut self, request: &Request) -> Result<Result<Answer, LlmError>, Failure> {
        tokio::select! {
            biased;
            signal = self.cancel.wait() => {
                self.provider.call_off().await;
                Err(interrupted(signal))
            }
            answered = self.provider.ask(request) => Ok(answered),
        }
    }

    /// Stores what came of a request, and settles what it cost.
    ///
    /// # Errors
    /// Why there is no answer, when asking again is in vain.
    pub(super) fn settle(
        &mut self,
        question: &Question,
        sent: &Request,
        patience: Patience,
        answered: Result<Answer, LlmError>,
    ) -> Result<Asked, Failure> {
        match answered {
            Ok(answer) => {
                self.store(question, sent, &answer)?;
                Ok(Asked::Said(Said::Answer(answer)))
            }
            Err(error) => self.unanswered(question, patience, &error),
        }
    }

    fn store(&mut self, question: &Question, sent: &Request, answer: &Answer) -> Result<(), Failure> {
        let said = (sent.system.len() + sent.user.len(), answer.text.len());
        let most = self.provider.most_output(sent);
        let settled = self.budget.settle(self.model, answer.usage.as_ref(), said, most);
        self.usage.count(&settled);
        let fact = json!({
            "key": question.key,
            "request": question.digest,
            "answer": self.journal.put_blob(&answer.raw).map_err(unreadable)?,
            "text": self.journal.put_blob(answer.text.as_bytes()).map_err(unreadable)?,
            "model": answer.model,
            "finish": answer.finish,
            "usage": answer.usage,
            "settled": settled,
        });
        let usage = answer.usage.unwrap_or_default();
        self.usage.answers += 1;
        self.usage.input_tokens += usage.input_tokens;
        self.usage.output_tokens += usage.output_tokens;
        self.record(self.kinds.answer, fact)
    }

    fn unanswered(&mut self, question: &Question, patience: Patience, error: &LlmError) -> Result<Asked, Failure> {
        let (usage, settled) = self.usage.count_failed(self.budget, self.model, error);
        let situation = if error.is_auth() {
            Situation::Auth
        } else {
            Situation::Plain
        };
        let mut failure = Failure::new(error, situation);
        let (key, request) = (question.key, question.digest);
        let fact = json!({ "key": key, "request": request, "problem": failure, "usage": usage, "settled": settled });
        self.record(self.kinds.unanswered, fact)?;
        match failure.class {
            // The provider did answer, with something that is no text.
            FailureClass::Proposal => return Ok(Asked::Said(Said::NoText(failure))),
            FailureClass::ProviderTransient => {}
            _ => return Err(failure),
        }
        let again = self.kinds.again;
        failure.hint.get_or_insert_with(|| format!("{again} later"));
        let delay = backoff(patience.failed + 1, error.retry_after(), random());
        let is_limit = error.is_limit();
        if is_limit && rest(self.rules, patience, delay, is_limit).is_none() {
            // The run ends here, and whoever starts the next one is to know when that makes sense.
            let parked = self.park(delay, &failure)?;
            failure = self.limit().leave(&parked, failure);
        }
        Ok(Asked::Later(Later {
            failure,
            delay,
            is_limit,
        }))
    }

    /// Records how long the provider is to be left alone, so that nobody asks before.
    pub(super) fn park(&mut self, delay: Duration, reason: &Failure) -> Result<Parked, Failure> {
        let parked = self.limit().park(delay, reason);
        self.record(PARKED, json!(parked))?;
        Ok(parked)
    }

    /// Waits until that is over, and records that it goes on.
    pub(super) async fn resume(&mut self, parked: &Parked) -> Result<(), Failure> {
        park::until(parked.until_ms, self.cancel).await?;
        self.record(RESUMED, json!({ "key": parked.key }))
    }

    /// Lets the provider recover, without a record.
    pub(super) async fn pause(&mut self, delay: Duration) -> Result<(), Failure> {
        tokio::select! {
            biased;
            signal = self.cancel.wait() => Err(interrupted(signal)),
            () = tokio::time::sleep(delay) => Ok(()),
        }
    }

    fn limit(&self) -> Limit {
        Limit::of(self.provider, self.model, self.kinds.again)
    }

    fn record(&mut self, kind: &'static str, body: Value) -> Result<(), Failure> {
        let entry = Entry {
            run: self.run,
            phase: Phase::Fact,
            kind,
            attempt: Some(self.attempt),
            body,
        };
        self.journal.append(&entry).map(drop).map_err(unreadable)
    }
}

/// Something that other runs on this host do not have as well.
fn random() -> u64 {
    // The lower 80 bits of a ULID are random; the cut to 64 of them is meant.
    let bits = ulid::Ulid::generate().random();
    u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0)
}
