//! `sql`: named statements of the operator on SQLite or PostgreSQL, each operation in one transaction with its own record.
//!
//! The request is `{ statement, parameters? }`, the answer `{ rows: [{ column: value }], affected }`: `affected` counts the rows that were changed, or
//! returned where none is changed. Parameters are `:name` in the statement and always bound, never put into its text. JSON null, booleans, numbers and
//! texts bind as such, arrays and objects as JSON.
//!
//! Class `transactional`: the table `holdpoint_operation`, made at the first use where it is missing, holds one row for each operation, in the same
//! transaction as its effect: sending again gives the first answer, for ever, and a crash anywhere leaves both or neither. A database that is restored
//! to an earlier state forgets both alike.
//!
//! # Layout
//!
//! * `settings`: its keys in the configuration. `url`: the database's address.
//! * `statement`: statements and their parameters.
//! * `job`: one operation, and what its ends are, whatever the database.
//! * `sqlite`, `postgres`: the databases. `postgres_values`: what PostgreSQL's columns are as JSON.

mod job;
mod postgres;
mod postgres_values;
mod settings;
mod sqlite;
mod statement;
mod url;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::ConnectorName;
use holdpoint_graph::operation::OperationKey;
use serde_json::{Map, Value};

use crate::attempt::Attempt;
use crate::configuration::ConnectorConfiguration;
use crate::configuration::secret::Scrubber;

use super::{Connector, LookUp, Outgoing, Prepared, Rejection, Unusable};
use job::{Job, Limits};
use postgres::Postgres;
use settings::SqlSettings;
use sqlite::Sqlite;
use statement::{Dialect, Statement};
use url::DatabaseUrl;

pub(crate) use settings::KIND;

/// Statements on one database.
pub struct Sql {
    database: Arc<Database>,
    dialect: Dialect,
    statements: BTreeMap<String, Arc<Statement>>,
    limits: Limits,
    scrubber: Arc<Scrubber>,
}

enum Database {
    Sqlite(Sqlite),
    Postgres(Box<Postgres>),
}

impl Sql {
    /// Fills the secrets in and reads the statements. Opens nothing.
    fn build(name: &ConnectorName, common: &ConnectorConfiguration, settings: &SqlSettings) -> Result<Self, Unusable> {
        let resolved = settings.url.resolve()?;
        let fault = |reason: String| Unusable::value("url", settings.url.place(), reason);
        let url = DatabaseUrl::parse(resolved.text.expose(), &settings.folder).map_err(fault)?;
        let dialect = url.dialect();
        let mut statements = BTreeMap::new();
        for (statement, (place, text)) in &settings.statements {
            let parsed = Statement::parse(text, dialect)
                .map_err(|reason| Unusable::value(format!("statements.{statement}"), *place, reason))?;
            statements.insert(statement.clone(), Arc::new(parsed));
        }
        // The password is one even where it stands in the configuration itself.
        let mut secrets = resolved.secrets;
        secrets.extend(url.password());
        let database = match url {
            DatabaseUrl::Sqlite(path) => Database::Sqlite(Sqlite::new(path)),
            DatabaseUrl::Postgres { config, tls } => {
                Database::Postgres(Box::new(Postgres::build(name, *config, tls, common.place)?))
            }
        };
        Ok(Self {
            database: Arc::new(database),
            dialect,
            statements,
            limits: settings.limits,
            scrubber: Arc::new(Scrubber::new(&secrets)),
        })
    }
}

impl Connector for Sql {
    fn prepare(&self, key: &OperationKey, request: &Value) -> Result<Box<dyn Prepared>, Rejection> {
        let members = request.as_object().ok_or_else(|| invalid("the request is not an object"))?;
        if let Some(unknown) = members.keys().find(|name| !["statement", "parameters"].contains(&name.as_str())) {
            return Err(invalid(format!("the request has an unknown member {:?}", shown(unknown))));
        }
        let name =
            members.get("statement").and_then(Value::as_str).ok_or_else(|| invalid("`statement` is not text"))?;
        let Some(statement) = self.statements.get(name) else {
            return Err(invalid(format!("there is no statement {:?} for this connector", shown(name))));
        };
        let empty = Map::new();
        let parameters = match members.get("parameters") {
            None | Some(Value::Null) => &empty,
            Some(parameters) => parameters.as_object().ok_or_else(|| invalid("`parameters` is not an object"))?,
        };
        let parameters = statement.bind(parameters, self.dialect).map_err(Rejection::Invalid)?;
        let job = Job {
            scope: key.scope.to_text(),
            connector: key.connector.to_string(),
            id: key.id.to_string(),
            digest: Digest::of_json(request).to_string(),
            statement: statement.clone(),
            parameters,
            limits: self.limits,
            scrubber: self.scrubber.clone(),
        };
        Ok(Box::new(PreparedStatement { database: self.database.clone(), job: Arc::new(job) }))
    }
}

struct PreparedStatement {
    database: Arc<Database>,
    job: Arc<Job>,
}

#[async_trait]
impl Prepared for PreparedStatement {
    async fn send(&self, outgoing: Outgoing) -> Attempt {
        match &*self.database {
            Database::Sqlite(sqlite) => sqlite.perform(self.job.clone(), outgoing).await,
            Database::Postgres(postgres) => postgres.perform(&self.job, outgoing).await,
        }
    }

    async fn look_up(&self, outgoing: Outgoing) -> LookUp {
        match &*self.database {
            Database::Sqlite(sqlite) => sqlite.look_up(self.job.clone(), outgoing).await,
            Database::Postgres(postgres) => postgres.look_up(&self.job, outgoing).await,
        }
    }
}

fn invalid(reason: impl Into<String>) -> Rejection {
    Rejection::Invalid(reason.into())
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}
