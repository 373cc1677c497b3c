//! Work order → change set: the prompt, the parsing of the answer, and the check against the order and the base.
//!
//! - The answer is hostile: it is bounded before it is read, and nothing in it is repaired or guessed.
//! - Every refusal says all that is wrong at once, in words that can be handed back as the reason for the next attempt.
//! - A change set that passed [`check`] changes only files that the order allows, each on the bytes that the model saw, and
//!   holds final bytes: edits are made there, and nowhere later.
//! - Credentials and symbolic links are not shown, whatever the order names.
//! - Nothing here asks a model, reads a file or writes one: the base is reached through a function of the caller.

mod answer;
mod check;
mod context;
mod draft;
mod edits;
mod exposure;
mod operations;
mod prompt;
pub mod schema;
mod scope;

pub use crate::types::{Credential, credential_in, credential_name, without_credentials};
pub use answer::{MAX_ANSWER_BYTES, MAX_FILE_BYTES, MAX_PROPOSAL_BYTES, Proposal, ProposeError, parse_answer};
pub use check::{CheckError, Refusal, Refusals, check};
pub use context::{ContextFile, MAX_CONTEXT_BYTES, Shown, read_context};
pub use draft::{Draft, Edit, Form, Operation};
pub use exposure::{Exposure, Why, exposures};
pub use prompt::{FailureBrief, Prompt, prompt, template_digest};

use serde::{Deserialize, Serialize};
use std::fmt;

/// How far a proposal came before it was refused, in the order in which it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The answer is no proposal.
    Unparseable,
    /// It changes what the order does not allow, or what no order can allow.
    OutOfScope,
    /// It replaces other bytes than those on the base.
    Stale,
    /// What it writes cannot exist in one tree together with the rest.
    Unwritable,
}

impl Stage {
    /// The stage as written in journals and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stage::Unparseable => "unparseable",
            Stage::OutOfScope => "out_of_scope",
            Stage::Stale => "stale",
            Stage::Unwritable => "unwritable",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
