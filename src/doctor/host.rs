//! The host besides the layers of the sandbox: groups, kernel settings, room, git, tools; and one real command.

use super::{
    CHECKS, Check, Consequence, Effect, Evidence, Kind, LAST, Profiles, Question, Status, Who, errno, sandbox,
};
use crate::change::BaseEntry;
use crate::sandbox::{Answer, Command, Facts, Outcome, Policy, Sandbox, Space, Tree, find_program, spawn};
use crate::types::{Problem as _, RepoPath};
use crate::verify::{VERIFY_SCRIPT, describe, global_commands};
use crate::workspace::{Repository, libgit2_version};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Groups whose members can do what root can, or read what belongs to all.
const POWERFUL: [&str; 10] = [
    "docker",
    "lxd",
    "incus",
    "libvirt",
    "disk",
    "kvm",
    "shadow",
    "adm",
    "systemd-journal",
    "root",
];

/// Below this a run is likely to end in the middle for want of room.
const ROOM: u64 = 64 << 20;
/// Below this it is time to say something.
const LITTLE_ROOM: u64 = 1 << 30;
/// The same for files.
const FILES: u64 = 1_000;
/// The same for files.
const FEW_FILES: u64 = 20_000;

/// File systems behind which another machine is, by magic number. Source: statfs(2); `linux/magic.h`.
const REMOTE: [(i64, &str); 5] = [
    (0x6969, "NFS"),
    (0x0187, "autofs"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x0102_1997, "9P"),
];

/// How long git may take to tell its version, and the real command to come and go.
const PATIENCE: Duration = Duration::from_millis(500);
const REAL_PATIENCE: Duration = Duration::from_secs(20);

/// Every check of the host.
pub(super) fn checks(facts: &Facts, profiles: Profiles<'_>, question: &Question) -> Vec<Check> {
    let mut checks = vec![
        groups(facts, profiles),
        setting(facts, "core_pattern", "/proc/sys/kernel/core_pattern", core_pattern),
        setting(facts, "tiocsti", "/proc/sys/dev/tty/legacy_tiocsti", tiocsti),
        io_uring(facts),
        x32(facts),
        time_namespace(facts),
        setting(facts, "memfd_noexec", "/proc/sys/vm/memfd_noexec", memfd_noexec),
        setting(
            facts,
            "ptrace_scope",
            "/proc/sys/kernel/yama/ptrace_scope",
            ptrace_scope,
        ),
    ];
    checks.extend(
        question
            .places
            .iter()
            .map(|(name, place)| disk(facts, profiles, name, place)),
    );
    checks.push(memory(facts, question));
    checks.push(grants(facts, question));
    checks.push(git(&question.search_path));
    checks.push(tools(facts, question));
    checks
}

fn groups(facts: &Facts, profiles: Profiles<'_>) -> Check {
    let id = "groups";
    let evidence = vec![Evidence {
        tried: "getgroups".to_owned(),
        answer: facts.groups.join(" "),
    }];
    if facts.uid == 0 {
        return Check::new(id, Status::Ok, "root drops its groups for every command").evidence(evidence);
    }
    let powerful: Vec<&str> = facts
        .groups
        .iter()
        .map(String::as_str)
        .filter(|group| POWERFUL.contains(group))
        .collect();
    if powerful.is_empty() {
        return Check::new(
            id,
            Status::Ok,
            "the caller is in no group that opens more than its own files",
        )
        .evidence(evidence);
    }
    Check::new(id, Status::Warn, format!("the caller is in {}", powerful.join(", ")))
        .evidence(evidence)
        .affects(profiles.all(
            Consequence::Weaker,
            "membership cannot be dropped in a user namespace: were the other layers to fail, it would count",
        ))
        .remedy(Who::You, "run factory as a user who is in none of these groups")
}

/// A setting that is told and weighs nothing, because the sandbox does not rely on it.
fn setting(facts: &Facts, id: &'static str, path: &str, tell: fn(Option<&str>) -> String) -> Check {
    let text = facts.setting(path).map(str::trim);
    let error = facts.settings.iter().find(|setting| setting.path == path);
    let evidence = vec![Evidence {
        tried: path.to_owned(),
        answer: match text {
            Some(text) => text.to_owned(),
            None => error.and_then(|setting| setting.error.clone()).unwrap_or_default(),
        },
    }];
    Check::new(id, Status::Ok, tell(text)).evidence(evidence)
}

