//! Strict resume: which answer reaches which question, and what is refused (R18–R24).

use std::sync::Arc;

use crate::support::{FakeNodes, World, ask, failed, object, thread, update};
use holdpoint_engine::answers::{self, Matched};
use holdpoint_engine::{Answers, Error, ThreadView};
use holdpoint_graph::ids::QuestionId;
use holdpoint_graph::nodes::{Command, Destination, NodeCall, NodeOutcome};
use holdpoint_store::{QuestionRecord, QuestionStatus, Store, ThreadStatus};
use serde_json::{Value, json};
use tokio::sync::Notify;

const LOG: &str = "[state]\nlog = { type = \"array\", reducer = \"append\" }\n";

fn asks(call: &NodeCall) -> NodeOutcome {
    match ask(call, 0, json!({ "from": call.task.node.as_str() })) {
        Ok(answer) => update(json!({ "log": [answer] })),
        Err(question) => question,
    }
}

/// A question whose answer must satisfy a schema that the node names.
fn asks_for(schema: Value) -> impl Fn(&NodeCall) -> NodeOutcome + Send + Sync + 'static {
    move |call| match asks(call) {
        NodeOutcome::Interrupted(mut question) => {
            question.answer_schema = Some(schema.clone());
            NodeOutcome::Interrupted(question)
        }
        other => other,
    }
}

/// A thread whose one node asks for what the schema says, with the lines `policy` in the graph file.
async fn one_question(schema: Value, policy: &str) -> World {
    let world = World::new(FakeNodes::default().with("a", asks_for(schema)));
    let graph = world.deploy(&format!("start = \"a\"\n{LOG}[nodes.a]\n{policy}")).await;
    assert_eq!(world.run(&graph, json!({})).await.unwrap().status, ThreadStatus::Interrupted);
    world
}

/// A thread that waits for as many answers as it has nodes.
async fn questions(names: &[&str]) -> (World, ThreadView) {
    let world = World::new(names.iter().fold(FakeNodes::default(), |nodes, name| nodes.with(name, asks)));
    let nodes: String = names.iter().map(|name| format!("[nodes.{name}]\n")).collect();
    let graph = world.deploy(&format!("start = {names:?}\n{LOG}{nodes}")).await;
    let view = world.run(&graph, json!({})).await.unwrap();
    assert_eq!(view.interrupts.len(), names.len());
    (world, view)
}

fn id_of(view: &ThreadView, node: &str) -> QuestionId {
    let interrupt = view.interrupts.iter().find(|interrupt| interrupt.node.as_str() == node).unwrap();
    QuestionId::parse(interrupt.id.as_str()).unwrap()
}

fn by_id(answers: impl IntoIterator<Item = (QuestionId, Value)>) -> Answers {
    Answers::ById(answers.into_iter().collect())
}

async fn refused(world: &World, answers: &Answers) -> Error {
    let before = world.commits();
    let error = world.engine.answer(&thread(), answers, "ana").await.unwrap_err();
    assert_eq!(world.commits(), before, "nothing is written: {error}");
    error
}

#[tokio::test]
async fn null_answers_nothing_and_other_empty_values_do() {
    for value in [json!(false), json!(0), json!("")] {
        let (world, view) = questions(&["a"]).await;
        let null = by_id([(id_of(&view, "a"), Value::Null)]);
        assert!(matches!(refused(&world, &null).await, Error::NullAnswer));
        assert!(matches!(refused(&world, &Answers::Bare(Value::Null)).await, Error::NullAnswer));
        let view = world.engine.answer(&thread(), &Answers::Bare(value.clone()), "ana").await.unwrap();
        assert_eq!(view.values["log"], json!([value]));
    }
}

#[tokio::test]
async fn an_answer_must_satisfy_the_schema_of_the_node_and_that_of_the_graph() {
    let integer = "[nodes.a.interrupt]\nanswer_schema = { type = \"integer\" }\n";
    let world = one_question(json!({ "minimum": 10 }), integer).await;
    for wrong in [json!("much"), json!(9)] {
        let error = refused(&world, &Answers::Bare(wrong.clone())).await;
        assert!(matches!(&error, Error::InvalidAnswer { violations, .. } if violations.len() == 1), "{wrong}: {error}");
    }
    let view = world.engine.answer(&thread(), &Answers::Bare(json!(10)), "ana").await.unwrap();
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, json!([10])));
}

