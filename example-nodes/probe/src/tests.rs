//! Scripts as data: what each step puts together, asks, performs and says.

use holdpoint_node::testing::{FakeHost, Operation, Outcome};
use holdpoint_node::{Destination, Level, Send};

use super::*;

fn run_on(host: &mut FakeHost, script: &Value, state: Value) -> Outcome {
    host.config(json!({ "script": script, "greeting": "hello" })).argument(json!({ "n": 7, "list": ["a", "b"] }));
    host.run(probe, state)
}

/// Runs a script on a state with `x = 5`; the update must be this.
fn check(script: Value, update: Value) {
    let command = run_on(&mut FakeHost::new(), &script, json!({ "x": 5, "name": "ana" })).finished();
    assert_eq!(command.update, update, "{script}");
}

/// The script must fail with this code, and the message must hold this text.
fn check_failure(script: Value, code: &str, text: &str) {
    let error = run_on(&mut FakeHost::new(), &script, json!({ "x": 5 })).failed();
    assert_eq!(error.code, code, "{script}: {error:?}");
    assert!(error.message.contains(text), "{script}: {}", error.message);
}

#[test]
fn references_stand_for_values() {
    check(json!([]), json!({}));
    check(json!([{ "set": { "a": "$state.x" } }]), json!({ "a": 5 }));
    check(json!([{ "set": { "a": "$state" } }]), json!({ "a": { "x": 5, "name": "ana" } }));
    check(json!([{ "set": { "a": "$argument.n", "b": "$argument.list.1" } }]), json!({ "a": 7, "b": "b" }));
    check(json!([{ "set": { "a": "$config.greeting" } }]), json!({ "a": "hello" }));
    check(json!([{ "set": { "a": "${config.greeting} ${state.name}: ${state.x}" } }]), json!({ "a": "hello ana: 5" }));
    check(json!([{ "set": { "a": { "deep": ["$state.x", "plain"] } } }]), json!({ "a": { "deep": [5, "plain"] } }));
    check(json!([{ "set": { "a": "$state.nothing", "b": "$nobody" } }]), json!({ "a": null, "b": null }));
    check(json!([{ "set": { "a": 1 } }, { "set": { "a": 2, "b": 3 } }]), json!({ "a": 2, "b": 3 }));
    check(json!([{ "set": { "x": 9 } }, { "set": { "a": "$state.x" } }]), json!({ "x": 9, "a": 5 }));
}

#[test]
fn branches_and_loops() {
    let branch = |side: i64| json!([{ "if": { "eq": ["$state.x", side] }, "then": [{ "set": { "a": "yes" } }], "else": [{ "set": { "a": "no" } }] }]);
    check(branch(5), json!({ "a": "yes" }));
    check(branch(6), json!({ "a": "no" }));
    check(json!([{ "if": { "eq": [1, 2] }, "then": [{ "trap": true }] }]), json!({}));
    check(json!([{ "repeat": { "times": 3 }, "do": [{ "set": { "last": "$index" } }] }]), json!({ "last": 2 }));
    check(json!([{ "repeat": { "times": 0 }, "do": [{ "trap": true }] }]), json!({}));
    check(
        json!([{ "repeat": { "until": { "eq": ["$index", 4] }, "max": 10 }, "do": [{ "set": { "last": "$index" } }] }]),
        json!({ "last": 4 }),
    );
    check(
        json!([{ "repeat": { "until": { "eq": [1, 2] }, "max": 3 }, "do": [{ "set": { "last": "$index" } }] }]),
        json!({ "last": 2 }),
    );
}

#[test]
fn questions_end_the_execution_until_they_are_answered() {
    let script = json!([
        { "ask": { "amount": "$state.x" }, "as": "first" },
        { "ask": "sure about ${first.amount}?", "as": "second" },
        { "set": { "answers": ["$first", "$second"] } },
    ]);
    let mut host = FakeHost::new();
    let state = || json!({ "x": 5 });
    assert_eq!(run_on(&mut host, &script, state()).interrupted().payload, json!({ "amount": 5 }));
    host.answer(json!({ "amount": 4 }));
    assert_eq!(run_on(&mut host, &script, state()).interrupted().payload, json!("sure about 4?"));
    host.answer(json!(true));
    assert_eq!(run_on(&mut host, &script, state()).finished().update, json!({ "answers": [{ "amount": 4 }, true] }));
}

