//! What belongs to no thread.

// Contents.

pub(in crate::sqlite) const CONTENT_INSERT: &str = "
    insert into content (digest, bytes)
    values (?1, ?2)
    on conflict (digest) do nothing";

pub(in crate::sqlite) const CONTENT_SELECT: &str = "
    select bytes from content
    where digest = ?1";

pub(in crate::sqlite) const CONTENT_EXISTS: &str = "
    select 1 from content
    where digest = ?1";

// Results that may be used again.

pub(in crate::sqlite) const CACHE_UPSERT: &str = "
    insert into cache (digest, expires_at_ms, format, result)
    values (?1, ?2, ?3, ?4)
    on conflict (digest) do update
    set expires_at_ms = excluded.expires_at_ms,
        format = excluded.format,
        result = excluded.result";

pub(in crate::sqlite) const CACHE_SELECT: &str = "
    select format, result from cache
    where digest = ?1 and (expires_at_ms is null or expires_at_ms > ?2)";

pub(in crate::sqlite) const CACHE_CLEAR: &str = "
    delete from cache";

pub(in crate::sqlite) const CACHE_CLEAR_EXPIRED: &str = "
    delete from cache
    where expires_at_ms <= ?1";

// Versions.

pub(in crate::sqlite) const VERSION_INSERT: &str = "
    insert into version (kind, name, version, digest, deployed_at_ms, deployed_by, format, gains)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
    on conflict (kind, name, version) do nothing";

pub(in crate::sqlite) const VERSION_DIGEST: &str = "
    select digest from version
    where kind = ?1 and name = ?2 and version = ?3";

/// Those of a kind, with name `?2` if given, newest first.
pub(in crate::sqlite) const VERSIONS: &str = "
    select kind, name, version, digest, deployed_at_ms, deployed_by, format, gains
    from version
    where kind = ?1 and (?2 is null or name = ?2)
    order by version_key desc";
