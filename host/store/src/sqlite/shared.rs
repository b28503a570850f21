//! What belongs to no thread: contents, results that may be used again, versions.

use rusqlite::params;

use super::commit_rows::CacheRow;
use super::failure::Result;
use super::forms::{self, FORMAT};
use super::rows::{self, integer};
use super::session::Session;
use super::{statements, trail};
use crate::audit::AuditEntry;
use crate::check;
use crate::records::VersionRecord;
use crate::store::Content;

/// Stores contents whose digests have been checked.
pub(super) fn contents(session: &Session, contents: &[Content]) -> Result<()> {
    for content in contents {
        session.execute(statements::CONTENT_INSERT, params![content.digest.as_str(), content.bytes])?;
    }
    Ok(())
}

/// Stores a result that may be used again.
pub(super) fn cache(session: &Session, row: &CacheRow) -> Result<()> {
    let parameters = params![row.key.as_str(), row.expires_at_ms, FORMAT, row.result];
    session.execute(statements::CACHE_UPSERT, parameters)?;
    Ok(())
}

/// Removes results that may not be used any more, or all of them; their number.
pub(super) fn clear_cache(session: &Session, now_ms: Option<u64>) -> Result<u64> {
    let removed = match now_ms {
        None => session.execute(statements::CACHE_CLEAR, [])?,
        Some(now_ms) => session.execute(statements::CACHE_CLEAR_EXPIRED, params![integer(now_ms)])?,
    };
    Ok(rows::counted(removed))
}

/// Stores a version, once.
pub(super) fn version(session: &Session, version: &VersionRecord, audit: &[AuditEntry]) -> Result<()> {
    let parameters = params![
        version.kind.name(),
        version.name,
        version.version,
        version.digest.as_str(),
        integer(version.deployed_at_ms),
        version.deployed_by,
        FORMAT,
        (!version.gains.is_empty()).then(|| forms::write(&version.gains)),
    ];
    if session.execute(statements::VERSION_INSERT, parameters)? == 1 {
        return trail::extend(session, audit);
    }
    let parameters = params![version.kind.name(), version.name, version.version];
    let found = session.first(statements::VERSION_DIGEST, parameters, |row| Ok(row.get::<_, String>("digest")?))?;
    match found {
        Some(digest) if digest != version.digest.as_str() => Err(check::version_taken(version, &digest).into()),
        _ => Ok(()),
    }
}