#[test]
fn questions_carry_schema_and_deadline() {
    let script = json!([{ "ask": "?", "answer_schema": { "type": "boolean" }, "deadline_ms": 60000, "as": "reply" }]);
    let question = run_on(&mut FakeHost::new(), &script, json!({})).interrupted();
    assert_eq!(question.answer_schema, Some(json!({ "type": "boolean" })));
}

#[test]
fn effects_are_performed_once_and_named() {
    let script = json!([
        { "effect": { "id": "pay:${state.x}", "connector": "payments", "request": { "amount": "$state.x" } }, "as": "receipt" },
        { "ask": "go on?", "as": "reply" },
        { "set": { "receipt": "$receipt" } },
    ]);
    let mut host = FakeHost::new();
    host.reply("payments", json!({ "paid": true }));
    run_on(&mut host, &script, json!({ "x": 5 })).interrupted();
    host.answer(json!(true));
    let command = run_on(&mut host, &script, json!({ "x": 5 })).finished();
    assert_eq!(command.update, json!({ "receipt": { "paid": true } }));
    assert_eq!(host.performed(), [Operation::new("payments", json!({ "amount": 5 })).id("pay:5")]);
}

#[test]
fn several_effects_at_once_keep_their_order() {
    let effect = |id: &str| json!({ "id": id, "connector": "ledger", "request": { "row": id } });
    let script = json!([{ "effects": [effect("a"), effect("b")], "as": "rows" }, { "set": { "rows": "$rows" } }]);
    let mut host = FakeHost::new();
    host.connector("ledger", |operation| Ok(json!({ "wrote": operation.request["row"] })));
    let command = run_on(&mut host, &script, json!({})).finished();
    assert_eq!(command.update, json!({ "rows": [{ "wrote": "a" }, { "wrote": "b" }] }));
}

#[test]
fn a_refusal_is_the_nodes_failure_unless_it_is_caught() {
    let effect = json!({ "connector": "ledger", "request": {} });
    let refused = || {
        let mut host = FakeHost::new();
        host.refuse("ledger", Refusal::Conflict("another request".into()));
        host
    };
    let error = run_on(&mut refused(), &json!([{ "effect": effect }]), json!({})).failed();
    assert_eq!(error.code, "conflict");
    let caught = json!([{ "effect": effect, "as": "row", "catch": true }, { "set": { "code": "$row.error.code" } }]);
    assert_eq!(run_on(&mut refused(), &caught, json!({})).finished().update, json!({ "code": "conflict" }));
}

#[test]
fn destinations_are_collected() {
    let script = json!([
        { "goto": ["b", "END"] },
        { "goto": [{ "send": { "node": "work", "argument": { "n": "$state.x" } } }, { "parent": "up" }] },
    ]);
    let command = run_on(&mut FakeHost::new(), &script, json!({ "x": 5 })).finished();
    let send = Send { node: "work".into(), argument: json!({ "n": 5 }) };
    assert_eq!(
        command.goto,
        [Destination::Node("b".into()), Destination::End, Destination::Send(send), Destination::Parent("up".into())]
    );
}

/// The destinations of a script on a state with a list of orders.
fn destinations(script: Value) -> Vec<Destination> {
    let state = json!({ "orders": [{ "id": "a", "to": "x" }, { "id": "b", "to": "y" }], "none": [], "n": 3 });
    run_on(&mut FakeHost::new(), &script, state).finished().goto
}

fn send(node: &str, argument: Value) -> Destination {
    Destination::Send(Send { node: node.into(), argument })
}

