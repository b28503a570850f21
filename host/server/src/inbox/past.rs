//! What was said and done about a question, from the record.

use holdpoint_engine::Approval;
use holdpoint_store::{AuditFilter, AuditRecord};
use maud::{Markup, html};
use serde_json::Value;

use super::page::moment;
use super::text::text;
use crate::context::Context;
use crate::problem::Problem;

/// Records of the thread that are looked through.
const LOOKED_AT_MAX: usize = 5_000;
const PAGE: usize = 500;

/// The records about a question, oldest first.
///
/// # Errors
/// The store's.
pub(super) async fn read(context: &Context, approval: &Approval) -> Result<Vec<AuditRecord>, Problem> {
    let mut filter = AuditFilter {
        thread: Some(approval.thread.clone()),
        tenant: Some(approval.tenant.clone()),
        after: 0,
        limit: PAGE,
    };
    let (mut found, mut looked_at) = (Vec::new(), 0);
    loop {
        let page = context.store().audit(&filter).await?;
        looked_at += page.len();
        let is_last = page.len() < PAGE || looked_at >= LOOKED_AT_MAX;
        filter.after = page.last().map_or(filter.after, |record| record.sequence);
        let about =
            |record: &AuditRecord| record.body.get("question").and_then(Value::as_str) == Some(approval.id.as_str());
        found.extend(page.into_iter().filter(about));
        if is_last {
            return Ok(found);
        }
    }
}

/// The records as a list.
pub(super) fn list(records: &[AuditRecord], now_ms: u64) -> Markup {
    html! {
        @if records.is_empty() { p.faint { "Nothing is on the record." } }
        ol.past {
            @for record in records {
                li {
                    (moment(record.at_ms, now_ms)) " " (text(&record.actor.id)) " "
                    span.faint { "(" (record.actor.basis.name()) ")" } " "
                    strong { (what(record)) }
                    @for (name, said) in said(record) { ", " (name) ": " (text(&said)) }
                }
            }
        }
    }
}

fn what(record: &AuditRecord) -> &str {
    record.kind.split_once('.').map_or(&*record.kind, |(_, what)| what)
}

/// What else tells a person something.
fn said(record: &AuditRecord) -> Vec<(&'static str, String)> {
    let body = &record.body;
    let vote = body.get("vote").or_else(|| body.get("votes")?.as_array()?.last());
    let within = |name: &str| vote.and_then(|vote| vote.get(name)).or_else(|| body.get(name));
    let named = |of: &'static str, value: Option<&Value>| {
        let said = match value? {
            Value::String(text) if !text.is_empty() => text.clone(),
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
            _ => return None,
        };
        Some((of, said))
    };
    let delegation = body.get("delegation");
    let alone = (within("break_glass") == Some(&Value::Bool(true))).then(|| ("alone", "break-glass".to_owned()));
    let removed = body.get("removed_votes").and_then(Value::as_u64).filter(|removed| *removed > 0);
    [
        named("verdict", body.get("verdict").or_else(|| vote?.get("verdict"))),
        named("for", within("on_behalf_of")),
        named("to", delegation.and_then(|delegation| delegation.get("to")).or_else(|| body.get("to"))),
        named("wanted", body.get("wanted")),
        named("refused with", body.get("code")),
        named("for the person", body.get("subject")),
        named("reason", within("reason")),
        removed.map(|removed| ("votes removed", removed.to_string())),
        alone,
    ]
    .into_iter()
    .flatten()
    .collect()
}
