//! HTTP: one request and what comes back, for every dialect.
//!
//! - Redirects are refused: they would carry the prompt, and might carry the key, to somewhere nobody named.
//! - Connections are used once, because a request on a stale one would be sent twice.
//! - Every wait has a bound, and so has everything that is read.
//! - No secret is in an error, whatever a server or a proxy repeats of what it was sent.

use super::retry::wanted_wait;
use super::secrets::Secrets;
use super::settings::{ServerSettings, Timeouts};
use super::{Dialect, Excerpt, LlmError, MAX_ANSWER_BYTES, Wait, messages};
use crate::llm::reading::Reported;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Certificate, Client, Proxy, RequestBuilder, Response, Url, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use std::error::Error;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

/// How much of an error's body is read, in bytes.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// How long the explanation of an error may take after its status.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest file with certificates, in bytes. That of a whole operating system has a quarter of a megabyte.
const MAX_CA_BYTES: u64 = 4 << 20;

/// Words in the names of headers that carry secrets.
const SECRET_WORDS: [&str; 5] = ["auth", "cookie", "key", "secret", "token"];

/// Headers that are ours to set.
const OUR_HEADERS: [&str; 7] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "upgrade",
];

/// How an answer may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As an event stream.
    Stream,
    /// As one JSON document.
    Document,
}

/// A way to one server.
#[derive(Debug)]
pub(super) struct Exchange {
    client: Client,
    base: Url,
    headers: HeaderMap,
    secrets: Secrets,
    timeouts: Timeouts,
    /// The proxy on the way, without user information.
    proxy: Option<String>,
}

/// An answer whose status is good; its body is still to be read.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) response: Response,
    pub(super) endpoint: String,
    /// What it is by its own account.
    pub(super) form: Form,
}

impl Exchange {
    /// Checks the settings; nothing is sent yet.
    pub(super) fn new(settings: &ServerSettings) -> Result<Self, LlmError> {
        let base = base(&settings.base_url)?;
        let headers = headers(settings)?;
        let mut secrets = Secrets::default();
        if let Some(key) = &settings.api_key {
            secrets.add("api key", key.clone());
        }
        for (_, value) in &settings.secret_headers {
            secrets.add("header", value.clone());
        }
        let proxy = settings.proxies.proxy_of(&base);
        let shown = proxy.map(|proxy| shown_proxy(proxy, &mut secrets)).transpose()?;
        let client = client(settings, proxy)?;
        Ok(Exchange {
            client,
            base,
            headers,
            secrets,
            timeouts: settings.timeouts,
            proxy: shown,
        })
    }

    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    pub(super) fn proxy(&self) -> Option<&str> {
        self.proxy.as_deref()
    }

