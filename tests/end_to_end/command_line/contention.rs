//! Many runs at once, and an operator who goes on working meanwhile: nothing is lost, nothing is done twice.

use super::{Ended, Place};
use crate::support::place::{answer, order};
use std::fs;
use std::process::{Child, Command, Stdio};

/// As many runs as somebody might start by mistake.
const MANY: usize = 10;

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn ends(runs: Vec<Child>) -> Vec<Ended> {
    let end = |run: Child| Ended::of(run.wait_with_output().unwrap());
    runs.into_iter().map(end).collect()
}

/// A provider that writes down that it was asked.
fn counted(place: &Place) -> String {
    format!(
        "--provider=command:sh -c 'echo asked >> {}; cat {}'",
        place.word("asked"),
        place.word("answers/1.json")
    )
}

fn asked(place: &Place) -> usize {
    fs::read_to_string(place.path("asked")).map_or(0, |text| text.lines().count())
}

fn is_whole(place: &Place) {
    place.git(&["fsck", "--strict", "--full"]);
    place.call(&["journal", "check"]).succeeded();
    place.leaves_nothing();
}

#[test]
fn of_many_runs_of_one_order_one_does_it_and_the_others_find_it_done() {
    let place = Place::new();
    let provider = counted(&place);
    let run = ["run", "--repo=repository", "--wait=5m", &provider, "order.json"];
    let ended = ends((0..MANY).map(|_| start(place.factory(&run))).collect());
    let count = |word: &str| ended.iter().filter(|ended| ended.text().contains(word)).count();
    assert!(ended.iter().all(|ended| ended.code == Some(0)), "{ended:#?}");
    assert_eq!((count("PASS_UNPROVEN"), count("SKIPPED")), (1, MANY - 1), "{ended:#?}");
    assert_eq!(asked(&place), 1);
    assert_eq!(place.git(&["rev-list", "--count", "work..factory/WO-01"]), "1");
    is_whole(&place);
}

#[test]
fn runs_that_do_not_wait_are_refused_and_a_wait_that_is_over_too() {
    let place = Place::new();
    let slow = format!(
        "--provider=command:sh -c 'touch {}; sleep 2; cat {}'",
        place.word("asked"),
        place.word("answers/1.json")
    );
    let first = start(place.factory(&["run", "--repo=repository", &slow, "order.json"]));
    while !place.path("asked").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let holder = format!("process {} (order WO-01)", first.id());
    place.run(&["order.json"]).explains(22, &[&holder, "--wait"]);
    place.run(&["--wait=100ms", "order.json"]).explains(22, &[&holder]);
    // Looking at what ran never waits.
    place.call(&["status"]).succeeded();
    place.call(&["journal", "check"]).succeeded();
    let waited = place.run(&["--wait=1m", "order.json"]).succeeded();
    assert!(waited.text().contains("SKIPPED"), "{waited:#?}");
    Ended::of(first.wait_with_output().unwrap()).succeeded();
    is_whole(&place);
}

#[test]
fn a_run_whose_lock_somebody_removed_is_not_taken_for_dead() {
    let place = Place::new();
    let waiting = format!(
        "--provider=command:sh -c 'touch {}; while test ! -e {}; do sleep 0.01; done; cat {}'",
        place.word("asked"),
        place.word("go"),
        place.word("answers/1.json")
    );
    let first = start(place.factory(&["run", "--repo=repository", &waiting, "order.json"]));
    while !place.path("asked").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    fs::remove_file(place.path("repository/.git/factory-lock")).unwrap();
    let process = format!("still under way in process {}", first.id());
    place.run(&["order.json"]).explains(22, &[&process]);
    place.call(&["recover"]).explains(22, &[&process]);
    place.write("go", "");
    Ended::of(first.wait_with_output().unwrap()).succeeded();
    is_whole(&place);
}

