//! Parked runs: those that wait, over crashes too, until the provider's limit on requests is over.
//!
//! - A wait that is longer than a run's patience is recorded before it begins, with the time at which it ends. Whoever asks
//!   the same provider for the same model meanwhile, after a crash or in another run, waits for that time as well instead
//!   of asking in vain.
//! - The time is that of the host's clock: a host that sleeps does not wait longer for it.

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

/// Recognises whom a limit is about.
pub(super) fn key(provider: &Provider, model: Option<&str>) -> Sha256 {
    let model = model.unwrap_or_default();
    Sha256::of(format!("limit of\u{0}{}\u{0}{model}", provider.identity()).as_bytes())
}

/// What is left of a wait that was recorded; nothing when it is over, or none was.
pub(super) fn left(journal: &Journal, key: Sha256, now_ms: u64) -> Result<Option<Duration>, JournalError> {
    let entry = latest(journal, PARKED, key, 0)?;
    let parked = entry.and_then(|entry| Parked::deserialize(&entry.body).ok());
    Ok(parked.and_then(|parked| {
        let left = parked.until_ms.checked_sub(now_ms).filter(|left| *left > 0)?;
        // A clock that was set back, or a record from elsewhere, parks nobody for years.
        (left <= LONGEST_MS).then_some(Duration::from_millis(left))
    }))
}

/// Why nothing is asked before a wait of an earlier run is over.
pub(super) fn still_limited(until_ms: u64, then: &str) -> Failure {
    Failure::plain(
        FailureClass::ProviderTransient,
        format!(
            "the provider limits requests; an earlier run was told to wait until {}",
            time(until_ms)
        ),
    )
    .with_hint(format!("{then} then; --fresh asks at once"))
}

/// What to do about a limit that nobody waits for here.
pub(super) fn come_back(until_ms: u64, then: &str) -> String {
    format!(
        "{then} after {}, when the provider's limit is over; nothing is asked before",
        time(until_ms)
    )
}

/// Waits until a time, or for the operator's signal.
pub(super) async fn until(until_ms: u64, now_ms: fn() -> u64, cancel: &mut Cancel) -> Result<(), Failure> {
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

    #[test]
    fn the_latest_wait_of_the_same_provider_counts_until_it_is_over() {
        let place = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(place.path()).unwrap();
        let (ours, theirs) = (Sha256::of(b"ours"), Sha256::of(b"theirs"));
        assert_eq!(left(&journal, ours, 0).unwrap(), None);
        parked(&mut journal, ours, 9_000);
        parked(&mut journal, ours, 5_000);
        parked(&mut journal, theirs, 7_000);
        for (now, expected) in [(1_000, Some(4)), (5_000, None), (6_000, None)] {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(left(&journal, ours, now).unwrap(), expected, "{now}");
        }
        parked(&mut journal, ours, LONGEST_MS + 1);
        assert_eq!(left(&journal, ours, 0).unwrap(), None);
        assert!(left(&journal, ours, 1).unwrap().is_some());
    }

    #[test]
    fn a_limit_is_one_of_a_provider_and_a_model() {
        let provider = |program: &str| Provider::command([program]).unwrap();
        let keys = [
            key(&provider("a"), Some("m")),
            key(&provider("a"), Some("n")),
            key(&provider("b"), Some("m")),
            key(&provider("a"), None),
        ];
        let distinct: std::collections::BTreeSet<_> = keys.iter().map(ToString::to_string).collect();
        assert_eq!(distinct.len(), keys.len());
    }
}
