//! The audit trail: every change on the record, in chains without gaps.

use std::sync::Arc;

use holdpoint_graph::ids::{Epoch, Tenant};
use holdpoint_graph::operation::{OperationRecord, OperationState};

use super::scene::{self, NOW_MS, apply, audit, create, decide, replace, run, step, tenant, thread, update};
use crate::access::ApiKeyRecord;
use crate::approvals::QuestionChange;
use crate::audit::{AuditEntry, AuditFilter, AuditRecord, Breach, Verifier};
use crate::records::{VersionKind, VersionRecord};
use crate::runs::{RunStatus, ThreadEntry};
use crate::store::{Commit, Store};

const THREADS: [&str; 3] = ["t", "u", "v"];

/// All that is on the record, checked: the whole trail and that of each thread.
async fn verified(store: &Arc<dyn Store>) -> Vec<AuditRecord> {
    let everything = AuditFilter { limit: usize::MAX, ..AuditFilter::default() };
    let found = store.audit(&everything).await.expect("the store can be read");
    let mut verifier = Verifier::default();
    for record in &found {
        assert_eq!(verifier.check(record), Ok(()), "{record:?}");
        assert_eq!(AuditRecord::from_json(&record.to_json()).as_ref(), Ok(record));
    }
    assert_eq!(store.audit_head().await.as_ref(), Ok(verifier.head()));
    for name in THREADS {
        let filter = AuditFilter { thread: Some(thread(name)), ..everything.clone() };
        let own = store.audit(&filter).await.expect("the store can be read");
        let mut verifier = Verifier::of_one_thread();
        own.iter().for_each(|record| assert_eq!(verifier.check(record), Ok(()), "{record:?}"));
        let among = found.iter().filter(|record| record.thread == Some(thread(name))).cloned();
        assert_eq!(own, among.collect::<Vec<_>>());
    }
    found
}

fn kinds(records: &[AuditRecord]) -> Vec<&str> {
    records.iter().map(|record| record.kind.as_str()).collect()
}

fn version(content: &[u8]) -> VersionRecord {
    VersionRecord {
        kind: VersionKind::Graph,
        name: "refund".to_owned(),
        version: "1".to_owned(),
        digest: holdpoint_graph::digest::Digest::of_bytes(content),
        deployed_at_ms: NOW_MS,
        deployed_by: "cli:ana".to_owned(),
        gains: Vec::new(),
    }
}

