//! Recorded runs of a real model, driven through the program: what came out then has to come out now.
//!
//! - `FACTORY_CORPUS` names the directory; without it, `../shared/corpus` beside the project, and without that the test
//!   says so and passes. Whatever runs are there are replayed, so further ones need no code.
//! - Each run gets a repository of its own, at the commit that the recording started from.
//! - What differs on purpose stands in [`DIFFERENCES`], with what is asserted instead.

use crate::support::{File, Operator, Origin, Packages, Ran, has, in_parallel, shared};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// How a recorded end is called here: the recorded stage, the class of the failure, and verdict and exit code of a run
/// that ends with it.
const ENDS: &[(&str, &str, &str, u8)] = &[
    ("preflight", "order", "BLOCKED", 10),
    ("llm_output_invalid", "proposal", "FAIL", 4),
    ("write_scope_violation", "proposal", "FAIL", 4),
    ("stale_context", "proposal", "FAIL", 4),
    ("write_failed", "proposal", "FAIL", 4),
    ("verify_failed", "rejected", "FAIL", 1),
    ("acceptance_failed", "rejected", "FAIL", 1),
];

/// A deliberate difference.
struct Difference {
    /// The ends of the names of the runs that differ.
    runs: &'static [&'static str],
    /// Why.
    reason: &'static str,
    /// What is expected instead, key by key.
    instead: fn(&Recorded) -> Value,
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        runs: &["-acceptance-unparseable"],
        reason: "a command that cannot be split makes the order invalid, which is found before the model is paid",
        instead: |_| json!({"exit_code": 65, "verdict": "BLOCKED", "model_calls": 0, "attempts": []}),
    },
    Difference {
        runs: &["-write-through-file"],
        reason: "a file below a file is a defect of the proposal, which the model is told and can mend, and does",
        instead: |recorded| {
            let source = &recorded.source.as_ref().unwrap().expected;
            let mut attempts =
                vec![json!({"stage": "write_failed", "class": "proposal", "verify": [], "acceptance": []})];
            attempts.extend(attempts_of(source));
            json!({"exit_code": 0, "verdict": "PASS", "model_calls": 2, "attempts": attempts, "tree": tree_after(source)})
        },
    },
    Difference {
        runs: &[
            "lsystem-a/07-WO-07-19aa175bb7a530b7",
            "lsystem-b/07-WO-07-96fcdba25377d952",
        ],
        reason: "each command starts from the untouched candidate with an empty /tmp, so what the second command puts \
                 there is gone when the third one looks",
        instead: |recorded| {
            let mut attempts = attempts_of(&recorded.expected);
            attempts[0]["stage"] = json!("acceptance_failed");
            attempts[0]["class"] = json!("rejected");
            attempts[0]["acceptance"][2][1] = json!(1);
            json!({"exit_code": 1, "verdict": "FAIL", "attempts": attempts, "tree": null})
        },
    },
];

/// One recorded run.
struct Recorded {
    name: String,
    dir: PathBuf,
    expected: Value,
    /// The recorded run that this one was made from, whose baseline it shares.
    source: Option<Box<Recorded>>,
}

impl Recorded {
    fn read(dir: PathBuf, name: String) -> Self {
        let expected = document(&dir.join("expected.json"));
        let source = expected["baseline"]["same_as"].as_str().map(|same| {
            let dir = dir.join(same).canonicalize().unwrap();
            Box::new(Recorded::read(
                dir,
                expected["derived_from"].as_str().unwrap().to_owned(),
            ))
        });
        Recorded {
            name,
            dir,
            expected,
            source,
        }
    }

    /// The sequence that it belongs to.
    fn sequence(&self) -> &str {
        let origin = self.source.as_ref().map_or(&self.name, |source| &source.name);
        origin.split('/').next().unwrap()
    }

