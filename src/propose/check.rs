//! Change set against order and base: may these files be written, and are they what the model took them for?

use super::Stage;
use crate::change::{BaseEntry, ChangeSet, Write};
use crate::order::WorkOrder;
use crate::order::json::quote;
use crate::types::{FailureClass, Problem, RepoPath, Sha256, escape_control};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use unicode_normalization::UnicodeNormalization as _;

/// How many refusals are listed; the others are counted.
const MAX_REFUSALS: usize = 50;

/// One reason why a change set is refused.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Refusal {
    /// How far the write came.
    pub stage: Stage,
    /// Which of the writes, counted from zero.
    pub write: usize,
    /// The file that it writes.
    pub path: RepoPath,
    /// What is wrong and what is wanted.
    pub text: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "/writes/{}: {}: {}",
            self.write,
            escape_control(self.path.as_str()),
            self.text
        )
    }
}

/// All reasons why a change set is refused: at least one, and how many more there are than are listed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Refusals {
    /// The first reasons, in the order of the writes.
    pub listed: Vec<Refusal>,
    /// How many more there are.
    pub omitted: usize,
    /// The earliest stage among all of them.
    pub stage: Stage,
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, refusal) in self.listed.iter().enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            write!(f, "{separator}{refusal}")?;
        }
        match self.omitted {
            0 => Ok(()),
            omitted => write!(f, "\nand {omitted} more"),
        }
    }
}

/// Why a change set was not found fit to be applied.
#[derive(Debug, thiserror::Error)]
pub enum CheckError<E: std::error::Error + 'static> {
    /// The change set is at fault.
    #[error("the proposal cannot be applied:\n{refusals}")]
    Refused {
        /// Everything that is wrong with it.
        refusals: Refusals,
    },
    /// The base could not be asked.
    #[error("cannot read what the base has at {path}")]
    Base {
        /// The path.
        path: RepoPath,
        /// The answer of the repository.
        source: E,
    },
}

impl<E: std::error::Error + 'static> CheckError<E> {
    /// How far the change set came; nothing when it is not at fault.
    pub fn stage(&self) -> Option<Stage> {
        match self {
            CheckError::Refused { refusals } => Some(refusals.stage),
            CheckError::Base { .. } => None,
        }
    }
}

impl<E: Problem + 'static> Problem for CheckError<E> {
    fn class(&self) -> FailureClass {
        match self {
            CheckError::Refused { .. } => FailureClass::Proposal,
            CheckError::Base { source, .. } => source.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            CheckError::Refused { refusals } => Some(match refusals.stage {
                Stage::Unparseable | Stage::OutOfScope => {
                    "write only the files that the order allows, each once".to_owned()
                }
                Stage::Stale => "start from the content that the prompt shows, and name its digest".to_owned(),
                Stage::Unwritable => "propose files that can stand in one tree".to_owned(),
            }),
            CheckError::Base { source, .. } => source.hint(),
        }
    }
}

