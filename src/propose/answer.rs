//! The model's raw answer → what it proposes, or everything that is wrong with it.
//!
//! An answer says by `schema_version` which of the two forms it has; one that says nothing has the first.

use super::Stage;
use super::draft::{Draft, Form, Operation};
use super::operations;
use crate::order::json::{Defects, Document, Pointer, Want, quote, unfence};
use crate::types::{FailureClass, PathError, Problem, RepoPath};
use serde::Serialize;
use serde_json::Value;

/// The longest answer that is read, in bytes.
pub const MAX_ANSWER_BYTES: usize = 10 << 20;

/// The largest content of one file, in bytes.
pub const MAX_FILE_BYTES: usize = 200 << 10;

/// The largest content of all files of a proposal together, in bytes.
pub const MAX_PROPOSAL_BYTES: usize = 500 << 10;

const PROPOSAL: Want = Want {
    what: "a proposal (an object)",
    example: "{\"summary\": \"…\", \"writes\": […]}",
};
pub(super) const SUMMARY: Want = Want {
    what: "a text",
    example: "\"summary\": \"Adds greet().\"",
};
const VERSION: Want = Want {
    what: "a version that is known here",
    example: "\"schema_version\": 2",
};
const WRITES: Want = Want {
    what: "a list of writes",
    example: "\"writes\": [{\"path\": \"…\", \"base_sha256\": \"…\", \"content\": \"…\"}]",
};
const WRITE: Want = Want {
    what: "a write (an object)",
    example: "{\"path\": \"…\", \"base_sha256\": \"…\", \"content\": \"…\"}",
};
const PATH: Want = Want {
    what: "a path (a text)",
    example: "\"path\": \"src/hello.py\"",
};
const BASE: Want = Want {
    what: "a digest (a text)",
    example: "\"base_sha256\": \"e3b0c442…\"",
};
const CONTENT: Want = Want {
    what: "the whole new content (a text)",
    example: "\"content\": \"print('hello')\\n\"",
};

/// An answer that is no proposal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// It is longer than what is read.
    #[error("the answer has {bytes} bytes; at most {MAX_ANSWER_BYTES} are read")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It is not one JSON document, bare or in one code fence.
    #[error("the answer is not one JSON object and nothing else:\n{defects}")]
    Unreadable {
        /// What ended the reading.
        defects: Defects,
        /// The form that was asked for.
        asked: Form,
    },
    /// It is JSON, but not a proposal within the limits.
    #[error("the answer is not a valid proposal:\n{defects}")]
    Invalid {
        /// Everything that is wrong with it.
        defects: Defects,
        /// The form that was asked for.
        asked: Form,
        /// [`Stage::OutOfScope`] when nothing is wrong but that git's own files are written.
        stage: Stage,
    },
}

impl ProposeError {
    /// How far the proposal came.
    pub fn stage(&self) -> Stage {
        match self {
            ProposeError::TooLong { .. } | ProposeError::Unreadable { .. } => Stage::Unparseable,
            ProposeError::Invalid { stage, .. } => *stage,
        }
    }
}

impl Problem for ProposeError {
    fn class(&self) -> FailureClass {
        FailureClass::Proposal
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            ProposeError::TooLong { .. } => "propose fewer or smaller files".to_owned(),
            ProposeError::Unreadable { asked, .. } => {
                format!("{}, complete and without a word around it", wanted(*asked))
            }
            ProposeError::Invalid { asked, .. } => format!("{}, and correct the places named", wanted(*asked)),
        })
    }
}

fn wanted(form: Form) -> &'static str {
    match form {
        Form::Writes => {
            "answer with one JSON object, {\"summary\": …, \"writes\": [{\"path\", \"base_sha256\", \"content\"}]}"
        }
        Form::Operations => {
            "answer with one JSON object, {\"schema_version\": 2, \"result\": \"changes\", \"summary\": …, \
             \"operations\": [{\"op\", …}]}"
        }
    }
}

