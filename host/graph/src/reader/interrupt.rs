//! What holds for a node's questions.

use crate::definition::InterruptPolicy;
use crate::state::Schema;

use super::fields::quote;
use super::sink::Code;
use super::tree::{Data, Item, Member, find, members_to_json};
use super::{Reader, join};

impl Reader<'_> {
    pub(super) fn interrupt(&mut self, path: &str, member: &Member) -> Option<InterruptPolicy> {
        const KEYS: [&str; 8] =
            ["deadline", "on_timeout", "answer_schema", "assignees", "quorum", "distinct_from", "escalate", "notify"];
        let members = self.table(&member.item, path)?;
        self.check_keys(members, path, &KEYS);
        let answer_schema =
            find(members, "answer_schema").and_then(|member| self.answer_schema(&join(path, "answer_schema"), member));
        for member in members {
            let path = join(path, &member.name);
            match member.name.as_str() {
                "deadline" => self.deadline(&path, &member.item),
                "on_timeout" => self.on_timeout(&path, &member.item, answer_schema.as_ref()),
                "assignees" | "notify" => {
                    self.labels(&path, &member.item);
                }
                "quorum" => {
                    self.integer(&path, &member.item, 1, u64::from(u32::MAX));
                }
                "distinct_from" => {
                    self.label(&path, &member.item);
                }
                "escalate" => self.escalate(&path, &member.item),
                _ => {}
            }
        }
        Some(InterruptPolicy { answer_schema, policy: members_to_json(members, &["answer_schema"]) })
    }

    fn answer_schema(&mut self, path: &str, member: &Member) -> Option<Schema> {
        let members = self.table(&member.item, path)?;
        self.schema(path, member.offset, members, member.item.to_json())
    }

    /// A duration, or an expression that gives one for the state.
    fn deadline(&mut self, path: &str, item: &Item) {
        let Data::Table(members) = &item.data else {
            self.duration_ms(path, item, 1);
            return;
        };
        self.check_keys(members, path, &["cel"]);
        if let Some(member) = self.required(members, path, "cel", item.offset) {
            self.condition(&join(path, "cel"), member);
        }
    }

    /// `"fail"`, or the answer that the deadline gives.
    fn on_timeout(&mut self, path: &str, item: &Item, answer_schema: Option<&Schema>) {
        const CURE: &str = "\"fail\" or { answer = … }";
        match &item.data {
            Data::String(text) if text == "fail" => {}
            Data::Table(members) => {
                self.check_keys(members, path, &["answer"]);
                let Some(member) = self.required(members, path, "answer", item.offset) else { return };
                let violations =
                    answer_schema.and_then(|schema| schema.check(&member.item.to_json()).err()).unwrap_or_default();
                if !violations.is_empty() {
                    let list: Vec<String> = violations.iter().map(ToString::to_string).collect();
                    let message = format!("`{path}.answer` breaks the answer schema: {}", list.join(", "));
                    self.sink.report(Code::Value, member.item.offset, message, "change the answer or the schema");
                }
            }
            Data::String(text) => self.sink.report(
                Code::Value,
                item.offset,
                format!("`{path}` is {}", quote(text)),
                format!("write {CURE}"),
            ),
            _ => {
                self.wrong_type::<()>(path, item, CURE);
            }
        }
    }

    /// A ladder of steps, each later than the one before.
    fn escalate(&mut self, path: &str, item: &Item) {
        let mut previous_ms = 0;
        for (index, step) in self.list(path, item).unwrap_or_default().iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(members) = self.table(step, &path) else { continue };
            self.check_keys(members, &path, &["after", "to"]);
            if let Some(to) = self.required(members, &path, "to", step.offset) {
                self.labels(&join(&path, "to"), &to.item);
            }
            let after = self.required(members, &path, "after", step.offset);
            let Some(after) = after else { continue };
            let Some(after_ms) = self.duration_ms(&join(&path, "after"), &after.item, 1) else { continue };
            if after_ms <= previous_ms {
                let message = format!("`{path}.after` is not later than the step before");
                self.sink.report(Code::Value, after.item.offset, message, "put the steps in order of time");
            }
            previous_ms = after_ms;
        }
    }
}
