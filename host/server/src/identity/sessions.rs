//! Browsers that signed in. What the cookie holds is random and means something only to this process; it is gone when the process ends.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderMap, header};
use holdpoint_engine::Principal;
use holdpoint_graph::digest::Digest;

use super::keys;
use crate::caller::Caller;

/// The cookie's name.
pub(super) const COOKIE: &str = "holdpoint_session";

/// How long a session lasts.
pub(super) const LASTS_MS: u64 = 12 * 60 * 60 * 1000;

/// Sessions at once. Above it those that end first are ended.
const SESSIONS_MAX: usize = 10_000;

/// What a session stands on.
#[derive(Clone)]
pub(super) enum Basis {
    /// An API key, looked up anew with each request: a revoked one ends its sessions.
    Key(Digest),
    /// A token, which ended at sign-in what it had to prove.
    Token(Box<Caller>),
}

pub(super) struct Sessions {
    /// By digest of what the cookie holds. Held for a look-up only, never across an await.
    sessions: Mutex<HashMap<Digest, Session>>,
    /// Of this process: pages' tokens are made with it.
    secret: String,
}

struct Session {
    basis: Basis,
    expires_at_ms: u64,
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self { sessions: Mutex::default(), secret: keys::secret() }
    }

    /// Begins a session. Gives what the cookie has to hold.
    pub(super) fn begin(&self, basis: Basis, expires_at_ms: u64, now_ms: u64) -> String {
        let id = keys::secret();
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() >= SESSIONS_MAX {
            sessions.retain(|_, session| now_ms < session.expires_at_ms);
        }
        if sessions.len() >= SESSIONS_MAX
            && let Some(first) = sessions.iter().min_by_key(|(_, session)| session.expires_at_ms)
        {
            let first = first.0.clone();
            sessions.remove(&first);
        }
        sessions.insert(keys::digest(&id), Session { basis, expires_at_ms });
        id
    }

    /// What the session of a cookie stands on; none when there is none.
    pub(super) fn find(&self, id: &str, now_ms: u64) -> Option<Basis> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let session = sessions.get(&keys::digest(id))?;
        (now_ms < session.expires_at_ms).then(|| session.basis.clone())
    }

    /// Ends a session.
    pub(super) fn end(&self, id: &str) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&keys::digest(id));
    }

    /// What pages of a caller give to their forms.
    pub(super) fn page_token(&self, principal: &Principal) -> String {
        let Principal { actor, tenant, .. } = principal;
        let who = Digest::of_bytes(format!("{}\n{}\n{tenant}", actor.basis.name(), actor.id).as_bytes());
        // Both parts have a fixed length, so nothing can be appended to what is digested.
        Digest::of_bytes(format!("{}{who}", self.secret).as_bytes()).hex_digits().to_owned()
    }

    /// Whether it is one. Digests are compared, so that the time tells nothing about the token.
    pub(super) fn is_page_token(&self, principal: &Principal, given: &str) -> bool {
        keys::digest(given) == keys::digest(&self.page_token(principal))
    }
}

/// What the session cookie of a request holds.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|line| line.split(';')).find_map(|cookie| match cookie.trim().split_once('=') {
        Some((COOKIE, value)) => Some(value),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_begins_and_ends() {
        let sessions = Sessions::new();
        let basis = || Basis::Key(Digest::of_bytes(b"key"));
        let id = sessions.begin(basis(), 100, 0);
        assert!(sessions.find(&id, 99).is_some());
        assert!(sessions.find(&id, 100).is_none(), "over");
        assert!(sessions.find("another", 0).is_none());
        sessions.end(&id);
        assert!(sessions.find(&id, 0).is_none());
    }

    #[test]
    fn pages_of_others_have_other_tokens() {
        let (sessions, other_process) = (Sessions::new(), Sessions::new());
        let mut principal = Principal::default();
        let token = sessions.page_token(&principal);
        assert!(sessions.is_page_token(&principal, &token));
        assert!(!other_process.is_page_token(&principal, &token));
        principal.actor.id.push('x');
        assert!(!sessions.is_page_token(&principal, &token));
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let headers =
            HeaderMap::from_iter([(header::COOKIE, "a=b; holdpoint_session=x-_1; c=d".parse().expect("a value"))]);
        assert_eq!(cookie(&headers), Some("x-_1"));
    }
}
