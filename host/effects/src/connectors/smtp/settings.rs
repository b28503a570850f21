//! The keys of a `smtp` connector.

use std::sync::Arc;

use holdpoint_graph::ids::ConnectorName;
use lettre::message::Mailbox;

use crate::configuration::section::Section;
use crate::configuration::template::Template;
use crate::configuration::{AddressRule, Class, ConnectorConfiguration};
use crate::connectors::telling::{Form, Telling, read_payload};
use crate::connectors::{Connector, Kind, Settings, Unusable};

use super::Smtp;
use super::message::{Recipients, is_address};
use super::server::Server;

/// Mail servers do not de-duplicate.
pub(crate) const KIND: Kind = Kind {
    name: "smtp",
    class_default: Class::AfterCommit { deduplicated: false },
    classes: &[Class::AfterCommit { deduplicated: false }, Class::AtMostOnce],
    read,
};

/// Settings of a `smtp` connector.
#[derive(Debug, Clone)]
pub(super) struct SmtpSettings {
    /// The server, with user and password.
    pub(super) url: Template,
    /// Whether the connection may go without TLS, wherever the server is.
    pub(super) plain: bool,
    /// Who writes.
    pub(super) from: Mailbox,
    /// Whom nodes may write to.
    pub(super) allow_to: Recipients,
    /// Whom notices may go to.
    pub(super) notices_to: Recipients,
    /// How it tells about questions.
    pub(super) telling: Telling,
    /// The addresses that may be connected to.
    pub(super) addresses: AddressRule,
}

impl Settings for SmtpSettings {
    fn build(&self, _name: &ConnectorName, _common: &ConnectorConfiguration) -> Result<Arc<dyn Connector>, Unusable> {
        Ok(Arc::new(Smtp::build(self)?))
    }

    fn telling(&self) -> Option<&Telling> {
        Some(&self.telling)
    }
}

fn read(section: &mut Section<'_, '_, '_>) -> Option<Arc<dyn Settings>> {
    let plain = match section.table.text("tls", section.problems) {
        Some((_, "none")) => true,
        Some((_, "required")) | None => false,
        Some((offset, other)) => {
            let message = format!("`{}` is {other:?}", section.key("tls"));
            section.fault(offset, message, "write \"required\" or \"none\"");
            false
        }
    };
    let url = section.require("url", "write url = \"smtps://user:${env:SMTP_PASSWORD}@host\"").and_then(|item| {
        section.checked_template(item, &section.key("url"), |text| Server::parse(text, plain).map(|_| ()))
    });
    let from = from(section);
    let allow_to = allow_to(section);
    let addresses = section.addresses();
    let (telling, to) = notify(section);
    // What the operator writes as an address of people is allowed by that, for notices; nodes go by `allow_to`.
    let mut notices_to = allow_to.clone();
    for address in to.iter().map(String::as_str).chain(section.user_addresses.iter().map(String::as_str)) {
        notices_to.add(address).expect("invariant: what was checked as an address is a pattern of one");
    }
    Some(Arc::new(SmtpSettings { url: url?, plain, from: from?, allow_to, notices_to, telling, addresses }))
}

/// The key `notify`, and the addresses in it.
fn notify(section: &mut Section<'_, '_, '_>) -> (Telling, Vec<String>) {
    let key = section.key("notify");
    let (mut to, mut payload) = (Vec::new(), false);
    if let Some(mut table) = section.table.take("notify").and_then(|item| item.table(&key, section.problems)) {
        if let Some(item) = table.take("to") {
            for (offset, text) in item.texts(&table.key("to"), section.problems) {
                if is_address(text) {
                    to.push(text.to_owned());
                } else {
                    let message = format!("`{}` has {text:?}, which is no address", table.key("to"));
                    section.fault(offset, message, "write it such as \"approvals@example.com\"");
                }
            }
        }
        payload = read_payload(&mut table, section.problems);
        table.finish(section.problems);
    }
    (Telling { form: Form::Mail { to: to.clone() }, payload }, to)
}

fn from(section: &mut Section<'_, '_, '_>) -> Option<Mailbox> {
    const CURE: &str = "write from = \"approvals@example.com\"";
    let key = section.key("from");
    let item = section.require("from", CURE)?;
    let text = item.text(&key, section.problems)?;
    let mailbox: Option<Mailbox> = text.parse().ok().filter(|_| text.is_ascii());
    if mailbox.is_none() {
        section.fault(item.offset, format!("`{key}` is {text:?}, which is no address"), CURE);
    }
    mailbox
}

fn allow_to(section: &mut Section<'_, '_, '_>) -> Recipients {
    const CURE: &str = "list whom nodes may write to: allow_to = [\"*@example.com\"]";
    let key = section.key("allow_to");
    let mut recipients = Recipients::default();
    let Some(item) = section.require("allow_to", CURE) else { return recipients };
    for (offset, text) in item.texts(&key, section.problems) {
        if let Err(reason) = recipients.add(text) {
            section.fault(offset, format!("`{key}` has {text:?}: {reason}"), CURE);
        }
    }
    recipients
}
