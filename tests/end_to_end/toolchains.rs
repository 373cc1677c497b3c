//! Each toolchain runs its own test command in the profile `verify`, offline, on a small project of its kind.
//!
//! The control is in each project: a test that fails there makes the command fail, so a command that runs nothing is
//! noticed.

use crate::support::{Ground, has};
use base64::Engine as _;
use factory::sandbox::{Operator, Policy, find_program, load_profile};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// The profile `verify` for whoever runs the tests, with other values for some variables.
fn policy(variables: &[(&str, PathBuf)]) -> Policy {
    let search_path = std::env::var("PATH").unwrap();
    let operator = Operator {
        profiles: None,
        own: &[],
        search_path: &search_path,
        variable: &|name| {
            let other = variables.iter().find(|(known, _)| *known == name);
            other.map_or_else(
                || std::env::var(name).ok(),
                |(_, value)| Some(value.display().to_string()),
            )
        },
    };
    load_profile("verify", &operator).unwrap()
}

/// A project with these files, whose directories the command may write to as well.
fn project(files: &[(&str, &str)]) -> Ground {
    let ground = Ground::new();
    for (name, content) in files {
        given(&ground, &format!("tree/{name}"), content.as_bytes());
    }
    ground
}

/// A file that belongs, with its directories, to whom a sandbox maps to.
fn given(ground: &Ground, name: &str, content: &[u8]) {
    ground.file(name, content);
    let directories = Path::new(name).ancestors().skip(1);
    for directory in directories.filter(|directory| directory.components().count() > 0) {
        ground.give(directory.to_str().unwrap());
    }
}

/// Runs the script on the project as it is, which must succeed and print `passed`, and once more after `breaking` it, which
/// must fail.
#[track_caller]
fn tested(ground: &Ground, policy: &Policy, script: &str, passed: &str, breaking: (&str, &str)) {
    let printed = ground.prints(policy, &format!("{{ {script} ; }} 2>&1"));
    assert!(printed.contains(passed), "{printed}");
    let (file, by) = breaking;
    ground.file(&format!("tree/{file}"), by);
    let report = ground.shell(policy, script);
    assert!(!report.outcome.is_success(), "{report:?}");
}

fn found(policy: &Policy, program: &str) -> bool {
    has(program, find_program(policy, program).is_some())
}

const CRATE: &str = "#[test]\nfn adds() { assert_eq!(dependency::two() + 2, 4); }\n";

#[test]
fn cargo_tests_a_crate_with_a_vendored_dependency() {
    let ground = project(&[
        (
            "Cargo.toml",
            "[package]\nname = \"one\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\ndependency = \"1\"\n",
        ),
        ("src/lib.rs", CRATE),
        (
            ".cargo/config.toml",
            "[source.crates-io]\nreplace-with = \"vendored\"\n[source.vendored]\ndirectory = \"vendor\"\n",
        ),
        (
            "vendor/dependency/Cargo.toml",
            "[package]\nname = \"dependency\"\nversion = \"1.0.0\"\nedition = \"2021\"\n",
        ),
        ("vendor/dependency/.cargo-checksum.json", "{\"files\":{}}"),
        ("vendor/dependency/src/lib.rs", "pub fn two() -> u32 { 2 }\n"),
    ]);
    let policy = policy(&[]);
    if found(&policy, "cargo") {
        let broken = (
            "src/lib.rs",
            "#[test]\nfn adds() { assert_eq!(dependency::two() + 2, 5); }\n",
        );
        tested(&ground, &policy, "cargo test", "1 passed", broken);
    }
}

/// A crate with a dependency that this project has too, so that it has been downloaded for the build of this test.
fn crate_with_cfg_if() -> Ground {
    let lock = include_str!("../../Cargo.lock");
    let start = lock.find("name = \"cfg-if\"\n").unwrap();
    let end = start + lock[start..].find("\n\n").unwrap();
    let package = format!("[[package]]\n{}\n", &lock[start..end]);
    let own = "[[package]]\nname = \"one\"\nversion = \"0.1.0\"\ndependencies = [\"cfg-if\"]\n";
    let manifest =
        "[package]\nname = \"one\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\ncfg-if = \"1\"\n";
    project(&[
        ("Cargo.toml", manifest),
        ("Cargo.lock", &format!("version = 3\n\n{package}\n{own}")),
        (
            "src/lib.rs",
            "cfg_if::cfg_if! { if #[cfg(unix)] { #[test]\nfn is_unix() {} } }\n",
        ),
    ])
}

