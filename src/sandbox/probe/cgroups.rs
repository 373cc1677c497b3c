//! Which control groups this process can make, and why not where it cannot.
//!
//! - Which ones are used is the launcher's own decision, taken over as it is. What is tried here besides is evidence.
//! - A group that is made is removed at once.
//! - It moves no process. Whether this process may move others in is decided by the group that both have in common,
//!   whose `cgroup.procs` has to be writable. Source: cgroups(7), "Cgroups v2 delegation: containment rules".

use super::{Answer, Attempt};
use crate::sandbox::cgroup::Parents;
use crate::sandbox::report::{Enforcer, LimitKind};
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

/// How control groups are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupFlavour {
    /// Version 2 alone.
    V2,
    /// Both; the controllers are mostly those of version 1.
    Hybrid,
    /// Version 1 alone.
    V1,
    /// Not mounted.
    None,
}

/// The version of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupVersion {
    /// One hierarchy for every controller.
    V2,
    /// A hierarchy for each controller.
    V1,
}

/// Where a group that keeps a limit can be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Its version.
    pub version: CgroupVersion,
    /// The directory in which a group can be made that has the limit's file.
    pub parent: PathBuf,
}

/// What control groups this process can use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cgroups {
    /// How they are mounted.
    pub flavour: CgroupFlavour,
    /// Where this process is, in each hierarchy: the controllers and the path.
    pub own: Vec<(String, String)>,
    /// Who can limit memory.
    pub memory: Option<Group>,
    /// Who can limit processes.
    pub pids: Option<Group>,
    /// Who can limit processor time.
    pub cpu: Option<Group>,
    /// A directory in which a group with `cgroup.kill` can be made.
    pub kill: Option<PathBuf>,
    /// A group of version 2 that is delegated to the caller, but whose controllers cannot be handed on while processes are
    /// in it. Source: cgroups(7), "no internal processes".
    pub occupied: Option<PathBuf>,
    /// Everything that was tried.
    pub attempts: Vec<Attempt>,
}

/// A file of a group and a value that can be written to it without harm.
type Limit = (&'static str, &'static str);

/// For memory, processes and processor time: the controller, and its file in version 2 and in version 1.
const LIMITS: [(&str, Limit, Limit); 3] = [
    (
        "memory",
        ("memory.max", "1073741824"),
        ("memory.limit_in_bytes", "1073741824"),
    ),
    ("pids", ("pids.max", "100"), ("pids.max", "100")),
    ("cpu", ("cpu.max", "max 100000"), ("cpuacct.usage", "0")),
];

/// A hierarchy: what it has, where it is mounted, and which of its groups is the root there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    /// Empty for version 2.
    controllers: Vec<String>,
    point: PathBuf,
    root: PathBuf,
}

impl Cgroups {
    /// Finds out, by making groups and removing them again.
    pub fn find() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let parents = Parents::find();
        Search::new(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup")).run(&parents)
    }

    /// The group for a limit, where there is one.
    pub fn group(&self, limit: LimitKind) -> Option<&Group> {
        match limit {
            LimitKind::Memory => self.memory.as_ref(),
            LimitKind::Pids => self.pids.as_ref(),
            LimitKind::Cpu => self.cpu.as_ref(),
            LimitKind::Wall
            | LimitKind::FileSize
            | LimitKind::Files
            | LimitKind::Disk
            | LimitKind::Inodes
            | LimitKind::Output
            | LimitKind::Silence => None,
        }
    }
}

struct Search {
    hierarchies: Vec<Hierarchy>,
    own: Vec<(String, String)>,
    attempts: Vec<Attempt>,
    occupied: Option<PathBuf>,
}

impl Search {
    fn new(mountinfo: &str, own: &str) -> Self {
        Search {
            hierarchies: hierarchies(mountinfo),
            own: own
                .lines()
                .filter_map(|line| {
                    let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                    Some((controllers.to_owned(), path.to_owned()))
                })
                .collect(),
            attempts: Vec::new(),
            occupied: None,
        }
    }

