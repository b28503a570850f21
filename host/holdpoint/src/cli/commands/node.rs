//! `holdpoint node`.

use std::path::Path;

use holdpoint_sandbox::{Inspection, componentize};
use serde_json::{Value, json};

use crate::cli::arguments::{NodeArguments, NodeCommand};
use crate::cli::context::Context;
use crate::cli::output;
use crate::failure::{EXIT_DONE, Failure};
use crate::host;
use crate::node_build::{self, BuildRequest};

/// Builds or inspects nodes.
///
/// # Errors
/// What keeps a node from being built or accepted.
pub async fn run(context: &Context, arguments: NodeArguments) -> Result<u8, Failure> {
    match arguments.command {
        NodeCommand::Build { path, out } => build(context, &path, &out).await?,
        NodeCommand::Inspect { path } => inspect(context, &path).await?,
    }
    Ok(EXIT_DONE)
}

async fn build(context: &Context, path: &Path, out: &Path) -> Result<(), Failure> {
    let request = BuildRequest { path: path.to_owned(), out: out.to_owned() };
    let wrap = |bytes: &[u8]| componentize(bytes).map_err(|error| format!("{error}; {}", error.cure()));
    let built = node_build::build(&request, &wrap, &mut |line| output::print_note(line))
        .map_err(|error| Failure::invalid(error.code(), error.to_string(), error.cure()))?;
    // What was built is loaded once, so that an author hears of a foreign import now and not at deployment.
    let sandbox = host::checking_sandbox()?;
    let mut rows = Vec::new();
    for node in &built {
        let bytes = read(&node.component)?;
        let inspection = sandbox.inspect(&bytes).await.map_err(|error| Failure::from_sandbox(&error))?;
        rows.push((node, inspection));
    }
    if context.json {
        let nodes = rows.iter().map(|(node, inspection)| {
            let mut value = inspection_json(inspection);
            value["path"] = json!(node.component.display().to_string());
            value
        });
        output::print_json(&Value::Array(nodes.collect()));
    } else {
        let rows = rows.iter().map(|(node, inspection)| {
            vec![
                node.component.display().to_string(),
                inspection.description.version.clone(),
                inspection.size_bytes.to_string(),
                inspection.description.connectors.join(", "),
                inspection.digest.to_string(),
            ]
        });
        output::print_text(&output::table(&["component", "version", "bytes", "connectors", "digest"], rows));
    }
    Ok(())
}

async fn inspect(context: &Context, path: &Path) -> Result<(), Failure> {
    let bytes = read(path)?;
    let sandbox = host::checking_sandbox()?;
    let inspection = sandbox.inspect(&bytes).await.map_err(|error| Failure::from_sandbox(&error))?;
    if context.json {
        output::print_json(&inspection_json(&inspection));
    } else {
        let value = inspection_json(&inspection);
        let rows = value.as_object().into_iter().flatten().map(|(name, value)| {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Array(items) => items
                    .iter()
                    .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                    .collect::<Vec<_>>()
                    .join("\n"),
                Value::Object(_) => format!("{value:#}"),
                other => other.to_string(),
            };
            vec![name.clone(), text]
        });
        output::print_text(&output::table(&["what", "is"], rows));
    }
    Ok(())
}

fn inspection_json(inspection: &Inspection) -> Value {
    let description = &inspection.description;
    json!({
        "name": description.name,
        "version": description.version,
        "summary": description.summary,
        "connectors": description.connectors,
        "digest": inspection.digest.as_str(),
        "size_bytes": inspection.size_bytes,
        "kind": inspection.kind.name(),
        "imports": inspection.imports,
        "exports": inspection.exports,
        "state_schema": description.state_schema,
        "update_schema": description.update_schema,
        "config_schema": description.config_schema,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| {
        Failure::invalid(
            "HP0191",
            format!("{} cannot be read: {error}", path.display()),
            "check the path and its permissions",
        )
    })
}