/// What a model answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Proposal {
    /// Files to change.
    Changes(Draft),
    /// Nothing is to be changed: what the order asks for is there. A claim like any other.
    NoChange {
        /// Why, in the model's own words.
        summary: String,
    },
    /// It cannot be done as ordered.
    Blocked {
        /// Why, in the model's own words.
        summary: String,
    },
}

/// Reads the answer of a model: a JSON object, bare or in one code fence, with nothing around it but blanks.
///
/// In the first form fields that are not known are passed over, as its first readers did. Whether the files may be changed is
/// asked by [`super::check`]. `asked` is the form that the prompt asked for; either is read.
///
/// # Errors
/// `Proposal`, with everything that is wrong at once.
pub fn parse_answer(text: &str, asked: Form) -> Result<Proposal, ProposeError> {
    if text.len() > MAX_ANSWER_BYTES {
        return Err(ProposeError::TooLong { bytes: text.len() });
    }
    let mut document =
        Document::read(text, unfence(text)).map_err(|defects| ProposeError::Unreadable { defects, asked })?;
    let root = document.take_root();
    let mut metadata_paths = 0;
    let proposal = read_proposal(&mut document, &root, &mut metadata_paths);
    // Git's own files are the one path that no order can allow: the proposal is well-formed, and out of scope.
    let stage = match metadata_paths > 0 && metadata_paths == document.defect_count() {
        true => Stage::OutOfScope,
        false => Stage::Unparseable,
    };
    document
        .finish(proposal)
        .map_err(|defects| ProposeError::Invalid { defects, asked, stage })
}

fn read_proposal(document: &mut Document<'_>, root: &Value, metadata_paths: &mut usize) -> Option<Proposal> {
    let at = &Pointer::root();
    let object = document.object(at, root, PROPOSAL)?;
    match object.get("schema_version") {
        None => {}
        Some(version) if *version == 1 => {}
        Some(version) if *version == 2 => return operations::read(document, object, metadata_paths),
        // What it adds may be meant to limit what is done.
        Some(version) => document.add_wrong(&at.key("schema_version"), version, VERSION),
    }
    let summary = document.text(at, object, "summary", SUMMARY);
    let without_writes = !object.contains_key("writes");
    match object.get("kind").and_then(Value::as_str) {
        Some("no_change") if without_writes => {
            return summary.map(|(_, summary)| Proposal::NoChange {
                summary: summary.to_owned(),
            });
        }
        Some("blocked") if without_writes => {
            return summary.map(|(_, summary)| Proposal::Blocked {
                summary: summary.to_owned(),
            });
        }
        // A field that version 1 does not know, like any other.
        Some(_) | None => {}
    }
    let (at, elements) = document.list(at, object, "writes", WRITES)?;
    if elements.is_empty() {
        document.add(
            &at,
            format!("the list is empty; propose at least one file, as in {}", WRITES.example),
        );
    }
    let writes: Vec<_> = elements
        .into_iter()
        .map(|(at, value)| read_write(document, &at, value, metadata_paths))
        .collect();
    let total: usize = writes.iter().flatten().map(|(_, bytes)| bytes).sum();
    if total > MAX_PROPOSAL_BYTES {
        document.add(
            &at,
            format!("the contents have {total} bytes together; at most {MAX_PROPOSAL_BYTES} are taken"),
        );
    }
    let operations = writes.into_iter().map(|write| write.map(|(operation, _)| operation));
    Some(Proposal::Changes(Draft {
        summary: summary?.1.to_owned(),
        form: Form::Writes,
        operations: operations.collect::<Option<_>>()?,
    }))
}

