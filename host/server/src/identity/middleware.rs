//! Finds out who sent a request, before any handler runs.

use std::net::SocketAddr;
use std::time::Instant;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};

use super::origin::Source;
use super::sessions::{self, Basis};
use super::{keys, login, loopback, unknown};
use crate::caller::{Caller, PageToken};
use crate::context::Context;
use crate::problem::Problem;

/// What anybody may ask for.
const OPEN: [&str; 6] = ["/ok", "/info", "/openapi.json", login::PATH, login::LOGOUT, login::STYLE];

/// Shortest secret of ours in a cookie: one that somebody made up is no secret.
const SECRET_LENGTH_MIN: usize = 32;

/// What begins so shows whom it is meant for by itself: approval links.
const OPEN_BELOW: &str = "/links/";

/// Lets through only those who are known, and says who they are.
pub(crate) async fn identify(State(context): State<Context>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match admit(&context, &parts).await {
        Ok(caller) => {
            let mut fresh = None;
            if let Some(mut caller) = caller {
                if caller.page.is_none() && is_page(&parts) {
                    let secret = keys::secret();
                    caller.page = Some(PageToken::of(secret.as_bytes()));
                    fresh = login::page_cookie(&context, &secret);
                }
                parts.extensions.insert(caller);
            }
            let mut response = next.run(Request::from_parts(parts, body)).await;
            if let Some(cookie) = fresh {
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }
            response
        }
        Err(problem) if problem.status == StatusCode::UNAUTHORIZED && asks_for_page(&parts) => {
            Redirect::to(login::PATH).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

/// The caller; none for what anybody may ask for.
async fn admit(context: &Context, parts: &Parts) -> Result<Option<Caller>, Problem> {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer);
    let address = || format!("address:{}", peer.map(|peer| peer.ip().to_canonical().to_string()).unwrap_or_default());
    if is_open(parts.uri.path()) {
        take(context, &address())?;
        return Ok(None);
    }
    let Some(caller) = find(context, parts, peer).await? else {
        take(context, &address())?;
        context.metrics().refused();
        let peer = peer.map(|peer| peer.to_string());
        tracing::info!(peer, path = parts.uri.path(), "a request was refused: who asks is not known");
        return Err(unknown());
    };
    let principal = &caller.principal;
    take(context, &format!("{}:{}:{}", principal.tenant, principal.actor.basis.name(), principal.actor.id))?;
    Ok(Some(caller))
}

async fn find(context: &Context, parts: &Parts, peer: Option<SocketAddr>) -> Result<Option<Caller>, Problem> {
    let now_ms = context.now_ms();
    if let Some(credential) = keys::credential(&parts.headers) {
        let page = PageToken::of(credential);
        let holder = holder(context, credential, now_ms).await?;
        return Ok(holder.map(|holder| Caller { page: Some(page), ..holder.caller }));
    }
    if let Some(cookie) = sessions::cookie(&parts.headers, sessions::COOKIE)
        && let Some(caller) = of_session(context, cookie, now_ms).await?
    {
        check_source(context, parts)?;
        return Ok(Some(caller));
    }
    let page =
        sessions::cookie(&parts.headers, sessions::PAGE_COOKIE).filter(|secret| secret.len() >= SECRET_LENGTH_MIN);
    let page = page.map(|secret| PageToken::of(secret.as_bytes()));
    Ok(loopback::caller(parts, peer, context.settings()).map(|caller| Caller { page, ..caller }))
}

/// The holder of an API key or token.
pub(super) struct Holder {
    pub(super) caller: Caller,
    /// What a session of theirs stands on.
    pub(super) basis: Basis,
    /// From when the credential is over.
    pub(super) expires_at_ms: Option<u64>,
}

/// The holder of a credential; none when it proves nothing.
pub(super) async fn holder(context: &Context, credential: &[u8], now_ms: u64) -> Result<Option<Holder>, Problem> {
    let Ok(credential) = str::from_utf8(credential) else { return Ok(None) };
    if credential.starts_with(keys::PREFIX) {
        let digest = keys::digest(credential);
        let caller = keys::caller(&**context.store(), &digest, now_ms).await?;
        return Ok(caller.map(|caller| Holder { caller, basis: Basis::Key(digest), expires_at_ms: None }));
    }
    let Some(tokens) = context.identity().tokens() else { return Ok(None) };
    let bearer = tokens.bearer(credential, now_ms).await?;
    Ok(bearer.map(|bearer| Holder {
        basis: Basis::Token(Box::new(bearer.caller.clone())),
        caller: bearer.caller,
        expires_at_ms: Some(bearer.expires_at_ms),
    }))
}

async fn of_session(context: &Context, cookie: &str, now_ms: u64) -> Result<Option<Caller>, Problem> {
    let caller = match sessions::find(&**context.store(), cookie, now_ms).await? {
        Some(Basis::Key(digest)) => keys::caller(&**context.store(), &digest, now_ms).await?,
        Some(Basis::Token(caller)) => Some(*caller),
        None => None,
    };
    let page = Some(PageToken::of(cookie.as_bytes()));
    Ok(caller.map(|caller| Caller { by_cookie: true, page, ..caller }))
}

/// What a cookie proves is enough to look; to change something, the request has to come from our own page.
fn check_source(context: &Context, parts: &Parts) -> Result<(), Problem> {
    let looks = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    match Source::of(parts, context.settings()) {
        Source::Own => Ok(()),
        Source::Unsaid | Source::Followed if looks => Ok(()),
        Source::Unsaid | Source::Followed | Source::Listed | Source::Local | Source::Foreign => {
            Err(Problem::forbidden("HP0805", "the request does not come from a page of this server")
                .with_cure("use the inbox's own pages, or send an API key instead of the cookie"))
        }
    }
}

fn take(context: &Context, who: &str) -> Result<(), Problem> {
    let Err(wait) = context.identity().rates().take(who, Instant::now()) else { return Ok(()) };
    let seconds = wait.as_secs() + 1;
    let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "HP0806", "too many requests")
        .with_cure(format!("wait {seconds} s"));
    problem.headers.push((header::RETRY_AFTER, HeaderValue::from(seconds)));
    Err(problem)
}

fn is_open(path: &str) -> bool {
    OPEN.contains(&path) || path.starts_with(OPEN_BELOW)
}

/// A page of the inbox is opened.
fn is_page(parts: &Parts) -> bool {
    let path = parts.uri.path();
    parts.method == Method::GET && (path == "/inbox" || path.starts_with("/inbox/"))
}

/// A browser that opens a page: it is sent to sign in.
fn asks_for_page(parts: &Parts) -> bool {
    let accepts = parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    is_page(parts)
        && accepts.is_some_and(|accepts| accepts.contains("text/html"))
        && keys::credential(&parts.headers).is_none()
}
