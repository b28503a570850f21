//! Threads: creation, the epoch, claims, listing, deletion.

use std::sync::Arc;

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{Epoch, GraphName};
use serde_json::{Value, json};

use super::scene::{self, NOW_MS, apply, claim, create, head, replace, step, thread, update};
use crate::records::{Settlement, ThreadError, ThreadRecord, ThreadStatus};
use crate::store::{Commit, Error, Expect, HistoryFilter, Store, ThreadFilter};

/// A created thread has epoch 1, its owner, and everything else that the commit says.
pub async fn a_new_thread_is_there_whole(store: Arc<dyn Store>) {
    let mut commit = create("ü t/1 😀", replace([("a", json!(1))]));
    if let Expect::New(new) = &mut commit.expect {
        new.lineage = thread("root");
    }
    commit.status = ThreadStatus::Interrupted;
    commit.at_ms = NOW_MS + 7;
    apply(&store, commit).await;
    let expected = ThreadRecord {
        id: thread("ü t/1 😀"),
        lineage: thread("root"),
        graph: Digest::of_bytes(b"graph"),
        graph_name: GraphName::parse("refund").expect("valid"),
        status: ThreadStatus::Interrupted,
        epoch: Epoch(1),
        owner: Some("first".to_owned()),
        lease_until_ms: NOW_MS + 60_000,
        head: scene::checkpoint(0),
        tenant: holdpoint_graph::ids::Tenant::default(),
        requester: None,
        error: None,
        created_at_ms: NOW_MS + 7,
        updated_at_ms: NOW_MS + 7,
    };
    assert_eq!(store.thread(&expected.id).await, Ok(Some(expected.clone())));
    let snapshot = head(&store, "ü t/1 😀").await;
    assert_eq!(snapshot.thread, expected);
    assert_eq!(Value::Object(snapshot.values), json!({ "a": 1 }));
}

/// What is not there is `None`, empty, or an error of writing.
pub async fn an_unknown_thread_is_not_found(store: Arc<dyn Store>) {
    let unknown = thread("t");
    assert_eq!(store.thread(&unknown).await, Ok(None));
    assert_eq!(store.snapshot(&unknown, None).await, Ok(None));
    assert_eq!(store.snapshot(&unknown, Some(&scene::checkpoint(0))).await, Ok(None));
    assert_eq!(store.history(&unknown, &HistoryFilter::newest(10)).await, Ok(Vec::new()));
    let task = scene::task("t", 0, "pull:pay");
    assert_eq!(store.question(&unknown, &scene::question_id(&task, "t", 0)).await, Ok(None));
    assert_eq!(store.operations(&unknown).await, Ok(Vec::new()));
    assert_eq!(store.operation(&scene::operation_key("t", "op")).await, Ok(None));
    assert_eq!(store.commit(update("t", 1)).await, Err(Error::ThreadNotFound(unknown.clone())));
    assert_eq!(store.delete_thread(&unknown, Epoch(1), Vec::new()).await, Err(Error::ThreadNotFound(unknown.clone())));
    apply(&store, create("t", replace([]))).await;
    assert_eq!(store.snapshot(&unknown, Some(&scene::checkpoint(9))).await, Ok(None), "a checkpoint that is not there");
}

/// The second creation is refused and changes nothing.
pub async fn a_thread_is_created_once(store: Arc<dyn Store>) {
    apply(&store, create("t", replace([("a", json!(1))]))).await;
    let before = head(&store, "t").await;
    let again = Commit { at_ms: NOW_MS + 1, ..create("t", replace([("a", json!(2))])) };
    assert_eq!(store.commit(again).await, Err(Error::ThreadExists(thread("t"))));
    assert_eq!(head(&store, "t").await, before);
}

/// A commit with another epoch writes nothing, whatever it holds (`one-writer`).
pub async fn a_stale_epoch_writes_nothing(store: Arc<dyn Store>) {
    let task = scene::task("t", 0, "pull:pay");
    let question = scene::question(&task, "t", 0);
    let waiting = Commit {
        tasks: vec![task.clone()],
        questions: vec![question.clone()],
        ..create("t", replace([("a", json!(1))]))
    };
    apply(&store, waiting).await;
    apply(&store, Commit { claim: Some(claim("second")), ..update("t", 1) }).await;
    let before = head(&store, "t").await;
    for stale in [0, 1, 3, 1 << 40] {
        let commit = Commit {
            claim: Some(claim("zombie")),
            settlements: vec![scene::settle(&question, "zombie")],
            tasks: vec![scene::task("t", 0, "pull:other")],
            questions: vec![scene::question(&task, "t", 1)],
            operations: vec![scene::operation("t", "op", &task)],
            status: ThreadStatus::Done,
            at_ms: NOW_MS + 9,
            ..step("t", stale, 1, 0, replace([("a", json!(2))]))
        };
        let fenced = Error::Fenced { thread: thread("t"), expected: Epoch(stale), found: Epoch(2) };
        assert_eq!(store.commit(commit).await, Err(fenced));
        assert_eq!(head(&store, "t").await, before);
        assert_eq!(store.snapshot(&thread("t"), Some(&scene::checkpoint(1))).await, Ok(None));
        assert_eq!(store.operation(&scene::operation_key("t", "op")).await, Ok(None));
        let asked = store.question(&thread("t"), &scene::question_id(&task, "t", 1)).await;
        assert_eq!(asked, Ok(None));
    }
}

