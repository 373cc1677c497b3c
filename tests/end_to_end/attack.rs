//! `factory attack`: every case is there, its control can escape, and the sandbox keeps it in.

use crate::support::is_root;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, Output};

/// Cases that the sandbox does not keep in today, each with the reason. A case that gets kept in has to leave this list.
const KNOWN_OPEN: [(&str, &str); 0] = [];

/// What the rung without namespaces does not keep in besides, each with the reason.
const KNOWN_OPEN_WITHOUT_NAMESPACES: [(&str, &str); 4] = [
    (
        "X07",
        "the host's name belongs to a namespace, and a filter cannot change what uname(2) answers",
    ),
    ("X25", "as above"),
    ("X26", "as above"),
    (
        "X29",
        "a lock belongs to the host's file: Landlock does not look at locks, and a filter sees no file but a number",
    ),
];

/// What that rung keeps in or not as the next look at the private directory comes.
const SEEN_TOO_LATE: [&str; 2] = ["G09", "G10"];

/// Cases that not even the control can carry out on some hosts, each with what such a host lacks.
const MAY_BE_SKIPPED: [(&str, &str); 36] = [
    ("A16", "a set-user-id program"),
    ("B03", "a right to read the host's password hashes"),
    ("B13", "a right to make devices"),
    ("B27", "a right to open files by handle"),
    ("B34", "a right to make files immutable, or a file system that can"),
    ("D01", "x32"),
    ("D02", "the entry of 32-bit programs"),
    ("D03", "32-bit programs"),
    ("D04", "rings for everybody"),
    ("D09", "a right to make maps"),
    ("D10", "counters for everybody"),
    ("D11", "page faults for everybody"),
    ("D13", "sockets for cryptography"),
    ("D14", "sockets for virtual machines"),
    ("D17", "multipath TCP"),
    ("D23", "a right to set the clock"),
    ("D24", "a right to read the kernel's log"),
    ("D25", "calls newer than this program"),
    ("D29", "tables of old processors"),
    ("D31", "quotas"),
    ("D32", "secret memory"),
    ("D33", "a place to register interpreters"),
    ("D34", "a right to write to control groups"),
    ("D35", "a mitigation that a process may switch"),
    ("G04", "swap"),
    ("G15", "core files"),
    ("G16", "a right to schedule in real time"),
    ("G17", "a right to write to control groups"),
    ("I03", "profiles that extend others"),
    ("X10", "a machine id"),
    ("X12", "daemons with sockets in /run"),
    ("X18", "a control group of its own"),
    ("X20", "a network"),
    ("X24", "a root on a device"),
    (
        "X32",
        "a disk to write to, and a kernel that tells what is not written yet",
    ),
    (
        "X30",
        "a user whose share of pipe memory can be used up by another process of the same user",
    ),
];

/// The binary under test; the run as an ordinary user has a copy that this user can reach.
fn program() -> PathBuf {
    std::env::var_os("FACTORY_TEST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_factory").into(), PathBuf::from)
}

fn factory(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).output().unwrap()
}

fn document(arguments: &[&str]) -> Value {
    let output = factory(arguments);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// The findings by id, of this project's sandbox or of the other launcher.
fn findings<'a>(document: &'a Value, whose: &str) -> BTreeMap<&'a str, (&'a str, &'a str)> {
    let cases = document["cases"].as_array().unwrap().iter();
    cases
        .map(|case| {
            let finding = &case[whose];
            let word = |name: &str| finding[name].as_str().unwrap();
            (case["id"].as_str().unwrap(), (word("verdict"), word("evidence")))
        })
        .collect()
}

fn with<'a>(findings: &BTreeMap<&'a str, (&'a str, &'a str)>, verdict: &str) -> BTreeSet<&'a str> {
    let matching = findings.iter().filter(|(_, (found, _))| *found == verdict);
    matching.map(|(id, _)| *id).collect()
}

#[test]
fn every_case_is_carried_out_and_only_what_is_known_to_be_open_escapes() {
    only_known_escapes("verify", &KNOWN_OPEN, &[]);
}

#[test]
fn without_namespaces_only_what_belongs_to_that_rung_escapes_besides() {
    let known: Vec<_> = KNOWN_OPEN.into_iter().chain(KNOWN_OPEN_WITHOUT_NAMESPACES).collect();
    only_known_escapes("legacy-kernel", &known, &SEEN_TOO_LATE);
}

