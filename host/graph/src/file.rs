//! The graph file: TOML, `*.graph.toml`.
//!
//! ```
//! let graph = holdpoint_graph::file::parse(
//!     r#"
//!     name = "greeting"
//!     start = "greet"
//!     [state]
//!     text = { type = "string" }
//!     [nodes.greet]
//!     component = "greet.wasm"
//!     next = "END"
//!     "#,
//!     "greeting.graph.toml",
//! );
//! assert_eq!(graph.expect("a sound graph").nodes.len(), 1);
//! ```

use toml::de::DeTable;

use crate::definition::Graph;
use crate::problem::Problems;
use crate::reader::sink::{Code, Sink};
use crate::reader::{self, Origin, tree};

/// Longest graph file, in bytes.
pub const FILE_BYTES_MAX: usize = 4 << 20;

/// Reads and validates a graph file. `file` names it in problems.
///
/// # Errors
/// Everything that is wrong with it, each with its line, column and cure. After a syntax error, problems that may only follow from it (such
/// as a node that seems to be missing) are left out.
pub fn parse(text: &str, file: &str) -> Result<Graph, Problems> {
    let mut sink = Sink::new(file, Some(text));
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes, at most {FILE_BYTES_MAX} are allowed", text.len());
        sink.report(Code::Value, Some(0), message, "keep data out of the graph file");
        return Err(sink.finish().expect("invariant: a problem was just reported"));
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        // The parser's words may come in lines.
        let cure =
            if error.message().contains("duplicate") { "remove or rename one of them" } else { "mend the TOML here" };
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        sink.report(Code::Syntax, error.span().map_or(Some(0), |span| Some(span.start)), message, cure);
    }
    let root = tree::from_toml(&table, &mut sink);
    reader::read(&root, Origin::File, sink)
}
