//! What a command would get, without running it: the dry run.
//!
//! It is derived from the same setup that is sent to the helper, so it refuses what a run would refuse. What only the
//! kernel can say is in the receipt of a real run.

use super::compile::{Host, compile, find_program, refuse_sockets};
use super::error::SandboxError;
use super::init::landlock::{self as rules, Class};
use super::init::mounts::DEVICES;
use super::init::seccomp;
use super::launch::limit_keepers;
use super::policy::{Command, Network, Policy, Tree};
use super::probe;
use super::report::{Enforcer, LimitKind};
use super::setup::{HOME, Job, Rung, Setup, TREE, View};
use crate::types::format_duration;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What a command would get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The command.
    pub argv: Vec<String>,
    /// The program that would be started, when it is named without a slash and found.
    pub program: Option<PathBuf>,
    /// Where it would start.
    pub cwd: PathBuf,
    /// Everything mounted in the view; nothing without namespaces, where the command sees the host's.
    pub mounts: Vec<Mount>,
    /// Symbolic links of the view: where, and the text.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// Rules of Landlock; absent when it would not be in force.
    pub landlock: Option<LandlockPlan>,
    /// What the system call filter answers.
    pub seccomp: seccomp::Summary,
    /// What can be reached by network.
    pub network: Network,
    /// Every limit.
    pub limits: Vec<PlannedLimit>,
    /// The names of all variables.
    pub environment: Vec<String>,
}

/// One mount of the view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Where it is inside.
    pub at: PathBuf,
    /// Its kind: `bind`, `tmpfs`, `proc` or `overlay`.
    pub kind: &'static str,
    /// The host paths that it shows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source: Vec<PathBuf>,
    /// Whether it can be written to, and what it is mounted with.
    pub options: String,
}

/// Rules of Landlock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LandlockPlan {
    /// The version that would be enforced in full.
    pub abi: u32,
    /// Rights by path; what no rule names is refused.
    pub rules: Vec<Rule>,
    /// What connecting and listening by TCP gives.
    pub tcp: &'static str,
    /// What signals and abstract sockets reach.
    pub scope: &'static str,
}

/// Rights on a path and all below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// The path.
    pub path: PathBuf,
    /// The rights, in words.
    pub rights: &'static str,
}

/// One limit with who would keep it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedLimit {
    /// Which one.
    pub limit: LimitKind,
    /// What is asked for, as a profile writes it.
    pub requested: String,
    /// Who would keep it on this host.
    pub enforced_by: Enforcer,
}

/// Says what a command would get under a policy.
///
/// # Errors
/// As for [`Sandbox::run`](super::Sandbox::run), as far as they can be known without running it.
pub fn plan(policy: &Policy, tree: &Tree, command: &Command) -> Result<Plan, SandboxError> {
    let host = Host::look(probe::landlock().abi).map_err(|source| SandboxError::Channel { source })?;
    let setup = compile(policy, tree, command, &host)?;
    refuse_sockets(&setup.view)?;
    let Setup { view, job } = &setup;
    let names = job.env.iter().filter_map(|pair| pair.split_once('='));
    Ok(Plan {
        program: command.argv.first().and_then(|program| find_program(policy, program)),
        argv: job.argv.clone(),
        cwd: job.cwd.clone(),
        mounts: match view.rung {
            Rung::Namespaces => mounts(view, job),
            Rung::Bare { .. } => Vec::new(),
        },
        links: view.links.clone(),
        landlock: landlock(view, job),
        seccomp: seccomp::summary(view.memfd, probe::can_ask(), &view.rung),
        network: job.network,
        limits: limits(view, job),
        environment: names.map(|(name, _)| name.to_owned()).collect(),
    })
}

