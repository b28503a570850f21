//! For tests: stores around stores.

#[doc(hidden)]
pub use async_trait::async_trait;

/// Implements [`Approvals`](crate::Approvals), [`Runs`](crate::Runs), [`AuditTrail`](crate::AuditTrail) and [`Access`](crate::Access) for a
/// wrapper, by the store in its field `inner`. The first closure says what is awaited in the place of each call to that store, the second what
/// in the place of [`change_question`](crate::Approvals::change_question).
///
/// ```text
/// forward_store!(Wrapped<H>, H: Hook, |_store, call| call, |store, change| store.hook.change(&*store.inner, change));
/// ```
#[macro_export]
macro_rules! forward_store {
    (
        $wrapper:ty $(, $generic:ident: $bound:path)?,
        |$store:ident, $call:ident| $pass:expr,
        |$changed:ident, $change:ident| $write:expr
    ) => {
        $crate::forward_store! { @impl Approvals for $wrapper $(, $generic: $bound)?;
            {
                async fn change_question(
                    &self,
                    $change: $crate::QuestionChange,
                ) -> ::std::result::Result<$crate::Changed, $crate::Error> {
                    let $changed = self;
                    $write.await
                }
            }
            |$store, $call| $pass;
            fn find_question(question: &$crate::forward::QuestionId) -> Option<$crate::ThreadQuestion>;
            fn questions(filter: &$crate::QuestionFilter) -> Vec<$crate::ThreadQuestion>;
            fn due_questions(now_ms: u64, limit: usize) -> Vec<$crate::ThreadQuestion>;
            fn count_questions(tenant: Option<&$crate::forward::Tenant>, now_ms: u64) -> $crate::QuestionCounts;
            fn reply(actor: &str, key: &str, now_ms: u64) -> Option<$crate::ReplyRecord>;
            fn clear_replies(now_ms: u64) -> u64;
        }

        $crate::forward_store! { @impl Runs for $wrapper $(, $generic: $bound)?;
            {}
            |$store, $call| $pass;
            fn put_entry(entry: $crate::ThreadEntry, audit: Vec<$crate::AuditEntry>) -> ();
            fn merge_metadata(
                thread: &$crate::forward::ThreadId,
                metadata: $crate::forward::Members,
                at_ms: u64
            ) -> $crate::ThreadEntry;
            fn entry(thread: &$crate::forward::ThreadId) -> Option<$crate::ThreadSummary>;
            fn entries(filter: &$crate::EntryFilter) -> Vec<$crate::ThreadSummary>;
            fn count_entries(filter: &$crate::EntryFilter) -> u64;
            fn delete_entry(thread: &$crate::forward::ThreadId, audit: Vec<$crate::AuditEntry>) -> bool;
            fn put_run(run: $crate::RunRecord, alone: bool, audit: Vec<$crate::AuditEntry>) -> ();
            fn run(run: &$crate::forward::RunId) -> Option<$crate::RunRecord>;
            fn runs(filter: &$crate::RunFilter) -> Vec<$crate::RunRecord>;
            fn next_runs(now_ms: u64, limit: usize) -> Vec<$crate::RunRecord>;
            fn update_run(update: $crate::RunUpdate, at_ms: u64, audit: Vec<$crate::AuditEntry>) -> ();
            fn delete_run(run: &$crate::forward::RunId) -> bool;
        }

        $crate::forward_store! { @impl AuditTrail for $wrapper $(, $generic: $bound)?;
            {}
            |$store, $call| $pass;
            fn put_audit(entries: Vec<$crate::AuditEntry>) -> ();
            fn audit(filter: &$crate::AuditFilter) -> Vec<$crate::AuditRecord>;
            fn audit_head() -> $crate::ChainHead;
        }

        $crate::forward_store! { @impl Access for $wrapper $(, $generic: $bound)?;
            {}
            |$store, $call| $pass;
            fn put_key(key: $crate::ApiKeyRecord, audit: Vec<$crate::AuditEntry>) -> ();
            fn key(digest: &$crate::forward::Digest) -> Option<$crate::ApiKeyRecord>;
            fn keys(tenant: Option<&$crate::forward::Tenant>) -> Vec<$crate::ApiKeyRecord>;
            fn revoke_key(
                tenant: &$crate::forward::Tenant,
                name: &str,
                at_ms: u64,
                audit: Vec<$crate::AuditEntry>
            ) -> bool;
            fn put_links(links: Vec<$crate::LinkRecord>) -> ();
            fn link(digest: &$crate::forward::Digest) -> Option<$crate::LinkRecord>;
        }
    };
    (
        @impl $name:ident for $wrapper:ty $(, $generic:ident: $bound:path)?;
        { $($own:tt)* }
        |$store:ident, $call:ident| $pass:expr;
        $(fn $method:ident($($argument:ident: $type:ty),*) -> $output:ty;)*
    ) => {
        #[$crate::forward::async_trait]
        impl$(<$generic: $bound>)? $crate::$name for $wrapper {
            $($own)*

            $(
                async fn $method(&self, $($argument: $type),*) -> ::std::result::Result<$output, $crate::Error> {
                    let $store = self;
                    let $call = $crate::$name::$method(&*self.inner, $($argument),*);
                    $pass.await
                }
            )*
        }
    };
}

#[doc(hidden)]
pub use holdpoint_graph::digest::Digest;
#[doc(hidden)]
pub use holdpoint_graph::ids::{QuestionId, RunId, Tenant, ThreadId};

#[doc(hidden)]
pub type Members = serde_json::Map<String, serde_json::Value>;
