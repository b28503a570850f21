//! A node as its component shows it: a description and an execution.

use std::rc::Rc;

use serde::de::DeserializeOwned;

use crate::command::Command;
use crate::cx::Cx;
use crate::error::Result;
use crate::host::{Host, InputText};
use crate::json;

/// What `#[node]` implements for a type with the function's name.
///
/// ```
/// use holdpoint_node::{Node, prelude::*};
///
/// /// Greets.
/// #[node(name = "greet", version = "1.2.0")]
/// fn greet(_state: Value, _cx: Cx) -> Result<Command> {
///     Ok(Command::update(json!({ "greeting": "hello" })))
/// }
///
/// assert_eq!(greet::describe().name, "greet");
/// assert_eq!(greet::describe().summary, "Greets.");
/// ```
pub trait Node {
    /// What the node is and needs.
    fn describe() -> Description;

    /// Executes the node once.
    ///
    /// # Errors
    /// The author's failure, or `invalid-state` when the state does not fit the function's first parameter.
    fn execute(host: Rc<dyn Host>, input: InputText) -> Result<Command>;
}

/// What a node is and needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// The package's name unless the attribute says otherwise.
    pub name: &'static str,
    /// The package's version unless the attribute says otherwise.
    pub version: &'static str,
    /// The first paragraph of the function's documentation, or the package's description, unless the attribute says otherwise.
    pub summary: &'static str,
    /// JSON Schema of the state that it reads.
    pub state_schema: Option<&'static str>,
    /// JSON Schema of the update that it writes.
    pub update_schema: Option<&'static str>,
    /// JSON Schema of its `with` table.
    pub config_schema: Option<&'static str>,
    /// The connectors that it may call.
    pub connectors: &'static [&'static str],
}

/// Runs `function` on `input`: reads the state, calls it, checks what it returned.
///
/// # Errors
/// As [`Node::execute`].
pub fn execute<S, F>(function: F, host: Rc<dyn Host>, input: InputText) -> Result<Command>
where
    S: DeserializeOwned,
    F: FnOnce(S, Cx) -> Result<Command>,
{
    let state = json::from_text(&input.state, json::STATE)?;
    function(state, Cx::new(host, input))?.checked()
}
