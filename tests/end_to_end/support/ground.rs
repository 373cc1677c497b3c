//! A scratch directory with a tree and the probe in it, and a sandbox to run it in.

use super::residue::Residue;
use factory::sandbox::{
    Captured, Command, Operator, Outcome, Policy, Report, Sandbox, SandboxError, Tree, load_profile,
};
use factory::types::Bytes;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// The profile `strict` with limits small enough to be reached in a test.
pub(crate) fn policy() -> Policy {
    let operator = Operator {
        profiles: None,
        own: &[],
        search_path: "/usr/bin:/bin",
        variable: &|_| None,
    };
    let mut policy = load_profile("strict", &operator).unwrap();
    policy.limits.wall = Duration::from_secs(60);
    policy.limits.output = Bytes(1 << 20);
    policy
}

/// How one run of the probe went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Act {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    /// The line that it printed.
    pub(crate) line: String,
}

impl Act {
    pub(crate) fn succeeded(&self) -> bool {
        self.code == Some(0) && self.line.starts_with("ok")
    }

    /// The error that refused the act.
    pub(crate) fn errno(&self) -> Option<&str> {
        self.line.strip_prefix("errno=")?.split(' ').next()
    }

    /// What a counted act reached before it was refused.
    pub(crate) fn count(&self) -> u64 {
        self.line.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap()
    }
}

impl From<&Report> for Act {
    fn from(report: &Report) -> Self {
        let (code, signal) = match report.outcome {
            Outcome::Exit { code } => (Some(code), None),
            Outcome::Signal { signal } => (None, Some(signal)),
            Outcome::Limit { .. } | Outcome::Denied { .. } | Outcome::Tampered { .. } | Outcome::Setup { .. } => {
                (None, None)
            }
        };
        let line = text(&report.stdout);
        Act { code, signal, line }
    }
}

/// What changes of a file when anything about it changes: the kernel sets its change time, and nobody else can.
fn state_of(directory: &Path) -> BTreeMap<PathBuf, (u64, u32, i64, i64)> {
    let mut found = BTreeMap::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        if metadata.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten();
            pending.extend(entries.flatten().map(|entry| entry.path()));
        }
        let state = (metadata.ino(), metadata.mode(), metadata.ctime(), metadata.ctime_nsec());
        found.insert(path, state);
    }
    found
}

fn text(stream: &Captured) -> String {
    String::from_utf8_lossy(&stream.to_bytes()).trim_end().to_owned()
}

/// A sandbox, a tree that holds `probe`, and a scratch directory that goes away with it.
pub(crate) struct Ground {
    pub(crate) sandbox: Sandbox,
    pub(crate) scratch: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    /// Dropped last: it looks whether anything is left of the others.
    residue: Residue,
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.residue.note();
    }
}

impl Ground {
    pub(crate) fn new() -> Self {
        // Not below /tmp, which the view replaces by one of its own: paths in here can be granted.
        let scratch = tempfile::Builder::new()
            .prefix("factory-test-")
            .tempdir_in("/var/tmp")
            .unwrap();
        // Reachable for the mapped id too, so that what keeps it away is the sandbox and not a mode.
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (sandbox, residue) = Residue::of(Some(scratch.path()), || Sandbox::start(&super::program()).unwrap());
        let ground = Ground {
            sandbox,
            residue,
            scratch,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
        };
        fs::create_dir(ground.path("tree")).unwrap();
        ground.give("tree");
        ground.program("tree/probe", probe());
        ground
    }

    /// A path in the scratch directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// The same as text.
    pub(crate) fn word(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A file in the scratch directory, owned by whom a sandbox maps to.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        self.give(name);
        path
    }

    /// An executable file in the scratch directory.
    ///
    /// Another process writes it: a descriptor of ours could be inherited by what a test beside this one is starting, and
    /// a file that is open for writing cannot be executed (`ETXTBSY`).
    pub(crate) fn program(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        let mut writer = std::process::Command::new("sh")
            .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
            .arg(&path)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        writer.stdin.take().unwrap().write_all(content).unwrap();
        assert!(writer.wait().unwrap().success());
        self.give(name);
        path
    }

    /// Hands a file to the id that a sandbox maps to.
    pub(crate) fn give(&self, name: &str) {
        if let Some(owner) = Sandbox::tree_owner() {
            chown(self.path(name), Some(owner), Some(owner)).unwrap();
        }
    }

