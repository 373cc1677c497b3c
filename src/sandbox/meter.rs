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

/// Resident pages, pages swapped out, and the page tables for both: memory that is only read of a large reservation costs
/// nothing but page tables. Source: proc_pid_status(5).
fn resident(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(sum_of(&status, &["VmRSS:", "VmSwap:", "VmPTE:"]))
}

/// The same, but pages divided by the number of processes that share them; the plain number where that cannot be read.
/// Source: `Documentation/filesystems/proc.rst`, `smaps_rollup`.
fn proportional(pid: i32) -> Option<u64> {
    let Ok(rollup) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else {
        return resident(pid);
    };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    Some(sum_of(&rollup, &["Pss:", "SwapPss:"]) + sum_of(&status, &["VmPTE:"]))
}

/// Adds up, in bytes, the lines that start with one of the names; the kernel gives each in kibibytes.
fn sum_of(text: &str, names: &[&str]) -> u64 {
    let kibibytes = |line: &str| {
        let value = names.iter().find_map(|name| line.strip_prefix(name))?;
        value.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    };
    text.lines().filter_map(kibibytes).sum::<u64>() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_lines_count() {
        let text = "Rss:   100 kB\nPss:\t   3 kB\nPss_Anon:  50 kB\nSwapPss:  4 kB\nbroken\nPss: x kB\n";
        assert_eq!(sum_of(text, &["Pss:", "SwapPss:"]), 7 * 1024);
    }
}
