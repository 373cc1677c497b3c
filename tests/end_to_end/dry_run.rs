//! The commands of a plan, tried on the repository before an order is paid for.

use crate::support::Place;
use serde_json::{Value, json};
use std::fs;

/// An order that makes `run.sh`, judged by one command.
fn order(command: Value) -> Value {
    json!({
        "schema_version": 2, "id": "WO-01", "title": "Make run.sh", "kind": "create", "intent": "i", "depends_on": [],
        "allowed_files": ["run.sh"], "postconditions": [{"kind": "file_exists", "path": "run.sh"}], "acceptance": [command]
    })
}

fn argv(words: &[&str]) -> Value {
    json!({ "argv": words })
}

/// A place with a plan of one order on disk.
fn planned(order: &Value) -> Place {
    let place = Place::new();
    place.write("plan/WO-01.json", order.to_string());
    place
}

const CHECK: [&str; 4] = ["check", "plan", "--repo=repository", "--dry-run"];

#[test]
fn a_command_that_is_red_for_want_of_what_the_order_makes_is_right() {
    for command in [
        argv(&["bash", "run.sh"]),
        argv(&["./run.sh"]),
        argv(&["bash", "-c", "./run.sh | grep -q hello"]),
        argv(&["bash", "-c", "set -e; test -f run.sh; . ./run.sh"]),
        json!({"argv": ["bash", "scripts/verify.sh", "x"], "expect": {"stdout": {"contains": "hello"}}}),
        json!({"argv": ["bash", "-c", "kill -SEGV $$"]}),
    ] {
        let place = planned(&order(command.clone()));
        let ended = place.untouched_by(|| place.call(&CHECK));
        assert_eq!(ended.code, Some(0), "{command}: {ended:#?}");
    }
}

#[test]
fn a_command_that_is_green_already_shows_nothing() {
    let green = argv(&["bash", "scripts/verify.sh", "x"]);
    let place = planned(&order(green.clone()));
    place.call(&CHECK[..3]).succeeded();
    place
        .call(&CHECK)
        .explains(65, &["E114 WO-01", "bash scripts/verify.sh x"]);
    // Said to be so, it is right, beside one that shows the work.
    let mut kept = green;
    kept["expect_baseline"] = json!("pass");
    let mut both = order(argv(&["bash", "run.sh"]));
    both["acceptance"].as_array_mut().unwrap().push(kept);
    planned(&both).call(&CHECK).succeeded();
    let red = json!({"argv": ["bash", "run.sh"], "expect_baseline": "pass"});
    both["acceptance"][1] = red;
    planned(&both).call(&CHECK).explains(65, &["E115 WO-01", "and fails"]);
}

#[test]
fn a_command_that_no_work_makes_right_is_a_defect_of_the_plan() {
    for (command, why) in [
        (argv(&["no-such-program", "x"]), "no program `no-such-program`"),
        (argv(&["./other.sh"]), "`./other.sh` cannot be started"),
        (argv(&["bash", "-c", "if true; then ./run.sh"]), "cannot read its text"),
        (argv(&["bash", "-c", "no-such-program x"]), "finds no program"),
        (json!({"argv": ["bash", "run.sh"], "cwd": "nowhere"}), "no directory"),
        (
            json!({"argv": ["bash", "-c", "sleep 9; ./run.sh"], "timeout": "300ms"}),
            "wall-clock time",
        ),
        (
            argv(&["python", "-c", "import no_such_module; assert no_such_module.x"]),
            "Python module",
        ),
        (argv(&["python", "-m", "no_such_module", "run.sh"]), "no_such_module"),
    ] {
        let place = planned(&order(command.clone()));
        let ended = place.call(&CHECK);
        assert_eq!(ended.code, Some(65), "{command}: {ended:#?}");
        ended.explains(65, &["E115 WO-01", why]);
    }
}