    /// The files that the recording started from.
    fn baseline(&self) -> BTreeMap<String, File> {
        if let Some(source) = &self.source {
            return source.baseline();
        }
        let baseline = &self.expected["baseline"];
        let initial = self.dir.join(baseline["initial"].as_str().unwrap());
        let mut files = BTreeMap::new();
        for (name, file) in crate::support::files_of(&initial) {
            let name = if name == "dot-gitignore" {
                ".gitignore".to_owned()
            } else {
                name
            };
            files.insert(name, file);
        }
        for run in baseline["apply_passes_of"].as_array().unwrap() {
            let run = self.dir.parent().unwrap().join(run.as_str().unwrap());
            let last = answers(&run).pop().unwrap();
            for write in document(&last)["writes"].as_array().unwrap() {
                let content = write["content"].as_str().unwrap();
                files.insert(write["path"].as_str().unwrap().to_owned(), File::plain(content));
            }
        }
        files
    }

    /// How many answers of the model are judged at most.
    fn max_attempts(&self) -> u64 {
        let recorded = answers(&self.dir).len() as u64;
        self.expected["max_attempts"].as_u64().unwrap_or(recorded)
    }
}

/// The recorded answers of a run, in their order.
fn answers(run: &Path) -> Vec<PathBuf> {
    let number = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().parse::<u32>().unwrap();
    let mut answers: Vec<_> = fs::read_dir(run.join("attempts"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    answers.sort_by_key(number);
    answers
}

fn document(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every recorded run whose proposals are whole files, and everything derived from one.
fn recorded(corpus: &Path) -> Vec<Recorded> {
    let mut runs = Vec::new();
    for sequence in directories(&corpus.join("sequences")) {
        if document(&sequence.join("sequence.json"))["era"] == "writes" {
            let name = name_of(&sequence);
            let dirs = directories(&sequence.join("runs")).into_iter();
            runs.extend(dirs.map(|dir| Recorded::read(dir.clone(), format!("{name}/{}", name_of(&dir)))));
        }
    }
    let derived = directories(&corpus.join("derived")).into_iter();
    runs.extend(derived.map(|dir| Recorded::read(dir.clone(), format!("derived/{}", name_of(&dir)))));
    runs
}

fn directories(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).unwrap_or_else(|error| panic!("{}: {error}", parent.display()));
    let mut directories: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    directories.sort();
    directories
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// What the recording says, in our words.
fn expected(recorded: &Recorded) -> Value {
    let expected = &recorded.expected;
    let attempts = attempts_of(expected);
    let asked = attempts.len();
    let (verdict, exit_code) = match (expected["verdict"].as_str().unwrap(), last_stage(expected)) {
        ("PASS", _) => ("PASS", 0),
        (_, Some(stage)) => (end(stage).2, end(stage).3),
        (other, None) => (other, 1),
    };
    json!({
        "exit_code": exit_code,
        "verdict": verdict,
        "model_calls": expected["model_calls"].as_u64().unwrap_or(asked as u64),
        "attempts": attempts,
        "tree": tree_after(expected),
    })
}

/// The attempts. One that ended before the model was asked is none for us.
fn attempts_of(expected: &Value) -> Vec<Value> {
    let attempts = expected["attempts"].as_array().unwrap();
    let asked = attempts.iter().filter(|attempt| attempt["stage"] != "preflight");
    asked
        .map(|attempt| {
            let stage = attempt["stage"].as_str();
            json!({
                "stage": stage,
                "class": stage.map(|stage| end(stage).1),
                "verify": commands(&attempt["verify"]),
                "acceptance": commands(&attempt["acceptance"]),
            })
        })
        .collect()
}

fn last_stage(expected: &Value) -> Option<&str> {
    expected["attempts"].as_array().unwrap().last()?["stage"].as_str()
}

fn end(stage: &str) -> &'static (&'static str, &'static str, &'static str, u8) {
    let found = ENDS.iter().find(|(recorded, ..)| *recorded == stage);
    found.unwrap_or_else(|| panic!("the recorded stage `{stage}` stands in no table"))
}

/// Argument vector and exit code of each command.
fn commands(commands: &Value) -> Vec<Value> {
    let commands = commands.as_array().map(Vec::as_slice).unwrap_or_default();
    commands
        .iter()
        .map(|command| json!([command["argv"], command["exit_code"]]))
        .collect()
}

/// The tree of the branch after a pass.
fn tree_after(expected: &Value) -> Value {
    if expected["verdict"] != "PASS" {
        return Value::Null;
    }
    let result = &expected["result"];
    let trees = [&result["tree_hash_recorded"], &result["head_tree_hash"]];
    trees.into_iter().find(|tree| tree.is_string()).unwrap().clone()
}

/// Puts the recording through the program. Gives what came out in the form of [`expected`], and what must never be.
fn replay(operator: &Operator, recorded: &Recorded) -> (Value, Vec<String>) {
    let place = operator.place(&recorded.name);
    let baseline = recorded.baseline();
    let origin = Origin::with_commits(&place.join("repository"), "work", [&baseline]);
    let mut wrong = Vec::new();
    let base_tree = origin.rev("HEAD^{tree}");
    if base_tree.as_deref() != recorded.expected["baseline"]["tree_hash"].as_str() {
        wrong.push(format!("the baseline cannot be rebuilt: {base_tree:?}"));
    }
    let before = origin.untouchable();
    let output = operator
        .factory(&place)
        .args(["run", "--json", "--isolated", "--branch=factory/replay"])
        .arg(format!("--profile={}", profile(recorded.sequence())))
        .arg(format!("--max-attempts={}", recorded.max_attempts()))
        .arg("--repo")
        .arg(&origin.dir)
        .arg(format!("--provider=replay:{}", recorded.dir.join("attempts").display()))
        .arg(recorded.dir.join("work_order.json"))
        .output()
        .unwrap();
    let ran = Ran::of(&output);
    if origin.untouchable() != before {
        wrong.push("the checkout was touched".to_owned());
    }
    if !origin.git(&["status", "--porcelain", "--ignored"]).is_empty() {
        wrong.push("something was left in the checkout".to_owned());
    }
    let verdict = ran.completed()["verdict"].as_str().unwrap_or_default();
    if !ran.stderr.is_empty() {
        wrong.push(format!("it printed beside its events: {}", ran.stderr));
    }
    let attempts = ran.summary()["attempts"].as_array().cloned().unwrap_or_default();
    let attempts: Vec<_> = attempts.iter().map(attempt).collect();
    let actual = json!({
        "exit_code": ran.code,
        "verdict": if verdict.starts_with("PASS") { "PASS" } else { verdict },
        "model_calls": ran.count("proposal.requested"),
        "attempts": attempts,
        "tree": origin.rev("refs/heads/factory/replay^{tree}"),
    });
    (actual, wrong)
}

/// An attempt of a summary in the form of [`attempts_of`].
fn attempt(attempt: &Value) -> Value {
    let of = |phase: &str| -> Vec<Value> {
        let commands = attempt["commands"].as_array().unwrap().iter();
        commands
            .filter(|command| command["phase"] == phase)
            .map(|command| json!([command["argv"], command["exit_code"]]))
            .collect()
    };
    json!({
        "stage": attempt["stage"],
        "class": attempt["class"],
        "verify": of("verify"),
        "acceptance": of("acceptance"),
    })
}

/// The profile for the commands of a sequence: one recording failed for lack of Pillow, another had it.
fn profile(sequence: &str) -> &'static str {
    match sequence {
        "lsystem-b" => "pytest-pillow",
        _ => "pytest",
    }
}

/// The keys by which two objects differ, in words.
fn differing(expected: &Value, actual: &Value) -> Vec<String> {
    let keys = expected.as_object().unwrap().iter();
    keys.filter(|(key, value)| actual[key.as_str()] != **value)
        .map(|(key, value)| format!("{key}:\n    expected {value}\n    got      {}", actual[key.as_str()]))
        .collect()
}

/// Everything that is wrong with one run.
fn judge(operator: &Operator, recorded: &Recorded) -> Vec<String> {
    let (actual, mut wrong) = replay(operator, recorded);
    let mut expected = expected(recorded);
    for Difference { runs, reason, instead } in DIFFERENCES {
        if !runs.iter().any(|run| recorded.name.ends_with(run)) {
            continue;
        }
        if actual == expected {
            wrong.push(format!("listed as different ({reason}), but is not; take it out"));
        }
        let changes: Map<_, _> = instead(recorded).as_object().unwrap().clone();
        expected.as_object_mut().unwrap().extend(changes);
    }
    wrong.extend(differing(&expected, &actual));
    wrong
}

/// Whether Python inside the sandbox can do something under a profile.
fn can(operator: &Operator, place: &Path, profile: &str, script: &str) -> bool {
    let origin = place.join("repository");
    let mut exec: Command = operator.factory(place);
    exec.args(["exec", "--profile", profile, "--repo"])
        .arg(origin)
        .args(["--", "python", "-c", script]);
    exec.output().unwrap().status.success()
}

/// Somebody with profiles for what the sequences need; nothing where this host cannot run them and says so.
fn operator() -> Option<(Operator, PathBuf)> {
    let packages = Packages::find();
    let present = has("python-packages", packages.is_some());
    let packages = packages.filter(|_| present)?;
    let operator = Operator::new();
    for set in ["pytest", "pytest-pillow"] {
        operator.grant(set, &packages.set(set));
    }
    let place = operator.place("python");
    Origin::with_commits(&place.join("repository"), "work", [&BTreeMap::new()]);
    for (profile, script) in [("pytest", "import pytest"), ("pytest-pillow", "import PIL.Image")] {
        assert!(
            can(&operator, &place, profile, script),
            "the packages of `{profile}` do not fit the interpreter on PATH; start scripts/test, which installs them"
        );
    }
    Some((operator, place))
}

#[test]
fn recorded_runs_come_out_as_they_did() {
    let Some(corpus) = shared("corpus", "FACTORY_CORPUS") else {
        return;
    };
    let Some((operator, place)) = operator() else {
        return;
    };
    // An interpreter that brings Pillow itself cannot show what its absence did.
    let without_pillow = has(
        "python-without-pillow",
        !can(&operator, &place, "pytest", "import PIL.Image"),
    );
    let mut runs = recorded(&corpus);
    assert!(!runs.is_empty(), "{} has no recorded runs", corpus.display());
    runs.retain(|run| without_pillow || run.sequence() != "lsystem-a");
    let start = Instant::now();
    let wrong = in_parallel(&runs, |run| judge(&operator, run));
    println!(
        "{} recorded runs replayed in {:.1} s",
        runs.len(),
        start.elapsed().as_secs_f64()
    );
    let failures: Vec<_> = runs
        .iter()
        .zip(&wrong)
        .filter(|(_, wrong)| !wrong.is_empty())
        .map(|(run, wrong)| format!("{}\n  {}", run.name, wrong.join("\n  ")))
        .collect();
    assert!(
        failures.is_empty(),
        "{} runs came out otherwise:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// One sequence on one branch of one repository, order after order.
struct Sequence {
    origin: Origin,
    place: PathBuf,
    /// The runs in their order.
    runs: Vec<Recorded>,
}

impl Sequence {
    fn of(operator: &Operator, corpus: &Path, name: &str) -> Self {
        let mut runs = recorded(corpus);
        runs.retain(|run| run.source.is_none() && run.sequence() == name);
        let place = operator.place(&format!("sequence-{name}"));
        let first = runs.first().expect("the sequence has runs").baseline();
        Sequence {
            origin: Origin::with_commits(&place.join("repository"), "work", [&first]),
            place,
            runs,
        }
    }

    fn command(&self, operator: &Operator, run: &Recorded, state: &str) -> Command {
        let mut factory = operator.factory(&self.place);
        factory
            .env("XDG_STATE_HOME", self.place.join(state))
            .args(["run", "--json", "--isolated", "--branch=factory/replay"])
            .arg(format!("--profile={}", profile(run.sequence())))
            .arg(format!("--max-attempts={}", run.max_attempts()))
            .arg("--repo")
            .arg(&self.origin.dir)
            .arg(format!("--provider=replay:{}", run.dir.join("attempts").display()))
            .arg(run.dir.join("work_order.json"));
        factory
    }

    fn export(&self, operator: &Operator, state: &str) -> Vec<u8> {
        let mut factory = operator.factory(&self.place);
        factory.env("XDG_STATE_HOME", self.place.join(state));
        factory.args(["journal", "export"]).output().unwrap().stdout
    }
}

#[test]
fn a_sequence_that_is_done_is_skipped_at_once_from_the_journal_or_from_history_alone() {
    let Some(corpus) = shared("corpus", "FACTORY_CORPUS") else {
        return;
    };
    let Some((operator, _)) = operator() else { return };
    let mut times = Vec::new();
    for name in ["hello", "worldsim-a", "worldsim-b"] {
        let sequence = Sequence::of(&operator, &corpus, name);
        let mut done = Vec::new();
        for run in &sequence.runs {
            let ran = Ran::of(&sequence.command(&operator, run, "state").output().unwrap());
            if ran.code == Some(0) {
                assert_eq!(ran.count("proposal.requested"), answers(&run.dir).len(), "{}", run.name);
                done.push(run);
            }
        }
        assert!(done.len() > sequence.runs.len() / 2, "{name}: {} passed", done.len());
        let (tip, journal) = (
            sequence.origin.rev("factory/replay"),
            sequence.export(&operator, "state"),
        );
        // The second state directory has never seen a run.
        for (state, known_by) in [("state", "journal"), ("other-state", "history")] {
            for run in &done {
                let (output, time) = timed(|| sequence.command(&operator, run, state));
                times.push(time);
                let ran = Ran::of(&output);
                assert_eq!(
                    (ran.code, ran.completed()["verdict"].as_str()),
                    (Some(0), Some("SKIPPED")),
                    "{ran:#?}"
                );
                let events: Vec<_> = ran
                    .events
                    .iter()
                    .map(|event| event["event"].as_str().unwrap())
                    .collect();
                assert_eq!(events, ["order.skipped", "run.completed"], "{}", run.name);
                assert_eq!(ran.events[0]["known_from"], known_by, "{}", run.name);
            }
        }
        assert_eq!(sequence.origin.rev("factory/replay"), tip, "{name}: no commit");
        assert!(
            sequence.export(&operator, "state") == journal,
            "{name}: nothing is recorded"
        );
        assert!(sequence.export(&operator, "other-state").is_empty());
        starts_nothing(&sequence, &operator, done[0]);
    }
    times.sort();
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{} orders skipped: median {median:?}, longest {longest:?}", times.len());
    // Some 20 ms on a quiet host, of which 50 are allowed. Here other tests run, and perhaps other people's; what the bound has
    // to notice is an order that is looked at anew, which takes seconds.
    assert!(median < Duration::from_millis(500), "{median:?}");
}

/// What a command prints, and the shortest time of three in which it did: tests beside this one take their share.
fn timed(command: impl Fn() -> Command) -> (Output, Duration) {
    let tries: Vec<_> = (0..3)
        .map(|_| {
            let start = Instant::now();
            let output = command().output().unwrap();
            (output, start.elapsed())
        })
        .collect();
    tries.into_iter().min_by_key(|(_, time)| *time).expect("three tries")
}

/// A skipped order starts no process at all, so no sandbox either.
fn starts_nothing(sequence: &Sequence, operator: &Operator, run: &Recorded) {
    if !has("strace", Command::new("strace").arg("-V").output().is_ok()) {
        return;
    }
    let trace = sequence.place.join("trace");
    let processes = |command: &Command| {
        let mut strace = Command::new("strace");
        let calls = "trace=execve,fork,vfork,clone,clone3";
        strace
            .args(["--follow-forks", "--quiet=all", "-e", calls, "-o"])
            .arg(&trace);
        strace.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => strace.env(name, value),
                None => strace.env_remove(name),
            };
        }
        strace.output().unwrap();
        let text = fs::read_to_string(&trace).unwrap();
        text.lines()
            .filter(|line| !line.contains("CLONE_THREAD") && !line.contains("+++ exited"))
            .count()
    };
    let mut control = sequence.command(operator, run, "fresh-state");
    control.arg("--fresh");
    assert!(processes(&control) > 2, "a run that is not skipped starts its sandbox");
    assert_eq!(processes(&sequence.command(operator, run, "state")), 1, "its own start");
}
