//! Everything that needs a person, and what became of what did.

use axum::extract::{Query, State};
use holdpoint_engine::approvals::{Approval, ApprovalStatus};
use holdpoint_graph::ids::QuestionId;
use holdpoint_store::{OperationFilter, QuestionFilter, QuestionStatus};
use maud::{Markup, html};
use serde::Deserialize;

use super::page::{Page, Place, left, moment, short};
use super::text::text;
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::problem::Problem;
use crate::resources::wanted::Wanted;

/// Questions on a page.
const PAGE: usize = 50;

/// What is due within this is due soon.
const SOON_MS: u64 = 60 * 60 * 1000;

/// What the page is asked to show.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    /// One of the names of [`Show`].
    show: Option<String>,
    /// Pass over everything up to and with this question.
    after: Option<String>,
}

/// Which questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Show {
    /// Those that the caller may answer.
    Mine,
    /// Those that name a group of theirs.
    Groups,
    /// Those whose deadline is near.
    Soon,
    /// Those that nobody answered in time.
    Overdue,
    /// All that wait.
    All,
    /// Those that somebody, or the deadline, decided.
    Decided,
    /// Those that were withdrawn.
    Cancelled,
}

impl Show {
    /// All of them with their names in addresses and on the page.
    const NAMES: [(Self, &'static str, &'static str); 7] = [
        (Self::Mine, "mine", "for me"),
        (Self::Groups, "groups", "my groups"),
        (Self::Soon, "soon", "due within the hour"),
        (Self::Overdue, "overdue", "overdue"),
        (Self::All, "all", "everything"),
        (Self::Decided, "decided", "decided"),
        (Self::Cancelled, "cancelled", "cancelled"),
    ];

    fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Reads a name; an unknown one is the default.
    fn parse(text: Option<&str>) -> Self {
        let known = text.and_then(|text| Self::NAMES.iter().find(|(_, name, _)| *name == text));
        known.map_or(Self::Mine, |(show, _, _)| *show)
    }

    /// Whether these can still be answered.
    fn waits(self) -> bool {
        matches!(self, Self::Mine | Self::Groups | Self::Soon | Self::All)
    }

    /// What is said where there is none.
    fn nothing(self) -> &'static str {
        match self {
            Self::Mine => "Nothing waits for you.",
            Self::Groups => "Nothing waits for a group of yours.",
            Self::Soon => "Nothing is due within the hour.",
            Self::Overdue => "Nothing was left unanswered.",
            Self::All => "Nothing waits.",
            Self::Decided => "Nothing was decided yet.",
            Self::Cancelled => "Nothing was cancelled.",
        }
    }

    fn wanted(self, caller: &Caller, after: Option<QuestionId>, now_ms: u64) -> Wanted {
        let recorded = match self {
            Self::Decided | Self::Overdue => QuestionStatus::Answered,
            Self::Cancelled => QuestionStatus::Cancelled,
            Self::Mine | Self::Groups | Self::Soon | Self::All => QuestionStatus::Pending,
        };
        let all = ApprovalStatus::NAMES.map(|(status, _)| status).into_iter();
        let statuses = match self {
            Self::Overdue => vec![ApprovalStatus::Expired],
            // What is expired and not recorded yet shows where it is looked for.
            show if show.waits() => all.filter(|status| status.is_open()).collect(),
            _ => all.filter(|status| !status.is_open()).collect(),
        };
        let filter = QuestionFilter {
            status: Some(recorded),
            deadline_until_ms: (self == Self::Soon).then(|| now_ms.saturating_add(SOON_MS)),
            after,
            ..QuestionFilter::pending(PAGE)
        };
        let groups = (self == Self::Groups).then(|| caller.principal.groups.clone());
        Wanted { filter, statuses, mine: self == Self::Mine, groups: groups.into_iter().collect() }
    }
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
    let show = Show::parse(asked.show.as_deref());
    let now_ms = context.now_ms();
    let is_first = after.is_none();
    let (mut found, next) = show.wanted(&caller, after, now_ms).page(&context, &caller, PAGE).await?;
    if show == Show::Overdue && is_first {
        found.splice(0..0, just_expired(&context, &caller, now_ms).await?);
    }
    let open = OperationFilter { open: true, limit: PAGE, ..OperationFilter::default() };
    let doubts = context.store().find_operations(&open).await?;
    let doubts = super::doubt::of_tenant(&context, &caller, doubts).await?.len();
    let (mine, others): (Vec<Approval>, Vec<Approval>) =
        found.into_iter().partition(|found| !show.waits() || found.eligibility.may());
    let content = html! {
        h1 { @if show.waits() { "Waiting for a person" } @else { "No longer waiting" } }
        @if doubts > 0 {
            p.notice.bad {
                (doubts) @if doubts == 1 { " operation is" } @else { " operations are" }
                " in doubt: nobody knows whether they happened. " a href="/inbox/doubt" { "Settle them" }
            }
        }
        nav.filters aria-label="which questions" {
            @for (known, name, label) in Show::NAMES {
                a href=(format!("/inbox?show={name}")) aria-current=[(known == show).then_some("true")] { (label) }
            }
        }
        @if mine.is_empty() && others.is_empty() { p.card { (show.nothing()) } }
        (table(&mine, show, now_ms))
        @if !others.is_empty() {
            h2 { "Others may answer these" }
            (table(&others, show, now_ms))
        }
        @if let Some(next) = next {
            p { a href=(format!("/inbox?show={}&after={next}", show.name())) rel="next" { "next page" } }
        }
    };
    Ok(Page::new("Waiting", Place::Waiting, &caller, content))
}

