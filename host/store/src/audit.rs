//! The audit trail: records in two hash chains, one over everything and one for each thread.
//!
//! # Format
//! A record is a JSON object of exactly these members:
//!
//! | member | value |
//! |---|---|
//! | `sequence` | its place in the whole trail: 1, 2, 3, … |
//! | `previous` | the `digest` of the record before it in the whole trail; 64 zeros for the first |
//! | `thread` | the thread that it is about, or null |
//! | `thread_sequence` | its place among the thread's records: 1, 2, 3, …; null without a thread |
//! | `thread_previous` | the `digest` of the thread's record before it; 64 zeros for the first; null without a thread |
//! | `tenant` | whose record it is |
//! | `at_ms` | the host's clock, in milliseconds since 1970 |
//! | `actor` | object: `id`, and `basis`, on what the id stands |
//! | `kind` | what happened |
//! | `body` | object: more of it |
//! | `digest` | 64 lower-case hex digits |
//!
//! `digest` is the SHA-256 of the canonical JSON (RFC 8785) of the record without `digest`. A changed byte breaks its own digest; a removed,
//! added or moved record breaks the sequence and the digest of the one after it. Records cut off at the end are noticed by those who kept the
//! digest of the newest record: it is printed by every export.

use async_trait::async_trait;
use holdpoint_graph::actor::{Actor, Basis};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{Tenant, ThreadId};
use serde_json::{Map, Value, json};

use crate::store::Error;

/// What is put on the record.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// The thread that it is about.
    pub thread: Option<ThreadId>,
    /// Whose it is.
    pub tenant: Tenant,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who did it.
    pub actor: Actor,
    /// What happened, such as `question.decided`.
    pub kind: &'static str,
    /// More of it. No secret is ever in it.
    pub body: Map<String, Value>,
}

/// One link of the chains. The module says what it consists of.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRecord {
    /// Its place in the whole trail, from 1.
    pub sequence: u64,
    /// The digest before it; none for the first.
    pub previous: Option<Digest>,
    /// Its place among its thread's records, from 1, and the digest before it there; none without a thread.
    pub in_thread: Option<(u64, Option<Digest>)>,
    /// The thread that it is about.
    pub thread: Option<ThreadId>,
    /// Whose it is.
    pub tenant: Tenant,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who did it.
    pub actor: Actor,
    /// What happened.
    pub kind: String,
    /// More of it.
    pub body: Map<String, Value>,
    /// The record's digest.
    pub digest: Digest,
}

/// Where a chain stands: how many records it has and the last one's digest.
pub type ChainHead = Option<(u64, Digest)>;

/// The `previous` of a first record.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

impl AuditRecord {
    /// The next record of the whole trail, whose head is `head`, and of its thread's, whose head is `thread_head`. Pure.
    pub fn chain(entry: AuditEntry, head: &ChainHead, thread_head: &ChainHead) -> Self {
        let next = |head: &ChainHead| match head {
            Some((sequence, digest)) => (sequence + 1, Some(digest.clone())),
            None => (1, None),
        };
        let (sequence, previous) = next(head);
        let mut record = Self {
            sequence,
            previous,
            in_thread: entry.thread.as_ref().map(|_| next(thread_head)),
            thread: entry.thread,
            tenant: entry.tenant,
            at_ms: entry.at_ms,
            actor: entry.actor,
            kind: entry.kind.to_owned(),
            body: entry.body,
            digest: Digest::of_bytes(&[]),
        };
        record.digest = record.computed_digest();
        record
    }

    /// The digest that the record has to have.
    pub fn computed_digest(&self) -> Digest {
        Digest::of_json(&Value::Object(self.without_digest()))
    }

    /// The record as the module describes it.
    pub fn to_json(&self) -> Value {
        let mut members = self.without_digest();
        members.insert("digest".into(), self.digest.hex_digits().to_owned().into());
        Value::Object(members)
    }

    fn without_digest(&self) -> Map<String, Value> {
        let before = |digest: &Option<Digest>| digest.as_ref().map_or(NOTHING, Digest::hex_digits).to_owned();
        let members = json!({
            "sequence": self.sequence,
            "previous": before(&self.previous),
            "thread": self.thread.as_ref().map(ThreadId::as_str),
            "thread_sequence": self.in_thread.as_ref().map(|(sequence, _)| sequence),
            "thread_previous": self.in_thread.as_ref().map(|(_, digest)| before(digest)),
            "tenant": self.tenant.as_str(),
            "at_ms": self.at_ms,
            "actor": { "id": self.actor.id, "basis": self.actor.basis.name() },
            "kind": self.kind,
            "body": self.body,
        });
        match members {
            Value::Object(members) => members,
            _ => Map::new(),
        }
    }

