//! The stored form of what was said of a question.

use std::borrow::Cow;

use holdpoint_graph::actor::{Actor, Basis};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::nodes::Verdict;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::failure::{Failure, Result};
use super::forms;
use crate::approvals::{Added, Proceedings, Proposal, Vote, Withdrawn};

/// Without the version, which has a column of its own.
#[derive(Serialize, Deserialize)]
struct Form<'a> {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    added: Vec<AddedForm<'a>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    votes: Vec<VoteForm<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proposal: Option<ProposalForm<'a>>,
    #[serde(default, skip_serializing_if = "is_zero")]
    escalated: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    reminded: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    withdrawn: Option<WithdrawnForm<'a>>,
}

#[derive(Serialize, Deserialize)]
struct WithdrawnForm<'a> {
    by: ActorForm<'a>,
    at_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct AddedForm<'a> {
    to: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_behalf_of: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
    at_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct VoteForm<'a> {
    by: ActorForm<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_behalf_of: Option<Cow<'a, str>>,
    verdict: Cow<'a, str>,
    value: Cow<'a, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
    digest: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "is_false")]
    break_glass: bool,
    at_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct ProposalForm<'a> {
    value: Cow<'a, Value>,
    digest: Cow<'a, str>,
    by: ActorForm<'a>,
}

#[derive(Serialize, Deserialize)]
struct ActorForm<'a> {
    id: Cow<'a, str>,
    basis: Cow<'a, str>,
}

/// `None` where nothing was said: the column stays null for the many questions that one answer settles.
pub(super) fn write(proceedings: &Proceedings) -> Option<String> {
    let Proceedings { version: _, added, votes, proposal, escalated, reminded, withdrawn } = proceedings;
    let nobody = added.is_empty() && votes.is_empty() && proposal.is_none() && withdrawn.is_none();
    if nobody && (*escalated, *reminded) == (0, 0) {
        return None;
    }
    let form = Form {
        added: added.iter().map(write_added).collect(),
        votes: votes.iter().map(write_vote).collect(),
        proposal: proposal.as_ref().map(|proposal| ProposalForm {
            value: Cow::Borrowed(&proposal.value),
            digest: Cow::Borrowed(proposal.digest.as_str()),
            by: write_actor(&proposal.by),
        }),
        escalated: *escalated,
        reminded: *reminded,
        withdrawn: withdrawn.as_ref().map(write_withdrawn),
    };
    Some(forms::write(&form))
}

/// The member `withdrawn` by itself, to be put into proceedings as they are stored.
pub(super) fn write_withdrawal(withdrawn: &Withdrawn) -> String {
    forms::write(&write_withdrawn(withdrawn))
}

fn write_withdrawn(withdrawn: &Withdrawn) -> WithdrawnForm<'_> {
    WithdrawnForm { by: write_actor(&withdrawn.by), at_ms: withdrawn.at_ms }
}

fn write_added(added: &Added) -> AddedForm<'_> {
    AddedForm {
        to: Cow::Borrowed(&added.to),
        on_behalf_of: added.on_behalf_of.as_deref().map(Cow::Borrowed),
        until_ms: added.until_ms,
        reason: added.reason.as_deref().map(Cow::Borrowed),
        at_ms: added.at_ms,
    }
}

fn write_vote(vote: &Vote) -> VoteForm<'_> {
    VoteForm {
        by: write_actor(&vote.by),
        on_behalf_of: vote.on_behalf_of.as_deref().map(Cow::Borrowed),
        verdict: Cow::Borrowed(vote.verdict.name()),
        value: Cow::Borrowed(&vote.value),
        reason: vote.reason.as_deref().map(Cow::Borrowed),
        digest: Cow::Borrowed(vote.digest.as_str()),
        break_glass: vote.break_glass,
        at_ms: vote.at_ms,
    }
}

fn write_actor(actor: &Actor) -> ActorForm<'_> {
    ActorForm { id: Cow::Borrowed(&actor.id), basis: Cow::Borrowed(actor.basis.name()) }
}

/// Reads it back; `None` where nothing was said.
pub(super) fn read(version: u32, text: Option<&str>) -> Result<Proceedings> {
    let Some(text) = text else { return Ok(Proceedings { version, ..Proceedings::default() }) };
    let form: Form<'_> = forms::read(text)?;
    Ok(Proceedings {
        version,
        added: form.added.into_iter().map(read_added).collect(),
        votes: form.votes.into_iter().map(read_vote).collect::<Result<_>>()?,
        proposal: form.proposal.map(read_proposal).transpose()?,
        escalated: form.escalated,
        reminded: form.reminded,
        withdrawn: form.withdrawn.map(read_withdrawn).transpose()?,
    })
}

