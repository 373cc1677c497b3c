//! What a killed run left, met by an operator who did something in between.

use super::{Ended, Place};
use crate::support::place::{answer, names};
use std::fs;
use std::path::Path;

/// Kills a run at the crash point of this name, and says how often the provider was asked.
fn kill_at(place: &Place, point: &str) {
    let points = points(place);
    let number = points.iter().position(|name| name == point);
    let number = number.unwrap_or_else(|| panic!("no `{point}` in {points:#?}")) + 1;
    let mut run = place.factory(&["run", "--repo=repository", &provider(place), "order.json"]);
    run.env("FACTORY_CRASH_AT", number.to_string());
    let ended = Ended::of(run.output().unwrap());
    assert_eq!(ended.signal, Some(9), "{ended:#?}");
    assert_eq!(asked(place), 1);
}

/// The crash points of a run in a place like this one.
fn points(_like: &Place) -> Vec<String> {
    let place = Place::new();
    let log = place.path("points");
    let mut run = place.factory(&["run", "--repo=repository", "--provider=replay:answers", "order.json"]);
    Ended::of(run.env("FACTORY_CRASH_LOG", &log).output().unwrap()).succeeded();
    fs::read_to_string(log).unwrap().lines().map(str::to_owned).collect()
}

/// A provider that writes down that it was asked.
fn provider(place: &Place) -> String {
    format!(
        "--provider=command:sh -c 'echo asked >> {}; cat {}'",
        place.word("asked"),
        place.word("answers/1.json")
    )
}

fn asked(place: &Place) -> usize {
    fs::read_to_string(place.path("asked")).map_or(0, |text| text.lines().count())
}

/// The run again, and that it needed no answer.
#[track_caller]
fn run_again(place: &Place, repository: &str) -> Ended {
    let repo = format!("--repo={repository}");
    let ended = place.call(&["run", &repo, &provider(place), "order.json"]);
    assert_eq!(asked(place), 1, "nothing is paid for again: {ended:#?}");
    ended
}

const ANNOUNCED: &str = "after the entry promotion.prepare (intent)";
const JUDGED: &str = "after the entry verify.finished (fact)";

#[test]
fn recover_finishes_what_had_passed_and_says_so() {
    let place = Place::new();
    assert!(
        place
            .call(&["recover"])
            .succeeded()
            .text()
            .contains("nothing to recover")
    );
    kill_at(&place, ANNOUNCED);
    assert!(place.call(&["status"]).succeeded().text().contains("open"));
    let recovered = place.call(&["recover", "--json"]).succeeded();
    let document = recovered.json();
    assert_eq!(document["recovered"][0]["outcome"], "finished", "{document}");
    assert_eq!(document["recovered"][0]["order_id"], "WO-01");
    let tip = place.git(&["rev-parse", "factory/WO-01"]);
    assert_eq!(document["recovered"][0]["commit"].as_str(), Some(tip.as_str()));
    assert_eq!(document["problems"], serde_json::json!([]));
    assert!(
        place
            .call(&["recover"])
            .succeeded()
            .text()
            .contains("nothing to recover")
    );
    assert!(run_again(&place, "repository").succeeded().text().contains("SKIPPED"));
    place.leaves_nothing();
}

#[test]
fn a_branch_that_somebody_made_meanwhile_is_left_alone() {
    let place = Place::new();
    kill_at(&place, ANNOUNCED);
    place.git(&["branch", "factory/WO-01", "work"]);
    place.git(&["checkout", "--quiet", "factory/WO-01"]);
    place.git(&["commit", "--quiet", "--allow-empty", "--message=mine"]);
    let mine = place.git(&["rev-parse", "HEAD"]);
    place.git(&["checkout", "--quiet", "work"]);
    let recovered = place.call(&["recover"]).succeeded();
    assert!(
        recovered.text().contains("somebody moved branch factory/WO-01"),
        "{recovered:#?}"
    );
    assert_eq!(place.git(&["rev-parse", "factory/WO-01"]), mine);
    assert!(place.call(&["status"]).succeeded().text().contains("FAIL"));
    // The inputs are the same on the new tip, and so is the question: the answer is known.
    run_again(&place, "repository").succeeded();
    assert_eq!(place.git(&["rev-parse", "factory/WO-01~1"]), mine);
    place.leaves_nothing();
}

#[test]
fn a_branch_that_somebody_deleted_meanwhile_is_not_brought_back_by_recovery() {
    let place = Place::new();
    place.git(&["branch", "factory/WO-01", "work"]);
    kill_at(&place, ANNOUNCED);
    place.git(&["branch", "-D", "factory/WO-01"]);
    let recovered = place.call(&["recover"]).succeeded();
    assert!(recovered.text().contains("somebody moved branch"), "{recovered:#?}");
    assert_eq!(place.git(&["branch", "--list", "factory/*"]), "");
    run_again(&place, "repository").succeeded();
    assert_eq!(place.git(&["show", "factory/WO-01:x.txt"]), "hello");
}

