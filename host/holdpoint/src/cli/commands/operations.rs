//! `holdpoint operations`: what was performed, what waits to be sent, and doubt that a person settles.

use holdpoint_engine::Word;
use holdpoint_graph::ids::OperationId;
use holdpoint_graph::operation::{OperationHit, OperationRecord, OperationState};
use holdpoint_store::{OperationFilter, ThreadStatus};
use serde_json::{Value, json};

use crate::cli::arguments::{OperationsArguments, OperationsCommand, ResolveArguments};
use crate::cli::context::{Context, actor, json_argument, thread_id};
use crate::cli::output::{self, Progress};
use crate::failure::{EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, Failure};
use crate::host::Host;

/// Enough to tell that an id stands for several operations.
const SAME_ID_MAX: usize = 20;

/// Lists, shows, settles or delivers operations.
///
/// # Errors
/// Unknown names, refusals to settle, and the store's.
pub async fn run(context: &Context, arguments: OperationsArguments) -> Result<u8, Failure> {
    match arguments.command {
        None => list(context, OperationFilter { open: true, limit: 50, ..OperationFilter::default() }).await,
        Some(OperationsCommand::List { all, thread, limit }) => {
            let thread = thread.as_deref().map(thread_id).transpose()?;
            list(
                context,
                OperationFilter { open: !all && thread.is_none(), thread, limit, ..OperationFilter::default() },
            )
            .await
        }
        Some(OperationsCommand::Show { id, connector }) => show(context, &id, connector.as_deref()).await,
        Some(OperationsCommand::Resolve(resolve)) => settle(context, resolve).await,
        Some(OperationsCommand::Deliver) => {
            let host = context.existing_host()?;
            let progress = Progress::begin("delivering what is due", context.json);
            let delivered = host.effects.deliver_due().await.map_err(|error| Failure::from_store(&error))?;
            drop(progress);
            if context.json {
                output::print_json(&json!({
                    "completed": delivered.completed, "failed": delivered.failed,
                    "postponed": delivered.postponed, "in_doubt": delivered.in_doubt,
                }));
            } else {
                output::print_text(&format!(
                    "{} delivered, {} failed for good, {} to be tried again later, {} in doubt",
                    delivered.completed, delivered.failed, delivered.postponed, delivered.in_doubt
                ));
            }
            Ok(if delivered.failed + delivered.in_doubt > 0 { EXIT_FAILED } else { EXIT_DONE })
        }
    }
}

async fn list(context: &Context, filter: OperationFilter) -> Result<u8, Failure> {
    let host = context.existing_host()?;
    let found = host.store.find_operations(&filter).await.map_err(|error| Failure::from_store(&error))?;
    if context.json {
        output::print_json(&Value::Array(found.iter().map(operation_json).collect()));
        return Ok(EXIT_DONE);
    }
    if found.is_empty() {
        let cure = if filter.open { "nothing is open; --all lists those with an outcome too" } else { "none" };
        output::print_text(cure);
        return Ok(EXIT_DONE);
    }
    let rows = found.iter().map(|record| {
        vec![
            record.key.id.to_string(),
            record.key.connector.to_string(),
            record.thread.to_string(),
            record.node.to_string(),
            state_text(record),
            output::time_text(record.begun_at_ms),
        ]
    });
    output::print_text(&output::table(&["id", "connector", "thread", "node", "state", "begun"], rows));
    Ok(EXIT_DONE)
}

async fn show(context: &Context, id: &str, connector: Option<&str>) -> Result<u8, Failure> {
    let host = context.existing_host()?;
    let record = find(&host, id, connector).await?;
    let hits = host.store.hits(&record.key).await.map_err(|error| Failure::from_store(&error))?;
    if context.json {
        let mut shown = operation_json(&record);
        shown["hits"] = hits.iter().map(hit_json).collect();
        output::print_json(&shown);
    } else {
        output::print_text(&operation_text(&record, &hits));
    }
    Ok(EXIT_DONE)
}

async fn settle(context: &Context, arguments: ResolveArguments) -> Result<u8, Failure> {
    let answer = match &arguments.happened {
        Some(text) => Some(json_argument("--happened", text)?),
        None => None,
    };
    let host = context.existing_host()?;
    let record = find(&host, &arguments.id, arguments.connector.as_deref()).await?;
    let word = match answer {
        Some(answer) => Word::Happened(answer),
        None if arguments.fail => Word::Fail,
        None if host.effects.leaves_after_commit(&record.key.connector) => Word::Queue,
        None => Word::Send,
    };
    let by = actor(arguments.by);
    let settled = host
        .engine
        .settle(&record.key, word, &by, &arguments.reason)
        .await
        .map_err(|error| Failure::from_engine(&error))?;
    let progress = Progress::begin("continuing what waited for it", context.json);
    let continued = host.continue_woken().await?;
    drop(progress);
    let waiting = continued.iter().any(|view| view.status == ThreadStatus::Interrupted);
    let failed = continued.iter().any(|view| view.status == ThreadStatus::Failed);
    if context.json {
        output::print_json(&json!({
            "operation": operation_json(&settled),
            "continued": continued.iter().map(output::thread_json).collect::<Vec<_>>(),
        }));
    } else {
        output::print_text(&format!(
            "operation {} is {}",
            output::visible(settled.key.id.as_str()),
            state_text(&settled)
        ));
        for view in &continued {
            output::print_text(&output::thread_text(view));
        }
    }
    output::deliver_due(&host).await;
    Ok(if failed {
        EXIT_FAILED
    } else if waiting {
        EXIT_INTERRUPTED
    } else {
        EXIT_DONE
    })
}

