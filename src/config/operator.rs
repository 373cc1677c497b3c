//! The settings file as it counts: every value checked, each with the line that says so.
//!
//! - Paths are absolute: what a relative one means depends on where somebody stands, and that may be a repository.
//! - A key is never in the file, only where it is.

use super::document::{CapTable, Document, HeaderTable, OptionValue, ProviderTable, ProxiesTable, parse};
use super::file::{FileError, Set, Source};
use super::option::{is_log_filter, positive_duration, set_option};
use super::provider::{ProviderSpec, split_record};
use super::reader::{Read, Reader, has_user, is_settled, line_of};
use crate::llm::{Dialect, ServerSettings};
use crate::run::{Cap, Limit, Scope};
use crate::types::{Bytes, RepoPath, escape_control, nearest_word};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

/// Words of a provider that no table can have as its name.
const RESERVED: [&str; 6] = ["openai", "responses", "anthropic", "replay", "command", "record"];

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file that only its owner can read.
    File(PathBuf),
    /// Behind a descriptor that this process was started with.
    Descriptor(u32),
    /// In a variable of the environment.
    Variable(String),
}

/// How one provider is asked, as far as the file says.
#[derive(Debug, Clone, Default)]
pub(super) struct Description {
    pub(super) provider: Option<Set<String>>,
    pub(super) model: Option<Set<String>>,
    pub(super) base_url: Option<Set<String>>,
    pub(super) key: Option<Set<Place>>,
    pub(super) ca_file: Option<Set<PathBuf>>,
    pub(super) options: Vec<Set<(String, String)>>,
    pub(super) headers: Vec<Set<(String, Place)>>,
}

/// The proxies that the file names.
#[derive(Debug, Clone, Default)]
pub(super) struct FileProxies {
    pub(super) https: Option<Set<String>>,
    pub(super) http: Option<Set<String>>,
    pub(super) all: Option<Set<String>>,
    pub(super) except: Option<Set<String>>,
}

/// What the file says.
#[derive(Debug, Clone, Default)]
pub(super) struct OperatorFile {
    pub(super) own: Description,
    pub(super) providers: BTreeMap<String, Description>,
    pub(super) proxies: FileProxies,
    pub(super) profile: Option<Set<String>>,
    pub(super) state_dir: Option<Set<PathBuf>>,
    pub(super) cache_dir: Option<Set<PathBuf>>,
    pub(super) artifacts: Option<Set<PathBuf>>,
    pub(super) prices: Option<Set<PathBuf>>,
    pub(super) caps: Vec<Set<Cap>>,
    pub(super) max_attempts: Option<Set<u32>>,
    pub(super) provider_tries: Option<Set<u32>>,
    pub(super) one_shot: Option<Set<bool>>,
    pub(super) timeout: Option<Set<Duration>>,
    pub(super) wait: Option<Set<Duration>>,
    pub(super) keep: Option<Set<Duration>>,
    pub(super) disk_floor: Option<Set<Bytes>>,
    pub(super) protected_branches: Vec<Set<String>>,
    pub(super) allow_context: Vec<Set<RepoPath>>,
    pub(super) log: Option<Set<String>>,
}

impl OperatorFile {
    /// Reads what a source says. `home` is what `~/` stands for.
    pub(super) fn read(source: &Source, home: Option<&Path>) -> Result<Self, FileError> {
        let document = parse(source)?;
        Reader { source, home }.read(document)
    }
}

