//! What is looked at before a model is paid: everything that can be known without it.

use super::artifacts::json;
use super::engine::Run;
use super::failure::{Failure, Situation, Stage, interrupted};
use super::fault::Fault;
use super::finished::is_done_before;
use super::ground::{base, refuse_shown, sandbox_failure, workspace_failure};
use super::planning::{MAX_FILES, foreign_modules, is_made, is_of_tree};
use super::state::Event;
use super::steps::{Ground, Step, out_of_order, unjudged};
use super::terms;
use crate::change::{BaseEntry, ChangeSet};
use crate::durable::{crash_point, ensure_dir};
use crate::journal::Phase as Framed;
use crate::order::{AcceptanceCommand, Baseline, Condition, Golden, Version, runs_unasked, verify_exempt_allowed};
use crate::plan::{Files, is_library, made_before, python_modules};
use crate::propose::{self, Exposure};
use crate::sandbox::{Command, Sandbox, Tree, find_program};
use crate::types::{FailureClass, RepoPath, escape_control};
use crate::verify::{
    self, BaseRecord, BaseState, Bench, Candidate as Judged, Checks, Given, Progress, Suite, Verdict, VerifyError,
};
use crate::workspace::WorkspaceError;
use serde_json::json;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

/// How long a tool may take to say which version it is.
const PROBE: Duration = Duration::from_secs(30);

