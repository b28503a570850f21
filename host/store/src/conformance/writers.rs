//! Several writers at once: where LangGraph's contract is silent, a store that lets both through would pass it.

use std::sync::Arc;

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{Epoch, NodeName};
use serde_json::json;
use tokio::task::JoinSet;

use super::scene::{
    self, NOW_MS, append, apply, claim, create, head, in_namespace, namespace, new_checkpoint, replace, step, thread,
    update,
};
use crate::records::{TaskRecord, TaskStatus, VersionKind, VersionRecord};
use crate::store::{Commit, Error, Store};

const WRITERS: u64 = 8;

/// Of writers that take the thread over from one epoch exactly one writes; of the others nothing is there, in no namespace.
pub async fn of_writers_at_one_epoch_one_writes(store: Arc<dyn Store>) {
    apply(&store, create("t", append("log", [json!(0)]))).await;
    for epoch in 1..=5 {
        let parent = head(&store, "t").await.checkpoint;
        let mut writing = JoinSet::new();
        for writer in 1..=WRITERS {
            let number = epoch * 100 + writer;
            let mut new = new_checkpoint(number, None, append("log", [json!(number)]));
            new.record.parent = Some(parent.id.clone());
            let run = in_namespace(&namespace("sub"), new_checkpoint(number + 50, None, replace([])));
            let task = TaskRecord {
                checkpoint: parent.id.clone(),
                status: TaskStatus::Running,
                child: Some(scene::checkpoint(number + 50)),
                node: NodeName::parse(format!("writer-{writer}")).expect("valid"),
                ..scene::task("t", 0, "pull:sub")
            };
            let commit = Commit {
                claim: Some(claim(&format!("writer-{writer}"))),
                checkpoints: vec![new, run],
                head: Some(scene::checkpoint(number)),
                tasks: vec![task],
                ..update("t", epoch)
            };
            let store = Arc::clone(&store);
            writing.spawn(async move { (number, store.commit(commit).await) });
        }
        let fenced = Error::Fenced { thread: thread("t"), expected: Epoch(epoch), found: Epoch(epoch + 1) };
        let outcomes = writing.join_all().await;
        let winners: Vec<u64> =
            outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(number, _)| *number).collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        for (number, outcome) in outcomes {
            let won = number == winners[0];
            assert!(won || outcome == Err(fenced.clone()), "{outcome:?}");
            for stored in [number, number + 50] {
                let found = store.snapshot(&thread("t"), Some(&scene::checkpoint(stored))).await;
                assert_eq!(found.expect("the store can be read").is_some(), won, "checkpoint {stored}");
            }
        }
        let found = head(&store, "t").await;
        assert_eq!((found.thread.epoch, &found.checkpoint.id), (Epoch(epoch + 1), &scene::checkpoint(winners[0])));
        assert_eq!(found.values["log"].as_array().map(Vec::len), usize::try_from(epoch + 1).ok());
    }
}

/// Once another has taken the thread over, a zombie's commits, removals and deletions are all refused.
pub async fn a_zombie_can_neither_write_nor_remove(store: Arc<dyn Store>) {
    apply(&store, create("t", append("log", [json!(0)]))).await;
    apply(&store, step("t", 1, 1, 0, append("log", [json!(1)]))).await;
    apply(&store, Commit { claim: Some(claim("second")), ..update("t", 1) }).await;
    let before = (head(&store, "t").await, store.outline(&thread("t")).await);
    let fenced = || Error::Fenced { thread: thread("t"), expected: Epoch(1), found: Epoch(2) };
    let newer = Digest::of_bytes(b"newer");
    let commit = Commit { graph: Some(newer), ..step("t", 1, 2, 1, append("log", [json!(2)])) };
    assert_eq!(store.commit(commit).await, Err(fenced()));
    assert_eq!(store.retain(&thread("t"), Epoch(1), &[scene::checkpoint(1)], Vec::new()).await, Err(fenced()));
    assert_eq!(store.delete_thread(&thread("t"), Epoch(1), Vec::new()).await, Err(fenced()));
    assert_eq!((head(&store, "t").await, store.outline(&thread("t")).await), before);
}

