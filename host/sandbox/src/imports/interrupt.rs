//! `interrupt`: a question is answered from the record, or ends the call.
//!
//! An answer belongs to one occurrence and to the digest of what was asked there (`approved-is-executed`). Anything else that a re-executed node
//! asks is a new question.

use holdpoint_graph::digest::Digest;
use holdpoint_graph::nodes::{Answer, HOST_OCCURRENCE_FIRST, NodeOutcome, Question, Verdict};
use holdpoint_graph::state::Schema;

use crate::bindings::holdpoint::node::interrupt;
use crate::call::json;
use crate::call::state::{Exceeded, State, malformed};

impl interrupt::Host for State {
    fn interrupt(&mut self, payload: String) -> wasmtime::Result<String> {
        let answer = self.answer("interrupt", &payload, None, None)?;
        self.answer_text(&answer)
    }

    fn ask(&mut self, question: interrupt::Question) -> wasmtime::Result<interrupt::Answer> {
        let answer = self.answer("ask", &question.payload, question.answer_schema.as_deref(), question.deadline_ms)?;
        Ok(interrupt::Answer {
            verdict: verdict(answer.verdict),
            value: self.answer_text(&answer)?,
            answered_by: answer.answered_by,
            answered_at_ms: answer.answered_at_ms,
        })
    }
}

impl State {
    /// The recorded answer; without one, the call ends with the question.
    fn answer(
        &mut self,
        function: &str,
        payload: &str,
        answer_schema: Option<&str>,
        deadline_ms: Option<u64>,
    ) -> wasmtime::Result<Answer> {
        self.running(function)?;
        let occurrence = self.questions;
        if occurrence >= HOST_OCCURRENCE_FIRST {
            let message = format!("the node asked more than {HOST_OCCURRENCE_FIRST} questions");
            return self.end(Exceeded { limit: "questions", message });
        }
        self.questions = self.questions.saturating_add(1);
        let bytes_max = self.limits.value_bytes;
        let payload = match json::read(payload, "the question's payload", "invalid-payload", bytes_max) {
            Ok(payload) => payload,
            Err(outcome) => return self.end(outcome),
        };
        let payload_digest = Digest::of_json(&payload);
        let recorded = self
            .running(function)?
            .call
            .answers
            .iter()
            .find(|recorded| recorded.occurrence == occurrence && recorded.payload_digest == payload_digest);
        if let Some(recorded) = recorded {
            return Ok(recorded.answer.clone());
        }
        let answer_schema = match answer_schema {
            None => None,
            Some(text) => match json::read(text, "the answer's schema", "invalid-answer-schema", bytes_max) {
                // Found now, while the author can be told: nobody could ever answer such a question.
                Ok(document) => match Schema::compile(document) {
                    Ok(schema) => Some(schema.document().clone()),
                    Err(reason) => {
                        return self.end(malformed(
                            "invalid-answer-schema",
                            format!("the answer's schema is no JSON Schema: {reason}"),
                        ));
                    }
                },
                Err(outcome) => return self.end(outcome),
            },
        };
        let evidence = None;
        let question = Question { occurrence, payload, payload_digest, answer_schema, deadline_ms, evidence };
        self.end(NodeOutcome::Interrupted(question))
    }

    fn answer_text(&mut self, answer: &Answer) -> wasmtime::Result<String> {
        match json::write(&answer.value, "the answer", self.limits.value_bytes) {
            Ok(text) => Ok(text),
            Err(exceeded) => self.end(exceeded),
        }
    }
}

fn verdict(verdict: Verdict) -> interrupt::Verdict {
    match verdict {
        Verdict::Accept => interrupt::Verdict::Accept,
        Verdict::Edit => interrupt::Verdict::Edit,
        Verdict::Respond => interrupt::Verdict::Respond,
        Verdict::Reject => interrupt::Verdict::Reject,
        Verdict::Ignore => interrupt::Verdict::Ignore,
        Verdict::Expired => interrupt::Verdict::Expired,
    }
}
