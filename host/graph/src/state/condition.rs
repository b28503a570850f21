//! CEL conditions, compiled once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::{Context, Env, Program};
use serde_json::{Map, Value};

use crate::definition::Channel;
use crate::ids::ChannelName;
use crate::problem::printable;

use super::StateError;
use super::syntax::{Names, ROOT, depth_exceeds, is_function};

/// Longest condition. The parser recurses, so its input is bounded.
const TEXT_BYTES_MAX: usize = 4096;

/// Deepest nesting of brackets and longest run of prefix operators, for the same reason.
const NESTING_MAX: usize = 24;

/// Most operators in one condition, for the same reason.
const OPERATORS_MAX: usize = 200;

/// Deepest tree that is kept: evaluation walks it by recursion, on whatever stack it is called.
const DEPTH_MAX: usize = 48;

/// Stack of the parser. Its unoptimised frames take some 150 KiB for each bracket; only what is touched is ever allocated.
const PARSER_STACK_BYTES: usize = 64 << 20;

/// Longest part of an evaluator's message that is repeated: it may quote the state.
const MESSAGE_CHARACTERS_MAX: usize = 300;

/// A compiled CEL condition over `state`. Cheap to clone; two are equal when their texts are.
#[derive(Clone)]
pub struct Condition(Arc<Compiled>);

struct Compiled {
    text: String,
    program: Program,
    /// Channels that the condition reads; none when it uses `state` as a whole.
    channels: Option<BTreeSet<String>>,
}

impl Condition {
    /// Compiles a condition.
    ///
    /// # Errors
    /// What is wrong with the text: too long or too deep, not CEL, or a name other than `state`.
    pub fn compile(text: &str) -> Result<Self, String> {
        let program = compile(text)?;
        let mut names = Names::default();
        names.visit(program.expression(), &mut Vec::new());
        if let Some(unknown) = names.unknown.first() {
            return Err(format!(
                "unknown name `{}`; a condition sees `{ROOT}` only, as in `{ROOT}.approved`",
                shorten(unknown)
            ));
        }
        if let Some(unknown) = names.functions.iter().find(|name| !is_function(name)) {
            return Err(format!("unknown function `{}`", shorten(unknown)));
        }
        let channels = (!names.whole).then_some(names.channels);
        Ok(Self(Arc::new(Compiled { text: text.to_owned(), program, channels })))
    }

    /// The text as written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The names of the channels that the condition reads; `None` when it uses `state` as a whole.
    pub fn channels(&self) -> Option<&BTreeSet<String>> {
        self.0.channels.as_ref()
    }

    /// Evaluates the condition. Declared channels without a value are null, managed ones are no part of `state`.
    ///
    /// # Errors
    /// [`StateError::ConditionFailed`] when the evaluation fails or its result is neither true nor false.
    pub fn holds(
        &self,
        state: &Map<String, Value>,
        channels: &BTreeMap<ChannelName, Channel>,
    ) -> Result<bool, StateError> {
        match self.evaluate(state, channels)? {
            cel::Value::Bool(holds) => Ok(holds),
            other => Err(self.failed(format!("the result is {}, not true or false", other.type_of()))),
        }
    }

    /// Evaluates it where a text is wanted, as [`Self::holds`] does where a truth is.
    ///
    /// # Errors
    /// [`StateError::ConditionFailed`] when the evaluation fails or its result is no text.
    pub fn text_for(
        &self,
        state: &Map<String, Value>,
        channels: &BTreeMap<ChannelName, Channel>,
    ) -> Result<String, StateError> {
        match self.evaluate(state, channels)? {
            cel::Value::String(text) => Ok(text.as_str().to_owned()),
            other => Err(self.failed(format!("the result is {}, not a text", other.type_of()))),
        }
    }

    fn evaluate(
        &self,
        state: &Map<String, Value>,
        channels: &BTreeMap<ChannelName, Channel>,
    ) -> Result<cel::Value, StateError> {
        let members: HashMap<String, cel::Value> = channels
            .iter()
            .filter(|(_, channel)| channel.managed.is_none())
            .map(|(name, _)| name.as_str())
            .filter(|name| self.0.channels.as_ref().is_none_or(|read| read.contains(*name)))
            .map(|name| (name.to_owned(), state.get(name).map_or(cel::Value::Null, to_cel)))
            .collect();
        execute(&self.0.program, vec![(ROOT, members.into())]).map_err(|reason| self.failed(reason))
    }