#[test]
fn a_commit_that_was_collected_meanwhile_is_made_again_without_asking() {
    let place = Place::new();
    kill_at(&place, ANNOUNCED);
    place.git(&["gc", "--quiet", "--prune=now"]);
    let recovered = place.call(&["recover"]).succeeded();
    assert!(recovered.text().contains("changed nothing"), "{recovered:#?}");
    run_again(&place, "repository").succeeded();
    place.git(&["fsck", "--strict", "--full"]);
    assert_eq!(place.git(&["show", "factory/WO-01:x.txt"]), "hello");
}

#[test]
fn a_repository_that_was_moved_is_found_by_the_next_run_or_named_to_recover() {
    for by_run in [true, false] {
        let place = Place::new();
        kill_at(&place, ANNOUNCED);
        fs::rename(place.path("repository"), place.path("moved")).unwrap();
        if by_run {
            let ended = run_again(&place, "moved").succeeded();
            assert!(ended.text().contains("SKIPPED"), "{ended:#?}");
        } else {
            let lost = place.call(&["recover"]);
            lost.explains(24, &["cannot be opened", "factory recover --repo", "--abandon"]);
            assert!(
                place.call(&["status"]).succeeded().text().contains("open"),
                "nothing is guessed"
            );
            let found = place.call(&["recover", "--repo=moved"]).succeeded();
            assert!(found.text().contains("it had passed"), "{found:#?}");
        }
        assert_eq!(place.git_in("moved", &["show", "factory/WO-01:x.txt"]), "hello");
        assert!(
            place
                .call(&["recover"])
                .succeeded()
                .text()
                .contains("nothing to recover")
        );
        // What the place looks at when it goes.
        fs::rename(place.path("moved"), place.path("repository")).unwrap();
    }
}

#[test]
fn a_run_whose_repository_is_gone_for_good_is_given_up_by_the_operator_only() {
    let place = Place::new();
    kill_at(&place, ANNOUNCED);
    fs::rename(place.path("repository"), place.path("kept")).unwrap();
    let run = names(&place.path("home/.local/state/factory/runs"))[0].clone();
    place.call(&["recover"]).explains(24, &[&run, "--abandon"]);
    place.call(&["recover", "--json"]).explains_in_json(24, "host", &[&run]);
    let abandon = format!("--abandon={run}");
    let given_up = place.call(&["recover", &abandon]).succeeded();
    assert!(given_up.text().contains("closed as you said"), "{given_up:#?}");
    place.call(&["recover", &abandon]).explains(64, &["is open"]);
    assert!(
        place
            .call(&["recover"])
            .succeeded()
            .text()
            .contains("nothing to recover")
    );
}

#[test]
fn a_run_that_changed_nothing_needs_no_repository_to_be_closed() {
    let place = Place::new();
    kill_at(&place, JUDGED);
    fs::rename(place.path("repository"), place.path("kept")).unwrap();
    let recovered = place.call(&["recover"]).succeeded();
    assert!(recovered.text().contains("changed nothing"), "{recovered:#?}");
    fs::rename(place.path("kept"), place.path("repository")).unwrap();
    let again = run_again(&place, "repository").succeeded();
    assert!(again.text().contains("PASS_UNPROVEN"), "{again:#?}");
    place.leaves_nothing();
}

#[test]
fn a_clone_in_the_place_of_the_repository_is_started_in_anew_without_paying() {
    let place = Place::new();
    kill_at(&place, ANNOUNCED);
    place.git(&["clone", "--quiet", "--no-local", ".", &place.word("clone")]);
    fs::rename(place.path("repository"), place.path("old")).unwrap();
    fs::rename(place.path("clone"), place.path("repository")).unwrap();
    let again = run_again(&place, "repository").succeeded();
    assert!(again.text().contains("PASS_UNPROVEN"), "{again:#?}");
    assert_eq!(place.git(&["show", "factory/WO-01:x.txt"]), "hello");
    assert_eq!(place.git_in("old", &["branch", "--list", "factory/*"]), "");
}

#[test]
fn a_journal_from_another_machine_is_not_judged_from_here() {
    let place = Place::new();
    kill_at(&place, ANNOUNCED);
    as_from_another_machine(&place.path("home/.local/state/factory"));
    let run = names(&place.path("home/.local/state/factory/runs"))[0].clone();
    for words in [
        &["recover"][..],
        &["run", "--repo=repository", "--provider=replay:answers", "order.json"],
    ] {
        place.call(words).explains(24, &["another machine", &run, "--abandon"]);
    }
    assert_eq!(place.git(&["branch", "--list", "factory/*"]), "");
    place.call(&["recover", &format!("--abandon={run}")]).succeeded();
    run_again(&place, "repository").succeeded();
    place.leaves_nothing();
}

