//! The second lock: one Landlock ruleset for files, ports and scopes together.
//!
//! One and not two: a second layer makes renames between directories fail with `EXDEV`, which breaks cargo and npm.
//! Source: landlock(7), "Good practices" and "File renaming and linking".

use super::Step;
use crate::sandbox::policy::Network;
use crate::sandbox::setup::{ALIASES, HOME, LayerFailure, Setup, TREE};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use nix::errno::Errno;
use std::path::Path;

/// Restricts the process and all that it starts; does nothing when the setup enforces no Landlock.
pub(super) fn restrict(setup: &Setup) -> Result<(), LayerFailure> {
    let Some(abi) = abi(setup.landlock_abi) else {
        return Ok(());
    };
    let status = ruleset(setup, abi)
        .and_then(|ruleset| ruleset.no_new_privs(true).restrict_self())
        .map_err(|error| LayerFailure {
            step: format!("apply the Landlock ruleset ({error})"),
            errno: libc::EPERM,
        })?;
    // The crate may enforce less than it was asked for and still return; only the status tells.
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced | RulesetStatus::NotEnforced => {
            Err(Errno::ENOTSUP).step("have Landlock enforced in full")
        }
    }
}

fn ruleset(setup: &Setup, abi: ABI) -> Result<landlock::RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))?;
    let scopes = Scope::from_all(abi);
    if !scopes.is_empty() {
        ruleset = ruleset.scope(scopes)?;
    }
    // Ports are all or nothing here: with a private loopback, that namespace is the rule.
    let ports = AccessNet::from_all(abi);
    if setup.network == Network::None && !ports.is_empty() {
        ruleset = ruleset.handle_access(ports)?;
    }
    let readable = AccessFs::from_read(abi);
    let mut created = ruleset.create()?;
    for path in setup.binds.iter().map(|bind| bind.path.as_path()) {
        created = beneath(created, path, readable)?;
    }
    for path in ["/etc", "/proc", "/dev", ALIASES] {
        created = beneath(created, Path::new(path), readable)?;
    }
    for path in [TREE, HOME, "/tmp", "/dev/shm"] {
        created = beneath(
            created,
            Path::new(path),
            AccessFs::from_all(abi) & !AccessFs::from_all_devices(abi),
        )?;
    }
    for path in super::mounts::DEVICES {
        created = beneath(created, Path::new(path), AccessFs::ReadFile | AccessFs::WriteFile)?;
    }
    Ok(created)
}

/// Grants what of `access` makes sense for the path, which for a file is less than for a directory.
fn beneath(
    ruleset: landlock::RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<landlock::RulesetCreated, RulesetError> {
    let Ok(fd) = PathFd::new(path) else { return Ok(ruleset) };
    let access = if path.is_dir() {
        access
    } else {
        access & AccessFs::from_file(ABI::V5)
    };
    ruleset.add_rule(PathBeneath::new(fd, access))
}

/// The highest ABI that both the setup and the crate know.
fn abi(number: u32) -> Option<ABI> {
    match number {
        0 => None,
        1 => Some(ABI::V1),
        2 => Some(ABI::V2),
        3 => Some(ABI::V3),
        4 => Some(ABI::V4),
        5 => Some(ABI::V5),
        6 => Some(ABI::V6),
        7 => Some(ABI::V7),
        // Later ones add audit details and rights for sockets, which the network and mount namespaces cover; the ABI
        // reported is the one enforced.
        _ => Some(ABI::V7),
    }
}

/// Device nodes are not made inside, and none but those of `/dev` can be opened.
trait Devices {
    fn from_all_devices(abi: ABI) -> BitFlags<AccessFs>;
}

impl Devices for AccessFs {
    fn from_all_devices(abi: ABI) -> BitFlags<AccessFs> {
        (AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev) & AccessFs::from_all(abi)
    }
}
