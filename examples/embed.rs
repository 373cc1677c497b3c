//! Embeds the sandbox in a program that has threads of its own: two sandboxes side by side, one of them shared by
//! threads that each have their own runtime.
//!
//! `cargo run --example embed` prints a line for each command and ends with 0 when all went as it should.

use factory::sandbox::{
    Command, Operator, Outcome, Policy, Report, Sandbox, SandboxError, Tree, helper_door, load_profile,
};
use std::error::Error;
use std::thread;

const THREADS: usize = 4;
const COMMANDS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    // First of all, before there is a thread: for the sandbox's helper this program is started once more, and then this
    // call never returns.
    helper_door();

    let policy = policy()?;
    let own_program = std::env::current_exe()?;
    let shared = Sandbox::start(&own_program)?;
    let other = Sandbox::start(&own_program)?;

    let lines = thread::scope(|scope| {
        let mut workers = Vec::new();
        for number in 0..THREADS {
            let (shared, policy) = (&shared, &policy);
            workers.push(scope.spawn(move || work(shared, policy, &format!("shared, thread {number}"))));
        }
        workers.push(scope.spawn(|| work(&other, &policy, "other")));
        let ended = workers
            .into_iter()
            .map(|worker| worker.join().expect("no worker panics"));
        ended.collect::<Result<Vec<_>, _>>()
    })?;
    for line in lines.into_iter().flatten() {
        println!("{line}");
    }

    // The end of one is nothing to the other.
    drop(other);
    println!(
        "{}",
        work(&shared, &policy, "shared, after the other has ended")?.join("\n")
    );
    Ok(())
}

/// The built-in profile `strict`, with less time than it gives.
fn policy() -> Result<Policy, SandboxError> {
    let mut policy = load_profile(
        "strict",
        &Operator {
            profiles: None,
            own: &[],
            search_path: "/usr/bin:/bin",
            variable: &|_| None,
        },
    )?;
    policy.limits.wall = std::time::Duration::from_secs(30);
    Ok(policy)
}

/// Runs a few commands one after another, on a runtime of the calling thread, and says what came of each.
fn work(sandbox: &Sandbox, policy: &Policy, who: &str) -> Result<Vec<String>, SandboxError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime needs a few descriptors");
    // Without layers the tree is empty; a directory of yours goes in here, and is never written to.
    let tree = Tree { layers: Vec::new() };
    (0..COMMANDS)
        .map(|number| {
            // What the one before wrote is gone.
            let script = format!("test ! -e mark && echo > mark && echo 'command {number}' && exit {number}");
            let command = Command::new(["sh", "-c", &script]);
            let report = runtime.block_on(sandbox.run(policy, &tree, &command, None))?;
            Ok(format!("{who}: {}", line(&report)))
        })
        .collect()
}

fn line(report: &Report) -> String {
    let how = match &report.outcome {
        Outcome::Exit { code } => format!("exited with {code}"),
        Outcome::Signal { signal } => format!("ended by signal {signal}"),
        Outcome::Limit { limit } => format!("ended by the limit on {}", limit.as_str()),
        Outcome::Denied { rule } => format!("refused: {rule}"),
        Outcome::Tampered { path } => format!("changed {path}"),
        Outcome::Setup { failure } => format!("not started: {failure:?}"),
    };
    let proven = match &report.receipt {
        Some(receipt) if receipt.differences().is_empty() => "the receipt holds",
        Some(_) => "the receipt does not hold",
        None => "there is no receipt",
    };
    let output = String::from_utf8_lossy(&report.stdout.head);
    format!("`{}` {how}, {proven}", output.trim_end())
}
