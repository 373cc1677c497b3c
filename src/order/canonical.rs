//! The one spelling of a JSON value over which digests are taken.
//!
//! Keys are sorted, blanks are left out, and everything beyond printable ASCII is escaped, so that the bytes depend on
//! the value alone. Version 1 orders have digests over this form in recorded runs, which is why it stays as it is.

use serde_json::{Number, Value};

/// Writes `value` in its canonical form.
pub fn canonical_json(value: &Value) -> Vec<u8> {
    let mut out = String::new();
    write_value(value, &mut out);
    out.into_bytes()
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_text(text, out),
        Value::Array(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                write_separator(index, out);
                write_value(value, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            // Sorted here, because the order of a map depends on a feature that any crate in the build may switch on.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (index, (key, value)) in members.into_iter().enumerate() {
                write_separator(index, out);
                write_text(key, out);
                out.push(':');
                write_value(value, out);
            }
            out.push('}');
        }
    }
}

fn write_separator(index: usize, out: &mut String) {
    if index > 0 {
        out.push(',');
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(character),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
}

/// Whole numbers in digits; others with the fewest digits that read back as the same number, in scientific notation
/// below 1e-4 and from 1e16 on.
fn write_number(number: &Number, out: &mut String) {
    let Some(float) = number.as_f64().filter(|_| number.is_f64()) else {
        out.push_str(&number.to_string());
        return;
    };
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if float != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        out.push_str(&format!("{digits}e{sign}{:02}", exponent.unsigned_abs()));
    } else {
        out.push_str(&format!("{float:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn canonical(value: Value) -> String {
        String::from_utf8(canonical_json(&value)).expect("the form is ASCII")
    }

    #[test]
    fn keys_are_sorted_and_blanks_left_out() {
        assert_eq!(
            canonical(json!({"b": [1, null], "a": {"d": true, "c": "x"}})),
            r#"{"a":{"c":"x","d":true},"b":[1,null]}"#
        );
    }

    #[test]
    fn all_but_printable_ascii_is_escaped() {
        assert_eq!(
            canonical(json!("\"\\/\n\u{1}\u{7f}é😀")),
            r#""\"\\/\n\u0001\u007f\u00e9\ud83d\ude00""#
        );
    }

    #[test]
    fn numbers_have_one_spelling() {
        for (value, expected) in [
            (json!(0), "0"),
            (json!(-1), "-1"),
            (json!(1.0), "1.0"),
            (json!(0.1), "0.1"),
            (json!(1e15), "1000000000000000.0"),
            (json!(1e16), "1e+16"),
            (json!(1.5e300), "1.5e+300"),
            (json!(0.0001), "0.0001"),
            (json!(0.00001), "1e-05"),
            (json!(u64::MAX), "18446744073709551615"),
        ] {
            assert_eq!(canonical(value), expected);
        }
    }

    #[test]
    fn the_canonical_form_reads_back_as_the_same_value() {
        let value = json!({"k": [1.5, 1e21, -0.25, "é\u{2028}", {}], "": []});
        assert_eq!(
            serde_json::from_slice::<Value>(&canonical_json(&value)).expect("JSON"),
            value
        );
    }
}
