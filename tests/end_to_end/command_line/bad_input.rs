//! Bad input gets a clear problem and the right exit code, from `run`, `exec` and `check`, for people and in JSON; the
//! repository is byte for byte as it was, and nothing stays behind.

use super::{Ended, Place};
use crate::support::place::{answer, order};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

/// What a problem has to say.
struct Wanted<'a> {
    code: i32,
    class: &'a str,
    words: &'a [&'a str],
}

/// The call must be refused, for people and in JSON, and leave no trace.
#[track_caller]
fn refused(place: &Place, arguments: &[&str], wanted: &Wanted<'_>) {
    place.untouched_by(|| {
        place.call(arguments).explains(wanted.code, wanted.words);
        let (subcommand, rest) = arguments.split_first().unwrap();
        let with_json = [&[*subcommand, "--json"], rest].concat();
        let ended = place.call(&with_json);
        ended.explains_in_json(wanted.code, wanted.class, wanted.words);
        if *subcommand == "run" {
            // Whatever happens, the last event says how it ended.
            assert_eq!(ended.json()["event"], "run.completed", "{ended:#?}");
            assert_eq!(ended.json()["exit_code"], wanted.code, "{ended:#?}");
        }
    });
    assert_eq!(place.git(&["for-each-ref", "refs/heads/factory"]), "");
}

/// `run` and `exec` must both refuse, given the same flags.
#[track_caller]
fn both_refused(place: &Place, flags: &[&str], wanted: &Wanted<'_>) {
    let run = ["run", "--provider=replay:answers"];
    refused(place, &[&run, flags, &["order.json"]].concat(), wanted);
    refused(place, &[&["exec"], flags, &["--", "true"]].concat(), wanted);
}

fn run_of(order: &str) -> [&str; 4] {
    ["run", "--repo=repository", "--provider=replay:answers", order]
}

