//! The `smtp` connector against a small mail server on loopback.

use crate::support;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::connectors::{connector, global, outgoing, prepare, send_within};
use holdpoint_effects::connectors::{Connector, Rejection};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What the server does at one step, instead of agreeing.
#[derive(Debug, Clone, Copy)]
enum At {
    Greeting,
    Auth,
    Mail,
    Recipient(&'static str),
    Data,
    End,
}

#[derive(Debug, Clone, Copy)]
enum Do {
    Say(&'static str),
    Drop,
    Silence,
}

const EHLO: &str = "250-mail.example\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN";

/// A mail server: what it took, and what it was told.
#[derive(Clone)]
struct MailServer {
    port: u16,
    taken: Arc<Mutex<Vec<String>>>,
    commands: Arc<Mutex<Vec<String>>>,
}

impl MailServer {
    async fn start(odd: Option<(At, Do)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server =
            Self { port: listener.local_addr().unwrap().port(), taken: Arc::default(), commands: Arc::default() };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move { serving.serve(stream, odd).await });
            }
        });
        server
    }

    /// None at the end of the connection.
    async fn serve(&self, stream: TcpStream, odd: Option<(At, Do)>) -> Option<()> {
        let mut stream = BufReader::new(stream);
        let (mut message, mut in_data) = (String::new(), false);
        self.reply(&mut stream, odd, "greeting", "220 mail.example ESMTP").await?;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            if in_data {
                if line == "." {
                    in_data = false;
                    self.taken.lock().unwrap().push(std::mem::take(&mut message));
                    self.reply(&mut stream, odd, "end", "250 2.0.0 taken").await?;
                } else {
                    message.push_str(line);
                    message.push('\n');
                }
                continue;
            }
            self.commands.lock().unwrap().push(line.to_owned());
            let upper = line.to_ascii_uppercase();
            match upper.split([' ', ':']).next().unwrap() {
                "EHLO" => self.reply(&mut stream, odd, "ehlo", EHLO).await?,
                "AUTH" => self.reply(&mut stream, odd, "auth", "235 2.7.0 welcome").await?,
                "MAIL" => self.reply(&mut stream, odd, "mail", "250 2.1.0 ok").await?,
                "RCPT" => self.reply(&mut stream, odd, line, "250 2.1.5 ok").await?,
                "DATA" => {
                    in_data = true;
                    self.reply(&mut stream, odd, "data", "354 go on").await?;
                }
                "QUIT" => return None,
                _ => self.reply(&mut stream, odd, "other", "500 what?").await?,
            }
        }
    }

    async fn reply(
        &self,
        stream: &mut BufReader<TcpStream>,
        odd: Option<(At, Do)>,
        step: &str,
        usual: &str,
    ) -> Option<()> {
        let now = odd.filter(|(at, _)| match at {
            At::Greeting => step == "greeting",
            At::Auth => step == "auth",
            At::Mail => step == "mail",
            At::Recipient(whom) => step.contains(whom),
            At::Data => step == "data",
            At::End => step == "end",
        });
        let text = match now {
            None => usual,
            Some((_, Do::Say(text))) => text,
            Some((_, Do::Drop)) => return None,
            Some((_, Do::Silence)) => {
                let mut rest = String::new();
                while stream.read_line(&mut rest).await.ok()? > 0 {}
                return None;
            }
        };
        stream.write_all(format!("{text}\r\n").as_bytes()).await.ok()
    }

    fn connector(&self, more: &str) -> Arc<dyn Connector> {
        let text = format!(
            "[connectors.it]\nkind = \"smtp\"\nurl = \"smtp://ana:${{env:PASSWORD}}@127.0.0.1:{}\"\nfrom = \"Holdpoint <hold@example.com>\"\n\
             allow_to = [\"*@example.com\"]\naddresses = [\"127.0.0.0/8\"]\n{more}",
            self.port
        );
        connector(&text, &[("PASSWORD", "s3cret-word")], "it")
    }

    fn taken(&self) -> Vec<String> {
        self.taken.lock().unwrap().clone()
    }
}

fn mail() -> Value {
    json!({ "to": ["bob@example.com", "eve@example.com", "bob@example.com"], "subject": "Refund 1", "text": "done\n.\n..x" })
}