    /// Reads the form that [`Self::to_json`] gives. The digest is taken as it is written: whether it is right is [`Verifier`]'s matter.
    ///
    /// # Errors
    /// The first member that is missing or of another kind, or that does not belong there.
    pub fn from_json(value: &Value) -> Result<Self, String> {
        const MEMBERS: [&str; 11] = [
            "sequence",
            "previous",
            "thread",
            "thread_sequence",
            "thread_previous",
            "tenant",
            "at_ms",
            "actor",
            "kind",
            "body",
            "digest",
        ];
        let members = value.as_object().ok_or("a record is not an object")?;
        if let Some(odd) = members.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
            return Err(format!("a record has no member `{odd}`"));
        }
        let wrong = |name: &str| format!("`{name}` is missing or of another kind");
        let number = |name: &str| members.get(name).and_then(Value::as_u64).ok_or_else(|| wrong(name));
        let text = |name: &str| members.get(name).and_then(Value::as_str).ok_or_else(|| wrong(name));
        let digest = |name: &str| -> Result<Digest, String> {
            Digest::parse(format!("sha256:{}", text(name)?)).map_err(|_| wrong(name))
        };
        let before = |name: &str| match text(name)? {
            NOTHING => Ok(None),
            _ => digest(name).map(Some),
        };
        let thread = match members.get("thread") {
            Some(Value::Null) => None,
            _ => Some(ThreadId::parse(text("thread")?).map_err(|error| error.to_string())?),
        };
        let in_thread = match &thread {
            Some(_) => Some((number("thread_sequence")?, before("thread_previous")?)),
            None if members.get("thread_sequence").is_none_or(Value::is_null) => None,
            None => return Err(wrong("thread_sequence")),
        };
        if thread.is_none() && members.get("thread_previous").is_some_and(|value| !value.is_null()) {
            return Err(wrong("thread_previous"));
        }
        let actor = members.get("actor").and_then(Value::as_object).ok_or_else(|| wrong("actor"))?;
        if actor.len() != 2 {
            return Err(wrong("actor"));
        }
        let of_actor = |name: &str| actor.get(name).and_then(Value::as_str).ok_or_else(|| wrong("actor"));
        Ok(Self {
            sequence: number("sequence")?,
            previous: before("previous")?,
            in_thread,
            thread,
            tenant: Tenant::parse(text("tenant")?).map_err(|error| error.to_string())?,
            at_ms: number("at_ms")?,
            actor: Actor {
                id: of_actor("id")?.to_owned(),
                basis: Basis::parse(of_actor("basis")?).ok_or_else(|| wrong("actor"))?,
            },
            kind: text("kind")?.to_owned(),
            body: members.get("body").and_then(Value::as_object).cloned().ok_or_else(|| wrong("body"))?,
            digest: digest("digest")?,
        })
    }
}

/// What is wrong with a trail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// A record's content is not the one that its digest was made of.
    #[error("record {sequence} was changed: its digest does not fit its content")]
    Changed {
        /// The record.
        sequence: u64,
    },
    /// A record does not follow on the one before it: one was removed, added or moved.
    #[error("record {found} follows on record {after}: records were removed, added or moved")]
    Broken {
        /// The place of the record before.
        after: u64,
        /// The place that the record says.
        found: u64,
    },
    /// A record does not follow on its thread's record before.
    #[error("record {sequence} does not follow on the record before it of its thread")]
    ThreadBroken {
        /// The record.
        sequence: u64,
    },
    /// The newest record is not the one that was expected.
    #[error("the trail ends with {found}, not with {expected}: records were cut off or added")]
    OtherEnd {
        /// The digest expected.
        expected: String,
        /// The digest found; `nothing` for an empty trail.
        found: String,
    },
}

/// Checks records one after the other: a whole trail, or all records of one thread.
#[derive(Debug, Default)]
pub struct Verifier {
    one_thread: bool,
    head: ChainHead,
    threads: std::collections::HashMap<ThreadId, (u64, Digest)>,
}

impl Verifier {
    /// For the records of one thread, in order: the whole trail's chain has gaps then.
    pub fn of_one_thread() -> Self {
        Self { one_thread: true, ..Self::default() }
    }

