//! Operations on a SQLite file. One connection; its work is done where it may block.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, ToSql};
use serde_json::Value;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout_at;

use crate::attempt::{Attempt, Reply};
use crate::connectors::{LookUp, Outgoing};

use super::job::{Job, Recorded, Rows};

/// How much longer than its time a commit may take before nobody waits for it any more: a slow disk's flush.
const GRACE: Duration = Duration::from_secs(10);

/// Instructions of SQLite's machine between two looks at the clock.
const INSTRUCTIONS: i32 = 1000;

const CREATE: &str = "\
create table if not exists holdpoint_operation (
    scope text not null,
    connector text not null,
    operation_id text not null,
    request_digest text not null,
    answer text,
    performed_at_ms integer not null,
    primary key (scope, connector, operation_id)
) strict, without rowid";
const BEGIN_OPERATION: &str = "\
insert into holdpoint_operation (scope, connector, operation_id, request_digest, performed_at_ms)
values (?1, ?2, ?3, ?4, ?5) on conflict do nothing";
const END_OPERATION: &str =
    "update holdpoint_operation set answer = ?4 where scope = ?1 and connector = ?2 and operation_id = ?3";
const READ_OPERATION: &str = "\
select request_digest, answer from holdpoint_operation where scope = ?1 and connector = ?2 and operation_id = ?3";
const HAS_TABLE: &str = "select 1 from sqlite_schema where type = 'table' and name = 'holdpoint_operation'";

/// A database file.
pub(super) struct Sqlite {
    path: PathBuf,
    session: Arc<Mutex<Option<Session>>>,
}

/// An open connection, and the file that it has open.
struct Session {
    connection: Connection,
    file: Option<(u64, u64)>,
}

/// What one use of the connection may take.
struct Bounds {
    until: Instant,
    /// Nobody waits for the result any more: there is to be no effect.
    abandoned: Arc<AtomicBool>,
    at_ms: u64,
}

impl Bounds {
    fn over(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed) || Instant::now() >= self.until
    }
}

/// Says so when the future that waits for the work is dropped.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Sqlite {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, session: Arc::default() }
    }

    pub(super) async fn perform(&self, job: Arc<Job>, outgoing: Outgoing) -> Attempt {
        let working = job.clone();
        let work =
            move |slot: &mut Option<Session>, path: &Path, bounds: &Bounds| perform(slot, path, &working, bounds);
        match self.work(outgoing, work).await {
            Worked::Done(attempt) => attempt,
            Worked::Busy => job.not_sent("other operations keep the database busy"),
            Worked::Lost => job.unknown(format!("the database did not end within {} ms", outgoing.timeout.as_millis())),
        }
    }

    pub(super) async fn look_up(&self, job: Arc<Job>, outgoing: Outgoing) -> LookUp {
        let work = move |slot: &mut Option<Session>, path: &Path, bounds: &Bounds| look_up(slot, path, &job, bounds);
        match self.work(outgoing, work).await {
            Worked::Done(found) => found,
            Worked::Busy | Worked::Lost => LookUp::Unknown("the database did not answer in time".into()),
        }
    }

    async fn work<T: Send + 'static>(
        &self,
        outgoing: Outgoing,
        work: impl FnOnce(&mut Option<Session>, &Path, &Bounds) -> T + Send + 'static,
    ) -> Worked<T> {
        let until = tokio::time::Instant::now() + outgoing.timeout;
        let Ok(mut slot): Result<OwnedMutexGuard<_>, _> = timeout_at(until, self.session.clone().lock_owned()).await
        else {
            return Worked::Busy;
        };
        let waiting = Waiting(Arc::default());
        let bounds = Bounds { until: until.into_std(), abandoned: waiting.0.clone(), at_ms: outgoing.at_ms };
        let path = self.path.clone();
        let working = tokio::task::spawn_blocking(move || work(&mut slot, &path, &bounds));
        match timeout_at(until + GRACE, working).await {
            Ok(Ok(done)) => Worked::Done(done),
            Ok(Err(_)) | Err(_) => Worked::Lost,
        }
    }
}

enum Worked<T> {
    Done(T),
    Busy,
    Lost,
}