fn read_withdrawn(form: WithdrawnForm<'_>) -> Result<Withdrawn> {
    Ok(Withdrawn { by: read_actor(form.by)?, at_ms: form.at_ms })
}

fn read_added(form: AddedForm<'_>) -> Added {
    Added {
        to: form.to.into_owned(),
        on_behalf_of: form.on_behalf_of.map(Cow::into_owned),
        until_ms: form.until_ms,
        reason: form.reason.map(Cow::into_owned),
        at_ms: form.at_ms,
    }
}

fn read_vote(form: VoteForm<'_>) -> Result<Vote> {
    let verdict = Verdict::parse(&form.verdict);
    Ok(Vote {
        by: read_actor(form.by)?,
        on_behalf_of: form.on_behalf_of.map(Cow::into_owned),
        verdict: verdict.ok_or_else(|| Failure::corrupt(format!("unknown verdict {:?}", form.verdict)))?,
        value: form.value.into_owned(),
        reason: form.reason.map(Cow::into_owned),
        digest: Digest::parse(form.digest)?,
        break_glass: form.break_glass,
        at_ms: form.at_ms,
    })
}

fn read_proposal(form: ProposalForm<'_>) -> Result<Proposal> {
    Ok(Proposal { value: form.value.into_owned(), digest: Digest::parse(form.digest)?, by: read_actor(form.by)? })
}

fn read_actor(form: ActorForm<'_>) -> Result<Actor> {
    Ok(Actor { id: form.id.into_owned(), basis: basis(&form.basis)? })
}

/// On what a stored actor's name stands.
pub(super) fn basis(name: &str) -> Result<Basis> {
    Basis::parse(name).ok_or_else(|| Failure::corrupt(format!("unknown basis {name:?}")))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn proceedings_are_as_released() {
        let digest = Digest::of_bytes(b"shown");
        let by = Actor { id: "user:ana".to_owned(), basis: Basis::Token };
        let said = Proceedings {
            version: 4,
            added: vec![Added { to: "group:legal".into(), on_behalf_of: None, until_ms: None, reason: None, at_ms: 3 }],
            votes: vec![Vote {
                by: by.clone(),
                on_behalf_of: Some("user:ben".into()),
                verdict: Verdict::Accept,
                value: json!({ "amount": 1 }),
                reason: None,
                digest: digest.clone(),
                break_glass: false,
                at_ms: 5,
            }],
            proposal: Some(Proposal { value: Value::Null, digest, by }),
            escalated: 1,
            reminded: 0,
            withdrawn: None,
        };
        let text = write(&said).expect("something was said");
        let expected = concat!(
            r#"{"added":[{"to":"group:legal","at_ms":3}],"votes":[{"by":{"id":"user:ana","basis":"token"},"#,
            r#""on_behalf_of":"user:ben","verdict":"accept","value":{"amount":1},"digest":"SHOWN","at_ms":5}],"#,
            r#""proposal":{"value":null,"digest":"SHOWN","by":{"id":"user:ana","basis":"token"}},"escalated":1}"#
        );
        assert_eq!(text, expected.replace("SHOWN", Digest::of_bytes(b"shown").as_str()));
        assert_eq!(read(4, Some(&text)).expect("reads its own"), said);
        assert_eq!(write(&Proceedings { version: 7, ..Proceedings::default() }), None);
        assert_eq!(read(7, None).expect("reads nothing"), Proceedings { version: 7, ..Proceedings::default() });
        assert!(read(1, Some(r#"{"votes":[{}]}"#)).is_err());
        // What a later release adds is read where it is, and is not written where it is not.
        let reason = Some("away".to_owned());
        let later = Proceedings {
            added: said.added.iter().map(|added| Added { reason: reason.clone(), ..added.clone() }).collect(),
            votes: said.votes.iter().map(|vote| Vote { break_glass: true, ..vote.clone() }).collect(),
            withdrawn: Some(Withdrawn { by: said.votes[0].by.clone(), at_ms: 9 }),
            ..said
        };
        assert_eq!(read(4, write(&later).as_deref()).expect("reads its own"), later);
    }
}
