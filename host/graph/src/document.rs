//! The stored form of a graph: JSON that says its version, and its digest.
//!
//! It has the shape of the graph file, with every default written out, so that a later version with other defaults reads the same graph.

use serde_json::{Map, Value, json};

use crate::definition::{
    Branch, CachePolicy, Channel, Component, Graph, GraphReference, InterruptPolicy, Join, Limits, Next, Node, Retry,
    Target, Work,
};
use crate::digest::Digest;
use crate::problem::Problems;
use crate::reader::sink::Sink;
use crate::reader::units::duration_text;
use crate::reader::{self, FORMAT, Origin, tree};

/// What problems of a stored form call it.
const DOCUMENT_NAME: &str = "stored graph";

/// The stored form. [`from_document`] gives the same graph back.
pub fn to_document(graph: &Graph) -> Value {
    json!({
        "format": FORMAT,
        "name": graph.name.as_str(),
        "start": next(&graph.start),
        "recursion_limit": graph.recursion_limit,
        "state": object(graph.channels.iter().map(|(name, value)| (name.as_str(), channel(value)))),
        "nodes": object(graph.nodes.iter().map(|(name, value)| (name.as_str(), node(value)))),
    })
}

/// Reads a stored form back, through the same validation as a file.
///
/// # Errors
/// Everything that is wrong with it; a version that this program does not know is the only problem reported then.
pub fn from_document(document: &Value) -> Result<Graph, Problems> {
    reader::read(&tree::from_json(document), Origin::Document, Sink::new(DOCUMENT_NAME, None))
}

/// The digest that identifies the graph: that of its stored form.
pub fn digest(graph: &Graph) -> Digest {
    Digest::of_json(&to_document(graph))
}

fn channel(channel: &Channel) -> Value {
    // `true` and `{}` say the same; the table form has room for the reducer.
    let mut members = channel.schema.document().as_object().cloned().unwrap_or_default();
    // What this version added is written only where a graph uses it, so that the digests of graphs stored before stay what they were.
    match channel.managed {
        Some(managed) => members.insert("managed".to_owned(), managed.name().into()),
        None => members.insert("reducer".to_owned(), channel.reducer.name().into()),
    };
    Value::Object(members)
}

fn node(node: &Node) -> Value {
    let mut members = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            members.insert(name.to_owned(), value);
        }
    };
    match &node.work {
        Work::Component(work) => {
            put("component", Some(component(work)));
            put("with", Some(node.config.clone()));
            put("connectors", Some(strings(node.connectors.iter().map(|name| name.as_str()))));
        }
        Work::Subgraph(work) => {
            put("graph", Some(graph_reference(&work.graph)));
            put("persist", Some(work.persist.name().into()));
        }
    }
    put("reads", node.reads.as_ref().map(|reads| strings(reads.iter().map(|name| name.as_str()))));
    put("join", node.join.as_ref().map(join));
    put("defer", node.defer.then_some(true.into()));
    put("next", (node.next != Next::None).then(|| next(&node.next)));
    put("interrupt", node.interrupt.as_ref().map(interrupt));
    put("interrupt_before", node.interrupt_before.then_some(true.into()));
    put("interrupt_after", node.interrupt_after.then_some(true.into()));
    put("retry", node.retry.as_ref().map(retry));
    put("timeout", node.timeout_ms.map(|timeout_ms| duration_text(timeout_ms).into()));
    put("error_handler", node.error_handler.as_ref().map(|name| name.as_str().into()));
    put("cache", node.cache.as_ref().map(cache));
    put("limits", (node.limits != Limits::default()).then(|| limits(&node.limits)));
    Value::Object(members)
}

fn component(component: &Component) -> Value {
    match component {
        Component::Path(path) => path.as_str().into(),
        Component::Named { name, version } => format!("{name}@{version}").into(),
        Component::Digest(digest) => digest.as_str().into(),
    }
}

fn graph_reference(graph: &GraphReference) -> Value {
    match graph {
        GraphReference::Path(path) => path.as_str().into(),
        GraphReference::Digest(digest) => digest.as_str().into(),
    }
}

/// Waiting for all is a plain list, as it was before there was a choice.
fn join(join: &Join) -> Value {
    let of = strings(join.of.iter().map(|name| name.as_str()));
    if join.need == join.of.len() {
        return of;
    }
    let mut members = Map::from_iter([("of".to_owned(), of), ("need".to_owned(), join.need.into())]);
    if let Some(within_ms) = join.within_ms {
        members.insert("within".to_owned(), duration_text(within_ms).into());
    }
    Value::Object(members)
}

pub(crate) fn cache(cache: &CachePolicy) -> Value {
    cache.ttl_ms.map_or(Value::Bool(true), |ttl_ms| json!({ "ttl": duration_text(ttl_ms) }))
}

fn next(next: &Next) -> Value {
    match next {
        Next::None => json!([]),
        Next::All(to) => targets(to),
        Next::First(branches) => Value::Array(branches.iter().map(branch).collect()),
    }
}

fn branch(branch: &Branch) -> Value {
    match &branch.when {
        Some(condition) => json!({ "when": condition.text(), "to": targets(&branch.to) }),
        None => json!({ "to": targets(&branch.to) }),
    }
}

fn targets(targets: &[Target]) -> Value {
    strings(targets.iter().map(|target| match target {
        Target::Node(name) => name.as_str(),
        Target::End => "END",
    }))
}

fn interrupt(interrupt: &InterruptPolicy) -> Value {
    let mut members = interrupt.policy.clone();
    if let Some(schema) = &interrupt.answer_schema {
        members.insert("answer_schema".to_owned(), schema.document().clone());
    }
    Value::Object(members)
}

pub(crate) fn retry(retry: &Retry) -> Value {
    json!({
        "attempts_max": retry.attempts_max,
        "backoff": duration_text(retry.backoff_ms),
        "factor": retry.factor,
        "max": duration_text(retry.backoff_max_ms),
    })
}

pub(crate) fn limits(limits: &Limits) -> Value {
    let members = [
        ("memory", limits.memory_bytes.map(Value::from)),
        ("fuel", limits.fuel.map(Value::from)),
        ("time", limits.time_ms.map(|time_ms| duration_text(time_ms).into())),
    ];
    object(members.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))))
}

fn object<'a>(members: impl Iterator<Item = (&'a str, Value)>) -> Value {
    Value::Object(members.map(|(name, value)| (name.to_owned(), value)).collect())
}

fn strings<'a>(items: impl Iterator<Item = &'a str>) -> Value {
    Value::Array(items.map(Value::from).collect())
}
