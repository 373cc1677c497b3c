//! Changes to the policy under attack: limits that a test can reach, and grants that ought to be refused.

use crate::sandbox::{Network, Policy, ReadGrant};
use crate::types::Bytes;
use std::path::Path;
use std::time::Duration;

const MIB: u64 = 1 << 20;

pub(super) fn loopback(policy: &mut Policy, _: &Path) {
    policy.network = Network::Loopback;
}

pub(super) fn grant_outside(policy: &mut Policy, site: &Path) {
    policy.read.push(ReadGrant {
        path: site.join("outside"),
        optional: false,
    });
}

pub(super) fn grant_plain(policy: &mut Policy, site: &Path) {
    policy.read.push(ReadGrant {
        path: site.join("outside/granted"),
        optional: false,
    });
}

pub(super) fn grant_served(policy: &mut Policy, site: &Path) {
    policy.read.push(ReadGrant {
        path: site.join("outside/served"),
        optional: false,
    });
}

pub(super) fn few_processes(policy: &mut Policy, _: &Path) {
    policy.limits.pids = 64;
}

pub(super) fn little_memory(policy: &mut Policy, _: &Path) {
    policy.limits.memory = Bytes(128 * MIB);
}

pub(super) fn small_tmp(policy: &mut Policy, _: &Path) {
    policy.tmp.size = Bytes(24 * MIB);
}

pub(super) fn few_inodes(policy: &mut Policy, _: &Path) {
    policy.tmp.inodes = 500;
}

pub(super) fn small_files(policy: &mut Policy, _: &Path) {
    policy.limits.file_size = Bytes(16 * MIB);
}

pub(super) fn few_files(policy: &mut Policy, _: &Path) {
    policy.limits.files = 64;
}

pub(super) fn little_cpu(policy: &mut Policy, _: &Path) {
    policy.limits.cpu = Duration::from_secs(2);
}

pub(super) fn short_wall(policy: &mut Policy, _: &Path) {
    policy.limits.wall = Duration::from_secs(2);
}

pub(super) fn short_silence(policy: &mut Policy, _: &Path) {
    policy.limits.silence = Some(Duration::from_secs(2));
}

pub(super) fn little_output(policy: &mut Policy, _: &Path) {
    policy.limits.output = Bytes(MIB);
}

/// The lowest floor: a kernel without Landlock is good enough.
pub(super) fn no_landlock(policy: &mut Policy, _: &Path) {
    policy.require.landlock_abi = 0;
}

/// The same, with a directory granted for reading.
pub(super) fn no_landlock_granted(policy: &mut Policy, site: &Path) {
    no_landlock(policy, site);
    grant_plain(policy, site);
}

/// The same, with a loopback of its own, where Landlock would leave ports alone.
pub(super) fn no_landlock_loopback(policy: &mut Policy, site: &Path) {
    no_landlock(policy, site);
    loopback(policy, site);
}
