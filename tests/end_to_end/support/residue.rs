//! What a sandbox must not leave behind, looked at after every test that has one: processes, mounts, control groups,
//! sockets and files. Keys are counted for a whole user only, so they are looked at where a test runs alone.

use super::processes::{alive, descendants};
use factory::sandbox::Sandbox;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What to look for once a sandbox and its scratch directory are gone. Looks when it is dropped.
#[derive(Debug)]
pub(super) struct Residue {
    helper: i32,
    /// A directory that is to be gone as well.
    scratch: Option<PathBuf>,
    /// Whether the helper has been killed: then its control groups are left to the next one.
    is_killed: bool,
    /// Processes of the sandbox, each with the time of its start, as they were before the helper was told to end.
    processes: Vec<(i32, u64)>,
}

impl Residue {
    /// Starts a sandbox by `start`, and knows its helper: the child that this thread has then and had not before.
    pub(super) fn of<T>(scratch: Option<&Path>, start: impl FnOnce() -> T) -> (T, Self) {
        let before = own_children();
        let started = start();
        let helper = own_children().into_iter().rfind(|pid| !before.contains(pid)).unwrap();
        let residue = Residue {
            helper,
            scratch: scratch.map(Path::to_owned),
            is_killed: false,
            processes: Vec::new(),
        };
        (started, residue)
    }

    pub(super) fn helper(&self) -> i32 {
        self.helper
    }

    /// Notes what there is, before it ends.
    pub(super) fn note(&mut self) {
        self.is_killed = !is_helper(self.helper);
        let started = |pid: i32| Some((pid, start_of(pid)?));
        self.processes = descendants(self.helper).into_iter().filter_map(started).collect();
    }

    /// What is left, a line for each.
    fn found(&self) -> Vec<String> {
        let mut found = Vec::new();
        if !self.is_killed && alive(self.helper) {
            found.push(format!("the helper {}", self.helper));
        }
        let processes = self
            .processes
            .iter()
            .filter(|(pid, start)| start_of(*pid) == Some(*start));
        found.extend(processes.map(|(pid, _)| format!("process {pid}")));
        let groups = control_groups_of(self.helper);
        found.extend(groups.iter().map(|group| format!("control group {}", group.display())));
        let Some(scratch) = &self.scratch else { return found };
        if fs::symlink_metadata(scratch).is_ok() {
            found.push(format!("files in {}", scratch.display()));
        }
        let scratch = scratch.to_str().unwrap();
        for table in ["/proc/self/mountinfo", "/proc/net/unix"] {
            let lines = fs::read_to_string(table).unwrap();
            let ours = lines.lines().filter(|line| line.contains(scratch));
            found.extend(ours.map(|line| format!("{table}: {line}")));
        }
        found
    }
}

impl Drop for Residue {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        if self.is_killed {
            // Whoever looks for a place for groups removes abandoned ones, as the next helper does.
            factory::sandbox::limit_keepers();
        }
        let patience = Instant::now() + Duration::from_secs(2);
        loop {
            let found = self.found();
            if found.is_empty() {
                return;
            }
            assert!(Instant::now() < patience, "left behind: {found:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A sandbox without a ground, looked after in the same way.
#[derive(Debug)]
pub(crate) struct Watched {
    sandbox: Sandbox,
    /// Dropped after the sandbox.
    residue: Residue,
}

impl Watched {
    pub(crate) fn start() -> Self {
        let (sandbox, residue) = Residue::of(None, || Sandbox::start(&super::program()).unwrap());
        Watched { sandbox, residue }
    }
}

impl Deref for Watched {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.residue.note();
    }
}

/// Children of the calling thread, the youngest last. Source: proc_pid_task(5).
fn own_children() -> Vec<i32> {
    let children = fs::read_to_string("/proc/thread-self/children").unwrap();
    let pids = children.split_ascii_whitespace();
    pids.map(|pid| pid.parse().unwrap()).collect()
}

/// Whether this is a helper that lives, and no zombie.
fn is_helper(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words.ends_with(b"\0sandbox-init\0"))
}

/// When a process started, in ticks: with its id, that is who it is. Source: proc_pid_stat(5), field 22.
fn start_of(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// The control groups that a helper made, in every hierarchy.
pub(crate) fn control_groups_of(helper: i32) -> Vec<PathBuf> {
    let prefix = format!("factory-{helper}-");
    let mut found = Vec::new();
    let mut pending = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            match entry.file_name().to_string_lossy().starts_with(&prefix) {
                true => found.push(entry.path()),
                false => pending.push(entry.path()),
            }
        }
    }
    found
}

#[test]
fn what_is_left_is_found() {
    let scratch = tempfile::tempdir_in("/var/tmp").unwrap();
    let (mut pretended, mut residue) = Residue::of(Some(scratch.path()), || {
        // A helper by its words, with a child.
        let words = ["-c", "sleep 30 & wait", "sh", "sandbox-init"];
        std::process::Command::new("sh").args(words).spawn().unwrap()
    });
    let patience = Instant::now() + Duration::from_secs(5);
    while descendants(residue.helper()).is_empty() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(5));
    }
    residue.note();
    let [(child, _)] = residue.processes[..] else {
        panic!("{residue:?}")
    };
    let _listener = std::os::unix::net::UnixListener::bind(scratch.path().join("socket")).unwrap();
    let found = residue.found().join("\n");
    for word in [
        format!("the helper {}", pretended.id()),
        format!("process {child}"),
        "files in".to_owned(),
        "/proc/net/unix".to_owned(),
    ] {
        assert!(found.contains(&word), "{word}: {found}");
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), nix::sys::signal::SIGKILL).unwrap();
    pretended.wait().unwrap();
    drop((_listener, scratch));
}