/// Checks that a change set writes only what the order allows, each file once and on the bytes that the base has, and
/// that all of it can stand in one tree.
///
/// `entry` says what the base has at a path; it is asked only about paths that the order allows.
///
/// # Errors
/// `Proposal`, with everything that is wrong at once; or the class of what `entry` could not do.
pub fn check<E: std::error::Error + 'static>(
    change_set: &ChangeSet,
    order: &WorkOrder,
    mut entry: impl FnMut(&RepoPath) -> Result<BaseEntry, E>,
) -> Result<(), CheckError<E>> {
    let allowed: HashSet<&RepoPath> = order.allowed_files.iter().collect();
    let mut refusals: BTreeMap<(usize, Stage), String> = BTreeMap::new();
    let mut in_scope = Vec::new();
    let mut asked = HashSet::new();
    for (number, write) in change_set.writes.iter().enumerate() {
        if !allowed.contains(&write.path) {
            refusals.insert((number, Stage::OutOfScope), out_of_scope(order));
            continue;
        }
        in_scope.push((number, write));
        if !asked.insert(&write.path) {
            continue; // Written twice, which is refused below; the base need not be read again for each.
        }
        let found = entry(&write.path).map_err(|source| CheckError::Base {
            path: write.path.clone(),
            source,
        })?;
        if let Some((stage, text)) = refuse_entry(write, &found) {
            refusals.insert((number, stage), text);
        }
    }
    refuse_spellings(&in_scope, &mut refusals);
    refuse_nesting(&in_scope, &mut refusals);
    let Some(stage) = refusals.keys().map(|(_, stage)| *stage).min() else {
        return Ok(());
    };
    let omitted = refusals.len().saturating_sub(MAX_REFUSALS);
    let listed = refusals.into_iter().take(MAX_REFUSALS).map(|((write, stage), text)| {
        let path = change_set.writes[write].path.clone();
        Refusal {
            stage,
            write,
            path,
            text,
        }
    });
    Err(CheckError::Refused {
        refusals: Refusals {
            listed: listed.collect(),
            omitted,
            stage,
        },
    })
}

fn out_of_scope(order: &WorkOrder) -> String {
    const SHOWN: usize = 10;
    let names: Vec<_> = order
        .allowed_files
        .iter()
        .take(SHOWN)
        .map(|path| quote(path.as_str()))
        .collect();
    let more = if order.allowed_files.len() > SHOWN {
        " and others"
    } else {
        ""
    };
    format!(
        "the order does not allow this file; it allows {}{more}, literally",
        names.join(", ")
    )
}

/// What the base has to say against a write.
fn refuse_entry(write: &Write, found: &BaseEntry) -> Option<(Stage, String)> {
    let refusal = |stage, text: &str| Some((stage, text.to_owned()));
    match found {
        BaseEntry::Symlink => refusal(
            Stage::OutOfScope,
            "the base has a symbolic link there, and links are not written through",
        ),
        BaseEntry::BelowSymlink => refusal(
            Stage::OutOfScope,
            "a directory of the path is a symbolic link, which leads to files that are not allowed",
        ),
        BaseEntry::Submodule => refusal(
            Stage::OutOfScope,
            "the base has a submodule there, which is another repository",
        ),
        BaseEntry::Directory => refusal(Stage::Unwritable, "the base has a directory there"),
        BaseEntry::BelowFile => refusal(
            Stage::Unwritable,
            "a directory of the path is a regular file on the base",
        ),
        BaseEntry::Absent | BaseEntry::File { .. } => refuse_stale(write, found),
    }
}

fn refuse_stale(write: &Write, found: &BaseEntry) -> Option<(Stage, String)> {
    let wanted = found.base_sha256();
    if write.base_sha256 == wanted.to_string() {
        return None;
    }
    let named = quote(&write.base_sha256);
    let text = match found {
        BaseEntry::File { .. } if write.base_sha256 == Sha256::EMPTY.to_string() => {
            format!("base_sha256 is that of a new file, but the file exists on the base with the digest {wanted}")
        }
        BaseEntry::File { .. } => format!("base_sha256 is {named}, but the file on the base has the digest {wanted}"),
        _ => format!("base_sha256 is {named}, but there is no such file on the base; that of a new file is {wanted}"),
    };
    Some((Stage::Stale, text))
}

/// Refuses writes to paths that are one file to some file system: the same path, or one that differs only in case or in
/// the composition of its letters.
fn refuse_spellings(writes: &[(usize, &Write)], refusals: &mut BTreeMap<(usize, Stage), String>) {
    let mut first = BTreeMap::new();
    for (number, write) in writes {
        match first.entry(fold(write.path.as_str())) {
            std::collections::btree_map::Entry::Vacant(entry) => drop(entry.insert((*number, &write.path))),
            std::collections::btree_map::Entry::Occupied(entry) => {
                let (earlier, path) = *entry.get();
                let text = match *path == write.path {
                    true => format!("the file is written already by /writes/{earlier}; write each file once"),
                    false => {
                        format!("this is the same file as /writes/{earlier} where file systems fold case or letters")
                    }
                };
                // A refusal that the base gave at this stage says as much; both need not be listed.
                refusals.entry((*number, Stage::OutOfScope)).or_insert(text);
            }
        }
    }
}

