//! The JSON forms in rows: their own types, converted by hand, so that a change of an inner type cannot change what is stored unnoticed.
//!
//! [`FORMAT`] is stored with each row that holds such a form. A form that changes its meaning raises it and keeps the old reader; an optional
//! member, or a form that its shape tells from the old one, may be added without: programs that do not know it refuse the schema.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use holdpoint_graph::ids::{CheckpointId, NodeName, TaskId};
use holdpoint_graph::nodes::{Answer, Command, Destination, Failure as NodeFailure, Verdict};
use holdpoint_graph::operation::{NoteKind, OperationNote};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::failure::{Failure, Result};
use crate::check::DEPTH_MAX;
use crate::records::{Arrivals, CheckpointRecord, ThreadError, Trigger};

/// The version of the forms below.
pub(super) const FORMAT: i64 = 1;

/// Levels that a form may add around a value.
const DEPTH_OF_FORMS: usize = 8;

/// Writes JSON.
pub(super) fn write(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("invariant: names are strings, and writing to a string cannot fail")
}

/// Reads JSON that was stored.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T> {
    if depth(text) > DEPTH_MAX + DEPTH_OF_FORMS {
        return Err(Failure::corrupt("a stored value is nested too deep"));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // The reader's own limit is below what may be stored; the one above bounds the stack in its place.
    deserializer.disable_recursion_limit();
    let value =
        T::deserialize(&mut deserializer).map_err(|error| Failure::corrupt(format!("a stored value: {error}")))?;
    deserializer.end().map_err(|error| Failure::corrupt(format!("a stored value: {error}")))?;
    Ok(value)
}

/// Deepest nesting of brackets outside strings.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Tells a member that is null from one that is absent.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> std::result::Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[derive(Serialize, Deserialize)]
struct ErrorForm<'a> {
    code: Cow<'a, str>,
    message: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    details: Option<Cow<'a, Value>>,
}

pub(super) fn write_error(error: &ThreadError) -> String {
    write(&ErrorForm {
        code: Cow::Borrowed(&error.code),
        message: Cow::Borrowed(&error.message),
        node: error.node.as_ref().map(|node| Cow::Borrowed(node.as_str())),
        details: error.details.as_ref().map(Cow::Borrowed),
    })
}

pub(super) fn read_error(text: &str) -> Result<ThreadError> {
    let form: ErrorForm<'_> = read(text)?;
    Ok(ThreadError {
        code: form.code.into_owned(),
        message: form.message.into_owned(),
        node: form.node.map(|node| NodeName::parse(node.into_owned())).transpose()?,
        details: form.details.map(Cow::into_owned),
    })
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum TriggerForm<'a> {
    Pull(Cow<'a, str>),
    Push { node: Cow<'a, str>, argument: Cow<'a, Value> },
    Start,
}

pub(super) fn write_triggers(triggers: &[Trigger]) -> String {
    let forms: Vec<TriggerForm<'_>> = triggers
        .iter()
        .map(|trigger| match trigger {
            Trigger::Pull(node) => TriggerForm::Pull(Cow::Borrowed(node.as_str())),
            Trigger::Push { node, argument } => {
                TriggerForm::Push { node: Cow::Borrowed(node.as_str()), argument: Cow::Borrowed(argument) }
            }
            Trigger::Start => TriggerForm::Start,
        })
        .collect();
    write(&forms)
}

pub(super) fn read_triggers(text: &str) -> Result<Vec<Trigger>> {
    let forms: Vec<TriggerForm<'_>> = read(text)?;
    forms
        .into_iter()
        .map(|form| {
            Ok(match form {
                TriggerForm::Pull(node) => Trigger::Pull(NodeName::parse(node.into_owned())?),
                TriggerForm::Push { node, argument } => {
                    Trigger::Push { node: NodeName::parse(node.into_owned())?, argument: argument.into_owned() }
                }
                TriggerForm::Start => Trigger::Start,
            })
        })
        .collect()
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ArrivalsForm<'a> {
    Arrivals {
        arrived: BTreeSet<Cow<'a, str>>,
        since_ms: u64,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        started: bool,
    },
    /// As it was before joins could be content with fewer than all.
    Names(BTreeSet<Cow<'a, str>>),
}

/// `None` for none: the column stays null in graphs without joins.
pub(super) fn write_joins(joins: &BTreeMap<NodeName, Arrivals>) -> Option<String> {
    fn form(arrivals: &Arrivals) -> ArrivalsForm<'_> {
        ArrivalsForm::Arrivals {
            arrived: arrivals.arrived.iter().map(|node| Cow::Borrowed(node.as_str())).collect(),
            since_ms: arrivals.since_ms,
            started: arrivals.started,
        }
    }
    let forms: BTreeMap<&str, ArrivalsForm<'_>> =
        joins.iter().map(|(node, arrivals)| (node.as_str(), form(arrivals))).collect();
    (!forms.is_empty()).then(|| write(&forms))
}

/// `clock_ms` is the checkpoint's: where the first arrival's moment was not recorded, it is the nearest to it that is known.
pub(super) fn read_joins(text: &str, clock_ms: u64) -> Result<BTreeMap<NodeName, Arrivals>> {
    let forms: BTreeMap<String, ArrivalsForm<'_>> = read(text)?;
    forms
        .into_iter()
        .map(|(node, form)| {
            let (names, since_ms, started) = match form {
                ArrivalsForm::Arrivals { arrived, since_ms, started } => (arrived, since_ms, started),
                ArrivalsForm::Names(arrived) => (arrived, clock_ms, false),
            };
            Ok((NodeName::parse(node)?, Arrivals { arrived: node_names(names)?, since_ms, started }))
        })
        .collect()
}

fn node_names(names: BTreeSet<Cow<'_, str>>) -> Result<BTreeSet<NodeName>> {
    names.into_iter().map(|node| Ok(NodeName::parse(node.into_owned())?)).collect()
}

/// What most checkpoints lack.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Details {
    pub(super) writers: BTreeSet<NodeName>,
    pub(super) deferred: BTreeSet<NodeName>,
    pub(super) children: BTreeMap<NodeName, CheckpointId>,
    pub(super) kept_operations: BTreeMap<String, TaskId>,
    pub(super) metadata: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct DetailsForm<'a> {
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    writers: BTreeSet<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    deferred: BTreeSet<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    children: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    kept_operations: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    metadata: Cow<'a, Map<String, Value>>,
}