#[tokio::test]
async fn a_mail_is_taken_and_its_message_id_stays() {
    let server = MailServer::start(None).await;
    let prepared = server.connector("").prepare(&global("refund:1"), &mail()).unwrap();
    let first = support::connectors::line(&prepared.send(outgoing(Duration::from_secs(10))).await);
    let again = send_within(&server.connector(""), "refund:1", &mail(), Duration::from_secs(10)).await;
    let other = send_within(&server.connector(""), "refund:2", &mail(), Duration::from_secs(10)).await;
    assert!(
        first.starts_with("done {\"accepted\":[\"bob@example.com\",\"eve@example.com\"],\"message_id\":\"<"),
        "{first}"
    );
    assert!(first == again && first != other, "{first} {again} {other}");
    let taken = server.taken();
    let id = taken[0].lines().find(|line| line.starts_with("Message-ID: <")).unwrap();
    assert!(first.contains(&id["Message-ID: ".len()..]) && id.ends_with("@example.com>"), "{id}");
    assert!(
        taken[0].contains("From: Holdpoint <hold@example.com>\n") && taken[0].contains("\n\ndone\n..\n...x\n"),
        "{}",
        taken[0]
    );
    let commands = server.commands.lock().unwrap();
    let said = |start: &str| commands.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!(
        (said("MAIL FROM:<hold@example.com>"), said("RCPT TO:"), said("AUTH PLAIN"), said("BDAT")),
        (3, 6, 3, 0)
    );
}

#[tokio::test]
async fn every_end_of_a_conversation() {
    let table = [
        (At::Greeting, Do::Say("554 no"), "not sent: ", 0),
        (At::Greeting, Do::Drop, "not sent: ", 0),
        (At::Greeting, Do::Silence, "not sent: ForNow(\"the server did not get ready within 300 ms", 0),
        (
            At::Auth,
            Do::Say("535 s3cret-word is wrong"),
            "not sent: ForNow(\"the server does not let us in: 535 [secret] is wrong",
            0,
        ),
        (At::Mail, Do::Say("451 later"), "later smtp-451: ", 0),
        (At::Mail, Do::Drop, "not sent: ", 0),
        (
            At::Recipient("eve@"),
            Do::Say("550-no such\r\n550 user"),
            "rejected smtp-550: the server refused the e-mail for eve@example.com: 550 ",
            0,
        ),
        (At::Recipient("eve@"), Do::Say("450 greylisted"), "later smtp-450: ", 0),
        (At::Recipient("bob@"), Do::Drop, "not sent: ", 0),
        (At::Data, Do::Say("503 no"), "rejected smtp-503: ", 0),
        (At::Data, Do::Drop, "not sent: ", 0),
        (At::Data, Do::Silence, "not sent: ForNow(\"the server did not get ready within 300 ms", 0),
        (At::End, Do::Say("554-5.7.1 spam\r\n554 5.7.1 really"), "rejected smtp-554: ", 1),
        (At::End, Do::Say("452 disk full"), "later smtp-452: ", 1),
        (At::End, Do::Say("what?"), "unknown: ", 1),
        (At::End, Do::Drop, "unknown: ", 1),
        (At::End, Do::Silence, "unknown: the server did not confirm within 300 ms", 1),
    ];
    for (at, action, expected, taken) in table {
        let server = MailServer::start(Some((at, action))).await;
        let found = send_within(&server.connector(""), "a", &mail(), Duration::from_millis(300)).await;
        assert!(found.starts_with(expected) && !found.contains("s3cret"), "{at:?} {action:?}: {found}");
        assert_eq!(server.taken().len(), taken, "{at:?} {action:?}");
    }
}

#[tokio::test]
async fn nothing_leaves_without_permission_or_encryption() {
    let server = MailServer::start(None).await;
    let connector = server.connector("");
    let to = |to: &str| json!({ "to": ["bob@example.com", to], "subject": "s", "text": "t" });
    assert!(matches!(prepare(&connector, "a", &to("x@evil.example")), Err(Rejection::Denied(_))));
    assert!(matches!(
        prepare(&connector, "a", &to("x@example.com\r\nRCPT TO:<x@evil.example>")),
        Err(Rejection::Invalid(_))
    ));
    let at = |host: &str, more: &str| {
        let text = format!(
            "[connectors.it]\nkind = \"smtp\"\nurl = \"smtp://ana:s3cret-word@{host}:{}\"\nfrom = \"hold@example.com\"\nallow_to = [\"*\"]\n{more}",
            server.port
        );
        support::connectors::connector(&text, &[], "it")
    };
    for host in ["127.0.0.1", "[::1]", "0.0.0.0", "10.0.0.1"] {
        assert!(matches!(prepare(&at(host, ""), "a", &mail()), Err(Rejection::Address)), "{host}");
    }
    let named = send_within(&at("localhost", ""), "a", &mail(), Duration::from_secs(5)).await;
    assert_eq!(named, "not sent: AddressNotAllowed");
    // Any address but this machine's own name for itself is encrypted, or nothing is said.
    let plain = send_within(&at("0.0.0.0", "addresses = \"any\""), "a", &mail(), Duration::from_secs(5)).await;
    assert!(plain.starts_with("not sent: ForNow(\"the connection cannot be encrypted"), "{plain}");
    assert!(server.taken().is_empty());
    let commands = server.commands.lock().unwrap();
    assert!(!commands.iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL")), "{commands:?}");
}
