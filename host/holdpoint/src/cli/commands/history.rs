//! `holdpoint history`.

use holdpoint_graph::ids::CheckpointId;
use serde_json::Value;

use crate::cli::arguments::HistoryArguments;
use crate::cli::context::{Context, thread_id};
use crate::cli::output;
use crate::failure::{EXIT_DONE, Failure};

/// Shows a thread's checkpoints, newest first.
///
/// # Errors
/// An unknown thread, and the store's.
pub async fn run(context: &Context, arguments: HistoryArguments) -> Result<u8, Failure> {
    let thread = thread_id(&arguments.thread)?;
    let before = arguments.before.as_deref().map(checkpoint_id).transpose()?;
    let host = context.existing_host()?;
    let entries = host
        .engine
        .history(&thread, before.as_ref(), arguments.limit)
        .await
        .map_err(|error| Failure::from_engine(&error))?;
    if context.json {
        output::print_json(&Value::Array(entries.iter().map(output::history_json).collect()));
        return Ok(EXIT_DONE);
    }
    let rows = entries.iter().map(|entry| {
        let tasks: Vec<String> = entry.tasks.iter().map(|task| format!("{} ×{}", task.node, task.executions)).collect();
        vec![
            entry.step.to_string(),
            entry.source.name().into(),
            entry.checkpoint.to_string(),
            tasks.join("\n"),
            output::short(&Value::Object(entry.values.clone())),
        ]
    });
    output::print_text(&output::table(&["step", "source", "checkpoint", "then ran", "values"], rows));
    Ok(EXIT_DONE)
}

/// Reads a checkpoint's id.
///
/// # Errors
/// When it is not one.
pub fn checkpoint_id(text: &str) -> Result<CheckpointId, Failure> {
    CheckpointId::parse(text)
        .map_err(|error| Failure::invalid("HP0708", error.to_string(), "copy the id from `holdpoint history THREAD`"))
}
