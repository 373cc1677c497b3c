//! Sends one request to one provider and hands back its answer, or says precisely why there is none.
//!
//! - One call of [`Provider::ask`] sends at most one request that costs anything. Whether to ask again is the caller's
//!   decision, taken from the error's class, its [`LlmError::retry_after`] and [`backoff`].
//! - Every wait has a deadline and everything that is read has a limit ([`MAX_ANSWER_BYTES`]).
//! - What a server can do is data ([`Capabilities`]), never a question of its brand.
//! - An API key is in no `Debug` output, no error and no answer.
//! - What comes back is untrusted text. In errors it is cut short and escaped; callers parse it like anyone's input.
//!
//! Deliberately unknown here: prompts, orders, and what a good answer looks like.

mod answer;
mod capability;
mod chat;
mod command;
mod error;
mod exchange;
mod messages;
mod price;
mod probe;
mod reading;
mod record;
mod replay;
mod responses;
mod retry;
mod secrets;
mod server;
mod settings;
mod sse;
mod watch;

pub use answer::{Answer, Finish, Request, Schema, Usage, request_digest};
pub use capability::{
    Capabilities, Delivery, Dialect, OPTIONS, OptionError, OutputLimitField, ReasoningField, StructuredOutput,
    SystemPlace,
};
pub use command::Command;
pub use error::{Excerpt, LlmError, Wait};
pub use price::{Price, PriceError, PriceTable};
pub use probe::{Found, Probe, ProbeStage, probe};
pub use record::Record;
pub use replay::Replay;
pub use responses::{ResponseText, response_text};
pub use retry::{backoff, parse_retry_after};
pub use server::Server;
pub use settings::{DEFAULT_TOTAL_TIMEOUT, Proxies, ServerSettings, Timeouts};
pub use watch::watcher_door;

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// The largest answer that is read, in bytes, whoever gives it.
pub const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Something that answers prompts.
#[derive(Debug)]
pub enum Provider {
    /// Answers recorded in a directory.
    Replay(Replay),
    /// A program that reads the prompt and prints the answer.
    Command(Command),
    /// A server that answers over HTTP.
    Server(Box<Server>),
    /// Another provider whose answers are recorded.
    Record(Record),
}

impl Provider {
    /// Answers from the files of `dir`; see [`Replay`].
    ///
    /// # Errors
    /// `ProviderPermanent` when the directory cannot be read or holds no recorded answers.
    pub fn replay(dir: &Path) -> Result<Self, LlmError> {
        Replay::open(dir).map(Provider::Replay)
    }

    /// Asks the program `argv` with the default timeout; see [`Command`].
    ///
    /// # Errors
    /// `ProviderPermanent` when `argv` is empty.
    pub fn command<I: IntoIterator<Item = S>, S: Into<OsString>>(argv: I) -> Result<Self, LlmError> {
        Provider::command_within(argv, DEFAULT_TOTAL_TIMEOUT)
    }

    /// Asks the program `argv`, which may take as long as `timeout`; see [`Command`].
    ///
    /// # Errors
    /// `ProviderPermanent` when `argv` is empty.
    pub fn command_within<I: IntoIterator<Item = S>, S: Into<OsString>>(
        argv: I,
        timeout: Duration,
    ) -> Result<Self, LlmError> {
        Command::new(argv, timeout).map(Provider::Command)
    }

    /// Asks a server over HTTP; see [`Server`].
    ///
    /// # Errors
    /// `ProviderPermanent` when the address, the key or a header cannot be used; `Host` when TLS or the proxy cannot be set
    /// up.
    pub fn server(settings: ServerSettings) -> Result<Self, LlmError> {
        Server::new(settings).map(|server| Provider::Server(Box::new(server)))
    }

    /// Asks `inner` and keeps its answers in `dir`; see [`Record`].
    ///
    /// # Errors
    /// `Host` when the directory cannot be made.
    pub fn record(dir: &Path, inner: Provider) -> Result<Self, LlmError> {
        Record::new(dir, inner).map(Provider::Record)
    }

    /// Sends one request and waits for its answer. Dropping the future abandons the request and ends what it started here;
    /// [`Provider::call_off`] ends what it started elsewhere.
    ///
    /// # Errors
    /// `ProviderTransient` when the same request may be answered later, `ProviderPermanent` when it will not be, `Proposal`
    /// when the provider answered and the answer is no text, `Host` when this machine cannot ask.
    pub async fn ask(&mut self, request: &Request) -> Result<Answer, LlmError> {
        match self {
            Provider::Replay(replay) => replay.next(&request.key),
            Provider::Command(command) => command.ask(request).await,
            Provider::Server(server) => server.ask(request).await,
            Provider::Record(record) => record.ask(request).await,
        }
    }

    /// Ends what an abandoned request still costs: a response that a server makes in the background goes on without anybody
    /// waiting for it. Best effort, and soon over.
    pub async fn call_off(&mut self) {
        match self {
            Provider::Server(server) => server.call_off().await,
            Provider::Record(record) => Box::pin(record.inner_mut().call_off()).await,
            Provider::Replay(_) | Provider::Command(_) => {}
        }
    }

    /// The most tokens that an answer can have: what the request allows, where the provider can be told.
    pub fn most_output(&self, request: &Request) -> u64 {
        let limit = match self {
            Provider::Server(server) => server.most_output(request),
            Provider::Record(record) => return record.inner().most_output(request),
            Provider::Replay(_) | Provider::Command(_) => None,
        };
        limit.map_or(u64::MAX, u64::from)
    }

    /// Says that a request was answered before, from a record: answers that come in turn go on with the next one.
    pub fn pass_over(&mut self, request: &Request) {
        match self {
            Provider::Replay(replay) => replay.pass_over(&request.key),
            Provider::Record(record) => record.inner_mut().pass_over(request),
            Provider::Command(_) | Provider::Server(_) => {}
        }
    }

    /// Tells providers apart whose answers to the same request may differ; no secret is in it.
    pub fn identity(&self) -> String {
        match self {
            Provider::Command(command) => format!("{} {:?}", self.describe(), command.argv()),
            Provider::Server(server) => {
                let told = std::iter::once(self.describe()).chain(server.peculiarities());
                told.collect::<Vec<_>>().join(", ")
            }
            // Whether an answer is kept does not change it.
            Provider::Record(record) => record.inner().identity(),
            Provider::Replay(_) => self.describe(),
        }
    }

    /// The provider in a few words for people, without secrets.
    pub fn describe(&self) -> String {
        match self {
            Provider::Replay(replay) => format!("recorded answers in `{}`", replay.dir().display()),
            Provider::Command(command) => format!("the program `{}`", command.program()),
            Provider::Server(server) => format!("{} at {}", server.dialect(), server.endpoint()),
            Provider::Record(record) => {
                format!(
                    "{}, recorded in `{}`",
                    record.inner().describe(),
                    record.dir().display()
                )
            }
        }
    }
}
