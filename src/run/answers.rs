//! Answers: stored before they are used, and found again by what was asked. The same for proposals and for plans.

use super::failure::Failure;
use super::past::latest;
use crate::journal::{Journal, JournalError, Recorded};
use crate::llm::{Answer, Finish};
use crate::types::{FailureClass, RunId, Sha256};
use serde::Deserialize;

/// One sort of question: the kinds of the entries about it.
#[derive(Debug)]
pub(super) struct Kinds {
    /// Before it is sent.
    pub(super) request: &'static str,
    /// It was answered.
    pub(super) answer: &'static str,
    /// It was not.
    pub(super) unanswered: &'static str,
    /// It was answered before.
    pub(super) recalled: &'static str,
    /// What an operator does to have it asked again.
    pub(super) again: &'static str,
}

/// Those about proposals.
pub(super) const PROPOSAL: Kinds = Kinds {
    request: "proposal.request",
    answer: "proposal.answer",
    unanswered: "proposal.unanswered",
    recalled: "proposal.recalled",
    again: "run the order again",
};

/// Those about plans.
pub(super) const PLAN: Kinds = Kinds {
    request: "plan.request",
    answer: "plan.answer",
    unanswered: "plan.unanswered",
    recalled: "plan.recalled",
    again: "plan again",
};

/// Why an answer is not a whole one.
pub(super) fn unfinished(answer: &Answer) -> Option<Failure> {
    match answer.finish {
        Finish::Complete => None,
        Finish::Truncated => Some(
            Failure::plain(
                FailureClass::Proposal,
                "the answer was cut off by a limit on its length",
            )
            .with_hint("answer with less text: fewer or smaller files"),
        ),
        Finish::Refused => Some(Failure::plain(FailureClass::Proposal, "the model refused to answer")),
    }
}

/// What was said to a request.
#[derive(Debug)]
pub(super) enum Said {
    /// An answer.
    Answer(Answer),
    /// Something that is no text; why not.
    NoText(Failure),
}

/// The body of the entry [`Kinds::answer`], as far as it is used again.
#[derive(Deserialize)]
struct Stored {
    answer: Sha256,
    text: Sha256,
    model: Option<String>,
    finish: Finish,
}

/// What was said to a request last, at or after the place `since` of the journal, and by which run it was asked.
///
/// # Errors
/// When the journal cannot be read, or holds something else than what was stored.
pub(super) fn recorded(
    journal: &Journal,
    kinds: &Kinds,
    key: Sha256,
    since: u64,
) -> Result<Option<(RunId, Said)>, JournalError> {
    if let Some(entry) = latest(journal, kinds.answer, key, since)?
        && let Some(answer) = answer(journal, &entry)?
    {
        return Ok(Some((entry.run, Said::Answer(answer))));
    }
    let unanswered = latest(journal, kinds.unanswered, key, since)?;
    Ok(unanswered.and_then(|entry| Some((entry.run, Said::NoText(no_text(&entry)?)))))
}

/// The answer as it came. What it cost is counted where it was paid.
fn answer(journal: &Journal, entry: &Recorded) -> Result<Option<Answer>, JournalError> {
    let Ok(stored) = Stored::deserialize(&entry.body) else {
        return Ok(None);
    };
    let blob = |digest| match journal.blob(digest) {
        Ok(bytes) => Ok(Some(bytes)),
        // It was old enough to be thrown away.
        Err(JournalError::BlobMissing { .. }) => Ok(None),
        Err(error) => Err(error),
    };
    let (Some(raw), Some(text)) = (blob(stored.answer)?, blob(stored.text)?) else {
        return Ok(None);
    };
    Ok(String::from_utf8(text).ok().map(|text| Answer {
        text,
        raw,
        model: stored.model,
        usage: None,
        finish: stored.finish,
    }))
}

/// The provider did answer, with something that is no text: the same failure again.
fn no_text(entry: &Recorded) -> Option<Failure> {
    let failure = Failure::deserialize(entry.body.get("problem")?).ok()?;
    (failure.class == FailureClass::Proposal).then_some(failure)
}
