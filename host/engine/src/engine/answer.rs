//! Answers, commands, and going on without one.

use holdpoint_graph::ids::{NodeName, QuestionId, TaskId, ThreadId};
use holdpoint_graph::nodes::{Answer, Command, Destination, Verdict};
use holdpoint_graph::state;
use holdpoint_store::{
    Commit, QuestionRecord, QuestionStatus, Settlement, Snapshot, TaskRecord, TaskStatus, ThreadStatus,
};

use super::{Engine, all_questions};
use crate::answers::{self, Answers, Matched};
use crate::error::Error;
use crate::plan::{self, COMMAND, Plan};
use crate::version::Version;
use crate::view::{self, ThreadView};

impl Engine {
    /// Answers questions in the name of `answered_by` and drives the thread.
    ///
    /// # Errors
    /// Every refusal of strict resume: then nothing is written and the questions stand. See [`Engine::run`] for errors after acceptance.
    pub async fn answer(&self, thread: &ThreadId, answers: &Answers, answered_by: &str) -> Result<ThreadView, Error> {
        self.command(thread, Some(answers), Command::default(), answered_by).await
    }

    /// Answers questions of a thread that waits, writes to its state and adds tasks to its unfinished step, all at once or not at all, and drives it
    /// (LangGraph's `Command` as input, R28). What is written shows in the state that the step's remaining tasks see, and is applied with the step
    /// before what its tasks wrote. Breakpoints at which the thread paused are passed.
    ///
    /// # Errors
    /// As [`Engine::answer`]; [`Error::NotWaiting`] for a thread that neither waits nor is paused; [`Error::InvalidUpdate`] for writes that do not
    /// fit, destinations that are no nodes included. Nothing is written then.
    pub async fn command(
        &self,
        thread: &ThreadId,
        answers: Option<&Answers>,
        command: Command,
        answered_by: &str,
    ) -> Result<ThreadView, Error> {
        let mut snapshot = self.snapshot(thread).await?;
        let version = self.version(&snapshot.checkpoint.graph).await?;
        self.check_breakpoints(&version)?;
        let questions = all_questions(&snapshot);
        let accepted = match answers {
            Some(answers) => self.accept(&snapshot, &questions, answers).await?,
            None => Vec::new(),
        };
        if answers.is_none() && snapshot.thread.status != ThreadStatus::Interrupted {
            return Err(Error::NotWaiting { thread: thread.clone(), status: snapshot.thread.status });
        }
        self.check_free(&snapshot.thread)?;
        let at_ms = self.inner.clock.now_ms();
        let node = accepted.first().map(|(question, _)| question.node.clone());
        let record = command_record(&version, &snapshot, command, node, at_ms)?;
        let settlements: Vec<Settlement> = accepted
            .iter()
            .map(|(question, value)| Settlement::Answer {
                question: question.id.clone(),
                answer: Answer {
                    verdict: Verdict::Respond,
                    value: value.clone(),
                    answered_by: answered_by.to_owned(),
                    answered_at_ms: at_ms,
                },
            })
            .collect();
        let named: Vec<QuestionId> = accepted.iter().map(|(question, _)| question.id.clone()).collect();
        let commit = Commit {
            settlements: settlements.clone(),
            tasks: record.iter().cloned().collect(),
            ..self.claiming(&snapshot.thread, at_ms)
        };
        if let Err(error) = self.inner.store.commit(commit).await {
            return Err(self.lost(thread, error, &named).await?);
        }
        for settlement in settlements {
            if let Settlement::Answer { question, answer } = settlement {
                note_answer(&mut snapshot, &question, &answer);
            }
        }
        snapshot.tasks.extend(record);
        self.drive(snapshot, version).await
    }

