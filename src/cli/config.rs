//! `factory config`: what every setting is, and who said so.
//!
//! - It asks the very functions that other commands ask, so that its answer is what they do.
//! - A secret is shown as set or not set, and by its place. Its value is shown nowhere.

use super::{bounds, exit, output, problem, provider, words};
use crate::config::{AskError, Asked, Environment, Origin, Place, Set, Settings, SpecError};
use crate::run::{Cap, Failure, Limit, Situation};
use crate::types::{FailureClass, escape_control, format_duration};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Shows the settings, and who said what they are.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Shows every setting as a command would find it that was given the same flags.
    ///
    /// A flag wins over a variable, a variable over the settings file, and that over a default. Nothing is read from a
    /// repository.
    Show(Box<Show>),
    /// Prints which settings file is read; there may be none.
    Path {
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Show who said it: a flag, a variable, a line of the settings file, or nobody.
    #[arg(long)]
    origin: bool,
    #[command(flatten)]
    provider: provider::Arguments,
    #[command(flatten)]
    bounds: bounds::Arguments,
    /// The profile under which commands run [default: verify].
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Where runs are recorded [default: $XDG_STATE_HOME/factory, or ~/.local/state/factory].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Where each run gets a directory of its own [default: runs in the state directory].
    #[arg(long, value_name = "DIR")]
    artifacts: Option<PathBuf>,
    /// A shorter wall-clock limit for each command than the profile's.
    #[arg(long, value_name = "DURATION", value_parser = words::positive_duration)]
    timeout: Option<Duration>,
    /// How long to wait for a repository that another run holds.
    #[arg(long, value_name = "DURATION", value_parser = words::positive_duration)]
    wait: Option<Duration>,
    /// Context files that are shown to the model although they look like credentials.
    #[arg(long, value_name = "PATH")]
    allow_context: Vec<String>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) fn config(arguments: &Arguments, environment: &Environment, file: Option<&Path>) -> Result<u8, Failure> {
    match &arguments.command {
        Command::Path { json } => path(environment, file, *json),
        Command::Show(arguments) => {
            let settings = Settings::read(environment.clone(), file);
            show(
                arguments,
                &settings.map_err(|error| Failure::new(&error, Situation::Document))?,
            )
        }
    }
}

fn path(environment: &Environment, file: Option<&Path>, as_json: bool) -> Result<u8, Failure> {
    let Some(Set { value: path, origin }) = Settings::file(environment, file) else {
        return Err(Failure::plain(
            FailureClass::Host,
            "there is no home directory to look for settings in: HOME is not set to an absolute path",
        )
        .with_hint("set HOME, or give --config FILE"));
    };
    let exists = path.exists();
    let path = path.to_string_lossy();
    if as_json {
        output::json(&json!({ "schema": 1, "path": path, "exists": exists, "origin": origin.to_string() }))?;
    } else {
        let absent = if exists { "" } else { " (absent)" };
        output::text(&format!("{}{absent}\n", words::line(&path)))?;
    }
    Ok(exit::code(None))
}

fn show(arguments: &Show, settings: &Settings) -> Result<u8, Failure> {
    let rows = rows(arguments, settings)?;
    if arguments.json {
        let settings: Vec<_> = rows.iter().map(Row::json).collect();
        output::json(&json!({ "schema": 1, "settings": settings }))?;
        return Ok(exit::code(None));
    }
    let widest = rows.iter().map(|row| row.key.len()).max().unwrap_or_default();
    let mut page = String::new();
    for row in &rows {
        let line = format!("{:<widest$}  {}", row.key, words::line(&row.text()));
        match (arguments.origin, &row.origin) {
            (true, Some(origin)) => page.push_str(&format!("{line}  ({})\n", words::line(&origin.to_string()))),
            _ => page.push_str(&format!("{line}\n")),
        }
    }
    output::text(&page)?;
    Ok(exit::code(None))
}

/// One setting.
struct Row {
    key: String,
    /// Null when it is not set.
    value: Value,
    /// Nobody when it is not set.
    origin: Option<Origin>,
}

impl Row {
    fn new(key: impl Into<String>, value: impl Into<Value>, origin: &Origin) -> Self {
        Row {
            key: key.into(),
            value: value.into(),
            origin: Some(origin.clone()),
        }
    }

