//! Everything that starts a process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod safety;
mod sandbox;
mod support;
