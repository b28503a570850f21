//! From a checkpoint to the next, made again. Pure.

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::ThreadId;
use holdpoint_store::{Arrivals, CheckpointRecord, NewCheckpoint, Snapshot, Source, Trigger};
use serde_json::{Map, Value, json};

use super::{Reason, Verdict, command_json};
use crate::apply::{self, Applied};
use crate::plan::{self, INPUT, Records};
use crate::version::Version;

/// Whether a checkpoint is what the superstep before it makes. `version` and `author` are the parent's: what ran from it, and the thread that it ran
/// in.
pub(crate) fn transition(version: &Version, author: &ThreadId, parent: &Snapshot, child: &Snapshot) -> Verdict {
    let before = &parent.checkpoint;
    let (clock_ms, now_ms) = (child.checkpoint.clock_ms, child.checkpoint.created_at_ms);
    if before.next.contains(&Trigger::Start) {
        let input = parent.tasks.iter().find(|task| task.path == INPUT).and_then(|task| task.result.as_ref());
        let Some(input) = input else {
            // Those of a subgraph are checked with the task that runs it; early versions did not record those of threads.
            return Verdict::Skipped(Reason::NotStored);
        };
        let first = before.clone();
        return match apply::input_checkpoints(&version.graph, author, first, &parent.values, &input.update) {
            Ok([_, applied]) => compare(&parent.values, stamped(applied, now_ms), child),
            Err(error) => Verdict::differs("values", shown(child), json!({ "error": error.to_string() })),
        };
    }
    let planned = plan::tasks_of(author, before, &parent.tasks);
    let recorded: Records = parent.tasks.iter().map(|record| (record.id.clone(), record.clone())).collect();
    let Some(finished) = plan::finished(version, author, &before.id, &planned, &recorded) else {
        let done =
            |task: &&plan::PlannedTask| plan::finished_task(version, author, &before.id, task, &recorded).is_some();
        let open: Vec<&str> = planned.iter().filter(|task| !done(task)).map(|task| task.path.as_str()).collect();
        return Verdict::differs("task", json!({ "unfinished": [] }), json!({ "unfinished": open }));
    };
    let written = plan::commands(&parent.tasks);
    match apply::apply(version, before, &parent.values, &written, &finished, clock_ms) {
        Ok(Applied::Advanced(advance)) => {
            let made = apply::next_checkpoint(author, before, advance, clock_ms, now_ms);
            compare(&parent.values, made, child)
        }
        Ok(Applied::Left(command)) => {
            Verdict::differs("values", shown(child), json!({ "left_with": command_json(&command) }))
        }
        Err(error) => Verdict::differs("values", shown(child), json!({ "error": error.to_string() })),
    }
}

/// As made at another moment: when a checkpoint was made is no function of what it is made from.
fn stamped(made: NewCheckpoint, now_ms: u64) -> NewCheckpoint {
    NewCheckpoint { record: CheckpointRecord { created_at_ms: now_ms, ..made.record }, ..made }
}

fn shown(child: &Snapshot) -> Value {
    Value::Object(child.values.clone())
}

/// Whether a checkpoint is the one that was made again, on these values.
pub(super) fn compare(before: &Map<String, Value>, made: NewCheckpoint, child: &Snapshot) -> Verdict {
    let mut values = before.clone();
    made.patch.apply(&mut values);
    if values != child.values {
        let (recorded, found) = only_different(&child.values, &values);
        return Verdict::differs("values", recorded, found);
    }
    let (made, recorded) = (&made.record, &child.checkpoint);
    // Histories of early versions name themselves here.
    let early = recorded.anchor == recorded.id;
    let parts: [(&'static str, Value, Value); 12] = [
        ("next", triggers(&recorded.next), triggers(&made.next)),
        ("joins", joins(recorded), joins(made)),
        ("deferred", names(&recorded.deferred), names(&made.deferred)),
        ("children", children(recorded), children(made)),
        ("kept_operations", kept_operations(recorded), kept_operations(made)),
        ("step", recorded.step.into(), made.step.into()),
        ("source", recorded.source.name().into(), made.source.name().into()),
        ("namespace", recorded.namespace.as_str().into(), made.namespace.as_str().into()),
        ("effects", recorded.effects.name().into(), made.effects.name().into()),
        ("metadata", Value::Object(recorded.metadata.clone()), Value::Object(made.metadata.clone())),
        ("clock", recorded.clock_ms.into(), made.clock_ms.into()),
        ("id", recorded.id.as_str().into(), made.id.as_str().into()),
    ];
    let of_later_versions = [
        ("writers", names(&recorded.writers), names(&made.writers)),
        ("anchor", recorded.anchor.as_str().into(), made.anchor.as_str().into()),
    ];
    let parts = parts.into_iter().chain(of_later_versions.into_iter().filter(|_| !early));
    parts
        .map(|(what, recorded, made)| Verdict::compare(what, recorded, made))
        .find(|verdict| *verdict != Verdict::Same)
        .unwrap_or(Verdict::Same)
}

/// Whether a checkpoint is one that a superstep, or the applying of an input, made.
pub(crate) fn is_made(checkpoint: &CheckpointRecord) -> bool {
    checkpoint.source == Source::Loop
}

/// Whether it is the first checkpoint of a subgraph's run.
pub(crate) fn is_entry(snapshot: &Snapshot) -> bool {
    !snapshot.checkpoint.namespace.is_root() && snapshot.checkpoint.next.contains(&Trigger::Start)
}

/// The members of two states in which they differ. Long values are shown by their digests: a difference is to be read.
fn only_different(recorded: &Map<String, Value>, found: &Map<String, Value>) -> (Value, Value) {
    const SHOWN_BYTES_MAX: usize = 2000;
    let brief = |value: &Value| {
        if value.to_string().len() <= SHOWN_BYTES_MAX {
            value.clone()
        } else {
            json!({ "digest": Digest::of_json(value).as_str() })
        }
    };
    let part = |of: &Map<String, Value>, other: &Map<String, Value>| -> Value {
        let members = of.iter().filter(|(name, value)| other.get(*name) != Some(*value));
        Value::Object(members.map(|(name, value)| (name.clone(), brief(value))).collect())
    };
    (part(recorded, found), part(found, recorded))
}

fn triggers(next: &[Trigger]) -> Value {
    let triggers = next.iter().map(|trigger| match trigger {
        Trigger::Pull(node) => json!({ "pull": node.as_str() }),
        Trigger::Push { node, argument } => json!({ "push": { "node": node.as_str(), "argument": argument } }),
        Trigger::Start => json!("start"),
    });
    triggers.collect()
}

fn joins(record: &CheckpointRecord) -> Value {
    let arrivals = |arrivals: &Arrivals| {
        let arrived: Vec<&str> = arrivals.arrived.iter().map(|node| node.as_str()).collect();
        json!({ "arrived": arrived, "since_ms": arrivals.since_ms, "started": arrivals.started })
    };
    Value::Object(record.joins.iter().map(|(node, joined)| (node.to_string(), arrivals(joined))).collect())
}

fn names<'a>(nodes: impl IntoIterator<Item = &'a holdpoint_graph::ids::NodeName>) -> Value {
    nodes.into_iter().map(|node| Value::from(node.as_str())).collect()
}

fn children(record: &CheckpointRecord) -> Value {
    let children = record.children.iter();
    Value::Object(children.map(|(node, child)| (node.to_string(), child.as_str().into())).collect())
}

fn kept_operations(record: &CheckpointRecord) -> Value {
    Value::Object(record.kept_operations.iter().map(|(path, task)| (path.clone(), task.as_str().into())).collect())
}
