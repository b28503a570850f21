//! What holds for a node's questions.

use crate::definition::{Deadline, InterruptPolicy};
use crate::ids::ChannelName;
use crate::state::Schema;

use super::fields::quote;
use super::sink::Code;
use super::tree::{Data, Item, Member, find, members_to_json};
use super::{Reader, join};

/// What a person may do with a question, as graph files call it.
const CHOICES: [(&str, &str); 6] = [
    ("accept", "accept"),
    ("edit", "edit"),
    ("respond", "respond"),
    ("reject", "reject"),
    ("ignore", "ignore"),
    ("delegate", "delegate"),
];

/// How much is at stake.
const RISKS: [((), &str); 3] = [((), "low"), ((), "medium"), ((), "high")];

impl Reader<'_> {
    /// `reads` are the channels that the node is given; none means all.
    pub(super) fn interrupt(
        &mut self,
        path: &str,
        member: &Member,
        reads: Option<&[ChannelName]>,
    ) -> Option<InterruptPolicy> {
        const KEYS: [&str; 14] = [
            "deadline",
            "on_timeout",
            "answer_schema",
            "assignees",
            "quorum",
            "distinct_from",
            "allowed",
            "reason_required_on",
            "remind",
            "escalate",
            "notify",
            "risk",
            "step_up",
            "break_glass",
        ];
        let members = self.table(&member.item, path)?;
        self.check_keys(members, path, &KEYS);
        let answer_schema =
            find(members, "answer_schema").and_then(|member| self.answer_schema(&join(path, "answer_schema"), member));
        let mut deadline = None;
        let mut quorum = None;
        for member in members {
            let path = join(path, &member.name);
            match member.name.as_str() {
                "deadline" => deadline = self.deadline(&path, &member.item, reads),
                "on_timeout" => self.on_timeout(&path, &member.item, answer_schema.as_ref()),
                "assignees" | "notify" => {
                    self.labels(&path, &member.item);
                }
                "quorum" => quorum = self.quorum(&path, &member.item),
                "distinct_from" => {
                    self.label(&path, &member.item);
                }
                "allowed" => self.allowed(&path, &member.item),
                "reason_required_on" => {
                    // Handing a question on is no answer to it.
                    self.list_of(&path, &member.item, |reader, item| reader.one_of(&path, item, &CHOICES[..5]));
                }
                "remind" => self.remind(&path, &member.item),
                "escalate" => self.escalate(&path, &member.item),
                "risk" => {
                    self.one_of(&path, &member.item, &RISKS);
                }
                "step_up" => self.step_up(&path, &member.item),
                _ => {}
            }
        }
        self.flag(path, members, "break_glass");
        self.check_reachable(path, members, quorum);
        Some(InterruptPolicy { answer_schema, deadline, policy: members_to_json(members, &["answer_schema"]) })
    }

    fn answer_schema(&mut self, path: &str, member: &Member) -> Option<Schema> {
        let members = self.table(&member.item, path)?;
        self.schema(path, member.offset, members, member.item.to_json())
    }

    /// A duration, or an expression that gives one for the state.
    fn deadline(&mut self, path: &str, item: &Item, reads: Option<&[ChannelName]>) -> Option<Deadline> {
        let Data::Table(members) = &item.data else {
            return self.duration_ms(path, item, 1).map(Deadline::After);
        };
        self.check_keys(members, path, &["cel"]);
        let member = self.required(members, path, "cel", item.offset)?;
        let condition = self.condition(&join(path, "cel"), member)?;
        let hidden = condition.channels().zip(reads).and_then(|(channels, reads)| {
            channels.iter().find(|channel| reads.iter().all(|read| read.as_str() != channel.as_str()))
        });
        if let Some(hidden) = hidden {
            // It would be null there, and the deadline another one than meant.
            let message = format!("`{path}.cel` reads {}, which the node does not", quote(hidden));
            self.sink.report(Code::Value, member.item.offset, message, "add the channel to the node's `reads`");
        }
        Some(Deadline::Computed(condition))
    }

    /// What may be done: at least one thing that ends a question.
    fn allowed(&mut self, path: &str, item: &Item) {
        let choices = self.list_of(path, item, |reader, item| reader.one_of(path, item, &CHOICES));
        let faulty = !matches!(&item.data, Data::Array(items) if items.len() == choices.len());
        if !faulty && choices.iter().all(|choice| *choice == "delegate") {
            let message = format!("`{path}` names nothing that answers a question");
            self.sink.report(Code::Value, item.offset, message, "name \"accept\" and \"reject\", for instance");
        }
    }

    /// How many have to approve: a number, or a table that also says how many rejections end it.
    fn quorum(&mut self, path: &str, item: &Item) -> Option<u64> {
        let Data::Table(members) = &item.data else {
            return self.integer(path, item, 1, u64::from(u32::MAX));
        };
        self.check_keys(members, path, &["approve", "reject"]);
        if let Some(member) = find(members, "reject") {
            self.integer(&join(path, "reject"), &member.item, 1, u64::from(u32::MAX));
        }
        let approve = self.required(members, path, "approve", item.offset)?;
        self.integer(&join(path, "approve"), &approve.item, 1, u64::from(u32::MAX))
    }

    /// A quorum that the named people are too few for would never be reached.
    fn check_reachable(&mut self, path: &str, members: &[Member], quorum: Option<u64>) {
        let (Some(quorum), None) = (quorum, find(members, "escalate")) else { return };
        let Some(Data::Array(assignees)) = find(members, "assignees").map(|member| &member.item.data) else { return };
        let is_group = |item: &Item| matches!(&item.data, Data::String(text) if text.starts_with("group:"));
        if assignees.is_empty() || assignees.iter().any(is_group) || assignees.len() as u64 >= quorum {
            return;
        }
        let offset = find(members, "quorum").and_then(|member| member.item.offset);
        let message = format!("`{path}.quorum` is {quorum}, and {} may answer", assignees.len());
        self.sink.report(Code::Value, offset, message, "name more people or a group, or lower the quorum");
    }

    /// When those who may answer are told again, each time later than the one before.
    fn remind(&mut self, path: &str, item: &Item) {
        let mut previous_ms = 0;
        for (index, after) in self.list(path, item).unwrap_or_default().iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(after_ms) = self.duration_ms(&path, after, 1) else { continue };
            if after_ms <= previous_ms {
                let message = format!("`{path}` is not later than the one before");
                self.sink.report(Code::Value, after.offset, message, "put the reminders in order of time");
            }
            previous_ms = after_ms;
        }
    }

    /// How long ago whoever answers may have signed in: a duration, or a table that also says how.
    fn step_up(&mut self, path: &str, item: &Item) {
        let Data::Table(members) = &item.data else {
            self.duration_ms(path, item, 1);
            return;
        };
        self.check_keys(members, path, &["within", "acr"]);
        if let Some(within) = self.required(members, path, "within", item.offset) {
            self.duration_ms(&join(path, "within"), &within.item, 1);
        }
        let Some(acr) = find(members, "acr") else { return };
        let path = join(path, "acr");
        let names = self.labels(&path, &acr.item);
        if names.is_empty() && matches!(&acr.item.data, Data::Array(items) if items.is_empty()) {
            let message = format!("`{path}` names no way to sign in");
            self.sink.report(Code::Value, acr.item.offset, message, "name one, or leave it out");
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
