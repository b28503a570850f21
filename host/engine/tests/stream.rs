//! What a run's streams tell, in LangGraph's modes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::support::{FakeNodes, NOON_MS, World, ask, failed, goto, graph, logs, object, thread, update};
use holdpoint_engine::stream::{Mode, Stream, parts};
use holdpoint_engine::{Answers, Deployment, Event, EventSink, Input, RunOptions};
use holdpoint_graph::definition::{GraphReference, Persist, Subgraph, Work};
use holdpoint_graph::ids::{NodeName, ThreadId};
use holdpoint_graph::nodes::{Command, Destination, TaskReport};
use serde_json::{Value, json};

const LOG: &str = "[state]\nlog = { type = \"array\", reducer = \"append\" }\n";

#[derive(Default)]
struct Collected(Mutex<Vec<Event>>);

impl EventSink for Collected {
    fn take(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// What a caller does with a thread.
enum Act<'a> {
    Run(&'a Deployment, Value),
    Answer(Answers),
    Command(Answers, Command),
}

/// Runs a thread and gives the events of this call.
async fn events_of(world: &World, id: &ThreadId, act: Act<'_>) -> Vec<Event> {
    let sink = Arc::new(Collected::default());
    let events: Arc<dyn EventSink> = Arc::clone(&sink) as Arc<dyn EventSink>;
    let engine = world.engine.with_options(RunOptions { events: Some(events), ..RunOptions::default() });
    let done = match act {
        Act::Run(deployment, values) => engine.run(id, deployment, Input { values, supersede: false }).await,
        Act::Answer(answers) => engine.answer(id, &answers, "ana").await,
        Act::Command(answers, command) => engine.command(id, Some(&answers), command, "ana").await,
    };
    done.unwrap();
    sink.0.lock().unwrap().clone()
}

/// `[type, data]` of each part of the thread's own graph; `NS` before it where it is a subgraph's.
fn told(events: &[Event], modes: &[Mode]) -> Vec<Value> {
    let mut stream = Stream::new(modes.iter().copied());
    let parts = events.iter().flat_map(|event| stream.parts(event));
    parts
        .map(|part| {
            let json = part.to_json();
            let graph =
                json["ns"].as_array().unwrap().iter().map(|part| part.as_str().unwrap().split(':').next().unwrap());
            match graph.collect::<Vec<_>>().join("|").as_str() {
                "" => json!([json["type"], json["data"]]),
                inner => json!([inner, json["type"], json["data"]]),
            }
        })
        .collect()
}

/// The same with the ids of questions taken out.
fn without_ids(mut parts: Vec<Value>) -> Vec<Value> {
    fn clean(value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(clean),
            Value::Object(members) => {
                if members.contains_key("value")
                    && let Some(id) = members.remove("id")
                {
                    assert_eq!(id.as_str().unwrap().len(), 32);
                }
                members.values_mut().for_each(clean);
            }
            _ => {}
        }
    }
    parts.iter_mut().for_each(clean);
    parts
}

fn name(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

fn asks(text: &'static str) -> impl Fn(&holdpoint_graph::nodes::NodeCall) -> holdpoint_graph::nodes::NodeOutcome {
    move |call| match ask(call, 0, json!({ "asks": text, "argument": call.argument })) {
        Ok(answer) => update(json!({ "log": [answer] })),
        Err(question) => question,
    }
}

#[test]
fn modes_have_their_names() {
    for (mode, name) in Mode::NAMES {
        assert_eq!((mode.name(), Mode::parse(name)), (name, Some(mode)));
    }
    assert_eq!(Mode::parse("messages"), None);
}

#[tokio::test]
async fn updates_and_values_take_turns_and_a_resumed_run_first_tells_where_it_is() {
    // S16
    let world = World::new(FakeNodes::default().with("r", logs("r")).with("h", asks("h")));
    let graph = world.deploy(&format!("start = \"r\"\n{LOG}[nodes.r]\nnext = \"h\"\n[nodes.h]\n")).await;
    let modes = [Mode::Updates, Mode::Values];
    let events = events_of(&world, &thread(), Act::Run(&graph, json!({ "log": ["in"] }))).await;
    let question = json!([{ "value": { "asks": "h", "argument": null } }]);
    assert_eq!(
        without_ids(told(&events, &modes)),
        [
            json!(["values", { "log": ["in"] }]),
            json!(["updates", { "r": { "log": ["r"] } }]),
            json!(["values", { "log": ["in", "r"] }]),
            json!(["updates", { "__interrupt__": question }]),
            json!(["values", { "log": ["in", "r"], "__interrupt__": question }]),
        ]
    );
    let events = events_of(&world, &thread(), Act::Answer(Answers::Bare(json!("yes")))).await;
    assert_eq!(
        told(&events, &modes),
        [
            json!(["values", { "log": ["in", "r"] }]),
            json!(["updates", { "h": { "log": ["yes"] } }]),
            json!(["values", { "log": ["in", "r", "yes"] }]),
        ]
    );
}

#[tokio::test]
async fn a_command_shows_in_the_values_and_is_no_update_of_a_node() {
    // S11
    let nodes = FakeNodes::default().with("n", |call| {
        let answers = [ask(call, 0, json!(1)), ask(call, 1, json!(2))];
        match answers {
            [Err(question), _] | [_, Err(question)] => question,
            [Ok(one), Ok(two)] => update(json!({ "log": [one, two] })),
        }
    });
    let world = World::new(nodes);
    let graph = world.deploy(&format!("start = \"n\"\n{LOG}[nodes.n]\n")).await;
    let modes = [Mode::Updates, Mode::Values];
    events_of(&world, &thread(), Act::Run(&graph, json!({ "log": ["DE"] }))).await;
    let command = Command { update: object(json!({ "log": ["foofoo"] })), goto: Vec::new() };
    let events = events_of(&world, &thread(), Act::Command(Answers::Bare(json!("answer 1")), command)).await;
    let shown = without_ids(told(&events, &modes));
    assert_eq!(shown[1], json!(["updates", { "__interrupt__": [{ "value": 2 }] }]), "{shown:?}");
    assert_eq!(shown.len(), 3, "{shown:?}");
    let events = events_of(&world, &thread(), Act::Answer(Answers::Bare(json!("answer 2")))).await;
    assert_eq!(
        told(&events, &modes)[1..],
        [
            json!(["updates", { "n": { "log": ["answer 1", "answer 2"] } }]),
            json!(["values", { "log": ["DE", "foofoo", "answer 1", "answer 2"] }]),
        ]
    );
}

#[tokio::test]
async fn sends_tell_one_part_each_and_what_was_there_is_marked_as_cached() {
    // S08, S28
    let nodes = FakeNodes::default()
        .with("fan", |_| {
            let send = |index: u64| Destination::Send { node: "one".into(), argument: json!(index) };
            goto(json!({}), (0..2).map(send).collect())
        })
        .with("one", asks("one"));
    let world = World::new(nodes);
    let graph = world.deploy(&format!("start = \"fan\"\n{LOG}[nodes.fan]\n[nodes.one]\n")).await;
    let events = events_of(&world, &thread(), Act::Run(&graph, json!({}))).await;
    let shown = told(&events, &[Mode::Updates]);
    assert_eq!(shown[0], json!(["updates", { "fan": null }]));
    let mut questions: BTreeMap<u64, String> = BTreeMap::new();
    for part in &shown[1..] {
        let interrupt = &part[1]["__interrupt__"][0];
        questions
            .insert(interrupt["value"]["argument"].as_u64().unwrap(), interrupt["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(questions.len(), 2, "{shown:?}");
    let answer = |index: u64| {
        let map = json!({ &questions[&index]: format!("answer {index}") });
        Answers::from_map(object(map)).unwrap()
    };
    let events = events_of(&world, &thread(), Act::Answer(answer(0))).await;
    let shown = told(&events, &[Mode::Updates]);
    assert_eq!(shown[0][1]["__interrupt__"][0]["id"], json!(questions[&1]), "what still waits is told again");
    assert_eq!(shown[1..], [json!(["updates", { "one": { "log": ["answer 0"] } }])]);
    let events = events_of(&world, &thread(), Act::Answer(answer(1))).await;
    assert_eq!(
        told(&events, &[Mode::Updates]),
        [
            json!(["updates", { "one": { "log": ["answer 0"] }, "__metadata__": { "cached": true } }]),
            json!(["updates", { "one": { "log": ["answer 1"] } }]),
        ]
    );
    let ends: Vec<Value> =
        told(&events, &[Mode::Tasks]).into_iter().filter(|part| part[1].get("result").is_some()).collect();
    assert_eq!(ends.iter().map(|part| &part[1]["cached"]).collect::<Vec<_>>(), [&json!(true), &Value::Null]);
}

#[tokio::test]
async fn tasks_tell_what_they_get_and_how_they_end() {
    let nodes = FakeNodes::default()
        .with("a", |_| goto(json!({ "log": ["a"] }), vec![Destination::Send { node: "b".into(), argument: json!(7) }]))
        .with("b", |_| failed("broken", false))
        .with("handler", |call| update(json!({ "log": [call.argument.as_ref().unwrap()["error"]["code"]] })));
    let world = World::new(nodes);
    let graph = world
        .deploy(&format!("start = \"a\"\n{LOG}[nodes.a]\n[nodes.b]\nerror_handler = \"handler\"\n[nodes.handler]\n"))
        .await;
    let events = events_of(&world, &thread(), Act::Run(&graph, json!({}))).await;
    let tasks: Vec<Value> = told(&events, &[Mode::Tasks])
        .into_iter()
        .map(|mut part| {
            let data = part[1].as_object_mut().unwrap();
            assert_eq!(data.remove("id").unwrap().as_str().unwrap().len(), 36);
            if data["name"] == "handler" {
                data.remove("input");
            }
            part[1].clone()
        })
        .collect();
    let of = |name: &str| tasks.iter().filter(|task| task["name"] == name).cloned().collect::<Vec<_>>();
    assert_eq!(
        of("a"),
        [
            json!({ "name": "a", "input": null }),
            json!({ "name": "a", "result": { "log": ["a"] }, "error": null, "interrupts": [] }),
        ]
    );
    let error = json!({ "code": "broken", "message": "it failed",
        "details": { "retryable": false, "retry_after_ms": null, "details": null } });
    assert_eq!(
        of("b"),
        [
            json!({ "name": "b", "input": 7, "triggers": ["__pregel_push"] }),
            json!({ "name": "b", "result": {}, "error": error, "interrupts": [] }),
        ]
    );
    assert_eq!(of("handler")[1]["result"], json!({ "log": ["broken"] }));
    assert_eq!(
        told(&events, &[Mode::Updates]),
        [json!(["updates", { "a": { "log": ["a"] } }]), json!(["updates", { "handler": { "log": ["broken"] } }])],
        "an error handler speaks under its own name"
    );
}

#[tokio::test]
async fn results_from_the_cache_are_marked() {
    let world = World::new(FakeNodes::default().with("a", logs("a")));
    let graph = world.deploy(&format!("start = \"a\"\n{LOG}[nodes.a]\ncache = {{ ttl = \"1h\" }}\n")).await;
    let mut shown = Vec::new();
    for id in ["t1", "t2"] {
        let id = ThreadId::parse(id).unwrap();
        shown.extend(told(&events_of(&world, &id, Act::Run(&graph, json!({}))).await, &[Mode::Updates]));
    }
    assert_eq!(
        shown,
        [
            json!(["updates", { "a": { "log": ["a"] } }]),
            json!(["updates", { "a": { "log": ["a"] }, "__metadata__": { "cached": true } }]),
        ]
    );
}

#[tokio::test]
async fn checkpoints_say_what_runs_next_and_debug_wraps_them() {
    let world = World::new(FakeNodes::default().with("a", logs("a")));
    let graph = world.deploy(&format!("start = \"a\"\n{LOG}[nodes.a]\n")).await;
    let events = events_of(&world, &thread(), Act::Run(&graph, json!({}))).await;
    let checkpoints = told(&events, &[Mode::Checkpoints]);
    let [first, last] = checkpoints.as_slice() else { panic!("two: {checkpoints:?}") };
    let history = world.engine.history(&thread(), None, 10).await.unwrap();
    let config = |id: &str| json!({ "configurable": { "thread_id": "t", "checkpoint_ns": "", "checkpoint_id": id } });
    let (head, start) = (&history[0], &history[1]);
    assert_eq!(
        last[1],
        json!({
            "config": config(head.checkpoint.as_str()),
            "parent_config": config(start.checkpoint.as_str()),
            "metadata": { "source": "loop", "step": 1 },
            "effects": "live",
            "created_at": "2023-11-14T22:13:20.000Z",
            "values": { "log": ["a"] },
            "next": [],
            "tasks": [],
        })
    );
    assert_eq!(NOON_MS, 1_700_000_000_000);
    let task = history[1].tasks[0].id.as_str();
    assert_eq!((&first[1]["next"], &first[1]["metadata"]["step"]), (&json!(["a"]), &json!(0)));
    assert_eq!(first[1]["tasks"], json!([{ "id": task, "name": "a", "interrupts": [], "state": null }]));
    let debug = told(&events, &[Mode::Debug]);
    let kinds: Vec<_> = debug.iter().map(|part| (part[1]["type"].as_str().unwrap(), part[1]["step"].clone())).collect();
    assert_eq!(
        kinds,
        [("checkpoint", json!(0)), ("task", json!(1)), ("task_result", json!(1)), ("checkpoint", json!(1))]
    );
    assert_eq!(debug[0][1]["payload"], first[1]);
    assert_eq!(debug[0][1]["timestamp"], "2023-11-14T22:13:20.000Z");
}

#[tokio::test]
async fn custom_events_come_as_the_node_gave_them() {
    let nodes = FakeNodes::default().with("a", |call| {
        call.journal.report(TaskReport::Custom(json!({ "percent": 50 })));
        update(json!({}))
    });
    let world = World::new(nodes);
    let graph = world.deploy(&format!("start = \"a\"\n{LOG}[nodes.a]\n")).await;
    let events = events_of(&world, &thread(), Act::Run(&graph, json!({}))).await;
    assert_eq!(told(&events, &[Mode::Custom]), [json!(["custom", { "percent": 50 }])]);
}

#[tokio::test]
async fn a_question_in_a_subgraph_is_told_there_and_where_it_was_called() {
    let world = World::new(FakeNodes::default().with("inner", asks("inner")));
    let child = world.engine.deploy(graph(&format!("start = \"inner\"\n{LOG}[nodes.inner]\n"))).await.unwrap();
    let mut parent = graph(&format!("start = \"child\"\n{LOG}[nodes.child]\n"));
    parent.nodes.get_mut(&name("child")).unwrap().work =
        Work::Subgraph(Subgraph { graph: GraphReference::Digest(child.digest), persist: Persist::PerCall });
    let deployment = world.engine.deploy(parent).await.unwrap();
    let events = events_of(&world, &thread(), Act::Run(&deployment, json!({ "log": ["in"] }))).await;
    let question = json!([{ "value": { "asks": "inner", "argument": null } }]);
    assert_eq!(
        without_ids(told(&events, &[Mode::Updates, Mode::Values])),
        [
            json!(["values", { "log": ["in"] }]),
            json!(["child", "values", { "log": ["in"] }]),
            json!(["child", "updates", { "__interrupt__": question }]),
            json!(["child", "values", { "log": ["in"], "__interrupt__": question }]),
            json!(["updates", { "__interrupt__": question }]),
            json!(["values", { "log": ["in"], "__interrupt__": question }]),
        ]
    );
    // Each event on its own: nothing is known of what was told before.
    let alone: Vec<Value> = events
        .iter()
        .flat_map(|event| parts(event, &[Mode::Values]))
        .map(|part| part.to_json()["data"].clone())
        .collect();
    let alone = without_ids(alone);
    assert_eq!(alone, [json!({ "log": ["in"] }), json!({ "log": ["in"] }), json!({ "__interrupt__": question })]);
}
