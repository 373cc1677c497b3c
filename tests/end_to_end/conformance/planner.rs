//! Areas about plans: their rules alone, and the whole of `factory plan` with the answers that a case gives.

use super::case::Case;
use super::program::{Bench, Model};
use crate::support::{File, Origin, Ran};
use factory::order;
use factory::plan::{self, Bounds, Code, Complaint, Files, MANIFEST};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The area whose cases need somebody who runs the program.
pub(super) const AREA: &str = "plan.compile";

/// What the cases call the manifest.
const THEIR_MANIFEST: &str = "WORK_ORDERS_MANIFEST.json";

/// An exit code of the cases, and ours that tell apart what it means, after a plan was begun. What is refused before that
/// is always a problem of files.
const EXIT_CODES: &[(i32, &[i32])] = &[(0, &[0]), (1, &[64, 74]), (2, &[65]), (3, &[3, 20, 75, 77]), (4, &[4])];
const REFUSED: (i32, &[i32]) = (1, &[64, 65, 74]);

/// A file of a planner's run, and what the cases call it. `{}` is the number of an attempt.
const ARTIFACTS: &[(&str, &str)] = &[
    ("summary.json", "compile/compile_summary.json"),
    ("manifest.json", "compile/manifest_normalized.json"),
    ("plan.json", "run.json"),
    ("attempt-{}/answer.txt", "compile/llm_raw_response_attempt_{}.txt"),
    ("attempt-{}/manifest.json", "compile/manifest_raw_attempt_{}.json"),
    ("attempt-{}/prompt.txt", "compile/prompt_attempt_{}.txt"),
    ("attempt-{}/errors.json", "compile/validation_errors_attempt_{}.json"),
];

/// Rules that are about plans of the cases and that the cases do not know. The others that came later are about version 2.
const LATER: &[Code] = &[Code::W111, Code::W114, Code::W116];

/// Files that no case expects: the spec is kept as well.
const MORE_ARTIFACTS: &[&str] = &["spec.txt"];

fn files(case: &Case, name: &str) -> Result<Files, String> {
    match case.input.get(name) {
        None => Ok(Files::new()),
        Some(_) => Ok(plan::listing(case.texts(name)?)),
    }
}

pub(super) fn parse(case: &Case) -> Result<Value, String> {
    let text = String::from_utf8(case.document()?).map_err(|error| error.to_string())?;
    Ok(match plan::parse_answer(&text) {
        Ok(value) => json!({"ok": true, "value": value}),
        Err(_) => json!({"ok": false}),
    })
}

pub(super) fn normalize(case: &Case) -> Result<Value, String> {
    Ok(plan::normalize_order(case.field("order")?))
}

pub(super) fn validate(case: &Case) -> Result<Value, String> {
    let complaints = plan::validate(case.field("manifest")?, &files(case, "repo_files")?, &Bounds::default());
    let pairs = |complaints: &[Complaint]| -> Value {
        let pairs = complaints.iter().filter(|complaint| !LATER.contains(&complaint.code));
        pairs
            .map(|complaint| json!([complaint.code, complaint.order]))
            .collect()
    };
    Ok(json!({"errors": pairs(&complaints.errors), "warnings": pairs(&complaints.warnings)}))
}

pub(super) fn exempt(case: &Case) -> Result<Value, String> {
    let orders = case.field("orders")?.as_array().ok_or("`orders` is not a list")?;
    let contract = case.input.get("verify_contract");
    Ok(json!(plan::exemptions(orders, contract, &files(case, "repo_files")?)))
}

pub(super) fn deps(case: &Case) -> Result<Value, String> {
    Ok(json!(plan::dependencies(case.text("command")?)))
}

pub(super) fn listing(case: &Case) -> Result<Value, String> {
    Ok(json!(plan::listing(case.files()?.keys())))
}

pub(super) fn overwrite(case: &Case) -> Result<Value, String> {
    let names = case
        .files()?
        .into_keys()
        .map(|name| name.replace(THEIR_MANIFEST, MANIFEST));
    let mut names: Vec<_> = names.collect();
    let in_the_way = plan::in_the_way(&names);
    let allowed = case.flag("overwrite");
    names.retain(|name| !(allowed && in_the_way.contains(name)));
    Ok(json!({"ok": allowed || in_the_way.is_empty(), "left": names}))
}

pub(super) fn hash(case: &Case) -> Result<Value, String> {
    let [spec, template, model, effort] = ["spec", "template", "model", "effort"].map(|name| case.text(name));
    Ok(json!({"hash": plan::compile_hash(spec?, template?, model?, effort?)}))
}

