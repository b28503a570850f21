//! What the fake host knows, and how it serves a node from it.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::panic::resume_unwind;
use std::rc::Rc;

use serde_json::Value;

use crate::cx::Level;
use crate::error::Refusal;
use crate::host::{AnswerText, Host, OperationText, QuestionText};
use crate::question::{Answer, Question};
use crate::side_effect::Operation;

/// Performs one operation.
type Perform = Box<dyn FnMut(&Operation) -> Result<Value, Refusal>>;

/// What a test scripted for one connector.
#[derive(Default)]
pub(super) struct Connector {
    pub(super) replies: VecDeque<Result<Value, Refusal>>,
    pub(super) perform: Option<Perform>,
}

/// Everything that the fake host knows.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) start_ms: u64,
    pub(super) seed: u64,
    /// Answers by occurrence, each with the payload that it was given to, if it was given to a waiting question.
    answers: Vec<(Option<Value>, Answer)>,
    connectors: BTreeMap<String, Connector>,
    /// What operations returned, by connector and id.
    journal: BTreeMap<(String, String), (Value, Result<Value, Refusal>)>,
    pub(super) performed: Vec<Operation>,
    pub(super) logs: Vec<(Level, String)>,
    pub(super) events: Vec<Value>,
    execution: Execution,
}

/// What starts anew with each execution.
#[derive(Debug, Default)]
struct Execution {
    questions: Vec<Question>,
    waits: bool,
    clock_readings: u64,
    random_state: u64,
    unnamed_operations: u64,
}

impl Script {
    pub(super) fn new() -> Self {
        Self {
            start_ms: 1_767_225_600_000,
            seed: 0,
            answers: Vec::new(),
            connectors: BTreeMap::new(),
            journal: BTreeMap::new(),
            performed: Vec::new(),
            logs: Vec::new(),
            events: Vec::new(),
            execution: Execution::default(),
        }
    }

    pub(super) fn begin(&mut self) {
        self.execution = Execution { random_state: self.seed, ..Execution::default() };
    }

    pub(super) fn connector(&mut self, name: &str) -> &mut Connector {
        self.connectors.entry(name.to_owned()).or_default()
    }

    pub(super) fn answer(&mut self, answer: Answer) {
        // Only the question that waits is known to the answer's author; later ones are scripted ahead.
        let asked = self.waiting().filter(|_| self.execution.questions.len() == self.answers.len() + 1);
        self.answers.push((asked.map(|question| question.payload), answer));
    }

    pub(super) fn questions(&self) -> Vec<Question> {
        self.execution.questions.clone()
    }

    /// The question at which the execution ended.
    pub(super) fn waiting(&self) -> Option<Question> {
        if self.execution.waits { self.execution.questions.last().cloned() } else { None }
    }

    /// The answer to `question`, or none when the execution ends here.
    fn ask(&mut self, question: Question) -> Option<Answer> {
        if self.execution.waits {
            return None;
        }
        let occurrence = self.execution.questions.len();
        let answer = match self.answers.get(occurrence) {
            Some((Some(asked), _)) if *asked != question.payload => {
                // Another question than the one answered: this answer and all after it are void.
                self.answers.truncate(occurrence);
                None
            }
            Some((_, answer)) => Some(answer.clone()),
            None => None,
        };
        self.execution.waits = answer.is_none();
        self.execution.questions.push(question);
        answer
    }

    /// What is recorded for the operation, or the operation with its id when it is new.
    fn recorded(&mut self, operation: OperationText) -> Result<Result<Value, Refusal>, (String, Operation)> {
        let request = match serde_json::from_str::<Value>(&operation.request) {
            Ok(request) => request,
            Err(error) => return Ok(Err(Refusal::Invalid(format!("the request is not JSON: {error}")))),
        };
        let key = operation.id.clone().unwrap_or_else(|| {
            self.execution.unnamed_operations += 1;
            format!("unnamed operation {}", self.execution.unnamed_operations)
        });
        match self.journal.get(&(operation.connector.clone(), key.clone())) {
            Some((first, result)) if *first == request => Ok(result.clone()),
            Some((first, _)) => {
                Ok(Err(Refusal::Conflict(format!("operation `{key}` was used for another request: {first}"))))
            }
            None => Err((key, Operation { id: operation.id, connector: operation.connector, request })),
        }
    }

