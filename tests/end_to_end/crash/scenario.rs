//! Courses that a run may take.

use crate::support::Place;
use crate::support::place::{NEW, answer, order};
use serde_json::{Value, json};
use std::fs;

/// A program that answers, and notes the digest of every prompt that it is asked: the answer to a second attempt is another
/// one than that to the first.
const PROVIDER: &str = "prompt=$(cat; echo .)
printf %s \"${prompt%.}\" | sha256sum | cut -c 1-64 >> asked
case $prompt in *'Your attempt '*) cat answers/2.json ;; *) cat answers/1.json ;; esac
";

/// One course, with what makes it so.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// The first crash point that is of interest here: up to it the course is like that of another.
    pub(super) from: &'static str,
    arrange: fn(&Place),
    arguments: &'static [&'static str],
}

/// All of them.
pub(super) const SCENARIOS: [Scenario; 10] = [
    Scenario {
        name: "the first attempt passes",
        from: "the journal is built, and has no name yet",
        arrange: |place| order_with(place, &[], [&good(), &good()]),
        arguments: &[],
    },
    Scenario {
        name: "the second attempt passes after a rejection",
        from: "before the entry attempt.failed (fact)",
        arrange: |place| order_with(place, &[], [&answer("x.txt", "nothing\n"), &good()]),
        arguments: &[],
    },
    Scenario {
        name: "the second attempt passes after a proposal out of scope",
        from: "before the entry attempt.failed (fact)",
        arrange: |place| order_with(place, &[], [&answer("y.txt", "hello\n"), &good()]),
        arguments: &[],
    },
    Scenario {
        name: "the branch has commits already",
        from: "the trees are made, the commit not",
        arrange: |place| {
            let tree = place.git(&["rev-parse", "HEAD^{tree}"]);
            let commit = place.git(&["commit-tree", "-p", "HEAD", "-m", "the branch's own", &tree]);
            place.git(&["branch", "factory/work", &commit]);
            order_with(place, &[], [&good(), &good()]);
        },
        arguments: &[],
    },
    Scenario {
        name: "no attempt passes",
        from: "before the entry attempt.failed (fact)",
        arrange: |place| {
            let answers = [&answer("x.txt", "nothing\n"), &answer("x.txt", "neither\n")];
            order_with(place, &[], answers);
        },
        arguments: &["--max-attempts=2"],
    },
    Scenario {
        name: "the proposal changes nothing",
        from: "before the entry verify.finished (fact)",
        arrange: |place| {
            let same = json!({ "path": "b.txt", "base_sha256": sha256("same\n"), "content": "same\n" });
            let same = json!({ "summary": "the same", "writes": [same] }).to_string();
            order_with(place, &SHOWS_NOTHING, [&same, &same]);
        },
        arguments: &[],
    },
    Scenario {
        name: "the base has it already",
        from: "the ground is prepared",
        arrange: |place| {
            let green = [
                ("allowed_files", json!(["b.txt"])),
                ("postconditions", json!([])),
                ("acceptance_commands", json!(["grep --quiet same b.txt"])),
            ];
            order_with(place, &green, [&good(), &good()]);
        },
        arguments: &[],
    },
    Scenario {
        name: "the model says that nothing is to be changed",
        from: "after the entry proposal.answer (fact)",
        arrange: |place| {
            let nothing = json!({ "kind": "no_change", "summary": "it is there" }).to_string();
            order_with(place, &SHOWS_NOTHING, [&nothing, &nothing]);
        },
        arguments: &[],
    },
    Scenario {
        name: "commands see a repository",
        from: "a tree is written aside",
        arrange: |place| {
            place.profile("git", "source = \"export\"", "source = \"synthetic-git\"");
            order_with(place, &[], [&good(), &good()]);
        },
        arguments: &["--profile=git"],
    },
    Scenario {
        name: "files are deleted, renamed and edited",
        from: "the ground is prepared",
        arrange: moves,
        arguments: &[],
    },
];