/// `None` where there is nothing of it.
pub(super) fn write_details(record: &CheckpointRecord) -> Option<String> {
    let CheckpointRecord { writers, deferred, children, kept_operations, metadata, .. } = record;
    let no_nodes = writers.is_empty() && deferred.is_empty() && children.is_empty();
    if no_nodes && kept_operations.is_empty() && metadata.is_empty() {
        return None;
    }
    let child = |(node, child)| (Cow::Borrowed(NodeName::as_str(node)), Cow::Borrowed(CheckpointId::as_str(child)));
    Some(write(&DetailsForm {
        writers: writers.iter().map(|node| Cow::Borrowed(node.as_str())).collect(),
        deferred: deferred.iter().map(|node| Cow::Borrowed(node.as_str())).collect(),
        children: children.iter().map(child).collect(),
        kept_operations: kept_operations
            .iter()
            .map(|(path, task)| (Cow::Borrowed(path.as_str()), Cow::Borrowed(task.as_str())))
            .collect(),
        metadata: Cow::Borrowed(metadata),
    }))
}

pub(super) fn read_details(text: &str) -> Result<Details> {
    let form: DetailsForm<'_> = read(text)?;
    let children = form.children.into_iter();
    Ok(Details {
        writers: node_names(form.writers)?,
        deferred: node_names(form.deferred)?,
        children: children
            .map(|(node, child)| Ok((NodeName::parse(node.into_owned())?, CheckpointId::parse(child.into_owned())?)))
            .collect::<Result<_>>()?,
        kept_operations: form
            .kept_operations
            .into_iter()
            .map(|(path, task)| Ok((path.into_owned(), TaskId::parse(task.into_owned())?)))
            .collect::<Result<_>>()?,
        metadata: form.metadata.into_owned(),
    })
}