/// Carries out all cases: none of them may break, be skipped without a declared reason, escape, or be kept in, unless
/// what is known says so. `may_escape` is not looked at.
fn only_known_escapes(profile: &str, known: &[(&str, &str)], may_escape: &[&str]) {
    let document = document(&["attack", "--profile", profile, "--json"]);
    let ours = findings(&document, "factory");
    let named: usize = [20, 36, 28, 35, 24, 16, 18, 7, 17, 11].iter().sum();
    assert_eq!(ours.keys().filter(|id| !id.starts_with('X')).count(), named);
    assert_eq!(named, 212);

    let skipped = with(&ours, "skipped");
    for id in &skipped {
        println!("skipped: {id}: {}", ours[id].1);
    }
    let may_be_skipped: BTreeSet<_> = MAY_BE_SKIPPED.iter().map(|(id, _)| *id).collect();
    let undeclared: Vec<_> = skipped.difference(&may_be_skipped).map(|id| (id, ours[id])).collect();
    assert!(
        undeclared.is_empty(),
        "skipped without a declared reason: {undeclared:#?}"
    );

    let mut not_kept: BTreeSet<_> = &with(&ours, "escaped") | &with(&ours, "broken");
    not_kept.retain(|id| !may_escape.contains(id) || ours[id].0 == "broken");
    let known: BTreeSet<_> = known
        .iter()
        .map(|(id, _)| *id)
        .filter(|id| !skipped.contains(id))
        .collect();
    let new: Vec<_> = not_kept.difference(&known).map(|id| (id, ours[id])).collect();
    assert!(new.is_empty(), "not kept in, as {}: {new:#?}", who());
    let closed: Vec<_> = known.difference(&not_kept).collect();
    assert!(
        closed.is_empty(),
        "kept in now, take them off the list, as {}: {closed:?}",
        who()
    );

    // What is contained was shown to be able to escape, by a control outside or within the check.
    for case in document["cases"].as_array().unwrap() {
        let is_act = case["control"].is_string();
        let about_the_product = case["factory"]["verdict"] == "contained" && !is_act;
        assert!(
            is_act || about_the_product || case["factory"]["verdict"] != "contained",
            "{case}"
        );
    }
}

fn who() -> &'static str {
    if is_root() { "root" } else { "an ordinary user" }
}

#[test]
fn another_launcher_is_judged_by_the_same_cases() {
    // `env` contains nothing: what escapes from it is what the cases can see.
    let document = document(&["attack", "--group", "A,E", "--against", "env --", "--json"]);
    let theirs = findings(&document, "against");
    for id in ["A01", "A05", "A13", "E01", "E02", "E15"] {
        assert_eq!(theirs[id].0, "escaped", "{id}: {}", theirs[id].1);
    }
    assert_eq!(theirs["A02"].0, "not_applicable");
    assert!(document["total"]["against"]["escaped"].as_u64().unwrap() > 20);
    let ours = findings(&document, "factory");
    assert_eq!(ours["E01"].0, "contained");
}

#[test]
fn a_launcher_that_runs_nothing_contains_nothing() {
    let output = factory(&["attack", "--group", "A", "--against", "false", "--json"]);
    assert_eq!(output.status.code(), Some(20));
    let problem: Value = serde_json::from_slice(&output.stdout).unwrap();
    let message = problem["problem"]["message"].as_str().unwrap();
    assert!(message.contains("`false` does not run a harmless payload"), "{message}");
}

#[test]
fn the_table_names_groups_severities_and_what_was_skipped() {
    let output = factory(&["attack", "--group", "D"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["D system calls", "severity", "critical", "total", "contained"] {
        assert!(text.contains(part), "{text}");
    }
    let unknown = factory(&["attack", "--case", "Z99"]);
    assert_eq!(unknown.status.code(), Some(64));
    let listed = String::from_utf8(factory(&["attack", "--list"]).stdout).unwrap();
    assert!(listed.lines().count() > 212);
}

/// Whether a scratch directory of the process is left.
fn leaves_something(pid: u32) -> bool {
    let own = format!("factory-attack-{pid}-");
    let entries = std::fs::read_dir("/var/tmp").unwrap().flatten();
    entries
        .map(|entry| entry.file_name())
        .any(|name| name.to_string_lossy().starts_with(&own))
}

#[test]
fn an_attack_leaves_nothing_behind_even_when_interrupted() {
    let start = |group| {
        let mut attack = Command::new(program());
        attack.args(["attack", "--json", "--group", group]);
        attack.stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let mut whole = start("F");
    let mut cut = start("A,B,F,G");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert!(leaves_something(cut.id()), "control");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(cut.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::SIGINT).unwrap();
    assert_eq!(cut.wait().unwrap().code(), Some(130));
    whole.wait().unwrap();
    assert!(!leaves_something(cut.id()) && !leaves_something(whole.id()));
}
