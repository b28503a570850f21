//! A request for a run, as clients send it, and what can be said of it by itself.

use holdpoint_graph::ids::CheckpointId;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::caller::Role;
use crate::problem::Problem;

/// A request for a run, as clients send it. Members that mean nothing here (`durability`,
/// `feedback_keys`, …) are passed over, and so is `strict_resume`: resuming always is strict.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
pub(crate) struct CreateRun {
    /// The id of an assistant, or the name of a graph.
    pub(crate) assistant_id: String,
    /// An object of channels; null lets the thread go on.
    pub(crate) input: Option<Value>,
    /// Prevails over `input`.
    pub(crate) command: Option<Command>,
    /// The checkpoint to begin from: an object with `checkpoint_id`.
    #[schema(value_type = Option<Object>)]
    pub(crate) checkpoint: Option<Map<String, Value>>,
    /// The same, by its id alone.
    pub(crate) checkpoint_id: Option<String>,
    /// `configurable`, `tags`, …
    #[schema(value_type = Option<Object>)]
    pub(crate) config: Option<Map<String, Value>>,
    /// Kept with the run, nothing more.
    pub(crate) context: Option<Value>,
    /// Kept with the run and its checkpoints.
    #[schema(value_type = Option<Object>)]
    pub(crate) metadata: Option<Map<String, Value>>,
    /// Nodes to pause before; `*` is all.
    #[schema(value_type = Option<Object>)]
    pub(crate) interrupt_before: Option<Texts>,
    /// Nodes to pause after; `*` is all.
    #[schema(value_type = Option<Object>)]
    pub(crate) interrupt_after: Option<Texts>,
    /// What the run's streams tell: one mode or several.
    #[schema(value_type = Option<Object>)]
    pub(crate) stream_mode: Option<Texts>,
    /// Whether they tell of subgraphs too.
    pub(crate) stream_subgraphs: Option<bool>,
    /// Whether they can be taken up again. Ours all can.
    pub(crate) stream_resumable: Option<bool>,
    /// Who is told when the run has ended.
    pub(crate) webhook: Option<String>,
    /// `enqueue` (default), `reject`, `interrupt` or `rollback`.
    pub(crate) multitask_strategy: Option<String>,
    /// `reject` (default) or `create`.
    pub(crate) if_not_exists: Option<String>,
    /// `continue` (default) or `cancel`.
    pub(crate) on_disconnect: Option<String>,
    /// Of a run without a thread: `delete` (default) or `keep`.
    pub(crate) on_completion: Option<String>,
    /// Seconds that the run waits before it may begin.
    pub(crate) after_seconds: Option<f64>,
    /// What becomes of the effects of a branch that the run makes: `live` (default), `recorded` or `ask`. Ours.
    pub(crate) effects: Option<String>,
}

/// LangGraph's `Command`.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
pub(crate) struct Command {
    /// An answer for the one question that waits, or a map from question id to answer.
    #[serde(default, deserialize_with = "present")]
    pub(crate) resume: Option<Value>,
    /// Channels to write.
    pub(crate) update: Option<Value>,
    /// Where to go.
    pub(crate) goto: Option<Value>,
}

/// Null is not the same as nothing: it is no answer, and has to be refused.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// One text or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Texts {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl Texts {
    pub(super) fn list(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Several(texts) => texts,
        }
    }
}

/// Whether a run is cancelled when its caller goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnDisconnect {
    /// It is.
    Cancel,
    /// It goes on.
    Continue,
}

/// Whoever may answer may resume; everything else is an operator's.
pub(crate) fn needed_role(asked: &CreateRun) -> Role {
    let strategy = asked.multitask_strategy.as_deref().unwrap_or("enqueue");
    let plain = asked.checkpoint.is_none()
        && asked.checkpoint_id.is_none()
        && asked.interrupt_before.is_none()
        && asked.interrupt_after.is_none()
        && asked.webhook.is_none()
        && asked.if_not_exists.as_deref() != Some("create")
        && matches!(strategy, "enqueue" | "reject");
    match &asked.command {
        Some(Command { resume: Some(_), update: None, goto: None }) if plain => Role::Approver,
        _ => Role::Operator,
    }
}

/// The checkpoint that it begins from.
pub(super) fn checkpoint_of(asked: &CreateRun) -> Result<Option<String>, Problem> {
    let configurable = asked.config.as_ref().and_then(|config| config.get("configurable"));
    let named = asked.checkpoint.as_ref().and_then(|checkpoint| checkpoint.get("checkpoint_id"));
    let named = named.or_else(|| configurable.and_then(|configurable| configurable.get("checkpoint_id")));
    let text = match named.filter(|id| !id.is_null()) {
        Some(Value::String(id)) => Some(id.clone()),
        Some(_) => return Err(refused("`checkpoint_id`: expected a text".to_owned())),
        None => asked.checkpoint_id.clone(),
    };
    match text {
        Some(id) => match CheckpointId::parse(id) {
            Ok(id) => Ok(Some(id.to_string())),
            Err(error) => Err(refused(format!("`checkpoint_id`: {error}"))),
        },
        None => Ok(None),
    }
}

/// What is wrong with it.
pub(super) fn refused(detail: String) -> Problem {
    Problem::invalid("HP0830", detail)
}

/// A text that has a meaning.
pub(super) fn named<T: Default>(
    given: Option<&str>,
    member: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, Problem> {
    match given {
        None => Ok(T::default()),
        Some(text) => parse(text).ok_or_else(|| refused(format!("`{member}`: {text:?} is not one of its values"))),
    }
}

/// Which of two texts is given; the first when none is.
pub(super) fn choice(given: Option<&str>, member: &str, values: [&str; 2]) -> Result<usize, Problem> {
    match given {
        None => Ok(0),
        Some(text) => values
            .iter()
            .position(|value| *value == text)
            .ok_or_else(|| refused(format!("`{member}`: {text:?} is none of {}", values.join(", ")))),
    }
}
