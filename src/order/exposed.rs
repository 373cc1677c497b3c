//! Credentials in the text of an order, which everybody whom a model's answers reach would have.

use crate::types::credential_in;
use serde_json::Value;

/// The fields of an order, as it is written, that have what looks like a credential, each with what it looks like. Whatever of
/// them a prompt shows, this looks at all of them, but for what the planner wrote down about itself, which nobody is shown.
pub fn exposed_fields(order: &Value) -> Vec<(&str, &'static str)> {
    let fields = order.as_object().into_iter().flatten();
    fields
        .filter(|(name, _)| *name != "provenance")
        .filter_map(|(name, value)| {
            let mut found = None;
            each_text(value, &mut |text| found = found.take().or_else(|| credential_in(text)));
            Some((name.as_str(), found?.what))
        })
        .collect()
}

/// The texts in a value, names of members among them.
fn each_text(value: &Value, tell: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => tell(text),
        Value::Array(items) => items.iter().for_each(|item| each_text(item, tell)),
        Value::Object(members) => members.iter().for_each(|(name, member)| {
            tell(name);
            each_text(member, tell);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_is_named_wherever_in_it_the_credential_is_and_nothing_else_is() {
        const TOKEN: &str = "ghp_a1b2c3d4e5f6g7h8i9j0a1b2c3d4e5f6";
        let order = json!({
            "title": "t",
            "intent": format!("use {TOKEN}"),
            "acceptance": [{ "argv": ["true"], "env": { TOKEN: "x" } }],
            "provenance": { "note": TOKEN },
        });
        let what = "a token of GitHub";
        assert_eq!(exposed_fields(&order), [("acceptance", what), ("intent", what)]);
        assert_eq!(exposed_fields(&json!({ "intent": "x" })), []);
    }
}
