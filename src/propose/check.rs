//! A proposal against order and base: may these files be changed, and are they what the model took them for?

use super::draft::{Draft, Edit, Form, Operation};
use super::{MAX_FILE_BYTES, MAX_PROPOSAL_BYTES, Stage, edits, scope};
use crate::change::{BaseEntry, ChangeSet, Delete, Rename, Write};
use crate::order::WorkOrder;
use crate::order::json::quote;
use crate::types::{FailureClass, Problem, RepoPath, Sha256, escape_control};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use unicode_normalization::UnicodeNormalization as _;

/// How many refusals are listed; the others are counted.
const MAX_REFUSALS: usize = 50;

/// One reason why a proposal is refused.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Refusal {
    /// How far the operation came.
    pub stage: Stage,
    /// The form of the answer, which says how the list of operations is called.
    pub form: Form,
    /// Which of the operations, counted from zero.
    pub operation: usize,
    /// The file that it is about.
    pub path: RepoPath,
    /// What is wrong and what is wanted.
    pub text: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "/{}/{}: {}: {}",
            self.form.list(),
            self.operation,
            escape_control(self.path.as_str()),
            self.text
        )
    }
}

/// All reasons why a proposal is refused: at least one, and how many more there are than are listed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Refusals {
    /// The first reasons, in the order of the operations.
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

/// Why a proposal was not found fit to be applied.
#[derive(Debug, thiserror::Error)]
pub enum CheckError<E: std::error::Error + 'static> {
    /// The proposal is at fault.
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
    /// How far the proposal came; nothing when it is not at fault.
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

/// What a path is to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// A file is written there, whether there is one or not.
    Written,
    /// A file has to be there.
    Old,
    /// Nothing may be there.
    New,
}

/// Checks that a proposal changes only what the order allows, each file once and on the bytes that the base has, and
/// that all of it can stand in one tree; makes the change set that it comes to.
///
/// `entry` says what the base has at a path; it is asked only about paths that the order allows.
///
/// # Errors
/// `Proposal`, with everything that is wrong at once; or the class of what `entry` could not do.
pub fn check<E: std::error::Error + 'static>(
    draft: &Draft,
    order: &WorkOrder,
    mut entry: impl FnMut(&RepoPath) -> Result<BaseEntry, E>,
) -> Result<ChangeSet, CheckError<E>> {
    let mut found = Found::new(draft);
    let mut change_set = ChangeSet {
        summary: draft.summary.clone(),
        ..ChangeSet::default()
    };
    let mut in_scope = Vec::new();
    let mut asked = HashSet::new();
    for (number, operation) in draft.operations.iter().enumerate() {
        if let Some((path, text)) = scope::refuse(order, operation) {
            found.refuse(number, Stage::OutOfScope, path, text);
            continue;
        }
        in_scope.push((number, operation));
        if operation.paths().filter(|path| !asked.insert(*path)).count() > 0 {
            continue; // A path is named twice, which is refused below; the base need not be read again for each.
        }
        let mut base = None;
        let mut is_fit = true;
        for (path, side) in sides(operation) {
            let there = entry(path).map_err(|source| CheckError::Base {
                path: path.clone(),
                source,
            })?;
            if let Some((stage, text)) = refuse_entry(operation, side, &there) {
                found.refuse(number, stage, path, text);
                is_fit = false;
            }
            base = base.or(Some(there));
        }
        if let Some(base) = base.filter(|_| is_fit)
            && let Err((stage, path, text)) = resolve(order, operation, &base, &mut change_set)
        {
            found.refuse(number, stage, path, text);
        }
    }
    refuse_spellings(&in_scope, &mut found);
    refuse_nesting(&in_scope, &mut found);
    refuse_size(&in_scope, &change_set, &mut found);
    match found.into_refusals() {
        None => Ok(change_set),
        Some(refusals) => Err(CheckError::Refused { refusals }),
    }
}

/// What was found against a proposal so far: at most one reason for each operation and stage.
struct Found<'d> {
    draft: &'d Draft,
    refusals: BTreeMap<(usize, Stage), (&'d RepoPath, String)>,
}

impl<'d> Found<'d> {
    fn new(draft: &'d Draft) -> Self {
        Found {
            draft,
            refusals: BTreeMap::new(),
        }
    }

