//! The server's end: parses what came, permits it, and runs it in the caller's name.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{CommandFactory as _, FromArgMatches as _};
use holdpoint_engine::{Drain, Principal, RunOptions};
use holdpoint_graph::ids::Tenant;
use holdpoint_server::caller::Caller;
use holdpoint_server::console::{self, CommandRequest, Output, RunningCommand, no_such_command};
use holdpoint_server::{Console, Problem};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::permit;
use super::served::{self, Served};
use crate::cli;
use crate::cli::arguments::Arguments;
use crate::deploy::source::Sent;
use crate::failure::Failure;
use crate::host::Host;

/// Commands that run at once. One more is refused, so that those that run get on.
const COMMANDS_MAX: usize = 64;

/// Words of a command. No command has as many.
const WORDS_MAX: usize = 4096;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct HostConsole(Arc<Inner>);

struct Inner {
    host: Host,
    /// The host as each tenant sees it, so that graph versions are read once. Held for a look-up only.
    confined: Mutex<HashMap<Tenant, Host>>,
    /// Commands that run, by id. Held for a look-up only.
    running: Mutex<Running>,
    places: Arc<Semaphore>,
}

#[derive(Default)]
struct Running {
    commands: HashMap<String, (Principal, Drain)>,
    stopping: bool,
}

impl HostConsole {
    pub(crate) fn new(host: Host) -> Self {
        let places = Arc::new(Semaphore::new(COMMANDS_MAX));
        Self(Arc::new(Inner { host, confined: Mutex::default(), running: Mutex::default(), places }))
    }

    /// The server stops: runs are asked to stop at their next superstep, those that begin from now on too.
    pub(crate) fn drain(&self) {
        let mut running = self.running();
        running.stopping = true;
        running.commands.values().for_each(|(_, drain)| drain.request());
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The host in a caller's name.
    fn host_of(&self, principal: &Principal) -> Host {
        let mut confined = self.0.confined.lock().unwrap_or_else(PoisonError::into_inner);
        let tenant = &principal.tenant;
        let mut host =
            confined.entry(tenant.clone()).or_insert_with(|| self.0.host.confined_to(tenant.clone())).clone();
        let options = RunOptions { principal: principal.clone(), ..RunOptions::default() };
        host.engine = host.engine.with_options(options);
        host
    }

    fn begun(&self, principal: &Principal) -> (String, Drain) {
        let (id, drain) = (Uuid::new_v4().to_string(), Drain::default());
        let mut running = self.running();
        if running.stopping {
            drain.request();
        }
        running.commands.insert(id.clone(), (principal.clone(), drain.clone()));
        (id, drain)
    }
}

#[async_trait]
impl Console for HostConsole {
    async fn begin(&self, request: CommandRequest, caller: &Caller) -> Result<RunningCommand, Problem> {
        let arguments = parse(&request, caller)?;
        let files = Arc::new(Sent::new(read(&request.files)?));
        let Ok(place) = Arc::clone(&self.0.places).try_acquire_owned() else {
            let detail = format!("{COMMANDS_MAX} commands are running");
            return Err(
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "HP0739", detail).with_cure("wait until some have ended")
            );
        };
        let principal = caller.principal.clone();
        let (id, drain) = self.begun(&principal);
        let (output, reader) = console::channel();
        let host = self.host_of(&principal);
        let served = Arc::new(Served { host, principal, files, drain, output });
        tracing::info!(command = id, actor = served.principal.actor.id, what = name(&arguments), "a command begins");
        let console = self.clone();
        let of = id.clone();
        // The files stay until the command has ended.
        let upload = request.place;
        // On a task of its own: it goes on when its caller has gone.
        tokio::spawn(async move {
            let exit = end(Arc::clone(&served), arguments).await;
            console.running().commands.remove(&of);
            tracing::info!(command = of, exit, "a command has ended");
            served.output.tell(Output::Exit(exit));
            drop((place, upload));
        });
        Ok(RunningCommand { id, output: reader })
    }

    fn stop(&self, command: &str, caller: &Caller) -> Result<(), Problem> {
        let running = self.running();
        let found = running.commands.get(command).filter(|(principal, _)| {
            principal.tenant == caller.principal.tenant && principal.actor == caller.principal.actor
        });
        let Some((_, drain)) = found else { return Err(no_such_command(command)) };
        drain.request();
        Ok(())
    }
}

/// Runs a command to its end, and gives its exit code.
async fn end(served: Arc<Served>, arguments: Arguments) -> u8 {
    let json = arguments.json;
    let command = tokio::spawn(served::scope(Arc::clone(&served), cli::run(arguments)));
    let outcome = command.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a command panicked");
        Err(Failure::host(
            "HP0807",
            "the server failed",
            "repeat the command; if it fails again, tell the operator, whose log says more",
        ))
    });
    served::scope(served, async move { cli::tell(outcome, json) }).await
}

/// The command, if the caller may run it.
fn parse(request: &CommandRequest, caller: &Caller) -> Result<Arguments, Problem> {
    if request.arguments.len() > WORDS_MAX {
        return Err(Problem::invalid("HP0736", format!("a command has at most {WORDS_MAX} words")));
    }
    // Asking for help or the version ends like an error: there is nothing to run.
    let not_a_command = |error: clap::Error| {
        let text = error.render().to_string();
        Problem::invalid("HP0736", format!("this is not a command that the server knows: {}", text.trim()))
            .with_cure("use the same version of holdpoint as the server")
    };
    let definition = Arguments::command().no_binary_name(true);
    let matches = definition.try_get_matches_from(&request.arguments).map_err(not_a_command)?;
    let arguments = Arguments::from_arg_matches(&matches).map_err(not_a_command)?;
    permit::check(&arguments, &matches, !request.files.is_empty(), caller)?;
    Ok(arguments)
}

fn read(files: &Map<String, Value>) -> Result<BTreeMap<PathBuf, Vec<u8>>, Problem> {
    let content = |(name, content): (&String, &Value)| {
        let bytes = content.as_str().and_then(|text| STANDARD.decode(text).ok());
        let bytes =
            bytes.ok_or_else(|| Problem::invalid("HP0736", format!("the content of {name:?} is not base64")))?;
        Ok((PathBuf::from(name), bytes))
    };
    files.iter().map(content).collect()
}

/// The command's name, for the log. Never an argument.
fn name(arguments: &Arguments) -> &'static str {
    use crate::cli::arguments::Command;
    match &arguments.command {
        Command::Run(_) => "run",
        Command::Resume(_) => "resume",
        Command::Update(_) => "update",
        Command::Replay(_) => "replay",
        Command::Fork(_) => "fork",
        Command::Copy(_) => "copy",
        Command::Threads(_) => "threads",
        Command::Operations(_) => "operations",
        Command::Approvals(_) => "approvals",
        Command::Keys(_) => "keys",
        Command::Audit(_) => "audit",
        Command::Graph(_) => "graph",
        Command::Db(_) => "db",
        _ => "a reading command",
    }
}

#[cfg(test)]
mod tests;
