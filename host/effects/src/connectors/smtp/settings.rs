//! The keys of a `smtp` connector.

use std::sync::Arc;

use holdpoint_graph::ids::ConnectorName;
use lettre::message::Mailbox;

use crate::configuration::section::Section;
use crate::configuration::template::Template;
use crate::configuration::{AddressRule, Class, ConnectorConfiguration};
use crate::connectors::{Connector, Kind, Settings, Unusable};

use super::Smtp;
use super::message::Recipients;
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
    /// The addresses that may be connected to.
    pub(super) addresses: AddressRule,
}

impl Settings for SmtpSettings {
    fn build(&self, _name: &ConnectorName, _common: &ConnectorConfiguration) -> Result<Arc<dyn Connector>, Unusable> {
        Ok(Arc::new(Smtp::build(self)?))
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
    Some(Arc::new(SmtpSettings { url: url?, plain, from: from?, allow_to, addresses }))
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
