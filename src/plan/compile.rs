//! A manifest as a model wrote it → a plan, or everything that is wrong with it.

use super::bounds::{self, Bounds};
use super::chain::{self, Chain, Files, exemptions};
use super::commands::is_second;
use super::complaint::{Code, Complaint, Complaints};
use super::normal::normalize;
use super::structure::{self, name, orders, texts};
use super::{MAX_ORDERS, VERIFY_SCRIPT};
use crate::order::{self, WorkOrder};
use crate::types::{RunId, Sha256};
use serde::Serialize;
use serde_json::{Value, json};

/// Orders that can be run one after the other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// What the model says about the whole, in its own words.
    pub system_overview: Vec<String>,
    /// When the repository's own verification can first succeed; null when the plan does not say.
    pub verify_contract: Value,
    /// The orders, in the order in which they are to be run.
    pub orders: Vec<PlannedOrder>,
    /// The title of the bootstrap order that was left out, because the repository has what it would make.
    pub dropped: Option<String>,
}

/// One order of a plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedOrder {
    /// The order, without provenance.
    pub order: WorkOrder,
    /// Whether it is the one that makes the repository's verification, before which there is none to pass.
    pub bootstrap: bool,
}

/// Where a plan comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Provenance {
    /// The planner's run.
    pub planner_run_id: RunId,
    /// Recognises the same spec put to the same model by the same template.
    pub compile_hash: String,
    /// The digest of the spec.
    pub spec_sha256: Sha256,
}

impl PlannedOrder {
    /// The order as it is written to a file.
    pub fn with_provenance(&self, provenance: &Provenance) -> WorkOrder {
        let mut value = json!(provenance);
        value["bootstrap"] = json!(self.bootstrap);
        WorkOrder {
            provenance: Some(value),
            ..self.order.clone()
        }
    }
}

/// Recognises a planner's question: the spec, the template, the model and how hard it is to think.
pub fn compile_hash(spec: &str, template: &str, model: &str, effort: &str) -> String {
    let parts = [spec, template, model, effort].join("\n");
    Sha256::of(parts.as_bytes()).to_string()[..16].to_owned()
}

/// Everything that is wrong with a manifest, given the files that are there. Its shape comes first, order by order, and then
/// what each order needs.
pub fn validate(manifest: &Value, files: &Files, bounds: &Bounds) -> Complaints {
    let manifest = normalize(manifest);
    check(&manifest, files, bounds, None)
}

/// Makes a plan of a manifest; the second part is what may turn out to be wrong all the same.
///
/// When the repository has its verification, an order that only makes that is left out, and the others move up: the model
/// is told to plan it first, and one that does so by habit should not fail for it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn compile(manifest: &Value, files: &Files, bounds: &Bounds) -> Result<(Plan, Vec<Complaint>), Complaints> {
    let manifest = normalize(manifest);
    let dropped = needless_bootstrap(&manifest, files);
    let mut complaints = check(&manifest, files, bounds, dropped);
    let planned = orders(&manifest).unwrap_or_default();
    let mut kept: Vec<_> = kept(planned, dropped).map(|(_, order)| order.clone()).collect();
    if dropped.is_some() && kept.is_empty() {
        let message = format!("the repository has `{VERIFY_SCRIPT}` already, and the plan makes nothing else");
        complaints.add(Complaint::of_plan(Code::E000, message));
    }
    if !complaints.errors.is_empty() {
        return Err(complaints);
    }
    let contract = manifest.get("verify_contract").filter(|contract| contract.is_object());
    let exempt = exemptions(&kept, contract, files);
    if let Some(dropped) = dropped {
        move_up(&mut kept, &planned[dropped]["id"]);
    }
    let orders: Option<Vec<_>> = kept
        .iter()
        .zip(&exempt)
        .enumerate()
        .map(|(index, (order, exempt))| number(index, order, *exempt))
        .collect();
    let Some(mut orders) = orders else {
        // What was complained about nothing parses.
        let message = "an order cannot be read although nothing is wrong with it";
        complaints.add(Complaint::of_plan(Code::E005, message));
        return Err(complaints);
    };
    mark_bootstrap(&mut orders, files);
    let plan = Plan {
        system_overview: texts(&manifest, "system_overview").map(str::to_owned).collect(),
        verify_contract: contract.cloned().unwrap_or_default(),
        orders,
        dropped: dropped.map(|index| planned[index]["title"].as_str().unwrap_or_default().to_owned()),
    };
    Ok((plan, complaints.warnings))
}

fn check(manifest: &Value, files: &Files, bounds: &Bounds, dropped: Option<usize>) -> Complaints {
    let mut complaints = Complaints::default();
    if structure::check(manifest, &mut complaints) {
        let orders = orders(manifest).unwrap_or_default();
        let named: Vec<_> = kept(orders, dropped)
            .map(|(index, order)| (name(index, order), order))
            .collect();
        let left_out = dropped.and_then(|dropped| orders[dropped]["id"].as_str());
        let chain = Chain::of(named, files);
        chain::check(&chain, manifest.get("verify_contract"), left_out, &mut complaints);
        bounds::check(&chain.orders, bounds, &mut complaints);
    }
    complaints
}

