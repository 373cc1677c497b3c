//! `factory profile` and `factory exec --dry-run`, through the program itself, and the examples of `docs/profiles.md`.

use crate::support::{has, is_root, program, project};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// An operator's home directory, with a repository of one commit and a directory of profiles.
struct Home {
    directory: TempDir,
}

/// How the program ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Home {
    fn new() -> Self {
        let home = Home {
            directory: tempfile::Builder::new()
                .prefix("factory-test-")
                .tempdir_in("/var/tmp")
                .unwrap(),
        };
        for name in [".config/factory/profiles", "repository"] {
            fs::create_dir_all(home.path(name)).unwrap();
        }
        fs::write(home.path("repository/file"), "content").unwrap();
        let git = |arguments: &[&str]| {
            let done = Command::new("git")
                .args(["-c", "user.name=operator", "-c", "user.email=operator@localhost"])
                .args(arguments)
                .current_dir(home.path("repository"))
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .output()
                .unwrap();
            assert!(done.status.success(), "{done:?}");
        };
        git(&["init", "--quiet"]);
        git(&["add", "--all"]);
        git(&["commit", "--quiet", "--message=base"]);
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn profile(&self, name: &str, text: &str) {
        fs::write(self.path(&format!(".config/factory/profiles/{name}.toml")), text).unwrap();
    }

    /// A profile that extends `parent` and says one thing more.
    fn child(&self, name: &str, parent: &str, rest: &str) {
        self.profile(
            name,
            &format!("schema = 1\nname = \"{name}\"\nextends = [\"{parent}\"]\n{rest}\n"),
        );
    }

    fn call(&self, arguments: &[&str]) -> Ended {
        let output = Command::new(program())
            .args(arguments)
            .current_dir(self.path("repository"))
            .env_clear()
            .env("HOME", self.directory.path())
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    #[track_caller]
    fn document(&self, arguments: &[&str]) -> Value {
        let ended = self.call(arguments);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.json()
    }
}

#[test]
fn profiles_are_listed_with_what_they_narrow_and_what_is_wrong_with_them() {
    let home = Home::new();
    home.child("mine", "verify", "[limits]\npids = 9");
    home.child("broken", "verify", "[limits]\npids = 9999");
    let listed = home.document(&["profile", "list", "--json"]);
    let names: Vec<_> = listed["profiles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["broken", "build", "legacy-kernel", "mine", "review", "strict", "verify"]
    );
    let problem = listed["profiles"][0]["problem"]["message"].as_str().unwrap();
    assert!(
        problem.contains("line 5") && problem.contains("`limits.pids` = 9999 is wider"),
        "{problem}"
    );
    assert_eq!(listed["profiles"][3]["extends"], serde_json::json!(["verify"]));
    let page = home.call(&["profile", "list"]).stdout;
    assert!(
        page.contains("narrows verify") && page.contains("broken         invalid: "),
        "{page}"
    );
}

#[test]
fn every_value_is_shown_with_the_profile_and_line_that_says_so() {
    let home = Home::new();
    home.child("mine", "verify", "[limits]\npids = 9\nsilence = \"7s\"");
    let page = home.call(&["profile", "show", "mine"]).stdout;
    let line = |key: &str| page.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(
        line("limits.pids").ends_with("9                        (line 5)"),
        "{page}"
    );
    assert!(
        line("limits.silence").contains("7s") && line("limits.wall").contains("(verify line "),
        "{page}"
    );
    let shown = home.document(&["profile", "show", "--resolved", "--json", "mine"]);
    let policy = &shown["resolved"]["policy"];
    assert_eq!(
        (policy["limits"]["pids"].as_u64(), &policy["limits"]["silence"]["secs"]),
        (Some(9), &7.into())
    );
    let granted = shown["resolved"]["granted"].as_array().unwrap();
    for one in granted.iter().filter(|one| one["present"] == true) {
        assert!(
            Path::new(one["path"].as_str().unwrap()).symlink_metadata().is_ok(),
            "{one}"
        );
    }
    assert!(
        granted
            .iter()
            .any(|one| one["entry"] == "@system" && one["path"] == "/usr"),
        "{granted:?}"
    );
}

#[test]
fn what_is_printed_about_the_built_in_profiles() {
    let home = Home::new();
    insta::assert_snapshot!("profile_list", home.call(&["profile", "list"]).stdout);
    insta::assert_snapshot!("profile_show", home.call(&["profile", "show", "strict"]).stdout);
    insta::assert_snapshot!(
        "profile_diff",
        home.call(&["profile", "diff", "verify", "review"]).stdout
    );
    insta::assert_snapshot!("profile_help", home.call(&["profile", "--help"]).stdout);
    for subcommand in ["list", "show", "diff", "lint", "test"] {
        let help = home.call(&["profile", subcommand, "--help"]);
        assert!(help.code == Some(0) && help.stdout.contains("--json"), "{help:?}");
    }
}

#[test]
fn what_is_passed_is_named_and_not_shown() {
    let home = Home::new();
    home.child(
        "mine",
        "build",
        "[env]\npass = [{ name = \"PATH\", why = \"x\" }, \"HOME\"]",
    );
    let inside = home.call(&["exec", "--profile", "mine", "--", "sh", "-c", "echo $HOME"]);
    assert_eq!(
        inside.stdout.trim_end(),
        home.directory.path().to_str().unwrap(),
        "control"
    );
    let shown = home.document(&["profile", "show", "--resolved", "--json", "mine"]);
    assert_eq!(shown["resolved"]["policy"]["env"]["HOME"], "(passed)");
    let page = home.call(&["profile", "show", "--resolved", "mine"]).stdout;
    assert!(
        page.contains("HOME=(passed)") && page.contains("env.pass             PATH"),
        "{page}"
    );
}

#[test]
fn a_floor_that_the_host_does_not_reach_says_where_it_is_demanded() {
    let home = Home::new();
    home.child("mine", "verify", "[require]\nlandlock_abi = 1000");
    for dry in [&[][..], &["--dry-run"]] {
        let refused = home.call(&[&["exec", "--profile", "mine"], dry, &["--", "true"]].concat());
        assert_eq!(refused.code, Some(21), "{refused:?}");
        assert!(refused.stderr.contains("Landlock ABI 1000") && refused.stderr.contains("factory profile show mine"));
    }
    let line = home.call(&["profile", "show", "mine"]).stdout;
    assert!(
        line.contains("require.landlock_abi 1000                     (line 5)"),
        "{line}"
    );
}

#[test]
fn a_difference_is_told_as_widened_and_narrowed() {
    let home = Home::new();
    home.child("mine", "verify", "[limits]\npids = 9\n[require]\nlandlock_abi = 6");
    let there = home.document(&["profile", "diff", "--json", "verify", "mine"]);
    assert_eq!(there["widened"], serde_json::json!([]));
    let narrowed: Vec<_> = there["narrowed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["key"].as_str().unwrap())
        .collect();
    assert_eq!(narrowed, ["limits.pids", "require.landlock_abi"]);
    let back = home.call(&["profile", "diff", "mine", "verify"]);
    assert_eq!(
        back.stdout,
        "+ widened   limits.pids          9 → 512\n+ widened   require.landlock_abi 6 → 3\n"
    );
    assert_eq!(
        home.call(&["profile", "diff", "verify", "verify"]).stdout,
        "no difference\n"
    );
}

#[test]
fn a_linter_finding_has_its_line_and_makes_the_exit_code() {
    let home = Home::new();
    let shared = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let path = shared.path().display();
    home.child("mine", "build", &format!("[fs]\nread = [\"@system\",\n  \"{path}\"]"));
    let linted = home.call(&["profile", "lint", "mine"]);
    assert_eq!(linted.code, Some(78), "{linted:?}");
    assert!(
        linted.stdout.contains(&format!(
            "mine:6: `fs.read` grants `{path}` without saying why [no-reason]"
        )),
        "{linted:?}"
    );
    assert!(
        linted.stdout.contains("[writable-by-others]") && linted.stderr.contains("2 findings"),
        "{linted:?}"
    );
    let findings = home.call(&["profile", "lint", "--json", "mine"]);
    let document = findings.json();
    assert_eq!(
        (findings.code, &document["findings"], &document["problem"]["exit_code"]),
        (Some(78), &2.into(), &78.into())
    );
    home.child("wrong", "build", "[fs]\nread = [\"/\"]");
    let wrong = home.call(&["profile", "lint", "wrong"]);
    assert!(
        wrong.code == Some(78) && wrong.stderr.contains("line 5: `/` is never shown"),
        "{wrong:?}"
    );
    let clean = home.call(&["profile", "lint", "strict"]);
    assert_eq!(
        (clean.code, clean.stdout.as_str()),
        (Some(0), "strict: nothing to ask about\n")
    );
}

#[test]
fn what_the_shipped_profiles_expect_holds_in_the_real_sandbox() {
    let home = Home::new();
    // A canary: that it is not there inside is then the sandbox's doing.
    fs::create_dir(home.path(".ssh")).unwrap();
    fs::write(home.path(".ssh/id_ed25519"), "canary").unwrap();
    for name in ["strict", "verify", "build", "review"] {
        let tested = home.document(&["profile", "test", "--json", name]);
        assert_eq!(tested["failed"], 0, "{name}: {tested}");
        let results = tested["results"].as_array().unwrap();
        assert!(results.len() > 10, "{name}");
        for one in results.iter().filter(|one| one["wanted"] == "deny") {
            assert!(
                one["answer"]["layer"].is_string() && one["answer"]["errno"].is_string(),
                "{name}: {one}"
            );
        }
        let keys = results
            .iter()
            .find(|one| one["act"]["path"].as_str().is_some_and(|path| path.ends_with("/.ssh")))
            .unwrap();
        assert_eq!(
            (&keys["answer"]["errno"], &keys["answer"]["doubt"]),
            (&"ENOENT".into(), &Value::Null),
            "{keys}"
        );
    }
    let left: Vec<_> = fs::read_dir(home.path(".cache/factory"))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert!(left.iter().all(|name| name == "trees"), "{left:?}");
}

#[test]
fn an_expectation_that_does_not_hold_fails_and_names_its_line() {
    let home = Home::new();
    let wrong = "[[expect]]\nallow = { op = \"connect\", to = \"127.0.0.1:1\" }\n[[expect]]\ndeny = { op = \"read\", path = \"/usr\" }";
    home.child("mine", "strict", wrong);
    let tested = home.call(&["profile", "test", "mine"]);
    assert_eq!(tested.code, Some(78), "{tested:?}");
    let failed: Vec<_> = tested.stdout.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert_eq!(failed.len(), 2, "{tested:?}");
    assert!(
        failed[0].contains("EACCES by Landlock") && failed[0].contains("(line 4)"),
        "{failed:?}"
    );
    assert!(
        failed[1].contains("done") && failed[1].contains("(line 6)"),
        "{failed:?}"
    );
    assert!(tested.stderr.contains("2 of "), "{tested:?}");
}

#[test]
fn each_layer_answers_for_itself() {
    let home = Home::new();
    let acts = [
        ("{ op = \"read\", path = \"/root\" }", "view: it is not there"),
        ("{ op = \"write\", path = \"/usr/new\" }", "mounts: read-only"),
        ("{ op = \"read\", path = \"/\" }", "Landlock"),
        ("{ op = \"exec\", path = \"/etc/passwd\" }", "modes of the file"),
        ("{ op = \"listen\", on = \"127.0.0.1:0\" }", "Landlock"),
        ("{ op = \"namespace\" }", "seccomp"),
        ("{ op = \"memfd\" }", "seccomp"),
        (
            "{ op = \"connect\", to = \"@nobody\" }",
            "network namespace: no interface is up",
        ),
    ];
    let lines: String = acts
        .iter()
        .map(|(act, _)| format!("[[expect]]\ndeny = {act}\n"))
        .collect();
    home.child("mine", "strict", &lines);
    let tested = home.document(&["profile", "test", "--json", "mine"]);
    let results = tested["results"].as_array().unwrap();
    let own = results.iter().filter(|one| one["origin"]["profile"] == "mine");
    let layers: Vec<_> = own.map(|one| one["answer"]["layer"].as_str().unwrap()).collect();
    assert_eq!(layers, acts.map(|(_, layer)| layer));
}

#[test]
fn a_dry_run_names_the_mounts_that_a_real_run_has_and_runs_nothing() {
    let home = Home::new();
    for name in [".cargo/registry", "go/pkg/mod"] {
        fs::create_dir_all(home.path(name)).unwrap();
    }
    let plan = home.document(&["exec", "--dry-run", "--json", "--", "sh", "-c", "touch here"])["plan"].clone();
    let mut planned: Vec<(&str, bool)> = plan["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (
                one["at"].as_str().unwrap(),
                one["options"].as_str().unwrap().contains("read-only"),
            )
        })
        .collect();
    // The fifth field is where it is mounted, the sixth its options. Source: proc_pid_mountinfo(5).
    let seen = home.call(&["exec", "--", "cat", "/proc/self/mountinfo"]).stdout;
    let mut real: Vec<(&str, bool)> = seen
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .map(|fields| (fields[4], fields[5].split(',').any(|option| option == "ro")))
        .collect();
    assert!(seen.lines().all(|line| line.contains("nosuid")), "{seen}");
    planned.sort_unstable();
    real.sort_unstable();
    assert_eq!(planned, real);
    let cache = home.path(".cargo/registry").display().to_string();
    assert_eq!(planned.iter().filter(|(at, _)| *at == cache).count(), 2, "{planned:?}");
    let environment = home.call(&["exec", "--", "env"]).stdout;
    let names: BTreeSet<&str> = environment
        .lines()
        .map(|line| line.split('=').next().unwrap())
        .collect();
    let planned: BTreeSet<&str> = plan["environment"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    assert_eq!(planned, names);
    assert_eq!(plan["program"], "/usr/bin/sh");
    assert!(plan["seccomp"]["allowed"].as_u64().unwrap() > 200);
    assert!(!home.path("repository/here").exists());
    let page = home.call(&["exec", "--dry-run", "--", "sh"]);
    for word in [
        "mount      /usr",
        "landlock   /src",
        "seccomp    socket: ",
        "limit      memory",
        "variables  ",
    ] {
        assert!(page.stdout.contains(word), "{word}: {page:?}");
    }
}

#[test]
fn a_bad_profile_is_refused_before_anything_runs() {
    let home = Home::new();
    let own = home.path(".cache/factory").display().to_string();
    for (rest, reason, remedy) in [
        (
            "[limits]\nmemroy = \"1GiB\"".to_owned(),
            "line 5",
            "did you mean `memory`?",
        ),
        (
            "[limits]\nwall = \"99h\"\n[fs]\nread = [\"/\"]".to_owned(),
            "line 7",
            "grant the one directory",
        ),
        ("[fs]\nread = [\"~/.ssh\"]".to_owned(), "line 5", "whole path"),
        (
            format!("[fs]\nread = [\"@system\", \"{own}\"]"),
            "where this program keeps its state",
            "nothing to do",
        ),
        (
            format!("[fs]\nread = [\"{}\"]", home.path("").parent().unwrap().display()),
            "home directory",
            "below it",
        ),
        (
            format!("[fs]\nread = [\"{}\"]", home.directory.path().display()),
            "home directory",
            "below it",
        ),
        ("[fs]\nread = [\"/bin\"]".to_owned(), "symbolic link", "/usr/bin"),
    ] {
        home.child("mine", "build", &rest);
        for arguments in [
            &["exec", "--profile", "mine", "--", "true"][..],
            &["exec", "--dry-run", "--profile", "mine", "--", "true"],
        ] {
            let refused = home.call(arguments);
            assert_eq!(refused.code, Some(78), "{rest}: {refused:?}");
            assert!(
                refused.stderr.contains(reason) && refused.stderr.contains(remedy),
                "{rest}: {refused:?}"
            );
        }
    }
}

#[test]
fn the_legacy_profile_is_asked_for_by_name_and_no_other_extends_it() {
    let home = Home::new();
    home.child("mine", "legacy-kernel", "");
    assert_eq!(home.call(&["exec", "--profile", "mine", "--", "true"]).code, Some(78));
}

/// The fenced blocks of a language in a document.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    document
        .split(&opening)
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_profile_in_the_documentation_is_read_and_every_key_is_explained() {
    let document = fs::read_to_string(project().join("docs/profiles.md")).unwrap();
    let home = Home::new();
    fs::create_dir_all(home.path("tools")).unwrap();
    let tools = home.path("tools").display().to_string();
    let mut names = BTreeSet::new();
    for text in blocks(&document, "toml") {
        let name = text
            .lines()
            .find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
            .unwrap()
            .to_owned();
        // The one path that only the reader has.
        home.profile(&name, &text.replace("/opt/venv", &tools));
        let shown = home.call(&["profile", "show", "--resolved", &name]);
        assert_eq!(shown.code, Some(0), "{name}: {shown:?}");
        names.insert(name);
    }
    assert!(names.len() >= 3, "{names:?}");
    let values = home.document(&["profile", "show", "--json", "verify"])["values"].clone();
    let shown = values
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value["key"].as_str().unwrap().to_owned());
    let others = [
        "schema",
        "name",
        "summary",
        "extends",
        "open",
        "require.limits",
        "tree.protect",
        "env.pass",
        "why",
        "expect",
        "fs.snapshot",
    ];
    for key in shown.chain(others.map(str::to_owned)) {
        let last = key.rsplit('.').next().unwrap();
        assert!(
            document.contains(&format!("`{last}`")),
            "docs/profiles.md does not explain `{last}` of `{key}`"
        );
    }
    for name in ["strict", "verify", "build", "review", "legacy-kernel"] {
        assert!(
            document.contains(&format!("| `{name}` |")),
            "docs/profiles.md does not list `{name}`"
        );
    }
}

