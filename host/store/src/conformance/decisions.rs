//! Changes of questions: one decision each, on time, by whoever was first.

use std::sync::Arc;

use holdpoint_graph::actor::Actor;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::Epoch;
use holdpoint_graph::nodes::{Answer, Verdict};
use holdpoint_graph::operation::{OperationRecord, OperationState};
use serde_json::{Value, json};

use super::scene::{self, NOW_MS, apply, change, create, decide, expire, replace, thread, update};
use crate::access::LinkRecord;
use crate::approvals::{Added, Changed, DeadlineGuard, Proceedings, Proposal, QuestionChange, ReplyRecord, Vote};
use crate::records::{QuestionRecord, QuestionStatus, Settlement, ThreadRecord, ThreadStatus};
use crate::store::{Commit, Error, Store};

/// When questions of these clauses are due.
pub(super) const DEADLINE_MS: u64 = NOW_MS + 1_000;

/// Creates a thread with so many questions at checkpoint 0, gives it back in this status, and gives its questions.
pub(super) async fn asking(
    store: &Arc<dyn Store>,
    name: &str,
    questions: u32,
    status: ThreadStatus,
) -> Vec<QuestionRecord> {
    let task = scene::task(name, 0, "pull:pay");
    let asked = |occurrence| QuestionRecord {
        deadline_at_ms: Some(DEADLINE_MS),
        due_at_ms: Some(DEADLINE_MS),
        ..scene::question(&task, name, occurrence)
    };
    let questions: Vec<QuestionRecord> = (0..questions).map(asked).collect();
    apply(store, Commit { tasks: vec![task], questions: questions.clone(), ..create(name, replace([])) }).await;
    if status != ThreadStatus::Running {
        apply(store, Commit { status, release: true, ..update(name, 1) }).await;
    }
    questions
}

pub(super) async fn stored(store: &Arc<dyn Store>, name: &str, question: &QuestionRecord) -> QuestionRecord {
    let found = store.question(&thread(name), &question.id).await.expect("the store can be read");
    found.expect("the question is there")
}

pub(super) async fn record(store: &Arc<dyn Store>, name: &str) -> ThreadRecord {
    store.thread(&thread(name)).await.expect("the store can be read").expect("the thread is there")
}

fn vote(by: &str, value: Value) -> Vote {
    Vote {
        by: Actor::asserted(by),
        on_behalf_of: Some("user:ben".to_owned()),
        verdict: Verdict::Accept,
        value,
        reason: Some("ü \u{0}".to_owned()),
        digest: Digest::of_bytes(b"shown"),
        break_glass: false,
        at_ms: NOW_MS,
    }
}

pub(super) fn reply(key: &str, status: u16) -> ReplyRecord {
    ReplyRecord {
        actor: "user:ana".to_owned(),
        key: key.to_owned(),
        request: Digest::of_bytes(b"request"),
        status,
        body: json!({ "ok": [null, 0.1] }),
        expires_at_ms: NOW_MS + 50,
    }
}

pub(super) fn link(secret: &str, name: &str, question: &QuestionRecord) -> LinkRecord {
    LinkRecord {
        digest: Digest::of_bytes(secret.as_bytes()),
        thread: thread(name),
        question: question.id.clone(),
        subject: "user:ana".to_owned(),
        created_at_ms: NOW_MS,
        expires_at_ms: NOW_MS + 50,
        used_at_ms: None,
    }
}

