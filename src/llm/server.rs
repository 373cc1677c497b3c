//! A server that answers over HTTP, in one of the dialects.

use super::exchange::{Exchange, Form, Reply};
use super::reading::{Progress, Reading, Reported, Unusable};
use super::settings::ServerSettings;
use super::sse::{Event, Events, Malformed};
use super::{Answer, Delivery, Dialect, Finish, LlmError, MAX_ANSWER_BYTES, Request, Wait};
use super::{chat, messages, responses};
use crate::types::{FailureClass, Problem as _};
use serde_json::Value;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The most bytes of a stream. A piece of a few characters takes a few hundred bytes, so it is larger than an answer.
const MAX_STREAM_BYTES: usize = 128 << 20;

/// How long the price of an answer may come after the answer.
const LATE: Duration = Duration::from_secs(5);

/// How long to wait before a response in the making is asked for again: this at first, then twice as long each time.
const FIRST_POLL: Duration = Duration::from_millis(500);

/// The longest wait between two polls.
const LONGEST_POLL: Duration = Duration::from_secs(5);

/// How many polls in a row may fail in passing. The answer is being paid for, so it is not given up easily.
const MAX_FAILED_POLLS: u32 = 5;

/// How long it may take to call off a response that nobody waits for any more.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// A server that answers over HTTP.
#[derive(Debug)]
pub struct Server {
    exchange: Exchange,
    settings: ServerSettings,
    /// The id of a response that is made in the background and waited for.
    started: OnceLock<String>,
}

impl Server {
    /// Checks the settings; nothing is sent yet.
    ///
    /// # Errors
    /// `ProviderPermanent` when the address, the key or a header cannot be used; `Host` when TLS or the proxy cannot be set
    /// up.
    pub fn new(settings: ServerSettings) -> Result<Self, LlmError> {
        let exchange = Exchange::new(&settings)?;
        Ok(Server {
            exchange,
            settings,
            started: OnceLock::new(),
        })
    }

    /// The address that requests go to.
    pub(super) fn endpoint(&self) -> String {
        self.exchange.url(path(self.settings.dialect)).to_string()
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.settings.dialect
    }

    pub(super) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    pub(super) fn settings(&self) -> &ServerSettings {
        &self.settings
    }

    /// The limit on the answer that this server is told.
    pub(super) fn most_output(&self, request: &Request) -> Option<u32> {
        let capabilities = &self.settings.capabilities;
        let is_told = capabilities.output_limit_field.as_str().is_some();
        capabilities.output_limit(request.max_output_tokens).filter(|_| is_told)
    }

    /// What of the settings changes answers, where it is not as usual.
    pub(super) fn peculiarities(&self) -> Vec<String> {
        let capabilities = &self.settings.capabilities;
        let usual = self.settings.dialect.capabilities();
        let told = [
            (
                capabilities.reasoning != usual.reasoning,
                format!("reasoning {:?}", capabilities.reasoning),
            ),
            (
                capabilities.structured_output != usual.structured_output,
                format!("output {:?}", capabilities.structured_output),
            ),
            (
                capabilities.system != usual.system,
                format!("instructions {:?}", capabilities.system),
            ),
            (
                capabilities.most_output_tokens != usual.most_output_tokens,
                format!("tokens {:?}", capabilities.most_output_tokens),
            ),
        ];
        told.into_iter()
            .filter_map(|(differs, what)| differs.then_some(what))
            .collect()
    }

    pub(super) async fn ask(&mut self, request: &Request) -> Result<Answer, LlmError> {
        self.started = OnceLock::new();
        let deadline = self.settings.timeouts.total;
        match timeout(deadline, self.answer(request)).await {
            Ok(result) => {
                self.started = OnceLock::new();
                result
            }
            Err(_) => {
                self.call_off().await;
                Err(self.exchange.timed_out(&self.endpoint(), deadline, Wait::Total))
            }
        }
    }

    /// Calls off a response that is made in the background and that nobody waits for any more.
    pub(super) async fn call_off(&mut self) {
        if let Some(id) = self.started.take() {
            self.cancel(&id).await;
        }
    }