/// A claim raises the epoch by exactly one and names the owner; a release takes the owner away and leaves the epoch.
pub async fn a_claim_raises_the_epoch_by_one(store: Arc<dyn Store>) {
    apply(&store, create("t", replace([]))).await;
    apply(&store, update("t", 1)).await;
    apply(&store, Commit { release: true, ..update("t", 1) }).await;
    let released = head(&store, "t").await.thread;
    assert_eq!((released.epoch, released.owner, released.lease_until_ms), (Epoch(1), None, 0));
    apply(&store, Commit { claim: Some(claim("second")), ..update("t", 1) }).await;
    let claimed = head(&store, "t").await.thread;
    assert_eq!(claimed.epoch, Epoch(2));
    assert_eq!((claimed.owner.as_deref(), claimed.lease_until_ms), (Some("second"), NOW_MS + 60_000));
    apply(&store, Commit { claim: Some(claim("third")), ..update("t", 2) }).await;
    assert_eq!(head(&store, "t").await.thread.epoch, Epoch(3), "an owner can be replaced");
}

/// A lease is prolonged for an owner, prevails over a claim's, and means nothing without an owner.
pub async fn a_lease_belongs_to_an_owner(store: Arc<dyn Store>) {
    apply(&store, Commit { lease_until_ms: Some(NOW_MS + 1), ..create("t", replace([])) }).await;
    assert_eq!(head(&store, "t").await.thread.lease_until_ms, NOW_MS + 1);
    apply(&store, Commit { lease_until_ms: Some(NOW_MS + 2), ..update("t", 1) }).await;
    assert_eq!(head(&store, "t").await.thread.lease_until_ms, NOW_MS + 2);
    apply(&store, update("t", 1)).await;
    assert_eq!(head(&store, "t").await.thread.lease_until_ms, NOW_MS + 2, "stays when nothing is said");
    apply(&store, Commit { release: true, lease_until_ms: Some(NOW_MS + 3), ..update("t", 1) }).await;
    assert_eq!(head(&store, "t").await.thread.lease_until_ms, 0);
    apply(&store, Commit { lease_until_ms: Some(NOW_MS + 4), ..update("t", 1) }).await;
    assert_eq!(head(&store, "t").await.thread.lease_until_ms, 0, "there is nothing to prolong");
    let both = Commit { claim: Some(claim("second")), lease_until_ms: Some(NOW_MS + 5), ..update("t", 1) };
    apply(&store, both).await;
    assert_eq!(head(&store, "t").await.thread.lease_until_ms, NOW_MS + 5);
}

/// Of concurrent claims of one epoch exactly one wins; the others are told the new epoch.
pub async fn of_two_claims_of_one_epoch_one_wins(store: Arc<dyn Store>) {
    apply(&store, create("t", replace([]))).await;
    for epoch in 1..=20 {
        let claims =
            ["left", "right"].map(|owner| store.commit(Commit { claim: Some(claim(owner)), ..update("t", epoch) }));
        let [left, right] = claims;
        let (left, right) = tokio::join!(left, right);
        let fenced = Err(Error::Fenced { thread: thread("t"), expected: Epoch(epoch), found: Epoch(epoch + 1) });
        let winner = match (&left, &right) {
            (Ok(()), refused) if *refused == fenced => "left",
            (refused, Ok(())) if *refused == fenced => "right",
            other => panic!("not exactly one won: {other:?}"),
        };
        let record = head(&store, "t").await.thread;
        assert_eq!((record.epoch, record.owner.as_deref()), (Epoch(epoch + 1), Some(winner)));
    }
}

/// Of concurrent creations of one thread exactly one wins.
pub async fn of_many_creations_one_wins(store: Arc<dyn Store>) {
    let mut creations = tokio::task::JoinSet::new();
    for number in 0..10 {
        let store = Arc::clone(&store);
        creations
            .spawn(async move { store.commit(create("t", replace([("a", json!(number))]))).await.map(|()| number) });
    }
    let outcomes = creations.join_all().await;
    let winners: Vec<i32> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok().copied()).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(Error::ThreadExists(_)))), "{outcomes:?}");
    assert_eq!(head(&store, "t").await.values["a"], json!(winners[0]));
}

