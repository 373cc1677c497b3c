//! What is asked for on the command line, in the environment and in the settings file, and who wins.

use super::file::{FileError, Origin, Set, Source};
use super::operator::{OperatorFile, Place};
use super::option::is_log_filter;
use super::{ConfigError, Environment};
use crate::llm::Proxies;
use crate::run::{Cap, Limit, Rules};
use crate::types::{Bytes, FailureClass, Problem, RepoPath, escape_control};
use secrecy::SecretString;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The settings file in the operator's directory of settings.
const FILE: &str = "factory.toml";

/// The profile under which commands run unless somebody says otherwise.
const PROFILE: &str = "verify";

/// Room for a day's exported trees and records of a large repository; less is a disk that is about to be full.
const DISK_FLOOR: Bytes = Bytes(256 << 20);

/// How long what is not needed stays.
const KEEP: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Which log lines are written.
const LOG: &str = "warn";

/// The proxies of this host, each with who names it.
#[derive(Debug, Clone, Default)]
pub struct NamedProxies {
    /// For servers with `https`. Like the others it may have a password in it.
    pub https: Option<Set<SecretString>>,
    /// For servers with `http`.
    pub http: Option<Set<SecretString>>,
    /// For those that have none of their own above.
    pub all: Option<Set<SecretString>>,
    /// Servers that are asked without one.
    pub except: Option<Set<String>>,
}

/// The settings of this process, without its flags.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub(super) environment: Environment,
    pub(super) file: OperatorFile,
    /// The file, if there is one.
    path: Option<PathBuf>,
}

impl Settings {
    /// Reads the settings file: the one that `flag` or `FACTORY_CONFIG` names, which has to be there, else the usual one.
    ///
    /// # Errors
    /// `Policy` when the file is not there although it was named, could have been written by others, or says something
    /// wrong.
    pub fn read(environment: Environment, flag: Option<&Path>) -> Result<Self, FileError> {
        let Some(named) = Settings::file(&environment, flag) else {
            return Ok(Settings {
                environment,
                ..Settings::default()
            });
        };
        let Set { value: path, origin } = named;
        let Some(source) = Source::read(&path)? else {
            return match origin {
                Origin::Default => Ok(Settings {
                    environment,
                    ..Settings::default()
                }),
                named_by => Err(FileError::Absent { path, named_by }),
            };
        };
        let file = OperatorFile::read(&source, environment.home.as_deref())?;
        Ok(Settings {
            environment,
            file,
            path: Some(path),
        })
    }

    /// Which file would be read, whether it is there or not; nothing when there is no home directory.
    pub fn file(environment: &Environment, flag: Option<&Path>) -> Option<Set<PathBuf>> {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let (value, origin) = match (flag, &environment.config) {
            (Some(flag), _) => (absolute(flag), Origin::Flag("config")),
            (None, Some(variable)) => (absolute(variable), Origin::Variable("FACTORY_CONFIG".to_owned())),
            (None, None) => (environment.config_dir()?.join(FILE), Origin::Default),
        };
        Some(Set { value, origin })
    }

    /// The file that was read.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What this process was given by its environment.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Where runs are recorded: the flag, else the file, else `$XDG_STATE_HOME/factory`, else `~/.local/state/factory`.
    ///
    /// # Errors
    /// `Host` when there is no home directory to fall back to.
    pub fn state_dir(&self, flag: Option<&Path>) -> Result<Set<PathBuf>, ConfigError> {
        if let Some(flag) = flag {
            let value = std::path::absolute(flag).map_err(|source| ConfigError::WorkingDirectory { source })?;
            let origin = Origin::Flag("state-dir");
            return Ok(Set { value, origin });
        }
        let xdg = ("XDG_STATE_HOME", self.environment.state_home.as_deref());
        let usual = || self.environment.directory(xdg, ".local/state", "--state-dir");
        self.file.state_dir.clone().map_or_else(usual, Ok)
    }

    /// Where exported trees are kept for the next run: the file's, else `$XDG_CACHE_HOME/factory`, else `~/.cache/factory`.
    ///
    /// # Errors
    /// `Host` when there is no home directory to fall back to.
    pub fn cache_dir(&self) -> Result<Set<PathBuf>, ConfigError> {
        let xdg = ("XDG_CACHE_HOME", self.environment.cache_home.as_deref());
        let usual = || self.environment.directory(xdg, ".cache", "XDG_CACHE_HOME");
        self.file.cache_dir.clone().map_or_else(usual, Ok)
    }

    /// Where each run gets a directory of its own.
    pub fn artifacts(&self, flag: Option<&Path>, state_dir: &Path) -> Set<PathBuf> {
        let flag = flag.map(|flag| std::path::absolute(flag).unwrap_or_else(|_| flag.to_owned()));
        pick(("artifacts", flag), &self.file.artifacts, || state_dir.join("runs"))
    }

