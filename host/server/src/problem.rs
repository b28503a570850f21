//! How a request is refused: LangGraph's `{"detail": …}`, with our stable code beside it.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use holdpoint_engine::Error as EngineError;
use holdpoint_graph::ids::QuestionId;
use holdpoint_store::{Error as StoreError, QuestionRecord};
use serde_json::{Map, Value, json};

/// Why a request was refused, as its caller is told. Never holds a secret, nor what belongs to another tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// Stable code, such as `HP0801`.
    pub code: String,
    /// What is wrong, for people.
    pub detail: String,
    /// What helps.
    pub cure: Option<Box<str>>,
    /// More members of the body, such as the winner of a race.
    pub more: Map<String, Value>,
    /// More headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem with this status, code and text.
    pub fn new(status: StatusCode, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { status, code: code.into(), detail: detail.into(), cure: None, more: Map::new(), headers: Vec::new() }
    }

    /// With what helps.
    #[must_use]
    pub fn with_cure(self, cure: impl Into<String>) -> Self {
        Self { cure: Some(cure.into().into_boxed_str()), ..self }
    }

    /// With another member in its body.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// The request's content is not acceptable (422).
    pub fn invalid(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// There is no such thing, or it is another tenant's (404).
    pub fn not_found(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// What is there stands in the way (409).
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// The caller may not (403).
    pub fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = self.more;
        body.insert("detail".into(), self.detail.into());
        body.insert("code".into(), self.code.into());
        if let Some(cure) = self.cure {
            body.insert("cure".into(), String::from(cure).into());
        }
        let mut response = (self.status, Json(Value::Object(body))).into_response();
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let status = match &error {
            StoreError::ThreadNotFound(_) | StoreError::QuestionNotFound { .. } => StatusCode::NOT_FOUND,
            StoreError::Fenced { .. }
            | StoreError::ThreadExists(_)
            | StoreError::QuestionSettled(_)
            | StoreError::DeadlinePassed { .. }
            | StoreError::QuestionChanged(_)
            | StoreError::LinkUsed
            | StoreError::RunChanged { .. }
            | StoreError::Exists(_) => StatusCode::CONFLICT,
            StoreError::KeyUsed(_) => StatusCode::UNPROCESSABLE_ENTITY,
            StoreError::Full(_) | StoreError::ReadOnly(_) | StoreError::Unavailable(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            StoreError::Invalid(_) | StoreError::NewerSchema { .. } | StoreError::Corrupt(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        if !status.is_server_error() {
            return Self::new(status, error.code(), error.to_string());
        }
        tracing::error!(code = error.code(), %error, "the store failed");
        // What a database says names tables, files and hosts: it is for the log.
        let (detail, cure) = match &error {
            StoreError::Full(_) => ("the store is full; nothing was written", "tell the operator"),
            StoreError::ReadOnly(_) => ("the store is read-only; nothing was written", "tell the operator"),
            StoreError::Unavailable(_) => ("the store cannot be reached", "read again before repeating a change"),
            _ => ("the store failed", "tell the operator; the server's log says more"),
        };
        Self::new(status, error.code(), detail).with_cure(cure)
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        use EngineError as Error;
        let status = match &error {
            Error::ThreadNotFound(_) | Error::CheckpointNotFound { .. } | Error::OperationNotFound(_) => {
                StatusCode::NOT_FOUND
            }
            Error::Busy { .. }
            | Error::TakenOver(_)
            | Error::Waiting { .. }
            | Error::NotFinished { .. }
            | Error::UnknownQuestion { .. }
            | Error::AlreadySettled(_)
            | Error::NothingPending { .. }
            | Error::Ambiguous(_)
            | Error::OtherGraph { .. }
            | Error::NotInDoubt(_)
            | Error::NotSettledYet { .. }
            | Error::DeleteInDoubt { .. }
            | Error::NotWaiting { .. }
            | Error::Stale { .. }
            | Error::Expired { .. }
            | Error::NotMigratable { .. } => StatusCode::CONFLICT,
            Error::NotEligible { .. }
            | Error::SelfApproval { .. }
            | Error::AlreadyVoted { .. }
            | Error::StepUpRequired { .. }
            | Error::BreakGlassBarred { .. } => StatusCode::FORBIDDEN,
            Error::NoAnswers
            | Error::NotAnAnswerMap(_)
            | Error::NullAnswer
            | Error::InvalidAnswer { .. }
            | Error::InvalidInput(_)
            | Error::InputNotAnObject
            | Error::NotReplayable(_)
            | Error::NoReason
            | Error::UnknownNode { .. }
            | Error::AmbiguousUpdate { .. }
            | Error::NoUpdates
            | Error::EmptySuperstep
            | Error::NotInBulk(_)
            | Error::InvalidUpdate(_)
            | Error::VerdictNotAllowed { .. }
            | Error::ReasonRequired { .. }
            | Error::KeyReused { .. }
            | Error::InvalidDelegation { .. }
            | Error::VoteNotAlone { .. }
            | Error::InSubgraph { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Error::GraphUnavailable { .. } | Error::PolicyUnreadable { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            Error::Store(_) => return store_problem(error),
        };
        if status.is_server_error() {
            tracing::error!(code = error.code(), %error, "what is stored cannot be used");
        }
        let problem = Self::new(status, error.code(), error.to_string()).with_cure(error.cure());
        let ids = |questions: &[QuestionId]| questions.iter().map(QuestionId::to_string).collect::<Vec<_>>();
        match &error {
            Error::Waiting { pending, .. } | Error::UnknownQuestion { pending, .. } | Error::Ambiguous(pending) => {
                problem.with("pending", ids(pending))
            }
            Error::AlreadySettled(question) | Error::NothingPending { last: Some(question), .. } => {
                problem.with("winner", winner(question))
            }
            Error::Stale { current, .. } => problem.with("current_digest", current.as_str()),
            // As RFC 9470 names them, for programs that can have their user sign in anew.
            Error::StepUpRequired { step_up, .. } => {
                problem.with("max_age_seconds", step_up.within_ms / 1000).with("acr_values", step_up.acr.clone())
            }
            Error::VerdictNotAllowed { allowed, .. } => problem.with("allowed", allowed.clone()),
            Error::InvalidAnswer { violations, .. } => problem.with("violations", violations.clone()),
            Error::NotMigratable { differences, .. } => problem.with("differences", differences.clone()),
            _ => problem,
        }
    }
}

fn store_problem(error: EngineError) -> Problem {
    match error {
        EngineError::Store(error) => error.into(),
        other => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, other.code(), other.to_string()),
    }
}

/// What became of a question, for those who lost.
fn winner(question: &QuestionRecord) -> Value {
    let answer = question.answer.as_ref();
    let withdrawn = question.proceedings.withdrawn.as_ref();
    json!({
        "id": question.id.as_str(),
        "status": question.status.name(),
        "verdict": answer.map(|answer| answer.verdict.name()),
        "answered_by": answer.map(|answer| answer.answered_by.as_str()),
        "answered_at_ms": answer.map(|answer| answer.answered_at_ms),
        "cancelled_by": withdrawn.map(|withdrawn| withdrawn.by.id.as_str()),
        "cancelled_at_ms": withdrawn.map(|withdrawn| withdrawn.at_ms),
    })
}

/// For a path that is none of ours.
pub(crate) async fn no_such_path(uri: Uri) -> Problem {
    Problem::not_found("HP0825", format!("there is nothing at {}", shown(uri.path())))
        .with_cure("`GET /openapi.json` lists what there is")
}

/// For a method that a path does not have.
pub(crate) async fn no_such_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not take {}", shown(uri.path()), shown(method.as_str()));
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "HP0826", detail).with_cure("`GET /openapi.json` lists what there is")
}

fn shown(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_database_says_stays_here() {
        for error in [
            StoreError::Unavailable("password=hunter2 host=db.internal".into()),
            StoreError::Corrupt("/var/lib/holdpoint.db: page 3".into()),
            StoreError::Full("/var/lib".into()),
            StoreError::ReadOnly("/var/lib".into()),
            StoreError::Invalid("table tasks".into()),
        ] {
            let code = error.code();
            for problem in [Problem::from(error.clone()), Problem::from(EngineError::Store(error.clone()))] {
                assert!(problem.status.is_server_error(), "{error}");
                assert_eq!(problem.code, code);
                let told = format!("{} {:?} {:?}", problem.detail, problem.cure, problem.more);
                for secret in ["hunter2", "/var", "tasks"] {
                    assert!(!told.contains(secret), "{told}");
                }
            }
        }
    }

    #[test]
    fn a_refusal_keeps_its_words() {
        let error = EngineError::NotAnAnswerMap("x".into());
        let problem = Problem::from(error);
        assert_eq!((problem.status.as_u16(), problem.code.as_str()), (422, "HP0411"));
        assert!(problem.detail.contains("\"x\"") && problem.cure.is_some());
    }
}
