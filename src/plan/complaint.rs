//! What is wrong with a plan, by code.

use crate::types::truncate;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// The longest text of a complaint, in characters: it quotes what a model wrote.
const MAX_COMPLAINT_CHARS: usize = 600;

/// The rule that a plan breaks. The names are an interface: what a code means stays. E002 was used once and is not again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Code {
    /// The answer, or a part of it, has not the shape of a plan.
    E000,
    /// The id of an order is not the one of its place.
    E001,
    /// A command has an operator of a shell, and no shell reads it.
    E003,
    /// A path has a wildcard.
    E004,
    /// An order does not follow its schema.
    E005,
    /// The Python text of a command is no Python.
    E006,
    /// A command does not split into words.
    E007,
    /// A precondition does not hold where its order comes.
    E101,
    /// Preconditions of one order exclude each other.
    E102,
    /// A postcondition is about a file that the order may not write.
    E103,
    /// A file that an order may write is promised by none of its postconditions.
    E104,
    /// The repository's verification is an acceptance command.
    E105,
    /// Nothing makes a file that the verification needs.
    E106,
    /// Orders come after one another in a circle.
    E107,
    /// An order comes after one that the plan does not have.
    E108,
    /// Two orders change the same file, and neither comes after the other.
    E109,
    /// A file is deleted or renamed that is not there, is needed later, or whose new name is taken.
    E110,
    /// No command of an order runs what it is about.
    E111,
    /// An order wants to spend more than may be spent.
    E112,
    /// A command needs a network, or an order more resources than the profile has.
    E113,
    /// A command succeeds before the work is done.
    E114,
    /// A command fails before the work is done, for a reason that the work does not take away.
    E115,
    /// A command imports what neither the repository nor an order so far has.
    W101,
    /// No command of a version 1 order runs what it is about.
    W111,
    /// All commands of a version 1 order succeed before the work is done.
    W114,
    /// An order has what looks like a credential in its text, and no run sends that to a model unasked.
    W116,
}

impl Code {
    /// All codes.
    pub const ALL: [Code; 26] = [
        Code::E000,
        Code::E001,
        Code::E003,
        Code::E004,
        Code::E005,
        Code::E006,
        Code::E007,
        Code::E101,
        Code::E102,
        Code::E103,
        Code::E104,
        Code::E105,
        Code::E106,
        Code::E107,
        Code::E108,
        Code::E109,
        Code::E110,
        Code::E111,
        Code::E112,
        Code::E113,
        Code::E114,
        Code::E115,
        Code::W101,
        Code::W111,
        Code::W114,
        Code::W116,
    ];

    /// Whether a plan with it can be used all the same.
    pub const fn is_warning(self) -> bool {
        matches!(self, Code::W101 | Code::W111 | Code::W114 | Code::W116)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// One thing that is wrong with a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Complaint {
    /// The rule.
    pub code: Code,
    /// The order: its id as written, or `index-N` when it has none that could be told; null for the plan itself.
    pub order: Value,
    /// What is wrong and what is wanted.
    pub message: String,
}

impl Complaint {
    /// One about an order, by what complaints call it.
    pub fn new(code: Code, order: &Value, message: impl AsRef<str>) -> Self {
        Complaint {
            code,
            order: order.clone(),
            message: truncate(message.as_ref(), MAX_COMPLAINT_CHARS),
        }
    }

    /// One about the plan itself.
    pub fn of_plan(code: Code, message: impl AsRef<str>) -> Self {
        Complaint::new(code, &Value::Null, message)
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.order {
            Value::Null => write!(f, "{}: {}", self.code, self.message),
            Value::String(order) => write!(f, "{} {order}: {}", self.code, self.message),
            other => write!(f, "{} {other}: {}", self.code, self.message),
        }
    }
}

/// Everything that is wrong with a plan, in the order in which it is looked at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Complaints {
    /// What keeps it from being used.
    pub errors: Vec<Complaint>,
    /// What may turn out to be wrong.
    pub warnings: Vec<Complaint>,
}

impl Complaints {
    /// Adds one to those of its kind.
    pub fn add(&mut self, complaint: Complaint) {
        match complaint.code.is_warning() {
            true => self.warnings.push(complaint),
            false => self.errors.push(complaint),
        }
    }

    /// The codes of the errors.
    pub fn codes(&self) -> Vec<Code> {
        self.errors.iter().map(|complaint| complaint.code).collect()
    }
}
