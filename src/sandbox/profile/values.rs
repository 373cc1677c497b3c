//! A profile as a list of values, to be shown and compared: the one place that knows which side of each is the wide one.

use super::Profile;
use super::document::Origin;
use super::inherit::{GROUPED, Grant, Set, Spec, covers};
use crate::sandbox::report::LimitKind;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Display;

/// One value of a profile, or one entry of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Value {
    /// The key, as `limits.wall`.
    pub key: &'static str,
    /// The value as it is written.
    pub value: String,
    /// The reason that is given for it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Who says so.
    pub origin: Origin,
}

/// What a difference between two profiles does to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It may do or use more.
    Widened,
    /// It may do or use less.
    Narrowed,
    /// Neither: a variable has another value.
    Changed,
}

/// One difference between two profiles.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// What it does.
    pub change: Change,
    /// The key.
    pub key: &'static str,
    /// The value in the first; absent when only the second has one.
    pub from: Option<String>,
    /// The value in the second.
    pub to: Option<String>,
}

/// A single value with its rank: of two, the one with the higher rank is the wider one.
pub(super) struct Scalar {
    pub(super) value: Value,
    pub(super) rank: i128,
}

/// What an entry of a list does. Where a variable is set to something else, nothing is allowed or taken away.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// It allows something.
    Grants,
    /// It takes something away.
    Demands,
}

/// A list with its entries.
pub(super) struct List {
    pub(super) key: &'static str,
    pub(super) side: Side,
    pub(super) entries: Vec<Value>,
}

impl Profile {
    /// Every value with its origin, in the order of the format.
    pub fn values(&self) -> Vec<Value> {
        let scalars = scalars(&self.spec).into_iter().map(|scalar| scalar.value);
        let entries = lists(&self.spec).into_iter().flat_map(|list| list.entries);
        let variables = self.spec.env.iter().map(|(name, set)| Value {
            key: "env.set",
            value: format!("{name}={}", set.value),
            why: set.why.clone(),
            origin: set.origin.clone(),
        });
        let mut values: Vec<Value> = scalars.chain(entries).chain(variables).collect();
        let place = |value: &Value| ORDER.iter().position(|prefix| value.key.starts_with(prefix));
        values.sort_by_key(place);
        values
    }

    /// What changes for a command that ran under this profile and is to run under another.
    pub fn diff(&self, other: &Profile) -> Vec<Difference> {
        let mut all: Vec<Difference> = scalars(&self.spec)
            .into_iter()
            .zip(scalars(&other.spec))
            .filter(|(from, to)| from.rank != to.rank)
            .map(|(from, to)| Difference {
                change: if to.rank > from.rank {
                    Change::Widened
                } else {
                    Change::Narrowed
                },
                key: from.value.key,
                from: Some(from.value.value),
                to: Some(to.value.value),
            })
            .collect();
        for (from, to) in lists(&self.spec).into_iter().zip(lists(&other.spec)) {
            let (gained, lost) = match from.side {
                Side::Grants => (Change::Widened, Change::Narrowed),
                Side::Demands => (Change::Narrowed, Change::Widened),
            };
            all.extend(to.missing_in(&from).map(|entry| Difference {
                change: gained,
                key: to.key,
                from: None,
                to: Some(entry.value.clone()),
            }));
            all.extend(from.missing_in(&to).map(|entry| Difference {
                change: lost,
                key: from.key,
                from: Some(entry.value.clone()),
                to: None,
            }));
        }
        let names: BTreeSet<&String> = self.spec.env.keys().chain(other.spec.env.keys()).collect();
        let assigned = |spec: &Spec, name: &String| Some(format!("{name}={}", spec.env.get(name)?.value));
        all.extend(names.into_iter().filter_map(|name| {
            let (from, to) = (assigned(&self.spec, name), assigned(&other.spec, name));
            let key = "env.set";
            let change = Change::Changed;
            (from != to).then_some(Difference { change, key, from, to })
        }));
        all.sort();
        all
    }
}