#[tokio::test]
async fn a_schema_that_is_none_lets_nothing_through() {
    let world = one_question(json!({ "type": "nothing that there is" }), "").await;
    for value in [json!(true), json!("nothing that there is"), json!({})] {
        assert!(matches!(refused(&world, &Answers::Bare(value)).await, Error::InvalidAnswer { .. }));
    }
}

/// The questions of a thread's head, as `change` leaves them, matched with one wrong answer to each.
async fn matched(change: impl FnOnce(&mut Vec<QuestionRecord>), value: Value) -> (Vec<QuestionRecord>, Error) {
    let (world, _) = questions(&["a", "b", "c"]).await;
    let mut records = world.store.snapshot(&thread(), None).await.unwrap().unwrap().questions;
    change(&mut records);
    let wrong = by_id(records.iter().map(|question| (question.id.clone(), value.clone())));
    let error = match answers::match_answers(&thread(), &records, &wrong) {
        Ok(Matched::Accepted(accepted)) => {
            accepted.iter().find_map(|(question, value)| answers::check_answer(question, value).err()).unwrap()
        }
        other => other.unwrap_err(),
    };
    (records, error)
}

#[tokio::test]
async fn of_several_wrong_answers_the_first_asked_is_told() {
    let binding = |questions: &mut Vec<QuestionRecord>, descending: bool| {
        questions.iter_mut().for_each(|question| question.answer_schema = Some(json!({ "const": 1 })));
        questions.sort_by_key(|question| question.id.clone());
        if descending {
            questions.reverse();
        }
    };
    for descending in [false, true] {
        let (records, error) = matched(|questions| binding(questions, descending), json!(2)).await;
        assert!(matches!(&error, Error::InvalidAnswer { question, .. } if *question == records[0].id), "{error}");
        let settle = |questions: &mut Vec<QuestionRecord>| {
            binding(questions, descending);
            questions[1..].iter_mut().for_each(|question| question.status = QuestionStatus::Superseded);
        };
        let (records, error) = matched(settle, json!(1)).await;
        assert!(matches!(&error, Error::AlreadySettled(question) if question.id == records[1].id), "{error}");
    }
}

#[tokio::test]
async fn a_settled_question_refuses_all_that_comes_with_it() {
    for status in [QuestionStatus::Answered, QuestionStatus::Superseded] {
        let (records, error) = matched(|questions| questions[1].status = status, json!(1)).await;
        assert!(matches!(&error, Error::AlreadySettled(question) if *question.as_ref() == records[1]), "{error}");
    }
}

#[tokio::test]
async fn an_unknown_id_refuses_all_that_comes_with_it() {
    let (world, view) = questions(&["a", "b"]).await;
    let stranger = QuestionId::parse("0".repeat(32)).unwrap();
    let mixed = by_id([(id_of(&view, "a"), json!(1)), (stranger.clone(), json!(2))]);
    let error = refused(&world, &mixed).await;
    assert!(
        matches!(&error, Error::UnknownQuestion { unknown, pending } if *unknown == [stranger.clone()] && pending.len() == 2),
        "{error}"
    );
    let records = world.store.snapshot(&thread(), None).await.unwrap().unwrap().questions;
    assert_eq!(answers::match_answers(&thread(), &records, &mixed).unwrap(), Matched::Elsewhere(vec![stranger]));
}

#[tokio::test]
async fn who_answered_last_is_told_not_who_was_asked_last() {
    let (world, view) = questions(&["a", "b", "c"]).await;
    for (node, by) in [("b", "bob"), ("a", "ana")] {
        world.advance_ms(1000);
        world.engine.answer(&thread(), &by_id([(id_of(&view, node), json!(1))]), by).await.unwrap();
    }
    let records = world.store.snapshot(&thread(), None).await.unwrap().unwrap().questions;
    let last = answers::last_settled(&records).unwrap();
    assert_eq!((last.node.as_str(), last.answer.unwrap().answered_by.as_str()), ("a", "ana"));
}

