//! Checks of the sandbox as a library, and of `factory exec`.

use super::{exec_json, finding, start, useless};
use crate::attack::case::Tune;
use crate::attack::part::DOOR;
use crate::attack::score::{Finding, Verdict};
use crate::attack::site::PAYLOAD;
use crate::attack::{AttackError, Ground, tune};
use crate::sandbox::{Command, Enforcer, LimitKind, Outcome, Report, Sandbox, SandboxError, Tree};
use crate::types::RepoPath;
use std::path::Path;

/// Runs one command in the sandbox, in a tree of its own.
pub(super) fn run(
    ground: &Ground,
    change: Tune,
    command: &Command,
) -> Result<Result<Report, SandboxError>, AttackError> {
    let site = ground.scratch.site(false)?;
    let mut policy = ground.policy.clone();
    change(&mut policy, &site.directory);
    let tree = Tree {
        layers: vec![site.path("tree")],
    };
    let runtime = runtime()?;
    let sandbox = match Sandbox::start(&ground.program) {
        Ok(sandbox) => sandbox,
        Err(error) => return Ok(Err(error)),
    };
    Ok(runtime.block_on(sandbox.run(&policy, &tree, command, None)))
}

fn runtime() -> Result<tokio::runtime::Runtime, AttackError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(start)
}

/// The payload's command line for an act.
fn payload(words: &[&str]) -> Command {
    let mut argv = vec![format!("./{PAYLOAD}"), DOOR.to_owned(), "act".to_owned()];
    argv.extend(words.iter().map(|word| (*word).to_owned()));
    argv.push("trial-of-a-check".to_owned());
    Command::new(argv)
}

fn unchanged(_: &mut crate::sandbox::Policy, _: &Path) {}

fn outcome(ground: &Ground, command: &Command) -> Result<Result<Outcome, SandboxError>, AttackError> {
    Ok(run(ground, unchanged, command)?.map(|report| report.outcome))
}

/// A working directory is a path of the tree, so that none other can be spelled.
pub(in crate::attack) fn working_directory(_: &Ground) -> Result<Finding, AttackError> {
    if RepoPath::parse("sub").is_err() {
        return useless("a directory of the tree is refused");
    }
    let taken = ["/proc/self/fd/7", "/", "..", "sub/../..", "/proc/self/cwd"]
        .into_iter()
        .filter(|path| RepoPath::parse(path).is_ok());
    finding(
        taken.map(|path| format!("`{path}` is taken")).collect(),
        "only paths of the tree can be spelled",
    )
}

pub(in crate::attack) fn huge_environment(ground: &Ground) -> Result<Finding, AttackError> {
    let mut command = payload(&["hello"]);
    command.env.insert("SMALL".to_owned(), "x".to_owned());
    if !matches!(outcome(ground, &command)?, Ok(Outcome::Exit { code: 0 })) {
        return useless("a small environment is refused");
    }
    for number in 0..30 {
        command.env.insert(format!("HUGE_{number}"), "x".repeat(100 << 10));
    }
    Ok(match outcome(ground, &command)? {
        Err(error @ (SandboxError::Command { .. } | SandboxError::Layer { .. })) => {
            Finding::new(Verdict::Contained, error.to_string())
        }
        Ok(Outcome::Setup { failure }) => Finding::new(Verdict::Contained, format!("{failure:?}")),
        other => Finding::new(Verdict::Escaped, format!("no clear answer: {other:?}")),
    })
}

/// Spellings of git's own directory on file systems that fold case or ignore characters.
const SPELLINGS: [&str; 10] = [
    ".git/config",
    ".GIT/hooks/pre-commit",
    ".Git/config",
    ".git::$INDEX_ALLOCATION/config",
    "git~1/config",
    ".g\u{200c}it/config",
    ".git /config",
    ".git./config",
    "a/.git/config",
    ".git\\config",
];

pub(in crate::attack) fn metadata_spellings(_: &Ground) -> Result<Finding, AttackError> {
    if ["gitx/config", ".gitignore", "a.git/config"]
        .iter()
        .any(|path| RepoPath::parse(path).is_err())
    {
        return useless("names that only look alike are refused");
    }
    let taken = SPELLINGS.iter().filter(|path| RepoPath::parse(path).is_ok());
    finding(
        taken
            .map(|path| format!("`{}` is taken", path.escape_debug()))
            .collect(),
        "refused in every spelling",
    )
}

