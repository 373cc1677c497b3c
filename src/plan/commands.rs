//! What the commands of an order say without being run.
//!
//! - A command is read in either version: a text that splits into words, or the words themselves.
//! - What is found in a shell's text is found by its words alone; what cannot be told is taken to be meant well.

use crate::order::{SplitError, join_command, split_command};
use serde_json::Value;

/// A command of an order as far as it can be read.
pub(super) struct Command {
    /// As it is shown.
    pub(super) text: String,
    /// Its words.
    pub(super) words: Result<Vec<String>, SplitError>,
}

/// The commands that judge an order, whatever else is in their list.
pub(super) fn commands(order: &Value) -> Vec<Command> {
    let list = |name: &str| order.get(name).and_then(Value::as_array).into_iter().flatten();
    if !is_second(order) {
        let texts = list("acceptance_commands").filter_map(Value::as_str);
        return texts
            .map(|text| Command {
                text: text.to_owned(),
                words: split_command(text),
            })
            .collect();
    }
    let words = list("acceptance").filter_map(|command| {
        let words = command.get("argv")?.as_array()?.iter();
        words.map(|word| word.as_str().map(str::to_owned)).collect()
    });
    words
        .map(|words: Vec<String>| Command {
            text: join_command(&words),
            words: Ok(words),
        })
        .collect()
}

/// Whether an order is of version 2.
pub(super) fn is_second(order: &Value) -> bool {
    order.get("schema_version").is_some_and(|version| *version == 2)
}

/// Words by which a shell joins commands.
const JOINTS: [&str; 6] = ["|", "||", "&&", ";", "&", "|&"];

/// The commands that a command is made of: those of a shell's text, or itself.
fn parts(words: &[String]) -> Vec<Vec<String>> {
    let text = match words {
        [shell, option, text, ..] if ["bash", "sh", "dash"].contains(&name(shell)) && is_text_option(option) => text,
        _ => return vec![words.to_vec()],
    };
    // Set apart, so that joints are words of their own; one in quotes is none, and is then split off for nothing.
    let spaced = ["&&", "||", ";", "\n"].iter().fold(text.clone(), |text, joint| {
        text.replace(joint, &format!(" {} ", joint.replace('\n', ";")))
    });
    let Ok(inner) = split_command(&spaced) else {
        return vec![words.to_vec()];
    };
    let mut parts: Vec<_> = inner
        .split(|word| JOINTS.contains(&word.as_str()))
        .map(<[String]>::to_vec)
        .collect();
    parts.retain(|part| !part.is_empty());
    parts
}

fn is_text_option(option: &str) -> bool {
    option.starts_with('-') && !option.starts_with("--") && option.ends_with('c')
}

fn name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

/// Programs that look at what is there, and run nothing of it.
const LOOKING: [&str; 27] = [
    "true",
    ":",
    "echo",
    "printf",
    "test",
    "[",
    "ls",
    "cat",
    "stat",
    "file",
    "grep",
    "egrep",
    "fgrep",
    "rg",
    "head",
    "tail",
    "wc",
    "find",
    "cmp",
    "diff",
    "sha256sum",
    "md5sum",
    "readlink",
    "tree",
    "set",
    "cd",
    "exit",
];

/// Whether a command only looks at whether something is there, or at its text: no code of the candidate is run but what an
/// import runs.
pub(super) fn only_looks(words: &[String]) -> bool {
    parts(words).iter().all(|part| {
        let words: Vec<&str> = part
            .iter()
            .map(String::as_str)
            .skip_while(|word| *word == "!")
            .collect();
        let Some((program, arguments)) = words.split_first() else {
            return true;
        };
        let program = name(program);
        match (program, arguments) {
            ("python" | "python3", ["-c", text, ..]) => only_imports(text),
            ("python" | "python3", ["-m", "py_compile" | "compileall", ..]) => true,
            ("bash" | "sh" | "dash", ["-n", ..]) => true,
            ("node", ["--check" | "-c", ..]) => true,
            ("git", ["ls-files" | "grep" | "status" | "diff" | "show" | "log", ..]) => true,
            ("find", arguments) => !arguments.iter().any(|argument| argument.starts_with("-exec")),
            _ => LOOKING.contains(&program),
        }
    })
}

/// Whether a Python text does nothing but import, and say that it did.
fn only_imports(text: &str) -> bool {
    let says = |statement: &str| {
        let said = statement.strip_prefix("print(").and_then(|rest| rest.strip_suffix(')'));
        said.is_some_and(|said| {
            let quoted = |quote| said.len() >= 2 && said.starts_with(quote) && said.ends_with(quote);
            said.is_empty() || quoted('\'') || quoted('"')
        })
    };
    let mut statements = text.split(['\n', ';']).map(str::trim);
    statements.all(|statement| {
        let imports = statement.starts_with("import ") || statement.starts_with("from ");
        imports || statement.is_empty() || statement == "pass" || says(statement)
    })
}

