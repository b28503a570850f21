//! Runs the steps.

use std::hint::black_box;
use std::time::Duration;

use holdpoint_node::{Command, Cx, Destination, Error, Operation, Question, Refusal, Result, Send, Value, json};

use crate::script::{Ask, Effect, Equal, Fail, Goto, Repeat, SendEach, Step};
use crate::value::{Scope, decision, equal};

/// Memory is taken in pieces of this size, so that a limit is met at the size at which it stands.
const PIECE_BYTES: u64 = 1 << 20;

/// Runs `steps` and returns what they put together.
///
/// # Errors
/// The script's own failure, a refusal that it does not catch, or `invalid-script` for a value that a step cannot use.
pub(crate) fn run(steps: &[Step], state: Value, config: Value, cx: &Cx) -> Result<Command> {
    let task = json!(cx.task());
    let scope = Scope::new(state, cx.argument()?, config, task);
    let mut interpreter = Interpreter { cx, scope, command: Command::update(json!({})), memory: Vec::new() };
    interpreter.run(steps)?;
    black_box(&interpreter.memory);
    Ok(interpreter.command)
}

struct Interpreter<'a> {
    cx: &'a Cx,
    scope: Scope,
    command: Command,
    memory: Vec<Vec<u8>>,
}

impl Interpreter<'_> {
    fn run(&mut self, steps: &[Step]) -> Result<()> {
        steps.iter().try_for_each(|step| self.step(step))
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Set(channels) => {
                for (channel, value) in channels {
                    self.command.update[channel] = self.scope.resolve(value);
                }
            }
            Step::Ask(ask) => self.ask(ask)?,
            Step::Effect { effect, name, catch } => {
                let Operation { id, connector, request } = self.operation(effect);
                let mut side_effect = self.cx.side_effect(connector);
                if let Some(id) = id {
                    side_effect = side_effect.id(id);
                }
                let result = outcome(side_effect.request(request), *catch)?;
                self.bind(name.as_deref(), result);
            }
            Step::Effects { effects, name, catch } => {
                let operations = effects.iter().map(|effect| self.operation(effect)).collect();
                let results = self.cx.side_effects(operations);
                let results = results.into_iter().map(|result| outcome(result, *catch)).collect::<Result<_>>()?;
                self.bind(name.as_deref(), results);
            }
            Step::Goto(destinations) => {
                let destinations: Vec<_> = destinations.iter().map(|goto| self.destination(goto)).collect();
                self.command.goto.extend(destinations);
            }
            Step::SendEach(each) => self.send_each(each)?,
            Step::Fail(fail) => return Err(self.failure(fail)),
            Step::Trap => trap(),
            Step::Spin => spin(),
            Step::Allocate(bytes) => self.allocate(self.count("allocate", bytes)?),
            Step::Log { text, level } => self.cx.log(*level, self.scope.text(text)),
            Step::Emit(event) => self.cx.emit(&self.scope.resolve(event))?,
            Step::Now(name) => self.bind(Some(name), json!(self.cx.now_ms())),
            Step::Random { bytes, name } => {
                let count = u32::try_from(self.count("random", bytes)?)
                    .map_err(|_| unusable("random", "more bytes than there can be"))?;
                let hex: String = self.cx.random(count).iter().map(|byte| format!("{byte:02x}")).collect();
                self.bind(Some(name), Value::String(hex));
            }
            Step::If { condition, then, otherwise } => {
                self.run(if self.holds(condition) { then } else { otherwise })?;
            }
            Step::Repeat { repeat, steps } => self.repeat(repeat, steps)?,
        }
        Ok(())
    }

    fn ask(&mut self, ask: &Ask) -> Result<()> {
        let payload = self.scope.resolve(&ask.payload);
        if ask.answer_schema.is_none() && ask.deadline_ms.is_none() && ask.decision_name.is_none() {
            let answer = self.cx.interrupt(&payload)?;
            self.bind(ask.name.as_deref(), answer);
            return Ok(());
        }
        let mut question = Question::new(payload);
        if let Some(schema) = &ask.answer_schema {
            question = question.answer_schema(schema.clone());
        }
        if let Some(deadline_ms) = ask.deadline_ms {
            question = question.deadline(Duration::from_millis(deadline_ms));
        }
        let answer = self.cx.ask(question)?;
        self.bind(ask.decision_name.as_deref(), decision(&answer));
        self.bind(ask.name.as_deref(), answer.value);
        Ok(())
    }

    fn repeat(&mut self, repeat: &Repeat, steps: &[Step]) -> Result<()> {
        let rounds_max = match repeat {
            Repeat::Times(times) => Some(self.count("repeat", times)?),
            Repeat::Until { rounds_max, .. } => *rounds_max,
        };
        let outer = self.scope.bind("index", Value::Null);
        let mut round = 0;
        while rounds_max.is_none_or(|max| round < max) {
            self.bind(Some("index"), json!(round));
            self.run(steps)?;
            if matches!(repeat, Repeat::Until { condition, .. } if self.holds(condition)) {
                break;
            }
            round += 1;
        }
        self.scope.restore("index", outer);
        Ok(())
    }

    fn send_each(&mut self, each: &SendEach) -> Result<()> {
        let items = match self.scope.resolve(&each.over) {
            Value::Array(items) => items,
            Value::Number(count) if count.is_u64() => (0..count.as_u64().unwrap_or(0)).map(Value::from).collect(),
            other => {
                return Err(unusable(
                    "send_each",
                    &format!("a list or a whole number from 0 is wanted, not `{other}`"),
                ));
            }
        };
        let (outer_item, outer_index) = (self.scope.bind("item", Value::Null), self.scope.bind("index", Value::Null));
        for (index, item) in items.into_iter().enumerate() {
            self.bind(Some("index"), json!(index));
            self.bind(Some("item"), item);
            let send = Send { node: self.scope.text(&json!(each.node)), argument: self.scope.resolve(&each.argument) };
            self.command.goto.push(Destination::Send(send));
        }
        self.scope.restore("item", outer_item);
        self.scope.restore("index", outer_index);
        Ok(())
    }

    fn bind(&mut self, name: Option<&str>, value: Value) {
        if let Some(name) = name {
            self.scope.bind(name, value);
        }
    }

    fn holds(&self, condition: &Equal) -> bool {
        let (left, right) = condition.sides();
        equal(&self.scope.resolve(left), &self.scope.resolve(right))
    }

    fn count(&self, step: &str, value: &Value) -> Result<u64> {
        let value = self.scope.resolve(value);
        value.as_u64().ok_or_else(|| unusable(step, &format!("a whole number from 0 is wanted, not `{value}`")))
    }

    fn operation(&self, effect: &Effect) -> Operation {
        let connector = self.scope.text(&json!(effect.connector));
        let operation = Operation::new(connector, self.scope.resolve(&effect.request));
        match &effect.id {
            Some(id) => operation.id(self.scope.text(&json!(id))),
            None => operation,
        }
    }

    fn destination(&self, goto: &Goto) -> Destination {
        match goto {
            Goto::Node(node) => Destination::Node(self.scope.text(&json!(node))),
            Goto::Send { node, argument } => {
                Destination::Send(Send { node: self.scope.text(&json!(node)), argument: self.scope.resolve(argument) })
            }
            Goto::Parent(node) => Destination::Parent(self.scope.text(&json!(node))),
            Goto::End => Destination::End,
        }
    }

    fn failure(&self, fail: &Fail) -> Error {
        let text = |text: &String| self.scope.text(&json!(text));
        let mut error = Error::new(text(&fail.code), text(&fail.message));
        error.retryable = fail.retryable;
        error.retry_after_ms = fail.retry_after_ms;
        error.details = fail.details.as_ref().map(|details| self.scope.resolve(details));
        error
    }

    fn allocate(&mut self, bytes: u64) {
        let mut rest = bytes;
        while rest > 0 {
            let piece = rest.min(PIECE_BYTES);
            // Written, so that the memory is really taken; not zero, which the allocator may leave to the system.
            self.memory.push(black_box(vec![0xa5; piece as usize]));
            rest -= piece;
        }
    }
}

fn outcome(result: Result<Value, Refusal>, catch: bool) -> Result<Value> {
    match result {
        Ok(value) => Ok(value),
        Err(refusal) if catch => {
            let Error { code, message, retryable, details, .. } = refusal.into();
            Ok(json!({ "error": { "code": code, "message": message, "retryable": retryable, "details": details } }))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

fn unusable(step: &str, message: &str) -> Error {
    Error::new("invalid-script", format!("`{step}`: {message}"))
}

#[cfg(target_arch = "wasm32")]
fn trap() -> ! {
    core::arch::wasm32::unreachable()
}

/// On the host a panic is the closest thing.
#[cfg(not(target_arch = "wasm32"))]
fn trap() -> ! {
    panic!("trap")
}

fn spin() -> ! {
    loop {
        std::hint::spin_loop();
    }
}