/// All that is said of a question comes back, and it stays pending with what is to be done next.
pub async fn proceedings_come_back_whole(store: Arc<dyn Store>) {
    let mut questions = asking(&store, "t", 1, ThreadStatus::Interrupted).await;
    let question = questions.remove(0);
    let said = Proceedings {
        version: 1,
        added: vec![
            Added { to: "group:legal".into(), on_behalf_of: None, until_ms: None, reason: None, at_ms: NOW_MS },
            Added {
                to: "user:eva".into(),
                on_behalf_of: Some("user:ben".into()),
                until_ms: Some(7),
                reason: Some("away".into()),
                at_ms: NOW_MS,
            },
        ],
        votes: vec![
            vote("user:eva", Value::Null),
            Vote { reason: None, on_behalf_of: None, break_glass: true, ..vote("a", json!([1.5])) },
        ],
        proposal: Some(Proposal {
            value: Value::Null,
            digest: Digest::of_json(&Value::Null),
            by: Actor::asserted("user:eva"),
        }),
        escalated: 2,
        reminded: u32::MAX,
        withdrawn: None,
    };
    let changing = QuestionChange { proceedings: said.clone(), due_at_ms: Some(5), ..change("t", &question) };
    assert_eq!(store.change_question(changing).await, Ok(Changed::default()));
    let expected = QuestionRecord { proceedings: said, due_at_ms: Some(5), ..question };
    assert_eq!(stored(&store, "t", &expected).await, expected);
    assert_eq!(record(&store, "t").await.status, ThreadStatus::Interrupted, "nothing was decided");
    // It goes with a question that is asked, too, and is replaced as a whole.
    let changing = QuestionChange {
        proceedings: Proceedings { version: 2, ..Proceedings::default() },
        due_at_ms: None,
        ..change("t", &expected)
    };
    assert_eq!(store.change_question(changing).await, Ok(Changed::default()));
    let bare = QuestionRecord { proceedings: *scene::proceedings(2), due_at_ms: None, ..expected.clone() };
    assert_eq!(stored(&store, "t", &bare).await, bare);
    let task = scene::task("u", 0, "pull:pay");
    let asked = QuestionRecord {
        deadline_at_ms: Some(DEADLINE_MS),
        due_at_ms: Some(7),
        proceedings: expected.proceedings,
        ..scene::question(&task, "u", 0)
    };
    apply(&store, Commit { tasks: vec![task], questions: vec![asked.clone()], ..create("u", replace([])) }).await;
    assert_eq!(stored(&store, "u", &asked).await, asked);
}

/// At the deadline it is past: a person decides up to the moment before, the deadline from that moment on. By a change as by a commit.
pub async fn the_deadline_is_the_first_moment_too_late(store: Arc<dyn Store>) {
    let questions = asking(&store, "t", 8, ThreadStatus::Running).await;
    let passed = |question: &QuestionRecord| Error::DeadlinePassed {
        question: question.id.clone(),
        deadline_at_ms: DEADLINE_MS,
    };
    for (number, (at_ms, in_time)) in
        [(DEADLINE_MS - 1, true), (DEADLINE_MS, false), (DEADLINE_MS + 1, false)].into_iter().enumerate()
    {
        let question = &questions[number];
        let decision = QuestionChange { at_ms, ..decide("t", question, "user:ana") };
        let said = QuestionChange { at_ms, ..change("t", &questions[7]) };
        if in_time {
            let outcome = store.change_question(expire("t", question, at_ms)).await;
            assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
            assert!(store.change_question(decision).await.is_ok());
        } else {
            assert_eq!(store.change_question(decision).await, Err(passed(question)));
            assert_eq!(store.change_question(said).await, Err(passed(&questions[7])), "no vote either");
            assert_eq!(stored(&store, "t", question).await, *question);
            assert!(store.change_question(expire("t", question, at_ms)).await.is_ok());
        }
        let expected = if in_time { Verdict::Respond } else { Verdict::Expired };
        let found = stored(&store, "t", question).await;
        assert_eq!((found.answer.map(|answer| answer.verdict), found.due_at_ms), (Some(expected), None));

        let question = &questions[number + 3];
        let by_commit = |verdict| {
            let answer = Answer { verdict, ..scene::answer("cli:ana", json!(1)) };
            let proceedings = scene::proceedings(1);
            let settlement = Settlement::Answer { question: question.id.clone(), answer, proceedings };
            store.commit(Commit { settlements: vec![settlement], at_ms, ..update("t", 1) })
        };
        if in_time {
            let outcome = by_commit(Verdict::Expired).await;
            assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
            assert_eq!(by_commit(Verdict::Accept).await, Ok(()));
        } else {
            assert_eq!(by_commit(Verdict::Accept).await, Err(passed(question)));
            assert_eq!(by_commit(Verdict::Expired).await, Ok(()));
        }
        assert_eq!(stored(&store, "t", question).await.due_at_ms, None);
    }
    // After the deadline the monitor may still note that it looked.
    let looked = QuestionChange {
        guard: DeadlineGuard::Passed,
        at_ms: DEADLINE_MS,
        due_at_ms: None,
        ..change("t", &questions[7])
    };
    assert_eq!(store.change_question(looked).await, Ok(Changed::default()));
    assert_eq!(stored(&store, "t", &questions[7]).await.status, QuestionStatus::Pending);
}

/// Without a deadline a question waits for ever.
pub async fn what_has_no_deadline_does_not_expire(store: Arc<dyn Store>) {
    let task = scene::task("t", 0, "pull:pay");
    let question = scene::question(&task, "t", 0);
    apply(&store, Commit { tasks: vec![task], questions: vec![question.clone()], ..create("t", replace([])) }).await;
    let last_ms = u64::MAX / 4;
    let outcome = store.change_question(expire("t", &question, last_ms)).await;
    assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
    let decision = QuestionChange { at_ms: last_ms, ..decide("t", &question, "user:ana") };
    assert!(store.change_question(decision).await.is_ok());
}

