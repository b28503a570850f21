//! Nodes that perform nothing.

use std::sync::Arc;

use async_trait::async_trait;
use holdpoint_graph::nodes::{EffectMode, JournalError, NodeCall, NodeReport, Nodes, TaskJournal, TaskReport};
use holdpoint_graph::operation::OperationRecord;

/// Executes as another does, with operations answered from their records or withheld.
pub(super) struct QuietNodes(pub(super) Arc<dyn Nodes>);

#[async_trait]
impl Nodes for QuietNodes {
    async fn run(&self, call: NodeCall) -> NodeReport {
        // The second guard: should anything want to be durable before it leaves, it is refused.
        let journal = Arc::new(RefusingJournal);
        self.0.run(NodeCall { effects: EffectMode::Recorded, journal, ..call }).await
    }
}

/// Stores nothing and passes nothing on: what a node says while it is looked at, it has said before.
pub(super) struct RefusingJournal;

#[async_trait]
impl TaskJournal for RefusingJournal {
    async fn store(&self, _records: Vec<OperationRecord>) -> Result<(), JournalError> {
        Err(JournalError::Unavailable("a verification stores nothing".to_owned()))
    }

    fn report(&self, _report: TaskReport) {}
}
