//! Proposals held against orders and bases.

use super::*;
use crate::order;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::convert::Infallible;

const NEW: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn file(content: &str) -> BaseEntry {
    BaseEntry::File {
        content: content.into(),
        executable: false,
    }
}

fn refusals(base: &[(&str, BaseEntry)], allowed: &[&str], writes: &[(&str, &str)]) -> Option<Refusals> {
    let text = json!({
        "id": "WO-01", "title": "t", "intent": "i", "allowed_files": allowed, "forbidden": [],
        "acceptance_commands": ["true"], "context_files": []
    });
    let order = order::parse(text.to_string().as_bytes()).expect("a valid order");
    let writes = writes.iter().map(|(path, base)| Operation::Write {
        path: RepoPath::parse(path).expect("a valid path"),
        base_sha256: (*base).to_owned(),
        content: "x".to_owned(),
        executable: None,
    });
    let draft = Draft {
        summary: "s".to_owned(),
        form: Form::Writes,
        operations: writes.collect(),
    };
    let base: HashMap<_, _> = base.iter().cloned().collect();
    let entry = |path: &RepoPath| Ok::<_, Infallible>(base.get(path.as_str()).cloned().unwrap_or(BaseEntry::Absent));
    match check(&draft, &order, entry) {
        Ok(_) => None,
        Err(CheckError::Refused { refusals }) => Some(refusals),
        Err(CheckError::Base { source, .. }) => match source {},
    }
}

fn stage(base: &[(&str, BaseEntry)], allowed: &[&str], writes: &[(&str, &str)]) -> Option<Stage> {
    refusals(base, allowed, writes).map(|refusals| refusals.stage)
}

#[test]
fn a_new_file_and_a_replaced_file_pass() {
    let old = Sha256::of(b"old").to_string();
    let base = [("a.py", file("old"))];
    assert_eq!(
        stage(&base, &["a.py", "d/e/f.py"], &[("a.py", &old), ("d/e/f.py", NEW)]),
        None
    );
}

#[test]
fn only_what_is_allowed_literally_may_be_written() {
    for (allowed, path) in [
        ("a.py", "b.py"),
        ("src/", "src/b.py"),
        ("A.py", "a.py"),
        ("é.py", "e\u{301}.py"),
    ] {
        assert_eq!(
            stage(&[], &[allowed], &[(path, NEW)]),
            Some(Stage::OutOfScope),
            "{path}"
        );
    }
}

#[test]
fn the_digest_of_the_base_is_compared_as_text() {
    let base = [("a.py", file("old"))];
    let old = Sha256::of(b"old").to_string();
    for named in ["", NEW, &old[..16], &old.to_uppercase()] {
        assert_eq!(
            stage(&base, &["a.py"], &[("a.py", named)]),
            Some(Stage::Stale),
            "{named}"
        );
    }
    assert_eq!(stage(&[], &["a.py"], &[("a.py", &old)]), Some(Stage::Stale));
}

#[test]
fn two_spellings_of_one_file_are_refused() {
    for (one, other) in [
        ("a.py", "./a.py"),
        ("é.py", "e\u{301}.py"),
        ("a.py", "A.PY"),
        ("straße", "STRASSE"),
        ("k", "\u{212a}"),
    ] {
        assert_eq!(
            stage(&[], &[one, other], &[(one, NEW), (other, NEW)]),
            Some(Stage::OutOfScope),
            "{one} {other}"
        );
    }
}

#[test]
fn what_stands_in_the_way_on_the_base_is_named() {
    for (entry, expected) in [
        (BaseEntry::Symlink, Stage::OutOfScope),
        (BaseEntry::BelowSymlink, Stage::OutOfScope),
        (BaseEntry::Submodule, Stage::OutOfScope),
        (BaseEntry::Directory, Stage::Unwritable),
        (BaseEntry::BelowFile, Stage::Unwritable),
    ] {
        assert_eq!(
            stage(&[("a/b", entry.clone())], &["a/b"], &[("a/b", NEW)]),
            Some(expected),
            "{entry:?}"
        );
    }
}

#[test]
fn a_file_cannot_also_be_a_directory() {
    for (one, other) in [("a", "a/b"), ("a/b", "a"), ("a/b/c", "a"), ("A", "a/b")] {
        let allowed = [one, other, "a-b", "a.b"];
        let writes = [(one, NEW), ("a-b", NEW), (other, NEW), ("a.b", NEW)];
        assert_eq!(stage(&[], &allowed, &writes), Some(Stage::Unwritable), "{one} {other}");
    }
    assert_eq!(
        stage(
            &[],
            &["a", "ab", "a-b/c", "b/a"],
            &[("a", NEW), ("ab", NEW), ("a-b/c", NEW), ("b/a", NEW)]
        ),
        None
    );
}

