//! Named sets of host paths, so that an allow-list of reads is usable.
//!
//! - A toolchain is found the way the operator's shell would find it, by looking at files only: running a tool to ask it
//!   costs more than everything else that starts a sandbox.
//! - A tree under test has no say: no file of it chooses a version.
//! - A directory is granted only when it is an installation by the landmarks that the toolchain itself looks for; beside a
//!   program in `~/bin` lies whatever the operator keeps at home.
//! - Nothing that a toolchain keeps keys in is part of a bundle.

mod c;
mod go;
mod node;
mod python;
mod rust;

use super::policy::ReadGrant;
use super::profile::Operator;
use super::setup::ALIASES;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What a bundle puts into a policy.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Bundle {
    pub(super) read: Vec<ReadGrant>,
    /// Directories with a private writable layer on top.
    pub(super) snapshots: Vec<PathBuf>,
    pub(super) aliases: BTreeMap<String, PathBuf>,
    /// Directories for the front of `PATH`.
    pub(super) path: Vec<PathBuf>,
    /// Variables without which the toolchain would look elsewhere, or ask the network.
    pub(super) env: BTreeMap<String, String>,
}

/// The bundle of the system's own programs.
pub(super) const SYSTEM_NAME: &str = "@system";

/// The bundles for `[fs] read`.
pub(super) const READ: [&str; 6] = [
    SYSTEM_NAME,
    "@toolchain.c",
    "@toolchain.go",
    "@toolchain.node",
    "@toolchain.python",
    "@toolchain.rust",
];

/// The bundles for `[fs] snapshot`: what a package manager has downloaded already.
pub(super) const CACHES: [&str; 2] = ["@cache.cargo", "@cache.go"];

/// Programs, libraries, and the few of `/etc` that the loader and the links of Debian's alternatives need. No users, hosts
/// or keys: those are written by the sandbox, with content of its own.
pub(super) const SYSTEM: [&str; 10] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/localtime",
];

/// The directories of `PATH` that belong to the system.
pub(super) const SYSTEM_PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// The paths of a bundle on this host; nothing when its toolchain is not installed.
pub(super) fn resolve(name: &str, operator: &Operator<'_>) -> Option<Bundle> {
    match name {
        SYSTEM_NAME => Some(Bundle {
            read: SYSTEM
                .iter()
                .map(|path| ReadGrant {
                    path: path.into(),
                    optional: *path != "/usr",
                })
                .collect(),
            ..Bundle::default()
        }),
        "@toolchain.c" => c::toolchain(operator),
        "@toolchain.go" => go::toolchain(operator),
        "@toolchain.node" => node::toolchain(operator),
        "@toolchain.python" => python::toolchain(operator),
        "@toolchain.rust" => rust::toolchain(operator),
        "@cache.cargo" => rust::cache(operator),
        "@cache.go" => go::cache(operator),
        _ => None,
    }
}

impl Bundle {
    /// Grants the installation that a program in its `bin` belongs to, unless it is the system's, known already, or no
    /// installation of its own.
    fn add_prefix(&mut self, program: &Path, is_installation: impl Fn(&Path) -> bool) {
        let Some(bin) = program.parent() else { return };
        let Some(prefix) = bin.parent() else { return };
        let known = self.read.iter().any(|grant| prefix.starts_with(&grant.path));
        if is_systems(prefix) || prefix == Path::new("/") || known || !is_installation(prefix) {
            return;
        }
        self.read.push(ReadGrant {
            path: prefix.to_owned(),
            optional: false,
        });
        self.path.push(bin.to_owned());
    }

    /// Whether the bundle, or `@system` beside it, shows a path.
    fn shows(&self, path: &Path) -> bool {
        is_systems(path) || self.read.iter().any(|grant| path.starts_with(&grant.path))
    }
}

/// Whether a path is among what `@system` shows.
fn is_systems(path: &Path) -> bool {
    path.starts_with("/usr") || SYSTEM_PATH.iter().any(|directory| path.starts_with(directory))
}

/// The programs of that name on the operator's `PATH`, in order.
fn on_path(name: &str, operator: &Operator<'_>) -> impl Iterator<Item = PathBuf> {
    let directories: Vec<PathBuf> = std::env::split_paths(operator.search_path).collect();
    let name = name.to_owned();
    let absolute = directories.into_iter().filter(|directory| directory.is_absolute());
    absolute
        .map(move |directory| directory.join(&name))
        .filter(|program| is_file(program))
}

fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
}

/// A directory that a variable names, else one below the operator's home directory.
fn directory(variable: &str, below_home: &str, operator: &Operator<'_>) -> Option<PathBuf> {
    let named = (operator.variable)(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from);
    named
        .or_else(|| Some(PathBuf::from((operator.variable)("HOME")?).join(below_home)))
        .filter(|directory| directory.is_absolute())
}

/// A word of a settings file that is to become part of a path: one normal component.
fn component(word: &str) -> Option<&str> {
    let word = word.trim();
    let is_one = !word.is_empty() && !word.contains('/') && !word.starts_with('.');
    is_one.then_some(word)
}

fn variables<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// What the tests of all bundles need.
#[cfg(test)]
mod scene {
    use super::*;

    pub(super) fn operator<'a>(path: &'a str, variable: &'a dyn Fn(&str) -> Option<String>) -> Operator<'a> {
        Operator {
            profiles: None,
            own: &[],
            search_path: path,
            variable,
        }
    }

    pub(super) fn program(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    pub(super) fn read(bundle: &Bundle) -> Vec<&Path> {
        bundle.read.iter().map(|grant| grant.path.as_path()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_toolchain_is_nothing_rather_than_a_guess() {
        for name in READ.into_iter().filter(|name| *name != SYSTEM_NAME) {
            assert_eq!(
                resolve(name, &scene::operator("/nonexistent", &|_| None)),
                None,
                "{name}"
            );
        }
        for name in CACHES.into_iter().chain(["@toolchain.cobol"]) {
            assert_eq!(resolve(name, &scene::operator("/usr/bin", &|_| None)), None, "{name}");
        }
    }
}
