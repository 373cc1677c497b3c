//! Digests by which work is recognised as the same work.
//!
//! - The order key says what was asked on which inputs. It leaves out where the order was planned, where this host keeps its
//!   toolchains, and the version of this program: none of them is a reason to pay a model again.
//! - The verification key says which bytes were judged by what, where. It leaves out nothing.

use super::ground::Setup;
use crate::change::{BaseEntry, ChangeSet};
use crate::order::{Condition, canonical_json};
use crate::sandbox::{Policy, find_program};
use crate::types::{ObjectId, RepoPath, Sha256};
use crate::verify::{self, Checks, VERIFY_SCRIPT};
use crate::{order::WorkOrder, propose};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;

/// The version of what an order key is made of.
const ORDER_KEY: &str = "factory order 1";
/// The version of what a verification key is made of.
const VERIFICATION_KEY: &str = "factory verification 1";
/// The version of what a regression key is made of.
const REGRESSION_KEY: &str = "factory regression 1";

/// Recognises the same order on the same inputs.
///
/// # Errors
/// What `base` answers when it cannot say what stands at a path.
pub(super) fn order_key<E>(setup: &Setup, base: impl Fn(&RepoPath) -> Result<BaseEntry, E>) -> Result<Sha256, E> {
    let order = &setup.order;
    let mut inputs = Vec::new();
    for path in inputs_of(order) {
        inputs.push(json!([path, standing(&base(&path)?)]));
    }
    let parts = json!([
        ORDER_KEY,
        meaning(order),
        inputs,
        propose::template_digest(order.version),
        verify::RULES,
        demands(&setup.policy),
        setup.timeout.map(|timeout| timeout.as_millis().to_string()),
    ]);
    Ok(Sha256::of(&canonical_json(&parts)))
}

/// Recognises the verification of the same bytes by the same checks under the same policy on a host that looks the same.
pub(super) fn verification_key(setup: &Setup, base: ObjectId, change_set: &ChangeSet, checks: &Checks) -> Sha256 {
    let files: Vec<_> = change_set.digests().collect();
    let mut parts = json!([
        VERIFICATION_KEY,
        env!("CARGO_PKG_VERSION"),
        verify::RULES,
        base,
        files,
        checks,
        setup.policy,
        setup.timeout.map(|timeout| timeout.as_millis().to_string()),
        host(&setup.policy, checks),
    ]);
    // Only then: without them, the key is what it was before there were any.
    let modes = change_set.modes();
    if let Value::Array(parts) = &mut parts
        && !modes.is_empty()
    {
        parts.push(json!(modes));
    }
    Sha256::of(&canonical_json(&parts))
}

/// Recognises the verification of a whole tree by the repository's own commands, likewise.
pub(super) fn regression_key(setup: &Setup, tree: ObjectId, checks: &Checks) -> Sha256 {
    Sha256::of(&canonical_json(&json!([
        REGRESSION_KEY,
        env!("CARGO_PKG_VERSION"),
        verify::RULES,
        tree,
        checks,
        setup.policy,
        setup.timeout.map(|timeout| timeout.as_millis().to_string()),
        host(&setup.policy, checks),
    ])))
}

/// The order without what the planner wrote down about itself.
fn meaning(order: &WorkOrder) -> Value {
    json!(WorkOrder {
        provenance: None,
        ..order.clone()
    })
}

/// The files of the base that the order, the prompt and the verification look at.
fn inputs_of(order: &WorkOrder) -> BTreeSet<RepoPath> {
    let conditions = order.preconditions.iter().chain(&order.postconditions);
    let script = RepoPath::parse(VERIFY_SCRIPT).ok();
    conditions
        .filter_map(Condition::path)
        .chain(&order.context_files)
        .chain(&order.allowed_files)
        .chain(&order.allowed_deletes)
        .chain(
            order
                .allowed_renames
                .iter()
                .flat_map(|rename| [&rename.from, &rename.to]),
        )
        .cloned()
        .chain(script)
        .collect()
}

fn standing(entry: &BaseEntry) -> Value {
    match entry {
        BaseEntry::File { content, executable } => json!([Sha256::of(content), executable]),
        BaseEntry::Absent => json!("absent"),
        BaseEntry::Symlink => json!("symlink"),
        BaseEntry::Directory => json!("directory"),
        BaseEntry::Submodule => json!("submodule"),
        BaseEntry::BelowFile => json!("below a file"),
        BaseEntry::BelowSymlink => json!("below a symlink"),
    }
}

/// What a policy demands, without where this host keeps what it grants.
fn demands(policy: &Policy) -> Value {
    let mut demands = json!(policy);
    if let Value::Object(fields) = &mut demands {
        for host in ["read", "aliases", "path", "snapshots", "suites"] {
            fields.remove(host);
        }
    }
    demands
}

/// The kernel and the programs that judge, by what the file system says of them: reading them whole would cost more than
/// judging again.
fn host(policy: &Policy, checks: &Checks) -> Value {
    let programs: Vec<_> = checks
        .programs()
        .into_iter()
        .map(|name| {
            let file = find_program(policy, name).and_then(|path| Some((path.clone(), path.metadata().ok()?)));
            let known = file.map(|(path, file)| {
                let times = (file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec());
                (path, file.dev(), file.ino(), file.size(), times)
            });
            json!([name, known])
        })
        .collect();
    let kernel = rustix::system::uname();
    json!([
        kernel.release().to_string_lossy(),
        kernel.version().to_string_lossy(),
        programs
    ])
}