    pub(crate) fn tree(&self) -> Tree {
        Tree {
            layers: vec![self.path("tree")],
        }
    }

    /// The process id of the sandbox's helper.
    pub(crate) fn helper(&self) -> i32 {
        self.residue.helper()
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Runs a command inside, or is refused. Either way the tree on the host stays as it is.
    #[track_caller]
    pub(crate) fn try_run(&self, policy: &Policy, command: &Command) -> Result<Report, SandboxError> {
        let before = state_of(&self.path("tree"));
        let report = self.block_on(self.sandbox.run(policy, &self.tree(), command, None));
        assert!(
            state_of(&self.path("tree")) == before,
            "{command:?} changed the host's tree"
        );
        report
    }

    /// Runs a command inside.
    pub(crate) fn run(&self, policy: &Policy, command: &Command) -> Report {
        self.try_run(policy, command).unwrap()
    }

    /// Runs a shell script inside.
    pub(crate) fn shell(&self, policy: &Policy, script: &str) -> Report {
        self.run(policy, &Command::new(["sh", "-c", script]))
    }

    /// What a shell script inside prints; it must succeed.
    pub(crate) fn prints(&self, policy: &Policy, script: &str) -> String {
        let report = self.shell(policy, script);
        assert!(
            report.outcome.is_success(),
            "{script}: {:?} {}",
            report.outcome,
            text(&report.stderr)
        );
        text(&report.stdout)
    }

    /// Runs the probe inside.
    pub(crate) fn report(&self, policy: &Policy, words: &[&str]) -> Report {
        self.run(policy, &Command::new(["/src/probe"].iter().chain(words).copied()))
    }

    /// Runs the probe inside.
    pub(crate) fn inside(&self, policy: &Policy, words: &[&str]) -> Act {
        Act::from(&self.report(policy, words))
    }

    /// The control: the same probe without the sandbox, as the user that runs the test.
    pub(crate) fn outside(&self, words: &[&str]) -> Act {
        run(std::process::Command::new(self.path("tree/probe")).args(words))
    }

    /// The control of an act that needs root, or that would hurt: in private namespaces, as root of them. `prepare` is a
    /// line of shell that runs in them first.
    pub(crate) fn outside_as_root(&self, prepare: &str, words: &[&str]) -> Act {
        let script = format!("{prepare}\nexec \"$0\" \"$@\"");
        run(std::process::Command::new("unshare")
            .args([
                "--user",
                "--map-root-user",
                "--mount",
                "--pid",
                "--net",
                "--uts",
                "--ipc",
            ])
            .args(["--fork", "--kill-child", "sh", "-e", "-c", &script])
            .arg(self.path("tree/probe"))
            .args(words))
    }

    /// The control must succeed, and inside the same act must be refused with one of the errors named.
    #[track_caller]
    pub(crate) fn only_outside(&self, words: &[&str], errors: &[&str]) {
        let control = self.outside(words);
        assert!(control.succeeded(), "control of {words:?}: {control:?}");
        self.refused_inside(words, errors);
    }

    /// Inside, the act must be refused with one of the errors named.
    #[track_caller]
    pub(crate) fn refused_inside(&self, words: &[&str], errors: &[&str]) {
        let act = self.inside(&policy(), words);
        let right = act.code == Some(1) && act.errno().is_some_and(|errno| errors.contains(&errno));
        assert!(right, "{words:?}: {act:?}, expected {errors:?}");
    }
}

fn run(command: &mut std::process::Command) -> Act {
    let output = command.stdin(std::process::Stdio::null()).output().unwrap();
    Act {
        code: output.status.code(),
        signal: output.status.signal(),
        line: String::from_utf8_lossy(&output.stdout).trim_end().to_owned(),
    }
}

/// The probe's program, compiled once for all tests; static where the C library can be linked so.
fn probe() -> &'static [u8] {
    static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("probe");
        let compiled = compile(&program, &["-static"]) || compile(&program, &[]);
        assert!(compiled, "cc cannot compile tests/fixtures/probe.c");
        fs::read(program).unwrap()
    })
}

fn compile(program: &Path, options: &[&str]) -> bool {
    std::process::Command::new("cc")
        .args(["-O1", "-Wall"])
        .args(options)
        .arg("-o")
        .arg(program)
        .arg(super::project().join("tests/fixtures/probe.c"))
        .status()
        .unwrap()
        .success()
}
