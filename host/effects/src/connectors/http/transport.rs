//! The client of one connector: one request, one answer, nothing in between that nobody asked for.

use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use holdpoint_graph::ids::ConnectorName;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, Url};

use crate::attempt::{Attempt, NotSent};
use crate::configuration::secret::{Scrubber, Secret};
use crate::configuration::{AddressRule, Class, ConnectorConfiguration};
use crate::connectors::address::{AddressNotAllowed, CheckedResolver};
use crate::connectors::{Rejection, Unusable, UnusableCause, tls};

use super::answer::{Body, Exchange};

/// What a client is made from.
pub(in crate::connectors) struct TransportSettings<'s> {
    pub(in crate::connectors) name: &'s ConnectorName,
    pub(in crate::connectors) connector: &'s ConnectorConfiguration,
    pub(in crate::connectors) url: &'s Url,
    pub(in crate::connectors) addresses: &'s AddressRule,
    /// Largest answer, as it arrives and as JSON.
    pub(in crate::connectors) response_bytes_max: usize,
    /// What never comes back.
    pub(in crate::connectors) secrets: &'s [Secret],
}

/// A client for one host.
pub(in crate::connectors) struct Transport {
    client: Client,
    addresses: AddressRule,
    pub(super) response_bytes_max: usize,
    pub(super) scrubber: Scrubber,
}

/// A request as it leaves.
#[derive(Debug, Clone)]
pub(in crate::connectors) struct Outbound {
    pub(in crate::connectors) method: Method,
    pub(in crate::connectors) url: Url,
    pub(in crate::connectors) headers: HeaderMap,
    pub(in crate::connectors) body: Option<Vec<u8>>,
}

impl Transport {
    /// Makes the client.
    ///
    /// # Errors
    /// The machine has no certificates that could be used.
    pub(in crate::connectors) fn build(settings: &TransportSettings<'_>) -> Result<Self, Unusable> {
        let client = client(settings).map_err(|error| {
            tracing::error!(connector = %settings.name, error = &error as &dyn Error, "the HTTP client could not be made");
            Unusable {
                cause: UnusableCause::Machine("no HTTP client: the system's certificates cannot be used".into()),
                place: settings.connector.place,
            }
        })?;
        Ok(Self {
            client,
            addresses: settings.addresses.clone(),
            response_bytes_max: settings.response_bytes_max,
            scrubber: Scrubber::new(settings.secrets),
        })
    }

    /// Refuses a URL whose host is an address that may not be connected to. Names are checked when they are resolved; an address is not resolved.
    ///
    /// # Errors
    /// [`Rejection::Address`].
    pub(in crate::connectors) fn check_host(&self, url: &Url) -> Result<(), Rejection> {
        let host = url.host_str().unwrap_or_default();
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) if !self.addresses.allows(address) => Err(Rejection::Address),
            _ => Ok(()),
        }
    }

    /// Sends a request and reads its response, within `timeout`.
    ///
    /// # Errors
    /// No response: [`Attempt::NotSent`] or [`Attempt::Unknown`].
    pub(in crate::connectors) async fn exchange(
        &self,
        outbound: Outbound,
        at_ms: u64,
        timeout: Duration,
    ) -> Result<Exchange<'_>, Attempt> {
        let Outbound { method, url, headers, body } = outbound;
        let mut builder = self.client.request(method.clone(), url).headers(headers).timeout(timeout);
        if let Some(body) = body {
            builder = builder.body(body);
        }
        let response = builder.send().await.map_err(|error| self.without_response(&error, timeout))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = self.read_body(response, timeout).await;
        let (bytes_max, scrubber) = (self.response_bytes_max, &self.scrubber);
        Ok(Exchange { method, status, headers, body, at_ms, bytes_max, scrubber })
    }

    /// Only what failed while connecting is known not to have left: everything later may have reached the receiver.
    fn without_response(&self, error: &reqwest::Error, timeout: Duration) -> Attempt {
        if causes(error).any(is_address_not_allowed) {
            return Attempt::NotSent(NotSent::AddressNotAllowed);
        }
        let reason = self.reason(error, timeout);
        if error.is_connect() || error.is_builder() {
            Attempt::NotSent(NotSent::ForNow(reason))
        } else {
            Attempt::Unknown(reason)
        }
    }

    /// The innermost cause: outer ones name the URL.
    fn reason(&self, error: &reqwest::Error, timeout: Duration) -> String {
        if error.is_timeout() && !error.is_connect() {
            return format!("nothing came within {} ms", timeout.as_millis());
        }
        if error.is_dns() {
            return "the receiver's name cannot be resolved".into();
        }
        let innermost = causes(error).last().map_or_else(|| "the connection failed".to_owned(), ToString::to_string);
        self.scrubber.text(innermost)
    }

    async fn read_body(&self, mut response: reqwest::Response, timeout: Duration) -> Body {
        let limit = self.response_bytes_max;
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(None) => return Body::Complete(bytes),
                Ok(Some(chunk)) if bytes.len() + chunk.len() > limit => return Body::TooLarge(limit),
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Err(error) => {
                    return Body::BrokenOff(format!("the answer broke off: {}", self.reason(&error, timeout)));
                }
            }
        }
    }
}

fn client(settings: &TransportSettings<'_>) -> Result<Client, BuildError> {
    let timeout = Duration::from_millis(settings.connector.timeout_ms);
    let mut tls = tls::client(settings.url.scheme() == "https")?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .dns_resolver(CheckedResolver { rule: settings.addresses.clone() })
        .redirect(reqwest::redirect::Policy::none())
        // Whether a request may be sent again is the journal's decision alone.
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .user_agent(concat!("holdpoint/", env!("CARGO_PKG_VERSION")))
        // Less than the whole, so that a receiver that cannot be reached is told apart from one that does not answer.
        .connect_timeout((timeout / 2).min(Duration::from_secs(5)))
        .pool_idle_timeout(Duration::from_secs(30));
    // A kept connection may be closed by the receiver just when a request goes out: then nobody knows whether it arrived. Where that would stop
    // a thread, each request has its own connection.
    let kept = match settings.connector.class {
        Class::AtMostOnce | Class::Reconcilable | Class::AfterCommit { deduplicated: false } => 0,
        Class::Idempotent { .. } | Class::Transactional | Class::AfterCommit { deduplicated: true } => usize::MAX,
    };
    Ok(builder.pool_max_idle_per_host(kept).build()?)
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
enum BuildError {
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error(transparent)]
    Client(#[from] reqwest::Error),
}

/// The resolver's refusal, which travels inside an input or output error.
fn is_address_not_allowed(cause: &(dyn Error + 'static)) -> bool {
    let inside = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    cause.is::<AddressNotAllowed>() || inside.is_some_and(|inside| inside.is::<AddressNotAllowed>())
}

fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    let mut next = error.source();
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}
