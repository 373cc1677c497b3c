//! OpenAI's Chat Completions over HTTP, as many servers speak it.

use super::retry::{parse_http_date, parse_retry_after};
use super::{Answer, DEFAULT_TOTAL_TIMEOUT, Excerpt, Finish, LlmError, MAX_ANSWER_BYTES, Request, Usage};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
};
use reqwest::{Client, Response, Url, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use std::error::Error;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

/// How much of an error's body is read, in bytes.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// How long the explanation of an error may take after its status.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The shortest key that is looked for in answers. Anything shorter is no secret and might be a word.
const MIN_SECRET_BYTES: usize = 8;

/// What a server needs to be asked.
#[derive(Debug, Clone)]
pub struct ChatSettings {
    /// The address up to and including the version: `https://api.example.com/v1`.
    pub base_url: String,
    /// The key that is sent as a bearer token; local servers need none.
    pub api_key: Option<SecretString>,
    /// How long the connection may take, TLS included.
    pub connect_timeout: Duration,
    /// How long the whole call may take.
    pub total_timeout: Duration,
    /// How the server is told the most that an answer may cost.
    pub output_limit_field: OutputLimitField,
}

impl ChatSettings {
    /// Settings for a server without a key, with the usual timeouts.
    pub fn new(base_url: impl Into<String>) -> Self {
        ChatSettings {
            base_url: base_url.into(),
            api_key: None,
            connect_timeout: Duration::from_secs(15),
            total_timeout: DEFAULT_TOTAL_TIMEOUT,
            output_limit_field: OutputLimitField::MaxCompletionTokens,
        }
    }
}

/// The field of a request that limits the tokens of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputLimitField {
    /// `max_completion_tokens`: counts reasoning. Source: OpenAI's API reference, "Create chat completion".
    MaxCompletionTokens,
    /// `max_tokens`: the older name, the only one that some local servers know.
    MaxTokens,
}

impl OutputLimitField {
    const fn as_str(self) -> &'static str {
        match self {
            OutputLimitField::MaxCompletionTokens => "max_completion_tokens",
            OutputLimitField::MaxTokens => "max_tokens",
        }
    }
}

/// A server that speaks Chat Completions.
///
/// Proxies are taken from the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`), except for servers on this host. Redirects
/// are refused: they would carry the prompt, and might carry the key, to somewhere nobody named. Connections are used once,
/// because a request on a stale one would be sent twice.
#[derive(Debug)]
pub struct Chat {
    client: Client,
    endpoint: Url,
    settings: ChatSettings,
}

impl Chat {
    /// Checks the settings; nothing is sent yet.
    ///
    /// # Errors
    /// `ProviderPermanent` when the address or the key cannot be used; `Host` when TLS cannot be set up.
    pub fn new(settings: ChatSettings) -> Result<Self, LlmError> {
        let endpoint = endpoint(&settings.base_url)?;
        bearer(&settings)?;
        let client = client(&endpoint, settings.connect_timeout)?;
        Ok(Chat {
            client,
            endpoint,
            settings,
        })
    }

    /// The address that requests go to.
    pub(super) fn endpoint(&self) -> String {
        self.endpoint.to_string()
    }

    pub(super) async fn ask(&self, request: &Request) -> Result<Answer, LlmError> {
        let deadline = self.settings.total_timeout;
        match timeout(deadline, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => Err(LlmError::Timeout {
                from: self.endpoint(),
                after: deadline,
            }),
        }
    }

    async fn exchange(&self, request: &Request) -> Result<Answer, LlmError> {
        let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        headers.extend(bearer(&self.settings)?.map(|bearer| (AUTHORIZATION, bearer)));
        let sent = self
            .client
            .post(self.endpoint.clone())
            .headers(headers)
            .json(&body(request, self.settings.output_limit_field))
            .send()
            .await;
        let mut response = sent.map_err(|error| self.transport("ask", error))?;
        if response.status().is_redirection() {
            return Err(self.redirect(&response));
        }
        if !response.status().is_success() {
            return Err(self.status(&mut response).await);
        }
        let bytes = self.read(&mut response).await?;
        self.check_content_type(&response, &bytes)?;
        let answer = parse_completion(bytes, &self.endpoint(), self.secret())?;
        self.check_key_is_absent(&answer)?;
        Ok(answer)
    }

