//! API keys.

use std::sync::Arc;

use holdpoint_graph::digest::Digest;

use super::scene::{NOW_MS, tenant};
use crate::access::ApiKeyRecord;
use crate::store::{Error, Store};

fn key(name: &str, of: &str, secret: &str) -> ApiKeyRecord {
    ApiKeyRecord {
        name: name.to_owned(),
        digest: Digest::of_bytes(secret.as_bytes()),
        tenant: tenant(of),
        roles: vec!["approver".to_owned(), "viewer".to_owned()],
        groups: vec!["finance".to_owned(), "ü \" \u{0}".to_owned()],
        created_at_ms: NOW_MS,
        created_by: "cli:ana".to_owned(),
        expires_at_ms: None,
        revoked_at_ms: None,
    }
}

async fn put(store: &Arc<dyn Store>, key: &ApiKeyRecord) -> Result<(), Error> {
    store.put_key(key.clone(), Vec::new()).await
}

/// Keys come back whole, by digest and by tenant, oldest first.
pub async fn keys_come_back_whole(store: Arc<dyn Store>) {
    let first = ApiKeyRecord { expires_at_ms: Some(NOW_MS + 9), ..key("bot", "acme", "1") };
    let second = ApiKeyRecord { roles: Vec::new(), groups: Vec::new(), created_at_ms: 1, ..key("ana", "acme", "2") };
    let other = key("bot", "other", "3");
    for each in [&first, &second, &other] {
        assert_eq!(put(&store, each).await, Ok(()));
    }
    assert_eq!(store.key(&second.digest).await, Ok(Some(second.clone())));
    assert_eq!(store.key(&Digest::of_bytes(b"unknown")).await, Ok(None));
    assert_eq!(store.keys(None).await, Ok(vec![first.clone(), second.clone(), other]));
    assert_eq!(store.keys(Some(&tenant("acme"))).await, Ok(vec![first, second]));
    assert_eq!(store.keys(Some(&tenant("nobody"))).await, Ok(Vec::new()));
}

/// Of a tenant's keys that stand each name is there once, and no secret twice.
pub async fn a_keys_name_and_digest_are_taken(store: Arc<dyn Store>) {
    assert_eq!(put(&store, &key("bot", "acme", "1")).await, Ok(()));
    for taken in [key("bot", "acme", "2"), key("ana", "acme", "1"), key("bot", "other", "1")] {
        let outcome = put(&store, &taken).await;
        assert!(matches!(outcome, Err(Error::Exists(_))), "{outcome:?}");
    }
    assert_eq!(put(&store, &key("bot", "other", "2")).await, Ok(()), "another tenant's");
    let acme = tenant("acme");
    assert_eq!(store.revoke_key(&acme, "bot", NOW_MS + 5, Vec::new()).await, Ok(true));
    assert_eq!(store.revoke_key(&acme, "bot", NOW_MS + 6, Vec::new()).await, Ok(false));
    assert_eq!(store.revoke_key(&acme, "unknown", NOW_MS, Vec::new()).await, Ok(false));
    let revoked = ApiKeyRecord { revoked_at_ms: Some(NOW_MS + 5), ..key("bot", "acme", "1") };
    assert_eq!(store.key(&revoked.digest).await, Ok(Some(revoked)));
    assert!(matches!(put(&store, &key("ana", "acme", "1")).await, Err(Error::Exists(_))), "its secret is used up");
    assert_eq!(put(&store, &key("bot", "acme", "3")).await, Ok(()), "its name is not");
    let stands = store.key(&Digest::of_bytes(b"2")).await.expect("readable").expect("there");
    assert_eq!(stands.revoked_at_ms, None);
}
