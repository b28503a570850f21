//! Doubt that the receiver itself settles.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::{self, NOW_MS, Reaction, Received, Receiver, World, one, pay};
use holdpoint_graph::operation::{OperationRecord, OperationState};

/// Timeout and skew are short, so that the moment from which nothing can arrive comes soon.
fn configuration(receiver: &Receiver) -> String {
    let lookup = "class = \"reconcilable\"\nclock_skew = \"50ms\"\nscope = \"global\"\n\
                  lookup = { get = \"/refunds/by-key/{id}\", happened = \"status == 200\", result = \"body\" }";
    receiver.configuration(lookup).replace("timeout = \"2s\"", "timeout = \"150ms\"")
}

fn is_lookup(received: &Received) -> bool {
    received.head.starts_with("GET /refunds/by-key/a ")
}

fn found() -> Reaction {
    Reaction::Answer(200, "content-type: application/json\r\n", "{\"receipt\":7}".into())
}

fn requests(receiver: &Receiver) -> String {
    receiver.received().iter().map(|one| if is_lookup(one) { 'L' } else { 'P' }).collect()
}

fn record(world: &World) -> OperationRecord {
    world.journal.records.lock().unwrap().values().next().unwrap().clone()
}

#[tokio::test]
async fn a_lost_reply_is_found_by_asking() {
    let receiver = Receiver::start(|received| if is_lookup(received) { found() } else { Reaction::Drop }).await;
    let world = World::new(&configuration(&receiver), &[]);
    let answer = world.once("t", 1, pay("a", 1)).await;
    assert!(answer.starts_with("ok") && answer.contains("{\"receipt\":7}"), "{answer}");
    let record = record(&world);
    assert_eq!((record.state.name(), requests(&receiver).as_str()), ("completed", "PL"));
    let note = record.notes.first().unwrap();
    assert_eq!((note.by.as_str(), note.kind.name()), ("lookup", "happened"));
    assert_eq!(world.once("t", 1, pay("a", 1)).await, answer, "a replay gets what the lookup gave");
    assert_eq!(requests(&receiver), "PL");
}

#[tokio::test]
async fn not_there_counts_only_when_nothing_can_arrive_any_more() {
    // The first request is applied late: after the first lookup did not find it.
    let applied = Arc::new(AtomicBool::new(false));
    let lookups = Arc::new(AtomicUsize::new(0));
    let (late, count) = (applied.clone(), lookups.clone());
    let receiver = Receiver::start(move |received| match is_lookup(received) {
        false => Reaction::Silence,
        true if count.fetch_add(1, Ordering::SeqCst) == 0 => {
            late.store(true, Ordering::SeqCst);
            Reaction::Answer(404, "", String::new())
        }
        true => found(),
    })
    .await;
    let world = World::new(&configuration(&receiver), &[]);
    let answer = world.once("t", 1, pay("a", 1)).await;
    assert!(answer.contains("{\"receipt\":7}"), "{answer}");
    assert!(applied.load(Ordering::SeqCst));
    assert_eq!(requests(&receiver), "PLL", "it was not sent a second time");
}

#[tokio::test]
async fn what_certainly_did_not_arrive_is_sent_again_under_the_same_id() {
    let posts = Arc::new(AtomicUsize::new(0));
    let count = posts.clone();
    let clock: Arc<Mutex<Option<Arc<support::StillClock>>>> = Arc::default();
    let later = clock.clone();
    let receiver = Receiver::start(move |received| match is_lookup(received) {
        true => {
            // The host's clock moves on while it waits.
            later.lock().unwrap().as_ref().unwrap().0.fetch_add(1000, Ordering::SeqCst);
            Reaction::Answer(404, "", String::new())
        }
        false if count.fetch_add(1, Ordering::SeqCst) == 0 => Reaction::Drop,
        false => Reaction::Answer(201, "", "{}".into()),
    })
    .await;
    let world = World::new(&configuration(&receiver), &[]);
    *clock.lock().unwrap() = Some(world.clock.clone());
    let answer = world.once("t", 1, pay("a", 1)).await;
    assert!(answer.starts_with("ok") && answer.contains("201"), "{answer}");
    assert_eq!(requests(&receiver), "PLLP");
    let ids: Vec<_> = receiver
        .received()
        .iter()
        .filter(|one| !is_lookup(one))
        .map(|one| one.header("idempotency-key").unwrap().to_owned())
        .collect();
    assert_eq!(ids, ["a", "a"]);
    let record = record(&world);
    let notes: Vec<_> = record.notes.iter().map(|note| note.kind.name()).collect();
    assert_eq!((record.state.name(), notes), ("completed", vec!["not-happened"]));
    assert_eq!(world.journal.commits(), ["a intended", "a intended", "a completed"]);
}

