//! What steps expect.

use std::collections::BTreeSet;

use holdpoint_engine::events::EventKind;
use holdpoint_engine::stream::{Mode, Stream};
use holdpoint_engine::{Error, HistoryEntry, InterruptKind, TaskView, ThreadView};
use holdpoint_graph::ids::{QuestionId, ThreadId};
use holdpoint_store::TaskStatus;
use serde_json::{Map, Value, json};

use super::act::{Done, Seen};
use super::data::{Expected, Step, Task};
use super::names::Names;
use super::world::World;
use holdpoint_graph::clock::Clock as _;

/// A thread before a call.
#[derive(Default)]
pub struct Before {
    view: Option<ThreadView>,
    history: Vec<HistoryEntry>,
}

impl Before {
    /// Looks at a thread.
    ///
    /// # Errors
    /// What cannot be read.
    pub async fn of(world: &World, thread: &ThreadId) -> Result<Self, String> {
        match world.engine.view(thread).await {
            Ok(view) => Ok(Self { view: Some(view), history: history(world, thread).await? }),
            Err(Error::ThreadNotFound(_)) => Ok(Self::default()),
            Err(error) => Err(error.to_string()),
        }
    }
}

async fn history(world: &World, thread: &ThreadId) -> Result<Vec<HistoryEntry>, String> {
    world.engine.history(thread, None, usize::MAX >> 1).await.map_err(|error| error.to_string())
}

/// What has been seen of a scenario so far.
#[derive(Default)]
pub struct Memory {
    /// What steps named.
    pub names: Names,
    /// Ids of all questions that were pending after a step.
    asked: BTreeSet<String>,
}

/// Everything that a step's expectations were not met in, in words. Takes up what the step names.
///
/// # Errors
/// What cannot be read, or a name of something that is not there.
pub async fn check(
    world: &World,
    step: &Step,
    before: &Before,
    done: &Done,
    memory: &mut Memory,
) -> Result<Vec<String>, String> {
    let expected = &step.expected;
    let mut faults = Faults(Vec::new());
    check_result(expected, done, &mut faults);
    if let Some(together) = &step.call.together {
        let fits = |wanted: &str, found: &str| wanted.split('|').any(|code| code == found);
        let mut left = done.outcomes.clone();
        let in_order = together.hold.is_some();
        let met = together.outcomes.iter().all(|wanted| {
            let found = left.iter().position(|found| fits(wanted, found)).filter(|index| !in_order || *index == 0);
            found.map(|index| left.remove(index)).is_some()
        });
        faults.must(met && left.is_empty(), "outcomes", &together.outcomes, &done.outcomes);
    }
    let after = Before::of(world, &done.thread).await?;
    let Some(view) = &after.view else {
        faults.must(expected.absent, "thread", "to be there", "nothing");
        return Ok(faults.0);
    };
    faults.must(!expected.absent, "thread", "nothing", view.status.name());
    if let Ok(Seen::Thread(given)) = &done.result {
        faults.must(**given == *view, "what the call gave", view, given);
    }
    let run = Run { world, expected, before, after: &after, view, done };
    if expected.pending_told {
        run.check_pending_told(&mut faults);
    }
    run.check_thread(&mut faults);
    run.check_questions(memory, &mut faults).await?;
    run.check_history(&memory.names, &mut faults).await?;
    run.check_tasks(&mut faults).await?;
    run.check_counts(&mut faults);
    run.check_stream(step, &mut faults)?;
    if let Some(name) = &expected.mark {
        memory.names.checkpoints.insert(name.clone(), view.checkpoint.clone());
    }
    for (name, question) in &expected.save {
        let id = memory.names.question(&view.interrupts, question)?;
        memory.names.questions.insert(name.clone(), id);
    }
    memory.asked.extend(view.interrupts.iter().map(|interrupt| interrupt.id.clone()));
    Ok(faults.0)
}

struct Faults(Vec<String>);

impl Faults {
    fn must(&mut self, holds: bool, what: &str, expected: impl std::fmt::Debug, found: impl std::fmt::Debug) {
        if !holds {
            self.0.push(format!("{what}: expected {expected:?}, found {found:?}"));
        }
    }