/// A removal and a claim at once: whichever comes first, the thread is whole, and nothing was removed by one who had lost it.
pub async fn a_removal_and_a_claim_are_one_after_the_other(store: Arc<dyn Store>) {
    for round in 0..20 {
        let name = format!("t{round}");
        apply(&store, create(&name, append("log", [json!(0)]))).await;
        for number in 1..=3 {
            apply(&store, step(&name, 1, number, number - 1, append("log", [json!(number)]))).await;
        }
        let id = thread(&name);
        let keep = [scene::checkpoint(3)];
        let claims = store.commit(Commit { claim: Some(claim("second")), ..update(&name, 1) });
        let (removed, claimed) = tokio::join!(store.retain(&id, Epoch(1), &keep, Vec::new()), claims);
        assert_eq!(claimed, Ok(()));
        let left = store.outline(&id).await.expect("the store can be read").len();
        match removed {
            Ok(removed) => assert_eq!((removed, left), (3, 1)),
            Err(error) => {
                let fenced = Error::Fenced { thread: id, expected: Epoch(1), found: Epoch(2) };
                assert_eq!((error, left), (fenced, 4));
            }
        }
        assert_eq!(head(&store, &name).await.values["log"], json!([0, 1, 2, 3]));
    }
}

/// A reader sees a removal whole or not at all.
pub async fn a_removal_is_seen_whole(store: Arc<dyn Store>) {
    let name = "t";
    apply(&store, create(name, append("log", [json!(0)]))).await;
    for number in 1..=40 {
        apply(&store, step(name, 1, number, number - 1, append("log", [json!(number)]))).await;
    }
    let keep: Vec<_> = [40, 20].map(scene::checkpoint).into();
    let (id, removing) = (thread(name), Arc::clone(&store));
    let removal = tokio::spawn(async move { removing.retain(&thread(name), Epoch(1), &keep, Vec::new()).await });
    loop {
        let over = removal.is_finished();
        let found = scene::history(&store, name).await;
        assert!(found.len() == 41 || found.len() == 2, "{} checkpoints", found.len());
        for snapshot in found {
            let expected: Vec<i64> = (0..=snapshot.checkpoint.step).collect();
            assert_eq!(snapshot.values["log"], json!(expected));
        }
        if over {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(removal.await.expect("no panic"), Ok(39));
    assert_eq!(store.outline(&id).await.expect("the store can be read").len(), 2);
}

/// A version that many register at once is there once, and of different contents one wins.
pub async fn a_version_registered_at_once_is_there_once(store: Arc<dyn Store>) {
    let version = |number: &str, content: u64| VersionRecord {
        kind: VersionKind::Graph,
        name: "refund".to_owned(),
        version: number.to_owned(),
        digest: Digest::of_bytes(&content.to_le_bytes()),
        deployed_at_ms: NOW_MS,
        deployed_by: format!("cli:{content}"),
        gains: Vec::new(),
    };
    let (mut same, mut different) = (JoinSet::new(), JoinSet::new());
    for writer in 0..WRITERS {
        let (one, other) = (Arc::clone(&store), Arc::clone(&store));
        same.spawn(async move { one.put_version(version("1", 7), Vec::new()).await });
        different.spawn(async move { other.put_version(version("2", writer), Vec::new()).await.map(|()| writer) });
    }
    for outcome in same.join_all().await {
        assert_eq!(outcome, Ok(()));
    }
    let outcomes = different.join_all().await;
    let winners: Vec<u64> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok().copied()).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(Error::Invalid(_)))), "{outcomes:?}");
    let mut found = store.versions(VersionKind::Graph, None).await.expect("the store can be read");
    found.sort_by(|left, right| left.version.cmp(&right.version));
    assert_eq!(found, [version("1", 7), version("2", winners[0])]);
}
