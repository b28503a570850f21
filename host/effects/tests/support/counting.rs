//! A connector that counts what reaches it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use holdpoint_effects::configuration::{Class, ConnectorConfiguration};
use holdpoint_effects::connectors::{Connector, LookUp, Outgoing, Prepared, Rejection, Settings, Unusable};
use holdpoint_effects::{Attempt, Configuration, Reply};
use holdpoint_graph::ids::ConnectorName;
use holdpoint_graph::operation::OperationKey;
use serde_json::{Value, json};
use tokio::sync::Notify;

/// The connector and its settings at once. A request `"invalid"` is none of its requests; a request `"hold"` lasts until it is released.
#[derive(Debug, Clone, Default)]
pub struct Counting(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    sent: Mutex<Vec<String>>,
    look_ups: AtomicUsize,
    previews: AtomicUsize,
    release: Notify,
}

impl Counting {
    /// A configuration in which `payments` is this connector, with this class; `more` is what else stands in its section.
    pub fn configuration(&self, class: Class, more: &str) -> Configuration {
        let text = format!("[connectors.payments]\nkind = \"file\"\npath = \"none\"\n{more}\n");
        let mut configuration = super::parse(&text, &[]);
        let payments = configuration.connectors.get_mut(&ConnectorName::parse("payments").unwrap()).unwrap();
        payments.class = class;
        payments.settings = Arc::new(self.clone());
        configuration
    }

    /// Ids that were sent, in order.
    pub fn sent(&self) -> Vec<String> {
        self.0.sent.lock().unwrap().clone()
    }

    /// Requests, lookups and previews so far.
    pub fn calls(&self) -> (usize, usize, usize) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        (self.sent().len(), count(&self.0.look_ups), count(&self.0.previews))
    }

    /// Lets a request `"hold"` end.
    pub fn release(&self) {
        self.0.release.notify_one();
    }
}

impl Settings for Counting {
    fn build(&self, _: &ConnectorName, _: &ConnectorConfiguration) -> Result<Arc<dyn Connector>, Unusable> {
        Ok(Arc::new(self.clone()))
    }
}

impl Connector for Counting {
    fn prepare(&self, key: &OperationKey, request: &Value) -> Result<Box<dyn Prepared>, Rejection> {
        if *request == json!("invalid") {
            return Err(Rejection::Invalid("it is invalid".into()));
        }
        let held = *request == json!("hold");
        Ok(Box::new(CountingRequest { counting: self.clone(), id: key.id.to_string(), held }))
    }
}

struct CountingRequest {
    counting: Counting,
    id: String,
    held: bool,
}

#[async_trait]
impl Prepared for CountingRequest {
    async fn send(&self, _: Outgoing) -> Attempt {
        self.counting.0.sent.lock().unwrap().push(self.id.clone());
        if self.held {
            self.counting.0.release.notified().await;
        }
        Attempt::Landed(Reply::Done(json!("sent")))
    }

    async fn look_up(&self, _: Outgoing) -> LookUp {
        self.counting.0.look_ups.fetch_add(1, Ordering::SeqCst);
        LookUp::Happened(json!("found"))
    }

    async fn preview(&self, _: Outgoing) -> Option<Result<Value, String>> {
        self.counting.0.previews.fetch_add(1, Ordering::SeqCst);
        Some(Ok(json!("shown")))
    }
}
