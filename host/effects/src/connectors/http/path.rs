//! Paths without tricks, and the patterns that allow them.

use std::fmt;

use percent_encoding::percent_decode_str;

/// Methods that a request may have. `CONNECT` and `TRACE` are about connections, not about resources.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Requests that the operator allows: `METHOD /path`, where a segment `*` stands for any one segment and a last segment `**` for one or more.
#[derive(Clone, PartialEq, Eq)]
pub struct AllowedRequest {
    method: String,
    segments: Vec<Pattern>,
}

#[derive(Clone, PartialEq, Eq)]
enum Pattern {
    Literal(String),
    One,
    Rest,
}

impl AllowedRequest {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (method, path) = text.split_once(' ').ok_or("expected a method, a space and a path")?;
        let method = check_method(method)?.to_owned();
        let path = Path::parse(path.trim_start())?;
        let last = path.segments.len() - 1;
        let segments = path.segments.into_iter().enumerate().map(|(index, segment)| match segment.as_str() {
            "*" => Ok(Pattern::One),
            "**" if index == last => Ok(Pattern::Rest),
            _ if segment.contains('*') => Err("`*` stands for a whole segment, `**` for the last ones".to_owned()),
            _ => Ok(Pattern::Literal(segment)),
        });
        Ok(Self { method, segments: segments.collect::<Result<_, _>>()? })
    }

    /// Whether it allows a request.
    pub(super) fn allows(&self, method: &str, path: &Path) -> bool {
        let rest = matches!(self.segments.last(), Some(Pattern::Rest));
        let lengths_fit =
            if rest { path.segments.len() >= self.segments.len() } else { path.segments.len() == self.segments.len() };
        self.method == method
            && lengths_fit
            && self.segments.iter().zip(&path.segments).all(|(pattern, segment)| match pattern {
                Pattern::Literal(literal) => literal == segment,
                Pattern::One | Pattern::Rest => !segment.is_empty(),
            })
    }
}

impl fmt::Debug for AllowedRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ", self.method)?;
        self.segments.iter().try_for_each(|segment| match segment {
            Pattern::Literal(literal) => write!(formatter, "/{literal}"),
            Pattern::One => formatter.write_str("/*"),
            Pattern::Rest => formatter.write_str("/**"),
        })
    }
}

/// A known method, as written.
pub(super) fn check_method(method: &str) -> Result<&str, String> {
    if METHODS.contains(&method) { Ok(method) } else { Err(format!("the method is none of {}", METHODS.join(", "))) }
}

/// A path that every server reads alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    /// As it is sent: what was given.
    text: String,
    /// Decoded.
    segments: Vec<String>,
}

impl Path {
    /// Checks a path. Refused is all that servers, proxies and allow lists are known to read differently: dot segments (also behind `;`),
    /// empty segments, encoded slashes, backslashes and control characters, however often they are encoded.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let inner = text.strip_prefix('/').ok_or("the path has to begin with `/`")?;
        if let Some(odd) = text.chars().find(|odd| !is_path_character(*odd)) {
            return Err(format!("the path has {odd:?}: percent-encode what is data, put a query into `query`"));
        }
        let mut segments: Vec<String> = inner.split('/').map(decode_segment).collect::<Result<_, _>>()?;
        // A last empty segment is a trailing slash: another resource, but no trick. The root path is one empty segment.
        let last = segments.len() - 1;
        if segments[..last].iter().any(String::is_empty) {
            return Err("the path has an empty segment".into());
        }
        segments.shrink_to_fit();
        Ok(Self { text: text.to_owned(), segments })
    }

    /// As it is sent.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

/// Decodes a segment once; decodes further only to see what hides in it.
fn decode_segment(encoded: &str) -> Result<String, String> {
    const DEPTH_MAX: usize = 8;
    let mut stage = encoded.to_owned();
    let mut decoded = None;
    for _ in 0..DEPTH_MAX {
        check_stage(&stage)?;
        let next = decode_once(&stage)?;
        decoded.get_or_insert_with(|| next.clone());
        if next == stage {
            return Ok(decoded.unwrap_or_default());
        }
        stage = next;
    }
    Err("the path is encoded too many times".into())
}

