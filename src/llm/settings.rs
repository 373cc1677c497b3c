//! What a server needs to be asked.

use super::{Capabilities, Dialect};
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How long a whole call may take unless the settings say otherwise. Reasoning models think for minutes.
pub const DEFAULT_TOTAL_TIMEOUT: Duration = Duration::from_secs(600);

/// What a server needs to be asked.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The language that it speaks.
    pub dialect: Dialect,
    /// The address up to and including the version: `https://api.example.com/v1`.
    pub base_url: String,
    /// The key; local servers need none.
    pub api_key: Option<SecretString>,
    /// Further headers of every request. Their values may be seen.
    pub headers: Vec<(String, String)>,
    /// Further headers whose values nobody is to see.
    pub secret_headers: Vec<(String, SecretString)>,
    /// How long each wait may be.
    pub timeouts: Timeouts,
    /// The proxies of this host.
    pub proxies: Proxies,
    /// Files with certificates, in PEM, that are trusted besides those of the host.
    pub ca_files: Vec<PathBuf>,
    /// What the server can do.
    pub capabilities: Capabilities,
}

impl ServerSettings {
    /// Settings for a server without a key, proxies or private certificates, with the usual timeouts.
    pub fn new(dialect: Dialect, base_url: impl Into<String>) -> Self {
        ServerSettings {
            dialect,
            base_url: base_url.into(),
            api_key: None,
            headers: Vec::new(),
            secret_headers: Vec::new(),
            timeouts: Timeouts::default(),
            proxies: Proxies::default(),
            ca_files: Vec::new(),
            capabilities: dialect.capabilities(),
        }
    }
}

/// How long each wait may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection, TLS included.
    pub connect: Duration,
    /// From the request to the first byte of an answer that comes in pieces. One in one piece may take the whole time.
    pub first_byte: Duration,
    /// Between two pieces of an answer.
    pub silence: Duration,
    /// For the whole call.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(15),
            first_byte: Duration::from_secs(300),
            silence: Duration::from_secs(300),
            total: DEFAULT_TOTAL_TIMEOUT,
        }
    }
}

/// The proxies of a host, as its environment names them.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// For servers with `https`.
    pub https: Option<SecretString>,
    /// For servers with `http`.
    pub http: Option<SecretString>,
    /// For those that have no proxy of their own above.
    pub all: Option<SecretString>,
    /// Servers that are asked without one, separated by commas: hosts, domains, addresses, networks, or `*`.
    pub except: Option<String>,
}

impl Proxies {
    /// The proxy for an address. A server on this host never has one.
    pub(super) fn proxy_of(&self, url: &Url) -> Option<&SecretString> {
        if is_this_host(url) || self.is_excepted(url) {
            return None;
        }
        let own = match url.scheme() {
            "https" => &self.https,
            _ => &self.http,
        };
        let proxy = own.as_ref().or(self.all.as_ref());
        proxy.filter(|proxy| !proxy.expose_secret().trim().is_empty())
    }

    fn is_excepted(&self, url: &Url) -> bool {
        let host = host(url).to_ascii_lowercase();
        let mut entries = self.except.as_deref().unwrap_or_default().split(',').map(str::trim);
        entries.any(|entry| covers(&entry.to_ascii_lowercase(), &host))
    }
}

/// Whether an entry of `NO_PROXY` covers a host: by name, as a domain above it, by address, or as a network.
fn covers(entry: &str, host: &str) -> bool {
    let name = entry.trim_start_matches("*.").trim_start_matches('.');
    if entry == "*" || (!name.is_empty() && name == host) {
        return true;
    }
    match (host.parse(), entry.split_once('/')) {
        (Ok(address), Some((network, bits))) => is_in(address, network, bits),
        (Ok(_), None) => false,
        (Err(_), _) => host
            .strip_suffix(name)
            .is_some_and(|above| above.ends_with('.') && !name.is_empty()),
    }
}

fn is_in(address: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    let (address, network, width) = match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            (u128::from(address.to_bits()), u128::from(network.to_bits()), 32)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => (address.to_bits(), network.to_bits(), 128),
        _ => return false,
    };
    let rest = match bits {
        bits if bits <= width => width - bits,
        _ => return false,
    };
    (address ^ network).checked_shr(rest).unwrap_or(0) == 0
}

/// The host of an address, that of IPv6 without its brackets.
pub(super) fn host(url: &Url) -> &str {
    let host = url.host_str().unwrap_or_default();
    host.trim_start_matches('[').trim_end_matches(']')
}

pub(super) fn is_this_host(url: &Url) -> bool {
    let host = host(url);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_known_by_its_names() {
        for (base, expected) in [
            ("http://localhost:1/v1", true),
            ("http://127.0.0.1/v1", true),
            ("http://[::1]/v1", true),
            ("http://127.0.0.1.example.com/v1", false),
            ("https://api.example.com/v1", false),
        ] {
            assert_eq!(is_this_host(&Url::parse(base).unwrap()), expected, "{base}");
        }
    }

    #[test]
    fn exceptions_are_names_domains_addresses_and_networks() {
        for (except, url, excepted) in [
            ("*", "https://a.example.com", true),
            ("a.example.com", "https://A.example.com:8443", true),
            ("example.com", "https://a.example.com", true),
            (".example.com", "https://a.example.com", true),
            ("*.example.com", "https://a.example.com", true),
            ("x, example.com", "https://a.example.com", true),
            ("ample.com", "https://example.com", false),
            ("b.example.com", "https://a.example.com", false),
            ("192.0.2.7", "https://192.0.2.7", true),
            ("2.7", "https://192.0.2.7", false),
            ("192.0.2.0/24", "https://192.0.2.7", true),
            ("192.0.3.0/24", "https://192.0.2.7", false),
            ("0.0.0.0/0", "https://192.0.2.7", true),
            ("192.0.2.0/33", "https://192.0.2.7", false),
            ("2001:db8::/32", "https://[2001:db8::7]", true),
            ("::/0", "https://[2001:db8::7]", true),
            ("2001:db9::/32", "https://[2001:db8::7]", false),
            ("", "https://a.example.com", false),
            (",.,*.", "https://a.example.com", false),
        ] {
            let proxies = Proxies {
                all: Some("http://proxy".to_owned().into()),
                except: Some(except.to_owned()),
                ..Proxies::default()
            };
            let proxy = proxies.proxy_of(&Url::parse(url).unwrap());
            assert_eq!(proxy.is_none(), excepted, "{except} {url}");
        }
    }

    #[test]
    fn each_scheme_has_its_proxy_and_this_host_none() {
        let proxies = Proxies {
            https: Some("http://secure".to_owned().into()),
            all: Some("http://all".to_owned().into()),
            ..Proxies::default()
        };
        for (url, proxy) in [
            ("https://a.example.com", Some("http://secure")),
            ("http://a.example.com", Some("http://all")),
            ("http://localhost:8080", None),
            ("https://[::1]:8080", None),
        ] {
            let found = proxies.proxy_of(&Url::parse(url).unwrap());
            assert_eq!(found.map(|proxy| proxy.expose_secret()), proxy, "{url}");
        }
    }
}
