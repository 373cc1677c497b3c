//! The planner model's raw answer → JSON, or why it is none.

use super::complaint::{Code, Complaint};
use crate::order::json::{Defects, Document, unfence};
use crate::types::{FailureClass, Problem};
use serde_json::Value;

/// The longest answer that is read as a plan, in bytes.
pub const MAX_PLAN_BYTES: usize = 4 << 20;

/// An answer that is no JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It is longer than what is read.
    #[error("the answer has {bytes} bytes; at most {MAX_PLAN_BYTES} are read as a plan")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It is not one JSON document, bare or in one code fence.
    #[error("the answer is not one JSON object and nothing else: {defects}")]
    Unreadable {
        /// What ended the reading.
        defects: Defects,
    },
}

impl PlanError {
    /// The same as a complaint to the model.
    pub fn complaint(&self) -> Complaint {
        Complaint::of_plan(Code::E000, self.to_string())
    }
}

impl Problem for PlanError {
    fn class(&self) -> FailureClass {
        FailureClass::Proposal
    }

    fn hint(&self) -> Option<String> {
        Some("look at the answers in the artifacts; a more capable model or a shorter spec may do better".to_owned())
    }
}

/// Reads the answer of a model: one JSON value, bare or in one code fence, with nothing around it but blanks. Whether it is
/// a plan is asked by [`super::validate`].
///
/// # Errors
/// `Proposal` when it is too long or no JSON, or when a key stands twice in one object.
pub fn parse_answer(text: &str) -> Result<Value, PlanError> {
    if text.len() > MAX_PLAN_BYTES {
        return Err(PlanError::TooLong { bytes: text.len() });
    }
    let unreadable = |defects| PlanError::Unreadable { defects };
    let mut document = Document::read(text, unfence(text)).map_err(unreadable)?;
    let root = document.take_root();
    document.finish(Some(root)).map_err(unreadable)
}

/// Why there can be no plan, where the answer says that and nothing else: the spec contradicts itself, say, or leaves out what
/// has to be known.
pub fn blocked(answer: &Value) -> Option<&str> {
    let answer = answer.as_object().filter(|answer| answer.len() == 1)?;
    let reason = answer.get("blocked")?.as_str()?.trim();
    (!reason.is_empty()).then_some(reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_that_stands_twice_is_refused() {
        let error = parse_answer("{\"work_orders\": [], \"work_orders\": 1}").unwrap_err();
        assert!(error.to_string().contains("stands twice"), "{error}");
    }

    #[test]
    fn what_is_longer_than_a_plan_may_be_is_not_read() {
        let padded = format!("{}{{}}", " ".repeat(MAX_PLAN_BYTES));
        assert_eq!(
            parse_answer(&padded),
            Err(PlanError::TooLong {
                bytes: MAX_PLAN_BYTES + 2
            })
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = parse_answer(&text);
        }
    }

    #[test]
    fn a_reason_alone_says_that_there_is_no_plan() {
        use serde_json::json;
        assert_eq!(
            blocked(&json!({"blocked": " it is both red and not red\n"})),
            Some("it is both red and not red")
        );
        for other in [
            json!({"blocked": ""}),
            json!({"blocked": "  "}),
            json!({"blocked": ["a"]}),
            json!({"blocked": "a", "work_orders": []}),
            json!(["blocked"]),
            json!({}),
        ] {
            assert_eq!(blocked(&other), None, "{other}");
        }
    }
}