impl List {
    /// Entries that have no counterpart in another list.
    pub(super) fn missing_in<'a>(&'a self, other: &'a List) -> impl Iterator<Item = &'a Value> {
        self.entries
            .iter()
            .filter(|entry| !other.entries.iter().any(|theirs| covers(&theirs.value, &entry.value)))
    }
}

/// The tables of the format, in order.
const ORDER: [&str; 8] = ["require", "tree", "fs", "exec", "net", "limits", "env", "open"];

/// More is wider for all but what is required.
pub(super) fn scalars(spec: &Spec) -> Vec<Scalar> {
    let ceiling = |key, value: Value, rank: u128| Scalar {
        value: Value { key, ..value },
        rank: i128::try_from(rank).unwrap_or(i128::MAX),
    };
    let floor = |key, value: Value, rank: u32| Scalar {
        value: Value { key, ..value },
        rank: -i128::from(rank),
    };
    vec![
        floor("require.userns", value(&spec.userns), spec.userns.value.into()),
        floor(
            "require.landlock_abi",
            value(&spec.landlock_abi),
            spec.landlock_abi.value,
        ),
        floor("require.seccomp", value(&spec.seccomp), spec.seccomp.value.into()),
        ceiling("tree.source", value(&spec.source), spec.source.value as u128),
        ceiling("fs.tmp.size", value(&spec.tmp_size), spec.tmp_size.value.0.into()),
        ceiling("fs.tmp.inodes", value(&spec.tmp_inodes), spec.tmp_inodes.value.into()),
        ceiling("exec.memfd", value(&spec.memfd), spec.memfd.value.into()),
        ceiling("net.mode", value(&spec.network), spec.network.value as u128),
        ceiling("limits.wall", value(&spec.wall), spec.wall.value.0.as_millis()),
        ceiling("limits.cpu", value(&spec.cpu), spec.cpu.value.0.as_millis()),
        ceiling("limits.silence", value(&spec.silence), spec.silence.value.0.as_millis()),
        ceiling("limits.memory", value(&spec.memory), spec.memory.value.0.into()),
        ceiling("limits.pids", value(&spec.pids), spec.pids.value.into()),
        ceiling(
            "limits.file_size",
            value(&spec.file_size),
            spec.file_size.value.0.into(),
        ),
        ceiling("limits.files", value(&spec.files), spec.files.value.into()),
        ceiling("limits.output", value(&spec.output), spec.output.value.0.into()),
    ]
}

fn value<T: Display>(set: &Set<T>) -> Value {
    Value {
        key: "",
        value: set.value.to_string(),
        why: set.why.clone(),
        origin: set.origin.clone(),
    }
}

pub(super) fn lists(spec: &Spec) -> Vec<List> {
    let list = |key, side, entries: Vec<Value>| List {
        key,
        side,
        entries: entries.into_iter().map(|value| Value { key, ..value }).collect(),
    };
    let entry = |value: String, origin: &Origin, why: &str| Value {
        key: "",
        value,
        why: why.to_owned(),
        origin: origin.clone(),
    };
    let granted = |grants: &[Grant]| {
        let shown = grants
            .iter()
            .map(|grant| entry(grant.name.clone(), &grant.origin, &grant.why));
        shown.collect()
    };
    let kept = |(limit, name): &(LimitKind, &str)| Some(entry((*name).to_owned(), spec.grouped.get(limit)?, ""));
    let grouped = GROUPED.iter().filter_map(kept).collect();
    let protect = spec
        .protect
        .iter()
        .map(|(path, set)| entry(path.clone(), &set.origin, &set.why));
    let pass = spec
        .pass
        .iter()
        .map(|(name, set)| entry(name.clone(), &set.origin, &set.why));
    let here = Origin {
        profile: spec.name.clone(),
        line: 0,
    };
    let open = spec.open.iter().map(|key| entry(key.clone(), &here, ""));
    vec![
        list("require.limits", Side::Demands, grouped),
        list("tree.protect", Side::Demands, protect.collect()),
        list("fs.read", Side::Grants, granted(&spec.read)),
        list("fs.snapshot", Side::Grants, granted(&spec.snapshot)),
        list("env.pass", Side::Grants, pass.collect()),
        list("open", Side::Grants, open.collect()),
    ]
}
