//! Charges an order, books it and tells the world.

use holdpoint_node::prelude::*;
use serde::Deserialize;

/// What the node reads.
#[derive(Deserialize)]
struct Order {
    order_id: String,
    amount_cents: u64,
}

/// Three effects, each once. Whatever dies between them, the node runs again from its start and gets back what happened before.
#[node(connectors = ["payments", "ledger", "events"])]
fn fulfil_order(order: Order, cx: Cx) -> Result<Command> {
    let Order { order_id, amount_cents } = order;
    let charge: Value = cx
        .side_effect("payments")
        .id(format!("charge:{order_id}"))
        .post("/charges", json!({ "order_id": order_id, "amount_cents": amount_cents }))?;
    let booked = cx.side_effect("ledger").id(format!("book:{order_id}")).request(json!({
        "statement": "book",
        "parameters": { "order_id": order_id, "amount_cents": amount_cents },
    }))?;
    // Leaves only after this step is stored: nobody hears of an order that was not charged and booked.
    cx.side_effect("events").id(format!("paid:{order_id}")).request(json!({
        "type": "order.paid",
        "data": { "order_id": order_id, "amount_cents": amount_cents },
    }))?;
    Ok(Command::update(json!({ "status": "paid", "charge": charge, "entry": booked["rows"][0]["id"] })))
}

#[cfg(test)]
mod tests {
    use holdpoint_node::testing::{FakeHost, Operation};

    use super::*;

    #[test]
    fn it_names_each_effect_after_the_order() {
        let mut host = FakeHost::new();
        host.reply("payments", json!({ "status": 201, "headers": {}, "body": { "charge_id": "ch_1" } }));
        host.reply("ledger", json!({ "rows": [{ "id": 7 }], "affected": 1 }));
        host.reply("events", json!({ "queued": true, "operation_id": "paid:17" }));
        for _ in 0..3 {
            let command = host.run(fulfil_order, json!({ "order_id": "17", "amount_cents": 900 })).finished();
            assert_eq!(command.update, json!({ "status": "paid", "charge": { "charge_id": "ch_1" }, "entry": 7 }));
        }
        let parameters = json!({ "order_id": "17", "amount_cents": 900 });
        let charge = json!({ "method": "POST", "path": "/charges", "body": parameters });
        let book = json!({ "statement": "book", "parameters": parameters });
        let event = json!({ "type": "order.paid", "data": parameters });
        let expected = [
            Operation::new("payments", charge).id("charge:17"),
            Operation::new("ledger", book).id("book:17"),
            Operation::new("events", event).id("paid:17"),
        ];
        assert_eq!(host.performed(), expected);
    }
}
