//! Addresses of databases.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use tokio_postgres::config::{Host, SslMode};

use crate::configuration::secret::Secret;

use super::statement::Dialect;

/// Where a database is.
pub(super) enum DatabaseUrl {
    /// A file.
    Sqlite(PathBuf),
    /// A server.
    Postgres {
        /// How it is connected to.
        config: Box<tokio_postgres::Config>,
        /// Whether the connection is encrypted and the server verified.
        tls: bool,
    },
}

impl DatabaseUrl {
    /// Reads `sqlite:PATH`, relative to `folder`, or `postgres://…`.
    ///
    /// `sslmode` is `require` or `verify-full`, which both verify the server's certificate and name, or `disable`. Without it, servers on this machine are
    /// connected to without TLS, all others with it.
    ///
    /// # Errors
    /// What is wrong with it, without showing it.
    pub(super) fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        match Dialect::of_url(text) {
            Some(Dialect::Sqlite) => sqlite(&text["sqlite:".len()..], folder).map(Self::Sqlite),
            Some(Dialect::Postgres) => postgres(text),
            None => Err("does not begin with sqlite: or postgres://".into()),
        }
    }

    /// The password in it.
    pub(super) fn password(&self) -> Option<Secret> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres { config, .. } => {
                config.get_password().map(|password| Secret::new(String::from_utf8_lossy(password)))
            }
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres { .. } => Dialect::Postgres,
        }
    }
}

fn sqlite(path: &str, folder: &Path) -> Result<PathBuf, String> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.starts_with(':') || path.contains(['?', '\0']) {
        // A database in memory has forgotten its operations at the next start.
        return Err("is not the path of a file".into());
    }
    let path = folder.join(path);
    if path.file_name().is_none() || path.is_dir() {
        return Err("is not the path of a file".into());
    }
    Ok(path)
}

fn postgres(text: &str) -> Result<DatabaseUrl, String> {
    let (text, mode) = take_ssl_mode(text);
    // The parser's own message may quote the text.
    let mut config: tokio_postgres::Config = text.parse().map_err(|_| "is not the URL of a PostgreSQL server")?;
    if config.get_hosts().is_empty() {
        return Err("names no host".into());
    }
    let here = config.get_hosts().iter().all(is_this_machine) && config.get_hostaddrs().iter().all(IpAddr::is_loopback);
    let tls = match mode.as_deref() {
        Some("require" | "verify-full") => true,
        Some("disable") => false,
        Some(_) => return Err("has an `sslmode` other than `require`, `verify-full` and `disable`".into()),
        None => !here,
    };
    config.ssl_mode(if tls { SslMode::Require } else { SslMode::Disable });
    if config.get_application_name().is_none() {
        config.application_name("holdpoint");
    }
    Ok(DatabaseUrl::Postgres { config: Box::new(config), tls })
}

/// Takes `sslmode` out of the query: the driver knows other modes than we want.
fn take_ssl_mode(text: &str) -> (String, Option<String>) {
    let Some((base, query)) = text.split_once('?') else { return (text.to_owned(), None) };
    let (mode, others): (Vec<&str>, Vec<&str>) = query.split('&').partition(|pair| pair.starts_with("sslmode="));
    let mode = mode.last().map(|pair| pair["sslmode=".len()..].to_owned());
    let text = if others.is_empty() { base.to_owned() } else { format!("{base}?{}", others.join("&")) };
    (text, mode)
}

fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<String, String> {
        DatabaseUrl::parse(text, Path::new("/etc/holdpoint")).map(|url| match url {
            DatabaseUrl::Sqlite(path) => path.display().to_string(),
            DatabaseUrl::Postgres { tls, .. } => format!("tls={tls}"),
        })
    }

    #[test]
    fn addresses_of_databases() {
        let table = [
            ("sqlite:ledger.db", Ok("/etc/holdpoint/ledger.db")),
            ("sqlite:///var/ledger.db", Ok("/var/ledger.db")),
            ("sqlite:/var/ledger.db", Ok("/var/ledger.db")),
            ("sqlite:", Err("is not the path of a file")),
            ("sqlite::memory:", Err("is not the path of a file")),
            ("sqlite:a.db?mode=memory", Err("is not the path of a file")),
            ("sqlite:..", Err("is not the path of a file")),
            ("postgres://u:s3cret@localhost/db", Ok("tls=false")),
            ("postgresql://u:s3cret@127.0.0.1:5433/db", Ok("tls=false")),
            ("postgres://u:s3cret@%2Frun%2Fpostgresql/db", Ok("tls=false")),
            ("postgres://u:s3cret@db.example/db", Ok("tls=true")),
            ("postgres://u:s3cret@localhost,db.example/db", Ok("tls=true")),
            ("postgres://u:s3cret@localhost/db?hostaddr=10.0.0.1", Ok("tls=true")),
            ("postgres://u:s3cret@db.example/db?sslmode=disable", Ok("tls=false")),
            ("postgres://u:s3cret@localhost/db?sslmode=require&connect_timeout=3", Ok("tls=true")),
            ("postgres://u:s3cret@db.example/db?sslmode=verify-full", Ok("tls=true")),
            (
                "postgres://u:s3cret@db.example/db?sslmode=prefer",
                Err("has an `sslmode` other than `require`, `verify-full` and `disable`"),
            ),
            ("postgres://u:s3cret@db.example:port/db", Err("is not the URL of a PostgreSQL server")),
            ("postgres:///db", Err("names no host")),
            ("mysql://u:s3cret@host/db", Err("does not begin with sqlite: or postgres://")),
        ];
        for (text, expected) in table {
            assert_eq!(check(text), expected.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }
}