    /// A refusal that was found earlier at this stage says as much; both need not be listed.
    fn refuse(&mut self, operation: usize, stage: Stage, path: &'d RepoPath, text: String) {
        self.refusals.entry((operation, stage)).or_insert((path, text));
    }

    /// How an operation is called in a message.
    fn name(&self, operation: usize) -> String {
        format!("/{}/{operation}", self.draft.form.list())
    }

    fn into_refusals(self) -> Option<Refusals> {
        let stage = self.refusals.keys().map(|(_, stage)| *stage).min()?;
        let omitted = self.refusals.len().saturating_sub(MAX_REFUSALS);
        let form = self.draft.form;
        let listed = self.refusals.into_iter().take(MAX_REFUSALS);
        let listed = listed.map(|((operation, stage), (path, text))| Refusal {
            stage,
            form,
            operation,
            path: path.clone(),
            text,
        });
        Some(Refusals {
            listed: listed.collect(),
            omitted,
            stage,
        })
    }
}

/// The paths of an operation with what they are to it; first the one whose bytes it names.
fn sides(operation: &Operation) -> impl Iterator<Item = (&RepoPath, Side)> {
    let (path, _) = operation.base();
    let first = (
        path,
        if operation.needs_file() {
            Side::Old
        } else {
            Side::Written
        },
    );
    let second = match operation {
        Operation::Rename { to, .. } => Some((to, Side::New)),
        Operation::Write { .. } | Operation::Replace { .. } | Operation::Delete { .. } => None,
    };
    std::iter::once(first).chain(second)
}

/// What the base has to say against an operation at one of its paths.
fn refuse_entry(operation: &Operation, side: Side, there: &BaseEntry) -> Option<(Stage, String)> {
    let refusal = |stage, text: &str| Some((stage, text.to_owned()));
    match there {
        BaseEntry::Symlink => refusal(
            Stage::OutOfScope,
            match side {
                Side::Written => "the base has a symbolic link there, and links are not written through",
                Side::Old | Side::New => "the base has a symbolic link there, and only regular files are changed",
            },
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
        BaseEntry::File { .. } if side == Side::New => refusal(
            Stage::Unwritable,
            "the base has a file there, and nothing is renamed onto another file",
        ),
        BaseEntry::Absent if side == Side::Old => refusal(Stage::Stale, "there is no such file on the base"),
        BaseEntry::Absent | BaseEntry::File { .. } if side == Side::New => None,
        BaseEntry::Absent | BaseEntry::File { .. } => refuse_stale(operation.base().1, there),
    }
}

fn refuse_stale(base_sha256: &str, found: &BaseEntry) -> Option<(Stage, String)> {
    let wanted = found.base_sha256();
    if base_sha256 == wanted.to_string() {
        return None;
    }
    let named = quote(base_sha256);
    let text = match found {
        BaseEntry::File { .. } if base_sha256 == Sha256::EMPTY.to_string() => {
            format!("base_sha256 is that of a new file, but the file exists on the base with the digest {wanted}")
        }
        BaseEntry::File { .. } => format!("base_sha256 is {named}, but the file on the base has the digest {wanted}"),
        _ => format!("base_sha256 is {named}, but there is no such file on the base; that of a new file is {wanted}"),
    };
    Some((Stage::Stale, text))
}

/// Adds to the change set what an operation comes to on `base`, which is what stands where it starts from.
fn resolve<'d>(
    order: &WorkOrder,
    operation: &'d Operation,
    base: &BaseEntry,
    change_set: &mut ChangeSet,
) -> Result<(), (Stage, &'d RepoPath, String)> {
    let made_executable = |path: &RepoPath| order.executable_files.contains(path).then_some(true);
    match operation {
        Operation::Write {
            path,
            base_sha256,
            content,
            executable: claim,
        } => {
            let executable = made_executable(path);
            let becomes = executable.unwrap_or(matches!(base, BaseEntry::File { executable: true, .. }));
            if let Some(claim) = claim.filter(|claim| *claim != becomes) {
                let text = format!(
                    "it is said to be {}, and the order makes it {}; leave `executable` away",
                    mode_name(claim),
                    mode_name(becomes)
                );
                return Err((Stage::OutOfScope, path, text));
            }
            change_set.writes.push(Write {
                path: path.clone(),
                base_sha256: base_sha256.clone(),
                content: content.clone(),
                executable,
            });
        }
        Operation::Replace {
            path,
            base_sha256,
            edits,
        } => {
            let content = edited(base, edits).map_err(|(stage, text)| (stage, path, text))?;
            change_set.writes.push(Write {
                path: path.clone(),
                base_sha256: base_sha256.clone(),
                content,
                executable: made_executable(path),
            });
        }
        Operation::Delete { path, .. } => change_set.deletes.push(Delete {
            path: path.clone(),
            base_sha256: base.base_sha256(),
        }),
        Operation::Rename { from, to, .. } => change_set.renames.push(Rename {
            from: from.clone(),
            to: to.clone(),
            base_sha256: base.base_sha256(),
            executable: made_executable(to),
        }),
    }
    Ok(())
}

