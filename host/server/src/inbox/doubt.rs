//! Operations whose outcome nobody knows, and the ways out.

use axum::Form;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use holdpoint_engine::Word;
use holdpoint_graph::ids::{ConnectorName, OperationId};
use holdpoint_graph::operation::{OperationKey, OperationRecord, OperationState, Scope};
use holdpoint_store::OperationFilter;
use maud::html;
use serde::Deserialize;

use super::page::{Page, Place, moment, value};
use super::text::text;
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::problem::Problem;

/// Operations on the page.
const PAGE: usize = 200;

/// `GET /inbox/doubt`.
pub(super) async fn list(State(context): State<Context>, caller: Caller) -> Result<Page, Problem> {
    caller.require(Role::Viewer)?;
    let open = OperationFilter { open: true, limit: PAGE, ..OperationFilter::default() };
    let found = context.store().find_operations(&open).await?;
    let doubts = of_tenant(&context, &caller, found).await?;
    let now_ms = context.now_ms();
    let token = context.identity().csrf_token(&caller);
    let content = html! {
        h1 { "In doubt" }
        p.faint { "These requests were sent, or may have been, and no outcome is known. Their threads wait. Ask the receiver, then say what happened: it is on the record as your word." }
        @if doubts.is_empty() { p.card { "Nothing is in doubt." } }
        @for record in &doubts {
            section.card {
                h2 { code { (text(record.key.id.as_str())) } " at " (text(record.key.connector.as_str())) }
                p.faint { "begun " (moment(record.begun_at_ms, now_ms)) " by node " (text(record.node.as_str())) " of "
                    a href=(super::thread::address(&record.thread)) { "thread " (text(record.thread.as_str())) } }
                @if let OperationState::InDoubt(reason) = &record.state { p { (text(reason)) } }
                (value(&record.request))
                @if let Some(settles) = record.settles_at_ms.filter(|settles| *settles > now_ms) {
                    p.notice { "It may still arrive; from " (moment(settles, now_ms)) " on it can be called not happened." }
                }
                form.decide method="post" action="/inbox/doubt" {
                    input type="hidden" name="csrf" value=(token);
                    input type="hidden" name="scope" value=(record.key.scope.to_text());
                    input type="hidden" name="connector" value=(record.key.connector.as_str());
                    input type="hidden" name="id" value=(record.key.id.as_str());
                    label { "How do you know? " input type="text" name="reason" required maxlength="2000" autocomplete="off"; }
                    label { "If it happened: what the receiver answered (JSON) " textarea name="result" spellcheck="false" { "{}" } }
                    div.buttons {
                        button.good name="word" value="happened" { "It happened" }
                        button name="word" value="send" { "It did not: send it" }
                        button.bad name="word" value="fail" { "It did not: let it fail" }
                    }
                }
            }
        }
    };
    Ok(Page::new("In doubt", Place::Doubt, &caller, content))
}

/// What the form sends.
#[derive(Debug, Deserialize)]
pub(super) struct Given {
    csrf: String,
    scope: String,
    connector: String,
    id: String,
    word: String,
    reason: String,
    #[serde(default)]
    result: String,
}

/// `POST /inbox/doubt`.
pub(super) async fn settle(State(context): State<Context>, caller: Caller, Form(given): Form<Given>) -> Response {
    match try_settle(&context, &caller, given).await {
        Ok(()) => Redirect::to("/inbox/doubt").into_response(),
        Err(problem) => Page::refusal(&problem, &caller, "/inbox/doubt").into_response(),
    }
}

async fn try_settle(context: &Context, caller: &Caller, given: Given) -> Result<(), Problem> {
    context.identity().check_csrf(caller, &given.csrf)?;
    caller.require(Role::Operator)?;
    let wrong = |detail: String| Problem::invalid("HP0815", detail);
    let key = OperationKey {
        scope: Scope::parse(&given.scope).ok_or_else(|| wrong(format!("{:?} is not a scope", given.scope)))?,
        connector: ConnectorName::parse(given.connector).map_err(|error| wrong(error.to_string()))?,
        id: OperationId::parse(given.id).map_err(|error| wrong(error.to_string()))?,
    };
    let not_found = || Problem::not_found("HP0816", format!("there is no operation {}", key.id));
    let record = context.store().operation(&key).await?.ok_or_else(not_found)?;
    if of_tenant(context, caller, vec![record.clone()]).await?.is_empty() {
        return Err(not_found());
    }
    let word = match given.word.as_str() {
        "happened" => {
            let result = serde_json::from_str(&given.result);
            Word::Happened(result.map_err(|error| wrong(format!("what the receiver answered is not JSON: {error}")))?)
        }
        "send" => Word::Send,
        "fail" => Word::Fail,
        other => return Err(wrong(format!("{other:?} is not a way out"))),
    };
    let actor = &caller.principal.actor.id;
    let settled = context.engine(caller).settle(&key, word, actor, &given.reason).await?;
    context.runs().wake(&settled.thread);
    Ok(())
}

/// Those of the caller's tenant whose outcome is unknown.
pub(super) async fn of_tenant(
    context: &Context,
    caller: &Caller,
    records: Vec<OperationRecord>,
) -> Result<Vec<OperationRecord>, Problem> {
    let mut own = Vec::new();
    for record in records {
        if matches!(record.state, OperationState::InDoubt(_)) && context.thread(caller, &record.thread).await.is_ok() {
            own.push(record);
        }
    }
    Ok(own)
}
