//! `holdpoint serve`.

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::context::{Context, actor, from_configuration};
use crate::cli::output::{self, Progress};
use crate::cli::serve_arguments::ServeArguments;
use crate::failure::{EXIT_DONE, Failure};
use crate::serve::{self, ServeOptions};

/// Serves until a signal asks it to stop. Prints the address once it listens: then requests are taken.
///
/// # Errors
/// Everything that keeps it from starting; then nothing was served.
pub async fn run(context: &Context, arguments: ServeArguments) -> Result<u8, Failure> {
    let configuration = context.configuration()?;
    let settings = serve::settings(configuration.server())
        .map_err(|problems| from_configuration("the table [server]", &problems))?;
    let host = context.host()?;
    let progress = Progress::begin("deploying graphs".to_owned(), context.json);
    let options = ServeOptions {
        listen: arguments.listen,
        graphs: arguments.graphs,
        accept: arguments.accept,
        by: actor(arguments.by),
        settings,
    };
    let serving = serve::start(host, options).await?;
    drop(progress);
    let failed = |error: std::io::Error| {
        Failure::host("HP0793", format!("signals cannot be listened for: {error}"), "check the process limits")
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let address = serving.address;
    if context.json {
        output::print_json(&json!({ "address": format!("http://{address}"), "graphs": serving.graphs }));
    } else {
        let graphs =
            if serving.graphs.is_empty() { "those deployed before".to_owned() } else { serving.graphs.join(", ") };
        output::print_text(&format!(
            "serving http://{address}\n  inbox   http://{address}/inbox\n  graphs  {graphs}\nCtrl-C stops it"
        ));
    }
    serving
        .until(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            output::print_note("stopping: runs end at their next superstep");
        })
        .await?;
    Ok(EXIT_DONE)
}
