//! `holdpoint run`.

use holdpoint_engine::Input;

use crate::cli::arguments::RunArguments;
use crate::cli::context::{Context, json_argument, thread_id};
use crate::cli::output::{self, Progress};
use crate::deploy;
use crate::failure::Failure;

/// Deploys the graph, gives the input, drives the thread.
///
/// # Errors
/// Everything that keeps the input from being accepted; then nothing was started.
pub async fn run(context: &Context, arguments: RunArguments) -> Result<u8, Failure> {
    let thread = match &arguments.thread {
        Some(name) => thread_id(name)?,
        None => thread_id(&uuid::Uuid::now_v7().to_string())?,
    };
    let values = json_argument("--input", &arguments.input)?;
    // The graph is read before the store is opened: a mistyped path leaves no empty database behind.
    deploy::read_graph(&arguments.graph)?;
    let progress = Progress::begin(format!("running thread {thread}"), context.json);
    let host = context.host()?;
    let deployment = deploy::deploy(&host, &arguments.graph).await?;
    let input = Input { values, supersede: arguments.supersede };
    let view = host.engine.run(&thread, &deployment, input).await.map_err(|error| Failure::from_engine(&error))?;
    drop(progress);
    let exit = output::report_thread(&view, context.json);
    output::deliver_due(&host).await;
    Ok(exit)
}
