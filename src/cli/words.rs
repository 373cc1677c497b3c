//! Words and forms that several subcommands share.

pub(super) use crate::config::positive_duration;
use crate::run::{
    AttemptSummary, Done, Progress, Recovered, RecoveryOutcome, Source, Summary, UsageSummary, VerdictName,
};
use crate::sandbox::Layer;
use crate::types::{escape_control, format_duration};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// A time in milliseconds since 1970-01-01 UTC, as people read it, to the second.
pub(super) fn time(ms: u64) -> String {
    i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(
            || format!("{ms} ms"),
            |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        )
}

/// A span between two such times.
pub(super) fn span(from_ms: u64, to_ms: u64) -> String {
    let ms = to_ms.saturating_sub(from_ms);
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..120_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format_duration(Duration::from_secs(ms / 60_000 * 60)),
    }
}

/// A command on one line, cut where it gets long.
pub(super) fn command(argv: &[String]) -> String {
    const LONGEST: usize = 100;
    let line = escape_control(&argv.join(" "))
        .replace('\n', "\\n")
        .replace('\t', "\\t");
    match line.char_indices().nth(LONGEST) {
        None => line,
        Some((end, _)) => format!("{}…", &line[..end]),
    }
}

/// A text from outside on one line.
pub(super) fn line(text: &str) -> String {
    escape_control(text).replace('\n', " ")
}

/// What a profile without namespaces cannot promise, as lines.
pub(super) const WITHOUT_NAMESPACES: &str = "note: this profile runs commands without namespaces: they can see the names, sizes and times of files outside of the \
    grants, the host's name and which processes there are; memory in total and disk use are only looked at several times a \
    second. See `The rung without namespaces` in docs/security.md";

/// What the operator does without, as a line.
pub(super) fn waived(layers: &BTreeSet<Layer>) -> String {
    let names: Vec<_> = layers.iter().map(|layer| layer.as_str()).collect();
    format!("note: waived, the profile's floor is lowered by {}", names.join(", "))
}

/// One attempt and its commands, as lines.
pub(super) fn attempt(attempt: &AttemptSummary) -> String {
    let end = match (attempt.stage, &attempt.reason) {
        (None, _) => "passed".to_owned(),
        (Some(stage), None) => stage.to_string(),
        (Some(stage), Some(reason)) => format!("{stage}: {}", line(reason)),
    };
    let mut lines = format!("attempt {}  {end}\n", attempt.n);
    for file in &attempt.files {
        let what = if attempt.gone.contains(file) {
            "removes"
        } else {
            "writes"
        };
        lines.push_str(&format!("    {what:<10}  {}\n", line(file)));
    }
    for one in &attempt.commands {
        lines.push_str(&format!(
            "    {:<10}  {}  {}  {}\n",
            one.phase,
            command(&one.argv),
            line(&one.describe()),
            span(0, one.wall_ms)
        ));
    }
    lines
}

/// What a proposal does to files, in one line.
pub(super) fn changes(files: &[String], gone: &[String]) -> String {
    let written: Vec<_> = files
        .iter()
        .filter(|file| !gone.contains(file))
        .map(String::as_str)
        .collect();
    let parts = [("writes", written.join(", ")), ("removes", gone.join(", "))];
    let parts = parts.into_iter().filter(|(_, names)| !names.is_empty());
    parts
        .map(|(what, names)| format!("{what} {}", line(&names)))
        .collect::<Vec<_>>()
        .join("; ")
}

/// What a parked run waits for.
pub(super) fn parked(until_ms: u64) -> String {
    format!("until {}: the provider limits requests", time(until_ms))
}

/// What a run does that has not ended: in one word, and what there is to say of it.
pub(super) fn standing(progress: &Progress) -> (&'static str, String) {
    match progress.parked_until_ms {
        Some(until) => ("parked", parked(until)),
        None => (
            "open",
            format!("last recorded: {} at {}", progress.last, time(progress.last_ms)),
        ),
    }
}

/// What a run cost, in a few words.
pub(super) fn cost(usage: &UsageSummary) -> String {
    // What costs nothing counts against no budget.
    let tokens = usage.tokens.max(usage.input_tokens + usage.output_tokens);
    let usd = usage.usd.map_or("unknown price".to_owned(), |usd| usd.to_string());
    let estimated = if usage.estimated { ", estimated" } else { "" };
    let unsettled = match usage.unsettled {
        0 => String::new(),
        count => format!(", and {count} requests of which nothing is known"),
    };
    format!("{usd}{estimated}, {tokens} tokens{unsettled}")
}