fn core_pattern(text: Option<&str>) -> String {
    match text {
        Some(text) if text.starts_with('|') => {
            "a crash starts a program of the host; not for commands, whose core limit prevents it".to_owned()
        }
        Some(_) => "core files are files; commands write none".to_owned(),
        None => "not told; commands write no core files".to_owned(),
    }
}

fn tiocsti(text: Option<&str>) -> String {
    match text {
        Some("0") => "typing into a terminal from below is off".to_owned(),
        _ => "typing into a terminal from below is possible on this host; commands have no terminal, and the filter refuses \
              the call"
            .to_owned(),
    }
}

fn memfd_noexec(text: Option<&str>) -> String {
    match text {
        Some("0") | None => {
            "anonymous files can be executed on this host; commands can make none unless their profile allows it"
                .to_owned()
        }
        Some(level) => format!("anonymous files cannot be executed (level {level})"),
    }
}

fn ptrace_scope(text: Option<&str>) -> String {
    match text {
        Some("0") => "Yama is there and restricts nothing; commands do not see processes outside".to_owned(),
        Some(scope) => format!("Yama restricts tracing (scope {scope})"),
        None => "Yama is not in force; commands do not see processes outside".to_owned(),
    }
}

fn tried(facts: &Facts, id: &str) -> Vec<Evidence> {
    facts
        .of(id)
        .filter(|attempt| attempt.id == id)
        .map(sandbox::evidence)
        .collect()
}

fn io_uring(facts: &Facts) -> Check {
    let found = match facts.answer("io_uring") {
        Answer::Refused(errno::EPERM) => "switched off for this user".to_owned(),
        Answer::Refused(errno::ENOSYS) => "this kernel has none".to_owned(),
        Answer::NotTried | Answer::Silent => "could not be tried; the filter refuses it to commands".to_owned(),
        Answer::Done(_) | Answer::Refused(_) | Answer::Killed(_) => {
            "there on this host; the filter refuses it to commands".to_owned()
        }
    };
    let path = "/proc/sys/kernel/io_uring_disabled";
    let mut evidence = tried(facts, "io_uring");
    evidence.extend(facts.setting(path).map(|text| Evidence {
        tried: path.to_owned(),
        answer: text.to_owned(),
    }));
    Check::new("io_uring", Status::Ok, found).evidence(evidence)
}

fn x32(facts: &Facts) -> Check {
    let found = match facts.answer("x32") {
        Answer::Done(_) => "built into this kernel; the filter refuses its calls",
        Answer::Refused(_) => "not built into this kernel",
        Answer::Killed(_) => "a filter around this process kills for it",
        Answer::NotTried | Answer::Silent => "not on this architecture, or it could not be tried",
    };
    Check::new("x32", Status::Ok, found).evidence(tried(facts, "x32"))
}

fn time_namespace(facts: &Facts) -> Check {
    let found = match facts.answer("namespace.time").is_done() {
        true => "can be created; sandboxes do without",
        false => "cannot be created; sandboxes do without",
    };
    Check::new("time_namespace", Status::Ok, found).evidence(tried(facts, "namespace.time"))
}

fn disk(facts: &Facts, profiles: Profiles<'_>, name: &str, place: &Path) -> Check {
    let id = CHECKS
        .iter()
        .map(|(id, _)| *id)
        .find(|id| id.strip_prefix("disk.") == Some(name))
        .expect("every place has its check");
    let Some(space) = facts.spaces.iter().find(|space| space.place == place) else {
        return Check::new(
            id,
            Status::Unknown,
            format!("the file system of {} does not answer", place.display()),
        )
        .evidence(tried(facts, "space"))
        .remedy(
            Who::Administrator,
            "see whether the machine behind it is up, or name another directory",
        );
    };
    let found = format!(
        "{} free, {} in the file system of {}",
        roughly(space.free_bytes),
        space
            .free_inodes
            .map_or("files as needed".to_owned(), |inodes| format!("{inodes} files")),
        space.at.display()
    );
    let evidence = vec![Evidence {
        tried: format!("statfs({})", space.at.display()),
        answer: format!("type {:#x}", space.magic),
    }];
    let check = |status| Check::new(id, status, found.clone()).evidence(evidence.clone());
    let inodes = space.free_inodes.unwrap_or(u64::MAX);
    let remedy = format!("make room there, or {}", elsewhere(name));
    if space.free_bytes < ROOM || inodes < FILES {
        check(Status::Fail)
            .affects(profiles.all(Consequence::Refused, "a run would end in the middle"))
            .remedy(Who::You, remedy)
    } else if space.free_bytes < LITTLE_ROOM || inodes < FEW_FILES {
        check(Status::Warn).remedy(Who::You, remedy)
    } else if let Some(kind) = remote(space) {
        let found = format!("{found}, which is {kind}");
        Check::new(id, Status::Warn, found)
            .evidence(evidence)
            .affects(profiles.all(Consequence::Slower, "another machine answers for every file"))
            .remedy(Who::You, format!("use a local directory: {}", elsewhere(name)))
    } else {
        check(Status::Ok)
    }
}

