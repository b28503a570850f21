//! The arguments of the commands that look into a thread's past, write into it, and branch off from it.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, Subcommand};
use holdpoint_graph::nodes::EffectMode;
use holdpoint_store::Source;

use super::run_flags::{RunFlags, effect_modes};

/// Arguments of `state`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  holdpoint state order-9241\n  holdpoint state order-9241 --at 8a7c01d2e3f4\n\n\
    Without --at the live view: what finished tasks of the unfinished step wrote is in the values, and only questions that wait are shown.\n\
    With --at the record: the values as they were when the checkpoint was made, and every question with its answer.")]
pub struct StateArguments {
    /// The thread.
    pub thread: String,
    /// As recorded at this checkpoint, a subgraph's included; the last digits of its id are enough.
    #[arg(long, value_name = "CHECKPOINT")]
    pub at: Option<String>,
}

/// Arguments of `update`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").required(true).multiple(true).args(["set", "as_node", "supersteps"]),
    after_help = "Example: correct an amount before it is approved, then go on\n  \
    holdpoint update order-9241 --set '{\"amount_cents\": 4000}' --as-node prepare_refund\n  holdpoint resume --thread order-9241\n\n\
    The values go through the channels' reducers; {\"__overwrite__\": X} goes past them. Questions that wait are superseded and asked anew when the\n\
    thread goes on. Refused updates write nothing."
)]
pub struct UpdateArguments {
    /// The thread.
    pub thread: String,
    /// What to write: a JSON object of channels, `@FILE`, or `-` for standard input.
    #[arg(long, value_name = "JSON|@FILE")]
    pub set: Option<String>,
    /// Write from this checkpoint, on a branch of its own, instead of the thread's head; the last digits of its id are enough.
    #[arg(long, value_name = "CHECKPOINT")]
    pub at: Option<String>,
    /// For whom the update speaks: its edges are followed next. A node; `__input__`: it is new input; `__copy__`: the checkpoint is copied beside
    /// itself; `END`: nothing runs any more. Without it the node that finished last, when there is only one.
    #[arg(long, value_name = "NODE")]
    pub as_node: Option<String>,
    /// Several supersteps of updates, all or none: `[[{"values": {…}, "as_node": "NODE", "goto": ["NODE", {"node": "NODE", "argument": …}]}, …], …]`.
    #[arg(long, value_name = "JSON|@FILE", conflicts_with_all = ["set", "as_node"])]
    pub supersteps: Option<String>,
    /// Kept with the new checkpoint, for `history --metadata`: a JSON object.
    #[arg(long, value_name = "JSON|@FILE")]
    pub metadata: Option<String>,
    /// What becomes of side effects when the thread goes on from the update; as before when left out.
    #[arg(long, value_name = "MODE", value_parser = effect_modes())]
    pub effects: Option<EffectMode>,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("whose").required(true).args(["thread", "thread_option"]),
    after_help = "Example: what would the refund do, run again from its second step? Nothing is sent.\n  \
    holdpoint replay order-9241 --from 8a7c01d2e3f4 --effects recorded"
)]
pub struct ReplayArguments {
    /// The thread.
    #[arg(value_name = "THREAD")]
    pub thread: Option<String>,
    /// The thread, as an option.
    #[arg(long = "thread", value_name = "THREAD", hide = true)]
    pub thread_option: Option<String>,
    /// The checkpoint to run from; `history` shows them, and the last digits of an id are enough.
    #[arg(long, value_name = "CHECKPOINT")]
    pub from: String,
    /// What becomes of side effects on the branch; what is recorded is answered from its record in any case. live: new ones are performed. recorded: new
    /// ones are not performed, the thread stops and lists them. ask: each new one becomes a question that shows its request.
    #[arg(long, value_name = "MODE", value_parser = effect_modes())]
    pub effects: Option<EffectMode>,
    /// Options of the run.
    #[command(flatten)]
    pub run: RunFlags,
}