/// The one operation with this id; the connector's name tells several apart.
async fn find(host: &Host, id: &str, connector: Option<&str>) -> Result<OperationRecord, Failure> {
    let unknown = |id: &str| {
        let cure = "`holdpoint operations list --all` shows what there is";
        Failure::invalid("HP0430", format!("no operation {id:?}"), cure)
    };
    let parsed = OperationId::parse(id).map_err(|_| unknown(id))?;
    let filter = OperationFilter { id: Some(parsed), limit: SAME_ID_MAX, ..OperationFilter::default() };
    let found = host.store.find_operations(&filter).await.map_err(|error| Failure::from_store(&error))?;
    let fits = |record: &OperationRecord| {
        connector.is_none_or(|wanted| {
            record.key.connector.as_str() == wanted
                || wanted == format!("{}/{}", record.key.scope.to_text(), record.key.connector)
        })
    };
    let mut fitting: Vec<OperationRecord> = found.into_iter().filter(fits).collect();
    match (fitting.pop(), fitting.is_empty()) {
        (None, _) => Err(unknown(id)),
        (Some(record), true) => Ok(record),
        (Some(last), false) => {
            fitting.push(last);
            let names: Vec<String> = fitting
                .iter()
                .map(|record| format!("{}/{}", record.key.scope.to_text(), record.key.connector))
                .collect();
            Err(Failure::invalid(
                "HP0711",
                format!("{} operations have the id {id:?}", fitting.len()),
                format!("name one with --connector: {}", names.join(", ")),
            ))
        }
    }
}

fn state_text(record: &OperationRecord) -> String {
    match &record.state {
        OperationState::Queued { attempts, due_at_ms } => {
            format!("queued ({attempts} attempts, next at {})", output::time_text(*due_at_ms))
        }
        state => state.name().to_owned(),
    }
}

fn outcome_json(state: &OperationState) -> Value {
    match state {
        OperationState::Intended | OperationState::NotSent => Value::Null,
        OperationState::Queued { attempts, due_at_ms } => {
            json!({ "attempts": attempts, "due_at": output::time_text(*due_at_ms) })
        }
        OperationState::Completed(answer) => json!({ "answer": answer }),
        OperationState::Failed(failure) => json!({ "failure": {
            "code": failure.code, "message": failure.message, "details": failure.details,
        } }),
        OperationState::InDoubt(reason) => json!({ "reason": reason }),
    }
}

fn operation_json(record: &OperationRecord) -> Value {
    let notes: Vec<Value> = record
        .notes
        .iter()
        .map(|note| {
            json!({ "kind": note.kind.name(), "by": note.by, "text": note.text, "at": output::time_text(note.at_ms) })
        })
        .collect();
    json!({
        "operation_id": record.key.id.as_str(),
        "connector": record.key.connector.as_str(),
        "scope": record.key.scope.to_text(),
        "thread_id": record.thread.as_str(),
        "task_id": record.task.as_str(),
        "node": record.node.as_str(),
        "state": record.state.name(),
        "outcome": outcome_json(&record.state),
        "request": record.request,
        "request_digest": record.request_digest.as_str(),
        "begun_at": output::time_text(record.begun_at_ms),
        "send_by": record.send_by_ms.map(output::time_text),
        "settles_at": record.settles_at_ms.map(output::time_text),
        "finished_at": record.finished_at_ms.map(output::time_text),
        "notes": notes,
    })
}

fn hit_json(hit: &OperationHit) -> Value {
    json!({ "thread_id": hit.thread.as_str(), "task_id": hit.task.as_str(), "at": output::time_text(hit.at_ms) })
}

fn operation_text(record: &OperationRecord, hits: &[OperationHit]) -> String {
    let mut rows = vec![
        vec!["id".to_owned(), record.key.id.to_string()],
        vec!["connector".to_owned(), record.key.connector.to_string()],
        vec!["scope".to_owned(), record.key.scope.to_text()],
        vec!["thread, node".to_owned(), format!("{}, {}", record.thread, record.node)],
        vec!["state".to_owned(), state_text(record)],
        vec!["outcome".to_owned(), format!("{:#}", outcome_json(&record.state))],
        vec!["request".to_owned(), format!("{:#}", record.request)],
        vec!["digest".to_owned(), record.request_digest.to_string()],
        vec!["begun".to_owned(), output::time_text(record.begun_at_ms)],
    ];
    let moments = [("may arrive until", record.settles_at_ms), ("finished", record.finished_at_ms)];
    rows.extend(moments.into_iter().filter_map(|(name, at_ms)| Some(vec![name.to_owned(), output::time_text(at_ms?)])));
    rows.extend(record.notes.iter().map(|note| {
        let said = format!("{} by {} at {}: {}", note.kind.name(), note.by, output::time_text(note.at_ms), note.text);
        vec!["said".to_owned(), said]
    }));
    rows.extend(
        hits.iter().map(|hit| {
            vec!["answered".to_owned(), format!("thread {} at {}", hit.thread, output::time_text(hit.at_ms))]
        }),
    );
    let mut text = output::table(&["", "operation"], rows);
    if matches!(record.state, OperationState::InDoubt(_) | OperationState::Intended) {
        let id = output::quoted(record.key.id.as_str());
        text.push_str(&format!(
            "\nfind out whether it happened, then say so:\n  \
             holdpoint operations resolve {id} --happened RESULT --reason WHY   it happened, with this result\n  \
             holdpoint operations resolve {id} --send --reason WHY              it did not: send it\n  \
             holdpoint operations resolve {id} --fail --reason WHY              it did not: let it fail"
        ));
    }
    text
}
