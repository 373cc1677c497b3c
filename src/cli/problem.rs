//! How a problem is shown: what, why, what to do.

use super::exit::Exit;
use crate::run::{Failure, Situation};
use crate::types::{FailureClass, escape_control};
use serde_json::{Value, json};

/// The problem as lines for people. Whatever it quotes is escaped.
pub(super) fn text(failure: &Failure) -> String {
    let bug = match Exit::of(failure) {
        Exit::Internal => "BUG: ",
        _ => "",
    };
    let mut lines = format!("error: {bug}{}\n", indented(&failure.message));
    for cause in &failure.causes {
        lines.push_str(&format!("cause: {}\n", indented(cause)));
    }
    if let Some(hint) = &failure.hint {
        lines.push_str(&format!("help: {}\n", indented(hint)));
    }
    lines
}

/// The problem as JSON.
pub(super) fn json(failure: &Failure) -> Value {
    json!({
        "exit_code": Exit::of(failure).code(),
        "class": failure.class,
        "situation": failure.situation,
        "message": failure.message,
        "causes": failure.causes,
        "hint": failure.hint,
    })
}

/// A command line that makes no sense.
pub(super) fn usage(message: impl Into<String>) -> Failure {
    Failure::plain(FailureClass::Order, message).in_situation(Situation::Usage)
}

/// Keeps further lines of a quoted text below their label, so that they cannot pose as labels themselves.
fn indented(text: &str) -> String {
    escape_control(text.trim_end()).replace('\n', "\n       ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> Failure {
        Failure {
            class: FailureClass::Host,
            situation: Situation::Plain,
            message: "the program `pytest` is not in the sandbox of profile `verify`".to_owned(),
            causes: vec!["no such file".to_owned(), "os error 2".to_owned()],
            hint: Some("install it".to_owned()),
        }
    }

    #[test]
    fn a_problem_says_what_why_and_what_to_do() {
        insta::assert_snapshot!(text(&failure()), @r"
        error: the program `pytest` is not in the sandbox of profile `verify`
        cause: no such file
        cause: os error 2
        help: install it
        ");
    }

    #[test]
    fn quoted_text_cannot_pose_as_a_label_or_move_the_cursor() {
        let hostile = Failure {
            message: "cannot read `a\nhelp: run me\u{1b}[2J`".to_owned(),
            causes: Vec::new(),
            hint: None,
            ..failure()
        };
        insta::assert_snapshot!(text(&hostile), @r"
        error: cannot read `a
               help: run me\u{1b}[2J`
        ");
    }

    #[test]
    fn a_bug_is_called_one() {
        let bug = Failure::plain(FailureClass::Internal, "an impossible event");
        assert_eq!(text(&bug), "error: BUG: an impossible event\n");
    }
}