#[tokio::test]
async fn a_crash_is_settled_by_the_next_execution() {
    let receiver = Receiver::start(|received| if is_lookup(received) { found() } else { Reaction::Silence }).await;
    let world = World::new(&configuration(&receiver), &[]);
    let mut effects = world.task("t", 1);
    let dying = tokio::spawn(async move { effects.perform_all(vec![pay("a", 1)]).await.map(drop) });
    while receiver.received().is_empty() {
        tokio::task::yield_now().await;
    }
    dying.abort();
    assert!(dying.await.is_err());
    assert_eq!(world.journal.states(), ["a intended"]);
    let other = World::with_journal(&configuration(&receiver), &[], world.journal.clone());
    assert!(other.once("t", 1, pay("a", 1)).await.contains("{\"receipt\":7}"));
    assert_eq!((requests(&receiver).as_str(), world.journal.states()), ("PL", vec!["a completed".to_owned()]));
}

#[tokio::test]
async fn a_receiver_that_cannot_say_leaves_the_doubt_to_a_person() {
    for unclear in [
        Reaction::Drop,
        Reaction::Answer(500, "", String::new()),
        Reaction::Answer(200, "content-type: application/json\r\n", "{ not json".into()),
    ] {
        let receiver =
            Receiver::start(move |received| if is_lookup(received) { unclear.clone() } else { Reaction::Drop }).await;
        let world = World::new(&configuration(&receiver), &[]);
        let mut effects = world.task("t", 1);
        let halted = one(effects.perform_all(vec![pay("a", 1)]).await);
        assert!(halted.starts_with("halt: operation a of connector payments is in doubt"), "{halted}");
        world.journal.commit(effects.finish().operations);
        assert_eq!((requests(&receiver).as_str(), world.journal.states()), ("PLLL", vec!["a in-doubt".to_owned()]));
        assert_eq!(record(&world).settles_at_ms, Some(NOW_MS + 150 + 150 + 50));
    }
}

#[tokio::test]
async fn another_threads_hit_is_kept() {
    let receiver = Receiver::always(Reaction::Answer(204, "", String::new())).await;
    let world = World::new(&receiver.configuration("scope = \"global\""), &[]);
    for thread in ["one", "two"] {
        assert!(world.once(thread, 1, pay("shared", 1)).await.starts_with("ok"));
    }
    assert!(world.once("three", 1, pay("shared", 2)).await.starts_with("conflict"));
    let hits: Vec<_> = world.journal.hits.lock().unwrap().iter().map(|hit| hit.thread.to_string()).collect();
    assert_eq!((hits, receiver.received().len()), (vec!["two".to_owned()], 1));
    assert!(matches!(record(&world).state, OperationState::Completed(_)));
}

/// A thread in doubt is continued and its receiver is asked again; while it is, a person settles the doubt.
#[tokio::test]
async fn a_persons_word_that_comes_while_the_receiver_is_asked_stands() {
    let journal: Arc<support::TestJournal> = Arc::default();
    let settling = journal.clone();
    let receiver = Receiver::start(move |received| {
        if !is_lookup(received) {
            return Reaction::Drop;
        }
        for record in settling.records.lock().unwrap().values_mut() {
            record.state = OperationState::Completed(serde_json::json!("ana saw it"));
        }
        Reaction::Answer(404, "", String::new())
    })
    .await;
    let plain = configuration(&receiver).replace("class = \"reconcilable\"", "class = \"at-most-once\"");
    let plain: String =
        plain.lines().filter(|line| !line.starts_with("lookup")).map(|line| format!("{line}\n")).collect();
    let first = World::with_journal(&plain, &[], journal.clone());
    assert!(first.once("t", 1, pay("a", 1)).await.starts_with("halt"));
    assert_eq!((requests(&receiver).as_str(), journal.states()), ("P", vec!["a in-doubt".to_owned()]));
    let again = World::with_journal(&configuration(&receiver), &[], journal.clone());
    again.clock.0.fetch_add(1_000_000, Ordering::SeqCst);
    let halted = again.once("t", 1, pay("a", 1)).await;
    assert!(halted.starts_with("halt"), "it is looked at again, not sent: {halted}");
    assert_eq!((requests(&receiver).as_str(), journal.states()), ("PL", vec!["a completed".to_owned()]));
    assert_eq!(again.once("t", 1, pay("a", 1)).await, "ok \"ana saw it\"");
}

#[tokio::test]
async fn a_doubt_that_stays_is_not_written_again() {
    let receiver = Receiver::always(Reaction::Drop).await;
    let world = World::new(&configuration(&receiver), &[]);
    world.once("t", 1, pay("a", 1)).await;
    let before = record(&world);
    let other = World::with_journal(&configuration(&receiver), &[], world.journal.clone());
    let mut effects = other.task("t", 1);
    assert!(one(effects.perform_all(vec![pay("a", 1)]).await).starts_with("halt"));
    assert_eq!((effects.finish().operations, record(&world)), (Vec::new(), before));
}
