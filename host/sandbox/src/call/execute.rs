//! Runs a guest once: a fresh store, one export, and the store is dropped.

use std::time::{Duration, Instant};

use holdpoint_graph::nodes::{NodeCall, NodeOutcome};
use serde_json::Value;
use wasmtime::{Engine, Store, UpdateDeadline};

use crate::bindings::holdpoint::node::types;
use crate::bindings::{Node, NodePre};
use crate::call::json;
use crate::call::outcome::{self, Phase};
use crate::call::state::{Exceeded, State};

/// Beyond the last moment that any part of a call may take, should every other bound have failed.
const LAST_RESORT: Duration = Duration::from_secs(1);

/// The store of one call.
pub(crate) fn store(engine: &Engine, state: State, fuel: Option<u64>) -> wasmtime::Result<Store<State>> {
    let deadline = state.deadline;
    let (transfer_bytes, handles) = (state.limits.transfer_bytes(), state.limits.handles);
    let mut store = Store::try_new(engine, state)?;
    store.limiter(|state| &mut state.memory);
    store.set_hostcall_fuel(transfer_bytes);
    store.set_max_component_handles(handles);
    if let Some(fuel) = fuel {
        store.set_fuel(fuel)?;
    }
    store.set_epoch_deadline(1);
    // At each tick a guest that computes lets others have the thread, until its time is over.
    store.epoch_deadline_callback(move |_| {
        Ok(if Instant::now() >= deadline {
            UpdateDeadline::Interrupt
        } else {
            UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))
        })
    });
    Ok(store)
}

/// Executes a task. Whatever happens is an outcome.
pub(crate) async fn run(store: &mut Store<State>, node: &NodePre<State>, input: types::Input<'_>) -> NodeOutcome {
    let finished = bounded(store, async |store| {
        let node = node.instantiate_async(&mut *store).await.map_err(|error| (Phase::Start, error))?;
        node.call_run(&mut *store, input).await.map_err(|error| (Phase::Run, error))
    })
    .await;
    let state = store.data_mut();
    let ended = match finished {
        Ok(Ok(result)) => outcome::decided(state).unwrap_or_else(|| outcome::returned(state, result)),
        Ok(Err((phase, error))) => outcome::died(state, phase, &error),
        Err(exceeded) => exceeded.into(),
    };
    state.reporter.finish();
    ended
}

/// Starts a guest and asks it to describe itself. The error is how it failed.
pub(crate) async fn describe(
    store: &mut Store<State>,
    node: &NodePre<State>,
) -> Result<types::Description, NodeOutcome> {
    let finished = bounded(store, async |store| {
        let node = node.instantiate_async(&mut *store).await.map_err(|error| (Phase::Start, error))?;
        node.call_describe(&mut *store).await.map_err(|error| (Phase::Run, error))
    })
    .await;
    settle(store, finished)
}

/// Starts a guest and checks the types of its exports, without calling them: the inner error says how they differ.
pub(crate) async fn probe(store: &mut Store<State>, node: &NodePre<State>) -> Result<Result<(), String>, NodeOutcome> {
    let finished = bounded(store, async |store| {
        let instance = node.instance_pre().instantiate_async(&mut *store).await.map_err(|error| (Phase::Run, error))?;
        Ok(Node::new(&mut *store, &instance).map(drop).map_err(|error| format!("{error:#}")))
    })
    .await;
    settle(store, finished)
}

fn settle<T>(
    store: &mut Store<State>,
    finished: Result<Result<T, (Phase, wasmtime::Error)>, Exceeded>,
) -> Result<T, NodeOutcome> {
    let state = store.data_mut();
    match finished {
        Ok(Ok(value)) => outcome::decided(state).map_or(Ok(value), Err),
        Ok(Err((phase, error))) => Err(outcome::died(state, phase, &error)),
        Err(exceeded) => Err(exceeded.into()),
    }
}

/// The epoch ends guests that compute and each host function bounds its own waiting. Should either fail, dropping the call does.
async fn bounded<T>(store: &mut Store<State>, guest: impl AsyncFnOnce(&mut Store<State>) -> T) -> Result<T, Exceeded> {
    let last = store.data().operations_deadline() + LAST_RESORT;
    match tokio::time::timeout_at(last.into(), guest(&mut *store)).await {
        Ok(value) => Ok(value),
        Err(_) => Err(store.data().time_is_over()),
    }
}

/// The texts of a guest's input that are made for this call; those that tasks of a step share are not copied.
pub(crate) struct Texts {
    argument: Option<String>,
    config: String,
}

impl Texts {
    /// Refused when a part of the input, the state included, is larger than guests are handed.
    pub(crate) fn of(call: &NodeCall, bytes_max: usize) -> Result<Self, Exceeded> {
        json::check_size(call.state.text().len(), "the state", bytes_max)?;
        let write = |value: &Value, what| json::write(value, what, bytes_max);
        Ok(Self {
            argument: call.argument.as_ref().map(|argument| write(argument, "the argument")).transpose()?,
            config: write(&call.config, "the configuration")?,
        })
    }

    /// The input of the call that they were made for.
    pub(crate) fn input<'a>(&'a self, call: &'a NodeCall) -> types::Input<'a> {
        let task = &call.task;
        types::Input {
            task: types::Task {
                graph: task.graph.as_str(),
                thread_id: task.thread.as_str(),
                checkpoint_id: task.checkpoint.as_str(),
                step: task.step,
                node: task.node.as_str(),
                id: task.id.as_str(),
            },
            state: call.state.text(),
            argument: self.argument.as_deref(),
            config: &self.config,
        }
    }
}
