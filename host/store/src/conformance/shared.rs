//! What belongs to no thread: results that may be used again, and deployed versions.

use std::sync::Arc;

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::Epoch;
use holdpoint_graph::nodes::{Command, Destination};
use serde_json::{Map, Value, json};

use super::scene::{NOW_MS, apply, create, replace, thread, update};
use crate::check::DEPTH_MAX;
use crate::records::{CacheRecord, VersionKind, VersionRecord};
use crate::store::{Commit, Error, Store};

fn key(text: &str) -> Digest {
    Digest::of_bytes(text.as_bytes())
}

fn result(value: Value) -> Command {
    Command { update: Map::from_iter([("a".to_owned(), value)]), goto: Vec::new() }
}

fn cache(text: &str, value: Value, expires_at_ms: Option<u64>) -> CacheRecord {
    CacheRecord { key: key(text), result: result(value), expires_at_ms }
}

async fn cached(store: &Arc<dyn Store>, text: &str, now_ms: u64) -> Option<Command> {
    store.cached(&key(text), now_ms).await.expect("the store can be read")
}

fn version(kind: VersionKind, name: &str, version: &str, content: &str) -> VersionRecord {
    VersionRecord {
        kind,
        name: name.to_owned(),
        version: version.to_owned(),
        digest: key(content),
        deployed_at_ms: NOW_MS,
        deployed_by: "cli:ana".to_owned(),
        gains: vec!["connector payments".to_owned(), "ü \" \u{0}".to_owned()],
    }
}

/// A result rides on the commit of the thread that got it, and is found by any, whole, until its end.
pub async fn a_result_is_used_again_until_its_end(store: Arc<dyn Store>) {
    let whole = Command {
        update: Map::from_iter([("ä".to_owned(), json!([null, 0.1])), (String::new(), json!(u64::MAX))]),
        goto: vec![
            Destination::Send { node: "n".to_owned(), argument: json!({ "x": [] }) },
            Destination::Parent("p".to_owned()),
            Destination::End,
        ],
    };
    let ending = CacheRecord { key: key("ending"), result: whole.clone(), expires_at_ms: Some(NOW_MS) };
    let commit = Commit { cache: vec![ending, cache("lasting", json!(1), None)], ..create("t", replace([])) };
    apply(&store, commit).await;
    assert_eq!(cached(&store, "unknown", 0).await, None);
    assert_eq!(cached(&store, "ending", 0).await, Some(whole.clone()));
    assert_eq!(cached(&store, "ending", NOW_MS - 1).await, Some(whole));
    assert_eq!(cached(&store, "ending", NOW_MS).await, None, "its end is not part of it");
    assert_eq!(cached(&store, "ending", u64::MAX).await, None);
    assert_eq!(cached(&store, "lasting", u64::MAX).await, Some(result(json!(1))));
    assert_eq!(store.delete_thread(&thread("t"), Epoch(1), Vec::new()).await, Ok(()));
    assert_eq!(cached(&store, "lasting", 0).await, Some(result(json!(1))), "it is no thread's");
}

/// The last result of a key counts, with its own end.
pub async fn a_newer_result_takes_the_place(store: Arc<dyn Store>) {
    apply(&store, Commit { cache: vec![cache("k", json!(1), None)], ..create("t", replace([])) }).await;
    let both = vec![cache("k", json!(2), Some(5)), cache("k", json!(3), Some(9))];
    apply(&store, Commit { cache: both, ..update("t", 1) }).await;
    assert_eq!(cached(&store, "k", 8).await, Some(result(json!(3))));
    assert_eq!(cached(&store, "k", 9).await, None);
    apply(&store, Commit { cache: vec![cache("k", json!(4), None)], ..update("t", 1) }).await;
    assert_eq!(cached(&store, "k", 9).await, Some(result(json!(4))));
}

