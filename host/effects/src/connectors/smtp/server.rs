//! The URL of a mail server.

use std::net::IpAddr;

use percent_encoding::percent_decode_str;
use reqwest::Url;

use crate::configuration::secret::Secret;

/// Where e-mails go.
#[derive(Debug, Clone)]
pub(super) struct Server {
    /// A name or an address.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
}

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    /// TLS from the first byte.
    Wrapped,
    /// TLS before anything is said, or nothing is said.
    StartTls,
    /// None.
    Plain,
}

impl Server {
    /// Reads `smtps://user:password@host:port` (TLS, port 465) or `smtp://…` (STARTTLS, port 587). `plain`: no TLS is asked for, wherever the server is;
    /// for servers on this machine it never is with `smtp://`.
    ///
    /// # Errors
    /// What is wrong with it, without showing it.
    pub(super) fn parse(text: &str, plain: bool) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
        let wrapped = match url.scheme() {
            "smtps" => true,
            "smtp" => false,
            _ => return Err("does not begin with smtps:// or smtp://".into()),
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err("has more than a host and a port".into());
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("has no host")?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let security = match (wrapped, plain) {
            (true, true) => return Err("begins with smtps://, but `tls` is \"none\"".into()),
            (true, false) => Security::Wrapped,
            (false, plain) if plain || here => Security::Plain,
            (false, _) => Security::StartTls,
        };
        let decoded = |text: &str| {
            let decoded =
                percent_decode_str(text).decode_utf8().map_err(|_| "has a user or password that is no UTF-8")?;
            Ok::<_, String>(decoded.into_owned())
        };
        let user = Some(url.username()).filter(|user| !user.is_empty()).map(decoded).transpose()?;
        let password = url.password().map(decoded).transpose()?.map(Secret::new);
        if user.is_some() != password.is_some() {
            return Err("has a user without a password, or a password without a user".into());
        }
        if security == Security::Plain && user.is_some() && !here {
            return Err("would send its password in the clear".into());
        }
        let port = url.port().unwrap_or(if wrapped { 465 } else { 587 });
        Ok(Self { host, port, security, user, password })
    }

    /// The host where it is an address.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, plain: bool) -> Result<String, String> {
        let server = Server::parse(text, plain)?;
        assert!(!format!("{server:?}").contains("s3cret"), "{server:?}");
        Ok(format!("{}:{} {:?} {:?}", server.host, server.port, server.security, server.user))
    }

    #[test]
    fn urls_of_mail_servers() {
        let table = [
            ("smtps://ana:s3cret@mail.example", false, Ok("mail.example:465 Wrapped Some(\"ana\")")),
            (
                "smtp://ana%40example.com:s3cret@mail.example:25",
                false,
                Ok("mail.example:25 StartTls Some(\"ana@example.com\")"),
            ),
            ("smtp://mail.example", true, Ok("mail.example:587 Plain None")),
            ("smtp://127.0.0.1:2525", false, Ok("127.0.0.1:2525 Plain None")),
            ("smtp://ana:s3cret@[::1]:2525", false, Ok("::1:2525 Plain Some(\"ana\")")),
            ("smtp://ana:s3cret@mail.example", true, Err("would send its password in the clear")),
            ("smtps://mail.example", true, Err("begins with smtps://, but `tls` is \"none\"")),
            ("smtps://ana@mail.example", false, Err("has a user without a password, or a password without a user")),
            ("smtps://mail.example/x", false, Err("has more than a host and a port")),
            ("smtps://mail.example?tls=none", false, Err("has more than a host and a port")),
            ("https://mail.example", false, Err("does not begin with smtps:// or smtp://")),
            ("mail.example", false, Err("is not a URL: relative URL without a base")),
        ];
        for (text, plain, expected) in table {
            assert_eq!(check(text, plain), expected.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }
}
