//! Browsers that signed in. What the cookie holds is random; the store holds its digest, so that any host of the store knows the session, also after a
//! restart, and whoever reads the store does not have it.

use axum::http::{HeaderMap, header};
use holdpoint_engine::{Authentication, Principal};
use holdpoint_graph::actor::{Actor, Basis as ActorBasis};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::Tenant;
use holdpoint_store::{SessionRecord, Store};
use serde::{Deserialize, Serialize};

use super::keys;
use crate::caller::{Caller, Role};
use crate::problem::Problem;

/// The cookie of those who signed in.
pub(super) const COOKIE: &str = "holdpoint_session";

/// The cookie of those who need no session, for what their pages give to forms.
pub(super) const PAGE_COOKIE: &str = "holdpoint_page";

/// How long a session lasts.
pub(super) const LASTS_MS: u64 = 12 * 60 * 60 * 1000;

/// Longest content of a cookie of ours, in bytes.
const COOKIE_BYTES_MAX: usize = 128;

/// What a session stands on.
#[derive(Debug, Clone)]
pub(super) enum Basis {
    /// An API key, looked up anew with each request: a revoked one ends its sessions.
    Key(Digest),
    /// A token, which ended at sign-in what it had to prove.
    Token(Box<Caller>),
}

/// Begins a session. Gives what the cookie has to hold.
///
/// # Errors
/// The store's.
pub(super) async fn begin(
    store: &dyn Store,
    basis: &Basis,
    expires_at_ms: u64,
    now_ms: u64,
) -> Result<String, Problem> {
    let id = keys::secret();
    let caller = serde_json::to_value(Stored::of(basis)).expect("invariant: texts and numbers have a JSON form");
    let record = SessionRecord { digest: keys::digest(&id), caller, created_at_ms: now_ms, expires_at_ms };
    store.put_session(record).await?;
    Ok(id)
}

/// What the session of a cookie stands on; none when there is none, or it is over.
///
/// # Errors
/// The store's.
pub(super) async fn find(store: &dyn Store, id: &str, now_ms: u64) -> Result<Option<Basis>, Problem> {
    if id.is_empty() || id.len() > COOKIE_BYTES_MAX {
        return Ok(None);
    }
    let found = store.session(&keys::digest(id)).await?.filter(|session| now_ms < session.expires_at_ms);
    // What a newer version wrote and this one cannot read opens nothing.
    Ok(found.and_then(|session| Stored::deserialize(&session.caller).ok()?.basis()))
}

/// Ends a session.
///
/// # Errors
/// The store's.
pub(super) async fn end(store: &dyn Store, id: &str) -> Result<(), Problem> {
    store.delete_session(&keys::digest(id)).await?;
    Ok(())
}

/// What one of our cookies holds.
pub(super) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|line| line.split(';')).find_map(|cookie| match cookie.trim().split_once('=') {
        Some((own, value)) if own == name && value.len() <= COOKIE_BYTES_MAX => Some(value),
        _ => None,
    })
}

/// What is stored of a basis. Members are only ever added.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stored {
    Key { digest: String },
    Token(StoredCaller),
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredCaller {
    actor: String,
    tenant: String,
    groups: Vec<String>,
    role: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    authenticated_at_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    acr: Option<String>,
}

impl Stored {
    fn of(basis: &Basis) -> Self {
        match basis {
            Basis::Key(digest) => Self::Key { digest: digest.as_str().to_owned() },
            Basis::Token(caller) => {
                let Principal { actor, groups, tenant, authenticated } = &caller.principal;
                Self::Token(StoredCaller {
                    actor: actor.id.clone(),
                    tenant: tenant.as_str().to_owned(),
                    groups: groups.iter().cloned().collect(),
                    role: caller.role.map(|role| role.name().to_owned()),
                    authenticated_at_ms: authenticated.as_ref().map(|authenticated| authenticated.at_ms),
                    acr: authenticated.as_ref().and_then(|authenticated| authenticated.acr.clone()),
                })
            }
        }
    }

