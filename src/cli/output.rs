//! Standard output and standard error.

use super::problem;
use crate::run::{Failure, Situation};
use crate::types::FailureClass;
use serde_json::{Value, json};
use std::io::{self, ErrorKind, Write as _};

/// Writes lines for people, or a document, to standard output.
///
/// A reader that went away, as `head` does, ends the output and is no failure.
///
/// # Errors
/// `Host` when standard output cannot be written, as on a full disk.
pub(super) fn text(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure {
            causes: vec![error.to_string()],
            ..Failure::plain(FailureClass::Host, "cannot write to standard output")
                .in_situation(Situation::Storage)
                .with_hint("see whether the disk is full")
        }),
        _ => Ok(()),
    }
}

/// Writes one JSON document on one line to standard output.
///
/// # Errors
/// As for [`text`].
pub(super) fn json(value: &Value) -> Result<(), Failure> {
    text(&format!("{value}\n"))
}

/// Writes a line to standard error. There is nobody left to tell when that fails.
pub(super) fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Shows why nothing came of it.
pub(super) fn problem(failure: &Failure, as_json: bool) {
    // When standard output cannot be written, that is the problem, and standard error is where it can be told.
    if !as_json || json(&json!({ "problem": problem::json(failure) })).is_err() {
        let _ = io::stderr().lock().write_all(problem::text(failure).as_bytes());
    }
}
