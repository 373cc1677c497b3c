//! What the program prints: `check`, `status`, `show`, help, and how a run ends. Paths, ids, digests and times are
//! replaced by their kind.

use super::Place;
use crate::support::place::{answer, order};
use serde_json::{Value, json};

/// The text without what is different each time.
fn redacted(place: &Place, text: &str) -> String {
    // The directory of a test has a random name.
    let text = text.replace(place.word("").trim_end_matches('/'), "[PLACE]");
    let lines: Vec<_> = text.lines().map(redacted_line).collect();
    lines.join("\n")
}

fn redacted_line(line: &str) -> String {
    let is_number = |word: &str| word.parse::<f64>().is_ok();
    let mut kept = Vec::new();
    let mut words = line.split(' ').peekable();
    while let Some(word) = words.next() {
        let bare = word.trim_start_matches('(').trim_end_matches([')', ',', ':']);
        // How long something took, with its unit.
        let unit = words.next_if(|next| is_number(bare) && matches!(next.trim_end_matches(')'), "ms" | "s"));
        match unit {
            Some(unit) => kept.push(word.replace(bare, "[SPAN]") + unit.trim_start_matches(['m', 's'])),
            None if bare.is_empty() => kept.push(word.to_owned()),
            None => kept.push(word.replace(bare, &kind(bare))),
        }
    }
    kept.join(" ")
}

/// An id, a digest or a time as its kind; anything else as it is, also where it is the last part of a path.
fn kind(word: &str) -> String {
    let (before, last) = match word.rsplit_once('/') {
        Some((before, last)) => (format!("{before}/"), last),
        None => (String::new(), word),
    };
    let all = |wanted: fn(&u8) -> bool| last.bytes().all(|byte| wanted(&byte));
    let is_shaped = |separator: char, parts: &[usize]| {
        let lengths: Vec<_> = last.split(separator).map(str::len).collect();
        lengths == parts && last.chars().all(|c| c.is_ascii_digit() || c == separator)
    };
    let kind = match last.len() {
        26 if last.starts_with("01") && all(u8::is_ascii_alphanumeric) => "[RUN]",
        12 if all(u8::is_ascii_hexdigit) => "[SHORT]",
        40 if all(u8::is_ascii_hexdigit) => "[COMMIT]",
        10 if is_shaped('-', &[4, 2, 2]) => "[DATE]",
        8 if is_shaped(':', &[2, 2, 2]) => "[TIME]",
        _ => last,
    };
    before + kind
}

/// The keys of a document and of all documents in it, without the values: its form.
fn form(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), form(value))).collect(),
        Value::Array(items) => items.first().map(form).into_iter().collect(),
        Value::Null => json!(null),
        Value::Bool(_) => json!("bool"),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("text"),
    }
}

/// A place in which one run passed, one failed after two attempts, and one was blocked.
fn three_runs() -> Place {
    let place = Place::new();
    place.run(&["order.json"]).succeeded();
    let mut failing = order();
    failing["id"] = json!("WO-02");
    failing["title"] = json!("Say hello in vain");
    place.write("failing.json", failing.to_string());
    place.write("answers/1.json", answer("x.txt", "good-bye\n"));
    place.write("answers/2.json", answer("other.txt", "hello\n"));
    assert_eq!(place.run(&["--max-attempts=2", "failing.json"]).code, Some(4));
    failing["id"] = json!("WO-03");
    failing["preconditions"] = json!([{ "kind": "file_exists", "path": "absent.txt" }]);
    place.write("blocked.json", failing.to_string());
    assert_eq!(place.run(&["blocked.json"]).code, Some(10));
    place
}

