//! Operations that leave only after the commit that asked for them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::support::{self, NOW_MS, Reaction, Receiver, World, operation, pay};
use holdpoint_effects::Delivered;
use holdpoint_graph::operation::OperationState;
use serde_json::json;

const AFTER_COMMIT: &str = "class = \"after-commit\"";
const RECEIPT: &str = "ok {\"operation_id\":\"n\",\"queued\":true}";

async fn world(reaction: Reaction) -> (Receiver, World) {
    let receiver = Receiver::always(reaction).await;
    let world = World::new(&receiver.configuration(AFTER_COMMIT), &[]);
    (receiver, world)
}

#[tokio::test]
async fn nothing_leaves_before_the_commit_and_it_leaves_once_after_it() {
    let (receiver, world) = world(Reaction::Answer(200, "", "{}".into())).await;
    let mut effects = world.task("t", 1);
    assert_eq!(support::one(effects.perform_all(vec![pay("n", 1)]).await), RECEIPT);
    assert_eq!(world.effects.deliver_due().await.unwrap(), Delivered::default(), "the commit has not come");
    world.journal.commit(effects.finish().operations);
    assert_eq!(receiver.received().len(), 0);
    // Two hosts deliver at once.
    let other = World::with_journal(&receiver.configuration(AFTER_COMMIT), &[], world.journal.clone());
    let (one, two) = tokio::join!(world.effects.deliver_due(), other.effects.deliver_due());
    assert_eq!(one.unwrap().completed + two.unwrap().completed, 1);
    assert_eq!(receiver.received().len(), 1);
    // The node runs again, in this process and in another: the receipt, whatever became of it.
    assert_eq!(world.once("t", 1, pay("n", 1)).await, RECEIPT);
    assert_eq!(other.once("t", 1, pay("n", 1)).await, RECEIPT);
    assert!(other.once("t", 1, pay("n", 2)).await.starts_with("conflict"));
    assert_eq!(world.effects.deliver_due().await.unwrap(), Delivered::default());
    assert_eq!(receiver.received().len(), 1);
    assert_eq!(world.journal.commits(), ["n queued", "n intended (exchanged)", "n completed (exchanged)"]);
}

#[tokio::test]
async fn a_receiver_that_is_busy_is_tried_again_on_the_schedule_and_then_given_up() {
    let (receiver, world) = world(Reaction::Answer(429, "retry-after: 60\r\n", String::new())).await;
    world.once("t", 1, pay("n", 1)).await;
    let mut pauses_s = Vec::new();
    for _ in 0..9 {
        assert_eq!(world.effects.deliver_due().await.unwrap(), Delivered { postponed: 1, ..Delivered::default() });
        assert_eq!(world.effects.deliver_due().await.unwrap(), Delivered::default(), "it is not due");
        let record = world.journal.records.lock().unwrap().values().next().unwrap().clone();
        let OperationState::Queued { due_at_ms, .. } = record.state else { panic!("{:?}", record.state) };
        pauses_s.push((due_at_ms - world.clock.0.load(Ordering::SeqCst)) / 1000);
        world.clock.0.store(due_at_ms, Ordering::SeqCst);
    }
    assert_eq!(pauses_s, [60, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400]);
    assert_eq!(world.effects.deliver_due().await.unwrap(), Delivered { failed: 1, ..Delivered::default() });
    assert_eq!((receiver.received().len(), world.journal.states()), (10, vec!["n failed".to_owned()]));
}

#[tokio::test]
async fn an_unknown_outcome_is_a_doubt_that_stops_no_thread_and_is_not_sent_again() {
    let (receiver, world) = world(Reaction::Drop).await;
    world.once("t", 1, pay("n", 1)).await;
    assert_eq!(world.effects.deliver_due().await.unwrap(), Delivered { in_doubt: 1, ..Delivered::default() });
    world.clock.0.fetch_add(1_000_000_000, Ordering::SeqCst);
    assert_eq!(world.effects.deliver_due().await.unwrap(), Delivered::default());
    assert_eq!(world.once("t", 1, pay("n", 1)).await, RECEIPT);
    assert_eq!((receiver.received().len(), world.journal.states()), (1, vec!["n in-doubt".to_owned()]));
}

#[tokio::test]
async fn a_deliverer_that_dies_leaves_a_doubt_and_not_a_second_request() {
    let (receiver, world) = world(Reaction::Silence).await;
    world.once("t", 1, pay("n", 1)).await;
    let effects = world.effects.clone();
    let delivering = tokio::spawn(async move { effects.deliver_due().await });
    while receiver.received().is_empty() {
        tokio::task::yield_now().await;
    }
    delivering.abort();
    assert!(delivering.await.is_err());
    let other = World::with_journal(&receiver.configuration(AFTER_COMMIT), &[], world.journal.clone());
    other.clock.0.fetch_add(1_000_000_000, Ordering::SeqCst);
    assert_eq!(other.effects.deliver_due().await.unwrap(), Delivered::default());
    let record = world.journal.records.lock().unwrap().values().next().unwrap().clone();
    assert_eq!(
        (record.state.name(), record.send_by_ms, record.settles_at_ms),
        ("intended", Some(NOW_MS + 2000), Some(NOW_MS + 4000 + 5000))
    );
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn a_receiver_that_de_duplicates_gets_the_same_id_again() {
    let receiver = Receiver::always(Reaction::Drop).await;
    let configuration = format!(
        "[connectors.ledger]\nkind = \"webhook\"\nurl = \"{}/hook\"\nsecret = \"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz\"\n\
         addresses = [\"127.0.0.0/8\"]\ntimeout = \"2s\"\nscope = \"global\"\n",
        receiver.url
    );
    let world = World::new(&configuration, &[]);
    let event = || operation(Some("n"), "ledger", json!({ "type": "refund.paid", "data": { "order": 1 } }));
    assert_eq!(world.once("t", 1, event()).await, RECEIPT);
    for attempt in 1..=2 {
        assert_eq!(world.effects.deliver_due().await.unwrap(), Delivered { postponed: 1, ..Delivered::default() });
        assert_eq!(receiver.received().len(), attempt);
        world.clock.0.fetch_add(1_000_000, Ordering::SeqCst);
    }
    assert!(receiver.received().iter().all(|one| one.header("webhook-id") == Some("n")));
    assert_eq!(world.journal.states(), ["n queued"]);
}

#[tokio::test]
async fn a_connector_that_is_gone_postpones_and_a_request_that_it_refuses_fails() {
    let (receiver, world) = world(Reaction::Answer(204, "", String::new())).await;
    world.once("t", 1, pay("n", 1)).await;
    let journal: Arc<_> = world.journal.clone();
    let without = World::with_journal("", &[], journal.clone());
    assert_eq!(without.effects.deliver_due().await.unwrap(), Delivered { postponed: 1, ..Delivered::default() });
    let narrower = receiver.configuration(AFTER_COMMIT).replace("\"POST /refunds\", ", "");
    let narrower = World::with_journal(&narrower, &[], journal);
    narrower.clock.0.fetch_add(60_000, Ordering::SeqCst);
    assert_eq!(narrower.effects.deliver_due().await.unwrap(), Delivered { failed: 1, ..Delivered::default() });
    assert_eq!(receiver.received().len(), 0);
}
