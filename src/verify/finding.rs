//! What a failed check says about the candidate: the material of the next attempt's brief.

use super::check::Check;
use super::evidence::{ConditionRecord, Phase};
use crate::order::Visibility;
use crate::sandbox::{Captured, LimitKind, Outcome, Report, SetupFailure};
use crate::types::{Sha256, end_without_credentials, without_credentials};
use serde::{Deserialize, Serialize};

/// Bytes of each output stream that are quoted, from its end: the last lines of a test report say what failed.
const EXCERPT: usize = 2000;

/// What a failed check says about the candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The gate at which the candidate fell.
    pub phase: Phase,
    /// The command that failed, when one did.
    pub argv: Option<Vec<String>>,
    /// Its exit code, when it exited by itself.
    pub exit_code: Option<i32>,
    /// What happened, as a fragment of a sentence.
    pub reason: String,
    /// The end of what the command wrote, or the postconditions that do not hold.
    pub excerpt: String,
    /// What of this the model is not told.
    #[serde(default, skip_serializing_if = "Hidden::is_nothing")]
    pub hidden: Hidden,
}

/// What of a finding the model is not told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hidden {
    /// It is told everything.
    #[default]
    Nothing,
    /// What the command wrote, and what it had to show.
    Output,
    /// The command as well.
    Everything,
}

impl Hidden {
    fn is_nothing(&self) -> bool {
        *self == Hidden::Nothing
    }

    fn of(visibility: Visibility) -> Self {
        match visibility {
            Visibility::Full => Hidden::Nothing,
            Visibility::Summary => Hidden::Output,
            Visibility::None => Hidden::Everything,
        }
    }
}

impl Finding {
    /// What is wrong with a command that did not show what it has to show, for this reason.
    pub(super) fn of(phase: Phase, check: &Check, report: &Report, reason: String) -> Self {
        Finding {
            phase,
            argv: Some(check.argv.clone()),
            exit_code: match report.outcome {
                Outcome::Exit { code } => Some(code),
                Outcome::Signal { .. }
                | Outcome::Limit { .. }
                | Outcome::Denied { .. }
                | Outcome::Tampered { .. }
                | Outcome::Setup { .. } => None,
            },
            reason,
            excerpt: excerpt(report),
            hidden: Hidden::of(check.visibility),
        }
    }

    /// The same, of a command whose runs disagree; the `run`th showed it.
    pub(super) fn of_runs(self, run: u32) -> Self {
        let reason = format!(
            "gave another result in one of {run} runs of the same bytes: it {}",
            self.reason
        );
        Finding { reason, ..self }
    }

    pub(super) fn unmet(conditions: &[&ConditionRecord]) -> Self {
        let lines = conditions
            .iter()
            .map(|condition| format!("{} {}", condition.kind, condition.path));
        Finding {
            phase: Phase::Acceptance,
            argv: None,
            exit_code: None,
            reason: "postconditions do not hold".to_owned(),
            excerpt: lines.collect::<Vec<_>>().join("\n"),
            hidden: Hidden::Nothing,
        }
    }

    /// The same without the credentials that a command printed. What failed is recorded, printed and shown to the model; all
    /// that the command wrote is in the artifacts.
    pub fn without_credentials(self) -> Self {
        Finding {
            reason: without_credentials(&self.reason),
            excerpt: without_credentials(&self.excerpt),
            ..self
        }
    }

    /// What is told of it: what the command wrote, after why that is not enough where its exit code does not say so.
    pub fn excerpt_with_reason(&self) -> String {
        let by_exit = self.exit_code.map(|code| format!("exited with code {code}"));
        match self.argv.is_none() || by_exit.is_none_or(|by_exit| by_exit == self.reason) {
            true => self.excerpt.clone(),
            false => format!("the command {}\n{}", self.reason, self.excerpt),
        }
    }

    /// A digest that is equal for failures that look the same. Numbers in the output are left out of it: durations,
    /// addresses and process ids differ between runs of the same bytes.
    pub fn fingerprint(&self) -> Sha256 {
        let argv = self.argv.as_deref().unwrap_or_default().join("\u{0}");
        let exit = self.exit_code.map(|code| code.to_string()).unwrap_or_default();
        let reason = without_numbers(&self.reason);
        let excerpt = without_numbers(&self.excerpt);
        Sha256::of(
            [self.phase.as_str(), &argv, &exit, &reason, &excerpt]
                .join("\u{1}")
                .as_bytes(),
        )
    }
}

