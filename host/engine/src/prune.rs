//! What of a thread's history has to stay. Pure.

use std::collections::{BTreeSet, HashMap};

use holdpoint_graph::ids::CheckpointId;
use holdpoint_store::{Outline, Source};

/// What becomes of a thread that is done and old enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Its newest state stays, with all that can be reached from it.
    KeepLatest,
    /// Nothing of it stays but the records of its operations: their ids go on answering (`effect-once`).
    Delete,
}

/// The checkpoints of a thread that have to stay: under [`Rule::KeepLatest`] its head, the runs of subgraphs by the head's tasks back to their
/// input, where the last calls of subgraphs that are kept per thread ended, and what a head that is a fork or an update was made from, all of
/// these with what they reach in turn.
pub fn kept(rule: Rule, outline: &[Outline], head: &CheckpointId) -> BTreeSet<CheckpointId> {
    let mut keep = BTreeSet::new();
    if rule == Rule::Delete {
        return keep;
    }
    let by_id: HashMap<&CheckpointId, &Outline> =
        outline.iter().map(|outline| (&outline.checkpoint.id, outline)).collect();
    let mut reached = vec![head];
    if let Some(Outline { checkpoint, .. }) = by_id.get(head)
        && matches!(checkpoint.source, Source::Fork | Source::Update)
    {
        reached.extend(&checkpoint.parent);
    }
    while let Some(id) = reached.pop() {
        let Some(Outline { checkpoint, task_children }) = by_id.get(id).copied() else { continue };
        if !keep.insert(id.clone()) {
            continue;
        }
        reached.extend(checkpoint.children.values());
        for child in task_children {
            reached.push(child);
            reached.extend(run_of(&by_id, child));
        }
    }
    keep
}

/// The checkpoints of a subgraph's run before `last`, back to its input: what a call hands up is the difference to that.
fn run_of<'a>(by_id: &HashMap<&CheckpointId, &'a Outline>, last: &CheckpointId) -> Vec<&'a CheckpointId> {
    let mut run = Vec::new();
    let mut current = by_id.get(last).copied();
    while let Some(Outline { checkpoint, .. }) = current
        && checkpoint.source != Source::Input
        && let Some(parent) = &checkpoint.parent
    {
        run.push(parent);
        current = by_id.get(parent).copied();
    }
    run
}
