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
//! * [`threads`], [`values`], [`checkpointer`], [`subgraphs`], [`questions`], [`operations`], [`exchange`], [`reads`], [`listing`],
//!   [`retention`], [`shared`], [`writers`], [`decisions`], [`wakes`], [`once`], [`inbox`], [`runs`], [`entries`], [`ends`], [`trail`], [`access`]: the clauses, by topic.

pub mod scene;

pub mod checkpointer;
pub mod exchange;
pub mod listing;
pub mod operations;
pub mod questions;
pub mod reads;
pub mod retention;
pub mod shared;
pub mod subgraphs;
pub mod threads;
pub mod values;
pub mod writers;

pub mod access;
pub mod decisions;
pub mod ends;
pub mod entries;
pub mod inbox;
pub mod once;
pub mod runs;
pub mod trail;
pub mod wakes;

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
            threads::threads_are_listed_by_graph,
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
            checkpointer::the_newest_checkpoint_and_the_one_named_are_the_same,
            checkpointer::several_checkpoints_stay_as_they_were,
            checkpointer::a_channel_may_begin_later,
            checkpointer::a_beginning_shows_only_its_own_channels,
            checkpointer::metadata_comes_back_with_members_of_the_callers,
            checkpointer::threads_are_isolated,
            checkpointer::namespaces_are_isolated,
            checkpointer::several_tasks_keep_their_writes,
            checkpointer::recording_a_task_again_is_idempotent,
            checkpointer::the_next_checkpoint_has_no_tasks_yet,
            checkpointer::a_thousand_tasks_fit_one_commit,
            subgraphs::a_snapshot_shows_the_runs_of_unfinished_tasks,
            subgraphs::a_finished_tasks_run_is_not_shown,
            subgraphs::tasks_of_one_step_have_their_own_runs,
            subgraphs::a_history_shows_no_runs,
            subgraphs::a_tasks_run_must_be_a_subgraphs,
            subgraphs::a_parent_is_of_the_same_namespace,
            subgraphs::the_head_is_the_threads_own,
            subgraphs::pinning_moves_thread_and_head,
            subgraphs::an_outcome_wakes_who_waits_in_a_subgraph,
            questions::a_task_is_replaced,
            questions::tasks_come_back_whole_in_order_of_path,
            questions::a_question_comes_back_whole,
            questions::a_question_asked_again_stays_as_it_is,
            questions::an_answer_settles_a_question,
            questions::a_question_can_be_superseded,
            questions::a_question_that_is_called_off_closes_its_links,
            questions::a_question_can_be_cancelled,
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
            operations::operations_are_their_threads_tenants,
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
            listing::a_list_is_of_one_namespace,
            listing::metadata_filters_by_equal_members,
            listing::sources_and_steps_filter,
            listing::limit_and_before_go_with_filters,
            listing::a_list_shows_whole_checkpoints,
            listing::an_outline_is_the_whole_thread,
            retention::keeping_the_newest_keeps_its_values,
            retention::what_is_kept_keeps_its_tasks,
            retention::keeping_everything_is_no_change,
            retention::branches_keep_what_they_share,
            retention::namespaces_keep_their_own,
            retention::a_waiting_thread_can_be_answered_afterwards,
            retention::what_the_head_stands_on_must_be_kept,
            retention::a_fenced_retention_removes_nothing,
            retention::operations_outlive_their_checkpoints,
            retention::what_is_left_can_be_deleted,
            retention::what_is_removed_is_on_the_record,
            retention::a_threads_bytes_are_its_own,
            shared::a_result_is_used_again_until_its_end,
            shared::a_newer_result_takes_the_place,
            shared::a_refused_commits_results_are_not_used,
            shared::clearing_takes_what_has_expired_or_everything,
            shared::versions_come_newest_first,
            shared::a_version_is_stored_once,
            writers::of_writers_at_one_epoch_one_writes,
            writers::a_zombie_can_neither_write_nor_remove,
            writers::a_removal_and_a_claim_are_one_after_the_other,
            writers::a_removal_is_seen_whole,
            writers::a_version_registered_at_once_is_there_once,
            decisions::proceedings_come_back_whole,
            decisions::the_deadline_is_the_first_moment_too_late,
            decisions::what_has_no_deadline_does_not_expire,
            decisions::a_change_that_does_not_fit_writes_nothing,
            decisions::of_two_votes_on_one_reading_one_counts,
            decisions::of_decision_and_expiry_one_wins,
            decisions::a_change_is_one_write,
            wakes::an_answer_wakes_its_thread,
            wakes::a_thread_that_parks_after_an_answer_runs_on,
            wakes::a_thread_that_parks_after_its_doubt_was_settled_runs_on,
            once::a_key_is_used_once,
            once::a_link_is_used_once,
            inbox::a_question_comes_with_its_thread,
            inbox::questions_are_listed_in_their_orders,
            inbox::pages_of_questions_follow_each_other,
            inbox::questions_are_filtered,
            inbox::a_copied_question_is_found_where_it_is_pending,
            inbox::due_questions_come_longest_due_first,
            inbox::waiting_questions_are_counted,
            inbox::a_deleted_threads_questions_are_gone,
            runs::a_run_comes_back_whole,
            runs::runs_are_listed_newest_first,
            runs::a_run_may_ask_to_be_alone,
            runs::the_next_run_is_the_oldest_of_an_idle_thread,
            runs::a_run_changes_with_its_threads_commit,
            entries::a_new_thread_has_an_entry,
            entries::an_entry_keeps_its_id_for_its_tenant,
            entries::metadata_is_merged,
            entries::entries_have_the_status_that_callers_see,
            entries::entries_are_ordered_filtered_and_paged,
            entries::an_entry_is_deleted_after_its_thread,
            ends::a_run_is_wanted_ended,
            ends::a_rollback_stands_until_it_is_carried_out,
            ends::a_run_knows_where_it_began,
            ends::an_entry_goes_when_its_time_is_over,
            ends::a_session_opens_until_it_ends,
            trail::what_takes_place_is_on_the_record,
            trail::records_are_listed_oldest_first,
            trail::concurrent_writers_make_one_chain,
            trail::a_breach_is_found,
            access::keys_come_back_whole,
            access::a_keys_name_and_digest_are_taken,
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
            include_str!("checkpointer.rs"),
            include_str!("subgraphs.rs"),
            include_str!("questions.rs"),
            include_str!("operations.rs"),
            include_str!("exchange.rs"),
            include_str!("reads.rs"),
            include_str!("listing.rs"),
            include_str!("retention.rs"),
            include_str!("shared.rs"),
            include_str!("writers.rs"),
            include_str!("decisions.rs"),
            include_str!("wakes.rs"),
            include_str!("once.rs"),
            include_str!("inbox.rs"),
            include_str!("runs.rs"),
            include_str!("entries.rs"),
            include_str!("ends.rs"),
            include_str!("trail.rs"),
            include_str!("access.rs"),
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
