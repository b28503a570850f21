//! Opening: everything that must hold of the file and of SQLite before the first commit, and the migrations.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::SqliteOptions;
use super::failure::{Failure, Result, classify};
use super::schema::{APPLICATION_ID, MIGRATIONS, version_known};
use super::session::Session;
use crate::store::Error;

/// 3.51.3 fixes a race in resetting the write-ahead log that could lose commits.
const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// A write-ahead log that grew under a long read is cut back to this when it is next reset.
const LOG_BYTES_KEPT: i64 = 64 * 1024 * 1024;

/// Two programs that create one file at once may refuse each other the change to WAL; the second attempt finds it changed.
const WAL_ATTEMPTS_MAX: u32 = 8;

/// Opens the connection that writes; creates and migrates the file.
pub(super) fn writer(path: &Path, options: &SqliteOptions) -> std::result::Result<Session, Error> {
    check_version(rusqlite::version_number())?;
    open_writer(path, options).map_err(|failure| failure.0)
}

/// Opens a connection that can only read. The writer has opened the file before.
pub(super) fn reader(path: &Path, options: &SqliteOptions) -> Result<Session> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(Duration::from_millis(options.busy_timeout_ms))?;
    connection.pragma_update(None, "query_only", true)?;
    compile_once(&connection)?;
    Ok(Session::new(connection))
}

/// Plans do not depend on what is bound. Otherwise SQLite compiles a statement anew for each use, where a look at a parameter might have shown it
/// that a partial index serves too.
fn compile_once(connection: &Connection) -> Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

fn open_writer(path: &Path, options: &SqliteOptions) -> Result<Session> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(|error| explain(path, &error))?;
    connection.busy_timeout(Duration::from_millis(options.busy_timeout_ms))?;
    // Whose file it is comes first: a file that is not ours is not touched.
    let version = identify(&connection).map_err(|error| match error {
        Identification::Sqlite(error) => explain(path, &error),
        Identification::Refused(error) => Failure(error),
    })?;
    // SQLite opens a file that it may not write for reading, without a word.
    if connection.is_readonly("main")? {
        return Err(Error::ReadOnly(format!("{} may not be written", path.display())).into());
    }
    configure(&connection, options).map_err(|failure| match failure.0 {
        // The log and its index lie beside the file, so its directory must be writable too.
        Error::Unavailable(text) if text.contains("unable to open database file") => {
            Error::ReadOnly(format!("no log can be written beside {}: {text}", path.display())).into()
        }
        error => Failure(error),
    })?;
    if version < version_known() {
        migrate(&mut connection)?;
    }
    Ok(Session::new(connection))
}

fn check_version(version: i32) -> std::result::Result<(), Error> {
    if version >= SQLITE_VERSION_MIN {
        Ok(())
    } else {
        let (major, minor, patch) = (version / 1_000_000, version / 1000 % 1000, version % 1000);
        Err(Error::Unavailable(format!("SQLite {major}.{minor}.{patch} is too old: 3.51.3 is needed")))
    }
}

enum Identification {
    Sqlite(rusqlite::Error),
    Refused(Error),
}

impl From<rusqlite::Error> for Identification {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// The file's schema version: 0 for a new file. Reads only.
fn identify(connection: &Connection) -> std::result::Result<i64, Identification> {
    // One statement, so that another program's migration is seen whole or not at all.
    let (application, version, objects): (i64, i64, i64) = connection.query_row(
        "select (select application_id from pragma_application_id),
                (select user_version from pragma_user_version),
                (select count(*) from sqlite_schema)",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    match (application, version) {
        (APPLICATION_ID, found) if found > version_known() => {
            Err(Identification::Refused(Error::NewerSchema { found, known: version_known() }))
        }
        (APPLICATION_ID, found) if found > 0 => Ok(found),
        (0, 0) if objects == 0 => Ok(0),
        _ => Err(Identification::Refused(Error::Corrupt("the file is a database of another program".to_owned()))),
    }
}

fn configure(connection: &Connection, options: &SqliteOptions) -> Result<()> {
    switch_to_wal(connection)?;
    // A commit is acknowledged when it has reached the disk (`acknowledged-is-durable`).
    let synchronous = if options.synchronous_full { 2 } else { 1 };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    compile_once(connection)?;
    // What savepoints may have to undo is small.
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES_KEPT, |_| Ok(()))?;
    if let Some(pages_max) = options.pages_max {
        connection.pragma_update_and_check(None, "max_page_count", pages_max, |_| Ok(()))?;
    }
    // SQLite passes over what it does not know or cannot do, so the effect is what counts.
    for (pragma, wanted) in [("synchronous", synchronous), ("foreign_keys", 1)] {
        let found: i64 = connection.pragma_query_value(None, pragma, |row| row.get(0))?;
        if found != wanted {
            return Err(Error::Unavailable(format!("SQLite's {pragma} is {found} where {wanted} was set")).into());
        }
    }
    Ok(())
}

