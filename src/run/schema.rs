//! What runs tell and planners write, as JSON Schema: the events of `--json`, and the manifest of a plan.
//!
//! The words of classes, stages and verdicts are in `docs/`, and grow; here they are words.

use crate::order;
use crate::plan::Code;
use crate::types::schema::{
    anything, boolean, described, document, exactly, fitting, list, number, number_within, object, object_id, one_of,
    or_null, refer, sha256, text, word,
};
use serde_json::{Value, json};

/// The schema of one line of `factory run --json` or `factory plan --json`.
pub fn event() -> Value {
    let choices: Vec<_> = run_events().into_iter().chain(plan_events()).collect();
    document(
        "An event of `factory run --json` or `factory plan --json`",
        one_of(&choices),
        &definitions(),
    )
}

/// The schema of a plan's `manifest.json`.
pub fn manifest() -> Value {
    let nullable_text = || or_null(text());
    let manifest = object(
        &[
            ("schema", exactly(super::SCHEMA)),
            ("plan", run_id()),
            ("base", object_id()),
            ("spec", text()),
            ("spec_sha256", sha256()),
            ("compile_hash", fitting("^[0-9a-f]{16}$")),
            ("provider", text()),
            ("model", nullable_text()),
            ("system_overview", list(text())),
            ("verify_contract", anything()),
            ("dropped", nullable_text()),
            ("warnings", list(refer("complaint"))),
            ("files", list(refer("order_file"))),
            (
                "work_orders",
                list(one_of(&[order::schema::first(), order::schema::second()])),
            ),
        ],
        &[],
    );
    let mut definitions = order::schema::definitions();
    definitions.extend([("complaint", complaint()), ("order_file", order_file())]);
    document("The manifest of a plan", manifest, &definitions)
}

fn run_id() -> Value {
    fitting("^[0-7][0-9A-HJKMNP-TV-Z]{25}$")
}

/// A word of a set that grows.
fn lower() -> Value {
    fitting("^[a-z_]+$")
}

fn verdict() -> Value {
    fitting("^[A-Z_]+$")
}

fn attempt() -> (&'static str, Value) {
    ("attempt", number(1))
}

fn tell(name: &str, needed: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
    let place = described(
        number(1),
        "The place of the event among those of its command, without a gap.",
    );
    object(
        &[&[("event", exactly(name)), ("seq", place)], needed].concat(),
        optional,
    )
}

fn run_events() -> Vec<Value> {
    let commit = || ("commit", object_id());
    vec![
        tell(
            "run.recovered",
            &[
                ("run", run_id()),
                ("order_id", text()),
                ("branch", text()),
                ("outcome", lower()),
            ],
            &[commit()],
        ),
        tell(
            "order.skipped",
            &[
                ("order_id", text()),
                ("run", or_null(run_id())),
                ("commit", or_null(object_id())),
                ("branch", text()),
                ("known_from", word(&["journal", "history"])),
            ],
            &[],
        ),
        tell(
            "run.opened",
            &[
                ("run", run_id()),
                ("order_id", text()),
                ("title", text()),
                ("base", object_id()),
                ("branch", text()),
                ("profile", text()),
                ("waived", list(text())),
                ("provider", text()),
                ("model", text()),
                ("max_attempts", number(1)),
                ("artifacts", text()),
            ],
            &[],
        ),
        tell(
            "checkout.seen",
            &[("base", object_id()), ("dirty", or_null(boolean()))],
            &[],
        ),
        tell("proposal.requested", &[attempt(), ("request", sha256())], &[]),
        tell(
            "proposal.delayed",
            &[attempt(), ("wait_ms", number(0)), ("reason", text())],
            &[],
        ),
        tell(
            "proposal.recalled",
            &[attempt(), ("request", sha256()), ("from", run_id())],
            &[],
        ),
        tell(
            "proposal.answered",
            &[attempt(), ("bytes", number(0)), ("sha256", sha256())],
            &[],
        ),
        tell(
            "candidate.built",
            &[attempt(), ("files", list(text()))],
            &[("gone", list(text()))],
        ),
        tell(
            "command.started",
            &[attempt(), ("phase", lower()), ("argv", list(text()))],
            &[],
        ),
        tell(
            "command.finished",
            &[&[attempt()], &command_fields()[..]].concat(),
            &[("unmet", text())],
        ),
        tell(
            "attempt.failed",
            &[attempt(), ("stage", lower()), ("class", lower()), ("reason", text())],
            &[],
        ),
        tell("candidate.passed", &[attempt(), ("evidence", sha256())], &[]),
        tell(
            "promotion.committed",
            &[
                attempt(),
                ("branch", text()),
                commit(),
                ("tree", object_id()),
                ("unchanged", boolean()),
            ],
            &[],
        ),
        tell(
            "run.completed",
            &[
                ("run", or_null(run_id())),
                ("verdict", verdict()),
                ("exit_code", number_within(0, 255)),
                ("problem", or_null(refer("problem"))),
                ("summary", or_null(refer("summary"))),
            ],
            &[],
        ),
    ]
}