    /// A setting that has no default.
    fn optional<T>(key: &str, set: Option<&Set<T>>, show: impl Fn(&T) -> Value) -> Self {
        Row {
            key: key.to_owned(),
            value: set.map_or(Value::Null, |set| show(&set.value)),
            origin: set.map(|set| set.origin.clone()),
        }
    }

    fn text(&self) -> String {
        match &self.value {
            Value::Null => "(not set)".to_owned(),
            Value::String(text) => escape_control(text),
            value => value.to_string(),
        }
    }

    fn json(&self) -> Value {
        let origin = match &self.origin {
            None => Value::Null,
            Some(Origin::Flag(name)) => json!({ "kind": "flag", "name": format!("--{name}") }),
            Some(Origin::Variable(name)) => json!({ "kind": "variable", "name": name }),
            Some(Origin::File { path, line }) => {
                json!({ "kind": "file", "path": path.to_string_lossy(), "line": line })
            }
            Some(Origin::Default) => json!({ "kind": "default" }),
        };
        json!({ "key": self.key, "value": self.value, "origin": origin })
    }
}

fn rows(arguments: &Show, settings: &Settings) -> Result<Vec<Row>, Failure> {
    let plain = |error| Failure::new(&error, Situation::Plain);
    let bounds = &arguments.bounds;
    let mut rows = provider_rows(arguments, settings)?;
    let state_dir = settings.state_dir(arguments.state_dir.as_deref()).map_err(plain)?;
    let artifacts = settings.artifacts(arguments.artifacts.as_deref(), &state_dir.value);
    let cache_dir = settings.cache_dir().map_err(plain)?;
    let (profile, log) = (settings.profile(arguments.profile.as_deref()), settings.log());
    let tries = [
        ("max_attempts", settings.max_attempts(bounds.max_attempts)),
        ("provider_tries", settings.provider_tries(bounds.provider_tries)),
    ];
    rows.extend(tries.iter().map(|(key, set)| Row::new(*key, set.value, &set.origin)));
    let one_shot = settings.one_shot(bounds.one_shot);
    rows.push(Row::new("one_shot", one_shot.value, &one_shot.origin));
    rows.extend(caps(&settings.caps(&bounds.budget)));
    let prices = settings.prices(bounds.prices.as_deref());
    rows.push(Row::optional("prices", prices.as_ref(), |path| shown_path(path)));
    rows.push(Row::new("profile", profile.value, &profile.origin));
    let timeout = settings.timeout(arguments.timeout);
    rows.push(Row::optional("timeout", timeout.as_ref(), |timeout| {
        format_duration(*timeout).into()
    }));
    for (key, set) in [("wait", settings.wait(arguments.wait)), ("keep", settings.keep(None))] {
        rows.push(Row::new(key, format_duration(set.value), &set.origin));
    }
    let disk_floor = settings.disk_floor(bounds.disk_floor);
    rows.push(Row::new("disk_floor", disk_floor.value.to_string(), &disk_floor.origin));
    for (key, set) in [
        ("state_dir", &state_dir),
        ("artifacts", &artifacts),
        ("cache_dir", &cache_dir),
    ] {
        rows.push(Row::new(key, shown_path(&set.value), &set.origin));
    }
    let branches = settings.protected_branches().iter();
    rows.extend(branches.map(|set| Row::new("protected_branches", set.value.clone(), &set.origin)));
    let context = settings.allow_context(&arguments.allow_context);
    rows.extend(
        context
            .iter()
            .map(|set| Row::new("allow_context", set.value.to_string(), &set.origin)),
    );
    rows.push(Row::new("log", log.value, &log.origin));
    Ok(rows)
}

fn caps(caps: &[Set<Cap>]) -> impl Iterator<Item = Row> {
    caps.iter().map(|set| match set.value.limit {
        Limit::Usd(usd) => Row::new(format!("budget.{}.usd", set.value.scope), usd.to_string(), &set.origin),
        Limit::Tokens(tokens) => Row::new(format!("budget.{}.tokens", set.value.scope), tokens, &set.origin),
    })
}

