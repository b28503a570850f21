//! What a driver tells of its run.

use holdpoint_store::{QuestionRecord, QuestionStatus, TaskRecord, TaskStatus};
use serde_json::{Map, Value};

use crate::apply;
use crate::driver::Driver;
use crate::events::EventKind;
use crate::ledger::Write;
use crate::plan;

impl Driver {
    /// A run that goes on first tells where it is: the results that are there already.
    pub(crate) fn tell_what_is_known(&self) {
        let ledger = self.context.ledger();
        if !ledger.tells() || !self.context.keeps {
            return;
        }
        let (namespace, step) = (&self.context.namespace, self.frame.checkpoint.step);
        ledger.tell(namespace, step, || EventKind::Checkpoint {
            record: Box::new((*self.frame.checkpoint).clone()),
            values: self.values_with_commands(),
        });
        if !self.frame.resumed {
            return;
        }
        let questions = &self.frame.questions;
        let waits = |record: &TaskRecord| {
            questions.iter().find(|question| question.task == record.id && question.status == QuestionStatus::Pending)
        };
        let known = |record: &&TaskRecord| {
            (record.status == TaskStatus::Done && record.path != plan::INPUT) || waits(record).is_some()
        };
        let mut known: Vec<&TaskRecord> = self.frame.tasks.values().filter(known).collect();
        known.sort_by(|left, right| left.path.cmp(&right.path));
        for record in known {
            ledger.tell(namespace, step + 1, || EventKind::TaskEnded {
                record: Box::new(record.clone()),
                question: waits(record).cloned().map(Box::new),
                cached: true,
            });
        }
    }

    /// The checkpoint's values with what callers wrote since (R28).
    fn values_with_commands(&self) -> Map<String, Value> {
        let written = plan::commands(self.frame.tasks.values());
        let mut values = self.frame.values.clone();
        // What does not fit fails the step when it is applied, and says so there.
        if let Ok(patch) = apply::reduce_all(&self.context.version.graph, &values, &written, &[]) {
            patch.apply(&mut values);
        }
        values
    }

    pub(crate) fn tell_ended(
        &self,
        write: &mut Write,
        record: &TaskRecord,
        question: Option<&QuestionRecord>,
        cached: bool,
    ) {
        let ledger = self.context.ledger();
        if ledger.tells() {
            let kind = EventKind::TaskEnded {
                record: Box::new(record.clone()),
                question: question.cloned().map(Box::new),
                cached,
            };
            write.events.push(ledger.event(&self.context.namespace, self.frame.checkpoint.step + 1, kind));
        }
    }

    pub(crate) fn tell_checkpoint(&self, write: &mut Write) {
        let ledger = self.context.ledger();
        if ledger.tells() {
            let kind = EventKind::Checkpoint {
                record: Box::new((*self.frame.checkpoint).clone()),
                values: self.frame.values.clone(),
            };
            write.events.push(ledger.event(&self.context.namespace, self.frame.checkpoint.step, kind));
        }
    }
}
