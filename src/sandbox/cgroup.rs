//! Control groups for what processes share: memory, their number, processor time.
//!
//! - The ladder: a delegated directory of version 2; version 1 as root, also on hybrid hosts; nothing.
//! - The helper makes the groups of a slot and removes them; a slot sets limits, attaches runs and reads counters by
//!   descriptors that it inherits, since its own view has no control groups.
//! - What cannot be had is no error here: the sampler takes over, and the report says so.
//!
//! Source: `Documentation/admin-guide/cgroup-v2.rst`; `Documentation/admin-guide/cgroup-v1/{memory,pids,cpuacct}.rst`.

use super::policy::Limits;
use super::report::{Enforcer, Keepers};
use super::setup::{GroupCounts, LayerFailure};
use nix::errno::Errno;
use rustix::fs::{Access, AtFlags};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How the names of our groups begin; behind it come the helper's process id and a number.
const PREFIX: &str = "factory-";

/// Limits on all processes of a sandbox that a control group can keep.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// The longest that any file read here is, for a single read.
const LONGEST: usize = 4096;

/// Where groups can be made on this host, found once.
#[derive(Debug, Default)]
pub(super) struct Parents {
    /// A directory of version 2 in which groups that keep all three limits can be made.
    unified: Option<PathBuf>,
    /// For each controller of version 1, our own directory in its hierarchy.
    legacy: Vec<(&'static str, PathBuf)>,
}

impl Parents {
    /// Looks at where this process is, and whether groups can be made there. In version 2, where this depends on more than
    /// the right to write, one is made and removed to be sure.
    pub(super) fn find() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let unified = unified_directory(&own, &mounts).and_then(|own| usable_unified(&own));
        if unified.is_some() {
            return Parents {
                unified,
                legacy: Vec::new(),
            };
        }
        let legacy = CONTROLLERS
            .into_iter()
            .filter_map(|controller| Some((controller, legacy_directory(controller, &own, &mounts)?)))
            .filter(|(_, directory)| may_write(directory))
            .collect();
        let parents = Parents { unified: None, legacy };
        parents.directories().for_each(remove_abandoned);
        parents
    }

    fn directories(&self) -> impl Iterator<Item = &Path> {
        let legacy = self.legacy.iter().map(|(_, directory)| directory.as_path());
        self.unified.as_deref().into_iter().chain(legacy)
    }

    /// The directory in which a group with the controller can be made, and of which version it is.
    pub(super) fn place(&self, controller: &str) -> Option<(Enforcer, &Path)> {
        let legacy = || self.legacy.iter().find(|(name, _)| *name == controller);
        match &self.unified {
            Some(directory) => Some((Enforcer::CgroupV2, directory)),
            None => legacy().map(|(_, directory)| (Enforcer::CgroupV1, directory.as_path())),
        }
    }

    /// Who will keep which limit.
    pub(super) fn keepers(&self) -> Keepers {
        let keeper =
            |controller: &str, otherwise: Enforcer| self.place(controller).map_or(otherwise, |(enforcer, _)| enforcer);
        Keepers {
            memory: keeper("memory", Enforcer::Sampler),
            pids: keeper("pids", Enforcer::Rlimit),
            cpu: keeper("cpu", Enforcer::Sampler),
        }
    }

    /// Makes the groups of one slot. A controller whose group cannot be made is left to the sampler.
    pub(super) fn make(&self, number: u64) -> Groups {
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let mut groups = Groups::default();
        if let Some(parent) = &self.unified {
            groups.add_unified(parent.join(&name));
        }
        for (controller, parent) in &self.legacy {
            groups.add_legacy(controller, parent.join(&name));
        }
        groups
    }
}

/// The groups of one slot, empty between its runs.
#[derive(Debug, Default)]
pub(super) struct Groups {
    directories: Vec<PathBuf>,
    /// The directory that a process of version 2 is born into.
    unified: Option<File>,
    /// Where the slot moves to in version 1.
    attach: Vec<File>,
    memory: Option<Memory>,
    pids: Option<Pids>,
    cpu: Option<Cpu>,
    /// The counters when the run at hand started.
    before: GroupCounts,
}

