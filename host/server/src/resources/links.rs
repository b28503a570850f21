//! Approval links: whoever holds one decides one question once, as the person whom it was made for.
//!
//! Mail scanners and chat programs open every link that they see, so opening shows, and only the page's own form decides. A link is 32 random
//! bytes of which the digest is stored; its groups, where it has any, travel with it under the same digest, so that nobody can change them.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use holdpoint_engine::{Approval, Decision, Principal};
use holdpoint_graph::actor::{Actor, Basis};
use holdpoint_graph::nodes::Verdict;
use holdpoint_store::{AuditEntry, LinkRecord};
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::approvals::{find, read_digest, read_verdict, refusal, require_approver};
use crate::body::{Body, Segments};
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::identity::keys;
use crate::inbox::{confirm, safe};
use crate::problem::Problem;

/// How long a link is good for unless its maker says less or more, in seconds.
const LASTS_SECONDS: u64 = 24 * 60 * 60;

/// Longest time that a link can be good for, in seconds.
const LASTS_SECONDS_MAX: u64 = 30 * 24 * 60 * 60;

/// Longest subject or group, and most groups.
const NAME_BYTES_MAX: usize = 256;
const GROUPS_MAX: usize = 20;

/// What a link lets be done: what can be said with a button and a reason.
const VERDICTS: [(Verdict, &str); 3] =
    [(Verdict::Accept, "Accept"), (Verdict::Reject, "Reject"), (Verdict::Ignore, "Ignore")];

pub(crate) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(create)).route("/links/{token}", get(show).post(decide))
}

/// Whom a link is for.
#[derive(Debug, Deserialize, ToSchema)]
struct LinkRequest {
    /// Who decides with it, such as `user:4f1c…`. The caller when absent.
    subject: Option<String>,
    /// The groups that count for them. Those of the caller, or of the API key that the subject is, when absent.
    groups: Option<Vec<String>>,
    /// How long it is good for, in seconds.
    expires_in: Option<u64>,
}

/// Makes a link that lets one person decide one question once.
#[utoipa::path(
    post,
    path = "/approvals/{approval_id}/links",
    tag = "approvals",
    params(("approval_id" = String, Path)),
    request_body = LinkRequest,
    responses(
        (status = 201, description = "the link, this once", body = Object),
        (status = 403, description = "the caller may make none for this person"),
        (status = 404, description = "there is no such approval"),
        (status = 409, description = "it is decided or expired"),
    ),
)]
async fn create(
    State(context): State<Context>,
    caller: Caller,
    Segments(id): Segments<String>,
    headers: HeaderMap,
    Body(request): Body<LinkRequest>,
) -> Result<Response, Problem> {
    let approval = find(&context, &caller, &id).await?;
    require_approver(&context, &caller, &approval, "link").await?;
    let own = &caller.principal.actor.id;
    let subject = request.subject.unwrap_or_else(|| own.clone());
    let is_own = subject == *own;
    if !is_own {
        caller.require(Role::Operator)?;
    }
    let groups = match request.groups {
        None if is_own => caller.principal.groups.clone(),
        None => groups_of_key(&context, &caller, &subject).await?,
        // Whoever says what counts for somebody else decides who may answer.
        Some(groups) => {
            caller.require(Role::Admin)?;
            groups.into_iter().collect()
        }
    };
    check_names(&subject, &groups)?;
    if !approval.status.is_open() {
        let detail = format!("approval {} is {}", approval.id, approval.status.name());
        return Err(Problem::conflict("HP0407", detail));
    }
    let now_ms = context.now_ms();
    let lasts_seconds = request.expires_in.unwrap_or(LASTS_SECONDS);
    if lasts_seconds == 0 || lasts_seconds > LASTS_SECONDS_MAX {
        return Err(Problem::invalid("HP0821", format!("`expires_in`: not from 1 to {LASTS_SECONDS_MAX} seconds")));
    }
    let ends_at_ms = now_ms.saturating_add(lasts_seconds * 1000);
    let expires_at_ms = approval.deadline_at_ms.map_or(ends_at_ms, |deadline_at_ms| ends_at_ms.min(deadline_at_ms));
    let token = token(&groups);
    let record = LinkRecord {
        digest: keys::digest(&token),
        thread: approval.thread.clone(),
        question: approval.id.clone(),
        subject: subject.clone(),
        created_at_ms: now_ms,
        expires_at_ms,
        used_at_ms: None,
    };
    let body = json!({
        "question": approval.id.as_str(), "node": approval.node.as_str(), "subject": subject, "groups": groups,
        "expires_at_ms": expires_at_ms, "link_digest": record.digest.as_str(),
    });
    let entry = AuditEntry {
        thread: Some(approval.thread.clone()),
        tenant: caller.principal.tenant.clone(),
        at_ms: now_ms,
        actor: caller.principal.actor.clone(),
        kind: "link.created",
        body: body.as_object().cloned().unwrap_or_default(),
    };
    // On the record first: there may be a record without a link, but no link without a record.
    context.store().put_audit(vec![entry]).await?;
    context.store().put_links(vec![record]).await?;
    let url = format!("{}/links/{token}", base(&context, &headers));
    let body = json!({ "url": url, "subject": subject, "groups": groups, "expires_at_ms": expires_at_ms });
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// What a held API key says about its holder's groups; nothing is known of others.
async fn groups_of_key(context: &Context, caller: &Caller, subject: &str) -> Result<BTreeSet<String>, Problem> {
    let Some(name) = subject.strip_prefix("key:") else { return Ok(BTreeSet::new()) };
    let now_ms = context.now_ms();
    let keys = context.store().keys(Some(&caller.principal.tenant)).await?;
    let key = keys.into_iter().find(|key| key.name == name && keys::is_valid(key, now_ms));
    Ok(key.map(|key| key.groups.into_iter().collect()).unwrap_or_default())
}

fn check_names(subject: &str, groups: &BTreeSet<String>) -> Result<(), Problem> {
    let fine = |name: &str| !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control);
    // Names of the host itself are nobody's.
    if !fine(subject) || subject.starts_with("system:") {
        return Err(Problem::invalid("HP0821", "`subject`: that is no person's name"));
    }
    if groups.len() > GROUPS_MAX || !groups.iter().all(|group| fine(group)) {
        return Err(Problem::invalid("HP0821", format!("`groups`: not up to {GROUPS_MAX} names")));
    }
    Ok(())
}

