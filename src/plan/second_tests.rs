//! Plans with orders of version 2.

use super::*;
use crate::order::{OrderBudget, Resources};
use crate::types::Bytes;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn order(number: usize, after: &[&str], file: &str) -> Value {
    json!({
        "schema_version": 2, "id": format!("WO-{number:02}"), "title": file, "kind": "modify", "intent": "i",
        "depends_on": after, "allowed_files": [file], "postconditions": [{"kind": "file_exists", "path": file}],
        "acceptance": [{"argv": ["python", "tests/run.py"]}]
    })
}

fn first(number: usize, file: &str) -> Value {
    json!({
        "id": format!("WO-{number:02}"), "title": file, "intent": "i", "allowed_files": [file], "forbidden": [],
        "acceptance_commands": ["python tests/run.py"], "context_files": [],
        "postconditions": [{"kind": "file_exists", "path": file}]
    })
}

fn files() -> Files {
    ["old.py", "other.py", "tests/run.py"].map(str::to_owned).into()
}

fn codes(orders: &[Value]) -> Vec<(Code, Value)> {
    let complaints = validate(&json!({ "work_orders": orders }), &files(), &Bounds::default());
    let all = complaints.errors.into_iter().chain(complaints.warnings);
    all.map(|complaint| (complaint.code, complaint.order)).collect()
}

/// The order with some fields changed.
fn with(mut order: Value, fields: Value) -> Value {
    for (key, field) in fields.as_object().expect("fields") {
        order[key] = field.clone();
    }
    order
}

fn one(code: Code, order: &str) -> Vec<(Code, Value)> {
    vec![(code, json!(order))]
}

fn deletes(number: usize, after: &[&str], path: &str) -> Value {
    let fields = json!({
        "kind": "remove", "allowed_files": [], "allowed_deletes": [path],
        "postconditions": [{"kind": "file_absent", "path": path}]
    });
    with(order(number, after, path), fields)
}

fn renames(number: usize, after: &[&str], from: &str, to: &str) -> Value {
    let fields = json!({
        "allowed_files": [], "allowed_renames": [{"from": from, "to": to}],
        "postconditions": [{"kind": "file_absent", "path": from}, {"kind": "file_exists", "path": to}]
    });
    with(order(number, after, from), fields)
}

#[test]
fn orders_that_share_nothing_need_not_come_after_each_other() {
    let orders = [
        order(1, &[], "a.py"),
        order(2, &[], "b.py"),
        order(3, &["WO-01", "WO-02"], "a.py"),
    ];
    assert_eq!(codes(&orders), []);
    let later = [order(1, &["WO-02"], "a.py"), order(2, &[], "a.py")];
    assert_eq!(codes(&later), [], "also one that comes later in the list");
}

#[test]
fn a_circle_is_named() {
    let orders = [
        order(1, &["WO-03"], "a.py"),
        order(2, &["WO-01"], "b.py"),
        order(3, &["WO-02"], "c.py"),
    ];
    let complaints = validate(&json!({ "work_orders": orders }), &files(), &Bounds::default());
    assert_eq!(complaints.codes(), [Code::E107]);
    let message = &complaints.errors[0].message;
    for id in ["WO-01", "WO-02", "WO-03"] {
        assert!(message.contains(id), "{message}");
    }
    assert_eq!(codes(&[order(1, &["WO-01"], "a.py")]), one(Code::E107, "WO-01"));
    let mixed = [order(1, &["WO-02"], "a.py"), first(2, "b.py")];
    assert_eq!(
        codes(&mixed)[0].0,
        Code::E107,
        "an order of version 1 follows the one before it"
    );
}

#[test]
fn an_order_that_the_plan_does_not_have_is_waited_for_in_vain() {
    assert_eq!(codes(&[order(1, &["WO-07"], "a.py")]), one(Code::E108, "WO-01"));
    let other = json!({"preconditions": [{"kind": "order_done", "order": "of-another-plan"}]});
    assert_eq!(codes(&[with(order(1, &[], "a.py"), other)]), []);
}

#[test]
fn two_orders_that_change_a_file_come_after_each_other() {
    let both = |after: &[&str]| [order(1, &[], "a.py"), order(2, after, "a.py")];
    assert_eq!(codes(&both(&[])), one(Code::E109, "WO-02"));
    assert_eq!(codes(&both(&["WO-01"])), []);
    let through = [
        order(1, &[], "a.py"),
        order(2, &["WO-01"], "b.py"),
        order(3, &["WO-02"], "a.py"),
    ];
    assert_eq!(codes(&through), [], "a path of several is enough");
    assert_eq!(
        codes(&[order(1, &[], "old.py"), deletes(2, &[], "old.py")]),
        one(Code::E109, "WO-02")
    );
    assert_eq!(
        codes(&[order(1, &[], "n.py"), renames(2, &[], "old.py", "n.py")]),
        one(Code::E109, "WO-02")
    );
    let wanted = json!({"preconditions": [{"kind": "order_done", "order": "WO-01"}]});
    assert_eq!(codes(&[order(1, &[], "a.py"), with(order(2, &[], "a.py"), wanted)]), []);
    assert_eq!(
        codes(&[order(1, &[], "a.py"), first(2, "a.py")]),
        [],
        "version 1 follows"
    );
}

