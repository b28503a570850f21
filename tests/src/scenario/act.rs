//! What steps call.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdpoint_engine::{
    Answers, AsNode, Breakpoints, Deployment, Drain, Engine, Error, Event, HistoryEntry, Input, RunOptions, Selection,
    ThreadView, Update, Word,
};
use holdpoint_graph::ids::{OperationId, ThreadId};
use holdpoint_graph::nodes::{Command, Destination, EffectMode};
use holdpoint_store::{OperationFilter, Store};
use serde_json::{Map, Value};
use tokio::task::JoinSet;

use super::data::{self, Call, Circumstances, Together};
use super::names::Names;
use super::world::{Events, World, thread_id};

/// Who answers and settles.
const PERSON: &str = "cli:ana";

/// What a call gave.
#[derive(Debug)]
pub enum Seen {
    /// The thread as it stands.
    Thread(Box<ThreadView>),
    /// A state.
    State(Box<HistoryEntry>),
    /// Nothing to look at, or the worker died.
    Nothing,
}

/// How a call ended that could be made.
pub struct Done {
    /// What it gave.
    pub result: Result<Seen, Error>,
    /// How calls that were made together ended.
    pub outcomes: Vec<String>,
    /// The thread that it was about.
    pub thread: ThreadId,
    /// What happened in it.
    pub events: Vec<Event>,
    /// Its durable commits.
    pub commits: u64,
}

/// Makes a step's call.
///
/// # Errors
/// What is wrong with the step: it names what is not there, or its worker did not get to where it was to die.
pub async fn act(world: &mut World, step: &data::Step, names: &Names) -> Result<Done, String> {
    let circumstances = &step.circumstances;
    let call = step.call.clone();
    let events = Arc::new(Events::default());
    let drain = Drain::default();
    world.board.begin(circumstances.kill.clone(), circumstances.drain_in.clone().map(|node| (node, drain.clone())));
    let caller = Caller {
        engine: world.engine.with_options(options(circumstances, &events, drain)?),
        store: Arc::clone(&world.store),
        deployments: world.deployments.clone(),
        thread: thread_id(circumstances.thread.as_deref().unwrap_or("t"))?,
        names: names.clone(),
        circumstances: circumstances.clone(),
    };
    let copied = call.copy.as_deref().map(thread_id).transpose()?;
    let thread = copied.unwrap_or_else(|| caller.thread.clone());
    let mut outcomes = Vec::new();
    let result = if let Some(by_ms) = call.advance_ms {
        world.clock.advance(by_ms);
        Ok(Seen::Nothing)
    } else if let Some(together) = &call.together {
        outcomes = caller.all(world, together).await?;
        Ok(Seen::Nothing)
    } else {
        let board = Arc::clone(&world.board);
        tokio::select! {
            biased;
            () = board.death() => {
                world.next_worker()?;
                Ok(Seen::Nothing)
            }
            result = caller.make(call) => match result {
                Ok(seen) => Ok(seen),
                Err(Fault::Engine(error)) => Err(*error),
                Err(Fault::Step(fault)) => return Err(fault),
            },
        }
    };
    let (commits, lived_on) = world.board.end();
    if lived_on {
        return Err(format!("the worker never got to where it was to die: {:?}", circumstances.kill));
    }
    Ok(Done { result, outcomes, thread, events: events.taken(), commits })
}

fn options(circumstances: &Circumstances, events: &Arc<Events>, drain: Drain) -> Result<RunOptions, String> {
    let selection =
        |nodes: &[String]| Selection::parse(nodes.iter().map(String::as_str)).map_err(|error| error.to_string());
    let breakpoints = Breakpoints {
        before: selection(&circumstances.breaks_before)?,
        after: selection(&circumstances.breaks_after)?,
    };
    let effects = match &circumstances.effects {
        Some(name) => Some(EffectMode::parse(name).ok_or_else(|| format!("there is no effect mode {name:?}"))?),
        None => None,
    };
    Ok(RunOptions { breakpoints, effects, drain, events: Some(events.clone()), ..RunOptions::default() })
}

/// Why a call gave nothing.
enum Fault {
    /// The engine refused or failed.
    Engine(Box<Error>),
    /// The step cannot be carried out.
    Step(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Engine(Box::new(error))
    }
}

impl From<String> for Fault {
    fn from(fault: String) -> Self {
        Self::Step(fault)
    }
}

/// Everything that a call needs.
#[derive(Clone)]
struct Caller {
    engine: Engine,
    store: Arc<dyn Store>,
    deployments: BTreeMap<String, Deployment>,
    thread: ThreadId,
    names: Names,
    circumstances: Circumstances,
}

