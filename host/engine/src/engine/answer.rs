//! Answers, commands, and going on without one.

use holdpoint_graph::actor::Actor;
use holdpoint_graph::ids::{NodeName, QuestionId, TaskId, ThreadId};
use holdpoint_graph::nodes::{Answer, Command, Destination, Verdict};
use holdpoint_graph::notice::NoticeKind;
use holdpoint_graph::operation::OperationRecord;
use holdpoint_graph::state;
use holdpoint_store::{
    Commit, DeadlineGuard, QuestionChange, QuestionRecord, QuestionStatus, Settlement, Snapshot, TaskRecord,
    TaskStatus, ThreadStatus,
};
use serde_json::{Value, json};

use super::{Engine, Principal, all_questions};
use crate::answers::{self, Answers, Matched};
use crate::approvals::decide::{self, Outcome, Word};
use crate::approvals::notice::{Subject, Telling, notice};
use crate::approvals::shape::Shape;
use crate::approvals::value;
use crate::error::Error;
use crate::plan::{self, COMMAND, Plan};
use crate::version::Version;
use crate::view::{self, ThreadView};

/// Times that answers are tried anew because somebody else had a say meanwhile.
const ATTEMPTS_MAX: usize = 64;

impl Engine {
    /// Answers questions in the name of `answered_by` and drives the thread. A value that has one of the forms of an approval is that verdict, any
    /// other one a response; what holds for decisions ([`Engine::decide`]) holds for it. Where more people have to decide, it is a vote: it is
    /// recorded, and the thread goes on waiting.
    ///
    /// # Errors
    /// Every refusal of strict resume and of [`Engine::decide`]: then nothing is written and the questions stand. See [`Engine::run`] for errors after acceptance.
    pub async fn answer(&self, thread: &ThreadId, answers: &Answers, answered_by: &str) -> Result<ThreadView, Error> {
        self.command(thread, Some(answers), Command::default(), answered_by).await
    }

