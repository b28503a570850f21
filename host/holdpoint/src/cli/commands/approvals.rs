//! `holdpoint approvals`: questions to people, on the store.

use holdpoint_engine::{Approval, Decided, Decision, Delegation, Engine, RunOptions};
use holdpoint_graph::actor::Actor;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{GraphName, QuestionId, ThreadId};
use holdpoint_graph::nodes::Verdict;
use holdpoint_store::{Added, QuestionFilter, ThreadStatus, Vote};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::access_arguments::{ApprovalsArguments, ApprovalsCommand, DecideArguments, Who, tenant};
use crate::cli::context::{Context, actor, json_argument, thread_id};
use crate::cli::output::{self, Progress};
use crate::failure::{EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, Failure};
use crate::host::Host;

/// Questions that are looked at for one list, at most.
const LOOKED_AT_MAX: usize = 10_000;

/// Lists, shows, decides or hands on.
///
/// # Errors
/// Unknown names, every refusal of a decision, and the store's.
pub async fn run(context: &Context, arguments: ApprovalsArguments) -> Result<u8, Failure> {
    match arguments.command {
        None => {
            let who = Who { tenant: "default".to_owned(), ..Who::default() };
            list(context, &who, QuestionFilter::pending(50), false).await
        }
        Some(ApprovalsCommand::List { all, mine, graph, thread, limit, who }) => {
            let mut filter = QuestionFilter::pending(limit);
            if all {
                filter.status = None;
            }
            filter.thread = thread.as_deref().map(thread_id).transpose()?;
            filter.graph_name = graph.as_deref().map(graph_name).transpose()?;
            list(context, &who, filter, mine).await
        }
        Some(ApprovalsCommand::Show { id, who }) => {
            let host = context.existing_host()?;
            let approval = find(&engine(context, &host, &who)?, &id).await?;
            show(context, &approval);
            Ok(EXIT_DONE)
        }
        Some(ApprovalsCommand::Accept(decision)) => decide(context, Verdict::Accept, decision).await,
        Some(ApprovalsCommand::Edit(decision)) => decide(context, Verdict::Edit, decision).await,
        Some(ApprovalsCommand::Respond(decision)) => decide(context, Verdict::Respond, decision).await,
        Some(ApprovalsCommand::Reject(decision)) => decide(context, Verdict::Reject, decision).await,
        Some(ApprovalsCommand::Ignore(decision)) => decide(context, Verdict::Ignore, decision).await,
        Some(ApprovalsCommand::Delegate { id, to, until, message, who }) => {
            let until_ms = until.as_deref().map(moment_ms).transpose()?;
            let host = context.existing_host()?;
            let engine = engine(context, &host, &who)?;
            let delegation = Delegation { to, until_ms, message, reply: None };
            let decided = engine.delegate(&question_id(&id)?, delegation).await;
            let decided = decided.map_err(|error| Failure::from_engine(&error))?;
            report(context, &decided, "handed on");
            Ok(EXIT_DONE)
        }
    }
}

async fn list(context: &Context, who: &Who, filter: QuestionFilter, mine: bool) -> Result<u8, Failure> {
    let host = context.existing_host()?;
    let engine = engine(context, &host, who)?;
    let limit = filter.limit;
    let filter = QuestionFilter { limit: if mine { LOOKED_AT_MAX } else { limit }, ..filter };
    let found = engine.approvals(&filter).await.map_err(|error| Failure::from_engine(&error))?;
    let fitting = found.into_iter().filter(|approval| !mine || approval.eligibility.may()).take(limit);
    let found: Vec<Approval> = fitting.collect();
    if context.json {
        output::print_json(&found.iter().map(Approval::to_json).collect());
        return Ok(EXIT_DONE);
    }
    if found.is_empty() {
        output::print_text("nothing waits for an answer");
        return Ok(EXIT_DONE);
    }
    let rows = found.iter().map(|approval| {
        vec![
            approval.id.to_string(),
            approval.thread.to_string(),
            approval.node.to_string(),
            approval.status.name().to_owned(),
            approval.deadline_at_ms.map_or_else(|| "none".to_owned(), output::time_text),
            approval.assignees.join(", "),
            output::short(&approval.payload),
        ]
    });
    output::print_text(&output::table(&["id", "thread", "node", "status", "deadline", "who", "asks"], rows));
    Ok(EXIT_DONE)
}

