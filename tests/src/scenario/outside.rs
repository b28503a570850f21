//! The outside: files, each written by a connector that counts what reaches it.
//!
//! | connector | class | |
//! |---|---|---|
//! | `ledger` | idempotent | the file de-duplicates |
//! | `payments` | at-most-once | |
//! | `guarded` | idempotent | a person approves each request |
//!
//! A request with `later = n` is refused with the wish to come again the first `n` times that its id arrives.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use holdpoint_effects::configuration::ConnectorConfiguration;
use holdpoint_effects::connectors::{Connector, LookUp, Outgoing, Prepared, Rejection, Settings, Unusable};
use holdpoint_effects::{Attempt, Configuration, Reply};
use holdpoint_graph::ids::ConnectorName;
use holdpoint_graph::nodes::Failure;
use holdpoint_graph::operation::OperationKey;
use serde_json::Value;

use super::board::Board;

const CONNECTORS: &str = r#"
[connectors.ledger]
kind = "file"
path = "ledger.jsonl"
[connectors.payments]
kind = "file"
path = "payments.jsonl"
class = "at-most-once"
[connectors.guarded]
kind = "file"
path = "guarded.jsonl"
requires_approval = true
"#;

/// The connectors, with their files in a folder.
///
/// # Panics
/// When the configuration above is not one.
pub fn configuration(folder: &Path, board: &Arc<Board>) -> Configuration {
    let parsed = Configuration::parse(CONNECTORS, &folder.join("holdpoint.toml"), &|_| None).unwrap();
    let connectors = parsed.connectors.into_iter().map(|(name, configuration)| {
        let settings =
            Arc::new(CountedSettings { inner: Arc::clone(&configuration.settings), board: Arc::clone(board) });
        (name, ConnectorConfiguration { settings, ..configuration })
    });
    Configuration { connectors: connectors.collect(), ..parsed }
}

struct CountedSettings {
    inner: Arc<dyn Settings>,
    board: Arc<Board>,
}

impl std::fmt::Debug for CountedSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(formatter)
    }
}

impl Settings for CountedSettings {
    fn build(&self, name: &ConnectorName, common: &ConnectorConfiguration) -> Result<Arc<dyn Connector>, Unusable> {
        let inner = self.inner.build(name, common)?;
        Ok(Arc::new(CountedConnector { inner, board: Arc::clone(&self.board), arrived: Arc::default() }))
    }
}

/// How often each id has arrived.
type Arrivals = Arc<Mutex<HashMap<String, u64>>>;

struct CountedConnector {
    inner: Arc<dyn Connector>,
    board: Arc<Board>,
    arrived: Arrivals,
}

impl Connector for CountedConnector {
    fn prepare(&self, key: &OperationKey, request: &Value) -> Result<Box<dyn Prepared>, Rejection> {
        Ok(Box::new(CountedRequest {
            inner: self.inner.prepare(key, request)?,
            board: Arc::clone(&self.board),
            arrived: Arc::clone(&self.arrived),
            id: key.id.to_string(),
            request: request.clone(),
        }))
    }
}

struct CountedRequest {
    inner: Box<dyn Prepared>,
    board: Arc<Board>,
    arrived: Arrivals,
    id: String,
    request: Value,
}

#[async_trait]
impl Prepared for CountedRequest {
    async fn send(&self, outgoing: Outgoing) -> Attempt {
        self.board.count_sent(&self.id, &self.request);
        let before = {
            let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
            let count = arrived.entry(self.id.clone()).or_default();
            *count += 1;
            *count - 1
        };
        if self.request.get("later").and_then(Value::as_u64).is_some_and(|later| before < later) {
            return Attempt::Landed(Reply::Later(Failure {
                code: "busy".into(),
                message: "come again".into(),
                retryable: true,
                retry_after_ms: None,
                details: None,
            }));
        }
        let attempt = self.inner.send(outgoing).await;
        self.board.landed(&self.id).await;
        attempt
    }

    async fn look_up(&self, outgoing: Outgoing) -> LookUp {
        self.inner.look_up(outgoing).await
    }

    async fn preview(&self, outgoing: Outgoing) -> Option<Result<Value, String>> {
        self.inner.preview(outgoing).await
    }
}
