//! The arguments of every command.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::access_arguments::{ApprovalsArguments, AuditArguments, KeysArguments};
use super::run_flags::RunFlags;
use super::serve_arguments::ServeArguments;
use super::time_arguments::{
    CopyArguments, DatabaseArguments, ForkArguments, HistoryArguments, ReplayArguments, StateArguments, UpdateArguments,
};

/// Durable graphs of sandboxed WebAssembly nodes: they wait for people at no cost, survive crashes, and perform each side effect once.
#[derive(Debug, Parser)]
#[command(
    name = "holdpoint",
    version,
    after_help = "A first run:\n  holdpoint run refund.graph.toml --thread order-9241 --input '{\"order_id\":\"9241\",\"amount_cents\":50000}'\n  \
                  holdpoint resume --thread order-9241 --answer '{\"approved\":true}'\n\n\
                  Exit codes: 0 done, 3 waiting for an answer or to be continued, 1 failed, 2 wrong usage or invalid input."
)]
pub struct Arguments {
    /// Where threads are stored: `sqlite:PATH` (created when it is not there).
    #[arg(long, global = true, value_name = "STORE", default_value = "sqlite:holdpoint.db", env = "HOLDPOINT_STORE")]
    pub store: String,
    /// The connectors' configuration. Without this option `holdpoint.toml` here is read when it is there.
    #[arg(long, global = true, value_name = "FILE", env = "HOLDPOINT_CONFIG")]
    pub config: Option<PathBuf>,
    /// Run the command on this server instead of a store: `http://…` or `https://…`. Everything that it reads and prints is here.
    #[arg(long = "server", global = true, value_name = "URL", env = "HOLDPOINT_SERVER")]
    pub server: Option<String>,
    /// Who asks the server: an API key, or a token of its identity provider. Better given in HOLDPOINT_API_KEY, where others on this machine cannot see it.
    #[arg(long, global = true, value_name = "KEY", env = "HOLDPOINT_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// Send the key although the server's address is `http://` and on another machine: whoever is between can read and use it.
    #[arg(long, global = true)]
    pub insecure: bool,
    /// One JSON document on standard output instead of tables.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Give input to a thread, new or finished, and run it until it is done, fails or waits.
    Run(RunArguments),
    /// Answer a thread's questions, or continue a thread after a crash or a failure.
    ///
    /// Without an answer it continues what can continue and answers nothing.
    #[command(alias = "answer")]
    Resume(ResumeArguments),
    /// Serve graphs over HTTP: LangGraph's API, approvals, and an inbox for people.
    Serve(ServeArguments),
    /// List, show, migrate or delete threads.
    Threads(ThreadsArguments),
    /// A thread's values, what runs next, its tasks and questions: as they stand now, or as recorded at a checkpoint.
    State(StateArguments),
    /// Write into a thread's state, at its head or on a branch from an earlier checkpoint. Nothing is run.
    Update(UpdateArguments),
    /// A thread's checkpoints and tasks, newest first; or all its branches as a tree.
    History(HistoryArguments),
    /// Run a thread again from one of its checkpoints, on a branch of its own. Recorded operations answer from their records.
    Replay(ReplayArguments),
    /// Branch off from one of a thread's checkpoints with a change, and run the branch: what if?
    Fork(ForkArguments),
    /// Copy a thread with its whole history. The copy is paused where the original stands.
    Copy(CopyArguments),
    /// Execute a thread's history again, without connectors, and name the first thing that is not as recorded.
    Verify(VerifyArguments),
    /// Write a thread with everything that `verify` needs into one file, to be verified on any machine.
    Export(ExportArguments),
    /// What nodes had performed: what is open, what became of it, and doubt that only a person can settle.
    Operations(OperationsArguments),
    /// Questions to people: list, show, decide, hand on.
    Approvals(ApprovalsArguments),
    /// API keys for `serve`: make, list, revoke.
    Keys(KeysArguments),
    /// The record of every change: write it out, check it.
    Audit(AuditArguments),
    /// Check, draw or deploy graphs, and list what is deployed.
    Graph(GraphArguments),
    /// Build or inspect nodes.
    Node(NodeArguments),
    /// Care for the store: remove what need not be kept.
    Db(DatabaseArguments),
    /// Look for what is missing on this machine.
    Doctor,
    /// The refund story in a minute: a question, a dead process, an answer, one payment.
    Demo(DemoArguments),
    /// Measure this build beside a raw baseline.
    Bench(BenchArguments),
}

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  holdpoint run refund.graph.toml --thread order-9241 --input '{\"order_id\":\"9241\",\"amount_cents\":50000}' --stream updates\n\n\
    Ctrl-C stops the run after its superstep, so that it can be resumed; a second Ctrl-C ends it at once, which loses nothing that was stored."
)]
pub struct RunArguments {
    /// The graph file, or a deployed graph: NAME for its newest version, NAME@VERSION for another. A file of that name is meant first.
    #[arg(value_name = "GRAPH.toml|NAME")]
    pub graph: PathBuf,
    /// The thread's name: any text. A new one is made up when there is none.
    #[arg(long, value_name = "THREAD")]
    pub thread: Option<String>,
    /// The input: a JSON object of channels, `@FILE`, or `-` for standard input.
    #[arg(long, value_name = "JSON|@FILE", default_value = "{}")]
    pub input: String,
    /// Let the input take the place of questions that wait for an answer.
    #[arg(long)]
    pub supersede: bool,
    /// Options of the run.
    #[command(flatten)]
    pub run: RunFlags,
}

