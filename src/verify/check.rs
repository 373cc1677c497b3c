//! One command that judges, and whether it showed what it has to show.

use crate::order::json::Document;
use crate::order::{AcceptanceCommand, Baseline, Expect, TextMatch, Visibility};
use crate::sandbox::{Captured, Command, Outcome, Report};
use crate::types::{RepoPath, escape_control, without_credentials};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest part of an expectation that is quoted, in characters.
const QUOTED: usize = 200;

/// The variable that steers the order of hashes in Python, which repeated runs vary. Source: Python documentation, "Command
/// line and environment".
const HASH_SEED: &str = "PYTHONHASHSEED";

/// One command that judges.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// The program and its arguments.
    pub argv: Vec<String>,
    pub(super) cwd: Option<RepoPath>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) stdin: Option<String>,
    pub(super) timeout: Option<Duration>,
    pub(super) expect: Expect,
    pub(super) baseline: Baseline,
    pub(super) visibility: Visibility,
    pub(super) runs: u32,
}

impl Check {
    /// A command that has to end with code 0, and nothing else.
    pub(super) fn plain(argv: Vec<String>) -> Self {
        Check {
            argv,
            cwd: None,
            env: BTreeMap::new(),
            stdin: None,
            timeout: None,
            expect: Expect::default(),
            baseline: Baseline::Any,
            visibility: Visibility::Full,
            runs: 1,
        }
    }

    /// As the order has it.
    pub(super) fn of(command: &AcceptanceCommand) -> Self {
        Check {
            argv: command.argv.clone(),
            cwd: command.cwd.clone(),
            env: command.env.clone(),
            stdin: command.stdin.clone(),
            timeout: command.timeout,
            expect: command.expect.clone(),
            baseline: command.expect_baseline,
            visibility: command.visibility,
            runs: command.runs,
        }
    }

    /// What is run the `run`th time, from one; `timeout` is the shortest that holds for all commands.
    ///
    /// Repeated runs have other hash seeds, unless the order says which: what depends on the order of a set is found so.
    pub(super) fn command(&self, run: u32, timeout: Option<Duration>) -> Command {
        let mut env = self.env.clone();
        if run > 1 {
            env.entry(HASH_SEED.to_owned()).or_insert_with(|| run.to_string());
        }
        Command {
            cwd: self.cwd.clone(),
            env,
            timeout: [self.timeout, timeout].into_iter().flatten().min(),
            stdin: self.stdin.clone(),
            watch: self.expect.files.keys().cloned().collect(),
            ..Command::new(self.argv.iter().cloned())
        }
    }

    /// Why the command did not show what it has to show; nothing when it did.
    pub(super) fn unmet(&self, report: &Report) -> Option<String> {
        let Outcome::Exit { code } = report.outcome else {
            return Some(super::describe(&report.outcome));
        };
        if code != i32::from(self.expect.exit) {
            let expected = match self.expect.exit {
                0 => String::new(),
                exit => format!(", and code {exit} was expected"),
            };
            return Some(format!("exited with code {code}{expected}"));
        }
        self.unmet_text(&report.stdout)
            .or_else(|| self.unmet_values(&report.stdout))
            .or_else(|| self.unmet_file(report))
    }

    fn unmet_text(&self, stdout: &Captured) -> Option<String> {
        let wanted = self.expect.stdout.as_ref()?;
        if let Some(cut) = cut(stdout) {
            return Some(cut);
        }
        let bytes = stdout.to_bytes();
        if wanted.holds(&String::from_utf8_lossy(&bytes)) {
            return None;
        }
        Some(match wanted {
            TextMatch::Equals(text) => format!("did not write {} to its standard output", quoted(&json!(text))),
            TextMatch::Contains(text) => format!("wrote a standard output without {}", quoted(&json!(text))),
        })
    }

