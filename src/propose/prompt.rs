//! What the model is asked.
//!
//! - The same order, context and brief give the same prompt, byte for byte. That of an order of version 1 stays as it is:
//!   recorded answers are found by what was asked.
//! - What an order keeps from the model stands in no prompt.
//! - Text from the repository and from commands stands between marks that it cannot forge, and is called data.

use super::context::{ContextFile, Shown};
use super::{MAX_FILE_BYTES, MAX_PROPOSAL_BYTES};
use crate::order::{AcceptanceCommand, Condition, Expect, TextMatch, Version, Visibility, WorkOrder, canonical_json};
use crate::types::{Sha256, fenced, render_template};
use serde::{Deserialize, Serialize};

const SYSTEM: &str = include_str!("system.txt");
const USER: &str = include_str!("user.txt");
const SYSTEM_2: &str = include_str!("system2.txt");
const USER_2: &str = include_str!("user2.txt");

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
    let (system, user) = match order.version {
        Version::V1 => (SYSTEM, first_user(order, context, previous)),
        Version::V2 => (SYSTEM_2, second_user(order, context, previous)),
    };
    let system = render_template(
        system,
        &[
            ("EMPTY_SHA256", &Sha256::EMPTY.to_string()),
            ("MAX_FILE_BYTES", &MAX_FILE_BYTES.to_string()),
            ("MAX_PROPOSAL_BYTES", &MAX_PROPOSAL_BYTES.to_string()),
        ],
    );
    Prompt { system, user }
}

fn first_user(order: &WorkOrder, context: &[ContextFile], previous: Option<&FailureBrief>) -> String {
    let postconditions = order
        .postconditions
        .iter()
        .filter_map(|condition| Some(format!("the file {} exists", condition.path()?)));
    render_template(
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
    )
}

fn second_user(order: &WorkOrder, context: &[ContextFile], previous: Option<&FailureBrief>) -> String {
    let kind = order
        .kind
        .map_or_else(String::new, |kind| format!("Kind of work: {}\n", kind.as_str()));
    let renames = order
        .allowed_renames
        .iter()
        .map(|rename| format!("{} to {}", rename.from, rename.to));
    let untouchable = order.protected_files.iter().chain(&order.forbidden_paths);
    render_template(
        USER_2,
        &[
            ("ID", &order.id),
            ("TITLE", &order.title),
            ("KIND", &kind),
            ("INTENT", &order.intent),
            ("ALLOWED_FILES", &bullets(order.allowed_files.iter())),
            ("ALLOWED_DELETES", &bullets(order.allowed_deletes.iter())),
            ("ALLOWED_RENAMES", &bullets(renames)),
            ("EXECUTABLE_FILES", &bullets(order.executable_files.iter())),
            ("FORBIDDEN_PATHS", &bullets(untouchable)),
            ("FORBIDDEN", &bullets(order.forbidden.iter())),
            (
                "POSTCONDITIONS",
                &bullets(order.postconditions.iter().filter_map(condition_text)),
            ),
            (
                "ACCEPTANCE_COMMANDS",
                &bullets(order.acceptance_commands.iter().filter_map(command_text)),
            ),
            ("NOTES", order.notes.as_deref().unwrap_or("(none)")),
            ("CONTEXT", &context_section(order, context)),
            ("PREVIOUS", &previous.map(previous_section).unwrap_or_default()),
        ],
    )
}

fn condition_text(condition: &Condition) -> Option<String> {
    match condition {
        Condition::FileExists { path } => Some(format!("the file {path} exists")),
        Condition::FileAbsent { path } => Some(format!("there is no file {path}")),
        Condition::FileSha256 { path, sha256 } => Some(format!("the file {path} has the sha256 {sha256}")),
        // No proposal can see to these.
        Condition::OrderDone { .. } | Condition::Tool { .. } => None,
    }
}

/// What the model is told of a command before it proposes: no more than it is told when the command fails.
fn command_text(command: &AcceptanceCommand) -> Option<String> {
    match command.visibility {
        Visibility::Full => {}
        Visibility::Summary => return Some(format!("{} (what it has to show is not told)", command.text)),
        Visibility::None => return None,
    }
    let AcceptanceCommand {
        cwd,
        env,
        stdin,
        expect,
        runs,
        ..
    } = command;
    let mut text = command.text.clone();
    let mut add = |line: String| text.push_str(&format!("\n  {line}"));
    if let Some(cwd) = cwd {
        add(format!("in the directory {cwd}"));
    }
    for (name, value) in env {
        add(format!("with the variable {name} set to {}", json_text(value)));
    }
    if let Some(stdin) = stdin {
        add(format!("reading {} from standard input", json_text(stdin)));
    }
    expectations(expect).for_each(&mut add);
    if *runs > 1 {
        add(format!("run {runs} times, each time with the same result"));
    }
    Some(text)
}

