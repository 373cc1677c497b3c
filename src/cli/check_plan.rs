//! `factory check DIR`: a plan, checked as a whole, and which order builds on which.

use super::{check, exit, output, plan, problem, run, words};
use crate::order::{Baseline, WorkOrder, json::Document};
use crate::plan::{Bounds, Complaints, Files, Graph, MANIFEST, validate};
use crate::run::{
    Budget, DryRun, Failure, Showing, Situation, Trial, TriedCommand, bounds, files_of, read_plan, workspace_failure,
};
use crate::types::{FailureClass, Sha256, escape_control};
use crate::workspace::{Repository, WorkspaceError};
use serde_json::{Value, json};
use std::path::Path;

/// How the graph is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Dot,
    Json,
}

/// What is asked of a plan besides its own text.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// The repository that it is for.
    pub(super) repo: Option<&'a Path>,
    /// The profile of its commands.
    pub(super) profile: Option<&'a DryRun>,
    /// Whether they are tried.
    pub(super) tries: bool,
}

/// A plan as it was found.
struct Found {
    orders: Vec<WorkOrder>,
    complaints: Complaints,
    /// What their commands did on the repository as it is; nothing when they were not tried.
    tried: Option<Vec<TriedCommand>>,
    /// What a manifest says that is so no more.
    remarks: Vec<String>,
}

/// Checks the plan in `dir` and shows it.
pub(super) fn check(dir: &Path, asked: &Asked<'_>, form: Form) -> Result<u8, Failure> {
    let mut found = find(dir, asked)?;
    if asked.tries && found.complaints.errors.is_empty() {
        try_out(&mut found, asked)?;
    }
    let failure = problem_of(dir, &found.complaints);
    let orders: Vec<_> = found.orders.iter().collect();
    let graph = Graph::of(&orders);
    match form {
        Form::Json => output::json(&document(&found, &graph, failure.as_ref()))?,
        Form::Dot => output::text(&dot(&orders, &graph))?,
        Form::Text => output::text(&text(&orders, &graph, found.tried.as_deref().unwrap_or_default()))?,
    }
    if form != Form::Json {
        found
            .remarks
            .iter()
            .for_each(|remark| output::note(&format!("note: {remark}")));
        found
            .complaints
            .warnings
            .iter()
            .for_each(|warning| output::note(&plan::warning(warning)));
        if let Some(failure) = &failure {
            output::problem(failure, false);
        }
    }
    Ok(exit::code(failure.as_ref()))
}

fn find(dir: &Path, asked: &Asked<'_>) -> Result<Found, Failure> {
    let mut remarks = Vec::new();
    let files = repository_files(asked.repo, &mut remarks)?;
    let read = read_plan(dir)?;
    if read.orders.is_empty() {
        let shown = words::line(&dir.to_string_lossy());
        return Err(Failure::plain(FailureClass::Order, format!("`{shown}` holds no plan"))
            .in_situation(Situation::Document)
            .with_hint("name a directory with WO-01.json, WO-02.json, …, such as `factory plan --out DIR` writes"));
    }
    let loaded: Vec<_> = (read.orders.iter())
        .map(|name| check::read(&dir.join(name)))
        .collect::<Result<_, _>>()?;
    let manifest = match &read.manifest {
        Some(bytes) => manifest(dir, bytes)?,
        None => {
            remarks.push(format!(
                "there is no {MANIFEST}: written by hand, or cut off while it was written"
            ));
            Value::Null
        }
    };
    remarks.extend(differences(&manifest, &read.orders, &loaded)?);
    let orders: Vec<_> = loaded.into_iter().map(|loaded| loaded.order).collect();
    let bounds = match asked.profile {
        Some(profile) => bounds(&Budget::unlimited(), Some(&profile.policy)),
        None => Bounds::default(),
    };
    let plan = json!({ "work_orders": orders, "verify_contract": manifest["verify_contract"] });
    Ok(Found {
        complaints: validate(&plan, &files, &bounds),
        tried: None,
        orders,
        remarks,
    })
}