/// Arguments of `fork`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").required(true).multiple(true).args(["set", "as_node"]),
    after_help = "Example: what if it had been 40 euros? Nothing is sent; what would be is listed.\n  \
    holdpoint fork order-9241 --from 8a7c01d2e3f4 --set '{\"amount_cents\": 4000}' --as-node prepare_refund --effects recorded"
)]
pub struct ForkArguments {
    /// The thread.
    pub thread: String,
    /// The checkpoint to branch off from; `history` shows them, and the last digits of an id are enough.
    #[arg(long, value_name = "CHECKPOINT")]
    pub from: String,
    /// What is different on the branch: a JSON object of channels, `@FILE`, or `-` for standard input.
    #[arg(long, value_name = "JSON|@FILE")]
    pub set: Option<String>,
    /// For whom the change speaks, as for `update`.
    #[arg(long, value_name = "NODE")]
    pub as_node: Option<String>,
    /// What becomes of side effects on the branch: live, recorded or ask, as for `replay`.
    #[arg(long, value_name = "MODE", value_parser = effect_modes())]
    pub effects: Option<EffectMode>,
    /// Make the branch and leave it paused; `holdpoint resume --thread THREAD` runs it.
    #[arg(long)]
    pub no_run: bool,
    /// Options of the run.
    #[command(flatten)]
    pub run: RunFlags,
}

/// Arguments of `copy`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: try something on a copy\n  holdpoint copy order-9241 try-1 --effects recorded\n  holdpoint resume --thread try-1\n\n\
    The copy has the whole history. Operations that the original performed for itself count as the copy's: it gets their records."
)]
pub struct CopyArguments {
    /// The thread.
    pub thread: String,
    /// The name of the copy.
    pub new: String,
    /// What becomes of new side effects of the copy: live, recorded or ask, as for `replay`.
    #[arg(long, value_name = "MODE", value_parser = effect_modes())]
    pub effects: Option<EffectMode>,
}

/// Arguments of `history`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  holdpoint history order-9241 --tree\n  holdpoint history order-9241 --source update --limit 10\n  \
    holdpoint history order-9241 --metadata '{\"ticket\": 7}'"
)]
pub struct HistoryArguments {
    /// The thread.
    pub thread: String,
    /// At most this many checkpoints.
    #[arg(long, default_value_t = 100)]
    pub limit: usize,
    /// Only checkpoints stored before this one; the last digits of its id are enough.
    #[arg(long, value_name = "CHECKPOINT")]
    pub before: Option<String>,
    /// Only checkpoints that were made by this: input, loop, update or fork.
    #[arg(long, value_name = "SOURCE", value_parser = sources())]
    pub source: Option<Source>,
    /// Only checkpoints of this step; an input of a new thread is -1.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub step: Option<i64>,
    /// Only checkpoints whose metadata has each of these members: a JSON object.
    #[arg(long, value_name = "JSON|@FILE")]
    pub metadata: Option<String>,
    /// The checkpoints of a subgraph instead of those of the thread's own graph, such as `child:TASK`.
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Draw all branches of the thread as a tree, oldest first.
    #[arg(long, conflicts_with_all = ["before", "source", "step", "metadata", "namespace"])]
    pub tree: bool,
    /// With --tree: the runs of subgraphs too, under the checkpoints whose tasks ran them.
    #[arg(long, requires = "tree")]
    pub subgraphs: bool,
}

/// Arguments of `db`.
#[derive(Debug, Args)]
pub struct DatabaseArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: DatabaseCommand,
}

/// Commands of `db`.
#[derive(Debug, Subcommand)]
pub enum DatabaseCommand {
    /// Remove what finished threads need not keep. Threads that run, wait or failed are never touched, nor those with an operation that has no
    /// outcome yet, whatever their age.
    Prune(PruneArguments),
}

/// Arguments of `db prune`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("rule").required(true).multiple(true).args(["keep_latest", "delete", "cache"]),
    after_help = "Example: look first, then trim what has been finished for a week, then delete what has been for a quarter\n  \
    holdpoint db prune --keep-latest --older-than 7d --dry-run\n  holdpoint db prune --keep-latest --older-than 7d\n  \
    holdpoint db prune --delete --older-than 90d"
)]
pub struct PruneArguments {
    /// Keep the newest state of each finished thread, and all that can be reached from it; remove its earlier checkpoints.
    #[arg(long)]
    pub keep_latest: bool,
    /// Delete finished threads. Records of their operations stay, so that none of them is done again.
    #[arg(long, conflicts_with = "keep_latest", requires = "older_than")]
    pub delete: bool,
    /// Only threads that have not changed for so long, such as `12h` or `30d`.
    #[arg(long, value_name = "DURATION")]
    pub older_than: Option<String>,
    /// Count what would be removed, and remove nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Remove all results that nodes with `cache` left to be used again, not only those that have expired.
    #[arg(long)]
    pub cache: bool,
}

fn sources() -> impl TypedValueParser<Value = Source> {
    // The names that are accepted are those that are read back.
    PossibleValuesParser::new(Source::NAMES.map(|(_, name)| name))
        .map(|name| Source::parse(&name).unwrap_or(Source::Loop))
}
