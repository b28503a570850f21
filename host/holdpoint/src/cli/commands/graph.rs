//! `holdpoint graph`.

mod deploy;
mod list;

use std::path::Path;
use std::sync::Arc;

use holdpoint_engine::Deployment;
use holdpoint_graph::definition::Graph;
use holdpoint_graph::diagram;
use holdpoint_store::Store;
use serde_json::json;

use crate::cli::arguments::{GraphArguments, GraphCommand};
use crate::cli::context::Context;
use crate::cli::output;
use crate::deploy::{files, prepare, versions};
use crate::failure::{EXIT_DONE, Failure};
use crate::host::{self, Host};

/// Checks, draws, deploys or lists graphs.
///
/// # Errors
/// All problems of a file and of what it names at once; what deploying refuses.
pub async fn run(context: &Context, arguments: GraphArguments) -> Result<u8, Failure> {
    match arguments.command {
        GraphCommand::Check { file } => check(context, &file).await,
        GraphCommand::Show { graph } => {
            let drawing = diagram::mermaid(&*find(context, &graph).await?);
            if context.json {
                output::print_json(&json!({ "mermaid": drawing }));
            } else {
                output::print_text(drawing.trim_end());
            }
            Ok(EXIT_DONE)
        }
        GraphCommand::Deploy(arguments) => deploy::run(context, arguments).await,
        GraphCommand::List { name } => list::run(context, name.as_deref()).await,
    }
}

async fn check(context: &Context, file: &Path) -> Result<u8, Failure> {
    let files = files::read_from(context.files(), file);
    let sandbox = host::checking_sandbox()?;
    // A store that is not needed is not opened: a graph can be checked anywhere.
    let host = if files.names_deployed() { context.host_if_any()? } else { None };
    let store = host.as_ref().map(|host| host.store.as_ref() as &dyn Store);
    let prepared = prepare::prepare(&sandbox, store, files).await?;
    let graph = &prepared.root.graph;
    if context.json {
        output::print_json(&json!({ "ok": true, "graph": graph.name.as_str(), "problems": [] }));
    } else {
        let inside = match prepared.graphs().len() - 1 {
            0 => String::new(),
            count => format!(" and {count} graph(s) inside it"),
        };
        output::print_text(&format!(
            "{}: graph {} with {} nodes{inside} is in order",
            file.display(),
            graph.name,
            graph.nodes.len()
        ));
    }
    Ok(EXIT_DONE)
}

/// A graph file, or a deployed graph by name.
async fn find(context: &Context, graph: &Path) -> Result<Arc<Graph>, Failure> {
    match deployed_name(context, graph) {
        Some(name) => Ok(versions::deployment(&context.existing_host()?, name).await?.graph),
        None => Ok(Arc::new(crate::deploy::read_graph(files::read_from(context.files(), graph))?)),
    }
}

/// The store, and the graph that threads are to be started with: that of a file, stored now, or a deployed one.
///
/// # Errors
/// Everything that is wrong with it; then no thread was started.
pub(super) async fn open(context: &Context, graph: &Path) -> Result<(Host, Deployment), Failure> {
    if let Some(name) = deployed_name(context, graph) {
        let host = context.existing_host()?;
        let deployment = versions::deployment(&host, name).await?;
        return Ok((host, deployment));
    }
    // The graph is read before the store is opened: a mistyped path leaves no empty database behind.
    crate::deploy::read_graph(files::read_from(context.files(), graph))?;
    let host = context.host()?;
    let deployment = crate::deploy::deploy_files(&host, files::read_from(context.files(), graph)).await?;
    Ok((host, deployment))
}

/// The argument as the name of a deployed graph: when no file is there and it can be one.
fn deployed_name<'g>(context: &Context, graph: &'g Path) -> Option<&'g str> {
    graph.to_str().filter(|text| !context.files().exists(graph) && versions::is_reference(text))
}
