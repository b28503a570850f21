//! The conversation with a mail server. Until the end of the message nothing is delivered; after it nobody knows before the server says so.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lettre::Address;
use lettre::address::Envelope;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;

use crate::attempt::{Attempt, NotSent, Reply, failure};
use crate::connectors::address::{AddressNotAllowed, resolve};

use super::Target;
use super::server::Security;

/// How far a conversation is.
#[derive(Default)]
pub(super) struct Phase(AtomicBool);

impl Phase {
    /// Whether the message may have been taken.
    pub(super) fn may_have_arrived(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Delivers a message; none when the server took it for all recipients.
pub(super) async fn deliver(
    target: &Target,
    envelope: &Envelope,
    message: &[u8],
    timeout: Duration,
    phase: &Phase,
) -> Option<Attempt> {
    let mut connection = match connect(target, timeout).await {
        Ok(connection) => connection,
        Err(attempt) => return Some(attempt),
    };
    let ended = converse(target, &mut connection, envelope, message, phase).await;
    // A polite end, which nobody waits for: whatever it says changes nothing.
    if ended.is_none() {
        tokio::spawn(async move {
            let _ = tokio::time::timeout(Duration::from_secs(1), connection.quit()).await;
        });
    }
    ended
}

async fn connect(target: &Target, timeout: Duration) -> Result<AsyncSmtpConnection, Attempt> {
    let server = &target.server;
    let not_sent = |reason: String| Attempt::NotSent(NotSent::ForNow(target.scrubber.text(reason)));
    let resolved = resolve(&target.addresses, &server.host, server.port).await.map_err(|error| {
        if is_not_allowed(&error) {
            Attempt::NotSent(NotSent::AddressNotAllowed)
        } else {
            not_sent("the server's name cannot be resolved".into())
        }
    })?;
    let tls = match server.security {
        Security::Plain => None,
        // The certificate is that of the name, though the connection goes to the address that was checked.
        Security::Wrapped | Security::StartTls => Some(
            TlsParameters::new(server.host.clone())
                .map_err(|_| not_sent("there is no TLS: the system's certificates cannot be used".into()))?,
        ),
    };
    let (wrapped, upgrade) = match server.security {
        Security::Wrapped => (tls, None),
        Security::StartTls => (None, tls),
        Security::Plain => (None, None),
    };
    let hello = ClientId::default();
    let connecting = AsyncSmtpConnection::connect_tokio1(&resolved[..], Some(timeout), &hello, wrapped, None);
    let mut connection =
        connecting.await.map_err(|error| not_sent(format!("the server cannot be reached: {}", describe(&error))))?;
    if let Some(tls) = upgrade {
        connection
            .starttls(tls, &hello)
            .await
            .map_err(|error| not_sent(format!("the connection cannot be encrypted: {}", describe(&error))))?;
    }
    if let (Some(user), Some(password)) = (&server.user, &server.password) {
        let credentials = Credentials::new(user.clone(), password.expose().to_owned());
        connection
            .auth(DEFAULT_MECHANISMS, &credentials)
            .await
            .map_err(|error| not_sent(format!("the server does not let us in: {}", describe(&error))))?;
    }
    Ok(connection)
}

/// None when the message is taken.
async fn converse(
    target: &Target,
    connection: &mut AsyncSmtpConnection,
    envelope: &Envelope,
    message: &[u8],
    phase: &Phase,
) -> Option<Attempt> {
    let sender = Mail::new(envelope.from().cloned(), Vec::new());
    if let Err(error) = connection.command(sender).await {
        return Some(refused(target, &error, None));
    }
    // One recipient who is refused stops all: half a notification is none that could be repeated.
    for recipient in envelope.to() {
        if let Err(error) = connection.command(Rcpt::new(recipient.clone(), Vec::new())).await {
            return Some(refused(target, &error, Some(recipient)));
        }
    }
    if let Err(error) = connection.command(Data).await {
        return Some(refused(target, &error, None));
    }
    phase.0.store(true, Ordering::Relaxed);
    match connection.message(message).await {
        Ok(_) => None,
        Err(error) if error.status().is_some() => Some(refused(target, &error, None)),
        Err(error) => Some(Attempt::Unknown(target.scrubber.text(describe(&error)))),
    }
}

/// What an error means as long as the message is not taken: a reply of the server says so; whatever else happens, nothing is delivered.
fn refused(target: &Target, error: &Error, recipient: Option<&Address>) -> Attempt {
    let whom = recipient.map_or(String::new(), |recipient| format!(" for {recipient}"));
    let message = target.scrubber.text(format!("the server refused the e-mail{whom}: {}", describe(error)));
    match error.status() {
        Some(status) if error.is_permanent() => {
            Attempt::Landed(Reply::Rejected(failure(format!("smtp-{status}"), message)))
        }
        Some(status) => Attempt::Landed(Reply::Later(failure(format!("smtp-{status}"), message))),
        None => Attempt::NotSent(NotSent::ForNow(target.scrubber.text(describe(error)))),
    }
}

fn is_not_allowed(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inside| inside.is::<AddressNotAllowed>())
}

/// The server's own words, or the cause.
fn describe(error: &Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    match (error.status(), cause) {
        (Some(status), Some(words)) => format!("{status} {words}"),
        (Some(status), None) => status.to_string(),
        (None, Some(cause)) => cause,
        (None, None) => "the connection failed".into(),
    }
}
