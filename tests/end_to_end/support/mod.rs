//! What several subjects need: a sandbox on a scratch directory, and the same act outside of it.

mod ground;
mod processes;

pub(crate) use ground::{Act, Ground, policy};
pub(crate) use processes::{alive, ancestors, holding, holding_in_environment, unique, vanishes};

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
