//! Providers, against real servers on loopback, real programs and real files.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop loudly")]

use crate::support::{block_on, http, read_request};
use factory::llm::{Answer, Dialect, Finish, LlmError, MAX_ANSWER_BYTES, Provider, Request, ServerSettings, Timeouts};
use factory::types::{FailureClass, Problem as _};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const KEY: &str = "sk-planted-4f1d0e9c8b7a";

fn request(key: &str) -> Request {
    Request {
        system: "Be brief.".into(),
        user: "What is \u{1f980}?".into(),
        model: Some("m-1".into()),
        max_output_tokens: Some(100),
        key: key.into(),
        schema: None,
    }
}

fn ask(provider: &mut Provider) -> Result<Answer, LlmError> {
    block_on(provider.ask(&request("001")))
}

/// The class of an error and everything that it would print or log.
fn shown(error: &LlmError) -> String {
    let causes: Vec<String> = std::iter::successors(std::error::Error::source(error), |cause| cause.source())
        .map(ToString::to_string)
        .collect();
    format!("{error} | {} | {:?} | {error:?}", causes.join(" | "), error.hint())
}

/// Answers one connection with `reply` after reading a whole request, which is handed back.
fn serve_once(reply: impl FnOnce(&mut TcpStream) + Send + 'static) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let request = read_request(&mut stream);
        reply(&mut stream);
        request
    });
    (address, server)
}

fn completion(text: &str) -> Vec<u8> {
    serde_json::json!({
        "model": "m-1-large",
        "choices": [{ "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 12, "completion_tokens": 3 },
    })
    .to_string()
    .into_bytes()
}

const JSON: &str = "Content-Type: application/json\r\n";

fn settings(address: &str) -> ServerSettings {
    ServerSettings {
        api_key: Some(KEY.to_owned().into()),
        ..ServerSettings::new(Dialect::Chat, address)
    }
}

/// Asks a server that gives this one reply.
fn ask_server(reply: Vec<u8>) -> Result<Answer, LlmError> {
    let (address, server) = serve_once(move |stream| {
        // The client may hang up on what it does not want to read to the end.
        let _ = stream.write_all(&reply);
    });
    let result = ask(&mut Provider::server(settings(&address)).unwrap());
    server.join().unwrap();
    if let Err(error) = &result {
        assert!(!shown(error).contains(KEY), "{}", shown(error));
    }
    result
}

#[test]
fn a_chat_server_is_asked_and_its_answer_is_taken_whole() {
    let (address, server) = serve_once(|stream| {
        stream
            .write_all(&http(
                "200 OK",
                "Content-Type: application/json; charset=utf-8\r\n",
                completion("a crab\n"),
            ))
            .unwrap();
    });
    let mut provider = Provider::server(settings(&address)).unwrap();
    let answer = ask(&mut provider).unwrap();
    assert_eq!((answer.text.as_str(), answer.finish), ("a crab\n", Finish::Complete));
    assert_eq!(answer.raw, completion("a crab\n"));
    assert_eq!(answer.model.as_deref(), Some("m-1-large"));
    assert_eq!(
        answer.usage.map(|usage| (usage.input_tokens, usage.output_tokens)),
        Some((12, 3))
    );

    let request = server.join().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{head}");
    assert!(
        head.to_lowercase().contains(&format!("authorization: bearer {KEY}")),
        "control: the key is sent"
    );
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["messages"][1]["content"], "What is \u{1f980}?");
    assert_eq!(
        (&body["model"], &body["max_completion_tokens"]),
        (&"m-1".into(), &100.into())
    );

    assert!(!format!("{provider:?} {}", provider.describe()).contains(KEY));
}

#[test]
fn an_error_status_decides_the_class() {
    for (status, class) in [
        ("400 Bad Request", FailureClass::ProviderPermanent),
        ("401 Unauthorized", FailureClass::ProviderPermanent),
        ("403 Forbidden", FailureClass::ProviderPermanent),
        ("404 Not Found", FailureClass::ProviderPermanent),
        ("408 Request Timeout", FailureClass::ProviderTransient),
        ("409 Conflict", FailureClass::ProviderTransient),
        ("422 Unprocessable Content", FailureClass::ProviderPermanent),
        ("429 Too Many Requests", FailureClass::ProviderTransient),
        ("500 Internal Server Error", FailureClass::ProviderTransient),
        ("502 Bad Gateway", FailureClass::ProviderTransient),
        ("503 Service Unavailable", FailureClass::ProviderTransient),
        ("504 Gateway Timeout", FailureClass::ProviderTransient),
    ] {
        let body = format!("{{\"error\":{{\"message\":\"wrong key {KEY} \\u001b[2J\"}}}}");
        let error = ask_server(http(status, JSON, body.as_bytes())).unwrap_err();
        assert_eq!(error.class(), class, "{status}");
        assert_eq!(
            error.is_auth(),
            status.starts_with("401") || status.starts_with("403"),
            "{status}"
        );
        assert_eq!(error.retry_after(), None, "{status}");
        assert!(error.to_string().contains("wrong key [api key] \\u{1b}[2J"), "{error}");
    }
}

#[test]
fn a_used_up_quota_is_not_waited_for() {
    let body = br#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#;
    let error = ask_server(http(
        "429 Too Many Requests",
        &format!("{JSON}Retry-After: 5\r\n"),
        body,
    ))
    .unwrap_err();
    assert_eq!(error.class(), FailureClass::ProviderPermanent);
    assert!(error.hint().unwrap().contains("quota"));
}

#[test]
fn the_server_may_say_when_to_come_back() {
    for (headers, wait) in [
        ("Retry-After: 10\r\n", Some(10.0)),
        ("Retry-After: 1.5\r\n", Some(1.5)),
        ("Retry-After: -5\r\n", None),
        ("Retry-After: soon\r\n", None),
        // The server's clock is what its date is measured by.
        (
            "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:50:07 GMT\r\n",
            Some(30.0),
        ),
        ("Retry-After: Sun, 06 Nov 1994 08:50:07 GMT\r\n", Some(0.0)),
    ] {
        let error = ask_server(http("429 Too Many Requests", headers, b"slow down")).unwrap_err();
        assert_eq!(error.retry_after(), wait.map(Duration::from_secs_f64), "{headers}");
        assert_eq!(error.class(), FailureClass::ProviderTransient);
    }
}

#[test]
fn a_redirect_is_refused_and_not_followed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let location = format!("Location: http://{}/{KEY}\r\n", elsewhere.local_addr().unwrap());
    for status in [
        "301 Moved Permanently",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let error = ask_server(http(status, &location, b"")).unwrap_err();
        assert!(matches!(error, LlmError::Redirect { .. }), "{error}");
        assert_eq!(error.class(), FailureClass::ProviderPermanent);
    }
    assert_eq!(
        elsewhere.accept().unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock,
        "nobody came"
    );
}

