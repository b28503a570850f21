//! The contract's bindings, generated from `wit/node.wit` at compile time. Nothing else in the crate is generated.
#![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, reason = "generated code")]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "node",
    imports: {
        // The only one that waits. The others return at once, so that they need no future of their own.
        "holdpoint:node/side-effect": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    // What a guest is handed is copied once, into its memory.
    ownership: Borrowing { duplicate_if_necessary: true },
});
