//! Can this provider be asked? Looks stage by stage, from the name of the server to one small answer.
//!
//! - Every stage is always told of: what an earlier failure or the kind of provider left out is `NotTried`.
//! - The requests are made by the very client that runs use, so that what is said here is what a run finds.
//! - It costs one completion of a few tokens, and only when everything before it works.

use super::exchange::Exchange;
use super::settings::host;
use super::{LlmError, Provider, Request, Server};
use crate::types::Problem as _;
use reqwest::Url;
use serde_json::Value;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The most tokens of the one completion. Models that reason need some before they say a word.
const MAX_TOKENS: u32 = 1024;

/// How long each stage before the completion may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// A stage of the way to an answer, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeStage {
    /// The name of the server, or of the proxy on the way to it.
    Dns,
    /// A connection to it.
    Tcp,
    /// The way through the proxy.
    Proxy,
    /// The encryption.
    Tls,
    /// The key.
    Auth,
    /// The model.
    Model,
    /// One small answer.
    Completion,
}

impl ProbeStage {
    /// All of them in order.
    pub const ALL: [ProbeStage; 7] = [
        ProbeStage::Dns,
        ProbeStage::Tcp,
        ProbeStage::Proxy,
        ProbeStage::Tls,
        ProbeStage::Auth,
        ProbeStage::Model,
        ProbeStage::Completion,
    ];
}

/// What came of a stage.
#[derive(Debug)]
pub enum Found {
    /// It works; what was found.
    Works(String),
    /// It works, and something about it should be otherwise; what, and the advice.
    Doubtful(String, String),
    /// The answer leaves it open, and a later stage shows it; why.
    Open(String),
    /// There is nothing to look at, or an earlier stage failed; why.
    NotTried(String),
    /// It does not work.
    Fails(LlmError),
}

/// A stage and what came of it.
#[derive(Debug)]
pub struct Probe {
    /// The stage.
    pub stage: ProbeStage,
    /// What came of it.
    pub found: Found,
}

/// Looks at every stage for a provider and a model. It costs one completion of a few tokens at most.
pub async fn probe(provider: &mut Provider, model: Option<&str>) -> Vec<Probe> {
    let mut probes = Vec::new();
    if let Provider::Server(server) = innermost(provider) {
        way(server, model, &mut probes).await;
    }
    if !probes.iter().any(fails) {
        let found = completion(provider, model).await;
        let stage = match &found {
            Found::Fails(error) => blamed(error),
            _ => ProbeStage::Completion,
        };
        // The completion shows what the list of models left open.
        probes.retain(|probe| probe.stage != stage);
        probes.push(Probe { stage, found });
    }
    let why = match probes.iter().find(|probe| fails(probe)) {
        Some(_) => "something before it fails",
        None => "this provider does not need it",
    };
    for stage in ProbeStage::ALL {
        if !probes.iter().any(|probe| probe.stage == stage) {
            let found = Found::NotTried(why.to_owned());
            probes.push(Probe { stage, found });
        }
    }
    probes.sort_by_key(|probe| probe.stage);
    probes
}

fn fails(probe: &Probe) -> bool {
    matches!(probe.found, Found::Fails(_))
}

/// The stage that a completion's failure is about.
fn blamed(error: &LlmError) -> ProbeStage {
    match error {
        error if error.is_auth() => ProbeStage::Auth,
        LlmError::Status { status: 404, .. } | LlmError::Reported { status: 404, .. } => ProbeStage::Model,
        _ => ProbeStage::Completion,
    }
}

fn innermost(provider: &Provider) -> &Provider {
    match provider {
        Provider::Record(record) => innermost(record.inner()),
        provider => provider,
    }
}