fn decode_once(stage: &str) -> Result<String, String> {
    percent_decode_str(stage)
        .decode_utf8()
        .map(|decoded| decoded.into_owned())
        .map_err(|_| "the path has bytes that are not UTF-8".to_owned())
}

fn check_stage(stage: &str) -> Result<(), String> {
    // Some servers cut parameters off before they resolve dots: `/..;x/`.
    let name = stage.split(';').next().unwrap_or_default();
    if matches!(name, "." | "..") {
        return Err("the path has a `.` or `..` segment".into());
    }
    if stage.chars().any(|odd| odd.is_control() || matches!(odd, '/' | '\\')) {
        return Err("the path has an encoded slash, backslash or control character".into());
    }
    Ok(())
}

/// RFC 3986 `pchar`, `/` and `%`.
pub(super) fn is_path_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/%".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tricks_are_refused() {
        let refused = [
            "",
            "refunds",
            "//evil.example/x",
            "/refunds//x",
            "/..",
            "/refunds/..",
            "/refunds/../admin",
            "/./refunds",
            "/%2e%2e/admin",
            "/.%2E/admin",
            "/%252e%252e/admin",
            "/%25252e%25252e/x",
            "/..;/admin",
            "/..;a=b/admin",
            "/%2e%2e%3b/admin",
            "/refunds%2fadmin",
            "/refunds%2Fadmin",
            "/refunds%252fadmin",
            "/refunds%5cadmin",
            "/refunds\\admin",
            "/refunds%00",
            "/refunds%0d%0aX: y",
            "/refunds%7f",
            "/refunds\r\nX: y",
            "/refunds?x=1",
            "/refunds#x",
            "/refunds x",
            "http://evil.example/",
            "https:/evil",
            "/%c0%af",
            "/%ff",
            "/é",
            "/a\u{202e}b",
            "/%25252525252525252525252525252e",
            "@evil.example",
            "/a<b",
        ];
        for path in refused {
            assert!(Path::parse(path).is_err(), "{path:?}");
        }
        for path in
            ["/", "/refunds", "/refunds/", "/refunds/a%20b", "/a.b/..c", "/orders/9241:50000", "/a;v=1", "/50%25"]
        {
            assert_eq!(Path::parse(path).expect(path).as_str(), path);
        }
    }

    #[test]
    fn patterns_allow_what_they_say() {
        let table = [
            ("POST /refunds", "POST", "/refunds", true),
            ("POST /refunds", "GET", "/refunds", false),
            ("POST /refunds", "POST", "/refunds/", false),
            ("POST /refunds", "POST", "/Refunds", false),
            ("POST /refunds", "POST", "/%72efunds", true),
            ("GET /refunds/*", "GET", "/refunds/1", true),
            ("GET /refunds/*", "GET", "/refunds/", false),
            ("GET /refunds/*", "GET", "/refunds", false),
            ("GET /refunds/*", "GET", "/refunds/1/2", false),
            ("GET /refunds/*/lines", "GET", "/refunds/1/lines", true),
            ("GET /refunds/**", "GET", "/refunds/1/2/3", true),
            ("GET /refunds/**", "GET", "/refunds", false),
            ("GET /**", "GET", "/a", true),
            ("GET /", "GET", "/", true),
            ("GET /", "GET", "/a", false),
        ];
        for (pattern, method, path, allowed) in table {
            let request = AllowedRequest::parse(pattern).expect(pattern);
            assert_eq!(
                request.allows(method, &Path::parse(path).expect(path)),
                allowed,
                "{pattern} for {method} {path}"
            );
        }
        for pattern in
            ["/refunds", "POST", "post /refunds", "TRACE /x", "GET x", "GET /a*", "GET /**/a", "GET /../a", "GET "]
        {
            assert!(AllowedRequest::parse(pattern).is_err(), "{pattern:?}");
        }
    }
}
