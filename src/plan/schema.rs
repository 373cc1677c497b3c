//! What the planner's model answers, as JSON Schema: what its prompt asks for, which is version 2.

use super::MAX_ORDERS;
use crate::order::schema::{definitions, second};
use crate::types::schema::{document, list, list_within, object, one_of, refer, text};
use serde_json::Value;

/// The schema of an answer. An answer that fits it may still be no plan.
pub(super) fn answer() -> Value {
    let contract = object(&[("command", text()), ("requires", list(refer("condition")))], &[]);
    let mut order = second();
    // What judges a model's work is not the model's to choose.
    if let Some(fields) = order["properties"].as_object_mut() {
        fields.remove("golden");
    }
    let plan = object(
        &[
            ("system_overview", list(text())),
            ("verify_contract", contract),
            ("work_orders", list_within(order, 1, MAX_ORDERS)),
        ],
        &[],
    );
    let blocked = object(&[("blocked", text())], &[]);
    document(
        "A plan, or why there can be none",
        one_of(&[plan, blocked]),
        &definitions(),
    )
}
