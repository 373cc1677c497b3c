//! A sandboxed `/bin/true` against bubblewrap and a plain spawn.

use crate::{Side, compare};
use factory::sandbox::{Command, Operator, Sandbox, Tree, load_profile};
use std::process::Stdio;

const FACTORY: &str = env!("CARGO_BIN_EXE_factory");

/// The closest that bubblewrap offers: all namespaces, read-only system, own /proc and /dev. No Landlock, no filter, no
/// limits, no report.
const BUBBLEWRAP: &str = "bwrap --ro-bind /usr /usr --ro-bind /etc /etc --symlink usr/bin /bin --symlink usr/lib /lib \
    --symlink usr/lib64 /lib64 --symlink usr/sbin /sbin --proc /proc --dev /dev --tmpfs /tmp --unshare-all \
    --die-with-parent /bin/true";

/// A launcher that runs no command well is no comparison.
fn spawn(words: &str) {
    let mut words = words.split_whitespace();
    let status = std::process::Command::new(words.next().unwrap())
        .args(words)
        .stdin(Stdio::null())
        .status()
        .expect("the launcher is installed; scripts/bench installs bubblewrap");
    assert!(status.success(), "{status}");
}

pub(crate) fn print() {
    let path = std::env::var("PATH").unwrap();
    let operator = Operator {
        profiles: None,
        own: &[],
        search_path: &path,
        variable: &|name| std::env::var(name).ok(),
    };
    let policy = load_profile("verify", &operator).unwrap();
    let sandbox = Sandbox::start(FACTORY.as_ref()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let tree = Tree {
        layers: vec![directory.path().to_owned()],
    };
    let command = Command::new(["/bin/true"]);
    let warm = || {
        let report = runtime.block_on(sandbox.run(&policy, &tree, &command, None)).unwrap();
        assert!(report.outcome.is_success(), "{:?}", report.outcome);
    };
    compare(
        "warm sandboxed /bin/true, profile verify",
        300,
        "bubblewrap",
        "target: at most 0.6 x bubblewrap",
        vec![
            Side::new("plain spawn", || spawn("/bin/true")),
            Side::new("bubblewrap", || spawn(BUBBLEWRAP)),
            Side::new("factory, resident helper", warm),
        ],
    );
    let repository = tempfile::tempdir().unwrap();
    crate::workspaces::repository(repository.path(), 100);
    let (repo, state) = (repository.path().display().to_string(), tempfile::tempdir().unwrap());
    let whole = || {
        let status = std::process::Command::new(FACTORY)
            .args(["exec", "--repo", &repo, "--", "true"])
            .env("XDG_STATE_HOME", state.path())
            .env("XDG_CACHE_HOME", state.path())
            .stdin(Stdio::null())
            .status();
        assert!(status.unwrap().success());
    };
    compare(
        "whole process, tree of 100 files",
        100,
        "bubblewrap",
        "target: at most 2 x bubblewrap",
        vec![
            Side::new("plain spawn", || spawn("/bin/true")),
            Side::new("bubblewrap", || spawn(BUBBLEWRAP)),
            Side::new("factory exec -- true", whole),
        ],
    );
}
