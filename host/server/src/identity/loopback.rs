//! Callers on the host itself need no key, as long as nothing suggests that they only came through it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use holdpoint_engine::Principal;
use holdpoint_graph::actor::Actor;

use super::origin::Source;
use crate::caller::{Caller, Role};
use crate::settings::Settings;

/// The name of a caller on loopback who gives none.
const NAME: &str = "loopback";

/// Headers that a proxy adds: whoever is behind it is not on this host.
const PROXIES: [&str; 9] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-server",
    "x-real-ip",
    "cf-connecting-ip",
];

/// Longest name, and longest list of groups, that a caller may give themselves, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// The caller, where a request without any credential comes from the host itself.
pub(super) fn caller(parts: &Parts, peer: Option<SocketAddr>, settings: &Settings) -> Option<Caller> {
    let on_host = settings.loopback_trusted
        && peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback())
        && !PROXIES.iter().any(|name| parts.headers.contains_key(*name))
        // A page whose name was made to point here (DNS rebinding) sends its own name.
        && parts.uri.authority().is_none_or(|authority| is_loopback_name(authority.as_str()))
        && text(&parts.headers, header::HOST.as_str()).is_some_and(is_loopback_name);
    let allowed = match Source::of(parts, settings) {
        Source::Unsaid | Source::Own | Source::Listed | Source::Local | Source::Followed => true,
        Source::Foreign => false,
    };
    if !on_host || !allowed {
        return None;
    }
    let name = text(&parts.headers, "x-holdpoint-actor").map_or(Some(NAME), name_of)?;
    let groups = text(&parts.headers, "x-holdpoint-groups").map_or(Some(BTreeSet::new()), groups_of)?;
    let tenant = settings.tenant.clone();
    Some(Caller {
        principal: Principal { actor: Actor::asserted(name), groups, tenant, authenticated: None },
        role: Some(Role::Admin),
        by_cookie: false,
        page: None,
    })
}

fn name_of(text: &str) -> Option<&str> {
    (!text.is_empty() && text.len() <= NAME_BYTES_MAX && text.trim() == text).then_some(text)
}

fn groups_of(text: &str) -> Option<BTreeSet<String>> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    (text.len() <= NAME_BYTES_MAX).then(|| names.map(str::to_owned).collect())
}

/// Whether `host` or `host:port` names this machine whatever a name server says.
pub(super) fn is_loopback_name(authority: &str) -> bool {
    if let Some(inside) = authority.strip_prefix('[') {
        let Some((address, port)) = inside.split_once(']') else { return false };
        let plain = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return plain
            && address.parse::<Ipv6Addr>().is_ok_and(|address| IpAddr::from(address).to_canonical().is_loopback());
    }
    let host = match authority.split_once(':') {
        Some((host, port)) if is_port(port) => host,
        Some(_) => return false,
        None => authority,
    };
    let host = host.to_ascii_lowercase();
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    #[test]
    fn names_of_this_machine() {
        for name in ["localhost", "LocalHost:2024", "127.0.0.1", "127.9.9.9:1", "[::1]:80", "[::1]", "app.localhost"] {
            assert!(is_loopback_name(name), "{name}");
        }
        for name in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "[::2]",
            "",
            "localhost:x",
            "[::1]x",
            "127.0.0.1@evil",
        ] {
            assert!(!is_loopback_name(name), "{name}");
        }
    }

    fn found(peer: &str, headers: &[(&str, &str)]) -> Option<String> {
        let mut request = Request::builder().uri("/threads");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let caller = caller(&parts, Some(peer.parse().expect("an address")), &Settings::default())?;
        assert_eq!(caller.role, Some(Role::Admin));
        Some(caller.principal.actor.id)
    }

    #[test]
    fn only_the_host_itself() {
        const HOST: (&str, &str) = ("host", "127.0.0.1:2024");
        assert_eq!(found("127.0.0.1:5", &[HOST]).as_deref(), Some("loopback"));
        assert_eq!(found("[::ffff:127.0.0.1]:5", &[HOST]).as_deref(), Some("loopback"));
        assert_eq!(found("127.0.0.1:5", &[HOST, ("x-holdpoint-actor", "cli:ana")]).as_deref(), Some("cli:ana"));
        assert_eq!(found("127.0.0.1:5", &[HOST, ("x-holdpoint-actor", "")]), None);
        assert_eq!(found("10.0.0.1:5", &[HOST]), None, "from elsewhere");
        assert_eq!(found("127.0.0.1:5", &[]), None, "no name");
        assert_eq!(found("127.0.0.1:5", &[("host", "evil.example:2024")]), None, "rebinding");
        assert_eq!(found("127.0.0.1:5", &[HOST, ("x-forwarded-for", "10.0.0.1")]), None, "a proxy");
        assert_eq!(found("127.0.0.1:5", &[HOST, ("forwarded", "for=10.0.0.1")]), None, "a proxy");
        assert_eq!(found("127.0.0.1:5", &[HOST, ("origin", "https://evil.example")]), None, "a page of another site");
        assert!(found("127.0.0.1:5", &[HOST, ("origin", "http://localhost:3000")]).is_some());
    }
}
