//! Promotion in real repositories; here and not in `tests/`, because only this crate can make a [`Passed`].

use super::*;
use crate::change::{ChangeSet, Delete, Rename, Write};
use crate::types::{FailureClass, Problem as _, RepoPath, Sha256};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A repository in a directory of its own, with a first commit.
struct Sandbox {
    temp: TempDir,
}

impl Sandbox {
    fn new() -> Self {
        let sandbox = Sandbox {
            temp: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(sandbox.dir()).unwrap();
        sandbox.git(&["init", "--quiet", "--initial-branch=main"]);
        sandbox.git(&["config", "user.name", "Op\u{e9}rateur"]);
        sandbox.git(&["config", "user.email", "operator@localhost"]);
        sandbox.write("README", "base\n");
        sandbox.write("src/lib.py", "x = 1\n");
        sandbox.write("run.sh", "#!/bin/sh\n");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(sandbox.dir().join("run.sh"), mode).unwrap();
        sandbox.commit_all("base");
        sandbox
    }

    fn dir(&self) -> PathBuf {
        self.temp.path().join("repo")
    }

    fn git(&self, args: &[&str]) -> String {
        git(&self.dir(), args)
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.dir().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn commit_all(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", message]);
    }

    fn open(&self) -> Repository {
        Repository::open(&self.dir()).unwrap()
    }
}

fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(dir)
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {args:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn changes(writes: &[(&str, &str)]) -> ChangeSet {
    ChangeSet {
        summary: "a summary".to_owned(),
        writes: writes
            .iter()
            .map(|(path, content)| Write {
                path: RepoPath::parse(path).unwrap(),
                base_sha256: Sha256::EMPTY.to_string(),
                content: (*content).to_owned(),
                executable: None,
            })
            .collect(),
        ..ChangeSet::default()
    }
}

fn trailers() -> Trailers {
    Trailers {
        order_id: "WO-7".to_owned(),
        order_key: Some(Sha256::of(b"key")),
        run: "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
        verdict: "VERIFIED".to_owned(),
        evidence: Sha256::EMPTY,
        profile: "verify".to_owned(),
        waived: vec!["cgroups".to_owned()],
    }
}

fn prepare_on_head(repo: &Repository, branch: &str, writes: &[(&str, &str)]) -> Result<Outcome, PromoteError> {
    let base = repo.head().unwrap().commit;
    let target = target(repo, branch, BranchMode::CreateOrReuse, &[]).unwrap();
    prepare(
        repo,
        Passed::for_tests(changes(writes), base),
        target,
        "a title",
        &trailers(),
    )
}

fn prepared(repo: &Repository, branch: &str, writes: &[(&str, &str)]) -> Prepared {
    match prepare_on_head(repo, branch, writes).unwrap() {
        Outcome::Prepared(prepared) => prepared,
        Outcome::Unchanged => panic!("the changes change nothing"),
    }
}

fn promote(repo: &Repository, branch: &str, writes: &[(&str, &str)]) -> Promotion {
    commit(repo, prepared(repo, branch, writes)).unwrap()
}

/// The digest of each file, link and directory, except for what a promotion adds to: objects, its branch and its log.
fn fingerprint(dir: &Path) -> BTreeMap<PathBuf, String> {
    let ours = [
        ".git/objects",
        ".git/refs/heads/factory",
        ".git/logs/refs/heads/factory",
    ];
    let mut found = BTreeMap::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(path) = pending.pop() {
        let relative = path.strip_prefix(dir).unwrap().to_owned();
        if ours.iter().any(|ours| relative.ends_with(ours)) {
            continue;
        }
        let metadata = path.symlink_metadata().unwrap();
        let content = if metadata.is_dir() {
            pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            "directory".to_owned()
        } else if metadata.is_symlink() {
            format!("link to {:?}", std::fs::read_link(&path).unwrap())
        } else {
            let modified = metadata.modified().unwrap();
            format!("{} {modified:?}", Sha256::of(&std::fs::read(&path).unwrap()))
        };
        found.insert(relative, format!("{:o} {content}", metadata.permissions().mode()));
    }
    found
}

/// Makes everything that git could be told to execute leave a file behind, and returns that file.
fn booby_trap(sandbox: &Sandbox) -> PathBuf {
    let canary = sandbox.temp.path().join("canary");
    let trap = sandbox.temp.path().join("trap");
    std::fs::write(&trap, format!("#!/bin/sh\necho \"$0\" >> {}\ncat\n", canary.display())).unwrap();
    std::fs::set_permissions(&trap, std::fs::Permissions::from_mode(0o755)).unwrap();
    for hook in [
        "pre-commit",
        "prepare-commit-msg",
        "commit-msg",
        "post-commit",
        "reference-transaction",
        "post-checkout",
        "post-index-change",
        "fsmonitor-watchman",
        "post-rewrite",
        "pre-auto-gc",
        "update",
    ] {
        std::fs::copy(&trap, sandbox.dir().join(".git/hooks").join(hook)).unwrap();
    }
    let trap = trap.to_str().unwrap();
    for key in [
        "core.fsmonitor",
        "core.sshCommand",
        "core.pager",
        "core.editor",
        "diff.external",
        "gpg.program",
        "filter.x.clean",
        "filter.x.smudge",
        "filter.x.process",
        "credential.helper",
        "diff.x.textconv",
        "merge.x.driver",
    ] {
        sandbox.git(&["config", key, trap]);
    }
    sandbox.git(&["config", "commit.gpgSign", "true"]);
    sandbox.write(".git/info/attributes", "* filter=x diff=x merge=x\n");
    sandbox.write("src/.gitattributes", "* filter=x\n");
    canary
}

fn assert_nothing_else_changes(sandbox: &Sandbox, open_in: &Path) {
    let canary = booby_trap(sandbox);
    sandbox.write("README", "dirty\n");
    sandbox.write("untracked", "mine\n");
    sandbox.write("ignored/by/me", "mine\n");
    sandbox.write(".git/info/exclude", "ignored\n");
    // The command-line git that made the traps may have set them off.
    let _ = std::fs::remove_file(&canary);
    let before = fingerprint(sandbox.temp.path());
    let repo = Repository::open(open_in).unwrap();
    assert!(repo.is_dirty().is_ok());
    let promotion = promote(
        &repo,
        "factory/a",
        &[("README", "new\n"), ("untracked", "theirs\n"), ("src/new.py", "")],
    );
    let mut after = fingerprint(sandbox.temp.path());
    // The directories of branches and logs have a new entry, which shows in nothing that is compared here.
    after.retain(|path, _| !path.ends_with(".git/logs/refs/heads/factory"));
    assert_eq!(after, before);
    assert!(
        !canary.exists(),
        "{}",
        std::fs::read_to_string(&canary).unwrap_or_default()
    );
    assert_eq!(repo.branch_tip("factory/a").unwrap(), Some(promotion.commit));
}

#[test]
fn a_promotion_leaves_a_dirty_work_tree_alone_and_runs_nothing() {
    let sandbox = Sandbox::new();
    assert_nothing_else_changes(&sandbox, &sandbox.dir());
}

#[test]
fn a_promotion_leaves_a_detached_head_alone() {
    let sandbox = Sandbox::new();
    sandbox.git(&["switch", "--quiet", "--detach"]);
    assert_nothing_else_changes(&sandbox, &sandbox.dir());
    assert_eq!(sandbox.open().head().unwrap().branch, None);
}

#[test]
fn a_promotion_from_a_linked_work_tree_leaves_both_alone() {
    let sandbox = Sandbox::new();
    sandbox.git(&["worktree", "add", "--quiet", "-b", "side", "../linked"]);
    assert_nothing_else_changes(&sandbox, &sandbox.temp.path().join("linked"));
}

#[test]
fn a_promoted_commit_is_one_that_git_would_have_made() {
    let sandbox = Sandbox::new();
    let repo = sandbox.open();
    let base = repo.head().unwrap().commit;
    let writes = [
        ("README", "new\n"),
        ("run.sh", "#!/bin/sh\nexit 0\n"),
        ("a/b/c/deep.txt", "deep\n"),
        ("a.txt", "sorts before a/\n"),
        ("a0", "sorts after a/\n"),
        ("src/lib.py", ""),
    ];
    let promotion = promote(&repo, "factory/a", &writes);
    sandbox.git(&["fsck", "--strict", "--full", "--no-dangling"]);

    sandbox.git(&["switch", "--quiet", "--create", "by-hand"]);
    for (path, content) in writes {
        sandbox.write(path, content);
    }
    sandbox.commit_all("by hand");
    assert_eq!(
        sandbox.git(&["rev-parse", "by-hand^{tree}"]),
        promotion.tree.to_string()
    );
    assert_eq!(sandbox.git(&["rev-parse", "factory/a^"]), base.to_string());
    let mode = sandbox.git(&["ls-tree", "factory/a", "run.sh"]);
    assert!(mode.starts_with("100755 "), "{mode}");

    let who = sandbox.git(&["log", "-1", "--format=%an <%ae> / %cn <%ce>", "factory/a"]);
    assert_eq!(
        who,
        "Op\u{e9}rateur <operator@localhost> / Op\u{e9}rateur <operator@localhost>"
    );
    assert_eq!(sandbox.git(&["log", "-1", "--format=%s", "factory/a"]), "WO-7: a title");
    insta::assert_snapshot!(sandbox.git(&["log", "-1", "--format=%(trailers)", "factory/a"]), @r"
    Factory-Order: WO-7
    Factory-Order-Key: 2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683
    Factory-Run: 01ARZ3NDEKTSV4RRFFQ69G5FAV
    Factory-Verdict: VERIFIED
    Factory-Profile: verify
    Factory-Evidence: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
    Factory-Waived: cgroups
    ");
}

#[test]
fn a_repository_that_names_nobody_has_factory_as_its_author() {
    let sandbox = Sandbox::new();
    sandbox.git(&["config", "user.name", "<>"]);
    sandbox.git(&["config", "user.email", ""]);
    promote(&sandbox.open(), "factory/a", &[("x", "")]);
    let who = sandbox.git(&["log", "-1", "--format=%an <%ae>", "factory/a"]);
    assert_eq!(who, "factory <factory@localhost>");
}

#[test]
fn a_second_promotion_builds_on_the_first() {
    let sandbox = Sandbox::new();
    let repo = sandbox.open();
    let first = promote(&repo, "factory/a", &[("one", "1")]);
    let target = target(&repo, "factory/a", BranchMode::Reuse, &[]).unwrap();
    assert_eq!(target.expected, Some(first.commit));
    let passed = Passed::for_tests(changes(&[("two", "2")]), first.commit);
    let Outcome::Prepared(second) = prepare(&repo, passed, target, "t", &trailers()).unwrap() else {
        panic!("the changes change nothing");
    };
    commit(&repo, second).unwrap();
    assert_eq!(sandbox.git(&["log", "--format=%s", "factory/a"]).lines().count(), 3);
    assert_eq!(sandbox.git(&["show", "factory/a:one"]), "1");
    // The operator packs the refs; the next swap must still see the value.
    sandbox.git(&["pack-refs", "--all"]);
    let repo = sandbox.open();
    let error = prepare_on_head(&repo, "factory/a", &[("three", "3")]).unwrap_err();
    assert_eq!(error.class(), FailureClass::Conflict);
}

#[test]
fn changes_that_change_nothing_make_no_commit() {
    let sandbox = Sandbox::new();
    let repo = sandbox.open();
    let outcome = prepare_on_head(&repo, "factory/a", &[("README", "base\n"), ("run.sh", "#!/bin/sh\n")]).unwrap();
    assert!(matches!(outcome, Outcome::Unchanged));
    let outcome = prepare_on_head(&repo, "factory/a", &[]).unwrap();
    assert!(matches!(outcome, Outcome::Unchanged));
    assert_eq!(repo.branch_tip("factory/a").unwrap(), None);
}

#[test]
fn a_branch_that_moved_meanwhile_keeps_its_commits() {
    let sandbox = Sandbox::new();
    let repo = sandbox.open();
    sandbox.git(&["branch", "factory/a"]);
    let ours = prepared(&repo, "factory/a", &[("ours", "")]);
    let ours_id = ours.commit_id();
    let theirs = sandbox.git(&["commit-tree", "-m", "theirs", "-p", "HEAD", "HEAD^{tree}"]);
    sandbox.git(&["update-ref", "refs/heads/factory/a", &theirs]);
    let error = commit(&repo, ours).unwrap_err();
    assert!(matches!(&error, PromoteError::Moved { found: Some(found), .. } if found.to_string() == theirs));
    assert_eq!(error.class(), FailureClass::Conflict);
    assert_eq!(sandbox.git(&["rev-parse", "factory/a"]), theirs);
    // Nothing is lost on our side either.
    assert_eq!(sandbox.git(&["cat-file", "-t", &ours_id.to_string()]), "commit");
    sandbox.git(&["fsck", "--strict", "--no-dangling"]);
}

#[test]
fn a_branch_that_appeared_or_vanished_meanwhile_is_a_conflict() {
    let sandbox = Sandbox::new();
    let repo = sandbox.open();
    let ours = prepared(&repo, "factory/a", &[("ours", "")]);
    sandbox.git(&["branch", "factory/a"]);
    let error = commit(&repo, ours).unwrap_err();
    assert!(
        matches!(
            error,
            PromoteError::Moved {
                expected: None,
                found: Some(_),
                ..
            }
        ),
        "{error}"
    );

    let ours = prepared(&repo, "factory/a", &[("ours", "")]);
    sandbox.git(&["branch", "-D", "factory/a"]);
    let error = commit(&repo, ours).unwrap_err();
    assert!(
        matches!(
            error,
            PromoteError::Moved {
                expected: Some(_),
                found: None,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(repo.branch_tip("factory/a").unwrap(), None);

    let ours = prepared(&repo, "factory/a", &[("ours", "")]);
    sandbox.git(&["branch", "factory/a/b"]);
    let error = commit(&repo, ours).unwrap_err();
    assert_eq!(error.class(), FailureClass::Conflict, "{error}");
}

#[test]
fn a_branch_that_was_checked_out_meanwhile_is_a_conflict() {
    let sandbox = Sandbox::new();
    let repo = sandbox.open();
    sandbox.git(&["branch", "factory/a"]);
    let ours = prepared(&repo, "factory/a", &[("ours", "")]);
    sandbox.git(&["switch", "--quiet", "factory/a"]);
    let error = commit(&repo, ours).unwrap_err();
    assert!(matches!(error, PromoteError::CheckedOut { .. }), "{error}");
    assert_eq!(sandbox.git(&["status", "--porcelain"]), "");
}

#[test]
fn of_racing_promotions_exactly_one_wins() {
    let sandbox = Sandbox::new();
    for round in 0..10 {
        let branch = format!("factory/{round}");
        let start = &std::sync::Barrier::new(4);
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..4)
                .map(|racer| {
                    let (sandbox, branch) = (&sandbox, &branch);
                    scope.spawn(move || {
                        let repo = sandbox.open();
                        let ours = prepared(&repo, branch, &[("who", &racer.to_string())]);
                        start.wait();
                        commit(&repo, ours)
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        assert_eq!(
            sandbox.open().branch_tip(&branch).unwrap(),
            Some(won[0].as_ref().unwrap().commit)
        );
        for error in lost {
            assert!(matches!(error, Err(PromoteError::Moved { .. })), "{error:?}");
        }
    }
    sandbox.git(&["fsck", "--strict", "--no-dangling"]);
}

#[test]
fn a_lock_that_somebody_left_is_named() {
    let sandbox = Sandbox::new();
    let repo = sandbox.open();
    let ours = prepared(&repo, "factory/a", &[("ours", "")]);
    sandbox.write(".git/refs/heads/factory/a.lock", "");
    let error = commit(&repo, ours).unwrap_err();
    assert_eq!(error.class(), FailureClass::Host);
    assert!(
        error.hint().unwrap().ends_with(".git/refs/heads/factory/a.lock"),
        "{error}"
    );
}

#[test]
fn an_object_that_is_empty_or_another_one_is_not_promoted() {
    let sandbox = Sandbox::new();
    let repo = sandbox.open();
    let loose = |bytes: &[u8]| {
        let id = git2::Oid::hash_object(git2::ObjectType::Blob, bytes)
            .unwrap()
            .to_string();
        format!(".git/objects/{}/{}", &id[..2], &id[2..])
    };
    let other = std::fs::read(sandbox.dir().join(loose(b"base\n"))).unwrap();
    sandbox.write(&loose(b"empty"), "");
    sandbox.write(&loose(b"other"), "");
    std::fs::write(sandbox.dir().join(loose(b"other")), other).unwrap();
    for content in ["empty", "other"] {
        let error = prepare_on_head(&repo, "factory/a", &[("new", content)]).unwrap_err();
        assert_eq!(error.class(), FailureClass::Host);
        assert!(error.hint().unwrap().contains("git fsck"), "{error:?}");
    }
    drop(prepared(&repo, "factory/a", &[("new", "control")]));
}

#[test]
fn what_a_crash_leaves_aside_is_removed_by_git() {
    let sandbox = Sandbox::new();
    let aside = sandbox.dir().join(".git/objects/tmp_objdir-factory-x/objects/ab");
    std::fs::create_dir_all(&aside).unwrap();
    std::fs::write(aside.join("cd"), "").unwrap();
    sandbox.git(&["fsck", "--strict", "--no-dangling"]);
    sandbox.git(&["prune", "--expire=now"]);
    assert!(!aside.exists());
}

#[test]
fn a_commit_never_takes_the_place_of_the_branchs_own() {
    let sandbox = Sandbox::new();
    let repo = sandbox.open();
    let tip = sandbox.git(&["commit-tree", "-m", "theirs", "-p", "HEAD", "HEAD^{tree}"]);
    sandbox.git(&["update-ref", "refs/heads/factory/a", &tip]);
    // The changes were verified on HEAD, which the branch has left.
    let error = prepare_on_head(&repo, "factory/a", &[("x", "")]).unwrap_err();
    assert_eq!(error.class(), FailureClass::Conflict);
}

#[test]
fn evidence_of_another_verdict_is_refused() {
    let sandbox = Sandbox::new();
    let repo = sandbox.open();
    let target = target(&repo, "factory/a", BranchMode::Create, &[]).unwrap();
    let passed = Passed::for_tests(changes(&[("x", "")]), repo.head().unwrap().commit);
    let trailers = Trailers {
        evidence: Sha256::of(b"other"),
        ..trailers()
    };
    let error = prepare(&repo, passed, target, "t", &trailers).unwrap_err();
    assert_eq!(error.class(), FailureClass::Internal);
}

#[test]
fn links_are_neither_followed_nor_replaced() {
    let sandbox = Sandbox::new();
    let outside = sandbox.temp.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    symlink(&outside, sandbox.dir().join("linked")).unwrap();
    sandbox.commit_all("a link");
    let repo = sandbox.open();
    for path in ["linked", "linked/x", "README/x", "src"] {
        let error = prepare_on_head(&repo, "factory/a", &[(path, "x")]).unwrap_err();
        assert_eq!(error.class(), FailureClass::Proposal, "{path}: {error}");
    }
    promote(&repo, "factory/a", &[("x", "")]);
    assert!(sandbox.git(&["ls-tree", "factory/a", "linked"]).starts_with("120000 "));
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn writes_that_cannot_stand_together_are_refused() {
    let sandbox = Sandbox::new();
    let repo = sandbox.open();
    for writes in [[("a", "1"), ("a", "2")], [("a", "1"), ("a/b", "2")]] {
        let error = prepare_on_head(&repo, "factory/a", &writes).unwrap_err();
        assert_eq!(error.class(), FailureClass::Proposal, "{error}");
    }
}

#[test]
fn a_very_deep_path_is_committed() {
    let sandbox = Sandbox::new();
    let repo = sandbox.open();
    let path = vec!["d"; 400].join("/");
    let promotion = promote(&repo, "factory/a", &[(&path, "deep")]);
    let snapshot = repo.snapshot(promotion.commit).unwrap();
    assert!(matches!(
        snapshot.entry(&RepoPath::parse(&path).unwrap()),
        Ok(crate::change::BaseEntry::File { .. })
    ));
}

#[test]
fn names_that_are_not_utf8_survive_a_promotion() {
    let sandbox = Sandbox::new();
    for name in [&b"caf\xe9"[..], b"src/\xff\xfe"] {
        std::fs::write(sandbox.dir().join(OsStr::from_bytes(name)), "kept").unwrap();
    }
    sandbox.commit_all("names");
    let repo = sandbox.open();
    promote(&repo, "factory/a", &[("src/lib.py", "x = 2\n"), ("new", "")]);
    let listed = sandbox.git(&["ls-tree", "-r", "--name-only", "factory/a"]);
    assert!(
        listed.contains(r#""caf\351""#) && listed.contains(r#""src/\377\376""#),
        "{listed}"
    );
    sandbox.git(&["fsck", "--strict", "--no-dangling"]);
}

#[test]
fn objects_borrowed_from_another_repository_are_used() {
    let sandbox = Sandbox::new();
    git(
        sandbox.temp.path(),
        &["clone", "--quiet", "--shared", "repo", "borrower"],
    );
    let repo = Repository::open(&sandbox.temp.path().join("borrower")).unwrap();
    promote(&repo, "factory/a", &[("README", "new\n"), ("copy", "base\n")]);
    git(repo.work_dir(), &["fsck", "--strict", "--no-dangling"]);
    assert_eq!(git(repo.work_dir(), &["show", "factory/a:copy"]), "base");
}

#[test]
fn branches_that_must_not_move_are_refused_with_advice() {
    let sandbox = Sandbox::new();
    sandbox.git(&["switch", "--quiet", "--create", "work"]);
    sandbox.git(&["branch", "rebased"]);
    sandbox.git(&["branch", "alias"]);
    sandbox.git(&["symbolic-ref", "refs/heads/alias", "refs/heads/rebased"]);
    sandbox.git(&["branch", "factory/x"]);
    sandbox.git(&["worktree", "add", "--quiet", "-b", "elsewhere", "../linked"]);
    sandbox.write(".git/rebase-merge/head-name", "refs/heads/rebased\n");
    let repo = sandbox.open();
    let refuse = |branch: &str| target(&repo, branch, BranchMode::CreateOrReuse, &["Ship".to_owned()]).unwrap_err();

    for branch in ["main", "MASTER", "ship"] {
        let error = refuse(branch);
        assert!(matches!(error, PromoteError::Protected { .. }), "{branch}: {error}");
    }
    for branch in ["work", "elsewhere", "rebased"] {
        let error = refuse(branch);
        assert!(matches!(error, PromoteError::CheckedOut { .. }), "{branch}: {error}");
        assert!(error.hint().unwrap().contains(" merge "), "{error}");
    }
    let elsewhere = refuse("elsewhere").to_string();
    assert!(elsewhere.ends_with("/linked"), "{elsewhere}");
    for branch in ["factory", "factory/x/y"] {
        let error = refuse(branch);
        assert!(matches!(error, PromoteError::Excluded { .. }), "{branch}: {error}");
    }
    assert!(matches!(refuse("alias"), PromoteError::Symbolic { .. }));
    for branch in [
        "",
        "-x",
        "a..b",
        "a b",
        "HEAD",
        "refs/heads/x",
        "x.lock",
        "x/",
        "/x",
        "a\u{202e}b",
        "a\nb",
        "a\0b",
    ] {
        let error = refuse(branch);
        assert!(
            matches!(error, PromoteError::InvalidBranch { .. }),
            "{branch:?}: {error}"
        );
    }
    let create = target(&repo, "factory/x", BranchMode::Create, &[]).unwrap_err();
    assert!(matches!(create, PromoteError::Exists { .. }));
    let reuse = target(&repo, "factory/y", BranchMode::Reuse, &[]).unwrap_err();
    assert!(matches!(reuse, PromoteError::Missing { .. }));
}

/// Promotes in a repository made without any other program, and prints the ids. The test below traces it.
#[test]
fn a_promotion_needs_no_program() {
    let temp = tempfile::tempdir().unwrap();
    let made = git2::Repository::init(temp.path()).unwrap();
    let who = git2::Signature::now("a", "a@localhost").unwrap();
    let empty = made
        .find_tree(made.treebuilder(None).unwrap().write().unwrap())
        .unwrap();
    made.commit(Some("HEAD"), &who, &who, "base", &empty, &[]).unwrap();
    // An object that exists already, from a program that did not sync it.
    made.blob(b"known").unwrap();
    let repo = Repository::open(temp.path()).unwrap();
    let promotion = promote(&repo, "factory/a", &[("new", "new"), ("known", "known")]);
    println!("commit {}\ntree {}", promotion.commit, promotion.tree);
}

#[test]
fn objects_are_on_disk_before_the_ref_moves_and_the_ref_before_success() {
    if std::env::var("FACTORY_TEST_WITHOUT").is_ok_and(|list| list.split(',').any(|item| item == "strace")) {
        println!("left out: strace");
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let trace = temp.path().join("trace");
    let output = Command::new("strace")
        .args([
            "-f",
            "-y",
            "-e",
            "trace=fsync,fdatasync,rename,renameat,renameat2,link",
            "-o",
        ])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "promote::tests::a_promotion_needs_no_program", "--nocapture"])
        .output()
        .expect("strace is installed, or FACTORY_TEST_WITHOUT=strace says that it is not");
    assert!(output.status.success(), "{output:?}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let id_of = |what: &str| {
        let line = stdout.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.trim().to_owned()
    };
    let blob = |bytes: &[u8]| {
        git2::Oid::hash_object(git2::ObjectType::Blob, bytes)
            .unwrap()
            .to_string()
    };
    let trace = std::fs::read_to_string(&trace).unwrap();
    let lines: Vec<&str> = trace.lines().collect();
    let position = |call: &str, path: &str| {
        lines
            .iter()
            .position(|line| line.contains(call) && line.contains(path))
            .unwrap_or_else(|| panic!("no {call} of {path} in\n{trace}"))
    };
    // No object has its name before its content is on disk: git would take an empty file for the object.
    for id in [id_of("commit "), id_of("tree "), blob(b"new")] {
        let (dir, file) = id.split_at(2);
        let named = position("rename(", &format!(".git/objects/{dir}/{file}\")"));
        assert!(
            position("fsync(", &format!("/objects/{dir}/{file}>")) < named,
            "{trace}"
        );
    }
    // A new file is linked into place, an existing one renamed over.
    let moved = position("link(", "/refs/heads/factory/a\")");
    for id in [id_of("commit "), id_of("tree "), blob(b"new"), blob(b"known")] {
        let (dir, file) = id.split_at(2);
        assert!(
            position("fsync(", &format!("/objects/{dir}/{file}>")) < moved,
            "{trace}"
        );
        assert!(position("fsync(", &format!("/objects/{dir}>")) < moved, "{trace}");
    }
    assert!(position("fsync(", "/objects>") < moved);
    assert!(position("fsync(", "/refs/heads/factory/a.lock>") < moved, "{trace}");
    assert!(position("fsync(", ".git/refs/heads/factory>") > moved);
    assert!(position("fsync(", ".git/refs/heads>") > moved);
}

/// A change set with deletes and renames, each of a file of the base; an executable bit is kept unless it is said.
fn moves(writes: &[(&str, &str)], deletes: &[&str], renames: &[(&str, &str, Option<bool>)]) -> ChangeSet {
    let path = |text: &str| RepoPath::parse(text).unwrap();
    ChangeSet {
        deletes: deletes
            .iter()
            .map(|name| Delete {
                path: path(name),
                base_sha256: Sha256::EMPTY,
            })
            .collect(),
        renames: renames
            .iter()
            .map(|(from, to, executable)| Rename {
                from: path(from),
                to: path(to),
                base_sha256: Sha256::EMPTY,
                executable: *executable,
            })
            .collect(),
        ..changes(writes)
    }
}

fn outcome(repo: &Repository, branch: &str, change_set: ChangeSet) -> Result<Outcome, PromoteError> {
    let base = repo.head().unwrap().commit;
    let target = target(repo, branch, BranchMode::CreateOrReuse, &[]).unwrap();
    prepare(
        repo,
        Passed::for_tests(change_set, base),
        target,
        "a title",
        &trailers(),
    )
}

#[test]
fn deletes_and_renames_are_in_the_commit_and_emptied_directories_are_not() {
    let sandbox = Sandbox::new();
    sandbox.write("deep/a/b/one", "1");
    sandbox.write("deep/a/b/two", "2");
    sandbox.write("deep/keep", "k");
    std::fs::write(sandbox.dir().join("binary"), [0xff, 0, 0xfe]).unwrap();
    sandbox.commit_all("more");
    let repo = sandbox.open();
    let change_set = moves(
        &[("deep/new/file", "n")],
        &["deep/a/b/one", "README"],
        &[
            ("deep/a/b/two", "two", Some(true)),
            ("run.sh", "bin/run.sh", None),
            ("binary", "data/binary", None),
        ],
    );
    let Outcome::Prepared(prepared) = outcome(&repo, "factory/WO-7", change_set).unwrap() else {
        panic!("it changes something");
    };
    let promotion = commit(&repo, prepared).unwrap();
    let commit = promotion.commit.to_string();
    let listed = sandbox.git(&["ls-tree", "-r", "--format=%(objectmode) %(path)", &commit]);
    let expected = [
        "100755 bin/run.sh",
        "100644 data/binary",
        "100644 deep/keep",
        "100644 deep/new/file",
        "100644 src/lib.py",
        "100755 two",
    ];
    assert_eq!(listed.lines().collect::<Vec<_>>(), expected);
    let directories = sandbox.git(&["ls-tree", "-r", "-d", "--name-only", &commit]);
    assert_eq!(
        directories.lines().collect::<Vec<_>>(),
        ["bin", "data", "deep", "deep/new", "src"]
    );
    let status = sandbox.git(&["diff", "--name-status", "-M", "HEAD", &commit]);
    assert!(
        status.contains("R100\trun.sh\tbin/run.sh") && status.contains("D\tREADME"),
        "{status}"
    );
    sandbox.git(&["fsck", "--strict", "--full"]);
}

#[test]
fn a_tree_may_become_empty() {
    let sandbox = Sandbox::new();
    let repo = sandbox.open();
    let change_set = moves(&[], &["README", "src/lib.py", "run.sh"], &[]);
    let Outcome::Prepared(prepared) = outcome(&repo, "factory/WO-7", change_set).unwrap() else {
        panic!("it changes something");
    };
    // The id of the tree of nothing, which is the same everywhere.
    assert_eq!(
        prepared.tree_id().to_string(),
        "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
    );
    commit(&repo, prepared).unwrap();
}

#[test]
fn a_mode_alone_is_a_change_and_the_same_mode_is_none() {
    let sandbox = Sandbox::new();
    let repo = sandbox.open();
    let with_mode = |path: &str, content: &str, executable| {
        let mut change_set = changes(&[(path, content)]);
        change_set.writes[0].executable = Some(executable);
        change_set
    };
    let made = outcome(&repo, "factory/WO-7", with_mode("README", "base\n", true)).unwrap();
    assert!(matches!(made, Outcome::Prepared(_)));
    for (path, content, executable) in [("README", "base\n", false), ("run.sh", "#!/bin/sh\n", true)] {
        let same = outcome(&repo, "factory/WO-7", with_mode(path, content, executable)).unwrap();
        assert!(matches!(same, Outcome::Unchanged), "{path}");
    }
}

#[test]
fn what_is_not_there_or_in_the_way_is_neither_deleted_nor_renamed() {
    let sandbox = Sandbox::new();
    symlink("README", sandbox.dir().join("link")).unwrap();
    symlink("src", sandbox.dir().join("linked")).unwrap();
    sandbox.commit_all("links");
    let repo = sandbox.open();
    for change_set in [
        moves(&[], &["absent"], &[]),
        moves(&[], &["link"], &[]),
        moves(&[], &["src"], &[]),
        moves(&[], &["linked/lib.py"], &[]),
        moves(&[], &["README/x"], &[]),
        moves(&[], &["README", "README"], &[]),
        moves(&[], &[], &[("absent", "x", None)]),
        moves(&[], &[], &[("link", "x", None)]),
        moves(&[], &[], &[("src", "x", None)]),
        moves(&[], &[], &[("README", "run.sh", None)]),
        moves(&[], &[], &[("README", "src", None)]),
        moves(&[], &[], &[("README", "link", None)]),
        moves(&[], &[], &[("README", "linked/x", None)]),
        moves(&[], &[], &[("README", "README/x", None)]),
        moves(&[("x", "")], &[], &[("README", "x", None)]),
        moves(&[("x/y", "")], &[], &[("README", "x", None)]),
        moves(&[("README", "")], &["README"], &[]),
        moves(&[("README/x", "")], &["README"], &[]),
        moves(&[], &["README"], &[("run.sh", "README/x", None)]),
    ] {
        let error = outcome(&repo, "factory/WO-7", change_set.clone()).unwrap_err();
        assert_eq!(error.class(), FailureClass::Proposal, "{change_set:?}: {error}");
    }
    let control = outcome(
        &repo,
        "factory/WO-7",
        moves(&[("x", "")], &["README"], &[("run.sh", "y", None)]),
    );
    assert!(matches!(control, Ok(Outcome::Prepared(_))));
}