/// Lets orders name each other as they are called when one was left out, which nobody waits for any more.
fn move_up(kept: &mut [Value], left_out: &Value) {
    let new_ids: Vec<_> = (kept.iter().enumerate())
        .map(|(index, order)| (order["id"].clone(), json!(format!("WO-{:02}", index + 1))))
        .collect();
    let new_id = |old: &Value| new_ids.iter().find(|(id, _)| id == old).map(|(_, new)| new.clone());
    for order in kept.iter_mut().filter(|order| is_second(order)) {
        if let Some(named) = order.get_mut("depends_on").and_then(Value::as_array_mut) {
            named.retain(|id| id != left_out);
            named
                .iter_mut()
                .for_each(|id| *id = new_id(id).unwrap_or_else(|| id.clone()));
        }
        if let Some(conditions) = order.get_mut("preconditions").and_then(Value::as_array_mut) {
            let is_order = |condition: &Value| condition["kind"] == "order_done";
            conditions.retain(|condition| !is_order(condition) || condition["order"] != *left_out);
            for condition in conditions.iter_mut().filter(|condition| is_order(condition)) {
                if let Some(new) = new_id(&condition["order"]) {
                    condition["order"] = new;
                }
            }
        }
    }
}

fn kept(orders: &[Value], dropped: Option<usize>) -> impl Iterator<Item = (usize, &Value)> {
    orders
        .iter()
        .enumerate()
        .filter(move |(index, _)| Some(*index) != dropped)
}

/// The order that makes the verification of a repository that has it, and nothing else.
fn needless_bootstrap(manifest: &Value, files: &Files) -> Option<usize> {
    let makes_only_that = |order: &Value| texts(order, "allowed_files").eq([VERIFY_SCRIPT]);
    let (index, order) = (0, orders(manifest)?.first()?);
    // Later ones may change it, as their preconditions then say.
    (files.contains(VERIFY_SCRIPT) && makes_only_that(order)).then_some(index)
}

/// The order with the id of its place and the exemption that was computed.
fn number(index: usize, order: &Value, exempt: bool) -> Option<PlannedOrder> {
    debug_assert!(index < MAX_ORDERS);
    let mut order = order.clone();
    let members = order.as_object_mut()?;
    members.insert("id".to_owned(), json!(format!("WO-{:02}", index + 1)));
    members.insert("verify_exempt".to_owned(), json!(exempt));
    members.remove("provenance");
    // What judges a model's work is not the model's to choose.
    members.remove("golden");
    let order = order::parse(order.to_string().as_bytes()).ok()?;
    Some(PlannedOrder {
        order,
        bootstrap: false,
    })
}

