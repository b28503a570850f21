//! The order example: three effects at three kinds of receivers, killed from outside; approvals that the host asks for.

use std::process::Child;
use std::time::{Duration, Instant};

use holdpoint_tests::payments::{Manner, Payments};
use holdpoint_tests::program::{Place, repository};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// Commands killed while they lived.
const KILLS: u32 = 40;

/// The example's receivers: one that charges as often as it is asked, a ledger, one that hears of events.
struct Shop {
    charges: Payments,
    events: Payments,
    ledger: rusqlite::Connection,
    place: Place,
    graph: String,
}

impl Shop {
    fn open() -> Self {
        let (charges, events) = (Payments::start(), Payments::start());
        charges.behave(Manner::PayAlways);
        let mut place = Place::new();
        let ledger = rusqlite::Connection::open(place.path("ledger.db")).unwrap();
        ledger
            .execute_batch(
                "pragma journal_mode = wal;
                 create table entry (id integer primary key, order_id text not null, amount_cents integer not null)",
            )
            .unwrap();
        let example = repository().join("example-nodes/order");
        let text = std::fs::read_to_string(example.join("holdpoint.toml")).unwrap();
        // Nobody waits half a minute for a request that cannot arrive any more.
        let hurried = text.replace("timeout = \"10s\"", "timeout = \"300ms\"\nclock_skew = \"50ms\"");
        assert_ne!(text, hurried);
        place.configure(&hurried);
        place.set("PAYMENTS_URL", charges.url());
        place.set("EVENTS_URL", &format!("{}/events", events.url()));
        place.set("EVENTS_SECRET", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz");
        let path = place.path("ledger.db").display().to_string();
        place.set("LEDGER_FILE", &path);
        let graph = example.join("order.graph.toml").display().to_string();
        Self { charges, events, ledger, place, graph }
    }

    fn booked(&self, order: &str) -> Vec<i64> {
        let mut statement = self.ledger.prepare("select id from entry where order_id = ?1").unwrap();
        statement.query_map([order], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    fn run_arguments<'a>(&'a self, order: &'a str, input: &'a str) -> [&'a str; 6] {
        ["run", &self.graph, "--thread", order, "--input", input]
    }
}

fn input(order: &str, amount_cents: u64) -> String {
    json!({ "order_id": order, "amount_cents": amount_cents }).to_string()
}

/// Whether it was still alive then.
fn killed_after(mut child: Child, delay: Duration) -> bool {
    let deadline = Instant::now() + delay;
    loop {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if Instant::now() >= deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            return true;
        }
        std::thread::yield_now();
    }
}

/// What a person does: looks at the receiver's records, and says what they tell.
fn settle(shop: &Shop, operation: &str) -> &'static str {
    let charged = shop.charges.log().iter().position(|entry| entry.key == operation);
    let happened;
    let (said, word): (_, &[&str]) = match charged {
        Some(position) => {
            let body = json!({ "refund_id": format!("re_{}", position + 1), "status": "refunded" });
            happened = json!({ "status": 201, "headers": {}, "body": body }).to_string();
            ("happened", &["--happened", &happened])
        }
        None => ("send", &["--send"]),
    };
    let arguments = [&["operations", "resolve", operation, "--reason", "the bank's records"], word].concat();
    let begun = Instant::now();
    loop {
        let outcome = shop.place.run(&arguments);
        if outcome.reply["error"]["code"] != "HP0432" {
            assert_eq!(outcome.exit, Some(0), "{arguments:?}: {} {}", outcome.reply, outcome.notes);
            return said;
        }
        // It may still arrive: nobody can say that it will not, and the program does not let them.
        assert!(begun.elapsed() < Duration::from_secs(60), "it never settles: {}", outcome.reply);
    }
}

