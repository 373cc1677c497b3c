//! The objects of `acceptance`.

use super::super::json::{Document, Pointer, Want, quote};
use super::super::{AcceptanceCommand, Baseline, Expect, Kind, MAX_RUNS, TextMatch, Visibility, join_command};
use super::lists::{Keys, list, number, optional, parsed, refuse_unknown, word};
use super::read_path;
use crate::types::{RepoPath, Sha256, parse_duration};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// How many words a command may have.
pub(in crate::order) const MAX_WORDS: usize = 200;

/// How long a word or the value of a variable may be, in bytes. The kernel takes four times as much; source: `MAX_ARG_STRLEN`
/// in execve(2).
pub(in crate::order) const MAX_WORD_BYTES: usize = 32 << 10;

/// How many variables a command may be given.
pub(in crate::order) const MAX_VARIABLES: usize = 50;

/// How much a command may be given to read, in bytes.
pub(in crate::order) const MAX_STDIN_BYTES: usize = 64 << 10;

/// How many values or files a command may be asked for.
pub(in crate::order) const MAX_EXPECTED: usize = 50;

const COMMAND: Want = Want {
    what: "a command (an object)",
    example: "{\"argv\": [\"pytest\", \"-q\"]}",
};
const ARGV: Want = Want {
    what: "a list of words",
    example: "\"argv\": [\"pytest\", \"-q\"]",
};
const WORD: Want = Want {
    what: "a word (a text)",
    example: "\"-q\"",
};
const ENV: Want = Want {
    what: "an object of names and texts",
    example: "\"env\": {\"LANG\": \"C\"}",
};
const STDIN: Want = Want {
    what: "a text",
    example: "\"stdin\": \"1 2\\n\"",
};
const TIMEOUT: Want = Want {
    what: "a duration",
    example: "\"timeout\": \"30s\"",
};
const EXPECT: Want = Want {
    what: "an object",
    example: "\"expect\": {\"exit\": 0, \"stdout\": {\"contains\": \"ok\"}}",
};
const EXIT: Want = Want {
    what: "an exit code",
    example: "\"exit\": 0",
};
const STDOUT: Want = Want {
    what: "an object with one of `equals` and `contains`",
    example: "\"stdout\": {\"contains\": \"ok\"}",
};
const STDOUT_TEXT: Want = Want {
    what: "a text",
    example: "\"contains\": \"ok\"",
};
const JSON: Want = Want {
    what: "an object of JSON pointers and values",
    example: "\"json\": {\"/status\": \"ok\"}",
};
const FILES: Want = Want {
    what: "an object of paths and SHA-256 digests",
    example: "\"files\": {\"out/a.txt\": \"9f86d081…\"}",
};
const DIGEST: Want = Want {
    what: "a SHA-256 digest",
    example: "\"9f86d081…\" with 64 digits",
};
const BASELINE: Want = Want {
    what: "`fail`, `pass` or `any`",
    example: "\"expect_baseline\": \"fail\"",
};
const VISIBILITY: Want = Want {
    what: "`full`, `summary` or `none`",
    example: "\"visibility\": \"full\"",
};
const RUNS: Want = Want {
    what: "a whole number",
    example: "\"runs\": 3",
};

pub(in crate::order) const COMMAND_KEYS: Keys = Keys {
    of: "a command",
    known: &[
        "argv",
        "cwd",
        "env",
        "stdin",
        "timeout",
        "expect",
        "expect_baseline",
        "visibility",
        "runs",
    ],
};
pub(in crate::order) const EXPECT_KEYS: Keys = Keys {
    of: "what is expected",
    known: &["exit", "stdout", "json", "files"],
};
const STDOUT_KEYS: Keys = Keys {
    of: "what is asked of a text",
    known: &["equals", "contains"],
};

