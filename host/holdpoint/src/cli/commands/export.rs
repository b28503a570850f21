//! `holdpoint export`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
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
    let bar = Bar::begin(context.json);
    let configuration = context.configuration()?;
    let exported = fixture::export(&store, &configuration, &thread, |done, all| bar.show(done, all)).await;
    drop(bar);
    let (fixture, report) = exported?;
    let out = &arguments.out;
    write(out, &fixture.to_text()).map_err(|error| {
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

/// Beside its place first, so that no half of it is ever there.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let beside: PathBuf = path.with_file_name(name);
    let written = std::fs::File::create(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    });
    if written.is_err() {
        // What is left of it is of no use to anybody; that it may not be there is no error.
        let _ = std::fs::remove_file(&beside);
    }
    written
}
