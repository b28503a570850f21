//! What the engine can answer, by name, so that a new error does not compile before it is thought of here.

use holdpoint_engine::Error;

macro_rules! errors {
    ($($name:ident: $excluded:expr),* $(,)?) => {
        /// Every error with the reason why it cannot occur in this test, if it cannot.
        pub(crate) const ERRORS: &[(&str, Option<&str>)] = &[$((stringify!($name), $excluded)),*];

        pub(crate) fn name(error: &Error) -> &'static str {
            match error {
                $(Error::$name { .. } => stringify!($name),)*
            }
        }
    };
}

errors! {
    ThreadNotFound: None,
    Busy: None,
    TakenOver: None,
    Waiting: None,
    NotFinished: None,
    UnknownQuestion: None,
    AlreadySettled: None,
    NothingPending: None,
    Ambiguous: None,
    NoAnswers: None,
    NotAnAnswerMap: None,
    NullAnswer: None,
    InvalidAnswer: None,
    NotEligible: Some("the graphs let everybody say everything"),
    SelfApproval: Some("the graphs let everybody say everything"),
    AlreadyVoted: Some("the graphs let everybody say everything"),
    VerdictNotAllowed: Some("the graphs let everybody say everything"),
    ReasonRequired: Some("the graphs let everybody say everything"),
    Stale: Some("the graphs let everybody say everything"),
    Expired: None,
    PolicyUnreadable: Some("the graphs let everybody say everything"),
    KeyReused: Some("scripts answer by resuming, which takes no keys"),
    InvalidDelegation: Some("scripts hand no questions on"),
    StepUpRequired: Some("the graphs let everybody say everything"),
    BreakGlassBarred: Some("scripts answer by resuming, which is always a word among others"),
    VoteNotAlone: Some("in these graphs one word decides"),
    InvalidInput: None,
    InputNotAnObject: None,
    OtherGraph: None,
    GraphUnavailable: None,
    CheckpointNotFound: None,
    NotReplayable: Some("the checkpoint of every input has the record of what was given"),
    OperationNotFound: None,
    NotInDoubt: None,
    NotSettledYet: None,
    NoReason: None,
    DeleteInDoubt: None,
    UnknownNode: None,
    AmbiguousUpdate: None,
    NoUpdates: None,
    EmptySuperstep: None,
    NotInBulk: None,
    InvalidUpdate: None,
    InSubgraph: None,
    NotWaiting: None,
    NotMigratable: Some("scripts deploy one version of each graph"),
    Store: None,
}

/// Codes that are recorded with threads and tasks: those of steps that cannot be applied, of tasks that failed or wait, of runs that ended.
pub(crate) const RECORDED: [&str; 21] = [
    "HP0301", "HP0302", "HP0303", "HP0304", "HP0305", "HP0306", "HP0307", "HP0308", "HP0309", "HP0420", "HP0421",
    "HP0422", "HP0423", "HP0424", "HP0425", "HP0426", "HP0427", "HP0428", "HP0429", "HP0520", "HP0445",
];
