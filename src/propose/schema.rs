//! What a model may answer, as JSON Schema: both versions.
//!
//! What is read as a proposal fits it. Whether the files may be changed, and stand as the proposal takes them to, is no matter
//! of form.

use super::answer::{MAX_FILE_BYTES, MAX_PROPOSAL_BYTES};
use super::operations::{MAX_EDITS, MAX_OPERATIONS};
use crate::types::schema::{
    boolean, described, document, exactly, list_within, object, one_of, refer, text, text_up_to, word,
};
use serde_json::{Value, json};

/// The schema of the answers to orders of version 1. Fields that are not known are passed over.
pub fn first() -> Value {
    let open = |mut schema: Value| {
        schema["additionalProperties"] = json!(true);
        schema
    };
    let write = open(object(
        &[("path", refer("path")), ("base_sha256", text()), ("content", content())],
        &[],
    ));
    let changes = object(
        &[
            ("summary", text()),
            ("writes", json!({ "type": "array", "items": write, "minItems": 1 })),
        ],
        &[("schema_version", exactly(1))],
    );
    let mut none = object(
        &[("kind", word(&["no_change", "blocked"])), ("summary", text())],
        &[("schema_version", exactly(1))],
    );
    // What writes is no such answer, whatever else it says.
    none["properties"]["writes"] = json!(false);
    let answer = one_of(&[open(changes), open(none)]);
    document("A proposal of version 1", answer, &definitions())
}

/// The schema of the answers to orders of version 2.
pub fn second() -> Value {
    let operation = |op: &str, needed: &[(&str, Value)], optional: &[(&str, Value)]| {
        let fixed = [("op", exactly(op)), ("base_sha256", digest())];
        object(&[&fixed[..], needed].concat(), optional)
    };
    let replace = json!({ "type": "string", "maxLength": MAX_PROPOSAL_BYTES });
    let edit = object(&[("find", text_up_to(MAX_PROPOSAL_BYTES)), ("replace", replace)], &[]);
    let edits = list_within(edit, 1, MAX_EDITS);
    let path = || ("path", refer("path"));
    let operations = one_of(&[
        operation("write", &[path(), ("content", content())], &[("executable", boolean())]),
        operation("replace", &[path(), ("edits", edits)], &[]),
        operation("delete", &[path()], &[]),
        operation("rename", &[("from", refer("path")), ("to", refer("path"))], &[]),
    ]);
    let changes = object(
        &[
            ("schema_version", exactly(2)),
            ("result", exactly("changes")),
            ("summary", text()),
            ("operations", list_within(operations, 1, MAX_OPERATIONS)),
        ],
        &[],
    );
    let none = object(
        &[
            ("schema_version", exactly(2)),
            ("result", word(&["no_change", "blocked"])),
            ("reason", text()),
        ],
        &[],
    );
    document("A proposal of version 2", one_of(&[changes, none]), &definitions())
}

fn definitions() -> Vec<(&'static str, Value)> {
    let path = "A literal path, relative to the top of the repository, and not under `.git`.";
    vec![("path", described(text_up_to(4095), path))]
}

fn content() -> Value {
    json!({ "type": "string", "maxLength": MAX_FILE_BYTES })
}

fn digest() -> Value {
    let what = "The SHA-256 of the bytes that are replaced, in 64 lower-case digits; that of no bytes for a new file.";
    described(text(), what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_fits_is_read() {
        // The examples of the prompt are read in the tests of the reader; here only that no operation is forgotten.
        let schema = second();
        let operations = &schema["oneOf"][0]["properties"]["operations"]["items"]["oneOf"];
        let names: Vec<_> = operations
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|operation| operation["properties"]["op"]["const"].as_str())
            .collect();
        assert_eq!(names, ["write", "replace", "delete", "rename"]);
    }
}
