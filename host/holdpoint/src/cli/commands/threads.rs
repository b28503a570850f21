//! `holdpoint threads`.

use holdpoint_graph::ids::GraphName;
use holdpoint_store::{ThreadFilter, ThreadStatus};
use serde_json::{Value, json};

use crate::cli::arguments::{ThreadsArguments, ThreadsCommand};
use crate::cli::context::{Context, thread_id};
use crate::cli::output;
use crate::failure::{EXIT_DONE, Failure};

/// Lists, shows, migrates or deletes threads.
///
/// # Errors
/// Unknown names, and the store's.
pub async fn run(context: &Context, arguments: ThreadsArguments) -> Result<u8, Failure> {
    match arguments.command {
        None => list(context, ThreadFilter { limit: 50, ..ThreadFilter::default() }).await,
        Some(ThreadsCommand::List { status, graph, limit, offset }) => {
            let status = status.as_deref().map(parse_status).transpose()?;
            let graph_name = graph.map(GraphName::parse).transpose().map_err(|error| {
                Failure::invalid("HP0726", error.to_string(), "name a graph as its file does: `name = \"…\"`")
            })?;
            list(context, ThreadFilter { status, graph_name, limit, offset }).await
        }
        Some(ThreadsCommand::Show { thread }) => {
            let host = context.existing_host()?;
            let view = host.engine.view(&thread_id(&thread)?).await.map_err(|error| Failure::from_engine(&error))?;
            output::report_thread(&view, context.json);
            Ok(EXIT_DONE)
        }
        Some(ThreadsCommand::Migrate { thread, to }) => super::migrate::run(context, &thread, &to).await,
        Some(ThreadsCommand::Delete { thread }) => {
            let host = context.existing_host()?;
            let id = thread_id(&thread)?;
            host.engine.delete(&id).await.map_err(|error| Failure::from_engine(&error))?;
            if context.json {
                output::print_json(&json!({ "thread_id": id.as_str(), "deleted": true }));
            } else {
                output::print_text(&format!(
                    "thread {} is deleted; records of its operations stay",
                    output::visible(id.as_str())
                ));
            }
            Ok(EXIT_DONE)
        }
    }
}

async fn list(context: &Context, filter: ThreadFilter) -> Result<u8, Failure> {
    let host = context.existing_host()?;
    let threads = host.engine.threads(&filter).await.map_err(|error| Failure::from_engine(&error))?;
    if context.json {
        output::print_json(&Value::Array(threads.iter().map(output::thread_row_json).collect()));
    } else {
        let rows = threads.iter().map(|thread| {
            vec![
                thread.id.to_string(),
                thread.status.name().into(),
                thread.graph_name.to_string(),
                output::time_text(thread.updated_at_ms),
            ]
        });
        output::print_text(&output::table(&["thread", "status", "graph", "changed"], rows));
    }
    Ok(EXIT_DONE)
}

fn parse_status(text: &str) -> Result<ThreadStatus, Failure> {
    ThreadStatus::parse(text).ok_or_else(|| {
        Failure::invalid("HP0707", format!("{text:?} is not a status"), "use running, interrupted, done or failed")
    })
}
