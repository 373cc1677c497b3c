//! Settings: who wins, what is refused, and that nothing of it is the repository's.

use super::{Ended, Place};
use crate::support::place::answer;
use crate::support::{is_root, project};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

const SETTINGS: &str = "home/.config/factory/factory.toml";

fn show(place: &Place, flags: &[&str]) -> Vec<Value> {
    let ended = place.call(&[&["config", "show", "--json"], flags].concat()).succeeded();
    assert_eq!(ended.stderr, "");
    ended.json()["settings"].as_array().unwrap().clone()
}

fn row<'r>(rows: &'r [Value], key: &str) -> &'r Value {
    let found = rows.iter().find(|row| row["key"] == key);
    found.unwrap_or_else(|| panic!("no {key} in {rows:#?}"))
}

#[test]
fn every_setting_is_shown_with_who_said_it() {
    let place = Place::empty();
    place.write(
        SETTINGS,
        "provider = \"openai\"\nmodel = \"of-file\"\n[budget.day]\nusd = \"20\"\n",
    );
    let mut command = place.factory(&["config", "show", "--origin", "--budget=order=5", "--wait=1h"]);
    command.env("FACTORY_MODEL", "of-variable");
    let page = Ended::of(command.output().unwrap()).succeeded().text();
    let file = place.word(SETTINGS);
    let lines: Vec<String> = page
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for line in [
        format!("provider openai ({file}:1)"),
        "model of-variable ($FACTORY_MODEL)".to_owned(),
        "budget.order.usd $5.00 (--budget)".to_owned(),
        format!("budget.day.usd $20.00 ({file}:4)"),
        "wait 1h (--wait)".to_owned(),
        "max_attempts 5 (default)".to_owned(),
        "profile verify (default)".to_owned(),
        format!("state_dir {} (default)", place.word("home/.local/state/factory")),
        "api_key (not set)".to_owned(),
    ] {
        assert!(lines.contains(&line), "{line}: {page}");
    }
    let rows = show(&place, &[]);
    assert_eq!(
        row(&rows, "model")["origin"],
        json!({ "kind": "file", "path": file, "line": 2 })
    );
    assert_eq!(row(&rows, "wait")["origin"], json!({ "kind": "default" }));
}

#[test]
fn secrets_are_shown_as_set_with_their_place_and_never_with_their_value() {
    const SECRET: &str = "planted-9c8b7a6d";
    let place = Place::empty();
    place.write("home/key", SECRET);
    fs::set_permissions(place.path("home/key"), Permissions::from_mode(0o600)).unwrap();
    place.write(
        SETTINGS,
        "[providers.a]\nprovider = \"openai\"\nmodel = \"m\"\napi_key_file = \"~/key\"\n\
         headers = { X-Team = { env = \"TEAM\" }, X-Gone = { env = \"GONE\" } }\n",
    );
    let shown = |provider: &str, variables: &[(&str, &str)]| {
        let mut command = place.factory(&["config", "show", "--origin", "--provider", provider]);
        command.envs(variables.iter().copied());
        let ended = Ended::of(command.output().unwrap()).succeeded();
        assert!(
            !ended.text().contains(SECRET) && !ended.stderr.contains(SECRET),
            "{ended:#?}"
        );
        ended.text()
    };
    let page = shown("a", &[("TEAM", SECRET)]);
    assert!(
        page.contains(&format!("set, by the file {}", place.word("home/key"))),
        "{page}"
    );
    assert!(page.contains("set, by $TEAM"), "{page}");
    assert!(page.contains("not set, by $GONE"), "{page}");
    let page = shown(
        "openai:http://127.0.0.1:1/v1",
        &[
            ("OPENAI_API_KEY", SECRET),
            ("HTTPS_PROXY", "http://me:planted-9c8b7a6d@proxy.example.com:3128"),
        ],
    );
    assert!(page.contains("set, by $OPENAI_API_KEY"), "{page}");
    assert!(page.contains("http://[redacted]@proxy.example.com:3128"), "{page}");
    let page = shown(&format!("command:ask --key {SECRET}"), &[]);
    assert!(page.contains("command:ask …"), "{page}");
}