    /// Checks the next record.
    ///
    /// # Errors
    /// The breach that it shows.
    pub fn check(&mut self, record: &AuditRecord) -> Result<(), Breach> {
        let sequence = record.sequence;
        if record.digest != record.computed_digest() {
            return Err(Breach::Changed { sequence });
        }
        let (after, digest) = match &self.head {
            Some((after, digest)) => (*after, Some(digest.clone())),
            None => (0, None),
        };
        let follows =
            if self.one_thread { sequence > after } else { sequence == after + 1 && record.previous == digest };
        if !follows {
            return Err(Breach::Broken { after, found: sequence });
        }
        if let (Some(thread), Some((place, previous))) = (&record.thread, &record.in_thread) {
            let before = self.threads.get(thread);
            let expected = before.map_or((1, None), |(place, digest)| (place + 1, Some(digest.clone())));
            if (*place, previous.clone()) != expected {
                return Err(Breach::ThreadBroken { sequence });
            }
            self.threads.insert(thread.clone(), (*place, record.digest.clone()));
        }
        self.head = Some((sequence, record.digest.clone()));
        Ok(())
    }

    /// Where the records end.
    pub fn head(&self) -> &ChainHead {
        &self.head
    }

    /// Compares the end with a digest that somebody kept (64 hex digits).
    ///
    /// # Errors
    /// [`Breach::OtherEnd`].
    pub fn ends_with(&self, expected: &str) -> Result<(), Breach> {
        let found = self.head.as_ref().map_or("nothing".to_owned(), |(_, digest)| digest.hex_digits().to_owned());
        if found == expected { Ok(()) } else { Err(Breach::OtherEnd { expected: expected.to_owned(), found }) }
    }
}

/// Which records to list, oldest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AuditFilter {
    /// Only those about this thread.
    pub thread: Option<ThreadId>,
    /// Only those of this tenant.
    pub tenant: Option<Tenant>,
    /// Only those after this place in the whole trail.
    pub after: u64,
    /// At most this many.
    pub limit: usize,
}

/// What is on the record. Grows only.
#[async_trait]
pub trait AuditTrail: Send + Sync {
    /// Puts on the record what changes nothing else: refusals, for instance.
    ///
    /// # Errors
    /// The store's.
    async fn put_audit(&self, entries: Vec<AuditEntry>) -> Result<(), Error>;

    /// Records, oldest first.
    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRecord>, Error>;

