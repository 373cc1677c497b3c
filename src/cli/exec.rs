//! `factory exec`: one command in the sandbox, on a throw-away copy of the repository's tree.

use super::{exit, output, problem, words};
use crate::config::Settings;
use crate::run::{self, Failure, Situation, interrupted, refuse_place, sandbox_failure, workspace_failure};
use crate::sandbox::{
    Captured, Command, Layer, Outcome, Policy, Report, Resident, Sandbox, SandboxError, SetupFailure, Stream, Tree,
    TreeSource, plan,
};
use crate::types::{FailureClass, ObjectId, escape_control};
use crate::verify::{describe, limit_name};
use crate::workspace::{self, Repository};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::oneshot;

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
    /// The profile under which the command runs [default: verify].
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Do without a layer of the profile's floor: landlock, limits.memory, limits.pids or limits.cpu. Can be repeated.
    #[arg(long, value_name = "LAYER")]
    waive: Vec<Layer>,
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

/// Whether a process with these arguments is about to run a command.
pub(super) fn wants_helper(arguments: &[OsString]) -> bool {
    let mut words = arguments.iter().skip(1).take_while(|word| *word != "--");
    words.next().is_some_and(|word| word == "exec")
        && !words.any(|word| word == "--dry-run" || word == "--help" || word == "-h")
}

/// `helper` is one that has been left behind already.
pub(super) fn exec(arguments: &Arguments, settings: &Settings, helper: Option<Resident>) -> Result<u8, Failure> {
    if arguments.dry_run {
        return dry_run(arguments, settings);
    }
    let profile = settings.profile(arguments.profile.as_deref()).value;
    let runtime = super::run::runtime()?;
    let (base, report) = runtime.block_on(supervise(arguments, settings, helper))?;
    if arguments.json {
        output::json(&document(&report, base, arguments, &profile))?;
        return Ok(code(&report, &profile));
    }
    if let Some(failure) = failure(&report, &profile) {
        output::problem(&failure, false);
    }
    Ok(code(&report, &profile))
}

fn dry_run(arguments: &Arguments, settings: &Settings) -> Result<u8, Failure> {
    let profile = settings.profile(arguments.profile.as_deref()).value;
    let policy = super::run::policy(&profile, &arguments.waive, settings, None)?;
    let (base, _layers, tree) = tree(arguments, settings, policy.tree)?;
    let plan = plan(&policy, &tree, &command(arguments, settings)).map_err(|error| refused(&error))?;
    if arguments.json {
        output::json(&json!({
            "schema": 1,
            "profile": profile,
            "commit": base.commit,
            "dirty": base.dirty,
            "plan": plan,
        }))?;
    } else {
        output::text(&super::dry_run::page(&plan, &profile))?;
    }
    Ok(exit::code(None))
}

fn command(arguments: &Arguments, settings: &Settings) -> Command {
    Command {
        timeout: settings.timeout(arguments.timeout).map(|set| set.value),
        ..Command::new(arguments.command.iter().cloned())
    }
}

/// Runs the command, until it ends or somebody interrupts.
async fn supervise(
    arguments: &Arguments,
    settings: &Settings,
    helper: Option<Resident>,
) -> Result<(Base, Report), Failure> {
    let mut signals = super::run::Signals::listen()?;
    let program = super::run::own_program()?;
    let sandbox = match helper {
        Some(helper) => Sandbox::with_helper(&program, helper),
        // It comes up while the tree is looked for.
        None => Sandbox::start(&program),
    };
    let sandbox = sandbox.map_err(|error| sandbox_failure(&error))?;
    let profile = settings.profile(arguments.profile.as_deref()).value;
    let policy = super::run::policy(&profile, &arguments.waive, settings, None)?;
    if !policy.waive.is_empty() {
        output::note(&words::waived(&policy.waive));
    }
    sandbox.prepare(&policy).map_err(|error| refused(&error))?;
    let (base, _layers, tree) = tree(arguments, settings, policy.tree)?;
    if base.dirty == Some(true) && !arguments.json {
        output::note(&base.note());
    }
    let command = command(arguments, settings);
    tokio::select! {
        biased;
        signal = signals.next() => Err(interrupted(signal)),
        report = stream(arguments, &sandbox, &policy, &tree, &command) => Ok((base, report?)),
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
        return report.map_err(|error| refused(&error));
    }
    let (mut outlet, written) = Outlet::new(arguments.raw);
    let mut written = pin!(written);
    let report = {
        let mut sink = |stream: Stream, bytes: &[u8]| outlet.push(stream, bytes);
        tokio::select! {
            biased;
            // Before the run is over, only by what cannot be written.
            _ = &mut written => return Err(closed_output()),
            report = sandbox.run(policy, tree, command, Some(&mut sink)) => report.map_err(|error| refused(&error))?,
        }
    };
    let [stdout, stderr] = outlet.arrived;
    if outlet.is_open() {
        // That is all.
        drop(outlet);
        if !written.await.is_ok_and(|written| written.is_ok()) {
            return Err(closed_output());
        }
    }
    for (name, arrived, captured) in [
        ("standard output", stdout, &report.stdout),
        ("standard error", stderr, &report.stderr),
    ] {
        let left_out = captured.total().saturating_sub(arrived);
        if left_out > 0 {
            let profile = &policy.profile;
            output::note(&format!(
                "note: {left_out} bytes of {name} were left out, by the limit on output in profile `{profile}`"
            ));
        }
    }
    Ok(report)
}