    pub(super) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The address below the base.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        if !path.is_empty() {
            url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        }
        url
    }

    /// Sends a document.
    pub(super) async fn post(&self, path: &str, body: &Value, form: Form) -> Result<Reply, LlmError> {
        let url = self.url(path);
        let accept = match form {
            Form::Stream => "text/event-stream, application/json",
            Form::Document => "application/json",
        };
        let request = self.client.post(url.clone()).header(ACCEPT, accept).json(body);
        // What comes in one piece is made first, and may take the whole time.
        let patience = (form == Form::Stream).then_some(self.timeouts.first_byte);
        let response = self.send(request, url.as_str(), patience).await?;
        self.check(response, url, form).await
    }

    /// Asks for a document.
    pub(super) async fn get(&self, path: &str) -> Result<Reply, LlmError> {
        let url = self.url(path);
        let request = self.client.get(url.clone()).header(ACCEPT, "application/json");
        let response = self.send(request, url.as_str(), Some(self.timeouts.first_byte)).await?;
        self.check(response, url, Form::Document).await
    }

    /// Connects and asks for the base address, whatever the answer: its status.
    pub(super) async fn knock(&self) -> Result<u16, LlmError> {
        let request = self.client.get(self.base.clone());
        let response = self
            .send(request, self.base.as_str(), Some(self.timeouts.first_byte))
            .await?;
        Ok(response.status().as_u16())
    }

    async fn send(
        &self,
        request: RequestBuilder,
        endpoint: &str,
        patience: Option<Duration>,
    ) -> Result<Response, LlmError> {
        let sent = request.headers(self.headers.clone()).send();
        let patience = patience.unwrap_or(self.timeouts.total);
        match timeout(patience, sent).await {
            Ok(sent) => sent.map_err(|error| self.transport("ask", endpoint, error)),
            Err(_) => Err(self.timed_out(endpoint, patience, Wait::FirstByte)),
        }
    }

    async fn check(&self, mut response: Response, url: Url, wanted: Form) -> Result<Reply, LlmError> {
        let endpoint = url.to_string();
        if response.status().is_redirection() {
            let location = header(response.headers(), LOCATION.as_str()).unwrap_or_default();
            let location = self.excerpt(&location);
            return Err(LlmError::Redirect { endpoint, location });
        }
        if !response.status().is_success() {
            return Err(self.status(&mut response, endpoint).await);
        }
        let form = match essence(response.headers()).as_deref() {
            // A server that names no type at all is believed to mean JSON.
            None => Form::Document,
            Some("text/event-stream") if wanted == Form::Stream => Form::Stream,
            Some(essence) if is_json(essence) => Form::Document,
            // A proxy's login page also has status 200.
            Some(_) => return Err(self.wrong_type(&mut response, endpoint).await),
        };
        Ok(Reply {
            response,
            endpoint,
            form,
        })
    }

    /// Reads a document piece by piece, so that a server cannot make us hold more than we are willing to.
    pub(super) async fn document(&self, reply: &mut Reply) -> Result<Vec<u8>, LlmError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.piece(reply, self.timeouts.silence).await? {
            if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
                let from = reply.endpoint.clone();
                return Err(LlmError::TooLarge { from });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// The next piece of a body, or nothing at its end.
    pub(super) async fn piece(
        &self,
        reply: &mut Reply,
        patience: Duration,
    ) -> Result<Option<impl AsRef<[u8]> + std::ops::Deref<Target = [u8]> + use<>>, LlmError> {
        match timeout(patience, reply.response.chunk()).await {
            Ok(read) => read.map_err(|error| self.transport("read the answer of", &reply.endpoint, error)),
            Err(_) => Err(self.timed_out(&reply.endpoint, patience, Wait::Silence)),
        }
    }

    async fn status(&self, response: &mut Response, endpoint: String) -> LlmError {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let retry_after = wanted_wait(status, &|name| header(&headers, name));
        let bytes = self.explanation(response).await;
        let said: Option<Value> = serde_json::from_slice(&bytes).ok();
        let reported = said.as_ref().and_then(Reported::in_response);
        let message = match &reported {
            Some(reported) if !reported.message.is_empty() => self.excerpt(&reported.message),
            _ => self.excerpt(&String::from_utf8_lossy(&bytes)),
        };
        LlmError::Status {
            endpoint,
            status,
            message,
            retry_after,
            quota: reported.is_some_and(|reported| reported.quota),
        }
    }

    async fn wrong_type(&self, response: &mut Response, endpoint: String) -> LlmError {
        let content_type = header(response.headers(), CONTENT_TYPE.as_str()).unwrap_or_default();
        let start = self.explanation(response).await;
        LlmError::ContentType {
            endpoint,
            content_type: self.excerpt(&content_type),
            start: self.excerpt(&String::from_utf8_lossy(&start)),
        }
    }

    /// The beginning of a body that is only shown. An error is reported even if its explanation cannot be read to the end.
    async fn explanation(&self, response: &mut Response) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = timeout(ERROR_BODY_TIMEOUT, async {
            while bytes.len() < MAX_ERROR_BYTES
                && let Ok(Some(chunk)) = response.chunk().await
            {
                bytes.extend_from_slice(&chunk[..chunk.len().min(MAX_ERROR_BYTES - bytes.len())]);
            }
        })
        .await;
        bytes
    }

    pub(super) fn excerpt(&self, text: &str) -> Excerpt {
        Excerpt::of_start(text, &self.secrets)
    }

    pub(super) fn timed_out(&self, endpoint: &str, after: Duration, wait: Wait) -> LlmError {
        LlmError::Timeout {
            from: endpoint.to_owned(),
            after,
            wait,
        }
    }

    fn transport(&self, action: &'static str, endpoint: &str, error: reqwest::Error) -> LlmError {
        // The address is in our own text.
        let (endpoint, source) = (endpoint.to_owned(), error.without_url());
        // What fails later was sent before, and may have cost something.
        if source.is_connect() && is_tls(&source) {
            return LlmError::Tls { endpoint, source };
        }
        if source.is_connect() && source.is_timeout() {
            return self.timed_out(&endpoint, self.timeouts.connect, Wait::Connect);
        }
        match &self.proxy {
            Some(proxy) if source.is_connect() => LlmError::Proxy {
                endpoint,
                proxy: proxy.clone(),
                authorization: wants_authorization(&source),
                source,
            },
            _ => LlmError::Transport {
                action,
                endpoint,
                source,
            },
        }
    }
}

