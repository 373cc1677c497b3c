//! Both versions of a work order as JSON Schema, for editors and other programs.
//!
//! What [`super::parse`] reads fits it. Not all that fits is an order: that a path leads out of the repository, or that two
//! fields exclude each other, a schema does not say.

use super::parse::command::{MAX_EXPECTED, MAX_STDIN_BYTES, MAX_VARIABLES, MAX_WORD_BYTES, MAX_WORDS};
use super::parse::second::{MAX_COMMANDS, MAX_ID, MAX_ITEMS, MAX_LINE_BYTES, MAX_NUMBER, MAX_PATHS, MAX_TEXT_BYTES};
use super::{Kind, MAX_CONTEXT_FILES, MAX_RUNS, Version};
use crate::types::schema::{
    anything, boolean, described, document, exactly, fitting, list, list_within, map, number_within, object, one_of,
    or_null, refer, sha256, text, text_up_to, word,
};
use serde_json::{Value, json};

/// The schema of a version.
pub fn schema(version: Version) -> Value {
    match version {
        Version::V1 => document("A work order of version 1", first(), &[("path", path())]),
        Version::V2 => document("A work order of version 2", second(), &definitions()),
    }
}

/// What the schemas of orders refer to.
pub fn definitions() -> Vec<(&'static str, Value)> {
    vec![
        ("path", path()),
        (
            "order_id",
            fitting(&format!("^[A-Za-z0-9][A-Za-z0-9._-]{{0,{}}}$", MAX_ID - 1)),
        ),
        ("duration", fitting("^[0-9]+(ms|s|m|h|d)$")),
        ("size", fitting("^[0-9]+(B|KiB|MiB|GiB|TiB)?$")),
        ("condition", condition()),
        ("command", command()),
    ]
}

fn path() -> Value {
    let text = text_up_to(4095);
    described(
        text,
        "A literal path, relative to the top of the repository, and not under `.git`.",
    )
}

/// Fields that version 1 does not know are passed over by its readers.
pub fn first() -> Value {
    let conditions = |kinds: &[&str]| list(object(&[("kind", word(kinds)), ("path", refer("path"))], &[]));
    let mut order = object(
        &[
            ("id", text()),
            ("title", text()),
            ("intent", text()),
            (
                "allowed_files",
                json!({ "type": "array", "items": refer("path"), "minItems": 1 }),
            ),
            ("forbidden", list(text())),
            (
                "acceptance_commands",
                json!({ "type": "array", "items": text(), "minItems": 1 }),
            ),
            ("context_files", list_within(refer("path"), 0, MAX_CONTEXT_FILES)),
        ],
        &[
            ("schema_version", exactly(1)),
            ("preconditions", conditions(&["file_exists", "file_absent"])),
            ("postconditions", conditions(&["file_exists"])),
            ("notes", or_null(text())),
            ("verify_exempt", boolean()),
            ("provenance", anything()),
        ],
    );
    order["additionalProperties"] = json!(true);
    for list in ["preconditions", "postconditions"] {
        order["properties"][list]["items"]["additionalProperties"] = json!(true);
    }
    order
}

/// The fields of version 2.
pub fn second() -> Value {
    let paths = || list_within(refer("path"), 0, MAX_PATHS);
    let sentences = || list_within(text_up_to(MAX_LINE_BYTES * 4), 0, MAX_ITEMS);
    let conditions = || list_within(refer("condition"), 0, MAX_ITEMS);
    let rename = object(&[("from", refer("path")), ("to", refer("path"))], &[]);
    object(
        &[
            ("schema_version", exactly(2)),
            ("id", refer("order_id")),
            ("title", text_up_to(MAX_LINE_BYTES)),
            ("kind", word(&Kind::ALL.map(Kind::as_str))),
            ("intent", text_up_to(MAX_TEXT_BYTES)),
            ("depends_on", list_within(refer("order_id"), 0, MAX_ITEMS)),
            ("acceptance", list_within(refer("command"), 1, MAX_COMMANDS)),
        ],
        &[
            ("requirements", sentences()),
            ("preconditions", conditions()),
            ("postconditions", conditions()),
            ("allowed_files", paths()),
            ("allowed_deletes", paths()),
            ("allowed_renames", list_within(rename, 0, MAX_PATHS)),
            ("executable_files", paths()),
            ("protected_files", paths()),
            ("forbidden_paths", paths()),
            ("forbidden", sentences()),
            ("golden", list_within(golden(), 0, MAX_ITEMS)),
            ("tools", list_within(tool(), 0, MAX_ITEMS)),
            ("resources", resources()),
            ("budget", budget()),
            ("context_files", list_within(refer("path"), 0, MAX_CONTEXT_FILES)),
            ("notes", or_null(text_up_to(MAX_TEXT_BYTES))),
            ("verify_exempt", boolean()),
            ("provenance", anything()),
        ],
    )
}