    /// Answers questions of a thread that waits, writes to its state and adds tasks to its unfinished step, all at once or not at all, and drives it
    /// (LangGraph's `Command` as input, R28). What is written shows in the state that the step's remaining tasks see, and is applied with the step
    /// before what its tasks wrote. Breakpoints at which the thread paused are passed.
    ///
    /// # Errors
    /// As [`Engine::answer`]; [`Error::VoteNotAlone`] for a vote that does not decide beside anything else; [`Error::NotWaiting`] for a thread that neither waits nor is paused; [`Error::InvalidUpdate`] for writes that do not
    /// fit, destinations that are no nodes included. Nothing is written then.
    pub async fn command(
        &self,
        thread: &ThreadId,
        answers: Option<&Answers>,
        command: Command,
        answered_by: &str,
    ) -> Result<ThreadView, Error> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.command_once(thread, answers, command.clone(), answered_by).await {
                // Somebody else had a say between reading and writing: what stands now may refuse it.
                Err(Error::Store(holdpoint_store::Error::QuestionChanged(_))) if attempts < ATTEMPTS_MAX => {}
                done => return done,
            }
        }
    }

    async fn command_once(
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
        let at_ms = self.inner.clock.now_ms();
        let speaker = self.options.principal.actor_named(answered_by);
        let mut decided = Vec::with_capacity(accepted.len());
        for (question, value) in accepted {
            decided.push((question, self.outcome(thread, question, value, &speaker, at_ms).await?));
        }
        self.check_free(&snapshot.thread)?;
        let node = decided.first().map(|(question, _)| question.node.clone());
        let written = command_record(&version, &snapshot, command, node, at_ms)?;
        if let Some(question) = open_vote(&decided) {
            if decided.len() > 1 || written.is_some() {
                return Err(Error::VoteNotAlone { question });
            }
            self.vote(thread, decided, at_ms).await?;
            return Ok(view::thread_view(&self.snapshot(thread).await?, Some(&version), self.now_ms()));
        }
        let last = decided;
        let mut settlements = Vec::with_capacity(last.len());
        let mut audit = Vec::with_capacity(last.len() + 1);
        let mut operations = Vec::new();
        for (question, outcome) in &last {
            audit.push(self.outcome_entry(thread, question, outcome, at_ms));
            operations.extend(self.tell_decided(&snapshot, question, outcome, at_ms));
            settlements.extend(outcome.answer.clone().map(|answer| Settlement::Answer {
                question: question.id.clone(),
                answer,
                proceedings: Box::new(outcome.proceedings.clone()),
            }));
        }
        if last.is_empty() || written.is_some() {
            audit.push(self.entry_by(
                speaker,
                thread,
                "thread.commanded",
                at_ms,
                json!({ "writes": written.is_some() }),
            ));
        }
        let named: Vec<QuestionId> = last.iter().map(|(question, _)| question.id.clone()).collect();
        let commit = Commit {
            settlements: settlements.clone(),
            tasks: written.iter().cloned().collect(),
            operations,
            audit,
            ..self.claiming(&snapshot.thread, at_ms)
        };
        if let Err(error) = self.inner.commit(commit).await {
            return Err(self.lost(thread, error, &named).await?);
        }
        for settlement in settlements {
            if let Settlement::Answer { question, answer, .. } = settlement {
                note_answer(&mut snapshot, &question, &answer);
            }
        }
        snapshot.tasks.extend(written);
        self.drive(snapshot, version).await
    }

    /// What answers would be refused for if they were given now: for those that are given later, in their turn. Gives each with the question that it
    /// is for. `with_writes` says that the same command writes or goes somewhere too. Writes nothing, but puts the refusal of somebody who may not answer on the record.
    ///
    /// # Errors
    /// As [`Engine::answer`], as far as the questions are concerned.
    pub async fn check_answers(
        &self,
        thread: &ThreadId,
        answers: &Answers,
        answered_by: &str,
        with_writes: bool,
    ) -> Result<Vec<(QuestionRecord, Value)>, Error> {
        let snapshot = self.snapshot(thread).await?;
        let questions = all_questions(&snapshot);
        let at_ms = self.inner.clock.now_ms();
        let speaker = self.options.principal.actor_named(answered_by);
        let (mut checked, mut decided) = (Vec::new(), Vec::new());
        for (question, value) in self.accept(&snapshot, &questions, answers).await? {
            let outcome = self.outcome(thread, question, value.clone(), &speaker, at_ms).await?;
            decided.push((question, outcome));
            checked.push((question.clone(), value));
        }
        match open_vote(&decided) {
            Some(question) if decided.len() > 1 || with_writes => Err(Error::VoteNotAlone { question }),
            _ => Ok(checked),
        }
    }

    /// What a value that resumes comes to as a decision on a question. Its id stands for its payload and for nothing that somebody proposed since.
    async fn outcome(
        &self,
        thread: &ThreadId,
        question: &QuestionRecord,
        value: Value,
        speaker: &Actor,
        at_ms: u64,
    ) -> Result<Outcome, Error> {
        let shape = Shape::of(&question.payload);
        let word = Word {
            verdict: value::verdict_of(&shape, &value).unwrap_or(Verdict::Respond),
            message: value.get("reason").and_then(Value::as_str).map(str::to_owned),
            value: Some(value),
            args: None,
            digest: question.payload_digest.clone(),
            on_behalf_of: None,
            break_glass: false,
        };
        let principal = Principal { actor: speaker.clone(), ..self.options.principal.clone() };
        match decide::decide(question, &principal, &word, at_ms) {
            Ok(outcome) => Ok(outcome),
            Err(refusal) => {
                let what = word.verdict.name();
                Err(self.refused_by(speaker.clone(), thread, question, what, refusal, at_ms).await)
            }
        }
    }

    /// Records votes that do not decide. The thread goes on waiting for the others.
    async fn vote(&self, thread: &ThreadId, votes: Vec<(&QuestionRecord, Outcome)>, at_ms: u64) -> Result<(), Error> {
        for (question, outcome) in votes {
            let audit = vec![self.outcome_entry(thread, question, &outcome, at_ms)];
            let change = QuestionChange {
                thread: thread.clone(),
                question: question.id.clone(),
                proceedings: outcome.proceedings,
                due_at_ms: question.due_at_ms,
                guard: DeadlineGuard::Open,
                answer: None,
                claim: None,
                operations: Vec::new(),
                reply: None,
                link: None,
                audit,
                at_ms,
            };
            if let Err(error) = self.inner.change_question(change).await {
                return Err(self.lost(thread, error, &[]).await?);
            }
        }
        Ok(())
    }

    fn tell_decided(
        &self,
        snapshot: &Snapshot,
        question: &QuestionRecord,
        outcome: &Outcome,
        at_ms: u64,
    ) -> Vec<OperationRecord> {
        let subject = Subject::of(&snapshot.thread);
        let after = QuestionRecord {
            answer: outcome.answer.clone(),
            proceedings: outcome.proceedings.clone(),
            ..question.clone()
        };
        let notice = notice(&subject, &after, &Telling::once(NoticeKind::Decided), at_ms);
        notice.iter().flat_map(|notice| self.inner.notices.operations(notice)).collect()
    }

    async fn accept<'a>(
        &self,
        snapshot: &Snapshot,
        questions: &'a [QuestionRecord],
        answers: &Answers,
    ) -> Result<Vec<(&'a QuestionRecord, Value)>, Error> {
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
            return Ok(view::thread_view(&snapshot, Some(&version), self.now_ms()));
        }
        self.check_free(&snapshot.thread)?;
        let now_ms = self.inner.clock.now_ms();
        let continued =
            self.entry(thread, "thread.continued", now_ms, json!({ "from": snapshot.thread.status.name() }));
        let commit = Commit { audit: vec![continued], ..self.claiming(&snapshot.thread, now_ms) };
        if let Err(error) = self.inner.commit(commit).await {
            return Err(self.lost(thread, error, &[]).await?);
        }
        if snapshot.thread.owner.is_some() {
            // Whoever had it may have stored something between the reading and the claim.
            let epoch = snapshot.thread.epoch.next();
            return self.drive_at(self.snapshot(thread).await?, version, epoch).await;
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

/// A question that is voted on and not decided: its vote is a change by itself, which nothing else can share.
fn open_vote(decided: &[(&QuestionRecord, Outcome)]) -> Option<QuestionId> {
    let open = decided.iter().find(|(_, outcome)| outcome.answer.is_none());
    open.map(|(question, _)| question.id.clone())
}

/// Writes an answer that was just stored into what was read before.
pub(super) fn note_answer(snapshot: &mut Snapshot, question: &QuestionId, answer: &Answer) {
    if let Some(record) = snapshot.questions.iter_mut().find(|record| record.id == *question) {
        record.status = QuestionStatus::Answered;
        record.answer = Some(answer.clone());
    }
    snapshot.children.values_mut().for_each(|child| note_answer(child, question, answer));
}
