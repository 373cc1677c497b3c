//! `factory schema`: the documents that this version reads and writes, as JSON Schema.

use super::output;
use crate::order::{self, Version};
use crate::propose;
use crate::run::{self, Failure};

/// Prints the JSON Schema of a document that this version reads or writes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Which document.
    document: Document,
}

/// A document with a schema.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Document {
    /// A work order of version 1.
    OrderV1,
    /// A work order of version 2.
    OrderV2,
    /// The manifest of a plan.
    Manifest,
    /// An answer of a model to an order of version 1.
    ProposalV1,
    /// An answer of a model to an order of version 2.
    ProposalV2,
    /// An event of `factory run --json` or `factory plan --json`.
    Event,
    /// What `factory exec --json` prints.
    Report,
}

/// The schema of reports, which is written by hand: a report is made by many modules, none of which knows all of it.
const REPORT: &str = include_str!("../../docs/schema/report.schema.json");

pub(super) fn schema(arguments: &Arguments) -> Result<u8, Failure> {
    output::text(&of(arguments.document))?;
    Ok(0)
}

fn of(document: Document) -> String {
    let schema = match document {
        Document::Report => return REPORT.to_owned(),
        Document::OrderV1 => order::schema::schema(Version::V1),
        Document::OrderV2 => order::schema::schema(Version::V2),
        Document::Manifest => run::schema::manifest(),
        Document::ProposalV1 => propose::schema::first(),
        Document::ProposalV2 => propose::schema::second(),
        Document::Event => run::schema::event(),
    };
    format!("{schema:#}\n")
}
