//! Reads the `with` table into steps. Everything that can be wrong with a script is found here, before any step runs.

use holdpoint_node::{Error, Level, Result, Value, json};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// One thing that the probe does. Values hold references, which are resolved when the step runs.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    Set(Vec<(String, Value)>),
    Ask(Ask),
    Effect { effect: Effect, name: Option<String>, catch: bool },
    Effects { effects: Vec<Effect>, name: Option<String>, catch: bool },
    Goto(Vec<Goto>),
    SendEach(SendEach),
    Fail(Fail),
    Trap,
    Spin,
    Allocate(Value),
    Log { text: Value, level: Level },
    Emit(Value),
    Now(String),
    Random { bytes: Value, name: String },
    If { condition: Equal, then: Vec<Step>, otherwise: Vec<Step> },
    Repeat { repeat: Repeat, steps: Vec<Step> },
}

#[derive(Debug, PartialEq)]
pub(crate) struct Ask {
    pub(crate) payload: Value,
    pub(crate) name: Option<String>,
    pub(crate) answer_schema: Option<Value>,
    pub(crate) deadline_ms: Option<u64>,
    pub(crate) decision_name: Option<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Effect {
    pub(crate) id: Option<String>,
    pub(crate) connector: String,
    pub(crate) request: Value,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Goto {
    Node(String),
    Send { node: String, argument: Value },
    Parent(String),
    End,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SendEach {
    pub(crate) over: Value,
    pub(crate) node: String,
    #[serde(default = "item")]
    pub(crate) argument: Value,
}

fn item() -> Value {
    json!("$item")
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fail {
    pub(crate) code: String,
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) retryable: bool,
    pub(crate) retry_after_ms: Option<u64>,
    pub(crate) details: Option<Value>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Equal {
    eq: (Value, Value),
}

#[derive(Debug, PartialEq)]
pub(crate) enum Repeat {
    Times(Value),
    Until { condition: Equal, rounds_max: Option<u64> },
}

impl Equal {
    pub(crate) fn sides(&self) -> (&Value, &Value) {
        (&self.eq.0, &self.eq.1)
    }
}

/// Reads the steps of `config`.
///
/// # Errors
/// `invalid-script`, naming the step by its position, such as `script[2].then[0]`.
pub(crate) fn read(config: &Value) -> Result<Vec<Step>> {
    match config.get("script") {
        Some(script) => steps(script, "script"),
        None => Err(invalid("script", "the `with` table has no `script`")),
    }
}

fn steps(list: &Value, place: &str) -> Result<Vec<Step>> {
    let Value::Array(list) = list else { return Err(invalid(place, "a list of steps is wanted")) };
    list.iter().enumerate().map(|(index, value)| step(value, &format!("{place}[{index}]"))).collect()
}

/// The key that says what a step does, and those that may stand beside it.
const STEPS: [(&str, &[&str]); 16] = [
    ("set", &[]),
    ("ask", &["as", "answer_schema", "deadline_ms", "decision_as"]),
    ("effect", &["as", "catch"]),
    ("effects", &["as", "catch"]),
    ("goto", &[]),
    ("send_each", &[]),
    ("fail", &[]),
    ("trap", &[]),
    ("spin", &[]),
    ("allocate", &[]),
    ("log", &["level"]),
    ("emit", &[]),
    ("now", &[]),
    ("random", &[]),
    ("if", &["then", "else"]),
    ("repeat", &["do"]),
];

/// Names that references already have.
const RESERVED: [&str; 6] = ["state", "argument", "config", "task", "index", "item"];

fn step(value: &Value, place: &str) -> Result<Step> {
    let table = Table::read(value, place)?;
    let main = table.main;
    Ok(match table.kind {
        "set" => match main {
            Value::Object(channels) => {
                Step::Set(channels.iter().map(|(channel, value)| (channel.clone(), value.clone())).collect())
            }
            _ => return Err(table.invalid("`set` wants a table of channels")),
        },
        "ask" => Step::Ask(Ask {
            payload: main.clone(),
            name: table.name("as")?,
            answer_schema: table.get("answer_schema").cloned(),
            deadline_ms: table.optional("deadline_ms")?,
            decision_name: table.name("decision_as")?,
        }),
        "effect" => {
            let (name, catch) = table.result()?;
            Step::Effect { effect: table.read_main()?, name, catch }
        }
        "effects" => {
            let (name, catch) = table.result()?;
            Step::Effects { effects: table.read_main()?, name, catch }
        }
        "goto" => Step::Goto(destinations(main).ok_or_else(|| {
            table.invalid("`goto` wants \"node\", \"END\", { send = { node, argument } } or { parent = \"node\" }, or a list of these")
        })?),
        "send_each" => Step::SendEach(table.read_main()?),
        "fail" => Step::Fail(table.read_main()?),
        "trap" => table.flag(Step::Trap)?,
        "spin" => table.flag(Step::Spin)?,
        "allocate" => Step::Allocate(main.clone()),
        "log" => Step::Log { text: main.clone(), level: table.level()? },
        "emit" => Step::Emit(main.clone()),
        "now" => Step::Now(table.checked_name("now", main)?),
        "random" => {
            let Random { bytes, name } = table.read_main()?;
            Step::Random { bytes, name: table.checked_name("as", &Value::String(name))? }
        }
        "if" => Step::If {
            condition: table.read_main()?,
            then: table.steps("then")?.unwrap_or_default(),
            otherwise: table.steps("else")?.unwrap_or_default(),
        },
        _ => {
            let Some(steps) = table.steps("do")? else { return Err(table.invalid("`repeat` wants `do` beside it")) };
            Step::Repeat { repeat: table.repeat()?, steps }
        }
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Random {
    bytes: Value,
    #[serde(rename = "as")]
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RepeatTable {
    times: Option<Value>,
    until: Option<Equal>,
    max: Option<u64>,
}

/// A step's table, known to have one kind and no key that does not belong to it.
struct Table<'a> {
    kind: &'static str,
    main: &'a Value,
    whole: &'a Value,
    place: &'a str,
}

impl<'a> Table<'a> {
    fn read(value: &'a Value, place: &'a str) -> Result<Self> {
        let Value::Object(entries) = value else { return Err(invalid(place, "a step is a table")) };
        let mut kinds = STEPS.iter().filter_map(|(kind, beside)| entries.get(*kind).map(|main| (*kind, main, *beside)));
        let Some((kind, main, beside)) = kinds.next() else {
            let keys: Vec<&str> = entries.keys().map(String::as_str).collect();
            return Err(invalid(place, format!("no step is called `{}`", keys.join("`, `"))));
        };
        if let Some((other, ..)) = kinds.next() {
            return Err(invalid(place, format!("`{kind}` and `{other}` are two steps")));
        }
        match entries.keys().find(|key| *key != kind && !beside.contains(&key.as_str())) {
            Some(unknown) => Err(invalid(place, format!("`{unknown}` does not belong to `{kind}`"))),
            None => Ok(Self { kind, main, whole: value, place }),
        }
    }

    fn invalid(&self, message: impl AsRef<str>) -> Error {
        invalid(self.place, message)
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.whole.get(key)
    }

    fn read_main<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(self.main).map_err(|error| self.invalid(format!("`{}`: {error}", self.kind)))
    }

    fn optional<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.get(key)
            .map(|value| T::deserialize(value).map_err(|error| self.invalid(format!("`{key}`: {error}"))))
            .transpose()
    }

    fn name(&self, key: &str) -> Result<Option<String>> {
        self.get(key).map(|value| self.checked_name(key, value)).transpose()
    }

    fn checked_name(&self, key: &str, value: &Value) -> Result<String> {
        match value.as_str() {
            Some(name) if RESERVED.contains(&name) => {
                Err(self.invalid(format!("`{key}`: `{name}` has a meaning already")))
            }
            Some(name) if crate::value::is_name(name) => Ok(name.to_owned()),
            _ => Err(self.invalid(format!("`{key}` wants a name of letters, digits and underscores"))),
        }
    }

    fn result(&self) -> Result<(Option<String>, bool)> {
        let (name, catch) = (self.name("as")?, self.optional("catch")?.unwrap_or(false));
        if catch && name.is_none() {
            return Err(self.invalid("`catch` wants `as` beside it"));
        }
        Ok((name, catch))
    }

    fn flag(&self, step: Step) -> Result<Step> {
        if *self.main == Value::Bool(true) {
            Ok(step)
        } else {
            Err(self.invalid(format!("`{}` wants true", self.kind)))
        }
    }

    fn level(&self) -> Result<Level> {
        match self.get("level").map(|level| level.as_str().unwrap_or_default()) {
            None | Some("info") => Ok(Level::Info),
            Some("trace") => Ok(Level::Trace),
            Some("debug") => Ok(Level::Debug),
            Some("warn") => Ok(Level::Warn),
            Some("error") => Ok(Level::Error),
            Some(_) => Err(self.invalid("`level` is trace, debug, info, warn or error")),
        }
    }

    fn steps(&self, key: &str) -> Result<Option<Vec<Step>>> {
        self.get(key).map(|list| steps(list, &format!("{}.{key}", self.place))).transpose()
    }

    fn repeat(&self) -> Result<Repeat> {
        match self.read_main()? {
            RepeatTable { times: Some(times), until: None, max: None } => Ok(Repeat::Times(times)),
            RepeatTable { times: None, until: Some(condition), max } => {
                Ok(Repeat::Until { condition, rounds_max: max })
            }
            _ => Err(self.invalid("`repeat` wants either `times`, or `until` and perhaps `max`")),
        }
    }
}

fn destinations(value: &Value) -> Option<Vec<Goto>> {
    match value {
        Value::Array(list) => list.iter().map(destination).collect(),
        one => Some(vec![destination(one)?]),
    }
}

fn destination(value: &Value) -> Option<Goto> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "lowercase")]
    enum Table {
        Send(SendTable),
        Parent(String),
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct SendTable {
        node: String,
        #[serde(default)]
        argument: Value,
    }
    match value {
        Value::String(end) if end == "END" => Some(Goto::End),
        Value::String(node) => Some(Goto::Node(node.clone())),
        table => match Table::deserialize(table).ok()? {
            Table::Send(SendTable { node, argument }) => Some(Goto::Send { node, argument }),
            Table::Parent(node) => Some(Goto::Parent(node)),
        },
    }
}

pub(crate) fn invalid(place: &str, message: impl AsRef<str>) -> Error {
    Error::new("invalid-script", format!("{place}: {}", message.as_ref())).details(json!({ "step": place }))
}
