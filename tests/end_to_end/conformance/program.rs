//! Areas that need the whole program: an order is run in a repository, with the answers that the case gives.
//!
//! The cases speak the language of the program that they were made from. What comes out here is put into its words by
//! the tables below, and what is to come out otherwise by decision stands in [`DECISIONS`].

use super::case::{Case, files_value};
use crate::support::{File, Operator, Origin, Packages, Ran, files_of};
use factory::order::split_command;
use factory::run::{Rules, Stage, State, Step, next};
use factory::types::{FailureClass, Sha256};
use serde_json::{Map, Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// An option of the cases and ours; [`options`] says what becomes of their values.
const OPTIONS: &[(&str, &str)] = &[
    ("--max-attempts", "--max-attempts"),
    ("--branch", "--branch"),
    ("--create-branch", "--create-branch"),
    ("--reuse-branch", "--reuse-branch"),
    ("--commit-hash", "--base"),
    ("--out", "--artifacts"),
    ("--allow-verify-exempt", "--allow-verify-exempt"),
    ("--timeout-seconds", "--timeout"),
];

/// An exit code of the cases, and ours that tell apart what it means.
const EXIT_CODES: &[(i32, &[i32])] = &[
    (0, &[0]),
    (1, &[1, 3, 4, 10, 11, 13, 20, 21, 22, 23, 64, 65, 74, 75, 77, 78]),
    (2, &[2]),
    (130, &[130]),
    (143, &[143]),
];

/// A verdict of the cases, and ours that tell apart what it means.
const VERDICTS: &[(&str, &[&str])] = &[
    (
        "PASS",
        &["VERIFIED", "PASS_REGRESSION_ONLY", "PASS_UNPROVEN", "ALREADY_SATISFIED"],
    ),
    ("FAIL", &["FAIL", "BLOCKED"]),
    ("ERROR", &["INCONCLUSIVE"]),
];

/// A file of a run, and what the cases call it. Those of an attempt are in its directory; what commands printed has names
/// of its own, see [`their_name`].
const ARTIFACTS: &[(&str, &str)] = &[
    ("acceptance.json", "acceptance_result.json"),
    ("answer.txt", "raw_llm_response.json"),
    ("brief.json", "failure_brief.json"),
    ("evidence.json", "write_result.json"),
    ("order.json", "work_order.json"),
    ("prompt.txt", "se_prompt.txt"),
    ("proposal.json", "proposed_writes.json"),
    ("run.json", "run.json"),
    ("summary.json", "run_summary.json"),
    ("verify.json", "verify_result.json"),
];

/// Files of an attempt that no case expects: a failure is kept in the words of its problem too, and the answer also when
/// it was a proposal.
const MORE_ARTIFACTS: &[(&str, Option<&str>)] = &[("problem.json", None), ("answer.txt", Some("proposal.json"))];

/// A key that the cases expect in the summary of a run, and where the same stands here: a pointer into `summary.json`, or
/// into `run.json` for what was known before.
const SUMMARY_KEYS: &[(&str, &str)] = &[
    ("attempts", "summary.json#/attempts"),
    ("baseline_commit", "summary.json#/base"),
    ("config", "run.json#/policy"),
    ("repo_tree_hash_after", "summary.json#/tree"),
    // Nothing is rolled back, because nothing is touched; that the branch has the change is what can be asked instead.
    ("rollback_failed", "summary.json#/commit"),
    ("run_id", "summary.json#/run"),
    ("total_attempts", "summary.json#/attempts"),
    ("verdict", "summary.json#/verdict"),
    ("work_order_id", "summary.json#/order_id"),
];

/// The stages of the cases in which an attempt can fail, and the class whose turn it then is.
const STAGES: &[(&str, FailureClass)] = &[
    ("preflight", FailureClass::Order),
    ("llm_output_invalid", FailureClass::Proposal),
    ("write_scope_violation", FailureClass::Proposal),
    ("stale_context", FailureClass::Proposal),
    // A write that the system refuses. A proposal that cannot stand in one tree is the model's to mend, and tried again.
    ("write_failed", FailureClass::Host),
    ("verify_failed", FailureClass::Rejected),
    ("acceptance_failed", FailureClass::Rejected),
    ("exception", FailureClass::ProviderTransient),
];

/// Where something else is wanted than a case expects.
struct Decision {
    /// What was decided, and where it is written.
    decision: &'static str,
    /// Whether it bears on a case of the area `run`.
    concerns: fn(&Situation<'_>) -> bool,
    /// What is expected instead, key by key; null takes a key away.
    instead: fn(&Situation<'_>) -> Value,
}

const DECISIONS: &[Decision] = &[
    Decision {
        decision: "a checkout with changes is no reason to refuse: it is never touched, and its commit is the base \
                   (DESIGN 2.2)",
        concerns: |case| {
            case.expects(1)
                && ["untracked", "staged", "modified"]
                    .iter()
                    .any(|word| case.is_set_up(word))
        },
        instead: |_| json!({"exit": 0, "model_calls": 1, "verdict": "PASS", "commits": 1, "clean": null, "files_after": null, "branch": null}),
    },
    Decision {
        decision: "a detached HEAD is no reason to refuse: the run starts from its commit and has a branch of its own \
                   (DESIGN 7)",
        concerns: |case| case.expects(1) && case.is_set_up("detached"),
        instead: |_| json!({"exit": 0, "model_calls": 1, "verdict": "PASS", "commits": 1, "branch": null}),
    },
    Decision {
        decision: "no hook of the repository is ever run (DESIGN 2.2), so none can fail",
        concerns: |case| !case.expects(0) && case.is_set_up("failing_hook"),
        instead: |_| json!({"exit": 0, "model_calls": 1, "verdict": "PASS", "commits": 1}),
    },
    Decision {
        decision: "a provider that fails in passing spends no attempt, and the run is stopped when it goes on to fail \
                   (DESIGN 9)",
        concerns: |case| case.answers().any(|answer| answer == "@@RAISE"),
        instead: without_failed_calls,
    },
    Decision {
        decision: "a command that cannot be split makes the order invalid, before the model is paid (DESIGN 9, `Order`)",
        concerns: |case| case.commands().any(|command| split_command(command).is_err()),
        instead: |_| json!({"code": 65, "exit": 1, "model_calls": 0, "verdict": null, "stages": null}),
    },
    Decision {
        decision: "a program that is not there is a defect of the host, found before the model is paid (DESIGN 9, `Host`)",
        concerns: |case| case.commands().any(is_missing),
        instead: |_| json!({"code": 20, "exit": 1, "model_calls": 0, "verdict": "FAIL", "stages": ["preflight"]}),
    },
    Decision {
        decision: "the tree of a command has no git directory (DESIGN 4), so there is nothing for it to reach into",
        concerns: |case| case.expects(0) && case.commands().any(|command| command.contains(".git/")),
        instead: |_| json!({"exit": 1, "code": 1, "verdict": "FAIL", "model_calls": null, "stages": null, "commits": 0}),
    },
    Decision {
        decision: "the bytes that were verified are the bytes that are committed (DESIGN 2.2): there is no drift to tell of",
        concerns: |case| case.expect.get("drift").is_some(),
        instead: |_| json!({"drift": null}),
    },
    Decision {
        decision: "the default branch is named after the plan or the order (DESIGN 7)",
        concerns: |case| {
            case.expect["branch"]
                .as_str()
                .is_some_and(|branch| branch.ends_with('*'))
        },
        instead: |case| json!({"branch": format!("factory/{}", case.plan_or_order())}),
    },
    Decision {
        decision: "a branch that is checked out is never moved (DESIGN 7)",
        concerns: |case| case.expects(0) && case.named_branch() == Some(case.start()),
        instead: |case| {
            json!({"code": 23, "exit": 1, "model_calls": 0, "verdict": null, "stages": null, "branch": case.start(),
            "committed": null, "commits": 0, "files_after": null})
        },
    },
];

/// The stages without the failed calls that were followed by others. How many calls those were worth is no more known
/// when there are judged attempts as well.
fn without_failed_calls(case: &Situation<'_>) -> Value {
    let stages: Vec<_> = case.expect["stages"].as_array().cloned().unwrap_or_default();
    let judged = stages.iter().filter(|stage| **stage != "exception").count();
    let mut left: Vec<_> = stages.iter().filter(|stage| **stage != "exception").cloned().collect();
    left.extend(stages.last().filter(|stage| **stage == "exception").cloned());
    let mut instead = json!({ "stages": left });
    if stages.last().is_some_and(|stage| stage == "exception") {
        instead["code"] = json!(75);
        if judged > 0 {
            instead["model_calls"] = Value::Null;
        }
    }
    instead
}

/// A case of the area `run`, with the questions that decisions ask.
struct Situation<'c> {
    input: &'c Value,
    expect: &'c Value,
}

impl Situation<'_> {
    fn expects(&self, exit: i64) -> bool {
        self.expect["exit"] == exit
    }

    fn is_set_up(&self, word: &str) -> bool {
        list(&self.input["setup"]).any(|set_up| set_up == word)
    }

    /// The answers of the model that are texts.
    fn answers(&self) -> impl DoubleEndedIterator<Item = String> {
        let answers = self.input["responses"].as_array().cloned().unwrap_or_default();
        answers
            .into_iter()
            .map(|answer| answer.as_str().unwrap_or_default().to_owned())
    }

    fn commands(&self) -> impl Iterator<Item = &str> {
        list(&self.input["order"]["acceptance_commands"])
    }

    /// The branch checked out at the start.
    fn start(&self) -> &str {
        self.input["branch"].as_str().unwrap_or("work")
    }

    /// The branch that the command line names.
    fn named_branch(&self) -> Option<&str> {
        let flags: Vec<_> = list(&self.input["flags"]).collect();
        let at = flags.iter().position(|flag| *flag == "--branch")?;
        flags.get(at + 1).copied()
    }

    fn plan_or_order(&self) -> &str {
        let order = &self.input["order"];
        let plan = order["provenance"]["planner_run_id"].as_str();
        plan.or(order["id"].as_str()).unwrap_or_default()
    }
}

/// Whether a command names a program that nothing on the system's search path is.
fn is_missing(command: &str) -> bool {
    let argv = split_command(command).unwrap_or_default();
    let Some(program) = argv.first().filter(|program| !program.contains('/')) else {
        return false;
    };
    // Python is found wherever the operator has it.
    let directories = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"];
    program != "python"
        && !directories
            .iter()
            .any(|directory| Path::new(directory).join(program).exists())
}

/// The texts of a list.
fn list(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// What is expected of a case after all decisions, and which of them bear on it.
pub(super) fn decided(case: &Case) -> (Value, Vec<&'static str>) {
    let mut expect = case.expect.clone();
    let mut decisions = Vec::new();
    if case.area != AREA {
        return (expect, decisions);
    }
    let situation = Situation {
        input: &case.input,
        expect: &case.expect,
    };
    let fields = expect.as_object_mut().expect("an expectation is an object");
    for decision in DECISIONS.iter().filter(|decision| (decision.concerns)(&situation)) {
        let instead = (decision.instead)(&situation).as_object().cloned().unwrap_or_default();
        // What the case says already is no decision against it.
        if !instead
            .iter()
            .any(|(key, value)| case.expect.get(key).is_some_and(|expected| expected != value))
        {
            continue;
        }
        decisions.push(decision.decision);
        for (key, value) in instead {
            match value {
                Value::Null => drop(fields.remove(&key)),
                value => drop(fields.insert(key, value)),
            }
        }
    }
    (expect, decisions)
}

pub(super) fn stage(case: &Case) -> Result<Value, String> {
    Ok(json!({"ok": case.text("stage")?.parse::<Stage>().is_ok()}))
}

pub(super) fn route(case: &Case) -> Result<Value, String> {
    let stage = case.text("stage")?;
    let number = |name| {
        case.field(name)?
            .as_u64()
            .ok_or_else(|| format!("`{name}` is no number"))
    };
    let (finished, max_attempts) = (number("finished_attempt")?, number("max_attempts")? as u32);
    let class = STAGES.iter().find(|(known, _)| *known == stage);
    let (_, class) = class.ok_or_else(|| format!("the stage `{stage}` stands in no table"))?;
    let rules = Rules {
        max_attempts,
        provider_tries: max_attempts,
        ..Rules::default()
    };
    // Failures that differ from each other: that equal ones end a run early is another question.
    let mut state = State::Preflight;
    for attempt in 1..=finished {
        let failed = Step::Failed(*class, Sha256::of(&attempt.to_be_bytes()));
        let steps = match class {
            FailureClass::Order => vec![failed],
            FailureClass::ProviderTransient => vec![Step::Ready, Step::Unanswered(Duration::ZERO), Step::Waited],
            _ => vec![Step::Ready, Step::Answered, Step::Built, failed],
        };
        for step in steps {
            // A run is made ready once.
            if !(step == Step::Ready && state != State::Preflight) {
                state = next(&rules, state, step);
            }
        }
    }
    Ok(json!({"next": if matches!(state, State::Closed(_)) { "end" } else { "retry" }}))
}

/// The area whose cases need somebody who runs the program.
pub(super) const AREA: &str = "run";

/// Who runs the orders of all cases of a directory, once there is one.
#[derive(Default)]
pub(super) struct Bench {
    operator: OnceLock<(Operator, &'static str)>,
}

impl Bench {
    /// The operator, and the profile with the packages that cases may need; without them, the one that is built in.
    pub(super) fn operator(&self) -> &(Operator, &'static str) {
        self.operator.get_or_init(|| {
            let operator = Operator::new();
            match Packages::find() {
                Some(packages) => {
                    operator.grant("pytest", &packages.set("pytest"));
                    (operator, "pytest")
                }
                None => (operator, "verify"),
            }
        })
    }
}

pub(super) fn run(case: &Case, bench: &Bench) -> Result<Value, String> {
    let (operator, profile) = bench.operator();
    let place = operator.place(&case.id);
    let ground = Ground::new(case, &place)?;
    let before = ground.origin.untouchable();
    let order = place.join("order.json");
    let text = match case.input.get("order_text").and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => case.field("order")?.to_string(),
    };
    fs::write(&order, text).map_err(|error| error.to_string())?;
    let model = Model::new(case, &place)?;
    let output = operator
        .factory(&place)
        .args(["run", "--json", "--isolated", "--profile", profile, "--repo"])
        .arg(&ground.origin.dir)
        .args(["--provider", &model.provider])
        .args(options(case, &ground.origin.dir)?)
        .arg(&order)
        .output()
        .map_err(|error| error.to_string())?;
    let ran = Ran::of(&output);
    if ground.origin.untouchable() != before {
        return Err("the checkout, the index, the settings or the hooks were touched".to_owned());
    }
    let recorded = ran.completed()["exit_code"].as_i64();
    // A command line that is not understood ends before there are events.
    if recorded != ran.code.map(i64::from) && ran.code != Some(64) {
        return Err(format!(
            "exit code {:?}, but it tells {recorded:?}: {}",
            ran.code, ran.stderr
        ));
    }
    let mut actual = ground.after(&ran)?;
    // Of a message only the beginning is expected.
    let message = ground.message(&ran);
    let start = case.expect["message_starts"]
        .as_str()
        .filter(|start| message.starts_with(start));
    actual.insert("message_starts".to_owned(), json!(start.unwrap_or(&message)));
    actual.insert("model_calls".to_owned(), json!(model.calls()));
    actual.insert("code".to_owned(), json!(ran.code));
    Ok(actual.into())
}

/// The repository of a case.
struct Ground {
    origin: Origin,
    /// Where it starts; nothing when there is no commit.
    base: Option<String>,
}

impl Ground {
    fn new(case: &Case, place: &Path) -> Result<Self, String> {
        let setup: Vec<_> = case.texts("setup").unwrap_or_default();
        let start = case.input.get("branch").and_then(Value::as_str).unwrap_or("work");
        let dir = place.join("repository");
        let files = case.files()?;
        if setup.contains(&"not_git") {
            fs::create_dir(&dir).map_err(|error| error.to_string())?;
            return Ok(Ground {
                origin: Origin { dir },
                base: None,
            });
        }
        let origin = match setup.contains(&"no_commits") {
            true => Origin::empty(&dir, start),
            false => Origin::with_commits(&dir, start, [&files]),
        };
        for word in setup {
            set_up(&origin, word)?;
        }
        let base = origin.rev("HEAD");
        Ok(Ground { origin, base })
    }

    /// The message of the commit that a run made.
    fn message(&self, ran: &Ran) -> String {
        match ran.summary()["commit"].as_str() {
            Some(commit) => self.origin.git(&["log", "--max-count=1", "--format=%B", commit]),
            None => String::new(),
        }
    }

    /// What there is after a run, in the words of the cases.
    fn after(&self, ran: &Ran) -> Result<Map<String, Value>, String> {
        let mut actual = Map::new();
        let exit = EXIT_CODES
            .iter()
            .find(|(_, ours)| ran.code.is_some_and(|code| ours.contains(&code)));
        let (exit, _) =
            exit.ok_or_else(|| format!("the exit code {:?} stands in no table: {}", ran.code, ran.stderr))?;
        actual.insert("exit".to_owned(), json!(exit));
        let summary = ran.summary();
        if summary.is_object() {
            let word = summary["verdict"].as_str().unwrap_or_default();
            let verdict = VERDICTS.iter().find(|(_, ours)| ours.contains(&word));
            let (verdict, _) = verdict.ok_or_else(|| format!("the verdict `{word}` stands in no table"))?;
            actual.insert("verdict".to_owned(), json!(verdict));
            actual.insert("stages".to_owned(), stages(summary));
            let directory = Path::new(summary["artifacts"].as_str().unwrap_or_default());
            actual.insert("artifacts".to_owned(), artifacts(directory));
            actual.insert("summary_keys".to_owned(), summary_keys(directory)?);
        }
        self.tell_repository(&mut actual, summary["branch"].as_str())?;
        let outside = self.origin.dir.with_file_name("escaped");
        actual.insert(
            "outside_created".to_owned(),
            json!(fs::symlink_metadata(outside).is_ok()),
        );
        Ok(actual)
    }

    /// Files, commits and branch: of the branch that the run worked for, else of HEAD.
    fn tell_repository(&self, actual: &mut Map<String, Value>, branch: Option<&str>) -> Result<(), String> {
        let origin = &self.origin;
        let Some(base) = &self.base else { return Ok(()) };
        let head = origin.git(&["rev-parse", "--abbrev-ref", "HEAD"]);
        actual.insert("branch".to_owned(), json!(branch.unwrap_or(&head)));
        // Neither a failure nor a pass that changes nothing makes a branch.
        let tip = branch.and_then(|branch| origin.rev(&format!("refs/heads/{branch}")));
        let tip = tip.as_deref().unwrap_or("HEAD");
        // On any branch: a commit that went elsewhere counts as well.
        let commits: u64 = origin
            .git(&["rev-list", "--count", "--branches", &format!("^{base}")])
            .parse()
            .map_err(|error| format!("{error}"))?;
        actual.insert("commits".to_owned(), json!(commits));
        let committed = origin.git(&["diff", "--name-only", base, tip]);
        actual.insert("committed".to_owned(), json!(committed.lines().collect::<Vec<_>>()));
        actual.insert(
            "clean".to_owned(),
            json!(origin.git(&["status", "--porcelain"]).is_empty()),
        );
        let mut files = origin.files_at(tip);
        for ignored in origin.git(&["ls-files", "--others"]).lines() {
            let content = fs::read(origin.dir.join(ignored)).map_err(|error| error.to_string())?;
            files.insert(ignored.to_owned(), File::plain(content));
        }
        actual.insert("files_after".to_owned(), files_value(&files));
        let hook = origin.dir.join(".git/hooks/post-commit");
        actual.insert("hook_created".to_owned(), json!(hook.exists()));
        Ok(())
    }
}

/// Brings a repository into the state that a word of a case's setup names.
fn set_up(origin: &Origin, word: &str) -> Result<(), String> {
    let write = |name: &str, content: &str| {
        let path = origin.dir.join(name);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| fs::write(path, content))
            .map_err(|error| error.to_string())
    };
    match word {
        "no_commits" => Ok(()),
        "untracked" => write("untracked.txt", "x"),
        "staged" => {
            write("staged.txt", "x")?;
            origin.git(&["add", "staged.txt"]);
            Ok(())
        }
        "modified" => {
            let tracked = origin.git(&["ls-files"]);
            let first = tracked.lines().next().ok_or("there is no file to change")?;
            write(first, "changed\n")
        }
        "detached" => {
            origin.git(&["checkout", "--quiet", "--detach"]);
            Ok(())
        }
        "ignored_present" => write("ignored.log", "x"),
        "venv_dir" => write(".llmch_venv/pyvenv.cfg", "home = /usr/bin\n"),
        "failing_hook" => {
            write(".git/hooks/pre-commit", "#!/bin/sh\nexit 1\n")?;
            let path = origin.dir.join(".git/hooks/pre-commit");
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(|error| error.to_string())
        }
        _ => match word.strip_prefix("branch:") {
            Some(name) => {
                origin.git(&["branch", name]);
                Ok(())
            }
            None => Err(format!("nobody knows how to set up `{word}`")),
        },
    }
}

/// A program that plays the model: it gives the answers of a case in turn, and the last one again and again.
pub(super) struct Model {
    pub(super) provider: String,
    directory: PathBuf,
}

impl Model {
    const SCRIPT: &str = r#"cat >/dev/null
echo >>"$0/calls"
answer=$0/$(wc --lines <"$0/calls")
[ -e "$answer" ] || answer=$0/last
case $(head --bytes=11 "$answer") in
@@RAISE) exit 75 ;;
@@INTERRUPT) kill -s INT $PPID && exec sleep 60 ;;
*) exec cat "$answer" ;;
esac
"#;

    pub(super) fn new(case: &Case, place: &Path) -> Result<Self, String> {
        let directory = place.join("model");
        let write = |name: &str, text: &str| fs::write(directory.join(name), text).map_err(|error| error.to_string());
        fs::create_dir(&directory).map_err(|error| error.to_string())?;
        let responses = case.field("responses")?.as_array().ok_or("`responses` is not a list")?;
        for (index, response) in responses.iter().enumerate() {
            let text = response.as_str().map_or_else(|| response.to_string(), str::to_owned);
            write(&(index + 1).to_string(), &text)?;
            write("last", &text)?;
        }
        let script = Self::SCRIPT.replace('\'', r"'\''");
        Ok(Model {
            provider: format!("command:sh -c '{script}' '{}'", directory.display()),
            directory,
        })
    }

    /// How often it was asked.
    pub(super) fn calls(&self) -> usize {
        let calls = fs::read_to_string(self.directory.join("calls")).unwrap_or_default();
        calls.lines().count()
    }
}

