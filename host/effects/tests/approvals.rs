//! Requests that a person has to approve: asked before anything leaves, bound to the exact request, fail closed.

use crate::support::{NOW_MS, Reaction, Receiver, World, line, operation, pay};
use holdpoint_effects::{Halt, OperationRequest};
use holdpoint_graph::nodes::{Answer, HOST_OCCURRENCE_FIRST, Question, RecordedAnswer, Verdict};
use serde_json::{Value, json};

const OVER_100: &str = "requires_approval = \"request.body.amount > 100\"";

async fn receiver() -> Receiver {
    Receiver::always(Reaction::Answer(204, "", String::new())).await
}

/// One execution with these answers: its results, or the question that it ended with.
async fn execute(
    world: &World,
    requests: Vec<OperationRequest>,
    answers: Vec<RecordedAnswer>,
) -> Result<Vec<String>, Question> {
    let mut effects = world.effects.task(&holdpoint_graph::nodes::NodeCall { answers, ..world.call("t", 1) });
    let results = effects.perform_all(requests).await;
    let left = effects.finish();
    if !left.operations.is_empty() {
        world.journal.commit(left.operations);
    }
    match results {
        Ok(results) => Ok(results.iter().map(line).collect()),
        Err(Halt::Question(question)) => Err(*question),
        Err(halt) => panic!("{halt}"),
    }
}

fn answer(question: &Question, verdict: Verdict, value: Value) -> RecordedAnswer {
    let answered_by = "cli:ana".to_owned();
    RecordedAnswer {
        occurrence: question.occurrence,
        payload_digest: question.payload_digest.clone(),
        answer: Answer { verdict, value, answered_by, answered_at_ms: NOW_MS },
    }
}

#[tokio::test]
async fn a_request_over_the_limit_leaves_only_after_a_yes_to_exactly_it() {
    let receiver = receiver().await;
    let world = World::new(&receiver.configuration(OVER_100), &[]);
    // Nothing of the call leaves before the answer, not even what needs none.
    let requests = || vec![pay("small", 100), pay("large", 101)];
    let question = execute(&world, requests(), Vec::new()).await.unwrap_err();
    assert_eq!((receiver.received().len(), world.journal.commits().len()), (0, 0));
    assert_eq!(question.occurrence, HOST_OCCURRENCE_FIRST + 1);
    assert_eq!(question.payload["request"]["body"], json!({ "amount": 101 }));
    assert_eq!(
        (&question.payload["connector"], &question.payload["operation_id"]),
        (&json!("payments"), &json!("large"))
    );
    let evidence = question.evidence.clone().unwrap();
    assert_eq!(evidence["reason"], json!("the rule `request.body.amount > 100` holds"));

    let yes = answer(&question, Verdict::Respond, json!({ "approved": true, "reason": "ticket 7" }));
    // Another amount under the same id is another question: the yes was not to it.
    let other = execute(&world, vec![pay("small", 100), pay("large", 5000)], vec![yes.clone()]).await.unwrap_err();
    assert_ne!(other.payload_digest, question.payload_digest);
    assert_eq!(receiver.received().len(), 0);

    let results = execute(&world, requests(), vec![yes]).await.unwrap();
    assert!(results.iter().all(|result| result.starts_with("ok")), "{results:?}");
    assert_eq!(receiver.received().len(), 2);
    let records = world.journal.records.lock().unwrap();
    let large = records.values().find(|record| record.key.id.as_str() == "large").unwrap();
    let note = large.notes.first().unwrap();
    assert_eq!((note.by.as_str(), note.kind.name(), note.text.as_str()), ("cli:ana", "approved", "ticket 7"));
    assert!(records.values().all(|record| record.key.id.as_str() == "large" || record.notes.is_empty()));
}

#[tokio::test]
async fn anything_but_a_plain_yes_is_a_no_and_hides_no_other_result() {
    let refused = [
        (Verdict::Respond, json!({ "approved": false, "reason": "too much" })),
        (Verdict::Respond, json!({ "approved": "true" })),
        (Verdict::Respond, json!(true)),
        (Verdict::Edit, json!({ "approved": true })),
        (Verdict::Expired, json!({ "approved": true })),
        (Verdict::Reject, Value::Null),
    ];
    for (verdict, value) in refused {
        let receiver = receiver().await;
        let world = World::new(&receiver.configuration(OVER_100), &[]);
        let requests = || vec![pay("large", 101), pay("small", 1)];
        let question = execute(&world, requests(), Vec::new()).await.unwrap_err();
        let results = execute(&world, requests(), vec![answer(&question, verdict, value)]).await.unwrap();
        assert!(results[0].starts_with("denied: cli:ana did not approve the request"), "{results:?}");
        assert!(results[0].ends_with("[HP0532]") && results[1].starts_with("ok"), "{results:?}");
        assert_eq!(receiver.received().len(), 1);
    }
}

