//! Graphs to die in: their connectors, what they are told, and what they must have done in the end.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::graphs;
use crate::payment_server::server::KILL_HEADER;
use crate::program::repository;

/// One graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scenario {
    /// The refund example: approve, then pay, at most once, at a receiver that forgets.
    Refund,
    /// Approve; then in one superstep a charge (at most once) and a booking (de-duplicated); then, together, two charges and a line in a file.
    ThreeEffects,
    /// Two payments under one id: the second is a conflict.
    Twice,
}

/// An effect that a run must have had.
#[derive(Debug, Clone)]
pub struct Effect {
    /// The operation's id.
    pub operation: String,
    /// Who gets it.
    pub receiver: Receiver,
    /// What is asked for; of a request over HTTP the body.
    pub asked: Value,
    /// Where in the thread's values its answer is in the end.
    pub answer_at: &'static str,
}

/// Kinds of receivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    /// Does everything that it is asked, as often as it is asked.
    Forgetful,
    /// Does it once for each id.
    Deduplicating,
    /// A file.
    File,
}

/// Where receivers are.
#[derive(Debug, Clone, Copy)]
pub struct Receivers<'a> {
    /// Address of the forgetful server.
    pub forgetful: &'a str,
    /// Address of the one that de-duplicates.
    pub deduplicating: &'a str,
    /// The file.
    pub file: &'a Path,
    /// Longest time of one attempt over HTTP.
    pub timeout_ms: u64,
}

impl Scenario {
    /// All scenarios with their names in plans.
    pub const NAMES: [(Self, &'static str); 3] =
        [(Self::Refund, "refund"), (Self::ThreeEffects, "three-effects"), (Self::Twice, "twice")];

    /// The name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Reads a name back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(scenario, _)| *scenario)
    }

    /// The graph file; written into `folder` where it is not an example's.
    pub fn graph_file(self, folder: &Path) -> PathBuf {
        let probes = match self {
            Self::Refund => return repository().join("example-nodes/refund/refund.graph.toml"),
            Self::ThreeEffects => graphs::three_effects(),
            Self::Twice => graphs::twice(),
        };
        probes.write_into(folder, &format!("{}.graph.toml", self.name()))
    }

    /// The connectors.
    pub fn configuration(self, receivers: &Receivers<'_>) -> String {
        let file = format!("[connectors.notices]\nkind = \"file\"\nscope = \"global\"\npath = {:?}\n", receivers.file);
        http_connectors(receivers, "") + &file
    }

    /// Those connectors again whose receivers can kill `PROCESS`, with requests that have them do it.
    pub fn lethal_configuration(self, receivers: &Receivers<'_>) -> String {
        http_connectors(receivers, &format!("headers = {{ {KILL_HEADER} = \"PROCESS\" }}\n"))
    }

    /// What a thread is started with. `run` makes its operations' ids its own.
    pub fn input(self, run: &str) -> Value {
        match self {
            Self::Refund => json!({ "order_id": run, "amount_cents": 500 }),
            Self::ThreeEffects | Self::Twice => json!({ "order": run }),
        }
    }

    /// What its question is answered with.
    pub fn answer(self) -> Value {
        json!({ "approved": true })
    }

    /// How a thread ends: its status, and the error's code.
    pub fn end(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Refund | Self::ThreeEffects => ("done", None),
            Self::Twice => ("failed", Some("conflict")),
        }
    }

    /// What a run must have done in the end, each exactly once.
    pub fn effects(self, run: &str) -> Vec<Effect> {
        let effect = |operation: &str, receiver, asked, answer_at| Effect {
            operation: format!("{operation}:{run}"),
            receiver,
            asked,
            answer_at,
        };
        match self {
            Self::Refund => vec![Effect {
                operation: format!("refund:{run}:500"),
                receiver: Receiver::Forgetful,
                asked: json!({ "order_id": run, "amount_cents": 500 }),
                answer_at: "/receipt",
            }],
            Self::ThreeEffects => vec![
                effect("charge", Receiver::Forgetful, json!({ "order": run, "cents": 500 }), "/charge"),
                effect("book", Receiver::Deduplicating, json!({ "order": run }), "/booking"),
                effect("fee", Receiver::Forgetful, json!({ "order": run, "cents": 7 }), "/closing/0/body"),
                effect("tax", Receiver::Forgetful, json!({ "order": run, "cents": 3 }), "/closing/1/body"),
                effect("notice", Receiver::File, json!({ "closed": run }), "/closing/2"),
            ],
            Self::Twice => {
                vec![effect("pay", Receiver::Forgetful, json!({ "order": run, "cents": 5 }), "/first")]
            }
        }
    }
}

fn http_connectors(receivers: &Receivers<'_>, more: &str) -> String {
    let connector = |name: &str, url: &str, path: &str, class: &str| {
        let timeout_ms = receivers.timeout_ms;
        format!(
            "[connectors.{name}]\nkind = \"http\"\nbase_url = \"{url}\"\nallow = [\"POST {path}\"]\nclass = {class}\n\
             scope = \"global\"\naddresses = \"any\"\ntimeout = \"{timeout_ms}ms\"\n{more}"
        )
    };
    let payments = connector("payments", receivers.forgetful, "/refunds", "\"at-most-once\"");
    let window = "{ idempotent = { window = \"24h\" } }";
    payments + &connector("bookings", receivers.deduplicating, "/bookings", window)
}
