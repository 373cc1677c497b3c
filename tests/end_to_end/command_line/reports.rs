//! The document of `factory exec --json` against its committed schema, for every kind of outcome.

use super::Place;
use crate::support::{project, violations};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

fn schema() -> Value {
    let text = fs::read_to_string(project().join("docs/schema/report.schema.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// An ELF header, and nothing behind it, of a program for another machine than this one. Source: elf(5).
fn foreign_program() -> Vec<u8> {
    const EM_SPARCV9: u8 = 43;
    let mut header = vec![0; 64];
    header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    header[16] = 2;
    header[18] = EM_SPARCV9;
    header
}

/// A place whose tree has a program for another architecture, and that has a profile which protects `a.txt`.
fn place() -> Place {
    let place = Place::new();
    let foreign = place.write("repository/foreign", foreign_program());
    fs::set_permissions(foreign, fs::Permissions::from_mode(0o755)).unwrap();
    place.git(&["add", "--all"]);
    place.git(&["commit", "--quiet", "--message=a program for another machine"]);
    place.profile(
        "guarded",
        "source = \"export\"",
        "source = \"export\"\nprotect = [\"a.txt\"]",
    );
    place.profile("quiet", "pids = 512", "pids = 512\nsilence = \"300ms\"");
    place
}

#[test]
fn what_exec_prints_follows_its_schema_for_every_outcome() {
    let (place, schema) = (place(), schema());
    for (arguments, outcome) in [
        (&["--", "sh", "-c", "exit 3"][..], json!({ "kind": "exit", "code": 3 })),
        (
            &["--", "sh", "-c", "kill -9 $$"],
            json!({ "kind": "signal", "signal": 9 }),
        ),
        (
            &["--timeout=200ms", "--", "sleep", "30"],
            json!({ "kind": "limit", "limit": "wall" }),
        ),
        (
            &["--profile=quiet", "--", "sleep", "30"],
            json!({ "kind": "limit", "limit": "silence" }),
        ),
        (
            &["--", "./foreign"],
            json!({ "kind": "denied", "rule": "seccomp: a program for another architecture (unknown)" }),
        ),
        (
            &["--profile=guarded", "--", "sh", "-c", "echo x >> a.txt"],
            json!({ "kind": "tampered", "path": "a.txt" }),
        ),
        (
            &["--", "nowhere"],
            json!({ "kind": "setup", "failure": { "cause": "tool_missing", "program": "nowhere" } }),
        ),
        (
            &["--", "./nowhere"],
            json!({ "kind": "setup", "failure": {
                "cause": "program_unusable", "program": "./nowhere", "reason": "No such file or directory",
            } }),
        ),
    ] {
        let document = place.exec(&[&["--json"], arguments].concat()).json();
        assert_eq!(document["outcome"], outcome, "{document:#}");
        assert_eq!(violations(&schema, &document), [""; 0], "{arguments:?}");
        assert!(document["receipt"].is_object(), "{document:#}");
    }
    // The control: unprotected, the same command is nobody's business.
    let document = place.exec(&["--json", "--", "sh", "-c", "echo x >> a.txt"]).json();
    assert_eq!(document["outcome"], json!({ "kind": "exit", "code": 0 }));
}

#[test]
fn what_exec_prints_without_a_report_follows_its_schema() {
    let (place, schema) = (place(), schema());
    for arguments in [
        &["--profile=nowhere", "--", "true"][..],
        &["--rev=nowhere", "--", "true"],
        &["--", ""],
    ] {
        let document = place.exec(&[&["--json"], arguments].concat()).json();
        assert!(
            document["problem"].is_object() && document["outcome"].is_null(),
            "{document:#}"
        );
        assert_eq!(violations(&schema, &document), [""; 0], "{arguments:?}");
    }
}

#[test]
fn the_schema_names_every_field_and_requires_it() {
    let (place, schema) = (Place::new(), schema());
    let document = place.exec(&["--json", "--", "true"]).json();
    assert_eq!(violations(&schema, &document), [""; 0]);
    let mut places = Vec::new();
    fields(&document, String::new(), &mut places);
    assert!(places.len() > 60, "{places:?}");
    for place in places {
        let (parent, name) = place.rsplit_once('/').unwrap();
        let change = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
            let mut changed = document.clone();
            change(changed.pointer_mut(parent).unwrap().as_object_mut().unwrap());
            violations(&schema, &changed)
        };
        // Maps by name have no fixed fields.
        let is_map = ["namespaces", "rlimits", "refused"]
            .iter()
            .any(|map| parent.ends_with(map));
        if !is_map {
            let without = change(&|fields| drop(fields.remove(name)));
            assert_ne!(without, [""; 0], "{place} can be left out");
            let unknown = change(&|fields| drop(fields.insert(format!("{name}_"), Value::Null)));
            assert_ne!(unknown, [""; 0], "a field beside {place} is not noticed");
        }
        let other = change(&|fields| drop(fields.insert(name.to_owned(), json!([[0]]))));
        assert_ne!(other, [""; 0], "{place} can be anything");
    }
}

/// The places of all fields of a document.
fn fields(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(inner) => {
            for (name, value) in inner {
                // A slash in a name is written as `~1` in a pointer; such names are only in maps, where one is enough.
                if !name.contains('/') {
                    found.push(format!("{at}/{name}"));
                    fields(value, format!("{at}/{name}"), found);
                }
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                fields(value, format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}
