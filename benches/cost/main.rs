//! What a sandbox, a workspace and a replayed order cost, as paired ratios. `scripts/bench` runs it.
//!
//! Each pair is measured round-robin in one loop on one machine, so that a busy neighbour hits both sides alike; what is
//! printed are medians and the median of the ratios. It asserts nothing: a benchmark is no test.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has nothing to print")]

mod orders;
mod plain;
mod promotions;
mod sandboxes;
mod steady;
mod workspaces;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The program that is measured: the one that ships, which `scripts/bench` builds, else the one built beside this.
fn factory() -> PathBuf {
    std::env::var_os("FACTORY_BENCH_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_factory").into(), PathBuf::from)
}

fn main() {
    plain::door();
    // `cargo bench` passes options for the harness that this is not; a word that is no option chooses one part.
    let chosen = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let parts: [(&str, fn()); 5] = [
        ("sandboxes", sandboxes::print),
        ("steady", steady::print),
        ("workspaces", workspaces::print),
        ("promotions", promotions::print),
        ("orders", orders::print),
    ];
    for (name, print) in parts {
        if chosen.as_ref().is_none_or(|chosen| chosen == name) {
            print();
        }
    }
}

/// One side of a comparison.
struct Side<'a> {
    name: &'static str,
    act: Box<dyn FnMut() + 'a>,
    times: Vec<Duration>,
}

impl<'a> Side<'a> {
    fn new(name: &'static str, act: impl FnMut() + 'a) -> Self {
        Side {
            name,
            act: Box::new(act),
            times: Vec::new(),
        }
    }
}

/// Runs every side once a round and prints medians, with ratios to the side named `base`.
fn compare(title: &str, rounds: usize, base: &str, target: &str, mut sides: Vec<Side<'_>>) {
    // The first round warms caches and is not counted.
    for round in 0..=rounds {
        for side in &mut sides {
            let started = Instant::now();
            (side.act)();
            if round > 0 {
                side.times.push(started.elapsed());
            }
        }
    }
    println!("\n{title} ({rounds} rounds; {target})");
    println!("  {:<44} {:>12} {:>12} {:>14}", "", "median ms", "min ms", "x base");
    let base: Vec<Duration> = sides.iter().find(|side| side.name == base).unwrap().times.clone();
    for side in &sides {
        let ratios = side
            .times
            .iter()
            .zip(&base)
            .map(|(time, base)| time.as_secs_f64() / base.as_secs_f64())
            .collect();
        println!(
            "  {:<44} {:>12.3} {:>12.3} {:>14.2}",
            side.name,
            median(side.times.iter().map(milliseconds).collect()),
            side.times.iter().map(milliseconds).fold(f64::INFINITY, f64::min),
            median(ratios),
        );
    }
}

fn milliseconds(time: &Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
