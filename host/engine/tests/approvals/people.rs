//! Who may answer.

use holdpoint_engine::{Decision, Delegation, Eligibility, Principal};
use holdpoint_graph::nodes::Verdict;
use serde_json::json;

use super::desk::{Desk, asserted, code, person};

async fn may(desk: &Desk, principal: Principal) -> &'static str {
    let approval = desk.by(principal.clone()).approval(&desk.id).await.unwrap();
    let seen = approval.eligibility;
    // What is shown is what holds: a decision is refused for the same reason, or was not tried.
    if !seen.may() {
        let decision = Decision::new(Verdict::Accept, approval.digest);
        let expected = match seen {
            Eligibility::NotNamed => "HP0901",
            Eligibility::Distinct => "HP0902",
            Eligibility::Voted => "HP0903",
            _ => "HP0407",
        };
        assert_eq!(code(desk.by(principal).decide(&desk.id, decision).await), expected);
    }
    seen.name()
}

#[tokio::test]
async fn names_and_groups() {
    let desk = Desk::new("assignees = [\"ana\", \"user:ben\", \"group:finance\"]", json!(1)).await;
    for (principal, expected) in [
        (person("user:ben", &[]), "own"),
        (person("user:carl", &["finance"]), "own"),
        (person("user:carl", &["Finance", "group:finance", "fin"]), "not_eligible"),
        // Nobody has bound the name, so it is compared as it is written; a name that is asserted is the name that it is.
        (person("ana", &[]), "own"),
        (asserted("ana"), "own"),
        (asserted("cli:ana"), "own"),
        (person("cli:ana", &[]), "not_eligible"),
        (person("user:ana", &[]), "not_eligible"),
        (asserted("cli:anais"), "not_eligible"),
        (asserted("user:ben"), "own"),
    ] {
        let told = format!("{principal:?}");
        assert_eq!(may(&desk, principal).await, expected, "{told}");
    }
}

#[tokio::test]
async fn names_are_bound_when_the_question_opens() {
    let policy = "assignees = [\"ana\"]\nescalate = [{ after = \"1m\", to = [\"boss\"] }]\ndistinct_from = \"carl\"";
    let names = [("ana", "user:1"), ("boss", "user:2"), ("carl", "user:3")];
    let desk = Desk::with_input(policy, json!({ "payload": 1 }), &names).await;
    let later = std::sync::Arc::new(super::desk::Names(std::sync::Mutex::new(
        [("ana".to_owned(), "user:9".to_owned()), ("boss".to_owned(), "user:8".to_owned())].into(),
    )));
    let engine = desk.engine.with_people(later, std::sync::Arc::new(holdpoint_graph::notice::NoNotices));
    let desk = Desk { engine, ..desk };
    assert_eq!(may(&desk, person("user:9", &[])).await, "not_eligible", "the name is somebody else's since");
    assert_eq!(may(&desk, person("ana", &[])).await, "not_eligible", "the name itself is nobody");
    assert_eq!(may(&desk, person("user:1", &[])).await, "own");
    desk.world.advance_ms(60_000);
    desk.engine.monitor(10).await.unwrap();
    assert_eq!(may(&desk, person("user:8", &[])).await, "not_eligible");
    assert_eq!(may(&desk, person("user:2", &[])).await, "own");
    assert_eq!(
        desk.world.store_question(&desk.id).await.policy["bound"],
        json!({ "ana": "user:1", "boss": "user:2", "carl": "user:3" })
    );
}

#[tokio::test]
async fn nobody_approves_what_they_asked_for() {
    let desk = Desk::new("distinct_from = \"requester\"", json!(1)).await;
    assert_eq!(may(&desk, person("user:rita", &[])).await, "self_approval");
    assert_eq!(may(&desk, person("user:ana", &[])).await, "own");
    let desk = Desk::new("distinct_from = \"group:interns\"", json!(1)).await;
    assert_eq!(may(&desk, person("user:ana", &["interns"])).await, "self_approval");
    assert_eq!(may(&desk, person("user:rita", &[])).await, "own");
}