#[test]
fn a_send_for_each_item() {
    let each = |over: &str, node: &str, argument: Value| json!([{ "send_each": { "over": over, "node": node, "argument": argument } }]);
    assert_eq!(
        destinations(each(
            "$state.orders",
            "ship-${item.to}",
            json!({ "order": "$item.id", "at": "$index", "of": "$argument.n" })
        )),
        [
            send("ship-x", json!({ "order": "a", "at": 0, "of": 7 })),
            send("ship-y", json!({ "order": "b", "at": 1, "of": 7 })),
        ]
    );
    assert_eq!(
        destinations(json!([{ "send_each": { "over": "$argument.list", "node": "work" } }, { "goto": "after" }])),
        [send("work", json!("a")), send("work", json!("b")), Destination::Node("after".into())]
    );
    assert_eq!(
        destinations(each("$state.n", "work", json!("task-${item}"))),
        [send("work", json!("task-0")), send("work", json!("task-1")), send("work", json!("task-2"))]
    );
    assert_eq!(destinations(each("$state.none", "work", json!(null))), []);
    // In a loop, and the names mean again what they meant before.
    let nested = json!([{ "repeat": { "times": 2 }, "do": [
        { "send_each": { "over": ["p"], "node": "${item}", "argument": "$index" } },
        { "goto": { "send": { "node": "round", "argument": ["$index", "$item"] } } },
    ] }]);
    assert_eq!(
        destinations(nested),
        [send("p", json!(0)), send("round", json!([0, null])), send("p", json!(0)), send("round", json!([1, null])),]
    );
    for wrong in [json!("$state.nobody"), json!(-1), json!("text"), json!({})] {
        check_failure(
            json!([{ "send_each": { "over": wrong, "node": "n" } }]),
            "invalid-script",
            "a list or a whole number",
        );
    }
}

#[test]
fn an_overwrite_is_passed_on_like_any_value() {
    check(json!([{ "set": { "log": { "__overwrite__": ["$state.x"] } } }]), json!({ "log": { "__overwrite__": [5] } }));
}

#[test]
fn failures_and_traps() {
    check_failure(
        json!([{ "fail": { "code": "no-stock", "message": "only ${state.x} left", "retryable": true } }]),
        "no-stock",
        "only 5 left",
    );
    let panicked = run_on(&mut FakeHost::new(), &json!([{ "trap": true }]), json!({})).panicked();
    assert_eq!(panicked, "trap");
}

#[test]
fn reports_time_and_chance() {
    let script = json!([
        { "log": "x is ${state.x}" }, { "emit": { "x": "$state.x" } },
        { "now": "t" }, { "random": { "bytes": 4, "as": "r" } }, { "set": { "t": "$t", "r": "$r" } },
        { "allocate": 1000 },
    ]);
    let mut host = FakeHost::new();
    host.now(1_700_000_000_000).seed(1);
    let first = run_on(&mut host, &script, json!({ "x": 5 })).finished().update;
    assert_eq!(first, run_on(&mut host, &script, json!({ "x": 5 })).finished().update, "it repeats");
    assert_eq!(first["r"].as_str().map(str::len), Some(8));
    assert!(first["t"].as_u64() >= Some(1_700_000_000_000));
    assert_eq!(host.logs()[0], (Level::Info, "x is 5".to_owned()));
    assert_eq!(host.events()[0], json!({ "x": 5 }));
}

#[test]
fn scripts_that_cannot_be_read_do_nothing() {
    for (script, place) in [
        (json!({}), "script"),
        (json!([{ "set": { "a": 1 } }, { "sett": { "a": 1 } }]), "script[1]"),
        (json!([{ "if": { "eq": [1, 1] }, "then": [{ "repeat": { "times": 1 } }] }]), "script[0]"),
        (json!([{ "random": { "bytes": 4 } }]), "script[0]"),
        (json!([{ "send_each": { "over": [] } }]), "script[0]"),
        (json!([{ "now": "item" }]), "script[0]"),
        (json!([{ "effect": { "request": {} } }]), "script[0]"),
        (json!([{ "repeat": { "until": { "eq": [1] }, "max": 1 }, "do": [] }]), "script[0]"),
        (json!([{}]), "script[0]"),
        (json!(["log"]), "script[0]"),
    ] {
        check_failure(script, "invalid-script", place);
    }
    let mut host = FakeHost::new();
    host.config(json!({}));
    assert_eq!(host.run(probe, json!({})).failed().code, "invalid-script");
}
