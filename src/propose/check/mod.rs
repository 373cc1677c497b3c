//! A proposal against order and base: may these files be changed, and are they what the model took them for?

use super::draft::{Draft, Edit, Form, Operation};
use super::{MAX_FILE_BYTES, MAX_PROPOSAL_BYTES, Stage, edits, scope};
use crate::change::{BaseEntry, ChangeSet, Delete, Rename, Write};
use crate::order::WorkOrder;
use crate::order::json::quote;
use crate::types::{FailureClass, Problem, RepoPath, Sha256, escape_control, fold_name};
use std::collections::{BTreeMap, HashSet};
use std::fmt;

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
            match first.entry(fold_name(path.as_str())) {
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
    let mut sorted: Vec<_> = made
        .map(|(path, number)| (fold_name(path.as_str()), number, path))
        .collect();
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

#[cfg(test)]
mod tests;
