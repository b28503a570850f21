//! `holdpoint graph deploy`.

use holdpoint_store::{Store, ThreadError, ThreadStatus, VersionRecord};
use serde_json::{Value, json};

use super::list::version_json;
use crate::cli::arguments::DeployArguments;
use crate::cli::context::{Context, actor};
use crate::cli::output::{self, Progress};
use crate::deploy::versions::Plan;
use crate::deploy::{files, prepare};
use crate::failure::{EXIT_DONE, EXIT_FAILED, Failure};
use crate::host;
use crate::shadow::{self, Differences, Outcome, Report, ThreadReport};

/// Checks, compares, replays, and then deploys or refuses.
pub(super) async fn run(context: &Context, arguments: DeployArguments) -> Result<u8, Failure> {
    let files = files::read_from(context.files(), &arguments.file);
    let shown = files.shown.clone();
    let progress = Progress::begin(format!("looking at {shown}"), context.json);
    let sandbox = host::checking_sandbox()?;
    // A file with problems leaves no empty store behind.
    let existing = context.host_if_any()?;
    let store = existing.as_ref().map(|host| host.store.as_ref() as &dyn Store);
    let prepared = prepare::prepare(&sandbox, store, files).await?;
    let host = match existing {
        Some(host) => host,
        None => context.host()?,
    };
    let plan = Plan::make(&host, &sandbox, prepared, &shown).await?;
    drop(progress);
    let report = match arguments.shadow {
        Some(count) => {
            let _progress = Progress::begin(format!("replaying the last {count} threads"), context.json);
            Some(shadow::replay(&host, &plan.prepared, count).await?)
        }
        None => None,
    };
    if !context.json {
        show(&plan, report.as_ref());
    }
    if !arguments.accept
        && let Some(refusal) = refusal(&plan, report.as_ref())
    {
        return Err(refusal);
    }
    let version = plan.take_over(&host, &actor(arguments.by)).await?;
    if context.json {
        output::print_json(&done_json(&plan, &version, report.as_ref()));
    } else if plan.is_deployed() {
        output::print_text(&format!("nothing to do: this is version {} of {} already", version.version, version.name));
    } else {
        output::print_text(&format!(
            "deployed version {} of {}, {}; start threads with: holdpoint run {}",
            version.version, version.name, version.digest, version.name
        ));
    }
    Ok(EXIT_DONE)
}

/// Why the version is not deployed unless somebody takes it.
fn refusal(plan: &Plan, report: Option<&Report>) -> Option<Failure> {
    let gains = plan.to_accept();
    let details = json!({
        "graph": plan.name.as_str(),
        "previous": plan.previous.as_ref().map(version_json),
        "difference": plan.difference.to_json(),
        "gains": gains,
        "shadow": report.map(Report::to_json),
    });
    let previous = plan.previous.as_ref().map_or("", |previous| previous.version.as_str());
    if !gains.is_empty() {
        let failure = Failure::invalid(
            "HP0198",
            format!("the new version of {} may do more than version {previous}: {}", plan.name, gains.join("; ")),
            "look at each, then deploy with --accept: who took it is recorded; nothing was stored",
        );
        return Some(Failure { details: Some(Box::new(details)), ..failure });
    }
    let report = report.filter(|report| report.differs())?;
    let differing = report.threads.iter().filter(|thread| matches!(thread.outcome, Outcome::Differs(_))).count();
    let failure = Failure::invalid(
        "HP0188",
        format!(
            "{differing} of {} replayed threads come out otherwise on the new version of {}",
            report.threads.len(),
            plan.name
        ),
        "look at each, then mend the version, or deploy with --accept; nothing was stored",
    );
    Some(Failure { exit: EXIT_FAILED, details: Some(Box::new(details)), ..failure })
}

fn done_json(plan: &Plan, version: &VersionRecord, report: Option<&Report>) -> Value {
    let mut value = version_json(version);
    value["deployed"] = json!(!plan.is_deployed());
    value["previous"] = json!(plan.previous.as_ref().map(version_json));
    value["difference"] = plan.difference.to_json();
    value["shadow"] = json!(report.map(Report::to_json));
    value
}

fn show(plan: &Plan, report: Option<&Report>) {
    match &plan.previous {
        Some(_) if plan.is_deployed() => {}
        Some(previous) if plan.difference.0.is_empty() => output::print_text(&format!(
            "the nodes run the same components and may do the same as in version {}",
            previous.version
        )),
        previous => {
            output::print_text(&match previous {
                Some(previous) => format!("compared with version {}:", previous.version),
                None => "the first version of this name:".to_owned(),
            });
            let header = ["node", "component", "may do more", "may do no longer"];
            output::print_text(&output::table(&header, plan.difference.rows()));
        }
    }
    if let Some(report) = report {
        output::print_text(&output::table(&["thread", "replayed", "recorded → now"], report.threads.iter().map(row)));
    }
}

fn row(thread: &ThreadReport) -> Vec<String> {
    let shown = match &thread.outcome {
        Outcome::Same => String::new(),
        Outcome::NotRepeatable(reason) => reason.clone(),
        Outcome::Differs(differences) => lines(differences).join("\n"),
    };
    vec![thread.thread.to_string(), thread.outcome.name().to_owned(), shown]
}

fn lines(differences: &Differences) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(differences.refused.iter().map(|reason| format!("an input is refused: {reason}")));
    if let Some((was, is)) = differences.status {
        lines.push(format!("{} → {}", was.name(), is.map_or("not begun", ThreadStatus::name)));
    }
    if let Some((was, is)) = &differences.error {
        let text = |error: &Option<ThreadError>| {
            error.as_ref().map_or_else(|| "none".to_owned(), |error| format!("{} [{}]", error.message, error.code))
        };
        lines.push(format!("error: {} → {}", text(was), text(is)));
    }
    for (name, (was, is)) in &differences.values {
        let text = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), output::short);
        lines.push(format!("{name}: {} → {}", text(was), text(is)));
    }
    let asked = |(node, payload): &(String, Value)| format!("{node}: {}", output::short(payload));
    lines.extend(differences.asked_only_now.iter().map(|question| format!("asks only now: {}", asked(question))));
    lines.extend(differences.no_longer_asked.iter().map(|question| format!("asks no longer: {}", asked(question))));
    lines.extend(differences.operations.iter().map(|operation| format!("would perform: {}", output::short(operation))));
    lines
}
