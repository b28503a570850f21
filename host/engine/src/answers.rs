//! Which answer belongs to which question: strict resume (DESIGN 6.3, `reference` R18–R24 and hazards H1–H9).

use std::collections::{BTreeMap, HashSet};

use holdpoint_graph::ids::{QuestionId, ThreadId};
use holdpoint_graph::state::Schema;
use holdpoint_store::{QuestionRecord, QuestionStatus};
use serde_json::Value;

use crate::error::Error;

/// Answers as a caller gives them.
#[derive(Debug, Clone, PartialEq)]
pub enum Answers {
    /// One value, for the one question that is pending when it is accepted.
    Bare(Value),
    /// Each for the question that it names. Naming some of the pending ones is enough.
    ById(BTreeMap<QuestionId, Value>),
}

impl Answers {
    /// Reads a map of answers.
    ///
    /// # Errors
    /// [`Error::NotAnAnswerMap`] for a key that is no question id, [`Error::NoAnswers`] for an empty map.
    pub fn from_map(map: serde_json::Map<String, Value>) -> Result<Self, Error> {
        let mut answers = BTreeMap::new();
        for (key, value) in map {
            let id = QuestionId::parse(key.as_str()).map_err(|_| Error::NotAnAnswerMap(key))?;
            answers.insert(id, value);
        }
        if answers.is_empty() { Err(Error::NoAnswers) } else { Ok(Self::ById(answers)) }
    }
}

/// What matching found: the answered questions, or the ids that are not questions of the current step.
#[derive(Debug, PartialEq)]
pub enum Matched<'a> {
    /// Every answer belongs to a pending question. Whether it is one to it is [`crate::approvals::decide`]'s matter.
    Accepted(Vec<(&'a QuestionRecord, Value)>),
    /// These ids are not among the step's questions; the caller looks whether the thread ever asked them.
    Elsewhere(Vec<QuestionId>),
}

/// Matches answers with the questions of a thread's current step.
///
/// # Errors
/// Every refusal of strict resume; the questions stay as they are.
pub fn match_answers<'a>(
    thread: &ThreadId,
    questions: &'a [QuestionRecord],
    answers: &Answers,
) -> Result<Matched<'a>, Error> {
    let pending: Vec<&QuestionRecord> = questions.iter().filter(|q| q.status == QuestionStatus::Pending).collect();
    let accepted = match answers {
        Answers::Bare(value) => match pending.as_slice() {
            [question] => vec![(*question, value.clone())],
            [] => return Err(Error::NothingPending { thread: thread.clone(), last: last_settled(questions) }),
            several => return Err(Error::Ambiguous(several.iter().map(|question| question.id.clone()).collect())),
        },
        Answers::ById(map) => {
            if map.is_empty() {
                return Err(Error::NoAnswers);
            }
            let known: HashSet<&QuestionId> = questions.iter().map(|question| &question.id).collect();
            let elsewhere: Vec<QuestionId> = map.keys().filter(|id| !known.contains(id)).cloned().collect();
            let mut accepted = Vec::new();
            // In the order of the questions, so that of several things that are wrong the first is told.
            for question in questions {
                match map.get(&question.id) {
                    Some(value) if question.status == QuestionStatus::Pending => {
                        accepted.push((question, value.clone()));
                    }
                    Some(_) => return Err(Error::settled(question.clone())),
                    None => {}
                }
            }
            if !elsewhere.is_empty() {
                return Ok(Matched::Elsewhere(elsewhere));
            }
            accepted
        }
    };
    Ok(Matched::Accepted(accepted))
}

/// The question that was settled last among `questions`.
pub fn last_settled(questions: &[QuestionRecord]) -> Option<Box<QuestionRecord>> {
    questions
        .iter()
        .filter(|question| question.status != QuestionStatus::Pending)
        .max_by_key(|question| question.answer.as_ref().map_or(question.asked_at_ms, |answer| answer.answered_at_ms))
        .map(|question| Box::new(question.clone()))
}

/// Whether a value satisfies the schemas of a question: its own and its policy's.
///
/// # Errors
/// [`Error::NullAnswer`], [`Error::InvalidAnswer`].
pub fn check_answer(question: &QuestionRecord, value: &Value) -> Result<(), Error> {
    if value.is_null() {
        return Err(Error::NullAnswer);
    }
    let policy_schema = question.policy.get("answer_schema");
    let violations: Vec<String> = [policy_schema, question.answer_schema.as_ref()]
        .into_iter()
        .flatten()
        .flat_map(|schema| match Schema::compile(schema.clone()) {
            Ok(schema) => match schema.check(value) {
                Ok(()) => Vec::new(),
                Err(violations) => violations.iter().map(ToString::to_string).collect(),
            },
            // A schema that does not compile lets nothing through: fail closed.
            Err(reason) => vec![format!("the question's answer schema is not a JSON Schema: {reason}")],
        })
        .collect();
    if violations.is_empty() { Ok(()) } else { Err(Error::InvalidAnswer { question: question.id.clone(), violations }) }
}
