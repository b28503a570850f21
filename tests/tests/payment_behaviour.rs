//! Everything that a receiver can do, against what each class promises: what is recorded, what is asked of a person, what is sent again.

use holdpoint_tests::crash::run;
use holdpoint_tests::graphs::Probes;
use holdpoint_tests::payment_server::{Behaviour, PaymentServer, Start};
use holdpoint_tests::program::Place;
use serde_json::Value;

const KEY: &str = "pay:1";

/// How a thread stands, and what was seen of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// `done`, `failed`, or `doubt`.
    thread: &'static str,
    /// The operation's state in the journal; `-` when there is no record.
    recorded: &'static str,
    received: usize,
    applied: usize,
}

const fn seen(thread: &'static str, recorded: &'static str, received: usize, applied: usize) -> Seen {
    Seen { thread, recorded, received, applied }
}

/// Runs a payment at a receiver that behaves so, then has it behave well and resumes twice.
fn check(class: &str, deduplicate: bool, behaviour: Behaviour, first: Seen, resumed: Seen) {
    let mut place = Place::new();
    let server = PaymentServer::start(&place.path("payments.log"), Start { deduplicate, ..Start::default() });
    place.configure(&format!(
        "[connectors.payments]\nkind = \"http\"\nbase_url = \"{}\"\nallow = [\"POST /refunds\"]\nclass = {class}\nscope = \"global\"\n\
         addresses = \"any\"\ntimeout = \"1s\"\n",
        server.url()
    ));
    let request = "{ method = \"POST\", path = \"/refunds\", body = { cents = 5 } }";
    let script = format!(
        "{{ effect = {{ id = \"{KEY}\", connector = \"payments\", request = {request} }}, as = \"done\" }}, {{ set = {{ receipt = \"$done.body\" }} }}"
    );
    let retry = if behaviour == Behaviour::Busy { "retry = { attempts_max = 2, backoff = \"10ms\" }\n" } else { "" };
    let graph = Probes::new("start = \"pay\"", "receipt = {}")
        .node("pay", &format!("connectors = [\"payments\"]\n{retry}"), &script)
        .write(&place);
    server.behave_for(KEY, behaviour, 1);
    let what = format!("{class} {}", behaviour.name());
    let look = |reply: &Value| {
        let account = server.judge().settled(KEY);
        let operations = run::read(&place.store(), "t").operations;
        let thread = match (reply["status"].as_str(), reply["interrupts"][0]["kind"].as_str()) {
            (Some("done"), _) => "done",
            (Some("failed"), _) => "failed",
            (Some("interrupted"), Some("in-doubt")) => "doubt",
            _ => panic!("{what}: {reply}"),
        };
        let recorded = operations.first().map_or("-", |operation| operation.state.name());
        seen(thread, recorded, account.received, account.applied)
    };
    let begun = std::time::Instant::now();
    let reply = place.run(&["run", &graph.display().to_string(), "--thread", "t"]).reply;
    assert_eq!(look(&reply), first, "{what}: {reply}");
    if behaviour == Behaviour::Busy {
        assert!(begun.elapsed().as_millis() >= 1_000, "it waited as long as it was asked to");
    }
    for _ in 0..2 {
        let reply = place.run(&["resume", "--thread", "t"]).reply;
        assert_eq!(look(&reply), resumed, "{what}, resumed: {reply}");
        if resumed.thread == "done" {
            assert_eq!(reply["values"]["receipt"]["refund_id"], "re_1", "{what}: {reply}");
        }
    }
}

/// A receiver that forgets: nothing is ever sent again by itself, and what is not known is asked.
#[test]
fn at_most_once() {
    let done = seen("done", "completed", 1, 1);
    let in_doubt = |applied| seen("doubt", "in-doubt", 1, applied);
    let refused = seen("failed", "failed", 1, 0);
    let later = seen("done", "completed", 2, 1);
    for (behaviour, first, resumed) in [
        (Behaviour::Pay, done, done),
        (Behaviour::ApplyThenDrop, in_doubt(1), in_doubt(1)),
        (Behaviour::ApplyLate, in_doubt(1), in_doubt(1)),
        (Behaviour::Conflict, refused, refused),
        (Behaviour::Busy, later, later),
        (Behaviour::FailBefore, in_doubt(0), in_doubt(0)),
        (Behaviour::FailAfter, in_doubt(1), in_doubt(1)),
        (Behaviour::Garbage, in_doubt(1), in_doubt(1)),
        (Behaviour::Slow, done, done),
        (Behaviour::Never, in_doubt(0), in_doubt(0)),
    ] {
        check("\"at-most-once\"", false, behaviour, first, resumed);
    }
}

/// A receiver that de-duplicates: what is not known is sent again under the same id, and money moves once.
#[test]
fn idempotent() {
    let done = seen("done", "completed", 1, 1);
    let failed = |applied| seen("failed", "-", 1, applied);
    let again = seen("done", "completed", 2, 1);
    let refused = seen("failed", "failed", 1, 0);
    // It landed, and nobody can read the answer: that is for a person whatever the class.
    let unusable = seen("doubt", "in-doubt", 1, 1);
    for (behaviour, first, resumed) in [
        (Behaviour::Pay, done, done),
        (Behaviour::ApplyThenDrop, failed(1), again),
        (Behaviour::ApplyLate, failed(1), again),
        (Behaviour::Conflict, refused, refused),
        (Behaviour::Busy, again, again),
        (Behaviour::FailBefore, failed(0), again),
        (Behaviour::FailAfter, failed(1), again),
        (Behaviour::Garbage, unusable, unusable),
        (Behaviour::Slow, done, done),
        (Behaviour::Never, failed(0), again),
    ] {
        check("{ idempotent = { window = \"24h\" } }", true, behaviour, first, resumed);
    }
}
