//! From the text of `holdpoint.toml` to a [`Configuration`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use holdpoint_graph::ids::{ConnectorName, GraphName};
use toml::de::DeTable;

use crate::connectors::http::{AllowedRequest, check_header_name, parse_base_url};

use super::problem::Code;
use super::template::Template;
use super::toml_reader::{Item, Problems, Table, suggestion};
use super::{
    AddressRule, Class, Configuration, ConfigurationProblem, ConnectorConfiguration, FileConfiguration,
    HttpConfiguration, Kind, OPERATIONS_PER_TASK_DEFAULT, ScopeRule, units,
};

const TIMEOUT_DEFAULT_MS: u64 = 10_000;
const REQUEST_BYTES_DEFAULT: usize = 1 << 20;
const RESPONSE_BYTES_DEFAULT: usize = 1 << 20;

/// Keys and names of DESIGN that this version refuses rather than ignores: each of them is a promise.
const LATER_KEYS: [&str; 3] = ["lookup", "preview", "requires_approval"];
const LATER_KINDS: [&str; 3] = ["smtp", "sql", "webhook"];
const LATER_CLASSES: [&str; 3] = ["after-commit", "reconcilable", "transactional"];

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
    let mut reader = Reader { problems, folder, environment };
    let configuration = reader.document(Table::new("", 0, document.get_ref()));
    let problems = reader.problems.finish();
    if problems.is_empty() { Ok(configuration) } else { Err(problems) }
}

struct Reader<'r> {
    problems: Problems<'r>,
    folder: PathBuf,
    environment: &'r dyn Fn(&str) -> Option<String>,
}

