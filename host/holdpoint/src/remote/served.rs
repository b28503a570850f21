//! A command that runs on a server for somebody else: where its words go, in whose name it acts, and which files it has.

use std::path::Path;
use std::sync::Arc;

use holdpoint_engine::{Drain, Principal};
use holdpoint_graph::actor::{Actor, Basis};
use holdpoint_server::console::{Output, OutputWriter};

use crate::deploy::source::Source;
use crate::host::Host;

tokio::task_local! {
    /// What prints, reads arguments and names actors does so in many places: each asks here, so that no command has to pass it on, and none can forget
    /// to. Commands do all of that on their own task.
    static SERVED: Arc<Served>;
}

/// See the module.
pub(crate) struct Served {
    /// The server's host, confined to the caller's tenant, its engine in the caller's name.
    pub(crate) host: Host,
    /// The caller.
    pub(crate) principal: Principal,
    /// The files that came with the command. There are no others.
    pub(crate) files: Arc<dyn Source>,
    /// Asks the run to stop.
    pub(crate) drain: Drain,
    /// Takes what it tells.
    pub(crate) output: OutputWriter,
}

/// What the command that runs on this task is served with; none when it runs for whoever started the process.
pub(crate) fn current() -> Option<Arc<Served>> {
    SERVED.try_with(Arc::clone).ok()
}

/// Runs a command for somebody else.
pub(crate) async fn scope<T>(served: Arc<Served>, command: impl Future<Output = T>) -> T {
    SERVED.scope(served, command).await
}

impl Served {
    /// Tells text of the result.
    pub(crate) fn out(&self, text: &str) {
        self.output.tell(Output::Out(text.to_owned()));
    }

    /// Tells a remark.
    pub(crate) fn note(&self, text: &str) {
        self.output.tell(Output::Note(text.to_owned()));
    }

    /// Hands over the content of the file that the command writes. Where it goes is the caller's matter.
    pub(crate) fn file(&self, _path: &Path, text: &str) {
        self.output.tell(Output::File(text.to_owned()));
    }

    /// Who asks. Where nothing proves who that is, the name and groups that they give themselves count, as they do for whoever holds a store.
    pub(crate) fn principal(&self, given: Principal) -> Principal {
        let own = self.principal.clone();
        if own.actor.basis != Basis::Asserted || given == Principal::default() {
            return own;
        }
        Principal { actor: Actor::asserted(given.actor.id), groups: &own.groups | &given.groups, ..own }
    }

    /// The name on the record: another than the caller's own counts only where nothing proves that one either.
    pub(crate) fn actor(&self, by: Option<String>) -> String {
        match by {
            Some(by) if self.principal.actor.basis == Basis::Asserted => format!("cli:{by}"),
            _ => self.principal.actor.id.clone(),
        }
    }
}