#[derive(Debug)]
struct Memory {
    by: Enforcer,
    limit: File,
    /// Version 1 has a limit on memory and swap together, if the kernel accounts swap.
    with_swap: Option<File>,
    usage: File,
    peak: Option<File>,
    /// Whether the peak can be that of an earlier run.
    has_run: bool,
    events: File,
    set: u64,
}

#[derive(Debug)]
struct Pids {
    by: Enforcer,
    limit: File,
    events: File,
    current: File,
    set: u64,
}

#[derive(Debug)]
struct Cpu {
    by: Enforcer,
    usage: File,
}

impl Groups {
    fn add_unified(&mut self, directory: PathBuf) {
        if fs::create_dir(&directory).is_err() {
            return;
        }
        self.unified = File::open(&directory).ok();
        self.memory = Memory::open(
            &directory,
            Enforcer::CgroupV2,
            "memory.max",
            "memory.swap.max",
            "memory.events",
        );
        self.pids = Pids::open(&directory, Enforcer::CgroupV2);
        self.cpu = readable(&directory.join("cpu.stat")).map(|usage| Cpu {
            by: Enforcer::CgroupV2,
            usage,
        });
        self.directories.push(directory);
    }

    fn add_legacy(&mut self, controller: &str, directory: PathBuf) {
        if fs::create_dir(&directory).is_err() {
            return;
        }
        let by = Enforcer::CgroupV1;
        match controller {
            "memory" => {
                self.memory = Memory::open(
                    &directory,
                    by,
                    "memory.limit_in_bytes",
                    "memory.memsw.limit_in_bytes",
                    "memory.oom_control",
                );
            }
            "pids" => self.pids = Pids::open(&directory, by),
            // Counted by a controller of its own, which is mounted together with the other on most hosts.
            _ => self.cpu = readable(&directory.join("cpuacct.usage")).map(|usage| Cpu { by, usage }),
        }
        self.attach.extend(writable(&directory.join("tasks")));
        self.directories.push(directory);
    }

    /// Who keeps which limit.
    pub(super) fn keepers(&self) -> Keepers {
        Keepers {
            memory: self.memory.as_ref().map_or(Enforcer::Sampler, |memory| memory.by),
            pids: self.pids.as_ref().map_or(Enforcer::Rlimit, |pids| pids.by),
            cpu: self.cpu.as_ref().map_or(Enforcer::Sampler, |cpu| cpu.by),
        }
    }

    /// Sets the limits of the next run and notes where the counters stand.
    pub(super) fn prepare(&mut self, limits: &Limits) -> Result<(), LayerFailure> {
        if let Some(memory) = &mut self.memory {
            memory
                .set(limits.memory.0)
                .map_err(failure("limit the memory of the control group"))?;
            memory.reset_peak();
        }
        if let Some(pids) = &mut self.pids {
            // The first process of the sandbox counts too, and with version 1 the slot: both are ours.
            pids.set(limits.pids + pids.ours())
                .map_err(failure("limit the processes of the control group"))?;
        }
        self.before = GroupCounts::default();
        self.before = self.counts();
        Ok(())
    }

