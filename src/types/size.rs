//! Sizes and durations as people write them: `4GiB`, `10m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes, written with binary units (`512`, `64KiB`, `1GiB`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// A text that is neither a size nor a duration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SizeError {
    /// Not a number followed by a binary unit.
    #[error("`{0}` is not a size: write a whole number and B, KiB, MiB, GiB or TiB, as in 512MiB")]
    Size(String),
    /// Not a number followed by a unit of time.
    #[error("`{0}` is not a duration: write a whole number and ms, s, m, h or d, as in 10m")]
    Duration(String),
}

const SIZE_UNITS: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl FromStr for Bytes {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let (number, factor) = SIZE_UNITS
            .iter()
            .find_map(|(unit, factor)| text.strip_suffix(unit).map(|number| (number, *factor)))
            .unwrap_or((text, 1));
        whole(number)
            .and_then(|number| number.checked_mul(factor))
            .map(Bytes)
            .ok_or_else(|| SizeError::Size(text.to_owned()))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |(_, factor): &&(&str, u64)| self.0 >= *factor && self.0.is_multiple_of(*factor);
        match SIZE_UNITS.iter().find(exact) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// Reads a duration such as `500ms`, `30s`, `10m`, `2h` or `30d`.
///
/// # Errors
/// When the text is not a whole number followed by one of those units.
pub fn parse_duration(text: &str) -> Result<Duration, SizeError> {
    [
        ("ms", 1),
        ("s", 1000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ]
    .iter()
    .find_map(|(unit, factor)| whole(text.strip_suffix(unit)?)?.checked_mul(*factor))
    .map(Duration::from_millis)
    .ok_or_else(|| SizeError::Duration(text.to_owned()))
}

/// Shows a duration in the unit that [`parse_duration`] reads back without loss, to the millisecond.
pub fn format_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    for (unit, factor) in [("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if ms >= factor && ms.is_multiple_of(factor) {
            return format!("{}{unit}", ms / factor);
        }
    }
    format!("{ms}ms")
}

/// A whole number in plain digits: no sign, no blanks, none of which `u64::from_str` alone would refuse.
fn whole(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

impl serde::Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_back_as_written() {
        for text in ["512B", "64KiB", "1GiB", "3TiB", "1023MiB"] {
            assert_eq!(
                text.parse::<Bytes>().map(|bytes| bytes.to_string()),
                Ok(text.to_owned())
            );
        }
        assert_eq!("4096".parse(), Ok(Bytes(4096)));
    }

    #[test]
    fn sizes_that_people_get_wrong_are_refused() {
        for text in ["", "GiB", "-1B", "+1B", "1 GiB", "1GB", "1.5GiB", "99999999TiB"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_read_back_as_written() {
        for text in ["500ms", "30s", "10m", "2h", "61s"] {
            assert_eq!(parse_duration(text).map(format_duration), Ok(text.to_owned()));
        }
        for text in ["", "10", "m", "-1s", "1w", "1.5h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
