//! What an action does on one of the two.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use holdpoint_engine::prune::Rule;
use holdpoint_engine::{Deployment, Engine, Error, Input, PruneRequest, ThreadView, Word};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{ConnectorName, OperationId};
use holdpoint_graph::nodes::{Command, Destination};
use holdpoint_graph::operation::{OperationKey, Scope};
use holdpoint_store::{HistoryFilter, Journal, OperationFilter, ThreadStatus};
use serde_json::{Value, json};

use super::action::{Action, Place, Reply, Step};
use super::actors::Gate;
use super::errors;
use super::resolve::said;
use super::world::{LEASE_MS, World, id};
use crate::support::object;

impl World {
    pub(crate) async fn act(&mut self, engine: &Engine, step: &Step) -> Result<Vec<String>, Error> {
        let thread = &id(step.thread);
        let told =
            |view: ThreadView| vec![format!("{:?} {:?} {:?} {:?}", view.status, view.next, view.paused, view.error)];
        match &step.action {
            Action::Run { graph, input, supersede } => {
                let unknown =
                    || Deployment { digest: Digest::of_bytes(b"nobody"), graph: Arc::clone(&self.graphs[0].graph) };
                let graph = self.graphs.get(*graph).cloned().unwrap_or_else(unknown);
                let input = Input { values: input.clone(), supersede: *supersede };
                engine.run(thread, &graph, input).await.map(told)
            }
            Action::Input { input, supersede } => {
                engine.input(thread, Input { values: input.clone(), supersede: *supersede }).await.map(told)
            }
            Action::Answer { answer, value } => {
                engine.answer(thread, &self.answers(step.thread, *answer, value)?, "ana").await.map(told)
            }
            Action::Command { answer, update, goto, sent } => {
                let answers = match answer {
                    Some((answer, value)) => Some(self.answers(step.thread, *answer, value)?),
                    None => None,
                };
                let destination = |node: &&str| match sent {
                    Some(argument) => Destination::Send { node: (*node).into(), argument: argument.clone() },
                    None => Destination::Node((*node).into()),
                };
                let command = Command {
                    update: object(update.clone()),
                    goto: goto.as_ref().map(destination).into_iter().collect(),
                };
                engine.command(thread, answers.as_ref(), command, "bob").await.map(told)
            }
            Action::Proceed => engine.proceed(thread).await.map(told),
            Action::Update { at, supersteps } => {
                let at = self.place(step.thread, *at);
                engine.update(thread, at.as_ref(), &said(supersteps)).await.map(told)
            }
            Action::Replay { at } => engine.replay(thread, &self.place_or_head(step.thread, *at)).await.map(told),
            Action::Fork { at, update } => {
                let update = said(&[vec![update.clone()]]).remove(0).remove(0);
                engine.fork(thread, &self.place_or_head(step.thread, *at), update).await.map(told)
            }
            Action::Copy { to } => engine.copy(thread, &id(to)).await.map(told),
            Action::Build { graph, supersteps } => {
                engine.create_by_updates(thread, &self.graphs[*graph], &said(supersteps)).await.map(told)
            }
            Action::Settle { pick, word, reason } => self.settle(engine, *pick, *word, reason).await,
            Action::Delete => engine.delete(thread).await.map(|()| Vec::new()),
            Action::Prune { delete, older_than_ms, dry_run } => {
                let rule = if *delete { Rule::Delete } else { Rule::KeepLatest };
                let request =
                    PruneRequest { rule, older_than_ms: *older_than_ms, now_ms: self.now_ms(), dry_run: *dry_run };
                Ok(vec![format!("{:?}", engine.prune(&request).await?)])
            }
            Action::State { at } => {
                let at = self.place(step.thread, *at);
                let entry = engine.state(thread, at.as_ref()).await?;
                Ok(vec![format!("{} {:?} {:?} {:?}", entry.checkpoint, entry.next, entry.values, entry.tasks.len())])
            }
            Action::Search { source, step: number, metadata, before } => {
                let before = before.and_then(|index| self.place(step.thread, Place::Own(index)));
                let metadata = object(metadata.clone());
                let filter =
                    HistoryFilter { before, source: *source, step: *number, metadata, ..HistoryFilter::newest(5) };
                let found = engine.find_history(thread, &filter).await?;
                Ok(found.into_iter().map(|entry| entry.checkpoint.to_string()).collect())
            }
            Action::Race { value } => Ok(self.race(engine, step, value).await),
            Action::Zombie => self.zombie(engine, step).await,
        }
    }

