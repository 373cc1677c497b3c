//! Joins a policy, a tree and a command with what this host is into a ready setup, or refuses.

use super::error::SandboxError;
use super::grant;
use super::identity::host_ids;
use super::init::receipt;
use super::policy::{Command, MAX_STDIN, Network, Policy, ReadGrant, Tree};
use super::profile::steers_programs;
use super::scratch;
use super::setup::{ALIASES, Job, Pinned, Places, Rung, SUITES, Setup, View};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The longest word of a command with its end. Source: execve(2), `MAX_ARG_STRLEN`, with pages of 4 KiB.
const LONGEST_WORD: usize = 32 * 4096;

/// What of this host every setup depends on, looked up once.
#[derive(Debug)]
pub(super) struct Host {
    /// What the kernel has.
    pub(super) landlock_abi: u32,
    /// The caller's own, by name.
    namespaces: BTreeMap<String, String>,
    /// Whether there is an id for commands.
    has_id: bool,
}

impl Host {
    pub(super) fn look(landlock_abi: u32) -> std::io::Result<Self> {
        Ok(Host {
            landlock_abi,
            namespaces: receipt::namespaces()?,
            has_id: host_ids().is_some(),
        })
    }
}

/// Makes the setup of one command.
pub(super) fn compile(policy: &Policy, tree: &Tree, command: &Command, host: &Host) -> Result<Setup, SandboxError> {
    let words = command
        .argv
        .iter()
        .chain(command.env.keys())
        .chain(command.env.values());
    if command.argv.first().is_none_or(String::is_empty) || words.clone().any(|word| word.contains('\0')) {
        return Err(SandboxError::Command {
            reason: "it is empty or holds a NUL byte".to_owned(),
        });
    }
    if words.clone().any(|word| word.len() >= LONGEST_WORD) {
        return Err(SandboxError::Command {
            reason: format!(
                "a word is longer than the {} bytes that execve(2) takes",
                LONGEST_WORD - 1
            ),
        });
    }
    let stdin = command.stdin.clone().unwrap_or_default();
    if stdin.len() as u64 > MAX_STDIN.0 {
        return Err(SandboxError::Command {
            reason: format!("it is given more than {MAX_STDIN} to read"),
        });
    }
    let view = view_of(policy, host)?;
    let places = view.rung.places();
    let layers = tree.layers.iter().map(|layer| pin(layer)).collect::<Result<_, _>>()?;
    let mut limits = policy.limits.clone();
    limits.wall = command.timeout.map_or(limits.wall, |timeout| timeout.min(limits.wall));
    let path: Vec<PathBuf> = policy
        .path
        .iter()
        .map(|directory| match directory == Path::new(ALIASES) {
            true => places.aliases.clone(),
            false => directory.clone(),
        })
        .collect();
    let job = Job {
        layers,
        protect: policy.protect.clone(),
        tmp: policy.tmp,
        network: policy.network,
        limits,
        floor: policy.floor().limits,
        argv: command.argv.clone(),
        env: environment(policy, command, &places, &path),
        path,
        cwd: command
            .cwd
            .as_ref()
            .map_or_else(|| places.tree.clone(), |cwd| places.tree.join(cwd.as_str())),
        stdin,
        watch: command.watch.clone(),
    };
    Ok(Setup { view, job })
}

/// What a policy shows, without a tree.
pub(super) fn view_of(policy: &Policy, host: &Host) -> Result<View, SandboxError> {
    let landlock_abi = host.landlock_abi;
    let floor = policy.floor();
    let rung = match floor.userns {
        true => Rung::Namespaces,
        false => bare(policy)?,
    };
    let places = rung.places();
    if landlock_abi < floor.landlock_abi {
        return Err(SandboxError::BelowFloor {
            profile: policy.profile.clone(),
            wanted: format!("Landlock ABI {}", floor.landlock_abi),
            found: format!("ABI {landlock_abi}"),
            waivable: floor.userns,
        });
    }
    if !host.has_id {
        return Err(SandboxError::OnlyRoot);
    }
    let snapshots = policy.snapshots.iter().map(|path| ReadGrant {
        path: path.clone(),
        optional: false,
    });
    let grants: Vec<ReadGrant> = policy.read.iter().cloned().chain(snapshots).collect();
    let (mut binds, mut links) = view(&grants)?;
    for (name, suite) in &policy.suites {
        // Part of a path inside.
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
            return Err(refuse(
                suite,
                format!("`{}` is no name of a suite", name.escape_debug()),
            ));
        }
        let pinned = pin(suite)?;
        if !pinned.directory {
            return Err(refuse(suite, "a suite is a directory".to_owned()));
        }
        binds.push(Pinned {
            at: Some(Path::new(SUITES).join(name)),
            ..pinned
        });
    }
    links.extend(
        policy
            .aliases
            .iter()
            .map(|(name, target)| (places.aliases.join(name), target.clone())),
    );
    Ok(View {
        rung,
        binds,
        links,
        memfd: policy.memfd,
        landlock_abi,
        snapshots: policy.snapshots.clone(),
        host_namespaces: host.namespaces.clone(),
    })
}