    /// The profile under which commands run.
    pub fn profile(&self, flag: Option<&str>) -> Set<String> {
        pick(("profile", flag.map(str::to_owned)), &self.file.profile, || {
            PROFILE.to_owned()
        })
    }

    /// A table of prices that overrules the built-in one.
    pub fn prices(&self, flag: Option<&Path>) -> Option<Set<PathBuf>> {
        optional(("prices", flag.map(Path::to_owned)), &self.file.prices)
    }

    /// What may be spent: the caps on the command line, and of the file those on something else. A cap on the same scope in
    /// the same unit is replaced; one in the other unit stays in force beside it.
    pub fn caps(&self, flags: &[Cap]) -> Vec<Set<Cap>> {
        let is_said = |cap: &Cap| {
            flags
                .iter()
                .any(|flag| flag.scope == cap.scope && same_unit(flag.limit, cap.limit))
        };
        let kept = self.file.caps.iter().filter(|set| !is_said(&set.value)).cloned();
        let flags = flags.iter().map(|cap| flag("budget", *cap));
        flags.chain(kept).collect()
    }

    /// Answers of the model that are judged at most.
    pub fn max_attempts(&self, flag: Option<u32>) -> Set<u32> {
        pick(("max-attempts", flag), &self.file.max_attempts, || {
            Rules::default().max_attempts
        })
    }

    /// Requests sent for one attempt at most.
    pub fn provider_tries(&self, flag: Option<u32>) -> Set<u32> {
        pick(("provider-tries", flag), &self.file.provider_tries, || {
            Rules::default().provider_tries
        })
    }

    /// Whether a run ends, instead of being parked, when the provider limits requests.
    pub fn one_shot(&self, flag: bool) -> Set<bool> {
        pick(("one-shot", flag.then_some(true)), &self.file.one_shot, || false)
    }

    /// A shorter wall-clock limit for each command than the profile's.
    pub fn timeout(&self, flag: Option<Duration>) -> Option<Set<Duration>> {
        optional(("timeout", flag), &self.file.timeout)
    }

    /// How long to wait for a repository that another run holds.
    pub fn wait(&self, flag: Option<Duration>) -> Set<Duration> {
        pick(("wait", flag), &self.file.wait, || Duration::ZERO)
    }

    /// How long what is not needed stays.
    pub fn keep(&self, flag: Option<Duration>) -> Set<Duration> {
        pick(("keep", flag), &self.file.keep, || KEEP)
    }

    /// What has to be left on each disk that is written to.
    pub fn disk_floor(&self, flag: Option<Bytes>) -> Set<Bytes> {
        pick(("disk-floor", flag), &self.file.disk_floor, || DISK_FLOOR)
    }

    /// Branches that no run may promote to, beside those that are refused always.
    pub fn protected_branches(&self) -> &[Set<String>] {
        &self.file.protected_branches
    }

    /// Files of repositories that are shown to a model although they look as if they held credentials.
    pub fn allow_context(&self, flags: &[String]) -> Vec<Set<RepoPath>> {
        let named: BTreeSet<_> = flags.iter().filter_map(|path| RepoPath::parse(path).ok()).collect();
        let of_file = self.file.allow_context.iter();
        let more = of_file
            .filter(|set| !named.contains(&set.value))
            .cloned()
            .collect::<Vec<_>>();
        let named = named.into_iter().map(|path| flag("allow-context", path));
        named.chain(more).collect()
    }

    /// Refuses a filter of log lines that is none. That of the file was judged when it was read.
    ///
    /// # Errors
    /// `Order` in the sense of a wrong command line, which the variable stands for.
    pub fn check_log(&self) -> Result<(), LogError> {
        let text = self.log().value;
        match is_log_filter(&text) {
            true => Ok(()),
            false => Err(LogError {
                text: escape_control(&text),
            }),
        }
    }

    /// The filter of log lines.
    pub fn log(&self) -> Set<String> {
        match &self.environment.log {
            Some(log) => variable("FACTORY_LOG", log.clone()),
            None => pick(("log", None), &self.file.log, || LOG.to_owned()),
        }
    }

    /// The proxies of this host, each with who names it.
    pub fn named_proxies(&self) -> NamedProxies {
        let (given, file) = (&self.environment.proxies, &self.file.proxies);
        let one = |name: &str, given: &Option<SecretString>, file: &Option<Set<String>>| {
            let given = given.clone().map(|proxy| variable(name, proxy));
            given.or_else(|| file.clone().map(|set| set.map(SecretString::from)))
        };
        let except = given.except.clone().map(|except| variable("NO_PROXY", except));
        NamedProxies {
            https: one("HTTPS_PROXY", &given.https, &file.https),
            http: one("HTTP_PROXY", &given.http, &file.http),
            all: one("ALL_PROXY", &given.all, &file.all),
            except: except.or_else(|| file.except.clone()),
        }
    }

