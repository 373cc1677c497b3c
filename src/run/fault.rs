//! A failed step: where, whose turn it is, and what the next attempt is to be told.

use super::artifacts::ArtifactError;
use super::failure::{Failure, Situation, Stage};
use crate::journal::JournalError;
use crate::propose;
use crate::types::{FailureClass, Problem, Sha256, escape_control};
use crate::verify::{Finding, Hidden, Phase};

/// A failed step.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) stage: Stage,
    pub(super) failure: Box<Failure>,
    /// Equal for faults that look the same.
    pub(super) fingerprint: Sha256,
    pub(super) brief: Box<Brief>,
}

/// What the next attempt is to be told, besides where it failed.
#[derive(Debug)]
pub(super) struct Brief {
    pub(super) command: Option<String>,
    pub(super) exit_code: Option<i32>,
    pub(super) excerpt: String,
    pub(super) hint: String,
}

impl Fault {
    pub(super) fn new(stage: Stage, failure: Failure) -> Self {
        let brief = Box::new(Brief {
            command: None,
            exit_code: None,
            excerpt: failure.sentence(),
            hint: failure.hint.clone().unwrap_or_default(),
        });
        Fault {
            stage,
            fingerprint: failure.fingerprint(),
            failure: Box::new(failure),
            brief,
        }
    }

    /// A problem that is no judgement on a proposal.
    pub(super) fn exception(failure: Failure) -> Self {
        Fault::new(Stage::Exception, failure)
    }

    /// A proposal that is refused before anything runs.
    pub(super) fn refused(stage: propose::Stage, problem: &dyn Problem) -> Self {
        let stage = match stage {
            propose::Stage::Unparseable => Stage::LlmOutputInvalid,
            propose::Stage::OutOfScope => Stage::WriteScopeViolation,
            propose::Stage::Stale => Stage::StaleContext,
            propose::Stage::Unwritable => Stage::WriteFailed,
        };
        let mut fault = Fault::new(stage, Failure::new(problem, Situation::Plain));
        // The problem's own advice is for the model, which is told; the operator cannot mend an answer.
        fault.failure.hint = Some(
            "look at the answer in the artifacts; a more capable model or a smaller order may do better".to_owned(),
        );
        fault
    }

    /// A candidate that fell at a gate; `class` says whether it was judged or ran into a limit.
    pub(super) fn judged(class: FailureClass, finding: Finding) -> Self {
        let (stage, rule) = match finding.phase {
            Phase::Verify => (
                Stage::VerifyFailed,
                "what held before must still hold: the repository's own verification has to pass",
            ),
            // That there are golden suites is not told.
            Phase::Acceptance | Phase::Golden => (Stage::AcceptanceFailed, "what the order asks for has to hold"),
        };
        let hint = match class {
            // Which limit it was says what the command does, and that is not told of a check that is hidden.
            FailureClass::Limit if finding.hidden == Hidden::Nothing => {
                format!("the command {}; make it need less of that", finding.reason)
            }
            _ => rule.to_owned(),
        };
        let command = finding.argv.as_ref().map(|argv| argv.join(" "));
        let told = Told::of(&finding, command.clone());
        let message = match &command {
            Some(command) => format!("`{}` {}", escape_control(command), finding.reason),
            None => finding.reason.clone(),
        };
        Fault {
            stage,
            fingerprint: finding.fingerprint(),
            failure: Box::new(
                Failure::plain(class, message)
                    .with_hint("see the output of the command in the artifacts, or `factory show` for all attempts"),
            ),
            brief: Box::new(Brief {
                command: told.command,
                exit_code: told.exit_code,
                excerpt: told.excerpt,
                hint,
            }),
        }
    }
}

/// What of a finding the model is told.
struct Told {
    command: Option<String>,
    exit_code: Option<i32>,
    excerpt: String,
}

impl Told {
    fn of(finding: &Finding, command: Option<String>) -> Self {
        let hidden = |command, excerpt: &str| Told {
            command,
            exit_code: None,
            excerpt: excerpt.to_owned(),
        };
        match finding.hidden {
            Hidden::Nothing => Told {
                command,
                exit_code: finding.exit_code,
                excerpt: finding.excerpt_with_reason(),
            },
            Hidden::Output => hidden(
                command,
                "the command did not show what it has to show; neither that nor what it wrote is told",
            ),
            Hidden::Everything => hidden(None, "a check failed that is not shown"),
        }
    }
}

impl From<JournalError> for Fault {
    fn from(error: JournalError) -> Self {
        Fault::exception(Failure::new(&error, Situation::Storage))
    }
}

impl From<ArtifactError> for Fault {
    fn from(error: ArtifactError) -> Self {
        Fault::exception(Failure::new(&error, Situation::Storage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_check_that_is_not_hidden_tells_which_limit_ended_it() {
        let brief = |hidden| {
            let finding = Finding {
                phase: Phase::Acceptance,
                argv: Some(vec!["secret-check".to_owned()]),
                exit_code: None,
                reason: "was ended by the limit on wall-clock time".to_owned(),
                excerpt: String::new(),
                hidden,
            };
            format!("{:?}", Fault::judged(FailureClass::Limit, finding).brief)
        };
        assert!(brief(Hidden::Nothing).contains("wall-clock"));
        for hidden in [Hidden::Output, Hidden::Everything] {
            assert!(!brief(hidden).contains("wall-clock"), "{hidden:?}");
        }
        assert!(!brief(Hidden::Everything).contains("secret-check"));
    }
}