/// Reads one command. What it has to do on the base depends on the kind of work where it does not say.
pub(super) fn read(
    document: &mut Document<'_>,
    at: &Pointer,
    value: &Value,
    kind: Option<Kind>,
) -> Option<AcceptanceCommand> {
    let object = document.object(at, value, COMMAND)?;
    refuse_unknown(document, at, object, &COMMAND_KEYS);
    let argv = argv(document, at, object);
    let cwd = optional(document, at, object, "cwd", read_path);
    let env = optional(document, at, object, "env", environment);
    let stdin = optional(document, at, object, "stdin", stdin);
    let timeout = optional(document, at, object, "timeout", |document, at, value| {
        duration(document, at, value, TIMEOUT)
    });
    let expect = optional(document, at, object, "expect", expect);
    let expect_baseline = optional(document, at, object, "expect_baseline", |document, at, value| {
        let words = [
            ("fail", Baseline::Fail),
            ("pass", Baseline::Pass),
            ("any", Baseline::Any),
        ];
        word(document, at, value, (BASELINE, &words))
    });
    let visibility = optional(document, at, object, "visibility", |document, at, value| {
        let words = [
            ("full", Visibility::Full),
            ("summary", Visibility::Summary),
            ("none", Visibility::None),
        ];
        word(document, at, value, (VISIBILITY, &words))
    });
    let runs = optional(document, at, object, "runs", |document, at, value| {
        number(document, at, value, (RUNS, 1, MAX_RUNS.into()))
    });
    let argv = argv?;
    Some(AcceptanceCommand {
        text: join_command(&argv),
        argv,
        cwd: cwd?,
        env: env?.unwrap_or_default(),
        stdin: stdin?,
        timeout: timeout?,
        expect: expect?.unwrap_or_default(),
        expect_baseline: expect_baseline?.unwrap_or_else(|| usual_baseline(kind)),
        visibility: visibility?.unwrap_or(Visibility::Full),
        runs: runs?.map_or(1, |runs| u32::try_from(runs).unwrap_or(MAX_RUNS)),
    })
}

/// What a command of this kind of work does before it is done, unless the order says something else.
fn usual_baseline(kind: Option<Kind>) -> Baseline {
    match kind {
        Some(Kind::Refactor) => Baseline::Pass,
        Some(Kind::Docs) => Baseline::Any,
        Some(Kind::Create | Kind::Modify | Kind::Fix | Kind::Remove | Kind::Test | Kind::Bootstrap) | None => {
            Baseline::Fail
        }
    }
}

/// The words of a command, of which the first names a program.
pub(super) fn argv(document: &mut Document<'_>, at: &Pointer, object: &Map<String, Value>) -> Option<Vec<String>> {
    document.member(at, object, "argv", ARGV)?;
    let words = list(
        document,
        at,
        object,
        ("argv", ARGV, MAX_WORDS),
        |document, at, value| {
            let word = document.as_text(at, value, WORD)?;
            fits(document, at, word, MAX_WORD_BYTES)
        },
    )?;
    if words.first().is_none_or(|program| program.trim().is_empty()) {
        let text = format!("no program is named; write for example {}", ARGV.example);
        document.add(&at.key("argv"), text);
        return None;
    }
    Some(words)
}

/// The text, when a process can be given it.
fn fits(document: &mut Document<'_>, at: &Pointer, text: &str, max: usize) -> Option<String> {
    let complaint = if text.len() > max {
        format!("it has {} bytes; at most {max} are passed on", text.len())
    } else if text.contains('\0') {
        format!("{} has a NUL, which no program can be given", quote(text))
    } else {
        return Some(text.to_owned());
    };
    document.add(at, complaint);
    None
}

fn environment(document: &mut Document<'_>, at: &Pointer, value: &Value) -> Option<BTreeMap<String, String>> {
    let variables = members(document, at, value, ENV, MAX_VARIABLES)?;
    let read: Vec<_> = variables
        .iter()
        .map(|(name, value)| {
            let at = at.key(name);
            let is_name = |name: &str| {
                let mut bytes = name.bytes();
                let first = bytes
                    .next()
                    .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
                first && name.len() <= 100 && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            };
            if !is_name(name) {
                let wanted = "letters, digits and `_`, not beginning with a digit";
                document.add(&at, format!("{} is no name of a variable: {wanted}", quote(name)));
                return None;
            }
            let text = document.as_text(&at, value, ENV)?;
            Some((name.clone(), fits(document, &at, text, MAX_WORD_BYTES)?))
        })
        .collect();
    read.into_iter().collect()
}

