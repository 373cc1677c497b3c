//! What a command shows on the base, before there is a candidate: red for the right reason, red for one that no candidate
//! takes away, or green.
//!
//! - A reason is read from how the command ended and from questions put to the interpreter that would read its text, not
//!   from what it wrote: a program can write anything.
//! - What cannot be told counts as the right reason. The candidate is judged all the same.

use super::{Bench, Check, VerifyError, shown};
use crate::order::AcceptanceCommand;
use crate::sandbox::{Command, LimitKind, Outcome, Report, SetupFailure, Tree};
use std::time::Duration;

/// The exit code of a shell that finds no program of a name. Source: shell command language, IEEE Std 1003.1, section 2.8.2.
const NOT_FOUND: i32 = 127;

/// How our own questions end when the answer is no.
const NO: i32 = 71;

/// Reads a Python text without running it.
const COMPILES: &str = "import sys
try:
    compile(sys.argv[1], 'command', 'exec')
except SyntaxError as error:
    print(error.msg)
    sys.exit(71)
";

/// Looks for modules without running them; a name with points is looked for by its first part.
const FINDS: &str = "import importlib.util, sys
missing = [name for name in sys.argv[1:] if importlib.util.find_spec(name.split('.')[0]) is None]
print(', '.join(missing))
sys.exit(71 if missing else 0)
";

/// What a command shows on the base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// What it has to show, already.
    Green,
    /// That something is missing or wrong that a candidate can make right.
    Red,
    /// Nothing: it fails for this reason, which no candidate takes away.
    Invalid(String),
    /// Nothing yet: it takes longer than it was given here, and would have been given more later.
    Unknown,
}

/// What is known of a command besides its words.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// Python modules that it needs and that no order makes.
    pub modules: &'a [String],
    /// Whether a path of the tree is there only once some order is done.
    pub is_made: &'a dyn Fn(&str) -> bool,
    /// The longest that the command is given here.
    pub patience: Duration,
}

/// Runs a command on the base and says what it shows.
///
/// Dropping the future kills what is running.
///
/// # Errors
/// As [`super::verify`], but for programs that are not in the view, which are a reason here.
pub async fn on_base(
    bench: Bench<'_>,
    tree: &Tree,
    command: &AcceptanceCommand,
    known: Known<'_>,
) -> Result<Shown, VerifyError> {
    let check = Check::of(command);
    let own = [Some(bench.policy.limits.wall), bench.timeout, command.timeout];
    let own = own.into_iter().flatten().min().unwrap_or(known.patience);
    let asked = check.command(1, Some(own.min(known.patience)));
    let report = run(bench, tree, &asked).await?;
    let is_cut_off = matches!(report.outcome, Outcome::Limit { limit } if limit == LimitKind::Wall);
    if is_cut_off && known.patience < own {
        return Ok(Shown::Unknown);
    }
    if check.unmet(&report).is_none() {
        return Ok(Shown::Green);
    }
    let invalid = why_invalid(bench, tree, &asked, &report.outcome, known).await?;
    Ok(invalid.map_or(Shown::Red, Shown::Invalid))
}

/// Why a command that ended so on the base, and did not show what it has to show, shows nothing by that.
pub(super) async fn why_invalid(
    bench: Bench<'_>,
    tree: &Tree,
    asked: &Command,
    outcome: &Outcome,
    known: Known<'_>,
) -> Result<Option<String>, VerifyError> {
    if let Some(reason) = reason_of(outcome, asked, known) {
        return Ok(Some(reason));
    }
    for (argv, why) in questions(&asked.argv, known.modules) {
        let question = Command { argv, ..asked.clone() };
        let report = run(bench, tree, &question).await?;
        let no = match report.outcome {
            // A shell has its own way to say no.
            Outcome::Exit { code } => code == NO || (code != 0 && why == Question::Shell),
            _ => false,
        };
        if no {
            return Ok(Some(why.answer(&report)));
        }
    }
    Ok(None)
}

