//! Graph files of `probe` nodes, written as data.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::program::{Place, node};

/// A graph whose every node is a probe.
#[derive(Default)]
pub struct Probes {
    text: String,
}

impl Probes {
    /// A graph: `head` holds `start` and whatever else stands above the tables (`name` is given), `state` the lines of the state table.
    pub fn new(head: &str, state: &str) -> Self {
        Self { text: format!("name = \"probes\"\n{head}\n[state]\n{state}\n") }
    }

    /// Adds a node: `keys` are lines of its table (such as `next = "b"`), `script` the script's steps as TOML.
    #[must_use]
    pub fn node(mut self, name: &str, keys: &str, script: &str) -> Self {
        let component = node("probe");
        writeln!(
            self.text,
            "[nodes.{name}]\ncomponent = \"{}\"\n{keys}\nwith = {{ script = [{script}] }}",
            component.display()
        )
        .unwrap();
        self
    }

    /// Adds lines of TOML at the end.
    #[must_use]
    pub fn lines(mut self, text: &str) -> Self {
        writeln!(self.text, "{text}").unwrap();
        self
    }

    /// Writes the graph file into a place.
    pub fn write(&self, place: &Place) -> PathBuf {
        self.write_as(place, "probes.graph.toml")
    }

    /// Writes the graph file under a name of its own.
    pub fn write_as(&self, place: &Place, name: &str) -> PathBuf {
        let path = place.path(name);
        std::fs::write(&path, &self.text).unwrap();
        path
    }

    /// Writes the graph file into a folder.
    pub fn write_into(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, &self.text).unwrap();
        path
    }
}

/// A `POST` as a probe's effect, with an id that ends in the order.
fn post(id: &str, connector: &str, path: &str, body: &str) -> String {
    let request = format!("{{ method = \"POST\", path = \"{path}\", body = {{ order = \"$state.order\"{body} }} }}");
    format!("{{ id = \"{id}:${{state.order}}\", connector = \"{connector}\", request = {request} }}")
}

/// Asks; then charges and books in one superstep; then, with one call, takes a fee and a tax and writes a notice.
///
/// Connectors: `payments` and `bookings` over HTTP, `notices` into a file. The input is `order`.
pub fn three_effects() -> Probes {
    let gate = "{ ask = { order = \"$state.order\" }, as = \"reply\" }, { set = { approved = \"$reply.approved\" } }";
    let charge = post("charge", "payments", "/refunds", ", cents = 500");
    let book = post("book", "bookings", "/bookings", "");
    let (fee, tax) =
        (post("fee", "payments", "/refunds", ", cents = 7"), post("tax", "payments", "/refunds", ", cents = 3"));
    let notice = "{ id = \"notice:${state.order}\", connector = \"notices\", request = { closed = \"$state.order\" } }";
    Probes::new(
        "start = \"gate\"",
        "order = { type = \"string\" }\napproved = { type = \"boolean\" }\ncharge = {}\nbooking = {}\nclosing = {}",
    )
    .node("gate", "next = [\"charge\", \"book\"]", gate)
    .node(
        "charge",
        "connectors = [\"payments\"]\nnext = \"close\"",
        &format!("{{ effect = {charge}, as = \"done\" }}, {{ set = {{ charge = \"$done.body\" }} }}"),
    )
    .node(
        "book",
        "connectors = [\"bookings\"]\nnext = \"close\"",
        &format!("{{ effect = {book}, as = \"done\" }}, {{ set = {{ booking = \"$done.body\" }} }}"),
    )
    .node(
        "close",
        "connectors = [\"payments\", \"notices\"]\njoin = [\"charge\", \"book\"]",
        &format!("{{ effects = [{fee}, {tax}, {notice}], as = \"done\" }}, {{ set = {{ closing = \"$done\" }} }}"),
    )
}

/// Asks, pays, and pays something else under the same id: a mistake that the host has to notice.
pub fn twice() -> Probes {
    let gate = "{ ask = { order = \"$state.order\" }, as = \"reply\" }, { set = { approved = \"$reply.approved\" } }";
    let pay = |cents: &str, channel: &str| {
        let effect = post("pay", "payments", "/refunds", &format!(", cents = {cents}"));
        format!("{{ effect = {effect}, as = \"done\" }}, {{ set = {{ {channel} = \"$done.body\" }} }}")
    };
    let keys = "connectors = [\"payments\"]";
    Probes::new(
        "start = \"gate\"",
        "order = { type = \"string\" }\napproved = { type = \"boolean\" }\nfirst = {}\nsecond = {}",
    )
    .node("gate", "next = \"one\"", gate)
    .node("one", &format!("{keys}\nnext = \"two\""), &pay("5", "first"))
    .node("two", keys, &pay("7", "second"))
}
