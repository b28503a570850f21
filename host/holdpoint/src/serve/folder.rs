//! Deploying what lies in folders.

use std::path::{Path, PathBuf};

use super::ServeOptions;
use crate::deploy::versions::Plan;
use crate::deploy::{files, prepare};
use crate::failure::Failure;
use crate::host::Host;

/// What a graph file's name ends with.
const ENDING: &str = ".graph.toml";

/// Deploys every graph file of the folders, in order of name; gives the graphs' names.
///
/// # Errors
/// A folder that cannot be read; a graph's problems; what a graph may do more than before, unless it is accepted.
pub(super) async fn deploy_all(host: &Host, options: &ServeOptions) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for folder in &options.graphs {
        for file in graph_files(folder)? {
            names.push(deploy(host, &file, options).await?);
        }
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

async fn deploy(host: &Host, file: &Path, options: &ServeOptions) -> Result<String, Failure> {
    let files = files::read(file);
    let shown = files.shown.clone();
    let sandbox = host.sandbox().await?;
    let prepared = prepare::prepare(sandbox, Some(host.store.as_ref()), files).await?;
    let plan = Plan::make(host, sandbox, prepared, &shown).await?;
    let gains = plan.to_accept();
    if !gains.is_empty() && !options.accept {
        return Err(Failure::invalid(
            "HP0198",
            format!("{shown} may do more than the version of {} before: {}", plan.name, gains.join("; ")),
            "look at each, then serve with --accept: who took it is recorded; nothing was stored",
        ));
    }
    let version = plan.take_over(host, &options.by).await?;
    tracing::info!(graph = version.name, version = version.version, digest = %version.digest, "deployed");
    Ok(version.name)
}

fn graph_files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::invalid(
            "HP0734",
            format!("the folder {} cannot be read: {error}", folder.display()),
            "name a folder with *.graph.toml files",
        )
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(ENDING)) {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(Failure::invalid(
            "HP0734",
            format!("the folder {} has no *{ENDING} file", folder.display()),
            "name a folder with *.graph.toml files",
        ));
    }
    Ok(found)
}