/// How far a transaction got, if it did not succeed.
enum Stop {
    /// It ends with this, rolled back.
    Ended(Attempt),
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

fn perform(slot: &mut Option<Session>, path: &Path, job: &Job, bounds: &Bounds) -> Attempt {
    // Taken out, so that a panic does not leave a connection with an open transaction behind.
    let mut session = match open(slot.take(), path, bounds) {
        Ok(session) => session,
        Err(error) => return job.not_sent(format!("the database cannot be opened: {}", brief(&error))),
    };
    let result = transaction(&mut session.connection, job, bounds);
    let clean = session.connection.is_autocommit() || session.connection.execute_batch("rollback").is_ok();
    if clean && session.connection.progress_handler(0, None::<fn() -> bool>).is_ok() {
        *slot = Some(session);
    }
    match result {
        Ok(attempt) | Err(Stop::Ended(attempt)) => attempt,
        Err(Stop::Failed(error)) => failed(job, &error, bounds),
    }
}

fn transaction(connection: &mut Connection, job: &Job, bounds: &Bounds) -> Result<Attempt, Stop> {
    let key = [&job.scope, &job.connector, &job.id];
    connection.execute_batch("begin immediate")?;
    connection.execute_batch(CREATE)?;
    let inserted = connection.execute(BEGIN_OPERATION, (key[0], key[1], key[2], &job.digest, bounds.at_ms as i64))?;
    if inserted == 0 {
        let recorded = read(connection, job)?;
        return Ok(recorded.map_or_else(|| job.not_sent("its record is gone"), |recorded| job.repeated(&recorded)));
    }
    let answer = execute(connection, job)?;
    connection.execute(END_OPERATION, (key[0], key[1], key[2], answer.to_string()))?;
    if connection.is_autocommit() {
        return Err(Stop::Ended(job.rejected("sql-transaction", "the statement ended its own transaction")));
    }
    connection.progress_handler(0, None::<fn() -> bool>)?;
    if bounds.over() {
        return Err(Stop::Ended(job.late()));
    }
    match connection.execute_batch("commit") {
        Ok(()) => Ok(Attempt::Landed(Reply::Done(answer))),
        Err(error) => Err(match error.sqlite_error_code() {
            // The transaction still stands, and is rolled back: deferred constraints, and readers in the way.
            Some(ErrorCode::ConstraintViolation | ErrorCode::DatabaseBusy) if !connection.is_autocommit() => {
                Stop::Failed(error)
            }
            // What a failed flush leaves on the disk nobody knows.
            _ => Stop::Ended(job.unknown(format!("the commit failed: {}", describe(&error)))),
        }),
    }
}

/// Executes the operator's statement.
fn execute(connection: &Connection, job: &Job) -> Result<Value, Stop> {
    let unusable = |reason: String| Stop::Ended(job.rejected("sql-result", reason));
    let mut statement = connection.prepare(&job.statement.sql)?;
    for (index, value) in job.parameters.iter().enumerate() {
        statement.raw_bind_parameter(index + 1, Parameter(value))?;
    }
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let (count, only_reads) = (columns.len(), statement.readonly());
    let mut rows = Rows::new(job, columns).map_err(unusable)?;
    let mut found = statement.raw_query();
    while let Some(row) = found.next()? {
        let values =
            (0..count).map(|index| row.get_ref(index).map_err(|_| "cannot be read".to_owned()).and_then(to_json));
        rows.push(values).map_err(unusable)?;
    }
    drop(found);
    let affected = if only_reads { rows.len() as u64 } else { connection.changes() };
    Ok(rows.answer(affected))
}

fn look_up(slot: &mut Option<Session>, path: &Path, job: &Job, bounds: &Bounds) -> LookUp {
    let mut session = match open(slot.take(), path, bounds) {
        Ok(session) => session,
        Err(error) => return LookUp::Unknown(format!("the database cannot be opened: {}", brief(&error))),
    };
    let has_table = session.connection.query_row(HAS_TABLE, (), |_| Ok(())).optional();
    let found = match has_table {
        Ok(Some(())) => read(&session.connection, job),
        Ok(None) => Ok(None),
        Err(error) => Err(error),
    };
    let found = match found {
        Ok(recorded) => job.looked_up(recorded.as_ref()),
        Err(error) => LookUp::Unknown(format!("the database cannot be read: {}", describe(&error))),
    };
    if session.connection.progress_handler(0, None::<fn() -> bool>).is_ok() {
        *slot = Some(session);
    }
    found
}

fn read(connection: &Connection, job: &Job) -> rusqlite::Result<Option<Recorded>> {
    let key = [&job.scope, &job.connector, &job.id];
    connection
        .query_row(READ_OPERATION, key, |row| Ok(Recorded { digest: row.get(0)?, answer: row.get(1)? }))
        .optional()
}

/// The connection, a new one where there is none or the file was replaced under it.
fn open(session: Option<Session>, path: &Path, bounds: &Bounds) -> rusqlite::Result<Session> {
    let file = identity(path);
    let mut session = match session.filter(|session| session.file == file) {
        Some(session) => session,
        None => {
            // Not created: a database without the operator's tables is a path that is wrong.
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(bounds.until.saturating_duration_since(Instant::now()))?;
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.pragma_update(None, "synchronous", "full")?;
            connection.pragma_update(None, "foreign_keys", true)?;
            Session { connection, file: identity(path) }
        }
    };
    session.connection.busy_timeout(bounds.until.saturating_duration_since(Instant::now()))?;
    let (until, abandoned) = (bounds.until, bounds.abandoned.clone());
    session
        .connection
        .progress_handler(INSTRUCTIONS, Some(move || abandoned.load(Ordering::Relaxed) || Instant::now() >= until))?;
    Ok(session)
}

/// Tells files apart, where that can be told.
fn identity(path: &Path) -> Option<(u64, u64)> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// What an error before the commit means: the transaction is rolled back.
fn failed(job: &Job, error: &rusqlite::Error, bounds: &Bounds) -> Attempt {
    use ErrorCode as Code;
    match error.sqlite_error_code() {
        Some(Code::OperationInterrupted) if bounds.over() => job.late(),
        Some(Code::ConstraintViolation) => job.rejected("sql-constraint", describe(error)),
        Some(
            Code::DatabaseBusy
            | Code::DatabaseLocked
            | Code::OperationInterrupted
            | Code::OutOfMemory
            | Code::ReadOnly
            | Code::SystemIoFailure
            | Code::DatabaseCorrupt
            | Code::DiskFull
            | Code::CannotOpen
            | Code::FileLockingProtocolFailed
            | Code::NotADatabase
            | Code::PermissionDenied
            | Code::SchemaChanged,
        ) => job.not_sent(describe(error)),
        _ => job.rejected("sql-error", describe(error)),
    }
}

/// What kind of error it is, without the path, which may be nobody's business.
fn brief(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(code, _) => code.to_string().to_lowercase(),
        _ => "the file cannot be used".into(),
    }
}

