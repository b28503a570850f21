//! What a node returns.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// What a node returns: the channels it writes and, optionally, where the graph goes next.
///
/// ```
/// use holdpoint_node::{Command, json};
///
/// let command = Command::update(json!({ "status": "split" }))
///     .send("ship", json!({ "parcel": 1 }))
///     .send("ship", json!({ "parcel": 2 }));
/// assert_eq!(command.goto.len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Command {
    /// Object: channel name to value. Null writes nothing.
    pub update: Value,
    /// Where the graph goes, besides the node's own edges.
    pub goto: Vec<Destination>,
}

/// One place where the graph goes next.
#[derive(Debug, Clone, PartialEq)]
pub enum Destination {
    /// A node of this graph.
    Node(String),
    /// A task of its own, with its own argument.
    Send(Send),
    /// A node of the closest parent graph.
    Parent(String),
    /// Nowhere: this branch ends.
    End,
}

/// Starts one task of `node` with `argument`, besides those that edges start.
#[derive(Debug, Clone, PartialEq)]
pub struct Send {
    /// The node of the task.
    pub node: String,
    /// What [`Cx::argument`](crate::Cx::argument) returns there.
    pub argument: Value,
}

impl Command {
    /// Writes the channels of `update`, which must be an object: anything else is the failure `invalid-update`.
    pub fn update(update: Value) -> Self {
        Self { update, goto: Vec::new() }
    }

    /// As [`Command::update`], from a typed value: its fields are the channels.
    ///
    /// # Errors
    /// `invalid-update` when `update` has no JSON form.
    pub fn update_from(update: &impl Serialize) -> Result<Self> {
        match serde_json::to_value(update) {
            Ok(update) => Ok(Self::update(update)),
            Err(error) => Err(Error::new("invalid-update", format!("the update has no JSON form: {error}"))),
        }
    }

    /// Writes nothing and goes where the node's edges go.
    pub fn none() -> Self {
        Self::default()
    }

    /// Also goes to `node` of this graph.
    #[must_use]
    pub fn goto(self, node: impl Into<String>) -> Self {
        self.to(Destination::Node(node.into()))
    }

    /// Also starts a task of `node` with `argument`.
    #[must_use]
    pub fn send(self, node: impl Into<String>, argument: Value) -> Self {
        self.to(Destination::Send(Send { node: node.into(), argument }))
    }

    /// Leaves this subgraph for `node` of the parent graph.
    #[must_use]
    pub fn goto_parent(self, node: impl Into<String>) -> Self {
        self.to(Destination::Parent(node.into()))
    }

    /// Ends this branch.
    #[must_use]
    pub fn goto_end(self) -> Self {
        self.to(Destination::End)
    }

    /// Also goes to `destination`.
    #[must_use]
    pub fn to(mut self, destination: Destination) -> Self {
        self.goto.push(destination);
        self
    }

    /// The command with its update as the contract wants it: an object.
    pub(crate) fn checked(mut self) -> Result<Self> {
        match self.update {
            Value::Object(_) => Ok(self),
            Value::Null => {
                self.update = Value::Object(Map::new());
                Ok(self)
            }
            other => {
                Err(Error::new("invalid-update", format!("the update must be an object of channels, not `{other}`")))
            }
        }
    }
}
