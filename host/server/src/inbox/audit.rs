//! What is on the record.

use axum::extract::{Query, State};
use holdpoint_graph::ids::ThreadId;
use holdpoint_store::AuditFilter;
use maud::html;
use serde::Deserialize;

use super::page::{Page, Place, moment, value};
use super::text::text;
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::problem::Problem;

/// Records on a page.
const PAGE: usize = 100;

/// What the page is asked to show.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    thread: Option<String>,
    after: u64,
}

/// `GET /inbox/audit`.
pub(super) async fn list(
    State(context): State<Context>,
    caller: Caller,
    Query(asked): Query<Asked>,
) -> Result<Page, Problem> {
    let thread = match asked.thread.as_deref().map(ThreadId::parse) {
        Some(thread) => Some(thread.map_err(|error| Problem::invalid("HP0812", error.to_string()))?),
        None => None,
    };
    // Who looks at everything sees what everybody did.
    caller.require(if thread.is_some() { Role::Viewer } else { Role::Admin })?;
    let tenant = Some(caller.principal.tenant.clone());
    let filter = AuditFilter { thread: thread.clone(), tenant, after: asked.after, limit: PAGE };
    let records = context.store().audit(&filter).await?;
    let head = context.store().audit_head().await?;
    let now_ms = context.now_ms();
    let next = (records.len() == PAGE).then(|| records.last().map(|last| last.sequence)).flatten();
    let of_thread = thread.as_ref().map(|thread| format!("thread={}&", super::thread::encoded(thread.as_str())));
    let content = html! {
        h1 { "Audit" @if let Some(thread) = &thread { " of thread " (text(thread.as_str())) } }
        @if let Some((count, digest)) = head {
            p.faint { (count) " records; the newest has the digest " code { (digest.hex_digits()) } ". Keep it: it shows that nothing was cut off." }
        }
        @if records.is_empty() { p.card { "Nothing." } }
        @else {
            div.scroll {
                table.card {
                    thead { tr { th { "no." } th { "when" } th { "who" } th { "what" } th { "more" } } }
                    tbody {
                        @for record in &records {
                            tr {
                                td.number { (record.sequence) }
                                td { (moment(record.at_ms, now_ms)) }
                                td { (text(&record.actor.id)) br; span.faint { (record.actor.basis.name()) } }
                                td { (record.kind) @if let Some(thread) = record.thread.as_ref().filter(|_| thread.is_none()) {
                                    br; a href=(super::thread::address(thread)) { (text(thread.as_str())) } } }
                                td { details { summary { "details" } (value(&serde_json::Value::Object(record.body.clone()))) p.faint { code { (record.digest.hex_digits()) } } } }
                            }
                        }
                    }
                }
            }
        }
        @if let Some(next) = next {
            p { a href=(format!("/inbox/audit?{}after={next}", of_thread.unwrap_or_default())) rel="next" { "next page" } }
        }
    };
    Ok(Page::new("Audit", Place::Audit, &caller, content))
}
