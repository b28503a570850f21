//! From places that both engines share to the ids of one of them.

use std::collections::BTreeMap;

use holdpoint_engine::{Answers, AsNode, Error, Update};
use holdpoint_graph::ids::{CheckpointId, NodeName, QuestionId};
use holdpoint_graph::nodes::Destination;
use holdpoint_store::{QuestionRecord, QuestionStatus, Snapshot, Trigger};
use serde_json::{Map, Value, json};

use super::action::{Place, Reply, Said, THREADS};
use super::observe::{Seen, checkpoint_at};
use super::world::World;
use crate::support::{NOON_MS, object};

impl World {
    /// In order of their names, since that of their ids is random.
    fn questions(&self, found: impl Iterator<Item = QuestionRecord>) -> Vec<QuestionId> {
        let mut named: Vec<(String, QuestionId)> =
            found.map(|question| (self.names.named(question.id.as_str()), question.id)).collect();
        named.sort();
        named.into_iter().map(|(_, id)| id).collect()
    }

    pub(crate) fn answers(&self, name: &str, answer: Reply, value: &Value) -> Result<Answers, Error> {
        let one = |id: QuestionId| Answers::ById(BTreeMap::from([(id, value.clone())]));
        let open = |name: &str| {
            self.questions(self.seen(name).map(|seen| pending(&seen.head)).unwrap_or_default().into_iter())
        };
        let nobody = || QuestionId::parse("0123456789abcdef0123456789abcdef").unwrap();
        let among = |ids: Vec<QuestionId>, index: usize| match ids.len() {
            0 => nobody(),
            count => ids[index % count].clone(),
        };
        Ok(match answer {
            Reply::Bare => Answers::Bare(value.clone()),
            Reply::One(index) => one(among(open(name), index)),
            Reply::All => {
                // Of several that do not fit, the one with the lowest id is named.
                let value = if value.is_number() { value.clone() } else { json!(3) };
                Answers::ById(open(name).into_iter().map(|id| (id, value.clone())).collect())
            }
            Reply::Unknown => one(nobody()),
            Reply::Stale(index) => {
                let settled = self.seen(name).into_iter().flat_map(Seen::snapshots).flat_map(|found| &found.questions);
                let settled = settled.filter(|question| question.status != QuestionStatus::Pending).cloned();
                one(among(self.questions(settled), index))
            }
            Reply::Foreign(index) => {
                let others = THREADS.into_iter().filter(|other| *other != name).flat_map(open);
                one(among(others.collect(), index))
            }
            Reply::EmptyMap => Answers::from_map(Map::new())?,
            Reply::NoMap => Answers::from_map(object(json!({ "approved": true })))?,
        })
    }

    pub(crate) fn place(&self, name: &str, place: Place) -> Option<CheckpointId> {
        let seen = self.seen(name);
        let unknown = || CheckpointId::from_entropy(NOON_MS, 3, 7);
        let found = match place {
            Place::Head => return None,
            Place::Unknown => None,
            Place::Own(index) => seen.and_then(|seen| checkpoint_at(&seen.own().iter().collect::<Vec<_>>(), index)),
            Place::Start(index) => seen.and_then(|seen| {
                let is_start = |found: &&Snapshot| found.checkpoint.next.contains(&Trigger::Start);
                checkpoint_at(&seen.own().iter().filter(is_start).collect::<Vec<_>>(), index)
            }),
            Place::Inner(index) => seen.and_then(|seen| {
                let mut inner: Vec<(String, &Snapshot)> = seen.histories[1..]
                    .iter()
                    .flat_map(|(_, found)| found)
                    .map(|found| (self.names.named(found.checkpoint.id.as_str()), found))
                    .collect();
                inner.sort_by(|left, right| left.0.cmp(&right.0));
                checkpoint_at(&inner.into_iter().map(|(_, found)| found).collect::<Vec<_>>(), index)
            }),
            Place::Foreign(index) => {
                let other = THREADS.into_iter().find(|other| *other != name && self.seen(other).is_some());
                let other = other.and_then(|other| self.seen(other));
                other.and_then(|other| checkpoint_at(&other.own().iter().collect::<Vec<_>>(), index))
            }
        };
        Some(found.unwrap_or_else(unknown))
    }

    pub(crate) fn place_or_head(&self, name: &str, place: Place) -> CheckpointId {
        let head = || self.place(name, Place::Own(usize::MAX));
        self.place(name, place).or_else(head).unwrap_or_else(|| CheckpointId::from_entropy(NOON_MS, 3, 7))
    }
}

/// The questions of the head's step that wait, those of running subgraphs included.
pub(crate) fn pending(snapshot: &Snapshot) -> Vec<QuestionRecord> {
    let own = snapshot.questions.iter().filter(|question| question.status == QuestionStatus::Pending).cloned();
    own.chain(snapshot.children.values().flat_map(pending)).collect()
}

pub(crate) fn said(supersteps: &[Vec<Said>]) -> Vec<Vec<Update>> {
    let update = |said: &Said| Update {
        values: said.values.clone().map(object),
        as_node: said.as_node.map(|name| match name {
            "END" => AsNode::End,
            "__copy__" => AsNode::Copy,
            "__input__" => AsNode::Input,
            node => AsNode::Node(NodeName::parse(node).unwrap()),
        }),
        goto: said.goto.map(|node| Destination::Node(node.into())).into_iter().collect(),
    };
    supersteps.iter().map(|updates| updates.iter().map(update).collect()).collect()
}
