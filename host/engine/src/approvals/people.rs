//! Who may answer a question.

use holdpoint_graph::actor::{Actor, Basis};
use holdpoint_store::{Added, Proceedings, Vote};

use super::policy::{Distinct, Policy};
use crate::engine::Principal;

const GROUP: &str = "group:";
/// What the command line puts before the names that it asserts.
const ASSERTED: &str = "cli:";
/// The name of those who gave none.
const NOBODY: &str = "unknown";

/// Somebody named in a graph file: a user, or everybody of a group (`group:NAME`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The name as written.
    pub label: String,
    /// The id that a user's name was bound to when the question was asked.
    pub id: Option<String>,
}

impl Person {
    /// A name and what it was bound to.
    pub fn new(label: &str, id: Option<String>) -> Self {
        Self { label: label.to_owned(), id }
    }

    /// Whether a name is a group's.
    pub fn is_group(label: &str) -> bool {
        label.starts_with(GROUP)
    }

    /// Whether this is the principal, or a group of theirs. A name that was bound means that id only; a name that somebody merely asserts counts
    /// as the name that it is.
    pub fn is(&self, principal: &Principal) -> bool {
        if let Some(group) = self.label.strip_prefix(GROUP) {
            return principal.groups.contains(group);
        }
        match &self.id {
            Some(id) if *id == principal.actor.id => true,
            Some(_) => is_asserted(&self.label, &principal.actor),
            None => self.label == principal.actor.id || is_asserted(&self.label, &principal.actor),
        }
    }
}

fn is_asserted(label: &str, actor: &Actor) -> bool {
    let name = actor.id.strip_prefix(ASSERTED).unwrap_or(&actor.id);
    actor.basis == Basis::Asserted && (name == label || actor.id == label)
}

/// In whose name somebody may answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seat {
    /// Their own.
    Own,
    /// Somebody's who handed the question on to them.
    Of(String),
}

/// Why somebody may not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Barred {
    /// They are not among those who may.
    NotNamed,
    /// They are the one whose doing is asked about, or nobody knows that they are not.
    Distinct,
    /// They, or somebody in their place, or they in that place, voted before.
    Voted,
}

/// In whose name the principal answers at `now_ms`: their own, or that of somebody who handed the question on to them (`wanted` says whose).
///
/// # Errors
/// Why they may not.
pub fn seat(
    policy: &Policy,
    proceedings: &Proceedings,
    principal: &Principal,
    wanted: Option<&str>,
    now_ms: u64,
) -> Result<Seat, Barred> {
    let seats = seats(policy, proceedings, principal, now_ms);
    let wanted = |seat: &Seat| match (wanted, seat) {
        (None, _) => true,
        (Some(wanted), Seat::Of(by)) => wanted == by || by.strip_prefix(ASSERTED) == Some(wanted),
        (Some(wanted), Seat::Own) => wanted == principal.actor.id,
    };
    let mut named = seats.into_iter().filter(wanted).peekable();
    if named.peek().is_none() {
        return Err(Barred::NotNamed);
    }
    if is_barred(policy, principal) {
        return Err(Barred::Distinct);
    }
    let own = &principal.actor.id;
    if proceedings.votes.iter().any(|vote| sat(vote, own)) {
        return Err(Barred::Voted);
    }
    let free = named.find(|seat| match seat {
        Seat::Own => true,
        Seat::Of(by) => !proceedings.votes.iter().any(|vote| sat(vote, by)),
    });
    free.ok_or(Barred::Voted)
}

/// Whether the principal is who may not answer, whatever else holds.
fn is_barred(policy: &Policy, principal: &Principal) -> bool {
    match &policy.distinct_from {
        None => false,
        // Where nobody knows who asked, nobody is known to be somebody else.
        Some(Distinct::Requester(None)) => true,
        Some(Distinct::Requester(Some(id))) => *id == principal.actor.id || id == NOBODY,
        Some(Distinct::Person(person)) => person.is(principal),
    }
}

/// Whether a vote is somebody's: cast by them, or in their place.
fn sat(vote: &Vote, id: &str) -> bool {
    vote.by.id == id || vote.on_behalf_of.as_deref() == Some(id)
}

/// All seats of the principal, their own first.
fn seats(policy: &Policy, proceedings: &Proceedings, principal: &Principal, now_ms: u64) -> Vec<Seat> {
    let stands = |added: &&Added| added.until_ms.is_none_or(|until_ms| now_ms < until_ms);
    let added: Vec<&Added> = proceedings.added.iter().filter(stands).collect();
    let own = policy.assignees.is_empty()
        || policy.assignees.iter().any(|person| person.is(principal))
        || added.iter().any(|added| added.on_behalf_of.is_none() && policy.person(&added.to).is(principal));
    let handed = added.iter().filter(|added| policy.person(&added.to).is(principal));
    let handed = handed.filter_map(|added| added.on_behalf_of.clone().map(Seat::Of));
    own.then_some(Seat::Own).into_iter().chain(handed).collect()
}
