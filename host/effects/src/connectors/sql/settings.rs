//! The keys of a `sql` connector.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use holdpoint_graph::ids::ConnectorName;

use crate::configuration::problem::Code;
use crate::configuration::section::Section;
use crate::configuration::template::Template;
use crate::configuration::{Class, ConnectorConfiguration, Place};
use crate::connectors::{Connector, Kind, Settings, Unusable};

use super::Sql;
use super::job::Limits;
use super::statement::{Dialect, Statement};
use super::url::DatabaseUrl;

const ROWS_DEFAULT: u32 = 1000;
const RESPONSE_BYTES_DEFAULT: usize = 1 << 20;

/// The effect and its record are one transaction: there is no other class that would be worth having.
pub(crate) const KIND: Kind =
    Kind { name: "sql", class_default: Class::Transactional, classes: &[Class::Transactional], read };

/// Settings of a `sql` connector.
#[derive(Debug, Clone)]
pub(super) struct SqlSettings {
    /// The database.
    pub(super) url: Template,
    /// The folder that a relative path starts from.
    pub(super) folder: PathBuf,
    /// The statements by name, with their places.
    pub(super) statements: BTreeMap<String, (Place, String)>,
    /// Largest results.
    pub(super) limits: Limits,
}

impl Settings for SqlSettings {
    fn build(&self, name: &ConnectorName, common: &ConnectorConfiguration) -> Result<Arc<dyn Connector>, Unusable> {
        Ok(Arc::new(Sql::build(name, common, self)?))
    }
}

fn read(section: &mut Section<'_, '_, '_>) -> Option<Arc<dyn Settings>> {
    let folder = section.folder.to_path_buf();
    let url = section.require("url", "write url = \"sqlite:ledger.db\" or url = \"postgres://…\"").and_then(|item| {
        section.checked_template(item, &section.key("url"), |text| DatabaseUrl::parse(text, &folder).map(|_| ()))
    });
    // What comes before the first reference tells the database in all but the oddest cases; else statements are read when the URL is known.
    let dialect = url.as_ref().and_then(|url| Dialect::of_url(&url.to_string()));
    let statements = statements(section, dialect);
    let rows_max = section.table.count("row_limit", ROWS_DEFAULT, section.problems);
    let bytes_max = section.table.size_bytes("response_limit", RESPONSE_BYTES_DEFAULT, section.problems);
    let limits = Limits { rows_max: usize::try_from(rows_max).unwrap_or(usize::MAX), bytes_max };
    Some(Arc::new(SqlSettings { url: url?, folder, statements, limits }))
}

fn statements(section: &mut Section<'_, '_, '_>, dialect: Option<Dialect>) -> BTreeMap<String, (Place, String)> {
    const CURE: &str = "write statements.NAME = \"insert into entry (amount) values (:amount)\"";
    let key = section.key("statements");
    let mut statements = BTreeMap::new();
    let Some(item) = section.require("statements", CURE) else { return statements };
    let Some(table) = item.table(&key, section.problems) else { return statements };
    for (name, item) in table.entries() {
        let key = table.key(name.get_ref());
        let item = if item.value.is_table() {
            let Some(mut inner) = item.table(&key, section.problems) else { continue };
            let sql = inner.require("sql", CURE, section.problems);
            inner.finish(section.problems);
            let Some(sql) = sql else { continue };
            sql
        } else {
            item
        };
        let Some(text) = item.text(&key, section.problems) else { continue };
        if let Some(dialect) = dialect
            && let Err(reason) = Statement::parse(text, dialect)
        {
            section.fault(item.offset, format!("`{key}` {reason}"), "correct the statement");
            continue;
        }
        statements.insert(name.get_ref().to_string(), (section.problems.place(item.offset), text.to_owned()));
    }
    if table.entries().next().is_none() {
        section.problems.add(Code::MissingKey, item.offset, format!("`{key}` has no statement"), CURE);
    }
    statements
}
