//! A profile on this host: what its bundles stand for here, and whether what it grants may be shown.

use super::document::{Origin, Span};
use super::inherit::Grant;
use super::{Operator, Profile};
use crate::sandbox::bundle;
use crate::sandbox::error::SandboxError;
use crate::sandbox::grant::{self, Places, Refused};
use crate::sandbox::policy::{Limits, Policy, ReadGrant, Require, Tmp};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A profile made concrete for this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// What will hold.
    pub policy: Policy,
    /// Where each path in it comes from.
    pub granted: Vec<Granted>,
}

/// One host path that a profile grants, with what it was written as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Granted {
    /// The path.
    pub path: PathBuf,
    /// The entry that stands for it: the path itself, or a bundle.
    pub entry: String,
    /// Whether a private writable layer lies on top.
    pub snapshot: bool,
    /// Whether it is on this host.
    pub present: bool,
    /// Who grants it.
    pub origin: Origin,
}

impl Profile {
    /// Makes the profile concrete for this host.
    ///
    /// # Errors
    /// `Policy` when it grants a path that is missing or may not be shown; `Host` when a toolchain that it names is not
    /// installed.
    pub fn resolve(&self, operator: &Operator<'_>) -> Result<Resolved, SandboxError> {
        let spec = &self.spec;
        let places = Places {
            home: (operator.variable)("HOME")
                .map(PathBuf::from)
                .filter(|home| home.is_absolute() && home != Path::new("/")),
            own: operator.own.to_vec(),
        };
        let limit = |span: Span| (span != Span::ENDLESS).then_some(span.0);
        let mut resolved = Resolved {
            policy: Policy {
                profile: spec.name.clone(),
                require: Require {
                    userns: spec.userns.value,
                    landlock_abi: spec.landlock_abi.value,
                    seccomp: spec.seccomp.value,
                    limits: spec.grouped.keys().copied().collect(),
                },
                waive: Default::default(),
                read: Vec::new(),
                aliases: Default::default(),
                path: Vec::new(),
                tmp: Tmp {
                    size: spec.tmp_size.value,
                    inodes: spec.tmp_inodes.value,
                },
                network: spec.network.value,
                limits: Limits {
                    wall: spec.wall.value.0,
                    cpu: spec.cpu.value.0,
                    memory: spec.memory.value,
                    pids: spec.pids.value,
                    file_size: spec.file_size.value,
                    files: spec.files.value,
                    output: spec.output.value,
                    silence: limit(spec.silence.value),
                },
                env: Default::default(),
                memfd: spec.memfd.value,
                tree: spec.source.value,
                protect: spec.protect.values().map(|set| set.value.clone()).collect(),
                snapshots: Vec::new(),
            },
            granted: Vec::new(),
        };
        for grant in &spec.read {
            self.add(&mut resolved, grant, Shown::Read, &places, operator)?;
        }
        for grant in &spec.snapshot {
            self.add(&mut resolved, grant, Shown::Snapshot, &places, operator)?;
        }
        let policy = &mut resolved.policy;
        policy.path.extend(bundle::SYSTEM_PATH.iter().map(PathBuf::from));
        // The profile's own words go before those of its bundles, and the operator's before both.
        let set = spec.env.iter().map(|(name, set)| (name.clone(), set.value.clone()));
        policy.env.extend(set);
        let passed = spec.pass.keys();
        policy
            .env
            .extend(passed.filter_map(|name| Some((name.clone(), (operator.variable)(name)?))));
        Ok(resolved)
    }

    fn add(
        &self,
        resolved: &mut Resolved,
        grant: &Grant,
        shown: Shown,
        places: &Places,
        operator: &Operator<'_>,
    ) -> Result<(), SandboxError> {
        let refuse = |refused: Refused| SandboxError::ProfileInvalid {
            origin: self.spec.label.clone(),
            reason: match grant.origin.profile == self.spec.name {
                true => format!("line {}: {refused}", grant.origin.line),
                false => format!(
                    "line {} of its parent `{}`: {refused}",
                    grant.origin.line, grant.origin.profile
                ),
            },
            remedy: Some(refused.remedy.clone()),
        };
        if !grant.name.starts_with('@') {
            let path = PathBuf::from(&grant.name);
            grant::place(&path)
                .and_then(|()| grant::private(&path, places))
                .map_err(refuse)?;
            let is_absent = grant.optional && path.symlink_metadata().is_err();
            if !is_absent {
                grant::content(&path).map_err(refuse)?;
            }
            resolved.grant(path, grant, shown, !is_absent);
            return Ok(());
        }
        let Some(bundle) = bundle::resolve(&grant.name, operator) else {
            if grant.optional {
                return Ok(());
            }
            return Err(SandboxError::ToolchainMissing {
                profile: self.spec.name.clone(),
                bundle: grant.name.clone(),
            });
        };
        let read = bundle.read.iter().map(|grant| (&grant.path, shown, grant.optional));
        let snapshots = bundle.snapshots.iter().map(|path| (path, Shown::Snapshot, false));
        for (path, shown, optional) in read.chain(snapshots) {
            // A toolchain that lies in the wrong place is still the operator's: a link to it is not looked at again.
            if grant.name != bundle::SYSTEM_NAME {
                grant::place(path)
                    .and_then(|()| grant::private(path, places))
                    .map_err(|refused| refuse(refused.of_bundle(&grant.name)))?;
            }
            let present = path.symlink_metadata().is_ok();
            resolved.grant(path.clone(), &optional_if(grant, optional), shown, present);
        }
        resolved.policy.aliases.extend(bundle.aliases);
        resolved.policy.path.extend(bundle.path);
        resolved.policy.env.extend(bundle.env);
        Ok(())
    }
}

/// How a path is shown.
#[derive(Clone, Copy, PartialEq)]
enum Shown {
    Read,
    Snapshot,
}

fn optional_if(grant: &Grant, optional: bool) -> Grant {
    Grant {
        optional,
        ..grant.clone()
    }
}

impl Resolved {
    fn grant(&mut self, path: PathBuf, grant: &Grant, shown: Shown, present: bool) {
        match shown {
            Shown::Read => self.policy.read.push(ReadGrant {
                path: path.clone(),
                optional: grant.optional,
            }),
            Shown::Snapshot if present => self.policy.snapshots.push(path.clone()),
            Shown::Snapshot => {}
        }
        self.granted.push(Granted {
            path,
            entry: grant.name.clone(),
            snapshot: shown == Shown::Snapshot,
            present,
            origin: grant.origin.clone(),
        });
    }
}
