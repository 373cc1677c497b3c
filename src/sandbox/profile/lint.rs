//! What a profile allows that a careful reader would ask about.
//!
//! Findings are opinions, not refusals: what is dangerous in every case is refused when the profile is read.

use super::document::Origin;
use super::inherit::{Grant, Set, Spec, Wanted};
use super::{Operator, Profile};
use crate::sandbox::error::SandboxError;
use crate::sandbox::policy::Network;
use crate::types::Bytes;
use serde::Serialize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One thing to think about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A word for the kind of finding.
    pub rule: &'static str,
    /// What about it.
    pub message: String,
    /// Where it is said.
    pub origin: Origin,
}

/// Landlock of this version and later covers truncation: below it a file that may not be written can still be emptied
/// where a mount allows it. Source: landlock(7), "File truncation (ABI < 3)".
const LANDLOCK_WITH_TRUNCATE: u32 = 3;

/// A longer time than this is more likely a mistake than a test suite.
const LONG: Duration = Duration::from_secs(2 * 60 * 60);

/// Parts of names whose values are rarely harmless.
const SECRET: [&str; 7] = ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "_KEY", "COOKIE"];

impl Profile {
    /// Everything to think about, in the order of the format.
    ///
    /// # Errors
    /// `Policy` when a parent cannot be read, or it grants what may not be shown on this host.
    pub fn lint(&self, operator: &Operator<'_>) -> Result<Vec<Finding>, SandboxError> {
        let left_out = match self.resolve(operator) {
            Ok(resolved) => resolved.left_out,
            Err(error @ SandboxError::ProfileInvalid { .. }) => return Err(error),
            // Whether its toolchains are here says nothing about the profile.
            Err(_) => Vec::new(),
        };
        let parents = self.extends().iter().map(|name| match *name == self.spec.name {
            true => super::built_in(name).map_or_else(|| super::find(name, operator), Ok),
            false => super::find(name, operator),
        });
        let parents: Vec<Spec> = parents
            .map(|source| super::load(source?, operator, &mut Vec::new()))
            .collect::<Result<_, _>>()?;
        let mut findings = Vec::new();
        floor(&self.spec, &mut findings);
        reasons(&self.spec, &parents, &mut findings);
        for grant in self.spec.read.iter().chain(&self.spec.snapshot) {
            path(grant, operator, &mut findings);
        }
        for one in left_out {
            note(&mut findings, "left-out", one.reason, &one.origin);
        }
        limits(&self.spec, &mut findings);
        for (name, set) in &self.spec.pass {
            if SECRET.iter().any(|word| name.to_ascii_uppercase().contains(word)) {
                let message = format!("`env.pass` hands `{name}` to the command, and the name sounds like a secret");
                note(&mut findings, "passes-secret", message, &set.origin);
            }
        }
        if !self
            .spec
            .expect
            .iter()
            .any(|expectation| expectation.wanted == Wanted::Deny)
        {
            let message = "no [[expect]] says what must be denied, so `factory profile test` cannot notice a hole";
            let origin = Origin {
                profile: self.spec.name.clone(),
                line: 0,
            };
            note(&mut findings, "no-expectations", message.to_owned(), &origin);
        }
        Ok(findings)
    }
}

fn note(findings: &mut Vec<Finding>, rule: &'static str, message: String, origin: &Origin) {
    findings.push(Finding {
        rule,
        message,
        origin: origin.clone(),
    });
}

fn floor(spec: &Spec, findings: &mut Vec<Finding>) {
    let abi = &spec.landlock_abi;
    if abi.value < LANDLOCK_WITH_TRUNCATE {
        let message = format!(
            "`require.landlock_abi` = {} accepts hosts without the second lock, or with a weak one",
            abi.value
        );
        note(findings, "low-floor", message, &abi.origin);
    }
    if !spec.userns.value {
        let message = "`require.userns` = false: the command shares the host's processes, network and files";
        note(findings, "low-floor", message.to_owned(), &spec.userns.origin);
    }
}

