//! Who asks, and what they may.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use holdpoint_engine::Principal;
use holdpoint_graph::digest::Digest;

use crate::problem::Problem;

/// What a caller may do. Each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    Viewer,
    /// Answer questions, as far as their policies allow.
    Approver,
    /// Run, update and delete threads, settle doubt.
    Operator,
    /// Deploy graphs, make keys, read the whole audit trail.
    Admin,
}

impl Role {
    /// All roles with their names.
    pub const NAMES: [(Self, &'static str); 4] =
        [(Self::Viewer, "viewer"), (Self::Approver, "approver"), (Self::Operator, "operator"), (Self::Admin, "admin")];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(role, _)| *role)
    }
}

/// What a page gives to its forms, and they give back: no other site knows it. Made of a secret that its caller sends with every request, so that
/// every host of a store, and one that was started again, expects the same.
#[derive(Clone, PartialEq, Eq)]
pub struct PageToken(String);

impl PageToken {
    /// Of a caller's secret: what a cookie holds, or an API key.
    pub fn of(secret: &[u8]) -> Self {
        let made = [b"holdpoint page\n", secret].concat();
        Self(Digest::of_bytes(&made).hex_digits().to_owned())
    }

    /// What the form holds.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a form gave it back. Digests are compared, so that the time tells nothing about the token.
    pub fn is(&self, given: &str) -> bool {
        Digest::of_bytes(given.as_bytes()) == Digest::of_bytes(self.0.as_bytes())
    }
}

impl std::fmt::Debug for PageToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("PageToken(..)")
    }
}

/// Whoever sent the request, as the identity layer has found. Every request has one: without it no handler runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who, with groups and tenant.
    pub principal: Principal,
    /// The highest role; none may not even look.
    pub role: Option<Role>,
    /// A browser whose identity rides on a cookie: its changes need the page's own token.
    pub by_cookie: bool,
    /// That token; none for whoever opens no pages.
    pub page: Option<PageToken>,
}

impl Caller {
    /// Refuses those who may not.
    ///
    /// # Errors
    /// 403 `HP0803`.
    pub fn require(&self, role: Role) -> Result<(), Problem> {
        if self.role.is_some_and(|own| own >= role) {
            return Ok(());
        }
        let own = self.role.map_or("none", Role::name);
        let detail = format!("{} has the role {own}; this needs the role {}", self.principal.actor.id, role.name());
        Err(Problem::forbidden("HP0803", detail).with_cure("use a key or account with that role"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            // A route without the identity layer: closed, not open.
            Problem::new(StatusCode::UNAUTHORIZED, "HP0801", "who asks is not known")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_others_have_other_tokens() {
        let token = PageToken::of(b"secret");
        assert!(token.is(token.as_str()) && PageToken::of(b"secret") == token);
        for other in ["", "secret", PageToken::of(b"other").as_str(), &token.as_str()[1..]] {
            assert!(!token.is(other), "{other}");
        }
        assert!(!format!("{token:?}").contains(token.as_str()));
    }
}