/// Refuses writes below a path that another write makes a file.
fn refuse_nesting(writes: &[(usize, &Write)], refusals: &mut BTreeMap<(usize, Stage), String>) {
    let mut sorted: Vec<_> = writes
        .iter()
        .map(|(number, write)| (fold(write.path.as_str()), *number))
        .collect();
    // With the separator as the smallest character, what is below a path follows it immediately.
    sorted.sort_by_cached_key(|(path, number)| (path.replace('/', "\0"), *number));
    let mut file: Option<&(String, usize)> = None;
    for candidate in &sorted {
        let (path, number) = candidate;
        let below = |(file, _): &&(String, usize)| {
            path.strip_prefix(file.as_str())
                .is_some_and(|rest| rest.starts_with('/'))
        };
        match file.filter(below) {
            Some((_, other)) => {
                let text =
                    format!("/writes/{other} makes a directory of this path a file; only one of them can be written");
                refusals.entry((*number, Stage::Unwritable)).or_insert(text);
            }
            None => file = Some(candidate),
        }
    }
}

/// The name that file systems which fold case and composition keep for this one.
fn fold(path: &str) -> String {
    path.nfc()
        .collect::<String>()
        .to_uppercase()
        .to_lowercase()
        .nfc()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order;
    use serde_json::json;
    use std::collections::HashMap;
    use std::convert::Infallible;

    const NEW: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn file(content: &str) -> BaseEntry {
        BaseEntry::File {
            content: content.into(),
            executable: false,
        }
    }

    fn refusals(base: &[(&str, BaseEntry)], allowed: &[&str], writes: &[(&str, &str)]) -> Option<Refusals> {
        let text = json!({
            "id": "WO-01", "title": "t", "intent": "i", "allowed_files": allowed, "forbidden": [],
            "acceptance_commands": ["true"], "context_files": []
        });
        let order = order::parse(text.to_string().as_bytes()).expect("a valid order");
        let writes = writes.iter().map(|(path, base)| Write {
            path: RepoPath::parse(path).expect("a valid path"),
            base_sha256: (*base).to_owned(),
            content: "x".to_owned(),
        });
        let change_set = ChangeSet {
            summary: "s".to_owned(),
            writes: writes.collect(),
        };
        let base: HashMap<_, _> = base.iter().cloned().collect();
        let entry =
            |path: &RepoPath| Ok::<_, Infallible>(base.get(path.as_str()).cloned().unwrap_or(BaseEntry::Absent));
        match check(&change_set, &order, entry) {
            Ok(()) => None,
            Err(CheckError::Refused { refusals }) => Some(refusals),
            Err(CheckError::Base { source, .. }) => match source {},
        }
    }

    fn stage(base: &[(&str, BaseEntry)], allowed: &[&str], writes: &[(&str, &str)]) -> Option<Stage> {
        refusals(base, allowed, writes).map(|refusals| refusals.stage)
    }

    #[test]
    fn a_new_file_and_a_replaced_file_pass() {
        let old = Sha256::of(b"old").to_string();
        let base = [("a.py", file("old"))];
        assert_eq!(
            stage(&base, &["a.py", "d/e/f.py"], &[("a.py", &old), ("d/e/f.py", NEW)]),
            None
        );
    }

    #[test]
    fn only_what_is_allowed_literally_may_be_written() {
        for (allowed, path) in [
            ("a.py", "b.py"),
            ("src/", "src/b.py"),
            ("A.py", "a.py"),
            ("é.py", "e\u{301}.py"),
        ] {
            assert_eq!(
                stage(&[], &[allowed], &[(path, NEW)]),
                Some(Stage::OutOfScope),
                "{path}"
            );
        }
    }

    #[test]
    fn the_digest_of_the_base_is_compared_as_text() {
        let base = [("a.py", file("old"))];
        let old = Sha256::of(b"old").to_string();
        for named in ["", NEW, &old[..16], &old.to_uppercase()] {
            assert_eq!(
                stage(&base, &["a.py"], &[("a.py", named)]),
                Some(Stage::Stale),
                "{named}"
            );
        }
        assert_eq!(stage(&[], &["a.py"], &[("a.py", &old)]), Some(Stage::Stale));
    }

    #[test]
    fn two_spellings_of_one_file_are_refused() {
        for (one, other) in [
            ("a.py", "./a.py"),
            ("é.py", "e\u{301}.py"),
            ("a.py", "A.PY"),
            ("straße", "STRASSE"),
            ("k", "\u{212a}"),
        ] {
            assert_eq!(
                stage(&[], &[one, other], &[(one, NEW), (other, NEW)]),
                Some(Stage::OutOfScope),
                "{one} {other}"
            );
        }
    }

    #[test]
    fn what_stands_in_the_way_on_the_base_is_named() {
        for (entry, expected) in [
            (BaseEntry::Symlink, Stage::OutOfScope),
            (BaseEntry::BelowSymlink, Stage::OutOfScope),
            (BaseEntry::Submodule, Stage::OutOfScope),
            (BaseEntry::Directory, Stage::Unwritable),
            (BaseEntry::BelowFile, Stage::Unwritable),
        ] {
            assert_eq!(
                stage(&[("a/b", entry.clone())], &["a/b"], &[("a/b", NEW)]),
                Some(expected),
                "{entry:?}"
            );
        }
    }

    #[test]
    fn a_file_cannot_also_be_a_directory() {
        for (one, other) in [("a", "a/b"), ("a/b", "a"), ("a/b/c", "a"), ("A", "a/b")] {
            let allowed = [one, other, "a-b", "a.b"];
            let writes = [(one, NEW), ("a-b", NEW), (other, NEW), ("a.b", NEW)];
            assert_eq!(stage(&[], &allowed, &writes), Some(Stage::Unwritable), "{one} {other}");
        }
        assert_eq!(
            stage(
                &[],
                &["a", "ab", "a-b/c", "b/a"],
                &[("a", NEW), ("ab", NEW), ("a-b/c", NEW), ("b/a", NEW)]
            ),
            None
        );
    }

    #[test]
    fn every_refusal_is_reported_at_once_and_the_earliest_stage_counts() {
        let base = [("a.py", file("old")), ("d", BaseEntry::Directory)];
        let allowed = ["a.py", "d"];
        let refusals =
            refusals(&base, &allowed, &[("a.py", NEW), ("d", NEW), ("x\u{202e}.py", NEW)]).expect("three refusals");
        let expected = format!(
            "/writes/0: a.py: base_sha256 is that of a new file, but the file exists on the base with the digest {}\n\
             /writes/1: d: the base has a directory there\n\
             /writes/2: x\\u{{202e}}.py: the order does not allow this file; it allows `a.py`, `d`, literally",
            Sha256::of(b"old")
        );
        assert_eq!(refusals.to_string(), expected);
        assert_eq!(refusals.stage, Stage::OutOfScope);
    }

    #[test]
    fn many_refusals_are_counted_not_listed() {
        let writes: Vec<_> = (0..1000).map(|number| format!("f{number}")).collect();
        let writes: Vec<_> = writes.iter().map(|path| (path.as_str(), NEW)).collect();
        let refusals = refusals(&[], &["a"], &writes).expect("a thousand refusals");
        assert_eq!(
            (refusals.listed.len(), refusals.omitted),
            (MAX_REFUSALS, 1000 - MAX_REFUSALS)
        );
    }
}
