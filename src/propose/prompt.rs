//! What the model is asked.
//!
//! - The same order, context and brief give the same prompt, byte for byte.
//! - Text from the repository and from commands stands between marks that it cannot forge, and is called data.

use super::context::{ContextFile, Shown};
use super::{MAX_FILE_BYTES, MAX_PROPOSAL_BYTES};
use crate::order::WorkOrder;
use crate::types::{Sha256, fenced, render_template};
use serde::{Deserialize, Serialize};

const SYSTEM: &str = include_str!("system.txt");
const USER: &str = include_str!("user.txt");

/// A question to a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// The rules, the same for every order.
    pub system: String,
    /// The order, the files, and why the last attempt was refused.
    pub user: String,
}

/// Why an attempt was refused, as it is told to the model before the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureBrief {
    /// Which attempt, counted from one.
    pub attempt: u32,
    /// How far it came.
    pub stage: String,
    /// The command that judged it, when it came that far.
    pub command: Option<String>,
    /// The exit code of that command, when it exited.
    pub exit_code: Option<i32>,
    /// What was wrong, or the part of the command's output that says so; bounded by the caller.
    pub excerpt: String,
    /// What to do about it; may be empty.
    pub hint: String,
}

/// Builds the prompt for one attempt; `previous` is why the one before was refused.
pub fn prompt(order: &WorkOrder, context: &[ContextFile], previous: Option<&FailureBrief>) -> Prompt {
    let system = render_template(
        SYSTEM,
        &[
            ("EMPTY_SHA256", &Sha256::EMPTY.to_string()),
            ("MAX_FILE_BYTES", &MAX_FILE_BYTES.to_string()),
            ("MAX_PROPOSAL_BYTES", &MAX_PROPOSAL_BYTES.to_string()),
        ],
    );
    let postconditions = order
        .postconditions
        .iter()
        .filter_map(|condition| Some(format!("the file {} exists", condition.path()?)));
    let user = render_template(
        USER,
        &[
            ("ID", &order.id),
            ("TITLE", &order.title),
            ("INTENT", &order.intent),
            ("ALLOWED_FILES", &bullets(order.allowed_files.iter())),
            ("FORBIDDEN", &bullets(order.forbidden.iter())),
            ("POSTCONDITIONS", &bullets(postconditions)),
            (
                "ACCEPTANCE_COMMANDS",
                &bullets(order.acceptance_commands.iter().map(|command| &command.text)),
            ),
            ("NOTES", order.notes.as_deref().unwrap_or("(none)")),
            ("CONTEXT", &context_section(order, context)),
            ("PREVIOUS", &previous.map(previous_section).unwrap_or_default()),
        ],
    );
    Prompt { system, user }
}

/// Names the texts around what an order says: another wording asks another question.
pub fn template_digest() -> Sha256 {
    Sha256::of(format!("{SYSTEM}\u{0}{USER}").as_bytes())
}

fn bullets(items: impl Iterator<Item = impl std::fmt::Display>) -> String {
    let lines: Vec<_> = items.map(|item| format!("- {item}")).collect();
    if lines.is_empty() {
        "(none)".to_owned()
    } else {
        lines.join("\n")
    }
}

fn context_section(order: &WorkOrder, context: &[ContextFile]) -> String {
    let mut sections: Vec<_> = context.iter().map(file_section).collect();
    let left_out = &order.context_files[context.len().min(order.context_files.len())..];
    if !left_out.is_empty() {
        let names = bullets(left_out.iter());
        sections.push(format!(
            "The following are left out, because the files above fill the space:\n{names}\n"
        ));
    }
    if sections.is_empty() {
        return "(none given)\n".to_owned();
    }
    sections.join("\n")
}

fn file_section(file: &ContextFile) -> String {
    let ContextFile { path, sha256, .. } = file;
    if !file.exists {
        return format!("{path} (does not exist; sha256 {sha256})\n");
    }
    let extent = match file.shown {
        Shown::Whole => "",
        Shown::Beginning => "; only its beginning is shown, so do not write it",
    };
    format!(
        "{path} (sha256 {sha256}{extent})\n{}",
        fenced(&String::from_utf8_lossy(&file.content))
    )
}

