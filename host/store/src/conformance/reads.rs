//! Reads: history, snapshots, contents, counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::Epoch;
use serde_json::json;

use super::scene::{self, append, apply, checkpoint, create, patch, replace, step, thread, update};
use crate::store::{Commit, Content, Error, HistoryFilter, Statistics, Store};
use holdpoint_graph::state::Change;

/// Newest first by storing, whatever the ids say; at most the limit; only what was stored before.
pub async fn history_is_newest_first_and_pages(store: Arc<dyn Store>) {
    apply(&store, create("t", replace([]))).await;
    // Numbers, and so ids, fall while storing goes on.
    for (number, parent) in [(9, 0), (8, 9), (7, 0), (6, 7)] {
        apply(&store, step("t", 1, number, parent, append("a", [json!(number)]))).await;
    }
    let list = async |before: Option<u64>, limit| {
        let filter = HistoryFilter { before: before.map(checkpoint), ..HistoryFilter::newest(limit) };
        let found = store.history(&thread("t"), &filter).await.expect("the store can be read");
        found.iter().map(|snapshot| snapshot.checkpoint.step).collect::<Vec<_>>()
    };
    assert_eq!(list(None, 100).await, [6, 7, 8, 9, 0]);
    assert_eq!(list(None, usize::MAX).await, [6, 7, 8, 9, 0]);
    assert_eq!(list(None, 2).await, [6, 7]);
    assert_eq!(list(Some(7), 2).await, [8, 9]);
    assert_eq!(list(Some(9), 2).await, [0]);
    assert_eq!(list(Some(0), 2).await, [0_i64; 0]);
    assert_eq!(list(Some(5), 2).await, [0_i64; 0], "a checkpoint that is not there");
    assert_eq!(list(None, 0).await, [0_i64; 0]);
    let found = scene::history(&store, "t").await;
    assert_eq!(found[0], scene::head(&store, "t").await);
    assert_eq!(found[1], scene::at(&store, "t", 7).await);
}

/// Tasks and questions belong to the checkpoint that they start from.
pub async fn an_older_checkpoint_shows_its_own_tasks(store: Arc<dyn Store>) {
    let (first, second) = (scene::task("t", 0, "pull:a"), scene::task("t", 1, "pull:a"));
    let question = scene::question(&first, "t", 0);
    let commit = Commit { tasks: vec![first.clone()], questions: vec![question.clone()], ..create("t", replace([])) };
    apply(&store, commit).await;
    apply(&store, Commit { tasks: vec![second.clone()], ..step("t", 1, 1, 0, replace([])) }).await;
    let (old, new) = (scene::at(&store, "t", 0).await, scene::head(&store, "t").await);
    assert_eq!((old.tasks, old.questions), (vec![first], vec![question]));
    assert_eq!((new.tasks, new.questions), (vec![second], Vec::new()));
    assert_eq!(old.thread, new.thread, "the thread is as it is now");
}

/// A read during writes sees one state: head, checkpoint, values and tasks of the same commit.
pub async fn a_snapshot_is_one_state(store: Arc<dyn Store>) {
    let counted =
        |number: u64| patch([("n", Change::Replace(json!(number))), ("all", Change::Append(vec![json!(number)]))]);
    apply(&store, create("t", counted(0))).await;
    let done = Arc::new(AtomicBool::new(false));
    let writer = async {
        for number in 1..=100 {
            let commit = Commit {
                tasks: vec![scene::task("t", number, "pull:pay")],
                ..step("t", 1, number, number - 1, counted(number))
            };
            apply(&store, commit).await;
        }
        done.store(true, Ordering::Release);
    };
    let reader = async {
        let mut seen = 0;
        while !done.load(Ordering::Acquire) {
            let snapshot = scene::head(&store, "t").await;
            let step = u64::try_from(snapshot.checkpoint.step).expect("counts from 0");
            assert!(step >= seen, "time goes on");
            seen = step;
            assert_eq!(snapshot.thread.head, snapshot.checkpoint.id);
            assert_eq!(snapshot.values["n"], json!(step));
            assert_eq!(snapshot.values["all"], json!((0..=step).collect::<Vec<_>>()));
            assert_eq!(snapshot.tasks.len(), usize::from(step > 0));
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(writer, reader);
    assert_eq!(scene::head(&store, "t").await.checkpoint.id, checkpoint(100), "what was acknowledged is seen");
}

/// Contents come back under their digest, are stored once, and must have it.
pub async fn contents_are_stored_under_their_digest(store: Arc<dyn Store>) {
    let content = |bytes: &[u8]| Content { digest: Digest::of_bytes(bytes), bytes: bytes.to_vec() };
    let large: Vec<u8> = (0..3_000_000_u32).map(|index| (index % 251) as u8).collect();
    let (small, large, empty) = (content(b"graph"), content(&large), content(b""));
    let unknown = Digest::of_bytes(b"unknown");
    let digests = [large.digest.clone(), unknown.clone(), small.digest.clone()];
    assert_eq!(store.missing_contents(&digests).await, Ok(digests.to_vec()));
    let stored = vec![small.clone(), large.clone(), empty.clone()];
    assert_eq!(store.put_contents(stored.clone()).await, Ok(()));
    assert_eq!(store.put_contents(stored.clone()).await, Ok(()), "those already there stay");
    for content in stored {
        assert_eq!(store.content(&content.digest).await, Ok(Some(content.bytes)));
    }
    assert_eq!(store.content(&unknown).await, Ok(None));
    assert_eq!(store.missing_contents(&digests).await, Ok(vec![unknown.clone()]));
    assert_eq!(store.missing_contents(&[]).await, Ok(Vec::new()));
    let forged = vec![content(b"fine"), Content { digest: unknown.clone(), bytes: b"forged".to_vec() }];
    assert!(matches!(store.put_contents(forged).await, Err(Error::Invalid(_))));
    assert_eq!(store.missing_contents(&[unknown, Digest::of_bytes(b"fine")]).await.map(|missing| missing.len()), Ok(2));
}

/// Commits count when they are applied; nothing else counts as one.
pub async fn commits_are_counted_when_applied(store: Arc<dyn Store>) {
    assert_eq!(store.statistics(), Statistics::default());
    apply(&store, create("t", replace([]))).await;
    apply(&store, update("t", 1)).await;
    assert!(store.commit(update("t", 9)).await.is_err());
    assert!(store.commit(update("unknown", 1)).await.is_err());
    assert!(store.commit(Commit { at_ms: u64::MAX, ..update("t", 1) }).await.is_err());
    let bytes = b"content".to_vec();
    assert_eq!(store.put_contents(vec![Content { digest: Digest::of_bytes(&bytes), bytes }]).await, Ok(()));
    let counted = store.statistics();
    assert_eq!((counted.commits, counted.transactions), (2, 2), "one after the other: nothing to share");
    assert_eq!(store.delete_thread(&thread("t"), Epoch(1), Vec::new()).await, Ok(()));
    assert_eq!(store.statistics().commits, 2);
}
