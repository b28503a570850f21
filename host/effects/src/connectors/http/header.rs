//! Headers that a guest may not touch.

/// Headers that decide about the connection, the framing or the host, that carry credentials or identities, or that let a request become another
/// one behind the allow list's back.
const RESERVED: [&str; 33] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "idempotency-key",
    "keep-alive",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
];

/// Those that the operator may not set either: the client sets them.
const FRAMING: [&str; 10] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Checks the name of a header that the operator sets.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_header_name(name: &str) -> Result<(), &'static str> {
    if !is_token(name) {
        Err("it is not a header's name")
    } else if FRAMING.contains(&name.to_ascii_lowercase().as_str()) {
        Err("the client sets it")
    } else {
        Ok(())
    }
}

/// Checks the name of a header that a guest sets; `configured`: those that the operator set, in lower case.
pub(super) fn check_guest_header<'c>(
    name: &str,
    mut configured: impl Iterator<Item = &'c str>,
) -> Result<(), &'static str> {
    let lower = name.to_ascii_lowercase();
    if !is_token(name) {
        Err("it is not a header's name")
    } else if RESERVED.contains(&lower.as_str()) || configured.any(|other| other == lower) {
        Err("a node may not set it")
    } else {
        Ok(())
    }
}

/// Checks a value that a guest gives: visible ASCII, spaces and tabs. Line breaks would begin another header.
pub(super) fn check_guest_value(value: &str) -> Result<(), &'static str> {
    if value.len() > 8192 {
        Err("its value has more than 8192 bytes")
    } else if value.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        Ok(())
    } else {
        Err("its value has characters that no header may have")
    }
}

fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_cannot_touch_reserved_headers() {
        let configured = || ["x-api-key"].into_iter();
        for name in RESERVED {
            assert!(check_guest_header(name, configured()).is_err(), "{name}");
            assert!(check_guest_header(&name.to_uppercase(), configured()).is_err(), "{name}");
        }
        for name in ["", "X-Api-Key", "a b", "a\r\nb", "a:", ":path", "é", "a_\0"] {
            assert!(check_guest_header(name, configured()).is_err(), "{name:?}");
        }
        for name in ["Accept", "x-request-id", "Content-Type", "if-match"] {
            assert_eq!(check_guest_header(name, configured()), Ok(()), "{name}");
        }
        for value in ["a\r\nX: y", "a\nb", "a\0b", "é", &"x".repeat(9000)] {
            assert!(check_guest_value(value).is_err(), "{value:?}");
        }
        assert_eq!(check_guest_value("text/plain; q=1"), Ok(()));
        assert!(check_header_name("Authorization").is_ok());
        assert!(check_header_name("Content-Length").is_err());
    }
}
