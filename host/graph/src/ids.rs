//! Identifiers. Each is its own type, so that one cannot stand where another is meant.
//!
//! Ids that the engine derives (tasks, questions, checkpoints of supersteps) are functions of what is durable: a crashed superstep that runs
//! again gives the same ids, so an operation or a question is recognised instead of repeated.

use std::fmt;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;

/// A text that is not a valid identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {text:?} is not valid: {reason}")]
pub struct InvalidId {
    /// What was expected, such as `thread id`.
    pub kind: &'static str,
    /// The text as given, cut to a printable length.
    pub text: String,
    /// The rule that it breaks.
    pub reason: &'static str,
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Checks the text's form.
            ///
            /// # Errors
            /// [`InvalidId`] names the rule that the text breaks.
            pub fn parse(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                match $check(&text) {
                    Ok(()) => Ok(Self(text)),
                    Err(reason) => Err(InvalidId { kind: $kind, text: text.chars().take(80).collect(), reason }),
                }
            }

            /// The text form.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }
    };
}

id_type!(
    /// A conversation with a graph: its checkpoints, questions and operations. Chosen by the caller.
    ThreadId, "thread id", check_text
);
id_type!(
    /// One durable state of a thread: a UUID whose text sorts by the thread's time.
    CheckpointId, "checkpoint id", check_uuid
);
id_type!(
    /// One node's execution in one superstep: a UUID derived from checkpoint, node and position.
    TaskId, "task id", check_uuid
);
id_type!(
    /// One question to a person: 32 lower-case hex digits (LangGraph's form), bound to what was asked.
    QuestionId, "question id", check_question
);
id_type!(
    /// The name of a side effect within its scope, chosen by the node's author or derived from task and call order.
    OperationId, "operation id", check_text
);
id_type!(
    /// A node's name in its graph.
    NodeName, "node name", check_name
);
id_type!(
    /// A channel's name in its graph's state.
    ChannelName, "channel name", check_name
);
id_type!(
    /// A connector's name in the configuration and in grants.
    ConnectorName, "connector name", check_name
);
id_type!(
    /// A graph's name.
    GraphName, "graph name", check_name
);
id_type!(
    /// One request to a thread that is executed in its turn: a UUID.
    RunId, "run id", check_uuid
);
id_type!(
    /// Whose threads, questions and keys are kept apart from everybody else's.
    Tenant, "tenant", check_name
);

impl Default for Tenant {
    /// The tenant of a host that has one only.
    fn default() -> Self {
        Self("default".to_owned())
    }
}

/// Generation of a thread's writer. Every write of a run carries it; a write with an older one changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The next generation, taken by whoever claims the thread.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl CheckpointId {
    /// The id of a checkpoint that something from outside caused (input, update, fork): `entropy` makes it unique.
    pub fn from_entropy(clock_ms: u64, step: i64, entropy: u64) -> Self {
        Self(uuid_text(checkpoint_bytes(clock_ms, step, entropy)))
    }

    /// The id of the first checkpoint of a subgraph's run: a function of the task that runs it.
    pub fn of_task(task: &TaskId, clock_ms: u64) -> Self {
        let hash = hash_parts(&[b"subgraph", task.as_str().as_bytes()]);
        let entropy = u64::from_be_bytes(hash[..8].try_into().expect("a SHA-256 has 32 bytes"));
        Self(uuid_text(checkpoint_bytes(clock_ms, -1, entropy)))
    }

    /// What unnamed operations of the step after `self` derive from (see [`crate::nodes::TaskIdentity::operations`]), given as `self` what those
    /// of the step before derived from.
    pub fn next_anchor(&self) -> Self {
        let hash = hash_parts(&[b"anchor", self.as_str().as_bytes()]);
        Self(uuid_text(hash[..16].try_into().expect("a SHA-256 has 32 bytes")))
    }

    /// The id of the checkpoint that completes a superstep on `parent`: the same however often the superstep is executed.
    pub fn derive(thread: &ThreadId, parent: &CheckpointId, clock_ms: u64, step: i64) -> Self {
        let hash =
            hash_parts(&[b"checkpoint", thread.as_str().as_bytes(), parent.as_str().as_bytes(), &step.to_be_bytes()]);
        let entropy = u64::from_be_bytes(hash[..8].try_into().expect("a SHA-256 has 32 bytes"));
        Self(uuid_text(checkpoint_bytes(clock_ms, step, entropy)))
    }
}

impl TaskId {
    /// Derives the id from the checkpoint that the superstep starts from, the node and the task's position in the step.
    pub fn derive(thread: &ThreadId, checkpoint: &CheckpointId, path: &str) -> Self {
        let hash = hash_parts(&[b"task", thread.as_str().as_bytes(), checkpoint.as_str().as_bytes(), path.as_bytes()]);
        let mut bytes: [u8; 16] = hash[..16].try_into().expect("a SHA-256 has 32 bytes");
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(uuid_text(bytes))
    }
}

