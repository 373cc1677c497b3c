//! `factory golden`: the operator's own suites, and the digests by which orders name them.

use super::{exit, output, problem, words};
use crate::config::Environment;
use crate::run::{Failure, Situation};
use crate::verify::{GoldenError, Suite, suite_names};
use serde_json::{Value, json};
use std::path::Path;

/// Shows the golden suites, with the digest by which an order names each.
///
/// A suite is a directory below $XDG_CONFIG_HOME/factory/golden (or ~/.config/factory/golden) with a file suite.json, which
/// names its commands. They judge a candidate when all else has, and no model sees them.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only the suite of this name.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Print one JSON document instead of lines.
    #[arg(long)]
    json: bool,
}

pub(super) fn golden(arguments: &Arguments, environment: &Environment) -> Result<u8, Failure> {
    let failure = |error: &GoldenError| Failure::new(error, Situation::Plain);
    let directory = environment.golden_dir();
    let directory = directory.ok_or_else(|| failure(&GoldenError::NoPlace))?;
    if let Some(name) = &arguments.name {
        let suite = Suite::read(&directory, name).map_err(|error| failure(&error))?;
        match arguments.json {
            true => output::json(&document(&directory, &[Ok(suite)]))?,
            false => output::text(&format!("{}\n", json!(suite.golden)))?,
        }
        return Ok(exit::code(None));
    }
    let names = suite_names(&directory).map_err(|error| failure(&error))?;
    let suites: Vec<_> = names
        .iter()
        .map(|name| Suite::read(&directory, name).map_err(|error| (name.as_str(), failure(&error))))
        .collect();
    match arguments.json {
        true => output::json(&document(&directory, &suites))?,
        false => output::text(&table(&directory, &suites))?,
    }
    let broken = suites.into_iter().find_map(Result::err);
    Ok(exit::code(broken.map(|(_, failure)| failure).as_ref()))
}

type Read<'n> = Result<Suite, (&'n str, Failure)>;

fn table(directory: &Path, suites: &[Read<'_>]) -> String {
    if suites.is_empty() {
        return format!("no golden suite in {}\n", words::line(&directory.display().to_string()));
    }
    let line = |suite: &Read<'_>| match suite {
        Ok(suite) => format!(
            "{}  {}  {} in {}\n",
            suite.golden.name,
            suite.golden.sha256,
            counted(suite.commands.len(), "command"),
            counted(suite.file_count(), "file"),
        ),
        Err((name, failure)) => format!("{name}  cannot judge: {}\n", words::line(&failure.sentence())),
    };
    suites.iter().map(line).collect()
}

fn counted(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

fn document(directory: &Path, suites: &[Read<'_>]) -> Value {
    let one = |suite: &Read<'_>| match suite {
        Ok(suite) => json!({
            "name": suite.golden.name,
            "sha256": suite.golden.sha256,
            "commands": suite.commands.len(),
            "files": suite.file_count(),
        }),
        Err((name, failure)) => json!({ "name": name, "problem": problem::json(failure) }),
    };
    json!({ "directory": directory, "suites": suites.iter().map(one).collect::<Vec<_>>() })
}