    /// Sends the request and reads the answer.
    async fn answer(&self, request: &Request) -> Result<Answer, LlmError> {
        let ServerSettings {
            dialect, capabilities, ..
        } = &self.settings;
        let form = match capabilities.delivery {
            Delivery::Stream => Form::Stream,
            Delivery::Whole | Delivery::Background => Form::Document,
        };
        let body = body(*dialect, request, &self.settings);
        let mut reply = self.exchange.post(path(*dialect), &body, form).await?;
        // A server that does not stream when asked to answers in one piece.
        let (raw, response) = match reply.form {
            Form::Stream => self.stream(&mut reply).await?,
            Form::Document => self.document(&mut reply).await?,
        };
        if capabilities.delivery == Delivery::Background {
            let (raw, response) = self.wait_for((raw, response)).await?;
            return self.judge(raw, &response);
        }
        self.judge(raw, &response)
    }

    async fn document(&self, reply: &mut Reply) -> Result<(Vec<u8>, Value), LlmError> {
        let raw = self.exchange.document(reply).await?;
        let response = serde_json::from_slice(&raw).map_err(|error| LlmError::NotJson {
            endpoint: reply.endpoint.clone(),
            reason: error.to_string(),
        })?;
        Ok((raw, response))
    }

    /// Puts a response together from its pieces. What is kept of it is the response, not its hundreds of pieces.
    async fn stream(&self, reply: &mut Reply) -> Result<(Vec<u8>, Value), LlmError> {
        let mut assembly = Assembly::new(self.settings.dialect);
        let mut events = Events::new(MAX_ANSWER_BYTES);
        let mut progress = Progress::Going;
        let mut read = 0;
        while progress != Progress::Done {
            let patience = match progress {
                Progress::Answered => LATE.min(self.settings.timeouts.silence),
                Progress::Going | Progress::Done => self.settings.timeouts.silence,
            };
            let piece = match self.exchange.piece(reply, patience).await {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                // The answer is whole; only its price is not known.
                Err(_) if progress == Progress::Answered => break,
                Err(error) => return Err(error),
            };
            read += piece.len();
            if read > MAX_STREAM_BYTES {
                let from = reply.endpoint.clone();
                return Err(LlmError::TooLarge { from });
            }
            for event in events
                .push(&piece)
                .map_err(|malformed| malformed.named(&reply.endpoint))?
            {
                progress = assembly.take(&event).map_err(|unusable| self.unusable(unusable))?;
                if progress == Progress::Done {
                    break;
                }
            }
        }
        let response = assembly.response();
        if progress == Progress::Going {
            let from = reply.endpoint.clone();
            return Err(LlmError::Cut { from });
        }
        Ok((response.to_string().into_bytes(), response))
    }