fn condition() -> Value {
    let about_file = |kind: &str| object(&[("kind", exactly(kind)), ("path", refer("path"))], &[]);
    one_of(&[
        about_file("file_exists"),
        about_file("file_absent"),
        object(
            &[
                ("kind", exactly("file_sha256")),
                ("path", refer("path")),
                ("sha256", sha256()),
            ],
            &[],
        ),
        object(&[("kind", exactly("order_done")), ("order", refer("order_id"))], &[]),
        object(&[("kind", exactly("tool")), ("name", text_up_to(MAX_LINE_BYTES))], &[]),
    ])
}

fn words() -> Value {
    list_within(json!({ "type": "string", "maxLength": MAX_WORD_BYTES }), 1, MAX_WORDS)
}

fn command() -> Value {
    let mut env = map(json!({ "type": "string", "maxLength": MAX_WORD_BYTES }));
    env["maxProperties"] = json!(MAX_VARIABLES);
    object(
        &[("argv", words())],
        &[
            ("cwd", refer("path")),
            ("env", env),
            ("stdin", json!({ "type": "string", "maxLength": MAX_STDIN_BYTES })),
            ("timeout", refer("duration")),
            ("expect", expect()),
            ("expect_baseline", word(&["fail", "pass", "any"])),
            ("visibility", word(&["full", "summary", "none"])),
            ("runs", number_within(1, MAX_RUNS.into())),
        ],
    )
}

fn expect() -> Value {
    let bounded = |values: Value| {
        let mut map = map(values);
        map["maxProperties"] = json!(MAX_EXPECTED);
        map
    };
    let stdout = |key: &str| object(&[(key, json!({ "type": "string", "maxLength": MAX_STDIN_BYTES }))], &[]);
    object(
        &[],
        &[
            ("exit", number_within(0, 255)),
            ("stdout", one_of(&[stdout("equals"), stdout("contains")])),
            ("json", bounded(anything())),
            ("files", bounded(sha256())),
        ],
    )
}

fn golden() -> Value {
    object(&[("name", refer("order_id")), ("sha256", sha256())], &[])
}

fn tool() -> Value {
    object(
        &[("name", text_up_to(MAX_LINE_BYTES))],
        &[("argv", words()), ("min_version", fitting("^[0-9]+(\\.[0-9]+){0,5}$"))],
    )
}

fn resources() -> Value {
    object(
        &[],
        &[
            ("wall", refer("duration")),
            ("cpu", refer("duration")),
            ("memory", refer("size")),
            ("pids", number_within(1, MAX_NUMBER)),
            ("file_size", refer("size")),
            ("output", refer("size")),
        ],
    )
}

fn budget() -> Value {
    let mut budget = object(
        &[],
        &[
            ("usd", fitting("^\\$?[0-9]+(\\.[0-9]{1,9})?$")),
            ("tokens", number_within(1, MAX_NUMBER)),
        ],
    );
    budget["minProperties"] = json!(1);
    budget
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::parse::{command, second};

    fn keys(schema: &Value) -> Vec<&str> {
        let properties = schema["properties"].as_object().expect("an object");
        properties.keys().map(String::as_str).collect()
    }

    #[test]
    fn the_schema_has_the_keys_that_are_read() {
        let definitions = definitions();
        let command_schema = &definitions
            .iter()
            .find(|(name, _)| *name == "command")
            .expect("a command")
            .1;
        let order = super::second();
        for (schema, known) in [
            (&order, second::KEYS.known),
            (command_schema, command::COMMAND_KEYS.known),
            (&command_schema["properties"]["expect"], command::EXPECT_KEYS.known),
            (&order["properties"]["golden"]["items"], second::GOLDEN_KEYS.known),
            (&order["properties"]["tools"]["items"], second::TOOL_KEYS.known),
            (&order["properties"]["resources"], second::RESOURCES_KEYS.known),
            (&order["properties"]["budget"], second::BUDGET_KEYS.known),
            (
                &order["properties"]["allowed_renames"]["items"],
                second::RENAME_KEYS.known,
            ),
        ] {
            let mut known = known.to_vec();
            known.sort_unstable();
            assert_eq!(keys(schema), known);
        }
    }
}