fn expectations(expect: &Expect) -> impl Iterator<Item = String> {
    let exit = std::iter::once(format!("it must exit with code {}", expect.exit));
    let stdout = expect.stdout.iter().map(|wanted| match wanted {
        TextMatch::Equals(text) => format!("its standard output must be {}", json_text(text)),
        TextMatch::Contains(text) => format!("its standard output must contain {}", json_text(text)),
    });
    let values = expect.json.iter().map(|(pointer, value)| {
        let value = String::from_utf8_lossy(&canonical_json(value)).into_owned();
        format!(
            "its standard output must be JSON with {value} at {}",
            json_text(pointer)
        )
    });
    let files = expect.files.iter();
    let files = files.map(|(path, sha256)| format!("it must leave the file {path} with the sha256 {sha256}"));
    exit.chain(stdout).chain(values).chain(files)
}

/// A text on one line, with an end that it cannot forge.
fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Names the texts around what an order of this version says: another wording asks another question.
pub fn template_digest(version: Version) -> Sha256 {
    let (system, user) = match version {
        Version::V1 => (SYSTEM, USER),
        Version::V2 => (SYSTEM_2, USER_2),
    };
    Sha256::of(format!("{system}\u{0}{user}").as_bytes())
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

    #[test]
    fn the_texts_of_version_1_are_those_by_which_recorded_answers_are_found() {
        let digest = template_digest(Version::V1).to_string();
        assert_eq!(
            digest,
            "09ffbabbbd943b45dffb062cb2d02abfed4eea3a94fc52c2e28aac44b56ee93b"
        );
        assert_ne!(template_digest(Version::V2).to_string(), digest);
    }

    #[test]
    fn a_prompt_of_version_2_says_what_is_enforced_and_nothing_that_is_hidden() {
        let text = json!({
            "schema_version": 2, "id": "WO-02", "title": "a {{INTENT}} b", "kind": "fix", "intent": "i", "depends_on": [],
            "postconditions": [{"kind": "file_absent", "path": "old.py"}],
            "allowed_files": ["a.py", "bin/x"], "allowed_deletes": ["old.py"],
            "allowed_renames": [{"from": "b.py", "to": "c.py"}], "executable_files": ["bin/x"],
            "protected_files": ["tests/test_a.py"], "forbidden_paths": ["vendor"],
            "acceptance": [
                {
                    "argv": ["python", "a b.py"], "cwd": "src", "env": {"LANG": "C\n- forged"}, "stdin": "1\n",
                    "expect": {"exit": 3, "stdout": {"contains": "ok"}, "json": {"/a": [1]}, "files": {"o.txt": "1".repeat(64)}},
                    "runs": 3
                },
                {"argv": ["summary-command"], "visibility": "summary", "stdin": "secret-1", "expect": {"exit": 77}},
                {"argv": ["secret-2"], "visibility": "none", "env": {"SECRET_3": "x"}}
            ]
        });
        let order = order::parse(text.to_string().as_bytes()).expect("a valid order");
        let Prompt { system, user } = prompt(&order, &[], None);
        for part in [
            "WORK ORDER WO-02: a {{INTENT}} b\nKind of work: fix\n",
            "delete:\n- old.py\n",
            "rename:\n- b.py to c.py\n",
            "give them their name:\n- bin/x\n",
            "- tests/test_a.py\n- vendor\n",
            "- there is no file old.py\n",
            "- python 'a b.py'\n  in the directory src\n  with the variable LANG set to \"C\\n- forged\"\n  \
             reading \"1\\n\" from standard input\n  it must exit with code 3\n  its standard output must contain \"ok\"\n  \
             its standard output must be JSON with [1] at \"/a\"\n  it must leave the file o.txt with the sha256 1111",
            "run 3 times, each time with the same result\n- summary-command (what it has to show is not told)\n",
        ] {
            assert!(user.contains(part), "{part}: {user}");
        }
        for hidden in ["secret-1", "secret-2", "SECRET_3", "77"] {
            assert!(!user.contains(hidden), "{hidden}: {user}");
        }
        assert!(
            system.contains("\"schema_version\": 2") && !system.contains("{{"),
            "{system}"
        );
    }
}
