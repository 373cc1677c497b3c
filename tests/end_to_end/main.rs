//! Everything that starts a process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod sandbox;
mod sandbox_hostile;
