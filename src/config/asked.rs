//! Which provider is asked, and how: from flags, variables and the settings file.
//!
//! - A table of providers is whole: what it says goes before variables, because who names it asks for all of it, and what
//!   describes another provider is not mixed in.
//! - A key goes where somebody meant it to go. One that is meant for another provider, or for any, is not sent to a table's
//!   own address.

use super::file::{Origin, Set};
use super::key::{KeyError, read_key_fd, read_key_file};
use super::operator::{Description, Place};
use super::option::set_option;
use super::provider::{KINDS, ProviderSpec, SpecError, spelling, split_record};
use super::settings::{Settings, flag, variable};
use super::{ANTHROPIC_API_KEY, API_KEY, OPENAI_API_KEY};
use crate::llm::{Dialect, Proxies, ServerSettings};
use crate::types::{FailureClass, Problem, escape_control, similar_word};
use secrecy::SecretString;
use std::path::{Path, PathBuf};

/// What the command line says about a provider.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// Which one.
    pub provider: Option<&'a str>,
    /// Which of its models.
    pub model: Option<&'a str>,
    /// The file of its key.
    pub api_key_file: Option<&'a Path>,
    /// The descriptor of its key.
    pub api_key_fd: Option<u32>,
    /// Certificates to trust.
    pub ca_file: Option<&'a Path>,
    /// Further headers, as `NAME: VALUE`.
    pub headers: &'a [String],
    /// Options, as `NAME=VALUE`.
    pub options: &'a [String],
}

/// How a provider is asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// It, as it was named.
    pub name: Set<String>,
    /// What that stands for.
    pub spec: ProviderSpec,
    /// The model.
    pub model: Option<Set<String>>,
    /// The address of its server, where one is set apart from the provider.
    pub base_url: Option<Set<String>>,
    /// Where the key of its server is.
    pub key: Option<Set<Place>>,
    /// Files of certificates to trust beside those of the host.
    pub ca_files: Vec<Set<PathBuf>>,
    /// Options by name; a later one goes before an earlier one.
    pub options: Vec<Set<(String, String)>>,
    /// Further headers whose values are public, from the command line.
    pub headers: Vec<Set<(String, String)>>,
    /// Further headers by the place of their values.
    pub placed_headers: Vec<Set<(String, Place)>>,
}

/// Which keys a provider may be sent.
#[derive(Clone, Copy, PartialEq)]
enum Keys {
    /// The one that its table names, or one on the command line.
    Own,
    /// That of a variable as well.
    Any,
}