fn stdin(document: &mut Document<'_>, at: &Pointer, value: &Value) -> Option<String> {
    let text = document.as_text(at, value, STDIN)?;
    if text.len() > MAX_STDIN_BYTES {
        document.add(
            at,
            format!("it has {} bytes; at most {MAX_STDIN_BYTES} are passed on", text.len()),
        );
        return None;
    }
    Some(text.to_owned())
}

/// A duration that is not zero.
pub(super) fn duration(document: &mut Document<'_>, at: &Pointer, value: &Value, want: Want) -> Option<Duration> {
    let duration = parsed(document, at, value, want, parse_duration)?;
    if duration.is_zero() {
        document.add(at, "no time at all is too short".to_owned());
        return None;
    }
    Some(duration)
}

fn expect(document: &mut Document<'_>, at: &Pointer, value: &Value) -> Option<Expect> {
    let object = document.object(at, value, EXPECT)?;
    refuse_unknown(document, at, object, &EXPECT_KEYS);
    let exit = optional(document, at, object, "exit", |document, at, value| {
        number(document, at, value, (EXIT, 0, 255))
    });
    let stdout = optional(document, at, object, "stdout", text_match);
    let json = optional(document, at, object, "json", json_values);
    let files = optional(document, at, object, "files", digests);
    Some(Expect {
        exit: exit?.map_or(0, |exit| u8::try_from(exit).unwrap_or(0)),
        stdout: stdout?,
        json: json?.unwrap_or_default(),
        files: files?.unwrap_or_default(),
    })
}

fn text_match(document: &mut Document<'_>, at: &Pointer, value: &Value) -> Option<TextMatch> {
    let object = document.object(at, value, STDOUT)?;
    refuse_unknown(document, at, object, &STDOUT_KEYS);
    let (make, key): (fn(String) -> TextMatch, _) = match (object.get("equals"), object.get("contains")) {
        (Some(_), None) => (TextMatch::Equals, "equals"),
        (None, Some(_)) => (TextMatch::Contains, "contains"),
        (None, None) | (Some(_), Some(_)) => {
            document.add_wrong(at, value, STDOUT);
            return None;
        }
    };
    let text = document.as_text(&at.key(key), &object[key], STDOUT_TEXT)?;
    if key == "contains" && text.is_empty() {
        document.add(
            &at.key(key),
            "nothing stands in every text; name what has to stand there".to_owned(),
        );
        return None;
    }
    fits(document, &at.key(key), text, MAX_STDIN_BYTES).map(make)
}

fn json_values(document: &mut Document<'_>, at: &Pointer, value: &Value) -> Option<BTreeMap<String, Value>> {
    let values = members(document, at, value, JSON, MAX_EXPECTED)?;
    let read: Vec<_> = values
        .iter()
        .map(|(pointer, value)| {
            if !pointer.is_empty() && !pointer.starts_with('/') {
                let text = format!("{} is no JSON pointer, which begins with `/`", quote(pointer));
                document.add(&at.key(pointer), text);
                return None;
            }
            Some((pointer.clone(), value.clone()))
        })
        .collect();
    read.into_iter().collect()
}

fn digests(document: &mut Document<'_>, at: &Pointer, value: &Value) -> Option<BTreeMap<RepoPath, Sha256>> {
    let digests = members(document, at, value, FILES, MAX_EXPECTED)?;
    let read: Vec<_> = digests
        .iter()
        .map(|(path, digest)| {
            let at = at.key(path);
            let path = read_path(document, &at, &Value::String(path.clone()));
            let digest = parsed(document, &at, digest, DIGEST, str::parse::<Sha256>);
            Some((path?, digest?))
        })
        .collect();
    read.into_iter().collect()
}

/// The members of an object that is not larger than it may be.
fn members<'v>(
    document: &mut Document<'_>,
    at: &Pointer,
    value: &'v Value,
    want: Want,
    max: usize,
) -> Option<&'v Map<String, Value>> {
    let members = document.object(at, value, want)?;
    if members.len() > max {
        document.add(at, format!("{} are too many; at most {max} are read", members.len()));
        return None;
    }
    Some(members)
}
