//! Options of a provider's server, by name, and other values that are given as text.

use crate::llm::{OPTIONS, OptionError, ServerSettings, Timeouts};
use crate::types::{escape_control, parse_duration};
use std::time::Duration;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The options that say how long to wait.
const WAITS: [&str; 4] = [
    "connect-timeout",
    "first-byte-timeout",
    "silence-timeout",
    "total-timeout",
];

/// Why an option cannot be set, and what could be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionRefusal {
    /// Why.
    pub what: String,
    /// What could be; nothing when it says how options are given.
    pub remedy: Option<String>,
}

/// Sets one option.
///
/// # Errors
/// When there is none of that name, or it cannot have that value.
pub fn set_option(settings: &mut ServerSettings, name: &str, value: &str) -> Result<(), OptionRefusal> {
    if WAITS.contains(&name) {
        return set_wait(&mut settings.timeouts, name, value);
    }
    let dialect = settings.dialect;
    settings.capabilities.set(dialect, name, value).map_err(|error| {
        let names = OPTIONS.iter().map(|(name, _)| *name).chain(WAITS);
        OptionRefusal {
            what: escape_control(&error.to_string()),
            remedy: matches!(error, OptionError::Unknown { .. })
                .then(|| format!("the options are {}", names.collect::<Vec<_>>().join(", "))),
        }
    })
}

fn set_wait(timeouts: &mut Timeouts, name: &str, value: &str) -> Result<(), OptionRefusal> {
    let wait = positive_duration(value).map_err(|why| OptionRefusal {
        what: format!("the provider option `{name}` cannot be set: {why}"),
        remedy: None,
    })?;
    match name {
        "connect-timeout" => timeouts.connect = wait,
        "first-byte-timeout" => timeouts.first_byte = wait,
        "silence-timeout" => timeouts.silence = wait,
        _ => timeouts.total = wait,
    }
    Ok(())
}

/// Reads a duration that lets anything happen at all.
///
/// # Errors
/// When the text is no duration, or nothing could be done in it.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("the duration must be longer than nothing".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether a text says which log lines are shown: levels, or `TARGET=LEVEL`, separated by commas.
///
/// To the library a lone word that is no level is a target of which everything is shown. Whoever writes `verbose` or `debgu`
/// means a level, and would see fewer lines than before, so that only names of our own modules may stand alone.
pub(super) fn is_log_filter(text: &str) -> bool {
    let stands_alone = |word: &str| {
        word.parse::<LevelFilter>().is_ok()
            || word.contains(['=', '['])
            || word == super::NAME
            || word.starts_with("factory::")
    };
    let mut words = text.split(',').filter(|word| !word.is_empty()).peekable();
    words.peek().is_some() && words.all(stands_alone) && EnvFilter::try_new(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::{Delivery, Dialect};

    #[test]
    fn an_option_is_a_capability_or_a_wait() {
        let mut settings = ServerSettings::new(Dialect::Chat, "http://localhost");
        for (name, value) in [
            ("delivery", "whole"),
            ("silence-timeout", "5s"),
            ("total-timeout", "1h"),
        ] {
            set_option(&mut settings, name, value).unwrap();
        }
        assert_eq!(settings.capabilities.delivery, Delivery::Whole);
        assert_eq!(settings.timeouts.silence, Duration::from_secs(5));
        assert_eq!(settings.timeouts.total, Duration::from_secs(3600));
        for (name, value, lists) in [
            ("", "", true),
            ("brand", "x", true),
            ("delivery", "", false),
            ("delivery", "pigeon", false),
            ("silence-timeout", "0s", false),
            ("connect-timeout", "soon", false),
        ] {
            let refusal = set_option(&mut settings, name, value).unwrap_err();
            assert_eq!(refusal.remedy.is_some(), lists, "{name} {refusal:?}");
        }
    }
}
