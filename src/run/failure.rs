//! A failure as it is recorded and shown: what, why, what next, and whose turn it is.

use crate::types::{FailureClass, Problem, Sha256};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Where in an attempt it failed. The words are those of version 1 records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Before the model was asked.
    Preflight,
    /// The provider did not answer, or something else broke that is no judgement on the proposal.
    Exception,
    /// The answer is no proposal.
    LlmOutputInvalid,
    /// The proposal writes where it must not.
    WriteScopeViolation,
    /// The proposal replaces bytes that are not there.
    StaleContext,
    /// The change could not be put on the branch.
    WriteFailed,
    /// What held before does not hold any more.
    VerifyFailed,
    /// What the order asks for does not hold.
    AcceptanceFailed,
}

impl Stage {
    const ALL: [Stage; 8] = [
        Stage::Preflight,
        Stage::Exception,
        Stage::LlmOutputInvalid,
        Stage::WriteScopeViolation,
        Stage::StaleContext,
        Stage::WriteFailed,
        Stage::VerifyFailed,
        Stage::AcceptanceFailed,
    ];

    /// The stage as written in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stage::Preflight => "preflight",
            Stage::Exception => "exception",
            Stage::LlmOutputInvalid => "llm_output_invalid",
            Stage::WriteScopeViolation => "write_scope_violation",
            Stage::StaleContext => "stale_context",
            Stage::WriteFailed => "write_failed",
            Stage::VerifyFailed => "verify_failed",
            Stage::AcceptanceFailed => "acceptance_failed",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no stage.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not the name of a stage")]
pub struct UnknownStage;

impl FromStr for Stage {
    type Err = UnknownStage;

    fn from_str(text: &str) -> Result<Self, UnknownStage> {
        Stage::ALL
            .into_iter()
            .find(|stage| stage.as_str() == text)
            .ok_or(UnknownStage)
    }
}

/// What an exit code tells apart within one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Situation {
    /// Nothing besides the class.
    Plain,
    /// A document does not follow its rules: an order that is invalid, a profile that is missing or invalid.
    Document,
    /// The sandbox cannot be built on this host.
    Sandbox,
    /// The repository cannot be used, or the branch may not be written.
    Repository,
    /// The journal, the cache or an artifact could not be read or written.
    Storage,
    /// Somebody else holds what is needed.
    Locked,
    /// The provider refuses the key.
    Auth,
    /// The command line is wrong.
    Usage,
    /// What dead runs left cannot be brought to an end without a person.
    Recovery,
    /// The process that ran it was killed, or the host went down.
    Crashed,
    /// A signal interrupted the run.
    Interrupted {
        /// Its number.
        signal: i32,
    },
}

/// A failure as it is recorded and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whose turn it is.
    pub class: FailureClass,
    /// What an exit code tells apart within the class.
    pub situation: Situation,
    /// What could not be done.
    pub message: String,
    /// Why, the nearest cause first.
    pub causes: Vec<String>,
    /// What to do next.
    pub hint: Option<String>,
}

impl Failure {
    /// Records a problem with its causes.
    pub fn new(problem: &dyn Problem, situation: Situation) -> Self {
        let mut causes = Vec::new();
        let mut cause = problem.source();
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        Failure {
            class: problem.class(),
            situation,
            message: problem.to_string(),
            causes,
            hint: problem.hint(),
        }
    }

    /// Records something that is no error of a module.
    pub fn plain(class: FailureClass, message: impl Into<String>) -> Self {
        Failure {
            class,
            situation: Situation::Plain,
            message: message.into(),
            causes: Vec::new(),
            hint: None,
        }
    }

    /// The same failure in another situation.
    #[must_use]
    pub fn in_situation(self, situation: Situation) -> Self {
        Failure { situation, ..self }
    }

    /// The same failure, told as something else; what it was is its first cause.
    #[must_use]
    pub(super) fn with_message(self, message: impl Into<String>) -> Self {
        Failure {
            message: message.into(),
            ..self
        }
    }

    /// The same failure with a cause.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// The same failure with advice.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Failure {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// What happened and why, in one line.
    pub fn sentence(&self) -> String {
        std::iter::once(&self.message)
            .chain(&self.causes)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(": ")
    }

    /// A digest that is equal for failures with the same words.
    pub fn fingerprint(&self) -> Sha256 {
        Sha256::of(format!("{}\u{1}{}", self.class, self.sentence()).as_bytes())
    }
}

/// A signal ended it.
pub fn interrupted(signal: i32) -> Failure {
    Failure::plain(FailureClass::Cancelled, format!("interrupted by signal {signal}"))
        .in_situation(Situation::Interrupted { signal })
        .with_hint("nothing was changed; run it again to go on")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_read_back_as_written() {
        for stage in Stage::ALL {
            assert_eq!(stage.as_str().parse(), Ok(stage));
            assert_eq!(
                serde_json::to_value(stage).ok(),
                Some(serde_json::Value::from(stage.as_str()))
            );
        }
        for text in ["", "VERIFY_FAILED", "unknown", "verify_failed "] {
            assert_eq!(text.parse::<Stage>(), Err(UnknownStage), "{text}");
        }
    }
}