#[test]
fn a_grant_with_a_mount_below_it_is_shown_whole_and_no_socket_by_name_can_be_made() {
    // Mounting takes root, in a mount namespace of its own.
    if !has("root", is_root()) {
        return;
    }
    let home = Home::new();
    let granted = home.path("granted");
    fs::create_dir_all(granted.join("below")).unwrap();
    fs::write(granted.join("below/hidden"), "").unwrap();
    let strict = include_str!("../../sandbox-profiles/strict.toml");
    let read = strict.lines().find(|line| line.starts_with("read = ")).unwrap();
    let wide = format!("read = [\"@system\", {:?}]", granted.display().to_string());
    let parent = "extends = [\"verify\"]\n";
    home.profile(
        "wide",
        &strict
            .replace(read, &wide)
            .replace("name = \"strict\"", "name = \"wide\"")
            .replace(parent, ""),
    );
    let try_both = "use Socket; \
        print socket(my $one, AF_UNIX, SOCK_STREAM, 0) ? qq(one ) : qq(no one ); \
        print socketpair(my $near, my $far, AF_UNIX, SOCK_STREAM, 0) ? qq(pair ) : qq(no pair ); \
        print join q( ), map { s{.*/}{}r } glob(qq($ARGV[0]/*))";
    let seen = |script: &str| {
        let below = granted.join("below");
        let output = Command::new("unshare")
            .args([
                "--mount",
                "sh",
                "-ec",
                script,
                program().to_str().unwrap(),
                below.to_str().unwrap(),
            ])
            .args([
                "exec",
                "--profile",
                "wide",
                "--",
                "perl",
                "-e",
                try_both,
                below.to_str().unwrap(),
            ])
            .current_dir(home.path("repository"))
            .env_clear()
            .env("HOME", home.directory.path())
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(seen("shift; exec \"$0\" \"$@\""), "one pair hidden", "control");
    let mount = "mount -t tmpfs none \"$1\"; touch \"$1/shown\"; shift; exec \"$0\" \"$@\"";
    assert_eq!(seen(mount), "no one pair shown");
}
