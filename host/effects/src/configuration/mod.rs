//! `holdpoint.toml`: which connectors there are and what the operator allows them.
//!
//! # Layout
//!
//! * [`Configuration`]: the file as a value; `read`: how it is made, all problems at once.
//! * `units`: durations, sizes and networks as people write them.
//! * [`template`]: texts that refer to secrets; [`secret`]: values that are never shown, and their removal from answers.
//! * [`ConfigurationProblem`]: what is wrong, where, and its cure.

mod problem;
mod read;
pub mod secret;
pub mod template;
mod toml_reader;
mod units;

use std::collections::BTreeMap;
use std::path::Path;

use holdpoint_graph::ids::{ConnectorName, GraphName};
use ipnet::IpNet;

use crate::connectors;
use crate::connectors::http::AllowedRequest;
use template::Template;

pub use problem::{ConfigurationProblem, Place};

/// Operations that one execution of a node may ask for when the file does not say.
pub const OPERATIONS_PER_TASK_DEFAULT: u32 = 10_000;

/// What the operator configured. The default has no connectors.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The connectors by name.
    pub connectors: BTreeMap<ConnectorName, ConnectorConfiguration>,
    /// Operations that one execution of a node may ask for.
    pub operations_per_task_max: u32,
}

impl Default for Configuration {
    fn default() -> Self {
        Self { connectors: BTreeMap::new(), operations_per_task_max: OPERATIONS_PER_TASK_DEFAULT }
    }
}

impl Configuration {
    /// Reads the text of a configuration file. `file` is its path: problems name it, and relative paths in it start from its folder. `environment`
    /// is asked for the variables that the text refers to; one that is missing matters only when its connector is used (see [`Self::check`]).
    ///
    /// # Errors
    /// Everything that is wrong, in order of position; never an empty list.
    pub fn parse(
        text: &str,
        file: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<ConfigurationProblem>> {
        read::read(text, file, environment)
    }

    /// Looks for what would stop a connector when it is used: variables and files that are missing, values that do not fit. Reads the files that
    /// secrets come from, sends nothing. `file` is the path given to [`Self::parse`].
    pub fn check(&self, file: &Path) -> Vec<ConfigurationProblem> {
        let mut problems: Vec<_> = self
            .connectors
            .iter()
            .filter_map(|(name, connector)| {
                let fault = connectors::build(name, connector).err()?;
                Some(ConfigurationProblem {
                    code: fault.code(),
                    file: file.display().to_string(),
                    line: fault.place.line,
                    column: fault.place.column,
                    message: format!("`connectors.{name}`: {fault}"),
                    cure: fault.cure().into(),
                })
            })
            .collect();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems
    }
}

/// One connector.
#[derive(Debug, Clone)]
pub struct ConnectorConfiguration {
    /// Where it stands in the file.
    pub place: Place,
    /// What has to be true of the receiver for a request to be sent again.
    pub class: Class,
    /// Within which records an operation id is looked up.
    pub scope: ScopeRule,
    /// Longest time of one attempt, connecting and reading the answer included.
    pub timeout_ms: u64,
    /// Largest request, as canonical JSON.
    pub request_bytes_max: usize,
    /// What performs it.
    pub kind: Kind,
}

/// How often a request may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The intent is durable before the request leaves; never sent again by itself. What holds when nothing is configured.
    AtMostOnce,
    /// The receiver de-duplicates by the operation id, for `window_ms` from its first sight of it; for ever when none is given.
    Idempotent {
        /// How long the receiver remembers an id.
        window_ms: Option<u64>,
    },
}

/// Where an operation id is unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScopeRule {
    /// In the thread and everything forked or copied from it.
    Thread,
    /// In all threads of a graph, or of all the graphs listed here. The first of the list names the scope: to let another graph join, append
    /// it; a graph that is not listed keeps to itself.
    Global {
        /// The graphs that share their operations.
        shared_by: Vec<GraphName>,
    },
}

/// What performs a connector's operations, with its own settings.
#[derive(Debug, Clone)]
pub enum Kind {
    /// HTTP requests.
    Http(HttpConfiguration),
    /// Lines of a file.
    File(FileConfiguration),
}

/// Settings of an `http` connector.
#[derive(Debug, Clone)]
pub struct HttpConfiguration {
    /// What every path is appended to.
    pub base_url: Template,
    /// The requests that nodes may make.
    pub allow: Vec<AllowedRequest>,
    /// Headers that the host adds; a node cannot set them.
    pub headers: BTreeMap<String, Template>,
    /// The header that carries the operation id.
    pub idempotency_header: String,
    /// The addresses that may be connected to.
    pub addresses: AddressRule,
    /// Largest answer: its body as it arrives, and the whole of it as JSON. Not above the sandbox's value limit, or nodes cannot read it.
    pub response_bytes_max: usize,
}

/// Which addresses a connector may connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressRule {
    /// Public ones, and those in these networks.
    Public {
        /// Networks that are allowed besides.
        besides: Vec<IpNet>,
    },
    /// All.
    Any,
}

/// Settings of a `file` connector.
#[derive(Debug, Clone)]
pub struct FileConfiguration {
    /// The file; relative to the configuration file.
    pub path: Template,
    /// The folder that a relative path starts from.
    pub folder: std::path::PathBuf,
}