const BROKEN_CFG_IF: (&str, &str) = (
    "src/lib.rs",
    "cfg_if::cfg_if! { if #[cfg(unix)] { #[test]\nfn is_unix() { panic!() } } }\n",
);

#[test]
fn cargo_tests_a_crate_whose_dependency_the_operator_has_downloaded() {
    let ground = crate_with_cfg_if();
    let policy = policy(&[]);
    if found(&policy, "cargo") && has("cargo-registry", policy.env.contains_key("CARGO_HOME")) {
        tested(&ground, &policy, "cargo test", "1 passed", BROKEN_CFG_IF);
        // Nothing of the operator's besides.
        let home = &policy.env["CARGO_HOME"];
        let present =
            "for name in registry bin env config.toml credentials.toml; do test -e $name && echo $name; done; true";
        assert_eq!(ground.prints(&policy, &format!("cd {home}; {present}")), "registry");
    }
}

#[test]
fn what_cargo_unpacks_stays_in_the_private_layer() {
    let ground = crate_with_cfg_if();
    let theirs = policy(&[]);
    if !found(&theirs, "cargo") || !has("cargo-registry", theirs.env.contains_key("CARGO_HOME")) {
        return;
    }
    // What the operator has after a download that was never built: the archive and the index, owned by who runs inside.
    let registry = Path::new(&theirs.env["CARGO_HOME"]).join("registry");
    let mut copied = 0;
    for (directory, name) in [("cache", "cfg-if-"), ("index", "config.json"), ("index", "cfg-if")] {
        for path in files_below(&registry.join(directory)) {
            let file = path.file_name().unwrap().to_str().unwrap();
            if file.starts_with(name) {
                let below = path.strip_prefix(&registry).unwrap().display().to_string();
                given(&ground, &format!("cargo/registry/{below}"), &fs::read(&path).unwrap());
                copied += 1;
            }
        }
    }
    assert!(copied >= 3, "{copied}");
    let own = policy(&[("CARGO_HOME", ground.path("cargo"))]);
    assert_eq!(own.snapshots.first(), Some(&ground.path("cargo/registry")));
    tested(&ground, &own, "cargo test", "1 passed", BROKEN_CFG_IF);
    assert!(
        !ground.path("cargo/registry/src").exists(),
        "the operator's own cache was written to"
    );
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let (mut files, mut pending) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => pending.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    files
}

#[test]
fn node_and_npm_run_the_tests_of_a_package() {
    let test = |wanted: u32| {
        format!(
            "const test = require('node:test');\nconst assert = require('node:assert');\ntest('adds', () => assert.strictEqual(2 + 2, {wanted}));\n"
        )
    };
    let ground = project(&[
        (
            "package.json",
            "{ \"name\": \"one\", \"version\": \"1.0.0\", \"scripts\": { \"test\": \"node --test\" } }",
        ),
        ("test/adds.test.js", &test(4)),
    ]);
    let policy = policy(&[]);
    if found(&policy, "node") {
        tested(
            &ground,
            &policy,
            "node --test",
            "pass 1",
            ("test/adds.test.js", &test(5)),
        );
    }
    if found(&policy, "npm") {
        ground.file("tree/test/adds.test.js", test(4));
        tested(&ground, &policy, "npm test", "pass 1", ("test/adds.test.js", &test(5)));
    }
}

const GO_TEST: &str = "package one\n\nimport (\n\t\"testing\"\n\n\t\"example.org/two\"\n)\n\n\
    func TestAdds(t *testing.T) {\n\tif two.Two()+2 != WANTED {\n\t\tt.Fatal(\"no\")\n\t}\n}\n";
const TWO: &str = "package two\n\nfunc Two() int { return 2 }\n";
const TWO_MOD: &str = "module example.org/two\n\ngo 1.18\n";

fn go_test(wanted: &str) -> String {
    GO_TEST.replace("WANTED", wanted)
}

#[test]
fn go_tests_a_module_with_a_vendored_dependency() {
    let ground = project(&[
        (
            "go.mod",
            "module example.org/one\n\ngo 1.18\n\nrequire example.org/two v1.0.0\n",
        ),
        ("one_test.go", &go_test("4")),
        (
            "vendor/modules.txt",
            "# example.org/two v1.0.0\n## explicit; go 1.18\nexample.org/two\n",
        ),
        ("vendor/example.org/two/two.go", TWO),
    ]);
    let policy = policy(&[]);
    if found(&policy, "go") {
        tested(&ground, &policy, "go test ./...", "ok", ("one_test.go", &go_test("5")));
    }
}

