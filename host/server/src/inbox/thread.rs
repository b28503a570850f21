//! Threads, and one of them: its graph with the path taken, its checkpoints, its operations, its state.

use std::collections::BTreeMap;

use axum::Form;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use holdpoint_engine::{Update, tree};
use holdpoint_graph::ids::{CheckpointId, NodeName, ThreadId};
use holdpoint_graph::operation::{OperationRecord, OperationState};
use holdpoint_store::{EntryFilter, EntryStatus, Outline, TaskStatus, ThreadSummary};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::page::{Page, Place, moment, short, value};
use super::picture::{self, Mark};
use super::text::text;
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::problem::Problem;

/// Threads on a page.
const PAGE: usize = 50;
/// Checkpoints from which a form offers to fork.
const FORKS_MAX: usize = 50;

/// What the list is asked to show.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    offset: usize,
}

/// `GET /inbox/threads`.
pub(super) async fn list(
    State(context): State<Context>,
    caller: Caller,
    Query(asked): Query<Asked>,
) -> Result<Page, Problem> {
    caller.require(Role::Viewer)?;
    let tenant = Some(caller.principal.tenant.clone());
    let filter = EntryFilter { tenant, limit: PAGE, offset: asked.offset, ..EntryFilter::default() };
    let found = context.store().entries(&filter).await?;
    let now_ms = context.now_ms();
    let content = html! {
        h1 { "Threads" }
        @if found.is_empty() { p.card { "None." } }
        @else {
            table.stack.card {
                thead { tr { th { "thread" } th { "graph" } th { "status" } th { "last change" } } }
                tbody {
                    @for summary in &found {
                        tr {
                            td { a href=(address(&summary.entry.thread)) { (text(summary.entry.thread.as_str())) } }
                            td data-label="graph" { @if let Some(record) = &summary.record { (text(record.graph_name.as_str())) } }
                            td data-label="status" { (status(summary)) }
                            td data-label="last change" { (moment(changed_at_ms(summary), now_ms)) }
                        }
                    }
                }
            }
        }
        @if found.len() == PAGE { p { a href=(format!("/inbox/threads?offset={}", asked.offset.saturating_add(PAGE))) rel="next" { "next page" } } }
    };
    Ok(Page::new("Threads", Place::Threads, &caller, content))
}