    /// Asks for a response until it is there.
    async fn wait_for(&self, (mut raw, mut response): (Vec<u8>, Value)) -> Result<(Vec<u8>, Value), LlmError> {
        let mut pause = FIRST_POLL;
        let mut failed = 0;
        while responses::is_unfinished(&response) {
            let id =
                responses::id_of(&response).ok_or_else(|| self.unusable(Unusable::Shape("it has no usable id")))?;
            let path = format!("{}/{}", responses::PATH, self.started.get_or_init(|| id.to_owned()));
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_POLL);
            match self.poll(&path).await {
                Ok(polled) => {
                    (raw, response) = polled;
                    failed = 0;
                }
                Err(error) if error.class() == FailureClass::ProviderTransient && failed + 1 < MAX_FAILED_POLLS => {
                    failed += 1;
                    pause = pause.max(error.retry_after().unwrap_or_default());
                }
                Err(error) => {
                    return Err(LlmError::Fetch {
                        endpoint: self.endpoint(),
                        source: Box::new(error),
                    });
                }
            }
        }
        Ok((raw, response))
    }

    async fn poll(&self, path: &str) -> Result<(Vec<u8>, Value), LlmError> {
        let mut reply = self.exchange.get(path).await?;
        self.document(&mut reply).await
    }

    /// Calls off a response in the making. It fails when the response is there by now, which is no matter.
    async fn cancel(&self, id: &str) {
        let path = format!("{}/{id}/cancel", responses::PATH);
        let _ = timeout(
            CANCEL_TIMEOUT,
            self.exchange
                .post(&path, &Value::Object(serde_json::Map::new()), Form::Document),
        )
        .await;
    }

    /// The answer that a response is, if it is one.
    fn judge(&self, raw: Vec<u8>, response: &Value) -> Result<Answer, LlmError> {
        let read = match self.settings.dialect {
            Dialect::Chat => chat::read(response),
            Dialect::Responses => responses::read(response),
            Dialect::Messages => messages::read(response),
        };
        let Reading {
            text,
            finish,
            model,
            usage,
        } = read.map_err(|unusable| self.unusable(unusable))?;
        if text.len() > MAX_ANSWER_BYTES {
            let from = self.endpoint();
            return Err(LlmError::TooLarge { from });
        }
        if finish == Finish::Complete && text.trim().is_empty() {
            let from = self.endpoint();
            return Err(LlmError::Empty { from, usage });
        }
        let answer = Answer {
            text,
            raw,
            model,
            usage,
            finish,
        };
        self.check_key_is_absent(&answer)?;
        Ok(answer)
    }

    /// Answers are recorded and shown. One that repeats the key, by accident or not, must go no further.
    fn check_key_is_absent(&self, answer: &Answer) -> Result<(), LlmError> {
        let secrets = self.exchange.secrets();
        let model = answer.model.as_deref().unwrap_or_default();
        let parts = [answer.text.as_bytes(), &answer.raw, model.as_bytes()];
        match parts.iter().any(|part| secrets.occur_in(part)) {
            true => Err(LlmError::KeyRepeated {
                endpoint: self.endpoint(),
            }),
            false => Ok(()),
        }
    }

    fn unusable(&self, unusable: Unusable) -> LlmError {
        let endpoint = self.endpoint();
        match unusable {
            Unusable::Shape(what) => LlmError::Shape {
                endpoint,
                what: self.exchange.excerpt(what),
            },
            Unusable::NotJson(reason) => LlmError::NotJson { endpoint, reason },
            Unusable::Reported(Reported {
                message,
                status: Some(status),
                quota,
            }) => LlmError::Reported {
                endpoint,
                status,
                message: self.exchange.excerpt(&message),
                quota,
            },
            Unusable::Reported(Reported { message, .. }) => LlmError::Shape {
                endpoint,
                what: self.exchange.excerpt(match message.as_str() {
                    "" => "an error without a message",
                    message => message,
                }),
            },
        }
    }
}

impl Malformed {
    fn named(self, endpoint: &str) -> LlmError {
        let from = endpoint.to_owned();
        match self {
            Malformed::TooLarge => LlmError::TooLarge { from },
            Malformed::NotText => LlmError::NotText { from },
        }
    }
}

fn path(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Chat => chat::PATH,
        Dialect::Responses => responses::PATH,
        Dialect::Messages => messages::PATH,
    }
}

fn body(dialect: Dialect, request: &Request, settings: &ServerSettings) -> Value {
    match dialect {
        Dialect::Chat => chat::body(request, &settings.capabilities),
        Dialect::Responses => responses::body(request, &settings.capabilities),
        Dialect::Messages => messages::body(request, &settings.capabilities),
    }
}

/// A response in the making, in one of the dialects.
enum Assembly {
    Chat(chat::Assembly),
    Responses(responses::Assembly),
    Messages(messages::Assembly),
}

impl Assembly {
    fn new(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Chat => Assembly::Chat(chat::Assembly::default()),
            Dialect::Responses => Assembly::Responses(responses::Assembly::default()),
            Dialect::Messages => Assembly::Messages(messages::Assembly::default()),
        }
    }

    fn take(&mut self, event: &Event) -> Result<Progress, Unusable> {
        match self {
            Assembly::Chat(assembly) => assembly.take(event),
            Assembly::Responses(assembly) => assembly.take(event),
            Assembly::Messages(assembly) => assembly.take(event),
        }
    }

    fn response(self) -> Value {
        match self {
            Assembly::Chat(assembly) => assembly.response(),
            Assembly::Responses(assembly) => assembly.response(),
            Assembly::Messages(assembly) => assembly.response(),
        }
    }
}