#[test]
fn an_answer_that_is_no_completion_is_named_for_what_it_is() {
    let page = http(
        "200 OK",
        "Content-Type: text/html\r\n",
        b"<html>Log in to the proxy\x1b[2J</html>",
    );
    let error = ask_server(page).unwrap_err();
    assert!(matches!(error, LlmError::ContentType { .. }), "{error}");
    assert!(
        error.to_string().contains("`text/html`") && !error.to_string().contains('\u{1b}'),
        "{error}"
    );

    let error = ask_server(http("200 OK", JSON, b"{\"choices\": [")).unwrap_err();
    assert!(matches!(error, LlmError::NotJson { .. }), "{error}");

    let mut invalid = completion("a@b");
    let at = invalid.iter().position(|byte| *byte == b'@').unwrap();
    invalid[at] = 0xff;
    let error = ask_server(http("200 OK", JSON, &invalid)).unwrap_err();
    assert!(matches!(error, LlmError::NotJson { .. }), "{error}");

    let error = ask_server(http("200 OK", JSON, b"{}")).unwrap_err();
    assert!(matches!(error, LlmError::Shape { .. }), "{error}");
    assert_eq!(error.class(), FailureClass::ProviderPermanent);

    let error = ask_server(http("200 OK", JSON, completion(" "))).unwrap_err();
    assert_eq!(error.class(), FailureClass::Proposal, "{error}");
}

#[test]
fn an_answer_that_repeats_the_key_goes_no_further() {
    let escaped = String::from_utf8(completion("the key is @"))
        .unwrap()
        .replace('@', &KEY.replace('s', "\\u0073"));
    for body in [completion(&format!("your key is {KEY}")), escaped.into_bytes()] {
        let error = ask_server(http("200 OK", JSON, &body)).unwrap_err();
        assert!(matches!(error, LlmError::KeyRepeated { .. }), "{error}");
    }
}

