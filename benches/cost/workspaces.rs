//! A workspace against `git worktree add`, by the number of files.

use crate::{Side, compare};
use factory::change::{ChangeSet, Write};
use factory::types::{RepoPath, Sha256};
use factory::workspace::{Base, Candidate, Repository, TreeCache};
use std::fs;
use std::path::Path;
use std::process::Stdio;

/// Makes a repository of `files` small files in directories of a hundred.
pub(crate) fn repository(at: &Path, files: usize) {
    for number in 0..files {
        let directory = at.join(format!("d{}", number / 100));
        if number % 100 == 0 {
            fs::create_dir_all(&directory).unwrap();
        }
        fs::write(
            directory.join(format!("f{number}.txt")),
            format!("{number}\n").repeat(60),
        )
        .unwrap();
    }
    let identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"];
    git(at, &["init", "--quiet", "--initial-branch=work"]);
    git(at, &["add", "--all"]);
    git(at, &[&identity[..], &["commit", "--quiet", "--message=base"]].concat());
}

pub(crate) fn git(at: &Path, arguments: &[&str]) {
    let status = std::process::Command::new("git")
        .arg("-C")
        .arg(at)
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "git {arguments:?}");
}

pub(crate) fn print() {
    let scratch = tempfile::tempdir().unwrap();
    let mut medians = Vec::new();
    for files in [100, 10_000, 100_000] {
        medians.push((files, measure(scratch.path(), files)));
    }
    println!("\n  target: workspace at 100,000 files at most 1.5 x that at 100, cache warm");
    for (files, median) in &medians {
        println!(
            "  {files:>7} files: {median:.3} ms, {:.2} x that at 100",
            median / medians[0].1
        );
    }
}

/// Prints the comparison for one size and answers the median of the workspace, in milliseconds.
fn measure(scratch: &Path, files: usize) -> f64 {
    let at = scratch.join(format!("repo-{files}"));
    fs::create_dir(&at).unwrap();
    repository(&at, files);
    let repository = Repository::open(&at).unwrap();
    let head = repository.head().unwrap().commit;
    let snapshot = repository.snapshot(head).unwrap();
    let cache = TreeCache::open(&scratch.join("cache")).unwrap();
    let change_set = ChangeSet {
        summary: "one file".to_owned(),
        writes: vec![Write {
            path: RepoPath::parse("d0/f0.txt").unwrap(),
            base_sha256: Sha256::EMPTY.to_string(),
            content: "changed\n".to_owned(),
            executable: None,
        }],
        ..ChangeSet::default()
    };
    let layers = scratch.join("layers");
    fs::create_dir_all(&layers).unwrap();
    let workspace = || {
        let started = std::time::Instant::now();
        let base = cache.export(&snapshot, None).unwrap();
        drop(Candidate::new(&Base::files(base), &snapshot, &change_set, &layers, None).unwrap());
        crate::milliseconds(&started.elapsed())
    };
    let mut number = 0;
    let worktree = || {
        number += 1;
        let place = scratch.join(format!("worktree-{files}-{number}"));
        git(&at, &["worktree", "add", "--detach", &place.display().to_string()]);
    };
    // The big checkouts take seconds each; a few show the order of magnitude.
    let rounds = if files > 10_000 { 3 } else { 15 };
    compare(
        &format!("workspace of {files} files, cache warm"),
        rounds,
        "git worktree add --detach",
        "base: git worktree add",
        vec![
            Side::new("git worktree add --detach", worktree),
            Side::new("factory: export, one changed file", || {
                workspace();
            }),
        ],
    );
    // Without a checkout of as many files between two of them, which fills the host's caches with something else.
    crate::median((0..21).map(|_| workspace()).collect())
}
