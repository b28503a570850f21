//! `holdpoint run`.

use holdpoint_engine::Input;

use crate::cli::arguments::RunArguments;
use crate::cli::context::{Context, json_argument, thread_id};
use crate::cli::session;
use crate::failure::Failure;

/// Finds the graph, gives the input, drives the thread.
///
/// # Errors
/// Everything that keeps the input from being accepted; then nothing was started.
pub async fn run(context: &Context, arguments: RunArguments) -> Result<u8, Failure> {
    let RunArguments { graph, thread, input, supersede, run } = arguments;
    let name = thread.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    session::run(context, &run, None, format!("running thread {name}"), async |options| {
        let thread = thread_id(&name)?;
        let input = Input { values: json_argument("--input", &input)?, supersede };
        let (host, deployment) = super::graph::open(context, &graph).await?;
        let view = host.engine.with_options(options).run(&thread, &deployment, input).await;
        Ok((host, view.map_err(|error| Failure::from_engine(&error))?))
    })
    .await
}
