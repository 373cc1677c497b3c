//! `factory plan`: a product spec to a directory of work orders.

use super::{bounds, exit, output, problem, provider, run, words};
use crate::config::Settings;
use crate::plan::{Complaint, MAX_SPEC_BYTES};
use crate::run::{Failure, PlanEvent, PlanSetup, PlanSummary, Situation, make_plan};
use crate::sandbox::Layer;
use crate::types::FailureClass;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Turns a product spec into work orders, each checked with all that came before it, and writes them to a directory.
///
/// The repository is read from the commit that is checked out, and not changed.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The file that holds the spec; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    spec: PathBuf,
    /// A directory of the repository.
    #[arg(long, value_name = "DIR", default_value = ".")]
    repo: PathBuf,
    /// The directory that gets WO-01.json, WO-02.json, … and manifest.json.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace the plan that is in the directory. Other files in it stay.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    provider: provider::Arguments,
    #[command(flatten)]
    bounds: bounds::Arguments,
    /// Show the model the spec, named here once more, although it looks as if it held a credential.
    #[arg(long, value_name = "FILE")]
    allow_context: Option<PathBuf>,
    /// Where runs are recorded [default: $XDG_STATE_HOME/factory, or ~/.local/state/factory].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The profile under which the acceptance commands of a plan are tried on the repository as it is [default: verify].
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Do without a layer of the profile's floor: landlock, limits.memory, limits.pids or limits.cpu. Can be repeated.
    #[arg(long, value_name = "LAYER")]
    waive: Vec<Layer>,
    /// Do not try acceptance commands: a plan may have some that succeed already, or that can never succeed.
    #[arg(long, conflicts_with_all = ["profile", "waive"])]
    no_dry_run: bool,
    /// Ask the model anew, whatever it answered before.
    #[arg(long)]
    fresh: bool,
    /// Print events, one JSON document a line.
    #[arg(long)]
    json: bool,
}

/// Settings that cannot be read are told as the end of the plan, like everything else that is in its way.
pub(super) fn plan(arguments: &Arguments, settings: Result<Settings, Failure>) -> Result<u8, Failure> {
    let mut stage = Stage {
        json: arguments.json,
        seq: 0,
        broken: Ok(()),
    };
    match settings.and_then(|settings| attempt(arguments, &settings, &mut stage)) {
        Ok(summary) => {
            stage.broken?;
            if !arguments.json {
                output::text(&page(&summary))?;
                if let Some(failure) = &summary.problem {
                    output::problem(failure, false);
                }
            }
            Ok(summary.exit_code)
        }
        Err(failure) if arguments.json => {
            let exit_code = exit::code(Some(&failure));
            stage.show(&PlanEvent::Completed {
                plan: None,
                exit_code,
                problem: Some(&failure),
                summary: None,
            });
            Ok(exit_code)
        }
        Err(failure) => Err(failure),
    }
}

fn attempt(arguments: &Arguments, settings: &Settings, stage: &mut Stage) -> Result<PlanSummary, Failure> {
    run::log_to_stderr(settings)?;
    let (spec, spec_name) = read_spec(&arguments.spec)?;
    let state_dir = settings.state_dir(arguments.state_dir.as_deref());
    let state_dir = state_dir.map_err(|error| Failure::new(&error, Situation::Plain))?.value;
    let provider::Chosen { mut provider, model } = provider::provider(&arguments.provider, settings)?;
    let bounds = &arguments.bounds;
    let setup = PlanSetup {
        spec,
        spec_name,
        repository: arguments.repo.clone(),
        output: std::path::absolute(&arguments.out).unwrap_or_else(|_| arguments.out.clone()),
        overwrite: arguments.overwrite,
        allow_spec: arguments.allow_context.as_ref() == Some(&arguments.spec),
        model,
        rules: run::rules(bounds, settings),
        budget: run::budget(bounds, settings, &provider)?,
        dry_run: match arguments.no_dry_run {
            true => None,
            false => Some(run::dry_run(
                arguments.profile.as_deref(),
                &arguments.waive,
                settings,
                &state_dir,
            )?),
        },
        state_dir,
        fresh: arguments.fresh,
        disk_floor: settings.disk_floor(bounds.disk_floor).value,
        exit_code: exit::code,
    };
    let cancel = run::hear_signals()?;
    run::runtime()?.block_on(make_plan(&setup, &mut provider, cancel, &mut |event| stage.show(event)))
}