impl Caller {
    async fn make(&self, call: Call) -> Result<Seen, Fault> {
        let Self { engine, thread, circumstances, .. } = self;
        let input = |values| Input { values: Value::Object(values), supersede: circumstances.supersede };
        let view = if let Some(values) = call.run {
            engine.run(thread, self.deployment()?, input(values)).await?
        } else if let Some(values) = call.input {
            engine.input(thread, input(values)).await?
        } else if let Some(value) = call.answer {
            engine.answer(thread, &Answers::Bare(value), PERSON).await?
        } else if let Some(answers) = call.answers {
            let answers = self.answers(None, Some(&answers)).await?.unwrap_or(Answers::Bare(Value::Null));
            engine.answer(thread, &answers, PERSON).await?
        } else if let Some(command) = call.command {
            let answers = self.answers(command.answer.as_ref(), command.answers.as_ref()).await?;
            let goto = command.goto.iter().map(destination).collect::<Result<_, _>>()?;
            engine.command(thread, answers.as_ref(), Command { update: command.update, goto }, PERSON).await?
        } else if call.proceed.is_some() {
            engine.proceed(thread).await?
        } else if let Some(from) = call.replay {
            engine.replay(thread, &self.names.checkpoint(engine, thread, &from).await?).await?
        } else if let Some(updated) = call.update {
            self.update(&[vec![updated]]).await?
        } else if let Some(supersteps) = call.bulk {
            self.update(&supersteps).await?
        } else if let Some(supersteps) = call.create {
            engine.create_by_updates(thread, self.deployment()?, &updates(&supersteps)?).await?
        } else if let Some(data::Fork { from, values, as_node }) = call.fork {
            let from = self.names.checkpoint(engine, thread, &from).await?;
            engine.fork(thread, &from, update(&data::Update { values, as_node, goto: Vec::new() })?).await?
        } else if let Some(to) = call.copy {
            engine.copy(thread, &thread_id(&to)?).await?
        } else if let Some(at) = call.state {
            let at = match at.as_str() {
                "now" => None,
                name => Some(self.names.checkpoint(engine, thread, name).await?),
            };
            return Ok(Seen::State(Box::new(engine.state(thread, at.as_ref()).await?)));
        } else if let Some(settle) = call.settle {
            self.settle(settle).await?;
            return Ok(Seen::Nothing);
        } else if call.clear_cache.is_some() {
            self.store.clear_cache(None).await.map_err(|error| error.to_string())?;
            return Ok(Seen::Nothing);
        } else {
            engine.view(thread).await?
        };
        Ok(Seen::Thread(Box::new(view)))
    }

    fn deployment(&self) -> Result<&Deployment, String> {
        let name = self.circumstances.graph.as_deref().unwrap_or("main");
        self.deployments.get(name).ok_or_else(|| format!("there is no graph {name}"))
    }

    async fn answers(
        &self,
        bare: Option<&Value>,
        by_question: Option<&Map<String, Value>>,
    ) -> Result<Option<Answers>, Fault> {
        match (bare, by_question) {
            (Some(value), _) => Ok(Some(Answers::Bare(value.clone()))),
            (None, Some(answers)) => {
                let pending = self.engine.view(&self.thread).await?.interrupts;
                Ok(Some(self.names.answers(&pending, answers)?))
            }
            (None, None) => Ok(None),
        }
    }

    async fn update(&self, supersteps: &[Vec<data::Update>]) -> Result<ThreadView, Fault> {
        let at = match &self.circumstances.at {
            Some(name) => Some(self.names.checkpoint(&self.engine, &self.thread, name).await?),
            None => None,
        };
        Ok(self.engine.update(&self.thread, at.as_ref(), &updates(supersteps)?).await?)
    }

    async fn settle(&self, settle: data::Settle) -> Result<(), Fault> {
        let id = OperationId::parse(settle.operation).map_err(|error| error.to_string())?;
        let filter = OperationFilter { id: Some(id), open: true, limit: 1, ..OperationFilter::default() };
        let found = self.store.find_operations(&filter).await.map_err(|error| error.to_string())?;
        let operation = found.first().ok_or_else(|| "no such operation is open".to_owned())?;
        let word = settle.happened.map_or(Word::Send, Word::Happened);
        self.engine.settle(&operation.key, word, PERSON, "the receiver's books say so").await?;
        Ok(())
    }

    /// Makes several calls at once; tells how each ended.
    async fn all(&self, world: &World, together: &Together) -> Result<Vec<String>, String> {
        let Some(node) = &together.hold else {
            let mut running = JoinSet::new();
            for call in together.calls.clone() {
                let caller = self.clone();
                running.spawn(async move { caller.make(call).await });
            }
            let mut outcomes = Vec::new();
            while let Some(joined) = running.join_next().await {
                outcomes.push(outcome(joined.map_err(|error| error.to_string())?)?);
            }
            return Ok(outcomes);
        };
        let Some((first, others)) = together.calls.split_first() else { return Ok(Vec::new()) };
        world.board.hold(node);
        let first = self.make(first.clone());
        let others = async {
            world.board.is_held().await;
            let mut outcomes = Vec::new();
            for call in others {
                outcomes.push(outcome(self.make(call.clone()).await)?);
            }
            world.board.release();
            Ok::<_, String>(outcomes)
        };
        let (first, others) = tokio::join!(first, others);
        Ok([vec![outcome(first)?], others?].concat())
    }
}

fn outcome(result: Result<Seen, Fault>) -> Result<String, String> {
    match result {
        Ok(_) => Ok("ok".to_owned()),
        Err(Fault::Engine(error)) => Ok(error.code().to_owned()),
        Err(Fault::Step(fault)) => Err(fault),
    }
}

fn destination(value: &Value) -> Result<Destination, String> {
    match (value.as_str(), value.get("send")) {
        (Some("END"), _) => Ok(Destination::End),
        (Some(node), _) => Ok(Destination::Node(node.to_owned())),
        (None, Some(send)) => {
            let node = send["node"].as_str().ok_or("a send without a node")?.to_owned();
            Ok(Destination::Send { node, argument: send["argument"].clone() })
        }
        (None, None) => Err(format!("{value} is no destination")),
    }
}

fn updates(supersteps: &[Vec<data::Update>]) -> Result<Vec<Vec<Update>>, String> {
    supersteps.iter().map(|superstep| superstep.iter().map(update).collect()).collect()
}

fn update(update: &data::Update) -> Result<Update, String> {
    let as_node = update.as_node.as_deref().map(AsNode::parse).transpose().map_err(|error| error.to_string())?;
    let goto = update.goto.iter().map(destination).collect::<Result<_, _>>()?;
    Ok(Update { values: update.values.clone(), as_node, goto })
}