/// An order of version 2 whose answer deletes a file with its directory, renames one and edits one.
fn moves(place: &Place) {
    let check = "test ! -e scripts/gone && test ! -e b.txt && cmp c/d.txt same && grep -q BASE a.txt";
    let order = json!({
        "schema_version": 2, "id": "WO-01", "title": "Move files", "kind": "modify", "intent": "Move files.",
        "depends_on": [], "allowed_files": ["a.txt", "same"], "allowed_deletes": ["scripts/gone/only.txt"],
        "allowed_renames": [{ "from": "b.txt", "to": "c/d.txt" }],
        "postconditions": [{ "kind": "file_absent", "path": "scripts/gone/only.txt" }],
        "acceptance": [{ "argv": ["sh", "-c", check] }]
    });
    let answer = json!({
        "schema_version": 2, "result": "changes", "summary": "moved", "operations": [
            { "op": "delete", "path": "scripts/gone/only.txt", "base_sha256": sha256("gone\n") },
            { "op": "rename", "from": "b.txt", "to": "c/d.txt", "base_sha256": sha256("same\n") },
            { "op": "replace", "path": "a.txt", "base_sha256": sha256("base\n"),
              "edits": [{ "find": "base", "replace": "BASE" }] },
            { "op": "write", "path": "same", "base_sha256": NEW, "content": "same\n" }
        ]
    })
    .to_string();
    place.write("repository/scripts/gone/only.txt", "gone\n");
    place.git(&["add", "scripts/gone/only.txt"]);
    place.git(&["commit", "--quiet", "--message=more", "--", "scripts/gone/only.txt"]);
    place.write("order.json", order.to_string());
    for number in ["1", "2"] {
        place.write(&format!("answers/{number}.json"), &answer);
    }
}

/// An order that a look at the base cannot show to be done.
const SHOWS_NOTHING: [(&str, Value); 3] = [
    ("allowed_files", Value::Null),
    ("postconditions", Value::Null),
    ("acceptance_commands", Value::Null),
];

fn good() -> String {
    answer("x.txt", "hello\n")
}

fn sha256(text: &str) -> String {
    factory::types::Sha256::of(text.as_bytes()).to_string()
}

fn order_with(place: &Place, fields: &[(&str, Value)], answers: [&String; 2]) {
    let mut order = order();
    for (name, value) in fields {
        order[name] = match (*name, value) {
            ("allowed_files", Value::Null) => json!(["b.txt"]),
            ("postconditions", Value::Null) => json!([]),
            ("acceptance_commands", Value::Null) => json!(["true"]),
            (_, value) => value.clone(),
        };
    }
    place.write("order.json", order.to_string());
    for (number, answer) in answers.iter().enumerate() {
        place.write(&format!("answers/{}.json", number + 1), answer);
    }
}

impl Scenario {
    /// A place as it is before the first start.
    pub(super) fn place(&self) -> Place {
        let place = repository();
        (self.arrange)(&place);
        place
    }

    /// The arguments of a start.
    pub(super) fn arguments(&self) -> Vec<String> {
        arguments(&[self.arguments, &["order.json"]].concat())
    }
}

/// The branch that a pass is put on.
pub(super) const BRANCH: &str = "refs/heads/factory/work";

/// What every start has among its arguments, and these.
pub(super) fn arguments(more: &[&str]) -> Vec<String> {
    let fixed = [
        "run",
        "--json",
        "--repo=repository",
        "--branch=factory/work",
        "--provider=command:sh provider.sh",
    ];
    [&fixed, more].concat().into_iter().map(str::to_owned).collect()
}

/// A repository in which somebody is at work: with a file that is changed, one whose change is staged, one that git does not
/// know and one that it ignores.
pub(super) fn repository() -> Place {
    let place = Place::empty();
    for (name, content) in [
        ("a.txt", "base\n"),
        ("b.txt", "same\n"),
        ("staged.txt", "base\n"),
        (".gitignore", "*.log\n"),
        ("scripts/verify.sh", "test ! -e broken\n"),
    ] {
        place.write(&format!("repository/{name}"), content);
    }
    place.git(&["add", "--all"]);
    place.git(&["commit", "--quiet", "--message=base"]);
    place.write("repository/staged.txt", "staged\n");
    place.git(&["add", "staged.txt"]);
    for (name, content) in [
        ("a.txt", "being edited\n"),
        ("untracked.txt", "mine\n"),
        ("ignored.log", "noise\n"),
    ] {
        place.write(&format!("repository/{name}"), content);
    }
    let mut mode = fs::metadata(place.path("repository/untracked.txt"))
        .unwrap()
        .permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o640);
    fs::set_permissions(place.path("repository/untracked.txt"), mode).unwrap();
    place.write("provider.sh", PROVIDER);
    assert_eq!(NEW, sha256(""));
    place
}