#[test]
fn a_malformed_order_is_refused_with_every_place_that_is_wrong() {
    let place = Place::new();
    let mut order = order();
    order["allowed_files"] = json!(["x.txt", ".git/hooks/post-commit", "../x"]);
    order["acceptance_commands"] = json!(["sh -c 'true"]);
    order["title"] = Value::Null;
    place.write("wrong.json", serde_json::to_string_pretty(&order).unwrap());
    let words: &[&str] = &[
        "wrong.json",
        "/allowed_files/1",
        "/allowed_files/2",
        "line 3, column 5: /acceptance_commands/0",
        "/title",
    ];
    let wanted = Wanted {
        code: 65,
        class: "order",
        words,
    };
    refused(&place, &run_of("wrong.json"), &wanted);
    place.call(&["check", "wrong.json"]).explains(65, words);

    for (text, words) in [
        ("", "the text ends"),
        ("{\"id\": \"WO-01\"", "the text ends in the middle"),
        ("[]", "object"),
        ("{\"id\": 1, \"id\": 2}", "twice"),
        ("\u{feff}{\"id\": NaN}", "line 1, column "),
    ] {
        place.write("wrong.json", text);
        let wanted = Wanted {
            code: 65,
            class: "order",
            words: &["wrong.json", words],
        };
        refused(&place, &run_of("wrong.json"), &wanted);
    }
    place.write("wrong.json", vec![b' '; (1 << 20) + 1]);
    let wanted = Wanted {
        code: 65,
        class: "order",
        words: &["1048576"],
    };
    refused(&place, &run_of("wrong.json"), &wanted);
    assert!(
        !place.path("home/.local").exists(),
        "nothing is recorded of what was never a run"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let place = Place::new();
    nix::unistd::mkfifo(&place.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (file, why) in [
        ("nowhere.json", "No such file"),
        ("repository", "not a regular file"),
        ("fifo", "not a regular file"),
        ("/dev/zero", "not a regular file"),
        ("order.json/below", "Not a directory"),
    ] {
        let words = &[file, why];
        let wanted = Wanted {
            code: 74,
            class: "host",
            words,
        };
        refused(&place, &run_of(file), &wanted);
        // A directory may hold a plan, and this one does not.
        match file {
            "repository" => place.call(&["check", file]).explains(65, &[file, "holds no plan"]),
            _ => place.call(&["check", file]).explains(74, words),
        }
    }
    // Nothing is closed to root.
    if !crate::support::is_root() {
        fs::set_permissions(place.path("order.json"), fs::Permissions::from_mode(0o000)).unwrap();
        let wanted = Wanted {
            code: 74,
            class: "host",
            words: &["order.json", "Permission denied"],
        };
        refused(&place, &run_of("order.json"), &wanted);
    }
}

#[test]
fn a_directory_that_is_no_usable_repository_is_refused_with_what_to_do() {
    let place = Place::new();
    fs::create_dir(place.path("plain")).unwrap();
    place.git_in("plain", &["init", "--quiet", "--bare", "../bare.git"]);
    place.git_in("plain", &["init", "--quiet", "../empty"]);
    for (repository, words) in [
        ("plain", &["plain is not inside a git repository", "git init"]),
        ("bare.git", &["bare.git is bare", "clone it"]),
        ("empty", &["has no commits", "make a first commit"]),
        ("nowhere", &["cannot read the directory", "No such file"]),
        ("order.json", &["cannot read the directory", "Not a directory"]),
    ] {
        let before = place.path(repository).exists().then(|| place.snapshot(repository));
        let wanted = Wanted {
            code: 23,
            class: "host",
            words,
        };
        both_refused(&place, &["--repo", repository], &wanted);
        let after = place.path(repository).exists().then(|| place.snapshot(repository));
        assert!(before == after, "{repository} was changed");
    }
}

#[test]
fn a_revision_that_leads_nowhere_is_named() {
    let place = Place::new();
    let wanted = Wanted {
        code: 23,
        class: "host",
        words: &["`nowhere`", "git log"],
    };
    let exec = ["exec", "--repo=repository", "--rev=nowhere", "--", "true"];
    refused(&place, &exec, &wanted);
    let run = [
        "run",
        "--repo=repository",
        "--provider=replay:answers",
        "--base=nowhere",
        "order.json",
    ];
    refused(&place, &run, &wanted);
}

#[test]
fn a_detached_head_is_a_base_like_any_other() {
    let place = Place::new();
    place.git(&["checkout", "--quiet", "--detach"]);
    let head = place.git(&["rev-parse", "HEAD"]);
    place.run(&["order.json"]).succeeded();
    assert_eq!(place.git(&["rev-parse", "factory/WO-01^"]), head);
    assert_eq!(
        place.git(&["rev-parse", "--abbrev-ref", "HEAD"]),
        "HEAD",
        "it is still detached"
    );
    let ended = place.exec(&["--json", "--", "cat", "a.txt"]).succeeded();
    assert_eq!(ended.json()["commit"], head.as_str());
    place.leaves_nothing();
}

#[test]
fn a_dirty_checkout_is_allowed_left_alone_and_told_apart_from_the_base() {
    let place = Place::new();
    let head = place.git(&["rev-parse", "HEAD"]);
    place.write("repository/a.txt", "unfinished\n");
    place.write("repository/broken", "verify fails where this file is\n");
    place.write("repository/staged.txt", "staged\n");
    place.git(&["add", "staged.txt"]);
    let before = place.checkout();

    let ended = place.run(&["order.json"]).succeeded();
    let note = format!(
        "note: uncommitted changes are not part of this run; it starts from commit {}",
        &head[..12]
    );
    assert!(ended.stderr.contains(&note), "{ended:#?}");
    assert_eq!(place.git(&["rev-parse", "factory/WO-01^"]), head);
    assert_eq!(
        place.git(&["diff", "--name-only", "factory/WO-01^", "factory/WO-01"]),
        "x.txt"
    );

    let ended = place.run(&["--json", "--branch=factory/b", "order.json"]).succeeded();
    let mut events = ended
        .text()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .collect::<Vec<_>>();
    events.retain(|event| event["event"] == "checkout.seen");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!((&events[0]["dirty"], &events[0]["base"]), (&json!(true), &json!(head)));

    let ended = place.exec(&["--", "sh", "-c", "cat a.txt; ls"]).succeeded();
    assert_eq!(ended.text(), "base\na.txt\nscripts\n");
    assert_eq!(ended.stderr, "", "a pipe gets what the command writes");
    let document = place.exec(&["--json", "--", "true"]).succeeded().json();
    assert_eq!((&document["dirty"], &document["commit"]), (&json!(true), &json!(head)));

    assert!(
        place.checkout() == before,
        "the checkout, the index or the settings were changed"
    );
    place.leaves_nothing();

    place.git(&["stash", "--quiet", "--include-untracked"]);
    let document = place.exec(&["--json", "--", "true"]).succeeded().json();
    assert_eq!(document["dirty"], false, "the control");
}

#[test]
fn a_profile_that_is_missing_or_wrong_is_refused_with_the_nearest_word() {
    let place = Place::new();
    place.profile("typo", "wall = ", "wal = ");
    place.profile("mistyped", "schema = 1", "schema = \"one\"");
    for (profile, words) in [
        (
            "missing",
            &[
                "there is no profile `missing`",
                "legacy-kernel, mistyped, review, strict, typo, verify",
            ][..],
        ),
        ("../verify", &["there is no profile `../verify`"]),
        ("typo", &["typo.toml", "line ", "`wal`", "did you mean `wall`?"]),
    ] {
        let wanted = Wanted {
            code: 78,
            class: "policy",
            words,
        };
        both_refused(&place, &["--repo=repository", "--profile", profile], &wanted);
    }
    let ended = place.exec(&["--profile=mistyped", "--", "true"]);
    assert_eq!(ended.code, Some(78), "{ended:#?}");
    assert!(ended.stderr.contains("mistyped.toml"), "{ended:#?}");
}

#[test]
fn a_tool_that_the_sandbox_lacks_is_named_before_a_model_is_asked() {
    let place = Place::new();
    let mut order = order();
    order["acceptance_commands"] = json!(["frobnicate x.txt"]);
    place.write("tool.json", order.to_string());
    // It is installed, but nobody granted the directory.
    let tool = place.write("home/bin/frobnicate", "#!/bin/sh\n");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    let asked = place.word("asked");
    let provider = format!("--provider=command:touch {asked}");
    let wanted = Wanted {
        code: 20,
        class: "host",
        words: &["`frobnicate`", "`verify`", "[fs] read"],
    };
    refused(&place, &["run", "--repo=repository", &provider, "tool.json"], &wanted);
    assert!(!place.path("asked").exists(), "a model was asked");
    let wanted = Wanted {
        code: 20,
        class: "host",
        words: &["frobnicate", "[fs] read"],
    };
    refused(&place, &["exec", "--repo=repository", "--", "frobnicate"], &wanted);
}

#[test]
fn an_unmet_precondition_blocks_the_order_and_is_named() {
    let place = Place::new();
    let mut order = order();
    order["preconditions"] = json!([
        { "kind": "file_exists", "path": "absent.txt" },
        { "kind": "file_absent", "path": "a.txt" },
        { "kind": "file_exists", "path": "a.txt" },
    ]);
    place.write("blocked.json", order.to_string());
    let words = &["file_exists absent.txt", "file_absent a.txt", "preconditions"];
    let wanted = Wanted {
        code: 10,
        class: "order",
        words,
    };
    refused(&place, &run_of("blocked.json"), &wanted);
}

#[test]
fn a_branch_that_must_not_move_is_refused_with_another_way() {
    let place = Place::new();
    place.git(&["branch", "taken"]);
    for (flags, class, words) in [
        (&["--branch=main"][..], "host", &["`main`", "git merge"][..]),
        (&["--branch=work"], "conflict", &["`work`", "switch --detach"]),
        (&["--branch=a..b"], "host", &["a..b", "check-ref-format"]),
        (&["--branch=taken", "--create-branch"], "host", &["`taken`", "--branch"]),
        (
            &["--branch=absent", "--reuse-branch"],
            "host",
            &["`absent`", "git branch"],
        ),
        (&["--branch=taken/below"], "host", &["`taken`", "git branch -m"]),
    ] {
        let wanted = Wanted { code: 23, class, words };
        let run = [
            &["run", "--repo=repository", "--provider=replay:answers"],
            flags,
            &["order.json"],
        ]
        .concat();
        refused(&place, &run, &wanted);
    }
}

#[test]
fn a_wrong_command_line_is_explained_for_people_and_in_json() {
    let place = Place::new();
    for arguments in [
        &["run"][..],
        &["run", "--max-attempts=0", "order.json"],
        &["run", "--max-attemps=3", "order.json"],
        &["run", "--timeout=0s", "order.json"],
        &["exec", "--repo=repository"],
        &["exec", "--repo=repository", "true"],
        &["exec", "--timeout=soon", "--", "true"],
        &["check"],
        &["show"],
        &["frobnicate"],
        &[],
    ] {
        let ended = place.call(arguments);
        assert_eq!(ended.code, Some(64), "{ended:#?}");
        assert_eq!(ended.text(), "", "{arguments:?}");
        assert!(
            ended.stderr.contains("--help") || ended.stderr.contains("Usage: "),
            "{ended:#?}"
        );
        let (subcommand, rest) = arguments.split_at(arguments.len().min(1));
        let in_json = place.call(&[subcommand, &["--json"], rest].concat());
        in_json.explains_in_json(64, "order", &["factory help"]);
    }
    for (provider, words) in [
        ("claude", &["`claude` is not a provider", "replay:DIR"][..]),
        ("replay:nowhere", &["nowhere"]),
        ("command:'", &["cannot be split", "quotation mark"]),
    ] {
        let flag = format!("--provider={provider}");
        let ended = place.call(&["run", "--repo=repository", &flag, "order.json"]);
        assert!([Some(64), Some(3), Some(20)].contains(&ended.code), "{ended:#?}");
        for word in words {
            assert!(ended.stderr.contains(word), "`{word}` in {ended:#?}");
        }
    }
    let none = Wanted {
        code: 64,
        class: "order",
        words: &["no provider is named", "FACTORY_PROVIDER"],
    };
    refused(&place, &["run", "--repo=repository", "order.json"], &none);
    // A table may have any name, so that whoever mistypes one is told which there are.
    place.write(
        "tables.toml",
        "[providers.house]\nprovider = \"openai\"\n[providers.other]\nprovider = \"anthropic\"\n",
    );
    let misspelled = Wanted {
        code: 64,
        class: "order",
        words: &[
            "`hosue` is not a provider",
            "did you mean `house`?",
            "the settings name `house`, `other`; built in are replay:DIR",
        ],
    };
    let flags = ["--config=tables.toml", "--provider=hosue"];
    place.write("spec.md", "A product.\n");
    refused(
        &place,
        &[&["run"], &flags[..], &["--repo=repository", "order.json"]].concat(),
        &misspelled,
    );
    refused(
        &place,
        &[
            &["plan"],
            &flags[..],
            &["--repo=repository", "--spec=spec.md", "--out=out"],
        ]
        .concat(),
        &misspelled,
    );
    refused(&place, &[&["doctor"], &flags[..]].concat(), &misspelled);
    let empty = Wanted {
        code: 64,
        class: "order",
        words: &["cannot be run as written", "`factory exec -- ls -l`"],
    };
    refused(&place, &["exec", "--repo=repository", "--", ""], &empty);
}

#[test]
fn a_filter_of_log_lines_that_is_none_is_refused_with_those_that_are() {
    let place = Place::new();
    place.write("spec.md", "A product.\n");
    for arguments in [
        &["run", "--repo=repository", "--provider=replay:answers", "order.json"][..],
        &[
            "plan",
            "--repo=repository",
            "--provider=replay:answers",
            "--spec=spec.md",
            "--out=out",
        ],
    ] {
        place.untouched_by(|| {
            let mut command = place.factory(arguments);
            let ended = Ended::of(command.env("FACTORY_LOG", "verbose").output().unwrap());
            ended.explains(
                64,
                &["`FACTORY_LOG` is `verbose`", "off, error, warn, info, debug or trace"],
            );
        });
    }
}

#[test]
fn places_inside_the_repository_are_refused() {
    let place = Place::new();
    place.git(&["worktree", "add", "--quiet", "--detach", "../linked"]);
    fs::remove_dir_all(place.path("linked")).unwrap();
    place.git(&["worktree", "prune"]);
    std::os::unix::fs::symlink(place.path("repository"), place.path("link")).unwrap();
    for flag in [
        "--state-dir=repository/state",
        "--state-dir=link",
        "--state-dir=repository/.git/state",
        "--artifacts=repository/new",
    ] {
        let wanted = Wanted {
            code: 64,
            class: "order",
            words: &["is inside the repository", "outside"],
        };
        let run = [
            "run",
            "--repo=repository",
            "--provider=replay:answers",
            flag,
            "order.json",
        ];
        refused(&place, &run, &wanted);
    }
    place.untouched_by(|| {
        let mut exec = place.factory(&["exec", "--repo=repository", "--", "true"]);
        exec.env("XDG_CACHE_HOME", place.path("repository"));
        crate::support::Ended::of(exec.output().unwrap())
            .explains(64, &["the cache directory", "is inside the repository"]);
    });
}

#[test]
fn a_proposal_out_of_scope_becomes_nothing() {
    let place = Place::new();
    for path in [
        ".git/hooks/post-commit",
        ".GIT/config",
        "other.txt",
        "../x.txt",
        "/etc/x",
    ] {
        place.write("answers/1.json", answer(path, "planted"));
        place.untouched_by(|| {
            let ended = place.run(&["--json", "--max-attempts=1", "order.json"]);
            ended.explains_in_json(4, "proposal", &["proposal"]);
        });
        assert!(!place.path("x.txt").exists());
    }
}

#[test]
fn a_provider_that_does_not_answer_has_the_code_of_its_reason() {
    let place = Place::new();
    // A port that nobody listens on: it was just free.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let nobody = format!("--provider=openai:http://127.0.0.1:{port}/v1");
    for (provider, code, class, words) in [
        (&*nobody, 75, "provider_transient", &["Connection refused"][..]),
        (
            "--provider=command:sh -c 'exit 75'",
            75,
            "provider_transient",
            &["again later"],
        ),
        (
            "--provider=command:sh -c 'echo why >&2; exit 1'",
            3,
            "provider_permanent",
            &["why", "by hand"],
        ),
        (
            "--provider=command:frobnicate",
            20,
            "host",
            &["`frobnicate`", "on PATH"],
        ),
        (
            "--provider=replay:repository",
            3,
            "provider_permanent",
            &["no recorded answer is left"],
        ),
        (
            "--provider=command:echo Sure, here it is",
            4,
            "proposal",
            &["not one JSON object"],
        ),
    ] {
        let wanted = Wanted { code, class, words };
        let run = [
            "run",
            "--repo=repository",
            "--model=m",
            "--provider-tries=1",
            "--max-attempts=1",
            provider,
            "order.json",
        ];
        refused(&place, &run, &wanted);
    }
}