#[derive(Serialize, Deserialize)]
struct CommandForm<'a> {
    update: Cow<'a, Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    goto: Vec<DestinationForm<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum DestinationForm<'a> {
    Node(Cow<'a, str>),
    Send { node: Cow<'a, str>, argument: Cow<'a, Value> },
    Parent(Cow<'a, str>),
    End,
}

pub(super) fn write_command(command: &Command) -> String {
    let goto = command.goto.iter().map(|destination| match destination {
        Destination::Node(node) => DestinationForm::Node(Cow::Borrowed(node)),
        Destination::Send { node, argument } => {
            DestinationForm::Send { node: Cow::Borrowed(node), argument: Cow::Borrowed(argument) }
        }
        Destination::Parent(node) => DestinationForm::Parent(Cow::Borrowed(node)),
        Destination::End => DestinationForm::End,
    });
    write(&CommandForm { update: Cow::Borrowed(&command.update), goto: goto.collect() })
}

pub(super) fn read_command(text: &str) -> Result<Command> {
    let form: CommandForm<'_> = read(text)?;
    let goto = form.goto.into_iter().map(|destination| match destination {
        DestinationForm::Node(node) => Destination::Node(node.into_owned()),
        DestinationForm::Send { node, argument } => {
            Destination::Send { node: node.into_owned(), argument: argument.into_owned() }
        }
        DestinationForm::Parent(node) => Destination::Parent(node.into_owned()),
        DestinationForm::End => Destination::End,
    });
    Ok(Command { update: form.update.into_owned(), goto: goto.collect() })
}

#[derive(Serialize, Deserialize)]
struct AnswerForm<'a> {
    verdict: Cow<'a, str>,
    value: Cow<'a, Value>,
    answered_by: Cow<'a, str>,
    answered_at_ms: u64,
}

pub(super) fn write_answer(answer: &Answer) -> String {
    write(&AnswerForm {
        verdict: Cow::Borrowed(answer.verdict.name()),
        value: Cow::Borrowed(&answer.value),
        answered_by: Cow::Borrowed(&answer.answered_by),
        answered_at_ms: answer.answered_at_ms,
    })
}

pub(super) fn read_answer(text: &str) -> Result<Answer> {
    let form: AnswerForm<'_> = read(text)?;
    Ok(Answer {
        verdict: Verdict::parse(&form.verdict)
            .ok_or_else(|| Failure::corrupt(format!("unknown verdict {:?}", form.verdict)))?,
        value: form.value.into_owned(),
        answered_by: form.answered_by.into_owned(),
        answered_at_ms: form.answered_at_ms,
    })
}

#[derive(Serialize, Deserialize)]
struct FailureForm<'a> {
    code: Cow<'a, str>,
    message: Cow<'a, str>,
    retryable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    details: Option<Cow<'a, Value>>,
}

pub(super) fn write_failure(failure: &NodeFailure) -> String {
    write(&FailureForm {
        code: Cow::Borrowed(&failure.code),
        message: Cow::Borrowed(&failure.message),
        retryable: failure.retryable,
        retry_after_ms: failure.retry_after_ms,
        details: failure.details.as_ref().map(Cow::Borrowed),
    })
}

pub(super) fn read_failure(text: &str) -> Result<NodeFailure> {
    let form: FailureForm<'_> = read(text)?;
    Ok(NodeFailure {
        code: form.code.into_owned(),
        message: form.message.into_owned(),
        retryable: form.retryable,
        retry_after_ms: form.retry_after_ms,
        details: form.details.map(Cow::into_owned),
    })
}

#[derive(Serialize, Deserialize)]
struct NoteForm<'a> {
    at_ms: u64,
    kind: Cow<'a, str>,
    by: Cow<'a, str>,
    text: Cow<'a, str>,
}

/// `None` for none: the column stays null for the many operations that nobody had a say in.
pub(super) fn write_notes(notes: &[OperationNote]) -> Option<String> {
    let forms: Vec<NoteForm<'_>> = notes
        .iter()
        .map(|note| NoteForm {
            at_ms: note.at_ms,
            kind: Cow::Borrowed(note.kind.name()),
            by: Cow::Borrowed(&note.by),
            text: Cow::Borrowed(&note.text),
        })
        .collect();
    (!forms.is_empty()).then(|| write(&forms))
}

