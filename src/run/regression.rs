//! What holds on the base: the repository's own verification, without which nothing shows that a change keeps what held.
//!
//! - A script that no shell can read is found before a model is paid, whatever the order is.
//! - That it fails is no reason to refuse an order that may be about that: one that mends something, that makes a file
//!   which the script may be waiting for, or that takes one away which it cannot bear. An order of version 1 says of itself neither.
//! - What was seen to hold on a tree is not looked at again for it: an order usually starts from what the last one left.

use super::artifacts::json as pretty;
use super::engine::Run;
use super::failure::{Failure, Stage};
use super::fault::Fault;
use super::ground::workspace_failure;
use super::key::regression_key;
use super::past::latest;
use crate::change::{BaseEntry, ChangeSet};
use crate::journal::Phase as Framed;
use crate::order::{Kind, Version};
use crate::sandbox::{Command, Outcome, Report};
use crate::types::{FailureClass, ObjectId, RepoPath, escape_control, truncate};
use crate::verify::{Finding, VERIFY_SCRIPT, Verdict};
use serde_json::json;

/// A tree on which the repository's verification holds.
const HELD: &str = "regression.held";

impl Run<'_> {
    /// Whether the base has a script by which it is verified, and the order is judged by it as it is.
    fn has_script(&self) -> Result<bool, Failure> {
        let order = &self.setup.order;
        let Ok(script) = RepoPath::parse(VERIFY_SCRIPT) else {
            return Ok(false);
        };
        let mut renamed = order.allowed_renames.iter();
        let is_its_own = order.allowed_files.contains(&script)
            || order.allowed_deletes.contains(&script)
            || renamed.any(|rename| rename.from == script || rename.to == script);
        if order.verify_exempt || is_its_own {
            return Ok(false);
        }
        let entry = self
            .snapshot
            .entry(&script)
            .map_err(|error| workspace_failure(&error))?;
        Ok(matches!(entry, BaseEntry::File { .. }))
    }

    /// A command that shows whether commands can be run at all: one that reads the script without running it, where there
    /// is one.
    pub(super) fn first_command(&self) -> Result<Command, Failure> {
        Ok(match self.has_script()? {
            true => Command::new(["bash", "-n", VERIFY_SCRIPT]),
            false => Command::new(["true"]),
        })
    }

    /// What bash says against the script when it only reads it, the first lines of it; nothing where it can.
    pub(super) fn complaint(&self, report: &Report) -> Result<Vec<String>, Failure> {
        let is_wrong = matches!(report.outcome, Outcome::Exit { code } if code != 0);
        if !is_wrong || !self.has_script()? {
            return Ok(Vec::new());
        }
        let said = report.stderr.to_bytes();
        let said = String::from_utf8_lossy(&said);
        let lines = said.lines().filter(|line| !line.trim().is_empty()).take(3);
        Ok(lines.map(str::to_owned).collect())
    }

    /// Refuses a base whose script no shell can read.
    ///
    /// Who only reads a script does not know what it does first: `shopt -s extglob`, an alias, an `exit` before what is no
    /// script at all. So the complaint counts where the script ends in the same one when it is run.
    pub(super) async fn check_script(&mut self, complaint: &[String]) -> Result<(), Fault> {
        let Some(first) = complaint.first() else { return Ok(()) };
        let finding = self.regression().await?;
        if !finding.is_some_and(|finding| finding.excerpt.contains(first)) {
            return Ok(());
        }
        let failure = Failure::plain(
            FailureClass::Order,
            format!("the repository's own verification cannot be run on the base: bash cannot read `{VERIFY_SCRIPT}`"),
        );
        let causes = complaint.iter().map(|line| truncate(&escape_control(line), 200));
        let failure = Failure {
            causes: causes.collect(),
            ..failure.with_hint("correct the script, or run an order that may write it; no model was asked")
        };
        Err(Fault::new(Stage::Preflight, failure))
    }

    /// Has the repository's verification judge the base, and refuses an order that can only keep what holds where it does not
    /// hold.
    pub(super) async fn check_regression(&mut self) -> Result<(), Fault> {
        let blocked = |failure| Fault::new(Stage::Preflight, failure);
        if self.setup.order.version == Version::V1 || !self.has_script().map_err(blocked)? {
            return Ok(());
        }
        let Some(finding) = self.regression().await? else {
            return Ok(());
        };
        if self.may_mend().map_err(blocked)? {
            return Ok(());
        }
        self.artifacts.write("baseline-verify.json", &pretty(&finding))?;
        let message = "the repository's own verification does not hold on the base, so nothing would show that the change keeps \
                       what held";
        let end = finding.excerpt.lines().rev().filter(|line| !line.trim().is_empty());
        let mut causes = vec![format!("`bash {VERIFY_SCRIPT}` {}", finding.reason)];
        causes.extend(end.take(1).map(|line| truncate(&escape_control(line), 200)));
        Err(blocked(Failure {
            causes,
            ..Failure::plain(FailureClass::Order, message).with_hint(
                "mend the repository, or have an order of kind `fix` do so; see baseline-verify.json in the artifacts; no model \
                 was asked",
            )
        }))
    }

    /// Whether the order may be what makes the verification hold.
    fn may_mend(&self) -> Result<bool, Failure> {
        let order = &self.setup.order;
        let moves_files = !order.allowed_renames.is_empty() || !order.allowed_deletes.is_empty();
        if matches!(order.kind, None | Some(Kind::Fix | Kind::Bootstrap)) || moves_files {
            return Ok(true);
        }
        for path in &order.allowed_files {
            let entry = self.snapshot.entry(path).map_err(|error| workspace_failure(&error))?;
            if !matches!(entry, BaseEntry::File { .. }) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Why the repository's verification does not hold on the base; nothing where it does. Looked at once.
    async fn regression(&mut self) -> Result<Option<Finding>, Fault> {
        if let Some(known) = &self.base_regression {
            return Ok(known.clone());
        }
        let checks = self.checks(&ChangeSet::default())?.regression_only();
        let key = regression_key(self.setup, self.snapshot.tree(), &checks);
        let found = match latest(&self.journal, HELD, key, self.since)? {
            Some(_) => None,
            None => match self.judge_by(&checks).await? {
                Verdict::Passed(..) => {
                    self.journal(Framed::Fact, HELD, None, json!({ "key": key }))?;
                    None
                }
                Verdict::Rejected(finding, _) | Verdict::Limited(_, finding, _) | Verdict::Flaky(finding, _) => {
                    Some(finding.without_credentials())
                }
            },
        };
        self.base_regression = Some(found.clone());
        Ok(found)
    }

    /// Remembers that the verification holds on the tree of a candidate that passed.
    pub(super) fn remember_regression(&mut self, attempt: u32, tree: ObjectId) -> Result<(), Fault> {
        if !self.has_script().map_err(Fault::exception)? {
            return Ok(());
        }
        let checks = self.checks(&ChangeSet::default())?.regression_only();
        let key = regression_key(self.setup, tree, &checks);
        self.journal(Framed::Fact, HELD, Some(attempt), json!({ "key": key }))?;
        Ok(())
    }

    /// Says so where a candidate fails as the base does: then it may not be the model's fault.
    pub(super) async fn compared_with_base(&mut self, fault: Fault) -> Fault {
        let on_base = match self.regression().await {
            Ok(Some(finding)) => finding.fingerprint(),
            Ok(None) => return fault,
            Err(worse) => return worse,
        };
        if on_base != fault.fingerprint {
            return fault;
        }
        let hint =
            "the base fails in the same way, without any change: see whether it is this order's work to mend that";
        Fault {
            failure: Box::new(fault.failure.with_hint(hint)),
            ..fault
        }
    }
}
