//! Golden suites: they judge last, are seen by no one but their own commands, and are what the order means or nothing.

use super::{Ended, Place};
use crate::support::place::NEW;
use serde_json::{Value, json};
use std::fs;

/// Keeps each prompt, and answers with the first recorded answer, then the second.
const PROVIDER: &str = "n=$(ls prompts | wc -l); n=$((n + 1)); cat > prompts/$n.txt; cat answers/$n.json\n";

/// What a command of the suite writes, and what no model may see.
const EXPECTED: &str = "the-expected-value";

/// A repository whose verification fails wherever a suite is in view.
fn place() -> Place {
    let place = Place::empty();
    place.write("repository/scripts/verify.sh", "test ! -e /golden\n");
    place.git(&["add", "--all"]);
    place.git(&["commit", "--quiet", "--message=base"]);
    place.write("provider.sh", PROVIDER);
    fs::create_dir(place.path("prompts")).unwrap();
    let suite = json!({"schema_version": 1, "commands": [
        {"argv": ["sh", "/golden/api/run.sh"], "expect": {"stdout": {"equals": EXPECTED}}},
        {"argv": ["sh", "-c", "! (echo > /golden/api/run.sh) 2>/dev/null && ! touch /golden/new 2>/dev/null"]},
    ]});
    place.write("home/.config/factory/golden/api/suite.json", suite.to_string());
    // It would pass for anything with a greeting, were it not for the last line.
    let script = "cat /golden/api/data/value\ngrep --quiet --line-regexp hello x.txt\n";
    place.write("home/.config/factory/golden/api/run.sh", script);
    place.write("home/.config/factory/golden/api/data/value", format!("{EXPECTED}\n"));
    place
}

fn golden(place: &Place) -> Value {
    serde_json::from_str(&place.call(&["golden", "api"]).succeeded().text()).unwrap()
}

fn order(place: &Place, golden: &Value) {
    let order = json!({
        "schema_version": 2, "id": "WO-02", "title": "Say hello", "kind": "modify", "intent": "Write hello to x.txt.",
        "depends_on": [], "allowed_files": ["x.txt"], "golden": golden,
        "acceptance": [{ "argv": ["sh", "-c", "grep --quiet hello x.txt && test ! -e /golden"] }]
    });
    place.write("order.json", order.to_string());
}

/// Runs the order with these texts for the file, one after the other, and says how often the model was asked.
fn run(place: &Place, texts: &[&str], options: &[&str]) -> (Ended, usize) {
    for (number, text) in texts.iter().enumerate() {
        let answer = json!({ "schema_version": 2, "result": "changes", "summary": "a file", "operations": [
            { "op": "write", "path": "x.txt", "base_sha256": NEW, "content": text }
        ]});
        place.write(&format!("answers/{}.json", number + 1), answer.to_string());
    }
    let attempts = format!("--max-attempts={}", texts.len());
    let provider = "--provider=command:sh provider.sh";
    let fixed = ["run", "--json", "--repo=repository", provider, &attempts];
    let ended = place.call(&[&fixed, options, &["order.json"]].concat());
    (ended, fs::read_dir(place.path("prompts")).unwrap().count())
}

fn artifact(ended: &Ended, name: &str) -> String {
    let artifacts = ended.json()["summary"]["artifacts"].as_str().unwrap().to_owned();
    fs::read_to_string(std::path::Path::new(&artifacts).join(name)).unwrap()
}

fn rung(ended: &Ended, attempt: u32, rung: usize) -> String {
    let evidence: Value = serde_json::from_str(&artifact(ended, &format!("attempt-{attempt}/evidence.json"))).unwrap();
    evidence["rungs"][rung]["state"].as_str().unwrap().to_owned()
}

#[test]
fn a_golden_suite_judges_last_and_only_its_own_commands_see_it() {
    let place = place();
    let before = place.snapshot("home/.config");
    order(&place, &json!([golden(&place)]));
    let (ended, asked) = run(&place, &["say hello\n", "hello\n"], &[]);
    let ended = ended.succeeded();
    assert_eq!(
        (ended.json()["verdict"].as_str(), asked),
        (Some("PASS_UNPROVEN"), 2),
        "{ended:#?}"
    );
    assert_eq!([rung(&ended, 1, 2), rung(&ended, 1, 6)], ["passed", "failed"]);
    assert_eq!([rung(&ended, 2, 2), rung(&ended, 2, 6)], ["passed", "passed"]);
    let record: Value = serde_json::from_str(&artifact(&ended, "attempt-2/golden.json")).unwrap();
    assert_eq!(record["suites"], json!([golden(&place)]));
    assert_eq!(record["commands"].as_array().unwrap().len(), 2);
    // For the operator, what the suite wrote is there; the model is told that something failed.
    assert_eq!(artifact(&ended, "attempt-1/golden-0.stdout"), format!("{EXPECTED}\n"));
    for number in [1, 2] {
        let prompt = fs::read_to_string(place.path(format!("prompts/{number}.txt"))).unwrap();
        for hidden in [EXPECTED, "golden", "run.sh", "suite"] {
            // The acceptance command of this test names the directory, and the model is shown it.
            let prompt = prompt.replace("test ! -e /golden", "");
            assert!(!prompt.contains(hidden), "{hidden} in {prompt}");
        }
        assert_eq!(prompt.contains("a check failed that is not shown"), number == 2);
    }
    assert!(place.snapshot("home/.config") == before, "a suite was changed");
    let shown = place
        .call(&["show", ended.json()["run"].as_str().unwrap()])
        .succeeded()
        .text();
    assert!(
        shown.contains("golden") && shown.contains("/golden/api/run.sh"),
        "{shown}"
    );
    place.leaves_nothing();
}