    /// Where the whole trail ends.
    async fn audit_head(&self) -> Result<ChainHead, Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64, thread: Option<&str>) -> AuditEntry {
        AuditEntry {
            thread: thread.map(|name| ThreadId::parse(name).expect("valid")),
            tenant: Tenant::default(),
            at_ms: 1_700_000_000_000 + number,
            actor: Actor { id: "user:ana".to_owned(), basis: Basis::Token },
            kind: "question.decided",
            body: Map::from_iter([("number".to_owned(), number.into())]),
        }
    }

    /// A trail of six records: two threads in turn, the fifth without a thread.
    fn trail() -> Vec<AuditRecord> {
        let (mut head, mut threads) = (None, std::collections::HashMap::new());
        let mut records = Vec::new();
        for number in 1..=6_u64 {
            let thread = (number != 5).then_some(if number % 2 == 0 { "t" } else { "u" });
            let own = threads.get(&thread).cloned();
            let record = AuditRecord::chain(entry(number, thread), &head, &own);
            head = Some((record.sequence, record.digest.clone()));
            if let Some((place, _)) = &record.in_thread {
                threads.insert(thread, (*place, record.digest.clone()));
            }
            records.push(record);
        }
        records
    }

    fn verify(records: &[AuditRecord]) -> Result<(), Breach> {
        let mut verifier = Verifier::default();
        records.iter().try_for_each(|record| verifier.check(record))
    }

    #[test]
    fn a_record_is_as_released() {
        let records = trail();
        let text = serde_json::to_string(&records[3].to_json()).expect("is JSON");
        let expected = json!({
            "sequence": 4,
            "previous": records[2].digest.hex_digits(),
            "thread": "t",
            "thread_sequence": 2,
            "thread_previous": records[1].digest.hex_digits(),
            "tenant": "default",
            "at_ms": 1_700_000_000_004_u64,
            "actor": { "id": "user:ana", "basis": "token" },
            "kind": "question.decided",
            "body": { "number": 4 },
            "digest": records[3].digest.hex_digits(),
        });
        let read: Value = serde_json::from_str(&text).expect("is JSON");
        assert_eq!(read, expected);
        assert_eq!(AuditRecord::from_json(&read).as_ref(), Ok(&records[3]));
        let first = records[0].to_json();
        assert_eq!((&first["previous"], &first["thread_previous"]), (&json!(NOTHING), &json!(NOTHING)));
        let host = records[4].to_json();
        assert_eq!(
            (&host["thread"], &host["thread_sequence"], &host["thread_previous"]),
            (&json!(null), &json!(null), &json!(null))
        );
        assert_eq!(AuditRecord::from_json(&host).as_ref(), Ok(&records[4]));
    }

    #[test]
    fn a_sound_trail_verifies_whole_and_by_thread() {
        let records = trail();
        assert_eq!(verify(&records), Ok(()));
        for name in ["t", "u"] {
            let thread = Some(ThreadId::parse(name).expect("valid"));
            let mut verifier = Verifier::of_one_thread();
            for record in records.iter().filter(|record| record.thread == thread) {
                assert_eq!(verifier.check(record), Ok(()));
            }
        }
        let mut verifier = Verifier::default();
        records.iter().for_each(|record| assert_eq!(verifier.check(record), Ok(())));
        assert_eq!(verifier.ends_with(records[5].digest.hex_digits()), Ok(()));
        let cut = Verifier::default().ends_with(records[5].digest.hex_digits());
        assert!(matches!(cut, Err(Breach::OtherEnd { ref found, .. }) if found == "nothing"), "{cut:?}");
    }

    /// Every byte of what is exported counts: flipped, it is refused or found.
    #[test]
    fn a_flipped_byte_is_found() {
        let records = trail();
        for (place, record) in records.iter().enumerate() {
            let text = serde_json::to_string(&record.to_json()).expect("is JSON");
            for byte in 0..text.len() {
                let mut flipped = text.clone().into_bytes();
                flipped[byte] ^= 1;
                let Ok(read) = serde_json::from_slice::<Value>(&flipped) else { continue };
                let Ok(changed) = AuditRecord::from_json(&read) else { continue };
                let mut trail = records.clone();
                trail[place] = changed;
                let same = String::from_utf8_lossy(&flipped).into_owned();
                assert!(verify(&trail).is_err(), "record {}, byte {byte}: {same}", place + 1);
            }
        }
    }

    #[test]
    fn a_removed_added_or_moved_record_is_found() {
        let records = trail();
        for place in 0..records.len() {
            let mut removed = records.clone();
            let taken = removed.remove(place);
            // The last one is missed only by who kept its digest.
            assert_eq!(verify(&removed).is_err(), place + 1 < records.len(), "without record {}", place + 1);
            let mut twice = records.clone();
            twice.insert(place, taken.clone());
            assert!(verify(&twice).is_err(), "record {} twice", place + 1);
            for other in 0..records.len() {
                let mut moved = removed.clone();
                moved.insert(other.min(moved.len()), taken.clone());
                assert_eq!(verify(&moved).is_err(), moved != records, "record {} at {}", place + 1, other + 1);
            }
        }
        // One who makes the digests new is betrayed by the record after, and by the thread's own chain.
        let mut forged = records.clone();
        forged[1].body.clear();
        forged[1].digest = forged[1].computed_digest();
        assert_eq!(verify(&forged), Err(Breach::Broken { after: 2, found: 3 }));
        let mut other_thread = records[3].clone();
        other_thread.in_thread = Some((3, records[1].digest.clone().into()));
        other_thread.digest = other_thread.computed_digest();
        let forged = [&records[..3], &[other_thread]].concat();
        assert_eq!(verify(&forged), Err(Breach::ThreadBroken { sequence: 4 }));
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let sound = trail()[3].to_json();
        for (member, odd) in [
            ("sequence", json!("4")),
            ("previous", json!("4")),
            ("thread", json!(4)),
            ("thread_sequence", json!(null)),
            ("tenant", json!(" ")),
            ("actor", json!({ "id": "x", "basis": "guessed" })),
            ("body", json!([])),
            ("digest", json!(null)),
            ("more", json!(1)),
        ] {
            let mut record = sound.clone();
            record[member] = odd;
            assert!(AuditRecord::from_json(&record).is_err(), "{member}");
        }
        assert!(AuditRecord::from_json(&json!([])).is_err());
    }
}
