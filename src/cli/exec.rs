//! `factory exec`: one command in the sandbox, on a throw-away copy of the repository's tree.

use super::{exit, output, problem, words};
use crate::config::Environment;
use crate::run::{Failure, Situation, TREES, interrupted, sandbox_failure, workspace_failure};
use crate::sandbox::{
    Captured, Command, FilterSummary, Mount, Outcome, Plan, Policy, Report, Sandbox, SetupFailure, Stream, Tree, plan,
};
use crate::types::{FailureClass, escape_control};
use crate::verify::{describe, limit_name};
use crate::workspace::{Repository, TreeCache};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Runs one command in the sandbox, in a throw-away copy of the repository's tree.
///
/// The tree is that of a commit: changes that are not committed are not part of it. What the command writes is dropped.
/// Its exit code is returned; a signal is 128 and its number. Other codes say why it was not run: see `factory --help`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A directory of the repository.
    #[arg(long, value_name = "DIR", default_value = ".")]
    repo: PathBuf,
    /// The commit whose tree is used.
    #[arg(long, value_name = "REV", default_value = "HEAD")]
    rev: String,
    /// The profile under which the command runs.
    #[arg(long, value_name = "NAME", default_value = "verify")]
    profile: String,
    /// A shorter wall-clock limit than the profile's, such as 30s or 10m.
    #[arg(long, value_name = "DURATION", value_parser = words::positive_duration)]
    timeout: Option<Duration>,
    /// Pass control sequences through to a terminal. A pipe or a file always gets the bytes as they are.
    #[arg(long)]
    raw: bool,
    /// Print the mounts, rules, filter, limits and variables that the command would get, and do not run it.
    #[arg(long, conflicts_with = "raw")]
    dry_run: bool,
    /// Print one JSON document when the command has ended, instead of its output.
    #[arg(long)]
    json: bool,
    /// The command and its arguments; no shell is involved.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(super) fn exec(arguments: &Arguments, environment: &Environment) -> Result<u8, Failure> {
    if arguments.dry_run {
        return dry_run(arguments, environment);
    }
    let runtime = super::run::runtime()?;
    let report = runtime.block_on(supervise(arguments, environment))?;
    if arguments.json {
        output::json(&document(&report, arguments))?;
        return Ok(code(&report, &arguments.profile));
    }
    if let Some(failure) = failure(&report, &arguments.profile) {
        output::problem(&failure, false);
    }
    Ok(code(&report, &arguments.profile))
}

fn dry_run(arguments: &Arguments, environment: &Environment) -> Result<u8, Failure> {
    let policy = super::run::policy(&arguments.profile, environment, None)?;
    let tree = tree(arguments, environment)?;
    let plan = plan(&policy, &tree, &command(arguments)).map_err(|error| sandbox_failure(&error))?;
    if arguments.json {
        output::json(&json!({ "schema": 1, "profile": arguments.profile, "plan": plan }))?;
    } else {
        output::text(&page(&plan, &arguments.profile))?;
    }
    Ok(exit::code(None))
}

/// The plan, one line for each thing, the kind of thing first.
fn page(plan: &Plan, profile: &str) -> String {
    let path = |path: &Path| words::line(&path.to_string_lossy());
    let mut lines: Vec<(&str, String)> = vec![
        ("command", words::command(&plan.argv)),
        ("profile", profile.to_owned()),
        ("directory", path(&plan.cwd)),
    ];
    lines.extend(plan.program.iter().map(|program| ("program", path(program))));
    for Mount {
        at,
        kind,
        source,
        options,
    } in &plan.mounts
    {
        let from = source.iter().filter(|source| *source != at);
        let from: Vec<String> = from.map(|source| path(source)).collect();
        let from = if from.is_empty() {
            String::new()
        } else {
            format!(" of {}", from.join(" over "))
        };
        lines.push(("mount", format!("{:<28} {kind}{from}, {options}", path(at))));
    }
    let links = plan.links.iter();
    lines.extend(links.map(|(at, to)| ("link", format!("{:<28} {}", path(at), path(to)))));
    match &plan.landlock {
        None => lines.push(("landlock", "not in force".to_owned())),
        Some(landlock) => {
            lines.push((
                "landlock",
                format!("ABI {}; what no rule names is refused", landlock.abi),
            ));
            let rules = landlock.rules.iter();
            lines.extend(rules.map(|rule| ("landlock", format!("{:<28} {}", path(&rule.path), rule.rights))));
            lines.push(("landlock", format!("TCP: {}", landlock.tcp)));
            lines.push(("landlock", format!("signals, abstract sockets: {}", landlock.scope)));
        }
    }
    let FilterSummary {
        allowed,
        forbidden,
        others,
        argument_rules,
    } = &plan.seccomp;
    let calls = format!("{allowed} calls allowed, {forbidden} answer EPERM, every other number {others}");
    lines.push(("seccomp", calls));
    for (call, rules) in argument_rules {
        let s = if *rules == 1 { "" } else { "s" };
        lines.push(("seccomp", format!("{call}: {rules} rule{s} on its arguments")));
    }
    lines.push(("network", plan.network.to_string()));
    for limit in &plan.limits {
        let by = serde_json::to_value(limit.enforced_by).unwrap_or_default();
        let by = by.as_str().unwrap_or_default().to_owned();
        lines.push((
            "limit",
            format!("{:<28} {}, by {by}", limit_name(limit.limit), limit.requested),
        ));
    }
    lines.push(("variables", words::line(&plan.environment.join(" "))));
    lines
        .iter()
        .map(|(kind, text)| format!("{kind:<10} {text}\n"))
        .collect()
}

