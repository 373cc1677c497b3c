//! An answer of version 2: operations, or why there are none.
//!
//! Unlike in version 1, a field that is not known is an error: it may be meant to limit what is done.

use super::answer::{MAX_FILE_BYTES, MAX_PROPOSAL_BYTES, Proposal, SUMMARY};
use super::draft::{Draft, Edit, Form, Operation};
use crate::order::json::{Document, Pointer, Want, quote};
use crate::types::{PathError, RepoPath};
use serde_json::{Map, Value};

/// How many edits of one file are taken: each is searched for in the whole file.
pub(super) const MAX_EDITS: usize = 200;

/// How many operations are taken.
pub(super) const MAX_OPERATIONS: usize = 1000;

const RESULT: Want = Want {
    what: "`changes`, `no_change` or `blocked`",
    example: "\"result\": \"changes\"",
};
const REASON: Want = Want {
    what: "a text",
    example: "\"reason\": \"greet() is there already.\"",
};
const OPERATIONS: Want = Want {
    what: "a list of operations",
    example: "\"operations\": [{\"op\": \"write\", \"path\": \"…\", \"base_sha256\": \"…\", \"content\": \"…\"}]",
};
const OPERATION: Want = Want {
    what: "an operation (an object)",
    example: "{\"op\": \"delete\", \"path\": \"…\", \"base_sha256\": \"…\"}",
};
const OP: Want = Want {
    what: "`write`, `replace`, `delete` or `rename`",
    example: "\"op\": \"write\"",
};
const PATH: Want = Want {
    what: "a path (a text)",
    example: "\"src/hello.py\"",
};
const BASE: Want = Want {
    what: "a digest (a text)",
    example: "\"base_sha256\": \"e3b0c442…\"",
};
const CONTENT: Want = Want {
    what: "the whole new content (a text)",
    example: "\"content\": \"print('hello')\\n\"",
};
const EXECUTABLE: Want = Want {
    what: "true or false",
    example: "\"executable\": true",
};
const EDITS: Want = Want {
    what: "a list of edits",
    example: "\"edits\": [{\"find\": \"return 1\", \"replace\": \"return 2\"}]",
};
const EDIT: Want = Want {
    what: "an edit (an object)",
    example: "{\"find\": \"return 1\", \"replace\": \"return 2\"}",
};
const FIND: Want = Want {
    what: "the text to be replaced (a text)",
    example: "\"find\": \"return 1\"",
};
const REPLACE: Want = Want {
    what: "the text in its place (a text)",
    example: "\"replace\": \"return 2\"",
};

/// Reads an answer of version 2. `metadata_paths` counts the paths that no order can allow.
pub(super) fn read(
    document: &mut Document<'_>,
    object: &Map<String, Value>,
    metadata_paths: &mut usize,
) -> Option<Proposal> {
    let at = &Pointer::root();
    let (at_result, result) = document.text(at, object, "result", RESULT)?;
    match result {
        "changes" => {
            refuse_unknown(
                document,
                at,
                object,
                &["schema_version", "result", "summary", "operations"],
            );
            read_changes(document, object, metadata_paths)
        }
        "no_change" | "blocked" => {
            refuse_unknown(document, at, object, &["schema_version", "result", "reason"]);
            let summary = document.text(at, object, "reason", REASON)?.1.to_owned();
            Some(match result {
                "no_change" => Proposal::NoChange { summary },
                _ => Proposal::Blocked { summary },
            })
        }
        _ => {
            document.add_wrong(&at_result, &Value::from(result), RESULT);
            None
        }
    }
}

