//! `factory gc`: what was not needed for long goes, and nothing else.

use crate::support::place::{Place, answer, names, order};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

const STATE: &str = "home/.local/state/factory";
const CACHE: &str = "home/.cache/factory";
const HOUR: Duration = Duration::from_secs(3600);

/// What `factory gc` removed, with these arguments; all of it as `[count, …]` by kind.
fn gc(place: &Place, arguments: &[&str]) -> Value {
    let document = place.call(&[&["gc", "--json"], arguments].concat()).succeeded().json();
    assert_eq!(document["schema"], 1);
    assert_eq!(document["dry_run"], arguments.contains(&"--dry-run"));
    document["removed"].clone()
}

fn counts(removed: &Value) -> [u64; 5] {
    ["trees", "candidates", "artifacts", "blobs", "asides"].map(|kind| {
        let count = removed[kind]["count"].as_u64().unwrap();
        assert_eq!(count == 0, removed[kind]["bytes"] == 0, "{removed:#}");
        count
    })
}

fn age(path: &Path, by: Duration) {
    let file = File::open(path).unwrap();
    file.set_modified(SystemTime::now() - by).unwrap();
}

/// A run that promoted (WO-01), and one that was judged and failed (WO-02).
fn promoted_and_failed() -> Place {
    let place = Place::new();
    place.run(&["order.json"]).succeeded();
    let mut failing = order();
    failing["id"] = json!("WO-02");
    place.write("failing.json", failing.to_string());
    place.write("failing/1.json", answer("x.txt", "good-bye\n"));
    let failed = place.call(&[
        "run",
        "--repo=repository",
        "--provider=replay:failing",
        "--max-attempts=1",
        "failing.json",
    ]);
    assert_eq!(failed.code, Some(1), "{failed:#?}");
    place
}

fn runs(place: &Place) -> Vec<(String, String)> {
    let status = place.call(&["status", "--json"]).succeeded().json();
    let run = |run: &Value| {
        let text = |key: &str| run[key].as_str().unwrap().to_owned();
        (text("order_id"), text("run"))
    };
    status["runs"].as_array().unwrap().iter().map(run).collect()
}

#[test]
fn what_is_young_stays_and_what_is_old_goes_except_what_a_promoted_run_recorded() {
    let place = promoted_and_failed();
    let run_of = |order: &str| runs(&place).into_iter().find(|(id, _)| id == order).unwrap().1;
    let (promoted, failed) = (run_of("WO-01"), run_of("WO-02"));
    let repository = place.snapshot("repository");

    // The control: everything was needed within a month.
    assert_eq!(counts(&gc(&place, &[])), [0; 5]);
    assert_eq!(names(&place.path(STATE).join("runs")).len(), 2);

    let kept = || {
        [
            STATE.to_owned() + "/runs",
            STATE.to_owned() + "/blobs",
            CACHE.to_owned(),
        ]
        .map(|dir| place.snapshot(&dir))
    };
    let before = kept();
    let told = gc(&place, &["--keep=0s", "--dry-run"]);
    let [trees, candidates, artifacts, blobs, asides] = counts(&told);
    // The failed run's answer, its text, which is the same, and the evidence.
    assert_eq!((candidates, artifacts, blobs, asides), (0, 1, 2, 0), "{told:#}");
    assert!(trees >= 1, "{told:#}");
    assert!(kept() == before, "a rehearsal removes nothing");

    assert_eq!(gc(&place, &["--keep=0s"]), told);
    assert_eq!(names(&place.path(STATE).join("runs")), [promoted.as_str()]);
    assert_eq!(names(&place.path(CACHE).join("trees")), [""; 0]);
    assert_eq!(counts(&gc(&place, &["--keep=0s"])), [0; 5]);
    assert!(place.snapshot("repository") == repository, "the repository was touched");

    let check = place.call(&["journal", "check", "--json"]).succeeded().json();
    assert_eq!(
        (check["removed"].clone(), check["blobs"].clone()),
        (json!(2), json!(2)),
        "{check:#}"
    );
    for (run, is_removed) in [(&failed, true), (&promoted, false)] {
        let shown = place.call(&["show", run]).succeeded().text();
        let artifacts = shown.lines().find(|line| line.contains("artifacts")).unwrap();
        assert_eq!(
            artifacts.contains("removed, as `factory gc` does"),
            is_removed,
            "{shown}"
        );
        let document = place.call(&["show", "--json", run]).succeeded().json();
        assert_eq!(document["artifacts_removed"], is_removed, "{document:#}");
    }
    // What is done is done, and what is asked again is asked for.
    let again = place.run(&["order.json"]).succeeded();
    assert!(again.text().starts_with("SKIPPED"), "{again:#?}");
    let again = place.call(&[
        "run",
        "--repo=repository",
        "--provider=replay:failing",
        "--max-attempts=1",
        "failing.json",
    ]);
    assert_eq!(again.code, Some(1), "{again:#?}");
    assert!(!again.stderr.contains("from the journal"), "{again:#?}");
    place.call(&["journal", "check"]).succeeded();
}

