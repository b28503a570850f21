//! Stores around stores: each writes down only what it changes.
//!
//! ```
//! # use std::sync::Arc;
//! # use async_trait::async_trait;
//! # use holdpoint_store::conformance::scene;
//! # use holdpoint_store::forward::Forward;
//! # use holdpoint_store::{Commit, Error, MemoryStore, Store};
//! /// Takes no commits.
//! struct Closed(Arc<dyn Store>);
//!
//! #[async_trait]
//! impl Forward for Closed {
//!     fn inner(&self) -> &dyn Store {
//!         self.0.as_ref()
//!     }
//!
//!     async fn commit(&self, _commit: Commit) -> Result<(), Error> {
//!         Err(Error::ReadOnly("closed".to_owned()))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let store: Arc<dyn Store> = Arc::new(Closed(Arc::new(MemoryStore::new())));
//! assert!(store.commit(scene::create("t", scene::replace([]))).await.is_err());
//! assert_eq!(store.thread(&scene::thread("t")).await, Ok(None));
//! # }
//! ```

use async_trait::async_trait;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, Epoch, QuestionId, RunId, Tenant, ThreadId};
use holdpoint_graph::nodes::Command;
use holdpoint_graph::operation::{OperationHit, OperationKey, OperationRecord};
use serde_json::{Map, Value};

use crate::access::{Access, ApiKeyRecord, LinkRecord, SessionRecord};
use crate::approvals::{
    Approvals, Changed, QuestionChange, QuestionCounts, QuestionFilter, ReplyRecord, ThreadQuestion,
};
use crate::audit::{AuditEntry, AuditFilter, AuditRecord, AuditTrail, ChainHead};
use crate::records::{Outline, QuestionRecord, Snapshot, ThreadRecord, VersionKind, VersionRecord};
use crate::runs::{
    EntryFilter, RunCancel, RunFilter, RunRecord, RunUpdate, Runs, ThreadEntry, ThreadExpiry, ThreadSummary,
};
use crate::store::{
    Commit, Content, Error, HistoryFilter, Journal, OperationCounts, OperationFilter, Statistics, Store, ThreadBytes,
    ThreadFilter,
};

/// Makes [`Forward`], which passes each method on by its hook, and the traits of a store for whatever implements it.
macro_rules! forwarding {
    ($($trait:ident {
        $(= { $($own:tt)* })?
        $($hook:ident $method:ident($($argument:ident: $type:ty),*) -> $output:ty;)*
    })*) => {
        /// A store around another one. Each method does what the inner store's does, until it is written anew: what implements this trait is a
        /// [`Store`].
        #[async_trait]
        pub trait Forward: Send + Sync {
            /// The store inside.
            fn inner(&self) -> &dyn Store;

            /// Awaits each call of the inner store that only reads.
            async fn read<T, C>(&self, call: C) -> Result<T, Error>
            where
                T: Send,
                C: Future<Output = Result<T, Error>> + Send,
            {
                call.await
            }

            /// Awaits each call of the inner store that may write.
            async fn write<T, C>(&self, call: C) -> Result<T, Error>
            where
                T: Send,
                C: Future<Output = Result<T, Error>> + Send,
            {
                call.await
            }

            $($(
                #[doc = concat!("In the place of [`", stringify!($trait), "::", stringify!($method), "`].")]
                async fn $method(&self, $($argument: $type),*) -> Result<$output, Error> {
                    self.$hook(self.inner().$method($($argument),*)).await
                }
            )*)*
        }

        $(
            #[async_trait]
            impl<F: Forward> $trait for F {
                $(
                    async fn $method(&self, $($argument: $type),*) -> Result<$output, Error> {
                        Forward::$method(self, $($argument),*).await
                    }
                )*

                $($($own)*)?
            }
        )*
    };
}

