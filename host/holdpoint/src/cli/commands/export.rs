//! `holdpoint export`.

use std::sync::Arc;

use holdpoint_store::Store;
use serde_json::json;

use super::verify::Bar;
use crate::cli::arguments::ExportArguments;
use crate::cli::context::{Context, thread_id};
use crate::cli::output;
use crate::failure::{EXIT_DONE, Failure};
use crate::fixture;

/// Writes a thread with everything that its verification needs into one file. The file appears whole or not at all.
///
/// # Errors
/// An unknown thread, a graph version or component that is not stored, a file that cannot be written, and the store's.
pub async fn run(context: &Context, arguments: ExportArguments) -> Result<u8, Failure> {
    let thread = thread_id(&arguments.thread)?;
    let host = context.existing_host()?;
    let store = Arc::clone(&host.store) as Arc<dyn Store>;
    let bar = Bar::begin(context);
    let configuration = context.configuration()?;
    let exported = fixture::export(&store, &configuration, &thread, |done, all| bar.show(done, all)).await;
    drop(bar);
    let (fixture, report) = exported?;
    let out = &arguments.out;
    context.write_file(out, &fixture.to_text()).map_err(|error| {
        Failure::host(
            "HP0730",
            format!("the fixture {} cannot be written: {error}", out.display()),
            "check the path, its permissions and the room on the medium",
        )
    })?;
    let differs = report.difference.is_some();
    if context.json {
        output::print_json(&json!({
            "thread_id": thread.as_str(),
            "file": out.display().to_string(),
            "checkpoints": fixture.transfer.checkpoints.len(),
            "operations": fixture.operations.len(),
            "components": fixture.components.len(),
            "reproduced": !differs,
        }));
    } else {
        output::print_text(&format!(
            "thread {} is in {}: {} checkpoints, {} operations, {} components",
            output::visible(thread.as_str()),
            out.display(),
            fixture.transfer.checkpoints.len(),
            fixture.operations.len(),
            fixture.components.len(),
        ));
        if differs {
            output::print_note("its history cannot be reproduced: `holdpoint verify` shows the first difference");
        }
    }
    Ok(EXIT_DONE)
}
