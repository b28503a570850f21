//! The writes of one superstep as one change of the state.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use crate::definition::{Channel, Graph};
use crate::ids::ChannelName;
use crate::problem::{printable, similar};

use super::reducer::{self, Reducer};
use super::{SchemaViolation, StateError};

/// The one member of an object that replaces a channel's value whatever its reducer.
const OVERWRITE: &str = "__overwrite__";

/// What one superstep changes in the state: a value that can be stored, and applied as often as needed to the state that it was made from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Patch {
    /// The changed channels.
    pub changes: BTreeMap<ChannelName, Change>,
}

/// What becomes of one channel.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It gets this value.
    Replace(Value),
    /// Its array gets these items at its end. Never empty.
    Append(Vec<Value>),
}

impl Patch {
    /// Carries the changes out.
    pub fn apply(&self, values: &mut Map<String, Value>) {
        for (channel, change) in &self.changes {
            match change {
                Change::Replace(value) => {
                    values.insert(channel.as_str().to_owned(), value.clone());
                }
                Change::Append(items) => match values.get_mut(channel.as_str()) {
                    Some(Value::Array(existing)) => existing.extend(items.iter().cloned()),
                    _ => {
                        values.insert(channel.as_str().to_owned(), Value::Array(items.clone()));
                    }
                },
            }
        }
    }
}

/// The state before the first write: the channels that have an initial value. Managed ones are no part of the state.
pub fn initial_values(graph: &Graph) -> Map<String, Value> {
    graph
        .channels
        .iter()
        .filter(|(_, channel)| channel.managed.is_none())
        .filter_map(|(name, channel)| channel.initial.clone().map(|value| (name.as_str().to_owned(), value)))
        .collect()
}

/// Combines the writes of one superstep, in the given order, into one patch. Changes nothing.
///
/// `updates` are the writers (named in errors) with what they write, channel by channel. An object whose only member is `__overwrite__`
/// replaces the channel's value whatever its reducer; plain writes of the same step to that channel then count for nothing.
///
/// # Errors
/// Everything that is wrong with the writes; several errors come as [`StateError::Several`].
pub fn reduce(
    graph: &Graph,
    values: &Map<String, Value>,
    updates: &[(&str, &Map<String, Value>)],
) -> Result<Patch, StateError> {
    let mut errors = Vec::new();
    let mut writes: BTreeMap<&ChannelName, (&Channel, Vec<Write<'_>>)> = BTreeMap::new();
    let declared: HashMap<&str, (&ChannelName, &Channel)> =
        graph.channels.iter().map(|(name, channel)| (name.as_str(), (name, channel))).collect();
    for &(writer, update) in updates {
        for (name, value) in update {
            match declared.get(name.as_str()) {
                Some((name, channel)) if channel.managed.is_some() => {
                    let (channel, writer) = (name.to_string(), writer.to_owned());
                    errors.push(StateError::ManagedChannel { channel, writer });
                }
                Some((name, channel)) => {
                    writes.entry(name).or_insert_with(|| (channel, Vec::new())).1.push(Write { writer, value });
                }
                None => errors.push(unknown_channel(graph, writer, name)),
            }
        }
    }
    let mut patch = Patch::default();
    for (name, (channel, writes)) in writes {
        let step = ChannelStep {
            name,
            channel,
            existing: values.get(name.as_str()).filter(|value| !value.is_null()),
            writes: &writes,
        };
        match step.change() {
            Ok(Some(change)) => {
                patch.changes.insert(name.clone(), change);
            }
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
    match errors.len() {
        0 => Ok(patch),
        1 => Err(errors.swap_remove(0)),
        _ => Err(StateError::Several(errors)),
    }
}

fn unknown_channel(graph: &Graph, writer: &str, channel: &str) -> StateError {
    let writable = graph.channels.iter().filter(|(_, channel)| channel.managed.is_none());
    StateError::UnknownChannel {
        channel: printable(channel, 80),
        writer: writer.to_owned(),
        similar: similar(channel, writable.map(|(name, _)| name.as_str())).map(str::to_owned),
    }
}

#[derive(Clone, Copy)]
struct Write<'a> {
    writer: &'a str,
    value: &'a Value,
}

/// The writes of one step to one channel. There is at least one.
struct ChannelStep<'a> {
    name: &'a ChannelName,
    channel: &'a Channel,
    /// The value before the step; null counts as none.
    existing: Option<&'a Value>,
    writes: &'a [Write<'a>],
}