/// `GET /inbox/threads/{id}`.
pub(super) async fn show(
    State(context): State<Context>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Page, Problem> {
    caller.require(Role::Viewer)?;
    let thread = parse(&id)?;
    let summary = context.thread(&caller, &thread).await?;
    let now_ms = context.now_ms();
    let Some(record) = &summary.record else {
        let content = html! { h1 { "Thread " (text(&id)) } p.card { "It has got no input yet." } };
        return Ok(Page::new("Thread", Place::Threads, &caller, content));
    };
    let engine = context.engine(&caller);
    let view = engine.view(&thread).await?;
    let outline = engine.outline(&thread).await?;
    let state = engine.state(&thread, None).await?;
    let operations = context.store().operations(&thread).await?;
    let version = engine.version(&record.graph).await.ok();
    let marks = marks(&outline, &record.head, &state.tasks, &view.next);
    let token = context.identity().csrf_token(&caller);
    let content = html! {
        h1 { "Thread " (text(&id)) }
        p {
            (status(&summary)) " of graph " (text(record.graph_name.as_str()))
            span.faint { ", last changed " (moment(changed_at_ms(&summary), now_ms)) } " · "
            a href=(format!("/inbox/audit?thread={}", encoded(&id))) { "audit trail" }
        }
        @if let Some(error) = &view.error { p.notice.bad { (text(&error.message)) " " code { (text(&error.code)) } } }
        @for interrupt in &view.interrupts {
            p.notice { "Node " (text(interrupt.node.as_str())) " waits: "
                @if interrupt.kind == holdpoint_engine::InterruptKind::InDoubt { a href="/inbox/doubt" { "settle a doubt" } }
                @else { a href=(format!("/inbox/approvals/{}", interrupt.id)) { "decide" } } }
        }
        div.two {
            div {
                section.card { h2 { "Graph" } div.scroll { @if let Some(version) = &version { (picture::draw(&version.graph, &marks)) } @else { p.faint { "the graph is not at hand" } } } }
                section.card { h2 { "Checkpoints" } p.faint { "time runs down; a branch hangs off where it began" }
                    pre { (text(&tree::draw(&outline, &record.head, true))) } }
            }
            div {
                section.card { h2 { "State" } (value(&Value::Object(view.values.clone()))) }
                section.card { h2 { "Operations" } @if operations.is_empty() { p.faint { "none" } } @else { (self::operations(&operations, now_ms)) } }
                @if caller.role >= Some(Role::Operator) { (fork_form(&id, &outline, &token)) }
            }
        }
    };
    Ok(Page::new("Thread", Place::Threads, &caller, content))
}

/// What the form sends.
#[derive(Debug, Deserialize)]
pub(super) struct Given {
    csrf: String,
    checkpoint: String,
    #[serde(default)]
    values: String,
    effects: String,
}

/// `POST /inbox/threads/{id}/fork`.
pub(super) async fn fork(
    State(context): State<Context>,
    caller: Caller,
    Path(id): Path<String>,
    Form(given): Form<Given>,
) -> Response {
    let back = format!("/inbox/threads/{}", encoded(&id));
    match try_fork(&context, &caller, &id, given).await {
        Ok(()) => Redirect::to(&back).into_response(),
        Err(problem) => Page::refusal(&problem, &caller, &back).into_response(),
    }
}

async fn try_fork(context: &Context, caller: &Caller, id: &str, given: Given) -> Result<(), Problem> {
    context.identity().check_csrf(caller, &given.csrf)?;
    caller.require(Role::Operator)?;
    let thread = parse(id)?;
    context.thread(caller, &thread).await?;
    let wrong = |detail: String| Problem::invalid("HP0817", detail);
    let checkpoint = CheckpointId::parse(given.checkpoint).map_err(|error| wrong(error.to_string()))?;
    let effects = holdpoint_graph::nodes::EffectMode::parse(&given.effects)
        .ok_or_else(|| wrong(format!("{:?} is not live, recorded or ask", given.effects)))?;
    let values: Map<String, Value> = match given.values.trim() {
        "" => Map::new(),
        text => {
            serde_json::from_str(text).map_err(|error| wrong(format!("the changes are not a JSON object: {error}")))?
        }
    };
    let options = holdpoint_engine::RunOptions { effects: Some(effects), ..holdpoint_engine::RunOptions::default() };
    let engine = context.engine_with(caller, options);
    if values.is_empty() {
        engine.replay(&thread, &checkpoint).await?;
    } else {
        engine.fork(&thread, &checkpoint, Update { values: Some(values), ..Update::default() }).await?;
    }
    Ok(())
}

fn fork_form(id: &str, outline: &[Outline], token: &str) -> Markup {
    let from: Vec<&Outline> = outline
        .iter()
        .rev()
        .filter(|at| at.checkpoint.namespace.is_root() && !at.checkpoint.next.is_empty())
        .take(FORKS_MAX)
        .collect();
    html! {
        section.card {
            h2 { "Again from a checkpoint" }
            p.faint { "Makes a branch; what was done stays, recorded operations are not done twice, questions are asked anew." }
            form.decide method="post" action=(format!("/inbox/threads/{}/fork", encoded(id))) {
                input type="hidden" name="csrf" value=(token);
                label for="checkpoint" { "From" }
                select id="checkpoint" name="checkpoint" {
                    @for at in from {
                        option value=(at.checkpoint.id.as_str()) {
                            "step " (at.checkpoint.step) " · " (tree::short_id(&at.checkpoint.id)) " · after "
                            (at.checkpoint.writers.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", "))
                        }
                    }
                }
                label for="values" { "Changes (a JSON object of channels; nothing repeats it as it was)" }
                textarea id="values" name="values" spellcheck="false" placeholder="{\"amount_cents\": 100}" {}
                label for="effects" { "New operations" }
                select id="effects" name="effects" {
                    option value="recorded" { "are only listed: a what-if that touches nothing" }
                    option value="ask" { "are asked about, each one" }
                    option value="live" { "are performed" }
                }
                div.buttons { button { "Run the branch" } }
            }
        }
    }
}