/// Reads a full write; gives the length of its content as well.
fn read_write(
    document: &mut Document<'_>,
    at: &Pointer,
    value: &Value,
    metadata_paths: &mut usize,
) -> Option<(Operation, usize)> {
    let object = document.object(at, value, WRITE)?;
    let path = document.text(at, object, "path", PATH);
    let path = path.and_then(|(at, text)| match RepoPath::parse(text) {
        Ok(path) => Some(path),
        Err(error) => {
            *metadata_paths += usize::from(error == PathError::Metadata);
            document.add(&at, format!("{} cannot be written: {error}", quote(text)));
            None
        }
    });
    let base_sha256 = document.text(at, object, "base_sha256", BASE);
    let content = document.text(at, object, "content", CONTENT);
    if let Some((at, content)) = content.as_ref().filter(|(_, content)| content.len() > MAX_FILE_BYTES) {
        document.add(
            at,
            format!(
                "the content has {} bytes; at most {MAX_FILE_BYTES} are taken",
                content.len()
            ),
        );
    }
    let content = content?.1;
    let operation = Operation::Write {
        path: path?,
        base_sha256: base_sha256?.1.to_owned(),
        content: content.to_owned(),
        executable: None,
    };
    Some((operation, content.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(text: &str) -> Result<Proposal, ProposeError> {
        parse_answer(text, Form::Writes)
    }

    fn one_write(path: &str, content: &str) -> Value {
        json!({"summary": "s", "writes": [{"path": path, "base_sha256": "", "content": content}]})
    }

    fn refusal(text: &str) -> (Stage, String) {
        let error = read(text).expect_err(text);
        assert_eq!(error.class(), FailureClass::Proposal);
        (error.stage(), error.to_string())
    }

    #[test]
    fn a_proposal_may_stand_in_one_fence() {
        let bare = one_write("./a.py", "```\n").to_string();
        for text in [
            bare.clone(),
            format!("  \n{bare}\n"),
            format!("```\n{bare}\n```"),
            format!("```json\r\n{bare}\r\n```  \n"),
            format!("```JSON5 x\n\n{bare}\n\n```"),
        ] {
            let Proposal::Changes(draft) = read(&text).expect(&text) else {
                panic!("{text}");
            };
            let Operation::Write { path, content, .. } = &draft.operations[0] else {
                panic!("{text}");
            };
            assert_eq!((path.as_str(), content.as_str()), ("a.py", "```\n"));
        }
    }

    #[test]
    fn a_model_may_say_that_nothing_is_to_be_done_or_can_be() {
        let parsed = |value: Value| read(&value.to_string());
        let summary = "greet() is there".to_owned();
        assert_eq!(
            parsed(json!({"kind": "no_change", "summary": summary})).unwrap(),
            Proposal::NoChange {
                summary: summary.clone()
            }
        );
        assert_eq!(
            parsed(json!({"kind": "blocked", "summary": summary})).unwrap(),
            Proposal::Blocked { summary }
        );
        assert!(parsed(json!({"kind": "no_change"})).is_err(), "without a reason");
        assert!(parsed(json!({"kind": "something", "summary": ""})).is_err());
        let mut both = one_write("a.py", "x");
        both["kind"] = "no_change".into();
        assert!(
            matches!(parsed(both), Ok(Proposal::Changes(_))),
            "files win: they are judged"
        );
    }

    #[test]
    fn a_later_version_is_refused_and_the_first_may_say_so() {
        let with = |version: Value| {
            let mut value = one_write("a.py", "x");
            value["schema_version"] = version;
            read(&value.to_string())
        };
        assert!(with(json!(1)).is_ok());
        for version in [json!(3), json!("1"), json!("2"), json!(null), json!(2.5)] {
            let error = with(version.clone())
                .expect_err("a version that nobody knows")
                .to_string();
            assert!(error.contains("/schema_version"), "{version}: {error}");
        }
    }

    #[test]
    fn words_around_the_object_are_refused() {
        let bare = one_write("a.py", "x").to_string();
        for text in [
            String::new(),
            "```".to_owned(),
            "```\n```".to_owned(),
            format!("Here it is:\n{bare}"),
            format!("{bare}\nDone."),
            format!("```json\n{bare}\n```\nDone."),
            format!("```json\n{bare}"),
            format!("{bare}{bare}"),
            format!("[{bare}]"),
        ] {
            assert_eq!(refusal(&text).0, Stage::Unparseable, "{text}");
        }
    }

    #[test]
    fn every_problem_is_reported_at_once_with_its_place_in_the_answer() {
        let text =
            "```json\n{\"summary\": null, \"writes\": [\n {\"path\": \"../x\", \"base_sha256\": \"\"},\n 5]}\n```";
        let (stage, text) = refusal(text);
        let expected = [
            "the answer is not a valid proposal:",
            "line 2, column 13: /summary: null is not a text; write for example \"summary\": \"Adds greet().\"",
            "line 3, column 11: /writes/0/path: `../x` cannot be written: the path leaves the repository",
            "line 3, column 2: /writes/0/content: missing; write the whole new content (a text), for example \"content\": \"print('hello')\\n\"",
            "line 4, column 2: /writes/1: the number 5 is not a write (an object); write for example {\"path\": \"…\", \"base_sha256\": \"…\", \"content\": \"…\"}",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
        assert_eq!(stage, Stage::Unparseable);
    }

    #[test]
    fn limits_count_bytes() {
        assert!(read(&one_write("a", &"x".repeat(MAX_FILE_BYTES)).to_string()).is_ok());
        assert!(read(&one_write("a", &"é".repeat(MAX_FILE_BYTES / 2 + 1)).to_string()).is_err());
        let third = "x".repeat(MAX_PROPOSAL_BYTES / 3 + 1);
        let writes: Vec<_> = ["a", "b", "c"]
            .map(|path| json!({"path": path, "base_sha256": "", "content": third}))
            .into();
        let (_, text) = refusal(&json!({"summary": "s", "writes": writes}).to_string());
        assert!(
            text.contains("/writes: the contents have 512001 bytes together; at most 512000"),
            "{text}"
        );
        let padded = format!("{}{}", " ".repeat(MAX_ANSWER_BYTES), one_write("a", "x"));
        assert!(matches!(read(&padded), Err(ProposeError::TooLong { .. })));
    }

    #[test]
    fn a_write_to_git_is_out_of_scope_and_not_unparseable() {
        assert_eq!(refusal(&one_write(".GIT/config", "x").to_string()).0, Stage::OutOfScope);
        let mut with_another_defect = one_write(".git/config", "x");
        with_another_defect["summary"] = Value::Null;
        assert_eq!(refusal(&with_another_defect.to_string()).0, Stage::Unparseable);
    }

    #[test]
    fn deep_nesting_is_refused_without_a_crash() {
        assert_eq!(refusal(&"{\"summary\":".repeat(50_000)).0, Stage::Unparseable);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = read(&text);
        }

        #[test]
        fn a_cut_or_damaged_answer_never_panics(cut in 0usize..200, replacement in any::<char>()) {
            let whole = format!("```json\n{}\n```", one_write("src/é.py", "print('é')\n"));
            let kept: String = whole.chars().take(cut).collect();
            let _ = read(&kept);
            let damaged: String =
                whole.chars().enumerate().map(|(index, character)| if index == cut { replacement } else { character }).collect();
            let _ = read(&damaged);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))] // Each case builds up to a megabyte.

        #[test]
        fn limits_hold_for_what_is_accepted(
            sizes in proptest::collection::vec(0usize..MAX_FILE_BYTES + MAX_FILE_BYTES / 4, 0..5),
            path in any::<String>(),
        ) {
            let writes: Vec<_> = sizes
                .iter()
                .map(|size| json!({"path": path, "base_sha256": "", "content": "x".repeat(*size)}))
                .collect();
            if let Ok(Proposal::Changes(draft)) = read(&json!({"summary": "", "writes": writes}).to_string()) {
                prop_assert!(!draft.operations.is_empty());
                prop_assert!(sizes.iter().all(|size| *size <= MAX_FILE_BYTES));
                prop_assert!(sizes.iter().sum::<usize>() <= MAX_PROPOSAL_BYTES);
            }
        }
    }
}
