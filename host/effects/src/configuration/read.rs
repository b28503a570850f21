//! From the text of `holdpoint.toml` to a [`Configuration`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use holdpoint_graph::ids::ConnectorName;
use toml::de::DeTable;

use crate::connectors::KINDS;

use super::problem::Code;
use super::section::Section;
use super::toml_reader::{Problems, Table, suggestion};
use super::{
    Configuration, ConfigurationProblem, ConnectorConfiguration, OPERATIONS_PER_TASK_DEFAULT, common, server, users,
};

pub(super) fn read(
    text: &str,
    file: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Configuration, Vec<ConfigurationProblem>> {
    let (document, syntax) = DeTable::parse_recoverable(text);
    let mut problems = Problems::new(text, file);
    if !syntax.is_empty() {
        // What is left of a text that is not TOML would only give misleading problems.
        for error in syntax {
            let offset = error.span().map_or(0, |span| span.start);
            problems.add(Code::Syntax, offset, error.message().to_lowercase(), "correct the TOML syntax");
        }
        return Err(problems.finish());
    }
    let folder = file.parent().map(Path::to_path_buf).unwrap_or_default();
    let mut reader = Reader { problems, folder, environment, user_addresses: Vec::new() };
    let configuration = reader.document(Table::new("", 0, document.get_ref()));
    let problems = reader.problems.finish();
    if problems.is_empty() { Ok(configuration) } else { Err(problems) }
}

struct Reader<'r> {
    problems: Problems<'r>,
    folder: PathBuf,
    environment: &'r dyn Fn(&str) -> Option<String>,
    user_addresses: Vec<String>,
}

impl<'r> Reader<'r> {
    fn document(&mut self, mut root: Table<'_, 'r>) -> Configuration {
        let mut operations_per_task_max = OPERATIONS_PER_TASK_DEFAULT;
        if let Some(mut limits) = root.take("limits").and_then(|item| item.table("limits", &mut self.problems)) {
            operations_per_task_max = limits.count("operations_per_task", operations_per_task_max, &mut self.problems);
            limits.finish(&mut self.problems);
        }
        let server = server::read(&mut root, &mut self.problems);
        let users = users::read(&mut root, &mut self.problems);
        self.user_addresses = users.iter().filter_map(|user| user.email.clone()).collect();
        let mut connectors = BTreeMap::new();
        if let Some(table) = root.take("connectors").and_then(|item| item.table("connectors", &mut self.problems)) {
            for (name, item) in table.entries() {
                let key = format!("connectors.{}", name.get_ref());
                let parsed = ConnectorName::parse(name.get_ref().as_ref())
                    .map_err(|error| self.problems.add(Code::Value, name.span().start, error.to_string(), "rename it"));
                let connector = item.table(&key, &mut self.problems).and_then(|table| self.connector(table));
                if let (Ok(name), Some(connector)) = (parsed, connector) {
                    connectors.insert(name, connector);
                }
            }
        }
        root.finish(&mut self.problems);
        Configuration { connectors, operations_per_task_max, users, server }
    }

    /// Returns none only after noting why.
    fn connector(&mut self, mut table: Table<'_, 'r>) -> Option<ConnectorConfiguration> {
        let place = self.problems.place(table.offset());
        let names = || KINDS.iter().map(|kind| kind.name);
        let known = names().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        let item = table.require("kind", &format!("write kind = and one of {known}"), &mut self.problems)?;
        let name = item.text(&table.key("kind"), &mut self.problems)?;
        let Some(kind) = KINDS.iter().find(|kind| kind.name == name) else {
            let message = format!("`{}` is {name:?}", table.key("kind"));
            self.problems.add(Code::Value, item.offset, message, suggestion(name, names()));
            return None;
        };
        let common = common::read(&mut table, kind, &mut self.problems);
        let mut section = Section {
            table,
            problems: &mut self.problems,
            class: common.class,
            folder: &self.folder,
            user_addresses: &self.user_addresses,
            environment: self.environment,
        };
        let settings = (kind.read)(&mut section);
        let Section { table, class, .. } = section;
        table.finish(&mut self.problems);
        Some(ConnectorConfiguration {
            place,
            class,
            scope: common.scope,
            timeout_ms: common.timeout_ms,
            clock_skew_ms: common.clock_skew_ms,
            request_bytes_max: common.request_bytes_max,
            requires_approval: common.requires_approval,
            standing_approvals: common.standing_approvals,
            rate: common.rate,
            concurrent_max: common.concurrent_max,
            settings: settings?,
        })
    }
}