/// Builds a client; the only place that does, and so the place that chooses the cryptography for all of them.
fn client(settings: &ServerSettings, proxy: Option<&SecretString>) -> Result<Client, LlmError> {
    // It fails when another thread was faster; the choice is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("factory/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(0)
        .connect_timeout(settings.timeouts.connect)
        // Which proxy to use was decided from what we were given; the environment is not asked again.
        .no_proxy();
    if let Some(proxy) = proxy {
        let proxy = Proxy::all(proxy.expose_secret()).map_err(|_| LlmError::ProxyAddress)?;
        builder = builder.proxy(proxy);
    }
    for file in &settings.ca_files {
        builder = builder.tls_certs_merge(certificates(file)?);
    }
    builder.build().map_err(|source| LlmError::Client { source })
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, LlmError> {
    let unusable = |source| LlmError::CaFile {
        path: path.to_owned(),
        source,
    };
    let bytes = read_regular(path, MAX_CA_BYTES).map_err(unusable)?;
    let certificates = Certificate::from_pem_bundle(&bytes)
        .map_err(|error| unusable(io::Error::new(io::ErrorKind::InvalidData, error.to_string())))?;
    match certificates.is_empty() {
        true => Err(unusable(io::Error::new(
            io::ErrorKind::InvalidData,
            "it holds no certificate in PEM",
        ))),
        false => Ok(certificates),
    }
}

/// The bytes of a regular file. It is looked at before it is opened, because opening a FIFO waits for a writer.
pub(super) fn read_regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(bytes),
    }
}

/// The address of a proxy as it is shown; what it has of user information becomes a secret.
fn shown_proxy(proxy: &SecretString, secrets: &mut Secrets) -> Result<String, LlmError> {
    let text = proxy.expose_secret();
    let text = match text.contains("://") {
        true => text.to_owned(),
        false => format!("http://{text}"),
    };
    let mut url = Url::parse(&text).map_err(|_| LlmError::ProxyAddress)?;
    if url.host_str().is_none()
        || !matches!(
            url.scheme(),
            "http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h"
        )
    {
        return Err(LlmError::ProxyAddress);
    }
    if let Some(password) = url.password() {
        // As it is written, as it is meant, and as it is sent.
        let user = percent_decoded(url.username());
        let meant = percent_decoded(password);
        let sent = BASE64.encode([&user[..], b":", &meant[..]].concat());
        for form in [password.to_owned(), String::from_utf8_lossy(&meant).into_owned(), sent] {
            secrets.add("proxy password", form.into());
        }
    }
    // Neither fails on an address that has a host.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    Ok(url.to_string())
}

/// What a part of an address stands for. Source: RFC 3986, section 2.1.
fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let coded = digits
            .filter(|_| *first == b'%')
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(coded.unwrap_or(*first));
        rest = if coded.is_some() { &after[2..] } else { after };
    }
    bytes
}