#[test]
fn what_an_order_asks_for_beyond_the_profile_is_told_to_the_planner_too() {
    for command in [
        json!({"argv": ["bash", "run.sh"], "env": {"LD_PRELOAD": "./x.so"}}),
        json!({"argv": ["bash", "run.sh"], "env": {"PATH": "."}}),
    ] {
        planned(&order(command))
            .call(&CHECK)
            .explains(65, &["E113 WO-01", "may not be set"]);
    }
    let mut greedy = order(argv(&["bash", "run.sh"]));
    greedy["resources"] = json!({"memory": "1TiB"});
    let place = planned(&greedy);
    place.call(&CHECK[..3]).succeeded();
    place
        .call(&[&CHECK[..3], &["--profile=verify"]].concat())
        .explains(65, &["E113 WO-01", "1TiB"]);
}

#[test]
fn for_a_later_order_only_what_is_wrong_in_any_case_is_wrong() {
    let mut second = order(json!({"argv": ["bash", "run.sh", "second"]}));
    second["id"] = json!("WO-02");
    second["depends_on"] = json!(["WO-01"]);
    second["allowed_files"] = json!(["other.sh"]);
    second["postconditions"] = json!([{"kind": "file_exists", "path": "other.sh"}]);
    // What the first makes has to stay as it is, which the base cannot show.
    let kept = json!({"argv": ["./run.sh"], "expect_baseline": "pass"});
    second["acceptance"].as_array_mut().unwrap().push(kept);
    let place = planned(&order(argv(&["bash", "run.sh"])));
    place.write("plan/WO-02.json", second.to_string());
    place.call(&CHECK).succeeded();
    second["acceptance"][0] = argv(&["bash", "scripts/verify.sh", "x"]);
    place.write("plan/WO-02.json", second.to_string());
    place.call(&CHECK).explains(65, &["E114 WO-02"]);
}

