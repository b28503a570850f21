//! `[server]`: where the host is reached, and what whoever serves it reads for itself.
//!
//! Only `public_url` is read here. All other keys (`[server.oidc]`, `[server.limits]`, …) are handed over as JSON with their places: their reader
//! checks them with [`Server::unknown_keys`] and [`Server::problem`], so that what is wrong with them is told like everything else in the file.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Number, Value};
use toml::de::DeValue;

use crate::connectors::http::parse_base_url;

use super::problem::{Code, ConfigurationProblem, Place};
use super::toml_reader::{Item, Problems, Table, suggestion};

const PUBLIC_URL_CURE: &str = "write public_url = \"https://holdpoint.example.com\"";

/// The table `[server]`. Does not show the values of the keys that are handed over: they may be secrets.
#[derive(Clone, Default, PartialEq)]
pub struct Server {
    public_url: Option<String>,
    rest: Map<String, Value>,
    /// By the path of the key below `[server]`.
    places: BTreeMap<String, Place>,
    file: String,
}

impl Server {
    /// Where people reach the host, without a slash at the end. Links begin with it.
    pub fn public_url(&self) -> Option<&str> {
        self.public_url.as_deref()
    }

    /// All other keys as they are written: references to secrets are not filled in, moments are text.
    pub fn rest(&self) -> &Map<String, Value> {
        &self.rest
    }

    /// One of the other keys by its path below `[server]`, such as `oidc.issuer`.
    pub fn get(&self, path: &str) -> Option<&Value> {
        let (first, below) = path.split_once('.').map_or((path, None), |(first, below)| (first, Some(below)));
        let value = self.rest.get(first)?;
        below.map_or(Some(value), |below| below.split('.').try_fold(value, |value, key| value.get(key)))
    }

    /// Where a key stands: that of the table around it when it is not there.
    pub fn place(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            match (self.places.get(path), path.rsplit_once('.')) {
                (Some(place), _) => return *place,
                (None, Some((around, _))) => path = around,
                (None, None) if path.is_empty() => return Place::default(),
                (None, None) => path = "",
            }
        }
    }

    /// A value that does not fit, for the reader of a key.
    pub fn problem(&self, path: &str, message: impl Into<String>, cure: impl Into<String>) -> ConfigurationProblem {
        self.fault(Code::Value, path, message.into(), cure.into())
    }

    /// The keys of the table at `path` (`""` is `[server]` itself) that are none of `known`, each a problem with the most similar one as its cure.
    pub fn unknown_keys(&self, path: &str, known: &[&str]) -> Vec<ConfigurationProblem> {
        let table = if path.is_empty() { Some(&self.rest) } else { self.get(path).and_then(Value::as_object) };
        let own = if path.is_empty() { Some("public_url") } else { None };
        let keys = table.into_iter().flat_map(Map::keys).filter(|key| !known.contains(&key.as_str()));
        keys.map(|key| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let cure = suggestion(key, known.iter().copied().chain(own));
            self.fault(Code::UnknownKey, &path, format!("`server.{path}` is not a known key"), cure)
        })
        .collect()
    }

    fn fault(&self, code: Code, path: &str, message: String, cure: String) -> ConfigurationProblem {
        let Place { line, column } = self.place(path);
        ConfigurationProblem { code: code.text(), file: self.file.clone(), line, column, message, cure }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&String> = self.places.keys().collect();
        formatter.debug_struct("Server").field("public_url", &self.public_url).field("keys", &keys).finish()
    }
}

/// Reads the table.
pub(super) fn read(root: &mut Table<'_, '_>, problems: &mut Problems<'_>) -> Server {
    let mut server = Server { file: problems.file().to_owned(), ..Server::default() };
    let Some(item) = root.take("server") else { return server };
    let Some(mut table) = item.table("server", problems) else { return server };
    server.places.insert(String::new(), problems.place(item.offset));
    if let Some((offset, text)) = table.text("public_url", problems) {
        match parse_base_url(text) {
            Ok(url) => server.public_url = Some(url.as_str().trim_end_matches('/').to_owned()),
            Err(reason) => problems.value(offset, format!("`server.public_url` {reason}"), PUBLIC_URL_CURE),
        }
    }
    for (name, item) in table.entries() {
        let name = name.get_ref().as_ref();
        if name != "public_url" {
            let value = json(name, item, &mut server.places, problems);
            server.rest.insert(name.to_owned(), value);
        }
    }
    server
}

/// A value as JSON; takes note of the places of it and of what is in it.
fn json(path: &str, item: Item<'_, '_>, places: &mut BTreeMap<String, Place>, problems: &mut Problems<'_>) -> Value {
    places.insert(path.to_owned(), problems.place(item.offset));
    let number = match item.value {
        DeValue::String(text) => return Value::from(text.as_ref()),
        DeValue::Boolean(boolean) => return Value::from(*boolean),
        DeValue::Datetime(moment) => return Value::from(moment.to_string()),
        DeValue::Array(items) => {
            let items = items.iter().enumerate().map(|(index, value)| {
                let item = Item { offset: value.span().start, value: value.get_ref() };
                json(&format!("{path}.{index}"), item, places, problems)
            });
            return items.collect();
        }
        DeValue::Table(table) => {
            let members = table.iter().map(|(name, value)| {
                let name = name.get_ref().to_string();
                let item = Item { offset: value.span().start, value: value.get_ref() };
                let value = json(&format!("{path}.{name}"), item, places, problems);
                (name, value)
            });
            return Value::Object(members.collect());
        }
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(Number::from),
        DeValue::Float(float) => float.as_str().parse().ok().and_then(Number::from_f64),
    };
    number.map_or_else(
        || {
            problems.value(
                item.offset,
                format!("`server.{path}` is not a number that can be used"),
                "write another one",
            );
            Value::Null
        },
        Value::Number,
    )
}
