//! An order on which runs crash again and again, and a run that was to ask anew.

use super::Trial;
use super::scenario::{SCENARIOS, arguments};
use crate::support::Ended;

const ASKED: &str = "the model has answered, nothing is stored";
const ANSWERED: &str = "after the entry proposal.answer (fact)";

#[test]
fn an_order_that_crashed_three_times_in_a_row_waits_for_the_operator() {
    let trial = Trial::of(&SCENARIOS[0]);
    for crash in 1..=3 {
        trial.kill_at(ASKED);
        assert_eq!(trial.asked().len(), crash);
    }
    for _ in 0..2 {
        let refused = Ended::of(trial.command().output().unwrap());
        refused.explains_in_json(10, "order", &["quarantine", "factory release WO-01"]);
    }
    assert_eq!(
        (trial.asked().len(), trial.tip()),
        (3, None),
        "nothing was asked or promoted"
    );
    trial.is_settled();
    trial.place.call(&["release", "WO-01"]).succeeded();
    assert_eq!(trial.start().verdict, "PASS_UNPROVEN");
    assert_eq!(trial.asked().len(), 4);
    trial.is_settled();
}

#[test]
fn crashes_are_counted_from_the_last_run_that_ended_by_itself() {
    let trial = Trial::of(&SCENARIOS[4]);
    for _ in 0..2 {
        trial.kill_at(ASKED);
    }
    assert_eq!(trial.start().verdict, "FAIL");
    // The answers are known by now, and a run that is killed before it judges them crashed all the same.
    for _ in 0..2 {
        trial.kill_at("the ground is prepared");
    }
    assert_eq!(trial.start().verdict, "FAIL");
    trial.is_settled();
}

#[test]
fn a_run_that_was_to_ask_anew_asks_once_however_often_it_is_killed() {
    let trial = Trial::of(&SCENARIOS[1]).with(arguments(&["--fresh", "order.json"]));
    trial.kill_at(ANSWERED);
    trial.kill_at("the trees are made, the commit not");
    assert_eq!(trial.start().verdict, "PASS_UNPROVEN");
    assert_eq!(
        trial.asked().len(),
        2,
        "the second attempt's answer is no other than the first run's"
    );
    trial.is_settled();
    // The control: that one came to its end, so the next one asks, and one that is not to ask anew does not.
    for (branch, more, requests) in [("a", None, 2), ("b", Some("--fresh"), 4), ("c", None, 4)] {
        let mut arguments = arguments(&["order.json"]);
        arguments[3] = format!("--branch=factory/{branch}");
        arguments.extend(more.map(str::to_owned));
        let mut command = trial.place.factory(&[]);
        let ended = Ended::of(command.args(&arguments).output().unwrap()).succeeded();
        assert_eq!(trial.asked().len(), requests, "{ended:#?}");
    }
}
