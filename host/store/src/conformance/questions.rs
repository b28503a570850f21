//! Tasks, questions, and the one answer of each.

use std::sync::Arc;

use holdpoint_graph::actor::Actor;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::nodes::{Answer, Command, Destination, Verdict};
use serde_json::{Map, Value, json};

use super::scene::{self, NOW_MS, apply, create, head, replace, step, thread, update};
use crate::access::LinkRecord;
use crate::approvals::{Added, Proceedings, QuestionChange, QuestionFilter, Withdrawn};
use crate::records::{QuestionRecord, QuestionStatus, Settlement, TaskRecord, TaskStatus, ThreadError, ThreadStatus};
use crate::store::{Commit, Error, Store};

/// A thread "t" that waits at checkpoint 0 for one question.
async fn waiting(store: &Arc<dyn Store>) -> QuestionRecord {
    let task = scene::task("t", 0, "pull:pay");
    let question = scene::question(&task, "t", 0);
    let commit = Commit {
        tasks: vec![task],
        questions: vec![question.clone()],
        status: ThreadStatus::Interrupted,
        ..create("t", replace([("a", json!(1))]))
    };
    apply(store, commit).await;
    question
}

async fn asked(store: &Arc<dyn Store>, question: &QuestionRecord) -> QuestionRecord {
    let found = store.question(&thread("t"), &question.id).await.expect("the store can be read");
    found.expect("the question is there")
}

/// A task that is recorded again is as recorded last.
pub async fn a_task_is_replaced(store: Arc<dyn Store>) {
    let first = scene::task("t", 0, "pull:pay");
    apply(&store, Commit { tasks: vec![first.clone()], ..create("t", replace([])) }).await;
    assert_eq!(head(&store, "t").await.tasks, std::slice::from_ref(&first));
    let second = TaskRecord {
        status: TaskStatus::Done,
        executions: 2,
        result: Some(Command { update: Map::from_iter([("a".to_owned(), json!(1))]), goto: Vec::new() }),
        updated_at_ms: NOW_MS + 1,
        ..first.clone()
    };
    apply(&store, Commit { tasks: vec![first, second.clone()], ..update("t", 1) }).await;
    assert_eq!(head(&store, "t").await.tasks, [second], "the last one within a commit counts too");
}

/// All that a task records comes back; tasks come in order of path.
pub async fn tasks_come_back_whole_in_order_of_path(store: Arc<dyn Store>) {
    let goto = vec![
        Destination::Node("n".to_owned()),
        Destination::Send { node: "n".to_owned(), argument: Value::Null },
        Destination::Parent("p".to_owned()),
        Destination::End,
    ];
    let result = Command { update: Map::from_iter([("ä".to_owned(), json!([null, u64::MAX]))]), goto };
    let error = ThreadError {
        code: "HP0001".to_owned(),
        message: String::new(),
        node: None,
        details: Some(json!({ "a": [] })),
    };
    let tasks: Vec<TaskRecord> = (0..)
        .zip(TaskStatus::NAMES)
        .map(|(index, (status, _))| TaskRecord {
            status,
            executions: u32::MAX - index,
            result: (index % 2 == 0).then(|| result.clone()),
            error: (index % 2 == 1).then(|| error.clone()),
            steps_left: (index % 2 == 0).then_some(u32::MAX - index),
            ..scene::task("t", 0, &format!("push:{index:010}"))
        })
        .collect();
    let stored = tasks.iter().rev().cloned().chain([scene::task("t", 0, "pull:z")]).collect();
    apply(&store, Commit { tasks: stored, ..create("t", replace([])) }).await;
    let found = head(&store, "t").await.tasks;
    assert_eq!(found[0].path, "pull:z");
    assert_eq!(found[1..], tasks);
}