/// The stages of a server up to the first that fails.
async fn way(server: &Server, model: Option<&str>, probes: &mut Vec<Probe>) {
    let exchange = server.exchange();
    let mut told = |stage, found: Found| {
        let goes_on = !matches!(found, Found::Fails(_));
        probes.push(Probe { stage, found });
        goes_on
    };
    let first = first_hop(exchange);
    let addresses = match look_up(exchange, &first).await {
        Ok(addresses) => addresses,
        Err(error) => {
            told(ProbeStage::Dns, Found::Fails(error));
            return;
        }
    };
    let names: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    told(
        ProbeStage::Dns,
        Found::Works(format!("{} is {}", host(&first), names.join(", "))),
    );
    if !told(ProbeStage::Tcp, connect(exchange, &addresses).await) {
        return;
    }
    // One request shows the proxy and TLS, and its error says which of them failed.
    let knocked = exchange.knock().await;
    let (proxy, tls) = judge_knock(exchange, knocked);
    if !told(ProbeStage::Proxy, proxy) || tls.is_none_or(|tls| !told(ProbeStage::Tls, tls)) {
        return;
    }
    let (auth, listed) = models(server, model).await;
    if told(ProbeStage::Auth, auth)
        && let Some(listed) = listed
    {
        told(ProbeStage::Model, listed);
    }
}

/// Where the first connection goes: the proxy if there is one, else the server.
fn first_hop(exchange: &Exchange) -> Url {
    let proxy = exchange.proxy().and_then(|proxy| Url::parse(proxy).ok());
    proxy.unwrap_or_else(|| exchange.base().clone())
}

async fn look_up(exchange: &Exchange, first: &Url) -> Result<Vec<SocketAddr>, LlmError> {
    let port = first.port_or_known_default().unwrap_or(1080);
    let name = host(first).to_owned();
    let refused = |source| LlmError::Lookup {
        host: name.clone(),
        source,
    };
    let found = timeout(PATIENCE, tokio::net::lookup_host((name.as_str(), port))).await;
    let found = found
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(refused)?;
    let addresses: Vec<SocketAddr> = found.collect();
    match addresses.is_empty() {
        true => Err(refused(io::Error::other(format!(
            "{} has no address",
            exchange.base().host_str().unwrap_or_default()
        )))),
        false => Ok(addresses),
    }
}

async fn connect(exchange: &Exchange, addresses: &[SocketAddr]) -> Found {
    let start = Instant::now();
    let mut last = None;
    for address in addresses {
        match timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(_)) => {
                return Found::Works(format!(
                    "{address} accepts connections, {} ms",
                    start.elapsed().as_millis()
                ));
            }
            Ok(Err(source)) => last = Some((address, source)),
            Err(_) => last = Some((address, io::ErrorKind::TimedOut.into())),
        }
    }
    let (address, source) = last.map_or_else(
        || (String::new(), io::ErrorKind::AddrNotAvailable.into()),
        |(address, source)| (address.to_string(), source),
    );
    Found::Fails(LlmError::Connect {
        host: host(&first_hop(exchange)).to_owned(),
        address,
        source,
    })
}

/// What a first request says about the proxy, and about TLS when it came that far.
fn judge_knock(exchange: &Exchange, knocked: Result<u16, LlmError>) -> (Found, Option<Found>) {
    let through = match exchange.proxy() {
        Some(proxy) => Found::Works(format!("{proxy} leads to {}", host(exchange.base()))),
        None => Found::NotTried("no proxy is on the way".to_owned()),
    };
    let is_encrypted = exchange.base().scheme() == "https";
    let tls = match knocked {
        Err(error @ LlmError::Proxy { .. }) => return (Found::Fails(error), None),
        // Whatever it is, it is none of encryption; what is asked next shows it.
        Err(_) if !is_encrypted => Found::NotTried("the server is not encrypted".to_owned()),
        Err(error) => Found::Fails(error),
        Ok(407) if exchange.proxy().is_some() => {
            return (
                Found::Fails(LlmError::ProxyAuthorization {
                    proxy: exchange.proxy().unwrap_or_default().to_owned(),
                }),
                None,
            );
        }
        Ok(status) if is_encrypted => Found::Works(format!("the certificate is trusted; status {status}")),
        Ok(_) if super::settings::is_this_host(exchange.base()) => {
            Found::NotTried("the server is on this host and not encrypted".to_owned())
        }
        Ok(_) => Found::Doubtful(
            "the connection is not encrypted".to_owned(),
            "use https:// with a server on another host: prompts, code and the key are read on the way".to_owned(),
        ),
    };
    (through, Some(tls))
}

