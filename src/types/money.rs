//! Money: whole nano-dollars, so that sums are exact and no rounding is ever in somebody's favour by accident.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Nano-dollars in a dollar.
const DOLLAR: u64 = 1_000_000_000;

/// An amount of US dollars, in whole nano-dollars. Sums stop at the largest amount instead of wrapping around.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NanoUsd(pub u64);

impl NanoUsd {
    /// Nothing.
    pub const ZERO: NanoUsd = NanoUsd(0);

    /// The sum of both.
    #[must_use]
    pub const fn plus(self, other: NanoUsd) -> Self {
        NanoUsd(self.0.saturating_add(other.0))
    }

    /// What is left when `other` is taken away; nothing when that is more.
    #[must_use]
    pub const fn minus(self, other: NanoUsd) -> Self {
        NanoUsd(self.0.saturating_sub(other.0))
    }
}

impl std::iter::Sum for NanoUsd {
    fn sum<I: Iterator<Item = NanoUsd>>(amounts: I) -> Self {
        amounts.fold(NanoUsd::ZERO, NanoUsd::plus)
    }
}

/// A text that is no amount of money.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not an amount of dollars: write digits with at most nine after a point, as in 2.50")]
pub struct MoneyError(String);

impl FromStr for NanoUsd {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let wrong = || MoneyError(text.to_owned());
        let digits = text.strip_prefix('$').unwrap_or(text);
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !are_digits(whole) || !are_digits(part) || part.len() > 9 {
            return Err(wrong());
        }
        let whole: u64 = whole.parse().map_err(|_| wrong())?;
        let part: u64 = format!("{part:0<9}").parse().map_err(|_| wrong())?;
        let whole = whole.checked_mul(DOLLAR).ok_or_else(wrong)?;
        whole.checked_add(part).map(NanoUsd).ok_or_else(wrong)
    }
}

/// With as many digits as it has, but at least the cents.
impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = format!("{:09}", self.0 % DOLLAR);
        let part = part.trim_end_matches('0');
        write!(f, "${}.{part:0<2}", self.0 / DOLLAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_read_exactly_or_not_at_all() {
        for (text, nano) in [
            ("0", 0),
            ("2.50", 2_500_000_000),
            ("$2.5", 2_500_000_000),
            ("0.000000001", 1),
            ("18446744073.709551615", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(NanoUsd(nano)), "{text}");
        }
        for text in [
            "",
            "$",
            "-1",
            "+1",
            "1.",
            ".5",
            "1,5",
            "1e3",
            "0.0000000001",
            "18446744073.709551616",
            "1 ",
        ] {
            assert!(text.parse::<NanoUsd>().is_err(), "{text}");
        }
    }

    #[test]
    fn sums_stop_instead_of_wrapping() {
        assert_eq!(NanoUsd(u64::MAX).plus(NanoUsd(1)), NanoUsd(u64::MAX));
        assert_eq!(NanoUsd(1).minus(NanoUsd(2)), NanoUsd::ZERO);
    }

    proptest! {
        #[test]
        fn every_amount_reads_back_as_shown(nano in any::<u64>()) {
            prop_assert_eq!(NanoUsd(nano).to_string().parse(), Ok(NanoUsd(nano)));
        }
    }
}
