//! A profile on this host: what its bundles stand for here, and whether what it grants may be shown.

use super::document::{Origin, Span};
use super::inherit::Grant;
use super::{Operator, Profile};
use crate::sandbox::bundle::{self, Bundle};
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
    /// Toolchains that lie where nothing may be shown, and that the profile can do without.
    pub left_out: Vec<LeftOut>,
}

/// A bundle that is left out although its toolchain is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The bundle.
    pub entry: String,
    /// Why.
    pub reason: String,
    /// Who lists it.
    pub origin: Origin,
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
        let home = (operator.variable)("HOME").map(PathBuf::from);
        let home = home.filter(|home| home.is_absolute() && home != Path::new("/"));
        let places = Places::new(home.as_deref(), operator.own);
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
                suites: Default::default(),
            },
            granted: Vec::new(),
            left_out: Vec::new(),
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
        if !grant.name.starts_with('@') {
            let present = check_path(grant, places).map_err(|refused| self.refuse(grant, refused))?;
            resolved.grant(PathBuf::from(&grant.name), grant, shown, present);
            return Ok(());
        }
        let bundle = match bundle::resolve(&grant.name, operator) {
            Some(bundle) => bundle,
            None if grant.optional => return Ok(()),
            None => {
                return Err(SandboxError::ToolchainMissing {
                    profile: self.spec.name.clone(),
                    bundle: grant.name.clone(),
                });
            }
        };
        match check_bundle(&grant.name, &bundle, places) {
            // One that may be missing is: a toolchain in an odd place is no reason to run nothing at all.
            Err(refused) if grant.optional => resolved.left_out.push(LeftOut {
                entry: grant.name.clone(),
                reason: refused.reason,
                origin: grant.origin.clone(),
            }),
            Err(refused) => return Err(self.refuse(grant, refused)),
            Ok(()) => resolved.add(bundle, grant, shown),
        }
        Ok(())
    }

    fn refuse(&self, grant: &Grant, refused: Refused) -> SandboxError {
        let Origin { profile, line } = &grant.origin;
        let place = match *profile == self.spec.name {
            true => format!("line {line}"),
            false => format!("line {line} of its parent `{profile}`"),
        };
        SandboxError::ProfileInvalid {
            origin: self.spec.label.clone(),
            reason: format!("{place}: {refused}"),
            remedy: Some(refused.remedy),
        }
    }
}

/// Whether a path that a profile lists may be shown; answers whether it is there.
fn check_path(grant: &Grant, places: &Places) -> Result<bool, Refused> {
    let path = Path::new(&grant.name);
    grant::place(path)?;
    grant::private(path, places)?;
    if grant.optional && path.symlink_metadata().is_err() {
        return Ok(false);
    }
    grant::content(path).map(|()| true)
}

/// Whether what a bundle stands for may be shown. What is in it is not looked at: the toolchain is the operator's own.
fn check_bundle(name: &str, bundle: &Bundle, places: &Places) -> Result<(), Refused> {
    if name == bundle::SYSTEM_NAME {
        return Ok(());
    }
    let mut paths = bundle.read.iter().map(|grant| &grant.path).chain(&bundle.snapshots);
    paths
        .try_for_each(|path| grant::place(path).and_then(|()| grant::private(path, places)))
        .map_err(|refused| refused.of_bundle(name))
}

/// How a path is shown.
#[derive(Clone, Copy, PartialEq)]
enum Shown {
    Read,
    Snapshot,
}

impl Resolved {
    /// Adds all that a bundle stands for.
    fn add(&mut self, bundle: Bundle, grant: &Grant, shown: Shown) {
        let read = bundle.read.into_iter().map(|read| (read.path, shown, read.optional));
        let snapshots = bundle.snapshots.into_iter().map(|path| (path, Shown::Snapshot, false));
        for (path, shown, optional) in read.chain(snapshots) {
            let present = path.symlink_metadata().is_ok();
            let grant = Grant {
                optional,
                ..grant.clone()
            };
            self.grant(path, &grant, shown, present);
        }
        self.policy.aliases.extend(bundle.aliases);
        self.policy.path.extend(bundle.path);
        self.policy.env.extend(bundle.env);
    }

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