#[test]
fn a_connection_that_breaks_may_be_tried_again() {
    let mut cut = http("200 OK", JSON, completion("a crab"));
    cut.truncate(cut.len() - 10);
    for reply in [
        cut,
        Vec::new(),
        b"HTTP/1.1 200 OK\r\nContent-".to_vec(),
        b"SSH-2.0-OpenSSH\r\n".to_vec(),
    ] {
        let error = ask_server(reply).unwrap_err();
        assert!(matches!(error, LlmError::Transport { .. }), "{error}");
        assert_eq!(error.class(), FailureClass::ProviderTransient);
    }
    let (address, server) = serve_once(|stream| stream.shutdown(Shutdown::Both).unwrap());
    let error = ask(&mut Provider::server(settings(&address)).unwrap()).unwrap_err();
    server.join().unwrap();
    assert_eq!(error.class(), FailureClass::ProviderTransient);
}

#[test]
fn a_refused_connection_may_be_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let error = ask(&mut Provider::server(settings(&address)).unwrap()).unwrap_err();
    assert!(matches!(error, LlmError::Transport { .. }), "{error}");
    assert_eq!(error.class(), FailureClass::ProviderTransient);
    assert!(!shown(&error).contains(KEY));
}

#[test]
fn a_server_that_does_not_speak_tls_is_not_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}/v1", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let error = ask(&mut Provider::server(settings(&address)).unwrap()).unwrap_err();
    server.join().unwrap();
    assert!(matches!(error, LlmError::Tls { .. }), "{}", shown(&error));
    assert_eq!(error.class(), FailureClass::ProviderPermanent);
    assert!(!shown(&error).contains(KEY));
}

#[test]
fn a_flood_is_cut_off_whether_or_not_it_was_announced() {
    let announced = http("200 OK", JSON, vec![b' '; 20 << 20]);
    let mut endless = format!("HTTP/1.1 200 OK\r\n{JSON}\r\n").into_bytes();
    endless.resize(endless.len() + (20 << 20), b' ');
    for reply in [announced, endless] {
        let error = ask_server(reply).unwrap_err();
        assert!(matches!(error, LlmError::TooLarge { .. }), "{error}");
        assert!(error.to_string().contains("16MiB"), "{error}");
    }
    // An error is reported as what it is, however long its explanation.
    let error = ask_server(http("500 Internal Server Error", "", vec![b'x'; 20 << 20])).unwrap_err();
    assert_eq!(error.class(), FailureClass::ProviderTransient);
    assert!(error.to_string().len() < 2000);
}

