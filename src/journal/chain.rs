//! The link between two entries.

use crate::types::Sha256;
use serde_json::json;

/// What stands for the hash of the entry before the first.
pub(super) const GENESIS: &str = "factory journal 1";

/// The fields of an entry that its hash covers, as stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link<'a> {
    pub(super) version: u32,
    pub(super) seq: u64,
    pub(super) at_ms: u64,
    pub(super) run: &'a str,
    pub(super) phase: &'a str,
    pub(super) kind: &'a str,
    pub(super) attempt: Option<u32>,
    pub(super) body: &'a str,
}

impl Link<'_> {
    /// The hash of this entry after the one with the hash `previous`.
    ///
    /// A JSON list keeps the fields apart whatever they contain. The body goes in as the text that is stored, so that no
    /// later change in how JSON is written can break old chains. Entries of version 1 were written before entries had
    /// versions, and are hashed as they were then.
    pub(super) fn hash(&self, previous: &str) -> Sha256 {
        let mut fields = vec![
            json!(previous),
            json!(self.seq),
            json!(self.at_ms),
            json!(self.run),
            json!(self.phase),
            json!(self.kind),
            json!(self.attempt),
            json!(self.body),
        ];
        if self.version > 1 {
            fields.push(json!(self.version));
        }
        Sha256::of(json!(fields).to_string().as_bytes())
    }
}
