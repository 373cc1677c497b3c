//! The program against a real kernel and a real git.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod git;
