//! The environment and the settings on the command line → the values that other modules ask for.
//!
//! - Only this module reads the environment.
//! - A flag wins over a variable, and a variable over a default.
//! - As the XDG Base Directory Specification demands, a variable with a relative path is ignored.
//! - A key is read into a secret and shown nowhere.

mod key;
mod provider;

pub use key::{KeyError, read_key_fd, read_key_file};
pub use provider::{ProviderSpec, SpecError};

use crate::llm::{Dialect, Proxies};
use crate::types::{FailureClass, Problem};
use secrecy::SecretString;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

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

    /// Where runs are recorded: the flag, else `$XDG_STATE_HOME/factory`, else `~/.local/state/factory`.
    ///
    /// # Errors
    /// `Host` when there is no home directory to fall back to.
    pub fn state_dir(&self, flag: Option<&Path>) -> Result<PathBuf, ConfigError> {
        self.directory(flag, self.state_home.as_deref(), ".local/state", "--state-dir")
    }

    /// Where exported trees are kept for the next run: `$XDG_CACHE_HOME/factory`, else `~/.cache/factory`.
    ///
    /// # Errors
    /// `Host` when there is no home directory to fall back to.
    pub fn cache_dir(&self) -> Result<PathBuf, ConfigError> {
        self.directory(None, self.cache_home.as_deref(), ".cache", "XDG_CACHE_HOME")
    }

    /// Where the operator keeps profiles: `$XDG_CONFIG_HOME/factory/profiles`, else `~/.config/factory/profiles`.
    pub fn profile_dir(&self) -> Option<PathBuf> {
        let fallback = || Some(self.home.as_ref()?.join(".config"));
        let config = self.config_home.clone().or_else(fallback)?;
        Some(config.join(NAME).join("profiles"))
    }

    /// The directories in which toolchains are looked for.
    pub fn search_path(&self) -> &str {
        &self.search_path
    }

    /// The key for servers of a dialect, if there is one: `$FACTORY_API_KEY`, else that of the dialect's maker.
    pub fn api_key(&self, dialect: Dialect) -> Option<&SecretString> {
        let own = match dialect {
            Dialect::Chat | Dialect::Responses => &self.openai_key,
            Dialect::Messages => &self.anthropic_key,
        };
        self.api_key.as_ref().or(own.as_ref())
    }

    /// The proxies of this host: `$HTTPS_PROXY`, `$HTTP_PROXY`, `$ALL_PROXY` and, for exceptions, `$NO_PROXY`, in capital or
    /// in small letters.
    pub fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    /// Further certificates to trust: `$SSL_CERT_FILE`.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// One variable, for profiles that pass it on by name.
    pub fn variable(&self, name: &str) -> Option<String> {
        env::var(name).ok()
    }

    /// The filter of log lines.
    pub fn log(&self) -> Option<&str> {
        self.log.as_deref()
    }

    /// The model to ask: the flag, else `$FACTORY_MODEL`.
    pub fn model(&self, flag: Option<String>) -> Option<String> {
        flag.or_else(|| self.model.clone())
    }

    /// The provider to ask: the flag, else `$FACTORY_PROVIDER`.
    ///
    /// # Errors
    /// `Order` in the sense of a wrong command line when there is none or it is not understood.
    pub fn provider(&self, flag: Option<&str>) -> Result<ProviderSpec, SpecError> {
        let spec = flag.or(self.provider.as_deref()).ok_or(SpecError::Missing)?;
        ProviderSpec::parse(spec, self.base_url.as_deref())
    }

    fn directory(
        &self,
        flag: Option<&Path>,
        xdg: Option<&Path>,
        below_home: &str,
        name: &'static str,
    ) -> Result<PathBuf, ConfigError> {
        if let Some(flag) = flag {
            return std::path::absolute(flag).map_err(|source| ConfigError::WorkingDirectory { source });
        }
        let base = match (xdg, &self.home) {
            (Some(xdg), _) => xdg.to_owned(),
            (None, Some(home)) => home.join(below_home),
            (None, None) => return Err(ConfigError::NoHome { name }),
        };
        Ok(base.join(NAME))
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
    fn a_flag_wins_over_a_variable_and_a_variable_over_the_home_directory() {
        let home = environment(&[("HOME", "/home/a")]);
        let both = environment(&[("HOME", "/home/a"), ("XDG_STATE_HOME", "/state")]);
        assert_eq!(home.state_dir(None).unwrap(), Path::new("/home/a/.local/state/factory"));
        assert_eq!(both.state_dir(None).unwrap(), Path::new("/state/factory"));
        assert_eq!(both.state_dir(Some(Path::new("/flag"))).unwrap(), Path::new("/flag"));
    }

    #[test]
    fn a_relative_directory_in_a_variable_is_ignored() {
        let relative = environment(&[("HOME", "/home/a"), ("XDG_CACHE_HOME", "cache")]);
        assert_eq!(relative.cache_dir().unwrap(), Path::new("/home/a/.cache/factory"));
        assert!(matches!(
            environment(&[("HOME", "a")]).cache_dir(),
            Err(ConfigError::NoHome { .. })
        ));
    }

    #[test]
    fn a_key_of_ours_wins_and_is_never_shown() {
        use secrecy::ExposeSecret;
        let key = |variables: &[(&str, &str)], dialect| {
            let environment = environment(variables);
            assert!(!format!("{environment:?}").contains("planted"));
            environment.api_key(dialect).map(|key| key.expose_secret().to_owned())
        };
        let theirs = [("OPENAI_API_KEY", "planted-o"), ("ANTHROPIC_API_KEY", "planted-a")];
        let all = [theirs[0], theirs[1], ("FACTORY_API_KEY", "planted-f")];
        for dialect in [Dialect::Chat, Dialect::Responses, Dialect::Messages] {
            assert_eq!(key(&all, dialect).as_deref(), Some("planted-f"));
        }
        assert_eq!(key(&theirs, Dialect::Responses).as_deref(), Some("planted-o"));
        assert_eq!(key(&theirs, Dialect::Messages).as_deref(), Some("planted-a"));
        assert_eq!(key(&theirs[..1], Dialect::Messages), None);
        let empty = [("FACTORY_API_KEY", ""), theirs[0]];
        assert_eq!(key(&empty, Dialect::Chat).as_deref(), Some("planted-o"));
    }

    #[test]
    fn proxies_are_read_in_small_letters_first_and_never_shown() {
        use secrecy::ExposeSecret;
        let environment = environment(&[
            ("HTTPS_PROXY", "http://planted-large"),
            ("https_proxy", "http://me:planted@small"),
            ("ALL_PROXY", "socks5h://planted-all"),
            ("NO_PROXY", "example.com"),
        ]);
        let Proxies {
            https,
            http,
            all,
            except,
        } = environment.proxies();
        let shown = |proxy: &Option<SecretString>| proxy.as_ref().map(|proxy| proxy.expose_secret().to_owned());
        assert_eq!(shown(https).as_deref(), Some("http://me:planted@small"));
        assert_eq!(shown(all).as_deref(), Some("socks5h://planted-all"));
        assert_eq!((shown(http), except.as_deref()), (None, Some("example.com")));
        assert!(!format!("{environment:?}").contains("planted"));
    }
}