#[test]
fn without_the_suite_the_same_answer_passes() {
    let place = place();
    order(&place, &json!([]));
    let (ended, asked) = run(&place, &["say hello\n"], &[]);
    let ended = ended.succeeded();
    assert_eq!((ended.json()["verdict"].as_str(), asked), (Some("PASS_UNPROVEN"), 1));
    assert_eq!(rung(&ended, 1, 6), "not_applicable");
}

#[test]
fn a_suite_that_is_not_what_the_order_means_is_refused_before_the_model_is_asked() {
    let place = place();
    let meant = golden(&place);
    let refused = |code, why: &str| {
        let (ended, asked) = place.untouched_by(|| run(&place, &["hello\n"], &[]));
        assert_eq!((ended.code, asked), (Some(code), 0), "{ended:#?}");
        let problem = ended.json()["problem"].to_string();
        assert!(problem.contains(why), "{why}: {problem}");
    };
    order(&place, &json!([{ "name": "cli", "sha256": meant["sha256"] }]));
    refused(20, "there is no golden suite `cli`");
    order(&place, &json!([meant]));
    place.write("home/.config/factory/golden/api/data/value", "another\n");
    refused(10, "has the digest");
    let missing = json!({"schema_version": 1, "commands": [{"argv": ["no-such-program"]}]});
    place.write("home/.config/factory/golden/api/suite.json", missing.to_string());
    order(&place, &json!([golden(&place)]));
    refused(20, "no-such-program");
    std::os::unix::fs::symlink("value", place.path("home/.config/factory/golden/api/data/link")).unwrap();
    refused(20, "symbolic link");
}

#[test]
fn a_suite_in_the_repository_is_refused_because_all_commands_see_it() {
    let place = place();
    order(&place, &json!([golden(&place)]));
    let (usual, inside) = (
        place.path("home/.config/factory/golden/api"),
        place.path("repository/suite"),
    );
    fs::rename(&usual, &inside).unwrap();
    std::os::unix::fs::symlink(&inside, &usual).unwrap();
    let (ended, asked) = place.untouched_by(|| run(&place, &["hello\n"], &[]));
    assert_eq!((ended.code, asked), (Some(20), 0), "{ended:#?}");
    assert!(ended.json()["problem"].to_string().contains("in view"), "{ended:#?}");
}

#[test]
fn the_rung_without_namespaces_has_no_place_for_a_suite() {
    let place = place();
    order(&place, &json!([golden(&place)]));
    let (ended, asked) = place.untouched_by(|| run(&place, &["hello\n"], &["--profile=legacy-kernel"]));
    assert_eq!((ended.code, asked), (Some(20), 0), "{ended:#?}");
    assert!(
        ended.json()["problem"].to_string().contains("golden suite"),
        "{ended:#?}"
    );
}

#[test]
fn suites_are_listed_with_what_is_wrong_with_them() {
    let place = Place::empty();
    let nothing = place.call(&["golden"]).succeeded();
    assert!(nothing.text().contains("no golden suite in"), "{nothing:#?}");
    place.write(
        "home/.config/factory/golden/api/suite.json",
        r#"{"schema_version": 1, "commands": [{"argv": ["true"]}]}"#,
    );
    let listed = place.call(&["golden"]).succeeded().text();
    let digest = golden(&place)["sha256"].as_str().unwrap().to_owned();
    assert_eq!(listed, format!("api  {digest}  1 command in 1 file\n"));
    place.write("home/.config/factory/golden/broken/suite.json", "{}");
    let broken = place.call(&["golden"]);
    assert_eq!(broken.code, Some(20), "{broken:#?}");
    assert!(broken.text().contains("broken  cannot judge"), "{broken:#?}");
    let document = place.call(&["golden", "--json"]);
    assert_eq!(document.code, Some(20));
    assert_eq!(document.json()["suites"][0]["sha256"], json!(digest));
    assert_eq!(
        document.json()["suites"][1]["problem"]["class"],
        "host",
        "{document:#?}"
    );
    let unknown = place.call(&["golden", "cli"]);
    assert_eq!(unknown.code, Some(20), "{unknown:#?}");
}
