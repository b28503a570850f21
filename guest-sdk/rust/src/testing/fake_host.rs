//! The fake host as tests see it.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::outcome::Outcome;
use super::script::{Script, ScriptedHost};
use crate::command::Command;
use crate::cx::{Cx, Level, Task};
use crate::error::{Refusal, Result};
use crate::host::InputText;
use crate::node::execute;
use crate::question::{Answer, Question, Verdict};
use crate::side_effect::Operation;

/// The host of one task, scripted by a test. See [the module](super) for an example.
#[derive(Debug)]
pub struct FakeHost {
    task: Task,
    argument: Option<Value>,
    config: Value,
    script: Rc<RefCell<Script>>,
}

impl Default for FakeHost {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeHost {
    /// A host with no answers and no connectors, whose clock stands at 2026-01-01T00:00:00Z and moves 1 ms with each reading.
    pub fn new() -> Self {
        let text = |text: &str| text.to_owned();
        Self {
            task: Task {
                graph: text("test"),
                thread_id: text("thread-1"),
                checkpoint_id: text("checkpoint-1"),
                step: 1,
                node: text("node"),
                id: text("task-1"),
            },
            argument: None,
            config: json!({}),
            script: Rc::new(RefCell::new(Script::new())),
        }
    }

    /// Who the node is told it is.
    pub fn task(&mut self, task: Task) -> &mut Self {
        self.task = task;
        self
    }

    /// What the `send` that started the task carried.
    pub fn argument(&mut self, argument: Value) -> &mut Self {
        self.argument = Some(argument);
        self
    }

    /// The node's `with` table.
    pub fn config(&mut self, config: Value) -> &mut Self {
        self.config = config;
        self
    }

    /// The first reading of the clock, in milliseconds since 1970.
    pub fn now(&mut self, now_ms: u64) -> &mut Self {
        self.script.borrow_mut().start_ms = now_ms;
        self
    }

    /// What the randomness derives from.
    pub fn seed(&mut self, seed: u64) -> &mut Self {
        self.script.borrow_mut().seed = seed;
        self
    }

    /// Answers the next question: the one that waits, else the next that the node will ask.
    pub fn answer(&mut self, value: Value) -> &mut Self {
        let answered_by = "user:tester".to_owned();
        let answered_at_ms = self.script.borrow().start_ms;
        self.answer_with(Answer { verdict: Verdict::Respond, value, answered_by, answered_at_ms })
    }

    /// As [`FakeHost::answer`], with who decided what.
    ///
    /// An answer to a waiting question binds to its payload: if the node asks something else when it runs again, it does not apply.
    pub fn answer_with(&mut self, answer: Answer) -> &mut Self {
        self.script.borrow_mut().answer(answer);
        self
    }

    /// The next new operation on `connector` returns `result`. Replies are used up in order, before [`FakeHost::connector`] is asked.
    pub fn reply(&mut self, connector: &str, result: Value) -> &mut Self {
        self.script.borrow_mut().connector(connector).replies.push_back(Ok(result));
        self
    }

    /// The next new operation on `connector` is refused.
    pub fn refuse(&mut self, connector: &str, refusal: Refusal) -> &mut Self {
        self.script.borrow_mut().connector(connector).replies.push_back(Err(refusal));
        self
    }

    /// New operations on `connector` return what `perform` returns.
    pub fn connector<F>(&mut self, connector: &str, perform: F) -> &mut Self
    where
        F: FnMut(&Operation) -> Result<Value, Refusal> + 'static,
    {
        self.script.borrow_mut().connector(connector).perform = Some(Box::new(perform));
        self
    }

    /// Executes the node from its start with `state`. Further executions are those of the same task: see [the module](super).
    pub fn run<S, F>(&mut self, node: F, state: Value) -> Outcome
    where
        S: DeserializeOwned,
        F: FnOnce(S, Cx) -> Result<Command>,
    {
        self.script.borrow_mut().begin();
        let host = Rc::new(ScriptedHost(Rc::clone(&self.script)));
        let input = InputText {
            task: self.task.clone(),
            state: state.to_string(),
            argument: self.argument.as_ref().map(Value::to_string),
            config: self.config.to_string(),
        };
        // What the node leaves behind is discarded with it, so a broken invariant in there harms nobody.
        let ended = catch_unwind(AssertUnwindSafe(|| execute(node, host, input)));
        // Asked first: a node that swallowed the interruption was interrupted all the same.
        if let Some(question) = self.script.borrow().waiting() {
            return Outcome::Interrupted(question);
        }
        match ended {
            Ok(Ok(command)) => Outcome::Finished(command),
            Ok(Err(error)) => Outcome::Failed(error),
            Err(panic) => Outcome::Panicked(message(panic.as_ref())),
        }
    }

    /// The questions that the last execution asked, answered or not, in order.
    pub fn questions(&self) -> Vec<Question> {
        self.script.borrow().questions()
    }

    /// The operations that were performed by all executions, in order. A repeated one is performed, and listed, once.
    pub fn performed(&self) -> Vec<Operation> {
        self.script.borrow().performed.clone()
    }

    /// The log lines of all executions.
    pub fn logs(&self) -> Vec<(Level, String)> {
        self.script.borrow().logs.clone()
    }

    /// The events of all executions.
    pub fn events(&self) -> Vec<Value> {
        self.script.borrow().events.clone()
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(message), _) => (*message).to_owned(),
        (None, Some(message)) => message.clone(),
        (None, None) => "a panic without a message".to_owned(),
    }
}
