//! Repositories made by the command-line git, read and exported by `workspace`.

use factory::change::{BaseEntry, ChangeSet, Delete, Rename, Write};
use factory::types::{FailureClass, ObjectId, Problem as _, RepoPath, Sha256};
use factory::workspace::{Base, Candidate, Repository, TreeCache, WorkspaceError, remove_tree};
use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

/// Whether a test that needs something can run: it can, unless `FACTORY_TEST_WITHOUT` lists what is to be left out.
fn has(what: &str) -> bool {
    let left_out = std::env::var("FACTORY_TEST_WITHOUT").is_ok_and(|list| list.split(',').any(|item| item == what));
    if left_out {
        println!("left out: {what}");
    }
    !left_out
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A repository in a directory of its own, with a first commit.
struct Origin {
    temp: TempDir,
}

impl Origin {
    fn empty() -> Self {
        let origin = Origin {
            temp: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(origin.dir()).unwrap();
        origin.git(&["init", "--quiet", "--initial-branch=main"]);
        origin.git(&["config", "user.name", "operator"]);
        origin.git(&["config", "user.email", "operator@localhost"]);
        origin
    }

    fn new() -> Self {
        let origin = Origin::empty();
        origin.write("README", "base\n");
        origin.write("src/lib.py", "x = 1\n");
        origin.write("bin/run", "#!/bin/sh\n");
        std::fs::set_permissions(origin.dir().join("bin/run"), std::fs::Permissions::from_mode(0o755)).unwrap();
        symlink("../README", origin.dir().join("src/link")).unwrap();
        symlink("src", origin.dir().join("dirlink")).unwrap();
        origin.commit_all("base");
        origin
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
        self.git(&["add", "--all", "--force"]);
        self.git(&["commit", "--quiet", "--message", message]);
    }

    fn open(&self) -> Repository {
        Repository::open(&self.dir()).unwrap()
    }

    fn cache(&self) -> TreeCache {
        TreeCache::open(&self.temp.path().join("cache/trees")).unwrap()
    }

    /// Commits a tree of raw entries, which git itself would not make.
    fn commit_raw(&self, entries: &[(&str, &[u8], &str)]) -> ObjectId {
        let mut raw = Vec::new();
        for (mode, name, id) in entries {
            raw.extend([mode.as_bytes(), b" ", name, b"\0"].concat());
            raw.extend(git2::Oid::from_str(id).unwrap().as_bytes());
        }
        let tree = git_with(
            &self.dir(),
            &["hash-object", "-t", "tree", "-w", "--literally", "--stdin"],
            &raw,
        );
        self.git(&["commit-tree", "-m", "raw", &tree]).parse().unwrap()
    }
}

fn git(dir: &Path, args: &[&str]) -> String {
    git_with(dir, args, b"")
}

fn git_with(dir: &Path, args: &[&str], stdin: &[u8]) -> String {
    let mut child = Command::new("git")
        .current_dir(dir)
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // A git that does not read its input has closed the pipe.
    let _ = pipe.write_all(stdin);
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {args:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn path(text: &str) -> RepoPath {
    RepoPath::parse(text).unwrap()
}

fn changes(writes: &[(&str, &str)]) -> ChangeSet {
    ChangeSet {
        summary: String::new(),
        writes: writes
            .iter()
            .map(|(name, content)| Write {
                path: path(name),
                base_sha256: Sha256::EMPTY.to_string(),
                content: (*content).to_owned(),
                executable: None,
            })
            .collect(),
        ..ChangeSet::default()
    }
}

fn refusal(dir: &Path) -> WorkspaceError {
    let error = Repository::open(dir).err().expect("the repository is refused");
    assert_eq!(error.class(), FailureClass::Host, "{error}");
    assert!(error.hint().is_some(), "{error}");
    error
}

/// The tree that git makes of a directory.
fn tree_of(dir: &Path) -> String {
    let temp = tempfile::tempdir().unwrap();
    let git_dir = temp.path().join("git");
    git(temp.path(), &["init", "--quiet", "--bare", "git"]);
    let git_dir = format!("--git-dir={}", git_dir.display());
    let work_tree = format!("--work-tree={}", dir.display());
    git(temp.path(), &[&git_dir, "config", "core.bare", "false"]);
    git(dir, &[&git_dir, &work_tree, "add", "--all", "--force", "."]);
    git(dir, &[&git_dir, "write-tree"])
}

#[test]
fn a_repository_is_found_from_below_and_through_a_linked_work_tree() {
    let origin = Origin::new();
    origin.git(&["worktree", "add", "--quiet", "-b", "side", "../linked"]);
    let main = Repository::open(&origin.dir().join("src")).unwrap();
    assert_eq!(
        main.work_dir().canonicalize().unwrap(),
        origin.dir().canonicalize().unwrap()
    );
    let head = main.head().unwrap();
    assert_eq!(head.branch.as_deref(), Some("main"));
    assert_eq!(head.commit.to_string(), origin.git(&["rev-parse", "HEAD"]));

    let linked = Repository::open(&origin.temp.path().join("linked")).unwrap();
    assert_eq!(linked.head().unwrap().branch.as_deref(), Some("side"));
    assert_eq!(
        linked.common_dir().canonicalize().unwrap(),
        main.common_dir().canonicalize().unwrap()
    );
    let seen_from_linked = linked.checked_out_in("main").unwrap().unwrap();
    assert_eq!(
        seen_from_linked.canonicalize().unwrap(),
        origin.dir().canonicalize().unwrap()
    );
    assert!(main.checked_out_in("side").unwrap().unwrap().ends_with("linked"));
    assert_eq!(main.checked_out_in("other").unwrap(), None);
}

#[test]
fn repositories_that_cannot_be_read_faithfully_are_refused_by_name() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    assert!(matches!(refusal(dir), WorkspaceError::NotARepository { .. }));
    assert!(matches!(
        refusal(&dir.join("missing")),
        WorkspaceError::Unreadable { .. }
    ));
    git(dir, &["init", "--quiet", "--bare", "bare"]);
    assert!(matches!(refusal(&dir.join("bare")), WorkspaceError::Bare { .. }));
    git(dir, &["init", "--quiet", "--object-format=sha256", "sha256"]);
    let error = refusal(&dir.join("sha256"));
    assert!(matches!(error, WorkspaceError::Format { .. }), "{error}");
    assert!(error.to_string().contains("sha256 objects"), "{error}");
    git(dir, &["init", "--quiet", "partial"]);
    git(&dir.join("partial"), &["config", "remote.origin.promisor", "true"]);
    assert!(matches!(
        refusal(&dir.join("partial")),
        WorkspaceError::PartialClone { .. }
    ));
    git(dir, &["init", "--quiet", "broken"]);
    std::fs::remove_file(dir.join("broken/.git/HEAD")).unwrap();
    let error = refusal(&dir.join("broken"));
    assert!(matches!(error, WorkspaceError::Unusable { .. }), "{error}");
    git(dir, &["init", "--quiet", "unknown"]);
    git(&dir.join("unknown"), &["config", "core.repositoryFormatVersion", "1"]);
    git(&dir.join("unknown"), &["config", "extensions.fromTheFuture", "true"]);
    let error = refusal(&dir.join("unknown"));
    assert!(matches!(error, WorkspaceError::Unusable { .. }), "{error}");
}

#[test]
fn a_repository_with_reftables_is_refused_by_name() {
    if !has("git-reftable") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    git(temp.path(), &["init", "--quiet", "--ref-format=reftable", "reftable"]);
    let error = refusal(&temp.path().join("reftable"));
    assert!(error.to_string().contains("reftable refs"), "{error}");
}

#[test]
fn a_repository_of_another_user_is_refused_with_the_remedy() {
    if !is_root() && !has("root") {
        return;
    }
    let origin = Origin::new();
    std::os::unix::fs::chown(origin.dir(), Some(4242), Some(4242)).unwrap();
    std::os::unix::fs::chown(origin.dir().join(".git"), Some(4242), Some(4242)).unwrap();
    let error = refusal(&origin.dir());
    assert!(matches!(error, WorkspaceError::NotOwned { .. }), "{error}");
    assert!(error.hint().unwrap().contains("safe.directory"));
}

#[test]
fn a_repository_without_commits_says_so() {
    let origin = Origin::empty();
    let error = origin.open().head().unwrap_err();
    assert!(matches!(error, WorkspaceError::NoCommits { .. }), "{error}");
}

#[test]
fn revisions_lead_to_commits_or_to_a_clear_refusal() {
    let origin = Origin::new();
    origin.git(&["tag", "--annotate", "--message=x", "v1"]);
    let repo = origin.open();
    let head = repo.head().unwrap().commit;
    for rev in [
        "HEAD",
        "main",
        "v1",
        "refs/heads/main",
        &head.short(),
        &head.to_string(),
    ] {
        assert_eq!(repo.resolve(rev).unwrap(), head, "{rev}");
    }
    for rev in ["", "-x", "--upload-pack=x", "a\nb", "a\0b", "HEAD^{", &"a".repeat(5000)] {
        let error = repo.resolve(rev).unwrap_err();
        assert!(
            matches!(error, WorkspaceError::MalformedRevision { .. }),
            "{rev:?}: {error}"
        );
    }
    for rev in ["nowhere", "HEAD~7", "0123456789012345678901234567890123456789"] {
        let error = repo.resolve(rev).unwrap_err();
        assert!(
            matches!(error, WorkspaceError::NoSuchRevision { .. }),
            "{rev:?}: {error}"
        );
    }
    for rev in ["HEAD:README", "HEAD^{tree}"] {
        let error = repo.resolve(rev).unwrap_err();
        assert!(matches!(error, WorkspaceError::NotACommit { .. }), "{rev:?}: {error}");
    }
}

#[test]
fn a_dirty_work_tree_is_noticed_and_not_written() {
    let origin = Origin::new();
    let repo = origin.open();
    assert!(!repo.is_dirty().unwrap());
    origin.write("untracked", "x");
    assert!(!repo.is_dirty().unwrap());
    // The same content with another time is what tempts a status into refreshing the index.
    origin.write("README", "base\n");
    let index = std::fs::read(origin.dir().join(".git/index")).unwrap();
    assert!(!repo.is_dirty().unwrap());
    origin.write("README", "other\n");
    assert!(repo.is_dirty().unwrap());
    assert_eq!(std::fs::read(origin.dir().join(".git/index")).unwrap(), index);
    origin.write("README", "base\n");
    origin.git(&["rm", "--quiet", "--cached", "src/lib.py"]);
    assert!(repo.is_dirty().unwrap());
}

#[test]
fn a_sparse_checkout_is_not_dirty() {
    let origin = Origin::new();
    origin.git(&["sparse-checkout", "set", "--no-cone", "/src/"]);
    assert!(!origin.dir().join("README").exists());
    assert!(!origin.open().is_dirty().unwrap());
    std::fs::remove_file(origin.dir().join("src/lib.py")).unwrap();
    assert!(origin.open().is_dirty().unwrap());
}

#[test]
fn entries_come_from_the_commit_and_no_link_is_followed() {
    let origin = Origin::new();
    origin.git(&[
        "update-index",
        "--add",
        "--cacheinfo",
        &format!("160000,{},vendored", "1".repeat(40)),
    ]);
    origin.git(&["commit", "--quiet", "--message=submodule"]);
    let repo = origin.open();
    let snapshot = repo.snapshot(repo.head().unwrap().commit).unwrap();
    origin.write("README", "dirty\n");
    let entry = |name: &str| snapshot.entry(&path(name)).unwrap();
    let file = |content: &str, executable| BaseEntry::File {
        content: content.as_bytes().to_vec(),
        executable,
    };
    assert_eq!(entry("README"), file("base\n", false));
    assert_eq!(entry("bin/run"), file("#!/bin/sh\n", true));
    assert_eq!(entry("src"), BaseEntry::Directory);
    assert_eq!(entry("src/link"), BaseEntry::Symlink);
    assert_eq!(entry("dirlink/lib.py"), BaseEntry::BelowSymlink);
    assert_eq!(entry("dirlink/a/b/c"), BaseEntry::BelowSymlink);
    assert_eq!(entry("README/x"), BaseEntry::BelowFile);
    assert_eq!(entry("vendored"), BaseEntry::Submodule);
    assert_eq!(entry("vendored/x"), BaseEntry::Submodule);
    assert_eq!(entry("src/new/deep"), BaseEntry::Absent);
}

#[test]
fn ignore_rules_are_those_of_git_for_the_committed_files() {
    let rules = "*.log\n!keep.log\n/build/\n# comment\n\\#hash\n\ndoc/**/tmp\nsecret?.txt \ndir/\n[Tt]emp\n!dir/kept\na/*/z\n[bad\n";
    let origin = Origin::new();
    origin.write(".gitignore", rules);
    origin.write("src/.gitignore", "!loud.log\n*.pyc\n/only-here\n");
    origin.write("tracked.log", "tracked");
    origin.commit_all("rules");
    // The work tree's rules are not the commit's.
    let repo = origin.open();
    let snapshot = repo.snapshot(repo.head().unwrap().commit).unwrap();
    for name in [
        "a.log",
        "keep.log",
        "src/a.log",
        "src/keep.log",
        "src/loud.log",
        "build/x",
        "src/build/x",
        "#hash",
        "doc/tmp",
        "doc/a/b/tmp",
        "doc/a/b/tmp/c",
        "secret1.txt",
        "secret12.txt",
        "dir/kept",
        "dir/x",
        "x/dir/y",
        "Temp",
        "temp",
        "TEMP",
        "a/b/z",
        "a/b/c/z",
        "src/x.pyc",
        "x.pyc",
        "src/only-here",
        "src/sub/only-here",
        "README",
        "new.py",
    ] {
        let status = Command::new("git")
            .current_dir(origin.dir())
            .args(["check-ignore", "--quiet", "--no-index", name])
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .status()
            .unwrap();
        assert_eq!(snapshot.is_ignored(&path(name)).unwrap(), status.success(), "{name}");
    }
    assert!(!snapshot.is_ignored(&path("tracked.log")).unwrap());
    origin.write(".gitignore", "*\n");
    origin.write(".git/info/exclude", "*\n");
    assert!(!snapshot.is_ignored(&path("new.py")).unwrap());
}

#[test]
fn names_that_differ_only_by_case_or_form_collide() {
    let origin = Origin::new();
    origin.write("docs/Caf\u{e9}.md", "");
    origin.write("Both/a", "");
    origin.write("both/a", "");
    origin.commit_all("names");
    let repo = origin.open();
    let snapshot = repo.snapshot(repo.head().unwrap().commit).unwrap();
    let collision = |name: &str| snapshot.case_collision(&path(name)).unwrap();
    assert_eq!(collision("readme").as_deref(), Some("README"));
    assert_eq!(collision("SRC/lib.py").as_deref(), Some("src"));
    assert_eq!(collision("src/LIB.py").as_deref(), Some("src/lib.py"));
    assert_eq!(collision("docs/cafe\u{301}.md").as_deref(), Some("docs/Caf\u{e9}.md"));
    assert_eq!(collision("DOCS/new").as_deref(), Some("docs"));
    for name in [
        "README",
        "src/lib.py",
        "src/new.py",
        "Both/a",
        "both/a",
        "both/new",
        "new/README",
    ] {
        assert_eq!(collision(name), None, "{name}");
    }
    // On such a file system the two directories are one.
    assert_eq!(collision("both/A").as_deref(), Some("Both/a"));
}

#[test]
fn an_exported_tree_is_the_commits_tree() {
    let origin = Origin::new();
    origin.write("empty", "");
    origin.write("a/very/deep/file", "x");
    origin.write(".gitattributes", "* text eol=crlf\n");
    origin.write("src/unix.txt", "line\n");
    for name in [&b"caf\xe9"[..], b"\xff\xfe", b"new\nline", b"-rf", b"back\\slash"] {
        std::fs::write(origin.dir().join(OsStr::from_bytes(name)), "bytes").unwrap();
    }
    symlink("/etc/passwd", origin.dir().join("absolute")).unwrap();
    symlink("no/such", origin.dir().join("dangling")).unwrap();
    origin.commit_all("odd");
    let repo = origin.open();
    let snapshot = repo.snapshot(repo.head().unwrap().commit).unwrap();
    let cache = origin.cache();
    let exported = cache.export(&snapshot, None).unwrap();
    assert_eq!(
        exported.file_name().unwrap().to_str().unwrap(),
        snapshot.tree().to_string()
    );
    assert!(!exported.join(".git").exists());
    // Not converted by attributes.
    assert_eq!(std::fs::read(exported.join("src/unix.txt")).unwrap(), b"line\n");
    std::fs::remove_file(origin.dir().join(".gitattributes")).unwrap();
    assert_eq!(
        std::fs::read_link(exported.join("absolute")).unwrap(),
        Path::new("/etc/passwd")
    );
    let mode = |name: &str| exported.join(name).symlink_metadata().unwrap().mode() & 0o7777;
    assert_eq!(
        (mode("README"), mode("bin/run"), mode("src"), mode("")),
        (0o644, 0o755, 0o755, 0o755)
    );
    assert_eq!(mode("") & 0o022, 0);
    let cache_dir = exported.parent().unwrap().metadata().unwrap();
    assert_eq!(cache_dir.mode() & 0o7777, 0o700);
    let attributes = exported.join(".gitattributes");
    let hidden = exported.join("../attributes");
    std::fs::rename(&attributes, &hidden).unwrap();
    let index = tree_of(&exported);
    origin.git(&["rm", "--quiet", ".gitattributes"]);
    origin.git(&["commit", "--quiet", "--message=without"]);
    assert_eq!(index, origin.git(&["rev-parse", "HEAD^{tree}"]));
}

#[test]
fn a_submodule_is_exported_as_an_empty_directory() {
    let origin = Origin::new();
    origin.git(&[
        "update-index",
        "--add",
        "--cacheinfo",
        &format!("160000,{},vendored", "1".repeat(40)),
    ]);
    origin.git(&["commit", "--quiet", "--message=submodule"]);
    let repo = origin.open();
    let snapshot = repo.snapshot(repo.head().unwrap().commit).unwrap();
    let exported = origin.cache().export(&snapshot, None).unwrap();
    assert_eq!(std::fs::read_dir(exported.join("vendored")).unwrap().count(), 0);
}

#[test]
fn a_tree_is_exported_once_and_again_when_it_cannot_be_trusted() {
    let origin = Origin::new();
    let repo = origin.open();
    let snapshot = repo.snapshot(repo.head().unwrap().commit).unwrap();
    let cache = origin.cache();
    let exported = cache.export(&snapshot, None).unwrap().to_path_buf();
    let inode = |path: &Path| path.metadata().unwrap().ino();
    let first = inode(&exported);
    assert_eq!(inode(&cache.export(&snapshot, None).unwrap()), first);
    assert_eq!(inode(&origin.cache().export(&snapshot, None).unwrap()), first);

    // As after a power cut: another boot, and a file that lost its content.
    let marker = exported.with_extension("ok");
    std::fs::write(&marker, "00000000-0000-0000-0000-000000000000\n").unwrap();
    std::fs::write(exported.join("README"), "").unwrap();
    let again = cache.export(&snapshot, None).unwrap();
    assert_eq!(std::fs::read_to_string(again.join("README")).unwrap(), "base\n");

    // As after a kill: a tree without its marker, an unfinished one, and an operator who tidied up.
    std::fs::remove_file(&marker).unwrap();
    std::fs::remove_file(exported.join("README")).unwrap();
    let part = exported.with_extension("part");
    std::fs::create_dir_all(part.join("half")).unwrap();
    cache.export(&snapshot, None).unwrap();
    assert!(exported.join("README").exists() && !part.exists());
    std::fs::remove_dir_all(&exported).unwrap();
    cache.export(&snapshot, None).unwrap();
    assert!(exported.join("README").exists());

    std::fs::create_dir_all(part.join("half")).unwrap();
    drop(origin.cache());
    assert!(!part.exists(), "an unfinished tree is removed when the cache is opened");
}

#[test]
fn racing_exports_share_one_tree() {
    let origin = Origin::new();
    for number in 0..300 {
        origin.write(&format!("many/{number}"), "x");
    }
    origin.commit_all("many");
    let paths: Vec<_> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let repo = origin.open();
                    let snapshot = repo.snapshot(repo.head().unwrap().commit).unwrap();
                    let exported = origin.cache().export(&snapshot, None).unwrap();
                    assert_eq!(std::fs::read_dir(exported.join("many")).unwrap().count(), 300);
                    exported.metadata().unwrap().ino()
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert!(paths.windows(2).all(|pair| pair[0] == pair[1]), "{paths:?}");
}

#[test]
fn trees_that_git_would_not_make_never_reach_a_disk() {
    let origin = Origin::new();
    let blob = origin.git(&["rev-parse", "HEAD:README"]);
    let tree = origin.git(&["rev-parse", "HEAD:src"]);
    let long = vec![b'n'; 300];
    let cases: Vec<Vec<(&str, &[u8], &str)>> = vec![
        vec![("40000", b".git", &tree)],
        vec![("100644", b".GIT", &blob)],
        vec![("40000", b"git~1", &tree)],
        vec![("40000", ".g\u{200c}it".as_bytes(), &tree)],
        vec![("40000", b".git . ", &tree)],
        vec![("40000", b"..", &tree)],
        vec![("40000", b".", &tree)],
        vec![("100644", b"../escaped", &blob)],
        vec![("100644", b"/tmp/escaped", &blob)],
        vec![("100644", &long, &blob)],
        vec![("120000", b"twice", &blob), ("40000", b"twice", &tree)],
        vec![("100644", b"twice", &blob), ("100644", b"twice", &blob)],
    ];
    let repo = origin.open();
    let cache = origin.cache();
    for entries in &cases {
        let snapshot = repo.snapshot(origin.commit_raw(entries)).unwrap();
        let error = cache.export(&snapshot, None).unwrap_err();
        assert!(
            matches!(error, WorkspaceError::HostileEntry { .. }),
            "{entries:?}: {error}"
        );
    }
    // libgit2 itself refuses to read this one.
    let commit = origin.commit_raw(&[("100644", b"", &blob)]);
    let error = repo
        .snapshot(commit)
        .and_then(|snapshot| cache.export(&snapshot, None))
        .unwrap_err();
    assert_eq!(error.class(), FailureClass::Host, "{error}");
    // A target of no characters, or with a NUL in it.
    for target in [&b""[..], b"a\0b"] {
        let blob = git_with(&origin.dir(), &["hash-object", "-w", "--stdin"], target);
        let snapshot = repo.snapshot(origin.commit_raw(&[("120000", b"link", &blob)])).unwrap();
        let error = cache.export(&snapshot, None).unwrap_err();
        assert!(matches!(error, WorkspaceError::HostileEntry { .. }), "{error}");
    }
    let missing = repo
        .snapshot(origin.commit_raw(&[("100644", b"gone", &"2".repeat(40))]))
        .unwrap();
    let error = cache.export(&missing, None).unwrap_err();
    assert!(matches!(error, WorkspaceError::Read { .. }), "{error}");
    let left: Vec<_> = std::fs::read_dir(origin.temp.path().join("cache/trees"))
        .unwrap()
        .collect();
    assert!(
        left.iter()
            .all(|entry| entry.as_ref().unwrap().path().extension() == Some(OsStr::new("ok"))),
        "{left:?}"
    );
    assert!(!Path::new("/tmp/escaped").exists());
}

#[test]
fn a_few_objects_that_describe_countless_files_are_refused() {
    let origin = Origin::new();
    let blob = origin.git(&["rev-parse", "HEAD:README"]);
    // Each level holds the one below it 64 times.
    let mut level = ("100644", blob);
    for _ in 0..12 {
        let names: Vec<String> = (0..64).map(|number| format!("{number:02}")).collect();
        let mut raw = Vec::new();
        for name in &names {
            raw.extend([level.0.as_bytes(), b" ", name.as_bytes(), b"\0"].concat());
            raw.extend(git2::Oid::from_str(&level.1).unwrap().as_bytes());
        }
        let tree = git_with(&origin.dir(), &["hash-object", "-t", "tree", "-w", "--stdin"], &raw);
        level = ("40000", tree);
    }
    let commit: ObjectId = origin.git(&["commit-tree", "-m", "bomb", &level.1]).parse().unwrap();
    let repo = origin.open();
    let snapshot = repo.snapshot(commit).unwrap();
    let error = origin.cache().export(&snapshot, None).unwrap_err();
    assert!(matches!(error, WorkspaceError::TooLarge { .. }), "{error}");
}

#[test]
fn an_export_for_another_user_belongs_to_them() {
    if !is_root() && !has("root") {
        return;
    }
    let origin = Origin::new();
    let repo = origin.open();
    let snapshot = repo.snapshot(repo.head().unwrap().commit).unwrap();
    let exported = origin.cache().export(&snapshot, Some(4242)).unwrap();
    assert!(exported.to_str().unwrap().ends_with("-uid4242"));
    for name in ["", "README", "bin", "bin/run", "src/link", "dirlink"] {
        let metadata = exported.join(name).symlink_metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (4242, 4242), "{name}");
    }
    assert_eq!(exported.join("bin/run").metadata().unwrap().mode() & 0o7777, 0o755);
    let scratch = tempfile::tempdir().unwrap();
    let writes = changes(&[("new/dir/file", "x")]);
    let candidate = Candidate::new(
        &Base::files(exported.clone()),
        &snapshot,
        &writes,
        scratch.path(),
        Some(4242),
    )
    .unwrap();
    for name in ["", "new", "new/dir", "new/dir/file"] {
        let metadata = candidate.layers()[0].join(name).symlink_metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (4242, 4242), "{name}");
    }
}

#[test]
fn a_cache_that_others_can_write_to_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("cache");
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = TreeCache::open(&dir).unwrap_err();
    assert!(matches!(error, WorkspaceError::SharedCache { .. }), "{error}");
}

