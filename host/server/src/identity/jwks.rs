//! The keys of an identity provider: fetched, kept, and fetched again when a token names one that is not known.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt as _;
use serde::Deserialize as _;
use serde_json::Value;

use super::loopback::is_loopback_name;
use crate::settings::Oidc;

/// Between two attempts to fetch keys: a stranger who makes up key names cannot make us ask more often.
const FETCH_INTERVAL: Duration = Duration::from_secs(60);

/// After this time keys are fetched again though all is well, so that one that was withdrawn does not count for long.
const FRESH: Duration = Duration::from_secs(600);

/// After this time without success keys count no more.
const USABLE: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest time for one request to the provider.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Largest answer of the provider.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// Keys that are kept, at most.
const KEYS_MAX: usize = 100;

pub(super) struct Jwks {
    oidc: Oidc,
    /// Held for a look-up only, never across an await.
    known: Mutex<Known>,
    /// When keys were last asked for. Whoever holds it is asking: others wait for the answer instead of asking too.
    asked_at: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Known {
    keys: Arc<Vec<Key>>,
    fetched_at: Option<Instant>,
}

/// One key that tokens may be signed with.
pub(super) struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    /// Checks signatures.
    pub(super) key: DecodingKey,
}

/// The provider's keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unavailable {
    #[error("{0} is neither https nor on this host")]
    Address(String),
    #[error("certificates cannot be checked: {0}")]
    Tls(#[from] rustls::Error),
    #[error("{0}")]
    Request(#[from] reqwest::Error),
    #[error("{0} answered with status {1}")]
    Status(String, u16),
    #[error("{0} answered with too much")]
    TooLarge(String),
    #[error("{0} answered with something else: {1}")]
    Unexpected(String, String),
    #[error("they could not be fetched, and it is too soon to ask again")]
    TooSoon,
}

impl Jwks {
    pub(super) fn new(oidc: Oidc) -> Self {
        Self { oidc, known: Mutex::default(), asked_at: tokio::sync::Mutex::default() }
    }

    /// The provider's keys, with one among them that fits the token's header where the provider has one.
    ///
    /// # Errors
    /// No keys are known that count, and they cannot be had now.
    pub(super) async fn keys(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        now: Instant,
    ) -> Result<Arc<Vec<Key>>, Unavailable> {
        let (keys, age) = self.known(now);
        let found = keys.iter().any(|key| key.fits(id, algorithm));
        if found && age.is_some_and(|age| age < FRESH) {
            return Ok(keys);
        }
        let fetched = self.fetch_again(now).await;
        let (keys, age) = self.known(now);
        if age.is_some_and(|age| age < USABLE) {
            return Ok(keys);
        }
        fetched?;
        Err(Unavailable::TooSoon)
    }

    fn known(&self, now: Instant) -> (Arc<Vec<Key>>, Option<Duration>) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        (Arc::clone(&known.keys), known.fetched_at.map(|at| now.saturating_duration_since(at)))
    }

    async fn fetch_again(&self, now: Instant) -> Result<(), Unavailable> {
        let mut asked_at = self.asked_at.lock().await;
        if asked_at.is_some_and(|at| now.saturating_duration_since(at) < FETCH_INTERVAL) {
            return Ok(());
        }
        *asked_at = Some(now);
        match self.fetch().await {
            Ok(keys) => {
                let known = Known { keys: Arc::new(keys), fetched_at: Some(now) };
                *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
                Ok(())
            }
            Err(error) => {
                tracing::warn!(issuer = self.oidc.issuer, %error, "the identity provider's keys cannot be fetched");
                Err(error)
            }
        }
    }

    async fn fetch(&self) -> Result<Vec<Key>, Unavailable> {
        let jwks_url = match &self.oidc.jwks_url {
            Some(url) => url.clone(),
            None => self.discover().await?,
        };
        let document = fetch_json(&jwks_url).await?;
        let Some(keys) = document.get("keys").and_then(Value::as_array) else {
            return Err(Unavailable::Unexpected(jwks_url, "no `keys`".to_owned()));
        };
        // One that we cannot read, or may not use, says nothing about the others.
        Ok(keys.iter().filter_map(Key::read).take(KEYS_MAX).collect())
    }

    async fn discover(&self) -> Result<String, Unavailable> {
        let issuer = &self.oidc.issuer;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let document = fetch_json(&url).await?;
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        if text("issuer") != Some(issuer) {
            return Err(Unavailable::Unexpected(url, "it describes another issuer".to_owned()));
        }
        text("jwks_uri").map(str::to_owned).ok_or_else(|| Unavailable::Unexpected(url, "no `jwks_uri`".to_owned()))
    }
}