/// A dead run and what was done about it, as a line.
pub(super) fn recovered(recovered: &Recovered) -> String {
    let (order, branch) = (line(&recovered.order_id), line(&recovered.branch));
    let what = match &recovered.outcome {
        RecoveryOutcome::Finished { commit } => format!("it had passed; branch {branch} is at {}", commit.short()),
        RecoveryOutcome::RolledBack => "it had changed nothing, and is closed".to_owned(),
        RecoveryOutcome::Conflict => format!("somebody moved branch {branch} before it could, and it is closed"),
        RecoveryOutcome::Abandoned => "it is closed as you said".to_owned(),
    };
    format!("recovered run {} ({order}), which was killed: {what}", recovered.run)
}

/// An order that is done already, as lines.
pub(super) fn done(done: &Done) -> String {
    let mut lines = format!("SKIPPED  {}\n", line(&done.order_id));
    let mut field = |name: &str, value: &str| lines.push_str(&format!("  {name:<12}{value}\n"));
    if let Some(run) = done.run {
        field("done by", &format!("run {run}"));
    }
    field("branch", &line(&done.branch));
    match done.commit {
        Some(commit) => field("commit", &commit.to_string()),
        None => field("commit", "none: the base had what the order asks for"),
    }
    field(
        "known from",
        match done.known_from {
            Source::Journal => "the journal",
            Source::History => "the commit's trailers",
        },
    );
    field("again", "--fresh runs it all the same");
    lines
}

/// Whether the directory with what a run or a planner recorded is gone. One that cannot be looked at may be there.
pub(super) fn are_removed(records: &Path) -> bool {
    matches!(records.try_exists(), Ok(false))
}

/// Where that directory is, or was.
pub(super) fn records(directory: &Path) -> String {
    let shown = line(&directory.to_string_lossy());
    match are_removed(directory) {
        true => format!("removed, as `factory gc` does; they were in {shown}"),
        false => shown,
    }
}

/// What a finished run comes down to, as lines.
pub(super) fn summary(summary: &Summary) -> String {
    let mut lines = format!(
        "{}  {}  {}\n",
        summary.verdict,
        line(&summary.order_id),
        line(&summary.title)
    );
    let mut field = |name: &str, value: &str| lines.push_str(&format!("  {name:<10}{value}\n"));
    field("run", &summary.run.to_string());
    field("branch", &line(&summary.branch));
    field("base", &summary.base.to_string());
    if !summary.requirements.is_empty() {
        field("covers", &line(&summary.requirements.join(", ")));
    }
    match (summary.commit, summary.unchanged) {
        (None, _) if summary.verdict == VerdictName::AlreadySatisfied => {
            field("commit", "none: the base has what the order asks for");
            field(
                "otherwise",
                "sharpen the acceptance commands, or run with --fresh to have the model asked all the same",
            );
        }
        (Some(commit), false) => field("commit", &commit.to_string()),
        (Some(_), true) => field("commit", "none: the base has the change already"),
        (None, _) => field("commit", "none: the branch is where it was"),
    }
    field("attempts", &summary.attempts.len().to_string());
    field("cost", &cost(&summary.usage));
    if summary.usage.recalled > 0 {
        field(
            "answers",
            &format!("{} of them from the journal", summary.usage.recalled),
        );
    }
    if summary.commit.is_some() {
        let unproven = summary.rungs.iter().filter(|rung| rung.state.is_open());
        let names: Vec<_> = unproven.map(|rung| format!("{} {}", rung.rung, rung.name)).collect();
        if !names.is_empty() {
            field("unproven", &names.join(", "));
        }
    }
    field("time", &span(summary.started_ms, summary.ended_ms));
    field("artifacts", &records(&summary.artifacts));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_stays_on_one_line() {
        assert_eq!(
            command(&["sh".to_owned(), "-c".to_owned(), "a\nb\u{1b}[1m".to_owned()]),
            "sh -c a\\nb\\u{1b}[1m"
        );
        assert_eq!(command(&["é".repeat(300)]).chars().count(), 101);
    }

    #[test]
    fn spans_are_as_exact_as_they_are_short() {
        assert_eq!(span(5, 17), "12 ms");
        assert_eq!(span(0, 61_240), "61.2 s");
        assert_eq!(span(0, 3_600_000), "1h");
        assert_eq!(span(9, 3), "0 ms");
    }

    #[test]
    fn times_are_in_utc() {
        assert_eq!(time(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(time(u64::MAX), format!("{} ms", u64::MAX));
    }

    #[test]
    fn a_duration_of_nothing_is_refused() {
        assert!(positive_duration("0s").is_err());
        assert_eq!(positive_duration("2m"), Ok(Duration::from_secs(120)));
    }
}
