//! `holdpoint copy`.

use holdpoint_engine::RunOptions;

use crate::cli::context::{Context, thread_id};
use crate::cli::output;
use crate::cli::time_arguments::CopyArguments;
use crate::failure::{EXIT_DONE, Failure};

/// Copies a thread with its history.
///
/// # Errors
/// Unknown names, a name that is taken, a thread in the middle of a run, and the store's.
pub async fn run(context: &Context, arguments: CopyArguments) -> Result<u8, Failure> {
    let (thread, new) = (thread_id(&arguments.thread)?, thread_id(&arguments.new)?);
    let host = context.existing_host()?;
    let options = RunOptions { effects: arguments.effects, ..RunOptions::default() };
    let engine = host.engine.with_options(context.options(options));
    let view = engine.copy(&thread, &new).await.map_err(|error| Failure::from_engine(&error))?;
    output::report_thread(&view, context.json);
    Ok(EXIT_DONE)
}
