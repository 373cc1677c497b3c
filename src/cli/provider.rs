//! Which provider is asked, and how: the same flags for every command that asks one.

use super::{problem, run, words};
use crate::config::{Environment, KeyError, ProviderSpec, read_key_fd, read_key_file};
use crate::llm::{
    self, DEFAULT_TOTAL_TIMEOUT, Dialect, LlmError, OPTIONS, OptionError, Provider, ServerSettings, Timeouts,
};
use crate::run::{Failure, Situation};
use crate::types::escape_control;
use secrecy::SecretString;
use std::path::PathBuf;

/// Which provider is asked, and how.
#[derive(Debug, clap::Args)]
#[group(id = "provider-arguments")]
pub(super) struct Arguments {
    /// Who is asked: replay:DIR, command:PROGRAM ARGUMENTS, openai, responses or anthropic, each of these with :BASE_URL or
    /// without, or record:DIR:PROVIDER [env: FACTORY_PROVIDER].
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

/// The options that say how long to wait.
const WAITS: [&str; 4] = [
    "connect-timeout",
    "first-byte-timeout",
    "silence-timeout",
    "total-timeout",
];

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

    /// The model that is asked.
    pub(super) fn model(&self, environment: &Environment) -> Option<String> {
        environment.model(self.model.clone())
    }
}

/// Makes the provider that the command line and the environment name. Nothing is sent yet.
pub(super) fn provider(arguments: &Arguments, environment: &Environment) -> Result<Provider, Failure> {
    let spec = environment
        .provider(arguments.provider.as_deref())
        .map_err(|error| Failure::new(&error, Situation::Usage))?;
    make(&spec, arguments, environment)
}

fn make(spec: &ProviderSpec, arguments: &Arguments, environment: &Environment) -> Result<Provider, Failure> {
    let made = match spec {
        ProviderSpec::Replay(directory) => Provider::replay(directory),
        ProviderSpec::Command(argv) => {
            let program = run::own_program()?;
            let command = llm::Command::new(argv, DEFAULT_TOTAL_TIMEOUT);
            command.map(|command| Provider::Command(command.watched_by(&program)))
        }
        ProviderSpec::Server { dialect, base_url } => {
            Provider::server(settings(*dialect, base_url, arguments, environment)?)
        }
        ProviderSpec::Record { dir, of } => Provider::record(dir, make(of, arguments, environment)?),
    };
    made.map_err(|error| failure(&error))
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

fn settings(
    dialect: Dialect,
    base_url: &str,
    arguments: &Arguments,
    environment: &Environment,
) -> Result<ServerSettings, Failure> {
    if arguments.model(environment).is_none() {
        return Err(problem::usage("the provider needs to know which model to ask")
            .with_hint("give --model NAME, or set FACTORY_MODEL"));
    }
    let mut settings = ServerSettings {
        api_key: api_key(dialect, arguments, environment)?,
        headers: arguments
            .provider_header
            .iter()
            .map(|header| split_header(header))
            .collect::<Result<_, _>>()?,
        proxies: environment.proxies().clone(),
        ca_files: environment
            .ca_file()
            .map(PathBuf::from)
            .into_iter()
            .chain(arguments.ca_file.clone())
            .collect(),
        ..ServerSettings::new(dialect, base_url)
    };
    for option in &arguments.provider_option {
        set(&mut settings, option)?;
    }
    Ok(settings)
}

/// The key: a flag wins over a variable.
fn api_key(
    dialect: Dialect,
    arguments: &Arguments,
    environment: &Environment,
) -> Result<Option<SecretString>, Failure> {
    let read = match (&arguments.api_key_file, arguments.api_key_fd) {
        (Some(file), _) => read_key_file(file),
        (None, Some(fd)) => read_key_fd(fd),
        (None, None) => return Ok(environment.api_key(dialect).cloned()),
    };
    let refused = |error: KeyError| Failure::new(&error, Situation::Document);
    read.map(Some).map_err(refused)
}

fn split_header(header: &str) -> Result<(String, String), Failure> {
    let (name, value) = header.split_once(':').ok_or_else(|| {
        problem::usage("a further header has no colon").with_hint("give --provider-header 'NAME: VALUE'")
    })?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// Sets one option.
fn set(settings: &mut ServerSettings, option: &str) -> Result<(), Failure> {
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    if WAITS.contains(&name) {
        return set_wait(&mut settings.timeouts, name, value);
    }
    let dialect = settings.dialect;
    settings.capabilities.set(dialect, name, value).map_err(|error| {
        let names = OPTIONS.iter().map(|(name, _)| *name).chain(WAITS);
        let failure = problem::usage(escape_control(&error.to_string()));
        match error {
            OptionError::Unknown { .. } => {
                failure.with_hint(format!("the options are {}", names.collect::<Vec<_>>().join(", ")))
            }
            OptionError::Value { .. } => failure.with_hint("give --provider-option NAME=VALUE"),
        }
    })
}

fn set_wait(timeouts: &mut Timeouts, name: &str, value: &str) -> Result<(), Failure> {
    let wait = words::positive_duration(value);
    let wait = wait.map_err(|why| problem::usage(format!("the provider option `{name}` cannot be set: {why}")))?;
    match name {
        "connect-timeout" => timeouts.connect = wait,
        "first-byte-timeout" => timeouts.first_byte = wait,
        "silence-timeout" => timeouts.silence = wait,
        _ => timeouts.total = wait,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::Delivery;
    use crate::types::FailureClass;
    use std::time::Duration;

    #[test]
    fn an_option_is_a_capability_or_a_wait() {
        let mut settings = ServerSettings::new(Dialect::Chat, "http://localhost");
        for option in ["delivery=whole", "silence-timeout=5s", "total-timeout=1h"] {
            set(&mut settings, option).unwrap();
        }
        assert_eq!(settings.capabilities.delivery, Delivery::Whole);
        assert_eq!(settings.timeouts.silence, Duration::from_secs(5));
        assert_eq!(settings.timeouts.total, Duration::from_secs(3600));
        for option in [
            "",
            "brand=x",
            "delivery",
            "delivery=pigeon",
            "silence-timeout=0s",
            "connect-timeout=soon",
        ] {
            let failure = set(&mut settings, option).unwrap_err();
            assert_eq!(
                (failure.class, failure.situation),
                (FailureClass::Order, Situation::Usage),
                "{option}"
            );
        }
    }
}
