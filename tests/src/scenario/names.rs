//! How steps name checkpoints and questions.
//!
//! Checkpoints: `head`; `@NAME`, marked by an earlier step; `history N`, counted from the newest, 0; `before NODE`, the newest from which the
//! node runs; `first before NODE`, the oldest; `in NODE`, the newest of a subgraph's run; `missing`, one that is not there.
//!
//! Questions: `@NAME`, saved by an earlier step; `missing`, one that nobody asked; a node's name, when that node alone asks; what is asked, when
//! that is a text.

use std::collections::BTreeMap;

use holdpoint_engine::{Answers, Engine, HistoryEntry, Interrupt};
use holdpoint_graph::ids::{CheckpointId, QuestionId, ThreadId};
use serde_json::{Map, Value};

/// An id that no question has.
const NO_QUESTION: &str = "00000000000000000000000000000000";

/// What earlier steps named.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Checkpoints.
    pub checkpoints: BTreeMap<String, CheckpointId>,
    /// Questions.
    pub questions: BTreeMap<String, String>,
}

impl Names {
    /// The checkpoint that a text names.
    ///
    /// # Errors
    /// There is none.
    pub async fn checkpoint(&self, engine: &Engine, thread: &ThreadId, name: &str) -> Result<CheckpointId, String> {
        if name == "missing" {
            return Ok(CheckpointId::from_entropy(1, 0, 1));
        }
        if let Some(mark) = name.strip_prefix('@') {
            return self.checkpoints.get(mark).cloned().ok_or_else(|| format!("no step marked {mark}"));
        }
        if let Some(node) = name.strip_prefix("in ") {
            let outline = engine.outline(thread).await.map_err(|error| error.to_string())?;
            let inside = |first: &str| first == node || first.split_once(':').is_some_and(|(name, _)| name == node);
            let mut newest = outline.into_iter().rev().map(|outline| outline.checkpoint);
            let found = newest.find(|record| record.namespace.parts().next().is_some_and(inside));
            return found.map(|record| record.id).ok_or_else(|| format!("no checkpoint is in {node}"));
        }
        let history = engine.history(thread, None, usize::MAX >> 1).await.map_err(|error| error.to_string())?;
        let runs = |node: &str, entry: &HistoryEntry| entry.next.iter().any(|next| next == node);
        let found = match name.split_once(' ') {
            None if name == "head" => {
                return Ok(engine.view(thread).await.map_err(|error| error.to_string())?.checkpoint);
            }
            Some(("history", index)) => index.parse().ok().and_then(|index: usize| history.get(index)),
            Some(("before", node)) => history.iter().find(|entry| runs(node, entry)),
            Some(("first", rest)) => {
                let node = rest.strip_prefix("before ").unwrap_or(rest);
                history.iter().rev().find(|entry| runs(node, entry))
            }
            _ => None,
        };
        found.map(|entry| entry.checkpoint.clone()).ok_or_else(|| format!("no checkpoint is {name:?}"))
    }

    /// The id of the question that a text names.
    ///
    /// # Errors
    /// There is none, or several.
    pub fn question(&self, pending: &[Interrupt], name: &str) -> Result<String, String> {
        if name == "missing" {
            return Ok(NO_QUESTION.to_owned());
        }
        if let Some(saved) = name.strip_prefix('@') {
            return self.questions.get(saved).cloned().ok_or_else(|| format!("no step saved {saved}"));
        }
        let asked = |interrupt: &&Interrupt| interrupt.value.as_str() == Some(name);
        let by_node = |interrupt: &&Interrupt| interrupt.node.as_str() == name;
        let mut found: Vec<&Interrupt> = pending.iter().filter(asked).collect();
        if found.is_empty() {
            found = pending.iter().filter(by_node).collect();
        }
        match found.as_slice() {
            [one] => Ok(one.id.clone()),
            several => Err(format!("{} questions are {name:?}", several.len())),
        }
    }

    /// Answers by question.
    ///
    /// # Errors
    /// A question that is not there.
    pub fn answers(&self, pending: &[Interrupt], answers: &Map<String, Value>) -> Result<Answers, String> {
        let answers = answers.iter().map(|(name, value)| {
            let id = QuestionId::parse(self.question(pending, name)?).map_err(|error| error.to_string())?;
            Ok((id, value.clone()))
        });
        Ok(Answers::ById(answers.collect::<Result<_, String>>()?))
    }
}