/// All that a question records comes back.
pub async fn a_question_comes_back_whole(store: Arc<dyn Store>) {
    let task = scene::task("t", 0, "pull:pay");
    let full = QuestionRecord {
        payload: json!({ "amount": 9_007_199_254_740_993_u64, "text": "😀" }),
        answer_schema: Some(json!({ "type": "object" })),
        policy: json!({ "deadline": "2h", "assignees": ["group:finance"] }),
        deadline_at_ms: Some(NOW_MS + 7_200_000),
        ..scene::question(&task, "t", u32::MAX - 200)
    };
    let odd = QuestionRecord {
        payload: Value::Null,
        answer_schema: Some(Value::Null),
        policy: Value::Null,
        ..scene::question(&task, "t", 0)
    };
    let commit = Commit { tasks: vec![task], questions: vec![full.clone(), odd.clone()], ..create("t", replace([])) };
    apply(&store, commit).await;
    assert_eq!(asked(&store, &full).await, full);
    assert_eq!(asked(&store, &odd).await, odd);
    assert_eq!(head(&store, "t").await.questions, [full, odd]);
}

/// Asking again what is asked, or settled, changes nothing.
pub async fn a_question_asked_again_stays_as_it_is(store: Arc<dyn Store>) {
    let question = waiting(&store).await;
    let again = QuestionRecord { asked_at_ms: NOW_MS + 99, payload: json!("other"), ..question.clone() };
    apply(&store, Commit { questions: vec![again.clone(), again.clone()], ..update("t", 1) }).await;
    assert_eq!(asked(&store, &question).await, question);
    apply(&store, Commit { settlements: vec![scene::settle(&question, "ana")], ..update("t", 1) }).await;
    let settled = asked(&store, &question).await;
    apply(&store, Commit { questions: vec![again], ..update("t", 1) }).await;
    assert_eq!(asked(&store, &question).await, settled, "an answered question does not open again");
}

/// An answer is recorded with everything that it says.
pub async fn an_answer_settles_a_question(store: Arc<dyn Store>) {
    let task = scene::task("t", 0, "pull:pay");
    let asked_with = |(occurrence, (verdict, _)): (u32, (Verdict, _))| QuestionRecord {
        // The deadline gives the one that says so.
        deadline_at_ms: (verdict == Verdict::Expired).then_some(NOW_MS),
        due_at_ms: Some(NOW_MS),
        ..scene::question(&task, "t", occurrence)
    };
    let questions: Vec<QuestionRecord> = (0..).zip(Verdict::NAMES).map(asked_with).collect();
    apply(&store, Commit { tasks: vec![task.clone()], questions: questions.clone(), ..create("t", replace([])) }).await;
    for (question, (verdict, _)) in questions.iter().zip(Verdict::NAMES) {
        let answer = Answer { verdict, ..scene::answer("cli:ana", json!({ "verdict": verdict.name(), "n": null })) };
        let settlement = Settlement::Answer {
            question: question.id.clone(),
            answer: answer.clone(),
            proceedings: scene::proceedings(1),
        };
        apply(&store, Commit { settlements: vec![settlement], ..update("t", 1) }).await;
        let expected = QuestionRecord {
            status: QuestionStatus::Answered,
            answer: Some(answer),
            proceedings: *scene::proceedings(1),
            due_at_ms: None,
            ..question.clone()
        };
        assert_eq!(asked(&store, question).await, expected);
    }
    assert!(head(&store, "t").await.questions.iter().all(|question| question.status == QuestionStatus::Answered));
}

/// A superseded question has no answer and takes none.
pub async fn a_question_can_be_superseded(store: Arc<dyn Store>) {
    let question = waiting(&store).await;
    let supersede = Settlement::Supersede { question: question.id.clone() };
    apply(&store, Commit { settlements: vec![supersede], ..update("t", 1) }).await;
    let expected = QuestionRecord { status: QuestionStatus::Superseded, ..question.clone() };
    assert_eq!(asked(&store, &question).await, expected);
    let late = Commit { settlements: vec![scene::settle(&question, "ana")], ..update("t", 1) };
    assert_eq!(store.commit(late).await, Err(Error::QuestionSettled(Box::new(expected))));
}