#[test]
fn what_an_order_needs_an_order_before_it_makes() {
    let needs = |after: &[&str]| {
        let needs = json!({"preconditions": [{"kind": "file_exists", "path": "a.py"}]});
        [order(1, &[], "a.py"), with(order(2, after, "b.py"), needs)]
    };
    assert_eq!(codes(&needs(&["WO-01"])), []);
    assert_eq!(
        codes(&needs(&[])),
        one(Code::E101, "WO-02"),
        "whoever may come later makes nothing"
    );
    let gone = json!({"preconditions": [{"kind": "file_exists", "path": "old.py"}]});
    let orders = [deletes(1, &[], "old.py"), with(order(2, &["WO-01"], "b.py"), gone)];
    assert_eq!(codes(&orders), one(Code::E101, "WO-02"));
}

#[test]
fn what_is_deleted_or_renamed_is_there_and_not_needed_any_more() {
    assert_eq!(codes(&[deletes(1, &[], "old.py")]), []);
    assert_eq!(codes(&[deletes(1, &[], "new.py")]), one(Code::E110, "WO-01"));
    assert_eq!(codes(&[renames(1, &[], "old.py", "new.py")]), []);
    assert_eq!(
        codes(&[renames(1, &[], "old.py", "other.py")]),
        one(Code::E110, "WO-01")
    );
    let twice = [deletes(1, &[], "old.py"), deletes(2, &["WO-01"], "old.py")];
    assert_eq!(codes(&twice), one(Code::E110, "WO-02"));
    for fields in [
        json!({"context_files": ["old.py"]}),
        json!({"acceptance": [{"argv": ["python", "-c", "import old; assert old.x"]}]}),
    ] {
        let reader = |after: &[&str]| with(order(3, after, "b.py"), fields.clone());
        let again = order(2, &["WO-01"], "old.py");
        let found = codes(&[deletes(1, &[], "old.py"), order(2, &[], "c.py"), reader(&["WO-01"])]);
        assert_eq!(found[0], (Code::E110, json!("WO-03")), "{fields}: {found:?}");
        let made_again = [deletes(1, &[], "old.py"), again, reader(&["WO-02"])];
        assert!(
            !codes(&made_again).iter().any(|(code, _)| *code == Code::E110),
            "{fields}"
        );
        let unordered = [deletes(1, &[], "old.py"), order(2, &[], "c.py"), reader(&[])];
        assert_eq!(codes(&unordered), one(Code::E109, "WO-03"), "{fields}");
    }
}

#[test]
fn an_order_is_judged_by_more_than_a_look() {
    let looks = json!({"acceptance": [{"argv": ["test", "-f", "a.py"]}, {"argv": ["python", "-c", "import json"]}]});
    assert_eq!(
        codes(&[with(order(1, &[], "a.py"), looks.clone())]),
        one(Code::E111, "WO-01")
    );
    for kind in ["docs", "bootstrap", "remove"] {
        let order = with(with(order(1, &[], "a.py"), looks.clone()), json!({"kind": kind}));
        assert_eq!(codes(&[order]), [], "{kind}");
    }
    let old = with(first(1, "a.py"), json!({"acceptance_commands": ["test -f a.py"]}));
    assert_eq!(codes(&[old]), one(Code::W111, "WO-01"));
}

