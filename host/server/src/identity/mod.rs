//! Who comes in: API keys, tokens of an identity provider, a browser's session, loopback.
//!
//! # Layout
//!
//! * `middleware`: finds out who sent a request, before any handler runs.
//! * [`keys`]: API keys. `tokens`: tokens of an identity provider; `jwks`: its keys. `sessions`: browsers that signed in.
//! * `loopback`: who needs no key. `origin`: which page of a browser a request comes from.
//! * `login`: the page to sign in.
//! * `rate`: how often somebody may ask.
//! * [`check_listen`]: where the server may listen at all.

mod middleware;

pub mod keys;

mod jwks;
mod tokens;

mod sessions;

mod loopback;
mod origin;

mod login;

mod rate;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};

use crate::caller::Caller;
use crate::context::{Context, Parts};
use crate::problem::Problem;

pub(crate) use login::routes;
pub(crate) use middleware::identify;

use rate::Rates;
use tokens::Tokens;

/// Finds out who sent a request. Cheap to clone.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    tokens: Option<Tokens>,
    rates: Rates,
}

impl Identity {
    pub(crate) fn new(parts: &Parts) -> Self {
        let settings = &parts.settings;
        Self(Arc::new(Inner {
            tokens: settings.oidc.clone().map(|oidc| Tokens::new(oidc, settings.tenant.clone())),
            rates: Rates::new(settings.requests_per_second_max),
        }))
    }

    fn tokens(&self) -> Option<&Tokens> {
        self.0.tokens.as_ref()
    }

    fn rates(&self) -> &Rates {
        &self.0.rates
    }

    /// What a page gives to its forms, and they give back ([`crate::caller::PageToken`]); nothing for a caller without pages.
    pub fn csrf_token(&self, caller: &Caller) -> String {
        caller.page.as_ref().map(|page| page.as_str().to_owned()).unwrap_or_default()
    }

    /// Checks what a form gave back.
    ///
    /// # Errors
    /// 403 `HP0805`.
    pub fn check_csrf(&self, caller: &Caller, given: &str) -> Result<(), Problem> {
        if caller.page.as_ref().is_some_and(|page| page.is(given)) {
            return Ok(());
        }
        let detail = "the form does not come from a page of this server, or the page is too old";
        Err(Problem::forbidden("HP0805", detail).with_cure("load the page again and repeat"))
    }
}

/// Refuses to listen where strangers come by while nobody could prove who they are.
///
/// # Errors
/// `HP0802` for an address that is not loopback, while there is neither a valid API key nor an identity provider; the store's.
pub async fn check_listen(context: &Context, address: SocketAddr) -> Result<(), Problem> {
    if address.ip().to_canonical().is_loopback() || context.settings().oidc.is_some() {
        return Ok(());
    }
    let now_ms = context.now_ms();
    if context.store().keys(None).await?.iter().any(|key| keys::is_valid(key, now_ms)) {
        return Ok(());
    }
    let detail = format!("{address} can be reached from elsewhere, and nobody could prove who they are");
    let problem = Problem::new(StatusCode::FORBIDDEN, "HP0802", detail);
    Err(problem
        .with_cure("make a key with `holdpoint keys create`, or set an identity provider, or listen on 127.0.0.1"))
}

/// The answer to everybody whom we do not know, whatever the reason: it tells nothing about what is there.
fn unknown() -> Problem {
    let mut problem = Problem::new(StatusCode::UNAUTHORIZED, "HP0801", "who asks is not known")
        .with_cure("send a valid API key as `x-api-key`, or a token as `Authorization: Bearer`");
    problem.headers.push((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
    problem
}
