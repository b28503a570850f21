//! Asks a person whether the refund may be paid.

use holdpoint_node::prelude::*;
use serde::Deserialize;

/// What the node reads.
#[derive(Deserialize)]
struct Gate {
    approval_payload: Value,
}

/// Asks whether the refund may be paid.
///
/// Fails closed: whatever is not plainly `"approved": true` is no approval.
#[node]
fn approval_gate(gate: Gate, cx: Cx) -> Result<Command> {
    let answer: Value = cx.interrupt(&gate.approval_payload)?;
    let approved = answer.get("approved") == Some(&Value::Bool(true));
    if let Some(reason) = answer.get("reason").and_then(Value::as_str) {
        cx.info(format!("approved: {approved}, because: {reason}"));
    }
    Ok(Command::update(json!({ "approved": approved })))
}

#[cfg(test)]
mod tests {
    use holdpoint_node::Level;
    use holdpoint_node::testing::FakeHost;

    use super::*;

    fn state() -> Value {
        json!({ "approval_payload": { "order_id": "9241" } })
    }

    #[test]
    fn it_asks_the_payload_and_waits() {
        let mut host = FakeHost::new();
        assert_eq!(host.run(approval_gate, state()).interrupted().payload, json!({ "order_id": "9241" }));
        assert!(host.performed().is_empty());
    }

    #[test]
    fn only_a_plain_yes_approves() {
        for (answer, approved) in [
            (json!({ "approved": true }), true),
            (json!({ "approved": true, "reason": "checked" }), true),
            (json!({ "approved": false }), false),
            (json!({ "approved": "true" }), false),
            (json!({ "approved": 1 }), false),
            (json!({ "approved": null }), false),
            (json!({}), false),
            (json!(true), false),
            (json!([true]), false),
            (json!(null), false),
        ] {
            let mut host = FakeHost::new();
            host.answer(answer.clone());
            let command = host.run(approval_gate, state()).finished();
            assert_eq!(command.update, json!({ "approved": approved }), "{answer}");
        }
    }

    #[test]
    fn a_reason_is_logged() {
        let mut host = FakeHost::new();
        host.answer(json!({ "approved": false, "reason": "no receipt" }));
        host.run(approval_gate, state()).finished();
        assert_eq!(host.logs(), [(Level::Info, "approved: false, because: no receipt".to_owned())]);
    }

    #[test]
    fn without_a_payload_nobody_is_asked() {
        assert_eq!(FakeHost::new().run(approval_gate, json!({})).failed().code, "invalid-state");
    }
}
