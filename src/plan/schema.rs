//! What the planner's model answers, as JSON Schema: what its prompt asks for, which is version 2.

use super::MAX_ORDERS;
use crate::order::schema::{definitions, second};
use crate::types::schema::{document, list, list_within, object, refer, text};
use serde_json::Value;

/// The schema of an answer. An answer that fits it may still be no plan.
pub(super) fn answer() -> Value {
    let contract = object(&[("command", text()), ("requires", list(refer("condition")))], &[]);
    let answer = object(
        &[
            ("system_overview", list(text())),
            ("verify_contract", contract),
            ("work_orders", list_within(second(), 1, MAX_ORDERS)),
        ],
        &[],
    );
    document("A plan", answer, &definitions())
}
