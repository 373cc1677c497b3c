//! Runs one command under a policy and reports what was enforced and what happened.
//!
//! - What must not be touched is not in the view; Landlock is the second lock, seccomp the third, limits the fourth.
//! - When a layer that the policy requires is missing, the run is refused, never weakened.
//! - The outcome is typed and travels on a descriptor that the command cannot reach.
//! - It knows nothing of orders, models or git: a tree is a stack of plain directories.

mod policy;
mod report;

pub use policy::{Command, Limits, Network, Policy, ReadGrant, Require, Tmp, Tree};
pub use report::{Captured, Enforced, LimitKind, Metering, Outcome, Report, SetupFailure, Stream};

use crate::types::{FailureClass, Problem};
use std::path::{Path, PathBuf};

/// A running sandbox helper, through which commands are run. Dropping it ends the helper and every command under it.
#[derive(Debug)]
pub struct Sandbox {}

/// Receives the output of a command while it runs, as it arrives, up to the policy's cap for each stream.
pub type Sink<'a> = &'a mut (dyn FnMut(Stream, &[u8]) + Send);

impl Sandbox {
    /// Starts the helper: `program` re-executed by the hidden subcommand. `program` is this project's own binary.
    ///
    /// # Errors
    /// `Host` when the program cannot be started.
    pub fn start(program: &Path) -> Result<Self, SandboxError> {
        Err(SandboxError::Helper {
            program: program.to_owned(),
            source: std::io::ErrorKind::Unsupported.into(),
        })
    }

    /// Runs `command` on `tree` under `policy` and waits until its last process is gone.
    ///
    /// Dropping the future kills the command.
    ///
    /// # Errors
    /// `Host` when a layer that the policy requires is missing. A command that fails is no error but an [`Outcome`].
    pub async fn run(
        &self,
        policy: &Policy,
        tree: &Tree,
        command: &Command,
        sink: Option<Sink<'_>>,
    ) -> Result<Report, SandboxError> {
        let _ = (policy, tree, command, sink);
        Err(SandboxError::HelperGone)
    }

    /// The host's user id that owns the files of a tree, when it is not the caller's own: set when the caller is root,
    /// because a sandbox never maps host root.
    pub fn tree_owner() -> Option<u32> {
        None
    }
}

/// Where a program without a slash would be found inside, or nothing when the view has no such program.
pub fn find_program(policy: &Policy, program: &str) -> Option<PathBuf> {
    let _ = (policy, program);
    None
}

/// Makes a policy from a named profile: one of the operator's directory, else one of those built in.
///
/// `search_path` is the operator's `PATH`, in which toolchains are looked for.
///
/// # Errors
/// `Policy` when there is no such profile or it is invalid; `Host` when a toolchain that it names is not installed.
pub fn load_profile(name: &str, operator_dir: Option<&Path>, search_path: &str) -> Result<Policy, SandboxError> {
    let _ = (operator_dir, search_path);
    Err(SandboxError::NoSuchProfile {
        name: name.to_owned(),
        known: Vec::new(),
    })
}

/// Why a command could not be run under a policy.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The helper process could not be started.
    #[error("cannot start the sandbox helper `{program}`")]
    Helper {
        /// Its path.
        program: PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
    /// The helper process ended.
    #[error("the sandbox helper ended unexpectedly")]
    HelperGone,
    /// There is no such profile.
    #[error("there is no profile `{name}`")]
    NoSuchProfile {
        /// The name asked for.
        name: String,
        /// Names that exist.
        known: Vec<String>,
    },
}

impl Problem for SandboxError {
    fn class(&self) -> FailureClass {
        match self {
            SandboxError::Helper { .. } | SandboxError::HelperGone => FailureClass::Host,
            SandboxError::NoSuchProfile { .. } => FailureClass::Policy,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            SandboxError::NoSuchProfile { known, .. } => Some(format!("known profiles: {}", known.join(", "))),
            SandboxError::Helper { .. } | SandboxError::HelperGone => None,
        }
    }
}
