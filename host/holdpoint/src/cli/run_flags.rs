//! What every command that runs nodes takes besides what it is to run.

use std::collections::BTreeSet;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use holdpoint_engine::stream::Mode;
use holdpoint_engine::{Breakpoints, RunOptions, Selection};
use holdpoint_graph::ids::InvalidId;
use holdpoint_graph::nodes::EffectMode;

use super::context::object_argument;
use crate::failure::Failure;

/// Options of a run.
#[derive(Debug, Args, Default)]
pub struct RunFlags {
    /// Print what happens as JSON lines while it happens, and nothing else on standard output. Several modes are joined by commas.
    ///
    /// values: all values whenever they changed. updates: what each node wrote. tasks: tasks as they begin and end. checkpoints: each checkpoint with
    /// what runs next. custom: what nodes say. debug: checkpoints and tasks with step and time. Each line is {"type", "ns", "data"}; the last has the type
    /// "end" with the thread as `--json` shows it, or "error".
    #[arg(long, value_name = "MODE,…", value_delimiter = ',', value_parser = modes())]
    pub stream: Vec<Mode>,
    /// Kept with every checkpoint of the run, for `history --metadata`: a JSON object, such as '{"ticket": 7}'.
    #[arg(long, value_name = "JSON|@FILE")]
    pub metadata: Option<String>,
    /// Pause before these nodes run; `*` means every node. Holds for this call only.
    #[arg(long, value_name = "NODE,…", value_delimiter = ',')]
    pub interrupt_before: Vec<String>,
    /// Pause after these nodes ran; `*` means every node. Holds for this call only.
    #[arg(long, value_name = "NODE,…", value_delimiter = ',')]
    pub interrupt_after: Vec<String>,
}

impl RunFlags {
    /// What the engine is told of them. What becomes of effects is not among them.
    ///
    /// # Errors
    /// Metadata that is no object, and names that no node can have.
    pub fn options(&self, effects: Option<EffectMode>) -> Result<RunOptions, Failure> {
        let metadata = self.metadata.as_deref().map(|text| object_argument("--metadata", text)).transpose()?;
        let breakpoints = Breakpoints {
            before: selection("--interrupt-before", &self.interrupt_before)?,
            after: selection("--interrupt-after", &self.interrupt_after)?,
        };
        Ok(RunOptions { breakpoints, metadata: metadata.unwrap_or_default(), effects, ..RunOptions::default() })
    }

    /// The modes of the stream, each once.
    pub fn modes(&self) -> BTreeSet<Mode> {
        self.stream.iter().copied().collect()
    }
}

/// Reads the name of an effect mode.
pub fn effect_modes() -> impl TypedValueParser<Value = EffectMode> {
    PossibleValuesParser::new(EffectMode::NAMES.map(|(_, name)| name))
        .map(|name| EffectMode::parse(&name).unwrap_or_default())
}

/// A name that is not one.
pub(super) fn not_a_node(option: &str, error: &InvalidId) -> Failure {
    Failure::invalid(
        "HP0722",
        format!("{option}: {error}"),
        "name a node of the graph; `holdpoint graph show` draws it",
    )
}

fn selection(option: &str, names: &[String]) -> Result<Selection, Failure> {
    Selection::parse(names.iter().map(String::as_str)).map_err(|error| not_a_node(option, &error))
}

fn modes() -> impl TypedValueParser<Value = Mode> {
    // The names that are accepted are those that are read back.
    PossibleValuesParser::new(Mode::NAMES.map(|(_, name)| name)).map(|name| Mode::parse(&name).unwrap_or(Mode::Values))
}
