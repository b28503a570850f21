//! What these tests share: nodes that wait to be let through, and a reader of event streams.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{FakeNodes, Http, TestServer, standard_nodes, update};

/// Three nodes in a row; the second waits to be let through.
pub(crate) const SLOW: &str = r#"
start = "first"
[state]
name = { type = "string" }
log = { type = "array", reducer = "append" }
[nodes.first]
next = "second"
[nodes.second]
next = "third"
[nodes.third]
next = "END"
"#;

/// A gate that a node waits at, and a bell that it rings when it gets there.
#[derive(Clone)]
pub(crate) struct Gate {
    open: Arc<Semaphore>,
    bell: Arc<Semaphore>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { open: Arc::new(Semaphore::new(0)), bell: Arc::new(Semaphore::new(0)) }
    }

    /// Lets so many through, now or later.
    pub(crate) fn open(&self, passes: usize) {
        self.open.add_permits(passes);
    }

    /// Waits until one more has come.
    pub(crate) async fn reached(&self) {
        let rung = tokio::time::timeout(Duration::from_secs(20), self.bell.acquire()).await;
        rung.expect("nobody came to the gate").unwrap().forget();
    }

    /// The nodes of [`SLOW`], and the standard ones.
    pub(crate) fn nodes(&self) -> FakeNodes {
        let gate = self.clone();
        standard_nodes()
            .with("first", |call| update(json!({ "log": [format!("first {}", name(call))] })))
            .with_async("second", move |call| {
                let gate = gate.clone();
                Box::pin(async move {
                    gate.bell.add_permits(1);
                    gate.open.acquire().await.unwrap().forget();
                    update(json!({ "log": [format!("second {}", name(&call))] })).into()
                })
            })
            .with("third", |call| update(json!({ "log": [format!("third {}", name(call))] })))
    }
}

fn name(call: &holdpoint_graph::nodes::NodeCall) -> String {
    call.state.values().get("name").and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl TestServer {
    /// A new thread.
    pub(crate) async fn thread(&self) -> String {
        let thread = self.http.post("/threads", json!({})).await.expect(200);
        thread["thread_id"].as_str().unwrap().to_owned()
    }

    /// Starts a run and waits for what it comes to.
    pub(crate) async fn wait(&self, thread: &str, body: Value) -> Value {
        self.http.post(&format!("/threads/{thread}/runs/wait"), body).await.expect(200)
    }

    /// Starts a run.
    pub(crate) async fn start_run(&self, thread: &str, body: Value) -> String {
        let run = self.http.post(&format!("/threads/{thread}/runs"), body).await.expect(200);
        run["run_id"].as_str().unwrap().to_owned()
    }

    /// Waits for a run's end.
    pub(crate) async fn join(&self, thread: &str, run: &str) -> Value {
        self.http.get(&format!("/threads/{thread}/runs/{run}/join")).await.expect(200)
    }

    /// A run's status.
    pub(crate) async fn status(&self, thread: &str, run: &str) -> String {
        let run = self.http.get(&format!("/threads/{thread}/runs/{run}")).await.expect(200);
        run["status"].as_str().unwrap().to_owned()
    }
}

/// The ids of the questions in what `wait` answered.
pub(crate) fn asked(body: &Value) -> Vec<String> {
    let interrupts = body["__interrupt__"].as_array().unwrap_or_else(|| panic!("nothing waits: {body}"));
    interrupts.iter().map(|interrupt| interrupt["id"].as_str().unwrap().to_owned()).collect()
}

/// One server-sent event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sent {
    pub(crate) event: String,
    pub(crate) data: Value,
    pub(crate) id: String,
}

/// Reads an event stream.
pub(crate) struct Reader {
    response: reqwest::Response,
    text: String,
    /// Comments seen so far.
    pub(crate) heartbeats: usize,
}

impl Reader {
    pub(crate) async fn post(http: &Http, path: &str, body: Value) -> Self {
        let headers = [("content-type", "application/json")];
        Self::of(http.open(reqwest::Method::POST, path, &headers, body.to_string()).await)
    }

    pub(crate) async fn get(http: &Http, path: &str, last: Option<&str>) -> Self {
        let headers: Vec<(&str, &str)> = last.map(|last| ("last-event-id", last)).into_iter().collect();
        Self::of(http.open(reqwest::Method::GET, path, &headers, "").await)
    }

    fn of(response: reqwest::Response) -> Self {
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Self { response, text: String::new(), heartbeats: 0 }
    }

    pub(crate) fn header(&self, name: &str) -> String {
        self.response.headers()[name].to_str().unwrap().to_owned()
    }

    /// The next event; none at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\r\n\r\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                if block.starts_with(':') {
                    self.heartbeats += 1;
                    continue;
                }
                let line = |name: &str| {
                    block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
                };
                let data = serde_json::from_str(&line("data:")).unwrap();
                return Some(Sent { event: line("event:"), data, id: line("id:") });
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.response.chunk()).await;
            let chunk = chunk.expect("the stream is silent").ok().flatten()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// Reads up to an event of this name.
    pub(crate) async fn until(&mut self, event: &str) -> Vec<Sent> {
        let mut seen = Vec::new();
        while let Some(sent) = self.next().await {
            let found = sent.event == event;
            seen.push(sent);
            if found {
                return seen;
            }
        }
        panic!("no event {event} in {seen:#?}");
    }

    /// Reads to the end.
    pub(crate) async fn rest(&mut self) -> Vec<Sent> {
        let mut seen = Vec::new();
        while let Some(sent) = self.next().await {
            seen.push(sent);
        }
        seen
    }
}

/// The names of events.
pub(crate) fn names(events: &[Sent]) -> Vec<&str> {
    events.iter().map(|sent| sent.event.as_str()).collect()
}