fn switch_to_wal(connection: &Connection) -> Result<()> {
    for _ in 0..WAL_ATTEMPTS_MAX {
        let switched = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0));
        match switched {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                let message = format!("the file's place does not allow a write-ahead log (journal mode {mode})");
                return Err(Error::Unavailable(message).into());
            }
            // Another program is at it. The change gives up at once, a transaction waits: its end is the other's end.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                connection.execute_batch("begin immediate; rollback")?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Unavailable("the file is locked by another program".to_owned()).into())
}

/// Brings the file to the newest version, in one transaction.
fn migrate(connection: &mut Connection) -> Result<()> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    // Again, now under the lock: another program may have been faster.
    let version = identify(&transaction).map_err(|error| match error {
        Identification::Sqlite(error) => Failure::from(error),
        Identification::Refused(error) => Failure(error),
    })?;
    let done = usize::try_from(version).map_err(|_| Failure::corrupt("the schema's version is negative"))?;
    for migration in &MIGRATIONS[done..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", version_known())?;
    Ok(transaction.commit()?)
}

/// SQLite says only that it cannot open a file; this says why.
fn explain(path: &Path, error: &rusqlite::Error) -> Failure {
    if error.sqlite_error_code() != Some(ErrorCode::CannotOpen) {
        return Failure(classify(error));
    }
    let shown = path.display();
    let directory = path.parent().unwrap_or(path);
    Failure(if path.is_dir() {
        Error::Corrupt(format!("{shown} is a directory"))
    } else if path.exists() {
        Error::ReadOnly(format!("{shown} may not be opened: {error}"))
    } else if !directory.is_dir() {
        Error::Unavailable(format!("the directory {} does not exist", directory.display()))
    } else {
        Error::ReadOnly(format!("{shown} may not be created: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_sqlite_is_refused() {
        assert!(check_version(rusqlite::version_number()).is_ok(), "the bundled one is new enough");
        assert!(check_version(3_051_003).is_ok());
        let error = check_version(3_051_002).expect_err("too old");
        assert_eq!(error, Error::Unavailable("SQLite 3.51.2 is too old: 3.51.3 is needed".to_owned()));
    }

    #[test]
    fn migrations_run_once_whoever_was_faster() {
        let mut connection = Connection::open_in_memory().expect("a database in memory opens");
        migrate(&mut connection).expect("the schema is valid");
        migrate(&mut connection).expect("nothing is left to do");
        assert!(matches!(identify(&connection), Ok(version) if version == version_known()));
    }

    #[test]
    fn what_is_set_is_in_force() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store.db");
        for (synchronous_full, expected) in [(true, 2), (false, 1)] {
            let options = SqliteOptions { synchronous_full, ..SqliteOptions::default() };
            let session = writer(&path, &options).expect("opens");
            let pragma =
                |sql: &str| session.first(sql, [], |row| Ok(row.get::<_, i64>(0)?)).expect("reads").expect("a value");
            assert_eq!(pragma("pragma synchronous"), expected);
            assert_eq!(pragma("pragma foreign_keys"), 1);
            assert_eq!(pragma("pragma busy_timeout"), 10_000);
            assert_eq!(pragma("pragma application_id"), APPLICATION_ID);
            assert_eq!(pragma("pragma user_version"), version_known());
            let mode = session.first("pragma journal_mode", [], |row| Ok(row.get::<_, String>(0)?)).expect("reads");
            assert_eq!(mode.as_deref(), Some("wal"));
            let lax = session.first("select group_concat(name) from pragma_table_list where schema = 'main' and strict = 0 and name not like 'sqlite_%'", [], |row| {
                Ok(row.get::<_, Option<String>>(0)?)
            });
            assert_eq!(lax.expect("reads"), Some(None), "every table is strict");
        }
    }
}
