//! Why a command could not be run under a policy.

use super::setup::LayerFailure;
use crate::types::{FailureClass, Problem};
use nix::errno::Errno;
use std::path::PathBuf;

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
    /// The helper process ended or stopped answering.
    #[error("the sandbox helper ended unexpectedly")]
    HelperGone,
    /// A channel to the sandbox could not be made.
    #[error("cannot make a channel to the sandbox")]
    Channel {
        /// What the system answered.
        source: std::io::Error,
    },
    /// A layer could not be applied; nothing was started.
    #[error("the sandbox cannot {step}: {}", .errno.desc())]
    Layer {
        /// What was being done.
        step: String,
        /// What the kernel answered.
        errno: Errno,
    },
    /// The kernel lacks something that the profile requires.
    #[error("profile `{profile}` requires {wanted}, and this kernel has {found}")]
    BelowFloor {
        /// The profile.
        profile: String,
        /// What it requires.
        wanted: String,
        /// What there is.
        found: String,
        /// Whether the operator can do without.
        waivable: bool,
    },
    /// The profile is for hosts without user namespaces, and asks for something that takes them.
    #[error("profile `{profile}` does without user namespaces, and cannot have {what}")]
    NeedsNamespaces {
        /// The profile.
        profile: String,
        /// What it cannot have.
        what: &'static str,
    },
    /// The caller is root and there is no other id for a sandbox.
    #[error("there is no user id for the sandbox but the host's root")]
    OnlyRoot,
    /// A host path that the profile grants cannot be shown.
    #[error("cannot grant `{path}`: {reason}")]
    Grant {
        /// The path.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The command has no program, or a word with a NUL byte.
    #[error("the command cannot be run as written: {reason}")]
    Command {
        /// Why not.
        reason: String,
    },
    /// There is no such profile.
    #[error("there is no profile `{name}`")]
    NoSuchProfile {
        /// The name asked for.
        name: String,
        /// Names that exist.
        known: Vec<String>,
    },
    /// A profile cannot be read.
    #[error("cannot read the profile `{path}`")]
    ProfileUnreadable {
        /// Its file.
        path: PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
    /// A profile is invalid.
    #[error("the profile {origin} is invalid: {reason}")]
    ProfileInvalid {
        /// Its file, or that it is built in.
        origin: String,
        /// What is wrong, with the line.
        reason: String,
        /// What to write instead, where that is known.
        remedy: Option<String>,
    },
    /// The program that tries acts inside did not say what came of one.
    #[error("the program that tries what a profile expects did not answer: {outcome}")]
    Payload {
        /// How it ended.
        outcome: String,
        /// What it said.
        stderr: String,
    },
    /// A toolchain that the profile names is not installed.
    #[error("profile `{profile}` needs the toolchain `{bundle}`, of which nothing is found on PATH")]
    ToolchainMissing {
        /// The profile.
        profile: String,
        /// The bundle that names the toolchain.
        bundle: String,
    },
}

impl From<LayerFailure> for SandboxError {
    fn from(failure: LayerFailure) -> Self {
        SandboxError::Layer {
            step: failure.step,
            errno: Errno::from_raw(failure.errno),
        }
    }
}

impl SandboxError {
    /// Whether this host lacks a layer, as opposed to a mistake in what was asked for.
    pub fn is_missing_layer(&self) -> bool {
        matches!(
            self,
            SandboxError::Layer { .. } | SandboxError::BelowFloor { .. } | SandboxError::OnlyRoot
        )
    }
}

impl Problem for SandboxError {
    fn class(&self) -> FailureClass {
        match self {
            SandboxError::Helper { .. }
            | SandboxError::HelperGone
            | SandboxError::Channel { .. }
            | SandboxError::Layer { .. }
            | SandboxError::BelowFloor { .. }
            | SandboxError::NeedsNamespaces { .. }
            | SandboxError::OnlyRoot
            | SandboxError::Grant { .. }
            | SandboxError::Payload { .. }
            | SandboxError::ToolchainMissing { .. } => FailureClass::Host,
            SandboxError::Command { .. } => FailureClass::Order,
            SandboxError::NoSuchProfile { .. }
            | SandboxError::ProfileUnreadable { .. }
            | SandboxError::ProfileInvalid { .. } => FailureClass::Policy,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            SandboxError::NoSuchProfile { known, .. } => Some(format!("known profiles: {}", known.join(", "))),
            SandboxError::ProfileInvalid { remedy, .. } => remedy.clone(),
            SandboxError::Layer { step, errno } => Some(layer_remedy(step, *errno)),
            SandboxError::BelowFloor { profile, waivable, .. } => {
                let without = if *waivable {
                    ", or do without the layer by --waive"
                } else {
                    ""
                };
                Some(format!(
                    "run on a newer kernel, or name a profile whose [require] this kernel reaches{without}; `factory doctor` \
                     says what this host has, and `factory profile show {profile}` which line demands it"
                ))
            }
            SandboxError::NeedsNamespaces { .. } => Some(
                "take it out of the profile, or use one with namespaces on a host where they can be made".to_owned(),
            ),
            SandboxError::ToolchainMissing { bundle, .. } => Some(format!(
                "install it, put it on PATH, or use a profile without `{bundle}`"
            )),
            SandboxError::Grant { .. } => {
                Some("correct the path in the profile's [fs] read, or mark it `optional = true`".to_owned())
            }
            SandboxError::Payload { stderr, .. } => Some(match stderr.is_empty() {
                true => {
                    "it is this program itself, which needs `@system` for the libraries that it is linked to".to_owned()
                }
                false => format!("it said: {stderr}"),
            }),
            SandboxError::OnlyRoot => {
                Some("start it as an ordinary user, or map more ids into this user namespace".to_owned())
            }
            SandboxError::Helper { .. } => {
                Some("check that the factory binary is still where it was started from".to_owned())
            }
            SandboxError::HelperGone
            | SandboxError::Channel { .. }
            | SandboxError::Command { .. }
            | SandboxError::ProfileUnreadable { .. } => None,
        }
    }
}

/// What an operator can do about a refused layer.
///
/// Source: user_namespaces(7) and namespaces(7) for the errors of `clone3()`; mount_namespaces(7) for a masked `/proc`.
fn layer_remedy(step: &str, errno: Errno) -> String {
    let remedy = match (step, errno) {
        ("create namespaces", Errno::ENOSPC) => "raise the limit: sysctl user.max_user_namespaces=15000",
        ("create namespaces", Errno::EPERM) => {
            "user namespaces are switched off for this user: sysctl kernel.unprivileged_userns_clone=1, or, where AppArmor \
             restricts them, give this binary a profile with the rule `userns,`; inside a container, allow clone and unshare"
        }
        ("create namespaces", Errno::EINVAL) => {
            "this kernel lacks one of the seven namespaces; run on Linux 5.12 or newer"
        }
        ("write the sandbox's uid_map", _) | ("make the mounts private", _) | ("mount an empty root", _) => {
            "user namespaces exist but carry no rights: where AppArmor restricts them (Ubuntu 23.10 and newer), give this \
             binary a profile with the rule `userns,`"
        }
        ("hand over an output stream" | "write the sandbox's gid_map", Errno::EINVAL | Errno::EPERM) => {
            "this process is in a user namespace that lacks an id which is needed, such as the one that sandboxes use for \
             root; run as an ordinary user whose ids are mapped, or outside"
        }
        ("mount a private /proc", _) => {
            "parts of the host's /proc are masked, as in a container: run it with an unmasked /proc, or outside"
        }
        (_, Errno::ENOSYS) => "this kernel lacks the call; run on Linux 5.12 or newer",
        (_, Errno::ELOOP) => "part of the path is a symbolic link; name in the profile the path that it leads to",
        (_, Errno::ESTALE) => "something replaced the file while the sandbox was built; try again",
        (_, Errno::ENOSPC | Errno::ENOMEM) => "the host is short of memory; free some and try again",
        _ => "run `factory exec -- true` as the same user to see whether any sandbox can be built here",
    };
    remedy.to_owned()
}