#[test]
fn many_orders_share_one_repository_one_after_the_other() {
    let place = Place::new();
    let mut runs = Vec::new();
    for number in 0..MANY {
        let (id, file) = (format!("WO-{number}"), format!("f{number}.txt"));
        let mut order = order();
        order["id"] = id.clone().into();
        order["allowed_files"] = serde_json::json!([file]);
        order["postconditions"] = serde_json::json!([]);
        order["acceptance_commands"] = serde_json::json!([format!("grep --quiet hello {file}")]);
        let path = place.write(&format!("orders/{id}.json"), order.to_string());
        place.write(&format!("answers/{id}/1.json"), answer(&file, "hello\n"));
        let mut run = place.factory(&[
            "run",
            "--repo=repository",
            "--wait=5m",
            "--provider=replay:answers",
            "--branch=factory/all",
        ]);
        run.arg(path);
        runs.push(start(run));
    }
    for ended in ends(runs) {
        ended.succeeded();
    }
    let count = MANY.to_string();
    assert_eq!(place.git(&["rev-list", "--count", "work..factory/all"]), count);
    let files = place.git(&["ls-tree", "--name-only", "factory/all"]);
    assert_eq!(
        files.lines().filter(|name| name.starts_with('f')).count(),
        MANY,
        "{files}"
    );
    is_whole(&place);
}

#[test]
fn many_repositories_share_one_journal_at_the_same_time() {
    let place = Place::new();
    let mut runs = Vec::new();
    for number in 0..MANY {
        let repository = format!("repository-{number}");
        place.git(&["clone", "--quiet", ".", &place.word(&repository)]);
        let repo = format!("--repo={repository}");
        runs.push(start(place.factory(&[
            "run",
            &repo,
            "--provider=replay:answers",
            "order.json",
        ])));
    }
    for ended in ends(runs) {
        ended.succeeded();
    }
    for number in 0..MANY {
        let repository = format!("repository-{number}");
        let count = place.git_in(&repository, &["rev-list", "--count", "origin/work..factory/WO-01"]);
        assert_eq!(count, "1", "{repository}");
        place.git_in(&repository, &["fsck", "--strict"]);
        assert!(!place.path(format!("{repository}/.git/factory-lock")).exists());
    }
    let status = place.call(&["status"]).succeeded();
    assert_eq!(status.text().matches("PASS_UNPROVEN").count(), MANY, "{status:#?}");
    is_whole(&place);
}

#[test]
fn an_operator_who_commits_collects_garbage_and_switches_loses_nothing() {
    let place = Place::new();
    place.git(&["branch", "side"]);
    let mut runs = Vec::new();
    for number in 0..4 {
        let branch = format!("--branch=factory/b{number}");
        runs.push(start(place.factory(&[
            "run",
            "--repo=repository",
            "--wait=5m",
            "--provider=replay:answers",
            &branch,
            "order.json",
        ])));
    }
    let mut commits = Vec::new();
    let mut running = true;
    while running {
        let number = commits.len();
        place.write("repository/mine.txt", format!("{number}\n"));
        place.git(&["add", "mine.txt"]);
        place.git(&["commit", "--quiet", &format!("--message=mine {number}")]);
        commits.push(place.git(&["rev-parse", "HEAD"]));
        place.write("repository/untracked.txt", format!("{number}\n"));
        match number % 3 {
            0 => drop(place.git(&["gc", "--quiet"])),
            1 => drop(place.git(&["checkout", "--quiet", "side"])),
            _ => drop(place.git(&["pack-refs", "--all"])),
        }
        place.git(&["checkout", "--quiet", "work"]);
        assert_eq!(
            fs::read_to_string(place.path("repository/mine.txt")).unwrap(),
            format!("{number}\n")
        );
        running = runs.iter_mut().any(|run| run.try_wait().unwrap().is_none());
    }
    for ended in ends(runs) {
        ended.succeeded();
    }
    for commit in &commits {
        place.git(&["merge-base", "--is-ancestor", commit, "work"]);
    }
    for number in 0..4 {
        let branch = format!("factory/b{number}");
        assert_eq!(place.git(&["show", &format!("{branch}:x.txt")]), "hello");
        assert_eq!(place.git(&["log", "-1", "--format=%s", &branch]), "WO-01: Say hello");
    }
    assert_eq!(place.git(&["status", "--porcelain"]), "?? untracked.txt");
    println!("{} commits of the operator meanwhile", commits.len());
    is_whole(&place);
}
