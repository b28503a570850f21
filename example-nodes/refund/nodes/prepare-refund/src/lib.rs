//! Builds what the approver sees, and names the refund's operation.

use holdpoint_node::prelude::*;
use serde::Deserialize;

/// What the node reads.
#[derive(Deserialize)]
struct Order {
    order_id: String,
    amount_cents: u64,
}

/// Builds what the approver sees, and the refund's operation id.
///
/// The id is made of what makes two refunds the same one: whoever asks for this order and amount again, in any thread, means this refund.
#[node]
fn prepare_refund(order: Order, _cx: Cx) -> Result<Command> {
    let Order { order_id, amount_cents } = order;
    if order_id.is_empty() {
        return Err(Error::new("invalid-order", "a refund needs an order id"));
    }
    if amount_cents == 0 {
        return Err(Error::new("invalid-order", "a refund needs an amount"));
    }
    let operation_id = format!("refund:{order_id}:{amount_cents}");
    let approval_payload = json!({
        "type": "approval_required",
        "action": "refund",
        "order_id": order_id,
        "amount_cents": amount_cents,
        "operation_id": operation_id,
    });
    Ok(Command::update(json!({
        "operation_id": operation_id,
        "approval_payload": approval_payload,
        "status": "pending",
    })))
}

#[cfg(test)]
mod tests {
    use holdpoint_node::testing::FakeHost;

    use super::*;

    #[test]
    fn the_payload_shows_what_will_be_paid() {
        let state = json!({ "order_id": "9241", "amount_cents": 50_000 });
        let command = FakeHost::new().run(prepare_refund, state).finished();
        assert_eq!(
            command.update,
            json!({
                "operation_id": "refund:9241:50000",
                "approval_payload": {
                    "type": "approval_required",
                    "action": "refund",
                    "order_id": "9241",
                    "amount_cents": 50_000,
                    "operation_id": "refund:9241:50000",
                },
                "status": "pending",
            })
        );
        assert!(command.goto.is_empty());
    }

    #[test]
    fn an_order_that_makes_no_refund_is_a_failure() {
        for (state, code) in [
            (json!({ "order_id": "", "amount_cents": 1 }), "invalid-order"),
            (json!({ "order_id": "9241", "amount_cents": 0 }), "invalid-order"),
            (json!({ "order_id": "9241", "amount_cents": -1 }), "invalid-state"),
            (json!({ "order_id": "9241" }), "invalid-state"),
        ] {
            assert_eq!(FakeHost::new().run(prepare_refund, state).failed().code, code);
        }
    }
}
