//! What a node gets and what becomes of what it returns.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::ConnectorName;
use holdpoint_graph::nodes::{
    Command, Destination, EffectMode, JournalError, NodeCall, NodeOutcome, NodeReport, TaskJournal, TaskReport, Verdict,
};
use holdpoint_graph::operation::{OperationRecord, OperationState};
use holdpoint_sandbox::{CallLimits, Options};
use serde_json::json;
use support::guest::{Guest, run};
use support::{Bench, Journal, answer, call, call_with, update};

/// Returns the state as its update.
fn echo() -> Guest {
    run("(call $done (i32.load offset=48 (local.get 0)) (i32.load offset=52 (local.get 0)))")
}

/// Asks, and returns the answer as its update.
fn asks(payload: &str) -> Guest {
    run("(call $interrupt @payload (i32.const 512)) (call $log (i32.const 2) @after) (call $done (i32.load (i32.const 512)) (i32.load (i32.const 516)))")
        .text("payload", payload)
        .text("after", "answered")
}

#[tokio::test]
async fn a_node_gets_its_input_and_returns_a_command() {
    let bench = Bench::new();
    let mut request = call(bench.shelf.put(&echo().build()));
    request.state = support::state(json!({"amount": 5, "text": "ä\"\n"}));
    let state = request.state.values().clone();
    let report = bench.report(request).await;
    assert_eq!(report.outcome, NodeOutcome::Completed(Command { update: state, goto: Vec::new() }));
    assert!(report.operations.is_empty());

    // The task's id, the argument and the configuration, each where the contract says.
    let arrays = |part: &str| run(&format!("(call $done {part})")).build();
    for (offset, expected) in [(64, json!({"argument": 1})), (68, json!({"config": 2}))] {
        let mut request = call(bench.shelf.put(&arrays(&format!(
            "(i32.load offset={} (local.get 0)) (i32.load offset={} (local.get 0))",
            if offset == 64 { 60 } else { 68 },
            if offset == 64 { 64 } else { 72 }
        ))));
        request.argument = Some(json!({"argument": 1}));
        request.config = json!({"config": 2});
        assert_eq!(update(bench.report(request).await.outcome), expected);
    }
}

#[tokio::test]
async fn the_tasks_of_a_step_get_the_text_of_one_state() {
    let bench = Bench::new();
    // Says the text that it was handed, byte for byte.
    let code = "(call $log (i32.const 2) (i32.load offset=48 (local.get 0)) (i32.load offset=52 (local.get 0))) (call $done @update)";
    let component = bench.shelf.put(&run(code).text("update", "{}").build());
    let shared = support::state(json!({"b": [1.0, 1e300, 18_446_744_073_709_551_615_u64], "a": {"text": "ä\"\\n"}}));
    let text = shared.text().to_owned();
    for _ in 0..3 {
        let journal = Arc::new(Journal::default());
        let request = NodeCall { state: shared.clone(), ..call_with(component.clone(), journal.clone()) };
        update(bench.report(request).await.outcome);
        assert_eq!(journal.reports(), [format!("Info: {text}")]);
    }
}

#[tokio::test]
async fn destinations_are_read() {
    // Four destinations of 20 bytes each at 2048: node "a", send to "b" with 7, parent "c", end.
    let code = "
      (memory.fill (i32.const 2048) (i32.const 0) (i32.const 80))
      (i32.store offset=4 (i32.const 2048) (i32.const 16384)) (i32.store offset=8 (i32.const 2048) (i32.const 1))
      (i32.store8 offset=20 (i32.const 2048) (i32.const 1))
      (i32.store offset=24 (i32.const 2048) (i32.const 16385)) (i32.store offset=28 (i32.const 2048) (i32.const 1))
      (i32.store offset=32 (i32.const 2048) (i32.const 16386)) (i32.store offset=36 (i32.const 2048) (i32.const 1))
      (i32.store8 offset=40 (i32.const 2048) (i32.const 2))
      (i32.store offset=44 (i32.const 2048) (i32.const 16387)) (i32.store offset=48 (i32.const 2048) (i32.const 1))
      (i32.store8 offset=60 (i32.const 2048) (i32.const 3))
      (drop (call $done (i32.const 16388) (i32.const 2)))
      (i32.store offset=16 (i32.const 1024) (i32.const 2048)) (i32.store offset=20 (i32.const 1024) (i32.const 4))
      (i32.const 1024)";
    let outcome = Bench::new().outcome(&run(code).text("all", "ab7c{}").build()).await;
    let NodeOutcome::Completed(command) = outcome else { panic!("{outcome:?}") };
    assert_eq!(
        command.goto,
        [
            Destination::Node("a".to_owned()),
            Destination::Send { node: "b".to_owned(), argument: json!(7) },
            Destination::Parent("c".to_owned()),
            Destination::End
        ]
    );
}

