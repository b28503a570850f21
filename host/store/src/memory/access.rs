//! API keys, approval links and sessions in memory.

use async_trait::async_trait;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{QuestionId, Tenant, ThreadId};

use super::thread::count;
use super::{MemoryStore, State};
use crate::access::{Access, ApiKeyRecord, LinkRecord, SessionRecord};
use crate::audit::AuditEntry;
use crate::check;
use crate::store::Error;

impl State {
    /// Closes the links to a question that nobody has used.
    pub(super) fn revoke_links(&mut self, thread: &ThreadId, question: &QuestionId, at_ms: u64) {
        let open =
            |link: &&mut LinkRecord| link.thread == *thread && link.question == *question && link.used_at_ms.is_none();
        self.links.values_mut().filter(open).for_each(|link| link.used_at_ms = Some(at_ms));
    }
}

#[async_trait]
impl Access for MemoryStore {
    async fn put_key(&self, key: ApiKeyRecord, audit: Vec<AuditEntry>) -> Result<(), Error> {
        check::key(&key)?;
        check::audit(&audit)?;
        let mut state = self.state();
        let in_the_way = |known: &ApiKeyRecord| {
            let stands = known.revoked_at_ms.is_none() && key.revoked_at_ms.is_none();
            known.digest == key.digest || (stands && known.tenant == key.tenant && known.name == key.name)
        };
        if state.keys.iter().any(in_the_way) {
            return Err(check::key_exists(&key.name));
        }
        state.keys.push(key);
        state.trail.extend(audit);
        Ok(())
    }

    async fn key(&self, digest: &Digest) -> Result<Option<ApiKeyRecord>, Error> {
        Ok(self.state().keys.iter().find(|key| key.digest == *digest).cloned())
    }

    async fn keys(&self, tenant: Option<&Tenant>) -> Result<Vec<ApiKeyRecord>, Error> {
        let state = self.state();
        let wanted = |key: &&ApiKeyRecord| tenant.is_none_or(|tenant| key.tenant == *tenant);
        Ok(state.keys.iter().filter(wanted).cloned().collect())
    }

    async fn revoke_key(&self, tenant: &Tenant, name: &str, at_ms: u64, audit: Vec<AuditEntry>) -> Result<bool, Error> {
        check::revocation(at_ms)?;
        check::audit(&audit)?;
        let mut state = self.state();
        let stands = |key: &&mut ApiKeyRecord| key.tenant == *tenant && key.name == name && key.revoked_at_ms.is_none();
        let Some(key) = state.keys.iter_mut().find(stands) else { return Ok(false) };
        key.revoked_at_ms = Some(at_ms);
        state.trail.extend(audit);
        Ok(true)
    }

    async fn put_links(&self, links: Vec<LinkRecord>) -> Result<(), Error> {
        links.iter().try_for_each(check::link)?;
        let mut state = self.state();
        for link in links {
            state.links.entry(link.digest.clone()).or_insert(link);
        }
        Ok(())
    }

    async fn link(&self, digest: &Digest) -> Result<Option<LinkRecord>, Error> {
        Ok(self.state().links.get(digest).cloned())
    }

    async fn put_session(&self, session: SessionRecord) -> Result<(), Error> {
        check::session(&session)?;
        self.state().sessions.insert(session.digest.clone(), session);
        Ok(())
    }

    async fn session(&self, digest: &Digest) -> Result<Option<SessionRecord>, Error> {
        Ok(self.state().sessions.get(digest).cloned())
    }

    async fn delete_session(&self, digest: &Digest) -> Result<bool, Error> {
        Ok(self.state().sessions.remove(digest).is_some())
    }

    async fn clear_sessions(&self, now_ms: u64) -> Result<u64, Error> {
        let mut state = self.state();
        let before = state.sessions.len();
        state.sessions.retain(|_, session| now_ms < session.expires_at_ms);
        Ok(count(before - state.sessions.len()))
    }
}