/// The command line of a case in our options.
fn options(case: &Case, repository: &Path) -> Result<Vec<String>, String> {
    let mut options = Vec::new();
    let mut words = case.texts("flags")?.into_iter();
    while let Some(word) = words.next() {
        let (name, attached) = word
            .split_once('=')
            .map_or((word, None), |(name, value)| (name, Some(value)));
        let ours = OPTIONS.iter().find(|(theirs, _)| *theirs == name);
        let (_, ours) = ours.ok_or_else(|| format!("the option `{name}` stands in no table"))?;
        let takes_value = !["--create-branch", "--reuse-branch", "--allow-verify-exempt"].contains(ours);
        if !takes_value {
            options.push((*ours).to_owned());
            continue;
        }
        let value = attached
            .or_else(|| words.next())
            .ok_or_else(|| format!("`{name}` has no value"))?;
        let value = value.replace("{REPO}", &repository.display().to_string());
        match *ours {
            "--timeout" => options.push(format!("--timeout={value}s")),
            // A failed call spent an attempt there; here it has a bound of its own.
            "--max-attempts" => {
                options.extend([format!("--max-attempts={value}"), format!("--provider-tries={value}")])
            }
            _ => options.push(format!("{ours}={value}")),
        }
    }
    Ok(options)
}

