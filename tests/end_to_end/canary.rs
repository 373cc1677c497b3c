//! Secrets planted wherever an operator has some, and then everything is done that this program does: none of them is in
//! anything that it wrote, said, sent beside its place, or started.

use crate::support::place::{answer, order};
use crate::support::{Ended, Place, is_root, read_request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// The planted secrets. Each has letters that are written otherwise in an address.
const KEY_OF_VARIABLE: &str = "canary/variable+4f1d0e9c8b7a";
const KEY_OF_FILE: &str = "canary/file+5a2e1fad9c8b";
const KEY_OF_DESCRIPTOR: &str = "canary/descriptor+6b3f2abe0d9c";
const PROXY_PASSWORD: &str = "canary.proxy~7c4a3bcf1e0d";
const HEADER: &str = "canary/header+8d5b4cd02f1e";
const SSH: &str = "canary/ssh+9e6c5de1302f";
const AWS: &str = "canary/aws+af7d6ef24130";
const OTHER_VARIABLE: &str = "canary/other+b08e7f035241";
const REMOTE: &str = "canary.remote~c19f80146352";
const TREE: &str = "ghp_canary1d2a3b4c5d6e7f8a9b0c1d2e3f4a5b";

const ALL: [&str; 10] = [
    KEY_OF_VARIABLE,
    KEY_OF_FILE,
    KEY_OF_DESCRIPTOR,
    PROXY_PASSWORD,
    HEADER,
    SSH,
    AWS,
    OTHER_VARIABLE,
    REMOTE,
    TREE,
];

/// How a secret may be written: as it is, in an address, and in base64 at each of the three places it may begin.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let coded = |byte: u8| match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    let mut forms = vec![
        secret.as_bytes().to_vec(),
        secret.bytes().map(coded).collect::<String>().into_bytes(),
    ];
    for before in 0..3 {
        let padded = [&vec![b'x'; before][..], secret.as_bytes()].concat();
        let whole = BASE64.encode(&padded[..padded.len() / 3 * 3]);
        // What is made of the bytes before it, too, is not the secret's own.
        forms.push(whole.as_bytes()[before.div_ceil(3) * 4..].to_vec());
    }
    forms
}

/// The planted secrets that are in these bytes, in any form.
fn canaries_in(bytes: &[u8]) -> BTreeSet<&'static str> {
    let has = |form: &Vec<u8>| bytes.windows(form.len()).any(|window| window == &form[..]);
    // All forms of all begin with few letters; most bytes have none of them.
    let found = ALL.into_iter().filter(|secret| forms(secret).iter().any(has));
    found.collect()
}

