//! Questions across threads: listed, found, due, counted.

use std::collections::BTreeSet;
use std::sync::Arc;

use holdpoint_graph::ids::{Epoch, GraphName, QuestionId};

use super::scene::{self, NOW_MS, apply, create, decide, expire, replace, tenant, thread, update};
use crate::approvals::{QuestionChange, QuestionCounts, QuestionFilter, ThreadQuestion};
use crate::records::{QuestionRecord, QuestionStatus, Settlement, ThreadStatus};
use crate::store::{Commit, Expect, Store};

/// A question as these clauses draw it: its deadline and when it was asked, in milliseconds after now.
type Drawn = (Option<u64>, u64);

/// Creates an interrupted thread of a tenant's graph with these questions.
async fn asking(store: &Arc<dyn Store>, name: &str, of: &str, graph: &str, drawn: &[Drawn]) -> Vec<QuestionRecord> {
    let task = scene::task(name, 0, "pull:pay");
    let asked = |(occurrence, (deadline, asked)): (u32, &Drawn)| QuestionRecord {
        deadline_at_ms: deadline.map(|deadline| NOW_MS + deadline),
        due_at_ms: deadline.map(|deadline| NOW_MS + deadline),
        asked_at_ms: NOW_MS + asked,
        ..scene::question(&task, name, occurrence)
    };
    let questions: Vec<QuestionRecord> = (0..).zip(drawn).map(asked).collect();
    let mut commit = Commit { tasks: vec![task], questions: questions.clone(), ..create(name, replace([])) };
    if let Expect::New(new) = &mut commit.expect {
        new.tenant = tenant(of);
        new.graph_name = GraphName::parse(graph).expect("invariant: a valid graph name");
    }
    apply(store, commit).await;
    apply(store, Commit { status: ThreadStatus::Interrupted, release: true, ..update(name, 1) }).await;
    questions
}

/// Any question, of everybody.
fn all(limit: usize) -> QuestionFilter {
    QuestionFilter { status: None, ..QuestionFilter::pending(limit) }
}

async fn listed(store: &Arc<dyn Store>, filter: &QuestionFilter) -> Vec<(String, u32)> {
    let found = store.questions(filter).await.expect("the store can be read");
    found.into_iter().map(|found| (found.thread.to_string(), found.question.occurrence)).collect()
}

fn expected(places: &[(&str, u32)]) -> Vec<(String, u32)> {
    places.iter().map(|(name, occurrence)| ((*name).to_owned(), *occurrence)).collect()
}

/// A question is listed with what its thread tells.
pub async fn a_question_comes_with_its_thread(store: Arc<dyn Store>) {
    let mut questions = asking(&store, "t", "acme", "incident", &[(Some(5), 1)]).await;
    let expected = ThreadQuestion {
        thread: thread("t"),
        tenant: tenant("acme"),
        graph_name: GraphName::parse("incident").expect("valid"),
        thread_status: ThreadStatus::Interrupted,
        question: questions.remove(0),
    };
    assert_eq!(store.questions(&QuestionFilter::pending(9)).await, Ok(vec![expected.clone()]));
    assert_eq!(store.questions(&all(9)).await, Ok(vec![expected.clone()]));
    assert_eq!(store.due_questions(NOW_MS + 5, 9).await, Ok(vec![expected.clone()]));
    assert_eq!(store.find_question(&expected.question.id).await, Ok(Some(expected.clone())));
    assert_eq!(store.find_question(&scene::question_id(&scene::task("t", 7, "x"), "t", 0)).await, Ok(None));
    apply(&store, Commit { status: ThreadStatus::Failed, ..update("t", 1) }).await;
    let failed = ThreadQuestion { thread_status: ThreadStatus::Failed, ..expected };
    assert_eq!(store.questions(&QuestionFilter::pending(9)).await, Ok(vec![failed]));
}