/// Where each attempt failed. A run that ended before the model was asked has no attempt here, and one there.
fn stages(summary: &Value) -> Value {
    let attempts = summary["attempts"].as_array().map(Vec::as_slice).unwrap_or_default();
    match (attempts, summary["stage"].as_str()) {
        ([], Some("preflight")) => json!(["preflight"]),
        _ => attempts.iter().map(|attempt| attempt["stage"].clone()).collect(),
    }
}

/// The files of a run under the names of the cases; one that no table knows stands under its own.
fn artifacts(directory: &Path) -> Value {
    let files = files_of(directory);
    let is_more = |path: &str| {
        MORE_ARTIFACTS.iter().any(|(more, beside)| {
            let parent = path.strip_suffix(more);
            parent.is_some_and(|parent| beside.is_none_or(|beside| files.contains_key(&format!("{parent}{beside}"))))
        })
    };
    let mut names: Vec<_> = files
        .keys()
        .filter(|path| !is_more(path))
        .map(|path| their_name(path))
        .collect();
    names.sort();
    json!(names)
}

/// What the cases call a file: `attempt-1/verify-0.stdout` is `attempt_1/verify_0_stdout.txt`.
fn their_name(path: &str) -> String {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let known = ARTIFACTS.iter().find(|(ours, _)| *ours == name);
    let name = match known {
        Some((_, theirs)) => (*theirs).to_owned(),
        None if name.ends_with(".stdout") || name.ends_with(".stderr") => {
            format!("{}.txt", name.replace(['-', '.'], "_"))
        }
        None => name.to_owned(),
    };
    match directory {
        "" => name,
        directory => format!("{}/{name}", directory.replace('-', "_")),
    }
}

/// The keys of the cases whose counterpart is there.
fn summary_keys(directory: &Path) -> Result<Value, String> {
    let mut keys = Vec::new();
    for (theirs, ours) in SUMMARY_KEYS {
        let (file, pointer) = ours.split_once('#').ok_or("a place is a file and a pointer")?;
        let bytes = fs::read(directory.join(file)).map_err(|error| format!("{file}: {error}"))?;
        let document: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if document.pointer(pointer).is_some() {
            keys.push(*theirs);
        }
    }
    Ok(json!(keys))
}
