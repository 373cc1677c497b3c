//! Inheritance: what a profile says, checked against what its parents say and completed from it.
//!
//! - A child only narrows: each of its grants is covered by a grant of every parent, each of its limits is within theirs,
//!   each of its demands at least theirs. What it does not say is what its parents have in common.
//! - Where a parent lists a key under `open`, that parent does not bound it. `open` itself is not inherited and only
//!   narrows too, so a key that one ancestor keeps closed is closed for all that follow.
//! - Nothing here looks at the host: a profile is valid or not wherever it is read. A bundle is a name, and covers itself.

use super::document::{Document, Entry, Origin, Source, Span, Variable};
use crate::sandbox::bundle;
use crate::sandbox::error::SandboxError;
use crate::sandbox::expect::Act;
use crate::sandbox::grant;
use crate::sandbox::policy::{Network, TreeSource};
use crate::sandbox::report::LimitKind;
use crate::types::{Bytes, RepoPath, nearest_word};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::Path;
use toml::Spanned;

/// Keys that a profile may leave open to its children: all that grant. What is demanded (`require`, `tree.protect`) is
/// not among them.
pub(super) const OPENABLE: [&str; 16] = [
    "tree.source",
    "fs.read",
    "fs.snapshot",
    "fs.tmp.size",
    "fs.tmp.inodes",
    "exec.memfd",
    "net.mode",
    "limits.wall",
    "limits.cpu",
    "limits.silence",
    "limits.memory",
    "limits.pids",
    "limits.file_size",
    "limits.files",
    "limits.output",
    "env.pass",
];

/// The profile for hosts without user namespaces, which alone may do without them.
pub(super) const LEGACY: &str = "legacy-kernel";

/// Limits that a control group can keep for all processes together.
pub(super) const GROUPED: [(LimitKind, &str); 3] = [
    (LimitKind::Cpu, "cpu"),
    (LimitKind::Memory, "memory"),
    (LimitKind::Pids, "pids"),
];

/// One value, who said it, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
    pub(super) why: String,
}

/// One entry of a list of host paths: a path or a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) name: String,
    pub(super) optional: bool,
    pub(super) why: String,
    pub(super) origin: Origin,
}

/// What must be allowed, or denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// The act succeeds.
    Allow,
    /// The act is refused.
    Deny,
}

/// One `[[expect]]` of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Expectation {
    /// What is expected.
    pub wanted: Wanted,
    /// Of which act.
    pub act: Act,
    /// For what reason.
    pub why: String,
    /// Who expects it.
    pub origin: Origin,
}

/// A profile with all that it inherits: complete, and the same on every host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) name: String,
    pub(super) label: String,
    pub(super) summary: String,
    pub(super) extends: Vec<String>,
    pub(super) open: BTreeSet<String>,
    pub(super) userns: Set<bool>,
    pub(super) landlock_abi: Set<u32>,
    pub(super) seccomp: Set<bool>,
    pub(super) grouped: BTreeMap<LimitKind, Origin>,
    pub(super) source: Set<TreeSource>,
    pub(super) protect: BTreeMap<String, Set<RepoPath>>,
    pub(super) read: Vec<Grant>,
    pub(super) snapshot: Vec<Grant>,
    pub(super) tmp_size: Set<Bytes>,
    pub(super) tmp_inodes: Set<u64>,
    pub(super) memfd: Set<bool>,
    pub(super) network: Set<Network>,
    pub(super) wall: Set<Span>,
    pub(super) cpu: Set<Span>,
    pub(super) silence: Set<Span>,
    pub(super) memory: Set<Bytes>,
    pub(super) pids: Set<u64>,
    pub(super) file_size: Set<Bytes>,
    pub(super) files: Set<u64>,
    pub(super) output: Set<Bytes>,
    pub(super) env: BTreeMap<String, Set<String>>,
    pub(super) pass: BTreeMap<String, Set<()>>,
    pub(super) expect: Vec<Expectation>,
}