    /// Compares where something is expected.
    fn equal<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, expected: Option<&T>, found: &T) {
        if let Some(expected) = expected {
            self.must(expected == found, what, expected, found);
        }
    }

    fn fits(&mut self, what: &str, expected: Option<&Value>, found: &Value) {
        if let Some(expected) = expected
            && !fits(expected, found)
        {
            self.0.push(format!("{what}: expected {expected}, found {found}"));
        }
    }
}

/// Equal, but that `*` stands for anything.
fn fits(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::String(any), _) if any == "*" => true,
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len() && expected.iter().zip(found).all(|(expected, found)| fits(expected, found))
        }
        (Value::Object(expected), Value::Object(found)) => {
            expected.len() == found.len()
                && expected.iter().all(|(key, expected)| found.get(key).is_some_and(|found| fits(expected, found)))
        }
        _ => expected == found,
    }
}

fn check_result(expected: &Expected, done: &Done, faults: &mut Faults) {
    match (&expected.error, &done.result) {
        (None, Ok(_)) => {}
        (Some(code), Err(error)) => {
            faults.must(code == error.code(), "error", code, format!("{}: {error}", error.code()));
            if let Some(says) = &expected.says {
                let text = error.to_string();
                faults.must(text.contains(says.as_str()), "the error says", says, text);
            }
        }
        (code, Ok(_)) => faults.must(false, "error", code, "success"),
        (None, Err(error)) => faults.must(false, "call", "success", format!("{}: {error}", error.code())),
    }
}

/// Channels without those that are null.
fn written(values: &Map<String, Value>) -> Value {
    let written = values.iter().filter(|(_, value)| !value.is_null());
    Value::Object(written.map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn sorted<'a>(values: impl IntoIterator<Item = &'a Value>) -> Value {
    let mut values: Vec<Value> = values.into_iter().cloned().collect();
    values.sort_by_key(ToString::to_string);
    Value::Array(values)
}

/// One call and what it is measured by.
struct Run<'a> {
    world: &'a World,
    expected: &'a Expected,
    before: &'a Before,
    after: &'a Before,
    view: &'a ThreadView,
    done: &'a Done,
}