async fn decide(context: &Context, verdict: Verdict, arguments: DecideArguments) -> Result<u8, Failure> {
    let value = arguments.value.as_deref().map(|text| json_argument("--value", text)).transpose()?;
    let args = arguments.args.as_deref().map(|text| json_argument("--args", text)).transpose()?;
    let host = context.existing_host()?;
    let engine = engine(context, &host, &arguments.who)?;
    let approval = find(&engine, &arguments.id).await?;
    // The id was made of what was asked at first: whoever names it means that.
    let digest = match &arguments.digest {
        Some(text) => digest(text)?,
        None => approval.payload_digest.clone(),
    };
    let DecideArguments { message, on_behalf_of, no_run, break_glass, .. } = arguments;
    let decision = Decision { value, args, message, on_behalf_of, break_glass, ..Decision::new(verdict, digest) };
    let decided = engine.decide(&approval.id, decision).await.map_err(|error| Failure::from_engine(&error))?;
    // On a server its own worker goes on.
    if !decided.woken || no_run || context.is_served() {
        report(context, &decided, "recorded");
        return Ok(EXIT_DONE);
    }
    go_on(context, &host, &decided).await
}

/// Continues what waited for the answer.
async fn go_on(context: &Context, host: &Host, decided: &Decided) -> Result<u8, Failure> {
    let progress = Progress::begin("continuing what waited for it", context.json);
    let continued = match host.engine.proceed(&decided.thread).await {
        // Somebody else was faster, such as a server on the same store.
        Err(holdpoint_engine::Error::Busy { .. } | holdpoint_engine::Error::TakenOver(_)) => None,
        continued => Some(continued.map_err(|error| Failure::from_engine(&error))?),
    };
    drop(progress);
    if context.json {
        let continued = continued.iter().map(output::thread_json).collect::<Vec<Value>>();
        output::print_json(&json!({ "approval": decided.body, "continued": continued }));
    } else {
        report(context, decided, "recorded");
        if let Some(view) = &continued {
            output::print_text(&output::thread_text(view));
        }
    }
    output::deliver_due(host).await;
    Ok(match continued.map(|view| view.status) {
        Some(ThreadStatus::Failed) => EXIT_FAILED,
        Some(ThreadStatus::Interrupted) => EXIT_INTERRUPTED,
        Some(ThreadStatus::Done | ThreadStatus::Running) | None => EXIT_DONE,
    })
}

/// The engine in the name of whoever decides.
fn engine(context: &Context, host: &Host, who: &Who) -> Result<Engine, Failure> {
    let mut options = RunOptions::default();
    options.principal.actor = Actor::asserted(actor(who.by.clone()));
    options.principal.groups = who.group.iter().cloned().collect();
    options.principal.tenant = tenant(&who.tenant)?;
    Ok(host.engine.with_options(context.options(options)))
}

async fn find(engine: &Engine, id: &str) -> Result<Approval, Failure> {
    engine.approval(&question_id(id)?).await.map_err(|error| Failure::from_engine(&error))
}

fn question_id(text: &str) -> Result<QuestionId, Failure> {
    QuestionId::parse(text).map_err(|error| {
        Failure::invalid("HP0922", error.to_string(), "`holdpoint approvals` shows the ids of what waits")
    })
}

fn graph_name(text: &str) -> Result<GraphName, Failure> {
    GraphName::parse(text)
        .map_err(|error| Failure::invalid("HP0922", error.to_string(), "`holdpoint graph list` shows their names"))
}

fn digest(text: &str) -> Result<Digest, Failure> {
    let whole = if text.contains(':') { text.to_owned() } else { format!("sha256:{text}") };
    Digest::parse(whole).map_err(|error| {
        Failure::invalid("HP0922", format!("--digest: {error}"), "copy it from `holdpoint approvals show`")
    })
}

fn moment_ms(text: &str) -> Result<u64, Failure> {
    let time = text.parse::<Timestamp>().ok().and_then(|time| u64::try_from(time.as_millisecond()).ok());
    time.ok_or_else(|| {
        Failure::invalid("HP0922", format!("--until: {text:?} is no moment"), "write it as 2027-01-31T12:00:00Z")
    })
}

