//! The contract's bindings, generated from `wit/node.wit` at compile time.
#![allow(unsafe_code, missing_docs, missing_debug_implementations, unreachable_pub, unused_qualifications, clippy::all)]

wit_bindgen::generate!({
    path: "wit",
    world: "node",
    pub_export_macro: true,
    default_bindings_module: "holdpoint_node::wasm::bindings",
});
