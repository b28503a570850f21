//! What a thread was given from outside, on the branch that leads to its head: enough to give it to another version.

use std::collections::HashMap;
use std::pin::Pin;

use holdpoint_graph::ids::{CheckpointId, NodeName, ThreadId};
use holdpoint_store::{
    CheckpointRecord, Outline, QuestionRecord, QuestionStatus, Snapshot, Source, Store, TaskRecord, TaskStatus,
    ThreadRecord, ThreadStatus, Trigger,
};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::plan::{COMMAND, INPUT, PAUSE};

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// The thread's head.
    pub thread: ThreadRecord,
    /// Its inputs, oldest first.
    pub inputs: Vec<RecordedInput>,
    /// The questions that it asked on the branch, those of subgraphs included, in order of asking.
    pub questions: Vec<QuestionRecord>,
    /// Times that it paused at breakpoints.
    pub pauses: usize,
    /// Why inputs and answers alone do not lead to its head; none when they do.
    pub obstacle: Option<Obstacle>,
}

/// One input as it was given.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedInput {
    /// The checkpoint before it was applied.
    pub checkpoint: CheckpointRecord,
    /// The input.
    pub values: Map<String, Value>,
    /// Whether the run before it was unfinished: failed, or superseded by it.
    pub cuts_in: bool,
}

/// Why a thread's inputs and answers alone do not lead to its head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// Its first checkpoints were removed.
    #[error("the beginning of its history is not stored any more")]
    Pruned,
    /// It was started by a version that did not record inputs.
    #[error("the input of checkpoint {0} was not recorded")]
    NoInput(CheckpointId),
    /// A person or program wrote into its state.
    #[error("its state was updated at checkpoint {0}")]
    Updated(CheckpointId),
    /// A person or program wrote into its state, or added tasks, in the middle of a step.
    #[error("a command changed the step at checkpoint {0}")]
    Commanded(CheckpointId),
    /// Whether it would have gone on nobody said.
    #[error("it is paused at a breakpoint")]
    Paused,
}

impl Recording {
    /// Reads a thread.
    ///
    /// # Errors
    /// [`Error::ThreadNotFound`], [`Error::Store`].
    pub async fn read(store: &dyn Store, thread: &ThreadId) -> Result<Self, Error> {
        let record = store.thread(thread).await?.ok_or_else(|| Error::ThreadNotFound(thread.clone()))?;
        let outline = store.outline(thread).await?.into_iter().map(|Outline { checkpoint, .. }| checkpoint);
        let outline: HashMap<CheckpointId, CheckpointRecord> =
            outline.map(|checkpoint| (checkpoint.id.clone(), checkpoint)).collect();
        let branch = branch(&outline, &record.head);
        let reader = Reader { store, thread };
        let mut recording =
            Self { thread: record, inputs: Vec::new(), questions: Vec::new(), pauses: 0, obstacle: None };
        if branch.first().is_none_or(|first| first.parent.is_some()) {
            recording.obstacle = Some(Obstacle::Pruned);
        }
        let mut before = Vec::new();
        let mut unfinished = false;
        for (index, checkpoint) in branch.iter().enumerate() {
            let snapshot = reader.snapshot(&checkpoint.id).await?;
            let next = branch.get(index + 1).copied();
            let is_head = next.is_none();
            let is_kept = is_kept(checkpoint, next, &before);
            if checkpoint.source == Source::Update && !is_kept {
                recording.meets(Obstacle::Updated(checkpoint.id.clone()));
            }
            // What the steps of a checkpoint that was replayed came to belongs to the branch that was left.
            if !next.is_some_and(|next| is_replay(checkpoint, next)) {
                if is_head && is_paused(&recording.thread, &snapshot) {
                    recording.meets(Obstacle::Paused);
                }
                recording.take(&snapshot, unfinished);
                reader.add_runs(&snapshot, &mut recording).await?;
            }
            if !is_kept && !checkpoint.next.contains(&Trigger::Start) {
                unfinished = !checkpoint.next.is_empty();
            }
            before = snapshot.tasks;
        }
        // In order of asking; those of one moment stay in order of path.
        recording.questions.sort_by_key(|question| question.asked_at_ms);
        Ok(recording)
    }

    /// The first obstacle is the one to tell.
    fn meets(&mut self, obstacle: Obstacle) {
        self.obstacle.get_or_insert(obstacle);
    }

