//! Points around sends: every connector of a configuration, wrapped.

use std::sync::Arc;

use async_trait::async_trait;
use holdpoint_effects::configuration::ConnectorConfiguration;
use holdpoint_effects::connectors::{Connector, LookUp, Outgoing, Prepared, Rejection, Settings, Unusable};
use holdpoint_effects::{Attempt, Configuration};
use holdpoint_graph::ids::ConnectorName;
use holdpoint_graph::operation::OperationKey;
use serde_json::Value;

use super::points::Points;
use super::trace::Moment;

/// Wraps every connector. `lethal` has those again whose receivers can kill this process, with requests that have them do it.
pub fn watch(plain: Configuration, mut lethal: Configuration, points: &Arc<Points>) -> Configuration {
    let connectors = plain.connectors.into_iter().map(|(name, configuration)| {
        let lethal = lethal.connectors.remove(&name).map(|configuration| configuration.settings);
        let plain = Arc::clone(&configuration.settings);
        let settings = Arc::new(WatchedSettings { plain, lethal, points: Arc::clone(points) });
        (name, ConnectorConfiguration { settings, ..configuration })
    });
    Configuration { connectors: connectors.collect(), ..plain }
}

struct WatchedSettings {
    plain: Arc<dyn Settings>,
    lethal: Option<Arc<dyn Settings>>,
    points: Arc<Points>,
}

impl std::fmt::Debug for WatchedSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.plain.fmt(formatter)
    }
}

impl Settings for WatchedSettings {
    fn build(&self, name: &ConnectorName, common: &ConnectorConfiguration) -> Result<Arc<dyn Connector>, Unusable> {
        let plain = self.plain.build(name, common)?;
        let lethal = self.lethal.as_ref().map(|settings| settings.build(name, common)).transpose()?;
        Ok(Arc::new(WatchedConnector { plain, lethal, points: Arc::clone(&self.points) }))
    }
}

struct WatchedConnector {
    plain: Arc<dyn Connector>,
    lethal: Option<Arc<dyn Connector>>,
    points: Arc<Points>,
}

impl Connector for WatchedConnector {
    fn prepare(&self, key: &OperationKey, request: &Value) -> Result<Box<dyn Prepared>, Rejection> {
        let plain = self.plain.prepare(key, request)?;
        let lethal = self.lethal.as_ref().map(|connector| connector.prepare(key, request)).transpose()?;
        Ok(Box::new(WatchedRequest { plain, lethal, points: Arc::clone(&self.points), operation: key.id.to_string() }))
    }
}

struct WatchedRequest {
    plain: Box<dyn Prepared>,
    lethal: Option<Box<dyn Prepared>>,
    points: Arc<Points>,
    operation: String,
}

#[async_trait]
impl Prepared for WatchedRequest {
    async fn send(&self, outgoing: Outgoing) -> Attempt {
        let operation = || self.operation.clone();
        self.points.reach(Moment::BeforeSend { operation: operation() }).await;
        if let Some(lethal) = &self.lethal
            && self.points.reach_in_flight(operation()).await
        {
            lethal.send(outgoing).await;
            // The receiver has been told to kill this process: nothing of it may act on an answer.
            std::future::pending::<()>().await;
        }
        let attempt = self.plain.send(outgoing).await;
        self.points.reach(Moment::AfterSend { operation: operation() }).await;
        attempt
    }

    async fn look_up(&self, outgoing: Outgoing) -> LookUp {
        self.plain.look_up(outgoing).await
    }

    async fn preview(&self, outgoing: Outgoing) -> Option<Result<Value, String>> {
        self.plain.preview(outgoing).await
    }
}