fn report(context: &Context, decided: &Decided, what: &str) {
    if context.json {
        output::print_json(&decided.body);
        return;
    }
    let text = |name: &str| decided.body.get(name).and_then(Value::as_str).unwrap_or_default();
    let (thread, status): (&ThreadId, &str) = (&decided.thread, text("status"));
    let id = text("approval_id");
    output::print_text(&format!("{what}: question {id} of thread {} is {status}", output::visible(thread.as_str())));
    if !decided.answered && what == "recorded" {
        let count = |name: &str| decided.body.get(name).and_then(Value::as_u64).unwrap_or(0);
        output::print_text(&format!("{} for it and {} against so far", count("approvals"), count("rejections")));
    }
}

fn show(context: &Context, approval: &Approval) {
    if context.json {
        output::print_json(&approval.to_json());
    } else {
        output::print_text(&text(approval));
    }
}

fn text(approval: &Approval) -> String {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![
        row("id", approval.id.to_string()),
        row("thread", approval.thread.to_string()),
        row("asked by", format!("node {} of {}", approval.node, approval.graph)),
        row("asked", output::time_text(approval.asked_at_ms)),
        row("deadline", approval.deadline_at_ms.map_or_else(|| "none".to_owned(), output::time_text)),
        row("status", approval.status.name().to_owned()),
        row("asks", format!("{:#}", approval.payload)),
    ];
    rows.extend(approval.evidence.iter().map(|evidence| row("evidence", format!("{evidence:#}"))));
    if let Some(proposal) = &approval.proposal {
        rows.push(row("edited", format!("by {}:\n{:#}", proposal.by.id, proposal.value)));
    }
    rows.push(row("digest", approval.digest.to_string()));
    let named = if approval.assignees.is_empty() { "anybody".to_owned() } else { approval.assignees.join(", ") };
    rows.push(row("may answer", named));
    rows.extend(approval.added.iter().map(|added| row("added", added_text(added))));
    rows.extend(approval.risk.map(|risk| row("risk", risk.name().to_owned())));
    if let Some(step_up) = &approval.step_up {
        let within = std::time::Duration::from_millis(step_up.within_ms);
        rows.push(row("sign-in", format!("within {within:?} before the answer {}", step_up.acr.join(", "))));
    }
    rows.push(row("needs", format!("{} for it, {} against", approval.quorum.approve, approval.quorum.reject)));
    rows.extend(approval.votes.iter().map(|vote| row("said", vote_text(vote))));
    if let Some(answer) = &approval.answer {
        let at = output::time_text(answer.answered_at_ms);
        rows.push(row(
            "decided",
            format!("{} by {} at {at}: {}", answer.verdict.name(), answer.answered_by, answer.value),
        ));
    }
    if let Some(withdrawn) = &approval.withdrawn {
        let at = output::time_text(withdrawn.at_ms);
        rows.push(row("cancelled", format!("by {} ({}) at {at}", withdrawn.by.id, withdrawn.by.basis.name())));
    }
    let mut shown = output::table(&["", "question"], rows);
    if approval.eligibility.may() {
        let verdicts = approval.allowed.join(", ");
        let digest = if approval.proposal.is_some() { format!(" --digest {}", approval.digest) } else { String::new() };
        shown.push_str(&format!(
            "\nyou may: {verdicts}\ndecide with: holdpoint approvals accept {}{digest}",
            approval.id
        ));
    } else if approval.status.is_open() {
        shown.push_str(&format!("\nyou may not answer it: {}", approval.eligibility.name()));
    }
    shown
}

fn added_text(added: &Added) -> String {
    let place = added.on_behalf_of.as_ref().map(|by| format!(" for {by}")).unwrap_or_default();
    let until = added.until_ms.map(|until_ms| format!(" until {}", output::time_text(until_ms))).unwrap_or_default();
    let reason = added.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{}{place}{until}{reason}", added.to)
}

fn vote_text(vote: &Vote) -> String {
    let place = vote.on_behalf_of.as_ref().map(|by| format!(" for {by}")).unwrap_or_default();
    let reason = vote.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!(
        "{}{} by {}{place} ({}) at {}{reason}",
        vote.verdict.name(),
        if vote.break_glass { " (break-glass)" } else { "" },
        vote.by.id,
        vote.by.basis.name(),
        output::time_text(vote.at_ms)
    )
}
