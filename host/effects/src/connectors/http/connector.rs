//! Requests of one connector, prepared and sent.

use std::sync::Arc;

use async_trait::async_trait;
use holdpoint_graph::ids::ConnectorName;
use holdpoint_graph::operation::OperationKey;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde_json::Value;

use crate::attempt::{Attempt, NotSent};
use crate::configuration::ConnectorConfiguration;
use crate::connectors::receiver_key::receiver_key;
use crate::connectors::telling;
use crate::connectors::{Connector, LookUp, Outgoing, Prepared, Rejection, Unusable};

use super::notice::NoticeRequest;
use super::path::AllowedRequest;
use super::question::{LookupRule, PreviewRule};
use super::request::{self, Asker, HttpRequest};
use super::settings::{HttpSettings, parse_base_url, resolve_headers, url_tokens};
use super::transport::{Outbound, Transport, TransportSettings};

/// HTTP requests to one base URL.
pub struct Http(Arc<Target>);

/// What requests are checked against, what is added to them, and what sends them.
pub(super) struct Target {
    pub(super) base_url: Url,
    pub(super) allow: Vec<AllowedRequest>,
    headers: HeaderMap,
    idempotency_header: HeaderName,
    lookup: Option<LookupRule>,
    preview: Option<PreviewRule>,
    notice: Option<NoticeRequest>,
    transport: Transport,
}

impl Target {
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
    pub(super) fn build(
        name: &ConnectorName,
        connector: &ConnectorConfiguration,
        http: &HttpSettings,
    ) -> Result<Self, Unusable> {
        let base = http.base_url.resolve()?;
        let base_url = parse_base_url(base.text.expose())
            .map_err(|reason| Unusable::value("base_url", http.base_url.place(), reason))?;
        let (headers, mut secrets) = resolve_headers(&http.headers)?;
        secrets.extend(url_tokens(&base_url, http.base_url.has_references()));
        let mut notice = None;
        if let Some(settings) = &http.notice {
            let (request, secret) = NoticeRequest::build(settings)?;
            secrets.extend(secret);
            notice = Some(request);
        }
        let idempotency_header = HeaderName::from_bytes(http.idempotency_header.as_bytes())
            .map_err(|_| Unusable::value("idempotency_header", connector.place, "is not a header's name"))?;
        let transport = Transport::build(&TransportSettings {
            name,
            connector,
            url: &base_url,
            addresses: &http.addresses,
            response_bytes_max: http.response_bytes_max,
            secrets: &secrets,
        })?;
        Ok(Self(Arc::new(Target {
            base_url,
            allow: http.allow.clone(),
            headers,
            idempotency_header,
            lookup: http.lookup.clone(),
            preview: http.preview.clone(),
            notice,
            transport,
        })))
    }
}

impl Connector for Http {
    fn prepare(&self, key: &OperationKey, request: &Value) -> Result<Box<dyn Prepared>, Rejection> {
        let target = &self.0;
        let notice = target.notice.as_ref().filter(|_| telling::is_notice(key.id.as_str()));
        let request = match notice.and_then(|notice| notice.fill(request)) {
            Some(filled) => request::read(target, &filled, Asker::Host)?,
            None => request::read(target, request, Asker::Node)?,
        };
        target.transport.check_host(&target.base_url)?;
        let id = key.id.as_str();
        // Servers cut surrounding spaces off: two ids must not become one.
        if id.trim() != id || !id.is_ascii() {
            let reason = "the operation id has to be ASCII without spaces around it: it is sent in a header";
            return Err(Rejection::Invalid(reason.into()));
        }
        let id = receiver_key(key);
        let header =
            HeaderValue::from_str(&id).map_err(|_| Rejection::Invalid("the operation id cannot be a header".into()))?;
        let lookup_url = match &target.lookup {
            Some(lookup) => Some(lookup.path.url(&target.base_url, &id)?),
            None => None,
        };
        Ok(Box::new(PreparedHttp { target: target.clone(), request, id: header, lookup_url }))
    }
}

struct PreparedHttp {
    target: Arc<Target>,
    request: HttpRequest,
    id: HeaderValue,
    lookup_url: Option<Url>,
}

#[async_trait]
impl Prepared for PreparedHttp {
    async fn send(&self, outgoing: Outgoing) -> Attempt {
        let HttpRequest { method, url, headers, body } = self.request.clone();
        let mut headers = headers;
        headers.extend(self.target.headers.clone());
        headers.insert(self.target.idempotency_header.clone(), self.id.clone());
        let outbound = Outbound { method, url, headers, body };
        match self.target.transport.exchange(outbound, outgoing.at_ms, outgoing.timeout).await {
            Ok(exchange) => exchange.attempt(),
            Err(attempt) => attempt,
        }
    }

    async fn look_up(&self, outgoing: Outgoing) -> LookUp {
        let (Some(lookup), Some(url)) = (&self.target.lookup, &self.lookup_url) else {
            return LookUp::Unknown("the connector has no lookup".to_owned());
        };
        let outbound =
            Outbound { method: Method::GET, url: url.clone(), headers: self.target.headers.clone(), body: None };
        match self.target.transport.exchange(outbound, outgoing.at_ms, outgoing.timeout).await {
            Ok(exchange) => lookup.read(&exchange),
            Err(attempt) => LookUp::Unknown(without_answer(attempt)),
        }
    }

    async fn preview(&self, outgoing: Outgoing) -> Option<Result<Value, String>> {
        let preview = self.target.preview.as_ref()?;
        let outbound = match preview.outbound(&self.target.base_url, &self.request, &self.target.headers) {
            Ok(outbound) => outbound,
            Err(reason) => return Some(Err(reason)),
        };
        Some(match self.target.transport.exchange(outbound, outgoing.at_ms, outgoing.timeout).await {
            Ok(exchange) => preview.read(&exchange),
            Err(attempt) => Err(without_answer(attempt)),
        })
    }
}

/// Why a question got no answer.
fn without_answer(attempt: Attempt) -> String {
    match attempt {
        Attempt::NotSent(NotSent::AddressNotAllowed) => "the receiver's address is not allowed".into(),
        Attempt::NotSent(NotSent::ForNow(reason)) | Attempt::Unknown(reason) | Attempt::LandedUnusable(reason) => {
            format!("the receiver cannot be asked: {reason}")
        }
        Attempt::Landed(_) => "the receiver cannot be asked".into(),
    }
}