/// The commit whose tree the command gets.
#[derive(Debug, Clone, Copy)]
struct Base {
    commit: ObjectId,
    /// Whether the checkout has changes that are not committed, and so not part of the tree; nothing where it was not
    /// looked at.
    dirty: Option<bool>,
}

impl Base {
    fn note(self) -> String {
        format!(
            "note: uncommitted changes are not part of the tree; it is that of commit {}",
            self.commit.short()
        )
    }
}

/// The layers stay in the cache as long as the second of the three is held.
fn tree(
    arguments: &Arguments,
    settings: &Settings,
    source: TreeSource,
) -> Result<(Base, workspace::Base, Tree), Failure> {
    let of_repository = |error| workspace_failure(&error);
    let repository = Repository::open(&arguments.repo).map_err(of_repository)?;
    let commit = match arguments.rev.as_str() {
        // A repository without commits has a problem of its own.
        "HEAD" => repository.head().map(|head| head.commit),
        rev => repository.resolve(rev),
    };
    let commit = commit.map_err(of_repository)?;
    let base = Base {
        commit,
        dirty: is_dirty(arguments, &repository)?,
    };
    let snapshot = repository.snapshot(commit).map_err(of_repository)?;
    let cache = settings
        .cache_dir()
        .map_err(|error| Failure::new(&error, Situation::Plain))?
        .value;
    refuse_place(&repository, "the cache directory", &cache)?;
    let base_tree = run::base(&cache, &snapshot, source).map_err(of_repository)?;
    let layers = base_tree.layers();
    Ok((base, base_tree, Tree { layers }))
}

/// Whether the checkout differs from the commit, where somebody would be told: it takes a look at every file. A pipe
/// gets what the command writes and nothing else, and who names a revision knows that it is not the checkout.
fn is_dirty(arguments: &Arguments, repository: &Repository) -> Result<Option<bool>, Failure> {
    let is_told = arguments.json || io::stderr().is_terminal();
    if !is_told || arguments.rev != "HEAD" {
        return Ok(None);
    }
    let dirty = repository.is_dirty().map_err(|error| workspace_failure(&error))?;
    Ok(Some(dirty))
}

/// Why the sandbox refused. A command that is none is a mistake on the command line.
fn refused(error: &SandboxError) -> Failure {
    match error {
        SandboxError::Command { .. } => Failure::new(error, Situation::Usage)
            .with_hint("write the program and its arguments after `--`, as in `factory exec -- ls -l`"),
        _ => sandbox_failure(error),
    }
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
        SetupFailure::ProgramUnusable { .. } => plain.with_hint(
            "make it executable and commit that, or name its interpreter, as in `sh FILE`; paths are those inside the \
             sandbox, where the current directory is the tree",
        ),
        SetupFailure::DirectoryMissing { .. } => {
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

fn document(report: &Report, base: Base, arguments: &Arguments, profile: &str) -> Value {
    let failure = failure(report, profile);
    json!({
        "schema": 1,
        "argv": arguments.command,
        "commit": base.commit,
        "dirty": base.dirty,
        "profile": profile,
        "waived": arguments.waive,
        "outcome": report.outcome,
        "exit_code": code(report, profile),
        "problem": failure.as_ref().map(problem::json),
        "metering": report.metering,
        "limits": report.limits,
        "receipt": report.receipt,
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

/// Where both streams go out: a thread beside the run, because whoever does not read must hold up neither the run's limits
/// nor a signal. What waits for a reader is in memory, and no more than the policy's cap for each stream.
struct Outlet {
    /// Whether control sequences pass to a terminal.
    raw: bool,
    /// How many bytes arrived, of each stream.
    arrived: [u64; 2],
    /// To the thread, once there is something to be written.
    pieces: Option<mpsc::Sender<(Stream, Vec<u8>)>>,
    /// How the thread says that it has come to an end.
    say: Option<oneshot::Sender<io::Result<()>>>,
}

impl Outlet {
    /// With what the thread says in the end: that all is written, or that something cannot be.
    fn new(raw: bool) -> (Self, oneshot::Receiver<io::Result<()>>) {
        let (say, written) = oneshot::channel();
        let outlet = Outlet {
            raw,
            arrived: [0; 2],
            pieces: None,
            say: Some(say),
        };
        (outlet, written)
    }

    fn is_open(&self) -> bool {
        self.pieces.is_some()
    }

    fn push(&mut self, stream: Stream, bytes: &[u8]) {
        self.arrived[usize::from(stream == Stream::Stderr)] += bytes.len() as u64;
        if let Some(say) = self.say.take() {
            let (sender, pieces) = mpsc::channel();
            let raw = self.raw;
            self.pieces = Some(sender);
            std::thread::spawn(move || {
                // Nobody listens any more when the process is about to end.
                let _ = say.send(write_out(pieces, raw));
            });
        }
        if let Some(pieces) = &self.pieces {
            // A thread that has ended has said why.
            let _ = pieces.send((stream, bytes.to_vec()));
        }
    }
}

/// Writes what comes until no more can come.
fn write_out(pieces: mpsc::Receiver<(Stream, Vec<u8>)>, raw: bool) -> io::Result<()> {
    let mut stdout = Passage::new(io::stdout(), raw || !io::stdout().is_terminal());
    let mut stderr = Passage::new(io::stderr(), raw || !io::stderr().is_terminal());
    for (stream, bytes) in pieces {
        match stream {
            Stream::Stdout => stdout.pass(&bytes)?,
            Stream::Stderr => stderr.pass(&bytes)?,
        }
    }
    stdout.finish()?;
    stderr.finish()
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
            receipt: None,
            files: std::collections::BTreeMap::new(),
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