pub(super) fn read_notes(text: &str) -> Result<Vec<OperationNote>> {
    let forms: Vec<NoteForm<'_>> = read(text)?;
    forms
        .into_iter()
        .map(|form| {
            let kind = NoteKind::parse(&form.kind);
            Ok(OperationNote {
                at_ms: form.at_ms,
                kind: kind.ok_or_else(|| Failure::corrupt(format!("unknown kind of note {:?}", form.kind)))?,
                by: form.by.into_owned(),
                text: form.text.into_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn forms_are_as_released() {
        let node = NodeName::parse("pay").expect("valid");
        let triggers = [Trigger::Pull(node.clone()), Trigger::Push { node, argument: json!(1) }, Trigger::Start];
        let text = r#"[{"pull":"pay"},{"push":{"node":"pay","argument":1}},"start"]"#;
        assert_eq!(write_triggers(&triggers), text);
        assert_eq!(read_triggers(text).expect("reads its own"), triggers);

        let error = ThreadError { code: "HP1".into(), message: "no".into(), node: None, details: Some(Value::Null) };
        let text = r#"{"code":"HP1","message":"no","details":null}"#;
        assert_eq!(write_error(&error), text);
        assert_eq!(read_error(text).expect("reads its own"), error);

        let command = Command {
            update: Map::from_iter([("a".to_owned(), json!(1))]),
            goto: vec![
                Destination::Node("n".into()),
                Destination::Send { node: "n".into(), argument: json!(null) },
                Destination::Parent("p".into()),
                Destination::End,
            ],
        };
        let text =
            r#"{"update":{"a":1},"goto":[{"node":"n"},{"send":{"node":"n","argument":null}},{"parent":"p"},"end"]}"#;
        assert_eq!(write_command(&command), text);
        assert_eq!(read_command(text).expect("reads its own"), command);

        let (kind, by, said) = (NoteKind::NotHappened, "cli:ana".to_owned(), "no such \"refund\"".to_owned());
        let notes = [OperationNote { at_ms: 7, kind, by, text: said }];
        let text = r#"[{"at_ms":7,"kind":"not-happened","by":"cli:ana","text":"no such \"refund\""}]"#;
        assert_eq!(write_notes(&notes).as_deref(), Some(text));
        assert_eq!(read_notes(text).expect("reads its own"), notes);
        assert_eq!(write_notes(&[]), None);
    }

    #[test]
    fn joins_of_the_first_version_are_read() {
        let node = |name: &str| NodeName::parse(name).expect("valid");
        let arrivals = |names: &[&str], since_ms, started| Arrivals {
            arrived: names.iter().map(|name| node(name)).collect(),
            since_ms,
            started,
        };
        let joins =
            BTreeMap::from([(node("all"), arrivals(&["a", "b"], 7, false)), (node("some"), arrivals(&[], 8, true))]);
        let text = r#"{"all":{"arrived":["a","b"],"since_ms":7},"some":{"arrived":[],"since_ms":8,"started":true}}"#;
        assert_eq!(write_joins(&joins).as_deref(), Some(text));
        assert_eq!(read_joins(text, 9).expect("reads its own"), joins);
        assert_eq!(write_joins(&BTreeMap::new()), None);
        let first = read_joins(r#"{"all":["a","b"],"none":[]}"#, 9).expect("reads the first version's");
        let expected =
            BTreeMap::from([(node("all"), arrivals(&["a", "b"], 9, false)), (node("none"), arrivals(&[], 9, false))]);
        assert_eq!(first, expected);
        for text in [r#"{"all":{"arrived":["a"]}}"#, r#"{"all":["not a name"]}"#, r#"{"all":3}"#] {
            assert!(read_joins(text, 9).is_err(), "{text}");
        }
    }

    #[test]
    fn details_are_as_released() {
        let text = concat!(
            r#"{"writers":["pay"],"deferred":["later"],"children":{"#,
            r#""sub":"018bcfe5-6800-8000-8000-000000000001"},"kept_operations":{"#,
            r#""pull:pay":"018bcfe5-6800-8000-8000-000000000002"},"metadata":{"run":1}}"#
        );
        let details = read_details(text).expect("reads its own");
        assert_eq!(details.children.len(), 1);
        let record = CheckpointRecord {
            writers: details.writers.clone(),
            deferred: details.deferred.clone(),
            children: details.children.clone(),
            kept_operations: details.kept_operations.clone(),
            metadata: details.metadata,
            ..crate::conformance::scene::new_checkpoint(0, None, Default::default()).record
        };
        assert_eq!(write_details(&record).as_deref(), Some(text));
        let none = CheckpointRecord {
            writers: BTreeSet::new(),
            deferred: BTreeSet::new(),
            children: BTreeMap::new(),
            kept_operations: BTreeMap::new(),
            metadata: Map::new(),
            ..record
        };
        assert_eq!(write_details(&none), None);
        assert_eq!(read_details("{}").expect("each member may lack"), Details::default());
        assert!(read_details(r#"{"children":{"sub":"no id"}}"#).is_err());
    }

    #[test]
    fn garbage_is_an_error() {
        for text in ["", "{", "[1", "nul", r#"{"update":3}"#, r#"{"goto":["nowhere"],"update":{}}"#, "{} {}"] {
            assert!(read_command(text).is_err(), "{text:?}");
        }
        assert!(read_triggers(r#"[{"pull":"not a name"}]"#).is_err());
        assert!(read_notes(r#"[{"at_ms":7,"kind":"said","by":"","text":""}]"#).is_err());
        assert!(
            read::<Value>(&"[".repeat(1_000_000)).is_err(),
            "deep nesting ends in an error, not in a stack overflow"
        );
    }

    #[test]
    fn brackets_in_strings_do_not_count() {
        assert_eq!(depth(r#"[{"a":"[[[\"[["}]"#), 2);
        let deep = format!("{}1{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
        let value: Value = read(&deep).expect("as deep as may be stored");
        assert_eq!(write(&value), deep);
    }
}
