//! Parked runs: those that wait, over crashes too, until the provider's limit on requests is over.
//!
//! - A wait that is longer than a run's patience is recorded before it begins, with the time at which it ends. Whoever asks
//!   the same provider for the same model meanwhile, after a crash or in another run, waits for that time as well instead
//!   of asking in vain.
//! - The time is that of the host's clock: a host that sleeps does not wait longer for it.

use super::engine::{milliseconds, now_ms};
use super::failure::{Failure, interrupted};
use super::ground::Cancel;
use super::past::latest;
use crate::journal::{Journal, JournalError};
use crate::llm::Provider;
use crate::types::{FailureClass, Sha256};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// The entry by which a run, or a planner's, is parked.
pub(super) const PARKED: &str = "run.parked";

/// The entry by which it goes on.
pub(super) const RESUMED: &str = "run.resumed";

/// How often a parked run looks at the clock, which may have been set or gone on while the host slept.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The longest wait that counts, whatever a record says: no server's is longer (see [`crate::llm::parse_retry_after`]).
const LONGEST_MS: u64 = 24 * 60 * 60 * 1000;

/// The body of the entry [`PARKED`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Parked {
    /// The provider and the model.
    pub(super) key: Sha256,
    /// Until when, in milliseconds since 1970-01-01 UTC.
    pub(super) until_ms: u64,
    /// Why.
    pub(super) reason: String,
}

/// A provider's limit on requests for a model, as whoever asks meets it.
#[derive(Debug)]
pub(super) struct Limit {
    key: Sha256,
    /// What an operator does about it, as in "run the order again".
    again: &'static str,
}

impl Limit {
    pub(super) fn of(provider: &Provider, model: Option<&str>, again: &'static str) -> Self {
        let (identity, model) = (provider.identity(), model.unwrap_or_default());
        let key = Sha256::of(format!("limit of\u{0}{identity}\u{0}{model}").as_bytes());
        Limit { key, again }
    }

    /// What is left of a wait that was recorded, and why nothing is asked before; nothing when it is over, or none was.
    pub(super) fn left(&self, journal: &Journal) -> Result<Option<(Duration, Failure)>, JournalError> {
        let left = self.left_at(journal, now_ms())?;
        Ok(left.map(|(left, until_ms)| {
            let told = format!(
                "the provider limits requests; an earlier run was told to wait until {}",
                time(until_ms)
            );
            let failure = Failure::plain(FailureClass::ProviderTransient, told);
            (
                left,
                failure.with_hint(format!("{} then; --fresh asks at once", self.again)),
            )
        }))
    }

    fn left_at(&self, journal: &Journal, now_ms: u64) -> Result<Option<(Duration, u64)>, JournalError> {
        let entry = latest(journal, PARKED, self.key, 0)?;
        let parked = entry.and_then(|entry| Parked::deserialize(&entry.body).ok());
        Ok(parked.and_then(|Parked { until_ms, .. }| {
            let left = until_ms.checked_sub(now_ms).filter(|left| *left > 0)?;
            // A clock that was set back, or a record from elsewhere, parks nobody for years.
            (left <= LONGEST_MS).then_some((Duration::from_millis(left), until_ms))
        }))
    }

    /// The record of a wait that begins now.
    pub(super) fn park(&self, delay: Duration, reason: &Failure) -> Parked {
        Parked {
            key: self.key,
            until_ms: now_ms() + milliseconds(delay),
            reason: reason.sentence(),
        }
    }

    /// The failure of a run that does not wait for a limit itself.
    pub(super) fn leave(&self, parked: &Parked, failure: Failure) -> Failure {
        failure.with_hint(format!(
            "{} after {}, when the provider's limit is over; nothing is asked before",
            self.again,
            time(parked.until_ms)
        ))
    }
}

/// Waits until a time, or for the operator's signal.
pub(super) async fn until(until_ms: u64, cancel: &mut Cancel) -> Result<(), Failure> {
    // Whatever happens to the clock meanwhile: nobody waits for longer than the longest wait.
    let end = Instant::now() + Duration::from_millis(until_ms.saturating_sub(now_ms()).min(LONGEST_MS));
    while let Some(left) = until_ms.checked_sub(now_ms()).filter(|left| *left > 0)
        && Instant::now() < end
    {
        tokio::select! {
            biased;
            signal = cancel.wait() => return Err(interrupted(signal)),
            () = tokio::time::sleep(Duration::from_millis(left).min(LOOK_EVERY)) => {}
        }
    }
    Ok(())
}

/// A time of the host's clock, for people.
fn time(ms: u64) -> String {
    i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| format!("{ms} ms"), |time| time.strftime("%F %T UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Entry, Phase};
    use crate::types::RunId;

    fn parked(journal: &mut Journal, key: Sha256, until_ms: u64) {
        let reason = "busy".to_owned();
        let body = serde_json::to_value(Parked { key, until_ms, reason }).unwrap();
        let entry = Entry {
            run: RunId::new(ulid::Ulid(1)),
            phase: Phase::Fact,
            kind: PARKED,
            attempt: Some(1),
            body,
        };
        journal.append(&entry).unwrap();
    }

    fn limit(program: &str, model: Option<&str>) -> Limit {
        Limit::of(&Provider::command([program]).unwrap(), model, "again")
    }

    #[test]
    fn the_latest_wait_of_the_same_provider_counts_until_it_is_over() {
        let place = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(place.path()).unwrap();
        let (ours, theirs) = (limit("ours", None), limit("theirs", None));
        let left = |journal: &Journal, now| ours.left_at(journal, now).unwrap().map(|(left, _)| left);
        assert_eq!(left(&journal, 0), None);
        parked(&mut journal, ours.key, 9_000);
        parked(&mut journal, ours.key, 5_000);
        parked(&mut journal, theirs.key, 7_000);
        for (now, expected) in [(1_000, Some(4)), (5_000, None), (6_000, None)] {
            assert_eq!(left(&journal, now), expected.map(Duration::from_secs), "{now}");
        }
        parked(&mut journal, ours.key, LONGEST_MS + 1);
        assert_eq!(left(&journal, 0), None);
        assert!(left(&journal, 1).is_some());
    }

    #[test]
    fn a_limit_is_one_of_a_provider_and_a_model() {
        let limits = [("a", Some("m")), ("a", Some("n")), ("b", Some("m")), ("a", None)];
        let keys = limits.map(|(program, model)| limit(program, model).key.to_string());
        let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }
}