impl Run<'_> {
    fn check_thread(&self, faults: &mut Faults) {
        let Self { expected, view, .. } = self;
        faults.equal("status", expected.status.as_ref(), &view.status.name().to_owned());
        if let Some(code) = &expected.failed {
            faults.must(view.error.as_ref().is_some_and(|error| error.code == *code), "failed", code, &view.error);
        } else if expected.error.is_none() {
            // A failure that nobody expects is one.
            faults.must(view.error.is_none(), "failed", "nothing", &view.error);
        }
        faults.equal("paused", expected.paused.as_ref(), &view.paused);
        let (values, next): (&Map<String, Value>, Vec<String>) = match &self.done.result {
            Ok(Seen::State(entry)) => (&entry.values, entry.next.clone()),
            _ => (&view.values, view.next.iter().map(ToString::to_string).collect()),
        };
        faults.fits("values", expected.values.as_ref().map(written).as_ref(), &written(values));
        faults.equal("next", expected.next.as_ref(), &next);
        if expected.unchanged {
            let unchanged = self.before.view.as_ref() == Some(view) && self.before.history == self.after.history;
            faults.must(unchanged && self.done.commits == 0, "thread", "unchanged", self.done.commits);
        }
    }

    fn check_pending_told(&self, faults: &mut Faults) {
        let pending = self.view.interrupts.iter().map(|interrupt| interrupt.id.clone()).collect::<BTreeSet<_>>();
        let told = match &self.done.result {
            Err(Error::UnknownQuestion { pending, .. }) => pending.iter().map(ToString::to_string).collect(),
            _ => BTreeSet::new(),
        };
        faults.must(told == pending, "pending questions told", &pending, &told);
    }

    async fn check_questions(&self, memory: &Memory, faults: &mut Faults) -> Result<(), String> {
        let Self { expected, view, world, .. } = self;
        let kind = |wanted| {
            view.interrupts.iter().filter(move |interrupt| (interrupt.kind == InterruptKind::InDoubt) == wanted)
        };
        let asks = sorted(kind(false).map(|interrupt| &interrupt.value));
        faults.fits("asks", expected.asks.as_ref().map(sorted).as_ref(), &asks);
        let doubts: Vec<String> = kind(true).map(|interrupt| interrupt.id.clone()).collect();
        faults.equal("doubts", expected.doubts.as_ref(), &doubts);
        if let Some(anew) = expected.asked_anew {
            let new = |id: &String| !memory.asked.contains(id);
            let ids: Vec<String> = kind(false).map(|interrupt| interrupt.id.clone()).collect();
            let met = !ids.is_empty() && ids.iter().all(|id| new(id) == anew);
            faults.must(met, "questions asked anew", anew, ids);
        }
        for (name, wanted) in expected.questions.iter().flatten() {
            let id =
                QuestionId::parse(memory.names.question(&view.interrupts, name)?).map_err(|error| error.to_string())?;
            let found = world.store.question(&self.done.thread, &id).await.map_err(|error| error.to_string())?;
            let found = found.map_or("unknown", |question| question.status.name());
            faults.must(wanted == found, &format!("question {name}"), wanted, found);
        }
        let mut deadlines: Vec<u64> = kind(false)
            .filter_map(|interrupt| Some(interrupt.deadline_at_ms?.saturating_sub(world.clock.now_ms())))
            .collect();
        deadlines.sort_unstable();
        faults.equal("deadlines", expected.deadlines_ms.as_ref(), &deadlines);
        Ok(())
    }

    async fn check_history(&self, names: &Names, faults: &mut Faults) -> Result<(), String> {
        let Self { expected, before, after, world, .. } = self;
        let rows = |history: &[HistoryEntry], with_values: bool, with_source: bool| -> Value {
            let row = |entry: &HistoryEntry| {
                let source = with_source.then(|| json!(entry.source.name()));
                let values = with_values.then(|| written(&entry.values));
                source.into_iter().chain([json!(entry.next), json!(entry.step)]).chain(values).collect::<Value>()
            };
            history.iter().map(row).collect()
        };
        if let Some(history) = &expected.history {
            let with_values = history.first().is_some_and(|row| row.as_array().is_some_and(|row| row.len() > 3));
            faults.fits("history", Some(&json!(history)), &rows(&after.history, with_values, true));
        }
        if let Some(other) = &expected.history_like {
            let other = history(world, &super::world::thread_id(other)?).await?;
            faults.fits("history", Some(&rows(&other, true, false)), &rows(&after.history, true, false));
        }
        faults.equal("checkpoints", expected.checkpoints.as_ref(), &after.history.len());
        let head = after.history.iter().find(|entry| entry.checkpoint == self.view.checkpoint);
        let head = head.ok_or_else(|| "the head is not in the history".to_owned())?;
        faults.equal("source", expected.source.as_ref(), &head.source.name().to_owned());
        faults.equal("step", expected.step.as_ref(), &head.step);
        if let Some(name) = &expected.sibling_of {
            let other = names.checkpoint(&world.engine, &self.done.thread, name).await?;
            let other = after.history.iter().find(|entry| entry.checkpoint == other);
            let met = other.is_some_and(|other| other.parent == head.parent && other.checkpoint != head.checkpoint);
            faults.must(met, "sibling", name, &head.parent);
        }
        let was_there = before.history.iter().any(|entry| entry.checkpoint == head.checkpoint);
        faults.equal("a new head", expected.head_is_new.as_ref(), &!was_there);
        if expected.history_kept {
            for old in &before.history {
                let now = after.history.iter().find(|entry| entry.checkpoint == old.checkpoint);
                // A question that is superseded by a branch says so where it was asked.
                let met = now.is_some_and(|now| without_questions(now) == without_questions(old));
                faults.must(met, "a checkpoint from before", old, now);
            }
        }
        Ok(())
    }

    async fn check_tasks(&self, faults: &mut Faults) -> Result<(), String> {
        let Some(expected) = &self.expected.tasks else { return Ok(()) };
        let now;
        let entry = match &self.done.result {
            Ok(Seen::State(entry)) => entry,
            _ => {
                let engine = &self.world.engine;
                now = Box::new(engine.state(&self.done.thread, None).await.map_err(|error| error.to_string())?);
                &now
            }
        };
        let nodes = |tasks: &[TaskView]| tasks.iter().map(|task| task.node.to_string()).collect::<Vec<_>>();
        let wanted: Vec<String> = expected.iter().map(|task| task.node.clone()).collect();
        faults.must(wanted == nodes(&entry.tasks), "tasks", &wanted, nodes(&entry.tasks));
        for (expected, found) in expected.iter().zip(&entry.tasks) {
            check_task(expected, found, faults);
        }
        Ok(())
    }

    fn check_counts(&self, faults: &mut Faults) {
        let Self { expected, world, done, .. } = self;
        let started = world.board.started();
        for (node, wanted) in expected.runs.iter().flatten() {
            let is_it = |(graph, name): &&(String, String)| name == node || format!("{graph}.{name}") == *node;
            let found = started.iter().filter(is_it).count();
            faults.must(*wanted == found, &format!("runs of {node}"), wanted, found);
        }
        let order: Vec<String> = started.into_iter().map(|(_, node)| node).collect();
        faults.equal("order", expected.order.as_ref(), &order);
        let sent = sorted(&world.board.sent());
        faults.fits("sent", expected.sent.as_ref().map(sorted).as_ref(), &sent);
        faults.equal("commits", expected.commits.as_ref(), &done.commits);
    }

    fn check_stream(&self, step: &Step, faults: &mut Faults) -> Result<(), String> {
        let Self { expected, view, done, .. } = self;
        let ended = done.events.iter().filter_map(|event| match &event.kind {
            EventKind::TaskEnded { record, cached: false, .. } if record.status == TaskStatus::Done => {
                Some(record.node.to_string())
            }
            _ => None,
        });
        faults.equal("ended", expected.ended.as_ref(), &ended.collect());
        let modes = step.circumstances.modes.iter();
        let modes: Vec<Mode> = modes
            .map(|name| Mode::parse(name).ok_or_else(|| format!("there is no stream mode {name:?}")))
            .collect::<Result<_, _>>()?;
        if expected.stream.is_some() {
            let mut stream = Stream::new(modes);
            let parts = done.events.iter().flat_map(|event| stream.parts(event));
            let own = parts.filter(|part| part.namespace.is_root());
            let told: Value = own.map(|part| json!([part.mode.name(), part.data])).collect();
            faults.fits("stream", expected.stream.as_ref().map(|parts| json!(parts)).as_ref(), &told);
        }
        if expected.stream_ends_at_head {
            let last = done.events.iter().rev().find_map(|event| match &event.kind {
                EventKind::Checkpoint { record, .. } => Some(record.id.clone()),
                _ => None,
            });
            faults.must(last.as_ref() == Some(&view.checkpoint), "the last checkpoint told", &view.checkpoint, last);
        }
        Ok(())
    }
}

