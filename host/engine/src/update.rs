//! What a caller writes into a thread's state, as the next checkpoint. Pure.
//!
//! An update speaks for a node: its values count as that node's results, its edges are followed, and what was to run goes on being to run unless
//! the update spoke for it (R44–R51). Results of tasks that had finished in the step are applied first and never dropped (DESIGN 6.5).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use holdpoint_graph::definition::Graph;
use holdpoint_graph::ids::{CheckpointId, NodeName, TaskId, ThreadId};
use holdpoint_graph::nodes::{Command, Destination, EffectMode};
use holdpoint_graph::state::Patch;
use holdpoint_store::{CheckpointRecord, NewCheckpoint, Source, TaskRecord, TaskStatus, Trigger};
use serde_json::{Map, Value};

use crate::apply::{self, Advance};
use crate::error::Error;
use crate::frame::pause_record;
use crate::patch;
use crate::plan::{self, INPUT, PlannedTask, Records};
use crate::task::operations_of;
use crate::upcoming::{Upcoming, UpcomingParts};
use crate::version::Version;

/// One update.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Update {
    /// Channel name to value; none writes nothing and only moves the thread on.
    pub values: Option<Map<String, Value>>,
    /// Where that node's command goes, besides its edges.
    pub goto: Vec<Destination>,
    /// For whom it speaks; none lets the history say (R45).
    pub as_node: Option<AsNode>,
}

/// For whom an update speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AsNode {
    /// For a node.
    Node(NodeName),
    /// For the caller of a run: it is new input (`__input__`).
    Input,
    /// For nobody: the checkpoint is copied beside itself (`__copy__`).
    Copy,
    /// For the graph: nothing runs any more (`END`).
    End,
}

impl AsNode {
    /// Reads LangGraph's names: a node, `__input__`, `__copy__`, `END` or `__end__`.
    ///
    /// # Errors
    /// A name that no node can have.
    pub fn parse(text: &str) -> Result<Self, holdpoint_graph::ids::InvalidId> {
        match text {
            "__input__" => Ok(Self::Input),
            "__copy__" => Ok(Self::Copy),
            "END" | "__end__" => Ok(Self::End),
            node => NodeName::parse(node).map(Self::Node),
        }
    }
}

/// Where updates are written.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    pub(crate) checkpoint: CheckpointRecord,
    pub(crate) values: Map<String, Value>,
    /// What is recorded of its tasks, where that still counts: at the thread's head.
    pub(crate) tasks: Records,
    /// The paths of the tasks of which anything is recorded, here or on a branch that went on from here: an update never changes that. Paths, because a
    /// copied thread's older tasks go by the ids that they had in the original.
    pub(crate) recorded: HashSet<String>,
    /// The input as it was given, where the checkpoint stands before one that is not applied yet.
    pub(crate) input: Option<Map<String, Value>>,
}

/// What one superstep of updates makes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Made {
    pub(crate) checkpoints: Vec<NewCheckpoint>,
    pub(crate) tasks: Vec<TaskRecord>,
}

/// Everything that is not in the updates themselves.
pub(crate) struct Setting<'a> {
    pub(crate) version: &'a Version,
    pub(crate) thread: &'a ThreadId,
    pub(crate) lineage: &'a ThreadId,
    pub(crate) now_ms: u64,
    /// The thread's clock never goes back.
    pub(crate) clock_ms: u64,
    pub(crate) effects: Option<EffectMode>,
    pub(crate) metadata: &'a Map<String, Value>,
}

/// Writes one superstep of updates. Gives what it makes, and the base for the next superstep.
///
/// # Errors
/// Every refusal of R45 and R50, and writes that do not fit the state; nothing of the superstep counts then.
pub(crate) fn superstep(
    setting: &Setting<'_>,
    base: &Base,
    updates: &[Update],
    is_only: bool,
    entropy: impl Fn() -> u64,
) -> Result<(Made, Base), Error> {
    let spoken: Vec<AsNode> = match updates {
        [] => return Err(Error::EmptySuperstep),
        [update] => vec![match &update.as_node {
            Some(as_node) => as_node.clone(),
            None => infer(setting.version, setting.thread, base)?,
        }],
        several => several
            .iter()
            .map(|update| update.as_node.clone().ok_or(Error::AmbiguousUpdate { candidates: Vec::new() }))
            .collect::<Result<_, _>>()?,
    };
    let alone = is_only && updates.len() == 1;
    match (spoken.as_slice(), updates) {
        ([AsNode::Input], [update]) if update.goto.is_empty() => input(setting, base, update, &entropy),
        ([AsNode::Copy], [update]) if alone && update.values.is_none() && update.goto.is_empty() => {
            copy(setting, base, &entropy)
        }
        ([AsNode::End], [update]) if alone && update.values.is_none() && update.goto.is_empty() => {
            end(setting, base, &entropy)
        }
        (spoken, updates) => {
            let nodes = spoken.iter().map(|as_node| match as_node {
                AsNode::Node(node) if setting.version.node(node).is_some() => Ok(node.clone()),
                AsNode::Node(node) => {
                    Err(Error::UnknownNode { node: node.to_string(), graph: setting.version.graph.name.clone() })
                }
                AsNode::Input => Err(Error::NotInBulk("__input__")),
                AsNode::Copy => Err(Error::NotInBulk("__copy__")),
                AsNode::End => Err(Error::NotInBulk("END")),
            });
            let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
            speak(setting, base, &nodes, updates, &entropy)
        }
    }
}

