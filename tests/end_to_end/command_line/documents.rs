//! What README.md and docs/ tell people to type works as told.

use super::{Ended, Place};
use crate::support::place::answer;
use crate::support::program;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

const README: &str = include_str!("../../../README.md");
const PROFILES: &str = include_str!("../../../docs/profiles.md");

/// The blocks of code in `document` that are marked with `language`.
fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let blocks = document.split(&*fence).skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The lines that somebody is told to type in a section of the README.
fn typed(section: &str) -> Vec<&'static str> {
    let (_, rest) = README.split_once(&format!("\n## {section}\n")).unwrap();
    let section = rest.split("\n## ").next().unwrap();
    let lines = blocks(section, "console").into_iter().flat_map(str::lines);
    lines
        .map(|line| line.strip_prefix("$ ").expect("a line to type"))
        .collect()
}

/// A place whose `PATH` begins with `factory` and a model that knows the README's order, which is in the repository.
fn newcomer() -> Place {
    let place = Place::new();
    let model = place.write(
        "bin/my-model",
        "#!/bin/sh\ncat > \"$HOME/prompt\"\ncat \"$HOME/answer\"\n",
    );
    fs::set_permissions(model, fs::Permissions::from_mode(0o755)).unwrap();
    symlink(program(), place.path("bin/factory")).unwrap();
    let greet = "def greet(name):\n    return f'Hello, {name}!'\n";
    place.write("home/answer", answer("greet.py", greet));
    place.git(&["rm", "--quiet", "-r", "scripts"]);
    place.write(
        "repository/test_nothing.py",
        "import unittest\nclass T(unittest.TestCase):\n    def test(self): pass\n",
    );
    place.write("repository/untrusted.py", "print('hello')\n");
    place.git(&["add", "--all"]);
    place.git(&["commit", "--quiet", "--message=first"]);
    place.write("repository/WO-01.json", blocks(README, "json")[0]);
    place
}

/// Types a line into a shell in the repository.
fn types(place: &Place, line: &str) -> Ended {
    let mut path = std::env::var_os("PATH").unwrap();
    path = std::env::join_paths([place.path("bin")].into_iter().chain(std::env::split_paths(&path))).unwrap();
    let mut shell = place.command("sh");
    shell
        .args(["-c", line])
        .current_dir(place.path("repository"))
        .env("PATH", path);
    for name in [
        "GIT_AUTHOR_NAME",
        "GIT_AUTHOR_EMAIL",
        "GIT_COMMITTER_NAME",
        "GIT_COMMITTER_EMAIL",
    ] {
        shell.env(name, "newcomer@localhost");
    }
    Ended::of(shell.output().unwrap())
}

#[test]
fn the_readme_leads_from_an_order_to_a_branch() {
    let place = newcomer();
    let (install, lines) = typed("On your own repository")
        .split_first()
        .map(|(a, b)| (*a, b.to_vec()))
        .unwrap();
    assert_eq!(install, "cargo install --locked --path .");
    let ended: Vec<_> = lines.iter().map(|line| types(&place, line).succeeded()).collect();
    let log = ended.last().unwrap().text();
    assert!(log.contains("+def greet(name):"), "{log}");
    let prompt = fs::read_to_string(place.path("home/prompt")).unwrap();
    assert!(prompt.contains("Add greet.py with greet(name)"), "{prompt}");
    let id = types(&place, "factory status").succeeded().text()[..26].to_owned();
    let shown = types(&place, &format!("factory show {}", &id[..24])).succeeded().text();
    assert!(shown.starts_with("PASS_UNPROVEN  WO-01  Greet by name"), "{shown}");
    place.leaves_nothing();
}

#[test]
fn every_example_of_one_command_in_the_sandbox_does_what_is_said() {
    let place = newcomer();
    place.write("repository/scripts/verify.sh", "python3 -m compileall -q .\n");
    place.git(&["add", "scripts"]);
    place.git(&["commit", "--quiet", "--message=second"]);
    let mut lines = typed("One command in the sandbox");
    let last = lines.pop().unwrap();
    assert!(!lines.is_empty());
    for line in lines {
        types(&place, line).succeeded();
    }
    let ended = types(&place, last);
    assert_eq!(ended.text(), ".\n..\n", "an empty home");
    assert_eq!(ended.stderr.lines().count(), 2, "two refusals: {ended:#?}");
    assert_eq!(ended.code, Some(1));
}

#[test]
fn every_profile_of_the_documents_can_be_used() {
    let place = Place::new();
    let profiles = blocks(PROFILES, "toml");
    let profiles: Vec<_> = profiles
        .into_iter()
        .filter(|text| text.starts_with("schema = "))
        .collect();
    assert!(!profiles.is_empty());
    for text in profiles {
        let (_, name) = text.split_once("\nname = \"").unwrap();
        let name = name.split('"').next().unwrap();
        place.write(
            &format!("home/.config/factory/profiles/{name}.toml"),
            // A directory that is there, in place of one of the reader's, and no control groups, which an ordinary user
            // may not have been given.
            text.replace("/opt/venv", "/usr/share")
                .replace("limits = [\"memory\", \"pids\"]", "limits = []"),
        );
        let ended = place.exec(&["--json", "--profile", name, "--", "true"]).succeeded();
        assert_eq!(ended.json()["profile"], name);
    }
}
