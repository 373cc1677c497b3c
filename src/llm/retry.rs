//! How long to wait before asking again.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::{rfc2822, strtime};
use jiff::tz::TimeZone;
use std::time::{Duration, SystemTime};

/// The bound of the first wait; it doubles with each failure.
const FIRST: Duration = Duration::from_secs(2);

/// The bound that doubling stops at.
const CAP: Duration = Duration::from_secs(60);

/// The longest wait that a server can ask for; whatever is beyond is for a person to look at.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How long to wait after the `attempt`-th failure in a row (from 1): anything from nothing to a bound that doubles from 2 s
/// to 60 s, as `random` decides, but never less than the server asked for.
///
/// `random` is uniform over all of `u64`. Full jitter keeps parallel runs from asking again all at once.
pub fn backoff(attempt: u32, retry_after: Option<Duration>, random: u64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    let bound = FIRST.saturating_mul(1 << doublings).min(CAP);
    let part = (u128::from(random) * bound.as_millis()) >> 64;
    // The bound is 60 000 ms at most, so the part of it fits.
    let jittered = Duration::from_millis(u64::try_from(part).unwrap_or(u64::MAX));
    jittered.max(retry_after.unwrap_or_default())
}

/// Reads the value of a `Retry-After` header: seconds (a fraction is tolerated) or a date, relative to `now`. A value that is
/// neither is no advice; a date gone by is no wait; more than a day is a day.
///
/// Source: RFC 9110, sections 10.2.3 (the header) and 5.6.7 (the three forms of a date).
pub fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim_matches([' ', '\t']);
    let wait = match parse_seconds(value) {
        Some(wait) => wait,
        None => parse_http_date(value)?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(LONGEST))
}

/// Reads a date in any form that HTTP allows.
pub(super) fn parse_http_date(text: &str) -> Option<SystemTime> {
    let preferred = || rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
    let obsolete = |format| {
        let date: DateTime = strtime::parse(format, text).ok()?.to_datetime().ok()?;
        date.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    };
    let timestamp: Timestamp = preferred()
        .or_else(|| obsolete("%A, %d-%b-%y %H:%M:%S GMT"))
        .or_else(|| obsolete("%a %b %e %H:%M:%S %Y"))?;
    Some(timestamp.into())
}

/// Plain digits with at most one point among them: no sign, no exponent, no `inf`.
fn parse_seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let seconds: f64 = text.parse().ok()?;
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1994-11-06 08:49:37 UTC, the date that RFC 9110 spells in three ways.
    fn example() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)
    }

    #[test]
    fn retry_after_is_read_in_seconds() {
        for (value, wait) in [
            ("0", Some(0.0)),
            ("10", Some(10.0)),
            (" 7\t", Some(7.0)),
            ("1.5", Some(1.5)),
            ("99999999999999999999999999", Some(86_400.0)),
        ] {
            assert_eq!(
                parse_retry_after(value, example()),
                wait.map(Duration::from_secs_f64),
                "{value}"
            );
        }
    }

    #[test]
    fn what_is_neither_seconds_nor_a_date_is_no_advice() {
        for value in [
            "",
            "soon",
            "-5",
            "+5",
            "1e3",
            "inf",
            "NaN",
            ".",
            "1.",
            ".5",
            "1.2.3",
            "5s",
            "Sun, 99 Nov 1994 08:49:37 GMT",
            "\u{661}",
        ] {
            assert_eq!(parse_retry_after(value, example()), None, "{value}");
        }
    }

    #[test]
    fn retry_after_is_read_as_a_date_in_the_three_forms_of_http() {
        for value in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            let earlier = example() - Duration::from_secs(90);
            assert_eq!(
                parse_retry_after(value, earlier),
                Some(Duration::from_secs(90)),
                "{value}"
            );
            let later = example() + Duration::from_secs(90);
            assert_eq!(parse_retry_after(value, later), Some(Duration::ZERO), "{value}");
            let long_before = example() - Duration::from_secs(1 << 30);
            assert_eq!(parse_retry_after(value, long_before), Some(LONGEST), "{value}");
        }
    }

    #[test]
    fn waits_grow_to_a_minute_and_never_undercut_the_server() {
        assert_eq!(backoff(1, None, u64::MAX), Duration::from_millis(1999));
        assert_eq!(backoff(3, None, u64::MAX / 2), Duration::from_millis(3999));
        assert_eq!(backoff(u32::MAX, None, u64::MAX), Duration::from_millis(59_999));
        assert_eq!(backoff(0, None, 0), Duration::ZERO);
        assert_eq!(
            backoff(1, Some(Duration::from_secs(300)), u64::MAX),
            Duration::from_secs(300)
        );
        assert_eq!(
            backoff(9, Some(Duration::from_secs(1)), u64::MAX),
            Duration::from_millis(59_999)
        );
    }
}
