//! Who may come in: API keys, approval links and sessions. Secrets are never stored, only their digests.

use async_trait::async_trait;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{QuestionId, Tenant, ThreadId};
use serde_json::Value;

use crate::audit::AuditEntry;
use crate::store::Error;

/// An API key, without the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyRecord {
    /// Its name, one of its tenant's: who the holder is on the record (`key:NAME`).
    pub name: String,
    /// Digest of the key. The key is 32 random bytes, so nothing slower than SHA-256 is needed.
    pub digest: Digest,
    /// Whose it is.
    pub tenant: Tenant,
    /// What the holder may do, by role name.
    pub roles: Vec<String>,
    /// The groups that the holder belongs to.
    pub groups: Vec<String>,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Who made it.
    pub created_by: String,
    /// From when it opens nothing any more.
    pub expires_at_ms: Option<u64>,
    /// When it was revoked.
    pub revoked_at_ms: Option<u64>,
}

/// A link that lets one person decide one question once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkRecord {
    /// Digest of the link's secret.
    pub digest: Digest,
    /// The question's thread.
    pub thread: ThreadId,
    /// The question.
    pub question: QuestionId,
    /// For whom it was made: a user's id.
    pub subject: String,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// From when it opens nothing any more.
    pub expires_at_ms: u64,
    /// When it was used, or revoked because the question was answered.
    pub used_at_ms: Option<u64>,
}

/// Somebody who is logged in.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRecord {
    /// Digest of the session's secret.
    pub digest: Digest,
    /// Who it is and what they may do. What is in it is the server's matter; no secret ever is.
    pub caller: Value,
    /// When it began, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// From when it opens nothing any more.
    pub expires_at_ms: u64,
}

/// API keys, approval links and sessions.
#[async_trait]
pub trait Access: Send + Sync {
    /// Stores a key, and puts `audit` on the record.
    ///
    /// # Errors
    /// [`Error::Exists`] when the tenant has a key of this name that is not revoked, or the digest is there.
    async fn put_key(&self, key: ApiKeyRecord, audit: Vec<AuditEntry>) -> Result<(), Error>;

    /// A key by its digest, whatever became of it.
    async fn key(&self, digest: &Digest) -> Result<Option<ApiKeyRecord>, Error>;

    /// All keys, oldest first.
    async fn keys(&self, tenant: Option<&Tenant>) -> Result<Vec<ApiKeyRecord>, Error>;

    /// Revokes a tenant's key by name. False when none of this name stands.
    async fn revoke_key(&self, tenant: &Tenant, name: &str, at_ms: u64, audit: Vec<AuditEntry>) -> Result<bool, Error>;

    /// Stores links.
    async fn put_links(&self, links: Vec<LinkRecord>) -> Result<(), Error>;

    /// A link by its digest, whatever became of it.
    async fn link(&self, digest: &Digest) -> Result<Option<LinkRecord>, Error>;

    /// Stores a session; replaces the one of the same digest.
    async fn put_session(&self, session: SessionRecord) -> Result<(), Error>;

    /// A session by its digest, whether or not its time is over.
    async fn session(&self, digest: &Digest) -> Result<Option<SessionRecord>, Error>;

    /// Ends a session. False when it is not there.
    async fn delete_session(&self, digest: &Digest) -> Result<bool, Error>;

    /// Removes sessions whose time is over at `now_ms`. Gives their number.
    async fn clear_sessions(&self, now_ms: u64) -> Result<u64, Error>;
}
