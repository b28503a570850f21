//! `holdpoint replay`.

use crate::cli::arguments::ReplayArguments;
use crate::cli::commands::history::checkpoint_id;
use crate::cli::context::{Context, thread_id};
use crate::cli::output::{self, Progress};
use crate::failure::Failure;

/// Runs a thread again from one of its checkpoints.
///
/// # Errors
/// Unknown names, a thread that another worker advances, and the store's.
pub async fn run(context: &Context, arguments: ReplayArguments) -> Result<u8, Failure> {
    let thread = thread_id(&arguments.thread)?;
    let from = checkpoint_id(&arguments.from)?;
    let host = context.existing_host()?;
    let progress = Progress::begin(format!("replaying thread {thread}"), context.json);
    let view = host.engine.replay(&thread, &from).await.map_err(|error| Failure::from_engine(&error))?;
    drop(progress);
    let exit = output::report_thread(&view, context.json);
    output::deliver_due(&host).await;
    Ok(exit)
}
