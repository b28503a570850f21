//! API keys, approval links and sessions.

use async_trait::async_trait;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::Tenant;
use rusqlite::{Row, params};

use super::failure::Result;
use super::rows::{self, integer};
use super::session::Session;
use super::{SqliteStore, forms, statements, trail};
use crate::access::{Access, ApiKeyRecord, LinkRecord, SessionRecord};
use crate::audit::AuditEntry;
use crate::check;
use crate::store::Error;

fn put_key(session: &Session, key: &ApiKeyRecord, audit: &[AuditEntry]) -> Result<()> {
    let parameters = params![
        key.digest.as_str(),
        key.name,
        key.tenant.as_str(),
        integer(key.created_at_ms),
        key.created_by,
        key.expires_at_ms.map(integer),
        key.revoked_at_ms.map(integer),
        forms::write(&key.roles),
        forms::write(&key.groups),
    ];
    if session.execute(statements::KEY_INSERT, parameters)? == 0 {
        return Err(check::key_exists(&key.name).into());
    }
    trail::extend(session, audit)
}

fn revoke_key(session: &Session, tenant: &Tenant, name: &str, at_ms: u64, audit: &[AuditEntry]) -> Result<bool> {
    if session.execute(statements::KEY_REVOKE, params![tenant.as_str(), name, integer(at_ms)])? == 0 {
        return Ok(false);
    }
    trail::extend(session, audit)?;
    Ok(true)
}

fn put_links(session: &Session, links: &[LinkRecord]) -> Result<()> {
    for link in links {
        let parameters = params![
            link.digest.as_str(),
            link.thread.as_str(),
            link.question.as_str(),
            link.subject,
            integer(link.created_at_ms),
            integer(link.expires_at_ms),
            link.used_at_ms.map(integer),
        ];
        session.execute(statements::LINK_INSERT, parameters)?;
    }
    Ok(())
}

fn key(row: &Row<'_>) -> Result<ApiKeyRecord> {
    Ok(ApiKeyRecord {
        name: row.get("name")?,
        digest: rows::digest(row, "digest")?,
        tenant: rows::id(row, "tenant")?,
        roles: forms::read(rows::text(row, "roles")?)?,
        groups: forms::read(rows::text(row, "groups")?)?,
        created_at_ms: rows::unsigned(row, "created_at_ms")?,
        created_by: row.get("created_by")?,
        expires_at_ms: rows::optional_unsigned(row, "expires_at_ms")?,
        revoked_at_ms: rows::optional_unsigned(row, "revoked_at_ms")?,
    })
}

fn link(row: &Row<'_>) -> Result<LinkRecord> {
    Ok(LinkRecord {
        digest: rows::digest(row, "digest")?,
        thread: rows::id(row, "thread_id")?,
        question: rows::id(row, "question_id")?,
        subject: row.get("subject")?,
        created_at_ms: rows::unsigned(row, "created_at_ms")?,
        expires_at_ms: rows::unsigned(row, "expires_at_ms")?,
        used_at_ms: rows::optional_unsigned(row, "used_at_ms")?,
    })
}

fn session(row: &Row<'_>) -> Result<SessionRecord> {
    Ok(SessionRecord {
        digest: rows::digest(row, "digest")?,
        caller: forms::read(rows::text(row, "caller")?)?,
        created_at_ms: rows::unsigned(row, "created_at_ms")?,
        expires_at_ms: rows::unsigned(row, "expires_at_ms")?,
    })
}

#[async_trait]
impl Access for SqliteStore {
    async fn put_key(&self, key: ApiKeyRecord, audit: Vec<AuditEntry>) -> std::result::Result<(), Error> {
        check::key(&key)?;
        check::audit(&audit)?;
        self.write(false, move |session| put_key(session, &key, &audit)).await
    }

    async fn key(&self, digest: &Digest) -> std::result::Result<Option<ApiKeyRecord>, Error> {
        let digest = digest.clone();
        self.readers.read(move |session| session.first(statements::KEY_SELECT, params![digest.as_str()], key)).await
    }

    async fn keys(&self, tenant: Option<&Tenant>) -> std::result::Result<Vec<ApiKeyRecord>, Error> {
        let tenant = tenant.cloned();
        let read =
            move |session: &Session| session.all(statements::KEYS, params![tenant.as_ref().map(Tenant::as_str)], key);
        self.readers.read(read).await
    }

    async fn revoke_key(
        &self,
        tenant: &Tenant,
        name: &str,
        at_ms: u64,
        audit: Vec<AuditEntry>,
    ) -> std::result::Result<bool, Error> {
        check::revocation(at_ms)?;
        check::audit(&audit)?;
        let (tenant, name) = (tenant.clone(), name.to_owned());
        self.write(false, move |session| revoke_key(session, &tenant, &name, at_ms, &audit)).await
    }

    async fn put_links(&self, links: Vec<LinkRecord>) -> std::result::Result<(), Error> {
        links.iter().try_for_each(check::link)?;
        self.write(false, move |session| put_links(session, &links)).await
    }

    async fn link(&self, digest: &Digest) -> std::result::Result<Option<LinkRecord>, Error> {
        let digest = digest.clone();
        self.readers.read(move |session| session.first(statements::LINK_SELECT, params![digest.as_str()], link)).await
    }

    async fn put_session(&self, record: SessionRecord) -> std::result::Result<(), Error> {
        check::session(&record)?;
        let caller = forms::write(&record.caller);
        let put = move |session: &Session| {
            let (created_at_ms, expires_at_ms) = (integer(record.created_at_ms), integer(record.expires_at_ms));
            let parameters = params![record.digest.as_str(), created_at_ms, expires_at_ms, caller];
            session.execute(statements::SESSION_UPSERT, parameters)?;
            Ok(())
        };
        self.write(false, put).await
    }

    async fn session(&self, digest: &Digest) -> std::result::Result<Option<SessionRecord>, Error> {
        let digest = digest.clone();
        let read = move |reader: &Session| reader.first(statements::SESSION_SELECT, params![digest.as_str()], session);
        self.readers.read(read).await
    }

    async fn delete_session(&self, digest: &Digest) -> std::result::Result<bool, Error> {
        let digest = digest.clone();
        let delete =
            move |session: &Session| Ok(session.execute(statements::SESSION_DELETE, params![digest.as_str()])? == 1);
        self.write(false, delete).await
    }

    async fn clear_sessions(&self, now_ms: u64) -> std::result::Result<u64, Error> {
        let clear = move |session: &Session| {
            Ok(rows::counted(session.execute(statements::SESSIONS_CLEAR, params![integer(now_ms)])?))
        };
        self.write(false, clear).await
    }
}
