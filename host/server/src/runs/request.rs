//! What a run asks for, as it was accepted and is stored.
//!
//! Everything that could be read in two ways is decided at acceptance: an answer names its question, a dismissal is told from a command.

use holdpoint_engine::{Authentication, Breakpoints, Selection};
use holdpoint_graph::nodes::{Destination, EffectMode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// See the module. Stored with the run; members are only ever added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunRequest {
    /// The graph's name.
    pub(crate) graph: String,
    /// The assistant, as clients know the graph.
    pub(crate) assistant: String,
    /// The groups of whoever asked, as they stood at acceptance.
    #[serde(default)]
    pub(crate) groups: Vec<String>,
    /// When whoever asked had signed in, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) authenticated_at_ms: Option<u64>,
    /// How they had signed in, by their provider's name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) acr: Option<String>,
    /// What is to be done.
    pub(crate) act: Act,
    /// The thread's head at acceptance.
    #[serde(default)]
    pub(crate) head: Option<String>,
    /// Nodes to pause before; `*` is all.
    #[serde(default)]
    pub(crate) interrupt_before: Vec<String>,
    /// Nodes to pause after; `*` is all.
    #[serde(default)]
    pub(crate) interrupt_after: Vec<String>,
    /// What becomes of the effects of a branch that the run makes.
    #[serde(default)]
    pub(crate) effects: Option<String>,
    /// What becomes of other runs of the thread.
    #[serde(default)]
    pub(crate) strategy: Strategy,
    /// What its streams tell, by LangGraph's names.
    #[serde(default)]
    pub(crate) stream_modes: Vec<String>,
    /// Whether its streams tell of subgraphs too.
    #[serde(default)]
    pub(crate) stream_subgraphs: bool,
    /// Whether the caller asked for a stream that can be taken up again. Ours all can.
    #[serde(default)]
    pub(crate) stream_resumable: bool,
    /// Whether the run is cancelled when its caller goes away.
    #[serde(default)]
    pub(crate) cancel_on_disconnect: bool,
    /// The thread was made for this run and goes with it, unless it waits for somebody.
    #[serde(default)]
    pub(crate) temporary: bool,
    /// Who is told when the run has ended.
    #[serde(default)]
    pub(crate) webhook: Option<String>,
    /// What was given besides and is only shown: `command`, `config`, `context`.
    #[serde(default)]
    pub(crate) given: Map<String, Value>,
}

/// What a run does with its thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Act {
    /// Gives it input.
    Input {
        /// An object of channels.
        values: Value,
        /// Whether it may take the place of questions that wait.
        supersede: bool,
        /// Branches off there instead of the head.
        #[serde(default)]
        checkpoint: Option<String>,
    },
    /// Lets it go on, or runs it again from a checkpoint.
    Continue {
        /// From there instead of the head.
        #[serde(default)]
        checkpoint: Option<String>,
    },
    /// Answers questions, writes into its state and adds tasks, all at once.
    Command {
        /// By question id.
        #[serde(default)]
        answers: Option<Map<String, Value>>,
        /// Channels.
        #[serde(default)]
        update: Map<String, Value>,
        /// Where to go, as [`destinations`] reads it.
        #[serde(default)]
        goto: Option<Value>,
    },
    /// Ends it where it waits; its questions are not answered.
    Dismiss {
        /// Channels.
        #[serde(default)]
        update: Map<String, Value>,
    },
}

/// What becomes of other runs of a thread when one more is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Strategy {
    /// They come first.
    #[default]
    Enqueue,
    /// The new one is refused.
    Reject,
    /// They are cancelled; what they did stays.
    Interrupt,
    /// They are cancelled, and the thread goes back to where it was before them.
    Rollback,
}

impl Strategy {
    /// All strategies with LangGraph's names.
    pub(crate) const NAMES: [(Self, &'static str); 4] = [
        (Self::Enqueue, "enqueue"),
        (Self::Reject, "reject"),
        (Self::Interrupt, "interrupt"),
        (Self::Rollback, "rollback"),
    ];

    /// The spoken name.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Reads a name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(strategy, _)| *strategy)
    }

    /// Whether it makes room for the new run.
    pub(crate) fn makes_room(self) -> bool {
        matches!(self, Self::Interrupt | Self::Rollback)
    }
}

impl RunRequest {
    /// When and how whoever asked had signed in.
    pub(crate) fn authenticated(&self) -> Option<Authentication> {
        self.authenticated_at_ms.map(|at_ms| Authentication { at_ms, acr: self.acr.clone() })
    }

    /// Reads the stored form; none when a newer version wrote something that this one does not know.
    pub(crate) fn read(stored: &Value) -> Option<Self> {
        Self::deserialize(stored).ok()
    }

    /// The stored form.
    pub(crate) fn write(&self) -> Value {
        serde_json::to_value(self).expect("invariant: texts, numbers and JSON values have a JSON form")
    }

    /// The static breakpoints of the run; none for names that no node can have, which acceptance refuses.
    pub(crate) fn breakpoints(&self) -> Breakpoints {
        let read = |names: &[String]| Selection::parse(names.iter().map(String::as_str)).unwrap_or_default();
        Breakpoints { before: read(&self.interrupt_before), after: read(&self.interrupt_after) }
    }

