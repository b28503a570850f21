//! What occurred, and what has to.

use std::collections::BTreeSet;

use holdpoint_graph::nodes::{Destination, EffectMode};
use holdpoint_store::faults::Fault;
use holdpoint_store::{QuestionStatus, Snapshot, Source, TaskStatus};
use serde_json::json;

use super::action::{Action, Place, Reply, Step};
use super::errors;
use super::observe::Seen;
use super::world::{Outcome, World};

/// What scripts have to do, besides meeting every error.
pub(crate) const ACTIONS: [&str; 52] = [
    "run",
    "input",
    "input superseding",
    "answer bare",
    "answer one",
    "answer all",
    "answer unknown",
    "answer stale",
    "answer foreign",
    "answer empty map",
    "answer no map",
    "command",
    "command answering",
    "command going",
    "command sending",
    "proceed",
    "update of the head",
    "update of a checkpoint",
    "update inferring",
    "update as a node",
    "update as input",
    "update as a copy",
    "update as the end",
    "update going",
    "update in bulk",
    "replay",
    "fork",
    "copy",
    "build",
    "settle happened",
    "settle send",
    "settle queue",
    "settle fail",
    "delete",
    "prune to the latest",
    "prune by deleting",
    "prune counting",
    "state of the head",
    "state of a checkpoint",
    "search",
    "race",
    "zombie",
    "with breakpoints",
    "with metadata",
    "with effects recorded",
    "with effects asked for",
    "with a drain",
    "death before a write",
    "death after a write",
    "a write lost",
    "a write reported lost",
    "hit of another thread",
];

/// What graphs have to do.
const FEATURES: [&str; 12] = [
    "a subgraph that was sent",
    "a subgraph in a subgraph",
    "a second call of a subgraph that is kept per thread",
    "a subgraph that keeps nothing",
    "a subgraph that was left",
    "an answer in a subgraph",
    "a breakpoint in a subgraph",
    "an error handler",
    "a deferred node",
    "a join of some",
    "a join of all",
    "a result from the cache",
];

/// What never occurred.
pub(crate) fn missing(reached: &BTreeSet<String>) -> Vec<&'static str> {
    let errors = errors::ERRORS.iter().filter(|(_, excluded)| excluded.is_none()).map(|(name, _)| *name);
    ACTIONS
        .into_iter()
        .chain(FEATURES)
        .chain(errors)
        .chain(errors::RECORDED)
        .filter(|what| !reached.contains(*what))
        .collect()
}

/// Which features a checkpoint and its tasks show.
fn features(seen: &Seen, snapshot: &Snapshot, reached: &mut BTreeSet<String>) {
    let record = &snapshot.checkpoint;
    let inside = !record.namespace.is_root();
    let completed = || {
        seen.snapshots()
            .map(|other| &other.checkpoint)
            .any(|other| other.parent.as_ref() == Some(&record.id) && other.source == Source::Loop)
    };
    let mut shown = Vec::new();
    if record.namespace.parts().count() > 1 {
        shown.push("a subgraph in a subgraph");
    }
    if record.namespace.as_str() == "kept" && record.source == Source::Input && record.parent.is_some() {
        shown.push("a second call of a subgraph that is kept per thread");
    }
    if inside && snapshot.questions.iter().any(|question| question.status == QuestionStatus::Answered) {
        shown.push("an answer in a subgraph");
    }
    for task in &snapshot.tasks {
        if inside && task.status == TaskStatus::Paused {
            shown.push("a breakpoint in a subgraph");
        }
        let leaves = |to: &Destination| matches!(to, Destination::Node(to) if to == "close");
        if task.status != TaskStatus::Done || !completed() {
            continue;
        }
        match (task.node.as_str(), &task.child) {
            (_, Some(_)) if task.path.starts_with("push:") => shown.push("a subgraph that was sent"),
            (_, Some(_)) if task.result.iter().any(|result| result.goto.iter().any(leaves)) => {
                shown.push("a subgraph that was left");
            }
            ("bare", None) if task.executions > 0 => shown.push("a subgraph that keeps nothing"),
            ("draft", None) if task.executions == 0 => shown.push("a result from the cache"),
            ("last", None) => shown.push("a deferred node"),
            ("meet", None) => shown.push("a join of some"),
            ("all", None) => shown.push("a join of all"),
            (_, None) if task.path.ends_with("|error") => shown.push("an error handler"),
            _ => {}
        }
    }
    reached.extend(shown.into_iter().map(str::to_owned));
}

