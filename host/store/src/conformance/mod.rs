//! The suite that every store answers.
//!
//! A clause is one sentence about the traits, as a function that gets an empty store and panics where the store does not hold it. A store's
//! crate runs them all as tests of their own:
//!
//! ```
//! use holdpoint_store::conformance::Fixture;
//! use holdpoint_store::MemoryStore;
//!
//! fn memory() -> Fixture {
//!     Fixture::new(MemoryStore::new(), ())
//! }
//!
//! holdpoint_store::conformance_tests!(memory);
//! ```
//!
//! # Layout
//!
//! * [`scene`]: records and commits to play with, for other tests too.
//! * [`threads`], [`values`], [`questions`], [`operations`], [`exchange`], [`reads`]: the clauses, by topic.

pub mod scene;

pub mod exchange;
pub mod operations;
pub mod questions;
pub mod reads;
pub mod threads;
pub mod values;

use std::any::Any;
use std::sync::Arc;

use crate::store::Store;

/// An empty store, and what has to stay alive with it, such as a directory.
pub struct Fixture {
    /// The store. Dropped before the guard.
    pub store: Arc<dyn Store>,
    /// Dropped with the fixture.
    pub guard: Box<dyn Any + Send>,
}

impl Fixture {
    /// A store with its guard; `()` where there is nothing to guard.
    pub fn new(store: impl Store + 'static, guard: impl Any + Send) -> Self {
        Self { store: Arc::new(store), guard: Box::new(guard) }
    }
}

/// Runs all clauses, one after the other, each on a new store.
pub async fn run_all(factory: impl Fn() -> Fixture) {
    crate::conformance_tests!(@list run factory);
}

/// Makes a `#[tokio::test]` of each clause, in a module `conformance`, for the stores that the function makes.
#[macro_export]
macro_rules! conformance_tests {
    (@list $then:ident $factory:ident) => {
        $crate::conformance_tests! { @$then $factory;
            threads::a_new_thread_is_there_whole,
            threads::an_unknown_thread_is_not_found,
            threads::a_thread_is_created_once,
            threads::a_stale_epoch_writes_nothing,
            threads::a_claim_raises_the_epoch_by_one,
            threads::a_lease_belongs_to_an_owner,
            threads::of_two_claims_of_one_epoch_one_wins,
            threads::of_many_creations_one_wins,
            threads::status_and_error_are_replaced,
            threads::threads_are_listed_newest_change_first,
            threads::a_deleted_thread_is_gone_but_its_operations_stay,
            threads::deleting_is_guarded_by_the_epoch,
            threads::a_commit_that_does_not_fit_writes_nothing,
            values::every_kind_of_value_comes_back,
            values::changes_apply_to_the_parents_values,
            values::an_append_to_what_is_no_list_begins_one,
            values::replace_and_append_follow_each_other,
            values::branches_share_their_past_and_part,
            values::long_lists_come_back_at_every_checkpoint,
            values::one_commit_may_hold_a_chain_of_checkpoints,
            values::a_parent_must_be_stored,
            values::a_checkpoint_is_stored_once,
            values::checkpoints_come_back_whole,
            values::deep_values_come_back_and_deeper_ones_are_refused,
            questions::a_task_is_replaced,
            questions::tasks_come_back_whole_in_order_of_path,
            questions::a_question_comes_back_whole,
            questions::a_question_asked_again_stays_as_it_is,
            questions::an_answer_settles_a_question,
            questions::a_question_can_be_superseded,
            questions::a_second_answer_loses_and_writes_nothing,
            questions::of_concurrent_answers_one_wins,
            questions::an_unknown_question_refuses_the_commit,
            questions::a_question_needs_its_task,
            questions::questions_come_in_order_of_asking,
            operations::an_operation_is_replaced_under_its_key,
            operations::operations_in_every_state_come_back,
            operations::notes_and_the_settling_moment_come_back,
            operations::moments_out_of_range_are_refused,
            operations::keys_differ_by_each_part,
            operations::a_threads_operations_come_oldest_first,
            operations::operations_are_found_across_threads,
            operations::due_operations_come_longest_due_first,
            operations::hits_come_oldest_first_and_stay,
            operations::a_snapshot_shows_what_its_tasks_left_unsettled,
            operations::a_queued_operation_replaces_only_what_was_not_sent,
            exchange::an_exchange_replaces_what_is_as_expected,
            exchange::a_stale_exchange_writes_nothing,
            exchange::an_exchange_keeps_its_key,
            exchange::of_concurrent_exchanges_one_wins,
            exchange::an_outcome_wakes_the_threads_that_wait_for_it,
            exchange::a_woken_thread_can_be_claimed,
            exchange::what_is_no_outcome_wakes_nobody,
            exchange::names_in_doubt_are_compared_exactly,
            exchange::an_outcome_and_what_it_wakes_are_one_write,
            exchange::exchanges_count_as_commits_when_applied,
            reads::history_is_newest_first_and_pages,
            reads::an_older_checkpoint_shows_its_own_tasks,
            reads::a_snapshot_is_one_state,
            reads::contents_are_stored_under_their_digest,
            reads::commits_are_counted_when_applied,
        }
    };
    (@tests $factory:ident; $($group:ident::$clause:ident,)*) => {
        mod conformance {
            $(
                #[tokio::test]
                async fn $clause() {
                    let fixture = super::$factory();
                    $crate::conformance::$group::$clause(::std::sync::Arc::clone(&fixture.store)).await;
                }
            )*
        }
    };
    (@run $factory:ident; $($group:ident::$clause:ident,)*) => {
        $(
            let fixture = $factory();
            $crate::conformance::$group::$clause(Arc::clone(&fixture.store)).await;
        )*
    };
    (@names $factory:ident; $($group:ident::$clause:ident,)*) => { [$(stringify!($clause)),*] };
    ($factory:ident) => {
        $crate::conformance_tests! { @list tests $factory }
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_clause_is_forgotten() {
        let listed = crate::conformance_tests!(@list names none);
        let sources = [
            include_str!("threads.rs"),
            include_str!("values.rs"),
            include_str!("questions.rs"),
            include_str!("operations.rs"),
            include_str!("exchange.rs"),
            include_str!("reads.rs"),
        ];
        let written: Vec<&str> = sources
            .iter()
            .flat_map(|source| source.lines())
            .filter_map(|line| line.strip_prefix("pub async fn "))
            .filter_map(|rest| rest.split('(').next())
            .collect();
        assert_eq!(listed.as_slice(), written, "the list in `conformance_tests!` is the clauses in order");
    }
}
