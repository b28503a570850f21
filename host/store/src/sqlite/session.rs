//! A connection that executes prepared statements and counts them.

use std::cell::Cell;
use std::time::Duration;

use rusqlite::{CachedStatement, Connection, Params, Row};

use super::failure::Result;

/// Every statement of the store, so that each is compiled once per connection.
const STATEMENTS_CACHED: usize = 160;

pub(super) struct Session {
    connection: Connection,
    executed: Cell<u64>,
}

impl Session {
    pub(super) fn new(connection: Connection) -> Self {
        connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
        Self { connection, executed: Cell::new(0) }
    }

    /// Executes a statement that gives no rows; how many it changed.
    pub(super) fn execute(&self, sql: &str, parameters: impl Params) -> rusqlite::Result<usize> {
        self.count();
        self.connection.prepare_cached(sql)?.execute(parameters)
    }

    /// A statement to execute many times.
    pub(super) fn prepare(&self, sql: &str) -> rusqlite::Result<Prepared<'_>> {
        Ok(Prepared { statement: self.connection.prepare_cached(sql)?, session: self })
    }

    /// The first row of a statement, if it gives one.
    pub(super) fn first<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        self.count();
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(parameters)?;
        rows.next()?.map(read).transpose()
    }

    /// All rows of a statement.
    pub(super) fn all<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        read: impl Fn(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.count();
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(parameters)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(read(row)?);
        }
        Ok(found)
    }

    /// The first rows of a statement that are wanted, at most `limit`. Rows after them are not looked at.
    pub(super) fn wanted<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        limit: usize,
        read: impl Fn(&Row<'_>) -> Result<Option<T>>,
    ) -> Result<Vec<T>> {
        self.count();
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(parameters)?;
        let mut found = Vec::new();
        while found.len() < limit
            && let Some(row) = rows.next()?
        {
            found.extend(read(row)?);
        }
        Ok(found)
    }

    /// The key of the row inserted last.
    pub(super) fn key_inserted(&self) -> i64 {
        self.connection.last_insert_rowid()
    }

    /// Whether a transaction is open. SQLite ends one by itself on some errors, a full disk among them.
    pub(super) fn in_transaction(&self) -> bool {
        !self.connection.is_autocommit()
    }

    /// Takes the count of statements since it was taken last.
    pub(super) fn take_executed(&self) -> u64 {
        self.executed.take()
    }

    /// Closes the connection. When it was the file's last one, SQLite moves the log into the file and removes it.
    pub(super) fn close(self) {
        // While closing nobody waits for an answer, so another process's reader must not delay it.
        let closed = self
            .connection
            .busy_timeout(Duration::ZERO)
            .and_then(|()| self.connection.close().map_err(|(_, error)| error));
        if let Err(error) = closed {
            tracing::warn!(%error, "the store's connection did not close cleanly; its log is kept and read at the next start");
        }
    }

    fn count(&self) {
        self.executed.set(self.executed.get() + 1);
    }

    /// How often a cached statement had to be compiled again.
    #[cfg(test)]
    pub(super) fn compiled_again(&self, sql: &str) -> i32 {
        self.connection
            .prepare_cached(sql)
            .expect("the statement is valid")
            .get_status(rusqlite::StatementStatus::RePrepare)
    }
}

/// A statement of a session's. Each execution counts.
pub(super) struct Prepared<'a> {
    statement: CachedStatement<'a>,
    session: &'a Session,
}

impl Prepared<'_> {
    /// Executes it; how many rows it changed.
    pub(super) fn execute(&mut self, parameters: impl Params) -> rusqlite::Result<usize> {
        self.session.count();
        self.statement.execute(parameters)
    }
}