    fn run(mut self, parents: &Parents) -> Cgroups {
        let groups = LIMITS.map(|(controller, v2, v1)| {
            self.look(controller, v2, v1);
            let (enforcer, parent) = parents.place(controller)?;
            Some(Group {
                version: match enforcer {
                    Enforcer::CgroupV2 => CgroupVersion::V2,
                    _ => CgroupVersion::V1,
                },
                // Without the slash that joining nothing leaves at the end.
                parent: parent.components().collect(),
            })
        });
        let kill = self.kill();
        let has = |version_2: bool| {
            let mut hierarchies = self.hierarchies.iter();
            hierarchies.any(|one| one.controllers.is_empty() == version_2)
        };
        let [memory, pids, cpu] = groups;
        Cgroups {
            flavour: match (has(true), has(false)) {
                (true, false) => CgroupFlavour::V2,
                (true, true) => CgroupFlavour::Hybrid,
                (false, true) => CgroupFlavour::V1,
                (false, false) => CgroupFlavour::None,
            },
            memory,
            pids,
            cpu,
            kill,
            own: self.own,
            occupied: self.occupied,
            attempts: self.attempts,
        }
    }

    /// Tries in our own groups what a limit takes.
    fn look(&mut self, controller: &str, v2: Limit, v1: Limit) {
        if let Some(own) = self.own_and_above("").and_then(|all| all.into_iter().next()) {
            let may_move = self.may_move_within(controller, &own);
            // The group has no such controller: its parent does not hand it on.
            let tried = may_move.then(|| self.try_group(controller, &own, v2));
            if tried == Some(Err(Errno::ENOENT)) && is_delegated(&own, controller) {
                self.occupied = Some(own);
            }
        }
        // Version 1 counts processor time by a controller of its own.
        let name = if controller == "cpu" { "cpuacct" } else { controller };
        if let Some(own) = self.own_and_above(name).and_then(|all| all.into_iter().next()) {
            // The attempt is the evidence, whatever comes of it.
            let _ = self.try_group(controller, &own, v1);
        }
    }

    fn kill(&mut self) -> Option<PathBuf> {
        let candidates = self.own_and_above("")?;
        for parent in candidates {
            if !self.may_move_within("kill", &parent) {
                break;
            }
            // A group that nobody is in: there is nothing to be killed.
            if self.try_group("kill", &parent, ("cgroup.kill", "1")).is_ok() {
                return Some(parent);
            }
        }
        None
    }

    /// The directories of our own group and of those above it that are in view; `controller` is empty for version 2.
    fn own_and_above(&self, controller: &str) -> Option<Vec<PathBuf>> {
        let has = |names: &[String]| match controller {
            "" => names.is_empty(),
            name => names.iter().any(|other| other == name),
        };
        let hierarchy = self.hierarchies.iter().find(|one| has(&one.controllers))?;
        let (_, own) = self.own.iter().find(|(names, _)| match controller {
            "" => names.is_empty(),
            name => names.split(',').any(|other| other == name),
        })?;
        // A path above the mount's root, as after a change of namespaces, cannot be named from here.
        let below = Path::new(own).strip_prefix(&hierarchy.root).ok()?;
        if below.iter().any(|part| part == "..") {
            return None;
        }
        // Joining nothing would leave a slash at the end.
        let own = match below.as_os_str().is_empty() {
            true => hierarchy.point.clone(),
            false => hierarchy.point.join(below),
        };
        let mut directories = vec![own];
        while let Some(parent) = directories
            .last()
            .filter(|last| **last != hierarchy.point)
            .and_then(|last| last.parent())
        {
            directories.push(parent.to_owned());
        }
        Some(directories)
    }

    fn may_move_within(&mut self, id: &str, group: &Path) -> bool {
        let file = group.join("cgroup.procs");
        let answer = access(&file, AccessFlags::W_OK).map(|()| 0);
        let may = answer.is_ok();
        self.note(id, format!("access({}, W_OK)", file.display()), answer);
        may
    }

