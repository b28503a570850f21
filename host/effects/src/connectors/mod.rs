//! What reaches the outside: one file or folder for each kind of connector, behind [`Connector`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use holdpoint_graph::ids::ConnectorName;
use holdpoint_graph::operation::OperationKey;
use serde_json::Value;

use crate::attempt::Attempt;
use crate::configuration::template::MissingSecret;
use crate::configuration::{ConnectorConfiguration, Kind, Place};

pub mod file;
pub mod http;

/// One configured connector, secrets filled in. Knows nothing of journals and replays.
pub trait Connector: Send + Sync {
    /// Checks a request before anything is recorded or sent. Reaches nothing outside. The same request and key always make the same outgoing
    /// request.
    ///
    /// # Errors
    /// What the guest is told.
    fn prepare(&self, key: &OperationKey, request: &Value) -> Result<Box<dyn Prepared>, Rejection>;
}

/// A checked request, ready to leave.
#[async_trait]
pub trait Prepared: Send + Sync {
    /// Sends it once. Never panics; returns within `timeout` and a little, unless the future is dropped: then nobody knows how it ended.
    /// Neither answer nor reasons hold a secret.
    async fn send(&self, outgoing: Outgoing) -> Attempt;
}

/// Circumstances of one attempt.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing {
    /// The host's time, in milliseconds since 1970.
    pub at_ms: u64,
    /// Longest time until the attempt has ended, connecting included.
    pub timeout: Duration,
}

/// Why a request cannot leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// It is not a request of this connector.
    Invalid(String),
    /// It is one, but not one that the operator allows.
    Denied(String),
    /// The configured address is not one that the connector may connect to.
    Address,
}

/// Why a connector cannot be used as it is configured. For operators: guests are told no more than that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct Unusable {
    /// What is wrong.
    pub cause: UnusableCause,
    /// The place of the value at fault.
    pub place: Place,
}

/// What is wrong with a connector's values. Never shows one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnusableCause {
    /// A reference leads nowhere.
    #[error("{0}")]
    Missing(String),
    /// A value does not fit.
    #[error("{key} {reason}")]
    Value {
        /// Its key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The machine lacks something.
    #[error("{0}")]
    Machine(String),
}

impl Unusable {
    /// A value that does not fit.
    pub(crate) fn value(key: impl Into<String>, place: Place, reason: impl Into<String>) -> Self {
        Self { cause: UnusableCause::Value { key: key.into(), reason: reason.into() }, place }
    }

    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self.cause {
            UnusableCause::Missing(_) => "HP0506",
            UnusableCause::Value { .. } => "HP0507",
            UnusableCause::Machine(_) => "HP0508",
        }
    }

    /// What to do about it.
    pub fn cure(&self) -> &'static str {
        match self.cause {
            UnusableCause::Missing(_) => "set the variable or write the file, then start again",
            UnusableCause::Value { .. } => "correct the value that the configuration refers to",
            UnusableCause::Machine(_) => "install the system's certificates (package `ca-certificates`)",
        }
    }
}

impl From<MissingSecret> for Unusable {
    fn from(missing: MissingSecret) -> Self {
        Self { cause: UnusableCause::Missing(missing.to_string()), place: missing.place }
    }
}

/// Makes a connector: fills its secrets in and checks its values. Sends nothing.
///
/// # Errors
/// What is missing or does not fit.
pub fn build(name: &ConnectorName, configuration: &ConnectorConfiguration) -> Result<Arc<dyn Connector>, Unusable> {
    match &configuration.kind {
        Kind::Http(http) => Ok(Arc::new(http::Http::build(name, configuration, http)?)),
        Kind::File(file) => Ok(Arc::new(file::File::build(name, file)?)),
    }
}