fn plan_events() -> Vec<Value> {
    vec![
        tell(
            "plan.opened",
            &[
                ("plan", run_id()),
                ("spec", text()),
                ("base", object_id()),
                ("files", number(0)),
                ("provider", text()),
                ("max_attempts", number(1)),
                ("artifacts", text()),
            ],
            &[],
        ),
        tell("plan.requested", &[attempt(), ("request", sha256())], &[]),
        tell(
            "plan.delayed",
            &[attempt(), ("wait_ms", number(0)), ("reason", text())],
            &[],
        ),
        tell(
            "plan.recalled",
            &[attempt(), ("request", sha256()), ("from", run_id())],
            &[],
        ),
        tell(
            "plan.answered",
            &[attempt(), ("bytes", number(0)), ("sha256", sha256())],
            &[],
        ),
        tell(
            "plan.judged",
            &[
                attempt(),
                ("errors", list(refer("complaint"))),
                ("warnings", list(refer("complaint"))),
            ],
            &[],
        ),
        tell(
            "plan.completed",
            &[
                ("plan", or_null(run_id())),
                ("exit_code", number_within(0, 255)),
                ("problem", or_null(refer("problem"))),
                ("summary", or_null(refer("plan_summary"))),
            ],
            &[],
        ),
    ]
}

fn definitions() -> Vec<(&'static str, Value)> {
    vec![
        ("complaint", complaint()),
        ("order_file", order_file()),
        ("situation", situation()),
        ("problem", problem(&[("exit_code", number_within(0, 255))])),
        ("failure", problem(&[])),
        ("outcome", outcome()),
        ("usage", usage()),
        ("attempt", attempt_summary()),
        ("summary", summary()),
        ("plan_summary", plan_summary()),
    ]
}

fn complaint() -> Value {
    let whom = "The order, as the answer names it; null for the plan itself.";
    object(
        &[
            ("code", word(&Code::ALL)),
            ("order", described(anything(), whom)),
            ("message", text()),
        ],
        &[],
    )
}

fn order_file() -> Value {
    object(
        &[
            ("id", text()),
            ("title", text()),
            ("file", text()),
            ("sha256", sha256()),
            ("exempt", boolean()),
            ("bootstrap", boolean()),
        ],
        &[],
    )
}

fn situation() -> Value {
    let signal = object(&[("signal", number_within(0, 64))], &[]);
    one_of(&[lower(), object(&[("interrupted", signal)], &[])])
}

/// What could not be done, why, and what to do, with some more.
fn problem(more: &[(&str, Value)]) -> Value {
    let fields = [
        ("class", lower()),
        ("situation", refer("situation")),
        ("message", text()),
        ("causes", list(text())),
        ("hint", or_null(text())),
    ];
    object(&[&fields[..], more].concat(), &[])
}

fn command_fields() -> [(&'static str, Value); 5] {
    [
        ("phase", lower()),
        ("argv", list(text())),
        ("outcome", refer("outcome")),
        ("exit_code", or_null(number_within(0, 255))),
        ("wall_ms", number(0)),
    ]
}

/// How a command ended; all of it is in the schema of reports.
fn outcome() -> Value {
    let mut outcome = object(&[("kind", lower())], &[]);
    outcome["additionalProperties"] = json!(true);
    described(
        outcome,
        "How the command ended; report.schema.json says what belongs to each kind.",
    )
}

fn usage() -> Value {
    let count = || number(0);
    object(
        &[
            ("answers", count()),
            ("recalled", count()),
            ("unsettled", count()),
            ("input_tokens", count()),
            ("output_tokens", count()),
            ("estimated", boolean()),
        ],
        &[("usd", described(count(), "Nano-dollars."))],
    )
}

fn attempt_summary() -> Value {
    let command = object(&command_fields(), &[("unmet", text())]);
    object(
        &[
            ("n", number(1)),
            ("stage", or_null(lower())),
            ("class", or_null(lower())),
            ("reason", or_null(text())),
            ("files", list(text())),
            ("commands", list(command)),
        ],
        &[("gone", list(text()))],
    )
}

fn times() -> [(&'static str, Value); 3] {
    [
        ("artifacts", text()),
        ("started_ms", number(0)),
        ("ended_ms", number(0)),
    ]
}

fn summary() -> Value {
    let rung = object(
        &[("rung", number_within(0, 255)), ("name", text()), ("state", lower())],
        &[],
    );
    let fields = [
        ("schema", exactly(super::SCHEMA)),
        ("run", run_id()),
        ("order_id", text()),
        ("title", text()),
        ("verdict", verdict()),
        ("stage", or_null(lower())),
        ("class", or_null(lower())),
        ("exit_code", number_within(0, 255)),
        ("base", object_id()),
        ("branch", text()),
        ("commit", or_null(object_id())),
        ("tree", or_null(object_id())),
        ("unchanged", boolean()),
        ("attempts", list(refer("attempt"))),
        ("rungs", list(rung)),
        ("usage", refer("usage")),
        ("problem", or_null(refer("failure"))),
    ];
    object(
        &[&fields[..], &times()[..]].concat(),
        &[("order_key", sha256()), ("requirements", list(text()))],
    )
}

fn plan_summary() -> Value {
    let complaints = || list(refer("complaint"));
    let attempt = object(
        &[("n", number(1)), ("errors", complaints()), ("warnings", complaints())],
        &[],
    );
    let fields = [
        ("schema", exactly(super::SCHEMA)),
        ("plan", run_id()),
        ("exit_code", number_within(0, 255)),
        ("problem", or_null(refer("failure"))),
        ("base", object_id()),
        ("spec_sha256", sha256()),
        ("attempts", list(attempt)),
        ("orders", list(refer("order_file"))),
        ("dropped", or_null(text())),
        ("usage", refer("usage")),
        ("output", text()),
    ];
    object(&[&fields[..], &times()[..]].concat(), &[])
}
