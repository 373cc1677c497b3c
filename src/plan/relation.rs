//! Which orders of a plan come before which: what they say of it, and what follows.
//!
//! An order of version 2 comes after those that it names, one of version 1 after the one before it in the plan.

use super::commands::is_second;
use crate::order::{Condition, WorkOrder};
use serde_json::Value;
use std::collections::BTreeSet;

/// What an order says of those before it.
pub(super) enum Says<'o> {
    /// It comes after the one before it.
    Previous,
    /// It comes after these.
    After(Vec<&'o str>),
}

impl<'o> Says<'o> {
    /// What an order in a manifest says, as far as it can be read.
    pub(super) fn of(order: &'o Value) -> Self {
        if !is_second(order) {
            return Says::Previous;
        }
        let list = |name: &str| order.get(name).and_then(Value::as_array).into_iter().flatten();
        let named = list("depends_on").filter_map(Value::as_str);
        let is_order = |condition: &&Value| condition.get("kind").is_some_and(|kind| kind == "order_done");
        let wanted = list("preconditions")
            .filter(is_order)
            .filter_map(|condition| condition.get("order")?.as_str());
        Says::After(named.chain(wanted).collect())
    }

    /// What an order that was read says.
    pub(super) fn of_order(order: &'o WorkOrder) -> Self {
        let Some(named) = &order.depends_on else {
            return Says::Previous;
        };
        let wanted = order.preconditions.iter().filter_map(|condition| match condition {
            Condition::OrderDone { order } => Some(order.as_str()),
            Condition::FileExists { .. }
            | Condition::FileAbsent { .. }
            | Condition::FileSha256 { .. }
            | Condition::Tool { .. } => None,
        });
        Says::After(named.iter().map(String::as_str).chain(wanted).collect())
    }
}

/// Which orders come before which. Orders are named by their place, from zero.
#[derive(Debug)]
pub(super) struct Relation {
    /// The orders that each comes after by its own words.
    pub(super) direct: Vec<BTreeSet<usize>>,
    /// All orders that come before each.
    pub(super) before: Vec<BTreeSet<usize>>,
    /// An order in which each comes after all that come before it; those of a cycle are left out.
    pub(super) sequence: Vec<usize>,
    /// The orders of each cycle, each after the one before it in the list, and the first after the last.
    pub(super) cycles: Vec<Vec<usize>>,
}

impl Relation {
    /// Joins what orders say, each with its id. Ids that are not among them are passed over.
    pub(super) fn of(orders: &[(&str, Says<'_>)]) -> Self {
        let place = |id: &str| orders.iter().position(|(other, _)| *other == id);
        let direct: Vec<BTreeSet<usize>> = (orders.iter().enumerate())
            .map(|(index, (_, says))| match says {
                Says::Previous => index.checked_sub(1).into_iter().collect(),
                Says::After(ids) => ids.iter().filter_map(|id| place(id)).collect(),
            })
            .collect();
        let (sequence, rest) = sort(&direct);
        let mut before = vec![BTreeSet::new(); orders.len()];
        for index in &sequence {
            let mut all = direct[*index].clone();
            for earlier in &direct[*index] {
                all.extend(&before[*earlier]);
            }
            before[*index] = all;
        }
        Relation {
            cycles: cycles(&direct, rest),
            direct,
            before,
            sequence,
        }
    }

    /// Whether one of two orders comes before the other.
    pub(super) fn are_apart(&self, one: usize, other: usize) -> bool {
        !self.before[one].contains(&other) && !self.before[other].contains(&one)
    }
}

/// Sorts orders so that each comes after those that it names, the first of those that can come next always first; and gives
/// those that cannot be sorted.
fn sort(direct: &[BTreeSet<usize>]) -> (Vec<usize>, BTreeSet<usize>) {
    let mut rest: BTreeSet<usize> = (0..direct.len()).collect();
    let mut sequence = Vec::new();
    while let Some(next) = rest.iter().copied().find(|index| direct[*index].is_disjoint(&rest)) {
        rest.remove(&next);
        sequence.push(next);
    }
    (sequence, rest)
}

/// Cycles among orders that cannot be sorted, each order in one at most.
fn cycles(direct: &[BTreeSet<usize>], mut rest: BTreeSet<usize>) -> Vec<Vec<usize>> {
    let mut cycles = Vec::new();
    while let Some(start) = rest.first().copied() {
        // Each of them comes after another of them, so a walk back comes to where it was before, if none was taken away.
        let mut walk = vec![start];
        loop {
            let last = walk[walk.len() - 1];
            let Some(next) = direct[last].iter().copied().find(|index| rest.contains(index)) else {
                // It only comes after a cycle that is told of already.
                rest.remove(&last);
                break;
            };
            if let Some(at) = walk.iter().position(|index| *index == next) {
                let mut cycle = walk.split_off(at);
                rest.retain(|index| !cycle.contains(index));
                cycle.reverse();
                cycles.push(cycle);
                break;
            }
            walk.push(next);
        }
    }
    cycles
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn relation(orders: &[&[&'static str]]) -> Relation {
        const IDS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let orders: Vec<_> = (orders.iter().zip(IDS))
            .map(|(after, id)| match after {
                ["previous"] => (id, Says::Previous),
                after => (id, Says::After(after.to_vec())),
            })
            .collect();
        Relation::of(&orders)
    }

    #[test]
    fn an_order_comes_after_all_that_those_come_after_which_it_names() {
        let relation = relation(&[&[], &["a"], &[], &["b", "c", "x"], &["previous"]]);
        assert_eq!(relation.before[4], BTreeSet::from([0, 1, 2, 3]));
        assert_eq!(relation.sequence, [0, 1, 2, 3, 4]);
        assert!(relation.are_apart(1, 2) && !relation.are_apart(0, 3));
        assert!(relation.cycles.is_empty());
    }

    #[test]
    fn each_cycle_is_told_once_and_what_comes_after_it_is_none() {
        let relation = relation(&[&["c"], &["a"], &["b"], &["a"], &["e"], &["f", "g"], &["f"]]);
        let mut cycles = relation.cycles.clone();
        cycles.iter_mut().for_each(|cycle| cycle.sort_unstable());
        assert_eq!(cycles, [vec![0, 1, 2], vec![4], vec![5]]);
    }

    proptest! {
        #[test]
        fn orders_are_sorted_or_in_or_after_a_cycle(plan in proptest::collection::vec(proptest::collection::btree_set(0_usize..7, 0..3), 7)) {
            const IDS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];
            let orders: Vec<_> = plan.iter().zip(IDS).map(|(after, id)| (id, Says::After(after.iter().map(|index| IDS[*index]).collect()))).collect();
            let relation = Relation::of(&orders);
            for (at, index) in relation.sequence.iter().enumerate() {
                prop_assert!(relation.direct[*index].iter().all(|earlier| relation.sequence[..at].contains(earlier)));
            }
            prop_assert_eq!(relation.cycles.is_empty(), relation.sequence.len() == 7);
            for cycle in &relation.cycles {
                for (at, index) in cycle.iter().enumerate() {
                    let before = cycle[(at + cycle.len() - 1) % cycle.len()];
                    prop_assert!(relation.direct[*index].contains(&before));
                }
            }
        }
    }
}
