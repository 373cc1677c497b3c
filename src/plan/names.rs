//! Which names of a plan's files mean the same file, or lie in each other?
//!
//! Names are compared as the file systems do that know the fewest: without case, and however letters are composed.

use super::chain::{Chain, Files};
use crate::types::fold_name;
use std::collections::BTreeMap;
use std::ops::Bound::{Included, Unbounded};

/// What a name is found by: with the separator as the smallest character, what is below a path follows it immediately.
pub(super) fn key(path: &str) -> String {
    fold_name(path).replace('/', "\0")
}

/// Whether one key lies below another.
pub(super) fn is_below(key: &str, above: &str) -> bool {
    key.strip_prefix(above).is_some_and(|rest| rest.starts_with('\0'))
}

/// A file as it is spelled, and the order that may make it, or none when the repository has it.
type Made<'c> = (&'c str, Option<usize>);

/// The files of the repository, and those that any order may make.
pub(super) struct Names<'c>(BTreeMap<String, Vec<Made<'c>>>);

impl<'c> Names<'c> {
    pub(super) fn of(chain: &'c Chain<'_>, files: &'c Files) -> Self {
        let mut names = BTreeMap::<_, Vec<_>>::new();
        for file in files {
            names.entry(key(file)).or_default().push((file.as_str(), None));
        }
        for (place, effects) in chain.effects.iter().enumerate() {
            for file in &effects.made {
                names.entry(key(file)).or_default().push((file.as_str(), Some(place)));
            }
        }
        Names(names)
    }

    /// A file that is there and would have to be a directory.
    pub(super) fn above(&self, path: &str, is_there: impl Fn(&str, Option<usize>) -> bool) -> Option<&'c str> {
        let key = key(path);
        let mut bound = parent(&key, key.len())?;
        // Not each directory is looked up, of which a path can have thousands: the last name up to one of them says how far
        // up the next is that can be found.
        loop {
            let (found, made) = self.0.range::<str, _>((Unbounded, Included(bound))).next_back()?;
            let shared = (bound.bytes().zip(found.bytes())).take_while(|(one, other)| one == other);
            let shared = shared.count();
            if shared == found.len()
                && (found == bound || is_below(bound, found))
                && let Some((file, _)) = made.iter().find(|(file, maker)| is_there(file, *maker))
            {
                return Some(file);
            }
            bound = parent(bound, shared)?;
        }
    }

    /// A file that is there and lies in what would have to be a file.
    pub(super) fn below(&self, path: &str, is_there: impl Fn(&str, Option<usize>) -> bool) -> Option<&'c str> {
        let key = key(path);
        let below = self.0.range(format!("{key}\0")..);
        let below = below.take_while(|(other, _)| is_below(other, &key));
        let mut files = below.flat_map(|(_, made)| made);
        files
            .find(|(file, maker)| is_there(file, *maker))
            .map(|(file, _)| *file)
    }

    /// A file that is there, and that some file system takes for another that is not.
    pub(super) fn lookalike(&self, path: &str, is_there: impl Fn(&str, Option<usize>) -> bool) -> Option<&'c str> {
        let made = self.0.get(&key(path))?;
        let found = made.iter().filter(|(file, maker)| is_there(file, *maker));
        let files: Vec<_> = found.map(|(file, _)| *file).collect();
        let is_known = files.contains(&path);
        files.into_iter().min().filter(|_| !is_known)
    }
}

/// The directory that a key lies in, no longer than `end`.
fn parent(key: &str, end: usize) -> Option<&str> {
    let at = key.as_bytes()[..end].iter().rposition(|byte| *byte == 0)?;
    Some(&key[..at])
}