/// What the server does with its next request.
#[derive(Clone)]
enum Next {
    /// Repeats all headers that it got, as the message of an error.
    Echo(&'static str),
    /// Sends it elsewhere, with all headers in the address.
    Redirect,
    /// Answers.
    Answer(String),
}

/// A server of a model, and a proxy, that repeats what it gets.
struct Parrot {
    port: u16,
    script: Arc<Mutex<Vec<Next>>>,
    requests: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Parrot {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut parrot = Parrot {
            port: listener.local_addr().unwrap().port(),
            script: Arc::default(),
            requests: Arc::default(),
            stop: Arc::default(),
            thread: None,
        };
        let (script, requests, stop) = (parrot.script.clone(), parrot.requests.clone(), parrot.stop.clone());
        parrot.thread = Some(std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                let Ok((mut stream, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(2));
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                let request = read_request(&mut stream);
                // A connection that only looks whether there is one.
                if request.is_empty() {
                    continue;
                }
                let mut script = script.lock().unwrap();
                let next = match script.len() {
                    0 => Next::Echo("500 Internal Server Error"),
                    _ => script.remove(0),
                };
                let _ = stream.write_all(&reply(&request, next));
                requests.lock().unwrap().push(request);
            }
        }));
        parrot
    }

    fn base(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    fn will(&self, next: impl IntoIterator<Item = Next>) {
        *self.script.lock().unwrap() = next.into_iter().collect();
    }

    /// What it got since it was last asked.
    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

impl Drop for Parrot {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn reply(request: &str, next: Next) -> Vec<u8> {
    let head = request.split("\r\n\r\n").next().unwrap_or_default();
    let (status, headers, body) = match next {
        Next::Echo(status) => (
            status,
            String::new(),
            json!({ "error": { "message": head } }).to_string(),
        ),
        Next::Redirect => {
            let location = head.replace("\r\n", "&").replace(' ', "%20");
            (
                "307 Temporary Redirect",
                format!("Location: http://127.0.0.1:9/?{location}\r\n"),
                head.to_owned(),
            )
        }
        Next::Answer(text) => {
            let message = json!({ "role": "assistant", "content": text });
            let body = json!({
                "model": "m",
                "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }],
                "usage": { "prompt_tokens": 9, "completion_tokens": 9 },
            });
            ("200 OK", String::new(), body.to_string())
        }
    };
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Type: application/json\r\nX-Echo: {length}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
        .into_bytes()
}

/// Looks at the arguments of all processes, and at the variables of those in sandboxes, again and again.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<BTreeSet<String>>>,
    sandboxed: Arc<AtomicUsize>,
}

impl Watch {
    fn start() -> Self {
        let (stop, sandboxed) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (stopped, seen) = (stop.clone(), sandboxed.clone());
        let thread = std::thread::spawn(move || {
            let mut found = BTreeSet::new();
            while !stopped.load(Ordering::SeqCst) {
                for entry in fs::read_dir("/proc").unwrap().flatten() {
                    let process = entry.path();
                    if !entry
                        .file_name()
                        .to_string_lossy()
                        .bytes()
                        .all(|byte| byte.is_ascii_digit())
                    {
                        continue;
                    }
                    let read = |name: &str| fs::read(process.join(name)).unwrap_or_default();
                    found.extend(
                        canaries_in(&read("cmdline"))
                            .iter()
                            .map(|canary| format!("argument: {canary}")),
                    );
                    let environ = read("environ");
                    if environ.windows(18).any(|window| window == b"HOME=/home/factory") {
                        seen.fetch_add(1, Ordering::SeqCst);
                        found.extend(canaries_in(&environ).iter().map(|canary| format!("variable: {canary}")));
                    }
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            found
        });
        Watch {
            stop,
            thread: Some(thread),
            sandboxed,
        }
    }

    /// What was found, and how often a process in a sandbox was seen.
    fn end(mut self) -> (BTreeSet<String>, usize) {
        self.stop.store(true, Ordering::SeqCst);
        let found = self.thread.take().unwrap().join().unwrap();
        (found, self.sandboxed.load(Ordering::SeqCst))
    }
}

/// A place with a secret in every corner.
struct Scene {
    place: Place,
    parrot: Parrot,
    /// All that was said on standard output and standard error, with the command that said it.
    said: Vec<(String, Vec<u8>)>,
}

impl Scene {
    fn new() -> Self {
        let place = Place::new();
        let secret = |name: &str, content: &str| {
            place.write(name, content);
            fs::set_permissions(place.path(name), Permissions::from_mode(0o600)).unwrap();
        };
        secret("home/.ssh/id_ed25519", SSH);
        secret("home/.aws/credentials", AWS);
        secret("home/keys/file", KEY_OF_FILE);
        secret("home/keys/descriptor", KEY_OF_DESCRIPTOR);
        secret("home/keys/header", HEADER);
        place.git(&[
            "remote",
            "add",
            "origin",
            &format!("https://me:{REMOTE}@git.example.com/r.git"),
        ]);
        place.write("repository/deploy/.env", format!("TOKEN={TREE}\n"));
        place.git(&["add", "--all", "--force"]);
        place.git(&["commit", "--quiet", "--message=more"]);
        let walk = "env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr \"\\\\0\" \"\\\\n\"; find / -xdev | head -n 5000; \
                    cat ~/.ssh/id_ed25519 ~/.aws/credentials ../home/.ssh/id_ed25519 deploy/.env; sleep 0.4; cat deploy/.env; grep --quiet hello x.txt";
        let mut walking = order();
        walking["acceptance_commands"] = json!([format!("sh -c '{walk}'")]);
        walking["context_files"] = json!(["a.txt"]);
        place.write("walk.json", walking.to_string());
        let parrot = Parrot::start();
        place.write(
            "home/.config/factory/factory.toml",
            format!(
                "[providers.here]\nprovider = \"openai:{}\"\nmodel = \"m\"\napi_key_file = \"~/keys/file\"\n\
                 headers = {{ X-Team-Token = {{ file = \"~/keys/header\" }} }}\n\
                 [providers.there]\nprovider = \"openai\"\napi_key_env = \"SOME_PASSWORD\"\n",
                parrot.base()
            ),
        );
        Scene {
            place,
            parrot,
            said: Vec::new(),
        }
    }

    fn factory(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.factory(arguments);
        command.env("FACTORY_LOG", "trace").env("SOME_PASSWORD", OTHER_VARIABLE);
        command
    }

    /// Does it, keeps what it said, and gives its exit code.
    fn go(&mut self, mut command: Command) -> Ended {
        let what = format!("{command:?}");
        let output = command.output().unwrap();
        self.said.push((format!("stdout of {what}"), output.stdout.clone()));
        self.said.push((format!("stderr of {what}"), output.stderr.clone()));
        Ended::of(output)
    }

    /// Every file below the place in which a secret is that was not put there.
    fn leaks(&self) -> Vec<String> {
        let mut leaks = Vec::new();
        for (path, (.., content)) in self.place.snapshot("") {
            let name = path.strip_prefix(self.place.path("")).unwrap();
            let found = canaries_in(&content);
            leaks.extend(
                found
                    .iter()
                    .filter(|canary| !is_planted(name, canary))
                    .map(|canary| format!("{}: {canary}", name.display())),
            );
        }
        for (what, bytes) in &self.said {
            leaks.extend(canaries_in(bytes).iter().map(|canary| format!("{what}: {canary}")));
        }
        leaks
    }
}

/// Whether a secret is in this file because it was planted there, or is a copy of the tree that it was planted in, or what a
/// command printed of that tree.
fn is_planted(name: &Path, canary: &str) -> bool {
    let name = name.to_string_lossy();
    let is_output = name.starts_with("home/.local/state/factory/runs/") && name.ends_with(".stdout");
    match canary {
        TREE => {
            name == "repository/deploy/.env"
                || (name.starts_with("home/.cache/factory/trees/") && name.ends_with("deploy/.env"))
                || is_output
        }
        REMOTE => name == "repository/.git/config",
        SSH => name == "home/.ssh/id_ed25519",
        AWS => name == "home/.aws/credentials",
        KEY_OF_FILE => name == "home/keys/file",
        KEY_OF_DESCRIPTOR => name == "home/keys/descriptor",
        HEADER => name == "home/keys/header",
        _ => false,
    }
}

/// The requests without what a header is there to carry.
fn bodies(requests: &[String]) -> Vec<u8> {
    let bodies = requests.iter().filter_map(|request| request.split_once("\r\n\r\n"));
    bodies.map(|(_, body)| body).collect::<String>().into_bytes()
}

#[test]
fn every_form_of_a_secret_is_found() {
    for secret in ALL {
        for before in ["", "a", "ab", "abc"] {
            let text = format!("{before}{secret}");
            for bytes in [text.clone(), BASE64.encode(&text), BASE64.encode(format!("{text}ab"))] {
                assert_eq!(canaries_in(bytes.as_bytes()), BTreeSet::from([secret]), "{bytes}");
            }
        }
    }
    assert!(canaries_in(b"x%2Fy canary%2Fvariable%2B4f1d0e9c8b7a").contains(KEY_OF_VARIABLE));
    assert!(canaries_in(b"canary and nothing else").is_empty());
}

#[test]
fn no_planted_secret_is_in_anything_that_was_written_said_or_started() {
    let mut scene = Scene::new();
    let watch = Watch::start();
    let base = scene.parrot.base();
    let openai = format!("--provider=openai:{base}");
    let run = [
        "run",
        "--json",
        "--repo=repository",
        "--model=m",
        "--fresh",
        "--provider-tries=2",
    ];
    let echo = |status| Next::Echo(status);
    let mut heard = Vec::new();

    // A key in a variable; the server repeats it in every way that an error has.
    for (replies, code) in [
        (vec![echo("500 Internal Server Error"), echo("401 Unauthorized")], 77),
        (vec![echo("400 Bad Request")], 3),
        (vec![Next::Redirect], 3),
        (vec![echo("200 OK")], 3),
        (vec![Next::Answer(format!("the key is {KEY_OF_VARIABLE}"))], 3),
    ] {
        scene.parrot.will(replies);
        let mut command = scene.factory(&[&run[..], &[&openai, "order.json"]].concat());
        command.env("FACTORY_API_KEY", KEY_OF_VARIABLE);
        let ended = scene.go(command);
        assert_eq!(ended.code, Some(code), "{ended:#?}");
    }
    let requests = scene.parrot.heard();
    assert!(
        canaries_in(requests.concat().as_bytes()).contains(KEY_OF_VARIABLE),
        "the control: it was sent"
    );
    assert!(
        requests
            .iter()
            .all(|request| request.contains(&format!("authorization: Bearer {KEY_OF_VARIABLE}\r\n")))
    );
    heard.extend(requests);

    // A plan and a look at the provider.
    scene
        .parrot
        .will([Next::Answer("no plan".to_owned()), echo("403 Forbidden")]);
    scene.place.write("spec.md", "Make it.\n");
    let mut command = scene.factory(&[
        "plan",
        "--json",
        "--spec=spec.md",
        "--repo=repository",
        "--out=plan",
        "--model=m",
        &openai,
    ]);
    command.env("OPENAI_API_KEY", KEY_OF_VARIABLE);
    assert_eq!(scene.go(command).code, Some(77));
    for arguments in [
        &["doctor", "--json", "--model=m", &openai][..],
        &["doctor", "--model=m", &openai],
    ] {
        scene.parrot.will([
            echo("404 Not Found"),
            echo("404 Not Found"),
            echo("401 Unauthorized"),
            echo("401 Unauthorized"),
        ]);
        let mut command = scene.factory(arguments);
        command.env("FACTORY_API_KEY", KEY_OF_VARIABLE);
        assert_ne!(scene.go(command).code, Some(0));
    }
    heard.extend(scene.parrot.heard());

    // A key behind a descriptor, answers that are recorded, attempts that fail while they walk through all that they see, and
    // one that passes.
    let wrong = |text: &str| Next::Answer(answer("x.txt", text));
    scene.parrot.will([wrong("bye\n"), wrong("ciao\n"), wrong("hello\n")]);
    let recorded = format!("--provider=record:{}:openai:{base}", scene.place.word("tape"));
    let script = format!(
        "exec {} \"$@\" 3< home/keys/descriptor",
        crate::support::program().display()
    );
    let mut command = scene.place.command("sh");
    command
        .args(["-c", &script, "sh"])
        .args(run)
        .args([&recorded, "--api-key-fd=3", "walk.json"]);
    command.env("FACTORY_LOG", "trace").env("SOME_PASSWORD", OTHER_VARIABLE);
    let ended = scene.go(command);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let requests = scene.parrot.heard();
    assert_eq!(requests.len(), 3);
    assert!(
        canaries_in(requests.concat().as_bytes()).contains(KEY_OF_DESCRIPTOR),
        "the control: it was sent"
    );
    assert!(
        requests[1].contains("struck out: a token of GitHub"),
        "the control: it was printed, and about to be sent"
    );
    heard.extend(requests);

    // One that fails to the end, with a key in a file and a header, both named by the settings, and for people.
    scene.parrot.will([
        wrong("a\n"),
        wrong("b\n"),
        echo("500 Internal Server Error"),
        echo("401 Unauthorized"),
    ]);
    let failing = [
        "run",
        "--repo=repository",
        "--provider=here",
        "--branch=other",
        "--base=work",
        "--fresh",
        "--provider-tries=2",
    ];
    let command = scene.factory(&[&failing[..], &["--max-attempts=2", "walk.json"]].concat());
    assert_eq!(scene.go(command).code, Some(1));
    let command = scene.factory(&[&failing[..], &["order.json"]].concat());
    assert_eq!(scene.go(command).code, Some(77));
    let requests = scene.parrot.heard();
    for secret in [KEY_OF_FILE, HEADER] {
        assert!(
            canaries_in(requests[0].as_bytes()).contains(secret),
            "the control: it was sent"
        );
    }
    heard.extend(requests);

    // A proxy that repeats what it got, as a server in its place and as one that does not let through.
    for (scheme, variable) in [("http", "HTTP_PROXY"), ("https", "HTTPS_PROXY")] {
        for status in ["407 Proxy Authentication Required", "502 Bad Gateway"] {
            scene.parrot.will([echo(status), echo(status)]);
            let there = format!("--provider=openai:{scheme}://model.example.invalid/v1");
            let mut command = scene.factory(&[&run[..], &[&there, "order.json"]].concat());
            command.env("FACTORY_API_KEY", KEY_OF_VARIABLE);
            command.env(
                variable,
                format!("http://me:{PROXY_PASSWORD}@127.0.0.1:{}", scene.parrot.port),
            );
            assert_ne!(scene.go(command).code, Some(0));
        }
        let requests = scene.parrot.heard();
        assert!(
            canaries_in(requests.concat().as_bytes()).contains(PROXY_PASSWORD),
            "the control: {requests:#?}"
        );
        heard.extend(requests);
    }

    // A program that has the keys and tells them.
    let tells = "echo \"$FACTORY_API_KEY $HTTPS_PROXY $SOME_PASSWORD\" >&2";
    for (script, code) in [
        (format!("{tells}; exit 1"), 3),
        (format!("{tells}; exit 75"), 75),
        ("echo \"$FACTORY_API_KEY\"".to_owned(), 3),
        (format!("{tells}; cat {}", scene.place.word("answers/1.json")), 0),
    ] {
        let provider = format!("--provider=command:sh -c '{script}'");
        let branch = ["--branch=third", "--base=work", "order.json"];
        let mut command = scene.factory(&[&run[..], &[&provider], &branch].concat());
        command.env("FACTORY_API_KEY", KEY_OF_VARIABLE);
        command.env("HTTPS_PROXY", format!("http://me:{PROXY_PASSWORD}@127.0.0.1:9"));
        let ended = scene.go(command);
        assert_eq!(ended.code, Some(code), "{ended:#?}");
    }

    // Whatever else shows something.
    let walk = "env; cat /proc/[0-9]*/environ; ls -laR ~ /src; cat ~/.ssh/* ~/.aws/*; sleep 0.3";
    let runs = scene.place.call(&["status", "--json"]).succeeded().json();
    let runs = runs["runs"].as_array().unwrap().iter();
    let ids: Vec<String> = runs.map(|run| run["run"].as_str().unwrap().to_owned()).collect();
    let mut looks: Vec<Vec<&str>> = vec![
        vec!["exec", "--repo=repository", "--", "sh", "-c", walk],
        vec!["exec", "--repo=repository", "--json", "--", "sh", "-c", walk],
        vec!["exec", "--repo=repository", "--dry-run", "--", "true"],
        vec!["status"],
        vec!["status", "--json"],
        vec!["cost"],
        vec!["journal", "check"],
        vec!["journal", "export"],
        vec!["recover"],
        vec!["doctor", "--json"],
        vec!["config", "show", "--origin", "--provider=here"],
        vec!["config", "show", "--json", &openai],
        vec!["profile", "show", "verify", "--resolved"],
    ];
    looks.extend(ids.iter().map(|id| vec!["show", id.as_str()]));
    looks.extend(ids.iter().map(|id| vec!["show", id.as_str(), "--json"]));
    for arguments in looks {
        let mut command = scene.factory(&arguments);
        command.env("FACTORY_API_KEY", KEY_OF_VARIABLE);
        command.env("HTTPS_PROXY", format!("http://me:{PROXY_PASSWORD}@127.0.0.1:9"));
        scene.go(command);
    }

    let (started, sandboxed) = watch.end();
    assert_eq!(started, BTreeSet::new());
    assert!(
        sandboxed > 0 || !is_root(),
        "the control: processes in sandboxes were seen"
    );
    assert_eq!(canaries_in(&bodies(&heard)), BTreeSet::new(), "in a prompt");
    let mut objects = scene.place.command("git");
    objects.args(["-C", "repository", "cat-file", "--batch-all-objects", "--batch"]);
    let objects = objects.output().unwrap().stdout;
    assert_eq!(canaries_in(&objects), BTreeSet::from([TREE]), "in the repository");
    assert_eq!(scene.leaks(), [""; 0]);
    // The control: the same search finds what is put there.
    scene.place.write("home/.local/state/factory/planted", KEY_OF_VARIABLE);
    assert_eq!(scene.leaks().len(), 1);
}
