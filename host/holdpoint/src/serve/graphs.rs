//! Deploying what a client sends, and finding it by name.
//!
//! What a client sends is written to a folder of its own and read from there like any graph file. It may name nothing but what came with it and what
//! is deployed already: never a file of this machine.

use std::collections::BTreeMap;
use std::path::{Component as Part, Path, PathBuf};

use async_trait::async_trait;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdpoint_engine::Deployment;
use holdpoint_graph::definition::{Component, Graph, GraphReference, Work};
use holdpoint_graph::file;
use holdpoint_graph::ids::GraphName;
use holdpoint_server::caller::Caller;
use holdpoint_server::{Graphs, Problem};
use serde_json::{Value, json};

use crate::deploy::versions::{self, Plan};
use crate::deploy::{files, prepare};
use crate::failure::{EXIT_INVALID, Failure};
use crate::host::Host;

/// The name of the graph's own file among those that came with it.
const ROOT: &str = "deployed.graph.toml";

pub(super) struct DeployedGraphs {
    host: Host,
}

impl DeployedGraphs {
    pub(super) fn new(host: Host) -> Self {
        Self { host }
    }
}

#[async_trait]
impl Graphs for DeployedGraphs {
    async fn newest(&self, name: &GraphName) -> Result<Option<Deployment>, Problem> {
        let versions = versions::list(&self.host, Some(name.as_str())).await.map_err(|failure| problem(&failure))?;
        let Some(newest) = versions.first() else { return Ok(None) };
        let version = self.host.engine.version(&newest.digest).await;
        let version = version.map_err(|error| problem(&Failure::from_engine(&error)))?;
        Ok(Some(Deployment { digest: newest.digest.clone(), graph: version.graph.clone() }))
    }

    async fn deploy(&self, request: &Value, caller: &Caller) -> Result<Value, Problem> {
        let sent = Sent::read(request)?;
        sent.check_paths()?;
        let folder = sent.write().map_err(|error| {
            tracing::error!(%error, "what was sent cannot be written to a temporary folder");
            Problem::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "HP0796",
                "what was sent cannot be kept while it is looked at",
            )
        })?;
        let deployed = self.deploy_folder(folder.path(), sent.accept, caller).await;
        deployed.map_err(|failure| without_folder(problem(&failure), folder.path()))
    }
}

impl DeployedGraphs {
    async fn deploy_folder(&self, folder: &Path, accept: bool, caller: &Caller) -> Result<Value, Failure> {
        let files = files::read(&folder.join(ROOT));
        let sandbox = self.host.sandbox().await?;
        let prepared = prepare::prepare(sandbox, Some(self.host.store.as_ref()), files).await?;
        let plan = Plan::make(&self.host, sandbox, prepared, ROOT).await?;
        let gains = plan.to_accept();
        if !gains.is_empty() && !accept {
            return Err(Failure {
                details: Some(Box::new(json!({ "gains": gains, "difference": plan.difference.to_json() }))),
                ..Failure::invalid(
                    "HP0198",
                    format!("the new version of {} may do more than the one before: {}", plan.name, gains.join("; ")),
                    "look at each, then deploy with \"accept\": true: who took it is recorded; nothing was stored",
                )
            });
        }
        let version = plan.take_over(&self.host, &caller.principal.actor.id).await?;
        Ok(json!({
            "name": version.name,
            "version": version.version,
            "digest": version.digest.as_str(),
            "deployed": !plan.is_deployed(),
            "gains": version.gains,
            "difference": plan.difference.to_json(),
        }))
    }
}

/// What a client sent.
struct Sent {
    files: BTreeMap<PathBuf, Vec<u8>>,
    accept: bool,
}

impl Sent {
    fn read(request: &Value) -> Result<Self, Problem> {
        let wrong = |detail: String| Problem::invalid("HP0811", detail);
        let text = request.get("graph").and_then(Value::as_str);
        let text = text.ok_or_else(|| wrong("`graph` is not the text of a graph file".into()))?;
        let accept = match request.get("accept") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(accept)) => *accept,
            Some(_) => return Err(wrong("`accept` is neither true nor false".into())),
        };
        let mut files = BTreeMap::from([(PathBuf::from(ROOT), text.as_bytes().to_vec())]);
        let sent = match request.get("files") {
            None | Some(Value::Null) => None,
            Some(Value::Object(sent)) => Some(sent),
            Some(_) => return Err(wrong("`files` is not an object of names and base64 texts".into())),
        };
        for (name, content) in sent.into_iter().flatten() {
            let path = inside(Path::new(""), name).filter(|path| !files.contains_key(path));
            let path = path.ok_or_else(|| wrong(format!("{name:?} is not a name for a file that is sent along")))?;
            let bytes = content.as_str().and_then(|text| STANDARD.decode(text).ok());
            let bytes = bytes.ok_or_else(|| wrong(format!("the content of {name:?} is not base64")))?;
            files.insert(path, bytes);
        }
        Ok(Self { files, accept })
    }

    /// Refuses graphs that name files which were not sent along. A file that is not a graph is none of ours to look at here.
    fn check_paths(&self) -> Result<(), Problem> {
        let mut waiting = vec![PathBuf::from(ROOT)];
        let mut seen = Vec::new();
        while let Some(path) = waiting.pop() {
            let Some(bytes) = self.files.get(&path).filter(|_| !seen.contains(&path)) else { continue };
            let folder = path.parent().unwrap_or(Path::new("")).to_owned();
            seen.push(path);
            let text = String::from_utf8_lossy(bytes);
            // What is wrong with it is told by those who read it for good.
            let Ok(graph) = file::parse(&text, ROOT) else { continue };
            for named in paths(&graph) {
                match inside(&folder, named).filter(|path| self.files.contains_key(path)) {
                    Some(path) => waiting.push(path),
                    None => {
                        let detail = format!("the graph names the file {named:?}, which was not sent along");
                        return Err(Problem::invalid("HP0811", detail)
                            .with_cure("send it in `files`, under the name that the graph file gives"));
                    }
                }
            }
        }
        Ok(())
    }

    fn write(&self) -> std::io::Result<tempfile::TempDir> {
        let folder = tempfile::Builder::new().prefix("holdpoint-deploy-").tempdir()?;
        for (path, bytes) in &self.files {
            let path = folder.path().join(path);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(path, bytes)?;
        }
        Ok(folder)
    }
}

