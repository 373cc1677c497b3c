//! What the helper and its slots need to build sandboxes: the policy made concrete for this host, in two parts.
//!
//! A [`View`] is what many runs can share: the root without anything to write to. A [`Job`] is one run in such a view.

use super::policy::{Limits, Network, Tmp};
use super::report::{Enforced, LimitKind, SetupFailure};
use crate::types::{RepoPath, Sha256};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The one user and group id inside. Not zero, so that programs do not believe themselves root.
pub(super) const INSIDE_ID: u32 = 1000;

/// The name of the host inside.
pub(super) const HOST_NAME: &str = "factory";

/// Where the tree is inside.
pub(super) const TREE: &str = "/src";
/// The empty home directory inside.
pub(super) const HOME: &str = "/home/factory";
/// The directory inside whose links are the policy's aliases.
pub(super) const ALIASES: &str = "/opt/factory/bin";
/// The directory inside below which suites are shown.
pub(super) const SUITES: &str = "/golden";

/// Of what a sandbox is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Rung {
    /// Namespaces of its own, in which a view is built.
    Namespaces,
    /// No namespaces: the host's own root, held by Landlock and the filter. All that a run can write to is below a
    /// directory of its own, which is made for it and removed with it.
    Bare {
        /// That directory.
        scratch: PathBuf,
    },
}

/// Where a run finds what is its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) tree: PathBuf,
    pub(super) home: PathBuf,
    pub(super) tmp: PathBuf,
    pub(super) aliases: PathBuf,
}

impl Rung {
    pub(super) fn places(&self) -> Places {
        match self {
            Rung::Namespaces => Places {
                tree: TREE.into(),
                home: HOME.into(),
                tmp: "/tmp".into(),
                aliases: ALIASES.into(),
            },
            Rung::Bare { scratch } => Places {
                tree: scratch.join("src"),
                home: scratch.join("home"),
                tmp: scratch.join("tmp"),
                aliases: scratch.join("bin"),
            },
        }
    }
}

/// A host path and what it was when the policy was compiled: it is opened again in another mount namespace, and refused
/// if it has become something else in between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pinned {
    pub(super) path: PathBuf,
    /// Where it is shown, when that is not at the same path.
    pub(super) at: Option<PathBuf>,
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) directory: bool,
}

impl Pinned {
    /// Where it is shown inside.
    pub(super) fn inside(&self) -> &Path {
        self.at.as_deref().unwrap_or(&self.path)
    }
}

/// A root that runs can share one after another: everything in it is read-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct View {
    pub(super) rung: Rung,
    /// Read-only binds.
    pub(super) binds: Vec<Pinned>,
    /// Symbolic links of the view: where, and the text.
    pub(super) links: Vec<(PathBuf, PathBuf)>,
    pub(super) memfd: bool,
    /// The Landlock ABI to enforce in full; zero for none.
    pub(super) landlock_abi: u32,
    /// Host directories among the binds that get a private writable layer in each run.
    pub(super) snapshots: Vec<PathBuf>,
    /// The caller's own namespaces, by name: none of them may be a run's.
    pub(super) host_namespaces: BTreeMap<String, String>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    /// Layers of the tree, the uppermost first.
    pub(super) layers: Vec<Pinned>,
    /// Paths of the tree that have to stay as they are.
    pub(super) protect: Vec<RepoPath>,
    pub(super) tmp: Tmp,
    pub(super) network: Network,
    pub(super) limits: Limits,
    /// Limits that a control group has to keep.
    pub(super) floor: BTreeSet<LimitKind>,
    pub(super) argv: Vec<String>,
    /// `NAME=value`, complete.
    pub(super) env: Vec<String>,
    /// The directories in which a program without a slash is looked up.
    pub(super) path: Vec<PathBuf>,
    /// Where to start, inside.
    pub(super) cwd: PathBuf,
    /// What the command reads.
    pub(super) stdin: String,
    /// Files of the tree whose digests are wanted at the end.
    pub(super) watch: Vec<RepoPath>,
}

/// Both parts of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setup {
    pub(super) view: View,
    pub(super) job: Job,
}

/// What parent, helper, slot and `init` say about one run on its report channel, one line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReportLine {
    /// From inside the finished sandbox, before the command starts.
    Receipt(Box<Enforced>),
    /// A layer could not be applied; nothing was started.
    Layer(LayerFailure),
    /// The sandbox is finished but the command could not be started.
    NotStarted(SetupFailure),
    /// The sandbox is finished but its rules refuse the command.
    Denied {
        /// The rule.
        rule: String,
    },
    /// From the slot, whenever one of them has grown: what it saw from outside.
    Peak(Peak),
    /// The command ended and nothing of it is left.
    Ended(Ended),
    /// From the slot, always last: the first process of the sandbox is gone, and with it all others.
    Gone {
        /// The limit for which the slot killed it.
        limit: Option<LimitKind>,
    },
}

/// The most that was seen of what all processes of a run share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Peak {
    pub(super) memory_bytes: u64,
    pub(super) processes: u64,
    pub(super) cpu_ms: u64,
}

/// How a command ended, as `init` saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ended {
    /// Its exit code, unless a signal ended it.
    pub(super) code: Option<i32>,
    /// The signal that ended it.
    pub(super) signal: Option<i32>,
    /// User and system time of all processes that were waited for, in milliseconds.
    pub(super) cpu_ms: u64,
    /// The largest resident set of any one process, in bytes.
    pub(super) peak_rss_bytes: u64,
    /// What is on the private file systems: bytes, and files with directories.
    pub(super) written_bytes: u64,
    pub(super) written_files: u64,
    /// Whether they are full.
    pub(super) disk_full: bool,
    pub(super) inodes_full: bool,
    /// What the control groups counted; absent without them.
    pub(super) groups: GroupCounts,
    /// The first protected path that is not as it was.
    pub(super) tampered: Option<String>,
    /// The digests of the files that were asked for and are there.
    pub(super) files: BTreeMap<RepoPath, Sha256>,
}

/// What control groups counted during one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GroupCounts {
    pub(super) memory_peak_bytes: Option<u64>,
    /// Processes that the kernel killed for want of memory.
    pub(super) oom_kills: Option<u64>,
    /// Forks that the kernel refused.
    pub(super) pids_refused: Option<u64>,
    pub(super) cpu_ms: Option<u64>,
}

/// The step of building a sandbox that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LayerFailure {
    /// What was being done, as a lower-case fragment.
    pub(super) step: String,
    /// The kernel's answer.
    pub(super) errno: i32,
}