    fn take(&mut self, snapshot: &Snapshot, unfinished: bool) {
        let Snapshot { checkpoint, tasks, .. } = snapshot;
        if tasks.iter().any(|task| task.path.starts_with(COMMAND)) {
            self.meets(Obstacle::Commanded(checkpoint.id.clone()));
        }
        if checkpoint.next.contains(&Trigger::Start) {
            match tasks.iter().find(|task| task.path == INPUT).and_then(|task| task.result.as_ref()) {
                Some(input) => self.inputs.push(RecordedInput {
                    checkpoint: checkpoint.clone(),
                    values: input.update.clone(),
                    cuts_in: unfinished,
                }),
                None => self.meets(Obstacle::NoInput(checkpoint.id.clone())),
            }
        }
        self.take_step(snapshot);
    }

    fn take_step(&mut self, snapshot: &Snapshot) {
        // A fork is marked as a pause too, so that whoever continues it passes the breakpoints in front of it.
        let made_by_run = matches!(snapshot.checkpoint.source, Source::Input | Source::Loop);
        self.pauses += usize::from(made_by_run && snapshot.tasks.iter().any(|task| task.path == PAUSE));
        self.questions.extend(snapshot.questions.iter().cloned());
    }
}

struct Reader<'a> {
    store: &'a dyn Store,
    thread: &'a ThreadId,
}

impl Reader<'_> {
    async fn snapshot(&self, id: &CheckpointId) -> Result<Snapshot, Error> {
        let missing = || holdpoint_store::Error::Corrupt(format!("checkpoint {id} is missing"));
        Ok(self.store.snapshot(self.thread, Some(id)).await?.ok_or_else(missing)?)
    }

    /// Adds what the runs of subgraphs by the tasks of a step asked, from the first checkpoint of each to its last.
    fn add_runs<'f>(
        &'f self,
        snapshot: &'f Snapshot,
        recording: &'f mut Recording,
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'f>> {
        Box::pin(async move {
            for last in snapshot.tasks.iter().filter_map(|task| task.child.clone()) {
                let mut run = Vec::new();
                let mut at = Some(last);
                while let Some(id) = at {
                    let step = self.snapshot(&id).await?;
                    // One that is kept per thread goes on from the call before: its input divides them.
                    at = step.checkpoint.parent.clone().filter(|_| step.checkpoint.source != Source::Input);
                    run.push(step);
                }
                for step in run.iter().rev() {
                    recording.take_step(step);
                    self.add_runs(step, recording).await?;
                }
            }
            Ok(())
        })
    }
}

/// The checkpoints that lead to the head, oldest first.
fn branch<'a>(outline: &'a HashMap<CheckpointId, CheckpointRecord>, head: &CheckpointId) -> Vec<&'a CheckpointRecord> {
    let mut branch: Vec<&CheckpointRecord> =
        std::iter::successors(outline.get(head), |checkpoint| outline.get(checkpoint.parent.as_ref()?)).collect();
    branch.reverse();
    branch
}

/// Whether the second checkpoint repeats the first: then its tasks run again there.
fn is_replay(checkpoint: &CheckpointRecord, next: &CheckpointRecord) -> bool {
    next.source == Source::Fork && next.anchor == checkpoint.anchor
}

/// Whether an update is nobody's word but what finished tasks had written when new input cut in.
fn is_kept(checkpoint: &CheckpointRecord, next: Option<&CheckpointRecord>, before: &[TaskRecord]) -> bool {
    let executed = |node: &NodeName| {
        let mut tasks = before.iter().filter(|task| task.node == *node);
        tasks.any(|task| task.status == TaskStatus::Done && task.executions > 0)
    };
    checkpoint.source == Source::Update
        && checkpoint.next.is_empty()
        && next.is_some_and(|next| next.source == Source::Input)
        && !checkpoint.writers.is_empty()
        && checkpoint.writers.iter().all(executed)
}

/// Whether a thread waits for nothing but to be continued.
fn is_paused(thread: &ThreadRecord, head: &Snapshot) -> bool {
    fn waits(snapshot: &Snapshot) -> bool {
        snapshot.questions.iter().any(|question| question.status == QuestionStatus::Pending)
            || !snapshot.unsettled.is_empty()
            || snapshot.tasks.iter().any(|task| task.status == TaskStatus::InDoubt)
            || snapshot.children.values().any(waits)
    }
    thread.status == ThreadStatus::Interrupted && !waits(head)
}