    /// The proxies of this host.
    pub fn proxies(&self) -> Proxies {
        let named = self.named_proxies();
        Proxies {
            https: named.https.map(|set| set.value),
            http: named.http.map(|set| set.value),
            all: named.all.map(|set| set.value),
            except: named.except.map(|set| set.value),
        }
    }

    /// What no command may see: the settings, and the files with secrets that they name.
    pub fn private(&self) -> Vec<PathBuf> {
        let files = self.places().filter_map(|place| match place {
            Place::File(path) => Some(path.clone()),
            Place::Descriptor(_) | Place::Variable(_) => None,
        });
        let settings = self.environment.config_dir().into_iter().chain(self.path.clone());
        settings.chain(files).collect()
    }

    /// Where the secrets are that the file names.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        let described = std::iter::once(&self.file.own).chain(self.file.providers.values());
        described.flat_map(|described| {
            let keys = described.key.iter().map(|set| &set.value);
            keys.chain(described.headers.iter().map(|set| &set.value.1))
        })
    }

    /// Tables of providers: what each is called, and what it is a table of.
    pub fn providers(&self) -> impl Iterator<Item = (&str, &Set<String>)> {
        let tables = self.file.providers.iter();
        tables.filter_map(|(name, table)| Some((name.as_str(), table.provider.as_ref()?)))
    }
}

pub(super) fn flag<T>(name: &'static str, value: T) -> Set<T> {
    Set {
        value,
        origin: Origin::Flag(name),
    }
}

pub(super) fn variable<T>(name: &str, value: T) -> Set<T> {
    Set {
        value,
        origin: Origin::Variable(name.to_owned()),
    }
}