/// What expired so recently that it is not recorded.
async fn just_expired(context: &Context, caller: &Caller, now_ms: u64) -> Result<Vec<Approval>, Problem> {
    let filter = QuestionFilter { deadline_until_ms: Some(now_ms), ..QuestionFilter::pending(PAGE) };
    let wanted = Wanted { filter, statuses: vec![ApprovalStatus::Expired], mine: false, groups: Vec::new() };
    Ok(wanted.page(context, caller, PAGE).await?.0)
}

fn table(approvals: &[Approval], show: Show, now_ms: u64) -> Markup {
    html! {
        @if !approvals.is_empty() {
            table.stack.card {
                thead { tr {
                    th { "what" } th { "graph, node" } th { "thread" } th { "asked" }
                    @if show.waits() { th { "due" } th { "votes" } } @else { th { "became" } th { "by" } }
                } }
                tbody {
                    @for approval in approvals {
                        tr {
                            td { a href=(format!("/inbox/approvals/{}", approval.id)) { (title(approval)) } (risk(approval)) }
                            td data-label="node" { (text(approval.graph.as_str())) ", " (text(approval.node.as_str())) }
                            td data-label="thread" { a href=(super::thread::address(&approval.thread)) { (text(short(approval.thread.as_str()))) } }
                            td data-label="asked" { (moment(approval.asked_at_ms, now_ms)) }
                            @if show.waits() {
                                td data-label="due" { (due(approval, now_ms)) }
                                td data-label="votes" { (approval.approvals) " of " (approval.quorum.approve) }
                            } @else {
                                td data-label="became" { (super::approval::status(approval)) }
                                td data-label="by" { (ended_by(approval, now_ms)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn ended_by(approval: &Approval, now_ms: u64) -> Markup {
    html! {
        @if let Some(answer) = &approval.answer {
            (text(&answer.answered_by)) ", " (moment(answer.answered_at_ms, now_ms))
            @if approval.broken_glass { " " span.tag.bad { "break-glass" } }
        } @else if let Some(withdrawn) = &approval.withdrawn {
            (text(&withdrawn.by.id)) ", " (moment(withdrawn.at_ms, now_ms))
        } @else { "the deadline" }
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

/// How much is at stake, where that is said.
pub(super) fn risk(approval: &Approval) -> Markup {
    use holdpoint_engine::approvals::policy::Risk;
    html! {
        @match approval.risk {
            Some(Risk::High) => { " " span.tag.bad { "high risk" } }
            Some(Risk::Medium) => { " " span.tag.warn { "medium risk" } }
            Some(Risk::Low) => { " " span.tag { "low risk" } }
            None => {}
        }
    }
}

/// Until when.
pub(super) fn due(approval: &Approval, now_ms: u64) -> Markup {
    html! {
        @match (approval.status, approval.deadline_at_ms) {
            (_, None) => { span.faint { "no deadline" } }
            (ApprovalStatus::Expired, Some(deadline)) => { span.tag.bad { "expired " (moment(deadline, now_ms)) } }
            (status, Some(deadline)) if !status.is_open() => { span.faint { "deadline " (moment(deadline, now_ms)) } }
            (_, Some(deadline)) if deadline < now_ms.saturating_add(SOON_MS) => { span.tag.warn { (left(deadline, now_ms)) } }
            (_, Some(deadline)) => { (left(deadline, now_ms)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_has_its_name() {
        for (index, (show, name, _)) in Show::NAMES.into_iter().enumerate() {
            assert_eq!((show as usize, show.name(), Show::parse(Some(name))), (index, name, show));
        }
        assert_eq!((Show::parse(None), Show::parse(Some("nothing"))), (Show::Mine, Show::Mine));
    }
}
