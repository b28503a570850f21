//! How an `http` connector tells about questions: `notify = { shape, method, path, payload, routing_key }`.
//!
//! The journal holds the request as it is written in the file. The path's references and the routing key are filled in on the way out.

use serde_json::Value;

use crate::configuration::problem::Code;
use crate::configuration::secret::Secret;
use crate::configuration::section::Section;
use crate::configuration::template::Template;
use crate::configuration::toml_reader::suggestion;
use crate::connectors::Unusable;
use crate::connectors::telling::{Form, Shape, Telling, read_payload};

use super::path::Path;

/// Methods with a body.
const METHODS: [&str; 3] = ["POST", "PUT", "PATCH"];

/// The key `notify`.
#[derive(Debug, Clone)]
pub(super) struct NoticeSettings {
    pub(super) telling: Telling,
    method: String,
    path: Template,
    routing_key: Option<Template>,
}

/// Reads it. Returns none when it is not there, or after noting what is wrong.
pub(super) fn read(section: &mut Section<'_, '_, '_>) -> Option<NoticeSettings> {
    let key = section.key("notify");
    let mut table = section.table.take("notify")?.table(&key, section.problems)?;
    let shape = table
        .require("shape", "write shape = \"slack\", \"pagerduty\" or \"json\"", section.problems)
        .and_then(|item| {
            let name = item.text(&table.key("shape"), section.problems)?;
            let shape = Shape::NAMES.iter().find(|(_, known)| *known == name).map(|(shape, _)| *shape);
            if shape.is_none() {
                let cure = suggestion(name, Shape::NAMES.iter().map(|(_, known)| *known));
                section.fault(item.offset, format!("`{}` is {name:?}", table.key("shape")), cure);
            }
            shape
        });
    let method = match table.text("method", section.problems) {
        Some((offset, other)) if !METHODS.contains(&other) => {
            section.fault(
                offset,
                format!("`{}` is {other:?}", table.key("method")),
                "write \"POST\", \"PUT\" or \"PATCH\"",
            );
            None
        }
        Some((_, method)) => Some(method.to_owned()),
        None => Some("POST".to_owned()),
    };
    let path = table
        .require("path", "write path = \"/v2/enqueue\"", section.problems)
        .and_then(|item| section.checked_template(item, &table.key("path"), check_path));
    let payload = read_payload(&mut table, section.problems);
    let routing_key = match table.take("routing_key") {
        Some(item) => Some(section.template(item, &table.key("routing_key"))?),
        None => None,
    };
    match (shape, &routing_key) {
        (Some(Shape::PagerDuty), None) => {
            let message = format!("`{}` is missing", table.key("routing_key"));
            let cure = "write routing_key = \"${env:PAGERDUTY_ROUTING_KEY}\"";
            section.problems.add(Code::MissingKey, table.offset(), message, cure);
        }
        (Some(Shape::Json | Shape::Slack), Some(_)) => {
            let message = format!("`{}` has no meaning for this shape", table.key("routing_key"));
            section.fault(table.offset(), message, "remove it, or write shape = \"pagerduty\"");
        }
        _ => {}
    }
    table.finish(section.problems);
    let (shape, method, path) = (shape?, method?, path?);
    let form = Form::Http { method: method.clone(), path: path.to_string(), shape };
    Some(NoticeSettings { telling: Telling { form, payload }, method, path, routing_key })
}

fn check_path(text: &str) -> Result<(), String> {
    Path::parse(text).map(|_| ()).map_err(|reason| format!("is not usable: {reason}"))
}

/// The same with its references filled in.
pub(super) struct NoticeRequest {
    method: String,
    /// As it is written, and as notices' requests have it.
    written: String,
    path: Secret,
    routing_key: Option<Secret>,
}

impl NoticeRequest {
    /// Fills the references in; gives also what has to stay secret.
    ///
    /// # Errors
    /// What is missing or does not fit.
    pub(super) fn build(settings: &NoticeSettings) -> Result<(Self, Vec<Secret>), Unusable> {
        let path = settings.path.resolve()?;
        check_path(path.text.expose())
            .map_err(|reason| Unusable::value("notify.path", settings.path.place(), reason))?;
        let mut secrets = path.secrets;
        let mut routing_key = None;
        if let Some(template) = &settings.routing_key {
            // A key is one even where it stands in the configuration itself.
            let resolved = template.resolve()?;
            secrets.extend(resolved.secrets);
            secrets.push(resolved.text.clone());
            routing_key = Some(resolved.text);
        }
        let written = settings.path.to_string();
        Ok((Self { method: settings.method.clone(), written, path: path.text, routing_key }, secrets))
    }

    /// A notice's request as it leaves; none when it was made for another configuration: then it is a request like any other.
    pub(super) fn fill(&self, request: &Value) -> Option<Value> {
        let is = |name: &str, expected: &str| request.get(name).and_then(Value::as_str) == Some(expected);
        if !is("method", &self.method) || !is("path", &self.written) {
            return None;
        }
        let mut request = request.clone();
        let members = request.as_object_mut()?;
        members.insert("path".into(), self.path.expose().into());
        if let Some(routing_key) = &self.routing_key {
            members.get_mut("body")?.as_object_mut()?.insert("routing_key".into(), routing_key.expose().into());
        }
        Some(request)
    }
}