/// The flag, else what the file says.
fn optional<T: Clone>((name, given): (&'static str, Option<T>), file: &Option<Set<T>>) -> Option<Set<T>> {
    given.map(|value| flag(name, value)).or_else(|| file.clone())
}

/// The flag, else what the file says, else the default.
fn pick<T: Clone>(given: (&'static str, Option<T>), file: &Option<Set<T>>, default: impl FnOnce() -> T) -> Set<T> {
    optional(given, file).unwrap_or_else(|| Set {
        value: default(),
        origin: Origin::Default,
    })
}

fn same_unit(one: Limit, other: Limit) -> bool {
    matches!(
        (one, other),
        (Limit::Usd(_), Limit::Usd(_)) | (Limit::Tokens(_), Limit::Tokens(_))
    )
}

/// The variable says no filter of log lines.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`FACTORY_LOG` is `{text}`, which is no filter of log lines")]
pub struct LogError {
    /// What it is, escaped.
    text: String,
}

impl Problem for LogError {
    fn class(&self) -> FailureClass {
        FailureClass::Order
    }

    fn hint(&self) -> Option<String> {
        Some(
            "set it to off, error, warn, info, debug or trace, to TARGET=LEVEL as in factory=debug, or to several of them \
             separated by commas, or unset it"
                .to_owned(),
        )
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::ffi::OsString;

    pub(in crate::config) fn settings(variables: &[(&str, &str)], file: &str) -> Settings {
        let environment = Environment::from(|name| {
            let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
            Some(OsString::from(value))
        });
        let source = Source {
            path: "/f.toml".into(),
            text: file.to_owned(),
        };
        Settings {
            file: OperatorFile::read(&source, environment.home.as_deref()).unwrap(),
            environment,
            path: Some("/f.toml".into()),
        }
    }

    fn shown<T: std::fmt::Debug>(set: &Set<T>) -> String {
        format!("{:?} {}", set.value, set.origin)
    }

    #[test]
    fn a_filter_of_log_lines_is_levels_and_targets_with_levels() {
        let check = |text| settings(&[("FACTORY_LOG", text)], "").check_log();
        for filter in [
            "warn",
            "DEBUG",
            "off",
            "5",
            "factory",
            "factory::llm",
            "hyper=off",
            "info,factory::run=trace",
            "factory[span]=debug",
        ] {
            assert_eq!(check(filter), Ok(()), "{filter}");
        }
        for text in [
            "verbose",
            "debgu",
            "info,verbose",
            "factory=loud",
            "a=b=c",
            "6",
            ",",
            " ",
        ] {
            let error = check(text).expect_err(text);
            assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
        }
        assert_eq!(settings(&[], "").check_log(), Ok(()), "unset");
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_a_default() {
        let nothing = settings(&[("HOME", "/home/a")], "");
        let file = settings(
            &[("HOME", "/home/a"), ("XDG_STATE_HOME", "/state")],
            "state_dir = \"/f\"\nwait = \"5s\"\n",
        );
        let xdg = settings(&[("HOME", "/home/a"), ("XDG_STATE_HOME", "/state")], "");
        let state = |settings: &Settings, flag| shown(&settings.state_dir(flag).unwrap());
        assert_eq!(state(&nothing, None), "\"/home/a/.local/state/factory\" default");
        assert_eq!(state(&xdg, None), "\"/state/factory\" $XDG_STATE_HOME");
        assert_eq!(
            state(&file, None),
            "\"/f\" /f.toml:1",
            "a general variable is no word about us"
        );
        assert_eq!(state(&file, Some(Path::new("/flag"))), "\"/flag\" --state-dir");
        assert_eq!(shown(&file.wait(None)), "5s /f.toml:2");
        assert_eq!(shown(&file.wait(Some(Duration::from_secs(1)))), "1s --wait");
        assert_eq!(shown(&nothing.profile(None)), "\"verify\" default");
        assert!(matches!(
            settings(&[("HOME", "a")], "").cache_dir(),
            Err(ConfigError::NoHome { .. })
        ));
    }

    #[test]
    fn a_variable_of_ours_wins_over_the_file() {
        let file = "log = \"info\"\n[proxies]\nhttps = \"http://file\"\nhttp = \"http://file\"\n";
        let both = settings(&[("FACTORY_LOG", "debug"), ("HTTPS_PROXY", "http://variable")], file);
        assert_eq!(shown(&both.log()), "\"debug\" $FACTORY_LOG");
        assert_eq!(shown(&settings(&[], file).log()), "\"info\" /f.toml:1");
        let NamedProxies { https, http, all, .. } = both.named_proxies();
        let origin = |set: Option<Set<SecretString>>| set.map(|set| set.origin.to_string());
        assert_eq!(origin(https).as_deref(), Some("$HTTPS_PROXY"));
        assert_eq!(origin(http).as_deref(), Some("/f.toml:4"));
        assert_eq!(origin(all), None);
    }

    #[test]
    fn a_cap_on_the_command_line_replaces_that_of_the_same_scope_and_unit_alone() {
        let file = "[budget]\norder = { usd = \"2\", tokens = 1000 }\nday = { usd = \"20\" }\n";
        let flags = ["order=5".parse().unwrap(), "call=7tok".parse().unwrap()];
        let caps = settings(&[], file).caps(&flags);
        let caps: Vec<_> = caps.iter().map(|set| format!("{} {}", set.value, set.origin)).collect();
        assert_eq!(
            caps,
            [
                "$5.00 for the order --budget",
                "7 tokens for the call --budget",
                "1000 tokens for the order /f.toml:2",
                "$20.00 for the day /f.toml:3",
            ]
        );
    }

    #[test]
    fn the_settings_and_what_they_name_are_private() {
        let file =
            "api_key_file = \"/k\"\n[providers.a]\nprovider = \"openai\"\nheaders = { X = { file = \"~/h\" } }\n";
        let private = settings(&[("HOME", "/home/a")], file).private();
        let expected = ["/home/a/.config/factory", "/f.toml", "/k", "/home/a/h"];
        assert_eq!(private, expected.map(PathBuf::from));
    }

    #[test]
    fn whether_a_run_is_parked_is_said_by_the_flag_or_the_file() {
        for (file, flag, ends) in [
            ("", false, false),
            ("", true, true),
            ("one_shot = true", false, true),
            ("one_shot = false", true, true),
        ] {
            assert_eq!(settings(&[], file).one_shot(flag).value, ends, "{file:?} {flag}");
        }
    }

    #[test]
    fn a_file_that_was_named_has_to_be_there() {
        let directory = tempfile::tempdir().unwrap();
        let absent = directory.path().join("absent.toml");
        let error = Settings::read(Environment::default(), Some(&absent)).unwrap_err();
        assert!(matches!(error, FileError::Absent { .. }), "{error}");
        assert!(error.to_string().contains("--config"), "{error}");
        let variable = Environment {
            config: Some(absent),
            ..Environment::default()
        };
        let error = Settings::read(variable, None).unwrap_err();
        assert!(error.to_string().contains("$FACTORY_CONFIG"), "{error}");
        let usual = Environment {
            config_home: Some(directory.path().to_owned()),
            ..Environment::default()
        };
        assert_eq!(Settings::read(usual, None).unwrap().path(), None);
    }
}
