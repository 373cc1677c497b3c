//! `factory receipt verify`: judges the receipts in a report or in the evidence of a run.

use super::{exit, output, problem};
use crate::run::{Failure, Situation};
use crate::sandbox::Receipt;
use crate::types::{FailureClass, escape_control};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The longest file that is read: evidence of many commands is far shorter.
const LONGEST: u64 = 64 << 20;

/// Judges what sandboxes proved of themselves.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Judges every receipt in a file: the output of `factory exec --json`, or the evidence of a run.
    ///
    /// Exit code 0: there is at least one, and each holds. 21: one does not.
    Verify(Verify),
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// The JSON document.
    file: PathBuf,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) fn receipt(arguments: &Arguments) -> Result<u8, Failure> {
    let Command::Verify(Verify { file, json }) = &arguments.command;
    let document = read(file)?;
    let mut found = Vec::new();
    collect(&document, String::new(), &mut found);
    if found.is_empty() {
        return Err(unusable(file, "there is no receipt in it"));
    }
    let judged: Vec<(String, Vec<String>)> = found.into_iter().map(|(place, value)| (place, judge(value))).collect();
    let failure = judged
        .iter()
        .find(|(_, differences)| !differences.is_empty())
        .map(|(place, _)| {
            Failure::plain(FailureClass::Host, format!("the receipt at `{place}` does not hold"))
                .in_situation(Situation::Sandbox)
                .with_hint("do not rely on what was run under it; `factory doctor` tells what this host can do")
        });
    if *json {
        let receipts: Vec<Value> = judged
            .iter()
            .map(|(place, differences)| json!({ "place": place, "holds": differences.is_empty(), "differences": differences }))
            .collect();
        let problem = failure.as_ref().map(problem::json);
        output::json(&json!({ "schema": 1, "receipts": receipts, "problem": problem }))?;
    } else {
        for (place, differences) in &judged {
            let verdict = if differences.is_empty() {
                "holds"
            } else {
                "does not hold"
            };
            output::text(&format!("{}: {verdict}\n", escape_control(place)))?;
            for difference in differences {
                output::text(&format!("  {}\n", escape_control(difference)))?;
            }
        }
        if let Some(failure) = &failure {
            output::problem(failure, false);
        }
    }
    Ok(exit::code(failure.as_ref()))
}

fn read(file: &Path) -> Result<Value, Failure> {
    let mut text = Vec::new();
    File::open(file)
        .and_then(|opened| opened.take(LONGEST).read_to_end(&mut text))
        .map_err(|error| Failure {
            causes: vec![error.to_string()],
            ..unusable(file, "it cannot be read")
        })?;
    serde_json::from_slice(&text).map_err(|error| Failure {
        causes: vec![error.to_string()],
        ..unusable(file, "it is no JSON document")
    })
}

fn unusable(file: &Path, why: &str) -> Failure {
    let message = format!("cannot judge `{}`: {why}", escape_control(&file.to_string_lossy()));
    Failure::plain(FailureClass::Order, message)
        .in_situation(Situation::Usage)
        .with_hint(
            "a receipt is in what `factory exec --json` prints and in the evidence of a run, which `factory show` names",
        )
}

/// Every receipt in a document with its place, in the order of the document.
fn collect<'a>(value: &'a Value, place: String, found: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                let place = format!("{place}/{name}");
                if name == "receipt" && !inner.is_null() {
                    found.push((place, inner));
                } else {
                    collect(inner, place, found);
                }
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                collect(inner, format!("{place}/{index}"), found);
            }
        }
        _ => {}
    }
}

fn judge(value: &Value) -> Vec<String> {
    match serde_json::from_value::<Receipt>(value.clone()) {
        Ok(receipt) => receipt.differences(),
        Err(error) => vec![format!("it has not the form of a receipt: {error}")],
    }
}