fn command(arguments: &Arguments) -> Command {
    Command {
        timeout: arguments.timeout,
        ..Command::new(arguments.command.iter().cloned())
    }
}

/// Runs the command, until it ends or somebody interrupts.
async fn supervise(arguments: &Arguments, environment: &Environment) -> Result<Report, Failure> {
    let mut signals = super::run::Signals::listen()?;
    // The helper comes up while the tree is looked for.
    let sandbox = Sandbox::start(&super::run::own_program()?).map_err(|error| sandbox_failure(&error))?;
    let policy = super::run::policy(&arguments.profile, environment, None)?;
    let tree = tree(arguments, environment)?;
    let command = command(arguments);
    tokio::select! {
        biased;
        signal = signals.next() => Err(interrupted(signal)),
        report = stream(arguments, &sandbox, &policy, &tree, &command) => report,
    }
}

/// Runs the command and passes its output through, unless a document is wanted.
async fn stream(
    arguments: &Arguments,
    sandbox: &Sandbox,
    policy: &Policy,
    tree: &Tree,
    command: &Command,
) -> Result<Report, Failure> {
    if arguments.json {
        let report = sandbox.run(policy, tree, command, None).await;
        return report.map_err(|error| sandbox_failure(&error));
    }
    let closed = Arc::new(Notify::new());
    let mut stdout = Passage::new(io::stdout(), arguments.raw || !io::stdout().is_terminal());
    let mut stderr = Passage::new(io::stderr(), arguments.raw || !io::stderr().is_terminal());
    let report = {
        let notify = Arc::clone(&closed);
        let mut sink = |stream: Stream, bytes: &[u8]| {
            let passed = match stream {
                Stream::Stdout => stdout.pass(bytes),
                Stream::Stderr => stderr.pass(bytes),
            };
            if passed.is_err() {
                notify.notify_one();
            }
        };
        tokio::select! {
            biased;
            () = closed.notified() => return Err(closed_output()),
            report = sandbox.run(policy, tree, command, Some(&mut sink)) => report.map_err(|error| sandbox_failure(&error))?,
        }
    };
    // Output that came too late to be noticed above is as lost as any other.
    stdout
        .finish()
        .and_then(|()| stderr.finish())
        .map_err(|_| closed_output())?;
    Ok(report)
}

fn tree(arguments: &Arguments, environment: &Environment) -> Result<Tree, Failure> {
    let of_repository = |error| workspace_failure(&error);
    let repository = Repository::open(&arguments.repo).map_err(of_repository)?;
    let commit = repository.resolve(&arguments.rev).map_err(of_repository)?;
    let snapshot = repository.snapshot(commit).map_err(of_repository)?;
    let cache = environment
        .cache_dir()
        .map_err(|error| Failure::new(&error, Situation::Plain))?;
    let export = TreeCache::open(&cache.join(TREES))
        .and_then(|cache| cache.export(&snapshot, Sandbox::tree_owner()))
        .map_err(of_repository)?;
    Ok(Tree { layers: vec![export] })
}

fn closed_output() -> Failure {
    Failure::plain(
        FailureClass::Host,
        "the command was ended: its output cannot be written",
    )
    .in_situation(Situation::Storage)
    .with_hint("the reader of the output went away, or the disk is full")
}

/// Why the command has no exit code of its own to return.
fn failure(report: &Report, profile: &str) -> Option<Failure> {
    match &report.outcome {
        Outcome::Exit { .. } | Outcome::Signal { .. } => None,
        Outcome::Limit { limit } => Some(
            Failure::plain(
                FailureClass::Limit,
                format!(
                    "the command was ended by the limit on {} after {}",
                    limit_name(*limit),
                    words::span(0, report.metering.wall_ms)
                ),
            )
            .with_hint(format!("the limits are those of profile `{profile}` and --timeout")),
        ),
        Outcome::Denied { rule } => Some(
            Failure::plain(FailureClass::Policy, format!("the command was refused: {rule}"))
                .with_hint(format!("what is granted is said in profile `{profile}`")),
        ),
        Outcome::Tampered { path } => Some(
            Failure::plain(
                FailureClass::Rejected,
                format!("the command changed `{path}`, which the profile protects"),
            )
            .with_hint(format!(
                "the paths are listed under `[tree] protect` in profile `{profile}`"
            )),
        ),
        Outcome::Setup { failure } => Some(setup(failure, profile)),
    }
}