/// The mounts in the order in which they are made.
fn mounts(view: &View, job: &Job) -> Vec<Mount> {
    let mount = |at: &Path, kind, source: Vec<PathBuf>, options: &str| Mount {
        at: at.to_owned(),
        kind,
        source,
        options: options.to_owned(),
    };
    let private = format!(
        "read-write, nosuid, nodev, size {}, {} files together",
        job.tmp.size, job.tmp.inodes
    );
    let mut mounts = vec![mount(Path::new("/"), "tmpfs", Vec::new(), "read-only, nosuid, nodev")];
    for bind in &view.binds {
        let source = vec![bind.path.clone()];
        // Where the kernel makes an overlay of it, which only it can say; else it is a bind.
        mounts.push(mount(
            bind.inside(),
            "overlay",
            source.clone(),
            "read-only, nosuid, nodev",
        ));
        if view.snapshots.contains(&bind.path) {
            mounts.push(mount(&bind.path, "overlay", source, &private));
        }
    }
    let proc = "nosuid, nodev, noexec, only processes of the sandbox";
    mounts.push(mount(Path::new("/proc"), "proc", Vec::new(), proc));
    for device in DEVICES.map(Path::new) {
        mounts.push(mount(
            device,
            "bind",
            vec![device.to_owned()],
            "read-only but for what goes through it, nosuid, noexec",
        ));
    }
    for place in ["/tmp", "/dev/shm", HOME].map(Path::new) {
        mounts.push(mount(place, "tmpfs", Vec::new(), &private));
    }
    let layers: Vec<PathBuf> = job.layers.iter().map(|layer| layer.path.clone()).collect();
    let kind = if layers.is_empty() { "tmpfs" } else { "overlay" };
    mounts.push(mount(Path::new(TREE), kind, layers, &private));
    mounts
}

fn landlock(view: &View, job: &Job) -> Option<LandlockPlan> {
    let rules = rules::paths(view).into_iter().map(|(path, class, _)| Rule {
        path,
        rights: match class {
            Class::Read => "read, execute",
            Class::Device => "read, write",
            Class::Write => "all but device nodes",
        },
    });
    // Source: landlock(7), "Landlock ABI versions": ports since 4, scopes since 6.
    let tcp = match (job.network, view.landlock_abi) {
        (Network::Loopback, _) => "not ruled: the loopback is the sandbox's own",
        (Network::None, 0..4) => "not ruled: this version knows no ports, and no interface is up",
        (Network::None, _) => "refused for every port",
    };
    let scope = match view.landlock_abi {
        0..6 => "not ruled: the namespaces bound it",
        _ => "the sandbox itself",
    };
    (view.landlock_abi > 0).then(|| LandlockPlan {
        abi: view.landlock_abi.min(rules::HIGHEST),
        rules: rules.collect(),
        tcp,
        scope,
    })
}

fn limits(view: &View, job: &Job) -> Vec<PlannedLimit> {
    let (limits, tmp, keepers) = (&job.limits, &job.tmp, limit_keepers());
    let disk = match view.rung {
        Rung::Namespaces => Enforcer::Tmpfs,
        Rung::Bare { .. } => Enforcer::Sampler,
    };
    let limit = |limit| {
        let (requested, enforced_by) = match limit {
            LimitKind::Wall => (format_duration(limits.wall), Enforcer::Timer),
            LimitKind::Cpu => (format_duration(limits.cpu), keepers.cpu),
            LimitKind::Memory => (limits.memory.to_string(), keepers.memory),
            LimitKind::Pids => (limits.pids.to_string(), keepers.pids),
            LimitKind::FileSize => (limits.file_size.to_string(), Enforcer::Rlimit),
            LimitKind::Files => (limits.files.to_string(), Enforcer::Rlimit),
            LimitKind::Disk => (tmp.size.to_string(), disk),
            LimitKind::Inodes => (tmp.inodes.to_string(), disk),
            LimitKind::Output => (limits.output.to_string(), Enforcer::Collector),
            LimitKind::Silence => (format_duration(limits.silence?), Enforcer::Collector),
        };
        Some(PlannedLimit {
            limit,
            requested,
            enforced_by,
        })
    };
    LimitKind::ALL.into_iter().filter_map(limit).collect()
}