#[test]
fn a_blob_that_is_gone_without_having_been_removed_is_damage() {
    let place = promoted_and_failed();
    gc(&place, &["--keep=0s"]);
    place.call(&["journal", "check"]).succeeded();
    let blobs = place.path(STATE).join("blobs");
    let left = names(&blobs).into_iter().map(|name| blobs.join(name));
    let left = left.into_iter().find(|directory| !names(directory).is_empty()).unwrap();
    fs::remove_file(left.join(&names(&left)[0])).unwrap();
    place
        .call(&["journal", "check"])
        .explains(74, &["is missing", "backup"]);
}

#[test]
fn a_run_under_way_keeps_its_tree_its_candidates_and_its_records_whichever_journal_knows_it() {
    let place = Place::new();
    let provider = format!(
        "--provider=command:sh -c 'touch {}; while test ! -e {}; do sleep 0.01; done; cat {}'",
        place.word("asked"),
        place.word("go"),
        place.word("answers/1.json"),
    );
    let run = place
        .factory(&["run", "--repo=repository", &provider, "order.json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !place.path("asked").exists() {
        assert!(Instant::now() < deadline, "the model was never asked");
        std::thread::sleep(Duration::from_millis(5));
    }
    let candidates = place.path(CACHE).join("candidates");
    for directory in names(&candidates) {
        age(&candidates.join(directory), HOUR * 2);
    }
    let before = (names(&candidates), names(&place.path(CACHE).join("trees")));
    assert_eq!(counts(&gc(&place, &["--keep=0s"])), [0; 5]);
    // To another journal the run is unknown.
    assert_eq!(counts(&gc(&place, &["--keep=0s", "--state-dir=other"])), [0; 5]);
    assert_eq!((names(&candidates), names(&place.path(CACHE).join("trees"))), before);
    assert_eq!((before.0.len(), before.1.len()), (1, 2));
    place.write("go", "");
    super::Ended::of(run.wait_with_output().unwrap()).succeeded();
    // The control: nobody uses the tree any more.
    assert_eq!(counts(&gc(&place, &["--keep=0s"]))[0], 1);
    place.leaves_nothing();
}

#[test]
fn what_killed_runs_left_goes_once_it_is_old_and_files_of_others_stay() {
    let place = promoted_and_failed();
    let unknown = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let young = "01BX5ZZKBKACTAV9WEVGEMMVRZ";
    for (file, old) in [
        (format!("{STATE}/.journal.db.abc.aside"), true),
        (format!("{STATE}/.journal.db.def.aside"), false),
        (format!("{STATE}/blobs/ab/.cd.xyz.aside"), true),
        (format!("{STATE}/runs/{unknown}/kept"), true),
        (format!("{STATE}/runs/notes/.mine.aside"), false),
        (format!("{CACHE}/candidates/{unknown}/x"), true),
        (format!("{CACHE}/candidates/{young}/x"), false),
        (format!("{CACHE}/candidates/not-a-run/x"), true),
    ] {
        let path = place.write(&file, "something");
        if old {
            age(&path, HOUR * 2);
            age(path.parent().unwrap(), HOUR * 2);
        }
    }
    let told = gc(&place, &["--dry-run"]);
    assert_eq!(counts(&told), [0, 1, 0, 0, 2], "{told:#}");
    let ended = place.call(&["gc"]).succeeded();
    assert_eq!(ended.text().lines().count(), 5, "{ended:#?}");
    assert!(ended.text().contains("removed 2 unfinished files, "), "{ended:#?}");
    assert_eq!(names(&place.path(CACHE).join("candidates")), [young, "not-a-run"]);
    assert!(
        place.path(STATE).join(format!("runs/{unknown}/kept")).exists(),
        "nobody knows whose it is"
    );
    assert_eq!(counts(&gc(&place, &[])), [0; 5]);
}

#[test]
fn a_run_that_was_killed_keeps_what_it_paid_for() {
    let place = Place::new();
    // At the second attempt the provider ends whoever asks it.
    let (asked, first) = (place.word("asked"), place.word("first.json"));
    place.write("first.json", answer("x.txt", "good-bye\n"));
    let provider = format!("--provider=command:sh -c 'test ! -e {asked} || kill -9 $PPID; touch {asked}; cat {first}'");
    let killed = place.call(&["run", "--repo=repository", &provider, "order.json"]);
    assert_eq!(killed.signal, Some(9), "{killed:#?}");
    let kept = || ["runs", "blobs"].map(|dir| place.snapshot(&format!("{STATE}/{dir}")));
    let before = kept();
    let [_, candidates, artifacts, blobs, _] = counts(&gc(&place, &["--keep=0s"]));
    assert_eq!((candidates, artifacts, blobs), (0, 0, 0));
    assert!(kept() == before);
    // The control: once it is closed, nothing protects it any more.
    place.call(&["recover"]).succeeded();
    let [_, _, artifacts, blobs, _] = counts(&gc(&place, &["--keep=0s"]));
    assert_eq!((artifacts, blobs), (1, 2));
    place.run(&["order.json"]).succeeded();
    place.leaves_nothing();
}

#[test]
fn where_nothing_was_ever_kept_nothing_is_removed_or_made() {
    let place = Place::new();
    let before = place.snapshot("home");
    assert_eq!(counts(&gc(&place, &[])), [0; 5]);
    assert!(place.snapshot("home") == before);
    place
        .call(&["gc", "--keep=soon"])
        .code
        .map(|code| assert_eq!(code, 64))
        .unwrap();
}
