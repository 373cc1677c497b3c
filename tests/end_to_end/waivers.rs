//! Waivers through the program itself: what is refused without one, and where one is written down.

use crate::support::{Ground, policy, program};
use factory::sandbox::{Enforcer, Layer, LimitKind, Policy, limit_keepers};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A repository with one commit, a profile that no kernel reaches, an order and a model that fulfils it.
struct Project {
    directory: tempfile::TempDir,
}

impl Project {
    fn new() -> Self {
        let project = Project {
            directory: tempfile::tempdir().unwrap(),
        };
        let repository = project.path("repository");
        fs::create_dir_all(repository.join("scripts")).unwrap();
        fs::write(repository.join("scripts/verify.sh"), "true\n").unwrap();
        git(&repository, &["init", "--quiet", "--initial-branch=work", "."]);
        git(&repository, &["add", "."]);
        git(&repository, &["commit", "--quiet", "--message=base"]);
        let order = json!({
            "id": "WO-01", "title": "t", "intent": "i", "allowed_files": ["a.txt"], "forbidden": [],
            "acceptance_commands": ["test -f a.txt"], "context_files": [],
        });
        fs::write(project.path("order.json"), order.to_string()).unwrap();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let proposal = json!({
            "summary": "s",
            "writes": [{"path": "a.txt", "base_sha256": empty, "content": "a\n"}],
        });
        fs::write(project.path("answer.json"), proposal.to_string()).unwrap();
        let profiles = project.path("config/factory/profiles");
        fs::create_dir_all(&profiles).unwrap();
        let strict = include_str!("../../sandbox-profiles/strict.toml");
        let future = strict
            .replace("name = \"strict\"", "name = \"future\"")
            .replace("landlock_abi = 3 ", "landlock_abi = 99 ");
        assert!(future.contains("landlock_abi = 99"));
        fs::write(profiles.join("future.toml"), future).unwrap();
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn factory(&self, words: &[&str]) -> Output {
        Command::new(program())
            .args(words)
            .current_dir(self.path("repository"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .output()
            .unwrap()
    }

    fn run(&self, words: &[&str]) -> Output {
        let provider = format!("command:cat {}", self.path("answer.json").display());
        let order = self.path("order.json").display().to_string();
        let all: Vec<&str> = [&["run", "--provider", &provider, &order], words].concat();
        self.factory(&all)
    }

    /// Has the order and the model be about another file.
    fn about(&self, path: &str) {
        for name in ["order.json", "answer.json"] {
            let text = fs::read_to_string(self.path(name)).unwrap();
            fs::write(self.path(name), text.replace("a.txt", path)).unwrap();
        }
    }
}

fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@localhost"])
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_command_below_the_floor_is_refused_and_runs_with_the_waiver() {
    let project = Project::new();
    let refused = project.factory(&["exec", "--profile", "future", "--", "true"]);
    assert_eq!(refused.status.code(), Some(21), "{}", text(&refused.stderr));
    let message = text(&refused.stderr);
    assert!(
        message.contains("Landlock ABI 99") && message.contains("--waive"),
        "{message}"
    );
    // The waiver of another layer changes nothing.
    let other = ["exec", "--profile", "future", "--waive", "limits.memory", "--", "true"];
    assert_eq!(project.factory(&other).status.code(), Some(21));
    let waived = project.factory(&["exec", "--profile", "future", "--waive", "landlock", "--", "true"]);
    assert_eq!(waived.status.code(), Some(0), "{}", text(&waived.stderr));
    assert!(text(&waived.stderr).contains("waived"), "{}", text(&waived.stderr));
}

#[test]
fn what_the_host_has_of_a_waived_layer_is_still_enforced() {
    let project = Project::new();
    let with = ["exec", "--json", "--waive", "landlock", "--", "true"];
    let without = ["exec", "--json", "--", "true"];
    let [with, without] = [&with[..], &without[..]].map(|words| {
        let document: Value = serde_json::from_slice(&project.factory(words).stdout).unwrap();
        document
    });
    assert_eq!(with["waived"], json!(["landlock"]));
    assert_eq!(without["waived"], json!([]));
    assert_eq!(with["enforced"]["landlock_abi"], without["enforced"]["landlock_abi"]);
    let noted = |profile: &str| {
        let words = ["exec", "--profile", profile, "--waive", "landlock", "--", "true"];
        text(&project.factory(&words).stderr).contains("not needed")
    };
    assert_eq!((noted("strict"), noted("future")), (true, false));
}

#[test]
fn a_waiver_is_in_the_events_the_journal_the_record_and_the_commit() {
    let project = Project::new();
    let refused = project.run(&["--profile", "future"]);
    assert_eq!(refused.status.code(), Some(21), "{}", text(&refused.stderr));
    let branches = ["for-each-ref", "--format=%(refname)", "refs/heads/factory"];
    assert_eq!(git(&project.path("repository"), &branches), "");

    let passed = project.run(&["--profile", "future", "--waive", "landlock", "--json"]);
    assert_eq!(passed.status.code(), Some(0), "{}", text(&passed.stdout));
    let events: Vec<Value> = text(&passed.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events[0]["waived"], json!(["landlock"]));

    let message = git(
        &project.path("repository"),
        &["log", "-1", "--format=%(trailers:key=Factory-Waived)", "factory/WO-01"],
    );
    assert_eq!(message.trim(), "Factory-Waived: landlock");

    // `show` reads the journal, and `run.json` is the record.
    let run = events[0]["run"].as_str().unwrap();
    let shown: Value = serde_json::from_slice(&project.factory(&["show", run, "--json"]).stdout).unwrap();
    assert_eq!(shown["run"]["waived"], json!(["landlock"]));
    let page = text(&project.factory(&["show", run]).stdout);
    assert!(page.contains("landlock"), "{page}");
    let artifacts = PathBuf::from(events[0]["artifacts"].as_str().unwrap());
    let record: Value = serde_json::from_slice(&fs::read(artifacts.join("run.json")).unwrap()).unwrap();
    assert_eq!(record["policy"]["waive"], json!(["landlock"]));
}

#[test]
fn a_commit_that_was_verified_without_namespaces_says_so() {
    let project = Project::new();
    let passed = project.run(&["--profile", "legacy-kernel"]);
    assert_eq!(passed.status.code(), Some(0), "{}", text(&passed.stderr));
    assert!(text(&passed.stderr).contains("without namespaces"));
    let message = git(
        &project.path("repository"),
        &["log", "-1", "--format=%(trailers:key=Factory-Waived)", "factory/WO-01"],
    );
    assert_eq!(message.trim(), "Factory-Waived: userns");
}

#[test]
fn a_limit_that_no_group_keeps_is_refused_and_runs_with_the_waiver() {
    let ground = Ground::new();
    let mut policy = policy();
    policy.require.limits = [LimitKind::Memory].into();
    let by_group = !matches!(limit_keepers().memory, Enforcer::Sampler);
    let run = |policy: &Policy| ground.try_run(policy, &factory::sandbox::Command::new(["true"]));
    match run(&policy) {
        Ok(_) => assert!(by_group),
        Err(error) => assert!(!by_group && error.is_missing_layer(), "{error:?}"),
    }
    policy.waive = [Layer::LimitPids].into();
    assert_eq!(run(&policy).is_ok(), by_group, "the waiver of another limit");
    policy.waive = [Layer::LimitMemory].into();
    assert!(run(&policy).unwrap().outcome.is_success());
    assert_eq!(policy.needless_waivers().is_empty(), !by_group);
}

#[test]
fn a_run_without_a_waiver_has_no_trailer() {
    let project = Project::new();
    let passed = project.run(&["--profile", "strict"]);
    assert_eq!(passed.status.code(), Some(0), "{}", text(&passed.stderr));
    let message = git(
        &project.path("repository"),
        &["log", "-1", "--format=%B", "factory/WO-01"],
    );
    assert!(
        message.contains("Factory-Run") && !message.contains("Waived"),
        "{message}"
    );
}

#[test]
fn a_waiver_that_makes_no_sense_is_a_usage_error() {
    let project = Project::new();
    for (words, says) in [
        (&["--waive", "userns"][..], "cannot be waived"),
        (&["--waive", "seccomp"], "cannot be waived"),
        (&["--waive", "everything"], "landlock, limits.memory"),
        (&["--isolated", "--waive", "landlock"], "cannot be used with"),
    ] {
        let output = project.run(words);
        assert_eq!(output.status.code(), Some(64), "{words:?}: {}", text(&output.stderr));
        assert!(
            text(&output.stderr).contains(says),
            "{words:?}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn a_file_that_is_run_without_being_called_is_changed_on_the_operators_word_only() {
    let project = Project::new();
    project.about(".github/workflows/ci.yml");
    let refused = project.run(&[]);
    let message = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(10), "{message}");
    assert!(
        message.contains("--allow-protected .github/workflows/ci.yml"),
        "{message}"
    );
    let of_another = project.run(&["--allow-protected", ".gitmodules"]);
    assert_eq!(of_another.status.code(), Some(10), "{}", text(&of_another.stderr));
    assert!(git(&project.path("repository"), &["branch", "--list", "factory/*"]).is_empty());

    let allowed = project.run(&["--allow-protected", ".github/workflows/ci.yml", "--json"]);
    assert_eq!(allowed.status.code(), Some(0), "{}", text(&allowed.stderr));
    let run = fs::read_dir(project.path("state/factory/runs")).unwrap();
    let recorded = run.filter_map(|run| fs::read_to_string(run.unwrap().path().join("run.json")).ok());
    let recorded: Vec<_> = recorded.filter(|text| text.contains("allowed_protected")).collect();
    assert!(
        recorded.iter().any(|text| text.contains(".github/workflows/ci.yml")),
        "{recorded:?}"
    );
}