/// Plans with the answers of a case.
pub(super) fn compile(case: &Case, bench: &Bench) -> Result<Value, String> {
    let operator = &bench.operator().0;
    let place = operator.place(&case.id);
    let tree: BTreeMap<_, _> = (files(case, "repo_files")?.into_iter())
        .map(|path| (path, File::plain("x\n")))
        .collect();
    let origin = Origin::with_commits(&place.join("repository"), "work", [&tree]);
    let before = origin.untouchable();
    let (spec, out) = (place.join("spec.txt"), place.join("out"));
    fs::write(&spec, "a product\n").map_err(|error| error.to_string())?;
    for name in case.texts("outdir_has").unwrap_or_default() {
        fs::create_dir_all(&out).map_err(|error| error.to_string())?;
        fs::write(out.join(name), "{}").map_err(|error| error.to_string())?;
    }
    let model = Model::new(case, &place)?;
    let output = operator
        .factory(&place)
        .args(["plan", "--json", "--spec"])
        .arg(&spec)
        .arg("--repo")
        .arg(&origin.dir)
        .arg("--out")
        .arg(&out)
        .args(["--provider", &model.provider, "--provider-tries", "1"])
        // The cases are about what an answer says, not about what its commands do on a repository of empty files.
        .arg("--no-dry-run")
        .args(case.flag("overwrite").then_some("--overwrite"))
        .output()
        .map_err(|error| error.to_string())?;
    let ran = Ran::of(&output);
    if origin.untouchable() != before {
        return Err("the repository was touched".to_owned());
    }
    tell(case, &ran, &out, model.calls())
}

/// What came out, in the words of the cases.
fn tell(case: &Case, ran: &Ran, out: &Path, calls: usize) -> Result<Value, String> {
    let summary = ran.summary();
    let table = if summary.is_object() { EXIT_CODES } else { &[REFUSED] };
    let exit = table
        .iter()
        .find(|(_, ours)| ran.code.is_some_and(|code| ours.contains(&code)));
    let (exit, _) = exit.ok_or_else(|| format!("exit code {:?} stands in no table: {ran:?}", ran.code))?;
    let mut names = names(out);
    let orders = order::sort_files(names.clone());
    let orders: Vec<Value> = orders
        .iter()
        .filter_map(|name| serde_json::from_slice(&fs::read(out.join(name)).ok()?).ok())
        .collect();
    let each = |pointer: &str| -> Value { orders.iter().map(|order| order.pointer(pointer).cloned()).collect() };
    names
        .iter_mut()
        .for_each(|name| *name = name.replace(MANIFEST, THEIR_MANIFEST));
    let codes: Vec<_> = ran
        .events
        .iter()
        .filter(|event| event["event"] == "plan.judged")
        .map(codes)
        .collect();
    let artifacts = Path::new(summary["artifacts"].as_str().unwrap_or_default());
    let second = fs::read_to_string(artifacts.join("attempt-2/prompt.txt")).unwrap_or_default();
    let wanted = case.expect["revision_mentions"].as_array().cloned().unwrap_or_default();
    let mentioned = wanted
        .into_iter()
        .filter(|part| second.contains(part.as_str().unwrap_or_default()));
    Ok(json!({
        "exit": exit,
        "model_calls": calls,
        "attempt_codes": codes,
        "files": names,
        "ids": each("/id"),
        "titles": each("/title"),
        "exempt": each("/verify_exempt"),
        "bootstrap": each("/provenance/bootstrap"),
        "artifacts": their_artifacts(artifacts),
        "revision_mentions": mentioned.collect::<Vec<_>>(),
    }))
}

fn codes(judged: &Value) -> Value {
    let errors = judged["errors"].as_array().into_iter().flatten();
    errors.map(|error| error["code"].clone()).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn their_artifacts(dir: &Path) -> Vec<String> {
    if !dir.is_dir() {
        return Vec::new();
    }
    let ours = crate::support::files_of(dir).into_keys();
    let mut theirs: Vec<_> = ours
        .filter(|name| !MORE_ARTIFACTS.contains(&name.as_str()))
        .map(|name| their_name(&name))
        .collect();
    theirs.sort();
    theirs
}

/// What the cases call a file; one that stands in no table keeps its name.
fn their_name(name: &str) -> String {
    if let Some(output) = name.strip_prefix("output/") {
        return format!("output/{}", output.replace(MANIFEST, THEIR_MANIFEST));
    }
    let number: String = name.chars().filter(char::is_ascii_digit).collect();
    let found = ARTIFACTS.iter().find(|(ours, _)| ours.replace("{}", &number) == name);
    found.map_or_else(|| name.to_owned(), |(_, theirs)| theirs.replace("{}", &number))
}
