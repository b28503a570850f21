//! API keys: `hp_` and 32 random bytes. Only their digests are stored, and they are looked up by digest: how long that takes tells nothing about a
//! key, since nobody can choose the digest's digits.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use holdpoint_engine::Principal;
use holdpoint_graph::actor::{Actor, Basis};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::Tenant;
use holdpoint_store::{ApiKeyRecord, AuditEntry, Store};
use serde_json::{Value, json};

use crate::caller::{Caller, Role};
use crate::problem::Problem;

/// What every key begins with, so that scanners for leaked secrets can find it.
pub const PREFIX: &str = "hp_";

/// Bytes of a secret.
const SECRET_BYTES: usize = 32;

/// Longest name of a key or a group, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// A new key and its digest. The key is shown once and kept nowhere.
pub fn generate() -> (String, Digest) {
    let key = format!("{PREFIX}{}", secret());
    let digest = digest(&key);
    (key, digest)
}

/// 32 random bytes as 43 characters that need no escape anywhere.
pub(crate) fn secret() -> String {
    let mut bytes = [0_u8; SECRET_BYTES];
    rand::fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The digest by which a key is stored.
pub fn digest(key: &str) -> Digest {
    Digest::of_bytes(key.as_bytes())
}

/// Whether a key opens anything.
pub fn is_valid(key: &ApiKeyRecord, now_ms: u64) -> bool {
    key.revoked_at_ms.is_none() && key.expires_at_ms.is_none_or(|expires_at_ms| now_ms < expires_at_ms)
}

/// A key that is to be made.
#[derive(Debug, Clone)]
pub struct Fresh {
    /// Its name, one of its tenant's.
    pub name: String,
    /// Whose it is.
    pub tenant: Tenant,
    /// What the holder may do, by role name.
    pub roles: Vec<String>,
    /// The groups that the holder belongs to.
    pub groups: Vec<String>,
    /// From when it opens nothing any more, in milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
    /// Who makes it.
    pub by: Actor,
}

impl Fresh {
    /// The key, what is stored of it, and what is put on the record.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn make(self, now_ms: u64) -> Result<(String, ApiKeyRecord, AuditEntry), String> {
        let Self { name, tenant, roles, groups, expires_at_ms, by } = self;
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(fine) {
            return Err(format!("`name` is not 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_`, `.` or `@`"));
        }
        if let Some(unknown) = roles.iter().find(|role| Role::parse(role).is_none()) {
            let known: Vec<&str> = Role::NAMES.iter().map(|(_, name)| *name).collect();
            return Err(format!("{unknown:?} is no role; there are {}", known.join(", ")));
        }
        if roles.is_empty() {
            return Err("a key without a role opens nothing".to_owned());
        }
        if groups.iter().any(|group| group.trim().is_empty() || group.len() > NAME_BYTES_MAX) {
            return Err("a group has no name, or too long a one".to_owned());
        }
        let (key, digest) = generate();
        let body = json!({
            "name": name, "roles": roles, "groups": groups, "expires_at_ms": expires_at_ms, "key_digest": digest.as_str(),
        });
        let entry = entry(&tenant, "key.created", by.clone(), now_ms, body);
        let record = ApiKeyRecord {
            name,
            digest,
            tenant,
            roles,
            groups,
            created_at_ms: now_ms,
            created_by: by.id,
            expires_at_ms,
            revoked_at_ms: None,
        };
        Ok((key, record, entry))
    }
}

/// What is put on the record of a key that is revoked.
pub fn revoked(tenant: &Tenant, name: &str, by: Actor, now_ms: u64) -> AuditEntry {
    entry(tenant, "key.revoked", by, now_ms, json!({ "name": name }))
}

fn entry(tenant: &Tenant, kind: &'static str, actor: Actor, at_ms: u64, body: Value) -> AuditEntry {
    let body = body.as_object().cloned().unwrap_or_default();
    AuditEntry { thread: None, tenant: tenant.clone(), at_ms, actor, kind, body }
}

/// The holder of a key; none when the key is unknown, expired or revoked.
pub(super) async fn caller(store: &dyn Store, digest: &Digest, now_ms: u64) -> Result<Option<Caller>, Problem> {
    let key = store.key(digest).await?.filter(|key| is_valid(key, now_ms));
    Ok(key.map(|key| Caller {
        principal: Principal {
            actor: Actor { id: format!("key:{}", key.name), basis: Basis::ApiKey },
            groups: key.groups.into_iter().collect(),
            tenant: key.tenant,
            authenticated: None,
        },
        role: key.roles.iter().filter_map(|role| Role::parse(role)).max(),
        by_cookie: false,
        page: None,
    }))
}

/// What a request shows to say who sent it: the API key header, or else a bearer token.
pub(super) fn credential(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get("x-api-key") {
        return Some(key.as_bytes());
    }
    let authorization = headers.get(axum::http::header::AUTHORIZATION)?.as_bytes();
    match authorization.split_at_checked("bearer ".len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => Some(token.trim_ascii()),
        // Another scheme is a credential too, though none that is known: its sender is not nobody.
        _ => Some(b""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_form_and_differ() {
        let ((one, digest_of_one), (other, _)) = (generate(), generate());
        assert_ne!(one, other);
        assert_eq!(one.len(), 46);
        assert!(one.starts_with(PREFIX));
        assert_eq!(digest_of_one, digest(&one));
    }

    #[test]
    fn credentials_are_found() {
        let of = |name: &'static str, value: &str| {
            let headers = HeaderMap::from_iter([(name.parse().expect("a name"), value.parse().expect("a value"))]);
            credential(&headers).map(|found| String::from_utf8_lossy(found).into_owned())
        };
        assert_eq!(of("x-api-key", "hp_1").as_deref(), Some("hp_1"));
        assert_eq!(of("authorization", "Bearer  hp_1 ").as_deref(), Some("hp_1"));
        assert_eq!(of("authorization", "bearer x").as_deref(), Some("x"));
        assert_eq!(of("authorization", "Basic eA==").as_deref(), Some(""));
        assert_eq!(of("accept", "*/*"), None);
    }
}