fn mark_bootstrap(orders: &mut [PlannedOrder], files: &Files) {
    let makes_it = |order: &WorkOrder| {
        let mut promised = order.postconditions.iter();
        order.verify_exempt
            && promised.any(|condition| condition.path().is_some_and(|path| path.as_str() == VERIFY_SCRIPT))
    };
    if files.contains(VERIFY_SCRIPT) {
        return;
    }
    if let Some(first) = orders.iter_mut().find(|planned| makes_it(&planned.order)) {
        first.bootstrap = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn planned(id: &str, file: &str) -> Value {
        json!({
            "id": id, "title": file, "intent": "i", "allowed_files": [file], "forbidden": [], "context_files": [],
            "acceptance_commands": ["python -c \"import json\""],
            "postconditions": [{"kind": "file_exists", "path": file}]
        })
    }

    fn usual() -> Value {
        let mut boot = planned("WO-01", VERIFY_SCRIPT);
        boot["preconditions"] = json!([{"kind": "file_absent", "path": VERIFY_SCRIPT}]);
        json!({
            "work_orders": [boot, planned("WO-02", "tests/test_a.py"), planned("WO-03", "a.py")],
            "verify_contract": {"requires": [
                {"kind": "file_exists", "path": VERIFY_SCRIPT}, {"kind": "file_exists", "path": "tests/test_a.py"}
            ]}
        })
    }

    fn ids(plan: &Plan) -> Vec<(String, String, bool, bool)> {
        let of = |planned: &PlannedOrder| {
            let order = &planned.order;
            (
                order.id.clone(),
                order.title.clone(),
                order.verify_exempt,
                planned.bootstrap,
            )
        };
        plan.orders.iter().map(of).collect()
    }

    fn row(id: &str, title: &str, exempt: bool, bootstrap: bool) -> (String, String, bool, bool) {
        (id.to_owned(), title.to_owned(), exempt, bootstrap)
    }

    #[test]
    fn only_the_order_that_makes_the_verification_is_the_bootstrap() {
        let (plan, _) = compile(&usual(), &Files::new(), &Bounds::default()).unwrap();
        let expected = [
            row("WO-01", VERIFY_SCRIPT, true, true),
            row("WO-02", "tests/test_a.py", false, false),
            row("WO-03", "a.py", false, false),
        ];
        assert_eq!(ids(&plan), expected);
        assert_eq!(plan.dropped, None);
    }

    #[test]
    fn the_bootstrap_is_left_out_where_there_is_nothing_to_make_and_the_others_move_up() {
        let files = Files::from([VERIFY_SCRIPT.to_owned()]);
        assert_eq!(
            validate(&usual(), &files, &Bounds::default()).codes(),
            [Code::E101],
            "as it stands it could not be run"
        );
        let (plan, _) = compile(&usual(), &files, &Bounds::default()).unwrap();
        let expected = [
            row("WO-01", "tests/test_a.py", false, false),
            row("WO-02", "a.py", false, false),
        ];
        assert_eq!(ids(&plan), expected);
        assert_eq!(plan.dropped.as_deref(), Some(VERIFY_SCRIPT));
    }

    #[test]
    fn a_plan_of_nothing_but_a_needless_bootstrap_is_none() {
        let files = Files::from([VERIFY_SCRIPT.to_owned()]);
        let plan = json!({"work_orders": [planned("WO-01", VERIFY_SCRIPT)]});
        assert_eq!(
            compile(&plan, &files, &Bounds::default()).unwrap_err().codes(),
            [Code::E000]
        );
        assert!(compile(&plan, &Files::new(), &Bounds::default()).is_ok());
    }

    #[test]
    fn what_an_order_says_of_its_origin_is_replaced() {
        let mut manifest = usual();
        manifest["work_orders"][2]["provenance"] = json!({"bootstrap": true, "planner_run_id": "me"});
        manifest["work_orders"][2]["verify_exempt"] = json!("yes, please");
        let (plan, _) = compile(&manifest, &Files::new(), &Bounds::default()).unwrap();
        let provenance = Provenance {
            planner_run_id: RunId::new(ulid::Ulid(1)),
            compile_hash: compile_hash("", "", "", ""),
            spec_sha256: Sha256::EMPTY,
        };
        let written = plan.orders[2].with_provenance(&provenance);
        assert!(!written.verify_exempt);
        assert_eq!(written.provenance.unwrap()["bootstrap"], false);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let word = proptest::sample::select(vec![
            "WO-01",
            "WO-02",
            "a.py",
            "../x",
            "a*",
            "file_exists",
            "file_absent",
            "echo 'x",
            "python -c 'import a'",
            "a | b",
            "bash scripts/verify.sh",
            "scripts/verify.sh",
            " ",
            "",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i8>().prop_map(|number| json!(number)),
            word.prop_map(|word| json!(word)),
        ];
        leaf.prop_recursive(4, 40, 4, |inner| {
            let key = proptest::sample::select(vec![
                "work_orders",
                "verify_contract",
                "requires",
                "id",
                "title",
                "intent",
                "kind",
                "path",
                "preconditions",
                "postconditions",
                "allowed_files",
                "context_files",
                "forbidden",
                "acceptance_commands",
                "notes",
            ]);
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                proptest::collection::btree_map(key.prop_map(str::to_owned), inner, 0..6).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_gets_the_same_complaints_twice_or_is_a_plan(work_orders in any_json(), contract in any_json(), whole in any_json()) {
            for manifest in [json!({"work_orders": work_orders, "verify_contract": contract}), whole] {
                let files = Files::from(["a.py".to_owned()]);
                let first = validate(&manifest, &files, &Bounds::default());
                prop_assert_eq!(&first, &validate(&manifest, &files, &Bounds::default()));
                prop_assert_eq!(&first, &validate(&normalize(&manifest), &files, &Bounds::default()), "the normal form says the same");
                if first.errors.is_empty() {
                    prop_assert!(compile(&manifest, &files, &Bounds::default()).is_ok());
                }
            }
        }

        /// Orders about a handful of files, so that they meet.
        #[test]
        fn a_chain_is_without_errors_exactly_when_each_precondition_holds_in_its_turn(
            steps in proptest::collection::vec((0_usize..4, 0_usize..4, any::<bool>()), 1..6),
        ) {
            let files = ["a.py", "b.py", "c.py", "d.py"];
            let mut there = Files::from(["d.py".to_owned()]);
            let mut holds = true;
            let mut orders = Vec::new();
            for (index, (made, needed, wants_it)) in steps.iter().enumerate() {
                let kind = if *wants_it { "file_exists" } else { "file_absent" };
                let mut order = planned(&format!("WO-{:02}", index + 1), files[*made]);
                order["preconditions"] = json!([{"kind": kind, "path": files[*needed]}]);
                holds &= there.contains(files[*needed]) == *wants_it;
                there.insert(files[*made].to_owned());
                orders.push(order);
            }
            let complaints = validate(&json!({"work_orders": orders}), &Files::from(["d.py".to_owned()]), &Bounds::default());
            prop_assert_eq!(complaints.errors.is_empty(), holds);
            prop_assert!(complaints.codes().iter().all(|code| *code == Code::E101));
        }
    }
}
