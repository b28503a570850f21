//! The keys of an `http` connector.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdpoint_graph::ids::ConnectorName;
use holdpoint_graph::state::Expression;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};

use crate::configuration::problem::Code;
use crate::configuration::secret::Secret;
use crate::configuration::section::{Section, expression};
use crate::configuration::template::Template;
use crate::configuration::toml_reader::{Item, Table};
use crate::configuration::{AddressRule, Class, ConnectorConfiguration};
use crate::connectors::telling::Telling;
use crate::connectors::{Connector, Kind, Settings, Unusable};

use super::connector::Http;
use super::header::check_header_name;
use super::notice::{self, NoticeSettings};
use super::path::{AllowedRequest, Path};
use super::question::{LookupRule, NAMES, NOT_THERE_DEFAULT, PathTemplate, PreviewRule};

const RESPONSE_BYTES_DEFAULT: usize = 1 << 20;

/// A segment of a base URL that came from a reference counts as a token, and is scrubbed, from this length on.
const URL_TOKEN_BYTES_MIN: usize = 16;

pub(crate) const KIND: Kind = Kind {
    name: "http",
    class_default: Class::AtMostOnce,
    classes: &[
        Class::AtMostOnce,
        Class::Reconcilable,
        Class::Idempotent { window_ms: None },
        Class::AfterCommit { deduplicated: false },
    ],
    read,
};

/// Settings of an `http` connector.
#[derive(Debug, Clone)]
pub(super) struct HttpSettings {
    /// What every path is appended to.
    pub(super) base_url: Template,
    /// The requests that nodes may make.
    pub(super) allow: Vec<AllowedRequest>,
    /// Headers that the host adds; a node cannot set them.
    pub(super) headers: BTreeMap<String, Template>,
    /// The header that carries the operation's key.
    pub(super) idempotency_header: String,
    /// The addresses that may be connected to.
    pub(super) addresses: AddressRule,
    /// Largest answer: its body as it arrives, and the whole of it as JSON. Not above the sandbox's value limit, or nodes cannot read it.
    pub(super) response_bytes_max: usize,
    /// How the receiver is asked what became of an operation.
    pub(super) lookup: Option<LookupRule>,
    /// How the receiver is asked what a request would do.
    pub(super) preview: Option<PreviewRule>,
    /// How it tells about questions.
    pub(super) notice: Option<NoticeSettings>,
}

impl Settings for HttpSettings {
    fn build(&self, name: &ConnectorName, common: &ConnectorConfiguration) -> Result<Arc<dyn Connector>, Unusable> {
        Ok(Arc::new(Http::build(name, common, self)?))
    }

    fn telling(&self) -> Option<&Telling> {
        self.notice.as_ref().map(|notice| &notice.telling)
    }
}

fn read(section: &mut Section<'_, '_, '_>) -> Option<Arc<dyn Settings>> {
    let base_url = section
        .require("base_url", "write base_url = \"https://…\"")
        .and_then(|item| section.checked_template(item, &section.key("base_url"), check_base_url));
    let allow = section
        .require("allow", "list the requests that nodes may make: allow = [\"POST /refunds\"]")
        .map_or_else(Vec::new, |item| allow(section, item));
    let headers = read_headers(section);
    let idempotency_header = match section.table.text("idempotency_header", section.problems) {
        Some((offset, name)) => {
            header_name(section, offset, name);
            name.to_owned()
        }
        None => "Idempotency-Key".to_owned(),
    };
    if headers.contains_key(&idempotency_header.to_ascii_lowercase()) {
        let message = format!("`{}` sets {idempotency_header}, which carries the operation id", section.key("headers"));
        section.fault(section.table.offset(), message, "remove it from the headers");
    }
    let addresses = section.addresses();
    let response_bytes_max = section.table.size_bytes("response_limit", RESPONSE_BYTES_DEFAULT, section.problems);
    let (lookup, preview, notice) = (lookup(section), preview(section), notice::read(section));
    Some(Arc::new(HttpSettings {
        base_url: base_url?,
        allow,
        headers,
        idempotency_header,
        addresses,
        response_bytes_max,
        lookup,
        preview,
        notice,
    }))
}

/// The key `lookup`. At-most-once with a lookup is what reconcilable means.
fn lookup(section: &mut Section<'_, '_, '_>) -> Option<LookupRule> {
    let key = section.key("lookup");
    let Some(item) = section.table.take("lookup") else {
        if section.class == Class::Reconcilable {
            let cure = "write lookup = { get = \"/refunds/by-key/{id}\", happened = \"status == 200\" }";
            let message = format!("`{key}` is missing: class \"reconcilable\" asks the receiver");
            section.problems.add(Code::MissingKey, section.table.offset(), message, cure);
        }
        return None;
    };
    if section.class == Class::AtMostOnce {
        section.class = Class::Reconcilable;
    }
    let problems = &mut *section.problems;
    let mut table = item.table(&key, problems)?;
    let path = table.require("get", "write get = \"/refunds/by-key/{id}\"", problems).and_then(|item| {
        let text = item.text(&table.key("get"), problems)?;
        PathTemplate::parse(text, true)
            .map_err(|reason| problems.add(Code::Value, item.offset, format!("`{key}.get`: {reason}"), "correct it"))
            .ok()
    });
    let happened = table
        .require("happened", "write when it has happened, such as \"status == 200\"", problems)
        .and_then(|item| expression(item, &table.key("happened"), NAMES, problems));
    let mut optional = |name: &'static str| match table.take(name) {
        Some(item) => expression(item, &table.key(name), NAMES, problems).map(Some),
        None => Some(None),
    };
    let (not_there, failed, result) = (optional("not_there"), optional("failed"), optional("result"));
    table.finish(problems);
    let not_there = match not_there? {
        Some(not_there) => not_there,
        None => Expression::compile(NOT_THERE_DEFAULT, NAMES).expect("invariant: the default compiles"),
    };
    Some(LookupRule { path: path?, happened: happened?, not_there, failed: failed?, result: result? })
}

