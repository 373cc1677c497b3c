//! Sends one request to one provider and hands back its answer, or says precisely why there is none.
//!
//! - One call of [`Provider::ask`] sends at most one request. Whether to ask again is the caller's decision, taken from the
//!   error's class, its [`LlmError::retry_after`] and [`backoff`].
//! - Every wait has a deadline and everything that is read has a limit ([`MAX_ANSWER_BYTES`]).
//! - An API key is in no `Debug` output, no error and no answer.
//! - What comes back is untrusted text. In errors it is cut short and escaped; callers parse it like anyone's input.
//!
//! Deliberately unknown here: prompts, orders, and what a good answer looks like.

mod answer;
mod chat;
mod command;
mod error;
mod price;
mod replay;
mod retry;
mod watch;

pub use answer::{Answer, Finish, Request, Usage, request_digest};
pub use chat::{Chat, ChatSettings, OutputLimitField};
pub use command::Command;
pub use error::{Excerpt, LlmError};
pub use price::{Price, PriceError, PriceTable};
pub use replay::Replay;
pub use retry::{backoff, parse_retry_after};
pub use watch::watcher_door;

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// The largest answer that is read, in bytes, whoever gives it.
pub const MAX_ANSWER_BYTES: usize = 16 << 20;

/// How long a whole call may take unless the settings say otherwise. Reasoning models think for minutes.
pub const DEFAULT_TOTAL_TIMEOUT: Duration = Duration::from_secs(600);

/// Something that answers prompts.
#[derive(Debug)]
pub enum Provider {
    /// Answers recorded in a directory.
    Replay(Replay),
    /// A program that reads the prompt and prints the answer.
    Command(Command),
    /// A server that speaks OpenAI's Chat Completions.
    Chat(Box<Chat>),
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

    /// Asks a server over HTTP; see [`Chat`].
    ///
    /// # Errors
    /// `ProviderPermanent` when the address or the key cannot be used; `Host` when TLS cannot be set up.
    pub fn chat(settings: ChatSettings) -> Result<Self, LlmError> {
        Chat::new(settings).map(|chat| Provider::Chat(Box::new(chat)))
    }

    /// Sends one request and waits for its answer. Dropping the future abandons the request and ends what it started.
    ///
    /// # Errors
    /// `ProviderTransient` when the same request may be answered later, `ProviderPermanent` when it will not be, `Proposal`
    /// when the provider answered and the answer is no text, `Host` when this machine cannot ask.
    pub async fn ask(&mut self, request: &Request) -> Result<Answer, LlmError> {
        match self {
            Provider::Replay(replay) => replay.next(&request.key),
            Provider::Command(command) => command.ask(request).await,
            Provider::Chat(chat) => chat.ask(request).await,
        }
    }

    /// Says that a request was answered before, from a record: answers that come in turn go on with the next one.
    pub fn pass_over(&mut self, request: &Request) {
        match self {
            Provider::Replay(replay) => replay.pass_over(&request.key),
            Provider::Command(_) | Provider::Chat(_) => {}
        }
    }

    /// Tells providers apart whose answers to the same request may differ; no secret is in it.
    pub fn identity(&self) -> String {
        match self {
            Provider::Command(command) => format!("{} {:?}", self.describe(), command.argv()),
            Provider::Replay(_) | Provider::Chat(_) => self.describe(),
        }
    }

    /// The provider in a few words for people, without secrets.
    pub fn describe(&self) -> String {
        match self {
            Provider::Replay(replay) => format!("recorded answers in `{}`", replay.dir().display()),
            Provider::Command(command) => format!("the program `{}`", command.program()),
            Provider::Chat(chat) => format!("chat completions at {}", chat.endpoint()),
        }
    }
}
