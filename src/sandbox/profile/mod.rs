//! Profiles: named policies in TOML, from the operator or built in, never from the tree under test.
//!
//! - Unknown keys are errors: a misspelled limit would otherwise be no limit.
//! - Whatever a profile grants is listed in it or in a parent; there is no key that grants everything.
//! - A child only narrows its parents, unless a parent says that a key is open.
//!
//! ```text
//! text ─parse─▶ document ─join with parents─▶ spec ─resolve on this host─▶ policy
//! ```
//!
//! It does not know what the kernel can do: `compile` does.

mod document;
mod inherit;
mod lint;
mod resolve;
mod values;

use super::error::SandboxError;
use super::policy::Policy;
use document::Source;
use inherit::Spec;
pub(super) use inherit::steers_programs;
use std::fs;
use std::path::{Path, PathBuf};

pub use document::Origin;
pub use inherit::{Expectation, Wanted};
pub use lint::Finding;
pub use resolve::{Granted, LeftOut, Resolved};
pub use values::{Change, Difference, Value};

/// What a profile may ask of the operator's side.
pub struct Operator<'a> {
    /// The operator's directory of profiles, whose files go before the built-in ones.
    pub profiles: Option<&'a Path>,
    /// Directories of this program itself, such as those of its state and its cache, which no command may see.
    pub own: &'a [PathBuf],
    /// The operator's `PATH`, in which toolchains are looked for.
    pub search_path: &'a str,
    /// Reads one variable of the operator's environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

impl std::fmt::Debug for Operator<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operator")
            .field("profiles", &self.profiles)
            .field("own", &self.own)
            .field("search_path", &self.search_path)
            .finish_non_exhaustive()
    }
}

const BUILT_IN: [(&str, &str); 5] = [
    ("build", include_str!("../../../sandbox-profiles/build.toml")),
    (
        "legacy-kernel",
        include_str!("../../../sandbox-profiles/legacy-kernel.toml"),
    ),
    ("review", include_str!("../../../sandbox-profiles/review.toml")),
    ("strict", include_str!("../../../sandbox-profiles/strict.toml")),
    ("verify", include_str!("../../../sandbox-profiles/verify.toml")),
];

/// A profile with all that it inherits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    spec: Spec,
}

impl Profile {
    /// Reads a named profile, one of the operator's directory or else a built-in one, with its parents.
    ///
    /// # Errors
    /// `Policy` when there is no such profile, or it or one of its parents is invalid, or it is wider than a parent.
    pub fn load(name: &str, operator: &Operator<'_>) -> Result<Self, SandboxError> {
        let source = find(name, operator)?;
        let spec = load(source, operator, &mut Vec::new())?;
        Ok(Profile { spec })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// What it is for, in a line.
    pub fn summary(&self) -> &str {
        &self.spec.summary
    }

    /// Its file, or that it is built in.
    pub fn place(&self) -> &str {
        &self.spec.label
    }

    /// Its parents, by name.
    pub fn extends(&self) -> &[String] {
        &self.spec.extends
    }

    /// The variables that it takes over from the operator, by name.
    pub fn passes(&self) -> impl Iterator<Item = &str> {
        self.spec.pass.keys().map(String::as_str)
    }

    /// What it and its parents expect to be allowed and denied.
    pub fn expectations(&self) -> &[Expectation] {
        &self.spec.expect
    }
}

/// Makes a policy from a named profile: one of the operator's directory, else one of those built in.
///
/// # Errors
/// `Policy` when there is no such profile, it is invalid, or it grants what cannot be shown; `Host` when a toolchain that
/// it names is not installed.
pub fn load_profile(name: &str, operator: &Operator<'_>) -> Result<Policy, SandboxError> {
    Ok(Profile::load(name, operator)?.resolve(operator)?.policy)
}

/// The names of all profiles that [`load_profile`] would find.
///
/// # Errors
/// `Policy` when the operator's directory exists and cannot be read.
pub fn profile_names(operator: &Operator<'_>) -> Result<Vec<String>, SandboxError> {
    let mut names: Vec<String> = BUILT_IN.iter().map(|(name, _)| (*name).to_owned()).collect();
    if let Some(directory) = operator.profiles.filter(|directory| directory.is_dir()) {
        let entries = fs::read_dir(directory).map_err(|source| SandboxError::ProfileUnreadable {
            path: directory.to_owned(),
            source,
        })?;
        let files = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        names.extend(files.filter_map(|file| file.strip_suffix(".toml").map(str::to_owned)));
    }
    names.sort();
    names.dedup();
    Ok(names)
}

fn find(name: &str, operator: &Operator<'_>) -> Result<Source, SandboxError> {
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if is_name && let Some(directory) = operator.profiles {
        let path = directory.join(format!("{name}.toml"));
        match fs::read_to_string(&path) {
            Ok(text) => {
                return Ok(Source {
                    name: name.to_owned(),
                    label: format!("`{}`", path.display()),
                    text,
                });
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(SandboxError::ProfileUnreadable { path, source }),
        }
    }
    match built_in(name) {
        Some(source) => Ok(source),
        None => Err(SandboxError::NoSuchProfile {
            name: name.to_owned(),
            known: profile_names(operator)?,
        }),
    }
}

fn built_in(name: &str) -> Option<Source> {
    let (name, text) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name)?;
    Some(Source {
        name: (*name).to_owned(),
        label: format!("`{name}` (built in)"),
        text: (*text).to_owned(),
    })
}

/// Reads a profile and, before it, its parents. `chain` names the profiles that are being read.
fn load(source: Source, operator: &Operator<'_>, chain: &mut Vec<String>) -> Result<Spec, SandboxError> {
    let document = document::parse(&source)?;
    chain.push(source.label.clone());
    let mut parents: Vec<Spec> = Vec::new();
    for parent in &document.extends {
        let (line, name) = (source.line(parent.span()), parent.get_ref());
        // A profile that goes before a built-in one of its name may extend that.
        let own = (*name == source.name).then(|| built_in(name)).flatten();
        let found = match own {
            Some(found) => found,
            None => find(name, operator).map_err(|error| match error {
                SandboxError::NoSuchProfile { name, known } => {
                    let remedy = format!("known profiles: {}", known.join(", "));
                    source.invalid(line, format!("there is no profile `{name}` to extend"), Some(remedy))
                }
                other => other,
            })?,
        };
        if chain.contains(&found.label) {
            let reason = format!("it extends itself: {} → {}", chain.join(" → "), found.label);
            let remedy = "leave out one of these `extends`".to_owned();
            return Err(source.invalid(line, reason, Some(remedy)));
        }
        if parents.iter().any(|parent| parent.name == *name) {
            let remedy = "name each parent once".to_owned();
            return Err(source.invalid(line, format!("it extends `{name}` twice"), Some(remedy)));
        }
        parents.push(load(found, operator, chain)?);
    }
    chain.pop();
    inherit::join(&source, document, &parents)
}

#[cfg(test)]
mod tests;