/// A refused commit leaves no result behind; what could not be read back is refused.
pub async fn a_refused_commits_results_are_not_used(store: Arc<dyn Store>) {
    apply(&store, create("t", replace([]))).await;
    let deep = (0..=DEPTH_MAX).fold(json!(1), |value, _| Value::Array(vec![value]));
    for (epoch, record) in
        [(9, cache("k", json!(1), None)), (1, cache("k", deep, None)), (1, cache("k", json!(1), Some(u64::MAX)))]
    {
        let outcome =
            store.commit(Commit { cache: vec![cache("other", json!(1), None), record], ..update("t", epoch) });
        assert!(outcome.await.is_err());
    }
    assert_eq!((cached(&store, "k", 0).await, cached(&store, "other", 0).await), (None, None));
}

/// Clearing takes what has expired, or everything, and says how much.
pub async fn clearing_takes_what_has_expired_or_everything(store: Arc<dyn Store>) {
    assert_eq!(store.clear_cache(None).await, Ok(0));
    let records = vec![
        cache("a", json!(1), Some(3)),
        cache("b", json!(2), Some(4)),
        cache("c", json!(3), Some(5)),
        cache("d", json!(4), None),
    ];
    apply(&store, Commit { cache: records, ..create("t", replace([])) }).await;
    assert_eq!(store.clear_cache(Some(2)).await, Ok(0));
    assert_eq!(store.clear_cache(Some(4)).await, Ok(2));
    let mut left = Vec::new();
    for text in ["a", "b", "c", "d"] {
        left.push(cached(&store, text, 0).await.is_some());
    }
    assert_eq!(left, [false, false, true, true]);
    assert_eq!(store.clear_cache(None).await, Ok(2));
    assert_eq!(cached(&store, "d", 0).await, None);
}

/// Versions come back whole, newest first, by kind and name.
pub async fn versions_come_newest_first(store: Arc<dyn Store>) {
    assert_eq!(store.versions(VersionKind::Graph, None).await, Ok(Vec::new()));
    let graph = |name, number, content| version(VersionKind::Graph, name, number, content);
    let component = version(VersionKind::Component, "refund", "1.0.0", "c1");
    // The moment does not count, the order of storing does.
    let first = VersionRecord { deployed_at_ms: NOW_MS + 9, ..graph("refund", "1", "g1") };
    let second = VersionRecord { gains: Vec::new(), ..graph("refund", "10", "g2") };
    let other = graph("incident", "1", "g1");
    let third = graph("refund", "2", "g1");
    for stored in [&first, &component, &second, &other, &third] {
        assert_eq!(store.put_version(stored.clone(), Vec::new()).await, Ok(()));
    }
    let refund = vec![third.clone(), second.clone(), first.clone()];
    assert_eq!(store.versions(VersionKind::Graph, Some("refund")).await, Ok(refund));
    assert_eq!(store.versions(VersionKind::Graph, None).await, Ok(vec![third, other, second, first]));
    assert_eq!(store.versions(VersionKind::Component, None).await, Ok(vec![component]));
    assert_eq!(store.versions(VersionKind::Component, Some("incident")).await, Ok(Vec::new()));
    assert_eq!(store.versions(VersionKind::Graph, Some("")).await, Ok(Vec::new()));
}

/// A version is one content for ever: the same again changes nothing, another is refused.
pub async fn a_version_is_stored_once(store: Arc<dyn Store>) {
    let stored = version(VersionKind::Graph, "refund", "1", "one");
    assert_eq!(store.put_version(stored.clone(), Vec::new()).await, Ok(()));
    let again = VersionRecord { deployed_by: "cli:ben".to_owned(), gains: Vec::new(), ..stored.clone() };
    assert_eq!(store.put_version(again, Vec::new()).await, Ok(()));
    let forged = VersionRecord { digest: key("two"), ..stored.clone() };
    let outcome = store.put_version(forged, Vec::new()).await;
    assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
    let late = VersionRecord { version: "2".to_owned(), deployed_at_ms: u64::MAX, ..stored.clone() };
    assert!(matches!(store.put_version(late, Vec::new()).await, Err(Error::Invalid(_))));
    assert_eq!(store.versions(VersionKind::Graph, None).await, Ok(vec![stored]));
}