/// The spec, with one byte more than it may have at most, and its name.
fn read_spec(path: &Path) -> Result<(Vec<u8>, String), Failure> {
    let (from, name): (io::Result<Vec<u8>>, _) = match path.to_str() {
        Some("-") => (bounded(io::stdin().lock()), "from standard input".to_owned()),
        _ => (read_file(path), words::line(&path.to_string_lossy())),
    };
    let bytes = from.map_err(|error| {
        Failure::plain(FailureClass::Host, format!("cannot read the spec {name}"))
            .because(error.to_string())
            .in_situation(Situation::Storage)
            .with_hint("name a file that exists and that you may read, or `-` for standard input")
    })?;
    Ok((bytes, name))
}

/// A FIFO is refused: it could block for ever.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    match std::fs::metadata(path)?.is_file() {
        true => bounded(File::open(path)?),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

fn bounded(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_SPEC_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What became of it, for people.
pub(super) fn page(summary: &PlanSummary) -> String {
    let mut lines = Vec::new();
    for order in &summary.orders {
        let mark = match (order.exempt, order.bootstrap) {
            (false, _) => "",
            (true, true) => "  (makes the verification)",
            (true, false) => "  (before the verification: run it with --allow-verify-exempt)",
        };
        lines.push(format!(
            "{}  {}{mark}",
            words::line(&order.id),
            words::line(&order.title)
        ));
    }
    if let Some(title) = &summary.dropped {
        lines.push(format!(
            "left out, because the repository has scripts/verify.sh: {}",
            words::line(title)
        ));
    }
    if summary.problem.is_none() {
        let warnings = summary
            .attempts
            .last()
            .into_iter()
            .flat_map(|attempt| &attempt.warnings);
        lines.extend(warnings.map(warning));
        let (count, output) = (summary.orders.len(), summary.output.to_string_lossy());
        let s = if count == 1 { "" } else { "s" };
        lines.push(format!("{count} order{s} in {}", words::line(&output)));
    }
    lines.push(format!("cost: {}", words::cost(&summary.usage)));
    lines.push(format!("record: {}", words::records(&summary.artifacts)));
    lines.join("\n") + "\n"
}

/// A warning as a line.
pub(super) fn warning(complaint: &Complaint) -> String {
    format!("warning: {}", words::line(&complaint.to_string()))
}

/// Where events are shown.
struct Stage {
    json: bool,
    seq: u64,
    /// Whether standard output still takes events.
    broken: Result<(), Failure>,
}

impl Stage {
    fn show(&mut self, event: &PlanEvent<'_>) {
        if self.json {
            self.seq += 1;
            if self.broken.is_ok() {
                self.broken = output::json(&numbered(self.seq, event));
            }
        } else if let Some(line) = line(event) {
            output::note(&line);
        }
    }
}

/// An event with its place. A problem has the same form as everywhere else.
fn numbered(seq: u64, event: &PlanEvent<'_>) -> Value {
    let mut value = json!(event);
    value["seq"] = json!(seq);
    if let PlanEvent::Completed { problem, .. } = event {
        value["problem"] = json!(problem.map(problem::json));
    }
    value
}

/// An event as a line for people. The end is told by the page.
fn line(event: &PlanEvent<'_>) -> Option<String> {
    Some(match event {
        PlanEvent::Opened {
            plan,
            spec,
            base,
            files,
            provider,
            ..
        } => format!(
            "plan {plan}: spec {}\n  base {} with {files} files, provider {}",
            words::line(spec),
            base.short(),
            words::line(provider)
        ),
        PlanEvent::Requested { attempt, .. } => format!("attempt {attempt}: asking the model"),
        PlanEvent::Recalled { attempt, from, .. } => {
            format!("attempt {attempt}: the model answered this before, in {from}")
        }
        PlanEvent::Delayed {
            attempt,
            wait_ms,
            reason,
        } => format!(
            "attempt {attempt}: asking again in {}: {}",
            words::span(0, *wait_ms),
            words::line(reason)
        ),
        PlanEvent::Parked {
            attempt,
            until_ms,
            reason,
        } => format!(
            "attempt {attempt}: parked until {}: {}",
            words::time(*until_ms),
            words::line(reason)
        ),
        PlanEvent::Resumed { attempt } => format!("attempt {attempt}: going on"),
        PlanEvent::Judged { attempt, complaints } => {
            let codes: Vec<_> = complaints.errors.iter().map(|error| error.code.to_string()).collect();
            match codes.as_slice() {
                [] => format!("attempt {attempt}: a plan"),
                codes => format!("attempt {attempt}: refused, {}", codes.join(" ")),
            }
        }
        PlanEvent::Answered { .. } | PlanEvent::Completed { .. } => return None,
    })
}
