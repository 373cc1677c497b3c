//! What all processes of a run use together, read from outside.
//!
//! - The kernel counts it only for control groups, which an ordinary user often has none of.
//! - Shared pages are counted once: the cheap sum of resident sets is an upper bound, and only when that is over the limit
//!   is the exact share of each process asked for.
//! - Processor time is that of living processes and of those that were waited for. What a process used whose parent ignores
//!   its end is lost with it; the limit on time from start to end bounds that.

use super::setup::Peak;
use std::fs;

/// Processes looked at in one sandbox, above which the sum is not trusted to be cheap; the process limit is far below.
const MOST: usize = 65_536;

/// Sockets that a run has for nothing: what they may hold is not counted.
const FREE_SOCKETS: u64 = 256;

/// What one socket may hold in bytes sent and not received: twice `wmem_max`, when somebody asks for it.
/// Source: socket(7), `SO_SNDBUF` and `wmem_max` (212,992).
const SOCKET_BYTES: u64 = 2 * 212_992;

/// Looks at a process and everything below it.
#[derive(Debug)]
pub(super) struct Meter {
    root: i32,
    ticks_per_second: u64,
}

impl Meter {
    pub(super) fn new(root: i32) -> Self {
        Meter {
            root,
            ticks_per_second: rustix::param::clock_ticks_per_second().max(1),
        }
    }

    /// What is used at this moment. The first process, which is ours, counts for its time but not as a process.
    pub(super) fn sample(&self) -> Peak {
        let processes = descendants(self.root);
        let uses: Vec<Use> = processes.iter().filter_map(|pid| Use::of(*pid)).collect();
        let sum = |part: fn(&Use) -> u64| uses.iter().map(part).sum::<u64>();
        Peak {
            memory_bytes: sum(|of| of.resident_bytes),
            processes: sum(|of| of.threads).saturating_sub(1),
            cpu_ms: sum(|of| of.ticks) * 1000 / self.ticks_per_second,
        }
    }

    /// What all sockets of the run's network namespace may hold together: bytes on their way are memory of the kernel and in
    /// no process's share. Only their number can be read for all kinds. Source: proc_pid_net(5), `sockstat`.
    pub(super) fn socket_bytes(&self) -> u64 {
        let statistics = fs::read_to_string(format!("/proc/{}/net/sockstat", self.root)).unwrap_or_default();
        sockets(&statistics).saturating_sub(FREE_SOCKETS) * SOCKET_BYTES
    }

    /// Whether more than `limit` bytes are held when shared pages are counted once.
    pub(super) fn exceeds(&self, limit: u64) -> bool {
        let processes = descendants(self.root);
        processes.iter().filter_map(|pid| proportional(*pid)).sum::<u64>() > limit
    }
}

/// What one process uses.
struct Use {
    resident_bytes: u64,
    threads: u64,
    /// User and system time, with that of the children it waited for, in clock ticks.
    ticks: u64,
}

impl Use {
    /// Source: proc_pid_stat(5).
    fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Use {
            resident_bytes: resident(pid).unwrap_or(0),
            threads: field(&stat, 20)?,
            ticks: field(&stat, 14)? + field(&stat, 15)? + field(&stat, 16)? + field(&stat, 17)?,
        })
    }
}

/// The number of sockets in use.
fn sockets(statistics: &str) -> u64 {
    let used = statistics.lines().find_map(|line| line.strip_prefix("sockets: used "));
    used.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// A field of `stat` by its number in the manual. The name of the program, the second, may hold anything but is the only
/// one in parentheses.
fn field(stat: &str, number: usize) -> Option<u64> {
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_ascii_whitespace().nth(number - 3)?.parse().ok()
}

/// The parent of a process. Source: proc_pid_stat(5).
pub(super) fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    field(&stat, 4).and_then(|parent| i32::try_from(parent).ok())
}

/// The process and everything below it. Orphans hang below the first process of their namespace.
/// Source: proc_pid_task(5), `children`.
pub(super) fn descendants(root: i32) -> Vec<i32> {
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

    #[test]
    fn sockets_of_every_kind_are_counted_together() {
        assert_eq!(
            sockets("sockets: used 812\nTCP: inuse 3 orphan 0 tw 0 alloc 3 mem 0\n"),
            812
        );
        assert_eq!(sockets(""), 0);
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_moves_no_field() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 11 22 33 44 20 0 5 0 100 1000 200\n";
        assert_eq!(
            [14, 15, 16, 17, 20].map(|number| field(stat, number)),
            [Some(11), Some(22), Some(33), Some(44), Some(5)]
        );
    }
}
