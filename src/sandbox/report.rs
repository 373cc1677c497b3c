//! What was enforced, and what happened.

use super::receipt::Receipt;
use crate::types::{RepoPath, Sha256};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// It exited by itself.
    Exit {
        /// Its exit code, 0 to 255.
        code: i32,
    },
    /// A signal that was not ours ended it.
    Signal {
        /// The number of the signal.
        signal: i32,
    },
    /// A limit of the policy ended it, or it failed after the kernel had refused it something for a limit.
    Limit {
        /// Which one.
        limit: LimitKind,
    },
    /// The policy refused the command itself, or the kernel ended it for a call that no program of this host makes.
    Denied {
        /// The rule, as a fragment that names the layer: `seccomp: a program for another architecture (i386)`.
        rule: String,
    },
    /// It changed a path of the tree that the policy protects, whatever its exit code.
    Tampered {
        /// The first such path.
        path: String,
    },
    /// It was never started.
    Setup {
        /// Why, and what to do.
        failure: SetupFailure,
    },
}

impl Outcome {
    /// Whether the command exited with code zero.
    pub fn is_success(&self) -> bool {
        matches!(self, Outcome::Exit { code: 0 })
    }
}

/// A limit on a command and all that it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Time from start to end.
    Wall,
    /// Processor time of all processes together.
    Cpu,
    /// Memory of all processes together.
    Memory,
    /// Processes and threads together.
    Pids,
    /// Size of one file.
    FileSize,
    /// Open descriptors of one process.
    Files,
    /// Bytes of all that is written to private file systems.
    Disk,
    /// Files on them.
    Inodes,
    /// Bytes kept of an output stream.
    Output,
    /// Time without output.
    Silence,
}

impl LimitKind {
    /// Every kind, in the order of reports.
    pub const ALL: [LimitKind; 10] = [
        LimitKind::Wall,
        LimitKind::Cpu,
        LimitKind::Memory,
        LimitKind::Pids,
        LimitKind::FileSize,
        LimitKind::Files,
        LimitKind::Disk,
        LimitKind::Inodes,
        LimitKind::Output,
        LimitKind::Silence,
    ];

    /// The limit as written in profiles and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            LimitKind::Wall => "wall",
            LimitKind::Cpu => "cpu",
            LimitKind::Memory => "memory",
            LimitKind::Pids => "pids",
            LimitKind::FileSize => "file_size",
            LimitKind::Files => "files",
            LimitKind::Disk => "disk",
            LimitKind::Inodes => "inodes",
            LimitKind::Output => "output",
            LimitKind::Silence => "silence",
        }
    }
}

/// Who keeps a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enforcer {
    /// A delegated group of cgroup version 2.
    CgroupV2,
    /// A group of cgroup version 1.
    CgroupV1,
    /// setrlimit(2), for one process or for one user namespace.
    Rlimit,
    /// The size of a private tmpfs.
    Tmpfs,
    /// The helper, which looks several times a second and kills.
    Sampler,
    /// The helper's clock.
    Timer,
    /// Whoever collects the output.
    Collector,
}

/// One limit of one run. Times are in milliseconds, sizes in bytes, the rest are counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitReport {
    /// Which limit.
    pub limit: LimitKind,
    /// What the policy asks for.
    pub requested: u64,
    /// Who keeps it.
    pub enforced_by: Enforcer,
    /// The most that was seen, where anybody looked.
    pub peak: Option<u64>,
    /// Whether it was reached: something was refused or ended for it. Absent where nobody can tell.
    pub hit: Option<bool>,
}

/// Why a command was never started although the sandbox itself works on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum SetupFailure {
    /// A program named without a slash is on none of the directories of `PATH` inside.
    ToolMissing {
        /// The program.
        program: String,
    },
    /// A program named by a path is not there, or cannot be executed.
    ProgramUnusable {
        /// The program.
        program: String,
        /// What `execve(2)` answered.
        reason: String,
    },
    /// The working directory is not in the tree.
    DirectoryMissing {
        /// The directory.
        directory: String,
    },
}

/// One output stream of a command: raw bytes, bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    /// The first bytes.
    pub head: Vec<u8>,
    /// The last bytes, when the stream was longer than what is kept.
    pub tail: Vec<u8>,
    /// How many bytes between the two were dropped.
    pub dropped: u64,
}

impl Captured {
    /// How many bytes the command wrote.
    pub fn total(&self) -> u64 {
        self.head.len() as u64 + self.dropped + self.tail.len() as u64
    }

