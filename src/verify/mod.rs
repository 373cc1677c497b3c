//! Candidate → verdict: runs commands under a policy and judges.
//!
//! - A failing test is a verdict; a sandbox that would not start is an error.
//! - Only this module can make a [`Passed`].

mod commands;
mod passed;

pub use commands::{VERIFY_SCRIPT, global_commands};
pub use passed::Passed;
