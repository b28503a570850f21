//! Why a component was refused, or the sandbox could not start.

use holdpoint_graph::digest::Digest;

/// What [`crate::Sandbox`] refuses, each with a stable code and a cure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are not WebAssembly, or broken.
    #[error("the bytes are no valid WebAssembly component or module: {0}")]
    NotWasm(String),
    /// The component wants something that nodes do not get.
    #[error("the component imports what no node gets: {}", .imports.join(", "))]
    ForeignImports {
        /// All of them, in the order of the component.
        imports: Vec<String>,
    },
    /// The component is not one of the world `holdpoint:node/node`.
    #[error("the component is not of the world `holdpoint:node/node`: {}", .problems.join("; "))]
    WrongWorld {
        /// What is missing or of another type.
        problems: Vec<String>,
    },
    /// The core module cannot be wrapped as a component.
    #[error("the core module cannot be wrapped as a component: {0}")]
    NotWrappable(String),
    /// The component is larger than the sandbox allows.
    #[error("the component is too large: {0}")]
    TooLarge(String),
    /// Nobody has the component.
    #[error("the component {0} is not stored")]
    ComponentMissing(Digest),
    /// The component could not be read.
    #[error("the component {digest} could not be read: {reason}")]
    Source {
        /// Which one.
        digest: Digest,
        /// Why.
        reason: String,
    },
    /// What was stored under the digest is something else.
    #[error("what is stored as {expected} has the digest {found}")]
    DigestMismatch {
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// The component does not start, or its `describe` does not return a valid description.
    #[error("the component does not describe itself: {0}")]
    Description(String),
    /// The sandbox could not be set up on this machine.
    #[error("the sandbox cannot run here: {0}")]
    Unavailable(String),
    /// The wasmtime that was linked is older than the oldest one that is safe.
    #[error("wasmtime {found} has known holes; at least {floor} is needed")]
    RuntimeOutdated {
        /// The linked version.
        found: String,
        /// The oldest acceptable one.
        floor: String,
    },
}

impl Error {
    /// The stable code, `HP02…`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotWasm(_) => "HP0201",
            Self::ForeignImports { .. } => "HP0202",
            Self::WrongWorld { .. } => "HP0203",
            Self::NotWrappable(_) => "HP0204",
            Self::TooLarge(_) => "HP0205",
            Self::ComponentMissing(_) => "HP0206",
            Self::Source { .. } => "HP0207",
            Self::DigestMismatch { .. } => "HP0208",
            Self::Description(_) => "HP0209",
            Self::Unavailable(_) => "HP0210",
            Self::RuntimeOutdated { .. } => "HP0211",
        }
    }

    /// What to do about it.
    pub fn cure(&self) -> &'static str {
        match self {
            Self::NotWasm(_) => {
                "build the node again with `holdpoint node build`, and check that the file was copied whole"
            }
            Self::ForeignImports { .. } => {
                "use the host's own interfaces (`interrupt`, `side-effect`, `recorded`, `report`); `wasi` 0.2 is served too, other interfaces are not"
            }
            Self::WrongWorld { .. } => {
                "export `describe` and `run` of the world `holdpoint:node/node`; the SDK's `#[node]` does both"
            }
            Self::NotWrappable(_) => {
                "build the module with the SDK or with wit-bindgen against `holdpoint:node`, for `wasm32-unknown-unknown`"
            }
            Self::TooLarge(_) => "split the node, or raise the sandbox's bound that the message names",
            Self::ComponentMissing(_) => "deploy the graph again together with its components",
            Self::Source { .. } => "check the store that holds the components, then run again",
            Self::DigestMismatch { .. } => {
                "the store is damaged: restore it from a backup, or deploy the component again"
            }
            Self::Description(_) => "run the node's own tests; `describe` must return without asking for anything",
            Self::Unavailable(_) => "give the process more address space or threads (`ulimit -a`), then start again",
            Self::RuntimeOutdated { .. } => "build with the lock file of this release",
        }
    }
}