#[test]
fn killed_anywhere_each_of_the_three_effects_happens_once() {
    let seed: u64 =
        std::env::var("HOLDPOINT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    println!("seed {seed}: repeat with HOLDPOINT_SEED={seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let shop = Shop::open();
    let warm = input("warm", 900);
    shop.place.expect(0, &shop.run_arguments("warm", &warm));
    let begun = Instant::now();
    let warm = input("warmer", 900);
    shop.place.expect(0, &shop.run_arguments("warmer", &warm));
    let usual = begun.elapsed();
    let (mut kills, mut run, mut settled) = (0, 0, Vec::new());
    while kills < KILLS {
        run += 1;
        assert!(run <= 10 * KILLS, "seed {seed}: only {kills} of {run} commands were alive when they were killed");
        let (order, given) = (format!("o{run}"), input(&format!("o{run}"), 900));
        let delay = usual.mul_f64(random.random_range(0.0..1.1));
        kills += u32::from(killed_after(shop.place.start(&shop.run_arguments(&order, &given)), delay));
        let mut view = Value::Null;
        for attempt in 0.. {
            assert!(attempt < 10, "seed {seed}: run {run} is stuck: {view}");
            let outcome = shop.place.run(&["resume", "--thread", &order]);
            view = match outcome.reply["error"]["code"].as_str() {
                // The input was never acknowledged: it is given again.
                Some("HP0401" | "HP0702") => shop.place.run(&shop.run_arguments(&order, &given)).reply,
                _ => outcome.reply,
            };
            if view["status"] == "done" {
                break;
            }
            assert_eq!(view["interrupts"][0]["kind"], "in-doubt", "seed {seed}: run {run}: {view}");
            assert_eq!(view["interrupts"][0]["id"], format!("charge:{order}"), "the other two settle themselves");
            settled.push(settle(&shop, &format!("charge:{order}")));
        }
        assert_eq!(shop.charges.paid(&format!("charge:{order}")), 1, "seed {seed}: run {run}");
        assert_eq!(shop.booked(&order), [view["values"]["entry"].as_i64().unwrap()], "seed {seed}: run {run}");
    }
    // What a kill left in the outbox leaves now, or once its deliverer's time is over.
    shop.place.run(&["operations", "deliver"]);
    let open = shop.place.expect(0, &["operations", "list"]);
    let told = |order: &str| shop.events.paid(&format!("paid:{order}"));
    let waiting: Vec<&str> = open.as_array().unwrap().iter().map(|one| one["operation_id"].as_str().unwrap()).collect();
    for number in 1..=run {
        let order = format!("o{number}");
        let left = waiting.contains(&format!("paid:{order}").as_str());
        assert!(told(&order) == 1 || left, "seed {seed}: the event of {order} is neither told nor queued");
    }
    for one in open.as_array().unwrap() {
        assert_eq!((one["state"].as_str(), one["connector"].as_str()), (Some("queued"), Some("events")), "seed {seed}");
    }
    println!("{run} orders, {kills} kills, settled by a person: {settled:?}, events still queued: {}", waiting.len());
}

#[test]
fn the_host_asks_about_a_large_charge_and_finance_has_answered_for_the_middling() {
    let shop = Shop::open();
    let large = input("large", 250_000);
    let view = shop.place.expect(3, &shop.run_arguments("large", &large));
    let asked = &view["interrupts"][0];
    assert_eq!((&asked["kind"], &asked["node"]), (&json!("approval"), &json!("fulfil_order")));
    assert_eq!(asked["value"]["request"]["body"], json!({ "order_id": "large", "amount_cents": 250_000 }));
    assert_eq!(asked["evidence"]["reason"], "the rule `request.body.amount_cents > 100000` holds");
    assert_eq!((shop.charges.log().len(), shop.booked("large").len()), (0, 0), "nothing before the answer");

    // The answer's form is the host's, not the node's.
    let refused = shop.place.refused(2, "HP0413", &["resume", "--thread", "large", "--answer", "true"]);
    assert!(refused["error"]["message"].as_str().unwrap().contains("not valid"));
    let answer = r#"{"approved":true,"reason":"ticket 7"}"#;
    let view = shop.place.expect(0, &["resume", "--thread", "large", "--answer", answer, "--by", "ana"]);
    assert_eq!((&view["status"], shop.charges.paid("charge:large")), (&json!("done"), 1));
    let shown = shop.place.expect(0, &["operations", "show", "charge:large"]);
    let note = &shown["notes"][0];
    assert_eq!(
        (&note["kind"], &note["by"], &note["text"]),
        (&json!("approved"), &json!("cli:ana"), &json!("ticket 7"))
    );

    let middling = input("middling", 150_000);
    shop.place.expect(0, &shop.run_arguments("middling", &middling));
    let shown = shop.place.expect(0, &["operations", "show", "charge:middling"]);
    assert_eq!(shown["notes"][0]["by"], "standing:group:finance");

    let refused = input("refused", 300_000);
    shop.place.expect(3, &shop.run_arguments("refused", &refused));
    let no = r#"{"approved":false,"reason":"fraud"}"#;
    let view = shop.place.expect(1, &["resume", "--thread", "refused", "--answer", no, "--by", "ben"]);
    assert_eq!(view["status"], "failed");
    assert!(
        view["error"]["message"].as_str().unwrap().contains("cli:ben did not approve the request (fraud)"),
        "{view}"
    );
    assert_eq!((shop.charges.paid("charge:refused"), shop.booked("refused").len()), (0, 0));
}

#[test]
fn of_two_people_who_settle_a_doubt_one_is_told_of_the_other() {
    let shop = Shop::open();
    shop.charges.behave(Manner::PaySilently);
    let given = input("17", 900);
    let view = shop.place.expect(3, &shop.run_arguments("17", &given));
    assert_eq!(view["interrupts"][0]["kind"], "in-doubt");
    let open = shop.place.expect(0, &["operations"]);
    assert_eq!((open[0]["operation_id"].as_str(), open[0]["state"].as_str()), (Some("charge:17"), Some("in-doubt")));
    shop.place.refused(2, "HP0430", &["operations", "show", "charge:18"]);
    shop.place.refused(2, "HP0434", &["threads", "delete", "17"]);
    let happened = r#"{"status":201,"headers":{},"body":{"charge_id":"ch_9"}}"#;
    let word =
        |by| ["operations", "resolve", "charge:17", "--happened", happened, "--reason", "seen at the bank", "--by", by];
    let people: Vec<Child> = ["ana", "ben", "eve"].map(|by| shop.place.start(&word(by))).into();
    let outcomes: Vec<_> = people
        .into_iter()
        .map(|child| holdpoint_tests::program::Outcome::of(child.wait_with_output().unwrap()))
        .collect();
    let winners: Vec<_> = outcomes.iter().filter(|outcome| outcome.exit == Some(0)).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    let by = winners[0].reply["operation"]["notes"][0]["by"].as_str().unwrap();
    for loser in outcomes.iter().filter(|outcome| outcome.exit != Some(0)) {
        assert_eq!((loser.exit, &loser.reply["error"]["code"]), (Some(2), &json!("HP0431")), "{loser:?}");
        assert!(loser.reply["error"]["message"].as_str().unwrap().contains(by), "{loser:?}");
    }
    let view = shop.place.expect(0, &["threads", "show", "17"]);
    assert_eq!((&view["status"], &view["values"]["charge"]), (&json!("done"), &json!({ "charge_id": "ch_9" })));
    assert_eq!((shop.charges.paid("charge:17"), shop.booked("17").len()), (1, 1));
    let usage = shop.place.run(&["operations", "resolve", "charge:17", "--send", "--fail", "--reason", "x"]);
    assert_eq!(usage.exit, Some(2));
}