fn previous_section(brief: &FailureBrief) -> String {
    let FailureBrief {
        attempt,
        stage,
        excerpt,
        hint,
        ..
    } = brief;
    let mut section = format!("\nYour attempt {attempt} was refused ({stage}); nothing of it was kept.\n");
    if let Some(command) = &brief.command {
        section.push_str(&format!("Command: {command}\n"));
    }
    if let Some(exit_code) = brief.exit_code {
        section.push_str(&format!("Exit code: {exit_code}\n"));
    }
    section.push_str(&format!("Reason:\n{}", fenced(excerpt)));
    if !hint.is_empty() {
        section.push_str(&format!("What to do: {hint}\n"));
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order;
    use crate::types::RepoPath;
    use serde_json::json;

    fn order() -> WorkOrder {
        let text = json!({
            "id": "WO-01", "title": "a {{INTENT}} b", "intent": "say {{NOTES}}", "allowed_files": ["a.py"], "forbidden": ["f"],
            "acceptance_commands": ["python -c 'import a'"], "context_files": ["a.py", "b.py"], "notes": "n",
            "postconditions": [{"kind": "file_exists", "path": "a.py"}]
        });
        order::parse(text.to_string().as_bytes()).expect("a valid order")
    }

    fn context(content: &str) -> ContextFile {
        ContextFile {
            path: RepoPath::parse("a.py").expect("a path"),
            exists: true,
            sha256: Sha256::of(content.as_bytes()),
            content: content.into(),
            shown: Shown::Whole,
        }
    }

    #[test]
    fn marks_in_an_order_are_plain_text() {
        let user = prompt(&order(), &[], None).user;
        assert!(
            user.contains("WORK ORDER WO-01: a {{INTENT}} b\n\nIntent:\nsay {{NOTES}}\n"),
            "{user}"
        );
    }

    #[test]
    fn no_mark_of_ours_is_left_over() {
        let mut plain = order();
        (plain.title, plain.intent) = ("t".to_owned(), "i".to_owned());
        let brief = FailureBrief {
            attempt: 1,
            stage: "stale".to_owned(),
            command: None,
            exit_code: None,
            excerpt: String::new(),
            hint: String::new(),
        };
        let Prompt { system, user } = prompt(&plain, &[context("x")], Some(&brief));
        assert!(!system.contains("{{") && !user.contains("{{"), "{system}{user}");
    }

    #[test]
    fn a_file_is_shown_with_the_digest_that_a_change_has_to_name() {
        let user = prompt(&order(), &[context("x = 1")], None).user;
        let digest = Sha256::of(b"x = 1").to_string();
        let mark = &digest[..16];
        let expected = format!("a.py (sha256 {digest})\n-----begin {mark}\nx = 1\n-----end {mark}\n");
        assert!(user.contains(&expected), "{user}");
        assert!(
            user.contains("left out, because the files above fill the space:\n- b.py\n"),
            "{user}"
        );
    }

    #[test]
    fn the_reason_of_the_last_refusal_is_told() {
        let brief = FailureBrief {
            attempt: 2,
            stage: "acceptance".to_owned(),
            command: Some("pytest -q".to_owned()),
            exit_code: Some(1),
            excerpt: "1 failed".to_owned(),
            hint: "make it pass".to_owned(),
        };
        let user = prompt(&order(), &[], Some(&brief)).user;
        for part in [
            "attempt 2 was refused (acceptance)",
            "Command: pytest -q\nExit code: 1\n",
            "\n1 failed\n",
            "What to do: make it pass",
        ] {
            assert!(user.contains(part), "{part}: {user}");
        }
        let read: FailureBrief = serde_json::from_str(&serde_json::to_string(&brief).expect("JSON")).expect("a brief");
        assert_eq!(read, brief);
    }
}