    fn unmet_values(&self, stdout: &Captured) -> Option<String> {
        if self.expect.json.is_empty() {
            return None;
        }
        if let Some(cut) = cut(stdout) {
            return Some(cut);
        }
        let bytes = stdout.to_bytes();
        let document: Value = match serde_json::from_slice(&bytes) {
            Ok(document) => document,
            Err(error) => {
                return Some(format!(
                    "wrote a standard output that is not one JSON document: {error}"
                ));
            }
        };
        // Of a key that stands twice one reader sees the first value and another one the last.
        let strictly = Document::read_bytes(&bytes, bytes.len()).and_then(|read| read.finish(Some(())));
        if let Err(defects) = strictly {
            // Only where it is: the text of a defect may quote what was written.
            let place = defects.listed.first().map(|defect| defect.place);
            let (line, column) = place.map_or((1, 1), |place| (place.line, place.column));
            return Some(format!(
                "wrote JSON that cannot be judged, at line {line} column {column}: a key stands twice in one object, or there \
                 are too many values"
            ));
        }
        let differs = |(pointer, wanted): &(&String, &Value)| document.pointer(pointer) != Some(wanted);
        let (pointer, wanted) = self.expect.json.iter().find(differs)?;
        let found = document.pointer(pointer).map_or_else(|| "nothing".to_owned(), quoted);
        let place = quoted(&json!(pointer));
        Some(format!(
            "wrote JSON with {found} at {place}, and {} was expected",
            quoted(wanted)
        ))
    }

    fn unmet_file(&self, report: &Report) -> Option<String> {
        let differs = |(path, wanted): &(&RepoPath, &_)| report.files.get(*path) != Some(*wanted);
        let (path, wanted) = self.expect.files.iter().find(differs)?;
        let shown = escape_control(path.as_str());
        Some(match report.files.get(path) {
            Some(found) => format!("left `{shown}` with the sha256 {found}, and {wanted} was expected"),
            None => format!("left no file `{shown}`"),
        })
    }
}

/// What was dropped cannot be judged.
fn cut(stdout: &Captured) -> Option<String> {
    (stdout.dropped > 0).then(|| "wrote more to its standard output than is kept, so it cannot be judged".to_owned())
}

