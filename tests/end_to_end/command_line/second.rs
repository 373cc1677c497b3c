//! Orders of version 2, from a file to a commit: what they allow, what they forbid, and what they ask of commands.

use super::{Ended, Place};
use crate::support::place::NEW;
use factory::types::Sha256;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

/// A program that keeps each prompt, and answers with the first recorded answer, then the second, and so on.
const PROVIDER: &str = "n=$(ls prompts | wc -l); n=$((n + 1)); cat > prompts/$n.txt; cat answers/$n.json\n";

fn sha256(bytes: impl AsRef<[u8]>) -> String {
    Sha256::of(bytes.as_ref()).to_string()
}

const BINARY: [u8; 4] = [0xff, 0, 0xfe, b'\n'];

fn place() -> Place {
    let place = Place::empty();
    for (name, content) in [
        ("a.txt", &b"one\ntwo\nthree\n"[..]),
        ("crlf.txt", b"one\r\ntwo\r\n"),
        ("old/inner/only.txt", b"old\n"),
        ("tool.sh", b"#!/bin/sh\necho tool\n"),
        ("data.bin", &BINARY),
        ("kept.txt", b"kept\n"),
        ("scripts/verify.sh", b"test ! -e broken\n"),
    ] {
        place.write(&format!("repository/{name}"), content);
    }
    fs::set_permissions(place.path("repository/tool.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("kept.txt", place.path("repository/link")).unwrap();
    place.git(&["add", "--all"]);
    place.git(&["commit", "--quiet", "--message=base"]);
    place.write("provider.sh", PROVIDER);
    fs::create_dir(place.path("prompts")).unwrap();
    place
}

/// An order of version 2 with these fields; without others it asks for `hello` in `x.txt`.
fn order(place: &Place, fields: Value) {
    let mut order = json!({
        "schema_version": 2, "id": "WO-02", "title": "Say hello", "kind": "modify", "intent": "Write hello to x.txt.",
        "depends_on": [], "allowed_files": ["x.txt"],
        "acceptance": [{ "argv": ["grep", "--quiet", "hello", "x.txt"] }]
    });
    for (name, value) in fields.as_object().unwrap() {
        order[name] = value.clone();
    }
    place.write("order.json", order.to_string());
}

fn changes(operations: &Value) -> Value {
    json!({ "schema_version": 2, "result": "changes", "summary": "some files", "operations": operations })
}

fn write(path: &str, content: &str) -> Value {
    json!({ "op": "write", "path": path, "base_sha256": NEW, "content": content })
}

fn hello() -> Value {
    changes(&json!([write("x.txt", "hello\n")]))
}

/// Runs the order with these answers, one after the other, and says how often the model was asked.
fn run(place: &Place, answers: &[Value], options: &[&str]) -> (Ended, usize) {
    for prompt in fs::read_dir(place.path("prompts")).unwrap() {
        fs::remove_file(prompt.unwrap().path()).unwrap();
    }
    for (number, answer) in answers.iter().enumerate() {
        place.write(&format!("answers/{}.json", number + 1), answer.to_string());
    }
    let attempts = format!("--max-attempts={}", answers.len().max(1));
    let fixed = [
        "run",
        "--json",
        "--repo=repository",
        "--provider=command:sh provider.sh",
        &attempts,
    ];
    let ended = place.call(&[&fixed, options, &["order.json"]].concat());
    (ended, fs::read_dir(place.path("prompts")).unwrap().count())
}

fn prompt(place: &Place, number: usize) -> String {
    fs::read_to_string(place.path(format!("prompts/{number}.txt"))).unwrap()
}

/// The latest run's directory.
fn artifacts(ended: &Ended) -> std::path::PathBuf {
    ended.json()["summary"]["artifacts"].as_str().unwrap().into()
}

fn artifact(ended: &Ended, name: &str) -> Value {
    serde_json::from_slice(&fs::read(artifacts(ended).join(name)).unwrap()).unwrap()
}

fn tip(place: &Place) -> String {
    place.git(&["rev-parse", "factory/WO-02"])
}

/// What an order about files that go, move and change needs, and an answer to it.
fn moves(place: &Place) -> Value {
    let check = "test ! -e old && test -x bin/tool.sh && test ! -e tool.sh && grep -q TWO a.txt && cmp data.bin moved.bin 2>&1 \
                 | grep -q 'No such file' && test -x run.sh";
    order(
        place,
        json!({
            "requirements": ["R-1", "R-7"],
            "allowed_files": ["a.txt", "run.sh"],
            "allowed_deletes": ["old/inner/only.txt"],
            "allowed_renames": [{ "from": "tool.sh", "to": "bin/tool.sh" }, { "from": "data.bin", "to": "moved.bin" }],
            "executable_files": ["run.sh"],
            "protected_files": ["kept.txt"],
            "forbidden_paths": ["scripts"],
            "context_files": ["a.txt"],
            "postconditions": [
                { "kind": "file_absent", "path": "old/inner/only.txt" },
                { "kind": "file_absent", "path": "tool.sh" },
                { "kind": "file_sha256", "path": "moved.bin", "sha256": sha256(BINARY) }
            ],
            "acceptance": [{ "argv": ["sh", "-c", check] }]
        }),
    );
    changes(&json!([
        { "op": "replace", "path": "a.txt", "base_sha256": sha256("one\ntwo\nthree\n"),
          "edits": [{ "find": "two", "replace": "TWO" }] },
        { "op": "delete", "path": "old/inner/only.txt", "base_sha256": sha256("old\n") },
        { "op": "rename", "from": "tool.sh", "to": "bin/tool.sh", "base_sha256": sha256("#!/bin/sh\necho tool\n") },
        { "op": "rename", "from": "data.bin", "to": "moved.bin", "base_sha256": sha256(BINARY) },
        write("run.sh", "#!/bin/sh\n"),
    ]))
}

#[test]
fn an_order_that_deletes_renames_and_edits_becomes_a_commit_of_just_that() {
    for profile in ["verify", "git"] {
        let place = place();
        let profile = format!("--profile={profile}");
        place.profile("git", "source = \"export\"", "source = \"synthetic-git\"");
        let answer = moves(&place);
        let checkout = place.checkout();
        let (ended, asked) = run(&place, &[answer], &[&profile]);
        let ended = ended.succeeded();
        assert_eq!(
            (ended.json()["verdict"].as_str(), asked),
            (Some("PASS_UNPROVEN"), 1),
            "{ended:#?}"
        );
        assert!(place.checkout() == checkout, "the checkout was changed");
        place.leaves_nothing();
        let status = place.git(&["diff", "--name-status", "-M", "work", &tip(&place)]);
        let mut status: Vec<_> = status.lines().collect();
        status.sort_unstable();
        let expected = [
            "A\trun.sh",
            "D\told/inner/only.txt",
            "M\ta.txt",
            "R100\tdata.bin\tmoved.bin",
            "R100\ttool.sh\tbin/tool.sh",
        ];
        assert_eq!(status, expected);
        let modes = place.git(&["ls-tree", "-r", "--format=%(objectmode) %(path)", &tip(&place)]);
        for line in [
            "100755 bin/tool.sh",
            "100755 run.sh",
            "100644 moved.bin",
            "100644 a.txt",
        ] {
            assert!(modes.lines().any(|found| found == line), "{line}: {modes}");
        }
        assert_eq!(
            place.git(&["show", &format!("{}:a.txt", tip(&place))]),
            "one\nTWO\nthree"
        );
        place.git(&["fsck", "--strict", "--full"]);

        // Artifacts have final bytes, and the run says what it covered and what it took away.
        let final_bytes = artifact(&ended, "attempt-1/changes.json");
        assert_eq!(final_bytes["writes"][0]["content"], "one\nTWO\nthree\n");
        assert_eq!(
            artifact(&ended, "attempt-1/proposal.json")["operations"][0]["op"],
            "replace"
        );
        let summary = &ended.json()["summary"];
        assert_eq!(summary["requirements"], json!(["R-1", "R-7"]));
        let rungs = &summary["rungs"];
        assert_eq!(
            (&rungs[1]["state"], &rungs[7]["state"]),
            (&json!("passed"), &json!("not_applicable"))
        );
        let shown = place.call(&["show", summary["run"].as_str().unwrap()]).succeeded();
        for text in [
            "covers    R-1, R-7",
            "removes     old/inner/only.txt",
            "writes      bin/tool.sh",
        ] {
            assert!(shown.text().contains(text), "{text}: {shown:#?}");
        }
        // A finished order is recognised, on a base that lacks the files that went.
        let (again, asked) = run(&place, &[hello()], &[&profile]);
        assert_eq!(
            (again.json()["verdict"].as_str(), asked),
            (Some("SKIPPED"), 0),
            "{again:#?}"
        );
    }
}

#[test]
fn what_an_order_does_not_allow_is_refused_before_anything_runs() {
    let place = place();
    let old = sha256("old\n");
    let kept = sha256("kept\n");
    let two = sha256("one\r\ntwo\r\n");
    order(
        &place,
        json!({
            "allowed_files": ["x.txt", "crlf.txt", "old/inner/new.txt", "Kept.txt"],
            "allowed_deletes": ["old/inner/only.txt", "link", "old/inner", "absent"],
            "allowed_renames": [{ "from": "data.bin", "to": "moved.bin" }, { "from": "a.txt", "to": "tool.sh" },
                                { "from": "link", "to": "b" }],
            "protected_files": ["kept.txt"], "forbidden_paths": ["scripts"]
        }),
    );
    let delete = |path: &str, base: &str| json!({ "op": "delete", "path": path, "base_sha256": base });
    let rename =
        |from: &str, to: &str, base: &str| json!({ "op": "rename", "from": from, "to": to, "base_sha256": base });
    for (operation, stage, why) in [
        (delete("kept.txt", &kept), "write_scope_violation", "forbids to touch"),
        (
            delete("scripts/verify.sh", &kept),
            "write_scope_violation",
            "forbids to touch",
        ),
        (
            delete("x.txt", NEW),
            "write_scope_violation",
            "does not allow to delete",
        ),
        (
            write("data.bin", ""),
            "write_scope_violation",
            "does not allow this file",
        ),
        (
            rename("data.bin", "other.bin", &sha256(BINARY)),
            "write_scope_violation",
            "does not allow to rename",
        ),
        (
            rename("data.bin", ".git/hooks/x", &sha256(BINARY)),
            "write_scope_violation",
            ".git",
        ),
        (delete("link", &kept), "write_scope_violation", "symbolic link"),
        (rename("link", "b", &kept), "write_scope_violation", "symbolic link"),
        (
            write("Kept.txt", ""),
            "write_scope_violation",
            "the base has `kept.txt`",
        ),
        (delete("old/inner", NEW), "write_failed", "a directory there"),
        (delete("absent", NEW), "stale_context", "no such file"),
        (delete("old/inner/only.txt", &kept), "stale_context", "has the digest"),
        (
            rename("a.txt", "tool.sh", &sha256("one\ntwo\nthree\n")),
            "write_failed",
            "nothing is renamed onto another",
        ),
        (
            json!({ "op": "replace", "path": "crlf.txt", "base_sha256": two, "edits": [{ "find": "one\ntwo", "replace": "" }] }),
            "stale_context",
            "CR LF",
        ),
        (
            json!({ "op": "chmod", "path": "x.txt", "base_sha256": NEW }),
            "llm_output_invalid",
            "`write`, `replace`",
        ),
    ] {
        let (ended, asked) = place.untouched_by(|| run(&place, &[changes(&json!([operation]))], &["--fresh"]));
        assert_eq!((ended.code, asked), (Some(4), 1), "{operation}: {ended:#?}");
        let attempt = &ended.json()["summary"]["attempts"][0];
        assert_eq!(attempt["stage"], stage, "{operation}: {attempt}");
        assert!(
            attempt["reason"].as_str().unwrap().contains(why),
            "{operation}: {attempt}"
        );
        assert_eq!(attempt["commands"], json!([]), "nothing was run");
    }
    // The control: what the lists have, each by its operation.
    let fine = json!([
        write("x.txt", "hello\n"),
        delete("old/inner/only.txt", &old),
        write("old/inner/new.txt", "new\n"),
        rename("data.bin", "moved.bin", &sha256(BINARY)),
        { "op": "replace", "path": "crlf.txt", "base_sha256": two, "edits": [{ "find": "one\r\ntwo", "replace": "three" }] },
    ]);
    run(&place, &[changes(&fine)], &["--fresh"]).0.succeeded();
    let listed = place.git(&["ls-tree", "-r", "--name-only", &tip(&place), "old"]);
    assert_eq!(listed, "old/inner/new.txt");
}

#[test]
fn files_that_run_unasked_are_protected_from_being_deleted_and_renamed_as_well() {
    let place = place();
    for fields in [
        json!({ "allowed_deletes": [".envrc"] }),
        json!({ "allowed_renames": [{ "from": "kept.txt", "to": ".github/workflows/x.yml" }] }),
        json!({ "allowed_renames": [{ "from": ".envrc", "to": "x" }] }),
    ] {
        order(&place, fields.clone());
        let (ended, asked) = place.untouched_by(|| run(&place, &[hello()], &[]));
        assert_eq!(asked, 0, "{fields}");
        ended.explains_in_json(10, "policy", &["run outside of the sandbox", "--allow-protected"]);
    }
    order(&place, json!({ "allowed_deletes": [".envrc"] }));
    run(&place, &[hello()], &["--allow-protected=.envrc"]).0.succeeded();
}

#[test]
fn a_version_2_answer_may_say_that_nothing_is_to_be_done_or_can_be() {
    let place = place();
    let check = json!([{ "argv": ["grep", "--quiet", "kept", "kept.txt"], "expect_baseline": "any" },
                       { "argv": ["sh", "-c", "test -e x.txt"], "expect_baseline": "fail" }]);
    order(&place, json!({ "acceptance": check }));
    let said = |result: &str| json!({ "schema_version": 2, "result": result, "reason": "it \u{1b}[2J is so" });
    let (ended, _) = place.untouched_by(|| run(&place, &[said("no_change")], &["--fresh"]));
    assert_eq!(ended.code, Some(1), "the base does not fulfil the order: {ended:#?}");
    let (ended, _) = place.untouched_by(|| run(&place, &[said("blocked")], &["--fresh"]));
    ended.explains_in_json(10, "order", &["cannot be fulfilled", "\\u{1b}"]);
}

#[test]
fn preconditions_are_looked_at_before_the_model_is_paid() {
    let place = place();
    for (condition, class, code) in [
        (
            json!({ "kind": "file_sha256", "path": "kept.txt", "sha256": sha256("other") }),
            "order",
            10,
        ),
        (json!({ "kind": "file_absent", "path": "kept.txt" }), "order", 10),
        (json!({ "kind": "order_done", "order": "WO-01" }), "order", 10),
        (json!({ "kind": "tool", "name": "no-such-program" }), "host", 20),
    ] {
        order(&place, json!({ "preconditions": [condition] }));
        let (ended, asked) = place.untouched_by(|| run(&place, &[hello()], &[]));
        assert_eq!(asked, 0, "{condition}");
        let about = condition["name"]
            .as_str()
            .unwrap_or_else(|| condition["kind"].as_str().unwrap());
        ended.explains_in_json(code, class, &[about]);
    }
    order(&place, json!({ "depends_on": ["WO-01"] }));
    let (ended, asked) = place.untouched_by(|| run(&place, &[hello()], &[]));
    assert_eq!(asked, 0);
    ended.explains_in_json(10, "order", &["the order WO-01 is not done"]);
    // The controls: the same, where they hold.
    order(
        &place,
        json!({ "id": "WO-01", "preconditions": [{ "kind": "file_sha256", "path": "kept.txt", "sha256": sha256("kept\n") },
                                                 { "kind": "tool", "name": "grep" }] }),
    );
    run(&place, &[hello()], &["--branch=factory/both"]).0.succeeded();
    order(
        &place,
        json!({ "preconditions": [{ "kind": "order_done", "order": "WO-01" }], "depends_on": ["WO-01"], "allowed_files": ["y.txt"],
                "acceptance": [{ "argv": ["grep", "hello", "y.txt"] }] }),
    );
    // On a branch without it, it is not done.
    let (ended, asked) = run(&place, &[changes(&json!([write("y.txt", "hello\n")]))], &[]);
    assert_eq!((ended.code, asked), (Some(10), 0), "{ended:#?}");
    let answer = changes(&json!([write("y.txt", "hello\n")]));
    run(&place, std::slice::from_ref(&answer), &["--branch=factory/both"])
        .0
        .succeeded();
    // Told by the commits alone, where the journal is gone.
    place.git(&["branch", "factory/third", "factory/both~1"]);
    run(&place, &[answer], &["--branch=factory/third", "--state-dir=state"])
        .0
        .succeeded();
}

#[test]
fn an_acceptance_command_is_run_as_the_order_says_and_has_to_show_what_it_says() {
    let place = place();
    let script =
        "cat; printf '%s' \"$GREETING\" > made; pwd > where; printf '{\"a\": [1, \"%s\"]}' \"$(cat word)\"; exit 3";
    let accept = |expect: Value| {
        json!([{
            "argv": ["sh", "-c", script], "cwd": "sub", "env": { "GREETING": "bonjour" }, "stdin": "   ", "timeout": "20s",
            "expect": expect
        }])
    };
    let good = json!({
        "exit": 3, "stdout": { "contains": "\"a\"" }, "json": { "/a/1": "hello", "/a/0": 1 },
        "files": { "sub/made": sha256("bonjour") }
    });
    let answer = changes(&json!([write("sub/word", "hello\n")]));
    let fields = |expect: &Value| json!({ "allowed_files": ["sub/word"], "acceptance": accept(expect.clone()) });
    order(&place, fields(&good));
    let ended = run(&place, std::slice::from_ref(&answer), &[]).0.succeeded();
    let stdout = fs::read_to_string(artifacts(&ended).join("attempt-1/acceptance-0.stdout")).unwrap();
    assert_eq!(stdout, "   {\"a\": [1, \"hello\"]}");
    for (pointer, value, why) in [
        ("exit", json!(0), "exited with code 3"),
        ("stdout", json!({ "equals": "{}" }), "did not write"),
        ("json", json!({ "/a/0": 2 }), "wrote JSON with 1 at"),
        (
            "files",
            json!({ "sub/made": sha256("salut") }),
            "left `sub/made` with the sha256",
        ),
        ("files", json!({ "sub/not": sha256("") }), "left no file `sub/not`"),
    ] {
        let mut expect = good.clone();
        expect[pointer] = value;
        order(&place, fields(&expect));
        let (ended, _) = run(&place, std::slice::from_ref(&answer), &["--branch=factory/other"]);
        assert_eq!(ended.code, Some(1), "{pointer}: {ended:#?}");
        let attempt = &ended.json()["summary"]["attempts"][0];
        assert!(attempt["reason"].as_str().unwrap().contains(why), "{attempt}");
        assert_eq!(attempt["commands"][1]["exit_code"], 3);
    }
    assert!(place.git(&["branch", "--list", "factory/other"]).is_empty());
}

#[test]
fn a_credential_that_a_command_prints_is_in_no_reason_and_no_artifact_but_its_output() {
    const TOKEN: &str = "ghp_planted4f2aplanted4f2aplanted4f2a";
    let place = place();
    place.write("repository/deploy.json", json!({ "a": TOKEN }).to_string());
    place.git(&["add", "--all"]);
    place.git(&["commit", "--quiet", "--message=more"]);
    let printing = json!([{ "argv": ["cat", "deploy.json"], "expect": { "json": { "/a": "ok" } } }]);
    order(&place, json!({ "acceptance": printing }));
    let (ended, _) = run(&place, &[hello()], &[]);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    let attempt = artifacts(&ended).join("attempt-1");
    let output = fs::read_to_string(attempt.join("acceptance-0.stdout")).unwrap();
    assert!(output.contains(TOKEN), "the control: it was printed");
    let reason = ended.json()["summary"]["attempts"][0]["reason"].to_string();
    assert!(reason.contains("[struck out: a token of GitHub]"), "{reason}");
    assert!(!ended.text().contains("planted4f2a"), "{}", ended.text());
    for name in [
        "attempt-1/problem.json",
        "attempt-1/brief.json",
        "attempt-1/acceptance.json",
        "summary.json",
    ] {
        let text = fs::read_to_string(artifacts(&ended).join(name)).unwrap();
        assert!(!text.contains("planted4f2a"), "{name}: {text}");
    }
}

#[test]
fn a_command_has_no_more_time_than_it_says() {
    let place = place();
    let slow = json!([{ "argv": ["sh", "-c", "test -e x.txt && sleep 30; test -e x.txt"], "timeout": "1s" }]);
    order(&place, json!({ "acceptance": slow }));
    let (ended, _) = run(&place, &[hello()], &[]);
    ended.explains_in_json(1, "limit", &["wall-clock time"]);
}

#[test]
fn what_is_hidden_stands_in_no_prompt() {
    let place = place();
    // Each command fails on the first answer and shows a secret of its own by what it is, writes and has to show.
    let command = |visibility: &str, argv: &str, output: &str, wanted: &str| {
        let script = format!("# {argv}\necho {output} >&2; cat x.txt");
        json!({ "argv": ["sh", "-c", script], "visibility": visibility, "stdin": format!("in-{wanted}"),
                "env": { "HIDDEN": format!("env-{wanted}") }, "expect": { "stdout": { "equals": wanted } } })
    };
    let wrong = |text: &str| changes(&json!([write("x.txt", text)]));
    for (visibility, told, hidden) in [
        ("full", &["argv-secret", "output-secret", "wanted-secret"][..], &[][..]),
        (
            "summary",
            &["argv-secret"],
            &["output-secret\n", "wanted-secret", "Exit code"],
        ),
        (
            "none",
            &["a check failed that is not shown"],
            &["argv-secret", "output-secret", "wanted-secret", "Exit code", "Command:"],
        ),
    ] {
        order(
            &place,
            json!({ "acceptance": [command(visibility, "argv-secret", "output-secret", "wanted-secret")] }),
        );
        let branch = format!("--branch=factory/{visibility}");
        let (ended, asked) = run(&place, &[wrong("wrong\n"), wrong("wanted-secret\n")], &[&branch]);
        ended.succeeded();
        assert_eq!(asked, 2);
        let (first, second) = (prompt(&place, 1), prompt(&place, 2));
        for text in told {
            assert!(second.contains(text), "{visibility} {text}: {second}");
        }
        for text in hidden {
            // The command's own text has the word that it writes, where the command is shown.
            let is_shown = |prompt: &str| match (visibility, *text) {
                ("summary", "output-secret\n") => prompt.contains(text),
                (_, text) => prompt.contains(text),
            };
            assert!(
                !is_shown(&first) && !is_shown(&second),
                "{visibility} {text}: {first}{second}"
            );
        }
        assert!(second.contains("attempt 1 was refused (acceptance_failed)"), "{second}");
    }
}

#[test]
fn runs_that_disagree_are_inconclusive_and_those_that_agree_pass() {
    let place = place();
    // The seed of a repeated run is another one: what depends on it gives itself away.
    let by_seed = |test: &str| json!([{ "argv": ["sh", "-c", format!("test -e x.txt && {test}")], "runs": 3 }]);
    order(
        &place,
        json!({ "acceptance": by_seed("test \"$PYTHONHASHSEED\" != 3") }),
    );
    let (ended, asked) = place.untouched_by(|| run(&place, &[hello(), hello()], &[]));
    assert_eq!(asked, 1, "asking again would not help");
    ended.explains_in_json(13, "flaky", &["in one of 3 runs of the same bytes"]);
    assert_eq!(ended.json()["verdict"], "INCONCLUSIVE");
    assert_eq!(ended.json()["summary"]["rungs"][7]["state"], "failed");
    order(&place, json!({ "acceptance": by_seed("true") }));
    let (ended, _) = run(&place, &[hello()], &[]);
    let ended = ended.succeeded();
    assert_eq!(ended.json()["summary"]["rungs"][7]["state"], "passed");
    assert_eq!(
        ended.json()["summary"]["attempts"][0]["commands"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
    // Failing each time is no disagreement.
    order(&place, json!({ "acceptance": by_seed("false") }));
    let (ended, _) = run(&place, &[hello()], &["--branch=factory/other"]);
    ended.explains_in_json(1, "rejected", &["exited with code 1"]);
}

#[test]
fn a_command_that_does_something_else_on_the_base_than_it_should_is_found_before_the_model_is_paid() {
    let place = place();
    let one = |script: &str, baseline: &str| json!({ "argv": ["sh", "-c", script], "expect_baseline": baseline });
    let red = one("test -e x.txt", "fail");
    for (command, code, class, why) in [
        (
            one("true # green", "fail"),
            10,
            "order",
            "shows already what it has to show",
        ),
        (
            one("false # red", "pass"),
            10,
            "order",
            "has to hold before the work as well",
        ),
        (
            one("test -e x.txt || sleep 30", "fail"),
            10,
            "order",
            "the limit on wall-clock time",
        ),
    ] {
        order(
            &place,
            json!({ "acceptance": [red, command], "resources": { "wall": "1s" } }),
        );
        let (ended, asked) = place.untouched_by(|| run(&place, &[hello()], &[]));
        assert_eq!(asked, 0, "{command}");
        ended.explains_in_json(code, class, &[why, "expect_baseline"]);
        let judged = artifact(&ended, "baseline.json");
        assert_eq!(
            (&judged[0]["found"], judged.as_array().unwrap().len()),
            (&json!("red"), 2)
        );
    }
    // Red, for reasons that no answer to this order takes away.
    for (argv, why) in [
        (json!(["sh", "-c", "no-such-program && true"]), "finds no program"),
        (json!(["sh", "-c", "if test -e x.txt"]), "cannot read its text"),
        (json!(["./made-by-nobody"]), "cannot be started"),
    ] {
        order(&place, json!({ "acceptance": [red, { "argv": argv }] }));
        let (ended, asked) = place.untouched_by(|| run(&place, &[hello()], &[]));
        assert_eq!(asked, 0, "{argv}");
        ended.explains_in_json(10, "order", &[why, "does not take away"]);
    }
    // What the order may make is missing for the right reason.
    let made = json!({ "argv": ["./x.txt"], "cwd": "sub", "expect": { "exit": 3 } });
    order(
        &place,
        json!({ "acceptance": [made], "allowed_files": ["sub/x.txt"], "executable_files": ["sub/x.txt"] }),
    );
    let script = changes(&json!([write("sub/x.txt", "#!/bin/sh\nexit 3\n")]));
    run(&place, &[script], &["--branch=factory/script"]).0.succeeded();
    for baseline in ["pass", "any"] {
        order(&place, json!({ "acceptance": [red, one("true # green", baseline)] }));
        run(&place, &[hello()], &[&format!("--branch=factory/{baseline}")])
            .0
            .succeeded();
    }
    // All of it green: nothing is to be done.
    order(
        &place,
        json!({ "allowed_files": ["kept.txt"], "acceptance": [one("grep -q kept kept.txt", "fail")] }),
    );
    let (ended, asked) = place.untouched_by(|| run(&place, &[hello()], &["--branch=factory/done"]));
    assert_eq!(
        (ended.json()["verdict"].as_str(), asked),
        (Some("ALREADY_SATISFIED"), 0),
        "{ended:#?}"
    );
}

#[test]
fn what_holds_before_the_work_as_well_does_not_show_that_it_is_done() {
    let place = place();
    let kept = json!([{ "argv": ["grep", "--quiet", "kept", "kept.txt"] }]);
    for kind in ["refactor", "docs"] {
        order(
            &place,
            json!({ "kind": kind, "allowed_files": ["kept.txt"], "acceptance": kept }),
        );
        let other = json!([{ "op": "replace", "path": "kept.txt", "base_sha256": sha256("kept\n"),
                             "edits": [{ "find": "kept", "replace": "kept tidily" }] }]);
        let (ended, asked) = run(&place, &[changes(&other)], &[&format!("--branch=factory/{kind}")]);
        let ended = ended.succeeded();
        assert_eq!(
            (ended.json()["verdict"].as_str(), asked),
            (Some("PASS_UNPROVEN"), 1),
            "{kind}: {ended:#?}"
        );
    }
}

#[test]
fn an_order_without_namespaces_is_judged_as_any_other() {
    let place = place();
    let answer = moves(&place);
    run(&place, &[answer], &["--profile=legacy-kernel"]).0.succeeded();
    let check = json!([{ "argv": ["sh", "-c", "cat > made; test -e x.txt"], "stdin": "bonjour", "cwd": "scripts",
                         "expect": { "files": { "scripts/made": sha256("bonjour") } } }]);
    order(
        &place,
        json!({ "allowed_files": ["scripts/x.txt"], "acceptance": check }),
    );
    let hello = changes(&json!([write("scripts/x.txt", "hello\n")]));
    let options = ["--profile=legacy-kernel", "--branch=factory/other"];
    run(&place, &[hello], &options).0.succeeded();
}

#[test]
fn an_order_gets_no_more_than_the_profile_grants() {
    let place = place();
    let env = |name: &str| json!({ "acceptance": [{ "argv": ["test", "-e", "x.txt"], "env": { name: "x" } }] });
    for (fields, why) in [
        (json!({ "resources": { "wall": "11m" } }), "wall: 11m is asked for"),
        (json!({ "resources": { "memory": "5GiB" } }), "memory: 5"),
        (json!({ "resources": { "pids": 513 } }), "pids: 513"),
        (env("LD_PRELOAD"), "it steers the loader"),
        (env("GIT_DIR"), "it steers the loader"),
        (env("PATH"), "the sandbox sets it"),
        (env("HOME"), "the sandbox sets it"),
        (env("TZ"), "the profile sets it"),
    ] {
        order(&place, fields);
        let (ended, asked) = place.untouched_by(|| run(&place, &[hello()], &[]));
        assert_eq!(asked, 0, "{why}");
        ended.explains_in_json(10, "policy", &[why, "--profile"]);
    }
    order(
        &place,
        json!({ "resources": { "wall": "1m", "memory": "300MiB", "pids": 60, "output": "1MiB" } }),
    );
    let (ended, _) = run(&place, &[hello()], &[]);
    let evidence = artifact(&ended.succeeded(), "attempt-1/evidence.json");
    let limits = evidence["commands"][0]["limits"].as_array().unwrap();
    for (name, wanted) in [
        ("wall", 60_000),
        ("memory", 300 << 20),
        ("pids", 60),
        ("output", 1 << 20),
    ] {
        let limit = limits.iter().find(|limit| limit["limit"] == name).unwrap();
        assert_eq!(limit["requested"], wanted, "{limit}");
    }
    let more = env("GREETING");
    order(&place, more);
    run(&place, &[hello()], &["--branch=factory/env"]).0.succeeded();
}

#[test]
fn a_tool_that_is_missing_or_too_old_is_a_matter_of_the_host() {
    let place = place();
    for (tool, why) in [
        (json!({ "name": "no-such-program" }), "no-such-program"),
        (
            json!({ "name": "bash", "min_version": "99.1" }),
            "and at least 99.1 is needed",
        ),
        (
            json!({ "name": "sh", "argv": ["sh", "-c", "exit 3"] }),
            "exited with code 3",
        ),
        (
            json!({ "name": "sh", "argv": ["sh", "-c", "echo one"], "min_version": "1.0" }),
            "names no version",
        ),
    ] {
        order(&place, json!({ "tools": [tool] }));
        let (ended, asked) = place.untouched_by(|| run(&place, &[hello()], &[]));
        assert_eq!(asked, 0, "{tool}");
        ended.explains_in_json(20, "host", &[why]);
    }
    order(
        &place,
        json!({ "tools": [{ "name": "bash", "min_version": "3.0" }, { "name": "grep" }] }),
    );
    run(&place, &[hello()], &[]).0.succeeded();
}

#[test]
fn the_budget_of_an_order_can_only_tighten_the_operators() {
    let place = place();
    order(&place, json!({ "budget": { "tokens": 100 } }));
    let (ended, asked) = place.untouched_by(|| run(&place, &[hello()], &["--budget=order=10000000tok"]));
    assert_eq!(asked, 0);
    ended.explains_in_json(
        11,
        "budget",
        &["the order's own budget of 100 tokens", "raise its `budget.tokens`"],
    );
    order(&place, json!({ "budget": { "tokens": 10_000_000 } }));
    let (ended, asked) = place.untouched_by(|| run(&place, &[hello()], &["--budget=order=100tok"]));
    assert_eq!((ended.code, asked), (Some(11), 0), "{ended:#?}");
    run(&place, &[hello()], &["--budget=order=10000000tok"]).0.succeeded();
}

#[test]
fn a_command_that_changes_a_protected_file_has_tampered() {
    let place = place();
    let spoil = json!([{ "argv": ["sh", "-c", "test -e x.txt && echo more >> kept.txt"] }]);
    order(&place, json!({ "acceptance": spoil, "protected_files": ["kept.txt"] }));
    let (ended, _) = place.untouched_by(|| run(&place, &[hello()], &[]));
    ended.explains_in_json(1, "rejected", &["changed `kept.txt`, which is protected"]);
    order(&place, json!({ "acceptance": spoil }));
    run(&place, &[hello()], &[]).0.succeeded();
}
