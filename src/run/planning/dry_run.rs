//! Every acceptance command of a plan, run once on the base before any order is paid for. Codes E114, E115 and W114.
//!
//! - A command that is green already shows nothing of the work, whatever comes before its order. One that cannot be read, or
//!   whose program nobody makes, can be put right by no order.
//! - For an order that others come before, the base is not what it will start from: a command that is red for want of
//!   anything that an order up to it makes is red for the right reason.
//! - The same command is run once, however many orders have it.

use super::super::budget::Budget;
use super::super::failure::{Failure, Situation, interrupted};
use super::super::ground::{Cancel, base, sandbox_failure, workspace_failure};
use super::super::terms;
use crate::order::{AcceptanceCommand, Baseline, Version, Visibility, WorkOrder};
use crate::plan::{Code, Complaint, Complaints, Files, made_before, python_modules};
use crate::sandbox::{Command, Policy, Sandbox, Tree};
use crate::verify::{self, Bench, Known, Shown, VerifyError};
use crate::workspace::{Base, Snapshot};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// How long one command is given here. One that takes longer and may take longer is not judged.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where and how commands are tried.
#[derive(Debug, Clone)]
pub struct DryRun {
    /// What must hold while commands run.
    pub policy: Policy,
    /// Where exported trees are kept.
    pub cache_dir: PathBuf,
    /// This project's own binary, which is started again as the sandbox's helper.
    pub program: PathBuf,
}

/// What came of trying the commands of orders.
#[derive(Debug, Default)]
pub struct TriedOut {
    /// What is wrong with the orders.
    pub complaints: Complaints,
    /// Every command, order by order.
    pub commands: Vec<TriedCommand>,
}

/// What a command did on the base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TriedCommand {
    /// The order that has it.
    pub order: String,
    /// The command, as the order has it.
    pub command: String,
    /// What it is expected to do there.
    pub expected: Baseline,
    /// What it did.
    pub found: Showing,
    /// Why it shows nothing, if it shows nothing.
    pub reason: Option<String>,
    /// What is complained of, if anything is.
    pub code: Option<Code>,
}

/// What a command shows on the base, as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Showing {
    /// What it has to show, already.
    Green,
    /// That something is missing that the work makes.
    Red,
    /// Nothing: it fails for a reason that no work takes away.
    Invalid,
    /// Nothing yet: it takes longer than it is given here.
    Unknown,
}

impl TriedCommand {
    fn new(order: &WorkOrder, command: &AcceptanceCommand, shown: &Shown, code: Option<Code>) -> Self {
        let (found, reason) = match shown {
            Shown::Green => (Showing::Green, None),
            Shown::Red => (Showing::Red, None),
            Shown::Invalid(reason) => (Showing::Invalid, Some(reason.clone())),
            Shown::Unknown => (Showing::Unknown, None),
        };
        TriedCommand {
            order: order.id.clone(),
            command: command.text.clone(),
            expected: command.expect_baseline,
            found,
            reason,
            code,
        }
    }
}

/// The base, ready for commands.
#[derive(Debug)]
pub struct Trial {
    sandbox: Sandbox,
    base: Base,
    policy: Policy,
    cancel: Cancel,
}

impl Trial {
    /// Makes ready for the commands of plans that build on a commit, and builds one sandbox for nothing: a layer that is
    /// missing is found before a model is paid.
    ///
    /// # Errors
    /// `Host` when the base cannot be exported or a sandbox not be built.
    pub async fn prepare(dry_run: &DryRun, snapshot: &Snapshot<'_>, cancel: Cancel) -> Result<Self, Failure> {
        let skip = |failure: Failure| match failure.hint.clone() {
            Some(hint) => failure.with_hint(format!("{hint}; or plan without trying commands, with --no-dry-run")),
            None => failure.with_hint("plan without trying commands, with --no-dry-run"),
        };
        let policy = dry_run.policy.clone();
        let sandbox = Sandbox::start(&dry_run.program).map_err(|error| skip(sandbox_failure(&error)))?;
        let base = base(&dry_run.cache_dir, snapshot, policy.tree).map_err(|error| workspace_failure(&error))?;
        let mut trial = Trial {
            sandbox,
            base,
            policy,
            cancel,
        };
        let (tree, nothing) = (trial.tree(), Command::new(["true"]));
        tokio::select! {
            biased;
            signal = trial.cancel.wait() => return Err(interrupted(signal)),
            report = trial.sandbox.run(&trial.policy, &tree, &nothing, None) => {
                report.map_err(|error| skip(sandbox_failure(&error)))?;
            }
        }
        Ok(trial)
    }

    fn tree(&self) -> Tree {
        Tree {
            layers: self.base.layers(),
        }
    }

