//! The audit trail, and API keys.

// The trail.

pub(in crate::sqlite) const AUDIT_HEAD: &str = "
    select sequence, digest from audit
    order by sequence desc
    limit 1";

pub(in crate::sqlite) const AUDIT_THREAD_HEAD: &str = "
    select thread_sequence, digest from audit
    where thread_id = ?1
    order by sequence desc
    limit 1";

pub(in crate::sqlite) const AUDIT_INSERT: &str = "
    insert into audit (sequence, previous, thread_id, thread_sequence, thread_previous, tenant, at_ms, actor_id, actor_basis, kind,
                       digest, body)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

pub(in crate::sqlite) const AUDIT: &str = "
    select sequence, previous, thread_id, thread_sequence, thread_previous, tenant, at_ms, actor_id, actor_basis, kind, digest, body
    from audit
    where sequence > ?1
    order by sequence
    limit ?2";

pub(in crate::sqlite) const AUDIT_OF_TENANT: &str = "
    select sequence, previous, thread_id, thread_sequence, thread_previous, tenant, at_ms, actor_id, actor_basis, kind, digest, body
    from audit
    where tenant = ?3 and sequence > ?1
    order by sequence
    limit ?2";

/// Of thread `?3`, of tenant `?4` if given.
pub(in crate::sqlite) const AUDIT_OF_THREAD: &str = "
    select sequence, previous, thread_id, thread_sequence, thread_previous, tenant, at_ms, actor_id, actor_basis, kind, digest, body
    from audit
    where thread_id = ?3 and sequence > ?1 and (?4 is null or tenant = ?4)
    order by sequence
    limit ?2";

// API keys.

pub(in crate::sqlite) const KEY_INSERT: &str = "
    insert into api_key (digest, name, tenant, created_at_ms, created_by, expires_at_ms, revoked_at_ms, roles, groups)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    on conflict do nothing";

pub(in crate::sqlite) const KEY_SELECT: &str = "
    select digest, name, tenant, created_at_ms, created_by, expires_at_ms, revoked_at_ms, roles, groups
    from api_key
    where digest = ?1";

/// All, or those of tenant `?1`. There are few.
pub(in crate::sqlite) const KEYS: &str = "
    select digest, name, tenant, created_at_ms, created_by, expires_at_ms, revoked_at_ms, roles, groups
    from api_key
    where ?1 is null or tenant = ?1
    order by api_key_key";

pub(in crate::sqlite) const KEY_REVOKE: &str = "
    update api_key
    set revoked_at_ms = ?3
    where tenant = ?1 and name = ?2 and revoked_at_ms is null";

// Sessions.

pub(in crate::sqlite) const SESSION_UPSERT: &str = "
    insert into session (digest, created_at_ms, expires_at_ms, caller)
    values (?1, ?2, ?3, ?4)
    on conflict (digest) do update
    set created_at_ms = excluded.created_at_ms, expires_at_ms = excluded.expires_at_ms, caller = excluded.caller";

pub(in crate::sqlite) const SESSION_SELECT: &str = "
    select digest, created_at_ms, expires_at_ms, caller
    from session
    where digest = ?1";

pub(in crate::sqlite) const SESSION_DELETE: &str = "
    delete from session
    where digest = ?1";

pub(in crate::sqlite) const SESSIONS_CLEAR: &str = "
    delete from session
    where expires_at_ms <= ?1";