/// Notes what a step did. Of what can be refused, only what was not counts.
pub(crate) fn note(world: &World, step: &Step, outcome: &Outcome, reached: &mut BTreeSet<String>) {
    reached.extend(outcome.error.map(str::to_owned));
    for seen in &world.threads {
        let tasks = seen.snapshots().flat_map(|snapshot| &snapshot.tasks).filter_map(|task| task.error.as_ref());
        reached.extend(tasks.chain(&seen.record.error).map(|error| error.code.clone()));
        if !seen.hits.is_empty() {
            reached.insert("hit of another thread".into());
        }
        seen.snapshots().for_each(|snapshot| features(seen, snapshot, reached));
    }
    if outcome.died {
        let what = step.cut.map(|cut| match (cut.dies, cut.fault == Fault::After) {
            (true, true) => "death after a write",
            (true, false) => "death before a write",
            (false, true) => "a write reported lost",
            (false, false) => "a write lost",
        });
        reached.extend(what.map(str::to_owned));
    }
    let asked = |answer: &Reply| match answer {
        Reply::Bare => "answer bare",
        Reply::One(_) => "answer one",
        Reply::All => "answer all",
        Reply::Unknown => "answer unknown",
        Reply::Stale(_) => "answer stale",
        Reply::Foreign(_) => "answer foreign",
        Reply::EmptyMap => "answer empty map",
        Reply::NoMap => "answer no map",
    };
    // These are there to be refused.
    if let Action::Answer { answer, .. } = &step.action
        && !matches!(answer, Reply::Bare | Reply::One(_) | Reply::All)
    {
        reached.insert(asked(answer).into());
    }
    if outcome.error.is_some() {
        if matches!(step.action, Action::Zombie) && outcome.error == Some("TakenOver") {
            reached.insert("zombie".into());
        }
        return;
    }
    let mut did: Vec<&str> = match &step.action {
        Action::Run { .. } => vec!["run"],
        Action::Input { supersede: true, .. } => vec!["input superseding"],
        Action::Input { .. } => vec!["input"],
        Action::Answer { answer, .. } => vec![asked(answer)],
        Action::Command { answer, goto, sent, .. } => vec![
            "command",
            if answer.is_some() { "command answering" } else { "command" },
            match (goto, sent) {
                (Some(_), Some(_)) => "command sending",
                (Some(_), None) => "command going",
                _ => "command",
            },
        ],
        Action::Proceed => vec!["proceed"],
        Action::Update { at, supersteps } => {
            let mut did = vec![if matches!(at, Place::Head) { "update of the head" } else { "update of a checkpoint" }];
            did.extend(supersteps.iter().flatten().map(|said| match said.as_node {
                None => "update inferring",
                Some("__input__") => "update as input",
                Some("__copy__") => "update as a copy",
                Some("END") => "update as the end",
                Some(_) => "update as a node",
            }));
            if supersteps.iter().flatten().any(|said| said.goto.is_some()) {
                did.push("update going");
            }
            if supersteps.len() > 1 {
                did.push("update in bulk");
            }
            did
        }
        Action::Replay { .. } => vec!["replay"],
        Action::Fork { .. } => vec!["fork"],
        Action::Copy { .. } => vec!["copy"],
        Action::Build { .. } => vec!["build"],
        Action::Settle { word, .. } => {
            vec![["settle happened", "settle send", "settle queue"].get(*word).copied().unwrap_or("settle fail")]
        }
        Action::Delete => vec!["delete"],
        Action::Prune { dry_run: true, .. } => vec!["prune counting"],
        Action::Prune { delete: true, .. } => vec!["prune by deleting"],
        Action::Prune { .. } => vec!["prune to the latest"],
        Action::State { at: Place::Head } => vec!["state of the head"],
        Action::State { .. } => vec!["state of a checkpoint"],
        Action::Search { .. } => vec!["search"],
        Action::Race { .. } if outcome.told.iter().any(|line| line.starts_with("one won")) => vec!["race"],
        Action::Race { .. } | Action::Zombie => Vec::new(),
    };
    if !step.before.is_empty() || !step.after.is_empty() {
        did.push("with breakpoints");
    }
    if step.metadata != json!({}) {
        did.push("with metadata");
    }
    match step.effects {
        Some(EffectMode::Recorded) => did.push("with effects recorded"),
        Some(EffectMode::Ask) => did.push("with effects asked for"),
        _ => {}
    }
    if step.drain {
        did.push("with a drain");
    }
    reached.extend(did.into_iter().map(str::to_owned));
}
