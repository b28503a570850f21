//! One winner each, whoever meets whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use holdpoint_engine::{Config, Decision, Error, Input};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{QuestionId, ThreadId};
use holdpoint_graph::nodes::Verdict;
use holdpoint_store::audit::{Breach, Verifier};
use holdpoint_store::{AuditFilter, AuditTrail, QuestionStatus, Store, ThreadStatus};
use serde_json::json;
use tokio::sync::Notify;

use super::desk::{Desk, as_person, nodes, person, threads};
use crate::support::{FakeNodes, World, ask, thread, update};

/// Questions of one round: a multiple of four.
const ASKERS: usize = 100;

/// Threads that each wait for an answer for a second.
async fn waiting(count: usize) -> (World, Vec<(ThreadId, QuestionId)>) {
    let world = World::new(nodes());
    let text = format!("{}[nodes.gate.interrupt]\ndeadline = \"1s\"\n", super::desk::STATE);
    let deployment = world.deploy(&text).await;
    let mut asked = Vec::with_capacity(count);
    for thread in threads(count) {
        let input = Input { values: json!({ "payload": thread.as_str() }), supersede: false };
        let view = world.engine.run(&thread, &deployment, input).await.unwrap();
        asked.push((thread, QuestionId::parse(view.interrupts[0].id.as_str()).unwrap()));
    }
    (world, asked)
}

