//! Why there is no answer, and whose turn it is then.

use super::secrets::Secrets;
use super::{MAX_ANSWER_BYTES, Usage};
use crate::types::{Bytes, FailureClass, Problem, escape_control, format_duration};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The most characters of somebody else's text in one of our errors.
const MAX_EXCERPT_CHARS: usize = 400;

/// The most lines of a program's standard error in one of our errors.
const MAX_EXCERPT_LINES: usize = 8;

/// Some of somebody else's text, cut short and escaped, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Excerpt(String);

impl Excerpt {
    /// The beginning of a text. Secrets are struck out before the text is cut, so that no half of one stays.
    pub(super) fn of_start(text: &str, secrets: &Secrets) -> Self {
        let text = secrets.redact(text);
        let escaped = escape_control(text.trim());
        match escaped.char_indices().nth(MAX_EXCERPT_CHARS) {
            None => Excerpt(escaped),
            Some((end, _)) => Excerpt(format!("{}…", &escaped[..end])),
        }
    }

    /// The last lines of what a program wrote.
    pub(super) fn of_last_lines(bytes: &[u8], secrets: &Secrets) -> Self {
        let text = secrets.redact(&String::from_utf8_lossy(bytes));
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(MAX_EXCERPT_LINES)..];
        let escaped = escape_control(&last.join("\n"));
        let characters = escaped.chars().count();
        match escaped.char_indices().nth(characters.saturating_sub(MAX_EXCERPT_CHARS)) {
            Some((start, _)) if start > 0 => Excerpt(format!("…{}", &escaped[start..])),
            _ => Excerpt(escaped),
        }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(no message)" } else { &self.0 })
    }
}

