//! What can go wrong when nodes are built.

use std::path::PathBuf;

/// Why no node was built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The folder holds no Cargo package.
    #[error("{} holds no Cargo.toml", .0.display())]
    NoPackage(PathBuf),
    /// The package builds no `cdylib`.
    #[error("{} builds no node", .0.display())]
    NoNode(PathBuf),
    /// Nothing on this machine compiles for WebAssembly.
    #[error("no toolchain here compiles for wasm32-unknown-unknown: {0}")]
    NoToolchain(String),
    /// A program could not be started, or installing failed.
    #[error("{program} failed: {reason}")]
    Program {
        /// Which program.
        program: String,
        /// What it said.
        reason: String,
    },
    /// The compiler refused the code; its messages went to standard error.
    #[error("cargo could not build the nodes (exit {0}); its messages stand above")]
    Compile(String),
    /// What was compiled is no node.
    #[error("{name} compiles, but is no node: {reason}")]
    NotAComponent {
        /// The package.
        name: String,
        /// Why.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{}: {reason}", .path.display())]
    Output {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl BuildError {
    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoPackage(_) => "HP0740",
            Self::NoNode(_) => "HP0741",
            Self::NoToolchain(_) => "HP0742",
            Self::Program { .. } => "HP0743",
            Self::Compile(_) => "HP0744",
            Self::NotAComponent { .. } => "HP0745",
            Self::Output { .. } => "HP0746",
        }
    }

    /// What to do about it.
    pub fn cure(&self) -> String {
        match self {
            Self::NoPackage(_) => "name the folder of the node's package, or of a workspace of nodes".into(),
            Self::NoNode(_) => "give the package `[lib] crate-type = [\"cdylib\"]`".into(),
            Self::NoToolchain(_) => {
                "with rustup: `rustup target add wasm32-unknown-unknown`; on Debian or Ubuntu, as root: \
                                     `apt-get install rustc-web cargo-web rust-web-src lld-22`"
                    .into()
            }
            Self::Program { .. } => "see what the program said; run it by hand to find out more".into(),
            Self::Compile(_) => "mend what the compiler names".into(),
            Self::NotAComponent { .. } => {
                "use the SDK's #[node] attribute, and nothing that needs a file, a socket or a clock".into()
            }
            Self::Output { .. } => "check the path, its permissions and the room on the disk".into(),
        }
    }
}