    /// The group of version 2 to be born into.
    pub(super) fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(AsFd::as_fd)
    }

    /// Moves this process into the groups of version 1, in which all its children are then born.
    ///
    /// `tasks`, and 0 for the writer: a thread that moves itself holds up nobody. To move a process by `cgroup.procs`, or
    /// another thread, the kernel keeps the whole system from forking, and waits 5 to 15 ms until every processor knows. A
    /// slot has one thread. In version 2 a process can be born in a group that its parent is not in.
    ///
    /// Source: Linux, `cgroup_procs_write_start`, "cgroup: Optimize single thread migration" (5.5).
    pub(super) fn join(&self) -> Result<(), LayerFailure> {
        self.attach
            .iter()
            .try_for_each(|procs| procs.write_at(b"0", 0).map(drop))
            .map_err(failure("move the slot into its control groups"))
    }

    /// Moves a process of a run without namespaces into the groups. This process stays where it is.
    pub(super) fn admit(&self, pid: i32) -> Result<(), LayerFailure> {
        let text = pid.to_string();
        self.directories
            .iter()
            .try_for_each(|directory| fs::write(directory.join("cgroup.procs"), &text))
            .map_err(failure("move the command into its control groups"))
    }

    /// Kills every process in the groups, where the kernel can. Source: `Documentation/admin-guide/cgroup-v2.rst`,
    /// `cgroup.kill`.
    pub(super) fn kill(&self) {
        for directory in &self.directories {
            // What has no such file is killed one by one.
            let _ = OpenOptions::new()
                .write(true)
                .open(directory.join("cgroup.kill"))
                .and_then(|file| file.write_at(b"1", 0));
        }
    }

    /// What was counted since [`Groups::prepare`].
    pub(super) fn counts(&self) -> GroupCounts {
        let since = |now: Option<u64>, before: Option<u64>| now.map(|now| now.saturating_sub(before.unwrap_or(0)));
        GroupCounts {
            memory_peak_bytes: self.memory.as_ref().and_then(|memory| number(memory.peak.as_ref()?)),
            oom_kills: since(
                self.memory
                    .as_ref()
                    .and_then(|memory| field(&memory.events, "oom_kill")),
                self.before.oom_kills,
            ),
            pids_refused: since(
                self.pids.as_ref().and_then(|pids| field(&pids.events, "max")),
                self.before.pids_refused,
            ),
            cpu_ms: since(self.cpu.as_ref().and_then(Cpu::milliseconds), self.before.cpu_ms),
        }
    }

    /// Bytes of memory charged at this moment.
    pub(super) fn memory(&self) -> Option<u64> {
        number(&self.memory.as_ref()?.usage)
    }

    /// Processes and threads at this moment, without ours.
    pub(super) fn processes(&self) -> Option<u64> {
        let pids = self.pids.as_ref()?;
        number(&pids.current).map(|count| count.saturating_sub(pids.ours()))
    }

    /// Removes the groups, whose processes are gone.
    pub(super) fn remove(&self) {
        for directory in &self.directories {
            // A process that is just being torn down keeps its group for a moment.
            for _ in 0..50 {
                match fs::remove_dir(directory) {
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                        std::thread::sleep(std::time::Duration::from_millis(2));
                    }
                    _ => break,
                }
            }
        }
    }
}

impl Memory {
    fn open(directory: &Path, by: Enforcer, limit: &str, with_swap: &str, events: &str) -> Option<Self> {
        let (usage, peak) = match by {
            Enforcer::CgroupV2 => ("memory.current", "memory.peak"),
            _ => ("memory.usage_in_bytes", "memory.max_usage_in_bytes"),
        };
        Some(Memory {
            by,
            limit: writable(&directory.join(limit))?,
            with_swap: writable(&directory.join(with_swap)),
            usage: readable(&directory.join(usage))?,
            // Before Linux 6.12 version 2 has none that can be reset, and before 5.19 none at all.
            peak: both(&directory.join(peak)).or_else(|| readable(&directory.join(peak))),
            has_run: false,
            events: readable(&directory.join(events))?,
            set: 0,
        })
    }

    fn set(&mut self, bytes: u64) -> io::Result<()> {
        if self.set == bytes {
            return Ok(());
        }
        let text = bytes.to_string();
        // In version 1 the limit with swap may never be below the one without: raised first, lowered last.
        let swap = match self.by {
            Enforcer::CgroupV2 => "0",
            _ => &text,
        };
        let with_swap = || {
            self.with_swap
                .as_ref()
                .map_or(Ok(()), |file| file.write_at(swap.as_bytes(), 0).map(drop))
        };
        let raised = self.limit.write_at(text.as_bytes(), 0).is_ok();
        with_swap()?;
        if !raised {
            self.limit.write_at(text.as_bytes(), 0)?;
        }
        self.set = bytes;
        Ok(())
    }

