//! What several subjects need: a sandbox on a scratch directory, and the same act outside of it.

mod ended;
mod ground;
mod operator;
mod origin;
mod parallel;
pub(crate) mod place;
mod processes;
mod residue;
pub(crate) mod schema;
mod server;

pub(crate) use ended::Ended;
pub(crate) use ground::{Act, Ground, policy};
pub(crate) use operator::{Operator, Packages, Ran};
pub(crate) use origin::{File, Origin, files_of};
pub(crate) use parallel::in_parallel;
pub(crate) use place::Place;
pub(crate) use processes::{alive, ancestors, descendants, holding, holding_in_environment, unique, vanishes};
pub(crate) use residue::{Watched, control_groups_of};
pub(crate) use schema::violations;
pub(crate) use server::{Authority, Reply, Server, Wire, http, read_request, sending};

use std::path::{Path, PathBuf};

/// The program under test: `FACTORY_TEST_BINARY`, else the one that cargo built beside the tests.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("FACTORY_TEST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_factory").into(), PathBuf::from)
}

/// The project's own files: below `FACTORY_TEST_ROOT`, else where they were when the tests were compiled.
pub(crate) fn project() -> PathBuf {
    std::env::var_os("FACTORY_TEST_ROOT").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// A directory of data that are no part of the project: the one that `variable` names, which has to be there, else
/// `../shared/NAME` beside the project. Nothing, and a line that says so, when there is none.
pub(crate) fn shared(name: &str, variable: &str) -> Option<PathBuf> {
    let directory = match std::env::var_os(variable) {
        Some(directory) => {
            let directory = PathBuf::from(directory);
            assert!(
                directory.is_dir(),
                "{variable} names no directory: {}",
                directory.display()
            );
            return Some(directory);
        }
        None => Path::new(&project()).join("../shared").join(name),
    };
    if directory.is_dir() {
        return Some(directory);
    }
    println!("SKIPPED: there is no {name} here: set {variable} to its directory to run what needs it");
    None
}

/// Waits for what is asynchronous.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Whether the test process is host root.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether a test may rely on a feature of this host. One that is absent must be named in `FACTORY_TEST_WITHOUT`, a list
/// separated by commas; an absence that nobody declared is a failure.
pub(crate) fn has(feature: &str, present: bool) -> bool {
    let declared = std::env::var("FACTORY_TEST_WITHOUT").unwrap_or_default();
    if !present && declared.split(',').any(|name| name.trim() == feature) {
        println!("left out: {feature}");
        return false;
    }
    assert!(
        present,
        "this host has no {feature}; name it in FACTORY_TEST_WITHOUT to go on without"
    );
    true
}

/// Runs `body` in a test process of its own, in which nothing else happens: for what is measured on the whole process.
/// `name` is the full name of the calling test.
pub(crate) fn alone(name: &str, body: impl FnOnce()) {
    const ALONE: &str = "FACTORY_TEST_ALONE";
    if std::env::var(ALONE).is_ok_and(|value| value == name) {
        return body();
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(ALONE, name)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
