//! The `#[node]` attribute of the Holdpoint node SDK. Use it as `holdpoint_node::node`.
//!
//! Layout: `arguments` reads what stands in the parentheses, `expand` writes the code.

mod arguments;
mod expand;

use proc_macro::TokenStream;

/// Makes a function the node of this component.
///
/// The function is `fn NAME(state: T, cx: Cx) -> Result<Command>` with any `T: Deserialize`: the channels that the node reads. It stays an
/// ordinary function, which tests call through `holdpoint_node::testing::FakeHost`. A component has one node, so a crate has one `#[node]`.
///
/// All arguments are optional:
///
/// * `connectors = ["payments"]`: the connectors that the node calls; loading fails early where a graph does not grant them.
/// * `name = "…"`, `version = "…"`: by default the package's.
/// * `summary = "…"`: by default the first paragraph of the function's documentation, else the package's description.
/// * `state_schema = …`, `update_schema = …`, `config_schema = …`: JSON Schemas as constant text, such as `include_str!("state.json")`.
#[proc_macro_attribute]
pub fn node(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(attribute.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
