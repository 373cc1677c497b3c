//! Candidate → verdict: runs commands under a policy and judges.
//!
//! - A failing test is a verdict; a sandbox that would not start is an error.
//! - Only this module can make a [`Passed`].

mod passed;

pub use passed::Passed;
