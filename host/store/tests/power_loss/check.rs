//! The judge: whether a store that was found after a power loss holds what it promised.

use std::path::Path;

use holdpoint_store::conformance::scene;
use holdpoint_store::{MemoryStore, SqliteOptions, SqliteStore, Store, ThreadFilter};
use serde_json::json;

use super::workload::{Holdings, Lane, verify_trail};

/// What is wrong with the store that was found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Finding {
    /// It is as it was before commits that it had acknowledged (`acknowledged-is-durable` is broken, and nothing else).
    #[error("lost: lane {lane} is as after {there} of the {acknowledged} acts that were acknowledged")]
    Lost { lane: u64, acknowledged: usize, there: usize },
    /// It is as it never was: a part of a commit is there, or a commit without an earlier one.
    #[error("half: lane {lane} is as it never was, in {what}")]
    Half { lane: u64, what: String },
    /// It cannot be opened, read or written, or SQLite finds fault with the file.
    #[error("damaged: {0}")]
    Damaged(String),
    /// The run went wrong before the power did.
    #[error("the test itself: {0}")]
    Harness(String),
}

/// What became of the writes that were not acknowledged. Either is right.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Unacknowledged {
    pub(crate) there: usize,
    pub(crate) not_there: usize,
}

/// Opens the store with the real file system and compares it with what the lanes know. Lanes learn what became of their last act.
pub(crate) async fn check(path: &Path, lanes: &mut [Lane]) -> Result<Unacknowledged, Finding> {
    let store = SqliteStore::open(path, SqliteOptions::default())
        .map_err(|error| Finding::Damaged(format!("does not open: {error}")))?;
    let mut unacknowledged = Unacknowledged::default();
    let mut threads = 0;
    for lane in lanes.iter_mut() {
        let found = lane.holdings(&store).await.map_err(|error| Finding::Damaged(format!("unreadable: {error}")))?;
        threads += found.threads.values().filter(|(history, _)| !history.is_empty()).count();
        settle(lane, &found, &mut unacknowledged).await?;
    }
    let listed = store.threads(&ThreadFilter { limit: usize::MAX, ..ThreadFilter::default() }).await;
    match listed {
        Ok(listed) if listed.len() == threads => {}
        Ok(listed) => return Err(Finding::Damaged(format!("{} threads where {threads} belong", listed.len()))),
        Err(error) => return Err(Finding::Damaged(format!("unreadable: {error}"))),
    }
    // In memory each lane has a chain of its own, so here it is enough that there is one without a gap: what is in it is compared by thread.
    verify_trail(&store).await.map_err(|error| Finding::Damaged(error.to_string()))?;
    goes_on(&store).await?;
    drop(store);
    sound(path).map_err(Finding::Damaged)?;
    Ok(unacknowledged)
}

/// Finds out whether the lane's last act happened; what was acknowledged has to be there either way.
async fn settle(lane: &mut Lane, found: &Holdings, unacknowledged: &mut Unacknowledged) -> Result<(), Finding> {
    let harness = |error: holdpoint_store::Error| Finding::Harness(error.to_string());
    let without = lane.holdings(&lane.expected).await.map_err(harness)? == *found;
    let Some(act) = lane.in_flight.take() else {
        return if without { Ok(()) } else { Err(blame(lane, found).await) };
    };
    if without {
        unacknowledged.not_there += 1;
        lane.retry(act);
        return Ok(());
    }
    lane.acknowledge(act).await.map_err(Finding::Harness)?;
    if lane.holdings(&lane.expected).await.map_err(harness)? == *found {
        unacknowledged.there += 1;
        return Ok(());
    }
    lane.acknowledged.pop();
    Err(blame(lane, found).await)
}

/// Why the store holds neither what was acknowledged nor that and the last act.
async fn blame(lane: &Lane, found: &Holdings) -> Finding {
    let memory = MemoryStore::new();
    for (there, act) in lane.acknowledged.iter().enumerate() {
        match lane.holdings(&memory).await {
            Ok(before) if before == *found => {
                return Finding::Lost { lane: lane.number, acknowledged: lane.acknowledged.len(), there };
            }
            Ok(_) => {}
            Err(error) => return Finding::Harness(error.to_string()),
        }
        if let Err(error) = act.perform(&memory).await {
            return Finding::Harness(error.to_string());
        }
    }
    match lane.holdings(&memory).await {
        Ok(expected) => Finding::Half { lane: lane.number, what: difference(&expected, found) },
        Err(error) => Finding::Harness(error.to_string()),
    }
}

/// The names of what differs.
fn difference(expected: &Holdings, found: &Holdings) -> String {
    let threads = expected.threads.iter().filter(|(thread, holds)| found.threads.get(*thread) != Some(holds));
    let contents = expected.contents.iter().filter(|(digest, holds)| found.contents.get(*digest) != Some(holds));
    let records = expected.record.iter().filter(|(thread, holds)| found.record.get(*thread) != Some(holds));
    let entries = expected.entries.iter().filter(|(thread, holds)| found.entries.get(*thread) != Some(holds));
    let names = threads.map(|(thread, _)| thread.to_string()).chain(contents.map(|(digest, _)| digest.to_string()));
    let names = names.chain(records.map(|(thread, _)| format!("the record of {thread}")));
    names.chain(entries.map(|(thread, _)| format!("the entry of {thread}"))).collect::<Vec<_>>().join(", ")
}

/// The store takes further commits.
async fn goes_on(store: &SqliteStore) -> Result<(), Finding> {
    let damaged = |error: holdpoint_store::Error| Finding::Damaged(format!("does not go on: {error}"));
    store.commit(scene::create("after", scene::append("log", [json!(0)]))).await.map_err(damaged)?;
    store.commit(scene::step("after", 1, 1, 0, scene::append("log", [json!(1)]))).await.map_err(damaged)?;
    let found = store.snapshot(&scene::thread("after"), None).await.map_err(damaged)?;
    match found.map(|found| found.values["log"].clone()) {
        Some(log) if log == json!([0, 1]) => Ok(()),
        other => Err(Finding::Damaged(format!("what was committed afterwards reads {other:?}"))),
    }
}

/// SQLite's own checks of the file, with the log folded into it.
fn sound(path: &Path) -> Result<(), String> {
    let connection = rusqlite::Connection::open(path).map_err(|error| error.to_string())?;
    let verdict: String =
        connection.query_row("pragma integrity_check", [], |row| row.get(0)).map_err(|error| error.to_string())?;
    if verdict != "ok" {
        return Err(format!("integrity_check: {verdict}"));
    }
    let orphans = connection.prepare("pragma foreign_key_check").and_then(|mut statement| statement.exists([]));
    match orphans {
        Ok(false) => Ok(()),
        Ok(true) => Err("foreign_key_check: a row points to one that is not there".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