/// A number of bytes as people read it.
fn roughly(bytes: u64) -> String {
    match bytes {
        0..LITTLE_ROOM => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

fn remote(space: &Space) -> Option<&'static str> {
    let (_, name) = REMOTE.iter().find(|(magic, _)| *magic == space.magic)?;
    Some(name)
}

fn elsewhere(name: &str) -> &'static str {
    match name {
        "state" => "name another directory with --state-dir or XDG_STATE_HOME",
        "cache" => "name another directory with XDG_CACHE_HOME",
        _ => "name another directory with TMPDIR",
    }
}

/// What a finding means for the one profile that is to run.
fn only(policy: &Policy, consequence: Consequence, how: &str) -> Vec<Effect> {
    vec![Effect {
        profile: policy.profile.clone(),
        consequence,
        how: how.to_owned(),
    }]
}

/// Whether what a command may use together is there: memory, and private file systems, which are memory too.
fn memory(facts: &Facts, question: &Question) -> Check {
    let id = "memory";
    let line = facts
        .setting("/proc/meminfo")
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("MemAvailable:")));
    let available = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let (Some(available), Some(policy)) = (available, question.policy()) else {
        return Check::new(
            id,
            Status::Unknown,
            "what is available, or what the profile allows, is not known",
        );
    };
    let available = available << 10;
    let allowed = policy.limits.memory.0.saturating_add(policy.tmp.size.0);
    let found = format!(
        "{} are available; `{}` lets a command use {}, its private files included",
        roughly(available),
        policy.profile,
        roughly(allowed)
    );
    let evidence = vec![Evidence {
        tried: "MemAvailable in /proc/meminfo".to_owned(),
        answer: line.unwrap_or_default().trim().to_owned(),
    }];
    if available >= allowed {
        return Check::new(id, Status::Ok, found).evidence(evidence);
    }
    Check::new(id, Status::Warn, found)
        .evidence(evidence)
        .affects(only(
            policy,
            Consequence::Weaker,
            "the host can run out of memory before a command reaches its limit",
        ))
        .remedy(
            Who::You,
            "lower `memory` under [limits] or `tmp` under [fs] in a profile of your own, or free memory",
        )
}

/// Whether the file systems behind what the profile grants answer, and quickly.
fn grants(facts: &Facts, question: &Question) -> Check {
    let id = "grants";
    let Some(policy) = question.policy() else {
        return Check::new(id, Status::Unknown, "not looked at: the profile cannot be read");
    };
    let paths: BTreeSet<&PathBuf> = policy.read.iter().map(|grant| &grant.path).collect();
    let space = |path: &Path| facts.spaces.iter().find(|space| space.place == path);
    let shown = |paths: &[&&PathBuf]| {
        let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        names.join(", ")
    };
    let silent: Vec<&&PathBuf> = paths.iter().filter(|path| space(path).is_none()).collect();
    if !silent.is_empty() {
        return Check::new(
            id,
            Status::Unknown,
            format!("no answer from the file systems of {}", shown(&silent)),
        )
        .evidence(tried(facts, "space"))
        .remedy(
            Who::Administrator,
            "see whether the machines behind them are up, or take the paths out of the profile",
        );
    }
    let slow: Vec<&&PathBuf> = paths
        .iter()
        .filter(|path| space(path).and_then(remote).is_some())
        .collect();
    if !slow.is_empty() {
        return Check::new(id, Status::Warn, format!("on another machine: {}", shown(&slow)))
            .affects(only(
                policy,
                Consequence::Slower,
                "another machine answers for every file",
            ))
            .remedy(Who::You, "grant a local copy instead");
    }
    Check::new(
        id,
        Status::Ok,
        format!("the file systems of {} paths answer", paths.len()),
    )
}

