//! A thread's inputs and answers, given to another version to see what it makes of them.

use std::sync::Arc;

use holdpoint_graph::ids::{Epoch, ThreadId};
use holdpoint_graph::nodes::EffectMode;
use holdpoint_graph::state;
use holdpoint_store::{
    CheckpointRecord, Commit, Expect, NewThread, Proceedings, QuestionRecord, QuestionStatus, Settlement, Snapshot,
    ThreadStatus,
};

use super::{Deployment, Engine, all_questions, entropy, is_in_doubt};
use crate::apply;
use crate::error::Error;
use crate::plan::{self, Plan};
use crate::recording::{RecordedInput, Recording};
use crate::update::{self, Base};
use crate::version::Version;
use crate::view::ThreadView;

/// What a version made of a recording.
#[derive(Debug)]
pub struct Repetition {
    /// The thread where it stopped; none when its first input was refused.
    pub view: Option<ThreadView>,
    /// The questions that it asked, in order of asking.
    pub asked: Vec<QuestionRecord>,
    /// Why an input was refused that the thread had taken.
    pub refused: Option<Error>,
}

impl Engine {
    /// Gives a thread's recorded inputs and answers to a version, in this engine's store, which is to be another than the one that the recording is
    /// from. The thread has the same name, lineage, ids and recorded times there, so a version that does the same asks for the same operations. Its
    /// effects are [`EffectMode::Recorded`]: nothing is performed.
    ///
    /// An answer goes to the question of the same node with the same payload. The thread stops where the version asks what was never answered, or
    /// fails where the recorded one did not.
    ///
    /// # Errors
    /// [`Error::Busy`] when the thread is there; [`Error::GraphUnavailable`]; [`Error::Store`]. What the version does with the recording is no
    /// error.
    pub async fn repeat(&self, recording: &Recording, deployment: &Deployment) -> Result<Repetition, Error> {
        let version = self.version(&deployment.digest).await?;
        let thread = &recording.thread.id;
        let mut left = Left { questions: recording.questions.iter().map(Some).collect(), pauses: recording.pauses };
        let mut refused = None;
        for (index, input) in recording.inputs.iter().enumerate() {
            let given = match index {
                0 => self.begin_again(recording, &version, input).await,
                _ => self.give_again(thread, &version, input).await,
            };
            match given {
                Ok(()) => {}
                Err(error @ Error::InvalidInput(_)) => {
                    refused = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            }
            let stopped = self.answer_again(thread, &version, &mut left).await?;
            match recording.inputs.get(index + 1) {
                Some(next) if goes_on(&stopped, next, &mut left) => {}
                _ => break,
            }
        }
        if self.inner.store.thread(thread).await?.is_none() {
            return Ok(Repetition { view: None, asked: Vec::new(), refused });
        }
        let asked = Recording::read(self.inner.store.as_ref(), thread).await?.questions;
        Ok(Repetition { view: Some(self.view(thread).await?), asked, refused })
    }

    async fn begin_again(
        &self,
        recording: &Recording,
        version: &Arc<Version>,
        input: &RecordedInput,
    ) -> Result<(), Error> {
        let thread = &recording.thread.id;
        let now_ms = self.inner.clock.now_ms();
        let first = CheckpointRecord {
            parent: None,
            step: -1,
            graph: version.digest.clone(),
            effects: EffectMode::Recorded,
            children: Default::default(),
            ..input.checkpoint.clone()
        };
        let values = state::initial_values(&version.graph);
        let record = update::input_record(thread, &first.id, &input.values, now_ms);
        let checkpoints = apply::input_checkpoints(&version.graph, thread, first, &values, &input.values)
            .map_err(Error::InvalidInput)?;
        let epoch = Epoch(now_ms);
        let new = NewThread { lineage: recording.thread.lineage.clone(), ..self.new_thread(thread, version, epoch) };
        let commit = Commit {
            head: checkpoints.last().map(|checkpoint| checkpoint.record.id.clone()),
            checkpoints: checkpoints.into(),
            tasks: vec![record],
            ..self.writing(thread, Expect::New(new), now_ms)
        };
        self.commit_new(thread, commit).await?;
        let snapshot = self.snapshot(thread).await?;
        self.drive_at(snapshot, Arc::clone(version), epoch).await.map(drop)
    }

    /// An input to a thread that has stopped; what it waits for is superseded.
    async fn give_again(&self, thread: &ThreadId, version: &Arc<Version>, input: &RecordedInput) -> Result<(), Error> {
        let snapshot = self.snapshot(thread).await?;
        let now_ms = self.inner.clock.now_ms();
        let mut base = Base::of(&snapshot);
        let mut setting = self.setting(version, thread, &snapshot.thread.lineage, now_ms);
        setting.clock_ms = input.checkpoint.clock_ms;
        let mut checkpoints = Vec::new();
        if let Some(kept) = update::kept_writes(&setting, &base, &entropy)? {
            kept.patch.apply(&mut base.values);
            base.checkpoint = kept.record.clone();
            checkpoints.push(kept);
        }
        let before = &base.checkpoint;
        let first = CheckpointRecord {
            parent: Some(before.id.clone()),
            step: before.step + 1,
            graph: version.digest.clone(),
            effects: EffectMode::Recorded,
            children: before.children.clone(),
            clock_ms: input.checkpoint.clock_ms.max(before.clock_ms),
            ..input.checkpoint.clone()
        };
        let record = update::input_record(thread, &first.id, &input.values, now_ms);
        let given = apply::input_checkpoints(&version.graph, thread, first, &base.values, &input.values)
            .map_err(Error::InvalidInput)?;
        checkpoints.extend(given);
        let pending = pending(&snapshot).into_iter();
        let commit = Commit {
            settlements: pending.map(|question| Settlement::Supersede { question: question.id }).collect(),
            head: checkpoints.last().map(|checkpoint| checkpoint.record.id.clone()),
            checkpoints,
            tasks: vec![record],
            ..self.claiming(&snapshot.thread, now_ms)
        };
        self.inner.commit(commit).await?;
        self.drive_claimed(&snapshot, version).await
    }

    /// Answers what was answered and passes breakpoints as often as they were passed, until the thread stops for another reason.
    async fn answer_again(
        &self,
        thread: &ThreadId,
        version: &Arc<Version>,
        left: &mut Left<'_>,
    ) -> Result<Snapshot, Error> {
        loop {
            let snapshot = self.snapshot(thread).await?;
            if snapshot.thread.status != ThreadStatus::Interrupted {
                return Ok(snapshot);
            }
            let answers = pending(&snapshot).into_iter().filter_map(|question| {
                let answer = left.take(&question, QuestionStatus::Answered)?.answer.clone()?;
                let version = question.proceedings.version + 1;
                let proceedings = Box::new(Proceedings { version, ..question.proceedings.clone() });
                Some(Settlement::Answer { question: question.id, answer, proceedings })
            });
            let settlements: Vec<Settlement> = answers.collect();
            if settlements.is_empty() && !left.pass(version, &snapshot) {
                return Ok(snapshot);
            }
            let commit = Commit { settlements, ..self.claiming(&snapshot.thread, self.inner.clock.now_ms()) };
            self.inner.commit(commit).await?;
            self.drive_claimed(&snapshot, version).await?;
        }
    }

    /// Drives a thread that was claimed from `before`.
    async fn drive_claimed(&self, before: &Snapshot, version: &Arc<Version>) -> Result<(), Error> {
        let claimed = self.snapshot(&before.thread.id).await?;
        self.drive_at(claimed, Arc::clone(version), before.thread.epoch.next()).await.map(drop)
    }
}

/// What of a recording was not used yet.
struct Left<'a> {
    questions: Vec<Option<&'a QuestionRecord>>,
    pauses: usize,
}