/// Each write that can be put on the record is, and only when it takes place. A refused one leaves no gap.
pub async fn what_takes_place_is_on_the_record(store: Arc<dyn Store>) {
    assert_eq!(verified(&store).await, []);
    let one = |kind| vec![audit(kind, Some("t"))];
    let task = scene::task("t", 0, "pull:pay");
    let question = scene::question(&task, "t", 0);
    let operation = OperationRecord { state: OperationState::Intended, ..scene::operation("t", "op", &task) };
    let commit = Commit {
        tasks: vec![task],
        questions: vec![question.clone()],
        operations: vec![operation.clone()],
        audit: vec![audit("created", Some("t")), audit("host", None), audit("asked", Some("t"))],
        ..create("t", replace([]))
    };
    apply(&store, commit.clone()).await;
    assert!(store.commit(commit).await.is_err());
    assert!(store.commit(Commit { audit: one("stale"), ..update("t", 9) }).await.is_err());
    let invalid = Commit { audit: one("invalid"), ..step("t", 1, 1, 77, replace([])) };
    assert!(store.commit(invalid).await.is_err());
    let next = OperationRecord { state: OperationState::NotSent, ..operation.clone() };
    assert_eq!(store.exchange_operation(&operation, next.clone(), NOW_MS, one("settled")).await, Ok(true));
    assert_eq!(store.exchange_operation(&operation, next, NOW_MS, one("lost")).await, Ok(false));
    let decision = QuestionChange { audit: one("decided"), ..decide("t", &question, "user:ana") };
    assert!(store.change_question(decision.clone()).await.is_ok());
    assert!(store.change_question(decision).await.is_err());
    assert_eq!(store.put_version(version(b"one"), one("deployed")).await, Ok(()));
    assert_eq!(store.put_version(version(b"one"), one("again")).await, Ok(()));
    assert!(store.put_version(version(b"two"), one("forged")).await.is_err());
    assert_eq!(store.put_run(run("t", 1), false, one("run")).await, Ok(()));
    assert!(store.put_run(run("t", 1), false, one("run again")).await.is_err());
    let cancel = || scene::run_update(1, RunStatus::Pending, RunStatus::Interrupted);
    assert_eq!(store.update_run(cancel(), NOW_MS, one("cancelled")).await, Ok(()));
    assert!(store.update_run(cancel(), NOW_MS, one("cancelled again")).await.is_err());
    let entry = ThreadEntry::new(thread("u"), Tenant::default(), serde_json::Map::new(), NOW_MS);
    assert_eq!(store.put_entry(entry.clone(), one("entry")).await, Ok(()));
    assert!(store.put_entry(entry, one("entry again")).await.is_err());
    assert_eq!(store.put_audit(vec![audit("refused", Some("u")), audit("refused", None)]).await, Ok(()));
    assert_eq!(store.put_audit(Vec::new()).await, Ok(()));
    assert!(store.put_audit(vec![AuditEntry { at_ms: u64::MAX, ..audit("late", None) }]).await.is_err());
    assert!(store.delete_thread(&thread("t"), Epoch(9), one("not deleted")).await.is_err());
    assert_eq!(store.delete_thread(&thread("t"), Epoch(1), one("deleted")).await, Ok(()));
    assert_eq!(store.delete_entry(&thread("t"), one("removed")).await, Ok(true));
    let key = ApiKeyRecord {
        name: "bot".to_owned(),
        digest: holdpoint_graph::digest::Digest::of_bytes(b"key"),
        tenant: Tenant::default(),
        roles: Vec::new(),
        groups: Vec::new(),
        created_at_ms: NOW_MS,
        created_by: "cli:ana".to_owned(),
        expires_at_ms: None,
        revoked_at_ms: None,
    };
    assert_eq!(store.put_key(key.clone(), vec![audit("key", None)]).await, Ok(()));
    assert!(store.put_key(key, vec![audit("key again", None)]).await.is_err());
    let revoked = store.revoke_key(&Tenant::default(), "bot", NOW_MS, vec![audit("revoked", None)]).await;
    assert_eq!(revoked, Ok(true));
    assert_eq!(
        store.revoke_key(&Tenant::default(), "bot", NOW_MS, vec![audit("revoked again", None)]).await,
        Ok(false)
    );
    let found = verified(&store).await;
    let expected = [
        "created",
        "host",
        "asked",
        "settled",
        "decided",
        "deployed",
        "run",
        "cancelled",
        "entry",
        "refused",
        "refused",
        "deleted",
        "removed",
        "key",
        "revoked",
    ];
    assert_eq!(kinds(&found), expected, "the record of a deleted thread stays");
    let again = AuditRecord::chain(audit("created", Some("t")), &None, &None);
    assert_eq!(found[0], again, "all of it comes back");
}