/// The git that is built in does the work; the one on `PATH` is for whoever merges the branch.
fn git(search_path: &str) -> Check {
    let own = libgit2_version();
    let program = std::env::split_paths(search_path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join("git"))
        .find(|path| path.is_file());
    let version = program.as_deref().and_then(version);
    let found = match (&program, &version) {
        (_, Some(version)) => format!("libgit2 {own} is built in; {version} is on PATH"),
        (Some(_), None) => format!("libgit2 {own} is built in; the git on PATH does not tell its version"),
        (None, _) => format!("libgit2 {own} is built in; no git is on PATH, and runs need none"),
    };
    let evidence = program.map(|program| Evidence {
        tried: format!("{} --version", program.display()),
        answer: version.unwrap_or_else(|| "no answer".to_owned()),
    });
    Check::new("git", Status::Ok, found).evidence(evidence.into_iter().collect())
}

/// What `PROGRAM --version` prints, if it does so in time.
fn version(program: &Path) -> Option<String> {
    let mut command = std::process::Command::new(program);
    command
        .arg("--version")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = spawn(&mut command).ok()?;
    let deadline = Instant::now() + PATIENCE;
    while let Ok(None) = child.try_wait() {
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.try_wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines()
        .next()
        .filter(|_| output.status.success())
        .map(str::to_owned)
}

/// What the repository's verification starts, as seen from inside.
fn tools(facts: &Facts, question: &Question) -> Check {
    let id = "tools";
    let Some(policy) = question.policy() else {
        return Check::new(id, Status::Unknown, "not looked for: the profile cannot be read");
    };
    let repository = question.repository();
    if !facts.spaces.iter().any(|space| space.place == repository) {
        // Opening what does not answer would hang for good.
        let found = format!(
            "not looked for: the file system of {} does not answer",
            repository.display()
        );
        return Check::new(id, Status::Unknown, found).remedy(Who::You, "name a repository with --repo");
    }
    let script = match verify_script(&question.repository) {
        Ok(script) => script,
        Err(reason) => {
            return Check::new(id, Status::Unknown, format!("not looked for: {reason}"))
                .remedy(Who::You, "name a repository with --repo");
        }
    };
    let programs: BTreeSet<String> = global_commands(script.is_some(), false)
        .into_iter()
        .filter_map(|argv| argv.into_iter().next())
        .collect();
    let evidence: Vec<Evidence> = programs
        .iter()
        .map(|program| Evidence {
            tried: format!("`{program}` on PATH inside"),
            answer: find_program(policy, program).map_or("not found".to_owned(), |path| path.display().to_string()),
        })
        .collect();
    let missing: Vec<&str> = programs
        .iter()
        .map(String::as_str)
        .filter(|program| find_program(policy, program).is_none())
        .collect();
    let grant = format!(
        "install what is missing, and grant the directory that holds it under `[fs] read` in profile `{}`",
        policy.profile
    );
    if !missing.is_empty() {
        return Check::new(id, Status::Fail, format!("not in the sandbox: {}", missing.join(", ")))
            .evidence(evidence)
            .affects(only(
                policy,
                Consequence::Refused,
                "the repository's verification needs them",
            ))
            .remedy(Who::You, grant);
    }
    let hidden = script.map_or_else(Vec::new, |text| hidden_programs(&text, policy, &question.search_path));
    if !hidden.is_empty() {
        let names: Vec<String> = hidden.iter().map(|(name, _)| name.clone()).collect();
        let found = format!(
            "{VERIFY_SCRIPT} names programs that are on PATH here but not inside: {}",
            names.join(", ")
        );
        let outside = hidden.into_iter().map(|(name, path)| Evidence {
            tried: format!("`{name}` outside"),
            answer: path.display().to_string(),
        });
        return Check::new(id, Status::Warn, found)
            .evidence(evidence.into_iter().chain(outside).collect())
            .remedy(Who::You, grant);
    }
    let names: Vec<&str> = programs.iter().map(String::as_str).collect();
    Check::new(id, Status::Ok, format!("in the sandbox: {}", names.join(", "))).evidence(evidence)
}

/// The repository's verify script at HEAD, when it has one.
fn verify_script(directory: &Path) -> Result<Option<Vec<u8>>, String> {
    let read = || {
        let repository = Repository::open(directory)?;
        let snapshot = repository.snapshot(repository.head()?.commit)?;
        snapshot.entry(&RepoPath::parse(VERIFY_SCRIPT).expect("the constant is a path inside a repository"))
    };
    match read() {
        Ok(BaseEntry::File { content, .. }) => Ok(Some(content)),
        Ok(_) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// Words of a script in the place of a program that name one outside but none inside.
///
/// A guess, and a careful one: a word counts only when the operator has such a program, so functions, builtins and
/// variables of the script do not.
fn hidden_programs(script: &[u8], policy: &Policy, search_path: &str) -> Vec<(String, PathBuf)> {
    let text = String::from_utf8_lossy(script);
    let words: BTreeSet<&str> = text
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| line.split(['|', ';', '&', '(', '`']))
        .filter_map(|command| {
            let mut words = command.split_whitespace();
            words.find(|word| !is_prefix(word))
        })
        .filter(|word| {
            let mut bytes = word.bytes();
            bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte))
        })
        .collect();
    words
        .into_iter()
        .filter(|word| find_program(policy, word).is_none())
        .filter_map(|word| {
            let path = std::env::split_paths(search_path)
                .filter(|directory| directory.is_absolute())
                .map(|directory| directory.join(word))
                .find(|path| {
                    let metadata = std::fs::metadata(path);
                    metadata.is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
                })?;
            Some((word.to_owned(), path))
        })
        .collect()
}