#[test]
fn the_file_is_the_named_one_or_the_usual_one() {
    let place = Place::empty();
    let path = |command: &mut std::process::Command| Ended::of(command.output().unwrap()).succeeded().text();
    let usual = format!("{} (absent)\n", place.word(SETTINGS));
    assert_eq!(path(&mut place.factory(&["config", "path"])), usual);
    place.write("other.toml", "wait = \"7s\"\n");
    place.write("xdg/factory/factory.toml", "wait = \"8s\"\n");
    let other = format!("{}\n", place.word("other.toml"));
    assert_eq!(
        path(&mut place.factory(&["--config=other.toml", "config", "path"])),
        other
    );
    assert_eq!(
        path(place.factory(&["config", "path"]).env("FACTORY_CONFIG", "other.toml")),
        other
    );
    let wait = |command: &mut std::process::Command| {
        let rows = Ended::of(command.output().unwrap()).succeeded().json();
        row(rows["settings"].as_array().unwrap(), "wait")["value"].clone()
    };
    let show = ["config", "show", "--json"];
    assert_eq!(
        wait(place.factory(&show).env("XDG_CONFIG_HOME", place.path("xdg"))),
        "8s"
    );
    assert_eq!(wait(place.factory(&show).env("FACTORY_CONFIG", "other.toml")), "7s");
    // A named file has to be there; the usual one need not.
    place
        .call(&["config", "show", "--config=absent.toml"])
        .explains(78, &["absent.toml", "--config"]);
    place.call(&["config", "show"]).succeeded();
}

#[test]
fn a_file_that_is_wrong_is_one_clear_problem_for_each_command_that_would_use_it() {
    let place = Place::new();
    let file = place.write(SETTINGS, "modle = \"m\"\n");
    place.untouched_by(|| {
        let words = ["factory.toml`, line 1", "`modle`", "did you mean `model`?"];
        place.run(&["order.json"]).explains(78, &words);
        place
            .run(&["--json", "order.json"])
            .explains_in_json(78, "policy", &words);
        for command in [
            &["exec", "--repo=repository", "--", "true"][..],
            &["status"],
            &["doctor"],
            &["config", "show"],
        ] {
            place.call(command).explains(78, &words);
        }
        // Who does not look at settings is not kept from work by them.
        place.call(&["check", "order.json"]).succeeded();
        place.call(&["config", "path"]).succeeded();
        place.call(&["help"]).succeeded();
        fs::write(&file, "wait = \"1s\"\n").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
        place
            .run(&["order.json"])
            .explains(78, &["others than its owner can write it", "chmod"]);
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        // Only root can give a file away.
        if is_root() {
            std::os::unix::fs::chown(&file, Some(12_345), None).unwrap();
            place
                .run(&["order.json"])
                .explains(78, &["it belongs to somebody else"]);
            std::os::unix::fs::chown(&file, Some(0), None).unwrap();
        }
        fs::write(&file, b"\xff").unwrap();
        place.run(&["order.json"]).explains(78, &["line 1", "not UTF-8"]);
    });
    fs::write(&file, "wait = \"1s\"\n").unwrap();
    place.run(&["order.json"]).succeeded();
}

