//! Ids as clients send them. LangGraph's are UUIDs; threads that were made elsewhere, by the command line for instance, have other names and can be
//! named here too as long as they exist.

use holdpoint_graph::ids::{CheckpointId, ThreadId};
use holdpoint_store::ThreadSummary;
use uuid::Uuid;

use crate::caller::Caller;
use crate::context::Context;
use crate::problem::Problem;

/// A UUID's canonical text; none for anything else.
pub(crate) fn canonical_uuid(text: &str) -> Option<String> {
    // The parser takes other forms too: with braces, without hyphens.
    let uuid = Uuid::parse_str(text).ok().filter(|_| text.len() == 36)?;
    Some(uuid.hyphenated().to_string())
}

/// The id of a thread that is to be made: the one that is asked for, or a new one.
///
/// # Errors
/// 422 `HP0827` for one that is no UUID.
pub(crate) fn new_thread(asked: Option<&str>) -> Result<ThreadId, Problem> {
    let text = match asked {
        Some(asked) => canonical_uuid(asked).ok_or_else(|| not_a_uuid("thread"))?,
        None => Uuid::now_v7().hyphenated().to_string(),
    };
    ThreadId::parse(text).map_err(|error| Problem::invalid("HP0827", error.to_string()))
}

/// A thread of the caller's tenant.
///
/// # Errors
/// 404 `HP0810` when it does not exist or is another tenant's; 422 `HP0827` when, besides, it could not be: it is no UUID.
pub(crate) async fn thread(context: &Context, caller: &Caller, text: &str) -> Result<ThreadSummary, Problem> {
    let exact = ThreadId::parse(text).map_err(|_| not_a_uuid("thread"))?;
    let missing = match context.thread(caller, &exact).await {
        Err(problem) if problem.code == "HP0810" => problem,
        found => return found,
    };
    match canonical_uuid(text) {
        None => Err(not_a_uuid("thread")),
        Some(canonical) if canonical == text => Err(missing),
        Some(canonical) => {
            let canonical = ThreadId::parse(canonical).map_err(|_| not_a_uuid("thread"))?;
            context.thread(caller, &canonical).await
        }
    }
}

/// A checkpoint's id.
///
/// # Errors
/// 422 `HP0827`.
pub(crate) fn checkpoint(text: &str) -> Result<CheckpointId, Problem> {
    canonical_uuid(text).and_then(|text| CheckpointId::parse(text).ok()).ok_or_else(|| not_a_uuid("checkpoint"))
}

/// In LangGraph's words.
pub(crate) fn not_a_uuid(kind: &str) -> Problem {
    Problem::invalid("HP0827", format!("Invalid {kind} ID: must be a UUID"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids() {
        let canonical = "01a1fbcd-8977-723c-8aaa-0123456789ab";
        assert_eq!(canonical_uuid(canonical).as_deref(), Some(canonical));
        assert_eq!(canonical_uuid(&canonical.to_uppercase()).as_deref(), Some(canonical));
        for odd in ["", "t1", "01a1fbcd8977723c8aaa0123456789ab", "{01a1fbcd-8977-723c-8aaa-0123456789ab}"] {
            assert_eq!(canonical_uuid(odd), None, "{odd}");
        }
        assert_eq!(new_thread(Some("t1")).expect_err("no UUID").detail, "Invalid thread ID: must be a UUID");
        assert!(canonical_uuid(new_thread(None).expect("made").as_str()).is_some());
        assert!(checkpoint("latest").is_err());
    }
}