/// What stands before the name of a program: a keyword or an assignment.
fn is_prefix(word: &str) -> bool {
    const KEYWORDS: [&str; 13] = [
        "if", "then", "else", "elif", "while", "until", "do", "!", "{", "exec", "time", "command", "env",
    ];
    KEYWORDS.contains(&word) || word.split_once('=').is_some_and(|(name, _)| !name.is_empty())
}

/// Runs `true` under the profile: what a run does before it asks a model.
pub(super) async fn real_command(question: &Question) -> Check {
    let id = LAST.0;
    let Some(policy) = question.policy() else {
        return Check::new(id, Status::Unknown, "not tried: the profile cannot be read");
    };
    let evidence = |answer: String| {
        vec![Evidence {
            tried: format!("run `true` under profile `{}`", policy.profile),
            answer,
        }]
    };
    let tree = Tree { layers: Vec::new() };
    let command = Command {
        timeout: Some(REAL_PATIENCE),
        ..Command::new(["true"])
    };
    let result = match Sandbox::start(&question.program) {
        Ok(sandbox) => sandbox.run(policy, &tree, &command, None).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(report) if report.outcome.is_success() => Check::new(
            id,
            Status::Ok,
            "a command was run and everything that the profile requires was enforced",
        )
        .evidence(evidence("done".to_owned())),
        Ok(report) => {
            let described = describe(&report.outcome);
            let check = Check::new(
                id,
                Status::Fail,
                format!("a sandbox was built, and `true` {described} in it"),
            )
            .evidence(evidence(described))
            .affects(only(policy, Consequence::Refused, "no command works"));
            let check = Check {
                kind: Kind::Host,
                ..check
            };
            match report.outcome {
                Outcome::Setup { .. } => check.remedy(
                    Who::You,
                    format!(
                        "grant the system's programs under `[fs] read` in profile `{}`",
                        policy.profile
                    ),
                ),
                _ => check,
            }
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            let found = format!("{error}{}", cause.unwrap_or_default());
            let check = Check::new(id, Status::Fail, found.clone())
                .evidence(evidence(found))
                .affects(only(policy, Consequence::Refused, "no command can be run"));
            let kind = if error.is_missing_layer() {
                Kind::Layer
            } else {
                Kind::Host
            };
            Check { kind, ..check }.hint(error.hint())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_only_the_operator_has_is_found_in_a_script() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["mytool", "other", "ls"] {
            let path = directory.path().join(name);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let operator = crate::sandbox::Operator {
            profiles: None,
            own: &[],
            search_path: "/usr/bin:/bin",
            variable: &|_| None,
        };
        let policy = crate::sandbox::load_profile("strict", &operator).unwrap();
        let path = directory.path().to_string_lossy().into_owned();
        let found = |script: &str| -> Vec<String> {
            let hidden = hidden_programs(script.as_bytes(), &policy, &path);
            hidden.into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(
            found("set -e\nls | A=b mytool x\nif other; then ls; fi\n"),
            ["mytool", "other"]
        );
        assert!(found("# mytool\nls mytool\n$mytool\n./other\nunknown\n").is_empty());
    }
}