    /// What becomes of the effects of a branch that the run makes.
    pub(crate) fn effects(&self) -> Option<EffectMode> {
        self.effects.as_deref().and_then(EffectMode::parse)
    }

    /// Whether it answers questions.
    pub(crate) fn answers(&self) -> Option<&Map<String, Value>> {
        match &self.act {
            Act::Command { answers, .. } => answers.as_ref(),
            Act::Input { .. } | Act::Continue { .. } | Act::Dismiss { .. } => None,
        }
    }

    /// LangGraph's `kwargs` of the run.
    pub(crate) fn kwargs(&self) -> Value {
        let input = match &self.act {
            Act::Input { values, .. } => values.clone(),
            Act::Continue { .. } | Act::Command { .. } | Act::Dismiss { .. } => Value::Null,
        };
        let given = |name: &str| self.given.get(name).cloned().unwrap_or(Value::Null);
        json!({
            "input": input,
            "command": given("command"),
            "config": given("config"),
            "context": given("context"),
            "stream_mode": self.stream_modes,
            "interrupt_before": self.interrupt_before,
            "interrupt_after": self.interrupt_after,
            "webhook": self.webhook,
            "feedback_keys": null,
            "temporary": self.temporary,
            "subgraphs": self.stream_subgraphs,
            "resumable": self.stream_resumable,
            "checkpoint_during": true,
            "durability": "sync",
        })
    }
}

/// Reads LangGraph's `goto`: a node's name, `__end__`, `{"node", "input"}`, or a list of these.
pub(crate) fn destinations(goto: &Value) -> Result<Vec<Destination>, String> {
    match goto {
        Value::Null => Ok(Vec::new()),
        Value::Array(several) => several.iter().map(destination).collect(),
        one => Ok(vec![destination(one)?]),
    }
}

fn destination(value: &Value) -> Result<Destination, String> {
    match value {
        Value::String(name) if matches!(name.as_str(), "__end__" | "END") => Ok(Destination::End),
        Value::String(name) => Ok(Destination::Node(name.clone())),
        Value::Object(send) => match send.get("node").and_then(Value::as_str) {
            Some(node) => {
                let argument = send.get("input").or(send.get("arg")).cloned().unwrap_or(Value::Null);
                Ok(Destination::Send { node: node.to_owned(), argument })
            }
            None => Err("goto: a task needs the name of its `node`".to_owned()),
        },
        _ => Err("goto: expected the name of a node, or an object with `node` and `input`".to_owned()),
    }
}

/// Reads LangGraph's `update`: an object of channels, or a list of pairs.
pub(crate) fn channels(update: &Value) -> Result<Map<String, Value>, String> {
    let wrong = || "update: expected an object of channels, or a list of pairs of channel and value".to_owned();
    match update {
        Value::Null => Ok(Map::new()),
        Value::Object(members) => Ok(members.clone()),
        Value::Array(pairs) => pairs
            .iter()
            .map(|pair| match pair.as_array().map(Vec::as_slice) {
                Some([Value::String(name), value]) => Ok((name.clone(), value.clone())),
                _ => Err(wrong()),
            })
            .collect(),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goto_is_read_in_all_forms() {
        let send = Destination::Send { node: "b".into(), argument: json!({ "x": 1 }) };
        for (given, read) in [
            (json!(null), vec![]),
            (json!("a"), vec![Destination::Node("a".into())]),
            (json!("__end__"), vec![Destination::End]),
            (json!({ "node": "b", "input": { "x": 1 } }), vec![send.clone()]),
            (json!(["a", { "node": "b", "input": { "x": 1 } }]), vec![Destination::Node("a".into()), send]),
        ] {
            assert_eq!(destinations(&given), Ok(read), "{given}");
        }
        assert!(destinations(&json!(1)).is_err() && destinations(&json!([{ "input": 1 }])).is_err());
    }

    #[test]
    fn updates_are_objects_or_pairs() {
        let both = Map::from_iter([("a".to_owned(), json!(1))]);
        assert_eq!(channels(&json!({ "a": 1 })), Ok(both.clone()));
        assert_eq!(channels(&json!([["a", 1]])), Ok(both));
        assert_eq!(channels(&json!(null)), Ok(Map::new()));
        assert!(channels(&json!([["a"]])).is_err() && channels(&json!("a")).is_err());
    }

    #[test]
    fn strategies_have_their_names() {
        for (strategy, name) in Strategy::NAMES {
            assert_eq!((strategy.name(), Strategy::parse(name)), (name, Some(strategy)));
            assert_eq!(serde_json::to_value(strategy).expect("JSON"), json!(name));
        }
        assert_eq!(Strategy::parse("drop"), None);
    }

    #[test]
    fn a_request_of_few_members_is_read() {
        let stored = json!({ "graph": "g", "assistant": "a", "act": { "do": "continue" }, "from_tomorrow": 1 });
        let request = RunRequest::read(&stored).expect("the stored form");
        assert_eq!(request.act, Act::Continue { checkpoint: None });
        assert_eq!(RunRequest::read(&request.write()), Some(request));
        assert_eq!(RunRequest::read(&json!({ "graph": "g", "assistant": "a", "act": { "do": "dance" } })), None);
    }
}
