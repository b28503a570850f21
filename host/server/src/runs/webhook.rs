//! Telling somebody else that a run has ended: LangGraph's form, unsigned and at most three times.
//!
//! It is for receivers that know this form. What has to arrive, or to be believed, goes through a connector: those are queued with what they tell of,
//! signed, and tried for days.

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use holdpoint_store::RunRecord;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use rustls_platform_verifier::BuilderVerifierExt;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::outcome::Outcome;
use crate::langgraph::forms::time_text;
use crate::langgraph::runs::run_json;
use crate::problem::Problem;
use crate::settings::Settings;

/// Longest URL.
const URL_BYTES_MAX: usize = 4096;

/// Pauses before the attempts after the first.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// Longest time for one attempt.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Calls that are under way at once; one more is dropped, with a line in the log.
const CALLS_MAX: usize = 64;

/// Sends webhooks.
pub(super) struct Webhooks {
    local: bool,
    client: OnceLock<Option<reqwest::Client>>,
    calls: Arc<Semaphore>,
}

impl Webhooks {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { local: settings.loopback_trusted, client: OnceLock::new(), calls: Arc::new(Semaphore::new(CALLS_MAX)) }
    }

    /// Tells what a run came to. Returns at once.
    pub(super) fn tell(&self, url: String, run: &RunRecord, outcome: &Outcome, now_ms: u64) {
        let Ok(permit) = Arc::clone(&self.calls).try_acquire_owned() else {
            tracing::warn!(run = %run.id, "a webhook is not called: too many are");
            return;
        };
        let Some(client) = self.client.get_or_init(|| client(self.local)).clone() else { return };
        let body = body(run, outcome, now_ms).to_string();
        let run = run.id.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let mut pauses = PAUSES.into_iter();
            loop {
                match call(&client, &url, body.clone()).await {
                    Ok(()) => return,
                    Err(reason) => match pauses.next() {
                        Some(pause) => tokio::time::sleep(pause).await,
                        None => {
                            tracing::warn!(%run, reason, "a webhook could not be delivered");
                            return;
                        }
                    },
                }
            }
        });
    }
}

/// Whether a URL may be told of a run.
///
/// # Errors
/// 422 `HP0837`.
pub(super) fn check(url: &str, local: bool) -> Result<(), Problem> {
    let refused = |reason: &str| Err(Problem::invalid("HP0837", format!("Webhook URL blocked: {reason}")));
    if url.len() > URL_BYTES_MAX {
        return refused("it is longer than 4096 characters");
    }
    let Ok(parsed) = Url::parse(url) else { return refused("it is not a URL") };
    if !matches!(parsed.scheme(), "http" | "https") {
        return refused("it is neither http nor https");
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return refused("it has a name or a password in it");
    }
    let Some(host) = parsed.host_str() else { return refused("it has no host") };
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) if !allows(address, local) => refused("its address is not one of the public internet"),
        Err(_) if host.eq_ignore_ascii_case("localhost") && !local => {
            refused("its address is not one of the public internet")
        }
        _ => Ok(()),
    }
}

/// LangGraph's form: the run, with the values and without what waits for an answer.
fn body(run: &RunRecord, outcome: &Outcome, now_ms: u64) -> Value {
    let mut body = run_json(run);
    if let Some(members) = body.as_object_mut() {
        members.insert("run_started_at".into(), members.get("created_at").cloned().unwrap_or_default());
        members.insert("run_ended_at".into(), members.get("updated_at").cloned().unwrap_or_default());
        members.insert("webhook_sent_at".into(), time_text(now_ms).into());
        members.insert("values".into(), Value::Object(outcome.values()));
        if let Some(failure) = outcome.failure() {
            members.insert("error".into(), failure);
        }
    }
    body
}

fn client(local: bool) -> Option<reqwest::Client> {
    let built = build(local);
    built.map_err(|error| tracing::error!(error, "webhooks cannot be called: there is no HTTP client")).ok()
}

fn build(local: bool) -> Result<reqwest::Client, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(BuilderVerifierExt::with_platform_verifier)
        .map_err(|error| error.to_string())?
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(Policy::none())
        .no_proxy()
        .timeout(TIMEOUT)
        .dns_resolver(Arc::new(Checked { local }))
        .build()
        .map_err(|error| error.to_string())
}

async fn call(client: &reqwest::Client, url: &str, body: String) -> Result<(), String> {
    let request = client.post(url).header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
    match request.send().await {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => Err(format!("status {}", response.status().as_u16())),
        Err(error) => {
            // The innermost cause: outer ones name the URL, which may hold a secret.
            let mut cause: &dyn Error = &error;
            while let Some(inner) = cause.source() {
                cause = inner;
            }
            Err(cause.to_string())
        }
    }
}

/// The system's resolver; gives only addresses that may be connected to, and the connection goes to one of these.
struct Checked {
    local: bool,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let local = self.local;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| allows(address.ip(), local)).collect();
            if allowed.is_empty() {
                return Err(io::Error::other("its address is not one of the public internet").into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

/// Public addresses; loopback too where whoever sits there is trusted.
fn allows(address: IpAddr, local: bool) -> bool {
    let address = address.to_canonical();
    (local && address.is_loopback()) || is_public(address)
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = match address.octets() {
        // "This network", private, loopback, multicast and reserved.
        [0 | 10 | 127 | 224..=255, ..] => true,
        // Carrier-grade NAT and link-local, with the metadata addresses of clouds.
        [100, 64..=127, ..] | [169, 254, ..] => true,
        [172, 16..=31, ..] | [192, 168, ..] => true,
        // Protocol assignments, documentation, 6to4 relays, benchmarks; the platform address of one cloud.
        [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] | [198, 18 | 19, ..] => true,
        [168, 63, 129, 16] => true,
        _ => false,
    };
    !special
}

/// Global unicast only, and no form that carries an IPv4 address.
fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] | [0x2002, ..] => false,
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_called() {
        for url in [
            "http://127.0.0.1/x",
            "http://localhost:8080",
            "http://10.0.0.1",
            "http://169.254.169.254/latest",
            "http://[::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://0x7f000001/",
            "http://2130706433/",
            "ftp://example.com",
            "file:///etc/passwd",
            "http://user:word@example.com",
            "no url",
        ] {
            let problem = check(url, false).expect_err(url);
            assert_eq!((problem.status.as_u16(), problem.code.as_str()), (422, "HP0837"), "{url}");
        }
        for url in ["https://example.com/hook?x=1", "http://8.8.8.8/", "http://[2606:4700::1]/"] {
            assert_eq!(check(url, false), Ok(()), "{url}");
        }
        assert_eq!(check("http://127.0.0.1:8080/x", true), Ok(()));
        assert!(check("http://10.0.0.1/x", true).is_err());
        assert!(check(&format!("https://example.com/{}", "x".repeat(URL_BYTES_MAX)), true).is_err());
    }
}