/// A question that is called off closes its links, and is listed among those that are.
pub async fn a_question_that_is_called_off_closes_its_links(store: Arc<dyn Store>) {
    let question = waiting(&store).await;
    let link = LinkRecord {
        digest: Digest::of_bytes(b"secret"),
        thread: thread("t"),
        question: question.id.clone(),
        subject: "user:ana".to_owned(),
        created_at_ms: NOW_MS,
        expires_at_ms: NOW_MS + 60,
        used_at_ms: None,
    };
    assert_eq!(store.put_links(vec![link.clone()]).await, Ok(()));
    let cancel = || Settlement::Cancel { question: question.id.clone(), by: Actor::asserted("boss") };
    apply(&store, Commit { settlements: vec![cancel()], at_ms: NOW_MS + 7, ..update("t", 1) }).await;
    assert_eq!(store.link(&link.digest).await, Ok(Some(LinkRecord { used_at_ms: Some(NOW_MS + 7), ..link })));
    let again = store.commit(Commit { settlements: vec![cancel()], ..update("t", 1) }).await;
    assert!(matches!(again, Err(Error::QuestionSettled(_))), "{again:?}");
    let filter = |status| QuestionFilter { status, ..QuestionFilter::pending(9) };
    let of = async |status| store.questions(&filter(status)).await.expect("the store can be read").len();
    assert_eq!((of(Some(QuestionStatus::Cancelled)).await, of(Some(QuestionStatus::Pending)).await), (1, 0));
    assert_eq!(of(None).await, 1, "it is listed among all");
}

/// A cancelled question has no answer and takes none, what was said of it before stays, and it tells who cancelled it, and when.
pub async fn a_question_can_be_cancelled(store: Arc<dyn Store>) {
    let question = waiting(&store).await;
    let added =
        Added { to: "user:eva".into(), on_behalf_of: None, until_ms: None, reason: Some("ü \u{0}".into()), at_ms: 1 };
    let said = Proceedings { version: 1, added: vec![added], ..Proceedings::default() };
    let changing = QuestionChange { proceedings: said.clone(), ..scene::change("t", &question) };
    store.change_question(changing).await.expect("it is pending");
    let by = Actor::asserted("boss");
    let cancel = Settlement::Cancel { question: question.id.clone(), by: by.clone() };
    apply(&store, Commit { settlements: vec![cancel], at_ms: NOW_MS + 7, ..update("t", 1) }).await;
    let withdrawn = Some(Withdrawn { by, at_ms: NOW_MS + 7 });
    let expected = QuestionRecord {
        status: QuestionStatus::Cancelled,
        due_at_ms: None,
        proceedings: Proceedings { withdrawn, ..said },
        ..question.clone()
    };
    assert_eq!(asked(&store, &question).await, expected);
    let late = Commit { settlements: vec![scene::settle(&question, "ana")], ..update("t", 1) };
    assert_eq!(store.commit(late).await, Err(Error::QuestionSettled(Box::new(expected.clone()))));
    let late = QuestionChange { proceedings: expected.proceedings.clone(), ..scene::change("t", &question) };
    assert_eq!(store.change_question(late).await, Err(Error::QuestionSettled(Box::new(expected))));
}

/// The second answer is refused, told the first, and nothing of its commit is written (`one-decision`).
pub async fn a_second_answer_loses_and_writes_nothing(store: Arc<dyn Store>) {
    let question = waiting(&store).await;
    let task = scene::task("t", 0, "pull:pay");
    let other = scene::question(&task, "t", 1);
    let commit =
        Commit { questions: vec![other.clone()], settlements: vec![scene::settle(&question, "ana")], ..update("t", 1) };
    apply(&store, commit).await;
    let before = head(&store, "t").await;
    let winner = asked(&store, &question).await;
    let loser = Commit {
        claim: Some(scene::claim("loser")),
        // The first of its settlements fits; the second does not.
        settlements: vec![scene::settle(&other, "bob"), scene::settle(&question, "bob")],
        tasks: vec![TaskRecord { executions: 9, ..task.clone() }],
        questions: vec![scene::question(&task, "t", 2)],
        operations: vec![scene::operation("t", "op", &task)],
        status: ThreadStatus::Done,
        at_ms: NOW_MS + 9,
        ..step("t", 1, 1, 0, replace([("a", json!(2))]))
    };
    assert_eq!(store.commit(loser).await, Err(Error::QuestionSettled(Box::new(winner))));
    assert_eq!(head(&store, "t").await, before);
    assert_eq!(store.snapshot(&thread("t"), Some(&scene::checkpoint(1))).await, Ok(None));
    assert_eq!(store.operation(&scene::operation_key("t", "op")).await, Ok(None));
}