/// Pending ones come soonest deadline first, those without one last, newer ones first among equals; others newest first.
pub async fn questions_are_listed_in_their_orders(store: Arc<dyn Store>) {
    let questions =
        asking(&store, "a", "default", "refund", &[(None, 1), (Some(9), 1), (Some(5), 1), (Some(9), 2), (None, 7)])
            .await;
    asking(&store, "b", "default", "refund", &[(Some(9), 2), (Some(1), 0), (None, 7)]).await;
    let pending = [("b", 1), ("a", 2), ("a", 3), ("b", 0), ("a", 1), ("a", 4), ("b", 2), ("a", 0)];
    assert_eq!(listed(&store, &QuestionFilter::pending(99)).await, expected(&pending));
    assert_eq!(listed(&store, &QuestionFilter::pending(3)).await, expected(&pending[..3]));
    assert_eq!(listed(&store, &QuestionFilter::pending(0)).await, expected(&[]));
    let newest = [("a", 4), ("b", 2), ("a", 3), ("b", 0), ("a", 0), ("a", 1), ("a", 2), ("b", 1)];
    assert_eq!(listed(&store, &all(99)).await, expected(&newest));
    // What is closed leaves one list for the other.
    for place in [4, 1] {
        assert!(store.change_question(decide("a", &questions[place], "user:ana")).await.is_ok());
    }
    let supersede = Settlement::Supersede { question: questions[2].id.clone() };
    let epoch = store.thread(&thread("a")).await.expect("readable").expect("there").epoch.0;
    apply(&store, Commit { settlements: vec![supersede], ..update("a", epoch) }).await;
    let left = [("b", 1), ("a", 3), ("b", 0), ("b", 2), ("a", 0)];
    assert_eq!(listed(&store, &QuestionFilter::pending(99)).await, expected(&left));
    let in_status = |status| QuestionFilter { status: Some(status), ..all(99) };
    assert_eq!(listed(&store, &in_status(QuestionStatus::Answered)).await, expected(&[("a", 4), ("a", 1)]));
    assert_eq!(listed(&store, &in_status(QuestionStatus::Superseded)).await, expected(&[("a", 2)]));
    assert_eq!(listed(&store, &all(99)).await, expected(&newest));
    assert_eq!(listed(&store, &all(2)).await, expected(&newest[..2]));
}

/// Page after page shows every question once, whatever is closed in between.
pub async fn pages_of_questions_follow_each_other(store: Arc<dyn Store>) {
    let drawn: Vec<Drawn> = (0..20).map(|number| ((number % 3 > 0).then_some(number % 5), number % 4)).collect();
    for name in ["a", "b"] {
        asking(&store, name, "default", "refund", &drawn).await;
    }
    let filters = [
        QuestionFilter::pending(3),
        all(3),
        QuestionFilter { tenant: Some(tenant("default")), ..QuestionFilter::pending(7) },
        QuestionFilter { tenant: Some(tenant("default")), ..all(7) },
        QuestionFilter { thread: Some(thread("a")), ..QuestionFilter::pending(1) },
        QuestionFilter { graph_name: Some(GraphName::parse("refund").expect("valid")), ..all(4) },
        QuestionFilter { deadline_until_ms: Some(NOW_MS + 3), ..QuestionFilter::pending(2) },
    ];
    for filter in filters {
        let whole = listed(&store, &QuestionFilter { limit: 99, ..filter.clone() }).await;
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page = store.questions(&QuestionFilter { after, ..filter.clone() }).await.expect("readable");
            let Some(last) = page.last() else { break };
            after = Some(last.question.id.clone());
            paged.extend(page.iter().map(|found| (found.thread.to_string(), found.question.occurrence)));
            assert!(paged.len() <= whole.len(), "{filter:?}: pages repeat");
        }
        assert_eq!(paged, whole, "{filter:?}");
    }
    // One that was closed still says where the next page begins.
    let before = listed(&store, &QuestionFilter::pending(99)).await;
    let first = store.questions(&QuestionFilter::pending(3)).await.expect("readable").pop().expect("there are some");
    let closing = decide(first.thread.as_str(), &first.question, "user:ana");
    assert!(store.change_question(QuestionChange { at_ms: NOW_MS - 1, ..closing }).await.is_ok());
    let next = QuestionFilter { after: Some(first.question.id), ..QuestionFilter::pending(99) };
    assert_eq!(listed(&store, &next).await, before[3..]);
    let unknown = scene::question_id(&scene::task("t", 7, "x"), "t", 0);
    assert_eq!(listed(&store, &QuestionFilter { after: Some(unknown), ..all(9) }).await, expected(&[]));
}

