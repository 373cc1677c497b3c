//! From a change set to a moved branch, by the number of files, against what git does with a checkout.

use crate::workspaces::{git, repository};
use crate::{median, milliseconds};
use factory::change::{BaseEntry, ChangeSet, Write};
use factory::promote::{self, BranchMode, Outcome, Trailers};
use factory::sandbox::{Operator, Policy, Sandbox, Tree, load_profile};
use factory::types::{ObjectId, RepoPath, RunId, Sha256};
use factory::verify::{Bench, Candidate, Checks, Passed, Verdict, verify};
use factory::workspace::{Repository, Snapshot};
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Files that the change set writes, all in one directory of a hundred: the same change whatever the size.
const CHANGED: usize = 10;

pub(crate) fn print() {
    let scratch = tempfile::tempdir().unwrap();
    let judge = Judge::new(scratch.path());
    let [small, large] = [100, 100_000].map(|files| measure(&judge, scratch.path(), files));
    println!("\na change set of {CHANGED} files, from bytes to a moved branch (medians in ms)");
    println!("  {:<44} {:>12} {:>12} {:>10}", "", "100 files", "100,000", "ratio");
    let line = |name: &str, of: fn(&Times) -> &Vec<f64>, target: &str| {
        let (small, large) = (median(of(&small).clone()), median(of(&large).clone()));
        println!(
            "  {name:<44} {small:>12.3} {large:>12.3} {:>10.2} {target}",
            large / small
        );
    };
    line("what it changes", |times| &times.detect, "(target: at most 1.5)");
    line("git status", |times| &times.status, "");
    line(
        "commit written and synced",
        |times| &times.commit,
        "(target: at most 2)",
    );
    line("git add, git commit", |times| &times.git_commit, "");
    line("branch moved and synced", |times| &times.swap, "");
    line("git merge --ff-only", |times| &times.merge, "");
    let of_both = large.commit.iter().zip(&large.swap).zip(&large.merge);
    let ratios = of_both.map(|((commit, swap), merge)| (commit + swap) / merge);
    println!(
        "  promotion at 100,000 files against git merge --ff-only: {:.2} x (target: at most 0.5)",
        median(ratios.collect())
    );
}

/// One entry for each round.
#[derive(Default)]
struct Times {
    detect: Vec<f64>,
    status: Vec<f64>,
    commit: Vec<f64>,
    git_commit: Vec<f64>,
    swap: Vec<f64>,
    merge: Vec<f64>,
}

fn measure(judge: &Judge, scratch: &Path, files: usize) -> Times {
    let at = scratch.join(format!("promotions-{files}"));
    fs::create_dir(&at).unwrap();
    repository(&at, files);
    let repository = Repository::open(&at).unwrap();
    let base = repository.head().unwrap().commit;
    let snapshot = repository.snapshot(base).unwrap();
    let mut times = Times::default();
    // Each round resets a checkout of all files some times, which takes seconds in the large one.
    let rounds = if files > 10_000 { 15 } else { 30 };
    // The first round warms caches and is not counted.
    for round in 0..=rounds {
        let change_set = change_set(round);
        let detect = timed(|| assert_eq!(changed(&snapshot, &change_set), CHANGED));
        let (commit, swap) = promoted(judge, &repository, base, &change_set, round);
        let [status, git_commit, merge] = by_git(&at, &change_set);
        if round > 0 {
            times.detect.push(detect);
            times.status.push(status);
            times.commit.push(commit);
            times.git_commit.push(git_commit);
            times.swap.push(swap);
            times.merge.push(merge);
        }
    }
    times
}

fn timed(act: impl FnOnce()) -> f64 {
    let started = Instant::now();
    act();
    milliseconds(&started.elapsed())
}

/// New content for files that are there, other in each round.
fn change_set(round: usize) -> ChangeSet {
    let write = |file: usize| Write {
        path: RepoPath::parse(&format!("d0/f{file}.txt")).unwrap(),
        base_sha256: Sha256::of(format!("{file}\n").repeat(60).as_bytes()).to_string(),
        content: format!("round {round}, file {file}\n"),
        executable: None,
    };
    ChangeSet {
        summary: "some files".to_owned(),
        writes: (0..CHANGED).map(write).collect(),
        ..ChangeSet::default()
    }
}

