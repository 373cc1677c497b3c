//! `factory attack`: adversarial cases against the sandbox, or another launcher, on this host.

use super::{output, problem};
use crate::attack::{self, AttackError, Case, Finding, Group, Options, Row, Scoreboard, Tally, Verdict};
use crate::config::Settings;
use crate::run::{Failure, Situation, interrupted};
use crate::types::{FailureClass, escape_control};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Attacks the sandbox with adversarial cases and says which were kept in.
///
/// Nothing of the host is touched: canaries are planted in a scratch directory, servers listen on loopback, counts are
/// bounded. The exit code is 1 when something escaped from the sandbox, or something that has to work does not.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The profile under which the sandbox is attacked [default: verify].
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Only these groups, by their letters, such as A or B,D.
    #[arg(long, value_name = "LETTERS", value_delimiter = ',', value_parser = group)]
    group: Vec<Group>,
    /// Only the case with this id, such as A08.
    #[arg(long, value_name = "ID")]
    case: Option<String>,
    /// Another launcher to run the same cases through, as one word; {tree} stands for the path of the tree. A last `--`
    /// is part of it.
    #[arg(long, value_name = "COMMAND")]
    against: Option<String>,
    /// List the cases and run none.
    #[arg(long)]
    list: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

fn group(letter: &str) -> Result<Group, String> {
    let known = |group: &Group| format!("{group:?}").eq_ignore_ascii_case(letter);
    let unknown = || format!("there is no group `{letter}`; there are A to J, and X");
    Group::ALL.into_iter().find(known).ok_or_else(unknown)
}

pub(super) fn attack(arguments: &Arguments, settings: &Settings) -> Result<u8, Failure> {
    if arguments.list {
        let lines: Vec<_> = attack::cases()
            .map(|case| {
                format!(
                    "{}  {:<8}  {:<24}  {}\n",
                    case.id, case.severity, case.name, case.summary
                )
            })
            .collect();
        output::text(&lines.concat())?;
        return Ok(0);
    }
    let against = arguments.against.as_deref().map(split).transpose()?;
    let options = Options {
        policy: super::run::policy(
            &settings.profile(arguments.profile.as_deref()).value,
            &[],
            settings,
            None,
        )?,
        program: super::run::own_program()?,
        search_path: settings.environment().search_path().to_owned(),
        profiles: settings.environment().profile_dir(),
        groups: arguments.group.clone(),
        id: arguments.case.clone(),
        against,
        cancel: Arc::default(),
    };
    if !arguments.json {
        output::note("each case is carried out outside of the sandbox as well; all of them take about a minute");
    }
    let board = super::run::runtime()?.block_on(supervise(options))?;
    if arguments.json {
        output::json(&document(&board))?;
    } else {
        output::text(&escape_control(&report(&board)))?;
    }
    let (ours, _) = board.tally(|_| true);
    Ok(u8::from(ours.escaped + ours.broken > 0))
}

/// Carries the cases out, until they are done or somebody interrupts. What was planted is removed in both cases.
async fn supervise(options: Options) -> Result<Scoreboard, Failure> {
    let mut signals = super::run::Signals::listen()?;
    let cancel = Arc::clone(&options.cancel);
    let mut attack = tokio::task::spawn_blocking(|| attack::attack(options));
    let done = tokio::select! {
        biased;
        signal = signals.next() => {
            cancel.store(true, Ordering::Relaxed);
            // Whatever it says now: it has put everything away.
            let _ = attack.await;
            return Err(interrupted(signal));
        }
        done = &mut attack => done,
    };
    let broken = |error: tokio::task::JoinError| Failure::plain(FailureClass::Internal, error.to_string());
    done.map_err(broken)?.map_err(failure)
}

/// Splits the words as a shell would. A launcher without words is none.
fn split(text: &str) -> Result<Vec<String>, Failure> {
    match shlex::split(text) {
        Some(words) if !words.is_empty() => Ok(words),
        _ => Err(problem::usage(format!(
            "--against: `{text}` cannot be split into words"
        ))),
    }
}

fn failure(error: AttackError) -> Failure {
    let situation = match error {
        AttackError::NoSuchCase { .. } => Situation::Usage,
        AttackError::Scratch { .. } => Situation::Storage,
        AttackError::Start { .. } | AttackError::Launcher { .. } | AttackError::Cancelled => Situation::Plain,
    };
    Failure::new(&error, situation)
}

