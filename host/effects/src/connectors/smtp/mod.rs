//! `smtp`: one e-mail to people whom the operator lets nodes write to.
//!
//! The request is `{ to: [address], subject, text, html?, reply_to? }`, the answer `{ message_id, accepted }`: the recipients that the server took, which
//! are all of them; where it refuses one, nothing is sent to anybody. The Message-ID comes from the operation's key and is the same over all attempts.
//!
//! # Layout
//!
//! * `settings`: its keys in the configuration. `server`: the server's URL.
//! * `message`: a guest's request, checked, and the e-mail that comes of it.
//! * `delivery`: the conversation with the server, and what each of its ends means.

mod delivery;
mod message;
mod server;
mod settings;

use std::sync::Arc;

use async_trait::async_trait;
use holdpoint_graph::operation::OperationKey;
use lettre::address::Envelope;
use lettre::message::Mailbox;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::attempt::{Attempt, NotSent, Reply};
use crate::configuration::AddressRule;
use crate::configuration::secret::Scrubber;

use super::{Connector, Outgoing, Prepared, Rejection, Unusable, telling};
use delivery::Phase;
use message::{Mail, Recipients};
use server::Server;
use settings::SmtpSettings;

pub(crate) use message::{RECIPIENTS_MAX, is_address};
pub(crate) use settings::KIND;

/// E-mails through one server.
pub struct Smtp(Arc<Target>);

struct Target {
    server: Server,
    from: Mailbox,
    recipients: Recipients,
    notice_recipients: Recipients,
    addresses: AddressRule,
    scrubber: Scrubber,
}

impl Smtp {
    /// Fills the secrets in. Connects to nothing.
    fn build(settings: &SmtpSettings) -> Result<Self, Unusable> {
        let resolved = settings.url.resolve()?;
        let fault = |reason: String| Unusable::value("url", settings.url.place(), reason);
        let server = Server::parse(resolved.text.expose(), settings.plain).map_err(fault)?;
        // The password is one even where it stands in the configuration itself.
        let scrubber = Scrubber::new(resolved.secrets.iter().chain(&server.password));
        Ok(Self(Arc::new(Target {
            server,
            from: settings.from.clone(),
            recipients: settings.allow_to.clone(),
            notice_recipients: settings.notices_to.clone(),
            addresses: settings.addresses.clone(),
            scrubber,
        })))
    }
}

impl Connector for Smtp {
    fn prepare(&self, key: &OperationKey, request: &Value) -> Result<Box<dyn Prepared>, Rejection> {
        let target = &self.0;
        let notice = telling::is_notice(key.id.as_str());
        let mail = Mail::read(request, if notice { &target.notice_recipients } else { &target.recipients })?;
        if self.0.server.address().is_some_and(|address| !self.0.addresses.allows(address)) {
            return Err(Rejection::Address);
        }
        let message_id = message::message_id(key, &self.0.from);
        Ok(Box::new(PreparedMail { target: self.0.clone(), mail, message_id }))
    }
}

struct PreparedMail {
    target: Arc<Target>,
    mail: Mail,
    message_id: String,
}

#[async_trait]
impl Prepared for PreparedMail {
    async fn send(&self, outgoing: Outgoing) -> Attempt {
        let target = &*self.target;
        let until = Instant::now() + outgoing.timeout;
        let envelope = Envelope::new(Some(target.from.email.clone()), self.mail.to.clone());
        let message = self.mail.message(&target.from, &self.message_id, outgoing.at_ms);
        let (Ok(envelope), Ok(message)) = (envelope, message) else {
            return Attempt::NotSent(NotSent::ForNow("the e-mail cannot be written".into()));
        };
        let phase = Phase::default();
        let delivery = delivery::deliver(target, &envelope, &message, outgoing.timeout, &phase);
        match timeout_at(until, delivery).await {
            Ok(None) => Attempt::Landed(Reply::Done(self.answer())),
            Ok(Some(attempt)) => attempt,
            Err(_) if phase.may_have_arrived() => {
                Attempt::Unknown(format!("the server did not confirm within {} ms", outgoing.timeout.as_millis()))
            }
            Err(_) => Attempt::NotSent(NotSent::ForNow(format!(
                "the server did not get ready within {} ms",
                outgoing.timeout.as_millis()
            ))),
        }
    }
}

impl PreparedMail {
    fn answer(&self) -> Value {
        let accepted: Vec<&str> = self.mail.to.iter().map(AsRef::as_ref).collect();
        json!({ "message_id": self.message_id, "accepted": accepted })
    }
}
