//! Messages of a conversation, as nodes tell them: custom events that carry one.
//!
//! A node reports `{"message": {"type": "ai", "id": …, "content": …}}`, with `metadata` beside it where it wants; nothing else is taken for a
//! message. One whose type ends with `Chunk` is a piece: pieces of one id are told as they come, and as far as they have come.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::feed::FrameKind;

/// Messages whose pieces are remembered. One that nobody has heard of for so long begins anew.
const OPEN_MAX: usize = 64;

/// What was said so far.
#[derive(Default)]
pub(super) struct Messages {
    /// By id: the content of pieces, and when each was heard last.
    open: HashMap<String, (u64, Value)>,
    heard: u64,
}

impl Messages {
    /// The frames that a custom event comes to: none when it carries no message.
    pub(super) fn said(&mut self, event: &Value, task: &Map<String, Value>) -> Vec<(FrameKind, Value)> {
        let Some(message) = event.get("message").filter(|message| is_message(message)) else { return Vec::new() };
        let mut metadata = task.clone();
        if let Some(Value::Object(own)) = event.get("metadata") {
            metadata.extend(own.clone());
        }
        let mut frames = vec![(FrameKind::Message, json!([message, metadata]))];
        let Some(id) = message.get("id").and_then(Value::as_str).map(str::to_owned) else {
            frames.push((FrameKind::MessageComplete, json!([message])));
            return frames;
        };
        self.heard += 1;
        let is_piece = message.get("type").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("Chunk"));
        let before = self.open.remove(&id);
        if before.is_none() {
            frames.push((FrameKind::MessageMetadata, json!({ id.as_str(): { "metadata": metadata } })));
        }
        if is_piece {
            let whole = joined(before.map(|(_, message)| message), message);
            frames.push((FrameKind::MessagePartial, json!([whole])));
            self.open.insert(id, (self.heard, whole));
            self.forget();
        } else {
            frames.push((FrameKind::MessageComplete, json!([message])));
        }
        frames
    }

    fn forget(&mut self) {
        if self.open.len() > OPEN_MAX
            && let Some(oldest) = self.open.iter().min_by_key(|(_, (heard, _))| *heard).map(|(id, _)| id.clone())
        {
            self.open.remove(&oldest);
        }
    }
}

fn is_message(value: &Value) -> bool {
    value.get("type").is_some_and(Value::is_string) && value.get("content").is_some()
}

/// A piece after those before it. Only text is joined: of anything else the newest counts.
fn joined(before: Option<Value>, piece: &Value) -> Value {
    let mut whole = piece.clone();
    let said = before.as_ref().and_then(|before| before.get("content")).and_then(Value::as_str);
    if let (Some(said), Some(more)) = (said, piece.get("content").and_then(Value::as_str)) {
        whole["content"] = Value::String(format!("{said}{more}"));
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_are_messages() {
        let mut messages = Messages::default();
        for event in
            [json!("hello"), json!({ "message": "hello" }), json!({ "message": { "type": "ai" } }), json!(null)]
        {
            assert_eq!(messages.said(&event, &Map::new()), [], "{event}");
        }
    }

    #[test]
    fn pieces_are_joined() {
        let mut messages = Messages::default();
        let piece = |text: &str| json!({ "message": { "type": "AIMessageChunk", "id": "m", "content": text } });
        let task = Map::from_iter([("langgraph_node".to_owned(), json!("n"))]);
        let first = messages.said(&piece("Hel"), &task);
        let kinds: Vec<FrameKind> = first.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [FrameKind::Message, FrameKind::MessageMetadata, FrameKind::MessagePartial]);
        assert_eq!(first[0].1[1]["langgraph_node"], json!("n"));
        let second = messages.said(&piece("lo"), &task);
        assert_eq!(second.len(), 2);
        assert_eq!(second[1].1[0]["content"], json!("Hello"));
        let end = messages.said(&json!({ "message": { "type": "ai", "id": "m", "content": "Hello." } }), &task);
        assert_eq!(end[1], (FrameKind::MessageComplete, json!([{ "type": "ai", "id": "m", "content": "Hello." }])));
    }
}