fn without_questions(entry: &HistoryEntry) -> HistoryEntry {
    let mut entry = entry.clone();
    entry.tasks.iter_mut().for_each(|task| task.questions.clear());
    entry
}

fn check_task(expected: &Task, found: &TaskView, faults: &mut Faults) {
    let of = |what: &str| format!("{what} of task {}", found.node);
    let status = found.status.map_or("none", TaskStatus::name).to_owned();
    faults.equal(&of("status"), expected.status.as_ref(), &status);
    let result = found.result.as_ref().map_or(Value::Null, |command| Value::Object(command.update.clone()));
    faults.fits(&of("result"), expected.result.clone().map(Value::Object).as_ref(), &result);
    if let Some(code) = &expected.error {
        faults.must(found.error.as_ref().is_some_and(|error| error.code == *code), &of("error"), code, &found.error);
    }
    faults.equal(&of("executions"), expected.executions.as_ref(), &found.executions);
    let questions = found.questions.iter();
    let asks: Value = questions.clone().map(|question| question.payload.clone()).collect();
    faults.fits(&of("questions"), expected.asks.as_ref().map(|asks| json!(asks)).as_ref(), &asks);
    let answers: Value =
        questions.clone().filter_map(|question| Some(question.answer.as_ref()?.value.clone())).collect();
    faults.fits(&of("answers"), expected.answers.as_ref().map(|answers| json!(answers)).as_ref(), &answers);
    let schemas: Value = questions.filter_map(|question| question.answer_schema.clone()).collect();
    faults.fits(&of("schemas"), expected.schemas.as_ref().map(|schemas| json!(schemas)).as_ref(), &schemas);
    if let Some(values) = &expected.values {
        let found = found.state.as_ref().map_or(Value::Null, |state| written(&state.values));
        faults.fits(&of("values in the subgraph"), Some(&written(values)), &found);
    }
    if let Some(next) = &expected.next {
        let found = found.state.as_ref().map(|state| state.next.clone()).unwrap_or_default();
        faults.must(*next == found, &of("next in the subgraph"), next, &found);
    }
}