impl Settings {
    /// How a provider is asked: the one that the command line wants, else `$FACTORY_PROVIDER`, else that of the file.
    ///
    /// # Errors
    /// `Order` in the sense of a wrong command line when none is named, or what is named is none.
    pub fn asked(&self, wanted: Wanted<'_>) -> Result<Asked, AskError> {
        let (file, environment) = (&self.file, &self.environment);
        let own = &file.own;
        let given = wanted.provider.map(|text| flag("provider", text.to_owned()));
        let from_variable = || Some(variable("FACTORY_PROVIDER", environment.provider.clone()?));
        let named = given.or_else(from_variable).or_else(|| own.provider.clone());
        let name = named.ok_or(SpecError::Missing)?;
        let (dir, inner) = split_record(&name.value);
        let table = file.providers.get(inner);
        // What the file says outside of tables is about its own provider, or about any when it names none.
        let is_own = match &own.provider {
            Some(theirs) => split_record(&theirs.value).1 == inner,
            None => true,
        };
        let nothing = Description::default();
        let general = if is_own { own } else { &nothing };
        let described = table.unwrap_or(general);
        let base_url = match table {
            Some(table) => table.base_url.clone(),
            None => {
                let given = environment.base_url.clone();
                let given = given.map(|url| variable("FACTORY_BASE_URL", url));
                given.or_else(|| general.base_url.clone())
            }
        };
        let text = table
            .and_then(|table| table.provider.as_ref())
            .map_or(inner, |set| set.value.as_str());
        let spec = ProviderSpec::parse(text, base_url.as_ref().map(|set| set.value.as_str()));
        let spec = spec.map_err(|error| self.unknown(error, inner))?;
        let is_settled = |table: &Description| table.key.is_some() || table.base_url.is_some() || text.contains(':');
        let keys = if table.is_some_and(is_settled) {
            Keys::Own
        } else {
            Keys::Any
        };
        let key = self.key(&spec, wanted, described, keys);
        let spec = match dir {
            Some("") => {
                let text = escape_control(&name.value);
                return Err(SpecError::Unknown { text }.into());
            }
            Some(dir) => ProviderSpec::Record {
                dir: dir.into(),
                of: Box::new(spec),
            },
            None => spec,
        };
        let given = wanted.model.map(|model| flag("model", model.to_owned()));
        let from_variable = || Some(variable("FACTORY_MODEL", environment.model.clone()?));
        let of_table = || table.and_then(|table| table.model.clone());
        let model = given
            .or_else(of_table)
            .or_else(from_variable)
            .or_else(|| general.model.clone());
        let given = environment.ca_file.clone();
        let given = given.map(|file| variable("SSL_CERT_FILE", file));
        let chosen = wanted.ca_file.map(|file| flag("ca-file", file.to_owned()));
        let chosen = chosen.or_else(|| described.ca_file.clone().or_else(|| general.ca_file.clone()));
        let mut options = described.options.clone();
        for option in wanted.options {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            options.push(flag("provider-option", (name.to_owned(), value.to_owned())));
        }
        Ok(Asked {
            name: name.clone(),
            spec,
            model,
            base_url,
            key,
            ca_files: given.into_iter().chain(chosen).collect(),
            options,
            headers: wanted
                .headers
                .iter()
                .map(|header| split_header(header))
                .collect::<Result<_, _>>()?,
            placed_headers: described.headers.clone(),
        })
    }

    /// Where the key of a server is.
    fn key(&self, spec: &ProviderSpec, wanted: Wanted<'_>, described: &Description, keys: Keys) -> Option<Set<Place>> {
        let ProviderSpec::Server { dialect, .. } = spec.asked() else {
            return None;
        };
        let file = wanted
            .api_key_file
            .map(|path| flag("api-key-file", Place::File(path.to_owned())));
        let given = file.or_else(|| Some(flag("api-key-fd", Place::Descriptor(wanted.api_key_fd?))));
        let in_variable = |name: &str| {
            self.environment
                .secret(name)
                .map(|_| variable(name, Place::Variable(name.to_owned())))
        };
        if given.is_some() {
            return given;
        }
        if keys == Keys::Own {
            return described.key.clone();
        }
        let makers = match dialect {
            Dialect::Chat | Dialect::Responses => OPENAI_API_KEY,
            Dialect::Messages => ANTHROPIC_API_KEY,
        };
        in_variable(API_KEY)
            .or_else(|| described.key.clone())
            .or_else(|| in_variable(makers))
    }

    fn unknown(&self, error: SpecError, text: &str) -> SpecError {
        let SpecError::Unknown { .. } = error else {
            return error;
        };
        let tables: Vec<String> = self.providers().map(|(name, _)| name.to_owned()).collect();
        let (word, is_name) = match text.split_once(':') {
            Some((word, _)) => (word, false),
            None => (text, !text.is_empty()),
        };
        // Nobody who writes an address or a directory means a table.
        let names = tables.iter().filter(|_| is_name).map(String::as_str);
        let known = names.chain(KINDS.map(|(word, _)| word));
        let nearest = similar_word(word, known).map(|word| spelling(word).to_owned());
        SpecError::NotThere {
            text: escape_control(text),
            is_name,
            nearest,
            tables,
        }
    }

