//! What tokens cost: a dated table that an operator can overrule, and integer sums over it.
//!
//! - A price that is not known is an error where money is limited, and never nothing.
//! - Sums are rounded up to the next nano-dollar.
//! - A model is found by its name, or by its name without the date of its snapshot; never by a mere beginning, because
//!   `m-pro` costs more than `m`.

use super::Usage;
use crate::types::{FailureClass, NanoUsd, Problem, escape_control};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The table that is built in.
const BUILT_IN: &str = include_str!("prices.toml");

/// The one version of the format.
const SCHEMA: u32 = 1;

/// Tokens that prices are given for.
const MILLION: u128 = 1_000_000;

/// What a million tokens of one model cost, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    input: NanoUsd,
    cached_input: NanoUsd,
    output: NanoUsd,
    reasoning: NanoUsd,
}

impl Price {
    /// What a call cost.
    pub fn cost(&self, usage: &Usage) -> NanoUsd {
        // A provider that contradicts itself is not given the benefit of it.
        let cached = usage.cached_input_tokens.min(usage.input_tokens);
        let reasoning = usage.reasoning_tokens.min(usage.output_tokens);
        sum([
            (self.input, usage.input_tokens - cached),
            (self.cached_input, cached),
            (self.output, usage.output_tokens - reasoning),
            (self.reasoning, reasoning),
        ])
    }

    /// The most that a call can cost with a prompt and an answer of at most so many tokens.
    pub fn ceiling(&self, input_tokens: u64, output_tokens: u64) -> NanoUsd {
        sum([
            (self.input.max(self.cached_input), input_tokens),
            (self.output.max(self.reasoning), output_tokens),
        ])
    }

    /// The longest answer, in tokens, with which a call with a prompt of `input_tokens` cannot cost more than `limit`.
    pub fn affordable_output(&self, input_tokens: u64, limit: NanoUsd) -> u64 {
        let input = u128::from(self.input.max(self.cached_input).0).saturating_mul(u128::from(input_tokens));
        let left = (u128::from(limit.0) * MILLION).saturating_sub(input);
        match u128::from(self.output.max(self.reasoning).0) {
            0 => u64::MAX,
            price => u64::try_from(left / price).unwrap_or(u64::MAX),
        }
    }
}

/// The sum of tokens at their prices, rounded up once.
fn sum<const N: usize>(parts: [(NanoUsd, u64); N]) -> NanoUsd {
    let millionths: u128 = parts
        .iter()
        .map(|(price, tokens)| u128::from(price.0).saturating_mul(u128::from(*tokens)))
        .fold(0, u128::saturating_add);
    NanoUsd(u64::try_from(millionths.div_ceil(MILLION)).unwrap_or(u64::MAX))
}

/// What models cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceTable {
    version: String,
    models: BTreeMap<String, Price>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    schema: u32,
    version: String,
    #[serde(default)]
    model: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    input: String,
    cached_input: Option<String>,
    output: String,
    reasoning: Option<String>,
}

impl PriceTable {
    /// The table that is built in.
    pub fn built_in() -> Self {
        PriceTable::parse(BUILT_IN).expect("the built-in table is valid")
    }

    /// Reads a table.
    ///
    /// # Errors
    /// `Policy` when a key is unknown or missing, a price is no amount, or a model stands there twice.
    pub fn parse(text: &str) -> Result<Self, PriceError> {
        let document: Document = toml::from_str(text).map_err(|error| PriceError::Syntax {
            line: error
                .span()
                .map_or(0, |span| 1 + text[..span.start].matches('\n').count()),
            reason: escape_control(error.message()),
        })?;
        if document.schema != SCHEMA {
            return Err(PriceError::Schema { found: document.schema });
        }
        let mut models = BTreeMap::new();
        for row in document.model {
            let price = row.price()?;
            if models.insert(row.name.clone(), price).is_some() {
                return Err(PriceError::Twice {
                    model: escape_control(&row.name),
                });
            }
        }
        Ok(PriceTable {
            version: document.version,
            models,
        })
    }