#[test]
fn what_orders_want_to_spend_and_use_is_within_what_they_may() {
    let usd = |text: &str| Some(text.parse().expect("an amount"));
    let bounds = Bounds {
        order: OrderBudget {
            usd: usd("1"),
            tokens: Some(1000),
        },
        plan: OrderBudget {
            usd: usd("1.50"),
            tokens: None,
        },
        resources: Resources {
            wall: Some(Duration::from_secs(60)),
            memory: Some(Bytes(1 << 30)),
            pids: Some(64),
            ..Resources::default()
        },
    };
    let codes = |orders: &[Value]| {
        let complaints = validate(&json!({ "work_orders": orders }), &files(), &bounds);
        complaints.codes()
    };
    let spends = |number, budget: Value| with(order(number, &[], &format!("{number}.py")), json!({ "budget": budget }));
    assert_eq!(codes(&[spends(1, json!({"usd": "1.00", "tokens": 1000}))]), []);
    assert_eq!(codes(&[spends(1, json!({"usd": "1.01"}))]), [Code::E112]);
    assert_eq!(codes(&[spends(1, json!({"tokens": 1001}))]), [Code::E112]);
    let dollar = json!({"usd": "1"});
    assert_eq!(
        codes(&[spends(1, dollar.clone()), spends(2, dollar)]),
        [Code::E112],
        "together"
    );
    let dear = [
        spends(1, json!({"usd": "900"})),
        spends(2, json!({"usd": "900", "tokens": 9_000_000})),
    ];
    let unbounded = validate(&json!({ "work_orders": dear }), &files(), &Bounds::default());
    assert_eq!(
        unbounded,
        super::Complaints::default(),
        "where there is no cap, none is exceeded"
    );
    let uses = |resources: Value| with(order(1, &[], "a.py"), json!({ "resources": resources }));
    assert_eq!(
        codes(&[uses(json!({"wall": "1m", "memory": "1GiB", "pids": 64, "cpu": "99h"}))]),
        []
    );
    for over in [json!({"wall": "61s"}), json!({"memory": "2GiB"}), json!({"pids": 65})] {
        assert_eq!(codes(&[uses(over.clone())]), [Code::E113], "{over}");
    }
}

#[test]
fn a_command_that_needs_a_network_is_refused_in_either_version() {
    let fetches = json!({"acceptance": [{"argv": ["bash", "-c", "pip install x && pytest"]}]});
    assert_eq!(codes(&[with(order(1, &[], "a.py"), fetches)]), one(Code::E113, "WO-01"));
    let fetches = json!({"acceptance_commands": ["curl https://example.org/x"]});
    assert_eq!(codes(&[with(first(1, "a.py"), fetches)]), one(Code::E113, "WO-01"));
}

#[test]
fn the_rules_about_commands_hold_for_both_versions() {
    for (argv, code) in [
        (json!(["cat", "a", "|", "wc"]), Code::E003),
        (json!(["python", "-c", "for x in y: pass; for"]), Code::E006),
        (json!(["bash", "scripts/verify.sh"]), Code::E105),
    ] {
        let order = with(order(1, &[], "a.py"), json!({"acceptance": [{ "argv": argv }]}));
        assert!(codes(&[order]).contains(&(code, json!("WO-01"))), "{argv}");
    }
    let unknown = with(order(1, &[], "a.py"), json!({"golds": []}));
    assert_eq!(codes(&[unknown]), one(Code::E005, "WO-01"));
}

#[test]
fn what_judges_the_work_is_not_for_the_model_to_choose() {
    let suite = json!([{"name": "api", "sha256": "0".repeat(64)}]);
    let order = with(order(1, &[], "a.py"), json!({ "golden": suite }));
    let (plan, _) = compile(&json!({"work_orders": [order]}), &files(), &Bounds::default()).expect("a plan");
    assert_eq!(plan.orders[0].order.golden, []);
    assert!(!super::schema::answer().to_string().contains("\"golden\""));
}

#[test]
fn blanks_in_the_words_of_a_command_are_kept() {
    let command = json!({"argv": ["printf", " x\n"], "stdin": " y\n", "expect": {"stdout": {"equals": " x"}}});
    let order = with(order(1, &[], " ./a.py "), json!({ "acceptance": [command] }));
    let order = with(order, json!({"kind": "docs"}));
    let (plan, _) = compile(&json!({"work_orders": [order]}), &files(), &Bounds::default()).expect("a plan");
    let order = &plan.orders[0].order;
    assert_eq!(order.allowed_files[0].as_str(), "a.py");
    let command = &order.acceptance_commands[0];
    assert_eq!(
        (command.argv[1].as_str(), command.stdin.as_deref()),
        (" x\n", Some(" y\n"))
    );
}

#[test]
fn orders_find_each_other_when_the_bootstrap_is_left_out() {
    let mut boot = order(1, &[], "scripts/verify.sh");
    boot["kind"] = json!("bootstrap");
    let orders = [
        boot,
        order(2, &["WO-01"], "a.py"),
        order(3, &["WO-01", "WO-02"], "a.py"),
    ];
    let files = Files::from(["scripts/verify.sh".to_owned()]);
    let (plan, _) = compile(&json!({ "work_orders": orders }), &files, &Bounds::default()).expect("a plan");
    let named: Vec<_> = plan
        .orders
        .iter()
        .map(|planned| {
            (
                planned.order.id.as_str(),
                planned.order.depends_on.clone().unwrap_or_default(),
            )
        })
        .collect();
    assert_eq!(named, [("WO-01", vec![]), ("WO-02", vec!["WO-01".to_owned()])]);
}