/// The node that an update speaks for when it does not say: the one that finished last (R45, R46).
fn infer(version: &Version, thread: &ThreadId, base: &Base) -> Result<AsNode, Error> {
    let mut names = version.graph.nodes.keys();
    if let (Some(only), None) = (names.next(), names.next()) {
        return Ok(AsNode::Node(only.clone()));
    }
    let finished = finished(version, thread, base);
    let last: BTreeSet<NodeName> = match finished.as_slice() {
        [] => base.checkpoint.writers.clone(),
        finished => finished.iter().map(|(task, _)| task.node.clone()).collect(),
    };
    let mut last = last.into_iter();
    match (last.next(), last.next()) {
        (None, _) => Ok(AsNode::Input),
        (Some(node), None) => Ok(AsNode::Node(node)),
        (Some(first), Some(second)) => {
            Err(Error::AmbiguousUpdate { candidates: [first, second].into_iter().chain(last).collect() })
        }
    }
}

fn planned(thread: &ThreadId, base: &Base) -> Vec<PlannedTask> {
    plan::tasks_of(thread, &base.checkpoint, base.tasks.values())
}

fn finished<'a>(version: &Version, thread: &ThreadId, base: &'a Base) -> Vec<(PlannedTask, &'a TaskRecord)> {
    let id = &base.checkpoint.id;
    let tasks = planned(thread, base);
    tasks.iter().filter_map(|task| plan::finished_task(version, thread, id, task, &base.tasks)).collect()
}

/// The tasks of the step that have not finished.
fn unfinished(version: &Version, thread: &ThreadId, base: &Base) -> Vec<PlannedTask> {
    let id = &base.checkpoint.id;
    let tasks = planned(thread, base).into_iter();
    tasks.filter(|task| plan::finished_task(version, thread, id, task, &base.tasks).is_none()).collect()
}

