//! Memory of all processes of a sandbox together, read from outside.
//!
//! The kernel keeps such a limit only for control groups, which an ordinary user often has none of. Shared pages are
//! counted once: the cheap sum of resident sets is an upper bound, and only when that is over the limit is the exact
//! share of each process asked for.

use std::fs;

/// Processes looked at in one sandbox, above which the sum is not trusted to be cheap; the process limit is far below.
const MOST: usize = 65_536;

/// Whether the process and its descendants hold more than `limit` bytes.
pub(super) fn exceeds(root: i32, limit: u64) -> bool {
    let processes = descendants(root);
    let sum = |measure: fn(i32) -> Option<u64>| processes.iter().filter_map(|pid| measure(*pid)).sum::<u64>();
    sum(resident) > limit && sum(proportional) > limit
}

/// The process and everything below it. Orphans hang below the first process of their namespace.
/// Source: proc_pid_task(5), `children`.
fn descendants(root: i32) -> Vec<i32> {
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() && found.len() < MOST {
        for task in fs::read_dir(format!("/proc/{}/task", found[next]))
            .into_iter()
            .flatten()
            .flatten()
        {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(
                children
                    .split_ascii_whitespace()
                    .filter_map(|pid| pid.parse::<i32>().ok()),
            );
        }
        next += 1;
    }
    found
}

/// Resident pages. Source: proc_pid_statm(5).
fn resident(pid: i32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Resident pages, each divided by the number of processes that share it; the plain number where that cannot be read.
/// Source: `Documentation/filesystems/proc.rst`, `smaps_rollup`.
fn proportional(pid: i32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok();
    let kibibytes = rollup.as_deref().and_then(|text| {
        text.lines().find_map(|line| {
            line.strip_prefix("Pss:")?
                .trim()
                .strip_suffix(" kB")?
                .trim()
                .parse::<u64>()
                .ok()
        })
    });
    kibibytes.map(|number| number * 1024).or_else(|| resident(pid))
}