/// How a command ended, as a fragment of a sentence.
pub fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Exit { code } => format!("exited with code {code}"),
        Outcome::Signal { signal } => format!("was ended by signal {signal}"),
        Outcome::Limit { limit } => format!("was ended by the limit on {}", limit_name(*limit)),
        Outcome::Denied { rule } => format!("was refused: {rule}"),
        Outcome::Tampered { path } => format!("changed `{path}`, which is protected"),
        Outcome::Setup { failure } => match failure {
            SetupFailure::ToolMissing { program } => format!("was not started: there is no program {program}"),
            SetupFailure::ProgramUnusable { program, reason } => {
                format!("was not started: {program} cannot be executed ({reason})")
            }
            SetupFailure::DirectoryMissing { directory } => {
                format!("was not started: there is no directory {directory}")
            }
        },
    }
}

/// A limit in words.
pub fn limit_name(limit: LimitKind) -> &'static str {
    match limit {
        LimitKind::Wall => "wall-clock time",
        LimitKind::Cpu => "processor time",
        LimitKind::Memory => "memory",
        LimitKind::Pids => "processes",
        LimitKind::FileSize => "the size of a file",
        LimitKind::Files => "open files",
        LimitKind::Disk => "written bytes",
        LimitKind::Inodes => "written files",
        LimitKind::Output => "output",
        LimitKind::Silence => "time without output",
    }
}

fn excerpt(report: &Report) -> String {
    let streams = [("stdout", &report.stdout), ("stderr", &report.stderr)];
    let quoted = streams
        .into_iter()
        .filter(|(_, captured)| captured.total() > 0)
        .map(|(name, captured)| format!("{name}:\n{}", tail(captured)));
    quoted.collect::<Vec<_>>().join("\n")
}

/// The end of what was written, without the credentials in it: those are struck out before the text is cut, because half of
/// one has no shape.
fn tail(captured: &Captured) -> String {
    let bytes = captured.to_bytes();
    let text = String::from_utf8_lossy(&bytes);
    let end = end_without_credentials(&text, EXCERPT);
    match text.len() > EXCERPT {
        true => format!("[...]{end}"),
        false => end,
    }
}

/// The text with every run of digits, also hexadecimal ones that begin with a digit, replaced by one mark.
fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_number = false;
    for character in text.chars() {
        let continues = in_number && character.is_ascii_hexdigit();
        in_number = character.is_ascii_digit() || continues;
        if !in_number {
            out.push(character);
        } else if !continues {
            out.push('#');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Metering;

    fn report(outcome: Outcome, stdout: &str, stderr: &str) -> Report {
        let captured = |text: &str| Captured {
            head: text.as_bytes().to_vec(),
            ..Captured::default()
        };
        Report {
            outcome,
            stdout: captured(stdout),
            stderr: captured(stderr),
            metering: Metering::default(),
            limits: Vec::new(),
            receipt: None,
            files: std::collections::BTreeMap::new(),
        }
    }

    fn finding(stdout: &str) -> Finding {
        found(Phase::Verify, "pytest", &report(Outcome::Exit { code: 1 }, stdout, ""))
    }

    fn found(phase: Phase, program: &str, report: &Report) -> Finding {
        let check = Check::plain(vec![program.to_owned()]);
        Finding::of(phase, &check, report, describe(&report.outcome))
    }

    #[test]
    fn failures_that_differ_only_in_numbers_look_the_same() {
        assert_eq!(
            finding("1 failed in 0.39s at 0x7f3a").fingerprint(),
            finding("1 failed in 12.1s at 0x55bc").fingerprint()
        );
        assert_ne!(
            finding("test_a failed").fingerprint(),
            finding("test_b failed").fingerprint()
        );
    }

    #[test]
    fn the_end_of_a_long_output_is_quoted() {
        let long = format!("{}the last line", "x".repeat(10_000));
        let excerpt = finding(&long).excerpt;
        assert!(excerpt.ends_with("the last line"), "{excerpt}");
        assert!(excerpt.len() < 2100);
    }

    #[test]
    fn a_credential_is_struck_out_wherever_the_excerpt_begins() {
        let token = "ghp_a1b2c3d4e5f6g7h8i9j0a1b2c3d4e5f6";
        for behind in (EXCERPT - token.len() - 2)..=EXCERPT {
            let excerpt = finding(&format!("x {token} {}", "y".repeat(behind))).excerpt;
            assert!(!excerpt.contains("5f6"), "{behind}: {excerpt}");
        }
    }

    #[test]
    fn output_that_is_no_text_is_quoted_all_the_same() {
        let mut broken = report(Outcome::Signal { signal: 9 }, "", "");
        broken.stderr.head = vec![0xff, 0xfe, b'!'];
        let finding = found(Phase::Acceptance, "a", &broken);
        assert_eq!(finding.excerpt, "stderr:\n\u{fffd}\u{fffd}!");
        assert_eq!(finding.reason, "was ended by signal 9");
    }
}
