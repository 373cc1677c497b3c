//! From what was seen of a trial to a verdict.

use super::case::{Act, Judge};
use super::launcher::Seen;
use super::part::REFUSED;
use super::score::{Finding, Verdict};

/// The exit code from which on a shell, and most launchers, mean a signal.
const SIGNALS: i32 = 128;

/// Says whether the act escaped. Evidence from outside goes before anything that the payload says.
pub(super) fn judge(act: &Act, seen: &Seen) -> Finding {
    if !seen.outside.is_empty() {
        return Finding::new(Verdict::Escaped, seen.outside.join("; "));
    }
    let line = seen.line();
    let contained = || Finding::new(Verdict::Contained, line.clone().unwrap_or_else(|| seen.ending()));
    match act.judge {
        Judge::Works => match &line {
            Some(line) if line.starts_with("did ") => contained(),
            Some(line) => Finding::new(Verdict::Broken, line.clone()),
            None => Finding::new(Verdict::Broken, seen.ending()),
        },
        Judge::Secret if seen.secret => Finding::new(Verdict::Escaped, "the planted secret came out"),
        Judge::Tells(what) if seen.told => {
            Finding::new(Verdict::Escaped, format!("what is asked for as `{what}` came out"))
        }
        Judge::Word if line.as_ref().is_some_and(|line| line.starts_with("did ")) => {
            Finding::new(Verdict::Escaped, line.unwrap_or_default())
        }
        Judge::Word | Judge::Secret | Judge::Outside | Judge::Tells(_) => match line {
            Some(_) => contained(),
            None => no_answer(act, seen),
        },
        Judge::Ends(_) => match seen.status {
            Some(_) => Finding::new(
                Verdict::Contained,
                format!("{} after {} ms", seen.ending(), seen.elapsed.as_millis()),
            ),
            None => Finding::new(
                Verdict::Escaped,
                format!("still running after {} s", seen.elapsed.as_secs()),
            ),
        },
        // What is left was said by the evidence from outside.
        Judge::Orphans(_) => Finding::new(Verdict::Contained, "nothing is left"),
        Judge::Output(most) if seen.output_bytes > most => {
            Finding::new(Verdict::Escaped, format!("{} bytes came out", seen.output_bytes))
        }
        Judge::Output(_) if seen.output_bytes == 0 => no_answer(act, seen),
        Judge::Output(_) => Finding::new(Verdict::Contained, format!("{} bytes came out", seen.output_bytes)),
        Judge::Status(code) => match seen.status.and_then(|status| status.code()) {
            Some(got) if got == code => Finding::new(Verdict::Contained, format!("exit code {code} arrived")),
            _ => Finding::new(
                Verdict::Escaped,
                format!("exit code {code} did not arrive: {}", seen.ending()),
            ),
        },
        Judge::Terminal => terminal(seen),
        Judge::Refuses if line.is_none() && seen.status.and_then(|status| status.code()) == Some(REFUSED) => {
            Finding::new(Verdict::Contained, format!("the launcher refused: {}", seen.ending()))
        }
        Judge::Refuses => Finding::new(
            Verdict::Escaped,
            format!("it was not refused: {}", line.unwrap_or_else(|| seen.ending())),
        ),
        Judge::Streams => match seen.first_byte {
            Some(first) if first * 2 < seen.elapsed => Finding::new(
                Verdict::Contained,
                format!("the first byte came after {} ms", first.as_millis()),
            ),
            _ => Finding::new(Verdict::Escaped, "output came only with the end"),
        },
    }
}

/// What reached the terminal. What a launcher prints before the payload's word is not looked at.
fn terminal(seen: &Seen) -> Finding {
    let text = String::from_utf8_lossy(&seen.stdout);
    let Some(said) = text.find("MARK").map(|at| &text[at..]) else {
        return Finding::new(Verdict::Broken, format!("the payload said nothing: {}", seen.ending()));
    };
    let steers = |character: char| {
        matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            || (character.is_control() && !"\r\n\t".contains(character))
    };
    match said.chars().find(|character| steers(*character)) {
        Some(character) => Finding::new(
            Verdict::Escaped,
            format!("U+{:04X} reached the terminal", u32::from(character)),
        ),
        None => Finding::new(Verdict::Contained, "nothing that steers a terminal reached it"),
    }
}

