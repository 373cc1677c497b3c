//! `factory profile`: what profiles there are, what they grant, how they differ, and whether they hold.

use super::{output, problem, words};
use crate::config::Settings;
use crate::run::{Failure, Situation, sandbox_failure};
use crate::sandbox::{
    Act, Change, Difference, Expectation, Finding, Granted, LeftOut, Operator, PAYLOAD, Policy, Profile, Reply,
    Resolved, Sandbox, Tree, Value, Wanted, profile_names,
};
use crate::types::FailureClass;
use serde_json::json;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Shows and checks sandbox profiles.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists the profiles: your own, and those built in.
    List {
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Shows every value of a profile with the profile and line that says so.
    Show {
        /// The profile.
        name: String,
        /// Show it as it would be enforced on this host: what its bundles stand for here, and the whole environment.
        #[arg(long)]
        resolved: bool,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Shows what changes for a command that ran under one profile and is to run under another.
    Diff {
        /// The profile to start from.
        from: String,
        /// The other one.
        to: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Names what a careful reader of a profile would ask about; findings make the exit code 78.
    Lint {
        /// The profile; all that there are when it is not given.
        name: Option<String>,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Tries everything that a profile expects to be allowed or denied, in the real sandbox, and says what answered; what
    /// does not hold makes the exit code 78.
    Test {
        /// The profile.
        name: String,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn profile(arguments: &Arguments, settings: &Settings) -> Result<u8, Failure> {
    super::run::with_operator(settings, None, |operator| match &arguments.command {
        Command::List { json } => list(operator, *json),
        Command::Show { name, resolved, json } => show(&load(name, operator)?, operator, *resolved, *json),
        Command::Diff { from, to, json } => diff(&load(from, operator)?, &load(to, operator)?, *json),
        Command::Lint { name, json } => lint(name.as_deref(), operator, *json),
        Command::Test { name, json } => test(&load(name, operator)?, operator, settings, *json),
    })
}

fn load(name: &str, operator: &Operator<'_>) -> Result<Profile, Failure> {
    Profile::load(name, operator).map_err(|error| sandbox_failure(&error))
}

fn done() -> u8 {
    super::exit::code(None)
}

/// A profile that cannot be read is listed with what is wrong: the list is where people look for it.
fn list(operator: &Operator<'_>, as_json: bool) -> Result<u8, Failure> {
    let names = profile_names(operator).map_err(|error| sandbox_failure(&error))?;
    let all = names.into_iter().map(|name| (load(&name, operator), name));
    if as_json {
        let profiles: Vec<_> = all
            .map(|(loaded, name)| match loaded {
                Ok(profile) => json!({
                    "name": name,
                    "summary": profile.summary(),
                    "place": profile.place(),
                    "extends": profile.extends(),
                }),
                Err(failure) => json!({ "name": name, "problem": problem::json(&failure) }),
            })
            .collect();
        output::json(&json!({ "schema": 1, "profiles": profiles }))?;
        return Ok(done());
    }
    let mut page = String::new();
    for (loaded, name) in all {
        match loaded {
            Ok(profile) => {
                let _ = writeln!(page, "{name:<14} {}", words::line(profile.summary()));
                let parents = match profile.extends() {
                    [] => String::new(),
                    parents => format!(", narrows {}", parents.join(", ")),
                };
                let _ = writeln!(page, "{:<14} {}{parents}", "", words::line(profile.place()));
            }
            Err(failure) => {
                let _ = writeln!(page, "{name:<14} invalid: {}", words::line(&failure.message));
            }
        }
    }
    output::text(&page)?;
    Ok(done())
}

fn show(profile: &Profile, operator: &Operator<'_>, resolved: bool, as_json: bool) -> Result<u8, Failure> {
    let resolved = match resolved {
        true => Some(profile.resolve(operator).map_err(|error| sandbox_failure(&error))?),
        false => None,
    };
    // What the operator passes may be a secret, and this output is for showing around.
    let resolved = resolved.map(|mut resolved| {
        for name in profile.passes() {
            if let Some(value) = resolved.policy.env.get_mut(name) {
                *value = "(passed)".to_owned();
            }
        }
        resolved
    });
    if as_json {
        output::json(&json!({
            "schema": 1,
            "name": profile.name(),
            "summary": profile.summary(),
            "place": profile.place(),
            "extends": profile.extends(),
            "values": profile.values(),
            "expect": profile.expectations(),
            "resolved": resolved.as_ref().map(|resolved| json!({
                "policy": resolved.policy,
                "granted": resolved.granted,
                "left_out": resolved.left_out,
            })),
        }))?;
        return Ok(done());
    }
    let mut page = format!(
        "{}  {}\n{}\n\n",
        profile.name(),
        words::line(profile.summary()),
        words::line(profile.place())
    );
    for value in profile.values() {
        page.push_str(&line(&value, profile));
    }
    for expectation in profile.expectations() {
        page.push_str(&expected(expectation, profile));
    }
    if let Some(resolved) = resolved {
        page.push_str("\non this host\n");
        page.push_str(&on_this_host(&resolved));
    }
    output::text(&page)?;
    Ok(done())
}

fn line(value: &Value, profile: &Profile) -> String {
    let why = match value.why.is_empty() {
        true => String::new(),
        false => format!("; {}", words::line(&value.why)),
    };
    let at = place(&value.origin.profile, value.origin.line, profile);
    format!("{:<20} {:<24} {at}{why}\n", value.key, words::line(&value.value))
}

fn expected(expectation: &Expectation, profile: &Profile) -> String {
    let at = place(&expectation.origin.profile, expectation.origin.line, profile);
    format!(
        "{:<20} {}  {at}\n",
        format!("expect {}", wanted(expectation.wanted)),
        act(&expectation.act)
    )
}

fn place(said_by: &str, line: usize, profile: &Profile) -> String {
    let by = if said_by == profile.name() {
        String::new()
    } else {
        format!("{said_by} ")
    };
    match line {
        0 if by.is_empty() => "(default)".to_owned(),
        0 => format!("({}default)", by),
        line => format!("({by}line {line})"),
    }
}

fn wanted(wanted: Wanted) -> &'static str {
    match wanted {
        Wanted::Allow => "allow",
        Wanted::Deny => "deny",
    }
}

fn act(act: &Act) -> String {
    words::line(&act.to_string())
}

fn on_this_host(resolved: &Resolved) -> String {
    let mut page = String::new();
    for Granted {
        path,
        entry,
        snapshot,
        present,
        ..
    } in &resolved.granted
    {
        let how = match (present, snapshot) {
            (false, _) => "absent",
            (true, false) => "read",
            (true, true) => "snapshot",
        };
        let _ = writeln!(
            page,
            "  {how:<9} {}  from {entry}",
            words::line(&path.to_string_lossy())
        );
    }
    for LeftOut { reason, .. } in &resolved.left_out {
        let _ = writeln!(page, "  left out  {}", words::line(reason));
    }
    let Policy { aliases, path, env, .. } = &resolved.policy;
    for (name, target) in aliases {
        let _ = writeln!(page, "  alias     {name} is {}", words::line(&target.to_string_lossy()));
    }
    for directory in path {
        let _ = writeln!(page, "  PATH      {}", words::line(&directory.to_string_lossy()));
    }
    for (name, value) in env {
        let _ = writeln!(page, "  env       {}={}", words::line(name), words::line(value));
    }
    page
}

fn diff(from: &Profile, to: &Profile, as_json: bool) -> Result<u8, Failure> {
    let differences = from.diff(to);
    if as_json {
        let of = |change| -> Vec<&Difference> { differences.iter().filter(|one| one.change == change).collect() };
        output::json(&json!({
            "schema": 1,
            "from": from.name(),
            "to": to.name(),
            "widened": of(Change::Widened),
            "narrowed": of(Change::Narrowed),
            "changed": of(Change::Changed),
        }))?;
        return Ok(done());
    }
    let mut page = String::new();
    for difference in &differences {
        let (mark, word) = match difference.change {
            Change::Widened => ('+', "widened"),
            Change::Narrowed => ('-', "narrowed"),
            Change::Changed => ('~', "changed"),
        };
        let side = |value: &Option<String>| value.as_deref().map_or("nothing".to_owned(), words::line);
        let (from, to) = (side(&difference.from), side(&difference.to));
        let _ = writeln!(page, "{mark} {word:<9} {:<20} {from} → {to}", difference.key);
    }
    if differences.is_empty() {
        page.push_str("no difference\n");
    }
    output::text(&page)?;
    Ok(done())
}

fn lint(name: Option<&str>, operator: &Operator<'_>, as_json: bool) -> Result<u8, Failure> {
    let names = match name {
        Some(name) => vec![name.to_owned()],
        None => profile_names(operator).map_err(|error| sandbox_failure(&error))?,
    };
    let mut linted: Vec<(Profile, Vec<Finding>)> = Vec::new();
    for name in names {
        let profile = load(&name, operator)?;
        let findings = profile.lint(operator).map_err(|error| sandbox_failure(&error))?;
        linted.push((profile, findings));
    }
    let count: usize = linted.iter().map(|(_, findings)| findings.len()).sum();
    let failure = (count > 0).then(|| {
        shortcoming(match count {
            1 => "1 finding".to_owned(),
            count => format!("{count} findings"),
        })
        .with_hint("change what they name, or give the reason with `why`; `docs/profiles.md` says what each asks for")
    });
    if as_json {
        let profiles = linted
            .iter()
            .map(|(profile, findings)| json!({ "name": profile.name(), "findings": findings }));
        let profiles: Vec<_> = profiles.collect();
        let problem = failure.as_ref().map(problem::json);
        output::json(&json!({ "schema": 1, "findings": count, "profiles": profiles, "problem": problem }))?;
    } else {
        let mut page = String::new();
        for (profile, findings) in &linted {
            for finding in findings {
                let at = match finding.origin.line {
                    0 => String::new(),
                    line => format!(":{line}"),
                };
                let by = words::line(&finding.origin.profile);
                let _ = writeln!(page, "{by}{at}: {} [{}]", words::line(&finding.message), finding.rule);
            }
            if findings.is_empty() {
                let _ = writeln!(page, "{}: nothing to ask about", profile.name());
            }
        }
        output::text(&page)?;
    }
    Ok(ended(failure, as_json))
}

/// What came of one expectation.
struct Tried<'a> {
    expectation: &'a Expectation,
    act: Act,
    answer: Reply,
}

impl Tried<'_> {
    fn holds(&self) -> bool {
        self.answer.done == (self.expectation.wanted == Wanted::Allow)
    }
}

fn test(profile: &Profile, operator: &Operator<'_>, settings: &Settings, as_json: bool) -> Result<u8, Failure> {
    let of_sandbox = |error| sandbox_failure(&error);
    let policy = profile.resolve(operator).map_err(of_sandbox)?.policy;
    let program = super::run::own_program()?;
    let ground = Ground::new(&program, settings)?;
    let home = settings.environment().variable("HOME").map(PathBuf::from);
    let sandbox = Sandbox::start(&program).map_err(of_sandbox)?;
    let runtime = super::run::runtime()?;
    let mut tried = Vec::new();
    for expectation in profile.expectations() {
        let act = expectation.act.at_home(home.as_deref());
        let answer = runtime
            .block_on(sandbox.try_act(&policy, &ground.tree(), &act))
            .map_err(of_sandbox)?;
        tried.push(Tried {
            expectation,
            act,
            answer,
        });
    }
    let failed = tried.iter().filter(|tried| !tried.holds()).count();
    let failure = (failed > 0).then(|| {
        shortcoming(format!(
            "{failed} of {} expectations of profile `{}` do not hold",
            tried.len(),
            profile.name()
        ))
        .with_hint("correct the profile, or the expectation")
    });
    if as_json {
        let results = tried.iter().map(|tried| {
            json!({
                "wanted": tried.expectation.wanted,
                "act": tried.act,
                "holds": tried.holds(),
                "answer": tried.answer,
                "origin": tried.expectation.origin,
            })
        });
        let results: Vec<_> = results.collect();
        let (name, problem) = (profile.name(), failure.as_ref().map(problem::json));
        output::json(&json!({
            "schema": 1, "profile": name, "failed": failed, "results": results, "problem": problem,
        }))?;
    } else {
        let mut page = String::new();
        for one in &tried {
            page.push_str(&result(one, profile));
        }
        let _ = writeln!(page, "{} of {} hold", tried.len() - failed, tried.len());
        output::text(&page)?;
    }
    Ok(ended(failure, as_json))
}

/// A profile that is not as it should be.
fn shortcoming(message: String) -> Failure {
    Failure::plain(FailureClass::Policy, message).in_situation(Situation::Document)
}

/// The exit code, after the problem has been shown unless a document has it.
fn ended(failure: Option<Failure>, as_json: bool) -> u8 {
    if let Some(failure) = failure.as_ref().filter(|_| !as_json) {
        output::problem(failure, false);
    }
    super::exit::code(failure.as_ref())
}

fn result(tried: &Tried<'_>, profile: &Profile) -> String {
    let Reply {
        errno, layer, doubt, ..
    } = &tried.answer;
    let answer = match (errno, layer) {
        (Some(errno), Some(layer)) => format!("{errno} by {layer}"),
        _ => "done".to_owned(),
    };
    let doubt = doubt.map(|doubt| format!(" ({doubt})")).unwrap_or_default();
    let verdict = if tried.holds() { "ok  " } else { "FAIL" };
    let origin = &tried.expectation.origin;
    format!(
        "{verdict}  {:<5} {:<44} {answer}{doubt}{}\n",
        wanted(tried.expectation.wanted),
        act(&tried.act),
        match tried.holds() {
            true => String::new(),
            false => format!("  {}", place(&origin.profile, origin.line, profile)),
        },
    )
}

/// A tree that holds nothing but the payload, below the cache because a place in `/tmp` cannot always hold programs.
struct Ground {
    directory: TempDir,
}

impl Ground {
    fn new(program: &Path, settings: &Settings) -> Result<Self, Failure> {
        let cache = settings
            .cache_dir()
            .map_err(|error| Failure::new(&error, Situation::Plain))?
            .value;
        prepare(program, &cache).map_err(|error| Failure {
            causes: vec![error.to_string()],
            ..Failure::plain(
                FailureClass::Host,
                format!("cannot prepare a tree in `{}`", cache.display()),
            )
            .in_situation(Situation::Storage)
        })
    }

    fn tree(&self) -> Tree {
        Tree {
            layers: vec![self.directory.path().to_owned()],
        }
    }
}

fn prepare(program: &Path, cache: &Path) -> io::Result<Ground> {
    fs::create_dir_all(cache)?;
    let directory = tempfile::Builder::new().prefix("expect-").tempdir_in(cache)?;
    let payload = directory.path().join(PAYLOAD);
    fs::copy(program, &payload)?;
    fs::set_permissions(&payload, fs::Permissions::from_mode(0o755))?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    if let Some(owner) = Sandbox::tree_owner() {
        chown(directory.path(), Some(owner), Some(owner))?;
        chown(&payload, Some(owner), Some(owner))?;
    }
    Ok(Ground { directory })
}
