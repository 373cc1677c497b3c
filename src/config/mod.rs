//! The command line, the environment and the operator's settings file → the values that other modules ask for.
//!
//! - Only this module reads the environment and the settings file, and neither is ever the repository's.
//! - A flag wins over a variable, a variable over the file, and the file over a default; each value knows who said it.
//! - As the XDG Base Directory Specification demands, a variable with a relative path is ignored.
//! - A key is read into a secret and shown nowhere. No flag and no line of the file takes one, only its place.

mod asked;
mod document;
mod file;
mod key;
mod operator;
mod option;
mod provider;
mod reader;
mod settings;

pub use asked::{AskError, Asked, Wanted};
pub use file::{FileError, Origin, Set};
pub use key::{KeyError, read_key_fd, read_key_file};
pub use operator::Place;
pub use option::{OptionRefusal, positive_duration, set_option};
pub use provider::{ProviderSpec, SpecError};
pub use settings::{LogError, NamedProxies, Settings};

use crate::llm::Proxies;
use crate::types::{FailureClass, Problem};
use secrecy::SecretString;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Variables with keys.
const API_KEY: &str = "FACTORY_API_KEY";
const OPENAI_API_KEY: &str = "OPENAI_API_KEY";
const ANTHROPIC_API_KEY: &str = "ANTHROPIC_API_KEY";

/// The name of our directory below those of the XDG Base Directory Specification.
const NAME: &str = "factory";

/// What this process was given by its environment.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    home: Option<PathBuf>,
    state_home: Option<PathBuf>,
    cache_home: Option<PathBuf>,
    config_home: Option<PathBuf>,
    search_path: String,
    api_key: Option<SecretString>,
    openai_key: Option<SecretString>,
    anthropic_key: Option<SecretString>,
    proxies: Proxies,
    ca_file: Option<PathBuf>,
    base_url: Option<String>,
    provider: Option<String>,
    model: Option<String>,
    log: Option<String>,
    config: Option<PathBuf>,
}

impl Environment {
    /// Reads the environment of this process.
    pub fn read() -> Self {
        Environment::from(|name| env::var_os(name))
    }

    fn from(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        // A variable that is no text is as good as none: every one of these is ASCII when it means anything.
        let text = |name: &str| {
            let value = variable(name)?.into_string().ok()?;
            (!value.is_empty()).then_some(value)
        };
        let secret = |name| text(name).map(SecretString::from);
        // The spelling with small letters is the older one, and goes before.
        let either = |small: &str, large: &str| text(small).or_else(|| text(large));
        Environment {
            home: path("HOME"),
            state_home: path("XDG_STATE_HOME"),
            cache_home: path("XDG_CACHE_HOME"),
            config_home: path("XDG_CONFIG_HOME"),
            // The search path may hold directories whose names are no text; the others still count.
            search_path: variable("PATH").map_or_else(String::new, |path| path.to_string_lossy().into_owned()),
            api_key: secret("FACTORY_API_KEY"),
            openai_key: secret("OPENAI_API_KEY"),
            anthropic_key: secret("ANTHROPIC_API_KEY"),
            proxies: Proxies {
                https: either("https_proxy", "HTTPS_PROXY").map(SecretString::from),
                http: either("http_proxy", "HTTP_PROXY").map(SecretString::from),
                all: either("all_proxy", "ALL_PROXY").map(SecretString::from),
                except: either("no_proxy", "NO_PROXY"),
            },
            ca_file: variable("SSL_CERT_FILE")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            base_url: text("FACTORY_BASE_URL"),
            provider: text("FACTORY_PROVIDER"),
            model: text("FACTORY_MODEL"),
            log: text("FACTORY_LOG"),
            config: variable("FACTORY_CONFIG")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
        }
    }

    /// Arms the crash points of this process, for tests: `FACTORY_CRASH_AT` is the number or the name of the one at which it
    /// ends, and `FACTORY_CRASH_LOG` the file that gets the names of those that it passes.
    #[cfg(debug_assertions)]
    pub fn arm_crash_points(&self) {
        let at = env::var("FACTORY_CRASH_AT").ok();
        let log = env::var_os("FACTORY_CRASH_LOG").map(PathBuf::from);
        if at.is_some() || log.is_some() {
            crate::durable::arm_crash_points(at, log.as_deref()).expect("a test names a file that can be created");
        }
    }

    /// Where the operator keeps profiles: `$XDG_CONFIG_HOME/factory/profiles`, else `~/.config/factory/profiles`.
    pub fn profile_dir(&self) -> Option<PathBuf> {
        Some(self.config_dir()?.join("profiles"))
    }

