//! What asking a model may cost: the same flags for every command that asks one.

use crate::run::Cap;
use crate::types::Bytes;
use std::path::PathBuf;

/// What asking a model may cost.
#[derive(Debug, clap::Args)]
#[group(id = "bounds-arguments")]
pub(super) struct Arguments {
    /// Answers of the model that are judged at most [default: 5].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) max_attempts: Option<u32>,
    /// Requests sent for one attempt at most, while the provider fails in passing [default: 5].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) provider_tries: Option<u32>,
    /// Do not wait for longer than ten minutes when the provider limits requests, but end with 75, to be started again later.
    /// Without this, the run is parked until the provider's time has come, at most a day, and goes on by itself.
    #[arg(long)]
    pub(super) one_shot: bool,
    /// What may be spent: SCOPE=DOLLARS or SCOPE=TOKENStok, as in order=2.50 or day=300000tok, for each call, attempt, order,
    /// plan or day (UTC). Can be repeated; every cap holds. It replaces a cap of the settings file on the same scope in the
    /// same unit.
    #[arg(long, value_name = "CAP")]
    pub(super) budget: Vec<Cap>,
    /// A table of prices that overrules the built-in one.
    #[arg(long, value_name = "FILE")]
    pub(super) prices: Option<PathBuf>,
    /// What has to be left on each disk that is written to, before work begins and before each attempt [default: 256MiB].
    #[arg(long, value_name = "SIZE")]
    pub(super) disk_floor: Option<Bytes>,
}

#[cfg(test)]
mod tests {
    use crate::config::Settings;
    use crate::types::Bytes;

    #[test]
    fn the_defaults_are_those_that_the_help_names() {
        let settings = Settings::default();
        assert_eq!(settings.max_attempts(None).value, 5);
        assert_eq!(settings.provider_tries(None).value, 5);
        assert_eq!(settings.disk_floor(None).value, Bytes(256 << 20));
    }
}
