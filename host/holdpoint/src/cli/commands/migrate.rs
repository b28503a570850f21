//! `holdpoint threads migrate`.

use std::path::Path;
use std::sync::Arc;

use holdpoint_engine::Deployment;
use holdpoint_graph::digest::Digest;

use crate::cli::context::{Context, thread_id};
use crate::cli::output::{self, Progress};
use crate::deploy::{self, files};
use crate::failure::{EXIT_DONE, Failure};
use crate::host::Host;

/// Pins a waiting thread to another version of its graph.
///
/// # Errors
/// Unknown names, a file's problems, everything in which the thread would differ, and the store's.
pub async fn run(context: &Context, thread: &str, to: &str) -> Result<u8, Failure> {
    let thread = thread_id(thread)?;
    let host = context.existing_host()?;
    let progress = Progress::begin(format!("migrating thread {thread}"), context.json);
    let deployment = version(context, &host, to).await?;
    let view = host.engine.migrate(&thread, &deployment).await.map_err(|error| Failure::from_engine(&error))?;
    drop(progress);
    output::report_thread(&view, context.json);
    Ok(EXIT_DONE)
}

/// A version by its digest, or from its file: then it is stored first.
async fn version(context: &Context, host: &Host, to: &str) -> Result<Deployment, Failure> {
    match Digest::parse(to) {
        Ok(digest) => {
            let version = host.engine.version(&digest).await.map_err(|error| Failure::from_engine(&error))?;
            Ok(Deployment { digest, graph: Arc::clone(&version.graph) })
        }
        Err(_) => deploy::deploy_files(host, files::read_from(context.files(), Path::new(to))).await,
    }
}