impl Reader<'_> {
    fn read(&self, document: Document) -> Read<OperatorFile> {
        let own = ProviderTable {
            provider: document.provider,
            model: document.model,
            base_url: document.base_url,
            api_key_file: document.api_key_file,
            api_key_env: document.api_key_env,
            ca_file: document.ca_file,
            options: document.provider_options,
            headers: document.provider_headers,
        };
        let mut providers = BTreeMap::new();
        for (name, table) in document.providers {
            let (span, table) = (table.span(), table.into_inner());
            self.check_name(&name, &span)?;
            if table.provider.is_none() {
                let what = format!("`[providers.{name}]` does not say which kind of provider it is");
                return Err(self
                    .source
                    .invalid(span, what, "write for example `provider = \"openai\"`"));
            }
            let described = self.description(table)?;
            self.check_provider(&described, &BTreeMap::new())?;
            providers.insert(name, described);
        }
        let own = self.description(own)?;
        self.check_provider(&own, &providers)?;
        let budget = document.budget;
        let mut caps = Vec::new();
        for (scope, table) in [
            (Scope::Call, budget.call),
            (Scope::Attempt, budget.attempt),
            (Scope::Order, budget.order),
            (Scope::Plan, budget.plan),
            (Scope::Day, budget.day),
        ] {
            caps.extend(self.caps(scope, table));
        }
        Ok(OperatorFile {
            own,
            providers,
            proxies: self.proxies(document.proxies)?,
            profile: self.word("profile", document.profile)?,
            state_dir: self.path("state_dir", document.state_dir)?,
            cache_dir: self.path("cache_dir", document.cache_dir)?,
            artifacts: self.path("artifacts", document.artifacts)?,
            prices: self.path("prices", document.prices)?,
            caps,
            max_attempts: self.tries("max_attempts", document.max_attempts)?,
            provider_tries: self.tries("provider_tries", document.provider_tries)?,
            one_shot: document.one_shot.map(|value| Set {
                origin: self.source.origin(value.span()),
                value: value.into_inner(),
            }),
            timeout: self.parsed("timeout", document.timeout, positive_duration)?,
            wait: self.parsed("wait", document.wait, positive_duration)?,
            keep: self.parsed("keep", document.keep, crate::types::parse_duration)?,
            disk_floor: self.parsed("disk_floor", document.disk_floor, str::parse::<Bytes>)?,
            protected_branches: self.each("protected_branches", document.protected_branches, |name| {
                let refused = || "it is not the name of a branch, such as \"release\"";
                (!name.is_empty() && !name.contains(char::is_whitespace))
                    .then(|| name.to_owned())
                    .ok_or_else(refused)
            })?,
            allow_context: self.each("allow_context", document.allow_context, RepoPath::parse)?,
            log: self.parsed("log", document.log, |text| {
                let filter = is_log_filter(text).then(|| text.to_owned());
                filter.ok_or("it is not a filter, such as \"info\" or \"factory=debug\"")
            })?,
        })
    }

    fn check_name(&self, name: &str, span: &std::ops::Range<usize>) -> Read<()> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        let shown = escape_control(name);
        if name.is_empty() || !name.bytes().all(is_plain) {
            let what = format!("`{shown}` is no name for a provider");
            let remedy = "use small letters, digits, `-` and `_`";
            return Err(self.source.invalid(span.clone(), what, remedy));
        }
        if RESERVED.contains(&name) {
            let what = format!("`{shown}` is the name of a kind of provider");
            return Err(self.source.invalid(
                span.clone(),
                what,
                format!("call it something else, such as `my-{shown}`"),
            ));
        }
        Ok(())
    }

    fn description(&self, table: ProviderTable) -> Read<Description> {
        if let (Some(_), Some(second)) = (&table.api_key_file, &table.api_key_env) {
            let what = "both `api_key_file` and `api_key_env` are set";
            return Err(self.source.invalid(second.span(), what, "leave one of them out"));
        }
        let file = self
            .path("api_key_file", table.api_key_file)?
            .map(|set| set.map(Place::File));
        let variable = self.variable("api_key_env", table.api_key_env)?;
        let mut headers = Vec::new();
        for (name, table) in table.headers {
            headers.push(self.header(name, table)?);
        }
        let options = table.options.into_iter().map(|(name, value)| {
            let (span, OptionValue(value)) = (value.span(), value.into_inner());
            Set {
                value: (name, value),
                origin: self.source.origin(span),
            }
        });
        Ok(Description {
            provider: self.word("provider", table.provider)?,
            model: self.word("model", table.model)?,
            base_url: self.address("base_url", table.base_url)?,
            key: file.or(variable),
            ca_file: self.path("ca_file", table.ca_file)?,
            options: options.collect(),
            headers,
        })
    }

    /// What can be known about a provider before anybody names it.
    fn check_provider(&self, described: &Description, tables: &BTreeMap<String, Description>) -> Read<()> {
        let Some(provider) = &described.provider else {
            return Ok(());
        };
        let invalid = |what: String, remedy: String| FileError::Invalid {
            path: self.source.path.clone(),
            line: line_of(&provider.origin),
            what,
            remedy,
        };
        let (dir, asked) = split_record(&provider.value);
        if dir.is_some_and(|dir| !is_settled(dir)) {
            return Err(invalid(
                "the directory of a recording is not an absolute path".to_owned(),
                "write it from `/` on".to_owned(),
            ));
        }
        if tables.contains_key(asked) {
            let (address, key) = (&described.base_url.is_some(), &described.key.is_some());
            if *address || *key || !described.options.is_empty() || !described.headers.is_empty() {
                return Err(invalid(
                    format!("`provider` names `[providers.{asked}]`, and how to ask it is said outside of that table"),
                    format!(
                        "move base_url, api_key_file, api_key_env, provider_options and provider_headers to `[providers.{asked}]`"
                    ),
                ));
            }
            return Ok(());
        }
        let base_url = described.base_url.as_ref().map(|set| set.value.as_str());
        let spec = ProviderSpec::parse(asked, base_url).map_err(|_| {
            let kinds = RESERVED.iter().copied().chain(tables.keys().map(String::as_str));
            let nearest = nearest_word(asked, kinds).unwrap_or("openai");
            invalid(
                "`provider` is neither a provider nor the name of a table of providers".to_owned(),
                format!("did you mean `{nearest}`?"),
            )
        })?;
        match &spec {
            ProviderSpec::Replay(directory) if !is_settled(&directory.to_string_lossy()) => Err(invalid(
                "the directory of recorded answers is not an absolute path".to_owned(),
                "write it from `/` on".to_owned(),
            )),
            // What a relative one means depends on the working directory, which may be the repository.
            ProviderSpec::Command(argv) if argv.first().is_some_and(|word| word.contains('/') && !is_settled(word)) => {
                Err(invalid(
                    "the provider's program is neither a name nor an absolute path".to_owned(),
                    "write it from `/` on, or as a name that is in your PATH".to_owned(),
                ))
            }
            ProviderSpec::Server { base_url, .. } if has_user(base_url) => Err(invalid(
                "`provider`: a user name or password has no place in this file".to_owned(),
                "name where the key is, with `api_key_file` or `api_key_env`".to_owned(),
            )),
            ProviderSpec::Server { dialect, .. } => self.check_options(*dialect, &described.options),
            ProviderSpec::Replay(_) | ProviderSpec::Command(_) | ProviderSpec::Record { .. } => Ok(()),
        }
    }

    fn check_options(&self, dialect: Dialect, options: &[Set<(String, String)>]) -> Read<()> {
        let mut scratch = ServerSettings::new(dialect, "");
        for option in options {
            let (name, value) = &option.value;
            set_option(&mut scratch, name, value).map_err(|refusal| FileError::Invalid {
                path: self.source.path.clone(),
                line: line_of(&option.origin),
                // A key may have been put in the wrong place: no value is repeated.
                what: refusal.what.replace(&format!("`{value}`"), "this"),
                remedy: refusal
                    .remedy
                    .unwrap_or_else(|| "see docs/providers.md for its values".to_owned()),
            })?;
        }
        Ok(())
    }

    fn header(&self, name: String, table: Spanned<HeaderTable>) -> Read<Set<(String, Place)>> {
        let (span, HeaderTable { env, file }) = (table.span(), table.into_inner());
        let place = match (self.variable("env", env)?, self.path("file", file)?) {
            (Some(variable), None) => variable.value,
            (None, Some(file)) => Place::File(file.value),
            _ => {
                let what = format!("the header `{}` does not say where its value is", escape_control(&name));
                let remedy = "write either `{ env = \"VARIABLE\" }` or `{ file = \"/path\" }`";
                return Err(self.source.invalid(span, what, remedy));
            }
        };
        Ok(Set {
            value: (name, place),
            origin: self.source.origin(span),
        })
    }

    fn proxies(&self, table: ProxiesTable) -> Read<FileProxies> {
        Ok(FileProxies {
            https: self.address("https", table.https)?,
            http: self.address("http", table.http)?,
            all: self.address("all", table.all)?,
            except: self.word("except", table.except)?,
        })
    }

    fn caps(&self, scope: Scope, table: CapTable) -> impl Iterator<Item = Set<Cap>> {
        let set = |span, limit| Set {
            value: Cap { scope, limit },
            origin: self.source.origin(span),
        };
        let usd = table.usd.map(|usd| set(usd.span(), Limit::Usd(usd.get_ref().0)));
        let tokens = table
            .tokens
            .map(|tokens| set(tokens.span(), Limit::Tokens(*tokens.get_ref())));
        usd.into_iter().chain(tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Problem as _;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<OperatorFile, FileError> {
        let source = Source {
            path: "/f.toml".into(),
            text: text.to_owned(),
        };
        OperatorFile::read(&source, Some(Path::new("/home/a")))
    }

    #[test]
    fn a_file_without_settings_is_fine() {
        let file = read("# nothing\nschema = 1\n").unwrap();
        assert!(file.own.provider.is_none() && file.caps.is_empty());
    }

    #[test]
    fn paths_begin_at_the_root_or_at_home() {
        let file = read("state_dir = \"~/state\"\nprices = \"/p.toml\"\n").unwrap();
        assert_eq!(file.state_dir.unwrap().value, Path::new("/home/a/state"));
        assert_eq!(file.prices.unwrap().value, Path::new("/p.toml"));
        for path in ["state", "./state", "~", "~b/state", "", "a\\u0000"] {
            let error = read(&format!("\nstate_dir = \"{path}\"\n")).unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains("line 2: `state_dir`: it is not an absolute path"),
                "{error}"
            );
        }
    }

    #[test]
    fn caps_are_exact_and_each_knows_its_line() {
        let text = "[budget]\norder = { usd = \"2.50\", tokens = 300000 }\n[budget.day]\nusd = 20\n";
        let caps = read(text).unwrap().caps;
        let caps: Vec<_> = caps
            .iter()
            .map(|set| (set.value.to_string(), line_of(&set.origin)))
            .collect();
        let expected = [
            ("$2.50 for the order", 2),
            ("300000 tokens for the order", 2),
            ("$20.00 for the day", 4),
        ];
        assert_eq!(caps, expected.map(|(text, line)| (text.to_owned(), line)));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_what_to_write() {
        for (text, what, hint) in [
            ("\nmodle = \"m\"", "line 2: there is no setting `modle`", "`model`"),
            (
                "[budget]\nweek = { usd = 1 }",
                "line 2: there is no setting `week`",
                "did you mean",
            ),
            (
                "max_attempts = \"five\"",
                "line 1: this string is no value for `max_attempts`",
                "a whole number",
            ),
            (
                "max_attempts = 0",
                "line 1: `max_attempts` is out of range",
                "from 1 to 1000",
            ),
            (
                "max_attempts = -1",
                "line 1: this integer is no value for `max_attempts`",
                "a whole number",
            ),
            (
                "wait = \"soon\"",
                "line 1: `wait`: this is not a duration",
                "configuration.md",
            ),
            (
                "timeout = \"0s\"",
                "line 1: `timeout`: the duration must be longer",
                "configuration.md",
            ),
            (
                "disk_floor = \"1 GB\"",
                "line 1: `disk_floor`: this is not a size",
                "configuration.md",
            ),
            (
                "[budget.day]\nusd = 2.5",
                "line 2: this floating is no value for `usd`",
                "dollars as text",
            ),
            (
                "[budget.day]\nusd = \"2,5\"",
                "line 2: it cannot be read: it is not an amount of dollars",
                "configuration.md",
            ),
            (
                "model = \"a\"\nmodel = \"b\"",
                "line 2: it cannot be read: duplicate key",
                "configuration.md",
            ),
            ("model = ", "line 1: it cannot be read", "configuration.md"),
            ("schema = 2", "line 1: `schema` 2 is not known", "schema 1"),
            (
                "log = \"a=b=c\"",
                "line 1: `log`: it is not a filter",
                "configuration.md",
            ),
            (
                "log = \"verbose\"",
                "line 1: `log`: it is not a filter",
                "configuration.md",
            ),
            (
                "provider = \"opnai\"",
                "line 1: `provider` is neither",
                "did you mean `openai`?",
            ),
            (
                "provider = \"replay:answers\"",
                "line 1: the directory of recorded answers",
                "from `/` on",
            ),
            (
                "provider = \"record:answers:openai\"",
                "line 1: the directory of a recording",
                "from `/` on",
            ),
            (
                "provider = \"command:./ask\"",
                "line 1: the provider's program",
                "in your PATH",
            ),
            (
                "allow_context = [\"../x\"]",
                "line 1: `allow_context`: the path",
                "configuration.md",
            ),
            (
                "protected_branches = [\"\"]",
                "line 1: `protected_branches`: it is not the name",
                "configuration.md",
            ),
            (
                "[providers.openai]\nprovider = \"openai\"",
                "`openai` is the name of a kind",
                "my-openai",
            ),
            (
                "[providers.\"a b\"]\nprovider = \"openai\"",
                "`a b` is no name",
                "small letters",
            ),
            (
                "[providers.a]\nmodel = \"m\"",
                "`[providers.a]` does not say which kind",
                "provider = \"openai\"",
            ),
            (
                "[providers.a]\nprovider = \"openai\"\n[providers.a.options]\ndelivery = \"pigeon\"",
                "line 4: this is no value of the provider option `delivery`",
                "providers.md",
            ),
            (
                "provider = \"a\"\nbase_url = \"http://x\"\n[providers.a]\nprovider = \"openai\"",
                "line 1: `provider` names `[providers.a]`",
                "move base_url",
            ),
            (
                "api_key_file = \"/k\"\napi_key_env = \"KEY\"",
                "line 2: both `api_key_file` and `api_key_env` are set",
                "one of them",
            ),
            (
                "[provider_headers]\nX-A = {}",
                "line 2: the header `X-A` does not say where",
                "either",
            ),
            (
                "[provider_headers]\nX-A = \"v\"",
                "line 2: this string is no value for `X-A`",
                "{ env =",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.to_string().contains(what), "{text}: {error}");
            assert!(error.hint().unwrap().contains(hint), "{text}: {:?}", error.hint());
        }
    }

    #[test]
    fn a_value_that_cannot_be_used_is_not_repeated() {
        for text in [
            "timeout = \"hunter2\"",
            "disk_floor = \"hunter2\"",
            "provider = \"openai\"\nbase_url = \"https://h.example/v1?key=hunter2\"",
            "provider = \"openai\"\nbase_url = \"https://h.example/v1#hunter2\"",
            "provider = \"openai\"\nprovider_options = { json = \"hunter2\" }",
        ] {
            let told = read(text).unwrap_err().to_string();
            assert!(!told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn a_secret_in_the_file_is_refused_and_not_repeated() {
        for text in [
            "api_key = \"planted-4f2a\"",
            "key = \"planted-4f2a\"",
            "[providers.a]\nprovider = \"openai\"\ntoken = \"planted-4f2a\"",
            "api_key_env = \"planted-4f2a\"",
            "api_key_env = \"PLANTED4F2A9C8B7D6E5\"",
            "api_key_file = \"planted-4f2a\"",
            "model = \"sk-proj-planted4f2aplanted4f2aplanted4f2a\"",
            "max_attempts = \"ghp_planted4f2aplanted4f2aplanted4f2a\"",
            "max_attempts = \"planted-4f2a\"",
            "base_url = \"https://me:planted-4f2a@host/v1\"",
            "provider = \"openai:https://me:planted-4f2a@host/v1\"",
            "[proxies]\nhttps = \"http://me:planted-4f2a@proxy\"",
            "[provider_headers]\nX-A = \"planted-4f2a\"",
            "[provider_headers]\nX-A = { env = \"planted-4f2a\" }",
            "# -----BEGIN PRIVATE KEY-----\n# planted-4f2a\n-----BEGIN PRIVATE KEY-----\nplanted-4f2a\n",
            "model = planted-4f2a",
            "model = \"planted-4f2a\" planted-4f2a",
        ] {
            let error = read(text).unwrap_err();
            let told = format!("{error} {:?}", error.hint()).to_lowercase();
            assert!(!told.contains("planted"), "{text}: {told}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(?s).{0,200}") {
            let _ = read(&text);
        }

        #[test]
        fn nothing_like_settings_does_either(
            lines in proptest::collection::vec(("(provider|model|wait|log|api_key_env|\\[budget\\]|\\[providers.a\\]|day)", "( = )?", "(\"[^\"\n]{0,12}\"|[0-9.-]{1,4}|\\{.{0,8}\\}|é)?"), 0..8)
        ) {
            let lines: Vec<_> = lines.iter().map(|(key, equals, value)| format!("{key}{equals}{value}")).collect();
            match read(&lines.join("\n")) {
                Ok(_) => {}
                Err(FileError::Invalid { line, remedy, .. }) => {
                    prop_assert!(line >= 1 && line <= lines.len().max(1) && !remedy.is_empty());
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }
}
