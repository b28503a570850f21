//! What a kind of connector reads its own keys with.

use std::path::Path;

use holdpoint_graph::state::Expression;

use super::problem::Code;
use super::template::Template;
use super::toml_reader::{Item, Problems, Table};
use super::{AddressRule, Class, units};

/// A connector's table, with all that reading it needs.
pub(crate) struct Section<'r, 'a, 't> {
    /// The table; keys that every connector has are taken already.
    pub(crate) table: Table<'a, 't>,
    /// Where problems go.
    pub(crate) problems: &'r mut Problems<'t>,
    /// The class as configured, or the kind's own. A kind whose other keys imply a narrower one puts it here.
    pub(crate) class: Class,
    /// The folder that relative paths start from.
    pub(crate) folder: &'r Path,
    /// The addresses of those that the file knows by name.
    pub(crate) user_addresses: &'r [String],
    pub(super) environment: &'r dyn Fn(&str) -> Option<String>,
}

impl<'a, 't> Section<'_, 'a, 't> {
    /// The full name of a key.
    pub(crate) fn key(&self, key: &str) -> String {
        self.table.key(key)
    }

    /// A key's value; noted as missing when it is not there.
    pub(crate) fn require(&mut self, key: &'static str, cure: &str) -> Option<Item<'a, 't>> {
        self.table.require(key, cure, self.problems)
    }

    /// Notes a value that does not fit.
    pub(crate) fn fault(&mut self, offset: usize, message: impl Into<String>, cure: impl Into<String>) {
        self.problems.add(Code::Value, offset, message, cure);
    }

    /// A text that may refer to secrets.
    pub(crate) fn template(&mut self, item: Item<'_, '_>, key: &str) -> Option<Template> {
        let text = item.text(key, self.problems)?;
        let place = self.problems.place(item.offset);
        Template::parse(text, place, self.folder, self.environment)
            .map_err(|reason| {
                self.fault(
                    item.offset,
                    format!("`{key}`: {reason}"),
                    "write references as ${env:NAME} or ${file:PATH}",
                );
            })
            .ok()
    }

    /// A text that may refer to secrets, checked now if it does not, else when they are filled in.
    pub(crate) fn checked_template(
        &mut self,
        item: Item<'_, '_>,
        key: &str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Option<Template> {
        let template = self.template(item, key)?;
        if !template.has_references()
            && let Err(reason) = check(&template.to_string())
        {
            self.fault(item.offset, format!("`{key}` {reason}"), "correct it");
        }
        Some(template)
    }

    /// The key `addresses`: which addresses the connector may connect to; public ones when it is not there.
    pub(crate) fn addresses(&mut self) -> AddressRule {
        let mut besides = Vec::new();
        let Some(item) = self.table.take("addresses") else { return AddressRule::Public { besides } };
        let key = self.key("addresses");
        match item.value.as_str() {
            Some("any") => return AddressRule::Any,
            Some("public") => return AddressRule::Public { besides },
            Some(other) => {
                let cure = "write \"public\", \"any\" or a list of networks such as [\"10.0.0.0/8\"]";
                self.fault(item.offset, format!("`{key}` is {other:?}"), cure);
                return AddressRule::Public { besides };
            }
            None => {}
        }
        for (offset, text) in item.texts(&key, self.problems) {
            match units::network(text) {
                Some(network) => besides.push(network),
                None => {
                    let message = format!("`{key}` has {text:?}, not a network");
                    self.fault(offset, message, "write it such as \"10.0.0.0/8\" or \"127.0.0.1\"");
                }
            }
        }
        AddressRule::Public { besides }
    }
}

/// A CEL expression over these names.
pub(crate) fn expression(
    item: Item<'_, '_>,
    key: &str,
    names: &[&str],
    problems: &mut Problems<'_>,
) -> Option<Expression> {
    let text = item.text(key, problems)?;
    Expression::compile(text, names)
        .map_err(|reason| {
            problems.add(Code::Value, item.offset, format!("`{key}` cannot be used: {reason}"), "correct the CEL");
        })
        .ok()
}
