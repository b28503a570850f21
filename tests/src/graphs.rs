//! Graph files of `probe` nodes, written as data.

use std::fmt::Write as _;
use std::path::PathBuf;

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
}
