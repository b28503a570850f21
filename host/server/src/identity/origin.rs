//! Which page of a browser a request comes from. Any web page can make a browser send requests here, in the name of whoever sits before it: what
//! rides on a cookie or on the loopback address alone must come from our own pages.

use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};

use super::loopback::is_loopback_name;
use crate::settings::Settings;

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Not a browser, or one that says nothing.
    Unsaid,
    /// A page of this server, or the address bar.
    Own,
    /// A page that the operator has listed by name.
    Listed,
    /// A page of another server on the same machine.
    Local,
    /// A link on another site that was followed: its page does not see the answer.
    Followed,
    /// A page of another site.
    Foreign,
}

impl Source {
    pub(super) fn of(parts: &Parts, settings: &Settings) -> Self {
        let headers = &parts.headers;
        if let Some(origin) = headers.get(header::ORIGIN) {
            let Ok(origin) = origin.to_str() else { return Self::Foreign };
            return of_origin(origin, headers, settings);
        }
        match text(headers, "sec-fetch-site") {
            None => Self::Unsaid,
            Some("same-origin" | "none") => Self::Own,
            Some(_) if parts.method == Method::GET && text(headers, "sec-fetch-mode") == Some("navigate") => {
                Self::Followed
            }
            Some(_) => Self::Foreign,
        }
    }
}

fn of_origin(origin: &str, headers: &HeaderMap, settings: &Settings) -> Source {
    let Some((_, authority)) = origin.split_once("://") else { return Source::Foreign };
    let own = text(headers, "host").is_some_and(|host| host.eq_ignore_ascii_case(authority));
    if own || settings.public_url.as_deref().and_then(origin_of_url).is_some_and(|own| own.eq_ignore_ascii_case(origin))
    {
        return Source::Own;
    }
    if settings.cors_origins.iter().any(|listed| listed.eq_ignore_ascii_case(origin)) {
        return Source::Listed;
    }
    if is_loopback_name(authority) { Source::Local } else { Source::Foreign }
}

/// `https://host:port` of an address.
fn origin_of_url(url: &str) -> Option<&str> {
    let start = url.find("://")? + "://".len();
    let end = url[start..].find('/').map_or(url.len(), |slash| start + slash);
    Some(&url[..end])
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn check(method: &str, headers: &[(&str, &str)], expected: Source) {
        let mut request = Request::builder().method(method).uri("/threads").header("host", "127.0.0.1:2024");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let settings = Settings {
            public_url: Some("https://hold.example/base".to_owned()),
            cors_origins: vec!["*".to_owned(), "https://chat.example".to_owned()],
            ..Settings::default()
        };
        assert_eq!(Source::of(&parts, &settings), expected, "{method} {headers:?}");
    }

    #[test]
    fn sources() {
        check("POST", &[], Source::Unsaid);
        check("POST", &[("origin", "http://127.0.0.1:2024")], Source::Own);
        check("POST", &[("origin", "https://hold.example")], Source::Own);
        check("POST", &[("origin", "https://hold.example.evil")], Source::Foreign);
        check("POST", &[("origin", "https://chat.example")], Source::Listed);
        check("POST", &[("origin", "http://localhost:3000")], Source::Local);
        check("GET", &[("origin", "https://evil.example")], Source::Foreign);
        check("POST", &[("origin", "null")], Source::Foreign);
        // The header of the browser counts for nothing where it names its page.
        check("POST", &[("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")], Source::Foreign);
        check("GET", &[("sec-fetch-site", "same-origin")], Source::Own);
        check("GET", &[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")], Source::Own);
        check("GET", &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], Source::Followed);
        check("POST", &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], Source::Foreign);
        check("GET", &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")], Source::Foreign);
        check("POST", &[("sec-fetch-site", "same-site")], Source::Foreign);
    }
}