    /// This table, overruled by another one where that knows a model.
    #[must_use]
    pub fn overruled_by(mut self, other: PriceTable) -> Self {
        self.version = format!("{} over {}", other.version, self.version);
        self.models.extend(other.models);
        self
    }

    /// Which table it is, for records.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The price of a model, if it is known.
    pub fn find(&self, model: &str) -> Option<&Price> {
        self.models.get(model).or_else(|| self.models.get(without_date(model)?))
    }
}

impl Row {
    fn price(&self) -> Result<Price, PriceError> {
        let amount = |field: &'static str, text: &str| {
            text.parse().map_err(|_| PriceError::Amount {
                model: escape_control(&self.name),
                field,
                text: escape_control(text),
            })
        };
        let input = amount("input", &self.input)?;
        let output = amount("output", &self.output)?;
        let or = |field, text: &Option<String>, default| text.as_ref().map_or(Ok(default), |text| amount(field, text));
        Ok(Price {
            input,
            cached_input: or("cached_input", &self.cached_input, input)?,
            output,
            reasoning: or("reasoning", &self.reasoning, output)?,
        })
    }
}

/// The name of a model without the date of its snapshot: `-2026-01-31` or `-20260131`.
fn without_date(model: &str) -> Option<&str> {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let bytes = model.as_bytes();
    let dashed = |date: &[u8]| {
        date.iter().enumerate().all(|(place, byte)| {
            if matches!(place, 0 | 5 | 8) {
                *byte == b'-'
            } else {
                is_digit(byte)
            }
        })
    };
    let plain = |date: &[u8]| date[0] == b'-' && date[1..].iter().all(is_digit);
    for (length, is_date) in [(11, &dashed as &dyn Fn(&[u8]) -> bool), (9, &plain)] {
        if let Some(start) = bytes.len().checked_sub(length)
            && is_date(&bytes[start..])
        {
            return model.get(..start);
        }
    }
    None
}

/// A table of prices that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PriceError {
    /// It is no TOML, or has a key that is unknown or lacks one.
    #[error("line {line} of the price table: {reason}")]
    Syntax {
        /// The line.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Its format is another one.
    #[error("the price table has format {found}, and format {SCHEMA} is wanted")]
    Schema {
        /// Its format.
        found: u32,
    },
    /// A price is no amount of dollars.
    #[error("`{text}` is not what a million tokens can cost: {field} of {model}")]
    Amount {
        /// The model.
        model: String,
        /// The kind of tokens.
        field: &'static str,
        /// What stands there.
        text: String,
    },
    /// Two prices for one model.
    #[error("the price table has {model} twice")]
    Twice {
        /// The model.
        model: String,
    },
}

