//! The token without which nothing is promoted.

use crate::change::ChangeSet;
use crate::types::{ObjectId, Sha256};

/// A change set that passed verification on a base commit. Promoting consumes it.
///
/// It cannot be built outside `verify`:
///
/// ```compile_fail
/// let passed = factory::verify::Passed { change_set: todo!(), base: todo!(), evidence: todo!() };
/// ```
#[derive(Debug)]
#[must_use = "a verdict that is not promoted is lost"]
pub struct Passed {
    pub(super) change_set: ChangeSet,
    pub(super) base: ObjectId,
    pub(super) evidence: Sha256,
}

impl Passed {
    /// The bytes that were verified.
    pub fn change_set(&self) -> &ChangeSet {
        &self.change_set
    }

    /// The commit on which they were verified.
    pub fn base(&self) -> ObjectId {
        self.base
    }

    /// The digest of the record of the verification.
    pub fn evidence(&self) -> Sha256 {
        self.evidence
    }

    /// A verdict that nobody reached, for tests of what happens after one.
    #[cfg(test)]
    pub(crate) fn for_tests(change_set: ChangeSet, base: ObjectId) -> Self {
        Passed {
            change_set,
            base,
            evidence: Sha256::EMPTY,
        }
    }
}