impl<'a> Left<'a> {
    /// The recorded question with this end that is the same: by id, or else the first that the same node asked with the same payload.
    fn take(&mut self, asked: &QuestionRecord, status: QuestionStatus) -> Option<&'a QuestionRecord> {
        let find = |same: &dyn Fn(&QuestionRecord) -> bool| {
            let mut questions = self.questions.iter();
            questions.position(|question| question.is_some_and(|question| question.status == status && same(question)))
        };
        let place = find(&|question| question.id == asked.id).or_else(|| {
            find(&|question| question.node == asked.node && question.payload_digest == asked.payload_digest)
        })?;
        self.questions[place].take()
    }

    /// Whether the thread is paused and the recorded one went on from there.
    fn pass(&mut self, version: &Version, snapshot: &Snapshot) -> bool {
        let paused = self.pauses > 0
            && !is_in_doubt(snapshot)
            && matches!(plan::plan_snapshot(version, snapshot), Plan::Run(_) | Plan::Apply);
        self.pauses -= usize::from(paused);
        paused
    }
}

/// Whether the next input can follow: the thread is done, or it was cut short in the recording too.
fn goes_on(stopped: &Snapshot, next: &RecordedInput, left: &mut Left<'_>) -> bool {
    match stopped.thread.status {
        ThreadStatus::Done => true,
        ThreadStatus::Running => false,
        ThreadStatus::Failed => next.cuts_in && !is_withheld(stopped),
        ThreadStatus::Interrupted => {
            let pending = pending(stopped);
            let superseded = pending.iter().all(|question| left.take(question, QuestionStatus::Superseded).is_some());
            next.cuts_in && !is_in_doubt(stopped) && !pending.is_empty() && superseded
        }
    }
}

/// Whether the thread wants an operation that has no record: how it would go on nobody knows.
fn is_withheld(snapshot: &Snapshot) -> bool {
    snapshot.thread.error.as_ref().is_some_and(|error| error.code == "HP0445")
}

fn pending(snapshot: &Snapshot) -> Vec<QuestionRecord> {
    all_questions(snapshot).into_iter().filter(|question| question.status == QuestionStatus::Pending).collect()
}