/// What the list of models says about the key, and about the model if it is such a list.
async fn models(server: &Server, model: Option<&str>) -> (Found, Option<Found>) {
    let exchange = server.exchange();
    let list = async {
        let mut reply = exchange.get("models").await?;
        exchange.document(&mut reply).await
    };
    let bytes = match timeout(PATIENCE, list).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) if error.is_auth() => return (Found::Fails(error), None),
        Ok(Err(error)) => return (open(&error.to_string()), Some(open("there is no list of models"))),
        Err(_) => {
            return (
                open("the list of models does not come"),
                Some(open("there is no list of models")),
            );
        }
    };
    let auth = match server.settings().api_key {
        Some(_) => "the key is accepted",
        None => "no key is given, and none is asked for",
    };
    (Found::Works(auth.to_owned()), Some(is_listed(&bytes, model)))
}

/// Servers without a list of models are no worse; the completion shows what they can do.
fn open(why: &str) -> Found {
    Found::Open(format!("not known before the completion: {why}"))
}

/// Whether the list has the model. Source: the API references of OpenAI ("List models") and Anthropic ("List Models"): `data`
/// is a list of objects with an `id`. A list can have further pages, so that what it lacks may exist.
fn is_listed(bytes: &[u8], model: Option<&str>) -> Found {
    let Some(model) = model else {
        return Found::NotTried("no model is named".to_owned());
    };
    let list: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let models = list.get("data").and_then(Value::as_array);
    let Some(models) = models else {
        return open("the list of models is none");
    };
    match models.iter().any(|listed| listed["id"] == model) {
        true => Found::Works(format!("`{model}` is in the list of models")),
        false => open(&format!("`{model}` is not in the list of {} models", models.len())),
    }
}

async fn completion(provider: &mut Provider, model: Option<&str>) -> Found {
    if matches!(innermost(provider), Provider::Replay(_)) {
        return Found::NotTried("recorded answers are used up by being given; the directory can be read".to_owned());
    }
    let request = Request {
        system: "Answer with one word.".to_owned(),
        user: "Say ok.".to_owned(),
        model: model.map(str::to_owned),
        max_output_tokens: Some(MAX_TOKENS),
        key: String::new(),
        schema: None,
    };
    let start = Instant::now();
    // A recording is of runs.
    let asked = match provider {
        Provider::Record(record) => Box::pin(record.inner_mut().ask(&request)).await,
        provider => provider.ask(&request).await,
    };
    match asked {
        Ok(answer) => {
            let price = answer.usage.map_or_else(
                || "without saying how many tokens".to_owned(),
                |usage| format!("{} + {} tokens", usage.input_tokens, usage.output_tokens),
            );
            let by = answer.model.map(|model| format!("`{model}` ")).unwrap_or_default();
            Found::Works(format!("{by}answered in {} ms, {price}", start.elapsed().as_millis()))
        }
        // The way works; whether the model is of use is not the question here.
        Err(error) if error.class() == crate::types::FailureClass::Proposal => {
            Found::Doubtful(error.to_string(), "try another model, or more tokens".to_owned())
        }
        Err(error) => Found::Fails(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_not_listed_may_exist_all_the_same() {
        let list = br#"{"data":[{"id":"m-1"},5]}"#;
        assert!(matches!(is_listed(list, Some("m-1")), Found::Works(_)));
        assert!(matches!(is_listed(list, Some("m-2")), Found::Open(_)));
        assert!(matches!(is_listed(b"<html>", Some("m-1")), Found::Open(_)));
        assert!(matches!(is_listed(list, None), Found::NotTried(_)));
    }
}