/// What contradicts itself, or cannot be stored, is refused: the deadline's answer in time, a person's after it, a claim without an answer.
pub async fn a_change_that_does_not_fit_writes_nothing(store: Arc<dyn Store>) {
    let questions = asking(&store, "t", 1, ThreadStatus::Interrupted).await;
    let question = &questions[0];
    let deep = (0..=crate::check::DEPTH_MAX).fold(json!(1), |value, _| Value::Array(vec![value]));
    let changes = [
        QuestionChange { guard: DeadlineGuard::Open, ..expire("t", question, DEADLINE_MS) },
        QuestionChange { guard: DeadlineGuard::Passed, at_ms: DEADLINE_MS, ..decide("t", question, "user:ana") },
        QuestionChange { claim: Some(scene::claim("ana")), ..change("t", question) },
        QuestionChange { at_ms: u64::MAX, ..change("t", question) },
        QuestionChange { due_at_ms: Some(u64::MAX), ..change("t", question) },
        QuestionChange { answer: Some(scene::answer("user:ana", deep)), ..change("t", question) },
    ];
    for changing in changes {
        let outcome = store.change_question(changing.clone()).await;
        assert!(matches!(outcome, Err(Error::Invalid(_))), "{changing:?}: {outcome:?}");
    }
    assert_eq!(stored(&store, "t", question).await, *question);
    let unknown = QuestionChange { thread: thread("u"), ..decide("t", question, "user:ana") };
    let expected = Error::QuestionNotFound { thread: thread("u"), question: question.id.clone() };
    assert_eq!(store.change_question(unknown).await, Err(expected));
}

/// Two who say something at once on the same reading: one is heard, the other is told to read again; so also where one of them is a commit.
pub async fn of_two_votes_on_one_reading_one_counts(store: Arc<dyn Store>) {
    let questions = asking(&store, "t", 1, ThreadStatus::Interrupted).await;
    let question = &questions[0];
    let voting = |by: &str| QuestionChange {
        proceedings: Proceedings { version: 1, votes: vec![vote(by, json!(by))], ..Proceedings::default() },
        ..change("t", question)
    };
    let outcomes = tokio::join!(store.change_question(voting("user:ana")), store.change_question(voting("user:ben")));
    let lost = Err(Error::QuestionChanged(question.id.clone()));
    let winner = match outcomes {
        (Ok(_), other) if other == lost => "user:ana",
        (other, Ok(_)) if other == lost => "user:ben",
        other => panic!("{other:?}"),
    };
    let after = stored(&store, "t", question).await;
    assert_eq!(after.proceedings, voting(winner).proceedings);
    for version in [0, 1, 3, u32::MAX] {
        let stale = QuestionChange { proceedings: *scene::proceedings(version), ..decide("t", question, "user:ana") };
        assert_eq!(store.change_question(stale).await, lost, "version {version}");
    }
    let stale = Commit { settlements: vec![scene::settle(question, "cli:ana")], ..update("t", 1) };
    assert_eq!(store.commit(stale).await, Err(Error::QuestionChanged(question.id.clone())));
    assert_eq!(stored(&store, "t", question).await, after);
    apply(&store, Commit { settlements: vec![scene::settle(&after, "cli:ana")], ..update("t", 1) }).await;
    assert_eq!(stored(&store, "t", question).await.proceedings, *scene::proceedings(2));
}