#[test]
fn a_candidate_holds_the_changed_files_and_leaves_nothing() {
    let origin = Origin::new();
    let repo = origin.open();
    let snapshot = repo.snapshot(repo.head().unwrap().commit).unwrap();
    let base = origin.cache().export(&snapshot, None).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let writes = changes(&[
        ("bin/run", "new\n"),
        ("src/lib.py", "x = 2\n"),
        ("src/a/b.py", ""),
        ("src/a/c.py", "c"),
    ]);
    let candidate = Candidate::new(&Base::files(base.clone()), &snapshot, &writes, scratch.path(), None).unwrap();
    let layers = candidate.layers();
    assert_eq!(layers.len(), 2);
    assert_eq!(layers[1], base.to_path_buf());
    let layer = &layers[0];
    assert_eq!(std::fs::read_to_string(layer.join("bin/run")).unwrap(), "new\n");
    assert_eq!(std::fs::read_to_string(layer.join("src/a/c.py")).unwrap(), "c");
    let mode = |name: &str| layer.join(name).metadata().unwrap().mode() & 0o7777;
    assert_eq!(
        (
            mode(""),
            mode("bin/run"),
            mode("src/lib.py"),
            mode("src/a"),
            mode("src/a/b.py")
        ),
        (0o755, 0o755, 0o644, 0o755, 0o644)
    );
    assert!(!layer.join("README").exists());
    assert_eq!(std::fs::read_to_string(base.join("bin/run")).unwrap(), "#!/bin/sh\n");

    let precious = scratch.path().join("precious");
    std::fs::create_dir(&precious).unwrap();
    std::fs::write(precious.join("file"), "kept").unwrap();
    symlink(&precious, layer.join("link")).unwrap();
    std::fs::create_dir_all(layer.join("closed/inner")).unwrap();
    std::fs::set_permissions(layer.join("closed"), std::fs::Permissions::from_mode(0o0)).unwrap();
    drop(candidate);
    let left: Vec<_> = std::fs::read_dir(scratch.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["precious"]);
    assert_eq!(std::fs::read_to_string(precious.join("file")).unwrap(), "kept");

    for (name, content) in [("dirlink/x", "x"), ("src/link", "x"), ("README/x", "x"), ("src", "x")] {
        let writes = changes(&[("first", "x"), (name, content)]);
        let error = Candidate::new(&Base::files(base.clone()), &snapshot, &writes, scratch.path(), None).unwrap_err();
        assert_eq!(error.class(), FailureClass::Proposal, "{name}: {error}");
    }
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
}