/// Arguments of `resume`.
#[derive(Debug, Args)]
#[command(after_help = "Example: answer, correct the state, and go on\n  \
    holdpoint resume --thread order-9241 --answer '{\"approved\":true}' --update '{\"amount_cents\":4000}'")]
pub struct ResumeArguments {
    /// The thread.
    #[arg(long, value_name = "THREAD")]
    pub thread: String,
    /// The answer to the one pending question: JSON, `@FILE`, or `-` for standard input.
    #[arg(long, value_name = "JSON|@FILE", conflicts_with_all = ["answers", "input"])]
    pub answer: Option<String>,
    /// Answers by question id: `{"ID": JSON, …}`. Some of the pending ones are enough.
    #[arg(long, value_name = "JSON|@FILE", conflicts_with = "input")]
    pub answers: Option<String>,
    /// New input for the thread.
    #[arg(long, value_name = "JSON|@FILE")]
    pub input: Option<String>,
    /// Let the input take the place of questions that wait for an answer.
    #[arg(long, requires = "input")]
    pub supersede: bool,
    /// Write this into the state of the waiting step before it goes on: a JSON object of channels.
    #[arg(long, value_name = "JSON|@FILE", conflicts_with = "input")]
    pub update: Option<String>,
    /// Run these nodes too, in the waiting step.
    #[arg(long, value_name = "NODE,…", value_delimiter = ',', conflicts_with = "input")]
    pub goto: Vec<String>,
    /// Who answers, for the record. Asserted, not proven: whoever holds the store may say any name.
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Options of the run.
    #[command(flatten)]
    pub run: RunFlags,
}

/// Arguments of `threads`.
#[derive(Debug, Args)]
pub struct ThreadsArguments {
    /// What to do; lists when left out.
    #[command(subcommand)]
    pub command: Option<ThreadsCommand>,
}