fn base(base_url: &str) -> Result<Url, LlmError> {
    let refused = |url: &str, what| LlmError::Address {
        url: url.to_owned(),
        what,
    };
    // An address that cannot be taken apart is not shown: it might have a password in it.
    let mut url = Url::parse(base_url).map_err(|_| refused("…", "it is not an address"))?;
    let has_user = !url.username().is_empty() || url.password().is_some();
    // Neither fails on an address that has a host, and another one is refused below.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let (query, fragment) = (url.query().is_some(), url.fragment().is_some());
    url.set_query(None);
    url.set_fragment(None);
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(refused(url.as_str(), "it should start with https:// or http://"));
    }
    if has_user {
        return Err(refused(url.as_str(), "a user name or password has no place in it"));
    }
    if query || fragment {
        return Err(refused(url.as_str(), "it should have neither a query nor a fragment"));
    }
    Ok(url)
}

/// The headers of every request: the key, the version of the dialect, and what the operator adds.
fn headers(settings: &ServerSettings) -> Result<HeaderMap, LlmError> {
    let mut headers = HeaderMap::new();
    if settings.dialect == Dialect::Messages {
        headers.insert("anthropic-version", HeaderValue::from_static(messages::VERSION));
    }
    for (name, value) in &settings.headers {
        let (name, value) = further_header(name, value)?;
        if SECRET_WORDS.iter().any(|word| name.as_str().contains(word)) {
            return Err(LlmError::Header {
                name: name.to_string(),
                what: "it looks like one that carries a secret, which anybody on this host could read",
            });
        }
        headers.insert(name, value);
    }
    for (name, value) in &settings.secret_headers {
        let (name, mut value) = further_header(name, value.expose_secret())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    if let Some(key) = &settings.api_key {
        let name = HeaderName::try_from(&*settings.capabilities.key_header).map_err(|_| LlmError::Key)?;
        let prefix = if name == "authorization" { "Bearer " } else { "" };
        headers.insert(name, key_value(prefix, key)?);
    }
    Ok(headers)
}

/// The value that carries the key, marked so that nobody prints it.
fn key_value(prefix: &str, key: &SecretString) -> Result<HeaderValue, LlmError> {
    if key.expose_secret().trim().is_empty() {
        return Err(LlmError::Key);
    }
    let mut value = HeaderValue::try_from(format!("{prefix}{}", key.expose_secret())).map_err(|_| LlmError::Key)?;
    value.set_sensitive(true);
    Ok(value)
}

fn further_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), LlmError> {
    let refused = |what| LlmError::Header {
        name: crate::types::escape_control(name),
        what,
    };
    let parsed = HeaderName::try_from(name).map_err(|_| refused("it has no valid name"))?;
    if OUR_HEADERS.contains(&parsed.as_str()) {
        return Err(refused("it is set by this program"));
    }
    let value =
        HeaderValue::try_from(value).map_err(|_| refused("its value has characters that a header cannot carry"))?;
    Ok((parsed, value))
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(String::from_utf8_lossy(headers.get(name)?.as_bytes()).into_owned())
}

/// The content type without its parameters.
fn essence(headers: &HeaderMap) -> Option<String> {
    let content_type = header(headers, CONTENT_TYPE.as_str())?;
    let essence = content_type.split(';').next().unwrap_or_default();
    Some(essence.trim().to_ascii_lowercase())
}

fn is_json(essence: &str) -> bool {
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The errors that led to an error. An I/O error hides what it wraps: its `source` is the source of that.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |error: &&(dyn Error + 'static)| cause_of(*error))
}

fn cause_of<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// Whether TLS is what failed to connect. Trying again does not help against an untrusted certificate.
fn is_tls(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| cause.is::<rustls::Error>())
}

