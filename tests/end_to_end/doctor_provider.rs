//! `factory doctor --provider`: each stage of the way fails for real, and is the one that is named; and the flags for keys.

use crate::support::{Authority, Reply, Server, http, program, sending};
use factory::doctor::PROVIDER_CHECKS;
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

const KEY: &str = "sk-planted-4f1d0e9c8b7a";

const JSON: &str = "Content-Type: application/json\r\n";

/// `factory doctor --json` for a provider, with nothing of this test's own environment that matters.
fn doctor(provider: &str) -> Command {
    let mut command = Command::new(program());
    command
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("PATH", "/usr/bin:/bin");
    command.args(["doctor", "--json", "--model=m-1", "--provider", provider]);
    command
}

struct Examined(Value);

impl Examined {
    fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let all = said(&output);
        assert!(!all.contains(KEY), "{all}");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {all}"));
        assert_eq!(document["exit_code"], output.status.code().unwrap(), "{all}");
        let ids = document["checks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|check| check["id"].as_str().unwrap());
        assert!(
            ids.eq(PROVIDER_CHECKS.iter().map(|(id, _)| *id)),
            "every check is always there: {all}"
        );
        Examined(document)
    }

    fn status(&self, stage: &str) -> &str {
        let checks = self.0["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["id"] == format!("provider.{stage}"));
        check.unwrap()["status"].as_str().unwrap()
    }

    /// Exactly this stage fails, everything before it does not, and the exit code is that of a run.
    fn fails_at(&self, stage: &str, code: i64) {
        let text = self.0.to_string();
        let failing = PROVIDER_CHECKS
            .iter()
            .filter(|(id, _)| self.status(&id["provider.".len()..]) == "fail");
        let failing: Vec<&str> = failing.map(|(id, _)| *id).collect();
        assert_eq!(failing, [format!("provider.{stage}")], "{text}");
        assert_eq!(self.0["exit_code"], code, "{text}");
        let message = self.0["problem"]["message"].as_str().unwrap();
        assert!(
            message.ends_with(&format!("cannot be asked: provider.{stage} fails")),
            "{text}"
        );
        assert!(self.0["problem"]["hint"].is_string(), "{text}");
    }
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The first connection of all: doctor only looks whether there is one.
fn connection() -> Reply {
    sending("")
}

fn knock() -> Reply {
    sending(http("404 Not Found", "", ""))
}

fn models() -> Reply {
    sending(http("200 OK", JSON, json!({ "data": [{ "id": "m-1" }] }).to_string()))
}

fn completion() -> Reply {
    let body = json!({ "model": "m-1", "choices": [{ "message": { "content": "ok" }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 9, "completion_tokens": 1 } });
    sending(http("200 OK", JSON, body.to_string()))
}

fn error(status: &str) -> Reply {
    sending(http(
        status,
        JSON,
        json!({ "error": { "message": format!("no: {KEY}") } }).to_string(),
    ))
}

#[test]
fn a_provider_that_works_is_said_to_work_down_to_one_answer() {
    let server = Server::start(vec![connection(), knock(), models(), completion()]);
    let examined = Examined::of(doctor(&format!("openai:{}", server.base())).env("OPENAI_API_KEY", KEY));
    assert_eq!(examined.0["can_run"], true, "{}", examined.0);
    for (stage, status) in [
        ("dns", "ok"),
        ("tcp", "ok"),
        ("proxy", "unknown"),
        ("tls", "unknown"),
        ("auth", "ok"),
        ("model", "ok"),
        ("completion", "ok"),
    ] {
        assert_eq!(examined.status(stage), status, "{stage}: {}", examined.0);
    }
    assert!(examined.0.to_string().contains("9 + 1 tokens"));
    let requests = server.requests();
    assert!(requests[2].starts_with("GET /v1/models HTTP/1.1\r\n") && requests[2].contains(KEY));
}

#[test]
fn a_server_without_a_list_of_models_is_no_worse() {
    let server = Server::start(vec![connection(), knock(), knock(), completion()]);
    let examined = Examined::of(&mut doctor(&format!("openai:{}", server.base())));
    assert_eq!(examined.0["can_run"], true, "{}", examined.0);
    assert_eq!(
        (examined.status("auth"), examined.status("completion")),
        ("unknown", "ok")
    );
}

#[test]
fn the_stage_that_fails_is_the_one_that_is_named() {
    let no_name = Examined::of(&mut doctor("responses:https://model.invalid/v1"));
    no_name.fails_at("dns", 75);

    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    Examined::of(&mut doctor(&format!("anthropic:http://{nobody}/v1"))).fails_at("tcp", 75);

    let proxy = Server::start(vec![connection(), sending(http("403 Forbidden", "", ""))]);
    let mut through = doctor("openai:https://model.invalid/v1");
    through.env("HTTPS_PROXY", format!("http://me:{KEY}@{}", proxy.address()));
    Examined::of(&mut through).fails_at("proxy", 75);

    let authority = Authority::new(&["localhost"]);
    let replies = vec![connection(), knock()];
    let server = Server::start_tls(replies, authority.server.clone());
    let base = format!("https://localhost:{}/v1", server.address().port());
    Examined::of(&mut doctor(&format!("openai:{base}"))).fails_at("tls", 3);

    let refusing = Server::start(vec![connection(), knock(), error("401 Unauthorized")]);
    let mut wrong_key = doctor(&format!("anthropic:{}", refusing.base()));
    Examined::of(wrong_key.env("ANTHROPIC_API_KEY", KEY)).fails_at("auth", 77);

    let unknown = Server::start(vec![connection(), knock(), models(), error("404 Not Found")]);
    Examined::of(doctor(&format!("openai:{}", unknown.base())).env("OPENAI_API_KEY", KEY)).fails_at("model", 3);

    let slow = Server::start(vec![connection(), knock(), models(), error("429 Too Many Requests")]);
    Examined::of(doctor(&format!("openai:{}", slow.base())).env("OPENAI_API_KEY", KEY)).fails_at("completion", 75);
}

#[test]
fn a_private_authority_is_trusted_by_its_variable_and_its_flag() {
    let scratch = tempfile::tempdir().unwrap();
    let ca_file = scratch.path().join("ca.pem");
    let authority = Authority::new(&["localhost"]);
    fs::write(&ca_file, &authority.pem).unwrap();
    for by_flag in [true, false] {
        let replies = vec![connection(), knock(), models(), completion()];
        let server = Server::start_tls(replies, authority.server.clone());
        let mut command = doctor(&format!("openai:https://localhost:{}/v1", server.address().port()));
        match by_flag {
            true => command.arg("--ca-file").arg(&ca_file),
            false => command.env("SSL_CERT_FILE", &ca_file),
        };
        let examined = Examined::of(&mut command);
        assert_eq!(
            (examined.status("tls"), examined.status("completion")),
            ("ok", "ok"),
            "{}",
            examined.0
        );
    }
}

#[test]
fn a_program_needs_no_way_and_is_asked_once() {
    let examined = Examined::of(&mut doctor("command:echo ok"));
    assert_eq!(
        (examined.status("dns"), examined.status("completion")),
        ("unknown", "ok")
    );
    Examined::of(&mut doctor("command:sh -c 'exit 1'")).fails_at("completion", 3);
}

#[test]
fn flags_without_a_provider_are_a_mistake() {
    let output = Command::new(program()).args(["doctor", "--model=m"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64), "{}", said(&output));
    let output = Command::new(program())
        .args(["doctor", "--provider=openai", "--profile=strict"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64), "{}", said(&output));
}

/// Asks a server, and gives back whether the key came.
fn key_came(tune: impl FnOnce(&mut Command)) -> bool {
    let server = Server::start(vec![connection(), knock(), models(), completion()]);
    let mut command = doctor(&format!("openai:{}", server.base()));
    tune(&mut command);
    assert_eq!(Examined::of(&mut command).0["can_run"], true);
    server.requests().last().unwrap().contains(&format!("Bearer {KEY}"))
}

#[test]
fn a_key_comes_from_a_file_a_descriptor_or_a_variable_of_the_dialect() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("key");
    fs::write(&file, format!("{KEY}\n")).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    assert!(key_came(|command| {
        command.arg("--api-key-file").arg(&file);
    }));
    // The standard input is a descriptor that every test can hand over.
    assert!(key_came(|command| {
        command.arg("--api-key-fd=0").stdin(fs::File::open(&file).unwrap());
    }));
    let (reader, mut writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut writer, KEY.as_bytes()).unwrap();
    drop(writer);
    assert!(key_came(|command| {
        command.arg("--api-key-fd=0").stdin(reader);
    }));
    assert!(key_came(|command| {
        command.env("OPENAI_API_KEY", KEY);
    }));
    assert!(
        !key_came(|command| {
            command.env("ANTHROPIC_API_KEY", KEY);
        }),
        "another maker's key stays here"
    );
    assert!(!key_came(|_| {}), "control");
}

#[test]
fn a_key_that_others_can_read_is_refused_before_anything_is_sent() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("key");
    fs::write(&file, KEY).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let server = Server::start(vec![knock()]);
    let provider = format!("openai:{}", server.base());
    for arguments in [
        vec![format!("--api-key-file={}", file.display())],
        vec![format!("--api-key-file={}", scratch.path().display())],
        vec!["--api-key-fd=999".to_owned()],
        vec!["--provider-header=Authorization: Bearer x".to_owned()],
        vec!["--provider-option=brand=x".to_owned()],
    ] {
        let output = doctor(&provider)
            .args(&arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let all = said(&output);
        assert!(
            matches!(output.status.code(), Some(78 | 64 | 3)),
            "{arguments:?}: {all}"
        );
        assert!(!all.contains(KEY), "{all}");
    }
    assert!(server.requests().is_empty());
}

#[test]
fn a_further_header_and_an_option_reach_the_server() {
    let server = Server::start(vec![connection(), knock(), models(), completion()]);
    let mut command = doctor(&format!("openai:{}", server.base()));
    command.args([
        "--provider-header=X-Tenant: a b",
        "--provider-option=output-limit=max_tokens",
    ]);
    command
        .args(["--provider-option=key-header=api-key"])
        .env("FACTORY_API_KEY", KEY);
    assert_eq!(Examined::of(&mut command).0["can_run"], true);
    let request = server.requests().pop().unwrap();
    assert!(request.to_lowercase().contains("\r\nx-tenant: a b\r\n"), "{request}");
    assert!(request.contains("\"max_tokens\":1024"), "{request}");
    assert!(request.contains(&format!("\r\napi-key: {KEY}\r\n")), "{request}");
}

#[test]
fn every_check_and_every_option_is_documented() {
    let doctor = include_str!("../../docs/doctor.md");
    for (id, _) in PROVIDER_CHECKS {
        assert!(doctor.contains(&format!("`{id}`")), "{id} is not in docs/doctor.md");
    }
    let page = include_str!("../../docs/providers.md");
    for (option, _) in factory::llm::OPTIONS {
        assert!(
            page.contains(&format!("| `{option}` |")),
            "{option} is not in docs/providers.md"
        );
    }
}
