//! `factory receipt verify`: receipts of real sandboxes, whole and tampered with.

use super::Place;
use serde_json::{Value, json};
use std::fs;

/// A place with the report of a real command in `report.json`.
fn place() -> (Place, Value) {
    let place = Place::new();
    let report = place.exec(&["--json", "--", "true"]).json();
    place.write("report.json", report.to_string());
    (place, report)
}

fn verify(place: &Place, file: &str) -> Value {
    let ended = place.call(&["receipt", "verify", "--json", file]);
    assert_eq!(ended.stderr, "", "{ended:#?}");
    let document = ended.json();
    assert_eq!(document["problem"].is_null(), ended.code == Some(0), "{ended:#?}");
    document
}

#[test]
fn the_receipt_in_a_report_holds() {
    let (place, _) = place();
    let ended = place.call(&["receipt", "verify", "report.json"]).succeeded();
    assert_eq!(
        (ended.text().as_str(), ended.stderr.as_str()),
        ("/receipt: holds\n", "")
    );
    let wanted = json!({ "place": "/receipt", "holds": true, "differences": [] });
    assert_eq!(verify(&place, "report.json")["receipts"], json!([wanted]));
}

#[test]
fn every_receipt_in_the_evidence_of_a_run_holds() {
    let place = Place::new();
    let run = place.run(&["--json", "order.json"]).succeeded().json();
    let artifacts = run["summary"]["artifacts"].as_str().unwrap().to_owned();
    let mut judged = 0;
    let mut pending = vec![std::path::PathBuf::from(artifacts)];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        if !text.contains("\"seal\"") || path.extension().is_none_or(|end| end != "json") {
            continue;
        }
        let document = verify(&place, path.to_str().unwrap());
        let receipts = document["receipts"].as_array().unwrap();
        assert!(receipts.iter().all(|receipt| receipt["holds"] == true), "{document:#}");
        judged += receipts.len();
    }
    // Two commands: `scripts/verify.sh` and the acceptance command.
    assert!(judged >= 2, "{judged} receipts in the evidence of two commands");
}

#[test]
fn a_receipt_that_was_tampered_with_does_not_hold_and_says_where() {
    let (place, report) = place();
    let changes: [(&str, Value, &str); 9] = [
        ("/enforced/no_new_privs", json!(false), "no_new_privs"),
        ("/enforced/seccomp_mode", json!(0), "system call filter"),
        ("/enforced/capabilities", json!(1 << 21), "0x200000"),
        ("/enforced/landlock_abi", json!(1), "Landlock ABI"),
        ("/enforced/namespaces", json!({}), "net"),
        ("/enforced/rlimits/nproc", json!(1_000_000), "nproc"),
        ("/enforced/refused", json!({}), "mount"),
        ("/promised/require/landlock_abi", json!(99), "Landlock ABI 99"),
        ("/enforced/mounts", json!(1), "seal"),
    ];
    for (at, value, named) in changes {
        let mut tampered = report.clone();
        *tampered["receipt"].pointer_mut(at).unwrap() = value;
        place.write("tampered.json", tampered.to_string());
        let ended = place.call(&["receipt", "verify", "tampered.json"]);
        ended.explains(21, &["`/receipt` does not hold", "factory doctor"]);
        let told = ended.text();
        assert!(told.starts_with("/receipt: does not hold\n"), "{at}: {told}");
        assert!(told.contains(named), "{at}: {told}");
        let document = verify(&place, "tampered.json");
        assert_eq!(document["receipts"][0]["holds"], false);
        // Whatever was changed, the seal does not fit either.
        let differences = document["receipts"][0]["differences"].to_string();
        assert!(differences.contains("the seal does not fit"), "{at}: {differences}");
    }
}

#[test]
fn a_receipt_with_a_field_missing_or_unknown_has_not_the_form_of_one() {
    let (place, report) = place();
    let mut cut = report.clone();
    cut["receipt"]["enforced"]
        .as_object_mut()
        .unwrap()
        .remove("seccomp_mode");
    let mut more = report.clone();
    more["receipt"]["promised"]["more"] = json!(1);
    let mut other = report.clone();
    other["receipt"] = json!("holds");
    for document in [cut, more, other] {
        place.write("odd.json", document.to_string());
        let ended = place.call(&["receipt", "verify", "odd.json"]);
        ended.explains(21, &["does not hold"]);
        assert!(ended.text().contains("has not the form of a receipt"), "{ended:#?}");
    }
}

#[test]
fn one_receipt_that_does_not_hold_among_others_decides() {
    let (place, report) = place();
    let mut tampered = report.clone();
    tampered["receipt"]["enforced"]["capabilities"] = json!(1);
    place.write(
        "many.json",
        json!([report, { "inside": [tampered] }, report]).to_string(),
    );
    let document = verify(&place, "many.json");
    let held: Vec<_> = document["receipts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|receipt| (receipt["place"].as_str().unwrap(), receipt["holds"].as_bool().unwrap()))
        .collect();
    assert_eq!(
        held,
        [
            ("/0/receipt", true),
            ("/1/inside/0/receipt", false),
            ("/2/receipt", true)
        ]
    );
    assert_eq!(document["problem"]["exit_code"], 21);
}

#[test]
fn what_has_no_receipt_to_judge_is_an_error_and_never_holds() {
    let (place, _) = place();
    place.write("empty.json", "");
    place.write("text.json", "the receipt holds");
    place.write(
        "none.json",
        json!({ "receipt": null, "outcome": { "kind": "exit" } }).to_string(),
    );
    place.write("deep.json", "[".repeat(100_000));
    place.write("binary.json", [0xff, 0xfe, 0]);
    place.write("name\u{1b}[2J.json", "{}");
    for (file, words) in [
        ("empty.json", &["it is no JSON document"][..]),
        ("text.json", &["it is no JSON document"]),
        ("deep.json", &["it is no JSON document"]),
        ("binary.json", &["it is no JSON document"]),
        ("none.json", &["there is no receipt in it", "factory exec --json"]),
        ("name\u{1b}[2J.json", &["there is no receipt in it"]),
        ("nowhere.json", &["it cannot be read", "No such file"]),
        ("home", &["it cannot be read", "directory"]),
    ] {
        let ended = place.call(&["receipt", "verify", file]);
        ended.explains(64, words);
        assert!(!ended.stderr.contains('\u{1b}'), "{ended:#?}");
        place
            .call(&["receipt", "verify", "--json", file])
            .explains_in_json(64, "order", words);
    }
    let ended = place.call(&["receipt", "verify"]);
    assert_eq!(ended.code, Some(64), "{ended:#?}");
}