/// The message without the statement.
fn describe(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        rusqlite::Error::SqliteFailure(code, None) => code.to_string(),
        _ => "the statement cannot be executed".into(),
    }
}

/// JSON as SQLite takes it.
struct Parameter<'v>(&'v Value);

impl ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        use rusqlite::types::Value as Sqlite;
        Ok(match self.0 {
            Value::Null => ToSqlOutput::Owned(Sqlite::Null),
            Value::Bool(boolean) => ToSqlOutput::Owned(Sqlite::Integer((*boolean).into())),
            Value::Number(number) => ToSqlOutput::Owned(match number.as_i64() {
                Some(integer) => Sqlite::Integer(integer),
                None => Sqlite::Real(number.as_f64().unwrap_or_default()),
            }),
            Value::String(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            json => ToSqlOutput::Owned(Sqlite::Text(json.to_string())),
        })
    }
}

fn to_json(value: ValueRef<'_>) -> Result<Value, String> {
    match value {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(integer) => Ok(integer.into()),
        ValueRef::Real(real) => serde_json::Number::from_f64(real)
            .map(Value::Number)
            .ok_or_else(|| "has a number that JSON does not have".to_owned()),
        ValueRef::Text(text) => std::str::from_utf8(text).map(Value::from).map_err(|_| "is not UTF-8".to_owned()),
        ValueRef::Blob(_) => Err("has bytes: select it as text, such as with hex()".to_owned()),
    }
}
