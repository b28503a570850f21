//! What has to be counted in the store: seldom, and beside the requests that read it.
//!
//! A count costs the more the more waits. So nobody but the very first reader waits for one that takes long: others get the figures of the reading before
//! and leave fresh ones to the next. Without readers nothing is counted. How old the figures are stands beside them.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use holdpoint_store::{QuestionCounts, RunFilter, RunStatus};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::signed;
use crate::context::Context;
use crate::problem::Problem;

/// Figures so young are not counted again.
const YOUNG: Duration = Duration::from_secs(5);

/// How long a reader waits for fresh figures.
const PATIENCE: Duration = Duration::from_millis(10);

/// Runs that are counted at most: above it the number says "at least".
const COUNTED_MAX: usize = 10_000;

/// See the module.
pub(super) struct Counted {
    questions_pending: Gauge,
    questions_overdue: Gauge,
    question_oldest_seconds: Gauge<f64, AtomicU64>,
    operations_open: Gauge,
    operations_in_doubt: Gauge,
    runs: Family<Status, Gauge>,
    age_seconds: Gauge<f64, AtomicU64>,
    /// A std mutex: held to copy two numbers, never across an await.
    newest: Mutex<Option<Newest>>,
    /// Held by the one who counts.
    counting: tokio::sync::Mutex<()>,
}

/// The newest figures, as far as they change with time alone.
#[derive(Clone, Copy)]
struct Newest {
    at: Instant,
    oldest_asked_at_ms: Option<u64>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Status {
    status: &'static str,
}

impl Counted {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let counted = Self {
            questions_pending: Gauge::default(),
            questions_overdue: Gauge::default(),
            question_oldest_seconds: Gauge::default(),
            operations_open: Gauge::default(),
            operations_in_doubt: Gauge::default(),
            runs: Family::default(),
            age_seconds: Gauge::default(),
            newest: Mutex::default(),
            counting: tokio::sync::Mutex::default(),
        };
        let c = &counted;
        let mut register = |name: &str, help: &str, gauge: &Gauge| {
            registry.register(name, format!("{help}; as of counted_age_seconds ago"), gauge.clone());
        };
        register("questions_pending", "Questions that wait for an answer", &c.questions_pending);
        register("questions_overdue", "Pending questions whose deadline has come", &c.questions_overdue);
        register("operations_open", "Operations without an outcome", &c.operations_open);
        register("operations_in_doubt", "Operations whose outcome is unknown", &c.operations_in_doubt);
        let help = "Age of the oldest pending question in seconds, 0 when none is pending; of those that were counted";
        registry.register("question_oldest_seconds", help, c.question_oldest_seconds.clone());
        let help = "Runs that are pending or running, by status, at most 10000; as of counted_age_seconds ago";
        registry.register("runs", help, c.runs.clone());
        let help = "Age of the counts of questions, operations and runs: up to 5 seconds; where counting takes long, as old as the reading before";
        registry.register("counted_age_seconds", help, c.age_seconds.clone());
        counted
    }

    /// Sees to it that the figures are there, and as fresh as they can be had quickly.
    ///
    /// # Errors
    /// The store's, where there are no figures yet.
    pub(super) async fn current(&self, context: &Context) -> Result<(), Problem> {
        match self.newest() {
            None => self.count_if_old(context).await?,
            Some(newest) if newest.is_young() => {}
            // Somebody counts already.
            Some(_) if self.counting.try_lock().is_err() => {}
            Some(_) => {
                let context = context.clone();
                let counting = tokio::spawn(async move {
                    if let Err(problem) = context.metrics().counted().count_if_old(&context).await {
                        tracing::warn!(detail = problem.detail, "what waits could not be counted");
                    }
                });
                // Out of patience, the figures are for the next reader.
                let _ = tokio::time::timeout(PATIENCE, counting).await;
            }
        }
        if let Some(Newest { at, oldest_asked_at_ms }) = self.newest() {
            let age_ms = oldest_asked_at_ms.map_or(0, |at_ms| context.now_ms().saturating_sub(at_ms));
            self.question_oldest_seconds.set(Duration::from_millis(age_ms).as_secs_f64());
            self.age_seconds.set(at.elapsed().as_secs_f64());
        }
        Ok(())
    }

    async fn count_if_old(&self, context: &Context) -> Result<(), Problem> {
        let _counting = self.counting.lock().await;
        match self.newest() {
            Some(newest) if newest.is_young() => Ok(()),
            _ => self.count(context).await,
        }
    }

    async fn count(&self, context: &Context) -> Result<(), Problem> {
        let at = Instant::now();
        let store = context.store();
        let QuestionCounts { pending, overdue, oldest_asked_at_ms } =
            store.count_questions(None, context.now_ms()).await?;
        let operations = store.count_operations(None).await?;
        let mut runs = Vec::new();
        for status in [RunStatus::Pending, RunStatus::Running] {
            let filter = RunFilter { status: Some(status), limit: COUNTED_MAX, ..RunFilter::default() };
            runs.push((status, store.runs(&filter).await?.len()));
        }
        self.questions_pending.set(signed(pending));
        self.questions_overdue.set(signed(overdue));
        self.operations_open.set(signed(operations.open));
        self.operations_in_doubt.set(signed(operations.in_doubt));
        for (status, count) in runs {
            self.runs.get_or_create(&Status { status: status.name() }).set(signed(count as u64));
        }
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Newest { at, oldest_asked_at_ms });
        Ok(())
    }

    fn newest(&self) -> Option<Newest> {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Newest {
    fn is_young(self) -> bool {
        self.at.elapsed() < YOUNG
    }
}
