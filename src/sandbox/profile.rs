//! Profiles: named policies in TOML, from the operator or built in, never from the tree under test.
//!
//! - Unknown keys are errors: a misspelled limit would otherwise be no limit.
//! - Whatever a profile grants is listed in it; there is no key that grants everything.

use super::bundle;
use super::error::SandboxError;
use super::policy::{Limits, Network, Policy, ReadGrant, Require, Tmp, TreeSource};
use crate::types::{Bytes, parse_duration};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a profile may ask of the operator's side.
pub struct Operator<'a> {
    /// The operator's directory of profiles, whose files go before the built-in ones.
    pub profiles: Option<&'a Path>,
    /// The operator's `PATH`, in which toolchains are looked for.
    pub search_path: &'a str,
    /// Reads one variable of the operator's environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

impl std::fmt::Debug for Operator<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operator")
            .field("profiles", &self.profiles)
            .field("search_path", &self.search_path)
            .finish()
    }
}

const BUILT_IN: [(&str, &str); 2] = [
    ("strict", include_str!("../../sandbox-profiles/strict.toml")),
    ("verify", include_str!("../../sandbox-profiles/verify.toml")),
];

/// Variables that steer the loader, an interpreter or git: a profile cannot pass them from outside.
const NEVER_PASSED: [&str; 12] = [
    "LD_",
    "DYLD_",
    "GIT_",
    "BASH_ENV",
    "ENV",
    "PYTHONSTARTUP",
    "PYTHONHOME",
    "NODE_OPTIONS",
    "PERL5OPT",
    "RUBYOPT",
    "SSH_",
    "DBUS_",
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    schema: u32,
    name: String,
    #[serde(default, rename = "summary")]
    _summary: String,
    require: RequireTable,
    fs: FsTable,
    #[serde(default)]
    exec: ExecTable,
    net: NetTable,
    limits: LimitsTable,
    #[serde(default)]
    env: EnvTable,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequireTable {
    userns: bool,
    landlock_abi: u32,
    seccomp: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FsTable {
    read: Vec<Read>,
    tmp: TmpTable,
}

/// One entry of `[fs] read`: a bundle or a path, alone or with its reason.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Read {
    Name(String),
    Table(ReadTable),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadTable {
    path: String,
    #[serde(default, rename = "why")]
    _why: String,
    #[serde(default)]
    optional: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TmpTable {
    size: Bytes,
    inodes: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExecTable {
    #[serde(default)]
    memfd: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NetTable {
    mode: Network,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsTable {
    #[serde(deserialize_with = "duration")]
    wall: Duration,
    #[serde(deserialize_with = "duration")]
    cpu: Duration,
    memory: Bytes,
    pids: u64,
    file_size: Bytes,
    files: u64,
    output: Bytes,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvTable {
    #[serde(default)]
    set: BTreeMap<String, String>,
    #[serde(default)]
    pass: Vec<String>,
}

fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// Makes a policy from a named profile: one of the operator's directory, else one of those built in.
///
/// # Errors
/// `Policy` when there is no such profile or it is invalid; `Host` when a toolchain that it names is not installed.
pub fn load_profile(name: &str, operator: &Operator<'_>) -> Result<Policy, SandboxError> {
    let (origin, text) = find(name, operator)?;
    let document = parse(name, &origin, &text)?;
    resolve(document, &origin, operator)
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

fn find(name: &str, operator: &Operator<'_>) -> Result<(String, String), SandboxError> {
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if is_name && let Some(directory) = operator.profiles {
        let path = directory.join(format!("{name}.toml"));
        match fs::read_to_string(&path) {
            Ok(text) => return Ok((format!("`{}`", path.display()), text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(SandboxError::ProfileUnreadable { path, source }),
        }
    }
    match BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
        Some((_, text)) => Ok((format!("`{name}` (built in)"), (*text).to_owned())),
        None => Err(SandboxError::NoSuchProfile {
            name: name.to_owned(),
            known: profile_names(operator)?,
        }),
    }
}

fn parse(name: &str, origin: &str, text: &str) -> Result<Document, SandboxError> {
    let invalid = |reason: String, nearest| SandboxError::ProfileInvalid {
        origin: origin.to_owned(),
        reason,
        nearest,
    };
    let document: Document = toml::from_str(text).map_err(|error| {
        let line = error
            .span()
            .map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        invalid(
            format!("line {line}: {}", error.message()),
            nearest_key(error.message()),
        )
    })?;
    if document.schema != 1 {
        return Err(invalid(
            format!("schema {} is not known; this version reads schema 1", document.schema),
            None,
        ));
    }
    if document.name != name {
        return Err(invalid(format!("it calls itself `{}`", document.name), None));
    }
    if !document.require.userns || !document.require.seccomp {
        // Nothing runs without them yet, so a profile that waives them would promise what is not done.
        return Err(invalid("[require] userns and seccomp must be true".to_owned(), None));
    }
    Ok(document)
}

/// Of the keys that the message about an unknown one lists, the one most like it.
fn nearest_key(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next().filter(|_| message.starts_with("unknown field"))?;
    quoted
        .max_by(|a, b| strsim::jaro(unknown, a).total_cmp(&strsim::jaro(unknown, b)))
        .map(str::to_owned)
}

fn resolve(document: Document, origin: &str, operator: &Operator<'_>) -> Result<Policy, SandboxError> {
    let invalid = |reason| SandboxError::ProfileInvalid {
        origin: origin.to_owned(),
        reason,
        nearest: None,
    };
    let (mut read, mut aliases, mut path) = (Vec::new(), BTreeMap::new(), Vec::new());
    for entry in document.fs.read {
        let (name, optional) = match entry {
            Read::Name(name) => (name, false),
            Read::Table(table) => (table.path, table.optional),
        };
        if !name.starts_with('@') {
            read.push(ReadGrant {
                path: PathBuf::from(name),
                optional,
            });
            continue;
        }
        if !bundle::NAMES.contains(&name.as_str()) {
            return Err(invalid(format!(
                "there is no bundle `{name}`; there are {}",
                bundle::NAMES.join(", ")
            )));
        }
        match bundle::resolve(&name, operator) {
            Some(bundle) => {
                read.extend(bundle.read);
                aliases.extend(bundle.aliases);
                path.extend(bundle.path);
            }
            None if optional => {}
            None => {
                return Err(SandboxError::ToolchainMissing {
                    profile: document.name,
                    bundle: name,
                });
            }
        }
    }
    path.extend(bundle::SYSTEM_PATH.iter().map(PathBuf::from));
    let mut env = document.env.set;
    for name in document.env.pass {
        if NEVER_PASSED
            .iter()
            .any(|never| name == *never || (never.ends_with('_') && name.starts_with(never)))
        {
            return Err(invalid(format!(
                "[env] pass: `{name}` steers a loader or an agent and is never passed"
            )));
        }
        if let Some(value) = (operator.variable)(&name) {
            env.insert(name, value);
        }
    }
    let limits = document.limits;
    Ok(Policy {
        profile: document.name,
        require: Require {
            userns: document.require.userns,
            landlock_abi: document.require.landlock_abi,
            seccomp: document.require.seccomp,
            limits: BTreeSet::new(),
        },
        waive: BTreeSet::new(),
        read,
        aliases,
        path,
        tmp: Tmp {
            size: document.fs.tmp.size,
            inodes: document.fs.tmp.inodes,
        },
        network: document.net.mode,
        limits: Limits {
            wall: limits.wall,
            cpu: limits.cpu,
            memory: limits.memory,
            pids: limits.pids,
            file_size: limits.file_size,
            files: limits.files,
            output: limits.output,
            silence: None,
        },
        env,
        memfd: document.exec.memfd,
        tree: TreeSource::Export,
        protect: Vec::new(),
        snapshots: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Operator<'static> = Operator {
        profiles: None,
        search_path: "/usr/bin:/bin",
        variable: &|_| None,
    };

    #[test]
    fn every_built_in_profile_is_valid_and_needs_no_toolchain_to_parse() {
        for (name, text) in BUILT_IN {
            parse(name, name, text).unwrap();
        }
        assert_eq!(load_profile("strict", &NOBODY).unwrap().network, Network::None);
    }

    #[test]
    fn a_misspelled_key_is_refused_with_its_line_and_the_nearest_known_one() {
        let text = BUILT_IN[0].1.replace("memory =", "memroy =");
        match parse("strict", "x", &text) {
            Err(SandboxError::ProfileInvalid { reason, nearest, .. }) => {
                assert!(reason.starts_with("line ") && reason.contains("memroy"), "{reason}");
                assert_eq!(nearest.as_deref(), Some("memory"));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_operators_profile_goes_before_a_built_in_one_of_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let text = BUILT_IN[0].1.replace("pids = ", "pids = 7 # ");
        fs::write(directory.path().join("strict.toml"), text).unwrap();
        let operator = Operator {
            profiles: Some(directory.path()),
            ..NOBODY
        };
        assert_eq!(load_profile("strict", &operator).unwrap().limits.pids, 7);
    }

    #[test]
    fn a_name_cannot_lead_out_of_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let operator = Operator {
            profiles: Some(directory.path()),
            ..NOBODY
        };
        for name in ["../x", "/etc/passwd", "", "a/b", "."] {
            assert!(
                matches!(load_profile(name, &operator), Err(SandboxError::NoSuchProfile { .. })),
                "{name}"
            );
        }
    }

    #[test]
    fn loader_variables_are_never_passed() {
        let directory = tempfile::tempdir().unwrap();
        for variable in ["LD_PRELOAD", "BASH_ENV", "GIT_DIR", "SSH_AUTH_SOCK"] {
            let text = format!(
                "{}\n",
                BUILT_IN[0].1.replace("pass = []", &format!("pass = [\"{variable}\"]"))
            );
            fs::write(directory.path().join("strict.toml"), text).unwrap();
            let operator = Operator {
                profiles: Some(directory.path()),
                ..NOBODY
            };
            assert!(
                matches!(
                    load_profile("strict", &operator),
                    Err(SandboxError::ProfileInvalid { .. })
                ),
                "{variable}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
            let _ = parse("x", "x", &text);
        }
    }
}
