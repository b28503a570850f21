//! A thread with the history of another.

use holdpoint_graph::ids::{CheckpointId, Epoch, ThreadId};
use holdpoint_graph::state::Patch;
use holdpoint_store::{
    CheckpointRecord, Commit, Expect, NewCheckpoint, NewThread, QuestionRecord, QuestionStatus, Source, ThreadStatus,
};
use serde_json::json;

use super::{Engine, entropy};
use crate::error::Error;
use crate::frame::pause_record;
use crate::transfer::Transfer;
use crate::update::merged;
use crate::view::{self, ThreadView};

impl Engine {
    /// Copies a thread with its history. The copy is paused where the original stands: what was unfinished there runs anew when it is continued, and
    /// questions are asked anew, so an answer to the one is never an answer to the other. Thread-scoped operations are shared: the copy gets the
    /// records of what the original did. [`crate::RunOptions::effects`] says what becomes of new ones.
    ///
    /// # Errors
    /// [`Error::ThreadNotFound`]; [`Error::Busy`] when the original is being advanced, or `to` exists; [`Error::NotFinished`] when it is in the
    /// middle of a run or in doubt; [`Error::Store`].
    pub async fn copy(&self, thread: &ThreadId, to: &ThreadId) -> Result<ThreadView, Error> {
        let head = self.snapshot(thread).await?;
        self.check_idle(&head)?;
        let version = self.version(&head.checkpoint.graph).await?;
        let Transfer { mut checkpoints, mut tasks, questions, .. } =
            Transfer::read(self.inner.store.as_ref(), thread).await?;
        let now_ms = self.inner.clock.now_ms();
        let mut newest = head.checkpoint.id.clone();
        let waits = !head.checkpoint.next.is_empty();
        if waits {
            let step = head.checkpoint.step + 1;
            let clock_ms = head.checkpoint.clock_ms.max(now_ms);
            let record = CheckpointRecord {
                id: CheckpointId::from_entropy(clock_ms, step, entropy()),
                parent: Some(head.checkpoint.id.clone()),
                step,
                source: Source::Fork,
                clock_ms,
                created_at_ms: now_ms,
                effects: self.options.effects.unwrap_or(head.checkpoint.effects),
                metadata: merged(&head.checkpoint.metadata, &self.options.metadata),
                ..head.checkpoint.clone()
            };
            newest = record.id.clone();
            tasks.push(pause_record(to, &record, now_ms));
            checkpoints.push(NewCheckpoint { record, patch: Patch::default() });
        }
        let new = NewThread {
            epoch: Epoch(now_ms),
            lineage: head.thread.lineage.clone(),
            graph: version.digest.clone(),
            graph_name: version.graph.name.clone(),
            tenant: head.thread.tenant.clone(),
        };
        let commit = Commit {
            head: Some(newest),
            checkpoints,
            tasks,
            questions: questions.into_iter().map(closed).collect(),
            status: if waits { ThreadStatus::Interrupted } else { ThreadStatus::Done },
            lease_until_ms: Some(now_ms),
            requester: head.thread.requester.clone(),
            audit: vec![self.entry(to, "thread.copied", now_ms, json!({ "from": head.thread.id.as_str() }))],
            ..self.writing(to, Expect::New(new), now_ms)
        };
        self.commit_new(to, commit).await?;
        Ok(view::thread_view(&self.snapshot(to).await?, Some(&version), self.now_ms()))
    }
}

/// The original's question: nobody can answer it in the copy.
fn closed(question: QuestionRecord) -> QuestionRecord {
    let status = match question.status {
        QuestionStatus::Pending => QuestionStatus::Superseded,
        settled => settled,
    };
    QuestionRecord { status, ..question }
}
