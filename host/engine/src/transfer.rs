//! A thread as one value: its whole history, to be copied or carried elsewhere.

use std::collections::{HashMap, HashSet};

use holdpoint_graph::ids::CheckpointId;
use holdpoint_store::{CheckpointRecord, NewCheckpoint, Outline, QuestionRecord, Store, TaskRecord, ThreadRecord};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::patch;

/// A thread with everything that is recorded of it but its operations, which belong to no thread alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Transfer {
    /// The thread's head.
    pub thread: ThreadRecord,
    /// Its checkpoints of every namespace, in order of storing.
    pub checkpoints: Vec<NewCheckpoint>,
    /// Their tasks.
    pub tasks: Vec<TaskRecord>,
    /// Their questions.
    pub questions: Vec<QuestionRecord>,
}

impl Transfer {
    /// Reads a thread. A thread that changes meanwhile gives what was there first.
    ///
    /// # Errors
    /// [`Error::ThreadNotFound`], [`Error::Store`].
    pub async fn read(store: &dyn Store, thread: &holdpoint_graph::ids::ThreadId) -> Result<Self, Error> {
        let record = store.thread(thread).await?.ok_or_else(|| Error::ThreadNotFound(thread.clone()))?;
        let outline = store.outline(thread).await?;
        let mut parents = Parents::of(&outline);
        let stored: HashSet<CheckpointId> = outline.iter().map(|outline| outline.checkpoint.id.clone()).collect();
        let mut transfer = Self { thread: record, checkpoints: Vec::new(), tasks: Vec::new(), questions: Vec::new() };
        for Outline { checkpoint, .. } in outline {
            let Some(snapshot) = store.snapshot(thread, Some(&checkpoint.id)).await? else { continue };
            // A parent that retention has taken is not carried along: the patch then is the whole state.
            let parent = checkpoint.parent.clone().filter(|parent| stored.contains(parent));
            let before = parents.take(parent.as_ref());
            let patch = patch::difference(&before, &snapshot.values);
            parents.put(&checkpoint.id, snapshot.values);
            let record = CheckpointRecord { parent, ..snapshot.checkpoint };
            transfer.checkpoints.push(NewCheckpoint { record, patch });
            transfer.tasks.extend(snapshot.tasks);
            transfer.questions.extend(snapshot.questions);
        }
        Ok(transfer)
    }
}

/// Values that later checkpoints still need.
struct Parents {
    children: HashMap<CheckpointId, usize>,
    values: HashMap<CheckpointId, Map<String, Value>>,
}

impl Parents {
    fn of(outline: &[Outline]) -> Self {
        let mut children: HashMap<CheckpointId, usize> = HashMap::new();
        for parent in outline.iter().filter_map(|outline| outline.checkpoint.parent.clone()) {
            *children.entry(parent).or_default() += 1;
        }
        Self { children, values: HashMap::new() }
    }

    fn put(&mut self, id: &CheckpointId, values: Map<String, Value>) {
        if self.children.contains_key(id) {
            self.values.insert(id.clone(), values);
        }
    }

    fn take(&mut self, id: Option<&CheckpointId>) -> Map<String, Value> {
        let Some(id) = id else { return Map::new() };
        let left = self.children.get_mut(id).map_or(0, |left| {
            *left = left.saturating_sub(1);
            *left
        });
        if left == 0 { self.values.remove(id) } else { self.values.get(id).cloned() }.unwrap_or_default()
    }
}
