//! `factory check`: validates orders without a model.

use super::check_plan::{self, Form};
use super::{exit, output, plan, problem, run, words};
use crate::config::Settings;
use crate::order::{self, MAX_ORDER_BYTES, OrderError, WorkOrder};
use crate::plan::{Complaint, exposed};
use crate::run::{Failure, Situation};
use crate::sandbox::Layer;
use crate::types::FailureClass;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Validates orders: every problem at once, each with its place. No model is asked, and without --dry-run nothing is run.
///
/// Of a directory, the plan in it is checked as a whole, and which order comes after which is shown.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Files that hold one order each, or the directory of a plan.
    #[arg(required = true, value_name = "ORDER")]
    orders: Vec<PathBuf>,
    /// A directory of the repository that a plan is for [default: the working directory, if it is in one].
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
    /// Try the acceptance commands of a plan on the repository as it is, when nothing else is wrong with it.
    #[arg(long)]
    dry_run: bool,
    /// The profile under which commands are tried, and whose limits orders may not exceed [default: verify, when commands
    /// are tried].
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Do without a layer of the profile's floor: landlock, limits.memory, limits.pids or limits.cpu. Can be repeated.
    #[arg(long, value_name = "LAYER")]
    waive: Vec<Layer>,
    /// Print a plan's graph for Graphviz.
    #[arg(long, conflicts_with = "json")]
    dot: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// `settings` are read where commands are tried, and only there.
pub(super) fn check(
    arguments: &Arguments,
    settings: impl FnOnce() -> Result<Settings, Failure>,
) -> Result<u8, Failure> {
    if let Some(dir) = arguments.orders.iter().find(|path| path.is_dir()) {
        return check_directory(arguments, dir, settings);
    }
    let is_about_a_plan = arguments.dry_run || arguments.profile.is_some() || !arguments.waive.is_empty();
    if arguments.dot || arguments.repo.is_some() || is_about_a_plan {
        return Err(problem::usage(
            "--dot, --repo, --dry-run, --profile and --waive are about the directory of a plan, and none is named",
        )
        .with_hint("name the directory that `factory plan --out DIR` wrote"));
    }
    let results: Vec<_> = arguments.orders.iter().map(|path| (path, read(path))).collect();
    // The first failure names the exit code; an order that is invalid is the more telling one.
    let failures = || results.iter().filter_map(|(_, result)| result.as_ref().err());
    let worst = failures()
        .find(|failure| failure.class == FailureClass::Order)
        .or_else(|| failures().next());
    if arguments.json {
        let orders: Vec<_> = results.iter().map(|(path, result)| entry(path, result)).collect();
        output::json(&json!({ "schema": 1, "exit_code": exit::code(worst), "orders": orders }))?;
    } else {
        for (path, result) in &results {
            match result {
                Ok(loaded) => {
                    output::text(&format!("{}: ok ({})\n", shown(path), words::line(&loaded.order.id)))?;
                    let warnings = warnings(&loaded.order);
                    warnings
                        .iter()
                        .for_each(|warning| output::note(&plan::warning(warning)));
                }
                Err(failure) => output::problem(failure, false),
            }
        }
    }
    Ok(exit::code(worst))
}

fn check_directory(
    arguments: &Arguments,
    dir: &Path,
    settings: impl FnOnce() -> Result<Settings, Failure>,
) -> Result<u8, Failure> {
    if arguments.orders.len() > 1 {
        return Err(problem::usage("the directory of a plan is checked alone").with_hint("name nothing beside it"));
    }
    let form = match (arguments.dot, arguments.json) {
        (true, _) => Form::Dot,
        (_, true) => Form::Json,
        (false, false) => Form::Text,
    };
    let profile = match (&arguments.profile, arguments.dry_run) {
        (None, false) => None,
        (profile, _) => {
            let settings = settings()?;
            let state_dir = settings.state_dir(None);
            let state_dir = state_dir.map_err(|error| Failure::new(&error, Situation::Plain))?.value;
            Some(run::dry_run(
                profile.as_deref(),
                &arguments.waive,
                &settings,
                &state_dir,
            )?)
        }
    };
    let asked = check_plan::Asked {
        repo: arguments.repo.as_deref(),
        profile: profile.as_ref(),
        tries: arguments.dry_run,
    };
    check_plan::check(dir, &asked, form)
}

fn entry(path: &Path, result: &Result<Loaded, Failure>) -> Value {
    match result {
        Ok(loaded) => {
            let (id, warnings) = (&loaded.order.id, warnings(&loaded.order));
            json!({ "path": path.to_string_lossy(), "ok": true, "id": id, "warnings": warnings })
        }
        Err(failure) => {
            json!({ "path": path.to_string_lossy(), "ok": false, "problem": problem::json(failure) })
        }
    }
}

/// What may keep an order that is valid from being run.
fn warnings(order: &WorkOrder) -> Vec<Complaint> {
    let written = serde_json::to_value(order).unwrap_or_default();
    exposed(&Value::from(order.id.as_str()), &written)
}

/// An order and the bytes that it was read from.
pub(super) struct Loaded {
    pub(super) order: WorkOrder,
    pub(super) bytes: Vec<u8>,
}

/// Reads the order in the file at `path`.
pub(super) fn read(path: &Path) -> Result<Loaded, Failure> {
    let bytes = read_bounded(path).map_err(|error| Failure {
        causes: vec![error.to_string()],
        ..Failure::plain(FailureClass::Host, format!("cannot read the order {}", shown(path)))
            .in_situation(Situation::Storage)
            .with_hint("name a file that exists and that you may read")
    })?;
    match order::parse(&bytes) {
        Ok(order) => Ok(Loaded { order, bytes }),
        Err(error) => Err(invalid(path, &error)),
    }
}

fn invalid(path: &Path, error: &OrderError) -> Failure {
    let recorded = Failure::new(error, Situation::Document);
    let defects = error.defects();
    let mut causes: Vec<_> = defects.listed.iter().map(ToString::to_string).collect();
    if defects.omitted > 0 {
        causes.push(format!("and {} more", defects.omitted));
    }
    Failure {
        message: format!("the order {} is not valid", shown(path)),
        causes,
        ..recorded
    }
}

/// One byte more than an order may have is enough to see that it has too many. A FIFO is refused: it could block for
/// ever.
fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_ORDER_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn shown(path: &Path) -> String {
    words::line(&path.to_string_lossy())
}
