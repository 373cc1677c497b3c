//! A repository, an order, recorded answers and a home, for one test; all in a directory that goes away with it.

use super::{Ended, holding_in_environment, program};

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The digest of no bytes, which a proposal names for a file that is new. Source: FIPS 180-4.
pub(crate) const NEW: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A repository, an order, recorded answers and a home.
pub(crate) struct Place {
    temp: TempDir,
}

/// Every file below a directory with what could have been changed about it.
pub(crate) type Snapshot = BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)>;

impl Place {
    /// The repository has one commit on branch `work`; the order asks for `hello` in `x.txt`, which the one recorded answer
    /// writes.
    pub(crate) fn new() -> Self {
        let place = Place::empty();
        place.write("repository/a.txt", "base\n");
        place.write("repository/scripts/verify.sh", "test ! -e broken\n");
        place.git(&["add", "--all"]);
        place.git(&["commit", "--quiet", "--message=base"]);
        place.write("answers/1.json", answer("x.txt", "hello\n"));
        place.write("order.json", order().to_string());
        place
    }

    /// The same without a commit, an order or an answer.
    pub(crate) fn empty() -> Self {
        let place = Place { temp: scratch() };
        for directory in ["repository", "home", "tmp", "answers"] {
            fs::create_dir(place.path(directory)).unwrap();
        }
        place.git(&["init", "--quiet", "--initial-branch=work"]);
        place
    }

    /// The same once more, with the times of its files; in memory where that can be had, for what is done a hundred times.
    pub(crate) fn copy(&self) -> Self {
        let memory = tempfile::Builder::new().prefix("factory-test-").tempdir_in("/dev/shm");
        let place = Place {
            temp: memory.unwrap_or_else(|_| scratch()),
        };
        let mut copy = Command::new("cp");
        copy.args(["--archive", "--no-target-directory"])
            .args([self.path(""), place.path("")]);
        assert!(copy.status().unwrap().success());
        place
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.temp.path().join(name)
    }

    /// The same as text.
    pub(crate) fn word(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        self.git_in("repository", arguments)
    }

    pub(crate) fn git_in(&self, directory: &str, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=operator", "-c", "user.email=operator@localhost"])
            .args(arguments)
            .current_dir(self.path(directory))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Saves a profile: the built-in `verify` under another name, with one text in it replaced by another.
    pub(crate) fn profile(&self, name: &str, replaced: &str, by: &str) {
        let built_in = include_str!("../../../sandbox-profiles/verify.toml");
        let named = built_in.replace("name = \"verify\"", &format!("name = \"{name}\""));
        assert!(named.contains(replaced), "{replaced} in {named}");
        self.write(
            &format!("home/.config/factory/profiles/{name}.toml"),
            named.replace(replaced, by),
        );
    }

    /// `program` in this place: at home here, with nothing but the search path of the caller's environment.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.temp.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .stdin(Stdio::null());
        command
    }

    /// `factory` with these arguments, in this place.
    pub(crate) fn factory(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(program());
        command.args(arguments);
        command
    }

    pub(crate) fn call(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.factory(arguments).output().unwrap())
    }

    /// `factory run` on the repository with the recorded answers.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        let fixed = ["run", "--repo=repository", "--provider=replay:answers"];
        self.call(&[&fixed, arguments].concat())
    }

    /// `factory exec` on the repository.
    pub(crate) fn exec(&self, arguments: &[&str]) -> Ended {
        self.call(&[&["exec", "--repo=repository"], arguments].concat())
    }

    /// Everything about the files below a directory of this place.
    pub(crate) fn snapshot(&self, name: &str) -> Snapshot {
        let mut found = Snapshot::new();
        let mut pending = vec![self.path(name)];
        while let Some(path) = pending.pop() {
            let metadata = fs::symlink_metadata(&path).unwrap();
            let content = match metadata.file_type() {
                kind if kind.is_file() => fs::read(&path).unwrap(),
                kind if kind.is_symlink() => fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(),
                _ => Vec::new(),
            };
            if metadata.is_dir() {
                pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            // A run's lock comes and goes in the git directory, whose own time tells of nothing else; that it goes is seen
            // by `leaves_nothing`.
            if path.ends_with("repository/.git/factory-lock") {
                continue;
            }
            let time = match path.ends_with("repository/.git") {
                true => (0, 0),
                false => (metadata.mtime(), metadata.mtime_nsec()),
            };
            let facts = (metadata.mode(), time.0, time.1, content);
            found.insert(path, facts);
        }
        found
    }

    /// The repository without what a promotion adds to: objects, refs and their logs.
    pub(crate) fn checkout(&self) -> Snapshot {
        let mut found = self.snapshot("repository");
        let git = self.path("repository/.git");
        found.retain(|path, _| {
            path != &git
                && ["objects", "refs", "logs"]
                    .iter()
                    .all(|name| !path.starts_with(git.join(name)))
        });
        found
    }

    /// Does something that must leave no trace: not in the repository, and nothing behind anywhere else.
    #[track_caller]
    pub(crate) fn untouched_by<T>(&self, act: impl FnOnce() -> T) -> T {
        let before = self.snapshot("repository");
        let done = act();
        assert!(self.snapshot("repository") == before, "the repository was changed");
        self.leaves_nothing();
        done
    }

    /// There is no process, mount, temporary directory, worktree or lock of a call that has ended.
    #[track_caller]
    pub(crate) fn leaves_nothing(&self) {
        self.is_quiet();
        for empty in ["home/.cache/factory/candidates", "repository/.git/worktrees"] {
            assert_eq!(names(&self.path(empty)), [""; 0], "in {empty}");
        }
        assert!(!self.path("repository/.git/factory-lock").exists());
        for path in self
            .snapshot("repository/.git")
            .keys()
            .chain(self.snapshot("home").keys())
        {
            let name = path.file_name().unwrap().to_string_lossy();
            assert!(!name.ends_with("lock") && !name.ends_with(".aside"), "{path:?}");
            assert!(!name.starts_with("tmp_obj"), "{path:?}");
        }
    }

    /// Nothing runs, is mounted or lies in the directory for temporary files any more, also when a call was killed.
    #[track_caller]
    pub(crate) fn is_quiet(&self) {
        let home = format!("HOME={}", self.word("home"));
        let end = Instant::now() + Duration::from_secs(5);
        while !holding_in_environment(&home).is_empty() {
            assert!(
                Instant::now() < end,
                "still running: {:?}",
                holding_in_environment(&home)
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&self.word("")), "{mounts}");
        assert_eq!(names(&self.path("tmp")), [""; 0], "in tmp");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.is_quiet();
        }
    }
}

fn scratch() -> TempDir {
    tempfile::Builder::new().prefix("factory-test-").tempdir().unwrap()
}

/// The order of a place.
pub(crate) fn order() -> Value {
    json!({
        "id": "WO-01",
        "title": "Say hello",
        "intent": "Write hello to x.txt.",
        "preconditions": [],
        "postconditions": [{ "kind": "file_exists", "path": "x.txt" }],
        "allowed_files": ["x.txt"],
        "forbidden": [],
        "acceptance_commands": ["grep --quiet hello x.txt"],
        "context_files": [],
        "notes": null,
    })
}

/// A proposal that writes one new file.
pub(crate) fn answer(path: &str, content: &str) -> String {
    let write = json!({ "path": path, "base_sha256": NEW, "content": content });
    json!({ "summary": "one file", "writes": [write] }).to_string()
}

/// The names in a directory; none when it does not exist.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}
