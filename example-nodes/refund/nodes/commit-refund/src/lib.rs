//! Pays the approved refund.

use holdpoint_node::prelude::*;
use serde::Deserialize;

/// What the node reads.
#[derive(Deserialize)]
struct Refund {
    order_id: String,
    amount_cents: u64,
    operation_id: String,
}

/// Pays the approved refund, once.
#[node(connectors = ["payments"])]
fn commit_refund(refund: Refund, cx: Cx) -> Result<Command> {
    let receipt: Value = cx
        .side_effect("payments")
        .id(&refund.operation_id)
        .post("/refunds", json!({ "order_id": refund.order_id, "amount_cents": refund.amount_cents }))?;
    Ok(Command::update(json!({ "status": "approved", "receipt": receipt })))
}

#[cfg(test)]
mod tests {
    use holdpoint_node::Node;
    use holdpoint_node::testing::{FakeHost, Operation};

    use super::*;

    fn state() -> Value {
        json!({ "order_id": "9241", "amount_cents": 50_000, "operation_id": "refund:9241:50000", "approved": true })
    }

    #[test]
    fn it_pays_once_however_often_it_runs() {
        let mut host = FakeHost::new();
        host.reply("payments", json!({ "status": 201, "headers": {}, "body": { "refund_id": "rf_1" } }));
        for _ in 0..3 {
            let command = host.run(commit_refund, state()).finished();
            assert_eq!(command.update, json!({ "status": "approved", "receipt": { "refund_id": "rf_1" } }));
        }
        let body = json!({ "order_id": "9241", "amount_cents": 50_000 });
        let request = json!({ "method": "POST", "path": "/refunds", "body": body });
        assert_eq!(host.performed(), [Operation::new("payments", request).id("refund:9241:50000")]);
    }

    #[test]
    fn a_refund_that_is_not_paid_is_a_failure() {
        let mut host = FakeHost::new();
        host.reply("payments", json!({ "status": 402, "headers": {}, "body": { "error": "balance" } }));
        let error = host.run(commit_refund, state()).failed();
        assert_eq!(error.code, "http-status");
        assert_eq!(error.details, Some(json!({ "status": 402, "body": { "error": "balance" } })));

        let mut host = FakeHost::new();
        host.refuse("payments", Refusal::Conflict("used for another request".to_owned()));
        assert_eq!(host.run(commit_refund, state()).failed().code, "conflict");
    }

    #[test]
    fn it_says_which_connector_it_needs() {
        assert_eq!(commit_refund::describe().connectors, ["payments"]);
        assert_eq!(commit_refund::describe().name, "commit-refund");
    }
}