fn ids(place: &Place) -> Vec<String> {
    let runs = place.call(&["status", "--json"]).succeeded().json();
    let runs = runs["runs"].as_array().unwrap().iter();
    runs.map(|run| run["run"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn help_says_what_each_subcommand_does() {
    let place = Place::empty();
    for name in [
        "",
        "plan",
        "run",
        "exec",
        "config",
        "config show",
        "check",
        "status",
        "show",
        "receipt",
        "receipt verify",
    ] {
        let arguments: Vec<_> = name.split_ascii_whitespace().chain(["--help"]).collect();
        let ended = place.call(&arguments).succeeded();
        assert_eq!(ended.stderr, "");
        let snapshot = format!("help_{}", name.replace(' ', "_"));
        insta::assert_snapshot!(snapshot.trim_end_matches('_'), ended.text());
    }
    let version = place.call(&["--version"]).succeeded().text();
    assert_eq!(version, format!("factory {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_run_that_passes_tells_its_steps_and_its_sum() {
    let place = Place::new();
    let ended = place.run(&["order.json"]).succeeded();
    insta::assert_snapshot!("run_passed_steps", redacted(&place, &ended.stderr));
    insta::assert_snapshot!("run_passed", redacted(&place, &ended.text()));
}

#[test]
fn a_run_that_fails_tells_why() {
    let place = Place::new();
    place.write("answers/1.json", answer("x.txt", "good-bye\n"));
    let ended = place.run(&["--max-attempts=1", "order.json"]);
    assert_eq!(ended.code, Some(1));
    insta::assert_snapshot!("run_failed_steps", redacted(&place, &ended.stderr));
    insta::assert_snapshot!("run_failed", redacted(&place, &ended.text()));
}

#[test]
fn the_events_of_a_run_are_those_of_the_closed_list_and_end_once() {
    let place = Place::new();
    let ended = place.run(&["--json", "order.json"]).succeeded();
    assert_eq!(ended.stderr, "");
    let events: Vec<Value> = ended
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    let expected = [
        "run.opened",
        "proposal.requested",
        "proposal.answered",
        "candidate.built",
        "command.started",
        "command.finished",
        "command.started",
        "command.finished",
        "candidate.passed",
        "promotion.committed",
        "run.completed",
    ];
    // The look at the checkout goes on beside the run, and is told when it is over.
    let (seen, names): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| *name == "checkout.seen");
    assert_eq!((seen.len(), names), (1, expected.to_vec()));
    for (event, seq) in events.iter().zip(1..) {
        assert_eq!(event["seq"], seq);
    }
    // The summary is also the one in the artifacts.
    let completed = events.last().unwrap();
    let artifacts = completed["summary"]["artifacts"].as_str().unwrap();
    let sealed = std::fs::read(format!("{artifacts}/summary.json")).unwrap();
    assert_eq!(completed["summary"], serde_json::from_slice::<Value>(&sealed).unwrap());
    insta::assert_json_snapshot!("run_completed_form", form(completed));
}

#[test]
fn status_lists_what_ran_and_why_it_ended() {
    let place = three_runs();
    let status = place.call(&["status"]).succeeded();
    insta::assert_snapshot!("status", redacted(&place, &status.text()));
    let document = place.call(&["status", "--json"]).succeeded().json();
    let verdicts: Vec<_> = document["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| &run["summary"]["verdict"])
        .collect();
    assert_eq!(verdicts, ["PASS_UNPROVEN", "FAIL", "BLOCKED"]);
    insta::assert_json_snapshot!("status_form", form(&document));
}

#[test]
fn show_says_what_ran_why_it_ended_and_where_everything_is() {
    let place = three_runs();
    for (id, name) in ids(&place).iter().zip(["passed", "failed", "blocked"]) {
        let shown = place.call(&["show", id]).succeeded();
        insta::assert_snapshot!(format!("show_{name}"), redacted(&place, &shown.text()));
        let document = place.call(&["show", "--json", id]).succeeded().json();
        assert_eq!(document["run"]["run"], id.as_str());
        let artifacts = document["run"]["artifacts"].as_str().unwrap();
        assert!(std::path::Path::new(artifacts).join("summary.json").is_file());
    }
    let failed = &ids(&place)[1];
    let document = place.call(&["show", "--json", failed]).succeeded().json();
    insta::assert_json_snapshot!("show_form", form(&document));
}

#[test]
fn show_takes_a_beginning_that_names_one_run_in_any_case() {
    let place = three_runs();
    let ids = ids(&place);
    // The time comes first and is mostly the same, so one has to write almost all of it.
    for id in &ids {
        let shown = place.call(&["show", &id[..25].to_lowercase()]).succeeded();
        assert!(shown.text().contains(id), "{shown:#?}");
    }
    let ambiguous: [&[&str]; 2] = [&["show", "01"], &["show", "01", "--json"]];
    place
        .call(ambiguous[0])
        .explains(64, &["`01` names 3 runs", "write more"]);
    place
        .call(ambiguous[1])
        .explains_in_json(64, "order", &["`01` names 3 runs"]);
    for unknown in ["7ZZZ", "01\u{1b}[2J", "../x", "%"] {
        let ended = place.call(&["show", unknown]);
        ended.explains(64, &["no run is called", "factory status"]);
        assert!(!ended.stderr.contains('\u{1b}'), "{ended:#?}");
        place
            .call(&["show", "--json", unknown])
            .explains_in_json(64, "order", &["no run is called"]);
    }
}

#[test]
fn without_a_state_directory_there_are_no_runs_and_none_is_made() {
    let place = Place::new();
    let status = place.call(&["status"]).succeeded();
    assert_eq!(
        redacted(&place, &status.text()),
        "no runs are recorded in [PLACE]/home/.local/state/factory"
    );
    let document = place.call(&["status", "--json"]).succeeded().json();
    assert_eq!(document, json!({ "schema": 1, "runs": [], "plans": [] }));
    place.call(&["show", "01"]).explains(64, &["no run is called `01`"]);
    assert!(!place.path("home/.local").exists());
    let mut homeless = place.factory(&["status"]);
    let ended = crate::support::Ended::of(homeless.env_remove("HOME").output().unwrap());
    ended.explains(20, &["HOME", "--state-dir"]);
}

#[test]
fn records_that_are_damaged_or_no_records_are_refused_and_left_alone() {
    let place = three_runs();
    let journal = "home/.local/state/factory/journal.db";
    let whole = std::fs::read(place.path(journal)).unwrap();
    let mut garbled = whole.clone();
    // A value inside an entry, found by a word that only this order has.
    let at = garbled.windows(8).position(|window| window == b"in vain\"").unwrap();
    garbled[at] = b'I';
    for (bytes, words) in [
        (&b"no database"[..], &["is not a journal of this program"][..]),
        (&whole[..whole.len() / 2], &["cannot read"]),
    ] {
        place.write(journal, bytes);
        place.call(&["status"]).explains(74, words);
        place.call(&["status", "--json"]).explains_in_json(74, "host", words);
        place.untouched_by(|| place.run(&["--branch=factory/new", "order.json"]).explains(74, &[]));
        assert_eq!(
            std::fs::read(place.path(journal)).unwrap(),
            bytes,
            "left as it was found"
        );
    }
    // What was recorded is believed only along the whole chain.
    place.write(journal, &garbled);
    place.call(&["status"]).explains(74, &["damaged at entry"]);
    place.call(&["show", "01"]).explains(74, &["damaged at entry"]);
    place.write(journal, &whole);
    place.call(&["status"]).succeeded();
}

#[test]
fn check_names_every_problem_of_every_order() {
    let place = Place::new();
    place.write("wrong.json", "{\n  \"id\": 7,\n  \"allowed_files\": [\"/etc/x\"]\n}\n");
    place.write("broken.json", "{\"id\": ");
    let files = ["order.json", "wrong.json", "nowhere.json", "broken.json"];
    let ended = place.call(&[&["check"], &files[..]].concat());
    assert_eq!(ended.code, Some(65));
    insta::assert_snapshot!("check_passed", ended.text());
    insta::assert_snapshot!("check_problems", ended.stderr);
    let document = place.call(&[&["check", "--json"], &files[..]].concat());
    assert_eq!((document.code, &*document.stderr), (Some(65), ""));
    insta::assert_json_snapshot!("check_json", document.json());

    place.call(&["check", "order.json"]).succeeded();
    place
        .call(&["check", "order.json", "nowhere.json"])
        .explains(74, &["nowhere.json"]);
}
