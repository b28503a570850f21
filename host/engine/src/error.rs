//! How the engine refuses and fails. Nothing was written unless a variant says so.

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, GraphName, Namespace, NodeName, OperationId, QuestionId, ThreadId};
use holdpoint_graph::nodes::Verdict;
use holdpoint_graph::operation::{NoteKind, OperationRecord, OperationState};
use holdpoint_graph::state::StateError;
use holdpoint_store::{QuestionRecord, QuestionStatus, ThreadStatus};

use crate::apply::StepError;

/// Why the engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such thread.
    #[error("thread {0} does not exist")]
    ThreadNotFound(ThreadId),
    /// Another live worker advances the thread.
    #[error("thread {thread} is being advanced by {owner}")]
    Busy {
        /// The thread.
        thread: ThreadId,
        /// Who has it.
        owner: String,
    },
    /// Another writer took the thread over while this one worked on it: nothing of what was not stored counts.
    #[error("thread {0} was taken over by another writer")]
    TakenOver(ThreadId),
    /// New input for a thread that waits for answers.
    #[error("thread {thread} waits for {} answer(s)", .pending.len())]
    Waiting {
        /// The thread.
        thread: ThreadId,
        /// What it waits for.
        pending: Vec<QuestionId>,
    },
    /// New input for a thread that is in the middle of a run.
    #[error("thread {thread} is {}", .status.name())]
    NotFinished {
        /// The thread.
        thread: ThreadId,
        /// What it is doing.
        status: ThreadStatus,
    },
    /// An answer names questions that the thread never asked.
    #[error("no such question: {}", list(.unknown))]
    UnknownQuestion {
        /// The ids that are not questions of this thread.
        unknown: Vec<QuestionId>,
        /// What is pending.
        pending: Vec<QuestionId>,
    },
    /// The question was settled before: the caller lost, and learns who won (`one-decision`).
    #[error("{}", settled(.0))]
    AlreadySettled(Box<QuestionRecord>),
    /// An answer without an id, and nothing is pending.
    #[error("thread {thread} has no pending question{}", .last.as_deref().map(|last| format!("; {}", settled(last))).unwrap_or_default())]
    NothingPending {
        /// The thread.
        thread: ThreadId,
        /// The question that was settled last, if any.
        last: Option<Box<QuestionRecord>>,
    },
    /// An answer without an id, and several questions are pending.
    #[error("{} questions are pending: {}", .0.len(), list(.0))]
    Ambiguous(Vec<QuestionId>),
    /// A map of answers with nothing in it.
    #[error("the map of answers is empty")]
    NoAnswers,
    /// A map of answers whose keys are not all question ids.
    #[error("the map of answers has the key {0:?}, which is not a question id")]
    NotAnAnswerMap(String),
    /// `null` cannot answer a question (R6).
    #[error("null is not an answer")]
    NullAnswer,
    /// The answer breaks the question's schema; the question stands.
    #[error("the answer to {question} is not valid: {}", .violations.join("; "))]
    InvalidAnswer {
        /// The question.
        question: QuestionId,
        /// What is wrong with the answer.
        violations: Vec<String>,
    },
    /// Somebody who is not among those who may answer. On the record.
    #[error("{actor} is not among those who may answer question {question}")]
    NotEligible {
        /// The question.
        question: QuestionId,
        /// Who.
        actor: String,
    },
    /// Somebody whose own doing is asked about, or of whom nobody knows that it is not. On the record.
    #[error("{actor} may not answer question {question}: it is to be somebody other than who asked for it")]
    SelfApproval {
        /// The question.
        question: QuestionId,
        /// Who.
        actor: String,
    },
    /// One person, one vote, in whosever place. On the record.
    #[error("{actor} has voted on question {question}, or somebody has in the same place")]
    AlreadyVoted {
        /// The question.
        question: QuestionId,
        /// Who.
        actor: String,
    },
    /// Somebody who did not sign in as the question's policy wants it: too long ago, in another way, or not in person at all. On the record.
    #[error("{actor} has to sign in anew to answer question {question}: {}", step_up_text(step_up))]
    StepUpRequired {
        /// The question.
        question: QuestionId,
        /// Who.
        actor: String,
        /// What is wanted.
        step_up: crate::approvals::policy::StepUp,
    },
    /// A question whose policy lets nobody decide alone. On the record.
    #[error("question {question} lets nobody decide past its policy, {actor} neither")]
    BreakGlassBarred {
        /// The question.
        question: QuestionId,
        /// Who wanted to.
        actor: String,
    },
    /// Several things at once of which one is a vote that does not decide: they could not be done all at once.
    #[error(
        "the word on question {question} is one vote of several: it cannot be given together with other answers or writes"
    )]
    VoteNotAlone {
        /// A question that the vote does not end.
        question: QuestionId,
    },
    /// Something that the question's policy, or its asker, does not let be done.
    #[error("{verdict} is not allowed on question {question}")]
    VerdictNotAllowed {
        /// The question.
        question: QuestionId,
        /// What was to be done.
        verdict: &'static str,
        /// What may be done.
        allowed: Vec<&'static str>,
    },
    /// A verdict that needs a reason, without one.
    #[error("{} on question {question} needs a reason", .verdict.name())]
    ReasonRequired {
        /// The question.
        question: QuestionId,
        /// The verdict.
        verdict: Verdict,
    },
    /// The decision is about another form of the question than the one that stands.
    #[error("question {question} has the digest {current} now, and the decision names {given}")]
    Stale {
        /// The question.
        question: QuestionId,
        /// The digest that a decision has to name.
        current: Digest,
        /// The one that it named.
        given: Digest,
    },
    /// The question's deadline has come, recorded or not.
    #[error("question {question} could be answered until {}", time_text(*.deadline_at_ms))]
    Expired {
        /// The question.
        question: QuestionId,
        /// Its deadline, in milliseconds since 1970.
        deadline_at_ms: u64,
    },
    /// What was recorded of who may answer cannot be read, so nobody may.
    #[error("the policy of question {question} cannot be read: {reason}")]
    PolicyUnreadable {
        /// The question.
        question: QuestionId,
        /// Why.
        reason: String,
    },
    /// An idempotency key that came with another request before.
    #[error("the idempotency key {key:?} was used for another request")]
    KeyReused {
        /// The key.
        key: String,
    },
    /// Somebody to whom a question cannot be handed on.
    #[error("question {question} cannot be handed on to {to:?}: {reason}")]
    InvalidDelegation {
        /// The question.
        question: QuestionId,
        /// To whom.
        to: String,
        /// Why.
        reason: &'static str,
    },
    /// The input breaks the graph's state.
    #[error("the input is not valid: {0}")]
    InvalidInput(StateError),
    /// The input is not an object.
    #[error("the input must be an object of channels")]
    InputNotAnObject,
    /// The thread is pinned to another version of its graph.
    #[error("thread {thread} is pinned to graph {pinned}, not {given}")]
    OtherGraph {
        /// The thread.
        thread: ThreadId,
        /// The version that it is pinned to.
        pinned: Digest,
        /// The version that was given.
        given: Digest,
    },
    /// The graph version that a thread is pinned to is not stored, or is damaged.
    #[error("graph {digest} cannot be loaded: {reason}")]
    GraphUnavailable {
        /// The version.
        digest: Digest,
        /// Why.
        reason: String,
    },
    /// No such checkpoint in this thread.
    #[error("thread {thread} has no checkpoint {checkpoint}")]
    CheckpointNotFound {
        /// The thread.
        thread: ThreadId,
        /// The checkpoint.
        checkpoint: CheckpointId,
    },
    /// The checkpoint stands before an input was applied.
    #[error("checkpoint {0} stands before its input was applied")]
    NotReplayable(CheckpointId),
    /// No operation has this id.
    #[error("no operation {0}")]
    OperationNotFound(OperationId),
    /// The operation has an outcome, or somebody is performing it: there is no doubt to settle. Carries it as it stands.
    #[error("{}", not_in_doubt(.0))]
    NotInDoubt(Box<OperationRecord>),
    /// The operation may still arrive at its receiver: nobody can know yet that it will not.
    #[error("operation {operation} may still arrive until {}", time_text(*.settles_at_ms))]
    NotSettledYet {
        /// The operation.
        operation: OperationId,
        /// From when it cannot arrive any more, in milliseconds since 1970.
        settles_at_ms: u64,
    },
    /// A person's word without a reason.
    #[error("the reason is empty")]
    NoReason,
    /// A thread whose operation is in doubt cannot be deleted: the doubt would be lost with it.
    #[error("thread {thread} has operation {operation} in doubt")]
    DeleteInDoubt {
        /// The thread.
        thread: ThreadId,
        /// The operation.
        operation: OperationId,
    },
    /// No such node.
    #[error("graph {graph} has no node {node:?}")]
    UnknownNode {
        /// What was named.
        node: String,
        /// The graph.
        graph: GraphName,
    },
    /// An update that does not say for whom it speaks, and the history does not either (R45).
    #[error("the update does not say for which node it speaks{}", candidates_text(.candidates))]
    AmbiguousUpdate {
        /// The nodes that finished last.
        candidates: Vec<NodeName>,
    },
    /// An update without supersteps.
    #[error("there are no updates")]
    NoUpdates,
    /// A superstep without updates.
    #[error("a superstep has no updates")]
    EmptySuperstep,
    /// What can only stand alone stands among other updates, or brings values that it cannot take.
    #[error("{0} cannot stand there")]
    NotInBulk(&'static str),
    /// An update or a command that does not fit the graph.
    #[error("the update is not valid: {0}")]
    InvalidUpdate(Box<StepError>),
    /// A checkpoint of a subgraph where one of the thread's own graph is needed.
    #[error("checkpoint {checkpoint} belongs to the subgraph {namespace}")]
    InSubgraph {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Its namespace.
        namespace: Namespace,
    },
    /// A command for a thread that neither waits nor is paused.
    #[error("thread {thread} is {} and waits for nothing", .status.name())]
    NotWaiting {
        /// The thread.
        thread: ThreadId,
        /// What it is doing.
        status: ThreadStatus,
    },
    /// A waiting thread would be another on the version that it is to go on with.
    #[error("thread {thread} cannot go on with graph {to}: {}", .differences.join("; "))]
    NotMigratable {
        /// The thread.
        thread: ThreadId,
        /// The version.
        to: Digest,
        /// Everything that differs.
        differences: Vec<String>,
    },
    /// The store refused or failed. Where it says unavailable, whether a write took place is unknown until the thread is read again.
    #[error(transparent)]
    Store(#[from] holdpoint_store::Error),
}

impl Error {
    /// The error for an answer to a question that is settled: that its deadline has come is told alike, recorded or not.
    pub(crate) fn settled(question: QuestionRecord) -> Self {
        let expired = question.answer.as_ref().is_some_and(|answer| answer.verdict == Verdict::Expired);
        match question.deadline_at_ms {
            Some(deadline_at_ms) if expired => Self::Expired { question: question.id, deadline_at_ms },
            _ => Self::AlreadySettled(Box::new(question)),
        }
    }

    /// Whether it is about who may answer: such refusals are on the record.
    pub fn is_about_eligibility(&self) -> bool {
        matches!(
            self,
            Self::NotEligible { .. }
                | Self::SelfApproval { .. }
                | Self::AlreadyVoted { .. }
                | Self::StepUpRequired { .. }
                | Self::BreakGlassBarred { .. }
        )
    }

    /// Stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ThreadNotFound(_) => "HP0401",
            Self::Busy { .. } => "HP0402",
            Self::TakenOver(_) => "HP0403",
            Self::Waiting { .. } => "HP0404",
            Self::NotFinished { .. } => "HP0405",
            Self::UnknownQuestion { .. } => "HP0406",
            Self::AlreadySettled(_) => "HP0407",
            Self::NothingPending { .. } => "HP0408",
            Self::Ambiguous(_) => "HP0409",
            Self::NoAnswers => "HP0410",
            Self::NotAnAnswerMap(_) => "HP0411",
            Self::NullAnswer => "HP0412",
            Self::InvalidAnswer { .. } => "HP0413",
            Self::NotEligible { .. } => "HP0901",
            Self::SelfApproval { .. } => "HP0902",
            Self::AlreadyVoted { .. } => "HP0903",
            Self::VerdictNotAllowed { .. } => "HP0904",
            Self::ReasonRequired { .. } => "HP0906",
            Self::Stale { .. } => "HP0907",
            Self::Expired { .. } => "HP0908",
            Self::PolicyUnreadable { .. } => "HP0909",
            Self::KeyReused { .. } => "HP0910",
            Self::InvalidDelegation { .. } => "HP0912",
            Self::StepUpRequired { .. } => "HP0913",
            Self::BreakGlassBarred { .. } => "HP0914",
            Self::VoteNotAlone { .. } => "HP0915",
            Self::InvalidInput(error) => error.code(),
            Self::InputNotAnObject => "HP0414",
            Self::OtherGraph { .. } => "HP0415",
            Self::GraphUnavailable { .. } => "HP0416",
            Self::CheckpointNotFound { .. } => "HP0417",
            Self::NotReplayable(_) => "HP0418",
            Self::OperationNotFound(_) => "HP0430",
            Self::NotInDoubt(_) => "HP0431",
            Self::NotSettledYet { .. } => "HP0432",
            Self::NoReason => "HP0433",
            Self::DeleteInDoubt { .. } => "HP0434",
            Self::UnknownNode { .. } => "HP0435",
            Self::AmbiguousUpdate { .. } => "HP0436",
            Self::NoUpdates => "HP0437",
            Self::EmptySuperstep => "HP0438",
            Self::NotInBulk(_) => "HP0439",
            Self::InvalidUpdate(error) => error.code(),
            Self::InSubgraph { .. } => "HP0440",
            Self::NotWaiting { .. } => "HP0441",
            Self::NotMigratable { .. } => "HP0442",
            Self::Store(error) => error.code(),
        }
    }

    /// What the person can do about it.
    pub fn cure(&self) -> String {
        match self {
            Self::ThreadNotFound(_) => {
                "check the thread's name and the store; `holdpoint threads list` shows what is there".into()
            }
            Self::Busy { .. } => {
                "wait until the other worker is done; if it died on another machine, its claim ends by itself".into()
            }
            Self::TakenOver(_) => "read the thread again and continue from there; nothing was done twice".into(),
            Self::Waiting { .. } => "answer the questions first, or say that the input supersedes them".into(),
            Self::NotFinished { .. } => "continue the run first: resume the thread without an answer".into(),
            Self::UnknownQuestion { pending, .. } => match pending.as_slice() {
                [] => "nothing is pending; show the thread to see what happened".into(),
                pending => format!("answer one of: {}", list(pending)),
            },
            Self::AlreadySettled(_) => "nothing is left to decide; show the thread to see where it is".into(),
            Self::NothingPending { .. } => "show the thread to see what it is doing".into(),
            Self::Ambiguous(_) => "name the question: answer with a map from question id to answer".into(),
            Self::NoAnswers => "give at least one question id with its answer".into(),
            Self::NotAnAnswerMap(_) => "use the 32 hex digits shown with the question as the key".into(),
            Self::NullAnswer => "answer with a value other than null; false, 0 and \"\" are answers".into(),
            Self::InvalidAnswer { .. } => "correct the answer; the question is still pending".into(),
            Self::NotEligible { .. } => {
                "ask one of those named with the question, or have one of them hand it on to you".into()
            }
            Self::SelfApproval { .. } => "let somebody else decide".into(),
            Self::AlreadyVoted { .. } => "wait for the others".into(),
            Self::VerdictNotAllowed { allowed, .. } => format!("what may be done: {}", allowed.join(", ")),
            Self::ReasonRequired { .. } => "say why; the question is still pending".into(),
            Self::Stale { .. } => "look at the question as it is now, and decide on that".into(),
            Self::Expired { .. } => "nothing is left to decide: the deadline has answered".into(),
            Self::PolicyUnreadable { .. } => {
                "use the version of Holdpoint that asked it, or supersede it with new input".into()
            }
            Self::KeyReused { .. } => "use a new key for a new request".into(),
            Self::StepUpRequired { .. } => {
                "sign in anew with your identity provider, and answer with the token that it gives then".into()
            }
            Self::BreakGlassBarred { .. } => {
                "let those answer who may; `break_glass = true` in the graph file holds for questions to come".into()
            }
            Self::VoteNotAlone { .. } => "give each question's answer by itself, and the writes after them".into(),
            Self::InvalidDelegation { .. } => {
                "name somebody else, or a group as `group:NAME`, and an end to come".into()
            }
            Self::InvalidInput(error) => error.cure(),
            Self::InputNotAnObject => "give a JSON object whose members are the graph's channels".into(),
            Self::OtherGraph { .. } => {
                "start a new thread for the new version; this one keeps the version it began with".into()
            }
            Self::GraphUnavailable { .. } => {
                "use the store that the thread was started with, or restore it from a backup".into()
            }
            Self::CheckpointNotFound { .. } => "copy the id from the thread's history".into(),
            Self::OperationNotFound(_) => "`holdpoint operations list` shows what there is".into(),
            Self::NotInDoubt(_) => {
                "nothing is left to settle; `holdpoint operations show` tells what became of it".into()
            }
            Self::NotSettledYet { .. } => {
                "wait until then; if you know that it happened, say so with its result at once".into()
            }
            Self::NoReason => "say why: it is kept with the operation for ever".into(),
            Self::DeleteInDoubt { .. } => "settle the operation first: `holdpoint operations resolve`".into(),
            Self::NotReplayable(_) => "replay from the checkpoint after it, or give the input anew".into(),
            Self::UnknownNode { .. } => "name a node of the graph; `holdpoint graph show` draws it".into(),
            Self::AmbiguousUpdate { .. } => "say for which node the update speaks".into(),
            Self::NoUpdates => "give at least one superstep of updates".into(),
            Self::EmptySuperstep => "give each superstep at least one update".into(),
            Self::NotInBulk(_) => {
                "give __copy__ and END alone and without values, and __input__ alone in its superstep".into()
            }
            Self::InvalidUpdate(error) => error.cure(),
            Self::InSubgraph { .. } => {
                "name a checkpoint of the thread's own graph: its subgraphs run again with it".into()
            }
            Self::NotWaiting { .. } => "give new input, or update the thread's state".into(),
            Self::NotMigratable { .. } => {
                "let the thread go on with the version that it has, or deploy one that does the same up to here".into()
            }
            Self::Store(error) => store_cure(error).into(),
        }
    }
}