    /// Reads the secret that is at a place.
    ///
    /// # Errors
    /// `Policy` when there is none, or it is not where only its owner can read it.
    pub fn secret(&self, place: &Set<Place>) -> Result<SecretString, AskError> {
        match &place.value {
            Place::File(path) => Ok(read_key_file(path)?),
            Place::Descriptor(number) => Ok(read_key_fd(*number)?),
            Place::Variable(name) => self.environment.secret(name).ok_or_else(|| AskError::Unset {
                name: name.clone(),
                origin: place.origin.clone(),
            }),
        }
    }

    /// Every secret that is in a variable which this program knows the meaning of: programs that it starts have it too.
    pub fn known_secrets(&self) -> Vec<SecretString> {
        let Proxies { https, http, all, .. } = self.proxies();
        let proxies = [https, http, all].into_iter().flatten();
        let passwords = proxies.filter_map(|proxy| password(&proxy));
        let named = self.places().filter_map(|place| match place {
            Place::Variable(name) => self.environment.secret(name),
            Place::File(_) | Place::Descriptor(_) => None,
        });
        self.environment
            .secrets()
            .cloned()
            .chain(passwords)
            .chain(named)
            .collect()
    }

    /// What a server needs to be asked.
    ///
    /// # Errors
    /// `Policy` when its key or a header cannot be had, `Order` in the sense of a wrong command line when an option is none.
    pub fn server(&self, asked: &Asked, dialect: Dialect, base_url: &str) -> Result<ServerSettings, AskError> {
        let mut settings = ServerSettings {
            api_key: asked.key.as_ref().map(|place| self.secret(place)).transpose()?,
            headers: asked.headers.iter().map(|set| set.value.clone()).collect(),
            proxies: self.proxies(),
            ca_files: asked.ca_files.iter().map(|set| set.value.clone()).collect(),
            ..ServerSettings::new(dialect, base_url)
        };
        let is_given = |name: &str| asked.headers.iter().any(|set| set.value.0.eq_ignore_ascii_case(name));
        for header in &asked.placed_headers {
            let (name, place) = &header.value;
            if !is_given(name) {
                let place = Set {
                    value: place.clone(),
                    origin: header.origin.clone(),
                };
                settings.secret_headers.push((name.clone(), self.secret(&place)?));
            }
        }
        for option in &asked.options {
            let (name, value) = &option.value;
            set_option(&mut settings, name, value).map_err(|refusal| AskError::Option {
                what: refusal.what,
                remedy: refusal.remedy,
                origin: option.origin.clone(),
            })?;
        }
        Ok(settings)
    }
}

/// The password in the address of a proxy.
fn password(proxy: &SecretString) -> Option<SecretString> {
    use secrecy::ExposeSecret as _;
    let text = proxy.expose_secret();
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let (user, _) = rest.split('/').next()?.rsplit_once('@')?;
    let (_, password) = user.split_once(':')?;
    Some(password.to_owned().into())
}

fn split_header(header: &str) -> Result<Set<(String, String)>, AskError> {
    let (name, value) = header.split_once(':').ok_or(AskError::Header)?;
    Ok(flag(
        "provider-header",
        (name.trim().to_owned(), value.trim().to_owned()),
    ))
}

/// A provider that cannot be asked as it is set up.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It is not named well.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Its key cannot be had.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A variable that should have a secret has none.
    #[error("the variable `{name}`, which {origin} names, is not set")]
    Unset {
        /// The variable.
        name: String,
        /// Who names it.
        origin: Origin,
    },
    /// An option cannot be set.
    #[error("{what}")]
    Option {
        /// Why.
        what: String,
        /// What could be, where it is not said by how options are given.
        remedy: Option<String>,
        /// Who sets it.
        origin: Origin,
    },
    /// A header on the command line is none.
    #[error("a further header has no colon")]
    Header,
}

impl AskError {
    /// Whether the command line, or a variable in its place, is wrong.
    pub fn is_usage(&self) -> bool {
        match self {
            AskError::Spec(_) | AskError::Header => true,
            AskError::Option { origin, .. } => !matches!(origin, Origin::File { .. }),
            AskError::Key(_) | AskError::Unset { .. } => false,
        }
    }
}