/// The rung without namespaces, for a policy that asks for nothing that needs them.
fn bare(policy: &Policy) -> Result<Rung, SandboxError> {
    let needs = |what| SandboxError::NeedsNamespaces {
        profile: policy.profile.clone(),
        what,
    };
    if policy.network != Network::None {
        return Err(needs("a loopback of its own"));
    }
    if !policy.snapshots.is_empty() {
        return Err(needs("a private layer on a host directory"));
    }
    if !policy.suites.is_empty() {
        return Err(needs("a golden suite at a place of its own"));
    }
    // A name that nobody can make beforehand to be in the way; one that is taken is refused.
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").map_err(|source| SandboxError::Channel { source })?;
    let name = format!("{}{}", scratch::PREFIX, uuid.trim_end());
    // Programs are started from it, and every user may make a directory in it.
    let usable = |place: &PathBuf| {
        nix::sys::statvfs::statvfs(place).is_ok_and(|fs| {
            !fs.flags()
                .intersects(nix::sys::statvfs::FsFlags::ST_NOEXEC | nix::sys::statvfs::FsFlags::ST_RDONLY)
        })
    };
    let place = ["/tmp", "/var/tmp"]
        .into_iter()
        .filter_map(|place| fs::canonicalize(place).ok())
        .find(usable);
    let place =
        place.ok_or_else(|| needs("a place to start programs from: /tmp and /var/tmp are `noexec` or read-only"))?;
    Ok(Rung::Bare {
        scratch: place.join(name),
    })
}

/// What is bound, and what is only a symbolic link to something bound, as `/bin` is on most systems.
type Shown = (Vec<Pinned>, Vec<(PathBuf, PathBuf)>);

fn view(grants: &[ReadGrant]) -> Result<Shown, SandboxError> {
    let (mut binds, mut links) = (Vec::new(), Vec::new());
    for grant in grants {
        grant::place(&grant.path).map_err(|refused| refuse(&grant.path, refused.reason))?;
        match fs::symlink_metadata(&grant.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && grant.optional => {}
            Err(error) => return Err(refuse(&grant.path, error.to_string())),
            Ok(metadata) if metadata.is_symlink() => {
                let text = fs::read_link(&grant.path).map_err(|error| refuse(&grant.path, error.to_string()))?;
                links.push((grant.path.clone(), text));
            }
            Ok(_) => binds.push(pin(&grant.path)?),
        }
    }
    Ok((binds, links))
}

/// Refuses a view in which somebody listens. Asked when a root is built: what is shown then stays shown.
pub(super) fn refuse_sockets(view: &View) -> Result<(), SandboxError> {
    let shown = view.binds.iter().map(|bind| bind.path.as_path());
    match grant::listening_socket(shown, &fs::read("/proc/net/unix").unwrap_or_default()) {
        Some((grant, socket)) => Err(refuse(&grant, format!("the socket `{}` lies in it", socket.display()))),
        None => Ok(()),
    }
}

/// Remembers what a path is now.
fn pin(path: &Path) -> Result<Pinned, SandboxError> {
    let metadata = fs::symlink_metadata(path).map_err(|error| refuse(path, error.to_string()))?;
    let kind = metadata.file_type();
    if kind.is_socket() || kind.is_fifo() || kind.is_block_device() || kind.is_char_device() {
        return Err(refuse(path, "it is neither a file nor a directory".to_owned()));
    }
    Ok(Pinned {
        path: path.to_owned(),
        at: None,
        device: metadata.dev(),
        inode: metadata.ino(),
        directory: metadata.is_dir(),
    })
}

fn refuse(path: &Path, reason: String) -> SandboxError {
    SandboxError::Grant {
        path: path.to_owned(),
        reason,
    }
}

/// Why a command may not be given a variable of this name; nothing when it may. Variables are only added: what a session or
/// the profile sets stays, and what steers the loader, an interpreter or git is the profile's to say.
pub fn refuse_variable(policy: &Policy, name: &str) -> Option<&'static str> {
    if steers_programs(name) {
        return Some("it steers the loader, an interpreter or git");
    }
    if name == "PATH" || OF_SESSION.contains(&name) {
        return Some("the sandbox sets it");
    }
    policy.env.contains_key(name).then_some("the profile sets it")
}

/// What a program expects of any session, besides `PATH`.
const OF_SESSION: [&str; 5] = ["HOME", "TMPDIR", "USER", "LOGNAME", "SHELL"];

/// The whole environment: what a program expects of any session, the policy's, the command's.
fn environment(policy: &Policy, command: &Command, places: &Places, path: &[PathBuf]) -> Vec<String> {
    let path: Vec<String> = path.iter().map(|directory| directory.display().to_string()).collect();
    let base = [
        ("PATH", path.join(":")),
        ("HOME", places.home.display().to_string()),
        ("TMPDIR", places.tmp.display().to_string()),
        ("USER", "factory".to_owned()),
        ("LOGNAME", "factory".to_owned()),
        ("SHELL", "/bin/sh".to_owned()),
    ];
    let mut variables: std::collections::BTreeMap<String, String> =
        base.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    variables.extend(policy.env.clone());
    variables.extend(command.env.clone());
    variables
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// Where a program without a slash would be found inside, or nothing when the view has no such program.
pub fn find_program(policy: &Policy, program: &str) -> Option<PathBuf> {
    if program.is_empty() || program.contains('/') {
        return None;
    }
    policy.path.iter().find_map(|directory| {
        if directory == Path::new(ALIASES) {
            return policy.aliases.get(program).cloned();
        }
        let path = directory.join(program);
        let metadata = fs::metadata(&path).ok()?;
        (metadata.is_file() && metadata.permissions().mode() & 0o111 != 0).then_some(path)
    })
}