fn store_cure(error: &holdpoint_store::Error) -> &'static str {
    use holdpoint_store::Error as Store;
    match error {
        Store::Fenced { .. } => "read the thread again and continue from there",
        Store::ThreadExists(_) => "choose another thread name, or resume this thread",
        Store::ThreadNotFound(_) | Store::QuestionNotFound { .. } => {
            "check the names; `holdpoint threads list` shows what is there"
        }
        Store::QuestionSettled(_) => "nothing is left to decide",
        Store::Invalid(_) => "this is a fault of Holdpoint: please report it",
        Store::Full(_) => "make room on the medium, then resume the thread",
        Store::ReadOnly(_) => "make the file and its folder writable for this user",
        Store::NewerSchema { .. } => "use the newer version of Holdpoint that made the store",
        Store::Unavailable(_) => {
            "check that the store can be reached, then resume the thread: what was acknowledged is there"
        }
        Store::Corrupt(_) => "restore the store from a backup",
        Store::DeadlinePassed { .. } => "nothing is left to decide: the deadline has answered",
        Store::QuestionChanged(_) => "read the question again and decide again",
        Store::KeyUsed(_) => "use a new key for a new request",
        Store::LinkUsed => "ask for a new link, or sign in",
        Store::RunChanged { .. } => "read the run again",
        Store::Exists(_) => "choose another name",
    }
}

