//! What authors rely on: typed state in, a command out, and the same inputs on every execution.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use holdpoint_node::prelude::*;
use holdpoint_node::testing::{FakeHost, Operation, Outcome};
use holdpoint_node::{Answer, Destination, HttpAnswer, Level, Node, Send, Task, Verdict};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: String,
    amount_cents: u64,
}

fn order() -> Value {
    json!({ "id": "9241", "amount_cents": 50_000, "other": "channels are ignored" })
}

// The attribute.

/// Described by its documentation
/// in one line.
///
/// And not by this.
#[node(connectors = ["payments", "ledger"], config_schema = r#"{"type":"object"}"#)]
fn documented(Order { id, .. }: Order, cx: Cx) -> Result<Command> {
    cx.debug(&id);
    Ok(Command::update(json!({ "id": id })))
}

mod elsewhere {
    use holdpoint_node::prelude::*;

    #[node(name = "other", version = "9.9.9", summary = "Other.", state_schema = "{}", update_schema = "{}")]
    pub(super) fn renamed(_state: Value, _cx: Cx) -> Result<Command> {
        Ok(Command::none())
    }
}

#[test]
fn a_description_comes_from_the_package_the_documentation_and_the_attribute() {
    let description = documented::describe();
    assert_eq!(description.name, env!("CARGO_PKG_NAME"));
    assert_eq!(description.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(description.summary, "Described by its documentation in one line.");
    assert_eq!(description.connectors, ["payments", "ledger"]);
    assert_eq!(description.config_schema, Some(r#"{"type":"object"}"#));
    assert_eq!(description.state_schema, None);

    let description = elsewhere::renamed::describe();
    assert_eq!((description.name, description.version, description.summary), ("other", "9.9.9", "Other."));
    assert_eq!((description.state_schema, description.update_schema), (Some("{}"), Some("{}")));
    assert!(description.connectors.is_empty());
}

#[test]
fn the_function_is_still_a_function() {
    let mut host = FakeHost::new();
    assert_eq!(host.run(documented, order()).finished().update, json!({ "id": "9241" }));
    assert_eq!(host.logs(), [(Level::Debug, "9241".to_owned())]);
}

// State in, command out.

#[test]
fn state_that_does_not_fit_names_the_field() {
    for (state, field) in [
        (json!({ "id": "9241" }), "amount_cents"),
        (json!({ "id": 7, "amount_cents": 1 }), "id"),
        (json!({ "id": "9241", "amount_cents": -1 }), "amount_cents"),
        (json!({ "id": "9241", "amount_cents": 1.5 }), "amount_cents"),
    ] {
        let error = FakeHost::new().run(documented, state).failed();
        assert_eq!(error.code, "invalid-state");
        assert_eq!(error.details, Some(json!({ "field": field })), "{error}");
        assert!(error.message.contains(field) && !error.retryable, "{error}");
    }
}

#[test]
fn a_command_says_what_is_written_and_where_the_graph_goes() {
    let command = Command::update(json!({ "a": 1 })).goto("next").send("work", json!([1])).goto_parent("up").goto_end();
    let send = Send { node: "work".to_owned(), argument: json!([1]) };
    assert_eq!(
        command.goto,
        [
            Destination::Node("next".to_owned()),
            Destination::Send(send),
            Destination::Parent("up".to_owned()),
            Destination::End
        ]
    );
    let typed = Command::update_from(&Order { id: "a".to_owned(), amount_cents: 1 }).expect("it has a JSON form");
    assert_eq!(typed.update, json!({ "id": "a", "amount_cents": 1 }));
}

#[test]
fn an_update_is_an_object() {
    let run = |update: Value| FakeHost::new().run(move |_: Value, _| Ok(Command::update(update)), json!({}));
    assert_eq!(run(json!(null)).finished().update, json!({}));
    assert_eq!(FakeHost::new().run(elsewhere::renamed, json!({})).finished().update, json!({}));
    for update in [json!([]), json!("text"), json!(1), json!(true)] {
        assert_eq!(run(update).failed().code, "invalid-update");
    }
}

// Questions.

#[test]
fn a_question_without_an_answer_ends_the_execution() {
    fn node(order: Order, cx: Cx) -> Result<Command> {
        let answer: Order = cx.interrupt(&order)?;
        Ok(Command::update_from(&answer)?.goto("paid"))
    }
    let mut host = FakeHost::new();
    let asked = json!({ "id": "9241", "amount_cents": 50_000 });
    for _ in 0..3 {
        assert_eq!(host.run(node, order()), Outcome::Interrupted(Question::new(asked.clone())));
    }
    host.answer(json!({ "id": "9241", "amount_cents": 40_000 }));
    assert_eq!(host.run(node, order()).finished().update["amount_cents"], 40_000);
    assert_eq!(host.questions(), [Question::new(asked)]);
}

#[test]
fn an_answer_of_another_type_is_a_failure() {
    let mut host = FakeHost::new();
    host.answer(json!({ "id": "9241" }));
    let error = host.run(|_: Value, cx: Cx| cx.interrupt::<Order>("which?").map(|_| Command::none()), json!({}));
    let error = error.failed();
    assert_eq!((error.code.as_str(), error.details), ("invalid-answer", Some(json!({ "field": "amount_cents" }))));
}

#[test]
fn a_question_carries_schema_and_deadline_and_its_answer_who_gave_it() {
    fn node(_: Value, cx: Cx) -> Result<Command> {
        let schema = json!({ "type": "boolean" });
        let answer = cx.ask(Question::new(json!("go?")).answer_schema(schema).deadline(Duration::from_secs(60)))?;
        let sure: bool = answer.value()?;
        Ok(Command::update(json!({ "sure": sure, "by": answer.answered_by, "verdict": answer.verdict.name() })))
    }
    let mut host = FakeHost::new();
    let question = host.run(node, json!({})).interrupted();
    assert_eq!(question.answer_schema, Some(json!({ "type": "boolean" })));
    assert_eq!(question.deadline_ms, Some(60_000));
    let answered_by = "user:ana".to_owned();
    host.answer_with(Answer { verdict: Verdict::Reject, value: json!(false), answered_by, answered_at_ms: 5 });
    let update = host.run(node, json!({})).finished().update;
    assert_eq!(update, json!({ "sure": false, "by": "user:ana", "verdict": "reject" }));
}

#[test]
fn an_answer_reaches_only_the_question_that_was_asked() {
    let ask = |payload: &'static str| {
        move |_: Value, cx: Cx| Ok(Command::update(json!({ "answer": cx.interrupt::<Value>(payload)? })))
    };
    let mut host = FakeHost::new();
    host.run(ask("pay 5?"), json!({})).interrupted();
    host.answer(json!(true));
    assert_eq!(host.run(ask("pay 5000?"), json!({})).interrupted().payload, json!("pay 5000?"));
    host.answer(json!(false));
    assert_eq!(host.run(ask("pay 5000?"), json!({})).finished().update, json!({ "answer": false }));
}

#[test]
fn a_node_cannot_go_on_past_its_question() {
    fn node(_: Value, cx: Cx) -> Result<Command> {
        let _swallowed = catch_unwind(AssertUnwindSafe(|| cx.interrupt::<Value>("first?")));
        let _late = catch_unwind(AssertUnwindSafe(|| cx.side_effect("ledger").request(json!({}))));
        let _late = catch_unwind(AssertUnwindSafe(|| cx.interrupt::<Value>("second?")));
        let _late = catch_unwind(AssertUnwindSafe(|| cx.info("late")));
        Ok(Command::update(json!({ "slipped": true })))
    }
    let mut host = FakeHost::new();
    host.connector("ledger", |_| Ok(json!(null)));
    assert_eq!(host.run(node, json!({})).interrupted().payload, json!("first?"));
    assert!(host.performed().is_empty() && host.logs().is_empty());
    assert_eq!(host.questions().len(), 1);
}

// Side effects.

fn pay(_: Value, cx: Cx) -> Result<Command> {
    let receipt: Value = cx
        .side_effect("payments")
        .id("refund:1")
        .header("x-tenant", "a")
        .query("dry", false)
        .post("/refunds", json!({ "amount_cents": 1 }))?;
    Ok(Command::update(json!({ "receipt": receipt })))
}

#[test]
fn an_http_request_has_the_parts_that_were_given() {
    let mut host = FakeHost::new();
    host.reply("payments", json!({ "status": 201, "headers": { "ETag": "x" }, "body": { "id": 1 } }));
    assert_eq!(host.run(pay, json!({})).finished().update, json!({ "receipt": { "id": 1 } }));
    let request = json!({
        "method": "POST",
        "path": "/refunds",
        "query": { "dry": false },
        "headers": { "x-tenant": "a" },
        "body": { "amount_cents": 1 },
    });
    assert_eq!(host.performed(), [Operation::new("payments", request).id("refund:1")]);
}

#[test]
fn each_method_has_its_name_and_bodies_only_where_they_belong() {
    fn node(_: Value, cx: Cx) -> Result<Command> {
        let service = || cx.side_effect("service");
        service().get::<Value>("/a")?;
        service().delete::<Value>("/a")?;
        service().post::<Value>("/a", 1)?;
        service().put::<Value>("/a", 2)?;
        service().patch::<Value>("/a", 3)?;
        Ok(Command::none())
    }
    let mut host = FakeHost::new();
    host.connector("service", |_| Ok(json!({ "status": 200 })));
    host.run(node, json!({})).finished();
    let requests: Vec<Value> = host.performed().into_iter().map(|operation| operation.request).collect();
    assert_eq!(
        requests,
        [
            json!({ "method": "GET", "path": "/a" }),
            json!({ "method": "DELETE", "path": "/a" }),
            json!({ "method": "POST", "path": "/a", "body": 1 }),
            json!({ "method": "PUT", "path": "/a", "body": 2 }),
            json!({ "method": "PATCH", "path": "/a", "body": 3 }),
        ]
    );
}

#[test]
fn fetch_returns_the_answer_whatever_its_status() {
    let mut host = FakeHost::new();
    host.reply("service", json!({ "status": 404, "headers": { "Retry-After": "5" }, "body": "gone" }));
    let node = |_: Value, cx: Cx| {
        let answer: HttpAnswer = cx.side_effect("service").fetch("GET", "/a", None)?;
        let (success, after) = (answer.is_success(), answer.header("retry-after"));
        Ok(Command::update(json!({ "status": answer.status, "success": success, "after": after })))
    };
    let update = host.run(node, json!({})).finished().update;
    assert_eq!(update, json!({ "status": 404, "success": false, "after": "5" }));
}

#[test]
fn what_goes_wrong_has_a_code() {
    for (reply, code) in [
        (Ok(json!({ "status": 402, "body": {} })), "http-status"),
        (Ok(json!({ "status": 302 })), "http-status"),
        (Ok(json!({ "no": "status" })), "invalid-result"),
        (Err(Refusal::Denied("not granted".to_owned())), "denied"),
        (Err(Refusal::Invalid("no path".to_owned())), "invalid"),
        (Err(Refusal::Conflict("another request".to_owned())), "conflict"),
        (Err(Refusal::Failed(Error::new("timeout", "10 s").retryable())), "timeout"),
    ] {
        let mut host = FakeHost::new();
        host.connector("payments", move |_| reply.clone());
        let error = host.run(pay, json!({})).failed();
        assert_eq!(error.code, code);
        assert_eq!(error.retryable, code == "timeout", "{error}");
    }
    assert_eq!(FakeHost::new().run(pay, json!({})).failed().code, "denied", "a connector that nobody scripted");
}

#[test]
fn a_repeated_operation_is_not_performed_again() {
    let request = |amount: u64| {
        move |_: Value, cx: Cx| {
            let paid = cx.side_effect("ledger").id("pay:1").request(json!({ "amount": amount }))?;
            Ok(Command::update(json!({ "paid": paid })))
        }
    };
    let mut host = FakeHost::new();
    let mut row = 0;
    host.connector("ledger", move |_| {
        row += 1;
        Ok(json!({ "row": row }))
    });
    for _ in 0..3 {
        assert_eq!(host.run(request(5), json!({})).finished().update, json!({ "paid": { "row": 1 } }));
    }
    assert_eq!(host.run(request(6), json!({})).failed().code, "conflict");
    assert_eq!(host.performed().len(), 1);
}

#[test]
fn unnamed_operations_are_told_apart_by_their_order() {
    fn node(_: Value, cx: Cx) -> Result<Command> {
        for _ in 0..2 {
            cx.side_effect("ledger").request(json!({ "same": "row" }))?;
        }
        Ok(Command::none())
    }
    let mut host = FakeHost::new();
    host.connector("ledger", |_| Ok(json!(null)));
    host.run(node, json!({})).finished();
    host.run(node, json!({})).finished();
    assert_eq!(host.performed().len(), 2);
}

#[test]
fn a_batch_keeps_its_order_and_its_refusals() {
    let node = |_: Value, cx: Cx| {
        let rows = ["a", "b", "c"].map(|row| Operation::new("ledger", json!(row)).id(row));
        let rows: Vec<String> = cx
            .side_effects(rows.into())
            .into_iter()
            .map(|result| result.map_or_else(|refusal| refusal.to_string(), |value| value.to_string()))
            .collect();
        Ok(Command::update(json!({ "rows": rows })))
    };
    let mut host = FakeHost::new();
    host.reply("ledger", json!(1)).refuse("ledger", Refusal::Denied("no".to_owned())).reply("ledger", json!(3));
    assert_eq!(host.run(node, json!({})).finished().update, json!({ "rows": ["1", "denied: no", "3"] }));
}

// Everything else of `Cx`.

#[test]
fn time_and_randomness_repeat() {
    let node = |_: Value, cx: Cx| {
        let readings = [cx.now_ms(), cx.now_ms()];
        assert!(cx.now() > std::time::UNIX_EPOCH);
        Ok(Command::update(json!({ "readings": readings, "random": [cx.random(8), cx.random(8)] })))
    };
    let mut host = FakeHost::new();
    host.now(1_000).seed(7);
    let first = host.run(node, json!({})).finished();
    assert_eq!(host.run(node, json!({})).finished(), first);
    assert_eq!(first.update["readings"], json!([1_000, 1_001]));
    assert_ne!(first.update["random"][0], first.update["random"][1]);
    host.seed(8);
    assert_ne!(host.run(node, json!({})).finished().update["random"], first.update["random"]);
}

#[test]
fn arguments_and_configuration_are_typed() {
    let node = |_: Value, cx: Cx| {
        let order: Order = cx.argument()?;
        let config: Order = cx.config()?;
        Ok(Command::update(json!({ "orders": [order, config] })))
    };
    for (argument, config, code) in [
        (None, order(), "missing-argument"),
        (Some(json!({})), order(), "invalid-argument"),
        (Some(order()), json!({}), "invalid-config"),
    ] {
        let mut host = FakeHost::new();
        host.config(config);
        if let Some(argument) = argument {
            host.argument(argument);
        }
        assert_eq!(host.run(node, json!({})).failed().code, code);
    }
    let optional = |_: Value, cx: Cx| {
        let order: Option<Order> = cx.argument()?;
        Ok(Command::update(json!({ "there": order.is_some() })))
    };
    assert_eq!(FakeHost::new().run(optional, json!({})).finished().update, json!({ "there": false }));
}

#[test]
fn the_task_is_the_one_that_was_set() {
    let text = |text: &str| text.to_owned();
    let task = Task {
        graph: text("refund"),
        thread_id: text("t"),
        checkpoint_id: text("c"),
        step: 4,
        node: text("gate"),
        id: text("k"),
    };
    let mut host = FakeHost::new();
    host.task(task.clone());
    let command = host.run(|_: Value, cx: Cx| Command::update_from(cx.task()), json!({})).finished();
    assert_eq!(command.update, json!(task));
}

#[test]
fn reports_are_kept() {
    let node = |_: Value, cx: Cx| {
        cx.trace("t");
        cx.info("i");
        cx.warn("w");
        cx.error("e");
        cx.emit(&json!({ "percent": 50 }))?;
        Ok(Command::none())
    };
    let mut host = FakeHost::new();
    host.run(node, json!({})).finished();
    let levels: Vec<Level> = host.logs().into_iter().map(|(level, _)| level).collect();
    assert_eq!(levels, [Level::Trace, Level::Info, Level::Warn, Level::Error]);
    assert_eq!(host.events(), [json!({ "percent": 50 })]);
}

#[test]
fn a_panic_is_told_apart_from_a_failure() {
    let panics = |_: Value, _: Cx| -> Result<Command> { panic!("index {}", 7) };
    assert_eq!(FakeHost::new().run(panics, json!({})).panicked(), "index 7");
    let fails = |_: Value, _: Cx| Err(Error::new("busy", "later").retry_after(Duration::from_millis(1_500)));
    let error = FakeHost::new().run(fails, json!({})).failed();
    assert_eq!((error.retryable, error.retry_after_ms), (true, Some(1_500)));
    let reads = |_: Value, _: Cx| -> Result<Command> { Ok(serde_json::from_str::<Value>("{").map(Command::update)?) };
    assert_eq!(FakeHost::new().run(reads, json!({})).failed().code, "invalid-json");
}
