//! A sequence of orders, each of which needs the one before, run by one start after another, most of which are killed at a
//! random time.
//!
//! `FACTORY_TEST_SEED` takes the place of the seed, which is printed, and `FACTORY_TEST_KILLS` that of the number of kills.

use super::Trial;
use super::scenario::{arguments, repository};
use crate::support::place::{answer, order};
use crate::support::{Ended, Place, in_parallel};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::json;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

const ORDERS: usize = 6;
/// Orders whose first answer is rejected.
const HARD: [usize; 2] = [2, 5];

/// Answers by the title of the order and, for a second attempt, its number.
const PROVIDER: &str = "prompt=$(cat; echo .)
printf %s \"${prompt%.}\" | sha256sum | cut -c 1-64 >> asked
n=$(printf %s \"$prompt\" | sed -n 's/.*Write number \\([0-9]\\).*/\\1/p' | head -n 1)
case $prompt in *'Your attempt '*) n=$n-2 ;; esac
cat answers/$n.json
";

/// SplitMix64: numbers that look random and are the same for the same seed.
/// Source: G. L. Steele, D. Lea, C. H. Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// What happened on the way.
#[derive(Debug, Default)]
struct Tally {
    starts: usize,
    kills: usize,
    whole_groups: usize,
    quarantines: usize,
    requests: usize,
}

fn place() -> Place {
    let place = repository();
    place.write("provider.sh", PROVIDER);
    for number in 1..=ORDERS {
        let path = format!("n{number}.txt");
        let mut order = order();
        order["id"] = json!(format!("WO-{number}"));
        order["title"] = json!(format!("Write number {number}"));
        order["intent"] = json!(format!("Put {number} into a file."));
        order["allowed_files"] = json!([path]);
        order["postconditions"] = json!([{ "kind": "file_exists", "path": path }]);
        order["acceptance_commands"] = json!([format!("grep --quiet number-{number} {path}")]);
        if number > 1 {
            let before = format!("n{}.txt", number - 1);
            order["preconditions"] = json!([{ "kind": "file_exists", "path": before }]);
        }
        place.write(&format!("{number}.json"), order.to_string());
        let good = answer(&path, &format!("number-{number}\n"));
        let first = match HARD.contains(&number) {
            true => answer(&path, "something else\n"),
            false => good.clone(),
        };
        place.write(&format!("answers/{number}.json"), first);
        place.write(&format!("answers/{number}-2.json"), good);
    }
    place
}

/// Runs the sequence to its end, with so many kills on the way at most: as many for each order.
fn sequence(seed: u64, kills: usize) -> Tally {
    let mut random = Random(seed);
    let mut tally = Tally::default();
    let mut trial = Trial::new(place().copy(), Vec::new());
    // How long a start takes that nobody kills, as far as it has been seen.
    let mut typical = Duration::from_millis(300);
    for number in 1..=ORDERS {
        trial = trial.with(arguments(&[&format!("{number}.json")]));
        loop {
            tally.starts += 1;
            let (share, whole_group) = (random.below(1100), random.below(4) == 0);
            let is_to_be_killed = tally.kills < kills * number / ORDERS;
            let patience = is_to_be_killed.then(|| typical.mul_f64(share as f64 / 1000.0));
            let known = trial.known();
            let started = Instant::now();
            let ended = start(&trial, patience, whole_group);
            trial.paid_once(&known);
            assert!(
                trial.asked().len() <= known.asked.len() + 2,
                "asked more than there are attempts"
            );
            match (ended.signal, ended.code) {
                (Some(9), _) => {
                    tally.kills += 1;
                    tally.whole_groups += usize::from(whole_group);
                    trial.is_sound();
                    assert!(
                        [number - 1, number].contains(&trial.commits()),
                        "the branch is old or new"
                    );
                }
                (_, Some(0)) => {
                    typical = (typical + started.elapsed()) / 2;
                    assert_eq!(trial.commits(), number);
                    break;
                }
                (_, Some(10)) => {
                    ended.explains_in_json(10, "order", &["quarantine"]);
                    tally.quarantines += 1;
                    trial.place.call(&["release", &format!("WO-{number}")]).succeeded();
                }
                _ => panic!("{ended:#?}"),
            }
        }
    }
    tally.requests = trial.asked().len();
    ends_well(&trial, &tally);
    tally
}

/// Starts the order and kills it after that time, if one is given, by itself or with its group, unless it has ended by then.
fn start(trial: &Trial, patience: Option<Duration>, whole_group: bool) -> Ended {
    let mut command = trial.command();
    command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    if let Some(patience) = patience {
        sleep(patience);
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        // It is waited for below, so the number is still its own.
        match whole_group {
            true => killpg(pid, Signal::SIGKILL).unwrap(),
            false => kill(pid, Signal::SIGKILL).unwrap(),
        }
    }
    Ended::of(child.wait_with_output().unwrap())
}

/// Everything was promoted, in order, and once.
fn ends_well(trial: &Trial, tally: &Tally) {
    trial.is_settled();
    let log = trial.place.git(&[
        "log",
        "--reverse",
        "--format=%(trailers:key=Factory-Order,valueonly,separator=%x2C)",
        "work..factory/work",
    ]);
    let orders: Vec<_> = (1..=ORDERS).map(|number| format!("WO-{number}")).collect();
    assert_eq!(log.lines().collect::<Vec<_>>(), orders);
    for number in 1..=ORDERS {
        let content = trial.place.git(&["show", &format!("factory/work:n{number}.txt")]);
        assert_eq!(content, format!("number-{number}"));
    }
    // Each answer once, and beyond that at most one request for each kill, whose answer nobody heard.
    let answers = ORDERS + HARD.len();
    assert!((answers..=answers + tally.kills).contains(&tally.requests), "{tally:?}");
    let entries = trial.entries();
    let mut keys: Vec<_> = entries
        .iter()
        .filter(|entry| entry.kind == "proposal.answer")
        .map(|entry| entry.body["key"].to_string())
        .collect();
    keys.sort();
    assert_eq!(keys.len(), answers, "{keys:#?}");
    keys.dedup();
    assert_eq!(keys.len(), answers, "an answer is recorded twice");
}

impl Trial {
    /// Commits that the branch has beyond the operator's.
    fn commits(&self) -> usize {
        if self.tip().is_none() {
            return 0;
        }
        self.place
            .git(&["rev-list", "--count", "work..factory/work"])
            .parse()
            .unwrap()
    }
}

#[test]
fn a_sequence_of_orders_that_is_killed_at_random_is_promoted_once_and_paid_once() {
    let number = |name| {
        std::env::var(name)
            .ok()
            .map(|text: String| text.parse::<u64>().unwrap())
    };
    let seed = number("FACTORY_TEST_SEED").unwrap_or_else(|| {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap();
        now.as_secs() ^ u64::from(now.subsec_nanos())
    });
    let wanted = usize::try_from(number("FACTORY_TEST_KILLS").unwrap_or(60)).unwrap();
    println!("FACTORY_TEST_SEED={seed}");
    let mut random = Random(seed);
    let (mut total, mut sequences) = (Tally::default(), 0);
    while total.kills < wanted {
        let seeds = [random.next(), random.next()];
        let each = (wanted - total.kills).div_ceil(seeds.len());
        for tally in in_parallel(&seeds, |seed| sequence(*seed, each)) {
            sequences += 1;
            total.starts += tally.starts;
            total.kills += tally.kills;
            total.whole_groups += tally.whole_groups;
            total.quarantines += tally.quarantines;
            total.requests += tally.requests;
        }
    }
    println!("{sequences} sequences of {ORDERS} orders: {total:?}");
}