fn speak(
    setting: &Setting<'_>,
    base: &Base,
    nodes: &[NodeName],
    updates: &[Update],
    entropy: &impl Fn() -> u64,
) -> Result<(Made, Base), Error> {
    let Setting { version, thread, now_ms, .. } = *setting;
    let graph: &Graph = &version.graph;
    let siblings = finished(version, thread, base);
    let mut left = unfinished(version, thread, base);
    let mut tasks = Vec::new();
    for (index, (node, update)) in nodes.iter().zip(updates).enumerate() {
        let command = Command { update: update.values.clone().unwrap_or_default(), goto: update.goto.clone() };
        let planned = match left.iter().position(|task| task.node == *node) {
            Some(position) => left.remove(position),
            None => {
                let path = format!("update:{index:06}");
                let id = TaskId::derive(thread, &base.checkpoint.id, &path);
                PlannedTask { id, node: node.clone(), path, argument: None }
            }
        };
        let record = TaskRecord {
            id: planned.id.clone(),
            checkpoint: base.checkpoint.id.clone(),
            node: node.clone(),
            path: planned.path.clone(),
            status: TaskStatus::Done,
            executions: 0,
            result: Some(command),
            error: None,
            child: None,
            steps_left: None,
            updated_at_ms: now_ms,
        };
        tasks.push((planned, record));
    }
    let overridden: BTreeSet<&str> = updates
        .iter()
        .filter_map(|update| update.values.as_ref())
        .flat_map(|values| values.keys())
        .map(String::as_str)
        .collect();
    let values = after_siblings(graph, base, &siblings, &overridden).map_err(refused)?;
    let spoken: Vec<_> = tasks.iter().map(|(task, record)| (task.clone(), record)).collect();
    let mut written = values.clone();
    apply::reduce_all(graph, &values, &[], &spoken).map_err(refused)?.apply(&mut written);
    let patch = patch::difference(&base.values, &written);
    let siblings_count = siblings.len();
    let mut all = siblings;
    all.extend(spoken);
    let clock_ms = setting.clock_ms.max(base.checkpoint.clock_ms);
    let mut upcoming = Upcoming::new(graph, base.checkpoint.joins.clone(), base.checkpoint.deferred.clone(), clock_ms);
    let kept_operations = kept_operations(setting, &base.checkpoint, &left);
    upcoming.keep(left.into_iter().map(|task| match task.argument {
        Some(argument) => Trigger::Push { node: task.node, argument },
        None => Trigger::Pull(task.node),
    }));
    for (index, (task, record)) in all.iter().enumerate() {
        let command = record.result.clone().unwrap_or_default();
        for destination in &command.goto {
            upcoming.go(&task.node, destination).map_err(refused)?;
        }
        if let Some(node) = version.node(&task.node) {
            // What finished in the step decides by the state before it, what is spoken now by the state that it is spoken in.
            let seen = if index < siblings_count { &base.values } else { &values };
            let targets = apply::resolve_edges(graph, &task.node, node, seen, &command).map_err(refused)?;
            upcoming.follow(&task.node, &targets);
        }
        upcoming.arrive(&task.node);
    }
    let advance = Advance {
        patch,
        upcoming: upcoming.finish(),
        writers: nodes.iter().cloned().collect(),
        children: base.checkpoint.children.clone(),
    };
    // What an update says of a task that is there is kept with it, so that the history shows it (S73), unless something is recorded already.
    let shown =
        tasks.into_iter().filter(|(task, _)| !task.path.starts_with("update:") && !base.recorded.contains(&task.path));
    let shown = shown.map(|(_, record)| record).collect();
    let (mut made, mut base) = made(setting, base, advance, shown, entropy);
    for checkpoint in &mut made.checkpoints {
        checkpoint.record.kept_operations.clone_from(&kept_operations);
    }
    base.checkpoint.kept_operations = kept_operations;
    Ok((made, base))
}

