//! The duplicate write bug: a gate that writes **before** it asks.
//!
//! A node runs again from its start after each answer. Where a side effect is an ordinary call, everything above the question then happens
//! once more: two audit rows, two e-mails, two payments. Here the host performs the effect once per operation id and gives later executions
//! the recorded result, so the row is written once however often the node runs.

use holdpoint_node::prelude::*;
use serde::Deserialize;

/// What the node reads.
#[derive(Deserialize)]
struct Gate {
    order_id: String,
    operation_id: String,
    approval_payload: Value,
}

/// Writes an audit row, then asks whether the refund may be paid.
#[node(connectors = ["ledger"])]
fn audit_gate(gate: Gate, cx: Cx) -> Result<Command> {
    cx.side_effect("ledger").id(format!("audit:{}", gate.operation_id)).request(json!({
        "event": "approval_requested",
        "order_id": gate.order_id,
        "operation_id": gate.operation_id,
    }))?;
    let answer: Value = cx.interrupt(&gate.approval_payload)?;
    let approved = answer.get("approved") == Some(&Value::Bool(true));
    Ok(Command::update(json!({ "approved": approved })))
}

#[cfg(test)]
mod tests {
    use holdpoint_node::testing::{FakeHost, Operation};

    use super::*;

    fn state() -> Value {
        json!({
            "order_id": "9241",
            "operation_id": "refund:9241:50000",
            "approval_payload": { "order_id": "9241" },
        })
    }

    #[test]
    fn one_row_however_often_it_resumes() {
        let mut host = FakeHost::new();
        host.reply("ledger", json!({ "line": 1 }));
        for _ in 0..5 {
            host.run(audit_gate, state()).interrupted();
        }
        host.answer(json!({ "approved": true }));
        for _ in 0..5 {
            assert_eq!(host.run(audit_gate, state()).finished().update, json!({ "approved": true }));
        }
        let row = json!({ "event": "approval_requested", "order_id": "9241", "operation_id": "refund:9241:50000" });
        assert_eq!(host.performed(), [Operation::new("ledger", row).id("audit:refund:9241:50000")]);
    }

    #[test]
    fn without_its_row_it_does_not_ask() {
        let mut host = FakeHost::new();
        host.refuse("ledger", Refusal::Denied("not granted".to_owned()));
        assert_eq!(host.run(audit_gate, state()).failed().code, "denied");
        assert!(host.questions().is_empty());
    }

    #[test]
    fn only_a_plain_yes_approves() {
        for (answer, approved) in
            [(json!({ "approved": true }), true), (json!({ "approved": "yes" }), false), (json!({}), false)]
        {
            let mut host = FakeHost::new();
            host.reply("ledger", json!(null)).answer(answer);
            assert_eq!(host.run(audit_gate, state()).finished().update, json!({ "approved": approved }));
        }
    }
}