#[test]
fn a_run_does_what_the_file_says() {
    let place = Place::new();
    let (state, cache, artifacts) = (place.word("s"), place.word("c"), place.word("a"));
    place.write(
        SETTINGS,
        format!(
            "provider = \"replay:{}\"\nmodel = \"m\"\nstate_dir = \"{state}\"\ncache_dir = \"{cache}\"\nartifacts = \"{artifacts}\"\n\
             max_attempts = 2\nprotected_branches = [\"release\"]\nlog = \"off\"\n[budget.call]\ntokens = 77\n",
            place.word("answers")
        ),
    );
    let run = |flags: &[&str]| place.call(&[&["run", "--json", "--repo=repository"], flags, &["order.json"]].concat());
    run(&["--branch=Release"]).explains_in_json(23, "host", &["protected"]);
    let opened = run(&[]).succeeded().text();
    let opened: Value = serde_json::from_str(opened.lines().next().unwrap()).unwrap();
    assert_eq!((&opened["model"], &opened["max_attempts"]), (&json!("m"), &json!(2)));
    assert!(place.path("s/journal.db").exists() || fs::read_dir(place.path("s")).unwrap().count() > 0);
    assert!(place.path("c/trees").is_dir() && !place.path("home/.cache").exists());
    let runs = fs::read_dir(place.path("a"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let runs: Vec<_> = runs.collect();
    let options: Value = serde_json::from_slice(&fs::read(runs[0].join("run.json")).unwrap()).unwrap();
    assert_eq!(options["budget"], json!([{ "scope": "call", "tokens": 77 }]));
    // The others find it where it is.
    assert_eq!(
        place.call(&["status", "--json"]).succeeded().json()["runs"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    place.call(&["exec", "--repo=repository", "--", "true"]).succeeded();
    assert!(!place.path("home/.cache").exists() && !place.path("home/.local").exists());
}

#[test]
fn a_budget_of_the_file_holds_unless_the_same_cap_is_given() {
    let place = Place::new();
    place.write("one.json", answer("x.txt", "hello\n"));
    let provider = format!("command:cat {}", place.word("one.json"));
    place.write(
        SETTINGS,
        format!("provider = \"{provider}\"\n[budget.order]\ntokens = 10\n"),
    );
    let run = |flags: &[&str]| place.call(&[&["run", "--json", "--repo=repository"], flags, &["order.json"]].concat());
    place.untouched_by(|| {
        run(&[]).explains_in_json(11, "budget", &["10 tokens for the order"]);
        run(&["--budget=day=900000tok"]).explains_in_json(11, "budget", &["10 tokens for the order"]);
    });
    run(&["--budget=order=900000tok"]).succeeded();
}

#[test]
fn nothing_is_read_from_the_repository() {
    let hostile = "provider = \"command:touch /nonexistent/planted\"\nprofile = \"planted\"\nmax_attempts = 999\n\
                   state_dir = \"/nonexistent/planted\"\nallow_context = [\".env\"]\n[budget.order]\nusd = \"0\"\n";
    let place = Place::new();
    let before = show(&place, &["--provider=replay:answers"]);
    for name in [
        "factory.toml",
        ".factory.toml",
        ".factory/factory.toml",
        ".factory/config.toml",
        ".config/factory/factory.toml",
        ".config/factory/profiles/verify.toml",
    ] {
        place.write(&format!("repository/{name}"), hostile);
    }
    place.write(
        "repository/.env",
        "FACTORY_CONFIG=factory.toml\nFACTORY_PROVIDER=planted\n",
    );
    place.git(&["add", "--all"]);
    place.git(&["commit", "--quiet", "--message=planted"]);
    // Standing in it makes no difference.
    let inside = |arguments: &[&str]| {
        let mut command = place.factory(arguments);
        command.current_dir(place.path("repository"));
        Ended::of(command.output().unwrap())
    };
    let after = inside(&["config", "show", "--json", "--provider=replay:answers"]).succeeded();
    assert_eq!(after.json()["settings"].as_array().unwrap(), &before);
    let answers = format!("--provider=replay:{}", place.word("answers"));
    let ended = inside(&["run", "--json", &answers, &place.word("order.json")]).succeeded();
    let opened: Value = serde_json::from_str(ended.text().lines().next().unwrap()).unwrap();
    assert_eq!(
        (&opened["profile"], &opened["max_attempts"]),
        (&json!("verify"), &json!(5))
    );
    inside(&["run", &place.word("order.json"), "--fresh"]).explains(64, &["no provider is named"]);
    // The control: the very file does all of that when the operator says so.
    inside(&["run", "--config=factory.toml", &place.word("order.json")]).explains(78, &["planted"]);
}

#[test]
fn the_example_in_the_documents_is_read_and_every_key_has_its_line() {
    let example = fs::read_to_string(project().join("docs/factory.example.toml")).unwrap();
    let place = Place::empty();
    place.write(SETTINGS, &example);
    let rows = show(&place, &["--provider=claude"]);
    assert_eq!(row(&rows, "budget.day.usd")["value"], "$20.00");
    assert_eq!(row(&rows, "providers.gateway")["value"], "responses");
    let page = fs::read_to_string(project().join("docs/configuration.md")).unwrap();
    // Every key that there is, by the struct that the file is read into.
    let source = fs::read_to_string(project().join("src/config/document.rs")).unwrap();
    let fields = source
        .split_once("struct Document {")
        .unwrap()
        .1
        .split_once("\n}")
        .unwrap()
        .0;
    let fields = fields
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub(super) ")?.split(':').next());
    let fields: Vec<_> = fields.collect();
    assert!(fields.len() > 20, "{fields:?}");
    for key in fields {
        assert!(
            page.contains(&format!("\n| `{key}` | ")),
            "{key} in docs/configuration.md"
        );
    }
}

#[test]
fn a_provider_of_the_settings_is_asked_with_the_key_and_the_headers_it_names() {
    use crate::support::{Server, http, sending};
    const KEY: &str = "planted-key-5e6f";
    const HEADER: &str = "planted-header-7a8b";
    let place = Place::new();
    let echo = |status: &str| {
        sending(http(
            status,
            "Content-Type: application/json\r\n",
            format!("{{\"error\":{{\"message\":\"you sent {KEY} and {HEADER}\"}}}}"),
        ))
    };
    let server = Server::start(vec![echo("401 Unauthorized")]);
    place.write("home/header", HEADER);
    fs::set_permissions(place.path("home/header"), Permissions::from_mode(0o600)).unwrap();
    place.write(
        SETTINGS,
        format!(
            "[providers.here]\nprovider = \"openai\"\nbase_url = \"{}\"\nmodel = \"m\"\napi_key_env = \"HERE_KEY\"\n\
             headers = {{ X-Auth-Team = {{ file = \"~/header\" }} }}\n",
            server.base()
        ),
    );
    let mut command = place.factory(&["run", "--json", "--repo=repository", "--provider=here", "order.json"]);
    command.env("HERE_KEY", KEY).env("FACTORY_API_KEY", "another-key");
    let ended = Ended::of(command.output().unwrap());
    ended.explains_in_json(77, "provider_permanent", &["you sent [api key] and [header]"]);
    assert!(!ended.text().contains("planted"), "{}", ended.text());
    let request = &server.requests()[0];
    assert!(
        request.contains(&format!("authorization: Bearer {KEY}\r\n")),
        "{request}"
    );
    assert!(request.contains(&format!("x-auth-team: {HEADER}\r\n")), "{request}");
    // A variable that is not there is not quietly no key.
    place
        .call(&["run", "--json", "--repo=repository", "--provider=here", "order.json"])
        .explains_in_json(78, "policy", &["HERE_KEY", "not set"]);
    // The way to it can be looked at by the same name: nobody is there any more.
    let mut command = place.factory(&["doctor", "--json", "--provider=here"]);
    command.env("HERE_KEY", KEY);
    let looked = Ended::of(command.output().unwrap());
    assert_eq!(looked.json()["model"], "m", "{looked:#?}");
    assert_eq!(looked.code, Some(75), "{looked:#?}");
    place
        .call(&["doctor", "--provider=her"])
        .explains(64, &["did you mean `here`?"]);
}
