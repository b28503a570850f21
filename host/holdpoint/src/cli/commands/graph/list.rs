//! `holdpoint graph list`.

use holdpoint_store::VersionRecord;
use serde_json::{Value, json};

use crate::cli::context::Context;
use crate::cli::output;
use crate::deploy::versions;
use crate::failure::{EXIT_DONE, Failure};

/// Lists deployed versions: of one graph, which must be there, or of all.
pub(super) async fn run(context: &Context, name: Option<&str>) -> Result<u8, Failure> {
    let host = context.existing_host()?;
    if let Some(name) = name {
        versions::find(&host, name).await?;
    }
    // NAME@VERSION lists that one.
    let (name, version) = name.map_or((None, None), |name| match name.split_once('@') {
        Some((name, version)) => (Some(name), Some(version)),
        None => (Some(name), None),
    });
    let mut listed = versions::list(&host, name).await?;
    listed.retain(|record| version.is_none_or(|version| record.version == version));
    if context.json {
        output::print_json(&Value::Array(listed.iter().map(version_json).collect()));
    } else {
        let rows = listed.iter().map(|version| {
            vec![
                version.name.clone(),
                version.version.clone(),
                output::time_text(version.deployed_at_ms),
                version.deployed_by.clone(),
                version.gains.join("\n"),
                version.digest.to_string(),
            ]
        });
        output::print_text(&output::table(&["graph", "version", "deployed", "by", "may do more", "digest"], rows));
    }
    Ok(EXIT_DONE)
}

/// A deployed version for programs.
pub(super) fn version_json(version: &VersionRecord) -> Value {
    json!({
        "graph": version.name,
        "version": version.version,
        "digest": version.digest.as_str(),
        "deployed_at": output::time_text(version.deployed_at_ms),
        "deployed_by": version.deployed_by,
        "gains": version.gains,
    })
}