#[test]
fn every_refusal_is_reported_at_once_and_the_earliest_stage_counts() {
    let base = [("a.py", file("old")), ("d", BaseEntry::Directory)];
    let allowed = ["a.py", "d"];
    let refusals =
        refusals(&base, &allowed, &[("a.py", NEW), ("d", NEW), ("x\u{202e}.py", NEW)]).expect("three refusals");
    let expected = format!(
        "/writes/0: a.py: base_sha256 is that of a new file, but the file exists on the base with the digest {}\n\
         /writes/1: d: the base has a directory there\n\
         /writes/2: x\\u{{202e}}.py: the order does not allow this file; it allows `a.py`, `d`, literally",
        Sha256::of(b"old")
    );
    assert_eq!(refusals.to_string(), expected);
    assert_eq!(refusals.stage, Stage::OutOfScope);
}

#[test]
fn many_refusals_are_counted_not_listed() {
    let writes: Vec<_> = (0..1000).map(|number| format!("f{number}")).collect();
    let writes: Vec<_> = writes.iter().map(|path| (path.as_str(), NEW)).collect();
    let refusals = refusals(&[], &["a"], &writes).expect("a thousand refusals");
    assert_eq!(
        (refusals.listed.len(), refusals.omitted),
        (MAX_REFUSALS, 1000 - MAX_REFUSALS)
    );
}

/// An order of version 2 with these lists, by their names.
fn second_order(lists: &Value) -> WorkOrder {
    let mut order = json!({
        "schema_version": 2, "id": "WO-02", "title": "t", "kind": "modify", "intent": "i", "depends_on": [],
        "acceptance": [{"argv": ["true"]}]
    });
    for (key, list) in lists.as_object().expect("lists by name") {
        order[key] = list.clone();
    }
    order::parse(order.to_string().as_bytes()).expect("a valid order")
}

/// What the operations of an answer come to.
fn checked(base: &[(&str, BaseEntry)], lists: &Value, operations: &Value) -> Result<ChangeSet, Refusals> {
    let answer = json!({"schema_version": 2, "result": "changes", "summary": "s", "operations": operations});
    let parsed = super::super::parse_answer(&answer.to_string(), Form::Operations).expect("a proposal");
    let super::super::Proposal::Changes(draft) = parsed else {
        panic!("{operations}");
    };
    let base: HashMap<_, _> = base.iter().cloned().collect();
    let entry = |path: &RepoPath| Ok::<_, Infallible>(base.get(path.as_str()).cloned().unwrap_or(BaseEntry::Absent));
    check(&draft, &second_order(lists), entry).map_err(|error| match error {
        CheckError::Refused { refusals } => refusals,
        CheckError::Base { source, .. } => match source {},
    })
}

fn sha256(text: &str) -> String {
    Sha256::of(text.as_bytes()).to_string()
}

#[test]
fn operations_come_to_final_bytes() {
    let base = [
        ("a.py", file("one\ntwo\n")),
        ("d.py", file("d")),
        ("old.sh", file("sh")),
    ];
    let lists = json!({
        "allowed_files": ["a.py", "bin/x"], "allowed_deletes": ["d.py"], "executable_files": ["bin/x"],
        "allowed_renames": [{"from": "old.sh", "to": "new.sh"}]
    });
    let operations = json!([
        {"op": "replace", "path": "a.py", "base_sha256": sha256("one\ntwo\n"), "edits": [{"find": "two", "replace": "2"}]},
        {"op": "write", "path": "bin/x", "base_sha256": NEW, "content": "#!\0\r\n"},
        {"op": "delete", "path": "d.py", "base_sha256": sha256("d")},
        {"op": "rename", "from": "old.sh", "to": "new.sh", "base_sha256": sha256("sh")}
    ]);
    let change_set = checked(&base, &lists, &operations).expect("all of it is allowed");
    let contents: Vec<_> = change_set.writes.iter().map(|write| write.content.as_str()).collect();
    assert_eq!(contents, ["one\n2\n", "#!\0\r\n"]);
    assert_eq!(change_set.writes[1].executable, Some(true));
    assert_eq!(change_set.deletes[0].path.as_str(), "d.py");
    assert_eq!(
        (change_set.renames[0].from.as_str(), change_set.renames[0].to.as_str()),
        ("old.sh", "new.sh")
    );
    assert_eq!(change_set.renames[0].executable, None, "it stays what it is");
}

