//! `holdpoint graph`.

use holdpoint_graph::diagram;
use serde_json::json;

use crate::cli::arguments::{GraphArguments, GraphCommand};
use crate::cli::context::Context;
use crate::cli::output;
use crate::deploy;
use crate::failure::{EXIT_DONE, Failure};
use crate::host;

/// Checks or draws a graph file.
///
/// # Errors
/// All problems of the file at once.
pub async fn run(context: &Context, arguments: GraphArguments) -> Result<u8, Failure> {
    match arguments.command {
        GraphCommand::Check { file } => {
            let graph = deploy::read_graph(&file)?;
            let sandbox = host::checking_sandbox()?;
            deploy::check_components(&sandbox, &graph, &file).await?;
            if context.json {
                output::print_json(&json!({ "ok": true, "graph": graph.name.as_str(), "problems": [] }));
            } else {
                output::print_text(&format!(
                    "{}: graph {} with {} nodes is in order",
                    file.display(),
                    graph.name,
                    graph.nodes.len()
                ));
            }
        }
        GraphCommand::Show { file } => {
            let drawing = diagram::mermaid(&deploy::read_graph(&file)?);
            if context.json {
                output::print_json(&json!({ "mermaid": drawing }));
            } else {
                output::print_text(drawing.trim_end());
            }
        }
    }
    Ok(EXIT_DONE)
}
