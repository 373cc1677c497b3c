//! Checks of this project's own functions and commands, for what is no single act inside a launcher.
//!
//! Each check has its control: the same thing in a form that must be let, or without this project, so that a check which
//! refuses everything, or sees nothing, is noticed.

mod profiles;
mod run;
mod sandbox;

pub(super) use profiles::{
    broad_grants, floor, fuzzed_profiles, linked_grant, missing_grant, opt_out, profile_in_tree, unknown_key,
    widening_child,
};
pub(super) use run::{
    edit_after_verdict, edited_tests, exported_links, failed_run, file_modes, git_variables, hostile_trees,
    killed_runs, killed_while_locked, large_proposal, lfs_pointer, link_then_directory, metadata_proposals,
    moved_branch, mutating_verify, output_of_runs, quoted_output, submodules, through_links, two_runs,
};
pub(super) use sandbox::{
    exit_codes, forged_lines, forged_result, host_paths, huge_environment, limits_promised, many_at_once,
    metadata_spellings, random_bytes, setup_or_command, signal_exits, swap, working_directory,
};

use super::score::{Finding, Verdict};
use super::site::git;
use super::{AttackError, Ground};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// A check of this project's own.
pub(super) type Check = fn(&Ground) -> Result<Finding, AttackError>;

/// The finding of a check: what was wrong, if anything.
fn finding(wrong: Vec<String>, right: &str) -> Result<Finding, AttackError> {
    Ok(match wrong.is_empty() {
        true => Finding::new(Verdict::Contained, right),
        false => Finding::new(Verdict::Escaped, wrong.join("; ")),
    })
}

/// The control did not do what it must, so nothing is proved.
fn useless(why: impl Into<String>) -> Result<Finding, AttackError> {
    Ok(Finding::new(
        Verdict::Broken,
        format!("the control failed: {}", why.into()),
    ))
}

fn start(source: std::io::Error) -> AttackError {
    AttackError::Start { source }
}

fn wrote(path: &Path) -> impl Fn(std::io::Error) -> AttackError {
    let path = path.to_owned();
    move |source| AttackError::Scratch {
        path: path.clone(),
        source,
    }
}

/// A directory of its own for one check, with a home.
fn place(ground: &Ground) -> Result<std::path::PathBuf, AttackError> {
    let place = ground.scratch.path().join(format!("check-{}", ground.scratch.number()));
    for directory in ["", "home", "outside"] {
        let directory = place.join(directory);
        fs::create_dir_all(&directory).map_err(wrote(&directory))?;
    }
    let settings = place.join("home/.gitconfig");
    let text = "[user]\n\tname = a\n\temail = a@localhost\n[safe]\n\tdirectory = *\n[init]\n\tdefaultBranch = work\n";
    fs::write(&settings, text).map_err(wrote(&settings))?;
    Ok(place)
}

/// Runs git in a check's place; its output when it succeeds.
fn git_in(place: &Path, at: &Path, arguments: &[&str]) -> Result<String, AttackError> {
    let output = git(place, at).args(arguments).output().map_err(start)?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()),
        false => Err(start(std::io::Error::other(format!(
            "git {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim_end()
        )))),
    }
}

/// A repository with one file, for commands that need one.
pub(super) fn small_repository(directory: &Path) -> Result<(), AttackError> {
    let parent = directory.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent.join("home")).map_err(wrote(parent))?;
    let settings = parent.join("home/.gitconfig");
    fs::write(&settings, "[user]\n\tname = a\n\temail = a@localhost\n").map_err(wrote(&settings))?;
    fs::create_dir_all(directory).map_err(wrote(directory))?;
    fs::write(directory.join("file"), "content\n").map_err(wrote(directory))?;
    git_in(parent, directory, &["init", "--quiet", "--initial-branch=work", "."])?;
    git_in(parent, directory, &["add", "file"])?;
    git_in(parent, directory, &["commit", "--quiet", "--message=base"])?;
    Ok(())
}

/// This program's own command line, with nothing of the caller's environment but the search path.
fn factory(ground: &Ground, home: &Path) -> Command {
    let mut command = Command::new(&ground.program);
    command
        .env_clear()
        .env("PATH", &ground.search_path)
        .env("HOME", home)
        .env("XDG_CACHE_HOME", ground.scratch.path().join("cache"))
        .env("XDG_STATE_HOME", home.join("state"))
        .stdin(Stdio::null());
    command
}

/// One of its commands that start others, under the profile that is attacked.
fn under_profile(ground: &Ground, home: &Path, subcommand: &str) -> Command {
    let mut command = factory(ground, home);
    if let Some(config_home) = ground
        .profiles
        .as_deref()
        .and_then(|profiles| profiles.ancestors().nth(2))
    {
        command.env("XDG_CONFIG_HOME", config_home);
    }
    command.args([subcommand, "--profile", &ground.policy.profile]);
    command
}

/// `factory exec --json` of a command in a repository: the document, and the text that it was read from.
fn exec_json(ground: &Ground, repository: &Path, argv: &[&str]) -> Result<(Value, String), AttackError> {
    let mut command = under_profile(ground, ground.scratch.path(), "exec");
    command.args(["--json", "--repo"]).arg(repository).arg("--").args(argv);
    let output = command.output().map_err(start)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let document = serde_json::from_str(&text).unwrap_or(Value::Null);
    Ok((document, text))
}
