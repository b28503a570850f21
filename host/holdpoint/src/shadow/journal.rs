//! The real journal, read-only, and what an execution read of it.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use holdpoint_graph::ids::ThreadId;
use holdpoint_graph::operation::{OperationHit, OperationKey, OperationRecord};
use holdpoint_store::{Error, Journal, OperationFilter, Store};

tokio::task_local! {
    /// The records that the execution which runs here has read. A sandbox reads the journal on the task that calls it.
    static READ: Arc<Mutex<Vec<OperationRecord>>>;
}

/// Runs an execution and gives the records that it read with its result.
pub(super) async fn noting<T>(execution: impl Future<Output = T>) -> (T, Vec<OperationRecord>) {
    let read = Arc::new(Mutex::new(Vec::new()));
    let result = READ.scope(Arc::clone(&read), execution).await;
    let read = std::mem::take(&mut *read.lock().unwrap_or_else(PoisonError::into_inner));
    (result, read)
}

/// A journal that takes nothing.
pub(super) struct ReadOnlyJournal(Arc<dyn Store>);

impl ReadOnlyJournal {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }
}

#[async_trait]
impl Journal for ReadOnlyJournal {
    async fn operation(&self, key: &OperationKey) -> Result<Option<OperationRecord>, Error> {
        let record = self.0.operation(key).await?;
        if let Some(record) = &record {
            // Outside of an execution nobody wants to know.
            let _ = READ.try_with(|read| {
                read.lock().unwrap_or_else(PoisonError::into_inner).push(record.clone());
            });
        }
        Ok(record)
    }

    async fn operations(&self, thread: &ThreadId) -> Result<Vec<OperationRecord>, Error> {
        self.0.operations(thread).await
    }

    async fn find_operations(&self, filter: &OperationFilter) -> Result<Vec<OperationRecord>, Error> {
        self.0.find_operations(filter).await
    }

    async fn due_operations(&self, now_ms: u64, limit: usize) -> Result<Vec<OperationRecord>, Error> {
        self.0.due_operations(now_ms, limit).await
    }

    async fn hits(&self, key: &OperationKey) -> Result<Vec<OperationHit>, Error> {
        self.0.hits(key).await
    }

    async fn exchange_operation(
        &self,
        expected: &OperationRecord,
        _next: OperationRecord,
        _at_ms: u64,
        _audit: Vec<holdpoint_store::AuditEntry>,
    ) -> Result<bool, Error> {
        Err(Error::ReadOnly(format!("operation {} is only looked at", expected.key.id)))
    }
}
