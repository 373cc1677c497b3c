//! Work order text → [`WorkOrder`], or everything that is wrong with it.

pub(super) mod command;
mod lists;
pub(super) mod second;
#[cfg(test)]
mod second_tests;
mod suite;

pub use second::is_plain_id;
pub use suite::parse_suite;

use super::json::{Defects, Document, Pointer, Want, quote};
use super::{
    AcceptanceCommand, Condition, MAX_CONTEXT_FILES, MAX_ORDER_BYTES, OrderBudget, Resources, Version, WorkOrder,
    split_command,
};
use crate::types::{FailureClass, Problem, RepoPath};
use serde_json::{Map, Value};

const ORDER: Want = Want {
    what: "a work order (an object)",
    example: "{\"id\": \"WO-01\", …}",
};
const ID: Want = Want {
    what: "a text",
    example: "\"id\": \"WO-01\"",
};
const TITLE: Want = Want {
    what: "a text",
    example: "\"title\": \"Add a greeting\"",
};
const INTENT: Want = Want {
    what: "a text",
    example: "\"intent\": \"Add greet() to hello.py.\"",
};
const NOTES: Want = Want {
    what: "a text or null",
    example: "\"notes\": \"Keep the style.\"",
};
const ALLOWED_FILES: Want = Want {
    what: "a list of paths",
    example: "\"allowed_files\": [\"src/hello.py\"]",
};
const CONTEXT_FILES: Want = Want {
    what: "a list of paths, possibly empty",
    example: "\"context_files\": [\"src/hello.py\"]",
};
const FORBIDDEN: Want = Want {
    what: "a list of texts, possibly empty",
    example: "\"forbidden\": [\"Do not add dependencies.\"]",
};
const COMMANDS: Want = Want {
    what: "a list of commands",
    example: "\"acceptance_commands\": [\"pytest -q\"]",
};
const CONDITIONS: Want = Want {
    what: "a list of conditions",
    example: "[{\"kind\": \"file_exists\", \"path\": \"src/a.py\"}]",
};
const CONDITION: Want = Want {
    what: "a condition (an object)",
    example: "{\"kind\": \"file_exists\", \"path\": \"src/a.py\"}",
};
const KIND: Want = Want {
    what: "the kind of a condition",
    example: "\"kind\": \"file_exists\"",
};
const PATH: Want = Want {
    what: "a path",
    example: "\"src/hello.py\"",
};
const COMMAND: Want = Want {
    what: "a command (a text)",
    example: "\"pytest -q\"",
};
const SENTENCE: Want = Want {
    what: "a text",
    example: "\"Do not add dependencies.\"",
};
const SWITCH: Want = Want {
    what: "true or false",
    example: "\"verify_exempt\": false",
};
const VERSION: Want = Want {
    what: "a version that is known here",
    example: "\"schema_version\": 2",
};

/// A text that is not a work order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// It could not be read to the end: too large, not UTF-8, not JSON.
    #[error("cannot read the work order: {defects}")]
    Unreadable {
        /// What ended the reading.
        defects: Defects,
    },
    /// It is JSON, but not a work order.
    #[error("the work order is not valid:\n{defects}")]
    Invalid {
        /// Everything that is wrong with it.
        defects: Defects,
    },
}

impl OrderError {
    /// What is wrong, each with its place.
    pub fn defects(&self) -> &Defects {
        match self {
            OrderError::Unreadable { defects } | OrderError::Invalid { defects } => defects,
        }
    }
}

impl Problem for OrderError {
    fn class(&self) -> FailureClass {
        FailureClass::Order
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            OrderError::Unreadable { .. } => "a work order is one JSON object in a UTF-8 file".to_owned(),
            OrderError::Invalid { .. } => "correct the places named; nothing was run and no model was asked".to_owned(),
        })
    }
}

/// Reads a work order.
///
/// Fields that version 1 does not know are passed over, as its first readers did. In version 2 they are refused, because
/// what an order says is meant to be enforced; so is a `schema_version` that is not known.
///
/// # Errors
/// `Order`, with everything that is wrong at once.
pub fn parse(bytes: &[u8]) -> Result<WorkOrder, OrderError> {
    let mut document =
        Document::read_bytes(bytes, MAX_ORDER_BYTES).map_err(|defects| OrderError::Unreadable { defects })?;
    let root = document.take_root();
    let order = read_order(&mut document, &root);
    document
        .finish(order)
        .map_err(|defects| OrderError::Invalid { defects })
}

