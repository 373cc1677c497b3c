//! Which provider is asked, and how: the same flags for every command that asks one.

use super::{problem, run};
use crate::config::{AskError, Asked, ProviderSpec, Settings, Wanted};
use crate::llm::{self, DEFAULT_TOTAL_TIMEOUT, LlmError, Provider};
use crate::run::{Failure, Situation};
use std::path::PathBuf;

/// Which provider is asked, and how.
#[derive(Debug, clap::Args)]
#[group(id = "provider-arguments")]
pub(super) struct Arguments {
    /// Who is asked: replay:DIR, command:PROGRAM ARGUMENTS, openai, responses or anthropic, each of these with :BASE_URL or
    /// without, record:DIR:PROVIDER, or the name of a table of providers in the settings file [env: FACTORY_PROVIDER].
    #[arg(long, value_name = "PROVIDER")]
    pub(super) provider: Option<String>,
    /// The model that is asked [env: FACTORY_MODEL].
    #[arg(long, value_name = "NAME")]
    pub(super) model: Option<String>,
    /// A file with the API key, which only you may read [env: FACTORY_API_KEY, OPENAI_API_KEY, ANTHROPIC_API_KEY].
    #[arg(long, value_name = "FILE", conflicts_with = "api_key_fd")]
    api_key_file: Option<PathBuf>,
    /// A descriptor from which the API key is read.
    #[arg(long, value_name = "N")]
    api_key_fd: Option<u32>,
    /// A file with certificates, in PEM, that are trusted besides those of the host [env: SSL_CERT_FILE].
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// A further header of every request to the provider. Can be repeated; keys have flags of their own.
    #[arg(long, value_name = "NAME: VALUE")]
    provider_header: Vec<String>,
    /// What the provider's server can do where it differs from others of its kind, or how long it may take; docs/providers.md
    /// has the list. Can be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    provider_option: Vec<String>,
}

impl Arguments {
    /// Whether something is said about a provider without naming one.
    pub(super) fn is_headless(&self) -> bool {
        let more = self.model.is_some()
            || self.api_key_file.is_some()
            || self.api_key_fd.is_some()
            || self.ca_file.is_some()
            || !self.provider_header.is_empty()
            || !self.provider_option.is_empty();
        self.provider.is_none() && more
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            provider: self.provider.as_deref(),
            model: self.model.as_deref(),
            api_key_file: self.api_key_file.as_deref(),
            api_key_fd: self.api_key_fd,
            ca_file: self.ca_file.as_deref(),
            headers: &self.provider_header,
            options: &self.provider_option,
        }
    }

    /// How the provider is asked that the command line, the environment or the settings name.
    pub(super) fn asked(&self, settings: &Settings) -> Result<Asked, Failure> {
        settings.asked(self.wanted()).map_err(|error| refused(&error))
    }
}

/// A provider, and which of its models is asked.
pub(super) struct Chosen {
    pub(super) provider: Provider,
    pub(super) model: Option<String>,
}

/// Makes the provider that is asked. Nothing is sent yet.
pub(super) fn provider(arguments: &Arguments, settings: &Settings) -> Result<Chosen, Failure> {
    let asked = arguments.asked(settings)?;
    let provider = make(&asked.spec, &asked, settings)?;
    Ok(Chosen {
        provider,
        model: asked.model.map(|set| set.value),
    })
}

fn make(spec: &ProviderSpec, asked: &Asked, settings: &Settings) -> Result<Provider, Failure> {
    let made = match spec {
        ProviderSpec::Replay(directory) => Provider::replay(directory),
        ProviderSpec::Command(argv) => {
            let program = run::own_program()?;
            let command = llm::Command::new(argv, DEFAULT_TOTAL_TIMEOUT);
            // It has the environment of this process, and with it the keys that are there.
            command.map(|command| Provider::Command(command.watched_by(&program).hiding(settings.known_secrets())))
        }
        ProviderSpec::Server { dialect, base_url } => {
            if asked.model.is_none() {
                return Err(problem::usage("the provider needs to know which model to ask")
                    .with_hint("give --model NAME, or set FACTORY_MODEL, or `model` in the settings file"));
            }
            let server = settings.server(asked, *dialect, base_url);
            Provider::server(server.map_err(|error| refused(&error))?)
        }
        ProviderSpec::Record { dir, of } => Provider::record(dir, make(of, asked, settings)?),
    };
    made.map_err(|error| failure(&error))
}

/// Why a provider cannot be asked as it is set up.
fn refused(error: &AskError) -> Failure {
    let situation = match error.is_usage() {
        true => Situation::Usage,
        false => Situation::Document,
    };
    Failure::new(error, situation)
}

/// A provider's failure in the situation that its exit code tells of.
pub(super) fn failure(error: &LlmError) -> Failure {
    let situation = if error.is_auth() {
        Situation::Auth
    } else {
        Situation::Plain
    };
    Failure::new(error, situation)
}
