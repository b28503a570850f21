//! A graph drawn as Mermaid.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::definition::{Graph, Join, Next, Node, Target, Work};
use crate::ids::NodeName;
use crate::reader::units::duration_text;

/// Longest label of an edge; a picture is no place for a page of CEL.
const LABEL_CHARACTERS_MAX: usize = 120;

/// Draws a graph as a Mermaid flowchart.
///
/// Nodes that may ask a person by policy are hexagons, subgraphs have double sides, nodes that may act on the outside name their connectors, and
/// breakpoints and deferred nodes say so. Conditional edges carry their CEL text, a dotted edge shows where a branch ends unless the node's
/// command says otherwise, or which node handles errors, a thick one what a join waits for.
pub fn mermaid(graph: &Graph) -> String {
    // Own ids for nodes: some words, such as `end`, mean something to Mermaid.
    let ids: BTreeMap<&NodeName, String> =
        graph.nodes.keys().enumerate().map(|(index, name)| (name, format!("n{index}"))).collect();
    let mut drawing = Drawing { lines: vec!["flowchart TD".to_owned(), "    START([START])".to_owned()], ids };
    for (name, node) in &graph.nodes {
        drawing.node(name, node);
    }
    drawing.lines.push("    FINISH([END])".to_owned());
    drawing.edges("START", &graph.start);
    for (name, node) in &graph.nodes {
        let id = drawing.id(name);
        match node.next {
            Next::None => drawing.lines.push(format!("    {id} -.->|\"{}\"| FINISH", label("unless its command says"))),
            _ => drawing.edges(&id, &node.next),
        }
        if let Some(join) = &node.join {
            let text = label(&join_text(join));
            for source in &join.of {
                let source = drawing.id(source);
                drawing.lines.push(format!("    {source} ==>|\"{text}\"| {id}"));
            }
        }
        if let Some(handler) = &node.error_handler {
            let handler = drawing.id(handler);
            drawing.lines.push(format!("    {id} -.->|\"error\"| {handler}"));
        }
    }
    drawing.lines.push("    classDef asks stroke-width:3px,stroke-dasharray:6 3".to_owned());
    drawing.lines.push("    classDef acts stroke-width:3px".to_owned());
    let mut text = drawing.lines.join("\n");
    text.push('\n');
    text
}

struct Drawing<'a> {
    lines: Vec<String>,
    ids: BTreeMap<&'a NodeName, String>,
}

impl Drawing<'_> {
    fn node(&mut self, name: &NodeName, node: &Node) {
        let id = self.id(name);
        let mut text = label(name.as_str());
        if node.interrupt.is_some() {
            text.push_str("<br/>asks a person");
        }
        if !node.connectors.is_empty() {
            let connectors: Vec<&str> = node.connectors.iter().map(|connector| connector.as_str()).collect();
            text.push_str("<br/>uses ");
            text.push_str(&label(&connectors.join(", ")));
        }
        for (marked, mark) in [
            (node.defer, "<br/>runs last"),
            (node.interrupt_before, "<br/>pauses before"),
            (node.interrupt_after, "<br/>pauses after"),
        ] {
            if marked {
                text.push_str(mark);
            }
        }
        let (open, close) = match (&node.work, &node.interrupt) {
            (Work::Subgraph(_), _) => ("[[", "]]"),
            (Work::Component(_), Some(_)) => ("{{", "}}"),
            (Work::Component(_), None) => ("[", "]"),
        };
        let class = match (node.interrupt.is_some(), node.connectors.is_empty()) {
            (true, _) => ":::asks",
            (false, false) => ":::acts",
            (false, true) => "",
        };
        self.lines.push(format!("    {id}{open}\"{text}\"{close}{class}"));
    }

    fn edges(&mut self, from: &str, next: &Next) {
        match next {
            Next::None => {}
            Next::All(targets) => {
                for target in targets {
                    let to = self.target(target);
                    self.lines.push(format!("    {from} --> {to}"));
                }
            }
            Next::First(branches) => {
                for branch in branches {
                    let text = label(branch.when.as_ref().map_or("otherwise", |condition| condition.text()));
                    for target in &branch.to {
                        let to = self.target(target);
                        self.lines.push(format!("    {from} -->|\"{text}\"| {to}"));
                    }
                }
            }
        }
    }

    fn target(&self, target: &Target) -> String {
        match target {
            Target::Node(name) => self.id(name),
            Target::End => "FINISH".to_owned(),
        }
    }

    /// A validated graph names existing nodes only; another name would still be drawn as a box of its own.
    fn id(&self, name: &NodeName) -> String {
        self.ids.get(name).cloned().unwrap_or_else(|| {
            format!("unknown_{}", label(name.as_str()).replace(|c: char| !c.is_ascii_alphanumeric(), "_"))
        })
    }
}