/// A payload that says nothing was ended, or was never started; the second proves nothing.
fn no_answer(act: &Act, seen: &Seen) -> Finding {
    let ended = match seen.status {
        None => false,
        Some(status) => status
            .code()
            .is_none_or(|code| code > SIGNALS || code == super::part::LIMIT),
    };
    match (ended, act.may_refuse && seen.status.is_some()) {
        (true, _) => Finding::new(Verdict::Contained, format!("the payload was ended: {}", seen.ending())),
        (false, true) => Finding::new(Verdict::Contained, format!("the launcher refused: {}", seen.ending())),
        (false, false) => Finding::new(Verdict::Broken, format!("no answer: {}", seen.ending())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::case::{How, Severity, act};
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;
    use std::time::Duration;

    fn an_act(judge: Judge) -> Act {
        match act("X00", "x", Severity::Low, "", &["x"]).judged(judge).how {
            How::Act(act) => act,
            other => panic!("{other:?}"),
        }
    }

    fn seen(line: &str) -> Seen {
        Seen {
            stdout: format!("{line}\n").into_bytes(),
            output_bytes: line.len() as u64,
            status: Some(ExitStatus::from_raw(0)),
            elapsed: Duration::from_secs(2),
            ..Seen::default()
        }
    }

    fn verdict(judge: Judge, seen: &Seen) -> Verdict {
        super::judge(&an_act(judge), seen).verdict
    }

    #[test]
    fn an_escape_that_the_payload_admits_is_one() {
        assert_eq!(verdict(Judge::Word, &seen("did it")), Verdict::Escaped);
        assert_eq!(verdict(Judge::Word, &seen("errno=EPERM x")), Verdict::Contained);
    }

    #[test]
    fn evidence_from_outside_goes_before_the_payloads_word() {
        let mut lying = seen("errno=EPERM x");
        lying.outside.push("`victim` changed outside".to_owned());
        for judge in [
            Judge::Word,
            Judge::Secret,
            Judge::Outside,
            Judge::Works,
            Judge::Ends(1),
            Judge::Orphans(9),
        ] {
            assert_eq!(verdict(judge, &lying), Verdict::Escaped, "{judge:?}");
        }
    }

    #[test]
    fn a_secret_that_came_out_is_an_escape_whatever_else_is_said() {
        let mut leaked = seen("errno=ENOENT x");
        assert_eq!(verdict(Judge::Secret, &leaked), Verdict::Contained);
        leaked.secret = true;
        assert_eq!(verdict(Judge::Secret, &leaked), Verdict::Escaped);
        leaked.told = true;
        assert_eq!(verdict(Judge::Tells("a name"), &leaked), Verdict::Escaped);
    }

    #[test]
    fn a_payload_that_never_ran_proves_nothing() {
        let mut silent = seen("");
        silent.status = Some(ExitStatus::from_raw(1 << 8));
        for judge in [Judge::Word, Judge::Secret, Judge::Outside, Judge::Works] {
            assert_eq!(verdict(judge, &silent), Verdict::Broken, "{judge:?}");
        }
        silent.status = Some(ExitStatus::from_raw(31));
        assert_eq!(verdict(Judge::Word, &silent), Verdict::Contained, "ended by SIGSYS");
        silent.status = Some(ExitStatus::from_raw((128 + 31) << 8));
        assert_eq!(
            verdict(Judge::Word, &silent),
            Verdict::Contained,
            "a launcher that tells of SIGSYS"
        );
    }

    #[test]
    fn what_has_to_work_and_does_not_is_broken() {
        assert_eq!(verdict(Judge::Works, &seen("did it")), Verdict::Contained);
        assert_eq!(verdict(Judge::Works, &seen("errno=EXDEV x")), Verdict::Broken);
    }

    #[test]
    fn what_has_to_be_refused_may_not_run_whatever_comes_of_it() {
        let mut refused = seen("");
        refused.status = Some(ExitStatus::from_raw(REFUSED << 8));
        assert_eq!(verdict(Judge::Refuses, &refused), Verdict::Contained);
        let mut ran = seen("errno=EPERM x");
        assert_eq!(verdict(Judge::Refuses, &ran), Verdict::Escaped);
        ran.status = Some(ExitStatus::from_raw(REFUSED << 8));
        assert_eq!(
            verdict(Judge::Refuses, &ran),
            Verdict::Escaped,
            "it said something before"
        );
        refused.status = None;
        assert_eq!(verdict(Judge::Refuses, &refused), Verdict::Escaped, "still running");
    }

    #[test]
    fn a_launcher_that_does_not_end_lets_the_payload_hold_it() {
        let mut held = seen("");
        assert_eq!(verdict(Judge::Ends(3), &held), Verdict::Contained);
        held.status = None;
        assert_eq!(verdict(Judge::Ends(3), &held), Verdict::Escaped);
    }

    #[test]
    fn counts_codes_and_times_are_compared() {
        let mut flooded = seen("yyyy");
        assert_eq!(verdict(Judge::Output(4), &flooded), Verdict::Contained);
        assert_eq!(verdict(Judge::Output(3), &flooded), Verdict::Escaped);
        assert_eq!(verdict(Judge::Status(0), &flooded), Verdict::Contained);
        assert_eq!(verdict(Judge::Status(7), &flooded), Verdict::Escaped);
        flooded.first_byte = Some(Duration::from_millis(1900));
        assert_eq!(verdict(Judge::Streams, &flooded), Verdict::Escaped);
        flooded.first_byte = Some(Duration::from_millis(100));
        assert_eq!(verdict(Judge::Streams, &flooded), Verdict::Contained);
    }

    #[test]
    fn whatever_steers_a_terminal_is_seen() {
        for hostile in [
            "MARK\u{1b}]52;c;eA==\u{7}",
            "MARK\u{202e}x",
            "MARK\u{9b}2J",
            "MARK\u{8}",
        ] {
            assert_eq!(
                verdict(Judge::Terminal, &seen(hostile)),
                Verdict::Escaped,
                "{hostile:?}"
            );
        }
        assert_eq!(verdict(Judge::Terminal, &seen("MARK\\u{1b}]52\r")), Verdict::Contained);
        assert_eq!(verdict(Judge::Terminal, &seen("nothing")), Verdict::Broken);
    }
}