/// Makes a journal anew in which everything is as it was but the machine and its boot.
fn as_from_another_machine(state: &Path) {
    use factory::journal::{Entry, Journal};
    let entries = Journal::open_read_only(state).unwrap().unwrap().entries().unwrap();
    for name in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        let _ = fs::remove_file(state.join(name));
    }
    let mut journal = Journal::open(state).unwrap();
    for entry in entries {
        let mut body = entry.body;
        if let Some(process) = body.get_mut("lease").map(|lease| &mut lease["process"]) {
            process["machine"] = "0123456789abcdef0123456789abcdef".into();
            process["boot"] = "00000000-0000-0000-0000-000000000000".into();
        }
        let kind: &'static str = Box::leak(entry.kind.into_boxed_str());
        let copy = Entry {
            run: entry.run,
            phase: entry.phase,
            kind,
            attempt: entry.attempt,
            body,
        };
        journal.append(&copy).unwrap();
    }
}

#[test]
fn a_run_on_an_altered_journal_is_refused_before_it_adds_to_it() {
    let place = Place::new();
    place.run(&["order.json"]).succeeded();
    let database = place.path("home/.local/state/factory/journal.db");
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection
        .execute_batch(
            "DROP TRIGGER entry_is_final; UPDATE entry SET body = json_set(body, '$.answer', 'x') WHERE kind = 'proposal.answer'",
        )
        .unwrap();
    connection.close().unwrap();
    place.write("answers/WO-02/1.json", answer("y.txt", "hello\n"));
    let mut order = crate::support::place::order();
    order["id"] = "WO-02".into();
    order["allowed_files"] = serde_json::json!(["y.txt"]);
    order["postconditions"] = serde_json::json!([]);
    order["acceptance_commands"] = serde_json::json!(["grep --quiet hello y.txt"]);
    place.write("second.json", order.to_string());
    for words in [
        &["journal", "check"][..],
        &["journal", "export"],
        &["status"],
        &["run", "--repo=repository", "--provider=replay:answers", "second.json"],
    ] {
        place.untouched_by(|| place.call(words).explains(74, &["damaged at entry", "backup"]));
    }
}

#[test]
fn a_lock_of_ours_is_cleared_away_and_one_of_others_is_reported() {
    let place = Place::new();
    kill_at(&place, ANNOUNCED);
    let lock = place.path("repository/.git/refs/heads/factory/WO-01.lock");
    fs::create_dir_all(lock.parent().unwrap()).unwrap();
    // As libgit2 leaves it between creating and writing it.
    fs::write(&lock, "").unwrap();
    let recovered = place.call(&["recover"]).succeeded();
    assert!(recovered.text().contains("it had passed"), "{recovered:#?}");
    assert!(!lock.exists());

    let place = Place::new();
    kill_at(&place, ANNOUNCED);
    let lock = place.path("repository/.git/refs/heads/factory/WO-01.lock");
    fs::create_dir_all(lock.parent().unwrap()).unwrap();
    let theirs = format!("{}\n", place.git(&["rev-parse", "work"]));
    fs::write(&lock, &theirs).unwrap();
    for words in [
        &["recover"][..],
        &["run", "--repo=repository", "--provider=replay:answers", "order.json"],
    ] {
        place.call(words).explains(23, &["is locked by", "remove"]);
        assert_eq!(fs::read_to_string(&lock).unwrap(), theirs);
    }
    fs::remove_file(&lock).unwrap();
    place.call(&["recover"]).succeeded();
    place.leaves_nothing();
}

#[test]
fn an_order_that_crashes_three_times_is_set_aside_until_it_is_released() {
    let place = Place::new();
    for _ in 0..3 {
        let mut run = place.factory(&["run", "--repo=repository", "--provider=replay:answers", "order.json"]);
        let ended = Ended::of(run.env("FACTORY_CRASH_AT", "12").output().unwrap());
        assert_eq!(ended.signal, Some(9), "{ended:#?}");
    }
    let refused = place.run(&["order.json"]);
    refused.explains(10, &["quarantine", "last 3 runs", "factory release WO-01"]);
    place.run(&["order.json"]).explains(10, &["quarantine"]);
    place.call(&["release", "WO-02"]).explains(64, &["no run of an order"]);
    place.call(&["release", "WO-01"]).succeeded();
    place.run(&["order.json"]).succeeded();
    place.leaves_nothing();
}
