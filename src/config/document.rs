//! The settings file as it is written: TOML of which every key is known, each value with its place in the text.

use super::file::{FileError, Source};
use crate::types::NanoUsd;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use toml::Spanned;

/// The one version of the format.
const SCHEMA: u32 = 1;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Document {
    pub(super) schema: Option<Spanned<u32>>,
    pub(super) provider: Option<Spanned<String>>,
    pub(super) model: Option<Spanned<String>>,
    pub(super) base_url: Option<Spanned<String>>,
    pub(super) api_key_file: Option<Spanned<String>>,
    pub(super) api_key_env: Option<Spanned<String>>,
    pub(super) ca_file: Option<Spanned<String>>,
    pub(super) provider_options: BTreeMap<String, Spanned<OptionValue>>,
    pub(super) provider_headers: BTreeMap<String, Spanned<HeaderTable>>,
    pub(super) providers: BTreeMap<String, Spanned<ProviderTable>>,
    pub(super) proxies: ProxiesTable,
    pub(super) profile: Option<Spanned<String>>,
    pub(super) state_dir: Option<Spanned<String>>,
    pub(super) cache_dir: Option<Spanned<String>>,
    pub(super) artifacts: Option<Spanned<String>>,
    pub(super) prices: Option<Spanned<String>>,
    pub(super) budget: BudgetTable,
    pub(super) max_attempts: Option<Spanned<u32>>,
    pub(super) provider_tries: Option<Spanned<u32>>,
    pub(super) one_shot: Option<Spanned<bool>>,
    pub(super) timeout: Option<Spanned<String>>,
    pub(super) wait: Option<Spanned<String>>,
    pub(super) keep: Option<Spanned<String>>,
    pub(super) disk_floor: Option<Spanned<String>>,
    pub(super) protected_branches: Vec<Spanned<String>>,
    pub(super) allow_context: Vec<Spanned<String>>,
    pub(super) log: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table, such as { provider = \"openai\", model = \"NAME\" }"
)]
pub(super) struct ProviderTable {
    pub(super) provider: Option<Spanned<String>>,
    pub(super) model: Option<Spanned<String>>,
    pub(super) base_url: Option<Spanned<String>>,
    pub(super) api_key_file: Option<Spanned<String>>,
    pub(super) api_key_env: Option<Spanned<String>>,
    pub(super) ca_file: Option<Spanned<String>>,
    pub(super) options: BTreeMap<String, Spanned<OptionValue>>,
    pub(super) headers: BTreeMap<String, Spanned<HeaderTable>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table, { env = \"VARIABLE\" } or { file = \"/path\" }"
)]
pub(super) struct HeaderTable {
    pub(super) env: Option<Spanned<String>>,
    pub(super) file: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table, such as { https = \"http://proxy:3128\" }"
)]
pub(super) struct ProxiesTable {
    pub(super) https: Option<Spanned<String>>,
    pub(super) http: Option<Spanned<String>>,
    pub(super) all: Option<Spanned<String>>,
    pub(super) except: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table, such as { day = { usd = \"20\" } }"
)]
pub(super) struct BudgetTable {
    pub(super) call: CapTable,
    pub(super) attempt: CapTable,
    pub(super) order: CapTable,
    pub(super) plan: CapTable,
    pub(super) day: CapTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table, such as { usd = \"2.50\", tokens = 300000 }"
)]
pub(super) struct CapTable {
    pub(super) usd: Option<Spanned<Dollars>>,
    pub(super) tokens: Option<Spanned<u64>>,
}

/// An amount of money: text, or a whole number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dollars(pub(super) NanoUsd);

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Amount;
        impl Visitor<'_> for Amount {
            type Value = Dollars;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("dollars as text, as in \"2.50\", so that they are exact")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Dollars, E> {
                let wrong = |_| E::custom("it is not an amount of dollars, such as \"2.50\"");
                text.parse().map(Dollars).map_err(wrong)
            }

            fn visit_i64<E: Error>(self, whole: i64) -> Result<Dollars, E> {
                self.visit_str(&whole.to_string())
            }
        }
        deserializer.deserialize_any(Amount)
    }
}

/// The value of an option: text, or a whole number.
#[derive(Debug, Clone)]
pub(super) struct OptionValue(pub(super) String);

impl<'de> Deserialize<'de> for OptionValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrNumber;
        impl Visitor<'_> for TextOrNumber {
            type Value = OptionValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or a whole number")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<OptionValue, E> {
                Ok(OptionValue(text.to_owned()))
            }

            fn visit_i64<E: Error>(self, whole: i64) -> Result<OptionValue, E> {
                Ok(OptionValue(whole.to_string()))
            }
        }
        deserializer.deserialize_any(TextOrNumber)
    }
}

/// Reads the text.
pub(super) fn parse(source: &Source) -> Result<Document, FileError> {
    source.refuse_credentials()?;
    let document: Document = toml::from_str(&source.text).map_err(|error| source.malformed(&error))?;
    match &document.schema {
        Some(schema) if *schema.get_ref() != SCHEMA => {
            let what = format!("`schema` {} is not known", schema.get_ref());
            Err(source.invalid(schema.span(), what, format!("this version reads schema {SCHEMA}")))
        }
        _ => Ok(document),
    }
}
