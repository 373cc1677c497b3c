//! The second lock: one Landlock ruleset for files, ports and scopes together.
//!
//! One and not two: a second layer makes renames between directories fail with `EXDEV`, which breaks cargo and npm.
//! Source: landlock(7), "Good practices" and "File renaming and linking".

use super::Step;
use crate::sandbox::policy::Network;
use crate::sandbox::setup::{ALIASES, HOME, LayerFailure, TREE, View};
use crate::sandbox::slot::root::VIEW;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use nix::errno::Errno;
use std::path::{Path, PathBuf};

/// The highest ABI that is enforced in full.
pub(in crate::sandbox) const HIGHEST: u32 = 7;

/// The rules on what a view holds, opened once for all its runs. What a run writes to is not there yet.
#[derive(Debug)]
pub(in crate::sandbox) struct Rules {
    abi: Option<ABI>,
    /// Directories and files that may be read, each with the rights that make sense for it.
    fixed: Vec<(PathFd, BitFlags<AccessFs>)>,
}

impl Rules {
    /// Opens what the rules name, in the finished root of the view.
    pub(in crate::sandbox) fn open(view: &View) -> Self {
        let abi = abi(view.landlock_abi);
        let binds = view.binds.iter().map(|bind| bind.path.as_path());
        let own = ["/etc", "/dev", ALIASES].map(Path::new);
        let readable = binds.chain(own).map(|path| (path, AccessFs::from_read(ABI::V5)));
        let devices = super::mounts::DEVICES.map(|path| (Path::new(path), AccessFs::ReadFile | AccessFs::WriteFile));
        let fixed = readable.chain(devices).filter_map(|(path, access)| {
            let path = Path::new(VIEW).join(path.strip_prefix("/").unwrap_or(path));
            let fd = PathFd::new(&path).ok()?;
            Some((fd, sensible(&path, access)))
        });
        Rules {
            abi,
            fixed: fixed.collect(),
        }
    }
}

/// Restricts the process and all that it starts; does nothing when the view enforces no Landlock.
pub(super) fn restrict(rules: &Rules, network: Network, snapshots: &[PathBuf]) -> Result<(), LayerFailure> {
    let Some(abi) = rules.abi else {
        return Ok(());
    };
    let status = ruleset(rules, network, snapshots, abi)
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

fn ruleset(
    rules: &Rules,
    network: Network,
    snapshots: &[PathBuf],
    abi: ABI,
) -> Result<landlock::RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))?;
    let scopes = Scope::from_all(abi);
    if !scopes.is_empty() {
        ruleset = ruleset.scope(scopes)?;
    }
    // Ports are all or nothing here: with a private loopback, that namespace is the rule.
    let ports = AccessNet::from_all(abi);
    if network == Network::None && !ports.is_empty() {
        ruleset = ruleset.handle_access(ports)?;
    }
    let mut created = ruleset.create()?;
    for (fd, access) in &rules.fixed {
        created = created.add_rule(PathBeneath::new(fd, *access & AccessFs::from_all(abi)))?;
    }
    let write = AccessFs::from_all(abi) & !AccessFs::from_all_devices(abi);
    let writable = [TREE, HOME, "/tmp", "/dev/shm"].map(Path::new).into_iter();
    let writable = writable.chain(snapshots.iter().map(PathBuf::as_path));
    let of_this_run = writable
        .map(|path| (path, write))
        .chain([(Path::new("/proc"), AccessFs::from_read(abi))]);
    for (path, access) in of_this_run {
        // A file system that is missing needs no rule: without one nothing below it is allowed.
        let Ok(fd) = PathFd::new(path) else { continue };
        created = created.add_rule(PathBeneath::new(fd, access))?;
    }
    Ok(created)
}

/// What of `access` makes sense for the path, which for a file is less than for a directory.
fn sensible(path: &Path, access: BitFlags<AccessFs>) -> BitFlags<AccessFs> {
    match path.is_dir() {
        true => access,
        false => access & AccessFs::from_file(ABI::V5),
    }
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