/// Each member of a filter leaves out what it says, and all of them go together.
pub async fn questions_are_filtered(store: Arc<dyn Store>) {
    let acme = asking(&store, "acme", "acme", "refund", &[(Some(5), 0), (None, 0), (Some(6), 0)]).await;
    asking(&store, "other", "other", "refund", &[(Some(4), 0)]).await;
    asking(&store, "incident", "acme", "incident", &[(Some(7), 0)]).await;
    assert!(store.change_question(decide("acme", &acme[2], "user:ana")).await.is_ok());
    let graph = |name| GraphName::parse(name).expect("valid");
    let pending = QuestionFilter::pending(99);
    let answered = Some(QuestionStatus::Answered);
    let cases: [(QuestionFilter, &[(&str, u32)]); 13] = [
        (
            QuestionFilter { tenant: Some(tenant("acme")), ..pending.clone() },
            &[("acme", 0), ("incident", 0), ("acme", 1)],
        ),
        (QuestionFilter { tenant: Some(tenant("nobody")), ..pending.clone() }, &[]),
        (QuestionFilter { tenant: Some(tenant("acme")), status: answered, ..pending.clone() }, &[("acme", 2)]),
        (QuestionFilter { tenant: Some(tenant("other")), status: answered, ..pending.clone() }, &[]),
        (QuestionFilter { graph_name: Some(graph("incident")), ..pending.clone() }, &[("incident", 0)]),
        (QuestionFilter { thread: Some(thread("acme")), ..all(99) }, &[("acme", 0), ("acme", 1), ("acme", 2)]),
        (QuestionFilter { thread: Some(thread("acme")), ..pending.clone() }, &[("acme", 0), ("acme", 1)]),
        (QuestionFilter { thread: Some(thread("nobody")), ..all(99) }, &[]),
        (QuestionFilter { thread: Some(thread("acme")), tenant: Some(tenant("other")), ..all(99) }, &[]),
        (QuestionFilter { deadline_until_ms: Some(NOW_MS + 5), ..pending.clone() }, &[("other", 0), ("acme", 0)]),
        (QuestionFilter { deadline_until_ms: Some(NOW_MS + 6), ..all(99) }, &[("other", 0), ("acme", 0)]),
        (QuestionFilter { deadline_until_ms: Some(u64::MAX), status: answered, ..all(99) }, &[]),
        (
            QuestionFilter {
                deadline_until_ms: Some(u64::MAX),
                graph_name: Some(graph("refund")),
                tenant: Some(tenant("acme")),
                thread: Some(thread("acme")),
                ..pending
            },
            &[("acme", 0)],
        ),
    ];
    for (filter, places) in cases {
        assert_eq!(listed(&store, &filter).await, expected(places), "{filter:?}");
    }
}

/// Of a question that several threads have, the pending one is found, else the first.
pub async fn a_copied_question_is_found_where_it_is_pending(store: Arc<dyn Store>) {
    let task = scene::task("original", 0, "pull:pay");
    let question = scene::question(&task, "original", 0);
    let closed = QuestionRecord { status: QuestionStatus::Superseded, ..question.clone() };
    let copy = |name, question: &QuestionRecord| Commit {
        tasks: vec![task.clone()],
        questions: vec![question.clone()],
        ..create(name, replace([]))
    };
    apply(&store, copy("first", &closed)).await;
    apply(&store, copy("original", &question)).await;
    apply(&store, copy("last", &closed)).await;
    let found = async || {
        let found = store.find_question(&question.id).await.expect("the store can be read").expect("it is there");
        found.thread.to_string()
    };
    assert_eq!(found().await, "original");
    assert!(store.change_question(decide("original", &question, "user:ana")).await.is_ok());
    assert_eq!(found().await, "first");
    // Pages get past all of them.
    let after = |after: Option<QuestionId>| QuestionFilter { after, ..all(1) };
    let mut seen = BTreeSet::new();
    let mut last = None;
    for _ in 0..4 {
        let Some(next) = store.questions(&after(last.clone())).await.expect("readable").pop() else { break };
        seen.insert(next.thread.to_string());
        last = Some(next.question.id);
    }
    assert!(!seen.is_empty() && store.questions(&after(last)).await == Ok(Vec::new()), "{seen:?}");
}