impl ChannelStep<'_> {
    /// What the writes do; `None` when they change nothing, as when an empty array is appended.
    fn change(&self) -> Result<Option<Change>, StateError> {
        if let Some(value) = self.overwritten()? {
            self.check(&value)?;
            return Ok(Some(Change::Replace(value)));
        }
        if self.channel.reducer.collects() {
            return self.collect();
        }
        let value = self.fold()?;
        self.check(&value)?;
        Ok(Some(Change::Replace(value)))
    }

    fn overwritten(&self) -> Result<Option<Value>, StateError> {
        let overwrites: Vec<(&str, &Value)> =
            self.writes.iter().filter_map(|write| overwrite(write.value).map(|value| (write.writer, value))).collect();
        match overwrites.as_slice() {
            [] => Ok(None),
            [(writer, value)] => match self.channel.reducer.check_shape(value) {
                Ok(()) => Ok(Some((*value).clone())),
                Err(shape) => {
                    Err(self.type_error(writer, format!("an overwrite must be {shape}, not {}", reducer::kind(value))))
                }
            },
            several => Err(StateError::OverwrittenTwice {
                channel: self.name.to_string(),
                writers: several.iter().map(|(writer, _)| (*writer).to_owned()).collect(),
            }),
        }
    }

    /// Folds the writes into one value.
    fn fold(&self) -> Result<Value, StateError> {
        let reducer = self.channel.reducer;
        match (reducer, self.writes) {
            (Reducer::Last, [write]) => return Ok(write.value.clone()),
            (Reducer::Last, _) => {
                return Err(StateError::ConcurrentWrites { channel: self.name.to_string(), writers: self.writers() });
            }
            (Reducer::Any, [first, others @ ..]) => {
                let canonical = crate::digest::canonical_json(first.value);
                if others.iter().any(|write| crate::digest::canonical_json(write.value) != canonical) {
                    return Err(StateError::UnequalWrites { channel: self.name.to_string(), writers: self.writers() });
                }
                return Ok(first.value.clone());
            }
            _ => {}
        }
        let mut folded = self.existing.cloned().or_else(|| reducer.zero());
        for write in self.writes {
            let combined = match folded.take() {
                None => reducer
                    .check_shape(write.value)
                    .map(|()| write.value.clone())
                    .map_err(|shape| expected(shape, write.value)),
                Some(before) => combine(reducer, before, write.value),
            };
            folded = Some(combined.map_err(|message| self.type_error(write.writer, message))?);
        }
        Ok(folded.unwrap_or(Value::Null))
    }

    /// The writes to an array. Looks at the items before only where the reducer or the schema needs them.
    fn collect(&self) -> Result<Option<Change>, StateError> {
        let existing: &[Value] = match self.existing {
            None => &[],
            Some(Value::Array(items)) => items,
            Some(other) => {
                let message = format!("the channel holds {}, not an array", reducer::kind(other));
                return Err(self.type_error(self.writes.first().map_or("", |write| write.writer), message));
            }
        };
        let added = match self.channel.reducer {
            Reducer::Union => {
                reducer::new_members(existing, self.writes.iter().flat_map(|write| reducer::items(write.value)))
            }
            Reducer::Messages => match self.collect_messages(existing)? {
                Collected::Added(items) => items,
                Collected::Replaced(items) => {
                    let value = Value::Array(items);
                    self.check(&value)?;
                    return Ok(Some(Change::Replace(value)));
                }
            },
            _ => self.writes.iter().flat_map(|write| reducer::items(write.value)).cloned().collect(),
        };
        if added.is_empty() && self.existing.is_some() {
            return Ok(None);
        }
        if self.channel.schema.is_itemwise() {
            let added = Value::Array(added);
            self.check_items(&added, existing.len())?;
            return Ok(Some(match added {
                Value::Array(items) if !items.is_empty() => Change::Append(items),
                empty => Change::Replace(empty),
            }));
        }
        let whole = Value::Array(existing.iter().chain(&added).cloned().collect());
        self.check(&whole)?;
        Ok(Some(if added.is_empty() { Change::Replace(whole) } else { Change::Append(added) }))
    }

    /// Appends messages, or replaces those whose id is there, in the order of the writes.
    fn collect_messages(&self, existing: &[Value]) -> Result<Collected, StateError> {
        let mut added: Vec<Value> = Vec::new();
        let mut added_by_id: HashMap<&str, usize> = HashMap::new();
        let mut ids_known: Option<HashMap<&str, usize>> = None;
        let mut replaced: Option<Vec<Value>> = None;
        for write in self.writes {
            for message in reducer::items(write.value) {
                let id = reducer::message_id(message).map_err(|message| self.type_error(write.writer, message))?;
                let Some(id) = id else {
                    added.push(message.clone());
                    continue;
                };
                // Made only when a message has an id.
                let known = ids_known.get_or_insert_with(|| {
                    existing
                        .iter()
                        .enumerate()
                        .filter_map(|(index, message)| Some((message.get("id")?.as_str()?, index)))
                        .collect()
                });
                if let Some(index) = known.get(id) {
                    replaced.get_or_insert_with(|| existing.to_vec())[*index] = message.clone();
                } else if let Some(index) = added_by_id.get(id) {
                    added[*index] = message.clone();
                } else {
                    added_by_id.insert(id, added.len());
                    added.push(message.clone());
                }
            }
        }
        Ok(match replaced {
            None => Collected::Added(added),
            Some(mut items) => {
                items.append(&mut added);
                Collected::Replaced(items)
            }
        })
    }

    fn check(&self, value: &Value) -> Result<(), StateError> {
        self.channel.schema.check(value).map_err(|violations| self.violation(violations))
    }

    /// Checks new items only; the pointers of violations count from the array's start.
    fn check_items(&self, added: &Value, offset: usize) -> Result<(), StateError> {
        self.channel.schema.check(added).map_err(|mut violations| {
            for violation in &mut violations {
                violation.pointer = shift(&violation.pointer, offset);
            }
            self.violation(violations)
        })
    }

    fn violation(&self, violations: Vec<SchemaViolation>) -> StateError {
        StateError::SchemaViolation { channel: self.name.to_string(), writers: self.writers(), violations }
    }

    fn writers(&self) -> Vec<String> {
        self.writes.iter().map(|write| write.writer.to_owned()).collect()
    }

    fn type_error(&self, writer: &str, message: String) -> StateError {
        StateError::ReducerType {
            channel: self.name.to_string(),
            writer: writer.to_owned(),
            reducer: self.channel.reducer.name(),
            message,
        }
    }
}