    async fn accept<'a>(
        &self,
        snapshot: &Snapshot,
        questions: &'a [QuestionRecord],
        answers: &Answers,
    ) -> Result<Vec<(&'a QuestionRecord, serde_json::Value)>, Error> {
        match answers::match_answers(&snapshot.thread.id, questions, answers) {
            Ok(Matched::Accepted(accepted)) => Ok(accepted),
            Ok(Matched::Elsewhere(ids)) => Err(self.explain_elsewhere(snapshot, ids).await?),
            Err(Error::NothingPending { thread, last: None }) => {
                let last = self.last_settled(&thread).await?;
                Err(Error::NothingPending { thread, last })
            }
            Err(error) => Err(error),
        }
    }

    /// Continues what can continue and answers nothing: after a crash, after a failure, from a breakpoint, after an update, after doubt was settled.
    /// A thread that is done or that only waits for answers is left as it is.
    ///
    /// # Errors
    /// [`Error::ThreadNotFound`], [`Error::Busy`]; see [`Engine::run`] for errors after the claim.
    pub async fn proceed(&self, thread: &ThreadId) -> Result<ThreadView, Error> {
        let snapshot = self.snapshot(thread).await?;
        let version = self.version(&snapshot.checkpoint.graph).await?;
        self.check_breakpoints(&version)?;
        let can_continue = match (snapshot.thread.status, plan::plan_snapshot(&version, &snapshot)) {
            (ThreadStatus::Running | ThreadStatus::Failed, _) => true,
            (ThreadStatus::Done, _) | (_, Plan::Wait | Plan::Finished) => false,
            // A task in doubt runs again too: its receiver may know by now what became of the operation. It sends nothing by itself.
            (ThreadStatus::Interrupted, Plan::Run(_) | Plan::Apply) => true,
        };
        if !can_continue {
            return Ok(view::thread_view(&snapshot, Some(&version)));
        }
        self.check_free(&snapshot.thread)?;
        let commit = self.claiming(&snapshot.thread, self.inner.clock.now_ms());
        if let Err(error) = self.inner.store.commit(commit).await {
            return Err(self.lost(thread, error, &[]).await?);
        }
        self.drive(snapshot, version).await
    }
}

/// What a caller writes or asks for in the middle of a step, checked as a whole; none when there is nothing.
fn command_record(
    version: &Version,
    snapshot: &Snapshot,
    command: Command,
    node: Option<NodeName>,
    now_ms: u64,
) -> Result<Option<TaskRecord>, Error> {
    if command == Command::default() {
        return Ok(None);
    }
    for destination in &command.goto {
        let (Destination::Node(target) | Destination::Send { node: target, .. } | Destination::Parent(target)) =
            destination
        else {
            continue;
        };
        let known = NodeName::parse(target.as_str()).is_ok_and(|name| version.node(&name).is_some());
        if !known || matches!(destination, Destination::Parent(_)) {
            return Err(Error::UnknownNode { node: target.clone(), graph: version.graph.name.clone() });
        }
    }
    let before = plan::commands(&snapshot.tasks);
    let earlier = before.iter().map(|(path, command)| (*path, &command.update));
    let updates: Vec<_> = earlier.chain([("the caller's command", &command.update)]).collect();
    state::reduce(&version.graph, &snapshot.values, &updates)
        .map_err(|source| Error::InvalidUpdate(Box::new(crate::apply::StepError::State { node: None, source })))?;
    let path = format!("{COMMAND}{:06}", before.len());
    let next = plan::tasks_of(&snapshot.thread.id, &snapshot.checkpoint, &snapshot.tasks).into_iter().next();
    let Some(node) = node.or(next.map(|task| task.node)) else {
        return Err(Error::NotWaiting { thread: snapshot.thread.id.clone(), status: snapshot.thread.status });
    };
    Ok(Some(TaskRecord {
        id: TaskId::derive(&snapshot.thread.id, &snapshot.checkpoint.id, &path),
        checkpoint: snapshot.checkpoint.id.clone(),
        node,
        path,
        status: TaskStatus::Done,
        executions: 0,
        result: Some(command),
        error: None,
        child: None,
        steps_left: None,
        updated_at_ms: now_ms,
    }))
}

fn note_answer(snapshot: &mut Snapshot, question: &QuestionId, answer: &Answer) {
    if let Some(record) = snapshot.questions.iter_mut().find(|record| record.id == *question) {
        record.status = QuestionStatus::Answered;
        record.answer = Some(answer.clone());
    }
    snapshot.children.values_mut().for_each(|child| note_answer(child, question, answer));
}