/// Decides questions one after the other; the one who makes it half of all moves the clock to the deadline. Gives those that were decided.
async fn decide_all(world: World, asked: Vec<(ThreadId, QuestionId)>, left: Arc<AtomicUsize>) -> Vec<QuestionId> {
    let ana = as_person(&world.engine, person("user:ana", &[]));
    let mut decided = Vec::new();
    for (thread, id) in asked {
        let digest = Digest::of_json(&json!(thread.as_str()));
        if left.fetch_sub(1, Ordering::SeqCst) == ASKERS / 2 {
            world.advance_ms(1);
        }
        match ana.decide(&id, Decision::new(Verdict::Accept, digest)).await {
            Ok(_) => decided.push(id),
            Err(Error::Expired { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    decided
}

/// Looks at what is due until everybody has decided and nothing is left.
async fn expire_all(world: World, left: Arc<AtomicUsize>) -> usize {
    let mut expired = 0;
    loop {
        let over = left.load(Ordering::SeqCst) == 0;
        let report = world.engine.monitor(16).await.unwrap();
        assert_eq!(report.failed, 0);
        expired += report.expired;
        if over && report.looked_at == 0 {
            return expired;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_decision_and_the_deadline_have_one_winner() {
    // Ten thousand meetings where the code is quick; as many as `HOLDPOINT_RACES` says in any case.
    let usual = if cfg!(debug_assertions) { 1_000 } else { 10_000 };
    let races = std::env::var("HOLDPOINT_RACES").map_or(usual, |text| text.parse().unwrap());
    let rounds = usize::div_ceil(races, ASKERS);
    for _ in 0..rounds {
        let (world, asked) = waiting(ASKERS).await;
        world.advance_ms(999);
        let left = Arc::new(AtomicUsize::new(ASKERS));
        let deciding: Vec<_> = asked
            .chunks(ASKERS / 4)
            .map(|some| tokio::spawn(decide_all(world.clone(), some.to_vec(), Arc::clone(&left))))
            .collect();
        let second = world.second("second", nodes());
        let monitoring = [world.clone(), second].map(|world| tokio::spawn(expire_all(world, Arc::clone(&left))));
        let mut decided = Vec::new();
        for one in deciding {
            decided.extend(one.await.unwrap());
        }
        let mut expired = 0;
        for one in monitoring {
            expired += one.await.unwrap();
        }
        assert_eq!(decided.len() + expired, ASKERS, "each question has one winner");
        assert!(expired > 0 && !decided.is_empty(), "they met");
        for (thread, id) in &asked {
            let question = world.store.question(thread, id).await.unwrap().unwrap();
            let verdict = question.answer.as_ref().unwrap().verdict;
            assert_eq!(verdict == Verdict::Accept, decided.contains(id));
            let filter = AuditFilter { thread: Some(thread.clone()), limit: 10, ..AuditFilter::default() };
            let records = world.store.audit(&filter).await.unwrap();
            let is_end = |kind: &str| ["question.decided", "question.expired"].contains(&kind);
            assert_eq!(records.iter().filter(|record| is_end(&record.kind)).count(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_decide_at_once_one_wins_and_the_others_learn_who() {
    for _ in 0..20 {
        let desk = Desk::new("", json!(1)).await;
        let decision = desk.decision(Verdict::Accept).await;
        let people: Vec<String> = (0..16).map(|number| format!("user:{number}")).collect();
        let tries: Vec<_> = people
            .iter()
            .map(|name| {
                let (engine, id, decision) = (desk.of(name), desk.id.clone(), decision.clone());
                tokio::spawn(async move { engine.decide(&id, decision).await })
            })
            .collect();
        let mut told = Vec::new();
        let mut won = 0;
        for one in tries {
            match one.await.unwrap() {
                Ok(_) => won += 1,
                Err(Error::AlreadySettled(winner)) => told.push(winner.answer.unwrap().answered_by),
                other => panic!("{other:?}"),
            }
        }
        told.dedup();
        assert_eq!((won, told.len()), (1, 1), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_votes_at_once_none_is_lost() {
    let desk = Desk::new("quorum = 16", json!(1)).await;
    let decision = desk.decision(Verdict::Accept).await;
    let tries: Vec<_> = (0..16)
        .map(|number| {
            let (engine, id, decision) = (desk.of(&format!("user:{number}")), desk.id.clone(), decision.clone());
            tokio::spawn(async move { engine.decide(&id, decision).await.unwrap().answered })
        })
        .collect();
    let mut deciding = 0;
    for one in tries {
        deciding += usize::from(one.await.unwrap());
    }
    assert_eq!(deciding, 1);
    assert_eq!(desk.world.store_question(&desk.id).await.proceedings.votes.len(), 16);
    let filter = AuditFilter { limit: 1000, ..AuditFilter::default() };
    let mut verifier = Verifier::default();
    let checked: Result<Vec<()>, Breach> =
        desk.world.store.audit(&filter).await.unwrap().iter().map(|record| verifier.check(record)).collect();
    checked.unwrap();
}

#[tokio::test]
async fn two_hosts_send_a_reminder_once() {
    let policy = "remind = [\"1m\"]\nescalate = [{ after = \"1m\", to = [\"user:boss\"] }]\nnotify = [\"slack\"]";
    let desk = Desk::new(policy, json!(1)).await;
    let second = desk.world.second("second", nodes());
    let second = second.engine.with_people(Arc::new(holdpoint_graph::notice::NoDirectory), Arc::clone(&desk.told) as _);
    desk.world.advance_ms(60_000);
    let (one, two) = tokio::join!(desk.engine.monitor(10), second.monitor(10));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!((one.reminded + two.reminded, one.escalated + two.escalated, one.failed + two.failed), (1, 1, 0));
    assert_eq!(desk.approval().await.added.len(), 1);
    let operations = holdpoint_store::Journal::operations(&*desk.world.store, &thread()).await.unwrap();
    assert_eq!(operations.len(), 3, "asked, reminded, escalated");
}

#[tokio::test]
async fn a_decision_while_the_thread_is_advanced_is_taken_up_when_it_parks() {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let nodes = FakeNodes::default()
        .with("gate", |call| match ask(call, 0, json!("go?")) {
            Ok(answer) => update(json!({ "log": [answer] })),
            Err(question) => question,
        })
        .with_async("slow", {
            let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
            move |call| {
                let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
                Box::pin(async move {
                    begun.notify_one();
                    go.notified().await;
                    match ask(&call, 0, json!("done?")) {
                        Ok(answer) => update(json!({ "log": [answer] })).into(),
                        Err(question) => question.into(),
                    }
                })
            }
        });
    // Everything is slow, so the question is stored while the other task still runs.
    let config = Config { quick: std::time::Duration::ZERO, ..Config::default() };
    let world = World::with_config(nodes, config);
    let deployment = world
        .deploy("start = [\"gate\", \"slow\"]\n[state]\nlog = { reducer = \"append\" }\n[nodes.gate]\n[nodes.slow]\n")
        .await;
    let running = {
        let world = world.clone();
        tokio::spawn(async move { world.run(&deployment, json!({})).await })
    };
    begun.notified().await;
    let ana = as_person(&world.engine, person("user:ana", &[]));
    let asked = loop {
        let asked = ana.approvals(&holdpoint_store::QuestionFilter::pending(10)).await.unwrap();
        match asked.first() {
            Some(asked) => break asked.clone(),
            None => tokio::task::yield_now().await,
        }
    };
    let decided = ana.decide(&asked.id, Decision::new(Verdict::Accept, asked.digest)).await.unwrap();
    assert!(decided.answered && decided.woken);
    assert_eq!(world.nodes.started("gate"), 1, "the thread is its worker's");
    go.notify_one();
    go.notify_one();
    let view = running.await.unwrap().unwrap();
    assert_eq!((view.status, view.interrupts.len()), (ThreadStatus::Interrupted, 1), "the other question waits");
    assert_eq!(world.nodes.started("gate"), 2, "the decision was taken up");
    let question = world.store.question(&thread(), &asked.id).await.unwrap().unwrap();
    assert_eq!(question.status, QuestionStatus::Answered);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_expire_in_one_look() {
    const MANY: usize = 1000;
    let (world, asked) = waiting(MANY).await;
    world.advance_ms(1000);
    let report = world.engine.monitor(10).await.unwrap();
    assert_eq!((report.looked_at, report.expired, report.threads.len()), (10, 10, 10), "no more than asked for");
    let report = world.engine.monitor(2 * MANY).await.unwrap();
    let rest = MANY - 10;
    assert_eq!((report.looked_at, report.expired, report.failed, report.threads.len()), (rest, rest, 0, rest));
    assert_eq!(world.engine.monitor(2 * MANY).await.unwrap().looked_at, 0);
    let (thread, _) = &asked[0];
    assert_eq!(world.engine.proceed(thread).await.unwrap().values["told"][0], "expired");
}