fn read_order(document: &mut Document<'_>, root: &Value) -> Option<WorkOrder> {
    let at = &Pointer::root();
    let object = document.object(at, root, ORDER)?;
    match object.get("schema_version") {
        Some(version) if *version == 2 => second::read(document, at, object),
        Some(version) if *version != 1 => {
            document.add_wrong(&at.key("schema_version"), version, VERSION);
            None
        }
        None | Some(_) => read_first(document, at, object),
    }
}

/// Reads an order of version 1.
fn read_first(document: &mut Document<'_>, at: &Pointer, object: &Map<String, Value>) -> Option<WorkOrder> {
    // Each field is read before any is asked for, so that all defects are found.
    let id = document.text(at, object, "id", ID);
    let title = document.text(at, object, "title", TITLE);
    let intent = document.text(at, object, "intent", INTENT);
    let preconditions = read_conditions(document, at, object, "preconditions");
    let postconditions = read_conditions(document, at, object, "postconditions");
    let allowed_files = read_allowed_files(document, at, object);
    let forbidden = read_each(document, at, object, "forbidden", FORBIDDEN, |document, at, value| {
        document.as_text(at, value, SENTENCE).map(str::to_owned)
    });
    let acceptance_commands = read_commands(document, at, object);
    let context_files = read_context_files(document, at, object);
    let notes = read_notes(document, at, object);
    let verify_exempt = read_switch(document, at, object, "verify_exempt");
    Some(WorkOrder {
        version: Version::V1,
        id: id?.1.to_owned(),
        title: title?.1.to_owned(),
        kind: None,
        intent: intent?.1.to_owned(),
        requirements: Vec::new(),
        depends_on: None,
        preconditions: preconditions?,
        postconditions: postconditions?,
        allowed_files: allowed_files?,
        allowed_deletes: Vec::new(),
        allowed_renames: Vec::new(),
        executable_files: Vec::new(),
        protected_files: Vec::new(),
        forbidden_paths: Vec::new(),
        forbidden: forbidden?,
        acceptance_commands: acceptance_commands?,
        golden: Vec::new(),
        tools: Vec::new(),
        resources: Resources::default(),
        budget: OrderBudget::default(),
        context_files: context_files?,
        notes: notes?,
        verify_exempt: verify_exempt?,
        provenance: object.get("provenance").cloned(),
    })
}