/// The state with what had finished in the step. Where those writes conflict among each other, those to channels that the update writes anyway are
/// left out: that is how a step is repaired that could not be applied (DESIGN 6.7).
fn after_siblings(
    graph: &Graph,
    base: &Base,
    siblings: &[apply::Finished<'_>],
    overridden: &BTreeSet<&str>,
) -> Result<Map<String, Value>, apply::StepError> {
    let written = plan::commands(base.tasks.values());
    let mut values = base.values.clone();
    let patch = apply::reduce_all(graph, &values, &written, siblings).or_else(|conflict| {
        let mut kept: Vec<(PlannedTask, TaskRecord)> =
            siblings.iter().map(|(task, record)| (task.clone(), (*record).clone())).collect();
        for command in kept.iter_mut().filter_map(|(_, record)| record.result.as_mut()) {
            command.update.retain(|channel, _| !overridden.contains(channel.as_str()));
        }
        let kept: Vec<_> = kept.iter().map(|(task, record)| (task.clone(), record)).collect();
        apply::reduce_all(graph, &values, &written, &kept).map_err(|_| conflict)
    })?;
    patch.apply(&mut values);
    Ok(values)
}

/// What the unnamed operations of tasks that go on being to run derive from, by their new paths: the kept ones come first in the new step.
fn kept_operations(setting: &Setting<'_>, base: &CheckpointRecord, left: &[PlannedTask]) -> BTreeMap<String, TaskId> {
    let mut pushes = 0_usize;
    let mut kept = BTreeMap::new();
    for task in left {
        let path = match &task.argument {
            None => format!("pull:{}", task.node),
            Some(_) => {
                pushes += 1;
                format!("push:{:010}", pushes - 1)
            }
        };
        for suffix in ["", "|error"] {
            let before = operations_of(setting.lineage, base, &format!("{}{suffix}", task.path));
            kept.insert(format!("{path}{suffix}"), before);
        }
    }
    kept
}

/// Nothing runs any more; what had finished counts.
fn end(setting: &Setting<'_>, base: &Base, entropy: &impl Fn() -> u64) -> Result<(Made, Base), Error> {
    let siblings = finished(setting.version, setting.thread, base);
    let written = plan::commands(base.tasks.values());
    // Writes that conflict cannot be kept, and must not keep the thread from being ended (DESIGN 6.7).
    let patch = apply::reduce_all(&setting.version.graph, &base.values, &written, &siblings).unwrap_or_default();
    let advance = Advance {
        patch,
        upcoming: UpcomingParts::default(),
        writers: base.checkpoint.writers.clone(),
        children: base.checkpoint.children.clone(),
    };
    Ok(made(setting, base, advance, Vec::new(), entropy))
}

fn made(
    setting: &Setting<'_>,
    base: &Base,
    advance: Advance,
    tasks: Vec<TaskRecord>,
    entropy: &impl Fn() -> u64,
) -> (Made, Base) {
    let clock_ms = setting.clock_ms.max(base.checkpoint.clock_ms);
    let NewCheckpoint { record, patch } =
        apply::next_checkpoint(setting.thread, &base.checkpoint, advance, clock_ms, setting.now_ms);
    let record = CheckpointRecord {
        id: CheckpointId::from_entropy(clock_ms, record.step, entropy()),
        source: Source::Update,
        effects: setting.effects.unwrap_or(record.effects),
        metadata: merged(&record.metadata, setting.metadata),
        ..record
    };
    let mut values = base.values.clone();
    patch.apply(&mut values);
    finish(setting, Made { checkpoints: vec![NewCheckpoint { record: record.clone(), patch }], tasks }, record, values)
}

/// The update itself is a pause: whoever continues the thread from there passes the breakpoints in front of it.
fn finish(setting: &Setting<'_>, mut made: Made, record: CheckpointRecord, values: Map<String, Value>) -> (Made, Base) {
    let mut tasks = Records::new();
    if !record.next.is_empty() {
        let pause = pause_record(setting.thread, &record, setting.now_ms);
        tasks.insert(pause.id.clone(), pause.clone());
        made.tasks.push(pause);
    }
    (
        made,
        Base {
            checkpoint: record,
            values,
            recorded: tasks.values().map(|task| task.path.clone()).collect(),
            tasks,
            input: None,
        },
    )
}

fn input(
    setting: &Setting<'_>,
    base: &Base,
    update: &Update,
    entropy: &impl Fn() -> u64,
) -> Result<(Made, Base), Error> {
    let mut made = Made::default();
    let mut base = base.clone();
    if let Some(kept) = kept_writes(setting, &base, entropy)? {
        kept.patch.apply(&mut base.values);
        base.checkpoint = kept.record.clone();
        made.checkpoints.push(kept);
    }
    let values = update.values.clone().unwrap_or_default();
    let (checkpoints, record) = input_after(setting, Some(&base), &values, entropy())?;
    for checkpoint in &checkpoints {
        checkpoint.patch.apply(&mut base.values);
    }
    let [_, start] = &checkpoints;
    let start = start.record.clone();
    made.checkpoints.extend(checkpoints);
    made.tasks.push(record);
    Ok(finish(setting, made, start, base.values))
}

/// The checkpoints of an input and the record of what was given. `base` is none for a thread that begins.
///
/// # Errors
/// [`Error::InvalidInput`].
pub(crate) fn input_after(
    setting: &Setting<'_>,
    base: Option<&Base>,
    values: &Map<String, Value>,
    entropy: u64,
) -> Result<([NewCheckpoint; 2], TaskRecord), Error> {
    let Setting { version, thread, now_ms, .. } = *setting;
    let parent = base.map(|base| &base.checkpoint);
    let clock_ms = parent.map_or(setting.clock_ms, |parent| parent.clock_ms.max(setting.clock_ms));
    let step = parent.map_or(-1, |parent| parent.step + 1);
    let id = CheckpointId::from_entropy(clock_ms, step, entropy);
    let first = CheckpointRecord {
        id: id.clone(),
        parent: parent.map(|parent| parent.id.clone()),
        namespace: Default::default(),
        graph: version.digest.clone(),
        step,
        source: Source::Input,
        writers: BTreeSet::new(),
        next: Vec::new(),
        deferred: BTreeSet::new(),
        joins: BTreeMap::new(),
        children: parent.map(|parent| parent.children.clone()).unwrap_or_default(),
        anchor: id,
        kept_operations: BTreeMap::new(),
        // A what-if stays one until somebody says otherwise.
        effects: setting.effects.or(parent.map(|parent| parent.effects)).unwrap_or_default(),
        metadata: setting.metadata.clone(),
        clock_ms,
        created_at_ms: now_ms,
    };
    let initial = holdpoint_graph::state::initial_values(&version.graph);
    let before = base.map_or(&initial, |base| &base.values);
    let checkpoints =
        apply::input_checkpoints(&version.graph, thread, first, before, values).map_err(Error::InvalidInput)?;
    let [first, _] = &checkpoints;
    let record = input_record(thread, &first.record.id, values, now_ms);
    Ok((checkpoints, record))
}

/// The record of an input as it was given.
pub(crate) fn input_record(
    thread: &ThreadId,
    checkpoint: &CheckpointId,
    values: &Map<String, Value>,
    now_ms: u64,
) -> TaskRecord {
    TaskRecord {
        id: TaskId::derive(thread, checkpoint, INPUT),
        checkpoint: checkpoint.clone(),
        node: NodeName::parse(INPUT).expect("invariant: a valid name"),
        path: INPUT.into(),
        status: TaskStatus::Done,
        executions: 0,
        result: Some(Command { update: values.clone(), goto: Vec::new() }),
        error: None,
        child: None,
        steps_left: None,
        updated_at_ms: now_ms,
    }
}

/// A checkpoint with the writes of the step's finished tasks, which new input must not drop (DESIGN 6.5).
pub(crate) fn kept_writes(
    setting: &Setting<'_>,
    base: &Base,
    entropy: &impl Fn() -> u64,
) -> Result<Option<NewCheckpoint>, Error> {
    let siblings = finished(setting.version, setting.thread, base);
    let written = plan::commands(base.tasks.values());
    if (siblings.is_empty() && written.is_empty()) || planned(setting.thread, base).is_empty() {
        return Ok(None);
    }
    // Writes that conflict cannot be kept, and must not keep the thread from being repaired by new input (DESIGN 6.7).
    let Ok(patch) = apply::reduce_all(&setting.version.graph, &base.values, &written, &siblings) else {
        return Ok(None);
    };
    let advance = Advance {
        patch,
        upcoming: UpcomingParts { joins: base.checkpoint.joins.clone(), ..UpcomingParts::default() },
        writers: siblings.iter().map(|(task, _)| task.node.clone()).collect(),
        children: base.checkpoint.children.clone(),
    };
    let (mut made, _) = made(setting, base, advance, Vec::new(), entropy);
    Ok(made.checkpoints.pop())
}

/// A checkpoint beside this one, with the same parent (R50). What was recorded of its tasks stays with the original: questions are asked anew. One
/// before an input comes with what the input leads to, or nothing could go on from it.
fn copy(setting: &Setting<'_>, base: &Base, entropy: &impl Fn() -> u64) -> Result<(Made, Base), Error> {
    let Setting { version, thread, now_ms, .. } = *setting;
    let clock_ms = setting.clock_ms.max(base.checkpoint.clock_ms);
    let record = CheckpointRecord {
        id: CheckpointId::from_entropy(clock_ms, base.checkpoint.step, entropy()),
        source: Source::Fork,
        clock_ms,
        created_at_ms: now_ms,
        effects: setting.effects.unwrap_or(base.checkpoint.effects),
        metadata: merged(&base.checkpoint.metadata, setting.metadata),
        ..base.checkpoint.clone()
    };
    // The patch is completed by the caller, who can read the parent's values.
    if !record.next.contains(&Trigger::Start) {
        let checkpoints = vec![NewCheckpoint { record: record.clone(), patch: Patch::default() }];
        return Ok(finish(setting, Made { checkpoints, tasks: Vec::new() }, record, base.values.clone()));
    }
    let input = base.input.as_ref().ok_or_else(|| Error::NotReplayable(base.checkpoint.id.clone()))?;
    let given = input_record(thread, &record.id, input, now_ms);
    let mut checkpoints =
        apply::input_checkpoints(&version.graph, thread, record, &base.values, input).map_err(Error::InvalidInput)?;
    checkpoints[0].record.source = Source::Fork;
    let [_, NewCheckpoint { record, patch }] = &checkpoints;
    let (record, mut values) = (record.clone(), base.values.clone());
    patch.apply(&mut values);
    Ok(finish(setting, Made { checkpoints: checkpoints.into(), tasks: vec![given] }, record, values))
}

/// Completes a copy: its patch is against the values of the parent that it shares with its original, if that one is still there.
pub(crate) fn complete_copy(made: &mut Made, parent: Option<&Map<String, Value>>, values: &Map<String, Value>) {
    for checkpoint in made.checkpoints.iter_mut().filter(|checkpoint| checkpoint.record.source == Source::Fork) {
        checkpoint.patch = patch::difference(parent.unwrap_or(&Map::new()), values);
        checkpoint.record.parent = checkpoint.record.parent.take().filter(|_| parent.is_some());
    }
}

pub(crate) fn merged(before: &Map<String, Value>, added: &Map<String, Value>) -> Map<String, Value> {
    before.iter().chain(added).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn refused(error: apply::StepError) -> Error {
    Error::InvalidUpdate(Box::new(error))
}