/// Tries the commands of the orders on the repository as it is.
fn try_out(found: &mut Found, asked: &Asked<'_>) -> Result<(), Failure> {
    let Some(profile) = asked.profile else { return Ok(()) };
    let failed = |error: WorkspaceError| workspace_failure(&error);
    let repository = Repository::open(asked.repo.unwrap_or(Path::new("."))).map_err(failed)?;
    let head = repository.head().map_err(failed)?;
    let snapshot = repository.snapshot(head.commit).map_err(failed)?;
    let files = files_of(&snapshot)?;
    let cancel = run::hear_signals()?;
    let orders: Vec<_> = found.orders.iter().collect();
    let tried = run::runtime()?.block_on(async {
        let mut trial = Trial::prepare(profile, &snapshot, cancel).await?;
        trial.try_orders(&orders, &files).await
    })?;
    found.complaints.errors.extend(tried.complaints.errors);
    found.complaints.warnings.extend(tried.complaints.warnings);
    found.tried = Some(tried.commands);
    Ok(())
}

/// The files that the plan builds on: those of the repository that is named, or that the working directory is in.
fn repository_files(repo: Option<&Path>, remarks: &mut Vec<String>) -> Result<Files, Failure> {
    let failed = |error: WorkspaceError| workspace_failure(&error);
    let opened = Repository::open(repo.unwrap_or(Path::new(".")));
    let head = opened.and_then(|repository| repository.head().map(|head| (repository, head)));
    match (head, repo) {
        (Ok((repository, head)), _) => files_of(&repository.snapshot(head.commit).map_err(failed)?),
        (Err(error), Some(_)) => Err(failed(error)),
        (Err(_), None) => {
            remarks.push("there is no repository here: checked as for an empty one; name one with --repo".to_owned());
            Ok(Files::new())
        }
    }
}

fn manifest(dir: &Path, bytes: &[u8]) -> Result<Value, Failure> {
    let read = Document::read_bytes(bytes, bytes.len()).and_then(|mut document| {
        let root = document.take_root();
        document.finish(Some(root))
    });
    read.map_err(|defects| {
        let shown = words::line(&dir.join(MANIFEST).to_string_lossy());
        Failure::plain(FailureClass::Order, format!("`{shown}` cannot be read"))
            .because(defects.to_string())
            .in_situation(Situation::Document)
    })
}

/// Orders that are not those which the manifest lists.
fn differences(manifest: &Value, names: &[String], loaded: &[check::Loaded]) -> Result<Vec<String>, Failure> {
    let Some(listed) = manifest["files"].as_array() else {
        return Ok(Vec::new());
    };
    let mut remarks = Vec::new();
    for file in listed {
        let (name, digest) = (file["file"].as_str().unwrap_or_default(), file["sha256"].as_str());
        match names.iter().position(|other| other == name) {
            None => {
                return Err(Failure::plain(
                    FailureClass::Order,
                    format!("{} is missing, and {MANIFEST} lists it", words::line(name)),
                )
                .in_situation(Situation::Document)
                .with_hint("plan again with --overwrite; what was answered is not paid for twice"));
            }
            Some(at) if digest != Some(&Sha256::of(&loaded[at].bytes).to_string()) => {
                remarks.push(format!("{} was changed since it was planned", words::line(name)));
            }
            Some(_) => {}
        }
    }
    let is_listed = |name: &String| listed.iter().any(|file| file["file"] == *name);
    let more = names.iter().filter(|name| !is_listed(name));
    remarks.extend(more.map(|name| format!("{} is not listed in {MANIFEST}", words::line(name))));
    Ok(remarks)
}

fn problem_of(dir: &Path, complaints: &Complaints) -> Option<Failure> {
    if complaints.errors.is_empty() {
        return None;
    }
    let message = format!("the plan in {} is not valid", words::line(&dir.to_string_lossy()));
    let failure = Failure::plain(FailureClass::Order, message).in_situation(Situation::Document);
    Some(Failure {
        causes: complaints.errors.iter().map(ToString::to_string).collect(),
        ..failure.with_hint("correct the orders named; docs/planning.md says what each code means")
    })
}

