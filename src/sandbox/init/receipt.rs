//! What the kernel confirms from inside the finished sandbox, before the command is started.

use super::Step;
use crate::sandbox::report::Enforced;
use crate::sandbox::setup::{LayerFailure, Setup};
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::fs;

const NAMESPACES: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];

/// Reads back every layer and refuses when one that was applied without an error is not on.
pub(super) fn take(setup: &Setup, tree: &str) -> Result<Enforced, LayerFailure> {
    let status = fs::read_to_string("/proc/self/status").step("read back the process status")?;
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"))
    };
    let number = |name: &str| field(name).and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let set = |name: &str| {
        field(name)
            .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
            .unwrap_or(u64::MAX)
    };
    let mounts = fs::read("/proc/self/mountinfo").step("read back the mounts")?;
    let enforced = Enforced {
        namespaces: namespaces()?,
        no_new_privs: number("NoNewPrivs") == 1,
        seccomp_mode: number("Seccomp"),
        seccomp_filters: number("Seccomp_filters"),
        capabilities: ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
            .iter()
            .map(|name| set(name))
            .fold(0, |a, b| a | b),
        landlock_abi: setup.landlock_abi.min(7),
        mounts: mounts.iter().filter(|byte| **byte == b'\n').count() as u32,
        tree: tree.to_owned(),
    };
    let whole = enforced.no_new_privs
        && enforced.seccomp_mode == 2
        && enforced.capabilities == 0
        && (setup.landlock_abi == 0 || landlock_refuses());
    if whole {
        Ok(enforced)
    } else {
        Err(Errno::EPERM).step("find every layer in force")
    }
}

fn namespaces() -> Result<BTreeMap<String, String>, LayerFailure> {
    let identity = |name: &&str| {
        let link = fs::read_link(format!("/proc/self/ns/{name}")).step(format!("read back the {name} namespace"))?;
        Ok(((*name).to_owned(), link.to_string_lossy().into_owned()))
    };
    NAMESPACES.iter().map(identity).collect()
}

/// Whether a directory for which there is no rule cannot be listed. The modes of the root would allow it, so a refusal is
/// Landlock's; the kernel offers no other way to ask whether a process is restricted.
fn landlock_refuses() -> bool {
    fs::read_dir("/").is_err_and(|error| error.raw_os_error() == Some(libc::EACCES))
}