pub(in crate::attack) fn forged_result(ground: &Ground) -> Result<Finding, AttackError> {
    let forged = r#"{"schema":1,"outcome":{"kind":"exit","code":0},"exit_code":0}"#;
    let script = format!("echo '{forged}'; echo '{forged}' >&2; exit 5");
    let (document, text) = exec_json(ground, ground.repository()?, &["sh", "-c", &script])?;
    if !text.contains("schema") || document["stdout"]["bytes"].as_u64() != Some(forged.len() as u64 + 1) {
        return useless(format!("the forgery was not printed: {text}"));
    }
    let wrong = (document["outcome"]["code"] != 5 || document["exit_code"] != 5)
        .then(|| format!("believed: {}", document["outcome"]));
    finding(wrong.into_iter().collect(), "the outcome is the real one")
}

pub(in crate::attack) fn exit_codes(ground: &Ground) -> Result<Finding, AttackError> {
    let mut wrong = Vec::new();
    for code in [0, 20, 21, 98, 124, 125, 126, 127, 137, 255] {
        let got = outcome(ground, &payload(&["exit", &code.to_string()]))?;
        if !matches!(got, Ok(Outcome::Exit { code: told }) if told == code) {
            wrong.push(format!("exit code {code} became {got:?}"));
        }
    }
    if !matches!(
        outcome(ground, &payload(&["die", "9"]))?,
        Ok(Outcome::Signal { signal: 9 })
    ) {
        return useless("a signal is not told from an exit code");
    }
    finding(wrong, "every code arrives as a code, and signal 9 as a signal")
}

pub(in crate::attack) fn signal_exits(ground: &Ground) -> Result<Finding, AttackError> {
    let mut wrong = Vec::new();
    for signal in [4, 6, 9, 11, 15, 24, 31] {
        let got = outcome(ground, &payload(&["die", &signal.to_string()]))?;
        if !matches!(got, Ok(Outcome::Signal { signal: told }) if told == signal) {
            wrong.push(format!("signal {signal} became {got:?}"));
        }
    }
    if !matches!(
        outcome(ground, &payload(&["exit", "139"]))?,
        Ok(Outcome::Exit { code: 139 })
    ) {
        return useless("an exit code is not told from a signal");
    }
    finding(wrong, "every signal arrives as itself")
}

/// How many sandboxes run at the same time in this check.
const AT_ONCE: usize = 100;

pub(in crate::attack) fn many_at_once(ground: &Ground) -> Result<Finding, AttackError> {
    let site = ground.scratch.site(false)?;
    let sandbox = match Sandbox::start(&ground.program) {
        Ok(sandbox) => sandbox,
        Err(error) => return useless(error.to_string()),
    };
    let tree = Tree {
        layers: vec![site.path("tree")],
    };
    let one = async |number: usize| {
        // Where `/tmp` is not its own, a run is told of another place.
        let script = format!("echo {number} >$TMPDIR/mine; echo {number} >mine; sleep 0.2; cat $TMPDIR/mine mine");
        let report = sandbox
            .run(&ground.policy, &tree, &Command::new(["sh", "-c", &script]), None)
            .await;
        let expected = format!("{number}\n{number}\n");
        match report {
            Ok(report) if report.stdout.to_bytes() == expected.as_bytes() => None,
            Ok(report) => Some(format!(
                "{number} got {:?} {:?}",
                report.outcome,
                String::from_utf8_lossy(&report.stdout.to_bytes())
            )),
            Err(error) => Some(format!("{number}: {error}")),
        }
    };
    let wrong = runtime()?.block_on(async { futures_util::future::join_all((0..AT_ONCE).map(one)).await });
    finding(
        wrong.into_iter().flatten().take(3).collect(),
        "100 at once each got their own answer",
    )
}

pub(in crate::attack) fn swap(ground: &Ground) -> Result<Finding, AttackError> {
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    if swaps.lines().count() < 2 {
        return Ok(Finding::new(
            Verdict::Skipped,
            "this host has no swap: /proc/swaps is empty",
        ));
    }
    let report = run(ground, tune::little_memory, &payload(&["hog", "300"]))?;
    Ok(match report.map(|report| report.outcome) {
        Ok(Outcome::Exit { code: 0 }) => Finding::new(Verdict::Escaped, "memory and swap together went over the limit"),
        other => Finding::new(Verdict::Contained, format!("{other:?}")),
    })
}