fn mode_name(executable: bool) -> &'static str {
    if executable { "executable" } else { "not executable" }
}

/// The bytes that edits make of a file.
fn edited(base: &BaseEntry, edits: &[Edit]) -> Result<String, (Stage, String)> {
    let BaseEntry::File { content, .. } = base else {
        return Err((Stage::Stale, "there is no such file on the base".to_owned()));
    };
    if content.len() > MAX_PROPOSAL_BYTES {
        let text = format!(
            "the file has {} bytes, and files of more than {MAX_PROPOSAL_BYTES} are not edited",
            content.len()
        );
        return Err((Stage::Unwritable, text));
    }
    let Ok(text) = std::str::from_utf8(content) else {
        let text = "the file is not UTF-8, and so no text in it can be named; write it whole, or leave it".to_owned();
        return Err((Stage::Unwritable, text));
    };
    let content =
        edits::apply(text, edits).map_err(|(number, text)| (Stage::Stale, format!("/edits/{number}: {text}")))?;
    if content.len() > MAX_FILE_BYTES {
        let text = format!(
            "the file would have {} bytes; at most {MAX_FILE_BYTES} are taken",
            content.len()
        );
        return Err((Stage::Unwritable, text));
    }
    Ok(content)
}

/// Refuses operations on paths that are one file to some file system: the same path, or one that differs only in case or in
/// the composition of its letters.
fn refuse_spellings<'d>(operations: &[(usize, &'d Operation)], found: &mut Found<'d>) {
    let mut first = BTreeMap::new();
    for (number, operation) in operations {
        for path in operation.paths() {
            match first.entry(fold(path.as_str())) {
                std::collections::btree_map::Entry::Vacant(entry) => drop(entry.insert((*number, path))),
                std::collections::btree_map::Entry::Occupied(entry) => {
                    let (earlier, other) = *entry.get();
                    let (earlier, form) = (found.name(earlier), found.draft.form);
                    let text = match (form, *other == *path) {
                        (Form::Writes, true) => {
                            format!("the file is written already by {earlier}; write each file once")
                        }
                        (Form::Operations, true) => {
                            format!("the file is changed already by {earlier}; name each file once")
                        }
                        (_, false) => {
                            format!("this is the same file as {earlier} where file systems fold case or letters")
                        }
                    };
                    found.refuse(*number, Stage::OutOfScope, path, text);
                }
            }
        }
    }
}

/// Refuses files below a path that another operation makes a file.
fn refuse_nesting<'d>(operations: &[(usize, &'d Operation)], found: &mut Found<'d>) {
    let made = operations
        .iter()
        .filter_map(|(number, operation)| Some((operation.made()?, *number)));
    let mut sorted: Vec<_> = made.map(|(path, number)| (fold(path.as_str()), number, path)).collect();
    // With the separator as the smallest character, what is below a path follows it immediately.
    sorted.sort_by_cached_key(|(path, number, _)| (path.replace('/', "\0"), *number));
    let mut file: Option<&(String, usize, &RepoPath)> = None;
    for candidate in &sorted {
        let (folded, number, path) = candidate;
        let below = |(file, _, _): &&(String, usize, &RepoPath)| {
            folded
                .strip_prefix(file.as_str())
                .is_some_and(|rest| rest.starts_with('/'))
        };
        match file.filter(below) {
            Some((_, other, _)) => {
                let other = found.name(*other);
                let text = format!("{other} makes a directory of this path a file; only one of them can be written");
                found.refuse(*number, Stage::Unwritable, path, text);
            }
            None => file = Some(candidate),
        }
    }
}

