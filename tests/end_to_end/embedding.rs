//! The sandbox in a program of others: `examples/embed.rs`, which has threads, runtimes and two sandboxes of its own.

use crate::support::{has, holding, project};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The example: what `FACTORY_TEST_EMBED` names, else what cargo makes of it now.
fn example() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("FACTORY_TEST_EMBED") {
        return Some(path.into());
    }
    // Where `cargo test` was told to build one test only, the example has not been built.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--offline", "--example", "embed"])
        .current_dir(project())
        .status();
    if !has("cargo", built.is_ok_and(|status| status.success())) {
        return None;
    }
    let directory = std::env::current_exe().unwrap();
    Some(directory.parent().unwrap().parent().unwrap().join("examples/embed"))
}

#[test]
fn a_program_with_threads_embeds_two_sandboxes_and_is_left_with_nothing() {
    let Some(example) = example() else { return };
    let output = Command::new(&example).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut expected = Vec::new();
    let places = (0..4).map(|thread| format!("shared, thread {thread}"));
    for place in places.chain(["other".to_owned(), "shared, after the other has ended".to_owned()]) {
        for number in 0..3 {
            expected.push(format!(
                "{place}: `command {number}` exited with {number}, the receipt holds"
            ));
        }
    }
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    assert_eq!(
        holding(example.to_str().unwrap()),
        [0; 0],
        "no helper outlives its program"
    );
}