fn setup(failure: &SetupFailure, profile: &str) -> Failure {
    let described = describe(&Outcome::Setup {
        failure: failure.clone(),
    });
    let plain = Failure::plain(FailureClass::Host, format!("the command {described}"));
    match failure {
        SetupFailure::ToolMissing { .. } => plain.with_hint(format!(
            "install it, and grant the directory that holds it under `[fs] read` in profile `{profile}`"
        )),
        SetupFailure::ProgramUnusable { .. } | SetupFailure::DirectoryMissing { .. } => {
            plain.with_hint("paths are those inside the sandbox: the current directory is the tree")
        }
    }
}

fn code(report: &Report, profile: &str) -> u8 {
    match report.outcome {
        // Both fit: the kernel keeps eight bits of an exit status, and signals end at 64.
        Outcome::Exit { code } => u8::try_from(code & 0xff).unwrap_or(u8::MAX),
        Outcome::Signal { signal } => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        Outcome::Limit { .. } | Outcome::Denied { .. } | Outcome::Tampered { .. } | Outcome::Setup { .. } => {
            exit::code(failure(report, profile).as_ref())
        }
    }
}

fn document(report: &Report, arguments: &Arguments) -> Value {
    let failure = failure(report, &arguments.profile);
    json!({
        "schema": 1,
        "argv": arguments.command,
        "profile": arguments.profile,
        "outcome": report.outcome,
        "exit_code": code(report, &arguments.profile),
        "problem": failure.as_ref().map(problem::json),
        "metering": report.metering,
        "limits": report.limits,
        "enforced": report.enforced,
        "stdout": captured(&report.stdout),
        "stderr": captured(&report.stderr),
    })
}

/// The bytes as they are, and as text for reading: escaped, and lossy where they are none.
fn captured(captured: &Captured) -> Value {
    let part = |bytes: &[u8]| {
        json!({
            "base64": BASE64.encode(bytes),
            "text": escape_control(&String::from_utf8_lossy(bytes)),
        })
    };
    json!({
        "bytes": captured.total(),
        "dropped": captured.dropped,
        "head": part(&captured.head),
        "tail": part(&captured.tail),
    })
}

/// One output stream on its way out.
struct Passage<W> {
    out: W,
    raw: bool,
    /// The beginning of a character whose rest has not arrived.
    begun: Vec<u8>,
}

impl<W: Write> Passage<W> {
    fn new(out: W, raw: bool) -> Self {
        Passage {
            out,
            raw,
            begun: Vec::new(),
        }
    }

    /// Passes on what arrived.
    fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.raw {
            self.out.write_all(bytes)?;
            return self.out.flush();
        }
        self.begun.extend_from_slice(bytes);
        let whole = self.begun.len() - unfinished(&self.begun);
        let rest = self.begun.split_off(whole);
        let text = escape_control(&String::from_utf8_lossy(&self.begun));
        self.begun = rest;
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Passes on what can no longer become a character.
    fn finish(&mut self) -> io::Result<()> {
        let text = String::from_utf8_lossy(&self.begun).into_owned();
        self.begun.clear();
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

/// How many bytes at the end are the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    // A character of UTF-8 has at most four bytes, so its beginning at most three.
    (1..=bytes.len().min(3))
        .find(|count| {
            let end = &bytes[bytes.len() - count..];
            end[0] & 0xc0 == 0xc0 && std::str::from_utf8(end).is_err_and(|error| error.error_len().is_none())
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{LimitKind, Metering};

    fn report(outcome: Outcome) -> Report {
        Report {
            outcome,
            stdout: Captured::default(),
            stderr: Captured::default(),
            metering: Metering::default(),
            limits: Vec::new(),
            enforced: None,
        }
    }

    fn passed(raw: bool, pieces: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut passage = Passage::new(&mut out, raw);
        for piece in pieces {
            passage.pass(piece).unwrap();
        }
        passage.finish().unwrap();
        out
    }

    #[test]
    fn the_exit_code_is_the_commands_own_unless_the_sandbox_has_the_word() {
        let tool = SetupFailure::ToolMissing {
            program: "x".to_owned(),
        };
        for (outcome, expected) in [
            (Outcome::Exit { code: 0 }, 0),
            (Outcome::Exit { code: 255 }, 255),
            (Outcome::Signal { signal: 9 }, 137),
            (Outcome::Limit { limit: LimitKind::Wall }, 1),
            (Outcome::Setup { failure: tool }, 20),
        ] {
            assert_eq!(code(&report(outcome.clone()), "verify"), expected, "{outcome:?}");
        }
    }

    #[test]
    fn a_terminal_gets_no_control_sequences_and_whole_characters() {
        assert_eq!(passed(false, &[b"a\x1b[2Jb"]), b"a\\u{1b}[2Jb");
        assert_eq!(
            passed(false, &["é".as_bytes()[..1].into(), "é".as_bytes()[1..].into()]),
            "é".as_bytes()
        );
        assert_eq!(
            passed(false, &[b"\xff\xfe", b"\xf0\x9f"]),
            "\u{fffd}\u{fffd}\u{fffd}".as_bytes()
        );
    }

    #[test]
    fn a_pipe_gets_the_bytes_as_they_are() {
        assert_eq!(passed(true, &[b"\x1b[2J\xff", b"\xf0"]), b"\x1b[2J\xff\xf0");
    }
}
