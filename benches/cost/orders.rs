//! What the orchestrator adds to a replayed work order, and the memory it holds.

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const ROUNDS: usize = 15;

pub(crate) fn print() {
    let small = measure(0);
    let large = measure(100_000);
    println!("\none replayed order, without its commands ({ROUNDS} rounds)");
    println!("  orchestrator: {:.1} ms median (target: at most 50)", small.added_ms);
    println!(
        "  with 100,000 more files in the repository: {:.1} ms, {:.2} x (target: at most 2 x)",
        large.added_ms,
        large.added_ms / small.added_ms
    );
    println!(
        "  resident: {:.1} MiB median at its peak (target: at most 40)",
        small.resident_mib
    );
}

/// Medians over some rounds.
struct Measured {
    added_ms: f64,
    resident_mib: f64,
}

/// Runs one order again and again, each time to a branch of its own and with a state of its own.
fn measure(more_files: usize) -> Measured {
    let product = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/slots");
    let scratch = tempfile::tempdir().unwrap();
    let repository = scratch.path().join("repo");
    copy(&product.join("seed"), &repository);
    for number in 0..more_files {
        let directory = repository.join(format!("more/{}", number / 100));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(number.to_string()), "x").unwrap();
    }
    commit(&repository);
    let (mut added, mut resident) = (Vec::new(), Vec::new());
    // The first round makes the export and is not counted.
    for round in 0..=ROUNDS {
        let state = scratch.path().join(format!("state-{round}"));
        let peak = scratch.path().join("peak");
        // GNU time would be one more package to install: the shell's own child accounting does not tell memory.
        let output = Command::new("python3")
            .args(["-c", MEASURE])
            .args([&peak, &crate::factory()])
            .args(["run", "--repo"])
            .arg(&repository)
            .arg("--state-dir")
            .arg(&state)
            .arg(format!("--branch=bench/{round}"))
            .arg("--provider")
            .arg(format!("replay:{}", product.join("answers").display()))
            .arg("--json")
            .arg(product.join("orders/WO-01.json"))
            .env("XDG_CACHE_HOME", scratch.path().join("cache"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let measured: Value = serde_json::from_str(&fs::read_to_string(&peak).unwrap()).unwrap();
        if round > 0 {
            added.push(measured["wall_ms"].as_f64().unwrap() - commands_ms(&state));
            resident.push(measured["peak_kib"].as_f64().unwrap() / 1024.0);
        }
    }
    Measured {
        added_ms: crate::median(added),
        resident_mib: crate::median(resident),
    }
}

/// Runs a program and writes down its wall time and the largest resident set of it and what it waited for.
const MEASURE: &str = "
import json, os, sys, time
start = time.monotonic()
pid = os.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(pid, 0)
wall = (time.monotonic() - start) * 1000
json.dump({'wall_ms': wall, 'peak_kib': usage.ru_maxrss}, open(sys.argv[1], 'w'))
sys.exit(os.waitstatus_to_exitcode(status))
";

/// The wall time of all sandboxed commands of the only run in a state directory.
fn commands_ms(state: &Path) -> f64 {
    let run = fs::read_dir(state.join("runs"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let summary: Value = serde_json::from_str(&fs::read_to_string(run.join("summary.json")).unwrap()).unwrap();
    let attempts = summary["attempts"].as_array().unwrap().iter();
    let commands = attempts.flat_map(|attempt| attempt["commands"].as_array().unwrap());
    commands.map(|command| command["wall_ms"].as_f64().unwrap()).sum()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn commit(repository: &Path) {
    for arguments in [
        &["init", "--quiet", "--initial-branch=work"][..],
        &["add", "--all"],
        &[
            "-c",
            "user.name=bench",
            "-c",
            "user.email=bench@localhost",
            "commit",
            "--quiet",
            "--message=seed",
        ],
    ] {
        let status = Command::new("git")
            .arg("-C")
            .arg(repository)
            .args(arguments)
            .status()
            .unwrap();
        assert!(status.success());
    }
}