/// Of answers given at once exactly one wins, and every loser is told which.
pub async fn of_concurrent_answers_one_wins(store: Arc<dyn Store>) {
    let question = waiting(&store).await;
    let mut answers = tokio::task::JoinSet::new();
    for number in 0..10 {
        let (store, question) = (Arc::clone(&store), question.clone());
        answers.spawn(async move {
            let by = format!("cli:{number}");
            store
                .commit(Commit { settlements: vec![scene::settle(&question, &by)], ..update("t", 1) })
                .await
                .map(|()| by)
        });
    }
    let outcomes = answers.join_all().await;
    let winners: Vec<&String> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    let stored = asked(&store, &question).await;
    assert_eq!(stored.answer.as_ref().map(|answer| &answer.answered_by), Some(winners[0]));
    for outcome in &outcomes {
        match outcome {
            Ok(_) => {}
            Err(error) => assert_eq!(*error, Error::QuestionSettled(Box::new(stored.clone()))),
        }
    }
}

/// A question of another thread, or of none, is not found.
pub async fn an_unknown_question_refuses_the_commit(store: Arc<dyn Store>) {
    let question = waiting(&store).await;
    apply(&store, create("other", replace([]))).await;
    let foreign =
        Commit { settlements: vec![scene::settle(&question, "ana")], status: ThreadStatus::Done, ..update("other", 1) };
    let expected = Error::QuestionNotFound { thread: thread("other"), question: question.id.clone() };
    assert_eq!(store.commit(foreign).await, Err(expected));
    assert_eq!(head(&store, "other").await.thread.status, ThreadStatus::Running);
    assert_eq!(store.question(&thread("other"), &question.id).await, Ok(None));
    assert_eq!(asked(&store, &question).await, question);
}

/// A question stands on its task's record, stored before it or with it.
pub async fn a_question_needs_its_task(store: Arc<dyn Store>) {
    apply(&store, create("t", replace([]))).await;
    let task = scene::task("t", 0, "pull:pay");
    let question = scene::question(&task, "t", 0);
    let elsewhere = QuestionRecord { checkpoint: scene::checkpoint(7), ..question.clone() };
    for orphan in [question.clone(), elsewhere] {
        let outcome =
            store.commit(Commit { questions: vec![orphan], status: ThreadStatus::Done, ..update("t", 1) }).await;
        assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
    }
    assert_eq!(head(&store, "t").await.thread.status, ThreadStatus::Running);
    apply(&store, Commit { tasks: vec![task], questions: vec![question.clone()], ..update("t", 1) }).await;
    assert_eq!(head(&store, "t").await.questions, [question]);
}

/// Questions come in the order in which they were stored.
pub async fn questions_come_in_order_of_asking(store: Arc<dyn Store>) {
    let tasks = [scene::task("t", 0, "pull:a"), scene::task("t", 0, "pull:b")];
    let questions: Vec<QuestionRecord> = [(1, 0), (0, 3), (1, 1), (0, 0)]
        .map(|(task, occurrence)| scene::question(&tasks[task], "t", occurrence))
        .into();
    apply(&store, Commit { tasks: tasks.into(), questions: questions[..2].to_vec(), ..create("t", replace([])) }).await;
    apply(&store, Commit { questions: questions[2..].to_vec(), ..update("t", 1) }).await;
    assert_eq!(head(&store, "t").await.questions, questions);
}
