//! What must hold while a command runs. Pure data: nothing here looks at the host.

use super::report::LimitKind;
use super::waiver::Layer;
use crate::types::{Bytes, RepoPath};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What must hold while a command runs, complete: every list resolved, every limit a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The name of the profile that it was made from.
    pub profile: String,
    /// What the profile requires; [`Policy::floor`] is what remains of it after the operator's waivers.
    pub require: Require,
    /// Layers of the floor that the operator does without for this run.
    pub waive: BTreeSet<Layer>,
    /// Host paths that the command may read and execute, at the same place inside.
    pub read: Vec<ReadGrant>,
    /// Names put on `PATH` inside that lead to a granted program, as `python` to `python3`.
    pub aliases: BTreeMap<String, PathBuf>,
    /// The directories of `PATH` inside, in order.
    pub path: Vec<PathBuf>,
    /// Private writable directories: `/tmp`, `/dev/shm`, the home directory, and what the command writes to the tree.
    pub tmp: Tmp,
    /// What the command can reach by network.
    pub network: Network,
    /// Resource limits.
    pub limits: Limits,
    /// The whole environment of the command, besides `PATH`, `HOME`, `TMPDIR` and the like that the sandbox sets.
    pub env: BTreeMap<String, String>,
    /// Whether anonymous files made by `memfd_create(2)` may exist; they can hold programs and escape file quotas.
    pub memfd: bool,
    /// What the tree is besides its files.
    pub tree: TreeSource,
    /// Paths of the tree, directories with all below them, that a command must leave as they are; one that does not is
    /// reported as having tampered.
    pub protect: Vec<RepoPath>,
    /// Host directories shown at the same place with a private writable layer on top, which is dropped: caches that a
    /// toolchain insists on writing to. The host's own files are never written.
    pub snapshots: Vec<PathBuf>,
    /// Host directories shown read-only below `/golden` inside, by their names there, as no profile can say: what judges a
    /// candidate and is no part of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub suites: BTreeMap<String, PathBuf>,
}

/// What the tree is besides its files; the later ones show more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TreeSource {
    /// Plain files without any git directory.
    Export,
    /// The same files in a disposable repository of one commit, made for the run, which knows nothing of the real one.
    SyntheticGit,
}

impl fmt::Display for TreeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TreeSource::Export => "export",
            TreeSource::SyntheticGit => "synthetic-git",
        })
    }
}

/// Layers without which a run is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Require {
    /// Own user, mount, pid, network, ipc, uts and cgroup namespaces.
    pub userns: bool,
    /// The lowest Landlock ABI; zero when Landlock may be missing.
    pub landlock_abi: u32,
    /// A system call filter.
    pub seccomp: bool,
    /// Limits that the kernel itself must keep for all processes together, by a control group: of memory, pids and cpu.
    /// Without one of them, a sampler from outside is enough.
    pub limits: BTreeSet<LimitKind>,
}

/// One host path in the view of the command.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReadGrant {
    /// The absolute path, the same outside and inside.
    pub path: PathBuf,
    /// Whether a missing path is skipped instead of refused.
    pub optional: bool,
}

/// Sizes of the private writable file systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmp {
    /// Bytes that all files in one of them may hold together.
    pub size: Bytes,
    /// Files that one of them may hold.
    pub inodes: u64,
}

/// What the command can reach by network; the later ones reach more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Nothing: no interface is up.
    None,
    /// Its own loopback, which no other process shares.
    Loopback,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Network::None => "none",
            Network::Loopback => "loopback",
        })
    }
}

/// Resource limits of one command and all that it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Time from start to end.
    pub wall: Duration,
    /// Processor time of all processes together.
    pub cpu: Duration,
    /// Memory of all processes together.
    pub memory: Bytes,
    /// Processes and threads together.
    pub pids: u64,
    /// Size of one file.
    pub file_size: Bytes,
    /// Open descriptors of one process.
    pub files: u64,
    /// Bytes kept of each output stream: the head and the tail; the middle is counted.
    pub output: Bytes,
    /// Time without a byte of output, after which the command is ended; absent when it may be silent.
    pub silence: Option<Duration>,
}

/// The tree that a command works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Plain directories, the uppermost first. They are never written to: what the command writes is kept in memory
    /// and dropped with it.
    pub layers: Vec<PathBuf>,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments; no shell is involved. A program without a slash is looked up on the `PATH` inside.
    pub argv: Vec<String>,
    /// The directory to start in, below the tree; the tree itself when absent.
    pub cwd: Option<RepoPath>,
    /// Variables in addition to those of the policy.
    pub env: BTreeMap<String, String>,
    /// A shorter wall-clock limit than the policy's.
    pub timeout: Option<Duration>,
    /// What it reads from its standard input, at most [`MAX_STDIN`]; nothing when absent.
    pub stdin: Option<String>,
    /// Files of the tree whose digests are wanted when it has ended.
    pub watch: Vec<RepoPath>,
}

/// The most that a command can be given to read: what a pipe takes before anybody reads. Source: pipe(7).
pub(super) const MAX_STDIN: Bytes = Bytes(64 << 10);

impl Command {
    /// A command with nothing but its words.
    pub fn new(argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Command {
            argv: argv.into_iter().map(Into::into).collect(),
            cwd: None,
            env: BTreeMap::new(),
            timeout: None,
            stdin: None,
            watch: Vec::new(),
        }
    }
}