/// Commands of `threads`.
#[derive(Debug, Subcommand)]
pub enum ThreadsCommand {
    /// List threads, newest change first.
    List {
        /// Only those that are: running, interrupted, done or failed.
        #[arg(long, value_name = "STATUS")]
        status: Option<String>,
        /// Only those of graphs with this name.
        #[arg(long, value_name = "NAME")]
        graph: Option<String>,
        /// At most this many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
        /// Pass over this many.
        #[arg(long, default_value_t = 0)]
        offset: usize,
    },
    /// Show one thread: its values and what it waits for.
    Show {
        /// The thread.
        thread: String,
    },
    /// Let a waiting thread go on with another version of its graph, if everything up to here would be the same there.
    ///
    /// Its tasks are executed again on that version, without connectors; the open question stays. Otherwise everything that differs is listed.
    Migrate {
        /// The thread.
        thread: String,
        /// The version: a graph file, which is stored first, or the digest of a stored version.
        #[arg(long, value_name = "GRAPH.toml|DIGEST")]
        to: String,
    },
    /// Delete one thread. Records of its operations stay, so that none of them is done again.
    Delete {
        /// The thread.
        thread: String,
    },
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// The thread; or a file that `export` wrote, where there is one of this name.
    #[arg(value_name = "THREAD|FILE")]
    pub subject: String,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct ExportArguments {
    /// The thread.
    pub thread: String,
    /// The file to write. One that is there is replaced.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Arguments of `operations`.
#[derive(Debug, Args)]
pub struct OperationsArguments {
    /// What to do; lists what is open when left out.
    #[command(subcommand)]
    pub command: Option<OperationsCommand>,
}

/// Commands of `operations`.
#[derive(Debug, Subcommand)]
pub enum OperationsCommand {
    /// List operations without an outcome: in doubt, about to be sent, queued. Oldest first.
    List {
        /// Those with an outcome too.
        #[arg(long)]
        all: bool,
        /// All that this thread performed.
        #[arg(long, value_name = "THREAD")]
        thread: Option<String>,
        /// At most this many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Show one operation: exactly what was asked, what became of it, and who said what.
    Show {
        /// The operation's id.
        id: String,
        /// The connector, or SCOPE/CONNECTOR, where several operations have the id.
        #[arg(long, value_name = "CONNECTOR")]
        connector: Option<String>,
    },
    /// Settle an operation in doubt with your word, and continue what waits for it. Find out first what happened: the receiver's own records tell.
    Resolve(ResolveArguments),
    /// Send what is queued and due now.
    Deliver,
}

/// Arguments of `operations resolve`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("word").required(true).args(["happened", "send", "fail"]))]
pub struct ResolveArguments {
    /// The operation's id.
    pub id: String,
    /// It happened: the result that the node gets. JSON, `@FILE`, or `-` for standard input.
    #[arg(long, value_name = "JSON|@FILE")]
    pub happened: Option<String>,
    /// It did not happen: send it. Refused while it may still arrive.
    #[arg(long)]
    pub send: bool,
    /// It did not happen, and is to count as failed for good. Refused while it may still arrive.
    #[arg(long)]
    pub fail: bool,
    /// Why: kept with the operation for ever.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// The connector, or SCOPE/CONNECTOR, where several operations have the id.
    #[arg(long, value_name = "CONNECTOR")]
    pub connector: Option<String>,
    /// Whose word it is, for the record. Asserted, not proven: whoever holds the store may say any name.
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
}

/// Arguments of `graph`.
#[derive(Debug, Args)]
pub struct GraphArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: GraphCommand,
}

/// Commands of `graph`.
#[derive(Debug, Subcommand)]
pub enum GraphCommand {
    /// Report everything that is wrong with a graph file and its components, all at once.
    Check {
        /// The graph file.
        file: PathBuf,
    },
    /// Draw a graph file, or a deployed graph, as Mermaid.
    Show {
        /// The graph file, or NAME or NAME@VERSION of a deployed graph. A file of that name is meant first.
        #[arg(value_name = "GRAPH.toml|NAME")]
        graph: PathBuf,
    },
    /// Make a graph file the newest version of its name: new threads get it, threads that wait keep theirs.
    ///
    /// Shows what its nodes may do more and less than in the version before. What they may do more somebody has to take with --accept.
    Deploy(DeployArguments),
    /// List deployed versions, newest first.
    List {
        /// Only those of this graph.
        name: Option<String>,
    },
}

/// Arguments of `graph deploy`.
#[derive(Debug, Args)]
pub struct DeployArguments {
    /// The graph file.
    pub file: PathBuf,
    /// Take what nodes may do more than in the version before, and what --shadow finds.
    #[arg(long)]
    pub accept: bool,
    /// Who deploys, for the record. Asserted, not proven: whoever holds the store may say any name.
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// First replay the last N threads of the graph on the new version, from their records and performing nothing, and show what comes out otherwise.
    #[arg(long, value_name = "N")]
    pub shadow: Option<usize>,
}

/// Arguments of `node`.
#[derive(Debug, Args)]
pub struct NodeArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: NodeCommand,
}

/// Commands of `node`.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Build the nodes of a Cargo package or workspace into components.
    Build {
        /// The folder of the package or workspace.
        path: PathBuf,
        /// Where the components are put.
        #[arg(long, value_name = "DIR", default_value = "target/nodes")]
        out: PathBuf,
    },
    /// Show what a component is called, what it wants and what it offers.
    Inspect {
        /// The component, or core module, file.
        path: PathBuf,
    },
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArguments {
    /// The folder of the refund example.
    #[arg(long, value_name = "DIR", default_value = "example-nodes/refund")]
    pub example: PathBuf,
    /// Serve its graph and say what to try, until Ctrl-C.
    #[arg(long)]
    pub serve: bool,
    /// Where to serve it; 127.0.0.1:2024 when left out, or a free port when that one is taken.
    #[arg(long, value_name = "ADDRESS", requires = "serve")]
    pub listen: Option<std::net::SocketAddr>,
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArguments {
    /// What to measure; everything when left out.
    #[arg(value_enum)]
    pub subject: Option<BenchSubject>,
    /// Threads to run: 200 when left out, but for `waiting`, where a million wait.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Threads that run at once.
    #[arg(long, default_value_t = 64)]
    pub concurrency: usize,
    /// The folder of built nodes.
    #[arg(long, value_name = "DIR", default_value = "target/nodes")]
    pub nodes: PathBuf,
}

/// What `bench` measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum BenchSubject {
    /// Whole refund threads: start, interrupt, answer, commit.
    Refund,
    /// Supersteps of a graph that does nothing else.
    Supersteps,
    /// Calls of a node, without engine and store.
    Nodes,
    /// Late supersteps, reads and resumes of a long thread.
    History,
    /// A superstep of a thousand tasks.
    FanOut,
    /// Pages of a hundred thousand threads.
    Listing,
    /// From an accepted answer to the next node.
    Approvals,
    /// A million waiting questions (3 GB of disk while it runs).
    Waiting,
    /// 200 watchers of one run.
    Watchers,
}