#[tokio::test]
async fn a_failure_is_the_authors() {
    let bench = Bench::new();
    let code = "(call $failed @code @message @details)";
    let failing = |details: &str| {
        run(code).text("code", "no-funds").text("message", "too little").text("details", details).build()
    };
    let NodeOutcome::Failed(failure) = bench.outcome(&failing("{\"missing\":3}")).await else { panic!() };
    assert_eq!((failure.code.as_str(), failure.message.as_str(), failure.retryable), ("no-funds", "too little", true));
    assert_eq!(failure.details, Some(json!({"missing": 3})));
    let NodeOutcome::Failed(failure) = bench.outcome(&failing("no json")).await else { panic!() };
    assert_eq!(failure.details, Some(json!("no json")));
}

#[tokio::test]
async fn malformed_commands_are_the_authors_fault() {
    let bench = Bench::new();
    for bad in ["", "null", "[1]", "{\"a\":", "{} x"] {
        let outcome = bench.outcome(&run("(call $done @bad)").text("bad", bad).build()).await;
        let NodeOutcome::Failed(failure) = outcome else { panic!("{bad:?}: {outcome:?}") };
        assert_eq!((failure.code.as_str(), failure.retryable), ("invalid-command", false), "{bad:?}");
    }
}

#[tokio::test]
async fn a_question_ends_the_call_until_it_is_answered() {
    let bench = Bench::new();
    let payload = json!({"amount": 50, "order": 9241});
    let component = bench.shelf.put(&asks(r#"{ "order": 9241, "amount": 50 }"#).build());
    let journal = Arc::new(Journal::default());
    let NodeOutcome::Interrupted(question) = bench.report(call_with(component.clone(), journal.clone())).await.outcome
    else {
        panic!()
    };
    assert_eq!((question.occurrence, &question.payload), (0, &payload));
    assert_eq!(question.payload_digest, Digest::of_json(&payload));
    assert_eq!((question.answer_schema, question.deadline_ms), (None, None));
    assert!(journal.reports().is_empty(), "nothing ran after the question: {:?}", journal.reports());

    let mut again = call_with(component.clone(), journal.clone());
    again.answers = vec![answer(0, &payload, json!({"approved": true}))];
    assert_eq!(update(bench.report(again).await.outcome), json!({"approved": true}));
    assert_eq!(journal.reports(), ["Info: answered"]);
}

#[tokio::test]
async fn an_answer_never_reaches_another_question() {
    let bench = Bench::new();
    let component = bench.shelf.put(&asks(r#"{"amount":51}"#).build());
    let asked = json!({"amount": 51});
    // Another payload, another occurrence.
    for wrong in [answer(0, &json!({"amount": 50}), json!({})), answer(1, &asked, json!({}))] {
        let mut request = call(component.clone());
        request.answers = vec![wrong];
        let NodeOutcome::Interrupted(question) = bench.report(request).await.outcome else { panic!() };
        assert_eq!(question.payload, asked);
    }
}

#[tokio::test]
async fn occurrences_are_counted() {
    let bench = Bench::new();
    let code = "(call $interrupt @payload (i32.const 512)) (call $interrupt @payload (i32.const 512)) (call $done (i32.load (i32.const 512)) (i32.load (i32.const 516)))";
    let component = bench.shelf.put(&run(code).text("payload", "1").build());
    let mut request = call(component.clone());
    request.answers = vec![answer(0, &json!(1), json!({"first": true}))];
    let NodeOutcome::Interrupted(question) = bench.report(request).await.outcome else { panic!() };
    assert_eq!(question.occurrence, 1);
    let mut request = call(component);
    request.answers = vec![answer(1, &json!(1), json!({"second": true})), answer(0, &json!(1), json!({"first": true}))];
    assert_eq!(update(bench.report(request).await.outcome), json!({"second": true}));
}

#[tokio::test]
async fn ask_carries_schema_and_deadline_and_says_who_answered() {
    let bench = Bench::new();
    let code = "(call $ask @payload (i32.const 1) @schema (i32.const 1) (i64.const 7200000) (i32.const 512))";
    // The answer at 512: verdict, value, answered-by, answered-at-ms.
    let who = "(i32.store8 (i32.const 600) (i32.load8_u (i32.const 512))) (i64.store offset=1 (i32.const 600) (i64.load (i32.const 536)))
      (call $hex (i32.const 600) (i32.const 9)) (call $done)";
    let guest = |schema: &str| run(&format!("{code} {who}")).text("payload", "\"ok?\"").text("schema", schema).build();
    let component = bench.shelf.put(&guest(r#"{"type":"boolean"}"#));
    let NodeOutcome::Interrupted(question) = bench.report(call(component.clone())).await.outcome else { panic!() };
    assert_eq!((question.answer_schema, question.deadline_ms), (Some(json!({"type": "boolean"})), Some(7_200_000)));
    let mut request = call(component);
    request.answers = vec![answer(0, &json!("ok?"), json!(true))];
    assert_eq!(update(bench.report(request).await.outcome), json!({"hex": "012a00000000000000"}), "edit, at 42");

    for (schema, code) in [("{\"type\":\"nonsense\"}", "invalid-answer-schema"), ("{", "invalid-answer-schema")] {
        let NodeOutcome::Failed(failure) = bench.outcome(&guest(schema)).await else { panic!() };
        assert_eq!(failure.code, code);
    }
    let NodeOutcome::Failed(failure) = bench.outcome(&asks("no json").build()).await else { panic!() };
    assert_eq!(failure.code, "invalid-payload");
}

#[tokio::test]
async fn time_and_randomness_repeat() {
    let bench = Bench::new();
    let code = "(drop (call $now)) (i64.store (i32.const 600) (call $now)) (call $random (i32.const 8) (i32.const 512))
      (i64.store offset=8 (i32.const 600) (i64.load (i32.load (i32.const 512)))) (call $hex (i32.const 600) (i32.const 16)) (call $done)";
    let component = bench.shelf.put(&run(code).build());
    let first = update(bench.report(call(component.clone())).await.outcome);
    assert_eq!(update(bench.report(call(component.clone())).await.outcome), first);
    let clock: String = (support::CLOCK_MS + 1).to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(&first["hex"].as_str().unwrap()[..16], clock, "one tick after the first reading");
    let mut other = call(component);
    other.task.id = holdpoint_graph::ids::TaskId::derive(&other.task.thread, &other.task.checkpoint, "pull:other");
    assert_ne!(update(bench.report(other).await.outcome), first);
}

#[tokio::test]
async fn logs_and_events_are_passed_on() {
    let bench = Bench::new();
    let code = "(call $log (i32.const 3) @line) (call $emit @event) (call $done @update)";
    let guest = run(code).text("line", "careful").text("event", "{\"n\": 1}").text("update", "{}").build();
    let journal = Arc::new(Journal::default());
    update(bench.report(call_with(bench.shelf.put(&guest), journal.clone())).await.outcome);
    assert_eq!(journal.reports(), ["Warn: careful", "event {\"n\":1}"]);
    let NodeOutcome::Failed(failure) =
        bench.outcome(&run("(call $emit @event) unreachable").text("event", "{").build()).await
    else {
        panic!()
    };
    assert_eq!(failure.code, "invalid-event");
}

#[tokio::test]
async fn operations_go_through_the_effects() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.jsonl");
    let configuration = format!("[connectors.ledger]\nkind = \"file\"\npath = {:?}\n", ledger.to_str().unwrap());
    let bench = Bench::with_connectors(Options::default(), &configuration);
    // The result at 512: 0 for ok; 1 for a refusal and, at 520, which.
    let code = "(call $perform (i32.const 1) @id @connector @request (i32.const 512))
      (i32.store8 (i32.const 600) (i32.load8_u (i32.const 512))) (i32.store8 offset=1 (i32.const 600) (i32.load8_u (i32.const 520)))
      (call $hex (i32.const 600) (i32.const 2)) (call $done)";
    let guest =
        |request: &str| run(code).text("id", "row-1").text("connector", "ledger").text("request", request).build();
    let granted = |component| {
        let mut request = call(component);
        request.connectors = vec![ConnectorName::parse("ledger").unwrap()];
        request
    };

    let component = bench.shelf.put(&guest(r#"{"line": {"row": 1}}"#));
    let report = bench.report(call(component.clone())).await;
    assert_eq!(update(report.outcome), json!({"hex": "0100"}), "denied without a grant");
    assert!(!ledger.exists());
    let report = bench.report(granted(component.clone())).await;
    let written = std::fs::read_to_string(&ledger).unwrap_or_default();
    assert_eq!(&update(report.outcome)["hex"].as_str().unwrap()[..2], "00", "{written}");
    assert_eq!(report.operations.len(), 1);
    assert!(matches!(report.operations[0].state, OperationState::Completed(_)));
    assert_eq!(written.lines().count(), 1);

    let report = bench.report(granted(bench.shelf.put(&guest("{")))).await;
    assert_eq!(update(report.outcome), json!({"hex": "0101"}), "invalid");
    // An operation that was performed is reported whatever becomes of the node afterwards.
    let code = "(call $perform (i32.const 1) @id @connector @request (i32.const 512)) unreachable";
    let guest =
        run(code).text("id", "row-2").text("connector", "ledger").text("request", r#"{"line": {"row": 2}}"#).build();
    let report = bench.report(granted(bench.shelf.put(&guest))).await;
    assert!(matches!(report.outcome, NodeOutcome::Trapped(_)));
    assert_eq!(report.operations.len(), 1);
}

#[tokio::test]
async fn what_a_branch_does_not_let_happen_comes_out() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.jsonl");
    let configuration = format!("[connectors.ledger]\nkind = \"file\"\npath = {:?}\n", ledger.to_str().unwrap());
    let bench = Bench::with_connectors(Options::default(), &configuration);
    let code = "(call $perform (i32.const 1) @id @connector @request (i32.const 512)) (call $log (i32.const 2) @after) (call $done @update)";
    let request = json!({"line": {"row": 1}});
    let guest = run(code).text("id", "row-1").text("connector", "ledger").text("request", request.to_string());
    let component = bench.shelf.put(&guest.text("after", "performed").text("update", "{}").build());
    let execute = async |effects, answers| {
        let journal = Arc::new(Journal::default());
        let mut request = call_with(component.clone(), journal.clone());
        request.connectors = vec![ConnectorName::parse("ledger").unwrap()];
        let report = bench.report(NodeCall { effects, answers, ..request }).await;
        (report, journal.reports())
    };

    let (report, said) = execute(EffectMode::Recorded, Vec::new()).await;
    let operations = vec![json!({"connector": "ledger", "operation_id": "row-1", "request": request})];
    assert_eq!(report, NodeOutcome::Withheld { operations }.into());
    assert_eq!((said.len(), ledger.exists()), (0, false), "the node did not go on");

    let (report, said) = execute(EffectMode::Ask, Vec::new()).await;
    let NodeOutcome::Interrupted(question) = report.outcome else { panic!("{:?}", report.outcome) };
    assert_eq!((&question.payload["request"], said.len(), ledger.exists()), (&request, 0, false));
    let mut yes = answer(question.occurrence, &question.payload, json!({"approved": true}));
    yes.answer.verdict = Verdict::Respond;
    let (report, said) = execute(EffectMode::Ask, vec![yes]).await;
    assert_eq!((update(report.outcome), said), (json!({}), vec!["Info: performed".to_owned()]));
    assert_eq!((report.operations.len(), std::fs::read_to_string(&ledger).unwrap().lines().count()), (1, 1));
}

/// A journal whose durable commits take their own time, or fail.
struct Stubborn {
    delay: Duration,
    answer: Result<(), JournalError>,
}

#[async_trait::async_trait]
impl TaskJournal for Stubborn {
    async fn store(&self, _: Vec<OperationRecord>) -> Result<(), JournalError> {
        tokio::time::sleep(self.delay).await;
        self.answer.clone()
    }

    fn report(&self, _: TaskReport) {}
}

/// One at-most-once operation, whose intent the journal must store before anything is done: the report, and how many lines were written.
async fn performed_with(journal: Stubborn, change: impl FnOnce(&mut CallLimits)) -> (NodeReport, usize) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.jsonl");
    let configuration = format!(
        "[connectors.ledger]\nkind = \"file\"\nclass = \"at-most-once\"\npath = {:?}\n",
        ledger.to_str().unwrap()
    );
    let mut options = Options::default();
    change(&mut options.limits);
    let bench = Bench::with_connectors(options, &configuration);
    let code = "(call $perform (i32.const 1) @id @connector @request (i32.const 512)) (call $done @update)";
    let guest = run(code).text("id", "row").text("connector", "ledger").text("request", "{}").text("update", "{}");
    let mut request = call_with(bench.shelf.put(&guest.build()), Arc::new(journal));
    request.connectors = vec![ConnectorName::parse("ledger").unwrap()];
    let report = bench.report(request).await;
    (report, std::fs::read_to_string(&ledger).unwrap_or_default().lines().count())
}

#[tokio::test]
async fn a_halt_ends_the_call_with_nothing_done() {
    let halted = async |error| performed_with(Stubborn { delay: Duration::ZERO, answer: Err(error) }, |_| {}).await;
    let (report, lines) = halted(JournalError::Fenced).await;
    assert_eq!((report.outcome, lines), (NodeOutcome::Fenced, 0));
    let (report, lines) = halted(JournalError::Unavailable("the disk is gone".to_owned())).await;
    let NodeOutcome::HostFault(message) = report.outcome else { panic!("{:?}", report.outcome) };
    assert!(message.contains("the disk is gone"), "{message}");
    assert_eq!(lines, 0);
}

/// An operation that was begun in time is not torn apart: it ends, is recorded, and only then the call is over.
#[tokio::test]
async fn an_operation_may_outlast_the_guests_time() {
    let slow = Stubborn { delay: Duration::from_millis(300), answer: Ok(()) };
    let (report, lines) = performed_with(slow, |limits| limits.time_ms = 100).await;
    assert_eq!(support::limit(report.outcome), "time");
    assert_eq!((report.operations.len(), lines), (1, 1));
    assert!(matches!(report.operations[0].state, OperationState::Completed(_)));
}

#[tokio::test]
async fn an_operation_that_never_ends_is_bounded() {
    let stuck = Stubborn { delay: Duration::from_secs(3600), answer: Ok(()) };
    let (report, lines) = performed_with(stuck, |limits| {
        limits.time_ms = 100;
        limits.operation_grace_ms = 100;
    })
    .await;
    let NodeOutcome::LimitExceeded { limit, message } = report.outcome else { panic!("{:?}", report.outcome) };
    assert_eq!((limit.as_str(), lines), ("time", 0));
    assert!(message.contains("operation"), "{message}");
}
