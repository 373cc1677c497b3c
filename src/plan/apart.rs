//! Do orders get in each other's way of which neither comes after the other? Code E109.
//!
//! Of two orders of version 1 one always comes after the other.

use super::chain::Chain;
use super::complaint::{Code, Complaint, Complaints};
use super::conflicts::{gone, named, uses};
use super::names::{is_below, key};
use super::structure::texts;
use std::collections::{BTreeMap, HashSet};

/// How many files a complaint names; the others are counted.
const MAX_NAMED: usize = 5;

/// What an order does with a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Makes,
    TakesAway,
    Uses(&'static str),
}

struct Touch {
    place: usize,
    path: String,
    act: Act,
}

/// How two orders meet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Meeting {
    /// Both change a file.
    Change,
    /// A file of one is a directory of the other.
    Nest,
    /// The first in the list uses what the other may take away.
    EarlierUses(&'static str),
    /// The other way round.
    LaterUses(&'static str),
}

#[derive(Default)]
struct Met {
    shown: Vec<String>,
    more: usize,
}

/// Everything that orders do with files, by the files.
fn touches(chain: &Chain<'_>) -> BTreeMap<String, Vec<Touch>> {
    let mut touches = BTreeMap::<_, Vec<_>>::new();
    for place in &chain.relation.sequence {
        let (place, order) = (*place, chain.orders[*place].1);
        let mut seen = HashSet::new();
        let taken = gone(order).map(|path| (path.to_owned(), Act::TakesAway));
        let made = texts(order, "allowed_files").chain(named(order));
        let made = made.map(|path| (path.to_owned(), Act::Makes));
        let used = uses(order).into_iter().map(|(path, how)| (path, Act::Uses(how)));
        for (path, act) in taken.chain(made).chain(used) {
            if seen.insert(path.clone()) {
                touches.entry(key(&path)).or_default().push(Touch { place, path, act });
            }
        }
    }
    touches
}

/// Orders that change the same files, or of which one takes away what the other uses, and of which neither comes after the
/// other.
pub(super) fn check(chain: &Chain<'_>, complaints: &mut Complaints) {
    let touches = touches(chain);
    let mut meetings = BTreeMap::<(usize, usize, Meeting), Met>::new();
    let mut meet = |one: &Touch, other: &Touch, is_nested: bool| {
        if one.place == other.place || !chain.relation.are_apart(one.place, other.place) {
            return;
        }
        let (earlier, later) = if one.place < other.place {
            (one, other)
        } else {
            (other, one)
        };
        let meeting = match (earlier.act, later.act) {
            (Act::Makes | Act::TakesAway, Act::Makes | Act::TakesAway) if is_nested => Meeting::Nest,
            (Act::Makes | Act::TakesAway, Act::Makes | Act::TakesAway) => Meeting::Change,
            (Act::Uses(how), Act::TakesAway) if !is_nested => Meeting::EarlierUses(how),
            (Act::TakesAway, Act::Uses(how)) if !is_nested => Meeting::LaterUses(how),
            _ => return,
        };
        let met = meetings.entry((later.place, earlier.place, meeting)).or_default();
        if met.shown.len() == MAX_NAMED {
            met.more += 1;
        } else if one.path == other.path {
            met.shown.push(format!("`{}`", one.path));
        } else {
            met.shown.push(format!("`{}` and `{}`", later.path, earlier.path));
        }
    };
    // The files that the next may lie in, from the top down.
    let mut above: Vec<(&String, &Vec<Touch>)> = Vec::new();
    for (key, here) in &touches {
        while above.pop_if(|(other, _)| !is_below(key, other)).is_some() {}
        for (index, one) in here.iter().enumerate() {
            here[..index].iter().for_each(|other| meet(one, other, false));
            let others = above.iter().flat_map(|(_, others)| *others);
            others.for_each(|other| meet(one, other, true));
        }
        above.push((key, here));
    }
    for ((later, earlier, meeting), met) in meetings {
        let (name, order) = &chain.orders[earlier];
        let id = order["id"].as_str().map_or_else(|| name.to_string(), str::to_owned);
        let more = match met.more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let files = format!("{}{more}", met.shown.join(", "));
        let what = match meeting {
            Meeting::Change => format!("it and {id} both change {files}"),
            Meeting::Nest => format!("it and {id} change {files}, of which one would lie in the other"),
            Meeting::EarlierUses(how) => format!("it may delete or rename {files}, which {id} {how}"),
            Meeting::LaterUses(how) => format!("it {how} {files}, which {id} may delete or rename"),
        };
        let message = format!("{what}, and neither depends on the other; let one of them come after the other");
        complaints.add(Complaint::new(Code::E109, &chain.orders[later].0, message));
    }
}
