//! Which operations an order allows, by their paths alone.

use super::draft::Operation;
use crate::order::json::quote;
use crate::order::{Rename, WorkOrder};
use crate::types::RepoPath;

/// Names that are listed in a refusal; the others are only said to be there.
const SHOWN: usize = 10;

/// Why the order does not allow an operation, with the path that is at fault.
pub(super) fn refuse<'o>(order: &WorkOrder, operation: &'o Operation) -> Option<(&'o RepoPath, String)> {
    if let Some(path) = operation.paths().find(|path| order.forbids(path)) {
        return Some((
            path,
            "the order forbids to touch this file, whatever else it allows".to_owned(),
        ));
    }
    match operation {
        Operation::Write { path, .. } | Operation::Replace { path, .. } => {
            let names = || order.allowed_files.iter().map(|path| quote(path.as_str()));
            (!order.allowed_files.contains(path)).then(|| {
                let text = format!(
                    "the order does not allow this file; it allows {}, literally",
                    list(names())
                );
                (path, text)
            })
        }
        Operation::Delete { path, .. } => {
            let names = || order.allowed_deletes.iter().map(|path| quote(path.as_str()));
            (!order.allowed_deletes.contains(path)).then(|| {
                let text = format!(
                    "the order does not allow to delete this file; {}",
                    allowed("delete", names())
                );
                (path, text)
            })
        }
        Operation::Rename { from, to, .. } => {
            let is_this = |rename: &Rename| rename.from == *from && rename.to == *to;
            let names = || {
                let renames = order.allowed_renames.iter();
                renames.map(|rename| format!("{} to {}", quote(rename.from.as_str()), quote(rename.to.as_str())))
            };
            (!order.allowed_renames.iter().any(is_this)).then(|| {
                let to = quote(to.as_str());
                let text = format!(
                    "the order does not allow to rename this file to {to}; {}",
                    allowed("rename", names())
                );
                (from, text)
            })
        }
    }
}

fn allowed(what: &str, names: impl Iterator<Item = String>) -> String {
    let names = list(names);
    match names.is_empty() {
        true => format!("it allows to {what} none"),
        false => format!("it allows to {what} {names}, literally"),
    }
}

fn list(mut names: impl Iterator<Item = String>) -> String {
    let shown: Vec<_> = names.by_ref().take(SHOWN).collect();
    let more = if names.next().is_some() { " and others" } else { "" };
    format!("{}{more}", shown.join(", "))
}
