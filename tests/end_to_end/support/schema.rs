//! Judges JSON documents by a JSON Schema, as far as this project's own use it.
//!
//! A keyword that it does not know is a panic: it would be a rule that nobody checks. A validator for all of the
//! specification pulls in dozens of crates for a dozen keywords.
//! Source: JSON Schema, draft 2020-12, "Core" and "Validation".

use serde_json::Value;

/// Keywords that say nothing about documents.
const NOTES: [&str; 4] = ["$schema", "$defs", "title", "description"];

/// What is wrong with `document`: a line for each violation, with its place. Empty when it is valid.
pub(crate) fn violations(schema: &Value, document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    Judge { root: schema }.judge(schema, document, "", &mut found);
    found
}

/// Panics when a document does not follow the committed schema of this name.
#[track_caller]
pub(crate) fn follows(name: &str, document: &Value) {
    let found = violations(&committed(name), document);
    assert!(found.is_empty(), "{name}: {found:#?}\n{document:#}");
}

/// The committed schema of this name.
pub(crate) fn committed(name: &str) -> Value {
    let path = super::project().join(format!("docs/schema/{name}.schema.json"));
    serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))).unwrap()
}

struct Judge<'a> {
    root: &'a Value,
}

impl Judge<'_> {
    fn judge(&self, schema: &Value, document: &Value, at: &str, found: &mut Vec<String>) {
        if let Some(holds) = schema.as_bool() {
            if !holds {
                found.push(format!("{at}: nothing may stand there"));
            }
            return;
        }
        let rules = schema.as_object().unwrap();
        let mut check = |holds: bool, what: String| {
            if !holds {
                found.push(format!("{at}: {what}"));
            }
        };
        for (keyword, rule) in rules {
            match keyword.as_str() {
                "type" => check(is_of(rule, document), format!("{document} is not of type {rule}")),
                "const" => check(rule == document, format!("{document} is not {rule}")),
                "enum" => check(
                    rule.as_array().unwrap().contains(document),
                    format!("{document} is none of {rule}"),
                ),
                "minimum" => check(
                    document.as_i64().is_none_or(|number| number >= rule.as_i64().unwrap()),
                    format!("{document} is less than {rule}"),
                ),
                "maximum" => check(
                    document.as_u64().is_none_or(|number| number <= rule.as_u64().unwrap()),
                    format!("{document} is more than {rule}"),
                ),
                "minLength" | "maxLength" => check(
                    document
                        .as_str()
                        .is_none_or(|text| within(keyword, text.chars().count(), rule)),
                    format!("the text has not {keyword} {rule}"),
                ),
                "minItems" | "maxItems" => check(
                    document.as_array().is_none_or(|list| within(keyword, list.len(), rule)),
                    format!("the list has not {keyword} {rule}"),
                ),
                "minProperties" | "maxProperties" => check(
                    document
                        .as_object()
                        .is_none_or(|object| within(keyword, object.len(), rule)),
                    format!("the object has not {keyword} {rule}"),
                ),
                "pattern" => check(
                    document.as_str().is_none_or(|text| fits(rule.as_str().unwrap(), text)),
                    format!("{document} does not fit {rule}"),
                ),
                "required" => {
                    for name in rule.as_array().unwrap() {
                        let has = document
                            .as_object()
                            .is_none_or(|fields| fields.contains_key(name.as_str().unwrap()));
                        check(has, format!("{name} is missing"));
                    }
                }
                "properties" | "additionalProperties" | "items" | "oneOf" | "$ref" => {}
                name => assert!(NOTES.contains(&name), "{at}: this validator does not know `{name}`"),
            }
        }
        self.judge_inside(schema, document, at, found);
    }

    /// What is said by other schemas within this one.
    fn judge_inside(&self, schema: &Value, document: &Value, at: &str, found: &mut Vec<String>) {
        if let Some(name) = schema["$ref"].as_str() {
            let referred = self.root.pointer(name.strip_prefix('#').unwrap());
            let referred = referred.unwrap_or_else(|| panic!("{name} leads nowhere"));
            self.judge(referred, document, at, found);
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            let tried: Vec<Vec<String>> = choices
                .iter()
                .map(|choice| {
                    let mut inside = Vec::new();
                    self.judge(choice, document, at, &mut inside);
                    inside
                })
                .collect();
            let fitting = tried.iter().filter(|inside| inside.is_empty()).count();
            if fitting != 1 {
                found.push(format!("{at}: {fitting} of {} choices fit: {tried:#?}", choices.len()));
            }
        }
        for (index, item) in document.as_array().into_iter().flatten().enumerate() {
            if !schema["items"].is_null() {
                self.judge(&schema["items"], item, &format!("{at}/{index}"), found);
            }
        }
        for (name, field) in document.as_object().into_iter().flatten() {
            let at = format!("{at}/{name}");
            match (&schema["properties"][name], &schema["additionalProperties"]) {
                (Value::Null, Value::Bool(false)) => found.push(format!("{at}: the schema does not know it")),
                (Value::Null, Value::Null) => {}
                (Value::Null, rule) | (rule, _) => self.judge(rule, field, &at, found),
            }
        }
    }
}