    /// Where the operator keeps golden suites: `$XDG_CONFIG_HOME/factory/golden`, else `~/.config/factory/golden`.
    pub fn golden_dir(&self) -> Option<PathBuf> {
        Some(self.config_dir()?.join("golden"))
    }

    /// The directories in which toolchains are looked for.
    pub fn search_path(&self) -> &str {
        &self.search_path
    }

    /// The secret in a variable, if it is set.
    fn secret(&self, name: &str) -> Option<SecretString> {
        match name {
            API_KEY => self.api_key.clone(),
            OPENAI_API_KEY => self.openai_key.clone(),
            ANTHROPIC_API_KEY => self.anthropic_key.clone(),
            name => self
                .variable(name)
                .filter(|value| !value.is_empty())
                .map(SecretString::from),
        }
    }

    /// Every secret that this process was given by a variable of ours.
    fn secrets(&self) -> impl Iterator<Item = &SecretString> {
        let keys = [&self.api_key, &self.openai_key, &self.anthropic_key];
        keys.into_iter().flatten()
    }

    /// One variable, for profiles that pass it on by name.
    pub fn variable(&self, name: &str) -> Option<String> {
        env::var(name).ok()
    }

    /// A directory of ours below one of the XDG Base Directory Specification.
    fn directory(
        &self,
        (variable, xdg): (&'static str, Option<&Path>),
        below_home: &str,
        instead: &'static str,
    ) -> Result<Set<PathBuf>, ConfigError> {
        let (base, origin) = match (xdg, &self.home) {
            (Some(xdg), _) => (xdg.to_owned(), Origin::Variable(variable.to_owned())),
            (None, Some(home)) => (home.join(below_home), Origin::Default),
            (None, None) => return Err(ConfigError::NoHome { name: instead }),
        };
        Ok(Set {
            value: base.join(NAME),
            origin,
        })
    }

    /// Where the operator keeps settings, profiles and golden suites.
    fn config_dir(&self) -> Option<PathBuf> {
        let fallback = || Some(self.home.as_ref()?.join(".config"));
        Some(self.config_home.clone().or_else(fallback)?.join(NAME))
    }
}

/// A setting that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Neither a flag nor a variable says where to keep things.
    #[error("there is no home directory to keep things in: HOME is not set to an absolute path")]
    NoHome {
        /// What can be given instead.
        name: &'static str,
    },
    /// A relative path has no meaning without a working directory.
    #[error("cannot find out the working directory")]
    WorkingDirectory {
        /// What the kernel answered.
        source: std::io::Error,
    },
}

impl Problem for ConfigError {
    fn class(&self) -> FailureClass {
        FailureClass::Host
    }

    fn hint(&self) -> Option<String> {
        match self {
            ConfigError::NoHome { name } => Some(format!("set HOME, or give {name}")),
            ConfigError::WorkingDirectory { .. } => Some("change to a directory that exists".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::from(|name| {
            let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
            Some(OsString::from(value))
        })
    }

    #[test]
    fn keys_and_proxies_are_never_shown() {
        use secrecy::ExposeSecret;
        let environment = environment(&[
            ("FACTORY_API_KEY", "planted-f"),
            ("OPENAI_API_KEY", ""),
            ("ANTHROPIC_API_KEY", "planted-a"),
            ("HTTPS_PROXY", "http://planted-large"),
            ("https_proxy", "http://me:planted@small"),
            ("ALL_PROXY", "socks5h://planted-all"),
            ("NO_PROXY", "example.com"),
        ]);
        assert!(!format!("{environment:?}").contains("planted"));
        let key = |name| environment.secret(name).map(|key| key.expose_secret().to_owned());
        assert_eq!(key(API_KEY).as_deref(), Some("planted-f"));
        assert_eq!(key(OPENAI_API_KEY), None, "an empty variable is none");
        assert_eq!(key(ANTHROPIC_API_KEY).as_deref(), Some("planted-a"));
        // The spelling with small letters goes before.
        let Proxies {
            https,
            http,
            all,
            except,
        } = &environment.proxies;
        let shown = |proxy: &Option<SecretString>| proxy.as_ref().map(|proxy| proxy.expose_secret().to_owned());
        assert_eq!(shown(https).as_deref(), Some("http://me:planted@small"));
        assert_eq!(shown(all).as_deref(), Some("socks5h://planted-all"));
        assert_eq!((shown(http), except.as_deref()), (None, Some("example.com")));
    }

    #[test]
    fn a_relative_directory_in_a_variable_is_ignored() {
        let relative = environment(&[("HOME", "/home/a"), ("XDG_CONFIG_HOME", "config")]);
        assert_eq!(
            relative.profile_dir().unwrap(),
            Path::new("/home/a/.config/factory/profiles")
        );
        assert_eq!(environment(&[("HOME", "a")]).profile_dir(), None);
    }
}