/// A permission that no parent has is explained by whoever adds it.
fn reasons(spec: &Spec, parents: &[Spec], findings: &mut Vec<Finding>) {
    type Grants = fn(&Spec) -> &Vec<Grant>;
    let lists: [(&str, Grants); 2] = [("fs.read", |spec| &spec.read), ("fs.snapshot", |spec| &spec.snapshot)];
    for (key, of) in lists {
        for grant in of(spec).iter().filter(|grant| grant.why.is_empty()) {
            let inherited = parents.iter().flat_map(of).any(|theirs| theirs.name == grant.name);
            if !inherited {
                let message = format!("`{key}` grants `{}` without saying why", grant.name);
                note(findings, "no-reason", message, &grant.origin);
            }
        }
    }
    let memfd = |spec: &Spec| spec.memfd.value;
    let loopback = |spec: &Spec| spec.network.value > Network::None;
    let mut unexplained = |key: &str, granted: bool, why: &str, origin: &Origin, inherited: bool| {
        if granted && why.is_empty() && !inherited {
            note(
                findings,
                "no-reason",
                format!("`{key}` is granted without saying why"),
                origin,
            );
        }
    };
    let Set { why, origin, .. } = &spec.memfd;
    unexplained("exec.memfd", memfd(spec), why, origin, parents.iter().any(memfd));
    let Set { why, origin, .. } = &spec.network;
    unexplained("net.mode", loopback(spec), why, origin, parents.iter().any(loopback));
    for (name, set) in &spec.pass {
        let inherited = parents.iter().any(|parent| parent.pass.contains_key(name));
        unexplained(&format!("env.pass {name}"), true, &set.why, &set.origin, inherited);
    }
}

/// What can be seen of a granted path from here.
fn path(grant: &Grant, operator: &Operator<'_>, findings: &mut Vec<Finding>) {
    let path = Path::new(&grant.name);
    if grant.name.starts_with('@') {
        return;
    }
    let home = (operator.variable)("HOME").map(PathBuf::from);
    if home.is_some_and(|home| path.starts_with(home)) {
        let message = format!(
            "`{}` lies in the home directory: whatever is put there later is granted too",
            grant.name
        );
        note(findings, "below-home", message, &grant.origin);
    }
    let Ok(metadata) = path.metadata() else {
        let message = format!("`{}` is not on this host", grant.name);
        return note(findings, "absent", message, &grant.origin);
    };
    // Write permission of the others, without the bit that protects the files of each.
    if metadata.mode() & 0o002 != 0 {
        let message = format!(
            "`{}` can be written by every user of this host, who so decides what the command runs",
            grant.name
        );
        note(findings, "writable-by-others", message, &grant.origin);
    }
}

fn limits(spec: &Spec, findings: &mut Vec<Finding>) {
    if spec.wall.value.0 > LONG {
        let message = format!(
            "`limits.wall` = {}: a command that hangs is noticed late",
            spec.wall.value
        );
        note(findings, "long", message, &spec.wall.origin);
    }
    // Without an answer nothing is more than the host has.
    let ram = Bytes(nix::sys::sysinfo::sysinfo().map_or(u64::MAX, |info| info.ram_total()));
    if spec.memory.value > ram {
        let message = format!(
            "`limits.memory` = {} is more than the {} MiB of this host",
            spec.memory.value,
            ram.0 >> 20
        );
        note(findings, "more-than-the-host", message, &spec.memory.origin);
    }
    // The private file systems hold their files in memory: each of /tmp, /dev/shm, the home and the tree.
    if spec.tmp_size.value > ram {
        let message = format!(
            "`fs.tmp.size` = {} is more than the {} MiB of memory of this host",
            spec.tmp_size.value,
            ram.0 >> 20
        );
        note(findings, "more-than-the-host", message, &spec.tmp_size.origin);
    }
}