fn within(keyword: &str, size: usize, rule: &Value) -> bool {
    let bound = usize::try_from(rule.as_u64().unwrap()).unwrap();
    match keyword.starts_with("min") {
        true => size >= bound,
        false => size <= bound,
    }
}

fn is_of(kinds: &Value, document: &Value) -> bool {
    let is = |kind: &Value| match kind.as_str().unwrap() {
        "object" => document.is_object(),
        "array" => document.is_array(),
        "string" => document.is_string(),
        "boolean" => document.is_boolean(),
        "null" => document.is_null(),
        "integer" => document.is_u64() || document.is_i64(),
        kind => panic!("this validator does not know the type `{kind}`"),
    };
    match kinds {
        Value::Array(kinds) => kinds.iter().any(is),
        kind => is(kind),
    }
}

/// The patterns in use, each as the sentence that it is.
fn fits(pattern: &str, text: &str) -> bool {
    let hexadecimal =
        |length: usize| text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number_and = |units: &[&str]| units.iter().any(|unit| text.strip_suffix(unit).is_some_and(are_digits));
    match pattern {
        "^[0-9a-f]{40}$" => hexadecimal(40),
        "^[0-9a-f]{16}$" => hexadecimal(16),
        "^[A-Z_]+$" => !text.is_empty() && text.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'_')),
        "^[0-7][0-9A-HJKMNP-TV-Z]{25}$" => {
            let is_digit = |b: u8| b.is_ascii_digit() || (b.is_ascii_uppercase() && !b"ILOU".contains(&b));
            text.len() == 26 && text.as_bytes()[0] <= b'7' && text.bytes().all(is_digit)
        }
        "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" => {
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            let first = text.bytes().next();
            first.is_some_and(|b| b.is_ascii_alphanumeric()) && text.len() <= 64 && text.bytes().all(is_plain)
        }
        "^[0-9]+(ms|s|m|h|d)$" => number_and(&["ms", "s", "m", "h", "d"]),
        "^[0-9]+(B|KiB|MiB|GiB|TiB)?$" => number_and(&["", "B", "KiB", "MiB", "GiB", "TiB"]),
        "^[0-9]+(\\.[0-9]+){0,5}$" => text.split('.').all(are_digits) && text.split('.').count() <= 6,
        "^\\$?[0-9]+(\\.[0-9]{1,9})?$" => {
            let text = text.strip_prefix('$').unwrap_or(text);
            let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
            are_digits(whole) && are_digits(part) && part.len() <= 9
        }
        "^[0-9a-f]{64}$" => hexadecimal(64),
        "^([0-9a-f]{40}|[0-9a-f]{64})$" => hexadecimal(40) || hexadecimal(64),
        "^[a-z_]+$" => !text.is_empty() && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'_')),
        "^[A-Za-z0-9+/]*={0,2}$" => {
            let digits = text.trim_end_matches('=');
            text.len() - digits.len() <= 2
                && digits
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
        }
        "^[a-z_]+:\\[[0-9]+\\]$" => text
            .strip_suffix(']')
            .and_then(|text| text.split_once(":["))
            .is_some_and(|(name, number)| {
                fits("^[a-z_]+$", name) && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
            }),
        _ => panic!("this validator does not know the pattern `{pattern}`"),
    }
}
