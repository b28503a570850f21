//! `holdpoint history`.

use holdpoint_engine::{HistoryEntry, tree};
use holdpoint_graph::ids::{Namespace, ThreadId};
use holdpoint_graph::nodes::EffectMode;
use holdpoint_store::HistoryFilter;
use serde_json::Value;

use crate::cli::context::{Context, checkpoint_of, object_argument, thread_id};
use crate::cli::output;
use crate::cli::state_output::entry_json;
use crate::cli::time_arguments::HistoryArguments;
use crate::failure::{EXIT_DONE, Failure};
use crate::host::Host;

/// Shows a thread's checkpoints, newest first, or its branches as a tree.
///
/// # Errors
/// Unknown names, and the store's.
pub async fn run(context: &Context, arguments: HistoryArguments) -> Result<u8, Failure> {
    let thread = thread_id(&arguments.thread)?;
    let host = context.existing_host()?;
    if arguments.tree {
        return show_tree(context, &host, &thread, arguments.subgraphs).await;
    }
    let filter = filter(&host, &thread, &arguments).await?;
    let entries = host.engine.find_history(&thread, &filter).await.map_err(|error| Failure::from_engine(&error))?;
    if context.json {
        output::print_json(&Value::Array(entries.iter().map(entry_json).collect()));
        return Ok(EXIT_DONE);
    }
    let header = ["step", "source", "checkpoint", "then ran", "values"];
    output::print_text(&output::table(&header, entries.iter().map(row)));
    Ok(EXIT_DONE)
}

async fn filter(host: &Host, thread: &ThreadId, arguments: &HistoryArguments) -> Result<HistoryFilter, Failure> {
    let namespace = arguments.namespace.as_deref().map(Namespace::parse).transpose().map_err(|error| {
        Failure::invalid(
            "HP0724",
            error.to_string(),
            "copy the namespace from `holdpoint history THREAD --tree --json`",
        )
    })?;
    let metadata = arguments.metadata.as_deref().map(|text| object_argument("--metadata", text)).transpose()?;
    let before = match &arguments.before {
        Some(text) => Some(checkpoint_of(host, thread, text).await?),
        None => None,
    };
    Ok(HistoryFilter {
        namespace: namespace.unwrap_or_default(),
        before,
        source: arguments.source,
        step: arguments.step,
        metadata: metadata.unwrap_or_default(),
        limit: arguments.limit,
    })
}

fn row(entry: &HistoryEntry) -> Vec<String> {
    let tasks: Vec<String> = entry.tasks.iter().map(|task| format!("{} ×{}", task.node, task.executions)).collect();
    let source = match entry.effects {
        EffectMode::Live => entry.source.name().to_owned(),
        mode => format!("{}\neffects: {}", entry.source.name(), mode.name()),
    };
    vec![
        entry.step.to_string(),
        source,
        entry.checkpoint.to_string(),
        tasks.join("\n"),
        output::short(&Value::Object(entry.values.clone())),
    ]
}

async fn show_tree(context: &Context, host: &Host, thread: &ThreadId, subgraphs: bool) -> Result<u8, Failure> {
    let unknown = || Failure::from_engine(&holdpoint_engine::Error::ThreadNotFound(thread.clone()));
    let record = host.store.thread(thread).await.map_err(|error| Failure::from_store(&error))?.ok_or_else(unknown)?;
    let outline = host.engine.outline(thread).await.map_err(|error| Failure::from_engine(&error))?;
    if context.json {
        output::print_json(&tree::tree_json(&outline, &record.head));
        return Ok(EXIT_DONE);
    }
    output::print_text(&format!("thread {} is {}", output::visible(thread.as_str()), record.status.name()));
    output::print_text(&tree::draw(&outline, &record.head, subgraphs));
    output::print_text(
        "● leads to the head, ○ was left behind or belongs to a subgraph; replay or fork with --from and an id's last digits",
    );
    Ok(EXIT_DONE)
}