/// Status and error are what the last commit says; the time of creation stays.
pub async fn status_and_error_are_replaced(store: Arc<dyn Store>) {
    apply(&store, create("t", replace([]))).await;
    let error = ThreadError {
        code: "insufficient-funds".to_owned(),
        message: "quoted \"text\"\nand \u{0} more".to_owned(),
        node: Some(scene::node("pay")),
        details: Some(Value::Null),
    };
    let failed =
        Commit { status: ThreadStatus::Failed, error: Some(error.clone()), at_ms: NOW_MS + 1, ..update("t", 1) };
    apply(&store, failed).await;
    let record = head(&store, "t").await.thread;
    assert_eq!((record.status, record.error), (ThreadStatus::Failed, Some(error)));
    assert_eq!((record.created_at_ms, record.updated_at_ms), (NOW_MS, NOW_MS + 1));
    apply(&store, Commit { status: ThreadStatus::Done, ..update("t", 1) }).await;
    let record = head(&store, "t").await.thread;
    assert_eq!((record.status, record.error, record.updated_at_ms), (ThreadStatus::Done, None, NOW_MS));
}

/// Listing sorts by last change, then by id; filters by status; pages.
pub async fn threads_are_listed_newest_change_first(store: Arc<dyn Store>) {
    for (name, status, at_ms) in [
        ("c", ThreadStatus::Done, 3),
        ("a", ThreadStatus::Running, 1),
        ("d", ThreadStatus::Done, 2),
        ("b", ThreadStatus::Done, 2),
        ("e", ThreadStatus::Running, 4),
    ] {
        apply(&store, Commit { status, at_ms, ..create(name, replace([])) }).await;
    }
    apply(&store, Commit { at_ms: 5, ..update("a", 1) }).await;
    let list = async |status, limit, offset| {
        let found = store
            .threads(&ThreadFilter { status, limit, offset, ..ThreadFilter::default() })
            .await
            .expect("the store can be read");
        found.iter().map(|record| record.id.as_str().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(list(None, 100, 0).await, "a e c b d");
    assert_eq!(list(None, usize::MAX, 0).await, "a e c b d");
    assert_eq!(list(None, 2, 1).await, "e c");
    assert_eq!(list(None, 0, 0).await, "");
    assert_eq!(list(None, 100, 5).await, "");
    assert_eq!(list(None, 100, usize::MAX).await, "");
    assert_eq!(list(Some(ThreadStatus::Done), 100, 0).await, "c b d");
    assert_eq!(list(Some(ThreadStatus::Done), 1, 1).await, "b");
    assert_eq!(list(Some(ThreadStatus::Running), 100, 0).await, "a e");
    assert_eq!(list(Some(ThreadStatus::Failed), 100, 0).await, "");
    let whole =
        store.threads(&ThreadFilter { limit: 1, ..ThreadFilter::default() }).await.expect("the store can be read");
    assert_eq!(whole, [head(&store, "a").await.thread]);
}

/// Listing filters by the graph's name too, alone and with a status, in the same order.
pub async fn threads_are_listed_by_graph(store: Arc<dyn Store>) {
    let graph = |name: &str| GraphName::parse(name).expect("valid");
    for (name, of, status, at_ms) in [
        ("c", "refund", ThreadStatus::Done, 3),
        ("a", "incident", ThreadStatus::Running, 1),
        ("d", "incident", ThreadStatus::Done, 2),
        ("b", "incident", ThreadStatus::Done, 2),
        ("e", "incident-2", ThreadStatus::Done, 4),
    ] {
        let mut commit = Commit { status, at_ms, ..create(name, replace([])) };
        if let Expect::New(new) = &mut commit.expect {
            new.graph_name = graph(of);
        }
        apply(&store, commit).await;
    }
    let list = async |of: &str, status, limit, offset| {
        let filter = ThreadFilter { graph_name: Some(graph(of)), status, limit, offset };
        let found = store.threads(&filter).await.expect("the store can be read");
        found.iter().map(|record| record.id.as_str().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(list("incident", None, 9, 0).await, "b d a");
    assert_eq!(list("incident", None, 1, 1).await, "d");
    assert_eq!(list("refund", None, 9, 0).await, "c");
    assert_eq!(list("unknown", None, 9, 0).await, "");
    assert_eq!(list("incident", Some(ThreadStatus::Done), 9, 0).await, "b d");
    assert_eq!(list("incident", Some(ThreadStatus::Done), 9, 1).await, "d");
    assert_eq!(list("incident", Some(ThreadStatus::Failed), 9, 0).await, "");
}

/// Deleting takes everything that only the thread holds; its operations go on answering; its id can be used again.
pub async fn a_deleted_thread_is_gone_but_its_operations_stay(store: Arc<dyn Store>) {
    let task = scene::task("t", 0, "pull:pay");
    let question = scene::question(&task, "t", 0);
    let operation = scene::operation("t", "op", &task);
    let commit = Commit {
        tasks: vec![task],
        questions: vec![question.clone()],
        operations: vec![operation.clone()],
        ..create("t", replace([("a", json!([1]))]))
    };
    apply(&store, commit).await;
    apply(&store, step("t", 1, 1, 0, scene::append("a", [json!(2)]))).await;
    apply(&store, create("other", replace([("a", json!("stays"))]))).await;
    assert_eq!(store.delete_thread(&thread("t"), Epoch(1), Vec::new()).await, Ok(()));
    assert_eq!(store.thread(&thread("t")).await, Ok(None));
    assert_eq!(store.snapshot(&thread("t"), Some(&scene::checkpoint(0))).await, Ok(None));
    assert_eq!(store.history(&thread("t"), &HistoryFilter::newest(9)).await, Ok(Vec::new()));
    assert_eq!(store.question(&thread("t"), &question.id).await, Ok(None));
    assert_eq!(store.operation(&operation.key).await, Ok(Some(operation.clone())));
    assert_eq!(store.operations(&thread("t")).await, Ok(vec![operation]));
    assert_eq!(head(&store, "other").await.values["a"], json!("stays"));
    assert_eq!(store.commit(update("t", 1)).await, Err(Error::ThreadNotFound(thread("t"))));
    // Its new life begins at the epoch that it is given, so no writer of the old one passes for one of the new.
    let mut created = create("t", replace([("b", json!(1))]));
    if let Expect::New(new) = &mut created.expect {
        new.epoch = Epoch(7);
    }
    apply(&store, created).await;
    let again = head(&store, "t").await;
    assert_eq!((again.thread.epoch, Value::Object(again.values)), (Epoch(7), json!({ "b": 1 })));
    let fenced = Error::Fenced { thread: thread("t"), expected: Epoch(1), found: Epoch(7) };
    assert_eq!(store.commit(update("t", 1)).await, Err(fenced));
    assert_eq!((again.tasks, again.questions), (Vec::new(), Vec::new()));
}

/// Only the epoch's owner deletes.
pub async fn deleting_is_guarded_by_the_epoch(store: Arc<dyn Store>) {
    apply(&store, create("t", replace([]))).await;
    for wrong in [0, 2, u64::MAX] {
        let fenced = Error::Fenced { thread: thread("t"), expected: Epoch(wrong), found: Epoch(1) };
        assert_eq!(store.delete_thread(&thread("t"), Epoch(wrong), Vec::new()).await, Err(fenced));
    }
    assert!(store.thread(&thread("t")).await.expect("the store can be read").is_some());
}

/// What contradicts itself or points nowhere is refused whole.
pub async fn a_commit_that_does_not_fit_writes_nothing(store: Arc<dyn Store>) {
    let task = scene::task("t", 0, "pull:pay");
    let question = scene::question(&task, "t", 0);
    let first =
        Commit { tasks: vec![task], questions: vec![question.clone()], ..create("t", replace([("a", json!(1))])) };
    apply(&store, first).await;
    let before = head(&store, "t").await;
    let supersede = Settlement::Supersede { question: question.id.clone() };
    let faults = [
        ("a claim and a release", Commit { claim: Some(claim("x")), release: true, ..update("t", 1) }),
        ("a new thread without a claim", Commit { claim: None, ..create("new", replace([])) }),
        ("a new thread without a head", Commit { head: None, ..create("new", replace([])) }),
        ("a new thread with a foreign head", Commit { head: Some(scene::checkpoint(7)), ..create("new", replace([])) }),
        ("a head that is not stored", Commit { head: Some(scene::checkpoint(7)), ..step("t", 1, 1, 0, replace([])) }),
        ("a task of no checkpoint", Commit { tasks: vec![scene::task("t", 7, "pull:x")], ..update("t", 1) }),
        (
            "a question settled twice",
            Commit { settlements: vec![supersede, scene::settle(&question, "x")], ..update("t", 1) },
        ),
        ("a time out of range", Commit { at_ms: u64::MAX, ..update("t", 1) }),
        ("an epoch out of range", Commit { checkpoints: Vec::new(), ..update("t", u64::MAX) }),
    ];
    for (what, fault) in faults {
        let outcome = store.commit(fault).await;
        assert!(matches!(outcome, Err(Error::Invalid(_))), "{what}: {outcome:?}");
        assert_eq!(head(&store, "t").await, before, "{what}");
        assert_eq!(store.thread(&thread("new")).await, Ok(None), "{what}");
        assert_eq!(store.snapshot(&thread("t"), Some(&scene::checkpoint(1))).await, Ok(None), "{what}");
    }
}