/// The tables, then what is to be looked at: everything that was not kept in.
fn report(board: &Scoreboard) -> String {
    let mut text = format!("profile `{}`", board.profile);
    if let Some(other) = &board.against {
        text += &format!(", and `{other}`");
    }
    text += &format!(": {} cases\n\n", board.rows.len());
    let groups: Vec<_> = board
        .groups()
        .into_iter()
        .map(|group| {
            (
                format!("{group:?} {}", group.title()),
                board.tally(|case| case.group() == group),
            )
        })
        .collect();
    text += &table(board, "group", &groups);
    let severities: Vec<_> = board
        .severities()
        .into_iter()
        .map(|severity| (severity.to_string(), board.tally(|case| case.severity == severity)))
        .collect();
    text += "\n";
    text += &table(board, "severity", &severities);
    text += &section(board, Verdict::Escaped, "escaped");
    text += &section(board, Verdict::Broken, "broken");
    text += &section(board, Verdict::Skipped, "skipped");
    text += &section(board, Verdict::NotApplicable, "not applicable");
    text
}

fn table(board: &Scoreboard, heading: &str, lines: &[(String, (Tally, Option<Tally>))]) -> String {
    let names = ["contained", "escaped", "broken", "skipped", "n/a"];
    let columns = |tally: &Tally| {
        let counts = [
            tally.contained,
            tally.escaped,
            tally.broken,
            tally.skipped,
            tally.not_applicable,
        ];
        counts
            .iter()
            .zip(names)
            .map(|(count, name)| format!("  {count:>width$}", width = name.len()))
            .collect::<String>()
    };
    let head: String = names.iter().map(|name| format!("  {name}")).collect();
    let mut text = format!("{heading:<52}{head}");
    if let Some(other) = &board.against {
        text = format!(
            "{:<52}  {:<width$} | {other}\n{text} |{head}",
            "",
            "factory",
            width = head.len() - 2
        );
    }
    text.push('\n');
    let total = ("total".to_owned(), board.tally(|_| true));
    for (name, (ours, theirs)) in lines.iter().chain([&total]) {
        text += &format!("{name:<52}{}", columns(ours));
        if let Some(theirs) = theirs {
            text += &format!(" |{}", columns(theirs));
        }
        text.push('\n');
    }
    text
}

/// The cases with this verdict, of this project's sandbox and then of the other launcher.
fn section(board: &Scoreboard, verdict: Verdict, title: &str) -> String {
    let of = |who: &str, pick: fn(&Row) -> Option<&Finding>| {
        let lines: Vec<_> = board
            .rows
            .iter()
            .filter_map(|row| {
                pick(row)
                    .filter(|finding| finding.verdict == verdict)
                    .map(|finding| line(row.case, finding))
            })
            .collect();
        match lines.is_empty() {
            true => String::new(),
            false => format!("\n{title}: {who}\n{}", lines.concat()),
        }
    };
    let ours = of("factory", |row| Some(&row.ours));
    // What is skipped or has nothing to attack is so for everybody; it is listed once.
    match (&board.against, verdict) {
        (Some(other), Verdict::Escaped | Verdict::Broken) => ours + &of(other, |row| row.theirs.as_ref()),
        _ => ours,
    }
}

fn line(case: &Case, finding: &Finding) -> String {
    format!(
        "  {} {:<8} {}: {}\n",
        case.id,
        case.severity.to_string(),
        case.name,
        finding.evidence
    )
}

fn document(board: &Scoreboard) -> Value {
    let sums = |(ours, theirs): (Tally, Option<Tally>)| json!({ "factory": ours, "against": theirs });
    let by_group: serde_json::Map<_, _> = board
        .groups()
        .into_iter()
        .map(|group| (format!("{group:?}"), sums(board.tally(|case| case.group() == group))))
        .collect();
    let by_severity: serde_json::Map<_, _> = board
        .severities()
        .into_iter()
        .map(|severity| {
            (
                severity.to_string(),
                sums(board.tally(|case| case.severity == severity)),
            )
        })
        .collect();
    let cases: Vec<_> = board
        .rows
        .iter()
        .map(|row| {
            json!({
                "id": row.case.id,
                "name": row.case.name,
                "group": row.case.group(),
                "severity": row.case.severity,
                "summary": row.case.summary,
                "control": row.control,
                "factory": row.ours,
                "against": row.theirs,
            })
        })
        .collect();
    json!({
        "schema": 1,
        "profile": board.profile,
        "against": board.against,
        "groups": by_group,
        "severities": by_severity,
        "total": sums(board.tally(|_| true)),
        "cases": cases,
    })
}
