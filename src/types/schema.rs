//! JSON Schema, as far as this project describes its documents by it: an object has no keys but those that are named.
//!
//! Source: JSON Schema, draft 2020-12, "Core" and "Validation".

use serde_json::{Map, Value, json};

/// The members of an object: a key, and what its value is.
pub type Members<'a> = [(&'a str, Value)];

/// A whole schema: what a document is, by a title, with definitions that `#/$defs/NAME` refers to.
pub fn document(title: &str, root: Value, definitions: &Members<'_>) -> Value {
    let mut schema = root;
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!(title);
    if !definitions.is_empty() {
        schema["$defs"] = named(definitions);
    }
    schema
}

/// An object with all of `needed`, perhaps some of `optional`, and nothing else.
pub fn object(needed: &Members<'_>, optional: &Members<'_>) -> Value {
    let mut required: Vec<_> = needed.iter().map(|(key, _)| *key).collect();
    required.sort_unstable();
    let all: Vec<_> = needed.iter().chain(optional).cloned().collect();
    json!({ "type": "object", "properties": named(&all), "required": required, "additionalProperties": false })
}

fn named(members: &Members<'_>) -> Value {
    let members = members.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
    Value::Object(members.collect::<Map<_, _>>())
}

/// The schema with a sentence about what it describes.
pub fn described(mut schema: Value, description: &str) -> Value {
    schema["description"] = json!(description);
    schema
}

/// What a definition describes.
pub fn refer(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

/// A text.
pub fn text() -> Value {
    json!({ "type": "string" })
}

/// A text that says something, of at most so many characters.
pub fn text_up_to(max: usize) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": max })
}

/// A text that fits a pattern.
pub fn fitting(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

/// A SHA-256 digest.
pub fn sha256() -> Value {
    fitting("^[0-9a-f]{64}$")
}

/// The name of an object of git.
pub fn object_id() -> Value {
    fitting("^[0-9a-f]{40}$")
}

/// A whole number from `least` on.
pub fn number(least: i64) -> Value {
    json!({ "type": "integer", "minimum": least })
}

/// A whole number within bounds.
pub fn number_within(least: u64, most: u64) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}

/// True or false.
pub fn boolean() -> Value {
    json!({ "type": "boolean" })
}

/// Any value at all.
pub fn anything() -> Value {
    json!({})
}

/// A list.
pub fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

/// A list of so many items.
pub fn list_within(items: Value, least: usize, most: usize) -> Value {
    json!({ "type": "array", "items": items, "minItems": least, "maxItems": most })
}

/// An object with keys of any name.
pub fn map(values: Value) -> Value {
    json!({ "type": "object", "additionalProperties": values })
}

/// One of these words.
pub fn word<S: serde::Serialize>(words: &[S]) -> Value {
    json!({ "enum": words })
}

/// Exactly this.
pub fn exactly(value: impl serde::Serialize) -> Value {
    json!({ "const": value })
}

/// Exactly one of these.
pub fn one_of(choices: &[Value]) -> Value {
    json!({ "oneOf": choices })
}

/// That, or null.
pub fn or_null(schema: Value) -> Value {
    one_of(&[schema, json!({ "type": "null" })])
}