#[test]
fn a_slow_server_is_given_up_on_wherever_it_stalls() {
    let silent: fn(&mut TcpStream) = |_| std::thread::sleep(Duration::from_secs(5));
    let dribbling: fn(&mut TcpStream) = |stream| {
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{JSON}Content-Length: 1000\r\n\r\n").as_bytes());
        for _ in 0..50 {
            let _ = stream.write_all(b" ");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    for stall in [silent, dribbling] {
        let (address, server) = serve_once(stall);
        let settings = ServerSettings {
            timeouts: Timeouts {
                total: Duration::from_millis(400),
                ..Timeouts::default()
            },
            ..settings(&address)
        };
        let started = Instant::now();
        let error = ask(&mut Provider::server(settings).unwrap()).unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
        assert!(matches!(error, LlmError::Timeout { .. }), "{error}");
        assert_eq!(error.class(), FailureClass::ProviderTransient);
        server.join().unwrap();
    }
}

fn sh(script: &str) -> Provider {
    Provider::command_within(["sh", "-c", script], Duration::from_secs(30)).unwrap()
}

#[test]
fn a_program_reads_the_prompt_and_prints_the_answer() {
    let answer = ask(&mut sh("cat")).unwrap();
    assert_eq!(answer.text, "Be brief.\n\nWhat is \u{1f980}?\n");
    assert_eq!(
        (answer.raw, answer.finish),
        (answer.text.into_bytes(), Finish::Complete)
    );
    let argument = Provider::command(["sh", "-c", "printf %s \"$0\"", "a b"]).unwrap();
    assert!(
        !format!("{argument:?} {}", argument.describe()).contains("a b"),
        "arguments may be secret"
    );
}

#[test]
fn a_program_need_not_read_the_prompt() {
    let large = Request {
        user: "x".repeat(8 << 20),
        ..request("001")
    };
    for script in [
        "echo answer",
        "exec 0<&-; sleep 0.1; echo answer",
        "head -c 10 > /dev/null; echo answer",
    ] {
        let answer = block_on(sh(script).ask(&large)).unwrap();
        assert_eq!(answer.text, "answer\n", "{script}");
    }
}

#[test]
fn a_program_may_write_before_it_reads() {
    let large = Request {
        user: "x".repeat(8 << 20),
        ..request("001")
    };
    let answer = block_on(sh("head -c 4000000 /dev/zero | tr '\\0' y; cat").ask(&large)).unwrap();
    assert_eq!(
        answer.text.len(),
        4_000_000 + large.system.len() + 2 + large.user.len() + 1
    );
}

#[test]
fn a_failing_program_is_quoted_and_says_itself_whether_to_try_again() {
    let noise = "i=0; while [ $i -lt 2000 ]; do echo noise $i >&2; i=$((i+1)); done;";
    for (code, class) in [
        (75, FailureClass::ProviderTransient),
        (1, FailureClass::ProviderPermanent),
    ] {
        let error = ask(&mut sh(&format!(
            "{noise} printf 'no \\033[2J model\\n' >&2; echo ignored; exit {code}"
        )))
        .unwrap_err();
        assert_eq!(error.class(), class, "{error}");
        assert!(error.to_string().contains(&format!("exit status: {code}")), "{error}");
        assert!(error.to_string().ends_with("no \\u{1b}[2J model"), "{error}");
        assert!(error.to_string().len() < 1000, "{error}");
    }
    let error = ask(&mut sh("kill -9 $$")).unwrap_err();
    assert_eq!(error.class(), FailureClass::ProviderPermanent);
    assert!(error.to_string().contains("signal: 9"), "{error}");
}

#[test]
fn a_program_that_prints_no_usable_text_has_not_answered() {
    for (script, class) in [
        ("true", FailureClass::Proposal),
        ("echo; echo", FailureClass::Proposal),
        ("printf 'a\\377b'", FailureClass::Proposal),
    ] {
        let error = ask(&mut sh(script)).unwrap_err();
        assert_eq!(error.class(), class, "{script}: {error}");
    }
}

#[test]
fn a_program_that_never_stops_printing_is_stopped() {
    let started = Instant::now();
    let error = ask(&mut sh("yes")).unwrap_err();
    assert!(matches!(error, LlmError::TooLarge { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(20));
}

/// Waits until the process whose id is in the file is gone.
fn is_gone(pid_file: &Path) -> bool {
    let pid = fs::read_to_string(pid_file).unwrap().trim().to_owned();
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        // The state follows the name in parentheses; a zombie has ended.
        match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) if !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z') => {}
            _ => return true,
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

#[test]
fn a_hanging_program_is_killed_with_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "sleep 300 & echo $! > {0}/child; echo $$ > {0}/parent; wait",
        dir.path().display()
    );
    let mut provider = Provider::command_within(["sh", "-c", &script], Duration::from_millis(500)).unwrap();
    let started = Instant::now();
    let error = ask(&mut provider).unwrap_err();
    assert!(matches!(error, LlmError::Timeout { .. }), "{error}");
    assert_eq!(error.class(), FailureClass::ProviderTransient);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(is_gone(&dir.path().join("parent")) && is_gone(&dir.path().join("child")));
}

#[test]
fn a_program_is_killed_when_nobody_waits_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "sleep 300 & echo $! > {0}/child; echo $$ > {0}/parent; wait",
        dir.path().display()
    );
    let mut provider = sh(&script);
    block_on(async {
        let request = request("001");
        let abandoned = tokio::time::timeout(Duration::from_millis(500), provider.ask(&request)).await;
        assert!(abandoned.is_err());
    });
    assert!(is_gone(&dir.path().join("parent")) && is_gone(&dir.path().join("child")));
}

#[test]
fn an_answer_does_not_wait_for_a_daemon_that_keeps_the_output_open() {
    let dir = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let answer = ask(&mut sh(&format!(
        "sleep 20 & echo $! > {}/child; echo answer",
        dir.path().display()
    )))
    .unwrap();
    assert_eq!(answer.text, "answer\n");
    assert!(started.elapsed() < Duration::from_secs(10));
    let pid = fs::read_to_string(dir.path().join("child")).unwrap();
    std::process::Command::new("kill").arg(pid.trim()).status().unwrap();
}