/// The files that a graph names.
fn paths(graph: &Graph) -> impl Iterator<Item = &str> {
    graph.nodes.values().filter_map(|node| match &node.work {
        Work::Component(Component::Path(path)) => Some(path.as_str()),
        Work::Subgraph(subgraph) => match &subgraph.graph {
            GraphReference::Path(path) => Some(path.as_str()),
            GraphReference::Digest(_) => None,
        },
        Work::Component(_) => None,
    })
}

/// A path below a folder of what was sent, without detours; none for one that leads out of it.
fn inside(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut path = folder.to_owned();
    for part in Path::new(name).components() {
        match part {
            Part::Normal(part) => path.push(part),
            Part::CurDir => {}
            Part::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Part::RootDir | Part::Prefix(_) => return None,
        }
    }
    (path.file_name().is_some() && !name.contains('\0')).then_some(path)
}

fn problem(failure: &Failure) -> Problem {
    let status = match failure.code.as_str() {
        "HP0198" | "HP0189" => StatusCode::CONFLICT,
        _ if failure.exit == EXIT_INVALID => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut problem =
        Problem::new(status, failure.code.to_string(), failure.message.clone()).with_cure(failure.cure.clone());
    if !failure.problems.is_empty() {
        problem = problem.with("problems", failure.problems.clone());
    }
    if let Some(details) = &failure.details {
        problem = problem.with("details", (**details).clone());
    }
    problem
}

/// Without the place of the temporary folder, which is nobody's business.
fn without_folder(mut problem: Problem, folder: &Path) -> Problem {
    let folder = format!("{}/", folder.display());
    problem.detail = problem.detail.replace(&folder, "");
    for value in problem.more.values_mut() {
        scrub(value, &folder);
    }
    problem
}

fn scrub(value: &mut Value, folder: &str) {
    match value {
        Value::String(text) => *text = text.replace(folder, ""),
        Value::Array(items) => items.iter_mut().for_each(|item| scrub(item, folder)),
        Value::Object(members) => members.values_mut().for_each(|member| scrub(member, folder)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        let inside = |folder: &str, name: &str| inside(Path::new(folder), name).map(|path| path.display().to_string());
        assert_eq!(inside("", "a.wasm").as_deref(), Some("a.wasm"));
        assert_eq!(inside("sub", "../nodes/./a.wasm").as_deref(), Some("nodes/a.wasm"));
        for name in ["../a.wasm", "/etc/passwd", "", ".", "a/../..", "a\0b"] {
            assert_eq!(inside("", name), None, "{name:?}");
        }
    }

    #[test]
    fn a_graph_names_what_came_with_it() {
        let graph = |path: &str| {
            format!(
                "name = \"g\"\nstart = \"n\"\n[state]\nx = {{}}\n[nodes.n]\ncomponent = \"{path}\"\nnext = \"END\"\n"
            )
        };
        let check = |path: &str, files: Value| {
            Sent::read(&json!({ "graph": graph(path), "files": files })).and_then(|sent| sent.check_paths())
        };
        assert_eq!(check("n.wasm", json!({ "n.wasm": "AA==" })), Ok(()));
        for (path, files) in [("/etc/passwd", json!({})), ("../n.wasm", json!({ "n.wasm": "" })), ("n.wasm", json!({}))]
        {
            let refused = check(path, files).expect_err(path);
            assert_eq!((refused.code.as_str(), refused.status), ("HP0811", StatusCode::UNPROCESSABLE_ENTITY));
        }
        for files in [json!({ "../x": "AA==" }), json!({ "x": "no base64!" }), json!([])] {
            assert_eq!(check("n.wasm", files).expect_err("refused").code, "HP0811");
        }
    }
}