enum Collected {
    /// Only new items.
    Added(Vec<Value>),
    /// The whole array, in which some items changed.
    Replaced(Vec<Value>),
}

fn combine(reducer: Reducer, before: Value, write: &Value) -> Result<Value, String> {
    match reducer {
        Reducer::Add => reducer::add(&before, write),
        Reducer::Max => reducer::extreme(true, &before, write),
        Reducer::Min => reducer::extreme(false, &before, write),
        Reducer::Merge => match (before, write) {
            (Value::Object(mut members), Value::Object(written)) => {
                reducer::merge(&mut members, written);
                Ok(Value::Object(members))
            }
            (Value::Object(_), other) => Err(expected("an object", other)),
            (other, _) => Err(format!("the channel holds {}, not an object", reducer::kind(&other))),
        },
        Reducer::Last | Reducer::Any | Reducer::Append | Reducer::Union | Reducer::Messages => Ok(write.clone()),
    }
}

fn expected(shape: &str, found: &Value) -> String {
    format!("expected {shape}, found {}", reducer::kind(found))
}

/// The value that an overwrite carries; `None` when it is a plain write.
fn overwrite(value: &Value) -> Option<&Value> {
    let members = value.as_object()?;
    if members.len() == 1 { members.get(OVERWRITE) } else { None }
}

/// Moves the index at a pointer's start by `offset`.
fn shift(pointer: &str, offset: usize) -> String {
    let Some(rest) = pointer.strip_prefix('/') else { return pointer.to_owned() };
    let (index, tail) = rest.find('/').map_or((rest, ""), |end| rest.split_at(end));
    match index.parse::<usize>() {
        Ok(index) => format!("/{}{tail}", index + offset),
        Err(_) => pointer.to_owned(),
    }
}