    /// Begins a new peak. One that cannot be begun anew holds for the first run; for later ones the samples have to do.
    ///
    /// Root may open the file for writing whatever its mode is, so that only the write tells.
    fn reset_peak(&mut self) {
        // Version 2 takes any text, since Linux 6.12; version 1 wants a number.
        let is_reset = |peak: &File| peak.write_at(b"0", 0).is_ok();
        let is_first = !self.has_run;
        self.peak = self.peak.take().filter(|peak| is_reset(peak) || is_first);
        self.has_run = true;
    }
}

impl Pids {
    /// Processes in the group that are not the command's.
    fn ours(&self) -> u64 {
        match self.by {
            Enforcer::CgroupV2 => 1,
            _ => 2,
        }
    }

    fn open(directory: &Path, by: Enforcer) -> Option<Self> {
        Some(Pids {
            by,
            limit: writable(&directory.join("pids.max"))?,
            events: readable(&directory.join("pids.events"))?,
            current: readable(&directory.join("pids.current"))?,
            set: 0,
        })
    }

    fn set(&mut self, most: u64) -> io::Result<()> {
        if self.set != most {
            self.limit.write_at(most.to_string().as_bytes(), 0)?;
            self.set = most;
        }
        Ok(())
    }
}

impl Cpu {
    fn milliseconds(&self) -> Option<u64> {
        match self.by {
            Enforcer::CgroupV2 => field(&self.usage, "usage_usec").map(|microseconds| microseconds / 1000),
            _ => number(&self.usage).map(|nanoseconds| nanoseconds / 1_000_000),
        }
    }
}

/// Our own directory in the hierarchy of version 2, if it is mounted.
fn unified_directory(own: &str, mounts: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    mount_of(mounts, "cgroup2", None).and_then(|mount| mount.place(path))
}

/// Our own directory in the hierarchy of version 1 that has the controller.
fn legacy_directory(controller: &str, own: &str, mounts: &str) -> Option<PathBuf> {
    let controller = if controller == "cpu" { "cpuacct" } else { controller };
    let path = own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        controllers
            .split(',')
            .any(|name| name == controller)
            .then(|| parts.next())?
    })?;
    mount_of(mounts, "cgroup", Some(controller)).and_then(|mount| mount.place(path))
}

/// A mount of a hierarchy: where, and which of its directories is shown there.
#[derive(Debug, PartialEq, Eq)]
struct Mount<'a> {
    root: &'a str,
    at: &'a str,
}

impl Mount<'_> {
    fn place(&self, path: &str) -> Option<PathBuf> {
        let below = Path::new(path).strip_prefix(self.root).ok()?;
        Some(Path::new(self.at).join(below))
    }
}

/// Source: proc_pid_mountinfo(5).
fn mount_of<'a>(mounts: &'a str, kind: &str, option: Option<&str>) -> Option<Mount<'a>> {
    mounts.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let mut back = back.split(' ');
        let right_kind = back.next()? == kind;
        let options = back.nth(1)?;
        let right_option = option.is_none_or(|option| options.split(',').any(|name| name == option));
        let mut front = front.split(' ').skip(3);
        (right_kind && right_option).then_some(Mount {
            root: front.next()?,
            at: front.next()?,
        })
    })
}