/// Records come by thread and tenant, after a place, at most as many as wanted.
pub async fn records_are_listed_oldest_first(store: Arc<dyn Store>) {
    let of = |entry: AuditEntry, name: &str| AuditEntry { tenant: tenant(name), ..entry };
    let entries = vec![
        of(audit("1", Some("t")), "acme"),
        of(audit("2", None), "acme"),
        of(audit("3", Some("u")), "other"),
        of(audit("4", Some("t")), "other"),
        of(audit("5", Some("t")), "acme"),
    ];
    assert_eq!(store.put_audit(entries).await, Ok(()));
    verified(&store).await;
    let all = AuditFilter { limit: 9, ..AuditFilter::default() };
    let t = || Some(thread("t"));
    let acme = || Some(tenant("acme"));
    let cases: [(AuditFilter, &[&str]); 8] = [
        (AuditFilter { after: 3, ..all.clone() }, &["4", "5"]),
        (AuditFilter { after: 1, limit: 2, ..all.clone() }, &["2", "3"]),
        (AuditFilter { after: u64::MAX, ..all.clone() }, &[]),
        (AuditFilter { thread: t(), ..all.clone() }, &["1", "4", "5"]),
        (AuditFilter { thread: t(), after: 1, limit: 1, ..all.clone() }, &["4"]),
        (AuditFilter { tenant: acme(), ..all.clone() }, &["1", "2", "5"]),
        (AuditFilter { tenant: acme(), after: 2, ..all.clone() }, &["5"]),
        (AuditFilter { thread: t(), tenant: acme(), ..all }, &["1", "5"]),
    ];
    for (filter, expected) in cases {
        let found = store.audit(&filter).await.expect("the store can be read");
        assert_eq!(kinds(&found), expected, "{filter:?}");
    }
}

/// However many write at once, refused ones among them, the chains have no gap and no fork.
pub async fn concurrent_writers_make_one_chain(store: Arc<dyn Store>) {
    const WRITES: u64 = 40;
    for name in THREADS {
        apply(&store, Commit { audit: vec![audit("created", Some(name))], ..create(name, replace([])) }).await;
    }
    let mut writing = tokio::task::JoinSet::new();
    for name in THREADS {
        for writer in 0..2 {
            let store = Arc::clone(&store);
            writing.spawn(async move {
                let mut written = 0;
                for number in 0..WRITES {
                    let stored = writer * WRITES + number + 1;
                    // Every third is refused, half of those after the commit has begun to write.
                    let (epoch, parent) = match number % 6 {
                        0 => (7, 0),
                        3 => (1, 9_999),
                        _ => (1, 0),
                    };
                    let entries = vec![audit("step", Some(name)), audit("host", None), audit("step", Some("v"))];
                    let commit = Commit { audit: entries, ..step(name, epoch, stored, parent, replace([])) };
                    written += usize::from(store.commit(commit).await.is_ok());
                    if number % 5 == 0 {
                        store.put_audit(vec![audit("refused", Some(name))]).await.expect("the store can be written");
                        written += 1;
                    }
                }
                written
            });
        }
    }
    writing.join_all().await;
    let found = verified(&store).await;
    let of = |kind: &str| kinds(&found).into_iter().filter(|found| *found == kind).count();
    let steps = 6 * usize::try_from(WRITES - WRITES / 3 - 1).expect("few");
    assert_eq!((of("created"), of("host"), of("step"), of("refused")), (3, steps, 2 * steps, 48));
}

/// What was changed, removed or moved afterwards is found.
pub async fn a_breach_is_found(store: Arc<dyn Store>) {
    for number in 0..6 {
        let name = THREADS[number % 2];
        assert_eq!(store.put_audit(vec![audit("said", Some(name))]).await, Ok(()));
    }
    let sound = verified(&store).await;
    let verify = |records: &[AuditRecord]| {
        let mut verifier = Verifier::default();
        records.iter().try_for_each(|record| verifier.check(record))
    };
    assert_eq!(verify(&sound), Ok(()));
    let mut changed = sound.clone();
    changed[2].body.insert("number".to_owned(), serde_json::json!(0.2));
    assert_eq!(verify(&changed), Err(Breach::Changed { sequence: 3 }));
    let mut removed = sound.clone();
    removed.remove(2);
    assert_eq!(verify(&removed), Err(Breach::Broken { after: 2, found: 4 }));
    let mut moved = sound;
    moved.swap(2, 3);
    assert_eq!(verify(&moved), Err(Breach::Broken { after: 2, found: 4 }));
}