/// The key `preview`.
fn preview(section: &mut Section<'_, '_, '_>) -> Option<PreviewRule> {
    let key = section.key("preview");
    let item = section.table.take("preview")?;
    let problems = &mut *section.problems;
    let mut table: Table<'_, '_> = item.table(&key, problems)?;
    let (get, post) = (table.text("get", problems), table.text("post", problems));
    let result = match table.take("result") {
        Some(item) => Some(expression(item, &table.key("result"), NAMES, problems)?),
        None => None,
    };
    table.finish(problems);
    let (method, (offset, text)) = match (get, post) {
        (Some(get), None) => (Method::GET, get),
        (None, Some(post)) => (Method::POST, post),
        _ => {
            let message = format!("`{key}` needs one of `get` and `post`");
            problems.add(Code::Value, item.offset, message, "write preview = { post = \"/refunds/preview\" }");
            return None;
        }
    };
    match Path::parse(text) {
        Ok(path) => Some(PreviewRule { method, path, result }),
        Err(reason) => {
            problems.add(Code::Value, offset, format!("`{key}`: {reason}"), "correct it");
            None
        }
    }
}

fn allow(section: &mut Section<'_, '_, '_>, item: Item<'_, '_>) -> Vec<AllowedRequest> {
    let key = section.key("allow");
    let mut allowed = Vec::new();
    for (offset, text) in item.texts(&key, section.problems) {
        match AllowedRequest::parse(text) {
            Ok(request) => allowed.push(request),
            Err(reason) => {
                let message = format!("`{key}` has {text:?}: {reason}");
                section.fault(offset, message, "write it such as \"GET /refunds/*\"");
            }
        }
    }
    allowed
}

/// The key `headers`, by name in lower case.
pub(in crate::connectors) fn read_headers(section: &mut Section<'_, '_, '_>) -> BTreeMap<String, Template> {
    let mut headers = BTreeMap::new();
    let key = section.key("headers");
    let Some(table) = section.table.take("headers").and_then(|item| item.table(&key, section.problems)) else {
        return headers;
    };
    for (name, item) in table.entries() {
        header_name(section, name.span().start, name.get_ref());
        let Some(template) = section.template(item, &table.key(name.get_ref())) else { continue };
        if headers.insert(name.get_ref().to_ascii_lowercase(), template).is_some() {
            let message = format!("`{key}` has the header {} twice", name.get_ref());
            section.fault(name.span().start, message, "keep one of them");
        }
    }
    headers
}

fn header_name(section: &mut Section<'_, '_, '_>, offset: usize, name: &str) {
    if let Err(reason) = check_header_name(name) {
        section.fault(offset, format!("header {name:?}: {reason}"), "use another header");
    }
}

/// Headers with their values filled in, and the secrets among them.
///
/// # Errors
/// What is missing or does not fit.
pub(in crate::connectors) fn resolve_headers(
    templates: &BTreeMap<String, Template>,
) -> Result<(HeaderMap, Vec<Secret>), Unusable> {
    let (mut headers, mut secrets) = (HeaderMap::new(), Vec::new());
    for (header, template) in templates {
        let resolved = template.resolve()?;
        let fault = |reason: &str| Unusable::value(format!("headers.{header}"), template.place(), reason);
        let name = HeaderName::from_bytes(header.as_bytes()).map_err(|_| fault("is not a header's name"))?;
        let mut value = HeaderValue::from_str(resolved.text.expose())
            .map_err(|_| fault("has characters that no header may have"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
        secrets.extend(resolved.secrets);
    }
    Ok((headers, secrets))
}

/// Checks a base URL.
fn check_base_url(text: &str) -> Result<(), String> {
    parse_base_url(text).map(|_| ())
}

/// Reads a base URL.
///
/// # Errors
/// What is wrong with it, without showing it.
pub(crate) fn parse_base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("does not begin with http:// or https://".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has a user or password: send them with `headers`".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or fragment".into());
    }
    let path = url.path().trim_end_matches('/');
    if !path.is_empty() {
        Path::parse(path).map_err(|reason| format!("is not usable: {reason}"))?;
    }
    Ok(url)
}

/// Long segments of a base URL that a reference gave, such as a web hook's token.
pub(in crate::connectors) fn url_tokens(url: &Url, has_references: bool) -> Vec<Secret> {
    let segments = url.path_segments().into_iter().flatten();
    segments.filter(|segment| has_references && segment.len() >= URL_TOKEN_BYTES_MIN).map(Secret::new).collect()
}