impl Problem for AskError {
    fn class(&self) -> FailureClass {
        match self {
            error if error.is_usage() => FailureClass::Order,
            _ => FailureClass::Policy,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            AskError::Spec(error) => error.hint(),
            AskError::Key(error) => error.hint(),
            AskError::Unset { name, .. } => Some(format!("export {name}, or name another place of the key")),
            AskError::Option {
                remedy: Some(remedy), ..
            } => Some(remedy.clone()),
            AskError::Option {
                origin: Origin::File { path, line },
                ..
            } => Some(format!("correct line {line} of {}", path.display())),
            AskError::Option { .. } => Some("give --provider-option NAME=VALUE".to_owned()),
            AskError::Header => Some("give --provider-header 'NAME: VALUE'".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::tests::settings;
    use super::*;

    const FILE: &str = "\
provider = \"openai:http://own/v1\"
model = \"own\"
api_key_file = \"/own.key\"
[provider_options]
delivery = \"whole\"
[providers.local]
provider = \"openai\"
base_url = \"http://local/v1\"
[providers.claude]
provider = \"anthropic\"
model = \"m\"
[providers.work]
provider = \"openai\"
model = \"w\"
api_key_env = \"WORK_KEY\"
headers = { X-Team = { env = \"TEAM\" } }
";

    const KEYS: [(&str, &str); 2] = [("OPENAI_API_KEY", "o"), ("ANTHROPIC_API_KEY", "a")];

    fn asked(variables: &[(&str, &str)], provider: Option<&str>) -> Asked {
        let wanted = Wanted {
            provider,
            ..Wanted::default()
        };
        settings(variables, FILE).asked(wanted).unwrap()
    }

    fn key(asked: &Asked) -> Option<Place> {
        asked.key.as_ref().map(|set| set.value.clone())
    }

    fn in_variable(name: &str) -> Option<Place> {
        Some(Place::Variable(name.to_owned()))
    }

    #[test]
    fn the_files_own_provider_is_asked_with_what_describes_it() {
        let asked = asked(&KEYS, None);
        assert_eq!(asked.name.origin.to_string(), "/f.toml:1");
        assert_eq!(asked.model.as_ref().unwrap().value, "own");
        assert_eq!(
            key(&asked),
            Some(Place::File("/own.key".into())),
            "a maker's key is only a default"
        );
        assert_eq!(asked.options[0].value.0, "delivery");
    }

    #[test]
    fn what_describes_the_files_own_provider_is_not_used_for_another() {
        for (provider, variable) in [
            ("anthropic", "ANTHROPIC_API_KEY"),
            ("openai:http://else/v1", "OPENAI_API_KEY"),
        ] {
            let asked = asked(&KEYS, Some(provider));
            assert_eq!(key(&asked), in_variable(variable), "{provider}");
            assert!(asked.options.is_empty() && asked.model.is_none(), "{provider}");
        }
        let recorded = asked(&KEYS, Some("record:/d:openai:http://own/v1"));
        assert_eq!(
            key(&recorded),
            Some(Place::File("/own.key".into())),
            "a recording is of the same"
        );
    }

    #[test]
    fn a_table_is_whole_and_its_own_address_gets_no_key_that_was_not_meant_for_it() {
        let with_ours = [KEYS[0], KEYS[1], ("FACTORY_API_KEY", "f"), ("FACTORY_MODEL", "v")];
        let local = asked(&with_ours, Some("local"));
        assert_eq!(key(&local), None);
        let expected = ProviderSpec::Server {
            dialect: Dialect::Chat,
            base_url: "http://local/v1".to_owned(),
        };
        assert_eq!(local.spec, expected);
        assert_eq!(local.model.unwrap().value, "v", "it names none");
        let claude = asked(&with_ours, Some("claude"));
        assert_eq!(key(&claude), in_variable("FACTORY_API_KEY"));
        assert_eq!(claude.model.unwrap().value, "m", "what it names goes before a variable");
        assert_eq!(key(&asked(&KEYS, Some("claude"))), in_variable("ANTHROPIC_API_KEY"));
        let work = asked(&with_ours, Some("record:/d:work"));
        assert_eq!(key(&work), in_variable("WORK_KEY"));
        assert_eq!(work.placed_headers[0].value.0, "X-Team");
        assert!(matches!(work.spec, ProviderSpec::Record { .. }));
    }

    #[test]
    fn flags_go_before_all() {
        let (headers, options) = (["X-Team: b".to_owned()], ["delivery=stream".to_owned()]);
        let wanted = Wanted {
            provider: Some("work"),
            model: Some("flag"),
            api_key_file: Some(Path::new("/flag.key")),
            headers: &headers,
            options: &options,
            ..Wanted::default()
        };
        let settings = settings(&KEYS, FILE);
        let asked = settings.asked(wanted).unwrap();
        assert_eq!(asked.model.as_ref().unwrap().value, "flag");
        assert_eq!(key(&asked), Some(Place::File("/flag.key".into())));
        let keyless = Asked { key: None, ..asked };
        let server = settings.server(&keyless, Dialect::Chat, "http://x").unwrap();
        assert_eq!(server.headers, [("X-Team".to_owned(), "b".to_owned())]);
        assert!(server.secret_headers.is_empty());
    }

    #[test]
    fn a_provider_that_is_none_is_told_with_the_nearest_and_with_all_that_there_are() {
        let refusal = |settings: &Settings, provider| {
            let wanted = Wanted {
                provider: Some(provider),
                ..Wanted::default()
            };
            let error = settings.asked(wanted).unwrap_err();
            assert!(error.is_usage(), "{error}");
            format!("{error}; {}", error.hint().unwrap())
        };
        let own = settings(&[], FILE);
        let built_in = "replay:DIR, command:PROGRAM ARGUMENTS, openai, responses or anthropic, each of them with :BASE_URL or \
                        without, or record:DIR:PROVIDER";
        assert_eq!(
            refusal(&own, "loacl"),
            format!(
                "`loacl` is not a provider, and the settings have no `[providers.loacl]`; did you mean `local`? the settings \
                 name `claude`, `local`, `work`; built in are {built_in}"
            )
        );
        for (provider, nearest) in [
            ("record:/d:wrok", "did you mean `work`?"),
            ("opnai", "did you mean `openai`?"),
            ("repaly:/d", "did you mean `replay:DIR`?"),
            ("replay", "did you mean `replay:DIR`?"),
        ] {
            let refusal = refusal(&own, provider);
            let lists = refusal.contains("`claude`, `local`, `work`") && refusal.contains("record:DIR:PROVIDER");
            assert!(refusal.contains(nearest) && lists, "{refusal}");
        }
        let far = refusal(&own, "zzz");
        assert!(
            !far.contains("did you mean") && far.contains("`claude`, `local`, `work`"),
            "{far}"
        );
        let nothing = Settings::default();
        assert_eq!(
            refusal(&nothing, "zzz"),
            format!(
                "`zzz` is not a provider, and the settings have no `[providers.zzz]`; the settings name no providers; built in \
                 are {built_in}"
            )
        );
        let nothing = nothing.asked(Wanted::default()).unwrap_err();
        assert!(matches!(nothing, AskError::Spec(SpecError::Missing)));
    }

    #[test]
    fn an_option_of_the_file_is_the_files_mistake() {
        let settings = settings(&[], "[provider_options]\ndelivery = \"background\"\n");
        let wanted = Wanted {
            provider: Some("anthropic"),
            ..Wanted::default()
        };
        let asked = settings.asked(wanted).unwrap();
        let error = settings.server(&asked, Dialect::Messages, "http://x").unwrap_err();
        assert!(
            !error.is_usage() && error.hint().unwrap().contains("line 2 of /f.toml"),
            "{error}"
        );
    }
}