    async fn settle(&self, engine: &Engine, pick: usize, word: usize, reason: &str) -> Result<Vec<String>, Error> {
        let all = OperationFilter { limit: 1_000, ..OperationFilter::default() };
        let mut found = self.watch.find_operations(&all).await?;
        // Those in doubt first, so that they are met; then by what they are.
        found.sort_by_cached_key(|record| {
            (
                record.state.name() != "in-doubt",
                record.state.name() != "intended",
                self.names.named(&format!("{record:?}")),
            )
        });
        let word = match word {
            0 => Word::Happened(json!("receipt")),
            1 => Word::Send,
            2 => Word::Queue,
            _ => Word::Fail,
        };
        let nobody = OperationKey {
            scope: Scope::Global("nobody".into()),
            connector: ConnectorName::parse("payments").unwrap(),
            id: OperationId::parse("nothing").unwrap(),
        };
        let key = found.get(pick / 3).map_or(nobody, |record| record.key.clone());
        Ok(vec![format!("{:?}", engine.settle(&key, word, "cli:ana", reason).await?)])
    }

    /// Which of the two wins is left to the scheduler: both say the same, so that it makes no difference.
    async fn race(&mut self, engine: &Engine, step: &Step, value: &Value) -> Vec<String> {
        let thread = id(step.thread);
        let Ok(answers) = self.answers(step.thread, Reply::One(0), value) else { return Vec::new() };
        let other = self.engine(1, false);
        let (one, two) = tokio::join!(engine.answer(&thread, &answers, "ana"), other.answer(&thread, &answers, "ana"));
        self.workers += 1;
        match (one, two) {
            (Ok(_), Ok(_)) => panic!("two answers to one question were accepted"),
            (Ok(_), Err(error)) | (Err(error), Ok(_)) => {
                let lost = ["HP0407", "HP0402", "HP0403"].contains(&error.code());
                vec![format!("one won, the other was told so: {lost}")]
            }
            (Err(one), Err(two)) => {
                let mut both = [one, two].map(|error| errors::name(&error));
                both.sort_unstable();
                vec![format!("{both:?}")]
            }
        }
    }

    async fn zombie(&mut self, engine: &Engine, step: &Step) -> Result<Vec<String>, Error> {
        let (thread, gate) = (id(step.thread), Arc::new(Gate::default()));
        self.actors.hold(Some(Arc::clone(&gate)));
        let sleeper = engine.clone();
        let runs = {
            let thread = thread.clone();
            let input = Input { values: json!({}), supersede: true };
            let fresh = self.seen(step.thread).is_none_or(|seen| seen.record.status == ThreadStatus::Done);
            tokio::spawn(async move {
                if fresh { sleeper.input(&thread, input).await } else { sleeper.proceed(&thread).await }
            })
        };
        let mut runs = std::pin::pin!(runs);
        tokio::select! {
            biased;
            ended = &mut runs => {
                self.actors.hold(None);
                let view = ended.unwrap()?;
                return Ok(vec![format!("it did not sleep: {:?}", view.status)]);
            }
            () = gate.started.notified() => {}
        }
        self.clock.0.fetch_add(LEASE_MS + 1, Ordering::SeqCst);
        self.workers += 1;
        let second = self.engine(0, false).proceed(&thread).await?;
        gate.release.notify_one();
        let woken = runs.await.unwrap();
        let told = format!("{:?} while the other slept", second.status);
        woken.map(|view| vec![told, format!("woken up: {:?}", view.status)])
    }
}
