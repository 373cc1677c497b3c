//! What came of every case, and the sums by group and by severity.

use super::case::{Case, Group, Severity};
use serde::Serialize;

/// What came of one case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The act was kept in, or what has to work does.
    Contained,
    /// The act got out.
    Escaped,
    /// Something that has to work does not, or the case could not be carried out.
    Broken,
    /// The act is refused outside as well, so nothing can be said.
    Skipped,
    /// There is nothing to attack.
    NotApplicable,
}

/// A verdict with what it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What came of it.
    pub verdict: Verdict,
    /// A sentence or the payload's line. Partly text from a payload: to be escaped before it is shown.
    pub evidence: String,
}

impl Finding {
    pub(super) fn new(verdict: Verdict, evidence: impl Into<String>) -> Self {
        Finding {
            verdict,
            evidence: crate::types::truncate(&evidence.into(), 400).replace('\n', " "),
        }
    }
}

/// One case with all its verdicts.
#[derive(Debug, Clone)]
pub struct Row {
    /// The case.
    pub case: &'static Case,
    /// What the control did that the case shows to be impossible inside; nothing where no control is run.
    pub control: Option<String>,
    /// This project's sandbox.
    pub ours: Finding,
    /// The other launcher, if there is one.
    pub theirs: Option<Finding>,
}

/// How many verdicts of each kind there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Kept in.
    pub contained: u32,
    /// Got out.
    pub escaped: u32,
    /// Does not work, or could not be tried.
    pub broken: u32,
    /// Refused outside as well.
    pub skipped: u32,
    /// Nothing to attack.
    pub not_applicable: u32,
}

impl Tally {
    fn count<'a>(findings: impl Iterator<Item = &'a Finding>) -> Self {
        let mut tally = Tally::default();
        for finding in findings {
            *match finding.verdict {
                Verdict::Contained => &mut tally.contained,
                Verdict::Escaped => &mut tally.escaped,
                Verdict::Broken => &mut tally.broken,
                Verdict::Skipped => &mut tally.skipped,
                Verdict::NotApplicable => &mut tally.not_applicable,
            } += 1;
        }
        tally
    }
}

/// The outcome of an attack.
#[derive(Debug, Clone)]
pub struct Scoreboard {
    /// The profile that this project's sandbox was attacked under.
    pub profile: String,
    /// The first word of the other launcher.
    pub against: Option<String>,
    /// The cases, by id.
    pub rows: Vec<Row>,
}

impl Scoreboard {
    /// The sums over the rows that `wanted` picks: of this project's sandbox, and of the other launcher.
    pub fn tally(&self, wanted: impl Fn(&Case) -> bool) -> (Tally, Option<Tally>) {
        let picked = || self.rows.iter().filter(|row| wanted(row.case));
        let theirs = self.against.as_ref();
        (
            Tally::count(picked().map(|row| &row.ours)),
            theirs.map(|_| Tally::count(picked().filter_map(|row| row.theirs.as_ref()))),
        )
    }

    /// The groups that occur, in order.
    pub fn groups(&self) -> Vec<Group> {
        let occurs = |group: &Group| self.rows.iter().any(|row| row.case.group() == *group);
        Group::ALL.into_iter().filter(occurs).collect()
    }

    /// The severities that occur, the worst first.
    pub fn severities(&self) -> Vec<Severity> {
        let occurs = |severity: &Severity| self.rows.iter().any(|row| row.case.severity == *severity);
        Severity::ALL.into_iter().filter(occurs).collect()
    }
}
