//! The link between two entries.

use crate::types::Sha256;

/// What stands for the hash of the entry before the first.
pub(super) const GENESIS: &str = "factory journal 1";

/// The fields of an entry that its hash covers, as stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link<'a> {
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
    /// later change in how JSON is written can break old chains.
    pub(super) fn hash(&self, previous: &str) -> Sha256 {
        let fields = serde_json::json!([
            previous,
            self.seq,
            self.at_ms,
            self.run,
            self.phase,
            self.kind,
            self.attempt,
            self.body
        ]);
        Sha256::of(fields.to_string().as_bytes())
    }
}