/// Our own directory, or the one above it, if groups with memory and processes can be made in it by us. Processor time is
/// counted in every group, with or without its controller, which service managers often keep to themselves.
///
/// A group that has processes cannot hand controllers to groups in it, so our own will do only when its processes were
/// moved away; a service manager that delegates a subtree usually starts us one level below its top.
fn usable_unified(own: &Path) -> Option<PathBuf> {
    [Some(own), own.parent()].into_iter().flatten().find_map(|directory| {
        remove_abandoned(directory);
        let control = directory.join("cgroup.subtree_control");
        // Those that are on already stay on; the rest may be ours to switch on. Processor time apart, because all of a line is
        // refused with any of it, and not without memory: processes in the group keep only that from being switched on, and
        // the others alone would make it a group of threads.
        if fs::write(&control, "+memory +pids").is_ok() {
            let _ = fs::write(&control, "+cpu");
        }
        let handed_on = fs::read_to_string(&control).ok()?;
        let has = |controller: &str| handed_on.split_ascii_whitespace().any(|name| name == controller);
        let whole = has("memory") && has("pids");
        // Being moved takes the right to write to the list of the common ancestor, which is this directory.
        let may_attach = writable(&directory.join("cgroup.procs")).is_some();
        (whole && may_attach && accepts_groups(directory)).then(|| directory.to_owned())
    })
}

/// Whether this process may make groups here, by its effective ids and the mount.
fn may_write(directory: &Path) -> bool {
    let (rights, flags) = (Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
    rustix::fs::accessat(rustix::fs::CWD, directory, rights, flags).is_ok()
}

/// Whether a group can be made and removed here.
fn accepts_groups(directory: &Path) -> bool {
    let trial = directory.join(format!("{PREFIX}{}-trial", std::process::id()));
    match fs::create_dir(&trial) {
        Ok(()) => fs::remove_dir(&trial).is_ok(),
        // Another thread of this process is just asking the same.
        Err(error) => error.kind() == io::ErrorKind::AlreadyExists,
    }
}

/// Removes groups whose helper is gone without having done so itself: killed, or the machine lost power.
fn remove_abandoned(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let helper = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'))
            .and_then(|(pid, _)| pid.parse::<u32>().ok());
        if helper.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // One that still has processes is not abandoned, whatever its name says.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn readable(path: &Path) -> Option<File> {
    File::open(path).ok()
}

fn writable(path: &Path) -> Option<File> {
    OpenOptions::new().write(true).open(path).ok()
}

fn both(path: &Path) -> Option<File> {
    OpenOptions::new().read(true).write(true).open(path).ok()
}

fn text(file: &File) -> Option<String> {
    let mut buffer = [0; LONGEST];
    let length = file.read_at(&mut buffer, 0).ok()?;
    String::from_utf8(buffer[..length].to_vec()).ok()
}

fn number(file: &File) -> Option<u64> {
    text(file)?.trim().parse().ok()
}

/// The number behind a name, in a file of lines of both.
fn field(file: &File, name: &str) -> Option<u64> {
    text(file)?.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        (key == name).then(|| value.trim().parse().ok())?
    })
}

fn failure(step: &'static str) -> impl Fn(io::Error) -> LayerFailure {
    move |error| LayerFailure {
        step: step.to_owned(),
        errno: error.raw_os_error().unwrap_or(Errno::EIO as i32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 23 0:26 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory
31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
32 23 0:28 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw
";

    #[test]
    fn our_own_directory_is_found_in_every_kind_of_hierarchy() {
        let own = "5:memory:/user/a\n4:cpu,cpuacct:/b\n0::/c\n";
        assert_eq!(
            legacy_directory("memory", own, HYBRID),
            Some("/sys/fs/cgroup/memory/user/a".into())
        );
        assert_eq!(
            legacy_directory("cpu", own, HYBRID),
            Some("/sys/fs/cgroup/cpu,cpuacct/b".into())
        );
        assert_eq!(legacy_directory("pids", own, HYBRID), None);
        assert_eq!(unified_directory(own, HYBRID), Some("/sys/fs/cgroup/unified/c".into()));
    }

    #[test]
    fn a_mount_that_shows_only_a_part_is_seen_from_that_part() {
        let mounts = "30 23 0:26 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let own = |path: &str| format!("5:memory:{path}\n");
        assert_eq!(
            legacy_directory("memory", &own("/docker/x/y"), mounts),
            Some("/sys/fs/cgroup/memory/y".into())
        );
        assert_eq!(legacy_directory("memory", &own("/other"), mounts), None);
    }
}