fn document(found: &Found, graph: &Graph, failure: Option<&Failure>) -> Value {
    let id = |place: usize| &found.orders[place].id;
    let edges: Vec<_> = (graph.edges.iter())
        .map(|edge| json!({ "from": id(edge.from), "to": id(edge.to), "reason": edge.reason, "path": edge.path }))
        .collect();
    let orders: Vec<_> = (found.orders.iter())
        .map(|order| json!({ "id": order.id, "title": order.title, "verify_exempt": order.verify_exempt }))
        .collect();
    json!({
        "schema": 1,
        "exit_code": exit::code(failure),
        "orders": orders,
        "edges": edges,
        "errors": found.complaints.errors,
        "warnings": found.complaints.warnings,
        "trial": found.tried,
        "remarks": found.remarks,
        "problem": failure.map(problem::json),
    })
}

/// Each order with what it builds on, and with what its commands did where they were tried.
fn text(orders: &[&WorkOrder], graph: &Graph, tried: &[TriedCommand]) -> String {
    let mut text = String::new();
    for (place, order) in orders.iter().enumerate() {
        let exempt = if order.verify_exempt {
            "  (before the verification)"
        } else {
            ""
        };
        text.push_str(&format!(
            "{}  {}{exempt}\n",
            words::line(&order.id),
            words::line(&order.title)
        ));
        for edge in graph.to(place) {
            let from = words::line(&orders[edge.from].id);
            let path = edge.path.as_ref().map(|path| format!(" {}", words::line(path)));
            let (reason, path) = (edge.reason.as_str(), path.unwrap_or_default());
            text.push_str(&format!("  after {from}: {reason}{path}\n"));
        }
        for command in tried.iter().filter(|command| command.order == order.id) {
            text.push_str(&format!(
                "  {}: {}\n",
                on_the_base(command),
                words::line(&command.command)
            ));
        }
    }
    text
}

/// What a command was expected to do on the repository as it is, and what it did.
fn on_the_base(command: &TriedCommand) -> String {
    let expected = match command.expected {
        Baseline::Fail => "expected to fail",
        Baseline::Pass => "expected to succeed",
        Baseline::Any => "may fail or succeed",
    };
    let did = match (command.found, command.expected) {
        (Showing::Green, Baseline::Fail) => "but succeeds",
        (Showing::Green, _) => "succeeds",
        (Showing::Red, Baseline::Pass) if command.code.is_none() => "fails, which the orders before it may change",
        (Showing::Red, Baseline::Pass) => "but fails",
        (Showing::Red, _) => "fails",
        (Showing::Invalid, _) => "but fails for a reason that no work takes away",
        (Showing::Unknown, _) => "took too long to be judged here",
    };
    let code = command.code.map(|code| format!(" ({code})")).unwrap_or_default();
    format!("before the work: {expected}, {did}{code}")
}

/// The graph for Graphviz, one arrow for two orders. Source: "The DOT Language", graphviz.org, for quoted strings.
fn dot(orders: &[&WorkOrder], graph: &Graph) -> String {
    let quoted = |text: &str| {
        format!(
            "\"{}\"",
            escape_control(text).replace('\\', "\\\\").replace('"', "\\\"")
        )
    };
    let mut lines = vec![
        "digraph plan {".to_owned(),
        "  rankdir = LR;".to_owned(),
        "  node [shape = box];".to_owned(),
    ];
    for order in orders {
        let label = format!("{} {}", order.id, order.title);
        lines.push(format!(
            "  {} [label = {}];",
            quoted(&order.id),
            quoted(&words::line(&label))
        ));
    }
    let mut arrows: Vec<(usize, usize, Vec<&str>)> = Vec::new();
    for edge in &graph.edges {
        let word = edge.path.as_deref().unwrap_or(edge.reason.as_str());
        match arrows
            .iter_mut()
            .find(|(from, to, _)| (*from, *to) == (edge.from, edge.to))
        {
            Some((_, _, words)) => words.push(word),
            None => arrows.push((edge.from, edge.to, vec![word])),
        }
    }
    for (from, to, paths) in arrows {
        let (from, to) = (quoted(&orders[from].id), quoted(&orders[to].id));
        lines.push(format!("  {from} -> {to} [tooltip = {}];", quoted(&paths.join(", "))));
    }
    lines.push("}\n".to_owned());
    lines.join("\n")
}