#[tokio::test]
async fn what_is_recorded_needs_no_approval_again() {
    let receiver = receiver().await;
    let world = World::new(&receiver.configuration("requires_approval = true"), &[]);
    let question = execute(&world, vec![pay("a", 1)], Vec::new()).await.unwrap_err();
    let yes = answer(&question, Verdict::Accept, json!({ "approved": true }));
    execute(&world, vec![pay("a", 1)], vec![yes]).await.unwrap();
    let again = execute(&world, vec![pay("a", 1)], Vec::new()).await.unwrap();
    assert!(again[0].starts_with("ok"));
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn a_rule_that_cannot_be_evaluated_asks() {
    let receiver = receiver().await;
    let world = World::new(&receiver.configuration("requires_approval = \"request.body.sum > 100\""), &[]);
    let question = execute(&world, vec![pay("a", 1)], Vec::new()).await.unwrap_err();
    let reason = question.evidence.unwrap()["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("cannot be evaluated") && reason.contains("it is taken to hold"), "{reason}");
    assert_eq!(receiver.received().len(), 0);
}

#[tokio::test]
async fn a_standing_approval_answers_for_its_shape_until_its_end() {
    let receiver = receiver().await;
    let until = jiff_text(NOW_MS + 1);
    let configuration = format!(
        "{OVER_100}\n[[connectors.payments.standing_approvals]]\nwhen = \"request.body.amount <= 500\"\n\
         owner = \"finance\"\nuntil = \"{until}\"\nreason = \"season sale\""
    );
    let world = World::new(&receiver.configuration(&configuration), &[]);
    assert!(execute(&world, vec![pay("covered", 500)], Vec::new()).await.is_ok());
    assert!(execute(&world, vec![pay("not", 501)], Vec::new()).await.is_err());
    world.clock.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    assert!(execute(&world, vec![pay("late", 500)], Vec::new()).await.is_err(), "its end is not within it");
    let records = world.journal.records.lock().unwrap();
    let note = records.values().next().unwrap().notes.first().unwrap().clone();
    assert_eq!((records.len(), note.by.as_str(), note.text.as_str()), (1, "standing:finance", "season sale"));
}

fn jiff_text(at_ms: u64) -> String {
    jiff::Timestamp::from_millisecond(i64::try_from(at_ms).unwrap()).unwrap().to_string()
}

#[tokio::test]
async fn the_host_shows_a_dry_run_that_the_answer_does_not_bind_to() {
    let balance = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(10));
    let shown = balance.clone();
    let receiver = Receiver::start(move |received| match received.head.starts_with("POST /preview") {
        true => {
            let balance = shown.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Reaction::Answer(200, "content-type: application/json\r\n", format!("{{\"balance\":{balance}}}"))
        }
        false => Reaction::Answer(204, "", String::new()),
    })
    .await;
    let policy = "requires_approval = true\npreview = { post = \"/preview\", result = \"body\" }";
    let world = World::new(&receiver.configuration(policy), &[]);
    let first = execute(&world, vec![pay("a", 1)], Vec::new()).await.unwrap_err();
    let second = execute(&world, vec![pay("a", 1)], Vec::new()).await.unwrap_err();
    assert_eq!(first.evidence.as_ref().unwrap()["preview"]["result"]["balance"], json!(10));
    assert_eq!(second.evidence.as_ref().unwrap()["preview"]["result"]["balance"], json!(11));
    assert_eq!(first.payload_digest, second.payload_digest);
    let yes = answer(&first, Verdict::Respond, json!({ "approved": true }));
    assert!(execute(&world, vec![pay("a", 1)], vec![yes]).await.is_ok());
    let heads: Vec<_> = receiver.received().iter().map(|one| one.head.lines().next().unwrap().to_owned()).collect();
    assert_eq!(heads.len(), 3, "{heads:?}");
    assert!(receiver.received()[..2].iter().all(|one| one.header("idempotency-key").is_none()), "a dry run has no id");
}

#[tokio::test]
async fn what_leaves_after_the_commit_is_asked_about_before_it_is_queued() {
    let receiver = receiver().await;
    let world = World::new(&receiver.configuration("class = \"after-commit\"\nrequires_approval = true"), &[]);
    let request =
        || vec![operation(Some("n"), "payments", json!({ "method": "POST", "path": "/refunds", "body": {} }))];
    let question = execute(&world, request(), Vec::new()).await.unwrap_err();
    assert!(world.journal.commits().is_empty());
    let yes = answer(&question, Verdict::Respond, json!({ "approved": true }));
    let results = execute(&world, request(), vec![yes]).await.unwrap();
    assert_eq!(results, ["ok {\"operation_id\":\"n\",\"queued\":true}"]);
    assert_eq!((world.journal.states(), receiver.received().len()), (vec!["n queued".to_owned()], 0));
}