/// A secret, and the groups that count for its holder.
fn token(groups: &BTreeSet<String>) -> String {
    let secret = keys::secret();
    if groups.is_empty() {
        return secret;
    }
    let names: Vec<&str> = groups.iter().map(String::as_str).collect();
    format!("{secret}.{}", URL_SAFE_NO_PAD.encode(names.join("\n")))
}

/// The groups that a token carries. Asked only of one whose digest is known.
fn groups(token: &str) -> BTreeSet<String> {
    let encoded = token.split_once('.').map(|(_, groups)| groups);
    let bytes = encoded.and_then(|encoded| URL_SAFE_NO_PAD.decode(encoded).ok());
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.iter().flat_map(|text| text.split('\n')).map(str::to_owned).collect()
}

/// Where people reach the server.
fn base(context: &Context, headers: &HeaderMap) -> String {
    let host = || headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1");
    context.settings().public_url.clone().unwrap_or_else(|| format!("http://{}", host()))
}

/// A link that still opens its question, and whoever holds it.
struct Held {
    link: LinkRecord,
    caller: Caller,
    approval: Approval,
}

/// What a link opens.
///
/// # Errors
/// 404 `HP0895` for every link that opens nothing, whatever the reason.
async fn held(context: &Context, token: &str) -> Result<Held, Problem> {
    let gone = || {
        Problem::not_found("HP0895", "this link opens nothing: it was used, is too old, or never was one")
            .with_cure("ask for a new link, or sign in to the inbox")
    };
    let link = context.store().link(&keys::digest(token)).await?.ok_or_else(gone)?;
    if link.used_at_ms.is_some() || context.now_ms() >= link.expires_at_ms {
        return Err(gone());
    }
    let found = context.store().find_question(&link.question).await?.filter(|found| found.thread == link.thread);
    let found = found.ok_or_else(gone)?;
    let principal = Principal {
        actor: Actor { id: link.subject.clone(), basis: Basis::Link },
        groups: groups(token),
        tenant: found.tenant.clone(),
        // Whoever holds a link may be anybody who reads the mail.
        authenticated: None,
    };
    let approval = Approval::of(&found, &principal, context.now_ms());
    if !approval.status.is_open() {
        return Err(gone());
    }
    Ok(Held { link, approval, caller: Caller { principal, role: Some(Role::Approver), by_cookie: false, page: None } })
}

/// Shows what is asked, and decides nothing.
async fn show(State(context): State<Context>, Segments(token): Segments<String>) -> Response {
    match held(&context, &token).await {
        Ok(held) => page(StatusCode::OK, "A decision is asked of you", &question(&held)),
        Err(problem) => refused(&problem),
    }
}