/// How many files the change set changes: each is compared with the bytes of the base, of which it names the digest.
fn changed(snapshot: &Snapshot<'_>, change_set: &ChangeSet) -> usize {
    let differs = |write: &&Write| match snapshot.entry(&write.path).unwrap() {
        BaseEntry::File { content, .. } => {
            assert_eq!(Sha256::of(&content).to_string(), write.base_sha256);
            content != write.content.as_bytes()
        }
        _ => true,
    };
    change_set.writes.iter().filter(differs).count()
}

/// The times in which the commit was written and the branch moved.
fn promoted(
    judge: &Judge,
    repository: &Repository,
    base: ObjectId,
    change_set: &ChangeSet,
    round: usize,
) -> (f64, f64) {
    let passed = judge.passed(change_set, base);
    let target = promote::target(repository, &format!("bench/{round}"), BranchMode::Create, &[]).unwrap();
    let trailers = Trailers {
        order_id: "bench".to_owned(),
        order_key: None,
        run: RunId::new(ulid::Ulid::generate()),
        verdict: "PASS_UNPROVEN".to_owned(),
        evidence: passed.evidence(),
        profile: "strict".to_owned(),
        waived: Vec::new(),
    };
    // What git left to be written in the checkout is not ours to wait for.
    rustix::fs::syncfs(fs::File::open(repository.work_dir()).unwrap()).unwrap();
    let mut prepared = None;
    let commit = timed(
        || match promote::prepare(repository, passed, target, "some files", &trailers).unwrap() {
            Outcome::Prepared(commit) => prepared = Some(commit),
            Outcome::Unchanged => panic!("the change set changes something"),
        },
    );
    let swap = timed(|| drop(promote::commit(repository, prepared.unwrap()).unwrap()));
    (commit, swap)
}

/// The times of the same by git, in the checkout: to find the changes, to commit them, and to merge the commit from the
/// branch. The checkout is put back.
fn by_git(at: &Path, change_set: &ChangeSet) -> [f64; 3] {
    for write in &change_set.writes {
        fs::write(at.join(write.path.as_str()), &write.content).unwrap();
    }
    let status = timed(|| git(at, &["status", "--porcelain"]));
    let identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"];
    let commit = timed(|| {
        git(at, &["add", "--all"]);
        git(
            at,
            &[&identity[..], &["commit", "--quiet", "--message=some files"]].concat(),
        );
    });
    git(at, &["branch", "--force", "merged"]);
    git(at, &["reset", "--quiet", "--hard", "HEAD^"]);
    let merge = timed(|| git(at, &["merge", "--quiet", "--ff-only", "merged"]));
    git(at, &["reset", "--quiet", "--hard", "HEAD^"]);
    [status, commit, merge]
}

/// Passes change sets: only a verification can. It runs one command in a small tree, which nobody times.
struct Judge {
    runtime: tokio::runtime::Runtime,
    sandbox: Sandbox,
    policy: Policy,
    tree: Tree,
}

impl Judge {
    fn new(scratch: &Path) -> Self {
        let layer: PathBuf = scratch.join("verified");
        fs::create_dir_all(layer.join("scripts")).unwrap();
        fs::write(layer.join("scripts/verify.sh"), "exit 0\n").unwrap();
        let operator = Operator {
            profiles: None,
            own: &[],
            search_path: "/usr/bin:/bin",
            variable: &|_| None,
        };
        Judge {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            sandbox: Sandbox::start(&crate::factory()).unwrap(),
            policy: load_profile("strict", &operator).unwrap(),
            tree: Tree { layers: vec![layer] },
        }
    }

    fn passed(&self, change_set: &ChangeSet, base: ObjectId) -> Passed {
        let order = r#"{"id": "bench", "title": "t", "intent": "i", "allowed_files": ["a"], "forbidden": [],
            "acceptance_commands": ["true"], "context_files": [], "verify_exempt": false}"#;
        let order = factory::order::parse(order.as_bytes()).unwrap();
        let script = |_: &RepoPath| {
            Ok::<_, Infallible>(BaseEntry::File {
                content: Vec::new(),
                executable: false,
            })
        };
        let checks = Checks::new(&order, false, change_set, script).unwrap();
        let bench = Bench {
            sandbox: &self.sandbox,
            policy: &self.policy,
            timeout: None,
        };
        let candidate = Candidate {
            tree: &self.tree,
            change_set: change_set.clone(),
            base,
        };
        let verdict = self
            .runtime
            .block_on(verify(bench, candidate, &checks, &mut |_| {}))
            .unwrap();
        match verdict {
            Verdict::Passed(passed, _) => passed,
            other => panic!("{other:?}"),
        }
    }
}
