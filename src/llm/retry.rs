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

/// The headers by which servers tell when a limit is full again, each with the one that tells what is left of it.
///
/// Sources: OpenAI's guide to rate limits, "Rate limits in headers"; Anthropic's API reference, "Rate limits", "Response
/// headers". `x-ratelimit-reset` alone is what many gateways send.
const RESETS: [(&str, &str); 7] = [
    ("x-ratelimit-reset-requests", "x-ratelimit-remaining-requests"),
    ("x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens"),
    ("x-ratelimit-reset", "x-ratelimit-remaining"),
    (
        "anthropic-ratelimit-requests-reset",
        "anthropic-ratelimit-requests-remaining",
    ),
    (
        "anthropic-ratelimit-tokens-reset",
        "anthropic-ratelimit-tokens-remaining",
    ),
    (
        "anthropic-ratelimit-input-tokens-reset",
        "anthropic-ratelimit-input-tokens-remaining",
    ),
    (
        "anthropic-ratelimit-output-tokens-reset",
        "anthropic-ratelimit-output-tokens-remaining",
    ),
];

/// The wait that the headers of an answer with this status ask for. Dates are read by the server's own clock if it shows one.
pub(super) fn wanted_wait(status: u16, header: &dyn Fn(&str) -> Option<String>) -> Option<Duration> {
    let date = header("date").and_then(|date| parse_http_date(&date));
    let now = date.unwrap_or_else(SystemTime::now);
    // Only the first two ask; the others tell, and tell it with every answer.
    let asked = header("retry-after-ms")
        .and_then(|value| Some(parse_seconds(value.trim())? / 1000))
        .or_else(|| parse_retry_after(&header("retry-after")?, now));
    asked.map(|wait| wait.min(LONGEST)).or_else(|| match status {
        429 | 503 | 529 => reset(header, now),
        _ => None,
    })
}

/// How long until what is used up is there again. When the server does not say what that is, the first limit that is reset.
fn reset(header: &dyn Fn(&str) -> Option<String>, now: SystemTime) -> Option<Duration> {
    let resets = RESETS.iter().filter_map(|(reset, remaining)| {
        let is_used_up = header(remaining).is_some_and(|remaining| remaining.trim() == "0");
        Some((is_used_up, parse_reset(header(reset)?.trim(), now)?))
    });
    let resets: Vec<(bool, Duration)> = resets.collect();
    let used_up = resets.iter().filter(|(is_used_up, _)| *is_used_up);
    let wait = used_up.map(|(_, wait)| *wait).max();
    wait.or_else(|| resets.iter().map(|(_, wait)| *wait).min())
}

/// Seconds, a time since 1970 in seconds or milliseconds, a length such as `6m0.5s`, or a date.
fn parse_reset(text: &str, now: SystemTime) -> Option<Duration> {
    /// More seconds than anybody waits; such a number is a time.
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    /// More than a time in seconds will be for a long time; such a number counts milliseconds.
    const MILLISECONDS: u64 = 100_000_000_000;
    let until = |time: SystemTime| time.duration_since(now).unwrap_or_default();
    let wait = match parse_seconds(text) {
        Some(number) if number.as_secs() >= MILLISECONDS => until(SystemTime::UNIX_EPOCH + number / 1000),
        Some(number) if number >= YEAR => until(SystemTime::UNIX_EPOCH + number),
        Some(number) => number,
        None => match parse_length(text) {
            Some(length) => length,
            None => until(
                text.parse::<Timestamp>()
                    .ok()
                    .map(SystemTime::from)
                    .or_else(|| parse_http_date(text))?,
            ),
        },
    };
    Some(wait.min(LONGEST))
}

/// A length of time as Go prints it.
fn parse_length(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 6] = [
        ("ms", 1e-3),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ns", 1e-9),
        ("h", 3600.0),
        ("m", 60.0),
    ];
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let number = parse_seconds(&rest[..digits])?.as_secs_f64();
        rest = &rest[digits..];
        let unit = UNITS
            .iter()
            .chain([&("s", 1.0)])
            .find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.0.len()..];
        let part = Duration::try_from_secs_f64(number * unit.1).unwrap_or(LONGEST);
        sum = sum.saturating_add(part);
    }
    (!text.is_empty()).then_some(sum)
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
    fn every_header_for_a_wait_is_understood() {
        let used_up = ("x-ratelimit-remaining-tokens", "0");
        for (headers, wait) in [
            (vec![("retry-after-ms", "1500")], Some(1.5)),
            (vec![("retry-after-ms", "250"), ("retry-after", "1")], Some(0.25)),
            (vec![("retry-after-ms", "soon"), ("retry-after", "1")], Some(1.0)),
            (vec![("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")], Some(30.0)),
            (
                vec![("retry-after", "2"), ("x-ratelimit-reset-tokens", "6m0s")],
                Some(2.0),
            ),
            (
                vec![
                    ("x-ratelimit-reset-requests", "1s"),
                    ("x-ratelimit-reset-tokens", "6m0s"),
                    used_up,
                ],
                Some(360.0),
            ),
            (
                vec![
                    ("x-ratelimit-reset-requests", "1s"),
                    ("x-ratelimit-reset-tokens", "6m0s"),
                ],
                Some(1.0),
            ),
            (vec![("x-ratelimit-reset-requests", "20ms")], Some(0.02)),
            (vec![("x-ratelimit-reset-requests", "1h2m3.5s")], Some(3723.5)),
            (vec![("x-ratelimit-reset", "7")], Some(7.0)),
            (vec![("x-ratelimit-reset", "784111787")], Some(10.0)),
            (vec![("x-ratelimit-reset", "784111787000")], Some(10.0)),
            (
                vec![("anthropic-ratelimit-tokens-reset", "1994-11-06T08:50:37Z")],
                Some(60.0),
            ),
            (
                vec![("anthropic-ratelimit-requests-reset", "1994-11-06T08:49:00Z")],
                Some(0.0),
            ),
            (vec![("x-ratelimit-reset-requests", "9999h")], Some(86_400.0)),
            (vec![("x-ratelimit-reset-requests", "5parsecs")], None),
            (vec![("x-ratelimit-reset-requests", "s")], None),
            (vec![("x-ratelimit-reset-requests", "")], None),
            (vec![], None),
        ] {
            let header = |name: &str| {
                let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
                let mut all = headers.iter().chain([&date]);
                all.find(|(known, _)| *known == name)
                    .map(|(_, value)| (*value).to_owned())
            };
            let expected = wait.map(Duration::from_secs_f64);
            assert_eq!(wanted_wait(429, &header), expected, "{headers:?}");
        }
    }

    #[test]
    fn a_limit_that_is_told_with_an_error_of_another_kind_is_not_waited_for() {
        let header = |name: &str| (name == "x-ratelimit-reset-requests").then(|| "1s".to_owned());
        assert_eq!(wanted_wait(401, &header), None);
        assert!(wanted_wait(503, &header).is_some());
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
