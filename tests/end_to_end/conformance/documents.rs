//! Areas about texts, paths and work orders.

use super::case::Case;
use base64::Engine as _;
use factory::types::{RepoPath, Sha256, render_template, truncate};
use factory::{order, verify};
use serde_json::{Value, json};

pub(super) fn path(case: &Case) -> Result<Value, String> {
    Ok(match RepoPath::parse(case.text("path")?) {
        Ok(path) => json!({"ok": true, "normal": path}),
        Err(_) => json!({"ok": false}),
    })
}

pub(super) fn command_split(case: &Case) -> Result<Value, String> {
    Ok(match order::split_command(case.text("command")?) {
        Ok(argv) => json!({"ok": true, "argv": argv}),
        Err(_) => json!({"ok": false}),
    })
}

pub(super) fn order_load(case: &Case) -> Result<Value, String> {
    Ok(match order::parse(&case.document()?) {
        Ok(order) => json!({"ok": true, "order": order}),
        Err(_) => json!({"ok": false}),
    })
}

pub(super) fn orders_sort(case: &Case) -> Result<Value, String> {
    Ok(json!({"order": order::sort_files(case.texts("names")?)}))
}

pub(super) fn exempt_policy(case: &Case) -> Result<Value, String> {
    let allowed = order::verify_exempt_allowed(case.flag("allow_flag"), case.input.get("provenance"));
    Ok(json!({"allowed": allowed}))
}

pub(super) fn hash_canonical(case: &Case) -> Result<Value, String> {
    let bytes = order::canonical_json(case.field("value")?);
    let encoded = base64::engine::general_purpose::STANDARD.encode(&bytes);
    Ok(json!({"bytes_b64": encoded, "sha256": Sha256::of(&bytes)}))
}

/// The run ids of version 1, by which recorded runs name the order that was used.
pub(super) fn hash_run_id(case: &Case) -> Result<Value, String> {
    let mut bytes = order::canonical_json(case.field("order")?);
    bytes.push(b'\n');
    bytes.extend_from_slice(case.text("baseline")?.as_bytes());
    Ok(json!({"run_id": Sha256::of(&bytes).to_string()[..16]}))
}

/// A template for the planner has to have a place for the spec; the other two places are optional.
pub(super) fn template_render(case: &Case) -> Result<Value, String> {
    let template = case.text("template")?;
    if !template.contains("{{PRODUCT_SPEC}}") {
        return Ok(json!({"ok": false}));
    }
    let optional = |name| case.input.get(name).and_then(Value::as_str).unwrap_or_default();
    let values = [
        ("PRODUCT_SPEC", case.text("spec")?),
        ("DOCTRINE", optional("doctrine")),
        ("REPO_HINTS", optional("repo_hints")),
    ];
    Ok(json!({"ok": true, "text": render_template(template, &values)}))
}

pub(super) fn text_truncate(case: &Case) -> Result<Value, String> {
    let max = case.field("max")?.as_u64().ok_or("`max` is not a number")?;
    Ok(json!({"text": truncate(case.text("text")?, max as usize)}))
}

pub(super) fn verify_commands(case: &Case) -> Result<Value, String> {
    let has_verify_script = case.files()?.contains_key(verify::VERIFY_SCRIPT);
    Ok(json!({"commands": verify::global_commands(has_verify_script, case.flag("verify_exempt"))}))
}