impl Problem for PriceError {
    fn class(&self) -> FailureClass {
        FailureClass::Policy
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            PriceError::Syntax { .. } => "see docs/budget.md for the keys of a price table".to_owned(),
            PriceError::Schema { .. } => format!("write `schema = {SCHEMA}`"),
            PriceError::Amount { .. } => "write dollars as a text, such as \"2.50\"".to_owned(),
            PriceError::Twice { .. } => "remove one of them".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TABLE: &str = "schema = 1\nversion = \"t\"\n[[model]]\nname = \"m\"\ninput = \"1.25\"\ncached_input = \"0.125\"\noutput = \"10\"\n";

    fn usage(input: u64, cached: u64, output: u64, reasoning: u64) -> Usage {
        Usage {
            input_tokens: input,
            output_tokens: output,
            cached_input_tokens: cached,
            reasoning_tokens: reasoning,
        }
    }

    #[test]
    fn a_call_costs_its_tokens_at_their_prices_rounded_up() {
        let table = PriceTable::parse(TABLE).unwrap();
        let price = table.find("m").unwrap();
        // 1000 × 1.25 + 9000 × 0.125 + 500 × 10 dollars for a million.
        assert_eq!(price.cost(&usage(10_000, 9_000, 500, 200)).to_string(), "$0.007375");
        assert_eq!(price.cost(&usage(1, 1, 0, 0)), NanoUsd(125));
        assert_eq!(price.cost(&usage(0, 0, 0, 0)), NanoUsd::ZERO);
        // More cached than there is of it is all of it.
        assert_eq!(price.cost(&usage(1, 99, 0, 99)), NanoUsd(125));
        assert_eq!(price.ceiling(u64::MAX, u64::MAX), NanoUsd(u64::MAX));
        let odd = PriceTable::parse(&TABLE.replace("0.125", "0.0375")).unwrap();
        assert_eq!(odd.find("m").unwrap().cost(&usage(1, 1, 0, 0)), NanoUsd(38));
    }

    #[test]
    fn a_model_is_found_by_its_name_with_or_without_a_date_and_in_no_other_way() {
        let table = PriceTable::parse(TABLE).unwrap();
        for known in ["m", "m-2026-01-31", "m-20260131"] {
            assert!(table.find(known).is_some(), "{known}");
        }
        for unknown in [
            "",
            "M",
            "m-pro",
            "m-2026",
            "m-latest",
            "n",
            "m-2026-01-3x",
            "xm",
            "-20260131",
        ] {
            assert!(table.find(unknown).is_none(), "{unknown}");
        }
    }

    #[test]
    fn a_table_of_the_operator_overrules_the_built_in_one() {
        let table = PriceTable::built_in();
        assert!(table.find("gpt-5.2").is_some());
        let own = PriceTable::parse(&TABLE.replace("\"m\"", "\"gpt-5.2\"")).unwrap();
        let both = table.clone().overruled_by(own);
        assert_ne!(both.find("gpt-5.2"), table.find("gpt-5.2"));
        assert_eq!(both.find("gpt-4o"), table.find("gpt-4o"));
        assert_eq!(both.version(), format!("t over {}", table.version()));
    }

    #[test]
    fn a_typo_in_a_table_is_named_with_its_line() {
        let wrong = |from: &str, to: &str| PriceTable::parse(&TABLE.replace(from, to)).unwrap_err();
        let error = wrong("cached_input", "cached_imput");
        assert!(
            matches!(&error, PriceError::Syntax { line: 6, reason } if reason.contains("cached_imput")),
            "{error}"
        );
        assert!(matches!(
            wrong("\"10\"", "\"ten\""),
            PriceError::Amount { field: "output", .. }
        ));
        assert!(matches!(wrong("\"10\"", "10"), PriceError::Syntax { line: 7, .. }));
        assert_eq!(wrong("schema = 1", "schema = 2"), PriceError::Schema { found: 2 });
        let twice = format!("{TABLE}[[model]]\nname = \"m\"\ninput = \"1\"\noutput = \"1\"\n");
        assert_eq!(
            PriceTable::parse(&twice),
            Err(PriceError::Twice { model: "m".to_owned() })
        );
    }

    proptest! {
        #[test]
        fn no_call_within_its_bounds_costs_more_than_its_ceiling(
            input in 0u64..1 << 40,
            output in 0u64..1 << 40,
            cached in any::<u64>(),
            reasoning in any::<u64>(),
            prices in any::<[u32; 4]>(),
        ) {
            let [a, b, c, d] = prices.map(|price| NanoUsd(price.into()));
            let price = Price { input: a, cached_input: b, output: c, reasoning: d };
            prop_assert!(price.cost(&usage(input, cached, output, reasoning)) <= price.ceiling(input, output));
        }

        #[test]
        fn an_affordable_answer_is_afforded(input in 0u64..1 << 30, limit in any::<u64>(), prices in any::<[u32; 2]>()) {
            let [a, b] = prices.map(|price| NanoUsd(price.into()));
            let price = Price { input: a, cached_input: a, output: b, reasoning: b };
            let limit = NanoUsd(limit);
            prop_assume!(price.ceiling(input, 0) <= limit);
            let longest = price.affordable_output(input, limit).min(1 << 40);
            prop_assert!(price.ceiling(input, longest) <= limit);
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = PriceTable::parse(&text);
            let _ = without_date(&text);
        }
    }
}