async fn run(bench: Bench<'_>, tree: &Tree, command: &Command) -> Result<Report, VerifyError> {
    let run = bench.sandbox.run(bench.policy, tree, command, None).await;
    run.map_err(|source| VerifyError::Sandbox {
        command: shown(&command.argv),
        source,
    })
}

/// The reason that the way in which a command ended gives.
fn reason_of(outcome: &Outcome, asked: &Command, known: Known<'_>) -> Option<String> {
    // Paths are meant from where the command starts.
    let start = asked.cwd.as_ref().map_or_else(String::new, |cwd| format!("{cwd}/"));
    let made = |path: &str| (known.is_made)(&format!("{start}{}", path.trim_start_matches("./")));
    match outcome {
        Outcome::Setup { failure } => match failure {
            SetupFailure::ToolMissing { program } => {
                Some(format!("there is no program `{program}` where commands run"))
            }
            SetupFailure::ProgramUnusable { program, reason } => (!made(program))
                .then(|| format!("`{program}` cannot be started ({reason}), and no order so far makes it")),
            SetupFailure::DirectoryMissing { .. } => (!(known.is_made)(&start)).then(|| {
                let directory = start.trim_end_matches('/');
                format!("there is no directory `{directory}`, and no order so far makes it")
            }),
        },
        Outcome::Limit { limit } => Some(format!(
            "the limit of {} ended it, before there is anything to judge",
            super::limit_name(*limit)
        )),
        Outcome::Denied { rule } => Some(format!("the sandbox does not let it ({rule})")),
        Outcome::Tampered { path } => Some(format!("it changes `{path}`, which is protected")),
        Outcome::Exit { code: NOT_FOUND } if is_shell(&asked.argv) => {
            let words = asked
                .argv
                .iter()
                .flat_map(|word| word.split(|c: char| c.is_whitespace() || ";&|()'\"".contains(c)));
            let is_made = words.filter(|word| !word.is_empty()).any(made);
            (!is_made).then(|| "the shell finds no program of a name in it, and no order so far makes one".to_owned())
        }
        Outcome::Exit { .. } | Outcome::Signal { .. } => None,
    }
}

fn name(argv: &[String]) -> &str {
    let program = argv.first().map(String::as_str).unwrap_or_default();
    program.rsplit('/').next().unwrap_or(program)
}

fn is_shell(argv: &[String]) -> bool {
    ["bash", "sh", "dash"].contains(&name(argv))
}

/// What is asked of an interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    /// Does the shell read the text?
    Shell,
    /// Is the text Python?
    Python,
    /// Are the modules there?
    Modules,
}

impl Question {
    fn answer(self, report: &Report) -> String {
        let of = |bytes: Vec<u8>| {
            let text = String::from_utf8_lossy(&bytes).trim().replace('\n', "; ");
            text.chars().take(200).collect::<String>()
        };
        match self {
            Question::Shell => format!("the shell cannot read its text: {}", of(report.stderr.to_bytes())),
            Question::Python => format!("its text is no Python: {}", of(report.stdout.to_bytes())),
            Question::Modules => format!(
                "it needs a Python module that is not there where commands run, and no order so far makes: {}",
                of(report.stdout.to_bytes())
            ),
        }
    }
}

/// Commands that find out whether a text can be read, and whether modules are there.
fn questions(argv: &[String], modules: &[String]) -> Vec<(Vec<String>, Question)> {
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    let mut questions = Vec::new();
    let ask = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    match words.as_slice() {
        [shell, option, text, ..] if is_shell(argv) && option.starts_with('-') && option.ends_with('c') => {
            questions.push((ask(&[shell, "-n", "-c", text]), Question::Shell));
        }
        [python, "-c", text, ..] if is_python(argv) => {
            questions.push((ask(&[python, "-c", COMPILES, text]), Question::Python));
        }
        _ => {}
    }
    if is_python(argv) && !modules.is_empty() {
        let mut argv = ask(&[words[0], "-c", FINDS]);
        argv.extend(modules.iter().cloned());
        questions.push((argv, Question::Modules));
    }
    questions
}

fn is_python(argv: &[String]) -> bool {
    ["python", "python3"].contains(&name(argv))
}