/// What has to be looked at comes when its moment has come, the longest due first, until it is closed or put off.
pub async fn due_questions_come_longest_due_first(store: Arc<dyn Store>) {
    let questions = asking(&store, "t", "acme", "refund", &[(Some(9), 0), (None, 0), (Some(3), 0), (Some(3), 5)]).await;
    let due = async |now_ms: u64, limit| {
        let found = store.due_questions(now_ms, limit).await.expect("the store can be read");
        found.into_iter().map(|found| found.question.occurrence).collect::<Vec<_>>()
    };
    assert!(due(NOW_MS + 2, 9).await.is_empty());
    assert_eq!(due(NOW_MS + 3, 9).await, [2, 3]);
    assert_eq!(due(NOW_MS + 3, 1).await, [2]);
    assert_eq!(due(u64::MAX, 9).await, [2, 3, 0]);
    let put_off = QuestionChange { due_at_ms: Some(NOW_MS + 20), ..scene::change("t", &questions[2]) };
    assert!(store.change_question(put_off).await.is_ok());
    assert_eq!(due(u64::MAX, 9).await, [3, 0, 2]);
    assert!(store.change_question(expire("t", &questions[3], NOW_MS + 3)).await.is_ok());
    let supersede = Settlement::Supersede { question: questions[0].id.clone() };
    apply(&store, Commit { settlements: vec![supersede], ..update("t", 2) }).await;
    assert_eq!(due(u64::MAX, 9).await, [2]);
}

/// Counts are of pending ones; at its deadline one is overdue.
pub async fn waiting_questions_are_counted(store: Arc<dyn Store>) {
    let none = QuestionCounts { pending: 0, overdue: 0, oldest_asked_at_ms: None };
    assert_eq!(store.count_questions(None, NOW_MS).await, Ok(none));
    let acme = asking(&store, "t", "acme", "refund", &[(Some(9), 1), (None, 3), (Some(3), 7)]).await;
    asking(&store, "u", "other", "refund", &[(Some(3), 0)]).await;
    let counts =
        |pending, overdue, oldest| Ok(QuestionCounts { pending, overdue, oldest_asked_at_ms: Some(NOW_MS + oldest) });
    assert_eq!(store.count_questions(None, NOW_MS + 2).await, counts(4, 0, 0));
    assert_eq!(store.count_questions(None, NOW_MS + 3).await, counts(4, 2, 0));
    let acmes = tenant("acme");
    assert_eq!(store.count_questions(Some(&acmes), NOW_MS + 3).await, counts(3, 1, 1));
    assert_eq!(
        store.count_questions(Some(&acmes), u64::MAX).await,
        counts(3, 2, 1),
        "without a deadline none is overdue"
    );
    assert!(store.change_question(decide("t", &acme[0], "user:ana")).await.is_ok());
    assert_eq!(store.count_questions(Some(&acmes), NOW_MS + 3).await, counts(2, 1, 3));
    assert_eq!(store.count_questions(Some(&tenant("nobody")), NOW_MS).await, Ok(none));
}

/// A thread's questions go with it.
pub async fn a_deleted_threads_questions_are_gone(store: Arc<dyn Store>) {
    let questions = asking(&store, "t", "acme", "refund", &[(Some(9), 1)]).await;
    assert_eq!(store.delete_thread(&thread("t"), Epoch(1), Vec::new()).await, Ok(()));
    assert_eq!(store.find_question(&questions[0].id).await, Ok(None));
    assert_eq!(store.questions(&all(9)).await, Ok(Vec::new()));
    assert_eq!(store.due_questions(u64::MAX, 9).await, Ok(Vec::new()));
    let outcome = store.change_question(decide("t", &questions[0], "user:ana")).await;
    assert!(matches!(outcome, Err(crate::Error::QuestionNotFound { .. })), "{outcome:?}");
}