/// Each operation alone, with the stage at which it is refused; the control is that of the test above.
#[test]
fn what_no_list_allows_is_refused_for_each_operation() {
    let base = [("a", file("a")), ("b", file("b")), ("p", file("p")), ("v/x", file("x"))];
    let lists = json!({
        "allowed_files": ["a"], "allowed_deletes": ["b"], "allowed_renames": [{"from": "c", "to": "e"}],
        "protected_files": ["p"], "forbidden_paths": ["v"]
    });
    let digest = sha256("a");
    for operation in [
        json!({"op": "write", "path": "b", "base_sha256": sha256("b"), "content": "x"}),
        json!({"op": "write", "path": "e", "base_sha256": NEW, "content": "x"}),
        json!({"op": "replace", "path": "b", "base_sha256": sha256("b"), "edits": [{"find": "b", "replace": "c"}]}),
        json!({"op": "delete", "path": "a", "base_sha256": digest}),
        json!({"op": "delete", "path": "c", "base_sha256": digest}),
        json!({"op": "rename", "from": "c", "to": "a", "base_sha256": digest}),
        json!({"op": "rename", "from": "e", "to": "c", "base_sha256": digest}),
        json!({"op": "rename", "from": "a", "to": "e", "base_sha256": digest}),
        json!({"op": "write", "path": "p", "base_sha256": sha256("p"), "content": "x"}),
        json!({"op": "delete", "path": "p", "base_sha256": sha256("p")}),
        json!({"op": "rename", "from": "p", "to": "e", "base_sha256": sha256("p")}),
        json!({"op": "rename", "from": "c", "to": "v/new", "base_sha256": digest}),
        json!({"op": "delete", "path": "v/x", "base_sha256": sha256("x")}),
        json!({"op": "write", "path": "a", "base_sha256": digest, "content": "x", "executable": true}),
    ] {
        let refusals = checked(&base, &lists, &json!([operation])).expect_err("nothing allows it");
        assert_eq!(refusals.stage, Stage::OutOfScope, "{operation}");
    }
    let fine = json!([{"op": "write", "path": "a", "base_sha256": digest, "content": "x", "executable": false}]);
    assert!(checked(&base, &lists, &fine).is_ok());
}

#[test]
fn what_the_base_has_decides_what_can_go_or_be_renamed() {
    let lists = json!({"allowed_deletes": ["a"], "allowed_renames": [{"from": "f", "to": "t"}]});
    let delete = json!([{"op": "delete", "path": "a", "base_sha256": sha256("old")}]);
    let rename = json!([{"op": "rename", "from": "f", "to": "t", "base_sha256": sha256("old")}]);
    for (entry, as_old, as_new) in [
        (BaseEntry::Absent, Some(Stage::Stale), None),
        (file("old"), None, Some(Stage::Unwritable)),
        (file("other"), Some(Stage::Stale), Some(Stage::Unwritable)),
        (BaseEntry::Symlink, Some(Stage::OutOfScope), Some(Stage::OutOfScope)),
        (
            BaseEntry::BelowSymlink,
            Some(Stage::OutOfScope),
            Some(Stage::OutOfScope),
        ),
        (BaseEntry::Submodule, Some(Stage::OutOfScope), Some(Stage::OutOfScope)),
        (BaseEntry::Directory, Some(Stage::Unwritable), Some(Stage::Unwritable)),
        (BaseEntry::BelowFile, Some(Stage::Unwritable), Some(Stage::Unwritable)),
    ] {
        let stage = |base: &[(&str, BaseEntry)], operations| {
            checked(base, &lists, operations).err().map(|refusals| refusals.stage)
        };
        assert_eq!(stage(&[("a", entry.clone())], &delete), as_old, "delete {entry:?}");
        assert_eq!(stage(&[("f", entry.clone())], &rename), as_old, "rename {entry:?}");
        let onto = [("f", file("old")), ("t", entry.clone())];
        assert_eq!(stage(&onto, &rename), as_new, "rename onto {entry:?}");
    }
}

