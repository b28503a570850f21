//! Doubt that the receiver itself can settle.

use std::time::Duration;

use holdpoint_graph::operation::{NoteKind, OperationNote, OperationRecord, OperationState};

use crate::attempt::in_doubt;
use crate::connectors::{LookUp, Outgoing};
use crate::in_flight::Claim;
use crate::refusal::Halt;

use super::act::Job;
use super::order::Order;
use super::results::Results;
use super::{TaskEffects, journal_fault};

/// Longest time that an execution waits for the moment from which nothing can arrive any more. Beyond it the thread parks.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Questions about one operation in one execution, should the receiver not be reachable.
const QUESTIONS_MAX: u32 = 3;
/// Pause between two of them.
const PAUSE: Duration = Duration::from_millis(500);

/// An operation whose outcome is unknown and whose receiver can be asked.
pub(super) struct Doubtful {
    pub(super) order: Order,
    pub(super) claim: Claim,
    /// As it stands: intended or in doubt.
    pub(super) record: OperationRecord,
    /// Why it is in doubt.
    pub(super) reason: String,
    /// Whether it was found in the journal: then a person may settle it meanwhile, and what the receiver says counts only if it is first.
    pub(super) found: bool,
}

impl TaskEffects {
    /// Asks the receivers. Gives those that were certainly not executed, to be sent again under the same id.
    pub(super) async fn reconcile(&mut self, doubtful: Vec<Doubtful>, results: &mut Results) -> Result<Vec<Job>, Halt> {
        let mut jobs = Vec::new();
        for doubtful in doubtful {
            let sending = match self.sending(&doubtful.order, self.clock_ms, self.shared.clock.now_ms()) {
                Ok(sending) => sending,
                Err(reason) => {
                    self.stays_in_doubt(doubtful, &format!("the receiver cannot be asked: {reason}"), results);
                    continue;
                }
            };
            let timeout = sending.timeout;
            let mut questions = 0;
            let found = loop {
                questions += 1;
                let asked_at_ms = self.shared.clock.now_ms();
                let found = sending.prepared.look_up(Outgoing { at_ms: asked_at_ms, timeout }).await;
                match found {
                    // A request that is still under way may arrive after this answer.
                    LookUp::NotThere if asked_at_ms < settles_at_ms(&doubtful.record) => {
                        let wait = Duration::from_millis(settles_at_ms(&doubtful.record) - asked_at_ms);
                        if wait > WAIT_MAX {
                            break LookUp::Unknown("it is not there yet, and may still arrive".to_owned());
                        }
                        tokio::time::sleep(wait).await;
                    }
                    LookUp::Unknown(_) if questions < QUESTIONS_MAX => tokio::time::sleep(PAUSE).await,
                    settled => break settled,
                }
            };
            let (state, kind) = match found {
                LookUp::Happened(answer) => (OperationState::Completed(answer), NoteKind::Happened),
                LookUp::Failed(failure) => (OperationState::Failed(failure), NoteKind::Failed),
                LookUp::NotThere if doubtful.found => (OperationState::NotSent, NoteKind::NotHappened),
                LookUp::NotThere => {
                    let note = self.word(NoteKind::NotHappened, "the receiver does not know the operation");
                    let mut notes = doubtful.record.notes;
                    notes.push(note);
                    let (order, claim) = (doubtful.order, doubtful.claim);
                    let begun_at_ms = self.shared.clock.now_ms();
                    let (intent, queue, settles_at_ms) = (true, false, None);
                    jobs.push(Job { order, claim, sending, intent, queue, begun_at_ms, settles_at_ms, notes });
                    continue;
                }
                LookUp::Unknown(reason) => {
                    self.stays_in_doubt(doubtful, &format!("the receiver was asked: {reason}"), results);
                    continue;
                }
            };
            tracing::info!(connector = %doubtful.order.key.connector, id = %doubtful.order.key.id, kind = kind.name(), "the receiver settled a doubt");
            let Doubtful { order, claim, mut record, reason, found } = doubtful;
            let before = record.clone();
            record.notes.push(self.word(kind, "the receiver's answer to a lookup"));
            if found {
                let now_ms = self.shared.clock.now_ms();
                let next = OperationRecord { state: state.clone(), finished_at_ms: Some(now_ms), ..record };
                let notes = next.notes.clone();
                let exchanged = self.shared.journal.exchange_operation(&before, next, now_ms, Vec::new()).await;
                if !exchanged.map_err(|error| journal_fault(&error))? {
                    // Somebody else's word was first: the thread looks at it again.
                    results.doubts.push((order.position, order.key, reason));
                } else if state == OperationState::NotSent {
                    let (intent, queue, settles_at_ms) = (true, false, None);
                    jobs.push(Job { order, claim, sending, intent, queue, begun_at_ms: now_ms, settles_at_ms, notes });
                } else {
                    results.settle(&order, &state);
                }
                continue;
            }
            results.settle(&order, &state);
            self.keep(claim, OperationRecord { state, finished_at_ms: Some(self.shared.clock.now_ms()), ..record });
        }
        Ok(jobs)
    }

    /// Gives up on these: a person settles them, or the receiver when the thread is continued.
    pub(super) fn leave_in_doubt(&mut self, doubtful: Vec<Doubtful>, results: &mut Results) {
        for doubtful in doubtful {
            self.stays_in_doubt(
                doubtful,
                "it was sent twice with the receiver's word that it had not arrived",
                results,
            );
        }
    }

    fn stays_in_doubt(&mut self, doubtful: Doubtful, found: &str, results: &mut Results) {
        let Doubtful { order, claim, record, reason, found: stored } = doubtful;
        if stored {
            // The journal says so already, and may say something better by the time that this task commits.
            results.doubts.push((order.position, order.key, format!("{reason}; {found}")));
            return;
        }
        let conclusion = in_doubt(format!("{reason}; {found}"));
        if let Some(state) = conclusion.state {
            let finished_at_ms = record.finished_at_ms.or_else(|| Some(self.shared.clock.now_ms()));
            self.keep(claim, OperationRecord { state, finished_at_ms, ..record });
        }
        results.doubts.push((order.position, order.key, reason));
    }

    fn word(&self, kind: NoteKind, text: &str) -> OperationNote {
        OperationNote { at_ms: self.shared.clock.now_ms(), kind, by: "lookup".to_owned(), text: text.to_owned() }
    }
}

/// The moment from which what is not there will never be. A record without one was no intent: nothing of it is under way.
fn settles_at_ms(record: &OperationRecord) -> u64 {
    record.settles_at_ms.unwrap_or(record.begun_at_ms)
}
