//! `holdpoint fork`.

use crate::cli::commands::update::one_update;
use crate::cli::context::{Context, checkpoint_of, thread_id};
use crate::cli::time_arguments::ForkArguments;
use crate::cli::{output, session};
use crate::failure::{EXIT_DONE, Failure};

/// Branches off at a checkpoint with a change, and runs the branch.
///
/// # Errors
/// Every refusal of an update; then nothing was written.
pub async fn run(context: &Context, arguments: ForkArguments) -> Result<u8, Failure> {
    let ForkArguments { thread: name, from, set, as_node, effects, no_run, run } = arguments;
    let update = || one_update(set.as_deref(), as_node.as_deref());
    if no_run {
        let thread = thread_id(&name)?;
        let update = update()?;
        let host = context.existing_host()?;
        let from = checkpoint_of(&host, &thread, &from).await?;
        let engine = host.engine.with_options(context.options(run.options(effects)?));
        let view = engine.update(&thread, Some(&from), &[vec![update]]).await;
        output::report_thread(&view.map_err(|error| Failure::from_engine(&error))?, context.json);
        return Ok(EXIT_DONE);
    }
    session::run(context, &run, effects, format!("running a branch of thread {name}"), async |options| {
        let thread = thread_id(&name)?;
        let update = update()?;
        let host = context.existing_host()?;
        let from = checkpoint_of(&host, &thread, &from).await?;
        let view = host.engine.with_options(options).fork(&thread, &from, update).await;
        Ok((host, view.map_err(|error| Failure::from_engine(&error))?))
    })
    .await
}
