//! What reaches the outside: one file or folder for each kind of connector, behind [`Connector`].
//!
//! # Layout
//!
//! * [`Connector`], [`Prepared`]: what a connector does. [`Settings`]: what was read for it.
//! * `Kind`, `KINDS`: how a kind declares itself. A new kind is a file here, and one line in `KINDS`.
//! * [`mod@file`], [`http`], [`smtp`], [`sql`], [`webhook`]: the kinds.
//! * [`Telling`]: how one tells about questions. `address`, `tls`, `receiver_key`: what several of them need.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use holdpoint_graph::ids::ConnectorName;
use holdpoint_graph::nodes::Failure;
use holdpoint_graph::operation::OperationKey;
use serde_json::Value;

use crate::attempt::Attempt;
use crate::configuration::section::Section;
use crate::configuration::template::MissingSecret;
use crate::configuration::{Class, ConnectorConfiguration, Place};

mod address;
mod receiver_key;
pub(crate) mod telling;
mod tls;

pub mod file;
pub mod http;
pub mod smtp;
pub mod sql;
pub mod webhook;

pub use telling::Telling;

/// The kinds that a configuration can name.
pub(crate) const KINDS: &[&Kind] = &[&file::KIND, &http::KIND, &smtp::KIND, &sql::KIND, &webhook::KIND];

/// A kind of connector, as configurations know it.
pub(crate) struct Kind {
    /// Its name.
    pub(crate) name: &'static str,
    /// The class when none is configured.
    pub(crate) class_default: Class,
    /// All classes that it can have; the window of an idempotent one is the operator's.
    pub(crate) classes: &'static [Class],
    /// Reads its own keys; gives none only after noting why.
    pub(crate) read: fn(&mut Section<'_, '_, '_>) -> Option<Arc<dyn Settings>>,
}

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

    /// Asks the receiver what became of the operation, without changing anything there. Bounded like [`Self::send`]. A connector of class
    /// `reconcilable` answers; others leave it at this.
    async fn look_up(&self, _outgoing: Outgoing) -> LookUp {
        LookUp::Unknown("the connector has no lookup".to_owned())
    }

    /// A read-only dry run, for the person who is to approve the request: what it would do, or why that cannot be said. None where the connector
    /// has no preview. Bounded like [`Self::send`].
    async fn preview(&self, _outgoing: Outgoing) -> Option<Result<Value, String>> {
        None
    }
}

/// What a receiver says became of an operation.
#[derive(Debug, Clone, PartialEq)]
pub enum LookUp {
    /// It was executed, with this answer.
    Happened(Value),
    /// It was executed and failed for good.
    Failed(Failure),
    /// It is not there. Whether it may still arrive is not the receiver's to know.
    NotThere,
    /// The receiver could not be asked, or what it said cannot be read.
    Unknown(String),
}

/// A kind of connector's own settings, as read from the configuration.
pub trait Settings: std::fmt::Debug + Send + Sync {
    /// Makes the connector: fills its secrets in and checks its values. Sends nothing.
    ///
    /// # Errors
    /// What is missing or does not fit.
    fn build(&self, name: &ConnectorName, common: &ConnectorConfiguration) -> Result<Arc<dyn Connector>, Unusable>;

    /// How the connector tells about questions; none when it cannot.
    fn telling(&self) -> Option<&Telling> {
        None
    }
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
    configuration.settings.build(name, configuration)
}