/// A person at the last moment and the deadline at its moment, on two threads of the machine, in every order that happens: each question gets one
/// answer, and every loser is told it.
pub async fn of_decision_and_expiry_one_wins(store: Arc<dyn Store>) {
    const QUESTIONS: u32 = 100;
    // Where each write waits for a disk, fewer rounds show it.
    apply(&store, create("probe", replace([]))).await;
    let threads = if store.statistics().statements == 0 { 100 } else { 10 };
    let mut questions = Vec::new();
    for number in 0..threads {
        let name = format!("t{number}");
        let asked = asking(&store, &name, QUESTIONS, ThreadStatus::Interrupted).await;
        questions.extend(asked.into_iter().map(|question| (name.clone(), question)));
    }
    let questions = Arc::new(questions);
    let barrier = Arc::new(std::sync::Barrier::new(2));
    // One of four is decided in peace, one expires in peace, two are raced for.
    let run = |changing: fn(&str, &QuestionRecord) -> QuestionChange, first: usize| {
        let (store, questions, barrier) = (Arc::clone(&store), Arc::clone(&questions), Arc::clone(&barrier));
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            let mut outcomes = Vec::new();
            for (place, (name, question)) in questions.iter().enumerate() {
                let change = || runtime.block_on(store.change_question(changing(name, question)));
                let early = (place % 4 == first).then(change);
                barrier.wait();
                outcomes.push(early.unwrap_or_else(change));
            }
            outcomes
        })
    };
    let decide_last = |name: &str, question: &QuestionRecord| QuestionChange {
        at_ms: DEADLINE_MS - 1,
        ..decide(name, question, "user:ana")
    };
    let decisions = run(decide_last, 0);
    let expiries = run(|name, question| expire(name, question, DEADLINE_MS), 1);
    let (decisions, expiries) = (decisions.await.expect("no panic"), expiries.await.expect("no panic"));
    let mut decided = 0;
    for (place, (name, question)) in questions.iter().enumerate() {
        let winner = stored(&store, name, question).await;
        let verdict = winner.answer.as_ref().map(|answer| answer.verdict);
        let told = Err(Error::QuestionSettled(Box::new(winner)));
        match (&decisions[place], &expiries[place]) {
            (Ok(changed), lost) if *lost == told => {
                assert_eq!((verdict, changed.woken), (Some(Verdict::Respond), true));
                decided += 1;
            }
            (lost, Ok(changed)) if *lost == told => {
                assert_eq!((verdict, changed.woken), (Some(Verdict::Expired), true));
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    assert!((questions.len() / 4..=questions.len() * 3 / 4).contains(&decided), "{decided} decisions won");
    for number in 0..threads {
        let found = record(&store, &format!("t{number}")).await;
        assert_eq!((found.status, found.epoch), (ThreadStatus::Running, Epoch(2)), "woken once");
    }
}

/// A change is all of it or nothing: notices, reply, use of a link, record. Notices that are queued already stay as they are.
pub async fn a_change_is_one_write(store: Arc<dyn Store>) {
    let questions = asking(&store, "t", 2, ThreadStatus::Interrupted).await;
    let task = scene::task("t", 0, "pull:pay");
    let queued = |id: &str, due_at_ms| OperationRecord {
        state: OperationState::Queued { attempts: 0, due_at_ms },
        finished_at_ms: None,
        ..scene::operation("t", id, &task)
    };
    assert_eq!(store.put_links(vec![link("one", "t", &questions[0])]).await, Ok(()));
    let all = QuestionChange {
        operations: vec![queued("notice:1", 1), queued("notice:2", 2)],
        reply: Some(reply("k", 200)),
        link: Some(Digest::of_bytes(b"one")),
        audit: vec![scene::audit("question.decided", Some("t")), scene::audit("link.used", None)],
        ..decide("t", &questions[0], "user:ana")
    };
    let refused = [
        QuestionChange { proceedings: *scene::proceedings(9), ..all.clone() },
        QuestionChange { at_ms: DEADLINE_MS, ..all.clone() },
        QuestionChange { link: Some(Digest::of_bytes(b"unknown")), ..all.clone() },
        QuestionChange { question: scene::question_id(&task, "t", 77), ..all.clone() },
    ];
    let before = (record(&store, "t").await, store.statistics().commits);
    for changing in refused {
        assert!(store.change_question(changing).await.is_err());
        assert_eq!((record(&store, "t").await, store.statistics().commits), before);
        assert_eq!(store.operation(&scene::operation_key("t", "notice:1")).await, Ok(None));
        assert_eq!(store.reply("user:ana", "k", NOW_MS).await, Ok(None));
        let kept = store.link(&Digest::of_bytes(b"one")).await.expect("readable").expect("there");
        assert_eq!(kept.used_at_ms, None);
        assert_eq!(store.audit_head().await, Ok(None));
    }
    assert!(store.change_question(all).await.is_ok());
    assert_eq!(store.statistics().commits, before.1 + 1, "it counts as a commit");
    assert_eq!(store.audit_head().await.expect("readable").map(|(place, _)| place), Some(2));
    let again = QuestionChange {
        operations: vec![queued("notice:1", 99), queued("notice:3", 3)],
        ..change("t", &questions[1])
    };
    assert!(store.change_question(again).await.is_ok());
    let due = store.due_operations(u64::MAX / 4, 9).await.expect("the store can be read");
    assert_eq!(due, [queued("notice:1", 1), queued("notice:2", 2), queued("notice:3", 3)]);
}