    fn random_byte(&mut self) -> u8 {
        // SplitMix64: short, and every seed gives another sequence.
        self.execution.random_state = self.execution.random_state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.execution.random_state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)).to_le_bytes()[0]
    }
}

/// The script as the host that a node talks to.
pub(super) struct ScriptedHost(pub(super) Rc<RefCell<Script>>);

/// The payload with which an execution that has to wait is unwound.
struct Interruption;

impl ScriptedHost {
    fn put(&self, question: QuestionText) -> Answer {
        let QuestionText { payload, answer_schema, deadline_ms } = question;
        let question =
            Question { payload: value(&payload), answer_schema: answer_schema.as_deref().map(value), deadline_ms };
        let answer = self.0.borrow_mut().ask(question);
        // Without the panic hook: this is no panic, and nothing should be printed.
        answer.unwrap_or_else(|| resume_unwind(Box::new(Interruption)))
    }

    /// After the question nothing else happens, whatever a node does that caught the unwinding.
    fn stop_if_interrupted(&self) {
        if self.0.borrow().execution.waits {
            resume_unwind(Box::new(Interruption));
        }
    }
}

impl Host for ScriptedHost {
    fn interrupt(&self, payload: &str) -> String {
        let question = QuestionText { payload: payload.to_owned(), answer_schema: None, deadline_ms: None };
        self.put(question).value.to_string()
    }

    fn ask(&self, question: QuestionText) -> AnswerText {
        let Answer { verdict, value, answered_by, answered_at_ms } = self.put(question);
        AnswerText { verdict, value: value.to_string(), answered_by, answered_at_ms }
    }

    fn perform(&self, operation: OperationText) -> Result<String, Refusal> {
        self.stop_if_interrupted();
        let (key, operation) = match self.0.borrow_mut().recorded(operation) {
            Ok(result) => return result.map(|value| value.to_string()),
            Err(new) => new,
        };
        let name = operation.connector.clone();
        // Taken out, so that the script is not borrowed while the test's own code runs.
        let mut perform = self.0.borrow_mut().connector(&name).perform.take();
        let reply = self.0.borrow_mut().connector(&name).replies.pop_front();
        let result = match (reply, &mut perform) {
            (Some(reply), _) => reply,
            (None, Some(perform)) => perform(&operation),
            (None, None) => Err(Refusal::Denied(format!("the test scripted no reply of connector `{name}`"))),
        };
        let mut script = self.0.borrow_mut();
        script.connector(&name).perform = perform;
        if !matches!(result, Err(Refusal::Denied(_) | Refusal::Invalid(_))) {
            script.journal.insert((name, key), (operation.request.clone(), result.clone()));
            script.performed.push(operation);
        }
        result.map(|value| value.to_string())
    }

    fn perform_all(&self, operations: Vec<OperationText>) -> Vec<Result<String, Refusal>> {
        operations.into_iter().map(|operation| self.perform(operation)).collect()
    }

    fn now_ms(&self) -> u64 {
        self.stop_if_interrupted();
        let mut script = self.0.borrow_mut();
        script.execution.clock_readings += 1;
        script.start_ms.saturating_add(script.execution.clock_readings - 1)
    }

    fn random_bytes(&self, count: u32) -> Vec<u8> {
        self.stop_if_interrupted();
        let mut script = self.0.borrow_mut();
        (0..count).map(|_| script.random_byte()).collect()
    }

    fn log(&self, level: Level, message: &str) {
        self.stop_if_interrupted();
        self.0.borrow_mut().logs.push((level, message.to_owned()));
    }

    fn emit(&self, event: &str) {
        self.stop_if_interrupted();
        self.0.borrow_mut().events.push(value(event));
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connector").field("replies", &self.replies).finish_non_exhaustive()
    }
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).expect("the SDK sends the JSON text of a value")
}
