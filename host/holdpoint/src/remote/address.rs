//! Where a server is, and to whom a key may be sent.

use std::net::IpAddr;

use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::failure::Failure;

/// Where a server is, and how to come in.
pub(crate) struct Connection {
    /// Its address, without a slash at the end.
    pub(super) url: Url,
    /// Proves who asks.
    pub(super) key: Option<HeaderValue>,
}

impl Connection {
    /// Reads an address and a key.
    ///
    /// # Errors
    /// `HP0735`: neither http nor https, or a key that would travel in clear, or that no header can hold.
    pub(super) fn new(server: &str, key: Option<&str>, insecure: bool) -> Result<Self, Failure> {
        let wrong = |message: String, cure: &str| Failure::invalid("HP0735", message, cure);
        let url = Url::parse(server).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(mut url) = url else {
            return Err(wrong(
                format!("{server:?} is not the address of a server"),
                "give --server http://HOST:PORT or https://HOST",
            ));
        };
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong(
                "the server's address has a user name, a password, a query or a fragment".to_owned(),
                "give the address alone, and the key in HOLDPOINT_API_KEY",
            ));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        let key = key.map(str::trim).filter(|key| !key.is_empty());
        if key.is_some() && url.scheme() == "http" && !insecure && !is_loopback(&url) {
            return Err(wrong(
                format!("the key would travel to {url} in clear, where whoever is between can read and use it"),
                "use an https:// address; or --insecure where nobody can be between, such as in a tunnel",
            ));
        }
        let header = |key: &str| {
            let mut value = HeaderValue::from_str(key).ok()?;
            value.set_sensitive(true);
            Some(value)
        };
        let key = match key.map(header) {
            Some(None) => {
                return Err(wrong(
                    "the API key holds characters that no key has".to_owned(),
                    "copy it again: `hp_` and 43 characters",
                ));
            }
            Some(key) => key,
            None => None,
        };
        Ok(Self { url, key })
    }

    /// The address of a resource.
    pub(super) fn at(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        let whole = format!("{}{path}", url.path().trim_end_matches('/'));
        url.set_path(&whole);
        url
    }

    /// The address, as people are told it.
    pub(super) fn shown(&self) -> String {
        self.url.as_str().trim_end_matches('/').to_owned()
    }

    /// Whether nobody can be between.
    pub(super) fn is_loopback(&self) -> bool {
        is_loopback(&self.url)
    }
}

/// Whether an address names this machine whatever a name server says.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(server: &str, key: Option<&str>, insecure: bool) -> bool {
        match Connection::new(server, key, insecure) {
            Ok(_) => false,
            Err(failure) => {
                assert_eq!(failure.code, "HP0735");
                assert!(!failure.message.contains("hp_secret"), "{failure}");
                true
            }
        }
    }

    #[test]
    fn a_key_does_not_travel_in_clear() {
        let key = Some("hp_secret");
        for here in ["http://127.0.0.1:2024", "http://localhost:2024/", "http://[::1]:2024", "http://127.9.9.9"] {
            assert!(!refused(here, key, false), "{here}");
        }
        for elsewhere in [
            "http://10.0.0.1:2024",
            "http://holdpoint.example",
            "http://localhost.example",
            "http://127.0.0.1.example",
            "http://app.localhost.example",
        ] {
            assert!(refused(elsewhere, key, false), "{elsewhere}");
            assert!(!refused(elsewhere, key, true), "{elsewhere}: said to be fine");
            assert!(!refused(elsewhere, None, false), "{elsewhere}: no key");
            assert!(!refused(elsewhere, Some(" "), false), "{elsewhere}: an empty key");
            assert!(!refused(&elsewhere.replace("http:", "https:"), key, false));
        }
    }

    #[test]
    fn addresses() {
        for wrong in ["", "holdpoint.example", "ftp://x", "http://", "http://a:b@x", "http://x?y", "file:///etc/passwd"]
        {
            assert!(refused(wrong, None, false), "{wrong}");
        }
        assert!(refused("https://x", Some("a\nb"), false));
        let connection =
            Connection::new("https://x.example/base/", None, false).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(connection.at("/commands").as_str(), "https://x.example/base/commands");
        assert_eq!(connection.shown(), "https://x.example/base");
        let connection = Connection::new("http://127.0.0.1:1", None, false).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(connection.at("/commands").as_str(), "http://127.0.0.1:1/commands");
    }
}
