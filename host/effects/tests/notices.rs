//! Notices: what is queued for each connector, and what arrives of it.

use std::sync::atomic::Ordering;

use crate::support::log::log;
use crate::support::signature::verify;
use crate::support::{NOW_MS, Reaction, Received, Receiver, World, line, operation, parse};
use holdpoint_effects::connectors::{self, Rejection};
use holdpoint_effects::{Delivered, Effects};
use holdpoint_graph::ids::{
    ConnectorName, Epoch, GraphName, NodeName, OperationId, QuestionId, TaskId, Tenant, ThreadId,
};
use holdpoint_graph::notice::{Notice, NoticeKind, Notices as _};
use holdpoint_graph::operation::{OperationRecord, OperationState};
use serde_json::{Value, json};

const QUESTION: &str = "0123456789abcdef0123456789abcdef";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ROUTING_KEY: &str = "R0UT1NGKEYR0UT1NGKEYR0UT1NGKEY00";
const TOKEN: &str = "T0KEN/B0/xyzzy-xyzzy";
const SECRETS: [(&str, &str); 3] = [("HOOK", SECRET), ("ROUTING", ROUTING_KEY), ("TOKEN", TOKEN)];

/// The waits of the published schedule, in seconds: from each attempt to the next.
const SCHEDULE_S: [u64; 9] = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];

fn name(name: &str) -> ConnectorName {
    ConnectorName::parse(name).unwrap()
}

fn notice(kind: NoticeKind, connectors: &[&str]) -> Notice {
    Notice {
        kind,
        number: 0,
        connectors: connectors.iter().map(|connector| name(connector)).collect(),
        to: vec!["user:ana".into(), "group:finance".into()],
        tenant: Tenant::default(),
        thread: ThreadId::parse("copy").unwrap(),
        graph: GraphName::parse("refund").unwrap(),
        lineage: ThreadId::parse("t").unwrap(),
        epoch: Epoch(3),
        task: TaskId::parse("00000000-0000-8000-8000-000000000001").unwrap(),
        node: NodeName::parse("gate").unwrap(),
        question: QuestionId::parse(QUESTION).unwrap(),
        payload: json!({ "action": "pay", "amount": 500 }),
        deadline_at_ms: Some(NOW_MS + 86_400_000),
        outcome: None,
        break_glass: false,
        added: None,
        at_ms: NOW_MS,
    }
}

/// A connector of each kind that leads to `receiver`, and people.
fn configuration(receiver: &Receiver) -> String {
    let http = |name: &str, notify: &str| {
        format!(
            "[connectors.{name}]\nkind = \"http\"\nbase_url = \"{}\"\nallow = []\naddresses = [\"127.0.0.0/8\"]\n\
             timeout = \"2s\"\n{notify}\n",
            receiver.url
        )
    };
    [
        "[server]\npublic_url = \"https://hold.example/\"\n".to_owned(),
        "[users.ana]\nid = \"user:ana\"\nemail = \"ana@example.com\"\n".to_owned(),
        "[users.bob]\nid = \"user:bob\"\nemail = \"bob@example.com\"\ngroups = [\"finance\", \"ops\"]\n".to_owned(),
        "[users.carla]\nid = \"user:carla\"\ngroups = [\"finance\", \"silent\"]\n".to_owned(),
        format!(
            "[connectors.hooks]\nkind = \"webhook\"\nurl = \"{}/hook\"\nsecret = \"${{env:HOOK}}\"\naddresses = [\"127.0.0.0/8\"]\ntimeout = \"2s\"\n",
            receiver.url
        ),
        http("slack", "notify = { shape = \"slack\", path = \"/services/${env:TOKEN}\", payload = \"full\" }"),
        http(
            "pager",
            "scope = \"global\"\nnotify = { shape = \"pagerduty\", path = \"/v2/enqueue\", routing_key = \"${env:ROUTING}\" }",
        ),
        http("json", "notify = { shape = \"json\", method = \"PUT\", path = \"/events\" }"),
        http("payments", ""),
        "[connectors.mail]\nkind = \"smtp\"\nurl = \"smtps://mail.example\"\nfrom = \"hold@example.com\"\nallow_to = [\"sales@example.com\"]\n"
            .to_owned(),
        "[connectors.list]\nkind = \"smtp\"\nurl = \"smtps://mail.example\"\nfrom = \"hold@example.com\"\nallow_to = []\n\
         notify = { to = [\"approvals@other.example\"], payload = \"full\" }\n"
            .to_owned(),
        "[connectors.lines]\nkind = \"file\"\npath = \"none/lines.jsonl\"\nnotify = { payload = \"full\" }\n".to_owned(),
        "[connectors.data]\nkind = \"sql\"\nurl = \"sqlite:a.db\"\nstatements.a = \"select 1\"\n".to_owned(),
    ]
    .concat()
}

