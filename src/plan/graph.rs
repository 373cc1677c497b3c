//! Which orders build on which: a graph without cycles, because an order can only build on earlier ones.

use super::dependencies;
use crate::order::{Condition, WorkOrder};
use serde::Serialize;

/// Why an order comes after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A precondition wants a file that the other makes.
    Needs,
    /// A command uses a file that the other writes.
    Runs,
    /// It writes a file that the other writes.
    Rewrites,
    /// It is shown a file that the other writes.
    Reads,
}

impl Reason {
    /// The reason as a word.
    pub const fn as_str(self) -> &'static str {
        match self {
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
    /// The file that it is about.
    pub path: String,
}

/// The edges between the orders of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Graph {
    /// By the order that builds on another; the strongest reason for each file alone.
    pub edges: Vec<Edge>,
}

impl Graph {
    /// Finds for each file that an order uses the latest order before it that writes it.
    pub fn of(orders: &[&WorkOrder]) -> Self {
        let mut edges = Vec::new();
        for (to, order) in orders.iter().enumerate() {
            let mut seen = Vec::new();
            for (reason, path) in uses(order) {
                if seen.contains(&path) {
                    continue;
                }
                let writes = |earlier: &&WorkOrder| earlier.allowed_files.iter().any(|file| file.as_str() == path);
                if let Some(from) = orders[..to].iter().rposition(writes) {
                    seen.push(path.clone());
                    edges.push(Edge { from, to, reason, path });
                }
            }
        }
        Graph { edges }
    }

    /// The edges to one order.
    pub fn to(&self, to: usize) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |edge| edge.to == to)
    }
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
    let read = order.context_files.iter().map(|path| (Reason::Reads, path.to_string()));
    needed.chain(run).chain(written).chain(read).collect()
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
            path: path.to_owned(),
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