impl Run<'_> {
    /// Looks for every reason not to pay a model.
    pub(super) async fn preflight(&mut self) -> Step {
        let blocked = |failure| Fault::new(Stage::Preflight, failure);
        self.check_exemption().map_err(blocked)?;
        self.check_protected().map_err(blocked)?;
        self.check_exposure().map_err(blocked)?;
        terms::check(&self.setup.order, &self.setup.policy).map_err(blocked)?;
        self.check_preconditions().map_err(blocked)?;
        let suites = self.find_suites().map_err(blocked)?;
        self.check_tools(&suites).map_err(blocked)?;
        let ground = self.prepare_ground(suites).map_err(blocked)?;
        let complaint = self.try_sandbox(&ground).await?;
        self.ground = Some(ground);
        self.check_script(&complaint).await?;
        self.probe_tools().await?;
        let judged = self.judge_baseline().await?;
        let may_be_satisfied = !self.setup.fresh && judged.iter().all(|one| one.found == BaseState::Green);
        if may_be_satisfied && self.may_be_satisfied().map_err(blocked)? && self.is_satisfied(&judged).await? {
            return Ok(Event::Satisfied);
        }
        terms::check_base(&judged).map_err(blocked)?;
        self.check_regression().await?;
        Ok(Event::Ready)
    }

    /// Asks the tools that the order names for their versions.
    async fn probe_tools(&mut self) -> Result<(), Fault> {
        for tool in &self.setup.order.tools {
            let Some(ground) = &self.ground else {
                return Err(out_of_order("a sandbox"));
            };
            let tree = Tree {
                layers: ground.base.layers(),
            };
            let command = Command {
                timeout: Some(self.setup.timeout.map_or(PROBE, |timeout| timeout.min(PROBE))),
                ..Command::new(tool.argv.iter().cloned())
            };
            let report = tokio::select! {
                biased;
                signal = self.cancel.wait() => return Err(Fault::exception(interrupted(signal))),
                report = ground.sandbox.run(&self.setup.policy, &tree, &command, None) => report,
            };
            let report = report.map_err(|error| Fault::new(Stage::Preflight, sandbox_failure(&error)))?;
            let profile = &self.setup.policy.profile;
            terms::check_tool(tool, &report, profile).map_err(|failure| Fault::new(Stage::Preflight, failure))?;
        }
        Ok(())
    }

    /// Has the commands judge the base of which the order says what they do there, and records it.
    async fn judge_baseline(&mut self) -> Result<Vec<BaseRecord>, Fault> {
        let order = &self.setup.order;
        let says_nothing = |command: &AcceptanceCommand| command.expect_baseline == Baseline::Any;
        if order.acceptance_commands.iter().all(says_nothing) {
            return Ok(Vec::new());
        }
        let checks = self.checks(&ChangeSet::default())?;
        let Some(ground) = &self.ground else {
            return Err(out_of_order("a sandbox"));
        };
        let tree = Tree {
            layers: ground.base.layers(),
        };
        let bench = self.bench(ground);
        let made = made_before(&[order]).into_iter().next();
        let made = made.map(|(_, made)| made).unwrap_or_default();
        // Only read where a module may be one of the tree's, which takes time where there are many files, and not in a tree of
        // more files than anybody reads: what cannot be told is right.
        let may_be_of_tree = |module: &String| !is_library(module) && !is_of_tree(module, &Files::default(), &made);
        let is_open = |command: &AcceptanceCommand| python_modules(&command.argv).iter().any(may_be_of_tree);
        let files = order.acceptance_commands.iter().any(is_open);
        let files = files.then(|| self.snapshot.file_paths(MAX_FILES)).transpose();
        let files: Option<Files> = match files {
            Ok(files) => files.map(|files| files.into_iter().collect()),
            Err(WorkspaceError::TooLarge { .. }) => None,
            Err(error) => return Err(Fault::exception(workspace_failure(&error))),
        };
        let given = Given {
            modules: &|argv| match &files {
                Some(files) => foreign_modules(argv, files, &made),
                None => python_modules(argv)
                    .into_iter()
                    .filter(|module| is_library(module))
                    .collect(),
            },
            is_made: &|path| is_made(path, &made),
        };
        let judged = tokio::select! {
            biased;
            signal = self.cancel.clone().wait_owned() => return Err(Fault::exception(interrupted(signal))),
            judged = verify::judge_base(bench, &tree, &checks, &given) => judged,
        };
        let judged = judged.map_err(|error| Fault::new(Stage::Preflight, *unjudged(&error).failure))?;
        self.artifacts.write("baseline.json", &json(&judged))?;
        let states: Vec<_> = judged.iter().map(|one| one.found).collect();
        self.journal(Framed::Fact, "baseline.judged", None, json!({ "commands": states }))?;
        Ok(judged)
    }

    /// Whether the base may have all that the order asks for: its files are there, and there is a command that shows it.
    fn may_be_satisfied(&self) -> Result<bool, Failure> {
        let order = &self.setup.order;
        let stands = |path: &RepoPath| match self.snapshot.entry(path) {
            Ok(entry) => Ok(matches!(entry, BaseEntry::File { .. })),
            Err(error) => Err(workspace_failure(&error)),
        };
        let kept = order.allowed_files.iter().map(|path| (path, true));
        let gone = order.allowed_deletes.iter().map(|path| (path, false));
        let renamed = order.allowed_renames.iter();
        let renamed = renamed.flat_map(|rename| [(&rename.from, false), (&rename.to, true)]);
        for (path, is_there) in kept.chain(gone).chain(renamed) {
            if stands(path)? != is_there {
                return Ok(false);
            }
        }
        // What has to hold before the work as well, as in a refactoring, says nothing of whether it is done.
        let shows_work = |command: &AcceptanceCommand| match order.version {
            Version::V1 => true,
            Version::V2 => command.expect_baseline == Baseline::Fail,
        };
        let mut commands = order.acceptance_commands.iter();
        Ok(commands.any(|command| shows_work(command) && !verify::shows_nothing(&command.argv)))
    }

    /// Whether everything that a candidate is judged by holds on the base, of which `seen` holds.
    async fn is_satisfied(&mut self, seen: &[BaseRecord]) -> Result<bool, Fault> {
        let all_seen = seen.len() == self.setup.order.acceptance_commands.len();
        Ok(matches!(self.judge_base(all_seen).await?, Verdict::Passed(..)))
    }

    /// Judges the base as if it were a candidate: the acceptance commands first, because they are what is likely to fail,
    /// unless they were just seen to hold.
    pub(super) async fn judge_base(&mut self, acceptance_holds: bool) -> Result<Verdict, Fault> {
        let checks = self.checks(&ChangeSet::default())?;
        if !acceptance_holds {
            let verdict = self.judge_by(&checks.acceptance_only()).await?;
            if !matches!(verdict, Verdict::Passed(..)) {
                return Ok(verdict);
            }
        }
        self.judge_by(&checks).await
    }

    /// Has `checks` judge the base.
    pub(super) async fn judge_by(&self, checks: &Checks) -> Result<Verdict, Fault> {
        let Some(ground) = &self.ground else {
            return Err(out_of_order("a sandbox"));
        };
        let tree = Tree {
            layers: ground.base.layers(),
        };
        let base = Judged {
            tree: &tree,
            change_set: ChangeSet::default(),
            base: self.snapshot.commit(),
        };
        let mut tell = |_: Progress<'_>| ();
        tokio::select! {
            biased;
            signal = self.cancel.clone().wait_owned() => Err(Fault::exception(interrupted(signal))),
            verdict = verify::verify(self.bench(ground), base, checks, &mut tell) => {
                verdict.map_err(|error| unjudged(&error))
            }
        }
    }

    fn bench<'b>(&'b self, ground: &'b Ground) -> Bench<'b> {
        Bench {
            sandbox: &ground.sandbox,
            policy: &self.setup.policy,
            timeout: self.setup.timeout,
        }
    }

    fn check_exemption(&self) -> Result<(), Failure> {
        let order = &self.setup.order;
        if !order.verify_exempt || verify_exempt_allowed(self.setup.allow_verify_exempt, order.provenance.as_ref()) {
            return Ok(());
        }
        Err(Failure::plain(
            FailureClass::Policy,
            "the order excuses itself from the repository's verification, which it may not",
        )
        .with_hint("remove `verify_exempt` from the order, or allow it with --allow-verify-exempt"))
    }

    /// What the order does not allow, a proposal cannot write, so this is the place for both.
    fn check_protected(&self) -> Result<(), Failure> {
        let order = &self.setup.order;
        let renamed = order
            .allowed_renames
            .iter()
            .flat_map(|rename| [&rename.from, &rename.to]);
        let allowed = order.allowed_files.iter().chain(&order.allowed_deletes).chain(renamed);
        let protected: Vec<_> = allowed
            .filter(|path| !self.setup.allow_protected.contains(*path))
            .filter_map(|path| Some((path, runs_unasked(path)?)))
            .collect();
        let Some((first, _)) = protected.first() else {
            return Ok(());
        };
        let causes = protected
            .iter()
            .map(|(path, who)| format!("{} is run by {who}", escape_control(path.as_str())));
        let failure = Failure::plain(
            FailureClass::Policy,
            "the order allows files that are run outside of the sandbox without being called",
        );
        Err(Failure {
            causes: causes.collect(),
            ..failure.with_hint(format!(
                "remove them from the order, or allow each with --allow-protected, such as --allow-protected {}",
                escape_control(first.as_str())
            ))
        })
    }

    /// What was shown to a model cannot be taken back.
    fn check_exposure(&self) -> Result<(), Failure> {
        let setup = self.setup;
        let found = propose::exposures(&setup.order, |path| self.snapshot.entry(path))
            .map_err(|error| workspace_failure(&error))?;
        let is_allowed = |exposure: &Exposure| match &exposure.path {
            _ if !exposure.can_be_allowed() => false,
            Some(path) => setup.allow_context.contains(path),
            None => setup.allow_order_text,
        };
        let refused: Vec<_> = found.into_iter().filter(|exposure| !is_allowed(exposure)).collect();
        let Some(first) = refused.first() else {
            return Ok(());
        };
        let hint = match &first.path {
            Some(_) if !first.can_be_allowed() => {
                "name the file that the link leads to in `context_files`, or nothing".to_owned()
            }
            Some(path) => format!(
                "remove it from `context_files`, or, if it may be shown, say so with --allow-context {}",
                escape_control(path.as_str())
            ),
            None => {
                "take it out of the order, or, if it may be shown, say so with --allow-context and the order's file"
                    .to_owned()
            }
        };
        let failure = Failure::plain(
            FailureClass::Policy,
            "the order would show the model what it must not see",
        );
        Err(Failure {
            causes: refused.iter().map(Exposure::to_string).collect(),
            ..failure.with_hint(hint)
        })
    }

    fn check_preconditions(&self) -> Result<(), Failure> {
        let mut unmet = Vec::new();
        for condition in &self.setup.order.preconditions {
            let about = match condition {
                Condition::FileExists { path }
                | Condition::FileAbsent { path }
                | Condition::FileSha256 { path, .. } => {
                    let entry = self.snapshot.entry(path).map_err(|error| workspace_failure(&error))?;
                    (!verify::holds(condition, &entry)).then_some(path.as_str())
                }
                Condition::OrderDone { order } => {
                    let base = self.snapshot.commit();
                    let done = is_done_before(self.repository, &self.journal, order, base)?;
                    (!done).then_some(order.as_str())
                }
                // It is among the programs that are looked for.
                Condition::Tool { .. } => None,
            };
            if let Some(about) = about {
                unmet.push(format!("{} {} does not hold", condition.kind(), escape_control(about)));
            }
        }
        for order in self.setup.order.depends_on.iter().flatten() {
            if !is_done_before(self.repository, &self.journal, order, self.snapshot.commit())? {
                unmet.push(format!("depends_on: the order {} is not done", escape_control(order)));
            }
        }
        if unmet.is_empty() {
            return Ok(());
        }
        let base = self.snapshot.commit().short();
        let failure = Failure::plain(
            FailureClass::Order,
            format!("the order's preconditions are not met on the base {base}"),
        );
        Err(Failure {
            causes: unmet,
            ..failure.with_hint("run the orders that come before it first, or correct the preconditions")
        })
    }

    /// The golden suites that the order names, as they are now.
    fn find_suites(&self) -> Result<Vec<Suite>, Failure> {
        let (directory, policy) = (self.setup.golden_dir.as_deref(), &self.setup.policy);
        let find = |golden: &Golden| {
            let suite = Suite::find(directory, golden).map_err(|error| Failure::new(&error, Situation::Plain))?;
            if let Some(directory) = directory {
                let granted = policy.read.iter().map(|grant| &grant.path).chain(&policy.snapshots);
                let repository = [self.repository.work_dir(), self.repository.common_dir()];
                let shown = repository.into_iter().chain(granted.map(PathBuf::as_path));
                refuse_shown(&golden.name, &directory.join(&golden.name), shown)?;
            }
            Ok(suite)
        };
        self.setup.order.golden.iter().map(find).collect()
    }

    fn check_tools(&self, suites: &[Suite]) -> Result<(), Failure> {
        let (order, policy) = (&self.setup.order, &self.setup.policy);
        let needed = verify::needed_programs(order, order.verify_exempt, suites, |path| self.snapshot.entry(path))
            .map_err(|error| workspace_failure(&error))?;
        let programs: Vec<_> = needed
            .into_iter()
            .filter(|program| find_program(policy, program).is_none())
            .collect();
        if programs.is_empty() {
            return Ok(());
        }
        let missing = VerifyError::ToolMissing {
            programs,
            profile: policy.profile.clone(),
        };
        Err(Failure::new(&missing, Situation::Plain))
    }

    fn prepare_ground(&self, suites: Vec<Suite>) -> Result<Ground, Failure> {
        let cache_dir = &self.setup.places.cache_dir;
        let sandbox = Sandbox::start(&self.setup.program).map_err(|error| sandbox_failure(&error))?;
        let base = base(cache_dir, self.snapshot, self.setup.policy.tree).map_err(|error| workspace_failure(&error))?;
        let scratch = self.scratch();
        ensure_dir(&scratch).map_err(|error| Failure::new(&error, Situation::Storage))?;
        let in_use = File::open(&scratch).and_then(|dir| dir.lock_shared().map(|()| dir));
        let in_use = in_use.map_err(|error| {
            Failure::plain(FailureClass::Host, format!("cannot lock `{}`", scratch.display()))
                .because(error.to_string())
                .in_situation(Situation::Storage)
                .with_hint("see whether the cache directory is on a file system with locks")
        })?;
        let copied = suites.into_iter().map(|suite| {
            let place = scratch.join("golden").join(&suite.golden.name);
            suite.write(&place).map(|()| (suite, place))
        });
        let golden = copied
            .collect::<Result<_, _>>()
            .map_err(|error| Failure::new(&error, Situation::Storage))?;
        crash_point("the ground is prepared");
        Ok(Ground {
            sandbox,
            base,
            scratch,
            golden,
            _in_use: in_use,
        })
    }

    /// Builds one sandbox on the base for nothing, so that a layer that is missing is found before the model is paid.
    /// Says what bash has against the repository's script.
    async fn try_sandbox(&mut self, ground: &Ground) -> Result<Vec<String>, Fault> {
        let tree = Tree {
            layers: ground.base.layers(),
        };
        let first = self
            .first_command()
            .map_err(|failure| Fault::new(Stage::Preflight, failure))?;
        // With everything that any command will be shown.
        let mut policy = self.setup.policy.clone();
        let suites = ground.golden.iter();
        policy
            .suites
            .extend(suites.map(|(suite, place)| (suite.golden.name.clone(), place.clone())));
        tokio::select! {
            biased;
            signal = self.cancel.wait() => Err(Fault::exception(interrupted(signal))),
            report = ground.sandbox.run(&policy, &tree, &first, None) => match report {
                // Whether there is a program of that name is no question here.
                Ok(report) => self.complaint(&report).map_err(|failure| Fault::new(Stage::Preflight, failure)),
                Err(error) => Err(Fault::new(Stage::Preflight, sandbox_failure(&error))),
            },
        }
    }
}