fn read_changes(
    document: &mut Document<'_>,
    object: &Map<String, Value>,
    metadata_paths: &mut usize,
) -> Option<Proposal> {
    let at = &Pointer::root();
    let summary = document.text(at, object, "summary", SUMMARY);
    let (at, elements) = document.list(at, object, "operations", OPERATIONS)?;
    if elements.is_empty() {
        let text = "the list is empty; when nothing is to be changed, say so with `\"result\": \"no_change\"`";
        document.add(&at, text.to_owned());
    }
    if elements.len() > MAX_OPERATIONS {
        let text = format!(
            "{} operations are too many; at most {MAX_OPERATIONS} are taken",
            elements.len()
        );
        document.add(&at, text);
        return None;
    }
    let operations: Vec<_> = elements
        .into_iter()
        .map(|(at, value)| read_operation(document, &at, value, metadata_paths))
        .collect();
    let total: usize = operations.iter().flatten().map(length).sum();
    if total > MAX_PROPOSAL_BYTES {
        document.add(
            &at,
            format!("the operations have {total} bytes of text together; at most {MAX_PROPOSAL_BYTES} are taken"),
        );
    }
    Some(Proposal::Changes(Draft {
        summary: summary?.1.to_owned(),
        form: Form::Operations,
        operations: operations.into_iter().collect::<Option<_>>()?,
    }))
}

/// The bytes of file content that an operation brings.
fn length(operation: &Operation) -> usize {
    match operation {
        Operation::Write { content, .. } => content.len(),
        Operation::Replace { edits, .. } => edits.iter().map(|edit| edit.find.len() + edit.replace.len()).sum(),
        Operation::Delete { .. } | Operation::Rename { .. } => 0,
    }
}

fn read_operation(
    document: &mut Document<'_>,
    at: &Pointer,
    value: &Value,
    metadata_paths: &mut usize,
) -> Option<Operation> {
    let object = document.object(at, value, OPERATION)?;
    let (at_op, op) = document.text(at, object, "op", OP)?;
    let known: &[&str] = match op {
        "write" => &["op", "path", "base_sha256", "content", "executable"],
        "replace" => &["op", "path", "base_sha256", "edits"],
        "delete" => &["op", "path", "base_sha256"],
        "rename" => &["op", "from", "to", "base_sha256"],
        _ => {
            document.add_wrong(&at_op, &Value::from(op), OP);
            return None;
        }
    };
    refuse_unknown(document, at, object, known);
    let base_sha256 = document
        .text(at, object, "base_sha256", BASE)
        .map(|(_, text)| text.to_owned());
    let mut path = |document: &mut Document<'_>, key| read_path(document, at, object, key, metadata_paths);
    // Each field is read before any is asked for, so that all defects are found.
    match op {
        "write" => {
            let path = path(document, "path");
            let content = read_content(document, at, object);
            let executable = read_executable(document, at, object);
            Some(Operation::Write {
                path: path?,
                base_sha256: base_sha256?,
                content: content?,
                executable: executable?,
            })
        }
        "replace" => {
            let path = path(document, "path");
            let edits = read_edits(document, at, object);
            Some(Operation::Replace {
                path: path?,
                base_sha256: base_sha256?,
                edits: edits?,
            })
        }
        "delete" => Some(Operation::Delete {
            path: path(document, "path")?,
            base_sha256: base_sha256?,
        }),
        _ => {
            let (from, to) = (path(document, "from"), path(document, "to"));
            Some(Operation::Rename {
                from: from?,
                to: to?,
                base_sha256: base_sha256?,
            })
        }
    }
}

fn refuse_unknown(document: &mut Document<'_>, at: &Pointer, object: &Map<String, Value>, known: &[&str]) {
    for key in object.keys().filter(|key| !known.contains(&key.as_str())) {
        let text = format!(
            "nothing is known of {} here; there are {}",
            quote(key),
            known.join(", ")
        );
        document.add(&at.key(key), text);
    }
}

fn read_path(
    document: &mut Document<'_>,
    at: &Pointer,
    object: &Map<String, Value>,
    key: &str,
    metadata_paths: &mut usize,
) -> Option<RepoPath> {
    let (at, text) = document.text(at, object, key, PATH)?;
    match RepoPath::parse(text) {
        Ok(path) => Some(path),
        Err(error) => {
            *metadata_paths += usize::from(error == PathError::Metadata);
            document.add(&at, format!("{} cannot be changed: {error}", quote(text)));
            None
        }
    }
}

