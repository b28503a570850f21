//! `holdpoint replay`.

use crate::cli::context::{Context, checkpoint_of, thread_id};
use crate::cli::session;
use crate::cli::time_arguments::ReplayArguments;
use crate::failure::Failure;

/// Runs a thread again from one of its checkpoints.
///
/// # Errors
/// Unknown names, a thread that another worker advances, and the store's.
pub async fn run(context: &Context, arguments: ReplayArguments) -> Result<u8, Failure> {
    let ReplayArguments { thread, thread_option, from, effects, run } = arguments;
    let name = thread.or(thread_option).unwrap_or_default();
    session::run(context, &run, effects, format!("replaying thread {name}"), async |options| {
        let thread = thread_id(&name)?;
        let host = context.existing_host()?;
        let from = checkpoint_of(&host, &thread, &from).await?;
        let view = host.engine.with_options(options).replay(&thread, &from).await;
        Ok((host, view.map_err(|error| Failure::from_engine(&error))?))
    })
    .await
}