#[derive(Deserialize)]
struct Given {
    verdict: String,
    digest: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    confirm: String,
}

async fn decide(
    State(context): State<Context>,
    Segments(token): Segments<String>,
    Form(given): Form<Given>,
) -> Response {
    match try_decide(&context, &token, given).await {
        Ok(verdict) => {
            let content = html! { p role="status" { "Recorded: " strong { (verdict.name()) } ". This link opens nothing any more." } };
            page(StatusCode::OK, "Thank you", &content)
        }
        Err(problem) => refused(&problem),
    }
}

async fn try_decide(context: &Context, token: &str, given: Given) -> Result<Verdict, Problem> {
    let Held { link, caller, approval } = held(context, token).await?;
    let verdict = read_verdict(&given.verdict)?;
    if !VERDICTS.iter().any(|(known, _)| *known == verdict) {
        return Err(Problem::invalid("HP0904", "a link lets you accept, reject or ignore"));
    }
    confirm::check(&approval, verdict, &given.confirm)?;
    let message = Some(given.reason).filter(|reason| !reason.trim().is_empty());
    let digest = read_digest(&given.digest)?;
    let decision = Decision { message, link: Some(link.digest), ..Decision::new(verdict, digest) };
    let deciding = context.runs().decide(&caller.principal, &approval.thread, &approval.id, decision);
    deciding.await.map_err(refusal)?;
    Ok(verdict)
}

fn question(Held { link, approval, .. }: &Held) -> Markup {
    let allowed = VERDICTS.iter().filter(|(verdict, _)| approval.allowed.contains(&verdict.name()));
    let reasons: Vec<&str> = approval.reason_required_on.iter().map(|verdict| verdict.name()).collect();
    html! {
        p { "For " strong { (safe::text(&link.subject)) } ". Asked by the node " (safe::text(approval.node.as_str()))
            " of " (safe::text(approval.graph.as_str())) "." }
        @if let Some(deadline_at_ms) = approval.deadline_at_ms { p { "To be answered before " (safe::exact(deadline_at_ms)) "." } }
        section.card {
            h2 { "What is asked" }
            (safe::value(&approval.payload))
            @if let Some(evidence) = &approval.evidence { h3 { "Evidence" } (safe::value(evidence)) }
            @if let Some(proposal) = &approval.proposal {
                h3 { "Edited by " (safe::text(&proposal.by.id)) }
                (safe::value(&proposal.value))
            }
            p.faint { "digest " code { (approval.digest.as_str()) } }
        }
        @if approval.eligibility.may() && !approval.must_sign_in {
            form method="post" {
                input type="hidden" name="digest" value=(approval.digest.as_str());
                p {
                    label for="reason" { "Reason" @if !reasons.is_empty() { " (required to " (reasons.join(", ")) ")" } } " "
                    input type="text" id="reason" name="reason" maxlength="2000" autocomplete="off";
                }
                (confirm::field(approval))
                div.buttons {
                    @for (verdict, label) in allowed { button name="verdict" value=(verdict.name()) { (label) } }
                }
            }
        } @else if approval.must_sign_in {
            p { "This question wants a fresh sign-in, which a link is not: answer it in the inbox." }
        } @else {
            p { "You may not answer it: " (approval.eligibility.name()) "." }
        }
    }
}

fn refused(problem: &Problem) -> Response {
    let content = html! {
        p role="alert" { (safe::text(&problem.detail)) "." }
        @if let Some(cure) = &problem.cure { p { (safe::text(cure)) "." } }
        p.faint { "code " code { (problem.code) } }
    };
    page(problem.status, "Nothing was decided", &content)
}

/// The address of the page is a secret: it is told to nobody.
fn page(status: StatusCode, title: &str, content: &Markup) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { (title) " · Holdpoint" }
                link rel="stylesheet" href="/inbox/style.css";
            }
            body { main id="content" { h1 { (title) } (content) } }
        }
    };
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (status, headers, markup.into_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_carries_its_groups() {
        let named = BTreeSet::from(["finance".to_owned(), "leads: all".to_owned()]);
        assert_eq!(groups(&token(&named)), named);
        assert_eq!(groups(&token(&BTreeSet::new())), BTreeSet::new());
        assert_ne!(token(&named), token(&named));
        assert_eq!(token(&BTreeSet::new()).len(), 43);
    }
}
