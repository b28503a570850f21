//! What a thread takes, in memory: the length of its parts as text.

use std::fmt::Debug;

use holdpoint_graph::ids::ThreadId;
use serde_json::Value;

use super::State;
use super::thread::count;
use crate::store::ThreadBytes;

impl State {
    /// Each checkpoint holds all of its values here, so their sum is that of what they show.
    pub(super) fn bytes_of(&self, thread: &ThreadId) -> ThreadBytes {
        let operations = self.operations.iter().map(|performed| &performed.record);
        let operations = sum(operations.filter(|record| record.thread == *thread).map(length));
        let Some(thread) = self.threads.get(thread) else {
            return ThreadBytes { operations, ..ThreadBytes::default() };
        };
        let values = thread.checkpoints.iter().flat_map(|checkpoint| checkpoint.values.values());
        ThreadBytes {
            checkpoints: sum(thread.checkpoints.iter().map(|checkpoint| length(&checkpoint.record))),
            values: sum(values.map(|value: &Value| count(value.to_string().len()))),
            tasks: sum(thread.tasks.values().flat_map(|tasks| tasks.values()).map(length)),
            operations,
            questions: sum(thread.questions.iter().map(|asked| length(&asked.record))),
        }
    }
}

fn length(record: impl Debug) -> u64 {
    count(format!("{record:?}").len())
}

fn sum(lengths: impl Iterator<Item = u64>) -> u64 {
    lengths.fold(0, u64::saturating_add)
}