#[test]
fn operations_that_meet_at_one_path_are_refused() {
    let base = [("a", file("a")), ("b", file("b")), ("d/x", file("x"))];
    let lists = json!({
        "allowed_files": ["a", "c", "A", "d/y", "n/m"], "allowed_deletes": ["b", "d/x"],
        "allowed_renames": [{"from": "a", "to": "c"}, {"from": "b", "to": "n"}, {"from": "d/x", "to": "B"}]
    });
    let write = |path: &str, old: &str| json!({"op": "write", "path": path, "base_sha256": old, "content": "x"});
    let delete = |path: &str| json!({"op": "delete", "path": path, "base_sha256": sha256(&path[path.len() - 1..])});
    let rename = |from: &str, to: &str| json!({"op": "rename", "from": from, "to": to, "base_sha256": sha256(&from[from.len() - 1..])});
    for (operations, expected) in [
        (
            json!([write("a", &sha256("a")), rename("a", "c")]),
            Some(Stage::OutOfScope),
        ),
        (json!([rename("a", "c"), write("c", NEW)]), Some(Stage::OutOfScope)),
        (json!([delete("b"), delete("b")]), Some(Stage::OutOfScope)),
        (json!([delete("b"), rename("b", "n")]), Some(Stage::OutOfScope)),
        (json!([rename("a", "c"), write("A", NEW)]), Some(Stage::OutOfScope)),
        (json!([delete("b"), rename("d/x", "B")]), Some(Stage::OutOfScope)),
        (json!([rename("b", "n"), write("n/m", NEW)]), Some(Stage::Unwritable)),
        // The last file of a directory goes, and another one comes.
        (json!([delete("d/x"), write("d/y", NEW)]), None),
        (json!([rename("a", "c"), delete("b")]), None),
    ] {
        let stage = checked(&base, &lists, &operations).err().map(|refusals| refusals.stage);
        assert_eq!(stage, expected, "{operations}");
    }
}

#[test]
fn an_edit_that_cannot_be_made_says_which_and_why() {
    let lists = json!({"allowed_files": ["a", "bytes", "new"]});
    let bytes = BaseEntry::File {
        content: vec![0xff, 0xfe],
        executable: false,
    };
    let base = [("a", file("x x")), ("bytes", bytes)];
    let replace = |path: &str, digest: String, find: &str| json!([{"op": "replace", "path": path, "base_sha256": digest, "edits": [{"find": find, "replace": "y"}]}]);
    for (operations, stage, why) in [
        (
            replace("a", sha256("x x"), "x"),
            Stage::Stale,
            "/edits/0: `x` is in the file more than once",
        ),
        (
            replace("a", sha256("x x"), "z"),
            Stage::Stale,
            "/edits/0: `z` is not in the file",
        ),
        (replace("a", sha256("other"), "x x"), Stage::Stale, "has the digest"),
        (replace("new", NEW.to_owned(), "x"), Stage::Stale, "no such file"),
        (
            replace("bytes", Sha256::of(&[0xff, 0xfe]).to_string(), "x"),
            Stage::Unwritable,
            "not UTF-8",
        ),
    ] {
        let refusals = checked(&base, &lists, &operations).expect_err(why);
        assert_eq!(refusals.stage, stage, "{why}");
        assert!(refusals.to_string().starts_with("/operations/0: "), "{refusals}");
        assert!(refusals.to_string().contains(why), "{refusals}");
    }
}

#[test]
fn edits_cannot_make_more_than_could_be_written() {
    let half = "x".repeat(MAX_FILE_BYTES / 2);
    let names = ["a", "b", "c", "d", "e", "f"];
    let base: Vec<_> = names.iter().map(|name| (*name, file(&format!("{half}!")))).collect();
    let lists = json!({"allowed_files": names});
    let replace = |name: &str, by: &str| {
        let digest = sha256(&format!("{half}!"));
        json!({"op": "replace", "path": name, "base_sha256": digest, "edits": [{"find": "!", "replace": by}]})
    };
    let too_large = checked(
        &base,
        &lists,
        &json!([replace("a", &"y".repeat(MAX_FILE_BYTES / 2 + 1))]),
    );
    assert_eq!(too_large.expect_err("one file").stage, Stage::Unwritable);
    let many = json!(names.map(|name| replace(name, "?")));
    assert_eq!(
        checked(&base, &lists, &many).expect_err("together").stage,
        Stage::Unwritable
    );
    assert!(
        checked(
            &base,
            &lists,
            &json!(names[..4].iter().map(|name| replace(name, "?")).collect::<Vec<_>>())
        )
        .is_ok()
    );
}