/// Whiteouts of an overlay: character devices with the number 0/0. Source: Documentation/filesystems/overlayfs.rst.
fn is_whiteout(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    let metadata = path.symlink_metadata();
    metadata.is_ok_and(|metadata| metadata.file_type().is_char_device() && metadata.rdev() == 0)
}

#[test]
fn a_candidate_hides_what_goes_and_the_directories_that_it_leaves_empty() {
    let origin = Origin::new();
    let repo = origin.open();
    let snapshot = repo.snapshot(repo.head().unwrap().commit).unwrap();
    let base = origin.cache().export(&snapshot, None).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let change_set = ChangeSet {
        deletes: vec![Delete {
            path: path("src/lib.py"),
            base_sha256: Sha256::EMPTY,
        }],
        renames: vec![Rename {
            from: path("bin/run"),
            to: path("tools/run"),
            base_sha256: Sha256::EMPTY,
            executable: None,
        }],
        ..ChangeSet::default()
    };
    let candidate = Candidate::new(&Base::files(base.clone()), &snapshot, &change_set, scratch.path(), None).unwrap();
    let layer = &candidate.layers()[0];
    // `src` has more than that file; `bin` does not.
    assert!(is_whiteout(&layer.join("src/lib.py")) && is_whiteout(&layer.join("bin")));
    assert_eq!(
        std::fs::read(layer.join("tools/run")).unwrap(),
        std::fs::read(base.join("bin/run")).unwrap()
    );
    assert_eq!(layer.join("tools/run").metadata().unwrap().mode() & 0o7777, 0o755);
    drop(candidate);
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}

