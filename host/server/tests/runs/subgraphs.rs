//! What happens inside subgraphs, as streams name it.

use std::collections::BTreeSet;

use holdpoint_graph::nodes::TaskReport;
use serde_json::json;

use super::scene::{Reader, Sent};
use crate::support::{FakeNodes, Setup, TestServer, admin, graph, update};

const LOG: &str = "[state]\nlog = { type = \"array\", reducer = \"append\" }\n";

/// `work` inside `inner` inside `outer`.
async fn server() -> TestServer {
    let nodes = FakeNodes::default().with_async("work", |call| {
        Box::pin(async move {
            let said = json!({ "message": { "type": "AIMessageChunk", "id": "m", "content": "Hel" } });
            call.journal.report(TaskReport::Custom(said));
            update(json!({ "log": ["work"] })).into()
        })
    });
    let server = Setup { nodes, ..Setup::default() }.start().await;
    let engine = server.context.engine(&admin(&server.context));
    let inner = format!("start = \"work\"\n{LOG}[nodes.work]\nnext = \"END\"\n");
    let inner = engine.deploy(graph("inner", &inner)).await.unwrap();
    let around = |node: &str, digest: &str| {
        format!("start = \"{node}\"\n{LOG}[nodes.{node}] # subgraph\ngraph = \"{digest}\"\nnext = \"END\"\n")
    };
    let middle = engine.deploy(graph("middle", &around("deep", inner.digest.as_str()))).await.unwrap();
    server.deploy("outer", &around("child", middle.digest.as_str())).await;
    server
}

async fn run(server: &TestServer, mode: &str, subgraphs: bool) -> Vec<Sent> {
    let body = json!({ "assistant_id": "outer", "input": {}, "stream_mode": mode, "stream_subgraphs": subgraphs });
    Reader::post(&server.http, "/runs/stream", body).await.rest().await
}

/// Names of events with `TASK` for each task's id.
fn shapes(events: &[Sent]) -> BTreeSet<String> {
    let shape = |part: &str| match part.split_once(':') {
        Some((node, task)) => {
            assert!(!task.is_empty() && task.chars().all(|char| char.is_ascii_alphanumeric() || char == '-'), "{part}");
            format!("{node}:TASK")
        }
        None => part.to_owned(),
    };
    events.iter().map(|sent| sent.event.split('|').map(shape).collect::<Vec<_>>().join("|")).collect()
}

#[tokio::test]
async fn each_mode_names_where_its_events_are_from() {
    let server = server().await;
    const CHILD: &str = "child:TASK";
    const DEEP: &str = "child:TASK|deep:TASK";
    // The mode, the names of its events, and in which graphs there are such.
    let everywhere = ["", CHILD, DEEP].as_slice();
    for (mode, names, places) in [
        ("values", ["values"].as_slice(), everywhere),
        ("updates", &["updates"], everywhere),
        ("tasks", &["tasks"], everywhere),
        ("checkpoints", &["checkpoints"], everywhere),
        ("debug", &["debug"], everywhere),
        ("events", &["events"], everywhere),
        ("custom", &["custom"], &[DEEP]),
        ("messages-tuple", &["messages"], &[DEEP]),
        ("messages", &["messages/metadata", "messages/partial"], &[DEEP]),
    ] {
        let mut expected: BTreeSet<String> = ["metadata".to_owned(), "end".to_owned()].into();
        for name in names {
            expected.extend(places.iter().map(|place| format!("{name}|{place}").trim_end_matches('|').to_owned()));
        }
        assert_eq!(shapes(&run(&server, mode, true).await), expected, "{mode}");
        expected.retain(|name| !name.contains('|'));
        assert_eq!(shapes(&run(&server, mode, false).await), expected, "{mode} without subgraphs");
    }
}

#[tokio::test]
async fn names_hold_the_task_that_runs_the_subgraph() {
    let server = server().await;
    let events = run(&server, "tasks", true).await;
    let child = events.iter().find(|sent| sent.event == "tasks" && sent.data["name"] == "child").unwrap();
    let place = format!("tasks|child:{}", child.data["id"].as_str().unwrap());
    let deep = events.iter().find(|sent| sent.event == place && sent.data["name"] == "deep").unwrap();
    let place = format!("{place}|deep:{}", deep.data["id"].as_str().unwrap());
    assert!(events.iter().any(|sent| sent.event == place && sent.data["name"] == "work"), "{events:#?}");
}
