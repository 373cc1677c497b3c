//! What must not be shown to a model, although the order names it.

use super::context::MAX_CONTEXT_BYTES;
use crate::change::BaseEntry;
use crate::order::{WorkOrder, exposed_fields};
use crate::types::{RepoPath, credential_in, credential_name, escape_control};
use std::fmt;

/// How far behind what is shown of a file a credential in it may end, in bytes: several times the longest token.
const MARGIN: usize = 4 << 10;

/// Something that the order would show and that must not be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// The context file; nothing when it is the order's own text.
    pub path: Option<RepoPath>,
    /// Why.
    pub why: Why,
}

/// Why something must not be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It is a symbolic link, or below one.
    Link,
    /// Files of this name hold what must not be shown.
    Name(&'static str),
    /// A line has what looks like a credential.
    Text {
        /// The line, from one.
        line: usize,
        /// What it looks like.
        what: &'static str,
    },
    /// A field of the order has.
    Field {
        /// The field.
        name: String,
        /// What it looks like.
        what: &'static str,
    },
}

impl Exposure {
    /// Whether the operator can say that it is meant. What a link leads to is named by its own path instead.
    pub fn can_be_allowed(&self) -> bool {
        self.why != Why::Link
    }
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.as_ref().map_or("the order", |path| path.as_str());
        let path = escape_control(path);
        match &self.why {
            Why::Link => write!(f, "{path} is a symbolic link, or below one"),
            Why::Name(what) => write!(f, "{path} has the name of a file that holds {what}"),
            Why::Text { line, what } => write!(f, "line {line} of {path} has what looks like {what}"),
            Why::Field { name, what } => write!(f, "`{name}` of {path} has what looks like {what}"),
        }
    }
}

/// What an order would show to the model and must not: links and credentials among its context files, and credentials in
/// its own text. Never what stands there.
///
/// # Errors
/// Those of `entry`.
pub fn exposures<E>(
    order: &WorkOrder,
    mut entry: impl FnMut(&RepoPath) -> Result<BaseEntry, E>,
) -> Result<Vec<Exposure>, E> {
    let mut found = in_fields(order);
    for path in &order.context_files {
        let why = match entry(path)? {
            BaseEntry::Symlink | BaseEntry::BelowSymlink => Some(Why::Link),
            BaseEntry::File { content, .. } => of_file(path, &content),
            // There is nothing to show.
            BaseEntry::Absent | BaseEntry::Directory | BaseEntry::Submodule | BaseEntry::BelowFile => None,
        };
        found.extend(why.map(|why| Exposure {
            path: Some(path.clone()),
            why,
        }));
    }
    Ok(found)
}

fn of_file(path: &RepoPath, content: &[u8]) -> Option<Why> {
    if let Some(what) = credential_name(path) {
        return Some(Why::Name(what));
    }
    // What lies beyond is never shown, but a credential at the end has to be seen whole to be known.
    let shown = &content[..content.len().min(MAX_CONTEXT_BYTES + MARGIN)];
    let found = credential_in(&String::from_utf8_lossy(shown))?;
    (found.start < MAX_CONTEXT_BYTES).then_some(Why::Text {
        line: found.line,
        what: found.what,
    })
}

/// The credentials in an order's own text, field by field.
fn in_fields(order: &WorkOrder) -> Vec<Exposure> {
    let order = serde_json::to_value(order).unwrap_or_default();
    let fields = exposed_fields(&order).into_iter();
    let why = |(name, what): (&str, _)| Why::Field {
        name: name.to_owned(),
        what,
    };
    fields
        .map(|field| Exposure {
            path: None,
            why: why(field),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order;
    use serde_json::json;
    use std::convert::Infallible;

    const TOKEN: &str = "ghp_a1b2c3d4e5f6g7h8i9j0a1b2c3d4e5f6";

    fn of(intent: &str, files: &[(&str, BaseEntry)]) -> Vec<String> {
        let names: Vec<_> = files.iter().map(|(name, _)| *name).collect();
        let text = json!({
            "id": "WO-01", "title": "t", "intent": intent, "allowed_files": ["a"], "forbidden": [],
            "acceptance_commands": ["true"], "context_files": names
        });
        let order = order::parse(text.to_string().as_bytes()).unwrap();
        let entry = |path: &RepoPath| {
            let found = files.iter().find(|(name, _)| *name == path.as_str());
            Ok::<_, Infallible>(found.map_or(BaseEntry::Absent, |(_, entry)| entry.clone()))
        };
        let found = exposures(&order, entry).unwrap();
        found.iter().map(Exposure::to_string).collect()
    }

    fn file(content: &str) -> BaseEntry {
        BaseEntry::File {
            content: content.into(),
            executable: false,
        }
    }

    #[test]
    fn links_names_and_texts_are_told_with_their_rule_and_never_with_their_content() {
        let found = of(
            &format!("use {TOKEN}"),
            &[
                ("plain.py", file("x = 1\n")),
                ("link", BaseEntry::Symlink),
                ("dir/file", BaseEntry::BelowSymlink),
                ("deploy/.env", file("A=planted\n")),
                ("b.py", file(&format!("x\nT = '{TOKEN}'\n"))),
            ],
        );
        assert_eq!(
            found,
            [
                "`intent` of the order has what looks like a token of GitHub",
                "link is a symbolic link, or below one",
                "dir/file is a symbolic link, or below one",
                "deploy/.env has the name of a file that holds variables, among them usually keys",
                "line 2 of b.py has what looks like a token of GitHub",
            ]
        );
    }

    #[test]
    fn every_text_of_a_version_2_order_is_looked_at_but_for_the_planners_own() {
        let order = |field: &str, value: serde_json::Value| {
            let mut order = json!({
                "schema_version": 2, "id": "WO-01", "title": "t", "kind": "create", "intent": "i", "depends_on": [],
                "allowed_files": ["a"], "acceptance": [{"argv": ["true"]}]
            });
            order[field] = value;
            let order = order::parse(order.to_string().as_bytes()).unwrap();
            exposures(&order, |_| Ok::<_, Infallible>(BaseEntry::Absent)).unwrap()
        };
        for (field, value) in [
            ("acceptance", json!([{"argv": ["a"], "env": {"A": TOKEN}}])),
            ("acceptance", json!([{"argv": ["a"], "stdin": format!("x\n{TOKEN}")}])),
            ("requirements", json!([format!("use {TOKEN}")])),
            ("notes", json!(TOKEN)),
        ] {
            let told = order(field, value).iter().map(Exposure::to_string).collect::<Vec<_>>();
            assert_eq!(
                told,
                [format!("`{field}` of the order has what looks like a token of GitHub")]
            );
        }
        assert_eq!(order("provenance", json!({"spec": TOKEN})), []);
        assert_eq!(order("notes", json!("nothing")), []);
    }

    #[test]
    fn a_file_is_looked_at_as_far_as_it_can_be_shown() {
        let at = |before: usize| {
            let text = format!("{} {TOKEN}", "x".repeat(before - 1));
            of("i", &[("a", file(&text))]).len()
        };
        assert_eq!(at(MAX_CONTEXT_BYTES - 10), 1, "its first ten bytes are shown");
        assert_eq!(at(MAX_CONTEXT_BYTES), 0, "nothing of it is shown");
    }

    #[test]
    fn a_file_that_is_not_there_exposes_nothing_whatever_its_name() {
        assert_eq!(of("i", &[(".env", BaseEntry::Absent)]), [""; 0]);
    }
}
