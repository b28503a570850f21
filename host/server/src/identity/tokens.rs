//! Tokens of an identity provider (OpenID Connect): who signed them, for whom, and for how long.

use std::collections::BTreeSet;
use std::time::Instant;

use axum::http::StatusCode;
use holdpoint_engine::{Authentication, Principal};
use holdpoint_graph::actor::{Actor, Basis};
use holdpoint_graph::ids::Tenant;
use jsonwebtoken::{Algorithm, Validation};
use serde_json::{Map, Value};

use super::jwks::Jwks;
use crate::caller::{Caller, Role};
use crate::problem::Problem;
use crate::settings::Oidc;

/// Signatures that count. Those with a shared secret do not: the provider's public keys would be the secret.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

/// How far the provider's clock may be from ours.
const LEEWAY_MS: u64 = 60_000;

/// Longest token, and longest subject in it, in bytes.
const TOKEN_BYTES_MAX: usize = 16 << 10;
const SUBJECT_BYTES_MAX: usize = 256;

/// Keys that are tried for a token that does not name one.
const TRIES_MAX: usize = 8;

pub(super) struct Tokens {
    oidc: Oidc,
    jwks: Jwks,
    /// Of tokens that do not say.
    tenant: Tenant,
}

/// Who a token is from.
pub(super) struct Bearer {
    pub(super) caller: Caller,
    pub(super) expires_at_ms: u64,
}

impl Tokens {
    pub(super) fn new(oidc: Oidc, tenant: Tenant) -> Self {
        Self { jwks: Jwks::new(oidc.clone()), oidc, tenant }
    }

    /// Who a token is from; none when it proves nothing.
    ///
    /// # Errors
    /// 503 `HP0891` when the provider's keys are not known and cannot be had.
    pub(super) async fn bearer(&self, token: &str, now_ms: u64) -> Result<Option<Bearer>, Problem> {
        if token.len() > TOKEN_BYTES_MAX {
            return Ok(None);
        }
        let Ok(header) = jsonwebtoken::decode_header(token) else { return Ok(None) };
        // What must be understood and is not known here makes the token mean something else.
        if !ALGORITHMS.contains(&header.alg) || header.crit.is_some() {
            return Ok(None);
        }
        let id = header.kid.as_deref();
        let keys = self.jwks.keys(id, header.alg, Instant::now()).await.map_err(|_| {
            let detail = "the identity provider's keys cannot be had now";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "HP0891", detail).with_cure("try again in a minute")
        })?;
        let validation = self.validation(header.alg);
        let fitting = keys.iter().filter(|key| key.fits(id, header.alg)).take(TRIES_MAX);
        let claims = fitting.map(|key| jsonwebtoken::decode::<Map<String, Value>>(token, &key.key, &validation));
        Ok(claims.filter_map(Result::ok).next().and_then(|data| self.read(&data.claims, now_ms)))
    }

    /// The times are compared with the host's clock, in [`Self::read`].
    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&self.oidc.issuer]);
        validation.set_audience(&[&self.oidc.audience]);
        validation.validate_exp = false;
        validation
    }

    fn read(&self, claims: &Map<String, Value>, now_ms: u64) -> Option<Bearer> {
        let expires_at_ms = time_ms(claims.get("exp")?)?;
        let not_before_ms = claims.get("nbf").map_or(Some(0), time_ms)?;
        if now_ms >= expires_at_ms.saturating_add(LEEWAY_MS) || now_ms.saturating_add(LEEWAY_MS) < not_before_ms {
            return None;
        }
        let subject = claims.get("sub")?.as_str()?;
        if subject.is_empty() || subject.len() > SUBJECT_BYTES_MAX || subject.chars().any(char::is_control) {
            return None;
        }
        let tenant = match &self.oidc.tenant_claim {
            Some(claim) => Tenant::parse(claims.get(claim)?.as_str()?).ok()?,
            None => self.tenant.clone(),
        };
        let groups = groups(claims.get(&self.oidc.groups_claim));
        let given = self.oidc.roles.iter().filter(|(_, group)| groups.contains(group));
        let role = given.filter_map(|(role, _)| Role::parse(role)).max();
        let actor = Actor { id: format!("user:{subject}"), basis: Basis::Token };
        let authenticated = authentication(claims, now_ms);
        let caller = Caller {
            principal: Principal { actor, groups, tenant, authenticated },
            role,
            by_cookie: false,
            page: None,
        };
        Some(Bearer { caller, expires_at_ms })
    }
}

/// When the subject signed in, which is not when the token was issued: a provider goes on issuing tokens to whoever signed in once.
fn authentication(claims: &Map<String, Value>, now_ms: u64) -> Option<Authentication> {
    let at_ms = time_ms(claims.get("auth_time")?)?;
    let acr = claims.get("acr").and_then(Value::as_str).filter(|acr| acr.len() <= SUBJECT_BYTES_MAX);
    // What is yet to come is no sign-in.
    (at_ms <= now_ms.saturating_add(LEEWAY_MS)).then(|| Authentication { at_ms, acr: acr.map(str::to_owned) })
}

/// A number of seconds since 1970, as milliseconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "what is out of bounds is not taken")]
fn time_ms(value: &Value) -> Option<u64> {
    let seconds = value.as_f64()?;
    (0.0..1e12).contains(&seconds).then_some((seconds * 1000.0) as u64)
}

/// A list of names, or one name.
fn groups(claim: Option<&Value>) -> BTreeSet<String> {
    match claim {
        Some(Value::String(one)) => BTreeSet::from([one.clone()]),
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => BTreeSet::new(),
    }
}