impl Reader<'_> {
    fn document(&mut self, mut root: Table<'_, '_>) -> Configuration {
        let mut operations_per_task_max = OPERATIONS_PER_TASK_DEFAULT;
        if let Some(mut limits) = root.take("limits").and_then(|item| item.table("limits", &mut self.problems)) {
            operations_per_task_max = limits.count("operations_per_task", operations_per_task_max, &mut self.problems);
            limits.finish(&[], &mut self.problems);
        }
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
        root.finish(&[], &mut self.problems);
        Configuration { connectors, operations_per_task_max }
    }

    /// Returns none only after noting why.
    fn connector(&mut self, mut table: Table<'_, '_>) -> Option<ConnectorConfiguration> {
        let place = self.problems.place(table.offset());
        let kind_item = table.require("kind", "write kind = \"http\" or kind = \"file\"", &mut self.problems)?;
        let kind_name = kind_item.text(&table.key("kind"), &mut self.problems)?;
        let class_default = match kind_name {
            "http" => Class::AtMostOnce,
            // The file itself is searched for the id before a line is appended.
            "file" => Class::Idempotent { window_ms: None },
            later if LATER_KINDS.contains(&later) => {
                let message = format!("kind \"{later}\" is not supported by this version");
                self.problems.add(Code::Unsupported, kind_item.offset, message, "use \"http\" or \"file\"");
                return None;
            }
            other => {
                let message = format!("`{}` is {other:?}", table.key("kind"));
                let cure = suggestion(other, ["http", "file"].into_iter());
                self.problems.add(Code::Value, kind_item.offset, message, cure);
                return None;
            }
        };
        let class = table.take("class").and_then(|item| self.class(item, &table.key("class")));
        let scope = self.scope(&mut table);
        let timeout_ms = table.duration_ms("timeout", TIMEOUT_DEFAULT_MS, &mut self.problems);
        let request_bytes_max = table.size_bytes("request_limit", REQUEST_BYTES_DEFAULT, &mut self.problems);
        let kind = match kind_name {
            "http" => self.http(&mut table).map(Kind::Http),
            _ => self.file(&mut table).map(Kind::File),
        };
        table.finish(&LATER_KEYS, &mut self.problems);
        let class = class.unwrap_or(class_default);
        Some(ConnectorConfiguration { place, class, scope, timeout_ms, request_bytes_max, kind: kind? })
    }

    fn class(&mut self, item: Item<'_, '_>, key: &str) -> Option<Class> {
        const CURE: &str = "write \"at-most-once\" or { idempotent = { window = \"24h\" } }";
        if let Some(name) = item.value.as_str() {
            match name {
                "at-most-once" => return Some(Class::AtMostOnce),
                later if LATER_CLASSES.contains(&later) => {
                    let message = format!("class \"{later}\" is not supported by this version");
                    self.problems.add(Code::Unsupported, item.offset, message, CURE);
                }
                _ => self.problems.add(Code::Value, item.offset, format!("`{key}` is {name:?}"), CURE),
            }
            return None;
        }
        let Some(table) = item.value.as_table() else {
            self.problems.add(Code::Value, item.offset, format!("`{key}` is of type {}", item.value.type_str()), CURE);
            return None;
        };
        let mut table = Table::new(key, item.offset, table);
        let window = table.require("idempotent", CURE, &mut self.problems);
        table.finish(&LATER_CLASSES, &mut self.problems);
        let mut table = window?.table(&format!("{key}.idempotent"), &mut self.problems)?;
        let window = table.require("window", "write how long the receiver remembers an id", &mut self.problems);
        let window_ms = table.duration_ms("window", 1, &mut self.problems);
        table.finish(&[], &mut self.problems);
        window.map(|_| Class::Idempotent { window_ms: Some(window_ms) })
    }

    fn scope(&mut self, table: &mut Table<'_, '_>) -> ScopeRule {
        let shared_by = table.take("shared_by");
        let scope = table.text("scope", &mut self.problems);
        match (scope, shared_by) {
            (Some((_, "global")), shared_by) => {
                let graphs =
                    shared_by.map_or_else(Vec::new, |item| item.texts(&table.key("shared_by"), &mut self.problems));
                let parsed = graphs.into_iter().filter_map(|(offset, name)| match GraphName::parse(name) {
                    Ok(name) => Some(name),
                    Err(error) => {
                        self.problems.add(Code::Value, offset, error.to_string(), "write names of graphs");
                        None
                    }
                });
                ScopeRule::Global { shared_by: parsed.collect() }
            }
            (Some((offset, other)), _) if other != "thread" => {
                let message = format!("`{}` is {other:?}", table.key("scope"));
                self.problems.add(Code::Value, offset, message, "write \"thread\" or \"global\"");
                ScopeRule::Thread
            }
            (_, None) => ScopeRule::Thread,
            (_, Some(item)) => {
                let message = format!("`{}` has no meaning without a global scope", table.key("shared_by"));
                self.problems.add(Code::Value, item.offset, message, "add scope = \"global\"");
                ScopeRule::Thread
            }
        }
    }

    fn http(&mut self, table: &mut Table<'_, '_>) -> Option<HttpConfiguration> {
        let base_url = table
            .require("base_url", "write base_url = \"https://…\"", &mut self.problems)
            .and_then(|item| self.base_url(item, &table.key("base_url")));
        let allow = table
            .require("allow", "list the requests that nodes may make: allow = [\"POST /refunds\"]", &mut self.problems)
            .map_or_else(Vec::new, |item| self.allow(item, &table.key("allow")));
        let headers =
            table.take("headers").map_or_else(BTreeMap::new, |item| self.headers(item, &table.key("headers")));
        let idempotency_header = match table.text("idempotency_header", &mut self.problems) {
            Some((offset, name)) => {
                self.header_name(offset, name);
                name.to_owned()
            }
            None => "Idempotency-Key".to_owned(),
        };
        if headers.contains_key(&idempotency_header.to_ascii_lowercase()) {
            let message =
                format!("`{}` sets {idempotency_header}, which carries the operation id", table.key("headers"));
            self.problems.add(Code::Value, table.offset(), message, "remove it from the headers");
        }
        let addresses = table.take("addresses").map(|item| self.addresses(item, &table.key("addresses")));
        let response_bytes_max = table.size_bytes("response_limit", RESPONSE_BYTES_DEFAULT, &mut self.problems);
        Some(HttpConfiguration {
            base_url: base_url?,
            allow,
            headers,
            idempotency_header,
            addresses: addresses.unwrap_or(AddressRule::Public { besides: Vec::new() }),
            response_bytes_max,
        })
    }

    fn file(&mut self, table: &mut Table<'_, '_>) -> Option<FileConfiguration> {
        let path = table
            .require("path", "write path = \"ledger.jsonl\"", &mut self.problems)
            .and_then(|item| self.template(item, &table.key("path")))?;
        Some(FileConfiguration { path, folder: self.folder.clone() })
    }

    /// One without references can be checked now; others when they are filled in.
    fn base_url(&mut self, item: Item<'_, '_>, key: &str) -> Option<Template> {
        let template = self.template(item, key)?;
        if !template.has_references()
            && let Err(reason) = parse_base_url(&template.to_string())
        {
            self.problems.add(Code::Value, item.offset, format!("`{key}` {reason}"), "correct it");
        }
        Some(template)
    }

    fn allow(&mut self, item: Item<'_, '_>, key: &str) -> Vec<AllowedRequest> {
        let mut allowed = Vec::new();
        for (offset, text) in item.texts(key, &mut self.problems) {
            match AllowedRequest::parse(text) {
                Ok(request) => allowed.push(request),
                Err(reason) => {
                    let message = format!("`{key}` has {text:?}: {reason}");
                    self.problems.add(Code::Value, offset, message, "write it such as \"GET /refunds/*\"");
                }
            }
        }
        allowed
    }

    fn headers(&mut self, item: Item<'_, '_>, key: &str) -> BTreeMap<String, Template> {
        let mut headers = BTreeMap::new();
        let Some(table) = item.table(key, &mut self.problems) else { return headers };
        for (name, item) in table.entries() {
            self.header_name(name.span().start, name.get_ref());
            let Some(template) = self.template(item, &table.key(name.get_ref())) else { continue };
            if headers.insert(name.get_ref().to_ascii_lowercase(), template).is_some() {
                let message = format!("`{}` has the header {} twice", table.path(), name.get_ref());
                self.problems.add(Code::Value, name.span().start, message, "keep one of them");
            }
        }
        headers
    }

    fn header_name(&mut self, offset: usize, name: &str) {
        if let Err(reason) = check_header_name(name) {
            self.problems.add(Code::Value, offset, format!("header {name:?}: {reason}"), "use another header");
        }
    }

    fn addresses(&mut self, item: Item<'_, '_>, key: &str) -> AddressRule {
        match item.value.as_str() {
            Some("any") => return AddressRule::Any,
            Some("public") => return AddressRule::Public { besides: Vec::new() },
            Some(other) => {
                let cure = "write \"public\", \"any\" or a list of networks such as [\"10.0.0.0/8\"]";
                self.problems.add(Code::Value, item.offset, format!("`{key}` is {other:?}"), cure);
                return AddressRule::Public { besides: Vec::new() };
            }
            None => {}
        }
        let mut besides = Vec::new();
        for (offset, text) in item.texts(key, &mut self.problems) {
            match units::network(text) {
                Some(network) => besides.push(network),
                None => {
                    let message = format!("`{key}` has {text:?}, not a network");
                    self.problems.add(Code::Value, offset, message, "write it such as \"10.0.0.0/8\" or \"127.0.0.1\"");
                }
            }
        }
        AddressRule::Public { besides }
    }

    fn template(&mut self, item: Item<'_, '_>, key: &str) -> Option<Template> {
        let text = item.text(key, &mut self.problems)?;
        let place = self.problems.place(item.offset);
        Template::parse(text, place, &self.folder, self.environment)
            .map_err(|reason| {
                let cure = "write references as ${env:NAME} or ${file:PATH}";
                self.problems.add(Code::Value, item.offset, format!("`{key}`: {reason}"), cure);
            })
            .ok()
    }
}