fn candidates_text(candidates: &[NodeName]) -> String {
    match candidates {
        [] => String::new(),
        several => {
            let names: Vec<&str> = several.iter().map(NodeName::as_str).collect();
            format!("; {} finished last together", names.join(", "))
        }
    }
}

fn list(ids: &[QuestionId]) -> String {
    ids.iter().map(QuestionId::as_str).collect::<Vec<_>>().join(", ")
}

fn step_up_text(step_up: &crate::approvals::policy::StepUp) -> String {
    let within = std::time::Duration::from_millis(step_up.within_ms);
    match step_up.acr.as_slice() {
        [] => format!("within {within:?} before the answer"),
        acr => format!("within {within:?} before the answer, as {}", acr.join(" or ")),
    }
}

fn settled(question: &QuestionRecord) -> String {
    if let (None, Some(withdrawn)) = (&question.answer, &question.proceedings.withdrawn) {
        return format!(
            "question {} of node {} was cancelled by {} at {}",
            question.id,
            question.node,
            withdrawn.by.id,
            time_text(withdrawn.at_ms)
        );
    }
    match (&question.answer, question.status) {
        (Some(answer), _) => format!(
            "question {} of node {} was answered by {} at {} with {}",
            question.id,
            question.node,
            answer.answered_by,
            time_text(answer.answered_at_ms),
            answer.value
        ),
        (None, QuestionStatus::Superseded) => {
            format!("question {} of node {} was superseded", question.id, question.node)
        }
        (None, status) => format!("question {} of node {} is {}", question.id, question.node, status.name()),
    }
}

fn not_in_doubt(record: &OperationRecord) -> String {
    let id = &record.key.id;
    match (&record.state, record.notes.last()) {
        (OperationState::Intended, _) => format!("operation {id} is being performed now"),
        (state, Some(note)) if note.kind != NoteKind::Approved => format!(
            "operation {id} is {}: {} said {} at {}",
            state.name(),
            note.by,
            note.kind.name(),
            time_text(note.at_ms)
        ),
        (state, _) => format!("operation {id} is {}", state.name()),
    }
}

fn time_text(at_ms: u64) -> String {
    let time = i64::try_from(at_ms).ok().and_then(|at_ms| jiff::Timestamp::from_millisecond(at_ms).ok());
    time.map_or_else(|| format!("{at_ms} ms since 1970"), |time| format!("{time:.3}"))
}
