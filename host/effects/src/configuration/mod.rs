//! `holdpoint.toml`: which connectors there are and what the operator allows them.
//!
//! # Layout
//!
//! * [`Configuration`]: the file as a value; `read`: how it is made, all problems at once; `common`: the keys that every connector has;
//!   `section`: what a kind of connector reads its own keys with.
//! * [`Users`]: whom names mean, and where they can be written to. [`Server`]: the table `[server]`.
//! * `units`: durations, sizes, rates and networks as people write them.
//! * [`template`]: texts that refer to secrets; [`secret`]: values that are never shown, and their removal from answers.
//! * [`ConfigurationProblem`]: what is wrong, where, and its cure.

mod common;
pub(crate) mod problem;
mod read;
pub mod secret;
pub(crate) mod section;
mod server;
pub mod template;
pub(crate) mod toml_reader;
pub(crate) mod units;
mod users;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use holdpoint_graph::ids::{ConnectorName, GraphName};
use holdpoint_graph::state::Expression;
use ipnet::IpNet;

use crate::connectors::{self, Settings};

pub use problem::{ConfigurationProblem, Place};
pub use server::Server;
pub use users::{User, Users};

/// Operations that one execution of a node may ask for when the file does not say.
pub const OPERATIONS_PER_TASK_DEFAULT: u32 = 10_000;

/// What the operator configured. The default has no connectors.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The connectors by name.
    pub connectors: BTreeMap<ConnectorName, ConnectorConfiguration>,
    /// Operations that one execution of a node may ask for.
    pub operations_per_task_max: u32,
    /// The people whom the file names.
    pub users: Users,
    /// How the host is served.
    pub server: Server,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            connectors: BTreeMap::new(),
            operations_per_task_max: OPERATIONS_PER_TASK_DEFAULT,
            users: Users::default(),
            server: Server::default(),
        }
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

    /// The people whom the file names.
    pub fn users(&self) -> &Users {
        &self.users
    }

    /// The table `[server]`.
    pub fn server(&self) -> &Server {
        &self.server
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
    /// How far this host's clock and a receiver's or another host's may differ: an outcome counts as settled so much later.
    pub clock_skew_ms: u64,
    /// Largest request, as canonical JSON.
    pub request_bytes_max: usize,
    /// Which requests a person has to approve before the host sends them.
    pub requires_approval: ApprovalRule,
    /// Approvals given in advance, in order of the file.
    pub standing_approvals: Vec<StandingApproval>,
    /// Requests that may leave in a time; none is no limit.
    pub rate: Option<Rate>,
    /// Requests that may be under way at the same time; none is no limit of its own.
    pub concurrent_max: Option<u32>,
    /// What performs it, with its own settings.
    pub settings: Arc<dyn Settings>,
}

/// How often a request may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The intent is durable before the request leaves; never sent again by itself. What holds when nothing is configured.
    AtMostOnce,
    /// As at-most-once, and the connector can ask the receiver what became of an operation ([`Prepared::look_up`](connectors::Prepared::look_up)).
    Reconcilable,
    /// The receiver de-duplicates by the operation id, for `window_ms` from its first sight of it; for ever when none is given.
    Idempotent {
        /// How long the receiver remembers an id.
        window_ms: Option<u64>,
    },
    /// The effect and the receiver's own record of it are one transaction there: sending again gives the first answer, for ever.
    Transactional,
    /// Sent only after the commit of the step that asked for it; the node gets a receipt, not the answer.
    AfterCommit {
        /// Whether the receiver de-duplicates by the operation id, so that an attempt of unknown outcome may be repeated.
        deduplicated: bool,
    },
}

impl Class {
    /// Its name in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Self::AtMostOnce => "at-most-once",
            Self::Reconcilable => "reconcilable",
            Self::Idempotent { .. } => "idempotent",
            Self::Transactional => "transactional",
            Self::AfterCommit { .. } => "after-commit",
        }
    }
}

/// Which requests a person has to approve.
#[derive(Debug, Clone)]
pub enum ApprovalRule {
    /// None.
    Never,
    /// All.
    Always,
    /// Those for which the expression holds, and those for which it cannot be evaluated.
    When(Expression),
}

/// An approval that was given in advance.
#[derive(Debug, Clone)]
pub struct StandingApproval {
    /// The requests that it covers; all when there is none. A request for which it cannot be evaluated is not covered.
    pub when: Option<Expression>,
    /// Who answers for it.
    pub owner: String,
    /// Until when it holds, in milliseconds since 1970; from that moment on it does not.
    pub until_ms: u64,
    /// Why it was given.
    pub reason: String,
}

/// Requests in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub requests: u32,
    /// In how many milliseconds.
    pub per_ms: u64,
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