fn read_content(document: &mut Document<'_>, at: &Pointer, object: &Map<String, Value>) -> Option<String> {
    let (at, content) = document.text(at, object, "content", CONTENT)?;
    if content.len() > MAX_FILE_BYTES {
        let text = format!(
            "the content has {} bytes; at most {MAX_FILE_BYTES} are taken",
            content.len()
        );
        document.add(&at, text);
    }
    Some(content.to_owned())
}

fn read_executable(document: &mut Document<'_>, at: &Pointer, object: &Map<String, Value>) -> Option<Option<bool>> {
    match object.get("executable") {
        None => Some(None),
        Some(Value::Bool(executable)) => Some(Some(*executable)),
        Some(other) => {
            document.add_wrong(&at.key("executable"), other, EXECUTABLE);
            None
        }
    }
}

fn read_edits(document: &mut Document<'_>, at: &Pointer, object: &Map<String, Value>) -> Option<Vec<Edit>> {
    let (at, elements) = document.list(at, object, "edits", EDITS)?;
    if elements.is_empty() {
        document.add(
            &at,
            format!("the list is empty; say what is replaced, as in {}", EDITS.example),
        );
    }
    if elements.len() > MAX_EDITS {
        let text = format!(
            "{} edits are too many; at most {MAX_EDITS} are taken, so write the file whole",
            elements.len()
        );
        document.add(&at, text);
        return None;
    }
    let edits: Vec<_> = elements
        .into_iter()
        .map(|(at, value)| read_edit(document, &at, value))
        .collect();
    edits.into_iter().collect()
}

