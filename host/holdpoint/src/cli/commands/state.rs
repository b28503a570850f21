//! `holdpoint state`.

use crate::cli::context::{Context, checkpoint_of, thread_id};
use crate::cli::output;
use crate::cli::state_output::{StateView, state_json, state_text};
use crate::cli::time_arguments::StateArguments;
use crate::failure::{EXIT_DONE, Failure};

/// Shows a thread's state, live or as recorded.
///
/// # Errors
/// Unknown names, and the store's.
pub async fn run(context: &Context, arguments: StateArguments) -> Result<u8, Failure> {
    let thread = thread_id(&arguments.thread)?;
    let host = context.existing_host()?;
    let at = match &arguments.at {
        Some(text) => Some(checkpoint_of(&host, &thread, text).await?),
        None => None,
    };
    let entry = host.engine.state(&thread, at.as_ref()).await.map_err(|error| Failure::from_engine(&error))?;
    let view = if at.is_some() { StateView::Record } else { StateView::Live };
    if context.json {
        output::print_json(&state_json(&thread, &entry, view));
    } else {
        output::print_text(&state_text(&thread, &entry, view));
    }
    Ok(EXIT_DONE)
}