/// Reads a list whose elements are all of one kind; gives nothing when one of them is not.
fn read_each<T>(
    document: &mut Document<'_>,
    at: &Pointer,
    object: &Map<String, Value>,
    key: &str,
    want: Want,
    mut read: impl FnMut(&mut Document<'_>, &Pointer, &Value) -> Option<T>,
) -> Option<Vec<T>> {
    let (_, elements) = document.list(at, object, key, want)?;
    let read: Vec<_> = elements
        .into_iter()
        .map(|(at, value)| read(document, &at, value))
        .collect();
    read.into_iter().collect()
}

fn read_path(document: &mut Document<'_>, at: &Pointer, value: &Value) -> Option<RepoPath> {
    let text = document.as_text(at, value, PATH)?;
    match RepoPath::parse(text) {
        Ok(path) => Some(path),
        Err(error) => {
            let wanted = "write it relative to the top of the repository, as in src/hello.py";
            document.add(at, format!("{} cannot be used: {error}; {wanted}", quote(text)));
            None
        }
    }
}

fn read_allowed_files(document: &mut Document<'_>, at: &Pointer, object: &Map<String, Value>) -> Option<Vec<RepoPath>> {
    let paths = read_each(document, at, object, "allowed_files", ALLOWED_FILES, read_path)?;
    if paths.is_empty() {
        let text = format!(
            "the list is empty, so no answer could be right; name a file, as in {}",
            ALLOWED_FILES.example
        );
        document.add(&at.key("allowed_files"), text);
    }
    Some(paths)
}

fn read_context_files(document: &mut Document<'_>, at: &Pointer, object: &Map<String, Value>) -> Option<Vec<RepoPath>> {
    let paths = read_each(document, at, object, "context_files", CONTEXT_FILES, read_path)?;
    if paths.len() > MAX_CONTEXT_FILES {
        let text = format!(
            "{} files are too many; at most {MAX_CONTEXT_FILES} are shown to the model",
            paths.len()
        );
        document.add(&at.key("context_files"), text);
    }
    Some(paths)
}

fn read_commands(
    document: &mut Document<'_>,
    at: &Pointer,
    object: &Map<String, Value>,
) -> Option<Vec<AcceptanceCommand>> {
    let commands = read_each(document, at, object, "acceptance_commands", COMMANDS, read_command)?;
    if commands.is_empty() {
        let text = format!(
            "the list is empty; at least one command has to judge the result, as in {}",
            COMMANDS.example
        );
        document.add(&at.key("acceptance_commands"), text);
    }
    Some(commands)
}

fn read_command(document: &mut Document<'_>, at: &Pointer, value: &Value) -> Option<AcceptanceCommand> {
    let text = document.as_text(at, value, COMMAND)?;
    let complaint = match split_command(text) {
        Err(error) => format!("{} does not split into words: {error}", quote(text)),
        Ok(argv) if argv.is_empty() => format!("the command is blank; write for example {}", COMMAND.example),
        Ok(argv) if argv[0].is_empty() => format!("{} names no program: its first word is empty", quote(text)),
        Ok(_) if text.contains('\0') => format!("{} has a NUL, which no program can be given", quote(text)),
        Ok(argv) => return Some(AcceptanceCommand::plain(text, argv)),
    };
    document.add(at, complaint);
    None
}

fn read_conditions(
    document: &mut Document<'_>,
    at: &Pointer,
    object: &Map<String, Value>,
    key: &str,
) -> Option<Vec<Condition>> {
    if !object.contains_key(key) {
        return Some(Vec::new());
    }
    read_each(document, at, object, key, CONDITIONS, |document, at, value| {
        let condition = document.object(at, value, CONDITION)?;
        let make = read_kind(document, at, condition, key);
        let path = document
            .member(at, condition, "path", PATH)
            .and_then(|(at, value)| read_path(document, &at, value));
        Some(make?(path?))
    })
}

/// Makes a condition about a path.
type Make = fn(RepoPath) -> Condition;

fn read_kind(document: &mut Document<'_>, at: &Pointer, condition: &Map<String, Value>, list: &str) -> Option<Make> {
    let (at, kind) = document.text(at, condition, "kind", KIND)?;
    match (kind, list) {
        ("file_exists", _) => Some(|path| Condition::FileExists { path }),
        ("file_absent", "preconditions") => Some(|path| Condition::FileAbsent { path }),
        ("file_absent", _) => {
            let why = "no answer can delete a file, so `file_absent` can only be a precondition";
            document.add(&at, format!("{why}; a postcondition is `file_exists`"));
            None
        }
        (other, _) => {
            document.add(
                &at,
                format!(
                    "{} is not a kind of condition; it is `file_exists` or `file_absent`",
                    quote(other)
                ),
            );
            None
        }
    }
}

fn read_notes(document: &mut Document<'_>, at: &Pointer, object: &Map<String, Value>) -> Option<Option<String>> {
    match object.get("notes") {
        None | Some(Value::Null) => Some(None),
        Some(value) => document
            .as_text(&at.key("notes"), value, NOTES)
            .map(|notes| Some(notes.to_owned())),
    }
}

/// Reads a boolean that may be missing. Words and numbers are not taken for one: this switch turns checks off.
fn read_switch(document: &mut Document<'_>, at: &Pointer, object: &Map<String, Value>, key: &str) -> Option<bool> {
    match object.get(key) {
        None => Some(false),
        Some(Value::Bool(value)) => Some(*value),
        Some(other) => {
            document.add_wrong(&at.key(key), other, SWITCH);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn minimal() -> Value {
        json!({
            "id": "WO-01", "title": "t", "intent": "i", "allowed_files": ["./a.py"], "forbidden": [],
            "acceptance_commands": ["python -c 'import a'"], "context_files": []
        })
    }

    #[test]
    fn a_minimal_order_is_read() {
        let order = parse(minimal().to_string().as_bytes()).expect("a valid order");
        assert_eq!(order.allowed_files[0].as_str(), "a.py");
        assert_eq!(order.acceptance_commands[0].argv, ["python", "-c", "import a"]);
        assert_eq!(
            (order.notes, order.verify_exempt, order.provenance),
            (None, false, None)
        );
    }

    #[test]
    fn an_order_serialises_to_what_it_was_read_from() {
        let mut value = minimal();
        value["preconditions"] = json!([{"kind": "file_absent", "path": "a.py"}]);
        value["provenance"] = json!({"bootstrap": true});
        let order = parse(value.to_string().as_bytes()).expect("a valid order");
        let text = serde_json::to_vec(&order).expect("an order serialises");
        assert_eq!(parse(&text), Ok(order));
    }

    #[test]
    fn every_problem_is_reported_at_once_with_its_place() {
        let text = r#"{
  "id": 5,
  "titel": "t",
  "intent": "i",
  "allowed_files": ["a.py", "../b.py"],
  "forbidden": "nothing",
  "acceptance_commands": ["pytest -q", "   ", "echo 'x"],
  "context_files": [],
  "postconditions": [{"kind": "file_absent", "path": "a.py"}],
  "verify_exempt": "yes",
  "id": "WO-01"
}"#;
        let error = parse(text.as_bytes()).expect_err("an order with many problems");
        let shown: Vec<String> = error.defects().listed.iter().map(ToString::to_string).collect();
        let expected = [
            "line 11, column 3: /id: the key stands twice in this object; keep one",
            "line 2, column 9: /id: the number 5 is not a text; write for example \"id\": \"WO-01\"",
            "line 1, column 1: /title: missing (there is `titel`; is it meant?); write a text, for example \"title\": \"Add a greeting\"",
            "line 9, column 31: /postconditions/0/kind: no answer can delete a file, so `file_absent` can only be a precondition; a postcondition is `file_exists`",
            "line 5, column 29: /allowed_files/1: `../b.py` cannot be used: the path leaves the repository; write it relative to the top of the repository, as in src/hello.py",
            "line 6, column 16: /forbidden: the text `nothing` is not a list of texts, possibly empty; write for example \"forbidden\": [\"Do not add dependencies.\"]",
            "line 7, column 40: /acceptance_commands/1: the command is blank; write for example \"pytest -q\"",
            "line 7, column 47: /acceptance_commands/2: `echo 'x` does not split into words: the quote ' is not closed",
            "line 10, column 20: /verify_exempt: the text `yes` is not true or false; write for example \"verify_exempt\": false",
        ];
        assert_eq!(shown, expected);
        assert_eq!(error.class(), FailureClass::Order);
    }

    #[test]
    fn a_later_version_is_not_read_as_version_1() {
        let mut value = minimal();
        for version in [json!(3), json!(0), json!("1"), json!(null)] {
            value["schema_version"] = version;
            let error = parse(value.to_string().as_bytes()).expect_err("another version");
            assert_eq!(error.defects().listed.len(), 1, "{error}");
            assert_eq!(error.defects().listed[0].pointer, "/schema_version");
        }
        value["schema_version"] = json!(1);
        assert!(parse(value.to_string().as_bytes()).is_ok());
    }

    #[test]
    fn fields_that_are_not_known_are_passed_over() {
        let mut value = minimal();
        value["colour"] = json!({"deep": [1, 2, {"x": null}]});
        assert!(parse(value.to_string().as_bytes()).is_ok());
    }

    /// A JSON value of any shape, biased to the words that mean something in an order.
    pub(super) fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(|number| json!(number)),
            any::<String>().prop_map(Value::String),
            prop_oneof![
                Just("a.py"),
                Just("../x"),
                Just(".git/config"),
                Just("echo '"),
                Just("file_exists")
            ]
            .prop_map(|text| json!(text)),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let key = prop_oneof![Just("kind".to_owned()), Just("path".to_owned()), any::<String>()];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                proptest::collection::btree_map(key, inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in any::<Vec<u8>>()) {
            let _ = parse(&bytes);
        }

        #[test]
        fn a_cut_or_damaged_order_never_panics(cut in 0usize..200, replacement in any::<u8>()) {
            let mut text = minimal().to_string().into_bytes();
            let cut = cut.min(text.len() - 1);
            let _ = parse(&text[..cut]);
            text[cut] = replacement;
            let _ = parse(&text);
        }

        #[test]
        fn an_order_is_read_within_its_limits_or_refused_with_a_place(
            field in proptest::sample::select(vec![
                "id", "title", "intent", "preconditions", "postconditions", "allowed_files", "forbidden",
                "acceptance_commands", "context_files", "notes", "verify_exempt", "provenance",
            ]),
            value in any_json(),
        ) {
            let mut order = minimal();
            order[field] = value;
            match parse(order.to_string().as_bytes()) {
                Ok(order) => {
                    prop_assert!(!order.allowed_files.is_empty());
                    prop_assert!(order.context_files.len() <= MAX_CONTEXT_FILES);
                    prop_assert!(order.acceptance_commands.iter().all(|command| !command.argv[0].is_empty()));
                }
                Err(error) => {
                    prop_assert!(!error.defects().listed.is_empty());
                    let within = error.defects().listed.iter().all(|defect| defect.pointer.starts_with(&format!("/{field}")));
                    prop_assert!(within, "{}", error);
                }
            }
        }
    }
}
