//! The files that are shown to the model, as they are on the base.

use crate::change::BaseEntry;
use crate::order::WorkOrder;
use crate::types::{RepoPath, Sha256};

/// How much of all context files together is shown, in bytes.
pub const MAX_CONTEXT_BYTES: usize = 200 << 10;

/// A file as it is shown to the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextFile {
    /// The file.
    pub path: RepoPath,
    /// Whether a regular file is there.
    pub exists: bool,
    /// The digest of the whole file's bytes, which a change to it has to name; that of no bytes when there is none.
    pub sha256: Sha256,
    /// What is shown: UTF-8, with the replacement character for what is none.
    pub content: Vec<u8>,
    /// How much of the file that is.
    pub shown: Shown,
}

/// How much of a file is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// All of it.
    Whole,
    /// Its beginning, up to where the budget ends.
    Beginning,
}

/// Reads the context files of an order, in its order, until [`MAX_CONTEXT_BYTES`] are used up; those after that are
/// left out.
///
/// A symbolic link, a directory and a submodule are shown as missing: a link is not followed, because where it leads may
/// be outside of what the order names.
///
/// # Errors
/// Those of `entry`.
pub fn read_context<E>(
    order: &WorkOrder,
    mut entry: impl FnMut(&RepoPath) -> Result<BaseEntry, E>,
) -> Result<Vec<ContextFile>, E> {
    let mut files = Vec::new();
    let mut budget = MAX_CONTEXT_BYTES;
    for path in &order.context_files {
        if budget == 0 {
            break;
        }
        let found = entry(path)?;
        let sha256 = found.base_sha256();
        let exists = matches!(found, BaseEntry::File { .. });
        let (content, shown) = match found {
            BaseEntry::File { content, .. } => show(&content, budget),
            _ => (Vec::new(), Shown::Whole),
        };
        // A cut file used the budget up, even when its last character did not fit and left a few bytes over.
        budget = match shown {
            Shown::Whole => budget - content.len(),
            Shown::Beginning => 0,
        };
        files.push(ContextFile {
            path: path.clone(),
            exists,
            sha256,
            content,
            shown,
        });
    }
    Ok(files)
}

/// Turns bytes into at most `budget` bytes of UTF-8.
fn show(content: &[u8], budget: usize) -> (Vec<u8>, Shown) {
    // Bytes beyond the budget cannot be shown, so they are not decoded; one more tells that there are some.
    let head = &content[..content.len().min(budget + 1)];
    let mut text = String::from_utf8_lossy(head).into_owned();
    if text.len() <= budget {
        return (text.into_bytes(), Shown::Whole);
    }
    let end = (0..=budget).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
    (text.into_bytes(), Shown::Beginning)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order;
    use serde_json::json;
    use std::collections::HashMap;
    use std::convert::Infallible;

    fn read(files: &[(&str, BaseEntry)], context_files: &[&str]) -> Vec<ContextFile> {
        let text = json!({
            "id": "WO-01", "title": "t", "intent": "i", "allowed_files": ["a"], "forbidden": [],
            "acceptance_commands": ["true"], "context_files": context_files
        });
        let order = order::parse(text.to_string().as_bytes()).expect("a valid order");
        let files: HashMap<_, _> = files.iter().cloned().collect();
        let entry =
            |path: &RepoPath| Ok::<_, Infallible>(files.get(path.as_str()).cloned().unwrap_or(BaseEntry::Absent));
        read_context(&order, entry).expect("a map cannot fail")
    }

    fn file(content: impl Into<Vec<u8>>) -> BaseEntry {
        BaseEntry::File {
            content: content.into(),
            executable: false,
        }
    }

    #[test]
    fn a_missing_file_is_shown_as_missing() {
        let files = read(&[("link", BaseEntry::Symlink)], &["x", "link"]);
        assert_eq!(files.len(), 2);
        for file in files {
            assert_eq!(
                (file.exists, file.sha256, file.content.len()),
                (false, Sha256::EMPTY, 0)
            );
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_become_the_replacement_character() {
        let files = read(&[("a", file([0xff]))], &["a"]);
        assert_eq!(
            (files[0].content.as_slice(), files[0].shown),
            ("\u{fffd}".as_bytes(), Shown::Whole)
        );
        assert_eq!(files[0].sha256, Sha256::of(&[0xff]), "the digest is over the bytes");
    }

    #[test]
    fn a_file_that_fills_the_budget_ends_the_list() {
        let full = "x".repeat(MAX_CONTEXT_BYTES);
        let files = read(&[("a", file(full)), ("b", file("y"))], &["a", "b"]);
        assert_eq!(
            (files.len(), files[0].content.len(), files[0].shown),
            (1, MAX_CONTEXT_BYTES, Shown::Whole)
        );
    }

    #[test]
    fn a_file_that_exceeds_the_budget_is_cut_between_characters() {
        let long = format!("x{}", "é".repeat(MAX_CONTEXT_BYTES));
        let files = read(&[("a", file(long.clone())), ("b", file("y"))], &["a", "b"]);
        assert_eq!(
            (files.len(), files[0].content.len(), files[0].shown),
            (1, MAX_CONTEXT_BYTES - 1, Shown::Beginning)
        );
        assert_eq!(
            files[0].sha256,
            Sha256::of(long.as_bytes()),
            "the digest is over the whole file"
        );
    }
}