/// What a join's edges say.
fn join_text(join: &Join) -> String {
    if join.need == join.of.len() {
        return "join".to_owned();
    }
    let within = join.within_ms.map(|within_ms| format!(" within {}", duration_text(within_ms))).unwrap_or_default();
    format!("{} of {}{within}", join.need, join.of.len())
}

/// A text inside a quoted label. Everything that Mermaid, Markdown or HTML could read as more than text is written as its code, and hidden
/// characters are shown.
fn label(text: &str) -> String {
    let mut escaped = String::new();
    for (index, character) in text.chars().enumerate() {
        if index == LABEL_CHARACTERS_MAX {
            escaped.push('…');
            break;
        }
        match character {
            '\n' | '\r' | '\t' => escaped.push(' '),
            ' ' | '_' | '.' | ',' | '=' | '(' | ')' | '-' | '+' | ':' | '\'' | '!' | '?' => escaped.push(character),
            _ if character.is_alphanumeric() => escaped.push(character),
            _ if character.is_ascii() && !character.is_ascii_control() => {
                write!(escaped, "#{};", u32::from(character)).expect("writing to a string cannot fail");
            }
            _ => write!(escaped, "U+{:04X}", u32::from(character)).expect("writing to a string cannot fail"),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::{Edges, GraphBuilder, NodeBuilder};
    use crate::state::Reducer;
    use serde_json::json;

    #[test]
    fn draws_questions_effects_branches_and_joins() {
        let graph = GraphBuilder::new("g")
            .channel("ok", json!({}), Reducer::Last)
            .start("end")
            .node(
                "end",
                NodeBuilder::component_path("a.wasm")
                    .interrupt(json!({}))
                    .next(Edges::when("state.ok == \"<b>`%%{x}\"", "pay").otherwise("END")),
            )
            .node("pay", NodeBuilder::component_path("p.wasm").connectors(["bank", "mail"]))
            .node("last", NodeBuilder::component_path("l.wasm").join(["end", "pay"]).next("END"))
            .build()
            .expect("a sound graph");
        let expected = "flowchart TD
    START([START])
    n0{{\"end<br/>asks a person\"}}:::asks
    n1[\"last\"]
    n2[\"pay<br/>uses bank, mail\"]:::acts
    FINISH([END])
    START --> n0
    n0 -->|\"state.ok == #34;#60;b#62;#96;#37;#37;#123;x#125;#34;\"| n2
    n0 -->|\"otherwise\"| FINISH
    n1 --> FINISH
    n0 ==>|\"join\"| n1
    n2 ==>|\"join\"| n1
    n2 -.->|\"unless its command says\"| FINISH
    classDef asks stroke-width:3px,stroke-dasharray:6 3
    classDef acts stroke-width:3px
";
        assert_eq!(mermaid(&graph), expected);
    }

    #[test]
    fn draws_subgraphs_handlers_breakpoints_and_partial_joins() {
        let node = || NodeBuilder::component_path("a.wasm").next("END");
        let graph = GraphBuilder::new("g")
            .start(["child", "other", "third"])
            .node("child", NodeBuilder::subgraph_path("child.graph.toml").error_handler("mend").next("END"))
            .node("other", node().interrupt_before().interrupt_after())
            .node("third", node())
            .node("mend", node())
            .node("two", node().join_some(["child", "other", "third"], 2, Some(3_600_000)))
            .node("one", node().join_some(["child", "other"], 1, None).defer())
            .build()
            .expect("a sound graph");
        let expected = "flowchart TD
    START([START])
    n0[[\"child\"]]
    n1[\"mend\"]
    n2[\"one<br/>runs last\"]
    n3[\"other<br/>pauses before<br/>pauses after\"]
    n4[\"third\"]
    n5[\"two\"]
    FINISH([END])
    START --> n0
    START --> n3
    START --> n4
    n0 --> FINISH
    n0 -.->|\"error\"| n1
    n1 --> FINISH
    n2 --> FINISH
    n0 ==>|\"1 of 2\"| n2
    n3 ==>|\"1 of 2\"| n2
    n3 --> FINISH
    n4 --> FINISH
    n5 --> FINISH
    n0 ==>|\"2 of 3 within 1h\"| n5
    n3 ==>|\"2 of 3 within 1h\"| n5
    n4 ==>|\"2 of 3 within 1h\"| n5
    classDef asks stroke-width:3px,stroke-dasharray:6 3
    classDef acts stroke-width:3px
";
        assert_eq!(mermaid(&graph), expected);
    }

    #[test]
    fn labels_hide_nothing() {
        assert_eq!(label("a\u{202e}b\nc;#"), "aU+202Eb c#59;#35;");
        assert_eq!(label(&"x".repeat(1 << 20)).chars().count(), LABEL_CHARACTERS_MAX + 1);
    }
}