/// Joins a profile with its parents.
///
/// # Errors
/// `Policy` when it is wider than one of them, or says something that no profile may say.
pub(super) fn join(source: &Source, document: Document, parents: &[Spec]) -> Result<Spec, SandboxError> {
    let join = Join { source, parents };
    let Document {
        require,
        tree,
        fs,
        exec,
        net,
        limits,
        env,
        ..
    } = document;
    let spec = Spec {
        name: source.name.clone(),
        label: source.label.clone(),
        summary: document.summary,
        extends: document.extends.into_iter().map(Spanned::into_inner).collect(),
        open: join.open(document.open)?,
        userns: join.floor("require.userns", require.userns, |spec| &spec.userns)?,
        landlock_abi: join.floor("require.landlock_abi", require.landlock_abi, |spec| &spec.landlock_abi)?,
        seccomp: join.floor("require.seccomp", require.seccomp, |spec| &spec.seccomp)?,
        grouped: join.grouped(require.limits)?,
        source: join.ceiling("tree.source", tree.source, Some(TreeSource::Export), |spec| {
            &spec.source
        })?,
        protect: join.protect(tree.protect),
        read: join.grants("fs.read", fs.read, |spec| &spec.read)?,
        snapshot: join.grants("fs.snapshot", fs.snapshot, |spec| &spec.snapshot)?,
        tmp_size: join.ceiling("fs.tmp.size", fs.tmp.size, None, |spec| &spec.tmp_size)?,
        tmp_inodes: join.ceiling("fs.tmp.inodes", fs.tmp.inodes, None, |spec| &spec.tmp_inodes)?,
        memfd: because(
            join.ceiling("exec.memfd", exec.memfd, Some(false), |spec| &spec.memfd)?,
            exec.why,
        ),
        network: because(join.ceiling("net.mode", net.mode, None, |spec| &spec.network)?, net.why),
        wall: join.ceiling("limits.wall", limits.wall, None, |spec| &spec.wall)?,
        cpu: join.ceiling("limits.cpu", limits.cpu, None, |spec| &spec.cpu)?,
        silence: join.ceiling("limits.silence", limits.silence, Some(Span::ENDLESS), |spec| {
            &spec.silence
        })?,
        memory: join.ceiling("limits.memory", limits.memory, None, |spec| &spec.memory)?,
        pids: join.ceiling("limits.pids", limits.pids, None, |spec| &spec.pids)?,
        file_size: join.ceiling("limits.file_size", limits.file_size, None, |spec| &spec.file_size)?,
        files: join.ceiling("limits.files", limits.files, None, |spec| &spec.files)?,
        output: join.ceiling("limits.output", limits.output, None, |spec| &spec.output)?,
        env: join.env(env.set)?,
        pass: join.pass(env.pass)?,
        expect: join.expect(document.expect)?,
    };
    join.check_floor(&spec)?;
    Ok(spec)
}

fn because<T>(mut set: Set<T>, why: String) -> Set<T> {
    if !why.is_empty() {
        set.why = why;
    }
    set
}

/// Which side of a number is the narrow one.
#[derive(Clone, Copy, PartialEq)]
enum Narrow {
    /// Less is narrower.
    Down,
    /// More is narrower.
    Up,
}

struct Join<'a> {
    source: &'a Source,
    parents: &'a [Spec],
}