/// Whatever is said about the provider. That none is named is no mistake here.
fn provider_rows(arguments: &Show, settings: &Settings) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    match arguments.provider.asked(settings) {
        Ok(asked) => rows.extend(asked_rows(&asked, settings)),
        Err(failure) if failure.message == AskError::Spec(SpecError::Missing).to_string() => {
            if arguments.provider.is_headless() {
                return Err(
                    problem::usage("no provider is named for these flags").with_hint("give --provider PROVIDER")
                );
            }
            rows.push(Row::optional::<String>("provider", None, |_| Value::Null));
        }
        Err(failure) => return Err(failure),
    }
    let tables = settings.providers();
    rows.extend(
        tables.map(|(name, set)| Row::new(format!("providers.{name}"), shown_provider(&set.value), &set.origin)),
    );
    let proxies = settings.named_proxies();
    for (name, proxy) in [("https", proxies.https), ("http", proxies.http), ("all", proxies.all)] {
        rows.push(Row::optional(&format!("proxies.{name}"), proxy.as_ref(), |proxy| {
            without_user(proxy.expose_secret()).into()
        }));
    }
    rows.push(Row::optional("proxies.except", proxies.except.as_ref(), |except| {
        except.clone().into()
    }));
    Ok(rows)
}

fn asked_rows(asked: &Asked, settings: &Settings) -> Vec<Row> {
    let text = |text: &String| Value::from(without_user(text));
    let mut rows = vec![
        Row::new("provider", shown_provider(&asked.name.value), &asked.name.origin),
        Row::optional("model", asked.model.as_ref(), text),
        Row::optional("base_url", asked.base_url.as_ref(), text),
        Row::optional("api_key", asked.key.as_ref(), |place| {
            let place = Set {
                value: place.clone(),
                origin: Origin::Default,
            };
            shown_secret(&place, settings).into()
        }),
    ];
    rows.extend(
        asked
            .ca_files
            .iter()
            .map(|set| Row::new("ca_file", shown_path(&set.value), &set.origin)),
    );
    for set in &asked.options {
        let (name, value) = &set.value;
        rows.push(Row::new(format!("provider_options.{name}"), value.clone(), &set.origin));
    }
    for set in &asked.headers {
        let (name, value) = &set.value;
        rows.push(Row::new(format!("provider_headers.{name}"), value.clone(), &set.origin));
    }
    for set in &asked.placed_headers {
        let (name, place) = &set.value;
        let place = Set {
            value: place.clone(),
            origin: set.origin.clone(),
        };
        rows.push(Row::new(
            format!("provider_headers.{name}"),
            shown_secret(&place, settings),
            &set.origin,
        ));
    }
    rows
}

/// Whether there is a secret at a place. A descriptor can be read only once, and not by who only looks.
fn shown_secret(place: &Set<Place>, settings: &Settings) -> String {
    let named = match &place.value {
        Place::Descriptor(number) => return format!("set, by descriptor {number}"),
        Place::File(path) => format!("by the file {}", path.display()),
        Place::Variable(name) => format!("by ${name}"),
    };
    match settings.secret(place) {
        Ok(_) => format!("set, {named}"),
        Err(error) => format!("not set, {named}: {error}"),
    }
}

fn shown_path(path: &Path) -> Value {
    path.to_string_lossy().into()
}

/// A provider without what may be a secret in it: the arguments of a program, and the user in an address.
fn shown_provider(provider: &str) -> String {
    match provider.split_once("command:") {
        Some((before, command)) if before.is_empty() || before.starts_with("record:") => {
            let program = command.split_whitespace().next().unwrap_or_default();
            let more = if program.len() < command.trim().len() {
                " …"
            } else {
                ""
            };
            format!("{before}command:{program}{more}")
        }
        _ => without_user(provider),
    }
}

/// An address without its user name and password.
fn without_user(text: &str) -> String {
    let (scheme, rest) = text
        .split_once("://")
        .map_or((None, text), |(scheme, rest)| (Some(scheme), rest));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let host = host
        .rsplit_once('@')
        .map_or(host.to_owned(), |(_, host)| format!("[redacted]@{host}"));
    match scheme {
        Some(scheme) => format!("{scheme}://{host}{path}"),
        None => format!("{host}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_left_out_of_addresses_and_commands() {
        for (text, shown) in [
            ("http://me:planted@proxy:3128/", "http://[redacted]@proxy:3128/"),
            ("me:planted@proxy:3128", "[redacted]@proxy:3128"),
            ("socks5h://proxy", "socks5h://proxy"),
            ("openai:https://me:planted@host/v1", "openai:https://[redacted]@host/v1"),
            ("openai", "openai"),
            ("command:ask --token planted", "command:ask …"),
            ("command:ask", "command:ask"),
            ("record:/d:command:ask planted", "record:/d:command:ask …"),
        ] {
            assert_eq!(shown_provider(text), shown);
        }
    }
}