#[tokio::test]
async fn where_nobody_knows_who_asked_nobody_may() {
    use crate::support::{World, thread};
    let world = World::new(super::desk::nodes());
    let text = format!("{}[nodes.gate.interrupt]\ndistinct_from = \"requester\"\n", super::desk::STATE);
    let deployment = world.deploy(&text).await;
    let view = world.run(&deployment, json!({ "payload": 1 })).await.unwrap();
    let id = holdpoint_graph::ids::QuestionId::parse(view.interrupts[0].id.as_str()).unwrap();
    let ana = super::desk::as_person(&world.engine, person("user:ana", &[]));
    let digest = ana.approval(&id).await.unwrap().digest;
    assert_eq!(code(ana.decide(&id, Decision::new(Verdict::Accept, digest)).await), "HP0902");
    assert_eq!(ana.view(&thread()).await.unwrap().interrupts.len(), 1);
}

fn to(name: &str, until_ms: Option<u64>) -> Delegation {
    Delegation { to: name.into(), until_ms, message: Some("on leave".into()), reply: None }
}

#[tokio::test]
async fn a_question_is_handed_on_with_an_end() {
    let desk = Desk::new("assignees = [\"user:ana\", \"user:ben\"]\nquorum = 2", json!(1)).await;
    let end = desk.engine.now_ms() + 1000;
    assert_eq!(code(desk.of("user:carl").delegate(&desk.id, to("user:dora", None)).await), "HP0901");
    desk.of("user:ana").delegate(&desk.id, to("user:carl", Some(end))).await.unwrap();
    // Whoever has it in another's place does not hand it on.
    assert_eq!(code(desk.of("user:carl").delegate(&desk.id, to("user:dora", None)).await), "HP0901");
    for (name, until_ms) in [("user:ana", None), (" ", None), ("user:dora", Some(end - 1000))] {
        assert_eq!(code(desk.of("user:ana").delegate(&desk.id, to(name, until_ms)).await), "HP0912", "{name}");
    }
    assert_eq!(may(&desk, person("user:carl", &[])).await, "on_behalf_of");
    desk.world.advance_ms(1000);
    assert_eq!(may(&desk, person("user:carl", &[])).await, "not_eligible", "the end has come");
    desk.of("user:ana").delegate(&desk.id, to("group:deputies", None)).await.unwrap();
    let dora = desk.by(person("user:dora", &["deputies"]));
    let decided = dora.decide(&desk.id, desk.decision(Verdict::Accept).await).await.unwrap();
    assert!(!decided.answered);
    let vote = desk.approval().await.votes[0].clone();
    assert_eq!((vote.by.id.as_str(), vote.on_behalf_of.as_deref()), ("user:dora", Some("user:ana")));
    // One place, one vote: neither ana herself, nor another deputy, nor dora in another place.
    for who in [person("user:ana", &[]), person("user:emil", &["deputies"])] {
        assert_eq!(may(&desk, who).await, "voted");
    }
    desk.of("user:ben").delegate(&desk.id, to("user:dora", None)).await.unwrap();
    assert_eq!(may(&desk, person("user:dora", &["deputies"])).await, "voted");
    desk.decide("user:ben", Verdict::Accept).await.unwrap();
    assert_eq!(desk.told_node().await[0], "accept");
    let kinds = desk.kinds().await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "delegated user:ana").count(), 2, "{kinds:?}");
    let delegated = desk.audit().await.into_iter().find(|record| record.kind == "question.delegated").unwrap();
    assert_eq!(
        delegated.body["delegation"],
        json!({ "to": "user:carl", "on_behalf_of": "user:ana", "until_ms": end, "reason": "on leave", "at_ms": end - 1000 })
    );
}

#[tokio::test]
async fn what_somebody_may_not_do_they_cannot_hand_on() {
    let desk = Desk::new("distinct_from = \"requester\"", json!(1)).await;
    assert_eq!(code(desk.of("user:rita").delegate(&desk.id, to("user:ben", None)).await), "HP0902");
    // Nor does what they are handed help them.
    desk.of("user:ana").delegate(&desk.id, to("user:rita", None)).await.unwrap();
    let decision = Decision { on_behalf_of: Some("user:ana".into()), ..desk.decision(Verdict::Accept).await };
    assert_eq!(code(desk.of("user:rita").decide(&desk.id, decision).await), "HP0902");
    let decision = Decision { on_behalf_of: Some("user:zoe".into()), ..desk.decision(Verdict::Accept).await };
    assert_eq!(code(desk.of("user:ben").decide(&desk.id, decision).await), "HP0901");
}
