//! Everything that needs a person.

use axum::extract::{Query, State};
use holdpoint_engine::approvals::{Approval, ApprovalStatus};
use holdpoint_graph::ids::QuestionId;
use holdpoint_store::{OperationFilter, QuestionFilter};
use maud::{Markup, html};
use serde::Deserialize;

use super::page::{Page, Place, moment, short};
use super::text::text;
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::problem::Problem;

/// Questions on a page.
const PAGE: usize = 50;

/// What the page is asked to show.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    /// `mine` (default) or `all`.
    show: Option<String>,
    /// Pass over everything up to and with this question.
    after: Option<String>,
}

/// `GET /inbox`.
pub(super) async fn waiting(
    State(context): State<Context>,
    caller: Caller,
    Query(asked): Query<Asked>,
) -> Result<Page, Problem> {
    caller.require(Role::Viewer)?;
    let after = match asked.after.as_deref().map(QuestionId::parse) {
        Some(Err(error)) => return Err(Problem::invalid("HP0812", error.to_string())),
        Some(Ok(after)) => Some(after),
        None => None,
    };
    let engine = context.engine(&caller);
    let filter =
        QuestionFilter { tenant: Some(caller.principal.tenant.clone()), after, ..QuestionFilter::pending(PAGE) };
    let found = engine.approvals(&filter).await?;
    let next = (found.len() == PAGE).then(|| found.last().map(|last| last.id.clone())).flatten();
    let all = asked.show.as_deref() == Some("all");
    let (mine, others): (Vec<Approval>, Vec<Approval>) = found.into_iter().partition(|found| found.eligibility.may());
    let open = OperationFilter { open: true, limit: PAGE, ..OperationFilter::default() };
    let doubts = context.store().find_operations(&open).await?;
    let doubts = super::doubt::of_tenant(&context, &caller, doubts).await?.len();
    let now_ms = context.now_ms();
    let content = html! {
        h1 { "Waiting for a person" }
        @if doubts > 0 {
            p.notice.bad {
                (doubts) @if doubts == 1 { " operation is" } @else { " operations are" }
                " in doubt: nobody knows whether they happened. " a href="/inbox/doubt" { "Settle them" }
            }
        }
        p {
            @if all { a href="/inbox" { "for me" } " · " strong { "everything" } }
            @else { strong { "for me" } " · " a href="/inbox?show=all" { "everything" } }
        }
        @if mine.is_empty() && (!all || others.is_empty()) {
            p.card { "Nothing waits" @if !all { " for you" } "." }
        } @else {
            (table(&mine, now_ms))
            @if all && !others.is_empty() {
                h2 { "Others may answer these" }
                (table(&others, now_ms))
            }
        }
        @if !all && !others.is_empty() {
            p.faint { (others.len()) " more wait for others on this page. " a href="/inbox?show=all" { "Show them" } }
        }
        @if let Some(next) = next {
            p { a href=(format!("/inbox?after={next}{}", if all { "&show=all" } else { "" })) rel="next" { "next page" } }
        }
    };
    Ok(Page::new("Waiting", Place::Waiting, &caller, content))
}

fn table(approvals: &[Approval], now_ms: u64) -> Markup {
    html! {
        @if !approvals.is_empty() {
            table.stack.card {
                thead { tr { th { "what" } th { "graph, node" } th { "thread" } th { "asked" } th { "due" } th { "votes" } } }
                tbody {
                    @for approval in approvals {
                        tr {
                            td { a href=(format!("/inbox/approvals/{}", approval.id)) { (title(approval)) } }
                            td data-label="node" { (text(approval.graph.as_str())) ", " (text(approval.node.as_str())) }
                            td data-label="thread" { a href=(super::thread::address(&approval.thread)) { (text(short(approval.thread.as_str()))) } }
                            td data-label="asked" { (moment(approval.asked_at_ms, now_ms)) }
                            td data-label="due" { (due(approval, now_ms)) }
                            td data-label="votes" { (approval.approvals) " of " (approval.quorum.approve) }
                        }
                    }
                }
            }
        }
    }
}

/// What is asked, in a line.
pub(super) fn title(approval: &Approval) -> Markup {
    const CHARACTERS_MAX: usize = 100;
    let said = ["title", "summary", "message", "question", "description", "action", "type"]
        .into_iter()
        .find_map(|name| approval.payload.get(name)?.as_str().map(str::to_owned));
    let named = approval.actions.first().map(|action| action.name.clone());
    let whole = said.or(named).unwrap_or_else(|| match approval.payload.as_str() {
        Some(text) => text.to_owned(),
        None => approval.payload.to_string(),
    });
    let cut: String = whole.chars().take(CHARACTERS_MAX).collect();
    html! { (text(&cut)) @if cut.len() < whole.len() { "…" } }
}

/// Until when.
pub(super) fn due(approval: &Approval, now_ms: u64) -> Markup {
    html! {
        @match (approval.status, approval.deadline_at_ms) {
            (_, None) => { span.faint { "no deadline" } }
            (ApprovalStatus::Expired, Some(deadline)) => { span.tag.bad { "expired " (moment(deadline, now_ms)) } }
            (_, Some(deadline)) if deadline < now_ms + 3_600_000 => { span.tag.warn { (moment(deadline, now_ms)) } }
            (_, Some(deadline)) => { (moment(deadline, now_ms)) }
        }
    }
}
