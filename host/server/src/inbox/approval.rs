//! One question: its evidence, what will run, who voted, and the form that decides it.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use holdpoint_engine::approvals::{Approval, ApprovalStatus, Eligibility};
use holdpoint_engine::{Decided, Decision};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::QuestionId;
use holdpoint_graph::nodes::Verdict;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::page::{Page, Place, moment, value};
use super::text::{is_suspicious, text};
use super::waiting::{due, risk, title};
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::problem::Problem;
use crate::resources::approvals::require_role;

/// `GET /inbox/approvals/{id}`.
pub(super) async fn show(
    State(context): State<Context>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Page, Problem> {
    caller.require(Role::Viewer)?;
    let approval = find(&context, &caller, &id).await?;
    let now_ms = context.now_ms();
    let ahead = ahead(&context, &approval).await;
    let before = context.store().operations(&approval.thread).await?;
    let token = context.identity().csrf_token(&caller);
    let past = super::past::read(&context, &approval).await?;
    let edit = approval.edit();
    let suspicious = has_suspicious(&approval.payload)
        || approval.proposal.as_ref().is_some_and(|proposal| has_suspicious(&proposal.value));
    let content = html! {
        h1 { (title(&approval)) }
        p {
            (status(&approval)) (risk(&approval)) " "
            (due(&approval, now_ms))
            span.faint { " · asked " (moment(approval.asked_at_ms, now_ms)) " by node " (text(approval.node.as_str())) " of "
                a href=(super::thread::address(&approval.thread)) { "thread " (text(approval.thread.as_str())) } }
        }
        @if suspicious {
            p.notice role="alert" { "This request holds characters that do not show, or words that mix scripts. They are marked below; look twice." }
        }
        @if let Some(reason) = &approval.unreadable {
            p.notice.bad { "Nobody may answer: the policy of this question cannot be read. " (text(reason)) }
        }
        div.two {
            div {
                section.card aria-labelledby="asked" {
                    h2 id="asked" { "What is asked" }
                    p.faint { "written by the node " (text(approval.node.as_str())) ", not by Holdpoint" }
                    (value(&approval.payload))
                    @if let Some(edit) = &edit {
                        h2 { "What was changed" @if let Some(proposal) = &approval.proposal { " by " (text(&proposal.by.id)) } }
                        (super::diff::table(edit))
                    }
                    @if let Some(proposal) = &approval.proposal {
                        h2 { "As edited by " (text(&proposal.by.id)) }
                        (value(&proposal.value))
                    }
                    p.faint { "digest " code { (approval.digest.as_str()) } }
                }
                @if let Some(evidence) = &approval.evidence {
                    section.card { h2 { "Why the host asks" } p.faint { "written by Holdpoint, from its rules" } (value(evidence)) }
                }
                section.card {
                    h2 { "What runs if it is accepted" }
                    (ahead)
                }
                @if !before.is_empty() {
                    section.card {
                        h2 { "What the thread did before" }
                        (super::thread::operations(&before, now_ms))
                    }
                }
                section.card {
                    h2 { "History" }
                    (super::past::list(&past, now_ms))
                }
            }
            div {
                (decision(&approval, &token, now_ms))
                @if approval.break_glass && caller.require(Role::Admin).is_ok() { (alone(&approval, &token)) }
                section.card {
                    h2 { "Votes" }
                    (meter(&approval, now_ms))
                    dl.facts {
                        dt { "may answer" }
                        dd { @if approval.assignees.is_empty() { "everybody with the role approver" } @else { (text(&approval.assignees.join(", "))) } }
                        @for added in &approval.added {
                            dt { "also" }
                            dd { (text(&added.to)) @if let Some(by) = &added.on_behalf_of { " for " (text(by)) } ", since " (moment(added.at_ms, now_ms))
                                @if let Some(until_ms) = added.until_ms { ", until " (moment(until_ms, now_ms)) }
                                @if let Some(reason) = &added.reason { ": " (text(reason)) } }
                        }
                        @for step in approval.ladder.iter().skip(approval.added.iter().filter(|added| added.on_behalf_of.is_none()).count()) {
                            dt { "later also" }
                            dd { (text(&step.to.iter().map(|person| person.label.as_str()).collect::<Vec<_>>().join(", "))) " " (moment(approval.asked_at_ms.saturating_add(step.after_ms), now_ms)) }
                        }
                        @if let Some(distinct) = &approval.distinct_from { dt { "may not answer" } dd { (text(distinct)) } }
                    }
                }
            }
        }
    };
    Ok(Page::new("Approval", Place::Waiting, &caller, content))
}

/// What the form sends.
#[derive(Debug, Deserialize)]
pub(super) struct Given {
    verdict: String,
    digest: String,
    csrf: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    confirm: String,
    /// `yes` for a word that decides alone.
    #[serde(default)]
    break_glass: String,
}

/// `POST /inbox/approvals/{id}`.
pub(super) async fn decide(
    State(context): State<Context>,
    caller: Caller,
    Path(id): Path<String>,
    Form(given): Form<Given>,
) -> Response {
    let back = format!("/inbox/approvals/{id}");
    match try_decide(&context, &caller, &id, given).await {
        Ok(_) => Redirect::to(&back).into_response(),
        Err(problem) => Page::refusal(&problem, &caller, &back).into_response(),
    }
}

async fn try_decide(context: &Context, caller: &Caller, id: &str, given: Given) -> Result<Decided, Problem> {
    context.identity().check_csrf(caller, &given.csrf)?;
    let approval = find(context, caller, id).await?;
    let break_glass = given.break_glass == "yes";
    let (what, role) = if break_glass { ("answer (break-glass)", Role::Admin) } else { ("answer", Role::Approver) };
    require_role(context, caller, &approval, what, role).await?;
    let verdict = Verdict::parse(&given.verdict).filter(|verdict| *verdict != Verdict::Expired);
    let verdict = verdict.ok_or_else(|| Problem::invalid("HP0813", format!("{:?} is not a verdict", given.verdict)))?;
    super::confirm::check(&approval, verdict, &given.confirm)?;
    let digest = Digest::parse(given.digest).map_err(|error| Problem::invalid("HP0813", error.to_string()))?;
    let written = Some(given.value).filter(|text| !text.trim().is_empty() && verdict != Verdict::Reject);
    let args: Option<Value> = match written.as_deref().map(serde_json::from_str) {
        Some(Ok(value)) => Some(value),
        // A word is a fine answer; a changed request that is no JSON is not.
        Some(Err(_)) if verdict == Verdict::Respond => written.map(Value::String),
        Some(Err(error)) => {
            return Err(Problem::invalid("HP0813", format!("the changed request is not JSON: {error}")));
        }
        None => None,
    };
    let message = Some(given.reason).filter(|text| !text.trim().is_empty());
    let (args, value) = match verdict {
        Verdict::Edit if !approval.actions.is_empty() => (args, None),
        Verdict::Edit | Verdict::Respond => (None, args),
        _ => (None, None),
    };
    let decision = Decision { value, args, message, break_glass, ..Decision::new(verdict, digest) };
    Ok(context.runs().decide(&caller.principal, &approval.thread, &approval.id, decision).await?)
}

/// A question of the caller's tenant.
async fn find(context: &Context, caller: &Caller, id: &str) -> Result<Approval, Problem> {
    let not_found = || Problem::not_found("HP0814", format!("there is no approval {id}"));
    let question = QuestionId::parse(id).map_err(|_| not_found())?;
    let approval = context.engine(caller).approval(&question).await?;
    if approval.tenant == caller.principal.tenant { Ok(approval) } else { Err(not_found()) }
}

/// Where a question stands.
pub(super) fn status(approval: &Approval) -> Markup {
    html! {
        span.tag.(colour(approval.status)) { (approval.status.name().replace('_', " ")) }
        @if approval.broken_glass { " " span.tag.bad { "break-glass" } }
    }
}

/// The form of an administrator's word that decides alone.
fn alone(approval: &Approval, token: &str) -> Markup {
    let may = |verdict: Verdict| approval.allowed.contains(&verdict.name());
    html! {
        section.card {
            details {
                summary { "Break glass: decide alone" }
                p { "Passes over who may answer, how many it takes and who asked for it. It is on the record and everybody concerned is told." }
                form.decide method="post" action=(format!("/inbox/approvals/{}", approval.id)) {
                    input type="hidden" name="csrf" value=(token);
                    input type="hidden" name="digest" value=(approval.digest.as_str());
                    input type="hidden" name="break_glass" value="yes";
                    label for="why" { "Why you decide alone (required)" }
                    input type="text" id="why" name="reason" maxlength="2000" autocomplete="off" required;
                    @if let Some((name, word)) = super::confirm::wanted(approval) {
                        label for="alone-confirm" { "To go ahead, type " (text(&word)) " (" (name) ")" }
                        input type="text" id="alone-confirm" name="confirm" maxlength="100" autocomplete="off" spellcheck="false";
                    }
                    div.buttons {
                        @if may(Verdict::Reject) { button.bad name="verdict" value="reject" { "Reject alone" } }
                        @if may(Verdict::Accept) { button.bad name="verdict" value="accept" { "Accept alone" } }
                    }
                }
            }
        }
    }
}

fn decision(approval: &Approval, token: &str, now_ms: u64) -> Markup {
    if let Some(answer) = &approval.answer {
        return html! {
            section.card {
                h2 { "Decided" }
                p { (status(approval)) " by " (text(&answer.answered_by)) " " (moment(answer.answered_at_ms, now_ms)) }
                (value(&answer.value))
            }
        };
    }
    if let Some(withdrawn) = &approval.withdrawn {
        return html! {
            section.card {
                h2 { "Cancelled" }
                p { "by " (text(&withdrawn.by.id)) " " (moment(withdrawn.at_ms, now_ms)) ": nobody is to answer any more." }
            }
        };
    }
    let why_not = match &approval.eligibility {
        Eligibility::Own | Eligibility::OnBehalfOf(_) if approval.must_sign_in => {
            Some("This question wants a fresh sign-in with your identity provider: sign in anew, then answer.")
        }
        Eligibility::Own | Eligibility::OnBehalfOf(_) => None,
        Eligibility::NotNamed => Some("You are not among those who may answer."),
        Eligibility::Distinct => Some("You asked for this yourself: somebody else has to decide."),
        Eligibility::Voted => Some("You have voted."),
        Eligibility::Closed => Some("It cannot be answered any more."),
    };
    if let Some(why_not) = why_not {
        return html! { section.card { h2 { "Decision" } p { (why_not) } } };
    }
    let may = |verdict: Verdict| approval.allowed.contains(&verdict.name());
    let changed = approval.actions.first().map_or(&approval.payload, |action| &action.args);
    let changed = serde_json::to_string_pretty(changed).unwrap_or_default();
    let quick = super::confirm::wanted(approval).is_none();
    html! {
        section.card {
            h2 { "Decision" }
            @if let Eligibility::OnBehalfOf(by) = &approval.eligibility { p.faint { "You decide in the place of " (text(by)) "." } }
            form.decide method="post" action=(format!("/inbox/approvals/{}", approval.id)) {
                input type="hidden" name="csrf" value=(token);
                input type="hidden" name="digest" value=(approval.digest.as_str());
                label for="reason" { "Reason" @if !approval.reason_required_on.is_empty() {
                    " (required to " (approval.reason_required_on.iter().map(|verdict| verdict.name()).collect::<Vec<_>>().join(", ")) ")" } }
                input type="text" id="reason" name="reason" maxlength="2000" autocomplete="off";
                (super::confirm::field(approval))
                @if may(Verdict::Edit) || may(Verdict::Respond) {
                    details {
                        summary { "Change it, or answer with something else" }
                        label for="value" { "The changed request, or the answer (JSON)" }
                        textarea id="value" name="value" spellcheck="false" { (changed) }
                        div.buttons {
                            @if may(Verdict::Edit) { button name="verdict" value="edit" { "Accept as changed" } }
                            @if may(Verdict::Respond) { button name="verdict" value="respond" { "Answer with this" } }
                        }
                    }
                }
                div.buttons {
                    // Where much is at stake no key goes ahead by itself.
                    @if may(Verdict::Accept) { button.good name="verdict" value="accept" accesskey=[quick.then_some("a")] { "Accept" } }
                    @if may(Verdict::Reject) { button.bad name="verdict" value="reject" accesskey="r" { "Reject" } }
                    @if may(Verdict::Ignore) { button name="verdict" value="ignore" { "Dismiss" } }
                }
            }
        }
    }
}

fn meter(approval: &Approval, now_ms: u64) -> Markup {
    html! {
        p {
            progress max=(approval.quorum.approve) value=(approval.approvals) aria-label="votes to go ahead" {}
            " " (approval.approvals) " of " (approval.quorum.approve) " to go ahead, "
            (approval.rejections) " of " (approval.quorum.reject) " against"
        }
        @if !approval.votes.is_empty() {
            ul {
                @for vote in &approval.votes {
                    li {
                        (text(&vote.by.id)) " (" (vote.by.basis.name()) ") "
                        @if let Some(by) = &vote.on_behalf_of { "for " (text(by)) " " }
                        strong { (vote.verdict.name()) } " " (moment(vote.at_ms, now_ms))
                        @if let Some(reason) = &vote.reason { ": " (text(reason)) }
                    }
                }
            }
        }
    }
}

/// The nodes that can run next, and what they may do outside.
async fn ahead(context: &Context, approval: &Approval) -> Markup {
    let version = async {
        let record = context.store().thread(&approval.thread).await.ok()??;
        context.engine_of_host().version(&record.graph).await.ok()
    };
    let Some(version) = version.await else { return html! { p.faint { "the graph is not at hand" } } };
    let Some(node) = version.node(&approval.node) else {
        return html! { p { "The node " (text(approval.node.as_str())) " goes on inside a subgraph." } };
    };
    let uses = |name: &str| {
        let connectors =
            version.graph.nodes.iter().find(|(node, _)| node.as_str() == name).map(|(_, node)| &node.connectors);
        connectors.into_iter().flatten().map(|connector| connector.as_str()).collect::<Vec<_>>().join(", ")
    };
    let own = uses(approval.node.as_str());
    let next = super::picture::leads_to(node);
    html! {
        p { "The node " strong { (text(approval.node.as_str())) } " runs again from its start with the answer"
            @if !own.is_empty() { "; it may use " strong { (text(&own)) } } "." }
        @if !next.is_empty() {
            ul {
                @for name in &next {
                    @let connectors = uses(name);
                    li { (text(name)) @if !connectors.is_empty() { ", which may use " strong { (text(&connectors)) } } }
                }
            }
        }
    }
}

fn colour(status: ApprovalStatus) -> &'static str {
    match status {
        ApprovalStatus::Approved | ApprovalStatus::Edited | ApprovalStatus::Responded => "good",
        ApprovalStatus::Rejected | ApprovalStatus::Expired => "bad",
        ApprovalStatus::Pending | ApprovalStatus::PartiallyApproved => "warn",
        ApprovalStatus::Ignored | ApprovalStatus::Superseded | ApprovalStatus::Cancelled => "plain",
    }
}

fn has_suspicious(value: &Value) -> bool {
    match value {
        Value::String(text) => is_suspicious(text),
        Value::Array(items) => items.iter().any(has_suspicious),
        Value::Object(members) => members.iter().any(|(name, value)| is_suspicious(name) || has_suspicious(value)),
        _ => false,
    }
}