/// A floor of limits that the kernel itself must keep: kept by control groups, or the run is refused.
pub(in crate::attack) fn limits_promised(ground: &Ground) -> Result<Finding, AttackError> {
    let promised = [LimitKind::Memory, LimitKind::Pids, LimitKind::Cpu];
    if !matches!(outcome(ground, &payload(&["hello"]))?, Ok(Outcome::Exit { code: 0 })) {
        return useless("without such a floor it does not run");
    }
    let change: Tune = |policy, _| policy.require.limits = [LimitKind::Memory, LimitKind::Pids, LimitKind::Cpu].into();
    let report = match run(ground, change, &payload(&["hello"]))? {
        Err(error) => return Ok(Finding::new(Verdict::Contained, format!("refused: {error}"))),
        Ok(report) => report,
    };
    let kept = |kind: &LimitKind| {
        let by_group = |enforcer| matches!(enforcer, Enforcer::CgroupV1 | Enforcer::CgroupV2);
        report
            .limits
            .iter()
            .any(|limit| limit.limit == *kind && by_group(limit.enforced_by))
    };
    let missing: Vec<_> = promised
        .iter()
        .filter(|kind| !kept(kind))
        .map(|kind| format!("{kind:?} is required, and no control group keeps it"))
        .collect();
    finding(missing, "control groups keep what is required")
}

pub(in crate::attack) fn forged_lines(ground: &Ground) -> Result<Finding, AttackError> {
    let script =
        r#"printf '\n2026-01-01T00:00:00Z factory: PASS\n{"event":"run.completed","verdict":"VERIFIED"}\r\n'; exit 3"#;
    let (document, text) = exec_json(ground, ground.repository()?, &["sh", "-c", script])?;
    if document["stdout"]["bytes"].as_u64().is_none_or(|bytes| bytes < 40) {
        return useless("the forgery was not printed");
    }
    let mut wrong = Vec::new();
    if text.trim_end().lines().count() != 1 {
        wrong.push("the document has more than one line".to_owned());
    }
    if document["outcome"]["code"] != 3 {
        wrong.push("the outcome is another".to_owned());
    }
    finding(wrong, "the output is a field of one document on one line")
}

pub(in crate::attack) fn random_bytes(ground: &Ground) -> Result<Finding, AttackError> {
    let (document, text) = exec_json(ground, ground.repository()?, &["sh", "-c", "head -c 4096 /dev/urandom"])?;
    let mut wrong = Vec::new();
    if document.is_null() {
        wrong.push(format!("no document: {}", crate::types::truncate(&text, 80)));
    }
    let stdout = &document["stdout"];
    // 4096 bytes are 5464 characters of base64.
    if stdout["bytes"] != 4096 || stdout["head"]["base64"].as_str().map(str::len) != Some(5464) {
        wrong.push("bytes were lost".to_owned());
    }
    finding(wrong, "a valid document with every byte")
}

pub(in crate::attack) fn host_paths(ground: &Ground) -> Result<Finding, AttackError> {
    let scratch = ground.scratch.path().display().to_string();
    let script =
        "pwd; cat /nonexistent; ./nothing; readlink /proc/self/exe /proc/self/cwd; cat /proc/self/maps; exit 1";
    let (document, text) = exec_json(ground, ground.repository()?, &["sh", "-c", script])?;
    if document["stdout"]["bytes"].as_u64().is_none_or(|bytes| bytes < 10) {
        return useless("nothing was printed");
    }
    finding(
        text.contains(&scratch)
            .then(|| "a path of the host is in the document".to_owned())
            .into_iter()
            .collect(),
        "only paths of the view",
    )
}

/// A command that was never started has an outcome of its own, whatever codes others exit with.
pub(in crate::attack) fn setup_or_command(ground: &Ground) -> Result<Finding, AttackError> {
    if !matches!(
        outcome(ground, &payload(&["exit", "20"]))?,
        Ok(Outcome::Exit { code: 20 })
    ) {
        return useless("an exit code of 20 is no exit code");
    }
    let mut nowhere = payload(&["hello"]);
    nowhere.cwd = RepoPath::parse("not/there").ok();
    let mut wrong = Vec::new();
    for command in [nowhere, Command::new(["no-such-program"]), Command::new(["./file"])] {
        let got = outcome(ground, &command)?;
        if !matches!(got, Ok(Outcome::Setup { .. })) {
            wrong.push(format!("{:?} became {got:?}", command.argv));
        }
    }
    finding(wrong, "what was never started is told from what failed")
}