    /// None for what is not ours: it is not taken for less than it said.
    fn basis(self) -> Option<Basis> {
        match self {
            Self::Key { digest } => Digest::parse(digest).ok().map(Basis::Key),
            Self::Token(stored) => {
                let role = match stored.role {
                    None => None,
                    Some(name) => Some(Role::parse(&name)?),
                };
                let principal = Principal {
                    actor: Actor { id: stored.actor, basis: ActorBasis::Token },
                    groups: stored.groups.into_iter().collect(),
                    tenant: Tenant::parse(stored.tenant).ok()?,
                    authenticated: stored.authenticated_at_ms.map(|at_ms| Authentication { at_ms, acr: stored.acr }),
                };
                Some(Basis::Token(Box::new(Caller { principal, role, by_cookie: false, page: None })))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use holdpoint_store::Access as _;
    use holdpoint_store::memory::MemoryStore;

    use super::*;

    fn by_token() -> Basis {
        let principal = Principal {
            actor: Actor { id: "user:4f".into(), basis: ActorBasis::Token },
            groups: BTreeSet::from(["finance".to_owned()]),
            tenant: Tenant::parse("acme").expect("a tenant"),
            authenticated: Some(Authentication { at_ms: 7, acr: Some("mfa".into()) }),
        };
        Basis::Token(Box::new(Caller { principal, role: Some(Role::Approver), by_cookie: false, page: None }))
    }

    #[tokio::test]
    async fn a_session_begins_and_ends() {
        let store = MemoryStore::default();
        let digest = Digest::of_bytes(b"key");
        let id = begin(&store, &Basis::Key(digest.clone()), 100, 0).await.expect("stored");
        match find(&store, &id, 99).await.expect("readable") {
            Some(Basis::Key(found)) => assert_eq!(found, digest),
            other => panic!("{other:?}"),
        }
        assert!(find(&store, &id, 100).await.expect("readable").is_none(), "over");
        assert!(find(&store, "another", 0).await.expect("readable").is_none());
        assert!(find(&store, "", 0).await.expect("readable").is_none());
        end(&store, &id).await.expect("stored");
        assert!(find(&store, &id, 0).await.expect("readable").is_none());
    }

    #[tokio::test]
    async fn who_signed_in_with_a_token_is_found_as_they_were() {
        let store = MemoryStore::default();
        let id = begin(&store, &by_token(), 100, 0).await.expect("stored");
        let record = store.session(&keys::digest(&id)).await.expect("readable").expect("there");
        assert!(!record.caller.to_string().contains(&id), "no secret is stored");
        match (find(&store, &id, 1).await.expect("readable"), by_token()) {
            (Some(Basis::Token(found)), Basis::Token(caller)) => assert_eq!(found, caller),
            other => panic!("{other:?}"),
        }
        for odd in [
            serde_json::json!({ "token": { "actor": "user:4f", "tenant": "acme", "groups": [], "role": "king" } }),
            serde_json::json!({ "token": { "actor": "user:4f", "tenant": "", "groups": [], "role": null } }),
            serde_json::json!({ "key": { "digest": "x" } }),
            serde_json::json!({ "other": {} }),
        ] {
            let record = SessionRecord { caller: odd.clone(), ..record.clone() };
            store.put_session(record).await.expect("stored");
            assert!(find(&store, &id, 1).await.expect("readable").is_none(), "{odd}");
        }
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let cookies = "a=b; holdpoint_session=x-_1; c=d";
        let headers = HeaderMap::from_iter([(header::COOKIE, cookies.parse().expect("a value"))]);
        assert_eq!((cookie(&headers, COOKIE), cookie(&headers, PAGE_COOKIE)), (Some("x-_1"), None));
        let long = format!("{COOKIE}={}", "x".repeat(COOKIE_BYTES_MAX + 1));
        let headers = HeaderMap::from_iter([(header::COOKIE, long.parse().expect("a value"))]);
        assert_eq!(cookie(&headers, COOKIE), None);
    }
}