/// A request without an answer.
#[derive(Debug, thiserror::Error)]
pub enum LlmError {
    /// The directory of recorded answers cannot be used.
    #[error("cannot read recorded answers from `{}`", dir.display())]
    ReplayDirectory {
        /// The directory.
        dir: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The directory holds nothing to replay.
    #[error("`{}` holds no recorded answers", dir.display())]
    ReplayEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// Two files claim the same place.
    #[error("recorded answer {number} is there twice: `{}` and `{}`", one.display(), other.display())]
    ReplayAmbiguous {
        /// Their number.
        number: u64,
        /// One of them.
        one: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// All recorded answers were given.
    #[error("no recorded answer is left in `{}`: all {count} were given", dir.display())]
    ReplayExhausted {
        /// The directory.
        dir: PathBuf,
        /// How many there were.
        count: usize,
    },
    /// A recorded answer cannot be read.
    #[error("cannot read the recorded answer `{}`", path.display())]
    ReplayRead {
        /// The file.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// No program was named.
    #[error("the command provider has no program to run")]
    CommandEmpty,
    /// The program cannot be started.
    #[error("cannot start the model command `{program}`")]
    CommandStart {
        /// The program.
        program: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Nobody would end the program if this process were killed.
    #[error("cannot start the watcher of the model command")]
    CommandWatch {
        /// What the kernel answered.
        source: io::Error,
    },
    /// The program cannot be talked to.
    #[error("cannot talk to the model command `{program}`")]
    CommandPipe {
        /// The program.
        program: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The program reported failure.
    #[error("the model command `{program}` failed ({status}): {stderr}")]
    CommandFailed {
        /// The program.
        program: String,
        /// How it ended.
        status: String,
        /// Whether it said that it may work later (exit code 75).
        temporary: bool,
        /// The last lines of its standard error.
        stderr: Excerpt,
    },
    /// The address of the server cannot be used.
    #[error("`{url}` is not the base address of a server: {what}")]
    Address {
        /// The address, without user information.
        url: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The API key cannot be sent.
    #[error("the API key is empty or has characters that an HTTP header cannot carry")]
    Key,
    /// The HTTP client cannot be set up.
    #[error("cannot set up an HTTP client")]
    Client {
        /// What is missing.
        source: reqwest::Error,
    },
    /// The server cannot be reached, or the connection broke.
    #[error("cannot {action} {endpoint}")]
    Transport {
        /// What was tried.
        action: &'static str,
        /// The address that was asked.
        endpoint: String,
        /// What went wrong.
        source: reqwest::Error,
    },
    /// The server's certificate is not trusted, or TLS failed otherwise.
    #[error("cannot agree on a secure connection with {endpoint}")]
    Tls {
        /// The address that was asked.
        endpoint: String,
        /// What went wrong.
        source: reqwest::Error,
    },
    /// A wait was over.
    #[error("{}", wait.told(from, *after))]
    Timeout {
        /// Who was asked.
        from: String,
        /// How long we waited.
        after: Duration,
        /// What for.
        wait: Wait,
    },
    /// The stream ended before the answer did. What it cost is not known: whatever was counted, was counted before the end.
    #[error("{from} ended in the middle of its answer")]
    Cut {
        /// Who was asked.
        from: String,
    },
    /// The server began to answer and reports an error in place of the rest. It may have cost something by then.
    #[error("{endpoint} reports an error in place of an answer, which stands for status {status}: {message}")]
    Reported {
        /// The address that was asked.
        endpoint: String,
        /// The HTTP status that it stands for.
        status: u16,
        /// What the server said.
        message: Excerpt,
        /// Whether it is about a quota that waiting does not fill.
        quota: bool,
    },
    /// The proxy does not lead to the server.
    #[error("cannot reach {endpoint} through the proxy {proxy}")]
    Proxy {
        /// The address that was asked.
        endpoint: String,
        /// The proxy, without user information.
        proxy: String,
        /// Whether it wants to know who we are (407).
        authorization: bool,
        /// What went wrong.
        source: reqwest::Error,
    },
    /// The proxy wants to know who we are, on the way to a server without encryption.
    #[error("the proxy {proxy} wants to know who we are")]
    ProxyAuthorization {
        /// The proxy, without user information.
        proxy: String,
    },
    /// The name of a server has no address.
    #[error("cannot find the address of {host}")]
    Lookup {
        /// The name.
        host: String,
        /// What the resolver answered.
        source: io::Error,
    },
    /// None of its addresses takes connections.
    #[error("cannot connect to {host} at {address}")]
    Connect {
        /// The name.
        host: String,
        /// The address that was tried last.
        address: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The address of the proxy cannot be used.
    #[error("the address of the proxy cannot be used")]
    ProxyAddress,
    /// A file with certificates cannot be used.
    #[error("cannot use the certificates in `{}`", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A further header cannot be sent.
    #[error("the header `{name}` cannot be sent: {what}")]
    Header {
        /// Its name, escaped.
        name: String,
        /// Why.
        what: &'static str,
    },
    /// An answer cannot be recorded.
    #[error("cannot record the answer in `{}`", dir.display())]
    Record {
        /// The directory.
        dir: PathBuf,
        /// What the answer cost all the same.
        usage: Option<Usage>,
        /// What went wrong.
        source: crate::durable::DurableError,
    },
    /// The server answered with an error.
    #[error("{endpoint} answered with status {status}: {message}")]
    Status {
        /// The address that was asked.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// What the server said.
        message: Excerpt,
        /// How long the server wants us to wait.
        retry_after: Option<Duration>,
        /// Whether it is about a quota that waiting does not fill.
        quota: bool,
    },
    /// The server sends us elsewhere.
    #[error("{endpoint} redirects to `{location}`, and redirects are not followed")]
    Redirect {
        /// The address that was asked.
        endpoint: String,
        /// Where it points.
        location: Excerpt,
    },
    /// The server answered with something that is not JSON by its own account.
    #[error("{endpoint} answered with content of type `{content_type}` where JSON is expected: {start}")]
    ContentType {
        /// The address that was asked.
        endpoint: String,
        /// The type it named.
        content_type: Excerpt,
        /// How the content starts.
        start: Excerpt,
    },
    /// The server's answer is not JSON.
    #[error("{endpoint} answered with malformed JSON: {reason}")]
    NotJson {
        /// The address that was asked.
        endpoint: String,
        /// Where it is malformed.
        reason: String,
    },
    /// The server's answer is JSON of another kind.
    #[error("{endpoint} answered with something other than an answer: {what}")]
    Shape {
        /// The address that was asked.
        endpoint: String,
        /// What is missing, or what the server says instead.
        what: Excerpt,
    },
    /// A response that is made in the background cannot be fetched. It may cost something all the same.
    #[error("cannot fetch the response that {endpoint} is making")]
    Fetch {
        /// The address that was asked.
        endpoint: String,
        /// What went wrong.
        source: Box<LlmError>,
    },
    /// The server's answer repeats the API key, and must not be recorded.
    #[error("{endpoint} repeats the API key in its answer")]
    KeyRepeated {
        /// The address that was asked.
        endpoint: String,
    },
    /// The answer is larger than we read.
    #[error("the answer of {from} is larger than {}", Bytes(MAX_ANSWER_BYTES as u64))]
    TooLarge {
        /// Who answered.
        from: String,
    },
    /// The answer is not UTF-8.
    #[error("the answer of {from} is not UTF-8 text")]
    NotText {
        /// Who answered.
        from: String,
    },
    /// The answer is complete and says nothing.
    #[error("the answer of {from} is empty")]
    Empty {
        /// Who answered.
        from: String,
        /// What it cost all the same.
        usage: Option<Usage>,
    },
}

/// What was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The connection.
    Connect,
    /// The first byte of the answer.
    FirstByte,
    /// The next piece of the answer.
    Silence,
    /// The whole of it.
    Total,
}

impl Wait {
    fn told(self, from: &str, after: Duration) -> String {
        let after = format_duration(after);
        match self {
            Wait::Connect => format!("cannot connect to {from} within {after}"),
            Wait::FirstByte => format!("{from} did not begin to answer within {after}"),
            Wait::Silence => format!("{from} fell silent for {after} in the middle of its answer"),
            Wait::Total => format!("{from} did not answer within {after}"),
        }
    }
}

impl LlmError {
    /// How long the provider wants us to wait before we ask again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            LlmError::Status { retry_after, .. } => *retry_after,
            LlmError::Fetch { source, .. } => source.retry_after(),
            _ => None,
        }
    }

    /// Whether the provider limits how much it is asked: the same request will be answered when the time has come, without
    /// anybody doing anything.
    pub fn is_limit(&self) -> bool {
        match self {
            LlmError::Status {
                status: 429 | 529,
                quota: false,
                ..
            }
            | LlmError::Reported {
                status: 429 | 529,
                quota: false,
                ..
            } => true,
            // Of others it is known only when they say so.
            LlmError::Status {
                status: 503,
                retry_after: Some(_),
                ..
            } => true,
            LlmError::Fetch { source, .. } => source.is_limit(),
            _ => false,
        }
    }

    /// Whether the provider does not accept who we are (401, 403).
    pub fn is_auth(&self) -> bool {
        match self {
            LlmError::Status { status, .. } | LlmError::Reported { status, .. } => matches!(status, 401 | 403),
            LlmError::Fetch { source, .. } => source.is_auth(),
            _ => false,
        }
    }

    /// Whether the request cannot have cost anything: it was not sent, or it was refused.
    pub fn is_free(&self) -> bool {
        match self {
            // Who says this is a gateway, which does not know how far the server behind it came. Source: RFC 9110, sections
            // 15.6.3 and 15.6.5; 52x are a content network's.
            LlmError::Status {
                status: 502 | 504 | 520..=524,
                ..
            } => false,
            LlmError::Status { .. }
            | LlmError::Redirect { .. }
            | LlmError::Address { .. }
            | LlmError::Client { .. }
            | LlmError::Tls { .. }
            | LlmError::Proxy { .. }
            | LlmError::Timeout {
                wait: Wait::Connect, ..
            }
            | LlmError::CommandStart { .. }
            | LlmError::ReplayExhausted { .. }
            | LlmError::ReplayRead { .. } => true,
            LlmError::Transport { source, .. } => source.is_connect(),
            _ => false,
        }
    }

    /// What the request cost although there is no answer to use, when the provider says.
    pub fn usage(&self) -> Option<Usage> {
        match self {
            LlmError::Empty { usage, .. } | LlmError::Record { usage, .. } => *usage,
            _ => None,
        }
    }
}

impl Problem for LlmError {
    fn class(&self) -> FailureClass {
        match self {
            LlmError::CommandStart { .. }
            | LlmError::CommandWatch { .. }
            | LlmError::CommandPipe { .. }
            | LlmError::Client { .. }
            | LlmError::ProxyAddress
            | LlmError::CaFile { .. }
            | LlmError::Record { .. } => FailureClass::Host,
            LlmError::Transport { .. }
            | LlmError::Timeout { .. }
            | LlmError::Cut { .. }
            | LlmError::Lookup { .. }
            | LlmError::Connect { .. }
            | LlmError::Proxy {
                authorization: false, ..
            }
            | LlmError::CommandFailed { temporary: true, .. } => FailureClass::ProviderTransient,
            LlmError::Status { quota: true, .. } | LlmError::Reported { quota: true, .. } => {
                FailureClass::ProviderPermanent
            }
            LlmError::Status { status, .. } | LlmError::Reported { status, .. } => class_of_status(*status),
            LlmError::Fetch { source, .. } => source.class(),
            LlmError::NotText { .. } | LlmError::Empty { .. } => FailureClass::Proposal,
            LlmError::ReplayDirectory { .. }
            | LlmError::ReplayEmpty { .. }
            | LlmError::ReplayAmbiguous { .. }
            | LlmError::ReplayExhausted { .. }
            | LlmError::ReplayRead { .. }
            | LlmError::CommandEmpty
            | LlmError::CommandFailed { temporary: false, .. }
            | LlmError::Address { .. }
            | LlmError::Key
            | LlmError::Header { .. }
            | LlmError::Proxy {
                authorization: true, ..
            }
            | LlmError::ProxyAuthorization { .. }
            | LlmError::Tls { .. }
            | LlmError::Redirect { .. }
            | LlmError::ContentType { .. }
            | LlmError::NotJson { .. }
            | LlmError::Shape { .. }
            | LlmError::KeyRepeated { .. }
            | LlmError::TooLarge { .. } => FailureClass::ProviderPermanent,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            LlmError::ReplayDirectory { .. } | LlmError::ReplayEmpty { .. } => {
                "name a directory with the files 1.json, 2.json, …, or with one such directory for each order"
            }
            LlmError::ReplayAmbiguous { .. } => "keep one of the two files",
            LlmError::ReplayExhausted { .. } => "record more answers, allow fewer attempts, or use another provider",
            LlmError::ReplayRead { .. } => "check that it is a regular file that you may read",
            LlmError::CommandEmpty => "name the program and its arguments",
            LlmError::CommandStart { .. } => "check that the program is on PATH and executable",
            LlmError::CommandWatch { .. } => {
                "check that the program of this process is still where it was started from"
            }
            LlmError::CommandFailed { temporary: false, .. } => {
                "run the program by hand with a prompt on its standard input; exit code 75 would mean \"try again later\""
            }
            LlmError::Address { .. } => {
                "give the address up to and including the version, as in https://api.example.com/v1"
            }
            LlmError::Key => "check the key for line breaks and blanks",
            LlmError::Transport { .. } => "check the address, the network and the proxy settings",
            LlmError::Tls { .. } => {
                "check the host name, the clock, and that the certificate's issuer is trusted on this host; SSL_CERT_FILE adds a private one"
            }
            LlmError::Lookup { .. }
            | LlmError::Connect { .. }
            | LlmError::Timeout {
                wait: Wait::Connect, ..
            } => "check the address, the network and the proxy settings",
            LlmError::Timeout { .. } => "allow more time, or ask for less",
            LlmError::ProxyAuthorization { .. }
            | LlmError::Proxy {
                authorization: true, ..
            } => "put the user name and the password of the proxy into its address, in the variable that names it",
            LlmError::Proxy { .. } => {
                "check HTTPS_PROXY and ALL_PROXY, and what the proxy lets through; NO_PROXY names servers that need none"
            }
            LlmError::ProxyAddress => {
                "check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY: http://host:port, https://… or socks5h://…"
            }
            LlmError::CaFile { .. } => "name a readable file with certificates in PEM; SSL_CERT_FILE names one too",
            LlmError::Header { .. } => "give headers as NAME: VALUE; keys are given as files, descriptors or variables",
            LlmError::Record { .. } => "name a directory that can be written to",
            LlmError::Status { status: 401 | 403, .. } | LlmError::Reported { status: 401 | 403, .. } => {
                "check the API key and what it is allowed to use"
            }
            LlmError::Status { status: 404, .. } | LlmError::Reported { status: 404, .. } => {
                "check the base address and the name of the model"
            }
            LlmError::Status { quota: true, .. }
            | LlmError::Status { status: 402, .. }
            | LlmError::Reported { quota: true, .. } => "the account's quota is used up; check its plan and billing",
            LlmError::Status { status, .. } | LlmError::Reported { status, .. }
                if class_of_status(*status) == FailureClass::ProviderTransient =>
            {
                "try again later"
            }
            LlmError::Cut { .. } => {
                "try again; if it is always cut, look at what lies between, or use the option delivery=whole"
            }
            LlmError::Redirect { .. } | LlmError::ContentType { .. } | LlmError::Shape { .. } => {
                "check the base address and the kind of provider; it should end before /chat/completions, /responses or /messages"
            }
            LlmError::Fetch { source, .. } => return source.hint(),
            LlmError::KeyRepeated { .. } => "do not ask it with this key, and replace the key",
            LlmError::CommandPipe { .. }
            | LlmError::CommandFailed { temporary: true, .. }
            | LlmError::Client { .. }
            | LlmError::Status { .. }
            | LlmError::Reported { .. }
            | LlmError::NotJson { .. }
            | LlmError::TooLarge { .. }
            | LlmError::NotText { .. }
            | LlmError::Empty { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// Whether the same request may succeed later. Source: RFC 9110, section 15, and RFC 6585, section 4 (429).
fn class_of_status(status: u16) -> FailureClass {
    match status {
        408 | 409 | 429 | 500..=599 => FailureClass::ProviderTransient,
        _ => FailureClass::ProviderPermanent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_decides_whether_asking_again_makes_sense() {
        for status in [408, 409, 429, 500, 502, 503, 504, 529] {
            assert_eq!(class_of_status(status), FailureClass::ProviderTransient, "{status}");
        }
        for status in [200, 301, 400, 401, 402, 403, 404, 405, 413, 422, 600] {
            assert_eq!(class_of_status(status), FailureClass::ProviderPermanent, "{status}");
        }
    }

    #[test]
    fn only_what_was_not_answered_at_all_is_free() {
        let endpoint = || "e".to_owned();
        let status_of = |status| LlmError::Status {
            endpoint: endpoint(),
            status,
            message: Excerpt::default(),
            retry_after: None,
            quota: false,
        };
        let status = || status_of(503);
        let gateways = [502, 504, 524].map(status_of);
        let reported = LlmError::Reported {
            endpoint: endpoint(),
            status: 503,
            message: Excerpt::default(),
            quota: false,
        };
        let fetch = LlmError::Fetch {
            endpoint: endpoint(),
            source: Box::new(status()),
        };
        let timeout = |wait| LlmError::Timeout {
            from: endpoint(),
            after: Duration::ZERO,
            wait,
        };
        assert!(status().is_free() && timeout(Wait::Connect).is_free());
        let cut = LlmError::Cut { from: endpoint() };
        let waits = [Wait::FirstByte, Wait::Silence, Wait::Total].map(timeout);
        for error in [reported, fetch, cut].iter().chain(&waits).chain(&gateways) {
            assert!(!error.is_free() && error.usage().is_none(), "{error}");
            assert_eq!(error.class(), FailureClass::ProviderTransient);
        }
    }

    #[test]
    fn an_excerpt_is_short_and_tame_and_holds_no_part_of_a_secret() {
        let secret = "sk-planted-0123456789";
        let text = format!("{}{secret} \u{1b}[2J", "x".repeat(MAX_EXCERPT_CHARS - 5));
        let mut secrets = Secrets::default();
        secrets.add("api key", secret.to_owned().into());
        let excerpt = Excerpt::of_start(&text, &secrets).to_string();
        assert!(!excerpt.contains("sk-"), "{excerpt}");
        assert_eq!(excerpt.chars().count(), MAX_EXCERPT_CHARS + 1);
        assert_eq!(Excerpt::of_start("a\u{1b}[2J", &secrets).to_string(), "a\\u{1b}[2J");
        assert_eq!(Excerpt::of_start(" \n", &secrets).to_string(), "(no message)");
    }

    #[test]
    fn an_excerpt_of_a_log_is_its_end() {
        let log: String = (0..1000).map(|line| format!("line {line} \u{1f980}\n\n")).collect();
        let excerpt = Excerpt::of_last_lines(log.as_bytes(), &Secrets::default()).to_string();
        assert!(
            excerpt.ends_with("line 999 \u{1f980}") && excerpt.starts_with("line 992"),
            "{excerpt}"
        );
        let line = "é".repeat(5000);
        assert_eq!(
            Excerpt::of_last_lines(line.as_bytes(), &Secrets::default())
                .to_string()
                .chars()
                .count(),
            MAX_EXCERPT_CHARS + 1
        );
        assert_eq!(
            Excerpt::of_last_lines(b"\xff", &Secrets::default()).to_string(),
            "\u{fffd}"
        );
    }
}
