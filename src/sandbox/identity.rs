//! Which id of the host stands behind the one inside.
//!
//! - An ordinary caller's own.
//! - For root, one that nobody has: a sandbox never maps host root. In a container, where that one may not exist, the
//!   highest that does; where root is the only id, it is used if it is not the host's.

use std::fs;

/// The id behind the one inside when the caller is root.
///
/// It lies in the range that systemd's table of user ids (UIDS-GIDS, "1879048192…2147483647: unused") leaves to nobody,
/// so no account and no container shares it.
pub(super) const FOR_ROOT: u32 = 1_999_000_001;

/// The host's user and group id behind those inside, as this process writes them. Nothing when there is none but the
/// host's root.
pub(super) fn host_ids() -> Option<(u32, u32)> {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    if !uid.is_root() {
        return Some((uid.as_raw(), gid.as_raw()));
    }
    let map = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    Some((for_root(&map("uid_map"))?, for_root(&map("gid_map"))?))
}

/// Of the ids that a map has, the one to use for root. Source: user_namespaces(7), "User and group ID mappings".
fn for_root(map: &str) -> Option<u32> {
    let ranges = map.lines().filter_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        let mut next = || numbers.next()?.ok();
        Some((next()?, next()?, next()?))
    });
    let ranges: Vec<(u32, u32, u32)> = ranges.collect();
    let has = |id: u32| {
        ranges
            .iter()
            .any(|(first, _, count)| (*first..first.saturating_add(*count)).contains(&id))
    };
    if has(FOR_ROOT) {
        return Some(FOR_ROOT);
    }
    let highest = ranges
        .iter()
        .map(|(first, _, count)| first + (count.max(&1) - 1))
        .max()?;
    match highest {
        0 => ranges.iter().all(|(_, outside, _)| *outside != 0).then_some(0),
        _ => Some(highest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_gets_an_id_that_nobody_has_or_the_next_best() {
        for (map, wanted) in [
            ("         0          0 4294967295\n", Some(FOR_ROOT)),
            ("0 1000 1\n1 100000 65536\n", Some(65536)),
            ("0 100000 65536\n", Some(65535)),
            ("0 1000 1\n", Some(0)),
            ("0 0 1\n", None),
            ("", None),
        ] {
            assert_eq!(for_root(map), wanted, "{map}");
        }
    }
}