/// Builds a tree that is unpleasant to remove, and removes it.
#[test]
fn a_deep_closed_and_misnamed_tree_is_removed_and_links_are_not_followed() {
    let temp = tempfile::tempdir().unwrap();
    let outside = temp.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("file"), "kept").unwrap();
    let tree = temp.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    symlink(&outside, tree.join("link")).unwrap();
    std::fs::write(tree.join("1.removing"), "a name that removal itself uses").unwrap();
    std::fs::create_dir(tree.join("2.removing")).unwrap();
    std::fs::create_dir_all(tree.join("x/3.removing/y")).unwrap();
    for name in [&b"\xff\xfe"[..], b"new\nline", b"-rf", b"*"] {
        std::fs::create_dir_all(tree.join(OsStr::from_bytes(name)).join("inner")).unwrap();
    }
    let mut dir = rustix::fs::open(&tree, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
    let (mut chain, mut depth) = (Vec::new(), 0);
    while depth < 5000 {
        rustix::fs::mkdirat(&dir, "d", rustix::fs::Mode::RWXU).unwrap();
        dir = rustix::fs::openat(&dir, "d", rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
        if depth % 1000 == 0 {
            chain.push(dir.try_clone().unwrap());
        }
        depth += 1;
    }
    for dir in chain {
        rustix::fs::fchmod(dir, rustix::fs::Mode::empty()).unwrap();
    }
    std::fs::create_dir_all(tree.join("closed/a/b")).unwrap();
    std::fs::set_permissions(tree.join("closed/a"), std::fs::Permissions::from_mode(0o0)).unwrap();
    std::fs::set_permissions(tree.join("closed"), std::fs::Permissions::from_mode(0o500)).unwrap();
    std::fs::set_permissions(&tree, std::fs::Permissions::from_mode(0o0)).unwrap();

    remove_tree(&tree).unwrap();
    assert!(tree.symlink_metadata().is_err());
    assert_eq!(std::fs::read_to_string(outside.join("file")).unwrap(), "kept");
    remove_tree(&tree).unwrap();
    remove_tree(&temp.path().join("no/such/parent")).unwrap();
    symlink(&outside, &tree).unwrap();
    assert!(remove_tree(&tree).is_err(), "a link is no directory");
    assert!(outside.join("file").exists());
}

#[test]
fn an_ordinary_user_removes_such_a_tree_too() {
    // An ordinary user has just run the test above.
    if !is_root() || !has("setpriv") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    std::fs::set_permissions(temp.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    // The tests may lie in a directory that only root can search.
    let tests = temp.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &tests).unwrap();
    let status = Command::new("setpriv")
        .args(["--reuid=4242", "--regid=4242", "--clear-groups", "--"])
        .arg(&tests)
        .args([
            "--exact",
            "git::a_deep_closed_and_misnamed_tree_is_removed_and_links_are_not_followed",
        ])
        .env("TMPDIR", temp.path())
        .current_dir(temp.path())
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn a_large_tree_is_exported_once_and_then_found() {
    let files: usize = 10_000;
    let origin = Origin::empty();
    let mut stream = String::from("blob\nmark :1\ndata 400\n");
    stream.push_str(&"x".repeat(399));
    stream.push_str("\n\ncommit refs/heads/main\ncommitter a <a@localhost> 0 +0000\ndata 1\nx\n");
    for number in 0..files {
        stream.push_str(&format!("M 100644 :1 d{}/e{}/f{number}\n", number % 50, number % 500));
    }
    git_with(&origin.dir(), &["fast-import", "--quiet"], stream.as_bytes());
    let repo = origin.open();
    let snapshot = repo.snapshot(repo.head().unwrap().commit).unwrap();
    // Printed and not asserted: ext4 is many times slower at creating files for a while after many were deleted.
    let cache = origin.cache();
    let start = Instant::now();
    cache.export(&snapshot, None).unwrap();
    let cold = start.elapsed();
    let start = Instant::now();
    cache.export(&snapshot, None).unwrap();
    println!("{files} files: exported in {cold:?}, found in {:?}", start.elapsed());
}
