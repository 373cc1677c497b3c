//! The second lock: one Landlock ruleset for files, ports and scopes together.
//!
//! One and not two: a second layer makes renames between directories fail with `EXDEV`, which breaks cargo and npm.
//! Source: landlock(7), "Good practices" and "File renaming and linking".

use super::Step;
use crate::sandbox::policy::Network;
use crate::sandbox::setup::{LayerFailure, Rung, View};
use crate::sandbox::slot::root::{VIEW, open_pinned};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The highest ABI that is enforced in full.
pub(in crate::sandbox) const HIGHEST: u32 = 7;

/// What may be done with a path and all below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sandbox) enum Class {
    /// Read, list and execute.
    Read,
    /// Read and write, but neither make nor remove.
    Device,
    /// Everything but device nodes.
    Write,
}

/// Of what a path is a part, which says when it is there to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sandbox) enum Part {
    /// With the view.
    View,
    /// With each run.
    Run,
}

/// Every path that a run may open, with what may be done there: the one list from which rules and plans are made.
pub(in crate::sandbox) fn paths(view: &View) -> Vec<(PathBuf, Class, Part)> {
    let places = view.rung.places();
    let binds = view
        .binds
        .iter()
        .map(|bind| (bind.inside().to_owned(), Class::Read, Part::View));
    let devices = super::mounts::DEVICES.map(|path| (path.into(), Class::Device, Part::View));
    let mut paths: Vec<(PathBuf, Class, Part)> = binds.chain(devices).collect();
    let mut add = |path: &Path, class, part| paths.push((path.to_owned(), class, part));
    add(&places.aliases, Class::Read, Part::View);
    for own in [&places.tree, &places.home, &places.tmp] {
        add(own, Class::Write, Part::Run);
    }
    match view.rung {
        Rung::Namespaces => {
            // All in these is the view's own: made for it, or of its own pid namespace.
            add(Path::new("/etc"), Class::Read, Part::View);
            add(Path::new("/dev"), Class::Read, Part::View);
            add(Path::new("/proc"), Class::Read, Part::Run);
            add(Path::new("/dev/shm"), Class::Write, Part::Run);
            view.snapshots
                .iter()
                .for_each(|path| add(path, Class::Write, Part::Run));
        }
        // These are the host's.
        Rung::Bare { .. } => {}
    }
    paths
}

impl Class {
    /// The rights of an ABI that make sense for the path, which for a file are fewer than for a directory.
    fn access(self, abi: ABI, is_directory: bool) -> BitFlags<AccessFs> {
        let access = match self {
            Class::Read => AccessFs::from_read(abi),
            Class::Device => AccessFs::ReadFile | AccessFs::WriteFile,
            Class::Write => AccessFs::from_all(abi) & !AccessFs::from_all_devices(abi),
        };
        match is_directory {
            true => access,
            false => access & AccessFs::from_file(abi),
        }
    }
}

/// The rules on what a view holds, opened once for all its runs. What a run writes to is not there yet.
#[derive(Debug)]
pub(in crate::sandbox) struct Rules {
    abi: Option<ABI>,
    /// Directories and files, each with the rights that make sense for it.
    fixed: Vec<(OwnedFd, BitFlags<AccessFs>)>,
    /// What each run opens for itself.
    of_runs: Vec<(PathBuf, Class)>,
}

impl Rules {
    /// Opens what the rules name, in the finished root of the view. Without one, where the host has it, and nothing that
    /// has become something else since it was compared.
    pub(in crate::sandbox) fn open(view: &View) -> Result<Self, LayerFailure> {
        let (mut fixed, mut of_runs) = (Vec::new(), Vec::new());
        // The rights are cut to the ABI in force when the ruleset is made.
        for (path, class, part) in paths(view) {
            let pinned = view.binds.iter().find(|bind| bind.inside() == path);
            let fd = match (&view.rung, part, pinned) {
                (_, Part::Run, _) => {
                    of_runs.push((path, class));
                    continue;
                }
                (Rung::Bare { .. }, Part::View, Some(pinned)) => open_pinned(pinned)?,
                (Rung::Bare { .. }, Part::View, None) => match open_path(&path) {
                    Ok(fd) => fd,
                    Err(_) => continue,
                },
                (Rung::Namespaces, Part::View, _) => {
                    let path = Path::new(VIEW).join(path.strip_prefix("/").unwrap_or(&path));
                    match open_path(&path) {
                        Ok(fd) => fd,
                        // What is missing needs no rule: without one nothing below it is allowed.
                        Err(_) => continue,
                    }
                }
            };
            let access = class.access(ABI::V5, is_directory(&fd));
            fixed.push((fd, access));
        }
        Ok(Rules {
            abi: abi(view.landlock_abi),
            fixed,
            of_runs,
        })
    }
}

fn open_path(path: &Path) -> Result<OwnedFd, Errno> {
    nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
}

fn is_directory(fd: &OwnedFd) -> bool {
    nix::sys::stat::fstat(fd).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

/// Restricts the process and all that it starts; does nothing when the view enforces no Landlock.
pub(super) fn restrict(rules: &Rules, network: Network) -> Result<(), LayerFailure> {
    let Some(abi) = rules.abi else {
        return Ok(());
    };
    let status = ruleset(rules, network, abi)
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

fn ruleset(rules: &Rules, network: Network, abi: ABI) -> Result<landlock::RulesetCreated, RulesetError> {
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
    for (path, class) in &rules.of_runs {
        // A file system that is missing needs no rule: without one nothing below it is allowed.
        let Ok(fd) = open_path(path) else { continue };
        created = created.add_rule(PathBeneath::new(fd, class.access(abi, true)))?;
    }
    Ok(created)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn view(rung: Rung) -> View {
        View {
            rung,
            binds: Vec::new(),
            links: Vec::new(),
            memfd: false,
            landlock_abi: 7,
            snapshots: Vec::new(),
            host_namespaces: BTreeMap::new(),
        }
    }

    #[test]
    fn without_namespaces_nothing_of_the_host_is_granted_but_devices() {
        let scratch = Path::new("/tmp/scratch");
        let bare = paths(&view(Rung::Bare {
            scratch: scratch.to_owned(),
        }));
        let host: Vec<_> = bare.iter().filter(|(path, ..)| !path.starts_with(scratch)).collect();
        assert_eq!(host.len(), super::super::mounts::DEVICES.len());
        assert!(host.iter().all(|(_, class, _)| *class == Class::Device));
        let with = paths(&view(Rung::Namespaces));
        assert!(with.iter().any(|(path, ..)| path == Path::new("/proc")));
    }
}