#[test]
fn a_program_that_cannot_be_started_is_the_hosts_problem() {
    let error = ask(&mut Provider::command(["./no-such-program"]).unwrap()).unwrap_err();
    assert_eq!(error.class(), FailureClass::Host);
    assert!(error.to_string().contains("./no-such-program"), "{error}");
    assert!(Provider::command(Vec::<String>::new()).is_err());
    assert!(Provider::command([""]).is_err());
    assert!(ask(&mut Provider::command(["a\0b"]).unwrap()).is_err());
}

fn recorded(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    dir
}

fn texts(provider: &mut Provider, key: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|_| block_on(provider.ask(&request(key))).unwrap().text)
        .collect()
}

#[test]
fn recorded_answers_are_given_in_the_order_of_their_numbers_until_they_run_out() {
    let dir = recorded(&[
        ("10.txt", b"ten"),
        ("2.json", b" {}\n"),
        ("1.json", b""),
        ("README.md", b"no"),
        ("x1.json", b"no"),
    ]);
    let mut provider = Provider::replay(dir.path()).unwrap();
    assert_eq!(texts(&mut provider, "001", 3), ["", " {}\n", "ten"]);
    let error = ask(&mut provider).unwrap_err();
    assert_eq!(error.class(), FailureClass::ProviderPermanent);
    assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
    assert!(error.to_string().contains("all 3"), "{error}");
}

#[test]
fn each_key_has_recorded_answers_of_its_own_and_no_key_leads_outside() {
    let dir = recorded(&[
        ("in/001/1.txt", b"one"),
        ("in/1.txt", b"a"),
        ("in/2.txt", b"b"),
        ("in/3.txt", b"c"),
        ("out/1.txt", b"no"),
    ]);
    let mut provider = Provider::replay(&dir.path().join("in")).unwrap();
    assert_eq!(texts(&mut provider, "002", 1), ["a"]);
    assert_eq!(texts(&mut provider, "001", 1), ["one"]);
    assert_eq!(texts(&mut provider, "../out", 1), ["b"]);
    let absolute = dir.path().join("out");
    assert_eq!(texts(&mut provider, absolute.to_str().unwrap(), 1), ["c"]);
    for key in [
        "",
        ".",
        "..",
        "/",
        "001/",
        "./001",
        "001/../001",
        "a\0b",
        &"x".repeat(10_000),
    ] {
        let error = block_on(provider.ask(&request(key))).unwrap_err();
        assert!(
            matches!(error, LlmError::ReplayExhausted { count: 3, .. }),
            "{key:?}: {error}"
        );
    }
}

#[test]
fn a_directory_that_cannot_be_replayed_is_refused_at_once() {
    let empty = recorded(&[("README.md", b"")]);
    let file = recorded(&[("file", b"")]);
    let twice = recorded(&[("1.json", b""), ("01.txt", b"")]);
    for (path, what) in [
        (empty.path().to_owned(), "holds no recorded answers"),
        (file.path().join("file"), "cannot read recorded answers"),
        (file.path().join("absent"), "cannot read recorded answers"),
        (twice.path().to_owned(), "twice"),
    ] {
        let error = Provider::replay(&path).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert_eq!(error.class(), FailureClass::ProviderPermanent);
        assert!(error.hint().is_some());
    }
}

#[test]
fn a_recorded_answer_that_cannot_be_used_is_named() {
    let dir = recorded(&[("1.txt", b"\xff")]);
    assert_eq!(
        ask(&mut Provider::replay(dir.path()).unwrap()).unwrap_err().class(),
        FailureClass::Proposal
    );

    let dir = recorded(&[]);
    let large = fs::File::create(dir.path().join("1.txt")).unwrap();
    large.set_len(MAX_ANSWER_BYTES as u64 + 1).unwrap();
    let error = ask(&mut Provider::replay(dir.path()).unwrap()).unwrap_err();
    assert!(matches!(error, LlmError::TooLarge { .. }), "{error}");

    let dir = recorded(&[("1.txt/inner", b"")]);
    let error = ask(&mut Provider::replay(dir.path()).unwrap()).unwrap_err();
    assert!(matches!(error, LlmError::ReplayRead { .. }), "{error}");

    // Opening a FIFO would wait for a writer.
    let dir = recorded(&[]);
    assert!(
        std::process::Command::new("mkfifo")
            .arg(dir.path().join("1.txt"))
            .status()
            .unwrap()
            .success()
    );
    let error = ask(&mut Provider::replay(dir.path()).unwrap()).unwrap_err();
    assert!(matches!(error, LlmError::ReplayRead { .. }), "{error}");
}
