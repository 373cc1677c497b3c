//! A work order as it is written: in the form of its version, which is what is read from it.
//!
//! The form of version 1 has digests over it in recorded runs, which is why it stays as it is. That of version 2 leaves out
//! what is as it is by default, so that a field that is added later changes no digest of an order that does not use it.

use super::{AcceptanceCommand, Condition, Golden, Kind, OrderBudget, Rename, Resources, Tool, Version, WorkOrder};
use crate::types::RepoPath;
use serde::{Serialize, Serializer};
use serde_json::Value;

#[derive(Serialize)]
struct First<'o> {
    id: &'o str,
    title: &'o str,
    intent: &'o str,
    preconditions: &'o [Condition],
    postconditions: &'o [Condition],
    allowed_files: &'o [RepoPath],
    forbidden: &'o [String],
    acceptance_commands: Vec<&'o str>,
    context_files: &'o [RepoPath],
    notes: Option<&'o str>,
    verify_exempt: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    provenance: Option<&'o Value>,
}

#[derive(Serialize)]
struct Second<'o> {
    schema_version: u32,
    id: &'o str,
    title: &'o str,
    kind: Option<Kind>,
    intent: &'o str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    requirements: &'o [String],
    depends_on: &'o [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    preconditions: &'o [Condition],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    postconditions: &'o [Condition],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    allowed_files: &'o [RepoPath],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    allowed_deletes: &'o [RepoPath],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    allowed_renames: &'o [Rename],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    executable_files: &'o [RepoPath],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    protected_files: &'o [RepoPath],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    forbidden_paths: &'o [RepoPath],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    forbidden: &'o [String],
    acceptance: Vec<Object<'o>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    golden: &'o [Golden],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tools: &'o [Tool],
    #[serde(skip_serializing_if = "is_default")]
    resources: &'o Resources,
    #[serde(skip_serializing_if = "is_default")]
    budget: &'o OrderBudget,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    context_files: &'o [RepoPath],
    #[serde(skip_serializing_if = "Option::is_none")]
    notes: Option<&'o str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    verify_exempt: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    provenance: Option<&'o Value>,
}

fn is_default<T: Default + PartialEq>(value: &&T) -> bool {
    **value == T::default()
}

struct Object<'o>(&'o AcceptanceCommand);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize_object(serializer)
    }
}

impl Serialize for WorkOrder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.version {
            Version::V1 => first(self).serialize(serializer),
            Version::V2 => second(self).serialize(serializer),
        }
    }
}

fn first(order: &WorkOrder) -> First<'_> {
    First {
        id: &order.id,
        title: &order.title,
        intent: &order.intent,
        preconditions: &order.preconditions,
        postconditions: &order.postconditions,
        allowed_files: &order.allowed_files,
        forbidden: &order.forbidden,
        acceptance_commands: order
            .acceptance_commands
            .iter()
            .map(|command| command.text.as_str())
            .collect(),
        context_files: &order.context_files,
        notes: order.notes.as_deref(),
        verify_exempt: order.verify_exempt,
        provenance: order.provenance.as_ref(),
    }
}

fn second(order: &WorkOrder) -> Second<'_> {
    Second {
        schema_version: 2,
        id: &order.id,
        title: &order.title,
        kind: order.kind,
        intent: &order.intent,
        requirements: &order.requirements,
        depends_on: order.depends_on.as_deref().unwrap_or_default(),
        preconditions: &order.preconditions,
        postconditions: &order.postconditions,
        allowed_files: &order.allowed_files,
        allowed_deletes: &order.allowed_deletes,
        allowed_renames: &order.allowed_renames,
        executable_files: &order.executable_files,
        protected_files: &order.protected_files,
        forbidden_paths: &order.forbidden_paths,
        forbidden: &order.forbidden,
        acceptance: order.acceptance_commands.iter().map(Object).collect(),
        golden: &order.golden,
        tools: &order.tools,
        resources: &order.resources,
        budget: &order.budget,
        context_files: &order.context_files,
        notes: order.notes.as_deref(),
        verify_exempt: order.verify_exempt,
        provenance: order.provenance.as_ref(),
    }
}
