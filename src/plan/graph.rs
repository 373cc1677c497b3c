//! Which orders come after which, and why: what they say themselves, and the files that lead from one to another.

use super::dependencies;
use super::relation::{Relation, Says};
use crate::order::{Condition, WorkOrder};
use serde::Serialize;
use std::collections::BTreeSet;

/// Why an order comes after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It says so.
    Named,
    /// A precondition wants a file that the other makes.
    Needs,
    /// A command uses a file that the other writes.
    Runs,
    /// It changes a file that the other writes.
    Rewrites,
    /// It is shown a file that the other writes.
    Reads,
    /// It is of version 1, and the next in the plan.
    Follows,
}

impl Reason {
    /// The reason as a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Named => "depends",
            Reason::Follows => "follows",
            Reason::Needs => "needs",
            Reason::Runs => "runs",
            Reason::Rewrites => "rewrites",
            Reason::Reads => "reads",
        }
    }
}

/// One order builds on another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// The place of the order that comes first, from zero.
    pub from: usize,
    /// The place of the one that builds on it.
    pub to: usize,
    /// Why.
    pub reason: Reason,
    /// The file that it is about, when it is about one.
    pub path: Option<String>,
}

/// The edges between the orders of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Graph {
    /// By the order that builds on another; the strongest reason for each file alone.
    pub edges: Vec<Edge>,
}

impl Graph {
    /// Finds what each order says of those before it, and for each file that it uses the latest order before it that makes
    /// it. An order of version 1 follows the one before it, whatever it uses.
    pub fn of(orders: &[&WorkOrder]) -> Self {
        let said: Vec<_> = orders
            .iter()
            .map(|order| (order.id.as_str(), Says::of_order(order)))
            .collect();
        let relation = Relation::of(&said);
        let mut edges = Vec::new();
        for (to, order) in orders.iter().enumerate() {
            let edge = |from, reason, path| Edge { from, to, reason, path };
            if order.depends_on.is_some() {
                edges.extend(relation.direct[to].iter().map(|from| edge(*from, Reason::Named, None)));
            }
            let mut seen = Vec::new();
            for (reason, path) in uses(order) {
                if seen.contains(&path) {
                    continue;
                }
                let is_before = |from: &&usize| relation.before[to].contains(*from);
                let mut before = relation.sequence.iter().rev().filter(is_before);
                if let Some(from) = before.find(|from| makes(orders[**from], &path)) {
                    seen.push(path.clone());
                    edges.push(edge(*from, reason, Some(path)));
                }
            }
            let leads = |edges: &[Edge], from| edges.iter().any(|edge| (edge.from, edge.to) == (from, to));
            if order.depends_on.is_none()
                && let Some(from) = to.checked_sub(1)
                && !leads(&edges, from)
            {
                edges.push(edge(from, Reason::Follows, None));
            }
        }
        Graph { edges }
    }

    /// The edges to one order.
    pub fn to(&self, to: usize) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |edge| edge.to == to)
    }
}

/// For each order, whether it is the first of those that lead to it, and the files that may be there once it is done: those
/// that it and the orders before it write, or that get their name from them.
pub fn made_before(orders: &[&WorkOrder]) -> Vec<(bool, BTreeSet<String>)> {
    let said: Vec<_> = orders
        .iter()
        .map(|order| (order.id.as_str(), Says::of_order(order)))
        .collect();
    let relation = Relation::of(&said);
    let made = |place: usize| {
        let own = std::iter::once(place).chain(relation.before[place].iter().copied());
        own.flat_map(|place| {
            let order = orders[place];
            let named = order.allowed_renames.iter().map(|rename| &rename.to);
            order.allowed_files.iter().chain(named).map(ToString::to_string)
        })
        .collect()
    };
    (0..orders.len())
        .map(|place| (relation.before[place].is_empty(), made(place)))
        .collect()
}

/// Whether a file may be there because of an order.
fn makes(order: &WorkOrder, path: &str) -> bool {
    let named = order.allowed_renames.iter().map(|rename| &rename.to);
    order
        .allowed_files
        .iter()
        .chain(named)
        .any(|file| file.as_str() == path)
}

/// The files that an order uses, the strongest reason first.
fn uses(order: &WorkOrder) -> Vec<(Reason, String)> {
    let needed = order
        .preconditions
        .iter()
        .filter(|condition| matches!(condition, Condition::FileExists { .. } | Condition::FileSha256 { .. }));
    let needed = needed.filter_map(|condition| Some((Reason::Needs, condition.path()?.to_string())));
    let commands = order.acceptance_commands.iter();
    let run = commands
        .flat_map(|command| dependencies(&command.text))
        .map(|path| (Reason::Runs, path));
    let written = order
        .allowed_files
        .iter()
        .map(|path| (Reason::Rewrites, path.to_string()));
    let gone = order
        .allowed_deletes
        .iter()
        .chain(order.allowed_renames.iter().map(|rename| &rename.from));
    let gone = gone.map(|path| (Reason::Rewrites, path.to_string()));
    let read = order.context_files.iter().map(|path| (Reason::Reads, path.to_string()));
    needed.chain(run).chain(written).chain(gone).chain(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order;
    use proptest::prelude::*;
    use serde_json::json;

    fn order(writes: &[&str], reads: &[&str], needs: &[&str], runs: &str) -> WorkOrder {
        let needs: Vec<_> = needs
            .iter()
            .map(|path| json!({"kind": "file_exists", "path": path}))
            .collect();
        let text = json!({
            "id": "WO-01", "title": "t", "intent": "i", "allowed_files": writes, "forbidden": [], "context_files": reads,
            "acceptance_commands": [runs], "preconditions": needs
        });
        order::parse(text.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn an_order_builds_on_the_latest_one_that_writes_what_it_uses() {
        let orders = [
            order(&["a.py"], &[], &[], "true"),
            order(&["a.py", "b.py"], &[], &[], "true"),
            order(&["c.py"], &["a.py", "b.py"], &["a.py"], "python -c 'import b'"),
        ];
        let graph = Graph::of(&orders.iter().collect::<Vec<_>>());
        let edge = |from, to, reason, path: &str| Edge {
            from,
            to,
            reason,
            path: Some(path.to_owned()),
        };
        let expected = [
            edge(0, 1, Reason::Rewrites, "a.py"),
            edge(1, 2, Reason::Needs, "a.py"),
            edge(1, 2, Reason::Runs, "b.py"),
        ];
        assert_eq!(graph.edges, expected);
    }

    proptest! {
        #[test]
        fn edges_lead_forward_only(plan in proptest::collection::vec((0_usize..4, 0_usize..4), 1..8)) {
            let files = ["a.py", "b.py", "c.py", "d.py"];
            let orders: Vec<_> = plan.iter().map(|(writes, reads)| order(&[files[*writes]], &[files[*reads]], &[], "true")).collect();
            let graph = Graph::of(&orders.iter().collect::<Vec<_>>());
            prop_assert!(graph.edges.iter().all(|edge| edge.from < edge.to && edge.to < orders.len()));
        }
    }
}