impl Key {
    fn read(value: &Value) -> Option<Self> {
        let jwk = Jwk::deserialize(value).ok()?;
        if matches!(&jwk.common.public_key_use, Some(purpose) if *purpose != PublicKeyUse::Signature) {
            return None;
        }
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(parameters) if parameters.curve == EllipticCurve::P256 => {
                Algorithm::ES256
            }
            AlgorithmParameters::OctetKeyPair(parameters) if parameters.curve == EllipticCurve::Ed25519 => {
                Algorithm::EdDSA
            }
            _ => return None,
        };
        let said = jwk.common.key_algorithm.map(|said| said.to_string());
        if said.is_some_and(|said| said != format!("{algorithm:?}")) {
            return None;
        }
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Self { id: jwk.common.key_id, algorithm, key })
    }

    /// Whether a token with this header may be signed with it.
    pub(super) fn fits(&self, id: Option<&str>, algorithm: Algorithm) -> bool {
        self.algorithm == algorithm && (id.is_none() || self.id.as_deref() == id)
    }
}

async fn fetch_json(url: &str) -> Result<Value, Unavailable> {
    let parsed = reqwest::Url::parse(url).map_err(|_| Unavailable::Address(url.to_owned()))?;
    let secure = parsed.scheme() == "https";
    let on_host = parsed.scheme() == "http" && parsed.host_str().is_some_and(is_loopback_name);
    if !secure && !on_host {
        return Err(Unavailable::Address(url.to_owned()));
    }
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls(secure)?)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(TIMEOUT)
        .user_agent(concat!("holdpoint/", env!("CARGO_PKG_VERSION")))
        .build()?;
    let mut response = client.get(parsed).send().await?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(Unavailable::Status(url.to_owned(), response.status().as_u16()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Unavailable::TooLarge(url.to_owned()));
        }
        bytes.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&bytes).map_err(|error| Unavailable::Unexpected(url.to_owned(), error.to_string()))
}

/// Verifies the provider as the system does. The system's certificates are read only where they are needed: a minimal machine may have none.
fn tls(used: bool) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(if used {
        builder.with_platform_verifier()?.with_no_client_auth()
    } else {
        builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::routing::get;
    use axum::{Json, Router};
    use serde_json::json;

    use super::*;

    /// An Ed25519 key of RFC 8037, by name.
    fn published(id: &str) -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": id })
    }

    #[tokio::test]
    async fn keys_are_fetched_again_once_a_minute_at_most() {
        let (published_now, asked) =
            (Arc::new(Mutex::new(json!({ "keys": [published("old")] }))), Arc::new(AtomicUsize::new(0)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (served, counted) = (Arc::clone(&published_now), Arc::clone(&asked));
        let keys = get(async move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Json(served.lock().unwrap().clone())
        });
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/keys", keys)).await });
        let oidc = Oidc {
            issuer: url.clone(),
            audience: "holdpoint".into(),
            jwks_url: Some(format!("{url}/keys")),
            groups_claim: "groups".into(),
            tenant_claim: None,
            roles: Vec::new(),
        };
        let (jwks, start) = (Jwks::new(oidc), Instant::now());
        let knows = async |id: &'static str, seconds: u64| {
            let now = start + Duration::from_secs(seconds);
            let keys = jwks.keys(Some(id), Algorithm::EdDSA, now).await.unwrap();
            (keys.iter().any(|key| key.fits(Some(id), Algorithm::EdDSA)), asked.load(Ordering::SeqCst))
        };
        assert_eq!(knows("old", 0).await, (true, 1));
        *published_now.lock().unwrap() = json!({ "keys": [published("new")] });
        assert_eq!(knows("made-up", 1).await, (false, 1));
        assert_eq!(knows("new", 59).await, (false, 1), "too soon");
        assert_eq!(knows("old", 59).await, (true, 1));
        assert_eq!(knows("new", 60).await, (true, 2));
        assert_eq!(knows("old", 61).await, (false, 2), "withdrawn");
        assert_eq!(knows("new", 600).await, (true, 2), "still fresh");
        assert_eq!(knows("new", 661).await, (true, 3), "asked for anew after a while");
    }

    #[test]
    fn keys_that_are_not_for_signing_are_passed_over() {
        let with = |name: &str, value: &str| {
            let mut key = published("a");
            key[name] = value.into();
            Key::read(&key).is_some()
        };
        assert!(with("use", "sig") && with("alg", "EdDSA"));
        assert!(!with("use", "enc") && !with("alg", "ES256") && !with("crv", "P-384") && !with("kty", "oct"));
    }
}