    /// Reads the body piece by piece, so that a server cannot make us hold more than we are willing to.
    async fn read(&self, response: &mut Response) -> Result<Vec<u8>, LlmError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.transport("read the answer of", error))?
        {
            if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(LlmError::TooLarge { from: self.endpoint() });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    async fn status(&self, response: &mut Response) -> LlmError {
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let mut bytes = Vec::new();
        // An error is reported even if its explanation cannot be read to the end.
        let _ = timeout(ERROR_BODY_TIMEOUT, async {
            while bytes.len() < MAX_ERROR_BYTES
                && let Ok(Some(chunk)) = response.chunk().await
            {
                bytes.extend_from_slice(&chunk[..chunk.len().min(MAX_ERROR_BYTES - bytes.len())]);
            }
        })
        .await;
        let said: Option<Value> = serde_json::from_slice(&bytes).ok();
        let error = said.as_ref().and_then(|said| said.get("error"));
        let message = match error.and_then(message_of) {
            Some(message) => Excerpt::of_start(message, self.secret()),
            None => Excerpt::of_start(&String::from_utf8_lossy(&bytes), self.secret()),
        };
        let quota = error.is_some_and(is_quota);
        LlmError::Status {
            endpoint: self.endpoint(),
            status,
            message,
            retry_after,
            quota,
        }
    }

    fn redirect(&self, response: &Response) -> LlmError {
        let location = header(response.headers(), LOCATION).unwrap_or_default();
        LlmError::Redirect {
            endpoint: self.endpoint(),
            location: Excerpt::of_start(&location, self.secret()),
        }
    }

    /// A proxy's login page also has status 200. A server that names no type at all is believed to mean JSON.
    fn check_content_type(&self, response: &Response, bytes: &[u8]) -> Result<(), LlmError> {
        let Some(content_type) = header(response.headers(), CONTENT_TYPE) else {
            return Ok(());
        };
        let essence = content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
            return Ok(());
        }
        Err(LlmError::ContentType {
            endpoint: self.endpoint(),
            content_type: Excerpt::of_start(&content_type, self.secret()),
            start: Excerpt::of_start(&String::from_utf8_lossy(bytes), self.secret()),
        })
    }

    /// Answers are recorded and shown. One that repeats the key, by accident or not, must go no further.
    fn check_key_is_absent(&self, answer: &Answer) -> Result<(), LlmError> {
        let Some(secret) = self.secret().filter(|secret| secret.len() >= MIN_SECRET_BYTES) else {
            return Ok(());
        };
        let mut windows = answer.raw.windows(secret.len());
        let model = answer.model.as_deref().unwrap_or_default();
        if answer.text.contains(secret) || model.contains(secret) || windows.any(|window| window == secret.as_bytes()) {
            return Err(LlmError::KeyRepeated {
                endpoint: self.endpoint(),
            });
        }
        Ok(())
    }

    fn transport(&self, action: &'static str, error: reqwest::Error) -> LlmError {
        // The address is in our own text.
        let (endpoint, source) = (self.endpoint(), error.without_url());
        if is_tls(&source) {
            return LlmError::Tls { endpoint, source };
        }
        LlmError::Transport {
            action,
            endpoint,
            source,
        }
    }

    fn secret(&self) -> Option<&str> {
        self.settings.api_key.as_ref().map(|key| key.expose_secret())
    }
}