    /// Tries the commands of orders and says what is wrong with them, order by order. `files` are those of the base.
    ///
    /// # Errors
    /// When a command could not be run at all, or the operator asked for an end.
    pub async fn try_orders(&mut self, orders: &[&WorkOrder], files: &Files) -> Result<TriedOut, Failure> {
        let TriedOut {
            mut complaints,
            mut commands,
        } = TriedOut::default();
        let mut seen: Vec<(Asked, Shown)> = Vec::new();
        for (order, (is_first, made)) in orders.iter().zip(made_before(orders)) {
            if let Err(failure) = terms::check(order, &self.policy) {
                complaints.add(Complaint::new(Code::E113, &name(order), failure.sentence()));
                continue;
            }
            let mut policy = self.policy.clone();
            terms::narrow(order, &mut policy, &mut Budget::unlimited());
            let mut greens = 0;
            for command in &order.acceptance_commands {
                let asked = Asked {
                    command: plain(command),
                    policy: policy.clone(),
                    made: made.clone(),
                };
                let known = seen.iter().find(|(other, _)| *other == asked);
                let shown = match known {
                    Some((_, shown)) => shown.clone(),
                    None => {
                        let shown = self.try_out(&asked, files).await?;
                        seen.push((asked, shown.clone()));
                        shown
                    }
                };
                greens += usize::from(shown == Shown::Green);
                let said = complaint(command, &shown, is_first);
                let code = said.as_ref().map(|(code, _)| *code);
                commands.push(TriedCommand::new(order, command, &shown, code));
                if let Some((code, message)) = said {
                    complaints.add(Complaint::new(code, &name(order), message));
                }
            }
            if order.version == Version::V1 && greens == order.acceptance_commands.len() {
                let message = "all of its acceptance commands succeed on the repository as it is, so they show nothing of the work";
                complaints.add(Complaint::new(Code::W114, &name(order), message));
            }
        }
        Ok(TriedOut { complaints, commands })
    }

    async fn try_out(&mut self, asked: &Asked, files: &Files) -> Result<Shown, Failure> {
        let Asked { command, policy, made } = asked;
        let tree = self.tree();
        let modules = foreign_modules(&command.argv, files, made);
        let known = Known {
            modules: &modules,
            is_made: &|path| is_made(path, made),
            patience: PATIENCE,
        };
        let bench = Bench {
            sandbox: &self.sandbox,
            policy,
            timeout: None,
        };
        tokio::select! {
            biased;
            signal = self.cancel.wait() => Err(interrupted(signal)),
            shown = verify::on_base(bench, &tree, command, known) => shown.map_err(|error| untried(&error)),
        }
    }
}

/// All that decides what a command shows on the base.
#[derive(Debug, PartialEq)]
struct Asked {
    command: AcceptanceCommand,
    policy: Policy,
    made: BTreeSet<String>,
}

/// A command without what is asked of it elsewhere.
fn plain(command: &AcceptanceCommand) -> AcceptanceCommand {
    AcceptanceCommand {
        expect_baseline: Baseline::Any,
        visibility: Visibility::Full,
        runs: 1,
        ..command.clone()
    }
}

/// The Python modules that a command names and that no file of the tree, now or later, can be.
pub(in crate::run) fn foreign_modules(argv: &[String], files: &Files, made: &BTreeSet<String>) -> Vec<String> {
    let modules = python_modules(argv).into_iter();
    modules.filter(|module| !is_of_tree(module, files, made)).collect()
}

/// Whether a path is among those that are made. What lies below a directory that is named stands for the directory.
pub(in crate::run) fn is_made(path: &str, made: &BTreeSet<String>) -> bool {
    match path.ends_with('/') {
        true => made.iter().any(|file| file.starts_with(path)),
        false => made.contains(path),
    }
}

/// Whether a module may be one of the tree's: some file or directory has its name, wherever that is.
pub(in crate::run) fn is_of_tree(module: &str, files: &Files, made: &BTreeSet<String>) -> bool {
    let is_it = |path: &String| {
        path.split('/')
            .any(|part| part == module || part.strip_suffix(".py") == Some(module))
    };
    files.iter().chain(made).any(is_it)
}

fn name(order: &WorkOrder) -> Value {
    json!(order.id)
}

/// What is to be said of a command.
fn complaint(command: &AcceptanceCommand, shown: &Shown, is_first: bool) -> Option<(Code, String)> {
    let text = &command.text;
    match (shown, command.expect_baseline) {
        (Shown::Green, Baseline::Fail) => Some((
            Code::E114,
            format!(
                "`{text}` succeeds on the repository as it is, so it shows nothing of the work; have it ask for what the \
                 order makes, or say that it has to succeed before: \"expect_baseline\": \"pass\""
            ),
        )),
        (Shown::Red, Baseline::Pass) if is_first => Some((
            Code::E115,
            format!("`{text}` is to succeed before the work is done (\"expect_baseline\": \"pass\"), and fails"),
        )),
        (Shown::Invalid(reason), _) => Some((
            Code::E115,
            format!("`{text}` fails for a reason that the work does not take away: {reason}"),
        )),
        (Shown::Green | Shown::Red | Shown::Unknown, _) => None,
    }
}

fn untried(error: &VerifyError) -> Failure {
    let situation = match error {
        VerifyError::Sandbox { source, .. } => sandbox_failure(source).situation,
        VerifyError::ToolMissing { .. } => Situation::Plain,
    };
    Failure::new(error, situation)
}
