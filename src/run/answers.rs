//! Answers that were paid for before, found again by what was asked.

use super::failure::Failure;
use super::past::latest;
use crate::journal::{Journal, JournalError, Recorded};
use crate::llm::{Answer, Finish};
use crate::types::{FailureClass, RunId, Sha256};
use serde::Deserialize;

/// What was said to a request.
#[derive(Debug)]
pub(super) enum Said {
    /// An answer.
    Answer(Answer),
    /// Something that is no text; why not.
    NoText(Failure),
}

/// The body of the entry `proposal.answer`, as far as it is used again.
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
pub(super) fn recorded(journal: &Journal, key: Sha256, since: u64) -> Result<Option<(RunId, Said)>, JournalError> {
    if let Some(entry) = latest(journal, "proposal.answer", key, since)?
        && let Some(answer) = answer(journal, &entry)?
    {
        return Ok(Some((entry.run, Said::Answer(answer))));
    }
    let unanswered = latest(journal, "proposal.unanswered", key, since)?;
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