fn quoted(value: &Value) -> String {
    let text = escape_control(&struck(value).to_string());
    match text.char_indices().nth(QUOTED) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// The value without the credentials in its texts: they are known by their shape, which escaping and cutting take away.
fn struck(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(without_credentials(text)),
        Value::Array(items) => items.iter().map(struck).collect(),
        Value::Object(members) => {
            let member = |(name, member): (&String, &Value)| (without_credentials(name), struck(member));
            Value::Object(members.iter().map(member).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// A plain command is its words, as it was before there were others: keys are made of it.
impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if *self == Check::plain(self.argv.clone()) {
            return self.argv.serialize(serializer);
        }
        json!({
            "argv": self.argv,
            "cwd": self.cwd,
            "env": self.env,
            "stdin": self.stdin,
            "timeout_ms": self.timeout.map(|timeout| timeout.as_millis().to_string()),
            "expect": self.expect,
            "baseline": self.baseline,
            "visibility": self.visibility,
            "runs": self.runs,
        })
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Metering;
    use crate::types::Sha256;

    fn report(code: i32, stdout: &str) -> Report {
        Report {
            outcome: Outcome::Exit { code },
            stdout: Captured {
                head: stdout.as_bytes().to_vec(),
                ..Captured::default()
            },
            stderr: Captured::default(),
            metering: Metering::default(),
            limits: Vec::new(),
            receipt: None,
            files: BTreeMap::new(),
        }
    }

    fn check(expect: Expect) -> Check {
        Check {
            expect,
            ..Check::plain(vec!["a".to_owned()])
        }
    }

    fn with_json(pointer: &str, value: Value) -> Check {
        check(Expect {
            json: BTreeMap::from([(pointer.to_owned(), value)]),
            ..Expect::default()
        })
    }

    #[test]
    fn a_key_that_stands_twice_holds_nothing() {
        let check = with_json("/a", json!(1));
        assert_eq!(check.unmet(&report(0, "{\"a\":1}")), None);
        for twice in [
            "{\"a\":2,\"a\":1}",
            "{\"a\":1,\"a\":1}",
            "{\"a\":1,\"b\":[{\"c\":1,\"c\":2}]}",
        ] {
            let why = check.unmet(&report(0, twice)).expect(twice);
            assert!(why.contains("a key stands twice"), "{why}");
        }
    }

    #[test]
    fn a_credential_in_a_value_is_struck_out_before_it_is_escaped_and_cut() {
        let token = "ghp_a1b2c3d4e5f6g7h8i9j0a1b2c3d4e5f6";
        let check = with_json("/a", json!("ok"));
        for before in ["", "\\n", &"x ".repeat(QUOTED / 2 - 10)] {
            let why = check
                .unmet(&report(0, &format!("{{\"a\":\"{before}{token}\"}}")))
                .expect("another value");
            assert!(why.contains("[struck out"), "{why}");
            assert!(!why.contains("ghp_"), "{why}");
        }
    }

    #[test]
    fn everything_that_is_expected_has_to_hold() {
        let path = RepoPath::parse("out").expect("a path");
        let expect = Expect {
            exit: 3,
            stdout: Some(TextMatch::Contains("\"a\"".to_owned())),
            json: BTreeMap::from([("/a/0".to_owned(), json!(1))]),
            files: BTreeMap::from([(path.clone(), Sha256::EMPTY)]),
        };
        let mut good = report(3, "{\"a\": [1]}\n");
        good.files.insert(path.clone(), Sha256::EMPTY);
        let check = check(expect);
        assert_eq!(check.unmet(&good), None);
        let other = |change: &dyn Fn(&mut Report)| {
            let mut other = good.clone();
            change(&mut other);
            check.unmet(&other).expect("something else was expected")
        };
        let stdout = |text: &str| {
            let text = text.to_owned();
            move |report: &mut Report| report.stdout.head = text.clone().into_bytes()
        };
        for (unmet, why) in [
            (
                other(&|report| report.outcome = Outcome::Exit { code: 0 }),
                "exited with code 0, and code 3 was expected",
            ),
            (
                other(&|report| report.outcome = Outcome::Signal { signal: 9 }),
                "signal 9",
            ),
            (other(&stdout("{}")), "without \"\\\"a\\\"\""),
            (
                other(&stdout("{\"a\": [2]}")),
                "wrote JSON with 2 at \"/a/0\", and 1 was expected",
            ),
            (other(&stdout("{\"a\": []}")), "with nothing at"),
            (other(&stdout("{\"a\": [1]} and more")), "not one JSON document"),
            (
                other(&|report| report.stdout.dropped = 1),
                "more to its standard output than is kept",
            ),
            (
                other(&|report| {
                    report.files.insert(path.clone(), Sha256::of(b"x"));
                }),
                "left `out` with the sha256",
            ),
            (other(&|report| report.files.clear()), "left no file `out`"),
        ] {
            assert!(unmet.contains(why), "{why}: {unmet}");
        }
    }

    #[test]
    fn a_plain_command_is_its_words_and_says_how_it_failed_as_ever() {
        let plain = check(Expect::default());
        assert_eq!(json!(plain), json!(["a"]));
        assert_eq!(plain.unmet(&report(1, "")).as_deref(), Some("exited with code 1"));
        assert_eq!(plain.unmet(&report(0, "whatever")), None);
        let repeated = Check { runs: 2, ..plain };
        assert_eq!(json!(repeated)["runs"], 2);
    }

    #[test]
    fn repeated_runs_have_another_hash_seed_unless_the_order_says_which() {
        let mut check = check(Expect::default());
        assert!(check.command(1, None).env.is_empty());
        assert_eq!(check.command(2, None).env["PYTHONHASHSEED"], "2");
        check.env.insert(HASH_SEED.to_owned(), "7".to_owned());
        assert_eq!(check.command(2, None).env["PYTHONHASHSEED"], "7");
    }

    #[test]
    fn the_shortest_time_counts() {
        let seconds = Duration::from_secs;
        let mut check = check(Expect::default());
        assert_eq!(check.command(1, Some(seconds(5))).timeout, Some(seconds(5)));
        check.timeout = Some(seconds(3));
        assert_eq!(check.command(1, Some(seconds(5))).timeout, Some(seconds(3)));
        assert_eq!(check.command(1, Some(seconds(2))).timeout, Some(seconds(2)));
    }
}