/// Whether a proxy answered with 407. The type of the error is not public; a test pins its words.
fn wants_authorization(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| cause.to_string().contains("proxy authorization required"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{FailureClass, Problem as _};

    fn settings(base_url: &str) -> ServerSettings {
        ServerSettings::new(Dialect::Chat, base_url)
    }

    #[test]
    fn addresses_are_checked_before_anything_is_sent() {
        for (base, full) in [
            (
                "https://api.example.com/v1",
                "https://api.example.com/v1/chat/completions",
            ),
            ("http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080/v1/chat/completions"),
            ("http://[::1]:8080", "http://[::1]:8080/chat/completions"),
        ] {
            let exchange = Exchange::new(&settings(base)).unwrap();
            assert_eq!(exchange.url("chat/completions").as_str(), full);
        }
        for base in [
            "",
            "api.example.com/v1",
            "file:///etc/passwd",
            "unix:/run/socket",
            "https://",
            "https://me:hunter2@api.example.com/v1",
            "https://me:hunter2@:99999/v1",
            "https://api.example.com/v1?key=hunter2",
            "https://api.example.com/v1#hunter2",
        ] {
            let error = Exchange::new(&settings(base)).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
            assert_eq!(error.class(), FailureClass::ProviderPermanent);
        }
    }

    #[test]
    fn a_key_that_no_header_can_carry_is_refused_without_showing_it() {
        for key in ["", " ", "planted-key\nX-Injected: 1", "planted-key\0"] {
            let settings = ServerSettings {
                api_key: Some(key.to_owned().into()),
                ..settings("http://localhost/v1")
            };
            let error = Exchange::new(&settings).unwrap_err();
            assert!(matches!(error, LlmError::Key));
            assert!(!format!("{error} {error:?}").contains("planted"));
        }
    }

    #[test]
    fn further_headers_are_neither_ours_nor_secret_nor_broken() {
        assert!(further_header("X-Tenant", "a b").is_ok());
        for (name, value) in [
            ("Host", "a"),
            ("content-length", "1"),
            ("a b", "x"),
            ("", "x"),
            ("x", "a\r\nInjected: 1"),
        ] {
            assert!(
                matches!(further_header(name, value), Err(LlmError::Header { .. })),
                "{name}"
            );
        }
    }

    #[test]
    fn a_header_that_carries_a_secret_is_not_taken_from_where_anybody_can_read_it() {
        for name in ["Authorization", "X-Api-Key", "Cookie"] {
            let base = settings("http://localhost/v1");
            let public = ServerSettings {
                headers: vec![(name.to_owned(), "planted-value".to_owned())],
                ..base.clone()
            };
            assert!(matches!(Exchange::new(&public), Err(LlmError::Header { .. })), "{name}");
            let secret = ServerSettings {
                secret_headers: vec![(name.to_owned(), "planted-value".to_owned().into())],
                ..base
            };
            let exchange = Exchange::new(&secret).unwrap();
            assert_eq!(exchange.headers[name], "planted-value");
            assert_eq!(exchange.secrets.redact("a planted-value b"), "a [header] b");
            assert!(!format!("{secret:?} {exchange:?}").contains("planted"), "{exchange:?}");
        }
    }

    #[test]
    fn a_proxy_is_shown_without_its_password() {
        let shown = |proxy: &str| {
            let mut secrets = Secrets::default();
            let shown = shown_proxy(&proxy.to_owned().into(), &mut secrets);
            (shown.ok(), secrets.redact("it is hunter2"))
        };
        assert_eq!(
            shown("http://me:hunter2@proxy.example.com:3128"),
            (
                Some("http://proxy.example.com:3128/".to_owned()),
                "it is [proxy password]".to_owned()
            )
        );
        // base64 of `me:p@ss word`.
        let mut secrets = Secrets::default();
        shown_proxy(&"http://me:p%40ss%20word@proxy".to_owned().into(), &mut secrets).unwrap();
        assert_eq!(
            secrets.redact("p%40ss%20word, p@ss word, Basic bWU6cEBzcyB3b3Jk"),
            "[proxy password], [proxy password], Basic [proxy password]"
        );
        assert_eq!(
            shown("proxy.example.com:3128").0.as_deref(),
            Some("http://proxy.example.com:3128/")
        );
        for proxy in ["ftp://proxy", "http://", "::"] {
            assert_eq!(shown(proxy).0, None, "{proxy}");
        }
    }
}
