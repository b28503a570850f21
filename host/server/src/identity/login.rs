//! The page to sign in: a browser shows an API key or a token once and holds a cookie from then on.

use axum::extract::{Form, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use maud::{DOCTYPE, html};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;

use super::middleware::holder;
use super::origin::Source;
use super::sessions::{self, COOKIE, LASTS_MS, PAGE_COOKIE};
use super::unknown;
use crate::context::Context;
use crate::problem::Problem;

/// Where to sign in.
pub(super) const PATH: &str = "/inbox/login";

/// Where to sign out.
pub(super) const LOGOUT: &str = "/inbox/logout";

/// The looks of all pages.
pub(super) const STYLE: &str = "/inbox/style.css";

/// The page, and what its form does. For browsers, so not part of the description.
pub(crate) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new().route(PATH, get(page).post(login)).route(LOGOUT, post(logout))
}

#[derive(Deserialize)]
struct SignIn {
    credential: String,
}

async fn page() -> Html<String> {
    markup(None)
}

async fn login(
    State(context): State<Context>,
    parts: Parts,
    Form(SignIn { credential }): Form<SignIn>,
) -> Result<Response, Problem> {
    // Otherwise another site could sign a person in under its own name and learn what they do.
    check_own(&context, &parts)?;
    let now_ms = context.now_ms();
    let Some(holder) = holder(&context, credential.trim().as_bytes(), now_ms).await? else {
        context.metrics().refused();
        return Ok((StatusCode::UNAUTHORIZED, markup(Some(&unknown().detail))).into_response());
    };
    tracing::info!(actor = holder.caller.principal.actor.id, "signed in");
    let ends_at_ms = holder.expires_at_ms.unwrap_or(u64::MAX).min(now_ms.saturating_add(LASTS_MS));
    let id = sessions::begin(&**context.store(), &holder.basis, ends_at_ms, now_ms).await?;
    let seconds = ends_at_ms.saturating_sub(now_ms) / 1000;
    Ok(with_cookie(Redirect::to("/inbox"), &cookie(&context, COOKIE, &id, Some(seconds))))
}

async fn logout(State(context): State<Context>, parts: Parts) -> Result<Response, Problem> {
    check_own(&context, &parts)?;
    if let Some(id) = sessions::cookie(&parts.headers, COOKIE) {
        sessions::end(&**context.store(), id).await?;
    }
    Ok(with_cookie(Redirect::to(PATH), &cookie(&context, COOKIE, "", Some(0))))
}

fn check_own(context: &Context, parts: &Parts) -> Result<(), Problem> {
    match Source::of(parts, context.settings()) {
        Source::Own | Source::Unsaid => Ok(()),
        Source::Listed | Source::Local | Source::Followed | Source::Foreign => {
            Err(Problem::forbidden("HP0805", "the request does not come from a page of this server"))
        }
    }
}

/// Nothing but our own pages sends it, no script reads it, and behind https it never travels in the clear.
/// Without `seconds` it lasts as long as the browser is open.
fn cookie(context: &Context, name: &str, id: &str, seconds: Option<u64>) -> String {
    let secure = match &context.settings().public_url {
        Some(url) if url.starts_with("https://") => "; Secure",
        _ => "",
    };
    let lasts = seconds.map(|seconds| format!("; Max-Age={seconds}")).unwrap_or_default();
    format!("{name}={id}; Path=/{lasts}; HttpOnly; SameSite=Strict{secure}")
}

/// The cookie that the pages of a caller without a session are bound to.
pub(super) fn page_cookie(context: &Context, secret: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(&cookie(context, PAGE_COOKIE, secret, None)).ok()
}

fn with_cookie(response: Redirect, cookie: &str) -> Response {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(cookie) {
        headers.insert(header::SET_COOKIE, value);
    }
    (headers, response).into_response()
}

fn markup(problem: Option<&str>) -> Html<String> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                link rel="stylesheet" href=(STYLE);
                title { "Sign in · Holdpoint" }
            }
            body {
                main id="content" {
                    h1 { "Sign in" }
                    @if let Some(problem) = problem {
                        p role="alert" { (problem) "." }
                    }
                    form method="post" action=(PATH) {
                        p {
                            label for="credential" { "API key or token" }
                            " "
                            input id="credential" name="credential" type="password" required autocomplete="current-password" autofocus;
                        }
                        p { button type="submit" { "Sign in" } }
                    }
                }
            }
        }
    };
    Html(page.into_string())
}
