//! `webhook`: one signed message to one URL, after the Standard Webhooks specification 1.0.0.
//!
//! The request is any JSON value, by custom `{ type, data }`; it is the body, as it is signed. The answer is `{ status }`: what a consumer says is of no
//! matter. `webhook-id` is the operation's key at the receiver, the same over all attempts (as the idempotency header of `http`; the SHA-256 of a key
//! with a full stop, which would end it early in what is signed). Consumers de-duplicate by it.

mod settings;
mod signature;

use std::sync::Arc;

use async_trait::async_trait;
use holdpoint_graph::digest::canonical_json;
use holdpoint_graph::ids::ConnectorName;
use holdpoint_graph::operation::OperationKey;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde_json::{Value, json};

use crate::attempt::{Attempt, Reply};
use crate::configuration::ConnectorConfiguration;

use super::http::{Outbound, Transport, TransportSettings, resolve_headers, url_tokens};
use super::receiver_key::plain_receiver_key;
use super::{Connector, Outgoing, Prepared, Rejection, Unusable};
use settings::{WebhookSettings, parse_url};
use signature::{SigningKey, signatures};

pub(crate) use settings::KIND;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Largest answer that is read at all.
const RESPONSE_BYTES_MAX: usize = 64 << 10;

/// Messages to one URL.
pub struct Webhook(Arc<Target>);

struct Target {
    url: Url,
    keys: Vec<SigningKey>,
    headers: HeaderMap,
    transport: Transport,
}

impl Webhook {
    /// Fills the secrets in and makes the client.
    fn build(
        name: &ConnectorName,
        connector: &ConnectorConfiguration,
        settings: &WebhookSettings,
    ) -> Result<Self, Unusable> {
        let resolved = settings.url.resolve()?;
        let url =
            parse_url(resolved.text.expose()).map_err(|reason| Unusable::value("url", settings.url.place(), reason))?;
        let (headers, mut secrets) = resolve_headers(&settings.headers)?;
        secrets.extend(url_tokens(&url, settings.url.has_references()));
        secrets.extend(resolved.secrets);
        let mut keys = Vec::new();
        for template in &settings.secrets {
            let resolved = template.resolve()?;
            let key = SigningKey::parse(resolved.text.expose())
                .map_err(|reason| Unusable::value("secret", template.place(), reason))?;
            keys.push(key);
            secrets.push(resolved.text);
            secrets.extend(resolved.secrets);
        }
        let transport = Transport::build(&TransportSettings {
            name,
            connector,
            url: &url,
            addresses: &settings.addresses,
            response_bytes_max: RESPONSE_BYTES_MAX,
            secrets: &secrets,
        })?;
        Ok(Self(Arc::new(Target { url, keys, headers, transport })))
    }
}

impl Connector for Webhook {
    fn prepare(&self, key: &OperationKey, request: &Value) -> Result<Box<dyn Prepared>, Rejection> {
        self.0.transport.check_host(&self.0.url)?;
        let id = plain_receiver_key(key, |character| character.is_ascii_graphic() && character != '.');
        let header =
            HeaderValue::from_str(&id).map_err(|_| Rejection::Invalid("the operation id cannot be a header".into()))?;
        // Every attempt sends the same bytes.
        let body = canonical_json(request).into_bytes();
        Ok(Box::new(Message { target: self.0.clone(), id, header, body }))
    }
}

/// A message, ready to be signed.
struct Message {
    target: Arc<Target>,
    id: String,
    header: HeaderValue,
    body: Vec<u8>,
}

#[async_trait]
impl Prepared for Message {
    async fn send(&self, outgoing: Outgoing) -> Attempt {
        let timestamp = outgoing.at_ms / 1000;
        let signature = signatures(&self.target.keys, &self.id, timestamp, &self.body);
        let mut headers = self.target.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ID, self.header.clone());
        headers.insert(TIMESTAMP, HeaderValue::from(timestamp));
        let signature = HeaderValue::from_str(&signature).expect("invariant: base64 is ASCII");
        headers.insert(SIGNATURE, signature);
        let outbound =
            Outbound { method: Method::POST, url: self.target.url.clone(), headers, body: Some(self.body.clone()) };
        match self.target.transport.exchange(outbound, outgoing.at_ms, outgoing.timeout).await {
            // The status is the whole answer: garbage in the body changes nothing.
            Ok(exchange) if exchange.status.is_success() => {
                Attempt::Landed(Reply::Done(json!({ "status": exchange.status.as_u16() })))
            }
            Ok(exchange) => exchange.attempt(),
            Err(attempt) => attempt,
        }
    }
}