    /// What was kept, with a line in place of what was dropped.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.clone();
        if self.dropped > 0 {
            bytes.extend_from_slice(format!("\n[{} bytes dropped]\n", self.dropped).as_bytes());
        }
        bytes.extend_from_slice(&self.tail);
        bytes
    }
}

/// An output stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a command used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metering {
    /// From the request to the end of the last process.
    pub wall_ms: u64,
    /// User and system time of all processes.
    pub cpu_ms: u64,
    /// The largest resident set of any one process.
    pub peak_rss_bytes: u64,
    /// The most memory that all processes held together, where anybody looked.
    pub peak_memory_bytes: u64,
    /// The most processes and threads that there were at once, where anybody looked.
    pub processes: u64,
    /// Bytes on the private file systems when the command ended.
    pub written_bytes: u64,
    /// Bytes of output, kept or not.
    pub output_bytes: u64,
}

/// What the kernel confirmed from inside the finished sandbox, before the command was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforced {
    /// Namespaces by name, each with the identity that the kernel gives it. All differ from the caller's; there is none
    /// where the profile does without.
    pub namespaces: BTreeMap<String, String>,
    /// How ids are mapped, as the process itself sees it: one line of three numbers each.
    pub uid_map: String,
    /// The same for groups.
    pub gid_map: String,
    /// `NoNewPrivs` is set.
    pub no_new_privs: bool,
    /// The mode of the system call filter: 2 is a filter.
    pub seccomp_mode: u32,
    /// Filters installed.
    pub seccomp_filters: u32,
    /// The union of all five capability sets, which is to be zero. Without namespaces the bounding set is left out, which an
    /// ordinary caller cannot empty and `no_new_privs` makes void.
    pub capabilities: u64,
    /// The Landlock ABI whose rights are all enforced; zero when Landlock is not in force.
    pub landlock_abi: u32,
    /// Mounts in the view; without namespaces, the host's.
    pub mounts: u32,
    /// How the tree was provided: `overlay`, `copy`, or `empty` without layers.
    pub tree: String,
    /// Limits of each process as the kernel gives them back, by the names of `prlimit(1)`.
    pub rlimits: BTreeMap<String, u64>,
    /// Who keeps the limits on all processes together.
    pub keepers: Keepers,
    /// Forbidden acts that were tried, each with the error that refused it.
    pub refused: BTreeMap<String, String>,
    /// Calls that the sandbox answers in the kernel's place, as was tried under the filter of this run. Empty where this
    /// kernel, or a sandbox around this one, does not let it: then these calls tell of the host.
    pub answered: Vec<String>,
}

/// Who keeps the limits that count all processes of a run together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keepers {
    /// Who keeps the limit on memory.
    pub memory: Enforcer,
    /// Who keeps that on processes.
    pub pids: Enforcer,
    /// Who keeps that on processor time.
    pub cpu: Enforcer,
}

impl Keepers {
    /// The first of these limits that no control group keeps.
    pub(super) fn unkept(&self, limits: &BTreeSet<LimitKind>) -> Option<LimitKind> {
        let is_kept = |limit: &LimitKind| {
            let keeper = match limit {
                LimitKind::Memory => self.memory,
                LimitKind::Pids => self.pids,
                LimitKind::Cpu => self.cpu,
                _ => return false,
            };
            matches!(keeper, Enforcer::CgroupV1 | Enforcer::CgroupV2)
        };
        limits.iter().find(|limit| !is_kept(limit)).copied()
    }

    /// The `RLIMIT_NPROC` that belongs to a limit on processes: the sandbox's own first process counts too, and a control
    /// group comes one earlier, because a group tells that it refused.
    pub(super) fn nproc(&self, pids: u64) -> u64 {
        pids.saturating_add(match self.pids {
            Enforcer::CgroupV1 | Enforcer::CgroupV2 => 2,
            _ => 1,
        })
    }
}

/// What was enforced while one command ran, and what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How the command ended.
    pub outcome: Outcome,
    /// Its standard output.
    pub stdout: Captured,
    /// Its standard error.
    pub stderr: Captured,
    /// What it used.
    pub metering: Metering,
    /// Its limits, and what came of each.
    pub limits: Vec<LimitReport>,
    /// What was promised and what the kernel confirmed; absent when the sandbox was not finished.
    pub receipt: Option<Receipt>,
    /// The digests of those of the files that [`super::Command::watch`] names that were regular files at the end.
    pub files: BTreeMap<RepoPath, Sha256>,
}