/// What a command does with the network, if it cannot be done without: the words that say so.
pub(super) fn needs_network(words: &[String]) -> Option<String> {
    parts(words).iter().find_map(|part| {
        let words: Vec<&str> = part
            .iter()
            .map(String::as_str)
            .skip_while(|word| *word == "!")
            .collect();
        let (program, arguments) = words.split_first()?;
        let program = name(program);
        let plain = arguments.iter().find(|argument| !argument.starts_with('-')).copied();
        // Another program of this host, which profiles may let a command reach.
        let is_local = arguments.iter().any(|argument| {
            ["localhost", "127.0.0.1", "[::1]"]
                .iter()
                .any(|host| argument.contains(host))
        });
        let module = match (program, arguments) {
            ("python" | "python3", ["-m", module, rest @ ..]) => Some((*module, rest.first().copied())),
            _ => None,
        };
        let found = match (program, plain) {
            ("curl" | "wget" | "ssh" | "scp" | "sftp" | "rsync" | "ping" | "nc" | "telnet", _) => !is_local,
            ("pip" | "pip3", Some("install" | "download")) => true,
            ("npm", Some("install" | "i" | "ci" | "add" | "update" | "publish")) => true,
            ("yarn" | "pnpm", Some("install" | "add" | "update")) => true,
            ("npx", _) => true,
            ("git", Some("clone" | "fetch" | "pull" | "push" | "ls-remote")) => true,
            ("apt" | "apt-get" | "dnf" | "yum" | "apk" | "brew", Some("install" | "update" | "add" | "upgrade")) => {
                true
            }
            ("cargo", Some("install" | "fetch" | "update" | "add" | "publish" | "search")) => true,
            ("go", Some("get" | "install")) => true,
            ("gem" | "bundle" | "composer" | "poetry", Some("install" | "update" | "add")) => true,
            ("uv", Some("sync" | "add" | "pip")) => true,
            ("docker" | "podman", Some("pull" | "run" | "build")) => true,
            _ => matches!(module, Some(("pip", Some("install" | "download")))),
        };
        found.then(|| match plain {
            Some(plain) if module.is_none() => format!("{program} {plain}"),
            _ if module.is_some() => words[..words.len().min(4)].join(" "),
            _ => program.to_owned(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        split_command(text).expect(text)
    }

    #[test]
    fn a_command_that_runs_nothing_of_the_candidate_only_looks() {
        for text in [
            "test -f a.py",
            "/usr/bin/test -f a.py",
            "grep -q def a.py",
            "python -c 'import a'",
            "python -c 'from a import b; print(\"ok\")'",
            "python -m py_compile a.py",
            "bash -n scripts/verify.sh",
            "bash -c 'test -f a.py && grep -q x a.py; ! ls b'",
            "sh -ec 'cat a.py | wc -l'",
            "find . -name a.py",
            "true",
        ] {
            assert!(only_looks(&words(text)), "{text}");
        }
    }

    #[test]
    fn a_command_that_runs_the_candidate_does_more() {
        for text in [
            "pytest -q",
            "python -m pytest",
            "python a.py",
            "python -c 'import a; assert a.f() == 1'",
            "python -c 'import a; print(a.f())'",
            "bash run.sh",
            "bash -c 'test -f a.py && python a.py'",
            "find . -name a.py -exec python {} +",
            "cargo test",
            "./a.out",
        ] {
            assert!(!only_looks(&words(text)), "{text}");
        }
    }

    #[test]
    fn commands_that_need_a_network_are_known_by_their_words() {
        for (text, expected) in [
            ("pip install -r requirements.txt", Some("pip install")),
            ("python -m pip install x", Some("python -m pip install")),
            ("pip --version", None),
            ("python -m pip --version", None),
            ("npm ci", Some("npm ci")),
            ("npm test", None),
            ("curl -s https://example.org", Some("curl https://example.org")),
            ("curl -s http://localhost:8000/", None),
            ("git clone https://example.org/x", Some("git clone")),
            ("git status", None),
            ("bash -c 'cd x && apt-get install -y jq'", Some("apt-get install")),
            ("cargo test", None),
            ("grep -q 'pip install' README.md", None),
        ] {
            assert_eq!(needs_network(&words(text)).as_deref(), expected, "{text}");
        }
    }
}