impl Join<'_> {
    /// A value of which less is narrower.
    fn ceiling<T: Clone + Ord + Display>(
        &self,
        key: &str,
        written: Option<Spanned<T>>,
        default: Option<T>,
        of: impl Fn(&Spec) -> &Set<T>,
    ) -> Result<Set<T>, SandboxError> {
        self.scalar(key, Narrow::Down, written, default, of)
    }

    /// A demand, of which more is narrower.
    fn floor<T: Clone + Ord + Display>(
        &self,
        key: &str,
        written: Option<Spanned<T>>,
        of: impl Fn(&Spec) -> &Set<T>,
    ) -> Result<Set<T>, SandboxError> {
        self.scalar(key, Narrow::Up, written, None, of)
    }

    fn scalar<T: Clone + Ord + Display>(
        &self,
        key: &str,
        narrow: Narrow,
        written: Option<Spanned<T>>,
        default: Option<T>,
        of: impl Fn(&Spec) -> &Set<T>,
    ) -> Result<Set<T>, SandboxError> {
        let Some(written) = written else {
            let narrowest = match narrow {
                Narrow::Down => self.parents.iter().map(&of).min_by(|a, b| a.value.cmp(&b.value)),
                Narrow::Up => self.parents.iter().map(&of).max_by(|a, b| a.value.cmp(&b.value)),
            };
            return narrowest
                .cloned()
                .or_else(|| default.map(|value| self.unsaid(value)))
                .ok_or_else(|| self.missing(key));
        };
        let origin = self.source.origin(written.span());
        let value = written.into_inner();
        for parent in self.closed(key) {
            let theirs = of(parent);
            let is_wider = match narrow {
                Narrow::Down => value > theirs.value,
                Narrow::Up => value < theirs.value,
            };
            if is_wider {
                let bound = match narrow {
                    Narrow::Down => format!("{} or less", theirs.value),
                    Narrow::Up => format!("{} or more", theirs.value),
                };
                return Err(self.wider(key, origin.line, &value, parent, &theirs.value, &theirs.origin, &bound));
            }
        }
        // Said once more, it still has the reason that an ancestor gave.
        let why = self.parents.iter().map(&of).find(|theirs| theirs.value == value);
        Ok(Set {
            why: why.map(|theirs| theirs.why.clone()).unwrap_or_default(),
            value,
            origin,
        })
    }

    /// The lists of paths and bundles.
    fn grants(
        &self,
        key: &str,
        written: Option<Vec<Spanned<Entry>>>,
        of: impl Fn(&Spec) -> &Vec<Grant>,
    ) -> Result<Vec<Grant>, SandboxError> {
        let Some(written) = written else {
            return match self.parents {
                [] if key == "fs.read" => Err(self.missing(key)),
                parents => Ok(common(parents, &of)),
            };
        };
        let known = if key == "fs.read" {
            &bundle::READ[..]
        } else {
            &bundle::CACHES[..]
        };
        let mut grants: Vec<Grant> = Vec::new();
        for entry in written {
            let origin = self.source.origin(entry.span());
            let Entry { name, why, optional } = entry.into_inner();
            if name.starts_with('@') && !known.contains(&name.as_str()) {
                return Err(self.no_such_bundle(key, origin.line, &name, known));
            }
            if !name.starts_with('@') {
                grant::spelling(Path::new(&name)).map_err(|refused| {
                    self.source
                        .invalid(origin.line, format!("`{key}`: {refused}"), Some(refused.remedy.clone()))
                })?;
            }
            if let Some(twice) = grants.iter().find(|grant| grant.name == name) {
                let reason = format!("`{key}` lists `{name}` twice, first in line {}", twice.origin.line);
                return Err(self
                    .source
                    .invalid(origin.line, reason, Some("leave one of them out".to_owned())));
            }
            for parent in self.closed(key) {
                if !of(parent).iter().any(|theirs| covers(&theirs.name, &name)) {
                    let listed: Vec<_> = of(parent).iter().map(|grant| grant.name.as_str()).collect();
                    let at = of(parent)
                        .first()
                        .map_or_else(|| nowhere(parent), |grant| grant.origin.clone());
                    let listed = if listed.is_empty() {
                        "nothing".to_owned()
                    } else {
                        listed.join(", ")
                    };
                    return Err(self.wider(
                        key,
                        origin.line,
                        &name,
                        parent,
                        &listed,
                        &at,
                        "a path below one of those",
                    ));
                }
            }
            let reasoned = self.parents.iter().flat_map(&of).find(|theirs| theirs.name == name);
            let inherited = reasoned.map(|theirs| theirs.why.clone()).unwrap_or_default();
            grants.push(Grant {
                why: if why.is_empty() { inherited } else { why },
                name,
                optional,
                origin,
            });
        }
        Ok(grants)
    }

    fn open(&self, written: Vec<Spanned<String>>) -> Result<BTreeSet<String>, SandboxError> {
        let mut open = BTreeSet::new();
        for key in written {
            let line = self.source.line(key.span());
            let key = key.into_inner();
            if !OPENABLE.contains(&key.as_str()) {
                let nearest = nearest_word(&key, OPENABLE);
                return Err(self.source.invalid(
                    line,
                    format!("`open` cannot list `{key}`"),
                    nearest.map(|key| format!("did you mean `{key}`?")),
                ));
            }
            if let Some(parent) = self.closed(&key).next() {
                let reason = format!("it opens `{key}`, which its parent `{}` keeps closed", parent.name);
                let remedy = format!("leave it out, or let `{}` list it under `open`", parent.name);
                return Err(self.source.invalid(line, reason, Some(remedy)));
            }
            open.insert(key);
        }
        Ok(open)
    }

    fn grouped(&self, written: Vec<Spanned<LimitKind>>) -> Result<BTreeMap<LimitKind, Origin>, SandboxError> {
        let mut all: BTreeMap<LimitKind, Origin> = BTreeMap::new();
        for parent in self.parents {
            all.extend(parent.grouped.clone());
        }
        for limit in written {
            let origin = self.source.origin(limit.span());
            let limit = limit.into_inner();
            if !GROUPED.iter().any(|(known, _)| *known == limit) {
                let reason = "`require.limits` names limits that a control group keeps: cpu, memory, pids";
                let remedy = "leave the others out: they are kept on every host".to_owned();
                return Err(self.source.invalid(origin.line, reason, Some(remedy)));
            }
            all.insert(limit, origin);
        }
        Ok(all)
    }

    fn protect(&self, written: Vec<Spanned<RepoPath>>) -> BTreeMap<String, Set<RepoPath>> {
        let mut all: BTreeMap<String, Set<RepoPath>> = BTreeMap::new();
        for parent in self.parents {
            all.extend(parent.protect.clone());
        }
        for path in written {
            let origin = self.source.origin(path.span());
            let value = path.into_inner();
            let set = Set {
                value: value.clone(),
                origin,
                why: String::new(),
            };
            all.insert(value.as_str().to_owned(), set);
        }
        all
    }

    fn env(&self, written: BTreeMap<String, Spanned<String>>) -> Result<BTreeMap<String, Set<String>>, SandboxError> {
        let mut all: BTreeMap<String, Set<String>> = BTreeMap::new();
        for (name, theirs) in self.parents.iter().flat_map(|parent| &parent.env) {
            let other = all.insert(name.clone(), theirs.clone());
            let differs = other.filter(|other| other.value != theirs.value);
            if differs.is_some() && !written.contains_key(name) {
                let reason = format!("its parents set `{name}` to different values");
                let remedy = format!("set `{name}` here, under [env] set");
                return Err(self.source.invalid(1, reason, Some(remedy)));
            }
        }
        for (name, value) in written {
            let origin = self.source.origin(value.span());
            let value = value.into_inner();
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                let reason = format!("`{}` is no variable that can be set", name.escape_debug());
                return Err(self.source.invalid(origin.line, reason, None));
            }
            let why = String::new();
            all.insert(name, Set { value, origin, why });
        }
        Ok(all)
    }

    fn pass(&self, written: Option<Vec<Spanned<Variable>>>) -> Result<BTreeMap<String, Set<()>>, SandboxError> {
        let Some(written) = written else {
            let Some((first, others)) = self.parents.split_first() else {
                return Ok(BTreeMap::new());
            };
            let by_all = |name: &String| others.iter().all(|other| other.pass.contains_key(name));
            let common = first.pass.iter().filter(|(name, _)| by_all(name));
            return Ok(common.map(|(name, set)| (name.clone(), set.clone())).collect());
        };
        let mut all = BTreeMap::new();
        for variable in written {
            let origin = self.source.origin(variable.span());
            let Variable { name, why } = variable.into_inner();
            if steers_programs(&name) {
                let reason = format!("`env.pass`: `{name}` steers a loader or an agent and is never passed");
                let remedy = "leave it out; a value that does no harm can be written under [env] set".to_owned();
                return Err(self.source.invalid(origin.line, reason, Some(remedy)));
            }
            for parent in self.closed("env.pass") {
                if !parent.pass.contains_key(&name) {
                    let theirs: Vec<_> = parent.pass.keys().map(String::as_str).collect();
                    let theirs = if theirs.is_empty() {
                        "nothing".to_owned()
                    } else {
                        theirs.join(", ")
                    };
                    let bound = "variables that it passes";
                    return Err(self.wider("env.pass", origin.line, &name, parent, &theirs, &nowhere(parent), bound));
                }
            }
            let inherited = self.parents.iter().find_map(|parent| parent.pass.get(&name));
            let why = if why.is_empty() {
                inherited.map(|set| set.why.clone()).unwrap_or_default()
            } else {
                why
            };
            all.insert(name, Set { value: (), origin, why });
        }
        Ok(all)
    }

    /// What is denied stays denied in whatever is narrower; what is allowed need not stay allowed.
    fn expect(&self, written: Vec<Spanned<super::document::ExpectTable>>) -> Result<Vec<Expectation>, SandboxError> {
        let mut all: Vec<Expectation> = Vec::new();
        let inherited = self.parents.iter().flat_map(|parent| &parent.expect);
        for expectation in inherited.filter(|expectation| expectation.wanted == Wanted::Deny) {
            if !all.contains(expectation) {
                all.push(expectation.clone());
            }
        }
        for table in written {
            let origin = self.source.origin(table.span());
            let table = table.into_inner();
            let (wanted, act) = match (table.allow, table.deny) {
                (Some(act), None) => (Wanted::Allow, act),
                (None, Some(act)) => (Wanted::Deny, act),
                _ => {
                    let reason = "an [[expect]] has either `allow` or `deny`";
                    let remedy = "write one table for each act".to_owned();
                    return Err(self.source.invalid(origin.line, reason, Some(remedy)));
                }
            };
            let why = table.why;
            all.push(Expectation {
                wanted,
                act,
                why,
                origin,
            });
        }
        Ok(all)
    }

    fn check_floor(&self, spec: &Spec) -> Result<(), SandboxError> {
        if !spec.seccomp.value {
            let remedy = "nothing runs without the filter: write `seccomp = true`".to_owned();
            return Err(self
                .source
                .invalid(spec.seccomp.origin.line, "`require.seccomp` must be true", Some(remedy)));
        }
        if !spec.userns.value && spec.name != LEGACY {
            let reason = format!("`require.userns` must be true in every profile but `{LEGACY}`");
            let remedy = format!("write `userns = true`, or ask for `{LEGACY}` by its name");
            return Err(self.source.invalid(spec.userns.origin.line, reason, Some(remedy)));
        }
        Ok(())
    }

    /// The parents that bound a key.
    fn closed(&self, key: &str) -> impl Iterator<Item = &Spec> {
        self.parents.iter().filter(move |parent| !parent.open.contains(key))
    }

    fn unsaid<T>(&self, value: T) -> Set<T> {
        let profile = self.source.name.clone();
        Set {
            value,
            origin: Origin { profile, line: 0 },
            why: String::new(),
        }
    }

    fn missing(&self, key: &str) -> SandboxError {
        let remedy = "a profile without parents says everything; to take over what it does not say, name a parent, as in \
                      `extends = [\"verify\"]`";
        self.source
            .invalid(1, format!("`{key}` is missing"), Some(remedy.to_owned()))
    }

    fn no_such_bundle(&self, key: &str, line: usize, name: &str, known: &[&str]) -> SandboxError {
        let reason = format!(
            "there is no bundle `{name}` for `{key}`; there are {}",
            known.join(", ")
        );
        let nearest = nearest_word(name, known.iter().copied());
        self.source
            .invalid(line, reason, nearest.map(|name| format!("did you mean `{name}`?")))
    }

    #[expect(clippy::too_many_arguments, reason = "each is a part of one sentence")]
    fn wider(
        &self,
        key: &str,
        line: usize,
        ours: &impl Display,
        parent: &Spec,
        theirs: &impl Display,
        at: &Origin,
        bound: &str,
    ) -> SandboxError {
        let place = match at.line {
            0 => String::new(),
            line => format!(" (line {line} of `{}`)", at.profile),
        };
        let reason = format!(
            "`{key}` = {ours} is wider than its parent `{}`, which has {theirs}{place}",
            parent.name
        );
        let remedy = format!(
            "write {bound}; or extend a profile that lists `{key}` under `open`; or write a profile without `extends`"
        );
        self.source.invalid(line, reason, Some(remedy))
    }
}

