//! Areas about proposals, on a base that is a map of files: what a repository answers is asked where there is one.

use super::case::{Case, Files, files_value};
use crate::support::File;
use factory::change::BaseEntry;
use factory::order::{self, WorkOrder};
use factory::propose::{self, CheckError, Draft, Form, Operation, Proposal, Stage};
use factory::types::RepoPath;
use serde_json::{Value, json};
use std::convert::Infallible;

pub(super) fn proposal_parse(case: &Case) -> Result<Value, String> {
    let text = String::from_utf8(case.document()?).map_err(|error| error.to_string())?;
    Ok(match propose::parse_answer(&text, Form::Writes) {
        Ok(Proposal::Changes(Draft {
            summary, operations, ..
        })) => {
            let writes: Vec<_> = operations.iter().map(written).collect::<Result<_, _>>()?;
            let (paths, contents): (Vec<_>, Vec<_>) = writes.into_iter().unzip();
            json!({"ok": true, "summary": summary, "paths": paths, "contents": contents})
        }
        // Version 1, which the cases pin, has no other kind.
        Ok(Proposal::NoChange { .. } | Proposal::Blocked { .. }) | Err(_) => json!({"ok": false}),
    })
}

/// Path and content of a full write, which is all that the cases have.
fn written(operation: &Operation) -> Result<(&RepoPath, &String), String> {
    match operation {
        Operation::Write { path, content, .. } => Ok((path, content)),
        other => Err(format!("no full write: {other:?}")),
    }
}

pub(super) fn proposal_apply(case: &Case) -> Result<Value, String> {
    let base = Base {
        files: case.files()?,
        directories: case.texts("dirs").unwrap_or_default(),
    };
    let order = order_with(&case.texts("allowed")?, &[])?;
    let (stage, files_after) = match propose_on(&base, &order, &case.field("proposal")?.to_string()) {
        Ok(files) => (None, files),
        Err(stage) => (Some(name_of(stage)), base.files.clone()),
    };
    let outside: Vec<_> = files_after.keys().filter(|path| path.starts_with("..")).collect();
    let outside_after = if outside.is_empty() { json!({}) } else { json!(outside) };
    Ok(json!({"stage": stage, "files_after": files_value(&files_after), "outside_after": outside_after}))
}

/// Parses, checks and applies an answer; gives the files afterwards, or where it was refused.
fn propose_on(base: &Base<'_>, order: &WorkOrder, answer: &str) -> Result<Files, Stage> {
    let parsed = propose::parse_answer(answer, Form::Writes).map_err(|error| error.stage())?;
    let Proposal::Changes(draft) = parsed else {
        return Err(Stage::Unparseable);
    };
    let change_set = propose::check(&draft, order, |path| base.entry(path)).map_err(|error| match error {
        CheckError::Refused { refusals } => refusals.stage,
        CheckError::Base { source, .. } => match source {},
    })?;
    let mut files = base.files.clone();
    for write in &change_set.writes {
        let content = write.content.clone().into_bytes();
        files.insert(
            write.path.to_string(),
            File::Regular {
                content,
                executable: false,
            },
        );
    }
    Ok(files)
}

/// The stages by the names that the cases use.
fn name_of(stage: Stage) -> &'static str {
    match stage {
        Stage::Unparseable => "llm_output_invalid",
        Stage::OutOfScope => "write_scope_violation",
        Stage::Stale => "stale_context",
        Stage::Unwritable => "write_failed",
    }
}

pub(super) fn context_read(case: &Case) -> Result<Value, String> {
    let base = Base {
        files: case.files()?,
        directories: Vec::new(),
    };
    let order = order_with(&["a"], &case.texts("context_files")?)?;
    let Ok(files) = propose::read_context(&order, |path| base.entry(path));
    let files: Vec<_> = files
        .iter()
        .map(|file| json!({"path": file.path, "exists": file.exists, "sha256": file.sha256, "content_bytes": file.content.len()}))
        .collect();
    Ok(json!({"files": files}))
}

pub(super) fn hash_file(case: &Case) -> Result<Value, String> {
    let base = Base {
        files: case.files()?,
        directories: Vec::new(),
    };
    let path = RepoPath::parse(case.text("path")?).map_err(|error| error.to_string())?;
    let Ok(entry) = base.entry(&path);
    Ok(json!({"sha256": entry.base_sha256()}))
}

/// An order with these files. Paths that no order can name are left out of it, so that a proposal that names them is
/// judged all the same.
fn order_with(allowed: &[&str], context: &[&str]) -> Result<WorkOrder, String> {
    let text = json!({
        "id": "WO-01", "title": "t", "intent": "i", "allowed_files": ["a"], "forbidden": [],
        "acceptance_commands": ["true"], "context_files": context
    });
    let mut order = order::parse(text.to_string().as_bytes()).map_err(|error| error.to_string())?;
    order.allowed_files = allowed.iter().filter_map(|path| RepoPath::parse(path).ok()).collect();
    Ok(order)
}

/// A base that is a map of files.
struct Base<'c> {
    files: Files,
    directories: Vec<&'c str>,
}

impl Base<'_> {
    fn entry(&self, path: &RepoPath) -> Result<BaseEntry, Infallible> {
        let path = path.as_str();
        for (end, _) in path.match_indices('/') {
            match self.files.get(&path[..end]) {
                Some(File::Regular { .. }) => return Ok(BaseEntry::BelowFile),
                Some(File::Symlink(_)) => return Ok(BaseEntry::BelowSymlink),
                None => {}
            }
        }
        let is_parent = |other: &str| other.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        Ok(match self.files.get(path) {
            Some(File::Regular { content, executable }) => BaseEntry::File {
                content: content.clone(),
                executable: *executable,
            },
            Some(File::Symlink(_)) => BaseEntry::Symlink,
            None if self.files.keys().any(|other| is_parent(other)) => BaseEntry::Directory,
            None if self.directories.iter().any(|other| *other == path || is_parent(other)) => BaseEntry::Directory,
            None => BaseEntry::Absent,
        })
    }
}