impl QuestionId {
    /// Derives the id from where and what is asked: another payload is another question (`approved-is-executed`).
    pub fn derive(
        thread: &ThreadId,
        checkpoint: &CheckpointId,
        task: &TaskId,
        occurrence: u32,
        payload: &Digest,
    ) -> Self {
        let hash = hash_parts(&[
            b"question",
            thread.as_str().as_bytes(),
            checkpoint.as_str().as_bytes(),
            task.as_str().as_bytes(),
            &occurrence.to_be_bytes(),
            payload.as_str().as_bytes(),
        ]);
        Self(crate::digest::hex(&hash[..16]))
    }
}

impl OperationId {
    /// The id of an effect that its author did not name: where it is asked for, what is asked for, and which of the execution's equal requests
    /// it is, from 0. `task` is [`crate::nodes::TaskIdentity::operations`], so a replay of the task gives the same ids for the same requests.
    pub fn derive(task: &TaskId, request: &Digest, occurrence: u32) -> Self {
        let hash = hash_parts(&[b"operation", task.as_str().as_bytes(), request.as_str().as_bytes()]);
        Self(format!("task:{task}:{}:{occurrence}", crate::digest::hex(&hash[..8])))
    }
}

/// Which graph of a thread a checkpoint belongs to: empty for the thread's own, `NODE:TASK` for a subgraph that a task runs, `NODE` for one that
/// is kept per thread, and these joined by `|` where subgraphs nest (LangGraph's `checkpoint_ns`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Namespace(String);

impl Namespace {
    /// The thread's own graph.
    pub fn root() -> Self {
        Self::default()
    }

    /// That of a subgraph of this one; `task` is none for a subgraph that is kept per thread.
    pub fn child(&self, node: &NodeName, task: Option<&TaskId>) -> Self {
        let separator = if self.0.is_empty() { "" } else { "|" };
        match task {
            Some(task) => Self(format!("{}{separator}{node}:{task}", self.0)),
            None => Self(format!("{}{separator}{node}", self.0)),
        }
    }

    /// Checks a text's form.
    ///
    /// # Errors
    /// [`InvalidId`] names the rule that the text breaks.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidId> {
        let text = text.into();
        let sound = |part: &str| match part.split_once(':') {
            Some((node, task)) => check_name(node).is_ok() && check_uuid(task).is_ok(),
            None => check_name(part).is_ok(),
        };
        if text.is_empty() || text.split('|').all(sound) {
            Ok(Self(text))
        } else {
            Err(InvalidId {
                kind: "namespace",
                text: text.chars().take(80).collect(),
                reason: "expected NODE:TASK or NODE, joined by `|`",
            })
        }
    }

    /// Whether it is the thread's own graph.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Its parts, outermost first.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('|').filter(|part| !part.is_empty())
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Hashes parts so that no two lists of parts run together.
fn hash_parts(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// Milliseconds, then the step, then entropy: texts of one thread sort by time and step. Version 8: a UUID of our own layout.
fn checkpoint_bytes(clock_ms: u64, step: i64, entropy: u64) -> [u8; 16] {
    // Steps begin at -1; 32 bits of them outlast any thread.
    let step = u32::try_from(step.saturating_add(1).max(0)).unwrap_or(u32::MAX);
    let high = (u128::from(clock_ms & 0xffff_ffff_ffff) << 80) | (0x8 << 76) | (u128::from(step >> 20) << 64);
    let low = (0b10 << 62) | (u64::from(step & 0xf_ffff) << 42) | (entropy & 0x3ff_ffff_ffff);
    (high | u128::from(low)).to_be_bytes()
}

fn uuid_text(bytes: [u8; 16]) -> String {
    // By hand: each task of a fan-out derives a few.
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 0xf)]));
    }
    text
}

fn check_text(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        Err("it is empty")
    } else if text.len() > 255 {
        Err("it is longer than 255 bytes")
    } else if text.chars().any(char::is_control) {
        Err("it contains control characters")
    } else {
        Ok(())
    }
}

fn check_name(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        Err("it is empty")
    } else if text.len() > 64 {
        Err("it is longer than 64 bytes")
    } else if text == "START" || text == "END" || text.starts_with("__") {
        Err("START, END and names that begin with two underscores are reserved")
    } else if !text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
        Err("use letters, digits, `_` and `-` only")
    } else {
        Ok(())
    }
}

fn check_uuid(text: &str) -> Result<(), &'static str> {
    let well_formed = text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        });
    if well_formed { Ok(()) } else { Err("expected a lower-case UUID") }
}

fn check_question(text: &str) -> Result<(), &'static str> {
    if is_question_form(text) { Ok(()) } else { Err("expected 32 lower-case hex digits") }
}