fn nowhere(spec: &Spec) -> Origin {
    Origin {
        profile: spec.name.clone(),
        line: 0,
    }
}

/// Entries that every one of the parents covers.
fn common(parents: &[Spec], of: &impl Fn(&Spec) -> &Vec<Grant>) -> Vec<Grant> {
    let mut all: Vec<Grant> = Vec::new();
    for grant in parents.iter().flat_map(of) {
        let by_all = parents
            .iter()
            .all(|parent| of(parent).iter().any(|theirs| covers(&theirs.name, &grant.name)));
        if by_all && !all.iter().any(|known| known.name == grant.name) {
            all.push(grant.clone());
        }
    }
    all
}

/// Whether a grant of the first shows all that a grant of the second shows. What a bundle other than `@system` stands for
/// is known on each host only, so it covers nothing but itself.
pub(super) fn covers(wide: &str, narrow: &str) -> bool {
    let below = |path: &str| !narrow.starts_with('@') && Path::new(narrow).starts_with(path);
    wide == narrow
        || (!wide.starts_with('@') && below(wide))
        || (wide == bundle::SYSTEM_NAME && bundle::SYSTEM.iter().any(|path| below(path)))
}

/// Variables that steer the loader, an interpreter or git: a profile cannot pass them from outside. A name that ends in
/// `_` stands for all that begin so.
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

/// Whether a variable steers the loader, an interpreter or git.
pub(in crate::sandbox) fn steers_programs(name: &str) -> bool {
    NEVER_PASSED.iter().any(|never| is_named(name, never))
}

fn is_named(name: &str, pattern: &str) -> bool {
    name == pattern || (pattern.ends_with('_') && name.starts_with(pattern))
}
