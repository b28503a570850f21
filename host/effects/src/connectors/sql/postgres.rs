//! Operations on a PostgreSQL server. One connection, closed where it could hold a transaction that nobody waits for.

use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use holdpoint_graph::ids::ConnectorName;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, Error};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::attempt::{Attempt, Reply};
use crate::configuration::Place;
use crate::connectors::{LookUp, Outgoing, Unusable, UnusableCause, tls};

use super::job::{Job, Recorded, Rows};
use super::postgres_values::{Column, Parameter, check_type, to_json};

/// How much longer than its time a commit may take before nobody waits for it any more.
const GRACE: Duration = Duration::from_secs(2);

/// Longest message of the server that is repeated.
const MESSAGE_CHARACTERS_MAX: usize = 500;

const CREATE: &str = "\
create table if not exists holdpoint_operation (
    scope text not null,
    connector text not null,
    operation_id text not null,
    request_digest text not null,
    answer text,
    performed_at_ms bigint not null,
    primary key (scope, connector, operation_id)
)";
/// Waits for another transaction with the same key: then there is a row, or there is not.
const BEGIN_OPERATION: &str = "\
insert into holdpoint_operation (scope, connector, operation_id, request_digest, performed_at_ms)
values ($1, $2, $3, $4, $5) on conflict do nothing";
const END_OPERATION: &str =
    "update holdpoint_operation set answer = $4 where scope = $1 and connector = $2 and operation_id = $3";
const READ_OPERATION: &str = "\
select request_digest, answer from holdpoint_operation where scope = $1 and connector = $2 and operation_id = $3";

/// A server.
pub(super) struct Postgres {
    config: Config,
    tls: MakeRustlsConnect,
    session: Mutex<Option<Session>>,
}

