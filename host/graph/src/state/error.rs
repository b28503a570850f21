//! What can be wrong with a write or a condition.

use super::SchemaViolation;

/// Why a superstep's writes were refused, or where its edges could not be followed. Nothing was changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StateError {
    /// A write names a channel that the graph does not declare.
    #[error("{writer} writes the unknown channel `{channel}`")]
    UnknownChannel {
        /// The channel as the writer named it, cut to a printable length.
        channel: String,
        /// Who wrote it.
        writer: String,
        /// The declared channel with the most similar name.
        similar: Option<String>,
    },
    /// A write to a channel whose value the engine computes.
    #[error("{writer} writes the managed channel `{channel}`")]
    ManagedChannel {
        /// The channel.
        channel: String,
        /// Who wrote it.
        writer: String,
    },
    /// A channel's value after the writes breaks its schema.
    #[error("channel `{channel}` breaks its schema after the write of {}: {}", list(.writers), list(.violations))]
    SchemaViolation {
        /// The channel.
        channel: String,
        /// Whose writes made the value.
        writers: Vec<String>,
        /// All that is wrong with the value.
        violations: Vec<SchemaViolation>,
    },
    /// Several writes in one step to a channel that takes one.
    #[error("channel `{channel}` takes one write in a step and got {}: from {}", .writers.len(), list(.writers))]
    ConcurrentWrites {
        /// The channel.
        channel: String,
        /// All writers, in order.
        writers: Vec<String>,
    },
    /// The channel's reducer cannot combine this value.
    #[error("reducer `{reducer}` of channel `{channel}` cannot take the write of {writer}: {message}")]
    ReducerType {
        /// The channel.
        channel: String,
        /// Who wrote it.
        writer: String,
        /// The reducer's name.
        reducer: &'static str,
        /// What does not fit.
        message: String,
    },
    /// Several overwrites of one channel in one step.
    #[error("channel `{channel}` is overwritten more than once in a step: by {}", list(.writers))]
    OverwrittenTwice {
        /// The channel.
        channel: String,
        /// Who overwrites it, in order.
        writers: Vec<String>,
    },
    /// A condition has no answer: its evaluation failed or its result is not true or false.
    #[error("condition `{condition}` failed: {message}")]
    ConditionFailed {
        /// The condition's text.
        condition: String,
        /// What happened.
        message: String,
    },
    /// No branch of a conditional edge holds.
    #[error("no branch holds: {}", list_quoted(.conditions))]
    NoBranch {
        /// The conditions, in order; all are false.
        conditions: Vec<String>,
    },
    /// Different values in one step for an `any` channel.
    #[error("channel `{channel}` got different values in a step: from {}", list(.writers))]
    UnequalWrites {
        /// The channel.
        channel: String,
        /// All writers, in order.
        writers: Vec<String>,
    },
    /// Several errors at once: never fewer than two, none of them this variant.
    #[error("{}", list(.0))]
    Several(Vec<StateError>),
}

impl StateError {
    /// Stable code, `HP03…`. Of several errors, that of the first.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownChannel { .. } => "HP0301",
            Self::SchemaViolation { .. } => "HP0302",
            Self::ConcurrentWrites { .. } => "HP0303",
            Self::ReducerType { .. } => "HP0304",
            Self::OverwrittenTwice { .. } => "HP0305",
            Self::ConditionFailed { .. } => "HP0306",
            Self::NoBranch { .. } => "HP0307",
            Self::UnequalWrites { .. } => "HP0308",
            Self::ManagedChannel { .. } => "HP0309",
            Self::Several(errors) => errors.first().map_or("HP0300", Self::code),
        }
    }

    /// What to do about it.
    pub fn cure(&self) -> String {
        match self {
            Self::UnknownChannel { similar: Some(similar), .. } => format!("did you mean `{similar}`?"),
            Self::UnknownChannel { channel, .. } => format!("declare `{channel}` under [state], or do not write it"),
            Self::ManagedChannel { channel, .. } => {
                format!("do not write `{channel}`: the engine computes its value for each task")
            }
            Self::SchemaViolation { channel, .. } => {
                format!("write a value that fits the schema of `{channel}` under [state]")
            }
            Self::ConcurrentWrites { channel, .. } => {
                format!("give `{channel}` a reducer such as \"append\", or let one of the nodes write another channel")
            }
            Self::ReducerType { reducer, .. } => match *reducer {
                "add" => "write a number that keeps the sum exact".to_owned(),
                "merge" => "write an object".to_owned(),
                "max" | "min" => "write only numbers, or only strings".to_owned(),
                _ => "write a value that the reducer takes, or replace the channel with {\"__overwrite__\": …}"
                    .to_owned(),
            },
            Self::OverwrittenTwice { .. } => "let one node overwrite the channel in a step".to_owned(),
            Self::ConditionFailed { .. } => {
                "make the condition true or false for every state, for example `state.x != null && state.x > 3`"
                    .to_owned()
            }
            Self::NoBranch { .. } => "add a last branch without `when`".to_owned(),
            Self::UnequalWrites { .. } => {
                "let parallel nodes write the same value, or choose another reducer".to_owned()
            }
            Self::Several(errors) => {
                let mut cures: Vec<String> = errors.iter().map(Self::cure).collect();
                cures.dedup();
                cures.join("; ")
            }
        }
    }
}

fn list(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn list_quoted(items: &[String]) -> String {
    items.iter().map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", ")
}