fn read_edit(document: &mut Document<'_>, at: &Pointer, value: &Value) -> Option<Edit> {
    let object = document.object(at, value, EDIT)?;
    refuse_unknown(document, at, object, &["find", "replace"]);
    let find = document.text(at, object, "find", FIND);
    if let Some((at, "")) = &find {
        document.add(at, "the text is empty, and so found everywhere".to_owned());
    }
    let replace = document.text(at, object, "replace", REPLACE);
    Some(Edit {
        find: find?.1.to_owned(),
        replace: replace?.1.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{ProposeError, Stage, parse_answer};
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(value: &Value) -> Result<Proposal, ProposeError> {
        parse_answer(&value.to_string(), Form::Operations)
    }

    fn changes(operations: &Value) -> Value {
        json!({"schema_version": 2, "result": "changes", "summary": "s", "operations": operations})
    }

    fn all() -> Value {
        json!([
            {"op": "write", "path": "a", "base_sha256": "", "content": "\r\n\0", "executable": true},
            {"op": "replace", "path": "b", "base_sha256": "", "edits": [{"find": "x", "replace": ""}]},
            {"op": "delete", "path": "./c", "base_sha256": ""},
            {"op": "rename", "from": "d", "to": "e", "base_sha256": ""}
        ])
    }

    #[test]
    fn every_operation_is_read_and_written_as_it_was() {
        let mut value = changes(&all());
        let Ok(Proposal::Changes(draft)) = read(&value) else {
            panic!("a proposal");
        };
        assert_eq!(draft.operations.len(), 4);
        value["operations"][2]["path"] = "c".into();
        assert_eq!(serde_json::to_value(&draft).expect("JSON"), value);
    }

    #[test]
    fn no_change_and_blocked_give_a_reason_and_nothing_else() {
        let answer = |result: &str| json!({"schema_version": 2, "result": result, "reason": "r"});
        let summary = "r".to_owned();
        assert_eq!(
            read(&answer("no_change")).ok(),
            Some(Proposal::NoChange {
                summary: summary.clone()
            })
        );
        assert_eq!(read(&answer("blocked")).ok(), Some(Proposal::Blocked { summary }));
        for (key, value) in [("operations", all()), ("summary", json!("s")), ("reason", json!(null))] {
            let mut with = answer("no_change");
            with[key] = value;
            assert!(read(&with).is_err(), "{with}");
        }
        assert!(read(&answer("done")).is_err());
    }

    #[test]
    fn what_is_malformed_is_named_with_its_place() {
        for (pointer, field, place) in [
            ("/result", json!(1), "/result"),
            ("/operations", json!([]), "/operations"),
            ("/operations", json!({}), "/operations"),
            ("/extra", json!(1), "/extra"),
            ("/operations/0/op", json!("append"), "/operations/0/op"),
            ("/operations/0/mode", json!("0755"), "/operations/0/mode"),
            ("/operations/0/executable", json!("yes"), "/operations/0/executable"),
            ("/operations/0/path", json!("../a"), "/operations/0/path"),
            ("/operations/0/path", json!("a\u{0}"), "/operations/0/path"),
            ("/operations/0/path", json!("a\r\n"), "/operations/0/path"),
            ("/operations/1/edits", json!([]), "/operations/1/edits"),
            ("/operations/1/edits/0/find", json!(""), "/operations/1/edits/0/find"),
            ("/operations/1/edits/0/all", json!(true), "/operations/1/edits/0/all"),
            ("/operations/1/content", json!("x"), "/operations/1/content"),
            ("/operations/2/base_sha256", json!(null), "/operations/2/base_sha256"),
            ("/operations/3/to", json!("/etc/passwd"), "/operations/3/to"),
        ] {
            let mut value = changes(&all());
            let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
            value.pointer_mut(parent).expect(pointer)[key] = field;
            let error = read(&value).expect_err(pointer);
            assert!(error.to_string().contains(&format!(" {place}: ")), "{pointer}: {error}");
            assert_eq!(error.stage(), Stage::Unparseable);
        }
    }

    #[test]
    fn git_s_own_files_are_out_of_scope_for_every_operation_and_on_both_sides() {
        for operation in [
            json!({"op": "write", "path": ".git/config", "base_sha256": "", "content": ""}),
            json!({"op": "replace", "path": "a/.GIT/x", "base_sha256": "", "edits": [{"find": "x", "replace": ""}]}),
            json!({"op": "delete", "path": "git~1", "base_sha256": ""}),
            json!({"op": "rename", "from": ".git/config", "to": "x", "base_sha256": ""}),
            json!({"op": "rename", "from": "x", "to": ".git ", "base_sha256": ""}),
        ] {
            let error = read(&changes(&json!([operation]))).expect_err("git's own");
            assert_eq!(error.stage(), Stage::OutOfScope, "{operation}");
        }
    }

    #[test]
    fn limits_hold_for_edits_as_well() {
        let large = "x".repeat(MAX_PROPOSAL_BYTES / 2);
        let edits = json!([{"find": "a", "replace": large}, {"find": large, "replace": "b"}]);
        assert!(
            read(&changes(
                &json!([{"op": "replace", "path": "a", "base_sha256": "", "edits": edits}])
            ))
            .is_err()
        );
        let edits = vec![json!({"find": "a", "replace": "b"}); MAX_EDITS + 1];
        assert!(
            read(&changes(
                &json!([{"op": "replace", "path": "a", "base_sha256": "", "edits": edits}])
            ))
            .is_err()
        );
        let delete = json!({"op": "delete", "path": "a", "base_sha256": ""});
        assert!(read(&changes(&json!(vec![delete.clone(); MAX_OPERATIONS]))).is_ok());
        assert!(read(&changes(&json!(vec![delete; MAX_OPERATIONS + 1]))).is_err());
    }

    #[test]
    fn the_examples_of_the_documentation_are_read() {
        let page = include_str!("../../docs/proposals.md");
        let examples: Vec<_> = page
            .split("```json\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next())
            .collect();
        assert_eq!(examples.len(), 2);
        for example in examples {
            let parsed = parse_answer(example, Form::Operations);
            assert!(matches!(parsed, Ok(Proposal::Changes(_))), "{parsed:?}");
        }
    }

    proptest! {
        #[test]
        fn a_cut_or_damaged_answer_never_panics(cut in 0usize..500, replacement in any::<char>()) {
            let whole = changes(&all()).to_string();
            let damaged: String =
                whole.chars().enumerate().map(|(index, character)| if index == cut { replacement } else { character }).collect();
            let _ = parse_answer(&damaged, Form::Operations);
        }
    }
}
