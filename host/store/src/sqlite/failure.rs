//! How SQLite's errors become the store's.

use holdpoint_graph::ids::InvalidId;
use rusqlite::ErrorCode;
use rusqlite::types::FromSqlError;

use crate::store::Error;

/// The error inside this module's functions. Apart from [`Error`] so that `?` converts SQLite's errors here and nowhere else.
#[derive(Debug)]
pub(super) struct Failure(pub(super) Error);

pub(super) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub(super) fn corrupt(message: impl Into<String>) -> Self {
        Self(Error::Corrupt(message.into()))
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self(Error::Invalid(message.into()))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self(classify(&error))
    }
}

impl From<FromSqlError> for Failure {
    fn from(error: FromSqlError) -> Self {
        Self::corrupt(error.to_string())
    }
}

impl From<InvalidId> for Failure {
    fn from(error: InvalidId) -> Self {
        Self::corrupt(error.to_string())
    }
}

pub(super) fn classify(error: &rusqlite::Error) -> Error {
    let text = error.to_string();
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DiskFull => Error::Full(text),
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Error::ReadOnly(text),
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Error::Corrupt(text),
            // Of what was given, not of what is stored.
            ErrorCode::TooBig | ErrorCode::ConstraintViolation => Error::Invalid(text),
            _ => Error::Unavailable(text),
        },
        // A column that does not hold what the schema and this program put there.
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => Error::Corrupt(text),
        _ => Error::Unavailable(text),
    }
}

/// Whether a statement was refused because a foreign key points nowhere.
pub(super) fn is_foreign_key_violation(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|failure| failure.extended_code);
    code == Some(rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_error() {
        let cases = [
            (rusqlite::ffi::SQLITE_FULL, "HP0607"),
            (rusqlite::ffi::SQLITE_READONLY, "HP0608"),
            (rusqlite::ffi::SQLITE_READONLY_DIRECTORY, "HP0608"),
            (rusqlite::ffi::SQLITE_READONLY_DBMOVED, "HP0608"),
            (rusqlite::ffi::SQLITE_PERM, "HP0608"),
            (rusqlite::ffi::SQLITE_CORRUPT, "HP0611"),
            (rusqlite::ffi::SQLITE_NOTADB, "HP0611"),
            (rusqlite::ffi::SQLITE_BUSY, "HP0610"),
            (rusqlite::ffi::SQLITE_LOCKED, "HP0610"),
            (rusqlite::ffi::SQLITE_IOERR_FSYNC, "HP0610"),
            (rusqlite::ffi::SQLITE_NOMEM, "HP0610"),
            (rusqlite::ffi::SQLITE_TOOBIG, "HP0606"),
        ];
        for (code, expected) in cases {
            let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            assert_eq!(classify(&error).code(), expected, "SQLite's code {code}");
        }
    }
}