/// Refuses edits whose results are too much together with everything else.
fn refuse_size<'d>(operations: &[(usize, &'d Operation)], change_set: &ChangeSet, found: &mut Found<'d>) {
    let total: usize = change_set.writes.iter().map(|write| write.content.len()).sum();
    if total <= MAX_PROPOSAL_BYTES {
        return;
    }
    // What is written whole was counted when it was read.
    for (number, operation) in operations {
        if let Operation::Replace { path, .. } = operation {
            let text = format!("the files have {total} bytes together; at most {MAX_PROPOSAL_BYTES} are taken");
            found.refuse(*number, Stage::Unwritable, path, text);
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
    use serde_json::{Value, json};
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
        let writes = writes.iter().map(|(path, base)| Operation::Write {
            path: RepoPath::parse(path).expect("a valid path"),
            base_sha256: (*base).to_owned(),
            content: "x".to_owned(),
            executable: None,
        });
        let draft = Draft {
            summary: "s".to_owned(),
            form: Form::Writes,
            operations: writes.collect(),
        };
        let base: HashMap<_, _> = base.iter().cloned().collect();
        let entry =
            |path: &RepoPath| Ok::<_, Infallible>(base.get(path.as_str()).cloned().unwrap_or(BaseEntry::Absent));
        match check(&draft, &order, entry) {
            Ok(_) => None,
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

    /// An order of version 2 with these lists, by their names.
    fn second_order(lists: &Value) -> WorkOrder {
        let mut order = json!({
            "schema_version": 2, "id": "WO-02", "title": "t", "kind": "modify", "intent": "i", "depends_on": [],
            "acceptance": [{"argv": ["true"]}]
        });
        for (key, list) in lists.as_object().expect("lists by name") {
            order[key] = list.clone();
        }
        order::parse(order.to_string().as_bytes()).expect("a valid order")
    }

    /// What the operations of an answer come to.
    fn checked(base: &[(&str, BaseEntry)], lists: &Value, operations: &Value) -> Result<ChangeSet, Refusals> {
        let answer = json!({"schema_version": 2, "result": "changes", "summary": "s", "operations": operations});
        let parsed = super::super::parse_answer(&answer.to_string(), Form::Operations).expect("a proposal");
        let super::super::Proposal::Changes(draft) = parsed else {
            panic!("{operations}");
        };
        let base: HashMap<_, _> = base.iter().cloned().collect();
        let entry =
            |path: &RepoPath| Ok::<_, Infallible>(base.get(path.as_str()).cloned().unwrap_or(BaseEntry::Absent));
        check(&draft, &second_order(lists), entry).map_err(|error| match error {
            CheckError::Refused { refusals } => refusals,
            CheckError::Base { source, .. } => match source {},
        })
    }

    fn sha256(text: &str) -> String {
        Sha256::of(text.as_bytes()).to_string()
    }

    #[test]
    fn operations_come_to_final_bytes() {
        let base = [
            ("a.py", file("one\ntwo\n")),
            ("d.py", file("d")),
            ("old.sh", file("sh")),
        ];
        let lists = json!({
            "allowed_files": ["a.py", "bin/x"], "allowed_deletes": ["d.py"], "executable_files": ["bin/x"],
            "allowed_renames": [{"from": "old.sh", "to": "new.sh"}]
        });
        let operations = json!([
            {"op": "replace", "path": "a.py", "base_sha256": sha256("one\ntwo\n"), "edits": [{"find": "two", "replace": "2"}]},
            {"op": "write", "path": "bin/x", "base_sha256": NEW, "content": "#!\0\r\n"},
            {"op": "delete", "path": "d.py", "base_sha256": sha256("d")},
            {"op": "rename", "from": "old.sh", "to": "new.sh", "base_sha256": sha256("sh")}
        ]);
        let change_set = checked(&base, &lists, &operations).expect("all of it is allowed");
        let contents: Vec<_> = change_set.writes.iter().map(|write| write.content.as_str()).collect();
        assert_eq!(contents, ["one\n2\n", "#!\0\r\n"]);
        assert_eq!(change_set.writes[1].executable, Some(true));
        assert_eq!(change_set.deletes[0].path.as_str(), "d.py");
        assert_eq!(
            (change_set.renames[0].from.as_str(), change_set.renames[0].to.as_str()),
            ("old.sh", "new.sh")
        );
        assert_eq!(change_set.renames[0].executable, None, "it stays what it is");
    }

    /// Each operation alone, with the stage at which it is refused; the control is that of the test above.
    #[test]
    fn what_no_list_allows_is_refused_for_each_operation() {
        let base = [("a", file("a")), ("b", file("b")), ("p", file("p")), ("v/x", file("x"))];
        let lists = json!({
            "allowed_files": ["a"], "allowed_deletes": ["b"], "allowed_renames": [{"from": "c", "to": "e"}],
            "protected_files": ["p"], "forbidden_paths": ["v"]
        });
        let digest = sha256("a");
        for operation in [
            json!({"op": "write", "path": "b", "base_sha256": sha256("b"), "content": "x"}),
            json!({"op": "write", "path": "e", "base_sha256": NEW, "content": "x"}),
            json!({"op": "replace", "path": "b", "base_sha256": sha256("b"), "edits": [{"find": "b", "replace": "c"}]}),
            json!({"op": "delete", "path": "a", "base_sha256": digest}),
            json!({"op": "delete", "path": "c", "base_sha256": digest}),
            json!({"op": "rename", "from": "c", "to": "a", "base_sha256": digest}),
            json!({"op": "rename", "from": "e", "to": "c", "base_sha256": digest}),
            json!({"op": "rename", "from": "a", "to": "e", "base_sha256": digest}),
            json!({"op": "write", "path": "p", "base_sha256": sha256("p"), "content": "x"}),
            json!({"op": "delete", "path": "p", "base_sha256": sha256("p")}),
            json!({"op": "rename", "from": "p", "to": "e", "base_sha256": sha256("p")}),
            json!({"op": "rename", "from": "c", "to": "v/new", "base_sha256": digest}),
            json!({"op": "delete", "path": "v/x", "base_sha256": sha256("x")}),
            json!({"op": "write", "path": "a", "base_sha256": digest, "content": "x", "executable": true}),
        ] {
            let refusals = checked(&base, &lists, &json!([operation])).expect_err("nothing allows it");
            assert_eq!(refusals.stage, Stage::OutOfScope, "{operation}");
        }
        let fine = json!([{"op": "write", "path": "a", "base_sha256": digest, "content": "x", "executable": false}]);
        assert!(checked(&base, &lists, &fine).is_ok());
    }

    #[test]
    fn what_the_base_has_decides_what_can_go_or_be_renamed() {
        let lists = json!({"allowed_deletes": ["a"], "allowed_renames": [{"from": "f", "to": "t"}]});
        let delete = json!([{"op": "delete", "path": "a", "base_sha256": sha256("old")}]);
        let rename = json!([{"op": "rename", "from": "f", "to": "t", "base_sha256": sha256("old")}]);
        for (entry, as_old, as_new) in [
            (BaseEntry::Absent, Some(Stage::Stale), None),
            (file("old"), None, Some(Stage::Unwritable)),
            (file("other"), Some(Stage::Stale), Some(Stage::Unwritable)),
            (BaseEntry::Symlink, Some(Stage::OutOfScope), Some(Stage::OutOfScope)),
            (
                BaseEntry::BelowSymlink,
                Some(Stage::OutOfScope),
                Some(Stage::OutOfScope),
            ),
            (BaseEntry::Submodule, Some(Stage::OutOfScope), Some(Stage::OutOfScope)),
            (BaseEntry::Directory, Some(Stage::Unwritable), Some(Stage::Unwritable)),
            (BaseEntry::BelowFile, Some(Stage::Unwritable), Some(Stage::Unwritable)),
        ] {
            let stage = |base: &[(&str, BaseEntry)], operations| {
                checked(base, &lists, operations).err().map(|refusals| refusals.stage)
            };
            assert_eq!(stage(&[("a", entry.clone())], &delete), as_old, "delete {entry:?}");
            assert_eq!(stage(&[("f", entry.clone())], &rename), as_old, "rename {entry:?}");
            let onto = [("f", file("old")), ("t", entry.clone())];
            assert_eq!(stage(&onto, &rename), as_new, "rename onto {entry:?}");
        }
    }

    #[test]
    fn operations_that_meet_at_one_path_are_refused() {
        let base = [("a", file("a")), ("b", file("b")), ("d/x", file("x"))];
        let lists = json!({
            "allowed_files": ["a", "c", "A", "d/y", "n/m"], "allowed_deletes": ["b", "d/x"],
            "allowed_renames": [{"from": "a", "to": "c"}, {"from": "b", "to": "n"}, {"from": "d/x", "to": "B"}]
        });
        let write = |path: &str, old: &str| json!({"op": "write", "path": path, "base_sha256": old, "content": "x"});
        let delete = |path: &str| json!({"op": "delete", "path": path, "base_sha256": sha256(&path[path.len() - 1..])});
        let rename = |from: &str, to: &str| json!({"op": "rename", "from": from, "to": to, "base_sha256": sha256(&from[from.len() - 1..])});
        for (operations, expected) in [
            (
                json!([write("a", &sha256("a")), rename("a", "c")]),
                Some(Stage::OutOfScope),
            ),
            (json!([rename("a", "c"), write("c", NEW)]), Some(Stage::OutOfScope)),
            (json!([delete("b"), delete("b")]), Some(Stage::OutOfScope)),
            (json!([delete("b"), rename("b", "n")]), Some(Stage::OutOfScope)),
            (json!([rename("a", "c"), write("A", NEW)]), Some(Stage::OutOfScope)),
            (json!([delete("b"), rename("d/x", "B")]), Some(Stage::OutOfScope)),
            (json!([rename("b", "n"), write("n/m", NEW)]), Some(Stage::Unwritable)),
            // The last file of a directory goes, and another one comes.
            (json!([delete("d/x"), write("d/y", NEW)]), None),
            (json!([rename("a", "c"), delete("b")]), None),
        ] {
            let stage = checked(&base, &lists, &operations).err().map(|refusals| refusals.stage);
            assert_eq!(stage, expected, "{operations}");
        }
    }

    #[test]
    fn an_edit_that_cannot_be_made_says_which_and_why() {
        let lists = json!({"allowed_files": ["a", "bytes", "new"]});
        let bytes = BaseEntry::File {
            content: vec![0xff, 0xfe],
            executable: false,
        };
        let base = [("a", file("x x")), ("bytes", bytes)];
        let replace = |path: &str, digest: String, find: &str| json!([{"op": "replace", "path": path, "base_sha256": digest, "edits": [{"find": find, "replace": "y"}]}]);
        for (operations, stage, why) in [
            (
                replace("a", sha256("x x"), "x"),
                Stage::Stale,
                "/edits/0: `x` is in the file more than once",
            ),
            (
                replace("a", sha256("x x"), "z"),
                Stage::Stale,
                "/edits/0: `z` is not in the file",
            ),
            (replace("a", sha256("other"), "x x"), Stage::Stale, "has the digest"),
            (replace("new", NEW.to_owned(), "x"), Stage::Stale, "no such file"),
            (
                replace("bytes", Sha256::of(&[0xff, 0xfe]).to_string(), "x"),
                Stage::Unwritable,
                "not UTF-8",
            ),
        ] {
            let refusals = checked(&base, &lists, &operations).expect_err(why);
            assert_eq!(refusals.stage, stage, "{why}");
            assert!(refusals.to_string().starts_with("/operations/0: "), "{refusals}");
            assert!(refusals.to_string().contains(why), "{refusals}");
        }
    }

    #[test]
    fn edits_cannot_make_more_than_could_be_written() {
        let half = "x".repeat(MAX_FILE_BYTES / 2);
        let names = ["a", "b", "c", "d", "e", "f"];
        let base: Vec<_> = names.iter().map(|name| (*name, file(&format!("{half}!")))).collect();
        let lists = json!({"allowed_files": names});
        let replace = |name: &str, by: &str| {
            let digest = sha256(&format!("{half}!"));
            json!({"op": "replace", "path": name, "base_sha256": digest, "edits": [{"find": "!", "replace": by}]})
        };
        let too_large = checked(
            &base,
            &lists,
            &json!([replace("a", &"y".repeat(MAX_FILE_BYTES / 2 + 1))]),
        );
        assert_eq!(too_large.expect_err("one file").stage, Stage::Unwritable);
        let many = json!(names.map(|name| replace(name, "?")));
        assert_eq!(
            checked(&base, &lists, &many).expect_err("together").stage,
            Stage::Unwritable
        );
        assert!(
            checked(
                &base,
                &lists,
                &json!(names[..4].iter().map(|name| replace(name, "?")).collect::<Vec<_>>())
            )
            .is_ok()
        );
    }
}