forwarding! {
    Store {
        = {
            fn statistics(&self) -> Statistics {
                self.inner().statistics()
            }
        }
        write commit(commit: Commit) -> ();
        read thread(thread: &ThreadId) -> Option<ThreadRecord>;
        read threads(filter: &ThreadFilter) -> Vec<ThreadRecord>;
        read snapshot(thread: &ThreadId, checkpoint: Option<&CheckpointId>) -> Option<Snapshot>;
        read history(thread: &ThreadId, filter: &HistoryFilter) -> Vec<Snapshot>;
        read outline(thread: &ThreadId) -> Vec<Outline>;
        write retain(thread: &ThreadId, epoch: Epoch, keep: &[CheckpointId], audit: Vec<AuditEntry>) -> u64;
        read thread_bytes(thread: &ThreadId) -> ThreadBytes;
        read count_operations(tenant: Option<&Tenant>) -> OperationCounts;
        read cached(key: &Digest, now_ms: u64) -> Option<Command>;
        write clear_cache(now_ms: Option<u64>) -> u64;
        write put_version(version: VersionRecord, audit: Vec<AuditEntry>) -> ();
        read versions(kind: VersionKind, name: Option<&str>) -> Vec<VersionRecord>;
        read question(thread: &ThreadId, question: &QuestionId) -> Option<QuestionRecord>;
        write delete_thread(thread: &ThreadId, epoch: Epoch, audit: Vec<AuditEntry>) -> ();
        write put_contents(contents: Vec<Content>) -> ();
        read content(digest: &Digest) -> Option<Vec<u8>>;
        read missing_contents(digests: &[Digest]) -> Vec<Digest>;
    }

    Journal {
        read operation(key: &OperationKey) -> Option<OperationRecord>;
        read operations(thread: &ThreadId) -> Vec<OperationRecord>;
        read find_operations(filter: &OperationFilter) -> Vec<OperationRecord>;
        read due_operations(now_ms: u64, limit: usize) -> Vec<OperationRecord>;
        read hits(key: &OperationKey) -> Vec<OperationHit>;
        write exchange_operation(
            expected: &OperationRecord,
            next: OperationRecord,
            at_ms: u64,
            audit: Vec<AuditEntry>
        ) -> bool;
    }

    Approvals {
        write change_question(change: QuestionChange) -> Changed;
        read find_question(question: &QuestionId) -> Option<ThreadQuestion>;
        read questions(filter: &QuestionFilter) -> Vec<ThreadQuestion>;
        read due_questions(now_ms: u64, limit: usize) -> Vec<ThreadQuestion>;
        read count_questions(tenant: Option<&Tenant>, now_ms: u64) -> QuestionCounts;
        read reply(actor: &str, key: &str, now_ms: u64) -> Option<ReplyRecord>;
        write clear_replies(now_ms: u64) -> u64;
    }

    Runs {
        write put_entry(entry: ThreadEntry, audit: Vec<AuditEntry>) -> ();
        write merge_metadata(
            thread: &ThreadId,
            metadata: Map<String, Value>,
            at_ms: u64,
            audit: Vec<AuditEntry>
        ) -> ThreadEntry;
        write set_expiry(
            thread: &ThreadId,
            expiry: Option<ThreadExpiry>,
            at_ms: u64,
            audit: Vec<AuditEntry>
        ) -> ThreadEntry;
        read due_entries(now_ms: u64, limit: usize) -> Vec<ThreadEntry>;
        read entry(thread: &ThreadId) -> Option<ThreadSummary>;
        read entries(filter: &EntryFilter) -> Vec<ThreadSummary>;
        read count_entries(filter: &EntryFilter) -> u64;
        write delete_entry(thread: &ThreadId, audit: Vec<AuditEntry>) -> bool;
        write put_run(run: RunRecord, alone: bool, audit: Vec<AuditEntry>) -> ();
        read run(run: &RunId) -> Option<RunRecord>;
        read runs(filter: &RunFilter) -> Vec<RunRecord>;
        read next_runs(now_ms: u64, limit: usize) -> Vec<RunRecord>;
        write request_cancel(run: &RunId, cancel: RunCancel, at_ms: u64, audit: Vec<AuditEntry>) -> ();
        read cancel_requests(limit: usize) -> Vec<RunRecord>;
        write update_run(update: RunUpdate, at_ms: u64, audit: Vec<AuditEntry>) -> ();
        write delete_run(run: &RunId) -> bool;
    }

    AuditTrail {
        write put_audit(entries: Vec<AuditEntry>) -> ();
        read audit(filter: &AuditFilter) -> Vec<AuditRecord>;
        read audit_head() -> ChainHead;
    }

    Access {
        write put_key(key: ApiKeyRecord, audit: Vec<AuditEntry>) -> ();
        read key(digest: &Digest) -> Option<ApiKeyRecord>;
        read keys(tenant: Option<&Tenant>) -> Vec<ApiKeyRecord>;
        write revoke_key(tenant: &Tenant, name: &str, at_ms: u64, audit: Vec<AuditEntry>) -> bool;
        write put_links(links: Vec<LinkRecord>) -> ();
        read link(digest: &Digest) -> Option<LinkRecord>;
        write put_session(session: SessionRecord) -> ();
        read session(digest: &Digest) -> Option<SessionRecord>;
        write delete_session(digest: &Digest) -> bool;
        write clear_sessions(now_ms: u64) -> u64;
    }
}