/// Builds a client; the only place that does, and so the place that chooses the cryptography for all of them.
fn client(endpoint: &Url, connect_timeout: Duration) -> Result<Client, LlmError> {
    // It fails when another thread was faster; the choice is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder()
        .user_agent(concat!("factory/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(0)
        .connect_timeout(connect_timeout);
    let builder = if is_this_host(endpoint) {
        builder.no_proxy()
    } else {
        builder
    };
    builder.build().map_err(|source| LlmError::Client { source })
}

fn is_this_host(endpoint: &Url) -> bool {
    let host = endpoint.host_str().unwrap_or_default();
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn endpoint(base_url: &str) -> Result<Url, LlmError> {
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
    let path = format!("{}/chat/completions", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

/// The header that carries the key, marked so that nobody prints it.
fn bearer(settings: &ChatSettings) -> Result<Option<HeaderValue>, LlmError> {
    let Some(key) = &settings.api_key else { return Ok(None) };
    if key.expose_secret().trim().is_empty() {
        return Err(LlmError::Key);
    }
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose_secret())).map_err(|_| LlmError::Key)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn body(request: &Request, output_limit_field: OutputLimitField) -> Value {
    let system = Some(json!({ "role": "system", "content": request.system })).filter(|_| !request.system.is_empty());
    let user = json!({ "role": "user", "content": request.user });
    let mut body = json!({ "messages": system.into_iter().chain([user]).collect::<Vec<_>>(), "stream": false });
    if let Some(model) = &request.model {
        body["model"] = json!(model);
    }
    if let Some(max) = request.max_output_tokens {
        body[output_limit_field.as_str()] = json!(max);
    }
    body
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    Some(String::from_utf8_lossy(headers.get(name)?.as_bytes()).into_owned())
}

/// The wait that the server asks for. A date is read by the server's own clock if it shows one.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let now = header(headers, DATE).and_then(|date| parse_http_date(&date));
    parse_retry_after(&header(headers, RETRY_AFTER)?, now.unwrap_or_else(SystemTime::now))
}

/// Whether TLS is what failed to connect. Trying again does not help against an untrusted certificate.
fn is_tls(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        // An I/O error hides what it wraps: its `source` is the source of that.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
        if error.is::<rustls::Error>() || wrapped.is_some_and(|wrapped| wrapped.is::<rustls::Error>()) {
            return true;
        }
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    false
}

/// What an `error` says for people. Most servers send an object, some a text.
fn message_of(error: &Value) -> Option<&str> {
    error.get("message").unwrap_or(error).as_str()
}

/// Whether an `error` is about money rather than speed. Source: OpenAI's guide to error codes, "429 - You exceeded your
/// current quota".
fn is_quota(error: &Value) -> bool {
    ["code", "type"]
        .iter()
        .filter_map(|field| error.get(field)?.as_str())
        .any(|word| matches!(word, "insufficient_quota" | "billing_hard_limit_reached"))
}

/// Takes the answer out of a response. Source: OpenAI's API reference, "The chat completion object".
fn parse_completion(raw: Vec<u8>, endpoint: &str, secret: Option<&str>) -> Result<Answer, LlmError> {
    let endpoint = || endpoint.to_owned();
    let response: Value = serde_json::from_slice(&raw).map_err(|source| LlmError::NotJson {
        endpoint: endpoint(),
        source,
    })?;
    // Routers in front of several providers hand their errors on in a response with status 200.
    if let Some(error) = response.get("error").filter(|error| !error.is_null()) {
        let message = Excerpt::of_start(message_of(error).unwrap_or("an error without a message"), secret);
        let status = error
            .get("code")
            .and_then(Value::as_u64)
            .and_then(|code| u16::try_from(code).ok());
        return Err(match status.filter(|status| (400..600).contains(status)) {
            Some(status) => LlmError::Status {
                endpoint: endpoint(),
                status,
                message,
                retry_after: None,
                quota: is_quota(error),
            },
            None => LlmError::Shape {
                endpoint: endpoint(),
                what: message,
            },
        });
    }
    let Some(choice) = response.pointer("/choices/0").filter(|choice| choice.is_object()) else {
        return Err(LlmError::Shape {
            endpoint: endpoint(),
            what: Excerpt::of_start("it has no choices", None),
        });
    };
    let refusal = choice
        .pointer("/message/refusal")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let content = content(choice.pointer("/message/content").unwrap_or(&Value::Null));
    let usage = usage(&response);
    let finish = match choice.get("finish_reason").and_then(Value::as_str) {
        Some("length" | "max_tokens") => Finish::Truncated,
        Some("content_filter") => Finish::Refused,
        _ if !refusal.is_empty() => Finish::Refused,
        _ => Finish::Complete,
    };
    let text = if content.is_empty() {
        refusal.to_owned()
    } else {
        content
    };
    if finish == Finish::Complete && text.trim().is_empty() {
        return Err(LlmError::Empty {
            from: endpoint(),
            usage,
        });
    }
    let model = response.get("model").and_then(Value::as_str).map(str::to_owned);
    Ok(Answer {
        text,
        model,
        usage,
        finish,
        raw,
    })
}

/// The text of a message: a string, or the texts of a list of parts.
fn content(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter(|part| part.get("type").is_none_or(|kind| kind == "text"))
            .filter_map(|part| part.get("text")?.as_str())
            .collect(),
        _ => String::new(),
    }
}

/// The cost, wherever this server puts it; `None` unless both totals are there.
fn usage(response: &Value) -> Option<Usage> {
    let usage = response.get("usage")?;
    let count = |places: &[&str]| places.iter().find_map(|place| usage.pointer(place)?.as_u64());
    Some(Usage {
        input_tokens: count(&["/prompt_tokens", "/input_tokens"])?,
        output_tokens: count(&["/completion_tokens", "/output_tokens"])?,
        cached_input_tokens: count(&[
            "/prompt_tokens_details/cached_tokens",
            "/input_tokens_details/cached_tokens",
            "/prompt_cache_hit_tokens",
        ])
        .unwrap_or(0),
        reasoning_tokens: count(&[
            "/completion_tokens_details/reasoning_tokens",
            "/output_tokens_details/reasoning_tokens",
            "/reasoning_tokens",
        ])
        .unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{FailureClass, Problem as _};

    fn parse(response: Value) -> Result<Answer, LlmError> {
        parse_completion(
            response.to_string().into_bytes(),
            "http://server/v1",
            Some("planted-key"),
        )
    }

    fn message(message: Value, finish_reason: Value) -> Value {
        json!({ "choices": [{ "message": message, "finish_reason": finish_reason }] })
    }

    #[test]
    fn the_text_is_found_as_a_string_or_in_parts() {
        let parts = json!([{ "type": "text", "text": "a" }, 5, null, { "type": "image" }, { "text": "b" }, { "type": "refusal", "text": "c" }]);
        for (content, text) in [(json!(" a \n"), " a \n"), (parts, "ab")] {
            let answer = parse(message(json!({ "content": content }), json!("stop"))).unwrap();
            assert_eq!((answer.text.as_str(), answer.finish), (text, Finish::Complete));
        }
    }

    #[test]
    fn how_the_answer_ended_is_told() {
        for (content, refusal, reason, finish, text) in [
            (json!("a"), json!(null), json!("stop"), Finish::Complete, "a"),
            (json!("a"), json!(null), json!(null), Finish::Complete, "a"),
            (json!("a"), json!(null), json!("length"), Finish::Truncated, "a"),
            (json!(null), json!(null), json!("length"), Finish::Truncated, ""),
            (json!(""), json!(null), json!("content_filter"), Finish::Refused, ""),
            (json!(null), json!("no"), json!("stop"), Finish::Refused, "no"),
        ] {
            let answer = parse(message(json!({ "content": content, "refusal": refusal }), reason)).unwrap();
            assert_eq!((answer.finish, answer.text.as_str()), (finish, text));
        }
    }

    #[test]
    fn an_empty_answer_is_the_models_failure_and_still_has_its_price() {
        let mut response = message(json!({ "content": " \n" }), json!("stop"));
        response["usage"] = json!({ "prompt_tokens": 3, "completion_tokens": 2 });
        let error = parse(response).unwrap_err();
        assert_eq!(error.class(), FailureClass::Proposal);
        assert_eq!(error.usage().map(|usage| usage.output_tokens), Some(2));
    }

    #[test]
    fn usage_is_found_in_each_of_its_places() {
        let expected = Usage {
            input_tokens: 7,
            output_tokens: 5,
            cached_input_tokens: 3,
            reasoning_tokens: 2,
        };
        for usage in [
            json!({ "prompt_tokens": 7, "completion_tokens": 5, "prompt_tokens_details": { "cached_tokens": 3 },
                "completion_tokens_details": { "reasoning_tokens": 2 } }),
            json!({ "input_tokens": 7, "output_tokens": 5, "input_tokens_details": { "cached_tokens": 3 },
                "output_tokens_details": { "reasoning_tokens": 2 } }),
            json!({ "prompt_tokens": 7, "completion_tokens": 5, "prompt_cache_hit_tokens": 3, "reasoning_tokens": 2 }),
        ] {
            let mut response = message(json!({ "content": "a" }), json!("stop"));
            response["usage"] = usage;
            response["model"] = json!("m-1");
            let answer = parse(response).unwrap();
            assert_eq!((answer.usage, answer.model.as_deref()), (Some(expected), Some("m-1")));
        }
        for usage in [
            json!(null),
            json!({}),
            json!({ "prompt_tokens": -1, "completion_tokens": 5 }),
            json!("7"),
        ] {
            let mut response = message(json!({ "content": "a" }), json!("stop"));
            response["usage"] = usage;
            assert_eq!(parse(response).unwrap().usage, None);
        }
    }

    #[test]
    fn what_is_no_completion_is_the_servers_failure() {
        for response in [
            json!(null),
            json!([]),
            json!({}),
            json!({ "choices": [] }),
            json!({ "choices": [5] }),
            json!({ "error": "broken planted-key" }),
            json!({ "error": { "message": "broken", "code": "x" } }),
        ] {
            let error = parse(response.clone()).unwrap_err();
            assert!(matches!(error, LlmError::Shape { .. }), "{response}");
            assert_eq!(error.class(), FailureClass::ProviderPermanent);
            assert!(!format!("{error} {error:?}").contains("planted-key"));
        }
        let error = parse(json!({ "error": { "message": "slow down", "code": 429 } })).unwrap_err();
        assert_eq!(error.class(), FailureClass::ProviderTransient);
        let deep = "[".repeat(100_000).into_bytes();
        assert!(matches!(
            parse_completion(deep, "e", None),
            Err(LlmError::NotJson { .. })
        ));
    }

    #[test]
    fn requests_carry_what_was_asked_and_nothing_else() {
        let request = Request {
            system: String::new(),
            user: "u".into(),
            model: None,
            max_output_tokens: None,
            key: "secret".into(),
        };
        assert_eq!(
            body(&request, OutputLimitField::MaxTokens),
            json!({ "messages": [{ "role": "user", "content": "u" }], "stream": false })
        );
        let request = Request {
            system: "s".into(),
            model: Some("m".into()),
            max_output_tokens: Some(9),
            ..request
        };
        assert_eq!(
            body(&request, OutputLimitField::MaxCompletionTokens),
            json!({ "messages": [{ "role": "system", "content": "s" }, { "role": "user", "content": "u" }], "stream": false,
                "model": "m", "max_completion_tokens": 9 })
        );
        assert_eq!(body(&request, OutputLimitField::MaxTokens)["max_tokens"], 9);
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
            assert_eq!(endpoint(base).unwrap().as_str(), full);
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
            let error = endpoint(base).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
            assert_eq!(error.class(), FailureClass::ProviderPermanent);
        }
    }

    #[test]
    fn a_key_that_no_header_can_carry_is_refused_without_showing_it() {
        for key in ["", " ", "planted-key\nX-Injected: 1", "planted-key\0"] {
            let settings = ChatSettings {
                api_key: Some(key.to_owned().into()),
                ..ChatSettings::new("http://localhost/v1")
            };
            let error = Chat::new(settings).unwrap_err();
            assert!(matches!(error, LlmError::Key));
            assert!(!format!("{error} {error:?}").contains("planted"));
        }
    }

    #[test]
    fn this_host_is_known_by_its_names() {
        for (base, expected) in [
            ("http://localhost:1/v1", true),
            ("http://127.0.0.1/v1", true),
            ("http://[::1]/v1", true),
            ("http://127.0.0.1.example.com/v1", false),
            ("https://api.example.com/v1", false),
        ] {
            assert_eq!(is_this_host(&Url::parse(base).unwrap()), expected, "{base}");
        }
    }
}