    /// What is told when it gives nothing that can be used.
    pub(crate) fn failed(&self, message: String) -> StateError {
        StateError::ConditionFailed { condition: self.0.text.clone(), message }
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Condition").field(&self.0.text).finish()
    }
}

/// The standard library: the same for every condition, and costly to make.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// Reads a text that may be anything.
pub(super) fn compile(text: &str) -> Result<Program, String> {
    check_size(text)?;
    let program = parse(text)?;
    if depth_exceeds(program.expression(), DEPTH_MAX) {
        return Err(format!("the condition is nested too deeply, at most {DEPTH_MAX} levels are allowed"));
    }
    Ok(program)
}

/// Evaluates a program with these variables.
pub(super) fn execute(program: &Program, variables: Vec<(&str, cel::Value)>) -> Result<cel::Value, String> {
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        for (name, value) in variables {
            context.add_variable_from_value(name, value);
        }
        program.execute(&context)
    }));
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(shorten(&error.to_string())),
        Err(_) => Err("the evaluator failed".to_owned()),
    }
}

/// JSON as CEL sees it. Every integer that fits is an `int`, so that it meets the literals of the condition.
pub(super) fn to_cel(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(boolean) => cel::Value::Bool(*boolean),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => cel::Value::Int(integer),
            (None, Some(integer)) => cel::Value::UInt(integer),
            (None, None) => cel::Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => cel::Value::String(Arc::new(text.clone())),
        Value::Array(items) => cel::Value::List(Arc::new(items.iter().map(to_cel).collect())),
        Value::Object(members) => {
            let members: HashMap<String, cel::Value> =
                members.iter().map(|(name, value)| (name.clone(), to_cel(value))).collect();
            cel::Value::from(members)
        }
    }
}

/// Parses on a thread of its own, because the parser needs more stack than a caller may have left, and panics on some texts: a graph file must
/// not be able to end the process.
fn parse(text: &str) -> Result<Program, String> {
    let parsed = std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("condition-parser".to_owned())
            .stack_size(PARSER_STACK_BYTES)
            .spawn_scoped(scope, || Program::compile(text))
            .map(|thread| thread.join())
    });
    match parsed {
        Ok(Ok(Ok(program))) => Ok(program),
        Ok(Ok(Err(errors))) => {
            let messages: Vec<String> = errors.errors.iter().take(3).map(|error| shorten(&error.msg)).collect();
            Err(format!("not a CEL expression: {}", messages.join("; ")))
        }
        Ok(Err(_)) => Err("not a CEL expression: the parser cannot read it".to_owned()),
        Err(error) => Err(format!("the parser cannot be started: {error}")),
    }
}

fn check_size(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("the condition is empty".to_owned());
    }
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("the condition has {} bytes, at most {TEXT_BYTES_MAX} are allowed", text.len()));
    }
    // Counted over the whole text, strings included: a condition that quotes 24 open brackets has other troubles.
    let (mut depth, mut deepest, mut run, mut operators) = (0_usize, 0_usize, 0_usize, 0_usize);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        match byte {
            b'!' | b'-' => run += 1,
            byte if byte.is_ascii_whitespace() => {}
            _ => run = 0,
        }
        operators += usize::from(matches!(
            byte,
            b'+' | b'-' | b'*' | b'/' | b'%' | b'?' | b'&' | b'|' | b'<' | b'>' | b'=' | b'!' | b'.' | b'[' | b'('
        ));
        deepest = deepest.max(depth).max(run);
    }
    if deepest > NESTING_MAX {
        Err(format!("the condition is nested too deeply, at most {NESTING_MAX} levels are allowed"))
    } else if operators > OPERATORS_MAX {
        Err(format!("the condition has {operators} operators, at most {OPERATORS_MAX} are allowed"))
    } else {
        Ok(())
    }
}

pub(super) fn shorten(message: &str) -> String {
    printable(message, MESSAGE_CHARACTERS_MAX)
}
