//! A repository with a checkout, made by the command-line git in one step.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What stands at a path of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum File {
    /// A regular file.
    Regular { content: Vec<u8>, executable: bool },
    /// A symbolic link and where it points.
    Symlink(String),
}

impl File {
    /// A file that nobody executes.
    pub(crate) fn plain(content: impl Into<Vec<u8>>) -> Self {
        File::Regular {
            content: content.into(),
            executable: false,
        }
    }
}

/// A repository and its checkout.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) dir: PathBuf,
}

impl Origin {
    /// Creates a repository without commits in `dir`, whose HEAD is on `branch`.
    pub(crate) fn empty(dir: &Path, branch: &str) -> Self {
        fs::create_dir_all(dir).unwrap();
        let origin = Origin { dir: dir.to_owned() };
        origin.git(&["init", "--quiet", &format!("--initial-branch={branch}"), "."]);
        origin
    }

    /// Creates a repository in `dir` with one commit for each tree, the last of them checked out on `branch`.
    pub(crate) fn with_commits<'a>(
        dir: &Path,
        branch: &str,
        trees: impl IntoIterator<Item = &'a BTreeMap<String, File>>,
    ) -> Self {
        let origin = Origin::empty(dir, branch);
        let mut stream = Vec::new();
        for tree in trees {
            write_commit(&mut stream, branch, tree);
        }
        origin.feed(&["fast-import", "--quiet"], &stream);
        origin.git(&["reset", "--quiet", "--hard"]);
        origin
    }

    /// What git prints; it must succeed.
    #[track_caller]
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        self.feed(arguments, b"")
    }

    #[track_caller]
    fn feed(&self, arguments: &[&str], input: &[u8]) -> String {
        let mut git = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        git.stdin.take().unwrap().write_all(input).unwrap();
        let output = git.wait_with_output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// The object that a revision names, if there is one.
    pub(crate) fn rev(&self, revision: &str) -> Option<String> {
        let output = self
            .command(&["rev-parse", "--quiet", "--verify", "--end-of-options", revision])
            .output()
            .unwrap();
        output
            .status
            .success()
            .then(|| String::from_utf8(output.stdout).unwrap().trim_end().to_owned())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=operator", "-c", "user.email=operator@localhost"])
            .args(arguments)
            .current_dir(&self.dir)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1");
        git
    }

    /// The files of a commit.
    pub(crate) fn files_at(&self, revision: &str) -> BTreeMap<String, File> {
        let repository = git2::Repository::open(&self.dir).unwrap();
        let tree = repository.revparse_single(revision).unwrap().peel_to_tree().unwrap();
        let mut files = BTreeMap::new();
        tree.walk(git2::TreeWalkMode::PreOrder, |parent, entry| {
            if entry.kind() == Some(git2::ObjectType::Blob) {
                let content = repository.find_blob(entry.id()).unwrap().content().to_vec();
                let file = match entry.filemode() {
                    0o120_000 => File::Symlink(String::from_utf8(content).unwrap()),
                    mode => File::Regular {
                        content,
                        executable: mode == 0o100_755,
                    },
                };
                files.insert(format!("{}{}", parent, entry.name().unwrap()), file);
            }
            git2::TreeWalkResult::Ok
        })
        .unwrap();
        files
    }

    /// Everything that a run must leave alone: the checkout with what is not committed, HEAD, the index, the settings and
    /// the hooks.
    pub(crate) fn untouchable(&self) -> BTreeMap<String, File> {
        let mut all = files_of(&self.dir);
        all.retain(|path, _| !path.starts_with(".git/"));
        for kept in ["HEAD", "index", "config", "info", "hooks"] {
            let path = self.dir.join(".git").join(kept);
            if path.is_dir() {
                let below = files_of(&path).into_iter();
                all.extend(below.map(|(name, file)| (format!(".git/{kept}/{name}"), file)));
            } else if let Ok(content) = fs::read(&path) {
                all.insert(format!(".git/{kept}"), File::plain(content));
            }
        }
        all
    }
}

/// The files below a directory, by their path from there.
pub(crate) fn files_of(dir: &Path) -> BTreeMap<String, File> {
    let mut files = BTreeMap::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
            if kind.is_dir() {
                pending.push(path);
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                files.insert(name, File::Symlink(target.to_str().unwrap().to_owned()));
            } else {
                files.insert(name, File::plain(fs::read(&path).unwrap()));
            }
        }
    }
    files
}

/// A commit in the words of git-fast-import(1). Each has all files of its tree.
fn write_commit(stream: &mut Vec<u8>, branch: &str, tree: &BTreeMap<String, File>) {
    let head = format!(
        "commit refs/heads/{branch}\ncommitter operator <operator@localhost> 0 +0000\ndata 4\nbase\ndeleteall\n"
    );
    stream.extend_from_slice(head.as_bytes());
    for (path, file) in tree {
        let (mode, content) = match file {
            File::Regular { content, executable } => {
                (if *executable { "100755" } else { "100644" }, content.as_slice())
            }
            File::Symlink(target) => ("120000", target.as_bytes()),
        };
        let path = path.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        stream.extend_from_slice(format!("M {mode} inline \"{path}\"\ndata {}\n", content.len()).as_bytes());
        stream.extend_from_slice(content);
        stream.push(b'\n');
    }
    stream.push(b'\n');
}