/// A thread's operations, oldest first.
pub(super) fn operations(records: &[OperationRecord], now_ms: u64) -> Markup {
    html! {
        div.scroll {
            table {
                thead { tr { th { "operation" } th { "connector" } th { "state" } th { "begun" } } }
                tbody {
                    @for record in records {
                        tr {
                            td { code { (text(record.key.id.as_str())) } }
                            td { (text(record.key.connector.as_str())) }
                            td { span.tag.(state_colour(&record.state)) { (record.state.name()) } }
                            td { (moment(record.begun_at_ms, now_ms)) }
                        }
                    }
                }
            }
        }
    }
}

fn state_colour(state: &OperationState) -> &'static str {
    match state {
        OperationState::Completed(_) => "good",
        OperationState::Failed(_) | OperationState::InDoubt(_) => "bad",
        OperationState::Intended | OperationState::Queued { .. } => "warn",
        OperationState::NotSent => "plain",
    }
}

/// How each node of the thread's own graph stands, on the branch that leads to the head.
fn marks(
    outline: &[Outline],
    head: &CheckpointId,
    tasks: &[holdpoint_engine::TaskView],
    next: &[NodeName],
) -> BTreeMap<NodeName, Mark> {
    let parents: BTreeMap<&CheckpointId, &Outline> = outline.iter().map(|at| (&at.checkpoint.id, at)).collect();
    let mut marks = BTreeMap::new();
    let mut at = Some(head);
    while let Some(outline) = at.and_then(|id| parents.get(id)) {
        marks.extend(outline.checkpoint.writers.iter().map(|node| (node.clone(), Mark::Ran)));
        at = outline.checkpoint.parent.as_ref();
    }
    marks.extend(next.iter().map(|node| (node.clone(), Mark::Next)));
    for task in tasks {
        let mark = match task.status {
            Some(TaskStatus::Interrupted) => Mark::Waits,
            Some(TaskStatus::Failed | TaskStatus::InDoubt) => Mark::Failed,
            Some(TaskStatus::Done) => Mark::Ran,
            _ => continue,
        };
        marks.insert(task.node.clone(), mark);
    }
    marks
}

fn status(summary: &ThreadSummary) -> Markup {
    let status = EntryStatus::of(summary.record.as_ref().map(|record| record.status), summary.runs_open);
    let (name, colour) = match status {
        EntryStatus::Idle => ("idle", "good"),
        EntryStatus::Busy => ("busy", "plain"),
        EntryStatus::Interrupted => ("interrupted", "warn"),
        EntryStatus::Error => ("error", "bad"),
    };
    html! { span.tag.(colour) { (name) } }
}

fn changed_at_ms(summary: &ThreadSummary) -> u64 {
    summary.entry.updated_at_ms.max(summary.record.as_ref().map_or(0, |record| record.updated_at_ms))
}

fn parse(id: &str) -> Result<ThreadId, Problem> {
    ThreadId::parse(id).map_err(|_| Problem::not_found("HP0810", format!("Thread with ID {} not found", short(id))))
}

/// Where a thread's page is.
pub(super) fn address(thread: &ThreadId) -> String {
    format!("/inbox/threads/{}", encoded(thread.as_str()))
}

/// A text as a part of an address.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_hold_any_name() {
        assert_eq!(encoded("order-9241"), "order-9241");
        assert_eq!(encoded("a/b?c=<d> é"), "a%2Fb%3Fc%3D%3Cd%3E%20%C3%A9");
    }
}
