//! What trees and limits are made of: overlays and control groups.

use super::{Judge, evidence};
use crate::doctor::errno::{ENODEV, EPERM};
use crate::doctor::{Check, Consequence, Evidence, Status, Who};
use crate::sandbox::{Answer, CgroupFlavour, CgroupVersion, LimitKind};

impl Judge<'_> {
    pub(super) fn overlay(&self) -> Check {
        let id = "overlay";
        let (mounted, xattr) = (self.answer("view.overlay"), self.answer("view.xattr"));
        let evidence = self.tried(&["view.xattr", "view.overlay"]);
        let slower = |found: String| {
            Check::new(id, Status::Warn, found)
                .evidence(evidence.clone())
                .affects(self.profiles.all(
                    Consequence::Slower,
                    "each command gets a copy of the tree, which takes time and memory as the tree grows",
                ))
        };
        match (mounted, xattr) {
            (Answer::Done(_), Answer::Done(_)) => {
                Check::new(id, Status::Ok, "trees are layered by overlayfs in a user namespace").evidence(evidence)
            }
            (Answer::Silent | Answer::NotTried, _) | (Answer::Done(_), Answer::Silent | Answer::NotTried) => {
                Check::new(id, Status::Unknown, "not tried: there is no private mount namespace").evidence(evidence)
            }
            (Answer::Refused(ENODEV), _) => {
                slower("this kernel has no overlayfs, or its module is not loaded".to_owned()).remedy(
                    self.root(),
                    "load it: modprobe overlay, and name it in a file in /etc/modules-load.d",
                )
            }
            (Answer::Refused(EPERM), _) => slower("overlayfs is not permitted in a user namespace".to_owned())
                .remedy(Who::Nobody, "run Linux 5.11 or newer"),
            (Answer::Done(_), _) => {
                slower("files on a tmpfs cannot hold the attributes that overlayfs needs".to_owned())
                    .remedy(Who::Nobody, "run Linux 6.6 or newer, built with CONFIG_TMPFS_XATTR")
            }
            (other, _) => {
                slower(format!("overlayfs cannot be mounted: {other}")).remedy(Who::Nobody, "run a newer kernel")
            }
        }
    }

    pub(super) fn limit(&self, id: &'static str, limit: LimitKind, otherwise: &str) -> Check {
        let cgroups = &self.facts.cgroups;
        let controller = id.trim_start_matches("limits.");
        let attempts = cgroups.attempts.iter();
        let evidence: Vec<Evidence> = cgroups
            .own
            .iter()
            .filter(|(controllers, _)| controllers.is_empty() || controllers.split(',').any(|name| name == controller))
            .map(|(controllers, path)| Evidence {
                tried: format!(
                    "/proc/self/cgroup, {}",
                    if controllers.is_empty() { "v2" } else { controllers }
                ),
                answer: path.clone(),
            })
            .chain(
                attempts
                    .filter(|attempt| attempt.id.strip_prefix("cgroup.") == Some(controller))
                    .map(evidence),
            )
            .collect();
        if let Some(group) = cgroups.group(limit) {
            let version = match group.version {
                CgroupVersion::V2 => "version 2",
                CgroupVersion::V1 => "version 1",
            };
            let found = format!("a control group of {version} can be made in {}", group.parent.display());
            return Check::new(id, Status::Ok, found).evidence(evidence);
        }
        let affects = self.profiles.effects(|policy| {
            Some(if policy.floor().limits.contains(&limit) {
                (
                    Consequence::Refused,
                    "it requires a control group for this limit".to_owned(),
                )
            } else {
                (Consequence::Weaker, otherwise.to_owned())
            })
        });
        let refuses = affects.iter().any(|effect| effect.consequence == Consequence::Refused);
        let status = if refuses { Status::Fail } else { Status::Warn };
        let own = "start factory in a group of its own: systemd-run --user --scope --property=Delegate=yes factory …";
        let (found, who, remedy) = match (cgroups.flavour, &cgroups.occupied) {
            (_, Some(occupied)) => (
                format!(
                    "the group {} is delegated, but this process is in it",
                    occupied.display()
                ),
                Who::You,
                own,
            ),
            (CgroupFlavour::V2, None) => (
                "control groups are of version 2, and none is delegated to this process".to_owned(),
                Who::You,
                own,
            ),
            (CgroupFlavour::Hybrid | CgroupFlavour::V1, None) if self.facts.uid == 0 => (
                "the control groups of version 1 cannot be written".to_owned(),
                Who::Administrator,
                "mount them writable, as a container's --privileged does, or run outside",
            ),
            (CgroupFlavour::Hybrid | CgroupFlavour::V1, None) => (
                "control groups are of version 1, which only root can use".to_owned(),
                Who::Root,
                "boot with systemd.unified_cgroup_hierarchy=1, or run factory as root",
            ),
            (CgroupFlavour::None, _) => (
                "no control groups are mounted".to_owned(),
                self.root(),
                "mount them: mount -t cgroup2 none /sys/fs/cgroup",
            ),
        };
        Check::new(id, status, found)
            .evidence(evidence)
            .affects(affects)
            .remedy(
                who,
                format!("{remedy}; or, where a profile requires it, waive it for one run: --waive {id}"),
            )
    }

    pub(super) fn kill(&self) -> Check {
        let attempts = self.facts.cgroups.attempts.iter();
        let evidence = attempts
            .filter(|attempt| attempt.id == "cgroup.kill")
            .map(evidence)
            .collect();
        let check = match &self.facts.cgroups.kill {
            Some(parent) => Check::new(
                "cgroup.kill",
                Status::Ok,
                format!("groups made in {} can be killed as a whole", parent.display()),
            ),
            None => Check::new(
                "cgroup.kill",
                Status::Ok,
                "not to be had; commands are killed by the end of their pid namespace",
            ),
        };
        check.evidence(evidence)
    }
}