#[test]
fn each_command_is_told_with_its_order_and_what_it_was_expected_to_do_and_did() {
    let mut first = order(argv(&["bash", "run.sh"]));
    let kept = json!({"argv": ["test", "-e", "scripts/verify.sh"], "expect_baseline": "pass"});
    first["acceptance"].as_array_mut().unwrap().push(kept);
    let mut second = order(argv(&["bash", "scripts/verify.sh", "x"]));
    second["id"] = json!("WO-02");
    second["depends_on"] = json!(["WO-01"]);
    second["allowed_files"] = json!(["other.sh"]);
    second["postconditions"] = json!([{"kind": "file_exists", "path": "other.sh"}]);
    let more = [
        json!({"argv": ["bash", "run.sh", "y"], "expect_baseline": "pass"}),
        json!({"argv": ["bash", "-c", "test -e scripts/verify.sh"], "expect_baseline": "any"}),
        argv(&["no-such-program"]),
    ];
    second["acceptance"].as_array_mut().unwrap().extend(more);
    let place = planned(&first);
    place.write("plan/WO-02.json", second.to_string());
    let ended = place.call(&CHECK);
    assert_eq!(ended.code, Some(65), "{ended:#?}");
    insta::assert_snapshot!(ended.text(), @r"
    WO-01  Make run.sh
      before the work: expected to fail, fails: bash run.sh
      before the work: expected to succeed, succeeds: test -e scripts/verify.sh
    WO-02  Make run.sh
      after WO-01: depends
      after WO-01: runs run.sh
      before the work: expected to fail, but succeeds (E114): bash scripts/verify.sh x
      before the work: expected to succeed, fails, which the orders before it may change: bash run.sh y
      before the work: may fail or succeed, succeeds: bash -c 'test -e scripts/verify.sh'
      before the work: expected to fail, but fails for a reason that no work takes away (E115): no-such-program
    ");
    let trial = place.call(&[&CHECK[..], &["--json"]].concat()).json()["trial"].clone();
    assert_eq!(trial.as_array().unwrap().len(), 6, "{trial:#}");
    assert_eq!(
        trial[2],
        json!({
            "order": "WO-02", "command": "bash scripts/verify.sh x", "expected": "fail", "found": "green", "reason": null,
            "code": "E114"
        })
    );
    let untried = place.call(&[&CHECK[..3], &["--json"]].concat()).json();
    assert_eq!(untried["trial"], Value::Null, "nothing was tried");
}

#[test]
fn version_1_cannot_say_what_is_green_before_and_is_only_warned() {
    let first = |commands: &[&str]| {
        json!({
            "id": "WO-01", "title": "t", "intent": "i", "allowed_files": ["run.sh"], "forbidden": [], "context_files": [],
            "acceptance_commands": commands
        })
    };
    let ended = planned(&first(&["bash scripts/verify.sh x"])).call(&CHECK).succeeded();
    assert!(ended.stderr.contains("W114 WO-01"), "{ended:#?}");
    let ended = planned(&first(&["bash scripts/verify.sh x", "bash run.sh"]))
        .call(&CHECK)
        .succeeded();
    assert!(!ended.stderr.contains("W114"), "{ended:#?}");
    planned(&first(&["no-such-program"]))
        .call(&CHECK)
        .explains(65, &["E115 WO-01"]);
}

/// A provider that gives one answer after the other.
fn provider(place: &Place, answers: &[Value]) -> String {
    for (number, answer) in answers.iter().enumerate() {
        place.write(&format!("answer-{}", number + 1), answer.to_string());
    }
    let (asked, answer) = (place.word("asked"), place.word("answer"));
    format!("--provider=command:sh -c 'echo asked >> {asked}; cat {answer}-$(grep -c . {asked})'")
}

#[test]
fn the_planner_is_told_what_its_commands_did_before_anything_is_written() {
    let place = Place::new();
    place.write("spec.md", "A product.\n");
    let plan = |command| json!({ "work_orders": [order(command)] });
    let answers = [
        plan(argv(&["bash", "scripts/verify.sh", "x"])),
        plan(argv(&["no-such-program"])),
        plan(argv(&["bash", "run.sh"])),
    ];
    let provider = provider(&place, &answers);
    let fixed = ["plan", "--spec=spec.md", "--repo=repository", "--out=out", &provider];
    let ended = place.untouched_by(|| place.call(&[&fixed[..], &["--json"]].concat()).succeeded());
    let judged: Vec<Value> = ended
        .text()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["event"] == "plan.judged")
        .map(|event| event["errors"][0]["code"].clone())
        .collect();
    assert_eq!(judged, [json!("E114"), json!("E115"), Value::Null]);
    let plans = place.path("home/.local/state/factory/plans");
    let run = fs::read_dir(&plans).unwrap().next().unwrap().unwrap().path();
    let told = fs::read_to_string(run.join("attempt-2/prompt.txt")).unwrap();
    assert!(
        told.contains("- E114 WO-01: `bash scripts/verify.sh x` succeeds"),
        "{told}"
    );
    let written: Value = serde_json::from_slice(&fs::read(place.path("out/WO-01.json")).unwrap()).unwrap();
    assert_eq!(
        (&written["schema_version"], &written["kind"]),
        (&json!(2), &json!("create"))
    );
    place
        .call(&CHECK.map(|word| if word == "plan" { "out" } else { word }))
        .succeeded();
    place.leaves_nothing();
}

#[test]
fn an_operator_may_do_without_and_a_host_that_cannot_is_named_before_the_model_is_paid() {
    let place = Place::new();
    place.write("spec.md", "A product.\n");
    let provider = provider(&place, &[json!({ "work_orders": [order(argv(&["no-such-program"]))] })]);
    let fixed = ["plan", "--spec=spec.md", "--repo=repository", "--out=out", &provider];
    place
        .call(&[&fixed[..], &["--profile=absent"]].concat())
        .explains(78, &["absent"]);
    assert!(!place.path("asked").exists(), "nothing was paid");
    place.call(&[&fixed[..], &["--no-dry-run"]].concat()).succeeded();
    assert!(place.path("out/manifest.json").exists());
}