/// The hash of a set of files in go.sum. Source: Go Modules Reference, "go.sum files"; golang.org/x/mod/sumdb/dirhash.
fn go_hash(files: &[(&str, &str)]) -> String {
    let hex = |content: &[u8]| -> String {
        Sha256::digest(content)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    };
    let lines: String = files
        .iter()
        .map(|(name, content)| format!("{}  {name}\n", hex(content.as_bytes())))
        .collect();
    format!(
        "h1:{}",
        base64::engine::general_purpose::STANDARD.encode(Sha256::digest(lines))
    )
}

#[test]
fn go_tests_a_module_whose_dependency_the_operator_has_downloaded() {
    let of_module = go_hash(&[
        ("example.org/two@v1.0.0/go.mod", TWO_MOD),
        ("example.org/two@v1.0.0/two.go", TWO),
    ]);
    let sum = format!(
        "example.org/two v1.0.0 {of_module}\nexample.org/two v1.0.0/go.mod {}\n",
        go_hash(&[("go.mod", TWO_MOD)])
    );
    let ground = project(&[
        (
            "go.mod",
            "module example.org/one\n\ngo 1.18\n\nrequire example.org/two v1.0.0\n",
        ),
        ("go.sum", &sum),
        ("one_test.go", &go_test("4")),
    ]);
    let download = "modules/cache/download/example.org/two/@v/v1.0.0";
    for (name, content) in [
        ("modules/example.org/two@v1.0.0/go.mod".to_owned(), TWO_MOD.to_owned()),
        ("modules/example.org/two@v1.0.0/two.go".to_owned(), TWO.to_owned()),
        (format!("{download}.mod"), TWO_MOD.to_owned()),
        (format!("{download}.info"), "{\"Version\":\"v1.0.0\"}".to_owned()),
        (format!("{download}.ziphash"), of_module),
    ] {
        ground.file(&name, content);
    }
    let policy = policy(&[("GOMODCACHE", ground.path("modules"))]);
    if found(&policy, "go") {
        assert_eq!(policy.snapshots.last(), Some(&ground.path("modules")));
        tested(&ground, &policy, "go test ./...", "ok", ("one_test.go", &go_test("5")));
    }
}

#[test]
fn make_builds_and_checks_a_program() {
    let main = |wanted: u32| {
        format!(
            "#include <math.h>\nint main(int argc, char **argv) {{ (void)argv; return sqrt(argc * 16.0) == {wanted} ? 0 : 1; }}\n"
        )
    };
    let ground = project(&[
        (
            "Makefile",
            "check: main\n\t./main && echo checked\nmain: main.c\n\t$(CC) -Wall -o main main.c -lm\n",
        ),
        ("main.c", &main(4)),
    ]);
    let policy = policy(&[]);
    if found(&policy, "make") && found(&policy, "cc") {
        tested(&ground, &policy, "make check", "checked", ("main.c", &main(5)));
    }
}

#[test]
fn python_runs_the_tests_of_a_package() {
    let test = |wanted: u32| {
        format!(
            "import unittest\nclass T(unittest.TestCase):\n    def test_adds(self): self.assertEqual(2 + 2, {wanted})\n"
        )
    };
    let ground = project(&[("test_adds.py", &test(4))]);
    let policy = policy(&[]);
    if found(&policy, "python3") {
        tested(
            &ground,
            &policy,
            "python3 -m unittest",
            "OK",
            ("test_adds.py", &test(5)),
        );
    }
}

/// The names in the real home directory, none of which may be shown but those that lead to a toolchain.
#[test]
fn no_toolchain_shows_more_of_the_home_directory_than_itself() {
    let ground = project(&[("empty", "")]);
    let home = std::env::var("HOME").unwrap();
    let policy = policy(&[]);
    let granted: Vec<&Path> = policy
        .read
        .iter()
        .map(|grant| grant.path.as_path())
        .chain(policy.snapshots.iter().map(PathBuf::as_path))
        .filter(|path| path.starts_with(&home))
        .collect();
    let mut shown = 0;
    for entry in fs::read_dir(&home).unwrap().flatten() {
        // A directory without a rule cannot be listed, but what is there can be asked for by name.
        let path = entry.path();
        let quoted = path.display().to_string().replace('\'', "'\\''");
        let inside = ground.prints(&policy, &format!("test -e '{quoted}' && echo shown || echo hidden"));
        let leads = granted.iter().any(|grant| grant.starts_with(&path));
        assert_eq!(inside, if leads { "shown" } else { "hidden" }, "{path:?}");
        shown += 1;
    }
    assert!(shown > 0, "{home} is empty, so nothing was tried");
}
