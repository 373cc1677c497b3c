//! F: processes and the supervisor.

use crate::attack::case::Control::{Plain, Words};
use crate::attack::case::Judge::{Ends, Orphans, Outside, Secret, Status, Works};
use crate::attack::case::Severity::{Critical, High, Medium};
use crate::attack::case::{Case, act, product};
use crate::attack::{product, tune};

pub(super) const CASES: &[Case] = &[
    act(
        "F01",
        "daemonize",
        High,
        "a process in a session of its own outlives the run",
        &["daemon"],
    )
    .judged(Outside),
    act(
        "F02",
        "fork-bomb",
        High,
        "more processes at once than are allowed",
        &["forks", "300"],
    )
    .tuned(tune::few_processes)
    .alone(),
    act(
        "F03",
        "kill-supervisor",
        High,
        "a process of the host is killed by its number",
        &["kill", "{bystander}"],
    )
    .judged(Outside)
    .with_bystander(),
    act(
        "F04",
        "supervisor-mem",
        Critical,
        "the environment of the host's processes is read",
        &["others-memory"],
    )
    .judged(Secret)
    .with_bystander(),
    act(
        "F05",
        "self-exe",
        Critical,
        "the program of the first process or of the launcher is opened",
        &["self-exe"],
    ),
    act(
        "F06",
        "pid1-kill",
        Medium,
        "the parent is killed, and the outcome with it",
        &["kill-parent", "{runner}"],
    )
    .judged(Status(7)),
    act(
        "F07",
        "parent-death",
        High,
        "the launcher is killed, and its command lives on",
        &["hold"],
    )
    .judged(Orphans(9)),
    act(
        "F08",
        "zombie-storm",
        Medium,
        "hundreds of orphans have to be reaped",
        &["orphans", "300"],
    )
    .judged(Works)
    .tuned(tune::few_processes),
    act(
        "F09",
        "sigstop-self",
        Medium,
        "a payload that stops itself holds the launcher",
        &["stop-self"],
    )
    .judged(Ends(6))
    .tuned(tune::short_wall),
    act(
        "F10",
        "ignore-term",
        Medium,
        "a payload that ignores requests to end holds the launcher",
        &["ignore-term"],
    )
    .judged(Ends(6))
    .tuned(tune::short_wall),
    act(
        "F11",
        "vfork-hang",
        Medium,
        "a payload that waits for ever holds the launcher",
        &["block"],
    )
    .judged(Ends(6))
    .tuned(tune::short_wall),
    product(
        "F12",
        "exit-fake",
        High,
        "a forged result on standard output is believed",
        product::forged_result,
    ),
    product(
        "F13",
        "exit-code-range",
        Medium,
        "exit codes that look like verdicts of the sandbox",
        product::exit_codes,
    ),
    product(
        "F14",
        "signal-exit",
        Medium,
        "deaths by different signals are told apart",
        product::signal_exits,
    ),
    act(
        "F15",
        "result-pipe-close",
        Medium,
        "a payload that closes every descriptor hides its outcome",
        &["close-all", "3"],
    )
    .judged(Status(3))
    .controls(&[Words(&["kill-parent", "{runner}"]), Plain]),
    product(
        "F16",
        "concurrent-100",
        Medium,
        "many sandboxes at once mix up their answers",
        product::many_at_once,
    ),
];
