//! What the helper needs to build one sandbox: the policy made concrete for this host.

use super::policy::{Limits, Network, Tmp};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The one user and group id inside. Not zero, so that programs do not believe themselves root.
pub(super) const INSIDE_ID: u32 = 1000;

/// The host's user id behind it when the caller is root: a sandbox never maps host root.
///
/// It lies in the range that systemd's table of user ids (UIDS-GIDS, "1879048192…2147483647: unused") leaves to nobody,
/// so no account and no container shares it.
pub(super) const HOST_ID_FOR_ROOT: u32 = 1_999_000_001;

/// Where the tree is inside.
pub(super) const TREE: &str = "/src";
/// The empty home directory inside.
pub(super) const HOME: &str = "/home/factory";
/// The directory inside whose links are the policy's aliases.
pub(super) const ALIASES: &str = "/opt/factory/bin";

/// A host path and what it was when the policy was compiled: the helper opens it again in its own mount namespace and
/// refuses if it has become something else in between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pinned {
    pub(super) path: PathBuf,
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) directory: bool,
}

/// Everything about one sandbox, in the order in which `init` uses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Setup {
    /// The host's id that [`INSIDE_ID`] maps to.
    pub(super) host_uid: u32,
    /// Likewise for the group.
    pub(super) host_gid: u32,
    /// Read-only binds, shown at the same path.
    pub(super) binds: Vec<Pinned>,
    /// Symbolic links of the view: where, and the text.
    pub(super) links: Vec<(PathBuf, PathBuf)>,
    /// Layers of the tree, the uppermost first.
    pub(super) layers: Vec<Pinned>,
    pub(super) tmp: Tmp,
    pub(super) network: Network,
    pub(super) limits: Limits,
    pub(super) memfd: bool,
    /// The Landlock ABI to enforce in full; zero for none.
    pub(super) landlock_abi: u32,
    pub(super) argv: Vec<String>,
    /// `NAME=value`, complete.
    pub(super) env: Vec<String>,
    /// The directories in which a program without a slash is looked up.
    pub(super) path: Vec<PathBuf>,
    /// Where to start, inside.
    pub(super) cwd: PathBuf,
}

/// One line on the report channel of a run.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReportLine {
    /// From inside the finished sandbox, before the command starts.
    Receipt(super::report::Enforced),
    /// A layer could not be applied; nothing was started.
    Layer(LayerFailure),
    /// The sandbox is finished but the command could not be started.
    NotStarted(super::report::SetupFailure),
    /// The command ended and nothing of it is left.
    Ended {
        /// Its exit code, unless a signal ended it.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
        /// User and system time of all processes that were waited for, in milliseconds.
        cpu_ms: u64,
        /// The largest resident set of any one process, in bytes.
        peak_rss_bytes: u64,
    },
    /// From the helper, always last: the first process of the sandbox is gone, and with it all others.
    Gone {
        /// The limit for which the helper killed it.
        limit: Option<super::report::LimitKind>,
    },
}

/// The step of building a sandbox that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LayerFailure {
    /// What was being done, as a lower-case fragment.
    pub(super) step: String,
    /// The kernel's answer.
    pub(super) errno: i32,
}
