//! `holdpoint demo`.

use crate::cli::arguments::DemoArguments;
use crate::cli::context::Context;
use crate::demo;
use crate::failure::{EXIT_DONE, Failure};

/// Tells the refund story with real processes, or serves its graph to be tried.
///
/// # Errors
/// When a process or a file that the story needs is missing, or when the story goes otherwise than promised.
pub async fn run(_context: &Context, arguments: DemoArguments) -> Result<u8, Failure> {
    if arguments.serve {
        demo::serve(&arguments.example, arguments.listen).await?;
    } else {
        demo::tell(&arguments.example).await?;
    }
    Ok(EXIT_DONE)
}
