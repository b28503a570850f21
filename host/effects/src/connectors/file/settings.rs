//! The keys of a `file` connector.

use std::path::PathBuf;
use std::sync::Arc;

use holdpoint_graph::ids::ConnectorName;

use crate::configuration::section::Section;
use crate::configuration::template::Template;
use crate::configuration::{Class, ConnectorConfiguration};
use crate::connectors::telling::{self, Telling};
use crate::connectors::{Connector, Kind, Settings, Unusable};

use super::File;

/// The file itself is searched for the id before a line is appended: it de-duplicates for ever.
pub(crate) const KIND: Kind = Kind {
    name: "file",
    class_default: Class::Idempotent { window_ms: None },
    classes: &[Class::AtMostOnce, Class::Idempotent { window_ms: None }, Class::AfterCommit { deduplicated: true }],
    read,
};

/// Settings of a `file` connector.
#[derive(Debug, Clone)]
pub(super) struct FileSettings {
    /// The file; relative to the configuration file.
    pub(super) path: Template,
    /// The folder that a relative path starts from.
    pub(super) folder: PathBuf,
    /// How it tells about questions.
    pub(super) telling: Telling,
}

fn read(section: &mut Section<'_, '_, '_>) -> Option<Arc<dyn Settings>> {
    let telling = telling::read_event(section);
    let item = section.require("path", "write path = \"ledger.jsonl\"")?;
    let path = section.template(item, &section.key("path"))?;
    Some(Arc::new(FileSettings { path, folder: section.folder.to_path_buf(), telling }))
}

impl Settings for FileSettings {
    fn build(&self, _name: &ConnectorName, _common: &ConnectorConfiguration) -> Result<Arc<dyn Connector>, Unusable> {
        Ok(Arc::new(File::build(self)?))
    }

    fn telling(&self) -> Option<&Telling> {
        Some(&self.telling)
    }
}