async fn world(reaction: Reaction) -> (Receiver, World) {
    let receiver = Receiver::always(reaction).await;
    let world = World::new(&configuration(&receiver), &SECRETS);
    (receiver, world)
}

fn ok() -> Reaction {
    Reaction::Answer(202, "", "ok".into())
}

/// The one operation of a notice for one connector.
fn told(effects: &Effects, notice: &Notice) -> OperationRecord {
    let [record] = &effects.operations(notice)[..] else { panic!("one operation: {notice:?}") };
    record.clone()
}

fn body(received: &Received) -> Value {
    serde_json::from_str(&received.body).unwrap()
}

fn only_state(world: &World) -> OperationState {
    world.journal.records.lock().unwrap().values().next().unwrap().state.clone()
}

#[tokio::test]
async fn each_connector_gets_its_own_operation_in_its_own_form() {
    let (_receiver, world) = world(ok()).await;
    let all = ["hooks", "slack", "pager", "json", "mail", "list", "lines", "data", "payments", "absent", "hooks"];
    let records = world.effects.operations(&notice(NoticeKind::Requested, &all));
    let keys: Vec<String> = records
        .iter()
        .map(|record| format!("{} {} {}", record.key.connector, record.key.scope.to_text(), record.key.id))
        .collect();
    let id = format!("holdpoint-notice:requested:{QUESTION}:0");
    let expected = ["hooks", "json", "lines", "list", "mail", "pager", "slack"].map(|connector| {
        let scope = if connector == "pager" { "global:refund" } else { "thread:t" };
        format!("{connector} {scope} {id}")
    });
    assert_eq!(keys, expected, "sql, http without `notify` and what is not configured are left out");
    for record in &records {
        assert_eq!(record.state, OperationState::Queued { attempts: 0, due_at_ms: NOW_MS });
        assert_eq!((record.thread.as_str(), record.epoch, record.begun_at_ms), ("copy", Epoch(3), NOW_MS));
        assert_eq!((record.send_by_ms, record.settles_at_ms, record.finished_at_ms), (None, None, None));
    }
    let request = |connector: &str| {
        records.iter().find(|record| record.key.connector == name(connector)).unwrap().request.clone()
    };
    let url = format!("https://hold.example/inbox/approvals/{QUESTION}");
    let event = request("hooks");
    assert_eq!((&event["type"], &event["data"]["url"]), (&json!("approval.requested"), &json!(url)));
    assert_eq!(event["data"].get("payload"), None, "thin unless it is set otherwise");
    assert_eq!(request("json"), json!({ "method": "PUT", "path": "/events", "body": event }));
    assert_eq!(request("lines")["data"]["payload"], json!({ "action": "pay", "amount": 500 }));
    assert_eq!(request("mail")["to"], json!(["ana@example.com", "bob@example.com"]));
    assert!(request("mail")["text"].as_str().is_some_and(|text| text.contains(&url) && !text.contains("amount")));
    assert_eq!(request("list")["to"], json!(["approvals@other.example"]));
    assert!(request("list")["text"].as_str().is_some_and(|text| text.contains("\"amount\": 500")));
    assert_eq!(request("slack")["path"], "/services/${env:TOKEN}", "as it is written");
    assert_eq!(request("slack")["body"]["blocks"][2]["elements"][0]["url"], json!(url));
    assert_eq!(request("pager")["body"]["dedup_key"], QUESTION);
    let twice = world.effects.operations(&notice(NoticeKind::Requested, &all));
    assert_eq!(records, twice, "the same notice, the same operations");
    let reminded = |number| told(&world.effects, &Notice { number, ..notice(NoticeKind::Reminded, &["hooks"]) }).key.id;
    assert_eq!(reminded(2).as_str(), format!("holdpoint-notice:reminded:{QUESTION}:2"));
}

