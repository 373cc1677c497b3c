//! The spec: what can be known of it before a model sees it.

use super::super::failure::{Failure, Situation};
use super::PlanSetup;
use crate::plan::MAX_SPEC_BYTES;
use crate::propose::credential_in;
use crate::types::{Bytes, FailureClass};

/// The text of the spec.
///
/// # Errors
/// `Order` when it is none, or too long; `Policy` when it seems to hold credentials.
pub(super) fn read_spec(setup: &PlanSetup) -> Result<&str, Failure> {
    let name = &setup.spec_name;
    let refused = |message: String, hint: &str| {
        Failure::plain(FailureClass::Order, message)
            .in_situation(Situation::Document)
            .with_hint(hint)
    };
    if setup.spec.len() > MAX_SPEC_BYTES {
        let message = format!("the spec {name} is longer than {}", Bytes(MAX_SPEC_BYTES as u64));
        return Err(refused(message, "plan a part of it at a time"));
    }
    let text = std::str::from_utf8(&setup.spec)
        .ok()
        .filter(|text| !text.contains('\0'));
    let text = text.ok_or_else(|| refused(format!("the spec {name} is not UTF-8 text"), "save it as plain text"))?;
    match text.trim() {
        "" => Err(refused(
            format!("the spec {name} is empty"),
            "write down what is wanted",
        )),
        _ => refuse_credentials(setup, text).map(|()| text),
    }
}

/// What was shown to a model cannot be taken back.
fn refuse_credentials(setup: &PlanSetup, text: &str) -> Result<(), Failure> {
    match credential_in(text) {
        Some(found) if !setup.allow_spec => {
            let message = format!(
                "line {} of the spec {} has what looks like {}",
                found.line, setup.spec_name, found.what
            );
            Err(Failure::plain(FailureClass::Policy, message)
                .with_hint("take it out, or, if the model may see it, say so with --allow-context and the spec's file"))
        }
        _ => Ok(()),
    }
}
