//! Processes of this host, looked at from outside of every sandbox.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A word that no other process of this host has among its arguments.
pub(crate) fn unique(word: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{word}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Processes with `word` among their arguments, other than this one.
pub(crate) fn holding(word: &str) -> Vec<i32> {
    with("cmdline", |words| words.contains(word))
}

/// Processes that have exactly this variable and value in their environment, other than this one.
pub(crate) fn holding_in_environment(variable: &str) -> Vec<i32> {
    with("environ", |variables| variables.split('\0').any(|one| one == variable))
}

fn with(file: &str, wanted: impl Fn(&str) -> bool) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| *pid != std::process::id() as i32)
        .filter(|pid| {
            let text = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            wanted(&String::from_utf8_lossy(&text))
        })
        .collect()
}

/// Whether the process exists, be it as a zombie.
pub(crate) fn alive(pid: i32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap()
}

/// The parent, its parent and so on, up to this process or the host's first one.
pub(crate) fn ancestors(pid: i32) -> Vec<i32> {
    let parent = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t"))?;
        let parent = parent.parse().ok()?;
        (parent > 1 && parent != std::process::id() as i32).then_some(parent)
    };
    std::iter::successors(parent(&pid), parent).collect()
}

/// Everything below a process, without itself. Source: proc_pid_task(5), `children`.
pub(crate) fn descendants(pid: i32) -> Vec<i32> {
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() {
        let tasks = fs::read_dir(format!("/proc/{}/task", found[next]))
            .into_iter()
            .flatten();
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(children.split_ascii_whitespace().map(|pid| pid.parse::<i32>().unwrap()));
        }
        next += 1;
    }
    found.split_off(1)
}

/// Whether no process holds `word` any more within the time given.
pub(crate) fn vanishes(word: &str, within: Duration) -> bool {
    let end = Instant::now() + within;
    loop {
        if holding(word).is_empty() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
