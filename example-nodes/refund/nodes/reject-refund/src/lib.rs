//! Ends the refund that was not approved.

use holdpoint_node::prelude::*;

/// Records that the refund was not approved.
#[node]
fn reject_refund(_state: Value, _cx: Cx) -> Result<Command> {
    Ok(Command::update(json!({ "status": "rejected" })))
}

#[cfg(test)]
mod tests {
    use holdpoint_node::testing::FakeHost;

    use super::*;

    #[test]
    fn the_status_is_rejected_and_nothing_is_performed() {
        let mut host = FakeHost::new();
        let command = host.run(reject_refund, json!({ "approved": false })).finished();
        assert_eq!(command.update, json!({ "status": "rejected" }));
        assert!(host.performed().is_empty());
    }
}
