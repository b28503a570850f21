//! How a connector tells about questions: its key `notify`.

use crate::configuration::section::Section;
use crate::configuration::toml_reader::{Problems, Table};

/// What the operation ids of notices begin with. Nodes cannot use such ids, so what has one was made here.
pub(crate) const NOTICE_PREFIX: &str = "holdpoint-notice:";

/// Whether an operation id is a notice's.
pub(crate) fn is_notice(id: &str) -> bool {
    id.starts_with(NOTICE_PREFIX)
}

/// What a connector is set to tell, and in which form. Holds no value of a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    pub(crate) form: Form,
    /// Whether what is asked is told, too.
    pub(crate) payload: bool,
}

impl Telling {
    /// Whether people read it as it comes, rather than a program that keeps account.
    pub(crate) fn tells_people(&self) -> bool {
        match &self.form {
            Form::Mail { .. } => true,
            Form::Http { shape, .. } => *shape != Shape::Json,
            Form::Event => false,
        }
    }
}

/// Forms of a connector's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// The event itself is the request.
    Event,
    /// `{ to, subject, text }`.
    Mail {
        /// To whom all of it goes; the addresses of whoever it is for when there is none.
        to: Vec<String>,
    },
    /// `{ method, path, body }`.
    Http {
        /// The method.
        method: String,
        /// The path as it is written in the file: its references are filled in when it is sent.
        path: String,
        /// The body's form.
        shape: Shape,
    },
}

/// Forms of an HTTP body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The event.
    Json,
    /// A message of blocks.
    Slack,
    /// An event of the Events API v2, without its routing key.
    PagerDuty,
}

impl Shape {
    /// All shapes with their names in the configuration.
    pub(crate) const NAMES: [(Self, &'static str); 3] =
        [(Self::Json, "json"), (Self::Slack, "slack"), (Self::PagerDuty, "pagerduty")];
}

/// The key `notify` of a kind that tells the event itself.
pub(crate) fn read_event(section: &mut Section<'_, '_, '_>) -> Telling {
    let key = section.key("notify");
    let mut payload = false;
    if let Some(mut table) = section.table.take("notify").and_then(|item| item.table(&key, section.problems)) {
        payload = read_payload(&mut table, section.problems);
        table.finish(section.problems);
    }
    Telling { form: Form::Event, payload }
}

/// The key `payload` of `notify`: whether what is asked is told, too.
pub(crate) fn read_payload(table: &mut Table<'_, '_>, problems: &mut Problems<'_>) -> bool {
    match table.text("payload", problems) {
        Some((_, "full")) => true,
        Some((_, "thin")) | None => false,
        Some((offset, other)) => {
            let message = format!("`{}` is {other:?}", table.key("payload"));
            problems.value(
                offset,
                message,
                "write \"thin\", for ids and the link, or \"full\", for what is asked as well",
            );
            false
        }
    }
}
