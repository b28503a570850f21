//! The keys of a `webhook` connector.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdpoint_graph::ids::ConnectorName;
use reqwest::Url;

use crate::configuration::section::Section;
use crate::configuration::template::Template;
use crate::configuration::toml_reader::Item;
use crate::configuration::{AddressRule, Class, ConnectorConfiguration};
use crate::connectors::http::{parse_base_url, read_headers};
use crate::connectors::telling::{self, Telling};
use crate::connectors::{Connector, Kind, Settings, Unusable};

use super::Webhook;
use super::signature::SigningKey;

/// Headers that the connector sets.
const OWN_HEADERS: [&str; 4] = ["content-type", "webhook-id", "webhook-timestamp", "webhook-signature"];

/// Consumers of webhooks de-duplicate by `webhook-id`.
pub(crate) const KIND: Kind = Kind {
    name: "webhook",
    class_default: Class::AfterCommit { deduplicated: true },
    classes: &[Class::AfterCommit { deduplicated: true }, Class::AtMostOnce, Class::Idempotent { window_ms: None }],
    read,
};

/// Settings of a `webhook` connector.
#[derive(Debug, Clone)]
pub(super) struct WebhookSettings {
    /// Where messages go.
    pub(super) url: Template,
    /// `whsec_…`; more than one while they are rotated.
    pub(super) secrets: Vec<Template>,
    /// Headers that the host adds.
    pub(super) headers: BTreeMap<String, Template>,
    /// The addresses that may be connected to.
    pub(super) addresses: AddressRule,
    /// How it tells about questions.
    pub(super) telling: Telling,
}

impl Settings for WebhookSettings {
    fn build(&self, name: &ConnectorName, common: &ConnectorConfiguration) -> Result<Arc<dyn Connector>, Unusable> {
        Ok(Arc::new(Webhook::build(name, common, self)?))
    }

    fn telling(&self) -> Option<&Telling> {
        Some(&self.telling)
    }
}

fn read(section: &mut Section<'_, '_, '_>) -> Option<Arc<dyn Settings>> {
    let url = section
        .require("url", "write url = \"https://…\"")
        .and_then(|item| section.checked_template(item, &section.key("url"), |text| parse_url(text).map(|_| ())));
    let secrets = section
        .require("secret", "write secret = \"${env:WEBHOOK_SECRET}\"")
        .map_or_else(Vec::new, |item| secrets(section, item));
    let headers = read_headers(section);
    if let Some(own) = OWN_HEADERS.iter().find(|own| headers.contains_key(**own)) {
        let message = format!("`{}` sets {own}, which the connector sets", section.key("headers"));
        section.fault(section.table.offset(), message, "remove it from the headers");
    }
    let addresses = section.addresses();
    let telling = telling::read_event(section);
    Some(Arc::new(WebhookSettings { url: url?, secrets, headers, addresses, telling }))
}

/// One secret, or a list of them.
fn secrets(section: &mut Section<'_, '_, '_>, item: Item<'_, '_>) -> Vec<Template> {
    let key = section.key("secret");
    let items =
        if item.value.is_str() { vec![item] } else { item.items(&key, "a secret or a list of them", section.problems) };
    if items.is_empty() && item.value.is_array() {
        section.fault(item.offset, format!("`{key}` is empty"), "write secret = \"${env:WEBHOOK_SECRET}\"");
    }
    // What is wrong with a secret is said without showing it.
    let check = |text: &str| SigningKey::parse(text).map(|_| ());
    items.into_iter().filter_map(|item| section.checked_template(item, &key, check)).collect()
}

/// Reads the URL that messages go to. It may have a query.
pub(super) fn parse_url(text: &str) -> Result<Url, String> {
    let (base, query) = text.split_once('?').map_or((text, None), |(base, query)| (base, Some(query)));
    let mut url = parse_base_url(base)?;
    if query.is_some_and(|query| query.contains('#')) {
        return Err("has a fragment".into());
    }
    url.set_query(query);
    Ok(url)
}
