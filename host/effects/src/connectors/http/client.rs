//! The client of one connector.

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use holdpoint_graph::ids::ConnectorName;
use holdpoint_graph::operation::OperationKey;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Url};
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt as _;
use serde_json::Value;

use crate::attempt::{Attempt, NotSent};
use crate::configuration::secret::{Scrubber, Secret};
use crate::configuration::{AddressRule, Class, ConnectorConfiguration, HttpConfiguration};
use crate::connectors::{Connector, Outgoing, Prepared, Rejection, Unusable, UnusableCause};

use super::address::{AddressNotAllowed, CheckedResolver};
use super::answer::{self, Body, Response};
use super::path::{AllowedRequest, Path};
use super::request::{self, HttpRequest};

/// A segment of a base URL that came from a reference counts as a token, and is scrubbed, from this length on.
const URL_TOKEN_BYTES_MIN: usize = 16;

/// HTTP requests to one base URL.
pub struct Http {
    settings: Arc<Settings>,
    client: Client,
}

/// What requests are checked against, and what is added to them.
pub(super) struct Settings {
    pub(super) base_url: Url,
    pub(super) allow: Vec<AllowedRequest>,
    headers: HeaderMap,
    idempotency_header: HeaderName,
    addresses: AddressRule,
    response_bytes_max: usize,
    scrubber: Scrubber,
}

impl Settings {
    /// Headers that the host sets, in lower case.
    pub(super) fn reserved_headers(&self) -> impl Iterator<Item = &str> {
        self.headers.keys().chain([&self.idempotency_header]).map(HeaderName::as_str)
    }
}

impl Http {
    /// Fills the secrets in and makes the client.
    ///
    /// # Errors
    /// What is missing or does not fit.
    pub(crate) fn build(
        name: &ConnectorName,
        connector: &ConnectorConfiguration,
        http: &HttpConfiguration,
    ) -> Result<Self, Unusable> {
        let base = http.base_url.resolve()?;
        let base_url = parse_base_url(base.text.expose())
            .map_err(|reason| Unusable::value("base_url", http.base_url.place(), reason))?;
        let mut secrets = url_tokens(&base_url, http.base_url.has_references());
        let mut headers = HeaderMap::new();
        for (header, template) in &http.headers {
            let resolved = template.resolve()?;
            let fault = |reason: &str| Unusable::value(format!("headers.{header}"), template.place(), reason);
            let name = HeaderName::from_bytes(header.as_bytes()).map_err(|_| fault("is not a header's name"))?;
            let mut value = HeaderValue::from_str(resolved.text.expose())
                .map_err(|_| fault("has characters that no header may have"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
            secrets.extend(resolved.secrets);
        }
        let idempotency_header = HeaderName::from_bytes(http.idempotency_header.as_bytes())
            .map_err(|_| Unusable::value("idempotency_header", connector.place, "is not a header's name"))?;
        let client = client(&base_url, connector, http).map_err(|error| {
            tracing::error!(connector = %name, error = &error as &dyn Error, "the HTTP client could not be made");
            Unusable {
                cause: UnusableCause::Machine("no HTTP client: the system's certificates cannot be used".into()),
                place: connector.place,
            }
        })?;
        let settings = Settings {
            base_url,
            allow: http.allow.clone(),
            headers,
            idempotency_header,
            addresses: http.addresses.clone(),
            response_bytes_max: http.response_bytes_max,
            scrubber: Scrubber::new(&secrets),
        };
        Ok(Self { settings: Arc::new(settings), client })
    }
}

impl Connector for Http {
    fn prepare(&self, key: &OperationKey, request: &Value) -> Result<Box<dyn Prepared>, Rejection> {
        let request = request::read(&self.settings, request)?;
        // Names are checked when they are resolved; an address as host is not resolved at all.
        let host = self.settings.base_url.host_str().unwrap_or_default();
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>()
            && !self.settings.addresses.allows(address)
        {
            return Err(Rejection::Address);
        }
        let id = key.id.as_str();
        // Servers cut surrounding spaces off: two ids must not become one.
        if id.trim() != id || !id.is_ascii() {
            let reason = "the operation id has to be ASCII without spaces around it: it is sent in a header";
            return Err(Rejection::Invalid(reason.into()));
        }
        let id =
            HeaderValue::from_str(id).map_err(|_| Rejection::Invalid("the operation id cannot be a header".into()))?;
        Ok(Box::new(PreparedHttp { settings: self.settings.clone(), client: self.client.clone(), request, id }))
    }
}

struct PreparedHttp {
    settings: Arc<Settings>,
    client: Client,
    request: HttpRequest,
    id: HeaderValue,
}

#[async_trait]
impl Prepared for PreparedHttp {
    async fn send(&self, outgoing: Outgoing) -> Attempt {
        let HttpRequest { method, url, headers, body } = self.request.clone();
        let mut headers = headers;
        headers.extend(self.settings.headers.clone());
        headers.insert(self.settings.idempotency_header.clone(), self.id.clone());
        let mut builder = self.client.request(method, url).headers(headers).timeout(outgoing.timeout);
        if let Some(body) = body {
            builder = builder.body(body);
        }
        let response = match builder.send().await {
            Ok(response) => response,
            Err(error) => return self.without_response(&error, outgoing.timeout),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let body = self.read_body(response, outgoing.timeout).await;
        let response = Response {
            method: &self.request.method,
            status,
            headers: &headers,
            body,
            at_ms: outgoing.at_ms,
            bytes_max: self.settings.response_bytes_max,
        };
        answer::read(response, &self.settings.scrubber)
    }
}

impl PreparedHttp {
    /// Only what failed while connecting is known not to have left: everything later may have reached the receiver.
    fn without_response(&self, error: &reqwest::Error, timeout: Duration) -> Attempt {
        if causes(error).any(|cause| cause.is::<AddressNotAllowed>()) {
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
        self.settings.scrubber.text(innermost)
    }

    async fn read_body(&self, mut response: reqwest::Response, timeout: Duration) -> Body {
        let limit = self.settings.response_bytes_max;
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

/// Reads a base URL.
///
/// # Errors
/// What is wrong with it, without showing it.
pub fn parse_base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("does not begin with http:// or https://".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has a user or password: send them with `headers`".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or fragment".into());
    }
    let path = url.path().trim_end_matches('/');
    if !path.is_empty() {
        Path::parse(path).map_err(|reason| format!("is not usable: {reason}"))?;
    }
    Ok(url)
}

/// Long segments of a base URL that a reference gave, such as a web hook's token.
fn url_tokens(url: &Url, has_references: bool) -> Vec<Secret> {
    let segments = url.path_segments().into_iter().flatten();
    segments.filter(|segment| has_references && segment.len() >= URL_TOKEN_BYTES_MIN).map(Secret::new).collect()
}

fn client(url: &Url, connector: &ConnectorConfiguration, http: &HttpConfiguration) -> Result<Client, BuildError> {
    let timeout = Duration::from_millis(connector.timeout_ms);
    let builder = Client::builder()
        .tls_backend_preconfigured(tls(url.scheme() == "https")?)
        .dns_resolver(CheckedResolver { rule: http.addresses.clone() })
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
    let kept = if connector.class == Class::AtMostOnce { 0 } else { usize::MAX };
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

/// The system's certificates are read only where TLS is used: a minimal machine may have none.
fn tls(used: bool) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = if used {
        builder.with_platform_verifier()?.with_no_client_auth()
    } else {
        builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    let mut next = error.source();
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}
