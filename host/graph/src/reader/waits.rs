//! What a node waits for: `join`.

use crate::definition::Join;
use crate::ids::NodeName;

use super::sink::Code;
use super::tree::{Data, Item, find};
use super::{Reader, join};

impl Reader<'_> {
    /// A list of nodes that are all waited for, or a table that says how many of them are enough. `own_name` is the waiting node's.
    pub(super) fn waits(&mut self, path: &str, item: &Item, own_name: &str) -> Option<Join> {
        let Data::Table(members) = &item.data else {
            let of = self.sources(path, item, own_name);
            return Some(Join { need: of.len(), of, within_ms: None });
        };
        self.check_keys(members, path, &["of", "need", "within"]);
        let list = self.required(members, path, "of", item.offset);
        let of = list.map(|member| self.sources(&join(path, "of"), &member.item, own_name));
        // As written: a name that is not known counts, so that one fault is not told as two.
        let all = match list.map(|member| &member.item.data) {
            Some(Data::Array(items)) => items.len(),
            _ => 0,
        };
        let need = match find(members, "need") {
            Some(member) if all > 0 => self
                .integer(&join(path, "need"), &member.item, 1, all as u64)
                .and_then(|need| usize::try_from(need).ok()),
            _ => Some(all),
        };
        let within = find(members, "within");
        let within_ms = within.and_then(|member| self.duration_ms(&join(path, "within"), &member.item, 1));
        if let Some(within) = within
            && all > 0
            && need == Some(all)
        {
            self.sink.report(
                Code::Combination,
                within.offset,
                format!("`{}` has no meaning where all are needed", join(path, "within")),
                "make `need` smaller than the number of nodes in `of`, or remove `within`",
            );
        }
        Some(Join { of: of?, need: need?, within_ms })
    }

    fn sources(&mut self, path: &str, item: &Item, own_name: &str) -> Vec<NodeName> {
        if let Data::Array(items) = &item.data
            && items.is_empty()
        {
            let message = format!("`{path}` is an empty list");
            self.sink.report(Code::Edge, item.offset, message, "name the nodes to wait for, or remove `join`");
            return Vec::new();
        }
        self.list_of(path, item, |reader, item| {
            let text = reader.string(path, item)?;
            if text == own_name {
                let message = format!("`{path}` waits for its own node, so it would never run");
                reader.sink.report(Code::Edge, item.offset, message, "name other nodes");
                return None;
            }
            reader.node_name(path, text, item.offset, &[])
        })
    }
}