/// An open connection. Closed at once when it is dropped: the server rolls its transaction back.
struct Session {
    client: Client,
    connection: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// What the transaction comes to, before it is committed.
enum Step {
    /// It is over, and the connection can be used again.
    Over(Attempt),
    /// It is to be committed, and this is its answer.
    Commit(Value),
}

/// Why a step did not get there.
enum Stop {
    /// It ends with this. The transaction is to be rolled back.
    Ended(Attempt),
    Failed(Error),
    /// The table of operations is not there.
    NoTable,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Postgres {
    pub(super) fn build(name: &ConnectorName, config: Config, tls: bool, place: Place) -> Result<Self, Unusable> {
        let client = tls::client(tls).map_err(|error| {
            tracing::error!(connector = %name, error = &error as &dyn std::error::Error, "there is no TLS for the database");
            let cause = UnusableCause::Machine("no TLS for the database: the system's certificates cannot be used".into());
            Unusable { cause, place }
        })?;
        Ok(Self { config, tls: MakeRustlsConnect::new(client), session: Mutex::new(None) })
    }

    pub(super) async fn perform(&self, job: &Job, outgoing: Outgoing) -> Attempt {
        let until = Instant::now() + outgoing.timeout;
        let Ok(mut slot) = timeout_at(until, self.session.lock()).await else {
            return job.not_sent("other operations keep the database busy");
        };
        // Taken out until it is known to be clean: whatever ends this early closes it, and nothing was committed.
        let taken = slot.take();
        let before_commit = async {
            let session = self.session(taken).await.map_err(|reason| job.not_sent(reason))?;
            let step = step(&session.client, job, outgoing).await?;
            Ok((session, step))
        };
        let (session, answer) = match timeout_at(until, before_commit).await {
            Err(_) => return job.late(),
            Ok(Err(attempt)) => return attempt,
            Ok(Ok((session, Step::Over(attempt)))) => {
                *slot = Some(session);
                return attempt;
            }
            Ok(Ok((session, Step::Commit(answer)))) => (session, answer),
        };
        match timeout_at(until + GRACE, session.client.batch_execute("commit")).await {
            Ok(Ok(())) => {
                *slot = Some(session);
                Attempt::Landed(Reply::Done(answer))
            }
            Ok(Err(error)) => not_committed(job, &error),
            Err(_) => job.unknown("the database did not say whether it committed"),
        }
    }

    pub(super) async fn look_up(&self, job: &Job, outgoing: Outgoing) -> LookUp {
        let until = Instant::now() + outgoing.timeout;
        let asking = async {
            let mut slot = self.session.lock().await;
            let session = self.session(slot.take()).await?;
            let found = match read(&session.client, job).await {
                Ok(recorded) => job.looked_up(recorded.as_ref()),
                Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => LookUp::NotThere,
                Err(error) => return Err(format!("the database cannot be read: {}", describe(&error))),
            };
            *slot = Some(session);
            Ok(found)
        };
        match timeout_at(until, asking).await {
            Ok(Ok(found)) => found,
            Ok(Err(reason)) => LookUp::Unknown(job.scrubber.text(reason)),
            Err(_) => LookUp::Unknown("the database did not answer in time".into()),
        }
    }

    /// The connection, a new one where there is none that lives.
    async fn session(&self, session: Option<Session>) -> Result<Session, String> {
        if let Some(session) = session.filter(|session| !session.client.is_closed()) {
            return Ok(session);
        }
        let connected = self.config.connect(self.tls.clone()).await;
        let (client, connection) = connected.map_err(|error| match error.code() {
            // The server's words name users and databases, which are nobody's business.
            Some(code) => {
                tracing::warn!(error = %describe(&error), code = code.code(), "the database refused the connection");
                format!("the database refused the connection ({})", code.code())
            }
            None => format!("the database cannot be reached: {}", describe(&error)),
        })?;
        // Its end is seen by the client's next use.
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Session { client, connection })
    }
}

/// Everything up to the commit. After an error the connection is as good as closed, or rolled back.
async fn step(client: &Client, job: &Job, outgoing: Outgoing) -> Result<Step, Attempt> {
    let mut tried = execute(client, job, outgoing).await;
    if matches!(tried, Err(Stop::NoTable)) {
        rollback(client, job).await?;
        create(client).await.map_err(|error| job.not_sent(describe(&error)))?;
        tried = execute(client, job, outgoing).await;
    }
    let attempt = match tried {
        Ok(Step::Commit(answer)) => return Ok(Step::Commit(answer)),
        Ok(Step::Over(attempt)) | Err(Stop::Ended(attempt)) => attempt,
        Err(Stop::NoTable) => job.not_sent("the table holdpoint_operation cannot be found after it was made"),
        Err(Stop::Failed(error)) => failed(job, &error),
    };
    if client.is_closed() {
        return Err(attempt);
    }
    rollback(client, job).await.map_err(|_| attempt.clone())?;
    Ok(Step::Over(attempt))
}

async fn execute(client: &Client, job: &Job, outgoing: Outgoing) -> Result<Step, Stop> {
    let timeout_ms = outgoing.timeout.as_millis().clamp(1, 2_000_000_000);
    // The server's own limits hold where this process is gone and the server does not know it.
    let begin = format!(
        "begin; set local statement_timeout = {timeout_ms}; set local idle_in_transaction_session_timeout = {timeout_ms}"
    );
    client.batch_execute(&begin).await?;
    let at_ms = i64::try_from(outgoing.at_ms).unwrap_or(i64::MAX);
    let inserted = client
        .execute_typed(
            BEGIN_OPERATION,
            &[
                (&job.scope, Type::TEXT),
                (&job.connector, Type::TEXT),
                (&job.id, Type::TEXT),
                (&job.digest, Type::TEXT),
                (&at_ms, Type::INT8),
            ],
        )
        .await
        .map_err(|error| match error.code() {
            Some(code) if *code == SqlState::UNDEFINED_TABLE => Stop::NoTable,
            _ => Stop::Failed(error),
        })?;
    if inserted == 0 {
        let recorded = read(client, job).await?;
        let attempt = recorded.map_or_else(|| job.not_sent("its record is gone"), |recorded| job.repeated(&recorded));
        return Ok(Step::Over(attempt));
    }
    let answer = run(client, job).await?;
    let text = answer.to_string();
    client
        .execute_typed(
            END_OPERATION,
            &[(&job.scope, Type::TEXT), (&job.connector, Type::TEXT), (&job.id, Type::TEXT), (&text, Type::TEXT)],
        )
        .await?;
    Ok(Step::Commit(answer))
}

/// Executes the operator's statement.
async fn run(client: &Client, job: &Job) -> Result<Value, Stop> {
    let unusable = |reason: String| Stop::Ended(job.rejected("sql-result", reason));
    let statement = client.prepare(&job.statement.sql).await?;
    let columns = statement.columns();
    for column in columns {
        check_type(column.type_()).map_err(|reason| unusable(format!("column {:?} {reason}", column.name())))?;
    }
    let names: Vec<String> = columns.iter().map(|column| column.name().to_owned()).collect();
    let count = names.len();
    let mut rows = Rows::new(job, names).map_err(unusable)?;
    let parameters: Vec<Parameter<'_>> = job.parameters.iter().map(Parameter).collect();
    let mut found = pin!(client.query_raw(&statement, parameters).await?);
    while let Some(row) = found.try_next().await? {
        let values = (0..count).map(|index| {
            let column: Column<'_> = row.try_get(index).map_err(|_| "cannot be read".to_owned())?;
            to_json(&column)
        });
        rows.push(values).map_err(unusable)?;
    }
    let affected = found.rows_affected().unwrap_or_default();
    Ok(rows.answer(affected))
}

async fn read(client: &Client, job: &Job) -> Result<Option<Recorded>, Error> {
    let row = client
        .query_typed_opt(
            READ_OPERATION,
            &[(&job.scope, Type::TEXT), (&job.connector, Type::TEXT), (&job.id, Type::TEXT)],
        )
        .await?;
    row.map(|row| Ok(Recorded { digest: row.try_get(0)?, answer: row.try_get(1)? })).transpose()
}

async fn rollback(client: &Client, job: &Job) -> Result<(), Attempt> {
    client.batch_execute("rollback").await.map_err(|error| job.not_sent(describe(&error)))
}

/// Two that make the table at once may see each other halfway.
async fn create(client: &Client) -> Result<(), Error> {
    let there = [SqlState::UNIQUE_VIOLATION, SqlState::DUPLICATE_TABLE, SqlState::DUPLICATE_OBJECT];
    match client.batch_execute(CREATE).await {
        Err(error) if error.code().is_some_and(|code| there.contains(code)) => Ok(()),
        other => other,
    }
}

/// What an error before the commit means: nothing is executed.
fn failed(job: &Job, error: &Error) -> Attempt {
    let Some(database) = error.as_db_error().filter(|database| is_error(database.parsed_severity())) else {
        return job.not_sent(describe(error));
    };
    let code = database.code();
    if *code == SqlState::QUERY_CANCELED {
        return job.late();
    }
    if passes(code) {
        job.not_sent(describe(error))
    } else {
        job.rejected(format!("sql-{}", code.code()), describe(error))
    }
}

/// What an error at the commit means. An error that leaves the connection open says that the transaction was rolled back; one that does not leaves it
/// open whether the commit came before.
fn not_committed(job: &Job, error: &Error) -> Attempt {
    match error.as_db_error() {
        Some(database) if is_error(database.parsed_severity()) => failed(job, error),
        _ => job.unknown(format!("the connection ended at the commit: {}", describe(error))),
    }
}

fn is_error(severity: Option<Severity>) -> bool {
    severity == Some(Severity::Error)
}

/// Whether an error is about the moment, not about the request: lost connections, conflicts of transactions, lack of resources, servers that stop or only
/// read, faults of the system.
fn passes(code: &SqlState) -> bool {
    let class = &code.code()[..2];
    ["08", "40", "53", "57", "58", "XX"].contains(&class)
        || [SqlState::LOCK_NOT_AVAILABLE, SqlState::READ_ONLY_SQL_TRANSACTION].contains(code)
}

/// The message, without details that quote the data of others. It may quote a parameter, however long that is.
fn describe(error: &Error) -> String {
    match error.as_db_error() {
        Some(database) => database.message().chars().take(MESSAGE_CHARACTERS_MAX).collect(),
        None if error.is_closed() => "the connection was closed".to_owned(),
        None => std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string),
    }
}
