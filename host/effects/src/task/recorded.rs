//! A branch that touches nothing: operations are answered from their records or withheld.
//!
//! What other tasks of this process perform at the moment does not count: an answer must stand on something durable, and this mode makes nothing
//! durable. For the same reason the hit of another thread's record is logged and not recorded, and a doubt is left to whoever settles it on the
//! branch that it belongs to.

use futures_util::future;

use crate::decision::{Decision, Found, decide};
use crate::refusal::{Halt, Reason, Refusal};

use super::order::Order;
use super::results::{Results, busy_refusal};
use super::{TaskEffects, journal_fault};

impl TaskEffects {
    /// Answers what has a record as every mode does, refuses what every mode refuses, and withholds the rest. Reads the journal and nothing else.
    pub(super) async fn answer_from_records(&mut self, open: Vec<Order>, results: &mut Results) -> Result<(), Halt> {
        let journal = self.shared.journal.clone();
        let reads = open.iter().map(|order| journal.operation(&order.key));
        let stored = future::try_join_all(reads).await.map_err(|error| journal_fault(&error))?;
        for (order, record) in open.into_iter().zip(stored) {
            let now_ms = self.shared.clock.now_ms();
            let found = record.as_ref().map_or(Found::Nothing, Found::Recorded);
            let unsent_at_ms = self.unsent_at_ms(record.as_ref());
            match decide(found, &self.asked(&order, unsent_at_ms, now_ms)) {
                Decision::Replay(answer) => {
                    self.report_replay(&order, record.as_ref());
                    results.given[order.position] = Some(answer.map_err(Refusal::Failed));
                }
                Decision::Receipt => {
                    self.report_replay(&order, record.as_ref());
                    results.queued(&order);
                }
                Decision::Conflict(reason) => results.refuse(&order, reason),
                // No receiver is asked: that would leave the host.
                Decision::InDoubt(reason) | Decision::LookUp(reason) => {
                    results.doubts.push((order.position, order.key, reason));
                }
                Decision::Elsewhere => results.given[order.position] = Some(Err(busy_refusal())),
                // Whether it would still be sent after the receiver's window is a question for the branch that sends.
                Decision::Perform { .. } | Decision::Queue | Decision::WindowPassed(_) => match self.refused(&order) {
                    Some(reason) => results.refuse(&order, reason),
                    None => results.withhold(&order),
                },
                Decision::Wait => unreachable!("invariant: nothing that runs is looked at"),
            }
        }
        Ok(())
    }

    /// Why a request would not be sent on any branch: the connector rejects it, or somebody's no to it is recorded. Nodes that go on after such a
    /// refusal go on here too. A connector that lacks a secret here rejects nothing: nothing is sent that would need it.
    fn refused(&self, order: &Order) -> Option<Reason> {
        let Some(slot) = self.shared.connectors.get(&order.key.connector) else {
            unreachable!("invariant: an admitted operation's connector is configured");
        };
        let rejected = match slot.connector(&order.key.connector) {
            Ok(connector) => connector.prepare(&order.key, &order.request).err().map(Reason::from),
            Err(_) => None,
        };
        rejected.or_else(|| self.refused_by_answer(order))
    }
}