fn is_question_form(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a JSON value is a map of answers by question id: an object whose every key has a question id's form (LangGraph's rule), and not empty.
pub fn is_answer_map(value: &Value) -> bool {
    value.as_object().is_some_and(|object| !object.is_empty() && object.keys().all(|key| is_question_form(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread() -> ThreadId {
        ThreadId::parse("t1").expect("valid")
    }

    #[test]
    fn derived_ids_repeat_and_differ_by_each_part() {
        let root = CheckpointId::from_entropy(1_700_000_000_000, -1, 7);
        let child = CheckpointId::derive(&thread(), &root, 1_700_000_000_000, 0);
        assert_eq!(child, CheckpointId::derive(&thread(), &root, 1_700_000_000_000, 0));
        assert_ne!(child, CheckpointId::derive(&ThreadId::parse("t2").expect("valid"), &root, 1_700_000_000_000, 0));
        let task = TaskId::derive(&thread(), &child, "pull:a");
        assert_ne!(task, TaskId::derive(&thread(), &child, "pull:b"));
        let yes = Digest::of_json(&serde_json::json!({"pay": 1}));
        let no = Digest::of_json(&serde_json::json!({"pay": 2}));
        assert_ne!(
            QuestionId::derive(&thread(), &child, &task, 0, &yes),
            QuestionId::derive(&thread(), &child, &task, 0, &no),
            "another payload is another question"
        );
        assert_ne!(
            QuestionId::derive(&thread(), &child, &task, 0, &yes),
            QuestionId::derive(&thread(), &child, &task, 1, &yes)
        );
    }

    #[test]
    fn checkpoint_ids_sort_by_time_and_step() {
        let mut previous = CheckpointId::from_entropy(1_700_000_000_000, -1, u64::MAX);
        for step in 0..3000 {
            let next = CheckpointId::derive(&thread(), &previous, 1_700_000_000_000, step);
            assert!(next > previous, "step {step}: {next} after {previous}");
            CheckpointId::parse(next.as_str()).expect("its own text parses");
            previous = next;
        }
        assert!(CheckpointId::from_entropy(1_700_000_000_001, -1, 0) > previous);
        assert!(CheckpointId::from_entropy(1_700_000_000_000, 1 << 21, 0) > previous);
    }

    #[test]
    fn texts_are_checked() {
        for bad in ["", "a\nb", &"x".repeat(256)] {
            assert!(ThreadId::parse(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "END", "__start__", "a b", "ä", "a.b"] {
            assert!(NodeName::parse(bad).is_err(), "{bad:?}");
        }
        assert!(QuestionId::parse("0123456789abcdef0123456789abcdef").is_ok());
        assert!(QuestionId::parse("0123456789ABCDEF0123456789abcdef").is_err());
        assert!(TaskId::parse("0123456789abcdef0123456789abcdef").is_err());
        assert!(is_answer_map(&serde_json::json!({"0123456789abcdef0123456789abcdef": true})));
        assert!(!is_answer_map(&serde_json::json!({})));
        assert!(!is_answer_map(&serde_json::json!({"approved": true})));
    }

    #[test]
    fn namespaces_nest() {
        let node = |name: &str| NodeName::parse(name).expect("valid");
        let task = TaskId::derive(&thread(), &CheckpointId::from_entropy(1, -1, 7), "pull:a");
        let root = Namespace::root();
        assert!(root.is_root() && root.parts().next().is_none());
        let outer = root.child(&node("outer"), Some(&task));
        assert_eq!(outer.as_str(), format!("outer:{task}"));
        let inner = outer.child(&node("kept"), None);
        assert_eq!(inner.as_str(), format!("outer:{task}|kept"));
        let innermost = inner.child(&node("last"), Some(&task));
        assert_eq!(innermost.to_string(), format!("outer:{task}|kept|last:{task}"));
        assert_eq!(
            innermost.parts().collect::<Vec<_>>(),
            [format!("outer:{task}"), "kept".to_owned(), format!("last:{task}")]
        );
        for namespace in [root, outer, inner, innermost] {
            assert_eq!(Namespace::parse(namespace.as_str()), Ok(namespace));
        }
    }

    #[test]
    fn namespaces_are_checked() {
        let task = TaskId::derive(&thread(), &CheckpointId::from_entropy(1, -1, 7), "pull:a");
        for bad in [
            "|",
            "a|",
            "|a",
            "a||b",
            "a:",
            "a:b",
            ":",
            "a b",
            "END",
            &format!(":{task}"),
            &format!("a:{task}:{task}"),
            &format!("a:{}", task.as_str().to_uppercase()),
            &"a".repeat(65),
        ] {
            assert!(Namespace::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn unnamed_operations_differ_by_request_and_occurrence() {
        let task = |position: &str| TaskId::derive(&thread(), &CheckpointId::from_entropy(1, -1, 7), position);
        let request = |amount: u64| Digest::of_json(&serde_json::json!({ "pay": amount }));
        let first = OperationId::derive(&task("a"), &request(1), 0);
        assert_eq!(first, OperationId::derive(&task("a"), &request(1), 0), "a replay finds its record");
        assert_ne!(first, OperationId::derive(&task("a"), &request(1), 1), "the same request again");
        assert_ne!(first, OperationId::derive(&task("a"), &request(2), 0), "another request");
        assert_ne!(first, OperationId::derive(&task("b"), &request(1), 0), "another task");
        assert_eq!(OperationId::parse(first.as_str()), Ok(first));
    }
}