#[tokio::test]
async fn nobody_to_write_to_or_no_room_leaves_one_out_and_not_the_others() {
    let receiver = Receiver::always(ok()).await;
    let text = configuration(&receiver)
        .replace("[server]\npublic_url = \"https://hold.example/\"\n", "")
        .replace("path = \"none/lines.jsonl\"", "path = \"x\"\nrequest_limit = \"600B\"")
        .replace("url = \"sqlite:a.db\"", "url = \"sqlite:a.db\"\nrequest_limit = \"1B\"")
        .replace("[connectors.json]\n", "[connectors.json]\nrequest_limit = \"50B\"\n");
    let world = World::new(&text, &SECRETS);
    let connectors = |to: &[&str], payload: Value| {
        let to = to.iter().map(|word| (*word).to_owned()).collect();
        let notice = Notice { to, payload, ..notice(NoticeKind::Requested, &["mail", "lines", "json"]) };
        let records = world.effects.operations(&notice);
        let found = records.iter().map(|record| {
            let full = record.request["data"].get("payload").is_some();
            format!("{}{} {}", record.key.connector, if full { " full" } else { "" }, record.request["to"])
        });
        found.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(connectors(&[], json!(1)), "lines full null");
    assert_eq!(connectors(&["eve", "group:silent", "group:none"], json!(1)), "lines full null");
    assert_eq!(connectors(&["bob", "group:ops"], json!(1)), "lines full null, mail [\"bob@example.com\"]");
    assert_eq!(
        connectors(&[], json!("x".repeat(600))),
        "lines null",
        "what does not fit is left out, the rest is told"
    );
    let record = told(&world.effects, &notice(NoticeKind::Requested, &["hooks"]));
    assert_eq!(record.request["data"]["url"], Value::Null, "no link without `public_url`");
}

#[tokio::test]
async fn the_same_notice_twice_is_one_delivery_with_a_signature_that_holds() {
    let (receiver, world) = world(ok()).await;
    for _ in 0..2 {
        world.journal.commit(world.effects.operations(&notice(NoticeKind::Requested, &["hooks"])));
    }
    let other = World::with_journal(&configuration(&receiver), &SECRETS, world.journal.clone());
    let (one, two) = tokio::join!(world.effects.deliver_due(), other.effects.deliver_due());
    assert_eq!(one.unwrap().completed + two.unwrap().completed, 1);
    assert_eq!(world.effects.deliver_due().await.unwrap(), Delivered::default());
    let [received] = &receiver.received()[..] else { panic!("one message: {:?}", receiver.received()) };
    assert_eq!(received.header("webhook-id"), Some(format!("t:holdpoint-notice:requested:{QUESTION}:0").as_str()));
    assert_eq!(received.header("webhook-timestamp"), Some("1700000000"));
    assert!(verify(SECRET, received));
    assert_eq!(body(received)["data"]["approval_id"], QUESTION);
    assert_eq!(body(received)["timestamp"], "2023-11-14T22:13:20Z");
}

#[tokio::test]
async fn a_receiver_that_fails_is_tried_on_the_schedule_whatever_the_class_and_never_in_doubt() {
    for (connector, class) in [
        ("hooks", ""),
        ("hooks", "class = \"at-most-once\""),
        ("slack", ""),
        ("json", "class = \"after-commit\""),
        ("pager", ""),
    ] {
        let receiver = Receiver::always(Reaction::Answer(500, "", String::new())).await;
        let header = format!("[connectors.{connector}]\n");
        let text = configuration(&receiver).replace(&header, &format!("{header}{class}\n"));
        let world = World::new(&text, &SECRETS);
        world.journal.commit(world.effects.operations(&notice(NoticeKind::Requested, &[connector])));
        let mut pauses_s = Vec::new();
        for attempt in 1..=9 {
            let delivered = world.effects.deliver_due().await.unwrap();
            assert_eq!(delivered, Delivered { postponed: 1, ..Delivered::default() }, "{connector} {class}");
            let OperationState::Queued { attempts, due_at_ms } = only_state(&world) else {
                panic!("{connector} {class}")
            };
            assert_eq!(attempts, attempt);
            pauses_s.push((due_at_ms - world.clock.0.load(Ordering::SeqCst)) / 1000);
            world.clock.0.store(due_at_ms - 1, Ordering::SeqCst);
            assert_eq!(world.effects.deliver_due().await.unwrap(), Delivered::default(), "it is not due");
            world.clock.0.store(due_at_ms, Ordering::SeqCst);
        }
        assert_eq!(pauses_s, SCHEDULE_S, "{connector} {class}");
        assert_eq!(world.effects.deliver_due().await.unwrap(), Delivered { failed: 1, ..Delivered::default() });
        assert_eq!(receiver.received().len(), 10, "{connector} {class}");
    }
}

#[tokio::test]
async fn a_deliverer_that_dies_is_replaced_with_the_same_id() {
    let (receiver, world) = world(Reaction::Silence).await;
    world.journal.commit(world.effects.operations(&notice(NoticeKind::Requested, &["slack"])));
    let effects = world.effects.clone();
    let delivering = tokio::spawn(async move { effects.deliver_due().await });
    while receiver.received().is_empty() {
        tokio::task::yield_now().await;
    }
    delivering.abort();
    assert!(delivering.await.is_err());
    let second = Receiver::always(ok()).await;
    let other = World::with_journal(&configuration(&second), &SECRETS, world.journal.clone());
    assert_eq!(other.effects.deliver_due().await.unwrap(), Delivered::default(), "it may still be under way");
    other.clock.0.fetch_add(9_000, Ordering::SeqCst);
    assert_eq!(other.effects.deliver_due().await.unwrap(), Delivered { completed: 1, ..Delivered::default() });
    let ids: Vec<Option<String>> = [receiver.received(), second.received()]
        .iter()
        .map(|received| received[0].header("idempotency-key").map(str::to_owned))
        .collect();
    assert_eq!(ids, vec![Some(format!("t:holdpoint-notice:requested:{QUESTION}:0")); 2]);
}

#[tokio::test]
async fn secrets_reach_the_receiver_and_nothing_else() {
    let echo = |received: &Received| {
        let body = format!("{} {}", received.head, received.body);
        Reaction::Answer(if body.contains("enqueue") { 400 } else { 202 }, "", body)
    };
    let receiver = Receiver::start(echo).await;
    let world = World::new(&configuration(&receiver), &SECRETS);
    log();
    let records = world.effects.operations(&notice(NoticeKind::Requested, &["slack", "pager", "hooks", "data"]));
    world.journal.commit(records);
    let delivered = world.effects.deliver_due().await.unwrap();
    assert_eq!(delivered, Delivered { completed: 2, failed: 1, ..Delivered::default() });
    let received = receiver.received();
    let to = |path: &str| received.iter().find(|received| received.head.contains(path)).unwrap();
    assert_eq!(body(to("/v2/enqueue"))["routing_key"], ROUTING_KEY);
    assert_eq!(body(to("/v2/enqueue"))["event_action"], "trigger");
    assert_eq!(body(to(&format!("POST /services/{TOKEN} HTTP"))).get("routing_key"), None);
    let kept = format!(
        "{:?} {:?} {}",
        world.journal.records.lock().unwrap(),
        parse(&configuration(&receiver), &SECRETS),
        log()
    );
    for secret in [ROUTING_KEY, TOKEN, &SECRET["whsec_".len()..]] {
        assert!(!kept.contains(secret), "{secret} in {kept}");
    }
    assert!(kept.contains("[secret]"), "the receiver's echo was kept");
    assert!(log().contains("[HP0549]") && log().contains("pager"), "{}", log());
}

#[tokio::test]
async fn a_resolved_alert_has_the_id_of_the_triggered_one() {
    let (receiver, world) = world(ok()).await;
    world.journal.commit(world.effects.operations(&notice(NoticeKind::Requested, &["pager"])));
    world.effects.deliver_due().await.unwrap();
    world.journal.commit(world.effects.operations(&notice(NoticeKind::Expired, &["pager"])));
    world.effects.deliver_due().await.unwrap();
    let bodies: Vec<Value> = receiver.received().iter().map(body).collect();
    let expected = json!({ "event_action": "resolve", "dedup_key": QUESTION, "routing_key": ROUTING_KEY });
    assert_eq!((&bodies[0]["dedup_key"], &bodies[1]), (&json!(QUESTION), &expected));
}

#[tokio::test]
async fn every_kind_of_event_is_sent_and_each_end_resolves_the_alert() {
    for end in [NoticeKind::Decided, NoticeKind::Expired, NoticeKind::Cancelled] {
        let (receiver, world) = world(ok()).await;
        for kind in [NoticeKind::Requested, NoticeKind::Reminded, NoticeKind::Escalated, end] {
            world.journal.commit(world.effects.operations(&notice(kind, &["hooks", "pager"])));
            let delivered = world.effects.deliver_due().await.unwrap();
            assert_eq!(delivered, Delivered { completed: 2, ..Delivered::default() }, "{}", kind.name());
        }
        let received = receiver.received();
        let to = |path: &str| received.iter().filter(|received| received.head.contains(path)).map(body).collect();
        let (events, alerts): (Vec<Value>, Vec<Value>) = (to("/hook"), to("/v2/enqueue"));
        let types: Vec<&Value> = events.iter().map(|event| &event["type"]).collect();
        assert_eq!(types, ["approval.requested", "approval.reminded", "approval.escalated", end.name()]);
        let actions: Vec<&Value> = alerts.iter().map(|alert| &alert["event_action"]).collect();
        assert_eq!(actions, ["trigger", "trigger", "trigger", "resolve"], "{}", end.name());
        assert!(alerts.iter().all(|alert| alert["dedup_key"] == QUESTION), "{alerts:?}");
    }
}

#[tokio::test]
async fn people_are_not_asked_for_what_has_ended_and_programs_get_every_event() {
    let (receiver, world) = world(ok()).await;
    let connectors = ["slack", "pager", "json", "hooks"];
    let outcome = Some(("accept".to_owned(), "user:ana".to_owned()));
    for (kind, outcome) in [(NoticeKind::Requested, None), (NoticeKind::Reminded, None), (NoticeKind::Decided, outcome)]
    {
        world.journal.commit(world.effects.operations(&Notice { outcome, ..notice(kind, &connectors) }));
    }
    let delivered = world.effects.deliver_due().await.unwrap();
    assert_eq!(delivered, Delivered { completed: 8, failed: 4, ..Delivered::default() });
    let received = receiver.received();
    let count = |path: &str| received.iter().filter(|received| received.head.contains(path)).count();
    assert_eq!((count("/services/"), count("/v2/enqueue"), count("/events"), count("/hook")), (1, 1, 3, 3));
    let events: Vec<Value> = received.iter().filter(|received| received.head.contains("/v2/")).map(body).collect();
    assert_eq!(events[0]["event_action"], "resolve");
    let records = world.journal.records.lock().unwrap();
    let superseded = records
        .values()
        .filter(|record| matches!(&record.state, OperationState::Failed(failure) if failure.code == "superseded"));
    assert_eq!(superseded.count(), 4);
}

#[tokio::test]
async fn nodes_cannot_take_a_notices_id_or_its_way() {
    let (receiver, world) = world(ok()).await;
    let id = format!("holdpoint-notice:requested:{QUESTION}:0");
    let event = json!({ "method": "POST", "path": "/v2/enqueue", "body": {} });
    let mut effects = world.task("t", 1);
    let results = effects.perform_all(vec![operation(Some(&id), "payments", event)]).await.unwrap();
    let expected = "operation ids that begin with `holdpoint-notice:` are the host's";
    assert!(line(&results[0]).contains(expected) && line(&results[0]).contains("[HP0522]"), "{}", line(&results[0]));
    assert_eq!((receiver.received().len(), effects.finish().operations.len()), (0, 0));

    let configuration = parse(&configuration(&receiver), &SECRETS);
    for connector in ["slack", "pager", "mail", "list"] {
        let record = told(&world.effects, &notice(NoticeKind::Requested, &[connector]));
        let connector = connectors::build(&name(connector), &configuration.connectors[&name(connector)]).unwrap();
        assert!(connector.prepare(&record.key, &record.request).is_ok(), "{record:?}");
        let mut key = record.key.clone();
        key.id = OperationId::parse("refund:1").unwrap();
        let refused = connector.prepare(&key, &record.request).err();
        assert!(matches!(refused, Some(Rejection::Denied(_) | Rejection::Invalid(_))), "{refused:?}");
        let mut other = record.request.clone();
        if other.get("to").is_some() {
            other["to"] = json!(["eve@evil.example"]);
        } else {
            other["path"] = json!("/elsewhere");
        }
        assert!(matches!(connector.prepare(&record.key, &other), Err(Rejection::Denied(_))), "{other}");
    }
}

#[tokio::test]
async fn a_file_gets_the_event_as_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notices.jsonl");
    let text = "[connectors.lines]\nkind = \"file\"\npath = \"${env:PATH_OF_LINES}\"\n";
    let world = World::new(text, &[("PATH_OF_LINES", path.to_str().unwrap())]);
    let notice = notice(NoticeKind::Cancelled, &["lines"]);
    for _ in 0..2 {
        world.journal.commit(world.effects.operations(&notice));
        assert_eq!(world.effects.deliver_due().await.unwrap().completed, 1);
    }
    let written = std::fs::read_to_string(&path).unwrap();
    let [line] = &written.lines().collect::<Vec<_>>()[..] else { panic!("one line: {written}") };
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(
        (&line["id"], &line["request"]["type"]),
        (&json!(format!("holdpoint-notice:cancelled:{QUESTION}:0")), &json!("approval.cancelled"))
    );
    assert_eq!(line["request"], told(&world.effects, &notice).request);
}

#[test]
fn the_documented_example_is_one() {
    let page = include_str!("../../holdpoint/src/connectors.md");
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let names = ["APPROVALS_SECRET", "SMTP_PASSWORD", "SLACK_TOKEN", "PAGERDUTY_ROUTING_KEY"];
    let configuration = parse(example, &names.map(|name| (name, SECRET)));
    assert_eq!(configuration.check(std::path::Path::new("holdpoint.toml")), []);
    let world = World::of(configuration, std::sync::Arc::default());
    let notice = notice(NoticeKind::Requested, &["approvals", "mail", "slack", "pager"]);
    assert_eq!(world.effects.operations(&notice).len(), 4);
}