#[test]
fn an_order_is_excused_by_what_comes_before_it_not_by_what_is_listed_before_it() {
    let contract = json!({"requires": [{"kind": "file_exists", "path": "a.py"}]});
    let orders = [
        order(1, &[], "a.py"),
        order(2, &[], "b.py"),
        order(3, &["WO-01"], "c.py"),
    ];
    assert_eq!(
        exemptions(&orders, Some(&contract), &Files::new()),
        [false, true, false]
    );
}

#[test]
fn a_large_chain_of_orders_that_take_and_make_the_same_files_is_checked_at_once() {
    let id = |number: usize| format!("WO-{number:02}");
    let paths: Vec<_> = (0..100).map(|index| format!("p{index}")).collect();
    let exist: Vec<_> = (paths.iter().map(|path| json!({"kind": "file_exists", "path": path}))).collect();
    let orders: Vec<_> = (1..=99)
        .map(|number| {
            let after = if number == 1 { vec![] } else { vec![id(number - 1)] };
            let after: Vec<_> = after.iter().map(String::as_str).collect();
            let plain = order(number, &after, &format!("o{number}"));
            match number {
                1..=30 => with(
                    plain,
                    json!({"allowed_files": [], "allowed_deletes": paths, "postconditions": []}),
                ),
                31..=63 => {
                    let files: Vec<_> = (0..500).map(|index| format!("f{number}/{index}")).collect();
                    with(plain, json!({"allowed_files": files, "postconditions": []}))
                }
                64 => with(plain, json!({"allowed_files": paths, "postconditions": exist})),
                _ => with(plain, json!({ "preconditions": exist })),
            }
        })
        .collect();
    let many = (0..20_000).map(|index| format!("base/{index}"));
    let files: Files = files().into_iter().chain(many).chain(paths.clone()).collect();
    let manifest = json!({ "work_orders": orders });
    let before = Instant::now();
    let complaints = validate(&manifest, &files, &Bounds::default());
    let took = before.elapsed();
    assert_eq!(complaints.codes(), []);
    // A debug build needs about a second, most of it for reading the orders; what was found anew for each use took minutes.
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn orders_whose_files_cannot_both_be_come_after_each_other() {
    let both = |one: &str, other: &str| codes(&[order(1, &[], one), order(2, &[], other)]);
    assert_eq!(both("n", "n/a"), one(Code::E109, "WO-02"));
    assert_eq!(both("n/a/b", "N"), one(Code::E109, "WO-02"));
    assert_eq!(both("New.txt", "new.txt"), one(Code::E109, "WO-02"));
    assert_eq!(both("n", "n-a"), []);
    let taken = codes(&[deletes(1, &[], "old.py"), order(2, &[], "old.py/a")]);
    assert!(taken.contains(&(Code::E109, json!("WO-02"))), "{taken:?}");
}

#[test]
fn what_an_order_uses_no_order_takes_away_at_the_same_time() {
    let needs = json!({"preconditions": [{"kind": "file_exists", "path": "old.py"}], "context_files": ["old.py"]});
    let uses = |number, after: &[&str]| with(order(number, after, "b.py"), needs.clone());
    assert_eq!(
        codes(&[deletes(1, &[], "old.py"), uses(2, &[])]),
        one(Code::E109, "WO-02")
    );
    assert_eq!(
        codes(&[uses(1, &[]), renames(2, &[], "old.py", "new.py")]),
        one(Code::E109, "WO-02")
    );
    assert_eq!(codes(&[uses(1, &[]), deletes(2, &["WO-01"], "old.py")]), []);
}

#[test]
fn a_file_is_made_only_where_one_can_be() {
    let files = ["d/x", "kept.txt", "tests/run.py"].map(str::to_owned).into();
    let codes = |orders: &[Value]| {
        let complaints = validate(&json!({ "work_orders": orders }), &files, &Bounds::default());
        complaints.codes()
    };
    for path in ["d", "kept.txt/x", "kept.txt/x/y", "Kept.txt", "D"] {
        assert_eq!(codes(&[order(1, &[], path)]), [Code::E110], "{path}");
    }
    for path in ["d/y", "kept.txt", "kept.txt.x", "d-/x"] {
        assert_eq!(codes(&[order(1, &[], path)]), [], "{path}");
    }
    assert_eq!(codes(&[renames(1, &[], "kept.txt", "d")]), [Code::E110]);
    for (one, other) in [("n", "n/a"), ("n/a", "n"), ("n", "N")] {
        let orders = [order(1, &[], one), order(2, &["WO-01"], other)];
        assert_eq!(codes(&orders), [Code::E110], "{one} {other}");
    }
    let moved = [deletes(1, &[], "kept.txt"), order(2, &["WO-01"], "kept.txt/x")];
    assert_eq!(codes(&moved), [], "it is gone by then");
}