    /// Makes a group, writes a limit to it and removes it.
    fn try_group(&mut self, id: &str, parent: &Path, (file, value): Limit) -> Result<(), Errno> {
        let group = parent.join(format!("factory-probe-{}", std::process::id()));
        let made = fs::create_dir(&group).map_err(errno);
        self.note(id, format!("mkdir({})", group.display()), made.map(|()| 0));
        made?;
        let path = group.join(file);
        // Never made by us: on a file system that is no cgroup after all, it must not look like a success.
        let written = fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, value.as_bytes()))
            .map_err(errno);
        self.note(
            id,
            format!("write `{value}` to {}", path.display()),
            written.map(|()| 0),
        );
        let removed = fs::remove_dir(&group).map_err(errno);
        if removed.is_err() {
            self.note(id, format!("rmdir({})", group.display()), removed.map(|()| 0));
        }
        written
    }

    fn note(&mut self, id: &str, call: String, answer: Result<i64, Errno>) {
        let attempt = Attempt {
            id: format!("cgroup.{id}"),
            call,
            answer: Answer::from(answer),
        };
        self.attempts.push(attempt);
    }
}

/// Whether the group has the controller and the caller may hand it on to groups below.
fn is_delegated(group: &Path, controller: &str) -> bool {
    let controllers = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    controllers.split_whitespace().any(|name| name == controller)
        && access(&group.join("cgroup.subtree_control"), AccessFlags::W_OK).is_ok()
}

/// The mounts of control groups. Source: proc_pid_mountinfo(5).
fn hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, system)) = line.split_once(" - ") else {
            continue;
        };
        let mount: Vec<&str> = mount.split(' ').collect();
        let system: Vec<&str> = system.split(' ').collect();
        let (Some(root), Some(point), [kind, _, options]) = (mount.get(3), mount.get(4), system.as_slice()) else {
            continue;
        };
        let controllers = match *kind {
            "cgroup2" => Vec::new(),
            "cgroup" => options
                .split(',')
                .filter(|option| !["rw", "ro"].contains(option))
                .map(str::to_owned)
                .collect(),
            _ => continue,
        };
        found.push(Hierarchy {
            controllers,
            point: PathBuf::from(point),
            root: PathBuf::from(root),
        });
    }
    found
}

fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
        41 31 0:38 /pod /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_own_group_is_found_below_the_mount_that_shows_it() {
        let search = Search::new(HYBRID, "4:memory:/a/b\n1:cpu,cpuacct:/\n0::/pod/c\n");
        let found = |controller| search.own_and_above(controller).unwrap_or_default();
        assert_eq!(
            found("memory"),
            [
                "/sys/fs/cgroup/memory/a/b",
                "/sys/fs/cgroup/memory/a",
                "/sys/fs/cgroup/memory"
            ]
            .map(PathBuf::from)
        );
        assert_eq!(found("cpu"), [PathBuf::from("/sys/fs/cgroup/cpu,cpuacct")]);
        assert_eq!(
            found(""),
            ["/sys/fs/cgroup/unified/c", "/sys/fs/cgroup/unified"].map(PathBuf::from)
        );
        assert!(found("pids").is_empty());
    }

    #[test]
    fn a_group_that_cannot_be_named_from_here_is_not_guessed() {
        for own in ["0::/elsewhere\n", "0::/pod/../x\n", "", "0\n"] {
            assert_eq!(Search::new(HYBRID, own).own_and_above(""), None, "{own}");
        }
        assert_eq!(Search::new("", "0::/\n").own_and_above(""), None);
    }

    #[test]
    fn without_mounts_there_are_no_groups() {
        let none = Search::new("", "0::/\n").run(&Parents::default());
        assert_eq!(none.flavour, CgroupFlavour::None);
        assert_eq!((none.memory, none.pids, none.kill), (None, None, None));
    }
}
