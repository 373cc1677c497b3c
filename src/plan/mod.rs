//! Spec → plan: work orders in dependency order. Asks for a decomposition and believes none of it.
//!
//! - The answer is hostile: it is bounded before it is read, and nothing in it is repaired but blanks and spellings.
//! - A plan is judged by itself and by the files of the commit that it starts from; every complaint has a [`Code`], and the
//!   same plan gives the same complaints in the same order.
//! - What an order claims of itself counts for nothing: exemptions and provenance are computed.
//! - A [`Plan`] is made of orders that each parse, in an order in which each finds what it needs.
//!
//! Nothing here asks a model, reads a repository or writes a file; `run` does, with what this module gives it.

mod answer;
mod apart;
mod bounds;
mod chain;
mod commands;
mod compile;
mod complaint;
mod conflicts;
mod deps;
mod graph;
mod names;
mod normal;
mod output;
mod prompt;
mod python;
mod relation;
mod schema;
#[cfg(test)]
mod second_tests;
mod structure;

pub use answer::{MAX_PLAN_BYTES, PlanError, blocked, parse_answer};
pub use bounds::{Bounds, exposed};
pub use chain::{Files, exemptions, listing};
pub use compile::{Plan, PlannedOrder, Provenance, compile, compile_hash, validate};
pub use complaint::{Code, Complaint, Complaints};
pub use deps::{dependencies, is_library, python_modules};
pub use graph::{Edge, Graph, Reason, made_before};
pub use normal::{normalize, normalize_order};
pub use output::{MANIFEST, in_the_way, is_order_file};
pub use prompt::{MAX_LISTING_BYTES, MAX_SPEC_BYTES, Revision, prompt, template_digest};

/// How many orders a plan may have: their ids have two digits.
pub const MAX_ORDERS: usize = 99;

/// The script that verifies a whole repository, once there is one.
const VERIFY_SCRIPT: &str = "scripts/verify.sh";