#[tokio::test]
async fn two_equal_questions_of_a_node_are_two() {
    // `approved-is-executed`: the answer to the first "pay 500?" is none to the second.
    let nodes = FakeNodes::default().with("a", |call| {
        let answers: Result<Vec<_>, _> = (0..2).map(|occurrence| ask(call, occurrence, json!("pay 500?"))).collect();
        answers.map_or_else(|question| question, |answers| update(json!({ "log": answers })))
    });
    let world = World::new(nodes);
    let graph = world.deploy(&format!("start = \"a\"\n{LOG}[nodes.a]\n")).await;
    let first = id_of(&world.run(&graph, json!({})).await.unwrap(), "a");
    let once = by_id([(first.clone(), json!("yes"))]);
    let view = world.engine.answer(&thread(), &once, "ana").await.unwrap();
    assert_eq!(view.status, ThreadStatus::Interrupted);
    assert_ne!(id_of(&view, "a"), first);
    assert!(matches!(refused(&world, &once).await, Error::AlreadySettled(_)), "said twice, it counts once");
    let view = world.engine.answer(&thread(), &Answers::Bare(json!("no")), "ana").await.unwrap();
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, json!(["yes", "no"])));
}

#[tokio::test]
async fn an_answer_does_not_rob_the_worker_that_runs_the_thread() {
    let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (signal, wait) = (Arc::clone(&reached), Arc::clone(&go_on));
    let nodes = FakeNodes::default().with("b", asks).with_async("a", move |call| {
        let (signal, wait) = (Arc::clone(&signal), Arc::clone(&wait));
        Box::pin(async move {
            let outcome = asks(&call);
            if matches!(outcome, NodeOutcome::Completed(_)) {
                signal.notify_one();
                wait.notified().await;
            }
            outcome.into()
        })
    });
    let world = World::new(nodes);
    let graph = world.deploy(&format!("start = [\"a\", \"b\"]\n{LOG}[nodes.a]\n[nodes.b]\n")).await;
    let view = world.run(&graph, json!({})).await.unwrap();
    let (one, two) = (by_id([(id_of(&view, "a"), json!("one"))]), by_id([(id_of(&view, "b"), json!("two"))]));
    let engine = world.engine.clone();
    let worker = tokio::spawn(async move { engine.answer(&thread(), &one, "ana").await });
    reached.notified().await;
    let second = world.second("second", FakeNodes::default().with("a", asks).with("b", asks));
    let busy = second.engine.answer(&thread(), &two, "bob").await;
    assert!(matches!(&busy, Err(Error::Busy { owner, .. }) if owner == "first"), "{busy:?}");
    go_on.notify_one();
    assert_eq!(worker.await.unwrap().unwrap().interrupts.len(), 1, "the worker was left alone");
    let view = second.engine.answer(&thread(), &two, "bob").await.unwrap();
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, json!(["one", "two"])));
}

#[tokio::test]
async fn a_caller_has_no_parent_graph_to_go_to() {
    let (world, _) = questions(&["a", "b"]).await;
    let before = world.commits();
    let command = Command { update: object(json!({})), goto: vec![Destination::Parent("b".into())] };
    let error = world.engine.command(&thread(), None, command, "ana").await.unwrap_err();
    assert!(matches!(error, Error::UnknownNode { .. }), "{error}");
    assert_eq!(world.commits(), before);
}

#[tokio::test]
async fn a_command_without_an_answer_is_for_a_thread_that_waits() {
    for (outcome, status) in
        [(failed("no", false), ThreadStatus::Failed), (update(json!({ "log": [1] })), ThreadStatus::Done)]
    {
        let world = World::new(FakeNodes::default().with("a", move |_| outcome.clone()));
        let graph = world.deploy(&format!("start = \"a\"\n{LOG}[nodes.a]\n")).await;
        assert_eq!(world.run(&graph, json!({})).await.unwrap().status, status);
        let before = world.commits();
        for command in [Command::default(), Command { update: object(json!({ "log": [2] })), goto: vec![] }] {
            let error = world.engine.command(&thread(), None, command, "ana").await.unwrap_err();
            assert!(matches!(error, Error::NotWaiting { status: told, .. } if told == status), "{error}");
        }
        assert_eq!((world.commits(), world.nodes.started("a")), (before, 1));
    }
}
